
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * BLAKE2s by RFC 7693's own vector and by values of an independent
 * implementation (Python's hashlib and hmac) where the RFC has none.
 */

#include "crypto/tn_blake2s.h"
#include "tap.h"


static uint8_t  count[256];     /* 00 01 02 ... */


static void
test_hash(void)
{
    size_t   i;
    uint8_t  want[32], got[32], again[32];

    static const struct {
        size_t       len;
        const char  *hex;
    } rows[] = {
        { 0, "69217a3079908094e11121d042354a7c"
             "1f55b6482ca1a51e1b250dfd1ed0eef9" },
        { 1, "e34d74dbaf4ff4c6abd871cc220451d2"
             "ea2648846c7757fbaac82fe51ad64bea" },
        { 63, "e57cb79487dd57902432b250733813bd"
              "96a84efce59f650fac26e6696aefafc3" },
        { 64, "56f34e8b96557e90c1f24b52d0c89d51"
              "086acf1b00f634cf1dde9233b8eaaa3e" },
        { 65, "1b53ee94aaf34e4b159d48de352c7f06"
              "61d0a40edff95a0b1639b4090e974472" },
        { 128, "1fa877de67259d19863a2a34bcc6962a"
               "2b25fcbf5cbecd7ede8f1fa36688a796" },
        { 255, "f03f5789d3336b80d002d59fdf918bdb"
               "775b00956ed5528e86aa994acb38fe2d" }
    };

    (void) unhex(want, "508c5e8c327c14e2e1a72ba34eeb452f"
                       "37458b209ed63a294d999b4c86675982");
    is_int(tn_blake2s(got, "abc", 3, NULL, 0), TN_OK, "RFC 7693, appendix B");
    is_mem(got, want, 32, "the hash of abc");

    for (i = 0; i < tn_nelems(rows); i++) {
        (void) unhex(want, rows[i].hex);
        (void) tn_blake2s(got, count, rows[i].len, NULL, 0);
        is_mem(got, want, 32, "a length");

        (void) tn_blake2s(again, count, rows[i].len / 2,
                          count + rows[i].len / 2,
                          rows[i].len - rows[i].len / 2);
        is_mem(again, want, 32, "in two parts");
    }
}


static void
test_mac(void)
{
    size_t   i;
    uint8_t  want[16], got[16];

    static const struct {
        size_t       key;
        size_t       len;
        const char  *hex;
    } rows[] = {
        { 1, 0, "01d7f4cea32638032b156c74aec7e87a" },
        { 1, 1, "80b5875420d43af8816136f8a9ad90ce" },
        { 1, 64, "2ba2b6488a75dba441264fb7e2aec115" },
        { 1, 255, "a0dc2a83a1ad9a9179db4a0bd4cbaa82" },
        { 16, 0, "af4e5d3bb230e9ff9096ca6f7c501f76" },
        { 16, 1, "881e42e7bb358082637c0a0fd7ec6c2f" },
        { 16, 116, "b9b1bbba1b59e4349d1018f97d243fca" },
        { 16, 255, "b2953795123bd6b890ef3b6fa8b9bae2" },
        { 32, 0, "9536f9b267655743dee97b8a670f9f53" },
        { 32, 64, "f1efa90d2547036841ecd3627fafbc36" },
        { 32, 116, "072e94ffbfc684bd8ab2a1b9dade2fd5" },
        { 32, 255, "cd075928ab7e6883e697fe7fd3ac43ee" }
    };

    for (i = 0; i < tn_nelems(rows); i++) {
        (void) unhex(want, rows[i].hex);
        is_int(tn_blake2s_mac(got, count, rows[i].key, count, rows[i].len),
               TN_OK, "keyed BLAKE2s-128");
        is_mem(got, want, 16, "its value");
    }
}


static void
test_hmac(void)
{
    size_t   i;
    uint8_t  want[32], got[32];

    static const struct {
        size_t       key;
        const char  *hex;
    } rows[] = {
        { 64, "c96cce519932378bb2adc2284a7a6693"
              "c60219627acd8c32d98d005270e211a7" },
        { 100, "50154f1fc31ada872a6b035b017a6309"
               "902c22981b2a674102cab47e9ad22406" }
    };

    for (i = 0; i < tn_nelems(rows); i++) {
        (void) unhex(want, rows[i].hex);
        is_int(tn_blake2s_hmac(got, count, rows[i].key, "one", 3, "two", 3),
               TN_OK, "HMAC");
        is_mem(got, want, 32, "its value");
    }

    (void) unhex(want, "d3b02bd8b0cad283fd3555cb8479e6b7"
                       "8d4e9671bff9db3c529a14e4c2a5b990");
    (void) tn_blake2s_hmac(got, "k", 1, "onetwo", 6, NULL, 0);
    is_mem(got, want, 32, "HMAC in one part");
}


static void
test_hkdf(void)
{
    size_t   i;
    uint8_t  input[200], ck[32], a[32], b[32], c[32], want[3][32];

    static const struct {
        const char  *input;
        size_t       len;
        const char  *hex[3];
    } rows[] = {
        { "", 0,
          { "7a38c34bf2b8738d7374ca77c44ecb309a11d2b2528304fa86052c365e722624",
            "1a17621f346abdc520746a9fb64d8eb03231d674fc15687537b0780fd9c060fd",
            "4eaf02809ac4b930ef63479de62275f1c55656e61f78a3cc653c18a2223d6c5f"
          } },
        { "input of no particular length", 29,
          { "5ff94b868052b7be7901c4d8e1951ff59f0de97d21394be7285bd938ca3a5565",
            "59b34050ff16b6e390bc257296858cc572441216e2f5186bba14d22eede5a755",
            "e59a3042b038457ecda8e5e2be33dbb469f8fc0fd6d4340bf966cf31c0bf2c6d"
          } },
        { NULL, 200,
          { "5e968c5e36d511298d13c1128591b60673b726aa258bb9ac3187250743591a4e",
            "69d16dd64853690fcd1537e20c050fa1656b4e1fe6c8ded8bb0f8222865568a2",
            "a0c88376a7d6200a07ba5f9fb6d38d0b8aed365a43b01cb5eebc7497e7e9501a"
          } }
    };

    for (i = 0; i < tn_nelems(rows); i++) {
        memset(input, 0, sizeof(input));

        if (rows[i].input != NULL) {
            memcpy(input, rows[i].input, rows[i].len);
        }

        (void) unhex(want[0], rows[i].hex[0]);
        (void) unhex(want[1], rows[i].hex[1]);
        (void) unhex(want[2], rows[i].hex[2]);

        is_int(tn_blake2s_hkdf(a, b, c, count, input, rows[i].len), TN_OK,
               "HKDF");
        is_mem(a, want[0], 32, "first output");
        is_mem(b, want[1], 32, "second");
        is_mem(c, want[2], 32, "third");

        memcpy(ck, count, 32);
        (void) tn_blake2s_hkdf(ck, b, NULL, ck, input, rows[i].len);
        is_mem(ck, want[0], 32, "over its own chaining key");
        is_mem(b, want[1], 32, "which the second does not see");
    }
}


int
main(void)
{
    size_t  i;

    for (i = 0; i < sizeof(count); i++) {
        count[i] = (uint8_t) i;
    }

    test_hash();
    test_mac();
    test_hmac();
    test_hkdf();

    return tap_done();
}
