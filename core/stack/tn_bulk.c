
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A TUN takes all that a stream's window lets go, and its queue is first in,
 * first out: behind a download on a short way, whose sender meets no loss,
 * each small answer waits for megabytes.  Linux puts a packet into the queue
 * of the TUN by which the last packet of its flow was written (a hash of the
 * flow, linux/drivers/net/tun.c); so whoever writes chooses.
 *
 * Each flow that sends big packets has a bucket that leaks TN_BULK_BYTES_MS
 * a millisecond.  When TN_BULK_AHEAD_BYTES stand in it, the flow is bulk.
 * That it is no more needs a pause, and not a lower rate: many streams that
 * share a link are slow each and have a queue all the same, and in a pause
 * nothing of it waits that what comes later could overtake.
 *
 * A flow for which there is no place, because all of its set are bulk, stays
 * sparse: as if there were one queue.
 */

#include "stack/tn_bulk.h"

#include "wire/tn_ip.h"


static uint64_t tn_bulk_key(const tn_bulk_t *bulk, const uint8_t *packet,
    size_t len);
static uint64_t tn_bulk_end(uint64_t seed, const uint8_t *addr, size_t len,
    const uint8_t *port);
static uint64_t tn_bulk_mix(uint64_t x);
static bool tn_bulk_is(const tn_bulk_entry_t *entry, tn_ms_t now);


void
tn_bulk_init(tn_bulk_t *bulk, uint64_t seed)
{
    memset(bulk, 0, sizeof(tn_bulk_t));
    bulk->seed = seed;
}


void
tn_bulk_sent(tn_bulk_t *bulk, tn_ms_t now, const uint8_t *packet,
    size_t len)
{
    size_t             i;
    uint64_t           key, leaked;
    tn_bulk_entry_t  *set, *entry;

    if (len < TN_BULK_BIG_BYTES) {
        return;
    }

    key = tn_bulk_key(bulk, packet, len);

    if (key == 0) {
        return;
    }

    set = bulk->entries[(key >> 32) % TN_BULK_SETS];
    entry = NULL;

    for (i = 0; i < TN_BULK_WAYS; i++) {

        if (set[i].key == key) {
            entry = &set[i];
            break;
        }

        if (!tn_bulk_is(&set[i], now)
            && (entry == NULL || set[i].at < entry->at))
        {
            entry = &set[i];
        }
    }

    if (entry == NULL) {
        return;
    }

    if (entry->key != key
        || (entry->bulk && !tn_bulk_is(entry, now)))
    {
        memset(entry, 0, sizeof(*entry));
        entry->key = key;
        entry->at = now;
    }

    leaked = (now - entry->at) * TN_BULK_BYTES_MS;
    entry->ahead -= (uint32_t) tn_min(leaked, (uint64_t) entry->ahead);
    entry->ahead = (uint32_t) tn_min(entry->ahead + len,
                                     (size_t) TN_BULK_AHEAD_BYTES);
    entry->at = now;

    if (entry->ahead == TN_BULK_AHEAD_BYTES) {
        entry->bulk = true;
    }

    if (entry->bulk) {
        bulk->until = now + TN_BULK_IDLE_MS;
    }
}


tn_bulk_e
tn_bulk_find(tn_bulk_t *bulk, tn_ms_t now, const uint8_t *packet,
    size_t len)
{
    size_t             i;
    uint64_t           key;
    tn_bulk_entry_t  *set;

    key = tn_bulk_key(bulk, packet, len);

    if (key == 0) {
        return TN_BULK_NO;
    }

    set = bulk->entries[(key >> 32) % TN_BULK_SETS];

    for (i = 0; i < TN_BULK_WAYS; i++) {

        if (set[i].key != key || !tn_bulk_is(&set[i], now)) {
            continue;
        }

        if (set[i].told) {
            return TN_BULK_YES;
        }

        set[i].told = true;

        return TN_BULK_MOVED;
    }

    return TN_BULK_NO;
}


static bool
tn_bulk_is(const tn_bulk_entry_t *entry, tn_ms_t now)
{
    return entry->bulk && now - entry->at < TN_BULK_IDLE_MS;
}


/* the same for both directions, never 0 for a flow; 0: none */
static uint64_t
tn_bulk_key(const tn_bulk_t *bulk, const uint8_t *packet, size_t len)
{
    size_t          header, size;
    uint8_t         proto;
    uint64_t        a, b;
    const uint8_t  *addrs, *ports;

    if (len < TN_IP4_HEADER_LEN) {
        return 0;
    }

    switch (packet[0] >> 4) {

    case 4:

        /* no part of a packet but the whole, RFC 791 */

        if ((tn_packet_u16(packet + 6) & 0x3fff) != 0) {
            return 0;
        }

        header = (size_t) (packet[0] & 0x0f) * 4;
        proto = packet[9];
        addrs = packet + 12;
        size = 4;
        break;

    case 6:
        header = TN_IP6_HEADER_LEN;
        proto = packet[6];
        addrs = packet + 8;
        size = 16;
        break;

    default:
        return 0;
    }

    if (header < TN_IP4_HEADER_LEN || len < header + 4
        || (proto != TN_PROTO_TCP && proto != TN_PROTO_UDP))
    {
        return 0;
    }

    ports = packet + header;
    a = tn_bulk_end(bulk->seed ^ proto, addrs, size, ports);
    b = tn_bulk_end(bulk->seed ^ proto, addrs + size, size, ports + 2);

    return (a + b) | 1;
}


static uint64_t
tn_bulk_end(uint64_t seed, const uint8_t *addr, size_t len,
    const uint8_t *port)
{
    uint64_t  low, high;
    uint32_t  short_addr;

    if (len == 4) {
        memcpy(&short_addr, addr, 4);
        low = short_addr;
        high = 0;

    } else {
        memcpy(&low, addr, 8);
        memcpy(&high, addr + 8, 8);
    }

    low ^= (uint64_t) tn_packet_u16(port) << 48;

    return tn_bulk_mix(tn_bulk_mix(low ^ seed) ^ high);
}


/* the finalizer of MurmurHash3, which is in the public domain */
static uint64_t
tn_bulk_mix(uint64_t x)
{
    x ^= x >> 33;
    x *= 0xff51afd7ed558ccd;
    x ^= x >> 33;
    x *= 0xc4ceb9fe1a85ec53;
    x ^= x >> 33;

    return x;
}
