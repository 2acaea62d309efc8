
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * From a Node or a PeerChange object (tailcfg) to a tn_netmap_node_t, and
 * what differs between two of them.  A list entry that cannot be read is left
 * out, the rest of the node stays good.
 */

#include "control/tn_netmap_int.h"

#include <ctype.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>


#define TN_NETMAP_SIGNATURE_MAX  4096       /* bytes of a KeySignature */

/* DERP regions once travelled as the port of this address (tailcfg.Node) */
#define TN_NETMAP_DERP_MAGIC     "127.3.3.40:"


static tn_rc_t tn_netmap_node_fill(tn_netmap_node_t *node, const json_t *o,
    bool self);
static tn_rc_t tn_netmap_node_texts(tn_netmap_node_t *node, const json_t *o);
static tn_rc_t tn_netmap_node_masq(tn_netmap_node_t *node, const json_t *o);
static void tn_netmap_node_hostinfo(tn_netmap_node_t *node, const json_t *o);
static tn_rc_t tn_netmap_prefixes_parse(tn_prefix_t **prefixes, uint32_t *n,
    const json_t *list);
static tn_rc_t tn_netmap_endpoints_parse(tn_addr_t **endpoints, uint32_t *n,
    const json_t *list);
static tn_rc_t tn_netmap_caps_parse(tn_netmap_cap_t **caps, uint32_t *n,
    const json_t *map, const json_t *names);
static void tn_netmap_caps_free(tn_netmap_cap_t *caps, size_t n);
static int tn_netmap_caps_order(const void *a, const void *b);
static bool tn_netmap_caps_equal(const tn_netmap_node_t *a,
    const tn_netmap_node_t *b);
static tn_rc_t tn_netmap_signature_parse(tn_netmap_node_t *node,
    const json_t *value);
static void tn_netmap_key_parse(tn_key_t *key, const json_t *o,
    const char *name, const char *prefix);
static void tn_netmap_ip_parse(tn_ip_t *ip, const json_t *value, bool v4);
static uint32_t tn_netmap_derp_legacy(const char *text);
static bool tn_netmap_bytes_equal(const void *a, size_t na, const void *b,
    size_t nb, size_t size);


tn_rc_t
tn_netmap_node_parse(tn_netmap_node_t **nodep, tn_json_span_t span, bool self)
{
    json_t            *o;
    tn_rc_t            rc;
    tn_netmap_node_t  *node;

    *nodep = NULL;

    rc = tn_json_load(span, &o);
    if (rc != TN_OK) {
        return rc;
    }

    node = NULL;

    if (!json_is_object(o)) {
        rc = TN_REFUSED;
        goto done;
    }

    node = calloc(1, sizeof(tn_netmap_node_t));
    if (node == NULL) {
        rc = TN_NOMEM;
        goto done;
    }

    rc = tn_netmap_node_fill(node, o, self);

done:

    json_decref(o);

    if (rc != TN_OK) {
        tn_netmap_node_free(node);
        return rc;
    }

    *nodep = node;

    return TN_OK;
}


void
tn_netmap_node_free(tn_netmap_node_t *node)
{
    if (node == NULL) {
        return;
    }

    if (node->allowed_ips != node->addresses) {
        free(node->allowed_ips);
    }

    free(node->stable_id);
    free(node->addresses);
    free(node->masq);
    free(node->primary_routes);
    free(node->endpoints);
    free(node->key_signature);
    tn_netmap_texts_free(node->tags, node->ntags);
    tn_netmap_caps_free(node->caps, node->ncaps);
    free(node);
}


