
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "run/tn_lwnet_int.h"

#include <stdlib.h>
#include <unistd.h>


static lwnet_port_t *lwnet_table_port(tn_lwnet_table_t *table,
    uint16_t proto, uint16_t port, uint16_t family);
static void lwnet_table_changed(tn_lwnet_table_t *table);


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
lwnet_table_port(tn_lwnet_table_t *table, uint16_t proto, uint16_t port,
    uint16_t family)
{
    size_t         i;
    lwnet_port_t  *entry;

    for (i = 0; i < table->n; i++) {
        entry = &table->ports[i];

        if (entry->port == port && entry->proto == proto
            && entry->family == family)
        {
            return entry;
        }
    }

    return NULL;
}


tn_rc_t
tn_lwnet_table_listen(tn_lwnet_table_t *table, uint16_t proto, uint16_t port,
    uint16_t family, int fd)
{
    tn_rc_t        rc;
    lwnet_port_t   entry, *place;

    memset(&entry, 0, sizeof(entry));
    entry.proto = proto;
    entry.port = port;
    entry.family = family;
    entry.len = sizeof(entry.addr);

    if (getsockname(fd, (struct sockaddr *) &entry.addr, &entry.len) == -1
        || entry.addr.sun_family != AF_UNIX)
    {
        return TN_ERROR;
    }

    rc = TN_OK;

    pthread_mutex_lock(&table->lock);

    place = lwnet_table_port(table, proto, port, family);

    if (place == NULL && table->n < TN_LWNET_PORTS) {
        place = &table->ports[table->n++];
    }

    if (place == NULL) {
        rc = TN_NOMEM;

    } else {
        *place = entry;
        table->version++;
        lwnet_table_changed(table);
    }

    pthread_mutex_unlock(&table->lock);

    return rc;
}


void
tn_lwnet_table_unlisten(tn_lwnet_table_t *table, uint16_t proto,
    uint16_t port, uint16_t family)
{
    lwnet_port_t  *place;

    pthread_mutex_lock(&table->lock);

    place = lwnet_table_port(table, proto, port, family);

    if (place != NULL) {
        *place = table->ports[--table->n];
        table->version++;
        lwnet_table_changed(table);
    }

    pthread_mutex_unlock(&table->lock);
}


bool
lwnet_table_find(tn_lwnet_table_t *table, uint16_t proto, uint16_t port,
    uint16_t family, lwnet_port_t *found)
{
    lwnet_port_t  *place;

    pthread_mutex_lock(&table->lock);

    place = lwnet_table_port(table, proto, port, family);

    if (place != NULL) {
        *found = *place;
    }

    pthread_mutex_unlock(&table->lock);

    return place != NULL;
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

    } else {
        table->woken = false;
    }

    pthread_mutex_unlock(&table->lock);

    return link != NULL ? tn_container(link, lwnet_order_t, link) : NULL;
}
