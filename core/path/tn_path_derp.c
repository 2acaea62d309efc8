
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory: the DERP regions.
 *
 *   IDLE     no connection and none wanted
 *   OPENING  the host connects to a relay, or the login runs
 *   READY    packets pass
 *   WAITING  it failed; the timer starts the next try
 *
 * The home region is always wanted; another as long as something was to be
 * sent there in the last 60 s, which a sweep each 15 s looks after.  The
 * relays of a region are tried in the order of the map, each for 10 s, for
 * 4 s when there is another; after a round of all the wait doubles up to 5 s.
 * A connection that was good for 10 s starts anew without a wait, with the
 * first relay, or with the next one when its own hung: that would still take
 * a connection, and upstream never leaves such a one.
 *
 * A region is lost when three rounds have failed, and 15 s after the first of
 * them it is no home any more where there is another, though its STUN may
 * answer.  While it would be the better home it is connected to each 5 min,
 * and is as the others again when that has lasted for 10 s.
 * What fails while nobody answers, STUN or HTTPS, is the network's fault and
 * does not count.
 *
 * A relay that was connected to but did not take the upgrade is tried again
 * at once by WebSocket, which proxies know (upstream has that for browsers
 * alone).  What passed is tried first from then on; what did not is left.
 *
 * What is to be sent while a region is OPENING waits in a queue of 32
 * packets, so that the handshake which causes the opening is not lost; what
 * has waited over 3 s is dropped.
 *
 * A peer is reached by its home region; when that has no connection but
 * another one has, from which the peer was last heard, by that one
 * (upstream: derpRoute).  PeerGone ends such a route, and so does the end of
 * the connection: a route counts only with the session it was learnt in.
 */

#include "tn_path_private.h"

#include <stdio.h>
#include <stdlib.h>


#define TN_PATH_DERP_FIRST_MS  250
#define TN_PATH_DERP_GOOD_MS   10000
#define TN_PATH_DERP_LOST      3        /* rounds, then home is given up */

typedef struct {
    tn_link_t   link;
    tn_key_t    dst;
    tn_ms_t     at;
    size_t      len;
    uint8_t     bytes[];
} tn_path_queued_t;


static tn_path_region_t *tn_path_region_create(tn_path_t *path, uint32_t id);
static void tn_path_region_free(tn_path_region_t *region);
static tn_path_region_t *tn_path_region_reverse(
    const tn_path_member_t *peer);
static bool tn_path_region_is_wanted(const tn_path_region_t *region,
    tn_ms_t now);
static void tn_path_region_failed(tn_path_region_t *region, tn_ms_t now,
    const char *reason);
static void tn_path_region_timer(void *data, tn_ms_t now);
static void tn_path_region_arm(tn_path_region_t *region, tn_ms_t at);
static void tn_path_region_drop_queue(tn_path_region_t *region);
static tn_rc_t tn_path_region_enqueue(tn_path_region_t *region, tn_ms_t now,
    const tn_key_t *dst, const uint8_t *bytes, size_t len);

static tn_rc_t tn_path_region_write(void *data, const uint8_t *head,
    size_t head_len, const uint8_t *body, size_t body_len);
static void tn_path_region_ready(void *data, tn_ms_t now);
static void tn_path_region_packet(void *data, tn_ms_t now,
    const tn_key_t *src, uint8_t *bytes, size_t len, bool last);
static void tn_path_region_gone(void *data, tn_ms_t now,
    const tn_key_t *peer, bool never_here);
static void tn_path_region_health(void *data, tn_ms_t now, const char *text,
    size_t len);
static void tn_path_region_restarting(void *data, tn_ms_t now,
    uint32_t reconnect_in_ms, uint32_t try_for_ms);
static void tn_path_region_broken(void *data, tn_ms_t now,
    const char *reason);


