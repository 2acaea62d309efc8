
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Two data planes on a virtual clock: a new WireGuard session carries each
 * side's disco key to the other, and what control forbids is not sent.
 */

#include "tap.h"

#include "plane_world.h"


int
main(void)
{
    unsigned         i, sent;
    tn_keypair_t     old, fresh;
    tn_path_route_t  route;

    (void) tn_crypto_init();
    tn_timers_init(&timers);

    make(0);
    make(1);

    /* of the second the first has an old key, as after a restart */

    tn_curve_keypair(&old);
    update(0, &old.pub, false);
    update(1, &sides[0].disco.pub, false);

    talk(1);
    run(3000);
    tn_path_route(peer_of(1), now, &route);
    ok(route.udp.port == 0, "pings of an unknown key are not answered");

    /* WireGuard needs no disco: a session comes about, as over DERP */

    for (i = 0; i < 15; i++) {
        tn_path_received(peer_of(1), now, &sides[0].addr);
        talk(1);
        run(1000);
    }

    is_int(tn_path_kind(peer_of(0), now), TN_PATH_DIRECT,
           "a session has carried the key: direct");
    is_int(tn_path_kind(peer_of(1), now), TN_PATH_DIRECT, "on both sides");

    update(0, &old.pub, false);
    talk(0);
    run(9000);
    talk(0);
    run(100);
    is_int(tn_path_kind(peer_of(0), now), TN_PATH_DIRECT,
           "the old key, said again by control, changes nothing");

    tn_curve_keypair(&fresh);
    update(0, &fresh.pub, false);
    is_int(tn_path_kind(peer_of(0), now), TN_PATH_NONE,
           "another key of control does");

    update(0, &sides[1].disco.pub, true);
    run(100);
    sent = sides[0].sent;
    talk(0);
    talk(1);
    run(5000);
    is_int(sides[0].sent, sent, "only-tcp-443: nothing leaves");

    tn_plane_destroy(sides[0].plane);
    tn_plane_destroy(sides[1].plane);
    tn_timers_done(&timers);

    return tap_done();
}
