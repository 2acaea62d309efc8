
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The UDP and SCTP flows that this node began, so that their answers come
 * in: a table of fixed size, whose least recently used entry gives way.
 * Used by the filter alone; allocates only at creation.
 */

#ifndef TN_FLOW_H_INCLUDED_
#define TN_FLOW_H_INCLUDED_

#include "base/tn_addr.h"


/* of an answer: the peer's address and port first, then ours */
typedef struct {
    tn_ip_t   remote;
    tn_ip_t   local;
    uint16_t  remote_port;
    uint16_t  local_port;
    uint32_t  proto;
} tn_flow_key_t;

_Static_assert(sizeof(tn_flow_key_t) == 40, "hashed and compared as bytes");

typedef struct tn_flows_s  tn_flows_t;


/* room for 1 to 32768 flows that end after idle_ms; NULL: no memory */
tn_flows_t *tn_flows_create(uint32_t max, tn_ms_t idle_ms);
void tn_flows_destroy(tn_flows_t *flows);

/* remembers or refreshes a flow */
void tn_flows_add(tn_flows_t *flows, const tn_flow_key_t *key, tn_ms_t now);

/* true, and refreshed, when it is there and not idle for too long */
bool tn_flows_find(tn_flows_t *flows, const tn_flow_key_t *key, tn_ms_t now);

uint32_t tn_flows_count(const tn_flows_t *flows);


#endif /* TN_FLOW_H_INCLUDED_ */