uint32_t
tn_netmap_node_diff(const tn_netmap_node_t *a, const tn_netmap_node_t *b)
{
    uint32_t  what;

    what = 0;

    if (!tn_key_equal(&a->key, &b->key)) {
        what |= TN_NODE_KEY;
    }

    if (!tn_key_equal(&a->disco, &b->disco)) {
        what |= TN_NODE_DISCO;
    }

    if (!tn_netmap_bytes_equal(a->endpoints, a->nendpoints, b->endpoints,
                               b->nendpoints, sizeof(tn_addr_t)))
    {
        what |= TN_NODE_ENDPOINTS;
    }

    if (a->home_derp != b->home_derp) {
        what |= TN_NODE_DERP;
    }

    if (!tn_netmap_bytes_equal(a->addresses, a->naddresses, b->addresses,
                               b->naddresses, sizeof(tn_prefix_t)))
    {
        what |= TN_NODE_ADDRESSES;
    }

    if (!tn_netmap_bytes_equal(a->allowed_ips, a->nallowed_ips,
                               b->allowed_ips, b->nallowed_ips,
                               sizeof(tn_prefix_t))
        || !tn_netmap_bytes_equal(a->primary_routes, a->nprimary_routes,
                                  b->primary_routes, b->nprimary_routes,
                                  sizeof(tn_prefix_t)))
    {
        what |= TN_NODE_ALLOWED;
    }

    if (strcmp(a->name, b->name) != 0
        || strcmp(a->stable_id, b->stable_id) != 0)
    {
        what |= TN_NODE_NAME;
    }

    if (a->cap_version != b->cap_version || a->user != b->user
        || a->sharer != b->sharer || !tn_netmap_caps_equal(a, b)
        || !tn_netmap_texts_equal(a->tags, a->ntags, b->tags, b->ntags))
    {
        what |= TN_NODE_CAPS;
    }

    if (a->online != b->online || a->last_seen != b->last_seen) {
        what |= TN_NODE_ONLINE;
    }

    if (a->key_expiry != b->key_expiry || a->expired != b->expired) {
        what |= TN_NODE_EXPIRY;
    }

    if (a->machine_authorized != b->machine_authorized
        || a->jailed != b->jailed
        || a->wireguard_only != b->wireguard_only
        || a->unsigned_peerapi_only != b->unsigned_peerapi_only
        || !tn_netmap_bytes_equal(a->masq, a->masq ? 2 : 0, b->masq,
                                  b->masq ? 2 : 0, sizeof(tn_ip_t)))
    {
        what |= TN_NODE_FLAGS;
    }

    if (strcmp(a->hostname, b->hostname) != 0 || strcmp(a->os, b->os) != 0
        || strcmp(a->app, b->app) != 0 || a->peerapi4 != b->peerapi4
        || a->peerapi6 != b->peerapi6 || a->peerapi_dns != b->peerapi_dns
        || a->created != b->created
        || !tn_key_equal(&a->machine, &b->machine))
    {
        what |= TN_NODE_HOSTINFO;
    }

    if (!tn_netmap_bytes_equal(a->key_signature, a->key_signature_len,
                               b->key_signature, b->key_signature_len, 1))
    {
        what |= TN_NODE_LOCK;
    }

    return what;
}


void
tn_netmap_node_swap(tn_netmap_node_t *a, tn_netmap_node_t *b)
{
    uint8_t  tmp[offsetof(tn_netmap_node_t, by_id)];

    memcpy(tmp, a, sizeof(tmp));
    memcpy((void *) a, b, sizeof(tmp));
    memcpy((void *) b, tmp, sizeof(tmp));

    if (a->by_label.key != NULL) {
        a->by_label.key = a->label;
    }

    if (b->by_label.key != NULL) {
        b->by_label.key = b->label;
    }
}


