
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Segmentation against a plain reference that builds every segment anew.
 */

#include "tap.h"

#include "vnets.h"
#include "base/tn_base.h"
#include "stack/tn_split.h"


#define FRAME_MAX    65535


typedef struct {
    int       n;
    int       bad;
    pkt_t     whole;
    size_t    mss;
    size_t    left;
    uint32_t  at;
} check_t;


/* builds the segment that is due and compares */
static void
emit_check(void *data, uint8_t *packet, size_t len)
{
    size_t    want_len;
    pkt_t     k;
    check_t  *check;
    static uint8_t  want[FRAME_MAX + 1];

    check = data;
    k = check->whole;

    k.payload = tn_min(check->left, check->mss);
    k.content += check->at;
    k.seq += check->at;
    k.id = (uint16_t) (k.id + check->n);

    if (k.payload < check->left) {
        k.flags &= (uint8_t) ~0x09;
    }

    if (check->n > 0) {
        k.flags &= (uint8_t) ~0x80;
    }

    want_len = pkt_build(&k, want);

    check->bad += len != want_len || memcmp(packet, want, len) != 0;
    check->left -= k.payload;
    check->at += (uint32_t) k.payload;
    check->n++;

    /* the caller may have encrypted it in place */
    memset(packet, 0xa5, len);
}


static void
emit_count(void *data, uint8_t *packet, size_t len)
{
    (void) packet;
    (void) len;

    (*(int *) data)++;
}


static void
test_reference(void)
{
    static const size_t   payloads[] = { 0, 1, 47, 48, 49, 1227, 1228, 1229,
                                         2456, 20000, 60000 };
    static const size_t   sizes[] = { 48, 1000, 1228, 1460 };
    static const uint8_t  flags[] = { 0x10, 0x18, 0x11, 0x19, 0xd8, 0x90 };

    int              v6, udp, options, got, bad;
    size_t           i, j, f, len;
    pkt_t            k;
    check_t          check;
    tn_vnet_t        vnet;
    static uint8_t   frame[FRAME_MAX + 64];

    for (v6 = 0; v6 < 2; v6++) {
        for (udp = 0; udp < 2; udp++) {
            for (options = 0; options < 3; options++) {
                bad = 0;

                for (i = 0; i < tn_nelems(payloads); i++) {
                    for (j = 0; j < tn_nelems(sizes); j++) {
                        for (f = 0; f < tn_nelems(flags); f++) {
                            memset(&k, 0, sizeof(k));

                            k.version = v6 ? 6 : 4;
                            k.proto = udp ? 17 : 6;
                            k.ip_options = options == 2 ? 8 : 0;
                            k.tcp_options = options == 0 ? 0
                                            : options == 1 ? 12 : 40;
                            k.tos = 2;
                            k.ttl = 64;
                            k.id = 65530;
                            k.df = 1;
                            k.src_port = 443;
                            k.dst_port = 50000;
                            k.seq = 0xffffff00;
                            k.ack = 77;
                            k.window = 500;
                            k.flags = flags[f];
                            k.payload = payloads[i];

                            len = pkt_build(&k, frame);
                            pkt_partial(&k, frame);
                            vnet = vnet_of(&k, sizes[j]);

                            memset(&check, 0, sizeof(check));
                            check.whole = k;
                            check.mss = sizes[j];
                            check.left = k.payload;

                            memset(frame + len, 0x5a, 64);
                            got = tn_split(&vnet, frame, len, emit_check,
                                           &check);

                            bad += check.bad;
                            bad += got != check.n || check.left != 0;
                            bad += frame[len] != 0x5a;
                        }
                    }
                }

                is_int(bad, 0, v6 ? udp ? "UDP over IPv6" : "TCP over IPv6"
                                  : udp ? "UDP over IPv4" : "TCP over IPv4");
            }
        }
    }
}


