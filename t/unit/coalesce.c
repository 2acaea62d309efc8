
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What may be joined, what may not, in which order it is written, and that
 * cutting what was joined gives the packets that came in, and the other way
 * round.
 */

#include "tap.h"

#include "vnets.h"
#include "base/tn_base.h"
#include "stack/tn_coalesce.h"
#include "stack/tn_split.h"


#define PACKETS_MAX  512
#define PACKET_MAX   2048
#define FRAMES_MAX   512


typedef struct {
    tn_vnet_t  vnet;
    size_t     len;
    int        iovecs;
    uint8_t    data[65536];
} frame_t;


static uint8_t  packets[PACKETS_MAX][PACKET_MAX];
static size_t   lengths[PACKETS_MAX];
static int      npackets;

static frame_t  frames[FRAMES_MAX];
static int      nframes;

static uint8_t  cut[PACKETS_MAX][PACKET_MAX];
static size_t   cut_lengths[PACKETS_MAX];
static int      ncut;


static void
write_frame(void *data, const struct iovec *iov, int n)
{
    int       i;
    frame_t  *f;

    (void) data;

    f = &frames[nframes++];
    f->len = 0;
    f->iovecs = n;

    memcpy(&f->vnet, iov[0].iov_base, sizeof(tn_vnet_t));

    for (i = 1; i < n; i++) {
        memcpy(f->data + f->len, iov[i].iov_base, iov[i].iov_len);
        f->len += iov[i].iov_len;
    }
}


static void
emit_cut(void *data, uint8_t *packet, size_t len)
{
    (void) data;

    memcpy(cut[ncut], packet, len);
    cut_lengths[ncut++] = len;
    memset(packet, 0xa5, len);
}


static void
begin(void)
{
    npackets = 0;
    nframes = 0;
    ncut = 0;
}


static void
add_raw(size_t len)
{
    lengths[npackets++] = len;
}


static void
add(const pkt_t *k)
{
    add_raw(pkt_build(k, packets[npackets]));
}


/* feeds copies, so that packets[] stay what they were */
static void
run(bool udp)
{
    int             i;
    tn_packet_t     p;
    tn_coalesce_t  *c;
    static uint8_t  copies[PACKETS_MAX][PACKET_MAX];

    c = tn_coalesce_create(write_frame, NULL);
    tn_coalesce_set_udp(c, udp);

    for (i = 0; i < npackets; i++) {
        memcpy(copies[i], packets[i], PACKET_MAX);

        if (tn_packet_parse(&p, copies[i], lengths[i]) != TN_OK) {
            ok(false, "packet %d is not well-formed", i);
            continue;
        }

        tn_coalesce_add(c, copies[i], &p);
    }

    tn_coalesce_flush(c);

    i = nframes;
    tn_coalesce_flush(c);

    if (i != nframes) {
        ok(false, "a flush wrote something again");
    }

    tn_coalesce_destroy(c);
}


/* cuts all frames again; true when the packets come out as they went in */
static bool
cuts_back(void)
{
    int  i;

    ncut = 0;

    for (i = 0; i < nframes; i++) {
        if (tn_split(&frames[i].vnet, frames[i].data, frames[i].len, emit_cut,
                     NULL)
            < 1)
        {
            return false;
        }
    }

    if (ncut != npackets) {
        return false;
    }

    for (i = 0; i < ncut; i++) {
        if (cut_lengths[i] != lengths[i]
            || memcmp(cut[i], packets[i], lengths[i]) != 0)
        {
            return false;
        }
    }

    return true;
}


/* the packet that follows */
static void
next(pkt_t *k)
{
    k->seq += (uint32_t) k->payload;
    k->content += (uint32_t) k->payload;
    k->id++;
}


static void
test_streams(void)
{
    int    version, proto, i;
    pkt_t  k;

    for (version = 4; version <= 6; version += 2) {
        for (proto = 6; proto <= 17; proto += 11) {
            begin();
            k = stream(version, proto);

            for (i = 0; i < 20; i++) {
                if (i == 19) {
                    k.payload = 100;
                    k.flags = 0x18;
                }

                add(&k);
                next(&k);
            }

            run(true);

            is_int(nframes, 1, "20 packets of a stream are one frame");
            is_int(frames[0].iovecs, 21, "of 21 pieces");
            is_int(frames[0].vnet.gso_size, 1228, "its segment size");
            is_int(frames[0].vnet.gso_type,
                   proto == 17 ? TN_VNET_GSO_UDP_L4
                   : version == 4 ? TN_VNET_GSO_TCPV4 : TN_VNET_GSO_TCPV6,
                   "its type");
            is_int(frames[0].vnet.hdr_len, (long) pkt_headers(&k),
                   "its headers");
            ok(cuts_back(), "cut again it gives the same packets");
        }
    }
}


