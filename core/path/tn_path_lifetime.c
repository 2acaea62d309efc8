
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory: how long a NAT keeps an idle UDP path (control asks for it by
 * probe-udp-lifetime; upstream: probeUDPLifetime).
 *
 * When a peer with a direct path has become idle, its best address is pinged
 * 2 s before each cliff of silence, 10, 30 and 60 s, which are common among
 * firewalls.  An answer shows that the path outlives the cliff, and the next
 * one is tried.  Traffic ends the cycle.  One side probes, the one with the
 * lower disco key, and once a day.
 */

#include "tn_path_private.h"


#define TN_PATH_CYCLE_MS     86400000
#define TN_PATH_SLACK_MS     2000
#define TN_PATH_EARLY_MS     250        /* what timers may be off by */

static const uint32_t  tn_path_cliffs[] = { 10000, 30000, 60000 };


static void tn_path_lifetime_arm(tn_path_member_t *peer, tn_ms_t at);
static tn_ms_t tn_path_lifetime_last(const tn_path_member_t *peer);


void
tn_path_lifetime_idle(tn_path_member_t *peer, tn_ms_t now)
{
    tn_path_t  *path;

    path = peer->pub.path;

    if (!path->knobs.probe_lifetime || !tn_path_is_direct(peer)
        || peer->disco == NULL || peer->wireguard_only
        || memcmp(path->disco.pub.b, peer->disco->key.b, TN_KEY_LEN) >= 0
        || (peer->cycle_at != 0 && now - peer->cycle_at < TN_PATH_CYCLE_MS))
    {
        return;
    }

    peer->cycle_at = now;
    peer->cliff = 0;

    tn_path_lifetime_arm(peer, now + tn_path_cliffs[0] - TN_PATH_SLACK_MS);
}


void
tn_path_lifetime_timer(void *data, tn_ms_t now)
{
    tn_ms_t            quiet, due;
    tn_path_member_t  *peer;

    peer = data;

    /* it is active again, or cannot be probed: the next idle time will do */

    if (tn_timer_is_set(&peer->heartbeat) || !tn_path_is_direct(peer)
        || !peer->pub.path->knobs.probe_lifetime)
    {
        peer->cycle_at = 0;
        return;
    }

    due = tn_path_cliffs[peer->cliff] - TN_PATH_SLACK_MS;
    quiet = now - tn_path_lifetime_last(peer);

    if (quiet + TN_PATH_EARLY_MS < due) {
        tn_path_lifetime_arm(peer, now + due - quiet);
        return;
    }

    peer->lifetime_pinged = now;
    (void) tn_path_probe_lifetime(peer, now);
}


void
tn_path_lifetime_answer(tn_path_member_t *peer, tn_ms_t now)
{
    if (peer->cliff >= tn_nelems(tn_path_cliffs)) {
        return;
    }

    peer->lifetime_ms = tn_path_cliffs[peer->cliff++];

    if (peer->cliff < tn_nelems(tn_path_cliffs)) {
        tn_path_lifetime_arm(peer, now + tn_path_cliffs[peer->cliff]
                                   - TN_PATH_SLACK_MS);
    }
}


uint32_t
tn_path_udp_lifetime(const tn_path_peer_t *pub)
{
    return tn_path_member((tn_path_peer_t *) pub)->lifetime_ms;
}


static void
tn_path_lifetime_arm(tn_path_member_t *peer, tn_ms_t at)
{
    if (tn_timer_set(peer->pub.path->timers, &peer->lifetime, at) != TN_OK) {
        peer->cycle_at = 0;
    }
}


/* the last that passed in either direction, as far as this side knows */
static tn_ms_t
tn_path_lifetime_last(const tn_path_member_t *peer)
{
    tn_ms_t   last;
    uint32_t  i;

    last = tn_max(peer->pub.last_sent, peer->pub.last_received);
    last = tn_max(last, peer->lifetime_pinged);

    for (i = 0; i < peer->ncandidates; i++) {
        if (tn_addr_equal(&peer->candidates[i].addr, &peer->pub.best)) {
            last = tn_max(last, peer->candidates[i].pinged);
            last = tn_max(last, peer->candidates[i].got_ping);
        }
    }

    return last;
}
