
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * When a helper is used, on a clock of the test's own.
 */

#include "host/tn_offload.h"

#include "tap.h"


static uint64_t          now;
static tn_offload_use_t  use;
static tn_offload_t      offload;


static void
begin(void)
{
    memset(&offload, 0, sizeof(offload));
    memset(&use, 0, sizeof(use));
    now = 5000000;

    (void) tn_offload_judge(&offload, now, &use);
}


/*
 * Time passes in steps of 1 ms: per cent of it that the data thread has a
 * core, that its helper has one, and that the helper has something to do.
 * Returns how often it was switched.
 */

static unsigned
pass(unsigned ms, unsigned own, unsigned helper, unsigned awake)
{
    bool      was;
    unsigned  i, switched;

    switched = 0;

    for (i = 0; i < ms; i++) {
        now += 1000;
        use.own += own * 10;

        if (offload.on) {
            use.helper += helper * 10;
            use.awake += awake * 10;
        }

        was = offload.on;

        if (tn_offload_is_due(&offload, now)) {
            (void) tn_offload_judge(&offload, now, &use);
        }

        switched += offload.on != was;
    }

    return switched;
}


static void
test_load(void)
{
    begin();

    is_int(pass(10000, 70, 0, 0), 0, "70% of a core: no helper");
    is_int(pass(40, 100, 0, 0), 0, "a short burst: none");
    (void) pass(200, 20, 0, 0);
    is_int(pass(90, 100, 0, 0), 0, "less than two windows: none");
    is_int(pass(70, 100, 0, 0), 1, "all of it: a helper");
    ok(offload.on, "is used");

    is_int(pass(10000, 40, 60, 65), 0, "it takes the greater part: it stays");
    is_int(pass(10000, 35, 35, 40), 0, "less to do: it stays");
    is_int(pass(200, 20, 25, 30), 1, "45% by both: one is enough");
    is_int(pass(5000, 60, 0, 0), 0, "and stays enough");
    is_int(pass(300, 95, 0, 0), 1, "until it is not");
}


static void
test_starved(void)
{
    unsigned  first, later;

    begin();

    /* what moves to the helper is done on the same core */

    first = pass(300, 95, 30, 90);
    ok(first >= 2 && !offload.on, "no idle core: given up at once");
    is_int((long long) offload.backoff, TN_OFFLOAD_BACKOFF_US,
           "for a second");

    later = pass(200000, 95, 30, 90);
    ok(later <= 2 * 12, "a few tries in 200 seconds (%u)", later / 2);
    is_int((long long) offload.backoff, TN_OFFLOAD_BACKOFF_MAX,
           "the time to the next try has its limit");

    (void) pass(33000, 95, 0, 0);
    (void) pass(3000, 50, 55, 60);
    ok(offload.on, "a core is idle now: it stays");
    is_int((long long) offload.backoff, 0, "failures count from the start");

    /* the other may be busy for a moment */

    is_int(pass(50, 50, 30, 90), 0, "one window without a core: it stays");
    is_int(pass(1000, 50, 55, 60), 0, "if it has one again");
}


static void
test_idle(void)
{
    begin();
    (void) pass(200, 95, 0, 0);
    ok(offload.on, "on");

    now += 60000000;
    ok(!tn_offload_judge(&offload, now, &use), "off after an idle minute");

    now += 60000000;
    use.own += 60000000;
    ok(!tn_offload_judge(&offload, now, &use),
       "what was done between two looks far apart tells nothing");

    begin();
    (void) pass(200, 95, 0, 0);
    tn_offload_refuse(&offload, now);
    is_int(pass(900, 95, 0, 0), 0, "refused: not asked for a second");
    ok(pass(300, 95, 0, 0) == 1, "then again");
}


int
main(void)
{
    test_load();
    test_starved();
    test_idle();

    return tap_done();
}
