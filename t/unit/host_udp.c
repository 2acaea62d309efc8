
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * UDP over loopback: batches with and without UDP_SEGMENT and UDP_GRO, both
 * families, errors.
 */

#include "host/tn_udp.h"

#include "own_network.h"
#include "tap.h"
#include "tap_log.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdlib.h>
#include <unistd.h>


#define MAX_SEEN  4096


/* each datagram begins with its number, and is filled with its lowest byte */
typedef struct {
    uint32_t   number;
    size_t     len;
    tn_addr_t  from;
    bool       intact;
} seen_t;

typedef struct {
    tn_udp_t   *udp;
    seen_t      seen[MAX_SEEN];
    size_t      n;
    int         batches;
    int         unreachable;
    int         err;
    uint32_t    flow;           /* of what it sends */
    bool        after_batch;    /* a datagram without its batch() */
} side_t;


static tn_loop_t  loop;
static bool       alone;        /* in a network namespace of our own */


static void
on_received(void *data, const tn_addr_t *from, uint8_t *bytes, size_t len)
{
    size_t   i;
    side_t  *side;
    seen_t  *seen;

    side = data;

    if (side->n == MAX_SEEN) {
        return;
    }

    seen = &side->seen[side->n++];
    seen->len = len;
    seen->from = *from;
    seen->number = 0;
    seen->intact = true;

    if (len >= 4) {
        memcpy(&seen->number, bytes, 4);

        for (i = 4; i < len; i++) {
            seen->intact &= bytes[i] == (uint8_t) seen->number;
        }
    }

    side->after_batch = true;

    if (len > 0) {
        memset(bytes, 0, len);  /* ours to change */
    }
}


static void
on_batch(void *data)
{
    side_t  *side;

    side = data;
    side->batches++;
    side->after_batch = false;
}


static void
on_unreachable(void *data, const tn_addr_t *to, int err)
{
    side_t  *side;

    (void) to;

    side = data;
    side->unreachable++;
    side->err = err;
}


static const tn_udp_ops_t  ops = { on_received, on_batch, on_unreachable };


static void
side_open(side_t *side, bool v6)
{
    int      fd;
    tn_ip_t  ip;

    memset(side, 0, sizeof(side_t));
    side->udp = tn_udp_create(&loop, &ops, side, &logger);

    (void) tn_ip_parse(&ip, "127.0.0.1", 9);
    fd = tn_udp_socket(false, &ip, 0);

    if (side->udp == NULL || fd == -1
        || tn_udp_adopt(side->udp, fd) != TN_OK)
    {
        printf("Bail out! UDP: %s\n", strerror(errno));
        exit(1);
    }

    if (v6) {
        (void) tn_ip_parse(&ip, "::1", 3);
        fd = tn_udp_socket(true, &ip, 0);

        if (fd != -1) {
            (void) tn_udp_adopt(side->udp, fd);
        }
    }
}


static tn_addr_t
side_addr(const side_t *side, bool v6)
{
    tn_addr_t  addr;

    (void) tn_ip_parse(&addr.ip, v6 ? "::1" : "127.0.0.1", v6 ? 3 : 9);
    addr.port = tn_udp_port(side->udp, v6);

    return addr;
}


static bool
put(side_t *side, const tn_addr_t *to, uint32_t number, size_t len)
{
    uint8_t  *p;

    p = tn_udp_room(side->udp, to, len);

    if (p == NULL) {
        tn_udp_flush(side->udp);
        p = tn_udp_room(side->udp, to, len);
    }

    if (p == NULL) {
        return false;
    }

    memset(p, (uint8_t) number, len);
    memcpy(p, &number, tn_min(len, 4u));
    tn_udp_add(side->udp, side->flow);

    return true;
}


static void
settle(side_t *side, size_t n)
{
    tn_ms_t  end;

    end = tn_loop_clock_ms() + 10000;

    while (side->n < n && tn_loop_clock_ms() < end) {
        (void) tn_loop_turn(&loop, 50);
    }

    (void) tn_loop_turn(&loop, 0);
}


/* numbers from `first` on, in order, whole, of one length but the last */

