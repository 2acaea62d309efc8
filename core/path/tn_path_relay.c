
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory: a place on a peer relay, sought by its client (upstream:
 * relayManager).
 *
 * While payload for a peer has no trusted direct path, every server that the
 * packet filter lets us use is asked for a place that we share with the peer,
 * each 30 s at most, or each 60 s once a place is in use.  A server is asked
 * over DERP; our own is asked at once.  The place that is given is told to
 * the peer (CallMeMaybeVia, over DERP), and both bind their side of it:
 *
 *   asked       an answer makes it given; asked again after 3 s, given up
 *               after 10 s
 *   given       Bind to all addresses of the relay.  The first address that
 *               answers with a Challenge is the one that is used
 *   challenged  Answer, and a ping to the peer behind it.  Any ping from the
 *               peer is answered, and followed by one of ours
 *   pong        the place works: tn_path_peer_relayed() decides, and the
 *               search for this place is over
 *
 * After 30 s, or when the server's time for binding is over, a place is given
 * up.  A newer one (by the server's Lamport id) on the same relay for the
 * same peer replaces an older.
 *
 * Beyond upstream: Bind, Answer and ping are repeated after 1, 3, 5, ... 15 s,
 * as each may be lost; a Challenge has to be for the generation of our Bind, so
 * that one of a former try changes nothing; generations grow over restarts;
 * a place has to be for our key and the caller's; places sought are limited.
 */

#include "tn_path_private.h"

#include <stdlib.h>


#define TN_PATH_NS_MS  1000000


static void tn_path_place_ask(tn_path_member_t *peer, tn_ms_t now,
    tn_path_member_t *server);
static void tn_path_place_ask_own(tn_path_member_t *peer, tn_ms_t now);
static void tn_path_place_request(tn_path_place_t *place, tn_ms_t now);
static void tn_path_place_offered(tn_path_member_t *peer, tn_ms_t now,
    const tn_disco_relay_t *relay, const tn_disco_addrs_t *addrs, bool own);
static bool tn_path_place_is_ours(const tn_path_member_t *peer,
    const tn_disco_relay_t *relay);
static void tn_path_place_call(tn_path_member_t *peer, tn_ms_t now,
    const tn_disco_relay_t *relay, const tn_disco_addrs_t *addrs);
static void tn_path_place_bind(tn_path_place_t *place);
static void tn_path_place_answer(tn_path_place_t *place);
static void tn_path_place_ping(tn_path_place_t *place, tn_ms_t now);
static tn_path_place_t *tn_path_place_at(tn_path_t *path,
    const tn_path_from_t *from);
static tn_path_place_t *tn_path_place_new(tn_path_member_t *peer,
    tn_ms_t until);
static void tn_path_place_arm(tn_path_place_t *place, tn_ms_t at);
static void tn_path_place_timer(void *data, tn_ms_t now);
static void tn_path_place_free(tn_path_place_t *place);


void
tn_path_relay_search(tn_path_member_t *peer, tn_ms_t now)
{
    size_t      n;
    tn_path_t  *path;
    tn_link_t  *link, *first;

    path = peer->pub.path;

    if ((tn_list_empty(&path->servers) && !path->own_relay)
        || !peer->relay_capable || peer->disco == NULL || peer->expired
        || peer->wireguard_only || path->knobs.no_relay
        || path->knobs.only_tcp_443)
    {
        return;
    }

    if (peer->searched != 0
        && now - peer->searched < TN_PATH_RELAY_EVERY_MS)
    {
        return;
    }

    /* one that came by the peer's call is the peer's to better */

    if (tn_path_is_trusted(peer, now)
        && (tn_path_is_direct(peer) || peer->searched == 0
            || now - peer->searched < TN_PATH_RELAY_UPGRADE_MS))
    {
        return;
    }

    peer->searched = now;

    if (!tn_list_empty(&peer->places)) {
        return;
    }

    if (path->own_relay) {
        tn_path_place_ask_own(peer, now);
    }

    /* who was asked goes to the end of the queue: all get their turn */

    first = NULL;

    for (n = 0; n < TN_PATH_RELAY_PEER_MAX; n++) {

        if (tn_list_empty(&path->servers) || path->servers.next == first) {
            return;
        }

        link = tn_list_shift(&path->servers);
        tn_list_push(&path->servers, link);
        first = first ? first : link;

        tn_path_place_ask(peer, now, tn_container(link, tn_path_member_t,
                                                  server_link));
    }
}


void
tn_path_relay_forget(tn_path_member_t *peer, bool asked)
{
    tn_link_t        *link, *tmp;
    tn_path_place_t  *place;

    tn_list_each_safe(link, tmp, &peer->pub.path->places) {
        place = tn_container(link, tn_path_place_t, link);

        if (place->peer == peer || (asked && place->server == peer)) {
            tn_path_place_free(place);
        }
    }
}


void
tn_path_relay_given(tn_path_t *path, tn_ms_t now,
    const tn_path_member_t *server, const tn_disco_msg_t *msg)
{
    tn_link_t         *link;
    tn_path_place_t   *place;
    tn_path_member_t  *peer;

    tn_list_each(link, &path->places) {
        place = tn_container(link, tn_path_place_t, link);
        peer = place->peer;

        if (place->server == server && place->generation == msg->generation) {

            if (!tn_path_place_is_ours(peer, &msg->relay)) {
                return;
            }

            tn_path_place_free(place);
            tn_path_place_offered(peer, now, &msg->relay, &msg->addrs, true);
            return;
        }
    }
}


void
tn_path_relay_called(tn_path_member_t *peer, tn_ms_t now,
    const tn_disco_msg_t *msg)
{
    tn_path_t  *path;

    path = peer->pub.path;

    if (!peer->relay_capable || peer->expired || path->knobs.no_relay
        || path->knobs.only_tcp_443
        || !tn_path_place_is_ours(peer, &msg->relay))
    {
        return;
    }

    path->counters.calls_received++;
    tn_path_place_offered(peer, now, &msg->relay, &msg->addrs, false);
}


void
tn_path_relay_control(tn_path_t *path, tn_ms_t now,
    const tn_path_from_t *from, const uint8_t *bytes, size_t len)
{
    bool              forged;
    tn_link_t        *link;
    tn_disco_msg_t    msg;
    const tn_key_t   *sender;
    tn_path_place_t  *place;

    sender = tn_disco_sender(bytes, len);
    forged = false;

    if (sender == NULL || from->addr.port == 0) {
        return;
    }

    tn_list_each(link, &path->places) {
        place = tn_container(link, tn_path_place_t, link);

        if (place->server != NULL || place->relay.vni != from->vni
            || !tn_key_equal(&place->relay.server, sender))
        {
            continue;
        }

        if (tn_disco_open(&place->box, bytes, len, path->scratch,
                          sizeof(path->scratch), &msg)
            != TN_OK)
        {
            forged = true;
            break;
        }

        if (msg.type != TN_DISCO_BIND_CHALLENGE
            || msg.vni != place->relay.vni
            || msg.generation != place->generation
            || !tn_key_equal(&msg.key, &place->peer->disco->key))
        {
            continue;
        }

        /* the relay binds one address, the first that it heard from */

        if (place->from.port != 0 || tn_path_place_at(path, from) != NULL) {
            return;
        }

        place->from = from->addr;
        memcpy(place->challenge, msg.challenge, TN_DISCO_CHALLENGE);
        place->tries = 0;

        tn_path_place_answer(place);
        tn_path_place_ping(place, now);
        tn_path_place_arm(place, now + TN_PATH_RELAY_AGAIN_MS);
        return;
    }

    if (forged) {
        path->counters.disco_forged++;

    } else {
        path->counters.disco_unknown++;
    }
}


/* it has passed the relay: our own ping may have come too early */
void
tn_path_relay_pinged(tn_path_t *path, tn_ms_t now,
    const tn_path_disco_t *disco, const tn_path_from_t *from)
{
    tn_path_place_t  *place;

    place = tn_path_place_at(path, from);

    if (place != NULL && place->peer->disco == disco) {
        tn_path_place_ping(place, now);
    }
}


void
tn_path_relay_pong(tn_path_t *path, tn_ms_t now,
    const tn_path_disco_t *disco, const tn_path_from_t *from,
    const tn_disco_msg_t *pong)
{
    uint32_t           i;
    uint64_t           rtt;
    tn_key_t           server;
    tn_path_place_t   *place;
    tn_path_member_t  *peer;

    place = tn_path_place_at(path, from);

    if (place == NULL || place->peer->disco != disco) {
        return;
    }

    for (i = 0; i < place->npings; i++) {
        if (memcmp(place->txids[i], pong->txid, TN_DISCO_TXID) == 0) {
            break;
        }
    }

    if (i == place->npings) {
        return;
    }

    rtt = tn_path_us(path, now);
    rtt = rtt > place->sent_us[i] ? rtt - place->sent_us[i] : 0;
    rtt = tn_max(tn_min(rtt, (uint64_t) TN_PATH_RELAY_BIND_MS * 1000),
                 (uint64_t) 1);

    path->counters.pongs_received++;
    path->counters.relay_bound++;

    peer = place->peer;
    server = place->relay.server;
    tn_path_place_free(place);

    tn_path_peer_relayed(peer, now, &from->addr, from->vni, &server,
                         (uint32_t) rtt);
}


static void
tn_path_place_ask(tn_path_member_t *peer, tn_ms_t now,
    tn_path_member_t *server)
{
    tn_path_t        *path;
    tn_path_place_t  *place;

    path = peer->pub.path;

    if (!server->relay_capable || server->expired || server->disco == NULL
        || server->pub.derp == 0)
    {
        return;
    }

    place = tn_path_place_new(peer, now + TN_PATH_RELAY_ASK_MS);

    if (place == NULL) {
        return;
    }

    place->server = server;
    place->generation = ++path->asks;

    tn_path_place_request(place, now);
    tn_path_place_arm(place, now + TN_PATH_RELAY_RETRY_MS);
}


static void
tn_path_place_ask_own(tn_path_member_t *peer, tn_ms_t now)
{
    tn_key_t          client[2];
    tn_path_t        *path;
    tn_disco_addrs_t  addrs;
    tn_disco_relay_t  relay;

    path = peer->pub.path;
    client[0] = path->disco.pub;
    client[1] = peer->disco->key;

    if (path->ops->relay_allocate == NULL
        || path->ops->relay_allocate(path->data, now, &path->disco.pub,
                                     client, &relay)
           != TN_OK)
    {
        return;
    }

    path->counters.relay_asked++;
    memset(&addrs, 0, sizeof(tn_disco_addrs_t));
    tn_path_own_addrs(path, &addrs);
    tn_path_place_offered(peer, now, &relay, &addrs, true);
}


static void
tn_path_place_request(tn_path_place_t *place, tn_ms_t now)
{
    int                order;
    size_t             len;
    tn_path_t         *path;
    tn_disco_msg_t     msg;
    const tn_key_t    *own, *other;
    tn_path_member_t  *server;

    server = place->server;
    path = server->pub.path;
    own = &path->disco.pub;
    other = &place->peer->disco->key;
    order = memcmp(own->b, other->b, TN_KEY_LEN);

    memset(&msg, 0, sizeof(tn_disco_msg_t));
    msg.type = TN_DISCO_ALLOCATE_REQUEST;
    msg.generation = place->generation;
    msg.client[0] = order < 0 ? *own : *other;
    msg.client[1] = order < 0 ? *other : *own;

    len = tn_path_disco_make(path, server->disco, &msg);

    if (len != 0) {
        path->counters.relay_asked++;
        (void) tn_path_derp_send(path, now, server, server->pub.derp,
                                 &server->node_key, path->out, len);
    }
}


/* `own`: we have asked for it, so that the peer is to be told */
static void
tn_path_place_offered(tn_path_member_t *peer, tn_ms_t now,
    const tn_disco_relay_t *relay, const tn_disco_addrs_t *addrs, bool own)
{
    uint32_t          i;
    uint64_t          ms;
    tn_path_t        *path;
    tn_link_t        *link, *tmp;
    tn_path_place_t  *place;

    path = peer->pub.path;

    if (relay->vni == 0 || relay->vni > TN_GENEVE_VNI_MAX || addrs->n == 0
        || tn_key_is_zero(&relay->server)
        || tn_key_equal(&relay->server, &path->disco.pub))
    {
        return;
    }

    tn_list_each_safe(link, tmp, &peer->places) {
        place = tn_container(link, tn_path_place_t, peer_link);

        if (place->server == NULL
            && tn_key_equal(&place->relay.server, &relay->server))
        {
            if (relay->lamport <= place->relay.lamport) {
                return;
            }

            tn_path_place_free(place);
        }
    }

    if (own) {
        tn_path_place_call(peer, now, relay, addrs);
    }

    /*
     * The way that is in use.  To bind it again could move it to another
     * address of ours, and the relay would drop what is under way.
     */

    if (peer->pub.vni == relay->vni && tn_path_is_trusted(peer, now)
        && tn_key_equal(&peer->via_server, &relay->server))
    {
        return;
    }

    ms = tn_min(relay->bind_lifetime_ns / TN_PATH_NS_MS,
                (uint64_t) TN_PATH_RELAY_BIND_MS);
    place = tn_path_place_new(peer, now + ms);

    if (place == NULL) {
        return;
    }

    if (tn_box_key(&place->box, &relay->server, &path->disco.priv) != TN_OK) {
        tn_path_place_free(place);
        return;
    }

    place->relay = *relay;

    for (i = 0; i < addrs->n && place->naddrs < TN_PATH_RELAY_ADDRS; i++) {
        if (addrs->addr[i].port != 0 && !tn_ip_is_none(&addrs->addr[i].ip)
            && !tn_ip_is_multicast(&addrs->addr[i].ip)
            && !tn_ip_is_tailscale(&addrs->addr[i].ip))
        {
            place->addrs[place->naddrs++] = addrs->addr[i];
        }
    }

    /* of this boot's clock too: a relay outlives this process */

    path->binds = tn_max(path->binds + 1, (uint32_t) (now / 100));
    path->binds += path->binds == 0;
    place->generation = path->binds;

    tn_path_place_bind(place);
    tn_path_place_arm(place, now + TN_PATH_RELAY_AGAIN_MS);
}


static bool
tn_path_place_is_ours(const tn_path_member_t *peer,
    const tn_disco_relay_t *relay)
{
    uint32_t         i;
    const tn_key_t  *own;

    own = &peer->pub.path->disco.pub;
    i = tn_key_equal(&relay->client[1], own);

    return peer->disco != NULL && tn_key_equal(&relay->client[i], own)
           && tn_key_equal(&relay->client[1 - i], &peer->disco->key);
}


static void
tn_path_place_call(tn_path_member_t *peer, tn_ms_t now,
    const tn_disco_relay_t *relay, const tn_disco_addrs_t *addrs)
{
    size_t           len;
    tn_path_t       *path;
    tn_disco_msg_t   msg;

    path = peer->pub.path;

    if (peer->pub.derp == 0) {
        return;
    }

    memset(&msg, 0, sizeof(tn_disco_msg_t));
    msg.type = TN_DISCO_CALL_ME_MAYBE_VIA;
    msg.relay = *relay;
    msg.addrs = *addrs;

    len = tn_path_disco_make(path, peer->disco, &msg);

    if (len != 0) {
        path->counters.calls_sent++;
        (void) tn_path_derp_send(path, now, peer, peer->pub.derp,
                                 &peer->node_key, path->out, len);
    }
}


static void
tn_path_place_bind(tn_path_place_t *place)
{
    size_t           len;
    uint32_t         i;
    tn_path_t       *path;
    tn_disco_msg_t   msg;

    path = place->peer->pub.path;

    memset(&msg, 0, sizeof(tn_disco_msg_t));
    msg.type = TN_DISCO_BIND;
    msg.vni = place->relay.vni;
    msg.generation = place->generation;
    msg.key = place->peer->disco->key;

    len = tn_path_disco_make_box(path, &place->box, &msg);

    for (i = 0; i < place->naddrs && len != 0; i++) {
        (void) tn_path_disco_send(path, &place->addrs[i], place->relay.vni,
                                  true, len);
    }
}


static void
tn_path_place_answer(tn_path_place_t *place)
{
    size_t           len;
    tn_path_t       *path;
    tn_disco_msg_t   msg;

    path = place->peer->pub.path;

    memset(&msg, 0, sizeof(tn_disco_msg_t));
    msg.type = TN_DISCO_BIND_ANSWER;
    msg.vni = place->relay.vni;
    msg.generation = place->generation;
    msg.key = place->peer->disco->key;
    memcpy(msg.challenge, place->challenge, TN_DISCO_CHALLENGE);

    len = tn_path_disco_make_box(path, &place->box, &msg);

    if (len != 0) {
        (void) tn_path_disco_send(path, &place->from, place->relay.vni, true,
                                  len);
    }
}


static void
tn_path_place_ping(tn_path_place_t *place, tn_ms_t now)
{
    size_t           len;
    tn_path_t       *path;
    tn_disco_msg_t   msg;

    path = place->peer->pub.path;

    if (place->npings == TN_PATH_RELAY_PINGS) {
        return;
    }

    memset(&msg, 0, sizeof(tn_disco_msg_t));
    msg.type = TN_DISCO_PING;
    msg.key = path->node.pub;
    tn_random(msg.txid, TN_DISCO_TXID);

    memcpy(place->txids[place->npings], msg.txid, TN_DISCO_TXID);
    place->sent_us[place->npings++] = tn_path_us(path, now);

    len = tn_path_disco_make(path, place->peer->disco, &msg);

    if (len != 0) {
        path->counters.pings_sent++;
        (void) tn_path_disco_send(path, &place->from, place->relay.vni,
                                  false, len);
    }
}


/* that was challenged from there */
static tn_path_place_t *
tn_path_place_at(tn_path_t *path, const tn_path_from_t *from)
{
    tn_link_t        *link;
    tn_path_place_t  *place;

    tn_list_each(link, &path->places) {
        place = tn_container(link, tn_path_place_t, link);

        if (place->from.port != 0 && place->relay.vni == from->vni
            && tn_addr_equal(&place->from, &from->addr))
        {
            return place;
        }
    }

    return NULL;
}


/* NULL when out of memory, or there are too many */
static tn_path_place_t *
tn_path_place_new(tn_path_member_t *peer, tn_ms_t until)
{
    uint32_t          n;
    tn_path_t        *path;
    tn_link_t        *link;
    tn_path_place_t  *place;

    path = peer->pub.path;
    n = 0;

    tn_list_each(link, &peer->places) {
        n++;
    }

    /* half of a peer's are left for what it offers itself */

    if (n >= 2 * TN_PATH_RELAY_PEER_MAX
        || path->nplaces >= TN_PATH_RELAY_MAX)
    {
        return NULL;
    }

    place = calloc(1, sizeof(tn_path_place_t));

    if (place == NULL) {
        return NULL;
    }

    place->peer = peer;
    place->until = until;
    tn_timer_init(&place->timer, tn_path_place_timer, place);
    tn_list_push(&path->places, &place->link);
    tn_list_push(&peer->places, &place->peer_link);
    path->nplaces++;

    return place;
}


/* frees it when there is no memory for the timer */
static void
tn_path_place_arm(tn_path_place_t *place, tn_ms_t at)
{
    if (tn_timer_set(place->peer->pub.path->timers, &place->timer,
                     tn_min(at, place->until))
        != TN_OK)
    {
        tn_path_place_free(place);
    }
}


static void
tn_path_place_timer(void *data, tn_ms_t now)
{
    tn_path_place_t  *place;

    place = data;

    if (now >= place->until) {
        tn_path_place_free(place);
        return;
    }

    place->tries++;

    if (place->server != NULL) {
        if (place->tries == 1) {
            tn_path_place_request(place, now);
        }

        tn_path_place_arm(place, place->until);
        return;
    }

    if (place->from.port == 0) {
        tn_path_place_bind(place);

    } else {
        tn_path_place_answer(place);
        tn_path_place_ping(place, now);
    }

    tn_path_place_arm(place, place->tries < TN_PATH_RELAY_TRIES
                             ? now + 2 * TN_PATH_RELAY_AGAIN_MS
                             : place->until);
}


static void
tn_path_place_free(tn_path_place_t *place)
{
    tn_path_t  *path;

    path = place->peer->pub.path;

    tn_timer_cancel(path->timers, &place->timer);
    tn_list_remove(&place->link);
    tn_list_remove(&place->peer_link);
    path->nplaces--;

    tn_wipe(place, sizeof(tn_path_place_t));
    free(place);
}
