
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Peers that nobody talks to: WireGuard and the path machine do not know
 * them, and what makes them known.
 */

#include "tap.h"

#include "plane_world.h"

#include "node/tn_plane_private.h"


static unsigned
known(unsigned i)
{
    unsigned             n;
    const tn_wg_peer_t  *peer;

    n = 0;

    for (peer = tn_wg_peer_next(sides[i].plane->wg, NULL); peer != NULL;
         peer = tn_wg_peer_next(sides[i].plane->wg, peer))
    {
        n++;
    }

    return n;
}


/* peer `id` of side 0, with a key and an address made of the id */
static tn_update_t *
other(int64_t id, const tn_key_t *disco)
{
    char               text[32];
    tn_update_t       *update;
    tn_update_peer_t  *peer;

    update = calloc(1, sizeof(tn_update_t));
    update->peers = calloc(1, sizeof(tn_update_peer_t));
    update->npeers = 1;

    peer = update->peers;
    peer->id = id;
    memcpy(peer->key.b, &id, sizeof(id));
    peer->key.b[31] = 0x40;
    peer->disco = *disco;
    peer->home_derp = 7;

    snprintf(text, sizeof(text), "100.100.%u.%u", (unsigned) (id >> 8 & 255),
             (unsigned) (id & 255));
    peer->own4 = ip(text);
    peer->allowed = calloc(1, sizeof(tn_prefix_t));
    peer->allowed[0] = tn_prefix_of(&peer->own4);
    peer->nallowed = 1;

    snprintf(text, sizeof(text), "198.51.%u.%u", (unsigned) (id >> 8 & 255),
             (unsigned) (id & 255));
    peer->endpoints = calloc(1, sizeof(tn_addr_t));
    peer->endpoints[0].ip = ip(text);
    peer->endpoints[0].port = 41641;
    peer->nendpoints = 1;

    return update;
}


static bool
awake(int64_t id)
{
    tn_plane_peer_t  *peer;

    peer = tn_plane_peer_find(sides[0].plane, id);

    return peer != NULL && peer->wg != NULL && peer->path != NULL;
}


static void
forget(int64_t id)
{
    tn_update_t  *update;

    update = calloc(1, sizeof(tn_update_t));
    update->removed = calloc(1, sizeof(int64_t));
    update->removed[0] = id;
    update->nremoved = 1;
    tn_plane_update(sides[0].plane, now, update);
}


static void
test_traffic(void)
{
    unsigned  i;

    update(0, &sides[1].disco.pub, false);
    update(1, &sides[0].disco.pub, false);

    is_int(known(0) + known(1), 0, "a map alone makes nobody known");

    talk(0);
    is_int(known(0), 1, "a packet for a peer does");
    is_int(known(1), 0, "but not yet to the other side");

    for (i = 0; i < 400 && tn_plane_stats(sides[1].plane)->in_filtered == 0;
         i++)
    {
        run(50);
        talk(0);
    }

    is_int(known(1), 1, "which is woken by what comes");
    ok(tn_plane_stats(sides[1].plane)->in_filtered > 0, "and takes packets");
}


static void
test_disco(void)
{
    uint8_t      msg[80];
    tn_key_t     disco;
    tn_update_t *o;

    memset(&disco, 7, sizeof(disco));

    tn_plane_update(sides[0].plane, now, other(100, &disco));
    tn_plane_update(sides[0].plane, now, other(101, &disco));
    tn_plane_update(sides[0].plane, now, other(102, &disco));

    /* the first of the three, by which the others are found, goes */

    forget(100);

    memset(msg, 0, sizeof(msg));
    memcpy(msg, "TS\xf0\x9f\x92\xac", 6);
    memcpy(msg + 6, disco.b, 32);
    msg[6] ^= 1;
    give(&sides[1].addr, msg, sizeof(msg));
    ok(!awake(101) && !awake(102), "a disco key of nobody wakes nobody");
    msg[6] ^= 1;
    give(&sides[1].addr, msg, sizeof(msg));
    ok(awake(101) && awake(102), "all that have a disco key wake by it");

    disco.b[0]++;
    tn_plane_update(sides[0].plane, now, other(103, &disco));
    msg[6]++;
    disco.b[0]++;
    tn_plane_update(sides[0].plane, now, other(103, &disco));
    give(&sides[1].addr, msg, sizeof(msg));
    ok(!awake(103), "a disco key that it has no more does not");

    o = other(104, &disco);
    o->peers[0].expired = true;
    tn_plane_update(sides[0].plane, now, o);
    tn_plane_peer_absent_path(sides[0].plane, now,
                              &tn_plane_peer_find(sides[0].plane, 104)->key);
    ok(!awake(104), "an expired one sleeps on when it comes by DERP");
    tn_plane_peer_absent_path(sides[0].plane, now,
                              &tn_plane_peer_find(sides[0].plane, 103)->key);
    ok(awake(103), "one that is not does not");

    forget(101);
    forget(102);
    forget(103);
    forget(104);
    is_int(sides[0].plane->discos.count, 1, "no key is left behind");
    is_int(sides[0].plane->keys.count, 1, "of both kinds");
}


