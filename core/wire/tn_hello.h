
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The ClientHello of TLS (RFC 8446, 4.1.2.), as far as it tells whom the
 * client wants and for what.  No state, no connection.
 */

#ifndef TN_HELLO_H_INCLUDED_
#define TN_HELLO_H_INCLUDED_

#include "base/tn_base.h"


#define TN_HELLO_NAME  256          /* of a server's name, with its zero */

#define TN_HELLO_ACME  "acme-tls/1" /* RFC 8737, 6.2. */


/*
 * A handshake message from its type on.  TN_OK: it is a ClientHello that
 * offers this protocol by ALPN and no other; name is the one it asks for
 * (SNI), in lower case.  TN_NOTFOUND: another message, or another client.
 * TN_MALFORMED.
 */
tn_rc_t tn_hello_only(const void *bytes, size_t len, const char *protocol,
    char name[TN_HELLO_NAME]);


#endif /* TN_HELLO_H_INCLUDED_ */
