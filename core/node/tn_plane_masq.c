
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Some peers know this node by other addresses than its own (node sharing;
 * upstream: SelfNodeV4MasqAddrForThisPeer).  What we send to such a peer
 * comes from these, what it sends to these comes to our own.  The filter and
 * the stack know our own addresses alone.
 */

#include "tn_plane_private.h"

#include "wire/tn_readdress.h"


bool
tn_plane_masq_out(const tn_plane_t *plane, const tn_plane_peer_t *peer,
    const tn_packet_t *p)
{
    return peer->masq != NULL
           && tn_ip_equal(&p->src, p->version == 4 ? &plane->self4
                                                   : &plane->self6)
           && !tn_ip_is_none(&peer->masq[p->version == 6]);
}


void
tn_plane_masq_src(const tn_plane_t *plane, const tn_plane_peer_t *peer,
    uint8_t *packet, size_t len)
{
    tn_packet_t  p;

    if (tn_packet_parse(&p, packet, len) == TN_OK
        && tn_plane_masq_out(plane, peer, &p))
    {
        tn_readdress_src(packet, &p, &peer->masq[p.version == 6]);
    }
}


void
tn_plane_masq_dst(const tn_plane_t *plane, const tn_plane_peer_t *peer,
    uint8_t *packet, tn_packet_t *p)
{
    const tn_ip_t  *self, *masq;

    self = p->version == 4 ? &plane->self4 : &plane->self6;
    masq = &peer->masq[p->version == 6];

    if (!tn_ip_is_none(masq) && !tn_ip_is_none(self)
        && tn_ip_equal(&p->dst, masq))
    {
        tn_readdress_dst(packet, p, self);
    }
}
