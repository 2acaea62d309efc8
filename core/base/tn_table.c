
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_table.h"

#include <stdlib.h>


#define TN_TABLE_KEY_LEN  18    /* masked address, length, family */

typedef struct {
    tn_hash_node_t   node;
    uint8_t          key[TN_TABLE_KEY_LEN];
    void            *value;
} tn_table_entry_t;


static void tn_table_key(uint8_t *key, const tn_ip_t *ip, uint8_t bits,
    bool v4);
static tn_table_entry_t *tn_table_entry(const tn_table_t *table,
    const tn_ip_t *ip, uint8_t bits, bool v4);
static void tn_table_count(tn_table_t *table, const tn_prefix_t *prefix,
    int change);


void
tn_table_init(tn_table_t *table)
{
    memset(table, 0, sizeof(tn_table_t));
    tn_hash_init(&table->hash, TN_TABLE_KEY_LEN);
}


void
tn_table_done(tn_table_t *table)
{
    tn_hash_node_t  *node, *next;

    for (node = tn_hash_next(&table->hash, NULL); node; node = next) {
        next = tn_hash_next(&table->hash, node);
        free(tn_container(node, tn_table_entry_t, node));
    }

    tn_hash_done(&table->hash);
    memset(table->used, 0, sizeof(table->used));
    memset(table->nlengths, 0, sizeof(table->nlengths));
}


tn_rc_t
tn_table_set(tn_table_t *table, const tn_prefix_t *prefix, void *value)
{
    tn_table_entry_t  *entry;

    entry = tn_table_entry(table, &prefix->ip, prefix->bits, prefix->v4);

    if (entry != NULL) {
        entry->value = value;
        return TN_OK;
    }

    entry = malloc(sizeof(tn_table_entry_t));
    if (entry == NULL) {
        return TN_NOMEM;
    }

    tn_table_key(entry->key, &prefix->ip, prefix->bits, prefix->v4);
    entry->node.key = entry->key;
    entry->value = value;

    if (tn_hash_insert(&table->hash, &entry->node) != TN_OK) {
        free(entry);
        return TN_NOMEM;
    }

    tn_table_count(table, prefix, 1);

    return TN_OK;
}


void
tn_table_remove(tn_table_t *table, const tn_prefix_t *prefix,
    const void *value)
{
    tn_table_entry_t  *entry;

    entry = tn_table_entry(table, &prefix->ip, prefix->bits, prefix->v4);

    if (entry == NULL || (value != NULL && entry->value != value)) {
        return;
    }

    tn_hash_remove(&table->hash, &entry->node);
    free(entry);
    tn_table_count(table, prefix, -1);
}


void *
tn_table_find(const tn_table_t *table, const tn_ip_t *ip)
{
    bool               v4;
    uint32_t           i;
    tn_table_entry_t  *entry;

    v4 = tn_ip_is_v4(ip);

    for (i = 0; i < table->nlengths[v4]; i++) {
        entry = tn_table_entry(table, ip, table->lengths[v4][i], v4);

        if (entry != NULL) {
            return entry->value;
        }
    }

    return NULL;
}


void *
tn_table_get(const tn_table_t *table, const tn_prefix_t *prefix)
{
    tn_table_entry_t  *entry;

    entry = tn_table_entry(table, &prefix->ip, prefix->bits, prefix->v4);

    return entry ? entry->value : NULL;
}


static void
tn_table_key(uint8_t *key, const tn_ip_t *ip, uint8_t bits, bool v4)
{
    uint32_t  n, bytes;

    n = bits + (v4 ? 96u : 0u);
    bytes = n / 8;

    memset(key, 0, TN_TABLE_KEY_LEN);
    memcpy(key, ip->b, bytes);

    if (n % 8) {
        key[bytes] = ip->b[bytes] & (uint8_t) (0xff00 >> (n % 8));
    }

    key[16] = bits;
    key[17] = v4;
}


static tn_table_entry_t *
tn_table_entry(const tn_table_t *table, const tn_ip_t *ip, uint8_t bits,
    bool v4)
{
    uint8_t          key[TN_TABLE_KEY_LEN];
    tn_hash_node_t  *node;

    tn_table_key(key, ip, bits, v4);
    node = tn_hash_find(&table->hash, key);

    return node ? tn_container(node, tn_table_entry_t, node) : NULL;
}


static void
tn_table_count(tn_table_t *table, const tn_prefix_t *prefix, int change)
{
    int       bits;
    uint32_t  n;

    table->used[prefix->v4][prefix->bits] += (uint32_t) change;

    n = 0;

    for (bits = 128; bits >= 0; bits--) {
        if (table->used[prefix->v4][bits] != 0) {
            table->lengths[prefix->v4][n++] = (uint8_t) bits;
        }
    }

    table->nlengths[prefix->v4] = n;
}
