
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Funnel of one node: which ports nginx serves to the Internet, whether the
 * tailnet allows them, and the way of a relay's connection into nginx.
 * Control's thread only.
 */

#ifndef TN_FUNNEL_H_INCLUDED_
#define TN_FUNNEL_H_INCLUDED_

#include "run/tn_node.h"
#include "run/tn_nodeapi.h"


#define TN_FUNNEL_PORTS    64
#define TN_FUNNEL_WAITING  4096     /* connections that nginx cannot take yet */
#define TN_FUNNEL_WAIT_MS  5000

typedef struct tn_funnel_s  tn_funnel_t;


/* `name` is the node's, for the log; NULL when out of memory */
tn_funnel_t *tn_funnel_create(tn_loop_t *loop, const char *name,
    tn_log_t *log);
void tn_funnel_destroy(tn_funnel_t *funnel);

/* a node began, or (NULL) ended; or its netmap changed: tells control */
void tn_funnel_node(tn_funnel_t *funnel, tn_node_t *node);

/*
 * nginx's listening AF_UNIX socket for this port, which stays the caller's;
 * fd -1: there is none any more.
 */
void tn_funnel_listen(tn_funnel_t *funnel, uint16_t port, int fd);

/* all are going to be said anew; and those that were not since are gone */
void tn_funnel_mark(tn_funnel_t *funnel);
void tn_funnel_sweep(tn_funnel_t *funnel);

/* for tn_nodeapi_create(), whose data is the tn_funnel_t */
extern const tn_nodeapi_ops_t  tn_funnel_ops;


#endif /* TN_FUNNEL_H_INCLUDED_ */
