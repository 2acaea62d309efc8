
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Disco messages in and out.  What is read is believed as far as its box
 * goes: the sender has the private half of a disco key that control named
 * for a peer.  Anything else is dropped before it changes a state: an
 * unknown sender costs a hash probe, a forged box one decryption.  What one
 * disco key may send is bounded by a token bucket.
 *
 * Pings that wait for an answer stand in one table by their transaction,
 * and in one queue, as all wait equally long: one timer serves them all.
 */

#include "tn_path_private.h"

#include <stdlib.h>


/* what upstream takes as the address of a DERP region: its port is the id */
static const uint8_t  tn_path_derp_ip[4] = { 127, 3, 3, 40 };

#define TN_PATH_PING_BODY  (2 + TN_DISCO_TXID + TN_KEY_LEN)
#define TN_PATH_IP4        28       /* headers of IP and UDP */
#define TN_PATH_IP6        48

/* upstream: WireMTUsToProbe */
static const uint32_t  tn_path_mtus[] = {
    1280, 1360, 1400, 1500, 8000, TN_PATH_MTU_MAX
};


static bool tn_path_disco_take(tn_path_disco_t *disco, tn_ms_t now,
    uint32_t tokens);
static bool tn_path_disco_box(tn_path_t *path, tn_path_disco_t *disco);
static tn_path_member_t *tn_path_disco_member(tn_path_disco_t *disco,
    tn_path_t *path, const tn_key_t *node_key);
static void tn_path_disco_ping(tn_path_t *path, tn_ms_t now,
    tn_path_disco_t *disco, const tn_path_from_t *from,
    const tn_disco_msg_t *ping);
static void tn_path_disco_pong(tn_path_t *path, tn_ms_t now,
    const tn_path_disco_t *disco, const tn_path_from_t *from,
    const tn_disco_msg_t *pong);
static void tn_path_disco_allocate(tn_path_t *path, tn_ms_t now,
    tn_path_member_t *peer, uint32_t region, const tn_disco_msg_t *request);
static bool tn_path_disco_is_dead(const tn_path_disco_t *disco);
static tn_path_ping_t *tn_path_ping_new(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *to, uint32_t region, uint32_t mtu, size_t *len);
static tn_rc_t tn_path_ping_udp(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *to, uint32_t vni, tn_path_asked_t *asked, uint32_t mtu,
    bool lifetime);
static void tn_path_asked_answer(tn_path_asked_t *asked, tn_ms_t now,
    const tn_path_pong_t *pong);
static void tn_path_asked_release(tn_path_asked_t *asked, tn_ms_t now,
    tn_rc_t rc);
static void tn_path_pings_arm(tn_path_t *path);
static void tn_path_ping_free(tn_path_t *path, tn_path_ping_t *ping);


tn_path_disco_t *
tn_path_disco_get(tn_path_t *path, const tn_key_t *key)
{
    tn_hash_node_t   *link;
    tn_path_disco_t  *disco;

    link = tn_hash_find(&path->discos, key->b);

    if (link != NULL) {
        return tn_container(link, tn_path_disco_t, link);
    }

    disco = calloc(1, sizeof(tn_path_disco_t));

    if (disco == NULL) {
        return NULL;
    }

    disco->key = *key;
    disco->link.key = disco->key.b;
    disco->tokens = TN_PATH_DISCO_BURST;
    tn_list_init(&disco->members);

    if (tn_hash_insert(&path->discos, &disco->link) != TN_OK) {
        free(disco);
        return NULL;
    }

    return disco;
}


void
tn_path_disco_join(tn_path_disco_t *disco, tn_path_member_t *peer)
{
    peer->disco = disco;
    tn_list_push(&disco->members, &peer->disco_link);
}


/* the key goes with the last peer that has it */
void
tn_path_disco_leave(tn_path_t *path, tn_path_member_t *peer)
{
    tn_path_disco_t  *disco;

    disco = peer->disco;

    if (disco == NULL) {
        return;
    }

    peer->disco = NULL;
    tn_list_remove(&peer->disco_link);

    if (tn_list_empty(&disco->members)) {
        tn_hash_remove(&path->discos, &disco->link);
        tn_wipe(&disco->box, sizeof(tn_box_key_t));
        free(disco);
    }
}


