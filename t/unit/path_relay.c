
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The client of peer relays, on a virtual clock: two nodes that no UDP joins
 * meet on the relay of a third, or of one of them; they leave it for a direct
 * path, and for DERP when it dies.  What is forged, cut, repeated or not
 * asked for changes nothing, and what a peer offers is bounded.
 */

#include "tap.h"

#include "path_world.h"


typedef struct {
    uint64_t  sum;
    uint32_t  places;
    unsigned  sent;
} state_t;

/* three nodes, the third with a relay, the first two without UDP between */
static world_t  *world;
static node_t   *ann, *bob, *server;


static void
set_up(uint32_t seed, nat_e one, nat_e other)
{
    world = world_create(seed, 2);
    ann = world_add(world, one);
    bob = world_add(world, other);
    server = world_add(world, NAT_NONE);
    world->apart = true;

    world_meet(world, ann, bob);
    world_know(ann, server);
    world_know(server, ann);
    world_know(bob, server);
    world_know(server, bob);
}


static tn_path_kind_e
kind(const node_t *node, const node_t *peer)
{
    return tn_path_kind(node->peers[peer->id], world->now);
}


/* until the way is of this kind; how long that took, or `ms` */
static tn_ms_t
talk_until(node_t *from, node_t *to, tn_path_kind_e want, tn_ms_t ms)
{
    tn_ms_t  begin;

    begin = world->now;

    while (kind(from, to) != want && world->now - begin < ms) {
        world_talk(world, from, to, 100, 100);
    }

    return world->now - begin;
}


static void
check_way(void)
{
    tn_ms_t           took;
    char              text[TN_PATH_TEXT];
    tn_path_peer_t   *peer;
    tn_path_change_t  changes[TN_PATH_HISTORY];
    size_t            n;

    set_up(1, NAT_EASY, NAT_HARD);
    world_talk(world, ann, bob, 40000, 500);
    is_int(kind(ann, bob), TN_PATH_DERP, "without a relay: DERP");
    is_int(server->relay_got, 0, "nobody asks a peer that is none");

    world_serve(ann, server);
    took = talk_until(ann, bob, TN_PATH_RELAY, 5000);
    ok(took <= 3500, "on a relay in %llu ms", (unsigned long long) took);

    world_talk(world, ann, bob, 20000, 100);
    is_int(kind(bob, ann), TN_PATH_RELAY, "the other side is, too");
    ok(ann->got_relay >= 195 && ann->got_udp == 0, "payload goes through it");
    ok(ann->got_derp <= 5, "and not over DERP, but for %u", ann->got_derp);
    ok(ann->worst_gap <= 200, "without a gap");

    peer = ann->peers[bob->id];
    ok(peer->vni != 0
       && tn_ip_equal(&peer->best.ip, &server->public_ip)
       && peer->best.port == WORLD_RELAY, "at the relay's address");
    (void) tn_path_text(&peer->best, peer->vni, text);
    ok(strcmp(text, "203.0.113.3:7777:vni:1") == 0, "written %s", text);
    ok(tn_path_latency(peer) >= 19 && tn_path_latency(peer) <= 45,
       "in %.0f ms there and back", tn_path_latency(peer));
    is_int(ann->path->nplaces + bob->path->nplaces, 0, "no place is sought");

    n = tn_path_history(peer, changes);
    ok(n != 0 && changes[n - 1].kind == TN_PATH_RELAY
       && changes[n - 1].vni == peer->vni, "it is history");

    /* 6 minutes: the same place, asked for again and again */

    world_talk(world, ann, bob, 360000, 500);
    is_int(ann->got_relay, 720, "for 6 minutes all goes there");
    is_int(tn_relay_server_sessions(server->server), 1, "by one place");

    /* a direct path is better */

    ann->nat = NAT_NONE;
    ann->addr.ip = ann->public_ip;
    world_local(ann);
    world->apart = false;
    world_talk(world, ann, bob, 1000, 100);
    world_know(bob, ann);
    took = talk_until(ann, bob, TN_PATH_DIRECT, 30000);
    ok(took <= 10000, "direct in %llu ms, once it can be",
       (unsigned long long) took);
    world_talk(world, ann, bob, 10000, 100);
    is_int(ann->peers[bob->id]->vni, 0, "no relay's number is left");
    ok(ann->got_udp >= 95, "and payload goes there");

    /* and when it is lost the relay is there again */

    world->apart = true;
    took = talk_until(ann, bob, TN_PATH_DERP, 30000);
    took = talk_until(ann, bob, TN_PATH_RELAY, 30000);
    ok(took <= 6000, "on the relay again %llu ms later",
       (unsigned long long) took);

    world_free(world);
}


