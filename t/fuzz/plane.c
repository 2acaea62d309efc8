
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The whole data plane beside a peer with a session: datagrams as they are,
 * in the frame of a peer relay; disco messages that the peer sealed; packets
 * inside the tunnel, as a peer without scruples sends them.
 */

#include "../unit/plane_world.h"

#include "crypto/tn_curve.h"
#include "wire/tn_disco.h"
#include "wire/tn_geneve.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


enum {
    BY_PEER = 0,        /* a datagram from the peer's address */
    BY_STRANGER,
    IN_GENEVE,
    DISCO,
    INSIDE,             /* a packet that the peer's stack sends */
    OURS,               /* or ours */
    TIME,
    WAYS
};


static void
begin(void)
{
    size_t             n;
    uint64_t           left_out;
    tn_ms_t            since;
    tn_tally_count_t  *counts;

    tn_random_seed_for_tests(1);
    tn_timers_init(&timers);
    queued = 0;
    now = 1000000;

    make_both();
    talk(1);
    run(200);

    counts = tn_plane_tally(sides[0].plane, now, &n, &left_out, &since);
    free(counts);
}


static void
in_geneve(const tn_addr_t *from, const uint8_t *bytes, size_t len)
{
    uint8_t      frame[TN_GENEVE_HEADER + 256];
    tn_writer_t  w;
    tn_geneve_t  geneve;

    memset(&geneve, 0, sizeof(geneve));
    geneve.protocol = TN_GENEVE_WIREGUARD;
    geneve.vni = 1;

    w = tn_writer(frame, sizeof(frame));
    tn_geneve_write(&w, &geneve);
    tn_write_bytes(&w, bytes, len);
    give(from, frame, TN_GENEVE_HEADER + len);
}


static void
disco(const uint8_t *plain, size_t len)
{
    uint8_t       bytes[TN_DISCO_OVERHEAD + 256];
    tn_writer_t   w;
    tn_box_key_t  box;

    if (tn_box_key(&box, &sides[0].disco.pub, &sides[1].disco.priv) != TN_OK) {
        abort();
    }

    w = tn_writer(bytes, sizeof(bytes));
    tn_write_bytes(&w, "TS\xf0\x9f\x92\xac", TN_DISCO_MAGIC);
    tn_write_bytes(&w, sides[1].disco.pub.b, TN_KEY_LEN);

    if (tn_box_seal(&box, plain, len, w.pos) != TN_OK) {
        abort();
    }

    give(&sides[1].addr, bytes, TN_DISCO_OVERHEAD + len);
}


static void
inside(unsigned i, const uint8_t *bytes, size_t len)
{
    uint8_t  frame[10 + 256];

    /* one segment, checksums as they are */
    memset(frame, 0, 10);
    memcpy(frame + 10, bytes, len);
    tn_plane_tun(sides[i].plane, now, frame, 10 + len);
    tn_plane_tun_done(sides[i].plane);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t     len;
    uint8_t    way;
    tn_addr_t  stranger;

    begin();

    stranger = sides[1].addr;
    stranger.ip = ip("203.0.113.9");

    while (size >= 2) {
        way = data[0];
        len = data[1];
        data += 2;
        size -= 2;
        len = tn_min(len, size);

        switch (way % WAYS) {

        case BY_PEER:
            give(&sides[1].addr, data, len);
            break;

        case BY_STRANGER:
            give(&stranger, data, len);
            break;

        case IN_GENEVE:
            in_geneve(way & 0x80 ? &stranger : &sides[1].addr, data, len);
            break;

        case DISCO:
            disco(data, len);
            break;

        case INSIDE:
            inside(1, data, len);
            break;

        case OURS:
            inside(0, data, len);
            break;

        case TIME:
            now += len * 10;
            tn_timers_run(&timers, now);
            break;
        }

        run(1);
        data += len;
        size -= len;
    }

    tn_plane_destroy(sides[0].plane);
    tn_plane_destroy(sides[1].plane);
    tn_timers_done(&timers);

    return 0;
}
