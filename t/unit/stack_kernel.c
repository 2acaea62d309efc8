
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Cutting and joining against the kernel itself: two network namespaces, a
 * TUN with offloads in each, and between them this program, which cuts what
 * it reads from one and joins it for the other.
 *
 *   [namespace 0: 100.64.0.1, fd7a::1] TUN <- this -> TUN [1: .2, ::2]
 *
 * Needs root; skipped otherwise.
 */

#include "tap.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <netinet/udp.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/tn_addr.h"
#include "stack/tn_stack.h"
#include "stack/tn_vnet.h"

#ifndef TUN_F_USO4
#define TUN_F_USO4  0x20
#define TUN_F_USO6  0x40
#endif

#ifndef UDP_SEGMENT
#define UDP_SEGMENT  103
#endif


#define BYTES     (32u << 20)   /* of each TCP stream */
#define DATAGRAM  1200
#define BURSTS    200           /* of 16 datagrams each */
#define BURST     16
#define SPACING   2048          /* room for one packet */
#define ROOM      (128 * SPACING)


typedef struct {
    int                   fd;
    bool                  uso;
    tn_stack_t           *stack;
    uint8_t               room[ROOM];   /* packets that wait in it */
    size_t                used;
    struct side_s        *other;
} side_base_t;

typedef struct side_s {
    side_base_t           b;
    atomic_uint           frames;
    atomic_uint           joined_tcp4;
    atomic_uint           joined_tcp6;
    atomic_uint           joined_udp;
    atomic_uint           refused;
    atomic_uint           malformed;
} side_t;

typedef struct {
    int                   family;
    int                   type;
    int                   fd;
    uint64_t              got;
    uint32_t              wrong;
} receiver_t;


static side_t       sides[2];
static atomic_bool  stop;


static uint8_t
content(uint64_t at)
{
    return (uint8_t) ((uint32_t) at * 2654435761u >> 24);
}


static int
run(const char *fmt, int n)
{
    char  command[512];

    (void) snprintf(command, sizeof(command), fmt, n, n, n, n);

    return system(command);
}


/* a namespace for the calling thread, with its TUN; false when not allowed */
static bool
open_side(int n)
{
    int           size;
    struct ifreq  ifr;

    if (unshare(CLONE_NEWNET) != 0) {
        return false;
    }

    sides[n].b.fd = open("/dev/net/tun", O_RDWR | O_NONBLOCK | O_CLOEXEC);

    if (sides[n].b.fd == -1) {
        return false;
    }

    memset(&ifr, 0, sizeof(ifr));
    strcpy(ifr.ifr_name, "tn0");
    ifr.ifr_flags = IFF_TUN | IFF_NO_PI | IFF_VNET_HDR;
    size = sizeof(tn_vnet_t);

    if (ioctl(sides[n].b.fd, TUNSETIFF, &ifr) != 0
        || ioctl(sides[n].b.fd, TUNSETVNETHDRSZ, &size) != 0)
    {
        return false;
    }

    sides[n].b.uso = ioctl(sides[n].b.fd, TUNSETOFFLOAD,
                           TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6
                           | TUN_F_TSO_ECN | TUN_F_USO4 | TUN_F_USO6)
                     == 0;

    if (!sides[n].b.uso
        && ioctl(sides[n].b.fd, TUNSETOFFLOAD,
                 TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN)
           != 0)
    {
        return false;
    }

    return run("ip link set lo up && ip link set tn0 mtu 1280 up"
               " && ip addr add 100.64.0.%d/24 dev tn0"
               " && ip addr add fd7a::%d/64 dev tn0 nodad", n + 1)
           == 0;
}


static void
write_frame(void *data, const struct iovec *iov, int n)
{
    side_t           *side;
    const tn_vnet_t  *vnet;

    side = data;
    vnet = iov[0].iov_base;

    if (writev(side->b.fd, iov, n) < 0) {
        side->refused += errno != EAGAIN;
        return;
    }

    side->joined_tcp4 += vnet->gso_type == TN_VNET_GSO_TCPV4;
    side->joined_tcp6 += vnet->gso_type == TN_VNET_GSO_TCPV6;
    side->joined_udp += vnet->gso_type == TN_VNET_GSO_UDP_L4;
}


/* a packet of one side goes to the other's stack */
static void
emit(void *data, uint8_t *packet, size_t len)
{
    uint8_t      *copy;
    side_base_t  *to;
    tn_packet_t   p;

    to = &((side_t *) data)->b.other->b;

    if (to->used + SPACING > ROOM) {
        to->stack->ops->flush(to->stack);
        to->used = 0;
    }

    copy = to->room + to->used;
    to->used += SPACING;
    memcpy(copy, packet, len);

    if (len > 1280 || tn_packet_parse(&p, copy, len) != TN_OK) {
        ((side_t *) to)->malformed++;
        return;
    }

    to->stack->ops->in(to->stack, copy, &p);
}


