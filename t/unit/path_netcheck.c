
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Netcheck and the relays over the simulated internet: home region, NetInfo,
 * own endpoints, failover, reverse routes.
 */

#include "tap.h"

#include "path_world.h"


static bool
has_endpoint(const node_t *node, const char *text, tn_endpoint_type_e type)
{
    char    buf[TN_ADDR_TEXT];
    size_t  i;

    for (i = 0; i < node->nendpoints; i++) {
        if (strcmp(tn_addr_text(&node->endpoints[i].addr, buf), text) == 0
            && node->endpoints[i].type == type)
        {
            return true;
        }
    }

    return false;
}


static void
check_first_report(void)
{
    node_t   *easy, *hard, *none;
    tn_ms_t   start;
    world_t  *world;
    unsigned  i;

    world = world_create(1, 4);
    start = world->now;
    easy = world_add(world, NAT_EASY);
    hard = world_add(world, NAT_HARD);
    none = world_add(world, NAT_BLOCKED);

    while (easy->netinfo_told == 0 && world->now - start < 5000) {
        world_run(world, 10);
    }

    ok(world->now - start <= 200, "the first report takes %llu ms",
       (unsigned long long) (world->now - start));
    is_int(easy->netinfo.preferred_derp, 1, "home is the nearest region");
    is_int(easy->netinfo.mapping_varies_by_dest_ip, TN_NO,
           "an easy NAT maps alike");
    is_int(easy->netinfo.working_udp, TN_YES, "UDP works");
    is_int(easy->netinfo.working_ipv6, TN_NO, "IPv6 does not");
    is_int(easy->netinfo.os_has_ipv6, TN_NO, "there is no IPv6 socket");
    ok(easy->netinfo.nlatency >= 3 && easy->netinfo.latency[0].region == 1
       && easy->netinfo.latency[0].v4
       && easy->netinfo.latency[0].seconds == (double) 0.03,
       "the latency of region 1 is 30 ms");
    ok(has_endpoint(easy, "203.0.113.1:41641", TN_ENDPOINT_STUN),
       "its outer address is an endpoint");
    ok(has_endpoint(easy, "192.168.1.2:41641", TN_ENDPOINT_LOCAL),
       "and so is its local one");
    is_int((long long) easy->nendpoints, 2, "no others");

    world_run(world, 1000);
    is_int(hard->netinfo.mapping_varies_by_dest_ip, TN_YES,
           "a hard NAT maps by destination");
    ok(has_endpoint(hard, "203.0.113.2:41641", TN_ENDPOINT_STUN4_LOCAL_PORT),
       "its outer address with our port is worth a try");

    /* no UDP: the relay that answers first */

    world_run(world, 4000);
    is_int(none->netinfo.working_udp, TN_NO, "UDP is blocked");
    ok(none->netinfo.preferred_derp != 0 && none->conns[
           none->netinfo.preferred_derp].login,
       "home is region %u all the same", none->netinfo.preferred_derp);

    i = none->netinfo.preferred_derp;
    world_run(world, 90000);
    is_int(none->netinfo.preferred_derp, i, "and stays");
    is_int(none->conns[1].open + none->conns[2].open + none->conns[3].open
           + none->conns[4].open, 1, "the other relays are closed");
    is_int(easy->conns[1].login, 1, "home is held open");

    world_free(world);
}


