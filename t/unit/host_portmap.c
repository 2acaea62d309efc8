
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The life of a mapping by PCP at a gateway on loopback: granted, renewed at
 * half of its lifetime with the nonce it was got by, kept while nobody
 * answers, ended when refused, given back at the end.  And the gateway as
 * read from a table of routes.
 */

#include "tap.h"

#include "host/tn_gateway.h"
#include "host/tn_portmap_ask.h"
#include "wire/tn_pcp.h"

#include <netinet/in.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>


#define LIFETIME  4     /* seconds, as granted */

enum { GRANT, REFUSE, SILENT };

static int          gateway_fd;
static tn_ip_t      gateway_ip;
static atomic_int   gateway_mode;
static atomic_int   gateway_asked;
static atomic_int   gateway_deleted;
static uint8_t      gateway_nonce[TN_PCP_NONCE];
static atomic_bool  gateway_same;       /* always that nonce */

static tn_loop_t           loop;
static tn_portmap_state_t  seen;
static int                 changes;
static int                 asked_before;


static void *
gateway_thread(void *arg)
{
    ssize_t                  n;
    uint8_t                  q[128], a[TN_PCP_MAP_LEN];
    socklen_t                len;
    struct sockaddr_storage  ss;

    (void) arg;

    for ( ;; ) {
        len = sizeof(ss);
        n = recvfrom(gateway_fd, q, sizeof(q), 0, (struct sockaddr *) &ss,
                     &len);

        if (n == -1) {
            return NULL;
        }

        if (n != TN_PCP_MAP_LEN || q[0] != 2) {
            continue;
        }

        if (atomic_load(&gateway_asked) == 0) {
            memcpy(gateway_nonce, q + 24, TN_PCP_NONCE);
        }

        if (memcmp(gateway_nonce, q + 24, TN_PCP_NONCE) != 0) {
            atomic_store(&gateway_same, false);
        }

        atomic_fetch_add(&gateway_asked, 1);

        if (memcmp(q + 4, "\0\0\0\0", 4) == 0) {
            atomic_fetch_add(&gateway_deleted, 1);
        }

        if (atomic_load(&gateway_mode) == SILENT) {
            continue;
        }

        memset(a, 0, sizeof(a));
        a[0] = 2;
        a[1] = 0x81;
        a[3] = atomic_load(&gateway_mode) == REFUSE ? TN_PCP_NOT_AUTHORIZED
                                                    : TN_PCP_SUCCESS;
        a[7] = LIFETIME;
        memcpy(a + 24, q + 24, 18);
        memcpy(a + 42, "\xc3\x50", 2);
        memcpy(a + 44, "\0\0\0\0\0\0\0\0\0\0\xff\xff\xcb\x00\x71\x07", 16);

        (void) sendto(gateway_fd, a, sizeof(a), 0, (struct sockaddr *) &ss,
                      len);
    }
}


static bool
gateway_open(void)
{
    char                     text[64];
    size_t                   len;
    pthread_t                thread;
    tn_addr_t                addr;
    struct sockaddr_storage  ss;

    (void) snprintf(text, sizeof(text), "127.83.%d.%d:%d",
                    (int) (getpid() >> 8 & 0xff), (int) (getpid() & 0xff),
                    TN_PCP_PORT);
    (void) tn_addr_parse(&addr, text, strlen(text));
    gateway_ip = addr.ip;
    len = tn_addr_to_sockaddr(&addr, &ss);

    gateway_fd = socket(AF_INET, SOCK_DGRAM, 0);
    atomic_store(&gateway_same, true);

    return bind(gateway_fd, (struct sockaddr *) &ss, (socklen_t) len) == 0
           && pthread_create(&thread, NULL, gateway_thread, NULL) == 0
           && pthread_detach(thread) == 0;
}


static void
changed(void *data, const tn_portmap_state_t *state)
{
    (void) data;

    seen = *state;
    changes++;
}


static bool
is_mapped(void)
{
    return seen.proto == TN_PORTMAP_PCP;
}


static bool
is_lost(void)
{
    return seen.proto == TN_PORTMAP_NONE;
}


static bool
is_renewed(void)
{
    return atomic_load(&gateway_asked) >= 3;
}


static bool
is_retried(void)
{
    return atomic_load(&gateway_asked) > asked_before;
}


static bool
wait_for(bool (*cond)(void), tn_ms_t ms)
{
    tn_ms_t  end;

    end = tn_loop_clock_ms() + ms;

    while (!cond()) {
        if (tn_loop_clock_ms() >= end) {
            return false;
        }

        (void) tn_loop_turn(&loop, 20);
    }

    return true;
}


