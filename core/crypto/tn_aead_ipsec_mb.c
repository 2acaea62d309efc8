
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * ChaCha20-Poly1305 by Intel's ipsec-mb, which is nearly twice as fast as
 * OpenSSL where the CPU has AVX-512.  Its job interface is used, one job at a
 * time: for this cipher a job is done when the call that submits it returns,
 * and it costs less than the library's direct calls.  A manager of jobs
 * belongs to one thread, so each thread makes its own at the first need and
 * loses it with its end.
 *
 * The library is looked for at run time, so that a build that knows it also
 * runs where it is not installed.
 */

#include "tn_aead_int.h"

#ifdef TN_HAVE_IPSEC_MB

#include <dlfcn.h>
#include <intel-ipsec-mb.h>
#include <pthread.h>
#include <stdlib.h>


#define TN_AEAD_IPSEC_MB_SONAME  "libIPSec_MB.so.1"


static bool tn_aead_ipsec_mb_usable(void);
static void *tn_aead_ipsec_mb_create(const tn_key_t *key);
static void tn_aead_ipsec_mb_destroy(void *ctx);
static tn_rc_t tn_aead_ipsec_mb_seal(void *ctx, const uint8_t *nonce,
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst);
static tn_rc_t tn_aead_ipsec_mb_open(void *ctx, const uint8_t *nonce,
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst);
static tn_rc_t tn_aead_ipsec_mb_run(const tn_key_t *key, bool seal,
    const uint8_t *nonce, const uint8_t *ad, size_t ad_len,
    const uint8_t *src, size_t len, uint8_t *dst, uint8_t *tag);
static IMB_MGR *tn_aead_ipsec_mb_manager(void);
static IMB_MGR *tn_aead_ipsec_mb_new(void);
static bool tn_aead_ipsec_mb_load(void);
static void tn_aead_ipsec_mb_free(void *mgr);


const tn_aead_lib_t  tn_aead_ipsec_mb = {
    "ipsec-mb",
    tn_aead_ipsec_mb_usable,
    tn_aead_ipsec_mb_create,
    tn_aead_ipsec_mb_destroy,
    tn_aead_ipsec_mb_seal,
    tn_aead_ipsec_mb_open
};


static _Thread_local IMB_MGR  *tn_aead_ipsec_mb_mgr;
static pthread_key_t           tn_aead_ipsec_mb_exit;

/* what the library exports; all else hangs at the manager */

static IMB_MGR   *(*tn_aead_ipsec_mb_alloc)(uint64_t flags);
static void       (*tn_aead_ipsec_mb_release)(IMB_MGR *mgr);
static void       (*tn_aead_ipsec_mb_init)(IMB_MGR *mgr, IMB_ARCH *arch);
static int        (*tn_aead_ipsec_mb_errno)(IMB_MGR *mgr);
static unsigned   (*tn_aead_ipsec_mb_version)(void);


static bool
tn_aead_ipsec_mb_usable(void)
{
    bool      usable;
    IMB_MGR  *mgr;

    if (!tn_aead_ipsec_mb_load()
        || pthread_key_create(&tn_aead_ipsec_mb_exit, tn_aead_ipsec_mb_free)
           != 0)
    {
        return false;
    }

    mgr = tn_aead_ipsec_mb_new();
    if (mgr == NULL) {
        return false;
    }

    usable = (mgr->features & IMB_FEATURE_AVX512_SKX)
             == IMB_FEATURE_AVX512_SKX;

    tn_aead_ipsec_mb_release(mgr);

    return usable;
}


static void *
tn_aead_ipsec_mb_create(const tn_key_t *key)
{
    tn_key_t  *copy;

    if (tn_aead_ipsec_mb_manager() == NULL) {
        return NULL;
    }

    copy = malloc(sizeof(tn_key_t));

    if (copy != NULL) {
        *copy = *key;
    }

    return copy;
}


static void
tn_aead_ipsec_mb_destroy(void *ctx)
{
    tn_wipe(ctx, sizeof(tn_key_t));
    free(ctx);
}


static tn_rc_t
tn_aead_ipsec_mb_seal(void *ctx, const uint8_t *nonce, const uint8_t *ad,
    size_t ad_len, const uint8_t *src, size_t len, uint8_t *dst)
{
    return tn_aead_ipsec_mb_run(ctx, true, nonce, ad, ad_len, src, len, dst,
                                dst + len);
}


static tn_rc_t
tn_aead_ipsec_mb_open(void *ctx, const uint8_t *nonce, const uint8_t *ad,
    size_t ad_len, const uint8_t *src, size_t len, uint8_t *dst)
{
    int      i;
    tn_rc_t  rc;
    uint8_t  tag[TN_AEAD_TAG];

    /* a tag that the library failed to write must not match */

    for (i = 0; i < TN_AEAD_TAG; i++) {
        tag[i] = (uint8_t) ~src[len + (size_t) i];
    }

    rc = tn_aead_ipsec_mb_run(ctx, false, nonce, ad, ad_len, src, len, dst,
                              tag);

    if (rc == TN_OK && !tn_ct_equal(tag, src + len, TN_AEAD_TAG)) {
        rc = TN_MALFORMED;
    }

    return rc;
}


