
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_aead_int.h"

#include <pthread.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>


/* between the names of both */
#define TN_AEAD_AND  " + "

struct tn_aead_s {
    const tn_aead_lib_t   *lib;
    void                  *ctx;
    const tn_aead_many_t  *many;        /* or NULL */
    tn_key_t               key;
    tn_aead_t             *apart;       /* or NULL */
    unsigned               shares;      /* how often it has to be destroyed */
};


static void tn_aead_choose(void);


/* the fastest first; the last runs everywhere */

static const tn_aead_lib_t  *const tn_aead_libs[] = {
#ifdef TN_HAVE_IPSEC_MB
    &tn_aead_ipsec_mb,
#endif
    &tn_aead_openssl
};

static const tn_aead_lib_t   *tn_aead_lib;
static const tn_aead_many_t  *tn_aead_many;
static char                   tn_aead_name[32];
static pthread_once_t         tn_aead_once = PTHREAD_ONCE_INIT;


tn_aead_t *
tn_aead_create(const tn_key_t *key)
{
    (void) pthread_once(&tn_aead_once, tn_aead_choose);

    return tn_aead_create_by(tn_aead_lib, tn_aead_many, key);
}


tn_aead_t *
tn_aead_create_by(const tn_aead_lib_t *lib, const tn_aead_many_t *many,
    const tn_key_t *key)
{
    tn_aead_t  *aead;

    aead = malloc(sizeof(tn_aead_t));
    if (aead == NULL) {
        return NULL;
    }

    aead->lib = lib;
    aead->many = many;
    aead->apart = NULL;
    aead->shares = 1;
    aead->key = *key;
    aead->ctx = lib->create(key);

    if (aead->ctx == NULL) {
        tn_wipe(&aead->key, sizeof(tn_key_t));
        free(aead);
        return NULL;
    }

    return aead;
}


void
tn_aead_destroy(tn_aead_t *aead)
{
    if (aead == NULL || --aead->shares > 0) {
        return;
    }

    tn_aead_destroy(aead->apart);
    aead->lib->destroy(aead->ctx);
    tn_wipe(&aead->key, sizeof(tn_key_t));
    free(aead);
}


tn_aead_t *
tn_aead_apart(tn_aead_t *aead)
{
    if (aead->apart == NULL) {
        aead->apart = tn_aead_create_by(aead->lib, aead->many, &aead->key);
    }

    if (aead->apart != NULL) {
        aead->apart->shares++;
    }

    return aead->apart;
}


tn_rc_t
tn_aead_seal(tn_aead_t *aead, const uint8_t nonce[TN_AEAD_NONCE],
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst)
{
    return aead->lib->seal(aead->ctx, nonce, ad, ad_len, src, len, dst);
}


tn_rc_t
tn_aead_open(tn_aead_t *aead, const uint8_t nonce[TN_AEAD_NONCE],
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst)
{
    if (tn_unlikely(len < TN_AEAD_TAG)) {
        return TN_MALFORMED;
    }

    return aead->lib->open(aead->ctx, nonce, ad, ad_len, src,
                           len - TN_AEAD_TAG, dst);
}


void
tn_aead_seal_many(tn_aead_t *aead, tn_aead_job_t *jobs, size_t n)
{
    size_t          i;
    tn_aead_job_t  *job;

    if (aead->many != NULL && aead->many->takes(jobs, n)) {
        aead->many->seal(&aead->key, jobs, n);
        return;
    }

    for (i = 0; i < n; i++) {
        job = &jobs[i];
        job->rc = tn_aead_seal(aead, job->nonce, NULL, 0, job->src, job->len,
                               job->dst);

        if (tn_unlikely(job->rc != TN_OK)) {
            tn_wipe(job->dst, job->len + TN_AEAD_TAG);
        }
    }
}


void
tn_aead_open_many(tn_aead_t *aead, tn_aead_job_t *jobs, size_t n)
{
    size_t          i;
    tn_aead_job_t  *job;

    if (aead->many != NULL && aead->many->takes(jobs, n)) {
        aead->many->open(&aead->key, jobs, n);
        return;
    }

    for (i = 0; i < n; i++) {
        job = &jobs[i];
        job->rc = tn_aead_open(aead, job->nonce, NULL, 0, job->src, job->len,
                               job->dst);
    }
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
    (void) pthread_once(&tn_aead_once, tn_aead_choose);

    return tn_aead_name;
}


static void
tn_aead_choose(void)
{
    size_t                 i;
    const char            *name;
    const tn_aead_many_t  *many;

    name = secure_getenv(TN_AEAD_ENV);
    many = NULL;

#ifdef TN_HAVE_AVX512
    if (tn_aead_avx512.usable()) {
        many = &tn_aead_avx512;
    }
#endif

    /* a library's name alone means the library alone */

    if (name != NULL && many != NULL) {
        i = strlen(many->name);

        if (strncasecmp(name, many->name, i) != 0) {
            many = NULL;

        } else if (strncmp(name + i, TN_AEAD_AND, strlen(TN_AEAD_AND)) == 0) {
            name += i + strlen(TN_AEAD_AND);
        }
    }

    for (i = 0; i + 1 < tn_nelems(tn_aead_libs); i++) {
        if ((name == NULL || strcasecmp(name, tn_aead_libs[i]->name) == 0)
            && tn_aead_libs[i]->usable())
        {
            break;
        }
    }

    tn_aead_lib = tn_aead_libs[i];
    tn_aead_many = many;

    (void) snprintf(tn_aead_name, sizeof(tn_aead_name), "%s%s%s",
                    many ? many->name : "", many ? TN_AEAD_AND : "",
                    tn_aead_lib->name);
}
