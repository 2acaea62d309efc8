
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What control says, applied to the data plane: peers, rules, own addresses.
 */

#include "tn_plane_private.h"

#include <stdlib.h>


/* what control says of a peer's start is at most this late */
#define TN_PLANE_YOUNG_MS  20000


static void plane_rules(tn_plane_t *plane, tn_update_t *update);
static tn_rc_t plane_peer_set(tn_plane_t *plane, tn_ms_t now,
    const tn_update_peer_t *update);
static tn_plane_peer_t *plane_peer_add(tn_plane_t *plane, tn_ms_t now,
    const tn_update_peer_t *update, const tn_path_peer_conf_t *conf);
static void plane_peer_restarted(tn_plane_peer_t *peer, tn_ms_t now);
static void plane_self(tn_plane_t *plane, const tn_update_t *update);


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
        peer = tn_plane_peer_find(plane, update->removed[i]);

        if (peer != NULL) {
            tn_plane_peer_remove(peer);
        }
    }

    if (update->full) {
        for (node = tn_hash_next(&plane->peers, NULL); node;
             node = tn_hash_next(&plane->peers, node))
        {
            tn_container(node, tn_plane_peer_t, by_id)->kept = false;
        }

        for (i = 0; i < update->npeers; i++) {
            peer = tn_plane_peer_find(plane, update->peers[i].id);

            if (peer != NULL) {
                peer->kept = true;
            }
        }

        for (node = tn_hash_next(&plane->peers, NULL); node; node = next) {
            next = tn_hash_next(&plane->peers, node);
            peer = tn_container(node, tn_plane_peer_t, by_id);

            if (!peer->kept) {
                tn_plane_peer_remove(peer);
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

    if (update->rules != NULL || update->has_self) {
        tn_path_set_own_relay(plane->path, update->own_relay);
    }

    if (update->rules != NULL) {
        plane_rules(plane, update);
    }

    if (update->has_self) {
        tn_path_hint_home(plane->path, now, update->home_derp);
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
        peer = tn_container(node, tn_plane_peer_t, by_id);

        peer->caps = 0;
        tn_path_peer_set_relay(peer->path, false, false);
    }

    for (i = 0; i < update->ncaps; i++) {
        peer = tn_plane_peer_find(plane, update->caps[i].id);

        if (peer != NULL) {
            peer->caps = update->caps[i].caps;
            tn_path_peer_set_relay(peer->path, update->caps[i].relay,
                                   update->caps[i].relay_target);
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
    conf.relay_capable = update->relay_capable;

    peer = tn_plane_peer_find(plane, update->id);

    /* what the peer itself said is newer than what the netmap repeats */

    if (peer != NULL && tn_key_equal(&peer->disco, &update->disco)
        && !tn_key_is_zero(&peer->said_disco))
    {
        conf.disco_key = peer->said_disco;
    }

    if (peer != NULL && !tn_key_equal(&peer->key, &update->key)) {

        /* another key is another WireGuard and DERP identity */

        tn_plane_peer_remove(peer);
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
    tn_path_peer_set_relay(peer->path, update->relay, update->relay_target);
    peer->wireguard_only = update->wireguard_only;
    peer->own4 = update->own4;
    peer->own6 = update->own6;
    peer->masq4 = update->masq4;
    peer->masq6 = update->masq6;
    peer->masqueraded = !tn_ip_is_none(&peer->masq4)
                        || !tn_ip_is_none(&peer->masq6);

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

        tn_plane_peer_remove(tn_wg_peer_data(other));
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


tn_plane_peer_t *
tn_plane_peer_find(const tn_plane_t *plane, int64_t id)
{
    tn_hash_node_t  *node;

    node = tn_hash_find(&plane->peers, &id);

    return node ? tn_container(node, tn_plane_peer_t, by_id) : NULL;
}


void
tn_plane_peer_remove(tn_plane_peer_t *peer)
{
    tn_plane_ping_forget(peer);
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


void
tn_plane_set_host(tn_plane_t *plane, const tn_ip_t *ips, size_t n)
{
    tn_filter_set_host(plane->filter, ips, n);
}
