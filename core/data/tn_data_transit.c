
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Packets for what is behind the node, before a stack sees them, and UDP for
 * services, which with either stack goes into sockets of nginx:
 *
 *   UDP    for ports that "listen any udp capture" has, and that no listener
 *          has by its name, goes into sockets of nginx (tn_udpnet.h)
 *   pings  are asked of the destination, from the host, and answered when it
 *          answers.  TRANSIT_PINGS wait at a time, TRANSIT_PINGS_EACH of one
 *          source, for TN_ECHO_MS; TRANSIT_PINGS_RATE a second start
 *   SYNs   for a listener with "capture=probe" are held while the host
 *          connects to the destination:
 *
 *            it accepts             that connection is reset, the SYN goes on
 *            it refuses             so does the answer to the SYN
 *            there is no way to it  ICMP says so
 *            nothing comes          nothing is said, for TRANSIT_PROBE_MS
 *
 *          TRANSIT_PROBES are under way at a time, TRANSIT_PROBES_EACH of one
 *          source; further SYNs are dropped, and come again by themselves
 *
 * A connection that the machine itself made can come here, when its own way
 * to the destination leads over the tailnet to this node, say by a tailscaled
 * beside nginx that accepts routes.  nginx would open the next, without end:
 * it is refused.  It is known by its source, an address and port that a
 * socket of this machine has, connected to the same destination; only
 * addresses of the machine are looked up.  What comes back by way of other
 * routers is found by tn_loops.h.
 *
 * UDP that nothing captures is refused as the destination itself would.
 *
 * Counters of sources are shared by those of one hash.
 */

#include "tn_data_private.h"

#include "base/tn_hash.h"
#include "host/tn_sockdiag.h"
#include "node/tn_loops.h"
#include "data/tn_udpnet.h"
#include "stack/tn_vnet.h"
#include "wire/tn_refuse.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <unistd.h>


#define TRANSIT_MTU          1280
#define TRANSIT_SOURCES      256

#define TRANSIT_PINGS        64
#define TRANSIT_PINGS_EACH   16
#define TRANSIT_PINGS_RATE   50

#define TRANSIT_PROBES       1024
#define TRANSIT_PROBES_EACH  256
#define TRANSIT_PROBE_MS     10000

#define TRANSIT_LOOP_LOG_MS  60000


typedef struct {
    tn_ms_t              at;        /* 0: not in use */
    uint8_t              source;
    size_t               len;
    uint8_t              packet[TRANSIT_MTU];
} transit_ping_t;


typedef struct {
    tn_hash_node_t       node;
    tn_data_transit_t   *transit;
    tn_watch_t           watch;
    tn_timer_t           timer;
    uint8_t              source;
    struct {
        tn_addr_t        from;
        tn_addr_t        to;
    } key;                          /* zeroed before it is filled in */
    size_t               len;
    uint8_t              packet[];  /* the SYN */
} transit_probe_t;


struct tn_data_transit_s {
    tn_data_t           *data;
    tn_udpnet_t         *udp;       /* NULL: lwIP's net has it */

    unsigned             version;
    tn_lwnet_table_t    *listeners;
    tn_lwnet_captures_t  captures[2][2];

    tn_ip_t             *machine;
    size_t               n_machine;
    tn_ms_t              loop_told;
    tn_loops_t          *loops;
    tn_ms_t              circle_told;

    tn_echo_t           *echo;
    transit_ping_t       pings[TRANSIT_PINGS];
    uint16_t             pings_of[TRANSIT_SOURCES];
    tn_ms_t              pings_from;    /* the second that is counted */
    unsigned             pings_begun;

    tn_hash_t            probes;
    uint16_t             probes_of[TRANSIT_SOURCES];
};


static bool transit_has(const uint8_t *ports, uint16_t port);
static bool transit_is_loop(tn_data_transit_t *transit, const tn_packet_t *p);
static tn_plane_transit_e transit_begins(tn_data_transit_t *transit,
    const tn_packet_t *p, bool held);
static tn_plane_transit_e transit_udp(tn_data_transit_t *transit,
    const uint8_t *packet, const tn_packet_t *p);
