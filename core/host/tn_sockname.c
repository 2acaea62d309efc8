
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "host/tn_sockname.h"

#include <sys/socket.h>
#include <unistd.h>


tn_rc_t
tn_sockname(int fd, tn_addr_t *addr)
{
    socklen_t                len;
    struct sockaddr_storage  ss;

    len = sizeof(ss);

    if (getsockname(fd, (struct sockaddr *) &ss, &len) == -1) {
        memset(addr, 0, sizeof(tn_addr_t));
        return TN_ERROR;
    }

    return tn_addr_from_sockaddr(addr, &ss) == TN_OK ? TN_OK : TN_ERROR;
}


/* connect() of a datagram socket asks the routing table and sends nothing */

tn_rc_t
tn_sockname_towards(const tn_addr_t *to, tn_ip_t *from)
{
    int                      fd;
    size_t                   len;
    tn_rc_t                  rc;
    tn_addr_t                addr;
    struct sockaddr_storage  ss;

    len = tn_addr_to_sockaddr(to, &ss);
    fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd == -1) {
        return TN_ERROR;
    }

    rc = connect(fd, (struct sockaddr *) &ss, (socklen_t) len) == 0
         ? tn_sockname(fd, &addr)
         : TN_NOTFOUND;

    if (rc == TN_OK) {
        *from = addr.ip;
    }

    (void) close(fd);

    return rc;
}