static void
check_death(void)
{
    tn_ms_t  took;

    set_up(2, NAT_HARD, NAT_HARD);
    world_serve(ann, server);
    world_serve(bob, server);
    (void) talk_until(ann, bob, TN_PATH_RELAY, 5000);
    world_talk(world, ann, bob, 10000, 100);
    is_int(kind(ann, bob), TN_PATH_RELAY, "both may use it");

    server->relay_dead = true;
    took = talk_until(ann, bob, TN_PATH_DERP, 30000);
    ok(took <= 7000, "the relay is dead: DERP after %llu ms",
       (unsigned long long) took);
    world_talk(world, ann, bob, 60000, 100);
    is_int(kind(ann, bob), TN_PATH_DERP, "for as long as it is");
    ok(ann->got_derp >= 590 && ann->worst_gap < 300, "nothing is lost there");

    /* another process: it knows of no place */

    tn_relay_server_destroy(server->server);
    server->server = NULL;
    world_serve(ann, server);
    server->relay_dead = false;
    took = talk_until(ann, bob, TN_PATH_RELAY, 60000);
    ok(took <= 31000, "it is back: used after %llu ms",
       (unsigned long long) took);

    /* a place does not survive another address of ours */

    tn_path_network_changed(ann->path, world->now);
    is_int(ann->peers[bob->id]->vni, 0, "another network: forgotten");
    took = talk_until(ann, bob, TN_PATH_RELAY, 10000);
    ok(took <= 1000, "and found at once, in %llu ms",
       (unsigned long long) took);

    world_free(world);
}


static void
check_own(void)
{
    set_up(3, NAT_NONE, NAT_HARD);
    world_serve(ann, ann);
    (void) talk_until(ann, bob, TN_PATH_RELAY, 5000);
    world_talk(world, ann, bob, 5000, 100);
    is_int(kind(ann, bob), TN_PATH_RELAY, "our own relay for ourselves");
    is_int(kind(bob, ann), TN_PATH_RELAY, "the peer comes there");
    ok(ann->relay_got > 50, "what we send passes it, %u datagrams",
       ann->relay_got);
    world_free(world);
}


/* a direct path that has become slow is left for a relay that is not */
static void
check_slow(void)
{
    unsigned  round;
    tn_ms_t   took;

    for (round = 0; round < 2; round++) {
        set_up(7 + round, NAT_NONE, NAT_NONE);
        world->apart = false;
        world_serve(ann, server);
        server->latency = round == 0 ? 5 : 200;
        world->regions[1].latency = 300;
        world->regions[2].latency = 300;
        world_talk(world, ann, bob, 40000, 100);
        is_int(kind(ann, bob), TN_PATH_DIRECT, "direct");

        bob->slow = 60;

        if (round == 0) {
            took = talk_until(ann, bob, TN_PATH_RELAY, 60000);
            ok(took <= 40000, "six times slower: on the relay after %llu ms",
               (unsigned long long) took);
            world_talk(world, ann, bob, 30000, 100);
            is_int(kind(ann, bob), TN_PATH_RELAY, "where it stays");

            bob->slow = 0;
            took = talk_until(ann, bob, TN_PATH_DIRECT, 90000);
            ok(took <= 60000, "as before: direct after %llu ms",
               (unsigned long long) took);

        } else {
            world_talk(world, ann, bob, 60000, 100);
            ok(kind(ann, bob) == TN_PATH_DIRECT
               && ann->path->counters.demoted != 0,
               "a relay that is slower still is not taken");
            ok(ann->got_relay <= 20, "but by %u packets", ann->got_relay);
        }

        world_free(world);
    }
}


