
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Requests to a node's PeerAPI, the HTTP/1.1 that nodes of a tailnet speak
 * with each other: the head of one, and whether it may be what it says.  No
 * state, no connection.
 */

#ifndef TN_PEERAPI_H_INCLUDED_
#define TN_PEERAPI_H_INCLUDED_

#include "base/tn_addr.h"


#define TN_PEERAPI_HEAD_MAX    8192     /* bytes of a head */
#define TN_PEERAPI_FIELDS_MAX  64
#define TN_PEERAPI_TEXT        256      /* of what is kept, with its zero */
#define TN_PEERAPI_TRIES       5        /* ports of an address */

#define TN_PEERAPI_INGRESS     "/v0/ingress"
#define TN_PEERAPI_DNS         "/dns-query"
#define TN_PEERAPI_BODY_MAX    65535    /* bytes that are announced */


typedef struct {
    char        method[16];
    char        path[TN_PEERAPI_TEXT];  /* without a query */
    char        host[TN_PEERAPI_TEXT];
    bool        origin;                 /* not empty: a browser's */
    bool        referer;
    bool        body;                   /* one is announced */

    /* in the bytes of the head */
    size_t      query;                  /* behind the path's "?" */
    size_t      query_len;              /* 0: none */

    size_t      body_len;               /* 0: none, or chunked */
    bool        dns_message;            /* that is its Content-Type */

    /* of /v0/ingress; "" when they are missing */
    char        ingress_src[TN_PEERAPI_TEXT];
    char        ingress_target[TN_PEERAPI_TEXT];
} tn_peerapi_request_t;


/*
 * TN_OK: the head is the first *head bytes.  TN_AGAIN: it goes on behind
 * `len`.  TN_MALFORMED: it breaks HTTP/1.1 (RFC 9112) or a limit.
 */
tn_rc_t tn_peerapi_parse(tn_peerapi_request_t *request, const void *bytes,
    size_t len, size_t *head);

/*
 * NULL, or why it is refused, as a web page may have made a browser of a
 * peer send it: ips are the node's own addresses as this peer sees them.
 */
const char *tn_peerapi_check(const tn_peerapi_request_t *request,
    const tn_ip_t *ips, size_t n);

/*
 * The Internet client and the name and port it wanted (name of
 * TN_PEERAPI_TEXT bytes, lower case).  NULL, or what is wrong, for the answer.
 */
const char *tn_peerapi_ingress(const tn_peerapi_request_t *request,
    tn_addr_t *src, char *name, uint16_t *port);

/*
 * The value of "dns" in a query (RFC 8484, 4.1.1.), decoded into `size` bytes;
 * 0: there is none, or it is no such text.
 */
size_t tn_peerapi_dns(const char *query, size_t len, uint8_t *buf,
    size_t size);

/* where to listen with this address: the try-th choice, from 0 */
uint16_t tn_peerapi_port(const tn_ip_t *ip, unsigned try);


#endif /* TN_PEERAPI_H_INCLUDED_ */
