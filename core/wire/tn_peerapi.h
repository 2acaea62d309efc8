
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


typedef struct {
    char        method[16];
    char        path[TN_PEERAPI_TEXT];  /* without a query */
    char        host[TN_PEERAPI_TEXT];
    bool        origin;                 /* not empty: a browser's */
    bool        referer;
    bool        body;                   /* one is announced */

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

/* where to listen with this address: the try-th choice, from 0 */
uint16_t tn_peerapi_port(const tn_ip_t *ip, unsigned try);


#endif /* TN_PEERAPI_H_INCLUDED_ */