tn_rc_t
tn_netmap_patch_parse(tn_netmap_patch_t *patch, tn_json_span_t span)
{
    json_t            *o, *value;
    int64_t            n;
    tn_rc_t            rc;
    tn_netmap_node_t  *node;

    patch->node = NULL;
    patch->what = 0;

    rc = tn_json_load(span, &o);
    if (rc != TN_OK) {
        return rc;
    }

    node = calloc(1, sizeof(tn_netmap_node_t));
    if (node == NULL) {
        rc = TN_NOMEM;
        goto done;
    }

    node->id = tn_json_int(o, "NodeID");
    if (node->id == 0) {
        rc = TN_REFUSED;
        goto done;
    }

    n = tn_json_int(o, "DERPRegion");
    if (n > 0 && n <= INT32_MAX) {
        node->home_derp = (uint32_t) n;
        patch->what |= TN_PATCH_DERP;
    }

    n = tn_json_int(o, "Cap");
    if (n > 0 && n <= INT32_MAX) {
        node->cap_version = (uint32_t) n;
        patch->what |= TN_PATCH_CAP_VERSION;
    }

    value = json_object_get(o, "CapMap");
    if (json_is_object(value)) {
        rc = tn_netmap_caps_parse(&node->caps, &node->ncaps, value, NULL);
        if (rc != TN_OK) {
            goto done;
        }

        patch->what |= TN_PATCH_CAPS;
    }

    value = json_object_get(o, "Endpoints");
    if (json_is_array(value)) {
        rc = tn_netmap_endpoints_parse(&node->endpoints, &node->nendpoints,
                                       value);
        if (rc != TN_OK) {
            goto done;
        }

        patch->what |= TN_PATCH_ENDPOINTS;
    }

    tn_netmap_key_parse(&node->key, o, "Key", TN_KEY_NODE);
    if (!tn_key_is_zero(&node->key)) {
        patch->what |= TN_PATCH_KEY;
    }

    value = json_object_get(o, "KeySignature");
    if (json_is_string(value)) {
        rc = tn_netmap_signature_parse(node, value);
        if (rc != TN_OK) {
            goto done;
        }

        patch->what |= TN_PATCH_SIGNATURE;
    }

    value = json_object_get(o, "DiscoKey");
    if (json_is_string(value)) {
        tn_netmap_key_parse(&node->disco, o, "DiscoKey", TN_KEY_DISCO);
        patch->what |= TN_PATCH_DISCO;
    }

    value = json_object_get(o, "Online");
    if (json_is_boolean(value)) {
        node->online = json_is_true(value) ? TN_YES : TN_NO;
        patch->what |= TN_PATCH_ONLINE;
    }

    value = json_object_get(o, "LastSeen");
    if (json_is_string(value)) {
        node->last_seen = tn_json_time(value);
        patch->what |= TN_PATCH_LAST_SEEN;
    }

    value = json_object_get(o, "KeyExpiry");
    if (json_is_string(value)) {
        node->key_expiry = tn_json_time(value);
        patch->what |= TN_PATCH_KEY_EXPIRY;
    }

    rc = TN_OK;

done:

    json_decref(o);

    if (rc != TN_OK) {
        tn_netmap_node_free(node);
        return rc;
    }

    patch->node = node;

    return TN_OK;
}


uint32_t
tn_netmap_patch_put(tn_netmap_node_t *node, tn_netmap_patch_t *patch)
{
    uint32_t           what, changed;
    tn_netmap_node_t  *from;

    what = patch->what;
    from = patch->node;
    changed = 0;

#define tn_netmap_put(bit, field, flag)                                       \
    if ((what & (bit)) && node->field != from->field) {                       \
        node->field = from->field;                                            \
        changed |= (flag);                                                    \
    }

#define tn_netmap_put_list(bit, list, len, flag)                              \
    if (what & (bit)) {                                                       \
        if (!tn_netmap_bytes_equal(node->list, node->len, from->list,         \
                                   from->len, sizeof(*node->list)))           \
        {                                                                     \
            changed |= (flag);                                                \
        }                                                                     \
                                                                              \
        free(node->list);                                                     \
        node->list = from->list;                                              \
        node->len = from->len;                                                \
        from->list = NULL;                                                    \
        from->len = 0;                                                        \
    }

    tn_netmap_put(TN_PATCH_DERP, home_derp, TN_NODE_DERP);
    tn_netmap_put(TN_PATCH_CAP_VERSION, cap_version, TN_NODE_CAPS);
    tn_netmap_put(TN_PATCH_ONLINE, online, TN_NODE_ONLINE);
    tn_netmap_put(TN_PATCH_LAST_SEEN, last_seen, TN_NODE_ONLINE);

    /* whether it has passed is for tn_netmap_expire() to see anew */
    if (what & TN_PATCH_KEY_EXPIRY) {
        from->expired = 0;
        node->lapsed = 0;
        tn_netmap_put(TN_PATCH_KEY_EXPIRY, expired, TN_NODE_EXPIRY);
    }

    tn_netmap_put(TN_PATCH_KEY_EXPIRY, key_expiry, TN_NODE_EXPIRY);
    tn_netmap_put_list(TN_PATCH_ENDPOINTS, endpoints, nendpoints,
                       TN_NODE_ENDPOINTS);
    tn_netmap_put_list(TN_PATCH_SIGNATURE, key_signature, key_signature_len,
                       TN_NODE_LOCK);

    if ((what & TN_PATCH_DISCO) && !tn_key_equal(&node->disco, &from->disco)) {
        node->disco = from->disco;
        changed |= TN_NODE_DISCO;
    }

    if (what & TN_PATCH_CAPS) {
        if (!tn_netmap_caps_equal(node, from)) {
            changed |= TN_NODE_CAPS;
        }

        tn_netmap_caps_free(node->caps, node->ncaps);
        node->caps = from->caps;
        node->ncaps = from->ncaps;
        from->caps = NULL;
        from->ncaps = 0;
    }

#undef tn_netmap_put
#undef tn_netmap_put_list

    return changed;
}


