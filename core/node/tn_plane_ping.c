
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Pings on their way through the tunnel: those by TSMP prove it and the
 * peer's data path, those by ICMP the peer's stack too, where a disco ping
 * proves a path only.  An answer counts when it has the random token of a
 * ping and comes from the peer that was asked.
 */

#include "tn_plane_private.h"

#include "wire/tn_icmp.h"


#define TN_PLANE_ECHO_MAX  (40 + 8 + TN_TSMP_TOKEN_LEN)     /* with IPv6 */


static uint16_t plane_ping_id(const tn_plane_ping_t *ping);
static void plane_ping_answered(tn_plane_ping_t *ping, tn_ms_t now);
static void plane_ping_timeout(void *data, tn_ms_t now);
static void plane_ping_end(tn_plane_ping_t *ping, tn_ms_t now,
    const tn_path_pong_t *pong);


tn_rc_t
tn_plane_ping(tn_plane_t *plane, tn_ms_t now, const tn_key_t *key,
    tn_plane_ping_e kind, tn_path_pong_pt fn, void *data)
{
    bool              v4;
    size_t            i, len;
    uint8_t           buf[TN_TSMP_PACKET_MAX + TN_PLANE_ECHO_MAX];
    tn_ip_t          *src, *dst;
    tn_tsmp_t         msg;
    tn_plane_peer_t  *peer;
    tn_plane_ping_t  *ping;

    peer = tn_plane_peer_by_key(plane, key);

    if (peer == NULL) {
        return TN_NOTFOUND;
    }

    if (tn_plane_peer_wake(peer, now) != TN_OK) {
        return TN_NOMEM;
    }

    v4 = !tn_ip_is_none(&plane->self4) && !tn_ip_is_none(&peer->own4);

    if (!v4 && (tn_ip_is_none(&plane->self6) || tn_ip_is_none(&peer->own6))) {
        return TN_NOTFOUND;
    }

    for (i = 0; plane->pings[i].peer != NULL; i++) {
        if (i == TN_PLANE_PINGS - 1) {
            return TN_AGAIN;
        }
    }

    ping = &plane->pings[i];
    tn_timer_init(&ping->timer, plane_ping_timeout, ping);

    if (tn_timer_set(plane->timers, &ping->timer, now + TN_PLANE_PING_MS)
        != TN_OK)
    {
        return TN_NOMEM;
    }

    ping->peer = peer;
    ping->kind = kind;
    ping->fn = fn;
    ping->data = data;
    ping->sent_us = plane->ops->now_us(plane->data);
    tn_random(ping->token, sizeof(ping->token));

    src = v4 ? &plane->self4 : &plane->self6;
    dst = v4 ? &peer->own4 : &peer->own6;

    if (kind == TN_PLANE_PING_ICMP) {
        plane->echos++;
        len = tn_icmp_echo_request(buf, sizeof(buf), src, dst,
                                   plane_ping_id(ping), (uint16_t) i,
                                   ping->token, TN_TSMP_TOKEN_LEN);

    } else {
        memset(&msg, 0, sizeof(msg));
        msg.type = TN_TSMP_PING;
        memcpy(msg.token, ping->token, TN_TSMP_TOKEN_LEN);
        len = tn_tsmp_build(buf, sizeof(buf), &msg, src, dst);
    }

    tn_plane_inject(plane, now, peer, buf, len);

    return TN_OK;
}


void
tn_plane_ping_pong(tn_plane_peer_t *peer, tn_ms_t now, const uint8_t *token)
{
    size_t            i;
    tn_plane_ping_t  *ping;

    for (i = 0; i < TN_PLANE_PINGS; i++) {
        ping = &peer->plane->pings[i];

        if (ping->peer == peer && ping->kind == TN_PLANE_PING_TSMP
            && memcmp(ping->token, token, TN_TSMP_TOKEN_LEN) == 0)
        {
            plane_ping_answered(ping, now);
            return;
        }
    }
}


bool
tn_plane_ping_echo(tn_plane_peer_t *peer, tn_ms_t now, const uint8_t *packet,
    const tn_packet_t *p)
{
    size_t            i, len;
    const uint8_t    *token;
    tn_plane_ping_t  *ping;

    if ((p->proto != TN_PROTO_ICMP && p->proto != TN_PROTO_ICMP6)
        || (!tn_ip_equal(&p->src, &peer->own4)
            && !tn_ip_equal(&p->src, &peer->own6)))
    {
        return false;
    }

    for (i = 0; i < TN_PLANE_PINGS; i++) {
        ping = &peer->plane->pings[i];

        if (ping->peer != peer || ping->kind != TN_PLANE_PING_ICMP) {
            continue;
        }

        token = tn_icmp_echo_data(packet, p, plane_ping_id(ping),
                                  (uint16_t) i, &len);

        if (token != NULL && len == TN_TSMP_TOKEN_LEN
            && memcmp(token, ping->token, len) == 0)
        {
            plane_ping_answered(ping, now);
            return true;
        }
    }

    return false;
}


void
tn_plane_ping_forget(tn_plane_peer_t *peer)
{
    size_t          i;
    tn_path_pong_t  none;

    memset(&none, 0, sizeof(none));
    none.rc = TN_CLOSED;

    for (i = 0; i < TN_PLANE_PINGS; i++) {
        if (peer->plane->pings[i].peer == peer) {
            plane_ping_end(&peer->plane->pings[i], peer->plane->now, &none);
        }
    }
}


/* of an echo request: half of its random token */
static uint16_t
plane_ping_id(const tn_plane_ping_t *ping)
{
    return (uint16_t) (ping->token[0] << 8 | ping->token[1]);
}


static void
plane_ping_answered(tn_plane_ping_t *ping, tn_ms_t now)
{
    tn_plane_t       *plane;
    tn_path_pong_t    pong;
    tn_plane_peer_t  *peer;

    peer = ping->peer;
    plane = peer->plane;

    memset(&pong, 0, sizeof(pong));
    pong.rc = TN_OK;
    pong.latency_us = (uint32_t) (plane->ops->now_us(plane->data)
                                  - ping->sent_us);

    if (now < peer->path->trust_until) {
        pong.addr = peer->path->best;
        pong.vni = peer->path->vni;

    } else {
        pong.region = peer->path->derp;
    }

    plane_ping_end(ping, now, &pong);
}


static void
plane_ping_timeout(void *data, tn_ms_t now)
{
    tn_path_pong_t  none;

    memset(&none, 0, sizeof(none));
    none.rc = TN_AGAIN;

    plane_ping_end(data, now, &none);
}


static void
plane_ping_end(tn_plane_ping_t *ping, tn_ms_t now, const tn_path_pong_t *pong)
{
    tn_timer_cancel(ping->peer->plane->timers, &ping->timer);

    if (ping->kind == TN_PLANE_PING_ICMP) {
        ping->peer->plane->echos--;
    }

    ping->peer = NULL;
    ping->fn(ping->data, now, pong);
}
