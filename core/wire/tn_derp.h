
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Frames of the DERP protocol, by which nodes reach each other through a
 * relay (upstream: derp).  Called by the DERP client; it keeps no state.
 */

#ifndef TN_DERP_H_INCLUDED_
#define TN_DERP_H_INCLUDED_

#include "base/tn_key.h"


#define TN_DERP_VERSION     2
#define TN_DERP_HEAD        5               /* type, length */
#define TN_DERP_FRAME_MAX   (1 << 20)       /* what is longer is no DERP */
#define TN_DERP_PACKET_MAX  (64 << 10)
#define TN_DERP_INFO_MAX    4096
#define TN_DERP_PING        8

typedef enum {
    TN_DERP_SERVER_KEY = 0x01,
    TN_DERP_CLIENT_INFO = 0x02,
    TN_DERP_SERVER_INFO = 0x03,
    TN_DERP_SEND_PACKET = 0x04,
    TN_DERP_RECV_PACKET = 0x05,
    TN_DERP_KEEP_ALIVE = 0x06,
    TN_DERP_NOTE_PREFERRED = 0x07,
    TN_DERP_PEER_GONE = 0x08,
    TN_DERP_PEER_PRESENT = 0x09,
    TN_DERP_PING_FRAME = 0x12,
    TN_DERP_PONG_FRAME = 0x13,
    TN_DERP_HEALTH = 0x14,
    TN_DERP_RESTARTING = 0x15
} tn_derp_type_e;

/* a frame from the server; data points into the payload */
typedef struct {
    tn_key_t        key;        /* ServerKey, RecvPacket: source, PeerGone */
    const uint8_t  *data;       /* packet, text, box, the bytes of a ping */
    size_t          len;
    bool            never_here; /* PeerGone */
    uint32_t        reconnect_in_ms;    /* Restarting */
    uint32_t        try_for_ms;
} tn_derp_frame_t;


void tn_derp_head_write(uint8_t out[TN_DERP_HEAD], uint8_t type,
    uint32_t len);

/* TN_OK, or TN_MALFORMED for a frame over TN_DERP_FRAME_MAX */
tn_rc_t tn_derp_head_read(const uint8_t head[TN_DERP_HEAD], uint8_t *type,
    uint32_t *len);

/*
 * The payload of a frame of the types above; those a server does not send to
 * a plain client are TN_NOTFOUND like unknown ones.  TN_MALFORMED when it is
 * too short or, for ServerKey, not DERP's greeting.
 */
tn_rc_t tn_derp_parse(tn_derp_frame_t *frame, uint8_t type,
    const uint8_t *payload, size_t len);

/*
 * The JSON inside of ServerInfo.  Rate and burst are 0 when the server sets
 * no limit.  TN_OK or TN_MALFORMED.
 */
tn_rc_t tn_derp_server_info(const uint8_t *json, size_t len, uint64_t *rate,
    uint64_t *burst);


#endif /* TN_DERP_H_INCLUDED_ */
