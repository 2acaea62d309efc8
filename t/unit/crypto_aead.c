
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * ChaCha20-Poly1305 by every library that can run here: RFC 8439's vectors,
 * one library against another, damage, and several threads.
 */

#include "crypto/tn_aead_int.h"
#include "crypto/tn_curve.h"
#include "tap.h"

#include <pthread.h>
#include <stdlib.h>
#include <strings.h>


static const tn_aead_lib_t  *const libs[] = {
#ifdef TN_HAVE_IPSEC_MB
    &tn_aead_ipsec_mb,
#endif
    &tn_aead_openssl
};


static const char  sunscreen[] =
    "Ladies and Gentlemen of the class of '99: If I could offer you only one "
    "tip for the future, sunscreen would be it.";


static tn_key_t
key_from(uint8_t first)
{
    int       i;
    tn_key_t  key;

    for (i = 0; i < TN_KEY_LEN; i++) {
        key.b[i] = (uint8_t) (first + i);
    }

    return key;
}


/* RFC 8439, 2.8.2 and A.5 */

static void
test_vectors(const tn_aead_lib_t *lib)
{
    size_t      len;
    uint8_t     nonce[12], ad[12], want[300], got[300], plain[300];
    tn_key_t    key;
    tn_aead_t  *aead;

    key = key_from(0x80);
    (void) unhex(nonce, "070000004041424344454647");
    (void) unhex(ad, "50515253c0c1c2c3c4c5c6c7");
    len = unhex(want,
        "d31a8d34648e60db7b86afbc53ef7ec2a4aded51296e08fea9e2b5a736ee62d6"
        "3dbea45e8ca9671282fafb69da92728b1a71de0a9e060b2905d6a5b67ecd3b36"
        "92ddbd7f2d778b8c9803aee328091b58fab324e4fad675945585808b4831d7bc"
        "3ff4def08e4b7a9de576d26586cec64b6116"
        "1ae10b594f09e26a7e902ecbd0600691");

    aead = tn_aead_create_by(lib, NULL, &key);
    ok(aead != NULL, "%s: context", lib->name);

    is_int(tn_aead_seal(aead, nonce, ad, 12, (const uint8_t *) sunscreen,
                        sizeof(sunscreen) - 1, got),
           TN_OK, "RFC 8439, 2.8.2: seal");
    is_mem(got, want, len, "RFC 8439, 2.8.2: text and tag");
    is_int(tn_aead_open(aead, nonce, ad, 12, want, len, plain), TN_OK,
           "RFC 8439, 2.8.2: open");
    is_mem(plain, sunscreen, sizeof(sunscreen) - 1, "RFC 8439, 2.8.2: plain");

    tn_aead_destroy(aead);

    (void) unhex(key.b, "1c9240a5eb55d38af333888604f6b5f0"
                        "473917c1402b80099dca5cbc207075c0");
    (void) unhex(nonce, "000000000102030405060708");
    (void) unhex(ad, "f33388860000000000004e91");
    len = unhex(got,
        "64a0861575861af460f062c79be643bd5e805cfd345cf389f108670ac76c8cb2"
        "4c6cfc18755d43eea09ee94e382d26b0bdb7b73c321b0100d4f03b7f355894cf"
        "332f830e710b97ce98c8a84abd0b948114ad176e008d33bd60f982b1ff37c855"
        "9797a06ef4f0ef61c186324e2b3506383606907b6a7c02b0f9f6157b53c867e4"
        "b9166c767b804d46a59b5216cde7a4e99040c5a40433225ee282a1b0a06c523e"
        "af4534d7f83fa1155b0047718cbc546a0d072b04b3564eea1b422273f548271a"
        "0bb2316053fa76991955ebd63159434ecebb4e466dae5a1073a6727627097a10"
        "49e617d91d361094fa68f0ff77987130305beaba2eda04df997b714d6c6f2c29"
        "a6ad5cb4022b02709b"
        "eead9d67890cbb22392336fea1851f38");

    aead = tn_aead_create_by(lib, NULL, &key);
    is_int((long long) len, 281, "RFC 8439, A.5: length");
    is_int(tn_aead_open(aead, nonce, ad, 12, got, len, plain), TN_OK,
           "RFC 8439, A.5: open");
    is_mem(plain, "Internet-Drafts are draft documents valid for a maximum of "
           "six months", 67, "RFC 8439, A.5: plain");

    tn_aead_destroy(aead);
}


