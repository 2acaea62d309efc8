
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Geneve headers: what parses is written back to the same bytes.
 */

#include "wire/tn_geneve.h"

#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t      out[TN_GENEVE_HEADER];
    tn_writer_t  w;
    tn_geneve_t  geneve;

    if (tn_geneve_parse(&geneve, data, size) != TN_OK) {
        return 0;
    }

    w = tn_writer(out, sizeof(out));
    tn_geneve_write(&w, &geneve);

    if (w.bad || memcmp(out, data, sizeof(out)) != 0) {
        abort();
    }

    return 0;
}
