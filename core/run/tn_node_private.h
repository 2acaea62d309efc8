
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Between the files of a node: its state, and control's connections.  Nobody
 * else includes it.
 */

#ifndef TN_NODE_PRIVATE_H_INCLUDED_
#define TN_NODE_PRIVATE_H_INCLUDED_

#include "run/tn_node.h"

#include "run/tn_nodestate.h"
#include "host/tn_proxy.h"
#include "proc/tn_share.h"
#include "host/tn_tls.h"


struct tn_node_s {
    const tn_node_ops_t  *ops;
    void                 *data;
    tn_loop_t            *loop;
    tn_resolver_t        *resolver;
    tn_ipc_node_t         conf;
    tn_log_t              log;
    tn_log_t             *sink;
    int                   tun;
    int                   bulk;
    tn_lwnet_table_t     *listeners;
    bool                  by_lwip;
    int                   udp4;
    int                   udp6;
    bool                  udp_offload;

    tn_nodestate_t       *state;
    tn_state_why_e        state_why;
    tn_keypair_t          disco;
    tn_tls_t             *tls;          /* roots to trust, both threads' */
    tn_proxies_t         *proxies;
    tn_control_t         *control;
    tn_http_t            *http;
    tn_certs_queue_t     *queue;
    tn_nodecert_t        *certs;
    const struct tn_nodeapi_s  *api;    /* or NULL */
    const struct tn_services_s  *services;  /* or NULL */
    tn_data_t            *path;
    tn_share_t           *share;        /* or NULL */
    tn_problems_t         problems;
    tn_link_t             conns;
    tn_link_t             pings;        /* control asked for */
    uint32_t              nconns;
    tn_timer_t            timer;        /* try again, or end */
    tn_timer_t            trim_timer;   /* these are tn_nodetrim's */
    tn_ms_t               trimmed;
    tn_ms_t               trim_pause;
    bool                  ending;
    bool                  ended;
    bool                  leaving;      /* by tn_node_logout() */
    bool                  left;         /* control is stopped, timer is set */
    tn_node_done_pt       left_done;    /* may be NULL */
    void                 *left_data;
    char                  left_error[TN_IPC_TEXT];
    bool                  online;

    tn_ip_t               ips[TN_IPC_ADDRS];
    size_t                nips;
    char                 *name;         /* last one logged */
    uint32_t              turn;         /* of the peers of a tag */

    /* of conf.routes, those that control has approved */
    tn_prefix_t           approved[TN_IPC_ROUTES];
    size_t                napproved;
    tn_timer_t            routes_timer; /* until one says what is missing */

    /* for people, as they were last reported */
    tn_endpoint_t         endpoints[TN_ENDPOINTS_MAX];
    size_t                nendpoints;
    tn_netinfo_t          netinfo;
    tn_ms_t               netinfo_at;   /* 0: none yet */
};


/* --- tn_node.c: what the control client and the data thread ask for */

extern const tn_control_ops_t  tn_node_control_ops;
extern const tn_data_ops_t     tn_node_data_ops;


/* --- tn_node_start.c: all that a node needs before control is asked */

/* what fails is logged and tried again */
void tn_node_start(tn_node_t *node);

/* false: there is none, for now */
bool tn_node_start_data(tn_node_t *node, const tn_keypair_t *pair);


/* --- tn_node_conn.c: the connections that the control client asks for */

void tn_node_connect(void *data, uint32_t id, const char *host, uint16_t port,
    bool tls);
void tn_node_send(void *data, uint32_t id, const uint8_t *bytes, size_t len);
void tn_node_close(void *data, uint32_t id);

/* closes those that another address of the host's has cut off; after a major
 * change (tn_netmon.h) also those that are not connected yet */
void tn_node_conns_rerouted(tn_node_t *node, bool major);

/* closes all, without a word to the client */
void tn_node_conns_done(tn_node_t *node);


/* --- tn_node_routes.c: the routes that the node advertises */

void tn_node_routes_init(tn_node_t *node);
void tn_node_routes_done(tn_node_t *node);

/* after each change of the node itself, and when it has a data thread */
void tn_node_routes_look(tn_node_t *node, const tn_netmap_t *netmap);


#endif /* TN_NODE_PRIVATE_H_INCLUDED_ */
