/*
 * Two data planes that exchange a fixed trace of packets, in memory and on a
 * virtual clock, for t/cost.t: it counts the instructions that a packet
 * costs.  Prints how many packets went through and ends with 1 if one did not.
 *
 *   cost bulk N    N super-packets of a TCP stream, and their ACKs
 *   cost small N   N requests and answers of 1 KB
 *   cost acks N    N batches of ACKs of one stream, without data
 *   cost mixed N   N batches of what 32 streams send in turn: an ACK, two
 *                  segments and the end of a request
 */

#include "crypto/tn_curve.h"
#include "node/tn_plane.h"
#include "stack/tn_vnet.h"

#define QUEUE  160

#include "../unit/packets.h"
#include "../unit/plane_world.h"


#define COST_SEGMENT   1228     /* of a tailnet's MTU, with timestamps */
#define COST_SEGMENTS  48       /* of a super-packet */
#define COST_ACKS      24       /* one for two segments */
#define COST_OPTIONS   12
#define COST_STREAMS   32


typedef struct {
    uint32_t  seq;
    uint32_t  ack;
} cost_stream_t;

static uint64_t       packets, expected[2];
static cost_stream_t  streams[2] = { { 1000, 5000 }, { 5000, 1000 } };
static uint16_t       port = 40000;     /* the stream's, at side 1 */


/* what is under way arrives, as one batch at each side */

static void
cost_carry(void)
{
    unsigned     i, n, first;
    side_t      *side;

    for (first = 0; first < queued; first = n) {
        n = queued;

        for (i = first; i < n; i++) {
            side = &sides[tn_addr_equal(&sides[1].addr, &queue[i].to)];
            tn_plane_udp(side->plane, now, &queue[i].from, queue[i].bytes,
                         queue[i].len);
        }

        tn_plane_udp_done(sides[0].plane);
        tn_plane_udp_done(sides[1].plane);
    }

    queued = 0;
}


/* side `from` sends `payload` bytes of its stream, in segments */

static void
cost_send(unsigned from, size_t payload, uint8_t flags)
{
    pkt_t       k;
    size_t      len;
    tn_vnet_t   vnet;

    static uint8_t  frame[sizeof(tn_vnet_t) + 65535];
    static uint8_t  stamps[COST_OPTIONS] = { 1, 1, 8, 10 };

    memset(&k, 0, sizeof(k));
    k.version = 4;
    k.proto = 6;
    k.tcp_options = COST_OPTIONS;
    k.ttl = 64;
    k.df = 1;
    k.src_port = from == 0 ? 443 : port;
    k.dst_port = from == 0 ? port : 443;
    k.seq = streams[from].seq;
    k.ack = streams[from].ack;
    k.window = 500;
    k.flags = flags;

    /* the content is nobody's business here: only headers are built */

    len = pkt_build(&k, frame + sizeof(vnet)) + payload;
    k.payload = payload;
    memcpy(frame + sizeof(vnet) + 20 + 20, stamps, COST_OPTIONS);
    pkt_u16(frame + sizeof(vnet) + 2, (unsigned) len);
    memcpy(frame + sizeof(vnet) + 12, sides[from].own.ip.b + 12, 4);
    memcpy(frame + sizeof(vnet) + 16, sides[1 - from].own.ip.b + 12, 4);
    pkt_u16(frame + sizeof(vnet) + 10, 0);
    pkt_u16(frame + sizeof(vnet) + 10,
            ~pkt_sum(0, frame + sizeof(vnet), 20) & 0xffff);
    pkt_partial(&k, frame + sizeof(vnet));

    memset(&vnet, 0, sizeof(vnet));
    vnet.flags = TN_VNET_F_NEEDS_CSUM;
    vnet.csum_start = 20;
    vnet.csum_offset = 16;
    vnet.hdr_len = 20 + 20 + COST_OPTIONS;

    if (payload > COST_SEGMENT) {
        vnet.gso_type = TN_VNET_GSO_TCPV4;
        vnet.gso_size = COST_SEGMENT;
    }

    memcpy(frame, &vnet, sizeof(vnet));

    tn_plane_tun(sides[from].plane, now, frame, sizeof(vnet) + len);
    tn_plane_tun_done(sides[from].plane);

    streams[from].seq += (uint32_t) payload;
    streams[1 - from].ack += (uint32_t) payload;
    packets += payload == 0 ? 1 : (payload + COST_SEGMENT - 1) / COST_SEGMENT;
    expected[1 - from] += payload;
}


static void
cost_bulk(void)
{
    unsigned  i;

    cost_send(0, (size_t) COST_SEGMENT * COST_SEGMENTS, 0x10);
    cost_carry();

    for (i = 0; i < COST_ACKS; i++) {
        streams[1].ack += 1;        /* no two alike, as in life */
        cost_send(1, 0, 0x10);
    }

    streams[1].ack -= COST_ACKS;
    cost_carry();
}


static void
cost_acks(void)
{
    unsigned  i;

    for (i = 0; i < COST_ACKS; i++) {
        streams[1].ack += COST_SEGMENT;
        cost_send(1, 0, 0x10);
    }

    cost_carry();
}


/* all streams have the same numbers: each sends what the others do */

static void
cost_mixed(void)
{
    unsigned       i, j;
    cost_stream_t  was[2];

    streams[1].ack += COST_SEGMENT;

    for (i = 0; i < 4; i++) {
        memcpy(was, streams, sizeof(was));

        for (j = 0; j < COST_STREAMS; j++) {
            memcpy(streams, was, sizeof(was));
            port = (uint16_t) (40000 + 2 * j);

            if (i == 0) {
                cost_send(1, 0, 0x10);

            } else {
                cost_send(1, i < 3 ? COST_SEGMENT : 120, i < 3 ? 0x10 : 0x18);
            }
        }
    }

    port = 40000;
    cost_carry();
}


static void
cost_small(void)
{
    cost_send(1, 120, 0x18);
    cost_carry();
    cost_send(0, 1024, 0x18);
    cost_carry();
}


int
main(int argc, char **argv)
{
    long      i, n;
    size_t    trace;
    uint64_t  before[2], least[2];

    static const struct {
        const char  *name;
        void       (*run)(void);
    } traces[] = {
        { "bulk", cost_bulk },
        { "small", cost_small },
        { "acks", cost_acks },
        { "mixed", cost_mixed }
    };

    for (trace = 0; trace < tn_nelems(traces); trace++) {
        if (argc == 3 && strcmp(argv[1], traces[trace].name) == 0) {
            break;
        }
    }

    if (trace == tn_nelems(traces)) {
        fputs("usage: cost bulk|small|acks|mixed N\n", stderr);
        return 2;
    }

    n = atol(argv[2]);

    (void) tn_crypto_init();
    tn_timers_init(&timers);

    make_both();

    /* a path first, then the handshake that was tried before it again */

    for (i = 0; i < 3; i++) {
        talk(0);
        talk(1);
        run(6000);
    }

    before[0] = sides[0].got;
    before[1] = sides[1].got;

    for (i = 0; i < n; i++) {
        traces[trace].run();
    }

    least[0] = before[0] + expected[0];
    least[1] = before[1] + expected[1];

    printf("%llu packets\n", (unsigned long long) packets);

    i = sides[0].got >= least[0] && sides[1].got >= least[1]
        && tn_path_kind(peer_of(0), now) == TN_PATH_DIRECT;

    tn_plane_destroy(sides[0].plane);
    tn_plane_destroy(sides[1].plane);
    tn_timers_done(&timers);

    return i ? 0 : 1;
}
