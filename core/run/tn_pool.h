
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The core's side of one node's holder: a store of unconnected sockets of
 * the node's namespace, refilled in the background, and its addresses.
 * Belongs to the control thread; never blocks.
 */

#ifndef TN_POOL_H_INCLUDED_
#define TN_POOL_H_INCLUDED_

#include "base/tn_log.h"
#include "proc/tn_ipc.h"
#include "host/tn_loop.h"


typedef struct tn_pool_s         tn_pool_t;
typedef struct tn_pool_waiter_s  tn_pool_waiter_t;

/* stands in its owner; the owner fills in the lower part */
struct tn_pool_waiter_s {
    tn_link_t    link;
    tn_pool_t   *pool;          /* NULL: does not wait */

    uint16_t     family;        /* 4 or 6 */
    uint16_t     proto;         /* TN_IPC_TCP, TN_IPC_UDP */

    /* a socket came: takes it; or -1: the pool is destroyed */
    void       (*ready)(tn_pool_waiter_t *waiter, int fd);
};


/* NULL when out of memory; it is empty until the first tn_pool_channel() */
tn_pool_t *tn_pool_create(tn_loop_t *loop, tn_log_t *log);

/* closes everything; waiters are told */
void tn_pool_destroy(tn_pool_t *pool);

/*
 * The channel to the holder, or to the one that replaces it: takes fd.
 * Sockets and addresses asked for before are asked for again.
 */
void tn_pool_channel(tn_pool_t *pool, int fd);

/*
 * All addresses of the node from now on, the last `services` of them those of
 * services; more than TN_IPC_ADDRS are cut.
 */
void tn_pool_addresses(tn_pool_t *pool, const tn_ip_t *ips, size_t count,
    size_t services);

/*
 * A peer with these addresses (one may be none) is near, or is not any more:
 * its connections get what suits a LAN.  None of both: nobody is near.  Lost
 * when the holder is not there.
 */
void tn_pool_near(tn_pool_t *pool, const tn_ip_t ips[2], bool near);

/* a non-blocking close-on-exec socket, the caller's, or -1: wait for it */
int tn_pool_take(tn_pool_t *pool, uint16_t family, uint16_t proto);

/* served in order; once */
void tn_pool_wait(tn_pool_t *pool, tn_pool_waiter_t *waiter);

/* nothing happens when it does not wait */
void tn_pool_cancel(tn_pool_waiter_t *waiter);

/* why the holder gives no sockets, or "" */
const char *tn_pool_error(const tn_pool_t *pool);


#endif /* TN_POOL_H_INCLUDED_ */
