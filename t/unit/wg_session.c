
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Sessions between two devices: the first handshake, renewal under load,
 * both sides at once, a bad link, and how packets wait and are padded.
 */

#include "wg_sim.h"


static sim_t  sim;


static void
test_first(void)
{
    uint32_t            i;
    tn_wg_peer_stats_t  stats;

    sim_init(&sim, 1);

    is_int(tn_timers_next(&sim.timers) == TN_NEVER_MS, 1,
           "idle peers have no timer");

    is_int(sim_send(&sim, 0, 0, 100), TN_AGAIN, "first packet is staged");
    is_int(sim_send(&sim, 0, 1, 1280), TN_AGAIN, "second too");
    is_int(sim.node[0].initiations, 1, "one initiation");
    tn_wg_peer_stats(sim.node[0].peer, &stats);
    is_int(stats.staged, 2, "two packets wait");

    sim_wait(&sim, 100);

    is_int(sim.node[1].responses, 1, "one response");
    is_int(sim.node[0].staged, 2, "both went out");
    is_int(sim.node[0].keepalives, 0, "and no keepalive, being data enough");
    is_int(sim_missing(&sim, 1, 0, 2), 0, "both arrived");
    is_int(sim.node[0].sessions, 1, "initiator was told of the session");
    is_int(sim.node[1].sessions, 1, "responder too");
    ok(tn_wg_peer_ready(sim.node[0].peer, sim.now)
       && tn_wg_peer_ready(sim.node[1].peer, sim.now), "both ready");

    is_int(sim_send(&sim, 1, 2, 60), TN_OK, "answer is sealed at once");
    sim_wait(&sim, 20);
    is_int(sim.node[0].delivered, 1, "and arrives");

    for (i = 20; i <= 1281; i++) {
        (void) sim_send(&sim, 0, 100 + i, tn_max(i, 24u));
    }

    sim_wait(&sim, 20);
    is_int(sim_missing(&sim, 1, 120, 1262), 0, "every length passes");

    is_int(tn_wg_sealed_len(0), 32, "a keepalive has 32 bytes");
    is_int(tn_wg_sealed_len(1), 48, "padding to 16");
    is_int(tn_wg_sealed_len(1279), 1312, "up to the MTU");
    is_int(tn_wg_sealed_len(1280), 1312, "none at the MTU");
    is_int(tn_wg_sealed_len(1281), 1313, "none above it");

    is_int(sim.node[0].rejected + sim.node[1].rejected, 0,
           "nothing was rejected");

    sim_done(&sim);
}


/* both nodes send each `gap` ms for `ms`; returns packets sent by each */

static uint32_t
pump(tn_ms_t ms, tn_ms_t gap, bool both)
{
    uint32_t  seq;
    tn_ms_t   end;

    seq = 0;

    for (end = sim.now + ms; sim.now < end; sim_wait(&sim, gap)) {
        (void) sim_send(&sim, 0, seq, 200);

        if (both) {
            (void) sim_send(&sim, 1, seq, 200);
        }

        seq++;
    }

    return seq;
}


static void
test_renewal(void)
{
    uint32_t  n;

    sim_init(&sim, 2);

    (void) sim_send(&sim, 0, SIM_SEQS - 1, 100);
    sim_wait(&sim, 100);

    n = pump(119000, 7, true);
    is_int(sim.node[0].initiations, 1, "no renewal before 120 s");

    sim.node[0].delivered = sim.node[1].delivered = 0;
    memset(sim.node[0].seen, 0, SIM_SEQS);
    memset(sim.node[1].seen, 0, SIM_SEQS);

    n = pump(400000, 7, true);
    sim_wait(&sim, 100);

    is_int(sim.node[0].initiations, 5, "a renewal each 120 s");
    is_int(sim.node[1].initiations, 0, "by the initiator only");
    is_int(sim_missing(&sim, 1, 0, n), 0, "initiator's packets all arrive");
    is_int(sim_missing(&sim, 0, 0, n), 0, "responder's packets all arrive");
    is_int(sim.node[0].rejected + sim.node[1].rejected, 0,
           "nothing was rejected");
    is_int(sim.node[0].wg->indexes.count, 2, "two sessions kept of six");

    sim_done(&sim);
}


static void
test_renewal_receiving(void)
{
    uint32_t  n;

    sim_init(&sim, 3);

    (void) sim_send(&sim, 0, SIM_SEQS - 1, 100);
    sim_wait(&sim, 100);

    /* node 0 began the session and then only listens */

    for (n = 0; n < 2000; n++) {
        (void) sim_send(&sim, 1, n, 200);
        sim_wait(&sim, 100);
    }

    is_int(sim_missing(&sim, 0, 0, n), 0,
           "an initiator that only receives renews in time");
    ok(sim.node[0].keepalives >= 15, "and sent keepalives");

    sim_done(&sim);

    /* one packet shortly before the end of a session long unused */

    sim_init(&sim, 30);

    (void) sim_send(&sim, 0, 0, 100);
    sim_wait(&sim, 164000);
    (void) sim_send(&sim, 1, 1, 100);
    sim_wait(&sim, 100);
    is_int(sim.node[0].initiations, 1, "at 164 s a session is good");
    sim_wait(&sim, 2000);
    (void) sim_send(&sim, 1, 2, 100);
    sim_wait(&sim, 100);
    is_int(sim.node[0].initiations, 2, "at 166 s it is about to end");

    sim_done(&sim);
}


