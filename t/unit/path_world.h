
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A small internet on a virtual clock for the tests of path: nodes with the
 * real machine, NATs of several kinds, STUN and DERP servers, latency and
 * loss.  Time is in ms and jumps from event to event.
 */

#ifndef PATH_WORLD_H_INCLUDED_
#define PATH_WORLD_H_INCLUDED_

#include "path/tn_path.h"
#include "path/tn_path_private.h"
#include "path/tn_relay_server.h"
#include "wire/tn_stun.h"
#include "wire/tn_derp.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "addrs.h"


#define WORLD_NODES      8
#define WORLD_REGIONS    4
#define WORLD_MAPPINGS   512
#define WORLD_OPENINGS   32
#define WORLD_NAT_MS     30000      /* an idle mapping lives that long */
#define WORLD_PORT       41641
#define WORLD_RELAY      7777       /* the port of a node's peer relay */

typedef enum {
    NAT_NONE = 0,       /* a public address, no firewall */
    NAT_FIREWALL,       /* a public address, answers only */
    NAT_EASY,           /* one mapping for all, port kept, answers only */
    NAT_FULL_CONE,      /* one mapping for all, anybody may use it */
    NAT_HARD,           /* another port for each destination, answers only */
    NAT_BLOCKED         /* no UDP at all */
} nat_e;

static const char  *const nat_names[] = {
    "none", "firewall", "easy", "full cone", "hard", "blocked"
};

typedef struct {
    tn_addr_t          to;
    tn_ms_t            at;
} opening_t;

typedef struct {
    tn_addr_t          inside;
    tn_addr_t          outside;
    tn_addr_t          remote;          /* of a hard NAT */
    tn_ms_t            used;
    opening_t          openings[WORLD_OPENINGS];
    unsigned           nopenings;
} mapping_t;

/* a message outside of the world's own ways */
typedef struct {
    uint8_t            bytes[4096];
    size_t             len;
} packet_t;

typedef struct world_s  world_t;
typedef struct node_s   node_t;

/* a connection of a node to a region */
typedef struct {
    node_t            *node;
    uint32_t           region;
    bool               open;
    bool               upgraded;
    bool               login;
    unsigned           generation;      /* of events in flight */
    tn_ms_t            last_in;         /* order of the stream */
    tn_ms_t            last_out;
    uint8_t            buf[1 << 17];
    size_t             len;
} derp_conn_t;

struct node_s {
    world_t           *world;
    unsigned           id;
    nat_e              nat;
    tn_ip_t            public_ip;
    tn_addr_t          addr;            /* of its socket */
    unsigned           latency;         /* to the middle of the internet */
    bool               cut;             /* its UDP is dropped from now on */
    unsigned           slow;            /* ms more for its UDP to nodes */
    tn_keypair_t       node;
    tn_keypair_t       disco;
    tn_path_t         *path;
    tn_path_peer_t    *peers[WORLD_NODES];

    mapping_t          mappings[WORLD_MAPPINGS];
    unsigned           nmappings;
    uint16_t           next_port;

    derp_conn_t        conns[WORLD_REGIONS + 1];

    tn_endpoint_t      endpoints[TN_ENDPOINTS_MAX];
    size_t             nendpoints;
    unsigned           endpoints_told;
    tn_netinfo_t       netinfo;
    unsigned           netinfo_told;
    unsigned           changed;

    bool               dont_fragment;
    unsigned           probes;          /* by HTTPS */
    unsigned           udp_sent;        /* all datagrams */
    unsigned           got_udp;         /* answers to requests, by way */
    unsigned           got_derp;
    unsigned           got_relay;
    tn_ms_t            last_answer;
    tn_ms_t            worst_gap;
    tn_ms_t            direct_at;       /* first trusted direct path */
    char               relay[64];       /* name of the last relay dialled */
    char               asked[64];       /* last name to resolve */
    tn_relay_server_t *server;          /* NULL: none */
    bool               relay_dead;
    uint16_t           relay_port;      /* of it, as seen from outside */
    unsigned           relay_got;       /* datagrams */
};

