
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Hostile input: forged, cut, replayed and stale messages change nothing,
 * floods are bounded, cookies and rate limits work, and a peer gets no
 * packet through from an address that is not its own.
 */

#include "wg_sim.h"


static sim_t  sim;


/* what must not change, but for the counters of drops */

typedef struct {
    tn_wg_session_t     *sessions[4];
    tn_wg_replay_t       replay;
    uint64_t             counter;
    tn_wg_noise_t        noise;
    uint8_t              timestamp[TN_WGMSG_TIMESTAMP];
    uint8_t              cookie[TN_WGMSG_MAC];
    tn_ms_t              moments[5];
    tn_wg_peer_stats_t   stats;
    size_t               indexes;
    uint32_t             wire;
} state_t;


static void
snapshot(state_t *state, int id)
{
    tn_wg_peer_t  *peer;

    peer = sim.node[id].peer;

    memset(state, 0, sizeof(state_t));
    state->sessions[0] = peer->current;
    state->sessions[1] = peer->next;
    state->sessions[2] = peer->previous;
    state->sessions[3] = peer->older;

    if (peer->current != NULL) {
        state->replay = peer->current->replay;
        state->counter = peer->current->counter;
    }

    state->noise = peer->noise;
    memcpy(state->timestamp, peer->timestamp, sizeof(state->timestamp));
    memcpy(state->cookie, peer->stamper.cookie, sizeof(state->cookie));
    state->moments[0] = peer->timers.retry_at;
    state->moments[1] = peer->timers.keepalive_at;
    state->moments[2] = peer->timers.silence_at;
    state->moments[3] = peer->timers.zero_at;
    state->moments[4] = peer->shaken_at;
    state->stats = peer->stats;
    state->indexes = sim.node[id].wg->indexes.count;
    state->wire = sim.wire;
}


/*
 * Gives msg to node id in every damaged form; the forms that got through.
 * The last `spare` bytes are not damaged: nobody reads mac2 without load.
 */

static uint32_t
damage(int id, const uint8_t *msg, size_t len, size_t spare,
    uint32_t *changes)
{
    size_t    i, n;
    uint8_t   copy[2048];
    state_t   before, after;
    uint32_t  accepted;

    accepted = 0;
    snapshot(&before, id);

    for (i = 0; i < len - spare; i++) {
        memcpy(copy, msg, len);
        copy[i] ^= (uint8_t) (1 << i % 8);
        accepted += sim_receive(&sim, id, copy, len) == TN_OK;
    }

    for (i = 0; i < len; i++) {
        accepted += sim_receive(&sim, id, msg, i) == TN_OK;
    }

    for (n = 1; n < 40; n++) {
        memcpy(copy, msg, len);
        memset(copy + len, 0, n);
        accepted += sim_receive(&sim, id, copy, len + n) == TN_OK;
    }

    snapshot(&after, id);
    *changes = memcmp(&before, &after, sizeof(state_t)) != 0;

    return accepted;
}


static void
test_damage(void)
{
    size_t    len, data_len;
    uint8_t   initiation[148], response[92], inner[200], data[300];
    uint32_t  changes;
    uint64_t  replayed;

    sim_init(&sim, 31);

    /* an initiation */

    sim.loss[0] = 1000;
    (void) sim_send(&sim, 0, 0, 100);
    memcpy(initiation, sim.node[0].last, 148);

    is_int(damage(1, initiation, 148, 16, &changes), 0,
           "no damaged initiation is accepted");
    is_int(changes, 0, "and none changes anything");

    /* the response to it */

    sim.loss[1] = 1000;
    is_int(sim_receive(&sim, 1, initiation, 148), TN_OK, "the true one is");
    memcpy(response, sim.node[1].last, 92);

    is_int(damage(0, response, 92, 16, &changes), 0,
           "no damaged response is accepted");
    is_int(changes, 0, "and none changes anything");

    sim.loss[0] = 0;
    sim.loss[1] = 0;
    is_int(sim_receive(&sim, 0, response, 92), TN_OK, "the true one is");
    sim_wait(&sim, 100);
    is_int(sim.node[1].seen[0], 1, "session made");

    is_int(sim_receive(&sim, 0, response, 92), TN_MALFORMED,
           "a response is good for once");

    /* data */

    len = sim_packet(inner, 0, 1, 150);
    data_len = tn_wg_sealed_len(len);
    (void) tn_wg_seal(sim.node[0].peer, sim.now, inner, len, data);

    is_int(damage(1, data, data_len, 0, &changes), 0,
           "no damaged data is accepted");
    is_int(changes, 0, "and none changes anything");

    replayed = tn_wg_stats(sim.node[1].wg)->replayed;
    is_int(sim_receive(&sim, 1, data, data_len), TN_OK, "the true one is");
    is_int(sim_receive(&sim, 1, data, data_len), TN_MALFORMED, "but once");
    is_int(tn_wg_stats(sim.node[1].wg)->replayed, replayed + 1,
           "the replay is counted");

    sim_done(&sim);
}


