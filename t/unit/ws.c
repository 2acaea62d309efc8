
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * WebSocket: the examples of RFC 6455, 1.3 and 5.7, and what it forbids.
 */

#include "tap.h"

#include "wire/tn_ws.h"


static const char  answer[] =
    "HTTP/1.1 101 Switching Protocols\r\n"
    "Upgrade: websocket\r\n"
    "Connection: Upgrade\r\n"
    "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"
    "Sec-WebSocket-Protocol: derp\r\n\r\n";


static const char *
refusal(const char *head, const char *key)
{
    return tn_ws_refusal(head, strlen(head), key, "derp");
}


static void
check_upgrade(void)
{
    char  text[512], *p;

    ok(refusal(answer, "dGhlIHNhbXBsZSBub25jZQ==") == NULL, "accepted");
    ok(refusal(answer, "dGhlIHNhbXBsZSBub25jZR==") != NULL, "another key");
    ok(refusal("HTTP/1.1 426 No\r\n\r\n", "x") != NULL, "no 101");

    (void) snprintf(text, sizeof(text), "%s", answer);
    p = strstr(text, "derp");
    memcpy(p, "chat", 4);
    ok(refusal(text, "dGhlIHNhbXBsZSBub25jZQ==") != NULL,
       "another subprotocol");

    (void) snprintf(text, sizeof(text), "%.*sSec-WebSocket-Extensions: "
                    "permessage-deflate\r\n\r\n",
                    (int) (sizeof(answer) - 3), answer);
    ok(refusal(text, "dGhlIHNhbXBsZSBub25jZQ==") != NULL, "an extension");
}


/* the payload of all binary messages, in steps; NULL: malformed */
static const char *
read_all(const char *hex, size_t step, unsigned *controls)
{
    static char  text[512];

    size_t           n, i, left, len, total;
    uint8_t          bytes[512], *pos, *data;
    tn_rc_t          rc;
    tn_ws_opcode_e   opcode;
    tn_ws_reader_t   reader;

    memset(&reader, 0, sizeof(reader));
    n = unhex(bytes, hex);
    total = 0;
    *controls = 0;

    for (i = 0; i < n; i += step) {
        pos = bytes + i;
        left = tn_min(step, n - i);

        while ((rc = tn_ws_read(&reader, &pos, &left, &opcode, &data, &len))
               == TN_OK)
        {
            if (opcode == TN_WS_BINARY) {
                memcpy(text + total, data, len);
                total += len;

            } else {
                (*controls)++;
            }
        }

        if (rc != TN_AGAIN) {
            return NULL;
        }
    }

    text[total] = '\0';

    return text;
}


static void
check_frames(void)
{
    size_t       step;
    uint8_t      out[TN_WS_HEAD_MAX], bytes[5];
    unsigned     controls;
    const char  *text;

    static const uint8_t  mask[] = { 0x37, 0xfa, 0x21, 0x3d };
    static const uint8_t  head[] = { 0x82, 0x85, 0x37, 0xfa, 0x21, 0x3d };
    static const uint8_t  masked[] = { 0x7f, 0x9f, 0x4d, 0x51, 0x58 };

    static const struct {
        const char  *hex;
        const char  *name;
    } bad[] = {
        { "81054865", "text" },
        { "82853700000000", "masked by the server" },
        { "c20548656c6c6f", "a reserved bit" },
        { "8005ff", "a continuation of nothing" },
        { "02014882014c", "a message inside of a message" },
        { "090548656c6c6f", "a fragmented ping" },
        { "897e0100", "a ping of 256 bytes" },
        { "827e0005", "a length that is longer than it must be" },
        { "827f000000000000ffff", "the same of 64 bits" },
        { "827fffffffffffffffff", "a length over 63 bits" },
        { "8300", "an opcode that is reserved" },
    };

    is_int((long long) tn_ws_head_write(out, TN_WS_BINARY, 5, mask), 6,
           "a masked head");
    is_mem(out, head, 6, "as in the RFC");
    memcpy(bytes, "Hello", 5);
    tn_ws_mask(bytes, 2, mask, 0);
    tn_ws_mask(bytes + 2, 3, mask, 2);
    is_mem(bytes, masked, 5, "and its payload");
    is_int((long long) tn_ws_head_write(out, TN_WS_BINARY, 126, mask), 8,
           "126 bytes take 16 bits");
    is_int((long long) tn_ws_head_write(out, TN_WS_BINARY, 65536, mask), 14,
           "65536 bytes take 64 bits");

    for (step = 1; step < 30; step++) {
        text = read_all("020348656c" "890548656c6c6f" "80026c6f" "8200"
                        "820121", step, &controls);

        if (text == NULL || strcmp(text, "Hello!") != 0 || controls != 1) {
            break;
        }
    }

    ok(step == 30, "fragments, a ping between them, an empty one: any steps");

    for (size_t i = 0; i < tn_nelems(bad); i++) {
        ok(read_all(bad[i].hex, 1, &controls) == NULL, "refused: %s",
           bad[i].name);
    }
}


int
main(void)
{
    check_upgrade();
    check_frames();

    return tap_done();
}