static tn_rc_t
tn_netmap_node_fill(tn_netmap_node_t *node, const json_t *o, bool self)
{
    size_t    ntags;
    int64_t   n;
    tn_rc_t   rc;
    json_t   *value;

    node->id = tn_json_int(o, "ID");
    tn_netmap_key_parse(&node->key, o, "Key", TN_KEY_NODE);

    if (node->id == 0 || tn_key_is_zero(&node->key)) {
        return TN_REFUSED;
    }

    tn_netmap_key_parse(&node->machine, o, "Machine", TN_KEY_MACHINE);
    tn_netmap_key_parse(&node->disco, o, "DiscoKey", TN_KEY_DISCO);

    rc = tn_netmap_node_texts(node, o);
    if (rc != TN_OK) {
        return rc;
    }

    node->user = tn_json_int(o, "User");
    node->sharer = tn_json_int(o, "Sharer");
    node->key_expiry = tn_json_time(json_object_get(o, "KeyExpiry"));
    node->created = tn_json_time(json_object_get(o, "Created"));
    node->last_seen = tn_json_time(json_object_get(o, "LastSeen"));

    value = json_object_get(o, "Online");
    node->online = json_is_boolean(value) ? json_is_true(value) ? TN_YES
                                                                : TN_NO
                                          : TN_UNKNOWN;

    node->machine_authorized = tn_json_bool(o, "MachineAuthorized");
    node->expired = tn_json_bool(o, "Expired");
    node->jailed = tn_json_bool(o, "IsJailed");
    node->wireguard_only = tn_json_bool(o, "IsWireGuardOnly");
    node->unsigned_peerapi_only = tn_json_bool(o, "UnsignedPeerAPIOnly");

    rc = tn_netmap_node_masq(node, o);
    if (rc != TN_OK) {
        return rc;
    }

    n = tn_json_int(o, "Cap");
    node->cap_version = n > 0 && n <= INT32_MAX ? (uint32_t) n : 0;

    n = tn_json_int(o, "HomeDERP");
    node->home_derp = n > 0 && n <= INT32_MAX
                      ? (uint32_t) n
                      : tn_netmap_derp_legacy(tn_json_text(o, "DERP"));

    rc = tn_netmap_prefixes_parse(&node->addresses, &node->naddresses,
                                  json_object_get(o, "Addresses"));
    if (rc != TN_OK) {
        return rc;
    }

    /*
     * Capability version 112: null stands for the node's own addresses.
     * Unsigned peers are not covered by tailnet lock, so control must not
     * give them more.
     */
    value = json_object_get(o, "AllowedIPs");

    if (json_is_array(value) && !node->unsigned_peerapi_only) {
        rc = tn_netmap_prefixes_parse(&node->allowed_ips,
                                      &node->nallowed_ips, value);
        if (rc != TN_OK) {
            return rc;
        }

        if (tn_netmap_bytes_equal(node->allowed_ips, node->nallowed_ips,
                                  node->addresses, node->naddresses,
                                  sizeof(tn_prefix_t)))
        {
            free(node->allowed_ips);
            node->allowed_ips = node->addresses;
        }

    } else {
        node->allowed_ips = node->addresses;
        node->nallowed_ips = node->naddresses;
    }

    rc = tn_netmap_prefixes_parse(&node->primary_routes,
                                  &node->nprimary_routes,
                                  json_object_get(o, "PrimaryRoutes"));
    if (rc != TN_OK) {
        return rc;
    }

    rc = tn_netmap_endpoints_parse(&node->endpoints, &node->nendpoints,
                                   json_object_get(o, "Endpoints"));
    if (rc != TN_OK) {
        return rc;
    }

    rc = tn_netmap_texts_parse(&node->tags, &ntags,
                               json_object_get(o, "Tags"));
    node->ntags = (uint32_t) ntags;

    if (rc != TN_OK) {
        return rc;
    }

    /* the deprecated list of names still comes, for the node itself */
    rc = tn_netmap_caps_parse(&node->caps, &node->ncaps,
                              json_object_get(o, "CapMap"),
                              self ? json_object_get(o, "Capabilities")
                                   : NULL);
    if (rc != TN_OK) {
        return rc;
    }

    rc = tn_netmap_signature_parse(node, json_object_get(o, "KeySignature"));
    if (rc != TN_OK) {
        return rc;
    }

    tn_netmap_node_hostinfo(node, json_object_get(o, "Hostinfo"));

    return TN_OK;
}