static void
test_replayed_initiation(void)
{
    uint8_t   first[148], second[148];
    state_t   before, after;
    uint32_t  i;

    sim_init(&sim, 32);

    (void) sim_send(&sim, 0, 0, 100);
    memcpy(first, sim.node[0].last, 148);
    sim_wait(&sim, 6000);

    snapshot(&before, 1);

    for (i = 0; i < 20; i++) {
        sim_wait(&sim, 50);
        (void) sim_receive(&sim, 1, first, 148);
    }

    snapshot(&after, 1);
    is_mem(&after, &before, sizeof(state_t), "a replay changes nothing");
    is_int(sim.node[1].responses, 1, "and is not answered");
    is_int(tn_wg_stats(sim.node[1].wg)->bad_handshake, 20, "but counted");

    /* one that was overtaken by a younger */

    tn_wg_peer_shake(sim.node[0].peer, sim.now);
    memcpy(second, sim.node[0].last, 148);
    sim_wait(&sim, 6000);
    (void) sim_receive(&sim, 1, second, 148);
    (void) sim_receive(&sim, 1, first, 148);
    is_int(sim.node[1].responses, 2, "neither the last nor an older one");

    sim_done(&sim);
}


/*
 * A response to the index of a session: no handshake waits there, and what
 * was wiped is known to everybody.
 */

static void
test_response_to_session(void)
{
    uint8_t              msg[92];
    state_t              before, after;
    tn_key_t             zero, pub;
    tn_wg_keys_t         keys;
    tn_wg_noise_t        wiped;
    tn_wg_stamper_t      stamper;
    tn_wgmsg_response_t  r;

    sim_init(&sim, 39);

    (void) sim_send(&sim, 0, 0, 100);
    sim_wait(&sim, 6000);
    snapshot(&before, 0);

    memset(&zero, 0, sizeof(zero));
    memset(&wiped, 0, sizeof(wiped));
    tn_curve_public(&pub, &zero);
    is_int(tn_wg_noise_respond(&wiped, &r, &keys, &pub,
                               &sim.node[0].keys.pub),
           TN_OK, "anybody can respond to wiped state");

    r.sender = 1;
    r.receiver = sim.node[0].peer->current->index.value;
    tn_wgmsg_write_response(msg, &r);
    (void) tn_wg_stamper_init(&stamper, &sim.node[0].keys.pub);
    (void) tn_wg_stamper_stamp(&stamper, sim.now, msg, sizeof(msg));

    is_int(sim_receive(&sim, 0, msg, sizeof(msg)), TN_MALFORMED,
           "but to no session");
    snapshot(&after, 0);
    is_mem(&after, &before, sizeof(state_t), "nothing changes");

    sim_done(&sim);
}


/* the wall clock steps back */

static void
test_clock_back(void)
{
    sim_init(&sim, 33);

    sim.node[0].wall_ns = 3600000000000ull;
    (void) sim_send(&sim, 0, 0, 100);
    sim_wait(&sim, 6000);
    sim.node[0].wall_ns = 0;
    tn_wg_peer_shake(sim.node[0].peer, sim.now);
    sim_wait(&sim, 100);
    is_int(sim.node[1].responses, 2,
           "timestamps grow even when the clock goes back");

    sim_done(&sim);
}


