
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Which pure ACKs of a batch are left out, and which never: each case is two
 * packets of a flow whose earlier acknowledgment the stack already has.
 */

#include "tap.h"

#include "packets.h"
#include "stack/tn_coalesce.h"
#include "stack/tn_thin.h"


#define PACKETS_MAX  256
#define PACKET_MAX   2048

#define EARLIER  0xfffffc00u    /* acknowledged; what follows wraps around */
#define FIN  0x01
#define SYN  0x02
#define RST  0x04
#define PSH  0x08
#define URG  0x20
#define ECE  0x40
#define CWR  0x80


typedef struct {
    pkt_t     k;
    bool      stamped;
    uint32_t  stamp;
    uint32_t  echo;
    unsigned  urgent;
    unsigned  reserved;         /* the low bits of TCP's octet 12 */
    bool      broken;           /* its checksum */
} seg_t;


static tn_coalesce_t  *c;
static uint8_t         packets[PACKETS_MAX][PACKET_MAX];
static unsigned        npackets;

static uint32_t        acks[PACKETS_MAX];       /* of the frames written */
static size_t          bytes[PACKETS_MAX];
static unsigned        nframes;


static void
write_frame(void *data, const struct iovec *iov, int n)
{
    int       i;
    size_t    len;
    uint8_t  *ip, *tcp;

    (void) data;

    len = 0;

    for (i = 1; i < n; i++) {
        len += iov[i].iov_len;
    }

    ip = iov[1].iov_base;
    tcp = ip + (ip[0] >> 4 == 4 ? (ip[0] & 15) * 4 : 40);

    acks[nframes] = (uint32_t) tcp[8] << 24 | (uint32_t) tcp[9] << 16
                    | (uint32_t) tcp[10] << 8 | tcp[11];
    bytes[nframes++] = len - (size_t) (tcp - ip) - (tcp[12] >> 4) * 4u;
}


static seg_t
seg(int version)
{
    seg_t  s;

    memset(&s, 0, sizeof(s));

    s.k.version = version;
    s.k.proto = 6;
    s.k.ttl = 64;
    s.k.df = 1;
    s.k.host = 1;
    s.k.tcp_options = 12;
    s.k.src_port = 50000;
    s.k.dst_port = 443;
    s.k.seq = 0xffffffff;
    s.k.ack = EARLIER;
    s.k.window = 500;
    s.k.flags = 0x10;
    s.stamped = true;
    s.stamp = 0xfffffffe;
    s.echo = 7000;

    return s;
}


static void
add(const seg_t *s)
{
    size_t       len;
    uint8_t     *packet, *tcp;
    tn_packet_t  p;

    packet = packets[npackets++];
    len = pkt_build(&s->k, packet);
    tcp = packet + pkt_ip_len(&s->k);

    tcp[12] |= (uint8_t) s->reserved;
    pkt_u16(tcp + 18, s->urgent);

    if (s->stamped) {
        memcpy(tcp + 20, "\1\1\10\12", 4);
        pkt_u32(tcp + 24, s->stamp);
        pkt_u32(tcp + 28, s->echo);
    }

    pkt_checksums(&s->k, packet);

    if (s->broken) {
        tcp[16] ^= 1;
    }

    if (tn_packet_parse(&p, packet, len) != TN_OK) {
        ok(false, "the packet is well-formed");
        return;
    }

    tn_coalesce_add(c, packet, &p);
}


static void
flush(void)
{
    nframes = 0;
    tn_coalesce_flush(c);
    npackets = 0;
}


/* a flow whose earlier acknowledgment is known */
static void
begin(int version)
{
    seg_t  s;

    c = tn_coalesce_create(write_frame, NULL);
    s = seg(version);
    add(&s);
    flush();
}


static void
end(void)
{
    tn_coalesce_destroy(c);
}


