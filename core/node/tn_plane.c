
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Out: a frame of the TUN is routed once by its destination, noted by the
 * filter, and cut up; each segment is sealed straight into the room of the
 * UDP batch.  While a peer's direct path is not proven the sealed message
 * goes over DERP as well; a packet without a session is staged by WireGuard
 * and comes back through plane_wg_send().
 *
 * In: what UDP brings is told apart by its first bytes, opened in place,
 * judged by the filter, and joined with its neighbours until the batch ends.
 * What comes over DERP goes the same way, one message a batch, because its
 * bytes are gone when the call returns.
 *
 * TSMP never reaches the stack: pings are answered here, refused connections
 * are told to their openers.
 */

#include "node/tn_plane.h"

#include "filter/tn_filter.h"
#include "stack/tn_coalesce.h"
#include "stack/tn_split.h"
#include "wire/tn_icmp.h"
#include "wire/tn_ip.h"
#include "wire/tn_tsmp.h"

#include <stdlib.h>


/* what control says of a peer's start is at most this late */
#define TN_PLANE_YOUNG_MS  20000


typedef struct {
    tn_hash_node_t   by_id;
    int64_t          id;
    tn_key_t         key;
    tn_plane_t      *plane;
    tn_wg_peer_t    *wg;
    tn_path_peer_t  *path;
    tn_link_t        met;           /* in plane->met, or in no list */
    uint64_t         caps;          /* of its own addresses */
    tn_ip_t          own4;
    tn_ip_t          own6;
    tn_key_t         disco;         /* by the netmap */
    tn_key_t         said_disco;    /* by the peer since then, or zero */
    bool             wireguard_only;
    bool             jailed;
    bool             kept;          /* named by a full update */
} tn_plane_peer_t;


struct tn_plane_s {
    const tn_plane_ops_t  *ops;
    void                  *data;
    tn_log_t              *log;

    tn_wg_t               *wg;
    tn_path_t             *path;
    tn_filter_t           *filter;
    tn_coalesce_t         *coalesce;
    tn_hash_t              peers;
    tn_link_t              met;     /* reachable since this batch, no session */

    tn_ip_t                self4;   /* own addresses, none when there is none */
    tn_ip_t                self6;
    bool                   started;
    bool                   no_udp;  /* control forbids it */

    tn_plane_stats_t       stats;

    /* the frame being cut up */
    tn_ms_t                now;
    tn_plane_peer_t       *peer;
    tn_path_route_t        route;

    /* a message that does not go by UDP, or not only */
    uint8_t                sealed[TN_WG_PACKET_MAX + TN_WGMSG_DATA_OVERHEAD];
};


static void plane_rules(tn_plane_t *plane, tn_update_t *update);
static tn_rc_t plane_peer_set(tn_plane_t *plane, tn_ms_t now,
    const tn_update_peer_t *update);
static tn_plane_peer_t *plane_peer_add(tn_plane_t *plane, tn_ms_t now,
    const tn_update_peer_t *update, const tn_path_peer_conf_t *conf);
static void plane_peer_restarted(tn_plane_peer_t *peer, tn_ms_t now);
static tn_plane_peer_t *plane_peer_find(const tn_plane_t *plane, int64_t id);
static void plane_peer_remove(tn_plane_peer_t *peer);
static void plane_self(tn_plane_t *plane, const tn_update_t *update);

static void plane_emit(void *data, uint8_t *packet, size_t len);
static void plane_unroutable(tn_plane_t *plane, const uint8_t *packet,
    const tn_packet_t *p);
static void plane_wireguard(tn_plane_t *plane, tn_ms_t now,
    const tn_addr_t *udp, const tn_path_from_t *from, uint8_t *bytes,
    size_t len);
static void plane_packet(tn_plane_t *plane, tn_ms_t now,
    tn_plane_peer_t *peer, uint8_t *bytes, size_t len);
