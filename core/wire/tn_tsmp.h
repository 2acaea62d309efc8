
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * TSMP, the messages between nodes inside the tunnel: IP protocol 99
 * (upstream net/packet/tsmp.go).  The data path answers and makes them; no
 * stack sees them.
 */

#ifndef TN_TSMP_H_INCLUDED_
#define TN_TSMP_H_INCLUDED_

#include "base/tn_key.h"
#include "tn_ip.h"


#define TN_TSMP_TOKEN_LEN   8

/* room for every message with its IP header */
#define TN_TSMP_PACKET_MAX  (TN_IP6_HEADER_LEN + 1 + TN_KEY_LEN)

typedef enum {
    TN_TSMP_REJECT = '!',
    TN_TSMP_PING = 'p',
    TN_TSMP_PONG = 'o',
    TN_TSMP_DISCO = 'a'
} tn_tsmp_type_t;

/* why a connection was refused */
#define TN_TSMP_REJECT_ACL       'A'
#define TN_TSMP_REJECT_SHIELDS   'S'
#define TN_TSMP_REJECT_FORWARD   'F'
#define TN_TSMP_REJECT_FIREWALL  'W'
#define TN_TSMP_REJECT_TRANSIT   'T'

typedef struct {
    tn_tsmp_type_t  type;

    /* ping and pong */
    uint8_t         token[TN_TSMP_TOKEN_LEN];
    uint16_t        peerapi_port;       /* pong; 0: none or not told */

    /* reject: of the connection as its opener sees it */
    uint8_t         proto;
    uint8_t         reason;
    uint16_t        src_port;
    uint16_t        dst_port;
    bool            maybe_broken;       /* not final, for information */

    /* disco advertisement */
    tn_key_t        disco;
} tn_tsmp_t;


/*
 * Reads the message of a packet whose protocol is TN_PROTO_TSMP; `packet` is
 * what p was parsed from.  TN_MALFORMED also for an unknown type, which is
 * to be ignored.
 */
tn_rc_t tn_tsmp_parse(tn_tsmp_t *msg, const uint8_t *packet,
    const tn_packet_t *p);

/*
 * Writes the message with its IP header to buf and returns the length, or 0
 * when `size` (TN_TSMP_PACKET_MAX is enough) is too small.
 */
size_t tn_tsmp_build(uint8_t *buf, size_t size, const tn_tsmp_t *msg,
    const tn_ip_t *src, const tn_ip_t *dst);


#endif /* TN_TSMP_H_INCLUDED_ */
