
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A peer has up to four sessions.  `current` seals.  `next` is one that we
 * made as responder: it opens, but does not seal until the peer has used it,
 * for only then we know that our response arrived.  `previous` and `older`
 * only open what was under way when keys changed, so a renewal under load
 * loses no packet.
 */

#include "tn_wg_peer.h"

#include "crypto/tn_curve.h"
#include "wg/tn_wg_timers.h"

#include <stdlib.h>


/* a packet that waits, with room to be sealed in place */
typedef struct {
    tn_link_t  link;
    size_t     len;
    uint8_t    msg[];
} tn_wg_staged_t;


static void tn_wg_peer_drop(tn_wg_peer_t *peer, tn_wg_session_t **session);
static void tn_wg_peer_drop_oldest(tn_wg_peer_t *peer);


tn_rc_t
tn_wg_peer_add(tn_wg_t *wg, const tn_key_t *key, void *data,
    tn_wg_peer_t **out)
{
    tn_wg_peer_t  *peer;

    *out = NULL;

    if (tn_key_equal(key, &wg->identity.pub)
        || tn_wg_peer_find(wg, key) != NULL)
    {
        return TN_REFUSED;
    }

    peer = calloc(1, sizeof(tn_wg_peer_t));
    if (peer == NULL) {
        return TN_NOMEM;
    }

    peer->wg = wg;
    peer->data = data;
    peer->key = *key;
    peer->node.key = peer->key.b;
    peer->index.peer = peer;
    tn_list_init(&peer->staged);
    tn_wg_timers_init(peer);

    if (tn_wg_stamper_init(&peer->stamper, key) != TN_OK
        || tn_hash_insert(&wg->peers, &peer->node) != TN_OK)
    {
        free(peer);
        return TN_NOMEM;
    }

    *out = peer;

    return TN_OK;
}


void
tn_wg_peer_remove(tn_wg_peer_t *peer)
{
    if (peer == NULL) {
        return;
    }

    tn_wg_peer_drop_staged(peer);
    tn_wg_handshake_abandon(peer);
    tn_wg_peer_zero(peer);
    tn_wg_timers_stop(peer);
    tn_hash_remove(&peer->wg->peers, &peer->node);

    tn_wipe(peer, sizeof(tn_wg_peer_t));
    free(peer);
}


void
tn_wg_peer_reset(tn_wg_peer_t *peer, tn_ms_t now)
{
    tn_wipe(peer->timestamp, sizeof(peer->timestamp));
    tn_wg_peer_forget(peer, now);
}


void
tn_wg_peer_forget(tn_wg_peer_t *peer, tn_ms_t now)
{
    tn_wg_handshake_abandon(peer);
    tn_wg_peer_zero(peer);
    tn_wg_timers_stop(peer);

    peer->initiated_at = 0;
    peer->shaken_at = 0;
    peer->stamper.cookie_at = 0;

    if (!tn_list_empty(&peer->staged)) {
        tn_wg_handshake_begin(peer, now, false);
    }
}


tn_wg_peer_t *
tn_wg_peer_find(const tn_wg_t *wg, const tn_key_t *key)
{
    tn_hash_node_t  *node;

    node = tn_hash_find(&wg->peers, key->b);

    return node ? tn_container(node, tn_wg_peer_t, node) : NULL;
}


tn_wg_peer_t *
tn_wg_peer_next(const tn_wg_t *wg, const tn_wg_peer_t *peer)
{
    tn_hash_node_t  *node;

    node = tn_hash_next(&wg->peers, peer ? &peer->node : NULL);

    return node ? tn_container(node, tn_wg_peer_t, node) : NULL;
}


void *
tn_wg_peer_data(const tn_wg_peer_t *peer)
{
    return peer->data;
}


const tn_key_t *
tn_wg_peer_key(const tn_wg_peer_t *peer)
{
    return &peer->key;
}


void
tn_wg_peer_stats(const tn_wg_peer_t *peer, tn_wg_peer_stats_t *stats)
{
    *stats = peer->stats;
}


bool
tn_wg_peer_ready(const tn_wg_peer_t *peer, tn_ms_t now)
{
    return peer->current != NULL && tn_wg_session_usable(peer->current, now);
}


tn_rc_t
tn_wg_peer_shared(tn_wg_peer_t *peer)
{
    tn_rc_t  rc;

    if (peer->shared_known) {
        return TN_OK;
    }

    rc = tn_curve_dh(peer->shared, &peer->wg->identity.priv, &peer->key);

    peer->shared_known = rc == TN_OK;

    return rc;
}


