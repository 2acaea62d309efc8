
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The client of peer relays: a sequence of messages as a peer or a relay with
 * good keys may send them, over UDP, through a relay or by DERP.  Each begins
 * with a byte for the way and one for the length.  What is sought for the
 * peer stays within its limit.
 */

#include "path/tn_path_private.h"

#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static tn_keypair_t   node, disco, peer_node, peer_disco, relay;
static tn_box_key_t   boxes[2];     /* the peer's to us, the relay's to us */
static tn_timers_t    timers;


static tn_rc_t
on_udp(void *data, const tn_addr_t *to, const uint8_t *bytes, size_t len)
{
    (void) data;

    if (to->port == 0 || len == 0 || bytes == NULL) {
        abort();
    }

    return TN_OK;
}


static const tn_path_ops_t  ops = { .send_udp = on_udp };


static void
setup(void)
{
    tn_random_seed_for_tests(1);
    tn_curve_keypair(&node);
    tn_curve_keypair(&disco);
    tn_curve_keypair(&peer_node);
    tn_curve_keypair(&peer_disco);
    tn_curve_keypair(&relay);

    if (tn_box_key(&boxes[0], &disco.pub, &peer_disco.priv) != TN_OK
        || tn_box_key(&boxes[1], &disco.pub, &relay.priv) != TN_OK)
    {
        abort();
    }
}


/* an offer by the peer, of a place of the relay with the key above */
static void
offer(tn_path_member_t *peer, tn_ms_t now, const tn_addr_t *at)
{
    tn_disco_msg_t  msg;

    memset(&msg, 0, sizeof(msg));
    msg.relay.server = relay.pub;
    msg.relay.client[0] = disco.pub;
    msg.relay.client[1] = peer_disco.pub;
    msg.relay.lamport = now;
    msg.relay.vni = 1;
    msg.relay.bind_lifetime_ns = 30000000000u;
    msg.addrs.addr[0] = *at;
    msg.addrs.n = 1;

    tn_path_relay_called(peer, now, &msg);
}


static void
send(tn_path_t *path, tn_ms_t now, const tn_addr_t *at, uint8_t way,
    const uint8_t *inside, size_t len)
{
    bool            control;
    uint8_t         bytes[TN_GENEVE_HEADER + TN_DISCO_OVERHEAD + 256];
    tn_writer_t     w;
    tn_geneve_t     geneve;
    uint8_t         plain[256];
    tn_path_from_t  from;

    control = way & 1;
    memcpy(plain, inside, len);

    /* with what only a relay can know, else no challenge would ever count */

    if ((way & 4) && len >= 10 + TN_KEY_LEN) {
        w = tn_writer(plain + 2, sizeof(plain) - 2);
        tn_write_u32(&w, 1);
        tn_write_u32(&w, path->binds);
        tn_write_bytes(&w, peer_disco.pub.b, TN_KEY_LEN);
    }

    w = tn_writer(bytes, sizeof(bytes));

    geneve.protocol = TN_GENEVE_DISCO;
    geneve.vni = 1;
    geneve.control = control;

    tn_geneve_write(&w, &geneve);
    tn_write_bytes(&w, "TS\xf0\x9f\x92\xac", TN_DISCO_MAGIC);
    tn_write_bytes(&w, control ? relay.pub.b : peer_disco.pub.b, TN_KEY_LEN);

    if (tn_box_seal(&boxes[control], plain, len, w.pos) != TN_OK) {
        abort();
    }

    len += TN_DISCO_OVERHEAD;

    if (way & 2) {
        memset(&from, 0, sizeof(from));
        from.region = 1;
        from.key = peer_node.pub;
        tn_path_disco_input(path, now, &from, bytes + TN_GENEVE_HEADER, len);

    } else {
        (void) tn_path_udp(path, now, at, bytes, TN_GENEVE_HEADER + len);
    }
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                len;
    uint8_t               way;
    tn_ms_t               now;
    tn_addr_t             at;
    tn_path_t            *path;
    tn_path_peer_t       *peer;
    tn_path_peer_conf_t   conf;

    if (tn_key_is_zero(&node.pub)) {
        setup();
    }

    now = 1000000;
    tn_timers_init(&timers);
    path = tn_path_create(&ops, NULL, &node, &disco, &timers, NULL);

    memset(&at, 1, sizeof(at));
    tn_path_set_local(path, now, &at, 1, 1, 1);

    memset(&conf, 0, sizeof(conf));
    conf.node_key = peer_node.pub;
    conf.disco_key = peer_disco.pub;
    conf.relay_capable = true;
    peer = path ? tn_path_peer_add(path, now, &conf, NULL) : NULL;

    if (peer == NULL) {
        abort();
    }

    offer(tn_path_member(peer), now, &at);

    while (size >= 2) {
        way = data[0];
        len = tn_min((size_t) data[1], size - 2);
        now += way >> 4 == 15 ? 2000 : 1;

        send(path, now, &at, way, data + 2, len);
        tn_timers_run(&timers, now);

        if (path->nplaces > 2 * TN_PATH_RELAY_PEER_MAX) {
            abort();
        }

        data += 2 + len;
        size -= 2 + len;
    }

    tn_path_destroy(path);
    tn_timers_done(&timers);

    return 0;
}
