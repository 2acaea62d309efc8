
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * lwIP behind tn_lwip.h and peers that send what its assertions forbid: each
 * of these ended the process, or its connection stood still for ever.
 */

#include "stack/tn_lwip.h"
#include "packets.h"
#include "tap.h"


#define FIN       0x01
#define SYN       0x02
#define ACK       0x10

#define PORT      80
#define SEQ       1000          /* of the peer's first byte */
#define PIECE     1200
#define WINDOW    65535         /* of either side, without scaling */


static tn_ms_t          now;
static tn_lwip_t       *lwip;
static tn_lwip_conn_t  *accepted;
static int              version;
static uint32_t         first;          /* of the stack's bytes */
static uint32_t         last_ack;       /* that it sent */
static uint32_t         end;            /* of what it sent */
static bool             ended;          /* it sent a FIN, */
static uint32_t         ended_at;       /* there */
static size_t           longest;        /* of its packets */


/* core/stack/lwip/lwipopts.h */
void *tn_lwip_malloc(size_t size);
void tn_lwip_free(void *p);

static void on_packet(void *data, uint8_t *packet, size_t len);
static void on_accepted(void *data, tn_lwip_conn_t *conn, uint16_t port);
static void on_ready(void *data, tn_lwip_conn_t *conn);
static void set_up(int v);
static void run_for(tn_ms_t ms);
static void tell(uint8_t flags, uint32_t seq, uint32_t ack, uint16_t window,
    size_t payload, const uint8_t *options, int len);
static bool open_with(const uint8_t *options, int len, uint16_t window);
static void send_bytes(uint32_t from, uint32_t to);
static size_t got(void);
static void finish(void);
static void test_mss_later(void);
static void test_mss_again(void);
static void test_half_window(void);
static void test_beyond_window(void);
static void test_beyond_fin(bool in_order);
static void test_split(void);
static void test_split_acked(void);
static void test_old_sack(void);
static void test_last_bytes(void);
static void test_last_byte(const uint8_t *options, int len,
    const char *what);


static const tn_lwip_ops_t  ops = { on_packet, on_accepted, on_ready, NULL };


int
main(void)
{
    static const uint8_t  sack[] = { 1, 1, 4, 2 };

    test_mss_later();
    test_mss_again();
    test_half_window();
    test_beyond_window();
    test_beyond_fin(true);
    test_beyond_fin(false);
    test_split();
    test_split_acked();
    test_old_sack();
    test_last_bytes();
    test_last_byte(NULL, 0, "a peer without SACK");
    test_last_byte(sack, sizeof(sack), "a peer with SACK");

    return tap_done();
}


static void
on_packet(void *data, uint8_t *packet, size_t len)
{
    uint32_t      seq;
    tn_packet_t   p;

    (void) data;

    if (tn_packet_parse(&p, packet, len) != TN_OK) {
        abort();
    }

    longest = tn_max(longest, len);
    packet += p.header_len;
    seq = tn_packet_u32(packet + 4);
    last_ack = tn_packet_u32(packet + 8);

    if (p.tcp_flags & SYN) {
        first = seq + 1;
        end = first;
    }

    seq += (uint32_t) (p.total_len - p.data_offset);

    if ((p.tcp_flags & FIN) && !ended) {
        ended = true;
        ended_at = seq;
    }

    if ((int32_t) (seq - end) > 0) {
        end = seq;
    }
}


static void
on_accepted(void *data, tn_lwip_conn_t *conn, uint16_t port)
{
    (void) data;
    (void) port;

    accepted = conn;
}


static void
on_ready(void *data, tn_lwip_conn_t *conn)
{
    (void) data;
    (void) conn;
}


static void
set_up(int v)
{
    tn_ip_t  ips[2];

    version = v;
    now = 1000;
    accepted = NULL;
    ended = false;
    longest = 0;

    (void) tn_ip_parse(&ips[0], "100.64.0.99", 11);
    (void) tn_ip_parse(&ips[1], "fd7a:115c:a1e0::63", 18);

    lwip = tn_lwip_create(&ops, NULL, now);
    tn_lwip_addresses(lwip, ips, 2);
    (void) tn_lwip_listen(lwip, PORT);
}


