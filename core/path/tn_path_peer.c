
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory: one peer's search for a direct path (upstream: endpoint).
 *
 * A candidate is an address from the netmap, from the peer's last
 * CallMeMaybe, or the source of a ping it sent less than 45 s ago.  A pong
 * proves the address that the ping went to; the best proven one is `best`,
 * and it is trusted for 6.5 s from its last pong.
 *
 *   no best      payload goes over DERP
 *   trusted      payload goes to best alone
 *   untrusted    payload goes both ways; any pong makes its address best
 *
 * Events:
 *   send, not trusted    a round: each candidate not pinged for 5 s is
 *                        pinged, and the peer is told our endpoints
 *                        (CallMeMaybe), so that it pings from its side and
 *                        opens its NAT and firewall
 *   CallMeMaybe          its addresses replace those of the former; a round
 *                        at once; if best does not answer it, trust is over
 *                        after a second.  When a ping of that round is
 *                        answered before one of the peer's has come, those
 *                        were lost to our NAT, which lets them in now: one
 *                        call in return makes it ping at once (upstream: in
 *                        5 s, when its next round is due)
 *   ping received        its source is a candidate; while there is no trust
 *                        it is pinged back, once a second
 *   pong                 see above; the table of tn_quality decides
 *   ping unanswered 5 s  when it went to best and trust is over, best goes
 *   address unreachable  best goes at once
 *
 * A heartbeat each 3 s pings the best address while the last payload to the
 * peer is less than 45 s old, and starts a round when there is no trusted
 * direct path, or each 60 s in search of a better one if best takes over
 * 5 ms.  An idle peer has no timer.
 *
 * A place on a peer relay (tn_path_relay.c) is best while no address of the
 * peer's own is: it is pinged and trusted alike, and rounds go on.  The last
 * one that worked is pinged again when the direct path is lost.
 *
 * The fast path knows this machine by one number: `drive_at`, when a send
 * must call tn_path_drive().  It is 0 for an idle peer, the end of trust for
 * a trusted one, the time of the next round for the others.
 */

#include "tn_path_private.h"

#include <stdlib.h>


static tn_path_candidate_t *tn_path_peer_add_candidate(
    tn_path_member_t *peer, const tn_addr_t *addr);
static uint32_t tn_path_peer_sources(const tn_path_member_t *peer);
static bool tn_path_peer_is_wanted(const tn_path_candidate_t *candidate,
    tn_ms_t now);
static tn_path_candidate_t *tn_path_peer_best(tn_path_member_t *peer);
static bool tn_path_peer_is_via(const tn_path_member_t *peer,
    const tn_addr_t *addr, uint32_t vni);
static void tn_path_peer_via_pong(tn_path_member_t *peer, tn_ms_t now,
    const tn_path_ping_t *ping, uint32_t rtt_us);
static void tn_path_peer_prune(tn_path_member_t *peer, tn_ms_t now);
static bool tn_path_peer_is_usable(const tn_addr_t *addr);
static void tn_path_peer_round(tn_path_member_t *peer, tn_ms_t now,
    bool call);
static bool tn_path_peer_wants_round(const tn_path_member_t *peer,
    tn_ms_t now);
static bool tn_path_peer_may_use(const tn_path_member_t *peer,
    const tn_path_candidate_t *candidate, tn_ms_t now);
static void tn_path_peer_slow(tn_path_member_t *peer, tn_ms_t now,
    tn_path_candidate_t *candidate);
static bool tn_path_peer_has_demoted(const tn_path_member_t *peer);
static void tn_path_peer_clear_best(tn_path_member_t *peer, tn_ms_t now,
    tn_path_why_e why);
static void tn_path_peer_schedule(tn_path_member_t *peer, tn_ms_t now);
static void tn_path_peer_heartbeat(void *data, tn_ms_t now);


void
tn_path_peer_init(tn_path_member_t *peer)
{
    tn_timer_init(&peer->heartbeat, tn_path_peer_heartbeat, peer);
    tn_timer_init(&peer->lifetime, tn_path_lifetime_timer, peer);
}


