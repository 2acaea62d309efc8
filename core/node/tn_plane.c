
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node's data plane as a whole: made, told about, and what WireGuard and
 * the path machine ask of it.
 */

#include "tn_plane_private.h"

#include "wg/tn_wg_session.h"
#include "wire/tn_tsmp.h"

#include <stdlib.h>


static void plane_wg_send(void *data, tn_wg_peer_t *peer, tn_wg_kind_e kind,
    const uint8_t *msg, size_t len, tn_ms_t now);
static void plane_wg_reply(void *data, const tn_wg_from_t *from,
    const uint8_t *msg, size_t len);
static void plane_wg_session(void *data, tn_wg_peer_t *peer, tn_ms_t now);
static uint64_t plane_wg_wall(void *data);
static bool plane_wg_seal(void *data, tn_aead_t *aead,
    const tn_aead_job_t *jobs, size_t n);

static tn_rc_t plane_path_send(void *data, const tn_addr_t *to,
    const uint8_t *bytes, size_t len);
static void plane_path_derp_open(void *data, uint32_t region,
    const tn_derpmap_node_t *node);
static tn_rc_t plane_path_derp_write(void *data, uint32_t region,
    const uint8_t *head, size_t head_len, const uint8_t *body,
    size_t body_len);
static void plane_path_derp_close(void *data, uint32_t region);
static void plane_path_wireguard(void *data, tn_ms_t now,
    const tn_path_from_t *from, uint8_t *bytes, size_t len, bool lasts);
static void plane_path_resolve(void *data, uint32_t id, const char *host);
static void plane_path_endpoints(void *data, tn_ms_t now,
    const tn_endpoint_t *endpoints, size_t n);
static void plane_tally_end(void *data, tn_ms_t now);
static void plane_path_netinfo(void *data, tn_ms_t now,
    const tn_netinfo_t *netinfo);
static void plane_path_changed(void *data, tn_ms_t now,
    tn_path_peer_t *peer);
static uint64_t plane_path_us(void *data);
static void plane_path_dont_fragment(void *data, bool on);
static void plane_path_https(void *data, uint32_t id, uint32_t region,
    const tn_derpmap_node_t *node);
static tn_rc_t plane_path_relay(void *data, tn_ms_t now,
    const tn_key_t *asker, const tn_key_t client[2], tn_disco_relay_t *relay);
static tn_rc_t plane_path_relay_send(void *data, const tn_addr_t *to,
    const uint8_t *bytes, size_t len);
static void plane_path_echo(void *data, const tn_ip_t *ip);


static const tn_wg_ops_t  plane_wg_ops = {
    plane_wg_send,
    plane_wg_reply,
    plane_wg_session,
    plane_wg_wall,
    tn_plane_peer_absent,
    plane_wg_seal
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
    plane_path_https,
    plane_path_relay,
    plane_path_relay_send,
    plane_path_echo,
    tn_plane_peer_absent_path,
    tn_plane_peer_absent_disco
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
    plane->timers = conf->timers;
    plane->transit = conf->transit;
    plane->singly = conf->singly;
    plane->told_ns = conf->told_ns != NULL ? conf->told_ns : &plane->told;
    tn_hash_init(&plane->peers, sizeof(int64_t));
    tn_hash_init(&plane->keys, TN_KEY_LEN);
    tn_hash_init(&plane->discos, TN_KEY_LEN);
    tn_list_init(&plane->met);
    tn_timer_init(&plane->tally_timer, plane_tally_end, plane);

    memset(&wg, 0, sizeof(wg));
    wg.ops = &plane_wg_ops;
    wg.data = plane;
    wg.timers = conf->timers;
    wg.log = conf->log;
    wg.identity = conf->node;
    wg.hurry_until = conf->hurry_until;

    plane->wg = tn_wg_create(&wg);
    tn_wipe(&wg, sizeof(wg));

    plane->path = tn_path_create(&plane_path_ops, plane, &conf->node,
                                 &conf->disco, conf->timers, conf->log);
    plane->filter = tn_filter_create();
    plane->coalesce = tn_coalesce_create(conf->ops->tun_write, conf->data);

    if (plane->wg == NULL || plane->path == NULL || plane->filter == NULL
        || plane->coalesce == NULL
        || tn_filter_set_routes(plane->filter, conf->routes, conf->nroutes)
           != TN_OK)
    {
        tn_plane_destroy(plane);
        return NULL;
    }

    tn_filter_set_shields(plane->filter, conf->shields_up);
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
        tn_plane_peer_remove(tn_container(node, tn_plane_peer_t, by_id));
    }

    tn_hash_done(&plane->peers);
    tn_hash_done(&plane->keys);
    tn_hash_done(&plane->discos);

    if (plane->path != NULL) {
        tn_path_destroy(plane->path);
    }

    if (plane->filter != NULL) {
        tn_filter_destroy(plane->filter);
    }

    if (plane->coalesce != NULL) {
        tn_coalesce_destroy(plane->coalesce);
    }

    tn_plane_gather_free(plane->gather);
    tn_wg_destroy(plane->wg);
    plane_tally_end(plane, 0);
    free(plane);
}