static tn_portmap_t *
start(const char *name)
{
    tn_key_t           secret;
    tn_portmap_t      *pm;
    tn_portmap_conf_t  conf;
    tn_portmap_want_t  want;

    memset(&secret, 7, sizeof(secret));
    memset(&conf, 0, sizeof(conf));
    conf.loop = &loop;
    conf.changed = changed;
    conf.name = name;
    conf.secret = &secret;
    conf.gateway = &gateway_ip;

    pm = tn_portmap_start(&conf);

    /* no search on the host's network by a unit test */

    want.port = 41641;
    want.no_upnp = true;
    tn_portmap_want(pm, &want);

    return pm;
}


static void
check_life(void)
{
    char           text[TN_ADDR_TEXT];
    tn_portmap_t  *pm;

    if (!ok(gateway_open(), "a gateway")) {
        return;
    }

    pm = start("one");

    ok(wait_for(is_mapped, 10000), "a mapping");
    is_str(tn_addr_text(&seen.external, text), "203.0.113.7:50000",
           "its address");
    is_int(seen.offers[TN_PORTMAP_PCP], TN_YES, "PCP is there");

    ok(wait_for(is_renewed, 10000), "renewed, and again");
    is_int(changes <= 2, true, "of which nothing is said");

    atomic_store(&gateway_mode, SILENT);
    asked_before = atomic_load(&gateway_asked);
    ok(wait_for(is_retried, 10000), "asked, without an answer");
    ok(is_mapped(), "it is kept meanwhile");

    atomic_store(&gateway_mode, REFUSE);
    tn_portmap_network_changed(pm);
    ok(wait_for(is_lost, 10000), "refused, it is lost");

    atomic_store(&gateway_mode, GRANT);
    tn_portmap_network_changed(pm);
    ok(wait_for(is_mapped, 10000), "granted again");

    is_int(atomic_load(&gateway_deleted), 0, "nothing was given back yet");
    tn_portmap_stop(pm);
    tn_portmap_drain(5000);
    is_int(atomic_load(&gateway_deleted), 1, "at the end it is given back");

    memset(&seen, 0, sizeof(seen));
    pm = start("two");
    ok(wait_for(is_mapped, 10000), "the next one");
    tn_portmap_stop(pm);
    tn_portmap_drain(5000);
    ok(atomic_load(&gateway_same), "all by one nonce");
}


static void
check_routes(void)
{
    static const struct {
        const char  *name;
        const char  *table;
        const char  *want;
    } cases[] = {
        { "none", "", NULL },
        { "a gateway",
          "eth0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
          "192.168.1.1" },
        { "the lowest metric",
          "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\t0\t0\n"
          "eth0\t00000000\t0100000A\t0003\t0\t0\t100\t00000000\t0\t0\t0\n",
          "10.0.0.1" },
        { "no default route",
          "eth0\t0000A8C0\t0101A8C0\t0003\t0\t0\t0\t0000FFFF\t0\t0\t0\n",
          NULL },
        { "half a default route",
          "tun0\t00000000\t0101A8C0\t0003\t0\t0\t0\t00000080\t0\t0\t0\n",
          NULL },
        { "without a gateway",
          "ppp0\t00000000\t00000000\t0001\t0\t0\t0\t00000000\t0\t0\t0\n",
          NULL },
        { "a public gateway",
          "eth0\t00000000\t01010108\t0003\t0\t0\t0\t00000000\t0\t0\t0\n",
          NULL },
        { "a broken table", "eth0\t00000000\nxyz\n\n", NULL }
    };

    FILE    *routes;
    char     text[TN_ADDR_TEXT], table[512];
    size_t   i;
    tn_ip_t  ip;
    tn_rc_t  rc;

    for (i = 0; i < tn_nelems(cases); i++) {
        (void) snprintf(table, sizeof(table), "Iface\tDestination\tGateway"
                        "\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\n%s",
                        cases[i].table);
        routes = fmemopen(table, strlen(table), "r");
        rc = tn_gateway_read(routes, &ip);
        (void) fclose(routes);

        if (cases[i].want == NULL) {
            is_int(rc, TN_NOTFOUND, cases[i].name);

        } else {
            is_str(rc == TN_OK ? tn_ip_text(&ip, text) : NULL,
                   cases[i].want, cases[i].name);
        }
    }
}