static void plane_tsmp(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    const uint8_t *packet, const tn_packet_t *p);
static void plane_reject(tn_plane_t *plane, tn_ms_t now,
    tn_plane_peer_t *peer, const tn_packet_t *p, uint8_t reason);
static void plane_inject(tn_plane_t *plane, tn_ms_t now,
    tn_plane_peer_t *peer, const uint8_t *packet, size_t len);
static void plane_send(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    const uint8_t *msg, size_t len);

static void plane_wg_send(void *data, tn_wg_peer_t *peer, tn_wg_kind_e kind,
    const uint8_t *msg, size_t len, tn_ms_t now);
static void plane_wg_reply(void *data, const tn_wg_from_t *from,
    const uint8_t *msg, size_t len);
static void plane_wg_session(void *data, tn_wg_peer_t *peer, tn_ms_t now);
static uint64_t plane_wg_wall(void *data);

static tn_rc_t plane_path_send(void *data, const tn_addr_t *to,
    const uint8_t *bytes, size_t len);
static void plane_path_derp_open(void *data, uint32_t region,
    const tn_derpmap_node_t *node);
static tn_rc_t plane_path_derp_write(void *data, uint32_t region,
    const uint8_t *head, size_t head_len, const uint8_t *body,
    size_t body_len);
static void plane_path_derp_close(void *data, uint32_t region);
static void plane_path_wireguard(void *data, tn_ms_t now,
    const tn_path_from_t *from, uint8_t *bytes, size_t len);
static void plane_path_resolve(void *data, uint32_t id, const char *host);
static void plane_path_endpoints(void *data, tn_ms_t now,
    const tn_endpoint_t *endpoints, size_t n);
static void plane_path_netinfo(void *data, tn_ms_t now,
    const tn_netinfo_t *netinfo);
static void plane_path_changed(void *data, tn_ms_t now,
    tn_path_peer_t *peer);
static uint64_t plane_path_us(void *data);
static void plane_path_dont_fragment(void *data, bool on);
static void plane_path_https(void *data, uint32_t id, uint32_t region,
    const tn_derpmap_node_t *node);


static const tn_wg_ops_t  plane_wg_ops = {
    plane_wg_send,
    plane_wg_reply,
    plane_wg_session,
    plane_wg_wall
};

static const tn_path_ops_t  plane_path_ops = {
    plane_path_send,
    plane_path_derp_open,
    plane_path_derp_write,
    plane_path_derp_close,
    plane_path_wireguard,
    plane_path_resolve,
    plane_path_endpoints,
    plane_path_netinfo,
    plane_path_changed,
    plane_path_us,
    plane_path_dont_fragment,
    plane_path_https
};


tn_plane_t *
tn_plane_create(const tn_plane_conf_t *conf)
{
    tn_wg_conf_t   wg;
    tn_plane_t    *plane;

    plane = calloc(1, sizeof(tn_plane_t));
    if (plane == NULL) {
        return NULL;
    }

    plane->ops = conf->ops;
    plane->data = conf->data;
    plane->log = conf->log;
    tn_hash_init(&plane->peers, sizeof(int64_t));
    tn_list_init(&plane->met);

    memset(&wg, 0, sizeof(wg));
    wg.ops = &plane_wg_ops;
    wg.data = plane;
    wg.timers = conf->timers;
    wg.log = conf->log;
    wg.identity = conf->node;

    plane->wg = tn_wg_create(&wg);
    tn_wipe(&wg, sizeof(wg));

    plane->path = tn_path_create(&plane_path_ops, plane, &conf->node,
                                 &conf->disco, conf->timers, conf->log);
    plane->filter = tn_filter_create();
    plane->coalesce = tn_coalesce_create(conf->ops->tun_write, conf->data);

    if (plane->wg == NULL || plane->path == NULL || plane->filter == NULL
        || plane->coalesce == NULL)
    {
        tn_plane_destroy(plane);
        return NULL;
    }

    tn_coalesce_set_udp(plane->coalesce, conf->udp_offload);

    return plane;
}


