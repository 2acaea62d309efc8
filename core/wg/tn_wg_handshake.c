
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Handshakes of a peer, in both roles at the same time: what we began waits
 * in the peer under an index of its own, what the peer begins is answered in
 * one go from the stack.  So when both begin at once both handshakes may
 * complete, and neither side has to wait for a retry.  Nothing of a peer
 * changes before a message has verified to its end.
 */

#include "tn_wg_peer.h"

#include "wg/tn_wg_timers.h"


/* one initiation of a peer is taken in each 1/50 s */
#define TN_WG_INITIATION_GAP_MS  20


static void tn_wg_handshake_timestamp(tn_wg_peer_t *peer,
    uint8_t *timestamp);
static tn_rc_t tn_wg_handshake_answer(tn_wg_peer_t *peer, tn_ms_t now,
    const tn_wg_noise_t *noise, const tn_wgmsg_initiation_t *m);
static void tn_wg_handshake_send(tn_wg_peer_t *peer, tn_ms_t now,
    const uint8_t *msg, size_t len);


void
tn_wg_peer_shake(tn_wg_peer_t *peer, tn_ms_t now)
{
    tn_wg_handshake_begin(peer, now, false);
}


void
tn_wg_handshake_begin(tn_wg_peer_t *peer, tn_ms_t now, bool retry)
{
    tn_rc_t                rc;
    uint8_t                timestamp[TN_WGMSG_TIMESTAMP];
    uint8_t                msg[TN_WGMSG_INITIATION_LEN];
    char                   name[8];
    tn_wg_t               *wg;
    tn_wg_noise_t          noise;
    tn_wgmsg_initiation_t  m;

    wg = peer->wg;

    if (!retry) {
        tn_wg_timers_attempt(peer, now);
    }

    if (peer->shaken_at != 0
        && now - peer->shaken_at < tn_wg_timers_patience(peer,
                                                         peer->shaken_at))
    {
        if (!tn_list_empty(&peer->staged)) {
            tn_wg_timers_postponed(peer, peer->shaken_at);
        }

        return;
    }

    peer->shaken_at = now;

    tn_wg_handshake_timestamp(peer, timestamp);

    rc = tn_wg_peer_shared(peer);

    if (rc == TN_OK) {
        rc = tn_wg_noise_initiate(&noise, &m, &wg->identity, &peer->key,
                                  peer->shared, timestamp);
    }

    if (rc != TN_OK) {
        tn_log(wg->log, TN_LOG_WARN, "wg: no handshake with %s is possible",
               tn_key_short(&peer->key, name));
        tn_wg_peer_drop_staged(peer);
        return;
    }

    tn_wg_handshake_abandon(peer);

    if (tn_wg_index_add(&wg->indexes, &peer->index) != TN_OK) {
        goto done;
    }

    peer->noise = noise;
    memcpy(peer->sent_timestamp, timestamp, sizeof(timestamp));

    m.sender = peer->index.value;
    tn_wgmsg_write_initiation(msg, &m);

    tn_log(wg->log, TN_LOG_DEBUG, "wg: initiation to %s",
           tn_key_short(&peer->key, name));

    tn_wg_timers_initiated(peer, now);

    if (tn_wg_stamper_stamp(&peer->stamper, now, msg, sizeof(msg)) == TN_OK) {
        tn_wg_handshake_send(peer, now, msg, sizeof(msg));
    }

done:

    tn_wipe(&noise, sizeof(noise));
}


void
tn_wg_handshake_abandon(tn_wg_peer_t *peer)
{
    tn_wg_index_remove(&peer->wg->indexes, &peer->index);
    tn_wipe(&peer->noise, sizeof(peer->noise));
}


tn_rc_t
tn_wg_handshake_initiation(tn_wg_t *wg, tn_ms_t now, const uint8_t *msg,
    size_t len, tn_wg_peer_t **out)
{
    tn_rc_t                rc;
    uint8_t                timestamp[TN_WGMSG_TIMESTAMP];
    tn_key_t               key;
    tn_wg_peer_t          *peer;
    tn_wg_noise_t          noise;
    tn_wgmsg_initiation_t  m;

    rc = tn_wgmsg_read_initiation(&m, msg, len);

    if (rc == TN_OK) {
        rc = tn_wg_noise_who(&noise, &key, &m, &wg->identity);
    }

    if (rc != TN_OK) {
        goto failed;
    }

    peer = tn_wg_peer_find(wg, &key);

    if (peer == NULL && wg->ops->absent != NULL) {
        peer = wg->ops->absent(wg->data, &key, now);
    }

    if (peer == NULL || tn_wg_peer_shared(peer) != TN_OK) {
        rc = TN_MALFORMED;
        goto failed;
    }

    rc = tn_wg_noise_prove(&noise, timestamp, &m, peer->shared);
    if (rc != TN_OK) {
        goto failed;
    }

    if (memcmp(timestamp, peer->timestamp, sizeof(timestamp)) <= 0) {
        rc = TN_MALFORMED;
        goto failed;
    }

    if (peer->initiated_at != 0
        && now - peer->initiated_at < TN_WG_INITIATION_GAP_MS)
    {
        wg->stats.limited++;
        rc = TN_REFUSED;
        goto done;
    }

    rc = tn_wg_handshake_answer(peer, now, &noise, &m);

    if (rc == TN_OK) {
        memcpy(peer->timestamp, timestamp, sizeof(timestamp));
        peer->initiated_at = now;
        peer->stats.received_bytes += len;
        *out = peer;
    }

    goto done;

failed:

    wg->stats.bad_handshake++;

done:

    tn_wipe(&noise, sizeof(noise));

    return rc;
}


