
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The connections to DERP servers that the path machine asks for, one per
 * region: byte pipes between it and tn_conn.  Belongs to the data thread;
 * knows no frame.
 */

#ifndef TN_DERPCONN_H_INCLUDED_
#define TN_DERPCONN_H_INCLUDED_

#include "base/tn_log.h"
#include "host/tn_loop.h"
#include "host/tn_proxy.h"
#include "host/tn_resolve.h"
#include "host/tn_tls.h"
#include "path/tn_path.h"


typedef struct tn_derpconn_s  tn_derpconn_t;

/* after bytes were given to the path machine: send what that led to */
typedef void (*tn_derpconn_done_pt)(void *data);


/*
 * `tls` verifies, and stays the caller's; proxies may be NULL.  Both must
 * outlive it.  NULL on error, and the log says why.  Nothing can be opened
 * before tn_derpconn_set_path().
 */
tn_derpconn_t *tn_derpconn_create(tn_loop_t *loop, tn_resolver_t *resolver,
    tn_tls_t *tls, const tn_proxies_t *proxies, tn_derpconn_done_pt done,
    void *data, tn_log_t *log);

/* NULL is allowed */
void tn_derpconn_destroy(tn_derpconn_t *set);

/* closes all, and from now on serves this one */
void tn_derpconn_set_path(tn_derpconn_t *set, tn_path_t *path);

/*
 * The network has changed, see tn_netmon.h for `major`: those that the kernel
 * would make from another address now, and after a major change those that
 * are not connected yet, are told to the path machine as closed, which opens
 * them anew.
 */
void tn_derpconn_network_changed(tn_derpconn_t *set, bool major);

/* as in tn_path_ops_t */
void tn_derpconn_open(tn_derpconn_t *set, uint32_t region,
    const tn_derpmap_node_t *node);
tn_rc_t tn_derpconn_write(tn_derpconn_t *set, uint32_t region,
    const uint8_t *head, size_t head_len, const uint8_t *body,
    size_t body_len);
void tn_derpconn_close(tn_derpconn_t *set, uint32_t region);

/* beside the region's connection; one at a time for each region */
void tn_derpconn_https_probe(tn_derpconn_t *set, uint32_t id,
    uint32_t region, const tn_derpmap_node_t *node);


#endif /* TN_DERPCONN_H_INCLUDED_ */