static void transit_ping(tn_data_transit_t *transit, const uint8_t *packet,
    const tn_packet_t *p);
static void transit_ponged(void *data, const tn_ip_t *ip, uint32_t us);
static void transit_ping_free(tn_data_transit_t *transit,
    transit_ping_t *ping);
static tn_plane_transit_e transit_syn(tn_data_transit_t *transit,
    const uint8_t *packet, const tn_packet_t *p);
static tn_plane_transit_e transit_probe(tn_data_transit_t *transit,
    const uint8_t *packet, const tn_packet_t *p);
static void transit_probe_event(tn_watch_t *watch, uint32_t events);
static void transit_probe_timeout(void *data, tn_ms_t now);
static void transit_probe_free(transit_probe_t *probe);
static void transit_deliver(tn_data_transit_t *transit,
    const uint8_t *packet, size_t len);
static void transit_answer(tn_data_transit_t *transit, const uint8_t *packet,
    size_t len);
static uint8_t transit_source(const tn_ip_t *ip);
static void transit_frame(void *data, uint8_t *frame, size_t len);
static void transit_done(void *data);


static const tn_udpnet_ops_t  transit_udp_ops = {
    transit_frame,
    transit_done
};


tn_data_transit_t *
tn_data_transit_create(tn_data_t *data, tn_lwnet_table_t *listeners)
{
    uint64_t            seed;
    tn_data_transit_t  *transit;

    if (getrandom(&seed, sizeof(seed), 0) != (ssize_t) sizeof(seed)) {
        return NULL;
    }

    transit = calloc(1, sizeof(tn_data_transit_t));

    if (transit == NULL) {
        return NULL;
    }

    transit->data = data;
    transit->listeners = listeners;
    tn_hash_init(&transit->probes, 2 * sizeof(tn_addr_t));

    transit->echo = tn_echo_create(&data->loop, transit_ponged, transit,
                                   "pings to networks behind this node are "
                                   "not answered", data->log);

    if (data->lwnet == NULL) {
        transit->udp = tn_udpnet_create(&data->loop, listeners,
                                        &transit_udp_ops, transit, data->log);
    }

    transit->loops = tn_loops_create(seed);

    if (transit->echo == NULL || transit->loops == NULL
        || (transit->udp == NULL && data->lwnet == NULL))
    {
        tn_data_transit_destroy(transit);
        return NULL;
    }

    return transit;
}


void
tn_data_transit_destroy(tn_data_transit_t *transit)
{
    tn_hash_node_t  *node;

    if (transit == NULL) {
        return;
    }

    while ((node = tn_hash_next(&transit->probes, NULL)) != NULL) {
        transit_probe_free(tn_container(node, transit_probe_t, node));
    }

    tn_hash_done(&transit->probes);
    tn_udpnet_destroy(transit->udp);
    tn_echo_destroy(transit->echo);
    tn_loops_free(transit->loops);
    free(transit->machine);
    free(transit);
}


void
tn_data_transit_machine(tn_data_transit_t *transit, const tn_ip_t *ips,
    size_t n)
{
    free(transit->machine);

    transit->machine = calloc(tn_max(n, 1u), sizeof(tn_ip_t));
    transit->n_machine = 0;

    if (transit->machine != NULL && n != 0) {
        memcpy(transit->machine, ips, n * sizeof(tn_ip_t));
        transit->n_machine = n;
    }
}


