
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Tailnet lock over the netmap (upstream: tkaFilterNetmapLocked).
 *
 * A peer whose node key nobody trusted has signed is moved to netmap->hidden:
 * for all that follow the netmap it leaves, and when it is signed it comes.
 * Not subject to it are peers that may reach the PeerAPI only.
 *
 * A signature is verified once for each state of the lock.  Who hands a node
 * key on makes the former ones void: a signature of the rotation kind lists
 * them.  Of several rotations that began with the signing of one node, as
 * copies of its keys can make, the longest counts; of several as long none
 * does.  A credential's may be used by many.
 */

#include "control/tn_netmap_draft.h"

#include <stdlib.h>


/* a node key that was handed on */
typedef struct {
    tn_hash_node_t    by_key;
    tn_key_t          key;
} tn_netmap_void_t;

/* a rotation that goes back to a trusted key's signature of a node */
typedef struct {
    uint8_t            first[TN_ED25519_PUBLIC_LEN];    /* its wrapping key */
    unsigned           keys;            /* handed on since */
    tn_netmap_node_t  *node;
} tn_netmap_rotation_t;

typedef struct {
    tn_netmap_void_t      *voids;
    size_t                 nvoids;
    tn_hash_t              by_key;
    tn_netmap_rotation_t  *rotations;
    size_t                 nrotations;
} tn_netmap_trail_t;


static void tn_netmap_vouch(const tn_netmap_t *netmap, tn_netmap_node_t *node);
static bool tn_netmap_locked(const tn_netmap_t *netmap);
static tn_rc_t tn_netmap_trail(const tn_netmap_t *netmap,
    tn_netmap_trail_t *trail);
static void tn_netmap_trail_add(tn_netmap_trail_t *trail,
    tn_netmap_node_t *node, const tn_nodesig_t *sig);
static void tn_netmap_trail_copies(tn_netmap_trail_t *trail);
static int tn_netmap_rotation_order(const void *a, const void *b);
static void tn_netmap_trail_done(tn_netmap_trail_t *trail);
static tn_rc_t tn_netmap_hide(tn_netmap_draft_t *draft,
    tn_netmap_node_t *node, const char *why);
static tn_rc_t tn_netmap_show(tn_netmap_draft_t *draft,
    tn_netmap_node_t *node);


tn_rc_t
tn_netmap_set_lock(tn_netmap_t *netmap, const tn_lock_t *lock,
    tn_netmap_changes_t *changes)
{
    tn_rc_t            rc;
    tn_netmap_draft_t  draft;

    memset(changes, 0, sizeof(tn_netmap_changes_t));
    memset(&draft, 0, sizeof(draft));

    draft.netmap = netmap;
    draft.changes = changes;
    draft.judge = true;

    netmap->mark++;
    netmap->lock = lock;
    netmap->lock_epoch++;

    rc = tn_netmap_judge(&draft);

    if (rc != TN_OK) {
        tn_netmap_changes_done(changes);
    }

    return rc;
}


bool
tn_netmap_is_vouched(const tn_netmap_t *netmap)
{
    const tn_netmap_node_t  *self;

    self = netmap->self;

    return self == NULL || netmap->lock == NULL
           || (self->key_signature != NULL
               && tn_lock_check_node(netmap->lock, &self->key,
                                     self->key_signature,
                                     self->key_signature_len, NULL)
                  == TN_OK);
}


