
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Messages of RFC 6887: a header of 24 bytes (7.1, 7.2) and MAP's 36 (11.1).
 * Options may follow; none is asked for, so those that come are skipped.
 */

#include "wire/tn_pcp.h"

#include "base/tn_cursor.h"


#define TN_PCP_VERSION     2
#define TN_PCP_RESPONSE    0x80
#define TN_PCP_UDP         17


void
tn_pcp_map(uint8_t *out, const tn_pcp_request_t *request)
{
    tn_writer_t  w;

    w = tn_writer(out, TN_PCP_MAP_LEN);

    tn_write_u16(&w, TN_PCP_VERSION << 8 | TN_PCP_MAP);
    tn_write_zeros(&w, 2);
    tn_write_u32(&w, request->lifetime);
    tn_write_bytes(&w, request->client.b, sizeof(request->client.b));

    tn_write_bytes(&w, request->nonce, TN_PCP_NONCE);
    tn_write_u32(&w, (uint32_t) TN_PCP_UDP << 24);
    tn_write_u16(&w, request->internal_port);
    tn_write_u16(&w, request->suggested.port);

    /* "any" is the zero address of the wanted family: ::ffff:0.0.0.0 */

    if (tn_ip_is_none(&request->suggested.ip)) {
        tn_write_zeros(&w, 10);
        tn_write_u16(&w, 0xffff);
        tn_write_zeros(&w, 4);

    } else {
        tn_write_bytes(&w, request->suggested.ip.b,
                       sizeof(request->suggested.ip.b));
    }
}


tn_rc_t
tn_pcp_response(const uint8_t *bytes, size_t len, tn_pcp_response_t *response)
{
    uint8_t      version, opcode;
    tn_cursor_t  c;

    memset(response, 0, sizeof(tn_pcp_response_t));

    /* 8.3: shorter, longer or not of whole words is dropped */

    if (len > TN_PCP_MAX || len % 4 != 0) {
        return TN_MALFORMED;
    }

    c = tn_cursor(bytes, len);

    version = tn_read_u8(&c);
    opcode = tn_read_u8(&c);
    (void) tn_read_u8(&c);
    response->result = tn_read_u8(&c);

    if (c.bad || (opcode & TN_PCP_RESPONSE) == 0) {
        return TN_MALFORMED;
    }

    if (version != TN_PCP_VERSION) {

        /* NAT-PMP's answer has its result in the same place */

        return response->result == TN_PCP_UNSUPP_VERSION ? TN_OK
                                                         : TN_MALFORMED;
    }

    response->opcode = (tn_pcp_opcode_e) (opcode & ~TN_PCP_RESPONSE);
    response->lifetime = tn_read_u32(&c);
    response->epoch = tn_read_u32(&c);
    (void) tn_read_bytes(&c, 12);

    switch (response->opcode) {

    case TN_PCP_ANNOUNCE:
        break;

    case TN_PCP_MAP:
        tn_read_copy(&c, response->nonce, TN_PCP_NONCE);
        response->protocol = tn_read_u8(&c);
        (void) tn_read_bytes(&c, 3);
        response->internal_port = tn_read_u16(&c);
        response->external.port = tn_read_u16(&c);
        tn_read_copy(&c, response->external.ip.b,
                     sizeof(response->external.ip.b));
        break;

    default:
        return TN_MALFORMED;
    }

    return c.bad ? TN_MALFORMED : TN_OK;
}


bool
tn_pcp_answers(const tn_pcp_request_t *request,
    const tn_pcp_response_t *response)
{
    return response->opcode == TN_PCP_MAP
           && response->protocol == TN_PCP_UDP
           && response->internal_port == request->internal_port
           && memcmp(response->nonce, request->nonce, TN_PCP_NONCE) == 0;
}
