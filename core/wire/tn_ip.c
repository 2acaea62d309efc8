
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "wire/tn_ip.h"

#include "base/tn_cursor.h"
#include "wire/tn_checksum.h"


/*
 * The least offset of a later fragment, in units of 8 bytes: behind the
 * longest IPv4 header and a TCP header, so that a fragment never rewrites
 * ports or flags that were judged (RFC 1858, 3.2.2; upstream net/packet).
 */
#define TN_PACKET_FRAG_MIN  10

/* IPv6 extension headers walked at most, the Fragment header included */
#define TN_PACKET_EXT_MAX   6

/* IPv6 extension headers (RFC 8200, 4) */
#define TN_EXT_HOP_BY_HOP   0
#define TN_EXT_ROUTING      43
#define TN_EXT_FRAGMENT     44
#define TN_EXT_DESTINATION  60

#define TN_PACKET_TTL       64


static tn_rc_t tn_packet_parse4(tn_packet_t *p, const uint8_t *data,
    size_t len);
static tn_rc_t tn_packet_parse6(tn_packet_t *p, const uint8_t *data,
    size_t len);
static tn_rc_t tn_packet_transport(tn_packet_t *p, const uint8_t *data);


tn_rc_t
tn_packet_parse(tn_packet_t *p, const uint8_t *data, size_t len)
{
    tn_rc_t  rc;

    memset(p, 0, sizeof(tn_packet_t));

    if (len == 0) {
        return TN_MALFORMED;
    }

    p->version = data[0] >> 4;

    switch (p->version) {

    case 4:
        rc = tn_packet_parse4(p, data, len);
        break;

    case 6:
        rc = tn_packet_parse6(p, data, len);
        break;

    default:
        return TN_MALFORMED;
    }

    if (rc != TN_OK) {
        return rc;
    }

    p->data_offset = p->header_len;

    return p->frag == TN_PACKET_LATER ? TN_OK : tn_packet_transport(p, data);
}


static tn_rc_t
tn_packet_parse4(tn_packet_t *p, const uint8_t *data, size_t len)
{
    uint16_t  frag;

    if (len < TN_IP4_HEADER_LEN) {
        return TN_MALFORMED;
    }

    p->header_len = (uint16_t) ((data[0] & 0x0f) * 4);
    p->total_len = tn_packet_u16(data + 2);

    if (p->header_len < TN_IP4_HEADER_LEN
        || p->total_len < p->header_len
        || p->total_len > len)
    {
        return TN_MALFORMED;
    }

    p->extended = p->header_len > TN_IP4_HEADER_LEN;
    p->proto = data[9];
    p->src = tn_ip_from_v4(data + 12);
    p->dst = tn_ip_from_v4(data + 16);

    frag = tn_packet_u16(data + 6);

    if (frag & 0x1fff) {
        p->frag = TN_PACKET_LATER;

        return (frag & 0x1fff) < TN_PACKET_FRAG_MIN ? TN_MALFORMED : TN_OK;
    }

    if (frag & 0x2000) {
        p->frag = TN_PACKET_FIRST;
    }

    return TN_OK;
}


static tn_rc_t
tn_packet_parse6(tn_packet_t *p, const uint8_t *data, size_t len)
{
    size_t          i, total, ext_len;
    uint8_t         next;
    uint16_t        frag;
    const uint8_t  *ext;

    if (len < TN_IP6_HEADER_LEN) {
        return TN_MALFORMED;
    }

    total = TN_IP6_HEADER_LEN + (size_t) tn_packet_u16(data + 4);

    if (total > len || total > TN_IP_PACKET_MAX) {
        return TN_MALFORMED;
    }

    p->total_len = (uint16_t) total;
    p->header_len = TN_IP6_HEADER_LEN;
    p->src = tn_ip_from_v6(data + 8);
    p->dst = tn_ip_from_v6(data + 24);

    /*
     * Our form of an IPv4 address would make such a packet pass for another
     * family's; they do not belong on a wire (RFC 4291 has no use for them
     * there).
     */

    if (tn_ip_is_v4(&p->src) || tn_ip_is_v4(&p->dst)) {
        return TN_MALFORMED;
    }

    next = data[6];

    for (i = 0; /* void */ ; i++) {

        switch (next) {

        case TN_EXT_HOP_BY_HOP:
        case TN_EXT_ROUTING:
        case TN_EXT_DESTINATION:
        case TN_EXT_FRAGMENT:
            break;

        default:
            p->proto = next;
            return TN_OK;
        }

        /* each is at least 8 bytes, and begins with the next one's type */

        if (i == TN_PACKET_EXT_MAX || p->header_len + 8u > total) {
            return TN_MALFORMED;
        }

        ext = data + p->header_len;

        if (next == TN_EXT_FRAGMENT) {

            if (p->frag != TN_PACKET_WHOLE) {
                return TN_MALFORMED;
            }

            next = ext[0];
            frag = tn_packet_u16(ext + 2) >> 3;
            p->header_len += 8;

            if (frag != 0) {
                p->frag = TN_PACKET_LATER;
                p->proto = next;

                return frag < TN_PACKET_FRAG_MIN ? TN_MALFORMED : TN_OK;
            }

            /* so is one that nothing follows (an atomic one, RFC 6946) */
            p->frag = TN_PACKET_FIRST;

            continue;
        }

        p->extended = true;
        next = ext[0];
        ext_len = (ext[1] + 1u) * 8;

        if (p->header_len + ext_len > total) {
            return TN_MALFORMED;
        }

        p->header_len = (uint16_t) (p->header_len + ext_len);
    }
}


