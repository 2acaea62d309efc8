
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Port Control Protocol (RFC 6887), client side, without options: MAP of a
 * UDP port, its answer, and the announcement of a gateway that restarted.
 */

#ifndef TN_PCP_H_INCLUDED_
#define TN_PCP_H_INCLUDED_

#include "base/tn_addr.h"


#define TN_PCP_PORT       5351      /* of the gateway; NAT-PMP's too */
#define TN_PCP_NEWS_PORT  5350      /* where clients hear announcements */
#define TN_PCP_MAP_LEN    60
#define TN_PCP_MAX        1100      /* no message is longer */
#define TN_PCP_NONCE      12

#define TN_PCP_SUCCESS           0
#define TN_PCP_UNSUPP_VERSION    1
#define TN_PCP_NOT_AUTHORIZED    2
#define TN_PCP_ADDRESS_MISMATCH  12

typedef enum {
    TN_PCP_ANNOUNCE = 0,
    TN_PCP_MAP = 1
} tn_pcp_opcode_e;

typedef struct {
    uint8_t            nonce[TN_PCP_NONCE];
    tn_ip_t            client;          /* as the gateway sees us */
    uint16_t           internal_port;
    tn_addr_t          suggested;       /* all zero: any */
    uint32_t           lifetime;        /* seconds, 0: delete */
} tn_pcp_request_t;

typedef struct {
    tn_pcp_opcode_e    opcode;
    uint8_t            result;
    uint32_t           lifetime;        /* seconds; of the error, if it is */
    uint32_t           epoch;           /* seconds of the server's clock */

    /* of a MAP */
    uint8_t            nonce[TN_PCP_NONCE];
    uint8_t            protocol;        /* IANA's number */
    uint16_t           internal_port;
    tn_addr_t          external;
} tn_pcp_response_t;


/* a MAP of UDP; out has room for TN_PCP_MAP_LEN bytes */
void tn_pcp_map(uint8_t *out, const tn_pcp_request_t *request);

/*
 * A response of one of the opcodes above.  Of another version only the
 * result is read, so that TN_PCP_UNSUPP_VERSION is heard.  TN_OK or
 * TN_MALFORMED.
 */
tn_rc_t tn_pcp_response(const uint8_t *bytes, size_t len,
    tn_pcp_response_t *response);

/*
 * Whether a response is to this request, granted or not (11.4); another one
 * is to be passed over.
 */
bool tn_pcp_answers(const tn_pcp_request_t *request,
    const tn_pcp_response_t *response);


#endif /* TN_PCP_H_INCLUDED_ */