tn_path_t *
tn_plane_path(tn_plane_t *plane)
{
    return plane->path;
}


tn_path_peer_t *
tn_plane_path_peer(tn_plane_t *plane, tn_ms_t now, const tn_key_t *key)
{
    tn_plane_peer_t  *peer;

    peer = tn_plane_peer_by_key(plane, key);

    return peer != NULL && tn_plane_peer_wake(peer, now) == TN_OK
           ? peer->path : NULL;
}


void
tn_plane_set_peerapi(tn_plane_t *plane, const tn_addr_t *addrs, size_t n)
{
    tn_filter_set_peerapi(plane->filter, addrs, n);
}


void
tn_plane_set_services(tn_plane_t *plane, const tn_filter_service_t *served,
    size_t n)
{
    tn_filter_set_services(plane->filter, served, n);
}


tn_rc_t
tn_plane_set_routes(tn_plane_t *plane, const tn_prefix_t *routes, size_t n)
{
    return tn_filter_set_routes(plane->filter, routes, n);
}


void
tn_plane_woke(tn_plane_t *plane, tn_ms_t now, tn_ms_t slept)
{
    tn_wg_peer_t  *peer;

    if (slept < TN_WG_REKEY_AFTER_MS) {
        return;
    }

    for (peer = tn_wg_peer_next(plane->wg, NULL); peer != NULL;
         peer = tn_wg_peer_next(plane->wg, peer))
    {
        tn_wg_peer_forget(peer, now);
    }
}


void
tn_plane_set_capture(tn_plane_t *plane, bool on)
{
    plane->capture = on;
}


tn_tally_count_t *
tn_plane_tally(tn_plane_t *plane, tn_ms_t now, size_t *n, uint64_t *left_out,
    tn_ms_t *since)
{
    if (plane->tally == NULL) {
        plane->tally = tn_tally_create(now);
    }

    if (plane->tally == NULL
        || tn_timer_set(plane->timers, &plane->tally_timer,
                        now + TN_PLANE_TALLY_MS)
           != TN_OK)
    {
        plane_tally_end(plane, now);
        return NULL;
    }

    return tn_tally_copy(plane->tally, n, left_out, since);
}


static void
plane_tally_end(void *data, tn_ms_t now)
{
    tn_plane_t *plane = data;

    (void) now;

    tn_timer_cancel(plane->timers, &plane->tally_timer);
    tn_tally_destroy(plane->tally);
    plane->tally = NULL;
}


