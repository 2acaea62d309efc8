
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A connection is closed at once when its source is no peer's own address, or
 * over a limit.  One request is read from it, exactly up to the end of its
 * head: what follows belongs to whom the socket is passed on to.  A request
 * that is not passed on is answered once, and the connection closed.
 *
 * A listener is a socket of the pool, so it lives in the node's namespace
 * and outlives its holder; with lwIP it is an AF_UNIX one that the stack
 * connects to, whose peers' names say the addresses.
 */

#include "run/tn_nodeapi_int.h"

#include "host/tn_scarce.h"
#include "host/tn_sockname.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>


#define TN_NODEAPI_BACKLOG   1024
#define TN_NODEAPI_ACCEPTS   64         /* of one turn of the loop */
#define TN_NODEAPI_PAUSE_MS  1000       /* without descriptors */
#define TN_NODEAPI_LOG_MS    1000       /* between lines about refusals */
#define TN_NODEAPI_CAP       "https://tailscale.com/cap/ingress"


static void nodeapi_listen(nodeapi_listener_t *l);
static void nodeapi_socket(tn_pool_waiter_t *waiter, int fd);
static bool nodeapi_bind(nodeapi_listener_t *l, int fd);
static int nodeapi_bind_unix(nodeapi_listener_t *l);
static void nodeapi_close(nodeapi_listener_t *l);
static void nodeapi_accept(tn_watch_t *watch, uint32_t events);
static void nodeapi_resume(void *data, tn_ms_t now);
static void nodeapi_start(tn_nodeapi_t *api, int fd);
static bool nodeapi_names(tn_nodeapi_t *api, int fd, tn_addr_t *remote,
    tn_addr_t *local);
static bool nodeapi_names_unix(int fd, tn_addr_t *remote, tn_addr_t *local);
static size_t nodeapi_of_peer(tn_nodeapi_t *api, int64_t id);
static void nodeapi_read(tn_watch_t *watch, uint32_t events);
static void nodeapi_timeout(void *data, tn_ms_t now);
static void nodeapi_request(nodeapi_conn_t *conn,
    const tn_peerapi_request_t *request);
static void nodeapi_greet(nodeapi_conn_t *conn, const tn_netmap_node_t *peer,
    bool head);
static void nodeapi_ingress(nodeapi_conn_t *conn,
    const tn_peerapi_request_t *request);
static void nodeapi_cap(void *data, const char *name, const char *json);
static void nodeapi_escape(char *dst, size_t size, const char *text);


tn_nodeapi_t *
tn_nodeapi_create(tn_loop_t *loop, tn_pool_t *pool, tn_lwnet_table_t *lwip,
    const tn_nodeapi_ops_t *ops, void *data, const char *name,
    tn_log_t *log)
{
    size_t               i;
    tn_nodeapi_t        *api;
    nodeapi_listener_t  *l;

    api = calloc(1, sizeof(tn_nodeapi_t));
    if (api == NULL) {
        return NULL;
    }

    api->loop = loop;
    api->pool = pool;
    api->lwip = lwip;
    api->ops = ops;
    api->data = data;
    api->name = name;
    api->log = log;
    tn_list_init(&api->conns);
    tn_timer_init(&api->pause, nodeapi_resume, api);

    for (i = 0; i < 2; i++) {
        l = &api->listener[i];
        l->api = api;
        l->watch.fd = -1;
        l->watch.events = TN_LOOP_READ;
        l->watch.handler = nodeapi_accept;
        l->watch.data = l;
        l->waiter.ready = nodeapi_socket;
        tn_list_init(&l->waiter.link);
    }

    return api;
}


void
tn_nodeapi_destroy(tn_nodeapi_t *api)
{
    if (api == NULL) {
        return;
    }

    while (!tn_list_empty(&api->conns)) {
        nodeapi_free(tn_container(api->conns.next, nodeapi_conn_t, link));
    }

    nodeapi_close(&api->listener[0]);
    nodeapi_close(&api->listener[1]);
    tn_timer_cancel(&api->loop->timers, &api->pause);
    nodeapi_dns_done(api);
    free(api);
}


