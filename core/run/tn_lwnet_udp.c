
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * UDP.  A flow is a pair of addresses and a socket of SOCK_SEQPACKET to
 * nginx, which keeps the bounds of datagrams and says when nginx has closed
 * its session:
 *
 *   from a peer to a listened port   nginx accepts the flow like a connection
 *   from nginx to a peer             the flow is one end of a pair, on a free
 *                                    port of ours
 *
 * It lives until nginx ends the session by its own timeouts.  With
 * TN_LWNET_FLOWS of them the one that was idle longest is closed for the
 * next: what costs a peer one datagram costs us little.  An empty datagram
 * reads like the end of a SOCK_SEQPACKET, but that end comes with a hangup.
 * A datagram that does not fit into a packet (tn_dgram.h) or into the socket's
 * queue is dropped.
 */

#ifdef TN_HAVE_LWIP

#include "run/tn_lwnet_int.h"

#include "stack/tn_dgram.h"
#include "wire/tn_icmp.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>


#define LWNET_UDP_ROUNDS      64        /* datagrams of a flow in a turn */
#define LWNET_UDP_PORT_FIRST  32768
#define LWNET_UDP_PORTS       28232
#define LWNET_UDP_TRIES       64


typedef struct {
    tn_hash_node_t  node;
    tn_link_t       recent;
    tn_lwnet_t     *net;
    tn_watch_t      watch;
    struct {
        tn_addr_t   local;
        tn_addr_t   remote;
    } key;                              /* zeroed before it is filled in */
} lwnet_flow_t;


static lwnet_flow_t *lwnet_flow_find(tn_lwnet_t *net, const tn_addr_t *local,
    const tn_addr_t *remote);
static lwnet_flow_t *lwnet_flow(tn_lwnet_t *net, int fd,
    const tn_addr_t *local, const tn_addr_t *remote);
static lwnet_flow_t *lwnet_flow_accept(tn_lwnet_t *net,
    const tn_addr_t *local, const tn_addr_t *remote, bool *listens);
static void lwnet_flow_used(lwnet_flow_t *flow);
static void lwnet_flow_close(lwnet_flow_t *flow);
static void lwnet_flow_event(tn_watch_t *watch, uint32_t events);
static bool lwnet_is_own(const tn_lwnet_t *net, const tn_ip_t *ip);
static bool lwnet_own(const tn_lwnet_t *net, const tn_ip_t *remote,
    tn_ip_t *own);


void
lwnet_udp_in(tn_lwnet_t *net, const uint8_t *packet, const tn_packet_t *p)
{
    int             tries;
    bool            listens;
    size_t          len;
    uint8_t         frame[sizeof(tn_vnet_t) + TN_LWIP_MTU];
    tn_addr_t       local, remote;
    lwnet_flow_t   *flow;
    const uint8_t  *bytes;

    local.ip = p->dst;
    local.port = p->dst_port;
    remote.ip = p->src;
    remote.port = p->src_port;

    if (!lwnet_is_own(net, &p->dst) || remote.port == 0) {
        return;
    }

    bytes = tn_dgram_data(packet, p, &len);

    if (bytes == NULL) {
        return;
    }

    flow = lwnet_flow_find(net, &local, &remote);

    /* once more when nginx has closed the session in the meantime */

    for (tries = 0; tries < 2; tries++) {

        if (flow == NULL) {
            flow = lwnet_flow_accept(net, &local, &remote, &listens);

            if (flow == NULL && listens) {
                return;
            }
        }

        if (flow == NULL) {
            len = tn_icmp_error(frame + sizeof(tn_vnet_t), TN_LWIP_MTU,
                                TN_ICMP_PORT_UNREACHABLE, 0, &p->dst, packet,
                                p);
            if (len != 0) {
                lwnet_emit(net, frame, len);
            }

            return;
        }

        if (send(flow->watch.fd, bytes, len, MSG_DONTWAIT|MSG_NOSIGNAL) != -1
            || errno == EAGAIN)
        {
            lwnet_flow_used(flow);
            return;
        }

        lwnet_flow_close(flow);
        flow = NULL;
    }
}


static lwnet_flow_t *
lwnet_flow_accept(tn_lwnet_t *net, const tn_addr_t *local,
    const tn_addr_t *remote, bool *listens)
{
    int           fd;
    lwnet_port_t  port;

    *listens = lwnet_table_find(net->table, TN_IPC_UDP, local->port,
                                tn_ip_is_v4(&local->ip) ? 4 : 6, &port);

    if (!*listens) {
        return NULL;
    }

    fd = lwnet_socket(net, &port, SOCK_SEQPACKET, remote, local);

    return fd != -1 ? lwnet_flow(net, fd, local, remote) : NULL;
}


void
lwnet_udp_dial(tn_lwnet_t *net, lwnet_order_t *order, const tn_addr_t *to)
{
    int           i, pair[2];
    uint16_t      random;
    tn_addr_t     local;
    lwnet_port_t  port;

    if (!lwnet_own(net, &to->ip, &local.ip)) {
        lwnet_reply(order->fd, order->seq, to, -1, EADDRNOTAVAIL,
                    "the node has no address of that family");
        return;
    }

    for (i = 0; i < LWNET_UDP_TRIES; i++) {

        if (getrandom(&random, sizeof(random), 0)
            != (ssize_t) sizeof(random))
        {
            continue;
        }

        local.port = (uint16_t) (LWNET_UDP_PORT_FIRST
                                 + random % LWNET_UDP_PORTS);

        if (lwnet_flow_find(net, &local, to) == NULL
            && !lwnet_table_find(net->table, TN_IPC_UDP, local.port,
                                 tn_ip_is_v4(&to->ip) ? 4 : 6, &port))
        {
            break;
        }
    }

    if (i == LWNET_UDP_TRIES) {
        lwnet_reply(order->fd, order->seq, to, -1, EADDRNOTAVAIL,
                    "no UDP port left");
        return;
    }

    if (socketpair(AF_UNIX, SOCK_SEQPACKET|SOCK_NONBLOCK|SOCK_CLOEXEC, 0,
                   pair)
        == -1)
    {
        lwnet_reply(order->fd, order->seq, to, -1, errno,
                    "no socket for UDP");
        return;
    }

    /* the first end is the flow's, and closed with it */

    if (lwnet_flow(net, pair[0], &local, to) != NULL) {
        lwnet_reply(order->fd, order->seq, to, pair[1], 0, "");

    } else {
        lwnet_reply(order->fd, order->seq, to, -1, ENOMEM, "out of memory");
    }

    (void) close(pair[1]);
}


