
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Own addresses as the kernel knows them, in a network namespace that has
 * loopback and nothing else.
 */

#include "host/tn_sockname.h"

#include "host/tn_udp_socket.h"
#include "own_network.h"
#include "tap.h"


static tn_addr_t
addr_of(const char *text, uint16_t port)
{
    tn_addr_t  addr;

    (void) tn_ip_parse(&addr.ip, text, strlen(text));
    addr.port = port;

    return addr;
}


static void
bound_to(const char *text)
{
    int        fd, small;
    tn_addr_t  want, addr;

    want = addr_of(text, 7117);
    fd = tn_udp_socket(!tn_ip_is_v4(&want.ip), &want.ip, want.port);

    ok(tn_sockname(fd, &addr) == TN_OK && addr.port == want.port
       && tn_ip_equal(&addr.ip, &want.ip), "a socket of %s", text);

    is_int(tn_udp_socket_port(fd), 7117, "and its port");

    small = 65536;
    ok(setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small)) == 0
       && !tn_udp_socket_is_roomy(fd), "a small buffer is told");

    (void) close(fd);
}


static void
of_none(void)
{
    int        fd[2];
    tn_addr_t  addr;

    is_int(tn_sockname(-1, &addr), TN_ERROR, "no descriptor has no address");
    is_int(tn_udp_socket_port(-1), 0, "and no port");

    if (socketpair(AF_UNIX, SOCK_STREAM, 0, fd) == -1) {
        ok(false, "a pair of sockets");
        return;
    }

    is_int(tn_sockname(fd[0], &addr), TN_ERROR, "nor has one of AF_UNIX");
    is_int(tn_udp_socket_port(fd[0]), 0, "and no port");

    (void) close(fd[0]);
    (void) close(fd[1]);
}


static void
towards(const char *text, const char *want)
{
    tn_ip_t    from;
    tn_rc_t    rc;
    tn_addr_t  to, own;

    to = addr_of(text, 9);
    rc = tn_sockname_towards(&to, &from);

    if (want == NULL) {
        ok(rc == TN_NOTFOUND, "there is no way to %s", text);
        return;
    }

    own = addr_of(want, 0);
    ok(rc == TN_OK && tn_ip_equal(&from, &own.ip), "to %s from %s", text,
       want);
}


int
main(void)
{
    if (!own_network(0)) {
        printf("1..0 # SKIP no network namespace may be made here\n");
        return 0;
    }

    bound_to("127.0.0.7");
    bound_to("0.0.0.0");
    bound_to("::1");
    bound_to("::");
    of_none();

    towards("127.0.0.9", "127.0.0.1");
    towards("::1", "::1");
    towards("192.0.2.1", NULL);
    towards("2001:db8::1", NULL);

    return tap_done();
}
