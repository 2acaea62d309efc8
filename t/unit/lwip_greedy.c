
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * lwIP behind tn_lwip.h and peers that hold its memory: how long, and how much
 * of it.
 */

#include "entropy.h"
#include "lwip_world.h"


#define SHORT     (TN_LWIP_MEMORY / 4 * 3)  /* from there on memory is */
#define STEP_MS   5000
#define TAKEN     1000          /* bytes, before the window closes */
#define WRITTEN   3000

/* what a crowd of connections takes of what is left */
#define CROWD     100
#define LEFT      ((size_t) 16 * 1024 * 1024)
#define EACH      ((size_t) 256 * 1024)
#define PIECE     1200
#define OTHERS    (40 * PIECE)
#define NEW       12            /* connections of who has a crowd */
#define JOINERS   300           /* others, that send large segments: */
#define JOINED    (60 * 1024)   /* bytes of several in one */

#define UNREAD    0             /* bytes that nginx does not read */
#define GAPS      1             /* and such that it cannot */
#define UNACKED   2             /* or that the peer does not take */


typedef struct {
    tn_lwip_conn_t  *conn;
    uint8_t          host;
    uint16_t         port;
    uint32_t         ack;
} member_t;


static member_t  crowd[CROWD];
static uint8_t   bytes[64 * 1024];


static bool orphan(bool ended);
static void wait_closed(uint32_t seq, uint32_t taken, tn_ms_t ms);
static void test_orphan(bool ended, const char *what);
static void test_orphan_slow(void);
static void test_orphan_short(void);
static const segment_t *member_put(const member_t *m, uint8_t flags,
    uint32_t seq, size_t payload);
static bool member_open(member_t *m, uint8_t host, uint16_t port);
static void crowd_sends(bool gaps);
static void crowd_takes(unsigned what);
static void test_crowd(unsigned what, const char *name);
static void *crowd_begin(const char *name);
static void test_crowd_new(unsigned what, const char *name);
static void test_crowd_mended(void);
static void member_joined(const member_t *m, uint8_t flags, uint32_t seq);
static void test_crowd_joined(uint8_t flags, const char *name);


int
main(void)
{
    test_orphan(false, "a connection that was closed");
    test_orphan(true, "one that its peer had ended");
    test_orphan_slow();
    test_orphan_short();
    test_crowd(UNREAD, "bytes that nobody reads");
    test_crowd(GAPS, "bytes behind gaps");
    test_crowd(UNACKED, "bytes that nobody takes");
    test_crowd_new(UNREAD, "bytes that nobody reads, of some");
    test_crowd_new(UNACKED, "bytes that nobody takes, of some");
    test_crowd_mended();
    test_crowd_joined(ACK, "large segments of many");
    test_crowd_joined(ACK|FIN, "and with their ends");

    return tap_done();
}


/* closed with bytes that the peer does not take; it had ended before, or not */
static bool
orphan(bool ended)
{
    set_up(4);

    if (!open_with(NULL, 0, TAKEN)) {
        return false;
    }

    (void) tn_lwip_write(w.accepted, bytes, WRITTEN);
    tn_lwip_push(w.accepted);
    tell(ACK, 0, TAKEN, 0, 0, NULL, 0);

    if (ended) {
        tell(ACK|FIN, 0, TAKEN, 0, 0, NULL, 0);
    }

    tn_lwip_close(w.accepted, false);

    return true;
}


/* probes are answered, and nothing is taken */
static void
wait_closed(uint32_t seq, uint32_t taken, tn_ms_t ms)
{
    tn_ms_t  end;

    for (end = w.now + ms; w.now < end && tn_lwip_count(w.lwip) != 0; ) {
        run_for(STEP_MS);
        tell(ACK, seq, taken, 0, 0, NULL, 0);
    }
}


static void
test_orphan(bool ended, const char *what)
{
    size_t  used;

    used = tn_lwip_used();

    if (!orphan(ended)) {
        return;
    }

    wait_closed(ended, TAKEN, 150000);
    is_int((long long) tn_lwip_count(w.lwip), 1,
           "closed, with bytes that nobody takes: it waits");

    wait_closed(ended, TAKEN, 100000);
    ok(tn_lwip_count(w.lwip) == 0, "%s: not for ever", what);

    tear_down();
    is_int((long long) tn_lwip_used(), (long long) used, "holds nothing more");
}


