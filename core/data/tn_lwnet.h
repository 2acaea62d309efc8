
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The lwIP stack of a node with its sockets.  A tailnet connection to a
 * listened port, and each peer's UDP traffic with it, becomes one AF_UNIX
 * connection to nginx, whose own end is bound to a name that says both tailnet
 * addresses; a dial becomes a socket pair.
 */

#ifndef TN_LWNET_H_INCLUDED_
#define TN_LWNET_H_INCLUDED_

#include <sys/uio.h>

#include "base/tn_log.h"
#include "proc/tn_ipc.h"
#include "host/tn_loop.h"
#include "wire/tn_ip.h"


#define TN_LWNET_PORTS  4096
#define TN_LWNET_CONNS  65536       /* at a time; further ones are reset */
#define TN_LWNET_DIALS  4096        /* under way; further ones wait */
#define TN_LWNET_IPS    8           /* of one dial */

/* whose listeners: 0, the node's own; TN_IPC_CAPTURE; or a service's */
#define TN_LWNET_SERVICE  0x8000

/* of the node's own, not nginx's but the core's; it is found without this */
#define TN_LWNET_CORE  0x4000

typedef struct tn_lwnet_table_s  tn_lwnet_table_t;
typedef struct tn_lwnet_s        tn_lwnet_t;


/*
 * What the control thread says and the data thread looks at: ports, own
 * addresses, and dials.  Owned by the control thread, outlives the net.
 */
tn_lwnet_table_t *tn_lwnet_table_create(void);
void tn_lwnet_table_free(tn_lwnet_table_t *table);

/*
 * `fd`, which stays the caller's, is nginx's listening AF_UNIX socket.
 * TN_IPC_CAPTURE: for addresses that are not the node's, port 0 is all ports;
 * and with fd -1 the kernel's stack has the listener.
 */
tn_rc_t tn_lwnet_table_listen(tn_lwnet_table_t *table, uint16_t proto,
    uint16_t port, uint16_t family, uint32_t flags, int fd);
void tn_lwnet_table_unlisten(tn_lwnet_table_t *table, uint16_t proto,
    uint16_t port, uint16_t family, uint32_t flags);

/*
 * All of nginx's are going to be said anew; and, of those, the ones that were
 * not said since are gone.
 */
void tn_lwnet_table_mark(tn_lwnet_table_t *table);
void tn_lwnet_table_sweep(tn_lwnet_table_t *table);

/* whether one for the node's own addresses is there */
bool tn_lwnet_table_listens(tn_lwnet_table_t *table, uint16_t proto,
    uint16_t port, uint16_t family);

void tn_lwnet_table_addresses(tn_lwnet_table_t *table, const tn_ip_t *ips,
    size_t n);

/*
 * The same for one address and port of a service.  What was accepted stays
 * when it listens no more.
 */
tn_rc_t tn_lwnet_table_serve(tn_lwnet_table_t *table, uint16_t proto,
    const tn_addr_t *addr, int fd);
void tn_lwnet_table_unserve(tn_lwnet_table_t *table, uint16_t proto,
    const tn_addr_t *addr);

/*
 * Takes over `fd`, the connection that a worker's request came over: the
 * reply is sent there with a socket once the peer has answered, or with the
 * error, and closed.  A worker that closes it gives up.  Addresses are tried
 * in order, until one of a family that the node has.
 */
void tn_lwnet_table_dial(tn_lwnet_table_t *table, int fd,
    const tn_ipc_dial_t *request, const tn_ip_t *ips, size_t n);


/* which ports are captured */
typedef struct {
    bool     any;                   /* all, by a socket of AF_UNIX */
    bool     any_probe;
    uint8_t  named[65536 / 8];      /* a bit each: by a listener of its own */
    uint8_t  probe[65536 / 8];      /* that has TN_IPC_PROBE */
} tn_lwnet_captures_t;

/*
 * Fills in captures[proto is UDP][family is 6] when that has changed since
 * *version, which is 0 at first.  Looks, without waiting, at each call.
 */
void tn_lwnet_table_captures(tn_lwnet_table_t *table, unsigned *version,
    tn_lwnet_captures_t captures[2][2]);


/* a packet for a peer behind 10 zero bytes (tn_vnet_t); may be overwritten */
typedef void (*tn_lwnet_frame_pt)(void *data, uint8_t *frame, size_t len);

/* the end of a batch of frames */
typedef void (*tn_lwnet_done_pt)(void *data);

/* NULL: no memory, or built without lwIP */
tn_lwnet_t *tn_lwnet_create(tn_loop_t *loop, tn_lwnet_table_t *table,
    tn_lwnet_frame_pt frame, tn_lwnet_done_pt done, void *data,
    tn_log_t *log);
void tn_lwnet_destroy(tn_lwnet_t *net);

/*
 * Keeps a copy of the packet until tn_lwnet_run().  capture: it is not for an
 * address of the node.
 */
void tn_lwnet_in(tn_lwnet_t *net, const uint8_t *packet,
    const tn_packet_t *p, bool capture);

/* the same of a frame as tn_coalesce_write_pt has it, for an own address */
void tn_lwnet_write(tn_lwnet_t *net, const struct iovec *iov, int n);

void tn_lwnet_run(tn_lwnet_t *net);

/* its flows of UDP */
struct tn_udpnet_s *tn_lwnet_udp(tn_lwnet_t *net);


#endif /* TN_LWNET_H_INCLUDED_ */
