
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The summary of IP packets: fields, extension headers, fragments, and every
 * way of cutting a packet off.
 */

#include "tap.h"

#include <stdlib.h>

#include "packets.h"
#include "wire/tn_icmp.h"
#include "wire/tn_ip.h"


/* parses from a block of exactly that size, so that ASan sees more read */
static tn_rc_t
parse(tn_packet_t *p, const uint8_t *data, size_t len)
{
    tn_rc_t   rc;
    uint8_t  *exact;

    exact = malloc(len + 1);
    memcpy(exact + 1, data, len);

    rc = tn_packet_parse(p, exact + 1, len);
    free(exact);

    return rc;
}


static tn_rc_t
parse_hex(tn_packet_t *p, const char *hex)
{
    uint8_t  buf[512];

    return parse(p, buf, unhex(buf, hex));
}


static void
test_fields(void)
{
    int          version, proto, bad;
    char         text[TN_ADDR_TEXT];
    size_t       len, i;
    pkt_t        k;
    uint8_t      packet[256];
    tn_ip_t      dst;
    tn_packet_t  p;

    for (version = 4; version <= 6; version += 2) {
        for (proto = 6; proto <= 17; proto += 11) {
            memset(&k, 0, sizeof(k));
            k.version = version;
            k.proto = proto;
            k.host = 7;
            k.tcp_options = proto == 6 ? 12 : 0;
            k.src_port = 443;
            k.dst_port = 50001;
            k.flags = 0x12;
            k.payload = 30;
            len = pkt_build(&k, packet);

            is_int(parse(&p, packet, len), TN_OK, "a packet");
            is_int(p.version, version, "version");
            is_int(p.proto, proto, "protocol");
            is_int(p.src_port, 443, "source port");
            is_int(p.dst_port, 50001, "destination port");
            is_int(p.tcp_flags, proto == 6 ? 0x12 : 0, "TCP flags");
            is_int(p.header_len, (long) pkt_ip_len(&k), "header");
            is_int(p.data_offset, (long) pkt_headers(&k), "payload");
            is_int(p.total_len, (long) len, "length");
            is_int(p.frag, TN_PACKET_WHOLE, "whole");
            ok(!p.extended, "no options");
            is_str(tn_ip_text(&p.src, text),
                   version == 4 ? "100.64.0.7" : "fd7a:115c:a1e0::7",
                   "source");
            is_str(tn_ip_text(&p.dst, text),
                   version == 4 ? "100.64.0.99" : "fd7a:115c:a1e0::63",
                   "destination");
            ok(tn_packet_dst(packet, len, &dst) && tn_ip_equal(&dst, &p.dst),
               "destination alone");

            is_int(parse(&p, packet, len + 16), TN_OK, "padding");
            is_int(p.total_len, (long) len, "does not count");

            bad = 0;

            for (i = 0; i < len; i++) {
                bad += parse(&p, packet, i) != TN_MALFORMED;
            }

            is_int(bad, 0, "cut off anywhere it is malformed");
        }
    }

    ok(!tn_packet_dst(packet, 39, &dst), "no destination in half a header");
    ok(!tn_packet_dst(packet, 0, &dst), "nor in nothing");
}


typedef struct {
    const char        *name;
    const char        *hex;
    tn_rc_t            rc;
    int                proto;
    tn_packet_frag_t   frag;
    int                header_len;
    int                dst_port;
} header_t;

#define V6_ADDRS                                                              \
    "fd7a115ca1e000000000000000000001 fd7a115ca1e000000000000000000002"
#define UDP  "0001 0016 0008 0000"

