
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * TSMP against messages made by Tailscale's code (t/vectors/tsmp), and ICMP
 * answers and errors.
 */

#include "tap.h"

#include <stdlib.h>

#include "addrs.h"
#include "packets.h"
#include "wire/tn_icmp.h"
#include "wire/tn_tsmp.h"


#define VECTORS  "t/vectors/tsmp/vectors.txt"


/* the message of each name in the vectors */
static tn_tsmp_t
message(const char *name)
{
    int        i;
    tn_tsmp_t  msg;

    memset(&msg, 0, sizeof(msg));

    if (strcmp(name, "reject") == 0 || strcmp(name, "broken") == 0) {
        msg.type = TN_TSMP_REJECT;
        msg.proto = 6;
        msg.src_port = 50000;
        msg.dst_port = 22;
        msg.maybe_broken = name[0] == 'b';
        msg.reason = msg.maybe_broken ? TN_TSMP_REJECT_FIREWALL
                                      : TN_TSMP_REJECT_ACL;
        return msg;
    }

    if (strcmp(name, "disco") == 0) {
        msg.type = TN_TSMP_DISCO;

        for (i = 0; i < TN_KEY_LEN; i++) {
            msg.disco.b[i] = (uint8_t) (i + 1);
        }

        return msg;
    }

    msg.type = strcmp(name, "ping") == 0 ? TN_TSMP_PING : TN_TSMP_PONG;
    memcpy(msg.token, "12345678", TN_TSMP_TOKEN_LEN);

    if (msg.type == TN_TSMP_PONG) {
        msg.peerapi_port = 41234;
    }

    return msg;
}


static void
test_vectors(void)
{
    int          n;
    char         name[16], hex[256];
    FILE        *f;
    size_t       len, got_len, i;
    uint8_t      want[128], got[TN_TSMP_PACKET_MAX];
    tn_tsmp_t    msg, parsed;
    tn_packet_t  p;

    f = fopen(VECTORS, "r");

    if (!ok(f != NULL, "%s is readable", VECTORS)) {
        return;
    }

    for (n = 0; fscanf(f, "%15s %255s", name, hex) == 2; n++) {
        len = unhex(want, hex);
        msg = message(name);

        is_int(tn_packet_parse(&p, want, len), TN_OK, name);
        is_int(tn_tsmp_parse(&parsed, want, &p), TN_OK, "is read");
        is_mem(&parsed, &msg, sizeof(msg), "as what was meant");

        got_len = tn_tsmp_build(got, sizeof(got), &msg, &p.src, &p.dst);
        is_int((long) got_len, (long) len, "is made with the same length");
        is_mem(got, want, len, "and the same bytes");

        for (i = 0; i < len; i++) {
            if (tn_tsmp_build(got, i, &msg, &p.src, &p.dst) != 0) {
                ok(false, "does not fit into %zu bytes", i);
            }
        }
    }

    is_int(n, 10, "there were vectors");
    (void) fclose(f);
}


static void
test_cut(void)
{
    size_t       len, at;
    uint8_t      packet[TN_TSMP_PACKET_MAX];
    tn_ip_t      src, dst;
    tn_tsmp_t    msg, parsed;
    tn_packet_t  p;

    static const struct {
        const char  *name;
        size_t       least;     /* bytes of the message that must be there */
    } messages[] = {
        { "reject", 7 }, { "broken", 7 }, { "ping", 9 }, { "pong", 9 },
        { "disco", 33 }
    };

    size_t  i;
    int     bad;

    src = ip("100.64.0.1");
    dst = ip("100.64.0.2");

    for (i = 0; i < tn_nelems(messages); i++) {
        msg = message(messages[i].name);
        len = tn_tsmp_build(packet, sizeof(packet), &msg, &src, &dst);
        bad = 0;

        for (at = 20; at <= len; at++) {
            pkt_u16(packet + 2, (unsigned) at);
            (void) tn_packet_parse(&p, packet, at);

            bad += (tn_tsmp_parse(&parsed, packet, &p) == TN_OK)
                   != (at - 20 >= messages[i].least);
        }

        is_int(bad, 0, messages[i].name);
    }

    packet[20] = 'z';
    is_int(tn_tsmp_parse(&parsed, packet, &p), TN_MALFORMED, "unknown type");

    packet[20] = 'p';
    p.proto = TN_PROTO_UDP;
    is_int(tn_tsmp_parse(&parsed, packet, &p), TN_MALFORMED, "not TSMP");

    dst = ip("fd7a::1");
    is_int((long) tn_tsmp_build(packet, sizeof(packet), &msg, &src, &dst), 0,
           "addresses of two families");
    msg.type = 0;
    is_int((long) tn_tsmp_build(packet, sizeof(packet), &msg, &src, &src), 0,
           "no type");
}


/* an echo request with `payload` bytes behind identifier and sequence */
static size_t
echo_request(uint8_t *packet, const char *from, const char *to,
    size_t payload)
{
    size_t    header, len;
    uint32_t  sum;
    tn_ip_t   src, dst;

    src = ip(from);
    dst = ip(to);
    len = 8 + payload;

    header = tn_packet_header(packet, 2000,
                              tn_ip_is_v4(&src) ? TN_PROTO_ICMP
                                                : TN_PROTO_ICMP6,
                              &src, &dst, len);

    memset(packet + header, 0x61, len);
    packet[header] = tn_ip_is_v4(&src) ? 8 : 128;
    memset(packet + header + 1, 0, 3);

    sum = tn_ip_is_v4(&src) ? 0 : pkt_pseudo(packet, 58, len);
    sum = ~pkt_sum(sum, packet + header, len) & 0xffff;
    pkt_u16(packet + header + 2, sum);

    return header + len;
}


