
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * From the stack to a peer: a frame of the TUN is routed once by its
 * destination, noted by the filter, and cut up; each segment goes straight
 * into the room of the UDP batch, behind a Geneve header when the way is
 * through a peer relay, and all of them are sealed there before the batch is
 * sent.  While a peer's path is not proven the sealed message goes over DERP as
 * well; a packet without a session is staged by WireGuard and comes back
 * through tn_plane_send().
 */

#include "tn_plane_private.h"

#include "stack/tn_split.h"
#include "wire/tn_icmp.h"


static void plane_cut(tn_plane_t *plane, tn_plane_peer_t *peer,
    uint8_t *frame, size_t len, const tn_packet_t *p);
static bool plane_may_gather(const tn_plane_t *plane,
    const tn_plane_peer_t *peer, const tn_packet_t *p);
static bool plane_may_be_long(const tn_plane_t *plane,
    const tn_plane_peer_t *peer, const tn_path_route_t *route,
    const tn_packet_t *p);
static void plane_emit(void *data, uint8_t *packet, size_t len);
static uint8_t *plane_room(tn_plane_t *plane, size_t len);
static void plane_tally_out(tn_plane_peer_t *peer,
    const tn_path_route_t *route, size_t len);
static void plane_geneve(uint8_t *header, uint32_t vni);
static void plane_unroutable(tn_plane_t *plane, const uint8_t *packet,
    const tn_packet_t *p);


void
tn_plane_tun(tn_plane_t *plane, tn_ms_t now, uint8_t *frame, size_t len)
{
    uint8_t          *packet;
    tn_packet_t       p;
    tn_plane_peer_t  *peer;

    if (len <= sizeof(tn_vnet_t)) {
        return;
    }

    packet = frame + sizeof(tn_vnet_t);

    if (tn_packet_parse(&p, packet, len - sizeof(tn_vnet_t)) != TN_OK) {
        return;
    }

    peer = tn_wg_route(plane->wg, &p.dst);

    if (peer == NULL) {
        plane_unroutable(plane, packet, &p);
        return;
    }

    if (!tn_filter_accepts(tn_filter_out(plane->filter, &p, now))) {
        return;
    }

    if (tn_unlikely(tn_packet_is_syn(&p))) {
        tn_plane_syn_sent(plane, packet, &p);
    }

    if (tn_plane_peer_wake(peer, now) != TN_OK) {
        plane->stats.out_dropped++;
        return;
    }

    plane->now = now;

    if (tn_unlikely(plane->singly)) {

        if (plane_may_gather(plane, peer, &p)
            && tn_plane_gather(plane, packet, len - sizeof(tn_vnet_t), &p))
        {
            return;
        }

        /* what came before it, first */

        tn_plane_gathered(plane);
    }

    plane_cut(plane, peer, frame, len, &p);
}


void
tn_plane_cut(tn_plane_t *plane, uint8_t *frame, size_t len)
{
    tn_packet_t       p;
    tn_plane_peer_t  *peer;

    if (tn_packet_parse(&p, frame + sizeof(tn_vnet_t),
                        len - sizeof(tn_vnet_t))
        != TN_OK)
    {
        return;
    }

    peer = tn_wg_route(plane->wg, &p.dst);

    if (peer != NULL) {
        plane_cut(plane, peer, frame, len, &p);
    }
}


