
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Another source or destination address in a packet, checksums kept right
 * (RFC 1624).  Called by node for masqueraded peers.
 */

#ifndef TN_READDRESS_H_INCLUDED_
#define TN_READDRESS_H_INCLUDED_

#include "wire/tn_ip.h"


/*
 * `packet` as parsed to *p, which follows; `ip` is of the packet's family.
 * Fragments are changed alike: only the first has the checksum.
 */
void tn_readdress_src(uint8_t *packet, tn_packet_t *p, const tn_ip_t *ip);
void tn_readdress_dst(uint8_t *packet, tn_packet_t *p, const tn_ip_t *ip);


#endif /* TN_READDRESS_H_INCLUDED_ */
