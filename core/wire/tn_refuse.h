
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * How a host says that nobody waits at a port of it.
 */

#ifndef TN_REFUSE_H_INCLUDED_
#define TN_REFUSE_H_INCLUDED_

#include "wire/tn_icmp.h"


#define TN_REFUSE_MAX  TN_ICMP6_ERROR_MAX

/*
 * The answer to a packet, from its destination to its source: to a SYN a
 * reset, to UDP an ICMP error, port unreachable.  Returns the length, or 0
 * when there is no answer to it.
 */
size_t tn_refuse_build(uint8_t *buf, size_t size, const uint8_t *packet,
    const tn_packet_t *p);


#endif /* TN_REFUSE_H_INCLUDED_ */
