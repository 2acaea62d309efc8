
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "proc/tn_netns.h"
#include "proc/tn_divert.h"
#include "proc/tn_netlink.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>


/* in <linux/if_tun.h> since Linux 6.2 */
#ifndef TUN_F_USO4
#define TUN_F_USO4  0x20
#define TUN_F_USO6  0x40
#endif

#define TN_NETNS_VNET_HDR  10

#define TN_NETNS_PORT_START  "ipv4/ip_unprivileged_port_start"

#define TN_NETNS_ALLOW                                                        \
    "allow unprivileged user namespaces "                                     \
    "(sysctl kernel.unprivileged_userns_clone, user.max_user_namespaces, "    \
    "kernel.apparmor_restrict_unprivileged_userns; in a container: "          \
    "its seccomp profile or the capability SYS_ADMIN)"

#define TN_NETNS_REMEDY  "start nginx as root, or " TN_NETNS_ALLOW


typedef struct {
    const char  *path;          /* below /proc/sys/net */
    const char  *value;
} tn_netns_setting_t;


/*
 * Only what belongs to the namespace.  A setting that this kernel does not
 * have, or does not let a child namespace change, is left as it is.
 */
static const tn_netns_setting_t  tn_netns_before[] = {

    /* a listener on port 80 needs no capability here */
    { TN_NETNS_PORT_START, "0" },

    /* the backlog that nginx asks for is what it gets */
    { "core/somaxconn", "65535" },

    /* nor is "fastopen" of a listener without effect */
    { "ipv4/tcp_fastopen", "3" },

    /* what waits at a listener that is closed goes to another of its port */
    { "ipv4/tcp_migrate_req", "1" },

    /* dials without keepalive, to few addresses, use up ports */
    { "ipv4/tcp_tw_reuse", "1" },

    { "ipv4/tcp_rmem", "4096 131072 6291456" },
    { "ipv4/tcp_wmem", "4096 16384 4194304" },

    /* keepalive connections of a proxy idle often */
    { "ipv4/tcp_slow_start_after_idle", "0" },

    /* replies may leave by another address than the request came to */
    { "ipv4/conf/all/rp_filter", "0" },
    { "ipv4/conf/default/rp_filter", "0" },

    { "ipv6/conf/all/disable_ipv6", "0" },
    { "ipv6/conf/default/disable_ipv6", "0" },
    { "ipv6/conf/default/accept_ra", "0" },
    { "ipv6/conf/default/autoconf", "0" },
    { "ipv6/conf/default/accept_dad", "0" },
    { "ipv6/conf/default/dad_transmits", "0" },
    { "ipv6/conf/default/router_solicitations", "0" }
};


static tn_rc_t tn_netns_unshare(tn_netns_t *ns, char *text);
static bool tn_netns_admin(void);
static tn_rc_t tn_netns_map(const char *file, unsigned id, char *text);
static tn_rc_t tn_netns_write(const char *path, const char *value);
static void tn_netns_set(const char *path, const char *value);
static tn_rc_t tn_netns_open_tun(tn_netns_t *ns, char *text);
static tn_rc_t tn_netns_set_tun(int fd, short flags);
static int tn_netns_open_bulk(void);
static tn_rc_t tn_netns_links(tn_netns_t *ns, char *text);
static tn_rc_t tn_netns_set_addresses(tn_netns_t *ns, int fd, int ifindex,
    const tn_ip_t *ips, size_t count, char *text);
static tn_rc_t tn_netns_default_route(tn_netns_t *ns, int fd, int family);
static tn_rc_t tn_netns_failed(char *text, const char *call,
    const char *remedy);


tn_rc_t
tn_netns_create(tn_netns_t *ns, char *text)
{
    int     err;
    size_t  i;

    ns->net_fd = -1;
    ns->user_fd = -1;
    ns->tun_fd = -1;
    ns->bulk_fd = -1;
    ns->ifindex = 0;
    ns->features = 0;

    if (tn_netns_unshare(ns, text) != TN_OK) {
        goto failed;
    }

    ns->net_fd = open("/proc/self/ns/net", O_RDONLY|O_CLOEXEC);

    if (ns->net_fd == -1) {
        tn_netns_failed(text, "open(\"/proc/self/ns/net\")",
                        "mount /proc");
        goto failed;
    }

    if (ns->features & TN_IPC_UNPRIVILEGED) {
        ns->user_fd = open("/proc/self/ns/user", O_RDONLY|O_CLOEXEC);

        if (ns->user_fd == -1) {
            tn_netns_failed(text, "open(\"/proc/self/ns/user\")",
                            "mount /proc");
            goto failed;
        }
    }

    for (i = 0; i < tn_nelems(tn_netns_before); i++) {
        tn_netns_set(tn_netns_before[i].path, tn_netns_before[i].value);
    }

    tn_near_init(&ns->near);

    if (tn_netns_open_tun(ns, text) != TN_OK
        || tn_netns_links(ns, text) != TN_OK)
    {
        goto failed;
    }

    return TN_OK;

failed:

    err = errno;
    tn_ipc_close(&ns->net_fd, 1);
    tn_ipc_close(&ns->user_fd, 1);
    tn_ipc_close(&ns->tun_fd, 1);
    tn_ipc_close(&ns->bulk_fd, 1);
    errno = err;

    return TN_ERROR;
}