void
tn_path_disco_input(tn_path_t *path, tn_ms_t now, const tn_path_from_t *from,
    const uint8_t *bytes, size_t len)
{
    tn_hash_node_t    *link;
    tn_disco_msg_t     msg;
    const tn_key_t    *sender;
    tn_path_disco_t   *disco;
    tn_path_member_t  *peer;

    sender = tn_disco_sender(bytes, len);
    link = sender ? tn_hash_find(&path->discos, sender->b) : NULL;

    if (link == NULL && sender != NULL && path->ops->absent_disco != NULL) {
        path->ops->absent_disco(path->data, now, sender);
        link = tn_hash_find(&path->discos, sender->b);
    }

    if (link == NULL) {
        path->counters.disco_unknown++;
        return;
    }

    disco = tn_container(link, tn_path_disco_t, link);

    if (!tn_path_disco_box(path, disco)
        || tn_disco_open(&disco->box, bytes, len, path->scratch,
                         sizeof(path->scratch), &msg)
           != TN_OK)
    {
        path->counters.disco_forged++;
        return;
    }

    /* after the box: who forges a sender must not spend its budget */

    if (!tn_path_disco_take(disco, now, 1)) {
        path->counters.disco_limited++;
        return;
    }

    switch (msg.type) {

    case TN_DISCO_PING:
        path->counters.pings_received++;
        tn_path_disco_ping(path, now, disco, from, &msg);
        break;

    case TN_DISCO_PONG:
        tn_path_disco_pong(path, now, disco, from, &msg);
        break;

    case TN_DISCO_CALL_ME_MAYBE:

        /* only by DERP, from the node that the netmap gives this key */

        peer = from->region ? tn_path_disco_member(disco, path, &from->key)
                            : NULL;

        if (peer != NULL
            && tn_path_disco_take(disco, now, TN_PATH_DISCO_CALL))
        {
            path->counters.calls_received++;
            tn_path_peer_called(peer, now, &msg.addrs);
        }

        break;

    case TN_DISCO_ALLOCATE_REQUEST:

        /* as above: who asks is then beyond doubt */

        peer = from->region ? tn_path_disco_member(disco, path, &from->key)
                            : NULL;

        if (peer != NULL && peer->relay && !peer->expired
            && tn_path_disco_take(disco, now, TN_PATH_DISCO_CALL))
        {
            tn_path_disco_allocate(path, now, peer, from->region, &msg);
        }

        break;

    case TN_DISCO_ALLOCATE_RESPONSE:
        peer = from->region ? tn_path_disco_member(disco, path, &from->key)
                            : NULL;

        if (peer != NULL) {
            tn_path_relay_given(path, now, peer, &msg);
        }

        break;

    case TN_DISCO_CALL_ME_MAYBE_VIA:
        peer = from->region ? tn_path_disco_member(disco, path, &from->key)
                            : NULL;

        if (peer != NULL
            && tn_path_disco_take(disco, now, TN_PATH_DISCO_CALL))
        {
            tn_path_relay_called(peer, now, &msg);
        }

        break;

    default:    /* between a relay and its clients, by tn_path_relay_control */
        break;
    }
}


tn_rc_t
tn_path_probe(tn_path_member_t *peer, tn_ms_t now, const tn_addr_t *to,
    uint32_t vni, tn_path_asked_t *asked)
{
    return tn_path_ping_udp(peer, now, to, vni, asked, 0, false);
}


tn_rc_t
tn_path_probe_lifetime(tn_path_member_t *peer, tn_ms_t now)
{
    return tn_path_ping_udp(peer, now, &peer->pub.best, 0, NULL, 0, true);
}


void
tn_path_probe_mtu(tn_path_member_t *peer, tn_ms_t now, const tn_addr_t *to)
{
    size_t  i;

    for (i = 0; i < tn_nelems(tn_path_mtus); i++) {
        (void) tn_path_ping_udp(peer, now, to, 0, NULL, tn_path_mtus[i],
                                false);
    }
}


