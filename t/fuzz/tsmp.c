
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzzes the TSMP codec: what is read and written again reads the same.
 */

#include <stdlib.h>

#include "wire/tn_tsmp.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t       len;
    uint8_t      again[TN_TSMP_PACKET_MAX];
    tn_tsmp_t    msg, copy;
    tn_packet_t  p, q;

    if (tn_packet_parse(&p, data, size) != TN_OK
        || tn_tsmp_parse(&msg, data, &p) != TN_OK)
    {
        return 0;
    }

    len = tn_tsmp_build(again, sizeof(again), &msg, &p.src, &p.dst);

    if (len == 0
        || tn_packet_parse(&q, again, len) != TN_OK
        || tn_tsmp_parse(&copy, again, &q) != TN_OK
        || memcmp(&msg, &copy, sizeof(msg)) != 0)
    {
        abort();
    }

    return 0;
}
