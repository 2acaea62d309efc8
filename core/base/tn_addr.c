
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_addr.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <stdio.h>
#include <sys/socket.h>


static tn_rc_t tn_addr_number(uint32_t *n, const char *text, size_t len,
    uint32_t max);


tn_ip_t
tn_ip_from_v4(const uint8_t *bytes)
{
    tn_ip_t  ip = { { 0 } };

    ip.b[10] = 0xff;
    ip.b[11] = 0xff;
    memcpy(ip.b + 12, bytes, 4);

    return ip;
}


tn_ip_t
tn_ip_from_v6(const uint8_t *bytes)
{
    tn_ip_t  ip;

    memcpy(ip.b, bytes, 16);

    return ip;
}


bool
tn_ip_is_loopback(const tn_ip_t *ip)
{
    static const tn_ip_t  one = { { 0, 0, 0, 0, 0, 0, 0, 0,
                                    0, 0, 0, 0, 0, 0, 0, 1 } };

    return tn_ip_is_v4(ip) ? ip->b[12] == 127 : tn_ip_equal(ip, &one);
}


bool
tn_ip_is_link_local(const tn_ip_t *ip)
{
    if (tn_ip_is_v4(ip)) {
        return ip->b[12] == 169 && ip->b[13] == 254;
    }

    return ip->b[0] == 0xfe && (ip->b[1] & 0xc0) == 0x80;
}


bool
tn_ip_is_private(const tn_ip_t *ip)
{
    if (tn_ip_is_v4(ip)) {
        return ip->b[12] == 10
               || (ip->b[12] == 172 && (ip->b[13] & 0xf0) == 16)
               || (ip->b[12] == 192 && ip->b[13] == 168);
    }

    return (ip->b[0] & 0xfe) == 0xfc;
}


bool
tn_ip_is_multicast(const tn_ip_t *ip)
{
    return tn_ip_is_v4(ip) ? (ip->b[12] & 0xf0) == 0xe0 : ip->b[0] == 0xff;
}


bool
tn_ip_is_tailscale(const tn_ip_t *ip)
{
    static const uint8_t  ula[6] = { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0 };

    if (tn_ip_is_v4(ip)) {
        return ip->b[12] == 100 && (ip->b[13] & 0xc0) == 64;
    }

    return memcmp(ip->b, ula, sizeof(ula)) == 0;
}


tn_rc_t
tn_ip_parse(tn_ip_t *ip, const char *text, size_t len)
{
    char     buf[TN_ADDR_TEXT];
    uint8_t  v4[4];

    if (len == 0 || len >= sizeof(buf) || memchr(text, '\0', len) != NULL) {
        return TN_MALFORMED;
    }

    memcpy(buf, text, len);
    buf[len] = '\0';

    if (inet_pton(AF_INET, buf, v4) == 1) {
        *ip = tn_ip_from_v4(v4);
        return TN_OK;
    }

    if (inet_pton(AF_INET6, buf, ip->b) == 1) {
        return TN_OK;
    }

    memset(ip, 0, sizeof(tn_ip_t));

    return TN_MALFORMED;
}


tn_rc_t
tn_addr_parse(tn_addr_t *addr, const char *text, size_t len)
{
    size_t       host;
    uint32_t     port;
    const char  *colon;

    memset(addr, 0, sizeof(tn_addr_t));

    colon = memrchr(text, ':', len);

    if (colon == NULL) {
        return TN_MALFORMED;
    }

    host = (size_t) (colon - text);

    if (tn_addr_number(&port, colon + 1, len - host - 1, 65535) != TN_OK) {
        return TN_MALFORMED;
    }

    if (host > 2 && text[0] == '[' && text[host - 1] == ']') {
        text++;
        host -= 2;

        if (memchr(text, ':', host) == NULL) {
            return TN_MALFORMED;
        }

    } else if (memchr(text, ':', host) != NULL) {
        return TN_MALFORMED;
    }

    if (tn_ip_parse(&addr->ip, text, host) != TN_OK) {
        return TN_MALFORMED;
    }

    addr->port = (uint16_t) port;

    return TN_OK;
}


tn_rc_t
tn_prefix_parse(tn_prefix_t *prefix, const char *text, size_t len)
{
    bool         v4;
    size_t       host;
    tn_ip_t      ip;
    uint32_t     i, bits, width, first;
    const char  *slash;

    memset(prefix, 0, sizeof(tn_prefix_t));

    slash = memchr(text, '/', len);
    host = slash ? (size_t) (slash - text) : len;

    if (tn_ip_parse(&ip, text, host) != TN_OK) {
        return TN_MALFORMED;
    }

    v4 = memchr(text, ':', host) == NULL;
    width = v4 ? 32 : 128;
    bits = width;

    if (slash != NULL
        && tn_addr_number(&bits, slash + 1, len - host - 1, width) != TN_OK)
    {
        return TN_MALFORMED;
    }

    first = v4 ? 96 : 0;

    for (i = first + bits; i < 128; i++) {
        if (ip.b[i / 8] & (0x80 >> (i % 8))) {
            return TN_MALFORMED;
        }
    }

    prefix->ip = ip;
    prefix->bits = (uint8_t) bits;
    prefix->v4 = v4;

    return TN_OK;
}


