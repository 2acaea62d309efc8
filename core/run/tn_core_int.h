
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the files of tn_core share: the core, its nodes, and those who answer
 * for them.  Included by nobody else.
 */

#ifndef TN_CORE_INT_H_INCLUDED_
#define TN_CORE_INT_H_INCLUDED_

#include "run/tn_core.h"

#include "crypto/tn_blake2s.h"
#include "host/tn_logfile.h"
#include "run/tn_dial.h"
#include "run/tn_funnel.h"
#include "data/tn_lwnet.h"
#include "run/tn_members.h"
#include "run/tn_node.h"
#include "run/tn_nodeapi.h"
#include "run/tn_nodedns.h"
#include "run/tn_pool.h"
#include "run/tn_services.h"
#include "run/tn_stock.h"
#include "run/tn_tool.h"


typedef struct {
    tn_ipc_core_node_t  msg;
    int                 tun;
    int                 bulk;
    int                 holder;
    int                 udp4;
    int                 udp6;
    int                 share;
} core_order_t;


typedef struct core_s  core_t;

typedef struct {
    tn_link_t           link;
    core_t             *core;
    char                name[TN_IPC_NAME];
    tn_node_t          *node;
    tn_pool_t          *pool;
    tn_nodeapi_t       *api;
    tn_nodedns_t       *dns;        /* or NULL */
    tn_funnel_t        *funnel;
    tn_services_t      *services;
    tn_ip_t             ips[TN_IPC_ADDRS];  /* as the pool was told last */
    size_t              nips;
    size_t              nservices;          /* the last of them */
    tn_lwnet_table_t   *lwip;       /* listeners that the core serves */
    bool                by_lwip;    /* it has it now */
    bool                stack;      /* there is a TUN */
    uint8_t             told[TN_BLAKE2S_LEN];   /* hash of the last order */
    bool                named;      /* since CORE_RESUME */
    uint32_t            features;   /* of the order that made the node */
    tn_ms_t             settled;    /* when an old netmap counts */
    core_order_t       *next;       /* to become, when `node` has ended */
    tn_defer_t          reap;
} core_slot_t;


struct core_s {
    tn_loop_t           loop;
    tn_logfile_t        logfile;
    tn_log_t           *log;
    tn_resolver_t      *resolver;
    tn_dial_t          *dial;
    tn_members_t       *members;
    tn_stock_t         *stock;
    tn_timer_t          settle;
    tn_tools_t         *tools;
    tn_http_t          *http;
    tn_certs_queue_t    queue;
    tn_watch_t          ctl;
    tn_link_t           slots;
    bool                resuming;   /* until CORE_START */
    bool                ending;
};


/* NULL when there is none of that name */
core_slot_t *core_slot(core_t *core, const char *name);


/* --- tn_core_ask.c; data: the core */

bool core_tool_node(void *data, size_t i, const char **name,
    tn_node_t **node);

void core_serve_take(void *data, int fd, const tn_ipc_serve_t *request);
void core_certs_take(void *data, int fd, const tn_ipc_cert_t *request);

/* data: the slot */
extern const tn_nodedns_ops_t  core_nodedns_ops;

bool core_dial_lwip(void *data, int fd, const tn_ipc_dial_t *request,
    const tn_ip_t *ips, size_t n);
tn_pool_t *core_dial_resolve(void *data, const tn_ipc_dial_t *request,
    tn_ip_t *ips, size_t *n, bool *wait, int *err, char *text);
tn_pool_t *core_stock(void *data, const char *node);

bool core_members(void *data, const tn_ipc_watch_t *request,
    tn_ipc_members_t *msg);

/* a timer: the netmaps from the disk count now */
void core_settled(void *data, tn_ms_t now);


#endif /* TN_CORE_INT_H_INCLUDED_ */
