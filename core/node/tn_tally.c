
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_tally.h"

#include "base/tn_hash.h"
#include "base/tn_list.h"

#include <stdlib.h>


/* no padding: compared as bytes */
typedef struct {
    tn_ip_t           local;
    tn_ip_t           remote;
    uint16_t          local_port;
    uint16_t          remote_port;
    uint32_t          region;
    uint32_t          proto;
    uint32_t          way;
} tally_key_t;

typedef struct {
    tn_hash_node_t    node;
    tn_link_t         used;
    tally_key_t       key;
    uint64_t          packets[2];       /* in, out */
    uint64_t          bytes[2];
} tally_entry_t;

struct tn_tally_s {
    tn_hash_t         entries;
    tn_link_t         used;             /* least recently first */
    uint64_t          left_out;
    tn_ms_t           since;
};


static void tally_count(tn_tally_t *tally, const tally_key_t *key, bool out,
    size_t packets, size_t bytes);
static tally_entry_t *tally_entry(tn_tally_t *tally, const tally_key_t *key);


tn_tally_t *
tn_tally_create(tn_ms_t now)
{
    tn_tally_t  *tally;

    tally = calloc(1, sizeof(tn_tally_t));
    if (tally == NULL) {
        return NULL;
    }

    tally->since = now;
    tn_hash_init(&tally->entries, sizeof(tally_key_t));
    tn_list_init(&tally->used);

    return tally;
}


void
tn_tally_destroy(tn_tally_t *tally)
{
    tn_link_t  *link;

    if (tally == NULL) {
        return;
    }

    while ((link = tn_list_shift(&tally->used)) != NULL) {
        free(tn_container(link, tally_entry_t, used));
    }

    tn_hash_done(&tally->entries);
    free(tally);
}


void
tn_tally_packet(tn_tally_t *tally, const tn_packet_t *p, bool out,
    size_t packets, size_t bytes)
{
    tally_key_t  key;

    memset(&key, 0, sizeof(key));
    key.proto = p->proto;
    key.local = out ? p->src : p->dst;
    key.remote = out ? p->dst : p->src;
    key.local_port = out ? p->src_port : p->dst_port;
    key.remote_port = out ? p->dst_port : p->src_port;

    tally_count(tally, &key, out, packets, bytes);
}


void
tn_tally_message(tn_tally_t *tally, const tn_ip_t *peer,
    const tn_addr_t *addr, uint32_t region, bool out, size_t bytes)
{
    tally_key_t  key;

    memset(&key, 0, sizeof(key));
    key.way = 1;
    key.local = *peer;

    if (addr != NULL) {
        key.remote = addr->ip;
        key.remote_port = addr->port;

    } else {
        key.region = region;
    }

    tally_count(tally, &key, out, 1, bytes);
}


tn_tally_count_t *
tn_tally_copy(const tn_tally_t *tally, size_t *n, uint64_t *left_out,
    tn_ms_t *since)
{
    tn_link_t         *link;
    tally_entry_t     *entry;
    tn_tally_count_t  *counts, *count;

    *n = 0;
    *left_out = tally->left_out;
    *since = tally->since;

    counts = calloc(tally->entries.count + 1, sizeof(tn_tally_count_t));

    if (counts == NULL) {
        return NULL;
    }

    tn_list_each(link, &tally->used) {
        entry = tn_container(link, tally_entry_t, used);
        count = &counts[(*n)++];

        count->local.ip = entry->key.local;
        count->local.port = entry->key.local_port;
        count->remote.ip = entry->key.remote;
        count->remote.port = entry->key.remote_port;
        count->way = entry->key.way != 0;
        count->proto = (uint8_t) entry->key.proto;
        count->region = entry->key.region;
        count->rx_packets = entry->packets[0];
        count->tx_packets = entry->packets[1];
        count->rx_bytes = entry->bytes[0];
        count->tx_bytes = entry->bytes[1];
    }

    return counts;
}


static void
tally_count(tn_tally_t *tally, const tally_key_t *key, bool out,
    size_t packets, size_t bytes)
{
    tn_hash_node_t  *node;
    tally_entry_t   *entry;

    node = tn_hash_find(&tally->entries, key);
    entry = node ? tn_container(node, tally_entry_t, node)
                 : tally_entry(tally, key);

    if (entry == NULL) {
        tally->left_out++;
        return;
    }

    tn_list_remove(&entry->used);
    tn_list_push(&tally->used, &entry->used);

    entry->packets[out] += packets;
    entry->bytes[out] += bytes;
}


/* a new one, in place of the one that was used longest ago when all are */
static tally_entry_t *
tally_entry(tn_tally_t *tally, const tally_key_t *key)
{
    tally_entry_t  *entry;

    if (tally->entries.count < TN_TALLY_MAX) {
        entry = malloc(sizeof(tally_entry_t));

        if (entry == NULL) {
            return NULL;
        }

    } else {
        entry = tn_container(tn_list_shift(&tally->used), tally_entry_t,
                             used);
        tn_hash_remove(&tally->entries, &entry->node);
        tally->left_out++;
    }

    memset(entry, 0, sizeof(tally_entry_t));
    entry->key = *key;
    entry->node.key = &entry->key;
    tn_list_init(&entry->used);

    if (tn_hash_insert(&tally->entries, &entry->node) != TN_OK) {
        free(entry);
        return NULL;
    }

    return entry;
}
