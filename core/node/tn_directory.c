
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The memory: one word that says which snapshot counts, then room for two.
 *
 *   small change   the peers it names are put anew into the snapshot that
 *                  counts, each in one step that a reader sees whole or not
 *   all anew       the other room is filled, then the word is changed: no
 *                  reader ever sees half of a netmap.  So it is at a start,
 *                  when what was there was another process's, when the rules
 *                  that grant capabilities changed, when this node's own name
 *                  or addresses did, and when the snapshot is full, with
 *                  twice the size then
 *
 * The word is a serial number, the room and the size's logarithm; 0 says that
 * nobody is known.  A reader looks at it before and after: in between the
 * room may have been emptied and filled twice, the serial number tells.  It is
 * as wide as every machine can load at once, also from memory it may not write.
 *
 * This node is in it under the address ::, which nobody can have.
 */

#include "node/tn_directory.h"

#include "base/tn_hash.h"

#include <stdio.h>
#include <stdlib.h>


#define TN_DIRECTORY_TRIES       100
#define TN_DIRECTORY_SELF        INT64_MIN
#define TN_DIRECTORY_LOG_MIN     20         /* 1 MiB, some 600 peers */
#define TN_DIRECTORY_PEER        1536       /* bytes that one may need */
#define TN_DIRECTORY_PREFIXES    64
#define TN_DIRECTORY_CAPS        256        /* capabilities of one peer */
#define TN_DIRECTORY_PATH        32
#define TN_DIRECTORY_FIELD       16384      /* a few of these fit in a record */

/* changes of a peer that are seen in its record */
#define TN_DIRECTORY_BITS                                                     \
    (TN_NODE_ADDED | TN_NODE_ADDRESSES | TN_NODE_NAME | TN_NODE_CAPS          \
     | TN_NODE_EXPIRY | TN_NODE_FLAGS)


typedef struct {
    tn_hash_node_t           node;
    int64_t                  id;
    char                     text[TN_DIRECTORY_PATH];
} directory_path_t;

typedef struct {
    const char              *name;
    const char              *json;
} directory_cap_t;

/* the parts of one record while it is put together */
typedef struct {
    char                    *text;
    size_t                   len;
    size_t                   room;
    bool                     failed;
} directory_text_t;

typedef struct {
    size_t                   n;
    directory_cap_t          cap[TN_DIRECTORY_CAPS];
} directory_caps_t;

struct tn_directory_writer_s {
    uint8_t                 *mem;
    tn_directory_release_pt  release;
    uint64_t                 seed;
    tn_log_t                *log;
    tn_snapshot_writer_t    *snapshot;
    unsigned                 room;
    unsigned                 log_size;
    bool                     full;
    tn_hash_t                paths;

    directory_text_t         text[4];       /* kept: no allocation each time */
    directory_caps_t         caps;
};


static bool directory_users(tn_directory_writer_t *writer,
    const tn_netmap_t *netmap);
static bool directory_rewrite(tn_directory_writer_t *writer,
    const tn_netmap_t *netmap);
static bool directory_fill(tn_directory_writer_t *writer,
    const tn_netmap_t *netmap, tn_snapshot_writer_t *snapshot);
static tn_rc_t directory_put(tn_directory_writer_t *writer,
    const tn_netmap_t *netmap, tn_snapshot_writer_t *snapshot,
    const tn_netmap_node_t *node);
static bool directory_wants(const tn_netmap_node_t *node);
static tn_str_t directory_name(const tn_netmap_t *netmap, tn_str_t fqdn);
static tn_str_t directory_tags(directory_text_t *text,
    const tn_netmap_node_t *node);
static tn_str_t directory_addresses(directory_text_t *text,
    const tn_netmap_node_t *node);
static tn_str_t directory_caps(tn_directory_writer_t *writer,
    directory_text_t *text, const tn_netmap_t *netmap,
    const tn_netmap_node_t *peer, bool v4);
static void directory_cap(void *data, const char *name, const char *json);
static void directory_cap_values(directory_text_t *text, const char *json,
    bool *first);