void
tn_path_peer_done(tn_path_member_t *peer)
{
    tn_path_t  *path;

    path = peer->pub.path;

    if (tn_timer_is_set(&peer->heartbeat)) {
        tn_timer_cancel(path->timers, &peer->heartbeat);
        path->nactive--;
    }

    tn_timer_cancel(path->timers, &peer->lifetime);
    free(peer->candidates);
    free(peer->changes);
}


/* marks what the netmap says; the rest goes when nothing else holds it */
void
tn_path_peer_netmap(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *endpoints, size_t n)
{
    size_t                i;
    uint32_t              k;
    tn_path_candidate_t  *candidate;

    for (k = 0; k < peer->ncandidates; k++) {
        peer->candidates[k].in_netmap = false;
    }

    for (i = 0; i < n && i < TN_PATH_ENDPOINTS_MAX; i++) {

        if (!tn_path_peer_is_usable(&endpoints[i])) {
            continue;
        }

        candidate = tn_path_peer_add_candidate(peer, &endpoints[i]);

        if (candidate == NULL) {
            break;
        }

        candidate->in_netmap = true;
    }

    tn_path_peer_prune(peer, now);
}


void
tn_path_peer_reset(tn_path_member_t *peer, tn_ms_t now, tn_path_why_e why)
{
    uint32_t  i;

    for (i = 0; i < peer->ncandidates; i++) {
        peer->candidates[i].pinged = 0;
        peer->candidates[i].seen.port = 0;
        tn_path_rtt_forget(&peer->candidates[i]);
    }

    /* a place is bound to the address that we had */

    tn_path_relay_forget(peer, false);
    peer->searched = 0;
    peer->via_vni = 0;

    peer->derp_us = 0;
    tn_path_peer_clear_best(peer, now, why);
}


void
tn_path_peer_restart(tn_path_member_t *peer, tn_ms_t now)
{
    tn_path_peer_reset(peer, now, TN_PATH_WHY_NETWORK);

    if (tn_timer_is_set(&peer->heartbeat)) {
        tn_path_peer_round(peer, now, true);
        tn_path_peer_schedule(peer, now);
    }
}


void
tn_path_peer_doubt(tn_path_member_t *peer, tn_ms_t now)
{
    uint32_t              i;
    tn_path_candidate_t  *best;

    best = tn_path_peer_best(peer);

    if (best == NULL || !tn_path_is_trusted(peer, now) || peer->disco == NULL
        || peer->wireguard_only || !tn_timer_is_set(&peer->heartbeat))
    {
        tn_path_peer_restart(peer, now);
        return;
    }

    for (i = 0; i < peer->ncandidates; i++) {
        peer->candidates[i].pinged = 0;
    }

    /* first, as the first answer counts */

    best->pinged = now;
    (void) tn_path_probe(peer, now, &peer->pub.best, 0, NULL);

    tn_path_peer_round(peer, now, false);

    if (peer->pub.derp != 0) {
        peer->called = now;
        tn_path_call(peer, now);
    }

    /* until then payload goes both ways */

    peer->pub.trust_until = now;
    tn_path_peer_schedule(peer, now);
}


void
tn_path_drive(tn_path_peer_t *pub, tn_ms_t now)
{
    tn_path_t         *path;
    tn_path_member_t  *peer;

    peer = tn_path_member(pub);
    path = pub->path;

    if (peer->expired) {
        pub->drive_at = TN_NEVER_MS;
        return;
    }

    if (peer->wireguard_only) {
        tn_path_plain_drive(peer, now);
        return;
    }

    if (!tn_timer_is_set(&peer->heartbeat)) {

        if (tn_timer_set(path->timers, &peer->heartbeat,
                         now + TN_PATH_HEARTBEAT_MS)
            != TN_OK)
        {
            return;
        }

        path->nactive++;
        tn_path_restun_later(path, now);
    }

    if (!tn_path_is_trusted(peer, now)) {
        tn_path_peer_round(peer, now, true);

    } else if (peer->disco != NULL && pub->derp != 0
               && (peer->called == 0 || peer->called < path->listed_at))
    {
        /*
         * It found us first.  A peer drops an address of ours at once when
         * a call leaves it out, but only one that a call has named before.
         */

        peer->called = now;
        tn_path_call(peer, now);
    }

    tn_path_peer_schedule(peer, now);
    tn_path_note(peer, now);
}