static void
run_for(tn_ms_t ms)
{
    tn_ms_t  until;

    for (until = now + ms; now < until; now += TN_LWIP_TICK_MS) {
        if (tn_lwip_deadline(lwip) <= now) {
            tn_lwip_tick(lwip, now);
        }
    }
}


/* one segment from the peer, seq and ack counted from the first bytes */
static void
tell(uint8_t flags, uint32_t seq, uint32_t ack, uint16_t window,
    size_t payload, const uint8_t *options, int len)
{
    pkt_t        k;
    size_t       n;
    uint8_t      packet[TN_LWIP_MTU];
    tn_packet_t  p;

    memset(&k, 0, sizeof(k));
    k.version = version;
    k.proto = 6;
    k.tcp_options = len;
    k.ttl = 64;
    k.host = 1;
    k.src_port = 5000;
    k.dst_port = PORT;
    k.flags = flags;
    k.seq = SEQ + seq;
    k.ack = flags & ACK ? first + ack : 0;
    k.window = window;
    k.payload = payload;
    k.content = seq;

    n = pkt_build(&k, packet);

    if (len != 0) {
        memcpy(packet + pkt_ip_len(&k) + 20, options, (size_t) len);
        pkt_checksums(&k, packet);
    }

    if (tn_packet_parse(&p, packet, n) == TN_OK) {
        tn_lwip_in(lwip, now, packet, &p);
    }
}


static bool
open_with(const uint8_t *options, int len, uint16_t window)
{
    tell(SYN, (uint32_t) -1, 0, window, 0, options, len);
    tell(ACK, 0, 0, window, 0, NULL, 0);

    return ok(accepted != NULL, "a connection");
}


/* a part of the peer's bytes, in order */
static void
send_bytes(uint32_t from, uint32_t to)
{
    uint32_t  n;

    for ( /* void */ ; from != to; from += n) {
        n = tn_min(to - from, (uint32_t) PIECE);
        tell(ACK, from, 0, WINDOW, n, NULL, 0);
    }
}


/* bytes that nobody reads */
static size_t
got(void)
{
    int           i, n;
    size_t        len;
    struct iovec  iov[16];

    len = 0;
    n = tn_lwip_peek(accepted, iov, 16);

    for (i = 0; i < n; i++) {
        len += iov[i].iov_len;
    }

    return len;
}


static void
finish(void)
{
    tn_lwip_close(accepted, true);
    tn_lwip_destroy(lwip);
}


/* a segment size that comes when longer segments wait already */
static void
test_mss_later(void)
{
    static uint8_t        bytes[20000];
    static const uint8_t  mss[] = { 2, 4, 0, 1 };

    set_up(4);

    if (!open_with(NULL, 0, 5000)) {
        return;
    }

    is_int((long long) tn_lwip_write(accepted, bytes, sizeof(bytes)),
           sizeof(bytes), "more than the window is written");
    tn_lwip_push(accepted);

    tell(ACK, 0, 0, 5000, 0, mss, sizeof(mss));
    is_int((long long) tn_lwip_write(accepted, bytes, 100), 100,
           "and more, after a new segment size");

    longest = 0;
    tell(ACK, 0, end - first, WINDOW, 0, NULL, 0);
    tn_lwip_push(accepted);
    ok(longest > 500, "segments stay as they were (%zu)", longest);

    finish();
}


/* a SYN once more, with a size that is too large for IPv6 here */
static void
test_mss_again(void)
{
    static uint8_t        bytes[3600];
    static const uint8_t  mss[] = { 2, 4, 1440 >> 8, 1440 & 0xff };

    set_up(6);

    tell(SYN, (uint32_t) -1, 0, WINDOW, 0, mss, sizeof(mss));

    if (!open_with(mss, sizeof(mss), WINDOW)) {
        return;
    }

    (void) tn_lwip_write(accepted, bytes, sizeof(bytes));
    tn_lwip_push(accepted);

    is_int((long long) (end - first), sizeof(bytes), "all is sent");
    is_int((long long) longest, TN_LWIP_MTU, "in packets that fit");

    finish();
}


