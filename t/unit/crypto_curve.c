
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * X25519 by RFC 7748, the box by NaCl's vectors, and random numbers.
 */

#include "crypto/tn_curve.h"
#include "tap.h"


static void
test_x25519(void)
{
    int       i;
    uint8_t   out[32], want[32];
    tn_key_t  k, u, a, b, pa, pb;

    /* RFC 7748, 5.2 */

    (void) unhex(k.b, "a546e36bf0527c9d3b16154b82465edd"
                      "62144c0ac1fc5a18506a2244ba449ac4");
    (void) unhex(u.b, "e6db6867583030db3594c1a424b15f7c"
                      "726624ec26b3353b10a903a6d0ab1c4c");
    (void) unhex(want, "c3da55379de9c6908e94ea4df28d084f"
                       "32eccf03491c71f754b4075577a28552");
    is_int(tn_curve_dh(out, &k, &u), TN_OK, "RFC 7748, 5.2, first");
    is_mem(out, want, 32, "its value");

    (void) unhex(k.b, "4b66e9d4d1b4673c5ad22691957d6af5"
                      "c11b6421e0ea01d42ca4169e7918ba0d");
    (void) unhex(u.b, "e5210f12786811d3f4b7959d0538ae2c"
                      "31dbe7106fc03c3efc4cd549c715a493");
    (void) unhex(want, "95cbde9476e8907d7aade45cb4b873f8"
                       "8b595a68799fa152e6f8f7647aac7957");
    is_int(tn_curve_dh(out, &k, &u), TN_OK, "RFC 7748, 5.2, second");
    is_mem(out, want, 32, "its value");

    memset(&k, 0, sizeof(k));
    k.b[0] = 9;
    u = k;

    for (i = 1; i <= 1000; i++) {
        (void) tn_curve_dh(out, &k, &u);
        u = k;
        memcpy(k.b, out, 32);

        if (i == 1) {
            (void) unhex(want, "422c8e7a6227d7bca1350b3e2bb7279f"
                               "7897b87bb6854b783c60e80311ae3079");
            is_mem(out, want, 32, "RFC 7748, 5.2, one iteration");
        }
    }

    (void) unhex(want, "684cf59ba83309552800ef566f2f4d3c"
                       "1c3887c49360e3875f2eb94d99532c51");
    is_mem(out, want, 32, "RFC 7748, 5.2, a thousand");

    /* RFC 7748, 6.1 */

    (void) unhex(a.b, "77076d0a7318a57d3c16c17251b26645"
                      "df4c2f87ebc0992ab177fba51db92c2a");
    (void) unhex(b.b, "5dab087e624a8a4b79e17f8b83800ee6"
                      "6f3bb1292618b6fd1c2f8b27ff88e0eb");
    tn_curve_public(&pa, &a);
    tn_curve_public(&pb, &b);
    (void) unhex(want, "8520f0098930a754748b7ddcb43ef75a"
                       "0dbf3a0d26381af4eba4a98eaa9b4e6a");
    is_mem(pa.b, want, 32, "RFC 7748, 6.1, Alice's public key");
    (void) unhex(want, "de9edb7d7b7dc1b4d35b61c2ece43537"
                       "3f8343c85b78674dadfc7e146f882b4f");
    is_mem(pb.b, want, 32, "RFC 7748, 6.1, Bob's public key");
    (void) unhex(want, "4a5d9d5ba4ce2de1728e3bf480350f25"
                       "e07e21c947d19e3376f09b3c1e161742");
    (void) tn_curve_dh(out, &a, &pb);
    is_mem(out, want, 32, "RFC 7748, 6.1, Alice's secret");
    (void) tn_curve_dh(out, &b, &pa);
    is_mem(out, want, 32, "RFC 7748, 6.1, Bob's secret");
}


/* points of small order give zero whatever the key: RFC 7748, 6.1 */

static void
test_low_order(void)
{
    size_t        i;
    uint8_t       out[32];
    tn_key_t      point;
    tn_box_key_t  box;
    tn_keypair_t  pair;

    static const char  *const points[] = {
        "0000000000000000000000000000000000000000000000000000000000000000",
        "0100000000000000000000000000000000000000000000000000000000000000",
        "e0eb7a7c3b41b8ae1656e3faf19fc46ada098deb9c32b1fd866205165f49b800",
        "5f9c95bca3508c24b1d0b1559c83ef5b04445cc4581c8e86d8224eddd09f1157",
        "ecffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "edffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f",
        "eeffffffffffffffffffffffffffffffffffffffffffffffffffffffffffff7f"
    };

    tn_curve_keypair(&pair);

    for (i = 0; i < tn_nelems(points); i++) {
        (void) unhex(point.b, points[i]);
        is_int(tn_curve_dh(out, &pair.priv, &point), TN_MALFORMED,
               "low-order point");
        is_int(tn_box_key(&box, &point, &pair.priv), TN_MALFORMED,
               "nor a box to one");
    }
}


/* the example of "Cryptography in NaCl", and one made with the C library */

