
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The Geneve header (RFC 8926) in which disco and WireGuard pass through a
 * peer relay: fixed part alone, no options (upstream: net/packet, geneve).
 */

#ifndef TN_GENEVE_H_INCLUDED_
#define TN_GENEVE_H_INCLUDED_

#include "base/tn_cursor.h"


#define TN_GENEVE_HEADER     8
#define TN_GENEVE_VNI_MAX    0xffffff

#define TN_GENEVE_DISCO      0x7a11
#define TN_GENEVE_WIREGUARD  0x7a12

typedef struct {
    uint16_t  protocol;     /* one of the two above */
    uint32_t  vni;          /* 1 to TN_GENEVE_VNI_MAX */
    bool      control;      /* between a client and the relay itself */
} tn_geneve_t;


/*
 * The header at the start of a datagram; what it carries follows.  TN_OK, or
 * TN_MALFORMED for all that upstream never sends: another version or
 * protocol, options, reserved bits, VNI 0, WireGuard with the control bit.
 * Bare disco, STUN and WireGuard never match.
 */
tn_rc_t tn_geneve_parse(tn_geneve_t *geneve, const uint8_t *bytes,
    size_t len);

/* appends the header; w->bad when it does not fit */
void tn_geneve_write(tn_writer_t *w, const tn_geneve_t *geneve);


#endif /* TN_GENEVE_H_INCLUDED_ */
