
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "stack/tn_dgram.h"

#include "wire/tn_checksum.h"


size_t
tn_dgram_build(uint8_t *packet, size_t size, const tn_addr_t *from,
    const tn_addr_t *to, size_t len)
{
    size_t    header;
    uint8_t  *udp;
    uint16_t  sum, field;

    if (tn_dgram_room(to) + len > size) {
        return 0;
    }

    len += TN_UDP_HEADER_LEN;

    header = tn_packet_header(packet, size, TN_PROTO_UDP, &from->ip, &to->ip,
                              len);
    if (header == 0) {
        return 0;
    }

    udp = packet + header;

    field = htons(from->port);
    memcpy(udp, &field, 2);
    field = htons(to->port);
    memcpy(udp + 2, &field, 2);
    field = htons((uint16_t) len);
    memcpy(udp + 4, &field, 2);
    memset(udp + 6, 0, 2);

    sum = tn_checksum_finish(tn_checksum_add(
        tn_checksum_pseudo(packet, TN_PROTO_UDP, (uint32_t) len), udp, len));

    if (sum == 0) {
        sum = 0xffff;
    }

    memcpy(udp + 6, &sum, 2);

    return header + len;
}


const uint8_t *
tn_dgram_data(const uint8_t *packet, const tn_packet_t *p, size_t *len)
{
    size_t          whole;
    uint16_t        field;
    const uint8_t  *udp;

    if (p->proto != TN_PROTO_UDP || p->frag != TN_PACKET_WHOLE) {
        return NULL;
    }

    udp = packet + p->header_len;
    memcpy(&field, udp + 4, 2);
    whole = ntohs(field);

    if (whole < TN_UDP_HEADER_LEN
        || whole > (size_t) p->total_len - p->header_len)
    {
        return NULL;
    }

    memcpy(&field, udp + 6, 2);

    /* RFC 768: none was computed; RFC 8200, 8.1: not so over IPv6 */

    if (field == 0 && p->version != 4) {
        return NULL;
    }

    if (field != 0
        && tn_checksum_finish(tn_checksum_add(
               tn_checksum_pseudo(packet, TN_PROTO_UDP, (uint32_t) whole),
               udp, whole))
           != 0)
    {
        return NULL;
    }

    *len = whole - TN_UDP_HEADER_LEN;

    return udp + TN_UDP_HEADER_LEN;
}