void
tn_nodeapi_node(tn_nodeapi_t *api, tn_node_t *node)
{
    api->node = node;
}


const tn_nodeapi_stats_t *
tn_nodeapi_stats(const tn_nodeapi_t *api)
{
    return &api->stats;
}


/* --- listeners */

void
tn_nodeapi_addresses(tn_nodeapi_t *api, const tn_ip_t *ips, size_t n)
{
    size_t               i, k;
    tn_ip_t              own;
    nodeapi_listener_t  *l;

    api->n_ips = tn_min(n, TN_IPC_ADDRS);
    memcpy(api->ips, ips, api->n_ips * sizeof(tn_ip_t));

    for (i = 0; i < 2; i++) {
        l = &api->listener[i];
        memset(&own, 0, sizeof(own));

        for (k = 0; k < api->n_ips; k++) {
            if (tn_ip_is_v4(&api->ips[k]) == (i == 0)) {
                own = api->ips[k];
                break;
            }
        }

        if (tn_ip_equal(&own, &l->addr.ip)) {
            continue;
        }

        nodeapi_close(l);
        l->addr.ip = own;

        if (!tn_ip_is_none(&own)) {
            nodeapi_listen(l);
        }
    }

    tn_nodeapi_announce(api);
}


static void
nodeapi_listen(nodeapi_listener_t *l)
{
    int  fd;

    if (l->api->lwip != NULL) {
        nodeapi_socket(&l->waiter, nodeapi_bind_unix(l));
        return;
    }

    l->waiter.family = tn_ip_is_v4(&l->addr.ip) ? 4 : 6;
    l->waiter.proto = TN_IPC_TCP;

    fd = tn_pool_take(l->api->pool, l->waiter.family, TN_IPC_TCP);

    if (fd == -1) {
        tn_pool_wait(l->api->pool, &l->waiter);
        return;
    }

    nodeapi_socket(&l->waiter, fd);
}


static void
nodeapi_socket(tn_pool_waiter_t *waiter, int fd)
{
    char                 text[TN_ADDR_TEXT];
    nodeapi_listener_t  *l;

    l = tn_container(waiter, nodeapi_listener_t, waiter);

    if (fd == -1) {
        return;
    }

    l->watch.fd = fd;

    if ((l->api->lwip == NULL && !nodeapi_bind(l, fd))
        || listen(fd, TN_NODEAPI_BACKLOG) == -1
        || tn_loop_watch(l->api->loop, &l->watch) != TN_OK)
    {
        tn_log(l->api->log, TN_LOG_ERR, "\"%s\": PeerAPI: no listener on %s "
               "(%d: %s)", l->api->name, tn_ip_text(&l->addr.ip, text), errno,
               strerror(errno));

        (void) close(fd);
        l->watch.fd = -1;
        l->addr.port = 0;
        return;
    }

    tn_log(l->api->log, TN_LOG_INFO, "\"%s\": PeerAPI: listens on %s",
           l->api->name, tn_addr_text(&l->addr, text));

    tn_nodeapi_announce(l->api);
}


/* the address may be on the interface only in a moment */

static bool
nodeapi_bind(nodeapi_listener_t *l, int fd)
{
    int                      on;
    unsigned                 try;
    socklen_t                len;
    struct sockaddr_storage  ss;

    on = 1;

    (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));

    if (tn_ip_is_v4(&l->addr.ip)) {
        (void) setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on));

    } else {
        (void) setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on));
        (void) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }

    /* nginx may have taken a port; the last choice is the kernel's */

    for (try = 0; try <= TN_PEERAPI_TRIES; try++) {
        l->addr.port = try < TN_PEERAPI_TRIES
                       ? tn_peerapi_port(&l->addr.ip, try) : 0;

        len = (socklen_t) tn_addr_to_sockaddr(&l->addr, &ss);

        if (bind(fd, (struct sockaddr *) &ss, len) == 0) {
            return tn_sockname(fd, &l->addr) == TN_OK;
        }
    }

    return false;
}


