
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Two path machines over the simulated internet: which path they reach and
 * when, through which NATs; what happens when a path dies and comes back.
 */

#include "tap.h"

#include "path_world.h"

#include <time.h>


#define TRIES  20
#define MANY   1000

typedef struct {
    nat_e       a;
    nat_e       b;
    unsigned    direct_ms;      /* 0: DERP, at all times */
} pair_t;


/*
 * A firewall or NAT lets answers in alone, so both sides must send first:
 * CallMeMaybe goes by DERP.  A hard NAT's port for the other side is known
 * to nobody, which a full cone does not mind.
 */
static const pair_t  pairs[] = {
    { NAT_NONE,      NAT_NONE,      100 },
    { NAT_NONE,      NAT_FIREWALL,  300 },
    { NAT_NONE,      NAT_EASY,      300 },
    { NAT_NONE,      NAT_HARD,      300 },
    { NAT_NONE,      NAT_FULL_CONE, 300 },
    { NAT_NONE,      NAT_BLOCKED,   0 },
    { NAT_FIREWALL,  NAT_FIREWALL,  1000 },
    { NAT_FIREWALL,  NAT_EASY,      1000 },
    { NAT_FIREWALL,  NAT_FULL_CONE, 1000 },
    { NAT_FIREWALL,  NAT_HARD,      0 },
    { NAT_FIREWALL,  NAT_BLOCKED,   0 },
    { NAT_EASY,      NAT_EASY,      1000 },
    { NAT_EASY,      NAT_FULL_CONE, 1000 },
    { NAT_EASY,      NAT_HARD,      0 },
    { NAT_FULL_CONE, NAT_HARD,      1000 },
    { NAT_FULL_CONE, NAT_FULL_CONE, 1000 },
    { NAT_FULL_CONE, NAT_BLOCKED,   0 },
    { NAT_HARD,      NAT_HARD,      0 },
    { NAT_HARD,      NAT_BLOCKED,   0 },
    { NAT_EASY,      NAT_BLOCKED,   0 },
    { NAT_BLOCKED,   NAT_BLOCKED,   0 }
};


/* two that talk for 10 s, some time after they met: from *start on */
static world_t *
try_pair(unsigned i, nat_e first, nat_e second, node_t **a, tn_ms_t *start)
{
    node_t   *b;
    world_t  *world;

    world = world_pair(i, 2, first, second, a, &b);
    world_run(world, 3000 + world_random(world, 60000));

    *start = world->now;
    world_talk(world, *a, b, 10000, 50);

    return world;
}


static void
check_pair(const pair_t *pair, bool swap)
{
    node_t    *a;
    tn_ms_t    start, took, worst;
    world_t   *world;
    unsigned   i, direct, answered, lost;
    nat_e      first, second;

    first = swap ? pair->b : pair->a;
    second = swap ? pair->a : pair->b;
    direct = 0;
    answered = 0;
    lost = 0;
    worst = 0;

    for (i = 1; i <= TRIES; i++) {
        world = try_pair(i, first, second, &a, &start);

        if (a->direct_at != 0) {
            direct++;
            took = a->direct_at - start;
            worst = tn_max(worst, took);
        }

        answered += a->got_udp + a->got_derp >= 199;
        lost = tn_max(lost, (unsigned) a->worst_gap);
        world_free(world);
    }

    if (pair->direct_ms != 0) {
        ok(direct == TRIES && worst <= pair->direct_ms,
           "%s to %s: direct in %llu ms at most", nat_names[first],
           nat_names[second], (unsigned long long) worst);
    } else {
        ok(direct == 0, "%s to %s: DERP", nat_names[first],
           nat_names[second]);
    }

    ok(answered == TRIES && lost < 500,
       "and each request is answered, the longest gap is %u ms", lost);
}


