
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "data/tn_lwnet_int.h"

#include "host/tn_loop.h"
#include "host/tn_scarce.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>


#define LWNET_KINDS   (TN_IPC_CAPTURE|TN_LWNET_SERVICE)

#define LWNET_LOG_MS  1000          /* between lines about no descriptors */


static lwnet_port_t *lwnet_table_port(tn_lwnet_table_t *table,
    const lwnet_port_t *key);
static tn_rc_t lwnet_table_add(tn_lwnet_table_t *table, lwnet_port_t *entry,
    int fd);
static void lwnet_table_remove(tn_lwnet_table_t *table,
    const lwnet_port_t *key);
static void lwnet_table_service(lwnet_port_t *key, uint16_t proto,
    const tn_addr_t *addr);
static void lwnet_table_key(lwnet_port_t *key, uint16_t proto, uint16_t port,
    uint16_t family, uint32_t flags);
static void lwnet_table_changed(tn_lwnet_table_t *table);
static void lwnet_told(tn_log_t *log, int err);


tn_lwnet_table_t *
tn_lwnet_table_create(void)
{
    tn_lwnet_table_t  *table;

    table = calloc(1, sizeof(tn_lwnet_table_t));

    if (table != NULL) {
        pthread_mutex_init(&table->lock, NULL);
        tn_list_init(&table->orders);
    }

    return table;
}


void
tn_lwnet_table_free(tn_lwnet_table_t *table)
{
    lwnet_order_t  *order;

    if (table == NULL) {
        return;
    }

    while ((order = lwnet_table_order(table)) != NULL) {
        (void) close(order->fd);
        free(order);
    }

    pthread_mutex_destroy(&table->lock);
    free(table);
}


void
lwnet_table_attach(tn_lwnet_table_t *table, tn_lwnet_t *net, tn_loop_t *loop)
{
    pthread_mutex_lock(&table->lock);

    table->net = net;
    table->loop = loop;
    table->woken = false;
    lwnet_table_changed(table);

    pthread_mutex_unlock(&table->lock);
}


/* under the lock: the net cannot end before its message is in the queue */
static void
lwnet_table_changed(tn_lwnet_table_t *table)
{
    if (table->net != NULL && !table->woken) {
        table->woken = tn_loop_post(table->loop, lwnet_wake, table->net)
                       == TN_OK;
    }
}


static lwnet_port_t *
lwnet_table_port(tn_lwnet_table_t *table, const lwnet_port_t *key)
{
    size_t         i;
    lwnet_port_t  *entry;

    for (i = 0; i < table->n; i++) {
        entry = &table->ports[i];

        if (entry->port == key->port && entry->proto == key->proto
            && entry->family == key->family
            && ((entry->flags ^ key->flags) & LWNET_KINDS) == 0
            && (!(entry->flags & TN_LWNET_SERVICE)
                || tn_ip_equal(&entry->ip, &key->ip)))
        {
            return entry;
        }
    }

    return NULL;
}


tn_rc_t
tn_lwnet_table_listen(tn_lwnet_table_t *table, uint16_t proto, uint16_t port,
    uint16_t family, uint32_t flags, int fd)
{
    lwnet_port_t  entry;

    lwnet_table_key(&entry, proto, port, family, flags);

    return lwnet_table_add(table, &entry, fd);
}


void
tn_lwnet_table_unlisten(tn_lwnet_table_t *table, uint16_t proto,
    uint16_t port, uint16_t family, uint32_t flags)
{
    lwnet_port_t  key;

    lwnet_table_key(&key, proto, port, family, flags);
    lwnet_table_remove(table, &key);
}


void
tn_lwnet_table_mark(tn_lwnet_table_t *table)
{
    size_t         i;
    lwnet_port_t  *entry;

    pthread_mutex_lock(&table->lock);

    for (i = 0; i < table->n; i++) {
        entry = &table->ports[i];
        entry->marked = !(entry->flags & (TN_LWNET_SERVICE|TN_LWNET_CORE));
    }

    pthread_mutex_unlock(&table->lock);
}


void
tn_lwnet_table_sweep(tn_lwnet_table_t *table)
{
    size_t  i, n;

    pthread_mutex_lock(&table->lock);

    n = 0;

    for (i = 0; i < table->n; i++) {
        if (!table->ports[i].marked) {
            table->ports[n++] = table->ports[i];
        }
    }

    if (n != table->n) {
        table->n = n;
        table->version++;
        lwnet_table_changed(table);
    }

    pthread_mutex_unlock(&table->lock);
}