/* the peer sends initiations faster than 50 a second */

static void
test_peer_flood(void)
{
    int       i;
    uint32_t  taken;

    sim_init(&sim, 34);

    for (i = 0, taken = 0; i < 1000; i++) {
        sim.node[0].peer->shaken_at = 0;
        sim.node[0].wall_ns += 17000000;
        tn_wg_peer_shake(sim.node[0].peer, sim.now);
        taken += sim_receive(&sim, 1, sim.node[0].last, 148) == TN_OK;

        while (sim.queue != NULL) {
            sim_msg_t  *msg;

            msg = sim.queue;
            sim.queue = msg->next;
            free(msg);
        }

        sim.now += 2;
    }

    ok(taken >= 95 && taken <= 101, "%u of 1000 initiations in 2 s are taken",
       taken);
    ok(sim.node[1].wg->indexes.count <= 3, "and their sessions do not pile");
    is_int(tn_wg_stats(sim.node[1].wg)->limited, 1000 - taken, "counted");

    sim_done(&sim);
}


/* the initiation of a stranger who knows node 1's key */

static void
stranger_initiation(uint8_t *msg)
{
    uint8_t                shared[32], timestamp[12];
    tn_keypair_t           stranger;
    tn_wg_noise_t          noise;
    tn_wg_stamper_t        stamper;
    tn_wgmsg_initiation_t  m;

    tn_curve_keypair(&stranger);
    (void) tn_curve_dh(shared, &stranger.priv, &sim.node[1].keys.pub);
    tn_wg_noise_timestamp(timestamp, SIM_EPOCH + sim.now * 1000000);
    (void) tn_wg_noise_initiate(&noise, &m, &stranger,
                                &sim.node[1].keys.pub, shared, timestamp);
    m.sender = 7;
    tn_wgmsg_write_initiation(msg, &m);
    (void) tn_wg_stamper_init(&stamper, &sim.node[1].keys.pub);
    (void) tn_wg_stamper_stamp(&stamper, sim.now, msg, 148);
}


static tn_rc_t
flood(const uint8_t *msg, const tn_wg_from_t *from)
{
    tn_wg_peer_t  *peer;

    return tn_wg_input(sim.node[1].wg, sim.now, from, msg, 148, &peer);
}


