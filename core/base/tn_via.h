
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * 4via6: addresses of IPv6 within fd7a:115c:a1e0:b1a::/64 that stand for an
 * address of IPv4 at one of many sites, which may all have the same networks.
 * Behind the prefix are the number of the site, 32 bits, and the address.
 */

#ifndef TN_VIA_H_INCLUDED_
#define TN_VIA_H_INCLUDED_

#include "base/tn_addr.h"


/* of a prefix that names a site and nothing of its addresses */
#define TN_VIA_BITS  96

bool tn_via_is(const tn_ip_t *ip);

/* the address at the site; `ip` is one of 4via6 */
tn_ip_t tn_via_target(const tn_ip_t *ip);

/* "10-1-2-3-via-7", a DNS label; TN_OK or TN_MALFORMED */
tn_rc_t tn_via_parse(tn_ip_t *ip, const char *label, size_t len);


#endif /* TN_VIA_H_INCLUDED_ */