typedef struct {
    tn_keypair_t       key;
    tn_ip_t            ip;              /* of STUN */
    unsigned           latency;
    bool               dead;            /* relay: no connection opens */
    bool               frozen;          /* relay: nothing is answered */
    bool               fast;            /* TLS tells its key: fast start */
    bool               stun_dead;
    size_t             longest;         /* packet that it carries, 0: any */
    char               dead_node[64];   /* this one of the relays alone */
} region_t;

struct world_s {
    tn_ms_t            now;
    tn_timers_t        timers;
    unsigned           loss;            /* percent of UDP */
    node_t            *nodes[WORLD_NODES];
    unsigned           nnodes;
    region_t           regions[WORLD_REGIONS + 1];
    unsigned           nregions;
    tn_derpmap_t      *map;
    uint32_t           seed;
    bool               verbose;
    bool               resolve;         /* names of STUN hosts answer */
    tn_path_ops_t      ops;             /* of nodes made from now on */
    bool               apart;           /* no UDP but with relays and STUN */
    unsigned           mtu;             /* of the internet, 0: any */
    tn_ms_t            nat_ms;          /* life of a mapping */
};

typedef enum {
    EVENT_UDP,
    EVENT_DERP_IN,      /* bytes to the server */
    EVENT_DERP_OUT,     /* bytes to the node */
    EVENT_DERP_KEEP_ALIVE,
    EVENT_DERP_OPENED,
    EVENT_DERP_CLOSED,
    EVENT_PROBED
} event_e;

typedef struct {
    tn_timer_t         timer;
    world_t           *world;
    event_e            type;
    tn_addr_t          from;
    tn_addr_t          to;
    derp_conn_t       *conn;
    unsigned           generation;
    size_t             len;
    uint8_t            bytes[];
} event_t;


static void world_event(void *data, tn_ms_t now);


/* of its own: not the generator that the machines use */
static inline uint32_t
world_random(world_t *world, uint32_t bound)
{
    world->seed = world->seed * 1664525 + 1013904223;

    return (uint32_t) (((uint64_t) (world->seed >> 8) * bound) >> 24);
}


static inline void
world_post(world_t *world, event_e type, tn_ms_t at, const tn_addr_t *from,
    const tn_addr_t *to, derp_conn_t *conn, const void *bytes, size_t len,
    const void *more, size_t more_len)
{
    event_t  *event;

    event = calloc(1, sizeof(event_t) + len + more_len);
    event->world = world;
    event->type = type;
    event->conn = conn;
    event->len = len + more_len;

    if (from != NULL) {
        event->from = *from;
        event->to = *to;
    }

    if (conn != NULL) {
        event->generation = conn->generation;
    }

    if (len != 0) {
        memcpy(event->bytes, bytes, len);
    }

    if (more_len != 0) {
        memcpy(event->bytes + len, more, more_len);
    }

    tn_timer_init(&event->timer, world_event, event);

    if (tn_timer_set(&world->timers, &event->timer, at) != TN_OK) {
        abort();
    }
}


/* --- UDP and NATs */

static inline bool
world_nat_open(const mapping_t *mapping, const tn_addr_t *from, tn_ms_t now,
    tn_ms_t nat_ms)
{
    unsigned  i;

    for (i = 0; i < mapping->nopenings; i++) {
        if (tn_addr_equal(&mapping->openings[i].to, from)
            && now - mapping->openings[i].at < nat_ms)
        {
            return true;
        }
    }

    return false;
}


