
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A proxy's answer to CONNECT, and URLs of proxies.
 */

#include "host/tn_proxy.h"

#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char         *copy, reason[TN_PROXY_TEXT];
    tn_rc_t       rc;
    unsigned      status;
    tn_proxy_t    proxy;
    const char   *why;

    copy = malloc(size + 1);

    if (copy == NULL || size == 0) {
        free(copy);
        return 0;
    }

    memcpy(copy, data, size);

    rc = tn_proxy_answer(copy, size, &status, reason);

    if (strnlen(reason, sizeof(reason)) == sizeof(reason)
        || (rc == TN_OK && status / 100 != 2))
    {
        abort();
    }

    rc = tn_proxy_parse(&proxy, copy, size, true, &why);

    if (rc == TN_OK && (proxy.host[0] == '\0' || proxy.port == 0)) {
        abort();
    }

    free(copy);

    return 0;
}