static tn_rc_t
tn_netmap_node_texts(tn_netmap_node_t *node, const json_t *o)
{
    char          *p;
    size_t         i, k, size, len[5];
    const char    *text[5];
    const json_t  *hostinfo;

    hostinfo = json_object_get(o, "Hostinfo");

    text[0] = tn_json_text(o, "StableID");
    text[1] = tn_json_text(o, "Name");
    text[2] = tn_json_text(hostinfo, "Hostname");
    text[3] = tn_json_text(hostinfo, "OS");
    text[4] = tn_json_text(hostinfo, "App");

    /* a name over DNS's limit is nobody's name */

    if (strlen(text[1]) > 254) {
        text[1] = "";
    }

    k = strcspn(text[1], ".");
    k = k < TN_NETMAP_LABEL ? k : 0;
    size = k + 1;

    for (i = 0; i < 5; i++) {
        len[i] = strnlen(text[i], TN_NETMAP_TEXT_MAX);
        size += len[i] + 1;
    }

    p = malloc(size);
    if (p == NULL) {
        return TN_NOMEM;
    }

    node->stable_id = p;
    node->label = p + len[0] + 1;
    node->name = node->label + k + 1;
    node->hostname = node->name + len[1] + 1;
    node->os = node->hostname + len[2] + 1;
    node->app = node->os + len[3] + 1;

    memcpy(node->stable_id, text[0], len[0]);
    memcpy(node->name, text[1], len[1]);
    memcpy(node->hostname, text[2], len[2]);
    memcpy(node->os, text[3], len[3]);
    memcpy(node->app, text[4], len[4]);

    node->stable_id[len[0]] = '\0';
    node->label[k] = '\0';
    node->name[len[1]] = '\0';
    node->hostname[len[2]] = '\0';
    node->os[len[3]] = '\0';
    node->app[len[4]] = '\0';

    for (i = 0; i < k; i++) {
        node->label[i] = (char) tolower((unsigned char) text[1][i]);
    }

    return TN_OK;
}


static tn_rc_t
tn_netmap_node_masq(tn_netmap_node_t *node, const json_t *o)
{
    tn_ip_t  v4, v6;

    memset(&v4, 0, sizeof(v4));
    memset(&v6, 0, sizeof(v6));

    tn_netmap_ip_parse(&v4, json_object_get(o,
                                            "SelfNodeV4MasqAddrForThisPeer"),
                       true);
    tn_netmap_ip_parse(&v6, json_object_get(o,
                                            "SelfNodeV6MasqAddrForThisPeer"),
                       false);

    if (tn_ip_is_none(&v4) && tn_ip_is_none(&v6)) {
        return TN_OK;
    }

    node->masq = malloc(2 * sizeof(tn_ip_t));
    if (node->masq == NULL) {
        return TN_NOMEM;
    }

    node->masq[0] = v4;
    node->masq[1] = v6;

    return TN_OK;
}


