
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * ChaCha20-Poly1305 (RFC 8439) for the transport of WireGuard and of Noise:
 * a key set up once, then many messages.  The seam behind which vector
 * libraries are chosen; callers never see which one runs.
 */

#ifndef TN_AEAD_H_INCLUDED_
#define TN_AEAD_H_INCLUDED_

#include "base/tn_key.h"

#include <endian.h>


#define TN_AEAD_TAG    16
#define TN_AEAD_NONCE  12

typedef struct tn_aead_s  tn_aead_t;

/* one of many messages under one key, without associated data */
typedef struct {
    const uint8_t  *src;
    uint8_t        *dst;
    size_t          len;        /* of src: to be opened, the tag counts */
    uint8_t         nonce[TN_AEAD_NONCE];
    tn_rc_t         rc;         /* the result */
} tn_aead_job_t;


/* NULL when out of memory; the key is copied */
tn_aead_t *tn_aead_create(const tn_key_t *key);

/* wipes and frees; NULL is allowed */
void tn_aead_destroy(tn_aead_t *aead);

/*
 * Another one of the same key, for the use of another thread, but taken and
 * given back (tn_aead_destroy(), for each time that it was taken) by this one.
 * It may outlive the aead.  Made at the first call; NULL when out of memory.
 */
tn_aead_t *tn_aead_apart(tn_aead_t *aead);

/*
 * dst receives len + TN_AEAD_TAG bytes; dst may equal src, and may overlap
 * it in no other way.  No allocation.  An aead is used by one thread at a
 * time.  TN_OK or TN_ERROR.
 */
tn_rc_t tn_aead_seal(tn_aead_t *aead, const uint8_t nonce[TN_AEAD_NONCE],
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst);

/*
 * len counts the tag; dst receives len - TN_AEAD_TAG bytes and may equal
 * src.  TN_MALFORMED when the tag does not verify (then dst is undefined)
 * or len is under TN_AEAD_TAG.
 */
tn_rc_t tn_aead_open(tn_aead_t *aead, const uint8_t nonce[TN_AEAD_NONCE],
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst);

/*
 * As the two above, for each job by itself: one that fails harms no other.
 * The memory of one overlaps that of no other.  Faster by far than one call
 * each where vector code takes messages side by side.  What the library fails
 * to seal becomes zeros, so that sending it tells nothing.
 */
void tn_aead_seal_many(tn_aead_t *aead, tn_aead_job_t *jobs, size_t n);
void tn_aead_open_many(tn_aead_t *aead, tn_aead_job_t *jobs, size_t n);

/* one message under a key used once; the same rules */
tn_rc_t tn_aead_seal_once(const tn_key_t *key,
    const uint8_t nonce[TN_AEAD_NONCE], const uint8_t *ad, size_t ad_len,
    const uint8_t *src, size_t len, uint8_t *dst);
tn_rc_t tn_aead_open_once(const tn_key_t *key,
    const uint8_t nonce[TN_AEAD_NONCE], const uint8_t *ad, size_t ad_len,
    const uint8_t *src, size_t len, uint8_t *dst);

/* 64-bit counter after 4 zero bytes: WireGuard's order, and ts2021's */
static inline void
tn_aead_nonce_le(uint8_t nonce[TN_AEAD_NONCE], uint64_t counter)
{
    counter = htole64(counter);

    memset(nonce, 0, 4);
    memcpy(nonce + 4, &counter, 8);
}

static inline void
tn_aead_nonce_be(uint8_t nonce[TN_AEAD_NONCE], uint64_t counter)
{
    counter = htobe64(counter);

    memset(nonce, 0, 4);
    memcpy(nonce + 4, &counter, 8);
}

/* XChaCha20-Poly1305, 24-byte nonce, for WireGuard's cookie replies */
tn_rc_t tn_xaead_seal(const tn_key_t *key, const uint8_t nonce[24],
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst);
tn_rc_t tn_xaead_open(const tn_key_t *key, const uint8_t nonce[24],
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst);

/*
 * In the environment, for tests and measurements: the name of the one library
 * to use, OpenSSL where it does not run; or that of our own code, "AVX-512",
 * with OpenSSL for the rest, or with both names as tn_aead_backend() has them.
 */
#define TN_AEAD_ENV  "TAILNET_AEAD"

/* the name of the library that runs, for the log: "OpenSSL", or
 * "AVX-512 + OpenSSL" where our own code takes many messages at once */
const char *tn_aead_backend(void);


#endif /* TN_AEAD_H_INCLUDED_ */
