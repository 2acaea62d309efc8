
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Q encoding: any bytes become something that may stand in a header.
 */

#include "wire/tn_qword.h"

#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char    *out;
    size_t   i, n;

    out = malloc(TN_QWORD_ROOM(size));
    if (out == NULL) {
        abort();
    }

    n = tn_qword_encode(out, (const char *) data, size);

    for (i = 0; i < n; i++) {
        if ((out[i] < ' ' || out[i] > '~') && out[i] != '\t') {
            abort();
        }
    }

    free(out);

    return 0;
}