static int
nodeapi_bind_unix(nodeapi_listener_t *l)
{
    int                 fd;
    uint16_t            family;
    unsigned            try;
    struct sockaddr_un  un;

    family = tn_ip_is_v4(&l->addr.ip) ? 4 : 6;
    try = 0;

    do {
        if (try == TN_PEERAPI_TRIES) {
            errno = EADDRINUSE;
            return -1;
        }

        l->addr.port = tn_peerapi_port(&l->addr.ip, try++);

    } while (tn_lwnet_table_listens(l->api->lwip, TN_IPC_TCP, l->addr.port,
                                    family));

    fd = socket(AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (fd == -1) {
        return -1;
    }

    memset(&un, 0, sizeof(un));
    un.sun_family = AF_UNIX;

    /* a name of the kernel's choice */

    if (bind(fd, (struct sockaddr *) &un, sizeof(un.sun_family)) == -1
        || tn_lwnet_table_listen(l->api->lwip, TN_IPC_TCP, l->addr.port,
                                 family, TN_LWNET_CORE, fd)
           != TN_OK)
    {
        (void) close(fd);
        return -1;
    }

    return fd;
}


void
tn_nodeapi_yield(tn_nodeapi_t *api, uint16_t port, uint16_t family)
{
    nodeapi_listener_t  *l;

    l = &api->listener[family == 6];

    if (api->lwip == NULL || l->watch.fd == -1 || l->addr.port != port) {
        return;
    }

    tn_loop_unwatch(api->loop, &l->watch);
    (void) close(l->watch.fd);
    l->watch.fd = -1;

    nodeapi_listen(l);
    tn_nodeapi_announce(api);
}


static void
nodeapi_close(nodeapi_listener_t *l)
{
    tn_pool_cancel(&l->waiter);
    tn_loop_unwatch(l->api->loop, &l->watch);

    if (l->watch.fd != -1) {
        (void) close(l->watch.fd);
        l->watch.fd = -1;

        if (l->api->lwip != NULL) {
            tn_lwnet_table_unlisten(l->api->lwip, TN_IPC_TCP, l->addr.port,
                                    tn_ip_is_v4(&l->addr.ip) ? 4 : 6, 0);
        }
    }

    memset(&l->addr, 0, sizeof(l->addr));
}


/* control tells the peers, the packet filter lets them in */

void
tn_nodeapi_announce(tn_nodeapi_t *api)
{
    size_t                n, i;
    tn_addr_t             addrs[2];
    tn_control_service_t  services[3];

    if (api->node == NULL || tn_node_control(api->node) == NULL) {
        return;
    }

    n = 0;

    for (i = 0; i < 2; i++) {
        if (api->listener[i].watch.fd != -1) {
            addrs[n] = api->listener[i].addr;
            services[n].proto = i == 0 ? "peerapi4" : "peerapi6";
            services[n].port = addrs[n].port;
            n++;
        }
    }

    if (tn_node_data(api->node) != NULL) {
        (void) tn_data_peerapi(tn_node_data(api->node), addrs, n);
    }

    /* upstream: the port is a version */

    if (n != 0 && nodeapi_dns_serves(api)) {
        services[n].proto = "peerapi-dns-proxy";
        services[n].port = 1;
        n++;
    }

    tn_control_set_services(tn_node_control(api->node), services, n);
}


/* --- connections */

static void
nodeapi_accept(tn_watch_t *watch, uint32_t events)
{
    int                  fd, i;
    tn_nodeapi_t        *api;
    nodeapi_listener_t  *l;

    (void) events;

    l = watch->data;
    api = l->api;

    for (i = 0; i < TN_NODEAPI_ACCEPTS; i++) {
        fd = tn_scarce_spare(accept4(watch->fd, NULL, NULL,
                                     SOCK_NONBLOCK|SOCK_CLOEXEC));

        if (fd != -1) {
            nodeapi_start(api, fd);
            continue;
        }

        if (errno == EAGAIN) {
            return;
        }

        if (errno != EINTR && errno != ECONNABORTED) {
            tn_log(api->log, TN_LOG_ALERT, "\"%s\": PeerAPI: accept4() failed "
                   "(%d: %s)", api->name, errno, strerror(errno));

            tn_loop_unwatch(api->loop, watch);
            (void) tn_timer_set(&api->loop->timers, &api->pause,
                                api->loop->now + TN_NODEAPI_PAUSE_MS);
            return;
        }
    }
}


static void
nodeapi_resume(void *data, tn_ms_t now)
{
    tn_nodeapi_t *api = data;

    size_t  i;

    (void) now;

    for (i = 0; i < 2; i++) {
        if (api->listener[i].watch.fd != -1) {
            (void) tn_loop_watch(api->loop, &api->listener[i].watch);
        }
    }
}


static void
nodeapi_start(tn_nodeapi_t *api, int fd)
{
    tn_addr_t                remote, local;
    nodeapi_conn_t          *conn;
    const tn_netmap_node_t  *peer;

    memset(&remote, 0, sizeof(remote));

    peer = nodeapi_names(api, fd, &remote, &local)
           ? nodeapi_peer(api, &remote.ip) : NULL;

    if (peer == NULL) {
        api->stats.unknown++;
        nodeapi_refused(api, &remote, "it is no peer");
        (void) close(fd);
        return;
    }

    conn = api->n_conns < TN_NODEAPI_CONNS
           && nodeapi_of_peer(api, peer->id) < TN_NODEAPI_PEER_MAX
           ? malloc(sizeof(nodeapi_conn_t)) : NULL;

    if (conn == NULL) {
        api->stats.crowded++;
        nodeapi_refused(api, &remote, "too many requests at a time");
        (void) close(fd);
        return;
    }

    memset(conn, 0, offsetof(nodeapi_conn_t, head));
    conn->api = api;
    conn->remote = remote;
    conn->local = local;
    conn->peer = peer->id;
    conn->watch.fd = fd;
    conn->watch.events = TN_LOOP_READ;
    conn->watch.handler = nodeapi_read;
    conn->watch.data = conn;
    tn_timer_init(&conn->timer, nodeapi_timeout, conn);

    tn_list_push(&api->conns, &conn->link);
    api->n_conns++;
    api->stats.accepted++;

    if (tn_timer_set(&api->loop->timers, &conn->timer,
                     api->loop->now + TN_NODEAPI_HEAD_MS)
        != TN_OK
        || tn_loop_watch(api->loop, &conn->watch) != TN_OK)
    {
        nodeapi_free(conn);
    }
}


static bool
nodeapi_names(tn_nodeapi_t *api, int fd, tn_addr_t *remote, tn_addr_t *local)
{
    socklen_t                len;
    struct sockaddr_storage  ss;

    if (api->lwip != NULL) {
        return nodeapi_names_unix(fd, remote, local);
    }

    len = sizeof(ss);

    if (getpeername(fd, (struct sockaddr *) &ss, &len) == -1
        || tn_addr_from_sockaddr(remote, &ss) != TN_OK)
    {
        return false;
    }

    return tn_sockname(fd, local) == TN_OK;
}


/* "peer own serial", and only our own process says so */

static bool
nodeapi_names_unix(int fd, tn_addr_t *remote, tn_addr_t *local)
{
    char                text[sizeof(((struct sockaddr_un *) 0)->sun_path) + 1];
    char               *own, *end;
    size_t              n;
    socklen_t           len;
    struct ucred        peer;
    struct sockaddr_un  un;

    len = sizeof(peer);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == -1
        || peer.pid != getpid())
    {
        return false;
    }

    len = sizeof(un);

    if (getpeername(fd, (struct sockaddr *) &un, &len) == -1
        || len <= offsetof(struct sockaddr_un, sun_path) + 1)
    {
        return false;
    }

    n = len - offsetof(struct sockaddr_un, sun_path) - 1;
    memcpy(text, un.sun_path + 1, n);
    text[n] = '\0';

    own = strchr(text, ' ');
    end = own != NULL ? strchr(own + 1, ' ') : NULL;

    return end != NULL
           && tn_addr_parse(remote, text, (size_t) (own - text)) == TN_OK
           && tn_addr_parse(local, own + 1, (size_t) (end - own - 1))
              == TN_OK;
}