static void
test_lengths(const tn_aead_lib_t *lib)
{
    size_t      len, ad_len, wrong, placed, opened;
    uint8_t     nonce[12], ad[40], src[4100], a[4200], b[4200], in[4200];
    tn_key_t    key;
    tn_aead_t  *aead;

    tn_random(key.b, sizeof(key.b));
    tn_random(src, sizeof(src));
    tn_random(ad, sizeof(ad));
    aead = tn_aead_create_by(lib, NULL, &key);

    wrong = 0;
    placed = 0;
    opened = 0;

    for (len = 0; len <= 4096; len += len < 700 ? 1 : 61) {
        ad_len = len % 3 ? len % sizeof(ad) : 0;
        tn_aead_nonce_le(nonce, len * 0x0123456789ull);

        if (tn_aead_seal(aead, nonce, ad, ad_len, src, len, a) != TN_OK
            || tn_aead_seal_once(&key, nonce, ad, ad_len, src, len, b)
               != TN_OK)
        {
            wrong++;
        }

        wrong += memcmp(a, b, len + 16) != 0;

        memcpy(in + 3, src, len);
        (void) tn_aead_seal(aead, nonce, ad, ad_len, in + 3, len, in + 3);
        placed += memcmp(in + 3, b, len + 16) != 0;

        opened += tn_aead_open(aead, nonce, ad, ad_len, in + 3, len + 16,
                               in + 3)
                  != TN_OK;
        opened += memcmp(in + 3, src, len) != 0;
    }

    is_int((long long) wrong, 0, "agrees with libsodium at every length");
    is_int((long long) placed, 0, "in place as well, unaligned");
    is_int((long long) opened, 0, "and opens in place");

    tn_aead_destroy(aead);
}


static void
test_damage(const tn_aead_lib_t *lib)
{
    size_t      i, accepted;
    uint8_t     nonce[12] = { 0 }, ad[5] = "five", src[200], msg[216];
    uint8_t     copy[216], out[216];
    tn_key_t    key;
    tn_aead_t  *aead;

    key = key_from(1);
    memset(src, 7, sizeof(src));
    aead = tn_aead_create_by(lib, NULL, &key);
    (void) tn_aead_seal(aead, nonce, ad, 5, src, sizeof(src), msg);

    for (i = 0, accepted = 0; i < sizeof(msg) * 8; i++) {
        memcpy(copy, msg, sizeof(msg));
        copy[i / 8] ^= (uint8_t) (1 << i % 8);
        accepted += tn_aead_open(aead, nonce, ad, 5, copy, sizeof(copy), out)
                    != TN_MALFORMED;
    }

    is_int((long long) accepted, 0, "no changed bit is accepted");

    for (i = 0; i < sizeof(msg); i++) {
        accepted += tn_aead_open(aead, nonce, ad, 5, msg, i, out)
                    != TN_MALFORMED;
    }

    is_int((long long) accepted, 0, "nor a cut message");

    nonce[11] ^= 1;
    is_int(tn_aead_open(aead, nonce, ad, 5, msg, sizeof(msg), out),
           TN_MALFORMED, "nor another nonce");
    nonce[11] ^= 1;
    ad[0] ^= 1;
    is_int(tn_aead_open(aead, nonce, ad, 5, msg, sizeof(msg), out),
           TN_MALFORMED, "nor other associated data");
    is_int(tn_aead_open(aead, nonce, ad, 4, msg, sizeof(msg), out),
           TN_MALFORMED, "nor less of it");
    ad[0] ^= 1;
    is_int(tn_aead_open(aead, nonce, ad, 5, msg, sizeof(msg), out), TN_OK,
           "the message itself is, after all of these");

    tn_aead_destroy(aead);
}


static void *
worker(void *data)
{
    int                   i;
    uint8_t               nonce[12], buf[1300];
    uintptr_t             wrong;
    tn_key_t              key;
    tn_aead_t            *aead;

    wrong = 0;
    key = key_from((uint8_t) (uintptr_t) &nonce);
    aead = tn_aead_create_by(data, NULL, &key);

    for (i = 0; i < 2000; i++) {
        memset(buf, i & 0xff, 1280);
        tn_aead_nonce_be(nonce, (uint64_t) i);
        wrong += tn_aead_seal(aead, nonce, NULL, 0, buf, 1280, buf) != TN_OK;
        wrong += tn_aead_open(aead, nonce, NULL, 0, buf, 1296, buf) != TN_OK;
        wrong += buf[0] != (i & 0xff) || buf[1279] != (i & 0xff);
    }

    tn_aead_destroy(aead);

    return (void *) wrong;
}


