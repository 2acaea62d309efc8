
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What control orders by node attributes, networks without UDP, peers of
 * WireGuard alone, and disco keys that change.
 */

#include "tap.h"

#include "path_world.h"


static void
dont_fragment(void *data, bool on)
{
    node_t  *node = data;

    node->dont_fragment = on;
}


static void
https(void *data, uint32_t id, uint32_t region,
    const tn_derpmap_node_t *relay)
{
    node_t     *node = data;
    tn_addr_t   from, answer;
    unsigned    rtt;

    (void) relay;

    rtt = 2 * (node->latency + node->world->regions[region].latency);
    node->probes++;

    memset(&answer, 0, sizeof(answer));
    answer.port = (uint16_t) id;
    answer.ip.b[0] = (uint8_t) (node->world->regions[region].dead ? 0 : rtt);
    from.ip = node->public_ip;
    from.port = 0;

    world_post(node->world, EVENT_PROBED, node->world->now + rtt, &from,
               &answer, NULL, NULL, 0, NULL, 0);
}


/* both know each other and have a direct path */
static world_t *
direct_world(uint32_t seed, nat_e nat, node_t **a, node_t **b)
{
    world_t  *world;

    world = world_pair(seed, 1, nat, nat, a, b);
    world_talk(world, *a, *b, 10000, 100);

    return world;
}


static void
check_only_tcp(void)
{
    node_t           *a, *b;
    world_t          *world;
    unsigned          sent;
    tn_path_knobs_t   knobs;

    world = direct_world(31, NAT_NONE, &a, &b);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT, "direct");

    memset(&knobs, 0, sizeof(knobs));
    knobs.only_tcp_443 = true;
    tn_path_set_knobs(a->path, world->now, &knobs);
    ok(!tn_path_has_udp(a->path), "only-tcp-443");

    sent = a->udp_sent;
    world_talk(world, a, b, 7000, 100);
    world_talk(world, a, b, 60000, 100);
    is_int(a->udp_sent, sent, "not a datagram in a minute");
    ok(a->got_derp >= 599 && a->worst_gap <= 200, "all goes over DERP");
    is_int((long long) a->nendpoints, 0, "no endpoints are told");
    is_int(a->netinfo.working_udp, TN_NO, "nor UDP");

    knobs.only_tcp_443 = false;
    tn_path_set_knobs(a->path, world->now, &knobs);
    world_talk(world, a, b, 10000, 100);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT,
           "direct again without it");
    ok(a->nendpoints != 0, "with endpoints");

    world_free(world);
}


static void
check_silent(void)
{
    node_t           *a, *b;
    world_t          *world;
    unsigned          pings;
    tn_path_knobs_t   knobs;

    world = direct_world(32, NAT_NONE, &a, &b);
    memset(&knobs, 0, sizeof(knobs));
    knobs.silent_disco = true;
    tn_path_set_knobs(a->path, world->now, &knobs);
    tn_path_set_knobs(b->path, world->now, &knobs);
    world_talk(world, a, b, 10000, 100);

    pings = (unsigned) tn_path_counters(a->path)->pings_sent;
    world_talk(world, a, b, 60000, 100);
    ok(tn_path_counters(a->path)->pings_sent - pings <= 2,
       "silent disco: no heartbeats");
    ok(tn_path_kind(a->peers[1], world->now) == TN_PATH_DIRECT
       && a->got_udp >= 599 && a->got_derp == 0,
       "payload alone keeps the path");

    b->cut = true;
    a->last_answer = world->now;
    world_talk(world, a, b, 20000, 100);
    ok(a->got_derp != 0 && a->worst_gap <= 7000,
       "and it is lost as soon as ever, after %llu ms",
       (unsigned long long) a->worst_gap);

    world_free(world);
}


