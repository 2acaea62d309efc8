
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A UDP port of the host's router, mapped to ours by PCP, NAT-PMP or UPnP.
 * The libraries block, so each mapper is a thread of its own; the owner
 * gives orders and hears of changes on its loop, and never waits.
 */

#ifndef TN_PORTMAP_H_INCLUDED_
#define TN_PORTMAP_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_key.h"
#include "base/tn_log.h"
#include "host/tn_loop.h"
#include "wire/tn_netinfo.h"


typedef struct tn_portmap_s  tn_portmap_t;

typedef enum {
    TN_PORTMAP_NONE = 0,
    TN_PORTMAP_PCP,
    TN_PORTMAP_PMP,
    TN_PORTMAP_UPNP,
    TN_PORTMAP_PROTOS
} tn_portmap_proto_e;

typedef struct {
    tn_portmap_proto_e   proto;     /* TN_PORTMAP_NONE: no mapping */
    tn_addr_t            external;

    /* what the gateway offers; TN_UNKNOWN without a gateway to ask */
    tn_tristate_e        offers[TN_PORTMAP_PROTOS];
} tn_portmap_state_t;

/* called on the owner's loop when the state is another one */
typedef void (*tn_portmap_pt)(void *data, const tn_portmap_state_t *state);

typedef struct {
    tn_loop_t           *loop;      /* the owner's */
    tn_portmap_pt        changed;
    void                *data;
    tn_log_t            *log;       /* not used after tn_portmap_stop() */
    const char          *name;      /* of the node, names the thread */

    /* PCP's nonce comes of it: a mapper after a crash renews its mapping */
    const tn_key_t      *secret;

    const tn_ip_t       *gateway;   /* NULL: that of the default route */
} tn_portmap_conf_t;

typedef struct {
    uint16_t             port;      /* ours, 0: no mapping is wanted */
    bool                 no_upnp;
} tn_portmap_want_t;


/* NULL with a line in the log; nothing is asked before tn_portmap_want() */
tn_portmap_t *tn_portmap_start(const tn_portmap_conf_t *conf);

void tn_portmap_want(tn_portmap_t *portmap, const tn_portmap_want_t *want);

/* gateway or own address may be others: they are looked at again */
void tn_portmap_network_changed(tn_portmap_t *portmap);

/*
 * Returns at once; `changed` is not called any more.  The thread gives the
 * mapping back to the gateway and ends by itself.  Call it when the owner's
 * loop has ended.  NULL is allowed.
 */
void tn_portmap_stop(tn_portmap_t *portmap);

/* when all are stopped: waits until their threads end, `max_ms` at most */
void tn_portmap_drain(tn_ms_t max_ms);

const char *tn_portmap_proto_text(tn_portmap_proto_e proto);


#endif /* TN_PORTMAP_H_INCLUDED_ */
