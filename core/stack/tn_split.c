
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A super-packet is [headers][payload of segment 0][of segment 1]...  The
 * first segment is whole where it lies.  Once it is used up its bytes are
 * free, so the headers of the next one are written right before its payload,
 * over the end of the one before, and so on: no segment is ever copied.
 *
 * What changes from one segment to the next, and nothing else does:
 *
 *   IPv4   total length, identification (+1 each), header checksum
 *   IPv6   payload length
 *   TCP    sequence number; FIN and PSH only on the last, CWR only on the
 *          first (RFC 3168, 6.1.2); checksum
 *   UDP    length, checksum
 *
 * Frames come from the kernel of our own namespace, but nothing they say is
 * believed: the headers are parsed again and the offsets compared.
 */

#include "stack/tn_split.h"

#include <arpa/inet.h>

#include "stack/tn_coalesce.h"
#include "wire/tn_checksum.h"
#include "wire/tn_ip.h"


/* IPv4 with options and TCP with options; IPv6 with extension headers */
#define TN_SPLIT_HEADERS_MAX  256

#define TN_SPLIT_TCP_CSUM     16    /* offset of the checksum field */
#define TN_SPLIT_UDP_CSUM     6


static int tn_split_tcp(const tn_packet_t *p, uint8_t *packet, size_t mss,
    size_t longest, tn_split_emit_pt emit, void *data);
static int tn_split_udp(const tn_packet_t *p, uint8_t *packet, size_t size,
    tn_split_emit_pt emit, void *data);
static bool tn_split_is_valid(const tn_vnet_t *vnet, const tn_packet_t *p,
    size_t len);
static void tn_split_ip(const tn_packet_t *p, uint8_t *ip, size_t len,
    uint16_t id);
static void tn_split_checksum(const tn_packet_t *p, uint8_t *ip, size_t len,
    size_t offset);
static tn_rc_t tn_split_complete(const tn_vnet_t *vnet, uint8_t *packet,
    size_t len);


int
tn_split(const tn_vnet_t *vnet, uint8_t *packet, size_t len,
    tn_split_emit_pt emit, void *data)
{
    return tn_split_long(vnet, packet, len, 0, emit, data);
}


int
tn_split_long(const tn_vnet_t *vnet, uint8_t *packet, size_t len,
    size_t longest, tn_split_emit_pt emit, void *data)
{
    tn_packet_t  p;

    if (len < TN_IP4_HEADER_LEN || len > TN_IP_PACKET_MAX) {
        return TN_MALFORMED;
    }

    if (vnet->gso_type == TN_VNET_GSO_NONE) {

        if (vnet->flags & TN_VNET_F_NEEDS_CSUM
            && tn_split_complete(vnet, packet, len) != TN_OK)
        {
            return TN_MALFORMED;
        }

        emit(data, packet, len);

        return 1;
    }

    if (tn_packet_parse(&p, packet, len) != TN_OK
        || !tn_split_is_valid(vnet, &p, len))
    {
        return TN_MALFORMED;
    }

    if (p.proto == TN_PROTO_TCP) {
        return tn_split_tcp(&p, packet, vnet->gso_size, longest, emit, data);
    }

    return tn_split_udp(&p, packet, vnet->gso_size, emit, data);
}


static int
tn_split_tcp(const tn_packet_t *p, uint8_t *packet, size_t mss,
    size_t longest, tn_split_emit_pt emit, void *data)
{
    int       n;
    size_t    headers, at, len, payload, step;
    uint8_t   flags, *ip, *tcp, saved[TN_SPLIT_HEADERS_MAX];
    uint16_t  id;
    uint32_t  seq, field;

    headers = p->data_offset;
    memcpy(saved, packet, headers);
    memcpy(&id, packet + 4, 2);
    id = ntohs(id);

    memcpy(&seq, packet + p->header_len + 4, 4);
    seq = ntohl(seq);

    payload = p->total_len - headers;
    step = mss;

    /* of other segments its receiver makes none again */

    if (tn_unlikely(longest > headers + mss)
        && headers + mss == TN_COALESCE_MTU)
    {
        step = longest - headers;
        step -= step % mss;
    }

    for (n = 0, at = 0; at < payload || n == 0; n++, at += len) {
        len = payload - at;

        if (len > step) {
            len = step;

        } else if (len > mss) {
            len -= len % mss;
        }

        ip = packet + at;
        tcp = ip + p->header_len;

        if (n > 0) {
            memcpy(ip, saved, headers);
        }

        flags = p->tcp_flags;

        if (at + len < payload) {
            flags &= (uint8_t) ~(TN_TCP_FIN | TN_TCP_PSH);
        }

        if (n > 0) {
            flags &= (uint8_t) ~TN_TCP_CWR;
        }

        tcp[13] = flags;
        field = htonl(seq + (uint32_t) at);
        memcpy(tcp + 4, &field, 4);

        tn_split_ip(p, ip, headers + len, (uint16_t) (id + n));
        tn_split_checksum(p, ip, headers + len, TN_SPLIT_TCP_CSUM);

        emit(data, ip, headers + len);
    }

    return n;
}


