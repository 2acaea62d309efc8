
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * UDP for the lwip stack: one datagram, one packet.  Fragments are neither
 * made nor put together; the stack behind it has no other state of UDP than
 * who talks to whom, which its host keeps.
 */

#ifndef TN_DGRAM_H_INCLUDED_
#define TN_DGRAM_H_INCLUDED_

#include "wire/tn_ip.h"


/*
 * Writes headers before `len` bytes of data which the caller has put at
 * packet + tn_dgram_room().  Returns the length of the packet, or 0 when it
 * is larger than `size`.
 */
size_t tn_dgram_build(uint8_t *packet, size_t size, const tn_addr_t *from,
    const tn_addr_t *to, size_t len);

/* bytes of the headers before the data */
static inline size_t
tn_dgram_room(const tn_addr_t *to)
{
    return (tn_ip_is_v4(&to->ip) ? TN_IP4_HEADER_LEN : TN_IP6_HEADER_LEN)
           + TN_UDP_HEADER_LEN;
}

/*
 * The data of a whole UDP packet, *len bytes; NULL when its length or
 * checksum is wrong.
 */
const uint8_t *tn_dgram_data(const uint8_t *packet, const tn_packet_t *p,
    size_t *len);


#endif /* TN_DGRAM_H_INCLUDED_ */
