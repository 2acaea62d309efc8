
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Each worker of nginx that accepts for services has a connection here for as
 * long as it lives, and says over it for which.  An entry, a service's port in
 * one family, is
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

#include "run/tn_services.h"

#include <errno.h>
#include <jansson.h>
#include <netinet/in.h>
#include <openssl/evp.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>


#define TN_SERVICES_TICK_MS  100


typedef struct {
    tn_link_t           link;
    tn_services_t      *services;
    tn_ipc_service_t    key;
    tn_pool_waiter_t    waiter;
    tn_addr_t           addr;           /* of the service; port 0: none */
    int                 fd;             /* listens there, or -1 */
    unsigned            open;           /* workers that know it */
    unsigned            active;         /* of these, that accept */
    bool                drained;
    bool                waits;          /* for an address; it was said */
} services_entry_t;

typedef struct {
    tn_link_t           link;
    tn_services_t      *services;
    tn_watch_t          watch;
    bool                leaving;
    uint32_t            count;
    services_entry_t   *entry[TN_IPC_SERVES];
} services_worker_t;


struct tn_services_s {
    tn_loop_t          *loop;
    const char         *name;
    void              (*changed)(void *data);
    void               *data;
    tn_log_t           *log;
    tn_node_t          *node;           /* or NULL */
    tn_pool_t          *pool;
    tn_link_t           entries;        /* by name, port, family */
    size_t              n_entries;
    tn_link_t           workers;
    size_t              n_workers;
    char               *said;           /* the list that control knows of */
    tn_timer_t          timer;          /* somebody leaves */
    tn_ms_t             left;           /* when: 0, nobody does */
    tn_ms_t             told;           /* control has heard, or 0 */
    bool                untagged;       /* it was said */
};


static services_entry_t *services_entry(tn_services_t *services,
    const tn_ipc_service_t *key);
static int services_compare(const tn_ipc_service_t *a,
    const tn_ipc_service_t *b);
static void services_entry_free(services_entry_t *entry);
static void services_event(tn_watch_t *watch, uint32_t events);
static void services_leave(services_worker_t *worker);
static void services_worker_free(services_worker_t *worker);
static void services_look(tn_services_t *services);
static void services_let_go(tn_services_t *services);
static void services_place(services_entry_t *entry,
    const tn_netmap_node_t *self);
static void services_listen(services_entry_t *entry);
static void services_socket(tn_pool_waiter_t *waiter, int fd);
static bool services_bind(services_entry_t *entry, int fd);
static void services_close(services_entry_t *entry);
static void services_pass(services_entry_t *entry);
static bool services_send(services_worker_t *worker,
    services_entry_t *entry);
static void services_serve(tn_services_t *services);
static void services_announce(tn_services_t *services);
static void services_tick(void *data, tn_ms_t now);
static void services_drain(tn_services_t *services);
static json_t *services_list(const tn_services_t *services);
static void services_hash(const char *list, char hash[65]);
static const tn_netmap_node_t *services_self(const tn_services_t *services);


tn_services_t *
tn_services_create(tn_loop_t *loop, const char *name,
    void (*changed)(void *data), void *data, tn_log_t *log)
{
    tn_services_t  *services;

    services = calloc(1, sizeof(tn_services_t));

    if (services != NULL) {
        services->loop = loop;
        services->name = name;
        services->changed = changed;
        services->data = data;
        services->log = log;
        tn_list_init(&services->entries);
        tn_list_init(&services->workers);
        tn_timer_init(&services->timer, services_tick, services);
    }

    return services;
}


void
tn_services_destroy(tn_services_t *services)
{
    if (services == NULL) {
        return;
    }

    services->node = NULL;

    while (!tn_list_empty(&services->workers)) {
        services_worker_free(tn_container(services->workers.next,
                                          services_worker_t, link));
    }

    while (!tn_list_empty(&services->entries)) {
        services_entry_free(tn_container(services->entries.next,
                                         services_entry_t, link));
    }

    tn_timer_cancel(&services->loop->timers, &services->timer);
    free(services->said);
    free(services);
}