static bool
in_order(const side_t *side, size_t n, uint32_t first, size_t len,
    size_t last_len)
{
    size_t  i;

    if (side->n != n) {
        printf("# %zu datagrams, expected %zu\n", side->n, n);
        return false;
    }

    for (i = 0; i < n; i++) {
        if (side->seen[i].number != first + i || !side->seen[i].intact
            || side->seen[i].len != (i == n - 1 ? last_len : len))
        {
            printf("# datagram %zu: number %u, length %zu, %s\n", i,
                   side->seen[i].number, side->seen[i].len,
                   side->seen[i].intact ? "intact" : "garbled");
            return false;
        }
    }

    return true;
}


static void
reset(side_t *side)
{
    side->n = 0;
    side->batches = 0;
    side->unreachable = 0;
}


static bool
kernel_has(int option)
{
    int        fd, value;
    bool       has;
    socklen_t  len;

    len = sizeof(value);
    fd = socket(AF_INET, SOCK_DGRAM, 0);
    has = getsockopt(fd, IPPROTO_UDP, option, &value, &len) == 0;
    (void) close(fd);

    return has;
}


static void
test_family(side_t *a, side_t *b, bool v6)
{
    const char             *name = v6 ? "IPv6" : "IPv4";
    uint32_t                i;
    tn_addr_t               to, from;
    tn_udp_stats_t          before;
    const tn_udp_stats_t   *stats;

    reset(a);
    reset(b);

    to = side_addr(b, v6);
    from = side_addr(a, v6);
    stats = tn_udp_stats(a->udp);

    ok(tn_udp_send(a->udp, &to, "\1\0\0\0\1\1", 6) == TN_OK,
       "%s: one datagram", name);
    settle(b, 1);
    ok(in_order(b, 1, 1, 6, 6), "%s: arrives", name);
    ok(tn_addr_equal(&b->seen[0].from, &from), "%s: from our port", name);

    ok(tn_udp_send(a->udp, &to, "", 0) == TN_OK, "%s: an empty one", name);
    settle(b, 2);
    is_int((long long) b->seen[1].len, 0, "arrives empty");

    /* 40 of one size, the last shorter: one message with UDP_SEGMENT */

    reset(b);
    before = *stats;

    for (i = 0; i < 40; i++) {
        (void) put(a, &to, 100 + i, i == 39 ? 700 : 1312);
    }

    is_int((long long) (stats->tx_calls - before.tx_calls), 0,
           "nothing leaves before the flush");
    tn_udp_flush(a->udp);
    settle(b, 40);
    ok(in_order(b, 40, 100, 1312, 700), "%s: a batch, in order", name);
    is_int((long long) (stats->tx_datagrams - before.tx_datagrams), 40,
           "all counted");
    ok(!b->after_batch && b->batches > 0, "%s: batch() comes last", name);

    if (kernel_has(UDP_SEGMENT)) {
        is_int((long long) (stats->tx_messages - before.tx_messages), 1,
               "as one message");
        ok(tn_udp_segments(a->udp, v6), "%s: segments work", name);

    } else {
        ok(true, "skipped: this kernel has no UDP_SEGMENT");
        ok(!tn_udp_segments(a->udp, v6), "%s: and that is known", name);
    }

    /* more than fits the buffer: flushed on the way */

    reset(b);

    for (i = 0; i < 200; i++) {
        if (!put(a, &to, i, 1200)) {
            break;
        }
    }

    tn_udp_flush(a->udp);
    settle(b, 200);
    ok(in_order(b, 200, 0, 1200, 1200), "%s: 200 in buffers of 64 KB", name);

    /* tiny ones: the limit is 64 datagrams of a message */

    reset(b);
    before = *stats;

    for (i = 0; i < 130; i++) {
        (void) put(a, &to, i, 8);
    }

    tn_udp_flush(a->udp);
    settle(b, 130);
    ok(in_order(b, 130, 0, 8, 8), "%s: 130 tiny ones", name);

    if (kernel_has(UDP_SEGMENT)) {
        is_int((long long) (stats->tx_messages - before.tx_messages), 3,
               "in messages of 64");
    }

    /* answers of 16 flows, each a full datagram and a rest: two messages */

    reset(b);
    before = *stats;

    for (i = 0; i < 32; i++) {
        a->flow = i / 2 << 26;
        (void) put(a, &to, i, i & 1 ? 100 : 1312);
    }

    tn_udp_flush(a->udp);
    settle(b, 32);
    is_int((long long) b->n, 32, "the answers of many flows arrive");

    for (i = 0; i < 32 && b->seen[i].intact
                && b->seen[i].number == (i < 16 ? 2 * i : 2 * i - 31); i++)
    {
        /* void */
    }

    is_int(i, 32, "the full ones first");

    if (kernel_has(UDP_SEGMENT)) {
        is_int((long long) (stats->tx_messages - before.tx_messages), 2,
               "as two messages");
    }

    /* the same of one flow: nothing may overtake, a rest ends its message */

    reset(b);
    before = *stats;

    a->flow = 7u << 26;

    for (i = 0; i < 32; i++) {
        (void) put(a, &to, i, i & 1 ? 100 : 1312);
    }

    a->flow = 0;

    tn_udp_flush(a->udp);
    settle(b, 32);

    for (i = 0; i < 32 && b->seen[i].number == i; i++) {
        /* void */
    }

    is_int(i, 32, "those of one flow arrive in order");

    if (kernel_has(UDP_SEGMENT)) {
        is_int((long long) (stats->tx_messages - before.tx_messages), 16,
               "a message for each");
    }

    /* more messages than a flush has */

    reset(b);

    for (i = 0; i < 200; i++) {
        (void) put(a, &to, i, 50 + i);
    }

    tn_udp_flush(a->udp);
    settle(b, 200);
    is_int((long long) b->n, 200, "200 of different sizes arrive");
    ok(b->seen[199].number == 199 && b->seen[0].number == 0, "in order");

    /* sizes that grow can share nothing */

    reset(b);

    for (i = 0; i < 10; i++) {
        (void) put(a, &to, i, 100 + i);
    }

    tn_udp_flush(a->udp);
    settle(b, 10);
    is_int((long long) b->n, 10, "growing sizes arrive");
    is_int((long long) b->seen[9].len, 109, "each with its own");

    /* room that is not added leaves no trace */

    reset(b);
    (void) put(a, &to, 7, 500);
    (void) tn_udp_room(a->udp, &to, 500);
    (void) tn_udp_room(a->udp, &from, 900);
    (void) put(a, &to, 8, 500);
    tn_udp_add(a->udp, 0);
    tn_udp_flush(a->udp);
    tn_udp_flush(a->udp);
    settle(b, 2);
    ok(in_order(b, 2, 7, 500, 500), "%s: rooms given back", name);

    ok(tn_udp_room(a->udp, &to, 0) == NULL, "no room for nothing");
    ok(tn_udp_room(a->udp, &to, TN_UDP_MAX_DATAGRAM + 1) == NULL,
       "none for too much");

    reset(b);
    ok(put(a, &to, 3, TN_UDP_MAX_DATAGRAM), "%s: the largest", name);
    tn_udp_flush(a->udp);
    settle(b, 1);
    ok(in_order(b, 1, 3, TN_UDP_MAX_DATAGRAM, TN_UDP_MAX_DATAGRAM),
       "%s: arrives", name);
}


