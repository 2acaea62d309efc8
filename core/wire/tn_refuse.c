
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "wire/tn_refuse.h"

#include "wire/tn_checksum.h"


#define REFUSE_SEQ    4             /* offsets in a TCP header */
#define REFUSE_ACK    8
#define REFUSE_LEN    12
#define REFUSE_FLAGS  13
#define REFUSE_SUM    16


static size_t refuse_syn(uint8_t *buf, size_t size, const uint8_t *packet,
    const tn_packet_t *p);


size_t
tn_refuse_build(uint8_t *buf, size_t size, const uint8_t *packet,
    const tn_packet_t *p)
{
    if (p->frag != TN_PACKET_WHOLE) {
        return 0;
    }

    if (tn_packet_is_syn(p)) {
        return refuse_syn(buf, size, packet, p);
    }

    return p->proto == TN_PROTO_UDP
           ? tn_icmp_error(buf, size, TN_ICMP_PORT_UNREACHABLE, 0, &p->dst,
                           packet, p)
           : 0;
}


/* RFC 9293 3.10.7.1: <SEQ=0><ACK=SEG.SEQ+SEG.LEN><CTL=RST,ACK> */
static size_t
refuse_syn(uint8_t *buf, size_t size, const uint8_t *packet,
    const tn_packet_t *p)
{
    size_t    len;
    uint8_t  *tcp;
    uint16_t  sum;
    uint32_t  ack;

    len = tn_packet_header(buf, size, TN_PROTO_TCP, &p->dst, &p->src,
                           TN_TCP_HEADER_LEN);

    if (len == 0 || size - len < TN_TCP_HEADER_LEN) {
        return 0;
    }

    memcpy(&ack, packet + p->header_len + REFUSE_SEQ, sizeof(ack));
    ack = htonl(ntohl(ack) + 1 + (uint32_t) (p->total_len - p->data_offset));

    tcp = buf + len;
    memset(tcp, 0, TN_TCP_HEADER_LEN);
    tcp[0] = (uint8_t) (p->dst_port >> 8);
    tcp[1] = (uint8_t) p->dst_port;
    tcp[2] = (uint8_t) (p->src_port >> 8);
    tcp[3] = (uint8_t) p->src_port;
    memcpy(tcp + REFUSE_ACK, &ack, sizeof(ack));
    tcp[REFUSE_LEN] = TN_TCP_HEADER_LEN / 4 << 4;
    tcp[REFUSE_FLAGS] = TN_TCP_RST | TN_TCP_ACK;

    sum = tn_checksum_finish(tn_checksum_add(
        tn_checksum_pseudo(buf, TN_PROTO_TCP, TN_TCP_HEADER_LEN), tcp,
        TN_TCP_HEADER_LEN));
    memcpy(tcp + REFUSE_SUM, &sum, sizeof(sum));

    return len + TN_TCP_HEADER_LEN;
}
