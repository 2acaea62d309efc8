
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "proc/tn_netlink.h"

#include <errno.h>
#include <linux/if_addr.h>
#include <linux/fib_rules.h>
#include <linux/if_link.h>
#include <linux/netlink.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <unistd.h>


#define TN_NETLINK_REQUEST     512
#define TN_NETLINK_ANSWER      32768
#define TN_NETLINK_TIMEOUT_MS  2000

/* IFLA_INET6_ADDR_GEN_MODE: IN6_ADDR_GEN_MODE_NONE */
#define TN_NETLINK_GEN_NONE    1


typedef struct {
    union {
        struct nlmsghdr  head;
        uint8_t          buf[TN_NETLINK_REQUEST];
    } u;
} tn_netlink_request_t;


typedef struct tn_netlink_dump_s  tn_netlink_dump_t;

/* takes what it wants of one answer; TN_NOMEM */
typedef tn_rc_t (*tn_netlink_collect_pt)(tn_netlink_dump_t *dump,
    struct nlmsghdr *nlh);

struct tn_netlink_dump_s {
    uint16_t               type;        /* of the answers */
    tn_netlink_collect_pt  collect;
    int                    ifindex;
    tn_ip_t               *ips;
    size_t                 room;
    size_t                 count;
};


static tn_rc_t tn_netlink_route(int fd, int ifindex, uint32_t table,
    uint8_t type, uint8_t scope, int family, const tn_ip_t *ip,
    const char *cc,
    uint32_t segments, bool add);
static void *tn_netlink_begin(tn_netlink_request_t *req, uint16_t type,
    uint16_t flags, size_t body);
static struct rtattr *tn_netlink_put(tn_netlink_request_t *req,
    uint16_t type, const void *data, size_t len);
static void tn_netlink_end(tn_netlink_request_t *req, struct rtattr *attr);
static tn_rc_t tn_netlink_call(int fd, tn_netlink_request_t *req,
    tn_netlink_dump_t *dump);
static tn_rc_t tn_netlink_list(int fd, uint16_t request, size_t body,
    uint16_t answer, tn_netlink_collect_pt collect, int ifindex, tn_ip_t *ips,
    size_t *count);
static tn_rc_t tn_netlink_collect_address(tn_netlink_dump_t *dump,
    struct nlmsghdr *nlh);
static tn_rc_t tn_netlink_collect_route(tn_netlink_dump_t *dump,
    struct nlmsghdr *nlh);
static tn_rc_t tn_netlink_add(tn_netlink_dump_t *dump, const tn_ip_t *ip);


int
tn_netlink_open(void)
{
    int                 fd, err;
    struct timeval      tv;
    struct sockaddr_nl  nl;

    fd = socket(AF_NETLINK, SOCK_RAW|SOCK_CLOEXEC, NETLINK_ROUTE);

    if (fd == -1) {
        return -1;
    }

    memset(&nl, 0, sizeof(nl));
    nl.nl_family = AF_NETLINK;

    tv.tv_sec = TN_NETLINK_TIMEOUT_MS / 1000;
    tv.tv_usec = 0;

    if (bind(fd, (struct sockaddr *) &nl, sizeof(nl)) == -1
        || setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof(tv)) == -1)
    {
        err = errno;
        close(fd);
        errno = err;
        return -1;
    }

    return fd;
}


tn_rc_t
tn_netlink_link(int fd, int ifindex, const tn_netlink_link_t *change, bool up)
{
    uint8_t                mode;
    struct rtattr         *spec, *inet6;
    struct ifinfomsg      *ifi;
    tn_netlink_request_t   req;

    ifi = tn_netlink_begin(&req, RTM_NEWLINK, 0, sizeof(*ifi));
    ifi->ifi_family = AF_UNSPEC;
    ifi->ifi_index = ifindex;

    if (up) {
        ifi->ifi_flags = IFF_UP;
        ifi->ifi_change = IFF_UP;
    }

    if (change && change->mtu) {
        tn_netlink_put(&req, IFLA_MTU, &change->mtu, 4);
    }

    if (change && change->queue) {
        tn_netlink_put(&req, IFLA_TXQLEN, &change->queue, 4);
    }

    if (change && change->gso_bytes) {
        tn_netlink_put(&req, IFLA_GSO_MAX_SIZE, &change->gso_bytes, 4);
    }

    if (change && change->gso_segments) {
        tn_netlink_put(&req, IFLA_GSO_MAX_SEGS, &change->gso_segments, 4);
    }

    if (change && change->no_link_local) {
        mode = TN_NETLINK_GEN_NONE;
        spec = tn_netlink_put(&req, IFLA_AF_SPEC, NULL, 0);
        inet6 = tn_netlink_put(&req, AF_INET6, NULL, 0);
        tn_netlink_put(&req, IFLA_INET6_ADDR_GEN_MODE, &mode, 1);
        tn_netlink_end(&req, inet6);
        tn_netlink_end(&req, spec);
    }

    return tn_netlink_call(fd, &req, NULL);
}