static int
tn_split_udp(const tn_packet_t *p, uint8_t *packet, size_t size,
    tn_split_emit_pt emit, void *data)
{
    int       n;
    size_t    headers, at, len, payload;
    uint8_t  *ip, *udp, saved[TN_SPLIT_HEADERS_MAX];
    uint16_t  id, field;

    headers = p->data_offset;
    memcpy(saved, packet, headers);
    memcpy(&id, packet + 4, 2);
    id = ntohs(id);

    payload = p->total_len - headers;

    for (n = 0, at = 0; at < payload || n == 0; n++, at += size) {
        len = tn_min(payload - at, size);

        ip = packet + at;
        udp = ip + p->header_len;

        if (n > 0) {
            memcpy(ip, saved, headers);
        }

        field = htons((uint16_t) (TN_UDP_HEADER_LEN + len));
        memcpy(udp + 4, &field, 2);

        tn_split_ip(p, ip, headers + len, (uint16_t) (id + n));
        tn_split_checksum(p, ip, headers + len, TN_SPLIT_UDP_CSUM);

        emit(data, ip, headers + len);
    }

    return n;
}


static bool
tn_split_is_valid(const tn_vnet_t *vnet, const tn_packet_t *p, size_t len)
{
    size_t  payload;

    switch (vnet->gso_type & ~TN_VNET_GSO_ECN) {

    case TN_VNET_GSO_TCPV4:
        if (p->version != 4 || p->proto != TN_PROTO_TCP) {
            return false;
        }

        break;

    case TN_VNET_GSO_TCPV6:
        if (p->version != 6 || p->proto != TN_PROTO_TCP) {
            return false;
        }

        break;

    case TN_VNET_GSO_UDP_L4:
        if (p->proto != TN_PROTO_UDP || vnet->gso_type & TN_VNET_GSO_ECN) {
            return false;
        }

        break;

    default:
        return false;
    }

    if (p->frag != TN_PACKET_WHOLE
        || p->total_len != len
        || p->data_offset > TN_SPLIT_HEADERS_MAX
        || vnet->gso_size == 0)
    {
        return false;
    }

    if (vnet->flags & TN_VNET_F_NEEDS_CSUM
        && vnet->csum_start != p->header_len)
    {
        return false;
    }

    payload = len - p->data_offset;

    return payload <= (size_t) vnet->gso_size * TN_SPLIT_SEGMENTS_MAX;
}


static void
tn_split_ip(const tn_packet_t *p, uint8_t *ip, size_t len, uint16_t id)
{
    uint16_t  field;

    if (p->version == 6) {
        field = htons((uint16_t) (len - TN_IP6_HEADER_LEN));
        memcpy(ip + 4, &field, 2);
        return;
    }

    field = htons((uint16_t) len);
    memcpy(ip + 2, &field, 2);

    field = htons(id);
    memcpy(ip + 4, &field, 2);

    tn_checksum_ip4(ip, p->header_len);
}


/* the checksum at `offset` of the transport header, whatever it was */
static void
tn_split_checksum(const tn_packet_t *p, uint8_t *ip, size_t len,
    size_t offset)
{
    uint8_t   *t;
    uint16_t   field;
    uint64_t   sum;

    t = ip + p->header_len;
    len -= p->header_len;

    memset(t + offset, 0, 2);

    sum = tn_checksum_pseudo(ip, p->proto, (uint32_t) len);
    field = tn_checksum_finish(tn_checksum_add(sum, t, len));

    /* RFC 768: zero would say that there is none; TCP means the same by it */

    if (field == 0) {
        field = 0xffff;
    }

    memcpy(t + offset, &field, 2);
}


/* a packet sent with NEEDS_CSUM: the field holds the pseudo-header's sum */
static tn_rc_t
tn_split_complete(const tn_vnet_t *vnet, uint8_t *packet, size_t len)
{
    size_t    start, at;
    uint16_t  field;

    start = vnet->csum_start;
    at = start + vnet->csum_offset;

    if (start < TN_IP4_HEADER_LEN || at + 2 > len) {
        return TN_MALFORMED;
    }

    field = tn_checksum_finish(tn_checksum_add(0, packet + start,
                                               len - start));
    if (field == 0) {
        field = 0xffff;
    }

    memcpy(packet + at, &field, 2);

    return TN_OK;
}
