
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Two data planes on a virtual clock: one is started anew with its old keys
 * while the other only sends.
 */

#include "tap.h"

#include "plane_world.h"


/* one packet each 20 ms; returns how long until something arrives */

static tn_ms_t
send_until_heard(unsigned from, tn_ms_t limit)
{
    tn_ms_t   start;
    uint64_t  before;

    before = tn_plane_stats(sides[1 - from].plane)->in_filtered;

    for (start = now; now - start < limit; ) {
        talk(from);
        run(20);

        if (tn_plane_stats(sides[1 - from].plane)->in_filtered > before) {
            break;
        }
    }

    return now - start;
}


static void
restart(unsigned i)
{
    tn_plane_conf_t  conf;

    tn_plane_destroy(sides[i].plane);

    memset(&conf, 0, sizeof(conf));
    conf.ops = &ops;
    conf.data = &sides[i];
    conf.timers = &timers;
    conf.log = &quiet;
    conf.node = sides[i].node;
    conf.disco = sides[i].disco;
    conf.hurry_until = now + 10000;
    sides[i].plane = tn_plane_create(&conf);

    tn_path_set_local(tn_plane_path(sides[i].plane), now, &sides[i].addr, 1,
                      sides[i].addr.port, 0);
    update(i, &sides[1 - i].disco.pub, false);
}


int
main(void)
{
    tn_ms_t   took;
    uint64_t  sent;

    (void) tn_crypto_init();
    tn_timers_init(&timers);

    make(0);
    make(1);
    update(0, &sides[1].disco.pub, false);
    update(1, &sides[0].disco.pub, false);

    ok(send_until_heard(1, 20000) < 20000, "a session");
    run(6000);
    ok(send_until_heard(1, 1000) <= 20, "packets arrive at once");

    restart(0);
    took = send_until_heard(1, 20000);
    ok(took <= 1000, "after a restart within a second: %d ms", (int) took);

    /* a stranger's messages with no session make nobody shake hands */

    run(6000);
    sent = sides[0].sent;
    queue[0].from = sides[1].addr;
    queue[0].from.port++;
    queue[0].to = sides[0].addr;
    queue[0].len = 64;
    memset(queue[0].bytes, 0, 64);
    queue[0].bytes[0] = 4;
    queued = 1;
    run(1);
    is_int(sides[0].sent, (long long) sent, "a stranger gets nothing");

    queue[0].from = sides[1].addr;
    queued = 1;
    run(1);
    is_int(sides[0].sent, (long long) sent,
           "nor does a forger while there is a session");

    tn_plane_destroy(sides[0].plane);
    tn_plane_destroy(sides[1].plane);
    tn_timers_done(&timers);

    return tap_done();
}
