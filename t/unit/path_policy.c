
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What goes beyond upstream's choice of path: slow and flapping direct paths,
 * and what people may ask and order.
 */

#include "tap.h"

#include "path_world.h"


typedef struct {
    unsigned        calls;
    tn_path_pong_t  pong;
} asked_t;


static void
answered(void *data, tn_ms_t now, const tn_path_pong_t *pong)
{
    asked_t *asked = data;

    (void) now;

    asked->calls++;
    asked->pong = *pong;
}


static bool
has_why(const tn_path_peer_t *peer, tn_path_why_e why)
{
    size_t            i, n;
    tn_path_change_t  changes[TN_PATH_HISTORY];

    n = tn_path_history(peer, changes);

    for (i = 0; i < n; i++) {
        if (changes[i].why == why) {
            return true;
        }
    }

    return false;
}


/* the round trip grows from 20 to 140 ms; the relay's is 60 */
static void
check_slow(void)
{
    node_t   *a, *b;
    tn_ms_t   start;
    world_t  *world;

    world = world_pair(21, 1, NAT_NONE, NAT_NONE, &a, &b);
    world_talk(world, a, b, 30000, 100);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT, "direct");
    ok(tn_path_latency(a->peers[1]) == 20, "at 20 ms");

    b->slow = 60;
    start = world->now;

    while (world->now - start < 60000
           && tn_path_kind(a->peers[1], world->now) == TN_PATH_DIRECT)
    {
        world_talk(world, a, b, 100, 100);
    }

    ok(world->now - start < 10000, "seven times slower: DERP after %llu ms",
       (unsigned long long) (world->now - start));

    world_talk(world, a, b, 30000, 100);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DERP,
           "and it stays there");
    ok(a->worst_gap <= 250, "without a gap");
    ok(has_why(a->peers[1], TN_PATH_WHY_SLOW), "the history says why");

    b->slow = 0;
    start = world->now;

    while (world->now - start < 60000
           && tn_path_kind(a->peers[1], world->now) != TN_PATH_DIRECT)
    {
        world_talk(world, a, b, 100, 100);
    }

    ok(world->now - start < 20000, "fast again: direct after %llu ms",
       (unsigned long long) (world->now - start));
    ok(has_why(a->peers[1], TN_PATH_WHY_RECOVERED), "as recovered");
    is_int((long long) tn_path_counters(a->path)->recovered, 1, "counted");

    world_free(world);
}


/* a relay that is slower still is no way out */
static void
check_slow_relay(void)
{
    node_t   *a, *b;
    unsigned  i, derp;
    world_t  *world;

    world = world_create(22, 1);
    a = world_add(world, NAT_NONE);
    b = world_add(world, NAT_NONE);
    world->regions[1].latency = 150;
    world_meet(world, a, b);
    world_talk(world, a, b, 30000, 100);
    b->slow = 60;
    world_talk(world, a, b, 15000, 100);

    for (i = 0, derp = 0; i < 60; i++) {
        world_talk(world, a, b, 1000, 100);
        derp += tn_path_kind(a->peers[1], world->now) != TN_PATH_DIRECT;
    }

    is_int(derp, 0, "slow, and the relay is slower: it stays direct");
    is_int((long long) tn_path_counters(a->path)->demoted, 1,
           "demoted all the same");

    /* what has lasted is the rule */

    world_talk(world, a, b, 400000, 1000);
    is_int((long long) tn_path_counters(a->path)->recovered, 1,
           "forgiven after five minutes");

    world_free(world);
}


/* the other dies and comes back again and again */
static void
flap(world_t *world, node_t *a, node_t *b)
{
    unsigned  i;

    for (i = 0; i < 5; i++) {
        b->cut = false;
        world_talk(world, a, b, 12000, 100);
        b->cut = true;
        world_talk(world, a, b, 14000, 100);
    }
}


static void
check_flapping(void)
{
    node_t   *a, *b;
    tn_ms_t   start;
    world_t  *world;

    world = world_pair(23, 1, NAT_NONE, NAT_NONE, &a, &b);

    flap(world, a, b);
    is_int((long long) tn_path_counters(a->path)->demoted, 1,
           "lost five times: demoted");

    b->cut = false;
    start = world->now;
    world_talk(world, a, b, 10000, 100);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DERP,
           "back, and not believed at once");

    while (world->now - start < 90000
           && tn_path_kind(a->peers[1], world->now) != TN_PATH_DIRECT)
    {
        world_talk(world, a, b, 100, 100);
    }

    ok(world->now - start > 12000 && world->now - start < 60000,
       "but after %llu ms of answers",
       (unsigned long long) (world->now - start));

    world_free(world);
}