typedef enum {
    NOTHING = 0, ACK_1, ACK_SAME, ACK_OLD, ACK_FAR, ACK_LIMIT, PAYLOAD,
    PAYLOAD_SAME, PAYLOAD_OLD, SEQ, SEQ_PAYLOAD, WINDOW_LESS, WINDOW_MORE,
    FLAG_FIN, FLAG_PSH, FLAG_SYN, FLAG_RST, FLAG_URG, FLAG_ECE, FLAG_CWR,
    FLAG_NONE, URGENT, AE, CE, ECT, ECHO, STAMP, STAMP_BACK, UNSTAMPED,
    OPTIONS, SACK, BROKEN, PORT, HOST, IP_OPTIONS, BROKEN_PAYLOAD
} change_t;


static void
change(seg_t *s, change_t what)
{
    switch (what) {

    case NOTHING: break;
    case ACK_1: s->k.ack = EARLIER + 1001; break;
    case ACK_SAME: s->k.ack = EARLIER + 1000; break;
    case ACK_OLD: s->k.ack = EARLIER + 999; break;
    case ACK_LIMIT: s->k.ack = EARLIER + TN_THIN_MAX_BYTES; break;
    case ACK_FAR: s->k.ack = EARLIER + TN_THIN_MAX_BYTES + 1; break;
    case PAYLOAD: s->k.payload = 100; break;
    case PAYLOAD_SAME: s->k.payload = 100; change(s, ACK_SAME); break;
    case PAYLOAD_OLD: s->k.payload = 100; change(s, ACK_OLD); break;
    case SEQ: s->k.seq++; break;
    case SEQ_PAYLOAD: s->k.seq--; s->k.payload = 100; break;
    case WINDOW_LESS: s->k.window--; break;
    case WINDOW_MORE: s->k.window++; break;
    case FLAG_FIN: s->k.flags |= FIN; change(s, ACK_SAME); break;
    case FLAG_PSH: s->k.flags |= PSH; break;
    case FLAG_SYN: s->k.flags |= SYN; break;
    case FLAG_RST: s->k.flags |= RST; break;
    case FLAG_URG: s->k.flags |= URG; break;
    case FLAG_ECE: s->k.flags |= ECE; break;
    case FLAG_CWR: s->k.flags |= CWR; break;
    case FLAG_NONE: s->k.flags = 0; break;
    case URGENT: s->urgent = 1; break;
    case AE: s->reserved = 1; break;
    case CE: s->k.tos = 3; break;
    case ECT: s->k.tos = 2; break;
    case ECHO: s->echo++; break;
    case STAMP: s->stamp += 5; break;
    case STAMP_BACK: s->stamp--; break;
    case UNSTAMPED: s->k.tcp_options = 0; s->stamped = false; break;
    case OPTIONS: s->stamped = false; break;
    case SACK: s->k.tcp_options = 24; break;
    case BROKEN: s->broken = true; break;
    case BROKEN_PAYLOAD: change(s, PAYLOAD); s->broken = true; break;
    case PORT: s->k.src_port++; break;
    case HOST: s->k.host++; break;
    case IP_OPTIONS: s->k.ip_options = 4; break;
    }
}