static void
test_threads(const tn_aead_lib_t *lib)
{
    int        i;
    void      *result;
    uintptr_t  wrong;
    pthread_t  threads[4];

    wrong = 0;

    for (i = 0; i < 4; i++) {
        (void) pthread_create(&threads[i], NULL, worker, (void *) lib);
    }

    for (i = 0; i < 4; i++) {
        (void) pthread_join(threads[i], &result);
        wrong += (uintptr_t) result;
    }

    is_int((long long) wrong, 0, "four threads do not disturb each other");
}


/* draft-irtf-cfrg-xchacha, A.3.1 */

static void
test_xchacha(void)
{
    int        i;
    size_t     len;
    uint8_t    nonce[24], ad[12], want[200], got[200];
    tn_key_t   key;

    key = key_from(0x80);

    for (i = 0; i < 24; i++) {
        nonce[i] = (uint8_t) (0x40 + i);
    }

    (void) unhex(ad, "50515253c0c1c2c3c4c5c6c7");
    len = unhex(want,
        "bd6d179d3e83d43b9576579493c0e939572a1700252bfaccbed2902c21396cbb"
        "731c7f1b0b4aa6440bf3a82f4eda7e39ae64c6708c54c216cb96b72e1213b452"
        "2f8c9ba40db5d945b11b69b982c1bb9e3f3fac2bc369488f76b2383565d3fff9"
        "21f9664c97637da9768812f615c68b13b52e"
        "c0875924c1c7987947deafd8780acf49");

    is_int(tn_xaead_seal(&key, nonce, ad, 12, (const uint8_t *) sunscreen,
                         sizeof(sunscreen) - 1, got),
           TN_OK, "XChaCha20-Poly1305: seal");
    is_mem(got, want, len, "XChaCha20-Poly1305: the draft's vector");
    is_int(tn_xaead_open(&key, nonce, ad, 12, want, len, got), TN_OK,
           "XChaCha20-Poly1305: open");
    is_mem(got, sunscreen, sizeof(sunscreen) - 1, "the draft's text");
    want[0] ^= 1;
    is_int(tn_xaead_open(&key, nonce, ad, 12, want, len, got), TN_MALFORMED,
           "damage is seen");
}


int
main(void)
{
    char        name[40];
    size_t      i;
    uint8_t     nonce[12], want[12];
    tn_key_t    key;
    tn_aead_t  *aead;

    if (tn_crypto_init() != TN_OK) {
        return 1;
    }

    for (i = 0; i < tn_nelems(libs); i++) {
        if (!libs[i]->usable()) {
            printf("# %s does not run here\n", libs[i]->name);
            continue;
        }

        test_vectors(libs[i]);
        test_lengths(libs[i]);
        test_damage(libs[i]);
        test_threads(libs[i]);
    }

    test_xchacha();

    tn_aead_nonce_le(nonce, 0x0102030405060708);
    (void) unhex(want, "000000000807060504030201");
    is_mem(nonce, want, 12, "little-endian nonce");
    tn_aead_nonce_be(nonce, 0x0102030405060708);
    (void) unhex(want, "000000000102030405060708");
    is_mem(nonce, want, 12, "big-endian nonce");

    for (i = 0; i + 1 < tn_nelems(libs); i++) {
        if (libs[i]->usable() && (getenv(TN_AEAD_ENV) == NULL
            || strcasecmp(getenv(TN_AEAD_ENV), libs[i]->name) == 0))
        {
            break;
        }
    }

    (void) snprintf(name, sizeof(name), "%s", libs[i]->name);

#ifdef TN_HAVE_AVX512
    if (getenv(TN_AEAD_ENV) == NULL && tn_aead_avx512.usable()) {
        (void) snprintf(name, sizeof(name), "%s + %s", tn_aead_avx512.name,
                        libs[i]->name);
    }
#endif

    if (getenv(TN_AEAD_ENV) != NULL
        && strncasecmp(getenv(TN_AEAD_ENV), tn_aead_backend(),
                       strlen(getenv(TN_AEAD_ENV)))
           == 0)
    {
        (void) snprintf(name, sizeof(name), "%s", tn_aead_backend());
    }

    is_str(tn_aead_backend(), name, "what is asked for, or the best");
    key = key_from(0);
    aead = tn_aead_create(&key);
    ok(aead != NULL, "some library is chosen");
    tn_aead_destroy(aead);
    tn_aead_destroy(NULL);

    return tap_done();
}