static const tn_derp_client_ops_t  tn_path_region_ops = {
    tn_path_region_write,
    tn_path_region_ready,
    tn_path_region_packet,
    tn_path_region_gone,
    tn_path_region_health,
    tn_path_region_restarting,
    tn_path_region_broken
};


/* regions whose definition is the same keep their connections */
tn_rc_t
tn_path_regions_set(tn_path_t *path, const tn_derpmap_t *map)
{
    uint32_t                    i, k, id;
    tn_derpmap_t               *copy, *old_map;
    tn_path_region_t           *region, **regions, **old;
    const tn_derpmap_region_t  *was;

    copy = tn_derpmap_copy(map);
    regions = calloc(map->nregions + 1, sizeof(tn_path_region_t *));

    if (copy == NULL || regions == NULL) {
        goto failed;
    }

    for (i = 0; i < copy->nregions; i++) {
        id = copy->regions[i].id;
        was = path->map ? tn_derpmap_find(path->map, id) : NULL;

        if (was != NULL && tn_derpmap_region_equal(was, &copy->regions[i])) {
            continue;
        }

        regions[i] = tn_path_region_create(path, id);

        if (regions[i] == NULL) {
            goto failed;
        }
    }

    if (tn_netcheck_set_derpmap(path->netcheck, copy) != TN_OK
        || tn_netcheck_set_derpmap(path->own_check, copy) != TN_OK)
    {

        /* its former map goes with this call either way */

        goto failed_netcheck;
    }

    old_map = path->map;
    old = path->regions;

    path->map = copy;
    path->regions = regions;

    for (k = 0; old_map != NULL && k < old_map->nregions; k++) {
        region = old[k];

        for (i = 0; i < copy->nregions; i++) {
            if (copy->regions[i].id == region->id) {
                break;
            }
        }

        if (i < copy->nregions && regions[i] == NULL) {
            regions[i] = region;
            continue;
        }

        tn_log(path->log, TN_LOG_INFO,
               "path: DERP region %u is gone or redefined", region->id);

        if (region->id == path->home) {
            path->home = 0;
        }

        if (region->id == path->forced_home) {
            path->forced_home = 0;
        }

        tn_path_region_close(region);
        tn_path_region_free(region);
    }

    free(old);
    tn_derpmap_free(old_map);

    return TN_OK;

failed_netcheck:

    if (path->map != NULL) {
        (void) tn_netcheck_set_derpmap(path->netcheck, path->map);
        (void) tn_netcheck_set_derpmap(path->own_check, path->map);
    }

failed:

    for (i = 0; regions != NULL && i < map->nregions; i++) {
        if (regions[i] != NULL) {
            tn_path_region_free(regions[i]);
        }
    }

    free(regions);
    tn_derpmap_free(copy);

    return TN_NOMEM;
}


void
tn_path_regions_done(tn_path_t *path)
{
    uint32_t  i;

    for (i = 0; path->map != NULL && i < path->map->nregions; i++) {
        tn_path_region_free(path->regions[i]);
    }

    free(path->regions);
    tn_derpmap_free(path->map);
}


tn_path_region_t *
tn_path_region_find(const tn_path_t *path, uint32_t id)
{
    const tn_derpmap_region_t  *region;

    region = path->map ? tn_derpmap_find(path->map, id) : NULL;

    return region ? path->regions[region - path->map->regions] : NULL;
}


/* after a change of the network: is the relay still there? */
void
tn_path_regions_probe(tn_path_t *path, tn_ms_t now)
{
    uint32_t           i;
    tn_path_region_t  *region;

    for (i = 0; path->map != NULL && i < path->map->nregions; i++) {
        region = path->regions[i];

        switch (region->state) {

        case TN_PATH_REGION_READY:
            tn_derp_client_probe(region->client, now, TN_PATH_DERP_PROBE_MS);
            break;

        case TN_PATH_REGION_WAITING:
            region->failures = 0;
            region->relay = 0;
            tn_path_region_arm(region, now);
            break;

        default:
            break;
        }

        region->failing = 0;
        region->tried = 0;
    }
}