static inline void
world_nat_note(mapping_t *mapping, const tn_addr_t *to, tn_ms_t now)
{
    unsigned  i, oldest;

    mapping->used = now;
    oldest = 0;

    for (i = 0; i < mapping->nopenings; i++) {

        if (tn_addr_equal(&mapping->openings[i].to, to)) {
            mapping->openings[i].at = now;
            return;
        }

        if (mapping->openings[i].at < mapping->openings[oldest].at) {
            oldest = i;
        }
    }

    if (mapping->nopenings < WORLD_OPENINGS) {
        oldest = mapping->nopenings++;
    }

    mapping->openings[oldest].to = *to;
    mapping->openings[oldest].at = now;
}


/* the mapping for what a node sends there; made when there is none */
static inline mapping_t *
world_nat_out(node_t *node, const tn_addr_t *to)
{
    unsigned    i, oldest;
    mapping_t  *mapping;

    oldest = 0;

    for (i = 0; i < node->nmappings; i++) {
        mapping = &node->mappings[i];

        if (node->world->now - mapping->used < node->world->nat_ms
            && tn_addr_equal(&mapping->inside, &node->addr)
            && (node->nat != NAT_HARD || tn_addr_equal(&mapping->remote, to)))
        {
            return mapping;
        }

        if (mapping->used < node->mappings[oldest].used) {
            oldest = i;
        }
    }

    if (node->nmappings < WORLD_MAPPINGS) {
        oldest = node->nmappings++;
    }

    mapping = &node->mappings[oldest];
    memset(mapping, 0, sizeof(mapping_t));
    mapping->inside = node->addr;
    mapping->outside.ip = node->public_ip;
    mapping->remote = *to;

    if (node->nat == NAT_HARD) {
        node->next_port = (uint16_t) (20000
                                      + world_random(node->world, 40000));
        mapping->outside.port = node->next_port;

    } else {
        mapping->outside.port = node->addr.port;
    }

    return mapping;
}


static inline node_t *
world_node_at(world_t *world, const tn_addr_t *addr)
{
    unsigned  i;

    for (i = 0; i < world->nnodes; i++) {
        if (tn_ip_equal(&world->nodes[i]->public_ip, &addr->ip)) {
            return world->nodes[i];
        }
    }

    return NULL;
}


static tn_rc_t
world_send_udp(void *data, const tn_addr_t *to, const uint8_t *bytes,
    size_t len)
{
    unsigned    i;
    node_t     *node = data, *dst;
    tn_ms_t     latency;
    world_t    *world;
    tn_addr_t   from;
    mapping_t  *mapping;

    world = node->world;
    node->udp_sent++;

    if (node->nat == NAT_BLOCKED || node->cut
        || (world->mtu != 0 && len + 28 > world->mtu)
        || world_random(world, 100) < world->loss)
    {
        return TN_OK;
    }

    from = node->addr;

    if (node->nat != NAT_NONE) {
        mapping = world_nat_out(node, to);
        world_nat_note(mapping, to, world->now);
        from = mapping->outside;
    }

    for (i = 1; i <= world->nregions; i++) {
        if (tn_ip_equal(&world->regions[i].ip, &to->ip)) {
            latency = node->latency + world->regions[i].latency;
            world_post(world, EVENT_UDP, world->now + latency, &from, to,
                       NULL, bytes, len, NULL, 0);
            return TN_OK;
        }
    }

    dst = world_node_at(world, to);

    if (dst == NULL || (world->apart && to->port != dst->relay_port)) {
        return TN_OK;
    }

    latency = node->latency + dst->latency + node->slow + dst->slow;
    world_post(world, EVENT_UDP, world->now + latency, &from, to, NULL,
               bytes, len, NULL, 0);

    return TN_OK;
}


