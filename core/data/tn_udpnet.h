
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * UDP between peers and nginx without a kernel's stack: each flow, a pair of
 * addresses, is an AF_UNIX socket that keeps the bounds of datagrams.  For
 * all UDP of stack lwip, and with either stack for services and what `listen
 * any udp capture` brings.  One thread.
 */

#ifndef TN_UDPNET_H_INCLUDED_
#define TN_UDPNET_H_INCLUDED_

#include "base/tn_log.h"
#include "host/tn_loop.h"
#include "data/tn_lwnet.h"
#include "wire/tn_ip.h"


#define TN_UDPNET_FLOWS  16384      /* the one idle longest goes */
#define TN_UDPNET_EACH   2048       /* of these, of one address */
#define TN_UDPNET_MTU    1280

typedef struct tn_udpnet_s  tn_udpnet_t;

typedef struct {
    /* a packet for a peer behind a tn_vnet_t; may be overwritten */
    void  (*frame)(void *data, uint8_t *frame, size_t len);

    /* the end of a batch of frames that no tn_udpnet_in() made */
    void  (*done)(void *data);
} tn_udpnet_ops_t;


/* NULL: no memory */
tn_udpnet_t *tn_udpnet_create(tn_loop_t *loop, tn_lwnet_table_t *table,
    const tn_udpnet_ops_t *ops, void *data, tn_log_t *log);

/* ends all flows; NULL is allowed */
void tn_udpnet_destroy(tn_udpnet_t *net);

/*
 * A whole packet.  kind: whose listeners it is for, see TN_LWNET_SERVICE.
 * False: nothing listens there, and nothing was done.
 */
bool tn_udpnet_in(tn_udpnet_t *net, const uint8_t *packet,
    const tn_packet_t *p, uint32_t kind);

/* whether the packet is of a flow that stands */
bool tn_udpnet_has(const tn_udpnet_t *net, const tn_packet_t *p);

/*
 * A flow that begins here, from a free port of `own` to `to`: its other end,
 * the caller's, or -1 with errno.
 */
int tn_udpnet_dial(tn_udpnet_t *net, const tn_ip_t *own, const tn_addr_t *to);

/* a router says that the packets of a flow do not arrive: it is closed */
void tn_udpnet_unreachable(tn_udpnet_t *net, const tn_addr_t *local,
    const tn_addr_t *remote);

size_t tn_udpnet_count(const tn_udpnet_t *net);


#endif /* TN_UDPNET_H_INCLUDED_ */
