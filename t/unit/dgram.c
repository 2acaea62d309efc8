
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * UDP of the lwip stack: headers and checksums that are made, datagrams that
 * are taken apart, and whose datagram an ICMP error is about.
 */

#include "stack/tn_dgram.h"
#include "wire/tn_icmp.h"
#include "packets.h"
#include "tap.h"


#define MTU  1280


static bool sum_is_good(const uint8_t *packet, size_t len);
static void addresses(int version, tn_addr_t *own, tn_addr_t *peer);
static const uint8_t *data_of(uint8_t *packet, size_t len, size_t *n);
static void test_build(int version);
static void test_sums(int version);
static void test_lengths(int version);
static void test_unreachable(int version);


int
main(void)
{
    int  version;

    for (version = 4; version <= 6; version += 2) {
        test_build(version);
        test_sums(version);
        test_lengths(version);
        test_unreachable(version);
    }

    return tap_done();
}


/* by the test's own arithmetic */
static bool
sum_is_good(const uint8_t *packet, size_t len)
{
    size_t  ip;

    ip = packet[0] >> 4 == 4 ? 20 : 40;

    if (ip == 20 && pkt_sum(0, packet, 20) != 0xffff) {
        return false;
    }

    return pkt_sum(pkt_pseudo(packet, 17, len - ip), packet + ip, len - ip)
           == 0xffff;
}


static void
addresses(int version, tn_addr_t *own, tn_addr_t *peer)
{
    const char  *text;

    text = version == 4 ? "100.64.0.99:53" : "[fd7a:115c:a1e0::63]:53";
    (void) tn_addr_parse(own, text, strlen(text));
    text = version == 4 ? "100.64.0.7:4000" : "[fd7a:115c:a1e0::7]:4000";
    (void) tn_addr_parse(peer, text, strlen(text));
}


static const uint8_t *
data_of(uint8_t *packet, size_t len, size_t *n)
{
    tn_packet_t  p;

    return tn_packet_parse(&p, packet, len) == TN_OK
           ? tn_dgram_data(packet, &p, n) : NULL;
}


static void
test_build(int version)
{
    size_t          i, n, len, room, good;
    uint8_t         packet[MTU];
    tn_addr_t       own, peer;
    tn_packet_t     p;
    const uint8_t  *data;

    addresses(version, &own, &peer);
    room = tn_dgram_room(&peer);
    good = 0;

    /* of every length: the sum of some is 0, which is sent as ffff */

    for (n = 0; n <= MTU - room; n++) {

        for (i = 0; i < n; i++) {
            packet[room + i] = pkt_content((uint32_t) (n + i));
        }

        len = tn_dgram_build(packet, MTU, &own, &peer, n);

        if (len != room + n || !sum_is_good(packet, len)) {
            continue;
        }

        data = data_of(packet, len, &i);
        good += data == packet + room && i == n
                && data[n ? n - 1 : 0] == packet[room + (n ? n - 1 : 0)];
    }

    is_int((long long) good, (long long) (MTU - room + 1),
           "datagrams of every length are made and taken apart");
    is_int((long long) tn_dgram_build(packet, MTU, &own, &peer,
                                      MTU - room + 1), 0,
           "one that does not fit is not made");

    len = tn_dgram_build(packet, MTU, &own, &peer, 100);
    ok(tn_packet_parse(&p, packet, len) == TN_OK && p.version == version
       && p.src_port == 53 && p.dst_port == 4000
       && tn_ip_equal(&p.src, &own.ip) && tn_ip_equal(&p.dst, &peer.ip),
       "IPv%d: from and to whom", version);

    memset(packet + room, 0, 2);
    (void) tn_dgram_build(packet, MTU, &own, &peer, 2);
    memcpy(packet + room, packet + room - 2, 2);
    (void) tn_dgram_build(packet, MTU, &own, &peer, 2);
    is_mem(packet + room - 2, "\xff\xff", 2, "a sum of 0 is sent as ffff");
}


static void
test_sums(int version)
{
    size_t   len, n, taken;
    pkt_t    k;
    uint8_t  packet[MTU];

    memset(&k, 0, sizeof(k));
    k.version = version;
    k.proto = 17;
    k.ttl = 64;
    k.host = 7;
    k.src_port = 4000;
    k.dst_port = 53;
    k.payload = 33;

    len = pkt_build(&k, packet);
    ok(data_of(packet, len, &n) != NULL && n == 33, "IPv%d: a datagram",
       version);

    /* any bit of the UDP part that is turned over shows */

    taken = 0;

    for (n = (len - 41) * 8; n < len * 8; n++) {
        packet[n / 8] ^= (uint8_t) (1 << n % 8);
        taken += data_of(packet, len, &(size_t) { 0 }) != NULL;
        packet[n / 8] ^= (uint8_t) (1 << n % 8);
    }

    is_int((long long) taken, 0, "one that is broken is not taken");

    pkt_u16(packet + pkt_ip_len(&k) + 6, 0);
    ok((data_of(packet, len, &n) != NULL) == (version == 4),
       "without a checksum: with IPv4 only");
}