void
tn_path_regions_excuse(tn_path_t *path)
{
    uint32_t  i;

    for (i = 0; i < path->map->nregions; i++) {
        path->regions[i]->failing = 0;
    }
}


void
tn_path_sweep_timer(void *data, tn_ms_t now)
{
    bool               others;
    uint32_t           i;
    tn_path_t         *path;
    tn_path_region_t  *region;

    path = data;
    others = false;

    for (i = 0; i < path->map->nregions; i++) {
        region = path->regions[i];

        if (region->state == TN_PATH_REGION_IDLE || region->id == path->home) {
            continue;
        }

        if (tn_path_region_is_wanted(region, now)) {
            others = true;
            continue;
        }

        tn_log(path->log, TN_LOG_INFO, "path: DERP region %u is idle, closed",
               region->id);
        tn_path_region_close(region);
    }

    if (others) {
        (void) tn_timer_set(path->timers, &path->sweep,
                            now + TN_PATH_DERP_SWEEP_MS);
    }
}


tn_rc_t
tn_path_derp_send(tn_path_t *path, tn_ms_t now, tn_path_member_t *peer,
    uint32_t id, const tn_key_t *dst, const uint8_t *bytes, size_t len)
{
    tn_path_region_t  *region, *reverse;

    region = tn_path_region_find(path, id);

    if (region != NULL) {
        region->written = now;

        if (region->state == TN_PATH_REGION_READY) {
            return tn_derp_client_send(region->client, now, dst, bytes, len);
        }
    }

    reverse = peer != NULL ? tn_path_region_reverse(peer) : NULL;

    if (reverse != NULL) {
        reverse->written = now;
        return tn_derp_client_send(reverse->client, now, dst, bytes, len);
    }

    if (region == NULL) {
        return TN_NOTFOUND;
    }

    if (region->state == TN_PATH_REGION_IDLE) {
        tn_path_region_open(region, now);
    }

    return tn_path_region_enqueue(region, now, dst, bytes, len);
}


/* where the peer was last heard, while that connection stands */
static tn_path_region_t *
tn_path_region_reverse(const tn_path_member_t *peer)
{
    tn_path_region_t  *region;

    region = tn_path_region_find(peer->pub.path, peer->reverse);

    return region != NULL && region->state == TN_PATH_REGION_READY
           && region->session == peer->reverse_session ? region : NULL;
}


bool
tn_path_derp_has(const tn_path_member_t *peer)
{
    tn_path_region_t  *reverse;

    if (tn_path_derp_is_up(peer->pub.path, peer->pub.derp)) {
        return true;
    }

    reverse = tn_path_region_reverse(peer);

    return reverse != NULL && tn_derp_client_is_proven(reverse->client);
}


bool
tn_path_derp_is_ready(const tn_path_t *path, uint32_t id)
{
    tn_path_region_t  *region;

    region = tn_path_region_find(path, id);

    return region != NULL && region->state == TN_PATH_REGION_READY;
}


bool
tn_path_derp_is_up(const tn_path_t *path, uint32_t id)
{
    tn_path_region_t  *region;

    region = tn_path_region_find(path, id);

    return region != NULL && region->state == TN_PATH_REGION_READY
           && tn_derp_client_is_proven(region->client);
}


