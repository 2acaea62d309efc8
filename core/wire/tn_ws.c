
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_ws.h"

#include "crypto/tn_curve.h"

#include <openssl/sha.h>
#include <sodium.h>
#include <stdio.h>
#include <strings.h>


/* RFC 6455, 1.3 */
#define TN_WS_ACCEPT_TEXT  29           /* of 20 bytes, with its zero */
#define TN_WS_GUID  "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"


static bool tn_ws_is(const char *value, size_t len, const char *text);
static bool tn_ws_field(const char *line, size_t len, const char *name,
    const char **value, size_t *value_len);
static tn_rc_t tn_ws_head_read(tn_ws_reader_t *reader);
static size_t tn_ws_head_len(const tn_ws_reader_t *reader);


void
tn_ws_key(char text[TN_WS_KEY_TEXT])
{
    uint8_t  bytes[16];

    tn_random(bytes, sizeof(bytes));
    sodium_bin2base64(text, TN_WS_KEY_TEXT, bytes, sizeof(bytes),
                      sodium_base64_VARIANT_ORIGINAL);
}


const char *
tn_ws_refusal(const char *head, size_t len, const char *key,
    const char *protocol)
{
    bool         upgrade, accepted, spoken;
    char         text[TN_WS_KEY_TEXT + sizeof(TN_WS_GUID)];
    char         want[TN_WS_ACCEPT_TEXT];
    size_t       n, value_len;
    uint8_t      digest[SHA_DIGEST_LENGTH];
    const char  *end, *value;

    if (len < 13 || memcmp(head, "HTTP/1.1 101 ", 13) != 0) {
        return "upgrade to WebSocket refused";
    }

    (void) snprintf(text, sizeof(text), "%s%s", key, TN_WS_GUID);
    (void) SHA1((const uint8_t *) text, strlen(text), digest);
    sodium_bin2base64(want, sizeof(want), digest, sizeof(digest),
                      sodium_base64_VARIANT_ORIGINAL);

    upgrade = false;
    accepted = false;
    spoken = false;

    while ((end = memchr(head, '\n', len)) != NULL) {
        n = (size_t) (end - head);

        if (tn_ws_field(head, n, "upgrade", &value, &value_len)) {
            upgrade = tn_ws_is(value, value_len, "websocket");

        } else if (tn_ws_field(head, n, "sec-websocket-accept", &value,
                               &value_len))
        {
            accepted = value_len == strlen(want)
                       && memcmp(value, want, value_len) == 0;

        } else if (tn_ws_field(head, n, "sec-websocket-protocol", &value,
                               &value_len))
        {
            spoken = tn_ws_is(value, value_len, protocol);

        } else if (tn_ws_field(head, n, "sec-websocket-extensions", &value,
                               &value_len))
        {
            return "WebSocket with an extension that nobody asked for";
        }

        len -= n + 1;
        head = end + 1;
    }

    if (!upgrade || !accepted) {
        return "not the answer of a WebSocket server";
    }

    return spoken ? NULL : "a WebSocket server of another protocol";
}


/* RFC 9110, 5.5: without the white space around it */
static bool
tn_ws_field(const char *line, size_t len, const char *name,
    const char **value, size_t *value_len)
{
    size_t  n;

    n = strlen(name);

    if (len <= n || line[n] != ':' || strncasecmp(line, name, n) != 0) {
        return false;
    }

    line += n + 1;
    len -= n + 1;

    while (len != 0 && (*line == ' ' || *line == '\t')) {
        line++;
        len--;
    }

    while (len != 0 && (line[len - 1] == ' ' || line[len - 1] == '\t'
                        || line[len - 1] == '\r'))
    {
        len--;
    }

    *value = line;
    *value_len = len;

    return true;
}


static bool
tn_ws_is(const char *value, size_t len, const char *text)
{
    return len == strlen(text) && strncasecmp(value, text, len) == 0;
}