/* the way out, as text */
static const char *
way(const char *table, const char *table6)
{
    FILE        *routes, *routes6;
    static char  way[TN_GATEWAY_WAY];

    routes = fmemopen((char *) (uintptr_t) table, strlen(table), "r");
    routes6 = fmemopen((char *) (uintptr_t) table6, strlen(table6), "r");
    tn_gateway_read_way(routes, routes6, way);
    (void) fclose(routes);
    (void) fclose(routes6);

    return way;
}


#define SIX(bits, metric, flags, name)                                        \
    "00000000000000000000000000000000 " bits                                  \
    " 00000000000000000000000000000000 00"                                    \
    " fe800000000000000000000000000001 " metric                               \
    " 00000001 00000000 " flags "     " name "\n"


static void
check_way(void)
{
    static const char  head[] = "Iface\tDestination\tGateway\tFlags\tRefCnt"
        "\tUse\tMetric\tMask\tMTU\n";
    static const char  four[] =
        "eth0\t0000000A\t00000000\t0001\t0\t0\t0\t000000FF\t0\n"
        "wlan0\t00000000\t0101A8C0\t0003\t0\t0\t600\t00000000\t0\n"
        "eth0\t00000000\t0101000A\t0003\t0\t0\t100\t00000000\t0\n";
    static const char  reject[] =
        "*\t00000000\t00000000\t0201\t0\t0\t5\t00000000\t0\n";
    static const char  six[] = SIX("40", "00000001", "00000001", "eth1")
        SIX("00", "00000400", "00450003", "eth2")
        SIX("00", "00000200", "00000003", "eth3")
        SIX("00", "ffffffff", "00200200", "  lo");

    is_str(way(four, six), "eth0 0101000a", "the way out, by IPv4");
    is_str(way(head, six), "eth3", "by IPv6 where there is none");
    is_str(way(reject, head), "", "a route that refuses is none");
}


/* in a child: a socket that takes no more connections, asked by miniupnpc */
static void
ask_a_deaf_one(void)
{
    int                  i, fd, deaf;
    socklen_t            len;
    struct rlimit        limit;
    tn_portmap_site_t    site;
    struct sockaddr_in   sin;
    tn_portmap_lease_t   lease;

    memset(&sin, 0, sizeof(sin));
    sin.sin_family = AF_INET;
    sin.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    len = sizeof(sin);
    deaf = socket(AF_INET, SOCK_STREAM, 0);

    if (getrlimit(RLIMIT_NOFILE, &limit) == -1 || deaf == -1
        || bind(deaf, (struct sockaddr *) &sin, sizeof(sin)) == -1
        || getsockname(deaf, (struct sockaddr *) &sin, &len) == -1
        || listen(deaf, 0) == -1)
    {
        _exit(2);
    }

    limit.rlim_cur = limit.rlim_max;
    (void) setrlimit(RLIMIT_NOFILE, &limit);

    /* what comes when its queue is full is not answered */

    for (i = 0; i < 8; i++) {
        fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
        (void) connect(fd, (struct sockaddr *) &sin, sizeof(sin));
    }

    while (fd != -1 && fd < FD_SETSIZE) {
        fd = dup(deaf);
    }

    if (fd == -1) {
        _exit(3);
    }

    memset(&site, 0, sizeof(site));
    memset(&lease, 0, sizeof(lease));
    lease.proto = TN_PORTMAP_UPNP;
    (void) snprintf(lease.url, sizeof(lease.url), "http://127.0.0.1:%u/ctl",
                    ntohs(sin.sin_port));
    (void) snprintf(lease.service, sizeof(lease.service),
                    "urn:schemas-upnp-org:service:WANIPConnection:1");

    tn_portmap_release(&site, &lease);
    _exit(0);
}


static void
check_many(void)
{
    int    status;
    pid_t  pid;

    pid = fork();

    if (pid == 0) {
        ask_a_deaf_one();
    }

    if (pid == -1 || waitpid(pid, &status, 0) != pid) {
        abort();
    }

    if (WIFEXITED(status) && WEXITSTATUS(status) == 3) {
        ok(true, "# SKIP no more than %d descriptors", FD_SETSIZE);
        return;
    }

    ok(WIFEXITED(status) && WEXITSTATUS(status) == 0,
       "a deaf gateway, beside many descriptors");
}


int
main(void)
{
    check_routes();
    check_way();
    check_many();

    if (tn_loop_init(&loop) != TN_OK) {
        return 1;
    }

    check_life();
    tn_loop_done(&loop);

    return tap_done();
}
