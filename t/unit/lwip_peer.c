
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * lwIP behind tn_lwip.h and a peer that is made of single segments: the first
 * flight, ports that are used again, sequence numbers, floods of SYNs, what is
 * not ours.
 */

#include "lwip_world.h"


#define HOSTS     64
#define WAIT_MS   120000    /* by then every half-open one is forgotten */


static bool open_one(int version, uint16_t port, uint32_t seq,
    segment_t *first);
static void close_first(int version, uint16_t port, uint32_t seq);
static void reset_first(void);
static void test_begin(void);
static void test_reopened(int version);
static void test_sequences(void);
static void test_flood(void);
static void test_strangers(void);


int
main(void)
{
    test_begin();
    test_reopened(4);
    test_reopened(6);
    test_sequences();
    test_flood();
    test_strangers();

    tn_lwip_destroy(w.lwip);

    return tap_done();
}


static bool
open_one(int version, uint16_t port, uint32_t seq, segment_t *first)
{
    return open_from(version, 1, port, seq, first);
}


/* the stack closes first, and comes into TIME-WAIT */
static void
close_first(int version, uint16_t port, uint32_t seq)
{
    uint32_t  fin;

    tn_lwip_close(w.accepted, false);
    fin = w.out[(w.n_out - 1) % OUT_MAX].seq;
    (void) tell_from(version, 1, port, ACK, seq + 1, fin + 1);
    (void) tell_from(version, 1, port, FIN|ACK, seq + 1, fin + 1);
}


/* the peer ends the connection of port 5000 that began at 1 */
static void
reset_first(void)
{
    (void) tell_from(4, 1, 5000, RST, 2, 0);
    tn_lwip_close(w.accepted, false);
}


static void
test_begin(void)
{
    size_t          before;
    segment_t       first;
    static uint8_t  bytes[20000];

    set_up(4);

    if (!ok(open_one(4, 5000, 1000, &first), "a connection")) {
        return;
    }

    before = w.n_out;
    (void) tn_lwip_write(w.accepted, bytes, sizeof(bytes));
    tn_lwip_push(w.accepted);
    is_int((long long) (w.n_out - before), 10,
           "ten segments are sent at once");

    tn_lwip_push(w.accepted);
    is_int((long long) (w.n_out - before), 10, "and no more");

    (void) tell_from(4, 1, 5000, ACK, 1001, first.seq + 1 + 536);
    tn_lwip_push(w.accepted);
    is_int((long long) (w.n_out - before), 12,
           "but for what is acknowledged");
    tn_lwip_close(w.accepted, true);
}


static void
test_reopened(int version)
{
    segment_t         first, second, third;
    const segment_t  *s;

    set_up(4);

    ok(open_one(version, 5000, 1000, &first), "IPv%d: a connection", version);
    close_first(version, 5000, 1000);
    is_int((long long) tn_lwip_count(w.lwip), 1, "closed, it waits");

    /* of the connection that is over, once more */

    s = tell_from(version, 1, 5000, SYN, 1000, 0);
    ok(s == NULL || !(s->flags & SYN), "its own SYN opens nothing");
    is_int((long long) tn_lwip_count(w.lwip), 1, "and it waits still");

    w.now += 20;

    if (!ok(open_one(version, 5000, 1000 + 100000, &second),
            "the same port again, inside of the old window"))
    {
        return;
    }

    ok((int32_t) (second.seq - first.seq) > 64 * 1024,
       "our numbers are beyond the old ones");
    is_int((long long) tn_lwip_count(w.lwip), 1, "it took the place");
    close_first(version, 5000, 101000);

    w.now += 500;

    if (!ok(open_one(version, 5000, 0x40000000, &third),
            "far beyond it, too"))
    {
        return;
    }

    ok((int32_t) (third.seq - second.seq) > 64 * 1024, "and so are ours");
    close_first(version, 5000, 0x40000000);

    run_for(WAIT_MS);
    is_int((long long) tn_lwip_count(w.lwip), 0, "nothing is left");
}


static void
test_sequences(void)
{
    unsigned   i, close;
    segment_t  a, b, last;

    set_up(4);

    (void) open_one(4, 5000, 1, &a);
    reset_first();
    w.now += 1000;
    (void) open_one(4, 5000, 1, &b);
    reset_first();
    is_int((long long) (b.seq - a.seq), 250000, "a clock of 4 us");

    close = 0;
    last = b;

    for (i = 0; i < 64; i++) {
        (void) open_one(4, (uint16_t) (5001 + i), 1, &a);
        close += a.seq - last.seq + 0x100000 < 0x200000;
        last = a;
    }

    ok(close < 4, "of another port they are elsewhere (%u of 64 near)",
       close);

    set_up(4);
    w.now += 1000;
    (void) open_one(4, 5000, 1, &a);
    ok(a.seq != b.seq, "and in another stack");
}