static tn_rc_t
tn_netns_unshare(tn_netns_t *ns, char *text)
{
    uid_t  uid;
    gid_t  gid;

    uid = geteuid();
    gid = getegid();

    if (uid == 0 && tn_netns_admin() && unshare(CLONE_NEWNET) == 0) {
        return TN_OK;
    }

    if (unshare(CLONE_NEWUSER|CLONE_NEWNET) == -1) {
        return tn_netns_failed(text, "unshare(CLONE_NEWUSER|CLONE_NEWNET)",
                               uid == 0 ? TN_NETNS_ALLOW : TN_NETNS_REMEDY);
    }

    ns->features |= TN_IPC_UNPRIVILEGED;

    /* user_namespaces(7): an unprivileged gid_map wants setgroups denied */

    if (tn_netns_write("/proc/self/setgroups", "deny") != TN_OK
        && errno != ENOENT)
    {
        return tn_netns_failed(text, "write(\"/proc/self/setgroups\")",
                               TN_NETNS_REMEDY);
    }

    if (tn_netns_map("/proc/self/uid_map", uid, text) != TN_OK
        || tn_netns_map("/proc/self/gid_map", gid, text) != TN_OK)
    {
        return TN_ERROR;
    }

    return TN_OK;
}


/*
 * Root of a container may have the right to make a namespace and not that to
 * set it up, which inside of a user namespace of its own it has.
 */
static bool
tn_netns_admin(void)
{
    struct __user_cap_header_struct  header;
    struct __user_cap_data_struct    data[_LINUX_CAPABILITY_U32S_3];

    memset(&header, 0, sizeof(header));
    memset(data, 0, sizeof(data));

    header.version = _LINUX_CAPABILITY_VERSION_3;

    return syscall(SYS_capget, &header, data) == 0
           && (data[0].effective & 1U << CAP_NET_ADMIN);
}


static tn_rc_t
tn_netns_map(const char *file, unsigned id, char *text)
{
    char  line[32], call[64];

    snprintf(line, sizeof(line), "0 %u 1", id);

    if (tn_netns_write(file, line) == TN_OK) {
        return TN_OK;
    }

    snprintf(call, sizeof(call), "write(\"%s\")", file);

    return tn_netns_failed(text, call, TN_NETNS_REMEDY);
}


static tn_rc_t
tn_netns_write(const char *path, const char *value)
{
    int      fd, err;
    ssize_t  n;

    fd = open(path, O_WRONLY|O_CLOEXEC);

    if (fd == -1) {
        return TN_ERROR;
    }

    n = write(fd, value, strlen(value));

    err = errno;
    close(fd);
    errno = err;

    return n == -1 ? TN_ERROR : TN_OK;
}


static void
tn_netns_set(const char *path, const char *value)
{
    char  full[128];

    snprintf(full, sizeof(full), "/proc/sys/net/%s", path);

    (void) tn_netns_write(full, value);
}


bool
tn_netns_any_port(void)
{
    int      fd;
    char     value[2];
    ssize_t  n;

    fd = open("/proc/sys/net/" TN_NETNS_PORT_START, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        return false;
    }

    n = read(fd, value, sizeof(value));
    close(fd);

    return n == 2 && value[0] == '0' && value[1] == '\n';
}