/* a window that is closed at first, and then small */
static void
test_half_window(void)
{
    static uint8_t  bytes[1000];

    set_up(4);

    if (!open_with(NULL, 0, 0)) {
        return;
    }

    (void) tn_lwip_write(accepted, bytes, sizeof(bytes));
    tn_lwip_push(accepted);
    is_int((long long) (end - first), 0, "nothing is sent");

    tell(ACK, 0, 0, 100, 0, NULL, 0);
    is_int((long long) tn_lwip_write(accepted, bytes, 100), 100,
           "more is written when there is a window");

    run_for(1000);
    ok(end - first >= 100, "and what fits is sent");

    finish();
}


/* beyond the window, behind a gap that is then filled */
static void
test_beyond_window(void)
{
    set_up(4);

    if (!open_with(NULL, 0, WINDOW)) {
        return;
    }

    tell(ACK, WINDOW - 1, 0, WINDOW, 1000, NULL, 0);
    is_int((long long) (last_ack - SEQ), 0, "it is answered");

    send_bytes(0, WINDOW - 1);
    is_int((long long) got(), WINDOW - 1, "what came before is there");

    tell(ACK, WINDOW - 1, 0, WINDOW, 1000, NULL, 0);
    is_int((long long) got(), WINDOW, "and what fits of it, in order");

    finish();
}


/* data over a FIN that came before, to the end of the window */
static void
test_beyond_fin(bool in_order)
{
    uint32_t  at;

    at = WINDOW - 1000;
    set_up(4);

    if (!open_with(NULL, 0, WINDOW)) {
        return;
    }

    send_bytes(0, at);
    tell(ACK|FIN, at + 500, 0, WINDOW, 0, NULL, 0);

    if (in_order) {
        tell(ACK, at, 0, WINDOW, 1000, NULL, 0);

    } else {
        tell(ACK, at + 1, 0, WINDOW, 999, NULL, 0);
        tell(ACK, at, 0, WINDOW, 1, NULL, 0);
    }

    is_int((long long) got(), at + !in_order, "data over a FIN is dropped");

    send_bytes(at + !in_order, at + 500);
    ok(got() == at + 500
       && (tn_lwip_conn_state(accepted) & TN_LWIP_EOF),
       "what belongs before it is taken, and the end");

    finish();
}


/* a window that stays smaller than the last segment, which has the FIN */
static void
test_split(void)
{
    static uint8_t  bytes[700];

    set_up(4);

    if (!open_with(NULL, 0, 2000)) {
        return;
    }

    (void) tn_lwip_write(accepted, bytes, 300);
    tn_lwip_push(accepted);
    tell(ACK, 0, 300, 100, 0, NULL, 0);

    (void) tn_lwip_write(accepted, bytes, 400);
    tn_lwip_push(accepted);
    tn_lwip_shutdown(accepted);
    run_for(2000);
    ok(end - first == 400 && !ended, "what fits is sent, without the end");

    tell(ACK, 0, 400, WINDOW, 0, NULL, 0);
    ok(end - first == 700 && ended && ended_at - first == 700,
       "which comes with the rest");

    tell(ACK, 0, 701, WINDOW, 0, NULL, 0);
    ok(tn_lwip_conn_state(accepted) & TN_LWIP_DRAINED, "and all arrives");

    finish();
}


