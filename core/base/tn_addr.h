
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * IP addresses, address and port pairs, and prefixes, both families in one
 * type, with their text forms.
 */

#ifndef TN_ADDR_H_INCLUDED_
#define TN_ADDR_H_INCLUDED_

#include "tn_base.h"

struct sockaddr_storage;


#define TN_ADDR_TEXT  64        /* room for any text form and its zero */

/* 16 bytes, IPv4 as ::ffff:a.b.c.d; all zero is "none" */
typedef struct {
    uint8_t   b[16];
} tn_ip_t;

typedef struct {
    tn_ip_t   ip;
    uint16_t  port;             /* host byte order */
} tn_addr_t;

/* `bits` counts in the family's own width: 0-32 for IPv4, 0-128 for IPv6 */
typedef struct {
    tn_ip_t   ip;
    uint8_t   bits;
    bool      v4;
} tn_prefix_t;


static inline bool
tn_ip_is_v4(const tn_ip_t *ip)
{
    static const uint8_t  mapped[12] = { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                         0xff, 0xff };

    return memcmp(ip->b, mapped, 12) == 0;
}


static inline bool
tn_ip_equal(const tn_ip_t *a, const tn_ip_t *b)
{
    return memcmp(a->b, b->b, 16) == 0;
}


static inline bool
tn_ip_is_none(const tn_ip_t *ip)
{
    static const tn_ip_t  none;

    return tn_ip_equal(ip, &none);
}


static inline bool
tn_addr_equal(const tn_addr_t *a, const tn_addr_t *b)
{
    return a->port == b->port && tn_ip_equal(&a->ip, &b->ip);
}


static inline bool
tn_prefix_equal(const tn_prefix_t *a, const tn_prefix_t *b)
{
    return a->v4 == b->v4 && a->bits == b->bits && tn_ip_equal(&a->ip, &b->ip);
}


/* from the 4 or 16 bytes of an IP header */
tn_ip_t tn_ip_from_v4(const uint8_t *bytes);
tn_ip_t tn_ip_from_v6(const uint8_t *bytes);

bool tn_ip_is_loopback(const tn_ip_t *ip);
bool tn_ip_is_link_local(const tn_ip_t *ip);
bool tn_ip_is_private(const tn_ip_t *ip);       /* RFC 1918, RFC 4193 */
bool tn_ip_is_multicast(const tn_ip_t *ip);
bool tn_ip_is_tailscale(const tn_ip_t *ip);     /* 100.64/10, fd7a:115c:a1e0 */

/* each: TN_OK or TN_MALFORMED; the whole of text[0..len) must be the thing */
tn_rc_t tn_ip_parse(tn_ip_t *ip, const char *text, size_t len);
tn_rc_t tn_addr_parse(tn_addr_t *addr, const char *text, size_t len);
/* a bare address is a full-length prefix; host bits must be zero */
tn_rc_t tn_prefix_parse(tn_prefix_t *prefix, const char *text, size_t len);

/* each writes to buf of TN_ADDR_TEXT bytes and returns buf */
char *tn_ip_text(const tn_ip_t *ip, char *buf);
char *tn_addr_text(const tn_addr_t *addr, char *buf);
char *tn_prefix_text(const tn_prefix_t *prefix, char *buf);

bool tn_prefix_contains(const tn_prefix_t *prefix, const tn_ip_t *ip);

/* full-length prefix of one address */
tn_prefix_t tn_prefix_of(const tn_ip_t *ip);

/*
 * To and from the kernel's form: AF_INET for IPv4 (also for mapped IPv6),
 * AF_INET6 for IPv6.  The first returns the length, the second TN_MALFORMED
 * for another family.
 */
size_t tn_addr_to_sockaddr(const tn_addr_t *addr, struct sockaddr_storage *ss);
tn_rc_t tn_addr_from_sockaddr(tn_addr_t *addr,
    const struct sockaddr_storage *ss);


#endif /* TN_ADDR_H_INCLUDED_ */
