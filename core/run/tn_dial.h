
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The core's side of dial.sock: takes the requests of nginx's workers, has
 * them resolved, and passes a socket that is connecting.  Belongs to the
 * control thread; never blocks, never sees the bytes of a connection.
 */

#ifndef TN_DIAL_H_INCLUDED_
#define TN_DIAL_H_INCLUDED_

#include "run/tn_pool.h"


#define TN_DIAL_MAX             4096    /* at a time; others queue */
#define TN_DIAL_IPS             8
#define TN_DIAL_TIMEOUT_MS      60000   /* unless the request says less */
#define TN_DIAL_REQUEST_MS      5000    /* for the request to come */

typedef struct tn_dial_s  tn_dial_t;

/*
 * Looks a destination up.  Returns the pool of its node, with 1 to *n
 * addresses (*n comes as TN_DIAL_IPS) in the order to be tried.  Or NULL:
 * with *wait true when it may become known (the node is starting), to be
 * called again after tn_dial_retry(); else the dial fails with *err, an
 * errno.  In both cases one line in text (TN_IPC_TEXT bytes) says why.
 */
typedef tn_pool_t *(*tn_dial_resolve_pt)(void *data,
    const tn_ipc_dial_t *request, tn_ip_t *ips, size_t *n, bool *wait,
    int *err, char *text);


/* NULL when out of memory */
tn_dial_t *tn_dial_create(tn_loop_t *loop, tn_dial_resolve_pt resolve,
    void *data, tn_log_t *log);

/* drops all requests: their workers dial again */
void tn_dial_destroy(tn_dial_t *dial);

/*
 * Who answers the requests of tools that come over the same socket: called
 * with a connection, which it takes over, and its request.  Without one they
 * are closed.
 */
typedef void (*tn_dial_tool_pt)(void *data, int fd,
    const tn_ipc_tool_t *request);

void tn_dial_tools(tn_dial_t *dial, tn_dial_tool_pt tool, void *data);

/* the same for those that watch who stands behind a name */
typedef void (*tn_dial_watch_pt)(void *data, int fd,
    const tn_ipc_watch_t *request);

void tn_dial_watches(tn_dial_t *dial, tn_dial_watch_pt watch, void *data);

/* and for those that take sockets in advance */
typedef void (*tn_dial_take_pt)(void *data, int fd,
    const tn_ipc_take_t *request);

void tn_dial_takes(tn_dial_t *dial, tn_dial_take_pt take, void *data);

/* the same for a worker that wants to know of a node's certificates */
typedef void (*tn_dial_cert_pt)(void *data, int fd,
    const tn_ipc_cert_t *request);

void tn_dial_certs(tn_dial_t *dial, tn_dial_cert_pt cert, void *data);

/* and for one that accepts for services */
typedef void (*tn_dial_serve_pt)(void *data, int fd,
    const tn_ipc_serve_t *request);

void tn_dial_serves(tn_dial_t *dial, tn_dial_serve_pt serve, void *data);

/*
 * Who connects for nodes whose stack is not the kernel's: called with a
 * connection that has been resolved.  True: it took the connection over and
 * answers.
 */
typedef bool (*tn_dial_stack_pt)(void *data, int fd,
    const tn_ipc_dial_t *request, const tn_ip_t *ips, size_t n);

/* with the data of tn_dial_create() */
void tn_dial_stack(tn_dial_t *dial, tn_dial_stack_pt stack);

/* takes the listening socket; replaces the one before */
void tn_dial_listen(tn_dial_t *dial, int fd);

/* takes a connection whose other end says what a worker would */
void tn_dial_accepted(tn_dial_t *dial, int fd);

/* names, addresses or the state of a node changed: waiting ones ask again */
void tn_dial_retry(tn_dial_t *dial);

/*
 * The pool is going to be destroyed: requests that wait for its sockets are
 * looked up again after the next tn_dial_retry().
 */
void tn_dial_forget(tn_dial_t *dial, tn_pool_t *pool);


#endif /* TN_DIAL_H_INCLUDED_ */