static inline void
world_stun(world_t *world, region_t *region, const tn_addr_t *from,
    const tn_addr_t *to, const uint8_t *request, size_t len)
{
    unsigned     i;
    uint8_t      bytes[32];
    node_t      *node;
    tn_writer_t  w;
    tn_ms_t      latency;

    if (region->stun_dead || len != 40 || to->port != 3478) {
        return;
    }

    w = tn_writer(bytes, sizeof(bytes));
    tn_write_u16(&w, 0x0101);
    tn_write_u16(&w, 12);
    tn_write_bytes(&w, request + 4, 16);
    tn_write_u16(&w, 0x0020);
    tn_write_u16(&w, 8);
    tn_write_u16(&w, 1);
    tn_write_u16(&w, from->port ^ 0x2112);

    for (i = 0; i < 4; i++) {
        tn_write_u8(&w, from->ip.b[12 + i] ^ request[4 + i]);
    }

    node = world_node_at(world, from);
    latency = region->latency + (node ? node->latency : 1);
    world_post(world, EVENT_UDP, world->now + latency, to, from, NULL, bytes,
               tn_writer_len(&w), NULL, 0);
}


/* WireGuard, as far as path can see it: a request is answered */
static inline void
world_payload(node_t *node, const tn_path_from_t *from, const uint8_t *bytes,
    size_t len);


/* a peer relay's socket */
static inline void
world_relay(node_t *node, const tn_addr_t *from, const tn_addr_t *to,
    const uint8_t *bytes, size_t len)
{
    node_t         *dst;
    world_t        *world;
    tn_addr_t       next;
    const uint8_t  *out;

    world = node->world;

    if (tn_stun_is_binding(bytes, len)) {
        tn_path_relay_stun(node->path, world->now, bytes, len);
        return;
    }

    node->relay_got++;

    if (node->relay_dead) {
        return;
    }

    len = tn_relay_server_input(node->server, world->now, from, bytes, len,
                                &out, &next);
    dst = len != 0 ? world_node_at(world, &next) : NULL;

    if (dst != NULL && world_random(world, 100) >= world->loss) {
        world_post(world, EVENT_UDP,
                   world->now + node->latency + dst->latency, to, &next, NULL,
                   out, len, NULL, 0);
    }
}


static inline void
world_udp_arrives(event_t *event)
{
    bool        mine;
    node_t     *node;
    unsigned    i;
    world_t    *world;
    mapping_t  *mapping;
    tn_geneve_t     geneve;
    tn_path_from_t  source;

    world = event->world;

    for (i = 1; i <= world->nregions; i++) {
        if (tn_ip_equal(&world->regions[i].ip, &event->to.ip)) {
            world_stun(world, &world->regions[i], &event->from, &event->to,
                       event->bytes, event->len);
            return;
        }
    }

    node = world_node_at(world, &event->to);

    if (node == NULL || node->nat == NAT_BLOCKED || node->cut) {
        return;
    }

    if (event->to.port == node->relay_port && node->server != NULL) {
        world_relay(node, &event->from, &event->to, event->bytes, event->len);
        return;
    }

    mine = node->nat == NAT_NONE && event->to.port == node->addr.port;

    for (i = 0; node->nat != NAT_NONE && i < node->nmappings; i++) {
        mapping = &node->mappings[i];

        if (mapping->outside.port == event->to.port
            && world->now - mapping->used < world->nat_ms
            && tn_addr_equal(&mapping->inside, &node->addr)
            && (node->nat == NAT_FULL_CONE
                || world_nat_open(mapping, &event->from, world->now,
                                  world->nat_ms)))
        {
            mapping->used = world->now;
            mine = true;
        }
    }

    if (!mine) {
        return;
    }

    if (!tn_path_has_udp(node->path)) {
        return;
    }

    if (!tn_path_is_wireguard(event->bytes, event->len)
        && tn_path_udp(node->path, world->now, &event->from, event->bytes,
                       event->len))
    {
        return;
    }

    memset(&source, 0, sizeof(source));
    source.addr = event->from;

    if (tn_geneve_parse(&geneve, event->bytes, event->len) == TN_OK) {
        source.vni = geneve.vni;
        world_payload(node, &source, event->bytes + TN_GENEVE_HEADER,
                      event->len - TN_GENEVE_HEADER);
        return;
    }

    world_payload(node, &source, event->bytes, event->len);
}


