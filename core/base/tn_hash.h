
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A hash table of elements that carry their own link and their own key of a
 * length fixed for the table.  Seeded, so that peers cannot choose keys that
 * collide; grows by itself, allocates nothing per element.
 */

#ifndef TN_HASH_H_INCLUDED_
#define TN_HASH_H_INCLUDED_

#include "tn_base.h"


typedef struct tn_hash_node_s  tn_hash_node_t;

struct tn_hash_node_s {
    tn_hash_node_t   *next;
    const void       *key;      /* points into the element */
    uint64_t          hash;
};

typedef struct {
    tn_hash_node_t  **buckets;  /* NULL until the first insert */
    size_t            mask;
    size_t            count;
    size_t            key_len;
    uint64_t          seed;
} tn_hash_t;


/* key_len 0: keys are texts that end with a zero */
void tn_hash_init(tn_hash_t *hash, size_t key_len);

/* frees the table, not the elements */
void tn_hash_done(tn_hash_t *hash);

/*
 * node->key must be set and stay unchanged.  An equal key already there is
 * the caller's mistake: look first.  TN_OK or TN_NOMEM.
 */
tn_rc_t tn_hash_insert(tn_hash_t *hash, tn_hash_node_t *node);

void tn_hash_remove(tn_hash_t *hash, tn_hash_node_t *node);

/* NULL when absent */
tn_hash_node_t *tn_hash_find(const tn_hash_t *hash, const void *key);

/*
 * Walks all elements in no order: start with NULL, ends with NULL.  The
 * element returned last may be removed before the next call only when its
 * successor was fetched first.
 */
tn_hash_node_t *tn_hash_next(const tn_hash_t *hash,
    const tn_hash_node_t *node);


#endif /* TN_HASH_H_INCLUDED_ */
