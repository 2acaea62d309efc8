
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A dial of nginx's worker.  With the kernel's stack a worker gets a socket
 * that is connecting; a socket pair is connected from the start, so here the
 * answer waits until the peer's has come:
 *
 *   dialling    lwIP sends SYNs; the worker's connection is watched: closed,
 *               nginx has given up, and so does lwIP
 *   connected   one end of a new pair is passed, the other one is moved from
 *               and to lwIP like that of an accepted connection
 *   failed      the errno is passed, as a socket would have told it: refused,
 *               timed out, unreachable
 *
 * A datagram socket is ready at once and passed so (tn_udpnet.c).  One
 * timer per dial: what the request says, TN_DIAL_TIMEOUT_MS of the control
 * thread at most.  At most TN_LWNET_DIALS are under way, further ones fail.
 */

#ifdef TN_HAVE_LWIP

#include "data/tn_lwnet_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>


#define LWNET_DIAL_MS  60000


static void lwnet_dial_udp(tn_lwnet_t *net, const lwnet_order_t *order,
    const tn_addr_t *to);
static void lwnet_dial_closed(tn_watch_t *watch, uint32_t events);
static void lwnet_dial_timeout(void *data, tn_ms_t now);
static void lwnet_dial_free(lwnet_dial_t *dial);


void
lwnet_dial_start(tn_lwnet_t *net, lwnet_order_t *order)
{
    size_t         i;
    tn_ms_t        ms;
    tn_addr_t      to;
    lwnet_conn_t  *conn;
    lwnet_dial_t  *dial;

    memset(&to, 0, sizeof(to));
    to.port = order->port;

    if (order->proto == TN_IPC_UDP) {
        to.ip = order->ips[0];
        lwnet_dial_udp(net, order, &to);
        (void) close(order->fd);
        return;
    }

    conn = NULL;
    dial = calloc(1, sizeof(lwnet_dial_t));

    if (dial == NULL || net->n_dials >= TN_LWNET_DIALS
        || net->n_conns >= TN_LWNET_CONNS
        || (conn = lwnet_conn(net)) == NULL)
    {
        lwnet_reply(order->fd, order->seq, &to, -1, EAGAIN,
                    "too many dials or connections by stack lwip");
        (void) close(order->fd);
        free(dial);
        return;
    }

    for (i = 0; i < order->n_ips && conn->tcp == NULL; i++) {
        to.ip = order->ips[i];
        conn->tcp = tn_lwip_connect(net->lwip, &to, conn);
    }

    dial->net = net;
    dial->seq = order->seq;
    dial->to = to;
    dial->conn = conn;
    dial->watch.fd = order->fd;
    dial->watch.events = TN_LOOP_READ;
    dial->watch.handler = lwnet_dial_closed;
    dial->watch.data = dial;
    tn_timer_init(&dial->timer, lwnet_dial_timeout, dial);
    tn_list_push(&net->dials, &dial->link);
    net->n_dials++;

    conn->dial = dial;

    if (conn->tcp == NULL) {
        lwnet_dial_fail(dial, EADDRNOTAVAIL, "no address of that family, or "
                        "no port left");
        return;
    }

    ms = order->timeout_ms;

    if (ms == 0 || ms > LWNET_DIAL_MS) {
        ms = LWNET_DIAL_MS;
    }

    if (tn_loop_watch(net->loop, &dial->watch) != TN_OK
        || tn_timer_set(&net->loop->timers, &dial->timer,
                        net->loop->now + ms)
           != TN_OK)
    {
        lwnet_dial_fail(dial, ENOMEM, "out of memory");
    }
}


/* the worker, of whom nothing more is expected, has given up */
static void
lwnet_dial_udp(tn_lwnet_t *net, const lwnet_order_t *order,
    const tn_addr_t *to)
{
    int     fd;
    size_t  i;

    for (i = 0; i < net->n_ips; i++) {
        if (tn_ip_is_v4(&net->ips[i]) == tn_ip_is_v4(&to->ip)) {
            break;
        }
    }

    if (i == net->n_ips) {
        lwnet_reply(order->fd, order->seq, to, -1, EADDRNOTAVAIL,
                    "the node has no address of that family");
        return;
    }

    fd = tn_udpnet_dial(net->udp, &net->ips[i], to);

    lwnet_reply(order->fd, order->seq, to, fd, errno,
                fd == -1 ? "no socket or port for UDP" : "");
    tn_ipc_close(&fd, 1);
}


