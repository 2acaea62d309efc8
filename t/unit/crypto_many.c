
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Many messages at once against libsodium: every length, every size of a
 * batch, in place and not, damage, and Poly1305 by itself at the edges of its
 * arithmetic, for which the code is included here.
 */

#include "../../core/crypto/tn_aead_avx512.c"

#include "crypto/tn_curve.h"
#include "tap.h"

#include <sodium.h>
#include <stdlib.h>


#define BATCH  70
#define ROOM   2200

static uint8_t        plain[BATCH][ROOM];
static uint8_t        want[BATCH][ROOM];
static uint8_t        got[BATCH][ROOM];
static tn_aead_job_t  jobs[BATCH];
static tn_key_t       key;


static void
job(size_t i, const uint8_t *src, uint8_t *dst, size_t len, uint64_t counter)
{
    jobs[i].src = src;
    jobs[i].dst = dst;
    jobs[i].len = len;
    jobs[i].rc = TN_AGAIN;
    tn_aead_nonce_le(jobs[i].nonce, counter);
    jobs[i].nonce[i % 4] = (uint8_t) counter;
}


/*
 * n messages of these lengths, `shift` bytes off alignment: sealed and opened.
 * How many were wrong in any way, a byte behind them included.
 */
static size_t
round_trip(tn_aead_t *aead, const size_t *len, size_t n, size_t shift,
    bool in_place)
{
    size_t    i, bad, wrong;
    uint8_t  *src, *dst;
    uint64_t  first;

    wrong = 0;
    tn_random(&first, sizeof(first));

    for (i = 0; i < n; i++) {
        src = in_place ? got[i] + shift : plain[i] + (shift * 7 + i) % 64;
        dst = got[i] + shift;
        tn_random(src, len[i]);
        job(i, src, dst, len[i], first + i * 0x0123456789abcdef);
        (void) tn_aead_seal_once(&key, jobs[i].nonce, NULL, 0, src, len[i],
                                 want[i]);
        dst[len[i] + TN_AEAD_TAG] = 0x5a;

        if (!in_place) {
            memset(dst, 0xa5, len[i] + TN_AEAD_TAG);
        }
    }

    tn_aead_seal_many(aead, jobs, n);

    for (i = 0; i < n; i++) {
        dst = got[i] + shift;
        bad = jobs[i].rc != TN_OK
              || memcmp(dst, want[i], len[i] + TN_AEAD_TAG) != 0
              || dst[len[i] + TN_AEAD_TAG] != 0x5a;
        wrong += bad;

        jobs[i].src = dst;
        jobs[i].dst = in_place ? dst : plain[i] + shift;
        jobs[i].len = len[i] + TN_AEAD_TAG;
        jobs[i].rc = TN_AGAIN;
        jobs[i].dst[len[i]] = jobs[i].src[len[i]];
    }

    tn_aead_open_many(aead, jobs, n);

    for (i = 0; i < n; i++) {
        (void) tn_aead_open_once(&key, jobs[i].nonce, NULL, 0, want[i],
                                 len[i] + TN_AEAD_TAG, want[i]);
        wrong += jobs[i].rc != TN_OK
                 || memcmp(jobs[i].dst, want[i], len[i]) != 0
                 || jobs[i].dst[len[i]] != want[i][len[i]];
    }

    return wrong;
}


static void
test_lengths(tn_aead_t *aead)
{
    size_t  i, n, l, len[BATCH], wrong, placed;

    wrong = 0;
    placed = 0;

    for (l = 0; l <= 2100; l++) {
        n = 3 + l % 18;

        for (i = 0; i < n; i++) {
            len[i] = l;
        }

        wrong += round_trip(aead, len, n, l % 61, false);
        placed += round_trip(aead, len, n, l % 59, true);
    }

    is_int((long long) wrong, 0, "every length up to 2100, all alike");
    is_int((long long) placed, 0, "and in place");
}


static void
test_batches(tn_aead_t *aead)
{
    int      k;
    size_t   i, n, len[BATCH], wrong, mixed;
    uint8_t  r[2];

    wrong = 0;
    mixed = 0;

    for (n = 1; n <= BATCH; n++) {
        for (i = 0; i < n; i++) {
            len[i] = i + 1 < n ? 1280 : 700 + n;
        }

        wrong += round_trip(aead, len, n, n % 16, true);
        wrong += round_trip(aead, len, n, n % 16, false);

        for (k = 0; k < 4; k++) {
            for (i = 0; i < n; i++) {
                tn_random(r, 2);
                len[i] = ((size_t) r[0] << 8 | r[1]) % (k % 2 ? 2101 : 150);
                len[i] = r[0] % 5 == 0 ? 0 : len[i];
            }

            mixed += round_trip(aead, len, n, n % 16, k < 2);
        }
    }

    is_int((long long) wrong, 0, "every batch up to 70, the last shorter");
    is_int((long long) mixed, 0, "and of lengths mixed");
}


