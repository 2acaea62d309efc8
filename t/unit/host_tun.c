
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The TUN reader and writer, on a pair of sockets that keep packets apart as
 * a TUN does, and on a real one where the test may have it.
 */

#include "host/tn_tun.h"

#include "own_network.h"
#include "tap.h"
#include "turns.h"

#include <arpa/inet.h>
#include <errno.h>
#include <linux/if_tun.h>
#include <linux/virtio_net.h>
#include <netinet/in.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>


typedef struct {
    int        packets;
    int        batches;
    int        in_batch;        /* packets since the last batch() */
    int        most;            /* of one batch */
    size_t     len;
    uint8_t    last[256];
    int        gone;
    int        err;
    tn_tun_t  *pause;           /* after the next packet */
} side_t;


static tn_loop_t  loop;


static void
on_packet(void *data, uint8_t *frame, size_t len)
{
    side_t  *side;

    side = data;
    side->packets++;
    side->in_batch++;
    side->len = len;
    memcpy(side->last, frame, tn_min(len, sizeof(side->last)));

    /* the room around it is ours */
    memset(frame - TN_TUN_HEADROOM, 0xaa, TN_TUN_HEADROOM);
    memset(frame + len, 0xbb, TN_TUN_HEADROOM);

    if (side->pause != NULL) {
        tn_tun_pause(side->pause, true);
        side->pause = NULL;
    }
}


static void
on_batch(void *data)
{
    side_t  *side;

    side = data;
    side->batches++;
    side->most = tn_max(side->most, side->in_batch);
    side->in_batch = 0;
}


static void
on_gone(void *data, int err)
{
    side_t  *side;

    side = data;
    side->gone++;
    side->err = err;
}


static const tn_tun_ops_t  ops = { on_packet, on_batch, on_gone };


static void
test_pair(void)
{
    int             i, fds[2];
    char            frame[1500];
    side_t          side;
    ssize_t         n;
    uint8_t         big[TN_TUN_HEADER_BYTES + TN_TUN_PACKET_BYTES];
    tn_tun_t       *tun;
    struct iovec    iov[2];
    tn_tun_stats_t  stats;

    enum { FRAMES = TN_TUN_READS + 12 };

    memset(&side, 0, sizeof(side_t));
    memset(frame, 'p', sizeof(frame));
    (void) socketpair(AF_UNIX, SOCK_SEQPACKET, 0, fds);

    i = 4 * 1024 * 1024;
    (void) setsockopt(fds[1], SOL_SOCKET, SO_SNDBUF, &i, sizeof(i));

    ok(tn_tun_create(&loop, -1, -1, &ops, &side) == NULL,
       "no descriptor, no TUN");

    tun = tn_tun_create(&loop, fds[0], -1, &ops, &side);
    ok(tun != NULL, "adopted");

    for (i = 0; i < FRAMES; i++) {
        (void) !write(fds[1], frame, 100 + (size_t) i);
    }

    (void) tn_loop_turn(&loop, 1000);
    is_int(side.packets, TN_TUN_READS, "a turn reads its share");
    is_int(side.batches, 1, "and ends its batch");

    (void) turn_for(&loop, 20);
    is_int(side.packets, FRAMES, "the next turns the rest");
    is_int(side.most, TN_TUN_READS, "never more at once");
    is_int((long long) side.len, 100 + FRAMES - 1,
           "packets keep their length");

    memset(big, 'b', sizeof(big));
    n = write(fds[1], big, sizeof(big));
    (void) turn_for(&loop, 20);
    ok(n == (ssize_t) sizeof(big) && side.len == sizeof(big),
       "the largest super-packet");

    /* shorter than its header: no packet */

    (void) !write(fds[1], frame, TN_TUN_HEADER_BYTES);
    (void) turn_for(&loop, 20);
    is_int(side.packets, FRAMES + 1, "a bare header is no packet");

    side.pause = tun;
    (void) !write(fds[1], frame, 50);
    (void) !write(fds[1], frame, 51);
    (void) turn_for(&loop, 30);
    is_int(side.packets, FRAMES + 2, "nothing after a pause");
    tn_tun_pause(tun, false);
    (void) turn_for(&loop, 20);
    is_int(side.packets, FRAMES + 3, "all after its end");

    stats = *tn_tun_stats(tun);
    is_int((long long) stats.rx_packets, FRAMES + 3, "counted");
    is_int((long long) stats.rx_bytes,
           FRAMES * 90 + FRAMES * (FRAMES - 1) / 2 + TN_TUN_PACKET_BYTES
           + 40 + 41, "bytes too");

    /* writing */

    iov[0].iov_base = frame;
    iov[0].iov_len = TN_TUN_HEADER_BYTES;
    iov[1].iov_base = big;
    iov[1].iov_len = 700;

    ok(tn_tun_write(tun, false, iov, 2) == TN_OK, "written");
    n = read(fds[1], big, sizeof(big));
    is_int(n, TN_TUN_HEADER_BYTES + 700, "as one");
    ok(big[0] == 'p' && big[TN_TUN_HEADER_BYTES] == 'b', "in order");

    for (i = 0; i < 100000; i++) {
        if (tn_tun_write(tun, false, iov, 2) != TN_OK) {
            break;
        }
    }

    ok(tn_tun_write(tun, false, iov, 2) == TN_AGAIN, "a full queue drops");
    stats = *tn_tun_stats(tun);
    is_int((long long) stats.tx_dropped, 2, "and counts");
    is_int((long long) stats.tx_packets, i + 1, "what was written as well");

    (void) close(fds[1]);
    (void) turn_for(&loop, 20);
    is_int(side.gone, 1, "its end is told once");
    ok(tn_tun_write(tun, false, iov, 2) == TN_ERROR, "no more writing");

    tn_tun_destroy(tun);
}


