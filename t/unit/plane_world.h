
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Two data planes on a virtual clock with a network between them that loses
 * nothing but what overflows its queue.
 */

#ifndef PLANE_WORLD_H_INCLUDED_
#define PLANE_WORLD_H_INCLUDED_

#include "crypto/tn_curve.h"
#include "node/tn_plane.h"

#include <stdio.h>
#include <stdlib.h>

#include "addrs.h"


#ifndef QUEUE
#define QUEUE  64
#endif
#define ROOMS  50           /* of a batch: about 64 KB of full packets */

typedef struct {
    tn_addr_t      from;
    tn_addr_t      to;
    size_t         len;
    uint8_t        bytes[2048];
} datagram_t;

typedef struct {
    tn_plane_t    *plane;
    tn_keypair_t   node;
    tn_keypair_t   disco;
    tn_addr_t      addr;
    tn_prefix_t    own;
    uint8_t        rooms[ROOMS][2048];
    tn_addr_t      room_to[ROOMS];
    size_t         room_len[ROOMS];
    unsigned       added;
    unsigned       sent;
    uint8_t        shook[TN_WGMSG_INITIATION_LEN];  /* sent last */
    uint64_t       got;
    uint64_t       told;
} side_t;

static side_t       sides[2];
static datagram_t   queue[QUEUE];
static unsigned     queued;
static tn_ms_t      now = 1000000;
static tn_ms_t      wall = 1700000000000;   /* when the clock above was 0 */
static tn_timers_t  timers;
static tn_log_t     quiet;


static void
put(side_t *side, const tn_addr_t *to, const uint8_t *bytes, size_t len)
{
    datagram_t  *datagram;

    side->sent++;

    if (tn_wgmsg_type(bytes, len) == TN_WGMSG_INITIATION) {
        memcpy(side->shook, bytes, len);
    }

    if (queued == QUEUE || len > sizeof(datagram->bytes)) {
        return;
    }

    datagram = &queue[queued++];
    datagram->from = side->addr;
    datagram->to = *to;
    datagram->len = len;
    memcpy(datagram->bytes, bytes, len);
}


static uint8_t *
on_room(void *data, const tn_addr_t *to, size_t len)
{
    side_t *side = data;

    if (side->added == ROOMS || len > sizeof(side->rooms[0])) {
        return NULL;
    }

    side->room_to[side->added] = *to;
    side->room_len[side->added] = len;

    return side->rooms[side->added];
}


static void
on_add(void *data, uint32_t flow)
{
    side_t *side = data;

    (void) flow;

    side->added++;
}


static void
on_flush(void *data)
{
    unsigned  i;

    side_t *side = data;

    for (i = 0; i < side->added; i++) {
        put(side, &side->room_to[i], side->rooms[i], side->room_len[i]);
    }

    side->added = 0;
}


static tn_rc_t
on_send(void *data, const tn_addr_t *to, const uint8_t *bytes, size_t len)
{
    put(data, to, bytes, len);

    return TN_OK;
}


/* counts the bytes of packets that the stack gets */
static void
on_tun(void *data, const struct iovec *iov, int n)
{
    int  i;

    side_t *side = data;

    for (i = 1; i < n; i++) {
        side->got += iov[i].iov_len;
    }
}


static void
on_derp_open(void *data, uint32_t region, const tn_derpmap_node_t *node)
{
    (void) data;
    (void) region;
    (void) node;
}


static tn_rc_t
on_derp_write(void *data, uint32_t region, const uint8_t *head,
    size_t head_len, const uint8_t *body, size_t body_len)
{
    (void) data;
    (void) region;
    (void) head;
    (void) head_len;
    (void) body;
    (void) body_len;

    return TN_AGAIN;
}


static void
on_derp_close(void *data, uint32_t region)
{
    (void) data;
    (void) region;
}


static void
on_resolve(void *data, uint32_t id, const char *host)
{
    (void) data;
    (void) id;
    (void) host;
}


static void
on_endpoints(void *data, const tn_endpoint_t *endpoints, size_t n)
{
    (void) data;
    (void) endpoints;
    (void) n;
}


static void
on_netinfo(void *data, const tn_netinfo_t *netinfo)
{
    (void) data;
    (void) netinfo;
}


static uint64_t
on_wall(void *data)
{
    (void) data;

    return (wall + now) * 1000000;
}


static uint64_t
on_us(void *data)
{
    (void) data;

    return now * 1000;
}


static const tn_plane_ops_t  ops = {
    .udp_room = on_room,
    .udp_add = on_add,
    .udp_flush = on_flush,
    .udp_send = on_send,
    .tun_write = on_tun,
    .derp_open = on_derp_open,
    .derp_write = on_derp_write,
    .derp_close = on_derp_close,
    .resolve = on_resolve,
    .endpoints = on_endpoints,
    .netinfo = on_netinfo,
    .wall_ns = on_wall,
    .now_us = on_us
};


