
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Updates of tailnet lock's authority, upstream's AUM (tka/aum.go): the form
 * and what can be judged of one by itself.
 */

#ifndef TN_AUM_H_INCLUDED_
#define TN_AUM_H_INCLUDED_

#include "crypto/tn_blake2s.h"
#include "tn_ed25519.h"


/* upstream tka/limits.go and Key.StaticValidate */
#define TN_AUM_KEYS_MAX        512
#define TN_AUM_DISABLING_MAX   32
#define TN_AUM_DISABLING_LEN   32      /* Argon2i of a secret that ends it */
#define TN_AUM_META_MAX        512     /* bytes of a key's names and values */
#define TN_AUM_VOTES_MAX       4096

/* bounds of ours */
#define TN_AUM_LEN_MAX         (1024 * 1024)
#define TN_AUM_SIGNATURES_MAX  32

typedef enum {
    TN_AUM_ADD_KEY = 1,
    TN_AUM_REMOVE_KEY = 2,
    TN_AUM_NO_OP = 3,
    TN_AUM_UPDATE_KEY = 4,
    TN_AUM_CHECKPOINT = 5
} tn_aum_kind_t;

/* an Ed25519 key; its public half is its id */
typedef struct {
    uint8_t   pub[TN_ED25519_PUBLIC_LEN];
    uint32_t  votes;
} tn_aum_key_t;

typedef struct {
    uint64_t      id[2];            /* fixed for the authority's lifetime */
    unsigned      n;
    tn_aum_key_t  keys[TN_AUM_KEYS_MAX];
    unsigned      n_disabling;
    uint8_t       disabling[TN_AUM_DISABLING_MAX][TN_AUM_DISABLING_LEN];
} tn_aum_state_t;

/* pointers into what was parsed */
typedef struct {
    const uint8_t  *key_id;
    const uint8_t  *signature;
} tn_aum_signature_t;

typedef struct {
    uint8_t             kind;           /* what it does not know does nothing */
    const uint8_t      *parent;         /* a hash into the bytes, or NULL */
    tn_str_t            key_id;         /* data NULL: none */

    bool                has_key;
    bool                has_state;
    bool                has_votes;
    bool                has_meta;
    tn_aum_key_t        key;
    tn_aum_state_t      state;
    uint64_t            votes;
    size_t              meta_len;

    unsigned            n;
    tn_aum_signature_t  signatures[TN_AUM_SIGNATURES_MAX];

    uint8_t             hash[TN_BLAKE2S_LEN];       /* its name in a chain */
    uint8_t             signed_hash[TN_BLAKE2S_LEN];
} tn_aum_t;


/*
 * Reads one update of 20 kB of memory; `data` must outlive it.  TN_MALFORMED
 * also for what upstream's StaticValidate() refuses, and, as it hashes what
 * it has written anew and this what it has read, for an unknown field, a
 * form that is not canonical, and keys and hashes of an odd length.
 */
tn_rc_t tn_aum_parse(tn_aum_t *aum, const uint8_t *data, size_t len);


#endif /* TN_AUM_H_INCLUDED_ */