/* the first bytes of packets are the order in which they were sent */

static char  order[512];
static int   n_order;


static void
on_ordered(void *data, uint8_t *frame, size_t len)
{
    (void) data;
    (void) len;

    if (n_order < (int) sizeof(order)) {
        order[n_order++] = (char) frame[TN_TUN_HEADER_BYTES];
    }
}


static const tn_tun_ops_t  ordered = { on_ordered, on_batch, on_gone };


static void
put(int fd, char c, int n, size_t len)
{
    static char  frame[TN_TUN_HEADER_BYTES + TN_TUN_PACKET_BYTES];

    memset(frame, c, len);

    while (n--) {
        (void) !write(fd, frame, len);
    }
}


static const char *
took(void)
{
    static char  text[sizeof(order) + 1];

    n_order = 0;
    (void) tn_loop_turn(&loop, 1000);
    memcpy(text, order, (size_t) n_order);
    text[n_order] = '\0';

    return text;
}


static void
test_two(void)
{
    int            i, first[2], second[2];
    char           buf[64], expected[TN_TUN_READS + 2];
    side_t         side;
    tn_tun_t      *tun;
    struct iovec   iov[2];

    memset(&side, 0, sizeof(side));
    (void) socketpair(AF_UNIX, SOCK_SEQPACKET, 0, first);
    (void) socketpair(AF_UNIX, SOCK_SEQPACKET, 0, second);

    i = 4 * 1024 * 1024;
    (void) setsockopt(first[1], SOL_SOCKET, SO_SNDBUF, &i, sizeof(i));
    (void) setsockopt(second[1], SOL_SOCKET, SO_SNDBUF, &i, sizeof(i));

    tun = tn_tun_create(&loop, first[0], second[0], &ordered, &side);
    ok(tun != NULL && tn_tun_has_bulk(tun), "two queues");
    is_int(tn_tun_attach(first[0]), TN_ERROR, "of what is no TUN");

    put(second[1], 'b', 3, 100);
    put(first[1], 's', 3, 100);
    is_str(took(), "sssbbb", "the first one is first");

    put(second[1], 'b', 2, 100);
    is_str(took(), "bb", "the second alone");

    put(second[1], 'b', 40, 60000);
    is_str(took(), "bbbbbbbbb", "a turn has its share of bytes");
    put(first[1], 's', 1, 100);
    is_str(took(), "sbbbbbbbbb", "what comes between is not behind");

    while (*took() == 'b' && n_order == 9) { /* void */ }

    /* the second is not forgotten, but one that moved there waits */

    put(first[1], 's', TN_TUN_READS + 10, 100);
    put(second[1], 'b', 2, 100);
    memset(expected, 's', TN_TUN_READS);
    expected[TN_TUN_READS] = 'b';
    expected[TN_TUN_READS + 1] = '\0';
    is_str(took(), expected, "one of the second beside a flood in the first");
    is_str(took(), "ssssssssssb", "and the rest");

    put(first[1], 's', TN_TUN_READS + 3, 100);
    put(second[1], 'b', 2, 100);
    tn_tun_moved(tun);
    expected[TN_TUN_READS] = '\0';
    is_str(took(), expected, "none before a flow that moved");
    is_str(took(), "sssbb", "until all of it is read");

    tn_tun_moved(tun);

    for (i = 0; i < TN_TUN_RING; i += n_order) {
        put(first[1], 's', TN_TUN_READS + 1, 100);
        put(second[1], 'b', i == 0, 100);

        if (strchr(took(), 'b') != NULL) {
            break;
        }
    }

    ok(i >= TN_TUN_RING - TN_TUN_READS,
       "at most as many as a queue holds: %d", i);

    while (n_order != 0) {
        n_order = 0;
        (void) tn_loop_turn(&loop, 0);
    }

    memset(buf, 'w', sizeof(buf));
    iov[0].iov_base = buf;
    iov[0].iov_len = TN_TUN_HEADER_BYTES;
    iov[1].iov_base = buf;
    iov[1].iov_len = 20;
    ok(tn_tun_write(tun, true, iov, 2) == TN_OK
       && tn_tun_write(tun, false, iov, 1) == TN_OK, "written to both");
    is_int(read(second[1], buf, sizeof(buf)), TN_TUN_HEADER_BYTES + 20,
           "bulk to the second");
    is_int(read(first[1], buf, sizeof(buf)), TN_TUN_HEADER_BYTES,
           "the other to the first");

    tn_tun_pause(tun, true);
    put(first[1], 's', 1, 100);
    put(second[1], 'b', 1, 100);
    (void) turn_for(&loop, 20);
    is_int(n_order, 0, "a pause is one of both");
    tn_tun_pause(tun, false);
    (void) turn_for(&loop, 20);
    is_int(n_order, 2, "so is its end");

    (void) close(first[1]);
    (void) close(second[1]);
    (void) turn_for(&loop, 20);
    is_int(side.gone, 1, "the end is told once");

    tn_tun_destroy(tun);
}


