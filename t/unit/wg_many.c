
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Many messages by one call: sealed later, opened together, with forged,
 * repeated and foreign ones among them, across sessions, and at the end of a
 * session's life.
 */

#include "wg_sim.h"


#define MANY  150

static sim_t           sim;
static uint8_t         msgs[MANY][1400];
static tn_wg_packet_t  packets[MANY];


static size_t
inner_len(uint32_t i)
{
    return 40 + i * 97 % 1241;
}


static void
seal(int from, uint32_t first, uint32_t n)
{
    uint32_t  i;
    size_t    len;
    uint8_t   inner[1400];

    for (i = first; i < first + n; i++) {
        len = sim_packet(inner, from, i, inner_len(i));

        if (tn_wg_seal_later(sim.node[from].peer, sim.now, inner, len,
                             msgs[i])
            != TN_OK)
        {
            ok(false, "packet %u has a session", i);
        }

        memset(inner, 0xee, len);
        packets[i].msg = msgs[i];
        packets[i].msg_len = tn_wg_sealed_len(len);
    }
}


/* how many of the packets first .. first + n - 1 are not what was sealed */
static uint32_t
wrong(int from, uint32_t first, uint32_t n)
{
    uint32_t  i, bad;
    uint8_t   inner[1400];

    for (i = first, bad = 0; i < first + n; i++) {
        bad += packets[i].rc != TN_OK
               || packets[i].peer != sim.node[!from].peer
               || packets[i].len != inner_len(i)
               || packets[i].data != msgs[i] + TN_WGMSG_DATA_HEADER
               || memcmp(packets[i].data, inner,
                         sim_packet(inner, from, i, inner_len(i)))
                  != 0;
    }

    return bad;
}


static void
begin(uint64_t seed)
{
    sim_init(&sim, seed);
    (void) sim_send(&sim, 0, 0, 100);
    sim_wait(&sim, 100);
    (void) sim_send(&sim, 1, 1, 100);
    sim_wait(&sim, 100);
    memset(msgs, 0, sizeof(msgs));
}


static void
test_all(void)
{
    uint64_t            bytes;
    uint32_t            i;
    tn_wg_peer_stats_t  sent, got;

    begin(50);

    seal(0, 0, MANY);
    tn_wg_seal_finish(sim.node[0].wg);
    tn_wg_seal_finish(sim.node[0].wg);
    tn_wg_open_many(sim.node[1].wg, sim.now, packets, MANY);
    is_int(wrong(0, 0, MANY), 0, "all arrive as they were");

    for (i = 0, bytes = 0; i < MANY; i++) {
        bytes += packets[i].msg_len;
    }

    tn_wg_peer_stats(sim.node[0].peer, &sent);
    tn_wg_peer_stats(sim.node[1].peer, &got);
    ok(sent.sent_bytes >= bytes && got.received_bytes >= bytes
       && got.received_packets >= MANY, "and are counted");

    sim_done(&sim);
}


static void
test_hostile(void)
{
    uint32_t             i;
    const tn_wg_stats_t  *stats;

    begin(51);

    seal(0, 0, MANY);
    tn_wg_seal_finish(sim.node[0].wg);
    stats = tn_wg_stats(sim.node[1].wg);

    msgs[10][TN_WGMSG_DATA_HEADER + 3] ^= 1;            /* forged */
    msgs[70][packets[70].msg_len - 1] ^= 0x80;
    memcpy(msgs[21], msgs[20], packets[20].msg_len);    /* twice */
    packets[21].msg_len = packets[20].msg_len;
    msgs[30][4] ^= 1;                                   /* no such index */
    packets[31].msg_len = 31;                           /* no message */
    memset(msgs[32] + 8, 0xff, 8);                      /* number too high */
    msgs[0][0] = 9;

    tn_wg_open_many(sim.node[1].wg, sim.now, packets, MANY);

    is_int(wrong(0, 1, 9) + wrong(0, 11, 10) + wrong(0, 22, 8)
           + wrong(0, 33, 37) + wrong(0, 71, MANY - 71),
           0, "those around forged, repeated and malformed ones arrive");

    for (i = 0; i < MANY; i++) {
        if (packets[i].rc != TN_OK
            && (packets[i].rc != TN_MALFORMED || packets[i].peer != NULL
                || packets[i].data != NULL || packets[i].len != 0))
        {
            break;
        }
    }

    is_int(i, MANY, "of the others nothing is told");
    is_int(stats->forged, 2, "two forged");
    is_int(stats->replayed, 1, "one replayed within the batch");
    is_int(stats->unknown_index, 1, "one of no session");
    is_int(stats->expired, 1, "one over the limit");
    is_int(stats->malformed, 2, "two malformed");

    tn_wg_open_many(sim.node[1].wg, sim.now, packets + 1, 1);
    is_int(packets[1].rc, TN_MALFORMED, "nor again later");

    sim_done(&sim);
}