void
tn_services_stack(tn_services_t *services, tn_pool_t *pool)
{
    tn_link_t         *link;
    services_entry_t  *entry;

    /* listeners that there are are of the namespace, which stays */

    tn_list_each(link, &services->entries) {
        entry = tn_container(link, services_entry_t, link);

        if (entry->waiter.pool != NULL) {
            tn_pool_cancel(&entry->waiter);
            entry->addr.port = 0;
        }
    }

    services->pool = pool;

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
    uint32_t            i, k;
    struct ucred        peer;
    services_entry_t   *entry;
    services_worker_t  *worker;

    worker = NULL;

    if (tn_ipc_trusts(fd, &peer)
        && services->n_workers < TN_SERVICES_WORKERS && msg->count != 0)
    {
        worker = calloc(1, sizeof(services_worker_t));
    }

    if (worker == NULL) {
        (void) close(fd);
        return;
    }

    worker->services = services;
    worker->watch.fd = fd;
    worker->watch.events = TN_LOOP_READ;
    worker->watch.handler = services_event;
    worker->watch.data = worker;

    tn_list_push(&services->workers, &worker->link);
    services->n_workers++;

    for (i = 0; i < msg->count; i++) {
        entry = services_entry(services, &msg->service[i]);

        for (k = 0; k < worker->count && worker->entry[k] != entry; k++) {
            /* void */
        }

        if (k < worker->count) {
            continue;
        }

        if (entry == NULL) {
            tn_log(services->log, TN_LOG_ERR, "\"%s\": no more than %d ports "
                   "of services, %s port %u is left out", services->name,
                   TN_IPC_SERVES, msg->service[i].name, msg->service[i].port);
            continue;
        }

        entry->open++;
        entry->active++;
        entry->drained = false;
        worker->entry[worker->count++] = entry;
    }

    if (tn_loop_watch(services->loop, &worker->watch) != TN_OK) {
        services_worker_free(worker);
        return;
    }

    for (i = 0; i < worker->count; i++) {
        if (worker->entry[i]->fd != -1) {
            (void) services_send(worker, worker->entry[i]);
        }
    }

    services_look(services);
}


static services_entry_t *
services_entry(tn_services_t *services, const tn_ipc_service_t *key)
{
    int                order;
    tn_link_t         *link;
    services_entry_t  *entry;

    tn_list_each(link, &services->entries) {
        order = services_compare(key, &tn_container(link, services_entry_t,
                                                    link)->key);

        if (order == 0) {
            return tn_container(link, services_entry_t, link);
        }

        if (order < 0) {
            break;
        }
    }

    if (services->n_entries == TN_IPC_SERVES) {
        return NULL;
    }

    entry = calloc(1, sizeof(services_entry_t));

    if (entry != NULL) {
        entry->services = services;
        entry->key = *key;
        entry->fd = -1;
        entry->waiter.ready = services_socket;
        tn_list_init(&entry->waiter.link);
        tn_list_push(link, &entry->link);
        services->n_entries++;
    }

    return entry;
}


static int
services_compare(const tn_ipc_service_t *a, const tn_ipc_service_t *b)
{
    int  order;

    order = strcmp(a->name, b->name);

    if (order == 0) {
        order = (int) a->port - (int) b->port;
    }

    return order != 0 ? order : (int) a->family - (int) b->family;
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

    worker = watch->data;
    services = worker->services;

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
    uint32_t        i;
    tn_services_t  *services;

    services = worker->services;

    if (!worker->leaving) {
        services_leave(worker);
    }

    for (i = 0; i < worker->count; i++) {
        worker->entry[i]->open--;
    }

    tn_loop_unwatch(services->loop, &worker->watch);
    (void) close(worker->watch.fd);
    tn_list_remove(&worker->link);
    services->n_workers--;

    free(worker);
}


/* --- what follows from what there is */

static void
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
            idle = true;
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


/* who leaves need not wait where others go on, or nothing is left to do */
static void
services_let_go(tn_services_t *services)
{
    uint32_t            i;
    tn_link_t          *link;
    tn_ipc_serve_set_t  msg;
    services_worker_t  *worker;

    tn_list_each(link, &services->workers) {
        worker = tn_container(link, services_worker_t, link);

        for (i = 0; worker->leaving && i < worker->count; i++) {
            if (worker->entry[i]->active != 0 || worker->entry[i]->drained) {
                tn_ipc_init(&msg, TN_IPC_SERVE_SET);
                msg.service = worker->entry[i]->key;
                (void) tn_ipc_send(worker->watch.fd, &msg, NULL, 0);
            }
        }
    }
}


