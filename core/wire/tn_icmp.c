
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "wire/tn_icmp.h"

#include "base/tn_cursor.h"
#include "wire/tn_checksum.h"


/* RFC 792 */
#define TN_ICMP4_ECHO_REPLY     0
#define TN_ICMP4_UNREACHABLE    3
#define TN_ICMP4_ECHO_REQUEST   8
#define TN_ICMP4_TIME_EXCEEDED  11
#define TN_ICMP4_PARAMETER      12

/* RFC 4443; numbers below 128 are errors */
#define TN_ICMP6_UNREACHABLE    1
#define TN_ICMP6_TOO_BIG        2
#define TN_ICMP6_PARAMETER      4
#define TN_ICMP6_ECHO_REQUEST   128
#define TN_ICMP6_ECHO_REPLY     129

/* type, code, checksum and four more bytes: what we make and answer */
#define TN_ICMP_BODY_OFFSET     8


static uint64_t tn_icmp_sum(const uint8_t *ip, size_t header_len, size_t len);
static bool tn_icmp_is_error(const tn_packet_t *p);


/* ICMP of the IP version it belongs to, with a header that is there */
static inline bool
tn_icmp_is(const tn_packet_t *p)
{
    return p->proto == (p->version == 4 ? TN_PROTO_ICMP : TN_PROTO_ICMP6)
           && p->frag != TN_PACKET_LATER
           && p->total_len - p->header_len >= TN_ICMP_BODY_OFFSET;
}


bool
tn_icmp_is_echo_request(const tn_packet_t *p)
{
    return tn_icmp_is(p)
           && p->icmp_code == 0
           && p->icmp_type == (p->version == 4 ? TN_ICMP4_ECHO_REQUEST
                                               : TN_ICMP6_ECHO_REQUEST);
}


bool
tn_icmp_is_answer(const tn_packet_t *p)
{
    if (!tn_icmp_is(p)) {
        return false;
    }

    if (p->icmp_code == 0
        && p->icmp_type == (p->version == 4 ? TN_ICMP4_ECHO_REPLY
                                            : TN_ICMP6_ECHO_REPLY))
    {
        return true;
    }

    return tn_icmp_is_error(p);
}


tn_rc_t
tn_icmp_echo_reply(uint8_t *packet, const tn_packet_t *p)
{
    uint8_t   *icmp;
    uint16_t   sum;

    if (!tn_icmp_is_echo_request(p)
        || p->frag != TN_PACKET_WHOLE
        || p->extended
        || tn_checksum_finish(tn_icmp_sum(packet, p->header_len,
                                          p->total_len))
           != 0)
    {
        return TN_MALFORMED;
    }

    icmp = packet + p->header_len;

    if (p->version == 4) {
        memcpy(packet + 12, p->dst.b + 12, 4);
        memcpy(packet + 16, p->src.b + 12, 4);
        packet[8] = 64;
        tn_checksum_ip4(packet, p->header_len);
        icmp[0] = TN_ICMP4_ECHO_REPLY;

    } else {
        memcpy(packet + 8, p->dst.b, 16);
        memcpy(packet + 24, p->src.b, 16);
        packet[7] = 64;
        icmp[0] = TN_ICMP6_ECHO_REPLY;
    }

    memset(icmp + 2, 0, 2);
    sum = tn_checksum_finish(tn_icmp_sum(packet, p->header_len,
                                         p->total_len));
    memcpy(icmp + 2, &sum, 2);

    return TN_OK;
}