static void
test_limits(void)
{
    int    i;
    pkt_t  k;

    begin();
    k = stream(4, 6);

    for (i = 0; i < 100; i++) {
        add(&k);
        next(&k);
    }

    run(true);
    is_int(nframes, 2, "a frame ends before 64 KB");
    ok(frames[0].len <= 65535 && frames[0].len > 64000, "and not much before");
    ok(cuts_back(), "100 packets cut again");

    begin();
    k = stream(6, 6);
    k.payload = 100;

    for (i = 0; i < 100; i++) {
        add(&k);
        next(&k);
    }

    run(true);
    is_int(nframes, 2, "a frame ends at its number of packets");
    is_int(frames[0].iovecs, 1 + TN_COALESCE_SEGMENTS, "which is full");
    ok(cuts_back(), "100 small packets cut again");

    begin();

    for (i = 0; i < 200; i++) {
        k = stream(4, 6);
        k.src_port = (uint16_t) (1000 + i);
        add(&k);
    }

    run(true);
    is_int(nframes, 200, "more flows than slots all come out");
    ok(cuts_back(), "in order");

    begin();

    for (i = 0; i < 300; i++) {
        k = stream(4, 6);
        k.src_port = (uint16_t) (1000 + i % 50);
        k.seq += (uint32_t) (i / 50 * 1228);
        k.content = (uint32_t) i * 7;
        add(&k);
    }

    run(true);
    is_int(nframes, 50, "50 flows, mixed, are 50 frames");
}


/* ways in which a second packet is not the first one's successor */
typedef enum {
    SAME = 0, GAP, REPEATED, ACK, WINDOW, TOS, TTL, LONGER, EMPTY, SYN, RST,
    URG, CWR, ECE, PORT, HOST, OPTIONS, OPTION_BYTES, NO_OPTIONS, DF,
    BAD_CHECKSUM, BAD_IP_CHECKSUM, FIRST_BAD, PSH_BEFORE, FIN_BEFORE,
    SHORT_BEFORE, IP_OPTIONS, ID_GAP, URGENT_POINTER, PSH_AFTER, FIN_AFTER,
    CWR_BEFORE, ID_GAP_DF, SYN_BEFORE, NO_ACK, AE, HOW_MANY
} change_t;

static const struct {
    change_t     change;
    int          frames4;       /* expected for TCP over IPv4, -1: no test */
    int          frames6;
    const char  *name;
} changes[] = {
    { SAME, 1, 1, "nothing" },
    { GAP, 2, 2, "a gap in the sequence" },
    { REPEATED, 2, 2, "a repetition" },
    { ACK, 2, 2, "acknowledgment" },
    { WINDOW, 2, 2, "window" },
    { TOS, 2, 2, "type of service" },
    { TTL, 2, 2, "TTL" },
    { LONGER, 2, 2, "more payload than the first" },
    { EMPTY, 2, 2, "no payload" },
    { SYN, 2, 2, "SYN" },
    { RST, 2, 2, "RST" },
    { URG, 2, 2, "URG" },
    { CWR, 2, 2, "CWR on the second" },
    { ECE, 2, 2, "ECE on the second" },
    { PORT, 2, 2, "port" },
    { HOST, 2, 2, "address" },
    { OPTIONS, 2, 2, "more options" },
    { OPTION_BYTES, 2, 2, "contents of options" },
    { NO_OPTIONS, 2, 2, "no options" },
    { DF, 2, -1, "DF" },
    { BAD_CHECKSUM, 2, 2, "checksum wrong" },
    { BAD_IP_CHECKSUM, 2, -1, "IPv4 checksum wrong" },
    { FIRST_BAD, 2, 2, "checksum of the first wrong" },
    { PSH_BEFORE, 2, 2, "PSH on the first" },
    { FIN_BEFORE, 2, 2, "FIN on the first" },
    { SHORT_BEFORE, 2, 2, "a short packet before" },
    { IP_OPTIONS, 2, -1, "IPv4 options" },
    { ID_GAP, 2, -1, "a gap in the identification, no DF" },
    { URGENT_POINTER, 2, 2, "urgent pointer" },
    { PSH_AFTER, 1, 1, "PSH on the last is" },
    { FIN_AFTER, 1, 1, "FIN on the last is" },
    { CWR_BEFORE, 1, 1, "CWR on the first is" },
    { ID_GAP_DF, 1, -1, "a gap in the identification with DF is" },
    { SYN_BEFORE, 2, 2, "SYN on the first" },
    { NO_ACK, 2, 2, "no ACK at all" },
    { AE, 2, 2, "AE on the second" }
};


