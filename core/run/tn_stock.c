
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A connection asks for sockets again and again, one request at a time.  Each
 * is answered with what the pool has, at most what was asked for; with an
 * empty pool when one comes.  Closing tells a worker that what it has of this
 * node is not to be used any more.
 */

#include "run/tn_stock.h"

#include <stdlib.h>
#include <unistd.h>


typedef struct {
    tn_link_t         link;
    tn_stock_t       *stock;
    tn_watch_t        watch;
    tn_ipc_take_t     request;
    tn_pool_t        *pool;         /* of the last request */
    tn_pool_waiter_t  waiter;
    bool              waits;
} tn_stock_client_t;


struct tn_stock_s {
    tn_loop_t        *loop;
    tn_stock_pt       find;
    void             *data;
    tn_link_t         clients;
    size_t            n_clients;
};


static void tn_stock_read(tn_watch_t *watch, uint32_t events);
static void tn_stock_serve(tn_stock_client_t *client);
static void tn_stock_ready(tn_pool_waiter_t *waiter, int fd);
static void tn_stock_answer(tn_stock_client_t *client, int *fds, size_t n);
static void tn_stock_free(tn_stock_client_t *client);


tn_stock_t *
tn_stock_create(tn_loop_t *loop, tn_stock_pt find, void *data)
{
    tn_stock_t  *stock;

    stock = calloc(1, sizeof(*stock));

    if (stock == NULL) {
        return NULL;
    }

    stock->loop = loop;
    stock->find = find;
    stock->data = data;
    tn_list_init(&stock->clients);

    return stock;
}


void
tn_stock_destroy(tn_stock_t *stock)
{
    while (!tn_list_empty(&stock->clients)) {
        tn_stock_free(tn_container(stock->clients.next, tn_stock_client_t,
                                   link));
    }

    free(stock);
}


void
tn_stock_take(void *data, int fd, const tn_ipc_take_t *request)
{
    tn_stock_t         *stock;
    tn_stock_client_t  *client;

    stock = data;
    client = NULL;

    if (stock->n_clients < TN_STOCK_MAX) {
        client = calloc(1, sizeof(*client));
    }

    if (client == NULL) {
        close(fd);
        return;
    }

    client->stock = stock;
    client->request = *request;
    client->watch.fd = fd;
    client->watch.events = TN_LOOP_READ;
    client->watch.handler = tn_stock_read;
    client->watch.data = client;
    client->waiter.ready = tn_stock_ready;
    tn_list_init(&client->waiter.link);

    tn_list_push(&stock->clients, &client->link);
    stock->n_clients++;

    if (tn_loop_watch(stock->loop, &client->watch) != TN_OK) {
        tn_stock_free(client);
        return;
    }

    tn_stock_serve(client);
}


void
tn_stock_forget(tn_stock_t *stock, const tn_pool_t *pool)
{
    tn_link_t          *link, *tmp;
    tn_stock_client_t  *client;

    tn_list_each_safe(link, tmp, &stock->clients) {
        client = tn_container(link, tn_stock_client_t, link);

        if (client->pool == pool) {
            tn_stock_free(client);
        }
    }
}


static void
tn_stock_read(tn_watch_t *watch, uint32_t events)
{
    int                 fds[TN_IPC_FDS];
    size_t              n;
    tn_rc_t             rc;
    tn_ipc_msg_t        msg;
    tn_stock_client_t  *client;

    (void) events;

    client = watch->data;

    rc = tn_ipc_recv(watch->fd, &msg, fds, &n);

    if (rc == TN_AGAIN) {
        return;
    }

    if (rc == TN_OK) {
        tn_ipc_close(fds, n);
    }

    if (rc != TN_OK || msg.head.type != TN_IPC_TAKE || client->waits) {
        tn_stock_free(client);
        return;
    }

    client->request = msg.take;
    tn_stock_serve(client);
}


static void
tn_stock_serve(tn_stock_client_t *client)
{
    int         fds[TN_IPC_FDS];
    size_t      n;
    tn_stock_t *stock;

    stock = client->stock;
    client->pool = stock->find(stock->data, client->request.node);

    if (client->pool == NULL) {
        tn_stock_free(client);
        return;
    }

    for (n = 0; n < client->request.count; n++) {
        fds[n] = tn_pool_take(client->pool, client->request.family,
                              client->request.proto);

        if (fds[n] == -1) {
            break;
        }
    }

    if (n > 0) {
        tn_stock_answer(client, fds, n);
        return;
    }

    client->waits = true;
    client->waiter.family = client->request.family;
    client->waiter.proto = client->request.proto;

    tn_pool_wait(client->pool, &client->waiter);
}


static void
tn_stock_ready(tn_pool_waiter_t *waiter, int fd)
{
    tn_stock_client_t  *client;

    client = tn_container(waiter, tn_stock_client_t, waiter);
    client->waits = false;

    if (fd == -1) {
        tn_stock_free(client);
        return;
    }

    tn_stock_answer(client, &fd, 1);
}


static void
tn_stock_answer(tn_stock_client_t *client, int *fds, size_t n)
{
    tn_rc_t         rc;
    tn_ipc_reply_t  reply;

    tn_ipc_init(&reply, TN_IPC_REPLY);
    reply.head.seq = client->request.head.seq;
    reply.rc = TN_OK;
    reply.fds = n;

    rc = tn_ipc_send(client->watch.fd, &reply, fds, n);
    tn_ipc_close(fds, n);

    if (rc != TN_OK) {
        tn_stock_free(client);
    }
}


static void
tn_stock_free(tn_stock_client_t *client)
{
    tn_pool_cancel(&client->waiter);
    tn_loop_unwatch(client->stock->loop, &client->watch);
    close(client->watch.fd);
    tn_list_remove(&client->link);
    client->stock->n_clients--;
    free(client);
}