void
tn_plane_destroy(tn_plane_t *plane)
{
    tn_hash_node_t   *node, *next;

    if (plane == NULL) {
        return;
    }

    for (node = tn_hash_next(&plane->peers, NULL); node; node = next) {
        next = tn_hash_next(&plane->peers, node);
        plane_peer_remove(tn_container(node, tn_plane_peer_t, by_id));
    }

    tn_hash_done(&plane->peers);

    if (plane->path != NULL) {
        tn_path_destroy(plane->path);
    }

    if (plane->filter != NULL) {
        tn_filter_destroy(plane->filter);
    }

    if (plane->coalesce != NULL) {
        tn_coalesce_destroy(plane->coalesce);
    }

    tn_wg_destroy(plane->wg);
    free(plane);
}


tn_path_t *
tn_plane_path(tn_plane_t *plane)
{
    return plane->path;
}


const tn_plane_stats_t *
tn_plane_stats(const tn_plane_t *plane)
{
    return &plane->stats;
}


bool
tn_plane_peer_status(const tn_plane_t *plane, tn_ms_t now, int64_t id,
    tn_plane_peer_status_t *status)
{
    tn_plane_peer_t  *peer;

    peer = plane_peer_find(plane, id);

    if (peer == NULL) {
        return false;
    }

    status->id = id;
    status->kind = tn_path_kind(peer->path, now);
    status->addr = peer->path->best;
    status->derp = peer->path->derp;
    status->latency_ms = tn_path_latency(peer->path);
    tn_wg_peer_stats(peer->wg, &status->wg);

    return true;
}


void
tn_plane_unreachable(tn_plane_t *plane, tn_ms_t now, const tn_addr_t *addr)
{
    tn_hash_node_t   *node;
    tn_plane_peer_t  *peer;

    for (node = tn_hash_next(&plane->peers, NULL); node;
         node = tn_hash_next(&plane->peers, node))
    {
        peer = tn_container(node, tn_plane_peer_t, by_id);

        if (tn_addr_equal(&peer->path->best, addr)) {
            tn_path_unreachable(peer->path, now, addr);
        }
    }
}


/* --- what control says */

void
tn_plane_update(tn_plane_t *plane, tn_ms_t now, tn_update_t *update)
{
    size_t            i;
    tn_hash_node_t   *node, *next;
    tn_plane_peer_t  *peer;

    if (update->derpmap != NULL
        && tn_path_set_derpmap(plane->path, now, update->derpmap) != TN_OK)
    {
        tn_log(plane->log, TN_LOG_ERR, "the DERP map could not be applied");
    }

    if (update->has_self) {
        plane_self(plane, update);
        tn_path_set_knobs(plane->path, now, &update->knobs);
        plane->no_udp = !tn_path_has_udp(plane->path);
    }

    for (i = 0; i < update->nremoved; i++) {
        peer = plane_peer_find(plane, update->removed[i]);

        if (peer != NULL) {
            plane_peer_remove(peer);
        }
    }

    if (update->full) {
        for (node = tn_hash_next(&plane->peers, NULL); node;
             node = tn_hash_next(&plane->peers, node))
        {
            tn_container(node, tn_plane_peer_t, by_id)->kept = false;
        }

        for (i = 0; i < update->npeers; i++) {
            peer = plane_peer_find(plane, update->peers[i].id);

            if (peer != NULL) {
                peer->kept = true;
            }
        }

        for (node = tn_hash_next(&plane->peers, NULL); node; node = next) {
            next = tn_hash_next(&plane->peers, node);
            peer = tn_container(node, tn_plane_peer_t, by_id);

            if (!peer->kept) {
                plane_peer_remove(peer);
            }
        }
    }

    for (i = 0; i < update->npeers; i++) {
        if (plane_peer_set(plane, now, &update->peers[i]) != TN_OK) {
            tn_log(plane->log, TN_LOG_ERR,
                   "peer %lld could not be added, it is left out",
                   (long long) update->peers[i].id);
        }
    }

    if (update->rules != NULL) {
        plane_rules(plane, update);
    }

    if (!plane->started && update->derpmap != NULL) {
        plane->started = true;
        tn_path_start(plane->path, now);
    }

    tn_update_free(update);
}