bool
tn_path_peer_pinged(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *from, const uint8_t txid[TN_DISCO_TXID])
{
    tn_path_candidate_t  *candidate;

    candidate = tn_path_peer_candidate(peer, from);

    if (candidate == NULL) {

        /* without room it is answered, but not remembered */

        if (tn_path_peer_sources(peer) >= TN_PATH_SOURCES_MAX) {
            tn_path_peer_prune(peer, now);

            if (tn_path_peer_sources(peer) >= TN_PATH_SOURCES_MAX) {
                return true;
            }
        }

        candidate = tn_path_peer_add_candidate(peer, from);

        if (candidate == NULL) {
            return true;
        }

    } else if (candidate->got_ping != 0
               && memcmp(candidate->got_txid, txid, TN_DISCO_TXID) == 0)
    {
        return false;
    }

    candidate->got_ping = now;
    peer->owes_call = false;
    memcpy(candidate->got_txid, txid, TN_DISCO_TXID);

    /* its NAT may let us in now: an earlier ping says nothing about that */

    if (tn_timer_is_set(&peer->heartbeat) && !tn_path_is_trusted(peer, now)
        && (candidate->pinged_back == 0
            || now - candidate->pinged_back >= TN_PATH_PING_BACK_MS))
    {
        candidate->pinged = now;
        candidate->pinged_back = now;
        (void) tn_path_probe(peer, now, from, 0, NULL);
    }

    return true;
}


/*
 * A NAT has given us another address under way: peers trust the former one
 * until they are called, and the call leaves it out.
 */
void
tn_path_peer_seen(tn_path_member_t *peer, tn_ms_t now, const tn_addr_t *to,
    const tn_addr_t *seen)
{
    bool                  moved;
    tn_path_t            *path;
    tn_path_candidate_t  *candidate;

    path = peer->pub.path;
    candidate = tn_path_peer_candidate(peer, to);

    if (candidate == NULL) {
        return;
    }

    moved = candidate->seen.port != 0
            && !tn_addr_equal(&candidate->seen, seen);

    if (moved && path->moved_at != 0
        && now - path->moved_at < TN_PATH_MOVED_MS)
    {
        return;
    }

    candidate->seen = *seen;

    if (moved) {
        tn_log(path->log, TN_LOG_INFO, "path: our address is another one");
        path->moved_at = now;
        path->ncache = 0;
        path->endpoints_at = 0;
        tn_path_call(peer, now);
    }
}


