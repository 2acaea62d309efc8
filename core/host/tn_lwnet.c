
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
 * the peer closes the socket, a socket that breaks resets the peer.  What
 * lwIP tells while it works only marks the connection as dirty: it is looked
 * at when lwIP has returned.
 */

#include "host/tn_lwnet.h"

#include "stack/tn_lwip.h"
#include "stack/tn_vnet.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>


#define LWNET_QUEUE   512       /* packets between two runs */
#define LWNET_IOV     8
#define LWNET_READ    (32 * 1024)
#define LWNET_ROUNDS  8         /* reads of one connection in a turn */


typedef struct {
    uint16_t            port;
    uint16_t            family;
    socklen_t           len;
    struct sockaddr_un  addr;
} lwnet_port_t;


struct tn_lwnet_table_s {
    pthread_mutex_t     lock;
    unsigned            version;
    size_t              n;
    lwnet_port_t        ports[TN_LWNET_PORTS];
    size_t              n_ips;
    tn_ip_t             ips[4];
};


#ifdef TN_HAVE_LWIP

typedef struct {
    tn_link_t           dirty;
    tn_link_t           all;
    tn_lwnet_t         *net;
    tn_lwip_conn_t     *tcp;
    tn_watch_t          watch;
    uint16_t            port;
    bool                connected;  /* the socket is there */
    bool                read_end;   /* nginx sends no more */
    bool                write_end;  /* nginx was told that the peer is done */
} lwnet_conn_t;


struct tn_lwnet_s {
    tn_loop_t          *loop;
    tn_lwnet_table_t   *table;
    tn_lwnet_frame_pt   frame;
    tn_lwnet_done_pt    done;
    void               *data;
    tn_log_t           *log;
    tn_lwip_t          *lwip;
    tn_timer_t          timer;
    unsigned            version;
    uint32_t            serial;
    size_t              n_conns;
    tn_link_t           dirty;
    tn_link_t           conns;
    size_t              queued;
    struct {
        tn_packet_t     p;
        uint8_t         bytes[TN_LWIP_MTU];
    } queue[LWNET_QUEUE];
};


static void lwnet_tick(void *data, tn_ms_t now);
static void lwnet_settle(tn_lwnet_t *net);
static void lwnet_apply(tn_lwnet_t *net);
static bool lwnet_find(tn_lwnet_t *net, uint16_t port, uint16_t family,
    lwnet_port_t *found);
static void lwnet_packet(void *data, uint8_t *packet, size_t len);
static void lwnet_accepted(void *data, tn_lwip_conn_t *tcp, uint16_t port);
static void lwnet_ready(void *data, tn_lwip_conn_t *tcp);
static bool lwnet_open(lwnet_conn_t *conn);
static void lwnet_event(tn_watch_t *watch, uint32_t events);
static bool lwnet_move(lwnet_conn_t *conn);
static bool lwnet_to_nginx(lwnet_conn_t *conn, uint32_t *events);
static bool lwnet_to_peer(lwnet_conn_t *conn, uint32_t *events);
static void lwnet_close(lwnet_conn_t *conn, bool abort);


static const tn_lwip_ops_t  lwnet_ops = {
    lwnet_packet,
    lwnet_accepted,
    lwnet_ready
};

#endif


tn_lwnet_table_t *
tn_lwnet_table_create(void)
{
    tn_lwnet_table_t  *table;

    table = calloc(1, sizeof(tn_lwnet_table_t));

    if (table != NULL) {
        pthread_mutex_init(&table->lock, NULL);
    }

    return table;
}


void
tn_lwnet_table_free(tn_lwnet_table_t *table)
{
    if (table != NULL) {
        pthread_mutex_destroy(&table->lock);
        free(table);
    }
}


tn_rc_t
tn_lwnet_table_listen(tn_lwnet_table_t *table, uint16_t port,
    uint16_t family, int fd)
{
    size_t        i;
    tn_rc_t       rc;
    lwnet_port_t  entry;

    memset(&entry, 0, sizeof(entry));
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

    for (i = 0; i < table->n; i++) {
        if (table->ports[i].port == port && table->ports[i].family == family) {
            break;
        }
    }

    if (i == TN_LWNET_PORTS) {
        rc = TN_NOMEM;

    } else {
        table->ports[i] = entry;
        table->n = tn_max(table->n, i + 1);
        table->version++;
    }

    pthread_mutex_unlock(&table->lock);

    return rc;
}