size_t
tn_ws_head_write(uint8_t out[TN_WS_HEAD_MAX], tn_ws_opcode_e opcode,
    size_t len, const uint8_t mask[TN_WS_MASK])
{
    size_t  i, n;

    out[0] = (uint8_t) (0x80 | opcode);

    if (len <= TN_WS_CONTROL_MAX) {
        out[1] = (uint8_t) (0x80 | len);
        n = 2;

    } else if (len <= UINT16_MAX) {
        out[1] = 0x80 | 126;
        out[2] = (uint8_t) (len >> 8);
        out[3] = (uint8_t) len;
        n = 4;

    } else {
        out[1] = 0x80 | 127;

        for (i = 0; i < 8; i++) {
            out[2 + i] = (uint8_t) ((uint64_t) len >> (56 - 8 * i));
        }

        n = 10;
    }

    memcpy(out + n, mask, TN_WS_MASK);

    return n + TN_WS_MASK;
}


void
tn_ws_mask(uint8_t *bytes, size_t len, const uint8_t mask[TN_WS_MASK],
    size_t at)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        bytes[i] ^= mask[(at + i) % TN_WS_MASK];
    }
}


tn_rc_t
tn_ws_read(tn_ws_reader_t *reader, uint8_t **pos, size_t *left,
    tn_ws_opcode_e *opcode, uint8_t **data, size_t *len)
{
    size_t  n;

    for ( ;; ) {

        if (!reader->payload) {

            if (*left == 0) {
                return TN_AGAIN;
            }

            reader->head[reader->nhead++] = *(*pos)++;
            (*left)--;

            if (reader->nhead < 2 || reader->nhead < tn_ws_head_len(reader)) {
                continue;
            }

            if (tn_ws_head_read(reader) != TN_OK) {
                return TN_MALFORMED;
            }

            reader->nhead = 0;
            reader->payload = reader->left != 0 || reader->opcode >= 8;
            continue;
        }

        n = (size_t) tn_min(reader->left, (uint64_t) *left);

        if (reader->opcode < 8) {

            if (n == 0) {
                return TN_AGAIN;
            }

            *opcode = TN_WS_BINARY;
            *data = *pos;
            *len = n;

        } else {
            memcpy(reader->control + reader->ncontrol, *pos, n);
            reader->ncontrol += n;
        }

        *pos += n;
        *left -= n;
        reader->left -= n;
        reader->payload = reader->left != 0;

        if (reader->opcode < 8) {
            return TN_OK;
        }

        if (reader->payload) {
            return TN_AGAIN;
        }

        *opcode = reader->opcode;
        *data = reader->control;
        *len = reader->ncontrol;
        reader->ncontrol = 0;
        reader->opcode = TN_WS_CONTINUATION;

        return TN_OK;
    }
}


static size_t
tn_ws_head_len(const tn_ws_reader_t *reader)
{
    switch (reader->head[1] & 0x7f) {
    case 126:
        return 4;
    case 127:
        return 10;
    default:
        return 2;
    }
}


/* RFC 6455, 5.2, 5.4 and 5.5; 5.1: a server must not mask */
static tn_rc_t
tn_ws_head_read(tn_ws_reader_t *reader)
{
    bool      final;
    size_t    i, n;
    uint64_t  len;
    uint8_t  *head;

    head = reader->head;
    final = (head[0] & 0x80) != 0;
    reader->opcode = head[0] & 0x0f;

    if ((head[0] & 0x70) != 0 || (head[1] & 0x80) != 0) {
        return TN_MALFORMED;
    }

    n = tn_ws_head_len(reader);
    len = n == 2 ? head[1] : 0;

    for (i = 2; i < n; i++) {
        len = len << 8 | head[i];
    }

    /* the shortest form is a must, and the highest bit is 0 */

    if ((n == 4 && len <= TN_WS_CONTROL_MAX)
        || (n == 10 && (len <= UINT16_MAX || len >> 63 != 0)))
    {
        return TN_MALFORMED;
    }

    reader->left = len;

    switch (reader->opcode) {

    case TN_WS_CONTINUATION:

        if (!reader->message) {
            return TN_MALFORMED;
        }

        reader->message = !final;
        return TN_OK;

    case TN_WS_BINARY:

        if (reader->message) {
            return TN_MALFORMED;
        }

        reader->message = !final;
        return TN_OK;

    case TN_WS_CLOSE:
    case TN_WS_PING:
    case TN_WS_PONG:
        return final && len <= TN_WS_CONTROL_MAX ? TN_OK : TN_MALFORMED;

    default:
        return TN_MALFORMED;
    }
}
