
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The router that the host sends to by default, as far as it may be asked
 * for port mappings.
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


#endif /* TN_GATEWAY_H_INCLUDED_ */
