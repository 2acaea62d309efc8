
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the files of tn_services share.  Included by nobody else.
 */

#ifndef TN_SERVICES_INT_H_INCLUDED_
#define TN_SERVICES_INT_H_INCLUDED_

#include "run/tn_services.h"

#include "run/tn_workers.h"


typedef struct {
    tn_link_t           link;
    tn_services_t      *services;
    tn_ipc_service_t    key;
    uint32_t            clone;          /* of a worker, or 0: of all */
    tn_pool_waiter_t    waiter;
    tn_addr_t           addr;           /* of the service; port 0: none */
    int                 fd;             /* listens there, or -1 */
    bool                listed;         /* in the table of listeners */
    unsigned            open;           /* workers that know it */
    unsigned            active;         /* of these, that accept */
    bool                drained;
    bool                waits;          /* for an address; it was said */
    bool                failed;         /* to listen; it was said */
} services_entry_t;

typedef struct {
    tn_worker_t         worker;
    bool                leaving;
    uint32_t            count;
    services_entry_t   *entry[TN_IPC_SERVES];
} services_worker_t;


struct tn_services_s {
    tn_loop_t          *loop;
    const char         *name;
    void              (*changed)(void *data);
    void               *data;
    tn_log_t           *log;
    tn_node_t          *node;           /* or NULL */
    tn_pool_t          *pool;           /* or NULL */
    tn_lwnet_table_t   *listeners;
    bool                by_lwip;
    tn_link_t           entries;        /* in the order of their keys */
    size_t              n_entries;
    tn_workers_t        workers;
    uint32_t            serial;         /* of the last clone */
    char               *said;           /* the list that control knows of */
    tn_timer_t          again;          /* who could not listen tries */
    tn_timer_t          timer;          /* somebody leaves */
    tn_ms_t             left;           /* when: 0, nobody does */
    tn_ms_t             told;           /* control has heard, or 0 */
};


/* --- tn_services.c */

/* listeners, and what control hears, by what there is now */
void services_look(tn_services_t *services);

/* tells the packet filter what it is to let in */
void services_serve(tn_services_t *services);


/* --- tn_services_listen.c */

/* a listener at the address that control has for it, and at no other */
void services_place(services_entry_t *entry, const tn_netmap_node_t *self);

void services_close(services_entry_t *entry);

/* all that wait to listen once more; a tn_timer_pt */
void services_again(void *data, tn_ms_t now);

/* all its workers get the socket, or take theirs away */
void services_pass(services_entry_t *entry);

bool services_send(services_worker_t *worker, services_entry_t *entry);

/* this stack has no such listener */
bool services_is_void(const services_entry_t *entry);


/* --- tn_services_said.c */

/* tells control when it is something else than before */
void services_announce(tn_services_t *services);


#endif /* TN_SERVICES_INT_H_INCLUDED_ */
