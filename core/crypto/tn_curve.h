
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * X25519 keys, random bytes, and the NaCl box that disco and DERP use.
 */

#ifndef TN_CURVE_H_INCLUDED_
#define TN_CURVE_H_INCLUDED_

#include "base/tn_key.h"


#define TN_BOX_NONCE  24
#define TN_BOX_TAG    16

/* a precomputed shared key of two parties; a secret */
typedef struct {
    uint8_t  k[32];
} tn_box_key_t;


/* call once per process before anything else here; TN_OK or TN_ERROR */
tn_rc_t tn_crypto_init(void);

/* from the kernel's generator, or from the source a test has set */
void tn_random(void *buf, size_t len);
uint32_t tn_random_below(uint32_t bound);   /* uniform in [0, bound) */

/* a deterministic source for simulations; 0 returns to the kernel's */
void tn_random_seed_for_tests(uint64_t seed);

void tn_curve_keypair(tn_keypair_t *pair);
void tn_curve_public(tn_key_t *pub, const tn_key_t *priv);

/* X25519; TN_MALFORMED when the result is all zero (a low-order point) */
tn_rc_t tn_curve_dh(uint8_t out[32], const tn_key_t *priv,
    const tn_key_t *pub);

/* TN_MALFORMED for a low-order public key */
tn_rc_t tn_box_key(tn_box_key_t *key, const tn_key_t *pub,
    const tn_key_t *priv);

/*
 * seal: dst receives nonce, tag and text: TN_BOX_NONCE + TN_BOX_TAG + len.
 * open: src as made by seal; dst receives len - 40 bytes; TN_MALFORMED when
 * it does not verify.  dst and src do not overlap.
 */
tn_rc_t tn_box_seal(const tn_box_key_t *key, const uint8_t *src, size_t len,
    uint8_t *dst);
tn_rc_t tn_box_open(const tn_box_key_t *key, const uint8_t *src, size_t len,
    uint8_t *dst);


#endif /* TN_CURVE_H_INCLUDED_ */
