
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * One MapResponse into the netmap (tailcfg.MapResponse).
 *
 * First all of it is parsed into a draft beside the netmap; a message that is
 * malformed anywhere ends there and has changed nothing.  Then the draft is
 * put in place, in upstream's order: Peers replaces all peers and the other
 * peer fields are not looked at; else PeersRemoved, PeersChanged,
 * PeerSeenChange, OnlineChange, PeersChangedPatch.  A field that is absent or
 * null leaves its part unchanged, except in the first message of a map
 * stream, which describes everything.
 *
 * What a message repeats is compared with what is known, so that a full map
 * of ten thousand peers of which one changed is reported as one change.
 */

#include "control/tn_netmap_draft.h"

#include <stdlib.h>


/* control clocks before 2023-01-10 are broken ones (ipnlocal/expiry.go) */
#define TN_NETMAP_CLOCK_MIN_S     1673308800

/* until a peer that our clock says has expired is looked at again */
#define TN_NETMAP_LAPSED_S        3600

/* a difference of the clocks that is worth minding */
#define TN_NETMAP_CLOCK_SKEW_S    60


static tn_rc_t tn_netmap_commit(tn_netmap_draft_t *draft,
    const tn_map_message_t *message);
static void tn_netmap_commit_parts(tn_netmap_draft_t *draft,
    const tn_map_message_t *message);
static void tn_netmap_commit_self(tn_netmap_draft_t *draft);
static tn_rc_t tn_netmap_commit_users(tn_netmap_draft_t *draft);
static tn_rc_t tn_netmap_commit_peers(tn_netmap_draft_t *draft);
static tn_rc_t tn_netmap_commit_node(tn_netmap_draft_t *draft,
    tn_netmap_node_t *node);
static tn_rc_t tn_netmap_commit_patch(tn_netmap_draft_t *draft,
    tn_netmap_patch_t *patch);
static void tn_netmap_guard(tn_netmap_draft_t *draft);
static tn_rc_t tn_netmap_evict(tn_netmap_draft_t *draft,
    tn_netmap_node_t *node);
static tn_netmap_node_t *tn_netmap_known(const tn_netmap_t *netmap,
    int64_t id);
static void tn_netmap_forget_hidden(tn_netmap_draft_t *draft,
    tn_netmap_node_t *node);
static tn_key_t tn_netmap_known_key(tn_netmap_draft_t *draft,
    const tn_netmap_node_t *node);


tn_rc_t
tn_netmap_apply(tn_netmap_t *netmap, const char *json, size_t len,
    int64_t wall, tn_netmap_changes_t *changes)
{
    tn_rc_t           rc;
    tn_map_message_t  message;

    memset(changes, 0, sizeof(tn_netmap_changes_t));

    rc = tn_map_message_cut(&message, json, len);
    if (rc != TN_OK) {
        return rc;
    }

    return tn_netmap_apply_message(netmap, &message, false, wall, changes);
}


tn_rc_t
tn_netmap_apply_message(tn_netmap_t *netmap, const tn_map_message_t *message,
    bool fresh, int64_t wall, tn_netmap_changes_t *changes)
{
    tn_rc_t            rc;
    tn_netmap_draft_t  draft;

    memset(changes, 0, sizeof(tn_netmap_changes_t));
    memset(&draft, 0, sizeof(draft));

    draft.netmap = netmap;
    draft.wall = wall;
    draft.fresh = fresh;
    draft.changes = changes;
    tn_rules_init(&draft.rules);

    rc = tn_netmap_draft_parse(&draft, message);

    if (rc == TN_OK) {
        if (draft.left_out != 0) {
            tn_log(netmap->log, TN_LOG_WARN, "control: %zu parts of a map "
                   "message could not be used and were left out",
                   draft.left_out);
        }

        rc = tn_netmap_commit(&draft, message);
    }

    tn_netmap_draft_done(&draft);

    if (rc != TN_OK) {
        tn_netmap_changes_done(changes);
    }

    return rc;
}


void
tn_netmap_changes_done(tn_netmap_changes_t *changes)
{
    free(changes->removed);
    free(changes->peers);
    memset(changes, 0, sizeof(tn_netmap_changes_t));
}


