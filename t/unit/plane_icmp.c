
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Two data planes on a virtual clock, of which one says by ICMP what became
 * of packets of the other: to itself, and to somebody else.
 */

#include "tap.h"

#include "plane_world.h"
#include "stack/tn_dgram.h"
#include "stack/tn_vnet.h"
#include "wire/tn_icmp.h"


/* side 1 has an error for what side 0 has sent to `to`, of this many bytes */
static size_t
says(tn_icmp_error_t error, const char *to, size_t quoted)
{
    size_t       len;
    uint8_t      packet[256], frame[sizeof(tn_vnet_t) + 1280];
    uint64_t     before;
    tn_addr_t    from, dst;
    tn_packet_t  p;

    from.ip = sides[0].own.ip;
    from.port = 443;
    dst.ip = ip(to);
    dst.port = 5000;

    len = tn_dgram_build(packet, sizeof(packet), &from, &dst, 100);
    (void) tn_packet_parse(&p, packet, len);

    memset(frame, 0, sizeof(frame));
    len = tn_icmp_error(frame + sizeof(tn_vnet_t),
                        tn_min(sizeof(frame) - sizeof(tn_vnet_t),
                               28 + quoted),
                        error, 600, &sides[1].own.ip, packet, &p);

    before = sides[0].got;
    tn_plane_tun(sides[1].plane, now, frame, sizeof(tn_vnet_t) + len);
    tn_plane_tun_done(sides[1].plane);
    run(100);

    return len == 0 ? 0 : (size_t) (sides[0].got - before);
}


int
main(void)
{
    unsigned                 i;
    uint64_t                 filtered;
    const tn_plane_stats_t  *stats;

    (void) tn_crypto_init();
    tn_timers_init(&timers);

    make_both();
    stats = tn_plane_stats(sides[0].plane);

    /* nothing may come in: the first packet that is refused is through */

    for (i = 0; i < 1000 && stats->in_filtered == 0; i++) {
        talk(1);
        run(20);
    }

    ok(says(TN_ICMP_TOO_BIG, "100.64.0.2", 128) > 128,
       "what went to the peer may be too long for it");
    ok(says(TN_ICMP_PORT_UNREACHABLE, "100.64.0.2", 28) != 0,
       "or not arrive");

    filtered = stats->in_filtered;

    is_int((long long) says(TN_ICMP_TOO_BIG, "100.64.0.7", 128), 0,
           "it says nothing of what went to another");
    is_int((long long) says(TN_ICMP_PORT_UNREACHABLE, "100.64.0.7", 28), 0,
           "neither that nor this");
    is_int((long long) (stats->in_filtered - filtered), 2,
           "both are counted");

    tn_plane_destroy(sides[0].plane);
    tn_plane_destroy(sides[1].plane);
    tn_timers_done(&timers);

    return tap_done();
}