tn_rc_t
tn_path_probe_derp(tn_path_member_t *peer, tn_ms_t now,
    tn_path_asked_t *asked, uint32_t size)
{
    tn_rc_t          rc;
    size_t           len;
    tn_path_t       *path;
    tn_path_ping_t  *ping;

    static const tn_addr_t  nowhere;

    path = peer->pub.path;

    if (peer->disco == NULL || peer->pub.derp == 0) {
        return TN_NOTFOUND;
    }

    ping = tn_path_ping_new(peer, now, &nowhere, peer->pub.derp, size, &len);

    if (ping == NULL) {
        return TN_NOMEM;
    }

    rc = tn_path_derp_send(path, now, peer, peer->pub.derp, &peer->node_key,
                           path->out, len);

    if (rc != TN_OK) {
        tn_path_ping_free(path, ping);
        return rc;
    }

    path->counters.pings_sent++;
    ping->asked = asked;

    if (asked != NULL) {
        asked->refs++;
    }

    return TN_OK;
}


tn_rc_t
tn_path_ping(tn_path_peer_t *pub, tn_ms_t now, tn_path_pong_pt fn, void *data)
{
    tn_path_route_t    route;
    tn_path_asked_t   *asked;
    tn_path_member_t  *peer;

    peer = tn_path_member(pub);

    if (peer->expired || peer->disco == NULL) {
        return TN_NOTFOUND;
    }

    asked = calloc(1, sizeof(tn_path_asked_t));

    if (asked == NULL) {
        return TN_NOMEM;
    }

    asked->fn = fn;
    asked->data = data;

    tn_path_route(pub, now, &route);

    if (route.udp.port != 0) {
        (void) tn_path_probe(peer, now, &route.udp, route.vni, asked);
    }

    if (route.derp != 0) {
        (void) tn_path_probe_derp(peer, now, asked, 0);
    }

    tn_path_sent(pub, now);

    if (asked->refs == 0) {
        free(asked);
        return TN_NOTFOUND;
    }

    return TN_OK;
}


void
tn_path_pings_forget(tn_path_member_t *peer)
{
    tn_link_t       *link, *tmp;
    tn_path_ping_t  *ping;

    tn_list_each_safe(link, tmp, &peer->pub.path->pings_fifo) {
        ping = tn_container(link, tn_path_ping_t, fifo);

        if (ping->peer == peer) {
            tn_path_asked_release(ping->asked, ping->at, TN_CLOSED);
            tn_path_ping_free(peer->pub.path, ping);
        }
    }
}


void
tn_path_pings_timer(void *data, tn_ms_t now)
{
    bool               udp, longer;
    uint32_t           vni;
    tn_addr_t          to;
    tn_path_t         *path;
    tn_path_ping_t    *ping;
    tn_path_asked_t   *asked;
    tn_path_member_t  *peer;

    path = data;

    while (!tn_list_empty(&path->pings_fifo)) {
        ping = tn_container(path->pings_fifo.next, tn_path_ping_t, fifo);

        if (now - ping->at < TN_PATH_PING_TIMEOUT_MS) {
            break;
        }

        peer = ping->peer;
        to = ping->to;
        vni = ping->vni;
        udp = ping->region == 0 && ping->size == 0 && !ping->lifetime;
        longer = ping->region != 0 && ping->size != 0;
        asked = ping->asked;

        path->counters.pings_lost++;
        tn_path_ping_free(path, ping);

        if (udp) {
            tn_path_peer_ping_lost(peer, now, &to, vni);
        }

        if (longer) {
            tn_path_long_lost(peer, now);
        }

        tn_path_asked_release(asked, now, TN_AGAIN);
    }

    tn_path_pings_arm(path);
}


