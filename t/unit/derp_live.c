
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Two path machines on loopback sockets and a real derper: DERP, STUN and
 * disco as they are on a wire.  Run by t/derp.t with the ports of the derper;
 * alone it has nothing to talk to.
 */

#include "tap.h"

#include "crypto/tn_curve.h"
#include "path/tn_path.h"

#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>


#define REGION  7

typedef struct node_s  node_t;

struct node_s {
    const char      *name;
    int              udp;
    int              tcp;           /* -1: none */
    bool             opening;
    bool             deaf;          /* its UDP is dropped */
    uint16_t         derp_port;
    tn_addr_t        addr;
    tn_keypair_t     node;
    tn_keypair_t     disco;
    tn_timers_t      timers;
    tn_log_t         log;
    tn_path_t       *path;
    tn_path_peer_t  *peer;
    tn_endpoint_t    endpoints[TN_ENDPOINTS_MAX];
    size_t           nendpoints;
    tn_netinfo_t     netinfo;
    unsigned         got_udp;
    unsigned         got_derp;
    size_t           longest;
};


static node_t  nodes[2];


static tn_ms_t
clock_ms(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (tn_ms_t) ts.tv_sec * 1000 + (tn_ms_t) ts.tv_nsec / 1000000;
}


static tn_rc_t
on_send_udp(void *data, const tn_addr_t *to, const uint8_t *bytes, size_t len)
{
    size_t                   n;
    node_t                  *node = data;
    struct sockaddr_storage  ss;

    if (node->deaf) {
        return TN_OK;
    }

    n = tn_addr_to_sockaddr(to, &ss);

    return sendto(node->udp, bytes, len, 0, (struct sockaddr *) &ss,
                  (socklen_t) n)
           < 0 ? TN_ERROR : TN_OK;
}


static void
on_derp_open(void *data, uint32_t region, const tn_derpmap_node_t *relay)
{
    node_t              *node = data;
    struct sockaddr_in   sin;

    (void) region;
    (void) relay;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(node->derp_port);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);

    node->tcp = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
    (void) connect(node->tcp, (struct sockaddr *) &sin, sizeof(sin));
    node->opening = true;
}


static tn_rc_t
on_derp_write(void *data, uint32_t region, const uint8_t *head,
    size_t head_len, const uint8_t *body, size_t body_len)
{
    node_t  *node = data;

    (void) region;

    /* little enough for the socket's buffer */

    if (send(node->tcp, head, head_len,
             MSG_NOSIGNAL | (body_len ? MSG_MORE : 0))
        != (ssize_t) head_len)
    {
        return TN_AGAIN;
    }

    return body_len == 0
           || send(node->tcp, body, body_len, MSG_NOSIGNAL)
              == (ssize_t) body_len
           ? TN_OK : TN_AGAIN;
}


static void
on_derp_close(void *data, uint32_t region)
{
    node_t  *node = data;

    (void) region;

    if (node->tcp != -1) {
        (void) close(node->tcp);
        node->tcp = -1;
    }
}


static void
on_wireguard(void *data, tn_ms_t now, const tn_path_from_t *from,
    uint8_t *bytes, size_t len, bool lasts)
{
    node_t  *node = data;

    (void) bytes;
    (void) lasts;

    tn_path_received(node->peer, now,
                     from->region == 0 ? &from->addr : NULL);
    node->got_udp += from->region == 0;
    node->got_derp += from->region == REGION;
    node->longest = tn_max(node->longest, len);
}


static void
on_resolve(void *data, uint32_t id, const char *host)
{
    node_t  *node = data;

    (void) host;
    tn_path_resolved(node->path, clock_ms(), id, NULL, 0);
}


static void
on_endpoints(void *data, tn_ms_t now, const tn_endpoint_t *endpoints,
    size_t n)
{
    node_t  *node = data;

    (void) now;
    memcpy(node->endpoints, endpoints, n * sizeof(tn_endpoint_t));
    node->nendpoints = n;
}


static void
on_netinfo(void *data, tn_ms_t now, const tn_netinfo_t *netinfo)
{
    node_t  *node = data;

    (void) now;
    node->netinfo = *netinfo;
}


static const tn_path_ops_t  ops = {
    .send_udp = on_send_udp,
    .derp_open = on_derp_open,
    .derp_write = on_derp_write,
    .derp_close = on_derp_close,
    .wireguard = on_wireguard,
    .resolve = on_resolve,
    .endpoints = on_endpoints,
    .netinfo = on_netinfo
};


static void
on_log(tn_log_t *log, tn_log_level_e level, const char *line, size_t len)
{
    node_t  *node = log->data;

    (void) level;
    printf("# %s: %.*s\n", node->name, (int) len, line);
}


