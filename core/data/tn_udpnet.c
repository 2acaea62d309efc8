
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A flow is a pair of addresses and a socket of SOCK_SEQPACKET to nginx,
 * which keeps the bounds of datagrams and says when nginx has closed its
 * session:
 *
 *   from a peer to a listener   nginx accepts the flow like a connection; the
 *                               name of our end says both addresses, so a
 *                               listener of all ports knows which one it was
 *   from nginx to a peer        the flow is one end of a pair, on a free port
 *                               of ours
 *
 * It lives until nginx ends the session by its own timeouts.  With
 * TN_UDPNET_FLOWS of them the one that was idle longest is closed for the
 * next, and with TN_UDPNET_EACH of one remote address that one's: what costs
 * a peer one datagram costs us little, and others nothing.  An empty datagram
 * reads like the end of a SOCK_SEQPACKET, but that end comes with a hangup, if
 * need be after the event that is being handled.
 * A descriptor that comes with a datagram says that the destination has
 * refused the flow (tn_hangup.h): the peer is told by ICMP.
 * A datagram that does not fit into a packet (tn_dgram.h) or into the socket's
 * queue is dropped.
 */

#include "data/tn_udpnet.h"
#include "data/tn_lwnet_int.h"

#include "base/tn_hash.h"
#include "proc/tn_hangup.h"
#include "stack/tn_dgram.h"
#include "wire/tn_icmp.h"

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/random.h>
#include <unistd.h>


#define UDPNET_ROUNDS      64           /* datagrams of a flow in a turn */
#define UDPNET_PORT_FIRST  32768
#define UDPNET_PORTS       28232
#define UDPNET_TRIES       64


/* a remote address that has flows */
typedef struct {
    tn_hash_node_t     node;
    tn_ip_t            ip;
    size_t             n;
    tn_link_t          recent;
} udpnet_source_t;


typedef struct {
    tn_hash_node_t     node;
    tn_link_t          recent;          /* of the net */
    tn_link_t          own;             /* of the source */
    tn_udpnet_t       *net;
    udpnet_source_t   *source;
    tn_watch_t         watch;
    struct {
        tn_addr_t      local;
        tn_addr_t      remote;
    } key;                              /* zeroed before it is filled in */
} udpnet_flow_t;


struct tn_udpnet_s {
    tn_loop_t              *loop;
    tn_lwnet_table_t       *table;
    const tn_udpnet_ops_t  *ops;
    void                   *data;
    tn_log_t               *log;
    tn_hash_t               flows;
    tn_hash_t               sources;
    tn_link_t               recent;     /* the one idle longest first */
};


static udpnet_flow_t *udpnet_find(const tn_udpnet_t *net,
    const tn_addr_t *local, const tn_addr_t *remote);
static udpnet_flow_t *udpnet_flow(tn_udpnet_t *net, int fd,
    const tn_addr_t *local, const tn_addr_t *remote);
static udpnet_source_t *udpnet_source(tn_udpnet_t *net, const tn_ip_t *ip);
static void udpnet_used(udpnet_flow_t *flow);
static void udpnet_close(udpnet_flow_t *flow);
static void udpnet_event(tn_watch_t *watch, uint32_t events);
static bool udpnet_hung_up(const udpnet_flow_t *flow);
static void udpnet_refuse(udpnet_flow_t *flow);


tn_udpnet_t *
tn_udpnet_create(tn_loop_t *loop, tn_lwnet_table_t *table,
    const tn_udpnet_ops_t *ops, void *data, tn_log_t *log)
{
    tn_udpnet_t  *net;

    net = calloc(1, sizeof(tn_udpnet_t));

    if (net == NULL) {
        return NULL;
    }

    net->loop = loop;
    net->table = table;
    net->ops = ops;
    net->data = data;
    net->log = log;
    tn_hash_init(&net->flows, 2 * sizeof(tn_addr_t));
    tn_hash_init(&net->sources, sizeof(tn_ip_t));
    tn_list_init(&net->recent);

    return net;
}


void
tn_udpnet_destroy(tn_udpnet_t *net)
{
    if (net == NULL) {
        return;
    }

    while (!tn_list_empty(&net->recent)) {
        udpnet_close(tn_container(net->recent.next, udpnet_flow_t, recent));
    }

    tn_hash_done(&net->flows);
    tn_hash_done(&net->sources);
    free(net);
}


size_t
tn_udpnet_count(const tn_udpnet_t *net)
{
    return net->flows.count;
}


