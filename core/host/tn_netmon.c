
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Netlink tells of every change, often many times for one (an interface that
 * comes up, a router advertisement): word goes on TN_NETMON_QUIET_MS after
 * the last event, TN_NETMON_LONGEST_MS after the first at the latest.  What
 * they say is not needed: the list of addresses and the default route are
 * taken anew and compared, so a lost event (ENOBUFS) costs nothing.  What
 * differs in neither is a minor change (upstream: netmon).  A default route
 * that goes is minor too, unless addresses go with it: nothing is better then,
 * and what needs no router may go on.  One that comes back is a move.
 *
 * Addresses also come and go that no path uses: of networks of containers,
 * of links beside that of the default route, of IPv6 when they are deprecated.
 * So the machine has moved only if an address is gone by which it was seen
 * outside, or if it has no way there and nothing is known.
 *
 * But each router advertisement has the kernel, and what configures the
 * network besides, tell of addresses again whose lifetimes alone are new, on
 * some networks every few seconds.  Paths to peers are proven anew with each
 * word, so an address that is as it was told before is none.
 *
 * A machine that sleeps, and a virtual one that is stopped, goes on with a
 * monotonic clock that stood still while the wall clock is set ahead.  The
 * kernel cancels a timer on the wall clock at each such step.  One ahead by
 * hand looks the same, and then the same is done without need.
 */

#include "host/tn_netmon.h"

#include "host/tn_gateway.h"
#include "host/tn_sockname.h"

#include <errno.h>
#include <ifaddrs.h>
#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <time.h>
#include <unistd.h>


/* an address, as an event told of it */
typedef struct {
    uint32_t        interface;          /* 0: not in use */
    uint32_t        flags;              /* tentative, deprecated ... */
    uint8_t         bits;
    tn_ip_t         ip;
} tn_netmon_told_t;

struct tn_netmon_s {
    tn_loop_t      *loop;
    tn_netmon_pt    changed;
    tn_netmon_woke_pt  woke;
    void           *data;
    tn_log_t       *log;

    tn_watch_t      watch;
    tn_timer_t      timer;
    tn_ms_t         first;              /* event not told yet */

    tn_watch_t      steps;              /* of the wall clock, or -1 */
    int64_t         ahead;              /* of the monotonic one, ms */

    tn_ip_t         ips[TN_NETMON_MAX];
    size_t          n;
    char            way[TN_GATEWAY_WAY];
    tn_ip_t         own[2];             /* towards the Internet, by IPv4 and
                                           IPv6; none: not known */
    bool            slept;              /* not told yet */

    tn_netmon_told_t  told[TN_NETMON_MAX];
    size_t            next;             /* to be used, in turns */
};


static bool tn_netmon_sockaddr(const struct ifaddrs *ifa, tn_ip_t *ip);
static bool tn_netmon_address(const struct ifaddrs *ifa, tn_ip_t *ip);
static size_t tn_netmon_insert(tn_ip_t *ips, size_t n, size_t max,
    const tn_ip_t *ip);
static void tn_netmon_steps_open(tn_netmon_t *netmon);
static bool tn_netmon_steps_arm(tn_netmon_t *netmon);
static void tn_netmon_stepped(tn_watch_t *watch, uint32_t events);
static void tn_netmon_event(tn_watch_t *watch, uint32_t events);
static bool tn_netmon_is_news(tn_netmon_t *netmon, const uint8_t *bytes,
    size_t len);
static bool tn_netmon_is_new(tn_netmon_t *netmon, struct nlmsghdr *head);
static bool tn_netmon_read(tn_netmon_told_t *told, struct nlmsghdr *head);
static void tn_netmon_later(tn_netmon_t *netmon);
static void tn_netmon_own(tn_netmon_t *netmon);
static bool tn_netmon_has(const tn_ip_t *ips, size_t n, const tn_ip_t *ip);
static bool tn_netmon_is_left(const tn_netmon_t *netmon, const tn_ip_t *ips,
    size_t n);
static void tn_netmon_tell(void *data, tn_ms_t now);


