
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "host/tn_sockdiag.h"

#include "wire/tn_ip.h"

#include <arpa/inet.h>
#include <linux/inet_diag.h>
#include <linux/netlink.h>
#include <linux/sock_diag.h>
#include <sys/socket.h>
#include <unistd.h>


bool
tn_sockdiag_has(uint8_t proto, const tn_addr_t *local,
    const tn_addr_t *remote)
{
    int                         fd;
    bool                        v4, found;
    ssize_t                     n;
    struct nlmsghdr            *head;
    struct inet_diag_sockid    *id;
    const struct inet_diag_msg *msg;

    struct {
        struct nlmsghdr          head;
        struct inet_diag_req_v2  req;
    } ask;

    union {
        struct nlmsghdr          head;
        uint8_t                  bytes[4096];
    } answer;

    v4 = tn_ip_is_v4(&local->ip);

    fd = socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC|SOCK_NONBLOCK,
                NETLINK_SOCK_DIAG);

    if (fd == -1) {
        return false;
    }

    memset(&ask, 0, sizeof(ask));
    ask.head.nlmsg_len = sizeof(ask);
    ask.head.nlmsg_type = SOCK_DIAG_BY_FAMILY;
    ask.head.nlmsg_flags = NLM_F_REQUEST;
    ask.req.sdiag_family = v4 ? AF_INET : AF_INET6;
    ask.req.sdiag_protocol = proto == TN_PROTO_TCP ? IPPROTO_TCP
                                                   : IPPROTO_UDP;
    ask.req.idiag_states = UINT32_MAX;

    id = &ask.req.id;
    id->idiag_sport = htons(local->port);
    id->idiag_dport = htons(remote->port);
    memcpy(id->idiag_src, local->ip.b + (v4 ? 12 : 0), v4 ? 4 : 16);
    memcpy(id->idiag_dst, remote->ip.b + (v4 ? 12 : 0), v4 ? 4 : 16);
    id->idiag_cookie[0] = INET_DIAG_NOCOOKIE;
    id->idiag_cookie[1] = INET_DIAG_NOCOOKIE;

    found = false;

    if (send(fd, &ask, sizeof(ask), 0) == (ssize_t) sizeof(ask)) {
        n = recv(fd, &answer, sizeof(answer), 0);
        head = &answer.head;

        /* a listener may be what the kernel comes up with for want of it */

        if (n > 0 && NLMSG_OK(head, (size_t) n)
            && head->nlmsg_type == SOCK_DIAG_BY_FAMILY
            && head->nlmsg_len >= NLMSG_LENGTH(sizeof(*msg)))
        {
            msg = NLMSG_DATA(head);
            found = msg->id.idiag_sport == id->idiag_sport
                    && msg->id.idiag_dport == id->idiag_dport;
        }
    }

    (void) close(fd);

    return found;
}