static tn_rc_t
tn_netns_open_tun(tn_netns_t *ns, char *text)
{
    int       size;
    unsigned  offload;

    ns->tun_fd = open("/dev/net/tun", O_RDWR|O_CLOEXEC|O_NONBLOCK);

    if (ns->tun_fd == -1) {
        return tn_netns_failed(text, "open(\"/dev/net/tun\")",
                               errno == EACCES || errno == EPERM
                               ? "let nginx's user open it (chmod 0666 "
                                 "/dev/net/tun; in a container: "
                                 "--device /dev/net/tun)"
                               : "load the module (modprobe tun; in a "
                                 "container: --device /dev/net/tun)");
    }

    if (tn_netns_set_tun(ns->tun_fd, IFF_MULTI_QUEUE) == TN_OK) {
        ns->bulk_fd = tn_netns_open_bulk();

    } else if (tn_netns_set_tun(ns->tun_fd, 0) != TN_OK) {
        return tn_netns_failed(text, "ioctl(TUNSETIFF)", TN_NETNS_REMEDY);
    }

    size = TN_NETNS_VNET_HDR;

    if (ioctl(ns->tun_fd, TUNSETVNETHDRSZ, &size) == -1) {
        return tn_netns_failed(text, "ioctl(TUNSETVNETHDRSZ)",
                               "a kernel of 3.2 or later");
    }

    offload = TUN_F_CSUM|TUN_F_TSO4|TUN_F_TSO6|TUN_F_TSO_ECN;

    if (ioctl(ns->tun_fd, TUNSETOFFLOAD, offload|TUN_F_USO4|TUN_F_USO6) == 0) {
        ns->features |= TN_IPC_TUN_USO;

    } else if (ioctl(ns->tun_fd, TUNSETOFFLOAD, offload) == -1) {
        return tn_netns_failed(text, "ioctl(TUNSETOFFLOAD)",
                               "a kernel of 3.2 or later");
    }

    ns->ifindex = if_nametoindex(TN_NETNS_TUN);

    if (ns->ifindex == 0) {
        return tn_netns_failed(text, "if_nametoindex()", "none known");
    }

    return TN_OK;
}


static tn_rc_t
tn_netns_set_tun(int fd, short flags)
{
    struct ifreq  ifr;

    memset(&ifr, 0, sizeof(ifr));
    memcpy(ifr.ifr_name, TN_NETNS_TUN, sizeof(TN_NETNS_TUN));
    ifr.ifr_flags = (short) (IFF_TUN|IFF_NO_PI|IFF_VNET_HDR|flags);

    return ioctl(fd, TUNSETIFF, &ifr) == -1 ? TN_ERROR : TN_OK;
}


/*
 * The second queue of the TUN, or -1.  Detached it takes nothing: who reads
 * it attaches it first, so nothing is lost to a core that knows only one.
 */
static int
tn_netns_open_bulk(void)
{
    int           fd;
    struct ifreq  ifr;

    fd = open("/dev/net/tun", O_RDWR|O_CLOEXEC|O_NONBLOCK);

    if (fd == -1) {
        return -1;
    }

    memset(&ifr, 0, sizeof(ifr));
    ifr.ifr_flags = IFF_DETACH_QUEUE;

    if (tn_netns_set_tun(fd, IFF_MULTI_QUEUE) != TN_OK
        || ioctl(fd, TUNSETQUEUE, &ifr) == -1)
    {
        tn_ipc_close(&fd, 1);
    }

    return fd;
}


static tn_rc_t
tn_netns_links(tn_netns_t *ns, char *text)
{
    int                fd, six, lo;
    tn_rc_t            rc;
    const char        *what;
    tn_netlink_link_t  link;

    fd = tn_netlink_open();

    if (fd == -1) {
        return tn_netns_failed(text, "socket(AF_NETLINK)",
                               "a kernel with rtnetlink");
    }

    six = socket(AF_INET6, SOCK_DGRAM|SOCK_CLOEXEC, 0);

    if (six == -1 || access("/proc/sys/net/ipv6", F_OK) == -1) {
        ns->features |= TN_IPC_NO_IPV6;
    }

    tn_ipc_close(&six, 1);

    rc = TN_ERROR;

    what = "bringing up lo";
    lo = if_nametoindex("lo");

    if (lo == 0 || tn_netlink_link(fd, lo, NULL, true) != TN_OK) {
        goto done;
    }

    if (!(ns->features & TN_IPC_NO_IPV6)) {
        tn_netns_set("ipv6/conf/" TN_NETNS_TUN "/disable_ipv6", "0");
        tn_netns_set("ipv6/conf/" TN_NETNS_TUN "/accept_dad", "0");
        tn_netns_set("ipv6/conf/" TN_NETNS_TUN "/addr_gen_mode", "1");
    }

    what = "setting up " TN_NETNS_TUN;

    memset(&link, 0, sizeof(link));
    link.mtu = TN_NETNS_MTU;
    link.queue = TN_NETNS_QUEUE;

    if (tn_netlink_link(fd, ns->ifindex, &link, false) != TN_OK) {
        goto done;
    }

    /* kernels that do not take these still work, only slower */

    memset(&link, 0, sizeof(link));
    link.gso_bytes = TN_NETNS_GSO_BYTES;
    link.gso_segments = TN_NETNS_GSO_SEGMENTS;
    (void) tn_netlink_link(fd, ns->ifindex, &link, false);

    if (!(ns->features & TN_IPC_NO_IPV6)) {
        memset(&link, 0, sizeof(link));
        link.no_link_local = true;
        (void) tn_netlink_link(fd, ns->ifindex, &link, false);
    }

    /*
     * A TUN takes or drops, it never asks to wait.  And the kernel would make
     * a qdisc for each of the 256 queues that there might be, 24 KB and more.
     */

    if (ns->bulk_fd != -1) {
        (void) tn_netlink_no_qdisc(fd, ns->ifindex);
    }

    what = "bringing up " TN_NETNS_TUN;

    if (tn_netlink_link(fd, ns->ifindex, NULL, true) != TN_OK) {
        goto done;
    }

    what = "the default route of IPv4";

    if (tn_netns_default_route(ns, fd, 4) != TN_OK) {
        goto done;
    }

    what = "the default route of IPv6";

    if (!(ns->features & TN_IPC_NO_IPV6)
        && tn_netns_default_route(ns, fd, 6) != TN_OK)
    {
        goto done;
    }

    rc = TN_OK;

done:

    if (rc != TN_OK) {
        (void) tn_netns_failed(text, what, TN_NETNS_REMEDY);
    }

    tn_ipc_close(&fd, 1);

    return rc;
}


