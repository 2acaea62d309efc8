
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * ChaCha20-Poly1305 by OpenSSL: two contexts keyed once.  Giving
 * EVP_EncryptInit_ex() only a nonce keeps the key schedule.
 */

#include "tn_aead_int.h"

#include <openssl/evp.h>
#include <stdlib.h>


typedef struct {
    EVP_CIPHER_CTX  *seal;
    EVP_CIPHER_CTX  *open;
} tn_aead_openssl_t;


static bool tn_aead_openssl_usable(void);
static void *tn_aead_openssl_create(const tn_key_t *key);
static void tn_aead_openssl_destroy(void *ctx);
static tn_rc_t tn_aead_openssl_seal(void *ctx, const uint8_t *nonce,
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst);
static tn_rc_t tn_aead_openssl_open(void *ctx, const uint8_t *nonce,
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst);


const tn_aead_lib_t  tn_aead_openssl = {
    "OpenSSL",
    tn_aead_openssl_usable,
    tn_aead_openssl_create,
    tn_aead_openssl_destroy,
    tn_aead_openssl_seal,
    tn_aead_openssl_open
};


static bool
tn_aead_openssl_usable(void)
{
    return true;
}


static void *
tn_aead_openssl_create(const tn_key_t *key)
{
    tn_aead_openssl_t  *aead;

    aead = calloc(1, sizeof(tn_aead_openssl_t));
    if (aead == NULL) {
        return NULL;
    }

    aead->seal = EVP_CIPHER_CTX_new();
    aead->open = EVP_CIPHER_CTX_new();

    if (aead->seal == NULL || aead->open == NULL
        || EVP_EncryptInit_ex(aead->seal, EVP_chacha20_poly1305(), NULL,
                              key->b, NULL) != 1
        || EVP_DecryptInit_ex(aead->open, EVP_chacha20_poly1305(), NULL,
                              key->b, NULL) != 1)
    {
        tn_aead_openssl_destroy(aead);
        return NULL;
    }

    return aead;
}


static void
tn_aead_openssl_destroy(void *ctx)
{
    tn_aead_openssl_t  *aead;

    aead = ctx;

    /* EVP_CIPHER_CTX_free() cleanses the key schedule */

    EVP_CIPHER_CTX_free(aead->seal);
    EVP_CIPHER_CTX_free(aead->open);
    free(aead);
}


static tn_rc_t
tn_aead_openssl_seal(void *ctx, const uint8_t *nonce, const uint8_t *ad,
    size_t ad_len, const uint8_t *src, size_t len, uint8_t *dst)
{
    int              n;
    EVP_CIPHER_CTX  *seal;

    seal = ((tn_aead_openssl_t *) ctx)->seal;

    if (EVP_EncryptInit_ex(seal, NULL, NULL, NULL, nonce) != 1
        || (ad_len != 0
            && EVP_EncryptUpdate(seal, NULL, &n, ad, (int) ad_len) != 1)
        || (len != 0
            && EVP_EncryptUpdate(seal, dst, &n, src, (int) len) != 1)
        || EVP_EncryptFinal_ex(seal, dst + len, &n) != 1
        || EVP_CIPHER_CTX_ctrl(seal, EVP_CTRL_AEAD_GET_TAG, TN_AEAD_TAG,
                               dst + len) != 1)
    {
        return TN_ERROR;
    }

    return TN_OK;
}


static tn_rc_t
tn_aead_openssl_open(void *ctx, const uint8_t *nonce, const uint8_t *ad,
    size_t ad_len, const uint8_t *src, size_t len, uint8_t *dst)
{
    int              n;
    uint8_t          tag[TN_AEAD_TAG], none[1];
    EVP_CIPHER_CTX  *open;

    open = ((tn_aead_openssl_t *) ctx)->open;
    memcpy(tag, src + len, TN_AEAD_TAG);

    if (EVP_DecryptInit_ex(open, NULL, NULL, NULL, nonce) != 1
        || (ad_len != 0
            && EVP_DecryptUpdate(open, NULL, &n, ad, (int) ad_len) != 1)
        || (len != 0
            && EVP_DecryptUpdate(open, dst, &n, src, (int) len) != 1)
        || EVP_CIPHER_CTX_ctrl(open, EVP_CTRL_AEAD_SET_TAG, TN_AEAD_TAG,
                               tag) != 1
        || EVP_DecryptFinal_ex(open, none, &n) != 1)
    {
        return TN_MALFORMED;
    }

    return TN_OK;
}