static tn_rc_t
tn_aead_ipsec_mb_run(const tn_key_t *key, bool seal, const uint8_t *nonce,
    const uint8_t *ad, size_t ad_len, const uint8_t *src, size_t len,
    uint8_t *dst, uint8_t *tag)
{
    IMB_JOB  *job, *done;
    IMB_MGR  *mgr;

    mgr = tn_aead_ipsec_mb_manager();

    if (tn_unlikely(mgr == NULL)) {
        return TN_ERROR;
    }

    job = IMB_GET_NEXT_JOB(mgr);

    job->cipher_mode = IMB_CIPHER_CHACHA20_POLY1305;
    job->hash_alg = IMB_AUTH_CHACHA20_POLY1305;
    job->cipher_direction = seal ? IMB_DIR_ENCRYPT : IMB_DIR_DECRYPT;
    job->chain_order = seal ? IMB_ORDER_CIPHER_HASH : IMB_ORDER_HASH_CIPHER;
    job->enc_keys = key->b;
    job->dec_keys = key->b;
    job->key_len_in_bytes = TN_KEY_LEN;
    job->iv = nonce;
    job->iv_len_in_bytes = TN_AEAD_NONCE;
    job->u.CHACHA20_POLY1305.aad = ad;
    job->u.CHACHA20_POLY1305.aad_len_in_bytes = ad_len;
    job->src = src;
    job->dst = dst;
    job->cipher_start_src_offset_in_bytes = 0;
    job->hash_start_src_offset_in_bytes = 0;
    job->msg_len_to_cipher_in_bytes = len;
    job->msg_len_to_hash_in_bytes = len;
    job->auth_tag_output = tag;
    job->auth_tag_output_len_in_bytes = TN_AEAD_TAG;

    done = IMB_SUBMIT_JOB_NOCHECK(mgr);

    return done == job && done->status == IMB_STATUS_COMPLETED ? TN_OK
                                                               : TN_ERROR;
}


static IMB_MGR *
tn_aead_ipsec_mb_manager(void)
{
    IMB_MGR  *mgr;

    mgr = tn_aead_ipsec_mb_mgr;

    if (tn_likely(mgr != NULL)) {
        return mgr;
    }

    mgr = tn_aead_ipsec_mb_new();

    if (mgr != NULL
        && pthread_setspecific(tn_aead_ipsec_mb_exit, mgr) != 0)
    {
        tn_aead_ipsec_mb_release(mgr);
        return NULL;
    }

    tn_aead_ipsec_mb_mgr = mgr;

    return mgr;
}


static IMB_MGR *
tn_aead_ipsec_mb_new(void)
{
    IMB_MGR   *mgr;
    IMB_ARCH   arch;

    mgr = tn_aead_ipsec_mb_alloc(0);
    if (mgr == NULL) {
        return NULL;
    }

    tn_aead_ipsec_mb_init(mgr, &arch);

    if (tn_aead_ipsec_mb_errno(mgr) != 0) {
        tn_aead_ipsec_mb_release(mgr);
        return NULL;
    }

    return mgr;
}


/*
 * The manager's layout is the library's own affair, so only the version that
 * the header describes will do.  Loaded once, never unloaded.
 */

static bool
tn_aead_ipsec_mb_load(void)
{
    size_t   i;
    void    *lib, *found;

    static const struct {
        const char  *name;
        void        *function;
    } symbols[] = {
        { "alloc_mb_mgr", &tn_aead_ipsec_mb_alloc },
        { "free_mb_mgr", &tn_aead_ipsec_mb_release },
        { "init_mb_mgr_auto", &tn_aead_ipsec_mb_init },
        { "imb_get_errno", &tn_aead_ipsec_mb_errno },
        { "imb_get_version", &tn_aead_ipsec_mb_version }
    };

    lib = dlopen(TN_AEAD_IPSEC_MB_SONAME, RTLD_NOW | RTLD_LOCAL);
    if (lib == NULL) {
        return false;
    }

    for (i = 0; i < tn_nelems(symbols); i++) {
        found = dlsym(lib, symbols[i].name);
        if (found == NULL) {
            return false;
        }

        /* POSIX lets a function's address stand in a pointer to void */

        memcpy(symbols[i].function, &found, sizeof(found));
    }

    return tn_aead_ipsec_mb_version() >> 8 == IMB_VERSION_NUM >> 8;
}


static void
tn_aead_ipsec_mb_free(void *mgr)
{
    tn_aead_ipsec_mb_mgr = NULL;
    tn_aead_ipsec_mb_release(mgr);
}


#else

typedef int  tn_aead_ipsec_mb_none_t;   /* C wants something in a file */

#endif