void
lwnet_udp_unreachable(tn_lwnet_t *net, const tn_addr_t *local,
    const tn_addr_t *remote)
{
    lwnet_flow_t  *flow;

    flow = lwnet_flow_find(net, local, remote);

    if (flow != NULL) {
        lwnet_flow_close(flow);
    }
}


void
lwnet_udp_done(tn_lwnet_t *net)
{
    while (!tn_list_empty(&net->recent)) {
        lwnet_flow_close(tn_container(net->recent.next, lwnet_flow_t,
                                      recent));
    }

    tn_hash_done(&net->flows);
}


/* --- flows */

static lwnet_flow_t *
lwnet_flow_find(tn_lwnet_t *net, const tn_addr_t *local,
    const tn_addr_t *remote)
{
    tn_hash_node_t  *node;
    lwnet_flow_t     flow;

    memset(&flow.key, 0, sizeof(flow.key));
    flow.key.local = *local;
    flow.key.remote = *remote;

    node = tn_hash_find(&net->flows, &flow.key);

    return node != NULL ? tn_container(node, lwnet_flow_t, node) : NULL;
}


/* takes fd over, also when it fails */
static lwnet_flow_t *
lwnet_flow(tn_lwnet_t *net, int fd, const tn_addr_t *local,
    const tn_addr_t *remote)
{
    lwnet_flow_t  *flow;

    if (net->flows.count >= TN_LWNET_FLOWS) {
        lwnet_flow_close(tn_container(net->recent.next, lwnet_flow_t,
                                      recent));
    }

    flow = calloc(1, sizeof(lwnet_flow_t));

    if (flow == NULL) {
        (void) close(fd);
        return NULL;
    }

    flow->net = net;
    flow->key.local = *local;
    flow->key.remote = *remote;
    flow->node.key = &flow->key;
    flow->watch.fd = fd;
    flow->watch.events = TN_LOOP_READ;
    flow->watch.handler = lwnet_flow_event;
    flow->watch.data = flow;

    if (tn_hash_insert(&net->flows, &flow->node) != TN_OK) {
        (void) close(fd);
        free(flow);
        return NULL;
    }

    tn_list_push(&net->recent, &flow->recent);

    if (tn_loop_watch(net->loop, &flow->watch) != TN_OK) {
        lwnet_flow_close(flow);
        return NULL;
    }

    return flow;
}


static void
lwnet_flow_used(lwnet_flow_t *flow)
{
    tn_list_remove(&flow->recent);
    tn_list_push(&flow->net->recent, &flow->recent);
}


static void
lwnet_flow_close(lwnet_flow_t *flow)
{
    tn_hash_remove(&flow->net->flows, &flow->node);
    tn_list_remove(&flow->recent);
    tn_loop_unwatch(flow->net->loop, &flow->watch);
    (void) close(flow->watch.fd);
    free(flow);
}


static void
lwnet_flow_event(tn_watch_t *watch, uint32_t events)
{
    lwnet_flow_t *flow = watch->data;

    int          i;
    size_t       len, room, max;
    ssize_t      n;
    uint8_t      frame[sizeof(tn_vnet_t) + TN_LWIP_MTU];
    uint8_t     *packet;
    tn_lwnet_t  *net;

    net = flow->net;
    packet = frame + sizeof(tn_vnet_t);
    room = tn_dgram_room(&flow->key.remote);
    max = TN_LWIP_MTU - room;

    lwnet_flow_used(flow);

    for (i = 0; i < LWNET_UDP_ROUNDS; i++) {
        n = recv(flow->watch.fd, packet + room, max, MSG_TRUNC);

        if (n == -1 && errno == EAGAIN) {
            break;
        }

        if (n == -1 || (n == 0 && (events & TN_LOOP_ERROR))) {
            lwnet_flow_close(flow);
            break;
        }

        if ((size_t) n > max) {
            tn_log(net->log, TN_LOG_INFO, "a datagram of %zd bytes is lost: "
                   "stack lwip carries up to %zu", n, max);
            continue;
        }

        len = tn_dgram_build(packet, TN_LWIP_MTU, &flow->key.local,
                             &flow->key.remote, (size_t) n);

        if (len != 0) {
            lwnet_emit(net, frame, len);
        }
    }

    tn_lwip_hold(net->lwip, net->loop->now);
    lwnet_settle(net);
    tn_lwip_release(net->lwip);
}


/* --- own addresses */

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


static bool
lwnet_own(const tn_lwnet_t *net, const tn_ip_t *remote, tn_ip_t *own)
{
    size_t  i;

    for (i = 0; i < net->n_ips; i++) {
        if (tn_ip_is_v4(&net->ips[i]) == tn_ip_is_v4(remote)) {
            *own = net->ips[i];
            return true;
        }
    }

    return false;
}

#endif
