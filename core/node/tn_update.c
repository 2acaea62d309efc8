
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "node/tn_update.h"

#include "base/tn_via.h"

#include <stdlib.h>


/* changes of a peer that packets feel */
#define TN_UPDATE_PEER_BITS                                                   \
    (TN_NODE_ADDED | TN_NODE_KEY | TN_NODE_DISCO | TN_NODE_ENDPOINTS          \
     | TN_NODE_DERP | TN_NODE_ADDRESSES | TN_NODE_ALLOWED | TN_NODE_EXPIRY    \
     | TN_NODE_FLAGS | TN_NODE_CAPS)


/* upstream: peercap.Relay, peercap.RelayTarget, capVerIsRelayCapable */
#define TN_UPDATE_RELAY_CAP      "tailscale.com/cap/relay"
#define TN_UPDATE_TARGET_CAP     "tailscale.com/cap/relay-target"
#define TN_UPDATE_RELAY_VERSION  121

/* what the packet filter grants from a node to us */
#define TN_UPDATE_RELAY          0x01       /* places on our peer relay */
#define TN_UPDATE_TARGET         0x02       /* it has some for us */


static tn_rc_t tn_update_peer(tn_update_peer_t *peer,
    const tn_netmap_node_t *node, bool accept_routes, const char *exit_node,
    const tn_filter_rules_t *rules);
static tn_rc_t tn_update_all_caps(tn_update_t *update,
    const tn_netmap_t *netmap, const tn_filter_rules_t *rules,
    const tn_rules_t *relays);
static bool tn_update_names_caps(const tn_rules_t *rules);
static bool tn_update_has_cap(void *data, const char *cap);
static bool tn_update_names_relay(const tn_rules_t *rules);
static uint32_t tn_update_relay(const tn_rules_t *rules,
    const tn_netmap_node_t *self, const tn_netmap_node_t *peer);
static void tn_update_relay_cap(void *data, const char *name,
    const char *json);
static bool tn_update_allows(const tn_netmap_node_t *node,
    const tn_prefix_t *prefix, bool accept_routes, const char *exit_node);
static bool tn_update_is_named(const tn_netmap_node_t *node,
    const char *name);
static tn_rc_t tn_update_self(tn_update_t *update,
    const tn_netmap_node_t *self);
static void tn_update_knobs(tn_update_t *update,
    const tn_netmap_node_t *self);


