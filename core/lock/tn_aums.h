
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The updates of tailnet lock's authority that this node knows, forks among
 * them, and the state at the head of the branch that counts (upstream: tka's
 * Chonk, Inform(), SyncOffer() and MissingAUMs()).
 */

#ifndef TN_AUMS_H_INCLUDED_
#define TN_AUMS_H_INCLUDED_

#include "tn_lock.h"


#define TN_AUMS_MAX        2048                /* updates, as upstream */
#define TN_AUMS_BYTES_MAX  (4 * 1024 * 1024)
#define TN_AUMS_OFFER_MAX  64                  /* ancestors in an offer */
#define TN_AUMS_TEXT       53                  /* of a hash, with its zero */

typedef struct tn_aums_s  tn_aums_t;


/*
 * A chain of one update, a checkpoint that the caller has a reason to
 * believe.  NULL when it is none or there is no memory.
 */
tn_aums_t *tn_aums_create(const uint8_t *data, size_t len);

/* NULL is allowed */
void tn_aums_destroy(tn_aums_t *chain);

/* the state at the head, good until the next inform */
const tn_lock_t *tn_aums_lock(const tn_aums_t *chain);

/*
 * Takes more updates, each after its parent; those it has are passed over.
 * All or none: TN_OK; TN_NOTFOUND: a parent is missing; TN_REFUSED,
 * TN_MALFORMED, TN_NOMEM.
 */
tn_rc_t tn_aums_inform(tn_aums_t *chain, const tn_str_t *updates, size_t n);

/*
 * What tells another one how far this is, beside the head: checkpoints from
 * there back, and at last the oldest.  Returns their number, at most max.
 */
size_t tn_aums_offer(const tn_aums_t *chain,
    uint8_t (*ancestors)[TN_BLAKE2S_LEN], size_t max);

/*
 * The updates of our branch that somebody with this offer lacks, oldest
 * first, up to max; they point into the chain.  TN_NOTFOUND: the two have
 * nothing in common.
 */
tn_rc_t tn_aums_missing(const tn_aums_t *chain, const uint8_t *head,
    const uint8_t (*ancestors)[TN_BLAKE2S_LEN], size_t nancestors,
    tn_str_t *updates, size_t max, size_t *n);

/* all of it for another start, in new memory */
tn_rc_t tn_aums_pack(const tn_aums_t *chain, uint8_t **bytes, size_t *len);

/* NULL: not one, or no memory.  Whoever can write it is believed. */
tn_aums_t *tn_aums_unpack(const uint8_t *bytes, size_t len);

/* a hash as control writes it: base32 without padding */
void tn_aums_hash_text(char text[TN_AUMS_TEXT],
    const uint8_t hash[TN_BLAKE2S_LEN]);
tn_rc_t tn_aums_hash_parse(uint8_t hash[TN_BLAKE2S_LEN], const char *text);


#endif /* TN_AUMS_H_INCLUDED_ */
