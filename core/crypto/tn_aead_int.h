
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


/* as tn_aead_create(), by one library; it must be usable */
tn_aead_t *tn_aead_create_by(const tn_aead_lib_t *lib, const tn_key_t *key);

extern const tn_aead_lib_t  tn_aead_openssl;

#ifdef TN_HAVE_IPSEC_MB
extern const tn_aead_lib_t  tn_aead_ipsec_mb;
#endif


#endif /* TN_AEAD_INT_H_INCLUDED_ */