static void
tn_netmap_node_hostinfo(tn_netmap_node_t *node, const json_t *o)
{
    size_t       i;
    int64_t      port;
    json_t      *service;
    const char  *proto;

    json_array_foreach(json_object_get(o, "Services"), i, service) {
        proto = tn_json_text(service, "Proto");
        port = tn_json_int(service, "Port");

        if (port <= 0 || port > 65535) {
            continue;
        }

        if (strcmp(proto, "peerapi4") == 0) {
            node->peerapi4 = (uint16_t) port;

        } else if (strcmp(proto, "peerapi6") == 0) {
            node->peerapi6 = (uint16_t) port;

        } else if (strcmp(proto, "peerapi-dns-proxy") == 0) {
            node->peerapi_dns = 1;
        }
    }
}


static tn_rc_t
tn_netmap_prefixes_parse(tn_prefix_t **prefixes, uint32_t *n,
    const json_t *list)
{
    size_t        i, size, max;
    json_t       *value;
    const char   *text;
    tn_prefix_t  *p;

    *prefixes = NULL;
    *n = 0;

    size = json_array_size(list);

    if (size == 0) {
        return TN_OK;
    }

    max = tn_min(size, (size_t) TN_NETMAP_LIST_MAX);

    /* zeroed, so that lists can be compared as bytes */
    p = calloc(max, sizeof(tn_prefix_t));
    if (p == NULL) {
        return TN_NOMEM;
    }

    json_array_foreach(list, i, value) {
        text = json_string_value(value);

        if (*n < max && text != NULL
            && tn_prefix_parse(&p[*n], text, strlen(text)) == TN_OK)
        {
            (*n)++;
        }
    }

    *prefixes = p;

    return TN_OK;
}


static tn_rc_t
tn_netmap_endpoints_parse(tn_addr_t **endpoints, uint32_t *n,
    const json_t *list)
{
    size_t       i, size, max;
    json_t      *value;
    tn_addr_t   *p;
    const char  *text;

    *endpoints = NULL;
    *n = 0;

    size = json_array_size(list);

    if (size == 0) {
        return TN_OK;
    }

    max = tn_min(size, (size_t) TN_ENDPOINTS_MAX);

    p = calloc(max, sizeof(tn_addr_t));
    if (p == NULL) {
        return TN_NOMEM;
    }

    json_array_foreach(list, i, value) {
        text = json_string_value(value);

        if (*n < max && text != NULL
            && tn_addr_parse(&p[*n], text, strlen(text)) == TN_OK
            && p[*n].port != 0)
        {
            (*n)++;
        }
    }

    *endpoints = p;

    return TN_OK;
}


static tn_rc_t
tn_netmap_caps_parse(tn_netmap_cap_t **caps, uint32_t *n, const json_t *map,
    const json_t *names)
{
    size_t            i, max;
    json_t           *value;
    const char       *name;
    tn_netmap_cap_t  *p;

    *caps = NULL;
    *n = 0;

    max = json_object_size(map) + json_array_size(names);

    if (max == 0) {
        return TN_OK;
    }

    max = tn_min(max, (size_t) TN_NETMAP_LIST_MAX);

    p = calloc(max, sizeof(tn_netmap_cap_t));
    if (p == NULL) {
        return TN_NOMEM;
    }

    *caps = p;

    json_object_foreach((json_t *) map, name, value) {

        if (*n == max || strlen(name) > TN_NETMAP_TEXT_MAX) {
            continue;
        }

        p[*n].name = strdup(name);
        if (p[*n].name == NULL) {
            return TN_NOMEM;
        }

        /* one over the limit stays as a name without values */
        if (json_array_size(value) != 0) {
            p[*n].json = tn_json_dump(value, TN_NETMAP_CAP_MAX);
        }

        (*n)++;
    }

    json_array_foreach(names, i, value) {
        name = json_string_value(value);

        if (name == NULL || *n == max || strlen(name) > TN_NETMAP_TEXT_MAX
            || json_object_get(map, name) != NULL)
        {
            continue;
        }

        p[*n].name = strdup(name);
        if (p[*n].name == NULL) {
            return TN_NOMEM;
        }

        (*n)++;
    }

    qsort(p, *n, sizeof(tn_netmap_cap_t), tn_netmap_caps_order);

    return TN_OK;
}


static void
tn_netmap_caps_free(tn_netmap_cap_t *caps, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        free(caps[i].name);
        free(caps[i].json);
    }

    free(caps);
}


static int
tn_netmap_caps_order(const void *a, const void *b)
{
    const tn_netmap_cap_t  *x, *y;

    x = a;
    y = b;

    return strcmp(x->name, y->name);
}