/* what waits when its session goes is sealed with it */

static void
test_sessions(void)
{
    uint32_t  i;

    begin(52);

    for (i = 0; i < 4; i++) {
        seal(0, i * 20, 20);
        sim_wait(&sim, 10000);
        tn_wg_peer_shake(sim.node[i % 2].peer, sim.now);
        sim_wait(&sim, 100);
        (void) sim_send(&sim, 1, 200 + i, 100);
        (void) sim_send(&sim, 0, 300 + i, 100);
        sim_wait(&sim, 100);
    }

    seal(0, 80, 20);
    tn_wg_seal_finish(sim.node[0].wg);
    is_int(sim.node[0].sessions, 5, "five sessions");

    /* alternately those of the last two, and one that is gone */

    for (i = 0; i < 20; i++) {
        packets[2 * i + 100] = packets[60 + i];
        packets[2 * i + 101] = packets[80 + i];
    }

    packets[140] = packets[0];
    tn_wg_open_many(sim.node[1].wg, sim.now, packets + 100, 41);

    for (i = 0; i < 20; i++) {
        packets[60 + i] = packets[2 * i + 100];
        packets[80 + i] = packets[2 * i + 101];
    }

    is_int(wrong(0, 60, 40), 0, "messages of two sessions take turns");
    is_int(packets[140].rc, TN_MALFORMED, "a former session's is refused");

    seal(0, 0, 5);
    tn_wg_peer_remove(sim.node[0].peer);
    tn_wg_seal_finish(sim.node[0].wg);
    tn_wg_open_many(sim.node[1].wg, sim.now, packets, 5);
    is_int(wrong(0, 0, 5), 0, "sealed before their peer went");

    sim_done(&sim);
}


/* the first data of a new session confirms it within a batch */

static void
test_confirm(void)
{
    sim_init(&sim, 53);

    tn_wg_peer_shake(sim.node[0].peer, sim.now);
    sim.loss[0] = 0;

    while (sim.node[0].peer->current == NULL) {
        sim.loss[0] = sim.node[1].responses != 0 ? 1000 : 0;
        sim_wait(&sim, 1);
    }

    ok(!tn_wg_peer_ready(sim.node[1].peer, sim.now), "not confirmed yet");

    seal(0, 0, 20);
    tn_wg_seal_finish(sim.node[0].wg);
    tn_wg_open_many(sim.node[1].wg, sim.now, packets, 20);
    is_int(wrong(0, 0, 20), 0, "all of the batch that confirms arrive");
    ok(tn_wg_peer_ready(sim.node[1].peer, sim.now), "confirmed");
    is_int(sim.node[1].sessions, 1, "once");

    sim_done(&sim);
}


static void
test_limits(void)
{
    uint8_t           inner[100], msg[200];
    sim_node_t       *node;
    tn_wg_session_t  *session;

    begin(54);

    node = &sim.node[0];
    session = node->peer->current;
    session->counter = TN_WG_REJECT_AFTER_MESSAGES - 2;
    node->staged = 0;

    (void) sim_packet(inner, 0, 1, 100);
    is_int(tn_wg_seal_later(node->peer, sim.now, inner, 100, msg), TN_OK,
           "the last but one");
    is_int(tn_wg_seal_later(node->peer, sim.now, inner, 100, msg), TN_OK,
           "the last");
    is_int(tn_wg_seal_later(node->peer, sim.now, inner, 100, msg), TN_AGAIN,
           "none beyond");
    tn_wg_seal_finish(node->wg);
    is_int(tn_wg_seal_later(node->peer, sim.now, inner, 0, msg), TN_ERROR,
           "an empty one is no packet");

    sim_wait(&sim, 6000);
    is_int(node->staged, 1, "it goes with the next session");

    sim_done(&sim);
}


int
main(void)
{
    if (tn_crypto_init() != TN_OK) {
        return 1;
    }

    test_all();
    test_hostile();
    test_sessions();
    test_confirm();
    test_limits();

    return tap_done();
}