static void
test_box(void)
{
    size_t        i, len;
    uint8_t       box[300], out[300], plain[300];
    tn_key_t      pub;
    tn_box_key_t  key, other;
    tn_keypair_t  a, b;

    memset(a.priv.b, 1, 32);
    memset(b.priv.b, 2, 32);
    tn_curve_public(&a.pub, &a.priv);
    tn_curve_public(&b.pub, &b.priv);

    memset(box, 4, 24);
    len = unhex(box + 24,
        "78ea30b19d2341ebbdba54180f821eec265cf86312549bea8a37652a8bb94f07"
        "b78a73ed1708085e6ddd0e943bbdeb8755079a37eb31d86163ce241164a47629"
        "c0539f330b4914cd135b3855bc2a2dfc");
    memset(plain, 3, 64);

    is_int(tn_box_key(&key, &a.pub, &b.priv), TN_OK, "box key");
    is_int(tn_box_open(&key, box, 24 + len, out), TN_OK, "NaCl's box opens");
    is_mem(out, plain, 64, "with its text");
    is_int(tn_box_key(&other, &b.pub, &a.priv), TN_OK, "the other side's");
    is_mem(other.k, key.k, 32, "is the same key");

    (void) unhex(a.priv.b, "77076d0a7318a57d3c16c17251b26645"
                           "df4c2f87ebc0992ab177fba51db92c2a");
    (void) unhex(pub.b, "de9edb7d7b7dc1b4d35b61c2ece43537"
                        "3f8343c85b78674dadfc7e146f882b4f");
    (void) tn_box_key(&key, &pub, &a.priv);
    (void) unhex(out, "1b27556473e985d462cd51197a9a46c7"
                      "6009549eac6474f206c4ee0844f68389");
    is_mem(key.k, out, 32, "first key of \"Cryptography in NaCl\"");

    (void) unhex(box, "69696ee955b62b73cd62bda875fc73d68219e0036b7a0b37");
    len = unhex(box + 24,
        "f3ffc7703f9400e52a7dfb4b3d3305d98e993b9f48681273c29650ba32fc76ce"
        "48332ea7164d96a4476fb8c531a1186ac0dfc17c98dce87b4da7f011ec48c972"
        "71d2c20f9b928fe2270d6fb863d51738b48eeee314a7cc8ab932164548e526ae"
        "90224368517acfeabd6bb3732bc0e9da99832b61ca01b6de56244a9e88d5f9b3"
        "7973f622a43d14a6599b1f654cb45a74e355a5");
    (void) unhex(plain,
        "be075fc53c81f2d5cf141316ebeb0c7b5228c52a4c62cbd44b66849b64244ffc"
        "e5ecbaaf33bd751a1ac728d45e6c61296cdc3c01233561f41db66cce314adb31"
        "0e3be8250c46f06dceea3a7fa1348057e2f6556ad6b1318a024a838f21af1fde"
        "048977eb48f59ffd4924ca1c60902e52f0a089bc76897040e082f93776384864"
        "5e0705");
    is_int(tn_box_open(&key, box, 24 + len, out), TN_OK, "its box opens");
    is_mem(out, plain, len - 16, "with its text");

    /* there and back, and damage */

    is_int(tn_box_seal(&key, plain, 100, box), TN_OK, "seal");
    is_int(tn_box_open(&key, box, 140, out), TN_OK, "open");
    is_mem(out, plain, 100, "the same");

    for (i = 0, len = 0; i < 140; i++) {
        box[i] ^= 0x20;
        len += tn_box_open(&key, box, 140, out) != TN_MALFORMED;
        box[i] ^= 0x20;
        len += tn_box_open(&key, box, i, out) != TN_MALFORMED;
    }

    is_int((long long) len, 0, "damaged or cut it does not open");
    is_int(tn_box_seal(&key, plain, 0, box), TN_OK, "an empty text");
    is_int(tn_box_open(&key, box, 40, out), TN_OK, "is a box too");
}


static void
test_random(void)
{
    int           i;
    uint8_t       a[64], b[64], zero[64] = { 0 };
    uint32_t      n, seen;
    tn_keypair_t  pair;

    tn_random(a, sizeof(a));
    tn_random(b, sizeof(b));
    ok(memcmp(a, b, 64) != 0 && memcmp(a, zero, 64) != 0, "random bytes");

    for (i = 0, seen = 0; i < 10000; i++) {
        n = tn_random_below(10);
        seen |= n < 10 ? 1u << n : 1u << 31;
    }

    is_int(seen, 0x3ff, "every number below the bound and no other");

    tn_random_seed_for_tests(7);
    tn_random(a, sizeof(a));
    tn_random_seed_for_tests(7);
    tn_random(b, sizeof(b));
    is_mem(a, b, 64, "a seeded source repeats");
    tn_random(b, sizeof(b));
    ok(memcmp(a, b, 64) != 0, "but goes on");
    tn_random_seed_for_tests(0);
    tn_random(b, sizeof(b));
    ok(memcmp(a, b, 64) != 0, "and ends");

    tn_curve_keypair(&pair);
    ok((pair.priv.b[0] & 7) == 0 && (pair.priv.b[31] & 0xc0) == 0x40,
       "private keys are clamped");
}


int
main(void)
{
    if (!ok(tn_crypto_init() == TN_OK, "libsodium")) {
        return 1;
    }

    test_x25519();
    test_low_order();
    test_box();
    test_random();

    return tap_done();
}
