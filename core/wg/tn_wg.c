
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * WireGuard, from the white paper; wireguard-go is the reference where the
 * paper leaves a choice.  A peer goes through these states:
 *
 *   idle         no session, no timer; the first packet is staged and
 *   initiated    an initiation is out, repeated every 5 s for 90 s; or the
 *   responded    peer's initiation was answered (a `next` session); the two
 *                may be at the same time; a response or, for the responder,
 *                the first packet leads to
 *   established  packets pass; after 120 s the initiator renews when it has
 *                something to send; after 180 s without renewal packets are
 *                staged again; 540 s after the last session: idle
 *
 * Who may make us work: an initiation costs a stranger one valid mac1, that
 * is knowledge of our public key.  Over TN_WG_LOAD_PER_SEC handshakes in a
 * second the device is under load for at least a second: then a handshake
 * needs a valid mac2 (tn_wg_cookie.c) and its source has a rate limit
 * (tn_wg_ratelimit.c).  A known peer is taken 50 initiations a second.
 */

#include "tn_wg.h"

#include "base/tn_cursor.h"
#include "wg/tn_wg_peer.h"

#include <stdlib.h>


/* about 5% of one CPU, for each costs one DH before we know the sender */
#define TN_WG_LOAD_PER_SEC  1000
#define TN_WG_LOAD_LASTS_MS  1000


static bool tn_wg_loaded(tn_wg_t *wg, tn_ms_t now);
static tn_rc_t tn_wg_refuse(tn_wg_t *wg, tn_ms_t now, const tn_wg_from_t *from,
    const uint8_t *msg, size_t len);


tn_wg_t *
tn_wg_create(const tn_wg_conf_t *conf)
{
    tn_wg_t  *wg;

    wg = calloc(1, sizeof(tn_wg_t));
    if (wg == NULL) {
        return NULL;
    }

    wg->ops = conf->ops;
    wg->data = conf->data;
    wg->timers = conf->timers;
    wg->log = conf->log;
    wg->identity = conf->identity;
    wg->hurry_until = conf->hurry_until;

    tn_hash_init(&wg->peers, TN_KEY_LEN);
    tn_hash_init(&wg->indexes, sizeof(uint32_t));
    tn_table_init(&wg->allowed);
    tn_wg_ratelimit_init(&wg->limit);

    if (tn_wg_checker_init(&wg->checker, &wg->identity.pub) != TN_OK) {
        tn_wg_destroy(wg);
        return NULL;
    }

    return wg;
}


void
tn_wg_destroy(tn_wg_t *wg)
{
    tn_wg_peer_t  *peer, *next;

    if (wg == NULL) {
        return;
    }

    for (peer = tn_wg_peer_next(wg, NULL); peer != NULL; peer = next) {
        next = tn_wg_peer_next(wg, peer);
        tn_wg_peer_remove(peer);
    }

    tn_hash_done(&wg->peers);
    tn_hash_done(&wg->indexes);
    tn_table_done(&wg->allowed);
    tn_wg_ratelimit_done(&wg->limit);

    tn_wipe(wg, sizeof(tn_wg_t));
    free(wg);
}


const tn_key_t *
tn_wg_public_key(const tn_wg_t *wg)
{
    return &wg->identity.pub;
}


const tn_wg_stats_t *
tn_wg_stats(const tn_wg_t *wg)
{
    return &wg->stats;
}


tn_rc_t
tn_wg_input(tn_wg_t *wg, tn_ms_t now, const tn_wg_from_t *from,
    const uint8_t *msg, size_t len, tn_wg_peer_t **peer)
{
    uint32_t  type;

    *peer = NULL;

    type = tn_wgmsg_type(msg, len);

    switch (type) {

    case TN_WGMSG_COOKIE:
        return tn_wg_handshake_cookie(wg, now, msg, len);

    case TN_WGMSG_INITIATION:
    case TN_WGMSG_RESPONSE:
        break;

    default:
        wg->stats.malformed++;
        return TN_MALFORMED;
    }

    if (!tn_wg_checker_mac1(&wg->checker, msg, len)) {
        wg->stats.bad_mac1++;
        return TN_MALFORMED;
    }

    if (tn_wg_loaded(wg, now)) {

        if (!tn_wg_checker_mac2(&wg->checker, now, from, msg, len)) {
            return tn_wg_refuse(wg, now, from, msg, len);
        }

        if (!tn_wg_ratelimit_allow(&wg->limit, now, from)) {
            wg->stats.limited++;
            return TN_REFUSED;
        }
    }

    return type == TN_WGMSG_INITIATION
           ? tn_wg_handshake_initiation(wg, now, msg, len, peer)
           : tn_wg_handshake_response(wg, now, msg, len, peer);
}


static bool
tn_wg_loaded(tn_wg_t *wg, tn_ms_t now)
{
    if (now - wg->load_at >= 1000) {
        wg->load_at = now;
        wg->load_count = 0;
    }

    wg->load_count++;

    if (wg->load_count > TN_WG_LOAD_PER_SEC) {
        wg->loaded_until = now + TN_WG_LOAD_LASTS_MS;
    }

    return now < wg->loaded_until;
}


static tn_rc_t
tn_wg_refuse(tn_wg_t *wg, tn_ms_t now, const tn_wg_from_t *from,
    const uint8_t *msg, size_t len)
{
    uint8_t      reply[TN_WGMSG_COOKIE_LEN];
    uint32_t     sender;
    tn_cursor_t  c;

    /* both messages have the sender's index after the type */

    c = tn_cursor(msg, len);
    (void) tn_read_u32le(&c);
    sender = tn_read_u32le(&c);

    if (tn_wg_checker_reply(&wg->checker, now, from, sender, msg, len, reply)
        == TN_OK)
    {
        wg->stats.cookies_sent++;
        wg->ops->reply(wg->data, from, reply, sizeof(reply));
    }

    return TN_REFUSED;
}
