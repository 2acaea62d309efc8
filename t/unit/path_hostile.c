
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Messages that are forged, replayed, misplaced, cut, or too many: they
 * change no state, or cost a bounded part of it.
 */

#include "tap.h"

#include "path_world.h"


typedef struct {
    uint64_t           sum;
    size_t             pings;
    unsigned           sent;
} snapshot_t;


/* all that a message could have changed, but for the budget of its sender */
static snapshot_t
snapshot(const node_t *node, unsigned peer)
{
    size_t             i, n;
    snapshot_t         s;
    const uint8_t     *p;
    tn_path_member_t  *member;

    member = tn_path_member(node->peers[peer]);
    s.sum = 14695981039346656037u;
    s.pings = node->path->pings.count;
    s.sent = node->udp_sent;

    p = (const uint8_t *) member;

    for (i = 0; i < sizeof(tn_path_member_t); i++) {
        s.sum = (s.sum ^ p[i]) * 1099511628211u;
    }

    p = (const uint8_t *) member->candidates;
    n = member->ncandidates * sizeof(tn_path_candidate_t);

    for (i = 0; i < n; i++) {
        s.sum = (s.sum ^ p[i]) * 1099511628211u;
    }

    return s;
}


static bool
same(snapshot_t a, snapshot_t b)
{
    return a.sum == b.sum && a.pings == b.pings && a.sent == b.sent;
}


static tn_disco_msg_t
message(tn_disco_type_e type)
{
    tn_disco_msg_t  msg;

    memset(&msg, 0, sizeof(msg));
    msg.type = type;
    tn_random(msg.txid, TN_DISCO_TXID);

    return msg;
}


static tn_addr_t
source(unsigned n)
{
    char       text[TN_ADDR_TEXT];
    tn_addr_t  addr;

    snprintf(text, sizeof(text), "100.0.%u.%u:%u", n / 250 % 250, n % 250,
             1 + n % 60000);
    (void) tn_addr_parse(&addr, text, strlen(text));

    return addr;
}


static void
udp(node_t *node, const tn_addr_t *from, const packet_t *packet)
{
    (void) tn_path_udp(node->path, node->world->now, from, packet->bytes,
                       packet->len);
}


static void
derp(node_t *node, const tn_key_t *from, const packet_t *packet)
{
    uint8_t  frame[8192];

    tn_derp_head_write(frame, TN_DERP_RECV_PACKET,
                       (uint32_t) (TN_KEY_LEN + packet->len));
    memcpy(frame + TN_DERP_HEAD, from->b, TN_KEY_LEN);
    memcpy(frame + TN_DERP_HEAD + TN_KEY_LEN, packet->bytes, packet->len);

    tn_path_derp_bytes(node->path, node->world->now, tn_path_home(node->path),
                       frame, TN_DERP_HEAD + TN_KEY_LEN + packet->len);
}


/* one and two others that it talks with */
static void
add_three(world_t *world, node_t **a, node_t **b, node_t **c)
{
    *a = world_add(world, NAT_NONE);
    *b = world_add(world, NAT_NONE);
    *c = world_add(world, NAT_NONE);
    world_meet(world, *a, *b);
    world_know(*a, *c);
    world_know(*c, *a);
    world_talk(world, *a, *b, 2000, 100);
    world_talk(world, *c, *a, 2000, 100);
}