static bool
tn_netmap_caps_equal(const tn_netmap_node_t *a, const tn_netmap_node_t *b)
{
    size_t                  i;
    const tn_netmap_cap_t  *x, *y;

    if (a->ncaps != b->ncaps) {
        return false;
    }

    for (i = 0; i < a->ncaps; i++) {
        x = &a->caps[i];
        y = &b->caps[i];

        if (strcmp(x->name, y->name) != 0
            || strcmp(x->json ? x->json : "", y->json ? y->json : "") != 0)
        {
            return false;
        }
    }

    return true;
}


static tn_rc_t
tn_netmap_signature_parse(tn_netmap_node_t *node, const json_t *value)
{
    size_t       len, bytes;
    const char  *text;

    text = json_string_value(value);
    len = json_string_length(value);

    if (text == NULL || len == 0 || len > TN_NETMAP_SIGNATURE_MAX) {
        return TN_OK;
    }

    node->key_signature = malloc(len);
    if (node->key_signature == NULL) {
        return TN_NOMEM;
    }

    if (sodium_base642bin(node->key_signature, len, text, len, NULL,
                          &bytes, NULL, sodium_base64_VARIANT_ORIGINAL)
        != 0)
    {
        free(node->key_signature);
        node->key_signature = NULL;
        bytes = 0;
    }

    node->key_signature_len = (uint32_t) bytes;

    return TN_OK;
}


static void
tn_netmap_key_parse(tn_key_t *key, const json_t *o, const char *name,
    const char *prefix)
{
    const char  *text;

    text = tn_json_text(o, name);

    (void) tn_key_parse(key, prefix, text, strlen(text));
}


static void
tn_netmap_ip_parse(tn_ip_t *ip, const json_t *value, bool v4)
{
    tn_ip_t      parsed;
    const char  *text;

    text = json_string_value(value);

    if (text != NULL && tn_ip_parse(&parsed, text, strlen(text)) == TN_OK
        && tn_ip_is_v4(&parsed) == v4)
    {
        *ip = parsed;
    }
}


static uint32_t
tn_netmap_derp_legacy(const char *text)
{
    int64_t         region;
    tn_json_span_t  span;

    if (strncmp(text, TN_NETMAP_DERP_MAGIC, sizeof(TN_NETMAP_DERP_MAGIC) - 1)
        != 0)
    {
        return 0;
    }

    span.data = text + sizeof(TN_NETMAP_DERP_MAGIC) - 1;
    span.len = strlen(span.data);

    if (!tn_json_key_int(span, &region) || region < 0 || region > 65535) {
        return 0;
    }

    return (uint32_t) region;
}


static bool
tn_netmap_bytes_equal(const void *a, size_t na, const void *b, size_t nb,
    size_t size)
{
    return na == nb && (na == 0 || memcmp(a, b, na * size) == 0);
}


void
tn_netmap_texts_free(char **texts, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        free(texts[i]);
    }

    free(texts);
}


bool
tn_netmap_texts_equal(char *const *a, size_t na, char *const *b, size_t nb)
{
    size_t  i;

    if (na != nb) {
        return false;
    }

    for (i = 0; i < na; i++) {
        if (strcmp(a[i], b[i]) != 0) {
            return false;
        }
    }

    return true;
}


tn_rc_t
tn_netmap_texts_parse(char ***texts, size_t *n, const json_t *list)
{
    char        **p;
    size_t        i, max;
    json_t       *value;
    const char   *text;

    *texts = NULL;
    *n = 0;

    max = tn_min(json_array_size(list), (size_t) TN_NETMAP_LIST_MAX);

    if (max == 0) {
        return TN_OK;
    }

    p = calloc(max, sizeof(char *));
    if (p == NULL) {
        return TN_NOMEM;
    }

    *texts = p;

    json_array_foreach(list, i, value) {
        text = json_string_value(value);

        if (text == NULL || *n == max || strlen(text) > TN_NETMAP_TEXT_MAX) {
            continue;
        }

        p[*n] = strdup(text);
        if (p[*n] == NULL) {
            return TN_NOMEM;
        }

        (*n)++;
    }

    return TN_OK;
}
