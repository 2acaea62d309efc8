
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The lwIP stack of a node with its sockets: each tailnet connection to a
 * listened port becomes one AF_UNIX connection to nginx, whose own end is
 * bound to a name that says both tailnet addresses.
 */

#ifndef TN_LWNET_H_INCLUDED_
#define TN_LWNET_H_INCLUDED_

#include "base/tn_log.h"
#include "host/tn_loop.h"
#include "wire/tn_ip.h"


#define TN_LWNET_PORTS  1024
#define TN_LWNET_CONNS  65536       /* at a time; further ones are reset */

typedef struct tn_lwnet_table_s  tn_lwnet_table_t;
typedef struct tn_lwnet_s        tn_lwnet_t;


/*
 * What the control thread says and the data thread looks at: ports and own
 * addresses.  Owned by the control thread, outlives the net.
 */
tn_lwnet_table_t *tn_lwnet_table_create(void);
void tn_lwnet_table_free(tn_lwnet_table_t *table);

/* `fd`, which stays the caller's, is nginx's listening AF_UNIX socket */
tn_rc_t tn_lwnet_table_listen(tn_lwnet_table_t *table, uint16_t port,
    uint16_t family, int fd);
void tn_lwnet_table_addresses(tn_lwnet_table_t *table, const tn_ip_t *ips,
    size_t n);


/* a packet for a peer behind 10 zero bytes (tn_vnet_t); may be overwritten */
typedef void (*tn_lwnet_frame_pt)(void *data, uint8_t *frame, size_t len);

/* the end of a batch of frames */
typedef void (*tn_lwnet_done_pt)(void *data);

/* NULL: no memory, built without lwIP, or another node of the core has it */
tn_lwnet_t *tn_lwnet_create(tn_loop_t *loop, tn_lwnet_table_t *table,
    tn_lwnet_frame_pt frame, tn_lwnet_done_pt done, void *data,
    tn_log_t *log);
void tn_lwnet_destroy(tn_lwnet_t *net);

/* keeps a copy of the packet until tn_lwnet_run() */
void tn_lwnet_in(tn_lwnet_t *net, const uint8_t *packet,
    const tn_packet_t *p);
void tn_lwnet_run(tn_lwnet_t *net);


#endif /* TN_LWNET_H_INCLUDED_ */
