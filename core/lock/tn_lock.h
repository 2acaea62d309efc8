
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Tailnet lock's authority (upstream tka.Authority): which keys are trusted
 * after a chain of updates, and whether they vouch for a node.
 */

#ifndef TN_LOCK_H_INCLUDED_
#define TN_LOCK_H_INCLUDED_

#include "tn_aum.h"
#include "tn_nodesig.h"


/* 18 kB; plain data, to be copied or thrown away as it is */
typedef struct {
    uint8_t         head[TN_BLAKE2S_LEN];   /* the last update's hash */
    tn_aum_state_t  state;
} tn_lock_t;


/*
 * Both change nothing unless they return TN_OK.  TN_MALFORMED: not an
 * update; TN_REFUSED: one that may not be applied.
 *
 * start: the state of a checkpoint, signed by keys of its own.  Whoever
 * calls has a reason to believe this one.
 *
 * advance: one update upon the last.  TN_NOTFOUND when it follows another
 * one: of a chain that forks, who calls chooses the branch.
 */
tn_rc_t tn_lock_start(tn_lock_t *lock, const uint8_t *data, size_t len);
tn_rc_t tn_lock_advance(tn_lock_t *lock, const uint8_t *data, size_t len);

/* the same for one that advance took before: its signatures are not looked at
 * again */
tn_rc_t tn_lock_replay(tn_lock_t *lock, const uint8_t *data, size_t len);

/* the votes of those who signed it, by the state of its parent */
uint64_t tn_lock_weight(const tn_lock_t *lock, const tn_aum_t *aum);

/*
 * Whether this secret ends tailnet lock.  It takes Argon2i: 16 MB, and some
 * 50 ms.
 */
bool tn_lock_disables(const tn_lock_t *lock, const uint8_t *secret,
    size_t len);

/* the trusted key with this id (32 bytes), or NULL */
const tn_aum_key_t *tn_lock_key(const tn_lock_t *lock, const uint8_t *id);

/*
 * TN_OK when the signature (upstream tailcfg.Node.KeySignature) vouches for
 * the node's key; TN_MALFORMED or TN_REFUSED.  `sig` may be NULL; otherwise
 * it is the signature, with pointers into data.
 */
tn_rc_t tn_lock_check_node(const tn_lock_t *lock, const tn_key_t *node,
    const uint8_t *data, size_t len, tn_nodesig_t *sig);


#endif /* TN_LOCK_H_INCLUDED_ */
