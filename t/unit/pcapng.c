
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The blocks of a pcapng file, byte by byte as the draft draws them.
 */

#include "tap.h"

#include "wire/tn_pcapng.h"


static const uint8_t  head[TN_PCAPNG_HEAD] = {
    0x0a, 0x0d, 0x0d, 0x0a, 0, 0, 0, 28, 0x1a, 0x2b, 0x3c, 0x4d, 0, 1, 0, 0,
    255, 255, 255, 255, 255, 255, 255, 255, 0, 0, 0, 28,
    0, 0, 0, 1, 0, 0, 0, 44, 0, 101, 0, 0, 0, 0, 0, 0,
    0, 2, 0, 7, 't', 'a', 'i', 'l', 'n', 'e', 't', 0,
    0, 9, 0, 1, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 44
};

static const uint8_t  in[] = {
    0, 0, 0, 6, 0, 0, 0, 52, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8,
    0, 0, 0, 5, 0, 0, 0, 5, 'h', 'e', 'l', 'l', 'o', 0, 0, 0,
    0, 2, 0, 4, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 52
};

static const uint8_t  out[] = {
    0, 0, 0, 6, 0, 0, 0, 60, 0, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8,
    0, 0, 0, 4, 0, 0, 0, 4, 'h', 'e', 'l', 'l',
    0, 2, 0, 4, 0, 0, 0, 2, 0, 4, 0, 8, 0, 0, 0, 1, 0, 0, 0, 3,
    0, 0, 0, 0, 0, 0, 0, 60
};


int
main(void)
{
    size_t              i, n;
    uint8_t             buf[256], big[UINT16_MAX + 1];
    tn_pcapng_packet_t  packet;

    is_int((long) tn_pcapng_head(buf, TN_PCAPNG_HEAD), TN_PCAPNG_HEAD,
           "the head has its length");
    ok(memcmp(buf, head, sizeof(head)) == 0, "and is as drawn");
    is_int((long) tn_pcapng_head(buf, TN_PCAPNG_HEAD - 1), 0,
           "or does not fit");

    memset(&packet, 0, sizeof(packet));
    packet.wall_ns = 0x0102030405060708;
    packet.bytes = (const uint8_t *) "hello";
    packet.len = 5;

    is_int((long) tn_pcapng_packet(buf, sizeof(buf), &packet), sizeof(in),
           "a packet that came");
    ok(memcmp(buf, in, sizeof(in)) == 0, "is padded, its direction told");

    packet.out = true;
    packet.lost = 0x100000003;
    packet.len = 4;

    is_int((long) tn_pcapng_packet(buf, sizeof(out), &packet), sizeof(out),
           "a packet that went, after lost ones");
    ok(memcmp(buf, out, sizeof(out)) == 0, "has their number");

    n = 0;
    for (i = 0; i < sizeof(out); i++) {
        n += tn_pcapng_packet(buf, i, &packet);
    }

    is_int((long) n, 0, "nothing is written where it does not fit");

    memset(big, 0, sizeof(big));
    packet.bytes = big;
    packet.len = sizeof(big);
    is_int((long) tn_pcapng_packet(big, sizeof(big), &packet), 0,
           "nor more than an IP packet can be");

    return tap_done();
}
