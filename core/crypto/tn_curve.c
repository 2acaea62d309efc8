
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_curve.h"

#include <sodium.h>


static const uint8_t *tn_random_source(void);


static bool      tn_random_deterministic;
static uint64_t  tn_random_counter;
static uint8_t   tn_random_key[randombytes_SEEDBYTES];


tn_rc_t
tn_crypto_init(void)
{
    return sodium_init() < 0 ? TN_ERROR : TN_OK;
}


void
tn_random(void *buf, size_t len)
{
    if (tn_unlikely(tn_random_deterministic)) {
        randombytes_buf_deterministic(buf, len, tn_random_source());
        return;
    }

    randombytes_buf(buf, len);
}


uint32_t
tn_random_below(uint32_t bound)
{
    uint32_t  word;
    uint64_t  product;

    /* the bias, bound / 2^32, does not matter for jitter and choice */

    tn_random(&word, sizeof(word));
    product = (uint64_t) word * bound;

    return (uint32_t) (product >> 32);
}


void
tn_random_seed_for_tests(uint64_t seed)
{
    tn_random_deterministic = seed != 0;
    tn_random_counter = 0;
    memset(tn_random_key, 0, sizeof(tn_random_key));
    memcpy(tn_random_key, &seed, sizeof(seed));
}


void
tn_curve_keypair(tn_keypair_t *pair)
{
    tn_random(pair->priv.b, TN_KEY_LEN);

    /* clamped as upstream stores its keys, so both read the same file */

    pair->priv.b[0] &= 248;
    pair->priv.b[31] = (pair->priv.b[31] & 127) | 64;

    tn_curve_public(&pair->pub, &pair->priv);
}


void
tn_curve_public(tn_key_t *pub, const tn_key_t *priv)
{
    (void) crypto_scalarmult_base(pub->b, priv->b);
}


tn_rc_t
tn_curve_dh(uint8_t out[32], const tn_key_t *priv, const tn_key_t *pub)
{
    return crypto_scalarmult(out, priv->b, pub->b) == 0 ? TN_OK
                                                        : TN_MALFORMED;
}


tn_rc_t
tn_box_key(tn_box_key_t *key, const tn_key_t *pub, const tn_key_t *priv)
{
    return crypto_box_beforenm(key->k, pub->b, priv->b) == 0 ? TN_OK
                                                             : TN_MALFORMED;
}


tn_rc_t
tn_box_seal(const tn_box_key_t *key, const uint8_t *src, size_t len,
    uint8_t *dst)
{
    tn_random(dst, TN_BOX_NONCE);

    return crypto_box_easy_afternm(dst + TN_BOX_NONCE, src, len, dst, key->k)
           == 0 ? TN_OK : TN_ERROR;
}


tn_rc_t
tn_box_open(const tn_box_key_t *key, const uint8_t *src, size_t len,
    uint8_t *dst)
{
    if (len < TN_BOX_NONCE + TN_BOX_TAG) {
        return TN_MALFORMED;
    }

    return crypto_box_open_easy_afternm(dst, src + TN_BOX_NONCE,
                                        len - TN_BOX_NONCE, src, key->k)
           == 0 ? TN_OK : TN_MALFORMED;
}


static const uint8_t *
tn_random_source(void)
{
    tn_random_counter++;
    memcpy(tn_random_key + 8, &tn_random_counter, sizeof(tn_random_counter));

    return tn_random_key;
}