static void
add_changed(int version, change_t change)
{
    pkt_t  k;

    k = stream(version, 6);

    k.flags = change == PSH_BEFORE ? 0x18 : change == FIN_BEFORE ? 0x11
              : change == CWR_BEFORE ? 0x90 : change == SYN_BEFORE ? 0x12
              : change == NO_ACK ? 0 : 0x10;
    k.df = change != ID_GAP;

    add(&k);
    next(&k);

    if (change == SHORT_BEFORE) {
        k.payload = 1000;
        add(&k);
        next(&k);
    }

    k.flags = change == NO_ACK ? 0 : 0x10;

    switch (change) {

    case GAP:
        k.seq++;
        break;

    case REPEATED:
        k.seq -= (uint32_t) k.payload;
        break;

    case ACK:
        k.ack++;
        break;

    case WINDOW:
        k.window++;
        break;

    case TOS:
        k.tos = 3;
        break;

    case TTL:
        k.ttl--;
        break;

    case LONGER:
        k.payload++;
        break;

    case EMPTY:
        k.payload = 0;
        break;

    case SYN:
        k.flags |= 0x02;
        break;

    case RST:
        k.flags |= 0x04;
        break;

    case URG:
        k.flags |= 0x20;
        break;

    case CWR:
        k.flags |= 0x80;
        break;

    case ECE:
        k.flags |= 0x40;
        break;

    case PORT:
        k.src_port++;
        break;

    case HOST:
        k.host++;
        break;

    case OPTIONS:
        k.tcp_options = 16;
        break;

    case NO_OPTIONS:
        k.tcp_options = 0;
        break;

    case DF:
        k.df = 0;
        break;

    case IP_OPTIONS:
        k.ip_options = 4;
        break;

    case ID_GAP:
    case ID_GAP_DF:
        k.id++;
        break;

    case PSH_AFTER:
        k.flags |= 0x08;
        break;

    case FIN_AFTER:
        k.flags |= 0x01;
        break;

    default:
        break;
    }

    add(&k);

    switch (change) {

    case OPTION_BYTES:
        packets[1][pkt_ip_len(&k) + 30] ^= 1;
        pkt_checksums(&k, packets[1]);
        break;

    case URGENT_POINTER:
        packets[1][pkt_ip_len(&k) + 19] ^= 1;
        pkt_checksums(&k, packets[1]);
        break;

    case AE:
        packets[1][pkt_ip_len(&k) + 12] ^= 1;
        pkt_checksums(&k, packets[1]);
        break;

    case BAD_CHECKSUM:
        packets[1][lengths[1] - 1] ^= 1;
        break;

    case BAD_IP_CHECKSUM:
        packets[1][10] ^= 1;
        break;

    case FIRST_BAD:
        packets[0][lengths[0] - 1] ^= 1;
        break;

    default:
        break;
    }
}


static void
test_changes(void)
{
    int     version, want, i;
    bool    same;
    size_t  n;

    for (version = 4; version <= 6; version += 2) {
        for (n = 0; n < tn_nelems(changes); n++) {
            want = version == 4 ? changes[n].frames4 : changes[n].frames6;

            if (want < 0) {
                continue;
            }

            begin();
            add_changed(version, changes[n].change);
            run(false);

            ok(nframes == want, "IPv%d, %s: %s", version,
               want == 1 ? "joined" : "not joined", changes[n].name);

            /* order is kept, and packets that stay alone are not touched */

            same = true;

            if (want == 2 && npackets == 2) {
                for (i = 0; i < 2; i++) {
                    same = same && frames[i].vnet.gso_type == 0
                           && frames[i].vnet.flags == 0
                           && frames[i].len == lengths[i]
                           && memcmp(frames[i].data, packets[i], lengths[i])
                              == 0;
                }
            }

            if (want == 1 && changes[n].change != ID_GAP_DF) {
                same = cuts_back();
            }

            ok(same, "and nothing is lost or reordered");
        }
    }
}