/* the relay's own socket tells where it is seen, not the node's */
static void
check_behind(void)
{
    node_t            *peer;
    tn_disco_addrs_t   addrs;

    set_up(6, NAT_EASY, NAT_HARD);
    peer = world_add(world, NAT_FULL_CONE);
    peer->relay_port = 9999;
    world_run(world, 5000);
    world_know(ann, peer);
    world_know(peer, ann);
    world_serve(ann, peer);
    world_run(world, 1000);

    memset(&addrs, 0, sizeof(addrs));
    tn_path_own_addrs(peer->path, &addrs);
    ok(addrs.n == 2 && tn_ip_equal(&addrs.addr[0].ip, &peer->addr.ip)
       && addrs.addr[0].port == WORLD_RELAY
       && tn_ip_equal(&addrs.addr[1].ip, &peer->public_ip)
       && addrs.addr[1].port == 9999, "a relay behind a NAT: its address "
       "there, and where STUN servers see its socket");

    (void) talk_until(ann, bob, TN_PATH_RELAY, 10000);
    is_int(kind(ann, bob), TN_PATH_RELAY, "it is reached");
    is_int(ann->peers[bob->id]->best.port, 9999, "there");

    peer->relay_port = 8888;
    world_run(world, 30000);
    memset(&addrs, 0, sizeof(addrs));
    tn_path_own_addrs(peer->path, &addrs);
    ok(addrs.n == 2 && addrs.addr[1].port == 8888,
       "the NAT gives another port: known within 30 s");

    tn_path_set_relay_ports(peer->path, world->now, 0, 0);
    memset(&addrs, 0, sizeof(addrs));
    tn_path_own_addrs(peer->path, &addrs);
    is_int(addrs.n, 0, "without sockets it is nowhere");

    world_free(world);
}


static void
check_loss(void)
{
    unsigned  seed, n;
    tn_ms_t   took, worst;

    worst = 0;

    for (seed = 100, n = 0; seed < 120; seed++) {
        set_up(seed, NAT_EASY, NAT_EASY);
        world->loss = 20;
        world_serve(ann, server);
        took = talk_until(ann, bob, TN_PATH_RELAY, 20000);
        n += took < 20000;
        worst = tn_max(worst, took);
        world_free(world);
    }

    ok(n >= 18, "a fifth is lost: found in 20 s in %u of 20, the longest %llu "
       "ms", n, (unsigned long long) worst);
}


static void
check_who(void)
{
    unsigned             asked;
    tn_path_knobs_t      knobs;
    tn_path_peer_conf_t  conf;

    set_up(4, NAT_EASY, NAT_EASY);
    conf = world_conf(bob);
    conf.relay_capable = false;
    (void) tn_path_peer_update(ann->peers[bob->id], world->now, &conf);
    world_serve(ann, server);
    world_talk(world, ann, bob, 10000, 100);
    is_int((long long) tn_path_counters(ann->path)->relay_asked, 0,
           "not for a peer that is too old");

    world_know(ann, bob);
    conf = world_conf(server);
    conf.relay_capable = false;
    (void) tn_path_peer_update(ann->peers[server->id], world->now, &conf);
    world_talk(world, ann, bob, 40000, 100);
    is_int((long long) tn_path_counters(ann->path)->relay_asked, 0,
           "nor of a server that is");

    world_know(ann, server);
    memset(&knobs, 0, sizeof(knobs));
    knobs.no_relay = true;
    tn_path_set_knobs(ann->path, world->now, &knobs);
    world_talk(world, ann, bob, 40000, 100);
    is_int((long long) tn_path_counters(ann->path)->relay_asked, 0,
           "nor when control forbids it");

    world_serve(bob, server);
    world_talk(world, bob, ann, 10000, 100);
    is_int(ann->path->nplaces, 0, "and the other's call is not heard");
    ok(kind(bob, ann) == TN_PATH_DERP, "so that it is DERP");

    memset(&knobs, 0, sizeof(knobs));
    tn_path_set_knobs(ann->path, world->now, &knobs);
    (void) talk_until(ann, bob, TN_PATH_RELAY, 40000);
    is_int(kind(ann, bob), TN_PATH_RELAY, "until it may");

    knobs.no_relay = true;
    tn_path_set_knobs(ann->path, world->now, &knobs);
    is_int(kind(ann, bob), TN_PATH_DERP, "forbidden: it ends at once");
    memset(&knobs, 0, sizeof(knobs));
    tn_path_set_knobs(ann->path, world->now, &knobs);

    /* a silent server: asked twice, and not for 30 s */

    server->relay_dead = true;
    asked = (unsigned) tn_path_counters(ann->path)->relay_asked;
    tn_path_network_changed(ann->path, world->now);
    world_talk(world, ann, bob, 25000, 100);
    is_int((long long) tn_path_counters(ann->path)->relay_asked - asked, 2,
           "asked twice of one that is silent");
    is_int(ann->path->nplaces, 0, "and given up");
    world_talk(world, ann, bob, 10000, 100);
    is_int((long long) tn_path_counters(ann->path)->relay_asked - asked, 4,
           "and again after 30 s");

    /* it goes while it is asked */

    is_int(ann->path->nplaces, 1, "asked");
    tn_path_peer_remove(ann->peers[server->id]);
    is_int(ann->path->nplaces, 0, "a server that goes is asked no more");

    conf = world_conf(bob);
    conf.expired = true;
    server->relay_dead = false;
    (void) tn_path_peer_update(ann->peers[bob->id], world->now, &conf);
    world_talk(world, bob, ann, 40000, 100);
    is_int(kind(ann, bob), TN_PATH_NONE, "an expired peer gets no place");
    is_int(ann->path->nplaces, 0, "nor one of its own offers");

    world_free(world);
}