static void directory_add(directory_text_t *text, const char *bytes,
    size_t len);
static tn_str_t directory_done(directory_text_t *text);
static directory_path_t *directory_path(tn_directory_writer_t *writer,
    int64_t id);
static void directory_path_free(tn_directory_writer_t *writer,
    directory_path_t *path);
static tn_rc_t directory_look(const tn_directory_t *directory,
    const tn_ip_t *ip, tn_snapshot_peer_t *peer, uint8_t *buf);


static inline size_t *
directory_word(const uint8_t *mem)
{
    return (size_t *) (uintptr_t) mem;
}


static inline size_t
directory_state(const uint8_t *mem)
{
    return __atomic_load_n(directory_word(mem), __ATOMIC_ACQUIRE);
}


static inline size_t
directory_state_of(size_t serial, unsigned room, unsigned log_size)
{
    return serial << 8 | (size_t) room << 7 | log_size;
}


static inline uint8_t *
directory_room(const uint8_t *mem, unsigned room)
{
    return (uint8_t *) (uintptr_t) mem + TN_DIRECTORY_HEAD
           + room * TN_DIRECTORY_AREA;
}


tn_directory_writer_t *
tn_directory_create(void *mem, tn_directory_release_pt release, uint64_t seed,
    tn_log_t *log)
{
    tn_directory_writer_t  *writer;

    writer = calloc(1, sizeof(tn_directory_writer_t));
    if (writer == NULL) {
        return NULL;
    }

    writer->mem = mem;
    writer->release = release;
    writer->seed = seed;
    writer->log = log;
    tn_hash_init(&writer->paths, sizeof(int64_t));

    return writer;
}


void
tn_directory_destroy(tn_directory_writer_t *writer)
{
    size_t           i;
    tn_hash_node_t  *node;

    if (writer == NULL) {
        return;
    }

    while ((node = tn_hash_next(&writer->paths, NULL)) != NULL) {
        directory_path_free(writer, tn_container(node, directory_path_t,
                                                 node));
    }

    for (i = 0; i < tn_nelems(writer->text); i++) {
        free(writer->text[i].text);
    }

    tn_hash_done(&writer->paths);
    tn_snapshot_destroy(writer->snapshot);
    free(writer);
}


void
tn_directory_forget(tn_directory_writer_t *writer)
{
    __atomic_store_n(directory_word(writer->mem), 0, __ATOMIC_RELEASE);

    tn_snapshot_destroy(writer->snapshot);
    writer->snapshot = NULL;
}


void
tn_directory_update(tn_directory_writer_t *writer, const tn_netmap_t *netmap,
    const tn_netmap_changes_t *changes)
{
    bool               all;
    size_t             i;
    directory_path_t  *path;

    if (netmap->self == NULL) {
        tn_directory_forget(writer);
        return;
    }

    for (i = 0; changes != NULL && i < changes->nremoved; i++) {
        path = directory_path(writer, changes->removed[i].id);

        if (path != NULL) {
            directory_path_free(writer, path);
        }
    }

    all = changes == NULL || writer->snapshot == NULL
          || (changes->what & TN_NETMAP_FILTER) != 0
          || ((changes->what & TN_NETMAP_SELF)
              && (changes->self & (TN_DIRECTORY_BITS & ~TN_NODE_EXPIRY)));

    for (i = 0; !all && i < changes->nremoved; i++) {
        tn_snapshot_remove(writer->snapshot, changes->removed[i].id);
    }

    for (i = 0; !all && i < changes->npeers; i++) {

        if ((changes->peers[i]->changed & TN_DIRECTORY_BITS)
            && directory_put(writer, netmap, writer->snapshot,
                             changes->peers[i])
               != TN_OK)
        {
            all = !writer->full;
        }
    }

    if (!all && (changes->what & TN_NETMAP_USERS)) {
        all = !directory_users(writer, netmap);
    }

    /* without memory nobody is better than the ones of yesterday */

    if (all && !directory_rewrite(writer, netmap)) {
        tn_log(writer->log, TN_LOG_ERR, "no memory to tell nginx who is who: "
               "peers are without an identity");
        tn_directory_forget(writer);
    }
}


