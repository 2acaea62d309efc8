
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What a device does by the clock alone: retries, giving up, keepalives,
 * silence, forgetting keys, and that idle peers cost no timer.
 */

#include "wg_sim.h"


static sim_t  sim;


static void
test_retry(void)
{
    tn_ms_t             start, last, gap, min, max;
    uint32_t            n;
    tn_wg_peer_stats_t  stats;

    sim_init(&sim, 21);
    sim.loss[0] = 1000;

    start = sim.now;
    last = start;
    min = TN_NEVER_MS;
    max = 0;

    (void) sim_send(&sim, 0, 0, 100);

    for (n = 1; sim.now < start + 200000; sim_wait(&sim, 1)) {
        if (sim.node[0].initiations != n) {
            gap = sim.now - last;
            min = tn_min(min, gap);
            max = tn_max(max, gap);
            last = sim.now;
            n = sim.node[0].initiations;
        }
    }

    ok(min >= 5000, "no retry before 5 s (%llu)", (unsigned long long) min);
    ok(max <= 5335, "nor after 5.334 s (%llu)", (unsigned long long) max);
    ok(max - min > 50, "retries are jittered");
    ok(n >= 17 && n <= 19, "%u initiations in 90 s", n);
    ok(last - start < 90400, "none after 90 s");

    tn_wg_peer_stats(sim.node[0].peer, &stats);
    is_int(stats.staged, 0, "the staged packet was dropped");
    is_int(tn_wg_stats(sim.node[0].wg)->staged_dropped, 1, "and counted");
    ok(tn_timers_next(&sim.timers) == TN_NEVER_MS, "and no timer is left");
    is_int(sim.node[0].wg->indexes.count, 0, "nor an index");

    /* a new packet begins a new attempt */

    sim.loss[0] = 0;
    (void) sim_send(&sim, 0, 1, 100);
    is_int(sim.node[0].initiations, n + 1, "a new packet tries again");
    sim_wait(&sim, 100);
    is_int(sim.node[1].seen[1], 1, "and arrives");

    sim_done(&sim);
}


/* packets that keep coming keep the attempt alive */

static void
test_attempt_extended(void)
{
    uint32_t  i;

    sim_init(&sim, 22);
    sim.loss[0] = 1000;

    for (i = 0; i < 300; i++) {
        (void) sim_send(&sim, 0, i, 100);
        sim_wait(&sim, 1000);
    }

    ok(sim.node[0].initiations > 50, "still trying after 300 s of packets");
    ok(sim.node[0].initiations < 62, "at the pace of 5 s");

    sim.loss[0] = 0;
    sim_wait(&sim, 6000);
    is_int(sim_missing(&sim, 1, 300 - TN_WG_STAGED_MAX, TN_WG_STAGED_MAX), 0,
           "all that waited arrive at last");

    sim_done(&sim);
}


static void
test_keepalive(void)
{
    uint32_t  i;

    sim_init(&sim, 23);

    (void) sim_send(&sim, 0, 0, 100);
    sim_wait(&sim, 9900);
    is_int(sim.node[1].keepalives, 0, "no keepalive before 10 s");
    sim_wait(&sim, 200);
    is_int(sim.node[1].keepalives, 1, "one at 10 s");
    sim_wait(&sim, 60000);
    is_int(sim.node[1].keepalives, 1, "and no more of them");
    is_int(sim.node[0].keepalives, 0, "a keepalive is not answered");
    is_int(sim.node[0].initiations, 1, "and it counts as life");

    /* what comes while a keepalive is due calls for another */

    sim.node[1].keepalives = 0;

    for (i = 0; i < 5; i++) {
        (void) sim_send(&sim, 0, i, 100);
        sim_wait(&sim, 1000);
    }

    sim_wait(&sim, 5500);
    is_int(sim.node[1].keepalives, 1, "five packets: a keepalive at 10 s");
    sim_wait(&sim, 10000);
    is_int(sim.node[1].keepalives, 2, "and one at 20 s");
    sim_wait(&sim, 20000);
    is_int(sim.node[1].keepalives, 2, "which is the last");

    /* data one way for a minute: one keepalive per 10 s */

    sim.node[1].keepalives = 0;

    for (i = 0; i < 600; i++) {
        (void) sim_send(&sim, 0, i, 100);
        sim_wait(&sim, 100);
    }

    /* a renewal falls into it, and a response is an answer as well */

    ok(sim.node[1].keepalives >= 4 && sim.node[1].keepalives <= 6,
       "%u keepalives answer a minute of data", sim.node[1].keepalives);

    sim_wait(&sim, 30000);

    /* answers stand in for keepalives */

    sim.node[0].keepalives = 0;
    sim.node[1].keepalives = 0;
    sim.node[0].initiations = 0;

    for (i = 0; i < 600; i++) {
        (void) sim_send(&sim, 0, i, 100);
        (void) sim_send(&sim, 1, i, 100);
        sim_wait(&sim, 100);
    }

    is_int(sim.node[0].keepalives, sim.node[0].initiations,
           "traffic both ways needs none but to confirm a renewal");
    is_int(sim.node[1].keepalives, 0, "on neither side");

    sim_done(&sim);
}


