
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_resign.h"

#include "base/tn_cursor.h"
#include "crypto/tn_blake2s.h"
#include "tn_ed25519.h"

#include <sodium.h>
#include <stdlib.h>


/* upstream: maybeTrimRotationSignatureChain */
#define TN_RESIGN_PREV_MAX  15

#define TN_RESIGN_MARK      "--TL"
#define TN_RESIGN_NODE_LEN  (2 + TN_KEY_LEN)

/* a link's own bytes: a map, the kind, the node, and a signature */
#define TN_RESIGN_LINK_LEN                                                    \
    (1 + 2 + 3 + TN_RESIGN_NODE_LEN + 3 + TN_ED25519_SIGNATURE_LEN + 1)


static tn_rc_t tn_resign_wrap(uint8_t **bytes, size_t *len,
    const uint8_t *secret, const uint8_t *node);


tn_rc_t
tn_resign(uint8_t **out, size_t *len,
    const uint8_t secret[TN_RESIGN_SECRET_LEN], const tn_key_t *node,
    const uint8_t *old, size_t old_len)
{
    size_t         n;
    tn_rc_t        rc;
    unsigned       i, npubs;
    uint8_t       *bytes;
    tn_nodesig_t   sig;
    tn_str_t       inner;
    const uint8_t *pubs[TN_NODESIG_DEPTH_MAX];

    *out = NULL;

    rc = tn_nodesig_parse(&sig, old, old_len);
    if (rc != TN_OK) {
        return rc;
    }

    inner = sig.links[0].whole;
    npubs = 0;

    if (sig.links[0].node != NULL
        && memcmp(sig.links[0].node, node->b, TN_KEY_LEN) == 0)
    {
        /* it is of this key */

    } else {

        for (i = 0; i < sig.n; i++) {
            if (sig.links[i].node != NULL) {
                pubs[npubs++] = sig.links[i].node;
            }
        }

        if (npubs > TN_RESIGN_PREV_MAX) {

            /* the newest but one, around what a trusted key has signed */

            inner = sig.links[sig.n - 1].whole;
            npubs = TN_RESIGN_PREV_MAX - 1;

        } else {
            npubs = 0;
        }
    }

    n = inner.len;
    bytes = malloc(n);
    if (bytes == NULL) {
        return TN_NOMEM;
    }

    memcpy(bytes, inner.data, n);

    while (rc == TN_OK && npubs != 0) {
        rc = tn_resign_wrap(&bytes, &n, secret, pubs[--npubs]);
    }

    if (rc == TN_OK
        && (sig.links[0].node == NULL
            || memcmp(sig.links[0].node, node->b, TN_KEY_LEN) != 0))
    {
        rc = tn_resign_wrap(&bytes, &n, secret, node->b);
    }

    if (rc != TN_OK) {
        free(bytes);
        return rc;
    }

    *out = bytes;
    *len = n;

    return TN_OK;
}


/* { 1: rotation, 2: node, 4: signature of the rest, 5: nested } */
static tn_rc_t
tn_resign_wrap(uint8_t **bytes, size_t *len, const uint8_t *secret,
    const uint8_t *node)
{
    size_t              n, size;
    uint8_t            *buf, hash[TN_BLAKE2S_LEN];
    uint8_t             signature[TN_ED25519_SIGNATURE_LEN];
    unsigned            sealed;
    tn_writer_t         w;

    size = *len + TN_RESIGN_LINK_LEN;
    buf = malloc(size);

    if (buf == NULL) {
        return TN_NOMEM;
    }

    n = 0;

    for (sealed = 0; sealed < 2; sealed++) {
        w = tn_writer(buf, size);
        tn_write_u8(&w, sealed ? 0xa4 : 0xa3);
        tn_write_u8(&w, 1);
        tn_write_u8(&w, TN_NODESIG_ROTATION);
        tn_write_u8(&w, 2);
        tn_write_u8(&w, 0x58);
        tn_write_u8(&w, TN_RESIGN_NODE_LEN);
        tn_write_bytes(&w, "np", 2);
        tn_write_bytes(&w, node, TN_KEY_LEN);

        if (sealed) {
            tn_write_u8(&w, 4);
            tn_write_u8(&w, 0x58);
            tn_write_u8(&w, TN_ED25519_SIGNATURE_LEN);
            tn_write_bytes(&w, signature, sizeof(signature));
        }

        tn_write_u8(&w, 5);
        tn_write_bytes(&w, *bytes, *len);
        n = tn_writer_len(&w);

        if (w.bad
            || (!sealed
                && (tn_blake2s(hash, buf, n, NULL, 0) != TN_OK
                    || crypto_sign_detached(signature, NULL, hash,
                                            sizeof(hash), secret) != 0)))
        {
            free(buf);
            return TN_ERROR;
        }
    }

    free(*bytes);
    *bytes = buf;
    *len = n;

    return TN_OK;
}


size_t
tn_resign_auth_key(const char *key, uint8_t **sig, size_t *sig_len,
    uint8_t secret[TN_RESIGN_SECRET_LEN])
{
    size_t         n;
    uint8_t       *bytes;
    tn_nodesig_t   parsed;
    const char    *mark, *dash;

    *sig = NULL;

    mark = strstr(key, TN_RESIGN_MARK);
    if (mark == NULL) {
        return strlen(key);
    }

    dash = strchr(mark + sizeof(TN_RESIGN_MARK) - 1, '-');
    bytes = malloc(TN_NODESIG_LEN_MAX);

    if (dash == NULL || bytes == NULL
        || sodium_base642bin(bytes, TN_NODESIG_LEN_MAX,
                             mark + sizeof(TN_RESIGN_MARK) - 1,
                             (size_t) (dash - mark)
                             - (sizeof(TN_RESIGN_MARK) - 1),
                             NULL, sig_len, NULL,
                             sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0
        || sodium_base642bin(secret, TN_RESIGN_SECRET_LEN, dash + 1,
                             strlen(dash + 1), NULL, &n, NULL,
                             sodium_base64_VARIANT_ORIGINAL_NO_PADDING) != 0
        || n != TN_RESIGN_SECRET_LEN
        || tn_nodesig_parse(&parsed, bytes, *sig_len) != TN_OK
        || parsed.links[0].kind != TN_NODESIG_CREDENTIAL)
    {
        free(bytes);
        tn_wipe(secret, TN_RESIGN_SECRET_LEN);
        return strlen(key);
    }

    *sig = bytes;

    return (size_t) (mark - key);
}
