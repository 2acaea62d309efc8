
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_wg_index.h"

#include "crypto/tn_curve.h"


tn_rc_t
tn_wg_index_add(tn_hash_t *table, tn_wg_index_t *index)
{
    do {
        tn_random(&index->value, sizeof(index->value));

    } while (tn_wg_index_find(table, index->value) != NULL);

    index->node.key = &index->value;

    if (tn_hash_insert(table, &index->node) != TN_OK) {
        return TN_NOMEM;
    }

    index->used = true;

    return TN_OK;
}


void
tn_wg_index_move(tn_hash_t *table, tn_wg_index_t *to, tn_wg_index_t *from)
{
    tn_wg_index_remove(table, from);

    to->value = from->value;
    to->node.key = &to->value;

    /* a table that just held an entry has room for one */

    to->used = tn_hash_insert(table, &to->node) == TN_OK;
}


void
tn_wg_index_remove(tn_hash_t *table, tn_wg_index_t *index)
{
    if (index->used) {
        tn_hash_remove(table, &index->node);
        index->used = false;
    }
}
