
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "wire/tn_qword.h"


#define TN_QWORD_OPEN     "=?utf-8?q?"
#define TN_QWORD_CLOSE    "?="

/* RFC 2047, 2.: an encoded word has 75 characters at most */
#define TN_QWORD_CONTENT                                                      \
    (75 - (sizeof(TN_QWORD_OPEN) - 1) - (sizeof(TN_QWORD_CLOSE) - 1))


static bool qword_plain(const uint8_t *text, size_t len);
static size_t qword_rune(const uint8_t *p, size_t left);
static char *qword_put(char *dst, const char *text);


size_t
tn_qword_encode(char *dst, const char *text, size_t len)
{
    char           *out;
    size_t          i, k, n, size, used;
    const uint8_t  *p;

    static const char  hex[] = "0123456789ABCDEF";

    p = (const uint8_t *) text;

    for (i = 0; i < len; i += n) {
        n = qword_rune(p + i, len - i);

        if (n == 0) {
            return 0;
        }
    }

    if (qword_plain(p, len)) {
        memcpy(dst, text, len);
        return len;
    }

    out = qword_put(dst, TN_QWORD_OPEN);
    used = 0;

    for (i = 0; i < len; i += n) {
        n = qword_rune(p + i, len - i);
        size = p[i] >= ' ' && p[i] <= '~' && strchr("=?_", p[i]) == NULL
               ? 1 : 3 * n;

        /* a character is not cut */

        if (used + size > TN_QWORD_CONTENT) {
            out = qword_put(out, TN_QWORD_CLOSE " " TN_QWORD_OPEN);
            used = 0;
        }

        used += size;

        if (size == 1) {
            *out++ = p[i] == ' ' ? '_' : (char) p[i];
            continue;
        }

        for (k = 0; k < n; k++) {
            *out++ = '=';
            *out++ = hex[p[i + k] >> 4];
            *out++ = hex[p[i + k] & 15];
        }
    }

    out = qword_put(out, TN_QWORD_CLOSE);

    return (size_t) (out - dst);
}


static bool
qword_plain(const uint8_t *text, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if ((text[i] < ' ' || text[i] > '~') && text[i] != '\t') {
            return false;
        }
    }

    return true;
}


/* bytes of the character at p by RFC 3629, 4., or 0 */
static size_t
qword_rune(const uint8_t *p, size_t left)
{
    size_t   i, n;
    uint8_t  low, high;

    low = 0x80;
    high = 0xbf;

    if (p[0] < 0x80) {
        return 1;
    }

    if (p[0] >= 0xc2 && p[0] <= 0xdf) {
        n = 2;

    } else if (p[0] >= 0xe0 && p[0] <= 0xef) {
        n = 3;
        low = p[0] == 0xe0 ? 0xa0 : low;
        high = p[0] == 0xed ? 0x9f : high;

    } else if (p[0] >= 0xf0 && p[0] <= 0xf4) {
        n = 4;
        low = p[0] == 0xf0 ? 0x90 : low;
        high = p[0] == 0xf4 ? 0x8f : high;

    } else {
        return 0;
    }

    if (left < n || p[1] < low || p[1] > high) {
        return 0;
    }

    for (i = 2; i < n; i++) {
        if ((p[i] & 0xc0) != 0x80) {
            return 0;
        }
    }

    return n;
}


static char *
qword_put(char *dst, const char *text)
{
    size_t  len;

    len = strlen(text);
    memcpy(dst, text, len);

    return dst + len;
}
