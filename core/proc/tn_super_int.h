
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the files of tn_super share: lifelines and their wants, and what the
 * core is told.
 */

#ifndef TN_SUPER_INT_H_INCLUDED_
#define TN_SUPER_INT_H_INCLUDED_

#include "proc/tn_super.h"


#define TN_SUPER_NO_LWIP                                                      \
    "this build has no userspace TCP/IP stack; remedy: \"stack kernel\" or "  \
    "\"stack auto\""


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
    int                   hold[2];      /* see tn_super_held(); the other end
                                           until nginx has it; -1: none */
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


/* --- tn_super_core.c; without a core nothing is sent */

/* log, and with `dial` dial.sock */
void tn_super_core_setup(tn_super_t *super, bool dial);

/* to one that missed something; core_stale when it does so once more */
void tn_super_core_again(tn_super_t *super);

/* a node's configuration, descriptors and listeners */
void tn_super_core_node(tn_super_t *super, tn_snode_t *node);

/* CORE_LISTEN or CORE_UNLISTEN, of what the core has a part in */
void tn_super_core_listen(tn_super_t *super,
    const tn_snode_listener_t *listener, tn_ipc_type_e type);

/* closes fd, which may be -1 */
void tn_super_core_name(tn_super_t *super, tn_ipc_type_e type,
    const char *name, int fd);

/* another channel to the holder: at once, or by tn_super_tick() */
void tn_super_core_holder(tn_super_t *super, tn_snode_t *node);


#endif /* TN_SUPER_INT_H_INCLUDED_ */
