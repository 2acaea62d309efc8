
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Entries stand in one array and are linked by their numbers: into the chain
 * of a hash bucket and into the ring of all, the most recently used first.
 * Entry 0 is no flow but the head of that ring, so that 0 ends a chain too.
 * Memory of entries never used is never touched.
 */

#include "filter/tn_flow.h"

#include "base/tn_wide.h"

#include <stdlib.h>
#include <sys/random.h>


typedef struct {
    tn_flow_key_t  key;
    tn_ms_t        used_ms;
    uint16_t       chain;       /* the next of the bucket */
    uint16_t       prev;        /* used more recently */
    uint16_t       next;
} tn_flow_t;

struct tn_flows_s {
    tn_flow_t     *entries;
    uint16_t      *buckets;
    uint32_t       mask;
    uint32_t       count;
    uint32_t       max;
    tn_ms_t        idle_ms;
    uint64_t       seed;
};


static uint16_t *tn_flows_bucket(const tn_flows_t *flows,
    const tn_flow_key_t *key);
static tn_flow_t *tn_flows_get(tn_flows_t *flows, const tn_flow_key_t *key);
static void tn_flows_link(tn_flows_t *flows, uint16_t n);
static void tn_flows_unlink(tn_flows_t *flows, uint16_t n);
static uint16_t tn_flows_evict(tn_flows_t *flows);


tn_flows_t *
tn_flows_create(uint32_t max, tn_ms_t idle_ms)
{
    uint32_t     size;
    tn_flows_t  *flows;

    max = tn_min(tn_max(max, 1u), 32768u);

    flows = calloc(1, sizeof(tn_flows_t));
    if (flows == NULL) {
        return NULL;
    }

    for (size = 2; size < 2 * max; size *= 2) { /* void */ }

    flows->max = max;
    flows->mask = size - 1;
    flows->idle_ms = idle_ms;
    flows->entries = calloc(max + 1, sizeof(tn_flow_t));
    flows->buckets = calloc(size, sizeof(uint16_t));

    if (flows->entries == NULL || flows->buckets == NULL) {
        tn_flows_destroy(flows);
        return NULL;
    }

    if (getrandom(&flows->seed, sizeof(flows->seed), GRND_NONBLOCK)
        != (ssize_t) sizeof(flows->seed))
    {
        flows->seed = (uint64_t) (uintptr_t) flows;
    }

    return flows;
}


void
tn_flows_destroy(tn_flows_t *flows)
{
    if (flows == NULL) {
        return;
    }

    free(flows->entries);
    free(flows->buckets);
    free(flows);
}


void
tn_flows_add(tn_flows_t *flows, const tn_flow_key_t *key, tn_ms_t now)
{
    uint16_t    n, *bucket;
    tn_flow_t  *flow;

    flow = tn_flows_get(flows, key);

    if (flow != NULL) {
        flow->used_ms = now;
        return;
    }

    n = flows->count < flows->max ? (uint16_t) ++flows->count
                                  : tn_flows_evict(flows);

    bucket = tn_flows_bucket(flows, key);

    flow = &flows->entries[n];
    flow->key = *key;
    flow->used_ms = now;
    flow->chain = *bucket;
    *bucket = n;

    tn_flows_link(flows, n);
}


bool
tn_flows_find(tn_flows_t *flows, const tn_flow_key_t *key, tn_ms_t now)
{
    tn_flow_t  *flow;

    flow = tn_flows_get(flows, key);

    if (flow == NULL || now - flow->used_ms >= flows->idle_ms) {
        return false;
    }

    flow->used_ms = now;

    return true;
}


uint32_t
tn_flows_count(const tn_flows_t *flows)
{
    return flows->count;
}


static uint16_t *
tn_flows_bucket(const tn_flows_t *flows, const tn_flow_key_t *key)
{
    size_t    i;
    uint64_t  h, words[sizeof(tn_flow_key_t) / 8];

    /* peers choose some of these bytes, hence the seed */

    memcpy(words, key, sizeof(words));
    h = flows->seed;

    for (i = 0; i < tn_nelems(words); i++) {
        h = tn_wide_fold(h ^ words[i], 0xd6e8feb86659fd93);
    }

    return &flows->buckets[h & flows->mask];
}


/* the entry, moved to the front of the ring, or NULL */
static tn_flow_t *
tn_flows_get(tn_flows_t *flows, const tn_flow_key_t *key)
{
    uint16_t    n;
    tn_flow_t  *flow;

    /* packets come in trains: most often it is the one used last */

    n = flows->entries[0].next;
    flow = &flows->entries[n];

    if (n != 0 && memcmp(&flow->key, key, sizeof(tn_flow_key_t)) == 0) {
        return flow;
    }

    for (n = *tn_flows_bucket(flows, key); n != 0; n = flow->chain) {
        flow = &flows->entries[n];

        if (memcmp(&flow->key, key, sizeof(tn_flow_key_t)) == 0) {
            tn_flows_unlink(flows, n);
            tn_flows_link(flows, n);

            return flow;
        }
    }

    return NULL;
}


static void
tn_flows_link(tn_flows_t *flows, uint16_t n)
{
    tn_flow_t  *e;

    e = flows->entries;

    e[n].prev = 0;
    e[n].next = e[0].next;
    e[e[0].next].prev = n;
    e[0].next = n;
}


static void
tn_flows_unlink(tn_flows_t *flows, uint16_t n)
{
    tn_flow_t  *e;

    e = flows->entries;

    e[e[n].prev].next = e[n].next;
    e[e[n].next].prev = e[n].prev;
}


/* takes the least recently used entry out and returns its number */
static uint16_t
tn_flows_evict(tn_flows_t *flows)
{
    uint16_t  n, *link;

    n = flows->entries[0].prev;
    tn_flows_unlink(flows, n);

    for (link = tn_flows_bucket(flows, &flows->entries[n].key);
         *link != n;
         link = &flows->entries[*link].chain)
    {
        /* void */
    }

    *link = flows->entries[n].chain;

    return n;
}