tn_update_t *
tn_update_create(const tn_netmap_t *netmap,
    const tn_netmap_changes_t *changes, bool accept_routes,
    const char *exit_node)
{
    size_t                    i, n;
    uint32_t                  what, relay;
    tn_rules_t                none;
    tn_update_t              *update;
    const tn_rules_t         *given, *relays;
    tn_netmap_node_t         *node;
    tn_filter_rules_t        *compiled;
    const tn_filter_rules_t  *rules;

    update = calloc(1, sizeof(tn_update_t));
    if (update == NULL) {
        return NULL;
    }

    compiled = NULL;
    rules = NULL;

    tn_rules_init(&none);
    given = netmap->unsigned_reached ? &none : &netmap->rules;

    what = changes ? changes->what
                   : TN_NETMAP_SELF | TN_NETMAP_FILTER | TN_NETMAP_DERPMAP;

    /*
     * Rules are compiled for the data thread when they are new.  When a source
     * of theirs is a capability of peers they are needed here too, and made
     * for a moment if they are not new.
     */

    if ((what & TN_NETMAP_FILTER) && netmap->filtered) {
        update->rules = tn_filter_compile(given);
        if (update->rules == NULL) {
            goto failed;
        }
    }

    if (netmap->filtered && tn_update_names_caps(given)) {
        rules = update->rules;

        if (rules == NULL) {
            compiled = tn_filter_compile(given);
            rules = compiled;
        }

        if (rules == NULL) {
            goto failed;
        }
    }

    relays = netmap->filtered && netmap->self != NULL
             && tn_update_names_relay(given) ? given : NULL;

    if (update->rules != NULL && (rules != NULL || relays != NULL)
        && tn_update_all_caps(update, netmap, rules, relays) != TN_OK)
    {
        goto failed;
    }

    n = changes ? changes->npeers : netmap->peers.count;

    if (n != 0) {
        update->peers = calloc(n, sizeof(tn_update_peer_t));
        if (update->peers == NULL) {
            goto failed;
        }
    }

    if (changes == NULL) {
        update->full = true;

        for (node = tn_netmap_each(netmap, NULL);
             node != NULL && update->npeers < n;
             node = tn_netmap_each(netmap, node))
        {
            if (tn_update_peer(&update->peers[update->npeers++], node,
                               accept_routes, exit_node, rules)
                != TN_OK)
            {
                goto failed;
            }
        }

    } else {
        for (i = 0; i < n; i++) {
            node = changes->peers[i];

            if ((node->changed & TN_UPDATE_PEER_BITS) == 0) {
                continue;
            }

            if (tn_update_peer(&update->peers[update->npeers++], node,
                               accept_routes, exit_node, rules)
                != TN_OK)
            {
                goto failed;
            }
        }

        if (changes->nremoved != 0) {
            update->removed = calloc(changes->nremoved, sizeof(int64_t));
            if (update->removed == NULL) {
                goto failed;
            }

            update->nremoved = changes->nremoved;

            for (i = 0; i < changes->nremoved; i++) {
                update->removed[i] = changes->removed[i].id;
            }
        }
    }

    for (i = 0; relays != NULL && i < update->npeers; i++) {
        node = tn_netmap_find_id(netmap, update->peers[i].id);
        relay = node ? tn_update_relay(relays, netmap->self, node) : 0;

        update->peers[i].relay = (relay & TN_UPDATE_RELAY) != 0;
        update->peers[i].relay_target = (relay & TN_UPDATE_TARGET) != 0;
    }

    update->own_relay = relays != NULL
                        && (tn_update_relay(relays, netmap->self,
                                            netmap->self)
                            & TN_UPDATE_TARGET);

    if ((what & TN_NETMAP_SELF) && netmap->self != NULL
        && tn_update_self(update, netmap->self) != TN_OK)
    {
        goto failed;
    }

    if ((what & TN_NETMAP_DERPMAP) && netmap->derpmap != NULL) {
        update->derpmap = tn_derpmap_copy(netmap->derpmap);
        if (update->derpmap == NULL) {
            goto failed;
        }
    }

    tn_filter_rules_free(compiled);

    return update;

failed:

    tn_filter_rules_free(compiled);
    tn_update_free(update);

    return NULL;
}


void
tn_update_free(tn_update_t *update)
{
    size_t  i;

    if (update == NULL) {
        return;
    }

    for (i = 0; i < update->npeers; i++) {
        free(update->peers[i].allowed);
        free(update->peers[i].endpoints);
    }

    free(update->peers);
    free(update->removed);
    free(update->local);
    free(update->caps);
    tn_filter_rules_free(update->rules);
    tn_derpmap_free(update->derpmap);
    free(update);
}


static tn_rc_t
tn_update_peer(tn_update_peer_t *peer, const tn_netmap_node_t *node,
    bool accept_routes, const char *exit_node,
    const tn_filter_rules_t *rules)
{
    size_t  i;

    peer->id = node->id;
    peer->key = node->key;
    peer->disco = node->disco;
    peer->home_derp = node->home_derp;
    peer->expired = node->expired;
    peer->jailed = node->jailed;
    peer->wireguard_only = node->wireguard_only;
    peer->relay_capable = node->cap_version >= TN_UPDATE_RELAY_VERSION;

    if (node->masq != NULL) {
        peer->masq4 = node->masq[0];
        peer->masq6 = node->masq[1];
    }

    (void) tn_netmap_node_ip(node, true, &peer->own4);
    (void) tn_netmap_node_ip(node, false, &peer->own6);

    if (rules != NULL) {
        peer->caps = tn_filter_rules_caps(rules, tn_update_has_cap,
                                          (void *) node);
    }

    if (node->nallowed_ips != 0) {
        peer->allowed = calloc(node->nallowed_ips, sizeof(tn_prefix_t));
        if (peer->allowed == NULL) {
            return TN_NOMEM;
        }

        for (i = 0; i < node->nallowed_ips; i++) {
            if (tn_update_allows(node, &node->allowed_ips[i], accept_routes,
                                 exit_node))
            {
                peer->allowed[peer->nallowed++] = node->allowed_ips[i];
            }
        }
    }

    if (node->nendpoints != 0) {
        peer->endpoints = calloc(node->nendpoints, sizeof(tn_addr_t));
        if (peer->endpoints == NULL) {
            return TN_NOMEM;
        }

        peer->nendpoints = node->nendpoints;
        memcpy(peer->endpoints, node->endpoints,
               node->nendpoints * sizeof(tn_addr_t));
    }

    return TN_OK;
}


