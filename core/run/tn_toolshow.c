
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "run/tn_toolshow.h"

#include "run/tn_nodeapi.h"

#include <stdio.h>
#include <stdlib.h>


static void show_set(json_t *object, const char *name, json_t *value);
static void show_count(json_t *object, const char *name, uint64_t count);
static void show_text(json_t *object, const char *name, const char *text);
static void show_tristate(json_t *object, const char *name,
    tn_tristate_e value);
static void show_derp(json_t *object, const char *name, tn_node_t *node,
    uint32_t region);
static void show_addresses(json_t *object, const tn_netmap_node_t *node);
static json_t *show_peer(tn_node_t *node, const tn_netmap_node_t *peer);
static void show_self(json_t *object, tn_node_t *node,
    const tn_netmap_t *netmap);
static void show_messages(json_t *object, tn_control_t *control);
static int show_compare(const void *one, const void *two);


static const char *const  show_states[] = {
    [TN_CONTROL_STOPPED] = "stopped",
    [TN_CONTROL_STARTING] = "starting",
    [TN_CONTROL_NEEDS_LOGIN] = "needs login",
    [TN_CONTROL_NEEDS_APPROVAL] = "needs approval",
    [TN_CONTROL_RUNNING] = "running"
};

static const char *const  show_kinds[] = {
    [TN_PATH_NONE] = "none",
    [TN_PATH_DERP] = "derp",
    [TN_PATH_DIRECT] = "direct",
    [TN_PATH_RELAY] = "peer-relay"
};

static const char *const  show_endpoint_types[] = {
    [TN_ENDPOINT_UNKNOWN] = "unknown",
    [TN_ENDPOINT_LOCAL] = "local",
    [TN_ENDPOINT_STUN] = "stun",
    [TN_ENDPOINT_PORTMAPPED] = "portmapped",
    [TN_ENDPOINT_STUN4_LOCAL_PORT] = "stun4 local port",
    [TN_ENDPOINT_EXPLICIT] = "explicit"
};


json_t *
tn_toolshow_node(const char *name, tn_node_t *node)
{
    tn_ms_t              at;
    json_t              *shown;
    const char          *text;
    tn_control_t        *control;
    tn_control_state_e   state;
    const tn_netinfo_t  *netinfo;

    shown = json_object();
    if (shown == NULL) {
        return NULL;
    }

    show_text(shown, "node", name);

    control = node != NULL ? tn_node_control(node) : NULL;

    if (control == NULL) {
        show_text(shown, "state", show_states[TN_CONTROL_STOPPED]);
        show_text(shown, "text", node == NULL ? "the node starts anew"
                                 : "its state directory cannot be used");
        return shown;
    }

    state = tn_control_state(control, &text);

    show_text(shown, "state", show_states[state]);
    show_text(shown, "text", text);
    show_set(shown, "online", json_boolean(tn_control_online(control)));
    show_text(shown, "trouble", tn_control_trouble(control));

    show_self(shown, node, tn_control_netmap(control));

    netinfo = tn_node_netinfo(node, &at);

    if (netinfo != NULL) {
        show_derp(shown, "home_derp", node, netinfo->preferred_derp);
    }

    show_messages(shown, control);

    return shown;
}


static void
show_self(json_t *object, tn_node_t *node, const tn_netmap_t *netmap)
{
    char                     text[TN_KEY_TEXT];
    const tn_netmap_node_t  *self;

    self = netmap->self;

    if (self == NULL) {
        return;
    }

    show_text(object, "tailnet", netmap->domain);
    show_text(object, "name", self->name);
    show_text(object, "id", self->stable_id);
    show_text(object, "key", tn_key_text(&self->key, TN_KEY_NODE, text));
    show_addresses(object, self);

    if (self->key_expiry != 0) {
        show_set(object, "key_expiry", json_integer(self->key_expiry));
    }

    show_set(object, "expired", json_boolean(self->expired));
    show_derp(object, "home_derp", node, self->home_derp);
}


/* our own trouble first, then control's words */
static void
show_messages(json_t *object, tn_control_t *control)
{
    char                text[64];
    size_t              i;
    json_t             *list;
    const char         *own;
    const tn_netmap_t  *netmap;

    list = json_array();
    netmap = tn_control_netmap(control);
    own = tn_control_health(control, NULL);

    if (own != NULL) {
        (void) json_array_append_new(list, json_string(own));
    }

    if (netmap->hidden.count != 0) {
        (void) snprintf(text, sizeof(text), "tailnet lock keeps %zu of the "
                        "peers out", netmap->hidden.count);
        (void) json_array_append_new(list, json_string(text));
    }

    for (i = 0; i < netmap->nmessages; i++) {
        (void) json_array_append_new(list,
                                     json_string(netmap->messages[i].text));
    }

    show_set(object, "messages", list);
}