tn_rc_t
tn_netmap_judge(tn_netmap_draft_t *draft)
{
    bool                good;
    tn_rc_t             rc;
    tn_netmap_t        *netmap;
    tn_hash_node_t     *link, *next;
    tn_netmap_node_t   *node;
    tn_netmap_trail_t   trail;

    netmap = draft->netmap;

    if (draft->changes->what & TN_NETMAP_LOCK) {

        /* whether nobody or everybody is vouched for may have changed */

        netmap->lock_epoch++;
    }

    if ((!draft->judge && netmap->judged_epoch == netmap->lock_epoch)
        || (!tn_netmap_locked(netmap) && netmap->hidden.count == 0))
    {
        return TN_OK;
    }

    for (node = tn_netmap_each(netmap, NULL);
         node != NULL;
         node = tn_netmap_each(netmap, node))
    {
        tn_netmap_vouch(netmap, node);
    }

    for (link = tn_hash_next(&netmap->hidden, NULL);
         link != NULL;
         link = tn_hash_next(&netmap->hidden, link))
    {
        tn_netmap_vouch(netmap, tn_container(link, tn_netmap_node_t, by_id));
    }

    memset(&trail, 0, sizeof(trail));
    tn_hash_init(&trail.by_key, TN_KEY_LEN);
    rc = tn_netmap_locked(netmap) ? tn_netmap_trail(netmap, &trail) : TN_OK;

    for (link = tn_hash_next(&netmap->peers, NULL);
         rc == TN_OK && link != NULL;
         link = next)
    {
        next = tn_hash_next(&netmap->peers, link);
        node = tn_container(link, tn_netmap_node_t, by_id);

        if (!node->vouched) {
            rc = tn_netmap_hide(draft, node, netmap->lock == NULL
                                ? "tailnet lock is not known yet"
                                : node->key_signature == NULL
                                  ? "it is not signed"
                                  : "its signature is not good");

        } else if (tn_hash_find(&trail.by_key, &node->key) != NULL) {
            rc = tn_netmap_hide(draft, node, "its key was replaced");
        }
    }

    for (link = tn_hash_next(&netmap->hidden, NULL);
         rc == TN_OK && link != NULL;
         link = next)
    {
        next = tn_hash_next(&netmap->hidden, link);
        node = tn_container(link, tn_netmap_node_t, by_id);

        good = node->vouched
               && tn_hash_find(&trail.by_key, &node->key) == NULL;

        if (good) {
            rc = tn_netmap_show(draft, node);
        }
    }

    if (rc == TN_OK) {
        netmap->judged_epoch = netmap->lock_epoch;
    }

    tn_netmap_trail_done(&trail);

    return rc;
}


static void
tn_netmap_vouch(const tn_netmap_t *netmap, tn_netmap_node_t *node)
{
    if (node->judged == netmap->lock_epoch) {
        return;
    }

    node->judged = netmap->lock_epoch;

    if (!tn_netmap_locked(netmap) || node->unsigned_peerapi_only) {
        node->vouched = true;
        return;
    }

    node->vouched = netmap->lock != NULL && node->key_signature != NULL
                    && tn_lock_check_node(netmap->lock, &node->key,
                                          node->key_signature,
                                          node->key_signature_len, NULL)
                       == TN_OK;
}


/* once known it is on until its secret ends it, whatever control says */
static bool
tn_netmap_locked(const tn_netmap_t *netmap)
{
    return netmap->lock != NULL || netmap->lock_head[0] != '\0';
}


static tn_rc_t
tn_netmap_trail(const tn_netmap_t *netmap, tn_netmap_trail_t *trail)
{
    size_t             i, pass, rotations, voids;
    tn_hash_t         *hash;
    tn_nodesig_t       sig;
    tn_hash_node_t    *link;
    tn_netmap_node_t  *node;

    /* counted first, as elements of a hash cannot move */

    for (pass = 0; pass < 2; pass++) {
        rotations = 0;
        voids = 0;

        for (i = 0; i < 2; i++) {
            hash = (tn_hash_t *) (uintptr_t) (i == 0 ? &netmap->peers
                                                     : &netmap->hidden);

            for (link = tn_hash_next(hash, NULL);
                 link != NULL;
                 link = tn_hash_next(hash, link))
            {
                node = tn_container(link, tn_netmap_node_t, by_id);

                if (!node->vouched || node->unsigned_peerapi_only
                    || tn_nodesig_parse(&sig, node->key_signature,
                                        node->key_signature_len) != TN_OK
                    || sig.links[0].kind != TN_NODESIG_ROTATION)
                {
                    continue;
                }

                rotations++;
                voids += sig.n;

                if (pass == 1) {
                    tn_netmap_trail_add(trail, node, &sig);
                }
            }
        }

        if (rotations == 0) {
            return TN_OK;
        }

        if (pass == 0) {
            trail->voids = calloc(voids + rotations,
                                  sizeof(tn_netmap_void_t));
            trail->rotations = calloc(rotations,
                                      sizeof(tn_netmap_rotation_t));

            if (trail->voids == NULL || trail->rotations == NULL) {
                return TN_NOMEM;
            }
        }
    }

    tn_netmap_trail_copies(trail);

    return TN_OK;
}