size_t
tn_netmon_addrs(tn_ip_t *ips, size_t max)
{
    size_t           n;
    tn_ip_t          ip;
    struct ifaddrs  *list, *ifa;

    if (getifaddrs(&list) == -1) {
        return 0;
    }

    n = 0;

    for (ifa = list; ifa != NULL; ifa = ifa->ifa_next) {
        if (tn_netmon_address(ifa, &ip) && !tn_ip_is_loopback(&ip)) {
            n = tn_netmon_insert(ips, n, max, &ip);
        }
    }

    if (n == 0) {
        for (ifa = list; ifa != NULL; ifa = ifa->ifa_next) {
            if (tn_netmon_address(ifa, &ip)) {
                n = tn_netmon_insert(ips, n, max, &ip);
            }
        }
    }

    freeifaddrs(list);

    return n;
}


size_t
tn_netmon_machine(tn_ip_t **ips)
{
    size_t           n;
    struct ifaddrs  *list, *ifa;

    *ips = NULL;

    if (getifaddrs(&list) == -1) {
        return 0;
    }

    n = 0;

    for (ifa = list; ifa != NULL; ifa = ifa->ifa_next) {
        n++;
    }

    *ips = calloc(tn_max(n, 1u), sizeof(tn_ip_t));
    n = 0;

    for (ifa = list; *ips != NULL && ifa != NULL; ifa = ifa->ifa_next) {
        if (tn_netmon_sockaddr(ifa, &(*ips)[n])) {
            n++;
        }
    }

    freeifaddrs(list);

    return n;
}


static bool
tn_netmon_address(const struct ifaddrs *ifa, tn_ip_t *ip)
{
    return (ifa->ifa_flags & IFF_UP) != 0 && tn_netmon_sockaddr(ifa, ip)
           && !tn_ip_is_link_local(ip) && !tn_ip_is_multicast(ip)
           && !tn_ip_is_tailscale(ip);
}


static bool
tn_netmon_sockaddr(const struct ifaddrs *ifa, tn_ip_t *ip)
{
    tn_addr_t                addr;
    struct sockaddr_storage  ss;

    if (ifa->ifa_addr == NULL) {
        return false;
    }

    memset(&ss, 0, sizeof(struct sockaddr_storage));

    switch (ifa->ifa_addr->sa_family) {

    case AF_INET:
        memcpy(&ss, ifa->ifa_addr, sizeof(struct sockaddr_in));
        break;

    case AF_INET6:
        memcpy(&ss, ifa->ifa_addr, sizeof(struct sockaddr_in6));
        break;

    default:
        return false;
    }

    if (tn_addr_from_sockaddr(&addr, &ss) != TN_OK) {
        return false;
    }

    *ip = addr.ip;

    return true;
}


/* keeps the list sorted and without duplicates */

static size_t
tn_netmon_insert(tn_ip_t *ips, size_t n, size_t max, const tn_ip_t *ip)
{
    int     order;
    size_t  i;

    for (i = 0; i < n; i++) {
        order = memcmp(ips[i].b, ip->b, sizeof(ip->b));

        if (order == 0) {
            return n;
        }

        if (order > 0) {
            break;
        }
    }

    if (n == max) {
        return n;
    }

    memmove(ips + i + 1, ips + i, (n - i) * sizeof(tn_ip_t));
    ips[i] = *ip;

    return n + 1;
}