bool
tn_lwnet_table_listens(tn_lwnet_table_t *table, uint16_t proto,
    uint16_t port, uint16_t family)
{
    bool          there;
    lwnet_port_t  key;

    lwnet_table_key(&key, proto, port, family, 0);

    pthread_mutex_lock(&table->lock);
    there = lwnet_table_port(table, &key) != NULL;
    pthread_mutex_unlock(&table->lock);

    return there;
}


tn_rc_t
tn_lwnet_table_serve(tn_lwnet_table_t *table, uint16_t proto,
    const tn_addr_t *addr, int fd)
{
    lwnet_port_t  entry;

    lwnet_table_service(&entry, proto, addr);

    return lwnet_table_add(table, &entry, fd);
}


void
tn_lwnet_table_unserve(tn_lwnet_table_t *table, uint16_t proto,
    const tn_addr_t *addr)
{
    lwnet_port_t  key;

    lwnet_table_service(&key, proto, addr);
    lwnet_table_remove(table, &key);
}


static void
lwnet_table_service(lwnet_port_t *key, uint16_t proto, const tn_addr_t *addr)
{
    lwnet_table_key(key, proto, addr->port, tn_ip_is_v4(&addr->ip) ? 4 : 6,
                    TN_LWNET_SERVICE);
    key->ip = addr->ip;
}


static void
lwnet_table_key(lwnet_port_t *key, uint16_t proto, uint16_t port,
    uint16_t family, uint32_t flags)
{
    memset(key, 0, sizeof(lwnet_port_t));
    key->proto = proto;
    key->port = port;
    key->family = family;
    key->flags = flags;
}


static tn_rc_t
lwnet_table_add(tn_lwnet_table_t *table, lwnet_port_t *entry, int fd)
{
    tn_rc_t        rc;
    lwnet_port_t  *place;

    entry->len = fd == -1 ? 0 : sizeof(entry->addr);

    if (fd != -1
        && (getsockname(fd, (struct sockaddr *) &entry->addr, &entry->len)
            == -1
            || entry->addr.sun_family != AF_UNIX))
    {
        return TN_ERROR;
    }

    rc = TN_OK;

    pthread_mutex_lock(&table->lock);

    place = lwnet_table_port(table, entry);

    if (place == NULL && table->n < TN_LWNET_PORTS) {
        place = &table->ports[table->n++];
    }

    if (place == NULL) {
        rc = TN_NOMEM;

    } else {
        *place = *entry;
        table->version++;
        lwnet_table_changed(table);
    }

    pthread_mutex_unlock(&table->lock);

    return rc;
}


static void
lwnet_table_remove(tn_lwnet_table_t *table, const lwnet_port_t *key)
{
    lwnet_port_t  *place;

    pthread_mutex_lock(&table->lock);

    place = lwnet_table_port(table, key);

    if (place != NULL) {
        *place = table->ports[--table->n];
        table->version++;
        lwnet_table_changed(table);
    }

    pthread_mutex_unlock(&table->lock);
}


void
tn_lwnet_table_captures(tn_lwnet_table_t *table, unsigned *version,
    tn_lwnet_captures_t captures[2][2])
{
    size_t                i;
    uint8_t               bit;
    lwnet_port_t         *port;
    tn_lwnet_captures_t  *one;

    if (tn_likely(atomic_load(&table->version) == *version)) {
        return;
    }

    memset(captures, 0, 4 * sizeof(tn_lwnet_captures_t));

    pthread_mutex_lock(&table->lock);

    *version = atomic_load(&table->version);

    for (i = 0; i < table->n; i++) {
        port = &table->ports[i];
        one = &captures[port->proto == TN_IPC_UDP][port->family == 6];
        bit = (uint8_t) (1 << port->port % 8);

        if (!(port->flags & TN_IPC_CAPTURE)) {
            continue;
        }

        if (port->port == 0) {
            one->any = true;
            one->any_probe = (port->flags & TN_IPC_PROBE) != 0;
            continue;
        }

        one->named[port->port / 8] |= bit;

        if (port->flags & TN_IPC_PROBE) {
            one->probe[port->port / 8] |= bit;
        }
    }

    pthread_mutex_unlock(&table->lock);
}