static void
check_home(void)
{
    node_t       *a, *b;
    world_t      *world;
    tn_endpoint_t extra;

    world = world_pair(2, 3, NAT_EASY, NAT_EASY, &a, &b);
    is_int(tn_path_home(a->path), 1, "home is 1");

    /* a little slower than another is no reason to move */

    world->regions[1].latency = 22;
    world->regions[2].latency = 20;
    tn_path_network_changed(a->path, world->now);
    world_run(world, 400000);
    tn_path_network_changed(a->path, world->now);
    world_run(world, 5000);
    is_int(tn_path_home(a->path), 1, "4 ms are no reason to move");

    world->regions[1].latency = 18;
    tn_path_network_changed(a->path, world->now);
    world_run(world, 5000);
    world->regions[1].latency = 150;
    tn_path_network_changed(a->path, world->now);
    world_run(world, 5000);
    is_int(tn_path_home(a->path), 1, "the best of five minutes counts");

    world_run(world, 310000);
    tn_path_network_changed(a->path, world->now);
    world_run(world, 5000);
    is_int(tn_path_home(a->path), 2, "five minutes later home moves");
    is_int(a->netinfo.preferred_derp, 2, "and NetInfo says so");
    ok(a->conns[2].login, "it is connected");

    /* without control nobody would learn of another */

    world->regions[1].latency = 10;
    world->regions[2].latency = 150;
    tn_path_set_control_up(a->path, world->now, false);
    world_run(world, 310000);
    tn_path_network_changed(a->path, world->now);
    world_run(world, 310000);
    tn_path_network_changed(a->path, world->now);
    world_run(world, 5000);
    is_int(tn_path_home(a->path), 2, "home stays while control is away");

    tn_path_set_control_up(a->path, world->now, true);
    world_run(world, 5000);
    is_int(tn_path_home(a->path), 1, "and moves when it is back");

    /* STUN is lost for a while, the relay is not */

    world->regions[1].stun_dead = true;
    world->regions[2].stun_dead = true;
    world->regions[3].stun_dead = true;
    tn_path_network_changed(a->path, world->now);
    world_run(world, 60000);
    is_int(tn_path_home(a->path), 1, "no STUN at all: home stays");

    /* static endpoints, and what STUN saw before */

    ok(has_endpoint(a, "203.0.113.1:41641", TN_ENDPOINT_STUN),
       "the address of STUN is remembered");
    memset(&extra, 0, sizeof(extra));
    (void) tn_addr_parse(&extra.addr, "192.0.2.77:9", 12);
    extra.type = TN_ENDPOINT_EXPLICIT;
    tn_path_set_extra(a->path, world->now, &extra, 1);
    world_run(world, 5000);
    ok(has_endpoint(a, "192.0.2.77:9", TN_ENDPOINT_EXPLICIT),
       "a static endpoint is told");
    world_run(world, 320000);
    tn_path_network_changed(a->path, world->now);
    world_run(world, 5000);
    ok(!has_endpoint(a, "203.0.113.1:41641", TN_ENDPOINT_STUN),
       "five minutes later that of STUN is gone");

    world_free(world);
}


/* while peers are active own addresses are kept fresh, cheaply */
static void
check_periodic(void)
{
    node_t   *a, *b;
    world_t  *world;
    unsigned  sent;

    world = world_pair(3, 1, NAT_BLOCKED, NAT_BLOCKED, &a, &b);
    a->nat = NAT_EASY;
    tn_path_network_changed(a->path, world->now);
    world_talk(world, a, b, 5000, 100);
    is_int(a->netinfo.working_udp, TN_YES, "UDP works now");

    sent = a->netinfo_told;
    world_talk(world, a, b, 120000, 1000);
    ok(a->netinfo_told > sent, "each report is told");

    a->public_ip = ip("203.0.113.99");
    a->nmappings = 0;
    world_talk(world, a, b, 27000, 1000);
    ok(has_endpoint(a, "203.0.113.99:41641", TN_ENDPOINT_STUN),
       "another outer address is found within 27 s");

    world_free(world);
}


