
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Routes of near peers outlive their holder: the next one knows them.
 */

#include "proc/tn_near.h"
#include "proc/tn_netlink.h"

#include <stdlib.h>

#include "own_network.h"
#include "tap.h"


#define LO  1


static tn_near_t  first, second;


static void
choose(tn_near_t *near)
{
    tn_near_init(near);

    /* whatever this kernel has: each has this one */

    near->close = "reno";
}


static size_t
routes(void)
{
    int      fd;
    size_t   n;
    tn_ip_t  ips[16];

    n = 16;
    fd = tn_netlink_open();

    if (fd == -1 || tn_netlink_host_routes(fd, LO, ips, &n) != TN_OK) {
        abort();
    }

    close(fd);

    return n;
}


int
main(void)
{
    int      six;
    tn_ip_t  a[2], b[2], none[2];

    if (!own_network(0)) {
        printf("1..0 # SKIP no network namespace can be made\n");
        return 0;
    }

    memset(none, 0, sizeof(none));
    memset(b, 0, sizeof(b));

    if (tn_ip_parse(&a[0], "100.64.0.7", 10) != TN_OK
        || tn_ip_parse(&a[1], "fd7a:115c:a1e0::7", 17) != TN_OK
        || tn_ip_parse(&b[0], "100.64.0.8", 10) != TN_OK)
    {
        abort();
    }

    six = access("/proc/sys/net/ipv6", F_OK) == 0;

    choose(&first);
    tn_near_set(&first, LO, a, true);
    tn_near_set(&first, LO, b, true);
    is_int((long long) routes(), 2 + six, "routes of two near peers");

    choose(&second);
    tn_near_adopt(&second, LO);
    is_int((long long) second.count, 2 + six, "the next holder knows them");
    is_int((long long) routes(), 2 + six, "and leaves them");

    tn_near_set(&second, LO, a, false);
    is_int((long long) routes(), 1, "one is not near any more");

    tn_near_set(&second, LO, none, false);
    is_int((long long) routes(), 0, "nobody is");
    is_int((long long) second.count, 0, "it knows");

    return tap_done();
}
