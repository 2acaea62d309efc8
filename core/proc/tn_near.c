
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * BBR fills paths that are long or lose packets, where CUBIC does not.  On a
 * LAN it gains nothing and costs much: it paces, so that the second packet of
 * an answer waits for a timer, and a small request costs nginx twice the CPU.
 * So it is chosen by path:
 *
 *     default routes              bbr, where the kernel has it
 *     a route of each near peer   cubic
 *
 * A far connection begins with TN_NEAR_FAR_SEGMENTS, 39 KB and nearly two round
 * trips less.  RFC 6928 has 10, of a window that is sent in one burst; BBR
 * spreads it over a third of a round trip.
 *
 * A route's choice (RTAX_CC_ALGO, ip-route(8): congctl) is taken over by each
 * connection as it begins, accepted or dialled, of whatever program, and
 * costs nothing then.
 *
 * A host that was set to anything else than these two has its reasons and is
 * left alone (net.ipv4.tcp_congestion_control).  Only what the kernel has
 * loaded is used.
 */

#include "proc/tn_near.h"
#include "proc/tn_netlink.h"

#include <fcntl.h>
#include <unistd.h>


#define TN_NEAR_BBR    "bbr"
#define TN_NEAR_CUBIC  "cubic"

#define TN_NEAR_PROC   "/proc/sys/net/ipv4/tcp_"


static bool tn_near_lists(const char *file, const char *name);
static void tn_near_add(tn_near_t *near, int fd, int ifindex,
    const tn_ip_t *ip);
static void tn_near_remove(tn_near_t *near, int fd, int ifindex,
    const tn_ip_t *ip);


void
tn_near_init(tn_near_t *near)
{
    bool  bbr, cubic;

    near->far = NULL;
    near->close = NULL;
    near->count = 0;

    bbr = tn_near_lists(TN_NEAR_PROC "available_congestion_control",
                        TN_NEAR_BBR);
    cubic = tn_near_lists(TN_NEAR_PROC "available_congestion_control",
                          TN_NEAR_CUBIC);

    if (bbr && cubic
        && (tn_near_lists(TN_NEAR_PROC "congestion_control", TN_NEAR_BBR)
            || tn_near_lists(TN_NEAR_PROC "congestion_control",
                             TN_NEAR_CUBIC)))
    {
        near->far = TN_NEAR_BBR;
        near->close = TN_NEAR_CUBIC;
    }
}


/* whether the name is one of the words in the file */
static bool
tn_near_lists(const char *file, const char *name)
{
    int      fd;
    char     buf[512], *word, *last;
    ssize_t  n;

    fd = open(file, O_RDONLY|O_CLOEXEC);

    if (fd == -1) {
        return false;
    }

    n = read(fd, buf, sizeof(buf) - 1);
    close(fd);

    if (n <= 0) {
        return false;
    }

    buf[n] = '\0';

    for (word = strtok_r(buf, " \n", &last); word;
         word = strtok_r(NULL, " \n", &last))
    {
        if (strcmp(word, name) == 0) {
            return true;
        }
    }

    return false;
}


void
tn_near_adopt(tn_near_t *near, int ifindex)
{
    int  fd;

    fd = tn_netlink_open();

    if (fd == -1) {
        return;
    }

    near->count = TN_NEAR_MAX;

    (void) tn_netlink_host_routes(fd, ifindex, near->ips, &near->count);

    close(fd);
}


const char *
tn_near_far(const tn_near_t *near)
{
    return near->far;
}


void
tn_near_set(tn_near_t *near, int ifindex, const tn_ip_t ips[2], bool is_near)
{
    int  i, fd;

    if (near->close == NULL) {
        return;
    }

    fd = tn_netlink_open();

    if (fd == -1) {
        return;
    }

    if (tn_ip_is_none(&ips[0]) && tn_ip_is_none(&ips[1])) {

        while (near->count) {
            tn_near_remove(near, fd, ifindex, &near->ips[near->count - 1]);
        }
    }

    for (i = 0; i < 2; i++) {

        if (tn_ip_is_none(&ips[i])) {
            continue;
        }

        if (is_near) {
            tn_near_add(near, fd, ifindex, &ips[i]);

        } else {
            tn_near_remove(near, fd, ifindex, &ips[i]);
        }
    }

    close(fd);
}


static void
tn_near_add(tn_near_t *near, int fd, int ifindex, const tn_ip_t *ip)
{
    tn_near_remove(near, fd, ifindex, ip);

    if (near->count < TN_NEAR_MAX
        && tn_netlink_host_route(fd, ifindex, ip, near->close) == TN_OK)
    {
        near->ips[near->count++] = *ip;
    }
}


static void
tn_near_remove(tn_near_t *near, int fd, int ifindex, const tn_ip_t *ip)
{
    size_t   i;
    tn_ip_t  gone;

    gone = *ip;

    (void) tn_netlink_host_route(fd, ifindex, &gone, NULL);

    for (i = 0; i < near->count; i++) {
        if (tn_ip_equal(&near->ips[i], &gone)) {
            near->ips[i] = near->ips[--near->count];
            return;
        }
    }
}