static void
check_relays(void)
{
    node_t             *a, *b;
    tn_ms_t             died;
    world_t            *world;
    unsigned            i;
    tn_derpmap_node_t  *node;

    world = world_create(4, 3);

    /* a second relay in region 1, and a first that is dead */

    node = tn_derpmap_add_node(tn_derpmap_add_region(world->map, 1));
    (void) tn_derpmap_set_string(&node->name, "1a", 2);
    (void) tn_derpmap_set_string(&node->ipv4, "198.51.100.1", 12);
    node = tn_derpmap_add_node((tn_derpmap_region_t *)
                               tn_derpmap_find(world->map, 1));
    (void) tn_derpmap_set_string(&node->name, "1s", 2);
    (void) tn_derpmap_set_string(&node->ipv4, "198.51.100.1", 12);
    node->stun_only = true;
    node = tn_derpmap_add_node((tn_derpmap_region_t *)
                               tn_derpmap_find(world->map, 1));
    (void) tn_derpmap_set_string(&node->name, "1b", 2);
    (void) tn_derpmap_set_string(&node->ipv4, "198.51.100.1", 12);
    snprintf(world->regions[1].dead_node, 64, "1a");

    a = world_add(world, NAT_EASY);
    b = world_add(world, NAT_BLOCKED);
    b->latency = 40;
    world_meet(world, a, b);
    is_int(tn_path_home(a->path), 1, "home is 1");
    ok(a->conns[1].login, "through another relay of the region");
    is_str(a->relay, "1b", "the next that is no STUN server alone");

    /* a relay that dies */

    world_know(a, b);
    world_know(b, a);
    world_talk(world, a, b, 5000, 100);
    ok(a->got_derp > 45, "traffic by DERP");
    i = tn_path_home(b->path);
    world_derp_kill(a, i);
    world_derp_kill(b, i);
    a->nat = NAT_BLOCKED;
    world_talk(world, a, b, 5000, 100);
    ok(a->worst_gap <= 2000, "a broken connection is made anew: gap %llu ms",
       (unsigned long long) a->worst_gap);

    /* a relay that freezes with packets on their way: a ping finds it */

    died = world->now;
    world->regions[i].frozen = true;

    while (a->conns[i].login && world->now - died < 300000) {
        world_run(world, 1000);
    }

    ok(world->now - died <= 20000, "a frozen relay is left after %llu s",
       (unsigned long long) (world->now - died) / 1000);

    world->regions[i].frozen = false;
    world_run(world, 10000);
    ok(a->conns[tn_path_home(a->path)].login, "and taken again when it lives");

    /* a frozen relay after a change of the network */

    i = tn_path_home(a->path);
    world->regions[i].frozen = true;
    tn_path_network_changed(a->path, world->now);
    world_run(world, 3001);
    ok(!a->conns[i].login, "after a change of the network 3 s are enough");
    world_free(world);

    /* a home that freezes, with traffic: another is home soon */

    world = world_pair(13, 3, NAT_EASY, NAT_BLOCKED, &a, &b);
    world_talk(world, a, b, 5000, 100);
    i = tn_path_home(a->path);
    died = world->now;
    world->regions[i].frozen = true;
    world->regions[i].stun_dead = true;

    while (tn_path_home(a->path) == i && world->now - died < 120000) {
        world_talk(world, a, b, 100, 100);
    }

    ok(world->now - died <= 20000, "a frozen home is left after %llu ms",
       (unsigned long long) (world->now - died));

    world_free(world);
}


/* a relay that takes logins and says nothing to them */
static void
check_silent_login(void)
{
    node_t             *a;
    world_t            *world;
    tn_derpmap_node_t  *node;

    world = world_create(20, 1);
    node = tn_derpmap_add_node((tn_derpmap_region_t *)
                               tn_derpmap_find(world->map, 1));
    (void) tn_derpmap_set_string(&node->name, "1b", 2);
    (void) tn_derpmap_set_string(&node->ipv4, "198.51.100.1", 12);

    world->regions[1].fast = true;
    a = world_add(world, NAT_EASY);
    world_run(world, 25000);
    ok(a->conns[1].login && strcmp(a->relay, "1b") != 0,
       "the first relay serves");

    world->regions[1].frozen = true;
    world_derp_kill(a, 1);
    world_run(world, 9000);
    ok(strcmp(a->relay, "1b") != 0, "it does not answer a login");
    world_run(world, 3000);
    is_str(a->relay, "1b", "10 s later the next relay is tried");

    world_free(world);
}