/* a changed byte in each kind of place, in each message of a batch */

static void
test_damage(tn_aead_t *aead)
{
    size_t  i, k, n, at, victim, wrong, len[BATCH];

    static const size_t  sizes[] = { 3, 4, 8, 9, 16, 17, 45 };

    wrong = 0;

    for (k = 0; k < tn_nelems(sizes); k++) {
        n = sizes[k];

        for (i = 0; i < n; i++) {
            len[i] = 64 + 37 * i % 300;
            (void) job(i, plain[i], want[i], len[i], i);
        }

        tn_aead_seal_many(aead, jobs, n);

        for (victim = 0; victim < n; victim += n > 20 ? 7 : 1) {
            for (at = 0; at < len[victim] + TN_AEAD_TAG;
                 at += at < len[victim] ? 13 : 1)
            {
                for (i = 0; i < n; i++) {
                    memcpy(got[i], want[i], len[i] + TN_AEAD_TAG);
                    job(i, got[i], got[i], len[i] + TN_AEAD_TAG, i);
                }

                got[victim][at] ^= (uint8_t) (1 << at % 8);
                tn_aead_open_many(aead, jobs, n);

                for (i = 0; i < n; i++) {
                    wrong += i == victim
                             ? jobs[i].rc != TN_MALFORMED
                             : jobs[i].rc != TN_OK
                               || memcmp(got[i], plain[i], len[i]) != 0;
                }
            }
        }

        /* cut below a tag, and a nonce that is not its own */

        for (i = 0; i < n; i++) {
            memcpy(got[i], want[i], len[i] + TN_AEAD_TAG);
            job(i, got[i], got[i],
                i % 3 == 1 ? i % 16 : len[i] + TN_AEAD_TAG, i);
            jobs[i].nonce[11] ^= i % 3 == 2;
        }

        tn_aead_open_many(aead, jobs, n);

        for (i = 0; i < n; i++) {
            wrong += jobs[i].rc != (i % 3 == 0 ? TN_OK : TN_MALFORMED);
        }
    }

    is_int((long long) wrong, 0, "what is damaged is refused, the rest is not");
}


/* RFC 8439, A.1, vectors 1 and 2: key and nonce of zeros, blocks 0 and 1 */

static void
test_vector(const tn_aead_many_t *many)
{
    size_t                    i, wrong;
    uint8_t                   zeros[64] = { 0 }, ends[16] = { 0 };
    uint8_t                   stream[128], tag[TN_AEAD_TAG];
    tn_key_t                  none = { { 0 } };
    tn_aead_t                *aead;
    crypto_onetimeauth_state  state;

    (void) unhex(stream, "76b8e0ada0f13d90405d6ae55386bd28"
                         "bdd219b8a08ded1aa836efcc8b770dc7"
                         "da41597c5157488d7724e03fb8d84a37"
                         "6a43b8f41518a11cc387b669b2ee6586"
                         "9f07e7be5551387a98ba977c732d080d"
                         "cb0f29a048e3656912c6533e32ee7aed"
                         "29b721769ce64e43d57133b074d839d5"
                         "31ed1f28510afb45ace10a1f4b794d6f");

    ends[8] = 64;
    (void) crypto_onetimeauth_init(&state, stream);
    (void) crypto_onetimeauth_update(&state, stream + 64, 64);
    (void) crypto_onetimeauth_update(&state, ends, 16);
    (void) crypto_onetimeauth_final(&state, tag);

    aead = tn_aead_create_by(&tn_aead_openssl, many, &none);

    for (i = 0; i < 48; i++) {
        job(i, zeros, got[i], 64, 0);
        memset(jobs[i].nonce, 0, TN_AEAD_NONCE);
    }

    tn_aead_seal_many(aead, jobs, 48);

    for (i = 0, wrong = 0; i < 48; i++) {
        wrong += memcmp(got[i], stream + 64, 64) != 0
                 || memcmp(got[i] + 64, tag, TN_AEAD_TAG) != 0;
    }

    is_int((long long) wrong, 0, "RFC 8439, A.1: in every lane");
    tn_aead_destroy(aead);
}


#ifdef TN_HAVE_AVX512