static void
test_load(void)
{
    int                 i;
    uint8_t             msg[148], reply[64];
    uint32_t            n;
    tn_wg_from_t        from;
    tn_wg_stamper_t     stamper;
    tn_wgmsg_cookie_t   cookie;

    sim_init(&sim, 35);

    stranger_initiation(msg);
    from = sim_from(5);
    from.path = &from;          /* replies do not go to node 0 */

    for (i = 0; i < 1000; i++) {
        (void) flood(msg, &from);
    }

    is_int(sim.node[1].cookies, 0, "1000 handshakes a second are no load");
    is_int(tn_wg_stats(sim.node[1].wg)->bad_handshake, 1000,
           "though each is refused");

    is_int(flood(msg, &from), TN_REFUSED, "one more is");
    is_int(sim.node[1].cookies, 1, "a cookie is sent");

    for (i = 0; i < 3000; i++) {
        (void) flood(msg, &from);
    }

    is_int(tn_wg_stats(sim.node[1].wg)->bad_handshake, 1000,
           "and no DH is spent on them");

    /* node 0 must prove its address now */

    (void) sim_send(&sim, 0, 0, 100);
    sim_wait(&sim, 100);
    is_int(sim.node[1].seen[0], 0, "a peer is asked for a cookie as well");
    ok(sim.node[0].peer->stamper.cookie_at != 0, "and has got it");

    for (i = 0; i < 53; i++) {
        sim_wait(&sim, 100);

        for (n = 0; n < 200; n++) {
            (void) flood(msg, &from);
        }
    }

    is_int(sim.node[1].seen[0], 1,
           "its next try comes through during the flood");
    is_int(sim.node[0].initiations, 2, "it took one retry");

    sim_wait(&sim, 3000);
    tn_wg_peer_shake(sim.node[0].peer, sim.now);
    n = sim.node[1].cookies;
    sim_wait(&sim, 3000);
    is_int(sim.node[1].cookies, n, "calm after the flood");

    /* one who has a cookie is held to his rate */

    for (i = 0; i < 1001; i++) {
        (void) flood(msg, &from);
    }

    memset(&stamper, 0, sizeof(stamper));
    (void) tn_wg_stamper_init(&stamper, &sim.node[1].keys.pub);
    (void) tn_wg_stamper_stamp(&stamper, sim.now, msg, 148);
    (void) tn_wg_checker_reply(&sim.node[1].wg->checker, sim.now, &from, 7,
                               msg, 148, reply);
    (void) tn_wgmsg_read_cookie(&cookie, reply, sizeof(reply));
    is_int(tn_wg_stamper_take(&stamper, sim.now, &cookie), TN_OK, "a cookie");
    (void) tn_wg_stamper_stamp(&stamper, sim.now, msg, 148);

    for (i = 0, n = 0; i < 20; i++) {
        n += flood(msg, &from) == TN_MALFORMED;
    }

    is_int(n, TN_WG_RATELIMIT_BURST, "with it five in a burst are looked at");
    is_int(tn_wg_stats(sim.node[1].wg)->limited, 15, "the others are not");
    sim_wait(&sim, 5000);
    stranger_initiation(msg);

    /* a cookie is bound to the address */

    for (i = 0; i < 1001; i++) {
        (void) flood(msg, &from);
    }

    sim.loss[0] = 1000;
    sim_wait(&sim, 6000);

    for (i = 0; i < 1001; i++) {
        (void) flood(msg, &from);
    }

    tn_wg_peer_shake(sim.node[0].peer, sim.now);
    from = sim_from(9);
    from.path = &from;
    is_int(flood(sim.node[0].last, &from), TN_REFUSED,
           "the cookie of another address is none");
    from = sim_from(0);
    from.addr.port++;
    from.path = &from;
    is_int(flood(sim.node[0].last, &from), TN_REFUSED, "nor of another port");
    from = sim_from(0);
    from.relayed = true;
    from.path = &from;
    is_int(flood(sim.node[0].last, &from), TN_REFUSED, "nor by a relay");
    from = sim_from(0);
    is_int(flood(sim.node[0].last, &from), TN_OK, "that of its own is");

    /* cookies die after 120 s */

    sim_wait(&sim, 121000);

    for (i = 0; i < 1001; i++) {
        (void) flood(msg, &from);
    }

    is_int(flood(sim.node[0].last, &from), TN_REFUSED, "an old cookie dies");

    sim_done(&sim);
}


/* a forged or repeated cookie reply is not taken */

static void
test_cookie_reply(void)
{
    int                 i;
    uint8_t             reply[64], bad[64];
    uint32_t            taken;
    tn_wg_from_t        from;
    tn_wg_checker_t     checker;

    sim_init(&sim, 36);
    sim.loss[0] = 1000;

    (void) sim_send(&sim, 0, 0, 100);
    from = sim_from(0);
    (void) tn_wg_checker_init(&checker, &sim.node[1].keys.pub);
    (void) tn_wg_checker_reply(&checker, sim.now, &from,
                               sim.node[0].peer->index.value,
                               sim.node[0].last, 148, reply);

    for (i = 0, taken = 0; i < 64; i++) {
        memcpy(bad, reply, 64);
        bad[i] ^= 0x10;
        taken += sim_receive(&sim, 0, bad, 64) != TN_MALFORMED;
    }

    is_int(taken, 0, "no damaged cookie reply is taken");
    ok(sim.node[0].peer->stamper.cookie_at == 0, "none was stored");
    is_int(sim_receive(&sim, 0, reply, 64), TN_AGAIN, "the true one is");
    is_int(sim_receive(&sim, 0, reply, 64), TN_MALFORMED, "once");

    sim_wait(&sim, 5400);
    ok(memcmp(sim.node[0].last + 132, "\0\0\0\0\0\0\0\0", 8) != 0,
       "the next initiation carries mac2");
    ok(tn_wg_checker_mac2(&checker, sim.now, &from, sim.node[0].last, 148),
       "which is right");
    ok(tn_wg_checker_mac2(&checker, checker.secret_at + 119999, &from,
                          sim.node[0].last, 148),
       "for 120 s");
    ok(!tn_wg_checker_mac2(&checker, checker.secret_at + 120000, &from,
                           sim.node[0].last, 148),
       "and not longer");

    sim_done(&sim);
}


