
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The timers of a peer, told as events.  Nothing else in core/wg reads or
 * writes a moment of tn_wg_timers_t.
 */

#ifndef TN_WG_TIMERS_H_INCLUDED_
#define TN_WG_TIMERS_H_INCLUDED_

#include "wg/tn_wg_peer.h"


#define TN_WG_REKEY_TIMEOUT_MS   5000
#define TN_WG_HURRY_MS           400
#define TN_WG_JITTER_MS          334
#define TN_WG_ATTEMPT_MS         90000
#define TN_WG_KEEPALIVE_MS       10000
#define TN_WG_SILENCE_MS         (TN_WG_KEEPALIVE_MS + TN_WG_REKEY_TIMEOUT_MS)
#define TN_WG_ZERO_MS            (3 * TN_WG_REJECT_AFTER_MS)


void tn_wg_timers_init(tn_wg_peer_t *peer);

/* all of them off */
void tn_wg_timers_stop(tn_wg_peer_t *peer);

/* sets the heap's timer to `at` when it would fire later; rarely happens */
void tn_wg_timers_arm(tn_wg_peer_t *peer, tn_ms_t at);

/* an attempt begins; its 90 s count from here */
void tn_wg_timers_attempt(tn_wg_peer_t *peer, tn_ms_t now);

/* how long an answer to an initiation of `now` is waited for */
uint32_t tn_wg_timers_patience(const tn_wg_peer_t *peer, tn_ms_t now);

/* after an initiation was sent */
void tn_wg_timers_initiated(tn_wg_peer_t *peer, tn_ms_t now);

/* an initiation was wanted but the last message is too young: do it later */
void tn_wg_timers_postponed(tn_wg_peer_t *peer, tn_ms_t shaken_at);

/* after session keys were made by either role */
void tn_wg_timers_derived(tn_wg_peer_t *peer, tn_ms_t now);

/* after a response was taken, or the first data of the responder's session */
void tn_wg_timers_complete(tn_wg_peer_t *peer, tn_ms_t now);


/* after any authentic message was sent: data, keepalive or handshake */
static inline void
tn_wg_timers_any_sent(tn_wg_peer_t *peer)
{
    peer->timers.keepalive_at = 0;
    peer->timers.keepalive_again = false;
}


/* after any authentic message was received */
static inline void
tn_wg_timers_any_received(tn_wg_peer_t *peer, tn_ms_t now)
{
    peer->timers.silence_at = 0;
    peer->stats.received_at = now;
}


/* after data, not a keepalive, was sent */
static inline void
tn_wg_timers_data_sent(tn_wg_peer_t *peer, tn_ms_t now)
{
    tn_wg_timers_t  *t;

    t = &peer->timers;

    if (t->silence_at == 0) {
        t->silence_at = now + TN_WG_SILENCE_MS + t->jitter_ms;

        if (tn_unlikely(t->silence_at < t->timer.at)) {
            tn_wg_timers_arm(peer, t->silence_at);
        }
    }
}


/* after data, not a keepalive, was received */
static inline void
tn_wg_timers_data_received(tn_wg_peer_t *peer, tn_ms_t now)
{
    tn_wg_timers_t  *t;

    t = &peer->timers;

    if (t->keepalive_at != 0) {
        t->keepalive_again = true;
        return;
    }

    t->keepalive_at = now + TN_WG_KEEPALIVE_MS;

    if (tn_unlikely(t->keepalive_at < t->timer.at)) {
        tn_wg_timers_arm(peer, t->keepalive_at);
    }
}


#endif /* TN_WG_TIMERS_H_INCLUDED_ */