/* UDP dies and comes back */
static void
check_cut(nat_e nat)
{
    node_t    *a, *b;
    tn_ms_t    cut, back;
    world_t   *world;
    unsigned   i;

    world = world_pair(3, 2, nat, nat, &a, &b);
    world_talk(world, a, b, 60000, 100);

    ok(tn_path_kind(a->peers[1], world->now) == TN_PATH_DIRECT
       && a->got_udp > 590, "%s: direct for a minute", nat_names[nat]);
    ok(a->worst_gap <= 200, "without a gap: %llu ms",
       (unsigned long long) a->worst_gap);

    a->cut = true;
    cut = world->now;
    a->last_answer = world->now;

    for (i = 0; i < 200 && world->now - a->last_answer < 20000; i++) {
        a->got_derp = 0;
        world_talk(world, a, b, 100, 100);

        if (a->got_derp != 0) {
            break;
        }
    }

    /* trust of 6.5 s from the last pong, which is up to 3 s old */

    ok(world->now - cut <= 7000, "%s: DERP again %llu ms after UDP died",
       nat_names[nat], (unsigned long long) (world->now - cut));

    world_talk(world, a, b, 30000, 100);
    ok(a->got_udp == 0 && a->got_derp >= 299 && a->worst_gap < 300,
       "all over DERP: %u answers, gap %llu ms", a->got_derp,
       (unsigned long long) a->worst_gap);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DERP,
           "and says so");
    is_int(a->peers[1]->best.port, 0, "without a best address");

    a->cut = false;
    back = world->now;
    a->direct_at = 0;

    for (i = 0; i < 300 && a->direct_at == 0; i++) {
        world_talk(world, a, b, 100, 100);
    }

    ok(world->now - back <= 7000, "%s: direct again %llu ms after UDP is back",
       nat_names[nat], (unsigned long long) (world->now - back));

    world_free(world);
}


static void
check_loss(void)
{
    node_t    *a, *b;
    tn_ms_t    start, worst;
    world_t   *world;
    unsigned   i, direct;

    worst = 0;
    direct = 0;

    for (i = 1; i <= TRIES; i++) {
        world = world_create(100 + i, 2);
        a = world_add(world, NAT_EASY);
        b = world_add(world, NAT_EASY);
        world->loss = 20;
        world_meet(world, a, b);
        start = world->now;
        world_talk(world, a, b, 60000, 100);

        if (a->direct_at != 0) {
            worst = tn_max(worst, a->direct_at - start);
        }

        direct += tn_path_kind(a->peers[1], world->now) == TN_PATH_DIRECT;
        world_free(world);
    }

    ok(direct >= TRIES - 1, "20%% loss: %u of %u are direct after a minute",
       direct, TRIES);
    ok(worst <= 30000, "the slowest was in %llu ms",
       (unsigned long long) worst);
}


/* the sender moves to another address; nobody tells it which */
static void
check_roaming(void)
{
    node_t   *a, *b;
    tn_ms_t   moved;
    world_t  *world;

    world = world_pair(5, 2, NAT_EASY, NAT_EASY, &a, &b);
    world_talk(world, a, b, 20000, 100);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT,
           "direct before the move");

    a->public_ip = ip("203.0.113.200");
    a->addr.ip = ip("172.16.0.7");
    world_local(a);
    tn_path_network_changed(a->path, world->now);
    a->direct_at = 0;
    moved = world->now;

    world_talk(world, a, b, 10000, 100);
    ok(a->worst_gap <= 3000, "roaming: traffic goes on after %llu ms",
       (unsigned long long) a->worst_gap);
    ok(a->direct_at != 0 && a->direct_at - moved <= 3000,
       "direct from there in %llu ms",
       (unsigned long long) (a->direct_at - moved));

    /* the NAT of the other forgets everything: its port is another */

    b->nmappings = 0;
    b->addr.port = 50000;
    b->world->nodes[1] = b;
    world_talk(world, a, b, 20000, 100);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT,
           "direct again after the other's NAT was restarted");
    ok(a->worst_gap <= 7000, "the gap is within trust: %llu ms",
       (unsigned long long) a->worst_gap);

    world_free(world);
}