/* UDP is blocked and the home relay is gone for good */
static void
check_lost_home(void)
{
    node_t   *a;
    world_t  *world;
    unsigned  home;

    world = world_create(5, 3);
    a = world_add(world, NAT_BLOCKED);
    world_run(world, 20000);
    home = tn_path_home(a->path);
    ok(home != 0, "home is %u", home);

    world->regions[home].dead = true;
    world_derp_kill(a, home);
    world_run(world, 30000);
    ok(tn_path_home(a->path) != home && a->conns[tn_path_home(a->path)].login,
       "home moved to %u", tn_path_home(a->path));
    is_int(a->netinfo.preferred_derp, tn_path_home(a->path),
           "and NetInfo says so");

    world_free(world);
}


/* a home whose STUN answers and which takes no connections */
static void
check_deaf_home(void)
{
    node_t   *a, *b;
    tn_ms_t   begin;
    world_t  *world;
    unsigned  told, times;

    world = world_pair(21, 3, NAT_EASY, NAT_EASY, &a, &b);
    world_talk(world, a, b, 20000, 1000);
    is_int(tn_path_home(a->path), 1, "home is 1");

    /* for a moment only */

    world->regions[1].dead = true;
    world_derp_kill(a, 1);
    world_talk(world, a, b, 8000, 1000);
    is_int(tn_path_home(a->path), 1, "8 s without its relay: home stays");
    world->regions[1].dead = false;
    world_talk(world, a, b, 20000, 1000);
    ok(tn_path_home(a->path) == 1 && a->conns[1].login, "it is back");

    /* for good */

    world->regions[1].dead = true;
    world_derp_kill(a, 1);
    world_talk(world, a, b, 30000, 1000);
    is_int(tn_path_home(a->path), 2, "30 s: another region is home");
    is_int(a->netinfo.preferred_derp, 2, "which NetInfo says");
    ok(a->conns[2].login, "it is connected");

    told = 0;

    for (times = 0; times < 900; times++) {
        world_talk(world, a, b, 1000, 1000);
        told += tn_path_home(a->path) != 2;
    }

    is_int(told, 0, "so it stays for a quarter of an hour");

    /* until it takes connections, but not those that do not last */

    world->regions[1].dead = false;
    begin = world->now;

    while (!a->conns[1].login && world->now - begin < 400000) {
        world_talk(world, a, b, 1000, 1000);
    }

    ok(a->conns[1].login, "after %llu s it is tried, and connected",
       (unsigned long long) (world->now - begin) / 1000);
    world_derp_kill(a, 1);
    world_talk(world, a, b, 5000, 1000);
    is_int(tn_path_home(a->path), 2, "a connection that breaks is no proof");
    world_talk(world, a, b, 330000, 1000);
    ok(tn_path_home(a->path) == 1 && a->conns[1].login,
       "one that lasts is: home is 1 again");

    /* another network may let it through */

    world->regions[1].frozen = true;
    world->regions[1].fast = true;
    world_derp_kill(a, 1);
    world_talk(world, a, b, 60000, 1000);
    is_int(tn_path_home(a->path), 2, "a relay that says nothing is left, too");
    world->regions[1].frozen = false;
    tn_path_network_changed(a->path, world->now);
    world_talk(world, a, b, 60000, 1000);
    is_int(tn_path_home(a->path), 1, "and tried when the network changes");

    /* nobody takes connections */

    world->regions[1].dead = true;
    world->regions[2].dead = true;
    world->regions[3].dead = true;
    world_derp_kill(a, 1);
    world_talk(world, a, b, 120000, 1000);
    told = tn_path_home(a->path);
    ok(told != 0, "without any relay home is somewhere");
    world_talk(world, a, b, 120000, 1000);
    is_int(tn_path_home(a->path), told, "and stays there");
    world->regions[told].dead = false;
    world_talk(world, a, b, 20000, 1000);
    ok(a->conns[told].login, "until one takes them");

    world_free(world);
}


