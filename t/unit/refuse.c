
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The answers of a host where nobody waits: what they are, whom they are
 * from, and that their checksums are right.
 */

#include "wire/tn_refuse.h"

#include "wire/tn_checksum.h"

#include "tap.h"


static size_t
packet(uint8_t *buf, const char *src, const char *dst, uint8_t proto,
    const uint8_t *body, size_t len)
{
    size_t   head;
    tn_ip_t  from, to;

    (void) tn_ip_parse(&from, src, strlen(src));
    (void) tn_ip_parse(&to, dst, strlen(dst));

    head = tn_packet_header(buf, 256, proto, &from, &to, len);
    memcpy(buf + head, body, len);

    return head + len;
}


static void
test_syn(const char *src, const char *dst)
{
    size_t       n, len;
    uint8_t      in[256], out[TN_REFUSE_MAX];
    uint16_t     sum;
    tn_packet_t  p, answer;

    /* a SYN from port 4660 to 80, number 0xfffffffe, with three bytes */

    static const uint8_t  syn[] = {
        0x12, 0x34, 0, 80, 0xff, 0xff, 0xff, 0xfe, 0, 0, 0, 0,
        0x50, TN_TCP_SYN, 1, 0, 0, 0, 0, 0, 'a', 'b', 'c'
    };

    n = packet(in, src, dst, TN_PROTO_TCP, syn, sizeof(syn));
    ok(tn_packet_parse(&p, in, n) == TN_OK, "a SYN");

    len = tn_refuse_build(out, sizeof(out), in, &p);
    ok(len != 0 && tn_packet_parse(&answer, out, len) == TN_OK,
       "has an answer");
    ok(answer.proto == TN_PROTO_TCP
       && answer.tcp_flags == (TN_TCP_RST|TN_TCP_ACK), "a reset");
    ok(tn_ip_equal(&answer.src, &p.dst) && tn_ip_equal(&answer.dst, &p.src)
       && answer.src_port == 80 && answer.dst_port == 0x1234,
       "from where it went to");
    ok(memcmp(out + answer.header_len + 8, "\0\0\0\2", 4) == 0,
       "that acknowledges it");

    sum = tn_checksum_finish(tn_checksum_add(
        tn_checksum_pseudo(out, TN_PROTO_TCP, TN_TCP_HEADER_LEN),
        out + answer.header_len, TN_TCP_HEADER_LEN));
    is_int(sum, 0, "with its checksum");

    ok(tn_refuse_build(out, len - 1, in, &p) == 0, "room is needed");

    in[p.header_len + 13] = TN_TCP_ACK;
    (void) tn_packet_parse(&p, in, n);
    ok(tn_refuse_build(out, sizeof(out), in, &p) == 0,
       "what is no SYN has none");
}


static void
test_udp(const char *src, const char *dst)
{
    size_t       n, len;
    uint8_t      in[256], out[TN_REFUSE_MAX], proto;
    tn_addr_t    from, to;
    tn_packet_t  p, answer;

    static const uint8_t  udp[] = { 0x12, 0x34, 0, 53, 0, 9, 0, 0, 'x' };

    n = packet(in, src, dst, TN_PROTO_UDP, udp, sizeof(udp));
    (void) tn_packet_parse(&p, in, n);

    len = tn_refuse_build(out, sizeof(out), in, &p);
    proto = 0;
    ok(len != 0 && tn_packet_parse(&answer, out, len) == TN_OK
       && tn_icmp_unreachable(out, &answer, &proto, &from, &to),
       "UDP is unreachable");
    ok(proto == TN_PROTO_UDP && from.port == 0x1234 && to.port == 53
       && tn_ip_equal(&answer.src, &p.dst), "there");
}


int
main(void)
{
    test_syn("100.64.0.1", "192.0.2.7");
    test_syn("fd7a:115c:a1e0::1", "2001:db8::7");
    test_udp("100.64.0.1", "192.0.2.7");
    test_udp("fd7a:115c:a1e0::1", "2001:db8::7");

    return tap_done();
}