static void
node_udp(node_t *node)
{
    ssize_t                  n;
    uint8_t                  bytes[65536];
    socklen_t                len;
    tn_addr_t                from;
    tn_path_from_t           source;
    struct sockaddr_storage  ss;

    len = sizeof(ss);
    n = recvfrom(node->udp, bytes, sizeof(bytes), MSG_DONTWAIT,
                 (struct sockaddr *) &ss, &len);

    if (n < 0 || node->deaf || tn_addr_from_sockaddr(&from, &ss) != TN_OK) {
        return;
    }

    if (tn_path_is_wireguard(bytes, (size_t) n)
        || !tn_path_udp(node->path, clock_ms(), &from, bytes, (size_t) n))
    {
        memset(&source, 0, sizeof(source));
        source.addr = from;
        on_wireguard(node, clock_ms(), &source, bytes, (size_t) n,
                     false);
    }
}


static void
node_tcp(node_t *node)
{
    int        error;
    ssize_t    n;
    uint8_t    bytes[65536];
    socklen_t  len;

    if (node->opening) {
        len = sizeof(error);
        (void) getsockopt(node->tcp, SOL_SOCKET, SO_ERROR, &error, &len);
        node->opening = false;

        if (error == 0) {
            tn_path_derp_opened(node->path, clock_ms(), REGION, NULL);
            return;
        }

        n = 0;

    } else {
        n = recv(node->tcp, bytes, sizeof(bytes), MSG_DONTWAIT);

        if (n < 0 && errno == EAGAIN) {
            return;
        }
    }

    if (n <= 0) {
        (void) close(node->tcp);
        node->tcp = -1;
        tn_path_derp_closed(node->path, clock_ms(), REGION, "end of stream");
        return;
    }

    tn_path_derp_bytes(node->path, clock_ms(), REGION, bytes, (size_t) n);
}


static void
run(tn_ms_t ms)
{
    tn_ms_t        now, until, next;
    unsigned       i;
    struct pollfd  fds[4];

    until = clock_ms() + ms;

    while ((now = clock_ms()) < until) {
        next = until;

        for (i = 0; i < 2; i++) {
            tn_timers_run(&nodes[i].timers, now);
            next = tn_min(next, tn_timers_next(&nodes[i].timers));
            fds[2 * i].fd = nodes[i].udp;
            fds[2 * i].events = POLLIN;
            fds[2 * i + 1].fd = nodes[i].tcp;
            fds[2 * i + 1].events = nodes[i].opening ? POLLOUT : POLLIN;
        }

        if (poll(fds, 4, next > now ? (int) (next - now) : 0) <= 0) {
            continue;
        }

        for (i = 0; i < 2; i++) {
            if (fds[2 * i].revents != 0) {
                node_udp(&nodes[i]);
            }

            if (fds[2 * i + 1].fd != -1 && fds[2 * i + 1].revents != 0
                && nodes[i].tcp == fds[2 * i + 1].fd)
            {
                node_tcp(&nodes[i]);
            }
        }
    }
}


static void
node_send(node_t *node, size_t len)
{
    tn_ms_t          now;
    uint8_t          bytes[65536];
    tn_path_route_t  route;

    now = clock_ms();
    memset(bytes, 0, len);
    bytes[0] = 4;

    tn_path_route(node->peer, now, &route);

    if (route.udp.port != 0) {
        (void) on_send_udp(node, &route.udp, bytes, len);
    }

    if (route.derp != 0) {
        (void) tn_path_send_derp(node->peer, now, route.derp, bytes, len);
    }

    tn_path_sent(node->peer, now);
}


static bool
node_create(node_t *node, const char *name, const tn_derpmap_t *map,
    uint16_t derp_port)
{
    socklen_t                len;
    struct sockaddr_in       sin;
    struct sockaddr_storage  ss;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    len = sizeof(ss);

    node->name = name;
    node->tcp = -1;
    node->derp_port = derp_port;
    node->udp = socket(AF_INET, SOCK_DGRAM, 0);

    if (bind(node->udp, (struct sockaddr *) &sin, sizeof(sin)) != 0
        || getsockname(node->udp, (struct sockaddr *) &ss, &len) != 0
        || tn_addr_from_sockaddr(&node->addr, &ss) != TN_OK)
    {
        return false;
    }

    tn_curve_keypair(&node->node);
    tn_curve_keypair(&node->disco);
    tn_timers_init(&node->timers);
    node->log.level = TN_LOG_INFO;
    node->log.write = on_log;
    node->log.data = node;

    node->path = tn_path_create(&ops, node, &node->node, &node->disco,
                                &node->timers, &node->log);

    if (node->path == NULL
        || tn_path_set_derpmap(node->path, clock_ms(), map) != TN_OK)
    {
        return false;
    }

    tn_path_set_local(node->path, clock_ms(), &node->addr, 1,
                      node->addr.port, 0);
    tn_path_start(node->path, clock_ms());

    return true;
}