tn_rc_t
tn_netlink_no_qdisc(int fd, int ifindex)
{
    struct tcmsg          *tcm;
    tn_netlink_request_t   req;

    tcm = tn_netlink_begin(&req, RTM_NEWQDISC, NLM_F_CREATE|NLM_F_REPLACE,
                           sizeof(*tcm));
    tcm->tcm_family = AF_UNSPEC;
    tcm->tcm_ifindex = ifindex;
    tcm->tcm_parent = TC_H_ROOT;
    tn_netlink_put(&req, TCA_KIND, "noqueue", sizeof("noqueue"));

    return tn_netlink_call(fd, &req, NULL);
}


tn_rc_t
tn_netlink_address(int fd, int ifindex, const tn_ip_t *ip, bool add)
{
    bool                   v4;
    uint32_t               flags;
    struct ifaddrmsg      *ifa;
    tn_netlink_request_t   req;

    v4 = tn_ip_is_v4(ip);

    ifa = tn_netlink_begin(&req, add ? RTM_NEWADDR : RTM_DELADDR,
                           add ? NLM_F_CREATE|NLM_F_REPLACE : 0, sizeof(*ifa));
    ifa->ifa_family = v4 ? AF_INET : AF_INET6;
    ifa->ifa_prefixlen = v4 ? 32 : 128;
    ifa->ifa_scope = RT_SCOPE_UNIVERSE;
    ifa->ifa_index = ifindex;

    if (v4) {
        tn_netlink_put(&req, IFA_LOCAL, ip->b + 12, 4);
        tn_netlink_put(&req, IFA_ADDRESS, ip->b + 12, 4);

    } else {
        /* nobody else is on this link to have the same address */
        flags = IFA_F_NODAD;
        tn_netlink_put(&req, IFA_LOCAL, ip->b, 16);
        tn_netlink_put(&req, IFA_ADDRESS, ip->b, 16);
        tn_netlink_put(&req, IFA_FLAGS, &flags, 4);
    }

    if (tn_netlink_call(fd, &req, NULL) == TN_OK
        || (add && errno == EEXIST)
        || (!add && errno == EADDRNOTAVAIL))
    {
        return TN_OK;
    }

    return TN_ERROR;
}


tn_rc_t
tn_netlink_addresses(int fd, int ifindex, tn_ip_t *ips, size_t *count)
{
    return tn_netlink_list(fd, RTM_GETADDR, sizeof(struct ifaddrmsg),
                           RTM_NEWADDR, tn_netlink_collect_address, ifindex,
                           ips, count);
}


tn_rc_t
tn_netlink_default_route(int fd, int ifindex, int family, const char *cc,
    uint32_t segments)
{
    return tn_netlink_route(fd, ifindex, RT_TABLE_MAIN, RTN_UNICAST,
                            family == 4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE,
                            family, NULL, cc, segments, true);
}


tn_rc_t
tn_netlink_host_route(int fd, int ifindex, const tn_ip_t *ip, const char *cc)
{
    bool     v4;
    tn_rc_t  rc;

    v4 = tn_ip_is_v4(ip);

    rc = tn_netlink_route(fd, ifindex, RT_TABLE_MAIN, RTN_UNICAST,
                          v4 ? RT_SCOPE_LINK : RT_SCOPE_UNIVERSE, v4 ? 4 : 6,
                          ip, cc, 0, cc != NULL);

    return rc == TN_OK || (!cc && errno == ESRCH) ? TN_OK : TN_ERROR;
}


tn_rc_t
tn_netlink_host_routes(int fd, int ifindex, tn_ip_t *ips, size_t *count)
{
    return tn_netlink_list(fd, RTM_GETROUTE, sizeof(struct rtmsg),
                           RTM_NEWROUTE, tn_netlink_collect_route, ifindex,
                           ips, count);
}


tn_rc_t
tn_netlink_local_route(int fd, int ifindex, uint32_t table, int family)
{
    return tn_netlink_route(fd, ifindex, table, RTN_LOCAL, RT_SCOPE_HOST,
                            family, NULL, NULL, 0, true);
}


