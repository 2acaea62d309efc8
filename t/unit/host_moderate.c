
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * When a busy thread pauses between turns, on a clock of the test's own.
 */

#include "host/tn_moderate.h"

#include "tap.h"


/* turns that pause in ten seconds, when that is tried and given up again */
#define HARDLY_ANY  (10 * TN_MODERATE_POOR                                    \
                     * (TN_MODERATE_WINDOW_US / TN_MODERATE_PAUSE_US + 1))


static uint64_t  now;


static void
begin(tn_moderate_t *m)
{
    memset(m, 0, sizeof(*m));
    now = 1000000;
}


/*
 * Turns for `us`: each takes what its pause lets gather, `apart` microseconds
 * between packets, or a packet at a time.  Returns how many paused.
 */

static unsigned
run(tn_moderate_t *m, uint64_t us, unsigned apart, bool gathers)
{
    unsigned  paused, pause, packets;
    uint64_t  end;

    paused = 0;
    pause = 0;

    for (end = now + us; now < end; now += tn_max(apart, pause)) {
        packets = gathers ? tn_max(pause / apart, 1U) : 1;
        pause = tn_moderate(m, now, packets);
        paused += pause != 0;
    }

    return paused;
}


static void
test_load(void)
{
    tn_moderate_t  m;

    begin(&m);

    is_int(run(&m, 1000000, 500, true), 0, "2,000 packets a second: no pause");

    ok(run(&m, 1000000, 10, true) > 6000, "100,000 a second: pauses");
    ok(m.pausing, "they go on");

    now += 2 * TN_MODERATE_WINDOW_US;
    is_int(tn_moderate(&m, now, 1), 0, "none after an idle time");
}


/* what 8,800 requests a second bring between two of our nodes */

static void
test_middling(void)
{
    unsigned       paused;
    tn_moderate_t  m;

    begin(&m);

    (void) run(&m, 1000000, 19, true);
    paused = run(&m, 10000000, 19, true);

    ok(paused < HARDLY_ANY,
       "52,000 a second: hardly any, for the latency: %u turns paused",
       paused);
}


/* one window with few packets amid many is no reason to end */

static void
test_lull(void)
{
    tn_moderate_t  m;

    begin(&m);

    (void) run(&m, 1000000, 10, true);
    (void) run(&m, TN_MODERATE_WINDOW_US, 30, true);
    ok(m.pausing, "a short lull: pauses go on");

    (void) run(&m, 10 * TN_MODERATE_WINDOW_US, 30, true);
    ok(!m.pausing, "a long one ends them");
}


static void
test_alone(void)
{
    unsigned       first, later;
    tn_moderate_t  m;

    begin(&m);

    first = run(&m, 50000, 60, false);
    later = run(&m, 10000000, 60, false);

    ok(first > 0, "one connection that asks and waits: tried");
    ok(!m.pausing || m.turns < TN_MODERATE_TURNS, "and given up");
    ok(later < HARDLY_ANY,
       "a few tries in ten seconds: %u turns paused", later);
    is_int((long long) m.backoff, TN_MODERATE_BACKOFF_MAX,
           "the time to the next try has its limit");

    ok(run(&m, 4000000, 10, true) > 1000, "many connections later: pauses");
    is_int((long long) m.backoff, 0, "and a failure counts from the start");
}


/* looks as often as a loop does; per cent idle without and with pauses */

static unsigned
run_on(tn_moderate_t *m, uint64_t us, unsigned apart, unsigned idle,
    unsigned relieved)
{
    unsigned  paused;
    uint64_t  end;

    paused = 0;

    for (end = now + us; now < end; /* void */ ) {

        if (tn_moderate_is_due(m, now)) {
            tn_moderate_spare(m, now, m->level > 0 ? relieved : idle);
        }

        paused += run(m, TN_MODERATE_WINDOW_US, apart, true);
    }

    return paused;
}


/* what 1,500 TLS connections a second bring */

static void
test_scarce(void)
{
    unsigned       paused;
    tn_moderate_t  m;

    begin(&m);

    (void) run_on(&m, 4000000, 36, 40, 40);
    ok(!m.pausing, "28,000 a second with CPU to spare: no pauses");
    is_int(m.level, 0, "nothing is scarce");

    (void) run_on(&m, TN_MODERATE_LEVELS * 2 * TN_MODERATE_LOOK_US, 36, 10,
                  20);
    ok(m.pausing, "without: pauses");
    is_int(m.level, 1, "short ones, when they relieve the CPUs");

    (void) run_on(&m, TN_MODERATE_LEVELS * 2 * TN_MODERATE_LOOK_US, 36, 10,
                  10);
    is_int(m.level, TN_MODERATE_LEVELS, "longer ones, when not");
    is_int(tn_moderate(&m, now, 8),
           TN_MODERATE_LEVELS * TN_MODERATE_PAUSE_US, "up to their limit");

    m.brief = true;
    is_int(tn_moderate(&m, now, 8), TN_MODERATE_PAUSE_US,
           "but short ones where there is little room");
    m.brief = false;

    (void) run_on(&m, 2 * TN_MODERATE_LOOK_US, 36, 35, 35);
    ok(m.level < TN_MODERATE_LEVELS, "shorter ones, when there is more");

    (void) run_on(&m, 4000000, 36, 35, 35);
    paused = run_on(&m, 10000000, 36, 35, 35);
    is_int(m.level, 0, "and at last none");
    ok(paused < HARDLY_ANY,
       "but for tries: %u turns paused", paused);

    (void) run_on(&m, TN_MODERATE_LEVELS * 2 * TN_MODERATE_LOOK_US, 36, 10,
                  10);
    (void) run_on(&m, 2 * TN_MODERATE_LOOK_US, 36, 90, 90);
    is_int(m.level, 0, "a machine that falls idle ends it at once");
}


/* one that asks and waits, while others use the CPUs */

static void
test_scarce_alone(void)
{
    unsigned       i, paused;
    tn_moderate_t  m;

    begin(&m);
    paused = 0;

    for (i = 0; i < 100; i++) {
        tn_moderate_spare(&m, now, 5);
        paused += run(&m, 100000, 60, false);
    }

    is_int(m.level, TN_MODERATE_LEVELS, "the CPUs are others'");
    ok(!m.pausing || m.turns < TN_MODERATE_TURNS,
       "one connection that asks and waits is given up");
    ok(paused < HARDLY_ANY,
       "a few tries in ten seconds: %u turns paused", paused);
}


int
main(void)
{
    test_load();
    test_middling();
    test_lull();
    test_alone();
    test_scarce();
    test_scarce_alone();

    return tap_done();
}
