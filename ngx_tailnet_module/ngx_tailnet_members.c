
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Servers that are many peers.  "server tag:web:80 tailnet" becomes
 * TN_IPC_MEMBERS_MAX stock servers, its slots, all but the first of them
 * down.  Each worker has the core tell it which peers have the tag and are
 * online, and puts them into the slots: a slot with a peer is up, one without
 * is down, and the stand-in address of a slot has the id of its peer:
 * "unix:/tailnet/N.ID".
 *
 * A peer stays in its slot, as requests under way know by its place which
 * server they have tried; for the same reason a new one takes a slot that was
 * not used of late.  Balancers that draw lots by the total weight ("dense")
 * give none to the slots after the last one that is up: there a new peer takes
 * the first slot that is free, and peers move only when three of four are.
 *
 * Until the core has answered, and while no peer has the tag, the first slot
 * is up without a peer: its connections go to whom the core finds for the tag
 * at that moment, or fail with the core's reason.
 *
 * nginx does not give up the only server of an upstream, however often it
 * fails, and looks for it at the beginning of the list.  So a tag that is alone
 * there, with one peer or none, has that in the first slot and is such a one.
 *
 * In a zone all workers make the same change of the same slots; the first one
 * does it and the others find it done.
 */

#include "ngx_tailnet.h"

#include <ngx_md5.h>


#define NGX_TAILNET_RETRY_MS     500

/* what nginx takes for not quite down, with the parameter "drain" */
#define NGX_TAILNET_DRAINING     8

/* names of one peer that a worker watches; dials of others ask the core */
#define NGX_TAILNET_WATCHED_MAX  128


/* what a worker knows of the peers of one target */

struct ngx_tailnet_members_s {
    ngx_tailnet_conf_t    *conf;
    ngx_tailnet_target_t  *target;
    ngx_tailnet_line_t     line;
    tn_ipc_members_t       known;
};


static ngx_int_t ngx_tailnet_members_create(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_target_t *target);
static int ngx_tailnet_members_open(void *data);
static void ngx_tailnet_members_read(ngx_event_t *ev);
static void ngx_tailnet_members_apply(ngx_tailnet_members_t *members,
    ngx_tailnet_group_t *group);
static ngx_uint_t ngx_tailnet_members_index(tn_ipc_members_t *known,
    int64_t id);
static void ngx_tailnet_members_put(ngx_tailnet_group_t *group,
    ngx_uint_t i, int64_t id);
static void ngx_tailnet_members_sid(ngx_tailnet_group_t *group,
    ngx_tailnet_slot_t *slot, int64_t id);
static void ngx_tailnet_members_up(ngx_tailnet_group_t *group);
static void ngx_tailnet_members_weigh(ngx_tailnet_group_t *group,
    ngx_uint_t n);
static ngx_uint_t ngx_tailnet_members_extent(ngx_tailnet_group_t *group);
static ngx_uint_t ngx_tailnet_members_free(ngx_tailnet_group_t *group);
static void ngx_tailnet_members_close_up(ngx_tailnet_group_t *group,
    ngx_uint_t n);
static void ngx_tailnet_members_single(ngx_tailnet_group_t *group,
    ngx_uint_t n);
static void ngx_tailnet_members_move(ngx_tailnet_group_t *group,
    ngx_uint_t to, ngx_uint_t from);


/* one address of a server that is a group becomes as many as it has slots */

ngx_int_t
ngx_tailnet_members_addrs(ngx_conf_t *cf, ngx_addr_t **addrs,
    ngx_uint_t *naddrs)
{
    ngx_uint_t   i;
    ngx_addr_t  *addr;

    addr = ngx_palloc(cf->pool, TN_IPC_MEMBERS_MAX * sizeof(ngx_addr_t));
    if (addr == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < TN_IPC_MEMBERS_MAX; i++) {

        addr[i] = **addrs;

        addr[i].sockaddr = ngx_pcalloc(cf->pool, sizeof(ngx_sockaddr_t));
        if (addr[i].sockaddr == NULL) {
            return NGX_ERROR;
        }

        ngx_memcpy(addr[i].sockaddr, (*addrs)->sockaddr, (*addrs)->socklen);
    }

    *addrs = addr;
    *naddrs = TN_IPC_MEMBERS_MAX;

    return NGX_OK;
}