static void
test_mixed(side_t *a, side_t *b)
{
    size_t     i, n[2], wrong;
    tn_addr_t  to4, to6, from6;

    to4 = side_addr(b, false);
    to6 = side_addr(b, true);
    from6 = side_addr(a, true);

    reset(b);

    for (i = 0; i < 30; i++) {
        (void) put(a, i % 3 ? &to4 : &to6, (uint32_t) i, 300);
    }

    tn_udp_flush(a->udp);
    settle(b, 30);

    n[0] = 0;
    n[1] = 0;
    wrong = 0;

    for (i = 0; i < b->n; i++) {
        n[tn_addr_equal(&b->seen[i].from, &from6)]++;
        wrong += !b->seen[i].intact || b->seen[i].len != 300;
    }

    is_int((long long) n[0], 20, "IPv4 of a mixed batch");
    is_int((long long) n[1], 10, "IPv6 of a mixed batch");
    is_int((long long) wrong, 0, "all intact");
}


static void
test_gro(side_t *a, side_t *b)
{
    size_t                  n;
    uint32_t                i;
    tn_addr_t               to;
    tn_udp_stats_t          before;
    const tn_udp_stats_t   *stats;

    if (!kernel_has(UDP_GRO) || !kernel_has(UDP_SEGMENT)) {
        ok(true, "merged receive # SKIP this kernel has no UDP_GRO");
        return;
    }

    to = side_addr(b, false);
    stats = tn_udp_stats(b->udp);
    before = *stats;
    reset(b);

    for (i = 0; i < 40; i++) {
        (void) put(a, &to, i, 1300);
    }

    tn_udp_flush(a->udp);
    settle(b, 40);

    n = stats->rx_messages - before.rx_messages;
    ok(n < 40, "datagrams are received merged (%zu messages)", n);
}