static void
check_forged(void)
{
    size_t           i;
    node_t          *a, *b, *c;
    world_t         *world;
    packet_t         packet, cut;
    snapshot_t       before;
    tn_addr_t        from;
    tn_keypair_t     stranger;
    tn_path_ping_t  *ping;
    tn_disco_msg_t   msg, pong;

    world = world_create(1, 1);
    add_three(world, &a, &b, &c);
    from = source(1);
    before = snapshot(a, 1);

    tn_curve_keypair(&stranger);
    msg = message(TN_DISCO_PING);
    packet = seal(&stranger, &a->disco.pub, &msg);
    udp(a, &from, &packet);
    ok(same(before, snapshot(a, 1)), "a ping of a stranger");

    packet = seal(&stranger, &a->disco.pub, &msg);
    memcpy(packet.bytes + TN_DISCO_MAGIC, b->disco.pub.b, TN_KEY_LEN);
    udp(a, &from, &packet);
    derp(a, &b->node.pub, &packet);
    ok(same(before, snapshot(a, 1)), "a stranger with a peer's name");

    packet = seal(&b->disco, &c->disco.pub, &msg);
    udp(a, &from, &packet);
    ok(same(before, snapshot(a, 1)), "a ping for somebody else");

    packet = seal(&b->disco, &a->disco.pub, &msg);

    for (i = 0; i < packet.len; i++) {
        cut = packet;
        cut.len = i;
        udp(a, &from, &cut);
    }

    ok(same(before, snapshot(a, 1)), "a ping that is cut");

    for (i = 0; i < packet.len; i++) {
        cut = packet;
        cut.bytes[i] ^= 1 << i % 8;
        udp(a, &from, &cut);
    }

    ok(same(before, snapshot(a, 1)), "a ping with a bit changed");

    for (i = 0; i < 1000; i++) {
        udp(a, &from, &cut);
    }

    msg = message(TN_DISCO_PING);
    packet = seal(&b->disco, &a->disco.pub, &msg);
    udp(a, &b->addr, &packet);
    is_int(a->udp_sent, before.sent + 1,
           "which do not keep a real one from its answer");
    world_run(world, 10000);

    /* calls that came another way than by DERP from that very node */

    world_talk(world, a, b, 1000, 100);
    before = snapshot(a, 1);
    msg = message(TN_DISCO_CALL_ME_MAYBE);
    msg.addrs.n = 1;
    msg.addrs.addr[0] = source(2);
    packet = seal(&b->disco, &a->disco.pub, &msg);
    udp(a, &b->addr, &packet);
    ok(same(before, snapshot(a, 1)), "CallMeMaybe over UDP");
    derp(a, &c->node.pub, &packet);
    ok(same(before, snapshot(a, 1)), "CallMeMaybe from another node by DERP");
    derp(a, &stranger.pub, &packet);
    ok(same(before, snapshot(a, 1)), "CallMeMaybe from a stranger by DERP");

    /* pongs */

    pong = message(TN_DISCO_PONG);
    packet = seal(&b->disco, &a->disco.pub, &pong);
    udp(a, &b->addr, &packet);
    ok(same(before, snapshot(a, 1)), "a pong for no ping");

    b->cut = true;
    tn_path_peer_reset(tn_path_member(a->peers[1]), world->now,
                       TN_PATH_WHY_NETWORK);
    world_send(a, 1, 'Q');
    ok(!tn_list_empty(&a->path->pings_fifo), "a ping is out");
    ping = tn_container(a->path->pings_fifo.prev, tn_path_ping_t, fifo);
    memcpy(pong.txid, ping->txid, TN_DISCO_TXID);
    before = snapshot(a, 1);
    packet = seal(&c->disco, &a->disco.pub, &pong);
    udp(a, &b->addr, &packet);
    ok(same(before, snapshot(a, 1)), "its pong from another peer");
    packet = seal(&b->disco, &a->disco.pub, &pong);
    derp(a, &b->node.pub, &packet);
    is_int(a->peers[1]->best.port, 0, "its pong by DERP proves no address");
    udp(a, &b->addr, &packet);
    is_int(a->peers[1]->best.port, WORLD_PORT, "its pong proves one");
    before = snapshot(a, 1);
    udp(a, &b->addr, &packet);
    ok(same(before, snapshot(a, 1)), "but only once");

    /* relays that nobody asked for */

    msg = message(TN_DISCO_ALLOCATE_RESPONSE);
    msg.addrs.n = 1;
    packet = seal(&b->disco, &a->disco.pub, &msg);
    derp(a, &b->node.pub, &packet);
    msg = message(TN_DISCO_BIND_CHALLENGE);
    packet = seal(&b->disco, &a->disco.pub, &msg);
    udp(a, &b->addr, &packet);
    ok(same(before, snapshot(a, 1)), "relay messages");

    world_free(world);
}