static void *
pump(void *data)
{
    int             i, budget;
    ssize_t         n;
    tn_stack_t     *stack;
    struct pollfd   fds[2];
    static uint8_t  frame[65536 + 64];

    (void) data;

    while (!stop) {
        for (i = 0; i < 2; i++) {
            fds[i].fd = sides[i].b.fd;
            fds[i].events = POLLIN;
        }

        (void) poll(fds, 2, 50);

        for (i = 0; i < 2; i++) {
            for (budget = 8; budget > 0; budget--) {
                n = read(sides[i].b.fd, frame, sizeof(frame));

                if (n <= 0) {
                    break;
                }

                sides[i].frames++;
                stack = sides[i].b.stack;
                sides[i].malformed += stack->ops->frame(stack, frame,
                                                        (size_t) n) < 0;
            }
        }

        for (i = 0; i < 2; i++) {
            sides[i].b.stack->ops->flush(sides[i].b.stack);
            sides[i].b.used = 0;
        }
    }

    return NULL;
}


static socklen_t
address(struct sockaddr_storage *ss, int family, uint16_t port)
{
    tn_addr_t  addr;

    (void) tn_ip_parse(&addr.ip, family == AF_INET ? "100.64.0.2" : "fd7a::2",
                       family == AF_INET ? 10 : 7);
    addr.port = port;

    return (socklen_t) tn_addr_to_sockaddr(&addr, ss);
}


static void *
receive(void *data)
{
    int          fd;
    ssize_t      n, i;
    uint64_t     at;
    receiver_t  *r;
    uint8_t      buf[65536];

    r = data;
    fd = r->type == SOCK_STREAM ? accept(r->fd, NULL, NULL) : r->fd;

    for ( ;; ) {
        n = recv(fd, buf, sizeof(buf), 0);

        if (n <= 0) {
            break;
        }

        /* a datagram begins with its own place in the stream */

        if (r->type == SOCK_DGRAM) {
            memcpy(&at, buf, sizeof(at));
            r->wrong += n != DATAGRAM;
            i = sizeof(at);

        } else {
            at = r->got;
            i = 0;
        }

        for ( /* void */ ; i < n; i++) {
            r->wrong += buf[i] != content(at + (uint64_t) i);
        }

        r->got += (uint64_t) n;
    }

    if (fd != r->fd) {
        (void) close(fd);
    }

    return NULL;
}


static void
open_receiver(receiver_t *r, int family, int type)
{
    int                      size;
    socklen_t                len;
    struct timeval           wait;
    struct sockaddr_storage  ss;

    memset(r, 0, sizeof(receiver_t));

    r->family = family;
    r->type = type;
    r->fd = socket(family, type | SOCK_CLOEXEC, 0);
    len = address(&ss, family, 5000);
    wait.tv_sec = 1;
    wait.tv_usec = 0;
    size = 8 << 20;

    (void) setsockopt(r->fd, SOL_SOCKET, SO_RCVBUFFORCE, &size,
                      sizeof(size));

    if (type == SOCK_DGRAM) {
        (void) setsockopt(r->fd, SOL_SOCKET, SO_RCVTIMEO, &wait,
                          sizeof(wait));
    }

    if (bind(r->fd, (struct sockaddr *) &ss, len) != 0
        || (type == SOCK_STREAM && listen(r->fd, 1) != 0))
    {
        r->wrong = 1;
    }
}


static void
send_stream(int fd)
{
    size_t   i;
    ssize_t  n;
    uint64_t at;
    uint8_t  buf[65536];

    for (at = 0; at < BYTES; at += (uint64_t) n) {

        for (i = 0; i < sizeof(buf); i++) {
            buf[i] = content(at + i);
        }

        n = send(fd, buf, tn_min(sizeof(buf), (size_t) (BYTES - at)),
                 MSG_NOSIGNAL);
        if (n <= 0) {
            break;
        }
    }
}


static void
send_datagrams(int fd)
{
    int       one, i, k;
    uint64_t  at;
    size_t    j;
    uint8_t   buf[BURST * DATAGRAM], *p;

    one = DATAGRAM;
    (void) setsockopt(fd, SOL_UDP, UDP_SEGMENT, &one, sizeof(one));

    for (i = 0; i < BURSTS; i++) {
        for (k = 0; k < BURST; k++) {
            p = buf + k * DATAGRAM;
            at = (uint64_t) (i * BURST + k) * DATAGRAM;
            memcpy(p, &at, sizeof(at));

            for (j = sizeof(at); j < DATAGRAM; j++) {
                p[j] = content(at + j);
            }
        }

        (void) send(fd, buf, sizeof(buf), MSG_NOSIGNAL);

        if (i % 10 == 9) {
            (void) usleep(5000);
        }
    }
}


