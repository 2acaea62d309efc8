
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A MapResponse from JSON into a draft.  The message is cut at its fields and
 * lists before anything is built, so that a list of peers costs the tree of
 * one peer at a time.  Parts of a wrong type are counted and left out; what
 * is not JSON spoils the message.
 */

#include "control/tn_netmap_draft.h"

#include <stdlib.h>


static const char  *tn_map_names[TN_MAP_NFIELDS] = {
    [TN_MAP_KEEP_ALIVE] = "KeepAlive",
    [TN_MAP_PING_REQUEST] = "PingRequest",
    [TN_MAP_POP_BROWSER_URL] = "PopBrowserURL",
    [TN_MAP_CLIENT_VERSION] = "ClientVersion",
    [TN_MAP_CONTROL_TIME] = "ControlTime",
    [TN_MAP_DEBUG] = "Debug",
    [TN_MAP_DIAL_PLAN] = "ControlDialPlan",
    [TN_MAP_NODE] = "Node",
    [TN_MAP_DERPMAP] = "DERPMap",
    [TN_MAP_PEERS] = "Peers",
    [TN_MAP_PEERS_CHANGED] = "PeersChanged",
    [TN_MAP_PEERS_REMOVED] = "PeersRemoved",
    [TN_MAP_PEERS_PATCH] = "PeersChangedPatch",
    [TN_MAP_PEER_SEEN] = "PeerSeenChange",
    [TN_MAP_ONLINE] = "OnlineChange",
    [TN_MAP_DNS] = "DNSConfig",
    [TN_MAP_DOMAIN] = "Domain",
    [TN_MAP_FILTER] = "PacketFilter",
    [TN_MAP_FILTERS] = "PacketFilters",
    [TN_MAP_USERS] = "UserProfiles",
    [TN_MAP_HEALTH] = "Health",
    [TN_MAP_MESSAGES] = "DisplayMessages",
    [TN_MAP_LOCK] = "TKAInfo"
};


static tn_rc_t tn_map_message_visit(void *data, tn_json_span_t key,
    tn_json_span_t value);
static tn_rc_t tn_netmap_draft_peers(tn_netmap_draft_t *draft,
    const tn_map_message_t *message);
static tn_rc_t tn_netmap_draft_simple(tn_netmap_draft_t *draft,
    const tn_map_message_t *message);
static tn_rc_t tn_netmap_draft_node(void *data, tn_json_span_t key,
    tn_json_span_t value);
static tn_rc_t tn_netmap_draft_removed(void *data, tn_json_span_t key,
    tn_json_span_t value);
static tn_rc_t tn_netmap_draft_patch(void *data, tn_json_span_t key,
    tn_json_span_t value);
static tn_rc_t tn_netmap_draft_seen(void *data, tn_json_span_t key,
    tn_json_span_t value);
static tn_rc_t tn_netmap_draft_online(void *data, tn_json_span_t key,
    tn_json_span_t value);
static tn_rc_t tn_netmap_draft_user(void *data, tn_json_span_t key,
    tn_json_span_t value);
static tn_rc_t tn_netmap_draft_flag(tn_netmap_draft_t *draft,
    tn_netmap_flag_t **flags, size_t *n, tn_json_span_t key,
    tn_json_span_t value);
static tn_rc_t tn_netmap_draft_skip(tn_netmap_draft_t *draft, tn_rc_t rc);
static bool tn_netmap_filters_same(const tn_netmap_filters_t *a,
    const tn_netmap_filters_t *b);


tn_rc_t
tn_map_message_cut(tn_map_message_t *message, const char *json, size_t len)
{
    tn_json_span_t  text;

    memset(message, 0, sizeof(tn_map_message_t));

    text.data = json;
    text.len = len;

    return tn_json_scan_object(text, tn_map_message_visit, message);
}


static tn_rc_t
tn_map_message_visit(void *data, tn_json_span_t key, tn_json_span_t value)
{
    size_t             i;
    tn_map_message_t  *message;

    message = data;

    for (i = 0; i < TN_MAP_NFIELDS; i++) {
        if (tn_json_span_is(key, tn_map_names[i])) {
            message->field[i] = value;
            break;
        }
    }

    return TN_OK;
}