/* to one address, or, NULL, the default route of a table */
static tn_rc_t
tn_netlink_route(int fd, int ifindex, uint32_t table, uint8_t type,
    uint8_t scope, int family, const tn_ip_t *ip, const char *cc,
    uint32_t segments, bool add)
{
    uint32_t               oif;
    struct rtmsg          *rtm;
    struct rtattr         *metrics;
    tn_netlink_request_t   req;

    rtm = tn_netlink_begin(&req, add ? RTM_NEWROUTE : RTM_DELROUTE,
                           add ? NLM_F_CREATE|NLM_F_REPLACE : 0, sizeof(*rtm));
    rtm->rtm_family = family == 4 ? AF_INET : AF_INET6;
    rtm->rtm_table = (uint8_t) table;
    rtm->rtm_protocol = RTPROT_BOOT;
    rtm->rtm_scope = scope;
    rtm->rtm_type = type;

    if (ip != NULL) {
        rtm->rtm_dst_len = family == 4 ? 32 : 128;
        tn_netlink_put(&req, RTA_DST, family == 4 ? ip->b + 12 : ip->b,
                       family == 4 ? 4 : 16);
    }

    oif = ifindex;
    tn_netlink_put(&req, RTA_OIF, &oif, 4);

    if (cc != NULL) {
        metrics = tn_netlink_put(&req, RTA_METRICS, NULL, 0);
        tn_netlink_put(&req, RTAX_CC_ALGO, cc, strlen(cc) + 1);

        if (segments != 0) {
            tn_netlink_put(&req, RTAX_INITCWND, &segments, 4);
        }

        tn_netlink_end(&req, metrics);
    }

    return tn_netlink_call(fd, &req, NULL);
}


tn_rc_t
tn_netlink_rule(int fd, const char *in, uint32_t table, int family)
{
    tn_rc_t                rc;
    uint32_t               priority;
    struct fib_rule_hdr   *rule;
    tn_netlink_request_t   req;

    rule = tn_netlink_begin(&req, RTM_NEWRULE, NLM_F_CREATE|NLM_F_EXCL,
                            sizeof(*rule));
    rule->family = family == 4 ? AF_INET : AF_INET6;
    rule->table = (uint8_t) table;
    rule->action = FR_ACT_TO_TBL;

    priority = table;
    tn_netlink_put(&req, FRA_PRIORITY, &priority, 4);
    tn_netlink_put(&req, FRA_IIFNAME, in, strlen(in) + 1);

    rc = tn_netlink_call(fd, &req, NULL);

    return rc != TN_OK && errno == EEXIST ? TN_OK : rc;
}


static void *
tn_netlink_begin(tn_netlink_request_t *req, uint16_t type, uint16_t flags,
    size_t body)
{
    static uint32_t  seq;

    memset(req, 0, sizeof(*req));

    req->u.head.nlmsg_len = NLMSG_LENGTH(body);
    req->u.head.nlmsg_type = type;
    req->u.head.nlmsg_flags = NLM_F_REQUEST|NLM_F_ACK|flags;
    req->u.head.nlmsg_seq = ++seq;

    return NLMSG_DATA(&req->u.head);
}


/* every request here is far smaller than the buffer */
static struct rtattr *
tn_netlink_put(tn_netlink_request_t *req, uint16_t type, const void *data,
    size_t len)
{
    size_t          at;
    struct rtattr  *attr;

    at = NLMSG_ALIGN(req->u.head.nlmsg_len);
    attr = (struct rtattr *) (req->u.buf + at);

    attr->rta_type = type;
    attr->rta_len = RTA_LENGTH(len);

    if (len) {
        memcpy(RTA_DATA(attr), data, len);
    }

    req->u.head.nlmsg_len = at + RTA_ALIGN(attr->rta_len);

    return attr;
}


/* closes a nested attribute: all that follows it is inside */
static void
tn_netlink_end(tn_netlink_request_t *req, struct rtattr *attr)
{
    attr->rta_len = req->u.buf + req->u.head.nlmsg_len - (uint8_t *) attr;
}


static tn_rc_t
tn_netlink_call(int fd, tn_netlink_request_t *req, tn_netlink_dump_t *dump)
{
    tn_rc_t           rc;
    ssize_t           n;
    size_t            left;
    struct nlmsgerr  *error;
    struct nlmsghdr  *nlh;

    union {
        struct nlmsghdr  head;
        uint8_t          buf[TN_NETLINK_ANSWER];
    } answer;

    rc = TN_OK;

    if (send(fd, &req->u, req->u.head.nlmsg_len, 0) == -1) {
        return TN_ERROR;
    }

    for ( ;; ) {
        n = recv(fd, &answer, sizeof(answer), 0);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1) {
            return TN_ERROR;
        }

        left = n;

        for (nlh = &answer.head; NLMSG_OK(nlh, left);
             nlh = NLMSG_NEXT(nlh, left))
        {
            if (nlh->nlmsg_seq != req->u.head.nlmsg_seq) {
                continue;
            }

            if (nlh->nlmsg_type == NLMSG_DONE) {
                return rc;
            }

            if (nlh->nlmsg_type == NLMSG_ERROR) {
                error = NLMSG_DATA(nlh);
                errno = -error->error;
                return error->error ? TN_ERROR : rc;
            }

            if (dump && nlh->nlmsg_type == dump->type
                && dump->collect(dump, nlh) != TN_OK)
            {
                rc = TN_NOMEM;
            }
        }
    }
}