int64_t
tn_netmap_expire(tn_netmap_t *netmap, int64_t wall,
    tn_netmap_changes_t *changes)
{
    bool                passed;
    int64_t             next, control;
    tn_netmap_node_t   *node;
    tn_netmap_draft_t   draft;

    memset(changes, 0, sizeof(tn_netmap_changes_t));
    memset(&draft, 0, sizeof(draft));

    draft.netmap = netmap;
    draft.changes = changes;

    next = INT64_MAX;
    control = wall + netmap->clock_offset;
    netmap->mark++;

    if (control < TN_NETMAP_CLOCK_MIN_S) {
        return next;
    }

    for (node = tn_netmap_each(netmap, NULL);
         node != NULL;
         node = tn_netmap_each(netmap, node))
    {
        if (node->key_expiry == 0 || (node->expired && !node->lapsed)) {
            continue;
        }

        passed = node->key_expiry <= control;
        next = tn_min(next, passed ? wall + TN_NETMAP_LAPSED_S
                            : node->key_expiry - netmap->clock_offset);

        if (passed == node->lapsed) {
            continue;
        }

        /* or has not, by a clock that was put right */

        if (tn_netmap_note(&draft, node, TN_NODE_EXPIRY) != TN_OK) {
            return wall + 1;
        }

        node->expired = passed;
        node->lapsed = passed;
    }

    return next;
}


static tn_rc_t
tn_netmap_commit(tn_netmap_draft_t *draft, const tn_map_message_t *message)
{
    tn_rc_t  rc;

    draft->netmap->mark++;

    if (tn_netmap_clock(draft->netmap, message->field[TN_MAP_CONTROL_TIME],
                        draft->wall))
    {
        draft->changes->what |= TN_NETMAP_CLOCK;
    }

    tn_netmap_commit_parts(draft, message);
    tn_netmap_commit_self(draft);

    rc = tn_netmap_commit_users(draft);
    if (rc != TN_OK) {
        return rc;
    }

    rc = tn_netmap_commit_peers(draft);

    if (rc == TN_OK) {
        rc = tn_netmap_judge(draft);
    }

    if (rc == TN_OK) {
        tn_netmap_guard(draft);
    }

    return rc;
}


static void
tn_netmap_commit_parts(tn_netmap_draft_t *draft,
    const tn_map_message_t *message)
{
    char                 *text;
    tn_rules_t            rules;
    tn_derpmap_t         *derpmap;
    tn_netmap_t          *netmap;
    tn_netmap_dns_t       dns;
    tn_netmap_changes_t  *changes;
    tn_netmap_filters_t  *filters;
    tn_netmap_messages_t  old;

    netmap = draft->netmap;
    changes = draft->changes;

    if ((draft->dns_given || draft->fresh)
        && !tn_netmap_dns_equal(&draft->dns, &netmap->dns))
    {
        dns = netmap->dns;
        netmap->dns = draft->dns;
        draft->dns = dns;
        changes->what |= TN_NETMAP_DNS;
    }

    if (draft->derpmap != NULL
        && (netmap->derpmap == NULL
            || !tn_derpmap_equal(netmap->derpmap, draft->derpmap)))
    {
        derpmap = netmap->derpmap;
        netmap->derpmap = draft->derpmap;
        draft->derpmap = derpmap;
        changes->what |= TN_NETMAP_DERPMAP;
    }

    if (draft->domain != NULL && strcmp(draft->domain, netmap->domain) != 0) {
        text = netmap->domain;
        netmap->domain = draft->domain;
        draft->domain = text;
        changes->what |= TN_NETMAP_DOMAIN;
    }

    /* upstream: without a word at a stream's begin it is off */

    if (draft->lock_head == NULL && draft->fresh) {
        draft->lock_head = strdup("");
    }

    if (draft->lock_head != NULL
        && strcmp(draft->lock_head, netmap->lock_head) != 0)
    {
        text = netmap->lock_head;
        netmap->lock_head = draft->lock_head;
        draft->lock_head = text;
        changes->what |= TN_NETMAP_LOCK;
    }

    if (draft->filters_changed) {
        rules = netmap->rules;
        netmap->rules = draft->rules;
        draft->rules = rules;

        filters = netmap->filters;
        netmap->filters = draft->filters;
        draft->filters = filters;

        changes->what |= TN_NETMAP_FILTER;
    }

    if (!netmap->filtered
        && (tn_json_span_given(message->field[TN_MAP_FILTER])
            || tn_json_span_given(message->field[TN_MAP_FILTERS])))
    {
        netmap->filtered = true;
        changes->what |= TN_NETMAP_FILTER;
    }

    if (draft->messages_changed) {
        old.message = netmap->messages;
        old.n = netmap->nmessages;

        tn_netmap_messages_log(&draft->messages, &old, netmap->log);

        netmap->messages = draft->messages.message;
        netmap->nmessages = draft->messages.n;
        draft->messages = old;

        changes->what |= TN_NETMAP_MESSAGES;
    }
}