void
tn_path_derp_opened(tn_path_t *path, tn_ms_t now, uint32_t id,
    const tn_key_t *meta_key)
{
    char                        host[TN_DERPMAP_STRING_MAX + 8];
    tn_rc_t                     rc;
    tn_path_region_t           *region;
    const tn_derpmap_node_t    *node, *first;

    region = tn_path_region_find(path, id);

    if (region == NULL || region->state != TN_PATH_REGION_OPENING
        || region->client != NULL)
    {
        return;
    }

    node = tn_derpmap_relay(tn_derpmap_find(path->map, id), region->relay);

    region->client = tn_derp_client_create(&tn_path_region_ops, region,
                                           &path->node, path->timers,
                                           path->log);

    if (region->client == NULL || node == NULL
        || (region->websocket
            && tn_derp_client_use_websocket(region->client) != TN_OK))
    {
        tn_path_region_failed(region, now, "no memory");
        return;
    }

    tn_derp_client_prefer(region->client, id == path->home);

    first = tn_derpmap_find(path->map, id)->nodes;

    if (node->derp_port != 0 && node->derp_port != 443) {
        (void) snprintf(host, sizeof(host), "%s:%u", node->hostname,
                        node->derp_port);

    } else {
        (void) snprintf(host, sizeof(host), "%s", node->hostname);
    }

    rc = tn_derp_client_start(region->client, now, host,
                              node != first ? first->name : NULL, meta_key);

    if (rc != TN_OK && rc != TN_CLOSED) {
        tn_path_region_failed(region, now, "login could not be sent");
    }
}


void
tn_path_derp_bytes(tn_path_t *path, tn_ms_t now, uint32_t id, uint8_t *bytes,
    size_t len)
{
    tn_path_region_t  *region;

    region = tn_path_region_find(path, id);

    if (region != NULL && region->client != NULL) {
        (void) tn_derp_client_input(region->client, now, bytes, len);
    }
}


void
tn_path_derp_closed(tn_path_t *path, tn_ms_t now, uint32_t id,
    const char *reason)
{
    tn_path_region_t  *region;

    region = tn_path_region_find(path, id);

    if (region != NULL && region->connected) {
        region->connected = false;
        tn_path_region_failed(region, now, reason);
    }
}


void
tn_path_region_break(tn_path_region_t *region, tn_ms_t now)
{
    tn_path_region_failed(region, now, "broken by order");
}


void
tn_path_region_try(tn_path_t *path, tn_ms_t now, uint32_t id)
{
    tn_path_region_t  *region;

    region = tn_path_region_find(path, id);

    if (region == NULL || !region->lost
        || region->state != TN_PATH_REGION_IDLE
        || (region->tried != 0 && now - region->tried < TN_PATH_DERP_TRY_MS))
    {
        return;
    }

    region->tried = now;
    region->trial = true;
    tn_path_region_open(region, now);
}


static tn_path_region_t *
tn_path_region_create(tn_path_t *path, uint32_t id)
{
    tn_path_region_t  *region;

    region = calloc(1, sizeof(tn_path_region_t));

    if (region == NULL) {
        return NULL;
    }

    region->path = path;
    region->id = id;
    tn_list_init(&region->queue);
    tn_timer_init(&region->timer, tn_path_region_timer, region);

    return region;
}


static void
tn_path_region_free(tn_path_region_t *region)
{
    tn_timer_cancel(region->path->timers, &region->timer);
    tn_derp_client_destroy(region->client);
    tn_path_region_drop_queue(region);
    free(region);
}


static bool
tn_path_region_is_wanted(const tn_path_region_t *region, tn_ms_t now)
{
    return region->id == region->path->home || region->trial
           || (region->written != 0
               && now - region->written < TN_PATH_DERP_IDLE_MS);
}


void
tn_path_region_open(tn_path_region_t *region, tn_ms_t now)
{
    bool                        another;
    tn_path_t                  *path;
    const tn_derpmap_node_t    *node;
    const tn_derpmap_region_t  *def;

    path = region->path;
    def = tn_derpmap_find(path->map, region->id);
    node = tn_derpmap_relay(def, region->relay);

    if (node == NULL) {
        region->relay = 0;
        node = tn_derpmap_relay(def, 0);
    }

    if (node == NULL || !path->started) {
        return;
    }

    another = tn_derpmap_relay(def, 1) != NULL;

    region->state = TN_PATH_REGION_OPENING;
    region->connected = true;

    tn_path_region_arm(region, now + (another ? TN_PATH_DERP_NEXT_MS
                                              : TN_PATH_DERP_OPEN_MS));

    if (!tn_timer_is_set(&path->sweep)) {
        (void) tn_timer_set(path->timers, &path->sweep,
                            now + TN_PATH_DERP_SWEEP_MS);
    }

    tn_log(path->log, TN_LOG_DEBUG, "path: opening DERP region %u at %s",
           region->id, node->hostname);

    path->ops->derp_open(path->data, region->id, node);
}