tn_rc_t
tn_netmap_draft_parse(tn_netmap_draft_t *draft,
    const tn_map_message_t *message)
{
    tn_rc_t                 rc;
    tn_json_span_t          one, named;
    tn_netmap_t            *netmap;
    tn_netmap_filters_t     none;
    tn_netmap_messages_t    old;

    netmap = draft->netmap;

    if (tn_json_span_given(message->field[TN_MAP_NODE])) {
        rc = tn_netmap_node_parse(&draft->self, message->field[TN_MAP_NODE],
                                  true);
        rc = tn_netmap_draft_skip(draft, rc);
        if (rc != TN_OK) {
            return rc;
        }
    }

    rc = tn_netmap_draft_simple(draft, message);
    if (rc != TN_OK) {
        return rc;
    }

    rc = tn_netmap_draft_peers(draft, message);
    if (rc != TN_OK) {
        return rc;
    }

    if (tn_json_span_given(message->field[TN_MAP_USERS])) {
        rc = tn_json_scan_array(message->field[TN_MAP_USERS],
                                tn_netmap_draft_user, draft);
        if (rc != TN_OK) {
            return rc;
        }
    }

    one = message->field[TN_MAP_FILTER];
    named = message->field[TN_MAP_FILTERS];

    if (tn_json_span_given(one) || tn_json_span_given(named)
        || draft->fresh)
    {
        memset(&none, 0, sizeof(none));

        rc = tn_netmap_filters_parse(&draft->filters,
                                     draft->fresh ? &none : netmap->filters,
                                     one, named, &draft->rules,
                                     &draft->filters_changed);
        if (rc != TN_OK) {
            return rc;
        }

        if (draft->fresh) {
            draft->filters_changed = !tn_netmap_filters_same(draft->filters,
                                                             netmap->filters);
        }
    }

    old.message = draft->fresh ? NULL : netmap->messages;
    old.n = draft->fresh ? 0 : netmap->nmessages;

    if (tn_json_span_given(message->field[TN_MAP_HEALTH])
        || tn_json_span_given(message->field[TN_MAP_MESSAGES])
        || (draft->fresh && netmap->nmessages != 0))
    {
        rc = tn_netmap_messages_parse(&draft->messages, &old,
                                      message->field[TN_MAP_HEALTH],
                                      message->field[TN_MAP_MESSAGES],
                                      &draft->messages_changed);
        if (rc != TN_OK) {
            return rc;
        }

        draft->messages_given = true;
        draft->messages_changed |= draft->fresh && netmap->nmessages != 0;
    }

    return TN_OK;
}


static tn_rc_t
tn_netmap_draft_simple(tn_netmap_draft_t *draft,
    const tn_map_message_t *message)
{
    json_t          *o;
    tn_rc_t          rc;
    tn_netmap_t     *netmap;
    tn_json_span_t   span;

    netmap = draft->netmap;

    span = message->field[TN_MAP_DNS];

    if (tn_json_span_given(span)) {
        rc = tn_netmap_dns_parse(&draft->dns, span);
        draft->dns_given = rc == TN_OK;

        rc = tn_netmap_draft_skip(draft, rc);
        if (rc != TN_OK) {
            return rc;
        }
    }

    span = message->field[TN_MAP_DERPMAP];

    if (tn_json_span_given(span)) {
        rc = tn_netmap_derp_parse(&draft->derpmap, netmap->derpmap, span);

        rc = tn_netmap_draft_skip(draft, rc);
        if (rc != TN_OK) {
            return rc;
        }
    }

    span = message->field[TN_MAP_DOMAIN];

    if (tn_json_span_given(span)) {
        rc = tn_json_load(span, &o);

        if (rc == TN_OK && json_string_length(o) != 0) {
            draft->domain = tn_json_copy(json_string_value(o),
                                         TN_NETMAP_TEXT_MAX);
            rc = draft->domain ? TN_OK : TN_NOMEM;
        }

        json_decref(o);

        rc = tn_netmap_draft_skip(draft, rc);
        if (rc != TN_OK) {
            return rc;
        }
    }

    span = message->field[TN_MAP_LOCK];

    if (tn_json_span_given(span)) {
        rc = tn_json_load(span, &o);

        if (rc == TN_OK) {
            draft->lock_head = tn_json_copy(tn_json_bool(o, "Disabled")
                                            ? "" : tn_json_text(o, "Head"),
                                            TN_NETMAP_TEXT_MAX);
            rc = draft->lock_head ? TN_OK : TN_NOMEM;
        }

        json_decref(o);

        rc = tn_netmap_draft_skip(draft, rc);
        if (rc != TN_OK) {
            return rc;
        }
    }

    return TN_OK;
}


