
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Which flows are bulk, from when and until when, and that both directions
 * of one are the same and others are not.
 */

#include "stack/tn_bulk.h"

#include "packets.h"
#include "tap.h"


#define BIG  59000


static tn_bulk_t  bulk;
static uint8_t    packet[2048];


/* how the flow of this port looks to what comes for it */
static tn_bulk_e
of(int version, unsigned port, tn_ms_t now)
{
    pkt_t   k;
    size_t  len;

    memset(&k, 0, sizeof(k));
    k.version = version;
    k.proto = 6;
    k.ttl = 64;
    k.src_port = (uint16_t) port;
    k.dst_port = 80;
    len = pkt_build(&k, packet);

    return tn_bulk_of(&bulk, now, packet, len);
}


/* the other direction of it, as the stack sends: headers count */
static void
sent(int version, unsigned port, tn_ms_t now, size_t len)
{
    size_t   at, size;
    uint8_t  swap[16];

    (void) of(version, port, 0);

    at = version == 4 ? 12 : 8;
    size = version == 4 ? 4 : 16;
    memcpy(swap, packet + at, size);
    memcpy(packet + at, packet + at + size, size);
    memcpy(packet + at + size, swap, size);

    at = version == 4 ? 20 : 40;
    memcpy(swap, packet + at, 2);
    memcpy(packet + at, packet + at + 2, 2);
    memcpy(packet + at + 2, swap, 2);

    tn_bulk_sent(&bulk, now, packet, len);
}


static void
test_life(int version)
{
    tn_ms_t   now;
    unsigned  i;

    tn_bulk_init(&bulk, 42);
    now = 5000;

    sent(version, 1000, now, BIG);
    sent(version, 1000, now, BIG);
    ok(of(version, 1000, now) == TN_BULK_NO, "IPv%d: two are not many",
       version);

    sent(version, 1000, now, BIG);
    is_int(of(version, 1001, now), TN_BULK_NO, "another flow is not bulk");
    is_int(of(version, 1000, now), TN_BULK_MOVED, "three are");
    is_int(of(version, 1000, now), TN_BULK_YES, "told once");
    is_int(of(version, 1001, now), TN_BULK_NO, "of one flow");

    now += TN_BULK_IDLE_MS - 1;
    is_int(of(version, 1000, now), TN_BULK_YES, "a pause that is too short");

    sent(version, 1000, now, BIG);
    is_int(of(version, 1000, now + TN_BULK_IDLE_MS - 1), TN_BULK_YES,
           "a slow one that was fast stays bulk");
    is_int(of(version, 1000, now + TN_BULK_IDLE_MS), TN_BULK_NO,
           "a pause ends it");

    now += TN_BULK_IDLE_MS;
    sent(version, 1000, now, BIG);
    is_int(of(version, 1000, now), TN_BULK_NO, "and it begins anew");

    sent(version, 1000, now, BIG);
    sent(version, 1000, now, BIG);
    is_int(of(version, 1000, now), TN_BULK_MOVED, "it is told again");

    /* just below the rate, for as long as one likes */

    for (i = 0; i < 1000; i++) {
        sent(version, 2000, now, 3 * TN_BULK_BYTES_MS);
        now += 3;
    }

    is_int(of(version, 2000, now), TN_BULK_NO, "a stream that is slow");

    for (i = 0; i < 1000; i++) {
        sent(version, 3000, now, TN_BULK_BIG_BYTES - 1);
    }

    is_int(of(version, 3000, now), TN_BULK_NO, "many small packets");
}


static void
test_full(void)
{
    unsigned  i, n, all;

    tn_bulk_init(&bulk, 7);
    all = TN_BULK_SETS * TN_BULK_WAYS;

    for (i = 0; i < 4 * all; i++) {
        sent(4, 1000 + i, 1, BIG);
        sent(4, 1000 + i, 1, BIG);
        sent(4, 1000 + i, 1, BIG);
    }

    for (i = 0, n = 0; i < 4 * all; i++) {
        n += of(4, 1000 + i, 1) == TN_BULK_MOVED;
    }

    ok(n <= all && n > all * 9 / 10, "a full table holds %u of %u", n, all);

    for (i = 0, n = 0; i < all; i++) {
        n += of(4, 1000 + i, 1) == TN_BULK_YES;
    }

    ok(n > all / 2, "who was first is not displaced: %u of %u", n, all);

    /* flows that are none yet may be */

    tn_bulk_init(&bulk, 7);

    for (i = 0; i < 4 * all; i++) {
        sent(4, 1000 + i, 1, BIG);
    }

    for (i = 0; i < 3; i++) {
        sent(4, 60000, 1, BIG);
    }

    is_int(of(4, 60000, 1), TN_BULK_MOVED, "a flow displaces a small one");
}


static void
test_strange(void)
{
    size_t  len;

    tn_bulk_init(&bulk, 1);

    for (len = 0; len < 3; len++) {
        sent(4, 1000, 1, BIG);
        sent(6, 1000, 1, BIG);
    }

    is_int(of(4, 1000, 1), TN_BULK_MOVED, "bulk");

    for (len = 0; len < 24; len++) {
        if (tn_bulk_of(&bulk, 1, packet, len) != TN_BULK_NO) {
            break;
        }
    }

    is_int((long long) len, 24, "what is cut off is sparse");

    packet[6] |= 0x20;
    is_int(tn_bulk_of(&bulk, 1, packet, 40), TN_BULK_NO, "a fragment");
    packet[6] &= 0xdf;
    packet[9] = 47;
    is_int(tn_bulk_of(&bulk, 1, packet, 40), TN_BULK_NO, "no ports");
    packet[9] = 17;
    is_int(tn_bulk_of(&bulk, 1, packet, 40), TN_BULK_NO, "UDP is another");
    packet[9] = 6;
    is_int(tn_bulk_of(&bulk, 1, packet, 40), TN_BULK_YES, "as it was");
    packet[0] = 0x44;
    is_int(tn_bulk_of(&bulk, 1, packet, 40), TN_BULK_NO, "half a header");
    packet[0] = 0x55;
    is_int(tn_bulk_of(&bulk, 1, packet, 40), TN_BULK_NO, "no IP");

    is_int(of(6, 1000, 1), TN_BULK_MOVED, "IPv6");
    is_int(tn_bulk_of(&bulk, 1, packet, 43), TN_BULK_NO, "cut off");
}


int
main(void)
{
    test_life(4);
    test_life(6);
    test_full();
    test_strange();

    return tap_done();
}