size_t
tn_icmp_echo_request(uint8_t *buf, size_t size, const tn_ip_t *src,
    const tn_ip_t *dst, uint16_t id, uint16_t seq, const uint8_t *data,
    size_t len)
{
    bool         v4;
    size_t       header;
    uint16_t     sum;
    tn_writer_t  w;

    v4 = tn_ip_is_v4(src);
    header = tn_packet_header(buf, size, v4 ? TN_PROTO_ICMP : TN_PROTO_ICMP6,
                              src, dst, TN_ICMP_BODY_OFFSET + len);

    w = tn_writer(buf + header, size - header);
    tn_write_u8(&w, v4 ? TN_ICMP4_ECHO_REQUEST : TN_ICMP6_ECHO_REQUEST);
    tn_write_u8(&w, 0);
    tn_write_u16(&w, 0);
    tn_write_u16(&w, id);
    tn_write_u16(&w, seq);
    tn_write_bytes(&w, data, len);

    if (header == 0 || w.bad) {
        return 0;
    }

    len = header + tn_writer_len(&w);
    sum = tn_checksum_finish(tn_icmp_sum(buf, header, len));
    memcpy(buf + header + 2, &sum, 2);

    return len;
}


const uint8_t *
tn_icmp_echo_data(const uint8_t *packet, const tn_packet_t *p, uint16_t id,
    uint16_t seq, size_t *len)
{
    uint16_t         got_id, got_seq;
    tn_cursor_t      c;

    if (!tn_icmp_is(p) || p->frag != TN_PACKET_WHOLE || p->icmp_code != 0
        || p->icmp_type != (p->version == 4 ? TN_ICMP4_ECHO_REPLY
                                            : TN_ICMP6_ECHO_REPLY))
    {
        return NULL;
    }

    c = tn_cursor(packet + p->header_len + 4, 4);
    got_id = tn_read_u16(&c);
    got_seq = tn_read_u16(&c);

    if (got_id != id || got_seq != seq
        || tn_checksum_finish(tn_icmp_sum(packet, p->header_len,
                                          p->total_len))
           != 0)
    {
        return NULL;
    }

    *len = (size_t) p->total_len - p->header_len - TN_ICMP_BODY_OFFSET;

    return packet + p->header_len + TN_ICMP_BODY_OFFSET;
}


size_t
tn_icmp_error(uint8_t *buf, size_t size, tn_icmp_error_t error,
    uint32_t mtu, const tn_ip_t *from, const uint8_t *packet,
    const tn_packet_t *p)
{
    static const uint8_t  codes[2][5] = {
        /* no route, prohibited, host, port, too big */
        { 0, 1, 3, 4, 0 },      /* RFC 4443, 3.1 and 3.2 */
        { 0, 13, 1, 3, 4 }      /* RFC 792; RFC 1812, 5.2.7.1 */
    };

    bool         v4;
    size_t       header, quoted, len;
    uint16_t     sum;
    tn_writer_t  w;

    v4 = p->version == 4;

    if (tn_ip_is_v4(from) != v4
        || (size_t) error >= sizeof(codes[0])
        || p->frag == TN_PACKET_LATER
        || tn_ip_is_multicast(&p->dst)
        || tn_ip_is_multicast(&p->src)
        || tn_ip_is_none(&p->src)
        || tn_icmp_is_error(p))
    {
        return 0;
    }

    len = v4 ? TN_ICMP4_ERROR_MAX : TN_ICMP6_ERROR_MAX;
    len = tn_min(len, size);
    header = (v4 ? TN_IP4_HEADER_LEN : TN_IP6_HEADER_LEN)
             + TN_ICMP_BODY_OFFSET;

    /* enough of the packet to tell whose it was: RFC 792, 64 bits of data */

    if (len < header + p->header_len + 8u) {
        return 0;
    }

    quoted = tn_min(len - header, (size_t) p->total_len);

    len = tn_packet_header(buf, size, v4 ? TN_PROTO_ICMP : TN_PROTO_ICMP6,
                           from, &p->src, TN_ICMP_BODY_OFFSET + quoted);

    w = tn_writer(buf + len, size - len);

    if (v4) {
        tn_write_u8(&w, TN_ICMP4_UNREACHABLE);

    } else {
        tn_write_u8(&w, error == TN_ICMP_TOO_BIG ? TN_ICMP6_TOO_BIG
                                                 : TN_ICMP6_UNREACHABLE);
    }

    tn_write_u8(&w, codes[v4][error]);
    tn_write_u16(&w, 0);
    tn_write_u32(&w, v4 ? mtu & 0xffff : mtu);
    tn_write_bytes(&w, packet, quoted);

    if (len == 0 || w.bad) {
        return 0;
    }

    header = len;
    len += tn_writer_len(&w);

    sum = tn_checksum_finish(tn_icmp_sum(buf, header, len));
    memcpy(buf + header + 2, &sum, 2);

    return len;
}