ngx_int_t
ngx_tailnet_members_group(ngx_tailnet_conf_t *tcf, ngx_tailnet_group_t *group)
{
    ngx_tailnet_group_t  *g;

    if (group->nslots == 0) {
        return NGX_OK;
    }

    group->weight = *group->slots[0].weight;
    group->up = *group->slots[0].down;

    if (group->up & ~NGX_TAILNET_DRAINING) {

        /* the configuration says "down": one server that is */

        if (group->total_weight) {
            ngx_tailnet_members_weigh(group, 1);
        }

        return NGX_OK;
    }

    g = ngx_array_push(&tcf->groups);
    if (g == NULL) {
        return NGX_ERROR;
    }

    *g = *group;

    ngx_tailnet_members_single(g, 0);
    ngx_tailnet_members_up(g);

    if (g->target->members) {
        return NGX_OK;
    }

    if (ngx_tailnet_members_create(tcf, g->target) != NGX_OK) {
        return NGX_ERROR;
    }

    if (ngx_process == NGX_PROCESS_SINGLE
        && !ngx_is_init_cycle(tcf->cycle->old_cycle))
    {
        /* a reload of a single process, which no init_process follows */

        ngx_tailnet_line_open(&g->target->members->line, tcf->cycle->log);
    }

    return NGX_OK;
}


static ngx_int_t
ngx_tailnet_members_create(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_target_t *target)
{
    ngx_tailnet_members_t  *members;

    members = ngx_pcalloc(tcf->cycle->pool, sizeof(ngx_tailnet_members_t));
    if (members == NULL) {
        return NGX_ERROR;
    }

    members->conf = tcf;
    members->target = target;

    /* what is known stays in force until there is a core again */

    ngx_tailnet_line_init(&members->line, NGX_TAILNET_RETRY_MS,
                          ngx_tailnet_members_open, ngx_tailnet_members_read,
                          NULL, members);

    target->members = members;

    return NGX_OK;
}


void
ngx_tailnet_members_start(ngx_tailnet_conf_t *tcf)
{
    ngx_uint_t             i;
    ngx_tailnet_target_t  *target;

    target = tcf->targets.elts;

    for (i = 0; i < tcf->targets.nelts; i++) {
        if (target[i].members) {
            ngx_tailnet_line_open(&target[i].members->line,
                                  tcf->cycle->log);
        }
    }
}


void
ngx_tailnet_members_stop(ngx_tailnet_conf_t *tcf)
{
    ngx_uint_t             i;
    ngx_tailnet_target_t  *target;

    target = tcf->targets.elts;

    for (i = 0; i < tcf->targets.nelts; i++) {
        if (target[i].members) {
            ngx_tailnet_line_stop(&target[i].members->line);
        }
    }
}


static int
ngx_tailnet_members_open(void *data)
{
    ngx_tailnet_members_t *members = data;

    int                    fd;
    tn_ipc_watch_t         msg;
    ngx_tailnet_target_t  *target;

    target = members->target;

    tn_ipc_init(&msg, TN_IPC_WATCH);

    ngx_memcpy(msg.node, target->node->name.data, target->node->name.len);
    ngx_memcpy(msg.host, target->host.data, target->host.len);

    if (tn_client_watch((char *) members->conf->dir.data, &msg, &fd)
        != TN_OK)
    {
        return -1;
    }

    return fd;
}


static void
ngx_tailnet_members_read(ngx_event_t *ev)
{
    tn_rc_t                 rc;
    ngx_uint_t              i;
    ngx_connection_t       *c;
    ngx_tailnet_conf_t     *tcf;
    ngx_tailnet_group_t    *group;
    ngx_tailnet_members_t  *members;

    c = ev->data;
    members = c->data;
    tcf = members->conf;

    while ((rc = tn_client_members(c->fd, &members->known)) == TN_OK) {

        if (members->known.total > members->known.count) {
            ngx_log_error(NGX_LOG_WARN, ev->log, 0,
                          "%uD online peers of tailnet \"%V\" have \"%V\", "
                          "%uD of them are used",
                          members->known.total,
                          &members->target->node->name,
                          &members->target->host, members->known.count);
        }

        group = tcf->groups.elts;

        for (i = 0; i < tcf->groups.nelts; i++) {
            if (group[i].target == members->target) {
                ngx_tailnet_members_apply(members, &group[i]);
            }
        }
    }

    if (rc != TN_AGAIN || ngx_tailnet_channel_wait(ev) != NGX_OK) {
        ngx_tailnet_line_lost(&members->line);
    }
}


