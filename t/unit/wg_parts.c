
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The parts of a device by themselves: the replay window, the messages, the
 * handshake's cryptography, allowed IPs and the walk over peers.
 */

#include "wg_sim.h"


static sim_t  sim;


static void
test_replay(void)
{
    size_t          i;
    uint64_t        c, last;
    uint32_t        wrong;
    tn_wg_replay_t  replay;

    static uint8_t  taken[1 << 20];

    enum { W = TN_WG_REPLAY_WINDOW };

    /* each row: a counter, and whether it passes after those above */

    static const struct {
        uint64_t  counter;
        bool      pass;
    } rows[] = {
        { 0, true },
        { 1, true },
        { 1, false },
        { 9, true },
        { 8, true },
        { 7, true },
        { 7, false },
        { W, true },
        { W - 1, true },
        { W - 1, false },
        { 2, true },
        { 2, false },
        { W + 16, true },
        { 3, false },
        { 15, false },
        { 16, true },
        { W + 16, false },
        { 4 * W, true },
        { 4 * W - (W + 1), false },
        { 10, false },
        { 4 * W - W, true },
        { 4 * W - W, false },
        { 4 * W - (W - 1), true },
        { 3 * W + 2, true },
        { (uint64_t) 1 << 50, true },
        { ((uint64_t) 1 << 50) - 64, true },
        { 4 * W, false },
        { TN_WG_REJECT_AFTER_MESSAGES - 1, true },
        { TN_WG_REJECT_AFTER_MESSAGES - 1, false },
        { TN_WG_REJECT_AFTER_MESSAGES - 2, true }
    };

    is_int(W, 8128, "the window of upstream");

    memset(&replay, 0, sizeof(replay));

    for (i = 0; i < tn_nelems(rows); i++) {
        is_int(tn_wg_replay_fresh(&replay, rows[i].counter), rows[i].pass,
               "replay row");

        if (rows[i].pass) {
            tn_wg_replay_take(&replay, rows[i].counter);
        }
    }

    /* against a model that remembers everything */

    memset(&replay, 0, sizeof(replay));
    sim.rng = 99;
    last = 0;
    wrong = 0;

    for (i = 0; i < 300000; i++) {

        switch (sim_random(&sim, 8)) {

        case 0:
            c = last + sim_random(&sim, 200);
            break;

        case 1:
            c = last - tn_min(last, (uint64_t) sim_random(&sim, 9000));
            break;

        case 2:
            c = last + 1;
            break;

        case 3:
            c = i % 3000 == 0 ? last + sim_random(&sim, 20000) : last;
            break;

        default:
            c = last - tn_min(last, (uint64_t) sim_random(&sim, 100));
        }

        if (c >= sizeof(taken)) {
            memset(taken, 0, sizeof(taken));
            memset(&replay, 0, sizeof(replay));
            last = 0;
            continue;
        }

        if (tn_wg_replay_fresh(&replay, c) != (!taken[c] && c + W >= last)) {
            wrong++;
        }

        if (tn_wg_replay_fresh(&replay, c)) {
            tn_wg_replay_take(&replay, c);
            taken[c] = 1;
            last = tn_max(last, c);
        }
    }

    is_int(wrong, 0, "agrees with a model on 300000 counters");
}


