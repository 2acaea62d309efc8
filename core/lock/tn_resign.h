
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Makes the one kind of signature that a node makes itself: of its new node
 * key, by its own lock key or by the credential of an auth key.
 */

#ifndef TN_RESIGN_H_INCLUDED_
#define TN_RESIGN_H_INCLUDED_

#include "tn_nodesig.h"


#define TN_RESIGN_SECRET_LEN  64    /* Ed25519: seed and public key */


/*
 * A rotation around `old` that is good for `node` (upstream: ResignNKS, and
 * SignByCredential when old is a credential); old itself when it is of this
 * node already.  Longer chains than others read are cut.  In new memory;
 * TN_MALFORMED, TN_NOMEM, TN_ERROR.
 */
tn_rc_t tn_resign(uint8_t **out, size_t *len,
    const uint8_t secret[TN_RESIGN_SECRET_LEN], const tn_key_t *node,
    const uint8_t *old, size_t old_len);

/*
 * The parts of an auth key that carries a credential,
 * "tskey-auth-...--TL<signature>-<secret>": the length of what control is to
 * see, and the credential in new memory.  The whole length, and *sig NULL,
 * for any other key and for one whose credential cannot be read.
 */
size_t tn_resign_auth_key(const char *key, uint8_t **sig, size_t *sig_len,
    uint8_t secret[TN_RESIGN_SECRET_LEN]);


#endif /* TN_RESIGN_H_INCLUDED_ */
