
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Verifies Ed25519 signatures by two rules: that of libsodium, and that of
 * ZIP 215, by which every node of a tailnet judges the authority's own.
 */

#ifndef TN_ED25519_H_INCLUDED_
#define TN_ED25519_H_INCLUDED_

#include "base/tn_base.h"


#define TN_ED25519_PUBLIC_LEN     32
#define TN_ED25519_SIGNATURE_LEN  64

/*
 * RFC 8032 without the cofactor, and no point of small order or in another
 * than its canonical encoding.
 */
bool tn_ed25519_verify(const uint8_t sig[TN_ED25519_SIGNATURE_LEN],
    const uint8_t *msg, size_t len, const uint8_t pub[TN_ED25519_PUBLIC_LEN]);

/*
 * ZIP 215 (upstream uses the package ed25519consensus): S below the group's
 * order, every encoding of every point, and [8]SB = [8]R + [8]kA.  A chain
 * of updates must mean the same to all who read it, also when the one who
 * signed a part of it wants the opposite.
 */
bool tn_ed25519_verify_zip215(const uint8_t sig[TN_ED25519_SIGNATURE_LEN],
    const uint8_t *msg, size_t len, const uint8_t pub[TN_ED25519_PUBLIC_LEN]);


#endif /* TN_ED25519_H_INCLUDED_ */
