
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Answers of a gateway that speaks PCP.
 */

#include "wire/tn_pcp.h"

#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    tn_pcp_request_t   request;
    tn_pcp_response_t  response;

    memset(&request, 0, sizeof(request));
    request.internal_port = 41641;

    if (tn_pcp_response(data, size, &response) != TN_OK) {
        return 0;
    }

    if (tn_pcp_answers(&request, &response)
        && (size < TN_PCP_MAP_LEN || response.internal_port != 41641))
    {
        abort();
    }

    return 0;
}
