
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_wgmsg.h"

#include "base/tn_cursor.h"


static bool tn_wgmsg_begin(tn_cursor_t *c, const uint8_t *msg, size_t len,
    uint32_t type);


uint32_t
tn_wgmsg_type(const uint8_t *msg, size_t len)
{
    uint32_t     type;
    tn_cursor_t  c;

    c = tn_cursor(msg, len);
    type = tn_read_u32le(&c);

    switch (type) {

    case TN_WGMSG_INITIATION:
        return len == TN_WGMSG_INITIATION_LEN ? type : 0;

    case TN_WGMSG_RESPONSE:
        return len == TN_WGMSG_RESPONSE_LEN ? type : 0;

    case TN_WGMSG_COOKIE:
        return len == TN_WGMSG_COOKIE_LEN ? type : 0;

    case TN_WGMSG_DATA:
        return len >= TN_WGMSG_DATA_OVERHEAD ? type : 0;

    default:
        return 0;
    }
}


tn_rc_t
tn_wgmsg_read_initiation(tn_wgmsg_initiation_t *m, const uint8_t *msg,
    size_t len)
{
    tn_cursor_t  c;

    if (!tn_wgmsg_begin(&c, msg, len, TN_WGMSG_INITIATION)) {
        return TN_MALFORMED;
    }

    m->sender = tn_read_u32le(&c);
    tn_read_copy(&c, m->ephemeral.b, TN_KEY_LEN);
    tn_read_copy(&c, m->stat, sizeof(m->stat));
    tn_read_copy(&c, m->timestamp, sizeof(m->timestamp));

    return c.bad ? TN_MALFORMED : TN_OK;
}


tn_rc_t
tn_wgmsg_read_response(tn_wgmsg_response_t *m, const uint8_t *msg, size_t len)
{
    tn_cursor_t  c;

    if (!tn_wgmsg_begin(&c, msg, len, TN_WGMSG_RESPONSE)) {
        return TN_MALFORMED;
    }

    m->sender = tn_read_u32le(&c);
    m->receiver = tn_read_u32le(&c);
    tn_read_copy(&c, m->ephemeral.b, TN_KEY_LEN);
    tn_read_copy(&c, m->empty, sizeof(m->empty));

    return c.bad ? TN_MALFORMED : TN_OK;
}


tn_rc_t
tn_wgmsg_read_cookie(tn_wgmsg_cookie_t *m, const uint8_t *msg, size_t len)
{
    tn_cursor_t  c;

    if (!tn_wgmsg_begin(&c, msg, len, TN_WGMSG_COOKIE)) {
        return TN_MALFORMED;
    }

    m->receiver = tn_read_u32le(&c);
    tn_read_copy(&c, m->nonce, sizeof(m->nonce));
    tn_read_copy(&c, m->cookie, sizeof(m->cookie));

    return c.bad ? TN_MALFORMED : TN_OK;
}


void
tn_wgmsg_write_initiation(uint8_t *msg, const tn_wgmsg_initiation_t *m)
{
    tn_writer_t  w;

    w = tn_writer(msg, TN_WGMSG_INITIATION_LEN);

    tn_write_u32le(&w, TN_WGMSG_INITIATION);
    tn_write_u32le(&w, m->sender);
    tn_write_bytes(&w, m->ephemeral.b, TN_KEY_LEN);
    tn_write_bytes(&w, m->stat, sizeof(m->stat));
    tn_write_bytes(&w, m->timestamp, sizeof(m->timestamp));
    tn_write_zeros(&w, TN_WGMSG_MACS);
}


void
tn_wgmsg_write_response(uint8_t *msg, const tn_wgmsg_response_t *m)
{
    tn_writer_t  w;

    w = tn_writer(msg, TN_WGMSG_RESPONSE_LEN);

    tn_write_u32le(&w, TN_WGMSG_RESPONSE);
    tn_write_u32le(&w, m->sender);
    tn_write_u32le(&w, m->receiver);
    tn_write_bytes(&w, m->ephemeral.b, TN_KEY_LEN);
    tn_write_bytes(&w, m->empty, sizeof(m->empty));
    tn_write_zeros(&w, TN_WGMSG_MACS);
}


void
tn_wgmsg_write_cookie(uint8_t *msg, const tn_wgmsg_cookie_t *m)
{
    tn_writer_t  w;

    w = tn_writer(msg, TN_WGMSG_COOKIE_LEN);

    tn_write_u32le(&w, TN_WGMSG_COOKIE);
    tn_write_u32le(&w, m->receiver);
    tn_write_bytes(&w, m->nonce, sizeof(m->nonce));
    tn_write_bytes(&w, m->cookie, sizeof(m->cookie));
}


static bool
tn_wgmsg_begin(tn_cursor_t *c, const uint8_t *msg, size_t len, uint32_t type)
{
    if (tn_wgmsg_type(msg, len) != type) {
        return false;
    }

    *c = tn_cursor(msg, len);

    return tn_read_u32le(c) == type;
}
