
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory: a tailnet has thousands of peers, and a node talks to some of them.
 * Of each peer the plane keeps what control says.  WireGuard and the path
 * machine get to know a peer when there is something to do:
 *
 *   a packet for one of its allowed IPs      tn_plane_tun()
 *   an initiation in the name of its key     ops->absent of WireGuard
 *   anything by DERP in the name of its key  ops->absent of the path machine
 *   a disco message in that of its disco key ops->absent_disco, as well
 *   data of a session that is unknown, from  plane_stale()
 *     its DERP key or one of its endpoints
 *   it has a peer relay for us, or somebody asks for a ping
 *
 * Before that it sleeps.  It never falls asleep again: what is spared is the
 * memory for peers that nobody talks to.  Nothing that wakes a peer is proven
 * yet, so a stranger who knows all keys of a tailnet can wake all of it, which
 * costs what it would cost had none slept.
 *
 * Several peers may have the same disco key.  They wake together, for the path
 * machine looks for the sender among those it knows.
 */

#include "tn_plane_private.h"

#include <stdlib.h>


/* what control says of a peer's start is at most this late */
#define TN_PLANE_YOUNG_MS  20000


static tn_plane_peer_t *plane_peer_add(tn_plane_t *plane,
    const tn_update_peer_t *update);
static tn_rc_t plane_peer_masq(tn_plane_peer_t *peer,
    const tn_update_peer_t *update);
static tn_rc_t plane_peer_allow(tn_plane_peer_t *peer,
    tn_update_peer_t *update);
static tn_rc_t plane_peer_disco(tn_plane_peer_t *peer, const tn_key_t *disco);
static void plane_peer_disco_leave(tn_plane_peer_t *peer);
static void plane_peer_path_conf(const tn_plane_peer_t *peer,
    tn_path_peer_conf_t *conf);
static tn_rc_t plane_peer_make(tn_plane_peer_t *peer, tn_ms_t now);
static void plane_peer_restarted(tn_plane_peer_t *peer, tn_ms_t now);


tn_rc_t
tn_plane_peer_set(tn_plane_t *plane, tn_ms_t now, tn_update_peer_t *update)
{
    bool                 restarted, near;
    tn_rc_t              rc;
    tn_key_t             said;
    tn_plane_peer_t     *peer;
    tn_path_peer_conf_t  conf;

    peer = tn_plane_peer_find(plane, update->id);

    if (peer != NULL && !tn_key_equal(&peer->key, &update->key)) {

        /* another key is another WireGuard and DERP identity */

        tn_plane_peer_remove(peer);
        peer = NULL;
    }

    if (peer == NULL) {
        peer = plane_peer_add(plane, update);

        if (peer == NULL) {
            return TN_NOMEM;
        }
    }

    memset(&said, 0, sizeof(tn_key_t));

    if (peer->path != NULL) {
        tn_path_peer_disco(peer->path, &said);
    }

    restarted = false;

    if (tn_key_equal(&peer->disco, &update->disco)) {

        /* what the peer itself said is newer than what the netmap repeats */

        if (tn_key_is_zero(&said)) {
            said = update->disco;
        }

    } else {

        /* a key that came by a session is no news to that session */

        restarted = peer->wg != NULL && !tn_key_is_zero(&peer->disco)
                    && !tn_key_equal(&said, &update->disco);
        said = update->disco;

        if (plane_peer_disco(peer, &update->disco) != TN_OK) {
            return TN_NOMEM;
        }
    }

    free(peer->endpoints);
    peer->endpoints = update->endpoints;
    peer->nendpoints = (uint32_t) update->nendpoints;
    update->endpoints = NULL;
    update->nendpoints = 0;

    peer->home_derp = update->home_derp;
    peer->expired = update->expired;
    peer->wireguard_only = update->wireguard_only;
    peer->relay_capable = update->relay_capable;
    peer->jailed = update->jailed;
    peer->caps = update->caps;

    near = peer->is_near;

    if (!tn_ip_equal(&peer->own4, &update->own4)
        || !tn_ip_equal(&peer->own6, &update->own6))
    {
        tn_plane_near(peer, false);
    }

    peer->own4 = update->own4;
    peer->own6 = update->own6;
    tn_plane_near(peer, near);

    if (peer->path != NULL) {
        plane_peer_path_conf(peer, &conf);
        conf.disco_key = said;

        if (tn_path_peer_update(peer->path, now, &conf) != TN_OK) {
            return TN_NOMEM;
        }
    }

    if (restarted) {
        plane_peer_restarted(peer, now);
    }

    tn_plane_peer_grant(peer, now, update->relay, update->relay_target);

    rc = plane_peer_masq(peer, update);

    return rc == TN_OK ? plane_peer_allow(peer, update) : rc;
}


