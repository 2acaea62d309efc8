
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Two WireGuard devices on a simulated link and a virtual clock, for the
 * tests wg_*.c.  Node 0 is 100.64.0.1, node 1 is 100.64.0.2; every inner
 * packet carries a number, and each node counts how often each arrived.
 */

#ifndef WG_SIM_H_INCLUDED_
#define WG_SIM_H_INCLUDED_

#include "crypto/tn_curve.h"
#include "tap.h"
#include "wg/tn_wg_peer.h"
#include "wg/tn_wg_timers.h"

#include <stdlib.h>


#define SIM_SEQS   400000
#define SIM_EPOCH  1700000000000000000ull

typedef struct sim_s  sim_t;

typedef struct {
    sim_t            *sim;
    int               id;
    tn_wg_t          *wg;
    tn_wg_peer_t     *peer;         /* the other node */
    tn_keypair_t      keys;
    uint64_t          wall_ns;      /* added to the virtual clock */
    uint32_t          initiations;  /* sent */
    uint32_t          responses;
    uint32_t          keepalives;
    uint32_t          staged;
    uint32_t          cookies;
    uint32_t          sessions;
    uint32_t          delivered;    /* inner packets */
    uint32_t          duplicates;
    uint32_t          rejected;     /* results other than TN_OK */
    uint8_t           last[2048];   /* the handshake message sent last */
    size_t            last_len;
    uint8_t           seen[SIM_SEQS];
} sim_node_t;

typedef struct sim_msg_s  sim_msg_t;

struct sim_msg_s {
    sim_msg_t        *next;
    tn_ms_t           at;
    int               to;
    size_t            len;
    uint8_t           data[];
};

struct sim_s {
    tn_ms_t           now;
    tn_timers_t       timers;
    sim_node_t        node[2];
    sim_msg_t        *queue;        /* by arrival */
    tn_ms_t           delay;
    tn_ms_t           jitter;       /* more than the gap reorders */
    uint32_t          loss[2];      /* per thousand, of what node i sends */
    uint32_t          dup;          /* per thousand */
    uint64_t          rng;
    uint32_t          wire;         /* messages put on the link */
    bool              only_handshakes;  /* loss does not hit data */
};


static inline uint32_t
sim_random(sim_t *sim, uint32_t bound)
{
    sim->rng = sim->rng * 6364136223846793005u + 1442695040888963407u;

    return (uint32_t) ((sim->rng >> 33) % bound);
}


static inline void
sim_queue(sim_t *sim, int to, const uint8_t *data, size_t len)
{
    sim_msg_t  *msg, **p;

    msg = malloc(sizeof(sim_msg_t) + len);
    msg->at = sim->now + sim->delay
              + (sim->jitter ? sim_random(sim, (uint32_t) sim->jitter) : 0);
    msg->to = to;
    msg->len = len;
    memcpy(msg->data, data, len);

    for (p = &sim->queue; *p && (*p)->at <= msg->at; p = &(*p)->next) {
        /* void */
    }

    msg->next = *p;
    *p = msg;
}


static inline void
sim_transmit(sim_node_t *node, const uint8_t *data, size_t len)
{
    sim_t  *sim;

    sim = node->sim;
    sim->wire++;

    if (sim_random(sim, 1000) < sim->loss[node->id]
        && !(sim->only_handshakes && tn_wgmsg_is_data(data, len)))
    {
        return;
    }

    sim_queue(sim, !node->id, data, len);

    if (sim_random(sim, 1000) < sim->dup) {
        sim_queue(sim, !node->id, data, len);
    }
}


static inline void
sim_op_send(void *data, tn_wg_peer_t *peer, tn_wg_kind_e kind,
    const uint8_t *msg, size_t len, tn_ms_t now)
{
    sim_node_t  *node;

    (void) peer;
    (void) now;

    node = data;

    switch (kind) {

    case TN_WG_HANDSHAKE:
        node->initiations += msg[0] == TN_WGMSG_INITIATION;
        node->responses += msg[0] == TN_WGMSG_RESPONSE;
        memcpy(node->last, msg, len);
        node->last_len = len;
        break;

    case TN_WG_KEEPALIVE:
        node->keepalives++;
        break;

    case TN_WG_STAGED:
        node->staged++;
        break;
    }

    sim_transmit(node, msg, len);
}


static inline void
sim_op_reply(void *data, const tn_wg_from_t *from, const uint8_t *msg,
    size_t len)
{
    sim_node_t  *node;

    node = data;
    node->cookies++;

    if (from->path == NULL) {
        sim_transmit(node, msg, len);
    }
}


static inline void
sim_op_session(void *data, tn_wg_peer_t *peer, tn_ms_t now)
{
    sim_node_t  *node;

    (void) peer;
    (void) now;

    node = data;
    node->sessions++;
}


static inline uint64_t
sim_op_wall(void *data)
{
    sim_node_t  *node;

    node = data;

    return SIM_EPOCH + node->wall_ns + node->sim->now * 1000000;
}


static const tn_wg_ops_t  sim_ops = {
    sim_op_send, sim_op_reply, sim_op_session, sim_op_wall, NULL, NULL
};


static inline tn_wg_from_t
sim_from(int id)
{
    uint8_t       v4[4] = { 192, 0, 2, (uint8_t) (1 + id) };
    tn_wg_from_t  from;

    memset(&from, 0, sizeof(from));
    from.addr.ip = tn_ip_from_v4(v4);
    from.addr.port = 41641;

    return from;
}