#include "path_world_derp.h"


static void
world_event(void *data, tn_ms_t now)
{
    event_t      *event = data;
    world_t      *world;
    derp_conn_t  *conn;

    world = event->world;
    world->now = now;
    conn = event->conn;

    if (conn != NULL && event->generation != conn->generation) {
        free(event);
        return;
    }

    switch (event->type) {

    case EVENT_UDP:
        world_udp_arrives(event);
        break;

    case EVENT_DERP_IN:
        if (conn->len + event->len > sizeof(conn->buf)) {
            abort();
        }

        memcpy(conn->buf + conn->len, event->bytes, event->len);
        conn->len += event->len;
        world_derp_input(conn);
        break;

    case EVENT_DERP_OUT:
        tn_path_derp_bytes(conn->node->path, now, conn->region, event->bytes,
                           event->len);
        break;

    case EVENT_DERP_KEEP_ALIVE:
        if (!world->regions[conn->region].frozen) {
            world_derp_reply(conn, "\6\0\0\0\0", 5, NULL, 0);
        }

        world_post(world, EVENT_DERP_KEEP_ALIVE, now + 60000, NULL, NULL,
                   conn, NULL, 0, NULL, 0);
        break;

    case EVENT_DERP_OPENED:
        tn_path_derp_opened(conn->node->path, now, conn->region,
                            world->regions[conn->region].fast
                            ? &world->regions[conn->region].key.pub : NULL);
        break;

    case EVENT_PROBED:
        tn_path_probed(world_node_at(world, &event->from)->path, now,
                       event->to.port, (uint32_t) event->to.ip.b[0] * 1000);
        break;

    case EVENT_DERP_CLOSED:
        conn->open = false;
        conn->generation++;
        tn_path_derp_closed(conn->node->path, now, conn->region,
                            "connection refused");
        break;
    }

    free(event);
}


/* --- the host side of the nodes */

static void
world_wireguard(void *data, tn_ms_t now, const tn_path_from_t *from,
    uint8_t *bytes, size_t len, bool lasts)
{
    (void) now;
    (void) lasts;
    world_payload(data, from, bytes, len);
}


static void
world_resolve(void *data, uint32_t id, const char *host)
{
    node_t   *node = data;
    tn_ip_t   found;
    unsigned  region;

    snprintf(node->asked, sizeof(node->asked), "%s", host);

    if (!node->world->resolve
        || sscanf(host, "derp%u.example", &region) != 1
        || region > node->world->nregions)
    {
        tn_path_resolved(node->path, node->world->now, id, NULL, 0);
        return;
    }

    found = node->world->regions[region].ip;
    tn_path_resolved(node->path, node->world->now, id, &found, 1);
}


static void
world_endpoints(void *data, tn_ms_t now, const tn_endpoint_t *endpoints,
    size_t n)
{
    node_t  *node = data;

    (void) now;

    memcpy(node->endpoints, endpoints, n * sizeof(tn_endpoint_t));
    node->nendpoints = n;
    node->endpoints_told++;
}


static void
world_netinfo(void *data, tn_ms_t now, const tn_netinfo_t *netinfo)
{
    node_t  *node = data;

    (void) now;

    node->netinfo = *netinfo;
    node->netinfo_told++;
}


static void
world_changed(void *data, tn_ms_t now, tn_path_peer_t *peer)
{
    node_t  *node = data;

    node->changed++;

    if (tn_path_kind(peer, now) == TN_PATH_DIRECT && node->direct_at == 0) {
        node->direct_at = now;
    }
}


