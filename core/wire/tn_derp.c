
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_derp.h"

#include "base/tn_cursor.h"

#include <jansson.h>


#define TN_DERP_MAGIC  8


static const uint8_t  tn_derp_magic[TN_DERP_MAGIC] =
    { 0x44, 0x45, 0x52, 0x50, 0xf0, 0x9f, 0x94, 0x91 };


void
tn_derp_head_write(uint8_t out[TN_DERP_HEAD], uint8_t type, uint32_t len)
{
    tn_writer_t  w;

    w = tn_writer(out, TN_DERP_HEAD);
    tn_write_u8(&w, type);
    tn_write_u32(&w, len);
}


tn_rc_t
tn_derp_head_read(const uint8_t head[TN_DERP_HEAD], uint8_t *type,
    uint32_t *len)
{
    tn_cursor_t  c;

    c = tn_cursor(head, TN_DERP_HEAD);
    *type = tn_read_u8(&c);
    *len = tn_read_u32(&c);

    return *len > TN_DERP_FRAME_MAX ? TN_MALFORMED : TN_OK;
}


tn_rc_t
tn_derp_parse(tn_derp_frame_t *frame, uint8_t type, const uint8_t *payload,
    size_t len)
{
    tn_cursor_t     c;
    const uint8_t  *magic;

    memset(frame, 0, sizeof(tn_derp_frame_t));

    c = tn_cursor(payload, len);

    switch (type) {

    case TN_DERP_SERVER_KEY:
        magic = tn_read_bytes(&c, TN_DERP_MAGIC);

        if (magic == NULL || memcmp(magic, tn_derp_magic, TN_DERP_MAGIC) != 0)
        {
            return TN_MALFORMED;
        }

        tn_read_copy(&c, frame->key.b, TN_KEY_LEN);
        break;

    case TN_DERP_RECV_PACKET:
        tn_read_copy(&c, frame->key.b, TN_KEY_LEN);
        break;

    case TN_DERP_PEER_GONE:
        tn_read_copy(&c, frame->key.b, TN_KEY_LEN);

        if (tn_cursor_left(&c) != 0) {
            frame->never_here = tn_read_u8(&c) == 1;
        }

        break;

    case TN_DERP_PING_FRAME:
    case TN_DERP_PONG_FRAME:
        frame->data = tn_read_bytes(&c, TN_DERP_PING);
        frame->len = TN_DERP_PING;

        return c.bad ? TN_MALFORMED : TN_OK;

    case TN_DERP_RESTARTING:
        frame->reconnect_in_ms = tn_read_u32(&c);
        frame->try_for_ms = tn_read_u32(&c);
        break;

    case TN_DERP_SERVER_INFO:
    case TN_DERP_KEEP_ALIVE:
    case TN_DERP_HEALTH:
        break;

    default:
        return TN_NOTFOUND;
    }

    if (c.bad) {
        return TN_MALFORMED;
    }

    frame->len = tn_cursor_left(&c);
    frame->data = tn_read_bytes(&c, frame->len);

    return TN_OK;
}


tn_rc_t
tn_derp_server_info(const uint8_t *json, size_t len, uint64_t *rate,
    uint64_t *burst)
{
    json_t  *root, *value;

    *rate = 0;
    *burst = 0;

    root = json_loadb((const char *) json, len, JSON_REJECT_DUPLICATES, NULL);

    if (!json_is_object(root)) {
        json_decref(root);
        return TN_MALFORMED;
    }

    value = json_object_get(root, "TokenBucketBytesPerSecond");

    if (json_integer_value(value) > 0) {
        *rate = (uint64_t) json_integer_value(value);
    }

    value = json_object_get(root, "TokenBucketBytesBurst");

    if (json_integer_value(value) > 0) {
        *burst = (uint64_t) json_integer_value(value);
    }

    json_decref(root);

    return TN_OK;
}
