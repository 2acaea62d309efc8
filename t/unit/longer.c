
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Longer packets by DERP: whom they are sent to, how a frame is cut for that,
 * and that the receiver makes the same frame of them.
 */

#include "tap.h"

#include "vnets.h"
#include "path_world.h"
#include "stack/tn_coalesce.h"
#include "stack/tn_split.h"


#define LONGEST  32699
#define PIECES   64


static uint8_t    pieces[PIECES][LONGEST];
static size_t     lengths[PIECES];
static int        npieces;

static uint8_t    frames[PIECES][65536];
static size_t     frame_lengths[PIECES];
static tn_vnet_t  vnets[PIECES];
static int        nframes;


static void
on_piece(void *data, uint8_t *packet, size_t len)
{
    (void) data;

    if (npieces == PIECES || len > LONGEST) {
        abort();
    }

    memcpy(pieces[npieces], packet, len);
    lengths[npieces++] = len;
    memset(packet, 0xa5, len);
}


static void
on_frame(void *data, const struct iovec *iov, int n)
{
    int  i;

    (void) data;

    memcpy(&vnets[nframes], iov[0].iov_base, sizeof(tn_vnet_t));
    frame_lengths[nframes] = 0;

    for (i = 1; i < n; i++) {
        memcpy(frames[nframes] + frame_lengths[nframes], iov[i].iov_base,
               iov[i].iov_len);
        frame_lengths[nframes] += iov[i].iov_len;
    }

    nframes++;
}


/* what the receiver makes of pieces[] */
static void
join(void)
{
    int             i;
    tn_packet_t     p;
    tn_coalesce_t  *c;

    nframes = 0;
    c = tn_coalesce_create(on_frame, NULL);

    for (i = 0; i < npieces; i++) {
        if (tn_packet_parse(&p, pieces[i], lengths[i]) != TN_OK) {
            abort();
        }

        tn_coalesce_add(c, pieces[i], &p);
    }

    tn_coalesce_flush(c);
    tn_coalesce_destroy(c);
}


static void
test_round_trip(void)
{
    static const uint8_t  flags[] = { 0x10, 0x18, 0x19, 0xd0, 0x98 };

    int             version, bad, cut, i, want;
    size_t          f, n, mss, len, headers, per;
    pkt_t           k;
    tn_vnet_t       vnet;
    static uint8_t  frame[65536], copy[65536];

    for (version = 4; version <= 6; version += 2) {
        bad = 0;
        cut = 0;

        for (f = 0; f < tn_nelems(flags); f++) {
            for (n = 0; n < 53; n++) {
                k = stream(version, 6);
                headers = pkt_headers(&k);
                mss = 1280 - headers;
                k.flags = flags[f];
                k.payload = n * mss + (n % 3) * 100;

                len = pkt_build(&k, frame);
                pkt_partial(&k, frame);
                memcpy(copy, frame, len);
                vnet = vnet_of(&k, mss);

                npieces = 0;
                bad += tn_split_long(&vnet, copy, len, LONGEST, on_piece,
                                     NULL)
                       != npieces;

                /* whole segments, as many as fit; what is less goes alone */

                per = (LONGEST - headers) / mss;
                want = (int) ((n + per - 1) / per) + (n % 3 != 0);
                cut += npieces != tn_max(want, 1);

                for (i = 0; i < npieces; i++) {
                    cut += lengths[i] - headers > mss
                           && (lengths[i] - headers) % mss != 0;
                }

                if (n == 0 || (n == 1 && npieces == 1)) {
                    continue;
                }

                join();

                bad += nframes != 1
                       || frame_lengths[0] != len
                       || memcmp(frames[0], frame, len) != 0
                       || memcmp(&vnets[0], &vnet, sizeof(vnet)) != 0;
            }
        }

        ok(cut == 0, "IPv%d: cut into whole segments", version);
        ok(bad == 0, "and joined to the same frame");
    }
}


/* how many packets a frame of ten segments, of so many bytes each, becomes */
static long
pieces_of(int proto, size_t mss, size_t most)
{
    pkt_t           k;
    size_t          len;
    tn_vnet_t       vnet;
    static uint8_t  frame[65536];

    k = stream(4, proto);
    k.payload = 10 * mss;
    len = pkt_build(&k, frame);
    vnet = vnet_of(&k, mss);
    npieces = 0;

    return tn_split_long(&vnet, frame, len, most, on_piece, NULL);
}


static void
test_split(void)
{
    is_int(pieces_of(6, 1228, 52 + 2 * 1228 - 1), 10,
           "no two segments fit: cut as always");
    is_int(pieces_of(6, 1000, LONGEST), 10,
           "so are segments that are none of the MTU");
    is_int(pieces_of(17, 1228, LONGEST), 10, "datagrams are never joined");
}