void
tn_path_peer_pong(tn_path_member_t *peer, tn_ms_t now,
    const tn_path_ping_t *ping, uint32_t rtt_us)
{
    bool                  recovered;
    tn_quality_t          pong, best;
    tn_path_candidate_t  *candidate, *former;

    if (ping->vni != 0) {
        tn_path_peer_via_pong(peer, now, ping, rtt_us);
        return;
    }

    candidate = tn_path_peer_candidate(peer, &ping->to);

    if (candidate == NULL || peer->expired) {
        return;
    }

    if (ping->size != 0) {
        candidate->mtu = tn_max(candidate->mtu, ping->size);
        return;
    }

    if (ping->lifetime) {
        tn_path_lifetime_answer(peer, now);
        return;
    }

    recovered = tn_path_rtt_answer(candidate, now, rtt_us);
    peer->pub.path->counters.recovered += recovered;

    memset(&pong, 0, sizeof(tn_quality_t));
    memset(&best, 0, sizeof(tn_quality_t));

    pong.addr = ping->to;
    pong.latency_us = candidate->average_us;
    best.addr = peer->pub.best;
    best.vni = peer->pub.vni;
    best.latency_us = peer->best_us;

    former = tn_path_peer_best(peer);

    if (!tn_path_peer_may_use(peer, candidate, now)) {

        if (candidate == former) {
            tn_path_peer_clear_best(peer, now, candidate->demoted);
        }

    } else if (!tn_path_is_trusted(peer, now)) {

        /* one that is slow waits for the others, and for the relay */

        if (candidate->demoted == TN_PATH_WHY_NONE || former == NULL
            || former->demoted != TN_PATH_WHY_NONE)
        {
            peer->why = recovered ? TN_PATH_WHY_RECOVERED
                                  : TN_PATH_WHY_ANSWERED;

            tn_path_peer_use(peer, &ping->to, 0);
        }

    } else if (peer->pub.vni != 0 && candidate->demoted == TN_PATH_WHY_SLOW
               && candidate->average_us <= peer->best_us)
    {
        peer->why = TN_PATH_WHY_BETTER;
        tn_path_peer_use(peer, &ping->to, 0);

    } else if (candidate->demoted == TN_PATH_WHY_NONE
               && ((former != NULL && former->demoted != TN_PATH_WHY_NONE)
                   || tn_quality_better(&pong, &best)))
    {
        peer->why = recovered ? TN_PATH_WHY_RECOVERED : TN_PATH_WHY_BETTER;
        tn_path_peer_use(peer, &ping->to, 0);
    }

    if (tn_path_peer_best(peer) == candidate) {
        peer->best_us = candidate->average_us;
        peer->base_us = tn_path_rtt_base(candidate);
        peer->pub.trust_until = now + TN_PATH_TRUST_MS;

        if (peer->owes_call) {
            peer->owes_call = false;
            peer->called = now;
            tn_path_call(peer, now);
        }

        if (candidate->demoted == TN_PATH_WHY_NONE
            && tn_path_rtt_is_slow(candidate))
        {
            tn_path_peer_slow(peer, now, candidate);
        }
    }

    tn_path_peer_schedule(peer, now);
    tn_path_note(peer, now);
}


void
tn_path_peer_derp_pong(tn_path_member_t *peer, tn_ms_t now, uint32_t rtt_us)
{
    tn_path_candidate_t  *candidate;

    peer->derp_us = rtt_us;
    peer->derp_at = now;

    candidate = tn_path_peer_best(peer);

    if (candidate != NULL && !tn_path_peer_may_use(peer, candidate, now)) {
        tn_path_peer_clear_best(peer, now, candidate->demoted);
        tn_path_peer_schedule(peer, now);
    }
}


void
tn_path_peer_ping_lost(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *to, uint32_t vni)
{
    tn_path_candidate_t  *candidate;

    if (vni != 0) {
        if (!tn_path_peer_is_via(peer, to, vni)
            || (peer->pub.vni != 0 && tn_path_is_trusted(peer, now)))
        {
            return;
        }

        peer->via_vni = 0;

        if (peer->pub.vni != 0) {
            tn_path_peer_clear_best(peer, now, TN_PATH_WHY_LOST);
        }

        return;
    }

    candidate = tn_path_peer_candidate(peer, to);

    if (candidate != NULL) {
        candidate->good = 0;
    }

    if (peer->pub.vni != 0 || !tn_addr_equal(&peer->pub.best, to)
        || tn_path_is_trusted(peer, now))
    {
        return;
    }

    /* what WireGuard hears from there is worth an answer there */

    if (candidate != NULL && candidate->heard != 0
        && now - candidate->heard < TN_PATH_TRUST_MS)
    {
        return;
    }

    tn_path_peer_clear_best(peer, now, TN_PATH_WHY_LOST);

    if (candidate != NULL && tn_path_rtt_lost(candidate, now)) {
        peer->pub.path->counters.demoted++;
    }
}


/*
 * While nothing is trusted the address that WireGuard heard the peer from is
 * tried beside DERP: its replies find back through a NAT that disco has not
 * passed yet.  It is not proven until it answers a ping.
 */
