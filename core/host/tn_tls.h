
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A TLS client profile: the roots to trust, or none.  Shared by connections
 * of any thread; tn_conn makes its sessions from it.
 */

#ifndef TN_TLS_H_INCLUDED_
#define TN_TLS_H_INCLUDED_

#include "base/tn_base.h"
#include "base/tn_key.h"

typedef struct ssl_st  SSL;


#define TN_TLS_TEXT  256        /* of an error, with its zero */

/* in place of an expected name: hex SHA-256 of the leaf certificate's DER */
#define TN_TLS_PIN  "sha256-raw:"

typedef struct tn_tls_s  tn_tls_t;


/*
 * Reads the PEM file `ca_file` (may be NULL) now, and of the system's roots,
 * later, those that are needed.  With `verify` off any certificate will do.
 * NULL on error, and `text` (of TN_TLS_TEXT bytes) says why.
 */
tn_tls_t *tn_tls_create(const char *ca_file, bool verify, char *text);

/* connections that use it may go on */
void tn_tls_free(tn_tls_t *tls);

/*
 * A client session on a connected non-blocking descriptor, which it does not
 * own.  SNI is `host` unless that is an IP literal.  The certificate must
 * carry `name` (NULL: `host`; may be an IP literal); a name that starts with
 * TN_TLS_PIN asks for that very leaf, in date, with or without `verify`, and
 * then no root matters.
 * TN_OK, TN_MALFORMED for a bad pin, TN_ERROR.
 */
tn_rc_t tn_tls_session(tn_tls_t *tls, SSL **ssl, int fd, const char *host,
    const char *name);

void tn_tls_session_free(SSL *ssl);

/*
 * What an SSL_*() call that has just failed in this thread means, in words of
 * a log line: the certificate's fault first, then the library's, then errno.
 */
void tn_tls_error(SSL *ssl, int err, char *text);

/*
 * A DERP server adds a certificate to its chain whose common name is
 * "derpkey" and the server's key, and whose serial number is the protocol
 * version.  True when the peer sent one by TLS 1.3; valid after the handshake.
 */
bool tn_tls_derp_key(SSL *ssl, tn_key_t *key, uint32_t *version);


#endif /* TN_TLS_H_INCLUDED_ */
