
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A connection is a pcb of lwIP and a socket, each with its own pace:
 *
 *   peer -> nginx   bytes stay in the pcb until the socket takes them; lwIP's
 *                   window then opens, so a slow nginx slows the peer
 *   nginx -> peer   the socket is read only while lwIP has room
 *
 * An end of either side is passed on as the end of that direction; a reset of
 * the peer closes the socket, a socket that breaks resets the peer, and so
 * does nginx when it refuses the connection (tn_hangup.h).  What
 * lwIP tells while it works only marks the connection as dirty: it is looked
 * at when lwIP has returned.
 *
 * Packets that lwIP makes go out at once, and what the tunnel says to them
 * (nobody has this address, the peer refuses) joins those that came in: a
 * turn ends when neither has anything left.
 */

#include "data/tn_lwnet_int.h"

#ifdef TN_HAVE_LWIP

#include "proc/tn_hangup.h"
#include "wire/tn_icmp.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <unistd.h>


#define LWNET_IOV     8
#define LWNET_READ    (32 * 1024)
#define LWNET_ROUNDS  8         /* reads of one connection in a turn */
#define LWNET_RETRY_MS  20      /* while nginx's queue is full */


static void lwnet_tick(void *data, tn_ms_t now);
static void lwnet_add(tn_lwnet_t *net, const tn_packet_t *p, bool capture,
    bool joined);
static void lwnet_packet_in(tn_lwnet_t *net, const uint8_t *packet,
    const tn_packet_t *p, bool capture, bool joined);
static void lwnet_udp_in(tn_lwnet_t *net, const uint8_t *packet,
    const tn_packet_t *p, uint32_t kind);
static void lwnet_echo(tn_lwnet_t *net, const uint8_t *packet,
    const tn_packet_t *p);
static bool lwnet_is_own(const tn_lwnet_t *net, const tn_ip_t *ip);
static void lwnet_udp_frame(void *data, uint8_t *frame, size_t len);
static void lwnet_udp_done(void *data);
static void lwnet_apply(tn_lwnet_t *net);
static void lwnet_apply_ports(tn_lwnet_t *net);
static void lwnet_packet(void *data, uint8_t *packet, size_t len);
static void lwnet_accepted(void *data, tn_lwip_conn_t *tcp, uint16_t port);
static void lwnet_ready(void *data, tn_lwip_conn_t *tcp);
static void lwnet_open(lwnet_conn_t *conn);
static bool lwnet_is_full(const tn_lwnet_t *net, const lwnet_port_t *port);
static void lwnet_wait(lwnet_conn_t *conn, const lwnet_port_t *port);
static void lwnet_retry(void *data, tn_ms_t now);
static void lwnet_event(tn_watch_t *watch, uint32_t events);
static bool lwnet_move(lwnet_conn_t *conn);
static bool lwnet_is_closed(const lwnet_conn_t *conn);
static bool lwnet_to_nginx(lwnet_conn_t *conn, uint32_t *events);
static bool lwnet_to_peer(lwnet_conn_t *conn, uint32_t *events);
static void lwnet_turn(bool begin);


static const tn_lwip_ops_t  lwnet_ops = {
    lwnet_packet,
    lwnet_accepted,
    lwnet_ready,
    lwnet_turn
};

static const tn_udpnet_ops_t  lwnet_udp_ops = {
    lwnet_udp_frame,
    lwnet_udp_done
};

/* lwIP is of one data thread at a time */
static pthread_mutex_t  lwnet_lock = PTHREAD_MUTEX_INITIALIZER;


