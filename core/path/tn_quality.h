
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Which of two addresses of a peer to prefer (upstream: betterAddr).
 */

#ifndef TN_QUALITY_H_INCLUDED_
#define TN_QUALITY_H_INCLUDED_

#include "base/tn_addr.h"


typedef struct {
    tn_addr_t  addr;        /* port 0: none */
    uint32_t   vni;         /* of a peer relay, 0: direct */
    uint32_t   latency_us;
    uint32_t   mtu;         /* proven, 0: unknown */
} tn_quality_t;


/* true when `a` should replace `b`; never so when both are about as good */
bool tn_quality_better(const tn_quality_t *a, const tn_quality_t *b);


#endif /* TN_QUALITY_H_INCLUDED_ */
