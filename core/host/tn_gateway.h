
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The router that the host sends to by default, as far as it may be asked
 * for port mappings, and which way that is.
 */

#ifndef TN_GATEWAY_H_INCLUDED_
#define TN_GATEWAY_H_INCLUDED_

#include "base/tn_addr.h"

#include <stdio.h>


/*
 * IPv4: the gateway of the default route with the lowest metric that is a
 * private address (RFC 1918), and our own address that is used towards it.
 * TN_OK, or TN_NOTFOUND when there is none or the system cannot be asked.
 */
tn_rc_t tn_gateway_find(tn_ip_t *gateway, tn_ip_t *self);

/* our own address towards this one; TN_OK or TN_NOTFOUND */
tn_rc_t tn_gateway_self(const tn_ip_t *gateway, tn_ip_t *self);

/* the gateway alone, by the text of /proc/net/route */
tn_rc_t tn_gateway_read(FILE *routes, tn_ip_t *gateway);


#define TN_GATEWAY_WAY  40

/*
 * The default route with the lowest metric as a text to compare: interface and
 * gateway of IPv4; where there is none, the interface of IPv6.  "" for none.
 */
void tn_gateway_way(char way[TN_GATEWAY_WAY]);

/* the same by the texts of /proc/net/route and /proc/net/ipv6_route, each may
 * be NULL */
void tn_gateway_read_way(FILE *routes, FILE *routes6,
    char way[TN_GATEWAY_WAY]);


#endif /* TN_GATEWAY_H_INCLUDED_ */
