
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * lwIP behind tn_lwip.h and peers that hold its memory: how long, and how much
 * of it.
 */

#include "lwip_world.h"


#define SHORT     (TN_LWIP_MEMORY / 4 * 3)  /* from there on memory is */
#define STEP_MS   5000
#define TAKEN     1000          /* bytes, before the window closes */
#define WRITTEN   3000


static bool orphan(bool ended);
static void wait_closed(uint32_t seq, uint32_t taken, tn_ms_t ms);
static void finish(void);
static void test_orphan(bool ended, const char *what);
static void test_orphan_slow(void);
static void test_orphan_short(void);


int
main(void)
{
    test_orphan(false, "a connection that was closed");
    test_orphan(true, "one that its peer had ended");
    test_orphan_slow();
    test_orphan_short();

    return tap_done();
}


/* closed with bytes that the peer does not take; it had ended before, or not */
static bool
orphan(bool ended)
{
    static uint8_t  bytes[WRITTEN];

    set_up(4);

    if (!open_with(NULL, 0, TAKEN)) {
        return false;
    }

    (void) tn_lwip_write(w.accepted, bytes, sizeof(bytes));
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
finish(void)
{
    tn_lwip_destroy(w.lwip);
    w.lwip = NULL;
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
    is_int((long long) tn_lwip_count(w.lwip), 0, what);

    finish();
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
    finish();
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
    finish();
}