static void
test_ratelimit(void)
{
    int                i;
    uint8_t            v6[16] = { 0x20, 0x01, 0x0d, 0xb8 };
    tn_ms_t            now;
    uint32_t           n;
    tn_wg_from_t       from;
    tn_wg_ratelimit_t  limit;

    tn_wg_ratelimit_init(&limit);
    now = 5000;
    from = sim_from(1);

    for (i = 0, n = 0; i < 100; i++) {
        n += tn_wg_ratelimit_allow(&limit, now, &from);
    }

    is_int(n, TN_WG_RATELIMIT_BURST, "a burst of 5");

    for (i = 0, n = 0; i < 10000; i++) {
        n += tn_wg_ratelimit_allow(&limit, ++now, &from);
    }

    is_int(n, 200, "then 20 a second");

    from.addr.port = 7;
    is_int(tn_wg_ratelimit_allow(&limit, now, &from), 0,
           "another port is no other source");
    from.relayed = true;
    is_int(tn_wg_ratelimit_allow(&limit, now, &from), 1, "a relay is");
    from = sim_from(2);
    is_int(tn_wg_ratelimit_allow(&limit, now, &from), 1,
           "and another address");

    now += 10000;
    from.addr.ip = tn_ip_from_v6(v6);

    for (i = 0, n = 0; i < 100; i++) {
        from.addr.ip.b[15] = (uint8_t) i;
        n += tn_wg_ratelimit_allow(&limit, now, &from);
    }

    is_int(n, TN_WG_RATELIMIT_BURST, "an IPv6 /64 is one source");
    from.addr.ip.b[7] = 1;
    is_int(tn_wg_ratelimit_allow(&limit, now, &from), 1, "the next another");

    /* more sources than there is room for */

    now += 10000;

    for (i = 0, n = 0; i < 100000; i++) {
        from.addr.ip.b[4] = (uint8_t) (i >> 16);
        from.addr.ip.b[5] = (uint8_t) (i >> 8);
        from.addr.ip.b[6] = (uint8_t) i;
        n += tn_wg_ratelimit_allow(&limit, now, &from);
    }

    ok(n <= 4096, "%u of 100000 sources at once are let in", n);
    now += 1000;
    is_int(tn_wg_ratelimit_allow(&limit, now, &from), 1,
           "a second later there is room again");

    tn_wg_ratelimit_done(&limit);
}


/* an authentic peer with packets that are not its own, or no packets */

