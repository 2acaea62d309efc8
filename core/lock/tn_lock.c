
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
 * Upstream resolves forks by the votes of those who signed, when it has
 * several updates with one parent in its store.  There is no store here.
 */

#include "tn_lock.h"


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

    if (!tn_lock_is_signed(&aum, state)) {
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
