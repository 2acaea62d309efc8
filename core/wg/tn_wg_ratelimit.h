
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * How many handshakes one source may start while the device is under load:
 * a token bucket per IPv4 address or IPv6 /64, in a table of fixed size.
 */

#ifndef TN_WG_RATELIMIT_H_INCLUDED_
#define TN_WG_RATELIMIT_H_INCLUDED_

#include "wg/tn_wg.h"


#define TN_WG_RATELIMIT_PER_SEC  20
#define TN_WG_RATELIMIT_BURST    5

typedef struct tn_wg_bucket_s  tn_wg_bucket_t;

typedef struct {
    tn_wg_bucket_t  *buckets;       /* NULL until the first load */
    uint8_t          secret[16];    /* nobody can choose who shares a set */
} tn_wg_ratelimit_t;


void tn_wg_ratelimit_init(tn_wg_ratelimit_t *limit);
void tn_wg_ratelimit_done(tn_wg_ratelimit_t *limit);

/*
 * Takes one token of the source.  False when it has none, or when there is
 * no room to remember it: then too many sources are busy at once.
 */
bool tn_wg_ratelimit_allow(tn_wg_ratelimit_t *limit, tn_ms_t now,
    const tn_wg_from_t *from);


#endif /* TN_WG_RATELIMIT_H_INCLUDED_ */