const tn_netmap_node_t *
nodeapi_peer(tn_nodeapi_t *api, const tn_ip_t *ip)
{
    if (api->node == NULL || tn_node_control(api->node) == NULL) {
        return NULL;
    }

    return tn_netmap_find_ip(tn_control_netmap(tn_node_control(api->node)),
                             ip);
}


static size_t
nodeapi_of_peer(tn_nodeapi_t *api, int64_t id)
{
    size_t      n;
    tn_link_t  *link;

    /* looked at only when there are many at all */

    if (api->n_conns < TN_NODEAPI_PEER_MAX) {
        return 0;
    }

    n = 0;

    tn_list_each(link, &api->conns) {
        n += tn_container(link, nodeapi_conn_t, link)->peer == id;
    }

    return n;
}


/* what is behind the head stays in the socket */

static void
nodeapi_read(tn_watch_t *watch, uint32_t events)
{
    char                  *end;
    size_t                 head, from, take;
    ssize_t                n;
    tn_rc_t                rc;
    nodeapi_conn_t        *conn;
    tn_peerapi_request_t   request;

    (void) events;

    conn = watch->data;

    n = recv(watch->fd, conn->head + conn->len,
             sizeof(conn->head) - conn->len, MSG_PEEK);

    if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }

    if (n <= 0) {
        nodeapi_free(conn);
        return;
    }

    /* its end may have begun with what came before */

    from = conn->len > 3 ? conn->len - 3 : 0;
    end = memmem(conn->head + from, conn->len + (size_t) n - from,
                 "\r\n\r\n", 4);
    take = end != NULL ? (size_t) (end + 4 - conn->head) - conn->len
                       : (size_t) n;

    if (recv(watch->fd, conn->head + conn->len, take, 0) != (ssize_t) take) {
        nodeapi_free(conn);
        return;
    }

    conn->len += take;

    rc = tn_peerapi_parse(&request, conn->head, conn->len, &head);

    if (rc == TN_AGAIN) {
        return;
    }

    if (rc != TN_OK) {
        conn->api->stats.invalid++;
        nodeapi_refused(conn->api, &conn->remote, "its request is malformed");
        nodeapi_answer(conn, 400, "Bad Request", "text/plain",
                       "invalid peerapi request\n", false);
        return;
    }

    nodeapi_request(conn, &request);
}