void
tn_path_call(tn_path_member_t *peer, tn_ms_t now)
{
    size_t           len;
    uint32_t         i;
    tn_path_t       *path;
    tn_disco_msg_t   msg;

    path = peer->pub.path;

    if (path->endpoints_at == 0
        || now - path->endpoints_at >= TN_PATH_FRESH_MS)
    {
        tn_list_remove(&peer->call_link);
        tn_list_push(&path->calls, &peer->call_link);
        tn_path_restun(path, now, false);
        return;
    }

    if (peer->disco == NULL || peer->pub.derp == 0) {
        return;
    }

    memset(&msg, 0, sizeof(tn_disco_msg_t));
    msg.type = TN_DISCO_CALL_ME_MAYBE;

    for (i = 0; i < path->nendpoints && i < TN_DISCO_ADDRS_MAX; i++) {
        msg.addrs.addr[i] = path->endpoints[i].addr;
        msg.addrs.n++;
    }

    len = tn_path_disco_make(path, peer->disco, &msg);

    if (len != 0) {
        path->counters.calls_sent++;
        peer->call_sent = tn_path_derp_is_ready(path, peer->pub.derp) ? now
                                                                      : 0;
        (void) tn_path_derp_send(path, now, peer, peer->pub.derp,
                                 &peer->node_key, path->out, len);
    }
}


/* own endpoints are fresh: the calls that waited for that */
void
tn_path_call_all(tn_path_t *path, tn_ms_t now)
{
    tn_link_t  *link;

    while ((link = tn_list_shift(&path->calls)) != NULL) {
        tn_path_call(tn_container(link, tn_path_member_t, call_link), now);
    }
}


/*
 * The relay is connected to again.  What moved us has often killed the former
 * connection too, and what was sent over it last with it.
 */
void
tn_path_call_again(tn_path_t *path, tn_ms_t now, uint32_t region)
{
    tn_hash_node_t    *link;
    tn_path_member_t  *peer;

    for (link = tn_hash_next(&path->peers, NULL); link != NULL;
         link = tn_hash_next(&path->peers, link))
    {
        peer = tn_container(link, tn_path_member_t, link);

        if (peer->pub.derp == region && peer->call_sent != 0
            && now - peer->call_sent < TN_PATH_CALL_AGAIN_MS)
        {
            tn_path_call(peer, now);
        }
    }
}


static bool
tn_path_disco_take(tn_path_disco_t *disco, tn_ms_t now, uint32_t tokens)
{
    tn_ms_t  elapsed, gain;

    elapsed = now - disco->tokens_at;
    gain = elapsed * TN_PATH_DISCO_RATE / 1000;

    if (gain != 0) {
        gain = tn_min(gain, (tn_ms_t) TN_PATH_DISCO_BURST);
        disco->tokens = (uint32_t) tn_min(disco->tokens + gain,
                                          (tn_ms_t) TN_PATH_DISCO_BURST);
        disco->tokens_at = now;
    }

    if (disco->tokens < tokens) {
        return false;
    }

    disco->tokens -= tokens;

    return true;
}


/* X25519 once per key, and only for those that are heard from or called */
static bool
tn_path_disco_box(tn_path_t *path, tn_path_disco_t *disco)
{
    if (!disco->have_box) {
        disco->have_box = tn_box_key(&disco->box, &disco->key,
                                     &path->disco.priv)
                          == TN_OK;
    }

    return disco->have_box;
}


/* the peer with this node key, if this disco key is its own */
static tn_path_member_t *
tn_path_disco_member(tn_path_disco_t *disco, tn_path_t *path,
    const tn_key_t *node_key)
{
    tn_path_peer_t    *pub;
    tn_path_member_t  *peer;

    pub = tn_path_peer_find(path, node_key);

    if (pub == NULL) {
        return NULL;
    }

    peer = tn_path_member(pub);

    return peer->disco == disco ? peer : NULL;
}