/* the same, and no relay can be had in place of it */
static void
check_flapping_alone(void)
{
    node_t   *a, *b;
    world_t  *world;

    world = world_pair(28, 1, NAT_NONE, NAT_NONE, &a, &b);

    world->regions[1].dead = true;
    world_derp_kill(a, 1);
    world_derp_kill(b, 1);

    flap(world, a, b);
    is_int((long long) tn_path_counters(a->path)->demoted, 1,
           "lost five times, the relay is gone too: demoted");

    b->cut = false;
    world_talk(world, a, b, 6000, 100);
    ok(a->got_udp > 5, "back, and used for want of another: %u answers",
       a->got_udp);

    world->regions[1].dead = false;
    world_talk(world, a, b, 60000, 100);
    ok(a->worst_gap <= 250, "no gap when one is at the relay before the other");
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT, "direct");

    world_free(world);
}


/* WireGuard hears a peer before disco has proven a way */
static void
check_heard(void)
{
    node_t           *a, *b;
    world_t          *world;
    tn_path_route_t   route;

    world = world_pair(24, 1, NAT_NONE, NAT_NONE, &a, &b);

    tn_path_received(a->peers[1], world->now, &b->addr);
    tn_path_route(a->peers[1], world->now, &route);
    ok(tn_addr_equal(&route.udp, &b->addr) && route.derp == 1,
       "replies go where the peer was heard, and over DERP");
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DERP,
           "it is not proven");

    world_talk(world, a, b, 1000, 100);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DIRECT,
           "until it answers a ping");

    world_free(world);
}


static void
check_ping(void)
{
    node_t    *a, *b;
    asked_t    asked;
    world_t   *world;
    tn_addr_t  was;

    world = world_pair(25, 1, NAT_NONE, NAT_NONE, &a, &b);
    memset(&asked, 0, sizeof(asked));

    is_int(tn_path_ping(a->peers[1], world->now, answered, &asked), TN_OK,
           "ping");
    is_int(asked.calls, 0, "not answered at once");
    world_run(world, 1000);
    ok(asked.calls == 1 && asked.pong.rc == TN_OK && asked.pong.region == 1,
       "answered over DERP, for want of a direct path");
    is_int(asked.pong.latency_us, 60000, "in 60 ms");

    is_int(tn_path_ping(a->peers[1], world->now, answered, &asked), TN_OK,
           "ping again");
    world_run(world, 1000);
    was = b->addr;
    ok(asked.calls == 2 && asked.pong.rc == TN_OK && asked.pong.region == 0
       && tn_addr_equal(&asked.pong.addr, &was),
       "the first has found the direct path");
    is_int(asked.pong.latency_us, 20000, "in 20 ms");

    b->cut = true;
    (void) tn_path_ping(a->peers[1], world->now, answered, &asked);
    world_run(world, 10000);
    ok(asked.calls == 3 && asked.pong.rc == TN_AGAIN, "no answer");

    (void) tn_path_ping(a->peers[1], world->now, answered, &asked);
    tn_path_peer_remove(a->peers[1]);
    a->peers[1] = NULL;
    ok(asked.calls == 4 && asked.pong.rc == TN_CLOSED, "the peer is gone");
    world_run(world, 10000);
    is_int(asked.calls, 4, "each was answered once");

    world_free(world);
}


static void
check_orders(void)
{
    size_t                       n;
    node_t                      *a, *b;
    tn_ms_t                      at;
    world_t                     *world;
    tn_path_change_t             changes[TN_PATH_HISTORY];
    const tn_netcheck_report_t  *report;
    const tn_path_counters_t    *counters;

    world = world_create(26, 2);
    a = world_add(world, NAT_EASY);
    b = world_add(world, NAT_EASY);

    ok(tn_path_report(a->path, &at) == NULL, "no report at first");
    world_meet(world, a, b);
    report = tn_path_report(a->path, &at);
    ok(report != NULL && report->udp && report->v4 && !report->v6
       && report->preferred == 1, "then there is one");
    is_int(tn_path_region_latency(a->path, 1, true), 30, "with latencies");

    world_talk(world, a, b, 5000, 100);
    n = tn_path_history(a->peers[1], changes);
    ok(n >= 1 && changes[n - 1].kind == TN_PATH_DIRECT
       && changes[n - 1].latency_us == 20000
       && tn_addr_equal(&changes[n - 1].addr, &a->peers[1]->best),
       "the history ends with the direct path");

    counters = tn_path_counters(a->path);
    ok(counters->pings_sent > 0 && counters->pongs_received > 0
       && counters->calls_sent > 0 && counters->reports > 0, "counters");

    is_int(tn_path_force_home(a->path, world->now, 9), TN_NOTFOUND,
           "a region that is not there");
    is_int(tn_path_force_home(a->path, world->now, 2), TN_OK, "home is 2");
    is_int(a->netinfo.preferred_derp, 2, "control knows");
    world_talk(world, a, b, 60000, 1000);
    is_int(tn_path_home(a->path), 2, "and it stays");
    (void) tn_path_force_home(a->path, world->now, 0);
    world_run(world, 5000);
    is_int(tn_path_home(a->path), 1, "until it is left to netcheck");

    ok(tn_path_derp_is_up(a->path, 1), "the relay is up");
    is_int(tn_path_break_derp(a->path, world->now, 1), TN_OK, "broken");
    ok(!tn_path_derp_is_up(a->path, 1), "down");
    world_run(world, 2000);
    ok(tn_path_derp_is_up(a->path, 1), "and up again");

    n = (size_t) counters->reports;
    tn_path_stun_again(a->path, world->now);
    world_run(world, 5000);
    ok(counters->reports > n, "STUN by order");

    world_free(world);
}


