
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * From a peer to the stack: what UDP brings is told apart by its first
 * bytes; the data messages of a batch are opened together, in place, judged
 * by the filter, and joined with their neighbours.  What comes over DERP goes
 * the same way, one message a batch, because its bytes are gone when the call
 * returns.
 *
 * TSMP never reaches the stack: pings are answered here, refused connections
 * are told to their openers.  Nor do the answers to our own echo requests.
 */

#include "tn_plane_private.h"

#include "wire/tn_refuse.h"


#define PLANE_WITHHELD_MS  60000


static void plane_later(tn_plane_t *plane, tn_ms_t now,
    const tn_addr_t *from, uint32_t vni, uint8_t *bytes, size_t len);
static void plane_open(tn_plane_t *plane);
static void plane_opened(tn_plane_t *plane, tn_ms_t now, const tn_addr_t *udp,
    const tn_path_from_t *from, tn_wg_packet_t *packet);
static void plane_stale(tn_plane_t *plane, tn_ms_t now, const tn_addr_t *udp,
    const tn_path_from_t *from);
static tn_plane_peer_t *plane_peer_at(const tn_plane_t *plane,
    const tn_addr_t *addr);
static void plane_tally(tn_plane_peer_t *peer, const tn_addr_t *udp,
    const tn_path_from_t *from, size_t len);
static void plane_packet(tn_plane_t *plane, tn_ms_t now,
    tn_plane_peer_t *peer, uint8_t *bytes, size_t len);
static void plane_withheld(tn_plane_t *plane, tn_ms_t now,
    const tn_packet_t *p);
static bool plane_is_anothers(const tn_plane_t *plane,
    const tn_plane_peer_t *peer, const uint8_t *packet,
    const tn_packet_t *p);
static bool plane_transit(tn_plane_t *plane, tn_ms_t now,
    tn_plane_peer_t *peer, const uint8_t *packet, const tn_packet_t *p,
    bool service);
static void plane_tsmp(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    const uint8_t *packet, const tn_packet_t *p);
static void plane_reject(tn_plane_t *plane, tn_ms_t now,
    tn_plane_peer_t *peer, const tn_packet_t *p, uint8_t reason);


void
tn_plane_udp(tn_plane_t *plane, tn_ms_t now, const tn_addr_t *from,
    uint8_t *bytes, size_t len)
{
    tn_geneve_t       geneve;
    tn_path_from_t    path;

    if (tn_unlikely(plane->no_udp)) {
        return;
    }

    if (tn_likely(tn_wgmsg_is_data(bytes, len))) {
        plane_later(plane, now, from, 0, bytes, len);
        return;
    }

    /* what came before it, first */

    plane_open(plane);

    geneve.vni = 0;

    if (!tn_path_is_wireguard(bytes, len)) {
        if (tn_path_udp(plane->path, now, from, bytes, len)) {
            return;
        }

        if (tn_geneve_parse(&geneve, bytes, len) == TN_OK) {
            bytes += TN_GENEVE_HEADER;
            len -= TN_GENEVE_HEADER;

            if (tn_wgmsg_is_data(bytes, len)) {
                plane_later(plane, now, from, geneve.vni, bytes, len);
                return;
            }

        } else {
            geneve.vni = 0;
        }
    }

    memset(&path, 0, sizeof(path));
    path.addr = *from;
    path.vni = geneve.vni;

    /* an address of a peer relay is none of the peer's */

    tn_plane_wireguard(plane, now, geneve.vni == 0 ? from : NULL, &path,
                       bytes, len);
}


/* a data message, whose turn comes with the batch's end */
static void
plane_later(tn_plane_t *plane, tn_ms_t now, const tn_addr_t *from,
    uint32_t vni, uint8_t *bytes, size_t len)
{
    size_t  i;

    if (plane->nopening == TN_PLANE_OPENING) {
        plane_open(plane);
    }

    i = plane->nopening++;

    plane->now = now;
    plane->opening[i].msg = bytes;
    plane->opening[i].msg_len = len;
    plane->ways[i].from = from;
    plane->ways[i].vni = vni;
}


