
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The few rtnetlink requests that set up a namespace: links, addresses and
 * default routes.  Used by tn_netns; acts on the caller's namespace, one
 * request at a time, each waited for.
 */

#ifndef TN_NETLINK_H_INCLUDED_
#define TN_NETLINK_H_INCLUDED_

#include "base/tn_addr.h"


typedef struct {
    uint32_t  mtu;              /* each 0: leave as it is */
    uint32_t  queue;            /* packets */
    uint32_t  gso_bytes;
    uint32_t  gso_segments;
    bool      no_link_local;    /* no IPv6 address of its own */
} tn_netlink_link_t;


/* a descriptor, close-on-exec, or -1 with errno */
int tn_netlink_open(void);

/*
 * Each below: TN_OK, or TN_ERROR with errno as the kernel answered.
 *
 * Changes what is set in *change (NULL: nothing) and brings the link up.
 */
tn_rc_t tn_netlink_link(int fd, int ifindex, const tn_netlink_link_t *change,
    bool up);

/* packets go to the device at once; the link has to be down */
tn_rc_t tn_netlink_no_qdisc(int fd, int ifindex);

/* adds or removes a full-length address; one that exists is not an error */
tn_rc_t tn_netlink_address(int fd, int ifindex, const tn_ip_t *ip, bool add);

/*
 * The addresses of a link, without link-local ones of IPv6; *count goes in
 * as the room in ips.  TN_NOMEM when there are more.
 */
tn_rc_t tn_netlink_addresses(int fd, int ifindex, tn_ip_t *ips,
    size_t *count);

/*
 * The default route of a family (4 or 6) over the link.  cc: the congestion
 * control of connections by it (RTAX_CC_ALGO), NULL: the namespace's own; with
 * one, how many segments a connection begins with, 0: as many as the kernel
 * likes.
 */
tn_rc_t tn_netlink_default_route(int fd, int ifindex, int family,
    const char *cc, uint32_t segments);

/*
 * Adds or replaces the route to one address over the link, with its
 * congestion control; cc NULL removes it, and one that is not there is no
 * error.
 */
tn_rc_t tn_netlink_host_route(int fd, int ifindex, const tn_ip_t *ip,
    const char *cc);

/*
 * The addresses that have such a route over the link; *count goes in as the
 * room in ips.  TN_NOMEM when there are more.
 */
tn_rc_t tn_netlink_host_routes(int fd, int ifindex, tn_ip_t *ips,
    size_t *count);

/*
 * A default route in a table of its own that delivers here, over the link
 * (lo), and the rule that sends what comes in by an interface to that table;
 * one that exists is not an error.
 */
tn_rc_t tn_netlink_local_route(int fd, int ifindex, uint32_t table,
    int family);
tn_rc_t tn_netlink_rule(int fd, const char *in, uint32_t table, int family);


#endif /* TN_NETLINK_H_INCLUDED_ */
