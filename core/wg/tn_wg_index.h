
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The random 32-bit numbers by which peers address our handshakes and
 * sessions, each unique in its device.
 */

#ifndef TN_WG_INDEX_H_INCLUDED_
#define TN_WG_INDEX_H_INCLUDED_

#include "base/tn_hash.h"
#include "wg/tn_wg.h"

typedef struct tn_wg_session_s  tn_wg_session_t;


typedef struct {
    tn_hash_node_t    node;
    uint32_t          value;        /* in host byte order */
    bool              used;
    tn_wg_peer_t     *peer;
    tn_wg_session_t  *session;      /* NULL for that of a handshake */
} tn_wg_index_t;


/* draws a number and enters it; peer and session are set by the caller.
 * TN_OK or TN_NOMEM */
tn_rc_t tn_wg_index_add(tn_hash_t *table, tn_wg_index_t *index);

/* `to` takes over the number and the place of `from`, which is free then */
void tn_wg_index_move(tn_hash_t *table, tn_wg_index_t *to,
    tn_wg_index_t *from);

/* nothing happens when it is not in the table */
void tn_wg_index_remove(tn_hash_t *table, tn_wg_index_t *index);

/* NULL when nobody has that number */
static inline tn_wg_index_t *
tn_wg_index_find(const tn_hash_t *table, uint32_t value)
{
    tn_hash_node_t  *node;

    node = tn_hash_find(table, &value);

    return node ? tn_container(node, tn_wg_index_t, node) : NULL;
}


#endif /* TN_WG_INDEX_H_INCLUDED_ */