/* by libsodium: the text, zeros up to 16, and the length of it */
static void
reference(uint8_t *tag, const uint8_t *k, const uint8_t *text, size_t len)
{
    uint8_t                   ends[16] = { 0 };
    crypto_onetimeauth_state  state;

    (void) crypto_onetimeauth_init(&state, k);
    (void) crypto_onetimeauth_update(&state, text, len);
    (void) crypto_onetimeauth_update(&state, ends, (16 - len % 16) % 16);
    ends[8] = (uint8_t) len;
    ends[9] = (uint8_t) (len >> 8);
    (void) crypto_onetimeauth_update(&state, ends, 16);
    (void) crypto_onetimeauth_final(&state, tag);
}


/* n texts under keys of their own, all in t->first and t->src */
static size_t
poly(tn_aead_tile_t *t)
{
    size_t   i, wrong;
    uint8_t  tag[TN_AEAD_TAG];

    tn_aead_avx512_authenticate(t, false);

    for (i = 0, wrong = 0; i < t->n; i++) {
        reference(tag, t->first[i], t->src[i], t->len[i]);
        wrong += memcmp(tag, t->tag[i], TN_AEAD_TAG) != 0;
    }

    return wrong;
}


static void
test_poly(void)
{
    int      d, borrow;
    size_t   i, k, n, wrong;
    uint8_t  r[2];

    static tn_aead_tile_t  t;

    /* r and blocks of all ones, of carries that run through, and of zeros */

    static const uint8_t  fill[] = { 0xff, 0x00, 0xfb, 0xfe, 0x80, 0x01 };

    wrong = 0;

    for (n = 1; n <= 16; n++) {
        for (k = 0; k < 36 * 6; k++) {
            t.n = n;

            for (i = 0; i < n; i++) {
                t.src[i] = plain[i];
                t.len[i] = 16 * ((k + i) % 23) + (k % 5 == 0 ? i : 0);
                memset(t.first[i], fill[(k + i) % 6], 16);
                memset(t.first[i] + 16, fill[(k / 6 + i) % 6], 16);
                memset(plain[i], fill[(k / 36 + i) % 6], t.len[i]);

                if (k % 3 == 1) {
                    plain[i][k % 16] = fill[(k / 3) % 6];
                }
            }

            wrong += poly(&t);
        }
    }

    is_int((long long) wrong, 0, "Poly1305 of long runs of bits");

    /*
     * r = 1, two blocks and the lengths': 3 * 2^128 + a + b + (32 << 64) is
     * made 2^130 - 5 + d, on both sides of the modulus.
     */

    t.n = 16;
    wrong = 0;

    for (d = -11; d <= 11; d++) {
        for (i = 0; i < 16; i++) {
            memset(t.first[i], 0, 64);
            t.first[i][0] = 1;
            t.src[i] = plain[i];
            t.len[i] = 32;
            memset(plain[i], 0xff, 16);         /* a = 2^128 - 1 */
            memset(plain[i] + 16, 0, 16);       /* b = d - 4 - (32 << 64) */

            /* which is modulo 2^128, so a gives back what b lacks */

            plain[i][16] = (uint8_t) (d - 4);
            borrow = d - 4 < 0 ? 0xff : 0;
            memset(plain[i] + 17, borrow, 15);
            plain[i][24] = (uint8_t) (plain[i][24] - 32);

            if (borrow == 0) {
                memset(plain[i] + 25, 0xff, 7);
                plain[i][24] = (uint8_t) (0 - 32);
            }

            t.first[i][16] = (uint8_t) i;
        }

        wrong += poly(&t);
    }

    is_int((long long) wrong, 0, "Poly1305 on both sides of the modulus");

    /* RFC 8439, A.3: keys and texts of vectors 2, 4 and 7 to 11 */

    static const struct {
        const char  *key;
        const char  *text;
    } edges[] = {
        { "0000000000000000000000000000000036e5f6b5c5e06070f0efca96227a863e",
          "416e79207375626d697373696f6e20746f207468652049455446" },
        { "1c9240a5eb55d38af333888604f6b5f0473917c1402b80099dca5cbc207075c0",
          "2754776173206272696c6c69672c20616e642074686520736c697468" },
        { "0200000000000000000000000000000000000000000000000000000000000000",
          "ffffffffffffffffffffffffffffffff" },
        { "02000000000000000000000000000000ffffffffffffffffffffffffffffffff",
          "02000000000000000000000000000000" },
        { "0100000000000000000000000000000000000000000000000000000000000000",
          "fffffffffffffffffffffffffffffffff0ffffffffffffffffffffffffffffff"
          "11000000000000000000000000000000" },
        { "0100000000000000000000000000000000000000000000000000000000000000",
          "fffffffffffffffffffffffffffffffffbfefefefefefefefefefefefefefefe"
          "01010101010101010101010101010101" },
        { "0200000000000000000000000000000000000000000000000000000000000000",
          "fdffffffffffffffffffffffffffffff" },
        { "0100000000000000040000000000000000000000000000000000000000000000",
          "e33594d7505e43b900000000000000003394d7505e4379cd0100000000000000"
          "0000000000000000000000000000000001000000000000000000000000000000" },
    };

    wrong = 0;

    for (k = 0; k < tn_nelems(edges); k++) {
        for (i = 0; i < 16; i++) {
            (void) unhex(t.first[i], edges[(k + i) % 8].key);
            t.len[i] = unhex(plain[i], edges[(k + i) % 8].text);
        }

        wrong += poly(&t);
    }

    is_int((long long) wrong, 0, "Poly1305 of RFC 8439's edges");

    /* and whatever else there is */

    wrong = 0;

    for (k = 0; k < 3000; k++) {
        for (i = 0; i < 16; i++) {
            tn_random(r, 2);
            tn_random(t.first[i], 32);
            t.len[i] = ((size_t) r[0] << 8 | r[1]) % 400;
            tn_random(plain[i], t.len[i]);
        }

        wrong += poly(&t);
    }

    is_int((long long) wrong, 0, "Poly1305 of random keys and texts");
}

