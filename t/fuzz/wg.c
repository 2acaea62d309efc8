
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A whole WireGuard device.  The input is a little program: bytes for the
 * device, true messages of its peer that are damaged and then given a right
 * mac1, inner packets that the peer seals, lost messages, and time.  Whatever
 * happens, afterwards both must be able to talk.
 */

#include "../unit/wg_sim.h"

#include "base/tn_cursor.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static sim_t  sim;


static void
do_bytes(tn_cursor_t *c, int to)
{
    size_t          len;
    const uint8_t  *bytes;

    len = tn_min((size_t) tn_read_u8(c), tn_cursor_left(c));
    bytes = tn_read_bytes(c, len);

    if (bytes != NULL) {
        (void) sim_receive(&sim, to, bytes, len);
    }
}


static void
do_damaged(tn_cursor_t *c, int to)
{
    size_t           at;
    uint8_t          msg[2048];
    sim_node_t      *from;
    tn_wg_stamper_t  stamper;

    from = &sim.node[!to];

    if (from->last_len == 0) {
        return;
    }

    memcpy(msg, from->last, from->last_len);
    at = tn_read_u8(c) % from->last_len;
    msg[at] ^= tn_read_u8(c);

    (void) tn_wg_stamper_init(&stamper, &sim.node[to].keys.pub);
    (void) tn_wg_stamper_stamp(&stamper, sim.now, msg, from->last_len);
    (void) sim_receive(&sim, to, msg, from->last_len);
}


static void
do_packet(tn_cursor_t *c, int from)
{
    size_t          len;
    uint8_t         msg[512];
    const uint8_t  *bytes;
    sim_node_t     *node;

    node = &sim.node[from];
    len = tn_min((size_t) tn_read_u8(c), tn_cursor_left(c));
    bytes = tn_read_bytes(c, len);

    if (bytes != NULL
        && tn_wg_seal(node->peer, sim.now, bytes, len, msg) == TN_OK)
    {
        sim_transmit(node, msg, tn_wg_sealed_len(len));
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int          who;
    uint8_t      op;
    tn_cursor_t  c;

    static bool  ready;

    if (!ready) {
        (void) tn_crypto_init();
        ready = true;
    }

    c = tn_cursor(data, tn_min(size, (size_t) 1024));
    sim_init(&sim, 77);

    while (tn_cursor_left(&c) != 0) {
        op = tn_read_u8(&c);
        who = op >> 7;

        switch (op & 7) {

        case 0:
            do_bytes(&c, who);
            break;

        case 1:
            do_damaged(&c, who);
            break;

        case 2:
            do_packet(&c, who);
            break;

        case 3:
            sim_wait(&sim, tn_read_u8(&c));
            break;

        case 4:
            sim_wait(&sim, (tn_ms_t) tn_read_u8(&c) * 1000);
            break;

        case 5:
            sim.loss[who] = (op & 8) ? 1000 : 0;
            break;

        case 6:
            tn_wg_peer_shake(sim.node[who].peer, sim.now);
            break;

        case 7:
            if (op & 8) {
                tn_wg_peer_reset(sim.node[who].peer, sim.now);

            } else {
                (void) sim_send(&sim, who, 1, 64);
            }
        }
    }

    /* no message may have brought either to a state without a way out */

    sim.loss[0] = 0;
    sim.loss[1] = 0;
    sim_wait(&sim, 700000);

    (void) sim_send(&sim, 0, 2, 64);
    (void) sim_send(&sim, 1, 3, 64);
    sim_wait(&sim, 12000);

    if (!sim.node[1].seen[2] || !sim.node[0].seen[3]) {
        abort();
    }

    sim_done(&sim);

    return 0;
}
