
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_stun.h"

#include "base/tn_cursor.h"


#define TN_STUN_HEADER          20
#define TN_STUN_COOKIE          0x2112a442
#define TN_STUN_SUCCESS         0x0101
#define TN_STUN_MAPPED          0x0001
#define TN_STUN_XOR_MAPPED      0x0020
#define TN_STUN_XOR_MAPPED_ALT  0x8020  /* what some servers send */
#define TN_STUN_FINGERPRINT_XOR 0x5354554e


static tn_rc_t tn_stun_address(tn_addr_t *addr, const uint8_t *attr,
    size_t len, const uint8_t txid[TN_STUN_TXID], bool xored);
static uint32_t tn_stun_crc32(const uint8_t *bytes, size_t len);


bool
tn_stun_is_binding(const uint8_t *bytes, size_t len)
{
    tn_cursor_t  c;

    if (len < TN_STUN_HEADER) {
        return false;
    }

    c = tn_cursor(bytes, len);

    /* RFC 5389, 6: the two most significant bits are zeroes */

    if ((tn_read_u16(&c) & 0xc0ff) != 0x0001) {
        return false;
    }

    (void) tn_read_u16(&c);

    return tn_read_u32(&c) == TN_STUN_COOKIE;
}


void
tn_stun_request(uint8_t *out, const uint8_t txid[TN_STUN_TXID])
{
    /* RFC 5389, 6: request, 20 bytes of attributes, cookie; 15.10, 15.5 */

    static const uint8_t  header[8] =
        { 0x00, 0x01, 0x00, 0x14, 0x21, 0x12, 0xa4, 0x42 };
    static const uint8_t  attributes[16] =
        { 0x80, 0x22, 0x00, 0x08, 't', 'a', 'i', 'l', 'n', 'o', 'd', 'e',
          0x80, 0x28, 0x00, 0x04 };

    uint32_t  crc;

    memcpy(out, header, 8);
    memcpy(out + 8, txid, TN_STUN_TXID);
    memcpy(out + 20, attributes, 16);

    /* over all that precedes the FINGERPRINT attribute */

    crc = tn_stun_crc32(out, 32) ^ TN_STUN_FINGERPRINT_XOR;

    out[36] = (uint8_t) (crc >> 24);
    out[37] = (uint8_t) (crc >> 16);
    out[38] = (uint8_t) (crc >> 8);
    out[39] = (uint8_t) crc;
}


tn_rc_t
tn_stun_response(const uint8_t *bytes, size_t len, uint8_t txid[TN_STUN_TXID],
    tn_addr_t *addr)
{
    bool            mapped, xored;
    size_t          attrs;
    uint16_t        type, attr_len;
    tn_cursor_t     c;
    tn_addr_t       fallback, found;
    const uint8_t  *attr;

    memset(addr, 0, sizeof(tn_addr_t));

    c = tn_cursor(bytes, len);

    if (tn_read_u16(&c) != TN_STUN_SUCCESS) {
        return TN_MALFORMED;
    }

    attrs = tn_read_u16(&c);

    if (tn_read_u32(&c) != TN_STUN_COOKIE) {
        return TN_MALFORMED;
    }

    tn_read_copy(&c, txid, TN_STUN_TXID);

    attr = tn_read_bytes(&c, attrs);

    if (attr == NULL) {
        return TN_MALFORMED;
    }

    c = tn_cursor(attr, attrs);
    mapped = false;
    xored = false;
    memset(&fallback, 0, sizeof(tn_addr_t));

    while (tn_cursor_left(&c) != 0) {
        type = tn_read_u16(&c);
        attr_len = tn_read_u16(&c);
        attr = tn_read_bytes(&c, (attr_len + 3u) & ~3u);

        if (attr == NULL) {
            return TN_MALFORMED;
        }

        if (type == TN_STUN_XOR_MAPPED || type == TN_STUN_XOR_MAPPED_ALT) {

            if (tn_stun_address(&found, attr, attr_len, txid, true)
                != TN_OK)
            {
                return TN_MALFORMED;
            }

            *addr = found;
            xored = true;

        } else if (type == TN_STUN_MAPPED) {

            if (tn_stun_address(&fallback, attr, attr_len, txid, false)
                != TN_OK)
            {
                return TN_MALFORMED;
            }

            mapped = true;
        }
    }

    if (!xored && mapped) {
        *addr = fallback;
    }

    return xored || mapped ? TN_OK : TN_MALFORMED;
}


static tn_rc_t
tn_stun_address(tn_addr_t *addr, const uint8_t *attr, size_t len,
    const uint8_t txid[TN_STUN_TXID], bool xored)
{
    size_t          i, ip_len;
    uint8_t         family, ip[16], mask[16];
    tn_cursor_t     c;
    tn_writer_t     w;
    const uint8_t  *p;

    c = tn_cursor(attr, len);

    (void) tn_read_u8(&c);
    family = tn_read_u8(&c);
    addr->port = tn_read_u16(&c);

    ip_len = family == 1 ? 4 : family == 2 ? 16 : 0;
    p = tn_read_bytes(&c, ip_len);

    if (c.bad || ip_len == 0) {
        return TN_MALFORMED;
    }

    /* RFC 5389, 15.2: the cookie, then the transaction */

    memset(mask, 0, sizeof(mask));

    if (xored) {
        w = tn_writer(mask, sizeof(mask));
        tn_write_u32(&w, TN_STUN_COOKIE);
        tn_write_bytes(&w, txid, TN_STUN_TXID);

        addr->port ^= TN_STUN_COOKIE >> 16;
    }

    for (i = 0; i < ip_len; i++) {
        ip[i] = p[i] ^ mask[i];
    }

    addr->ip = ip_len == 4 ? tn_ip_from_v4(ip) : tn_ip_from_v6(ip);

    return TN_OK;
}


/* CRC-32 of ITU V.42, bit by bit: the input is 32 bytes */
static uint32_t
tn_stun_crc32(const uint8_t *bytes, size_t len)
{
    int       bit;
    size_t    i;
    uint32_t  crc;

    crc = 0xffffffff;

    for (i = 0; i < len; i++) {
        crc ^= bytes[i];

        for (bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
    }

    return ~crc;
}
