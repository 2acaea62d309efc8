
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * PCP messages byte by byte as RFC 6887 draws them, every shorter, longer or
 * altered answer refused.
 */

#include "tap.h"

#include "wire/tn_pcp.h"


#define CLIENT  "00000000000000000000ffff0a4e0102"
#define NONCE   "000102030405060708090a0b"

static const char  want_map[] =
    "02010000" "00001c20" CLIENT
    NONCE "11000000" "a2a9a2a9" "00000000000000000000ffff0a4d0003";

static const char  want_any[] =
    "02010000" "00000000" CLIENT
    NONCE "11000000" "a2a90000" "00000000000000000000ffff00000000";

static const char  granted[] =
    "02810000" "00000e10" "00000064" "000000000000000000000000"
    NONCE "11000000" "a2a9c350" "00000000000000000000ffff0a4d0003";

static const char  announced[] =
    "02800000" "00000000" "00000007" "000000000000000000000000";

static const char  nat_pmp_only[] = "0081000100000007";


static void
request_of(tn_pcp_request_t *request)
{
    memset(request, 0, sizeof(tn_pcp_request_t));

    (void) unhex(request->nonce, NONCE);
    (void) unhex(request->client.b, CLIENT);
    request->internal_port = 41641;
    request->lifetime = 7200;
    (void) tn_addr_parse(&request->suggested, "10.77.0.3:41641", 15);
}


static void
check_request(void)
{
    uint8_t           out[TN_PCP_MAP_LEN], want[TN_PCP_MAP_LEN];
    tn_pcp_request_t  request;

    request_of(&request);
    tn_pcp_map(out, &request);
    (void) unhex(want, want_map);
    is_mem(out, want, TN_PCP_MAP_LEN, "a MAP with a wish");

    memset(&request.suggested, 0, sizeof(tn_addr_t));
    request.lifetime = 0;
    tn_pcp_map(out, &request);
    (void) unhex(want, want_any);
    is_mem(out, want, TN_PCP_MAP_LEN, "a MAP to delete, any address");
}


static void
check_response(void)
{
    char               text[TN_ADDR_TEXT];
    size_t             n, i, wrong;
    uint8_t            bytes[TN_PCP_MAX + 8];
    tn_pcp_request_t   request;
    tn_pcp_response_t  response;

    request_of(&request);
    memset(bytes, 0, sizeof(bytes));
    n = unhex(bytes, granted);

    is_int(tn_pcp_response(bytes, n, &response), TN_OK, "a granted MAP");
    ok(tn_pcp_answers(&request, &response), "it is to the request");
    is_str(tn_addr_text(&response.external, text), "10.77.0.3:50000",
           "its address");
    is_int(response.result, TN_PCP_SUCCESS, "its result");
    is_int(response.lifetime, 3600, "its lifetime");
    is_int(response.epoch, 100, "its epoch");

    for (i = 0, wrong = 0; i < n; i++) {
        wrong += tn_pcp_response(bytes, i, &response) == TN_OK
                 && tn_pcp_answers(&request, &response);
    }

    is_int(wrong, 0, "nothing shorter is an answer");

    /* version, opcode, nonce, protocol and port have to match */

    for (i = 0, wrong = 0; i < 42; i++) {
        if ((i >= 2 && i < 24) || (i >= 37 && i < 40)) {
            continue;
        }

        bytes[i] ^= 0x10;
        wrong += tn_pcp_response(bytes, n, &response) == TN_OK
                 && tn_pcp_answers(&request, &response);
        bytes[i] ^= 0x10;
    }

    is_int(wrong, 0, "nor anything altered that matters");

    is_int(tn_pcp_response(bytes, TN_PCP_MAX, &response), TN_OK,
           "options are skipped");
    is_int(tn_pcp_response(bytes, TN_PCP_MAX + 4, &response), TN_MALFORMED,
           "too long");
    is_int(tn_pcp_response(bytes, n + 2, &response), TN_MALFORMED,
           "not of whole words");

    n = unhex(bytes, announced);
    is_int(tn_pcp_response(bytes, n, &response), TN_OK, "an announcement");
    is_int(response.opcode, TN_PCP_ANNOUNCE, "its opcode");
    is_int(response.epoch, 7, "its epoch");
    ok(!tn_pcp_answers(&request, &response), "it answers no request");

    n = unhex(bytes, nat_pmp_only);
    is_int(tn_pcp_response(bytes, n, &response), TN_OK,
           "a gateway that knows NAT-PMP alone");
    is_int(response.result, TN_PCP_UNSUPP_VERSION, "says so");
}


int
main(void)
{
    check_request();
    check_response();

    return tap_done();
}