/* the same when the peer has a part of that segment */
static void
test_split_acked(void)
{
    static uint8_t  bytes[400];

    set_up(4);

    if (!open_with(NULL, 0, 2000)) {
        return;
    }

    (void) tn_lwip_write(accepted, bytes, sizeof(bytes));
    tn_lwip_push(accepted);

    tell(ACK, 0, 108, 70, 0, NULL, 0);
    run_for(5000);
    end = first;
    tell(ACK, 0, 108, 1000, 0, NULL, 0);
    run_for(5000);
    is_int((long long) (end - first), sizeof(bytes),
           "it took a part: the rest is sent when there is a window");
    finish();

    set_up(4);

    if (!open_with(NULL, 0, 2000)) {
        return;
    }

    (void) tn_lwip_write(accepted, bytes, 10);
    tn_lwip_push(accepted);
    tell(ACK, 0, 10, 0, 0, NULL, 0);
    (void) tn_lwip_write(accepted, bytes, sizeof(bytes));
    tn_lwip_push(accepted);
    run_for(1000);
    tell(ACK, 0, 11, 1, 0, NULL, 0);
    run_for(2000);
    is_int((long long) (end - first), 12, "of one byte behind a probe, too");
    finish();
}


/* marks of an ACK of before, on a segment that was split meanwhile */
static void
test_old_sack(void)
{
    uint8_t               sack[12];
    static uint8_t        bytes[400];
    static const uint8_t  permitted[] = { 1, 1, 4, 2 };

    set_up(4);

    if (!open_with(permitted, sizeof(permitted), 2000)) {
        return;
    }

    (void) tn_lwip_write(accepted, bytes, sizeof(bytes));
    tn_lwip_push(accepted);
    run_for(1500);

    sack[0] = 1;
    sack[1] = 1;
    sack[2] = 5;
    sack[3] = 10;
    pkt_u32(sack + 4, first);
    pkt_u32(sack + 8, first + (uint32_t) sizeof(bytes));

    tell(ACK, 0, 0, 0, 1, sack, sizeof(sack));
    run_for(5000);
    tell(ACK, 1, 5, 0, 0, NULL, 0);
    run_for(1000);
    tell(ACK, 1, 0, 0, 0, sack, sizeof(sack));
    run_for(1000);

    end = first;
    tell(ACK, 1, 5, 2000, 0, NULL, 0);
    run_for(20000);
    is_int((long long) (end - first), sizeof(bytes),
           "an old ACK marks nothing: all is sent");
    finish();
}


/* the peer's last bytes come with its FIN, behind ours, when memory is short */
static void
test_last_bytes(void)
{
    void    *hold;
    size_t   used;

    used = tn_lwip_used();
    set_up(4);

    if (!open_with(NULL, 0, WINDOW)) {
        return;
    }

    tn_lwip_shutdown(accepted);
    tell(ACK, 0, 1, WINDOW, 0, NULL, 0);

    hold = tn_lwip_malloc(TN_LWIP_MEMORY / 4 * 3 + 4096);
    tell(ACK|FIN, 0, 1, WINDOW, 1000, NULL, 0);
    tn_lwip_free(hold);
    run_for(30000);

    ok(hold != NULL && got() == 1000
       && (tn_lwip_conn_state(accepted) & TN_LWIP_EOF),
       "the last bytes are kept, and the end");

    finish();
    is_int((long long) tn_lwip_used(), (long long) used,
           "and no memory is lost");
}


/* one byte is left when the window closes, and the peer takes the probe */
static void
test_last_byte(const uint8_t *options, int len, const char *what)
{
    static uint8_t  bytes[1001];

    set_up(4);

    if (!open_with(options, len, 1000)) {
        return;
    }

    (void) tn_lwip_write(accepted, bytes, sizeof(bytes));
    tn_lwip_push(accepted);
    tell(ACK, 0, 1000, 0, 0, NULL, 0);
    is_int((long long) (end - first), 1000, "the window is used up");

    run_for(1000);
    is_int((long long) (end - first), 1001, "and probed");

    tell(ACK, 0, 1001, 0, 0, NULL, 0);
    run_for(5000);
    ok(tn_lwip_conn_state(accepted) & TN_LWIP_DRAINED,
       "%s: all has arrived", what);

    tell(ACK, 0, 1001, WINDOW, 0, NULL, 0);
    (void) tn_lwip_write(accepted, bytes, 100);
    tn_lwip_push(accepted);
    is_int((long long) (end - first), 1101, "what follows is sent");

    finish();
}
