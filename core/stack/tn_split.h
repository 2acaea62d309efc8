
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Cuts a super-packet of the kernel (TCP or UDP segmentation offload) into
 * the packets that go into the tunnel, in place; the data path calls it for
 * every frame read from the TUN.  Never copies payload, never allocates.
 */

#ifndef TN_SPLIT_H_INCLUDED_
#define TN_SPLIT_H_INCLUDED_

#include "tn_vnet.h"


/* a super-packet of more segments is malformed: 64 KB by TCP's least MSS */
#define TN_SPLIT_SEGMENTS_MAX  1536


/*
 * One complete packet with all checksums.  It must be used up (encrypted,
 * copied) before the call returns, as the next one's headers are written over
 * its end.  Its bytes may be overwritten, those behind it may not.
 */
typedef void (*tn_split_emit_pt)(void *data, uint8_t *packet, size_t len);


/*
 * Calls emit for each packet of the frame, in order; packet[0..len) is what
 * followed the header and gets overwritten.  Returns how many, or
 * TN_MALFORMED, and then emit was not called.
 */
int tn_split(const tn_vnet_t *vnet, uint8_t *packet, size_t len,
    tn_split_emit_pt emit, void *data);


/*
 * The same with packets of up to `longest` bytes, which a receiver that knows
 * of them takes as several that were joined: of TCP as many whole segments as
 * fit go into each, and what is left, shorter than a segment, alone.  A frame
 * that is not TCP's, or whose segments are not as long as the MTU of nodes
 * (TN_COALESCE_MTU), is cut as by tn_split().
 */
int tn_split_long(const tn_vnet_t *vnet, uint8_t *packet, size_t len,
    size_t longest, tn_split_emit_pt emit, void *data);


#endif /* TN_SPLIT_H_INCLUDED_ */
