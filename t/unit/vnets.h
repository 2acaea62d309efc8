
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Frames as the kernel gives and takes them, for tests of cutting and joining.
 */

#ifndef VNETS_H_INCLUDED_
#define VNETS_H_INCLUDED_

#include "packets.h"
#include "stack/tn_vnet.h"


/* a packet amidst a stream, full for the MTU of nodes by IPv4 */
static inline pkt_t
stream(int version, int proto)
{
    pkt_t  k;

    memset(&k, 0, sizeof(k));

    k.version = version;
    k.proto = proto;
    k.tcp_options = proto == 6 ? 12 : 0;
    k.ttl = 64;
    k.host = 1;
    k.id = 1000;
    k.df = 1;
    k.src_port = 443;
    k.dst_port = 50000;
    k.seq = 0xfffff000;
    k.ack = 5;
    k.window = 400;
    k.flags = 0x10;
    k.payload = 1228;

    return k;
}


/* the header of what pkt_partial() has left, in segments of this size */
static inline tn_vnet_t
vnet_of(const pkt_t *k, size_t mss)
{
    tn_vnet_t  v;

    memset(&v, 0, sizeof(v));

    v.flags = TN_VNET_F_NEEDS_CSUM;
    v.gso_type = k->proto == 17 ? TN_VNET_GSO_UDP_L4
                 : k->version == 4 ? TN_VNET_GSO_TCPV4 : TN_VNET_GSO_TCPV6;
    v.gso_size = (uint16_t) mss;
    v.hdr_len = (uint16_t) pkt_headers(k);
    v.csum_start = (uint16_t) pkt_ip_len(k);
    v.csum_offset = k->proto == 6 ? 16 : 6;

    if (k->flags & 0x80 && k->proto == 6) {
        v.gso_type |= TN_VNET_GSO_ECN;
    }

    return v;
}


#endif /* VNETS_H_INCLUDED_ */