static int
real_tun(const char *name, short flags)
{
    int           fd, size;
    struct ifreq  ifr;

    memset(&ifr, 0, sizeof(struct ifreq));
    (void) snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "%s", name);
    ifr.ifr_flags = (short) (IFF_TUN | IFF_NO_PI | IFF_VNET_HDR | flags);
    size = TN_TUN_HEADER_BYTES;

    fd = open("/dev/net/tun", O_RDWR | O_CLOEXEC);

    if (fd != -1 && (ioctl(fd, TUNSETIFF, &ifr) == -1
                     || ioctl(fd, TUNSETVNETHDRSZ, &size) == -1))
    {
        (void) close(fd);
        fd = -1;
    }

    return fd;
}


/* a UDP socket at an address and port 4000; *peer is another with that port */

static int
udp_between(uint32_t own, uint32_t other, struct sockaddr_in *peer)
{
    int  fd;

    memset(peer, 0, sizeof(struct sockaddr_in));
    peer->sin_family = AF_INET;
    peer->sin_port = htons(4000);
    peer->sin_addr.s_addr = htonl(own);

    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    (void) bind(fd, (struct sockaddr *) peer, sizeof(struct sockaddr_in));

    peer->sin_addr.s_addr = htonl(other);

    return fd;
}


static void
test_real(void)
{
    int                 fd, udp;
    char                got[64];
    side_t              side;
    ssize_t             n;
    uint8_t             frame[256];
    tn_tun_t           *tun;
    struct iovec        iov;
    struct sockaddr_in  sin;

    fd = own_network(0) ? real_tun("tnT", 0) : -1;

    if (fd == -1
        || system("ip addr add 10.9.9.1/24 dev tnT && ip link set tnT up")
           != 0)
    {
        ok(true, "a real TUN # SKIP none to be had here");
        return;
    }

    memset(&side, 0, sizeof(side_t));
    tun = tn_tun_create(&loop, fd, -1, &ops, &side);
    (void) turn_for(&loop, 30);    /* what IPv6 says of itself */
    side.packets = 0;

    udp = udp_between(0x0a090901, 0x0a090902, &sin);
    (void) sendto(udp, "from the stack", 14, 0, (struct sockaddr *) &sin,
                  sizeof(sin));

    for (n = 0; n < 100 && (side.packets == 0
                            || side.last[TN_TUN_HEADER_BYTES] >> 4 != 4); n++)
    {
        (void) tn_loop_turn(&loop, 20);
    }

    is_int((long long) side.len, TN_TUN_HEADER_BYTES + 20 + 8 + 14,
           "a packet of the stack");
    ok(memcmp(side.last + TN_TUN_HEADER_BYTES + 28, "from the stack", 14)
       == 0, "whole");

    /* turn it round: the addresses swapped, the checksums stay right */

    memcpy(frame, side.last, side.len);
    memset(frame, 0, TN_TUN_HEADER_BYTES);
    memcpy(frame + TN_TUN_HEADER_BYTES + 12,
           side.last + TN_TUN_HEADER_BYTES + 16, 4);
    memcpy(frame + TN_TUN_HEADER_BYTES + 16,
           side.last + TN_TUN_HEADER_BYTES + 12, 4);
    memset(frame + TN_TUN_HEADER_BYTES + 26, 0, 2);     /* no UDP checksum */

    iov.iov_base = frame;
    iov.iov_len = side.len;
    ok(tn_tun_write(tun, false, &iov, 1) == TN_OK, "a packet for the stack");

    (void) usleep(10000);
    n = recv(udp, got, sizeof(got), 0);
    ok(n == 14 && memcmp(got, "from the stack", 14) == 0, "arrives");

    iov.iov_len = TN_TUN_HEADER_BYTES - 1;
    ok(tn_tun_write(tun, false, &iov, 1) == TN_ERROR,
       "half a header is refused");
    is_int(errno, EINVAL, "with its error");

    /* down, and up again */

    side.packets = 0;
    (void) !system("ip link set tnT down");
    (void) turn_for(&loop, 100);
    is_int(side.gone, 0, "a device that is down is not gone");
    ok(side.batches < 1000, "and does not keep the loop busy");

    (void) !system("ip link set tnT up");

    for (n = 0; n < 100 && side.packets == 0; n++) {
        (void) turn_for(&loop, 20);
        (void) sendto(udp, "again", 5, 0, (struct sockaddr *) &sin,
                      sizeof(sin));
    }

    ok(side.packets > 0, "it is read when it is up again");

    (void) !system("ip link del tnT");
    (void) turn_for(&loop, 700);
    is_int(side.gone, 1, "a device that is deleted is gone");

    (void) close(udp);
    tn_tun_destroy(tun);
}