static tn_plane_peer_t *
plane_peer_add(tn_plane_t *plane, const tn_update_peer_t *update)
{
    tn_plane_peer_t  *peer;

    peer = tn_plane_peer_by_key(plane, &update->key);

    if (peer != NULL) {

        /* the key moved from one node id to another */

        tn_plane_peer_remove(peer);
    }

    if (tn_key_equal(&update->key, tn_wg_public_key(plane->wg))) {
        return NULL;
    }

    peer = calloc(1, sizeof(tn_plane_peer_t));
    if (peer == NULL) {
        return NULL;
    }

    peer->plane = plane;
    peer->id = update->id;
    peer->key = update->key;
    peer->by_id.key = &peer->id;
    peer->by_key.key = peer->key.b;
    tn_list_init(&peer->met);
    tn_list_init(&peer->same_disco);

    if (tn_hash_insert(&plane->peers, &peer->by_id) != TN_OK) {
        free(peer);
        return NULL;
    }

    if (tn_hash_insert(&plane->keys, &peer->by_key) != TN_OK) {
        tn_hash_remove(&plane->peers, &peer->by_id);
        free(peer);
        return NULL;
    }

    return peer;
}


void
tn_plane_peer_remove(tn_plane_peer_t *peer)
{
    tn_plane_t  *plane;

    plane = peer->plane;
    tn_plane_near(peer, false);

    if (peer->wg != NULL) {
        tn_plane_ping_forget(peer);
        tn_list_remove(&peer->met);
        tn_wg_peer_remove(peer->wg);
        tn_path_peer_remove(peer->path);
    }

    tn_wg_disallow(plane->wg, peer, peer->allowed, peer->nallowed);
    plane_peer_disco_leave(peer);
    tn_hash_remove(&plane->keys, &peer->by_key);
    tn_hash_remove(&plane->peers, &peer->by_id);

    free(peer->allowed);
    free(peer->endpoints);
    free(peer->masq);
    free(peer);
}


tn_plane_peer_t *
tn_plane_peer_find(const tn_plane_t *plane, int64_t id)
{
    tn_hash_node_t  *node;

    node = tn_hash_find(&plane->peers, &id);

    return node ? tn_container(node, tn_plane_peer_t, by_id) : NULL;
}


tn_plane_peer_t *
tn_plane_peer_by_key(const tn_plane_t *plane, const tn_key_t *key)
{
    tn_hash_node_t  *node;

    node = tn_hash_find(&plane->keys, key->b);

    return node ? tn_container(node, tn_plane_peer_t, by_key) : NULL;
}


void
tn_plane_peer_grant(tn_plane_peer_t *peer, tn_ms_t now, bool relay,
    bool relay_target)
{
    peer->relay = relay;
    peer->relay_target = relay_target;

    if (peer->path != NULL) {
        tn_path_peer_set_relay(peer->path, relay, relay_target);

    } else if (relay_target) {

        /* others are reached through it: it has to be there for them */

        (void) tn_plane_peer_wake(peer, now);
    }
}


static tn_rc_t
plane_peer_masq(tn_plane_peer_t *peer, const tn_update_peer_t *update)
{
    if (tn_ip_is_none(&update->masq4) && tn_ip_is_none(&update->masq6)) {
        free(peer->masq);
        peer->masq = NULL;

        return TN_OK;
    }

    if (peer->masq == NULL) {
        peer->masq = calloc(2, sizeof(tn_ip_t));
        if (peer->masq == NULL) {
            return TN_NOMEM;
        }
    }

    peer->masq[0] = update->masq4;
    peer->masq[1] = update->masq6;

    return TN_OK;
}


static tn_rc_t
plane_peer_allow(tn_plane_peer_t *peer, tn_update_peer_t *update)
{
    tn_wg_disallow(peer->plane->wg, peer, peer->allowed, peer->nallowed);

    free(peer->allowed);
    peer->allowed = update->allowed;
    peer->nallowed = (uint32_t) update->nallowed;
    update->allowed = NULL;
    update->nallowed = 0;

    /*
     * Traffic with an expired peer ends with its allowed IPs.  A peer that
     * nothing can reach, without disco and without a home, gets none either.
     */

    if (peer->expired
        || (tn_key_is_zero(&peer->disco) && peer->home_derp == 0
            && !peer->wireguard_only))
    {
        peer->nallowed = 0;
    }

    return tn_wg_allow(peer->plane->wg, peer, peer->allowed, peer->nallowed);
}