void
tn_toolshow_certificates(json_t *object, tn_node_t *node)
{
    size_t             i;
    json_t            *list, *one;
    int64_t            not_before, not_after;
    const char        *name;
    tn_nodecert_t     *nc;
    const tn_certs_t  *certs;

    nc = tn_node_certs(node);

    if (nc == NULL) {
        return;
    }

    certs = tn_nodecert_certs(nc);
    list = json_array();

    for (i = 0; ; i++) {
        name = tn_certs_each(certs, i, &not_before, &not_after);

        if (name == NULL) {
            break;
        }

        one = json_object();
        show_text(one, "name", name);

        if (not_after != 0) {
            show_set(one, "expires", json_integer(not_after));

        } else {
            show_text(one, "state", "not issued yet");
        }

        (void) json_array_append_new(list, one);
    }

    if (i != 0) {
        show_set(object, "certificates", list);

    } else {
        json_decref(list);
    }
}


void
tn_toolshow_peerapi(json_t *object, tn_node_t *node)
{
    json_t                    *counts;
    const tn_nodeapi_t        *api;
    const tn_nodeapi_stats_t  *stats;

    api = tn_node_api(node);

    if (api == NULL) {
        return;
    }

    stats = tn_nodeapi_stats(api);
    counts = json_object();

    show_set(counts, "greeted", json_integer((json_int_t) stats->greeted));
    show_set(counts, "ingress", json_integer((json_int_t) stats->ingress));
    show_set(counts, "unknown_peer",
             json_integer((json_int_t) stats->unknown));
    show_set(counts, "invalid", json_integer((json_int_t) stats->invalid));
    show_set(counts, "over_limit", json_integer((json_int_t) stats->crowded));
    show_set(counts, "ingress_denied",
             json_integer((json_int_t) stats->denied));
    show_set(counts, "dns", json_integer((json_int_t) stats->dns));
    show_set(counts, "dns_denied",
             json_integer((json_int_t) stats->dns_denied));

    show_set(object, "peerapi", counts);
}


void
tn_toolshow_problems(json_t *object, tn_node_t *node)
{
    size_t        i, n;
    json_t       *list, *one;
    tn_problem_t  problems[TN_PROBLEMS_MAX];

    list = json_array();
    n = tn_problems_read(tn_node_problems(node), problems);

    for (i = 0; i < n; i++) {
        one = json_object();
        show_set(one, "at", json_integer((json_int_t) problems[i].at));
        show_set(one, "count", json_integer(problems[i].count));
        show_text(one, "text", problems[i].text);
        (void) json_array_append_new(list, one);
    }

    show_set(object, "problems", list);
}


json_t *
tn_toolshow_netcheck(const char *name, tn_node_t *node, tn_ms_t now)
{
    char                        text[TN_ADDR_TEXT];
    size_t                      i, n;
    tn_ms_t                     at;
    json_t                     *shown, *list, *one;
    const tn_netinfo_t         *info;
    const tn_endpoint_t        *endpoints;
    const tn_netinfo_latency_t *latency;

    shown = json_object();
    if (shown == NULL) {
        return NULL;
    }

    show_text(shown, "node", name);

    if (node == NULL) {
        return shown;
    }

    list = json_array();
    n = tn_node_endpoints(node, &endpoints);

    for (i = 0; i < n; i++) {
        one = json_object();
        show_text(one, "address", tn_addr_text(&endpoints[i].addr, text));

        if (endpoints[i].type <= TN_ENDPOINT_EXPLICIT) {
            show_text(one, "type", show_endpoint_types[endpoints[i].type]);
        }

        (void) json_array_append_new(list, one);
    }

    show_set(shown, "endpoints", list);

    info = tn_node_netinfo(node, &at);

    if (info == NULL) {
        return shown;
    }

    show_set(shown, "age_seconds",
             json_real((double) (tn_max(now, at) - at) / 1000));
    show_derp(shown, "home_derp", node, info->preferred_derp);
    show_tristate(shown, "udp", info->working_udp);
    show_tristate(shown, "ipv6", info->working_ipv6);
    show_tristate(shown, "os_has_ipv6", info->os_has_ipv6);
    show_tristate(shown, "mapping_varies", info->mapping_varies_by_dest_ip);
    show_tristate(shown, "upnp", info->upnp);
    show_tristate(shown, "nat_pmp", info->pmp);
    show_tristate(shown, "pcp", info->pcp);

    list = json_array();

    for (i = 0; i < info->nlatency && i < TN_NETINFO_LATENCIES_MAX; i++) {
        latency = &info->latency[i];

        one = json_object();
        show_derp(one, "derp", node, latency->region);
        show_set(one, "family", json_integer(latency->v4 ? 4 : 6));
        show_set(one, "latency_ms", json_real(latency->seconds * 1000));
        (void) json_array_append_new(list, one);
    }

    show_set(shown, "latencies", list);

    return shown;
}