/* without an event; what waited is lost */
void
tn_path_region_close(tn_path_region_t *region)
{
    tn_path_t  *path;

    path = region->path;

    tn_timer_cancel(path->timers, &region->timer);
    tn_derp_client_destroy(region->client);
    tn_path_region_drop_queue(region);

    region->client = NULL;
    region->state = TN_PATH_REGION_IDLE;
    region->relay = 0;
    region->trial = false;

    if (region->connected) {
        region->connected = false;
        path->ops->derp_close(path->data, region->id);
    }
}


/* a connection could not be opened or has ended: the next try */
static void
tn_path_region_failed(tn_path_region_t *region, tn_ms_t now,
    const char *reason)
{
    bool                     was_ready, blocked, hung, round, lost;
    tn_ms_t                  wait;
    tn_path_t               *path;
    const tn_derpmap_node_t *next;

    path = region->path;

    /* what has swallowed the login was never good, however long that took */

    was_ready = region->state == TN_PATH_REGION_READY
                && tn_derp_client_is_proven(region->client)
                && now - region->ready_at >= TN_PATH_DERP_GOOD_MS;

    tn_log(path->log, TN_LOG_NOTICE, "path: DERP region %u: %s", region->id,
           reason);

    blocked = region->client != NULL
              && !tn_derp_client_is_upgraded(region->client);
    hung = region->client != NULL && tn_derp_client_is_hung(region->client);

    tn_derp_client_destroy(region->client);
    region->client = NULL;
    region->state = TN_PATH_REGION_IDLE;
    tn_timer_cancel(path->timers, &region->timer);

    if (region->connected) {
        region->connected = false;
        path->ops->derp_close(path->data, region->id);
    }

    /* it may have been the network that changed */

    if (was_ready) {
        tn_path_restun(path, now, false);
    }

    if (!tn_path_region_is_wanted(region, now)) {
        tn_path_region_drop_queue(region);
        region->relay = 0;
        region->failures = 0;
        region->failing = 0;
        return;
    }

    wait = 0;
    round = false;
    lost = false;

    if (was_ready) {
        region->relay = hung ? region->relay + 1 : 0;
        region->failures = 0;
        region->failing = 0;
        wait = region->restart_in;
        region->restart_in = 0;

    } else if (blocked && !region->websocket) {
        region->websocket = true;

    } else {
        region->websocket = region->websocket && !blocked;
        next = tn_derpmap_relay(tn_derpmap_find(path->map, region->id),
                                region->relay + 1);
        region->relay++;

        if (next == NULL) {
            region->relay = 0;
            wait = (tn_ms_t) TN_PATH_DERP_FIRST_MS
                   << tn_min(region->failures, 5u);
            wait = tn_min(wait, (tn_ms_t) TN_PATH_DERP_BACKOFF_MS);
            wait = wait / 2 + tn_random_below((uint32_t) wait / 2);
            region->failures++;
            region->trial = false;
            round = true;

            if (region->failing == 0 && path->answered) {
                region->failing = now;
            }
        }
    }

    if (round && !region->lost && region->failures >= TN_PATH_DERP_LOST
        && region->failing != 0
        && now - region->failing >= TN_PATH_DERP_LOST_MS)
    {
        region->lost = true;
        region->tried = now;
        lost = true;
    }

    region->state = TN_PATH_REGION_WAITING;
    tn_path_region_arm(region, now + wait);

    if (region->id != path->home || region->relay != 0) {
        return;
    }

    /* STUN finds another home; where it is blocked the next race does */

    if (lost || (round && region->failures <= TN_PATH_DERP_LOST)) {
        tn_netcheck_doubt(path->netcheck);
        tn_path_restun(path, now, lost);

    } else if (round && !path->answered
               && now - path->report_at >= TN_PATH_RESTUN_MIN_MS)
    {
        tn_path_restun(path, now, false);
    }

    if (!path->udp && path->control_up
        && region->failures >= TN_PATH_DERP_LOST)
    {
        tn_path_race(path, now);
    }
}