tn_plane_transit_e
tn_data_transit(void *arg, const uint8_t *packet, const tn_packet_t *p,
    bool service)
{
    tn_data_t *data = arg;

    uint8_t              proto;
    tn_addr_t            from, to;
    tn_plane_transit_e   rc;
    tn_data_transit_t   *transit;

    transit = data->transit;
    rc = TN_PLANE_PASS;

    if (service) {
        return transit->udp != NULL && p->frag == TN_PACKET_WHOLE
               && tn_udpnet_in(transit->udp, packet, p, TN_LWNET_SERVICE)
               ? TN_PLANE_TAKEN : TN_PLANE_PASS;
    }

    switch (p->proto) {

    case TN_PROTO_TCP:

        if (tn_unlikely(tn_packet_is_syn(p))) {
            rc = transit_syn(transit, packet, p);
        }

        break;

    case TN_PROTO_UDP:
        rc = transit_udp(transit, packet, p);
        break;

    default:

        if (tn_icmp_is_echo_request(p)) {
            transit_ping(transit, packet, p);
            rc = TN_PLANE_TAKEN;

        } else if (transit->udp != NULL
                   && tn_icmp_unreachable(packet, p, &proto, &from, &to)
                   && proto == TN_PROTO_UDP)
        {
            tn_udpnet_unreachable(transit->udp, &from, &to);
        }

        break;
    }

    /* lwIP has to be told that it is none of its own addresses */

    if (rc == TN_PLANE_PASS && data->lwnet != NULL) {
        tn_lwnet_in(data->lwnet, packet, p, true);
        rc = TN_PLANE_TAKEN;
    }

    return rc;
}


static bool
transit_has(const uint8_t *ports, uint16_t port)
{
    return ports[port / 8] & 1 << port % 8;
}


static bool
transit_is_loop(tn_data_transit_t *transit, const tn_packet_t *p)
{
    size_t     i;
    char       text[TN_ADDR_TEXT];
    tn_addr_t  from, to;

    for (i = 0; i < transit->n_machine; i++) {
        if (tn_ip_equal(&transit->machine[i], &p->src)) {
            break;
        }
    }

    if (tn_likely(i == transit->n_machine)) {
        return false;
    }

    from.ip = p->src;
    from.port = p->src_port;
    to.ip = p->dst;
    to.port = p->dst_port;

    if (!tn_sockdiag_has(p->proto, &from, &to)) {
        return false;
    }

    if (transit->loop_told == 0
        || transit->data->loop.now - transit->loop_told
           >= TRANSIT_LOOP_LOG_MS)
    {
        transit->loop_told = transit->data->loop.now;

        tn_log(transit->data->log, TN_LOG_ERR, "the way of this machine to "
               "%s leads over the tailnet back to it: what is captured for "
               "it is refused", tn_addr_text(&to, text));
    }

    return true;
}


static tn_plane_transit_e
transit_udp(tn_data_transit_t *transit, const uint8_t *packet,
    const tn_packet_t *p)
{
    tn_udpnet_t          *udp;
    tn_plane_transit_e    rc;
    tn_lwnet_captures_t  *captures;

    if (p->frag != TN_PACKET_WHOLE) {
        return TN_PLANE_PASS;
    }

    if (transit_is_loop(transit, p)) {
        return TN_PLANE_REFUSED;
    }

    tn_lwnet_table_captures(transit->listeners, &transit->version,
                            transit->captures);

    captures = &transit->captures[1][!tn_ip_is_v4(&p->dst)];

    if (transit_has(captures->named, p->dst_port)) {
        return TN_PLANE_PASS;
    }

    if (!captures->any) {
        return TN_PLANE_REFUSED;
    }

    udp = transit->udp;

    if (udp == NULL) {
        udp = tn_lwnet_udp(transit->data->lwnet);
    }

    if (!tn_udpnet_has(udp, p)) {
        rc = transit_begins(transit, p, false);

        if (rc != TN_PLANE_PASS) {
            return rc;
        }
    }

    return transit->udp != NULL
           && tn_udpnet_in(transit->udp, packet, p, TN_IPC_CAPTURE)
           ? TN_PLANE_TAKEN : TN_PLANE_PASS;
}


