
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Four moments per peer (white paper, section 6):
 *
 * - retry: an initiation was sent and 5 s (and some jitter) later there is
 *   no session: send another, until the attempt is 90 s old; then give up
 *   and drop what is staged.
 * - keepalive: data came in and 10 s later nothing has gone out: send an
 *   empty message, so that the peer knows we live.
 * - silence: data went out and 15 s later nothing has come in: new handshake.
 * - zero: no new session for 540 s: forget all keys, but those of a
 *   handshake that is under way.
 *
 * Renewal has no moment of its own: it is looked at with each packet, so that
 * an unused session simply dies.
 *
 * The heap has one timer per peer.  Events only write moments; the heap is
 * touched when a moment lies before the timer, and a timer that fires too
 * early looks which moment is next.  Under steady traffic that is about one
 * change of the heap in 10 s, and a peer with no moment has no timer.
 */

#include "tn_wg_timers.h"

#include "crypto/tn_curve.h"


static void tn_wg_timers_fire(void *data, tn_ms_t now);
static void tn_wg_timers_retry(tn_wg_peer_t *peer, tn_ms_t now);


void
tn_wg_timers_init(tn_wg_peer_t *peer)
{
    memset(&peer->timers, 0, sizeof(tn_wg_timers_t));
    tn_timer_init(&peer->timers.timer, tn_wg_timers_fire, peer);
    peer->timers.jitter_ms = tn_random_below(TN_WG_JITTER_MS);
}


void
tn_wg_timers_stop(tn_wg_peer_t *peer)
{
    tn_timer_cancel(peer->wg->timers, &peer->timers.timer);
    tn_wg_timers_init(peer);
}


void
tn_wg_timers_arm(tn_wg_peer_t *peer, tn_ms_t at)
{
    if (at >= peer->timers.timer.at) {
        return;
    }

    /* should memory be short, the next event tries again */

    if (tn_timer_set(peer->wg->timers, &peer->timers.timer, at) != TN_OK) {
        tn_log(peer->wg->log, TN_LOG_ERR, "wg: no memory for a timer");
    }
}


uint32_t
tn_wg_timers_patience(const tn_wg_peer_t *peer, tn_ms_t now)
{
    return now < peer->wg->hurry_until ? TN_WG_HURRY_MS
                                       : TN_WG_REKEY_TIMEOUT_MS;
}


void
tn_wg_timers_attempt(tn_wg_peer_t *peer, tn_ms_t now)
{
    peer->timers.since = now;
}


void
tn_wg_timers_initiated(tn_wg_peer_t *peer, tn_ms_t now)
{
    tn_wg_timers_t  *t;

    t = &peer->timers;

    t->jitter_ms = tn_random_below(TN_WG_JITTER_MS);
    t->retry_at = now + tn_wg_timers_patience(peer, now) + t->jitter_ms;

    tn_wg_timers_arm(peer, t->retry_at);
}


void
tn_wg_timers_postponed(tn_wg_peer_t *peer, tn_ms_t shaken_at)
{
    tn_wg_timers_t  *t;

    t = &peer->timers;

    if (t->retry_at == 0) {
        t->retry_at = shaken_at + tn_wg_timers_patience(peer, shaken_at)
                      + t->jitter_ms;
        tn_wg_timers_arm(peer, t->retry_at);
    }
}


void
tn_wg_timers_derived(tn_wg_peer_t *peer, tn_ms_t now)
{
    peer->timers.zero_at = now + TN_WG_ZERO_MS;
    tn_wg_timers_arm(peer, peer->timers.zero_at);
}


void
tn_wg_timers_complete(tn_wg_peer_t *peer, tn_ms_t now)
{
    peer->timers.retry_at = 0;
    peer->stats.session_at = now;
}


static void
tn_wg_timers_fire(void *data, tn_ms_t now)
{
    tn_ms_t          at;
    tn_wg_peer_t    *peer;
    tn_wg_timers_t  *t;

    peer = data;
    t = &peer->timers;

    if (t->retry_at != 0 && t->retry_at <= now) {
        t->retry_at = 0;
        tn_wg_timers_retry(peer, now);
    }

    if (t->keepalive_at != 0 && t->keepalive_at <= now) {
        t->keepalive_at = t->keepalive_again ? now + TN_WG_KEEPALIVE_MS : 0;
        at = t->keepalive_at;

        tn_wg_peer_flush(peer, now, true);

        /* the keepalive itself counts as something sent */
        t->keepalive_at = at;
    }

    if (t->silence_at != 0 && t->silence_at <= now) {
        t->silence_at = 0;
        tn_wg_handshake_begin(peer, now, false);
    }

    if (t->zero_at != 0 && t->zero_at <= now) {
        t->zero_at = 0;
        t->keepalive_at = 0;
        tn_wg_peer_zero(peer);

        if (t->retry_at == 0) {
            tn_wg_handshake_abandon(peer);
            tn_wg_peer_drop_staged(peer);
        }
    }

    at = TN_NEVER_MS;

    at = t->retry_at ? tn_min(at, t->retry_at) : at;
    at = t->keepalive_at ? tn_min(at, t->keepalive_at) : at;
    at = t->silence_at ? tn_min(at, t->silence_at) : at;
    at = t->zero_at ? tn_min(at, t->zero_at) : at;

    tn_wg_timers_arm(peer, at);
}


static void
tn_wg_timers_retry(tn_wg_peer_t *peer, tn_ms_t now)
{
    char  name[8];

    if (now - peer->timers.since < TN_WG_ATTEMPT_MS) {
        tn_wg_handshake_begin(peer, now, true);
        return;
    }

    tn_log(peer->wg->log, TN_LOG_INFO,
           "wg: %s does not answer handshakes, giving up after 90 s",
           tn_key_short(&peer->key, name));

    peer->timers.keepalive_at = 0;
    tn_wg_handshake_abandon(peer);
    tn_wg_peer_drop_staged(peer);
}