static void
nodeapi_timeout(void *data, tn_ms_t now)
{
    (void) now;

    nodeapi_free(data);
}


static void
nodeapi_request(nodeapi_conn_t *conn, const tn_peerapi_request_t *request)
{
    bool                     head;
    size_t                   n;
    tn_ip_t                  masq[2];
    const char              *why;
    tn_nodeapi_t            *api;
    const tn_netmap_node_t  *peer;

    api = conn->api;
    peer = nodeapi_peer(api, &conn->remote.ip);
    head = strcmp(request->method, "HEAD") == 0;

    if (peer == NULL) {
        api->stats.unknown++;
        nodeapi_free(conn);
        return;
    }

    /* a peer that sees us under other addresses has to use these */

    n = 0;

    if (peer->masq != NULL && !tn_ip_is_none(&peer->masq[0])) {
        masq[n++] = peer->masq[0];
    }

    if (peer->masq != NULL && !tn_ip_is_none(&peer->masq[1])) {
        masq[n++] = peer->masq[1];
    }

    why = n != 0 ? tn_peerapi_check(request, masq, n)
                 : tn_peerapi_check(request, api->ips, api->n_ips);

    if (why != NULL) {
        api->stats.invalid++;
        nodeapi_refused(api, &conn->remote, "%s", why);
        nodeapi_answer(conn, 403, "Forbidden", "text/plain",
                       "invalid peerapi request\n", head);

    } else if (strcmp(request->path, TN_PEERAPI_INGRESS) == 0) {
        nodeapi_ingress(conn, request);

    } else if (strcmp(request->path, TN_PEERAPI_DNS) == 0) {
        nodeapi_dns(conn, request, peer);

    } else if (strcmp(request->path, "/") != 0) {
        nodeapi_answer(conn, 404, "Not Found", "text/plain",
                       "unsupported peerapi path\n", head);

    } else {
        api->stats.greeted++;
        nodeapi_greet(conn, peer, head);
    }
}