void
tn_plane_derp(tn_plane_t *plane, tn_ms_t now, const tn_path_from_t *from,
    uint8_t *bytes, size_t len, bool lasts)
{
    tn_plane_way_t  *way;

    if (lasts && tn_wgmsg_is_data(bytes, len)) {
        plane_later(plane, now, NULL, 0, bytes, len);

        way = &plane->ways[plane->nopening - 1];
        way->region = from->region;
        way->key = from->key;
        return;
    }

    /* what came before it, first */

    plane_open(plane);
    tn_plane_wireguard(plane, now, NULL, from, bytes, len);

    if (!lasts) {
        tn_coalesce_flush(plane->coalesce);
    }
}


static void
plane_open(tn_plane_t *plane)
{
    size_t                 i, n;
    tn_path_from_t         path;
    const tn_plane_way_t  *way;

    n = plane->nopening;
    plane->nopening = 0;

    tn_wg_open_many(plane->wg, plane->now, plane->opening, n);

    for (i = 0; i < n; i++) {
        way = &plane->ways[i];

        if (tn_likely(way->from != NULL && way->vni == 0)) {
            plane_opened(plane, plane->now, way->from, NULL,
                         &plane->opening[i]);
            continue;
        }

        memset(&path, 0, sizeof(path));

        if (way->from != NULL) {
            path.addr = *way->from;
            path.vni = way->vni;

        } else {
            path.region = way->region;
            path.key = way->key;
        }

        plane_opened(plane, plane->now, NULL, &path, &plane->opening[i]);
    }
}


void
tn_plane_udp_done(tn_plane_t *plane)
{
    tn_link_t        *link;
    tn_plane_peer_t  *peer;

    plane_open(plane);

    while ((link = tn_list_shift(&plane->met)) != NULL) {
        peer = tn_container(link, tn_plane_peer_t, met);
        tn_wg_peer_shake(peer->wg, plane->now);
    }

    tn_coalesce_flush(plane->coalesce);
    tn_plane_flush(plane);
}


void
tn_plane_wireguard(tn_plane_t *plane, tn_ms_t now, const tn_addr_t *udp,
    const tn_path_from_t *from, uint8_t *bytes, size_t len)
{
    tn_wg_from_t      source;
    tn_wg_peer_t     *wg;
    tn_wg_packet_t    packet;
    tn_plane_peer_t  *peer;

    plane->now = now;

    if (tn_likely(tn_wgmsg_is_data(bytes, len))) {
        (void) tn_wg_open(plane->wg, now, bytes, len, &packet);
        plane_opened(plane, now, udp, from, &packet);
        return;
    }

    if (from == NULL) {
        return;
    }

    memset(&source, 0, sizeof(source));
    source.path = from;
    source.addr = from->addr;

    if (from->region != 0) {
        source.relayed = true;
        memcpy(source.addr.ip.b, from->key.b, sizeof(source.addr.ip.b));
    }

    if (tn_wg_input(plane->wg, now, &source, bytes, len, &wg) == TN_OK) {
        peer = tn_wg_peer_data(wg);
        tn_path_received(peer->path, now, udp);

        if (tn_unlikely(plane->tally != NULL)) {
            plane_tally(peer, udp, from, len);
        }
    }
}


/* a data message; `udp` and `from` as of tn_plane_wireguard() */
static void
plane_opened(tn_plane_t *plane, tn_ms_t now, const tn_addr_t *udp,
    const tn_path_from_t *from, tn_wg_packet_t *packet)
{
    tn_plane_peer_t  *peer;

    if (tn_unlikely(packet->peer == NULL)) {

        if (now >= plane->stale_at) {
            plane_stale(plane, now, udp, from);
        }

        return;
    }

    peer = tn_wg_peer_data(packet->peer);
    tn_path_received(peer->path, now, udp);

    if (tn_unlikely(plane->tally != NULL)) {
        plane_tally(peer, udp, from, packet->msg_len);
    }

    if (packet->rc == TN_OK && packet->len != 0) {
        plane_packet(plane, now, peer, packet->data, packet->len);
    }
}


/*
 * A message of a session that is not known here: after a restart of ours a
 * peer that only sends goes on with the former one, and tries another only
 * when nothing came back for 15 s.  A handshake of our own ends that.  Any
 * stranger can send such a message, so few are looked at, and a peer with a
 * session is left alone.
 */