/* with the congestion control for far peers, if the kernel takes it */
static tn_rc_t
tn_netns_default_route(tn_netns_t *ns, int fd, int family)
{
    const char  *far;

    far = tn_near_far(&ns->near);

    if (far != NULL
        && tn_netlink_default_route(fd, ns->ifindex, family, far,
                                    TN_NEAR_FAR_SEGMENTS)
           == TN_OK)
    {
        return TN_OK;
    }

    return tn_netlink_default_route(fd, ns->ifindex, family, NULL, 0);
}


tn_rc_t
tn_netns_join(tn_netns_t *ns, char *text)
{
    /* the user namespace first: it gives the right to enter the other */

    if (ns->user_fd != -1 && setns(ns->user_fd, CLONE_NEWUSER) == -1) {
        return tn_netns_failed(text, "setns(CLONE_NEWUSER)", TN_NETNS_REMEDY);
    }

    if (setns(ns->net_fd, CLONE_NEWNET) == -1) {
        return tn_netns_failed(text, "setns(CLONE_NEWNET)", TN_NETNS_REMEDY);
    }

    tn_near_init(&ns->near);

    ns->features = access("/proc/sys/net/ipv6", F_OK) == 0 ? 0
                                                           : TN_IPC_NO_IPV6;
    ns->ifindex = if_nametoindex(TN_NETNS_TUN);

    if (ns->ifindex == 0) {
        return tn_netns_failed(text, "if_nametoindex(\"" TN_NETNS_TUN "\")",
                               "restart nginx");
    }

    tn_near_adopt(&ns->near, ns->ifindex);

    return TN_OK;
}


tn_rc_t
tn_netns_addresses(tn_netns_t *ns, const tn_ip_t *ips, size_t count,
    size_t services, char *text)
{
    int      fd, err;
    tn_rc_t  rc;

    fd = tn_netlink_open();

    if (fd == -1) {
        return tn_netns_failed(text, "socket(AF_NETLINK)",
                               "a kernel with rtnetlink");
    }

    /* what is on another interface than the TUN is no source for it */

    rc = tn_netns_set_addresses(ns, fd, ns->ifindex, ips, count - services,
                                text);

    if (rc == TN_OK) {
        rc = tn_netns_set_addresses(ns, fd, (int) if_nametoindex("lo"),
                                    ips + count - services, services, text);
    }

    err = errno;
    close(fd);
    errno = err;

    return rc;
}