#endif


static tn_rc_t
seal_some(void *ctx, const uint8_t *nonce, const uint8_t *ad, size_t ad_len,
    const uint8_t *src, size_t len, uint8_t *dst)
{
    return len % 3 == 0 ? TN_ERROR
                        : tn_aead_openssl.seal(ctx, nonce, ad, ad_len, src,
                                               len, dst);
}


/* in place, so that nothing but the zeros hides what it was */
static void
test_failing(void)
{
    size_t         i, k, wrong;
    tn_aead_t     *aead, *good;
    tn_aead_lib_t  lib;

    lib = tn_aead_openssl;
    lib.seal = seal_some;
    aead = tn_aead_create_by(&lib, NULL, &key);
    good = tn_aead_create_by(&tn_aead_openssl, NULL, &key);
    wrong = 0;

    for (i = 0; i < BATCH; i++) {
        memset(got[i], 0x55, ROOM);
        job(i, got[i], got[i], 100 + i, i);
    }

    tn_aead_seal_many(aead, jobs, BATCH);

    for (i = 0; i < BATCH; i++) {

        if (jobs[i].len % 3 != 0) {
            wrong += jobs[i].rc != TN_OK
                     || tn_aead_open(good, jobs[i].nonce, NULL, 0, got[i],
                                     jobs[i].len + TN_AEAD_TAG, want[i])
                        != TN_OK;

        } else {
            wrong += jobs[i].rc == TN_OK;

            for (k = 0; k < jobs[i].len + TN_AEAD_TAG; k++) {
                wrong += got[i][k] != 0;
            }
        }

        wrong += got[i][jobs[i].len + TN_AEAD_TAG] != 0x55;
    }

    is_int((long long) wrong, 0, "what is not sealed becomes zeros");

    tn_aead_destroy(aead);
    tn_aead_destroy(good);
}


int
main(void)
{
    size_t      i;
    tn_aead_t  *aead;

    static const tn_aead_many_t  *const many[] = {
#ifdef TN_HAVE_AVX512
        &tn_aead_avx512,
#endif
        NULL
    };

    if (tn_crypto_init() != TN_OK) {
        return 1;
    }

    for (i = 0; i < tn_nelems(many); i++) {
        if (many[i] != NULL && !many[i]->usable()) {
            printf("# no %s here\n", many[i]->name);
            continue;
        }

        printf("# %s\n", many[i] ? many[i]->name : "a library alone");

        tn_random(key.b, sizeof(key.b));
        aead = tn_aead_create_by(&tn_aead_openssl, many[i], &key);

        test_lengths(aead);
        test_batches(aead);
        test_damage(aead);

        tn_aead_seal_many(aead, jobs, 0);
        tn_aead_open_many(aead, jobs, 0);
        tn_aead_destroy(aead);

        test_vector(many[i]);

#ifdef TN_HAVE_AVX512
        if (many[i] == &tn_aead_avx512) {
            test_poly();
        }
#endif
    }

    test_failing();

    return tap_done();
}