static void
check_lifetime(tn_ms_t nat_ms, uint32_t want)
{
    node_t           *a, *b, *prober;
    world_t          *world;
    unsigned          timers;
    tn_path_knobs_t   knobs;

    world = world_create(33, 1);
    world->nat_ms = nat_ms;
    a = world_add(world, NAT_EASY);
    b = world_add(world, NAT_EASY);
    memset(&knobs, 0, sizeof(knobs));
    knobs.probe_lifetime = true;
    tn_path_set_knobs(a->path, world->now, &knobs);
    tn_path_set_knobs(b->path, world->now, &knobs);
    world_meet(world, a, b);
    world_talk(world, a, b, 10000, 100);

    prober = memcmp(a->disco.pub.b, b->disco.pub.b, TN_KEY_LEN) < 0 ? a : b;

    world_run(world, 300000);
    is_int(tn_path_udp_lifetime(prober->peers[1 - prober->id]), want,
           "the life of an idle UDP path");
    is_int(tn_path_udp_lifetime((prober == a ? b : a)->peers[prober->id]), 0,
           "one side has probed");

    timers = (unsigned) tn_path_counters(prober->path)->pings_sent;
    world_talk(world, a, b, 1000, 100);
    world_run(world, 60000);
    timers = (unsigned) tn_path_counters(prober->path)->pings_sent;
    world_run(world, 300000);
    is_int((long long) tn_path_counters(prober->path)->pings_sent, timers,
           "and not again on the same day");

    world_free(world);
}


static void
check_mtu(unsigned mtu, uint32_t want)
{
    node_t           *a, *b;
    world_t          *world;
    tn_path_knobs_t   knobs;

    world = world_create(34, 1);
    world->mtu = mtu;
    world->ops.dont_fragment = dont_fragment;
    a = world_add(world, NAT_EASY);
    b = world_add(world, NAT_EASY);
    world_meet(world, a, b);
    world_talk(world, a, b, 5000, 100);
    is_int(tn_path_mtu(a->peers[1]), 0, "no MTU without the order");

    memset(&knobs, 0, sizeof(knobs));
    knobs.peer_mtu = true;
    tn_path_set_knobs(a->path, world->now, &knobs);
    ok(a->dont_fragment, "datagrams may not be fragmented");
    world_talk(world, a, b, 10000, 100);
    is_int(tn_path_mtu(a->peers[1]), want, "path MTU");
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT,
           "lost probes do no harm");

    world_free(world);
}


static void
check_https(void)
{
    node_t   *a, *b;
    world_t  *world;
    unsigned  probes;

    world = world_create(35, 3);
    world->ops.https_probe = https;
    world->regions[1].latency = 90;
    world->regions[2].latency = 20;
    world->regions[3].dead = true;
    world->regions[3].latency = 1;
    a = world_add(world, NAT_BLOCKED);
    b = world_add(world, NAT_BLOCKED);
    world_run(world, 10000);
    is_int(tn_path_home(a->path), 2, "UDP blocked: home by HTTPS latency");
    is_int((long long) a->netinfo.nlatency, 0, "which control is not told");
    world_know(a, b);
    world_know(b, a);
    probes = a->probes;
    world_talk(world, a, b, 120000, 100);
    ok(a->got_derp >= 1199, "traffic flows");
    ok(a->probes - probes <= 6, "HTTPS is not asked over and over: %u",
       a->probes - probes);

    world_free(world);
}


/* home is chosen by a latency of minutes ago; its relay is gone since */
static void
check_https_lost(void)
{
    node_t   *a, *b;
    world_t  *world;
    unsigned  i, back, told;

    world = world_create(38, 3);
    world->ops.https_probe = https;
    world->regions[1].latency = 90;
    world->regions[2].latency = 20;
    world->regions[3].latency = 60;
    a = world_add(world, NAT_BLOCKED);
    b = world_add(world, NAT_BLOCKED);
    world_meet(world, a, b);
    world_run(world, 10000);
    world_know(a, b);
    world_know(b, a);
    is_int(tn_path_home(a->path), 2, "home by HTTPS latency");

    world->regions[2].dead = true;
    world_derp_kill(a, 2);
    world_derp_kill(b, 2);
    world_talk(world, a, b, 10000, 100);
    is_int(tn_path_home(a->path), 3, "its relay is gone: the next best");

    told = a->netinfo.preferred_derp != 3;
    back = 0;

    for (i = 0; i < 1200; i++) {
        world_talk(world, a, b, 100, 100);
        back += tn_path_home(a->path) != 3;
        told += a->netinfo.preferred_derp != 3;
    }

    is_int(back, 0, "it stays there");
    is_int(told, 0, "and control is told nothing else");

    world->regions[2].dead = false;
    world_talk(world, a, b, 310000, 1000);
    is_int(tn_path_home(a->path), 2, "until the former one answers again");

    world_free(world);
}


