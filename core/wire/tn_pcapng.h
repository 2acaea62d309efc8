
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Blocks of a pcapng file (draft-ietf-opsawg-pcapng) of bare IP packets, in
 * network byte order, times in nanoseconds since 1970.
 */

#ifndef TN_PCAPNG_H_INCLUDED_
#define TN_PCAPNG_H_INCLUDED_

#include "base/tn_base.h"


#define TN_PCAPNG_HEAD          72      /* bytes of the blocks before packets */
#define TN_PCAPNG_PACKET_MORE   64      /* and around a packet, at most */


typedef struct {
    uint64_t        wall_ns;
    uint64_t        lost;       /* packets between the last one and this */
    bool            out;        /* sent by this host */
    const uint8_t  *bytes;
    size_t          len;
} tn_pcapng_packet_t;


/* the length of what was written; 0: it does not fit */
size_t tn_pcapng_head(uint8_t *buf, size_t size);
size_t tn_pcapng_packet(uint8_t *buf, size_t size,
    const tn_pcapng_packet_t *packet);


#endif /* TN_PCAPNG_H_INCLUDED_ */