void
tn_path_heard(tn_path_peer_t *pub, tn_ms_t now, const tn_addr_t *from)
{
    tn_path_member_t     *peer;
    tn_path_candidate_t  *candidate;

    peer = tn_path_member(pub);

    if (peer->expired || pub->path->knobs.only_tcp_443) {
        return;
    }

    /* WireGuard alone: it is where it was heard last */

    if (peer->wireguard_only) {
        tn_path_plain_heard(peer, now, from);
        return;
    }

    candidate = tn_path_peer_candidate(peer, from);

    if (candidate != NULL && !tn_path_is_trusted(peer, now)) {
        candidate->heard = now;
    }

    if (pub->vni == 0 && tn_addr_equal(&pub->best, from)) {

        if (pub->renew_ms != 0) {
            pub->trust_until = now + TN_PATH_TRUST_MS;
            tn_path_peer_schedule(peer, now);
            tn_path_note(peer, now);
        }

        return;
    }

    if (pub->best.port != 0 || peer->disco == NULL
        || !tn_path_peer_is_usable(from))
    {
        return;
    }

    if (candidate == NULL
        && tn_path_peer_sources(peer) < TN_PATH_SOURCES_MAX)
    {
        candidate = tn_path_peer_add_candidate(peer, from);
    }

    if (candidate == NULL || !tn_path_peer_may_use(peer, candidate, now)) {
        return;
    }

    candidate->got_ping = now;
    candidate->heard = now;
    tn_path_peer_use(peer, from, 0);
    pub->drive_at = 0;
}


void
tn_path_peer_called(tn_path_member_t *peer, tn_ms_t now,
    const tn_disco_addrs_t *addrs)
{
    uint32_t              i;
    tn_path_candidate_t  *candidate;

    if (peer->expired) {
        return;
    }

    for (i = 0; i < peer->ncandidates; i++) {
        peer->candidates[i].in_call = false;
    }

    for (i = 0; i < addrs->n; i++) {

        /* a link-local address means nothing without its interface */

        if (!tn_path_peer_is_usable(&addrs->addr[i])
            || (!tn_ip_is_v4(&addrs->addr[i].ip)
                && tn_ip_is_link_local(&addrs->addr[i].ip)))
        {
            continue;
        }

        candidate = tn_path_peer_add_candidate(peer, &addrs->addr[i]);

        if (candidate == NULL) {
            break;
        }

        candidate->in_call = true;
    }

    for (i = 0; i < peer->ncandidates; i++) {
        peer->candidates[i].pinged = 0;
    }

    /*
     * It may call because it has moved: best has to prove itself anew, unless
     * it has done so just now.
     */

    if (tn_path_is_direct(peer)
        && peer->pub.trust_until < now + TN_PATH_TRUST_MS - TN_PATH_DOUBT_MS)
    {
        peer->pub.trust_until = tn_min(peer->pub.trust_until,
                                       now + TN_PATH_DOUBT_MS);
    }

    peer->owes_call = !tn_path_is_trusted(peer, now);

    tn_path_peer_round(peer, now, false);
    tn_path_peer_schedule(peer, now);
}


void
tn_path_unreachable(tn_path_peer_t *pub, tn_ms_t now, const tn_addr_t *addr)
{
    tn_path_member_t     *peer;
    tn_path_candidate_t  *candidate;

    peer = tn_path_member(pub);

    if (peer->wireguard_only) {
        return;
    }

    candidate = tn_path_peer_candidate(peer, addr);

    if (candidate != NULL) {
        candidate->pinged = 0;
        tn_path_rtt_forget(candidate);
    }

    if (peer->via_vni != 0 && tn_addr_equal(&peer->via, addr)) {
        peer->via_vni = 0;
    }

    if (tn_addr_equal(&pub->best, addr)) {
        tn_path_peer_clear_best(peer, now, TN_PATH_WHY_UNREACHABLE);
    }
}