static void
check_homeless(void)
{
    node_t           *a, *b;
    world_t          *world;
    tn_path_knobs_t   knobs;

    world = direct_world(36, NAT_NONE, &a, &b);
    memset(&knobs, 0, sizeof(knobs));
    knobs.homeless = true;
    tn_path_set_knobs(a->path, world->now, &knobs);
    is_int(tn_path_home(a->path), 0, "homeless");
    is_int(a->netinfo.preferred_derp, 0, "as control is told");
    world_talk(world, a, b, 30000, 100);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT, "direct");
    world_run(world, 120000);
    ok(!tn_path_derp_is_up(a->path, 1), "no relay is kept open");
    world_talk(world, a, b, 5000, 100);
    ok(a->got_udp + a->got_derp >= 49, "those of others are used");

    knobs.homeless = false;
    tn_path_set_knobs(a->path, world->now, &knobs);
    world_run(world, 5000);
    is_int(tn_path_home(a->path), 1, "and home again");

    world_free(world);
}


/* three addresses, of which the last answers; then it moves */
static void
check_plain(void)
{
    node_t               *a, *b;
    tn_ms_t               start;
    world_t              *world;
    tn_addr_t             addrs[3], moved;
    tn_path_route_t       route;
    tn_path_peer_conf_t   conf;

    world = direct_world(37, NAT_NONE, &a, &b);
    tn_path_peer_remove(a->peers[1]);

    conf = world_conf_wg(b);
    conf.endpoints = addrs;
    conf.nendpoints = 3;
    addrs[0] = b->addr;
    addrs[0].ip = ip("203.0.113.77");
    addrs[1] = b->addr;
    addrs[1].port = 9;
    addrs[2] = b->addr;
    a->peers[1] = tn_path_peer_add(a->path, world->now, &conf, NULL);

    start = world->now;
    world_talk(world, a, b, 30000, 500);
    ok(a->got_udp > 20, "a peer of WireGuard alone: the third address");
    ok(a->worst_gap <= 13000, "after %llu ms",
       (unsigned long long) a->worst_gap);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT,
           "heard, so proven");
    ok(world->now > start, "time passes");

    moved = b->addr;
    moved.ip = ip("203.0.113.99");
    tn_path_received(a->peers[1], world->now + 20000, &moved);
    tn_path_route(a->peers[1], world->now + 20000, &route);
    ok(tn_addr_equal(&route.udp, &moved), "it roams as WireGuard does");

    world_free(world);
}


static unsigned  echos;


static void
on_echo(void *data, const tn_ip_t *to)
{
    (void) data;
    (void) to;

    echos++;
}


