
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Whether this machine has a certain socket, by the kernel's own list
 * (sock_diag(7)).
 */

#ifndef TN_SOCKDIAG_H_INCLUDED_
#define TN_SOCKDIAG_H_INCLUDED_

#include "base/tn_addr.h"


/*
 * proto: TN_PROTO_TCP or _UDP; the socket is bound to `local` and connected,
 * or connecting, to `remote`, in the network namespace of the caller.  False
 * also when the kernel cannot be asked.  One question and answer, no waiting.
 */
bool tn_sockdiag_has(uint8_t proto, const tn_addr_t *local,
    const tn_addr_t *remote);


#endif /* TN_SOCKDIAG_H_INCLUDED_ */