static void
test_lengths(int version)
{
    size_t       i, n, len, ip, wrong;
    pkt_t        k;
    uint8_t      packet[MTU];
    tn_packet_t  p;

    memset(&k, 0, sizeof(k));
    k.version = version;
    k.proto = 17;
    k.ttl = 64;
    k.host = 7;
    k.payload = 20;

    len = pkt_build(&k, packet);
    ip = pkt_ip_len(&k);
    (void) tn_packet_parse(&p, packet, len);

    /* a sum of none with IPv4, so that only the length can be wrong */

    wrong = 0;

    for (i = 0; i < 65536; i++) {
        if (i >= 8 && i <= 28) {
            continue;
        }

        pkt_u16(packet + ip + 4, (unsigned) i);
        pkt_u16(packet + ip + 6, version == 4 ? 0 : 1);
        wrong += tn_dgram_data(packet, &p, &n) != NULL;
    }

    is_int((long long) wrong, 0, "a length that cannot be");

    pkt_u16(packet + ip + 4, 8);
    pkt_u16(packet + ip + 6, 0);

    if (version == 4) {
        ok(tn_dgram_data(packet, &p, &n) != NULL && n == 0,
           "what is behind the datagram is not its data");
    }

    p.frag = TN_PACKET_FIRST;
    ok(tn_dgram_data(packet, &p, &n) == NULL, "a fragment is not taken");
    p.frag = TN_PACKET_WHOLE;
    p.proto = TN_PROTO_TCP;
    ok(tn_dgram_data(packet, &p, &n) == NULL, "nor is TCP");
}


/* what a peer without that port answers, and what it leads to */
static void
test_unreachable(int version)
{
    size_t       i, len, n, found;
    uint8_t      proto;
    uint8_t      packet[MTU], error[MTU];
    tn_ip_t      dst;
    tn_addr_t    own, peer, from, to;
    tn_packet_t  p;

    addresses(version, &own, &peer);
    memset(packet, 0, sizeof(packet));

    len = tn_dgram_build(packet, MTU, &own, &peer, 600);
    (void) tn_packet_parse(&p, packet, len);
    n = tn_icmp_error(error, MTU, TN_ICMP_PORT_UNREACHABLE, 0, &peer.ip,
                      packet, &p);

    ok(tn_packet_parse(&p, error, n) == TN_OK
       && tn_icmp_unreachable(error, &p, &proto, &from, &to)
       && proto == TN_PROTO_UDP && tn_addr_equal(&from, &own)
       && tn_addr_equal(&to, &peer), "IPv%d: whose it was", version);
    ok(tn_icmp_blames(error, &p, &dst) && tn_ip_equal(&dst, &peer.ip),
       "and where it went");

    /* of any length: nothing is read behind the end, none is made up */

    found = 0;

    for (i = 0; i <= n; i++) {
        uint8_t *cut = malloc(tn_max(i, (size_t) 1));

        memcpy(cut, error, i);

        if (i >= 4) {
            if (version == 4) {
                pkt_u16(cut + 2, (unsigned) i);
            } else if (i >= 40) {
                pkt_u16(cut + 4, (unsigned) i - 40);
            }
        }

        if (tn_packet_parse(&p, cut, i) == TN_OK
            && tn_icmp_blames(cut, &p, &dst) && !tn_ip_is_none(&dst)
            && !tn_ip_equal(&dst, &peer.ip))
        {
            found = 1000000;
        }

        if (tn_packet_parse(&p, cut, i) == TN_OK
            && tn_icmp_unreachable(cut, &p, &proto, &from, &to))
        {
            found += proto == TN_PROTO_UDP && tn_addr_equal(&from, &own)
                     && tn_addr_equal(&to, &peer) ? 1 : 1000000;
        }

        free(cut);
    }

    ok(found > 0 && found < n, "cut off it says the same or nothing");

    len = tn_dgram_build(packet, MTU, &peer, &own, 10);
    (void) tn_packet_parse(&p, packet, len);
    ok(!tn_icmp_unreachable(packet, &p, &proto, &from, &to),
       "a datagram is no error");
    ok(!tn_icmp_blames(packet, &p, &dst), "of any kind");
}