static void
tn_netmap_commit_self(tn_netmap_draft_t *draft)
{
    tn_key_t              key;
    uint32_t              what;
    tn_netmap_t          *netmap;
    tn_netmap_changes_t  *changes;

    netmap = draft->netmap;
    changes = draft->changes;

    if (draft->self == NULL) {
        return;
    }

    if (netmap->self == NULL) {
        netmap->self = draft->self;
        draft->self = NULL;
        netmap->self->changed = TN_NODE_ADDED;
        changes->self = TN_NODE_ADDED;
        changes->what |= TN_NETMAP_SELF;
        return;
    }

    what = tn_netmap_node_diff(netmap->self, draft->self);

    if (what == 0 && netmap->self->id == draft->self->id) {
        return;
    }

    key = netmap->self->key;
    tn_netmap_node_swap(netmap->self, draft->self);
    netmap->self->old_key = key;

    netmap->self->changed = what;
    changes->self = what;
    changes->what |= TN_NETMAP_SELF;
}


static tn_rc_t
tn_netmap_commit_users(tn_netmap_draft_t *draft)
{
    size_t             i;
    tn_netmap_t       *netmap;
    tn_hash_node_t    *link, *next;
    tn_netmap_user_t  *user, *old;

    netmap = draft->netmap;

    for (i = 0; i < draft->nusers; i++) {
        user = draft->users[i];
        user->mark = netmap->mark;

        link = tn_hash_find(&netmap->users, &user->id);

        if (link != NULL) {
            old = tn_container(link, tn_netmap_user_t, by_id);
            old->mark = netmap->mark;

            if (strcmp(old->login, user->login) == 0
                && strcmp(old->display, user->display) == 0
                && strcmp(old->picture, user->picture) == 0)
            {
                continue;
            }

            tn_hash_remove(&netmap->users, link);
            tn_netmap_user_free(old);

        } else if (netmap->users.count >= TN_NETMAP_USERS_MAX) {
            continue;
        }

        user->by_id.key = &user->id;

        if (tn_hash_insert(&netmap->users, &user->by_id) != TN_OK) {
            return TN_NOMEM;
        }

        draft->users[i] = NULL;
        draft->changes->what |= TN_NETMAP_USERS;
    }

    /* a new stream tells all there are */

    for (link = draft->fresh ? tn_hash_next(&netmap->users, NULL) : NULL;
         link != NULL;
         link = next)
    {
        next = tn_hash_next(&netmap->users, link);
        user = tn_container(link, tn_netmap_user_t, by_id);

        if (user->mark != netmap->mark) {
            tn_hash_remove(&netmap->users, link);
            tn_netmap_user_free(user);
            draft->changes->what |= TN_NETMAP_USERS;
        }
    }

    return TN_OK;
}