/* `peer` is awake */
static void
plane_cut(tn_plane_t *plane, tn_plane_peer_t *peer, uint8_t *frame,
    size_t len, const tn_packet_t *p)
{
    int         n;
    size_t      longest;
    uint8_t    *packet;
    tn_vnet_t   vnet;

    memcpy(&vnet, frame, sizeof(tn_vnet_t));
    packet = frame + sizeof(tn_vnet_t);
    len -= sizeof(tn_vnet_t);

    plane->peer = peer;
    plane->snat = tn_plane_masq_out(plane, peer, p);
    plane->flow = tn_packet_flow(p);
    tn_path_route(peer->path, plane->now, &plane->route);

    longest = 0;

    /* of lwIP's all are counted, as the first ones come alone */

    if (tn_unlikely(plane->route.derp != 0)
        && (vnet.gso_type != TN_VNET_GSO_NONE || plane->singly)
        && plane_may_be_long(plane, peer, &plane->route, p))
    {
        longest = tn_path_longest(peer->path, plane->now, len);
    }

    n = tn_split_long(&vnet, packet, len, longest, plane_emit, plane);

    if (n > 0) {
        if (tn_unlikely(plane->tally != NULL)) {
            tn_tally_packet(plane->tally, p, true, (size_t) n,
                            len + (size_t) (n - 1) * p->data_offset);
        }

        plane->stats.out_packets += (uint64_t) n;
        plane->stats.out_bytes += len;
    }

    tn_path_sent(peer->path, plane->now);
}


static bool
plane_may_gather(const tn_plane_t *plane, const tn_plane_peer_t *peer,
    const tn_packet_t *p)
{
    tn_path_route_t  route;

    tn_path_route(peer->path, plane->now, &route);

    return plane_may_be_long(plane, peer, &route, p)
           && tn_path_takes_long(peer->path) != 0;
}


/*
 * By DERP alone fewer and longer packets go to who takes them; not while they
 * may wait for a session, as the way may be another one then.
 */
static bool
plane_may_be_long(const tn_plane_t *plane, const tn_plane_peer_t *peer,
    const tn_path_route_t *route, const tn_packet_t *p)
{
    return route->derp != 0
           && route->udp.port == 0
           && p->proto == TN_PROTO_TCP
           && tn_wg_peer_ready(peer->wg, plane->now);
}


void
tn_plane_tun_done(tn_plane_t *plane)
{
    if (tn_unlikely(plane->gather != NULL)) {
        tn_plane_gathered(plane);
    }

    tn_plane_flush(plane);
}


void
tn_plane_flush(tn_plane_t *plane)
{
    tn_wg_seal_finish(plane->wg);
    plane->ops->udp_flush(plane->data);
}


static void
plane_emit(void *data, uint8_t *packet, size_t len)
{
    tn_plane_t *plane = data;

    size_t            size, head;
    tn_rc_t           rc;
    uint8_t          *room;
    tn_plane_peer_t  *peer;

    peer = plane->peer;
    size = tn_wg_sealed_len(len);
    head = plane->route.vni != 0 ? TN_GENEVE_HEADER : 0;
    room = NULL;

    if (tn_unlikely(plane->capture)) {
        plane->ops->capture(plane->data, true, packet, len);
    }

    if (tn_unlikely(plane->snat)) {
        tn_plane_masq_src(plane, peer, packet, len);
    }

    if (plane->route.udp.port != 0) {
        room = plane_room(plane, head + size);
    }

    if (room != NULL) {
        if (tn_unlikely(head != 0)) {
            plane_geneve(room, plane->route.vni);
            room += head;
        }

    } else {
        room = plane->sealed;

        if (plane->route.derp == 0) {
            plane->stats.out_dropped++;
        }
    }

    /*
     * Sealed even when nothing can carry it: without a session this starts
     * one and keeps the packet, and a path may be there by then.
     */

    if (tn_likely(room != plane->sealed && plane->route.derp == 0)) {
        rc = tn_wg_seal_later(peer->wg, plane->now, packet, len, room);

    } else {
        rc = tn_wg_seal(peer->wg, plane->now, packet, len, room);
    }

    if (tn_unlikely(rc != TN_OK)) {
        return;
    }

    if (plane->route.derp != 0) {
        (void) tn_path_send_derp(peer->path, plane->now, plane->route.derp,
                                 room, size);
    }

    if (room != plane->sealed) {
        plane->ops->udp_add(plane->data, plane->flow);
    }

    if (tn_unlikely(plane->tally != NULL)) {
        plane_tally_out(peer, &plane->route, size);
    }
}