static void
tn_path_disco_ping(tn_path_t *path, tn_ms_t now, tn_path_disco_t *disco,
    const tn_path_from_t *from, const tn_disco_msg_t *ping)
{
    bool               fresh;
    size_t             len;
    tn_link_t         *link, *tmp;
    tn_disco_msg_t     pong;
    tn_path_member_t  *peer;

    memset(&pong, 0, sizeof(tn_disco_msg_t));
    pong.type = TN_DISCO_PONG;
    memcpy(pong.txid, ping->txid, TN_DISCO_TXID);

    if (from->region != 0) {
        peer = tn_path_disco_member(disco, path, &from->key);

        if (peer == NULL || peer->expired) {
            return;
        }

        pong.src.ip = tn_ip_from_v4(tn_path_derp_ip);
        pong.src.port = (uint16_t) from->region;
        pong.takes = tn_path_long_takes(ping->padding);

        len = tn_path_disco_make(path, disco, &pong);

        if (len != 0) {
            path->counters.pongs_sent++;
            (void) tn_path_derp_send(path, now, peer, from->region,
                                     &peer->node_key, path->out, len);
        }

        return;
    }

    /* its place on the relay is one whether we know of it or not */

    if (from->vni != 0) {
        if (tn_path_disco_is_dead(disco)) {
            return;
        }

        pong.src = from->addr;
        len = tn_path_disco_make(path, disco, &pong);

        if (len != 0) {
            path->counters.pongs_sent++;
            (void) tn_path_disco_send(path, &from->addr, from->vni, false,
                                      len);
        }

        tn_path_relay_pinged(path, now, disco, from);
        return;
    }

    /* its node key tells nodes apart that share a disco key */

    peer = tn_path_disco_member(disco, path, &ping->key);

    if (peer != NULL) {
        if (peer->expired
            || !tn_path_peer_pinged(peer, now, &from->addr, ping->txid))
        {
            return;
        }

    } else {
        fresh = false;

        tn_list_each_safe(link, tmp, &disco->members) {
            peer = tn_container(link, tn_path_member_t, disco_link);

            if (!peer->expired
                && tn_path_peer_pinged(peer, now, &from->addr, ping->txid))
            {
                fresh = true;
            }
        }

        if (!fresh) {
            return;
        }
    }

    pong.src = from->addr;
    len = tn_path_disco_make(path, disco, &pong);

    if (len != 0) {
        path->counters.pongs_sent++;
        (void) path->ops->send_udp(path->data, &from->addr, path->out, len);
    }
}


static void
tn_path_disco_pong(tn_path_t *path, tn_ms_t now, const tn_path_disco_t *disco,
    const tn_path_from_t *from, const tn_disco_msg_t *pong)
{
    uint64_t           rtt;
    tn_path_pong_t     answer;
    tn_path_ping_t     ping;
    tn_hash_node_t    *link;

    link = tn_hash_find(&path->pings, pong->txid);

    if (link == NULL) {
        if (from->vni != 0) {
            tn_path_relay_pong(path, now, disco, from, pong);
        }

        return;
    }

    ping = *tn_container(link, tn_path_ping_t, link);

    /*
     * The answer of another peer proves nothing, nor does one by DERP or
     * through another relay.
     */

    if (ping.peer->disco != disco || ping.vni != from->vni
        || (ping.vni != 0 && !tn_addr_equal(&ping.to, &from->addr))
        || (ping.region == 0) != (from->region == 0)
        || (ping.region != 0
            && !tn_key_equal(&ping.peer->node_key, &from->key)))
    {
        return;
    }

    rtt = tn_path_us(path, now);
    rtt = rtt > ping.at_us ? rtt - ping.at_us : 0;
    rtt = tn_max(tn_min(rtt, (uint64_t) TN_PATH_PING_TIMEOUT_MS * 1000),
                 (uint64_t) 1);

    path->counters.pongs_received++;
    tn_path_ping_free(path, tn_container(link, tn_path_ping_t, link));

    if (ping.region == 0) {
        if (ping.vni == 0) {
            tn_path_peer_seen(ping.peer, now, &ping.to, &pong->src);
        }

        tn_path_peer_pong(ping.peer, now, &ping, (uint32_t) rtt);

    } else if (ping.size != 0) {
        tn_path_long_answer(ping.peer, now, &ping, pong);

    } else {
        tn_path_peer_derp_pong(ping.peer, now, (uint32_t) rtt);
    }

    if (ping.asked != NULL) {
        memset(&answer, 0, sizeof(tn_path_pong_t));
        answer.rc = TN_OK;
        answer.latency_us = (uint32_t) rtt;
        answer.addr = ping.to;
        answer.vni = ping.vni;
        answer.region = ping.region;

        tn_path_asked_answer(ping.asked, now, &answer);
        tn_path_asked_release(ping.asked, now, TN_AGAIN);
    }
}


