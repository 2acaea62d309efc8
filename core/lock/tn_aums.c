
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Updates stand in the order of their coming, so a parent before its
 * children, and the first is the oldest known.
 *
 *     0 checkpoint -- 1 -- 2 -- 4      the head is 4 or 3, by the votes of
 *                           \- 3       those who signed them
 *
 * Of children of one parent that one counts whose signers have the most
 * votes; then one that removes a key; then the one with the lowest hash
 * (upstream: pickNextAUM).  All nodes that know the same updates so agree on
 * the head, in whatever order they came.  An update enters only if it holds
 * by the state at its parent, also on a branch that does not count.
 *
 * What lies far behind a checkpoint is dropped when there is much of it: a
 * checkpoint has the whole state in it.
 */

#include "tn_aums.h"

#include "base/tn_cursor.h"

#include <stdlib.h>


#define TN_AUMS_COMPACT  256       /* more than so many are thinned out */
#define TN_AUMS_TAIL     32        /* of these behind the new oldest */

#define TN_AUMS_NONE     UINT32_MAX

static const char  tn_aums_base32[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ234567";


typedef struct {
    uint8_t      *data;
    size_t        len;
    uint8_t       hash[TN_BLAKE2S_LEN];
    uint8_t       kind;
    uint32_t      parent;
    uint32_t      child;            /* the first */
    uint32_t      sibling;          /* the next with this parent */
    uint32_t      next;             /* on the branch that counts */
} tn_aums_update_t;

struct tn_aums_s {
    tn_lock_t           lock;
    uint32_t            head;
    uint32_t            n;
    size_t              bytes;
    tn_aums_update_t   update[TN_AUMS_MAX];
};


static tn_rc_t tn_aums_add(tn_aums_t *chain, const tn_aum_t *aum,
    const uint8_t *data, size_t len, uint32_t parent);
static void tn_aums_truncate(tn_aums_t *chain, uint32_t n);
static uint32_t tn_aums_find(const tn_aums_t *chain, const uint8_t *hash);
static tn_rc_t tn_aums_state_at(const tn_aums_t *chain, uint32_t at,
    tn_lock_t *lock);
static tn_rc_t tn_aums_activate(tn_aums_t *chain);
static uint32_t tn_aums_pick(const tn_aums_t *chain, const tn_lock_t *lock,
    uint32_t first, tn_aum_t *aum);
static void tn_aums_compact(tn_aums_t *chain);


tn_aums_t *
tn_aums_create(const uint8_t *data, size_t len)
{
    tn_aum_t    *aum;
    tn_aums_t  *chain;

    aum = malloc(sizeof(tn_aum_t));
    chain = calloc(1, sizeof(tn_aums_t));

    if (aum == NULL || chain == NULL
        || tn_aum_parse(aum, data, len) != TN_OK
        || tn_lock_start(&chain->lock, data, len) != TN_OK
        || tn_aums_add(chain, aum, data, len, TN_AUMS_NONE) != TN_OK)
    {
        tn_aums_destroy(chain);
        chain = NULL;
    }

    free(aum);

    return chain;
}


void
tn_aums_destroy(tn_aums_t *chain)
{
    if (chain != NULL) {
        tn_aums_truncate(chain, 0);
        free(chain);
    }
}


const tn_lock_t *
tn_aums_lock(const tn_aums_t *chain)
{
    return &chain->lock;
}


tn_rc_t
tn_aums_inform(tn_aums_t *chain, const tn_str_t *updates, size_t n)
{
    size_t      i;
    tn_rc_t     rc;
    uint32_t    before, parent;
    tn_aum_t   *aum;
    tn_lock_t  *lock;

    rc = TN_OK;
    before = chain->n;
    aum = malloc(sizeof(tn_aum_t));
    lock = malloc(sizeof(tn_lock_t));

    if (aum == NULL || lock == NULL) {
        rc = TN_NOMEM;
        goto done;
    }

    *lock = chain->lock;

    for (i = 0; rc == TN_OK && i < n; i++) {
        rc = tn_aum_parse(aum, updates[i].data, updates[i].len);

        if (rc != TN_OK || tn_aums_find(chain, aum->hash) != TN_AUMS_NONE) {
            continue;
        }

        parent = aum->parent ? tn_aums_find(chain, aum->parent)
                             : TN_AUMS_NONE;

        if (parent == TN_AUMS_NONE) {
            rc = TN_NOTFOUND;
            break;
        }

        if (memcmp(lock->head, aum->parent, sizeof(lock->head)) != 0) {
            rc = tn_aums_state_at(chain, parent, lock);
        }

        if (rc == TN_OK) {
            rc = tn_lock_advance(lock, updates[i].data, updates[i].len);
        }

        if (rc == TN_OK) {
            rc = tn_aums_add(chain, aum, updates[i].data, updates[i].len,
                              parent);
        }
    }

    if (rc == TN_OK && chain->n != before) {
        rc = tn_aums_activate(chain);
    }

done:

    if (rc != TN_OK) {
        tn_aums_truncate(chain, before);

    } else if (chain->n > TN_AUMS_COMPACT) {
        tn_aums_compact(chain);
    }

    free(aum);
    free(lock);

    return rc;
}


size_t
tn_aums_offer(const tn_aums_t *chain, uint8_t (*ancestors)[TN_BLAKE2S_LEN],
    size_t max)
{
    size_t    n;
    uint32_t  i;

    n = 0;

    for (i = chain->head;
         i != 0 && i != TN_AUMS_NONE && n + 1 < max;
         i = chain->update[i].parent)
    {
        if (chain->update[i].kind == TN_AUM_CHECKPOINT) {
            memcpy(ancestors[n++], chain->update[i].hash, TN_BLAKE2S_LEN);
        }
    }

    if (n < max) {
        memcpy(ancestors[n++], chain->update[0].hash, TN_BLAKE2S_LEN);
    }

    return n;
}


tn_rc_t
tn_aums_missing(const tn_aums_t *chain, const uint8_t *head,
    const uint8_t (*ancestors)[TN_BLAKE2S_LEN], size_t nancestors,
    tn_str_t *updates, size_t max, size_t *n)
{
    size_t    i;
    uint32_t  at, known;

    *n = 0;
    known = tn_aums_find(chain, head);

    /* its head is on our branch, or one of its ancestors is */

    for (i = 0; ; i++) {
        for (at = 0; at != TN_AUMS_NONE; at = chain->update[at].next) {
            if (at == known) {
                goto found;
            }
        }

        if (i == nancestors) {
            return TN_NOTFOUND;
        }

        known = tn_aums_find(chain, ancestors[i]);
    }

found:

    for (at = chain->update[at].next;
         at != TN_AUMS_NONE && *n < max;
         at = chain->update[at].next)
    {
        updates[*n].data = chain->update[at].data;
        updates[(*n)++].len = chain->update[at].len;
    }

    return TN_OK;
}


tn_rc_t
tn_aums_pack(const tn_aums_t *chain, uint8_t **bytes, size_t *len)
{
    uint32_t     i;
    tn_writer_t  w;

    *len = chain->bytes + chain->n * sizeof(uint32_t);
    *bytes = malloc(*len);

    if (*bytes == NULL) {
        return TN_NOMEM;
    }

    w = tn_writer(*bytes, *len);

    for (i = 0; i < chain->n; i++) {
        tn_write_u32(&w, (uint32_t) chain->update[i].len);
        tn_write_bytes(&w, chain->update[i].data, chain->update[i].len);
    }

    return w.bad ? TN_ERROR : TN_OK;
}


tn_aums_t *
tn_aums_unpack(const uint8_t *bytes, size_t len)
{
    size_t       n;
    tn_str_t    *updates;
    tn_aums_t  *chain;
    tn_cursor_t  c;

    updates = calloc(TN_AUMS_MAX, sizeof(tn_str_t));
    if (updates == NULL) {
        return NULL;
    }

    chain = NULL;
    c = tn_cursor(bytes, len);

    for (n = 0; n < TN_AUMS_MAX && tn_cursor_left(&c) != 0; n++) {
        updates[n].len = tn_read_u32(&c);
        updates[n].data = tn_read_bytes(&c, updates[n].len);
    }

    if (!c.bad && n != 0 && tn_cursor_left(&c) == 0) {
        chain = tn_aums_create(updates[0].data, updates[0].len);
    }

    if (chain != NULL && tn_aums_inform(chain, updates + 1, n - 1) != TN_OK) {
        tn_aums_destroy(chain);
        chain = NULL;
    }

    free(updates);

    return chain;
}


void
tn_aums_hash_text(char text[TN_AUMS_TEXT],
    const uint8_t hash[TN_BLAKE2S_LEN])
{
    size_t    i, n;
    uint32_t  bits, have;

    bits = 0;
    have = 0;
    n = 0;

    for (i = 0; i < TN_BLAKE2S_LEN; i++) {
        bits = bits << 8 | hash[i];
        have += 8;

        while (have >= 5) {
            have -= 5;
            text[n++] = tn_aums_base32[bits >> have & 31];
        }
    }

    if (have != 0) {
        text[n++] = tn_aums_base32[bits << (5 - have) & 31];
    }

    text[n] = '\0';
}


tn_rc_t
tn_aums_hash_parse(uint8_t hash[TN_BLAKE2S_LEN], const char *text)
{
    size_t       i, n;
    uint32_t     bits, have;
    const char  *p;

    if (strlen(text) != TN_AUMS_TEXT - 1) {
        return TN_MALFORMED;
    }

    bits = 0;
    have = 0;
    n = 0;

    for (i = 0; i < TN_AUMS_TEXT - 1; i++) {
        p = strchr(tn_aums_base32, text[i]);

        if (p == NULL) {
            return TN_MALFORMED;
        }

        bits = bits << 5 | (uint32_t) (p - tn_aums_base32);
        have += 5;

        if (have >= 8) {
            have -= 8;
            hash[n++] = (uint8_t) (bits >> have);
        }
    }

    return TN_OK;
}


static tn_rc_t
tn_aums_add(tn_aums_t *chain, const tn_aum_t *aum, const uint8_t *data,
    size_t len, uint32_t parent)
{
    tn_aums_update_t  *update;

    if (len == 0) {
        return TN_MALFORMED;
    }

    if (chain->n == TN_AUMS_MAX || chain->bytes + len > TN_AUMS_BYTES_MAX) {
        return TN_NOMEM;
    }

    update = &chain->update[chain->n];
    update->data = malloc(len);

    if (update->data == NULL) {
        return TN_NOMEM;
    }

    memcpy(update->data, data, len);
    memcpy(update->hash, aum->hash, sizeof(update->hash));
    update->len = len;
    update->kind = aum->kind;
    update->parent = parent;
    update->child = TN_AUMS_NONE;
    update->next = TN_AUMS_NONE;
    update->sibling = TN_AUMS_NONE;

    if (parent != TN_AUMS_NONE) {
        update->sibling = chain->update[parent].child;
        chain->update[parent].child = chain->n;
    }

    chain->bytes += len;
    chain->n++;

    return TN_OK;
}


/* the last ones go; each is its parent's newest child */
static void
tn_aums_truncate(tn_aums_t *chain, uint32_t n)
{
    tn_aums_update_t  *update;

    while (chain->n > n) {
        update = &chain->update[--chain->n];

        if (update->parent != TN_AUMS_NONE) {
            chain->update[update->parent].child = update->sibling;
        }

        chain->bytes -= update->len;
        free(update->data);
        memset(update, 0, sizeof(tn_aums_update_t));
    }
}


static uint32_t
tn_aums_find(const tn_aums_t *chain, const uint8_t *hash)
{
    uint32_t  i;

    for (i = chain->n; i-- != 0; /* void */ ) {
        if (memcmp(chain->update[i].hash, hash, TN_BLAKE2S_LEN) == 0) {
            return i;
        }
    }

    return TN_AUMS_NONE;
}


/* from the last checkpoint before it */
static tn_rc_t
tn_aums_state_at(const tn_aums_t *chain, uint32_t at, tn_lock_t *lock)
{
    size_t                    n;
    tn_rc_t                   rc;
    uint32_t                  i, *path;
    const tn_aums_update_t  *update;

    path = malloc(chain->n * sizeof(uint32_t));
    if (path == NULL) {
        return TN_NOMEM;
    }

    n = 0;

    for (i = at; i != TN_AUMS_NONE; i = chain->update[i].parent) {
        path[n++] = i;
    }

    update = &chain->update[path[--n]];
    rc = tn_lock_start(lock, update->data, update->len);

    while (rc == TN_OK && n != 0) {
        update = &chain->update[path[--n]];
        rc = tn_lock_replay(lock, update->data, update->len);
    }

    free(path);

    return rc;
}


/* walks the branch that counts; the lock and the head change only when it
 * works out */
static tn_rc_t
tn_aums_activate(tn_aums_t *chain)
{
    tn_rc_t                   rc;
    uint32_t                  at, next;
    tn_aum_t                 *aum;
    tn_lock_t                *lock;
    const tn_aums_update_t  *update;

    aum = malloc(sizeof(tn_aum_t));
    lock = malloc(sizeof(tn_lock_t));

    if (aum == NULL || lock == NULL) {
        rc = TN_NOMEM;
        goto done;
    }

    rc = tn_lock_start(lock, chain->update[0].data, chain->update[0].len);

    for (at = 0; rc == TN_OK; at = next) {
        next = tn_aums_pick(chain, lock, chain->update[at].child, aum);

        if (next == TN_AUMS_NONE) {
            break;
        }

        update = &chain->update[next];
        rc = tn_lock_replay(lock, update->data, update->len);
    }

    if (rc == TN_OK) {
        chain->lock = *lock;
        chain->head = at;
        next = TN_AUMS_NONE;

        while (at != TN_AUMS_NONE) {
            chain->update[at].next = next;
            next = at;
            at = chain->update[at].parent;
        }
    }

done:

    free(aum);
    free(lock);

    return rc;
}


static uint32_t
tn_aums_pick(const tn_aums_t *chain, const tn_lock_t *lock, uint32_t first,
    tn_aum_t *aum)
{
    bool                      better;
    uint32_t                  i, best;
    uint64_t                  weight, most;
    const tn_aums_update_t  *a, *b;

    if (first == TN_AUMS_NONE
        || chain->update[first].sibling == TN_AUMS_NONE)
    {
        return first;
    }

    best = TN_AUMS_NONE;
    most = 0;

    for (i = first; i != TN_AUMS_NONE; i = chain->update[i].sibling) {
        a = &chain->update[i];

        weight = tn_aum_parse(aum, a->data, a->len) == TN_OK
                 ? tn_lock_weight(lock, aum) : 0;

        if (best == TN_AUMS_NONE) {
            better = true;

        } else {
            b = &chain->update[best];

            better = weight != most
                     ? weight > most
                     : (a->kind == TN_AUM_REMOVE_KEY)
                       != (b->kind == TN_AUM_REMOVE_KEY)
                       ? a->kind == TN_AUM_REMOVE_KEY
                       : memcmp(a->hash, b->hash, TN_BLAKE2S_LEN) < 0;
        }

        if (better) {
            best = i;
            most = weight;
        }
    }

    return best;
}


/* a checkpoint of the branch that counts becomes the oldest; what does not
 * descend from it goes */
static void
tn_aums_compact(tn_aums_t *chain)
{
    bool               *kept;
    uint32_t            i, n, at, oldest, *moved;
    tn_aums_update_t  *update;

    oldest = TN_AUMS_NONE;
    n = 0;

    for (at = chain->head; at != 0 && at != TN_AUMS_NONE;
         at = chain->update[at].parent)
    {
        if (n++ >= TN_AUMS_TAIL
            && chain->update[at].kind == TN_AUM_CHECKPOINT)
        {
            oldest = at;
            break;
        }
    }

    if (oldest == TN_AUMS_NONE) {
        return;
    }

    kept = calloc(chain->n, sizeof(bool));
    moved = calloc(chain->n, sizeof(uint32_t));

    if (kept == NULL || moved == NULL) {
        goto done;
    }

    n = 0;

    for (i = 0; i < chain->n; i++) {
        update = &chain->update[i];

        kept[i] = i == oldest
                  || (update->parent != TN_AUMS_NONE && kept[update->parent]);
        moved[i] = kept[i] ? n++ : TN_AUMS_NONE;

        if (!kept[i]) {
            chain->bytes -= update->len;
            free(update->data);
        }
    }

    for (i = 0; i < chain->n; i++) {

        if (!kept[i]) {
            continue;
        }

        update = &chain->update[moved[i]];
        *update = chain->update[i];

        update->parent = update->parent == TN_AUMS_NONE
                         ? TN_AUMS_NONE : moved[update->parent];
        update->child = update->child == TN_AUMS_NONE
                        ? TN_AUMS_NONE : moved[update->child];
        update->sibling = update->sibling == TN_AUMS_NONE
                          ? TN_AUMS_NONE : moved[update->sibling];
        update->next = update->next == TN_AUMS_NONE
                       ? TN_AUMS_NONE : moved[update->next];
    }

    chain->update[0].sibling = TN_AUMS_NONE;
    chain->head = moved[chain->head];
    memset(&chain->update[n], 0, (chain->n - n) * sizeof(tn_aums_update_t));
    chain->n = n;

done:

    free(kept);
    free(moved);
}