/* STUN requests alone; the NAT forwards the port, maybe from another one */
static tn_rc_t
world_relay_send(void *data, const tn_addr_t *to, const uint8_t *bytes,
    size_t len)
{
    node_t     *node = data;
    unsigned    i;
    region_t   *region;
    tn_addr_t   from;

    from.ip = node->public_ip;
    from.port = node->relay_port;

    for (i = 1; i <= node->world->nregions && node->nat != NAT_BLOCKED; i++) {
        region = &node->world->regions[i];

        if (tn_ip_equal(&region->ip, &to->ip)) {
            world_post(node->world, EVENT_UDP,
                       node->world->now + node->latency + region->latency,
                       &from, to, NULL, bytes, len, NULL, 0);
        }
    }

    return TN_OK;
}


static tn_rc_t
world_relay_allocate(void *data, tn_ms_t now, const tn_key_t *asker,
    const tn_key_t client[2], tn_disco_relay_t *relay)
{
    node_t  *node = data;

    if (node->server == NULL || node->relay_dead) {
        return TN_NOTFOUND;
    }

    return tn_relay_server_allocate(node->server, now, asker, client, relay);
}


static const tn_path_ops_t  world_ops = {
    .send_udp = world_send_udp,
    .derp_open = world_derp_open,
    .derp_write = world_derp_write,
    .derp_close = world_derp_close,
    .wireguard = world_wireguard,
    .resolve = world_resolve,
    .endpoints = world_endpoints,
    .netinfo = world_netinfo,
    .changed = world_changed,
    .relay_allocate = world_relay_allocate,
    .relay_send = world_relay_send
};


static void
world_log(tn_log_t *log, tn_log_level_e level, const char *line, size_t len)
{
    node_t  *node = log->data;

    (void) level;

    if (node->world->verbose) {
        printf("# %llu node %u: %.*s\n",
               (unsigned long long) node->world->now, node->id, (int) len,
               line);
    }
}


/* --- payload */

static inline void
world_send(node_t *node, unsigned to, uint8_t kind)
{
    size_t            head;
    uint8_t          *bytes, datagram[TN_GENEVE_HEADER + 64];
    tn_writer_t       w;
    tn_geneve_t       geneve;
    tn_path_peer_t   *peer;
    tn_path_route_t   route;

    peer = node->peers[to];
    memset(datagram, 0, sizeof(datagram));
    bytes = datagram + TN_GENEVE_HEADER;
    bytes[0] = 4;
    bytes[4] = kind;
    bytes[5] = (uint8_t) node->id;

    tn_path_route(peer, node->world->now, &route);

    if (route.udp.port != 0) {
        head = 0;

        if (route.vni != 0) {
            geneve.protocol = TN_GENEVE_WIREGUARD;
            geneve.vni = route.vni;
            geneve.control = false;
            head = TN_GENEVE_HEADER;
            w = tn_writer(datagram, head);
            tn_geneve_write(&w, &geneve);
        }

        (void) world_send_udp(node, &route.udp, bytes - head, head + 64);
    }

    if (route.derp != 0) {
        (void) tn_path_send_derp(peer, node->world->now, route.derp, bytes,
                                 64);
    }

    tn_path_sent(peer, node->world->now);
}


static inline void
world_payload(node_t *node, const tn_path_from_t *from, const uint8_t *bytes,
    size_t len)
{
    tn_ms_t  now;

    if (len != 64 || bytes[0] != 4) {
        abort();
    }

    now = node->world->now;
    tn_path_received(node->peers[bytes[5]], now,
                     from->region == 0 && from->vni == 0 ? &from->addr
                                                         : NULL);

    if (bytes[4] == 'Q') {
        world_send(node, bytes[5], 'R');
        return;
    }

    node->got_udp += from->region == 0 && from->vni == 0;
    node->got_relay += from->vni != 0;
    node->got_derp += from->region != 0;
    node->worst_gap = tn_max(node->worst_gap, now - node->last_answer);
    node->last_answer = now;
}


/* --- the world */

