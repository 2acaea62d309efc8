
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What tn_super.c and tn_super_keep.c share: lifelines and their wants.
 */

#ifndef TN_SUPER_INT_H_INCLUDED_
#define TN_SUPER_INT_H_INCLUDED_

#include "proc/tn_super.h"


typedef struct {
    tn_link_t             link;
    tn_snode_t           *node;
    tn_ipc_node_t         config;
    bool                  lwip;         /* the stack of its listeners */
} tn_super_want_t;


typedef struct {
    tn_link_t             link;
    tn_snode_t           *node;
    tn_snode_listener_t  *listener;
    uint32_t              flags;        /* as this lifeline wants it */
} tn_super_socket_t;


struct tn_super_lifeline_s {
    tn_link_t             link;
    bool                  hello;
    tn_ipc_hello_t        conf;
    int                   fd;           /* its connection, or -1 */
    int                   log_fd;
    uint64_t              opened;
    uint64_t              committed;    /* 0: not yet */
    tn_link_t             nodes;        /* of tn_super_want_t */
    tn_link_t             sockets;      /* of tn_super_socket_t */
};


/* NULL when there is none of that name */
tn_snode_t *tn_super_find(tn_super_t *super, const char *name);

/* makes what is so what the lifelines want */
void tn_super_settle(tn_super_t *super);


#endif /* TN_SUPER_INT_H_INCLUDED_ */