tn_lwnet_t *
tn_lwnet_create(tn_loop_t *loop, tn_lwnet_table_t *table,
    tn_lwnet_frame_pt frame, tn_lwnet_done_pt done, void *data,
    tn_log_t *log)
{
    tn_lwnet_t  *net;

    net = calloc(1, sizeof(tn_lwnet_t));
    if (net == NULL) {
        return NULL;
    }

    net->loop = loop;
    net->table = table;
    net->frame = frame;
    net->done = done;
    net->data = data;
    net->log = log;
    tn_list_init(&net->dirty);
    tn_list_init(&net->waiting);
    tn_list_init(&net->conns);
    tn_list_init(&net->dials);
    tn_timer_init(&net->timer, lwnet_tick, net);
    tn_timer_init(&net->retry, lwnet_retry, net);

    net->lwip = tn_lwip_create(&lwnet_ops, net, tn_loop_clock_ms());

    net->udp = tn_udpnet_create(loop, table, &lwnet_udp_ops, net, log);

    if (net->lwip == NULL || net->udp == NULL) {
        tn_lwip_destroy(net->lwip);
        tn_udpnet_destroy(net->udp);
        free(net);
        return NULL;
    }

    lwnet_table_attach(table, net, loop);

    return net;
}


void
tn_lwnet_destroy(tn_lwnet_t *net)
{
    if (net == NULL) {
        return;
    }

    lwnet_table_attach(net->table, NULL, NULL);

    while (!tn_list_empty(&net->dials)) {
        lwnet_dial_drop(tn_container(net->dials.next, lwnet_dial_t, link));
    }

    while (!tn_list_empty(&net->conns)) {
        lwnet_close(tn_container(net->conns.next, lwnet_conn_t, all), true);
    }

    tn_udpnet_destroy(net->udp);

    tn_timer_cancel(&net->loop->timers, &net->timer);
    tn_timer_cancel(&net->loop->timers, &net->retry);
    tn_lwip_destroy(net->lwip);
    free(net);
}


/* --- turns */

void
tn_lwnet_in(tn_lwnet_t *net, const uint8_t *packet, const tn_packet_t *p,
    bool capture)
{
    /* a node of ours does not cut what goes by DERP (tn_path_long.c) */

    if ((p->total_len > TN_LWIP_MTU && p->proto != TN_PROTO_TCP)
        || p->total_len > TN_LWNET_BYTES - net->used)
    {
        return;
    }

    memcpy(net->bytes + net->used, packet, p->total_len);
    lwnet_add(net, p, capture, false);
}