static inline world_t *
world_create(uint32_t seed, unsigned nregions)
{
    char                  text[64];
    world_t              *world;
    unsigned              i;
    tn_derpmap_node_t    *node;
    tn_derpmap_region_t  *region;

    tn_random_seed_for_tests(seed);

    world = calloc(1, sizeof(world_t));
    world->seed = seed * 7919;
    world->now = 1000000;
    world->nregions = nregions;
    world->resolve = true;
    world->ops = world_ops;
    world->nat_ms = WORLD_NAT_MS;
    world->map = tn_derpmap_create();
    world->verbose = getenv("PATH_VERBOSE") != NULL;
    tn_timers_init(&world->timers);

    for (i = 1; i <= nregions; i++) {
        tn_curve_keypair(&world->regions[i].key);
        snprintf(text, sizeof(text), "198.51.100.%u", i);
        world->regions[i].ip = ip(text);
        world->regions[i].latency = 10 * i;

        region = tn_derpmap_add_region(world->map, i);
        node = tn_derpmap_add_node(region);
        (void) tn_derpmap_set_string(&node->ipv4, text, strlen(text));
        (void) tn_derpmap_set_string(&node->ipv6, "none", 4);
        snprintf(text, sizeof(text), "derp%u.example", i);
        (void) tn_derpmap_set_string(&node->hostname, text, strlen(text));
        snprintf(text, sizeof(text), "%ua", i);
        (void) tn_derpmap_set_string(&node->name, text, strlen(text));
    }

    return world;
}


static inline void
world_local(node_t *node)
{
    tn_path_set_local(node->path, node->world->now, &node->addr, 1,
                      node->addr.port, 0);
}


static inline node_t *
world_add(world_t *world, nat_e nat)
{
    char             text[64];
    node_t          *node;
    static tn_log_t  logs[WORLD_NODES];

    node = calloc(1, sizeof(node_t));
    node->world = world;
    node->id = world->nnodes++;
    node->nat = nat;
    node->latency = 5;
    node->relay_port = WORLD_RELAY;
    world->nodes[node->id] = node;

    snprintf(text, sizeof(text), "203.0.113.%u", node->id + 1);
    node->public_ip = ip(text);

    if (nat > NAT_FIREWALL) {
        snprintf(text, sizeof(text), "192.168.%u.2", node->id + 1);
    }

    node->addr.ip = ip(text);
    node->addr.port = WORLD_PORT;

    tn_curve_keypair(&node->node);
    tn_curve_keypair(&node->disco);

    logs[node->id].level = TN_LOG_DEBUG;
    logs[node->id].write = world_log;
    logs[node->id].data = node;

    node->path = tn_path_create(&world->ops, node, &node->node, &node->disco,
                                &world->timers, &logs[node->id]);
    (void) tn_path_set_derpmap(node->path, world->now, world->map);
    world_local(node);
    tn_path_start(node->path, world->now);

    return node;
}


/* what the netmap of one says of the other */
static inline tn_path_peer_conf_t
world_conf(const node_t *peer)
{
    size_t               i;
    tn_path_peer_conf_t  conf;
    static tn_addr_t     addrs[TN_ENDPOINTS_MAX];

    memset(&conf, 0, sizeof(conf));

    conf.node_key = peer->node.pub;
    conf.disco_key = peer->disco.pub;
    conf.endpoints = addrs;
    conf.nendpoints = peer->nendpoints;
    conf.home_derp = peer->netinfo.preferred_derp;
    conf.relay_capable = true;

    for (i = 0; i < peer->nendpoints; i++) {
        addrs[i] = peer->endpoints[i].addr;
    }

    return conf;
}


/* the same of one that has WireGuard only */
static inline tn_path_peer_conf_t
world_conf_wg(const node_t *peer)
{
    tn_path_peer_conf_t  conf;

    conf = world_conf(peer);
    memset(&conf.disco_key, 0, sizeof(conf.disco_key));
    conf.wireguard_only = true;

    return conf;
}