static void
plane_rules(tn_plane_t *plane, tn_update_t *update)
{
    size_t            i;
    tn_hash_node_t   *node;
    tn_plane_peer_t  *peer;

    tn_filter_set_rules(plane->filter, update->rules);
    update->rules = NULL;

    /* the bits mean something else by each set of rules */

    for (node = tn_hash_next(&plane->peers, NULL); node;
         node = tn_hash_next(&plane->peers, node))
    {
        tn_container(node, tn_plane_peer_t, by_id)->caps = 0;
    }

    for (i = 0; i < update->ncaps; i++) {
        peer = plane_peer_find(plane, update->caps[i].id);

        if (peer != NULL) {
            peer->caps = update->caps[i].caps;
        }
    }
}


static tn_rc_t
plane_peer_set(tn_plane_t *plane, tn_ms_t now, const tn_update_peer_t *update)
{
    tn_plane_peer_t      *peer;
    tn_path_peer_conf_t   conf;

    memset(&conf, 0, sizeof(conf));
    conf.node_key = update->key;
    conf.disco_key = update->disco;
    conf.endpoints = update->endpoints;
    conf.nendpoints = update->nendpoints;
    conf.home_derp = update->home_derp;
    conf.expired = update->expired;
    conf.wireguard_only = update->wireguard_only;

    peer = plane_peer_find(plane, update->id);

    /* what the peer itself said is newer than what the netmap repeats */

    if (peer != NULL && tn_key_equal(&peer->disco, &update->disco)
        && !tn_key_is_zero(&peer->said_disco))
    {
        conf.disco_key = peer->said_disco;
    }

    if (peer != NULL && !tn_key_equal(&peer->key, &update->key)) {

        /* another key is another WireGuard and DERP identity */

        plane_peer_remove(peer);
        peer = NULL;
    }

    if (peer == NULL) {
        peer = plane_peer_add(plane, now, update, &conf);

        if (peer == NULL) {
            return TN_NOMEM;
        }

    } else if (tn_path_peer_update(peer->path, now, &conf) != TN_OK) {
        return TN_NOMEM;
    }

    if (!tn_key_equal(&peer->disco, &update->disco)) {

        /* a key that came by a session is no news to that session */

        if (!tn_key_equal(&peer->said_disco, &update->disco)) {
            plane_peer_restarted(peer, now);
        }

        peer->disco = update->disco;
        memset(&peer->said_disco, 0, sizeof(tn_key_t));
    }

    peer->jailed = update->jailed;
    peer->caps = update->caps;
    peer->wireguard_only = update->wireguard_only;
    peer->own4 = update->own4;
    peer->own6 = update->own6;

    /*
     * Traffic with an expired peer ends with its allowed IPs.  A peer that
     * nothing can reach, without disco and without a home, gets none either.
     */

    if (update->expired
        || (tn_key_is_zero(&update->disco) && update->home_derp == 0
            && !update->wireguard_only))
    {
        return tn_wg_peer_allow(peer->wg, NULL, 0);
    }

    return tn_wg_peer_allow(peer->wg, update->allowed, update->nallowed);
}


static tn_plane_peer_t *
plane_peer_add(tn_plane_t *plane, tn_ms_t now, const tn_update_peer_t *update,
    const tn_path_peer_conf_t *conf)
{
    tn_wg_peer_t     *other;
    tn_plane_peer_t  *peer;

    other = tn_wg_peer_find(plane->wg, &update->key);

    if (other != NULL) {

        /* the key moved from one node id to another */

        plane_peer_remove(tn_wg_peer_data(other));
    }

    peer = calloc(1, sizeof(tn_plane_peer_t));
    if (peer == NULL) {
        return NULL;
    }

    peer->plane = plane;
    peer->id = update->id;
    peer->key = update->key;
    peer->by_id.key = &peer->id;
    tn_list_init(&peer->met);

    if (tn_wg_peer_add(plane->wg, &update->key, peer, &peer->wg) != TN_OK) {
        free(peer);
        return NULL;
    }

    peer->path = tn_path_peer_add(plane->path, now, conf, peer);

    if (peer->path == NULL
        || tn_hash_insert(&plane->peers, &peer->by_id) != TN_OK)
    {
        if (peer->path != NULL) {
            tn_path_peer_remove(peer->path);
        }

        tn_wg_peer_remove(peer->wg);
        free(peer);

        return NULL;
    }

    return peer;
}