/* the same where nobody else has business with that region */
static void
check_trial(void)
{
    node_t   *a;
    world_t  *world;
    unsigned  i;

    world = world_create(23, 2);
    a = world_add(world, NAT_EASY);
    world_run(world, 20000);
    world->regions[1].dead = true;
    world_derp_kill(a, 1);
    world_run(world, 30000);
    is_int(tn_path_home(a->path), 2, "another region is home");

    world->regions[1].dead = false;

    for (i = 0; i < 24; i++) {
        world_run(world, 10000);
        tn_path_stun_again(a->path, world->now);
    }

    is_int(tn_path_home(a->path), 2, "for some minutes");
    is_int(a->conns[1].open, 0, "in which the first is left alone");

    for (i = 0; i < 9; i++) {
        world_run(world, 10000);
        tn_path_stun_again(a->path, world->now);
    }

    ok(tn_path_home(a->path) == 1 && a->conns[1].login,
       "then it is tried, and home again");

    world_free(world);
}


/* the network goes and comes back: no region was to blame */
static void
check_outage(bool told)
{
    node_t   *a;
    world_t  *world;
    unsigned  i, moved;

    world = world_create(24, 3);
    a = world_add(world, NAT_EASY);
    world_run(world, 20000);
    is_int(tn_path_home(a->path), 1, "home is 1");

    a->cut = true;

    for (i = 1; i <= 3; i++) {
        world->regions[i].dead = true;
        world_derp_kill(a, i);
    }

    tn_path_set_control_up(a->path, world->now, false);
    world_run(world, 60000);

    a->cut = false;

    for (i = 1; i <= 3; i++) {
        world->regions[i].dead = false;
    }

    if (told) {
        tn_path_network_changed(a->path, world->now);
    }

    tn_path_set_control_up(a->path, world->now, true);
    moved = 0;

    for (i = 0; i < 60; i++) {
        world_run(world, 1000);
        moved += tn_path_home(a->path) != 1;
    }

    is_int(moved, 0, told ? "a minute without network: home stays"
                          : "also when nobody tells that it is back");
    ok(a->conns[1].login, "and is connected");

    /* it counts again from then on */

    world->regions[1].dead = true;
    world_derp_kill(a, 1);
    world_run(world, 30000);
    is_int(tn_path_home(a->path), 2, "a relay that is gone is left");

    world_free(world);
}


static void
relays(world_t *world, node_t *node, bool dead)
{
    unsigned  i;

    for (i = 1; i <= world->nregions; i++) {
        world->regions[i].dead = dead;

        if (dead) {
            world_derp_kill(node, i);
        }
    }
}


/* the same without UDP: in the end all of them answer again */
static void
check_outage_tcp(void)
{
    node_t   *a;
    world_t  *world;
    unsigned  i, k, moved;

    world = world_create(27, 3);
    a = world_add(world, NAT_BLOCKED);
    world_run(world, 20000);
    is_int(tn_path_home(a->path), 1, "home is 1, without UDP");
    moved = 0;

    for (i = 0; i < 8; i++) {
        relays(world, a, true);
        world_run(world, 30000 + 977 * i);
        relays(world, a, false);

        for (k = 0; k < 60; k++) {
            world_run(world, 1000);
            moved += tn_path_home(a->path) != 1
                     || a->netinfo.preferred_derp != 1;
        }
    }

    is_int(moved, 0, "eight times half a minute without network: it stays");
    ok(a->conns[1].login, "and is connected");

    /* one of them does not: while nobody can be told of it, it stays */

    relays(world, a, true);
    world_run(world, 20000);
    tn_path_set_control_up(a->path, world->now, false);
    world->regions[2].dead = false;
    world_run(world, 20000);
    is_int(tn_path_home(a->path), 1, "without control home stays");
    tn_path_set_control_up(a->path, world->now, true);
    world_run(world, 20000);
    is_int(tn_path_home(a->path), 2, "and moves with it");
    ok(a->conns[2].login, "to one that is connected");

    world_free(world);
}