static inline void
world_know(node_t *node, const node_t *peer)
{
    tn_path_peer_conf_t  conf;

    conf = world_conf(peer);

    if (node->peers[peer->id] != NULL) {
        (void) tn_path_peer_update(node->peers[peer->id], node->world->now,
                                   &conf);
        return;
    }

    node->peers[peer->id] = tn_path_peer_add(node->path, node->world->now,
                                             &conf, NULL);
}


/* `server` becomes a relay that `node` may use */
static inline void
world_serve(node_t *node, node_t *server)
{
    tn_keypair_t  disco;

    if (server->server == NULL) {
        tn_curve_keypair(&disco);
        server->server = tn_relay_server_create(&disco, TN_RELAY_SESSIONS_MAX);
        tn_path_set_relay_ports(server->path, node->world->now, WORLD_RELAY,
                                0);
    }

    if (server == node) {
        tn_path_set_own_relay(node->path, true);
        return;
    }

    tn_path_peer_set_relay(node->peers[server->id], false, true);
    tn_path_peer_set_relay(server->peers[node->id], true, false);
}


static inline void
world_run(world_t *world, tn_ms_t ms)
{
    tn_ms_t  until, next;

    until = world->now + ms;

    while ((next = tn_timers_next(&world->timers)) <= until) {
        world->now = tn_max(next, world->now);
        tn_timers_run(&world->timers, world->now);
    }

    world->now = until;
}


/* a request each `every` ms from one node to another, for `ms` */
static inline void
world_talk(world_t *world, node_t *from, const node_t *to, tn_ms_t ms,
    tn_ms_t every)
{
    tn_ms_t  until;

    until = world->now + ms;
    from->got_udp = 0;
    from->got_derp = 0;
    from->got_relay = 0;
    from->worst_gap = 0;
    from->last_answer = world->now;

    while (world->now < until) {
        world_send(from, to->id, 'Q');
        world_run(world, tn_min(every, until - world->now));
    }

    from->worst_gap = tn_max(from->worst_gap, world->now - from->last_answer);
}


/* both have their endpoints and know each other by the netmap */
static inline void
world_meet(world_t *world, node_t *a, node_t *b)
{
    world_run(world, 5000);
    world_know(a, b);
    world_know(b, a);
}


/* a world of these two, who have met */
static inline world_t *
world_pair(uint32_t seed, unsigned nregions, nat_e first, nat_e second,
    node_t **a, node_t **b)
{
    world_t  *world;

    world = world_create(seed, nregions);
    *a = world_add(world, first);
    *b = world_add(world, second);
    world_meet(world, *a, *b);

    return world;
}


static inline void
world_free(world_t *world)
{
    unsigned   i, k;
    event_t   *event;

    for (i = 0; i < world->nnodes; i++) {
        tn_path_destroy(world->nodes[i]->path);
    }

    while (world->timers.count != 0) {
        event = world->timers.heap[0]->data;
        tn_timer_cancel(&world->timers, world->timers.heap[0]);
        free(event);
    }

    for (k = 0; k < world->nnodes; k++) {
        tn_relay_server_destroy(world->nodes[k]->server);
        free(world->nodes[k]);
    }

    tn_timers_done(&world->timers);
    tn_derpmap_free(world->map);
    free(world);
}


/* what `from` would send to `to` */
static inline packet_t
seal(const tn_keypair_t *from, const tn_key_t *to, const tn_disco_msg_t *msg)
{
    packet_t      packet;
    uint8_t       scratch[sizeof(packet.bytes)];
    tn_box_key_t  box;

    if (tn_box_key(&box, to, &from->priv) != TN_OK
        || tn_disco_seal(&box, &from->pub, msg, scratch, packet.bytes,
                         sizeof(packet.bytes), &packet.len)
           != TN_OK)
    {
        abort();
    }

    return packet;
}


#endif /* PATH_WORLD_H_INCLUDED_ */