static void
lwnet_dial_closed(tn_watch_t *watch, uint32_t events)
{
    lwnet_dial_t *dial = watch->data;

    tn_lwnet_t  *net;

    (void) events;

    net = dial->net;

    tn_lwip_hold(net->lwip, net->loop->now);
    lwnet_dial_drop(dial);
    lwnet_settle(net);
    tn_lwip_release(net->lwip);
}


static void
lwnet_dial_timeout(void *data, tn_ms_t now)
{
    lwnet_dial_t *dial = data;

    tn_lwnet_t  *net;

    net = dial->net;

    tn_lwip_hold(net->lwip, now);
    lwnet_dial_fail(dial, ETIMEDOUT, "no answer");
    lwnet_settle(net);
    tn_lwip_release(net->lwip);
}


bool
lwnet_dial_ready(lwnet_conn_t *conn)
{
    int            pair[2], err;
    char           text[TN_ADDR_TEXT];
    unsigned       state;
    lwnet_dial_t  *dial;

    dial = conn->dial;
    state = tn_lwip_conn_state(conn->tcp);

    if (state & TN_LWIP_DEAD) {
        lwnet_dial_fail(dial, tn_lwip_conn_error(conn->tcp),
                        tn_addr_text(&dial->to, text));
        return false;
    }

    if (!(state & TN_LWIP_CONNECTED)) {
        return true;
    }

    if (socketpair(AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0, pair)
        == -1)
    {
        err = errno;
        tn_log(conn->net->log, TN_LOG_ALERT, "socketpair() failed (%d: %s)",
               err, strerror(err));
        lwnet_dial_fail(dial, err, "no socket for a connection");
        return false;
    }

    lwnet_reply(dial->watch.fd, dial->seq, &dial->to, pair[1], 0, "");
    (void) close(pair[1]);

    conn->watch.fd = pair[0];
    conn->connected = true;
    lwnet_dial_free(dial);

    return true;
}


void
lwnet_dial_unreachable(tn_lwnet_t *net, const tn_addr_t *local,
    const tn_addr_t *remote)
{
    char           text[TN_ADDR_TEXT];
    tn_link_t     *link, *tmp;
    tn_addr_t      own, other;
    lwnet_dial_t  *dial;

    tn_list_each_safe(link, tmp, &net->dials) {
        dial = tn_container(link, lwnet_dial_t, link);

        tn_lwip_conn_addresses(dial->conn->tcp, &own, &other);

        if (tn_addr_equal(&own, local) && tn_addr_equal(&other, remote)) {
            lwnet_dial_fail(dial, EHOSTUNREACH,
                            tn_addr_text(&dial->to, text));
            return;
        }
    }
}


void
lwnet_dial_fail(lwnet_dial_t *dial, int err, const char *text)
{
    lwnet_reply(dial->watch.fd, dial->seq, &dial->to, -1, err, text);
    lwnet_dial_drop(dial);
}


void
lwnet_dial_drop(lwnet_dial_t *dial)
{
    lwnet_conn_t  *conn;

    conn = dial->conn;

    lwnet_dial_free(dial);
    lwnet_close(conn, true);
}


static void
lwnet_dial_free(lwnet_dial_t *dial)
{
    tn_lwnet_t  *net;

    net = dial->net;
    dial->conn->dial = NULL;

    tn_list_remove(&dial->link);
    net->n_dials--;
    tn_timer_cancel(&net->loop->timers, &dial->timer);
    tn_loop_unwatch(net->loop, &dial->watch);
    (void) close(dial->watch.fd);
    free(dial);
}


void
lwnet_reply(int fd, uint32_t seq, const tn_addr_t *to, int passed, int err,
    const char *text)
{
    tn_ipc_dial_reply_t  reply;

    tn_ipc_init(&reply, TN_IPC_DIAL_REPLY);
    reply.head.seq = seq;
    reply.rc = passed != -1 ? TN_OK : TN_ERROR;
    reply.err = err;
    reply.addr = *to;
    (void) snprintf(reply.text, sizeof(reply.text), "%s", text);

    (void) tn_ipc_send(fd, &reply, &passed, passed != -1);
}

#endif