static void
test_flood(void)
{
    size_t            used;
    size_t            base;
    unsigned          i, j, served;
    segment_t         first;
    const segment_t  *s;

    set_up(4);
    used = tn_lwip_used();

    for (i = 0; i < 2 * TN_LWIP_HALF_OPEN_EACH; i++) {
        (void) tell_from(4, 2, (uint16_t) (1024 + i), SYN, i, 0);
    }

    is_int((long long) tn_lwip_count(w.lwip), TN_LWIP_HALF_OPEN_EACH,
           "SYNs of one address: so many are kept");
    is_int((long long) w.n_out, TN_LWIP_HALF_OPEN_EACH, "and answered");

    /* one address in some hundred shares the counter, three do not */

    served = 0;

    for (j = 200; j < 203; j++) {
        if (open_from(4, (uint8_t) j, 5000, 1, &first)) {
            served++;
            (void) tell_from(4, (uint8_t) j, 5000, RST, 2, 0);
            tn_lwip_close(w.accepted, false);
        }
    }

    ok(served >= 1, "other addresses are served (%u of 3)", served);
    base = w.n_accepted;

    for (j = 3; j < 3 + HOSTS; j++) {
        for (i = 0; i < TN_LWIP_HALF_OPEN_EACH; i++) {
            (void) tell_from(6, (uint8_t) j, (uint16_t) (1024 + i), SYN, i, 0);
        }
    }

    is_int((long long) tn_lwip_count(w.lwip), TN_LWIP_HALF_OPEN,
           "of many addresses: so many");
    ok(tn_lwip_used() - used < (size_t) TN_LWIP_HALF_OPEN * 1024,
       "with less than 1 KB each");
    ok(tell_from(4, 1, 5001, SYN, 1, 0) == NULL, "the next is not answered");
    is_int((long long) w.n_accepted, (long long) base,
           "none of them is a connection");

    /* one that is answered makes room */

    s = tell_from(4, 2, 1024, SYN, 0, 0);
    ok(s != NULL && s->flags == (SYN|ACK), "a SYN once more is answered");

    if (s != NULL) {
        (void) tell_from(4, 2, 1024, ACK, 1, s->seq + 1);
    }

    is_int((long long) w.n_accepted, (long long) base + 1,
           "its handshake ends");
    ok(open_from(4, 2, 5002, 1, &first), "and there is room for another");

    run_for(WAIT_MS);
    is_int((long long) tn_lwip_count(w.lwip), 2, "the rest is forgotten");
    ok(open_one(4, 5003, 1, &first), "and new ones are taken");
}


static void
test_strangers(void)
{
    segment_t         first;
    const segment_t  *s;

    set_up(4);

    s = tell_from(4, 1, 6000, ACK, 100, 200);
    ok(s != NULL && s->flags & RST && s->seq == 200,
       "an ACK of no connection: RST");
    ok(tell_from(4, 1, 6000, RST, 100, 0) == NULL, "a RST: nothing");
    ok(tell_from(4, 1, 6000, SYN|RST, 100, 0) == NULL,
       "a SYN with RST: nothing");

    s = tell_from(4, 1, 6001, SYN|FIN, 100, 0);
    ok(s == NULL || !(s->flags & FIN), "a SYN with FIN ends nothing");

    (void) open_one(4, 6002, 100, &first);

    s = tell_from(4, 1, 6002, RST, 100 + 5000, 0);
    is_int(tn_lwip_conn_state(w.accepted) & TN_LWIP_DEAD, 0,
           "a RST that guesses ends nothing (RFC 5961)");
    ok(s != NULL && s->flags == ACK && s->ack == 101, "it is challenged");

    s = tell_from(4, 1, 6002, SYN, 70000, 0);
    is_int(tn_lwip_conn_state(w.accepted) & TN_LWIP_DEAD, 0,
           "nor does a SYN");
    ok(s != NULL && s->flags == ACK && s->ack == 101, "it is challenged");

    (void) tell_from(4, 1, 6002, RST, 101, 0);
    ok(tn_lwip_conn_state(w.accepted) & TN_LWIP_DEAD, "the right one does");
    tn_lwip_close(w.accepted, false);
}
