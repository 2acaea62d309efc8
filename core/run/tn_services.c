
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Each worker of nginx that accepts for services has a connection here for as
 * long as it lives, and says over it for which.  An entry, a service's port in
 * one family (of QUIC: for one worker), is
 *
 *   wanted     somebody accepts: the service is announced as active; when
 *              control has given it an address, there is a listener at that,
 *              and all its workers have it
 *   left       the workers are going to stop: after a moment in which others
 *              may come, as by a reload, the service is announced as inactive
 *   drained    control has heard, and the peers have had a second: the
 *              listener goes, here and in the workers; established
 *              connections stay, and so does the address
 *
 * and ends with the last worker that knows it.  A worker that dies, and a
 * core, say the same by the end of their connection.
 *
 * Announced means: Hostinfo has another hash, control asks by c2n for the
 * list, and gives the addresses by the attribute "service-host" of the node.
 */

#include "run/tn_services_int.h"

#include <stdlib.h>
#include <unistd.h>


#define TN_SERVICES_TICK_MS  100


static services_entry_t *services_entry(tn_services_t *services,
    const tn_ipc_service_t *key, uint32_t clone);
static int services_compare(const services_entry_t *entry,
    const tn_ipc_service_t *key, uint32_t clone);
static void services_entry_free(services_entry_t *entry);
static void services_event(tn_watch_t *watch, uint32_t events);
static void services_leave(services_worker_t *worker);
static void services_worker_free(services_worker_t *worker);
static bool services_has_others(const services_entry_t *entry);
static void services_let_go(tn_services_t *services);
static void services_tick(void *data, tn_ms_t now);
static void services_drain(tn_services_t *services);
static const tn_netmap_node_t *services_self(const tn_services_t *services);


tn_services_t *
tn_services_create(tn_loop_t *loop, const char *name,
    tn_lwnet_table_t *listeners, void (*changed)(void *data), void *data,
    tn_log_t *log)
{
    tn_services_t  *services;

    services = calloc(1, sizeof(tn_services_t));

    if (services != NULL) {
        services->loop = loop;
        services->name = name;
        services->listeners = listeners;
        services->changed = changed;
        services->data = data;
        services->log = log;
        tn_list_init(&services->entries);
        tn_workers_init(&services->workers, "services", loop, log);
        tn_timer_init(&services->timer, services_tick, services);
        tn_timer_init(&services->again, services_again, services);
    }

    return services;
}


void
tn_services_destroy(tn_services_t *services)
{
    tn_worker_t  *worker;

    if (services == NULL) {
        return;
    }

    services->node = NULL;

    while ((worker = tn_workers_first(&services->workers)) != NULL) {
        services_worker_free(tn_container(worker, services_worker_t,
                                          worker));
    }

    while (!tn_list_empty(&services->entries)) {
        services_entry_free(tn_container(services->entries.next,
                                         services_entry_t, link));
    }

    tn_timer_cancel(&services->loop->timers, &services->timer);
    tn_timer_cancel(&services->loop->timers, &services->again);
    free(services->said);
    free(services);
}


void
tn_services_stack(tn_services_t *services, tn_pool_t *pool, bool by_lwip)
{
    tn_link_t         *link;
    services_entry_t  *entry;

    /* a namespace stays, and its listeners with it: not those of another
     * stack */

    tn_list_each(link, &services->entries) {
        entry = tn_container(link, services_entry_t, link);

        if (entry->waiter.pool != NULL) {
            tn_pool_cancel(&entry->waiter);
            entry->addr.port = 0;
        }

        if (by_lwip != services->by_lwip && entry->fd != -1) {
            services_close(entry);
            services_pass(entry);
            entry->addr.port = 0;
        }
    }

    services->pool = pool;
    services->by_lwip = by_lwip;

    services_look(services);
}


void
tn_services_node(tn_services_t *services, tn_node_t *node)
{
    if (node != services->node) {
        free(services->said);
        services->said = NULL;
    }

    services->node = node;

    services_look(services);
}


/* --- workers */

void
tn_services_take(tn_services_t *services, int fd, const tn_ipc_serve_t *msg)
{
    uint32_t            i, k, clone;
    tn_worker_t        *taken;
    services_entry_t   *entry;
    services_worker_t  *worker;

    if (msg->count == 0) {
        (void) close(fd);
        return;
    }

    taken = tn_workers_take(&services->workers, fd, sizeof(services_worker_t),
                            services_event, services);

    if (taken == NULL) {
        return;
    }

    worker = tn_container(taken, services_worker_t, worker);
    clone = 0;

    for (i = 0; i < msg->count; i++) {

        /* one socket for several would part the packets of a connection */

        if ((msg->service[i].flags & TN_IPC_QUIC) && clone == 0) {
            clone = ++services->serial;
        }

        entry = services_entry(services, &msg->service[i],
                               msg->service[i].flags & TN_IPC_QUIC ? clone
                                                                   : 0);

        if (entry == NULL) {
            tn_log(services->log, TN_LOG_ERR, "\"%s\": no more than %d ports "
                   "of services, %s port %u is left out", services->name,
                   TN_SERVICES_MAX, msg->service[i].name,
                   msg->service[i].port);
            continue;
        }

        for (k = 0; k < worker->count && worker->entry[k] != entry; k++) {
            /* void */
        }

        if (k < worker->count) {
            continue;
        }

        entry->open++;
        entry->active++;
        entry->drained = false;
        worker->entry[worker->count++] = entry;
    }

    for (i = 0; i < worker->count; i++) {
        if (worker->entry[i]->fd != -1) {
            (void) services_send(worker, worker->entry[i]);
        }
    }

    services_look(services);
}