static tn_rc_t
tn_netmap_draft_peers(tn_netmap_draft_t *draft,
    const tn_map_message_t *message)
{
    size_t   i;
    tn_rc_t  rc;

    static const struct {
        tn_map_field_e     field;
        bool               object;
        tn_json_visit_pt   visit;
    }  steps[] = {
        { TN_MAP_PEERS_REMOVED, false, tn_netmap_draft_removed },
        { TN_MAP_PEERS_CHANGED, false, tn_netmap_draft_node },
        { TN_MAP_PEER_SEEN, true, tn_netmap_draft_seen },
        { TN_MAP_ONLINE, true, tn_netmap_draft_online },
        { TN_MAP_PEERS_PATCH, false, tn_netmap_draft_patch }
    };

    if (tn_json_span_given(message->field[TN_MAP_PEERS])) {
        rc = tn_json_scan_array(message->field[TN_MAP_PEERS],
                                tn_netmap_draft_node, draft);
        if (rc != TN_OK) {
            return rc;
        }

        /* an empty list is one that was not sent */

        if (draft->nnodes != 0) {
            draft->full = true;
            return TN_OK;
        }
    }

    for (i = 0; i < tn_nelems(steps); i++) {

        if (!tn_json_span_given(message->field[steps[i].field])) {
            continue;
        }

        rc = steps[i].object
             ? tn_json_scan_object(message->field[steps[i].field],
                                   steps[i].visit, draft)
             : tn_json_scan_array(message->field[steps[i].field],
                                  steps[i].visit, draft);
        if (rc != TN_OK) {
            return rc;
        }
    }

    /* a new stream that names no peers at all: there are none */
    draft->full = draft->fresh;

    return TN_OK;
}


void
tn_netmap_draft_done(tn_netmap_draft_t *draft)
{
    size_t  i;

    for (i = 0; i < draft->nnodes; i++) {
        tn_netmap_node_free(draft->nodes[i]);
    }

    for (i = 0; i < draft->npatches; i++) {
        tn_netmap_node_free(draft->patches[i].node);
    }

    for (i = 0; i < draft->nusers; i++) {
        tn_netmap_user_free(draft->users[i]);
    }

    tn_netmap_node_free(draft->self);
    tn_netmap_dns_free(&draft->dns);
    tn_derpmap_free(draft->derpmap);
    tn_netmap_filters_free(draft->filters);
    tn_netmap_messages_free(&draft->messages);
    tn_rules_done(&draft->rules);
    free(draft->domain);
    free(draft->lock_head);
    free(draft->nodes);
    free(draft->removed);
    free(draft->seen);
    free(draft->online);
    free(draft->patches);
    free(draft->users);
}


static tn_rc_t
tn_netmap_draft_node(void *data, tn_json_span_t key, tn_json_span_t value)
{
    void               *p;
    tn_rc_t             rc;
    tn_netmap_node_t   *node;
    tn_netmap_draft_t  *draft;

    (void) key;

    draft = data;

    if (tn_json_span_is(value, "null")) {
        return TN_OK;
    }

    if (draft->nnodes == TN_NETMAP_PEERS_MAX) {
        draft->left_out++;
        return TN_OK;
    }

    rc = tn_netmap_node_parse(&node, value, false);
    if (rc != TN_OK) {
        return tn_netmap_draft_skip(draft, rc);
    }

    p = tn_netmap_grow(draft->nodes, draft->nnodes, sizeof(node));
    if (p == NULL) {
        tn_netmap_node_free(node);
        return TN_NOMEM;
    }

    draft->nodes = p;
    draft->nodes[draft->nnodes++] = node;

    return TN_OK;
}


static tn_rc_t
tn_netmap_draft_removed(void *data, tn_json_span_t key, tn_json_span_t value)
{
    void               *p;
    int64_t             id;
    tn_netmap_draft_t  *draft;

    (void) key;

    draft = data;

    if (!tn_json_key_int(value, &id)
        || draft->nremoved == TN_NETMAP_PEERS_MAX)
    {
        draft->left_out++;
        return TN_OK;
    }

    p = tn_netmap_grow(draft->removed, draft->nremoved, sizeof(id));
    if (p == NULL) {
        return TN_NOMEM;
    }

    draft->removed = p;
    draft->removed[draft->nremoved++] = id;

    return TN_OK;
}


