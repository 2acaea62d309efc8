
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * lwIP behind tn_lwip.h and peers that send what its assertions forbid: each
 * of these ended the process, or its connection stood still for ever.
 */

#include "lwip_world.h"


#define PIECE     1200

/* when the stack ends its direction, beside the peer's last bytes */
#define CLOSES_BEFORE  0
#define CLOSES_ALIKE   1
#define CLOSES_BEHIND  2


static void send_bytes(uint32_t from, uint32_t to);
static void test_mss_later(void);
static void test_mss_again(void);
static void test_half_window(void);
static void test_tiny(const uint8_t *options, int len, uint16_t window,
    const char *what);
static void test_beyond_window(void);
static void test_beyond_fin(bool in_order);
static void test_split(void);
static void test_split_acked(void);
static void test_last_bytes(unsigned when, const char *what);
static void test_last_byte(const uint8_t *options, int len,
    const char *what);


int
main(void)
{
    static const uint8_t  one[] = { 2, 4, 0, 1 };
    static const uint8_t  sack[] = { 1, 1, 4, 2 };

    test_mss_later();
    test_mss_again();
    test_half_window();
    test_tiny(one, sizeof(one), WINDOW, "segments of one byte");
    test_tiny(NULL, 0, 3, "a window of three bytes");
    test_beyond_window();
    test_beyond_fin(true);
    test_beyond_fin(false);
    test_split();
    test_split_acked();
    test_last_bytes(CLOSES_BEFORE, "our end before");
    test_last_bytes(CLOSES_ALIKE, "at the same time");
    test_last_bytes(CLOSES_BEHIND, "and behind");
    test_last_byte(NULL, 0, "a peer without SACK");
    test_last_byte(sack, sizeof(sack), "a peer with SACK");

    return tap_done();
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

    is_int((long long) tn_lwip_write(w.accepted, bytes, sizeof(bytes)),
           sizeof(bytes), "more than the window is written");
    tn_lwip_push(w.accepted);

    tell(ACK, 0, 0, 5000, 0, mss, sizeof(mss));
    is_int((long long) tn_lwip_write(w.accepted, bytes, 100), 100,
           "and more, after a new segment size");

    w.longest = 0;
    tell(ACK, 0, w.end - w.first, WINDOW, 0, NULL, 0);
    tn_lwip_push(w.accepted);
    ok(w.longest > 500, "segments stay as they were (%zu)", w.longest);

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

    (void) tn_lwip_write(w.accepted, bytes, sizeof(bytes));
    tn_lwip_push(w.accepted);

    is_int((long long) (w.end - w.first), sizeof(bytes), "all is sent");
    is_int((long long) w.longest, TN_LWIP_MTU, "in packets that fit");

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

    (void) tn_lwip_write(w.accepted, bytes, sizeof(bytes));
    tn_lwip_push(w.accepted);
    is_int((long long) (w.end - w.first), 0, "nothing is sent");

    tell(ACK, 0, 0, 100, 0, NULL, 0);
    is_int((long long) tn_lwip_write(w.accepted, bytes, 100), 100,
           "more is written when there is a window");

    run_for(1000);
    ok(w.end - w.first >= 100, "and what fits is sent");

    finish();
}


