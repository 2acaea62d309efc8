
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Between the files of the PeerAPI.  Nobody else includes it.
 */

#ifndef TN_NODEAPI_INT_H_INCLUDED_
#define TN_NODEAPI_INT_H_INCLUDED_

#include "run/tn_nodeapi.h"

#include "filter/tn_filter.h"


typedef struct {
    tn_nodeapi_t     *api;
    tn_watch_t        watch;
    tn_pool_waiter_t  waiter;
    tn_addr_t         addr;             /* port 0: does not listen */
} nodeapi_listener_t;

typedef struct {
    tn_link_t         link;
    tn_nodeapi_t     *api;
    tn_watch_t        watch;
    tn_timer_t        timer;
    tn_addr_t         remote;
    tn_addr_t         local;
    int64_t           peer;             /* id */
    tn_resolve_raw_t *question;         /* on its way, or NULL */
    uint8_t          *bytes;            /* a body, then the answer, or NULL */
    size_t            have;
    size_t            want;
    size_t            len;
    char              head[TN_PEERAPI_HEAD_MAX];
} nodeapi_conn_t;


struct tn_nodeapi_s {
    tn_loop_t               *loop;
    tn_pool_t               *pool;
    tn_lwnet_table_t        *lwip;
    tn_node_t               *node;
    const tn_nodeapi_ops_t  *ops;
    void                    *data;
    const char              *name;
    tn_log_t                *log;
    tn_ip_t                  ips[TN_IPC_ADDRS];
    size_t                   n_ips;
    nodeapi_listener_t       listener[2];   /* IPv4, IPv6 */
    tn_timer_t               pause;
    tn_link_t                conns;
    size_t                   n_conns;
    tn_nodeapi_stats_t       stats;
    tn_resolver_t           *resolver;      /* NULL: no DNS */
    tn_filter_t             *judge;         /* rules as of judge_mark */
    tn_filter_rules_t       *judge_rules;   /* the judge's */
    uint32_t                 judge_mark;
    tn_ms_t                  logged;
    unsigned                 unlogged;
};


/* --- tn_nodeapi.c */

/* one small answer, and the end of the connection */
void nodeapi_answer(nodeapi_conn_t *conn, int status, const char *reason,
    const char *type, const char *body, bool head);

/* a line for the log, if there was none lately */
void nodeapi_refused(tn_nodeapi_t *api, const tn_addr_t *remote,
    const char *fmt, ...) tn_printf_like(3, 4);

void nodeapi_free(nodeapi_conn_t *conn);

/* whose own address it is, or NULL */
const tn_netmap_node_t *nodeapi_peer(tn_nodeapi_t *api, const tn_ip_t *ip);


/* --- tn_nodeapi_dns.c */

/* whether this node answers those who use it as exit node */
bool nodeapi_dns_serves(tn_nodeapi_t *api);

/* a request for TN_PEERAPI_DNS; the connection is its own from here */
void nodeapi_dns(nodeapi_conn_t *conn, const tn_peerapi_request_t *request,
    const tn_netmap_node_t *peer);

/* what a connection, and the API, has of it */
void nodeapi_dns_end(nodeapi_conn_t *conn);
void nodeapi_dns_done(tn_nodeapi_t *api);


#endif /* TN_NODEAPI_INT_H_INCLUDED_ */