static const header_t  headers[] = {
    { "IPv4 with options",
      "46000020 00000000 40110000 64400001 64400002 01010100" UDP,
      TN_OK, 17, TN_PACKET_WHOLE, 24, 22 },
    { "IPv4 options behind the end",
      "46000017 00000000 40110000 64400001 64400002 010101",
      TN_MALFORMED, 0, 0, 0, 0 },
    { "IPv4 header of 16 bytes",
      "4400001c 00000000 40110000 64400001 64400002" UDP,
      TN_MALFORMED, 0, 0, 0, 0 },
    { "IPv4 first fragment",
      "4500001c 00002000 40110000 64400001 64400002" UDP,
      TN_OK, 17, TN_PACKET_FIRST, 20, 22 },
    { "IPv4 first fragment without its ports",
      "45000018 00002000 40110000 64400001 64400002 00010016",
      TN_MALFORMED, 0, 0, 0, 0 },
    { "IPv4 later fragment",
      "4500001c 0000000a 40110000 64400001 64400002" UDP,
      TN_OK, 17, TN_PACKET_LATER, 20, 0 },
    { "IPv4 later fragment over a transport header",
      "4500001c 00000009 40110000 64400001 64400002" UDP,
      TN_MALFORMED, 0, 0, 0, 0 },
    { "IPv4 with DF",
      "4500001c 00004000 40110000 64400001 64400002" UDP,
      TN_OK, 17, TN_PACKET_WHOLE, 20, 22 },
    { "IPv6 hop-by-hop and destination options",
      "60000000 0020 00 40" V6_ADDRS
      "3c00010400000000 110101" "0000000000 0000000000000000" UDP,
      TN_OK, 17, TN_PACKET_WHOLE, 64, 22 },
    { "IPv6 extension header behind the end",
      "60000000 0010 00 40" V6_ADDRS "1105010400000000" UDP,
      TN_MALFORMED, 0, 0, 0, 0 },
    { "IPv6 extension header cut off",
      "60000000 0004 3c 40" V6_ADDRS "11000104",
      TN_MALFORMED, 0, 0, 0, 0 },
    { "IPv6 six extension headers",
      "60000000 0038 3c 40" V6_ADDRS
      "3c00010400000000 3c00010400000000 3c00010400000000"
      "3c00010400000000 3c00010400000000 1100010400000000" UDP,
      TN_OK, 17, TN_PACKET_WHOLE, 88, 22 },
    { "IPv6 seven extension headers",
      "60000000 0040 3c 40" V6_ADDRS
      "3c00010400000000 3c00010400000000 3c00010400000000"
      "3c00010400000000 3c00010400000000 3c00010400000000"
      "1100010400000000" UDP,
      TN_MALFORMED, 0, 0, 0, 0 },
    { "IPv6 first fragment",
      "60000000 0010 2c 40" V6_ADDRS "1100 0001 00000001" UDP,
      TN_OK, 17, TN_PACKET_FIRST, 48, 22 },
    { "IPv6 later fragment",
      "60000000 0010 2c 40" V6_ADDRS "1100 0050 00000001" UDP,
      TN_OK, 17, TN_PACKET_LATER, 48, 0 },
    { "IPv6 later fragment over a transport header",
      "60000000 0010 2c 40" V6_ADDRS "1100 0048 00000001" UDP,
      TN_MALFORMED, 0, 0, 0, 0 },
    { "IPv6 two Fragment headers",
      "60000000 0018 2c 40" V6_ADDRS "2c00 0001 00000001"
      "1100 0001 00000001" UDP,
      TN_MALFORMED, 0, 0, 0, 0 },
    { "IPv6 from a mapped address",
      "60000000 0008 11 40 00000000000000000000ffff64400001"
      "fd7a115ca1e000000000000000000002" UDP,
      TN_MALFORMED, 0, 0, 0, 0 },
    { "IPv6 to a mapped address",
      "60000000 0008 11 40 fd7a115ca1e000000000000000000002"
      "00000000000000000000ffff64400001" UDP,
      TN_MALFORMED, 0, 0, 0, 0 },
    { "IPv6 without a next header",
      "60000000 0000 3b 40" V6_ADDRS,
      TN_OK, 59, TN_PACKET_WHOLE, 40, 0 },
    { "SCTP",
      "45000020 00000000 40840000 64400001 64400002 00010016 00000000"
      "00000000", TN_OK, 132, TN_PACKET_WHOLE, 20, 22 },
    { "SCTP cut off",
      "4500001c 00000000 40840000 64400001 64400002" UDP,
      TN_MALFORMED, 0, 0, 0, 0 },
    { "ICMP cut off",
      "45000017 00000000 40010000 64400001 64400002 080000",
      TN_MALFORMED, 0, 0, 0, 0 },
    { "no version", "0500001c 00000000 40110000 64400001 64400002" UDP,
      TN_MALFORMED, 0, 0, 0, 0 }
};