/* two that know where the other is, and reach it there */
static world_t *
direct_pair(node_t **a, node_t **b)
{
    world_t  *world;

    world = world_pair(22, 2, NAT_EASY, NAT_EASY, a, b);
    world_know(*a, *b);
    world_know(*b, *a);
    world_talk(world, *a, *b, 30000, 100);
    is_int(tn_path_kind((*a)->peers[(*b)->id], world->now), TN_PATH_DIRECT,
           "a direct path");

    return world;
}


/* links of others come and go */
static void
check_touched(void)
{
    node_t            *a, *b;
    size_t             n;
    world_t           *world;
    uint64_t           reports;
    tn_path_change_t   changes[TN_PATH_HISTORY];

    world = direct_pair(&a, &b);

    n = tn_path_history(a->peers[b->id], changes);
    reports = tn_path_counters(a->path)->reports;
    tn_path_network_touched(a->path, world->now);
    is_int(tn_path_kind(a->peers[b->id], world->now), TN_PATH_DIRECT,
           "stays when another link goes");
    world_talk(world, a, b, 5000, 100);
    is_int((long long) tn_path_history(a->peers[b->id], changes),
           (long long) n, "and was never left");
    is_int(a->got_derp, 0, "nothing went by DERP");
    ok(tn_path_counters(a->path)->reports > reports, "STUN was asked");

    world_free(world);
}


/* an address is gone that a direct path began at: how long nothing comes */
static tn_ms_t
lost_gap(bool moved)
{
    node_t   *a, *b;
    tn_ms_t   gap;
    world_t  *world;

    world = world_pair(22, 2, NAT_EASY, NAT_EASY, &a, &b);
    world_talk(world, a, b, 30000, 100);

    a->cut = true;

    if (moved) {
        tn_path_network_changed(a->path, world->now);

    } else {
        tn_path_network_readdressed(a->path, world->now);
    }

    world_talk(world, a, b, 20000, 100);
    gap = a->worst_gap;

    is_int(tn_path_kind(a->peers[b->id], world->now), TN_PATH_DERP,
           "a path that began there is left");
    world_free(world);

    return gap;
}


/* an address comes that no path uses, or one goes that some do */
static void
check_readdressed(void)
{
    node_t            *a, *b;
    size_t             n;
    tn_ms_t            gap;
    world_t           *world;
    tn_addr_t          addrs[2];
    uint64_t           calls;
    tn_path_change_t   changes[TN_PATH_HISTORY];

    world = direct_pair(&a, &b);

    n = tn_path_history(a->peers[b->id], changes);
    calls = tn_path_counters(a->path)->calls_sent;

    addrs[0] = a->addr;
    addrs[1].ip = ip("172.17.0.1");
    addrs[1].port = a->addr.port;
    tn_path_set_local(a->path, world->now, addrs, 2, a->addr.port, 0);
    tn_path_network_readdressed(a->path, world->now);
    ok(a->peers[b->id]->best.port != 0, "stays when another address comes");

    world_talk(world, a, b, 1000, 100);
    is_int(tn_path_kind(a->peers[b->id], world->now), TN_PATH_DIRECT,
           "and is proven anew at once");
    world_talk(world, a, b, 5000, 100);
    is_int((long long) tn_path_history(a->peers[b->id], changes),
           (long long) n, "it was never left");
    ok(a->worst_gap < 200, "and nothing was late: %llu ms",
       (unsigned long long) a->worst_gap);
    ok(has_endpoint(a, "172.17.0.1:41641", TN_ENDPOINT_LOCAL),
       "the address is told");
    ok(tn_path_counters(a->path)->calls_sent > calls, "to the peer too");

    world_free(world);

    gap = lost_gap(false);
    ok(gap <= lost_gap(true), "as soon as by a move: %llu ms",
       (unsigned long long) gap);
}