static tn_rc_t
tn_packet_transport(tn_packet_t *p, const uint8_t *data)
{
    size_t          left, need;
    const uint8_t  *t;

    t = data + p->header_len;
    left = (size_t) (p->total_len - p->header_len);

    switch (p->proto) {

    case TN_PROTO_TCP:

        if (left < TN_TCP_HEADER_LEN) {
            return TN_MALFORMED;
        }

        need = (size_t) (t[12] >> 4) * 4;

        /* options may continue in the next fragment only in theory */

        if (need < TN_TCP_HEADER_LEN || need > left) {
            return TN_MALFORMED;
        }

        p->tcp_flags = t[13];
        break;

    case TN_PROTO_UDP:
        need = TN_UDP_HEADER_LEN;
        break;

    case TN_PROTO_SCTP:
        need = TN_SCTP_HEADER_LEN;
        break;

    case TN_PROTO_ICMP:
    case TN_PROTO_ICMP6:

        if (left < TN_ICMP_HEADER_LEN) {
            return TN_MALFORMED;
        }

        if ((p->proto == TN_PROTO_ICMP) == (p->version == 4)) {
            p->icmp_type = t[0];
            p->icmp_code = t[1];
        }

        p->data_offset = (uint16_t) (p->header_len + TN_ICMP_HEADER_LEN);

        return TN_OK;

    default:
        return TN_OK;
    }

    if (left < need) {
        return TN_MALFORMED;
    }

    p->src_port = tn_packet_u16(t);
    p->dst_port = tn_packet_u16(t + 2);
    p->data_offset = (uint16_t) (p->header_len + need);

    return TN_OK;
}


bool
tn_packet_dst(const uint8_t *data, size_t len, tn_ip_t *dst)
{
    if (len >= TN_IP4_HEADER_LEN && data[0] >> 4 == 4) {
        *dst = tn_ip_from_v4(data + 16);
        return true;
    }

    if (len >= TN_IP6_HEADER_LEN && data[0] >> 4 == 6) {
        *dst = tn_ip_from_v6(data + 24);
        return !tn_ip_is_v4(dst);
    }

    return false;
}


size_t
tn_packet_header(uint8_t *buf, size_t size, uint8_t proto,
    const tn_ip_t *src, const tn_ip_t *dst, size_t payload)
{
    tn_writer_t  w;

    w = tn_writer(buf, size);

    if (tn_ip_is_v4(src) != tn_ip_is_v4(dst)
        || payload > TN_IP_PACKET_MAX - TN_IP6_HEADER_LEN)
    {
        return 0;
    }

    if (tn_ip_is_v4(src)) {
        tn_write_u16(&w, 0x4500);
        tn_write_u16(&w, (uint16_t) (TN_IP4_HEADER_LEN + payload));
        tn_write_u32(&w, 0);
        tn_write_u8(&w, TN_PACKET_TTL);
        tn_write_u8(&w, proto);
        tn_write_u16(&w, 0);
        tn_write_bytes(&w, src->b + 12, 4);
        tn_write_bytes(&w, dst->b + 12, 4);

    } else {
        tn_write_u32(&w, 0x60000000);
        tn_write_u16(&w, (uint16_t) payload);
        tn_write_u8(&w, proto);
        tn_write_u8(&w, TN_PACKET_TTL);
        tn_write_bytes(&w, src->b, 16);
        tn_write_bytes(&w, dst->b, 16);
    }

    if (w.bad) {
        return 0;
    }

    if (tn_ip_is_v4(src)) {
        tn_checksum_ip4(buf, TN_IP4_HEADER_LEN);
    }

    return tn_writer_len(&w);
}
