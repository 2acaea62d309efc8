
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Packets through sessions: the part that runs once per packet.  A failure
 * of a message that came in must leave everything as it was, so the window
 * and all else are touched only after the tag has verified.
 */

#include "tn_wg_peer.h"

#include "wg/tn_wg_timers.h"


static tn_rc_t tn_wg_transport_wait(tn_wg_peer_t *peer, tn_ms_t now,
    const uint8_t *src, size_t len);
static void tn_wg_transport_renew(tn_wg_peer_t *peer, tn_ms_t now);
static void tn_wg_transport_confirmed(tn_wg_peer_t *peer,
    tn_wg_session_t *session, tn_ms_t now);


tn_rc_t
tn_wg_seal(tn_wg_peer_t *peer, tn_ms_t now, const uint8_t *src, size_t len,
    uint8_t *dst)
{
    if (tn_unlikely(len == 0 || len > TN_WG_PACKET_MAX)) {
        return TN_ERROR;
    }

    if (tn_unlikely(!tn_wg_peer_ready(peer, now))) {
        return tn_wg_transport_wait(peer, now, src, len);
    }

    return tn_wg_transport_seal(peer, now, src, len, dst);
}


tn_rc_t
tn_wg_transport_seal(tn_wg_peer_t *peer, tn_ms_t now, const uint8_t *src,
    size_t len, uint8_t *dst)
{
    size_t            total, padded;
    uint8_t           nonce[TN_AEAD_NONCE], *body;
    tn_wgmsg_data_t   m;
    tn_wg_session_t  *s;

    s = peer->current;
    total = tn_wg_sealed_len(len);
    padded = total - TN_WGMSG_DATA_OVERHEAD;
    body = dst + TN_WGMSG_DATA_HEADER;

    if (padded != len) {

        /* the zeros must follow the packet, and src is not ours to write */

        if (src != body) {
            memcpy(body, src, len);
            src = body;
        }

        memset(body + len, 0, padded - len);
    }

    m.receiver = s->remote;
    m.counter = s->counter++;
    tn_wgmsg_write_data(dst, &m);
    tn_aead_nonce_le(nonce, m.counter);

    if (tn_unlikely(tn_aead_seal(s->seal, nonce, NULL, 0, src, padded, body)
                    != TN_OK))
    {
        return TN_ERROR;
    }

    peer->stats.sent_bytes += total;
    peer->stats.sent_packets++;

    tn_wg_timers_any_sent(peer);

    if (len != 0) {
        tn_wg_timers_data_sent(peer, now);
    }

    if (tn_unlikely(m.counter >= TN_WG_REKEY_AFTER_MESSAGES
                    || (s->initiator
                        && now - s->born_at >= TN_WG_REKEY_AFTER_MS)))
    {
        tn_wg_transport_renew(peer, now);
    }

    return TN_OK;
}


tn_rc_t
tn_wg_open(tn_wg_t *wg, tn_ms_t now, uint8_t *buf, size_t len,
    tn_wg_packet_t *packet)
{
    tn_ip_t           src;
    uint8_t           nonce[TN_AEAD_NONCE], *body;
    tn_wg_peer_t     *peer;
    tn_wg_index_t    *index;
    tn_wgmsg_data_t   m;
    tn_wg_session_t  *s;

    packet->peer = NULL;
    packet->data = NULL;
    packet->len = 0;

    if (tn_unlikely(!tn_wgmsg_is_data(buf, len))) {
        wg->stats.malformed++;
        return TN_MALFORMED;
    }

    tn_wgmsg_read_data(&m, buf);
    index = tn_wg_index_find(&wg->indexes, m.receiver);

    if (tn_unlikely(index == NULL || index->session == NULL)) {
        wg->stats.unknown_index++;
        return TN_MALFORMED;
    }

    s = index->session;
    peer = index->peer;

    if (tn_unlikely(now - s->born_at >= TN_WG_REJECT_AFTER_MS
                    || m.counter >= TN_WG_REJECT_AFTER_MESSAGES))
    {
        wg->stats.expired++;
        return TN_MALFORMED;
    }

    if (tn_unlikely(!tn_wg_replay_fresh(&s->replay, m.counter))) {
        wg->stats.replayed++;
        return TN_MALFORMED;
    }

    body = buf + TN_WGMSG_DATA_HEADER;
    tn_aead_nonce_le(nonce, m.counter);

    if (tn_unlikely(tn_aead_open(s->open, nonce, NULL, 0, body,
                                 len - TN_WGMSG_DATA_HEADER, body)
                    != TN_OK))
    {
        wg->stats.forged++;
        return TN_MALFORMED;
    }

    tn_wg_replay_take(&s->replay, m.counter);

    packet->peer = peer;
    packet->data = body;
    packet->len = len - TN_WGMSG_DATA_OVERHEAD;

    peer->stats.received_bytes += len;
    peer->stats.received_packets++;

    if (tn_unlikely(s->unused)) {
        tn_wg_transport_confirmed(peer, s, now);
    }

    /* the last chance to renew a session that only receives */

    s = peer->current;

    if (tn_unlikely(s != NULL && s->initiator && !s->hurried
                    && now - s->born_at
                       >= TN_WG_REJECT_AFTER_MS - TN_WG_SILENCE_MS))
    {
        s->hurried = true;
        tn_wg_transport_renew(peer, now);
    }

    tn_wg_timers_any_received(peer, now);

    if (packet->len == 0) {
        return TN_OK;
    }

    tn_wg_timers_data_received(peer, now);

    if (tn_unlikely(tn_wg_allowed_source(&src, body, &packet->len) != TN_OK
                    || tn_wg_route(wg, &src) != peer->data))
    {
        wg->stats.bad_source++;
        packet->data = NULL;
        packet->len = 0;
        return TN_REFUSED;
    }

    return TN_OK;
}


static tn_rc_t
tn_wg_transport_wait(tn_wg_peer_t *peer, tn_ms_t now, const uint8_t *src,
    size_t len)
{
    tn_rc_t  rc;

    rc = tn_wg_peer_stage(peer, src, len);

    tn_wg_handshake_begin(peer, now, false);

    return rc == TN_OK ? TN_AGAIN : rc;
}


static void
tn_wg_transport_renew(tn_wg_peer_t *peer, tn_ms_t now)
{
    /* the peer has just begun itself and is about to confirm */

    if (peer->next != NULL
        && now - peer->next->born_at < TN_WG_REKEY_TIMEOUT_MS)
    {
        return;
    }

    tn_wg_handshake_begin(peer, now, false);
}


static void
tn_wg_transport_confirmed(tn_wg_peer_t *peer, tn_wg_session_t *session,
    tn_ms_t now)
{
    char      name[8];
    tn_wg_t  *wg;

    wg = peer->wg;

    tn_wg_peer_confirm(peer, session);
    tn_wg_timers_complete(peer, now);

    tn_log(wg->log, TN_LOG_DEBUG, "wg: session with %s, it initiated",
           tn_key_short(&peer->key, name));

    tn_wg_peer_flush(peer, now, false);

    if (wg->ops->session != NULL) {
        wg->ops->session(wg->data, peer, now);
    }
}