void
tn_path_peer_relayed(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *addr, uint32_t vni, const tn_key_t *server,
    uint32_t rtt_us)
{
    bool                  trusted, same;
    tn_quality_t          place, best;
    tn_path_candidate_t  *former;

    if (peer->expired) {
        return;
    }

    memset(&place, 0, sizeof(tn_quality_t));
    memset(&best, 0, sizeof(tn_quality_t));

    place.addr = *addr;
    place.vni = vni;
    place.latency_us = rtt_us;
    best.addr = peer->pub.best;
    best.vni = peer->pub.vni;
    best.latency_us = peer->best_us;

    /* of one relay the newer place counts: it drops what comes by the other */

    trusted = tn_path_is_trusted(peer, now);
    same = peer->pub.vni != 0 && tn_key_equal(server, &peer->via_server);
    former = tn_path_peer_best(peer);

    if (trusted && !same && !tn_quality_better(&place, &best)
        && (former == NULL || former->demoted == TN_PATH_WHY_NONE))
    {
        return;
    }

    peer->via = *addr;
    peer->via_vni = vni;
    peer->via_us = rtt_us;
    peer->via_server = *server;
    peer->via_pinged = now;

    /* slow, but not slower than this: the place waits until it is lost */

    if (former != NULL && former->demoted == TN_PATH_WHY_SLOW
        && former->average_us <= rtt_us)
    {
        return;
    }

    peer->why = trusted ? TN_PATH_WHY_BETTER : TN_PATH_WHY_ANSWERED;
    tn_path_peer_use(peer, addr, vni);
    peer->best_us = rtt_us;
    peer->pub.trust_until = now + TN_PATH_TRUST_MS;

    tn_path_peer_schedule(peer, now);
    tn_path_note(peer, now);
}


static void
tn_path_peer_via_pong(tn_path_member_t *peer, tn_ms_t now,
    const tn_path_ping_t *ping, uint32_t rtt_us)
{
    bool  used;

    if (peer->expired || !tn_path_peer_is_via(peer, &ping->to, ping->vni)) {
        return;
    }

    peer->via_us = (peer->via_us * 3 + rtt_us) / 4;
    used = peer->pub.vni != 0;

    if (!used && !tn_path_is_trusted(peer, now)) {
        peer->why = TN_PATH_WHY_ANSWERED;
        tn_path_peer_use(peer, &peer->via, peer->via_vni);
        used = true;
    }

    if (used) {
        peer->best_us = peer->via_us;
        peer->pub.trust_until = now + TN_PATH_TRUST_MS;
    }

    tn_path_peer_schedule(peer, now);
    tn_path_note(peer, now);
}


static bool
tn_path_peer_is_via(const tn_path_member_t *peer, const tn_addr_t *addr,
    uint32_t vni)
{
    return peer->via_vni == vni && tn_addr_equal(&peer->via, addr);
}


void
tn_path_peer_use(tn_path_member_t *peer, const tn_addr_t *addr, uint32_t vni)
{
    peer->pub.best = *addr;
    peer->pub.vni = vni;
}


/* of the best address, NULL when there is none or it is a relay's */
static tn_path_candidate_t *
tn_path_peer_best(tn_path_member_t *peer)
{
    return tn_path_is_direct(peer)
           ? tn_path_peer_candidate(peer, &peer->pub.best) : NULL;
}


tn_path_candidate_t *
tn_path_peer_candidate(tn_path_member_t *peer, const tn_addr_t *addr)
{
    uint32_t  i;

    for (i = 0; i < peer->ncandidates; i++) {
        if (tn_addr_equal(&peer->candidates[i].addr, addr)) {
            return &peer->candidates[i];
        }
    }

    return NULL;
}


/* the one that is there, or a new one; NULL when out of memory */
static tn_path_candidate_t *
tn_path_peer_add_candidate(tn_path_member_t *peer, const tn_addr_t *addr)
{
    uint32_t              size;
    tn_path_candidate_t  *candidate;

    candidate = tn_path_peer_candidate(peer, addr);

    if (candidate != NULL) {
        return candidate;
    }

    if (peer->ncandidates == peer->size) {
        size = peer->size ? peer->size * 2 : 2;
        candidate = realloc(peer->candidates,
                            size * sizeof(tn_path_candidate_t));

        if (candidate == NULL) {
            return NULL;
        }

        peer->candidates = candidate;
        peer->size = size;
    }

    candidate = &peer->candidates[peer->ncandidates++];
    memset(candidate, 0, sizeof(tn_path_candidate_t));
    candidate->addr = *addr;

    /* the next send pings it */

    peer->pub.drive_at = 0;

    return candidate;
}


/* candidates that only a ping holds */
static uint32_t
tn_path_peer_sources(const tn_path_member_t *peer)
{
    uint32_t  i, n;

    for (i = 0, n = 0; i < peer->ncandidates; i++) {
        n += !peer->candidates[i].in_netmap && !peer->candidates[i].in_call;
    }

    return n;
}


