
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What control says, applied to the data plane: rules, own addresses, and
 * which peers there are.
 */

#include "tn_plane_private.h"


static void plane_rules(tn_plane_t *plane, tn_ms_t now,
    tn_update_t *update);
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
        if (tn_plane_peer_set(plane, now, &update->peers[i]) != TN_OK) {
            tn_log(plane->log, TN_LOG_ERR,
                   "peer %lld could not be added, it is left out",
                   (long long) update->peers[i].id);
        }
    }

    if (update->rules != NULL || update->has_self) {
        tn_path_set_own_relay(plane->path, update->own_relay);
    }

    if (update->rules != NULL) {
        plane_rules(plane, now, update);
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
plane_rules(tn_plane_t *plane, tn_ms_t now, tn_update_t *update)
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
        tn_plane_peer_grant(peer, now, false, false);
    }

    for (i = 0; i < update->ncaps; i++) {
        peer = tn_plane_peer_find(plane, update->caps[i].id);

        if (peer != NULL) {
            peer->caps = update->caps[i].caps;
            tn_plane_peer_grant(peer, now, update->caps[i].relay,
                                update->caps[i].relay_target);
        }
    }
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


tn_rc_t
tn_plane_set_host(tn_plane_t *plane, const tn_ip_t *ips, size_t n)
{
    return tn_filter_set_host(plane->filter, ips, n);
}