void
tn_plane_tally_message(tn_plane_peer_t *peer, const tn_addr_t *addr,
    uint32_t region, bool out, size_t len)
{
    tn_tally_message(peer->plane->tally,
                     tn_ip_is_none(&peer->own4) ? &peer->own6 : &peer->own4,
                     addr, region, out, len);
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

    peer = tn_plane_peer_find(plane, id);

    if (peer == NULL) {
        return false;
    }

    memset(status, 0, sizeof(tn_plane_peer_status_t));
    status->id = id;

    if (peer->wg == NULL) {
        status->latency_ms = -1;

        if (!peer->expired && !peer->wireguard_only
            && tn_path_has_region(plane->path, peer->home_derp))
        {
            status->kind = TN_PATH_DERP;
            status->derp = peer->home_derp;
        }

        return true;
    }

    status->kind = tn_path_kind(peer->path, now);
    status->addr = peer->path->best;
    status->vni = peer->path->vni;
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

        if (peer->path != NULL && tn_addr_equal(&peer->path->best, addr)) {
            tn_path_unreachable(peer->path, now, addr);
        }
    }
}


/* --- what WireGuard asks for */

static void
plane_wg_send(void *data, tn_wg_peer_t *wg, tn_wg_kind_e kind,
    const uint8_t *msg, size_t len, tn_ms_t now)
{
    tn_plane_t *plane = data;

    (void) kind;

    tn_plane_send(plane, now, tn_wg_peer_data(wg), msg, len);
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
    tn_plane_inject(plane, now, peer, buf, len);
}


/*
 * A clock that was set back stands still, but for what makes each timestamp
 * later than all before: peers refuse what is not, also from a new plane.
 */
static uint64_t
plane_wg_wall(void *data)
{
    uint64_t  ns;

    tn_plane_t *plane = data;

    ns = plane->ops->wall_ns(plane->data);

    if (ns < *plane->told_ns) {
        ns = *plane->told_ns + TN_WG_TIMESTAMP_GRAIN_NS;
    }

    *plane->told_ns = ns;

    return ns;
}


/* these are all in the batch: nothing else is sealed later */
static bool
plane_wg_seal(void *data, tn_aead_t *aead, const tn_aead_job_t *jobs,
    size_t n)
{
    tn_plane_t *plane = data;

    return plane->ops->udp_seal != NULL
           && plane->ops->udp_seal(plane->data, aead, jobs, n);
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
    uint8_t *bytes, size_t len, bool lasts)
{
    tn_plane_t *plane = data;

    tn_plane_derp(plane, now, from, bytes, len, lasts);
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

    if (plane->ops->path_changed != NULL) {
        plane->ops->path_changed(plane->data, peer->id,
                                 tn_path_kind(path, now), path->derp);
    }

    tn_plane_near(peer, path->near);
}


void
tn_plane_near(tn_plane_peer_t *peer, bool near)
{
    tn_ip_t      ips[2];
    tn_plane_t  *plane;

    plane = peer->plane;

    if (near == peer->is_near || plane->ops->near_changed == NULL) {
        return;
    }

    peer->is_near = near;
    ips[0] = peer->own4;
    ips[1] = peer->own6;

    plane->ops->near_changed(plane->data, ips, near);
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


static tn_rc_t
plane_path_relay(void *data, tn_ms_t now, const tn_key_t *asker,
    const tn_key_t client[2], tn_disco_relay_t *relay)
{
    tn_plane_t *plane = data;

    if (plane->ops->relay_allocate == NULL) {
        return TN_NOTFOUND;
    }

    return plane->ops->relay_allocate(plane->data, now, asker, client, relay);
}


static tn_rc_t
plane_path_relay_send(void *data, const tn_addr_t *to, const uint8_t *bytes,
    size_t len)
{
    tn_plane_t *plane = data;

    return plane->ops->relay_send(plane->data, to, bytes, len);
}


static void
plane_path_echo(void *data, const tn_ip_t *ip)
{
    tn_plane_t *plane = data;

    if (plane->ops->icmp_echo != NULL) {
        plane->ops->icmp_echo(plane->data, ip);
    }
}
