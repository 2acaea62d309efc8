
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_aead.h"

#include <openssl/evp.h>
#include <sodium.h>
#include <stdlib.h>


/*
 * Two contexts of OpenSSL, keyed once: giving EVP_EncryptInit_ex() only a
 * nonce keeps the key schedule.
 */

struct tn_aead_s {
    EVP_CIPHER_CTX  *seal;
    EVP_CIPHER_CTX  *open;
};


tn_aead_t *
tn_aead_create(const tn_key_t *key)
{
    tn_aead_t  *aead;

    aead = calloc(1, sizeof(tn_aead_t));
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
        tn_aead_destroy(aead);
        return NULL;
    }

    return aead;
}


void
tn_aead_destroy(tn_aead_t *aead)
{
    if (aead == NULL) {
        return;
    }

    /* EVP_CIPHER_CTX_free() cleanses the key schedule */

    EVP_CIPHER_CTX_free(aead->seal);
    EVP_CIPHER_CTX_free(aead->open);
    free(aead);
}


tn_rc_t
tn_aead_seal(tn_aead_t *aead, const uint8_t nonce[TN_AEAD_NONCE],
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst)
{
    int  n;

    if (EVP_EncryptInit_ex(aead->seal, NULL, NULL, NULL, nonce) != 1
        || (ad_len != 0
            && EVP_EncryptUpdate(aead->seal, NULL, &n, ad, (int) ad_len) != 1)
        || (len != 0
            && EVP_EncryptUpdate(aead->seal, dst, &n, src, (int) len) != 1)
        || EVP_EncryptFinal_ex(aead->seal, dst + len, &n) != 1
        || EVP_CIPHER_CTX_ctrl(aead->seal, EVP_CTRL_AEAD_GET_TAG, TN_AEAD_TAG,
                               dst + len) != 1)
    {
        return TN_ERROR;
    }

    return TN_OK;
}


tn_rc_t
tn_aead_open(tn_aead_t *aead, const uint8_t nonce[TN_AEAD_NONCE],
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst)
{
    int      n;
    uint8_t  tag[TN_AEAD_TAG], none[1];

    if (len < TN_AEAD_TAG) {
        return TN_MALFORMED;
    }

    len -= TN_AEAD_TAG;
    memcpy(tag, src + len, TN_AEAD_TAG);

    if (EVP_DecryptInit_ex(aead->open, NULL, NULL, NULL, nonce) != 1
        || (ad_len != 0
            && EVP_DecryptUpdate(aead->open, NULL, &n, ad, (int) ad_len) != 1)
        || (len != 0
            && EVP_DecryptUpdate(aead->open, dst, &n, src, (int) len) != 1)
        || EVP_CIPHER_CTX_ctrl(aead->open, EVP_CTRL_AEAD_SET_TAG, TN_AEAD_TAG,
                               tag) != 1
        || EVP_DecryptFinal_ex(aead->open, none, &n) != 1)
    {
        return TN_MALFORMED;
    }

    return TN_OK;
}


tn_rc_t
tn_aead_seal_once(const tn_key_t *key, const uint8_t nonce[TN_AEAD_NONCE],
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst)
{
    unsigned long long  n;

    return crypto_aead_chacha20poly1305_ietf_encrypt(dst, &n, src, len, ad,
                                                     ad_len, NULL, nonce,
                                                     key->b)
           == 0 ? TN_OK : TN_ERROR;
}


tn_rc_t
tn_aead_open_once(const tn_key_t *key, const uint8_t nonce[TN_AEAD_NONCE],
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst)
{
    unsigned long long  n;

    return crypto_aead_chacha20poly1305_ietf_decrypt(dst, &n, NULL, src, len,
                                                     ad, ad_len, nonce,
                                                     key->b)
           == 0 ? TN_OK : TN_MALFORMED;
}


tn_rc_t
tn_xaead_seal(const tn_key_t *key, const uint8_t nonce[24], const uint8_t *ad,
    size_t ad_len, const uint8_t *src, size_t len, uint8_t *dst)
{
    unsigned long long  n;

    return crypto_aead_xchacha20poly1305_ietf_encrypt(dst, &n, src, len, ad,
                                                      ad_len, NULL, nonce,
                                                      key->b)
           == 0 ? TN_OK : TN_ERROR;
}


tn_rc_t
tn_xaead_open(const tn_key_t *key, const uint8_t nonce[24], const uint8_t *ad,
    size_t ad_len, const uint8_t *src, size_t len, uint8_t *dst)
{
    unsigned long long  n;

    return crypto_aead_xchacha20poly1305_ietf_decrypt(dst, &n, NULL, src, len,
                                                      ad, ad_len, nonce,
                                                      key->b)
           == 0 ? TN_OK : TN_MALFORMED;
}


const char *
tn_aead_backend(void)
{
    return "OpenSSL";
}
