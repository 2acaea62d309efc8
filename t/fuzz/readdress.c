
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzz target: another address in any packet.  It stays the packet that it
 * was, its checksums as right or as wrong as before; with the old address again
 * the header is the old one.
 */

#include "wire/tn_readdress.h"

#include "wire/tn_checksum.h"

#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


/* a sum over all that a checksum covers; 0 when the checksum is right */
static uint16_t
folded(uint64_t sum)
{
    uint16_t  v;

    /* ones' complement has two zeros */

    v = tn_checksum_finish(sum);

    return v == 0xffff ? 0 : v;
}


static uint16_t
sum_of(const uint8_t *packet, const tn_packet_t *p)
{
    size_t  len;

    len = (size_t) p->total_len - p->header_len;

    return folded(tn_checksum_add(tn_checksum_pseudo(packet, p->proto, len),
                                  packet + p->header_len, len));
}


static uint16_t
header_sum(const uint8_t *packet, const tn_packet_t *p)
{
    return p->version == 4
           ? folded(tn_checksum_add(0, packet, p->header_len)) : 0;
}


static bool
has_sum(const uint8_t *packet, const tn_packet_t *p)
{
    if (p->frag != TN_PACKET_WHOLE) {
        return false;
    }

    return p->proto == TN_PROTO_TCP
           || (p->proto == TN_PROTO_ICMP6 && p->version == 6)
           || (p->proto == TN_PROTO_UDP
               && (packet[p->header_len + 6] | packet[p->header_len + 7])
                  != 0);
}


static void
change(uint8_t *packet, size_t size, tn_packet_t *p, bool src,
    const tn_ip_t *ip)
{
    bool         has;
    uint16_t     sum, header;
    tn_packet_t  q;

    has = has_sum(packet, p);
    sum = sum_of(packet, p);
    header = header_sum(packet, p);

    if (src) {
        tn_readdress_src(packet, p, ip);
    } else {
        tn_readdress_dst(packet, p, ip);
    }

    if (!tn_ip_equal(src ? &p->src : &p->dst, ip)
        || tn_packet_parse(&q, packet, size) != TN_OK
        || !tn_ip_equal(&q.src, &p->src) || !tn_ip_equal(&q.dst, &p->dst)
        || q.proto != p->proto || q.total_len != p->total_len
        || q.header_len != p->header_len || q.frag != p->frag
        || q.data_offset != p->data_offset
        || (has && sum_of(packet, p) != sum)
        || header_sum(packet, p) != header)
    {
        abort();
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bool         src;
    size_t       i;
    tn_ip_t      ip, was;
    uint8_t     *packet;
    tn_packet_t  p;

    /* the new address stands before the packet */

    if (size < 5) {
        return 0;
    }

    src = data[0] & 1;
    packet = malloc(size - 5 + (size == 5));
    memcpy(packet, data + 5, size - 5);

    if (tn_packet_parse(&p, packet, size - 5) == TN_OK) {
        (void) tn_ip_parse(&ip, p.version == 4 ? "100.64.0.1" : "fd7a::1",
                           p.version == 4 ? 10 : 7);
        memcpy(ip.b + 12, data + 1, 4);

        was = src ? p.src : p.dst;
        change(packet, size - 5, &p, src, &ip);
        change(packet, size - 5, &p, src, &was);

        for (i = 0; i < p.header_len; i++) {

            if (packet[i] != data[5 + i]
                && !(p.version == 4 && (i == 10 || i == 11)))
            {
                abort();
            }
        }
    }

    free(packet);

    return 0;
}
