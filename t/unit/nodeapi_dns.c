
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Questions of DNS to the PeerAPI, with a server that never answers in
 * namespaces of our own: who leaves has his question held all the same.
 */

#include "control/tn_control_int.h"
#include "run/tn_node_private.h"
#include "run/tn_nodeapi_int.h"

#include "own_network.h"
#include "tap.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/mount.h>


static char              conf[] = "/tmp/tn_nodeapi_dns.XXXXXX";
static tn_loop_t         loop;
static tn_node_t         node;
static tn_control_t      control;
static tn_netmap_t       netmap;
static tn_netmap_node_t  self, peer;

static const char        get[] = "dns=AAABAAABAAAAAAAAAWEAAAEAAQ";
static const uint8_t     question[] = { 0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0,
                                        1, 'a', 0, 0, 1, 0, 1 };


static int
silent_server(void)
{
    int                 fd;
    struct sockaddr_in  sin;

    (void) close(mkstemp(conf));

    if (!own_network_put(conf, "nameserver 127.0.0.1\n")
        || mount("none", "/", NULL, MS_REC|MS_PRIVATE, NULL) == -1
        || mount(conf, "/etc/resolv.conf", NULL, MS_BIND, NULL) == -1)
    {
        return -1;
    }

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_port = htons(53);
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    fd = socket(AF_INET, SOCK_DGRAM|SOCK_CLOEXEC, 0);

    return bind(fd, (struct sockaddr *) &sin, sizeof(sin)) == 0 ? fd : -1;
}


/* one request; the asker's end of the connection */
static int
ask(tn_nodeapi_t *api, bool post)
{
    int                    pair[2];
    nodeapi_conn_t        *conn;
    tn_peerapi_request_t   request;

    conn = calloc(1, sizeof(nodeapi_conn_t));

    if (conn == NULL
        || socketpair(AF_UNIX, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0, pair)
           == -1)
    {
        abort();
    }

    conn->api = api;
    conn->watch.fd = pair[1];
    conn->watch.data = conn;
    tn_list_push(&api->conns, &conn->link);
    api->n_conns++;

    memset(&request, 0, sizeof(request));

    if (post) {
        strcpy(request.method, "POST");
        request.dns_message = true;
        request.body_len = sizeof(question);
        (void) send(pair[0], question, sizeof(question), MSG_NOSIGNAL);

    } else {
        strcpy(request.method, "GET");
        strcpy(conn->head, get);
        request.query_len = sizeof(get) - 1;
    }

    nodeapi_dns(conn, &request, &peer);

    return pair[0];
}


/* the status that comes at once, 0: none */
static int
status(int fd)
{
    int      code;
    char     text[512];
    ssize_t  n;

    n = recv(fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';
    (void) close(fd);

    return sscanf(text, "HTTP/1.1 %d", &code) == 1 ? code : 0;
}


static void
test(tn_nodeapi_t *api)
{
    int  i;

    for (i = 0; i < TN_NODEAPI_DNS_MAX; i++) {
        (void) close(ask(api, i & 1));
        (void) tn_loop_turn(&loop, 0);
    }

    is_int((long long) tn_nodeapi_stats(api)->dns, TN_NODEAPI_DNS_MAX,
           "as many questions as may be");
    is_int((long long) api->n_conns, 0, "who asked has left");
    is_int((long long) tn_resolve_sent(api->resolver), TN_NODEAPI_DNS_MAX,
           "the questions are held");

    is_int(status(ask(api, false)), 503, "one more by GET is refused");
    is_int(status(ask(api, true)), 503, "one more by POST too");
    is_int((long long) tn_nodeapi_stats(api)->crowded, 2, "that is counted");
}


int
main(void)
{
    int             server;
    tn_nodeapi_t   *api;
    tn_resolver_t  *resolver;

    server = own_network(CLONE_NEWNS) ? silent_server() : -1;

    if (server == -1) {
        (void) unlink(conf);
        ok(true, "questions # SKIP no namespaces of our own");
        return tap_done();
    }

    if (tn_loop_init(&loop) != TN_OK) {
        abort();
    }

    resolver = tn_resolve_create(&loop);
    api = tn_nodeapi_create(&loop, NULL, NULL, NULL, NULL, "home", NULL);

    if (resolver == NULL || api == NULL) {
        abort();
    }

    /* an exit node, and another of the same user */

    node.conf.nroutes = 1;
    node.control = &control;
    control.netmap = &netmap;
    netmap.self = &self;
    api->node = &node;
    tn_nodeapi_resolver(api, resolver);

    test(api);

    tn_nodeapi_destroy(api);
    tn_resolve_destroy(resolver);
    tn_loop_done(&loop);
    (void) close(server);
    (void) unlink(conf);

    return tap_done();
}