/* --- what is hostile */

static state_t
state(const node_t *node, const node_t *peer)
{
    size_t             i;
    state_t            s;
    tn_link_t         *link;
    const uint8_t     *p;
    tn_path_member_t  *member;

    member = tn_path_member(node->peers[peer->id]);
    s.sum = 14695981039346656037u;
    s.places = node->path->nplaces;
    s.sent = node->udp_sent;
    p = (const uint8_t *) member;

    for (i = 0; i < sizeof(tn_path_member_t); i++) {
        s.sum = (s.sum ^ p[i]) * 1099511628211u;
    }

    tn_list_each(link, &node->path->places) {
        p = (const uint8_t *) tn_container(link, tn_path_place_t, link);

        for (i = 0; i < sizeof(tn_path_place_t); i++) {
            s.sum = (s.sum ^ p[i]) * 1099511628211u;
        }
    }

    return s;
}


static bool
same(state_t a, state_t b)
{
    return a.sum == b.sum && a.places == b.places && a.sent == b.sent;
}


static packet_t
wrap(const packet_t *inside, uint32_t vni, bool control)
{
    packet_t     packet;
    tn_writer_t  w;
    tn_geneve_t  geneve;

    geneve.protocol = TN_GENEVE_DISCO;
    geneve.vni = vni;
    geneve.control = control;

    w = tn_writer(packet.bytes, sizeof(packet.bytes));
    tn_geneve_write(&w, &geneve);
    tn_write_bytes(&w, inside->bytes, inside->len);
    packet.len = tn_writer_len(&w);

    return packet;
}


static void
udp(node_t *node, const tn_addr_t *from, const packet_t *packet)
{
    (void) tn_path_udp(node->path, world->now, from, packet->bytes,
                       packet->len);
}


static void
derp(node_t *node, const tn_key_t *from, const packet_t *packet)
{
    uint8_t  frame[4096];

    tn_derp_head_write(frame, TN_DERP_RECV_PACKET,
                       (uint32_t) (TN_KEY_LEN + packet->len));
    memcpy(frame + TN_DERP_HEAD, from->b, TN_KEY_LEN);
    memcpy(frame + TN_DERP_HEAD + TN_KEY_LEN, packet->bytes, packet->len);

    tn_path_derp_bytes(node->path, world->now, tn_path_home(node->path),
                       frame, TN_DERP_HEAD + TN_KEY_LEN + packet->len);
}


/* each prefix of it, and each of its bits turned in one byte at a time */
static void
maim(node_t *node, const tn_addr_t *from, const tn_key_t *key,
    const packet_t *packet)
{
    size_t    i;
    packet_t  cut;

    for (i = 0; i < 2 * packet->len; i++) {
        cut = *packet;

        if (i < packet->len) {
            cut.len = i;

        } else {
            cut.bytes[i - packet->len] ^= (uint8_t) (1 << i % 8);
        }

        if (key != NULL) {

            /* what does not look like disco is WireGuard's */

            if (tn_disco_sender(cut.bytes, cut.len) != NULL) {
                derp(node, key, &cut);
            }

        } else {
            udp(node, from, &cut);
        }
    }
}


static tn_disco_msg_t
offer(tn_disco_type_e type, const tn_key_t *relay, uint32_t vni,
    const tn_addr_t *addr)
{
    tn_disco_msg_t  msg;

    memset(&msg, 0, sizeof(msg));
    msg.type = type;
    msg.relay.server = *relay;
    msg.relay.client[0] = ann->disco.pub;
    msg.relay.client[1] = bob->disco.pub;
    msg.relay.lamport = 1;
    msg.relay.vni = vni;
    msg.relay.bind_lifetime_ns = 30000000000u;
    msg.relay.steady_lifetime_ns = 300000000000u;
    msg.addrs.addr[0] = *addr;
    msg.addrs.n = 1;

    return msg;
}