json_t *
tn_toolshow_whois(const char *name, tn_node_t *node, const char *what)
{
    bool                     routed;
    json_t                  *shown;
    const tn_netmap_t       *netmap;
    const tn_netmap_node_t  *peer;

    peer = tn_toolshow_find(node, what, &routed);
    if (peer == NULL) {
        return NULL;
    }

    shown = show_peer(node, peer);

    if (shown != NULL) {
        netmap = tn_control_netmap(tn_node_control(node));

        show_text(shown, "node", name);
        show_set(shown, "self", json_boolean(peer == netmap->self));
        show_set(shown, "routed", json_boolean(routed));
    }

    return shown;
}


const tn_netmap_node_t *
tn_toolshow_find(tn_node_t *node, const char *what, bool *routed)
{
    tn_ip_t                  ip;
    tn_addr_t                addr;
    const tn_netmap_t       *netmap;
    const tn_netmap_node_t  *peer;

    *routed = false;

    if (node == NULL || tn_node_control(node) == NULL) {
        return NULL;
    }

    netmap = tn_control_netmap(tn_node_control(node));

    if (tn_addr_parse(&addr, what, strlen(what)) == TN_OK) {
        ip = addr.ip;

    } else if (tn_ip_parse(&ip, what, strlen(what)) != TN_OK) {
        return tn_netmap_find_name(netmap, what, strlen(what));
    }

    peer = tn_netmap_find_ip(netmap, &ip);

    if (peer == NULL) {
        *routed = true;
        peer = tn_netmap_find_route(netmap, &ip);
    }

    return peer;
}


void
tn_toolshow_pong(json_t *peer, tn_node_t *node, const tn_path_pong_t *pong)
{
    char     text[TN_PATH_TEXT];
    json_t  *shown;

    shown = json_object();

    switch (pong->rc) {

    case TN_OK:
        if (pong->addr.port != 0) {
            show_text(shown, "kind", show_kinds[pong->vni ? TN_PATH_RELAY
                                                          : TN_PATH_DIRECT]);
            show_text(shown, "address", tn_path_text(&pong->addr, pong->vni,
                                                     text));

        } else {
            show_text(shown, "kind", show_kinds[TN_PATH_DERP]);
            show_derp(shown, "derp", node, pong->region);
        }

        show_set(shown, "latency_ms",
                 json_real((double) pong->latency_us / 1000));
        break;

    case TN_AGAIN:
        show_text(shown, "error", "no answer");
        break;

    case TN_NOTFOUND:
        show_text(shown, "error", "there is no way to it");
        break;

    default:
        show_text(shown, "error", "the peer is gone");
    }

    show_set(peer, "pong", shown);
}


void
tn_toolshow_done(json_t *object, tn_node_t *node, const tn_data_done_t *done,
    bool history, tn_ms_t now)
{
    char                     text[TN_PATH_TEXT];
    size_t                   i;
    json_t                  *list, *one;
    const tn_path_change_t  *change;

    if (done->rc != TN_OK) {
        show_text(object, "error", done->rc == TN_NOTFOUND
                                   ? "there is nothing to do it with"
                                   : "it could not be done");
        return;
    }

    show_set(object, "done", json_true());

    if (!history) {
        show_set(object, "reports", json_integer((json_int_t) done->reports));
        return;
    }

    list = json_array();

    for (i = 0; i < done->n; i++) {
        change = &done->changes[i];
        one = json_object();

        show_set(one, "seconds_ago",
                 json_real((double) (tn_max(now, change->at) - change->at)
                           / 1000));
        show_text(one, "kind", show_kinds[change->kind]);
        show_text(one, "why", tn_path_why_text(change->why));

        if (change->kind == TN_PATH_DIRECT || change->kind == TN_PATH_RELAY) {
            show_text(one, "address", tn_path_text(&change->addr, change->vni,
                                                   text));

            if (change->latency_us != 0) {
                show_set(one, "latency_ms",
                         json_real((double) change->latency_us / 1000));
            }

        } else if (change->kind == TN_PATH_DERP) {
            show_derp(one, "derp", node, change->derp);
        }

        (void) json_array_append_new(list, one);
    }

    show_set(object, "history", list);
}