static void
ngx_tailnet_members_apply(ngx_tailnet_members_t *members,
    ngx_tailnet_group_t *group)
{
    int64_t            id;
    ngx_uint_t         i, k;
    tn_ipc_members_t  *known;
    u_char             placed[TN_IPC_MEMBERS_MAX];

    known = &members->known;

    ngx_memzero(placed, sizeof(placed));

    if (group->lock) {
        ngx_rwlock_wlock(group->lock);
    }

    for (i = 0; i < group->nslots; i++) {

        id = ngx_tailnet_target_id(group->slots[i].sockaddr);

        if (id == 0) {
            continue;
        }

        k = ngx_tailnet_members_index(known, id);

        if (k < known->count && !placed[k]) {
            placed[k] = 1;

        } else {
            ngx_tailnet_members_put(group, i, 0);
        }
    }

    for (k = 0; k < known->count; k++) {

        if (!placed[k]) {
            i = ngx_tailnet_members_free(group);

            if (i < group->nslots) {
                ngx_tailnet_members_put(group, i, known->members[k].id);
            }
        }
    }

    if (group->total_weight) {
        ngx_tailnet_members_close_up(group, known->count);
    }

    ngx_tailnet_members_single(group, known->count);
    ngx_tailnet_members_up(group);

    if (group->lock) {
        ngx_rwlock_unlock(group->lock);
    }
}


/* the slots up to the last one that has a peer */

static ngx_uint_t
ngx_tailnet_members_extent(ngx_tailnet_group_t *group)
{
    ngx_uint_t  i;

    for (i = group->nslots; i > 0; i--) {
        if (ngx_tailnet_target_id(group->slots[i - 1].sockaddr)) {
            break;
        }
    }

    return i;
}


static ngx_uint_t
ngx_tailnet_members_free(ngx_tailnet_group_t *group)
{
    ngx_uint_t  i, k, first;

    first = group->total_weight ? 0 : ngx_tailnet_members_extent(group);

    for (k = 0; k < group->nslots; k++) {

        i = (first + k) % group->nslots;

        if (ngx_tailnet_target_id(group->slots[i].sockaddr) == 0) {
            return i;
        }
    }

    return group->nslots;
}


static void
ngx_tailnet_members_close_up(ngx_tailnet_group_t *group, ngx_uint_t n)
{
    ngx_uint_t  i, last;

    if (n * 4 > ngx_tailnet_members_extent(group)) {
        return;
    }

    for ( ;; ) {
        i = ngx_tailnet_members_free(group);
        last = ngx_tailnet_members_extent(group);

        if (i >= last) {
            return;
        }

        ngx_tailnet_members_move(group, i, last - 1);
    }
}


/* n peers are in the slots */

static void
ngx_tailnet_members_single(ngx_tailnet_group_t *group, ngx_uint_t n)
{
    ngx_uint_t  last;

    if (group->single == NULL || !group->single(group, n <= 1)) {
        return;
    }

    last = ngx_tailnet_members_extent(group);

    if (last > 1) {
        ngx_tailnet_members_move(group, 0, last - 1);
    }
}


static void
ngx_tailnet_members_move(ngx_tailnet_group_t *group, ngx_uint_t to,
    ngx_uint_t from)
{
    int64_t  id;

    id = ngx_tailnet_target_id(group->slots[from].sockaddr);

    ngx_tailnet_members_put(group, from, 0);
    ngx_tailnet_members_put(group, to, id);
}


static ngx_uint_t
ngx_tailnet_members_index(tn_ipc_members_t *known, int64_t id)
{
    ngx_uint_t  i;

    for (i = 0; i < known->count; i++) {
        if (known->members[i].id == id) {
            break;
        }
    }

    return i;
}