static void
plane_stale(tn_plane_t *plane, tn_ms_t now, const tn_addr_t *udp,
    const tn_path_from_t *from)
{
    tn_plane_peer_t  *peer;

    plane->stale_at = now + TN_PLANE_STALE_MS;

    if (udp != NULL) {
        peer = plane_peer_at(plane, udp);

    } else if (from->region != 0) {
        peer = tn_plane_peer_by_key(plane, &from->key);

    } else {
        /* by a peer relay, which does not say for whom */
        return;
    }

    if (peer == NULL || tn_plane_peer_wake(peer, now) != TN_OK) {
        return;
    }

    if (!tn_wg_peer_ready(peer->wg, now)) {
        tn_wg_peer_shake(peer->wg, now);
    }
}


/* by what is known of its path, or by what control says of one that sleeps */
static tn_plane_peer_t *
plane_peer_at(const tn_plane_t *plane, const tn_addr_t *addr)
{
    uint32_t          i;
    tn_hash_node_t   *node;
    tn_path_peer_t   *path;
    tn_plane_peer_t  *peer;

    path = tn_path_peer_at(plane->path, addr);

    if (path != NULL) {
        return path->data;
    }

    for (node = tn_hash_next(&plane->peers, NULL); node;
         node = tn_hash_next(&plane->peers, node))
    {
        peer = tn_container(node, tn_plane_peer_t, by_id);

        for (i = 0; i < peer->nendpoints; i++) {
            if (tn_addr_equal(&peer->endpoints[i], addr)) {
                return peer;
            }
        }
    }

    return NULL;
}


static void
plane_tally(tn_plane_peer_t *peer, const tn_addr_t *udp,
    const tn_path_from_t *from, size_t len)
{
    if (udp == NULL && from->region == 0) {
        udp = &from->addr;
    }

    tn_plane_tally_message(peer, udp, udp ? 0 : from->region, false, len);
}


static void
plane_packet(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    uint8_t *bytes, size_t len)
{
    bool                 service;
    uint8_t              reason;
    uint64_t             caps;
    tn_packet_t          p;
    tn_filter_verdict_t  verdict;

    if (tn_packet_parse(&p, bytes, len) != TN_OK) {
        if (tn_unlikely(plane->capture)) {
            plane->ops->capture(plane->data, false, bytes, len);
        }

        plane->stats.in_malformed++;
        return;
    }

    if (tn_unlikely(peer->masq != NULL)) {
        tn_plane_masq_dst(plane, peer, bytes, &p);
    }

    if (tn_unlikely(plane->capture)) {
        plane->ops->capture(plane->data, false, bytes, len);
    }

    caps = peer->caps;

    if (tn_unlikely(caps != 0) && !tn_ip_equal(&p.src, &peer->own4)
        && !tn_ip_equal(&p.src, &peer->own6))
    {
        caps = 0;
    }

    verdict = tn_filter_in(plane->filter, &p, caps, peer->jailed, now);

    if (tn_unlikely(!tn_filter_accepts(verdict))) {
        plane->stats.in_filtered++;

        reason = tn_filter_reject(&p, verdict);
        if (reason != 0) {
            plane_reject(plane, now, peer, &p, reason);
        }

        if (plane->transit != NULL) {
            plane_withheld(plane, now, &p);
        }

        return;
    }

    if (tn_unlikely(p.proto == TN_PROTO_TSMP)) {
        plane_tsmp(plane, now, peer, bytes, &p);
        return;
    }

    if (tn_unlikely(p.icmp_type != 0)
        && plane_is_anothers(plane, peer, bytes, &p))
    {
        plane->stats.in_filtered++;
        return;
    }

    if (tn_unlikely(plane->echos != 0)
        && tn_plane_ping_echo(peer, now, bytes, &p))
    {
        return;
    }

    if (tn_unlikely(plane->tally != NULL)) {
        tn_tally_packet(plane->tally, &p, false, 1, p.total_len);
    }

    plane->stats.in_packets++;
    plane->stats.in_bytes += p.total_len;

    if (tn_unlikely(plane->transit != NULL)) {
        service = tn_filter_is_served_udp(plane->filter, &p);

        if ((service || tn_filter_is_behind(plane->filter, &p.dst))
            && plane_transit(plane, now, peer, bytes, &p, service))
        {
            return;
        }
    }

    tn_coalesce_add(plane->coalesce, bytes, &p);
}