/* a peer whose home is unknown is answered where it called from */
static void
check_reverse(void)
{
    node_t               *a, *b;
    world_t              *world;
    tn_path_peer_conf_t   conf;

    world = world_pair(6, 2, NAT_BLOCKED, NAT_EASY, &a, &b);
    tn_path_peer_remove(b->peers[0]);
    b->peers[0] = NULL;

    conf = world_conf(a);
    conf.home_derp = 0;
    conf.nendpoints = 0;
    b->peers[0] = tn_path_peer_add(b->path, world->now, &conf, NULL);
    is_int(tn_path_kind(b->peers[0], world->now), TN_PATH_NONE,
           "a peer without a home has no path");

    world_talk(world, a, b, 3000, 100);
    ok(a->got_derp >= 28, "but is answered where it came from");

    /* a home that is elsewhere: the open connection serves */

    conf.home_derp = tn_path_home(b->path) == 1 ? 2 : 1;
    conf.node_key = a->node.pub;
    (void) tn_path_peer_update(b->peers[0], world->now, &conf);
    is_int(b->peers[0]->derp, conf.home_derp, "its home is told");
    world_talk(world, a, b, 3000, 100);
    ok(a->got_derp >= 28 && !b->conns[conf.home_derp].open,
       "no connection is made while a reverse route is there");

    /* an expired peer: nothing in, nothing out */

    conf.expired = true;
    (void) tn_path_peer_update(b->peers[0], world->now, &conf);
    world_talk(world, a, b, 3000, 100);
    is_int(a->got_derp + a->got_udp, 0, "an expired peer gets no answer");
    is_int(tn_path_kind(b->peers[0], world->now), TN_PATH_NONE, "nor a path");

    world_free(world);
}


/* names instead of addresses, and maps that change */
static void
check_map(void)
{
    node_t               *a;
    world_t              *world;
    tn_derpmap_t         *map;
    tn_derpmap_region_t  *region;

    world = world_create(7, 2);
    map = tn_derpmap_copy(world->map);
    region = (tn_derpmap_region_t *) tn_derpmap_find(map, 2);
    (void) tn_derpmap_set_string(&region->nodes[0].ipv4, "", 0);

    a = world_add(world, NAT_EASY);
    world_run(world, 5000);
    is_int(tn_path_home(a->path), 1, "home is 1");
    is_str(a->asked, "", "no name is resolved");

    (void) tn_path_set_derpmap(a->path, world->now, map);
    ok(a->conns[1].login, "a region that is the same keeps its connection");
    world_run(world, 5000);
    is_str(a->asked, "derp2.example", "a name is resolved");
    is_int((int) (tn_netcheck_latency(((tn_path_t *) a->path)->netcheck, 2,
                                      true)), 50, "and the server answers");

    /* control says which regions it likes */

    (void) tn_derpmap_set_score(map, 2, 0.2);
    (void) tn_path_set_derpmap(a->path, world->now, map);
    world_run(world, 5000);
    is_int(tn_path_home(a->path), 2, "home follows the score");

    region->no_measure_no_home = true;
    (void) tn_path_set_derpmap(a->path, world->now, map);
    world_run(world, 5000);
    is_int(tn_path_home(a->path), 1, "a region that may be no home is none");

    tn_derpmap_remove_region(map, 1);
    (void) tn_path_set_derpmap(a->path, world->now, map);
    ok(!a->conns[1].open, "the connection of a region that is gone is closed");
    world_run(world, 10000);
    is_int(tn_path_home(a->path), 0, "and there is no home to be had");

    /* the same with UDP: an empty map, then a full one */

    tn_derpmap_remove_region(map, 2);
    (void) tn_path_set_derpmap(a->path, world->now, map);
    world_run(world, 10000);
    (void) tn_path_set_derpmap(a->path, world->now, world->map);
    world_run(world, 5000);
    is_int(tn_path_home(a->path), 1, "home is 1 again");

    tn_derpmap_free(map);
    world_free(world);
}


int
main(void)
{
    (void) tn_crypto_init();

    check_first_report();
    check_home();
    check_periodic();
    check_relays();
    check_silent_login();
    check_lost_home();
    check_deaf_home();
    check_trial();
    check_outage(true);
    check_outage(false);
    check_outage_tcp();
    check_touched();
    check_readdressed();
    check_reverse();
    check_map();

    return tap_done();
}