static inline tn_prefix_t
sim_prefix(const char *text)
{
    tn_prefix_t  prefix;

    if (tn_prefix_parse(&prefix, text, strlen(text)) != TN_OK) {
        abort();
    }

    return prefix;
}


static inline void
sim_init(sim_t *sim, uint64_t seed)
{
    int           i;
    tn_wg_conf_t  conf;
    tn_prefix_t   prefix;

    static const char  *const allowed[2] = { "100.64.0.1/32",
                                             "100.64.0.2/32" };

    memset(sim, 0, sizeof(sim_t));
    sim->now = 1000000;
    sim->delay = 10;
    sim->rng = seed;
    tn_timers_init(&sim->timers);
    tn_random_seed_for_tests(seed);

    for (i = 0; i < 2; i++) {
        sim->node[i].sim = sim;
        sim->node[i].id = i;
        tn_curve_keypair(&sim->node[i].keys);

        memset(&conf, 0, sizeof(conf));
        conf.ops = &sim_ops;
        conf.data = &sim->node[i];
        conf.timers = &sim->timers;
        conf.identity = sim->node[i].keys;

        sim->node[i].wg = tn_wg_create(&conf);
    }

    for (i = 0; i < 2; i++) {
        if (tn_wg_peer_add(sim->node[i].wg, &sim->node[!i].keys.pub,
                           &sim->node[i], &sim->node[i].peer)
            != TN_OK)
        {
            abort();
        }

        prefix = sim_prefix(allowed[!i]);
        (void) tn_wg_allow(sim->node[i].wg, &sim->node[i], &prefix, 1);
    }
}


static inline void
sim_done(sim_t *sim)
{
    sim_msg_t  *msg;

    while (sim->queue != NULL) {
        msg = sim->queue;
        sim->queue = msg->next;
        free(msg);
    }

    tn_wg_destroy(sim->node[0].wg);
    tn_wg_destroy(sim->node[1].wg);
    tn_timers_done(&sim->timers);
    tn_random_seed_for_tests(0);
}


/* an inner IPv4 packet from node `from`; returns its length */
static inline size_t
sim_packet(uint8_t *p, int from, uint32_t seq, size_t len)
{
    memset(p, 0xa5, len);
    memset(p, 0, 20);
    p[0] = 0x45;
    p[2] = (uint8_t) (len >> 8);
    p[3] = (uint8_t) len;
    p[8] = 64;
    p[9] = 17;
    p[12] = 100;
    p[13] = 64;
    p[15] = (uint8_t) (1 + from);
    p[16] = 100;
    p[17] = 64;
    p[19] = (uint8_t) (2 - from);
    memcpy(p + 20, &seq, 4);

    return len;
}


/* seals and transmits one packet; what tn_wg_seal() said */
static inline tn_rc_t
sim_send(sim_t *sim, int from, uint32_t seq, size_t len)
{
    tn_rc_t      rc;
    uint8_t      inner[2048], msg[2048];
    sim_node_t  *node;

    node = &sim->node[from];
    len = sim_packet(inner, from, seq, len);

    rc = tn_wg_seal(node->peer, sim->now, inner, len, msg);

    if (rc == TN_OK) {
        sim_transmit(node, msg, tn_wg_sealed_len(len));
    }

    return rc;
}


/* what a node does with bytes from the link */
static inline tn_rc_t
sim_receive(sim_t *sim, int to, const uint8_t *data, size_t len)
{
    tn_rc_t          rc;
    uint8_t          buf[2048];
    uint32_t         seq;
    sim_node_t      *node;
    tn_wg_peer_t    *peer;
    tn_wg_from_t     from;
    tn_wg_packet_t   packet;

    node = &sim->node[to];
    memcpy(buf, data, len);

    if (!tn_wgmsg_is_data(buf, len)) {
        from = sim_from(!to);
        rc = tn_wg_input(node->wg, sim->now, &from, buf, len, &peer);
        node->rejected += rc != TN_OK;
        return rc;
    }

    rc = tn_wg_open(node->wg, sim->now, buf, len, &packet);

    if (rc == TN_OK && packet.len >= 24) {
        memcpy(&seq, packet.data + 20, 4);
        node->delivered++;

        if (seq < SIM_SEQS) {
            node->duplicates += node->seen[seq] != 0;
            node->seen[seq] = 1;
        }
    }

    node->rejected += rc != TN_OK;

    return rc;
}


/* lets the virtual clock run to `until` */
static inline void
sim_run(sim_t *sim, tn_ms_t until)
{
    tn_ms_t     next;
    sim_msg_t  *msg;

    for ( ;; ) {
        next = tn_timers_next(&sim->timers);

        if (sim->queue != NULL && sim->queue->at < next) {
            next = sim->queue->at;
        }

        if (next > until) {
            sim->now = tn_max(sim->now, until);
            return;
        }

        sim->now = tn_max(sim->now, next);

        while (sim->queue != NULL && sim->queue->at <= sim->now) {
            msg = sim->queue;
            sim->queue = msg->next;
            (void) sim_receive(sim, msg->to, msg->data, msg->len);
            free(msg);
        }

        tn_timers_run(&sim->timers, sim->now);
    }
}


static inline void
sim_wait(sim_t *sim, tn_ms_t ms)
{
    sim_run(sim, sim->now + ms);
}


/* how many of the packets first .. first + n - 1 never came to node `to` */
static inline uint32_t
sim_missing(const sim_t *sim, int to, uint32_t first, uint32_t n)
{
    uint32_t  i, missing;

    missing = 0;

    for (i = first; i < first + n; i++) {
        missing += !sim->node[to].seen[i];
    }

    return missing;
}


#endif /* WG_SIM_H_INCLUDED_ */
