
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzz target: heads of PeerAPI requests.  What is taken has an end where it
 * says, the same meaning without what follows, and texts within their limits.
 */

#include "wire/tn_peerapi.h"

#include <stdlib.h>


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char                   name[TN_PEERAPI_TEXT];
    size_t                 head, again;
    tn_ip_t                ip;
    uint16_t               port;
    uint8_t                query[64];
    tn_addr_t              src;
    tn_peerapi_request_t   request, other;

    if (tn_peerapi_parse(&request, data, size, &head) != TN_OK) {
        return 0;
    }

    if (head > size || head < 4 || memcmp(data + head - 4, "\r\n\r\n", 4) != 0
        || tn_peerapi_parse(&other, data, head, &again) != TN_OK
        || again != head
        || memcmp(&request, &other, sizeof(request)) != 0
        || tn_peerapi_parse(&other, data, head - 1, &again) == TN_OK
        || request.query + request.query_len > head
        || tn_peerapi_dns((const char *) data + request.query,
                          request.query_len, query, sizeof(query))
           > sizeof(query)
        || request.path[0] != '/' || request.method[0] == '\0')
    {
        abort();
    }

    (void) tn_ip_parse(&ip, "100.64.0.2", 10);

    if (tn_peerapi_check(&request, &ip, 1) == NULL
        && (request.origin || request.referer))
    {
        abort();
    }

    if (tn_peerapi_ingress(&request, &src, name, &port) == NULL
        && (port == 0 || name[0] == '\0' || strlen(name) >= sizeof(name)))
    {
        abort();
    }

    return 0;
}