char *
tn_ip_text(const tn_ip_t *ip, char *buf)
{
    if (tn_ip_is_none(ip)) {
        strcpy(buf, "::");

    } else if (tn_ip_is_v4(ip)) {
        (void) inet_ntop(AF_INET, ip->b + 12, buf, TN_ADDR_TEXT);

    } else {
        (void) inet_ntop(AF_INET6, ip->b, buf, TN_ADDR_TEXT);
    }

    return buf;
}


char *
tn_addr_text(const tn_addr_t *addr, char *buf)
{
    char  ip[TN_ADDR_TEXT];

    (void) snprintf(buf, TN_ADDR_TEXT,
                    tn_ip_is_v4(&addr->ip) ? "%.46s:%u" : "[%.46s]:%u",
                    tn_ip_text(&addr->ip, ip), addr->port);

    return buf;
}


char *
tn_prefix_text(const tn_prefix_t *prefix, char *buf)
{
    char  ip[TN_ADDR_TEXT];

    (void) snprintf(buf, TN_ADDR_TEXT, "%.46s/%u",
                    tn_ip_text(&prefix->ip, ip), prefix->bits);

    return buf;
}


bool
tn_prefix_contains(const tn_prefix_t *prefix, const tn_ip_t *ip)
{
    uint32_t  bits, bytes, mask;

    if (tn_ip_is_v4(ip) != prefix->v4) {
        return false;
    }

    bits = prefix->bits + (prefix->v4 ? 96u : 0u);
    bytes = bits / 8;

    if (memcmp(prefix->ip.b, ip->b, bytes) != 0) {
        return false;
    }

    mask = 0xff00u >> (bits % 8) & 0xff;

    return mask == 0 || ((prefix->ip.b[bytes] ^ ip->b[bytes]) & mask) == 0;
}


tn_prefix_t
tn_prefix_of(const tn_ip_t *ip)
{
    tn_prefix_t  prefix;

    prefix.ip = *ip;
    prefix.v4 = tn_ip_is_v4(ip);
    prefix.bits = prefix.v4 ? 32 : 128;

    return prefix;
}


size_t
tn_addr_to_sockaddr(const tn_addr_t *addr, struct sockaddr_storage *ss)
{
    struct sockaddr_in   *sin;
    struct sockaddr_in6  *sin6;

    if (tn_ip_is_v4(&addr->ip)) {
        sin = (struct sockaddr_in *) ss;
        memset(sin, 0, sizeof(struct sockaddr_in));
        sin->sin_family = AF_INET;
        sin->sin_port = htons(addr->port);
        memcpy(&sin->sin_addr, addr->ip.b + 12, 4);

        return sizeof(struct sockaddr_in);
    }

    sin6 = (struct sockaddr_in6 *) ss;
    memset(sin6, 0, sizeof(struct sockaddr_in6));
    sin6->sin6_family = AF_INET6;
    sin6->sin6_port = htons(addr->port);
    memcpy(&sin6->sin6_addr, addr->ip.b, 16);

    return sizeof(struct sockaddr_in6);
}


tn_rc_t
tn_addr_from_sockaddr(tn_addr_t *addr, const struct sockaddr_storage *ss)
{
    const struct sockaddr_in   *sin;
    const struct sockaddr_in6  *sin6;

    switch (ss->ss_family) {

    case AF_INET:
        sin = (const struct sockaddr_in *) ss;
        addr->ip = tn_ip_from_v4((const uint8_t *) &sin->sin_addr);
        addr->port = ntohs(sin->sin_port);
        return TN_OK;

    case AF_INET6:
        sin6 = (const struct sockaddr_in6 *) ss;
        addr->ip = tn_ip_from_v6((const uint8_t *) &sin6->sin6_addr);
        addr->port = ntohs(sin6->sin6_port);
        return TN_OK;

    default:
        memset(addr, 0, sizeof(tn_addr_t));
        return TN_MALFORMED;
    }
}


static tn_rc_t
tn_addr_number(uint32_t *n, const char *text, size_t len, uint32_t max)
{
    size_t  i;

    *n = 0;

    if (len == 0 || len > 5 || (len > 1 && text[0] == '0')) {
        return TN_MALFORMED;
    }

    for (i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return TN_MALFORMED;
        }

        *n = *n * 10 + (uint32_t) (text[i] - '0');
    }

    return *n <= max ? TN_OK : TN_MALFORMED;
}