/* a place on our own relay: the answer goes the way the request came */
static void
tn_path_disco_allocate(tn_path_t *path, tn_ms_t now, tn_path_member_t *peer,
    uint32_t region, const tn_disco_msg_t *request)
{
    size_t          len;
    tn_disco_msg_t  msg;

    if (path->ops->relay_allocate == NULL || path->knobs.only_tcp_443) {
        return;
    }

    memset(&msg, 0, sizeof(tn_disco_msg_t));
    msg.type = TN_DISCO_ALLOCATE_RESPONSE;
    msg.generation = request->generation;

    if (path->ops->relay_allocate(path->data, now, &peer->disco->key,
                                  request->client, &msg.relay)
        != TN_OK)
    {
        return;
    }

    tn_path_own_addrs(path, &msg.addrs);

    if (msg.addrs.n == 0) {
        return;
    }

    len = tn_path_disco_make(path, peer->disco, &msg);

    if (len != 0) {
        (void) tn_path_derp_send(path, now, peer, region, &peer->node_key,
                                 path->out, len);
    }
}


/* `mtu` is the length of the IP packet it makes, 0: not padded */
static tn_rc_t
tn_path_ping_udp(tn_path_member_t *peer, tn_ms_t now, const tn_addr_t *to,
    uint32_t vni, tn_path_asked_t *asked, uint32_t mtu, bool lifetime)
{
    tn_rc_t          rc;
    size_t           len;
    tn_path_t       *path;
    tn_path_ping_t  *ping;

    path = peer->pub.path;

    if (peer->disco == NULL || path->knobs.only_tcp_443
        || (tn_ip_is_v4(&to->ip) ? path->port4 : path->port6) == 0)
    {
        return TN_NOTFOUND;
    }

    ping = tn_path_ping_new(peer, now, to, 0, mtu, &len);

    if (ping == NULL) {
        return TN_NOMEM;
    }

    ping->vni = vni;
    rc = tn_path_disco_send(path, to, vni, false, len);

    if (rc != TN_OK) {
        tn_path_ping_free(path, ping);
        return rc;
    }

    path->counters.pings_sent++;
    ping->lifetime = lifetime;
    ping->asked = asked;

    if (asked != NULL) {
        asked->refs++;
    }

    return TN_OK;
}


uint64_t
tn_path_us(const tn_path_t *path, tn_ms_t now)
{
    return path->ops->now_us ? path->ops->now_us(path->data) : now * 1000;
}


/* a ping in the table, and its message in path->out */
static tn_path_ping_t *
tn_path_ping_new(tn_path_member_t *peer, tn_ms_t now, const tn_addr_t *to,
    uint32_t region, uint32_t mtu, size_t *len)
{
    size_t           bare;
    tn_path_t       *path;
    tn_disco_msg_t   msg;
    tn_path_ping_t  *ping;

    path = peer->pub.path;

    if (path->pings.count >= TN_PATH_PINGS_MAX) {
        return NULL;
    }

    memset(&msg, 0, sizeof(tn_disco_msg_t));
    msg.type = TN_DISCO_PING;
    msg.key = path->node.pub;
    tn_random(msg.txid, TN_DISCO_TXID);

    if (mtu != 0) {
        bare = TN_DISCO_OVERHEAD + TN_PATH_PING_BODY;

        if (region == 0) {
            bare += tn_ip_is_v4(&to->ip) ? TN_PATH_IP4 : TN_PATH_IP6;
        }

        msg.padding = mtu > bare ? mtu - bare : 0;
    }

    *len = tn_path_disco_make(path, peer->disco, &msg);

    if (*len == 0) {
        return NULL;
    }

    ping = calloc(1, sizeof(tn_path_ping_t));

    if (ping == NULL) {
        return NULL;
    }

    memcpy(ping->txid, msg.txid, TN_DISCO_TXID);
    ping->link.key = ping->txid;
    ping->peer = peer;
    ping->to = *to;
    ping->region = region;
    ping->at = now;
    ping->at_us = tn_path_us(path, now);
    ping->size = mtu;

    if (tn_hash_insert(&path->pings, &ping->link) != TN_OK) {
        free(ping);
        return NULL;
    }

    tn_list_push(&path->pings_fifo, &ping->fifo);
    tn_path_pings_arm(path);

    return ping;
}