/* peers of the users that this message named; false when it is full */
static bool
directory_users(tn_directory_writer_t *writer, const tn_netmap_t *netmap)
{
    const tn_netmap_node_t  *node;
    const tn_netmap_user_t  *user;

    for (node = tn_netmap_each(netmap, NULL); node != NULL;
         node = tn_netmap_each(netmap, node))
    {
        user = tn_netmap_find_user(netmap, node->user);

        if (user != NULL && user->mark != netmap->mark) {
            continue;
        }

        if (directory_put(writer, netmap, writer->snapshot, node) != TN_OK
            && !writer->full)
        {
            return false;
        }
    }

    return true;
}


void
tn_directory_path(tn_directory_writer_t *writer, const tn_netmap_t *netmap,
    int64_t id, const char *text)
{
    directory_path_t        *path;
    const tn_netmap_node_t  *node;

    node = tn_netmap_find_id(netmap, id);

    if (node == NULL || node == netmap->self) {
        return;
    }

    path = directory_path(writer, id);

    if (path == NULL) {
        path = calloc(1, sizeof(directory_path_t));
        if (path == NULL) {
            return;
        }

        path->id = id;
        path->node.key = &path->id;

        if (tn_hash_insert(&writer->paths, &path->node) != TN_OK) {
            free(path);
            return;
        }

    } else if (strcmp(path->text, text) == 0) {
        return;
    }

    (void) snprintf(path->text, sizeof(path->text), "%s", text);

    if (writer->snapshot != NULL
        && directory_put(writer, netmap, writer->snapshot, node) != TN_OK
        && !writer->full && !directory_rewrite(writer, netmap))
    {
        tn_directory_forget(writer);
    }
}


static bool
directory_rewrite(tn_directory_writer_t *writer, const tn_netmap_t *netmap)
{
    size_t                 need, state;
    unsigned               room, log_size;
    tn_snapshot_writer_t  *snapshot;

    state = directory_state(writer->mem);
    room = state == 0 ? 0 : !(state >> 7 & 1);
    need = (netmap->peers.count + 1) * TN_DIRECTORY_PEER;

    for (log_size = TN_DIRECTORY_LOG_MIN;
         (size_t) 1 << log_size < need && log_size < TN_DIRECTORY_LOG_MAX;
         log_size++)
    {
        /* void */
    }

    for ( ;; ) {
        writer->release(directory_room(writer->mem, room), TN_DIRECTORY_AREA);

        snapshot = tn_snapshot_create(directory_room(writer->mem, room),
                                      (size_t) 1 << log_size, writer->seed);
        if (snapshot == NULL) {
            return false;
        }

        if (directory_fill(writer, netmap, snapshot)
            || log_size == TN_DIRECTORY_LOG_MAX)
        {
            break;
        }

        tn_snapshot_destroy(snapshot);
        log_size++;
    }

    /* what does not fit into the largest has no identity */

    writer->full = log_size == TN_DIRECTORY_LOG_MAX;

    __atomic_store_n(directory_word(writer->mem),
                     directory_state_of((state >> 8) + 1, room, log_size),
                     __ATOMIC_RELEASE);

    tn_snapshot_destroy(writer->snapshot);
    writer->snapshot = snapshot;
    writer->release(directory_room(writer->mem, !room), TN_DIRECTORY_AREA);

    return true;
}


/* false when it is full */
static bool
directory_fill(tn_directory_writer_t *writer, const tn_netmap_t *netmap,
    tn_snapshot_writer_t *snapshot)
{
    const tn_netmap_node_t  *node;

    if (directory_put(writer, netmap, snapshot, netmap->self) != TN_OK) {
        return false;
    }

    for (node = tn_netmap_each(netmap, NULL); node != NULL;
         node = tn_netmap_each(netmap, node))
    {
        if (directory_put(writer, netmap, snapshot, node) != TN_OK) {
            return false;
        }
    }

    return true;
}


