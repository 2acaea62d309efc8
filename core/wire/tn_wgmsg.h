
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The four messages of WireGuard (white paper, 5.4).  Only their bytes; what
 * they mean is core/wg.
 */

#ifndef TN_WGMSG_H_INCLUDED_
#define TN_WGMSG_H_INCLUDED_

#include "base/tn_key.h"

#include <endian.h>


#define TN_WGMSG_INITIATION  1
#define TN_WGMSG_RESPONSE    2
#define TN_WGMSG_COOKIE      3
#define TN_WGMSG_DATA        4

#define TN_WGMSG_INITIATION_LEN  148
#define TN_WGMSG_RESPONSE_LEN    92
#define TN_WGMSG_COOKIE_LEN      64
#define TN_WGMSG_HANDSHAKE_MAX   TN_WGMSG_INITIATION_LEN

/* a data message: header, ciphertext, tag */
#define TN_WGMSG_DATA_HEADER    16
#define TN_WGMSG_DATA_OVERHEAD  32

/* mac1 and mac2 end an initiation and a response */
#define TN_WGMSG_MAC         16
#define TN_WGMSG_MACS        (2 * TN_WGMSG_MAC)

#define TN_WGMSG_TIMESTAMP   12
#define TN_WGMSG_XNONCE      24
#define TN_WGMSG_TAG         16


typedef struct {
    uint32_t  sender;
    tn_key_t  ephemeral;
    uint8_t   stat[TN_KEY_LEN + TN_WGMSG_TAG];      /* "static", sealed */
    uint8_t   timestamp[TN_WGMSG_TIMESTAMP + TN_WGMSG_TAG];
} tn_wgmsg_initiation_t;

typedef struct {
    uint32_t  sender;
    uint32_t  receiver;
    tn_key_t  ephemeral;
    uint8_t   empty[TN_WGMSG_TAG];
} tn_wgmsg_response_t;

typedef struct {
    uint32_t  receiver;
    uint8_t   nonce[TN_WGMSG_XNONCE];
    uint8_t   cookie[TN_WGMSG_MAC + TN_WGMSG_TAG];
} tn_wgmsg_cookie_t;

typedef struct {
    uint32_t  receiver;
    uint64_t  counter;
} tn_wgmsg_data_t;


/* the type of a message whose length fits its type, 0 for anything else */
uint32_t tn_wgmsg_type(const uint8_t *msg, size_t len);

/* each: TN_OK, or TN_MALFORMED for another type or length; macs not looked
 * at: they are the last TN_WGMSG_MACS bytes */
tn_rc_t tn_wgmsg_read_initiation(tn_wgmsg_initiation_t *m, const uint8_t *msg,
    size_t len);
tn_rc_t tn_wgmsg_read_response(tn_wgmsg_response_t *m, const uint8_t *msg,
    size_t len);
tn_rc_t tn_wgmsg_read_cookie(tn_wgmsg_cookie_t *m, const uint8_t *msg,
    size_t len);

/* each writes the whole message of its fixed length, the macs as zeros */
void tn_wgmsg_write_initiation(uint8_t *msg, const tn_wgmsg_initiation_t *m);
void tn_wgmsg_write_response(uint8_t *msg, const tn_wgmsg_response_t *m);
void tn_wgmsg_write_cookie(uint8_t *msg, const tn_wgmsg_cookie_t *m);


/* true for what goes to tn_wg_open() and not to tn_wg_input() */
static inline bool
tn_wgmsg_is_data(const uint8_t *msg, size_t len)
{
    static const uint8_t  type[4] = { TN_WGMSG_DATA, 0, 0, 0 };

    return len >= TN_WGMSG_DATA_OVERHEAD && memcmp(msg, type, 4) == 0;
}


/* msg holds TN_WGMSG_DATA_HEADER bytes at least */
static inline void
tn_wgmsg_read_data(tn_wgmsg_data_t *m, const uint8_t *msg)
{
    memcpy(&m->receiver, msg + 4, 4);
    memcpy(&m->counter, msg + 8, 8);

    m->receiver = le32toh(m->receiver);
    m->counter = le64toh(m->counter);
}


static inline void
tn_wgmsg_write_data(uint8_t *msg, const tn_wgmsg_data_t *m)
{
    uint32_t  type, receiver;
    uint64_t  counter;

    type = htole32(TN_WGMSG_DATA);
    receiver = htole32(m->receiver);
    counter = htole64(m->counter);

    memcpy(msg, &type, 4);
    memcpy(msg + 4, &receiver, 4);
    memcpy(msg + 8, &counter, 8);
}


#endif /* TN_WGMSG_H_INCLUDED_ */