static void
test_both_at_once(void)
{
    uint32_t  n;

    sim_init(&sim, 4);

    (void) sim_send(&sim, 0, 0, 100);
    (void) sim_send(&sim, 1, 0, 100);
    sim_wait(&sim, 100);

    is_int(sim.node[0].initiations, 1, "node 0 began");
    is_int(sim.node[1].initiations, 1, "node 1 began at the same time");
    is_int(sim.node[0].delivered, 1, "node 1's packet needed no retry");
    is_int(sim.node[1].delivered, 1, "node 0's neither");

    memset(sim.node[0].seen, 0, SIM_SEQS);
    memset(sim.node[1].seen, 0, SIM_SEQS);

    n = pump(500000, 3, true);
    sim_wait(&sim, 100);
    is_int(sim_missing(&sim, 0, 0, n) + sim_missing(&sim, 1, 0, n), 0,
           "no packet is lost over renewals");

    is_int(sim.node[0].initiations + sim.node[1].initiations, 2 + 4,
           "after the first of them one side renews");

    sim_done(&sim);

    /* the same amid traffic on a session that is still good */

    sim_init(&sim, 40);
    sim.delay = 40;

    (void) sim_send(&sim, 0, SIM_SEQS - 1, 100);
    sim_wait(&sim, 6000);
    tn_wg_peer_shake(sim.node[0].peer, sim.now);
    tn_wg_peer_shake(sim.node[1].peer, sim.now);
    n = pump(1000, 1, true);
    sim_wait(&sim, 100);
    is_int(sim.node[0].responses + sim.node[1].responses, 3, "both answered");
    is_int(sim_missing(&sim, 0, 0, n) + sim_missing(&sim, 1, 0, n), 0,
           "what was under way by the old keys arrives");

    sim_done(&sim);
}


static void
test_bad_link(void)
{
    int       i;
    uint32_t  n;

    sim_init(&sim, 5);

    sim.loss[0] = 100;
    sim.loss[1] = 100;
    sim.dup = 100;
    sim.jitter = 50;

    n = pump(600000, 10, true);
    sim_wait(&sim, 1000);

    for (i = 0; i < 2; i++) {
        ok(sim_missing(&sim, i, 0, n) < n * 12 / 100,
           "10%% loss costs node %d about 10%% of packets (%u of %u)", i,
           sim_missing(&sim, i, 0, n), n);

        is_int(sim.node[i].duplicates, 0, "duplicates do not pass");
        ok(tn_wg_stats(sim.node[i].wg)->replayed > n * 5 / 100,
           "they were seen");
        is_int(tn_wg_stats(sim.node[i].wg)->forged, 0, "none was forged");
    }

    sim_done(&sim);

    /* loss that hits only handshakes */

    sim_init(&sim, 6);

    (void) sim_send(&sim, 0, SIM_SEQS - 1, 100);
    sim_wait(&sim, 100);

    sim.loss[0] = 300;
    sim.loss[1] = 300;
    sim.only_handshakes = true;
    sim.jitter = 30;

    n = pump(1000000, 20, true);
    sim_wait(&sim, 1000);
    is_int(sim_missing(&sim, 0, 0, n) + sim_missing(&sim, 1, 0, n), 0,
           "renewal survives the loss of its messages");

    sim_done(&sim);
}


/* the initiator's first packet is lost, and then it has nothing to say */

static void
test_confirmation_lost(void)
{
    sim_init(&sim, 7);

    tn_wg_peer_shake(sim.node[0].peer, sim.now);
    sim_wait(&sim, 15);
    sim.loss[0] = 1000;
    sim_wait(&sim, 50);
    sim.loss[0] = 0;

    is_int(sim.node[1].responses, 1, "responded");
    is_int(sim.node[1].sessions, 0, "but the keepalive was lost");

    is_int(sim_send(&sim, 1, 0, 100), TN_AGAIN, "responder must wait");
    sim_wait(&sim, 6000);
    is_int(sim.node[0].delivered, 1,
           "and shakes hands itself, without being asked again");

    sim_done(&sim);
}