/* TN_PLANE_TAKEN: it is to be dropped */
static tn_plane_transit_e
transit_begins(tn_data_transit_t *transit, const tn_packet_t *p, bool held)
{
    char       text[2][TN_ADDR_TEXT];
    tn_ms_t    now;
    tn_addr_t  from, to;

    now = transit->data->loop.now;
    from.ip = p->src;
    from.port = 0;
    to.ip = p->dst;
    to.port = p->dst_port;

    switch (tn_loops_begin(transit->loops, now, p->proto == TN_PROTO_TCP,
                           held, &from.ip, &to))
    {
    case TN_LOOPS_PASS:
        return TN_PLANE_PASS;

    case TN_LOOPS_LATER:
        return TN_PLANE_TAKEN;

    case TN_LOOPS_REFUSED:
        return TN_PLANE_REFUSED;

    case TN_LOOPS_FOUND:
        break;
    }

    if (transit->circle_told == 0
        || now - transit->circle_told >= TRANSIT_LOOP_LOG_MS)
    {
        transit->circle_told = now;

        tn_log(transit->data->log, TN_LOG_ERR, "flow after flow comes from "
               "%s for %s, and none is ever answered: the way of this machine "
               "there may lead back to it by other routers; they are refused "
               "for %d s", tn_ip_text(&from.ip, text[0]),
               tn_addr_text(&to, text[1]), TN_LOOPS_QUIET_MS / 1000);
    }

    return TN_PLANE_REFUSED;
}


void
tn_data_transit_out(tn_data_transit_t *transit, const uint8_t *frame,
    size_t len)
{
    tn_addr_t    from;
    tn_packet_t  p;

    if (tn_likely(!tn_loops_watches(transit->loops))) {
        return;
    }

    if (len <= sizeof(tn_vnet_t)
        || tn_packet_parse(&p, frame + sizeof(tn_vnet_t),
                           len - sizeof(tn_vnet_t))
           != TN_OK
        || (p.proto != TN_PROTO_TCP && p.proto != TN_PROTO_UDP))
    {
        return;
    }

    from.ip = p.src;
    from.port = p.src_port;

    if (p.tcp_flags & TN_TCP_SYN) {
        tn_loops_opened(transit->loops, &p.dst, &from);

    } else if (p.total_len > p.data_offset
               || (p.tcp_flags & (TN_TCP_FIN | TN_TCP_RST)))
    {
        tn_loops_answered(transit->loops, p.proto == TN_PROTO_TCP, &p.dst,
                          &from);
    }
}


/* --- pings */

static void
transit_ping(tn_data_transit_t *transit, const uint8_t *packet,
    const tn_packet_t *p)
{
    size_t           i;
    tn_ms_t          now;
    uint8_t          source;
    transit_ping_t  *ping, *found;

    now = transit->data->loop.now;
    found = NULL;

    if (p->frag != TN_PACKET_WHOLE || p->extended
        || p->total_len > TRANSIT_MTU)
    {
        return;
    }

    for (i = 0; i < TRANSIT_PINGS; i++) {
        ping = &transit->pings[i];

        if (ping->at != 0 && now - ping->at > TN_ECHO_MS) {
            transit_ping_free(transit, ping);
        }

        if (ping->at == 0) {
            found = ping;
        }
    }

    if (now - transit->pings_from >= 1000) {
        transit->pings_from = now;
        transit->pings_begun = 0;
    }

    source = transit_source(&p->src);

    if (found == NULL || transit->pings_of[source] >= TRANSIT_PINGS_EACH
        || transit->pings_begun >= TRANSIT_PINGS_RATE)
    {
        return;
    }

    transit->pings_begun++;
    transit->pings_of[source]++;
    found->at = tn_max(now, (tn_ms_t) 1);
    found->source = source;
    found->len = p->total_len;
    memcpy(found->packet, packet, p->total_len);

    tn_echo_send(transit->echo, &p->dst);
}


/* answers the request for this address that waits longest */
static void
transit_ponged(void *data, const tn_ip_t *ip, uint32_t us)
{
    tn_data_transit_t *transit = data;

    size_t           i;
    tn_packet_t      p;
    transit_ping_t  *ping, *found;

    (void) us;

    found = NULL;

    for (i = 0; i < TRANSIT_PINGS; i++) {
        ping = &transit->pings[i];

        if (ping->at != 0 && (found == NULL || ping->at < found->at)
            && tn_packet_parse(&p, ping->packet, ping->len) == TN_OK
            && tn_ip_equal(&p.dst, ip))
        {
            found = ping;
        }
    }

    if (found == NULL) {
        return;
    }

    if (tn_packet_parse(&p, found->packet, found->len) == TN_OK
        && tn_icmp_echo_reply(found->packet, &p) == TN_OK)
    {
        transit_answer(transit, found->packet, found->len);
    }

    transit_ping_free(transit, found);
}


