
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Sockets of a node's namespace that a worker has in advance, by node and
 * family.  The first dial asks the core for some; when less than
 * NGX_TAILNET_STOCK_LOW are left more are asked for.  A dial to an address
 * that the worker knows then is a connect() like any other.  When the core
 * closes the channel they are not used any more: the node may have begun
 * anew, elsewhere; and dials ask the core.
 */

#include "ngx_tailnet.h"


#define NGX_TAILNET_STOCK_LOW       16
#define NGX_TAILNET_STOCK_SIZE      (NGX_TAILNET_STOCK_LOW + TN_IPC_FDS)

/* until a core that gave none is asked again */
#define NGX_TAILNET_STOCK_RETRY_MS  2000


struct ngx_tailnet_stock_s {
    ngx_tailnet_conf_t  *conf;
    ngx_tailnet_node_t  *node;
    ngx_uint_t           family;        /* 4 or 6 */
    ngx_connection_t    *channel;       /* or NULL */
    ngx_msec_t           lost;          /* when the channel was */
    ngx_uint_t           asked;         /* unsigned asked:1 */
    ngx_uint_t           nsockets;
    int                  sockets[NGX_TAILNET_STOCK_SIZE];
};


static ngx_tailnet_stock_t *ngx_tailnet_stock_find(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_node_t *node, ngx_uint_t family);
static void ngx_tailnet_stock_ask(ngx_tailnet_stock_t *stock);
static void ngx_tailnet_stock_read(ngx_event_t *ev);
static void ngx_tailnet_stock_close(ngx_tailnet_stock_t *stock);


ngx_socket_t
ngx_tailnet_stock_take(ngx_tailnet_conf_t *tcf, ngx_tailnet_node_t *node,
    ngx_uint_t family)
{
    ngx_socket_t          s;
    ngx_tailnet_stock_t  *stock;

    stock = ngx_tailnet_stock_find(tcf, node, family);

    if (stock == NULL) {
        return (ngx_socket_t) -1;
    }

    s = (ngx_socket_t) -1;

    if (stock->nsockets) {
        s = stock->sockets[--stock->nsockets];
    }

    if (stock->nsockets < NGX_TAILNET_STOCK_LOW && !stock->asked) {
        ngx_tailnet_stock_ask(stock);
    }

    return s;
}


void
ngx_tailnet_stock_stop(ngx_tailnet_conf_t *tcf)
{
    ngx_uint_t             i;
    ngx_tailnet_stock_t  **stock;

    stock = tcf->stocks.elts;

    for (i = 0; i < tcf->stocks.nelts; i++) {
        ngx_tailnet_stock_close(stock[i]);
    }
}


static ngx_tailnet_stock_t *
ngx_tailnet_stock_find(ngx_tailnet_conf_t *tcf, ngx_tailnet_node_t *node,
    ngx_uint_t family)
{
    ngx_uint_t             i;
    ngx_tailnet_stock_t  **stock;

    stock = tcf->stocks.elts;

    for (i = 0; i < tcf->stocks.nelts; i++) {
        if (stock[i]->node == node && stock[i]->family == family) {
            return stock[i];
        }
    }

    stock = ngx_array_push(&tcf->stocks);
    if (stock == NULL) {
        return NULL;
    }

    *stock = ngx_pcalloc(tcf->cycle->pool, sizeof(ngx_tailnet_stock_t));
    if (*stock == NULL) {
        tcf->stocks.nelts--;
        return NULL;
    }

    (*stock)->conf = tcf;
    (*stock)->node = node;
    (*stock)->family = family;

    return *stock;
}


static void
ngx_tailnet_stock_ask(ngx_tailnet_stock_t *stock)
{
    int                fd;
    ngx_log_t         *log;
    tn_ipc_take_t      msg;
    ngx_connection_t  *c;

    log = stock->conf->cycle->log;

    if (ngx_exiting
        || (stock->lost
            && ngx_current_msec - stock->lost < NGX_TAILNET_STOCK_RETRY_MS))
    {
        return;
    }

    tn_ipc_init(&msg, TN_IPC_TAKE);

    ngx_memcpy(msg.node, stock->node->name.data, stock->node->name.len);

    msg.family = (uint16_t) stock->family;
    msg.proto = TN_IPC_TCP;
    msg.count = TN_IPC_FDS;

    fd = stock->channel ? stock->channel->fd : -1;

    if (tn_client_take((char *) stock->conf->dir.data, &msg, &fd) != TN_OK) {
        ngx_tailnet_stock_close(stock);
        return;
    }

    stock->asked = 1;

    if (stock->channel) {
        return;
    }

    c = ngx_tailnet_channel(fd, log, stock, ngx_tailnet_stock_read);

    if (c == NULL) {
        ngx_tailnet_stock_close(stock);
        return;
    }

    stock->channel = c;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_tailnet_stock_close(stock);
    }
}


static void
ngx_tailnet_stock_read(ngx_event_t *ev)
{
    int                   sockets[TN_IPC_FDS];
    size_t                n;
    tn_rc_t               rc;
    ngx_connection_t     *c;
    ngx_tailnet_stock_t  *stock;

    c = ev->data;
    stock = c->data;

    while ((rc = tn_client_taken(c->fd, sockets, &n)) == TN_OK) {

        stock->asked = 0;
        stock->lost = 0;

        while (n) {
            n--;

            if (stock->nsockets < NGX_TAILNET_STOCK_SIZE) {
                stock->sockets[stock->nsockets++] = sockets[n];

            } else {
                (void) close(sockets[n]);
            }
        }
    }

    if (rc != TN_AGAIN || ngx_tailnet_channel_wait(ev) != NGX_OK) {
        ngx_tailnet_stock_close(stock);
    }
}


static void
ngx_tailnet_stock_close(ngx_tailnet_stock_t *stock)
{
    if (stock->channel) {
        ngx_close_connection(stock->channel);
        stock->channel = NULL;
    }

    while (stock->nsockets) {
        (void) close(stock->sockets[--stock->nsockets]);
    }

    stock->asked = 0;
    stock->lost = ngx_current_msec ? ngx_current_msec : 1;
}
