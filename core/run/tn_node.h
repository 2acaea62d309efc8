
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * One node on the core's control thread: its configuration and state
 * directory, the control client with its connections, and the data thread.
 * Made and ended by the core.
 */

#ifndef TN_NODE_H_INCLUDED_
#define TN_NODE_H_INCLUDED_

#include "base/tn_log.h"
#include "control/tn_control.h"
#include "data/tn_data.h"
#include "proc/tn_ipc.h"
#include "host/tn_loop.h"
#include "run/tn_nodecert.h"
#include "run/tn_problems.h"
#include "host/tn_resolve.h"


typedef struct tn_node_s  tn_node_t;


typedef struct {
    /* own addresses, to be set on the stack; called when they change */
    void  (*addresses)(void *data, tn_node_t *node, const tn_ip_t *ips,
                       size_t n);

    /* peers came, went or changed */
    void  (*peers)(void *data, tn_node_t *node);

    /* what control says of this node itself changed */
    void  (*self)(void *data, tn_node_t *node);

    /* see tn_data_ops_t; none of both addresses: nobody is near any more */
    void  (*near)(void *data, tn_node_t *node, const tn_ip_t ips[2],
                  bool near);

    /* what was begun by tn_node_end() is done; tn_node_free() may be called,
     * but not from inside */
    void  (*ended)(void *data, tn_node_t *node);
} tn_node_ops_t;


typedef struct {
    const tn_node_ops_t  *ops;
    void                 *data;
    tn_loop_t            *loop;
    tn_resolver_t        *resolver;
    tn_log_t             *log;          /* of the whole core */
    tn_http_t            *http;         /* shared by all nodes, */
    tn_certs_queue_t     *queue;        /*     as this one */
    const tn_ipc_node_t  *conf;         /* copied */
    const uint8_t        *disco;        /* private disco key, copied */

    /* taken over, -1 for none */
    int                   tun;
    int                   bulk;         /* the second queue of that */
    tn_lwnet_table_t     *listeners;    /* that are served here */
    bool                  by_lwip;      /* so are all */
    int                   udp4;
    int                   udp6;
    bool                  udp_offload;
    int                   share;    /* of tn_share_create() */
} tn_node_conf_t;


/*
 * Never fails for the world's reasons: with a state directory that cannot be
 * used, say, the node logs why and tries again.  NULL only without memory.
 */
tn_node_t *tn_node_create(const tn_node_conf_t *conf);

/*
 * Takes another configuration while it runs, if all that differs is routes
 * that it advertises; false: nothing was done, it has to be made anew.
 */
bool tn_node_reconfigure(tn_node_t *node, const tn_ipc_node_t *conf);

/*
 * Goes offline; ops->ended() will follow.  `leave`: for good, an ephemeral
 * node logs out first.
 */
void tn_node_end(tn_node_t *node, bool leave);

/*
 * Takes the node out of its tailnet; it stays out until tn_node_login().
 * done() is called once, later, with NULL, or with why control did not hear
 * of it, and then the node stays in.  TN_OK; TN_AGAIN: one is under way;
 * TN_NOTFOUND: it is not in a tailnet.
 */
typedef void (*tn_node_done_pt)(void *data, const char *error);

tn_rc_t tn_node_logout(tn_node_t *node, tn_node_done_pt done, void *data);

/* done() of this data is not to be called any more */
void tn_node_unlogout(tn_node_t *node, const void *data);

/* false: it is not out */
bool tn_node_login(tn_node_t *node);

/* at once */
void tn_node_free(tn_node_t *node);

/* of what it logs from now on */
void tn_node_log_level(tn_node_t *node, tn_log_level_e level);

const char *tn_node_name(const tn_node_t *node);

/*
 * Addresses of a host of this tailnet as a person writes it, best first.
 * Returns their number, or 0 and in text (of TN_IPC_TEXT bytes) why there is
 * none.  `wait`: the answer may come later, the node has no netmap yet.
 */
size_t tn_node_resolve(tn_node_t *node, const char *host, tn_ip_t *ips,
    size_t max, bool *wait, char *text);

/* the peers behind "tag:NAME", see tn_nodename_members(); none so far too */
void tn_node_members(tn_node_t *node, const char *host,
    tn_ipc_members_t *msg);

/* it announces itself as an exit node */
bool tn_node_is_exit(const tn_node_t *node);

/* own addresses */
size_t tn_node_addresses(const tn_node_t *node, tn_ip_t *ips, size_t max);

/* what the paths last reported: own endpoints, good until the next report */
size_t tn_node_endpoints(const tn_node_t *node,
    const tn_endpoint_t **endpoints);

/* the last netcheck and, in *at, when it came; NULL before the first */
const tn_netinfo_t *tn_node_netinfo(const tn_node_t *node, tn_ms_t *at);

/* what the node logged of trouble */
tn_problems_t *tn_node_problems(tn_node_t *node);

/* NULL while the state directory cannot be used */
tn_control_t *tn_node_control(tn_node_t *node);

/* the owner's own, separated by commas */
const char *tn_node_domains(const tn_node_t *node);

/* NULL while the state directory cannot be used */
tn_nodecert_t *tn_node_certs(tn_node_t *node);

/* its PeerAPI, only to be shown; NULL before it was set */
struct tn_nodeapi_s;
void tn_node_set_api(tn_node_t *node, const struct tn_nodeapi_s *api);
const struct tn_nodeapi_s *tn_node_api(const tn_node_t *node);

/* the services that it hosts, to be told of; NULL before they were set */
struct tn_services_s;
void tn_node_set_services(tn_node_t *node,
    const struct tn_services_s *services);
const struct tn_services_s *tn_node_services(const tn_node_t *node);

/* NULL before the node key is known */
tn_data_t *tn_node_data(tn_node_t *node);


#endif /* TN_NODE_H_INCLUDED_ */