tn_netmon_t *
tn_netmon_create(tn_loop_t *loop, tn_netmon_pt changed,
    tn_netmon_woke_pt woke, void *data, tn_log_t *log)
{
    int                  err;
    tn_netmon_t         *netmon;
    struct sockaddr_nl   nl;

    netmon = calloc(1, sizeof(tn_netmon_t));
    if (netmon == NULL) {
        return NULL;
    }

    netmon->loop = loop;
    netmon->changed = changed;
    netmon->woke = woke;
    netmon->steps.fd = -1;
    netmon->data = data;
    netmon->log = log;
    netmon->watch.events = TN_LOOP_READ;
    netmon->watch.handler = tn_netmon_event;
    netmon->watch.data = netmon;
    tn_timer_init(&netmon->timer, tn_netmon_tell, netmon);

    memset(&nl, 0, sizeof(struct sockaddr_nl));
    nl.nl_family = AF_NETLINK;
    nl.nl_groups = RTMGRP_LINK | RTMGRP_IPV4_IFADDR | RTMGRP_IPV6_IFADDR
                   | RTMGRP_IPV4_ROUTE | RTMGRP_IPV6_ROUTE;

    netmon->watch.fd = socket(AF_NETLINK,
                              SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC,
                              NETLINK_ROUTE);

    if (netmon->watch.fd == -1
        || bind(netmon->watch.fd, (struct sockaddr *) &nl, sizeof(nl)) == -1
        || tn_loop_watch(loop, &netmon->watch) != TN_OK)
    {
        err = errno;
        tn_netmon_destroy(netmon);
        errno = err;

        return NULL;
    }

    netmon->n = tn_netmon_addrs(netmon->ips, TN_NETMON_MAX);
    tn_gateway_way(netmon->way);
    tn_netmon_own(netmon);
    tn_netmon_steps_open(netmon);

    return netmon;
}


void
tn_netmon_destroy(tn_netmon_t *netmon)
{
    if (netmon == NULL) {
        return;
    }

    tn_timer_cancel(&netmon->loop->timers, &netmon->timer);
    tn_loop_unwatch(netmon->loop, &netmon->watch);
    tn_loop_unwatch(netmon->loop, &netmon->steps);

    if (netmon->steps.fd != -1) {
        (void) close(netmon->steps.fd);
    }

    if (netmon->watch.fd != -1) {
        (void) close(netmon->watch.fd);
    }

    free(netmon);
}


/* a kernel that cannot do that leaves sleep unnoticed */
static void
tn_netmon_steps_open(tn_netmon_t *netmon)
{
    netmon->ahead = (int64_t) (tn_loop_wall_ns() / 1000000)
                    - (int64_t) tn_loop_clock_ms();

    netmon->steps.fd = timerfd_create(CLOCK_REALTIME,
                                      TFD_NONBLOCK | TFD_CLOEXEC);
    netmon->steps.events = TN_LOOP_READ;
    netmon->steps.handler = tn_netmon_stepped;
    netmon->steps.data = netmon;

    if (netmon->steps.fd == -1
        || !tn_netmon_steps_arm(netmon)
        || tn_loop_watch(netmon->loop, &netmon->steps) != TN_OK)
    {
        tn_log(netmon->log, TN_LOG_INFO, "sleep of the machine is not "
               "noticed: %s", strerror(errno));
    }
}


/* it is not meant to fire, but nothing depends on that */
static bool
tn_netmon_steps_arm(tn_netmon_t *netmon)
{
    struct itimerspec  at;

    memset(&at, 0, sizeof(at));
    at.it_value.tv_sec = time(NULL) + (time_t) 365 * 86400;

    return timerfd_settime(netmon->steps.fd,
                           TFD_TIMER_ABSTIME | TFD_TIMER_CANCEL_ON_SET, &at,
                           NULL)
           == 0;
}


static void
tn_netmon_stepped(tn_watch_t *watch, uint32_t events)
{
    uint64_t      fired;
    tn_netmon_t  *netmon;

    (void) events;

    netmon = watch->data;

    /* ECANCELED: the clock was set */

    if (read(watch->fd, &fired, sizeof(fired)) == -1 && errno == EAGAIN) {
        return;
    }

    if (!tn_netmon_steps_arm(netmon)) {
        tn_loop_unwatch(netmon->loop, watch);
    }

    tn_netmon_clocks(netmon, tn_loop_wall_ns() / 1000000,
                     tn_loop_clock_ms());
}