bool
tn_udpnet_in(tn_udpnet_t *net, const uint8_t *packet, const tn_packet_t *p,
    uint32_t kind)
{
    int             fd, tries;
    size_t          len;
    tn_addr_t       local, remote;
    lwnet_port_t    port;
    udpnet_flow_t  *flow;
    const uint8_t  *bytes;

    local.ip = p->dst;
    local.port = p->dst_port;
    remote.ip = p->src;
    remote.port = p->src_port;

    flow = udpnet_find(net, &local, &remote);

    if (flow == NULL
        && !lwnet_table_find(net->table, TN_IPC_UDP, &local, kind, &port))
    {
        return false;
    }

    bytes = tn_dgram_data(packet, p, &len);

    if (bytes == NULL || remote.port == 0) {
        return true;
    }

    /* once more when nginx has closed the session in the meantime */

    for (tries = 0; tries < 2; tries++) {

        if (flow == NULL) {
            if (tries != 0
                && !lwnet_table_find(net->table, TN_IPC_UDP, &local, kind,
                                     &port))
            {
                return true;
            }

            fd = lwnet_socket(net->log, &port, SOCK_SEQPACKET, &remote,
                              &local);
            flow = fd != -1 ? udpnet_flow(net, fd, &local, &remote) : NULL;

            if (flow == NULL) {
                return true;
            }
        }

        if (send(flow->watch.fd, bytes, len, MSG_DONTWAIT|MSG_NOSIGNAL) != -1
            || errno == EAGAIN)
        {
            udpnet_used(flow);
            return true;
        }

        udpnet_close(flow);
        flow = NULL;
    }

    return true;
}


bool
tn_udpnet_has(const tn_udpnet_t *net, const tn_packet_t *p)
{
    tn_addr_t  local, remote;

    local.ip = p->dst;
    local.port = p->dst_port;
    remote.ip = p->src;
    remote.port = p->src_port;

    return udpnet_find(net, &local, &remote) != NULL;
}


int
tn_udpnet_dial(tn_udpnet_t *net, const tn_ip_t *own, const tn_addr_t *to)
{
    int           i, pair[2];
    uint16_t      random;
    tn_addr_t     local;
    lwnet_port_t  port;

    local.ip = *own;

    for (i = 0; i < UDPNET_TRIES; i++) {

        if (getrandom(&random, sizeof(random), 0)
            != (ssize_t) sizeof(random))
        {
            continue;
        }

        local.port = (uint16_t) (UDPNET_PORT_FIRST + random % UDPNET_PORTS);

        if (udpnet_find(net, &local, to) == NULL
            && !lwnet_table_find(net->table, TN_IPC_UDP, &local, 0, &port))
        {
            break;
        }
    }

    if (i == UDPNET_TRIES) {
        errno = EADDRNOTAVAIL;
        return -1;
    }

    if (socketpair(AF_UNIX, SOCK_SEQPACKET|SOCK_NONBLOCK|SOCK_CLOEXEC, 0,
                   pair)
        == -1)
    {
        return -1;
    }

    /* the first end is the flow's, and closed with it */

    if (udpnet_flow(net, pair[0], &local, to) == NULL) {
        (void) close(pair[1]);
        errno = ENOMEM;
        return -1;
    }

    return pair[1];
}


void
tn_udpnet_unreachable(tn_udpnet_t *net, const tn_addr_t *local,
    const tn_addr_t *remote)
{
    udpnet_flow_t  *flow;

    flow = udpnet_find(net, local, remote);

    if (flow != NULL) {
        udpnet_close(flow);
    }
}


/* --- flows */

static udpnet_flow_t *
udpnet_find(const tn_udpnet_t *net, const tn_addr_t *local,
    const tn_addr_t *remote)
{
    tn_hash_node_t  *node;
    udpnet_flow_t    flow;

    memset(&flow.key, 0, sizeof(flow.key));
    flow.key.local = *local;
    flow.key.remote = *remote;

    node = tn_hash_find(&net->flows, &flow.key);

    return node != NULL ? tn_container(node, udpnet_flow_t, node) : NULL;
}


/* takes fd over, also when it fails */
static udpnet_flow_t *
udpnet_flow(tn_udpnet_t *net, int fd, const tn_addr_t *local,
    const tn_addr_t *remote)
{
    udpnet_flow_t    *flow;
    udpnet_source_t  *source;

    if (net->flows.count >= TN_UDPNET_FLOWS) {
        udpnet_close(tn_container(net->recent.next, udpnet_flow_t, recent));
    }

    source = udpnet_source(net, &remote->ip);
    flow = calloc(1, sizeof(udpnet_flow_t));

    if (source == NULL || flow == NULL) {
        goto failed;
    }

    flow->net = net;
    flow->source = source;
    flow->key.local = *local;
    flow->key.remote = *remote;
    flow->node.key = &flow->key;
    flow->watch.fd = fd;
    flow->watch.events = TN_LOOP_READ;
    flow->watch.handler = udpnet_event;
    flow->watch.data = flow;

    if (tn_hash_insert(&net->flows, &flow->node) != TN_OK) {
        goto failed;
    }

    tn_list_push(&net->recent, &flow->recent);
    tn_list_push(&source->recent, &flow->own);
    source->n++;

    if (tn_loop_watch(net->loop, &flow->watch) != TN_OK) {
        udpnet_close(flow);
        return NULL;
    }

    return flow;

failed:

    if (source != NULL && source->n == 0) {
        tn_hash_remove(&net->sources, &source->node);
        free(source);
    }

    (void) close(fd);
    free(flow);

    return NULL;
}


