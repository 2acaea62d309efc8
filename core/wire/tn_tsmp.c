
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "wire/tn_tsmp.h"

#include "base/tn_cursor.h"


/* the only bit of a reject's last byte */
#define TN_TSMP_MAYBE_BROKEN  0x01


tn_rc_t
tn_tsmp_parse(tn_tsmp_t *msg, const uint8_t *packet, const tn_packet_t *p)
{
    uint8_t      type;
    tn_cursor_t  c;

    memset(msg, 0, sizeof(tn_tsmp_t));

    if (p->proto != TN_PROTO_TSMP || p->frag != TN_PACKET_WHOLE) {
        return TN_MALFORMED;
    }

    c = tn_cursor(packet + p->header_len,
                  (size_t) (p->total_len - p->header_len));

    type = tn_read_u8(&c);
    msg->type = type;

    /* later versions may append fields: what follows is ignored */

    switch (type) {

    case TN_TSMP_REJECT:
        msg->proto = tn_read_u8(&c);
        msg->reason = tn_read_u8(&c);
        msg->src_port = tn_read_u16(&c);
        msg->dst_port = tn_read_u16(&c);

        if (tn_cursor_left(&c) > 0) {
            msg->maybe_broken = tn_read_u8(&c) & TN_TSMP_MAYBE_BROKEN;
        }

        break;

    case TN_TSMP_PING:
        tn_read_copy(&c, msg->token, TN_TSMP_TOKEN_LEN);
        break;

    case TN_TSMP_PONG:
        tn_read_copy(&c, msg->token, TN_TSMP_TOKEN_LEN);

        if (tn_cursor_left(&c) >= 2) {
            msg->peerapi_port = tn_read_u16(&c);
        }

        break;

    case TN_TSMP_DISCO:
        tn_read_copy(&c, msg->disco.b, TN_KEY_LEN);
        break;

    default:
        return TN_MALFORMED;
    }

    return c.bad ? TN_MALFORMED : TN_OK;
}


size_t
tn_tsmp_build(uint8_t *buf, size_t size, const tn_tsmp_t *msg,
    const tn_ip_t *src, const tn_ip_t *dst)
{
    size_t       header;
    uint8_t      body[1 + TN_KEY_LEN];
    tn_writer_t  w;

    w = tn_writer(body, sizeof(body));
    tn_write_u8(&w, (uint8_t) msg->type);

    switch (msg->type) {

    case TN_TSMP_REJECT:
        tn_write_u8(&w, msg->proto);
        tn_write_u8(&w, msg->reason);
        tn_write_u16(&w, msg->src_port);
        tn_write_u16(&w, msg->dst_port);

        if (msg->maybe_broken) {
            tn_write_u8(&w, TN_TSMP_MAYBE_BROKEN);
        }

        break;

    case TN_TSMP_PING:
        tn_write_bytes(&w, msg->token, TN_TSMP_TOKEN_LEN);
        break;

    case TN_TSMP_PONG:
        tn_write_bytes(&w, msg->token, TN_TSMP_TOKEN_LEN);
        tn_write_u16(&w, msg->peerapi_port);
        break;

    case TN_TSMP_DISCO:
        tn_write_bytes(&w, msg->disco.b, TN_KEY_LEN);
        break;

    default:
        return 0;
    }

    header = tn_packet_header(buf, size, TN_PROTO_TSMP, src, dst,
                              tn_writer_len(&w));

    if (header == 0 || size - header < tn_writer_len(&w)) {
        return 0;
    }

    memcpy(buf + header, body, tn_writer_len(&w));

    return header + tn_writer_len(&w);
}
