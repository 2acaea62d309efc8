
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Builds TCP and UDP packets and checks their checksums for tests of the
 * packet path, in the plainest way and without its code.
 */

#ifndef PACKETS_H_INCLUDED_
#define PACKETS_H_INCLUDED_

#include <stdint.h>
#include <stdlib.h>
#include <string.h>


typedef struct {
    int        version;         /* 4 or 6 */
    int        proto;           /* 6 or 17 */
    int        ip_options;      /* bytes of IPv4 options, a multiple of 4 */
    int        tcp_options;     /* the same of TCP */
    uint8_t    tos;
    uint8_t    ttl;
    uint8_t    host;            /* last byte of the source address */
    uint16_t   id;
    int        df;
    uint16_t   src_port;
    uint16_t   dst_port;
    uint32_t   seq;
    uint32_t   ack;
    uint16_t   window;
    uint8_t    flags;
    size_t     payload;
    uint32_t   content;         /* offset of the payload in the test data */
} pkt_t;


static inline void
pkt_u16(uint8_t *p, unsigned v)
{
    p[0] = (uint8_t) (v >> 8);
    p[1] = (uint8_t) v;
}


static inline void
pkt_u32(uint8_t *p, uint32_t v)
{
    pkt_u16(p, v >> 16);
    pkt_u16(p + 2, v & 0xffff);
}


/* the byte at an offset of an endless stream of test data */
static inline uint8_t
pkt_content(uint32_t at)
{
    return (uint8_t) ((at * 2654435761u) >> 24);
}


static inline uint32_t
pkt_sum(uint32_t sum, const uint8_t *p, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        sum += i & 1 ? p[i] : (uint32_t) p[i] << 8;
        sum = (sum & 0xffff) + (sum >> 16);
    }

    return sum;
}


static inline size_t
pkt_ip_len(const pkt_t *k)
{
    return k->version == 4 ? 20 + (size_t) k->ip_options : 40;
}


static inline size_t
pkt_headers(const pkt_t *k)
{
    return pkt_ip_len(k)
           + (k->proto == 6 ? 20 + (size_t) k->tcp_options : 8);
}


static inline uint32_t
pkt_pseudo(const uint8_t *ip, int proto, size_t len)
{
    uint32_t  sum;

    sum = ip[0] >> 4 == 4 ? pkt_sum(0, ip + 12, 8) : pkt_sum(0, ip + 8, 32);
    sum += (uint32_t) proto + (uint32_t) len;

    while (sum >> 16) {
        sum = (sum & 0xffff) + (sum >> 16);
    }

    return sum;
}


/* sets both checksums of a packet made by pkt_build() */
static inline void
pkt_checksums(const pkt_t *k, uint8_t *p)
{
    size_t    ip, len;
    uint8_t  *field;
    uint32_t  sum;

    ip = pkt_ip_len(k);
    len = pkt_headers(k) + k->payload;

    if (k->version == 4) {
        pkt_u16(p + 10, 0);
        pkt_u16(p + 10, ~pkt_sum(0, p, ip) & 0xffff);
    }

    field = p + ip + (k->proto == 6 ? 16 : 6);
    pkt_u16(field, 0);

    sum = pkt_pseudo(p, k->proto, len - ip);
    sum = ~pkt_sum(sum, p + ip, len - ip) & 0xffff;
    pkt_u16(field, sum ? sum : 0xffff);
}


/* writes the packet with good checksums, returns its length */
static inline size_t
pkt_build(const pkt_t *k, uint8_t *p)
{
    int      i;
    size_t   ip, headers, len, j;
    uint8_t  *t;

    ip = pkt_ip_len(k);
    headers = pkt_headers(k);
    len = headers + k->payload;

    memset(p, 0, headers);

    if (k->version == 4) {
        p[0] = (uint8_t) (0x40 | ip / 4);
        p[1] = k->tos;
        pkt_u16(p + 2, (unsigned) len);
        pkt_u16(p + 4, k->id);
        p[6] = k->df ? 0x40 : 0;
        p[8] = k->ttl;
        p[9] = (uint8_t) k->proto;
        memcpy(p + 12, "\x64\x40\x00", 3);
        p[15] = k->host;
        memcpy(p + 16, "\x64\x40\x00\x63", 4);

        for (i = 0; i < k->ip_options; i++) {
            p[20 + i] = 1;
        }

    } else {
        pkt_u32(p, 0x60000000 | (uint32_t) k->tos << 20 | 0x12345);
        pkt_u16(p + 4, (unsigned) (len - 40));
        p[6] = (uint8_t) k->proto;
        p[7] = k->ttl;
        memcpy(p + 8, "\xfd\x7a\x11\x5c\xa1\xe0", 6);
        p[23] = k->host;
        memcpy(p + 24, "\xfd\x7a\x11\x5c\xa1\xe0", 6);
        p[39] = 0x63;
    }

    t = p + ip;
    pkt_u16(t, k->src_port);
    pkt_u16(t + 2, k->dst_port);

    if (k->proto == 6) {
        pkt_u32(t + 4, k->seq);
        pkt_u32(t + 8, k->ack);
        t[12] = (uint8_t) ((20 + k->tcp_options) / 4 << 4);
        t[13] = k->flags;
        pkt_u16(t + 14, k->window);

        for (i = 0; i < k->tcp_options; i++) {
            t[20 + i] = i < 2 ? 1 : (uint8_t) (i * 7);
        }

    } else {
        pkt_u16(t + 4, (unsigned) (len - ip));
    }

    for (j = 0; j < k->payload; j++) {
        p[headers + j] = pkt_content(k->content + (uint32_t) j);
    }

    pkt_checksums(k, p);

    return len;
}


/* turns a good packet into one as the kernel hands to an offload: the field
 * holds the pseudo-header's sum */
static inline void
pkt_partial(const pkt_t *k, uint8_t *p)
{
    size_t  ip, len;

    ip = pkt_ip_len(k);
    len = pkt_headers(k) + k->payload;

    pkt_u16(p + ip + (k->proto == 6 ? 16 : 6),
            pkt_pseudo(p, k->proto, len - ip));
}


#endif /* PACKETS_H_INCLUDED_ */
