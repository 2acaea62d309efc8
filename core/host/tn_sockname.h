
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Own addresses, as the kernel knows them: a socket's, and the one it would
 * send from.
 */

#ifndef TN_SOCKNAME_H_INCLUDED_
#define TN_SOCKNAME_H_INCLUDED_

#include "base/tn_addr.h"


/* what a socket is bound to; TN_ERROR: fd is no socket of IP */
tn_rc_t tn_sockname(int fd, tn_addr_t *addr);

/*
 * The address that packets to `to` have by the routes of this moment; nothing
 * is sent.  TN_NOTFOUND: there is no way; TN_ERROR: no socket to ask by.
 */
tn_rc_t tn_sockname_towards(const tn_addr_t *to, tn_ip_t *from);


#endif /* TN_SOCKNAME_H_INCLUDED_ */