void
tn_wg_peer_begin(tn_wg_peer_t *peer, tn_wg_session_t *session)
{
    tn_wg_peer_drop(peer, &peer->older);
    tn_wg_peer_drop(peer, &peer->previous);

    if (!session->initiator) {
        tn_wg_peer_drop(peer, &peer->next);
        peer->next = session;
        return;
    }

    if (peer->next != NULL) {

        /*
         * Both sides began at once.  The peer may already seal with the
         * session that we have not seen used, or still with the old one.
         */

        peer->previous = peer->next;
        peer->next = NULL;
        peer->older = peer->current;

    } else {
        peer->previous = peer->current;
    }

    peer->current = session;
}


void
tn_wg_peer_confirm(tn_wg_peer_t *peer, tn_wg_session_t *session)
{
    session->unused = false;

    if (session == peer->next) {
        tn_wg_peer_drop(peer, &peer->older);
        tn_wg_peer_drop(peer, &peer->previous);

        peer->previous = peer->current;
        peer->current = session;
        peer->next = NULL;

        return;
    }

    /*
     * Both sides began at once and both handshakes have completed.  They
     * agree on the session of the lesser key, or both would renew at once
     * for ever.
     */

    if (session == peer->previous
        && memcmp(peer->key.b, peer->wg->identity.pub.b, TN_KEY_LEN) < 0)
    {
        peer->previous = peer->current;
        peer->current = session;
    }
}


void
tn_wg_peer_zero(tn_wg_peer_t *peer)
{
    tn_wg_peer_drop(peer, &peer->next);
    tn_wg_peer_drop(peer, &peer->current);
    tn_wg_peer_drop(peer, &peer->previous);
    tn_wg_peer_drop(peer, &peer->older);
}


tn_rc_t
tn_wg_peer_stage(tn_wg_peer_t *peer, const uint8_t *src, size_t len)
{
    tn_wg_t         *wg;
    tn_wg_staged_t  *staged;

    wg = peer->wg;

    if (peer->stats.staged >= TN_WG_STAGED_MAX) {
        tn_wg_peer_drop_oldest(peer);
        wg->stats.staged_dropped++;
    }

    if (wg->staged >= TN_WG_STAGED_ALL_MAX) {
        wg->stats.staged_dropped++;
        return TN_NOMEM;
    }

    staged = malloc(sizeof(tn_wg_staged_t) + tn_wg_sealed_len(len));
    if (staged == NULL) {
        wg->stats.staged_dropped++;
        return TN_NOMEM;
    }

    staged->len = len;
    memcpy(staged->msg + TN_WGMSG_DATA_HEADER, src, len);
    tn_list_push(&peer->staged, &staged->link);

    peer->stats.staged++;
    wg->staged++;

    return TN_OK;
}


void
tn_wg_peer_drop_staged(tn_wg_peer_t *peer)
{
    peer->wg->stats.staged_dropped += peer->stats.staged;

    while (!tn_list_empty(&peer->staged)) {
        tn_wg_peer_drop_oldest(peer);
    }
}


void
tn_wg_peer_flush(tn_wg_peer_t *peer, tn_ms_t now, bool keepalive)
{
    uint8_t          msg[TN_WGMSG_DATA_OVERHEAD];
    tn_wg_t         *wg;
    tn_wg_staged_t  *staged;

    wg = peer->wg;

    while (!tn_list_empty(&peer->staged)) {

        if (!tn_wg_peer_ready(peer, now)) {
            tn_wg_handshake_begin(peer, now, false);
            return;
        }

        staged = tn_container(peer->staged.next, tn_wg_staged_t, link);

        if (tn_wg_transport_seal(peer, now,
                                 staged->msg + TN_WGMSG_DATA_HEADER,
                                 staged->len, staged->msg)
            == TN_OK)
        {
            wg->ops->send(wg->data, peer, TN_WG_STAGED, staged->msg,
                          tn_wg_sealed_len(staged->len), now);
        }

        tn_wg_peer_drop_oldest(peer);
        keepalive = false;
    }

    if (keepalive && tn_wg_peer_ready(peer, now)
        && tn_wg_transport_seal(peer, now, NULL, 0, msg) == TN_OK)
    {
        wg->ops->send(wg->data, peer, TN_WG_KEEPALIVE, msg, sizeof(msg), now);
    }
}


static void
tn_wg_peer_drop(tn_wg_peer_t *peer, tn_wg_session_t **session)
{
    if (*session != NULL && *session == peer->wg->sealing) {
        tn_wg_seal_finish(peer->wg);
    }

    tn_wg_session_destroy(&peer->wg->indexes, *session);
    *session = NULL;
}


static void
tn_wg_peer_drop_oldest(tn_wg_peer_t *peer)
{
    tn_wg_staged_t  *staged;

    staged = tn_container(tn_list_shift(&peer->staged), tn_wg_staged_t, link);

    peer->stats.staged--;
    peer->wg->staged--;

    free(staged);
}