/* also takes out who has no identity any more */
static tn_rc_t
directory_put(tn_directory_writer_t *writer, const tn_netmap_t *netmap,
    tn_snapshot_writer_t *snapshot, const tn_netmap_node_t *node)
{
    size_t                   i, n, len;
    tn_ip_t                  nobody;
    tn_str_t                *field;
    tn_prefix_t              prefixes[TN_DIRECTORY_PREFIXES];
    directory_path_t        *path;
    tn_snapshot_peer_t       peer;
    const tn_netmap_user_t  *user;

    memset(&peer, 0, sizeof(peer));
    field = peer.field;
    peer.id = node->id;
    n = 0;

    if (node == netmap->self) {
        memset(&nobody, 0, sizeof(nobody));
        prefixes[n++] = tn_prefix_of(&nobody);
        peer.id = TN_DIRECTORY_SELF;

    } else if (!directory_wants(node)) {
        tn_snapshot_remove(snapshot, node->id);
        return TN_OK;
    }

    for (i = 0; node != netmap->self && i < node->naddresses
                && n < TN_DIRECTORY_PREFIXES; i++)
    {
        if (node->addresses[i].bits == (node->addresses[i].v4 ? 32 : 128)
            && !tn_ip_is_none(&node->addresses[i].ip)
            && tn_netmap_find_ip(netmap, &node->addresses[i].ip) == node)
        {
            prefixes[n++] = node->addresses[i];
        }
    }

    field[TN_SNAPSHOT_FQDN].data = (const uint8_t *) node->name;
    field[TN_SNAPSHOT_FQDN].len = strlen(node->name);

    if (field[TN_SNAPSHOT_FQDN].len > 0
        && node->name[field[TN_SNAPSHOT_FQDN].len - 1] == '.')
    {
        field[TN_SNAPSHOT_FQDN].len--;
    }

    field[TN_SNAPSHOT_NAME] = directory_name(netmap, field[TN_SNAPSHOT_FQDN]);
    field[TN_SNAPSHOT_ID].data = (const uint8_t *) node->stable_id;
    field[TN_SNAPSHOT_ID].len = strlen(node->stable_id);
    field[TN_SNAPSHOT_TAGS] = directory_tags(&writer->text[0], node);

    /* who registered a tagged node is nobody's business: tags are its owner */

    user = node->ntags == 0 ? tn_netmap_find_user(netmap, node->user) : NULL;

    if (user != NULL) {
        field[TN_SNAPSHOT_LOGIN].data = (const uint8_t *) user->login;
        field[TN_SNAPSHOT_LOGIN].len = strlen(user->login);
        field[TN_SNAPSHOT_DISPLAY].data = (const uint8_t *) user->display;
        field[TN_SNAPSHOT_DISPLAY].len = strlen(user->display);
        field[TN_SNAPSHOT_PICTURE].data = (const uint8_t *) user->picture;
        field[TN_SNAPSHOT_PICTURE].len = strlen(user->picture);
    }

    field[TN_SNAPSHOT_ADDRESSES] = directory_addresses(&writer->text[1],
                                                       node);

    if (node != netmap->self) {
        field[TN_SNAPSHOT_CAPS] = directory_caps(writer, &writer->text[2],
                                                 netmap, node, true);
        field[TN_SNAPSHOT_CAPS6] = directory_caps(writer, &writer->text[3],
                                                  netmap, node, false);

        path = directory_path(writer, node->id);

        if (path != NULL) {
            field[TN_SNAPSHOT_PATH].data = (const uint8_t *) path->text;
            field[TN_SNAPSHOT_PATH].len = strlen(path->text);
        }
    }

    len = 0;

    for (i = 0; i < TN_SNAPSHOT_NFIELDS; i++) {
        len = tn_max(len, field[i].len);
    }

    /* one that could never fit is not the others' trouble */

    if (len > TN_DIRECTORY_FIELD) {
        tn_snapshot_remove(snapshot, peer.id);
        return TN_OK;
    }

    return tn_snapshot_put(snapshot, &peer, prefixes, n);
}