/* as core/data/tn_lwnet.c does: all that there is room for is taken */
static void
test_tiny(const uint8_t *options, int len, uint16_t window, const char *what)
{
    size_t          room, n, all;
    static uint8_t  bytes[32 * 1024];

    set_up(4);

    if (!open_with(options, len, window)) {
        return;
    }

    all = 0;

    do {
        room = tn_min(tn_lwip_room(w.accepted), sizeof(bytes));
        n = tn_lwip_write(w.accepted, bytes, room);
        all += n;
    } while (n == room && room != 0);

    ok(n == room && all > 0, "%s: what there is room for is taken (%zu)",
       what, all);

    tn_lwip_push(w.accepted);
    tell(ACK, 0, 1, WINDOW, 0, NULL, 0);
    ok(w.end - w.first > 1, "and sent");

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
    is_int((long long) (w.last_ack - SEQ), 0, "it is answered");

    send_bytes(0, WINDOW - 1);
    is_int((long long) unread(w.accepted), WINDOW - 1,
           "what came before is there");

    tell(ACK, WINDOW - 1, 0, WINDOW, 1000, NULL, 0);
    is_int((long long) unread(w.accepted), WINDOW,
           "and what fits of it, in order");

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

    is_int((long long) unread(w.accepted), at + !in_order,
           "data over a FIN is dropped");

    send_bytes(at + !in_order, at + 500);
    ok(unread(w.accepted) == at + 500
       && (tn_lwip_conn_state(w.accepted) & TN_LWIP_EOF),
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

    (void) tn_lwip_write(w.accepted, bytes, 300);
    tn_lwip_push(w.accepted);
    tell(ACK, 0, 300, 100, 0, NULL, 0);

    (void) tn_lwip_write(w.accepted, bytes, 400);
    tn_lwip_push(w.accepted);
    tn_lwip_shutdown(w.accepted);
    run_for(2000);
    ok(w.end - w.first == 400 && !w.ended,
       "what fits is sent, without the end");

    tell(ACK, 0, 400, WINDOW, 0, NULL, 0);
    ok(w.end - w.first == 700 && w.ended && w.ended_at - w.first == 700,
       "which comes with the rest");

    tell(ACK, 0, 701, WINDOW, 0, NULL, 0);
    ok(tn_lwip_conn_state(w.accepted) & TN_LWIP_DRAINED, "and all arrives");

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

    (void) tn_lwip_write(w.accepted, bytes, sizeof(bytes));
    tn_lwip_push(w.accepted);

    tell(ACK, 0, 108, 70, 0, NULL, 0);
    run_for(5000);
    w.end = w.first;
    tell(ACK, 0, 108, 1000, 0, NULL, 0);
    run_for(5000);
    is_int((long long) (w.end - w.first), sizeof(bytes),
           "it took a part: the rest is sent when there is a window");
    finish();

    set_up(4);

    if (!open_with(NULL, 0, 2000)) {
        return;
    }

    (void) tn_lwip_write(w.accepted, bytes, 10);
    tn_lwip_push(w.accepted);
    tell(ACK, 0, 10, 0, 0, NULL, 0);
    (void) tn_lwip_write(w.accepted, bytes, sizeof(bytes));
    tn_lwip_push(w.accepted);
    run_for(1000);
    tell(ACK, 0, 11, 1, 0, NULL, 0);
    run_for(2000);
    is_int((long long) (w.end - w.first), 12,
           "of one byte behind a probe, too");
    finish();
}


/* the peer's last bytes come with its FIN, when memory is short */
static void
test_last_bytes(unsigned when, const char *what)
{
    void    *hold;
    size_t   used;

    used = tn_lwip_used();
    set_up(4);

    if (!open_with(NULL, 0, WINDOW)) {
        return;
    }

    if (when != CLOSES_BEHIND) {
        tn_lwip_shutdown(w.accepted);
    }

    if (when == CLOSES_BEFORE) {
        tell(ACK, 0, 1, WINDOW, 0, NULL, 0);
    }

    hold = tn_lwip_malloc(TN_LWIP_MEMORY / 4 * 3 + 4096);
    tell(ACK|FIN, 0, when == CLOSES_BEFORE, WINDOW, 1000, NULL, 0);

    if (when == CLOSES_BEHIND) {
        tn_lwip_shutdown(w.accepted);
    }

    tell(ACK, 1001, 1, WINDOW, 0, NULL, 0);
    tn_lwip_free(hold);
    run_for(30000);

    ok(hold != NULL && unread(w.accepted) == 1000
       && (tn_lwip_conn_state(w.accepted) & TN_LWIP_EOF),
       "%s: the last bytes are kept, and the end", what);
    is_int((long long) tn_lwip_count(w.lwip), 0, "the connection is over");

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

    (void) tn_lwip_write(w.accepted, bytes, sizeof(bytes));
    tn_lwip_push(w.accepted);
    tell(ACK, 0, 1000, 0, 0, NULL, 0);
    is_int((long long) (w.end - w.first), 1000, "the window is used up");

    run_for(1000);
    is_int((long long) (w.end - w.first), 1001, "and probed");

    tell(ACK, 0, 1001, 0, 0, NULL, 0);
    run_for(5000);
    ok(tn_lwip_conn_state(w.accepted) & TN_LWIP_DRAINED,
       "%s: all has arrived", what);

    tell(ACK, 0, 1001, WINDOW, 0, NULL, 0);
    (void) tn_lwip_write(w.accepted, bytes, 100);
    tn_lwip_push(w.accepted);
    is_int((long long) (w.end - w.first), 1101, "what follows is sent");

    finish();
}