static void
check_replay(void)
{
    node_t          *a, *b;
    world_t         *world;
    packet_t         packet;
    snapshot_t       before;
    unsigned         i;
    tn_disco_msg_t   msg;

    world = world_pair(2, 1, NAT_NONE, NAT_NONE, &a, &b);
    world_talk(world, a, b, 1000, 100);

    msg = message(TN_DISCO_PING);
    msg.key = b->node.pub;
    packet = seal(&b->disco, &a->disco.pub, &msg);
    udp(a, &b->addr, &packet);
    before = snapshot(a, 1);

    for (i = 0; i < 100; i++) {
        udp(a, &b->addr, &packet);
    }

    ok(same(before, snapshot(a, 1)),
       "a ping that comes again is not answered again");

    world_free(world);
}


static void
check_floods(void)
{
    node_t               *a, *b;
    world_t              *world;
    packet_t              packet;
    unsigned              i, k, sent;
    tn_addr_t             from, many[2000];
    tn_disco_msg_t        msg;
    tn_path_member_t     *peer;
    tn_path_peer_conf_t   conf;

    world = world_pair(3, 1, NAT_NONE, NAT_NONE, &a, &b);
    world_talk(world, a, b, 1000, 100);
    b->cut = true;
    peer = tn_path_member(a->peers[1]);

    sent = a->udp_sent;

    for (i = 0; i < 10000; i++) {
        msg = message(TN_DISCO_PING);
        packet = seal(&b->disco, &a->disco.pub, &msg);
        from = source(i);
        udp(a, &from, &packet);
    }

    ok(peer->ncandidates <= TN_PATH_SOURCES_MAX + 8,
       "10000 sources of pings are %u candidates", peer->ncandidates);
    ok(a->udp_sent - sent <= 2 * TN_PATH_DISCO_BURST,
       "and %u answers", a->udp_sent - sent);

    world_run(world, 60000);
    world_talk(world, a, b, 100, 100);
    ok(peer->ncandidates <= 8, "which are forgotten: %u are left",
       peer->ncandidates);

    /* calls with new addresses each */

    world_run(world, 10000);
    sent = a->udp_sent;

    for (i = 0; i < 1000; i++) {
        msg = message(TN_DISCO_CALL_ME_MAYBE);
        msg.addrs.n = TN_DISCO_ADDRS_MAX;

        for (k = 0; k < msg.addrs.n; k++) {
            msg.addrs.addr[k] = source(i * TN_DISCO_ADDRS_MAX + k);
        }

        packet = seal(&b->disco, &a->disco.pub, &msg);
        derp(a, &b->node.pub, &packet);
    }

    ok(peer->ncandidates <= TN_DISCO_ADDRS_MAX + 16,
       "1000 calls of 64 addresses are %u candidates", peer->ncandidates);
    ok(a->udp_sent - sent <= 3000, "and %u pings", a->udp_sent - sent);
    ok(a->path->pings.count <= TN_PATH_PINGS_MAX, "%zu of which wait",
       a->path->pings.count);
    world_run(world, 6000);
    ok(a->path->pings.count <= 2, "and for 5 s at most");

    /* nonsense as addresses */

    world_run(world, 60000);
    msg = message(TN_DISCO_CALL_ME_MAYBE);
    msg.addrs.n = 4;
    msg.addrs.addr[0].ip = ip("224.0.0.1");
    msg.addrs.addr[0].port = 5;
    msg.addrs.addr[1].ip = ip("fe80::1");
    msg.addrs.addr[1].port = 5;
    msg.addrs.addr[2].ip = ip("192.0.2.1");
    msg.addrs.addr[3].ip = ip("100.64.0.1");
    msg.addrs.addr[3].port = 5;
    packet = seal(&b->disco, &a->disco.pub, &msg);
    derp(a, &b->node.pub, &packet);
    is_int(peer->ncandidates, 1, "multicast, link-local, port 0, tailnet");

    /* a netmap with thousands */

    for (i = 0; i < 2000; i++) {
        many[i] = source(i);
    }

    conf = world_conf(b);
    conf.endpoints = many;
    conf.nendpoints = 2000;

    for (i = 0; i < 50; i++) {
        conf.endpoints = many + i;
        conf.nendpoints = 2000 - i;
        (void) tn_path_peer_update(&peer->pub, world->now, &conf);
    }

    is_int(peer->ncandidates, TN_PATH_ENDPOINTS_MAX,
           "2000 endpoints of the netmap");

    world_free(world);
}