static tn_rc_t
tn_netmap_commit_peers(tn_netmap_draft_t *draft)
{
    size_t                i;
    int64_t               last_seen;
    tn_rc_t               rc;
    uint32_t              epoch;
    tn_netmap_t          *netmap;
    tn_hash_node_t       *link, *next;
    tn_netmap_node_t     *node;

    netmap = draft->netmap;

    if (draft->full) {

        /* those that stay get a mark, the rest leaves before any comes */

        epoch = ++netmap->epoch;

        for (i = 0; i < draft->nnodes; i++) {
            node = tn_netmap_known(netmap, draft->nodes[i]->id);

            if (node != NULL) {
                node->kept = epoch;
            }
        }

        for (link = tn_hash_next(&netmap->hidden, NULL); link; link = next) {
            next = tn_hash_next(&netmap->hidden, link);
            node = tn_container(link, tn_netmap_node_t, by_id);

            if (node->kept != epoch) {
                tn_netmap_forget_hidden(draft, node);
            }
        }

        for (link = tn_hash_next(&netmap->peers, NULL); link; link = next) {
            next = tn_hash_next(&netmap->peers, link);
            node = tn_container(link, tn_netmap_node_t, by_id);

            if (node->kept != epoch) {
                rc = tn_netmap_evict(draft, node);
                if (rc != TN_OK) {
                    return rc;
                }
            }
        }
    }

    for (i = 0; i < draft->nremoved; i++) {
        node = tn_netmap_known(netmap, draft->removed[i]);

        if (node != NULL && node->hidden) {
            tn_netmap_forget_hidden(draft, node);

        } else if (node != NULL) {
            rc = tn_netmap_evict(draft, node);
            if (rc != TN_OK) {
                return rc;
            }
        }
    }

    for (i = 0; i < draft->nnodes; i++) {
        node = draft->nodes[i];
        draft->nodes[i] = NULL;

        rc = tn_netmap_commit_node(draft, node);
        if (rc != TN_OK) {
            return rc;
        }
    }

    for (i = 0; i < draft->nseen; i++) {
        node = tn_netmap_known(netmap, draft->seen[i].id);

        if (node == NULL) {
            continue;
        }

        last_seen = draft->seen[i].yes ? draft->wall : 0;

        if (node->last_seen != last_seen) {
            node->last_seen = last_seen;

            if (tn_netmap_note(draft, node, TN_NODE_ONLINE) != TN_OK) {
                return TN_NOMEM;
            }
        }
    }

    for (i = 0; i < draft->nonline; i++) {
        node = tn_netmap_known(netmap, draft->online[i].id);

        if (node == NULL) {
            continue;
        }

        if (node->online != (draft->online[i].yes ? TN_YES : TN_NO)) {
            node->online = draft->online[i].yes ? TN_YES : TN_NO;

            if (tn_netmap_note(draft, node, TN_NODE_ONLINE) != TN_OK) {
                return TN_NOMEM;
            }
        }
    }

    for (i = 0; i < draft->npatches; i++) {
        rc = tn_netmap_commit_patch(draft, &draft->patches[i]);
        if (rc != TN_OK) {
            return rc;
        }
    }

    return TN_OK;
}


/* node is owned by this function */
static tn_rc_t
tn_netmap_commit_node(tn_netmap_draft_t *draft, tn_netmap_node_t *node)
{
    tn_rc_t            rc;
    tn_key_t           key;
    uint32_t           what;
    tn_netmap_t       *netmap;
    tn_netmap_node_t  *old;

    netmap = draft->netmap;

    if (netmap->self != NULL
        && (netmap->self->id == node->id
            || tn_key_equal(&netmap->self->key, &node->key)))
    {
        tn_netmap_node_free(node);
        return TN_OK;
    }

    old = tn_netmap_known(netmap, node->id);

    if (old == NULL) {

        if (netmap->peers.count + netmap->hidden.count
            >= TN_NETMAP_PEERS_MAX)
        {
            tn_netmap_node_free(node);
            return TN_OK;
        }

        rc = tn_netmap_drop_key(draft, &node->key, NULL);

        if (rc == TN_OK) {
            rc = tn_netmap_note(draft, node, TN_NODE_ADDED);
        }

        if (rc != TN_OK) {
            tn_netmap_node_free(node);
            return rc;
        }

        return tn_netmap_index(netmap, node);
    }

    /* what tn_netmap_expire() found stays found until it says otherwise, or
     * control the same */

    if (old->lapsed && old->key_expiry == node->key_expiry) {
        old->lapsed = !node->expired;
        node->lapsed = old->lapsed;
        node->expired = 1;
    }

    what = tn_netmap_node_diff(old, node);

    if (what == 0) {
        tn_netmap_node_free(node);
        return TN_OK;
    }

    if (what & (TN_NODE_KEY | TN_NODE_LOCK | TN_NODE_FLAGS)) {
        old->judged = 0;
    }

    if (old->hidden) {
        tn_netmap_node_swap(old, node);
        tn_netmap_node_free(node);
        draft->judge = true;
        return TN_OK;
    }

    rc = TN_OK;
    key = tn_netmap_known_key(draft, old);

    if (what & TN_NODE_KEY) {
        rc = tn_netmap_drop_key(draft, &node->key, old);
    }

    if (rc == TN_OK) {
        rc = tn_netmap_note(draft, old, what);
    }

    if (rc != TN_OK) {
        tn_netmap_node_free(node);
        return rc;
    }

    if (what & (TN_NODE_KEY | TN_NODE_NAME | TN_NODE_ADDRESSES
                | TN_NODE_ALLOWED))
    {
        tn_netmap_unindex_fields(netmap, old);
        tn_netmap_node_swap(old, node);
        rc = tn_netmap_index_fields(netmap, old);

    } else {
        tn_netmap_node_swap(old, node);
    }

    old->old_key = key;
    tn_netmap_node_free(node);

    return rc;
}


