
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * BLAKE2s (RFC 7693): plain, keyed, as HMAC and as the HKDF of Noise.
 */

#ifndef TN_BLAKE2S_H_INCLUDED_
#define TN_BLAKE2S_H_INCLUDED_

#include "base/tn_base.h"


#define TN_BLAKE2S_LEN  32

/* TN_ERROR in each only when the library itself fails */

/* the hash of the concatenation of two parts; the second may be empty */
tn_rc_t tn_blake2s(uint8_t out[TN_BLAKE2S_LEN], const void *a, size_t a_len,
    const void *b, size_t b_len);

/* BLAKE2s-128 keyed with 1 to 32 bytes: WireGuard's mac1 and mac2 */
tn_rc_t tn_blake2s_mac(uint8_t out[16], const void *key, size_t key_len,
    const void *data, size_t len);

tn_rc_t tn_blake2s_hmac(uint8_t out[TN_BLAKE2S_LEN], const void *key,
    size_t key_len, const void *a, size_t a_len, const void *b, size_t b_len);

/*
 * Noise HKDF: 1 to 3 outputs of 32 bytes from a chaining key and input;
 * unwanted outputs are NULL.  Outputs may be the chaining key itself.
 */
tn_rc_t tn_blake2s_hkdf(uint8_t *out1, uint8_t *out2, uint8_t *out3,
    const uint8_t ck[TN_BLAKE2S_LEN], const void *input, size_t len);


#endif /* TN_BLAKE2S_H_INCLUDED_ */
