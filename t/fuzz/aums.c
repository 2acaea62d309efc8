
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzzes the store of tailnet lock's updates: what can be read can be written
 * and read again to the same head, and knows all of itself; and auth keys
 * that carry a credential.
 */

#include <stdlib.h>

#include "crypto/tn_curve.h"
#include "lock/tn_aums.h"
#include "lock/tn_resign.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
must(bool fact)
{
    if (!fact) {
        abort();
    }
}


static void
store(const uint8_t *data, size_t size)
{
    size_t       n, len;
    uint8_t      ancestors[TN_AUMS_OFFER_MAX][TN_BLAKE2S_LEN], *bytes;
    tn_aums_t   *chain, *again;
    tn_str_t     missing[8];

    chain = tn_aums_unpack(data, size);
    if (chain == NULL) {
        return;
    }

    n = tn_aums_offer(chain, ancestors, TN_AUMS_OFFER_MAX);
    must(n > 0);
    must(tn_aums_missing(chain, tn_aums_lock(chain)->head,
                         (const uint8_t (*)[TN_BLAKE2S_LEN]) ancestors, n,
                         missing, 8, &len) == TN_OK && len == 0);

    must(tn_aums_pack(chain, &bytes, &len) == TN_OK);
    again = tn_aums_unpack(bytes, len);
    must(again != NULL
         && memcmp(tn_aums_lock(again)->head, tn_aums_lock(chain)->head,
                   TN_BLAKE2S_LEN) == 0);

    free(bytes);
    tn_aums_destroy(again);
    tn_aums_destroy(chain);
}


static void
auth_key(const uint8_t *data, size_t size)
{
    char      *text;
    size_t     len, sig_len, out_len;
    uint8_t   *sig, *out, secret[TN_RESIGN_SECRET_LEN];
    tn_key_t   node;

    text = malloc(size + 1);
    if (text == NULL) {
        return;
    }

    memcpy(text, data, size);
    text[size] = '\0';

    len = tn_resign_auth_key(text, &sig, &sig_len, secret);
    must(len <= strlen(text) && (sig != NULL || len == strlen(text)));

    if (sig != NULL) {
        memset(&node, 7, sizeof(node));

        if (tn_resign(&out, &out_len, secret, &node, sig, sig_len) == TN_OK) {
            free(out);
        }

        free(sig);
    }

    free(text);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size == 0 || tn_crypto_init() != TN_OK) {
        return 0;
    }

    if (data[0] == 'k') {
        auth_key(data + 1, size - 1);
    } else {
        store(data + 1, size - 1);
    }

    return 0;
}
