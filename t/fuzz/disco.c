
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Insides of disco boxes: what parses is written back, and then parses to
 * the same.
 */

#include "wire/tn_disco.h"

#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t         out[1 << 16];
    tn_writer_t     w;
    tn_disco_msg_t  msg, again;

    (void) tn_disco_sender(data, size);

    if (size > sizeof(out) - 2 || tn_disco_parse(&msg, data, size) != TN_OK) {
        return 0;
    }

    w = tn_writer(out, sizeof(out));
    tn_disco_write(&w, &msg);

    if (w.bad || tn_disco_parse(&again, out, tn_writer_len(&w)) != TN_OK) {
        abort();
    }

    /* a node key of zeroes is left out, and becomes padding no more */

    if (msg.type == TN_DISCO_PING) {
        return 0;
    }

    if (memcmp(&msg, &again, sizeof(msg)) != 0) {
        abort();
    }

    return 0;
}