static void
test_words(void)
{
    tn_ip_t                 own;
    tn_key_t                disco, key;
    tn_update_t            *o;
    tn_plane_peer_status_t  status;

    memset(&disco, 9, sizeof(disco));

    o = other(200, &disco);
    o->peers[0].relay_target = true;
    tn_plane_update(sides[0].plane, now, o);
    ok(awake(200), "one with a relay for us is there from the start");

    tn_plane_update(sides[0].plane, now, other(201, &disco));
    ok(tn_plane_peer_status(sides[0].plane, now, 201, &status)
       && status.kind == TN_PATH_NONE && status.latency_ms < 0
       && status.wg.sent_packets == 0, "one that sleeps has a status");
    ok(!awake(201), "which does not wake it");
    key = tn_plane_peer_find(sides[0].plane, 201)->key;
    ok(tn_plane_path_peer(sides[0].plane, now, &key) != NULL && awake(201),
       "who asks for its path does");
    key.b[9]++;
    ok(tn_plane_path_peer(sides[0].plane, now, &key) == NULL,
       "a key of nobody has none");

    /* the same key under another id, and then another key */

    tn_plane_update(sides[0].plane, now, other(202, &disco));
    own = ip("100.100.0.202");
    o = other(203, &disco);
    o->peers[0].key = tn_plane_peer_find(sides[0].plane, 202)->key;
    o->peers[0].allowed[0] = tn_prefix_of(&own);
    tn_plane_update(sides[0].plane, now, o);
    ok(tn_plane_peer_find(sides[0].plane, 202) == NULL,
       "a key that moves leaves its id");
    ok(tn_wg_route(sides[0].plane->wg, &own)
       == tn_plane_peer_find(sides[0].plane, 203), "the address goes along");
    tn_plane_update(sides[0].plane, now, other(203, &disco));
    ok(tn_wg_route(sides[0].plane->wg, &own) == NULL,
       "an address that is no more leads nowhere");

    forget(200);
    forget(201);
    forget(203);
}


/* data of a session that nobody knows, from an endpoint by the map */
static void
test_stale(void)
{
    uint8_t    msg[64];
    unsigned   sent;
    tn_key_t   disco;
    tn_addr_t  from;

    memset(&disco, 11, sizeof(disco));
    memset(&from, 0, sizeof(from));
    memset(msg, 0, sizeof(msg));
    msg[0] = 4;

    tn_plane_update(sides[0].plane, now, other(300, &disco));
    from.ip = ip("198.51.1.45");
    from.port = 41641;
    run(1000);
    give(&from, msg, sizeof(msg));
    ok(!awake(300), "from elsewhere it wakes nobody");

    from.ip = ip("198.51.1.44");
    run(1000);
    sent = sides[0].sent;
    give(&from, msg, sizeof(msg));
    ok(awake(300), "from an endpoint it wakes the peer");
    ok(sides[0].sent > sent, "and we shake hands");

    forget(300);
}


static void
test_many(void)
{
    int64_t   i;
    tn_key_t  disco;

    for (i = 1000; i < 11000; i++) {
        memset(&disco, 13, sizeof(disco));
        memcpy(disco.b, &i, sizeof(i));
        tn_plane_update(sides[0].plane, now, other(i, &disco));
    }

    is_int(sides[0].plane->peers.count, 10001, "10,000 more");
    is_int(known(0), 1, "are not known");

    for (i = 1000; i < 11000; i++) {
        forget(i);
    }

    is_int(sides[0].plane->peers.count, 1, "and go again");
}


int
main(void)
{
    (void) tn_crypto_init();
    tn_timers_init(&timers);

    make(0);
    make(1);

    test_traffic();
    test_disco();
    test_words();
    test_stale();
    test_many();

    tn_plane_destroy(sides[0].plane);
    tn_plane_destroy(sides[1].plane);
    tn_timers_done(&timers);

    return tap_done();
}
