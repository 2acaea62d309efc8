
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * 32-byte keys and their text forms: a prefix that names the kind, then 64
 * hexadecimal digits (Tailscale, types/key).
 */

#ifndef TN_KEY_H_INCLUDED_
#define TN_KEY_H_INCLUDED_

#include "tn_base.h"


#define TN_KEY_LEN   32

/* room for the longest text form and its zero */
#define TN_KEY_TEXT  80

typedef struct {
    uint8_t  b[TN_KEY_LEN];
} tn_key_t;

typedef struct {
    tn_key_t  priv;
    tn_key_t  pub;
} tn_keypair_t;

#define TN_KEY_MACHINE    "mkey:"
#define TN_KEY_NODE       "nodekey:"
#define TN_KEY_DISCO      "discokey:"
#define TN_KEY_LOCK       "nlpub:"
#define TN_KEY_CHALLENGE  "chalpub:"
#define TN_KEY_PRIVATE    "privkey:"
#define TN_KEY_LOCK_PRIVATE  "nlpriv:"


static inline bool
tn_key_is_zero(const tn_key_t *key)
{
    static const tn_key_t  zero;

    return tn_ct_equal(key->b, zero.b, TN_KEY_LEN);
}


static inline bool
tn_key_equal(const tn_key_t *a, const tn_key_t *b)
{
    return tn_ct_equal(a->b, b->b, TN_KEY_LEN);
}


/*
 * Reads prefix and 64 hexadecimal digits, `len` bytes in all.
 * Returns TN_OK or TN_MALFORMED, and then *key is zero.
 */
tn_rc_t tn_key_parse(tn_key_t *key, const char *prefix, const char *text,
    size_t len);

/* writes the text form with a zero to buf of TN_KEY_TEXT bytes, returns buf */
char *tn_key_text(const tn_key_t *key, const char *prefix, char *buf);

/* the first 5 base64 characters in brackets, as upstream logs a node key:
 * [AbCdE]; buf of 8 bytes */
char *tn_key_short(const tn_key_t *key, char *buf);


#endif /* TN_KEY_H_INCLUDED_ */
