
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node's UDP sockets, one per family: batched receive with UDP_GRO, batched
 * send with UDP_SEGMENT.  Used by the node's data thread.  Nothing is
 * allocated after creation; it never interprets a datagram.
 */

#ifndef TN_UDP_H_INCLUDED_
#define TN_UDP_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_log.h"
#include "host/tn_loop.h"
#include "host/tn_udp_batch.h"
#include "host/tn_udp_socket.h"

#include <sys/socket.h>


#define TN_UDP_RX_MESSAGES   32         /* of one recvmmsg(), at most */
#define TN_UDP_RX_LEAST      8          /* as many whatever their size */
#define TN_UDP_RX_TURN       (256 * 1024)
#define TN_UDP_RX_BYTES      (64 * 1024)

#define TN_UDP_HELPING_MS    50         /* between looks at the helper */
#define TN_UDP_DISMISS_MS    10000      /* not needed so long: it goes */
#define TN_UDP_AHEAD         4          /* batches that it has to seal */

typedef struct tn_udp_s  tn_udp_t;

/* when another thread seals and sends */
typedef enum {
    TN_UDP_HELP_NEVER = 0,
    TN_UDP_HELP_BUSY,           /* while one is not enough, tn_offload.h */
    TN_UDP_HELP_ALWAYS          /* for tests */
} tn_udp_help_e;

typedef struct {
    /*
     * One datagram.  `from` and `bytes` are valid, and `bytes` may be changed
     * in place, until the batch() that follows has returned.
     */
    void  (*received)(void *data, const tn_addr_t *from, uint8_t *bytes,
                      size_t len);

    /* after the last datagram of one recvmmsg(); or NULL */
    void  (*batch)(void *data);

    /* the kernel says that `to` cannot be reached now, `err` is errno's; or
     * NULL */
    void  (*unreachable)(void *data, const tn_addr_t *to, int err);
} tn_udp_ops_t;

typedef struct {
    uint64_t  rx_calls;
    uint64_t  rx_messages;          /* as the kernel merged them */
    uint64_t  rx_datagrams;
    uint64_t  rx_bytes;
    uint64_t  rx_truncated;
    uint64_t  tx_calls;
    uint64_t  tx_messages;
    uint64_t  tx_datagrams;
    uint64_t  tx_bytes;
    uint64_t  tx_dropped;           /* datagrams; the socket was full */
    uint64_t  tx_failed;            /* datagrams; any other error */
} tn_udp_stats_t;


/* NULL when out of memory; log may be NULL */
tn_udp_t *tn_udp_create(tn_loop_t *loop, const tn_udp_ops_t *ops, void *data,
    tn_log_t *log);

/* closes its sockets; may not be called from its callbacks */
void tn_udp_destroy(tn_udp_t *udp);

/*
 * Takes a UDP socket and reads it from now on; replaces (and closes) the one
 * of the same family.  TN_OK; TN_ERROR when it is not an inet UDP socket, and
 * then it is still the caller's.
 */
tn_rc_t tn_udp_adopt(tn_udp_t *udp, int fd);

/* closes one family's socket; nothing happens when there is none */
void tn_udp_drop(tn_udp_t *udp, bool v6);

/*
 * Sets DF on all that is sent and ignores what the kernel believes of path
 * MTUs, or undoes that; a socket adopted later has it too.
 */
void tn_udp_dont_fragment(tn_udp_t *udp, bool on);

/* the local port of a family's socket, 0 when there is none */
uint16_t tn_udp_port(const tn_udp_t *udp, bool v6);

/*
 * One datagram, now.  TN_OK; TN_AGAIN when the socket is full (dropped and
 * counted); TN_NOTFOUND without a socket of that family; TN_ERROR.
 */
tn_rc_t tn_udp_send(tn_udp_t *udp, const tn_addr_t *to, const void *bytes,
    size_t len);

/*
 * Batched sending: the caller builds each datagram in the room it is given
 * and adds it; datagrams of one size to one destination leave as one message.
 * NULL when the batch is full: tn_udp_flush(), and ask again; then it is NULL
 * only when len is over TN_UDP_MAX_DATAGRAM, zero, or no socket of that family
 * is there.  A room that is not added is given back by the next call.
 */
uint8_t *tn_udp_room(tn_udp_t *udp, const tn_addr_t *to, size_t len);

/*
 * Adds the datagram of the last tn_udp_room(), of its full length, whose bytes
 * may be written until the flush.  Those of one flow (a hash whose upper bits
 * are good) leave in the order in which they are added; those of others may
 * overtake them.
 */
void tn_udp_add(tn_udp_t *udp, uint32_t flow);

/*
 * Leaves it to the flush to seal datagrams of this batch; see
 * tn_udp_batch_seal().  False: the caller has to, because nobody helps or the
 * helper has enough to do.
 */
bool tn_udp_seal(tn_udp_t *udp, tn_aead_t *aead, const tn_aead_job_t *jobs,
    size_t n);

/*
 * Whether there may be a thread that helps, of a node of that name, NULL for
 * that of before; TN_UDP_HELP_NEVER until then.  It is made when it is first
 * needed, and unreachable() may then be told TN_UDP_HELPING_MS later.
 */
void tn_udp_help(tn_udp_t *udp, tn_udp_help_e help, const char *name);

/* what is sent now goes by it */
bool tn_udp_is_helped(const tn_udp_t *udp);

/* sends what was added; call it at the end of every batch */
void tn_udp_flush(tn_udp_t *udp);

const tn_udp_stats_t *tn_udp_stats(const tn_udp_t *udp);

/* false once the kernel or the device refused UDP_SEGMENT on this family */
bool tn_udp_segments(const tn_udp_t *udp, bool v6);


#endif /* TN_UDP_H_INCLUDED_ */
