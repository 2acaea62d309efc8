
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "wire/tn_readdress.h"

#include "wire/tn_checksum.h"


static void readdress(uint8_t *packet, const tn_packet_t *p, size_t at,
    const tn_ip_t *ip);
static void readdress_sum(uint8_t *field, const uint8_t *was,
    const uint8_t *is, size_t len);


void
tn_readdress_src(uint8_t *packet, tn_packet_t *p, const tn_ip_t *ip)
{
    readdress(packet, p, p->version == 4 ? 12 : 8, ip);
    p->src = *ip;
}


void
tn_readdress_dst(uint8_t *packet, tn_packet_t *p, const tn_ip_t *ip)
{
    readdress(packet, p, p->version == 4 ? 16 : 24, ip);
    p->dst = *ip;
}


static void
readdress(uint8_t *packet, const tn_packet_t *p, size_t at,
    const tn_ip_t *ip)
{
    size_t          len;
    uint8_t        *t, was[16];
    uint16_t        field;
    const uint8_t  *is;

    len = p->version == 4 ? 4 : 16;
    is = ip->b + sizeof(ip->b) - len;

    memcpy(was, packet + at, len);
    memcpy(packet + at, is, len);

    if (p->version == 4) {
        readdress_sum(packet + 10, was, is, len);
    }

    if (p->frag == TN_PACKET_LATER) {
        return;
    }

    t = packet + p->header_len;

    switch (p->proto) {

    case TN_PROTO_TCP:
        readdress_sum(t + 16, was, is, len);
        break;

    case TN_PROTO_UDP:
        memcpy(&field, t + 6, 2);

        /* RFC 768: there is none, and one that comes to zero is all ones */

        if (field == 0) {
            break;
        }

        readdress_sum(t + 6, was, is, len);
        memcpy(&field, t + 6, 2);

        if (field == 0) {
            memset(t + 6, 0xff, 2);
        }

        break;

    case TN_PROTO_ICMP6:

        /* a whole packet has at least the four bytes of its header */

        if (p->version == 6) {
            readdress_sum(t + 2, was, is, len);
        }

        break;

    default:    /* no pseudo-header */
        break;
    }
}


/* RFC 1624, equation 3 */
static void
readdress_sum(uint8_t *field, const uint8_t *was, const uint8_t *is,
    size_t len)
{
    size_t    i;
    uint16_t  v;
    uint64_t  sum;

    memcpy(&v, field, 2);
    sum = (uint16_t) ~v;

    for (i = 0; i < len; i += 2) {
        memcpy(&v, was + i, 2);
        sum += (uint16_t) ~v;
        memcpy(&v, is + i, 2);
        sum += v;
    }

    v = tn_checksum_finish(sum);
    memcpy(field, &v, 2);
}