void
tn_netmon_clocks(tn_netmon_t *netmon, uint64_t wall, tn_ms_t mono)
{
    int64_t  ahead, slept;

    ahead = (int64_t) wall - (int64_t) mono;
    slept = ahead - netmon->ahead;
    netmon->ahead = ahead;

    if (slept < TN_NETMON_SLEPT_MS) {
        return;
    }

    tn_log(netmon->log, TN_LOG_NOTICE, "the machine slept for %lld s, or its "
           "clock was set ahead", (long long) slept / 1000);

    netmon->slept = true;
    netmon->woke(netmon->data, (tn_ms_t) slept);
    tn_netmon_later(netmon);
}


static void
tn_netmon_event(tn_watch_t *watch, uint32_t events)
{
    bool          any;
    ssize_t       n;
    tn_netmon_t  *netmon;

    (void) events;

    netmon = watch->data;
    any = false;

    for ( ;; ) {
        n = recv(watch->fd, netmon->loop->scratch, TN_LOOP_SCRATCH, 0);

        if (n > 0) {
            any |= tn_netmon_is_news(netmon, netmon->loop->scratch,
                                     (size_t) n);
            continue;
        }

        if (n == -1 && errno == ENOBUFS) {
            memset(netmon->told, 0, sizeof(netmon->told));
            any = true;
            continue;
        }

        if (n == -1 && errno == EINTR) {
            continue;
        }

        break;
    }

    if (any) {
        tn_netmon_later(netmon);
    }
}


static bool
tn_netmon_is_news(tn_netmon_t *netmon, const uint8_t *bytes, size_t len)
{
    int               left;
    bool              news;
    struct nlmsghdr  *head;

    news = false;
    left = (int) len;

    for (head = (struct nlmsghdr *) (uintptr_t) bytes;
         NLMSG_OK(head, (unsigned int) tn_max(left, 0));
         head = NLMSG_NEXT(head, left))
    {
        news |= tn_netmon_is_new(netmon, head);
    }

    return news;
}


/* also remembers it */
static bool
tn_netmon_is_new(tn_netmon_t *netmon, struct nlmsghdr *head)
{
    size_t             i;
    tn_netmon_told_t   told, *former;

    if ((head->nlmsg_type != RTM_NEWADDR && head->nlmsg_type != RTM_DELADDR)
        || !tn_netmon_read(&told, head))
    {
        return true;
    }

    for (i = 0; i < TN_NETMON_MAX; i++) {
        former = &netmon->told[i];

        if (former->interface == told.interface && former->bits == told.bits
            && tn_ip_equal(&former->ip, &told.ip))
        {
            break;
        }
    }

    if (head->nlmsg_type == RTM_DELADDR) {
        if (i < TN_NETMON_MAX) {
            netmon->told[i].interface = 0;
        }

        return true;
    }

    if (i < TN_NETMON_MAX && netmon->told[i].flags == told.flags) {
        return false;
    }

    if (i == TN_NETMON_MAX) {
        i = netmon->next;
        netmon->next = (i + 1) % TN_NETMON_MAX;
    }

    netmon->told[i] = told;

    return true;
}


/* false: it names no address */
static bool
tn_netmon_read(tn_netmon_told_t *told, struct nlmsghdr *head)
{
    int                left;
    bool               local;
    struct rtattr     *attr;
    struct ifaddrmsg  *ifa;

    if (head->nlmsg_len < NLMSG_LENGTH(sizeof(*ifa))) {
        return false;
    }

    ifa = NLMSG_DATA(head);
    left = (int) IFA_PAYLOAD(head);
    local = false;

    memset(told, 0, sizeof(tn_netmon_told_t));
    told->interface = ifa->ifa_index;
    told->flags = ifa->ifa_flags;
    told->bits = ifa->ifa_prefixlen;

    for (attr = IFA_RTA(ifa); RTA_OK(attr, left); attr = RTA_NEXT(attr, left))
    {
        /* at one end of a point-to-point link the other is IFA_ADDRESS */

        if (attr->rta_type == IFA_LOCAL
            || (attr->rta_type == IFA_ADDRESS && !local))
        {
            local = attr->rta_type == IFA_LOCAL;

            if (ifa->ifa_family == AF_INET && RTA_PAYLOAD(attr) == 4) {
                told->ip = tn_ip_from_v4(RTA_DATA(attr));

            } else if (ifa->ifa_family == AF_INET6
                       && RTA_PAYLOAD(attr) == 16)
            {
                told->ip = tn_ip_from_v6(RTA_DATA(attr));
            }

        } else if (attr->rta_type == IFA_FLAGS && RTA_PAYLOAD(attr) == 4) {
            memcpy(&told->flags, RTA_DATA(attr), 4);
        }
    }

    return told->interface != 0 && !tn_ip_is_none(&told->ip);
}