static void
test_silence(void)
{
    sim_init(&sim, 24);

    (void) sim_send(&sim, 0, 0, 100);
    sim_wait(&sim, 30000);
    is_int(sim.node[0].initiations, 1, "an answered link is left alone");

    sim.loss[1] = 1000;
    (void) sim_send(&sim, 0, 1, 100);
    sim_wait(&sim, 14900);
    is_int(sim.node[0].initiations, 1, "silence of less than 15 s is borne");
    sim_wait(&sim, 500);
    is_int(sim.node[0].initiations, 2, "then a handshake is tried");

    sim_wait(&sim, 120000);
    ok(sim.node[0].initiations < 22, "which is given up as any other");
    is_int(sim.node[0].peer->timers.retry_at, 0, "no retry is left");

    sim_done(&sim);
}


static void
test_zero(void)
{
    uint32_t  n;

    sim_init(&sim, 25);

    (void) sim_send(&sim, 0, 0, 100);
    sim_wait(&sim, 179000);
    ok(tn_wg_peer_ready(sim.node[0].peer, sim.now), "usable for 180 s");
    sim_wait(&sim, 2000);
    ok(!tn_wg_peer_ready(sim.node[0].peer, sim.now), "and not longer");

    sim_wait(&sim, 350000);
    is_int(sim.node[0].wg->indexes.count, 1, "kept for 540 s");
    sim_wait(&sim, 10000);
    is_int(sim.node[0].wg->indexes.count, 0, "then zeroed by the initiator");
    is_int(sim.node[1].wg->indexes.count, 0, "and by the responder");
    ok(sim.node[0].peer->current == NULL && sim.node[1].peer->current == NULL,
       "no session is left");
    ok(tn_timers_next(&sim.timers) == TN_NEVER_MS,
       "idle again, with no timer");
    is_int(sim.node[0].initiations, 1, "an unused session is not renewed");

    (void) sim_send(&sim, 1, 1, 100);
    sim_wait(&sim, 100);
    is_int(sim.node[0].seen[1], 1, "and it begins anew");

    /* a handshake under way when the old keys go */

    sim_wait(&sim, 539800);
    is_int(sim_send(&sim, 0, 2, 100), TN_AGAIN, "session too old");
    n = sim.node[0].initiations;
    sim.delay = 150;
    sim_wait(&sim, 2000);
    is_int(sim.node[1].seen[2], 1, "zeroing spares a handshake under way");
    is_int(sim.node[0].initiations, n, "which needed no second try");

    sim_done(&sim);
}


/* a session that expired takes no packets, sealed before or after */

static void
test_reject(void)
{
    uint8_t         inner[100], msg[200];
    size_t          len;
    tn_wg_packet_t  packet;

    sim_init(&sim, 26);

    (void) sim_send(&sim, 0, 0, 100);
    sim_wait(&sim, 100000);

    len = sim_packet(inner, 0, 1, 100);
    (void) tn_wg_seal(sim.node[0].peer, sim.now, inner, len, msg);
    sim_wait(&sim, 81000);

    is_int(tn_wg_open(sim.node[1].wg, sim.now, msg, tn_wg_sealed_len(len),
                      &packet),
           TN_MALFORMED, "a packet of an expired session is not opened");
    ok(packet.peer == NULL, "and gives no peer");
    is_int(tn_wg_stats(sim.node[1].wg)->expired, 1, "it is counted");

    sim_done(&sim);
}


/* the heap is hardly touched by packets: its one timer per peer lags */

static void
test_heap(void)
{
    tn_ms_t   at, end;
    uint32_t  changes, packets;

    sim_init(&sim, 27);

    (void) sim_send(&sim, 0, 0, 100);
    sim_wait(&sim, 1000);

    changes = 0;
    packets = 0;
    at = sim.node[0].peer->timers.timer.at;

    for (end = sim.now + 60000; sim.now < end; sim_wait(&sim, 10)) {
        (void) sim_send(&sim, 0, 1, 100);
        (void) sim_send(&sim, 1, 1, 100);
        packets += 2;

        if (sim.node[0].peer->timers.timer.at != at) {
            at = sim.node[0].peer->timers.timer.at;
            changes++;
        }
    }

    ok(changes <= 14, "%u changes of the heap for %u packets in 60 s",
       changes, packets);
    is_int(sim.timers.count, 2, "one timer per peer");

    sim_done(&sim);
}


static void
test_removal(void)
{
    sim_init(&sim, 28);

    sim.loss[0] = 1000;
    (void) sim_send(&sim, 0, 0, 100);
    (void) sim_send(&sim, 0, 1, 100);
    is_int(sim.timers.count, 1, "a retry is pending");

    tn_wg_peer_remove(sim.node[0].peer);
    is_int(sim.timers.count, 0, "removal takes the timer away");
    is_int(sim.node[0].wg->indexes.count, 0, "and the index");
    is_int(sim.node[0].wg->staged, 0, "and what was staged");
    is_int(sim.node[0].wg->peers.count, 0, "and the peer");

    sim_wait(&sim, 20000);
    is_int(sim.node[0].initiations, 1, "nothing is sent any more");

    tn_wg_peer_remove(NULL);

    /* a removed peer that answers is nobody */

    sim.loss[0] = 0;
    (void) sim_send(&sim, 1, 2, 100);
    sim_wait(&sim, 100);
    is_int(tn_wg_stats(sim.node[0].wg)->bad_handshake, 1,
           "its initiation is not answered");
    is_int(sim.node[0].responses, 0, "by no message");

    sim_done(&sim);
}


int
main(void)
{
    if (tn_crypto_init() != TN_OK) {
        return 1;
    }

    test_retry();
    test_attempt_extended();
    test_keepalive();
    test_silence();
    test_zero();
    test_reject();
    test_heap();
    test_removal();

    return tap_done();
}