void
tn_lwnet_table_addresses(tn_lwnet_table_t *table, const tn_ip_t *ips,
    size_t n)
{
    pthread_mutex_lock(&table->lock);

    table->n_ips = tn_min(n, tn_nelems(table->ips));
    memcpy(table->ips, ips, table->n_ips * sizeof(tn_ip_t));
    table->version++;

    pthread_mutex_unlock(&table->lock);
}


#ifdef TN_HAVE_LWIP

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
    tn_list_init(&net->conns);
    tn_timer_init(&net->timer, lwnet_tick, net);

    net->lwip = tn_lwip_create(&lwnet_ops, net, tn_loop_clock_ms());

    if (net->lwip == NULL
        || tn_timer_set(&loop->timers, &net->timer, tn_loop_clock_ms())
           != TN_OK)
    {
        tn_lwnet_destroy(net);
        return NULL;
    }

    return net;
}


void
tn_lwnet_destroy(tn_lwnet_t *net)
{
    if (net == NULL) {
        return;
    }

    while (!tn_list_empty(&net->conns)) {
        lwnet_close(tn_container(net->conns.next, lwnet_conn_t, all), true);
    }

    tn_timer_cancel(&net->loop->timers, &net->timer);
    tn_lwip_destroy(net->lwip);
    free(net);
}


void
tn_lwnet_in(tn_lwnet_t *net, const uint8_t *packet, const tn_packet_t *p)
{
    if (net->queued == LWNET_QUEUE || p->total_len > TN_LWIP_MTU) {
        return;
    }

    net->queue[net->queued].p = *p;
    memcpy(net->queue[net->queued++].bytes, packet, p->total_len);
}


void
tn_lwnet_run(tn_lwnet_t *net)
{
    size_t  i;

    if (net->queued == 0) {
        return;
    }

    for (i = 0; i < net->queued; i++) {
        tn_lwip_in(net->lwip, net->loop->now, net->queue[i].bytes,
                   &net->queue[i].p);
    }

    net->queued = 0;
    lwnet_settle(net);
}


static void
lwnet_tick(void *data, tn_ms_t now)
{
    tn_lwnet_t *net = data;

    lwnet_apply(net);
    tn_lwip_tick(net->lwip, now);
    lwnet_settle(net);

    (void) tn_timer_set(&net->loop->timers, &net->timer,
                        tn_lwip_deadline(net->lwip));
}


/* what lwIP marked, until it marks nothing more */
static void
lwnet_settle(tn_lwnet_t *net)
{
    tn_link_t     *link;
    lwnet_conn_t  *conn;

    while ((link = tn_list_shift(&net->dirty)) != NULL) {
        conn = tn_container(link, lwnet_conn_t, dirty);

        if (!conn->connected && !lwnet_open(conn)) {
            lwnet_close(conn, true);
            continue;
        }

        (void) lwnet_move(conn);
    }

    net->done(net->data);
}


static void
lwnet_apply(tn_lwnet_t *net)
{
    size_t             i;
    tn_lwnet_table_t  *table;

    table = net->table;

    pthread_mutex_lock(&table->lock);

    if (net->version != table->version) {
        net->version = table->version;
        tn_lwip_addresses(net->lwip, table->ips, table->n_ips);

        for (i = 0; i < table->n; i++) {
            (void) tn_lwip_listen(net->lwip, table->ports[i].port);
        }
    }

    pthread_mutex_unlock(&table->lock);
}


static bool
lwnet_find(tn_lwnet_t *net, uint16_t port, uint16_t family,
    lwnet_port_t *found)
{
    bool               rc;
    size_t             i;
    tn_lwnet_table_t  *table;

    rc = false;
    table = net->table;

    pthread_mutex_lock(&table->lock);

    for (i = 0; i < table->n; i++) {
        if (table->ports[i].port == port && table->ports[i].family == family) {
            *found = table->ports[i];
            rc = true;
        }
    }

    pthread_mutex_unlock(&table->lock);

    return rc;
}


/* --- what lwIP tells */

static void
lwnet_packet(void *data, uint8_t *packet, size_t len)
{
    tn_lwnet_t *net = data;

    uint8_t  frame[sizeof(tn_vnet_t) + TN_LWIP_MTU];

    memset(frame, 0, sizeof(tn_vnet_t));
    memcpy(frame + sizeof(tn_vnet_t), packet, len);

    net->frame(net->data, frame, sizeof(tn_vnet_t) + len);
}