static services_entry_t *
services_entry(tn_services_t *services, const tn_ipc_service_t *key,
    uint32_t clone)
{
    int                order;
    tn_link_t         *link;
    services_entry_t  *entry;

    tn_list_each(link, &services->entries) {
        entry = tn_container(link, services_entry_t, link);
        order = services_compare(entry, key, clone);

        if (order == 0) {
            return entry;
        }

        if (order > 0) {
            break;
        }
    }

    if (services->n_entries == TN_SERVICES_MAX) {
        return NULL;
    }

    entry = calloc(1, sizeof(services_entry_t));

    if (entry != NULL) {
        entry->services = services;
        entry->key = *key;
        entry->clone = clone;
        entry->fd = -1;
        tn_list_init(&entry->waiter.link);
        tn_list_push(link, &entry->link);
        services->n_entries++;
    }

    return entry;
}


static int
services_compare(const services_entry_t *entry, const tn_ipc_service_t *key,
    uint32_t clone)
{
    int  order;

    order = strcmp(entry->key.name, key->name);

    if (order == 0) {
        order = (int) entry->key.port - (int) key->port;
    }

    if (order == 0) {
        order = (int) entry->key.proto - (int) key->proto;
    }

    if (order == 0) {
        order = (int) entry->key.family - (int) key->family;
    }

    if (order == 0 && entry->clone != clone) {
        order = entry->clone < clone ? -1 : 1;
    }

    return order;
}


static void
services_entry_free(services_entry_t *entry)
{
    services_close(entry);
    tn_pool_cancel(&entry->waiter);
    tn_list_remove(&entry->link);
    entry->services->n_entries--;
    free(entry);
}


/* its second message says that it leaves; all else is its end */
static void
services_event(tn_watch_t *watch, uint32_t events)
{
    int                 fds[TN_IPC_FDS];
    size_t              n;
    tn_rc_t             rc;
    tn_ipc_msg_t        msg;
    tn_services_t      *services;
    services_worker_t  *worker;

    (void) events;

    worker = tn_container((tn_worker_t *) watch->data, services_worker_t,
                          worker);
    services = worker->worker.data;

    rc = tn_ipc_recv(watch->fd, &msg, fds, &n);

    if (rc == TN_AGAIN) {
        return;
    }

    if (rc == TN_OK) {
        tn_ipc_close(fds, n);
    }

    if (rc == TN_OK && msg.head.type == TN_IPC_SERVE && !worker->leaving
        && msg.serve.count == 0)
    {
        services_leave(worker);

    } else {
        services_worker_free(worker);
    }

    services_look(services);
}


static void
services_leave(services_worker_t *worker)
{
    uint32_t           i;
    services_entry_t  *entry;

    worker->leaving = true;

    for (i = 0; i < worker->count; i++) {
        entry = worker->entry[i];
        entry->active--;
    }
}


static void
services_worker_free(services_worker_t *worker)
{
    uint32_t  i;

    if (!worker->leaving) {
        services_leave(worker);
    }

    for (i = 0; i < worker->count; i++) {
        worker->entry[i]->open--;
    }

    tn_workers_drop(&worker->worker);
}


/* --- what follows from what there is */

void
services_look(tn_services_t *services)
{
    bool                     idle;
    tn_link_t               *link, *tmp;
    services_entry_t        *entry;
    const tn_netmap_node_t  *self;

    self = services_self(services);
    idle = false;

    tn_list_each(link, &services->entries) {
        entry = tn_container(link, services_entry_t, link);

        if (entry->active == 0 && !entry->drained) {

            if (services_has_others(entry)) {
                entry->drained = true;
                tn_pool_cancel(&entry->waiter);
                services_close(entry);
                services_pass(entry);

            } else {
                idle = true;
            }
        }

        if (self != NULL && entry->active != 0) {
            services_place(entry, self);
        }
    }

    if (!idle) {
        services->left = 0;
        services->told = 0;
        tn_timer_cancel(&services->loop->timers, &services->timer);

    } else if (services->left == 0) {
        services->left = services->loop->now;
        services->told = 0;
        (void) tn_timer_set(&services->loop->timers, &services->timer,
                            services->loop->now + TN_SERVICES_TICK_MS);
    }

    services_let_go(services);

    tn_list_each_safe(link, tmp, &services->entries) {
        entry = tn_container(link, services_entry_t, link);

        if (entry->open == 0 && (entry->drained || services->node == NULL)) {
            services_entry_free(entry);
        }
    }

    services_announce(services);
    services_serve(services);
    services->changed(services->data);
}