static void
test_errors(side_t *a)
{
    int        fd;
    tn_addr_t  to;
    tn_udp_t  *udp;

    (void) tn_ip_parse(&to.ip, "192.0.2.1", 9);
    to.port = 9;

    udp = tn_udp_create(&loop, &ops, a, &logger);
    ok(tn_udp_send(udp, &to, "x", 1) == TN_NOTFOUND,
       "no socket of that family");
    ok(tn_udp_room(udp, &to, 10) == NULL, "no room without it");

    fd = socket(AF_INET, SOCK_STREAM, 0);
    ok(tn_udp_adopt(udp, fd) == TN_ERROR, "TCP is not adopted");
    (void) close(fd);

    fd = socket(AF_UNIX, SOCK_DGRAM, 0);
    ok(tn_udp_adopt(udp, fd) == TN_ERROR, "nor is a UNIX socket");
    (void) close(fd);

    tn_udp_destroy(udp);

    if (!alone) {
        ok(true, "unreachable # SKIP no network namespace of our own");
        return;
    }

    reset(a);
    ok(tn_udp_send(a->udp, &to, "x", 1) == TN_ERROR, "a send without a route");
    is_int(a->unreachable, 1, "is told as unreachable");
    is_int(a->err, ENETUNREACH, "with its error");

    reset(a);
    (void) put(a, &to, 1, 100);
    (void) put(a, &to, 1, 100);
    tn_udp_flush(a->udp);
    is_int(a->unreachable, 1, "once for a message of a batch");
}


/*
 * A socket that does not checksum (SO_NO_CHECK) is refused UDP_SEGMENT, as is
 * a device that cannot.
 */

static void
test_fallback(side_t *b)
{
    int        fd, one;
    side_t    *a;
    uint32_t   i;
    tn_ip_t    ip;
    tn_addr_t  to;

    if (!kernel_has(UDP_SEGMENT)) {
        ok(true, "fallback # SKIP this kernel has no UDP_SEGMENT");
        return;
    }

    a = calloc(1, sizeof(side_t));
    if (a == NULL) {
        abort();
    }

    a->udp = tn_udp_create(&loop, &ops, a, &logger);

    (void) tn_ip_parse(&ip, "127.0.0.1", 9);
    fd = tn_udp_socket(false, &ip, 0);
    one = 1;
    (void) setsockopt(fd, SOL_SOCKET, SO_NO_CHECK, &one, sizeof(one));
    (void) tn_udp_adopt(a->udp, fd);

    to = side_addr(b, false);
    logged = 0;
    reset(b);

    for (i = 0; i < 20; i++) {
        (void) put(a, &to, i, i == 19 ? 11 : 1000);
    }

    tn_udp_flush(a->udp);
    settle(b, 20);
    ok(in_order(b, 20, 0, 1000, 11), "a refused message leaves one by one");
    ok(!tn_udp_segments(a->udp, false), "and no other is tried");
    is_int(logged, 1, "the log says so");

    reset(b);

    for (i = 0; i < 20; i++) {
        (void) put(a, &to, i, 1000);
    }

    tn_udp_flush(a->udp);
    settle(b, 20);
    ok(in_order(b, 20, 0, 1000, 1000), "the next batch arrives");
    is_int(logged, 1, "and is not logged");

    tn_udp_destroy(a->udp);
    free(a);
}