static void
test_orphan_slow(void)
{
    uint32_t  taken;

    if (!orphan(false)) {
        return;
    }

    for (taken = TAKEN; taken < WRITTEN; taken += TAKEN / 2) {
        wait_closed(0, taken, 150000);
        tell(ACK, 0, taken, TAKEN / 2, 0, NULL, 0);
    }

    ok(w.end - w.first == WRITTEN && w.ended,
       "who takes some now and then gets it all, and the end");
    tear_down();
}


static void
test_orphan_short(void)
{
    void  *hold;

    if (!orphan(false)) {
        return;
    }

    hold = tn_lwip_malloc(SHORT + 4096);
    wait_closed(0, TAKEN, 15000);
    is_int((long long) tn_lwip_count(w.lwip), 1, "memory is short: it waits");

    wait_closed(0, TAKEN, 15000);
    is_int((long long) tn_lwip_count(w.lwip), 0, "but not for long");

    tn_lwip_free(hold);
    tear_down();
}


static const segment_t *
member_put(const member_t *m, uint8_t flags, uint32_t seq, size_t payload)
{
    pkt_t  k;

    static const uint8_t  scale[] = { 1, 3, 3, 7 };

    memset(&k, 0, sizeof(k));
    k.version = 4;
    k.host = m->host;
    k.src_port = m->port;
    k.flags = flags;
    k.seq = SEQ + seq;
    k.ack = m->ack;
    k.window = WINDOW;
    k.payload = payload;

    return put(&k, flags == SYN ? scale : NULL, sizeof(scale));
}


static bool
member_open(member_t *m, uint8_t host, uint16_t port)
{
    const segment_t  *s;

    m->host = host;
    m->port = port;
    m->ack = 0;
    w.accepted = NULL;

    s = member_put(m, SYN, (uint32_t) -1, 0);

    if (s != NULL) {
        m->ack = s->seq + 1;
        (void) member_put(m, ACK, 0, 0);
    }

    m->conn = w.accepted;

    return m->conn != NULL;
}


static void
crowd_sends(bool gaps)
{
    size_t    i;
    uint32_t  at;

    for (at = 0; at < EACH; at += PIECE) {
        for (i = 0; i < CROWD; i++) {
            (void) member_put(&crowd[i], ACK, at + gaps, PIECE);
        }
    }
}


static void
crowd_takes(unsigned what)
{
    size_t  i;

    if (what != UNACKED) {
        crowd_sends(what == GAPS);
    }

    /* in the other cases the rest, less than a packet */

    for (i = 0; i < CROWD; i++) {
        while (tn_lwip_write(crowd[i].conn, bytes, sizeof(bytes)) != 0) {
            /* void */
        }
    }
}


/* a hundred connections of one address, and one of another */
static void
test_crowd(unsigned what, const char *name)
{
    void      *hold;
    size_t     i, used, ready;
    uint32_t   at;
    member_t   other;

    used = tn_lwip_used();
    entropy = 7;
    set_up(4);

    for (i = 0; i < CROWD && member_open(&crowd[i], 2, (uint16_t) (1024 + i));
         i++)
    {
        /* void */
    }

    if (!ok(i == CROWD && member_open(&other, 3, PEER), "%s", name)) {
        return;
    }

    hold = tn_lwip_malloc(SHORT - LEFT - tn_lwip_used());
    crowd_takes(what);

    ok(hold != NULL && tn_lwip_used() < SHORT - LEFT / 10 * 3,
       "one address leaves something (%zu KB of %zu)",
       (SHORT - tn_lwip_used()) / 1024, LEFT / 1024);
    is_int((long long) tn_lwip_room(crowd[CROWD - 1].conn), 0,
           "no room for its own");

    for (at = 0; at < OTHERS; at += PIECE) {
        (void) member_put(&other, ACK, at, PIECE);
    }

    is_int((long long) unread(other.conn), OTHERS, "another one may send");
    is_int((long long) tn_lwip_write(other.conn, bytes, sizeof(bytes)),
           sizeof(bytes), "and is written to");

    for (i = 0; i < CROWD / 2; i++) {
        tn_lwip_close(crowd[i].conn, true);
    }

    ready = w.n_ready;
    run_for(200);
    ok(w.n_ready > ready && tn_lwip_room(crowd[CROWD - 1].conn) != 0,
       "half of the first end: the rest goes on");

    tn_lwip_free(hold);
    tear_down();
    is_int((long long) tn_lwip_used(), (long long) used,
           "and no memory is lost");
}