static void
nodeapi_greet(nodeapi_conn_t *conn, const tn_netmap_node_t *peer, bool head)
{
    char                     body[1536], who[512], device[256];
    char                     ip[TN_ADDR_TEXT];
    const tn_netmap_user_t  *user;

    user = tn_netmap_find_user(
               tn_control_netmap(tn_node_control(conn->api->node)),
               peer->user);

    nodeapi_escape(who, sizeof(who), user != NULL ? user->display : "");
    nodeapi_escape(device, sizeof(device), peer->label);

    (void) snprintf(body, sizeof(body),
                    "<html>\n<body>\n<h1>Hello, %s (%s)</h1>\n"
                    "This is nginx on a tailnet. Your device is %s.\n"
                    "</body>\n</html>\n",
                    who, tn_ip_text(&conn->remote.ip, ip), device);

    nodeapi_answer(conn, 200, "OK", "text/html; charset=utf-8", body, head);
}


/* the socket goes to who serves the target, from behind our 101 on */

static void
nodeapi_ingress(nodeapi_conn_t *conn, const tn_peerapi_request_t *request)
{
    int                 fd;
    bool                granted;
    const char         *why;
    tn_ingress_t        ingress;
    tn_nodeapi_t       *api;
    const tn_netmap_t  *netmap;

    static const char  switching[] = "HTTP/1.1 101 Switching Protocols\r\n"
                                     "\r\n";

    api = conn->api;
    netmap = tn_control_netmap(tn_node_control(api->node));
    granted = false;

    if (!netmap->unsigned_reached) {
        tn_rules_caps(&netmap->rules, &conn->remote.ip, &conn->local.ip,
                      nodeapi_cap, &granted);
    }

    if (!granted) {
        api->stats.denied++;
        nodeapi_refused(api, &conn->remote, "it may not bring connections of "
                        "the Internet");
        nodeapi_answer(conn, 403, "Forbidden", "text/plain",
                       "denied; no ingress cap\n", false);
        return;
    }

    if (strcmp(request->method, "POST") != 0) {
        api->stats.invalid++;
        nodeapi_answer(conn, 405, "Method Not Allowed", "text/plain",
                       "only POST allowed\n", false);
        return;
    }

    memset(&ingress, 0, sizeof(ingress));
    ingress.relay = conn->remote;
    ingress.local = conn->local;

    /* one family for nginx, whose listener has one */

    if (!tn_ip_is_none(&api->listener[0].addr.ip)) {
        ingress.local.ip = api->listener[0].addr.ip;

    } else {
        (void) tn_ip_parse(&ingress.local.ip, "0.0.0.0", 7);
    }

    why = tn_peerapi_ingress(request, &ingress.client, ingress.name,
                             &ingress.local.port);

    if (why != NULL) {
        api->stats.invalid++;
        nodeapi_refused(api, &conn->remote, "%s", why);
        nodeapi_answer(conn, 400, "Bad Request", "text/plain", why, false);
        return;
    }

    why = api->ops != NULL ? api->ops->serves(api->data, &ingress)
                           : "there is no Funnel";

    if (why != NULL) {
        api->stats.denied++;
        nodeapi_refused(api, &conn->remote, "\"%s\": %s",
                        request->ingress_target, why);
        nodeapi_answer(conn, 403, "Forbidden", "text/plain", "denied\n",
                       false);
        return;
    }

    fd = conn->watch.fd;

    if (send(fd, switching, sizeof(switching) - 1, MSG_NOSIGNAL)
        != (ssize_t) sizeof(switching) - 1)
    {
        nodeapi_free(conn);
        return;
    }

    tn_loop_unwatch(api->loop, &conn->watch);
    conn->watch.fd = -1;
    nodeapi_free(conn);

    api->stats.ingress++;
    api->ops->take(api->data, &ingress, fd);
}