static bool
tn_path_peer_is_wanted(const tn_path_candidate_t *candidate, tn_ms_t now)
{
    return candidate->in_netmap || candidate->in_call
           || (candidate->got_ping != 0
               && now - candidate->got_ping <= TN_PATH_SOURCE_MS);
}


static void
tn_path_peer_prune(tn_path_member_t *peer, tn_ms_t now)
{
    bool                  best, lost;
    uint32_t              i, n;
    tn_path_candidate_t  *candidate;

    lost = false;

    for (i = 0, n = 0; i < peer->ncandidates; i++) {
        candidate = &peer->candidates[i];
        best = tn_path_is_direct(peer)
               && tn_addr_equal(&candidate->addr, &peer->pub.best);

        /* what is proven to work stays, whatever it came from */

        if (tn_path_peer_is_wanted(candidate, now)
            || (best && tn_path_is_trusted(peer, now)))
        {
            peer->candidates[n++] = *candidate;
            continue;
        }

        lost = lost || best;
    }

    peer->ncandidates = n;

    if (lost) {
        tn_path_peer_clear_best(peer, now, TN_PATH_WHY_PEER);
    }
}


static bool
tn_path_peer_is_usable(const tn_addr_t *addr)
{
    return addr->port != 0 && !tn_ip_is_none(&addr->ip)
           && !tn_ip_is_multicast(&addr->ip)
           && !tn_ip_is_tailscale(&addr->ip);
}


/* pings what was not pinged lately; tells the peer our endpoints */
static void
tn_path_peer_round(tn_path_member_t *peer, tn_ms_t now, bool call)
{
    bool                  any;
    uint32_t              i;
    tn_path_candidate_t  *candidate;

    peer->full_ping = now;

    if (peer->disco == NULL) {
        return;
    }

    tn_path_peer_prune(peer, now);

    any = peer->ncandidates == 0;

    for (i = 0; i < peer->ncandidates; i++) {
        candidate = &peer->candidates[i];

        if (candidate->pinged != 0
            && now - candidate->pinged < TN_PATH_PING_EVERY_MS)
        {
            continue;
        }

        candidate->pinged = now;
        any = true;

        (void) tn_path_probe(peer, now, &candidate->addr, 0, NULL);

        if (peer->pub.path->knobs.peer_mtu) {
            tn_path_probe_mtu(peer, now, &candidate->addr);
        }
    }

    /* what is slow is measured against the relay */

    if (tn_path_peer_has_demoted(peer)) {
        (void) tn_path_probe_derp(peer, now, NULL, 0);
    }

    /* also when there is nothing to ping: the peer may be able to reach us */

    if (any && call && peer->pub.derp != 0
        && (peer->ncandidates != 0 || peer->called == 0
            || now - peer->called >= TN_PATH_PING_EVERY_MS))
    {
        peer->called = now;
        tn_path_call(peer, now);
    }

    if (peer->via_vni != 0 && !tn_path_is_trusted(peer, now)
        && now - peer->via_pinged >= TN_PATH_PING_EVERY_MS)
    {
        peer->via_pinged = now;
        (void) tn_path_probe(peer, now, &peer->via, peer->via_vni, NULL);
    }

    tn_path_relay_search(peer, now);
}


static bool
tn_path_peer_wants_round(const tn_path_member_t *peer, tn_ms_t now)
{
    if (!tn_path_is_trusted(peer, now) || peer->full_ping == 0
        || peer->pub.vni != 0)
    {
        return true;
    }

    if (now - peer->full_ping >= TN_PATH_DEMOTED_ROUND_MS
        && tn_path_peer_has_demoted(peer))
    {
        return true;
    }

    return peer->best_us > TN_PATH_GOOD_MS * 1000
           && now - peer->full_ping >= TN_PATH_UPGRADE_MS;
}


/*
 * What is demoted is better than a relay by which the peer does not answer,
 * and than one that is slower.
 */
