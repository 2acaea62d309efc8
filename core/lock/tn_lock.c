
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Every update names the hash of the one before it and is signed by keys
 * that were trusted then.  So the head's hash stands for the whole history:
 * two nodes with the same head trust the same keys, and control, which
 * carries the updates, can withhold them but not invent any.
 *
 * A chain starts at a checkpoint, which has the whole state in it.  A later
 * checkpoint replaces the state, but for the authority's id.  An update of a
 * kind that is not known changes nothing and is the new head, as upstream
 * promises to add no kind that changes the meaning of the others.
 *
 * The store of updates, and which of two with one parent counts, is
 * tn_aums.c.
 */

#include "tn_lock.h"

#include <argon2.h>
#include <sodium.h>


/* upstream tka/state.go: DisablementKDF() */
#define TN_LOCK_KDF_SALT   "tailscale network-lock disablement salt"
#define TN_LOCK_KDF_TIME   4
#define TN_LOCK_KDF_KB     (16 * 1024)
#define TN_LOCK_KDF_LANES  4

#define TN_LOCK_SECRET_MAX  1024


static tn_rc_t tn_lock_apply(tn_lock_t *lock, const uint8_t *data, size_t len,
    bool verify);


static const tn_aum_key_t *
tn_lock_find(const tn_aum_state_t *state, const uint8_t *id, size_t len)
{
    unsigned  i;

    if (len != TN_ED25519_PUBLIC_LEN) {
        return NULL;
    }

    for (i = 0; i < state->n; i++) {

        if (memcmp(state->keys[i].pub, id, len) == 0) {
            return &state->keys[i];
        }
    }

    return NULL;
}


const tn_aum_key_t *
tn_lock_key(const tn_lock_t *lock, const uint8_t *id)
{
    return tn_lock_find(&lock->state, id, TN_ED25519_PUBLIC_LEN);
}


/* one signature at least, and none that does not hold */
static bool
tn_lock_is_signed(const tn_aum_t *aum, const tn_aum_state_t *state)
{
    unsigned                   i;
    const tn_aum_key_t        *key;
    const tn_aum_signature_t  *sig;

    for (i = 0; i < aum->n; i++) {
        sig = &aum->signatures[i];
        key = tn_lock_find(state, sig->key_id, TN_ED25519_PUBLIC_LEN);

        if (key == NULL
            || !tn_ed25519_verify_zip215(sig->signature, aum->signed_hash,
                                         sizeof(aum->signed_hash), key->pub))
        {
            return false;
        }
    }

    return aum->n > 0;
}


tn_rc_t
tn_lock_start(tn_lock_t *lock, const uint8_t *data, size_t len)
{
    tn_rc_t   rc;
    tn_aum_t  aum;

    rc = tn_aum_parse(&aum, data, len);

    if (rc != TN_OK) {
        return rc;
    }

    if (aum.kind != TN_AUM_CHECKPOINT || !tn_lock_is_signed(&aum, &aum.state))
    {
        return TN_REFUSED;
    }

    memcpy(lock->head, aum.hash, sizeof(lock->head));
    lock->state = aum.state;

    return TN_OK;
}


static tn_rc_t
tn_lock_add_key(tn_aum_state_t *state, const tn_aum_key_t *key)
{
    if (tn_lock_find(state, key->pub, TN_ED25519_PUBLIC_LEN) != NULL) {
        return TN_REFUSED;
    }

    if (state->n == TN_AUM_KEYS_MAX) {
        return TN_NOMEM;
    }

    state->keys[state->n++] = *key;

    return TN_OK;
}


/* keeps the order, and the last key */
static tn_rc_t
tn_lock_remove_key(tn_aum_state_t *state, tn_str_t id)
{
    unsigned             i;
    const tn_aum_key_t  *key;

    key = tn_lock_find(state, id.data, id.len);

    if (key == NULL || state->n == 1) {
        return TN_REFUSED;
    }

    i = (unsigned) (key - state->keys);
    state->n--;

    memmove(&state->keys[i], &state->keys[i + 1],
            (state->n - i) * sizeof(tn_aum_key_t));

    return TN_OK;
}


static tn_rc_t
tn_lock_update_key(tn_aum_state_t *state, const tn_aum_t *aum)
{
    const tn_aum_key_t  *key;

    key = tn_lock_find(state, aum->key_id.data, aum->key_id.len);

    if (key == NULL
        || aum->meta_len > TN_AUM_META_MAX
        || (aum->has_votes
            && (aum->votes == 0 || aum->votes > TN_AUM_VOTES_MAX)))
    {
        return TN_REFUSED;
    }

    if (aum->has_votes) {
        state->keys[key - state->keys].votes = (uint32_t) aum->votes;
    }

    return TN_OK;
}