static void
tn_path_region_timer(void *data, tn_ms_t now)
{
    tn_path_region_t  *region;

    region = data;

    switch (region->state) {

    case TN_PATH_REGION_OPENING:
        tn_path_region_failed(region, now, "timed out");
        break;

    case TN_PATH_REGION_WAITING:
        region->state = TN_PATH_REGION_IDLE;

        if (tn_path_region_is_wanted(region, now)) {
            tn_path_region_open(region, now);

        } else {
            tn_path_region_drop_queue(region);
        }

        break;

    case TN_PATH_REGION_READY:

        /* it was lost, and has been good for a while */

        if (!tn_derp_client_is_proven(region->client)) {
            tn_path_region_arm(region, now + TN_PATH_DERP_GOOD_MS);
            break;
        }

        region->lost = false;
        region->trial = false;
        region->failures = 0;
        region->failing = 0;
        region->written = now;
        tn_path_restun(region->path, now, false);
        break;

    default:
        break;
    }
}


static void
tn_path_region_arm(tn_path_region_t *region, tn_ms_t at)
{
    if (tn_timer_set(region->path->timers, &region->timer, at) != TN_OK) {
        tn_log(region->path->log, TN_LOG_ALERT,
               "path: no memory for the timer of DERP region %u", region->id);
    }
}


static void
tn_path_region_drop_queue(tn_path_region_t *region)
{
    tn_link_t  *link, *tmp;

    tn_list_each_safe(link, tmp, &region->queue) {
        free(tn_container(link, tn_path_queued_t, link));
    }

    tn_list_init(&region->queue);
    region->queued = 0;
}


static tn_rc_t
tn_path_region_enqueue(tn_path_region_t *region, tn_ms_t now,
    const tn_key_t *dst, const uint8_t *bytes, size_t len)
{
    tn_link_t         *first;
    tn_path_queued_t  *packet;

    packet = malloc(sizeof(tn_path_queued_t) + len);

    if (packet == NULL) {
        return TN_NOMEM;
    }

    packet->dst = *dst;
    packet->at = now;
    packet->len = len;
    memcpy(packet->bytes, bytes, len);

    /* the newest are those that somebody still waits for */

    if (region->queued == TN_PATH_DERP_QUEUE) {
        first = tn_list_shift(&region->queue);
        free(tn_container(first, tn_path_queued_t, link));
        region->queued--;
    }

    tn_list_push(&region->queue, &packet->link);
    region->queued++;

    return TN_OK;
}


static tn_rc_t
tn_path_region_write(void *data, const uint8_t *head, size_t head_len,
    const uint8_t *body, size_t body_len)
{
    tn_path_region_t  *region;

    region = data;

    return region->path->ops->derp_write(region->path->data, region->id, head,
                                         head_len, body, body_len);
}


