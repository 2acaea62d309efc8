
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What a "server ... tailnet" may be called, and who that is by a netmap:
 * MagicDNS names, addresses, "tag:NAME" and "svc:NAME".  Owns nothing.
 */

#ifndef TN_NODENAME_H_INCLUDED_
#define TN_NODENAME_H_INCLUDED_

#include "control/tn_netmap.h"
#include "proc/tn_ipc.h"


/*
 * Addresses of a host, best first, at most `max`.  A tag has one of each of
 * its online peers, another peer first for each `turn`.  Returns their
 * number, or 0 and in text (of TN_IPC_TEXT bytes) why there is none.
 */
size_t tn_nodename_resolve(const tn_netmap_t *netmap, const char *host,
    uint32_t turn, tn_ip_t *ips, size_t max, char *text);

/*
 * The online peers of "tag:NAME" by their ids, TN_IPC_MEMBERS_MAX at most;
 * msg->total counts also those that did not find room.  Of another name the
 * one that it is.
 */
void tn_nodename_members(const tn_netmap_t *netmap, const char *host,
    tn_ipc_members_t *msg);

/*
 * Whether this is the domain, of n bytes without a last dot, or a name below
 * it, whose own last dot does not count.
 */
bool tn_nodename_is_below(const char *name, const char *domain, size_t n);


#endif /* TN_NODENAME_H_INCLUDED_ */
