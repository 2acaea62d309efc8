
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "wire/tn_hello.h"

#include "base/tn_cursor.h"


#define TN_HELLO_TYPE         1
#define TN_HELLO_HEAD         (2 + 32)  /* legacy_version, random */
#define TN_HELLO_SERVER_NAME  0         /* RFC 6066, 3. */
#define TN_HELLO_HOST_NAME    0
#define TN_HELLO_ALPN         16        /* RFC 7301, 3.1. */


static bool tn_hello_offers(tn_cursor_t c, const char *protocol);
static bool tn_hello_name(tn_cursor_t c, char name[TN_HELLO_NAME]);
static tn_cursor_t tn_hello_vector(tn_cursor_t *c, size_t len);


tn_rc_t
tn_hello_only(const void *bytes, size_t len, const char *protocol,
    char name[TN_HELLO_NAME])
{
    bool         named, offers;
    size_t       size;
    uint16_t     type;
    tn_cursor_t  c, exts, ext;

    named = false;
    offers = false;
    name[0] = '\0';

    c = tn_cursor(bytes, len);

    if (tn_read_u8(&c) != TN_HELLO_TYPE) {
        return c.bad ? TN_MALFORMED : TN_NOTFOUND;
    }

    size = (size_t) tn_read_u8(&c) << 16;
    size |= tn_read_u16(&c);

    if (tn_cursor_left(&c) != size) {
        return TN_MALFORMED;
    }

    (void) tn_read_bytes(&c, TN_HELLO_HEAD);
    (void) tn_read_bytes(&c, tn_read_u8(&c));       /* legacy_session_id */
    (void) tn_read_bytes(&c, tn_read_u16(&c));      /* cipher_suites */
    (void) tn_read_bytes(&c, tn_read_u8(&c));       /* compression methods */

    if (!c.bad && tn_cursor_left(&c) == 0) {
        return TN_NOTFOUND;
    }

    exts = tn_hello_vector(&c, tn_read_u16(&c));

    if (c.bad || tn_cursor_left(&c) != 0) {
        return TN_MALFORMED;
    }

    while (tn_cursor_left(&exts) != 0) {
        type = tn_read_u16(&exts);
        ext = tn_hello_vector(&exts, tn_read_u16(&exts));

        if (exts.bad) {
            return TN_MALFORMED;
        }

        if (type == TN_HELLO_SERVER_NAME) {
            named = tn_hello_name(ext, name);

        } else if (type == TN_HELLO_ALPN) {
            offers = tn_hello_offers(ext, protocol);
        }
    }

    return named && offers ? TN_OK : TN_NOTFOUND;
}


static bool
tn_hello_offers(tn_cursor_t c, const char *protocol)
{
    size_t          len;
    tn_cursor_t     list;
    const uint8_t  *p;

    list = tn_hello_vector(&c, tn_read_u16(&c));
    len = tn_read_u8(&list);
    p = tn_read_bytes(&list, len);

    return p != NULL
           && tn_cursor_left(&list) == 0 && tn_cursor_left(&c) == 0
           && len == strlen(protocol)
           && memcmp(p, protocol, len) == 0;
}


static bool
tn_hello_name(tn_cursor_t c, char name[TN_HELLO_NAME])
{
    size_t          i, len;
    tn_cursor_t     list;
    const uint8_t  *p;

    list = tn_hello_vector(&c, tn_read_u16(&c));

    if (tn_read_u8(&list) != TN_HELLO_HOST_NAME) {
        return false;
    }

    len = tn_read_u16(&list);
    p = tn_read_bytes(&list, len);

    if (p == NULL || len == 0 || len >= TN_HELLO_NAME) {
        return false;
    }

    for (i = 0; i < len; i++) {
        name[i] = (char) (p[i] >= 'A' && p[i] <= 'Z' ? p[i] | 0x20 : p[i]);
    }

    name[len] = '\0';

    return strlen(name) == len;
}


static tn_cursor_t
tn_hello_vector(tn_cursor_t *c, size_t len)
{
    const uint8_t  *p;

    p = tn_read_bytes(c, len);

    return tn_cursor(p, p != NULL ? len : 0);
}