static tn_rc_t
tn_update_all_caps(tn_update_t *update, const tn_netmap_t *netmap,
    const tn_filter_rules_t *rules, const tn_rules_t *relays)
{
    uint32_t           relay;
    uint64_t           caps;
    tn_netmap_node_t  *node;

    if (netmap->peers.count == 0) {
        return TN_OK;
    }

    update->caps = calloc(netmap->peers.count, sizeof(tn_update_caps_t));
    if (update->caps == NULL) {
        return TN_NOMEM;
    }

    for (node = tn_netmap_each(netmap, NULL);
         node != NULL && update->ncaps < netmap->peers.count;
         node = tn_netmap_each(netmap, node))
    {
        caps = rules ? tn_filter_rules_caps(rules, tn_update_has_cap, node)
                     : 0;
        relay = relays ? tn_update_relay(relays, netmap->self, node) : 0;

        if (caps != 0 || relay != 0) {
            update->caps[update->ncaps].id = node->id;
            update->caps[update->ncaps].relay =
                                             (relay & TN_UPDATE_RELAY) != 0;
            update->caps[update->ncaps].relay_target =
                                             (relay & TN_UPDATE_TARGET) != 0;
            update->caps[update->ncaps++].caps = caps;
        }
    }

    return TN_OK;
}


static bool
tn_update_names_caps(const tn_rules_t *rules)
{
    size_t            i, j;
    const tn_rule_t  *rule;

    for (i = 0; i < rules->n; i++) {
        rule = rules->rule[i];

        for (j = 0; j < rule->nsrcs; j++) {
            if (rule->srcs[j].kind == TN_RULE_CAP) {
                return true;
            }
        }
    }

    return false;
}


static bool
tn_update_has_cap(void *data, const char *cap)
{
    return tn_netmap_node_cap(data, cap) != NULL;
}


static bool
tn_update_names_relay(const tn_rules_t *rules)
{
    size_t                  i, j, k;
    const tn_rule_grant_t  *grant;

    for (i = 0; i < rules->n; i++) {
        for (j = 0; j < rules->rule[i]->ngrants; j++) {
            grant = &rules->rule[i]->grants[j];

            for (k = 0; k < grant->ncaps; k++) {
                if (strcmp(grant->caps[k].name, TN_UPDATE_RELAY_CAP) == 0
                    || strcmp(grant->caps[k].name, TN_UPDATE_TARGET_CAP) == 0)
                {
                    return true;
                }
            }
        }
    }

    return false;
}


/*
 * Granted from any address of the peer to one of ours, of one family; nothing
 * to a peer that tailnet lock does not cover.
 */
static uint32_t
tn_update_relay(const tn_rules_t *rules, const tn_netmap_node_t *self,
    const tn_netmap_node_t *peer)
{
    bool      v4;
    size_t    i, j;
    uint32_t  granted;

    granted = 0;

    if (peer->unsigned_peerapi_only) {
        return 0;
    }

    for (i = 0; i < peer->naddresses; i++) {
        v4 = tn_ip_is_v4(&peer->addresses[i].ip);

        for (j = 0; j < self->naddresses; j++) {
            if (tn_ip_is_v4(&self->addresses[j].ip) == v4) {
                tn_rules_caps(rules, &peer->addresses[i].ip,
                              &self->addresses[j].ip, tn_update_relay_cap,
                              &granted);
            }
        }
    }

    return granted;
}