/* one line for all that anybody tries */
static void
plane_withheld(tn_plane_t *plane, tn_ms_t now, const tn_packet_t *p)
{
    char  text[2][TN_ADDR_TEXT];

    if ((plane->withheld_at != 0
         && now - plane->withheld_at < PLANE_WITHHELD_MS)
        || !tn_filter_withholds(plane->filter, &p->dst))
    {
        return;
    }

    plane->withheld_at = now;

    tn_log(plane->log, TN_LOG_NOTICE, "%s wants %s, which is of this machine, "
           "its link or its cloud, and not behind it: refused",
           tn_ip_text(&p->src, text[0]), tn_ip_text(&p->dst, text[1]));
}


/*
 * An error about a packet to another peer.  The filter lets errors in from
 * everybody, and a stack believes them: one that names a port which the kernel
 * has a UDP socket at is enough to have all that goes to that peer cut short.
 */

static bool
plane_is_anothers(const tn_plane_t *plane, const tn_plane_peer_t *peer,
    const uint8_t *packet, const tn_packet_t *p)
{
    tn_ip_t  dst;

    return tn_icmp_blames(packet, p, &dst)
           && tn_wg_route(plane->wg, &dst) != peer;
}


/* false: the packet goes to the stack */
static bool
plane_transit(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    const uint8_t *packet, const tn_packet_t *p, bool service)
{
    size_t   len;
    uint8_t  buf[TN_REFUSE_MAX];

    switch (plane->transit(plane->data, packet, p, service)) {

    case TN_PLANE_REFUSED:
        len = tn_refuse_build(buf, sizeof(buf), packet, p);
        tn_plane_inject(plane, now, peer, buf, len);
        return true;

    case TN_PLANE_TAKEN:
        return true;

    default:
        return false;
    }
}


static void
plane_tsmp(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    const uint8_t *packet, const tn_packet_t *p)
{
    size_t     len;
    uint8_t    buf[TN_TSMP_PACKET_MAX];
    tn_tsmp_t  msg, pong;
    bool       reset;
    char       src[TN_ADDR_TEXT], dst[TN_ADDR_TEXT];
    tn_addr_t  opener, refuser;

    if (tn_tsmp_parse(&msg, packet, p) != TN_OK) {
        return;
    }

    switch (msg.type) {

    case TN_TSMP_PING:
        memset(&pong, 0, sizeof(pong));
        pong.type = TN_TSMP_PONG;
        memcpy(pong.token, msg.token, TN_TSMP_TOKEN_LEN);

        len = tn_tsmp_build(buf, sizeof(buf), &pong, &p->dst, &p->src);
        tn_plane_inject(plane, now, peer, buf, len);
        break;

    case TN_TSMP_PONG:
        tn_plane_ping_pong(peer, now, msg.token);
        break;

    case TN_TSMP_DISCO:

        /* a router may forward what others say: only of itself */

        if (tn_ip_equal(&p->src, &peer->own4)
            || tn_ip_equal(&p->src, &peer->own6))
        {
            (void) tn_path_peer_set_disco(peer->path, now, &msg.disco);
        }

        break;

    case TN_TSMP_REJECT:
        opener.ip = p->dst;
        opener.port = msg.src_port;
        refuser.ip = p->src;
        refuser.port = msg.dst_port;

        /* only who has the address may refuse for it */

        reset = msg.proto == TN_PROTO_TCP && !msg.maybe_broken
                && tn_wg_route(plane->wg, &p->src) == peer
                && tn_plane_syn_refused(plane, &opener, &refuser);

        tn_log(plane->log, TN_LOG_INFO,
               "%s refuses our connection to port %u of it (TSMP '%c')%s",
               tn_ip_text(&p->src, src), msg.dst_port, msg.reason,
               reset ? ", it is reset" : "");
        break;

    default:
        tn_log(plane->log, TN_LOG_DEBUG, "TSMP '%c' from %s to %s ignored",
               msg.type, tn_ip_text(&p->src, src), tn_ip_text(&p->dst, dst));
        break;
    }
}


static void
plane_reject(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    const tn_packet_t *p, uint8_t reason)
{
    size_t     len;
    uint8_t    buf[TN_TSMP_PACKET_MAX];
    tn_tsmp_t  msg;

    memset(&msg, 0, sizeof(msg));
    msg.type = TN_TSMP_REJECT;
    msg.proto = p->proto;
    msg.reason = reason;
    msg.src_port = p->src_port;
    msg.dst_port = p->dst_port;

    len = tn_tsmp_build(buf, sizeof(buf), &msg, &p->dst, &p->src);
    tn_plane_inject(plane, now, peer, buf, len);
}