/* a listener at the address that control has for it, and at no other */
static void
services_place(services_entry_t *entry, const tn_netmap_node_t *self)
{
    char            text[TN_ADDR_TEXT];
    tn_addr_t       addr;
    tn_services_t  *services;

    services = entry->services;
    memset(&addr, 0, sizeof(addr));

    if (tn_netmap_service_ip(self, entry->key.name, entry->key.family == 4,
                             &addr.ip))
    {
        addr.port = entry->key.port;

    } else if (!entry->waits && entry->key.family == 4) {
        entry->waits = true;

        tn_log(services->log, self->ntags != 0 ? TN_LOG_NOTICE : TN_LOG_WARN,
               "\"%s\": %s port %u waits for an address: %s", services->name,
               entry->key.name, entry->key.port, self->ntags != 0
               ? "approve this node as a host of the service in the admin "
                 "console, or by autoApprovers in the policy"
               : "only tagged nodes can host services, see \"tags\"");
    }

    if (!entry->drained && entry->addr.port == addr.port
        && tn_ip_equal(&entry->addr.ip, &addr.ip)
        && (entry->fd != -1 || entry->waiter.pool != NULL || addr.port == 0))
    {
        return;
    }

    if (entry->fd != -1) {
        services_close(entry);
        services_pass(entry);
    }

    tn_pool_cancel(&entry->waiter);
    entry->addr = addr;

    if (addr.port == 0) {
        return;
    }

    entry->waits = false;
    services_listen(entry);

    if (entry->fd != -1 || entry->waiter.pool != NULL) {
        tn_log(services->log, TN_LOG_NOTICE, "\"%s\": %s is served at %s",
               services->name, entry->key.name, tn_addr_text(&addr, text));
    }
}


static void
services_listen(services_entry_t *entry)
{
    int             fd;
    tn_services_t  *services;

    services = entry->services;

    if (services->pool == NULL) {
        entry->addr.port = 0;
        return;
    }

    entry->waiter.family = entry->key.family;
    entry->waiter.proto = TN_IPC_TCP;

    fd = tn_pool_take(services->pool, entry->key.family, TN_IPC_TCP);

    if (fd == -1) {
        tn_pool_wait(services->pool, &entry->waiter);
        return;
    }

    services_socket(&entry->waiter, fd);
}


static void
services_socket(tn_pool_waiter_t *waiter, int fd)
{
    char               text[TN_ADDR_TEXT];
    tn_services_t     *services;
    services_entry_t  *entry;

    entry = tn_container(waiter, services_entry_t, waiter);
    services = entry->services;

    if (fd == -1) {
        entry->addr.port = 0;
        return;
    }

    if (!services_bind(entry, fd)
        || listen(fd, entry->key.backlog > 0 ? entry->key.backlog
                                             : SOMAXCONN) == -1)
    {
        tn_log(services->log, TN_LOG_ERR, "\"%s\": %s: no listener on %s (%d: "
               "%s)", services->name, entry->key.name,
               tn_addr_text(&entry->addr, text), errno, strerror(errno));
        (void) close(fd);
        entry->addr.port = 0;
        return;
    }

    entry->fd = fd;
    services_pass(entry);
}


/*
 * The address may be on the interface only in a moment; another socket of the
 * same, of the core before, may still be in the workers.
 */
static bool
services_bind(services_entry_t *entry, int fd)
{
    int                      on;
    socklen_t                len;
    struct sockaddr_storage  ss;

    on = 1;

    (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    (void) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));

    if (entry->key.family == 4) {
        (void) setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on));

    } else {
        (void) setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on));
        (void) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }

    len = (socklen_t) tn_addr_to_sockaddr(&entry->addr, &ss);

    return bind(fd, (struct sockaddr *) &ss, len) == 0;
}


static void
services_close(services_entry_t *entry)
{
    if (entry->fd == -1) {
        return;
    }

    (void) close(entry->fd);
    entry->fd = -1;
}


/* all its workers get the socket, or take theirs away */
static void
services_pass(services_entry_t *entry)
{
    uint32_t            i;
    tn_link_t          *link;
    services_worker_t  *worker;

    tn_list_each(link, &entry->services->workers) {
        worker = tn_container(link, services_worker_t, link);

        for (i = 0; i < worker->count; i++) {
            if (worker->entry[i] == entry) {
                (void) services_send(worker, entry);
            }
        }
    }
}