/* with room for one more */
static udpnet_source_t *
udpnet_source(tn_udpnet_t *net, const tn_ip_t *ip)
{
    tn_hash_node_t   *node;
    udpnet_source_t  *source;

    node = tn_hash_find(&net->sources, ip);

    if (node != NULL) {
        source = tn_container(node, udpnet_source_t, node);

        if (source->n >= TN_UDPNET_EACH) {
            udpnet_close(tn_container(source->recent.next, udpnet_flow_t,
                                      own));
        }

        return source;
    }

    source = calloc(1, sizeof(udpnet_source_t));

    if (source == NULL) {
        return NULL;
    }

    source->ip = *ip;
    source->node.key = &source->ip;
    tn_list_init(&source->recent);

    if (tn_hash_insert(&net->sources, &source->node) != TN_OK) {
        free(source);
        return NULL;
    }

    return source;
}


static void
udpnet_used(udpnet_flow_t *flow)
{
    tn_list_remove(&flow->recent);
    tn_list_push(&flow->net->recent, &flow->recent);
    tn_list_remove(&flow->own);
    tn_list_push(&flow->source->recent, &flow->own);
}


static void
udpnet_close(udpnet_flow_t *flow)
{
    udpnet_source_t  *source;

    source = flow->source;

    tn_hash_remove(&flow->net->flows, &flow->node);
    tn_list_remove(&flow->recent);
    tn_list_remove(&flow->own);

    if (--source->n == 0) {
        tn_hash_remove(&flow->net->sources, &source->node);
        free(source);
    }

    tn_loop_unwatch(flow->net->loop, &flow->watch);
    (void) close(flow->watch.fd);
    free(flow);
}


static void
udpnet_event(tn_watch_t *watch, uint32_t events)
{
    udpnet_flow_t *flow = watch->data;

    int           i;
    size_t        len, room, max;
    bool          refused;
    ssize_t       n;
    uint8_t       frame[sizeof(tn_vnet_t) + TN_UDPNET_MTU];
    uint8_t      *packet;
    tn_udpnet_t  *net;

    net = flow->net;
    packet = frame + sizeof(tn_vnet_t);
    room = tn_dgram_room(&flow->key.remote);
    max = TN_UDPNET_MTU - room;

    udpnet_used(flow);

    for (i = 0; i < UDPNET_ROUNDS; i++) {
        n = tn_hangup_recv(flow->watch.fd, packet + room, max, &refused);

        if (n == -1 && errno == EAGAIN) {
            break;
        }

        /* nginx left something unread: said before what it has sent */

        if (n == -1 && errno == ECONNRESET) {
            continue;
        }

        if (n == -1 || refused
            || (n == 0
                && ((events & TN_LOOP_ERROR) || udpnet_hung_up(flow))))
        {
            if (refused) {
                udpnet_refuse(flow);
            }

            udpnet_close(flow);
            break;
        }

        if ((size_t) n > max) {
            tn_log(net->log, TN_LOG_INFO, "a datagram of %zd bytes is lost: "
                   "up to %zu fit into a packet", n, max);
            continue;
        }

        len = tn_dgram_build(packet, TN_UDPNET_MTU, &flow->key.local,
                             &flow->key.remote, (size_t) n);

        if (len != 0) {
            memset(frame, 0, sizeof(tn_vnet_t));
            net->ops->frame(net->data, frame, sizeof(tn_vnet_t) + len);
        }
    }

    net->ops->done(net->data);
}


/* nginx may close right behind its last datagram */
static bool
udpnet_hung_up(const udpnet_flow_t *flow)
{
    struct pollfd  pfd;

    pfd.fd = flow->watch.fd;
    pfd.events = 0;

    return poll(&pfd, 1, 0) == 1;
}


/* as of a datagram of the peer, of which this quotes nothing but the ports */
static void
udpnet_refuse(udpnet_flow_t *flow)
{
    size_t        len;
    uint8_t       lost[TN_IP6_HEADER_LEN + TN_UDP_HEADER_LEN];
    uint8_t       frame[sizeof(tn_vnet_t) + TN_UDPNET_MTU];
    tn_packet_t   p;
    tn_udpnet_t  *net;

    net = flow->net;

    len = tn_dgram_build(lost, sizeof(lost), &flow->key.remote,
                         &flow->key.local, 0);

    if (len == 0 || tn_packet_parse(&p, lost, len) != TN_OK) {
        return;
    }

    len = tn_icmp_error(frame + sizeof(tn_vnet_t), TN_UDPNET_MTU,
                        TN_ICMP_PORT_UNREACHABLE, 0, &p.dst, lost, &p);

    if (len != 0) {
        memset(frame, 0, sizeof(tn_vnet_t));
        net->ops->frame(net->data, frame, sizeof(tn_vnet_t) + len);
    }
}
