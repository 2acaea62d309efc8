
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Map messages, one a line, into the netmap; a line L or l is tailnet lock,
 * on and off, which trusts a key that signs nobody.  Beside it stands somebody
 * who only follows the changes it reports, and must come to the same peers.
 */

#include "control/tn_netmap_int.h"

#include "control/tn_netmap_dump.h"

#include <stdlib.h>


#define WALL     1800000000
#define FOLLOW   256

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

typedef struct {
    int64_t    id;
    tn_key_t   key;
} peer_t;

static tn_lock_t  lock;
static peer_t  peers[FOLLOW];
static size_t  npeers;


static peer_t *
find(int64_t id)
{
    size_t  i;

    for (i = 0; i < npeers; i++) {
        if (peers[i].id == id) {
            return &peers[i];
        }
    }

    return NULL;
}


static void
must(bool true_it_is)
{
    if (!true_it_is) {
        abort();
    }
}


static bool
follow(const tn_netmap_changes_t *changes)
{
    size_t             i;
    peer_t            *peer;
    tn_netmap_node_t  *node;

    for (i = 0; i < changes->nremoved; i++) {
        peer = find(changes->removed[i].id);
        must(peer != NULL);
        must(tn_key_equal(&peer->key, &changes->removed[i].key));
        *peer = peers[--npeers];
    }

    for (i = 0; i < changes->npeers; i++) {
        node = changes->peers[i];
        peer = find(node->id);

        must(node->changed != 0);
        must((peer == NULL) == ((node->changed & TN_NODE_ADDED) != 0));

        if (peer == NULL) {
            if (npeers == FOLLOW) {
                return false;
            }

            peer = &peers[npeers++];
            peer->id = node->id;

        } else if (node->changed & TN_NODE_KEY) {
            must(tn_key_equal(&peer->key, &node->old_key));

        } else {
            must(tn_key_equal(&peer->key, &node->key));
        }

        peer->key = node->key;
    }

    return true;
}


static void
check(tn_netmap_t *map)
{
    size_t             n;
    peer_t            *peer;
    tn_ip_t            ips[4];
    tn_netmap_node_t  *node;

    n = 0;

    for (node = tn_netmap_each(map, NULL);
         node != NULL;
         node = tn_netmap_each(map, node))
    {
        n++;
        peer = find(node->id);
        must(peer != NULL && tn_key_equal(&peer->key, &node->key));

        if (map->self == NULL || (map->self->id != node->id
                                  && !tn_key_equal(&map->self->key,
                                                   &node->key)))
        {
            must(tn_netmap_find_key(map, &node->key) == node);
            must(tn_netmap_find_id(map, node->id) == node);
        }

        (void) tn_netmap_find_name(map, node->name, strlen(node->name));
        (void) tn_netmap_resolve(map, node->label, strlen(node->label), ips,
                                 4);
        (void) tn_netmap_find_user(map, node->user);
    }

    must(n == npeers);
    must(map->keys.count == n);
}


/* what would be kept on disk can be read again */
static void
keep(tn_netmap_t *map, int64_t wall)
{
    size_t                len;
    int64_t               saved;
    uint8_t              *bytes;
    tn_key_t              key;
    tn_netmap_t          *again;
    tn_netmap_changes_t   changes;

    memset(&key, 1, sizeof(key));
    again = tn_netmap_create(NULL);

    if (map->self != NULL && again != NULL
        && tn_netmap_pack(map, &key, 0, wall, &bytes, &len) == TN_OK)
    {
        must(tn_netmap_unpack(again, &key, bytes, len, wall, &saved, &changes)
             == TN_OK);
        must(again->self != NULL && saved == wall);
        tn_netmap_changes_done(&changes);
        free(bytes);
    }

    tn_netmap_destroy(again);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool                  go_on, fresh;
    size_t                len;
    int64_t               wall;
    uint8_t              *copy;
    const uint8_t        *end;
    tn_netmap_t          *map;
    tn_map_message_t      message;
    tn_netmap_changes_t   changes;

    map = tn_netmap_create(NULL);
    npeers = 0;
    go_on = true;
    wall = WALL;
    lock.state.n = 1;
    lock.state.keys[0].votes = 1;

    while (map != NULL && size != 0 && go_on) {
        end = memchr(data, '\n', size);
        len = end ? (size_t) (end - data) : size;

        /* a copy of its own, so that reading past it shows */

        copy = malloc(len ? len : 1);
        if (copy == NULL) {
            break;
        }

        memcpy(copy, data, len);
        fresh = len != 0 && copy[len - 1] == ' ';

        if (len == 1 && (copy[0] == 'L' || copy[0] == 'l')) {
            if (tn_netmap_set_lock(map, copy[0] == 'L' ? &lock : NULL,
                                   &changes)
                == TN_OK)
            {
                go_on = follow(&changes);
                tn_netmap_changes_done(&changes);

                if (go_on) {
                    check(map);
                }
            }

        } else if (tn_map_message_cut(&message, (char *) copy, len) == TN_OK
            && tn_netmap_apply_message(map, &message, fresh, wall, &changes)
               == TN_OK)
        {
            go_on = follow(&changes);
            tn_netmap_changes_done(&changes);

            if (go_on) {
                check(map);
                (void) tn_netmap_expire(map, wall, &changes);
                go_on = follow(&changes);
                tn_netmap_changes_done(&changes);
            }
        }

        free(copy);
        wall += 3600;
        data += tn_min(len + 1, size);
        size -= tn_min(len + 1, size);
    }

    if (map != NULL) {
        keep(map, wall);
    }

    tn_netmap_destroy(map);

    return 0;
}
