
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node's PeerAPI: listens on its own addresses, answers peers only, and
 * passes on what comes through Funnel.  Control's thread only.
 */

#ifndef TN_NODEAPI_H_INCLUDED_
#define TN_NODEAPI_H_INCLUDED_

#include "data/tn_lwnet.h"
#include "run/tn_node.h"
#include "run/tn_pool.h"
#include "host/tn_resolve.h"
#include "wire/tn_peerapi.h"


#define TN_NODEAPI_CONNS     4096       /* whose request is being read */
#define TN_NODEAPI_HEAD_MS   10000      /* for the request to come */
#define TN_NODEAPI_PEER_MAX  1024       /* of these, of one peer */
#define TN_NODEAPI_DNS_MAX   1024       /* DNS questions held, of all nodes */
#define TN_NODEAPI_DNS_MS    5000       /* for a question to be answered */

typedef struct tn_nodeapi_s  tn_nodeapi_t;


/* a connection of the Internet that a relay brings */
typedef struct {
    tn_addr_t       client;             /* on the Internet */
    tn_addr_t       local;              /* our own, with the target's port */
    tn_addr_t       relay;
    char            name[TN_PEERAPI_TEXT];  /* the target's */
} tn_ingress_t;

typedef struct {
    /* whether somebody serves this; NULL, or why not */
    const char *(*serves)(void *data, const tn_ingress_t *ingress);

    /* takes the socket, of which nothing was read behind the request */
    void (*take)(void *data, const tn_ingress_t *ingress, int fd);
} tn_nodeapi_ops_t;

typedef struct {
    uint64_t        accepted;
    uint64_t        unknown;            /* refused: no peer */
    uint64_t        invalid;            /* refused: forged or malformed */
    uint64_t        crowded;            /* refused: over a limit */
    uint64_t        greeted;
    uint64_t        ingress;            /* passed on */
    uint64_t        denied;             /* ingress refused */
    uint64_t        dns;                /* questions passed on */
    uint64_t        dns_denied;
} tn_nodeapi_stats_t;


/*
 * lwip: NULL where the stack is the kernel's.  `name` is the node's, for the
 * log.  All must outlive the object, the node too, which tn_nodeapi_node()
 * sets.  ops NULL: there is no Funnel.  NULL when out of memory.
 */
tn_nodeapi_t *tn_nodeapi_create(tn_loop_t *loop, tn_pool_t *pool,
    tn_lwnet_table_t *lwip, const tn_nodeapi_ops_t *ops, void *data,
    const char *name, tn_log_t *log);
void tn_nodeapi_destroy(tn_nodeapi_t *api);

void tn_nodeapi_node(tn_nodeapi_t *api, tn_node_t *node);

/* own addresses: listens on the first of each family, and tells control */
void tn_nodeapi_addresses(tn_nodeapi_t *api, const tn_ip_t *ips, size_t n);

/*
 * With lwIP: nginx listens on this port of TCP now, in the listener's place if
 * that was ours, which takes another.  The packet filter lets peers in by ours.
 */
void tn_nodeapi_yield(tn_nodeapi_t *api, uint16_t port, uint16_t family);

/* DNS for those who use this node as exit node; it must outlive the object */
void tn_nodeapi_resolver(tn_nodeapi_t *api, tn_resolver_t *resolver);

/* tells control and the packet filter again, when routes have changed */
void tn_nodeapi_announce(tn_nodeapi_t *api);

const tn_nodeapi_stats_t *tn_nodeapi_stats(const tn_nodeapi_t *api);


#endif /* TN_NODEAPI_H_INCLUDED_ */
