
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the files of tn_lwip share: the stack and its buckets, a connection,
 * and how lwIP's globals are made those of one stack.  Included by nobody
 * else; the theory is in tn_lwip.c.
 */

#ifndef TN_LWIP_INT_H_INCLUDED_
#define TN_LWIP_INT_H_INCLUDED_

#include "stack/tn_lwip.h"

#include "base/tn_list.h"

#include <lwip/ip.h>
#include <lwip/netif.h>
#include <lwip/priv/tcp_priv.h>
#include <lwip/tcp.h>


#define TN_LWIP_BUCKETS     8192
#define TN_LWIP_NONE        TN_LWIP_BUCKETS     /* no bucket's */

#define TN_LWIP_CHUNK       (16 * 1024 - 64)    /* what comes before it */
#define TN_LWIP_SOURCES     256     /* counters of half-open connections */
#define TN_LWIP_HOLDERS     4096    /* and of memory; 0: nobody's */


typedef struct lwip_chunk_s  lwip_chunk_t;

struct lwip_chunk_s {
    lwip_chunk_t         *next;
    size_t                start;
    size_t                end;
    size_t                size;
    uint8_t               bytes[];
};


typedef struct lwip_listener_s  lwip_listener_t;

struct lwip_listener_s {
    lwip_listener_t      *next;
    tn_lwip_t            *lwip;
    struct tcp_pcb       *pcb;
    uint16_t              port;
};


typedef struct lwip_loss_s  lwip_loss_t;


typedef struct {
    struct tcp_pcb       *active;
    struct tcp_pcb       *waiting;      /* in TIME-WAIT */
    uint32_t              busy;         /* its place in that list + 1, or 0 */
} lwip_bucket_t;


struct tn_lwip_conn_s {
    tn_lwip_t            *lwip;
    struct tcp_pcb       *pcb;          /* NULL: dead */
    void                 *data;
    uint32_t              bucket;
    uint32_t              source;       /* whose memory it takes */
    unsigned              state;
    int                   err;
    unsigned              polls;        /* of an unanswered SYN */
    bool                  begun;        /* bytes have been sent */
    tn_link_t             starved;      /* in the stack's list, or in none */
    tn_addr_t             local;
    tn_addr_t             remote;
    lwip_chunk_t         *first;
    lwip_chunk_t         *last;
};


struct tn_lwip_s {
    const tn_lwip_ops_t  *ops;
    void                 *data;
    struct netif          netif;
    lwip_listener_t      *listeners;
    struct tcp_pcb       *listening;    /* lwIP's list while not held */
    lwip_listener_t       captures;     /* in no list; no pcb until needed */
    unsigned              held;
    tn_ms_t               now;
    tn_ms_t               tick;         /* the next one while any is busy */
    tn_ms_t               swept;        /* until when the sweep came */
    uint32_t              sweep;        /* the bucket it looks at next */
    uint32_t              ticks;        /* lwIP's count, of the slow timer */
    bool                  odd;          /* the slow timer is left out */
    tn_link_t             starved;      /* had no room for want of memory */
    tn_ms_t               fed;          /* when they are looked at */
    uint64_t              seed;
    uint32_t              secret[4];    /* of sequence numbers */
    bool                  joined;       /* it is several in one */
    bool                  reopens;      /* the segment that came in does */
    uint32_t              reopens_at;   /* our first sequence number then */
    uint32_t              current;
    uint32_t              source;       /* of the segment that came in */
    lwip_loss_t          *loss;         /* of the segment that came in */
    size_t                n_pcbs;
    size_t                n_half_open;
    uint16_t              half_open[TN_LWIP_SOURCES];
    size_t                n_busy;
    uint32_t              busy[TN_LWIP_BUCKETS];
    lwip_bucket_t         buckets[TN_LWIP_BUCKETS];
    uint8_t               out[TN_LWIP_MTU];
};


/* --- tn_lwip.c */

/* lwIP is this stack's until the matching lwip_release(); may be nested */
void lwip_hold(tn_lwip_t *lwip);
void lwip_release(tn_lwip_t *lwip);

