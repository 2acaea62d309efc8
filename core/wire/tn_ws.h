
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * WebSocket frames and the client's side of its upgrade (RFC 6455), as far
 * as a stream of bytes over binary messages needs them.  Called by the DERP
 * client where a proxy lets nothing else pass.
 */

#ifndef TN_WS_H_INCLUDED_
#define TN_WS_H_INCLUDED_

#include "base/tn_base.h"


#define TN_WS_HEAD_MAX     14           /* of a masked frame */
#define TN_WS_CONTROL_MAX  125
#define TN_WS_MASK         4
#define TN_WS_KEY_TEXT     25           /* with its zero */

typedef enum {
    TN_WS_CONTINUATION = 0,
    TN_WS_TEXT = 1,
    TN_WS_BINARY = 2,
    TN_WS_CLOSE = 8,
    TN_WS_PING = 9,
    TN_WS_PONG = 10
} tn_ws_opcode_e;

typedef struct {
    uint8_t     head[10];
    size_t      nhead;
    bool        payload;                /* the head is complete */
    bool        message;                /* a fragmented one is under way */
    uint8_t     opcode;
    uint64_t    left;                   /* of the payload */
    uint8_t     control[TN_WS_CONTROL_MAX];
    size_t      ncontrol;
} tn_ws_reader_t;


/* a Sec-WebSocket-Key out of 16 random bytes */
void tn_ws_key(char text[TN_WS_KEY_TEXT]);

/*
 * The head of the response to an upgrade with this key: NULL when it is
 * accepted with this subprotocol and no extension, else why not.
 */
const char *tn_ws_refusal(const char *head, size_t len, const char *key,
    const char *protocol);

/* the head of a final, masked frame; returns its length */
size_t tn_ws_head_write(uint8_t out[TN_WS_HEAD_MAX], tn_ws_opcode_e opcode,
    size_t len, const uint8_t mask[TN_WS_MASK]);

/* masks bytes that lie `at` bytes after the begin of the payload */
void tn_ws_mask(uint8_t *bytes, size_t len, const uint8_t mask[TN_WS_MASK],
    size_t at);

/*
 * Takes bytes from a server and moves *pos and *left.  TN_OK: *opcode is
 * TN_WS_BINARY with the next bytes of a message (never none), in place, or a
 * control frame's with its whole payload.  TN_AGAIN: all is taken.
 * TN_MALFORMED: RFC 6455 wants the connection to be failed.
 */
tn_rc_t tn_ws_read(tn_ws_reader_t *reader, uint8_t **pos, size_t *left,
    tn_ws_opcode_e *opcode, uint8_t **data, size_t *len);


#endif /* TN_WS_H_INCLUDED_ */