static tn_rc_t
tn_netmap_draft_patch(void *data, tn_json_span_t key, tn_json_span_t value)
{
    void               *p;
    tn_rc_t             rc;
    tn_netmap_draft_t  *draft;
    tn_netmap_patch_t   patch;

    (void) key;

    draft = data;

    if (tn_json_span_is(value, "null")) {
        return TN_OK;
    }

    if (draft->npatches == TN_NETMAP_PEERS_MAX) {
        draft->left_out++;
        return TN_OK;
    }

    rc = tn_netmap_patch_parse(&patch, value);
    if (rc != TN_OK) {
        return tn_netmap_draft_skip(draft, rc);
    }

    p = tn_netmap_grow(draft->patches, draft->npatches, sizeof(patch));
    if (p == NULL) {
        tn_netmap_node_free(patch.node);
        return TN_NOMEM;
    }

    draft->patches = p;
    draft->patches[draft->npatches++] = patch;

    return TN_OK;
}


static tn_rc_t
tn_netmap_draft_seen(void *data, tn_json_span_t key, tn_json_span_t value)
{
    tn_netmap_draft_t  *draft;

    draft = data;

    return tn_netmap_draft_flag(draft, &draft->seen, &draft->nseen, key,
                                value);
}


static tn_rc_t
tn_netmap_draft_online(void *data, tn_json_span_t key, tn_json_span_t value)
{
    tn_netmap_draft_t  *draft;

    draft = data;

    return tn_netmap_draft_flag(draft, &draft->online, &draft->nonline, key,
                                value);
}


static tn_rc_t
tn_netmap_draft_flag(tn_netmap_draft_t *draft, tn_netmap_flag_t **flags,
    size_t *n, tn_json_span_t key, tn_json_span_t value)
{
    bool               yes;
    int64_t            id;
    tn_netmap_flag_t  *p;

    yes = tn_json_span_is(value, "true");

    if ((!yes && !tn_json_span_is(value, "false"))
        || !tn_json_key_int(key, &id) || *n == TN_NETMAP_PEERS_MAX)
    {
        draft->left_out++;
        return TN_OK;
    }

    p = tn_netmap_grow(*flags, *n, sizeof(tn_netmap_flag_t));
    if (p == NULL) {
        return TN_NOMEM;
    }

    *flags = p;
    p += (*n)++;
    p->id = id;
    p->yes = yes;

    return TN_OK;
}


static tn_rc_t
tn_netmap_draft_user(void *data, tn_json_span_t key, tn_json_span_t value)
{
    void               *p;
    tn_rc_t             rc;
    tn_netmap_user_t   *user;
    tn_netmap_draft_t  *draft;

    (void) key;

    draft = data;

    if (draft->nusers == TN_NETMAP_USERS_MAX) {
        draft->left_out++;
        return TN_OK;
    }

    rc = tn_netmap_user_parse(&user, value);
    if (rc != TN_OK) {
        return tn_netmap_draft_skip(draft, rc);
    }

    p = tn_netmap_grow(draft->users, draft->nusers, sizeof(user));
    if (p == NULL) {
        tn_netmap_user_free(user);
        return TN_NOMEM;
    }

    draft->users = p;
    draft->users[draft->nusers++] = user;

    return TN_OK;
}


static tn_rc_t
tn_netmap_draft_skip(tn_netmap_draft_t *draft, tn_rc_t rc)
{
    if (rc != TN_REFUSED) {
        return rc;
    }

    draft->left_out++;

    return TN_OK;
}


void *
tn_netmap_grow(void *array, size_t n, size_t size)
{
    if (n != 0 && (n < 16 || (n & (n - 1)) != 0)) {
        return array;
    }

    return realloc(array, tn_max(16, 2 * n) * size);
}


static bool
tn_netmap_filters_same(const tn_netmap_filters_t *a,
    const tn_netmap_filters_t *b)
{
    size_t  i;

    if (a->n != b->n) {
        return false;
    }

    for (i = 0; i < a->n; i++) {
        if (strcmp(a->filter[i].name, b->filter[i].name) != 0
            || memcmp(a->filter[i].digest, b->filter[i].digest,
                      sizeof(a->filter[i].digest)) != 0)
        {
            return false;
        }
    }

    return true;
}