/* seeded: no peer shall choose what is the same as others' */
uint32_t lwip_hash(const tn_lwip_t *lwip, const tn_ip_t *remote,
    uint32_t ports);

uint32_t lwip_bucket(const tn_lwip_t *lwip, const ip_addr_t *remote,
    uint16_t remote_port, uint16_t local_port);

/* holds the stack and has its lists be those of the bucket; which was it */
uint32_t lwip_enter(tn_lwip_t *lwip, uint32_t bucket);
void lwip_leave(tn_lwip_t *lwip, uint32_t former);

/* counts a pcb until it is freed */
void lwip_count(tn_lwip_t *lwip, struct tcp_pcb *pcb);

/* one that was half open is so no more */
void lwip_opened(tn_lwip_t *lwip, struct tcp_pcb *pcb);

void lwip_to_addr(const ip_addr_t *from, uint16_t port, tn_addr_t *to);
void lwip_from_ip(const tn_ip_t *from, ip_addr_t *to);


/* --- tn_lwip_conn.c */

err_t lwip_accept(void *arg, struct tcp_pcb *pcb, err_t err);
void lwip_conn_free(tn_lwip_conn_t *conn);

/* tells those that starved, if memory is not short any more */
void lwip_feed(tn_lwip_t *lwip);


/* the stack that is held */
tn_lwip_t *lwip_holder(void);

/* the pcb's owner, who is told of its end; or NULL */
void lwip_set_conn(struct tcp_pcb *pcb, tn_lwip_conn_t *conn);

/* freed with the pcb */
void lwip_set_loss(struct tcp_pcb *pcb, lwip_loss_t *loss);
lwip_loss_t *lwip_get_loss(const struct tcp_pcb *pcb);


/* --- tn_lwip_guard.c */

/* before tcp_write() */
void lwip_guard_write(struct tcp_pcb *pcb);

/* at the latest before tcp_close(): only the peer decides how long it stays */
void lwip_guard_close(const tn_lwip_t *lwip, struct tcp_pcb *pcb);

/*
 * Each TN_LWIP_TICK_MS while its bucket is busy, before lwIP's own timers; may
 * free the pcb
 */
void lwip_guard_tick(const tn_lwip_t *lwip, struct tcp_pcb *pcb);


/* --- tn_lwip_loss.c */

/* before lwIP sees a segment with `len` bytes of options */
void lwip_loss_segment(struct tcp_pcb *pcb, const struct tcp_hdr *header,
    unsigned len);

/* when lwIP has done with a segment */
void lwip_loss_after(tn_lwip_t *lwip);

/* each TN_LWIP_TICK_MS while its bucket is busy */
void lwip_loss_tick(tn_lwip_t *lwip, struct tcp_pcb *pcb);

/* tcp_output(), when what was written is to be sent */
void lwip_loss_output(struct tcp_pcb *pcb);


/* --- tn_lwip_sequence.c */

/* before lwIP sees a SYN, in its bucket: ends a TIME-WAIT that it may end */
void lwip_reopen(tn_lwip_t *lwip, const ip_addr_t *remote,
    const uint8_t *packet, const tn_packet_t *p);


/* --- tn_lwip_memory.c */

/* the counter of an address, which few others share */
uint32_t lwip_memory_source(const tn_lwip_t *lwip, const tn_ip_t *ip);

/* whose is what is taken from now on; whose it was before */
uint32_t lwip_memory_for(uint32_t source);

/*
 * What bulk data may have is used up, or the part of this source: only what
 * ends things gets more.  begins: to be sent where nothing is so far
 */
bool lwip_memory_is_short(uint32_t source, bool begins);

/* the source has so much that nothing more of it is kept */
bool lwip_memory_is_exceeded(uint32_t source);

/* gives back spare memory that nobody took for a while, if it is time */
void lwip_memory_reap(tn_ms_t now);

/* when it is time; TN_NEVER_MS: nothing is spare */
tn_ms_t lwip_memory_reaps(void);


#endif /* TN_LWIP_INT_H_INCLUDED_ */