static receiver_t  receivers[4];


static void *
side1(void *data)
{
    if (!open_side(1)) {
        return NULL;
    }

    open_receiver(&receivers[0], AF_INET, SOCK_STREAM);
    open_receiver(&receivers[1], AF_INET6, SOCK_STREAM);
    open_receiver(&receivers[2], AF_INET, SOCK_DGRAM);
    open_receiver(&receivers[3], AF_INET6, SOCK_DGRAM);

    *(bool *) data = true;

    return NULL;
}


/* runs in namespace 0; the receivers' sockets work from any thread */
static void
exchange(receiver_t *r)
{
    int                      fd;
    socklen_t                len;
    pthread_t                thread;
    struct sockaddr_storage  ss;

    (void) pthread_create(&thread, NULL, receive, r);

    fd = socket(r->family, r->type | SOCK_CLOEXEC, 0);
    len = address(&ss, r->family, 5000);

    if (connect(fd, (struct sockaddr *) &ss, len) != 0) {
        ok(false, "connect: %s", strerror(errno));
        (void) shutdown(r->fd, SHUT_RDWR);

    } else if (r->type == SOCK_STREAM) {
        send_stream(fd);

    } else {
        send_datagrams(fd);
    }

    (void) close(fd);
    (void) pthread_join(thread, NULL);
    (void) close(r->fd);
}


static void
test_kernel(void)
{
    int                i;
    pthread_t          thread;
    tn_stack_kernel_t  conf;

    for (i = 0; i < 2; i++) {
        conf.write = write_frame;
        conf.packet = emit;
        conf.data = &sides[i];
        conf.udp_offload = sides[i].b.uso;

        sides[i].b.other = &sides[1 - i];
        sides[i].b.stack = tn_stack_kernel_create(&conf);
    }

    is_str(sides[0].b.stack->ops->name, "kernel", "the kernel's stack");
    ok(sides[0].b.stack->ops->deadline(sides[0].b.stack) == TN_NEVER_MS,
       "has its own timers");

    (void) pthread_create(&thread, NULL, pump, NULL);

    exchange(&receivers[0]);
    is_int((long long) receivers[0].got, BYTES, "TCP over IPv4: all came");
    is_int(receivers[0].wrong, 0, "as it was sent");
    ok(sides[1].joined_tcp4 > 100, "in %u joined frames",
       sides[1].joined_tcp4);
    is_int(sides[0].joined_tcp4, 0, "no acknowledgment was joined");

    exchange(&receivers[1]);
    is_int((long long) receivers[1].got, BYTES, "TCP over IPv6: all came");
    is_int(receivers[1].wrong, 0, "as it was sent");
    ok(sides[1].joined_tcp6 > 100, "in %u joined frames",
       sides[1].joined_tcp6);

    exchange(&receivers[2]);
    is_int((long long) receivers[2].got, BURSTS * BURST * DATAGRAM,
           "UDP over IPv4: all came");
    is_int(receivers[2].wrong, 0, "as it was sent");

    exchange(&receivers[3]);
    is_int((long long) receivers[3].got, BURSTS * BURST * DATAGRAM,
           "UDP over IPv6: all came");
    is_int(receivers[3].wrong, 0, "as it was sent");

    if (sides[1].b.uso) {
        ok(sides[1].joined_udp > 100, "in %u joined frames",
           sides[1].joined_udp);

    } else {
        is_int(sides[1].joined_udp, 0, "not joined: this kernel cannot");
    }

    stop = true;
    (void) pthread_join(thread, NULL);

    for (i = 0; i < 2; i++) {
        is_int(sides[i].refused, 0, "the kernel refused no frame of ours");
        is_int(sides[i].malformed, 0, "and made none that we refuse");
        sides[i].b.stack->ops->destroy(sides[i].b.stack);
        (void) close(sides[i].b.fd);
    }

    ok(sides[0].frames * 4 < BYTES / 1220,
       "%u frames were read, far fewer than packets", sides[0].frames);
}


int
main(void)
{
    bool       good;
    pthread_t  thread;

    /* threads of one process, each in its own namespace, gone at the end */

    good = false;

    if (geteuid() != 0) {
        printf("1..0 # SKIP needs root\n");
        return 0;
    }

    (void) pthread_create(&thread, NULL, side1, &good);
    (void) pthread_join(thread, NULL);

    if (!good || !open_side(0)) {
        printf("1..0 # SKIP no namespaces or no /dev/net/tun here\n");
        return 0;
    }

    test_kernel();

    return tap_done();
}
