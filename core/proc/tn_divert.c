
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node that advertises routes gets packets for addresses of a whole subnet,
 * or of the Internet.  Three things bring them to a listener:
 *
 *   a rule    "iif tailnet0 lookup 52", and in that table a local default
 *             route: whatever comes in by the TUN is delivered here and not
 *             forwarded.  Packets for the node's own addresses are found in
 *             the table before, as without the rule.
 *   TPROXY    for other destinations, a listener is looked up at an address
 *             of the loopback instead of the packet's own.  The connection
 *             keeps the packet's addresses: getsockname() says where the
 *             client wanted to go, and that is what nginx sees.
 *   transparent sockets, which may have such addresses.
 *
 * "listen 80 capture" waits at 127.0.0.1:80, "listen any capture" at
 * 127.0.0.2:1; the rules for the first come first.  So a capturing listener
 * and an ordinary one of the same port are two sockets, and which of them
 * gets a connection is decided by its destination alone.
 *
 * "listen any udp capture" is no concern of the namespace: the core keeps its
 * datagrams (tn_udpnet.h).
 *
 * What nobody waits for is refused, TCP by a reset.  Pings are answered by
 * the core (tn_data_transit.c).  The rules live in the namespace: they outlast
 * the holder, and are the same each time they are written, but for the sets
 * of ports, which only grow; a port without a listener is refused like the
 * rest.
 *
 * The rules are made by libnftables, loaded when first needed: most nodes
 * capture nothing.
 */

#include "proc/tn_divert.h"
#include "proc/tn_netlink.h"

#include <dlfcn.h>
#include <errno.h>
#include <net/if.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>


#define TN_DIVERT_LIBRARY  "libnftables.so.1"
#define TN_DIVERT_TABLE    52

#define TN_DIVERT_ONE4     "127.0.0.1"
#define TN_DIVERT_ONE6     "::1"
#define TN_DIVERT_ANY4     "127.0.0.2"
#define TN_DIVERT_ANY6     "100::2"         /* RFC 6666: nobody's */

#ifndef IPV6_TRANSPARENT
#define IPV6_TRANSPARENT   75
#endif


/* <nftables/libnftables.h>, of which a build needs nothing else */

struct nft_ctx;

typedef struct {
    void             *library;
    struct nft_ctx   *(*create)(uint32_t flags);
    void              (*destroy)(struct nft_ctx *ctx);
    int               (*buffer_error)(struct nft_ctx *ctx);
    const char       *(*error)(struct nft_ctx *ctx);
    int               (*run)(struct nft_ctx *ctx, const char *text);
} tn_divert_nft_t;


static tn_rc_t tn_divert_routes(const char *tun, char *text);
static tn_rc_t tn_divert_rules(const char *rules, char *text);
static tn_rc_t tn_divert_load(tn_divert_nft_t *nft);
static tn_rc_t tn_divert_failed(char *text, const char *what);


/*
 * One transaction.  %1$s is the TUN, %2$s the set and %3$s the element that
 * this listener adds.
 */
static const char  tn_divert_text[] =
    "add table inet tailnet\n"
    "add set inet tailnet tcp4 { type inet_service; }\n"
    "add set inet tailnet tcp6 { type inet_service; }\n"
    "add set inet tailnet udp4 { type inet_service; }\n"
    "add set inet tailnet udp6 { type inet_service; }\n"
    "add chain inet tailnet capture"
    " { type filter hook prerouting priority -150; policy accept; }\n"
    "flush chain inet tailnet capture\n"
    "add rule inet tailnet capture iifname != \"%1$s\" accept\n"
    "add rule inet tailnet capture fib daddr type local accept\n"
    "add rule inet tailnet capture meta nfproto ipv4 tcp dport @tcp4"
    " tproxy ip to " TN_DIVERT_ONE4 " accept\n"
    "add rule inet tailnet capture meta nfproto ipv6 tcp dport @tcp6"
    " tproxy ip6 to [" TN_DIVERT_ONE6 "] accept\n"
    "add rule inet tailnet capture meta nfproto ipv4 udp dport @udp4"
    " tproxy ip to " TN_DIVERT_ONE4 " accept\n"
    "add rule inet tailnet capture meta nfproto ipv6 udp dport @udp6"
    " tproxy ip6 to [" TN_DIVERT_ONE6 "] accept\n"
    "add rule inet tailnet capture meta nfproto ipv4 meta l4proto tcp"
    " tproxy ip to " TN_DIVERT_ANY4 ":1 accept\n"
    "add rule inet tailnet capture meta nfproto ipv6 meta l4proto tcp"
    " tproxy ip6 to [" TN_DIVERT_ANY6 "]:1 accept\n"
    "add rule inet tailnet capture meta l4proto tcp reject with tcp reset\n"
    "add rule inet tailnet capture drop\n"
    "add element inet tailnet %2$s { %3$u }\n";