/* no derper sends it today: the client obeys what it says all the same */
static void
check_restarting(void)
{
    node_t   *a, *b;
    uint8_t   frame[TN_DERP_HEAD + 8] = { 0 };
    world_t  *world;

    world = world_pair(27, 2, NAT_BLOCKED, NAT_BLOCKED, &a, &b);
    world_talk(world, a, b, 15000, 100);

    tn_derp_head_write(frame, TN_DERP_RESTARTING, 8);
    frame[TN_DERP_HEAD + 2] = 3000 >> 8;
    frame[TN_DERP_HEAD + 3] = 3000 & 0xff;
    tn_path_derp_bytes(a->path, world->now, 1, frame, sizeof(frame));
    ok(tn_path_derp_is_up(a->path, 1), "restarting: it is still there");
    world_derp_kill(a, 1);
    world_run(world, 2900);
    ok(!tn_path_derp_is_up(a->path, 1), "not before it is told to");
    world_run(world, 1000);
    ok(tn_path_derp_is_up(a->path, 1), "then the relay is back");

    world_derp_kill(a, 1);
    world_run(world, 2000);
    ok(tn_path_derp_is_up(a->path, 1), "without such a word it is at once");

    world_free(world);
}


/*
 * A peer forgets an address of ours when a call leaves it out that an earlier
 * one has named: so there is an earlier one, and none gets lost.
 */
static void
check_called(void)
{
    node_t                    *a, *b;
    world_t                   *world;
    uint64_t                   calls;
    const tn_path_counters_t  *counters;

    world = world_pair(26, 1, NAT_NONE, NAT_NONE, &a, &b);
    counters = tn_path_counters(b->path);

    world_talk(world, a, b, 3000, 100);
    is_int(tn_path_kind(b->peers[0], world->now), TN_PATH_DIRECT,
           "found by the other side");
    ok(counters->calls_sent >= 1 && counters->calls_sent <= 2,
       "which is called all the same");

    calls = counters->calls_sent;
    tn_path_network_changed(b->path, world->now);
    world_talk(world, a, b, 1000, 100);
    ok(counters->calls_sent > calls, "called when the network changes");

    calls = counters->calls_sent;
    is_int(tn_path_break_derp(b->path, world->now, 1), TN_OK,
           "the relay's connection breaks");
    world_talk(world, a, b, 3000, 100);
    is_int((long long) (counters->calls_sent - calls), 1, "called again");

    world_talk(world, a, b, 10000, 100);
    calls = counters->calls_sent;
    is_int(tn_path_break_derp(b->path, world->now, 1), TN_OK,
           "it breaks much later");
    world_talk(world, a, b, 3000, 100);
    is_int((long long) (counters->calls_sent - calls), 0,
           "what was called has arrived");

    world_free(world);
}


/*
 * As it gets slower and faster again; a way of 2 ms there and back begins it,
 * and once in two spans is enough.
 */
static void
check_near(void)
{
    size_t    i;
    node_t   *a, *b;
    world_t  *world;

    static const struct {
        unsigned     latency;
        tn_ms_t      for_ms;
        bool         near;
        const char  *name;
    } steps[] = {
        { 20, 60000, false, "40 ms: not near" },
        { 1, 10000, true, "2 ms: near" },
        { 20, 60000, true, "a minute of 40 ms: a queue, still near" },
        { 4, 400000, true, "8 ms: still near, nothing flaps" },
        { 20, 400000, false, "40 ms for good: not near" },
        { 3, 60000, false, "6 ms: still not" },
        { 1, 10000, true, "2 ms: near again" }
    };

    world = world_create(31, 1);
    a = world_add(world, NAT_NONE);
    b = world_add(world, NAT_NONE);
    a->latency = 0;
    b->latency = 1;
    world_meet(world, a, b);
    ok(!a->peers[1]->near, "not near before it is measured");

    for (i = 0; i < tn_nelems(steps); i++) {
        b->latency = steps[i].latency;
        world_talk(world, a, b, steps[i].for_ms, 100);
        is_int(a->peers[1]->near, steps[i].near, steps[i].name);
    }

    world_run(world, 600000);
    is_int(tn_path_kind(a->peers[1], world->now), TN_PATH_DERP,
           "nothing is said for ten minutes");
    ok(a->peers[1]->near, "what was measured last holds");

    world_free(world);
}


int
main(void)
{
    (void) tn_crypto_init();

    check_slow();
    check_slow_relay();
    check_flapping();
    check_flapping_alone();
    check_heard();
    check_ping();
    check_orders();
    check_restarting();
    check_called();
    check_near();

    return tap_done();
}