/* a peer begins without the failures of the one before */

static void
ngx_tailnet_members_put(ngx_tailnet_group_t *group, ngx_uint_t i, int64_t id)
{
    ngx_tailnet_slot_t  *slot;

    slot = &group->slots[i];

    ngx_tailnet_target_name(group->conf, group->target, id, slot->sockaddr);

    *slot->fails = 0;
    *slot->accessed = 0;
    *slot->checked = 0;
    *slot->current_weight = 0;
    *slot->effective_weight = group->weight;

    ngx_tailnet_members_sid(group, slot, id);
}


/*
 * nginx makes it of a server's name, which is that of the tag in all slots.
 * This one is the same after a reload, in each upstream, and in each nginx that
 * calls the node so.
 */

static void
ngx_tailnet_members_sid(ngx_tailnet_group_t *group, ngx_tailnet_slot_t *slot,
    int64_t id)
{
    u_char     *p, hash[16], text[TN_IPC_NAME + sizeof("/:65535")
                                  + NGX_INT64_LEN];
    ngx_md5_t   md5;

    if (slot->sid == NULL) {
        return;
    }

    p = ngx_snprintf(text, sizeof(text), "%V/%L:%ui",
                     &group->target->node->name, id,
                     (ngx_uint_t) group->target->port);

    ngx_md5_init(&md5);
    ngx_md5_update(&md5, text, p - text);
    ngx_md5_final(hash, &md5);

    (void) ngx_hex_dump(slot->sid, hash, sizeof(hash));
}


/* those with a peer, or else the first one */

static void
ngx_tailnet_members_up(ngx_tailnet_group_t *group)
{
    ngx_uint_t           i, down, extent;
    ngx_tailnet_slot_t  *slot;

    extent = ngx_tailnet_members_extent(group);

    for (i = 0; i < group->nslots; i++) {

        slot = &group->slots[i];

        if (!*slot->down) {
            (*group->tries)--;
        }

        down = (extent == 0) ? (i != 0)
                             : (ngx_tailnet_target_id(slot->sockaddr) == 0);

        *slot->down = down ? 1 : group->up;

        if (!*slot->down) {
            (*group->tries)++;
        }
    }

    if (group->total_weight) {
        ngx_tailnet_members_weigh(group, extent ? extent : 1);
    }
}


/* a slot without weight has no lot */

static void
ngx_tailnet_members_weigh(ngx_tailnet_group_t *group, ngx_uint_t n)
{
    ngx_int_t            weight;
    ngx_uint_t           i;
    ngx_tailnet_slot_t  *slot;

    for (i = 0; i < group->nslots; i++) {

        slot = &group->slots[i];
        weight = (i < n) ? group->weight : 0;

        *group->total_weight += weight - *slot->weight;
        *slot->weight = weight;
    }
}


void
ngx_tailnet_members_watch(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_target_t *target)
{
    if (target->members || tcf->nwatched == NGX_TAILNET_WATCHED_MAX
        || ngx_exiting)
    {
        return;
    }

    if (ngx_tailnet_members_create(tcf, target) == NGX_OK) {
        tcf->nwatched++;
        ngx_tailnet_line_open(&target->members->line, tcf->cycle->log);
    }
}


tn_ip_t *
ngx_tailnet_members_ip(ngx_tailnet_target_t *target, int64_t id)
{
    ngx_uint_t         i;
    tn_ipc_members_t  *known;

    if (target->members == NULL || (target->group && id == 0)) {
        return NULL;
    }

    known = &target->members->known;
    i = ngx_tailnet_members_index(known, id);

    return (i < known->count) ? &known->members[i].ip : NULL;
}


ngx_str_t *
ngx_tailnet_members_host(ngx_tailnet_target_t *target, int64_t id,
    ngx_str_t *host)
{
    ngx_uint_t         i;
    tn_ipc_members_t  *known;

    *host = target->host;

    if (target->members == NULL || id == 0) {
        return host;
    }

    known = &target->members->known;
    i = ngx_tailnet_members_index(known, id);

    if (i < known->count) {
        host->data = (u_char *) known->members[i].host;
        host->len = ngx_strlen(host->data);
    }

    return host;
}