bool
tn_icmp_blames(const uint8_t *packet, const tn_packet_t *p, tn_ip_t *dst)
{
    size_t  skip;

    if (!tn_icmp_is_error(p)) {
        return false;
    }

    skip = (size_t) p->header_len + TN_ICMP_BODY_OFFSET;

    if (!tn_packet_dst(packet + skip, p->total_len - skip, dst)
        || tn_ip_is_v4(dst) != (p->version == 4))
    {
        memset(dst, 0, sizeof(tn_ip_t));
    }

    return true;
}


bool
tn_icmp_unreachable(const uint8_t *packet, const tn_packet_t *p,
    uint8_t *proto, tn_addr_t *from, tn_addr_t *to)
{
    uint8_t         version, head;
    uint16_t        skip;
    const uint8_t  *ip;
    tn_cursor_t  c;

    if (!tn_icmp_is(p) || p->frag != TN_PACKET_WHOLE
        || p->icmp_type != (p->version == 4 ? TN_ICMP4_UNREACHABLE
                                            : TN_ICMP6_UNREACHABLE))
    {
        return false;
    }

    c = tn_cursor(packet + p->header_len, p->total_len - p->header_len);
    (void) tn_read_bytes(&c, TN_ICMP_BODY_OFFSET);

    head = tn_read_u8(&c);
    version = head >> 4;

    if (version != p->version) {
        return false;
    }

    if (version == 4) {
        skip = (uint16_t) ((head & 0x0f) * 4);

        if (skip < TN_IP4_HEADER_LEN) {
            return false;
        }

        (void) tn_read_bytes(&c, 8);
        *proto = tn_read_u8(&c);
        (void) tn_read_bytes(&c, 2);
        ip = tn_read_bytes(&c, 8);

        if (ip == NULL) {
            return false;
        }

        from->ip = tn_ip_from_v4(ip);
        to->ip = tn_ip_from_v4(ip + 4);
        (void) tn_read_bytes(&c, skip - TN_IP4_HEADER_LEN);

    } else {
        (void) tn_read_bytes(&c, 5);
        *proto = tn_read_u8(&c);
        (void) tn_read_bytes(&c, 1);
        ip = tn_read_bytes(&c, 32);

        if (ip == NULL) {
            return false;
        }

        from->ip = tn_ip_from_v6(ip);
        to->ip = tn_ip_from_v6(ip + 16);
    }

    from->port = tn_read_u16(&c);
    to->port = tn_read_u16(&c);

    return !c.bad;
}


/* over the message in ip[0..len), for ICMPv6 with the pseudo-header */
static uint64_t
tn_icmp_sum(const uint8_t *ip, size_t header_len, size_t len)
{
    uint64_t  sum;

    len -= header_len;
    sum = ip[0] >> 4 == 6
          ? tn_checksum_pseudo(ip, TN_PROTO_ICMP6, (uint32_t) len)
          : 0;

    return tn_checksum_add(sum, ip + header_len, len);
}


static bool
tn_icmp_is_error(const tn_packet_t *p)
{
    if (!tn_icmp_is(p)) {
        return false;
    }

    if (p->version == 4) {
        return p->icmp_type == TN_ICMP4_UNREACHABLE
               || p->icmp_type == TN_ICMP4_TIME_EXCEEDED
               || p->icmp_type == TN_ICMP4_PARAMETER;
    }

    return p->icmp_type >= TN_ICMP6_UNREACHABLE
           && p->icmp_type <= TN_ICMP6_PARAMETER;
}