static void
nodeapi_cap(void *data, const char *name, const char *json)
{
    bool *granted = data;

    (void) json;

    if (strcmp(name, TN_NODEAPI_CAP) == 0) {
        *granted = true;
    }
}


/* an answer fits the empty send buffer of a new connection */

void
nodeapi_answer(nodeapi_conn_t *conn, int status, const char *reason,
    const char *type, const char *body, bool head)
{
    int   n;
    char  text[3072];

    n = snprintf(text, sizeof(text),
                 "HTTP/1.1 %d %s\r\n"
                 "Content-Type: %s\r\n"
                 "Content-Length: %zu\r\n"
                 "Content-Security-Policy: default-src 'none'; "
                 "frame-ancestors 'none'\r\n"
                 "X-Content-Type-Options: nosniff\r\n"
                 "Connection: close\r\n"
                 "\r\n%s",
                 status, reason, type, strlen(body), head ? "" : body);

    (void) send(conn->watch.fd, text, tn_min((size_t) n, sizeof(text) - 1),
                MSG_NOSIGNAL);

    /* unread bytes would turn the end into a reset, which takes the answer */

    (void) shutdown(conn->watch.fd, SHUT_WR);
    (void) recv(conn->watch.fd, conn->api->loop->scratch, TN_LOOP_SCRATCH, 0);

    nodeapi_free(conn);
}


static void
nodeapi_escape(char *dst, size_t size, const char *text)
{
    size_t       n, len;
    const char  *one;

    n = 0;

    for ( ; *text != '\0'; text++) {
        one = *text == '<' ? "&lt;" : *text == '>' ? "&gt;"
              : *text == '&' ? "&amp;" : *text == '"' ? "&#34;"
              : *text == '\'' ? "&#39;" : NULL;
        len = one != NULL ? strlen(one) : 1;

        if (n + len >= size) {
            break;
        }

        memcpy(dst + n, one != NULL ? one : text, len);
        n += len;
    }

    dst[n] = '\0';
}


void
nodeapi_refused(tn_nodeapi_t *api, const tn_addr_t *remote, const char *fmt,
    ...)
{
    char     text[512], addr[TN_ADDR_TEXT];
    va_list  args;

    /* whoever may connect must not be able to fill the log */

    if (api->logged != 0
        && api->loop->now < api->logged + TN_NODEAPI_LOG_MS)
    {
        api->unlogged++;
        return;
    }

    va_start(args, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    tn_log(api->log, TN_LOG_INFO, "\"%s\": PeerAPI: %s is refused: %s (%u more "
           "were not logged)", api->name, tn_addr_text(remote, addr), text,
           api->unlogged);

    api->logged = api->loop->now;
    api->unlogged = 0;
}


void
nodeapi_free(nodeapi_conn_t *conn)
{
    tn_nodeapi_t  *api;

    api = conn->api;

    tn_loop_unwatch(api->loop, &conn->watch);
    tn_timer_cancel(&api->loop->timers, &conn->timer);
    tn_list_remove(&conn->link);
    api->n_conns--;

    if (conn->watch.fd != -1) {
        (void) close(conn->watch.fd);
    }

    nodeapi_dns_end(conn);
    free(conn);
}
