
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Counters of connections and ways: what is one and the same, both
 * directions, and the limit.
 */

#include "node/tn_tally.h"

#include "tap.h"

#include <stdlib.h>


static tn_packet_t
packet(uint8_t proto, const char *src, uint16_t src_port, const char *dst,
    uint16_t dst_port)
{
    tn_packet_t  p;

    memset(&p, 0, sizeof(p));
    p.proto = proto;
    p.src_port = src_port;
    p.dst_port = dst_port;
    (void) tn_ip_parse(&p.src, src, strlen(src));
    (void) tn_ip_parse(&p.dst, dst, strlen(dst));

    return p;
}


static void
check_counts(void)
{
    size_t             n;
    tn_ip_t            peer;
    tn_ms_t            since;
    uint64_t           left_out;
    tn_addr_t          addr;
    tn_packet_t        in, out, udp;
    tn_tally_t        *tally;
    tn_tally_count_t  *counts;

    tally = tn_tally_create(777);
    counts = tn_tally_copy(tally, &n, &left_out, &since);
    ok(n == 0 && left_out == 0 && since == 777, "empty at first");
    free(counts);

    in = packet(TN_PROTO_TCP, "100.64.0.1", 40000, "100.64.0.2", 80);
    out = packet(TN_PROTO_TCP, "100.64.0.2", 80, "100.64.0.1", 40000);
    udp = packet(TN_PROTO_UDP, "100.64.0.2", 80, "100.64.0.1", 40000);
    peer = in.src;
    (void) tn_addr_parse(&addr, "192.0.2.1:41641", 15);

    tn_tally_packet(tally, &in, false, 1, 60);
    tn_tally_packet(tally, &out, true, 1, 60);
    tn_tally_packet(tally, &out, true, 10, 14000);
    tn_tally_packet(tally, &udp, true, 1, 100);
    tn_tally_message(tally, &peer, &addr, 0, true, 200);
    tn_tally_message(tally, &peer, &addr, 0, false, 300);
    tn_tally_message(tally, &peer, NULL, 901, false, 400);

    counts = tn_tally_copy(tally, &n, &left_out, &since);
    is_int((long long) n, 4, "two connections, two ways");

    ok(!counts[0].way && counts[0].proto == TN_PROTO_TCP
       && counts[0].local.port == 80 && counts[0].remote.port == 40000
       && tn_ip_equal(&counts[0].remote.ip, &peer), "TCP, both directions");
    ok(counts[0].rx_packets == 1 && counts[0].rx_bytes == 60, "what came");
    ok(counts[0].tx_packets == 11 && counts[0].tx_bytes == 14060,
       "what went");
    ok(counts[1].proto == TN_PROTO_UDP && counts[1].tx_bytes == 100
       && counts[1].rx_packets == 0, "UDP with the same ports is another");
    ok(counts[2].way && tn_addr_equal(&counts[2].remote, &addr)
       && tn_ip_equal(&counts[2].local.ip, &peer)
       && counts[2].tx_bytes == 200 && counts[2].rx_bytes == 300,
       "the direct way");
    ok(counts[3].way && counts[3].region == 901 && counts[3].remote.port == 0
       && counts[3].rx_packets == 1 && counts[3].rx_bytes == 400,
       "the relay");

    free(counts);
    tn_tally_destroy(tally);
}


static void
check_limit(void)
{
    size_t             i, n;
    tn_ms_t            since;
    uint64_t           left_out;
    tn_packet_t        first, p;
    tn_tally_t        *tally;
    tn_tally_count_t  *counts;

    tally = tn_tally_create(0);
    first = packet(TN_PROTO_TCP, "100.64.0.1", 1, "100.64.0.2", 443);
    p = packet(TN_PROTO_TCP, "100.64.0.1", 0, "100.64.0.2", 80);

    for (i = 0; i < TN_TALLY_MAX + 1000; i++) {
        tn_tally_packet(tally, &first, false, 1, 1);
        p.src_port = (uint16_t) (10000 + i);
        tn_tally_packet(tally, &p, false, 1, 1);
    }

    counts = tn_tally_copy(tally, &n, &left_out, &since);
    is_int((long long) n, TN_TALLY_MAX, "never more than the limit");
    is_int((long long) left_out, 1001, "the rest is told by its number");
    ok(counts[n - 2].local.port == 443
       && counts[n - 2].rx_packets == TN_TALLY_MAX + 1000,
       "one in use stays");
    is_int(counts[0].remote.port, 10000 + 1001, "the oldest have gone");

    free(counts);
    tn_tally_destroy(tally);
    tn_tally_destroy(NULL);
}


int
main(void)
{
    check_counts();
    check_limit();

    return tap_done();
}
