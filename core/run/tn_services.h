
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Tailscale Services that a node hosts: who of nginx's workers accepts for
 * them, their listeners at the addresses that control gave them, and what
 * control is told.  One for each node, control's thread only.
 */

#ifndef TN_SERVICES_H_INCLUDED_
#define TN_SERVICES_H_INCLUDED_

#include "data/tn_lwnet.h"
#include "run/tn_node.h"
#include "run/tn_pool.h"


#define TN_SERVICES_MAX       1024      /* listeners, with those of QUIC */
#define TN_SERVICES_CALM_MS   500       /* nobody serves: perhaps a reload */
#define TN_SERVICES_TOLD_MS   4000      /* for control to hear of an end */
#define TN_SERVICES_GRACE_MS  1000      /* and for the peers */

typedef struct tn_services_s  tn_services_t;


/*
 * `listeners`: those of the node's data thread.  `changed`:
 * tn_services_addresses() gives others.  NULL: no memory
 */
tn_services_t *tn_services_create(tn_loop_t *loop, const char *name,
    tn_lwnet_table_t *listeners, void (*changed)(void *data), void *data,
    tn_log_t *log);
void tn_services_destroy(tn_services_t *services);

/*
 * Where sockets of the node's namespace come from; NULL: from nowhere, or the
 * stack is lwIP
 */
void tn_services_stack(tn_services_t *services, tn_pool_t *pool,
    bool by_lwip);

/* the node was made, or what control says of it changed; NULL: it ended */
void tn_services_node(tn_services_t *services, tn_node_t *node);

/* takes over a worker's connection with its first message */
void tn_services_take(tn_services_t *services, int fd,
    const tn_ipc_serve_t *msg);

/* what the stack is to accept besides the node's own; their number */
size_t tn_services_addresses(const tn_services_t *services, tn_ip_t *ips,
    size_t max);

/* tailcfg.C2NVIPServicesResponse; to be freed, NULL: no memory */
char *tn_services_json(const tn_services_t *services);


#endif /* TN_SERVICES_H_INCLUDED_ */
