
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzz target: ClientHello.  What is taken has a name within its limits, and
 * means nothing one byte shorter.
 */

#include "wire/tn_hello.h"

#include <stdlib.h>


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char  name[TN_HELLO_NAME], other[TN_HELLO_NAME];

    if (tn_hello_only(data, size, TN_HELLO_ACME, name) != TN_OK) {
        return 0;
    }

    if (name[0] == '\0' || strlen(name) >= sizeof(name)
        || tn_hello_only(data, size - 1, TN_HELLO_ACME, other) == TN_OK)
    {
        abort();
    }

    return 0;
}