bool
tn_toolshow_region(tn_node_t *node, const char *what, uint32_t *region)
{
    size_t                      i;
    char                        number[16];
    const tn_derpmap_t         *map;
    const tn_derpmap_region_t  *one;

    *region = 0;

    if (strcmp(what, "auto") == 0) {
        return true;
    }

    if (tn_node_control(node) == NULL) {
        return false;
    }

    map = tn_control_netmap(tn_node_control(node))->derpmap;

    for (i = 0; map != NULL && i < map->nregions; i++) {
        one = &map->regions[i];
        (void) snprintf(number, sizeof(number), "%u", (unsigned) one->id);

        if (strcmp(what, number) == 0
            || (one->code != NULL && strcmp(what, one->code) == 0))
        {
            *region = one->id;
            return true;
        }
    }

    return false;
}


json_t *
tn_toolshow_peers(tn_node_t *node, int64_t **ids, size_t *left_out)
{
    size_t              i, n;
    json_t             *list;
    tn_netmap_t        *netmap;
    tn_netmap_node_t   *peer, **peers;

    *ids = NULL;
    *left_out = 0;

    if (tn_node_control(node) == NULL) {
        return NULL;
    }

    netmap = tn_control_netmap(tn_node_control(node));
    n = 0;

    for (peer = tn_netmap_each(netmap, NULL); peer != NULL;
         peer = tn_netmap_each(netmap, peer))
    {
        n++;
    }

    list = json_array();
    peers = calloc(n + 1, sizeof(tn_netmap_node_t *));
    *ids = calloc(n + 1, sizeof(int64_t));

    if (list == NULL || peers == NULL || *ids == NULL) {
        goto failed;
    }

    n = 0;

    for (peer = tn_netmap_each(netmap, NULL); peer != NULL;
         peer = tn_netmap_each(netmap, peer))
    {
        peers[n++] = peer;
    }

    qsort(peers, n, sizeof(tn_netmap_node_t *), show_compare);

    if (n > TN_TOOLSHOW_PEERS_MAX) {
        *left_out = n - TN_TOOLSHOW_PEERS_MAX;
        n = TN_TOOLSHOW_PEERS_MAX;
    }

    for (i = 0; i < n; i++) {
        (*ids)[i] = peers[i]->id;

        if (json_array_append_new(list, show_peer(node, peers[i])) != 0) {
            goto failed;
        }
    }

    free(peers);

    return list;

failed:

    json_decref(list);
    free(peers);
    free(*ids);
    *ids = NULL;

    return NULL;
}


static int
show_compare(const void *one, const void *two)
{
    const tn_netmap_node_t  *a, *b;

    a = *(tn_netmap_node_t *const *) one;
    b = *(tn_netmap_node_t *const *) two;

    return strcmp(a->name, b->name);
}


static json_t *
show_peer(tn_node_t *node, const tn_netmap_node_t *peer)
{
    char                     text[TN_KEY_TEXT], prefix[TN_ADDR_TEXT];
    size_t                   i;
    json_t                  *shown, *list;
    const tn_netmap_t       *netmap;
    const tn_netmap_user_t  *user;

    netmap = tn_control_netmap(tn_node_control(node));

    shown = json_object();
    if (shown == NULL) {
        return NULL;
    }

    show_text(shown, "name", peer->name);
    show_text(shown, "id", peer->stable_id);
    show_text(shown, "key", tn_key_text(&peer->key, TN_KEY_NODE, text));
    show_text(shown, "hostname", peer->hostname);
    show_text(shown, "os", peer->os);
    show_addresses(shown, peer);

    if (peer->nprimary_routes != 0) {
        list = json_array();

        for (i = 0; i < peer->nprimary_routes; i++) {
            (void) json_array_append_new(list, json_string(
                           tn_prefix_text(&peer->primary_routes[i], prefix)));
        }

        show_set(shown, "routes", list);
    }

    list = json_array();

    for (i = 0; i < peer->ntags; i++) {
        (void) json_array_append_new(list, json_string(peer->tags[i]));
    }

    show_set(shown, "tags", list);

    user = tn_netmap_find_user(netmap, peer->user);

    if (user != NULL) {
        show_text(shown, "user", user->login);
        show_text(shown, "user_name", user->display);
    }

    show_tristate(shown, "online", peer->online);

    if (peer->last_seen != 0) {
        show_set(shown, "last_seen", json_integer(peer->last_seen));
    }

    if (peer->key_expiry != 0) {
        show_set(shown, "key_expiry", json_integer(peer->key_expiry));
    }

    show_set(shown, "expired", json_boolean(peer->expired));
    show_derp(shown, "home_derp", node, peer->home_derp);

    return shown;
}