static void
tn_update_relay_cap(void *data, const char *name, const char *json)
{
    uint32_t *granted = data;

    (void) json;

    if (strcmp(name, TN_UPDATE_RELAY_CAP) == 0) {
        *granted |= TN_UPDATE_RELAY;

    } else if (strcmp(name, TN_UPDATE_TARGET_CAP) == 0) {
        *granted |= TN_UPDATE_TARGET;
    }
}


/*
 * A peer's own addresses always; routes through it only when the operator
 * accepts them, and a default route only of the exit node that was chosen.
 */
static bool
tn_update_allows(const tn_netmap_node_t *node, const tn_prefix_t *prefix,
    bool accept_routes, const char *exit_node)
{
    size_t  i;

    for (i = 0; i < node->naddresses; i++) {
        if (prefix->bits == node->addresses[i].bits
            && tn_ip_equal(&prefix->ip, &node->addresses[i].ip))
        {
            return true;
        }
    }

    /* a single one of the tailnet's range is a service's, and no subnet */

    if (prefix->bits == (prefix->v4 ? 32 : 128)
        && tn_ip_is_tailscale(&prefix->ip) && !tn_via_is(&prefix->ip))
    {
        return true;
    }

    return prefix->bits != 0 ? accept_routes
                             : tn_update_is_named(node, exit_node);
}


/* by its MagicDNS name, whole or up to the first dot, or an own address */
static bool
tn_update_is_named(const tn_netmap_node_t *node, const char *name)
{
    size_t   i, len;
    tn_ip_t  ip;

    if (name == NULL || name[0] == '\0') {
        return false;
    }

    len = strlen(name);

    if (node->name != NULL && strncasecmp(node->name, name, len) == 0
        && (node->name[len] == '.' || node->name[len] == '\0'))
    {
        return strchr(name, '.') == NULL || node->name[len] == '\0'
               || node->name[len + 1] == '\0';
    }

    if (tn_ip_parse(&ip, name, len) != TN_OK) {
        return false;
    }

    for (i = 0; i < node->naddresses; i++) {
        if (tn_ip_equal(&ip, &node->addresses[i].ip)) {
            return true;
        }
    }

    return false;
}


static tn_rc_t
tn_update_self(tn_update_t *update, const tn_netmap_node_t *self)
{
    size_t  n;

    update->has_self = true;
    update->home_derp = self->home_derp;
    tn_update_knobs(update, self);
    n = self->naddresses;

    if (n == 0) {
        return TN_OK;
    }

    update->local = calloc(n, sizeof(tn_prefix_t));
    if (update->local == NULL) {
        return TN_NOMEM;
    }

    memcpy(update->local, self->addresses, n * sizeof(tn_prefix_t));
    update->nlocal = n;

    return TN_OK;
}


static void
tn_update_knobs(tn_update_t *update, const tn_netmap_node_t *self)
{
    tn_path_knobs_t  *knobs;

    knobs = &update->knobs;

    knobs->only_tcp_443 = tn_netmap_node_cap(self, "only-tcp-443") != NULL;
    knobs->silent_disco = tn_netmap_node_cap(self, "silent-disco") != NULL;
    knobs->probe_lifetime = tn_netmap_node_cap(self, "probe-udp-lifetime")
                            != NULL;
    knobs->peer_mtu = tn_netmap_node_cap(self, "peer-mtu-enable") != NULL;
    knobs->no_relay = tn_netmap_node_cap(self, "disable-relay-client")
                      != NULL;

    update->no_upnp = tn_netmap_node_cap(self, "debug-disable-upnp") != NULL;

    update->random_port = tn_netmap_node_cap(self, "randomize-client-port")
                          != NULL;
}