tn_rc_t
tn_lock_advance(tn_lock_t *lock, const uint8_t *data, size_t len)
{
    return tn_lock_apply(lock, data, len, true);
}


tn_rc_t
tn_lock_replay(tn_lock_t *lock, const uint8_t *data, size_t len)
{
    return tn_lock_apply(lock, data, len, false);
}


static tn_rc_t
tn_lock_apply(tn_lock_t *lock, const uint8_t *data, size_t len, bool verify)
{
    tn_rc_t          rc;
    tn_aum_t         aum;
    tn_aum_state_t  *state;

    rc = tn_aum_parse(&aum, data, len);

    if (rc != TN_OK) {
        return rc;
    }

    if (aum.parent == NULL
        || memcmp(aum.parent, lock->head, sizeof(lock->head)) != 0)
    {
        return TN_NOTFOUND;
    }

    state = &lock->state;

    if (verify && !tn_lock_is_signed(&aum, state)) {
        return TN_REFUSED;
    }

    switch (aum.kind) {

    case TN_AUM_ADD_KEY:
        rc = tn_lock_add_key(state, &aum.key);
        break;

    case TN_AUM_REMOVE_KEY:
        rc = tn_lock_remove_key(state, aum.key_id);
        break;

    case TN_AUM_UPDATE_KEY:
        rc = tn_lock_update_key(state, &aum);
        break;

    case TN_AUM_CHECKPOINT:
        if (memcmp(aum.state.id, state->id, sizeof(state->id)) != 0) {
            rc = TN_REFUSED;
            break;
        }

        *state = aum.state;
        break;

    default:
        break;
    }

    if (rc == TN_OK) {
        memcpy(lock->head, aum.hash, sizeof(lock->head));
    }

    return rc;
}


uint64_t
tn_lock_weight(const tn_lock_t *lock, const tn_aum_t *aum)
{
    unsigned             i, j;
    uint64_t             weight;
    const tn_aum_key_t  *key;

    weight = 0;

    for (i = 0; i < aum->n; i++) {

        /* a key that signed twice counts once */

        for (j = 0; j < i; j++) {
            if (memcmp(aum->signatures[i].key_id, aum->signatures[j].key_id,
                       TN_ED25519_PUBLIC_LEN) == 0)
            {
                break;
            }
        }

        key = j == i ? tn_lock_key(lock, aum->signatures[i].key_id) : NULL;
        weight += key ? key->votes : 0;
    }

    return weight;
}


bool
tn_lock_disables(const tn_lock_t *lock, const uint8_t *secret, size_t len)
{
    bool            good;
    uint8_t         hash[TN_AUM_DISABLING_LEN];
    unsigned        i;
    argon2_context  context;

    if (len == 0 || len > TN_LOCK_SECRET_MAX) {
        return false;
    }

    /* the lanes one by one: a thread would gain nothing */

    memset(&context, 0, sizeof(context));
    context.out = hash;
    context.outlen = sizeof(hash);
    context.pwd = (uint8_t *) (uintptr_t) secret;
    context.pwdlen = (uint32_t) len;
    context.salt = (uint8_t *) (uintptr_t) TN_LOCK_KDF_SALT;
    context.saltlen = sizeof(TN_LOCK_KDF_SALT) - 1;
    context.t_cost = TN_LOCK_KDF_TIME;
    context.m_cost = TN_LOCK_KDF_KB;
    context.lanes = TN_LOCK_KDF_LANES;
    context.threads = 1;
    context.version = ARGON2_VERSION_13;
    context.flags = ARGON2_DEFAULT_FLAGS;

    if (argon2_ctx(&context, Argon2_i) != ARGON2_OK) {
        return false;
    }

    good = false;

    for (i = 0; i < lock->state.n_disabling; i++) {
        good |= sodium_memcmp(hash, lock->state.disabling[i], sizeof(hash))
                == 0;
    }

    tn_wipe(hash, sizeof(hash));

    return good;
}


tn_rc_t
tn_lock_check_node(const tn_lock_t *lock, const tn_key_t *node,
    const uint8_t *data, size_t len, tn_nodesig_t *sig)
{
    tn_rc_t              rc;
    tn_nodesig_t         own;
    const uint8_t       *id;
    const tn_aum_key_t  *key;

    if (sig == NULL) {
        sig = &own;
    }

    rc = tn_nodesig_parse(sig, data, len);

    if (rc != TN_OK) {
        return rc;
    }

    id = tn_nodesig_key_id(sig);
    key = id ? tn_lock_key(lock, id) : NULL;

    return key ? tn_nodesig_verify(sig, node, key->pub) : TN_REFUSED;
}