static void
test_udp(void)
{
    pkt_t  k;

    begin();
    k = stream(4, 17);
    add(&k);
    next(&k);
    add(&k);
    run(false);
    is_int(nframes, 2, "UDP is not joined unless the TUN can do it");

    begin();
    k = stream(4, 17);
    add(&k);
    packets[0][26] = 0;
    packets[0][27] = 0;
    next(&k);
    add(&k);
    packets[1][26] = 0;
    packets[1][27] = 0;
    run(true);
    is_int(nframes, 2, "UDP without checksum is not joined");

    begin();
    k = stream(4, 17);
    add(&k);
    next(&k);
    k.payload++;
    add(&k);
    run(true);
    is_int(nframes, 2, "UDP: longer than the first is not joined");

    begin();
    k = stream(4, 17);
    add(&k);
    next(&k);
    add(&k);
    packets[1][25]--;
    pkt_u16(packets[1] + 26, 0);
    run(true);
    is_int(nframes, 2, "UDP: a length that disagrees with IP's is not joined");

    begin();
    k = stream(6, 17);
    add(&k);
    next(&k);
    k.payload = 0;
    add(&k);
    next(&k);
    k.payload = 1228;
    add(&k);
    run(true);
    is_int(nframes, 3, "UDP: an empty packet stays alone, between the others");
    ok(cuts_back(), "in order");
}


static void
test_order(void)
{
    int    i;
    pkt_t  k, other;

    /* a pure ACK, another flow and a fragment between data of one flow */

    begin();
    k = stream(4, 6);
    add(&k);
    next(&k);
    add(&k);
    next(&k);

    other = k;
    other.payload = 0;
    add(&other);

    add(&k);
    next(&k);
    add(&k);
    next(&k);

    run(true);
    is_int(nframes, 3, "a pure ACK stands between two frames");
    ok(cuts_back(), "in order");

    begin();
    k = stream(4, 6);
    other = stream(4, 6);
    other.src_port = 80;

    for (i = 0; i < 5; i++) {
        add(&k);
        next(&k);
        add(&other);
        next(&other);
    }

    run(true);
    is_int(nframes, 2, "two flows, one packet each in turn, are two frames");

    begin();
    k = stream(4, 17);
    add(&k);
    next(&k);
    add(&k);
    packets[1][6] = 0x20;
    pkt_u16(packets[1] + 10, 0);
    next(&k);
    add(&k);
    run(true);
    is_int(nframes, 3, "a fragment ends the frames before it");
    ok(frames[1].len == lengths[1] && frames[1].vnet.gso_type == 0,
       "and stands in its place");

    /* padding behind the packet, as WireGuard leaves it */

    begin();
    k = stream(4, 6);
    add(&k);
    next(&k);
    add(&k);
    lengths[0] += 12;
    lengths[1] += 12;
    run(true);
    is_int(nframes, 1, "padding does not keep packets apart");
    is_int((long) frames[0].len, (long) (lengths[0] - 12 + 1228),
           "and is left out");
}


/* a frame of the kernel, cut and joined, is the same frame */
static void
test_round_trip(void)
{
    static const uint8_t  flags[] = { 0x10, 0x18, 0x19, 0xd0, 0x98 };

    int             version, proto, bad;
    size_t          f, len, at;
    pkt_t           k;
    tn_vnet_t       vnet;
    static uint8_t  frame[65536], copy[65536];

    for (version = 4; version <= 6; version += 2) {
        for (proto = 6; proto <= 17; proto += 11) {
            bad = 0;

            for (f = 0; f < tn_nelems(flags); f++) {
                for (at = 2; at < 50; at++) {
                    k = stream(version, proto);
                    k.flags = flags[f];
                    k.payload = at * 1200 - (at & 3) * 17;

                    len = pkt_build(&k, frame);
                    pkt_partial(&k, frame);
                    memcpy(copy, frame, len);

                    vnet = vnet_of(&k, 1200);

                    begin();
                    (void) tn_split(&vnet, copy, len, emit_cut, NULL);

                    for (npackets = 0; npackets < ncut; npackets++) {
                        memcpy(packets[npackets], cut[npackets], PACKET_MAX);
                        lengths[npackets] = cut_lengths[npackets];
                    }

                    run(true);

                    bad += nframes != 1
                           || frames[0].len != len
                           || memcmp(frames[0].data, frame, len) != 0
                           || memcmp(&frames[0].vnet, &vnet, sizeof(vnet))
                              != 0;
                }
            }

            ok(bad == 0, "IPv%d, protocol %d: frame -> packets -> frame",
               version, proto);
        }
    }
}


int
main(void)
{
    test_streams();
    test_limits();
    test_changes();
    test_udp();
    test_order();
    test_round_trip();

    return tap_done();
}