tn_rc_t
tn_divert_socket(int fd, const tn_ipc_listen_t *conf, tn_addr_t *addr,
    char *text)
{
    int          on, rc;
    bool         any;
    const char  *ip;

    on = 1;
    any = conf->port == 0;

    if (any && conf->proto != TN_IPC_TCP) {
        errno = EPROTONOSUPPORT;
        return tn_divert_failed(text, "a UDP listener for all ports");
    }

    if (conf->family == 4) {
        rc = setsockopt(fd, IPPROTO_IP, IP_TRANSPARENT, &on, sizeof(on));
        ip = any ? TN_DIVERT_ANY4 : TN_DIVERT_ONE4;

    } else {
        rc = setsockopt(fd, IPPROTO_IPV6, IPV6_TRANSPARENT, &on, sizeof(on));
        ip = any ? TN_DIVERT_ANY6 : TN_DIVERT_ONE6;
    }

    if (rc == -1) {
        return tn_divert_failed(text, "setsockopt(IP_TRANSPARENT)");
    }

    if (tn_ip_parse(&addr->ip, ip, strlen(ip)) != TN_OK) {
        return TN_ERROR;
    }

    addr->port = any ? TN_DIVERT_ANY_PORT : conf->port;

    return TN_OK;
}


tn_rc_t
tn_divert_start(const char *tun, const tn_ipc_listen_t *conf, char *text)
{
    int   n;
    char  set[16], rules[4096];

    if (tn_divert_routes(tun, text) != TN_OK) {
        return TN_ERROR;
    }

    snprintf(set, sizeof(set), "%s%c",
             conf->proto == TN_IPC_TCP ? "tcp" : "udp",
             conf->family == 4 ? '4' : '6');

    /* port 0, of a listener for all ports, never comes in */

    n = snprintf(rules, sizeof(rules), tn_divert_text, tun, set,
                 (unsigned) conf->port);

    if (n < 0 || (size_t) n >= sizeof(rules)) {
        errno = EINVAL;
        return tn_divert_failed(text, "the rules of a capturing listener");
    }

    return tn_divert_rules(rules, text);
}


static tn_rc_t
tn_divert_routes(const char *tun, char *text)
{
    int      fd, err, lo, family;
    tn_rc_t  rc;

    fd = tn_netlink_open();
    lo = if_nametoindex("lo");

    if (fd == -1 || lo == 0) {
        rc = tn_divert_failed(text, "socket(AF_NETLINK)");
        tn_ipc_close(&fd, 1);
        return rc;
    }

    rc = TN_OK;

    for (family = 4; family <= 6 && rc == TN_OK; family += 2) {

        if (family == 6 && access("/proc/sys/net/ipv6", F_OK) == -1) {
            break;
        }

        rc = tn_netlink_local_route(fd, lo, TN_DIVERT_TABLE, family);

        if (rc == TN_OK) {
            rc = tn_netlink_rule(fd, tun, TN_DIVERT_TABLE, family);
        }
    }

    if (rc != TN_OK) {
        (void) tn_divert_failed(text, "the route of captured connections");
    }

    err = errno;
    tn_ipc_close(&fd, 1);
    errno = err;

    return rc;
}


static tn_rc_t
tn_divert_rules(const char *rules, char *text)
{
    tn_rc_t           rc;
    const char       *error;
    tn_divert_nft_t   nft;
    struct nft_ctx   *ctx;

    if (tn_divert_load(&nft) != TN_OK) {
        errno = ENOENT;
        return tn_divert_failed(text, "loading " TN_DIVERT_LIBRARY
                                " (package libnftables1)");
    }

    rc = TN_ERROR;
    ctx = nft.create(0);

    if (ctx == NULL) {
        errno = ENOMEM;
        return tn_divert_failed(text, "nft_ctx_new()");
    }

    (void) nft.buffer_error(ctx);

    if (nft.run(ctx, rules) == 0) {
        rc = TN_OK;

    } else {
        error = nft.error(ctx);
        errno = ENOTSUP;

        snprintf(text, TN_IPC_TEXT, "the rules of a capturing listener were "
                 "refused (%.*s); remedy: a kernel with nf_tables and TPROXY",
                 error ? (int) strcspn(error, "\n") : 0, error ? error : "");
    }

    nft.destroy(ctx);

    return rc;
}


static tn_rc_t
tn_divert_load(tn_divert_nft_t *nft)
{
    size_t   i;
    void    *found;

    const struct {
        const char  *name;
        void        *function;
    } symbols[] = {
        { "nft_ctx_new", &nft->create },
        { "nft_ctx_free", &nft->destroy },
        { "nft_ctx_buffer_error", &nft->buffer_error },
        { "nft_ctx_get_error_buffer", &nft->error },
        { "nft_run_cmd_from_buffer", &nft->run }
    };

    /* once loaded it stays */

    nft->library = dlopen(TN_DIVERT_LIBRARY, RTLD_NOW | RTLD_LOCAL);

    if (nft->library == NULL) {
        return TN_NOTFOUND;
    }

    for (i = 0; i < tn_nelems(symbols); i++) {
        found = dlsym(nft->library, symbols[i].name);

        if (found == NULL) {
            return TN_NOTFOUND;
        }

        memcpy(symbols[i].function, &found, sizeof(found));
    }

    return TN_OK;
}


static tn_rc_t
tn_divert_failed(char *text, const char *what)
{
    int  err;

    err = errno;
    snprintf(text, TN_IPC_TEXT, "%s failed (%d: %s)", what, err,
             strerror(err));
    errno = err;

    return TN_ERROR;
}
