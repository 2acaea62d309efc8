
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Disco messages, by which nodes find paths to each other: the wrapper with
 * the sender's key, the box, and each message inside (upstream: disco).
 */

#ifndef TN_DISCO_H_INCLUDED_
#define TN_DISCO_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_cursor.h"
#include "crypto/tn_curve.h"


#define TN_DISCO_MAGIC      6
#define TN_DISCO_TXID       12
#define TN_DISCO_CHALLENGE  32

/* magic and sender; then the box */
#define TN_DISCO_HEADER     (TN_DISCO_MAGIC + TN_KEY_LEN)
#define TN_DISCO_OVERHEAD   (TN_DISCO_HEADER + TN_BOX_NONCE + TN_BOX_TAG)

/* addresses of one message that are kept; the rest is ignored */
#define TN_DISCO_ADDRS_MAX  64

/* the longest message but a padded ping: an allocation response */
#define TN_DISCO_BODY_MAX   (2 + 4 + 96 + 28 + TN_DISCO_ADDRS_MAX * 18)

typedef enum {
    TN_DISCO_PING = 1,
    TN_DISCO_PONG = 2,
    TN_DISCO_CALL_ME_MAYBE = 3,
    TN_DISCO_BIND = 4,
    TN_DISCO_BIND_CHALLENGE = 5,
    TN_DISCO_BIND_ANSWER = 6,
    TN_DISCO_CALL_ME_MAYBE_VIA = 7,
    TN_DISCO_ALLOCATE_REQUEST = 8,
    TN_DISCO_ALLOCATE_RESPONSE = 9
} tn_disco_type_e;

typedef struct {
    tn_addr_t        addr[TN_DISCO_ADDRS_MAX];
    uint32_t         n;
} tn_disco_addrs_t;

/* the place on a peer relay that two nodes share */
typedef struct {
    tn_key_t         server;
    tn_key_t         client[2];
    uint64_t         lamport;
    uint32_t         vni;
    uint64_t         bind_lifetime_ns;
    uint64_t         steady_lifetime_ns;
} tn_disco_relay_t;

typedef struct {
    tn_disco_type_e  type;

    uint8_t          txid[TN_DISCO_TXID];       /* ping, pong */
    tn_key_t         key;           /* ping: sender's node key or zero;
                                       bind: the remote peer's disco key */
    size_t           padding;                   /* ping */
    tn_addr_t        src;                       /* pong: as it was seen */
    uint16_t         takes;         /* pong: see tn_path_long.c, 0: not said */
    uint32_t         vni;                       /* bind */
    uint32_t         generation;                /* bind, allocate */
    uint8_t          challenge[TN_DISCO_CHALLENGE];     /* bind */
    tn_key_t         client[2];                 /* allocate request */
    tn_disco_relay_t relay;                     /* via, allocate response */
    tn_disco_addrs_t addrs;         /* call, via, allocate response */
} tn_disco_msg_t;


/* the sender's key of what looks like a disco message, else NULL */
const tn_key_t *tn_disco_sender(const uint8_t *bytes, size_t len);

/* the inside of a box; TN_OK, or TN_MALFORMED also for an unknown type */
tn_rc_t tn_disco_parse(tn_disco_msg_t *msg, const uint8_t *bytes, size_t len);

/* appends the inside of a box; w->bad when it does not fit */
void tn_disco_write(tn_writer_t *w, const tn_disco_msg_t *msg);

/*
 * A whole message; scratch holds the inside, of `size` bytes at least that
 * long.  TN_OK; TN_MALFORMED for a forged or unknown one, one that does not
 * fit, and one that is not disco.
 */
tn_rc_t tn_disco_open(const tn_box_key_t *key, const uint8_t *bytes,
    size_t len, uint8_t *scratch, size_t size, tn_disco_msg_t *msg);

/*
 * Writes a whole message to out, and its length to *len.  scratch and out
 * have `size` bytes.  TN_OK, or TN_NOMEM when it does not fit.
 */
tn_rc_t tn_disco_seal(const tn_box_key_t *key, const tn_key_t *sender,
    const tn_disco_msg_t *msg, uint8_t *scratch, uint8_t *out, size_t size,
    size_t *len);


#endif /* TN_DISCO_H_INCLUDED_ */
