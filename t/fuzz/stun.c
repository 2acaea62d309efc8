
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * STUN responses.
 */

#include "wire/tn_stun.h"

#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    uint8_t    txid[TN_STUN_TXID];
    tn_addr_t  addr;

    if (tn_stun_response(data, size, txid, &addr) == TN_OK
        && !tn_stun_is_binding(data, size))
    {
        abort();
    }

    return 0;
}
