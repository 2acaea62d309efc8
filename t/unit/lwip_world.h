
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The world of lwIP behind tn_lwip.h, for t/unit/lwip_*.c: a clock that stands
 * still, what the stack sent, and peers that are made of single segments.
 * Nobody reads what comes and nobody writes but the test.
 */

#ifndef LWIP_WORLD_H_INCLUDED_
#define LWIP_WORLD_H_INCLUDED_

#include "stack/tn_lwip.h"
#include "packets.h"
#include "tap.h"


#define FIN       0x01
#define SYN       0x02
#define RST       0x04
#define ACK       0x10

#define PORT      80            /* that the stack listens on */
#define OUT_MAX   64

/* of tell(): host 1, which has one connection */
#define PEER      5000          /* its port */
#define SEQ       1000          /* of its first byte */
#define WINDOW    65535         /* of either side, without scaling */


/* a segment that the stack sent */
typedef struct {
    uint8_t          flags;
    uint8_t          host;
    uint16_t         port;
    uint32_t         seq;
    uint32_t         ack;
    size_t           len;           /* of its bytes */
} segment_t;


static struct {
    tn_ms_t          now;
    tn_lwip_t       *lwip;
    int              version;       /* of IP, for tell() */
    tn_lwip_conn_t  *accepted;      /* the latest */
    size_t           n_accepted;
    size_t           n_ready;
    segment_t        out[OUT_MAX];
    size_t           n_out;         /* all, also those not kept */
    uint32_t         first;         /* of the stack's bytes */
    uint32_t         last_ack;      /* that it sent */
    uint32_t         end;           /* of what it sent */
    bool             ended;         /* it sent a FIN, */
    uint32_t         ended_at;      /* there */
    size_t           longest;       /* of its packets */
} w;


/* core/stack/lwip/lwipopts.h */
void *tn_lwip_malloc(size_t size);
void tn_lwip_free(void *p);


static inline void
on_packet(void *data, uint8_t *packet, size_t len)
{
    uint32_t      end;
    segment_t    *s;
    tn_packet_t   p;

    (void) data;

    if (tn_packet_parse(&p, packet, len) != TN_OK) {
        abort();
    }

    if (p.proto != TN_PROTO_TCP) {
        return;
    }

    s = &w.out[w.n_out++ % OUT_MAX];
    packet += p.header_len;
    s->flags = p.tcp_flags;
    s->host = p.dst.b[15];
    s->port = p.dst_port;
    s->seq = tn_packet_u32(packet + 4);
    s->ack = tn_packet_u32(packet + 8);
    s->len = p.total_len - p.data_offset;

    w.longest = tn_max(w.longest, len);
    w.last_ack = s->ack;

    if (s->flags & SYN) {
        w.first = s->seq + 1;
        w.end = w.first;
    }

    end = s->seq + (uint32_t) s->len;

    if ((s->flags & FIN) && !w.ended) {
        w.ended = true;
        w.ended_at = end;
    }

    if ((int32_t) (end - w.end) > 0) {
        w.end = end;
    }
}


static inline void
on_accepted(void *data, tn_lwip_conn_t *conn, uint16_t port)
{
    (void) data;
    (void) port;

    w.accepted = conn;
    w.n_accepted++;
}


static inline void
on_ready(void *data, tn_lwip_conn_t *conn)
{
    (void) data;
    (void) conn;

    w.n_ready++;
}


static const tn_lwip_ops_t  ops = { on_packet, on_accepted, on_ready, NULL };


/* another stack, in the place of the one before */
static inline void
set_up(int version)
{
    tn_ip_t  ips[2];

    tn_lwip_destroy(w.lwip);
    memset(&w, 0, sizeof(w));

    w.version = version;
    w.now = 1000;

    (void) tn_ip_parse(&ips[0], "100.64.0.99", 11);
    (void) tn_ip_parse(&ips[1], "fd7a:115c:a1e0::63", 18);

    w.lwip = tn_lwip_create(&ops, NULL, w.now);
    tn_lwip_addresses(w.lwip, ips, 2);
    (void) tn_lwip_listen(w.lwip, PORT);
}


static inline void
tear_down(void)
{
    tn_lwip_destroy(w.lwip);
    w.lwip = NULL;
}


