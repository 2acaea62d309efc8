
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What core/stack/tn_lwip_loss.c makes of single ACKs: which segments are sent
 * again at once, and which are not.
 */

#include "lwip_world.h"


#define MSS   536           /* of a peer that names none */
#define SENT  6             /* segments, in a flight */


static bool set_up_sack(uint16_t window);
static void flight(void);
static bool sent_since(size_t before, uint32_t at);
static void test_old_marks(void);
static void test_probed(void);
static void test_timer_twice(void);


int
main(void)
{
    test_old_marks();
    test_probed();
    test_timer_twice();

    return tap_done();
}


static bool
set_up_sack(uint16_t window)
{
    static const uint8_t  permitted[] = { 1, 1, 4, 2 };

    set_up(4);

    return open_with(permitted, sizeof(permitted), window);
}


static void
flight(void)
{
    static uint8_t  bytes[SENT * MSS];

    (void) tn_lwip_write(w.accepted, bytes, sizeof(bytes));
    tn_lwip_push(w.accepted);
}


/* the segment that begins there, as one of those behind `before` */
static bool
sent_since(size_t before, uint32_t at)
{
    const segment_t  *s;

    for ( /* void */ ; before < w.n_out; before++) {
        s = &w.out[before % OUT_MAX];

        if (s->len != 0 && s->seq == w.first + at) {
            return true;
        }
    }

    return false;
}


/* what an ACK of before tells of a segment that has arrived in part */
static void
test_old_marks(void)
{
    size_t  before;

    if (!set_up_sack(WINDOW)) {
        return;
    }

    flight();
    tell(ACK, 0, 5, WINDOW, 0, NULL, 0);
    tell_sack(0, 0, MSS);

    before = w.n_out;
    tell_sack(5, 2 * MSS, 5 * MSS);
    ok(sent_since(before, 0), "an old ACK marks nothing: all of it is lost");
    ok(sent_since(before, MSS), "as is what is behind it");
    ok(!sent_since(before, 5 * MSS), "and nothing else");

    finish();
}


/* a window that opens when one byte behind it was probed */
static void
test_probed(void)
{
    static uint8_t  bytes[1400];

    if (!set_up_sack(1000)) {
        return;
    }

    (void) tn_lwip_write(w.accepted, bytes, sizeof(bytes));
    tn_lwip_push(w.accepted);
    tell(ACK, 0, 1000, 0, 0, NULL, 0);
    run_for(1000);
    is_int((long long) (w.end - w.first), 1001, "a closed window is probed");

    tell(ACK, 0, 1000, 0, 0, NULL, 0);
    tell(ACK, 0, 1000, WINDOW, 0, NULL, 0);
    is_int((long long) (w.end - w.first), sizeof(bytes),
           "when it opens, what was probed is sent at once");

    tell(ACK, 0, sizeof(bytes), WINDOW, 0, NULL, 0);
    ok(tn_lwip_conn_state(w.accepted) & TN_LWIP_DRAINED, "all arrives");

    finish();
}


/* marks that are made between two silences */
static void
test_timer_twice(void)
{
    size_t  before;

    if (!set_up_sack(WINDOW)) {
        return;
    }

    flight();
    tell(ACK, 0, MSS, WINDOW, 0, NULL, 0);

    before = w.n_out;
    run_for(1500);
    ok(sent_since(before, MSS) && !sent_since(before, 2 * MSS),
       "silence: the oldest is sent again");

    tell(ACK, 0, MSS, WINDOW, 0, NULL, 0);
    ok(sent_since(before, 5 * MSS), "and then the rest");
    tell_sack(MSS, 3 * MSS, 6 * MSS);

    before = w.n_out;
    run_for(2500);
    ok(sent_since(before, MSS), "silence once more");

    tell(ACK, 0, 6 * MSS, WINDOW, 0, NULL, 0);
    flight();
    ok(sent_since(before, 11 * MSS), "all has arrived: the next flight");

    before = w.n_out;
    tell_sack(6 * MSS, 7 * MSS, 8 * MSS);
    ok(!sent_since(before, 6 * MSS), "one segment behind a gap: none is lost");

    tell_sack(6 * MSS, 7 * MSS, 10 * MSS);
    ok(sent_since(before, 6 * MSS), "with three it is");

    finish();
}
