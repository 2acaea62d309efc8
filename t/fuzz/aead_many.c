
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Many messages at once against OpenSSL, one at a time: what is sealed is the
 * same to the byte, nothing around it is written, and of what was changed on
 * the way all is refused that has to be, and nothing else.
 */

#include "crypto/tn_aead_int.h"

#include "base/tn_cursor.h"

#include <stdlib.h>


#define MANY  40
#define ROOM  4200

typedef struct {
    size_t    len;
    size_t    at;           /* of the byte that is changed */
    uint8_t   flip;         /* 0: none is */
    uint8_t  *src;
    uint8_t  *dst;
} message_t;

static uint8_t        buf[2][MANY * ROOM];
static uint8_t        want[ROOM + 64];
static uint8_t        plain[ROOM];
static message_t      messages[MANY];
static tn_aead_job_t  jobs[MANY];


static void
content(uint8_t *p, size_t len, uint8_t how, size_t i)
{
    size_t  k;

    for (k = 0; k < len; k++) {
        p[k] = how < 0xf0 ? (uint8_t) (how * (k + 1) + i) : how;
    }
}


static void
check(bool good)
{
    if (!good) {
        abort();
    }
}


static void
one(const tn_key_t *key, const tn_aead_many_t *many, tn_cursor_t *c)
{
    bool        in_place;
    size_t      i, n, shift;
    uint8_t     how;
    tn_aead_t  *aead, *by_openssl;
    message_t  *m;

    n = 1 + tn_read_u8(c) % MANY;
    how = tn_read_u8(c);
    in_place = how & 1;
    shift = tn_read_u8(c) % 64;

    aead = tn_aead_create_by(&tn_aead_openssl, many, key);
    by_openssl = tn_aead_create_by(&tn_aead_openssl, NULL, key);

    for (i = 0; i < n; i++) {
        m = &messages[i];
        m->len = tn_read_u16(c) % 4097;
        m->at = tn_read_u16(c) % (m->len + TN_AEAD_TAG);
        m->flip = tn_read_u8(c);
        m->flip = m->flip & 1 ? m->flip : 0;

        m->dst = buf[0] + i * ROOM + shift;
        m->src = in_place ? m->dst : buf[1] + i * ROOM + i;
        content(m->src, m->len, how, i);
        m->dst[m->len + TN_AEAD_TAG] = 0x77;

        jobs[i].src = m->src;
        jobs[i].dst = m->dst;
        jobs[i].len = m->len;
        tn_aead_nonce_le(jobs[i].nonce, (uint64_t) how * i << how % 64);
    }

    tn_aead_seal_many(aead, jobs, n);

    for (i = 0; i < n; i++) {
        m = &messages[i];
        content(plain, m->len, how, i);
        check(tn_aead_seal(by_openssl, jobs[i].nonce, NULL, 0, plain, m->len,
                           want)
              == TN_OK);
        check(jobs[i].rc == TN_OK
              && memcmp(want, m->dst, m->len + TN_AEAD_TAG) == 0
              && m->dst[m->len + TN_AEAD_TAG] == 0x77);

        m->dst[m->at] ^= m->flip;
        jobs[i].src = m->dst;
        jobs[i].dst = m->src;
        jobs[i].len = m->len + TN_AEAD_TAG;
    }

    tn_aead_open_many(aead, jobs, n);

    for (i = 0; i < n; i++) {
        m = &messages[i];
        content(plain, m->len, how, i);
        check(jobs[i].rc == (m->flip ? TN_MALFORMED : TN_OK)
              && (m->flip || memcmp(m->src, plain, m->len) == 0)
              && m->dst[m->len + TN_AEAD_TAG] == 0x77);
    }

    tn_aead_destroy(aead);
    tn_aead_destroy(by_openssl);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tn_key_t               key;
    tn_cursor_t            c;
    const uint8_t         *bytes;
    const tn_aead_many_t  *many;

    many = NULL;

#ifdef TN_HAVE_AVX512
    if (tn_aead_avx512.usable()) {
        many = &tn_aead_avx512;
    }
#endif

    c = tn_cursor(data, size);
    bytes = tn_read_bytes(&c, TN_KEY_LEN);

    if (bytes == NULL) {
        return 0;
    }

    memcpy(key.b, bytes, TN_KEY_LEN);
    one(&key, many, &c);

    return 0;
}
