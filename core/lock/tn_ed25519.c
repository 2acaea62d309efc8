
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * libsodium multiplies only points of the main subgroup.  Eight times any
 * point of the curve is one, and addition takes them all: so R and A are
 * multiplied by the cofactor first, S as a scalar.
 */

#include "tn_ed25519.h"

#include <sodium.h>


/* the group's order, little-endian: RFC 8032 section 5.1 */
static const uint8_t  tn_ed25519_order[32] = {
    0xed, 0xd3, 0xf5, 0x5c, 0x1a, 0x63, 0x12, 0x58,
    0xd6, 0x9c, 0xf7, 0xa2, 0xde, 0xf9, 0xde, 0x14,
    0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0x10
};

static const uint8_t  tn_ed25519_identity[32] = { 1 };


/* all of it is public: this takes no care of time */
static bool
tn_ed25519_is_scalar(const uint8_t s[32])
{
    int  i;

    for (i = 31; i >= 0; i--) {

        if (s[i] != tn_ed25519_order[i]) {
            return s[i] < tn_ed25519_order[i];
        }
    }

    return false;
}


/* eight times the point; false when it is not on the curve */
static bool
tn_ed25519_clear_cofactor(uint8_t out[32], const uint8_t p[32])
{
    uint8_t  twice[32], fourfold[32];

    return crypto_core_ed25519_add(twice, p, p) == 0
           && crypto_core_ed25519_add(fourfold, twice, twice) == 0
           && crypto_core_ed25519_add(out, fourfold, fourfold) == 0;
}


/* the product of a scalar and the base point when `p` is NULL */
static bool
tn_ed25519_mul(uint8_t out[32], const uint8_t n[32], const uint8_t *p)
{
    /* libsodium refuses to return the identity */

    if (sodium_is_zero(n, 32)
        || (p != NULL && memcmp(p, tn_ed25519_identity, 32) == 0))
    {
        memcpy(out, tn_ed25519_identity, 32);
        return true;
    }

    return p == NULL ? crypto_scalarmult_ed25519_base_noclamp(out, n) == 0
                     : crypto_scalarmult_ed25519_noclamp(out, n, p) == 0;
}


bool
tn_ed25519_verify(const uint8_t sig[TN_ED25519_SIGNATURE_LEN],
    const uint8_t *msg, size_t len, const uint8_t pub[TN_ED25519_PUBLIC_LEN])
{
    return crypto_sign_ed25519_verify_detached(sig, msg, len, pub) == 0;
}


bool
tn_ed25519_verify_zip215(const uint8_t sig[TN_ED25519_SIGNATURE_LEN],
    const uint8_t *msg, size_t len, const uint8_t pub[TN_ED25519_PUBLIC_LEN])
{
    uint8_t                   hash[64], k[32], s[32], r[32], a[32];
    uint8_t                   left[32], product[32], right[32];
    crypto_hash_sha512_state  sha;

    static const uint8_t  eight[32] = { 8 };

    /* what satisfies the equation as it is does so eight times as well */

    if (tn_ed25519_verify(sig, msg, len, pub)) {
        return true;
    }

    if (!tn_ed25519_is_scalar(sig + 32)
        || !tn_ed25519_clear_cofactor(r, sig)
        || !tn_ed25519_clear_cofactor(a, pub))
    {
        return false;
    }

    crypto_hash_sha512_init(&sha);
    crypto_hash_sha512_update(&sha, sig, 32);
    crypto_hash_sha512_update(&sha, pub, 32);
    crypto_hash_sha512_update(&sha, msg, len);
    crypto_hash_sha512_final(&sha, hash);
    crypto_core_ed25519_scalar_reduce(k, hash);

    crypto_core_ed25519_scalar_mul(s, sig + 32, eight);

    return tn_ed25519_mul(left, s, NULL)
           && tn_ed25519_mul(product, k, a)
           && crypto_core_ed25519_add(right, r, product) == 0
           && memcmp(left, right, 32) == 0;
}