static void
check_noise(void)
{
    node_t    *a, *b;
    world_t   *world;
    uint8_t    noise[2048];
    unsigned   i, len;
    bool       taken;

    world = world_pair(4, 1, NAT_NONE, NAT_NONE, &a, &b);
    taken = false;

    for (i = 0; i < 20000; i++) {
        len = world_random(world, sizeof(noise));
        tn_random(noise, sizeof(noise));

        if (i % 4 == 1) {
            memcpy(noise, "TS\xf0\x9f\x92\xac", 6);
            memcpy(noise + 6, b->disco.pub.b, TN_KEY_LEN);

        } else if (i % 4 == 2) {
            memcpy(noise, "\1\1\0\14\x21\x12\xa4\x42", 8);

        } else if (i % 4 == 3) {
            noise[0] = 4;
            memset(noise + 1, 0, 3);
            taken = taken || tn_path_udp(a->path, world->now, &b->addr, noise,
                                         len);
            continue;
        }

        (void) tn_path_udp(a->path, world->now, &b->addr, noise, len);

        if (i % 100 == 0 && a->conns[1].open) {
            tn_path_derp_bytes(a->path, world->now, 1, noise, len);
            world_run(world, 1000);
        }
    }

    ok(!taken, "what looks like WireGuard is WireGuard's");
    world_run(world, 30000);
    world_talk(world, a, b, 5000, 100);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT,
           "noise stops nothing");

    world_free(world);
}


static unsigned  allocated;


static tn_rc_t
allocate(void *data, tn_ms_t now, const tn_key_t *asker,
    const tn_key_t client[2], tn_disco_relay_t *relay)
{
    (void) data;
    (void) now;

    allocated++;
    relay->client[0] = client[0];
    relay->client[1] = client[1];
    relay->server = *asker;
    relay->vni = 1;

    return TN_OK;
}


/* who may ask for a place on our own relay, and how */
static void
check_allocate(void)
{
    unsigned         i;
    node_t          *a, *b, *c;
    world_t         *world;
    packet_t         packet;
    tn_disco_msg_t   msg;

    world = world_create(5, 1);
    world->ops.relay_allocate = allocate;
    add_three(world, &a, &b, &c);

    msg = message(TN_DISCO_ALLOCATE_REQUEST);
    msg.client[0] = b->disco.pub;
    msg.client[1] = c->disco.pub;
    packet = seal(&b->disco, &a->disco.pub, &msg);
    allocated = 0;

    derp(a, &b->node.pub, &packet);
    is_int(allocated, 0, "a place for a peer that is not granted any");

    tn_path_peer_set_relay(a->peers[1], true, false);
    tn_path_set_relay_ports(a->path, world->now, WORLD_RELAY, 0);
    udp(a, &b->addr, &packet);
    is_int(allocated, 0, "asked for over UDP");
    derp(a, &c->node.pub, &packet);
    is_int(allocated, 0, "from another node by DERP");
    derp(a, &b->node.pub, &packet);
    is_int(allocated, 1, "a place for a peer that may");

    world_run(world, 10000);
    allocated = 0;

    for (i = 0; i < 1000; i++) {
        derp(a, &b->node.pub, &packet);
    }

    ok(allocated > 0 && allocated <= 20, "a flood is limited");

    world_free(world);
}


int
main(void)
{
    (void) tn_crypto_init();

    check_forged();
    check_allocate();
    check_replay();
    check_floods();
    check_noise();

    return tap_done();
}
