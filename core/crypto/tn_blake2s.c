
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * OpenSSL carries BLAKE2s as a digest of 32 bytes and, from 3.0, as a keyed
 * MAC of any length; HMAC and HKDF over it are put together here as RFC 2104
 * and the Noise specification write them.
 */

#include "tn_blake2s.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/params.h>
#include <pthread.h>


#define TN_BLAKE2S_BLOCK  64


static void tn_blake2s_fetch(void);


static pthread_once_t   tn_blake2s_once = PTHREAD_ONCE_INIT;
static EVP_MAC         *tn_blake2s_evp_mac;


tn_rc_t
tn_blake2s(uint8_t out[TN_BLAKE2S_LEN], const void *a, size_t a_len,
    const void *b, size_t b_len)
{
    tn_rc_t      rc;
    EVP_MD_CTX  *ctx;

    rc = TN_ERROR;

    ctx = EVP_MD_CTX_new();
    if (ctx == NULL) {
        return TN_ERROR;
    }

    if (EVP_DigestInit_ex(ctx, EVP_blake2s256(), NULL) == 1
        && EVP_DigestUpdate(ctx, a, a_len) == 1
        && (b_len == 0 || EVP_DigestUpdate(ctx, b, b_len) == 1)
        && EVP_DigestFinal_ex(ctx, out, NULL) == 1)
    {
        rc = TN_OK;
    }

    EVP_MD_CTX_free(ctx);

    return rc;
}


tn_rc_t
tn_blake2s_mac(uint8_t out[16], const void *key, size_t key_len,
    const void *data, size_t len)
{
    size_t        size, n;
    tn_rc_t       rc;
    OSSL_PARAM    params[2];
    EVP_MAC_CTX  *ctx;

    (void) pthread_once(&tn_blake2s_once, tn_blake2s_fetch);

    if (tn_blake2s_evp_mac == NULL) {
        return TN_ERROR;
    }

    ctx = EVP_MAC_CTX_new(tn_blake2s_evp_mac);
    if (ctx == NULL) {
        return TN_ERROR;
    }

    rc = TN_ERROR;
    size = 16;
    params[0] = OSSL_PARAM_construct_size_t(OSSL_MAC_PARAM_SIZE, &size);
    params[1] = OSSL_PARAM_construct_end();

    if (EVP_MAC_init(ctx, key, key_len, params) == 1
        && EVP_MAC_update(ctx, data, len) == 1
        && EVP_MAC_final(ctx, out, &n, 16) == 1
        && n == 16)
    {
        rc = TN_OK;
    }

    EVP_MAC_CTX_free(ctx);

    return rc;
}


tn_rc_t
tn_blake2s_hmac(uint8_t out[TN_BLAKE2S_LEN], const void *key, size_t key_len,
    const void *a, size_t a_len, const void *b, size_t b_len)
{
    int          i;
    tn_rc_t      rc;
    uint8_t      pad[TN_BLAKE2S_BLOCK], inner[TN_BLAKE2S_LEN];
    EVP_MD_CTX  *ctx;

    rc = TN_ERROR;

    ctx = EVP_MD_CTX_new();
    if (ctx == NULL) {
        return TN_ERROR;
    }

    memset(pad, 0, sizeof(pad));

    if (key_len > TN_BLAKE2S_BLOCK) {
        if (tn_blake2s(pad, key, key_len, NULL, 0) != TN_OK) {
            goto done;
        }

    } else {
        memcpy(pad, key, key_len);
    }

    for (i = 0; i < TN_BLAKE2S_BLOCK; i++) {
        pad[i] ^= 0x36;
    }

    if (EVP_DigestInit_ex(ctx, EVP_blake2s256(), NULL) != 1
        || EVP_DigestUpdate(ctx, pad, sizeof(pad)) != 1
        || EVP_DigestUpdate(ctx, a, a_len) != 1
        || (b_len != 0 && EVP_DigestUpdate(ctx, b, b_len) != 1)
        || EVP_DigestFinal_ex(ctx, inner, NULL) != 1)
    {
        goto done;
    }

    for (i = 0; i < TN_BLAKE2S_BLOCK; i++) {
        pad[i] ^= 0x36 ^ 0x5c;
    }

    rc = tn_blake2s(out, pad, sizeof(pad), inner, sizeof(inner));

done:

    tn_wipe(pad, sizeof(pad));
    tn_wipe(inner, sizeof(inner));
    EVP_MD_CTX_free(ctx);

    return rc;
}


tn_rc_t
tn_blake2s_hkdf(uint8_t *out1, uint8_t *out2, uint8_t *out3,
    const uint8_t ck[TN_BLAKE2S_LEN], const void *input, size_t len)
{
    tn_rc_t  rc;
    uint8_t  prk[TN_BLAKE2S_LEN], t[TN_BLAKE2S_LEN + 1];

    rc = tn_blake2s_hmac(prk, ck, TN_BLAKE2S_LEN, input, len, NULL, 0);
    if (rc != TN_OK) {
        goto done;
    }

    t[0] = 1;
    rc = tn_blake2s_hmac(t, prk, sizeof(prk), t, 1, NULL, 0);

    if (rc == TN_OK && out1 != NULL) {
        memcpy(out1, t, TN_BLAKE2S_LEN);
    }

    if (rc == TN_OK && out2 != NULL) {
        t[TN_BLAKE2S_LEN] = 2;
        rc = tn_blake2s_hmac(t, prk, sizeof(prk), t, sizeof(t), NULL, 0);
        memcpy(out2, t, TN_BLAKE2S_LEN);
    }

    if (rc == TN_OK && out3 != NULL) {
        t[TN_BLAKE2S_LEN] = 3;
        rc = tn_blake2s_hmac(t, prk, sizeof(prk), t, sizeof(t), NULL, 0);
        memcpy(out3, t, TN_BLAKE2S_LEN);
    }

done:

    tn_wipe(prk, sizeof(prk));
    tn_wipe(t, sizeof(t));

    return rc;
}


static void
tn_blake2s_fetch(void)
{
    tn_blake2s_evp_mac = EVP_MAC_fetch(NULL, "BLAKE2SMAC", NULL);
}
