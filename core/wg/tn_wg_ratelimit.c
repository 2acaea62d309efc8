
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A set-associative table: a source may stand in one of the four buckets of
 * the set its hash names.  A bucket untouched for as long as it takes to fill
 * up says nothing any more and is given to the next source.
 */

#include "tn_wg_ratelimit.h"

#include "crypto/tn_blake2s.h"
#include "crypto/tn_curve.h"

#include <stdlib.h>


#define TN_WG_RATELIMIT_SETS  1024      /* 65536 at most: see the hash */
#define TN_WG_RATELIMIT_WAYS  4

#define TN_WG_RATELIMIT_COST_MS  (1000 / TN_WG_RATELIMIT_PER_SEC)
#define TN_WG_RATELIMIT_FULL_MS                                               \
    (TN_WG_RATELIMIT_COST_MS * TN_WG_RATELIMIT_BURST)


struct tn_wg_bucket_s {
    uint8_t   source[17];       /* address, whether relayed */
    uint32_t  tokens_ms;        /* one handshake costs COST_MS of them */
    tn_ms_t   at;               /* when tokens_ms was right; 0: unused */
};


static void tn_wg_ratelimit_source(uint8_t *source, const tn_wg_from_t *from);


void
tn_wg_ratelimit_init(tn_wg_ratelimit_t *limit)
{
    limit->buckets = NULL;
    tn_random(limit->secret, sizeof(limit->secret));
}


void
tn_wg_ratelimit_done(tn_wg_ratelimit_t *limit)
{
    free(limit->buckets);
    limit->buckets = NULL;
}


bool
tn_wg_ratelimit_allow(tn_wg_ratelimit_t *limit, tn_ms_t now,
    const tn_wg_from_t *from)
{
    uint8_t          hash[16], source[17];
    uint32_t         i;
    uint64_t         tokens;
    tn_wg_bucket_t  *set, *bucket, *idle;

    if (limit->buckets == NULL) {
        limit->buckets = calloc(TN_WG_RATELIMIT_SETS * TN_WG_RATELIMIT_WAYS,
                                sizeof(tn_wg_bucket_t));

        if (limit->buckets == NULL) {
            return false;
        }
    }

    tn_wg_ratelimit_source(source, from);

    if (tn_blake2s_mac(hash, limit->secret, sizeof(limit->secret), source,
                       sizeof(source))
        != TN_OK)
    {
        return false;
    }

    i = (uint32_t) (hash[0] | hash[1] << 8) % TN_WG_RATELIMIT_SETS;
    set = limit->buckets + i * TN_WG_RATELIMIT_WAYS;
    idle = NULL;

    for (i = 0; i < TN_WG_RATELIMIT_WAYS; i++) {
        bucket = set + i;

        if (bucket->at != 0
            && memcmp(bucket->source, source, sizeof(source)) == 0)
        {
            goto found;
        }

        if (bucket->at == 0 || now - bucket->at >= TN_WG_RATELIMIT_FULL_MS) {
            idle = bucket;
        }
    }

    if (idle == NULL) {
        return false;
    }

    bucket = idle;
    memcpy(bucket->source, source, sizeof(source));
    bucket->tokens_ms = TN_WG_RATELIMIT_FULL_MS;
    bucket->at = now;

found:

    tokens = bucket->tokens_ms + (now - bucket->at);
    tokens = tn_min(tokens, (uint64_t) TN_WG_RATELIMIT_FULL_MS);

    bucket->at = now;
    bucket->tokens_ms = (uint32_t) tokens;

    if (tokens < TN_WG_RATELIMIT_COST_MS) {
        return false;
    }

    bucket->tokens_ms -= TN_WG_RATELIMIT_COST_MS;

    return true;
}


static void
tn_wg_ratelimit_source(uint8_t *source, const tn_wg_from_t *from)
{
    memcpy(source, from->addr.ip.b, 16);
    source[16] = from->relayed;

    if (!from->relayed && !tn_ip_is_v4(&from->addr.ip)) {

        /* whoever has an IPv6 address has the rest of its /64 as well */

        memset(source + 8, 0, 8);
    }
}