/*
 * A neighbour that does not answer: datagrams wait for its address in the
 * kernel and fill the socket's buffer.
 */

static void
test_full(void)
{
    int                     fd, size;
    side_t                 *a;
    uint32_t                i, again;
    tn_addr_t               to;
    const tn_udp_stats_t   *stats;

    if (!alone
        || system("ip link add tnA type veth peer name tnB"
                  " && ip addr add 10.9.9.1/24 dev tnA"
                  " && ip link set tnA up && ip link set tnB up")
           != 0)
    {
        ok(true, "a full socket # SKIP no veth pair of our own");
        return;
    }

    a = calloc(1, sizeof(side_t));
    if (a == NULL) {
        abort();
    }

    a->udp = tn_udp_create(&loop, &ops, a, &logger);

    fd = tn_udp_socket(false, NULL, 0);
    size = 4096;
    (void) setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));
    (void) tn_udp_adopt(a->udp, fd);

    (void) tn_ip_parse(&to.ip, "10.9.9.2", 8);
    to.port = 9;
    stats = tn_udp_stats(a->udp);
    again = 0;

    for (i = 0; i < 50; i++) {
        again += tn_udp_send(a->udp, &to, "x", 1) == TN_AGAIN;
        (void) put(a, &to, i, 100 + i);
    }

    tn_udp_flush(a->udp);

    ok(again > 0, "a full socket asks to try again (%u)", again);
    ok(stats->tx_dropped > again, "a batch drops and counts (%llu)",
       (unsigned long long) stats->tx_dropped);
    is_int((long long) (stats->tx_dropped + stats->tx_datagrams), 100,
           "all are accounted for");
    is_int(a->unreachable, 0, "and nobody is called unreachable");

    tn_udp_destroy(a->udp);
    free(a);
}


static void
test_sockets(void)
{
    int        fd, value;
    tn_ip_t    ip;
    socklen_t  len;

    (void) tn_ip_parse(&ip, "::1", 3);
    ok(tn_udp_socket(false, &ip, 0) == -1 && errno == EAFNOSUPPORT,
       "the address must be of the family");

    fd = tn_udp_socket(false, NULL, 0);
    ok(fd != -1, "any address, any port");

    len = sizeof(value);
    value = 0;
    (void) getsockopt(fd, SOL_SOCKET, SO_RCVBUF, &value, &len);

    if (geteuid() == 0) {
        ok(value >= TN_UDP_BUFFER_BYTES, "its buffer is large (%d)", value);
    } else {
        ok(value > 0, "its buffer is as large as it may be (%d)", value);
    }

    (void) close(fd);
}


int
main(void)
{
    bool      v6;
    side_t   *a, *b;

    alone = own_network(0);

    if (tn_loop_init(&loop) != TN_OK) {
        return 1;
    }

    a = calloc(1, sizeof(side_t));
    b = calloc(1, sizeof(side_t));

    if (a == NULL || b == NULL) {
        return 1;
    }

    side_open(a, true);
    side_open(b, true);
    v6 = tn_udp_port(b->udp, true) != 0;

    test_sockets();
    test_family(a, b, false);

    if (v6) {
        test_family(a, b, true);
        test_mixed(a, b);

    } else {
        ok(true, "IPv6 # SKIP there is no ::1 here");
    }

    test_gro(a, b);
    test_errors(a);
    test_fallback(b);
    test_full();

    tn_udp_drop(a->udp, false);
    is_int(tn_udp_port(a->udp, false), 0, "a dropped socket has no port");

    tn_udp_destroy(a->udp);
    tn_udp_destroy(b->udp);
    free(a);
    free(b);
    tn_loop_done(&loop);

    return tap_done();
}