static void
tn_path_region_ready(void *data, tn_ms_t now)
{
    tn_path_t                *path;
    tn_link_t                *link;
    tn_path_region_t         *region;
    tn_path_queued_t         *packet;
    const tn_derpmap_node_t  *node;

    region = data;
    path = region->path;

    region->state = TN_PATH_REGION_READY;
    region->ready_at = now;
    region->session++;
    tn_timer_cancel(path->timers, &region->timer);

    if (region->lost) {
        tn_path_region_arm(region, now + TN_PATH_DERP_GOOD_MS);
    }

    node = tn_derpmap_relay(tn_derpmap_find(path->map, region->id),
                            region->relay);

    tn_log(path->log, TN_LOG_INFO, "path: DERP region %u is connected: %s",
           region->id, node ? node->hostname : "?");

    tn_list_each(link, &region->queue) {
        packet = tn_container(link, tn_path_queued_t, link);

        if (now - packet->at <= TN_PATH_DERP_STALE_MS) {
            (void) tn_derp_client_send(region->client, now, &packet->dst,
                                       packet->bytes, packet->len);
        }
    }

    tn_path_region_drop_queue(region);
    tn_path_call_again(path, now, region->id);

    if (path->racing) {
        tn_path_race_won(region, now);
    }
}


static void
tn_path_region_packet(void *data, tn_ms_t now, const tn_key_t *src,
    uint8_t *bytes, size_t len, bool last)
{
    tn_path_t         *path;
    tn_path_from_t     from;
    tn_path_peer_t    *pub;
    tn_path_region_t  *region;
    tn_path_member_t  *peer;

    region = data;
    path = region->path;
    pub = tn_path_peer_find(path, src);

    if (pub == NULL && path->ops->absent != NULL) {
        path->ops->absent(path->data, now, src);
        pub = tn_path_peer_find(path, src);
    }

    /* who is no peer has nothing to say */

    if (pub == NULL) {
        return;
    }

    peer = tn_path_member(pub);

    if (peer->expired) {
        return;
    }

    if (peer->reverse != region->id
        || peer->reverse_session != region->session)
    {
        peer->reverse = region->id;
        peer->reverse_session = region->session;
        tn_path_pick_derp(peer);
    }

    memset(&from, 0, sizeof(tn_path_from_t));
    from.region = region->id;
    from.key = *src;

    if (tn_disco_sender(bytes, len) != NULL) {
        tn_path_disco_input(path, now, &from, bytes, len);
        return;
    }

    path->ops->wireguard(path->data, now, &from, bytes, len, last);
}


static void
tn_path_region_gone(void *data, tn_ms_t now, const tn_key_t *key,
    bool never_here)
{
    char               text[8];
    tn_path_peer_t    *pub;
    tn_path_region_t  *region;
    tn_path_member_t  *peer;

    region = data;
    pub = tn_path_peer_find(region->path, key);

    if (pub == NULL) {
        return;
    }

    peer = tn_path_member(pub);
    peer->derp_us = 0;

    if (never_here) {
        tn_log(region->path->log, TN_LOG_INFO,
               "path: DERP region %u does not know peer %s", region->id,
               tn_key_short(key, text));
    }

    if (peer->reverse == region->id) {
        peer->reverse = 0;
        tn_path_pick_derp(peer);
        tn_path_note(peer, now);
    }
}


static void
tn_path_region_health(void *data, tn_ms_t now, const char *text, size_t len)
{
    tn_path_region_t  *region;

    (void) now;

    region = data;

    if (len != 0) {
        tn_log(region->path->log, TN_LOG_WARN, "path: DERP region %u says: "
               "%.*s", region->id, (int) tn_min(len, (size_t) 500), text);
    }
}


static void
tn_path_region_restarting(void *data, tn_ms_t now, uint32_t reconnect_in_ms,
    uint32_t try_for_ms)
{
    tn_path_region_t  *region;

    (void) now;
    (void) try_for_ms;

    region = data;
    region->restart_in = tn_min(reconnect_in_ms,
                                (uint32_t) TN_PATH_DERP_BACKOFF_MS);

    tn_log(region->path->log, TN_LOG_INFO, "path: DERP region %u restarts",
           region->id);
}


static void
tn_path_region_broken(void *data, tn_ms_t now, const char *reason)
{
    tn_path_region_failed(data, now, reason);
}
