
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The Internet checksum (RFC 1071) over buffers and pseudo-headers.  Sums are
 * kept unfolded in 64 bits and in the byte order of memory, so a folded sum
 * is stored into a header as it is, without htons().
 */

#ifndef TN_CHECKSUM_H_INCLUDED_
#define TN_CHECKSUM_H_INCLUDED_

#include <arpa/inet.h>

#include "base/tn_base.h"


/*
 * Adds `len` bytes to a sum that started at 0.  The bytes must stand at an
 * even offset of what is summed; so only the last piece may be of odd length.
 */
uint64_t tn_checksum_add(uint64_t sum, const void *data, size_t len);

/* for tests: the same by registers of at most so many bytes, 64, 32 or 16,
 * as a CPU does that has no wider ones */
uint64_t tn_checksum_add_by(size_t width, uint64_t sum, const void *data,
    size_t len);


/* adds two sums without losing the carry */
static inline uint64_t
tn_checksum_join(uint64_t a, uint64_t b)
{
    a += b;

    return a + (a < b);
}


/* one 16-bit number in host byte order */
static inline uint64_t
tn_checksum_add_u16(uint64_t sum, uint16_t v)
{
    return tn_checksum_join(sum, htons(v));
}


/* to 16 bits, not inverted; the form NEEDS_CSUM wants for a pseudo-header */
static inline uint16_t
tn_checksum_fold(uint64_t sum)
{
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffffffff) + (sum >> 32);
    sum = (sum & 0xffff) + (sum >> 16);
    sum = (sum & 0xffff) + (sum >> 16);

    return (uint16_t) sum;
}


/* the field of a header: inverted; 0 for UDP is to be sent as 0xffff */
static inline uint16_t
tn_checksum_finish(uint64_t sum)
{
    return (uint16_t) ~tn_checksum_fold(sum);
}


/*
 * The sum of the pseudo-header of the IPv4 or IPv6 header at `ip` (by its
 * version), for `len` bytes of transport header and data.
 */
uint64_t tn_checksum_pseudo(const uint8_t *ip, uint8_t proto, uint32_t len);

/* sets the checksum field of an IPv4 header of `len` bytes */
void tn_checksum_ip4(uint8_t *ip, size_t len);


#endif /* TN_CHECKSUM_H_INCLUDED_ */