/* as control would: without endpoints, so that it takes a CallMeMaybe */
static void
node_know(node_t *node, const node_t *other)
{
    tn_path_peer_conf_t  conf;

    memset(&conf, 0, sizeof(conf));
    conf.node_key = other->node.pub;
    conf.disco_key = other->disco.pub;
    conf.home_derp = other->netinfo.preferred_derp;

    node->peer = tn_path_peer_add(node->path, clock_ms(), &conf, NULL);
}


int
main(int argc, char **argv)
{
    unsigned              i;
    tn_ms_t               start;
    tn_derpmap_t         *map;
    tn_derpmap_node_t    *relay;
    tn_derpmap_region_t  *region;

    if (argc != 3) {
        printf("1..0 # SKIP run by t/derp.t\n");
        return 0;
    }

    (void) tn_crypto_init();

    map = tn_derpmap_create();
    region = tn_derpmap_add_region(map, REGION);
    relay = tn_derpmap_add_node(region);
    (void) tn_derpmap_set_string(&relay->name, "7a", 2);
    (void) tn_derpmap_set_string(&relay->hostname, "127.0.0.1", 9);
    relay->stun_port = atoi(argv[2]);

    for (i = 0; i < 2; i++) {
        if (!node_create(&nodes[i], i ? "b" : "a", map,
                         (uint16_t) atoi(argv[1])))
        {
            printf("Bail out! no sockets\n");
            return 1;
        }
    }

    start = clock_ms();

    while ((nodes[0].netinfo.preferred_derp == 0
            || nodes[1].netinfo.preferred_derp == 0
            || !tn_path_derp_is_up(nodes[0].path, REGION)
            || !tn_path_derp_is_up(nodes[1].path, REGION))
           && clock_ms() - start < 30000)
    {
        run(10);
    }

    is_int(nodes[0].netinfo.preferred_derp, REGION, "derper is home");
    is_int(nodes[0].netinfo.working_udp, TN_YES, "its STUN has answered");
    ok(nodes[0].nendpoints == 1
       && tn_addr_equal(&nodes[0].endpoints[0].addr, &nodes[0].addr)
       && nodes[0].endpoints[0].type == TN_ENDPOINT_STUN,
       "with our own address");
    printf("# after %llu ms\n", (unsigned long long) (clock_ms() - start));

    /* DERP alone, both ways */

    nodes[0].deaf = true;
    node_know(&nodes[0], &nodes[1]);
    node_know(&nodes[1], &nodes[0]);

    for (i = 0; i < 20; i++) {
        node_send(&nodes[0], 1400);
        node_send(&nodes[1], 32);
        run(10);
    }

    node_send(&nodes[0], 60000);
    start = clock_ms();

    while ((nodes[0].got_derp < 20 || nodes[1].got_derp < 21)
           && clock_ms() - start < 10000)
    {
        run(10);
    }

    run(200);
    ok(nodes[0].got_derp == 20 && nodes[1].got_derp == 21,
       "packets through derper: %u and %u", nodes[0].got_derp,
       nodes[1].got_derp);
    is_int((long long) nodes[1].longest, 60000, "a long one too");
    is_int(nodes[0].got_udp + nodes[1].got_udp, 0, "nothing by UDP");

    /* UDP works now: CallMeMaybe by DERP, then direct */

    nodes[0].deaf = false;
    start = clock_ms();

    while ((tn_path_kind(nodes[0].peer, clock_ms()) != TN_PATH_DIRECT
            || tn_path_kind(nodes[1].peer, clock_ms()) != TN_PATH_DIRECT)
           && clock_ms() - start < 60000)
    {
        node_send(&nodes[0], 100);
        node_send(&nodes[1], 100);
        run(100);
    }

    ok(tn_path_kind(nodes[0].peer, clock_ms()) == TN_PATH_DIRECT
       && tn_path_kind(nodes[1].peer, clock_ms()) == TN_PATH_DIRECT,
       "direct after CallMeMaybe, in %llu ms",
       (unsigned long long) (clock_ms() - start));

    /* what is still under way by DERP */

    run(1000);
    nodes[1].got_udp = 0;
    nodes[1].got_derp = 0;

    for (i = 0; i < 10; i++) {
        node_send(&nodes[0], 100);
        run(10);
    }

    start = clock_ms();

    while (nodes[1].got_udp < 10 && clock_ms() - start < 10000) {
        run(10);
    }

    run(100);
    is_int(nodes[1].got_udp, 10, "packets go by UDP");
    is_int(nodes[1].got_derp, 0, "and by UDP alone");

    for (i = 0; i < 2; i++) {
        tn_path_destroy(nodes[i].path);
        tn_timers_done(&nodes[i].timers);
        (void) close(nodes[i].udp);

        if (nodes[i].tcp != -1) {
            (void) close(nodes[i].tcp);
        }
    }

    tn_derpmap_free(map);

    return tap_done();
}
