
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The header in front of every packet read from or written to a TUN with
 * IFF_VNET_HDR (VIRTIO 1.2, 5.1.6; linux/virtio_net.h): fields in host byte
 * order, 10 bytes, as TUNSETVNETHDRSZ is told.
 */

#ifndef TN_VNET_H_INCLUDED_
#define TN_VNET_H_INCLUDED_

#include "base/tn_base.h"


#define TN_VNET_F_NEEDS_CSUM  1     /* complete the checksum at csum_start +
                                       csum_offset, which holds the sum of
                                       the pseudo-header */
#define TN_VNET_GSO_NONE      0
#define TN_VNET_GSO_TCPV4     1
#define TN_VNET_GSO_TCPV6     4
#define TN_VNET_GSO_UDP_L4    5
#define TN_VNET_GSO_ECN       0x80  /* beside TCP: CWR on the first segment */

typedef struct {
    uint8_t   flags;
    uint8_t   gso_type;
    uint16_t  hdr_len;          /* a hint: of all headers together */
    uint16_t  gso_size;         /* payload bytes of each segment but the last */
    uint16_t  csum_start;
    uint16_t  csum_offset;
} tn_vnet_t;

_Static_assert(sizeof(tn_vnet_t) == 10, "tn_vnet_t is a wire format");


#endif /* TN_VNET_H_INCLUDED_ */