static void
check_sums(const uint8_t *packet, size_t len, const char *name)
{
    bool      v4;
    size_t    header;
    uint32_t  sum;

    v4 = packet[0] >> 4 == 4;
    header = v4 ? 20 : 40;
    sum = v4 ? 0 : pkt_pseudo(packet, 58, len - header);

    ok(pkt_sum(sum, packet + header, len - header) == 0xffff
       && (!v4 || pkt_sum(0, packet, 20) == 0xffff),
       "%s: checksums are right", name);
}


static void
test_echo(void)
{
    int          i;
    size_t       len;
    uint8_t      packet[2048], request[2048];
    tn_packet_t  p, r;

    static const char *const  pairs[2][2] = {
        { "100.64.0.2", "100.64.0.1" },
        { "fd7a:115c:a1e0::2", "fd7a:115c:a1e0::1" }
    };

    for (i = 0; i < 2; i++) {
        len = echo_request(packet, pairs[i][0], pairs[i][1], 57);
        memcpy(request, packet, len);

        (void) tn_packet_parse(&p, packet, len);
        ok(tn_icmp_is_echo_request(&p), "an echo request");
        ok(!tn_icmp_is_answer(&p), "is no answer");
        is_int(tn_icmp_echo_reply(packet, &p), TN_OK, "gets a reply");
        check_sums(packet, len, "echo reply");

        (void) tn_packet_parse(&r, packet, len);
        ok(tn_icmp_is_answer(&r), "which is an answer");
        ok(tn_ip_equal(&r.src, &p.dst) && tn_ip_equal(&r.dst, &p.src),
           "to the one who asked");
        is_mem(packet + r.header_len + 4, request + p.header_len + 4, 61,
               "with the same data");
        is_int(tn_icmp_echo_reply(packet, &r), TN_MALFORMED,
               "a reply gets none");

        request[len - 1] ^= 1;
        is_int(tn_icmp_echo_reply(request, &p), TN_MALFORMED,
               "nor a damaged request");
    }
}


static void
test_errors(void)
{
    int          i;
    size_t       len, n;
    uint8_t      packet[2048], error[2048];
    tn_ip_t      from;
    tn_packet_t  p, e;

    static const char *const  names[2] = {
        "100.64.0.1", "fd7a:115c:a1e0::1"
    };

    pkt_t  k;

    for (i = 0; i < 2; i++) {
        memset(&k, 0, sizeof(k));
        k.version = i == 0 ? 4 : 6;
        k.proto = 17;
        k.host = 2;
        k.payload = 1400;
        len = pkt_build(&k, packet);
        (void) tn_packet_parse(&p, packet, len);
        from = ip(names[i]);

        n = tn_icmp_error(error, sizeof(error), TN_ICMP_PROHIBITED, 0, &from,
                          packet, &p);
        is_int((long) n, i == 0 ? 576 : 1280, "an error of the longest size");
        check_sums(error, n, "error");
        (void) tn_packet_parse(&e, error, n);
        is_int(e.icmp_type << 8 | e.icmp_code, i == 0 ? 0x030d : 0x0101,
               "prohibited");
        ok(tn_icmp_is_answer(&e), "is an answer");
        ok(tn_ip_equal(&e.dst, &p.src), "to the sender");
        is_mem(error + e.header_len + 8, packet, n - e.header_len - 8u,
               "which quotes the packet");

        n = tn_icmp_error(error, sizeof(error), TN_ICMP_TOO_BIG, 1280, &from,
                          packet, &p);
        (void) tn_packet_parse(&e, error, n);
        is_int(e.icmp_type << 8 | e.icmp_code, i == 0 ? 0x0304 : 0x0200,
               "too big");
        is_int(error[e.header_len + 6] << 8 | error[e.header_len + 7], 1280,
               "says what would fit");

        is_int((long) tn_icmp_error(packet, sizeof(packet),
                                    TN_ICMP_NO_ROUTE, 0, &from, error, &e), 0,
               "no error about an error");

        n = tn_icmp_error(error, i == 0 ? 56 : 96, TN_ICMP_PORT_UNREACHABLE,
                          0, &from, packet, &p);
        ok(n == (i == 0 ? 56 : 96), "a small buffer is filled");
        is_int((long) tn_icmp_error(error, i == 0 ? 55 : 95,
                                    TN_ICMP_PORT_UNREACHABLE, 0, &from,
                                    packet, &p), 0, "one less is too small");
        is_int((long) tn_icmp_error(error, 0, TN_ICMP_NO_ROUTE, 0, &from,
                                    packet, &p), 0, "none at all");

        p.frag = TN_PACKET_LATER;
        is_int((long) tn_icmp_error(error, sizeof(error), TN_ICMP_NO_ROUTE,
                                    0, &from, packet, &p), 0,
               "no error about a later fragment");
        p.frag = TN_PACKET_WHOLE;

        p.dst = ip(i == 0 ? "224.0.0.1" : "ff02::1");
        is_int((long) tn_icmp_error(error, sizeof(error), TN_ICMP_NO_ROUTE,
                                    0, &from, packet, &p), 0,
               "nor about multicast");

        from = ip(names[1 - i]);
        is_int((long) tn_icmp_error(error, sizeof(error), TN_ICMP_NO_ROUTE,
                                    0, &from, packet, &p), 0,
               "nor from the other family");
    }
}


int
main(void)
{
    test_vectors();
    test_cut();
    test_echo();
    test_errors();

    return tap_done();
}