/* four addresses; which answer ICMP and which WireGuard is not the same */
static void
check_plain_icmp(void)
{
    node_t               *a, *b;
    unsigned              n;
    world_t              *world;
    tn_ip_t               other;
    tn_addr_t             addrs[4];
    tn_path_route_t       route;
    tn_path_ops_t         ops;
    tn_path_peer_conf_t   conf;

    world = direct_world(37, NAT_NONE, &a, &b);
    ops = *a->path->ops;
    ops.icmp_echo = on_echo;
    a->path->ops = &ops;
    tn_path_peer_remove(a->peers[1]);

    conf = world_conf_wg(b);
    conf.endpoints = addrs;
    conf.nendpoints = 4;
    addrs[0] = b->addr;
    addrs[0].ip = ip("203.0.113.77");
    addrs[1] = b->addr;
    addrs[1].ip = ip("203.0.113.78");
    addrs[2] = b->addr;
    addrs[3] = b->addr;
    addrs[3].ip = ip("2001:db8::1");
    a->peers[1] = tn_path_peer_add(a->path, world->now, &conf, NULL);

    echos = 0;
    world_send(a, 1, 'Q');
    tn_path_route(a->peers[1], world->now, &route);
    ok(tn_addr_equal(&route.udp, &addrs[0]), "the first, as nothing is known");
    is_int(echos, 3, "each of a family that this host has is asked");

    world_run(world, 30);
    tn_path_echoed(a->path, world->now, &addrs[1].ip, 30000);
    tn_path_route(a->peers[1], world->now, &route);
    ok(tn_addr_equal(&route.udp, &addrs[1]), "who answers is taken");
    tn_path_echoed(a->path, world->now, &addrs[2].ip, 40000);
    other = ip("203.0.113.50");
    tn_path_echoed(a->path, world->now, &other, 10);
    tn_path_route(a->peers[1], world->now, &route);
    ok(tn_addr_equal(&route.udp, &addrs[1]),
       "not who answers later, nor who is none of its addresses");

    /* its WireGuard does not answer */

    world_talk(world, a, b, 12000, 500);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT,
           "the next nearest, where WireGuard answers");
    tn_path_route(a->peers[1], world->now, &route);
    ok(tn_addr_equal(&route.udp, &addrs[2]), "it is that");
    ok(a->worst_gap <= 6000, "after %llu ms",
       (unsigned long long) a->worst_gap);

    n = echos;
    world_talk(world, a, b, 60000, 500);
    is_int(echos, n, "nobody is asked while WireGuard is heard");
    tn_path_echoed(a->path, world->now, &addrs[0].ip, 1);
    tn_path_route(a->peers[1], world->now, &route);
    ok(tn_addr_equal(&route.udp, &addrs[2]), "nor listened to");

    /* silence: what failed waits until the others have, too */

    b->cut = true;
    world_talk(world, a, b, 18000, 500);
    tn_path_echoed(a->path, world->now, &addrs[1].ip, 5);
    tn_path_route(a->peers[1], world->now, &route);
    ok(!tn_addr_equal(&route.udp, &addrs[1]), "what failed is not taken back");
    n = echos;
    world_talk(world, a, b, 60000, 500);
    ok(echos - n >= 15 && echos - n <= 21, "asked each 10 s: %u", echos - n);
    b->cut = false;
    world_talk(world, a, b, 30000, 500);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT,
           "until it is heard again");

    conf.expired = true;
    (void) tn_path_peer_update(a->peers[1], world->now, &conf);
    tn_path_route(a->peers[1], world->now, &route);
    ok(route.udp.port == 0 && route.derp == 0, "expired: no address is left");
    n = echos;
    world_send(a, 1, 'Q');
    is_int(echos, n, "and nobody is asked");

    world_free(world);
}


static void
check_keys(void)
{
    node_t        *a, *b;
    world_t       *world;
    tn_keypair_t   pair;

    world = direct_world(38, NAT_EASY, &a, &b);

    /* b rotates; a learns of it from b itself, not from the netmap */

    tn_curve_keypair(&pair);
    tn_path_set_disco(b->path, world->now, &pair);
    ok(tn_key_equal(tn_path_disco_key(b->path), &pair.pub), "another key");
    is_int(tn_path_peer_set_disco(a->peers[1], world->now, &pair.pub), TN_OK,
           "the peer says so");
    world_talk(world, a, b, 10000, 100);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT,
           "direct with the new key");
    ok(a->worst_gap <= 300, "without a gap: %llu ms",
       (unsigned long long) a->worst_gap);

    memset(&pair, 0, sizeof(pair));
    is_int(tn_path_peer_set_disco(a->peers[1], world->now, &pair.pub), TN_OK,
           "a zero key");
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT,
           "changes nothing");

    world_free(world);
}


int
main(void)
{
    (void) tn_crypto_init();

    check_only_tcp();
    check_silent();
    check_lifetime(25000, 10000);
    check_lifetime(45000, 30000);
    check_lifetime(120000, 60000);
    check_mtu(1420, 1400);
    check_mtu(0, 9000);
    check_https();
    check_https_lost();
    check_homeless();
    check_plain();
    check_plain_icmp();
    check_keys();

    return tap_done();
}