tn_rc_t
tn_wg_handshake_response(tn_wg_t *wg, tn_ms_t now, const uint8_t *msg,
    size_t len, tn_wg_peer_t **out)
{
    tn_rc_t               rc;
    char                  name[8];
    tn_wg_keys_t          keys;
    tn_wg_peer_t         *peer;
    tn_wg_index_t        *index;
    tn_wg_session_t      *session;
    tn_wgmsg_response_t   m;

    index = NULL;

    if (tn_wgmsg_read_response(&m, msg, len) == TN_OK) {
        index = tn_wg_index_find(&wg->indexes, m.receiver);
    }

    if (index == NULL || index->session != NULL) {
        wg->stats.bad_handshake++;
        return TN_MALFORMED;
    }

    peer = index->peer;

    rc = tn_wg_noise_finish(&peer->noise, &keys, &m, &wg->identity);

    if (rc != TN_OK) {
        wg->stats.bad_handshake++;
        goto done;
    }

    session = tn_wg_session_create(peer, &keys, true, now);

    if (session == NULL) {
        rc = TN_NOMEM;
        goto done;
    }

    session->remote = m.sender;
    tn_wg_index_move(&wg->indexes, &session->index, &peer->index);
    tn_wg_handshake_abandon(peer);
    tn_wg_peer_begin(peer, session);

    peer->stats.received_bytes += len;
    *out = peer;

    tn_log(wg->log, TN_LOG_DEBUG, "wg: session with %s, we initiated",
           tn_key_short(&peer->key, name));

    tn_wg_timers_any_received(peer, now);
    tn_wg_timers_derived(peer, now);
    tn_wg_timers_complete(peer, now);

    /* what goes out first tells the peer that its response has arrived */

    tn_wg_peer_flush(peer, now, true);

    if (wg->ops->session != NULL) {
        wg->ops->session(wg->data, peer, now);
    }

done:

    tn_wipe(&keys, sizeof(keys));

    return rc;
}


tn_rc_t
tn_wg_handshake_cookie(tn_wg_t *wg, tn_ms_t now, const uint8_t *msg,
    size_t len)
{
    tn_rc_t             rc;
    tn_wg_index_t      *index;
    tn_wgmsg_cookie_t   m;

    rc = tn_wgmsg_read_cookie(&m, msg, len);

    if (rc == TN_OK) {
        index = tn_wg_index_find(&wg->indexes, m.receiver);

        rc = index ? tn_wg_stamper_take(&index->peer->stamper, now, &m)
                   : TN_MALFORMED;
    }

    if (rc != TN_OK) {
        wg->stats.bad_handshake++;
        return rc;
    }

    return TN_AGAIN;
}


/*
 * The answer carries the index of the session it makes, so the session comes
 * first; the peer sees it only when the message is ready.
 */

static tn_rc_t
tn_wg_handshake_answer(tn_wg_peer_t *peer, tn_ms_t now,
    const tn_wg_noise_t *noise, const tn_wgmsg_initiation_t *m)
{
    tn_rc_t               rc;
    uint8_t               msg[TN_WGMSG_RESPONSE_LEN];
    char                  name[8];
    tn_wg_t              *wg;
    tn_wg_keys_t          keys;
    tn_wg_session_t      *session;
    tn_wgmsg_response_t   answer;

    wg = peer->wg;
    session = NULL;

    rc = tn_wg_noise_respond(noise, &answer, &keys, &m->ephemeral,
                             &peer->key);
    if (rc != TN_OK) {
        goto failed;
    }

    rc = TN_NOMEM;

    session = tn_wg_session_create(peer, &keys, false, now);

    if (session == NULL
        || tn_wg_index_add(&wg->indexes, &session->index) != TN_OK)
    {
        goto failed;
    }

    session->remote = m->sender;
    answer.sender = session->index.value;
    answer.receiver = m->sender;
    tn_wgmsg_write_response(msg, &answer);

    rc = tn_wg_stamper_stamp(&peer->stamper, now, msg, sizeof(msg));
    if (rc != TN_OK) {
        goto failed;
    }

    tn_wg_peer_begin(peer, session);
    peer->shaken_at = now;

    tn_log(wg->log, TN_LOG_DEBUG, "wg: response to %s",
           tn_key_short(&peer->key, name));

    tn_wg_timers_any_received(peer, now);
    tn_wg_timers_derived(peer, now);
    tn_wg_handshake_send(peer, now, msg, sizeof(msg));

    goto done;

failed:

    tn_wg_session_destroy(&wg->indexes, session);

done:

    tn_wipe(&keys, sizeof(keys));

    return rc;
}


static void
tn_wg_handshake_timestamp(tn_wg_peer_t *peer, uint8_t *timestamp)
{
    int       i;
    uint64_t  ns;

    ns = peer->wg->ops->wall_ns(peer->wg->data);
    tn_wg_noise_timestamp(timestamp, ns - ns % TN_WG_TIMESTAMP_GRAIN_NS);

    if (memcmp(timestamp, peer->sent_timestamp, TN_WGMSG_TIMESTAMP) > 0) {
        return;
    }

    /* the clock went back, and the peer takes only what is greater */

    memcpy(timestamp, peer->sent_timestamp, TN_WGMSG_TIMESTAMP);

    for (i = TN_WGMSG_TIMESTAMP - 1; i >= 0; i--) {
        if (++timestamp[i] != 0) {
            break;
        }
    }
}


static void
tn_wg_handshake_send(tn_wg_peer_t *peer, tn_ms_t now, const uint8_t *msg,
    size_t len)
{
    tn_wg_timers_any_sent(peer);
    peer->stats.sent_bytes += len;

    peer->wg->ops->send(peer->wg->data, peer, TN_WG_HANDSHAKE, msg, len, now);
}