static void
lwnet_accepted(void *data, tn_lwip_conn_t *tcp, uint16_t port)
{
    tn_lwnet_t *net = data;

    lwnet_conn_t  *conn;

    conn = calloc(1, sizeof(lwnet_conn_t));

    if (conn == NULL) {

        /* without an owner: the peer's keepalive or ours ends it */
        return;
    }

    conn->net = net;
    conn->tcp = tcp;
    conn->port = port;
    conn->watch.fd = -1;
    conn->watch.handler = lwnet_event;
    conn->watch.data = conn;

    tn_list_push(&net->conns, &conn->all);
    tn_list_push(&net->dirty, &conn->dirty);
    net->n_conns++;

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


/* --- sockets */

static bool
lwnet_open(lwnet_conn_t *conn)
{
    int                 fd, n;
    char                text[2][TN_ADDR_TEXT];
    tn_addr_t           local, remote;
    tn_lwnet_t         *net;
    lwnet_port_t        port;
    struct sockaddr_un  self;

    net = conn->net;

    tn_lwip_conn_addresses(conn->tcp, &local, &remote);

    if (net->n_conns > TN_LWNET_CONNS
        || !lwnet_find(net, conn->port, tn_ip_is_v4(&local.ip) ? 4 : 6,
                       &port))
    {
        return false;
    }

    fd = socket(AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (fd == -1) {
        tn_log(net->log, TN_LOG_ALERT, "no socket for a connection (%d: %s)",
               errno, strerror(errno));
        return false;
    }

    conn->watch.fd = fd;

    memset(&self, 0, sizeof(self));
    self.sun_family = AF_UNIX;
    n = snprintf(self.sun_path + 1, sizeof(self.sun_path) - 1,
                 "%s %s %x.%x", tn_addr_text(&remote, text[0]),
                 tn_addr_text(&local, text[1]), (unsigned) getpid(),
                 net->serial++);

    if (bind(fd, (struct sockaddr *) &self,
             (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1
                          + (size_t) n))
        == -1
        || connect(fd, (struct sockaddr *) &port.addr, port.len) == -1)
    {
        tn_log(net->log, TN_LOG_INFO, "nginx does not take a connection "
               "(%d: %s)", errno, strerror(errno));
        return false;
    }

    conn->connected = true;

    return true;
}


static void
lwnet_event(tn_watch_t *watch, uint32_t events)
{
    lwnet_conn_t *conn = watch->data;

    tn_lwnet_t  *net;

    (void) events;

    net = conn->net;

    (void) lwnet_move(conn);
    lwnet_settle(net);
}


/* moves what can be moved; false: the connection is gone */
static bool
lwnet_move(lwnet_conn_t *conn)
{
    uint32_t  events;

    events = 0;

    if (tn_lwip_conn_state(conn->tcp) & TN_LWIP_DEAD) {
        lwnet_close(conn, true);
        return false;
    }

    if (!lwnet_to_nginx(conn, &events) || !lwnet_to_peer(conn, &events)) {
        lwnet_close(conn, true);
        return false;
    }

    if (conn->read_end && conn->write_end) {
        lwnet_close(conn, false);
        return false;
    }

    if (events == 0) {

        /* an end that was shut is reported without being asked for */

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


static bool
lwnet_to_nginx(lwnet_conn_t *conn, uint32_t *events)
{
    int            n;
    ssize_t        sent;
    struct iovec   iov[LWNET_IOV];
    struct msghdr  msg;

    while ((n = tn_lwip_peek(conn->tcp, iov, LWNET_IOV)) > 0) {
        memset(&msg, 0, sizeof(msg));
        msg.msg_iov = iov;
        msg.msg_iovlen = (size_t) n;

        sent = sendmsg(conn->watch.fd, &msg, MSG_NOSIGNAL);

        if (sent == -1) {
            if (errno != EAGAIN) {
                return false;
            }

            *events |= TN_LOOP_WRITE;
            return true;
        }

        tn_lwip_take(conn->tcp, (size_t) sent);
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
    ssize_t  n;
    uint8_t  buf[LWNET_READ];

    for (i = 0; i < LWNET_ROUNDS && !conn->read_end; i++) {
        room = tn_min(tn_lwip_room(conn->tcp), sizeof(buf));

        if (room == 0) {
            break;
        }

        n = recv(conn->watch.fd, buf, room, 0);

        if (n == -1) {
            if (errno != EAGAIN) {
                return false;
            }

            break;
        }

        if (n == 0) {
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


static void
lwnet_close(lwnet_conn_t *conn, bool abort)
{
    tn_list_remove(&conn->dirty);
    tn_list_remove(&conn->all);
    conn->net->n_conns--;

    tn_lwip_close(conn->tcp, abort);
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
tn_lwnet_in(tn_lwnet_t *net, const uint8_t *packet, const tn_packet_t *p)
{
    (void) net;
    (void) packet;
    (void) p;
}


void
tn_lwnet_run(tn_lwnet_t *net)
{
    (void) net;
}

#endif