static bool
is_told(const node_t *node, uint16_t port)
{
    size_t  i;

    for (i = 0; i < node->nendpoints; i++) {
        if (node->endpoints[i].type == TN_ENDPOINT_STUN
            && node->endpoints[i].addr.port == port)
        {
            return true;
        }
    }

    return false;
}


/* a NAT gives other ports under way: the pongs of the peer tell of it */
static void
check_remapped(void)
{
    node_t    *a, *b;
    world_t   *world;
    unsigned   i, told;
    uint16_t   before, after;

    world = world_pair(12, 2, NAT_EASY, NAT_NONE, &a, &b);
    world_talk(world, a, b, 10000, 100);
    before = a->addr.port;
    after = (uint16_t) (before + 1000);
    ok(is_told(a, before), "behind a NAT: its port is told");

    for (i = 0; i < a->nmappings; i++) {
        a->mappings[i].outside.port = after;
    }

    world_talk(world, a, b, 5000, 100);
    ok(is_told(a, after) && !is_told(a, before),
       "another port, seen by a pong: told within 5 s, the former one is not");
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT,
           "and it is direct");

    told = a->endpoints_told;
    world_talk(world, a, b, 10000, 100);
    is_int(a->endpoints_told, told, "after that nothing is news");

    world_free(world);
}


/*
 * From first traffic until direct, 100 tries: begun as soon as each has heard
 * of the other, or up to a minute later, when NATs have forgotten mappings.
 */
static void
check_hundred(nat_e nat, bool at_once, unsigned loss, unsigned limit)
{
    node_t    *a, *b;
    tn_ms_t    start, worst;
    world_t   *world;
    unsigned   i, within;

    within = 0;
    worst = 0;

    for (i = 1; i <= 100; i++) {
        world = world_create(1000 + i, 2);
        a = world_add(world, nat);
        b = world_add(world, nat);
        world->loss = loss;
        world_meet(world, a, b);

        if (!at_once) {
            world_run(world, 3000 + world_random(world, 60000));
        }

        start = world->now;
        world_talk(world, a, b, 20000, 50);

        if (a->direct_at != 0) {
            within += a->direct_at - start <= limit;
            worst = tn_max(worst, a->direct_at - start);
        }

        world_free(world);
    }

    ok(within >= 95, "%s, %s, %u%% loss: direct within %u ms in %u of 100, "
       "in %llu ms at most", nat_names[nat],
       at_once ? "at once" : "later", loss, limit, within,
       (unsigned long long) worst);
}


/* peers like the other, each with keys of its own; returns how many */
static unsigned
add_many(node_t *a, const node_t *b, tn_path_peer_t *peers[MANY])
{
    unsigned             i;
    tn_keypair_t         pair;
    tn_path_peer_conf_t  conf;

    conf = world_conf(b);

    for (i = 0; i < MANY; i++) {
        tn_curve_keypair(&pair);
        conf.node_key = pair.pub;
        tn_curve_keypair(&pair);
        conf.disco_key = pair.pub;

        peers[i] = tn_path_peer_add(a->path, a->world->now, &conf, NULL);
        if (peers[i] == NULL) {
            break;
        }
    }

    return i;
}