static void
transit_ping_free(tn_data_transit_t *transit, transit_ping_t *ping)
{
    transit->pings_of[ping->source]--;
    ping->at = 0;
}


/* --- SYNs */

static tn_plane_transit_e
transit_syn(tn_data_transit_t *transit, const uint8_t *packet,
    const tn_packet_t *p)
{
    bool                  probe;
    tn_lwnet_captures_t  *captures;

    if (transit_is_loop(transit, p)) {
        return TN_PLANE_REFUSED;
    }

    tn_lwnet_table_captures(transit->listeners, &transit->version,
                            transit->captures);

    captures = &transit->captures[0][!tn_ip_is_v4(&p->dst)];

    probe = transit_has(captures->named, p->dst_port)
            ? transit_has(captures->probe, p->dst_port)
            : captures->any_probe;

    return probe && p->frag == TN_PACKET_WHOLE
           ? transit_probe(transit, packet, p)
           : transit_begins(transit, p, false);
}


static tn_plane_transit_e
transit_probe(tn_data_transit_t *transit, const uint8_t *packet,
    const tn_packet_t *p)
{
    int                      fd, rc;
    tn_data_t               *data;
    socklen_t                len;
    transit_probe_t         *probe;
    tn_plane_transit_e       verdict;
    struct sockaddr_storage  ss;

    data = transit->data;

    probe = calloc(1, sizeof(transit_probe_t) + p->total_len);

    if (probe == NULL) {
        return TN_PLANE_TAKEN;
    }

    probe->transit = transit;
    probe->source = transit_source(&p->src);
    probe->key.from.ip = p->src;
    probe->key.from.port = p->src_port;
    probe->key.to.ip = p->dst;
    probe->key.to.port = p->dst_port;
    probe->node.key = &probe->key;
    probe->len = p->total_len;
    memcpy(probe->packet, packet, p->total_len);

    /* a SYN that came again changes nothing */

    if (tn_hash_find(&transit->probes, &probe->key) != NULL) {
        free(probe);
        return TN_PLANE_TAKEN;
    }

    verdict = transit_begins(transit, p, true);

    if (verdict != TN_PLANE_PASS
        || transit->probes.count >= TRANSIT_PROBES
        || transit->probes_of[probe->source] >= TRANSIT_PROBES_EACH)
    {
        free(probe);
        return verdict != TN_PLANE_PASS ? verdict : TN_PLANE_TAKEN;
    }

    len = (socklen_t) tn_addr_to_sockaddr(&probe->key.to, &ss);
    fd = socket(ss.ss_family, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (fd == -1) {
        free(probe);
        return TN_PLANE_TAKEN;
    }

    rc = connect(fd, (struct sockaddr *) &ss, len);

    if (rc == -1 && errno != EINPROGRESS) {
        (void) close(fd);
        free(probe);
        return TN_PLANE_REFUSED;
    }

    probe->watch.fd = fd;
    probe->watch.events = TN_LOOP_WRITE;
    probe->watch.handler = transit_probe_event;
    probe->watch.data = probe;
    tn_timer_init(&probe->timer, transit_probe_timeout, probe);

    if (tn_hash_insert(&transit->probes, &probe->node) != TN_OK) {
        (void) close(fd);
        free(probe);
        return TN_PLANE_TAKEN;
    }

    transit->probes_of[probe->source]++;

    if (tn_loop_watch(&data->loop, &probe->watch) != TN_OK
        || tn_timer_set(&data->loop.timers, &probe->timer,
                        data->loop.now + TRANSIT_PROBE_MS)
           != TN_OK)
    {
        transit_probe_free(probe);
    }

    return TN_PLANE_TAKEN;
}


static void
transit_probe_event(tn_watch_t *watch, uint32_t events)
{
    transit_probe_t *probe = watch->data;

    int                 err;
    size_t              len;
    uint8_t             buf[TN_REFUSE_MAX];
    socklen_t           size;
    tn_packet_t         p;
    tn_data_transit_t  *transit;

    (void) events;

    transit = probe->transit;
    size = sizeof(err);

    if (getsockopt(watch->fd, SOL_SOCKET, SO_ERROR, &err, &size) == -1) {
        err = errno;
    }

    len = 0;

    if (err != ETIMEDOUT) {
        tn_loops_answered(transit->loops, true, &probe->key.from.ip,
                          &probe->key.to);
    }

    if (err == 0) {
        transit_deliver(transit, probe->packet, probe->len);

    } else if (err != ETIMEDOUT
               && tn_packet_parse(&p, probe->packet, probe->len) == TN_OK)
    {
        len = err == ECONNREFUSED || err == ECONNRESET
              ? tn_refuse_build(buf, sizeof(buf), probe->packet, &p)
              : tn_icmp_error(buf, sizeof(buf), TN_ICMP_HOST_UNREACHABLE, 0,
                              &p.dst, probe->packet, &p);
    }

    transit_answer(transit, buf, len);
    transit_probe_free(probe);
}


static void
transit_probe_timeout(void *data, tn_ms_t now)
{
    (void) now;

    transit_probe_free(data);
}


static void
transit_probe_free(transit_probe_t *probe)
{
    struct linger       reset;
    tn_data_transit_t  *transit;

    transit = probe->transit;

    tn_hash_remove(&transit->probes, &probe->node);
    transit->probes_of[probe->source]--;
    tn_timer_cancel(&transit->data->loop.timers, &probe->timer);
    tn_loop_unwatch(&transit->data->loop, &probe->watch);

    /* no TIME-WAIT, and the destination sees at once that nothing follows */

    reset.l_onoff = 1;
    reset.l_linger = 0;
    (void) setsockopt(probe->watch.fd, SOL_SOCKET, SO_LINGER, &reset,
                      sizeof(reset));
    (void) close(probe->watch.fd);
    free(probe);
}


/* --- either way */

static void
transit_deliver(tn_data_transit_t *transit, const uint8_t *packet,
    size_t len)
{
    tn_vnet_t     vnet;
    tn_data_t    *data;
    tn_packet_t   p;
    struct iovec  iov[2];

    data = transit->data;

    if (data->tun != NULL) {
        memset(&vnet, 0, sizeof(vnet));
        iov[0].iov_base = &vnet;
        iov[0].iov_len = sizeof(vnet);
        iov[1].iov_base = (void *) (uintptr_t) packet;
        iov[1].iov_len = len;

        tn_data_tun_write(data, iov, 2);

    } else if (data->lwnet != NULL
               && tn_packet_parse(&p, packet, len) == TN_OK)
    {
        tn_lwnet_in(data->lwnet, packet, &p, true);
        tn_lwnet_run(data->lwnet);
    }
}


static void
transit_answer(tn_data_transit_t *transit, const uint8_t *packet, size_t len)
{
    uint8_t  frame[sizeof(tn_vnet_t) + TRANSIT_MTU];

    if (len == 0 || len > TRANSIT_MTU) {
        return;
    }

    memset(frame, 0, sizeof(tn_vnet_t));
    memcpy(frame + sizeof(tn_vnet_t), packet, len);

    transit_frame(transit, frame, sizeof(tn_vnet_t) + len);
    transit_done(transit);
}


static uint8_t
transit_source(const tn_ip_t *ip)
{
    size_t   i;
    uint8_t  h;

    h = 0;

    for (i = 0; i < sizeof(ip->b); i++) {
        h = (uint8_t) (h * 31 + ip->b[i]);
    }

    return h;
}


static void
transit_frame(void *data, uint8_t *frame, size_t len)
{
    tn_data_transit_t *transit = data;

    tn_data_frame(transit->data, frame, len);
}


static void
transit_done(void *data)
{
    tn_data_transit_t *transit = data;

    tn_data_lwip_done(transit->data);
}
