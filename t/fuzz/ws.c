
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * WebSocket frames of a server in pieces of any length, and its response to
 * the upgrade.
 */

#include "wire/tn_ws.h"

#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t           step, n, len;
    uint8_t          piece[256], *pos, *out;
    tn_rc_t          rc;
    tn_ws_opcode_e   opcode;
    tn_ws_reader_t   reader;

    if (size == 0) {
        return 0;
    }

    step = 1 + *data++;
    size--;

    (void) tn_ws_refusal((const char *) data, size,
                         "dGhlIHNhbXBsZSBub25jZQ==", "derp");

    memset(&reader, 0, sizeof(reader));

    while (size != 0) {
        n = tn_min(step, tn_min(size, sizeof(piece)));
        memcpy(piece, data, n);
        data += n;
        size -= n;
        pos = piece;

        do {
            rc = tn_ws_read(&reader, &pos, &n, &opcode, &out, &len);

            if (rc == TN_OK && opcode != TN_WS_BINARY
                && len > TN_WS_CONTROL_MAX)
            {
                abort();
            }

        } while (rc == TN_OK);

        if (rc != TN_AGAIN) {
            break;
        }
    }

    return 0;
}