/* control lists peers that may not act as themselves */
static bool
directory_wants(const tn_netmap_node_t *node)
{
    return !node->expired && !node->unsigned_peerapi_only;
}


/* a node of another tailnet that was shared in keeps its full name */
static tn_str_t
directory_name(const tn_netmap_t *netmap, tn_str_t fqdn)
{
    size_t           len;
    const uint8_t   *dot;
    const char      *domain;

    domain = strchr(netmap->self->name, '.');
    dot = fqdn.len ? memchr(fqdn.data, '.', fqdn.len) : NULL;

    if (domain == NULL || dot == NULL) {
        return fqdn;
    }

    len = strlen(domain);

    if (len > 1 && domain[len - 1] == '.') {
        len--;
    }

    if (len == fqdn.len - (size_t) (dot - fqdn.data)
        && strncasecmp((const char *) dot, domain, len) == 0)
    {
        fqdn.len = (size_t) (dot - fqdn.data);
    }

    return fqdn;
}


static tn_str_t
directory_tags(directory_text_t *text, const tn_netmap_node_t *node)
{
    size_t  i;

    for (i = 0; i < node->ntags; i++) {
        if (i != 0) {
            directory_add(text, ",", 1);
        }

        directory_add(text, node->tags[i], strlen(node->tags[i]));
    }

    return directory_done(text);
}


/* IPv4 first */
static tn_str_t
directory_addresses(directory_text_t *text, const tn_netmap_node_t *node)
{
    char                one[TN_ADDR_TEXT];
    bool                v4;
    size_t              i;
    const tn_prefix_t  *prefix;

    v4 = true;

    do {
        for (i = 0; i < node->naddresses; i++) {
            prefix = &node->addresses[i];

            if (prefix->v4 != v4 || prefix->bits != (v4 ? 32 : 128)) {
                continue;
            }

            if (text->len != 0) {
                directory_add(text, ",", 1);
            }

            (void) tn_ip_text(&prefix->ip, one);
            directory_add(text, one, strlen(one));
        }

        v4 = !v4;

    } while (!v4);

    return directory_done(text);
}


/*
 * What the rules grant the peer towards us, from its first address of the
 * family to ours (upstream: LocalBackend.PeerCaps).
 */
static tn_str_t
directory_caps(tn_directory_writer_t *writer, directory_text_t *text,
    const tn_netmap_t *netmap, const tn_netmap_node_t *peer, bool v4)
{
    bool               first;
    size_t             i, k;
    tn_ip_t            from, to;
    directory_caps_t  *caps;

    caps = &writer->caps;
    caps->n = 0;

    if (netmap->filtered && !netmap->unsigned_reached
        && tn_netmap_node_ip(peer, v4, &from)
        && tn_netmap_node_ip(netmap->self, v4, &to))
    {
        tn_rules_caps(&netmap->rules, &from, &to, directory_cap, caps);
    }

    directory_add(text, "{", 1);

    for (i = 0; i < caps->n; i++) {

        if (caps->cap[i].name == NULL) {
            continue;
        }

        directory_add(text, text->len > 1 ? ",\"" : "\"",
                      text->len > 1 ? 2 : 1);
        directory_add(text, caps->cap[i].name, strlen(caps->cap[i].name));
        directory_add(text, "\":[", 3);

        first = true;

        /* values of one name add up, in the order of the rules */

        for (k = i; k < caps->n; k++) {
            if (k != i && (caps->cap[k].name == NULL
                           || strcmp(caps->cap[k].name, caps->cap[i].name)
                              != 0))
            {
                continue;
            }

            directory_cap_values(text, caps->cap[k].json, &first);

            if (k != i) {
                caps->cap[k].name = NULL;
            }
        }

        directory_add(text, "]", 1);
    }

    directory_add(text, "}", 1);

    if (text->len > TN_DIRECTORY_FIELD) {

        /* rather none than some of them */

        text->len = 0;
        directory_add(text, "{}", 2);
    }

    return directory_done(text);
}