static void
make(unsigned i)
{
    char             text[32];
    side_t          *side;
    tn_plane_conf_t  conf;

    side = &sides[i];
    tn_curve_keypair(&side->node);
    tn_curve_keypair(&side->disco);

    snprintf(text, sizeof(text), "192.0.2.%u", i + 1);
    side->addr.ip = ip(text);
    side->addr.port = 41641;

    snprintf(text, sizeof(text), "100.64.0.%u", i + 1);
    side->own.ip = ip(text);
    side->own.bits = 32;
    side->own.v4 = true;

    memset(&conf, 0, sizeof(conf));
    conf.ops = &ops;
    conf.data = side;
    conf.timers = &timers;
    conf.log = &quiet;
    conf.node = side->node;
    conf.disco = side->disco;
    conf.told_ns = &side->told;
    side->plane = tn_plane_create(&conf);

    tn_path_set_local(tn_plane_path(side->plane), now, &side->addr, 1,
                      side->addr.port, 0);
}


/* what control says to one side: itself, and the other */
static void
update(unsigned i, const tn_key_t *disco, bool only_tcp)
{
    side_t             *other;
    tn_rules_t          rules;
    tn_update_t        *update;
    tn_update_peer_t   *peer;

    other = &sides[1 - i];
    update = calloc(1, sizeof(tn_update_t));
    update->has_self = true;
    update->knobs.only_tcp_443 = only_tcp;
    update->local = calloc(1, sizeof(tn_prefix_t));
    update->local[0] = sides[i].own;
    update->nlocal = 1;

    tn_rules_init(&rules);
    update->rules = tn_filter_compile(&rules);
    tn_rules_done(&rules);

    update->peers = calloc(1, sizeof(tn_update_peer_t));
    update->npeers = 1;
    peer = update->peers;
    peer->id = 1 - (int) i + 1;
    peer->key = other->node.pub;
    peer->disco = *disco;
    peer->own4 = other->own.ip;
    peer->home_derp = 1;
    peer->allowed = calloc(1, sizeof(tn_prefix_t));
    peer->allowed[0] = other->own;
    peer->nallowed = 1;
    peer->endpoints = calloc(1, sizeof(tn_addr_t));
    peer->endpoints[0] = other->addr;
    peer->nendpoints = 1;

    tn_plane_update(sides[i].plane, now, update);
}


static void
run(tn_ms_t ms)
{
    side_t      *side;
    tn_ms_t      until;
    unsigned     i;
    datagram_t   datagram;

    for (until = now + ms; now < until; now++) {
        tn_timers_run(&timers, now);

        while (queued != 0) {
            datagram = queue[0];
            queued--;
            memmove(queue, queue + 1, queued * sizeof(datagram_t));

            for (i = 0; i < 2; i++) {
                side = &sides[i];

                if (tn_addr_equal(&side->addr, &datagram.to)) {
                    tn_plane_udp(side->plane, now, &datagram.from,
                                 datagram.bytes, datagram.len);
                    tn_plane_udp_done(side->plane);
                }
            }
        }
    }
}


/* both, and control has told them of each other */
static inline void
make_both(void)
{
    make(0);
    make(1);
    update(0, &sides[1].disco.pub, false);
    update(1, &sides[0].disco.pub, false);
}


/* a packet of the stack of one side to the other */
static void
talk(unsigned i)
{
    uint8_t  frame[10 + 28];

    memset(frame, 0, sizeof(frame));
    frame[10] = 0x45;
    frame[13] = 28;
    frame[18] = 64;
    frame[19] = 17;
    memcpy(frame + 22, sides[i].own.ip.b + 12, 4);
    memcpy(frame + 26, sides[1 - i].own.ip.b + 12, 4);
    frame[31] = 9;
    frame[33] = 9;
    frame[35] = 8;

    tn_plane_tun(sides[i].plane, now, frame, sizeof(frame));
    tn_plane_tun_done(sides[i].plane);
}


/* a datagram for the first side, which may change its copy */
static inline void
give(const tn_addr_t *from, const uint8_t *bytes, size_t len)
{
    uint8_t  copy[2048];

    memcpy(copy, bytes, len);
    tn_plane_udp(sides[0].plane, now, from, copy, len);
    tn_plane_udp_done(sides[0].plane);
}


static inline tn_path_peer_t *
peer_of(unsigned i)
{
    return tn_path_peer_find(tn_plane_path(sides[i].plane),
                             &sides[1 - i].node.pub);
}


#endif /* PLANE_WORLD_H_INCLUDED_ */