/* in the batch, on the present route */
static uint8_t *
plane_room(tn_plane_t *plane, size_t len)
{
    uint8_t  *room;

    room = plane->ops->udp_room(plane->data, &plane->route.udp, len);

    if (tn_unlikely(room == NULL)) {
        tn_plane_flush(plane);
        room = plane->ops->udp_room(plane->data, &plane->route.udp, len);
    }

    return room;
}


static void
plane_tally_out(tn_plane_peer_t *peer, const tn_path_route_t *route,
    size_t len)
{
    if (route->udp.port != 0) {
        tn_plane_tally_message(peer, &route->udp, 0, true, len);
    }

    if (route->derp != 0) {
        tn_plane_tally_message(peer, NULL, route->derp, true, len);
    }
}


/* before WireGuard's message; the room for it is there */
static void
plane_geneve(uint8_t *header, uint32_t vni)
{
    tn_writer_t  w;
    tn_geneve_t  geneve;

    geneve.protocol = TN_GENEVE_WIREGUARD;
    geneve.vni = vni;
    geneve.control = false;

    w = tn_writer(header, TN_GENEVE_HEADER);
    tn_geneve_write(&w, &geneve);
}


/*
 * The stack learns at once that nobody has this address.  Before the first
 * netmap nobody can know that, and the stack tries again by itself: a core
 * started anew gets packets of connections that are older.
 */
static void
plane_unroutable(tn_plane_t *plane, const uint8_t *packet,
    const tn_packet_t *p)
{
    size_t        len;
    uint8_t       buf[TN_ICMP6_ERROR_MAX];
    tn_vnet_t     vnet;
    struct iovec  iov[2];

    plane->stats.out_unroutable++;

    if (tn_ip_is_none(&plane->self4) && tn_ip_is_none(&plane->self6)) {
        return;
    }

    len = tn_icmp_error(buf, sizeof(buf), TN_ICMP_HOST_UNREACHABLE, 0, &p->src,
                        packet, p);
    if (len == 0) {
        return;
    }

    memset(&vnet, 0, sizeof(vnet));
    iov[0].iov_base = &vnet;
    iov[0].iov_len = sizeof(vnet);
    iov[1].iov_base = buf;
    iov[1].iov_len = len;

    plane->ops->tun_write(plane->data, iov, 2);
}


void
tn_plane_inject(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    uint8_t *packet, size_t len)
{
    if (len == 0) {
        return;
    }

    if (tn_unlikely(plane->capture)) {
        plane->ops->capture(plane->data, true, packet, len);
    }

    if (peer->masq != NULL) {
        tn_plane_masq_src(plane, peer, packet, len);
    }

    if (tn_wg_seal(peer->wg, now, packet, len, plane->sealed) != TN_OK) {
        return;
    }

    tn_plane_send(plane, now, peer, plane->sealed, tn_wg_sealed_len(len));
}


void
tn_plane_send(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    const uint8_t *msg, size_t len)
{
    size_t           size;
    const uint8_t   *datagram;
    tn_path_route_t  route;

    tn_path_route(peer->path, now, &route);

    datagram = msg;
    size = len;

    if (route.vni != 0) {
        plane_geneve(plane->wrapped, route.vni);
        memcpy(plane->wrapped + TN_GENEVE_HEADER, msg, len);
        datagram = plane->wrapped;
        size += TN_GENEVE_HEADER;
    }

    if (route.udp.port != 0
        && plane->ops->udp_send(plane->data, &route.udp, datagram, size)
           == TN_ERROR)
    {
        tn_path_unreachable(peer->path, now, &route.udp);
        tn_path_route(peer->path, now, &route);
    }

    if (route.derp != 0) {
        (void) tn_path_send_derp(peer->path, now, route.derp, msg, len);
    }

    if (tn_unlikely(plane->tally != NULL)) {
        plane_tally_out(peer, &route, len);
    }

    tn_path_sent(peer->path, now);
}