static void
tn_path_asked_answer(tn_path_asked_t *asked, tn_ms_t now,
    const tn_path_pong_t *pong)
{
    tn_path_pong_pt  fn;

    fn = asked->fn;

    if (fn != NULL) {
        asked->fn = NULL;
        fn(asked->data, now, pong);
    }
}


/* one of its pings is over; NULL is allowed */
static void
tn_path_asked_release(tn_path_asked_t *asked, tn_ms_t now, tn_rc_t rc)
{
    tn_path_pong_t  none;

    if (asked == NULL || --asked->refs != 0) {
        return;
    }

    memset(&none, 0, sizeof(tn_path_pong_t));
    none.rc = rc;
    tn_path_asked_answer(asked, now, &none);
    free(asked);
}


size_t
tn_path_disco_make(tn_path_t *path, tn_path_disco_t *disco,
    const tn_disco_msg_t *msg)
{
    return tn_path_disco_box(path, disco)
           ? tn_path_disco_make_box(path, &disco->box, msg) : 0;
}


size_t
tn_path_disco_make_box(tn_path_t *path, const tn_box_key_t *box,
    const tn_disco_msg_t *msg)
{
    size_t  len;

    return tn_disco_seal(box, &path->disco.pub, msg, path->plain, path->out,
                         sizeof(path->out), &len)
           == TN_OK ? len : 0;
}


tn_rc_t
tn_path_disco_send(tn_path_t *path, const tn_addr_t *to, uint32_t vni,
    bool control, size_t len)
{
    tn_writer_t  w;
    tn_geneve_t  geneve;

    if (path->knobs.only_tcp_443) {
        return TN_REFUSED;
    }

    if (vni == 0) {
        return path->ops->send_udp(path->data, to, path->out, len);
    }

    geneve.protocol = TN_GENEVE_DISCO;
    geneve.vni = vni;
    geneve.control = control;

    w = tn_writer(path->wrapped, sizeof(path->wrapped));
    tn_geneve_write(&w, &geneve);
    tn_write_bytes(&w, path->out, len);

    return w.bad ? TN_NOMEM
                 : path->ops->send_udp(path->data, to, path->wrapped,
                                       tn_writer_len(&w));
}


/* no peer with this key may be talked to */
static bool
tn_path_disco_is_dead(const tn_path_disco_t *disco)
{
    tn_link_t  *link;

    tn_list_each(link, &disco->members) {
        if (!tn_container(link, tn_path_member_t, disco_link)->expired) {
            return false;
        }
    }

    return true;
}


static void
tn_path_pings_arm(tn_path_t *path)
{
    tn_path_ping_t  *ping;

    if (tn_list_empty(&path->pings_fifo)) {
        tn_timer_cancel(path->timers, &path->pings_timer);
        return;
    }

    if (tn_timer_is_set(&path->pings_timer)) {
        return;
    }

    ping = tn_container(path->pings_fifo.next, tn_path_ping_t, fifo);

    (void) tn_timer_set(path->timers, &path->pings_timer,
                        ping->at + TN_PATH_PING_TIMEOUT_MS);
}


static void
tn_path_ping_free(tn_path_t *path, tn_path_ping_t *ping)
{
    tn_hash_remove(&path->pings, &ping->link);
    tn_list_remove(&ping->fifo);
    free(ping);
}