/*
 * Of QUIC: the kernel shares out what comes among all sockets that there are,
 * so the one of a worker that leaves goes as soon as another has one.
 */
static bool
services_has_others(const services_entry_t *entry)
{
    tn_link_t               *link;
    const services_entry_t  *other;

    if (entry->clone == 0) {
        return false;
    }

    tn_list_each(link, &entry->services->entries) {
        other = tn_container(link, services_entry_t, link);

        if (other->active != 0 && other->fd != -1
            && services_compare(other, &entry->key, other->clone) == 0)
        {
            return true;
        }
    }

    return false;
}


/* who leaves need not wait where others go on, or nothing is left to do */
static void
services_let_go(tn_services_t *services)
{
    uint32_t            i;
    tn_link_t          *link;
    tn_ipc_serve_set_t  msg;
    services_worker_t  *worker;

    tn_list_each(link, &services->workers.list) {
        worker = tn_container(link, services_worker_t, worker.link);

        for (i = 0; worker->leaving && i < worker->count; i++) {
            if (worker->entry[i]->active != 0 || worker->entry[i]->drained) {
                tn_ipc_init(&msg, TN_IPC_SERVE_SET);
                msg.service = worker->entry[i]->key;
                (void) tn_ipc_send(worker->worker.watch.fd, &msg, NULL, 0);
            }
        }
    }
}


/* --- those that leave */

static void
services_tick(void *data, tn_ms_t now)
{
    tn_services_t *services = data;

    tn_ms_t        since;
    tn_control_t  *control;

    (void) tn_timer_set(&services->loop->timers, &services->timer,
                        now + TN_SERVICES_TICK_MS);

    since = now - services->left;

    if (since < TN_SERVICES_CALM_MS) {
        return;
    }

    services_announce(services);

    control = services->node != NULL ? tn_node_control(services->node) : NULL;

    if (services->told == 0
        && (control == NULL || tn_control_is_told(control)
            || since >= TN_SERVICES_TOLD_MS))
    {
        services->told = now;
    }

    if (services->told != 0
        && (control == NULL || !tn_control_online(control)
            || now >= services->told + TN_SERVICES_GRACE_MS))
    {
        services_drain(services);
    }
}


static void
services_drain(tn_services_t *services)
{
    tn_link_t         *link;
    services_entry_t  *entry;

    tn_list_each(link, &services->entries) {
        entry = tn_container(link, services_entry_t, link);

        if (entry->active == 0 && !entry->drained) {
            entry->drained = true;
            tn_pool_cancel(&entry->waiter);
            services_close(entry);
            services_pass(entry);

            tn_log(services->log, TN_LOG_NOTICE, "\"%s\": %s port %u is not "
                   "served any more", services->name, entry->key.name,
                   entry->key.port);
        }
    }

    services_look(services);
}


void
services_serve(tn_services_t *services)
{
    size_t                n;
    tn_link_t            *link;
    services_entry_t     *entry, *last;
    tn_filter_service_t   served[TN_FILTER_SERVICES_MAX];

    if (services->node == NULL || tn_node_data(services->node) == NULL) {
        return;
    }

    n = 0;
    last = NULL;

    tn_list_each(link, &services->entries) {
        entry = tn_container(link, services_entry_t, link);

        if (entry->addr.port == 0) {
            continue;
        }

        /* clones stand behind each other: the last with a socket counts */

        if (last != NULL && last->key.proto == entry->key.proto
            && tn_addr_equal(&last->addr, &entry->addr))
        {
            if (entry->fd != -1) {
                served[n - 1].addr.port = entry->addr.port;
            }

            continue;
        }

        if (n == TN_FILTER_SERVICES_MAX) {
            break;
        }

        last = entry;
        served[n].addr = entry->addr;
        served[n].proto = entry->key.proto == TN_IPC_TCP ? TN_PROTO_TCP
                                                         : TN_PROTO_UDP;

        if (entry->fd == -1) {
            served[n].addr.port = 0;
        }

        n++;
    }

    (void) tn_data_services(tn_node_data(services->node), served, n);
}


size_t
tn_services_addresses(const tn_services_t *services, tn_ip_t *ips, size_t max)
{
    size_t                   i, n;
    tn_link_t               *link;
    const services_entry_t  *entry;

    n = 0;

    tn_list_each(link, &services->entries) {
        entry = tn_container(link, services_entry_t, link);

        if (entry->addr.port == 0) {
            continue;
        }

        for (i = 0; i < n && !tn_ip_equal(&ips[i], &entry->addr.ip); i++) {
            /* void */
        }

        if (i == n && n < max) {
            ips[n++] = entry->addr.ip;
        }
    }

    return n;
}


static const tn_netmap_node_t *
services_self(const tn_services_t *services)
{
    if (services->node == NULL || tn_node_control(services->node) == NULL) {
        return NULL;
    }

    return tn_control_netmap(tn_node_control(services->node))->self;
}
