
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Packets through sessions: the part that runs once per packet.  A failure
 * of a message that came in must leave everything as it was, so the window
 * and all else are touched only after the tag has verified.
 *
 * The cipher takes many messages of one key side by side.  A packet that goes
 * out gets its number and its header at once, and is sealed with its
 * neighbours, before another session's turn and before its own session ends.
 * Of those that came in, neighbours with the same index are opened by one
 * call; what follows the cipher is done for each in turn.
 */

#include "tn_wg_peer.h"

#include "wg/tn_wg_timers.h"


static void tn_wg_transport_job(tn_wg_session_t *s, tn_aead_job_t *job,
    const uint8_t *src, size_t len, uint8_t *dst);
static void tn_wg_transport_sent(tn_wg_peer_t *peer, tn_ms_t now, size_t len);
static size_t tn_wg_transport_open(tn_wg_t *wg, tn_ms_t now,
    tn_wg_packet_t *packets, size_t n);
static void tn_wg_transport_drop(tn_wg_packet_t *packet, uint64_t *counter);
static void tn_wg_transport_opened(tn_wg_t *wg, tn_ms_t now,
    tn_wg_session_t *s, tn_wg_packet_t *packet);
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
tn_wg_seal_later(tn_wg_peer_t *peer, tn_ms_t now, const uint8_t *src,
    size_t len, uint8_t *dst)
{
    uint8_t        *body;
    tn_wg_t        *wg;
    tn_aead_job_t  *job;

    if (tn_unlikely(len == 0 || len > TN_WG_PACKET_MAX)) {
        return TN_ERROR;
    }

    if (tn_unlikely(!tn_wg_peer_ready(peer, now))) {
        return tn_wg_transport_wait(peer, now, src, len);
    }

    wg = peer->wg;

    if (tn_unlikely(wg->sealing != peer->current
                    || wg->nsealing == TN_WG_MANY))
    {
        tn_wg_seal_finish(wg);
        wg->sealing = peer->current;
    }

    body = dst + TN_WGMSG_DATA_HEADER;

    if (src != body) {
        memcpy(body, src, len);
    }

    job = &wg->seal_jobs[wg->nsealing++];

    tn_wg_transport_job(peer->current, job, body, len, dst);
    tn_wg_transport_sent(peer, now, len);

    return TN_OK;
}


void
tn_wg_seal_finish(tn_wg_t *wg)
{
    size_t      n;
    tn_aead_t  *aead;

    if (wg->nsealing == 0) {
        return;
    }

    n = wg->nsealing;
    aead = wg->sealing->seal;

    wg->nsealing = 0;
    wg->sealing = NULL;

    if (wg->ops->seal != NULL
        && wg->ops->seal(wg->data, aead, wg->seal_jobs, n))
    {
        return;
    }

    tn_aead_seal_many(aead, wg->seal_jobs, n);
}


tn_rc_t
tn_wg_transport_seal(tn_wg_peer_t *peer, tn_ms_t now, const uint8_t *src,
    size_t len, uint8_t *dst)
{
    tn_aead_job_t  job;

    tn_wg_transport_job(peer->current, &job, src, len, dst);

    if (tn_unlikely(tn_aead_seal(peer->current->seal, job.nonce, NULL, 0,
                                 job.src, job.len, job.dst)
                    != TN_OK))
    {
        return TN_ERROR;
    }

    tn_wg_transport_sent(peer, now, len);

    return TN_OK;
}


/* numbers a message, writes its header, and says how it is sealed */
static void
tn_wg_transport_job(tn_wg_session_t *s, tn_aead_job_t *job,
    const uint8_t *src, size_t len, uint8_t *dst)
{
    size_t           padded;
    uint8_t         *body;
    tn_wgmsg_data_t  m;

    padded = tn_wg_sealed_len(len) - TN_WGMSG_DATA_OVERHEAD;
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
    tn_aead_nonce_le(job->nonce, m.counter);

    job->src = src;
    job->dst = body;
    job->len = padded;
}


/* a message of the present session; one of no length is a keepalive */
static void
tn_wg_transport_sent(tn_wg_peer_t *peer, tn_ms_t now, size_t len)
{
    tn_wg_session_t  *s;

    s = peer->current;

    peer->stats.sent_bytes += tn_wg_sealed_len(len);
    peer->stats.sent_packets++;

    tn_wg_timers_any_sent(peer);

    if (len != 0) {
        tn_wg_timers_data_sent(peer, now);
    }

    if (tn_unlikely(s->counter > TN_WG_REKEY_AFTER_MESSAGES
                    || (s->initiator
                        && now - s->born_at >= TN_WG_REKEY_AFTER_MS)))
    {
        tn_wg_transport_renew(peer, now);
    }
}


