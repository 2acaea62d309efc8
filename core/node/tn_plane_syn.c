
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A peer that refuses a connection says so in a TSMP reject, but its answer
 * has no sequence number, and a stack believes a RST for a SYN only when it
 * acknowledges it (RFC 9293 3.10.7.3).  So the sequence numbers of the last
 * SYNs are kept, a newer one taking the place of an older; without one the
 * connection runs into its timeout as it would without the reject.
 */

#include "tn_plane_private.h"

#include "wire/tn_checksum.h"


#define TN_TCP_HEADER  20


static tn_plane_syn_t *plane_syn(tn_plane_t *plane, uint16_t src_port,
    uint16_t dst_port);


void
tn_plane_syn_sent(tn_plane_t *plane, const uint8_t *packet,
    const tn_packet_t *p)
{
    tn_plane_syn_t  *syn;

    if (p->frag != TN_PACKET_WHOLE) {
        return;
    }

    syn = plane_syn(plane, p->src_port, p->dst_port);
    syn->src.ip = p->src;
    syn->src.port = p->src_port;
    syn->dst.ip = p->dst;
    syn->dst.port = p->dst_port;
    memcpy(&syn->seq, packet + p->header_len + 4, sizeof(syn->seq));
}


bool
tn_plane_syn_refused(tn_plane_t *plane, const tn_addr_t *src,
    const tn_addr_t *dst)
{
    size_t           len;
    uint8_t          buf[TN_IP6_HEADER_LEN + TN_TCP_HEADER], *tcp;
    uint16_t         sum;
    uint32_t         ack;
    tn_vnet_t        vnet;
    struct iovec     iov[2];
    tn_plane_syn_t  *syn;

    syn = plane_syn(plane, src->port, dst->port);

    if (syn->src.port == 0 || !tn_addr_equal(&syn->src, src)
        || !tn_addr_equal(&syn->dst, dst))
    {
        return false;
    }

    len = tn_packet_header(buf, sizeof(buf), TN_PROTO_TCP, &dst->ip, &src->ip,
                           TN_TCP_HEADER);
    if (len == 0) {
        return false;
    }

    ack = htonl(ntohl(syn->seq) + 1);
    memset(syn, 0, sizeof(*syn));

    tcp = buf + len;
    memset(tcp, 0, TN_TCP_HEADER);
    tcp[0] = (uint8_t) (dst->port >> 8);
    tcp[1] = (uint8_t) dst->port;
    tcp[2] = (uint8_t) (src->port >> 8);
    tcp[3] = (uint8_t) src->port;
    memcpy(tcp + 8, &ack, sizeof(ack));
    tcp[12] = TN_TCP_HEADER / 4 << 4;
    tcp[13] = TN_TCP_RST | TN_TCP_ACK;

    sum = tn_checksum_finish(tn_checksum_add(
        tn_checksum_pseudo(buf, TN_PROTO_TCP, TN_TCP_HEADER), tcp,
        TN_TCP_HEADER));
    memcpy(tcp + 16, &sum, sizeof(sum));

    memset(&vnet, 0, sizeof(vnet));
    iov[0].iov_base = &vnet;
    iov[0].iov_len = sizeof(vnet);
    iov[1].iov_base = buf;
    iov[1].iov_len = len + TN_TCP_HEADER;

    plane->ops->tun_write(plane->data, iov, 2);

    return true;
}


static tn_plane_syn_t *
plane_syn(tn_plane_t *plane, uint16_t src_port, uint16_t dst_port)
{
    return &plane->syns[(src_port ^ dst_port) % TN_PLANE_SYNS];
}
