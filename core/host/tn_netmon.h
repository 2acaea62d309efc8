
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The host's own addresses, and word when they, a link or a route change, or
 * when the machine has slept, but not when the lifetime of an address does.
 * Used by the node to find endpoints and to notice that it moved.
 */

#ifndef TN_NETMON_H_INCLUDED_
#define TN_NETMON_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_log.h"
#include "host/tn_loop.h"


#define TN_NETMON_MAX          64       /* addresses kept */
#define TN_NETMON_QUIET_MS     250      /* after the last event */
#define TN_NETMON_LONGEST_MS   2000     /* after the first event */
#define TN_NETMON_SLEPT_MS     10000    /* clocks differ by more: it slept */

typedef struct tn_netmon_s  tn_netmon_t;

/* but for the first of them, changes are major */
typedef enum {
    TN_NETMON_TOUCHED = 0,  /* a link or a route that may matter to nobody, as
                               those of containers */
    TN_NETMON_ADDRESSES,    /* the usable addresses are others, but the one
                               that the default route took is still there */
    TN_NETMON_MOVED         /* it is not, the default route is another, or the
                               machine slept */
} tn_netmon_change_e;

typedef void (*tn_netmon_pt)(void *data, tn_netmon_change_e change);

/* the machine slept for so long; word that it has moved follows */
typedef void (*tn_netmon_woke_pt)(void *data, tn_ms_t slept);


/*
 * Addresses of interfaces that are up, sorted, at most `max`: not link-local,
 * not multicast, not of a tailnet; loopback only when there is nothing else.
 * Returns their number; 0 also when the system cannot be asked.
 */
size_t tn_netmon_addrs(tn_ip_t *ips, size_t max);

/*
 * All addresses of the machine, whatever they are good for, allocated for the
 * caller; their number, or 0 when the system cannot be asked.
 */
size_t tn_netmon_machine(tn_ip_t **ips);

/* NULL with errno; log may be NULL */
tn_netmon_t *tn_netmon_create(tn_loop_t *loop, tn_netmon_pt changed,
    tn_netmon_woke_pt woke, void *data, tn_log_t *log);

void tn_netmon_destroy(tn_netmon_t *netmon);

/*
 * Compares both clocks, in milliseconds, with what they were at the last
 * call; called by itself when the kernel says that the wall clock was set.
 */
void tn_netmon_clocks(tn_netmon_t *netmon, uint64_t wall, tn_ms_t mono);


#endif /* TN_NETMON_H_INCLUDED_ */
