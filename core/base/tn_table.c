
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_table.h"
#include "tn_wide.h"

#include <stdlib.h>
#include <sys/random.h>


#define TN_TABLE_KEY_LEN     18     /* masked address, length, family */
#define TN_TABLE_FIRST_SIZE  16

/* a tailnet has two for each peer, in each of its tables: 40 bytes */
struct tn_table_entry_s {
    tn_table_entry_t  *next;
    void              *value;
    uint32_t           hash;
    uint8_t            key[TN_TABLE_KEY_LEN];
};


static void tn_table_key(uint8_t *key, const tn_ip_t *ip, uint8_t bits,
    bool v4);
static uint32_t tn_table_hash(const tn_table_t *table, const uint8_t *key);
static tn_table_entry_t *tn_table_entry(const tn_table_t *table,
    const tn_ip_t *ip, uint8_t bits, bool v4);
static tn_rc_t tn_table_grow(tn_table_t *table);
static void tn_table_count(tn_table_t *table, const tn_prefix_t *prefix,
    int change);


void
tn_table_init(tn_table_t *table)
{
    memset(table, 0, sizeof(tn_table_t));

    if (getrandom(&table->seed, sizeof(table->seed), GRND_NONBLOCK)
        != (ssize_t) sizeof(table->seed))
    {
        table->seed = (uint64_t) (uintptr_t) table;
    }
}


void
tn_table_done(tn_table_t *table)
{
    size_t             i;
    tn_table_entry_t  *entry, *next;

    for (i = 0; table->buckets != NULL && i <= table->mask; i++) {
        for (entry = table->buckets[i]; entry != NULL; entry = next) {
            next = entry->next;
            free(entry);
        }
    }

    free(table->buckets);
    table->buckets = NULL;
    table->mask = 0;
    table->count = 0;
    memset(table->used, 0, sizeof(table->used));
    memset(table->nlengths, 0, sizeof(table->nlengths));
}


tn_rc_t
tn_table_set(tn_table_t *table, const tn_prefix_t *prefix, void *value)
{
    tn_table_entry_t  *entry, **bucket;

    entry = tn_table_entry(table, &prefix->ip, prefix->bits, prefix->v4);

    if (entry != NULL) {
        entry->value = value;
        return TN_OK;
    }

    if ((table->buckets == NULL || table->count > table->mask)
        && tn_table_grow(table) != TN_OK && table->buckets == NULL)
    {
        return TN_NOMEM;
    }

    entry = malloc(sizeof(tn_table_entry_t));
    if (entry == NULL) {
        return TN_NOMEM;
    }

    tn_table_key(entry->key, &prefix->ip, prefix->bits, prefix->v4);
    entry->hash = tn_table_hash(table, entry->key);
    entry->value = value;

    bucket = &table->buckets[entry->hash & table->mask];
    entry->next = *bucket;
    *bucket = entry;
    table->count++;

    tn_table_count(table, prefix, 1);

    return TN_OK;
}


void
tn_table_remove(tn_table_t *table, const tn_prefix_t *prefix,
    const void *value)
{
    tn_table_entry_t  *entry, **p;

    entry = tn_table_entry(table, &prefix->ip, prefix->bits, prefix->v4);

    if (entry == NULL || (value != NULL && entry->value != value)) {
        return;
    }

    for (p = &table->buckets[entry->hash & table->mask]; *p != entry;
         p = &(*p)->next)
    {
        /* void */
    }

    *p = entry->next;
    table->count--;
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


static uint32_t
tn_table_hash(const tn_table_t *table, const uint8_t *key)
{
    uint16_t  tail;
    uint64_t  h, word[2];

    memcpy(word, key, sizeof(word));
    memcpy(&tail, key + 16, sizeof(tail));

    h = tn_wide_fold(table->seed ^ word[0] ^ 0x9e3779b97f4a7c15,
                     0xd6e8feb86659fd93);
    h = tn_wide_fold(h ^ word[1], 0xd6e8feb86659fd93);
    h = tn_wide_fold(h ^ tail, 0xa0761d6478bd642f);

    return (uint32_t) h;
}


static tn_table_entry_t *
tn_table_entry(const tn_table_t *table, const tn_ip_t *ip, uint8_t bits,
    bool v4)
{
    uint8_t            key[TN_TABLE_KEY_LEN];
    uint32_t           hash;
    tn_table_entry_t  *entry;

    if (table->buckets == NULL) {
        return NULL;
    }

    tn_table_key(key, ip, bits, v4);
    hash = tn_table_hash(table, key);

    for (entry = table->buckets[hash & table->mask]; entry != NULL;
         entry = entry->next)
    {
        if (entry->hash == hash
            && memcmp(entry->key, key, TN_TABLE_KEY_LEN) == 0)
        {
            return entry;
        }
    }

    return NULL;
}


static tn_rc_t
tn_table_grow(tn_table_t *table)
{
    size_t              i, size;
    tn_table_entry_t   *entry, *next, **buckets, **bucket;

    size = table->buckets ? 2 * (table->mask + 1) : TN_TABLE_FIRST_SIZE;

    buckets = calloc(size, sizeof(tn_table_entry_t *));
    if (buckets == NULL) {
        return TN_NOMEM;
    }

    for (i = 0; table->buckets != NULL && i <= table->mask; i++) {
        for (entry = table->buckets[i]; entry != NULL; entry = next) {
            next = entry->next;
            bucket = &buckets[entry->hash & (size - 1)];
            entry->next = *bucket;
            *bucket = entry;
        }
    }

    free(table->buckets);
    table->buckets = buckets;
    table->mask = size - 1;

    return TN_OK;
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