/* 1000 peers, 50 of them talked to */
static void
check_many(void)
{
    node_t          *a, *b;
    world_t         *world;
    clock_t          spent;
    unsigned         i, k, sent;
    size_t           timers;
    tn_path_peer_t  *peers[MANY];

    world = world_pair(11, 1, NAT_NONE, NAT_NONE, &a, &b);
    timers = world->timers.count;
    (void) add_many(a, b, peers);

    for (i = 0; i < 50; i++) {
        tn_path_sent(peers[i], world->now);
    }

    ok(world->timers.count <= timers + 50 * 4 + 3,
       "1000 peers, 50 active: %zu timers and datagrams on their way",
       world->timers.count - timers);

    sent = a->udp_sent;
    spent = clock();

    for (k = 0; k < 60; k++) {
        for (i = 0; i < 50; i++) {
            tn_path_sent(peers[i], world->now);
        }

        world_run(world, 1000);
    }

    spent = clock() - spent;

    /* these never answer: each is searched for all the time, the dear case */

    ok(a->udp_sent - sent <= 50 * 60, "%u datagrams in a minute",
       a->udp_sent - sent);
    ok((double) spent / CLOCKS_PER_SEC < 0.6,
       "in under 1%% of a core: %.3f s of CPU, simulation and all",
       (double) spent / CLOCKS_PER_SEC);

    world_run(world, 60000);
    ok(world->timers.count <= timers + 2, "%zu timers when all are idle",
       world->timers.count);

    world_free(world);
}


/* an idle peer costs nothing */
static void
check_idle(void)
{
    node_t          *a, *b;
    world_t         *world;
    unsigned         sent;
    size_t           timers;
    tn_path_peer_t  *peers[MANY];

    world = world_pair(6, 1, NAT_NONE, NAT_NONE, &a, &b);
    timers = world->timers.count;
    is_int(add_many(a, b, peers), MANY, "1000 peers");
    is_int((long long) world->timers.count, (long long) timers,
           "that need no timer");

    sent = a->udp_sent;
    world_run(world, 600000);
    is_int(a->udp_sent, sent, "and nothing is sent in 10 minutes");

    world_talk(world, a, b, 1000, 100);
    world_run(world, 44000);
    sent = a->udp_sent;
    world_run(world, 10000);
    ok(a->udp_sent - sent <= 4, "heartbeats end 45 s after the last payload");
    is_int(((tn_path_t *) a->path)->nactive, 0, "nobody is active");

    sent = a->udp_sent;
    world_run(world, 60000);
    is_int(a->udp_sent, sent, "silence");

    world_free(world);
}


/* steady state: one path, pinged each 3 s */
static void
check_heartbeat(void)
{
    node_t   *a, *b;
    tn_ms_t   until;
    world_t  *world;
    unsigned  pings;

    world = world_pair(8, 1, NAT_NONE, NAT_NONE, &a, &b);
    world_talk(world, a, b, 10000, 1000);

    a->udp_sent = 0;
    until = world->now + 30000;

    while (world->now < until) {
        a->peers[1]->last_sent = world->now;
        world_run(world, 100);
    }

    /* the other side is idle or not: its pings are answered too */

    pings = a->udp_sent;
    ok(pings >= 10 && pings <= 35, "heartbeats each 3 s: %u in 30 s", pings);

    /* an address of the host that is known to be dead */

    tn_path_unreachable(a->peers[1], world->now, &b->addr);
    is_int(a->peers[1]->best.port, 0, "unreachable: best goes at once");
    world_talk(world, a, b, 1000, 100);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT,
           "and comes back when it answers");

    world_free(world);
}


/* IPv6 alone: no STUN server speaks it, DERP and local addresses do */
static void
check_v6(void)
{
    node_t    *nodes[2];
    world_t   *world;
    unsigned   i;

    world = world_create(9, 2);

    for (i = 0; i < 2; i++) {
        nodes[i] = world_add(world, NAT_NONE);
        nodes[i]->public_ip = ip(i ? "2001:db8::2" : "2001:db8::1");
        nodes[i]->addr.ip = nodes[i]->public_ip;
        tn_path_set_local(nodes[i]->path, world->now, &nodes[i]->addr, 1, 0,
                          WORLD_PORT);
    }

    world_meet(world, nodes[0], nodes[1]);
    world_talk(world, nodes[0], nodes[1], 5000, 100);

    ok(nodes[0]->netinfo.preferred_derp != 0, "IPv6 alone: a home is found");
    ok(tn_path_kind(nodes[0]->peers[1], world->now) == TN_PATH_DIRECT
       && !tn_ip_is_v4(&nodes[0]->peers[1]->best.ip), "and a direct path");

    world_free(world);
}


