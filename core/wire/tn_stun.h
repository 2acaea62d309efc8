
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * STUN as DERP servers speak it: the binding request of a tailnet node and
 * the success response (RFC 5389).  Called by netcheck.
 */

#ifndef TN_STUN_H_INCLUDED_
#define TN_STUN_H_INCLUDED_

#include "base/tn_addr.h"


#define TN_STUN_TXID         12
#define TN_STUN_REQUEST_LEN  40


/* whether a datagram is a STUN message of the binding method */
bool tn_stun_is_binding(const uint8_t *bytes, size_t len);

/*
 * A request with SOFTWARE and FINGERPRINT exactly as DERP servers demand:
 * they answer no other.  out has room for TN_STUN_REQUEST_LEN bytes.
 */
void tn_stun_request(uint8_t *out, const uint8_t txid[TN_STUN_TXID]);

/*
 * A success response: its transaction and the address the server saw.
 * TN_OK or TN_MALFORMED.
 */
tn_rc_t tn_stun_response(const uint8_t *bytes, size_t len,
    uint8_t txid[TN_STUN_TXID], tn_addr_t *addr);


#endif /* TN_STUN_H_INCLUDED_ */