static void
test_staging(void)
{
    uint32_t            i, n;
    tn_wg_peer_stats_t  stats;

    sim_init(&sim, 8);
    sim.loss[0] = 1000;

    for (i = 0; i < 200; i++) {
        is_int(sim_send(&sim, 0, i, 100) == TN_AGAIN || i > 3, 1, "staged");
        if (i == 3) {
            break;
        }
    }

    for (i = 4; i < 200; i++) {
        (void) sim_send(&sim, 0, i, 100);
    }

    tn_wg_peer_stats(sim.node[0].peer, &stats);
    is_int(stats.staged, TN_WG_STAGED_MAX, "staged packets are bounded");
    is_int(tn_wg_stats(sim.node[0].wg)->staged_dropped, 72, "drops counted");

    sim.loss[0] = 0;
    sim_wait(&sim, 6000);

    n = sim_missing(&sim, 1, 0, 200);
    is_int(n, 72, "the rest arrives");
    is_int(sim_missing(&sim, 1, 0, 72), 72, "the oldest were dropped");
    tn_wg_peer_stats(sim.node[0].peer, &stats);
    is_int(stats.staged, 0, "none waits");

    sim_done(&sim);
}


/* the limits on messages of one session */

static void
test_counters(void)
{
    sim_init(&sim, 9);

    (void) sim_send(&sim, 0, 0, 100);
    sim_wait(&sim, 6000);

    sim.node[1].peer->current->counter = TN_WG_REKEY_AFTER_MESSAGES;
    (void) sim_send(&sim, 1, 1, 100);
    sim_wait(&sim, 100);
    is_int(sim.node[0].seen[1], 1, "a worn session still seals");
    is_int(sim.node[1].initiations, 1, "but is renewed, by the responder too");
    is_int(sim.node[1].peer->current->counter, 1, "and replaced");

    sim_wait(&sim, 6000);
    sim.node[0].peer->current->counter = TN_WG_REJECT_AFTER_MESSAGES - 1;
    is_int(sim_send(&sim, 0, 2, 100), TN_OK, "the last counter");
    sim.node[0].initiations = 0;
    is_int(sim_send(&sim, 0, 3, 100), TN_AGAIN, "none is left");
    sim_wait(&sim, 6000);
    is_int(sim_missing(&sim, 1, 2, 2), 0, "both arrive");

    sim_done(&sim);
}


static void
test_restart(void)
{
    tn_wg_conf_t  conf;
    tn_prefix_t   prefix;
    sim_node_t   *node;

    sim_init(&sim, 10);

    (void) sim_send(&sim, 0, 0, 100);
    sim_wait(&sim, 20000);

    /* node 1 dies and comes back with nothing but its key */

    node = &sim.node[1];
    tn_wg_destroy(node->wg);

    memset(&conf, 0, sizeof(conf));
    conf.ops = &sim_ops;
    conf.data = node;
    conf.timers = &sim.timers;
    conf.identity = node->keys;
    node->wg = tn_wg_create(&conf);
    (void) tn_wg_peer_add(node->wg, &sim.node[0].keys.pub, node, &node->peer);
    prefix = sim_prefix("100.64.0.1/32");
    (void) tn_wg_allow(node->wg, node, &prefix, 1);

    (void) sim_send(&sim, 0, 1, 100);
    sim_wait(&sim, 100);
    is_int(node->seen[1], 0, "a packet for the lost session is lost");
    is_int(tn_wg_stats(node->wg)->unknown_index, 1, "and counted");

    sim_wait(&sim, 16000);
    is_int(sim.node[0].initiations, 2, "silence leads to a new handshake");
    (void) sim_send(&sim, 0, 2, 100);
    sim_wait(&sim, 100);
    is_int(node->seen[2], 1, "and packets pass again");

    /* told of it, a peer need not wait; staged packets survive */

    sim_wait(&sim, 1000);
    tn_wg_peer_reset(sim.node[0].peer, sim.now);
    is_int(sim.node[0].initiations, 2, "a reset alone sends nothing");
    is_int(sim_send(&sim, 0, 3, 100), TN_AGAIN, "no session after a reset");
    is_int(sim.node[0].initiations, 3, "handshake at once");
    sim.queue->to = 0;
    tn_wg_peer_reset(sim.node[0].peer, sim.now);
    is_int(sim.node[0].initiations, 4, "reset with a staged packet: again");
    sim_wait(&sim, 100);
    is_int(node->seen[3], 1, "the staged packet arrives");

    /* the restarted side starts first: nothing to wait for either */

    tn_wg_peer_reset(sim.node[1].peer, sim.now);
    (void) sim_send(&sim, 1, 4, 100);
    sim_wait(&sim, 100);
    is_int(sim.node[0].seen[4], 1, "restarted side reaches us at once");

    sim_done(&sim);
}


int
main(void)
{
    if (tn_crypto_init() != TN_OK) {
        return 1;
    }

    test_first();
    test_renewal();
    test_renewal_receiving();
    test_both_at_once();
    test_bad_link();
    test_confirmation_lost();
    test_staging();
    test_counters();
    test_restart();

    return tap_done();
}
