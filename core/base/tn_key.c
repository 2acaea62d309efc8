
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_key.h"


static int tn_key_digit(char c);


tn_rc_t
tn_key_parse(tn_key_t *key, const char *prefix, const char *text, size_t len)
{
    int     high, low;
    size_t  i, plen;

    plen = strlen(prefix);

    if (len != plen + 2 * TN_KEY_LEN || memcmp(text, prefix, plen) != 0) {
        goto failed;
    }

    text += plen;

    for (i = 0; i < TN_KEY_LEN; i++) {
        high = tn_key_digit(text[2 * i]);
        low = tn_key_digit(text[2 * i + 1]);

        if (high < 0 || low < 0) {
            goto failed;
        }

        key->b[i] = (uint8_t) (high << 4 | low);
    }

    return TN_OK;

failed:

    tn_wipe(key, sizeof(tn_key_t));

    return TN_MALFORMED;
}


char *
tn_key_text(const tn_key_t *key, const char *prefix, char *buf)
{
    char    *p;
    size_t   i, plen;

    static const char  hex[] = "0123456789abcdef";

    plen = strlen(prefix);
    memcpy(buf, prefix, plen);
    p = buf + plen;

    for (i = 0; i < TN_KEY_LEN; i++) {
        *p++ = hex[key->b[i] >> 4];
        *p++ = hex[key->b[i] & 0xf];
    }

    *p = '\0';

    return buf;
}


char *
tn_key_short(const tn_key_t *key, char *buf)
{
    int       i;
    uint32_t  bits;

    static const char  base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
                                  "abcdefghijklmnopqrstuvwxyz0123456789+/";

    bits = (uint32_t) key->b[0] << 24 | (uint32_t) key->b[1] << 16
           | (uint32_t) key->b[2] << 8 | key->b[3];

    buf[0] = '[';

    for (i = 0; i < 5; i++) {
        buf[1 + i] = base64[bits >> 26];
        bits <<= 6;
    }

    buf[6] = ']';
    buf[7] = '\0';

    return buf;
}


static int
tn_key_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }

    if (c >= 'a' && c <= 'f') {
        return c - 'a' + 10;
    }

    if (c >= 'A' && c <= 'F') {
        return c - 'A' + 10;
    }

    return -1;
}