static void
tn_netmon_later(tn_netmon_t *netmon)
{
    tn_ms_t  now, at;

    now = netmon->loop->now;

    if (!tn_timer_is_set(&netmon->timer)) {
        netmon->first = now;
    }

    at = tn_min(now + TN_NETMON_QUIET_MS,
                netmon->first + TN_NETMON_LONGEST_MS);

    (void) tn_timer_set(&netmon->loop->timers, &netmon->timer, at);
}


/*
 * Addresses of documentation: there is no more special way to them.  What is
 * not among ours, as that of another tailnet, says nothing.
 */
static void
tn_netmon_own(tn_netmon_t *netmon)
{
    size_t     i;
    tn_addr_t  to;

    static const char  *const outside[] = {
        "203.0.113.1", "2001:db8:ffff::1"
    };

    for (i = 0; i < 2; i++) {
        (void) tn_ip_parse(&to.ip, outside[i], strlen(outside[i]));
        to.port = 9;

        if (tn_sockname_towards(&to, &netmon->own[i]) != TN_OK
            || !tn_netmon_has(netmon->ips, netmon->n, &netmon->own[i]))
        {
            memset(&netmon->own[i], 0, sizeof(tn_ip_t));
        }
    }
}


static bool
tn_netmon_has(const tn_ip_t *ips, size_t n, const tn_ip_t *ip)
{
    size_t  i;

    for (i = 0; i < n && !tn_ip_equal(&ips[i], ip); i++) { /* void */ }

    return i < n;
}


/* one that is gone is what paths began at, as far as is known */
static bool
tn_netmon_is_left(const tn_netmon_t *netmon, const tn_ip_t *ips, size_t n)
{
    bool            known;
    size_t          i;
    const tn_ip_t  *ip;

    known = !tn_ip_is_none(&netmon->own[0])
            || !tn_ip_is_none(&netmon->own[1]);

    for (i = 0; i < netmon->n; i++) {
        ip = &netmon->ips[i];

        if (!tn_netmon_has(ips, n, ip)
            && (!known || tn_ip_equal(ip, &netmon->own[0])
                || tn_ip_equal(ip, &netmon->own[1])))
        {
            return true;
        }
    }

    return false;
}


static void
tn_netmon_tell(void *data, tn_ms_t now)
{
    bool                 differ, moved;
    char                 way[TN_GATEWAY_WAY];
    size_t               n;
    tn_ip_t              ips[TN_NETMON_MAX];
    tn_netmon_t         *netmon;
    tn_netmon_change_e   change;

    (void) now;

    netmon = data;

    memset(ips, 0, sizeof(ips));
    n = tn_netmon_addrs(ips, TN_NETMON_MAX);
    tn_gateway_way(way);

    differ = n != netmon->n
             || memcmp(ips, netmon->ips, n * sizeof(tn_ip_t)) != 0;
    moved = way[0] != '\0' && strcmp(way, netmon->way) != 0;

    change = moved || netmon->slept || tn_netmon_is_left(netmon, ips, n)
             ? TN_NETMON_MOVED
             : differ ? TN_NETMON_ADDRESSES : TN_NETMON_TOUCHED;

    memcpy(netmon->ips, ips, sizeof(ips));
    memcpy(netmon->way, way, sizeof(way));
    netmon->n = n;
    netmon->slept = false;
    tn_netmon_own(netmon);

    tn_log(netmon->log, TN_LOG_DEBUG,
           "the host's network changed, %zu usable addresses%s%s", n,
           differ ? ", not those of before" : "",
           moved ? ", another default route" : "");

    netmon->changed(netmon->data, change);
}