static void
test_checksum(void)
{
    int        v6, udp, count, i, bad;
    size_t     len;
    pkt_t      k;
    uint8_t    packet[256], want[256];
    tn_vnet_t  vnet;

    memset(&k, 0, sizeof(k));
    k.ttl = 64;
    k.src_port = 1;
    k.dst_port = 2;
    k.flags = 0x10;
    bad = 0;

    for (v6 = 0; v6 < 2; v6++) {
        for (udp = 0; udp < 2; udp++) {
            for (i = 0; i < 100; i++) {
                k.version = v6 ? 6 : 4;
                k.proto = udp ? 17 : 6;
                k.payload = (size_t) i;

                len = pkt_build(&k, want);
                memcpy(packet, want, len);
                pkt_partial(&k, packet);

                vnet = vnet_of(&k, 0);
                vnet.gso_type = TN_VNET_GSO_NONE;
                count = 0;

                bad += tn_split(&vnet, packet, len, emit_count, &count) != 1;
                bad += count != 1 || memcmp(packet, want, len) != 0;
            }
        }
    }

    is_int(bad, 0, "NEEDS_CSUM is completed");

    /* choose the port that makes the sum 0 */

    k.version = 4;
    k.proto = 17;
    k.payload = 0;
    k.src_port = 0;
    len = pkt_build(&k, packet);
    k.src_port = (uint16_t) (packet[26] << 8 | packet[27]);
    len = pkt_build(&k, packet);
    pkt_partial(&k, packet);

    vnet = vnet_of(&k, 0);
    vnet.gso_type = TN_VNET_GSO_NONE;
    (void) tn_split(&vnet, packet, len, emit_count, &count);
    is_int(packet[26] << 8 | packet[27], 0xffff, "a sum of 0 goes as 0xffff");

    memset(&vnet, 0, sizeof(vnet));
    memcpy(want, packet, len);
    is_int(tn_split(&vnet, packet, len, emit_count, &count), 1,
           "a plain packet is one packet");
    ok(memcmp(packet, want, len) == 0, "and is left as it is");
}


typedef struct {
    const char  *name;
    int          proto;
    int          gso_type;
    int          gso_size;
    int          csum_start;    /* of NEEDS_CSUM */
    int          csum_offset;
    int          cut;           /* bytes taken off the frame's end */
    int          byte;          /* of the packet to be set */
    int          value;
} broken_t;


static void
test_malformed(void)
{
    static const broken_t  broken[] = {
        { "size 0", 6, 1, 0, 20, 16, 0, 0, 0x45 },
        { "segments over the limit", 6, 1, 1, 20, 16, 0, 0, 0x45 },
        { "unknown type", 6, 2, 1000, 20, 16, 0, 0, 0x45 },
        { "UDP fragmentation offload", 17, 3, 1000, 20, 6, 0, 0, 0x45 },
        { "TCPv6 type on IPv4", 6, 4, 1000, 20, 16, 0, 0, 0x45 },
        { "TCP type on UDP", 17, 1, 1000, 20, 16, 0, 0, 0x45 },
        { "UDP type on TCP", 6, 5, 1000, 20, 6, 0, 0, 0x45 },
        { "UDP type with ECN", 17, 0x85, 1000, 20, 6, 0, 0, 0x45 },
        { "checksum starts elsewhere", 6, 1, 1000, 24, 16, 0, 0, 0x45 },
        { "cut off", 6, 1, 1000, 20, 16, 1, 0, 0x45 },
        { "shorter than an IP header", 6, 1, 1000, 20, 16, 2035, 0, 0x45 },
        { "IP version 5", 6, 1, 1000, 20, 16, 0, 0, 0x55 },
        { "IP header too short", 6, 1, 1000, 20, 16, 0, 0, 0x44 },
        { "TCP header too short", 6, 1, 1000, 20, 16, 0, 32, 0x40 },
        { "a fragment", 6, 1, 1000, 20, 16, 0, 6, 0x20 },
        { "IP length over the frame", 6, 1, 1000, 20, 16, 0, 2, 0xff },
        { "IP length under the frame", 6, 1, 1000, 20, 16, 0, 2, 0x01 },
        { "checksum before the packet", 6, 0, 0, 0, 16, 0, 0, 0x45 },
        { "checksum behind the packet", 6, 0, 0, 20, 2019, 0, 0, 0x45 },
        { "checksum far behind", 6, 0, 0, 65535, 65535, 0, 0, 0x45 }
    };

    int              count;
    size_t           i, len;
    pkt_t            k;
    uint8_t          frame[4096];
    tn_vnet_t        vnet;
    const broken_t  *b;

    for (i = 0; i < tn_nelems(broken); i++) {
        b = &broken[i];

        memset(&k, 0, sizeof(k));
        k.version = 4;
        k.proto = b->proto;
        k.flags = 0x10;
        k.payload = 2000;
        len = pkt_build(&k, frame);
        frame[b->byte] = (uint8_t) b->value;

        memset(&vnet, 0, sizeof(vnet));
        vnet.flags = TN_VNET_F_NEEDS_CSUM;
        vnet.gso_type = (uint8_t) b->gso_type;
        vnet.gso_size = (uint16_t) b->gso_size;
        vnet.csum_start = (uint16_t) b->csum_start;
        vnet.csum_offset = (uint16_t) b->csum_offset;
        count = 0;

        ok(tn_split(&vnet, frame, len - (size_t) b->cut, emit_count, &count)
           == TN_MALFORMED && count == 0, "malformed: %s", b->name);
    }
}


int
main(void)
{
    test_reference();
    test_checksum();
    test_malformed();

    return tap_done();
}
