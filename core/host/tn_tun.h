
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A TUN descriptor with virtio-net headers (IFF_NO_PI, IFF_VNET_HDR, header
 * of 10 bytes, made by the holder): super-packets in and out.  Used by the
 * node's data thread; never looks into a packet.  It may have a second queue,
 * for packets that others shall not wait behind.
 */

#ifndef TN_TUN_H_INCLUDED_
#define TN_TUN_H_INCLUDED_

#include "base/tn_log.h"
#include "host/tn_loop.h"

#include <sys/uio.h>


#define TN_TUN_HEADER_BYTES   10        /* struct virtio_net_hdr */
#define TN_TUN_HEADROOM       64        /* free before and after a packet */
#define TN_TUN_PACKET_BYTES   65535
#define TN_TUN_READS          64        /* of one turn of the loop, */
#define TN_TUN_READ_BYTES     (8 * 65536)   /*     and their bytes */
#define TN_TUN_BULK_BYTES     (2 * 65536)   /* of the second queue, until the
                                               first is looked at again */
#define TN_TUN_RING           1000      /* packets that a queue holds at most */

typedef struct tn_tun_s  tn_tun_t;

typedef struct {
    /*
     * virtio header and packet, `len` bytes in all, TN_TUN_HEADROOM bytes
     * free on both sides; to be changed at will, gone after the call.
     */
    void  (*packet)(void *data, uint8_t *frame, size_t len);

    /* after the last packet of this turn; or NULL */
    void  (*batch)(void *data);

    /* the device is gone; nothing is read any more */
    void  (*gone)(void *data, int err);
} tn_tun_ops_t;

typedef struct {
    uint64_t  rx_packets;           /* read from the device */
    uint64_t  rx_bytes;
    uint64_t  tx_packets;           /* written to the device */
    uint64_t  tx_bytes;
    uint64_t  tx_dropped;           /* the device's queue was full */
    uint64_t  tx_failed;
} tn_tun_stats_t;


/*
 * Takes the descriptors of the queues, -1 for no second, makes them
 * non-blocking and reads them from now on, the first one first.  NULL when
 * out of memory or one cannot be watched; they are then still the caller's.
 */
tn_tun_t *tn_tun_create(tn_loop_t *loop, int fd, int bulk,
    const tn_tun_ops_t *ops, void *data);

/*
 * The kernel makes use of this queue from now on, if it did not already: it
 * has to be read.  TN_OK, or TN_ERROR with errno.
 */
tn_rc_t tn_tun_attach(int fd);

/* closes the descriptor (the device lives on in the holder) */
void tn_tun_destroy(tn_tun_t *tun);

/* stops and resumes reading, for back-pressure */
void tn_tun_pause(tn_tun_t *tun, bool pause);

/*
 * Writes one virtio header and packet, by the second queue when it is bulk
 * and there is one: the kernel sends by it what answers.  TN_OK; TN_AGAIN
 * when it was dropped for a full queue; TN_ERROR with errno (EINVAL: the
 * kernel did not like the header or the packet).  Both are counted.
 */
tn_rc_t tn_tun_write(tn_tun_t *tun, bool bulk, const struct iovec *iov,
    int n);

/* whether there is a second queue */
bool tn_tun_has_bulk(const tn_tun_t *tun);

/*
 * A flow is about to change from the first queue to the second: what waits
 * in the first is read before anything in the second.
 */
void tn_tun_moved(tn_tun_t *tun);

const tn_tun_stats_t *tn_tun_stats(const tn_tun_t *tun);


#endif /* TN_TUN_H_INCLUDED_ */
