
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Joins packets that came out of the tunnel in one batch into super-packets
 * for the kernel, as iovecs over the receive buffers; the data path feeds and
 * flushes it.  Never copies payload, never allocates after creation.
 */

#ifndef TN_COALESCE_H_INCLUDED_
#define TN_COALESCE_H_INCLUDED_

#include <sys/uio.h>

#include "tn_vnet.h"
#include "wire/tn_ip.h"


#define TN_COALESCE_SLOTS     64    /* frames kept until a flush */
#define TN_COALESCE_SEGMENTS  64    /* packets of one frame at most */
#define TN_COALESCE_BYTES     65408 /* with headers; lwIP adds its own */
#define TN_COALESCE_MTU       1280  /* of nodes: longer ones were joined */


typedef struct tn_coalesce_s  tn_coalesce_t;

/*
 * One frame: iov[0] is the virtio header, the rest the packet.  The iovecs
 * are valid until the call returns.
 */
typedef void (*tn_coalesce_write_pt)(void *data, const struct iovec *iov,
    int n);


/* NULL: no memory */
tn_coalesce_t *tn_coalesce_create(tn_coalesce_write_pt write, void *data);
void tn_coalesce_destroy(tn_coalesce_t *c);

/*
 * Whether UDP packets may be joined: only when the TUN took USO4 and USO6
 * (Linux 6.2), otherwise a write of them fails.  Off at first.
 */
void tn_coalesce_set_udp(tn_coalesce_t *c, bool on);

/*
 * Takes a packet with its summary.  The bytes must stay where they are, and
 * belong to the coalescer, until the next tn_coalesce_flush(); headers get
 * rewritten.  It may write frames when its slots are full.
 */
void tn_coalesce_add(tn_coalesce_t *c, uint8_t *packet,
    const tn_packet_t *p);

/* writes everything, in the order of arrival within each flow */
void tn_coalesce_flush(tn_coalesce_t *c);


#endif /* TN_COALESCE_H_INCLUDED_ */