tn_rc_t
tn_wg_open(tn_wg_t *wg, tn_ms_t now, uint8_t *buf, size_t len,
    tn_wg_packet_t *packet)
{
    packet->msg = buf;
    packet->msg_len = len;

    tn_wg_open_many(wg, now, packet, 1);

    return packet->rc;
}


void
tn_wg_open_many(tn_wg_t *wg, tn_ms_t now, tn_wg_packet_t *packets, size_t n)
{
    size_t  done;

    for (done = 0; done < n; /* void */ ) {
        done += tn_wg_transport_open(wg, now, packets + done,
                                     tn_min(n - done, (size_t) TN_WG_MANY));
    }
}


/*
 * Opens the first of n messages and those after it that are of the same
 * session; returns how many.
 */

static size_t
tn_wg_transport_open(tn_wg_t *wg, tn_ms_t now, tn_wg_packet_t *packets,
    size_t n)
{
    size_t            i, k, njobs;
    uint64_t          counters[TN_WG_MANY];
    tn_wg_index_t    *index;
    tn_aead_job_t    *job;
    tn_wgmsg_data_t   m;
    tn_wg_packet_t   *packet;
    tn_wg_session_t  *s;

    s = NULL;
    index = NULL;
    njobs = 0;

    for (i = 0; i < n; i++) {
        packet = &packets[i];

        if (tn_unlikely(!tn_wgmsg_is_data(packet->msg, packet->msg_len))) {
            tn_wg_transport_drop(packet, &wg->stats.malformed);
            continue;
        }

        tn_wgmsg_read_data(&m, packet->msg);

        if (s != NULL && m.receiver != index->value) {
            break;
        }

        if (s == NULL) {
            index = tn_wg_index_find(&wg->indexes, m.receiver);

            if (tn_unlikely(index == NULL || index->session == NULL)) {
                tn_wg_transport_drop(packet, &wg->stats.unknown_index);
                continue;
            }

            s = index->session;
        }

        if (tn_unlikely(now - s->born_at >= TN_WG_REJECT_AFTER_MS
                        || m.counter >= TN_WG_REJECT_AFTER_MESSAGES))
        {
            tn_wg_transport_drop(packet, &wg->stats.expired);
            continue;
        }

        if (tn_unlikely(!tn_wg_replay_fresh(&s->replay, m.counter))) {
            tn_wg_transport_drop(packet, &wg->stats.replayed);
            continue;
        }

        packet->rc = TN_AGAIN;
        counters[njobs] = m.counter;
        job = &wg->open_jobs[njobs++];
        job->src = packet->msg + TN_WGMSG_DATA_HEADER;
        job->dst = packet->msg + TN_WGMSG_DATA_HEADER;
        job->len = packet->msg_len - TN_WGMSG_DATA_HEADER;
        tn_aead_nonce_le(job->nonce, m.counter);
    }

    if (s == NULL) {
        return i;
    }

    tn_aead_open_many(s->open, wg->open_jobs, njobs);

    for (k = 0, packet = packets; k < njobs; packet++) {

        if (packet->rc != TN_AGAIN) {
            continue;
        }

        if (tn_unlikely(wg->open_jobs[k].rc != TN_OK)) {
            tn_wg_transport_drop(packet, &wg->stats.forged);

        } else if (tn_unlikely(!tn_wg_replay_fresh(&s->replay, counters[k]))) {

            /* it came twice in this batch */

            tn_wg_transport_drop(packet, &wg->stats.replayed);

        } else {
            tn_wg_replay_take(&s->replay, counters[k]);
            tn_wg_transport_opened(wg, now, s, packet);
        }

        k++;
    }

    return i;
}


/* not authentic: nothing has changed, but for a counter */
static void
tn_wg_transport_drop(tn_wg_packet_t *packet, uint64_t *counter)
{
    (*counter)++;
    packet->rc = TN_MALFORMED;
    packet->peer = NULL;
    packet->data = NULL;
    packet->len = 0;
}


static void
tn_wg_transport_opened(tn_wg_t *wg, tn_ms_t now, tn_wg_session_t *s,
    tn_wg_packet_t *packet)
{
    tn_ip_t        src;
    tn_wg_peer_t  *peer;

    peer = s->index.peer;

    packet->rc = TN_OK;
    packet->peer = peer;
    packet->data = packet->msg + TN_WGMSG_DATA_HEADER;
    packet->len = packet->msg_len - TN_WGMSG_DATA_OVERHEAD;

    peer->stats.received_bytes += packet->msg_len;
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
        return;
    }

    tn_wg_timers_data_received(peer, now);

    if (tn_unlikely(tn_wg_allowed_source(&src, packet->data, &packet->len)
                    != TN_OK
                    || tn_wg_route(wg, &src) != peer->data))
    {
        wg->stats.bad_source++;
        packet->rc = TN_REFUSED;
        packet->data = NULL;
        packet->len = 0;
    }
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