static void
test_messages(void)
{
    size_t                 len, type;
    uint8_t                msg[200], again[200];
    uint32_t               good;
    tn_wgmsg_data_t        data;
    tn_wgmsg_cookie_t      cookie;
    tn_wgmsg_response_t    response;
    tn_wgmsg_initiation_t  initiation;

    static const size_t  lens[5] = { 0, 148, 92, 64, 0 };

    for (type = 0; type < 8; type++) {
        memset(msg, 0, sizeof(msg));
        msg[0] = (uint8_t) type;

        for (len = 0, good = 0; len <= sizeof(msg); len++) {
            if (tn_wgmsg_type(msg, len) == 0) {
                continue;
            }

            good += type == 4 ? len >= 32 : type < 4 && len == lens[type];
            good += 1000 * (tn_wgmsg_type(msg, len) != type);
        }

        is_int(good, type == 0 || type > 4 ? 0 : type == 4 ? 169 : 1,
               "lengths of a type");
    }

    memset(msg, 0, sizeof(msg));
    msg[0] = 1;
    msg[3] = 1;
    is_int(tn_wgmsg_type(msg, 148), 0, "reserved bytes must be zero");
    msg[0] = 4;
    ok(!tn_wgmsg_is_data(msg, 100), "in data too");
    msg[3] = 0;
    ok(tn_wgmsg_is_data(msg, 32), "an empty data message");
    ok(!tn_wgmsg_is_data(msg, 31), "one that is too short");

    tn_random(msg, sizeof(msg));
    memcpy(msg, "\x01\0\0\0", 4);
    memset(msg + 116, 0, 32);
    is_int(tn_wgmsg_read_initiation(&initiation, msg, 148), TN_OK,
           "initiation");
    tn_wgmsg_write_initiation(again, &initiation);
    is_mem(again, msg, 148, "written as read");
    is_int(initiation.sender, (long long) msg[4] | msg[5] << 8
           | msg[6] << 16 | (long long) msg[7] << 24, "index little-endian");
    is_mem(initiation.ephemeral.b, msg + 8, 32, "ephemeral at 8");
    is_int(tn_wgmsg_read_response(&response, msg, 148), TN_MALFORMED,
           "is no response");

    tn_random(msg, sizeof(msg));
    memcpy(msg, "\x02\0\0\0", 4);
    memset(msg + 60, 0, 32);
    is_int(tn_wgmsg_read_response(&response, msg, 92), TN_OK, "response");
    tn_wgmsg_write_response(again, &response);
    is_mem(again, msg, 92, "written as read");
    is_int(tn_wgmsg_read_cookie(&cookie, msg, 92), TN_MALFORMED,
           "is no cookie reply");

    memcpy(msg, "\x03\0\0\0", 4);
    is_int(tn_wgmsg_read_cookie(&cookie, msg, 64), TN_OK, "cookie reply");
    tn_wgmsg_write_cookie(again, &cookie);
    is_mem(again, msg, 64, "written as read");
    is_int(tn_wgmsg_read_initiation(&initiation, msg, 64), TN_MALFORMED,
           "is no initiation");

    data.receiver = 0x01020304;
    data.counter = 0x1112131415161718;
    tn_wgmsg_write_data(msg, &data);
    (void) unhex(again, "04000000 04030201 1817161514131211");
    is_mem(msg, again, 16, "data header is little-endian");
    memset(&data, 0, sizeof(data));
    tn_wgmsg_read_data(&data, msg);
    ok(data.receiver == 0x01020304 && data.counter == 0x1112131415161718,
       "and is read back");
}


static void
test_noise(void)
{
    uint8_t                shared[32], shared2[32], stamp[12], got[12];
    uint8_t                want[12];
    tn_key_t               who, low;
    tn_keypair_t           a, b, c;
    tn_wg_keys_t           ka, kb;
    tn_wg_noise_t          na, nb, before;
    tn_wgmsg_response_t    r;
    tn_wgmsg_initiation_t  m;

    tn_curve_keypair(&a);
    tn_curve_keypair(&b);
    tn_curve_keypair(&c);
    (void) tn_curve_dh(shared, &a.priv, &b.pub);

    tn_wg_noise_timestamp(stamp, 0);
    (void) unhex(want, "400000000000000a 00000000");
    is_mem(stamp, want, 12, "TAI64N of 1970");
    tn_wg_noise_timestamp(stamp, 1700000000123456789);
    (void) unhex(want, "400000006553f10a 075bcd15");
    is_mem(stamp, want, 12, "TAI64N of 2023");

    is_int(tn_wg_noise_initiate(&na, &m, &a, &b.pub, shared, stamp), TN_OK,
           "initiate");
    is_int(tn_wg_noise_who(&nb, &who, &m, &c), TN_MALFORMED,
           "a stranger cannot read it");
    is_int(tn_wg_noise_who(&nb, &who, &m, &b), TN_OK, "responder can");
    is_mem(who.b, a.pub.b, 32, "and knows who");

    before = nb;
    (void) tn_curve_dh(shared2, &c.priv, &b.pub);
    is_int(tn_wg_noise_prove(&nb, got, &m, shared2), TN_MALFORMED,
           "the proof needs the initiator's key");
    is_mem(&nb, &before, sizeof(nb), "a failed proof changes nothing");
    is_int(tn_wg_noise_prove(&nb, got, &m, shared), TN_OK, "with it, good");
    is_mem(got, stamp, 12, "and the timestamp is read");

    is_int(tn_wg_noise_respond(&nb, &r, &kb, &m.ephemeral, &who), TN_OK,
           "respond");
    is_int(tn_wg_noise_finish(&na, &ka, &r, &c), TN_MALFORMED,
           "nobody else can finish");
    r.empty[0] ^= 1;
    is_int(tn_wg_noise_finish(&na, &ka, &r, &a), TN_MALFORMED,
           "nor with a broken response");
    r.empty[0] ^= 1;
    is_int(tn_wg_noise_finish(&na, &ka, &r, &a), TN_OK, "finish");

    is_mem(ka.seal.b, kb.open.b, 32, "one key each way");
    is_mem(ka.open.b, kb.seal.b, 32, "and the other");
    ok(memcmp(ka.seal.b, ka.open.b, 32) != 0, "which differ");

    memset(&low, 0, sizeof(low));
    is_int(tn_wg_noise_initiate(&na, &m, &a, &low, shared, stamp),
           TN_MALFORMED, "no handshake with a low-order point");
    m.ephemeral = low;
    is_int(tn_wg_noise_who(&nb, &who, &m, &b), TN_MALFORMED,
           "nor from one");
}