/*
 * Another disco key is another process: the session with the former one is
 * dead.  Unless it is so young that the new one has made it, before control
 * could tell us.
 */
static void
plane_peer_restarted(tn_plane_peer_t *peer, tn_ms_t now)
{
    tn_wg_peer_stats_t  stats;

    if (tn_key_is_zero(&peer->disco)) {
        return;
    }

    tn_wg_peer_stats(peer->wg, &stats);

    if (stats.session_at != 0 && now - stats.session_at < TN_PLANE_YOUNG_MS) {
        return;
    }

    tn_wg_peer_reset(peer->wg, now);
}


static tn_plane_peer_t *
plane_peer_find(const tn_plane_t *plane, int64_t id)
{
    tn_hash_node_t  *node;

    node = tn_hash_find(&plane->peers, &id);

    return node ? tn_container(node, tn_plane_peer_t, by_id) : NULL;
}


static void
plane_peer_remove(tn_plane_peer_t *peer)
{
    tn_hash_remove(&peer->plane->peers, &peer->by_id);
    tn_list_remove(&peer->met);
    tn_wg_peer_remove(peer->wg);
    tn_path_peer_remove(peer->path);
    free(peer);
}


static void
plane_self(tn_plane_t *plane, const tn_update_t *update)
{
    size_t  i;

    memset(&plane->self4, 0, sizeof(tn_ip_t));
    memset(&plane->self6, 0, sizeof(tn_ip_t));

    for (i = 0; i < update->nlocal; i++) {
        if (update->local[i].v4) {
            if (update->local[i].bits == 32 && tn_ip_is_none(&plane->self4)) {
                plane->self4 = update->local[i].ip;
            }

        } else if (update->local[i].bits == 128
                   && tn_ip_is_none(&plane->self6))
        {
            plane->self6 = update->local[i].ip;
        }
    }

    if (tn_filter_set_local(plane->filter, update->local, update->nlocal)
        != TN_OK)
    {
        tn_log(plane->log, TN_LOG_ERR, "no memory for own addresses");
    }
}


/* --- from the stack to a peer */

void
tn_plane_tun(tn_plane_t *plane, tn_ms_t now, uint8_t *frame, size_t len)
{
    int           n;
    uint8_t      *packet;
    tn_vnet_t     vnet;
    tn_packet_t   p;
    tn_wg_peer_t *wg;

    if (len <= sizeof(tn_vnet_t)) {
        return;
    }

    memcpy(&vnet, frame, sizeof(tn_vnet_t));
    packet = frame + sizeof(tn_vnet_t);
    len -= sizeof(tn_vnet_t);

    if (tn_packet_parse(&p, packet, len) != TN_OK) {
        return;
    }

    wg = tn_wg_route(plane->wg, &p.dst);

    if (wg == NULL) {
        plane_unroutable(plane, packet, &p);
        return;
    }

    if (!tn_filter_accepts(tn_filter_out(plane->filter, &p, now))) {
        return;
    }

    plane->now = now;
    plane->peer = tn_wg_peer_data(wg);
    tn_path_route(plane->peer->path, now, &plane->route);

    n = tn_split(&vnet, packet, len, plane_emit, plane);

    if (n > 0) {
        plane->stats.out_packets += (uint64_t) n;
        plane->stats.out_bytes += len;
    }

    tn_path_sent(plane->peer->path, now);
}


