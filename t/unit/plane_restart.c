
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Two data planes on a virtual clock: one is started anew with its old keys
 * while the other only sends, or sleeps, or with its clock set back; and
 * messages of sessions that nobody has.
 */

#include "tap.h"

#include "plane_world.h"
#include "node/tn_plane_private.h"


static uint64_t
heard(unsigned i)
{
    const tn_plane_stats_t  *stats;

    stats = tn_plane_stats(sides[i].plane);

    return stats->in_packets + stats->in_filtered;
}


/* one packet each 20 ms; returns how long until something arrives */

static tn_ms_t
send_until_heard(unsigned from, tn_ms_t limit)
{
    tn_ms_t   start;
    uint64_t  before;

    before = heard(1 - from);

    for (start = now; now - start < limit; ) {
        talk(from);
        run(20);

        if (heard(1 - from) > before) {
            break;
        }
    }

    return now - start;
}


/* a data message of no session, behind a Geneve header if `relayed` */

static void
stale(const tn_addr_t *from, bool relayed)
{
    uint8_t  bytes[TN_GENEVE_HEADER + 64];
    size_t   at;

    memset(bytes, 0, sizeof(bytes));
    at = 0;

    if (relayed) {
        bytes[2] = TN_GENEVE_WIREGUARD >> 8;
        bytes[3] = TN_GENEVE_WIREGUARD & 0xff;
        bytes[6] = 1;
        at = TN_GENEVE_HEADER;
    }

    bytes[at] = 4;
    now += 1000;
    give(from, bytes, at + 64);
}


/* who has kept a handshake of before the machine slept says it again */

static void
slept(void)
{
    uint64_t   sent;
    tn_addr_t  stranger;

    stranger = sides[1].addr;
    stranger.port++;

    tn_plane_woke(sides[0].plane, now, 3600000);
    ok(!tn_wg_peer_ready(((tn_plane_peer_t *) peer_of(0)->data)->wg, now),
       "what slept for an hour has no session");

    sent = sides[0].sent;
    give(&stranger, sides[1].shook, sizeof(sides[1].shook));
    is_int(sides[0].sent, (long long) sent,
           "a handshake of before is not answered once more");

    ok(send_until_heard(1, 20000) <= 1000, "the peer's next one is");
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
    conf.told_ns = &sides[i].told;
    sides[i].plane = tn_plane_create(&conf);

    tn_path_set_local(tn_plane_path(sides[i].plane), now, &sides[i].addr, 1,
                      sides[i].addr.port, 0);
}


int
main(void)
{
    size_t             n;
    tn_ms_t            took, since;
    uint64_t           sent, got, left_out;
    tn_addr_t          stranger;
    tn_tally_count_t  *counts;

    (void) tn_crypto_init();
    tn_timers_init(&timers);

    make_both();

    ok(send_until_heard(1, 20000) < 20000, "a session");
    run(6000);
    ok(send_until_heard(1, 1000) <= 20, "packets arrive at once");

    slept();
    run(6000);

    restart(0);
    got = sides[0].got;
    talk(0);
    is_int(sides[0].got, (long long) got,
           "without a netmap nobody says that there is no such peer");

    update(0, &sides[1].disco.pub, false);
    took = send_until_heard(1, 20000);
    ok(took <= 1000, "after a restart within a second: %d ms", (int) took);

    /* only the new one sends: much later the peer shakes hands by itself */

    run(6000);
    wall -= 3600000;
    restart(0);
    update(0, &sides[1].disco.pub, false);
    took = send_until_heard(0, 20000);
    ok(took <= 1000, "with its clock set back by an hour, too: %d ms",
       (int) took);

    /* a stranger's messages with no session make nobody shake hands */

    run(6000);
    sent = sides[0].sent;
    stranger = sides[1].addr;
    stranger.port++;
    stale(&stranger, false);
    is_int(sides[0].sent, (long long) sent, "a stranger gets nothing");

    stale(&sides[1].addr, false);
    is_int(sides[0].sent, (long long) sent,
           "nor does a forger while there is a session");

    stale(&stranger, true);
    is_int(sides[0].sent, (long long) sent, "nor one in a relay's frame");

    /* without a session: the relay's address says nothing of the peer */

    restart(0);
    update(0, &sides[1].disco.pub, false);
    sent = sides[0].sent;
    stale(&sides[1].addr, true);
    is_int(sides[0].sent, (long long) sent,
           "nor one in the frame of a relay at the peer's address");

    counts = tn_plane_tally(sides[0].plane, now, &n, &left_out, &since);
    ok(counts != NULL, "connections are counted");
    free(counts);
    stale(&stranger, true);
    is_int(sides[0].sent, (long long) sent, "and nothing else is different");

    stale(&sides[1].addr, false);
    ok(sides[0].sent > sent, "the peer itself is shaken hands with");

    /* with a netmap: an address of nobody */

    got = sides[0].got;
    sides[1].own.ip = ip("100.64.0.9");
    talk(0);
    ok(sides[0].got > got, "of an address that is nobody's the stack hears");

    tn_plane_destroy(sides[0].plane);
    tn_plane_destroy(sides[1].plane);
    tn_timers_done(&timers);

    return tap_done();
}