static void
tn_netmap_trail_void(tn_netmap_trail_t *trail, const uint8_t *key)
{
    tn_netmap_void_t  *v;

    if (tn_hash_find(&trail->by_key, key) != NULL) {
        return;
    }

    v = &trail->voids[trail->nvoids++];
    memcpy(v->key.b, key, TN_KEY_LEN);
    v->by_key.key = &v->key;

    (void) tn_hash_insert(&trail->by_key, &v->by_key);
}


static void
tn_netmap_trail_add(tn_netmap_trail_t *trail, tn_netmap_node_t *node,
    const tn_nodesig_t *sig)
{
    unsigned                  i, keys;
    tn_netmap_rotation_t     *rotation;
    const tn_nodesig_link_t  *inner;

    keys = 0;

    for (i = 1; i < sig->n; i++) {
        if (sig->links[i].node != NULL) {
            tn_netmap_trail_void(trail, sig->links[i].node);
            keys++;
        }
    }

    inner = &sig->links[sig->n - 1];

    if (inner->kind != TN_NODESIG_DIRECT || inner->wrapping == NULL) {
        return;
    }

    rotation = &trail->rotations[trail->nrotations++];
    memcpy(rotation->first, inner->wrapping, sizeof(rotation->first));
    rotation->keys = keys;
    rotation->node = node;
}


static void
tn_netmap_trail_copies(tn_netmap_trail_t *trail)
{
    size_t                 i, n;
    tn_netmap_rotation_t  *r;

    /* those already void do not compete */

    r = trail->rotations;
    n = 0;

    for (i = 0; i < trail->nrotations; i++) {
        if (tn_hash_find(&trail->by_key, &r[i].node->key) == NULL) {
            r[n++] = r[i];
        }
    }

    qsort(r, n, sizeof(tn_netmap_rotation_t), tn_netmap_rotation_order);

    for (i = 1; i < n; i++) {

        if (memcmp(r[i].first, r[i - 1].first, sizeof(r[i].first)) != 0) {
            continue;
        }

        tn_netmap_trail_void(trail, r[i].node->key.b);

        if (r[i].keys == r[i - 1].keys) {
            tn_netmap_trail_void(trail, r[i - 1].node->key.b);
        }
    }
}


/* one first signature's together, the longest rotation before others */
static int
tn_netmap_rotation_order(const void *a, const void *b)
{
    int                          order;
    const tn_netmap_rotation_t  *x, *y;

    x = a;
    y = b;
    order = memcmp(x->first, y->first, sizeof(x->first));

    return order ? order : x->keys < y->keys ? 1 : x->keys > y->keys ? -1 : 0;
}


static void
tn_netmap_trail_done(tn_netmap_trail_t *trail)
{
    tn_hash_done(&trail->by_key);
    free(trail->voids);
    free(trail->rotations);
}


static tn_rc_t
tn_netmap_hide(tn_netmap_draft_t *draft, tn_netmap_node_t *node,
    const char *why)
{
    tn_rc_t       rc;
    tn_netmap_t  *netmap;

    netmap = draft->netmap;

    rc = tn_netmap_note_removed(draft, node);
    if (rc != TN_OK) {
        return rc;
    }

    tn_log(netmap->log, netmap->lock != NULL ? TN_LOG_NOTICE : TN_LOG_INFO,
           "control: tailnet lock keeps %s out: %s", node->name, why);

    tn_netmap_unindex(netmap, node);
    node->hidden = true;
    node->changed = 0;

    if (tn_hash_insert(&netmap->hidden, &node->by_id) != TN_OK) {
        tn_netmap_node_free(node);
        return TN_NOMEM;
    }

    return TN_OK;
}


static tn_rc_t
tn_netmap_show(tn_netmap_draft_t *draft, tn_netmap_node_t *node)
{
    tn_rc_t       rc;
    tn_netmap_t  *netmap;

    netmap = draft->netmap;

    rc = tn_netmap_drop_key(draft, &node->key, NULL);
    if (rc != TN_OK) {
        return rc;
    }

    tn_hash_remove(&netmap->hidden, &node->by_id);
    node->hidden = false;

    /* a change of before it was hidden is none of this message's */

    node->mark = draft->netmap->mark - 1;

    rc = tn_netmap_note(draft, node, TN_NODE_ADDED);

    if (rc != TN_OK) {
        tn_netmap_node_free(node);
        return rc;
    }

    tn_log(netmap->log, TN_LOG_INFO, "control: tailnet lock lets %s in",
           node->name);

    return tn_netmap_index(netmap, node);
}