/* what is wrong with the first, with the second, and how many are written */
static const struct {
    change_t     first;
    change_t     second;
    unsigned     frames;
    const char  *name;
} cases[] = {
    { NOTHING, NOTHING, 1, "an ACK of more" },
    { NOTHING, ACK_1, 1, "an ACK of one byte more" },
    { NOTHING, ACK_SAME, 2, "a duplicate" },
    { NOTHING, ACK_OLD, 2, "an older ACK" },
    { NOTHING, ACK_LIMIT, 1, "as much as one may tell" },
    { NOTHING, ACK_FAR, 2, "too much for one" },
    { NOTHING, PAYLOAD, 1, "data with more" },
    { NOTHING, PAYLOAD_SAME, 1, "data with the same number" },
    { NOTHING, PAYLOAD_OLD, 2, "data with an older number" },
    { NOTHING, SEQ, 2, "behind a gap" },
    { NOTHING, SEQ_PAYLOAD, 2, "data sent again" },
    { NOTHING, WINDOW_LESS, 2, "a smaller window" },
    { NOTHING, WINDOW_MORE, 1, "a bigger window" },
    { NOTHING, FLAG_FIN, 1, "FIN" },
    { NOTHING, FLAG_PSH, 1, "PSH" },
    { NOTHING, FLAG_SYN, 2, "SYN" },
    { NOTHING, FLAG_RST, 2, "RST" },
    { NOTHING, FLAG_URG, 2, "URG" },
    { NOTHING, FLAG_ECE, 2, "ECE" },
    { NOTHING, FLAG_CWR, 2, "CWR" },
    { NOTHING, FLAG_NONE, 2, "no ACK" },
    { NOTHING, URGENT, 2, "an urgent pointer" },
    { NOTHING, AE, 2, "AE" },
    { NOTHING, CE, 1, "CE, which stays" },
    { NOTHING, ECHO, 2, "another TSecr" },
    { NOTHING, STAMP, 1, "a later TSval" },
    { NOTHING, STAMP_BACK, 2, "an earlier TSval" },
    { NOTHING, UNSTAMPED, 2, "no timestamps" },
    { NOTHING, OPTIONS, 2, "other options" },
    { NOTHING, SACK, 2, "longer options" },
    { NOTHING, BROKEN, 2, "a wrong checksum" },
    { NOTHING, BROKEN_PAYLOAD, 2, "data with a wrong checksum" },
    { NOTHING, PORT, 2, "another port" },
    { NOTHING, HOST, 2, "another host" },
    { FLAG_FIN, NOTHING, 2, "more behind FIN" },
    { FLAG_SYN, NOTHING, 2, "more behind SYN" },
    { FLAG_RST, NOTHING, 2, "more behind RST" },
    { FLAG_PSH, NOTHING, 2, "more behind PSH" },
    { FLAG_URG, NOTHING, 2, "more behind URG" },
    { FLAG_ECE, NOTHING, 2, "more behind ECE" },
    { FLAG_CWR, NOTHING, 2, "more behind CWR" },
    { FLAG_NONE, NOTHING, 2, "more behind no ACK" },
    { URGENT, NOTHING, 2, "more behind an urgent pointer" },
    { AE, NOTHING, 2, "more behind AE" },
    { CE, NOTHING, 2, "more behind CE" },
    { ECT, NOTHING, 1, "more behind ECT" },
    { PAYLOAD, NOTHING, 2, "more behind data" },
    { UNSTAMPED, NOTHING, 2, "timestamps behind none" },
    { UNSTAMPED, UNSTAMPED, 1, "none in both" },
    { OPTIONS, OPTIONS, 2, "the same other options in both" },
    { SACK, SACK, 2, "the same longer options in both" },
    { BROKEN, NOTHING, 1, "more behind a wrong checksum" },
    { IP_OPTIONS, NOTHING, 2, "more behind IPv4 options" },
    { NOTHING, IP_OPTIONS, 2, "IPv4 options" },
};


static void
test_cases(void)
{
    int       version;
    size_t    i;
    seg_t     first, second;

    for (version = 4; version <= 6; version += 2) {
        for (i = 0; i < sizeof(cases) / sizeof(cases[0]); i++) {

            if (version == 6 && (cases[i].first == IP_OPTIONS
                                 || cases[i].second == IP_OPTIONS))
            {
                continue;
            }

            begin(version);

            first = seg(version);
            first.k.ack = EARLIER + 1000;
            change(&first, cases[i].first);
            second = seg(version);
            second.k.ack = EARLIER + 2000;
            change(&second, cases[i].second);

            add(&first);
            add(&second);
            flush();

            ok(nframes == cases[i].frames
               && acks[nframes - 1] == second.k.ack
               && bytes[nframes - 1] == second.k.payload
               && (nframes == 1 || acks[0] == first.k.ack),
               "IPv%d, %s: %u frames", version, cases[i].name, nframes);

            end();
        }
    }
}