static void
check_hostile(void)
{
    unsigned          i, sent;
    state_t           before;
    packet_t          packet, real;
    uint32_t          generation;
    tn_addr_t         at, elsewhere;
    tn_keypair_t      relay, other, eve;
    tn_disco_msg_t    msg;
    tn_path_place_t  *place;

    /* nobody has a relay but who this function plays */

    set_up(5, NAT_NONE, NAT_NONE);
    tn_curve_keypair(&relay);
    tn_curve_keypair(&other);
    tn_curve_keypair(&eve);
    world_talk(world, ann, bob, 3000, 100);

    at.ip = ip("203.0.113.77");
    at.port = WORLD_RELAY;
    elsewhere.ip = ip("203.0.113.78");
    elsewhere.port = 1;
    before = state(ann, bob);

    msg = offer(TN_DISCO_CALL_ME_MAYBE_VIA, &relay.pub, 7, &at);
    real = seal(&bob->disco, &ann->disco.pub, &msg);
    udp(ann, &at, &real);
    packet = wrap(&real, 7, false);
    udp(ann, &at, &packet);
    derp(ann, &server->node.pub, &real);
    derp(ann, &eve.pub, &real);
    ok(same(before, state(ann, bob)), "an offer over UDP, through a relay, "
       "from another node");

    packet = seal(&eve, &ann->disco.pub, &msg);
    memcpy(packet.bytes + TN_DISCO_MAGIC, bob->disco.pub.b, TN_KEY_LEN);
    derp(ann, &bob->node.pub, &packet);
    maim(ann, NULL, &bob->node.pub, &real);
    ok(same(before, state(ann, bob)), "one that is forged, cut, changed");

    msg.relay.client[1] = server->disco.pub;
    packet = seal(&bob->disco, &ann->disco.pub, &msg);
    derp(ann, &bob->node.pub, &packet);
    msg.relay.client[0] = bob->disco.pub;
    packet = seal(&bob->disco, &ann->disco.pub, &msg);
    derp(ann, &bob->node.pub, &packet);
    ok(same(before, state(ann, bob)), "a place for others");

    msg = offer(TN_DISCO_ALLOCATE_RESPONSE, &relay.pub, 7, &at);

    for (i = 0; i < 100; i++) {
        msg.generation = i;
        packet = seal(&bob->disco, &ann->disco.pub, &msg);
        derp(ann, &bob->node.pub, &packet);
    }

    ok(same(before, state(ann, bob)), "a place that was not asked for");
    world_run(world, 10000);
    world_talk(world, ann, bob, 100, 100);

    derp(ann, &bob->node.pub, &real);
    is_int(ann->path->nplaces, 1, "the real offer is taken");
    place = tn_container(ann->path->places.next, tn_path_place_t, link);
    generation = place->generation;
    before = state(ann, bob);
    derp(ann, &bob->node.pub, &real);
    ok(same(before, state(ann, bob)), "but not twice");

    /* the relay's challenge */

    memset(&msg, 0, sizeof(msg));
    msg.type = TN_DISCO_BIND_CHALLENGE;
    msg.vni = 7;
    msg.generation = generation;
    msg.key = bob->disco.pub;
    real = seal(&relay, &ann->disco.pub, &msg);

    udp(ann, &at, &real);
    packet = wrap(&real, 7, false);
    udp(ann, &at, &packet);
    packet = wrap(&real, 8, true);
    udp(ann, &at, &packet);
    derp(ann, &bob->node.pub, &real);
    ok(same(before, state(ann, bob)), "a challenge that is bare, not the "
       "relay's, of another place, by DERP");

    packet = seal(&other, &ann->disco.pub, &msg);
    memcpy(packet.bytes + TN_DISCO_MAGIC, relay.pub.b, TN_KEY_LEN);
    packet = wrap(&packet, 7, true);
    udp(ann, &at, &packet);
    packet = seal(&bob->disco, &ann->disco.pub, &msg);
    packet = wrap(&packet, 7, true);
    udp(ann, &at, &packet);
    real = wrap(&real, 7, true);
    maim(ann, &at, NULL, &real);
    ok(same(before, state(ann, bob)), "one that is forged, cut, changed");

    msg.generation = generation - 1;
    packet = seal(&relay, &ann->disco.pub, &msg);
    packet = wrap(&packet, 7, true);
    udp(ann, &at, &packet);
    msg.generation = generation;
    msg.key = server->disco.pub;
    packet = seal(&relay, &ann->disco.pub, &msg);
    packet = wrap(&packet, 7, true);
    udp(ann, &at, &packet);
    ok(same(before, state(ann, bob)), "one for a former try, for another peer");

    udp(ann, &at, &real);
    is_int(ann->udp_sent - before.sent, 2, "the real one: Answer and ping");
    before = state(ann, bob);
    udp(ann, &at, &real);
    udp(ann, &elsewhere, &real);
    ok(same(before, state(ann, bob)), "but not twice, nor from elsewhere");

    /* the pong */

    memset(&msg, 0, sizeof(msg));
    msg.type = TN_DISCO_PONG;
    msg.src = at;
    tn_random(msg.txid, TN_DISCO_TXID);
    packet = seal(&bob->disco, &ann->disco.pub, &msg);
    packet = wrap(&packet, 7, false);
    udp(ann, &at, &packet);
    memcpy(msg.txid, place->txids[0], TN_DISCO_TXID);
    packet = seal(&server->disco, &ann->disco.pub, &msg);
    packet = wrap(&packet, 7, false);
    udp(ann, &at, &packet);
    real = seal(&bob->disco, &ann->disco.pub, &msg);
    udp(ann, &at, &real);
    derp(ann, &bob->node.pub, &real);
    packet = wrap(&real, 7, true);
    udp(ann, &at, &packet);
    packet = wrap(&real, 8, false);
    udp(ann, &at, &packet);
    real = wrap(&real, 7, false);
    udp(ann, &elsewhere, &real);
    maim(ann, &at, NULL, &real);
    ok(same(before, state(ann, bob)), "pongs for no ping, of another peer, "
       "bare, by DERP, of another place, from elsewhere, cut, changed");

    udp(ann, &at, &real);
    is_int(kind(ann, bob), TN_PATH_RELAY, "the real one: on the relay");
    is_int(ann->path->nplaces, 0, "and nothing is sought");
    before = state(ann, bob);
    udp(ann, &at, &real);
    ok(same(before, state(ann, bob)), "but only once");

    /* a peer that offers and offers */

    world_run(world, 20000);
    sent = ann->udp_sent;

    for (i = 0; i < 2000; i++) {
        tn_curve_keypair(&other);
        msg = offer(TN_DISCO_CALL_ME_MAYBE_VIA, &other.pub, 1 + i, &at);

        while (msg.addrs.n < TN_DISCO_ADDRS_MAX) {
            msg.addrs.addr[msg.addrs.n] = at;
            msg.addrs.addr[msg.addrs.n].port = (uint16_t) (1 + msg.addrs.n);
            msg.addrs.n++;
        }

        packet = seal(&bob->disco, &ann->disco.pub, &msg);
        derp(ann, &bob->node.pub, &packet);
    }

    ok(ann->path->nplaces <= 2 * TN_PATH_RELAY_PEER_MAX,
       "2000 offers are %u places", ann->path->nplaces);
    ok(ann->udp_sent - sent <= 2 * TN_PATH_RELAY_PEER_MAX
                               * TN_PATH_RELAY_ADDRS,
       "and %u datagrams", ann->udp_sent - sent);
    world_run(world, TN_PATH_RELAY_BIND_MS + 1000);
    is_int(ann->path->nplaces, 0, "which are given up");

    /* pings through a relay are answered, within the limits of all pings */

    sent = ann->udp_sent;

    for (i = 0; i < 5000; i++) {
        memset(&msg, 0, sizeof(msg));
        msg.type = TN_DISCO_PING;
        tn_random(msg.txid, TN_DISCO_TXID);
        packet = seal(&bob->disco, &ann->disco.pub, &msg);
        packet = wrap(&packet, 9, false);
        udp(ann, &at, &packet);
    }

    ok(ann->udp_sent - sent > 0
       && ann->udp_sent - sent <= 2 * TN_PATH_DISCO_BURST,
       "5000 pings have %u answers", ann->udp_sent - sent);
    is_int(ann->peers[bob->id]->vni, 0, "and prove no place");

    world_free(world);
}


int
main(void)
{
    (void) tn_crypto_init();

    check_way();
    check_death();
    check_own();
    check_slow();
    check_behind();
    check_loss();
    check_who();
    check_hostile();

    return tap_done();
}