static tn_rc_t
plane_peer_disco(tn_plane_peer_t *peer, const tn_key_t *disco)
{
    tn_plane_t      *plane;
    tn_hash_node_t  *node;

    plane = peer->plane;

    plane_peer_disco_leave(peer);
    peer->disco = *disco;

    if (tn_key_is_zero(disco)) {
        return TN_OK;
    }

    node = tn_hash_find(&plane->discos, disco->b);

    if (node != NULL) {
        tn_list_push(&tn_container(node, tn_plane_peer_t,
                                   by_disco)->same_disco,
                     &peer->same_disco);
        return TN_OK;
    }

    peer->by_disco.key = peer->disco.b;

    return tn_hash_insert(&plane->discos, &peer->by_disco);
}


static void
plane_peer_disco_leave(tn_plane_peer_t *peer)
{
    tn_hash_t        *discos;
    tn_plane_peer_t  *other;

    discos = &peer->plane->discos;

    if (tn_hash_find(discos, peer->disco.b) == &peer->by_disco) {
        tn_hash_remove(discos, &peer->by_disco);

        if (!tn_list_empty(&peer->same_disco)) {

            /* in the place that is free now: this cannot fail */

            other = tn_container(peer->same_disco.next, tn_plane_peer_t,
                                 same_disco);
            other->by_disco.key = other->disco.b;
            (void) tn_hash_insert(discos, &other->by_disco);
        }
    }

    tn_list_remove(&peer->same_disco);
}


static void
plane_peer_path_conf(const tn_plane_peer_t *peer, tn_path_peer_conf_t *conf)
{
    memset(conf, 0, sizeof(tn_path_peer_conf_t));

    conf->node_key = peer->key;
    conf->disco_key = peer->disco;
    conf->endpoints = peer->endpoints;
    conf->nendpoints = peer->nendpoints;
    conf->home_derp = peer->home_derp;
    conf->expired = peer->expired;
    conf->wireguard_only = peer->wireguard_only;
    conf->relay_capable = peer->relay_capable;
}


tn_rc_t
tn_plane_peer_rouse(tn_plane_peer_t *peer, tn_ms_t now)
{
    tn_rc_t           rc;
    tn_link_t        *link;
    tn_plane_peer_t  *other;

    rc = plane_peer_make(peer, now);

    tn_list_each(link, &peer->same_disco) {
        other = tn_container(link, tn_plane_peer_t, same_disco);

        if (other->wg == NULL) {
            (void) plane_peer_make(other, now);
        }
    }

    return rc;
}


static tn_rc_t
plane_peer_make(tn_plane_peer_t *peer, tn_ms_t now)
{
    tn_plane_t           *plane;
    tn_wg_peer_t         *wg;
    tn_path_peer_conf_t   conf;

    plane = peer->plane;

    if (tn_wg_peer_add(plane->wg, &peer->key, peer, &wg) != TN_OK) {
        goto failed;
    }

    plane_peer_path_conf(peer, &conf);
    peer->wg = wg;
    peer->path = tn_path_peer_add(plane->path, now, &conf, peer);

    if (peer->path == NULL) {
        tn_wg_peer_remove(wg);
        peer->wg = NULL;
        goto failed;
    }

    tn_path_peer_set_relay(peer->path, peer->relay, peer->relay_target);

    return TN_OK;

failed:

    tn_log(plane->log, TN_LOG_ERR, "no memory for the state of peer %lld",
           (long long) peer->id);

    return TN_NOMEM;
}


tn_wg_peer_t *
tn_plane_peer_absent(void *data, const tn_key_t *key, tn_ms_t now)
{
    tn_plane_t *plane = data;

    tn_plane_peer_t  *peer;

    peer = tn_plane_peer_by_key(plane, key);

    if (peer == NULL || peer->expired) {
        return NULL;
    }

    (void) tn_plane_peer_wake(peer, now);

    return peer->wg;
}


void
tn_plane_peer_absent_path(void *data, tn_ms_t now, const tn_key_t *key)
{
    (void) tn_plane_peer_absent(data, key, now);
}


void
tn_plane_peer_absent_disco(void *data, tn_ms_t now, const tn_key_t *disco)
{
    tn_plane_t *plane = data;

    tn_hash_node_t  *node;

    node = tn_hash_find(&plane->discos, disco->b);

    if (node != NULL) {
        (void) tn_plane_peer_wake(tn_container(node, tn_plane_peer_t,
                                               by_disco), now);
    }
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

    tn_wg_peer_stats(peer->wg, &stats);

    if (stats.session_at != 0 && now - stats.session_at < TN_PLANE_YOUNG_MS) {
        return;
    }

    tn_wg_peer_reset(peer->wg, now);
}