static tn_rc_t
tn_netns_set_addresses(tn_netns_t *ns, int fd, int ifindex,
    const tn_ip_t *ips, size_t count, char *text)
{
    int      err;
    size_t   i, j, n;
    tn_rc_t  rc;
    char     ip[TN_ADDR_TEXT];
    tn_ip_t  now[TN_IPC_ADDRS * 2];

    n = tn_nelems(now);
    rc = tn_netlink_addresses(fd, ifindex, now, &n);

    if (rc != TN_OK) {
        return tn_netns_failed(text, "listing the addresses",
                               "restart nginx");
    }

    /* new ones first, so that there is always one to send from */

    for (i = 0; i < count; i++) {

        for (j = 0; j < n && !tn_ip_equal(&ips[i], &now[j]); j++) {
            /* void */
        }

        if (j < n || tn_ip_is_none(&ips[i])
            || (!tn_ip_is_v4(&ips[i]) && (ns->features & TN_IPC_NO_IPV6)))
        {
            continue;
        }

        if (tn_netlink_address(fd, ifindex, &ips[i], true) != TN_OK) {
            err = errno;
            snprintf(text, TN_IPC_TEXT, "adding address %s failed (%d: %s)",
                     tn_ip_text(&ips[i], ip), err, strerror(err));
            errno = err;
            rc = TN_ERROR;
        }
    }

    for (j = 0; j < n; j++) {

        for (i = 0; i < count && !tn_ip_equal(&ips[i], &now[j]); i++) {
            /* void */
        }

        if (i == count && !tn_ip_is_loopback(&now[j])
            && tn_netlink_address(fd, ifindex, &now[j], false) != TN_OK)
        {
            err = errno;
            snprintf(text, TN_IPC_TEXT, "removing address %s failed (%d: %s)",
                     tn_ip_text(&now[j], ip), err, strerror(err));
            errno = err;
            rc = TN_ERROR;
        }
    }

    return rc;
}


int
tn_netns_listen(const tn_ipc_listen_t *conf, char *text)
{
    int                      fd, on, err;
    bool                     v4;
    tn_addr_t                addr;
    const char              *call;
    socklen_t                len;
    struct sockaddr_in6     *sin6;
    struct sockaddr_storage  ss;

    v4 = conf->family == 4;
    on = 1;

    call = "socket()";
    fd = tn_netns_socket(conf->family, conf->proto);

    if (fd == -1) {
        goto failed;
    }

    /*
     * SO_REUSEPORT always: the clones of "reuseport" share the port, and a
     * socket can be made anew while an old worker still holds the one before.
     */

    call = "setsockopt()";

    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on)) == -1
        || setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on)) == -1)
    {
        goto failed;
    }

    if (!v4 && setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on))
               == -1)
    {
        goto failed;
    }

    if (conf->proto == TN_IPC_UDP
        && (v4 ? setsockopt(fd, IPPROTO_IP, IP_PKTINFO, &on, sizeof(on))
               : setsockopt(fd, IPPROTO_IPV6, IPV6_RECVPKTINFO, &on,
                            sizeof(on)))
           == -1)
    {
        goto failed;
    }

    memset(&addr, 0, sizeof(addr));
    memset(&ss, 0, sizeof(ss));
    addr.port = conf->port;

    if (conf->flags & TN_IPC_CAPTURE) {

        if (tn_divert_socket(fd, conf, &addr, text) != TN_OK
            || tn_divert_start(TN_NETNS_TUN, conf, text) != TN_OK)
        {
            err = errno;
            tn_ipc_close(&fd, 1);
            errno = err;

            return -1;
        }

        len = tn_addr_to_sockaddr(&addr, &ss);

    } else if (v4) {
        addr.ip = tn_ip_from_v4((const uint8_t *) "\0\0\0\0");
        len = tn_addr_to_sockaddr(&addr, &ss);

    } else {
        sin6 = (struct sockaddr_in6 *) &ss;
        sin6->sin6_family = AF_INET6;
        sin6->sin6_port = htons(conf->port);
        len = sizeof(*sin6);
    }

    call = "bind()";

    if (bind(fd, (struct sockaddr *) &ss, len) == -1) {
        goto failed;
    }

    call = "listen()";

    if (conf->proto == TN_IPC_TCP
        && listen(fd, conf->backlog > 0 ? conf->backlog : 511) == -1)
    {
        goto failed;
    }

    return fd;

failed:

    err = errno;
    tn_ipc_close(&fd, 1);
    snprintf(text, TN_IPC_TEXT, "%s for port %u of node \"%s\" failed "
             "(%d: %s)", call, conf->port, conf->node, err, strerror(err));
    errno = err;

    return -1;
}


int
tn_netns_socket(uint16_t family, uint16_t proto)
{
    if ((family != 4 && family != 6)
        || (proto != TN_IPC_TCP && proto != TN_IPC_UDP))
    {
        errno = EINVAL;
        return -1;
    }

    return socket(family == 4 ? AF_INET : AF_INET6,
                  (proto == TN_IPC_TCP ? SOCK_STREAM : SOCK_DGRAM)
                  |SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
}


static tn_rc_t
tn_netns_failed(char *text, const char *call, const char *remedy)
{
    int  err;

    err = errno;

    snprintf(text, TN_IPC_TEXT, "%s failed (%d: %s); remedy: %s", call, err,
             strerror(err), remedy);

    errno = err;

    return TN_ERROR;
}