static void
test_headers(void)
{
    size_t           i;
    tn_packet_t      p;
    const header_t  *h;

    for (i = 0; i < tn_nelems(headers); i++) {
        h = &headers[i];

        is_int(parse_hex(&p, h->hex), h->rc, h->name);

        if (h->rc == TN_OK) {
            is_int(p.proto, h->proto, "its protocol");
            is_int(p.frag, h->frag, "its kind");
            is_int(p.header_len, h->header_len, "its header");
            is_int(p.dst_port, h->dst_port, "its port");
        }
    }

    (void) parse_hex(&p, headers[0].hex);
    ok(p.extended, "IPv4 options are told");
    (void) parse_hex(&p, headers[8].hex);
    ok(p.extended, "IPv6 extension headers are told");
    (void) parse_hex(&p, headers[13].hex);
    ok(!p.extended, "but not fragmentation");

    is_int(parse_hex(&p, "4500001c 00000000 40010000 64400001 64400002"
                         "0300 0000 00000000"), TN_OK, "ICMP");
    is_int(p.icmp_type, 3, "its type");
    is_int(parse_hex(&p, "4500001c 00000000 403a0000 64400001 64400002"
                         "0300 0000 00000000"), TN_OK, "ICMPv6 over IPv4");
    is_int(p.icmp_type, 0, "is no ICMP");
}


static void
test_header_writing(void)
{
    size_t       n;
    uint8_t      packet[64];
    tn_ip_t      src, dst;
    tn_packet_t  p;

    memset(packet, 0xff, sizeof(packet));
    (void) tn_ip_parse(&src, "100.64.0.1", 10);
    (void) tn_ip_parse(&dst, "100.64.0.2", 10);

    is_int((long) tn_packet_header(packet, 19, 99, &src, &dst, 4), 0,
           "no room for an IPv4 header");
    n = tn_packet_header(packet, 20, 99, &src, &dst, 4);
    is_int((long) n, 20, "an IPv4 header");
    is_int(pkt_sum(0, packet, 20), 0xffff, "its checksum");
    is_int(tn_packet_parse(&p, packet, 24), TN_OK, "is well-formed");
    ok(p.total_len == 24 && p.proto == 99 && tn_ip_equal(&p.src, &src)
       && tn_ip_equal(&p.dst, &dst), "with what was asked for");
    is_int((long) tn_packet_header(packet, 64, 99, &src, &dst, 65516), 0,
           "too much payload");

    (void) tn_ip_parse(&src, "fd7a::1", 7);
    is_int((long) tn_packet_header(packet, 64, 99, &src, &dst, 4), 0,
           "addresses of two families");
    is_int((long) tn_packet_header(packet, 39, 99, &src, &src, 4), 0,
           "no room for an IPv6 header");
    is_int((long) tn_packet_header(packet, 40, 99, &src, &src, 4), 40,
           "an IPv6 header");
    is_int(tn_packet_parse(&p, packet, 44), TN_OK, "is well-formed");
}


/* our echo request, answered as a stack would, is recognized */
static void
test_echo(void)
{
    size_t          i, n, len;
    uint8_t         packet[128];
    tn_ip_t         src, dst;
    tn_packet_t     p;
    const uint8_t  *data;
    const char     *addrs[][2] = {
        { "100.64.0.1", "100.64.0.2" }, { "fd7a::1", "fd7a::2" }
    };

    for (i = 0; i < 2; i++) {
        (void) tn_ip_parse(&src, addrs[i][0], strlen(addrs[i][0]));
        (void) tn_ip_parse(&dst, addrs[i][1], strlen(addrs[i][1]));

        n = tn_icmp_echo_request(packet, sizeof(packet), &src, &dst, 0x1234,
                                 7, (const uint8_t *) "token", 5);
        is_int(tn_packet_parse(&p, packet, n), TN_OK, "an echo request");
        ok(p.total_len == n && tn_ip_equal(&p.dst, &dst)
           && tn_icmp_is_echo_request(&p), "to whom it is for");
        ok(tn_icmp_echo_data(packet, &p, 0x1234, 7, &len) == NULL,
           "is no reply");

        is_int(tn_icmp_echo_reply(packet, &p), TN_OK,
               "its checksum is right, it is answered");
        (void) tn_packet_parse(&p, packet, n);

        data = tn_icmp_echo_data(packet, &p, 0x1234, 7, &len);
        ok(data != NULL && len == 5 && memcmp(data, "token", 5) == 0,
           "the reply has the data");
        ok(tn_icmp_echo_data(packet, &p, 0x1235, 7, &len) == NULL
           && tn_icmp_echo_data(packet, &p, 0x1234, 8, &len) == NULL,
           "of that id and sequence number only");
        packet[n - 1] ^= 1;
        ok(tn_icmp_echo_data(packet, &p, 0x1234, 7, &len) == NULL,
           "not with a wrong checksum");
        is_int((long) tn_icmp_echo_request(packet, n - 1, &src, &dst, 1, 1,
                                           (const uint8_t *) "token", 5),
               0, "no room");
    }
}


int
main(void)
{
    test_echo();
    test_fields();
    test_headers();
    test_header_writing();

    return tap_done();
}
