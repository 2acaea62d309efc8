
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What of JOSE an ACME account needs: P-256 keys, their JWK thumbprint, and
 * requests signed by ES256.  Keys are OpenSSL's and are wiped by it.
 */

#ifndef TN_JOSE_H_INCLUDED_
#define TN_JOSE_H_INCLUDED_

#include "base/tn_base.h"

#include <openssl/evp.h>


/* a new P-256 key for EVP_PKEY_free(), or NULL */
EVP_PKEY *tn_jose_key_create(void);

/* base64url without padding (RFC 7515, 2.), for free(); NULL: no memory */
char *tn_jose_base64(const void *data, size_t len);

/* the thumbprint of RFC 7638 in base64url, for free(); NULL on failure */
char *tn_jose_thumbprint(EVP_PKEY *key);

/*
 * The flattened JWS of `payload` ("" for a POST-as-GET, RFC 8555, 6.3.) with
 * `nonce` and `url` in its header, as text for free().  It names the account
 * `kid`, or with NULL carries the public key itself.  NULL on failure.
 */
char *tn_jose_sign(EVP_PKEY *key, const char *kid, const char *nonce,
    const char *url, const char *payload);


#endif /* TN_JOSE_H_INCLUDED_ */