void
tn_lwnet_write(tn_lwnet_t *net, const struct iovec *iov, int n)
{
    int          i;
    bool         joined;
    size_t       len;
    uint8_t     *bytes;
    tn_vnet_t    vnet;
    tn_packet_t  p;

    memcpy(&vnet, iov[0].iov_base, sizeof(vnet));
    joined = vnet.flags & TN_VNET_F_NEEDS_CSUM;

    bytes = net->bytes + net->used;
    len = 0;

    for (i = 1; i < n; i++) {

        if (iov[i].iov_len > TN_LWNET_BYTES - net->used - len) {
            return;
        }

        memcpy(bytes + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }

    if ((joined || len <= TN_LWIP_MTU)
        && tn_packet_parse(&p, bytes, len) == TN_OK)
    {
        lwnet_add(net, &p, false, joined);
    }
}


/* whose bytes stand behind those that are queued */
static void
lwnet_add(tn_lwnet_t *net, const tn_packet_t *p, bool capture, bool joined)
{
    if (net->queued == TN_LWNET_QUEUE) {
        return;
    }

    net->queue[net->queued].p = *p;
    net->queue[net->queued].capture = capture;
    net->queue[net->queued].joined = joined;
    net->queue[net->queued++].bytes = net->bytes + net->used;
    net->used += p->total_len;
}


void
tn_lwnet_run(tn_lwnet_t *net)
{
    if (net->queued == 0) {
        return;
    }

    tn_lwip_hold(net->lwip, net->loop->now);
    lwnet_settle(net);
    tn_lwip_release(net->lwip);
}


struct tn_udpnet_s *
tn_lwnet_udp(tn_lwnet_t *net)
{
    return net->udp;
}


void
lwnet_wake(void *data)
{
    tn_lwnet_t *net = data;

    lwnet_order_t  *order;

    tn_lwip_hold(net->lwip, net->loop->now);
    lwnet_apply(net);

    while ((order = lwnet_table_order(net->table)) != NULL) {
        lwnet_dial_start(net, order);
        free(order);
    }

    lwnet_settle(net);
    tn_lwip_release(net->lwip);
}


static void
lwnet_tick(void *data, tn_ms_t now)
{
    tn_lwnet_t *net = data;

    tn_lwip_hold(net->lwip, now);
    tn_lwip_tick(net->lwip, now);
    lwnet_settle(net);
    tn_lwip_release(net->lwip);
}


static void
lwnet_event(tn_watch_t *watch, uint32_t events)
{
    lwnet_conn_t *conn = watch->data;

    tn_lwnet_t  *net;

    net = conn->net;
    conn->gone |= (events & TN_LOOP_ERROR) != 0;

    tn_lwip_hold(net->lwip, net->loop->now);
    (void) lwnet_move(conn);
    lwnet_settle(net);
    tn_lwip_release(net->lwip);
}


void
lwnet_settle(tn_lwnet_t *net)
{
    size_t         i;
    tn_ms_t        deadline;
    tn_link_t     *link;
    lwnet_conn_t  *conn;

    do {
        for (i = 0; i < net->queued; i++) {
            lwnet_packet_in(net, net->queue[i].bytes, &net->queue[i].p,
                            net->queue[i].capture, net->queue[i].joined);
        }

        net->queued = 0;
        net->used = 0;

        while ((link = tn_list_shift(&net->dirty)) != NULL) {
            conn = tn_container(link, lwnet_conn_t, dirty);

            if (conn->dial != NULL && !lwnet_dial_ready(conn)) {
                continue;
            }

            if (!conn->connected && conn->dial == NULL) {
                lwnet_open(conn);

            } else if (conn->connected) {
                (void) lwnet_move(conn);
            }
        }

    } while (net->queued != 0);

    net->done(net->data);

    deadline = tn_lwip_deadline(net->lwip);

    if (deadline == TN_NEVER_MS) {
        tn_timer_cancel(&net->loop->timers, &net->timer);

    } else if (!tn_timer_is_set(&net->timer) || net->timer.at != deadline) {
        (void) tn_timer_set(&net->loop->timers, &net->timer, deadline);
    }
}


static void
lwnet_packet_in(tn_lwnet_t *net, const uint8_t *packet, const tn_packet_t *p,
    bool capture, bool joined)
{
    bool          listens;
    uint8_t       proto;
    uint32_t      kind;
    tn_addr_t     from, to;
    lwnet_port_t  port;

    kind = capture ? TN_IPC_CAPTURE : 0;

    if (tn_unlikely(net->serves) && !capture && !lwnet_is_own(net, &p->dst)) {
        kind = TN_LWNET_SERVICE;
    }

    if (tn_likely(p->proto == TN_PROTO_TCP)) {

        tn_lwip_joined(net->lwip, joined);

        if (tn_likely(kind == 0)) {
            tn_lwip_in(net->lwip, net->loop->now, packet, p);
            return;
        }

        to.ip = p->dst;
        to.port = p->dst_port;

        listens = tn_packet_is_syn(p)
                  && lwnet_table_find(net->table, TN_IPC_TCP, &to, kind,
                                      &port);

        tn_lwip_in_captured(net->lwip, net->loop->now, packet, p, listens);
        return;
    }

    if (p->proto == TN_PROTO_UDP) {
        lwnet_udp_in(net, packet, p, kind);
        return;
    }

    if (!tn_icmp_unreachable(packet, p, &proto, &from, &to)) {

        /* what is asked of another host is not for us to answer */

        if (kind == 0) {
            tn_lwip_in(net->lwip, net->loop->now, packet, p);

        } else if (kind == TN_LWNET_SERVICE) {
            lwnet_echo(net, packet, p);
        }

    } else if (proto == TN_PROTO_TCP) {
        lwnet_dial_unreachable(net, &from, &to);

    } else if (proto == TN_PROTO_UDP) {
        tn_udpnet_unreachable(net->udp, &from, &to);
    }
}


/* what nobody listens for is refused, but for others nothing is said */
static void
lwnet_udp_in(tn_lwnet_t *net, const uint8_t *packet, const tn_packet_t *p,
    uint32_t kind)
{
    size_t   len;
    uint8_t  frame[sizeof(tn_vnet_t) + TN_LWIP_MTU];

    if (kind == 0 && !lwnet_is_own(net, &p->dst)) {
        return;
    }

    if (tn_udpnet_in(net->udp, packet, p, kind) || kind == TN_IPC_CAPTURE) {
        return;
    }

    len = tn_icmp_error(frame + sizeof(tn_vnet_t), TN_LWIP_MTU,
                        TN_ICMP_PORT_UNREACHABLE, 0, &p->dst, packet, p);

    if (len != 0) {
        lwnet_emit(net, frame, len);
    }
}


/* at the address of a service */
static void
lwnet_echo(tn_lwnet_t *net, const uint8_t *packet, const tn_packet_t *p)
{
    uint8_t  frame[sizeof(tn_vnet_t) + TN_LWIP_MTU];

    if (!tn_icmp_is_echo_request(p) || p->frag != TN_PACKET_WHOLE
        || p->extended)
    {
        return;
    }

    memcpy(frame + sizeof(tn_vnet_t), packet, p->total_len);

    if (tn_icmp_echo_reply(frame + sizeof(tn_vnet_t), p) == TN_OK) {
        lwnet_emit(net, frame, p->total_len);
    }
}


static bool
lwnet_is_own(const tn_lwnet_t *net, const tn_ip_t *ip)
{
    size_t  i;

    for (i = 0; i < net->n_ips; i++) {
        if (tn_ip_equal(&net->ips[i], ip)) {
            return true;
        }
    }

    return false;
}


static void
lwnet_udp_frame(void *data, uint8_t *frame, size_t len)
{
    tn_lwnet_t *net = data;

    net->frame(net->data, frame, len);
}


static void
lwnet_udp_done(void *data)
{
    tn_lwnet_t *net = data;

    tn_lwip_hold(net->lwip, net->loop->now);
    lwnet_settle(net);
    tn_lwip_release(net->lwip);
}


static void
lwnet_apply(tn_lwnet_t *net)
{
    tn_lwnet_table_t  *table;

    table = net->table;

    pthread_mutex_lock(&table->lock);

    /* what changes from now on, while orders are begun too, wakes again */

    table->woken = false;

    if (net->version != table->version) {
        net->version = table->version;
        net->n_ips = table->n_ips;
        memcpy(net->ips, table->ips, sizeof(net->ips));
        tn_lwip_addresses(net->lwip, table->ips, table->n_ips);
        lwnet_apply_ports(net);
    }

    pthread_mutex_unlock(&table->lock);
}


static void
lwnet_apply_ports(tn_lwnet_t *net)
{
    size_t             i;
    uint8_t            gone;
    uint8_t            wanted[sizeof(net->listens)];
    unsigned           bit;
    const lwnet_port_t  *port;

    memset(wanted, 0, sizeof(wanted));

    for (i = 0; i < net->table->n; i++) {
        port = &net->table->ports[i];

        if (port->flags & TN_LWNET_SERVICE) {
            net->serves = true;

        } else if (port->proto == TN_IPC_TCP
                   && !(port->flags & TN_IPC_CAPTURE))
        {
            wanted[port->port / 8] |= (uint8_t) (1 << port->port % 8);
        }
    }

    for (i = 0; i < sizeof(wanted); i++) {
        gone = net->listens[i] & (uint8_t) ~wanted[i];

        for (bit = 0; bit < 8; bit++) {
            if (gone & 1 << bit) {
                tn_lwip_unlisten(net->lwip, (uint16_t) (i * 8 + bit));
            }

            if ((wanted[i] & ~net->listens[i]) & 1 << bit
                && tn_lwip_listen(net->lwip, (uint16_t) (i * 8 + bit))
                   != TN_OK)
            {
                wanted[i] &= (uint8_t) ~(1 << bit);
                tn_log(net->log, TN_LOG_ERR, "no memory to listen on port "
                       "%u", (unsigned) (i * 8 + bit));
            }
        }
    }

    memcpy(net->listens, wanted, sizeof(wanted));
}


/* --- what lwIP tells */

static void
lwnet_packet(void *data, uint8_t *packet, size_t len)
{
    tn_lwnet_t *net = data;

    uint8_t  frame[sizeof(tn_vnet_t) + TN_LWIP_MTU];

    memcpy(frame + sizeof(tn_vnet_t), packet, len);
    lwnet_emit(net, frame, len);
}


void
lwnet_emit(tn_lwnet_t *net, uint8_t *frame, size_t len)
{
    net->loop->packets++;

    memset(frame, 0, sizeof(tn_vnet_t));
    net->frame(net->data, frame, sizeof(tn_vnet_t) + len);
}


static void
lwnet_accepted(void *data, tn_lwip_conn_t *tcp, uint16_t port)
{
    tn_lwnet_t *net = data;

    lwnet_conn_t  *conn;

    conn = lwnet_conn(net);

    if (conn == NULL) {

        /* without an owner: the peer's keepalive or ours ends it */
        return;
    }

    conn->tcp = tcp;
    conn->foreign = port == 0;

    tn_list_push(&net->dirty, &conn->dirty);
    tn_lwip_conn_set_data(tcp, conn);
}


static void
lwnet_ready(void *data, tn_lwip_conn_t *tcp)
{
    tn_lwnet_t *net = data;

    lwnet_conn_t  *conn;

    conn = tn_lwip_conn_data(tcp);

    if (conn != NULL && tn_list_empty(&conn->dirty)) {
        tn_list_push(&net->dirty, &conn->dirty);
    }
}


static void
lwnet_turn(bool begin)
{
    if (begin) {
        (void) pthread_mutex_lock(&lwnet_lock);

    } else {
        (void) pthread_mutex_unlock(&lwnet_lock);
    }
}


/* --- connections */

lwnet_conn_t *
lwnet_conn(tn_lwnet_t *net)
{
    lwnet_conn_t  *conn;

    conn = calloc(1, sizeof(lwnet_conn_t));

    if (conn == NULL) {
        return NULL;
    }

    conn->net = net;
    conn->watch.fd = -1;
    conn->watch.handler = lwnet_event;
    conn->watch.data = conn;

    tn_list_init(&conn->dirty);
    tn_list_push(&net->conns, &conn->all);
    net->n_conns++;

    return conn;
}


static void
lwnet_open(lwnet_conn_t *conn)
{
    tn_addr_t      local, remote;
    tn_lwnet_t    *net;
    lwnet_port_t   port;

    net = conn->net;

    tn_lwip_conn_addresses(conn->tcp, &local, &remote);

    if ((tn_lwip_conn_state(conn->tcp) & TN_LWIP_DEAD)
        || net->n_conns > TN_LWNET_CONNS
        || !(conn->foreign ? lwnet_table_find(net->table, TN_IPC_TCP, &local,
                                              TN_LWNET_SERVICE, &port)
                             || lwnet_table_find(net->table, TN_IPC_TCP,
                                                 &local, TN_IPC_CAPTURE,
                                                 &port)
                           : lwnet_table_find(net->table, TN_IPC_TCP, &local,
                                              0, &port)))
    {
        lwnet_close(conn, true);
        return;
    }

    if (lwnet_is_full(net, &port)) {
        tn_list_push(&net->waiting, &conn->dirty);
        return;
    }

    conn->watch.fd = lwnet_socket(net->log, &port, SOCK_STREAM, &remote,
                                  &local);

    if (conn->watch.fd != -1) {
        conn->connected = true;
        (void) lwnet_move(conn);
        return;
    }

    if (errno != EAGAIN) {
        lwnet_close(conn, true);
        return;
    }

    lwnet_wait(conn, &port);
}


/* one that waits was told so: the others need not ask */
static bool
lwnet_is_full(const tn_lwnet_t *net, const lwnet_port_t *port)
{
    size_t  i;

    for (i = 0; i < net->n_full; i++) {
        if (net->full[i].len == port->len
            && memcmp(&net->full[i].addr, &port->addr, port->len) == 0)
        {
            return true;
        }
    }

    return false;
}


/* nginx's queue is full: the connection stands and waits */
static void
lwnet_wait(lwnet_conn_t *conn, const lwnet_port_t *port)
{
    tn_lwnet_t  *net;

    net = conn->net;

    tn_list_push(&net->waiting, &conn->dirty);

    if (net->n_full < TN_LWNET_FULL) {
        net->full[net->n_full].len = port->len;
        net->full[net->n_full++].addr = port->addr;
    }

    if (!tn_timer_is_set(&net->retry)) {
        (void) tn_timer_set(&net->loop->timers, &net->retry,
                            net->loop->now + LWNET_RETRY_MS);
    }
}


static void
lwnet_retry(void *data, tn_ms_t now)
{
    tn_lwnet_t *net = data;

    tn_link_t  *link;

    net->n_full = 0;

    while ((link = tn_list_shift(&net->waiting)) != NULL) {
        tn_list_push(&net->dirty, link);
    }

    tn_lwip_hold(net->lwip, now);
    lwnet_settle(net);
    tn_lwip_release(net->lwip);
}


/* moves what can be moved; false: the connection is gone */
static bool
lwnet_move(lwnet_conn_t *conn)
{
    uint32_t  events;

    events = 0;

    if (tn_lwip_conn_state(conn->tcp) & TN_LWIP_DEAD) {

        /*
         * What came before the end is still read, as from any socket: all of
         * it, if the end was one in order, or what fits before a reset.
         */

        (void) lwnet_to_nginx(conn, &events);

        if (events == 0 || tn_lwip_conn_error(conn->tcp) != 0) {
            lwnet_close(conn, true);
            return false;
        }

    } else if (!lwnet_to_nginx(conn, &events)
               || !lwnet_to_peer(conn, &events))
    {
        lwnet_close(conn, true);
        return false;
    }

    if (conn->read_end && (conn->write_end || lwnet_is_closed(conn))) {
        lwnet_close(conn, false);
        return false;
    }

    if (events == 0 && !conn->gone) {

        /* whatever is waited for, that nginx closes is to be seen too */

        events = TN_LOOP_ERROR;
    }

    if (events == 0) {

        /*
         * What nginx has left waits for the peer, and is not to do so for
         * ever; that it is gone would be reported again and again
         */

        tn_lwip_orphan(conn->tcp);
        tn_loop_unwatch(conn->net->loop, &conn->watch);
        return true;
    }

    if (!conn->watch.added || conn->watch.events != events) {
        conn->watch.events = events;

        if (tn_loop_watch(conn->net->loop, &conn->watch) != TN_OK) {
            lwnet_close(conn, true);
            return false;
        }
    }

    return true;
}


/* nginx has closed its end, not only shut its direction */
static bool
lwnet_is_closed(const lwnet_conn_t *conn)
{
    struct pollfd  fd;

    fd.fd = conn->watch.fd;
    fd.events = 0;

    return poll(&fd, 1, 0) == 1 && (fd.revents & POLLHUP);
}


static bool
lwnet_to_nginx(lwnet_conn_t *conn, uint32_t *events)
{
    int            i, n;
    size_t         len;
    ssize_t        sent;
    struct iovec   iov[LWNET_IOV];
    struct msghdr  msg;

    while ((n = tn_lwip_peek(conn->tcp, iov, LWNET_IOV)) > 0) {
        memset(&msg, 0, sizeof(msg));
        msg.msg_iov = iov;
        msg.msg_iovlen = (size_t) n;

        sent = conn->write_end ? -1
                               : sendmsg(conn->watch.fd, &msg, MSG_NOSIGNAL);

        if (sent != -1) {
            tn_lwip_take(conn->tcp, (size_t) sent);
            continue;
        }

        if (!conn->write_end && errno == EAGAIN) {
            *events |= TN_LOOP_WRITE;
            return true;
        }

        /* nginx has closed, perhaps behind a response that is to be read */

        conn->write_end = true;

        for (i = 0, len = 0; i < n; i++) {
            len += iov[i].iov_len;
        }

        tn_lwip_take(conn->tcp, len);
    }

    if ((tn_lwip_conn_state(conn->tcp) & TN_LWIP_EOF) && !conn->write_end) {
        conn->write_end = true;
        (void) shutdown(conn->watch.fd, SHUT_WR);
    }

    return true;
}


static bool
lwnet_to_peer(lwnet_conn_t *conn, uint32_t *events)
{
    int      i;
    size_t   room;
    bool     refused;
    ssize_t  n;
    uint8_t  buf[LWNET_READ];

    for (i = 0; i < LWNET_ROUNDS && !conn->read_end; i++) {
        room = tn_min(tn_lwip_room(conn->tcp), sizeof(buf));

        if (room == 0) {
            break;
        }

        n = tn_hangup_recv(conn->watch.fd, buf, room, &refused);

        if (n == -1 && errno == EAGAIN) {
            break;
        }

        /* closed before all was read is closed too */

        if (n == -1 ? errno != ECONNRESET : refused) {
            return false;
        }

        if (n <= 0) {
            conn->read_end = true;
            tn_lwip_push(conn->tcp);
            tn_lwip_shutdown(conn->tcp);
            return true;
        }

        if (tn_lwip_write(conn->tcp, buf, (size_t) n) != (size_t) n) {
            return false;
        }
    }

    if (i != 0) {
        tn_lwip_push(conn->tcp);
    }

    if (!conn->read_end && tn_lwip_room(conn->tcp) != 0) {
        *events |= TN_LOOP_READ;
    }

    return true;
}


void
lwnet_close(lwnet_conn_t *conn, bool abort)
{
    tn_list_remove(&conn->dirty);
    tn_list_remove(&conn->all);
    conn->net->n_conns--;

    if (conn->tcp != NULL) {
        tn_lwip_close(conn->tcp, abort);
    }

    tn_loop_unwatch(conn->net->loop, &conn->watch);

    if (conn->watch.fd != -1) {
        (void) close(conn->watch.fd);
    }

    free(conn);
}

#else

tn_lwnet_t *
tn_lwnet_create(tn_loop_t *loop, tn_lwnet_table_t *table,
    tn_lwnet_frame_pt frame, tn_lwnet_done_pt done, void *data,
    tn_log_t *log)
{
    (void) loop;
    (void) table;
    (void) frame;
    (void) done;
    (void) data;
    (void) log;

    return NULL;
}


void
tn_lwnet_destroy(tn_lwnet_t *net)
{
    (void) net;
}


void
tn_lwnet_in(tn_lwnet_t *net, const uint8_t *packet, const tn_packet_t *p,
    bool capture)
{
    (void) net;
    (void) packet;
    (void) p;
    (void) capture;
}


void
tn_lwnet_write(tn_lwnet_t *net, const struct iovec *iov, int n)
{
    (void) net;
    (void) iov;
    (void) n;
}


void
tn_lwnet_run(tn_lwnet_t *net)
{
    (void) net;
}


struct tn_udpnet_s *
tn_lwnet_udp(tn_lwnet_t *net)
{
    (void) net;

    return NULL;
}


void
lwnet_wake(void *data)
{
    (void) data;
}

#endif
