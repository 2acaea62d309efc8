
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Another address in a packet: what the checksums should be is computed anew,
 * for random packets of each kind.
 */

#include "tap.h"

#include <stdlib.h>

#include "wire/tn_checksum.h"
#include "wire/tn_readdress.h"


static uint8_t      packet[256];
static size_t       len;
static tn_packet_t  p;


static tn_ip_t
random_ip(bool v4)
{
    size_t   i;
    tn_ip_t  ip;
    uint8_t  b[4];

    for (i = 0; i < sizeof(ip.b); i++) {
        ip.b[i] = (uint8_t) (rand() >> 7);
    }

    memcpy(b, ip.b, 4);
    ip.b[0] = 0xfd;

    return v4 ? tn_ip_from_v4(b) : ip;
}


/* offset of the transport checksum, 0: none of it covers addresses */
static size_t
field_of(uint8_t proto, bool v4)
{
    switch (proto) {

    case TN_PROTO_TCP:
        return 16;

    case TN_PROTO_UDP:
        return 6;

    case TN_PROTO_ICMP6:
        return v4 ? 0 : 2;

    default:
        return 0;
    }
}


static uint16_t
sum_of(void)
{
    return tn_checksum_finish(tn_checksum_join(
        tn_checksum_pseudo(packet, p.proto, (uint32_t) (len - p.header_len)),
        tn_checksum_add(0, packet + p.header_len, len - p.header_len)));
}


static void
make(uint8_t proto, bool v4)
{
    size_t    i, head, body, at;
    tn_ip_t   src, dst;
    uint16_t  sum;

    src = random_ip(v4);
    dst = random_ip(v4);
    body = 20 + (size_t) rand() % 100;
    head = tn_packet_header(packet, sizeof(packet), proto, &src, &dst, body);
    len = head + body;

    for (i = head; i < len; i++) {
        packet[i] = (uint8_t) (rand() >> 7);
    }

    if (proto == TN_PROTO_TCP) {
        packet[head + 12] = 0x50;

    } else if (proto == TN_PROTO_UDP) {
        packet[head + 4] = 0;
        packet[head + 5] = (uint8_t) body;
    }

    if (tn_packet_parse(&p, packet, len) != TN_OK) {
        abort();
    }

    at = field_of(proto, v4);

    if (at != 0) {
        memset(packet + head + at, 0, 2);
        sum = sum_of();
        sum = sum == 0 ? 0xffff : sum;
        memcpy(packet + head + at, &sum, 2);
    }
}


static void
check(uint8_t proto, bool v4, const char *name)
{
    int       bad;
    size_t    i;
    uint8_t   was[256];
    tn_ip_t   src, dst;

    bad = 0;

    for (i = 0; i < 5000; i++) {
        make(proto, v4);
        memcpy(was, packet, len);
        src = random_ip(v4);
        dst = random_ip(v4);

        tn_readdress_src(packet, &p, &src);
        tn_readdress_dst(packet, &p, &dst);

        bad += !tn_ip_equal(&p.src, &src) || !tn_ip_equal(&p.dst, &dst)
               || tn_packet_parse(&p, packet, len) != TN_OK
               || !tn_ip_equal(&p.src, &src) || !tn_ip_equal(&p.dst, &dst);

        /* of right fields and their sum nothing is left */

        bad += v4 && tn_checksum_finish(tn_checksum_add(0, packet,
                                                        p.header_len)) != 0;

        if (field_of(proto, v4) != 0) {
            bad += sum_of() != 0;
            memset(packet + p.header_len + field_of(proto, v4), 0, 2);
            memset(was + p.header_len + field_of(proto, v4), 0, 2);
        }

        bad += memcmp(packet + p.header_len, was + p.header_len,
                      len - p.header_len) != 0;
    }

    is_int(bad, 0, name);
}


int
main(void)
{
    tn_ip_t  src;
    uint8_t  was[256];

    check(TN_PROTO_TCP, true, "TCP over IPv4");
    check(TN_PROTO_TCP, false, "TCP over IPv6");
    check(TN_PROTO_UDP, true, "UDP over IPv4");
    check(TN_PROTO_UDP, false, "UDP over IPv6");
    check(TN_PROTO_ICMP, true, "ICMP");
    check(TN_PROTO_ICMP6, false, "ICMPv6");
    check(TN_PROTO_ICMP6, true, "ICMPv6 in IPv4, which is none");
    check(TN_PROTO_TSMP, true, "TSMP");
    check(TN_PROTO_TSMP, false, "TSMP over IPv6");

    make(TN_PROTO_UDP, true);
    memset(packet + p.header_len + 6, 0, 2);
    memcpy(was, packet, len);
    src = random_ip(true);
    tn_readdress_src(packet, &p, &src);
    ok(memcmp(packet + p.header_len, was + p.header_len, len - p.header_len)
       == 0, "UDP without a checksum has none after it");

    make(TN_PROTO_TCP, true);
    p.frag = TN_PACKET_LATER;
    memcpy(was, packet, len);
    tn_readdress_src(packet, &p, &src);
    ok(memcmp(packet + p.header_len, was + p.header_len, len - p.header_len)
       == 0 && tn_checksum_finish(tn_checksum_add(0, packet, p.header_len))
               == 0, "of a later fragment the IP header alone changes");

    return tap_done();
}