static tn_rc_t
tn_netmap_commit_patch(tn_netmap_draft_t *draft, tn_netmap_patch_t *patch)
{
    tn_rc_t            rc;
    uint32_t           what;
    tn_netmap_t       *netmap;
    tn_netmap_node_t  *node;

    netmap = draft->netmap;
    node = tn_netmap_known(netmap, patch->node->id);

    if (node == NULL) {
        return TN_OK;
    }

    what = tn_netmap_patch_put(node, patch);

    if (what & TN_NODE_LOCK) {
        node->judged = 0;
    }

    if (node->hidden) {
        draft->judge = true;

        if (patch->what & TN_PATCH_KEY) {
            node->key = patch->node->key;
            node->judged = 0;
        }

        return TN_OK;
    }

    if ((patch->what & TN_PATCH_KEY)
        && !tn_key_equal(&node->key, &patch->node->key))
    {
        if (netmap->self != NULL
            && tn_key_equal(&netmap->self->key, &patch->node->key))
        {
            return tn_netmap_evict(draft, node);
        }

        rc = tn_netmap_drop_key(draft, &patch->node->key, node);
        if (rc != TN_OK) {
            return rc;
        }

        tn_hash_remove(&netmap->keys, &node->by_key);
        node->old_key = tn_netmap_known_key(draft, node);
        node->key = patch->node->key;
        node->judged = 0;

        rc = tn_hash_insert(&netmap->keys, &node->by_key);
        if (rc != TN_OK) {
            return rc;
        }

        what |= TN_NODE_KEY;
    }

    return what ? tn_netmap_note(draft, node, what) : TN_OK;
}


/*
 * A peer that tailnet lock does not cover may reach the PeerAPI, nothing
 * else.  A filter that opens ports to its addresses is not control's honest
 * word, and no rule of it is used (upstream:
 * packetFilterPermitsUnlockedNodes).
 */
static void
tn_netmap_guard(tn_netmap_draft_t *draft)
{
    bool                  reached, look;
    size_t                i;
    tn_netmap_t          *netmap;
    tn_netmap_node_t     *node;
    tn_netmap_changes_t  *changes;

    netmap = draft->netmap;
    changes = draft->changes;

    look = netmap->unsigned_reached || (changes->what & TN_NETMAP_FILTER);

    for (i = 0; i < changes->npeers && !look; i++) {
        look = changes->peers[i]->unsigned_peerapi_only;
    }

    if (!look) {
        return;
    }

    reached = false;

    for (node = tn_netmap_each(netmap, NULL);
         node != NULL && !reached;
         node = tn_netmap_each(netmap, node))
    {
        for (i = 0; node->unsigned_peerapi_only && i < node->nallowed_ips;
             i++)
        {
            if (tn_rules_src_overlaps(&netmap->rules, &node->allowed_ips[i])) {
                reached = true;
                tn_log(netmap->log, netmap->unsigned_reached
                       ? TN_LOG_DEBUG : TN_LOG_ERR,
                       "control: the packet filter lets in a peer without a "
                       "signature, %s: all of it is refused", node->name);
                break;
            }
        }
    }

    if (reached != netmap->unsigned_reached) {
        netmap->unsigned_reached = reached;
        changes->what |= TN_NETMAP_FILTER;
    }
}


/* one that is hidden is known, too */
static tn_netmap_node_t *
tn_netmap_known(const tn_netmap_t *netmap, int64_t id)
{
    tn_hash_node_t  *link;

    link = tn_hash_find(&netmap->peers, &id);

    if (link == NULL) {
        link = tn_hash_find(&netmap->hidden, &id);
    }

    return link ? tn_container(link, tn_netmap_node_t, by_id) : NULL;
}


static void
tn_netmap_forget_hidden(tn_netmap_draft_t *draft, tn_netmap_node_t *node)
{
    tn_hash_remove(&draft->netmap->hidden, &node->by_id);
    tn_netmap_node_free(node);

    /* its signature may have made others void */
    draft->judge = true;
}


