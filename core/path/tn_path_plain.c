
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory: the address of a peer that knows WireGuard alone, and neither disco
 * nor DERP (upstream: isWireguardOnly).
 *
 * What WireGuard hears from is the address, for 15 s.  While nothing is heard
 * and there are several, each is asked by an ICMP echo, at most every 10 s:
 * the one with the lowest round trip is taken, IPv6 before IPv4 when both are
 * equal.  A host may answer that whose WireGuard does not: what gave no
 * answer for 5 s is set aside until each has had its turn.  Where nobody
 * answers ICMP, or the host cannot ask, the turns alone decide.
 */

#include "tn_path_private.h"


static void tn_path_plain_ask(tn_path_member_t *peer, tn_ms_t now);
static void tn_path_plain_choose(tn_path_member_t *peer, tn_ms_t now);
static bool tn_path_plain_can(const tn_path_t *path, const tn_addr_t *addr);
static bool tn_path_plain_nearer(const tn_path_candidate_t *a,
    const tn_path_candidate_t *b);


void
tn_path_plain_set(tn_path_member_t *peer, tn_ms_t now)
{
    if (peer->pub.path->knobs.only_tcp_443 || peer->expired
        || peer->ncandidates == 0)
    {
        memset(&peer->pub.best, 0, sizeof(tn_addr_t));
        peer->pub.vni = 0;
        peer->pub.trust_until = 0;

    } else if (tn_path_peer_candidate(peer, &peer->pub.best) == NULL
               && !tn_path_is_trusted(peer, now))
    {
        tn_path_plain_choose(peer, now);
        peer->pub.drive_at = 0;
    }
}


void
tn_path_plain_drive(tn_path_member_t *peer, tn_ms_t now)
{
    tn_path_candidate_t  *candidate;

    tn_path_plain_set(peer, now);
    peer->pub.drive_at = now + TN_PATH_PLAIN_TRY_MS;

    candidate = tn_path_peer_candidate(peer, &peer->pub.best);

    if (candidate == NULL || tn_path_is_trusted(peer, now)) {
        return;
    }

    tn_path_plain_ask(peer, now);

    if (peer->plain_since == 0) {
        peer->plain_since = now;

    } else if (now - peer->plain_since >= TN_PATH_PLAIN_TRY_MS) {
        candidate->failed = true;
        tn_path_plain_choose(peer, now);
    }
}


void
tn_path_plain_heard(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *from)
{
    tn_path_candidate_t  *candidate;

    candidate = tn_path_peer_candidate(peer, from);

    if (candidate != NULL) {
        candidate->failed = false;
    }

    peer->plain_since = 0;
    tn_path_peer_use(peer, from, 0);
    peer->pub.trust_until = now + TN_PATH_PLAIN_TRUST_MS;
    peer->pub.drive_at = peer->pub.trust_until;
    tn_path_note(peer, now);
}


void
tn_path_echoed(tn_path_t *path, tn_ms_t now, const tn_ip_t *ip,
    uint32_t latency_us)
{
    uint32_t              i;
    tn_hash_node_t       *link;
    tn_path_member_t     *peer;
    tn_path_candidate_t  *candidate, *best;

    for (link = tn_hash_next(&path->peers, NULL); link != NULL;
         link = tn_hash_next(&path->peers, link))
    {
        peer = tn_container(link, tn_path_member_t, link);

        for (i = 0; peer->wireguard_only && i < peer->ncandidates; i++) {
            candidate = &peer->candidates[i];

            if (!tn_ip_equal(&candidate->addr.ip, ip)) {
                continue;
            }

            candidate->latency_us = tn_max(latency_us, 1u);
            best = tn_path_peer_candidate(peer, &peer->pub.best);

            if (best != NULL && !candidate->failed
                && !tn_path_is_trusted(peer, now)
                && tn_path_plain_nearer(candidate, best))
            {
                tn_path_peer_use(peer, &candidate->addr, 0);
                peer->plain_since = now;
            }
        }
    }
}


static void
tn_path_plain_ask(tn_path_member_t *peer, tn_ms_t now)
{
    uint32_t    i;
    tn_path_t  *path;

    path = peer->pub.path;

    if (path->ops->icmp_echo == NULL || peer->ncandidates < 2
        || (peer->full_ping != 0
            && now - peer->full_ping < TN_PATH_PLAIN_ASK_MS))
    {
        return;
    }

    peer->full_ping = now;

    for (i = 0; i < peer->ncandidates && i < TN_PATH_PLAIN_ASKED; i++) {

        /* what answered the last time may be gone */

        peer->candidates[i].latency_us = 0;

        if (tn_path_plain_can(path, &peer->candidates[i].addr)) {
            path->ops->icmp_echo(path->data, &peer->candidates[i].addr.ip);
        }
    }
}


/* the nearest of those whose turn it is; `failed` ends when all are */
static void
tn_path_plain_choose(tn_path_member_t *peer, tn_ms_t now)
{
    uint32_t              i, round;
    tn_path_candidate_t  *candidate, *best;

    best = NULL;

    for (round = 0; round < 2 && best == NULL; round++) {

        for (i = 0; i < peer->ncandidates; i++) {
            candidate = &peer->candidates[i];

            if (round == 1) {
                candidate->failed = false;
            }

            if (!candidate->failed
                && tn_path_plain_can(peer->pub.path, &candidate->addr)
                && (best == NULL || tn_path_plain_nearer(candidate, best)))
            {
                best = candidate;
            }
        }
    }

    /* no family of this host: it may have it by the time of a send */

    best = best ? best : &peer->candidates[0];

    tn_path_peer_use(peer, &best->addr, 0);
    peer->plain_since = peer->plain_since == 0 ? 0 : now;
}


static bool
tn_path_plain_can(const tn_path_t *path, const tn_addr_t *addr)
{
    return tn_ip_is_v4(&addr->ip) ? path->have4 && path->port4 != 0
                                  : path->have6 && path->port6 != 0;
}


static bool
tn_path_plain_nearer(const tn_path_candidate_t *a,
    const tn_path_candidate_t *b)
{
    if (a->latency_us == 0 || b->latency_us == 0) {
        return a->latency_us != 0 && b->latency_us == 0;
    }

    return a->latency_us < b->latency_us
           || (a->latency_us == b->latency_us
               && !tn_ip_is_v4(&a->addr.ip) && tn_ip_is_v4(&b->addr.ip));
}