void
tn_plane_tun_done(tn_plane_t *plane)
{
    plane->ops->udp_flush(plane->data);
}


static void
plane_emit(void *data, uint8_t *packet, size_t len)
{
    tn_plane_t *plane = data;

    size_t            size;
    uint8_t          *room;
    tn_plane_peer_t  *peer;

    peer = plane->peer;
    size = tn_wg_sealed_len(len);
    room = NULL;

    if (plane->route.udp.port != 0) {
        room = plane->ops->udp_room(plane->data, &plane->route.udp, size);
    }

    if (room == NULL) {
        room = plane->sealed;

        if (plane->route.derp == 0) {
            plane->stats.out_dropped++;
        }
    }

    /*
     * Sealed even when nothing can carry it: without a session this starts
     * one and keeps the packet, and a path may be there by then.
     */

    if (tn_wg_seal(peer->wg, plane->now, packet, len, room) != TN_OK) {
        return;
    }

    if (plane->route.derp != 0) {
        (void) tn_path_send_derp(peer->path, plane->now, plane->route.derp,
                                 room, size);
    }

    if (room != plane->sealed) {
        plane->ops->udp_add(plane->data);
    }
}


/* the stack learns at once that nobody has this address */
static void
plane_unroutable(tn_plane_t *plane, const uint8_t *packet,
    const tn_packet_t *p)
{
    size_t        len;
    uint8_t       buf[TN_ICMP6_ERROR_MAX];
    tn_vnet_t     vnet;
    struct iovec  iov[2];

    plane->stats.out_unroutable++;

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


/* --- from a peer to the stack */

void
tn_plane_udp(tn_plane_t *plane, tn_ms_t now, const tn_addr_t *from,
    uint8_t *bytes, size_t len)
{
    tn_path_from_t  path;

    if (tn_unlikely(plane->no_udp)) {
        return;
    }

    if (!tn_path_is_wireguard(bytes, len)
        && tn_path_udp(plane->path, now, from, bytes, len))
    {
        return;
    }

    if (tn_likely(tn_wgmsg_is_data(bytes, len))) {
        plane_wireguard(plane, now, from, NULL, bytes, len);
        return;
    }

    memset(&path, 0, sizeof(path));
    path.addr = *from;

    plane_wireguard(plane, now, from, &path, bytes, len);
}


void
tn_plane_udp_done(tn_plane_t *plane)
{
    tn_link_t        *link;
    tn_plane_peer_t  *peer;

    while ((link = tn_list_shift(&plane->met)) != NULL) {
        peer = tn_container(link, tn_plane_peer_t, met);
        tn_wg_peer_shake(peer->wg, plane->now);
    }

    tn_coalesce_flush(plane->coalesce);
    plane->ops->udp_flush(plane->data);
}


/*
 * `udp` is NULL when it came over DERP; `from` is NULL for a data message
 * that came over UDP: nobody asks for it.
 */
static void
plane_wireguard(tn_plane_t *plane, tn_ms_t now, const tn_addr_t *udp,
    const tn_path_from_t *from, uint8_t *bytes, size_t len)
{
    tn_rc_t           rc;
    tn_wg_from_t      source;
    tn_wg_peer_t     *wg;
    tn_wg_packet_t    packet;
    tn_plane_peer_t  *peer;

    plane->now = now;

    if (tn_likely(tn_wgmsg_is_data(bytes, len))) {
        rc = tn_wg_open(plane->wg, now, bytes, len, &packet);

        if (packet.peer != NULL) {
            peer = tn_wg_peer_data(packet.peer);
            tn_path_received(peer->path, now, udp);

            if (rc == TN_OK && packet.len != 0) {
                plane_packet(plane, now, peer, packet.data, packet.len);
            }
        }

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
    }
}


static void
plane_packet(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    uint8_t *bytes, size_t len)
{
    uint8_t              reason;
    uint64_t             caps;
    tn_packet_t          p;
    tn_filter_verdict_t  verdict;

    if (tn_packet_parse(&p, bytes, len) != TN_OK) {
        plane->stats.in_malformed++;
        return;
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

        return;
    }

    if (tn_unlikely(p.proto == TN_PROTO_TSMP)) {
        plane_tsmp(plane, now, peer, bytes, &p);
        return;
    }

    plane->stats.in_packets++;
    plane->stats.in_bytes += p.total_len;

    tn_coalesce_add(plane->coalesce, bytes, &p);
}


static void
plane_tsmp(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    const uint8_t *packet, const tn_packet_t *p)
{
    size_t     len;
    uint8_t    buf[TN_TSMP_PACKET_MAX];
    tn_tsmp_t  msg, pong;
    char       src[TN_ADDR_TEXT], dst[TN_ADDR_TEXT];

    if (tn_tsmp_parse(&msg, packet, p) != TN_OK) {
        return;
    }

    switch (msg.type) {

    case TN_TSMP_PING:
        memset(&pong, 0, sizeof(pong));
        pong.type = TN_TSMP_PONG;
        memcpy(pong.token, msg.token, TN_TSMP_TOKEN_LEN);

        len = tn_tsmp_build(buf, sizeof(buf), &pong, &p->dst, &p->src);
        plane_inject(plane, now, peer, buf, len);
        break;

    case TN_TSMP_DISCO:

        /* a router may forward what others say: only of itself */

        if (tn_ip_equal(&p->src, &peer->own4)
            || tn_ip_equal(&p->src, &peer->own6))
        {
            (void) tn_path_peer_set_disco(peer->path, now, &msg.disco);
            peer->said_disco = msg.disco;
        }

        break;

    case TN_TSMP_REJECT:
        tn_log(plane->log, TN_LOG_INFO,
               "%s refuses our connection to port %u of it (TSMP '%c')",
               tn_ip_text(&p->src, src), msg.dst_port, msg.reason);
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
    plane_inject(plane, now, peer, buf, len);
}


/* a packet that the node itself makes */
static void
plane_inject(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    const uint8_t *packet, size_t len)
{
    if (len == 0
        || tn_wg_seal(peer->wg, now, packet, len, plane->sealed) != TN_OK)
    {
        return;
    }

    plane_send(plane, now, peer, plane->sealed, tn_wg_sealed_len(len));
}


/* one WireGuard message along the peer's present path */
static void
plane_send(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    const uint8_t *msg, size_t len)
{
    tn_path_route_t  route;

    tn_path_route(peer->path, now, &route);

    if (route.udp.port != 0
        && plane->ops->udp_send(plane->data, &route.udp, msg, len) == TN_ERROR)
    {
        tn_path_unreachable(peer->path, now, &route.udp);
        tn_path_route(peer->path, now, &route);
    }

    if (route.derp != 0) {
        (void) tn_path_send_derp(peer->path, now, route.derp, msg, len);
    }

    tn_path_sent(peer->path, now);
}


/* --- what WireGuard asks for */

static void
plane_wg_send(void *data, tn_wg_peer_t *wg, tn_wg_kind_e kind,
    const uint8_t *msg, size_t len, tn_ms_t now)
{
    tn_plane_t *plane = data;

    (void) kind;

    plane_send(plane, now, tn_wg_peer_data(wg), msg, len);
}


static void
plane_wg_reply(void *data, const tn_wg_from_t *from, const uint8_t *msg,
    size_t len)
{
    tn_plane_t *plane = data;

    (void) tn_path_reply(plane->path, plane->now, from->path, msg, len);
}


/*
 * A session may be the first since this node has restarted, with a disco key
 * that control has not brought to the peer yet (upstream: TSMP disco key
 * advertisement).
 */
static void
plane_wg_session(void *data, tn_wg_peer_t *wg, tn_ms_t now)
{
    tn_plane_t *plane = data;

    size_t            len;
    bool              v4;
    uint8_t           buf[TN_TSMP_PACKET_MAX];
    tn_tsmp_t         msg;
    tn_plane_peer_t  *peer;

    peer = tn_wg_peer_data(wg);
    v4 = !tn_ip_is_none(&plane->self4) && !tn_ip_is_none(&peer->own4);

    if (peer->wireguard_only
        || (!v4 && (tn_ip_is_none(&plane->self6)
                    || tn_ip_is_none(&peer->own6))))
    {
        return;
    }

    memset(&msg, 0, sizeof(msg));
    msg.type = TN_TSMP_DISCO;
    msg.disco = *tn_path_disco_key(plane->path);

    len = tn_tsmp_build(buf, sizeof(buf), &msg,
                        v4 ? &plane->self4 : &plane->self6,
                        v4 ? &peer->own4 : &peer->own6);
    plane_inject(plane, now, peer, buf, len);
}


static uint64_t
plane_wg_wall(void *data)
{
    tn_plane_t *plane = data;

    return plane->ops->wall_ns(plane->data);
}


/* --- what the path machine asks for: the host does it */

static tn_rc_t
plane_path_send(void *data, const tn_addr_t *to, const uint8_t *bytes,
    size_t len)
{
    tn_plane_t *plane = data;

    return plane->ops->udp_send(plane->data, to, bytes, len);
}


static void
plane_path_derp_open(void *data, uint32_t region,
    const tn_derpmap_node_t *node)
{
    tn_plane_t *plane = data;

    plane->ops->derp_open(plane->data, region, node);
}


static tn_rc_t
plane_path_derp_write(void *data, uint32_t region, const uint8_t *head,
    size_t head_len, const uint8_t *body, size_t body_len)
{
    tn_plane_t *plane = data;

    return plane->ops->derp_write(plane->data, region, head, head_len, body,
                                  body_len);
}


static void
plane_path_derp_close(void *data, uint32_t region)
{
    tn_plane_t *plane = data;

    plane->ops->derp_close(plane->data, region);
}


static void
plane_path_wireguard(void *data, tn_ms_t now, const tn_path_from_t *from,
    uint8_t *bytes, size_t len)
{
    tn_plane_t *plane = data;

    plane_wireguard(plane, now, NULL, from, bytes, len);
    tn_coalesce_flush(plane->coalesce);
}


static void
plane_path_resolve(void *data, uint32_t id, const char *host)
{
    tn_plane_t *plane = data;

    plane->ops->resolve(plane->data, id, host);
}


static void
plane_path_endpoints(void *data, tn_ms_t now, const tn_endpoint_t *endpoints,
    size_t n)
{
    tn_plane_t *plane = data;

    (void) now;

    plane->ops->endpoints(plane->data, endpoints, n);
}


static void
plane_path_netinfo(void *data, tn_ms_t now, const tn_netinfo_t *netinfo)
{
    tn_plane_t *plane = data;

    (void) now;

    plane->ops->netinfo(plane->data, netinfo);
}


static void
plane_path_changed(void *data, tn_ms_t now, tn_path_peer_t *path)
{
    tn_plane_t *plane = data;

    tn_plane_peer_t  *peer;

    peer = path->data;

    /*
     * A peer that is found on its own account wants to talk.  Its handshake
     * may have been lost while there was no path, and it waits 5 s to repeat
     * it; ours need not wait.
     */

    if (path->best.port != 0 && !tn_wg_peer_ready(peer->wg, now)
        && tn_list_empty(&peer->met))
    {
        plane->now = now;
        tn_list_push(&plane->met, &peer->met);
    }
}


static uint64_t
plane_path_us(void *data)
{
    tn_plane_t *plane = data;

    return plane->ops->now_us(plane->data);
}


static void
plane_path_dont_fragment(void *data, bool on)
{
    tn_plane_t *plane = data;

    plane->ops->dont_fragment(plane->data, on);
}


static void
plane_path_https(void *data, uint32_t id, uint32_t region,
    const tn_derpmap_node_t *node)
{
    tn_plane_t *plane = data;

    plane->ops->https_probe(plane->data, id, region, node);
}
