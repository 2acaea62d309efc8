
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "host/tn_udp_socket.h"

#include "host/tn_sockname.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <sys/socket.h>
#include <unistd.h>


#ifndef UDP_GRO
#define UDP_GRO  104
#endif


static void tn_udp_socket_buffer(int fd, int force, int plain);


int
tn_udp_socket(bool v6, const tn_ip_t *ip, uint16_t port)
{
    int                      fd, one, err;
    size_t                   len;
    tn_addr_t                addr;
    struct sockaddr_storage  ss;

    fd = socket(v6 ? AF_INET6 : AF_INET,
                SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1) {
        return -1;
    }

    one = 1;

    if (v6 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof(one))
              == -1)
    {
        goto failed;
    }

    /* kernels before 5.0 have none; datagrams then come one by one */
    (void) setsockopt(fd, IPPROTO_UDP, UDP_GRO, &one, sizeof(one));

    tn_udp_socket_buffer(fd, SO_RCVBUFFORCE, SO_RCVBUF);
    tn_udp_socket_buffer(fd, SO_SNDBUFFORCE, SO_SNDBUF);

    memset(&addr, 0, sizeof(tn_addr_t));
    addr.port = port;

    if (ip != NULL) {
        addr.ip = *ip;

    } else if (!v6) {
        addr.ip.b[10] = 0xff;
        addr.ip.b[11] = 0xff;
    }

    if (tn_ip_is_v4(&addr.ip) == v6) {
        errno = EAFNOSUPPORT;
        goto failed;
    }

    len = tn_addr_to_sockaddr(&addr, &ss);

    if (bind(fd, (struct sockaddr *) &ss, (socklen_t) len) == -1) {
        goto failed;
    }

    return fd;

failed:

    err = errno;
    (void) close(fd);
    errno = err;

    return -1;
}


uint16_t
tn_udp_socket_port(int fd)
{
    tn_addr_t  addr;

    return tn_sockname(fd, &addr) == TN_OK ? addr.port : 0;
}


bool
tn_udp_socket_is_roomy(int fd)
{
    int        size;
    socklen_t  len;

    len = sizeof(size);

    /* the kernel says twice what it was asked for */

    return getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &size, &len) == 0
           && size / 2 >= TN_UDP_ROOMY_BYTES;
}


static void
tn_udp_socket_buffer(int fd, int force, int plain)
{
    int  size;

    size = TN_UDP_BUFFER_BYTES;

    if (setsockopt(fd, SOL_SOCKET, force, &size, sizeof(size)) == -1) {
        /* cut by the kernel to net.core.[rw]mem_max */
        (void) setsockopt(fd, SOL_SOCKET, plain, &size, sizeof(size));
    }
}