static void
test_what_is_news(void)
{
    seg_t  s;

    c = tn_coalesce_create(write_frame, NULL);
    s = seg(4);
    s.k.ack = 1000;
    add(&s);
    s.k.ack = 2000;
    add(&s);
    s.k.ack = 3000;
    add(&s);
    flush();
    is_int(nframes, 2, "the first of a flow that is not known stays");
    ok(acks[0] == 1000 && acks[1] == 3000, "and is the first");

    add(&s);
    s.k.ack = 4000;
    add(&s);
    flush();
    is_int(nframes, 2, "a duplicate of a former batch's stays");

    s.k.ack = 5000;
    add(&s);
    add(&s);
    add(&s);
    s.k.ack = 6000;
    add(&s);
    flush();
    is_int(nframes, 4, "so do duplicates in the batch, and their first");

    s.k.ack = 5500;
    add(&s);
    s.k.ack = 7000;
    add(&s);
    flush();
    is_int(nframes, 2, "what comes late stays");

    s.k.payload = 10;
    s.k.ack = 8000;
    add(&s);
    s.k.payload = 0;
    s.k.seq += 10;
    add(&s);
    s.k.ack = 9000;
    add(&s);
    flush();
    is_int(nframes, 3, "a number that data had is no news");

    s.k.ack = 10000;
    add(&s);
    s.k.payload = 20;
    s.k.flags |= PSH;
    add(&s);
    flush();
    is_int(nframes, 1, "a request takes the place of the ACK before it");
    ok(acks[0] == 10000 && bytes[0] == 20, "whole");

    end();
}


/* an opening: the ACK of our SYN, and the first data */
static void
test_opening(void)
{
    seg_t  s;

    c = tn_coalesce_create(write_frame, NULL);

    s = seg(6);
    s.k.flags = SYN;
    s.k.ack = 0;
    s.k.seq--;
    add(&s);
    flush();

    s = seg(6);
    add(&s);
    s.k.payload = 500;
    add(&s);
    s.k.payload = 500;
    s.k.seq += 500;
    add(&s);
    flush();

    is_int(nframes, 1, "data behind the ACK that opens are one frame");
    is_int((long) bytes[0], 1000, "and both in it");

    end();
}


static void
test_rows(void)
{
    bool      good;
    seg_t     s;
    unsigned  i;

    const unsigned  each = TN_THIN_MAX_BYTES / 60000;

    begin(4);
    s = seg(4);

    for (i = 0; i < 100; i++) {
        s.k.ack += 1228;
        add(&s);
    }

    flush();
    is_int(nframes, 1, "100 ACKs are one");
    ok(acks[0] == s.k.ack, "the last");

    for (i = 0; i < 100; i++) {
        s.k.ack += 60000;
        add(&s);
    }

    flush();
    is_int(nframes, (100 + each - 1) / each,
           "ACKs of a great deal are several");
    ok(acks[nframes - 1] == s.k.ack, "up to the last");

    for (i = 0; i < 32; i++) {
        s = seg(4);
        s.k.src_port = (uint16_t) (40000 + 2 * i);
        add(&s);
    }

    flush();

    for (i = 0; i < 32 * 5; i++) {
        s = seg(4);
        s.k.src_port = (uint16_t) (40000 + 2 * (i % 32));
        s.k.ack += 1228 * (i / 32 + 1);
        s.k.payload = i / 32 == 4 ? 100 : 0;
        add(&s);
    }

    flush();
    is_int(nframes, 32, "32 flows in turn are 32 frames");

    for (i = 0, good = true; i < nframes; i++) {
        good = good && bytes[i] == 100 && acks[i] == EARLIER + 1228 * 5;
    }

    ok(good, "with the data of each");
    end();
}


int
main(void)
{
    test_cases();
    test_what_is_news();
    test_opening();
    test_rows();

    return tap_done();
}