/* of all families, which is what a body of zeros asks for */
static tn_rc_t
tn_netlink_list(int fd, uint16_t request, size_t body, uint16_t answer,
    tn_netlink_collect_pt collect, int ifindex, tn_ip_t *ips, size_t *count)
{
    tn_rc_t                rc;
    tn_netlink_dump_t      dump;
    tn_netlink_request_t   req;

    dump.type = answer;
    dump.collect = collect;
    dump.ifindex = ifindex;
    dump.ips = ips;
    dump.room = *count;
    dump.count = 0;

    (void) tn_netlink_begin(&req, request, NLM_F_DUMP, body);

    rc = tn_netlink_call(fd, &req, &dump);
    *count = dump.count;

    return rc;
}


static tn_rc_t
tn_netlink_collect_address(tn_netlink_dump_t *dump, struct nlmsghdr *nlh)
{
    size_t             left;
    tn_ip_t            ip;
    struct rtattr     *attr;
    struct ifaddrmsg  *ifa;

    ifa = NLMSG_DATA(nlh);

    if ((int) ifa->ifa_index != dump->ifindex
        || (ifa->ifa_family != AF_INET && ifa->ifa_family != AF_INET6))
    {
        return TN_OK;
    }

    left = IFA_PAYLOAD(nlh);

    for (attr = IFA_RTA(ifa); RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {

        if (ifa->ifa_family == AF_INET && attr->rta_type == IFA_LOCAL
            && RTA_PAYLOAD(attr) == 4)
        {
            ip = tn_ip_from_v4(RTA_DATA(attr));

        } else if (ifa->ifa_family == AF_INET6
                   && attr->rta_type == IFA_ADDRESS
                   && RTA_PAYLOAD(attr) == 16)
        {
            ip = tn_ip_from_v6(RTA_DATA(attr));

            if (tn_ip_is_link_local(&ip)) {
                continue;
            }

        } else {
            continue;
        }

        if (tn_netlink_add(dump, &ip) != TN_OK) {
            return TN_NOMEM;
        }
    }

    return TN_OK;
}


/* one that tn_netlink_host_route() has made */
static tn_rc_t
tn_netlink_collect_route(tn_netlink_dump_t *dump, struct nlmsghdr *nlh)
{
    int             oif;
    bool            v4, has;
    size_t          left;
    tn_ip_t         ip;
    struct rtmsg   *rtm;
    struct rtattr  *attr;

    rtm = NLMSG_DATA(nlh);
    v4 = rtm->rtm_family == AF_INET;

    if ((!v4 && rtm->rtm_family != AF_INET6)
        || rtm->rtm_dst_len != (v4 ? 32 : 128)
        || rtm->rtm_table != RT_TABLE_MAIN
        || rtm->rtm_type != RTN_UNICAST
        || rtm->rtm_protocol != RTPROT_BOOT
        || (rtm->rtm_flags & RTM_F_CLONED))
    {
        return TN_OK;
    }

    oif = 0;
    has = false;
    left = RTM_PAYLOAD(nlh);

    for (attr = RTM_RTA(rtm); RTA_OK(attr, left); attr = RTA_NEXT(attr, left)) {

        if (attr->rta_type == RTA_OIF && RTA_PAYLOAD(attr) == sizeof(oif)) {
            memcpy(&oif, RTA_DATA(attr), sizeof(oif));

        } else if (attr->rta_type == RTA_DST
                   && RTA_PAYLOAD(attr) == (v4 ? 4 : 16))
        {
            ip = v4 ? tn_ip_from_v4(RTA_DATA(attr))
                    : tn_ip_from_v6(RTA_DATA(attr));
            has = true;
        }
    }

    return has && oif == dump->ifindex ? tn_netlink_add(dump, &ip) : TN_OK;
}


static tn_rc_t
tn_netlink_add(tn_netlink_dump_t *dump, const tn_ip_t *ip)
{
    if (dump->count == dump->room) {
        return TN_NOMEM;
    }

    dump->ips[dump->count++] = *ip;

    return TN_OK;
}