void
tn_toolshow_path(json_t *peer, tn_node_t *node,
    const tn_plane_peer_status_t *status, tn_ms_t now)
{
    char     text[TN_PATH_TEXT];
    json_t  *path;

    path = json_object();

    show_text(path, "kind", show_kinds[status->kind]);

    if (status->kind == TN_PATH_DIRECT || status->kind == TN_PATH_RELAY) {
        show_text(path, "address", tn_path_text(&status->addr, status->vni,
                                                text));

        if (status->latency_ms >= 0) {
            show_set(path, "latency_ms", json_real(status->latency_ms));
        }

    } else if (status->kind == TN_PATH_DERP) {
        show_derp(path, "derp", node, status->derp);
    }

    show_set(peer, "path", path);

    show_set(peer, "sent_bytes",
             json_integer((json_int_t) status->wg.sent_bytes));
    show_set(peer, "received_bytes",
             json_integer((json_int_t) status->wg.received_bytes));

    if (status->wg.session_at != 0) {
        show_set(peer, "handshake_seconds_ago",
                 json_real((double) (tn_max(now, status->wg.session_at)
                                     - status->wg.session_at) / 1000));
    }

    if (status->wg.received_at != 0) {
        show_set(peer, "heard_seconds_ago",
                 json_real((double) (tn_max(now, status->wg.received_at)
                                     - status->wg.received_at) / 1000));
    }
}


void
tn_toolshow_relay(json_t *node, const tn_data_relay_status_t *relay)
{
    json_t  *shown;

    if (relay->port == 0) {
        return;
    }

    shown = json_object();

    show_set(shown, "port", json_integer(relay->port));
    show_set(shown, "places", json_integer(relay->sessions));
    show_set(shown, "sessions", json_integer(relay->bound));
    show_set(node, "peer_relay", shown);
}


void
tn_toolshow_packets(json_t *node, const tn_plane_stats_t *stats)
{
    json_t  *shown;

    shown = json_object();

    show_count(shown, "received", stats->in_packets);
    show_count(shown, "sent", stats->out_packets);
    show_count(shown, "refused", stats->in_filtered);
    show_count(shown, "malformed", stats->in_malformed);
    show_count(shown, "unroutable", stats->out_unroutable);
    show_count(shown, "no_path", stats->out_dropped);
    show_set(node, "packets", shown);
}


/* --- parts; without memory a field is left out */

static void
show_set(json_t *object, const char *name, json_t *value)
{
    (void) json_object_set_new(object, name, value);
}


static void
show_count(json_t *object, const char *name, uint64_t count)
{
    show_set(object, name, json_integer((json_int_t) count));
}


/* what is not UTF-8 is left out, and so are empty texts */
static void
show_text(json_t *object, const char *name, const char *text)
{
    if (*text != '\0') {
        show_set(object, name, json_string(text));
    }
}


static void
show_tristate(json_t *object, const char *name, tn_tristate_e value)
{
    if (value != TN_UNKNOWN) {
        show_set(object, name, json_boolean(value == TN_YES));
    }
}


/* a region as its number and, when the map has it, its code */
static void
show_derp(json_t *object, const char *name, tn_node_t *node, uint32_t region)
{
    json_t                     *derp;
    const tn_netmap_t          *netmap;
    const tn_derpmap_region_t  *found;

    if (region == 0) {
        return;
    }

    netmap = tn_control_netmap(tn_node_control(node));
    found = netmap->derpmap ? tn_derpmap_find(netmap->derpmap, region) : NULL;

    derp = json_object();
    show_set(derp, "region", json_integer(region));

    if (found != NULL && found->code != NULL) {
        show_text(derp, "code", found->code);
    }

    show_set(object, name, derp);
}


static void
show_addresses(json_t *object, const tn_netmap_node_t *node)
{
    char                text[TN_ADDR_TEXT];
    size_t              i;
    json_t             *list;
    const tn_prefix_t  *prefix;

    list = json_array();

    for (i = 0; i < node->naddresses; i++) {
        prefix = &node->addresses[i];

        if (prefix->bits == (prefix->v4 ? 32 : 128)) {
            (void) json_array_append_new(list, json_string(
                                             tn_ip_text(&prefix->ip, text)));
        }
    }

    show_set(object, "addresses", list);
}
