
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Which pure ACKs of a batch say nothing that a later segment of their flow
 * does not say, and may be left out.  The coalescer asks.
 */

#ifndef TN_THIN_H_INCLUDED_
#define TN_THIN_H_INCLUDED_

#include "wire/tn_ip.h"


#define TN_THIN_PAIRS      512              /* a power of two */
#define TN_THIN_MAX_BYTES  (256 * 1024)     /* one ACK tells at most */


typedef struct {
    uint32_t         flow;      /* 0: none; its lowest bit: ack is known,
                                   otherwise the flow only has a SYN so far */
    uint32_t         ack;       /* the highest that the stack has, or gets */
} tn_thin_flow_t;

/* flows are found by their hash, in either place of a pair */
typedef struct {
    tn_thin_flow_t   pairs[TN_THIN_PAIRS][2];
} tn_thin_t;


/*
 * Takes notice of a whole TCP packet that goes to the stack; hash is
 * tn_packet_flow() with its lowest bit set.  True when it is a pure ACK that
 * a later segment may replace; then *base is what was acknowledged before.
 */
bool tn_thin_note(tn_thin_t *thin, const uint8_t *packet,
    const tn_packet_t *p, uint32_t hash, uint32_t *base);

/*
 * Whether `later`, of the same flow, makes superfluous the ACK for which
 * tn_thin_note() gave `base`.  Checksums are the caller's business: `later`
 * must be one that the stack will not throw away.
 */
bool tn_thin_replaces(const uint8_t *ack, const tn_packet_t *p, uint32_t base,
    const uint8_t *later, const tn_packet_t *q);


#endif /* TN_THIN_H_INCLUDED_ */