/* the kernel sends by the queue in which it got the flow's last packet */
static void
test_real_two(void)
{
    int                 fds[2], udp, i;
    char                cmd[128];
    side_t              side;
    uint8_t             frame[64];
    tn_tun_t           *tun;
    tn_loop_t          *l;
    struct ifreq        ifr;
    struct iovec        iov[2];
    struct pollfd       pfd;
    struct sockaddr_in  sin;

    l = &loop;
    fds[0] = real_tun("tnU", IFF_MULTI_QUEUE);
    fds[1] = fds[0] == -1 ? -1 : real_tun("tnU", IFF_MULTI_QUEUE);

    (void) snprintf(cmd, sizeof(cmd), "ip addr add 10.9.8.1/24 dev tnU && "
                    "ip link set tnU up");

    if (fds[1] == -1 || system(cmd) != 0) {
        ok(true, "two real queues # SKIP none to be had here");
        return;
    }

    memset(&ifr, 0, sizeof(ifr));
    ifr.ifr_flags = IFF_DETACH_QUEUE;
    is_int(ioctl(fds[1], TUNSETQUEUE, &ifr), 0, "detached, as it comes");
    is_int(tn_tun_attach(fds[1]), TN_OK, "attached");
    is_int(tn_tun_attach(fds[1]), TN_OK, "once more, as by the next core");

    memset(&side, 0, sizeof(side));
    tun = tn_tun_create(l, fds[0], fds[1], &ops, &side);
    ok(tun != NULL, "both read");

    udp = udp_between(0x0a090801, 0x0a090802, &sin);

    /* a packet from there to here, 4 bytes of UDP without checksum */

    memset(frame, 0, sizeof(frame));
    memcpy(frame + TN_TUN_HEADER_BYTES,
           "\x45\0\0\x20\0\0\0\0\x40\x11\x56\xb9"
           "\x0a\x09\x08\x02\x0a\x09\x08\x01"
           "\x0f\xa0\x0f\xa0\0\x0c\0\0data", 32);
    iov[0].iov_base = frame;
    iov[0].iov_len = TN_TUN_HEADER_BYTES;
    iov[1].iov_base = frame + TN_TUN_HEADER_BYTES;
    iov[1].iov_len = 32;

    tn_tun_pause(tun, true);

    for (i = 1; i >= 0; i--) {
        (void) tn_tun_write(tun, i == 1, iov, 2);

        while (read(fds[0], frame + 60, 1) > 0
               || read(fds[1], frame + 60, 1) > 0)
        {
            /* what IPv6 says of itself */
        }

        (void) sendto(udp, "answer", 6, 0, (struct sockaddr *) &sin,
                      sizeof(sin));
        pfd.fd = fds[i];
        pfd.events = POLLIN;
        ok(poll(&pfd, 1, 2000) == 1, "the stack answers by the %s",
           i ? "second" : "first");
    }

    (void) close(udp);
    tn_tun_destroy(tun);
}


int
main(void)
{
    /* a pair of sockets may raise it, a TUN does not */
    (void) signal(SIGPIPE, SIG_IGN);

    if (tn_loop_init(&loop) != TN_OK) {
        return 1;
    }

    test_pair();
    test_two();
    test_real();
    test_real_two();

    tn_loop_done(&loop);

    return tap_done();
}