static bool
tn_path_peer_may_use(const tn_path_member_t *peer,
    const tn_path_candidate_t *candidate, tn_ms_t now)
{
    if (candidate->demoted == TN_PATH_WHY_NONE || peer->derp_us == 0
        || now - peer->derp_at > TN_PATH_DERP_RTT_MS
        || !tn_path_derp_has(peer))
    {
        return true;
    }

    return candidate->demoted != TN_PATH_WHY_FLAPPING
           && peer->derp_us >= candidate->average_us;
}


/* payload goes both ways until another candidate or the relay has answered */
static void
tn_path_peer_slow(tn_path_member_t *peer, tn_ms_t now,
    tn_path_candidate_t *candidate)
{
    char      addr[TN_ADDR_TEXT];
    uint32_t  i;

    tn_log(peer->pub.path->log, TN_LOG_INFO,
           "path: %s has become slow, %u us", tn_addr_text(&candidate->addr,
                                                           addr),
           candidate->average_us);

    candidate->demoted = TN_PATH_WHY_SLOW;
    candidate->good = 0;
    peer->pub.path->counters.demoted++;
    peer->pub.trust_until = now;
    peer->why = TN_PATH_WHY_SLOW;

    for (i = 0; i < peer->ncandidates; i++) {
        peer->candidates[i].pinged = 0;
    }

    tn_path_peer_round(peer, now, false);
}


static bool
tn_path_peer_has_demoted(const tn_path_member_t *peer)
{
    uint32_t  i;

    for (i = 0; i < peer->ncandidates; i++) {
        if (peer->candidates[i].demoted != TN_PATH_WHY_NONE) {
            return true;
        }
    }

    return false;
}


static void
tn_path_peer_clear_best(tn_path_member_t *peer, tn_ms_t now,
    tn_path_why_e why)
{
    peer->why = why;

    memset(&peer->pub.best, 0, sizeof(tn_addr_t));
    peer->pub.vni = 0;
    peer->pub.trust_until = 0;
    peer->pub.drive_at = 0;
    peer->best_us = 0;
    peer->base_us = 0;

    tn_path_note(peer, now);
}


/* when the next send has to call tn_path_drive() */
static void
tn_path_peer_schedule(tn_path_member_t *peer, tn_ms_t now)
{
    tn_ms_t   next;
    uint32_t  i;

    if (!tn_timer_is_set(&peer->heartbeat)) {
        peer->pub.drive_at = 0;
        return;
    }

    if (tn_path_is_trusted(peer, now)) {
        peer->pub.drive_at = peer->pub.trust_until;
        return;
    }

    next = now + TN_PATH_PING_EVERY_MS;

    for (i = 0; i < peer->ncandidates; i++) {
        next = tn_min(next,
                      peer->candidates[i].pinged + TN_PATH_PING_EVERY_MS);
    }

    peer->pub.drive_at = next;
}


static void
tn_path_peer_heartbeat(void *data, tn_ms_t now)
{
    tn_path_t            *path;
    tn_path_member_t     *peer;
    tn_path_candidate_t  *candidate;

    peer = data;
    path = peer->pub.path;

    if (peer->expired || now - peer->pub.last_sent > TN_PATH_ACTIVE_MS) {
        path->nactive--;
        peer->pub.drive_at = 0;
        tn_path_note(peer, now);
        tn_path_lifetime_idle(peer, now);
        return;
    }

    /* silent: sends search when trust is over, and payload renews it */

    if (path->knobs.silent_disco) {
        goto next;
    }

    if (peer->pub.best.port != 0) {
        candidate = tn_path_peer_best(peer);

        if (candidate != NULL) {
            candidate->pinged = now;

        } else if (peer->pub.vni != 0) {
            peer->via_pinged = now;
        }

        (void) tn_path_probe(peer, now, &peer->pub.best, peer->pub.vni,
                             NULL);
    }

    if (tn_path_peer_wants_round(peer, now)) {
        tn_path_peer_round(peer, now, true);
    }

next:

    if (tn_timer_set(path->timers, &peer->heartbeat,
                     now + TN_PATH_HEARTBEAT_MS)
        != TN_OK)
    {
        path->nactive--;
    }

    tn_path_peer_schedule(peer, now);
    tn_path_note(peer, now);
}