static bool
services_send(services_worker_t *worker, services_entry_t *entry)
{
    tn_ipc_serve_set_t  msg;

    /* one that leaves keeps to what it has */

    if (worker->leaving && entry->fd != -1) {
        return true;
    }

    tn_ipc_init(&msg, TN_IPC_SERVE_SET);
    msg.service = entry->key;
    msg.addr = entry->addr;

    return tn_ipc_send(worker->watch.fd, &msg, &entry->fd, entry->fd != -1)
           == TN_OK;
}


/* what the packet filter lets in */
static void
services_serve(tn_services_t *services)
{
    size_t             n;
    tn_link_t         *link;
    tn_addr_t          served[TN_IPC_SERVES];
    services_entry_t  *entry;

    if (services->node == NULL || tn_node_data(services->node) == NULL) {
        return;
    }

    n = 0;

    tn_list_each(link, &services->entries) {
        entry = tn_container(link, services_entry_t, link);

        if (entry->addr.port != 0) {
            served[n] = entry->addr;

            if (entry->fd == -1) {
                served[n].port = 0;
            }

            n++;
        }
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


/* --- control */

static void
services_announce(tn_services_t *services)
{
    char     hash[65], *list;
    json_t  *o;

    if (services->node == NULL || tn_node_control(services->node) == NULL
        || (services->left != 0
            && services->loop->now < services->left + TN_SERVICES_CALM_MS
            && services->said != NULL))
    {
        return;
    }

    o = services_list(services);
    list = o != NULL ? json_dumps(o, JSON_COMPACT) : NULL;
    json_decref(o);

    if (list == NULL) {
        return;
    }

    if (services->said == NULL || strcmp(services->said, list) != 0) {
        services_hash(list, hash);
        tn_control_set_services_hash(tn_node_control(services->node), hash);
        free(services->said);
        services->said = list;
        return;
    }

    free(list);
}


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


/* upstream: a list of tailcfg.VIPService, sorted by name; NULL: no memory */
static json_t *
services_list(const tn_services_t *services)
{
    char                     port[16];
    json_t                  *list, *one, *ports;
    tn_link_t               *link;
    const char              *name, *last;
    const services_entry_t  *entry;

    list = json_array();
    one = NULL;
    ports = NULL;
    name = "";
    last = "";

    tn_list_each(link, &services->entries) {
        entry = tn_container(link, services_entry_t, link);

        if (entry->drained) {
            continue;
        }

        if (strcmp(name, entry->key.name) != 0) {
            name = entry->key.name;
            last = "";
            ports = json_array();
            one = json_pack("{s:s, s:o, s:b}", "Name", name, "Ports", ports,
                            "Active", 0);
            json_array_append_new(list, one);
        }

        (void) snprintf(port, sizeof(port), "tcp:%u", entry->key.port);

        if (strcmp(last, port) != 0) {
            json_array_append_new(ports, json_string(port));
            last = json_string_value(json_array_get(ports,
                                                json_array_size(ports) - 1));
            last = last != NULL ? last : "";
        }

        if (entry->active != 0) {
            json_object_set_new(one, "Active", json_true());
        }
    }

    return list;
}


char *
tn_services_json(const tn_services_t *services)
{
    char     hash[65], *text;
    json_t  *list, *o;

    list = services_list(services);
    text = list != NULL ? json_dumps(list, JSON_COMPACT) : NULL;

    if (text == NULL) {
        json_decref(list);
        return NULL;
    }

    services_hash(text, hash);
    free(text);

    o = json_pack("{s:s}", "ServicesHash", hash);

    if (json_array_size(list) != 0) {
        json_object_set_new(o, "VIPServices", list);

    } else {
        json_decref(list);
    }

    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);

    return text;
}


/* "" of an empty list */
static void
services_hash(const char *list, char hash[65])
{
    unsigned       i, len;
    unsigned char  bytes[EVP_MAX_MD_SIZE];

    hash[0] = '\0';
    len = 0;

    if (strcmp(list, "[]") == 0
        || EVP_Digest(list, strlen(list), bytes, &len, EVP_sha256(), NULL)
           != 1)
    {
        return;
    }

    for (i = 0; i < len && i < 32; i++) {
        (void) snprintf(hash + 2 * i, 3, "%02x", bytes[i]);
    }
}


static const tn_netmap_node_t *
services_self(const tn_services_t *services)
{
    if (services->node == NULL || tn_node_control(services->node) == NULL) {
        return NULL;
    }

    return tn_control_netmap(tn_node_control(services->node))->self;
}
