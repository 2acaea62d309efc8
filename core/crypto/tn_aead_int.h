
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What a library has to bring to stand behind tn_aead.h.  Only the files
 * tn_aead*.c and the test of the seam include this.
 */

#ifndef TN_AEAD_INT_H_INCLUDED_
#define TN_AEAD_INT_H_INCLUDED_

#include "tn_aead.h"

#if defined(__x86_64__) && __has_include(<intel-ipsec-mb.h>)
#define TN_HAVE_IPSEC_MB  1
#endif

#if defined(__x86_64__) && (defined(__GNUC__) || defined(__clang__))
#define TN_HAVE_AVX512  1
#endif


typedef struct {
    const char  *name;

    /* whether this machine has what it needs; asked once per process,
     * before anything else */
    bool       (*usable)(void);

    /* a context for one key, or NULL */
    void      *(*create)(const tn_key_t *key);
    void       (*destroy)(void *ctx);

    /* as tn_aead_seal() and tn_aead_open(); `len` is that of the plaintext
     * in both */
    tn_rc_t    (*seal)(void *ctx, const uint8_t *nonce, const uint8_t *ad,
                       size_t ad_len, const uint8_t *src, size_t len,
                       uint8_t *dst);
    tn_rc_t    (*open)(void *ctx, const uint8_t *nonce, const uint8_t *ad,
                       size_t ad_len, const uint8_t *src, size_t len,
                       uint8_t *dst);
} tn_aead_lib_t;

/* code that takes many messages at once, beside a library for the others */
typedef struct {
    const char  *name;

    /* as that of a library */
    bool       (*usable)(void);

    /* whether it is faster with these than the library */
    bool       (*takes)(const tn_aead_job_t *jobs, size_t n);

    /* as tn_aead_seal_many() and tn_aead_open_many() */
    void       (*seal)(const tn_key_t *key, tn_aead_job_t *jobs, size_t n);
    void       (*open)(const tn_key_t *key, tn_aead_job_t *jobs, size_t n);
} tn_aead_many_t;


/* as tn_aead_create(), by one library, and by code for many messages or
 * NULL; both must be usable */
tn_aead_t *tn_aead_create_by(const tn_aead_lib_t *lib,
    const tn_aead_many_t *many, const tn_key_t *key);

extern const tn_aead_lib_t  tn_aead_openssl;

#ifdef TN_HAVE_IPSEC_MB
extern const tn_aead_lib_t  tn_aead_ipsec_mb;
#endif

#ifdef TN_HAVE_AVX512
extern const tn_aead_many_t  tn_aead_avx512;
#endif


#endif /* TN_AEAD_INT_H_INCLUDED_ */