static void
test_allowed(void)
{
    tn_ip_t        ip;
    tn_wg_t       *wg;
    tn_key_t       key;
    uint32_t       n;
    tn_prefix_t    p[3], q[2];
    tn_wg_peer_t  *a, *b, *peer;

    sim_init(&sim, 41);

    wg = sim.node[0].wg;
    a = sim.node[0].peer;
    tn_random(key.b, 32);
    is_int(tn_wg_peer_add(wg, &key, &sim, &b), TN_OK, "a second peer");
    ok(tn_wg_peer_find(wg, &key) == b && tn_wg_peer_data(b) == &sim
       && tn_key_equal(tn_wg_peer_key(b), &key), "is found by its key");
    key.b[0] ^= 1;
    ok(tn_wg_peer_find(wg, &key) == NULL, "no peer has another key");

    for (peer = tn_wg_peer_next(wg, NULL), n = 0; peer != NULL;
         peer = tn_wg_peer_next(wg, peer))
    {
        n += peer == a ? 1 : peer == b ? 10 : 100;
    }

    is_int(n, 11, "the walk sees each once");

    p[0] = sim_prefix("100.64.0.2/32");
    p[1] = sim_prefix("10.0.0.0/8");
    p[2] = sim_prefix("::/0");
    is_int(tn_wg_allow(wg, a, p, 3), TN_OK, "allow three");

#define route(text)                                                           \
    ((void) tn_ip_parse(&ip, text, strlen(text)), tn_wg_route(wg, &ip))

    ok(route("100.64.0.2") == a && route("10.9.8.7") == a
       && route("2001:db8::1") == a, "each leads to the peer");
    ok(route("100.64.0.3") == NULL, "others lead nowhere");

    q[0] = sim_prefix("10.1.0.0/16");
    is_int(tn_wg_allow(wg, b, q, 1), TN_OK, "a longer prefix elsewhere");
    ok(route("10.1.2.3") == b && route("10.2.2.3") == a, "wins");

    q[1] = sim_prefix("100.64.0.2/32");
    is_int(tn_wg_allow(wg, b, q, 2), TN_OK, "taking a prefix over");
    ok(route("100.64.0.2") == b, "moves it");
    tn_wg_disallow(wg, a, p, 3);
    ok(route("100.64.0.2") == b, "the former owner cannot give it up");
    ok(route("10.2.2.3") == NULL && route("2001:db8::1") == NULL,
       "what is its own is gone");
    tn_wg_disallow(wg, b, q, 2);
    ok(route("100.64.0.2") == NULL && route("10.1.2.3") == NULL,
       "and that of the other");

    sim_done(&sim);
}


static void
test_many_peers(void)
{
    int             i;
    uint8_t         buf[64] = { 4 };
    tn_key_t        key;
    tn_wg_peer_t   *peer;
    tn_wg_packet_t  packet;

    enum { N = 10000 };

    sim_init(&sim, 42);
    sim.loss[0] = 1000;

    for (i = 0; i < N; i++) {
        tn_random(key.b, 32);
        (void) tn_wg_peer_add(sim.node[0].wg, &key, NULL, &peer);
    }

    is_int(sim.node[0].wg->peers.count, N + 1, "10000 peers");
    is_int(sim.timers.count, 0, "and no timer");
    is_int(tn_wg_open(sim.node[0].wg, sim.now, buf, sizeof(buf), &packet),
           TN_MALFORMED, "nor a session");

    sim_done(&sim);
}


int
main(void)
{
    if (tn_crypto_init() != TN_OK) {
        return 1;
    }

    test_replay();
    test_messages();
    test_noise();
    test_allowed();
    test_many_peers();

    return tap_done();
}