/* one packet of so many bytes of payload */
static void
one(int version, int proto, size_t payload)
{
    pkt_t  k;

    k = stream(version, proto);
    k.payload = payload;
    lengths[0] = pkt_build(&k, pieces[0]);
    npieces = 1;
}


static void
test_join(void)
{
    pkt_t  k;

    one(4, 6, 3 * 1228);
    join();
    is_int(vnets[0].gso_type, TN_VNET_GSO_TCPV4, "a long packet is a frame");
    is_int(vnets[0].gso_size, 1228, "of segments of the MTU");

    one(6, 6, 3 * 1208);
    join();
    is_int(vnets[0].gso_type, TN_VNET_GSO_TCPV6, "of IPv6 too");
    is_int(vnets[0].gso_size, 1208, "of segments of the MTU");

    one(4, 6, 3 * 1228 + 1);
    join();
    is_int(vnets[0].gso_type, TN_VNET_GSO_NONE,
           "another length is a packet of its own");
    is_int(vnets[0].flags, 0, "with its own checksum");

    one(4, 6, 3 * 1228);
    pieces[0][2000] ^= 1;
    join();
    is_int(vnets[0].gso_type, TN_VNET_GSO_NONE,
           "so is one whose checksum is wrong");
    is_int(vnets[0].flags, 0, "and the kernel looks at it");

    one(4, 17, 3 * 1252);
    join();
    is_int(vnets[0].gso_type, TN_VNET_GSO_NONE, "and a datagram");

    /* behind a packet without payload, in one batch */

    one(4, 6, 0);
    k = stream(4, 6);
    k.payload = 3 * 1228;
    k.ack++;
    lengths[1] = pkt_build(&k, pieces[1]);
    npieces = 2;
    join();
    is_int(nframes, 2, "an ACK and a long packet are two frames");
    is_int(vnets[1].gso_size, 1228, "the second is long");

    /* behind one of another size */

    one(4, 6, 614);
    k = stream(4, 6);
    k.seq += 614;
    k.content += 614;
    k.payload = 1228;
    lengths[1] = pkt_build(&k, pieces[1]);
    npieces = 2;
    join();
    is_int(nframes, 2, "half a segment and a whole one are two frames");
    k.payload = 3 * 1228;
    lengths[1] = pkt_build(&k, pieces[1]);
    one(4, 6, 614);
    npieces = 2;
    join();
    is_int(nframes, 2, "half a segment and a long packet too");

    /* short, long, and another that is no multiple */

    k = stream(4, 6);
    npieces = 0;

    for (k.payload = 1228; npieces < 3; k.payload += npieces == 1 ? 1228 : 1) {
        lengths[npieces] = pkt_build(&k, pieces[npieces]);
        npieces++;
        k.seq += (uint32_t) k.payload;
        k.content += (uint32_t) k.payload;
    }

    join();
    is_int(nframes, 2, "what does not fit in begins another frame");
    is_int((long) frame_lengths[0], 52 + 3 * 1228,
           "a long packet continues one of short ones");
    is_int(vnets[0].gso_size, 1228, "of their size");
}


static tn_path_peer_t *
talk(world_t *world, tn_ms_t ms)
{
    node_t  *a;

    a = world->nodes[0];
    world_talk(world, a, world->nodes[1], ms, 100);

    return a->peers[1];
}


/* while much is sent */
static uint32_t
longest(tn_path_peer_t *peer, tn_ms_t now)
{
    tn_path_long_t  *longer;

    longer = &tn_path_member(peer)->longer;
    longer->region = peer->derp;
    longer->since = now;
    longer->rate = 1 << 20;

    return tn_path_longest(peer, now, 0);
}


/* the longest after a second in which so many bytes went each ms */
static uint32_t
at_rate(tn_path_peer_t *peer, tn_ms_t now, size_t bytes)
{
    tn_ms_t  end;

    for (end = now + 1000; now < end; now++) {
        (void) tn_path_longest(peer, now, bytes);
    }

    return tn_path_longest(peer, now, 0);
}


static world_t *
blocked(void)
{
    node_t   *a, *b;
    world_t  *world;

    world = world_pair(31, 1, NAT_BLOCKED, NAT_BLOCKED, &a, &b);

    return world;
}