static void
test_source(void)
{
    size_t          i, len;
    uint8_t         inner[300], msg[400];
    sim_node_t     *to;
    tn_prefix_t     prefixes[2];
    tn_wg_packet_t  packet;

    static const struct {
        const char  *name;
        const char  *bytes;
        size_t       len;
        tn_rc_t      rc;
        size_t       want;
    } cases[] = {
        { "own source", "4500001c000000004011000064400001", 28, TN_OK, 28 },
        { "a neighbour's source", "4500001c000000004011000064400003", 28,
          TN_REFUSED, 0 },
        { "our own source", "4500001c000000004011000064400002", 28,
          TN_REFUSED, 0 },
        { "an unknown source", "4500001c0000000040110000c0000201", 28,
          TN_REFUSED, 0 },
        { "total length over the message", "4500ffff000000004011000064400001",
          28, TN_REFUSED, 0 },
        { "total length under a header", "45000013000000004011000064400001",
          28, TN_REFUSED, 0 },
        { "a cut header", "45000013000000004011000064400001", 16,
          TN_REFUSED, 0 },
        { "length within the padding", "45000020000000004011000064400001",
          28, TN_OK, 32 },
        { "padding of the sender's own", "4500001c000000004011000064400001",
          60, TN_OK, 28 },
        { "IP version 5", "5500001c000000004011000064400001", 28,
          TN_REFUSED, 0 },
        { "IP version 0", "0500001c000000004011000064400001", 28,
          TN_REFUSED, 0 },
        { "IPv6 with its own source",
          "6000000000001140fd7a115ca1e00000000000000000000a", 40, TN_OK, 40 },
        { "IPv6 with another",
          "6000000000001140fd7a115ca1e00000000000000000000b", 40,
          TN_REFUSED, 0 },
        { "IPv6 with a mapped address",
          "600000000000114000000000000000000000ffff64400001", 40,
          TN_REFUSED, 0 },
        { "IPv6 longer than the message",
          "6000000000201140fd7a115ca1e00000000000000000000a", 40,
          TN_REFUSED, 0 },
        { "IPv6 cut", "6000000000001140fd7a115ca1e00000000000000000000a", 32,
          TN_REFUSED, 0 },
    };

    sim_init(&sim, 37);

    (void) sim_send(&sim, 0, 0, 100);
    sim_wait(&sim, 100);

    to = &sim.node[1];
    prefixes[0] = sim_prefix("100.64.0.1/32");
    prefixes[1] = sim_prefix("fd7a:115c:a1e0::a/128");
    (void) tn_wg_allow(to->wg, to, prefixes, 2);

    for (i = 0; i < tn_nelems(cases); i++) {
        memset(inner, 0, sizeof(inner));
        memset(msg, 0xff, sizeof(msg));
        (void) unhex(inner, cases[i].bytes);
        len = cases[i].len;
        (void) tn_wg_seal(sim.node[0].peer, sim.now, inner, len, msg);
        is_int(tn_wg_open(to->wg, sim.now, msg, tn_wg_sealed_len(len),
                          &packet),
               cases[i].rc, cases[i].name);
        is_int(packet.len, (long long) cases[i].want, "  and its length");
        is_mem(msg + 16 + len, "\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0",
               (16 - len % 16) % 16, "  and its padding is zeros");
        ok(packet.peer == to->peer, "  is from the peer all the same");
    }

    sim_done(&sim);
}


static void
test_bad_keys(void)
{
    tn_key_t       zero, one;
    tn_wg_peer_t  *peer;

    sim_init(&sim, 38);

    is_int(tn_wg_peer_add(sim.node[0].wg, &sim.node[0].keys.pub, NULL, &peer),
           TN_REFUSED, "our own key is no peer");
    is_int(tn_wg_peer_add(sim.node[0].wg, &sim.node[1].keys.pub, NULL, &peer),
           TN_REFUSED, "nor is one twice");

    memset(&zero, 0, sizeof(zero));
    memset(&one, 0, sizeof(one));
    one.b[0] = 1;

    is_int(tn_wg_peer_add(sim.node[0].wg, &one, NULL, &peer), TN_OK,
           "a low-order point may come from control");
    tn_wg_peer_shake(peer, sim.now);
    is_int(sim.node[0].initiations, 0, "but no handshake is sent to it");
    is_int(tn_timers_next(&sim.timers) == TN_NEVER_MS, 1, "nor retried");

    sim_done(&sim);
}


int
main(void)
{
    if (tn_crypto_init() != TN_OK) {
        return 1;
    }

    test_damage();
    test_replayed_initiation();
    test_response_to_session();
    test_clock_back();
    test_peer_flood();
    test_load();
    test_cookie_reply();
    test_ratelimit();
    test_source();
    test_bad_keys();

    return tap_done();
}
