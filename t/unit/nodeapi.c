
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * With lwIP the PeerAPI and nginx listen in one table: neither takes the
 * other's port.
 */

#include "data/tn_lwnet_int.h"
#include "run/tn_nodeapi.h"
#include "wire/tn_peerapi.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tap.h"
#include "tap_log.h"


static tn_ip_t             own;
static tn_lwnet_table_t   *table;
static struct sockaddr_un  nginx;   /* where its listener is */
static socklen_t           nginx_len;


static int
listener(void)
{
    int                 fd;
    struct sockaddr_un  un;

    memset(&un, 0, sizeof(un));
    un.sun_family = AF_UNIX;
    nginx_len = sizeof(nginx);

    fd = socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0);

    if (fd == -1
        || bind(fd, (struct sockaddr *) &un, sizeof(un.sun_family)) == -1
        || listen(fd, 1) == -1
        || getsockname(fd, (struct sockaddr *) &nginx, &nginx_len) == -1)
    {
        abort();
    }

    return fd;
}


/* who listens on the PeerAPI's port of this try */
static const char *
who(unsigned try)
{
    tn_addr_t     addr;
    lwnet_port_t  port;

    addr.ip = own;
    addr.port = tn_peerapi_port(&own, try);

    if (!lwnet_table_find(table, TN_IPC_TCP, &addr, 0, &port)) {
        return "nobody";
    }

    return port.len == nginx_len && memcmp(&port.addr, &nginx, nginx_len) == 0
           ? "nginx" : "api";
}


static void
take(unsigned try, int fd)
{
    if (tn_lwnet_table_listen(table, TN_IPC_TCP, tn_peerapi_port(&own, try), 4,
                              0, fd)
        != TN_OK)
    {
        abort();
    }
}


int
main(void)
{
    int            fd;
    tn_loop_t      loop;
    tn_nodeapi_t  *api;

    table = tn_lwnet_table_create();

    if (table == NULL || tn_loop_init(&loop) != TN_OK
        || tn_ip_parse(&own, "100.64.0.7", 10) != TN_OK)
    {
        abort();
    }

    fd = listener();
    take(0, fd);

    api = tn_nodeapi_create(&loop, NULL, table, NULL, NULL, "home", &logger);
    tn_nodeapi_addresses(api, &own, 1);

    is_str(who(0), "nginx", "nginx keeps its port");
    is_str(who(1), "api", "the PeerAPI has another");

    take(1, fd);
    tn_nodeapi_yield(api, tn_peerapi_port(&own, 1), 6);
    is_str(who(2), "nobody", "it is of one family");
    tn_nodeapi_yield(api, tn_peerapi_port(&own, 1), 4);

    is_str(who(1), "nginx", "nginx gets that one too");
    is_str(who(2), "api", "and the PeerAPI a third");

    tn_nodeapi_yield(api, tn_peerapi_port(&own, 0), 4);
    is_str(who(2), "api", "which nobody wants");

    /* a supervisor says what nginx has, of which one is gone */

    tn_lwnet_table_mark(table);
    is_str(who(1), "nginx", "meanwhile all stay");
    take(0, fd);
    tn_lwnet_table_sweep(table);
    is_str(who(0), "nginx", "what is said again stays");
    is_str(who(1), "nobody", "what is not is gone");
    is_str(who(2), "api", "and the PeerAPI is no part of it");
    take(1, fd);

    tn_nodeapi_destroy(api);

    is_str(who(0), "nginx", "nginx is left");
    is_str(who(1), "nginx", "by both");
    is_str(who(2), "nobody", "alone");

    close(fd);
    tn_lwnet_table_free(table);
    tn_loop_done(&loop);

    return tap_done();
}