bool
lwnet_table_find(tn_lwnet_table_t *table, uint16_t proto,
    const tn_addr_t *local, uint32_t kind, lwnet_port_t *found)
{
    lwnet_port_t  key, *place;

    lwnet_table_service(&key, proto, local);
    key.flags = kind;

    pthread_mutex_lock(&table->lock);

    place = lwnet_table_port(table, &key);

    if (place == NULL && kind == TN_IPC_CAPTURE) {
        key.port = 0;
        place = lwnet_table_port(table, &key);
    }

    if (place != NULL && place->len == 0) {
        place = NULL;
    }

    if (place != NULL) {
        *found = *place;
    }

    pthread_mutex_unlock(&table->lock);

    return place != NULL;
}


int
lwnet_socket(tn_log_t *log, const lwnet_port_t *port, int type,
    const tn_addr_t *remote, const tn_addr_t *local)
{
    int                  fd, n;
    char                 text[2][TN_ADDR_TEXT];
    struct sockaddr_un   self;
    static atomic_uint   serial;

    fd = tn_scarce_spare(socket(AF_UNIX, type|SOCK_NONBLOCK|SOCK_CLOEXEC, 0));

    if (fd == -1) {
        n = errno;
        lwnet_told(log, n);
        errno = n;

        return -1;
    }

    memset(&self, 0, sizeof(self));
    self.sun_family = AF_UNIX;
    n = snprintf(self.sun_path + 1, sizeof(self.sun_path) - 1,
                 "%s %s %x.%x", tn_addr_text(remote, text[0]),
                 tn_addr_text(local, text[1]), (unsigned) getpid(),
                 atomic_fetch_add(&serial, 1));

    if (bind(fd, (struct sockaddr *) &self,
             (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1
                          + (size_t) n))
        == -1
        || connect(fd, (const struct sockaddr *) &port->addr, port->len)
           == -1)
    {
        n = errno;
        tn_log(log, TN_LOG_INFO, "nginx does not take a connection (%d: %s)",
               n, strerror(n));
        (void) close(fd);
        errno = n;

        return -1;
    }

    return fd;
}


/* each packet of a peer may come here */
static void
lwnet_told(tn_log_t *log, int err)
{
    unsigned            now;
    static atomic_uint  last;

    now = (unsigned) tn_loop_clock_ms();

    if (now - atomic_load(&last) < LWNET_LOG_MS) {
        return;
    }

    atomic_store(&last, now);
    tn_log(log, TN_LOG_ALERT, "no socket for a connection (%d: %s)", err,
           strerror(err));
}


void
tn_lwnet_table_addresses(tn_lwnet_table_t *table, const tn_ip_t *ips,
    size_t n)
{
    pthread_mutex_lock(&table->lock);

    table->n_ips = tn_min(n, tn_nelems(table->ips));
    memcpy(table->ips, ips, table->n_ips * sizeof(tn_ip_t));
    table->version++;
    lwnet_table_changed(table);

    pthread_mutex_unlock(&table->lock);
}


void
tn_lwnet_table_dial(tn_lwnet_table_t *table, int fd,
    const tn_ipc_dial_t *request, const tn_ip_t *ips, size_t n)
{
    lwnet_order_t  *order;

    order = calloc(1, sizeof(lwnet_order_t));

    if (order == NULL) {
        (void) close(fd);
        return;
    }

    tn_list_init(&order->link);
    order->fd = fd;
    order->seq = request->head.seq;
    order->proto = request->proto;
    order->port = request->port;
    order->timeout_ms = request->timeout_ms;
    order->n_ips = tn_min(n, (size_t) TN_LWNET_IPS);
    memcpy(order->ips, ips, order->n_ips * sizeof(tn_ip_t));

    pthread_mutex_lock(&table->lock);

    if (table->n_orders < TN_LWNET_DIALS) {
        tn_list_push(&table->orders, &order->link);
        table->n_orders++;
        lwnet_table_changed(table);
        order = NULL;
    }

    pthread_mutex_unlock(&table->lock);

    if (order != NULL) {
        (void) close(fd);
        free(order);
    }
}


lwnet_order_t *
lwnet_table_order(tn_lwnet_table_t *table)
{
    tn_link_t  *link;

    pthread_mutex_lock(&table->lock);

    link = tn_list_shift(&table->orders);

    if (link != NULL) {
        table->n_orders--;
    }

    pthread_mutex_unlock(&table->lock);

    return link != NULL ? tn_container(link, lwnet_order_t, link) : NULL;
}