/* with a connection that is still there */
static inline void
finish(void)
{
    tn_lwip_close(w.accepted, true);
    tear_down();
}


static inline void
run_for(tn_ms_t ms)
{
    tn_ms_t  until;

    for (until = w.now + ms; w.now < until; w.now += TN_LWIP_TICK_MS) {
        if (tn_lwip_deadline(w.lwip) <= w.now) {
            tn_lwip_tick(w.lwip, w.now);
        }
    }
}


/*
 * A segment comes in, with `len` bytes of options if these are not NULL; the
 * last that was sent for it, NULL: none was
 */
static inline const segment_t *
put(pkt_t *k, const uint8_t *options, int len)
{
    size_t       n, before;
    uint8_t      packet[TN_LWIP_MTU];
    tn_packet_t  p;

    k->proto = 6;
    k->tcp_options = options != NULL ? len : 0;
    k->ttl = 64;
    k->dst_port = PORT;
    k->content = k->seq;

    n = pkt_build(k, packet);

    if (options != NULL) {
        memcpy(packet + pkt_ip_len(k) + 20, options, (size_t) len);
        pkt_checksums(k, packet);
    }

    before = w.n_out;

    if (tn_packet_parse(&p, packet, n) == TN_OK) {
        tn_lwip_in(w.lwip, w.now, packet, &p);
    }

    return w.n_out != before ? &w.out[(w.n_out - 1) % OUT_MAX] : NULL;
}


/* without bytes, from any peer */
static inline const segment_t *
tell_from(int version, uint8_t host, uint16_t port, uint8_t flags,
    uint32_t seq, uint32_t ack)
{
    pkt_t  k;

    memset(&k, 0, sizeof(k));
    k.version = version;
    k.host = host;
    k.src_port = port;
    k.flags = flags;
    k.seq = seq;
    k.ack = ack;
    k.window = WINDOW;

    return put(&k, NULL, 0);
}


/* from the one peer, seq and ack counted from the first bytes */
static inline void
tell(uint8_t flags, uint32_t seq, uint32_t ack, uint16_t window,
    size_t payload, const uint8_t *options, int len)
{
    pkt_t  k;

    memset(&k, 0, sizeof(k));
    k.version = w.version;
    k.host = 1;
    k.src_port = PEER;
    k.flags = flags;
    k.seq = SEQ + seq;
    k.ack = flags & ACK ? w.first + ack : 0;
    k.window = window;
    k.payload = payload;

    (void) put(&k, options, len);
}


/* an ACK of the one peer that tells of [left, right) too */
static inline void
tell_sack(uint32_t ack, uint32_t left, uint32_t right)
{
    uint8_t  sack[12];

    sack[0] = 1;
    sack[1] = 1;
    sack[2] = 5;
    sack[3] = 10;
    pkt_u32(sack + 4, w.first + left);
    pkt_u32(sack + 8, w.first + right);

    tell(ACK, 0, ack, WINDOW, 0, sack, sizeof(sack));
}


/* the whole handshake of that peer, with options in its SYN */
static inline bool
open_with(const uint8_t *options, int len, uint16_t window)
{
    tell(SYN, (uint32_t) -1, 0, window, 0, options, len);
    tell(ACK, 0, 0, window, 0, NULL, 0);

    return ok(w.accepted != NULL, "a connection");
}


/* and of any other; *first is the stack's SYN */
static inline bool
open_from(int version, uint8_t host, uint16_t port, uint32_t seq,
    segment_t *first)
{
    size_t            before;
    const segment_t  *s;

    before = w.n_accepted;
    s = tell_from(version, host, port, SYN, seq, 0);

    if (s == NULL || s->flags != (SYN|ACK) || s->ack != seq + 1) {
        return false;
    }

    *first = *s;
    (void) tell_from(version, host, port, ACK, seq + 1, first->seq + 1);

    return w.n_accepted == before + 1;
}


/* bytes that came and that nobody has read */
static inline size_t
unread(const tn_lwip_conn_t *conn)
{
    int           i, n;
    size_t        len;
    struct iovec  iov[64];

    len = 0;
    n = tn_lwip_peek(conn, iov, 64);

    for (i = 0; i < n; i++) {
        len += iov[i].iov_len;
    }

    return len;
}


#endif /* LWIP_WORLD_H_INCLUDED_ */