/* WireGuard alone: no disco, no relay */
static void
check_wireguard_only(void)
{
    node_t               *a, *b;
    world_t              *world;
    tn_path_route_t       route;
    tn_path_peer_conf_t   conf;

    world = world_pair(10, 1, NAT_EASY, NAT_NONE, &a, &b);
    tn_path_peer_remove(a->peers[1]);

    conf = world_conf_wg(b);
    a->peers[1] = tn_path_peer_add(a->path, world->now, &conf, NULL);
    a->udp_sent = 0;

    world_send(a, 1, 'Q');
    tn_path_route(a->peers[1], world->now, &route);
    ok(tn_addr_equal(&route.udp, &b->addr) && route.derp == 0,
       "a peer of WireGuard alone: its address, no DERP");
    is_int(a->udp_sent, 1, "and no pings");

    conf.wireguard_only = false;
    (void) tn_path_peer_update(a->peers[1], world->now, &conf);
    tn_path_route(a->peers[1], world->now, &route);
    ok(route.udp.port == 0 && route.derp == 1, "a peer without disco: DERP");

    world_free(world);
}


/* one cell: the path, and the longest it took until it was there */
static void
print_cell(nat_e first, nat_e second)
{
    node_t    *a;
    tn_ms_t    start, worst;
    world_t   *world;
    unsigned   i, n;

    n = 0;
    worst = 0;

    for (i = 1; i <= TRIES; i++) {
        world = try_pair(i, first, second, &a, &start);

        if (a->direct_at != 0) {
            worst = tn_max(worst, a->direct_at - start);
            n++;
        }

        world_free(world);
    }

    if (n == TRIES) {
        printf(" direct, %llu ms |", (unsigned long long) worst);

    } else if (n == 0) {
        printf(" DERP |");

    } else {
        printf(" direct in %u of %u |", n, (unsigned) TRIES);
    }
}


/* who sends first in rows, to whom in columns */
static void
print_table(void)
{
    size_t  i, k;

    printf("| from \\ to |");

    for (i = 0; i < tn_nelems(nat_names); i++) {
        printf(" %s |", nat_names[i]);
    }

    printf("\n|---|");

    for (i = 0; i < tn_nelems(nat_names); i++) {
        printf("---|");
    }

    for (i = 0; i < tn_nelems(nat_names); i++) {
        printf("\n| **%s** |", nat_names[i]);

        for (k = 0; k < tn_nelems(nat_names); k++) {
            print_cell((nat_e) i, (nat_e) k);
        }
    }

    printf("\n");
}


int
main(int argc, char **argv)
{
    size_t  i;

    (void) tn_crypto_init();

    if (argc == 2 && strcmp(argv[1], "table") == 0) {
        print_table();
        return 0;
    }

    for (i = 0; i < tn_nelems(pairs); i++) {
        check_pair(&pairs[i], false);

        if (pairs[i].a != pairs[i].b) {
            check_pair(&pairs[i], true);
        }
    }

    check_hundred(NAT_NONE, true, 0, 1000);
    check_hundred(NAT_NONE, false, 1, 1000);
    check_hundred(NAT_EASY, true, 0, 3000);
    check_hundred(NAT_EASY, false, 0, 3000);
    check_hundred(NAT_EASY, true, 1, 3000);
    check_hundred(NAT_EASY, false, 1, 3000);

    check_cut(NAT_NONE);
    check_cut(NAT_EASY);
    check_loss();
    check_roaming();
    check_remapped();
    check_idle();
    check_many();
    check_heartbeat();
    check_v6();
    check_wireguard_only();

    return tap_done();
}
