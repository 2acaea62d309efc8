
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Names of a tailnet that only its nameservers know (split DNS: control gives
 * a suffix and who is to be asked).  One of these for each node, of the
 * control thread.
 *
 * Source: tailcfg.DNSConfig.Routes.
 */

#ifndef TN_NODEDNS_H_INCLUDED_
#define TN_NODEDNS_H_INCLUDED_

#include "control/tn_netmap.h"
#include "host/tn_loop.h"


typedef struct tn_nodedns_s  tn_nodedns_t;

typedef struct {

    /* takes a connection, at whose other end is what a worker would say */
    void  (*dial)(void *data, int fd);

    /* something is known of a name: those that wait look it up again */
    void  (*known)(void *data);
} tn_nodedns_ops_t;


/* NULL when out of memory; `node`, its name, is copied */
tn_nodedns_t *tn_nodedns_create(tn_loop_t *loop, const tn_nodedns_ops_t *ops,
    void *data, const char *node);

/* questions that are open are forgotten */
void tn_nodedns_destroy(tn_nodedns_t *dns);

/*
 * Up to `max` addresses of `host` in the order to be tried, of those that a
 * peer routes.  0 with *wait: a nameserver is being asked, to be called again
 * when ops->known() was.  0 without it: there are none.  `text` (TN_IPC_TEXT
 * bytes) says why, and is left as it is when this is no name for a nameserver.
 */
size_t tn_nodedns_resolve(tn_nodedns_t *dns, const tn_netmap_t *netmap,
    const char *host, tn_ip_t *ips, size_t max, bool *wait, char *text);


#endif /* TN_NODEDNS_H_INCLUDED_ */