static void
test_asked(void)
{
    world_t              *world;
    uint64_t              pings;
    tn_keypair_t          other;
    tn_path_peer_t       *peer;
    tn_path_peer_conf_t   conf;

    world = blocked();
    peer = talk(world, 20000);
    is_int(tn_path_kind(peer, world->now), TN_PATH_DERP, "by DERP");
    pings = tn_path_counters(world->nodes[0]->path)->pings_sent;
    is_int(tn_path_takes_long(peer), 0, "nothing is known");
    (void) at_rate(peer, world->now - 1000, 15000);
    is_int((long) tn_path_counters(world->nodes[0]->path)->pings_sent,
           (long) pings, "nor asked at 120 Mbit/s");
    (void) longest(peer, world->now);
    is_int((long) (tn_path_counters(world->nodes[0]->path)->pings_sent
                   - pings),
           1, "it is asked");
    (void) talk(world, 2000);
    is_int(longest(peer, world->now), LONGEST, "it takes them");
    is_int((long) (tn_path_counters(world->nodes[1]->path)->pongs_sent > 0),
           1, "by a pong");

    (void) talk(world, 29000);
    is_int(longest(peer, world->now), LONGEST,
           "as long as it is asked again");

    /* the relay does not carry them any more */

    world->regions[1].longest = 9000;
    (void) talk(world, 6000);
    is_int(longest(peer, world->now), LONGEST,
           "one ping may be lost");
    (void) talk(world, 6000);
    (void) longest(peer, world->now);
    (void) talk(world, 6000);
    is_int(longest(peer, world->now), 0, "three may not");
    world->regions[1].longest = 0;
    (void) talk(world, 6000);
    is_int(longest(peer, world->now), 0, "not at once again");
    (void) talk(world, 25000);
    (void) longest(peer, world->now);
    (void) talk(world, 1000);
    is_int(longest(peer, world->now), LONGEST, "but then");

    /* another process with that key */

    tn_curve_keypair(&other);
    conf = world_conf(world->nodes[1]);
    conf.disco_key = other.pub;
    is_int(tn_path_peer_update(peer, world->now, &conf), TN_OK,
           "another disco key");
    is_int(longest(peer, world->now), 0, "of which nothing is known");

    tn_path_member(peer)->longer.longest = LONGEST;
    tn_curve_keypair(&other);
    is_int(tn_path_peer_set_disco(peer, world->now, &other.pub), TN_OK,
           "and another, by its own word");
    is_int(longest(peer, world->now), 0, "which is as unknown");

    world_free(world);
}


/* upstream's pong has nothing behind it */
static void
test_upstream(void)
{
    world_t           *world;
    uint64_t           pings;
    tn_disco_msg_t     pong;
    tn_path_ping_t     ping;
    tn_path_peer_t    *peer;
    tn_path_member_t  *member;

    world = blocked();
    peer = talk(world, 20000);
    member = tn_path_member(peer);
    memset(&pong, 0, sizeof(pong));
    memset(&ping, 0, sizeof(ping));
    ping.region = 1;

    (void) longest(peer, world->now);
    tn_path_long_answer(member, world->now, &ping, &pong);
    pings = tn_path_counters(world->nodes[0]->path)->pings_sent;
    is_int(longest(peer, world->now + 500000), 0,
           "upstream does not say that it takes them");
    is_int((long) (tn_path_counters(world->nodes[0]->path)->pings_sent
                   - pings),
           0, "and is not asked again for minutes");
    (void) longest(peer, world->now + 600000);
    is_int((long) (tn_path_counters(world->nodes[0]->path)->pings_sent
                   - pings),
           1, "ten");

    pong.takes = 60000;
    tn_path_long_answer(member, world->now, &ping, &pong);
    is_int(member->longer.longest, LONGEST, "nobody is sent more than this");

    ping.region = 2;
    pong.takes = 0;
    tn_path_long_answer(member, world->now, &ping, &pong);
    is_int(member->longer.longest, LONGEST,
           "what came through another relay does not count");

    is_int(tn_path_long_takes(100), 0, "a short ping asks nothing");

    world_free(world);
}


static void
test_rate(void)
{
    uint32_t           fast;
    world_t           *world;
    tn_path_long_t    *longer;
    tn_path_peer_t    *peer;

    world = blocked();
    peer = talk(world, 20000);
    longer = &tn_path_member(peer)->longer;
    longer->region = peer->derp;
    longer->longest = LONGEST;

    is_int(at_rate(peer, world->now, 15000), 0, "120 Mbit/s: none");
    fast = at_rate(peer, world->now + 1000, 37500);
    ok(fast > 11000 && fast < 12000, "300 Mbit/s: %u", fast);
    is_int(at_rate(peer, world->now + 2000, 125000), LONGEST, "1 Gbit/s: all");
    is_int(tn_path_longest(peer, world->now + 60000, 0), 0,
           "after a pause none");
    ok(tn_path_takes_long(peer) == LONGEST,
       "though it would take them");

    world_free(world);
}


int
main(void)
{
    test_round_trip();
    test_split();
    test_join();
    test_asked();
    test_upstream();
    test_rate();

    return tap_done();
}