/* a name that JSON would have to escape is none that upstream has */
static void
directory_cap(void *data, const char *name, const char *json)
{
    directory_caps_t *caps = data;

    const char  *p;

    for (p = name; *p > ' ' && *p <= '~' && *p != '"' && *p != '\\'; p++) {
        /* void */
    }

    if (*p != '\0' || p == name || caps->n == TN_DIRECTORY_CAPS) {
        return;
    }

    caps->cap[caps->n].name = name;
    caps->cap[caps->n++].json = json;
}


/* the text of an array without its brackets */
static void
directory_cap_values(directory_text_t *text, const char *json, bool *first)
{
    size_t  len;

    len = json != NULL ? strlen(json) : 0;

    if (len <= 2 || json[0] != '[' || json[len - 1] != ']') {
        return;
    }

    if (!*first) {
        directory_add(text, ",", 1);
    }

    *first = false;
    directory_add(text, json + 1, len - 2);
}


static void
directory_add(directory_text_t *text, const char *bytes, size_t len)
{
    char    *larger;
    size_t   room;

    if (text->len + len > text->room) {
        room = tn_max(2 * text->room, text->len + len + 256);
        larger = realloc(text->text, room);

        if (larger == NULL) {
            text->failed = true;
            return;
        }

        text->text = larger;
        text->room = room;
    }

    memcpy(text->text + text->len, bytes, len);
    text->len += len;
}


/* empty when there was no memory; the bytes stay until the next use */
static tn_str_t
directory_done(directory_text_t *text)
{
    tn_str_t  done;

    done.data = (const uint8_t *) text->text;
    done.len = text->failed ? 0 : text->len;

    text->len = 0;
    text->failed = false;

    return done;
}


static directory_path_t *
directory_path(tn_directory_writer_t *writer, int64_t id)
{
    tn_hash_node_t  *node;

    node = tn_hash_find(&writer->paths, &id);

    return node != NULL ? tn_container(node, directory_path_t, node) : NULL;
}


static void
directory_path_free(tn_directory_writer_t *writer, directory_path_t *path)
{
    tn_hash_remove(&writer->paths, &path->node);
    free(path);
}


tn_rc_t
tn_directory_find(const tn_directory_t *directory, const tn_ip_t *ip,
    tn_snapshot_peer_t *peer, uint8_t *buf)
{
    return tn_ip_is_none(ip) ? TN_NOTFOUND
                             : directory_look(directory, ip, peer, buf);
}


tn_rc_t
tn_directory_self(const tn_directory_t *directory, tn_snapshot_peer_t *self,
    uint8_t *buf)
{
    tn_ip_t  nobody;

    memset(&nobody, 0, sizeof(nobody));

    return directory_look(directory, &nobody, self, buf);
}


static tn_rc_t
directory_look(const tn_directory_t *directory, const tn_ip_t *ip,
    tn_snapshot_peer_t *peer, uint8_t *buf)
{
    size_t         state;
    tn_rc_t        rc;
    unsigned       i, room, log_size;
    tn_snapshot_t  snapshot;

    for (i = 0; i < TN_DIRECTORY_TRIES; i++) {
        state = directory_state(directory->mem);

        if (state == 0) {
            return TN_NOTFOUND;
        }

        room = state >> 7 & 1;
        log_size = state & 0x7f;

        if (log_size < TN_DIRECTORY_LOG_MIN || log_size > TN_DIRECTORY_LOG_MAX)
        {
            return TN_MALFORMED;
        }

        rc = tn_snapshot_open(&snapshot, directory_room(directory->mem, room),
                              (size_t) 1 << log_size);

        if (rc == TN_OK) {
            rc = tn_snapshot_find(&snapshot, ip, peer, buf);
        }

        __atomic_thread_fence(__ATOMIC_SEQ_CST);

        if (directory_state(directory->mem) == state) {
            return rc;
        }
    }

    return TN_AGAIN;
}
