
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_hash.h"
#include "tn_wide.h"

#include <stdlib.h>
#include <sys/random.h>


#define TN_HASH_FIRST_SIZE  16


static uint64_t tn_hash_bytes(const tn_hash_t *hash, const void *key);
static inline bool tn_hash_equal(const tn_hash_t *hash, const void *a,
    const void *b);
static tn_rc_t tn_hash_grow(tn_hash_t *hash);


void
tn_hash_init(tn_hash_t *hash, size_t key_len)
{
    memset(hash, 0, sizeof(tn_hash_t));
    hash->key_len = key_len;

    if (getrandom(&hash->seed, sizeof(hash->seed), GRND_NONBLOCK)
        != (ssize_t) sizeof(hash->seed))
    {
        hash->seed = (uint64_t) (uintptr_t) hash;
    }
}


void
tn_hash_done(tn_hash_t *hash)
{
    free(hash->buckets);
    hash->buckets = NULL;
    hash->count = 0;
    hash->mask = 0;
}


tn_rc_t
tn_hash_insert(tn_hash_t *hash, tn_hash_node_t *node)
{
    tn_hash_node_t  **bucket;

    if (hash->buckets == NULL || hash->count > hash->mask) {
        if (tn_hash_grow(hash) != TN_OK && hash->buckets == NULL) {
            return TN_NOMEM;
        }
    }

    node->hash = tn_hash_bytes(hash, node->key);
    bucket = &hash->buckets[node->hash & hash->mask];
    node->next = *bucket;
    *bucket = node;
    hash->count++;

    return TN_OK;
}


void
tn_hash_remove(tn_hash_t *hash, tn_hash_node_t *node)
{
    tn_hash_node_t  **p;

    for (p = &hash->buckets[node->hash & hash->mask]; *p; p = &(*p)->next) {
        if (*p == node) {
            *p = node->next;
            node->next = NULL;
            hash->count--;
            return;
        }
    }
}


tn_hash_node_t *
tn_hash_find(const tn_hash_t *hash, const void *key)
{
    uint64_t         h;
    tn_hash_node_t  *node;

    if (hash->buckets == NULL) {
        return NULL;
    }

    h = tn_hash_bytes(hash, key);

    for (node = hash->buckets[h & hash->mask]; node; node = node->next) {
        if (node->hash == h && tn_hash_equal(hash, node->key, key)) {
            return node;
        }
    }

    return NULL;
}


tn_hash_node_t *
tn_hash_next(const tn_hash_t *hash, const tn_hash_node_t *node)
{
    size_t  i;

    if (hash->buckets == NULL) {
        return NULL;
    }

    if (node != NULL && node->next != NULL) {
        return node->next;
    }

    i = node ? (node->hash & hash->mask) + 1 : 0;

    for ( /* void */ ; i <= hash->mask; i++) {
        if (hash->buckets[i] != NULL) {
            return hash->buckets[i];
        }
    }

    return NULL;
}


static uint64_t
tn_hash_bytes(const tn_hash_t *hash, const void *key)
{
    size_t          len, left;
    uint64_t        h, word;
    const uint8_t  *p;

    p = key;
    h = hash->seed ^ 0x9e3779b97f4a7c15;
    len = tn_likely(hash->key_len != 0) ? hash->key_len : strlen(key);

    for (left = len; left >= 8; left -= 8) {
        memcpy(&word, p, 8);
        h = tn_wide_fold(h ^ word, 0xd6e8feb86659fd93);
        p += 8;
    }

    word = 0;
    memcpy(&word, p, left);

    return tn_wide_fold(h ^ word, 0xa0761d6478bd642f ^ len);
}


static inline bool
tn_hash_equal(const tn_hash_t *hash, const void *a, const void *b)
{
    return tn_likely(hash->key_len != 0) ? memcmp(a, b, hash->key_len) == 0
                                         : strcmp(a, b) == 0;
}


static tn_rc_t
tn_hash_grow(tn_hash_t *hash)
{
    size_t            i, size;
    tn_hash_node_t   *node, *next, **buckets, **bucket;

    size = hash->buckets ? 2 * (hash->mask + 1) : TN_HASH_FIRST_SIZE;

    buckets = calloc(size, sizeof(tn_hash_node_t *));
    if (buckets == NULL) {
        return TN_NOMEM;
    }

    for (i = 0; hash->buckets != NULL && i <= hash->mask; i++) {
        for (node = hash->buckets[i]; node; node = next) {
            next = node->next;
            bucket = &buckets[node->hash & (size - 1)];
            node->next = *bucket;
            *bucket = node;
        }
    }

    free(hash->buckets);
    hash->buckets = buckets;
    hash->mask = size - 1;

    return TN_OK;
}
