
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A circle through other routers is found and falls apart; what clients do,
 * however many and fast, is none.
 */

#include "node/tn_loops.h"

#include "tap.h"

#include <stdlib.h>


static tn_ip_t    peer;
static tn_addr_t  far;


static void
check_circle(void)
{
    unsigned     i, n;
    tn_ms_t      now;
    tn_loops_e   rc;
    tn_loops_t  *loops;

    loops = tn_loops_create(1);
    now = 100000;

    for (n = 0; n < 100000; n++) {
        rc = tn_loops_begin(loops, now + n / 4, true, false, &peer, &far);

        if (rc != TN_LOOPS_PASS) {
            break;
        }

        if (n >= TN_LOOPS_WATCH && !tn_loops_watches(loops)) {
            break;
        }

        tn_loops_opened(loops, &peer, &far);
    }

    is_int(n, TN_LOOPS_TCP, "a circle stops at the limit");
    is_int(rc, TN_LOOPS_LATER, "by a drop");

    now += TN_LOOPS_TELL_MS;

    is_int(tn_loops_begin(loops, now, true, false, &peer, &far),
           TN_LOOPS_FOUND, "what comes again is refused");
    is_int(tn_loops_begin(loops, now + 1, true, false, &peer, &far),
           TN_LOOPS_REFUSED, "so are others, without a line");

    far.port++;
    is_int(tn_loops_begin(loops, now + 1, true, false, &peer, &far),
           TN_LOOPS_PASS, "not to another port");
    far.port--;
    is_int(tn_loops_begin(loops, now + 1, false, false, &peer, &far),
           TN_LOOPS_PASS, "nor of UDP");

    now += TN_LOOPS_QUIET_MS;
    is_int(tn_loops_begin(loops, now, true, false, &peer, &far),
           TN_LOOPS_PASS, "it is tried again later");
    ok(!tn_loops_watches(loops), "nothing is watched");

    now += 2 * TN_LOOPS_QUIET_MS;

    for (i = 0; i < TN_LOOPS_UDP; i++) {
        if (tn_loops_begin(loops, now, false, false, &peer, &far)
            != TN_LOOPS_PASS)
        {
            break;
        }
    }

    is_int(tn_loops_begin(loops, now, false, false, &peer, &far),
           TN_LOOPS_LATER, "a circle of UDP");
    is_int(tn_loops_begin(loops, now + TN_LOOPS_TELL_MS, false, false, &peer,
                          &far),
           TN_LOOPS_FOUND, "is one as well");

    /* capture=probe: nothing is opened before the destination answers */

    now += 2 * TN_LOOPS_QUIET_MS;
    far.port++;

    for (i = 0; i < TN_LOOPS_TCP; i++) {
        (void) tn_loops_begin(loops, now, true, true, &peer, &far);
    }

    is_int(tn_loops_begin(loops, now, true, true, &peer, &far),
           TN_LOOPS_LATER, "SYNs that are held count, too");
    far.port--;

    tn_loops_free(loops);
}


static void
check_clients(void)
{
    bool         all;
    unsigned     i;
    tn_addr_t    to;
    tn_loops_t  *loops;

    loops = tn_loops_create(2);
    all = true;

    for (i = 0; i < 10000; i++) {
        all = tn_loops_begin(loops, 5000 + i / 100, true, false, &peer, &far)
              == TN_LOOPS_PASS && all;
    }

    ok(all, "10,000 at once");
    ok(tn_loops_watches(loops), "their answers are looked for");
    tn_loops_answered(loops, true, &peer, &far);
    ok(!tn_loops_watches(loops), "until there is one");

    for (i = 0; i < 10000; i++) {
        all = tn_loops_begin(loops, 6000 + i, true, false, &peer, &far)
              == TN_LOOPS_PASS && all;
        tn_loops_opened(loops, &peer, &far);

        if (i % 100 == 99) {
            tn_loops_answered(loops, true, &peer, &far);
        }
    }

    ok(all, "one after the other, some of which are answered");

    for (i = 0; i < 1000; i++) {
        all = tn_loops_begin(loops, 20000 + (tn_ms_t) i * TN_LOOPS_QUIET_MS,
                             true, true, &peer, &far)
              == TN_LOOPS_PASS && all;
    }

    ok(all, "seldom, and never answered");

    /* a circle, and a scan that wants its place */

    to = far;
    to.port = 0;

    for (i = 0; i < 20000; i++) {
        to.port++;
        (void) tn_loops_begin(loops, 90000000 + i, true, false, &peer, &to);

        if (i % 50 == 0) {
            (void) tn_loops_begin(loops, 90000000 + i, true, true, &peer,
                                  &far);
        }
    }

    is_int(tn_loops_begin(loops, 90000000 + i, true, true, &peer, &far),
           TN_LOOPS_REFUSED, "a scan does not hide a circle");

    tn_loops_free(loops);
}


int
main(void)
{
    (void) tn_ip_parse(&peer, "100.64.0.7", 10);
    (void) tn_addr_parse(&far, "192.168.77.2:80", 15);

    check_circle();
    check_clients();

    return tap_done();
}