/* out of the netmap, into the list of the removed, freed */
static tn_rc_t
tn_netmap_evict(tn_netmap_draft_t *draft, tn_netmap_node_t *node)
{
    tn_rc_t  rc;

    rc = tn_netmap_note_removed(draft, node);

    if (rc == TN_OK) {
        tn_netmap_unindex(draft->netmap, node);
        tn_netmap_node_free(node);
    }

    return rc;
}


tn_rc_t
tn_netmap_note_removed(tn_netmap_draft_t *draft, tn_netmap_node_t *node)
{
    size_t                i;
    tn_netmap_changes_t  *changes;
    tn_netmap_removed_t  *removed;

    changes = draft->changes;

    /* one that this very message brought need not be told of */

    if (node->mark == draft->netmap->mark) {
        for (i = 0; i < changes->npeers; i++) {
            if (changes->peers[i] == node) {
                changes->peers[i] = changes->peers[--changes->npeers];
                break;
            }
        }
    }

    if (node->mark != draft->netmap->mark
        || (node->changed & TN_NODE_ADDED) == 0)
    {
        removed = tn_netmap_grow(changes->removed, changes->nremoved,
                                 sizeof(tn_netmap_removed_t));
        if (removed == NULL) {
            return TN_NOMEM;
        }

        changes->removed = removed;
        removed += changes->nremoved++;
        removed->id = node->id;
        removed->key = tn_netmap_known_key(draft, node);
    }

    changes->what |= TN_NETMAP_PEERS;
    draft->judge = true;

    return TN_OK;
}


/* two peers with one key cannot be: the later one has it */
tn_rc_t
tn_netmap_drop_key(tn_netmap_draft_t *draft, const tn_key_t *key,
    const tn_netmap_node_t *but)
{
    tn_hash_node_t    *link;
    tn_netmap_node_t  *node;

    link = tn_hash_find(&draft->netmap->keys, key);

    if (link == NULL) {
        return TN_OK;
    }

    node = tn_container(link, tn_netmap_node_t, by_key);

    return node == but ? TN_OK : tn_netmap_evict(draft, node);
}


/* the key by which those who follow the changes know the node: that before
 * this message */
static tn_key_t
tn_netmap_known_key(tn_netmap_draft_t *draft, const tn_netmap_node_t *node)
{
    if (node->mark == draft->netmap->mark && (node->changed & TN_NODE_KEY)) {
        return node->old_key;
    }

    return node->key;
}


tn_rc_t
tn_netmap_note(tn_netmap_draft_t *draft, tn_netmap_node_t *node,
    uint32_t what)
{
    tn_netmap_node_t    **peers;
    tn_netmap_changes_t  *changes;

    if (node->hidden) {
        return TN_OK;
    }

    draft->judge |= (what & (TN_NODE_ADDED | TN_NODE_KEY | TN_NODE_LOCK
                             | TN_NODE_FLAGS)) != 0;
    changes = draft->changes;
    changes->what |= TN_NETMAP_PEERS;

    if (node->mark == draft->netmap->mark) {
        node->changed |= what;
        return TN_OK;
    }

    peers = tn_netmap_grow(changes->peers, changes->npeers,
                           sizeof(tn_netmap_node_t *));
    if (peers == NULL) {
        return TN_NOMEM;
    }

    changes->peers = peers;
    peers[changes->npeers++] = node;

    node->mark = draft->netmap->mark;
    node->changed = what;

    return TN_OK;
}


/*
 * ControlTime: a difference under a minute is the network's, not the
 * clock's; and one that moves by less than that is not worth telling.
 */
bool
tn_netmap_clock(tn_netmap_t *netmap, tn_json_span_t span, int64_t wall)
{
    char     text[64];
    bool     changed;
    int64_t  offset, t;

    if (!tn_json_span_given(span) || span.len < 2
        || span.len - 2 >= sizeof(text))
    {
        return false;
    }

    memcpy(text, span.data + 1, span.len - 2);
    text[span.len - 2] = '\0';

    t = tn_json_time_text(text);

    if (t == 0) {
        return false;
    }

    offset = t - wall;

    if (offset > -TN_NETMAP_CLOCK_SKEW_S && offset < TN_NETMAP_CLOCK_SKEW_S) {
        offset = 0;
    }

    changed = offset - netmap->clock_offset > TN_NETMAP_CLOCK_SKEW_S
              || netmap->clock_offset - offset > TN_NETMAP_CLOCK_SKEW_S;

    netmap->clock_offset = offset;

    return changed;
}