/* all but LEFT is taken already */
static void *
crowd_begin(const char *name)
{
    void    *hold;
    size_t   i;

    entropy = 7;
    set_up(4);

    for (i = 0; i < CROWD && member_open(&crowd[i], 2, (uint16_t) (1024 + i));
         i++)
    {
        /* void */
    }

    hold = tn_lwip_malloc(SHORT - LEFT - tn_lwip_used());
    ok(i == CROWD && hold != NULL, "%s", name);

    return hold;
}


/* a proxy has one address for all of its clients, of which some are slow */
static void
test_crowd_new(unsigned what, const char *name)
{
    void      *hold;
    size_t     i, used, asked, written, sent, before;
    member_t   member;

    used = tn_lwip_used();
    hold = crowd_begin(name);
    crowd_takes(what);
    is_int((long long) tn_lwip_room(crowd[CROWD - 1].conn), 0,
           "they have no room");

    asked = 0;
    written = 0;
    sent = 0;

    for (i = 0; i < NEW; i++) {
        if (member_open(&member, 2, (uint16_t) (2048 + i))) {
            (void) member_put(&member, ACK, 0, PIECE);
            asked += unread(member.conn);
            written += tn_lwip_write(member.conn, bytes, PIECE);
            before = w.n_out;
            tn_lwip_push(member.conn);
            sent += w.n_out != before;
        }
    }

    is_int((long long) asked, NEW * PIECE, "others of it may ask");
    is_int((long long) written, NEW * PIECE, "they are answered");
    is_int((long long) sent, NEW, "and that is sent");

    tn_lwip_free(hold);
    tear_down();
    is_int((long long) tn_lwip_used(), (long long) used,
           "and no memory is lost");
}


/* all that a crowd holds came behind gaps, and others hold something now */
static void
test_crowd_mended(void)
{
    void          *hold, *other;
    size_t         i, got;
    tn_ms_t        end;
    struct iovec   iov;

    hold = crowd_begin("gaps of many");
    crowd_sends(true);
    other = tn_lwip_malloc(LEFT / 16);

    for (i = 0; i < CROWD; i++) {
        (void) member_put(&crowd[i], ACK, 0, 1);
    }

    got = 0;

    for (end = w.now + 5000; w.now < end; run_for(TN_LWIP_TICK_MS)) {
        for (i = 0; i < CROWD; i++) {
            while (tn_lwip_peek(crowd[i].conn, &iov, 1) == 1) {
                got += iov.iov_len;
                tn_lwip_take(crowd[i].conn, iov.iov_len);
            }
        }
    }

    ok(got > LEFT / 4, "they are mended: all is read (%zu KB)", got / 1024);

    tn_lwip_free(other);
    tn_lwip_free(hold);
    tear_down();
}


static void
member_joined(const member_t *m, uint8_t flags, uint32_t seq)
{
    size_t          n;
    pkt_t           k;
    tn_packet_t     p;
    static uint8_t  packet[JOINED + 64];

    memset(&k, 0, sizeof(k));
    k.version = 4;
    k.proto = 6;
    k.ttl = 64;
    k.host = m->host;
    k.src_port = m->port;
    k.dst_port = PORT;
    k.flags = flags;
    k.seq = SEQ + seq;
    k.ack = m->ack;
    k.window = WINDOW;
    k.payload = JOINED;

    n = pkt_build(&k, packet);

    if (tn_packet_parse(&p, packet, n) == TN_OK) {
        tn_lwip_joined(w.lwip, true);
        tn_lwip_in(w.lwip, w.now, packet, &p);
    }
}


/* of each connection something is taken, and of many that is much */
static void
test_crowd_joined(uint8_t flags, const char *name)
{
    void      *hold;
    size_t     i;
    uint32_t   at;
    member_t   other;

    static member_t  joiners[JOINERS];

    hold = crowd_begin(name);

    for (i = 0; i < JOINERS; i++) {
        (void) member_open(&joiners[i], 2, (uint16_t) (2048 + i));
    }

    for (at = 0; at < 10 * JOINED; at += JOINED) {
        for (i = 0; i < JOINERS; i++) {
            member_joined(&joiners[i], flags, at);
        }
    }

    ok(tn_lwip_used() < SHORT - LEFT / 4,
       "others, too, leave something (%zu KB)",
       tn_lwip_used() < SHORT ? (SHORT - tn_lwip_used()) / 1024 : 0);

    ok(member_open(&other, 3, PEER), "another one");
    (void) member_put(&other, ACK, 0, PIECE);
    is_int((long long) unread(other.conn), PIECE, "may send");

    tn_lwip_free(hold);
    tear_down();
}
