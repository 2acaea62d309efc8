
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_cbor.h"


/* major types, RFC 8949 section 3.1 */
#define TN_CBOR_UINT   0
#define TN_CBOR_BYTES  2
#define TN_CBOR_TEXT   3
#define TN_CBOR_ARRAY  4
#define TN_CBOR_MAP    5

#define TN_CBOR_NULL   0xf6


/* the argument of an item's head */
static uint64_t
tn_cbor_head(tn_cursor_t *c, unsigned major)
{
    uint8_t   first, info;
    uint64_t  value, least;

    first = tn_read_u8(c);
    info = first & 0x1f;

    if (first >> 5 != major) {
        c->bad = true;
        return 0;
    }

    /* the least value that needs a head of this length */

    switch (info) {

    case 24:
        value = tn_read_u8(c);
        least = 24;
        break;

    case 25:
        value = tn_read_u16(c);
        least = 1 << 8;
        break;

    case 26:
        value = tn_read_u32(c);
        least = 1 << 16;
        break;

    case 27:
        value = tn_read_u64(c);
        least = (uint64_t) 1 << 32;
        break;

    default:

        /* 28 to 30 are reserved, 31 is an indefinite length */

        value = info;
        least = info < 24 ? 0 : UINT64_MAX;
    }

    if (c->bad || value < least) {
        c->bad = true;
        return 0;
    }

    return value;
}


static tn_str_t
tn_cbor_string(tn_cursor_t *c, unsigned major)
{
    tn_str_t  s;
    uint64_t  len;

    len = tn_cbor_head(c, major);

    if (len > tn_cursor_left(c)) {
        c->bad = true;
        len = 0;
    }

    s.data = tn_read_bytes(c, (size_t) len);
    s.len = s.data ? (size_t) len : 0;

    return s;
}


static size_t
tn_cbor_count(tn_cursor_t *c, unsigned major, size_t max)
{
    uint64_t  n;

    n = tn_cbor_head(c, major);

    if (n > max) {
        c->bad = true;
        return 0;
    }

    return (size_t) n;
}


/* RFC 3629: no longer form than need be, no surrogates, nothing past 10ffff */
static bool
tn_cbor_is_utf8(tn_str_t s)
{
    size_t          i, n, k;
    uint32_t        code;
    const uint8_t  *p;

    static const uint32_t  least[] = { 0, 0x80, 0x800, 0x10000 };

    p = s.data;

    for (i = 0; i < s.len; i += n + 1) {
        n = p[i] < 0x80 ? 0
            : p[i] >> 5 == 0x06 ? 1
            : p[i] >> 4 == 0x0e ? 2
            : p[i] >> 3 == 0x1e ? 3 : s.len;

        if (n > 3 || n >= s.len - i) {
            return false;
        }

        code = n == 0 ? p[i] : p[i] & (0x3fu >> n);

        for (k = 1; k <= n; k++) {

            if ((p[i + k] & 0xc0) != 0x80) {
                return false;
            }

            code = code << 6 | (p[i + k] & 0x3f);
        }

        if (code < least[n] || code > 0x10ffff || code >> 11 == 0x1b) {
            return false;
        }
    }

    return true;
}


uint64_t
tn_cbor_uint(tn_cursor_t *c)
{
    return tn_cbor_head(c, TN_CBOR_UINT);
}


tn_str_t
tn_cbor_bytes(tn_cursor_t *c)
{
    return tn_cbor_string(c, TN_CBOR_BYTES);
}


tn_str_t
tn_cbor_text(tn_cursor_t *c)
{
    tn_str_t  s;

    s = tn_cbor_string(c, TN_CBOR_TEXT);

    if (!tn_cbor_is_utf8(s)) {
        c->bad = true;
        s.data = NULL;
        s.len = 0;
    }

    return s;
}


size_t
tn_cbor_array(tn_cursor_t *c, size_t max)
{
    return tn_cbor_count(c, TN_CBOR_ARRAY, max);
}


size_t
tn_cbor_map(tn_cursor_t *c, size_t max)
{
    return tn_cbor_count(c, TN_CBOR_MAP, max);
}


const uint8_t *
tn_cbor_fixed(tn_cursor_t *c, size_t len)
{
    tn_str_t  s;

    s = tn_cbor_bytes(c);

    if (s.len != len) {
        c->bad = true;
        return NULL;
    }

    return s.data;
}


bool
tn_cbor_null(tn_cursor_t *c)
{
    if (tn_cursor_left(c) == 0 || *c->pos != TN_CBOR_NULL) {
        return false;
    }

    c->pos++;

    return true;
}


unsigned
tn_cbor_key(tn_cursor_t *c, unsigned *last)
{
    uint64_t  key;

    key = tn_cbor_uint(c);

    if (key <= *last || key > UINT8_MAX) {
        c->bad = true;
        return 0;
    }

    *last = (unsigned) key;

    return *last;
}
