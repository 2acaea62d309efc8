
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the control thread says to the net of a data thread while that is at
 * the orders of before, and connections that nginx closes in two steps, while
 * their peers take nothing, or does not take itself.
 */

#include "data/tn_lwnet.h"
#include "stack/tn_vnet.h"

#include "addrs.h"
#include "packets.h"
#include "tap.h"

#include <fcntl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>


#define SOURCE   40000
#define WAITING  100        /* connections, more than nginx's queue has */
#define RETRIES  5


static tn_loop_t          loop;
static tn_lwnet_table_t  *table;
static tn_lwnet_t        *net;

static int                nginx;        /* its listening socket */
static bool               listens;      /* on 8080, with the next frame */
static tn_packet_t        last;         /* that was sent, */
static uint32_t           last_seq;     /* its number, if it is of TCP */
static uint32_t           last_end;     /* and that behind its bytes */
static uint16_t           window;       /* of the peer */
static uint16_t           source = SOURCE;      /* its port */
static size_t             n_resets;     /* that were sent */
static size_t             n_lines;      /* of the log, */
static tn_log_t           lines;        /* this one */


static void
frame(void *data, uint8_t *bytes, size_t len)
{
    (void) data;

    (void) tn_packet_parse(&last, bytes + sizeof(tn_vnet_t),
                           len - sizeof(tn_vnet_t));

    if (last.proto == TN_PROTO_TCP) {
        last_seq = tn_packet_u32(bytes + sizeof(tn_vnet_t) + last.header_len
                                 + 4);
        last_end = last_seq + last.total_len - last.data_offset;
        n_resets += (last.tcp_flags & TN_TCP_RST) && last.dst_port == SOURCE;
    }

    if (listens) {
        listens = false;
        (void) tn_lwnet_table_listen(table, TN_IPC_TCP, 8080, 4, 0, nginx);
    }
}


static void
line(tn_log_t *to, tn_log_level_e level, const char *text, size_t len)
{
    (void) to;
    (void) level;
    (void) text;
    (void) len;

    n_lines++;
}


static void
done(void *data)
{
    (void) data;
}


static void
turns(void)
{
    int  i;

    for (i = 0; i < 5; i++) {
        (void) tn_loop_turn(&loop, 0);
    }
}


static int
listener(void)
{
    int                 fd;
    struct sockaddr_un  any;

    memset(&any, 0, sizeof(any));
    any.sun_family = AF_UNIX;

    fd = socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0);

    /* of no name: the kernel gives one */

    return bind(fd, (struct sockaddr *) &any, sizeof(sa_family_t)) == 0
           && listen(fd, 8) == 0 ? fd : -1;
}


/* a segment of 100.64.0.2 */
static pkt_t
segment(uint16_t from, uint16_t port, uint8_t flags, uint32_t seq,
    uint32_t ack, size_t payload)
{
    pkt_t  k;

    memset(&k, 0, sizeof(k));
    k.version = 4;
    k.proto = 6;
    k.ttl = 64;
    k.host = 2;
    k.src_port = from;
    k.dst_port = port;
    k.seq = seq;
    k.ack = ack;
    k.window = window;
    k.flags = flags;
    k.payload = payload;

    return k;
}


/* one to 100.64.0.99, as a frame */
static void
sends(uint16_t port, uint8_t flags, uint32_t seq, uint32_t ack,
    size_t payload)
{
    pkt_t         k;
    uint8_t       packet[256];
    tn_vnet_t     vnet;
    struct iovec  iov[2];

    k = segment(source, port, flags, seq, ack, payload);

    memset(&vnet, 0, sizeof(vnet));
    memset(&last, 0, sizeof(last));

    iov[0].iov_base = &vnet;
    iov[0].iov_len = sizeof(vnet);
    iov[1].iov_base = packet;
    iov[1].iov_len = pkt_build(&k, packet);

    tn_lwnet_write(net, iov, 2);
    tn_lwnet_run(net);
}


/* the same from another port */
static void
sends_from(uint16_t from, uint16_t port, uint8_t flags, uint32_t seq,
    uint32_t ack, size_t payload)
{
    source = from;
    sends(port, flags, seq, ack, payload);
    source = SOURCE;
}


static void
opens(uint16_t port)
{
    sends(port, TN_TCP_SYN, 1000, 0, 0);
}


static void
dial(void)
{
    int            pair[2];
    tn_ip_t        to;
    tn_ipc_dial_t  request;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC, 0, pair) == -1) {
        ok(false, "a request");
        return;
    }

    memset(&request, 0, sizeof(request));
    request.proto = TN_IPC_TCP;
    request.port = 443;
    to = ip("100.64.0.2");

    memset(&last, 0, sizeof(last));
    tn_lwnet_table_dial(table, pair[0], &request, &to, 1);
    turns();
    ok(last.tcp_flags == TN_TCP_SYN && last.dst_port == 443, "a dial");
    (void) close(pair[1]);
}


/* nginx ends its direction, and closes when it has heard enough */
static void
half_closed(void)
{
    int       fd;
    uint8_t   bytes[256];
    uint32_t  ours;

    opens(80);
    ours = last_seq + 1;
    sends(80, TN_TCP_ACK, 1001, ours, 0);
    turns();
    fd = accept4(nginx, NULL, NULL, SOCK_CLOEXEC|SOCK_NONBLOCK);

    if (!ok(fd != -1, "a connection comes to nginx")) {
        return;
    }

    (void) shutdown(fd, SHUT_WR);
    turns();
    ok(last.tcp_flags & TN_TCP_FIN, "its end goes to the peer");

    sends(80, TN_TCP_ACK, 1001, ours + 1, 0);
    sends(80, TN_TCP_ACK, 1001, ours + 1, 100);
    turns();
    is_int(read(fd, bytes, sizeof(bytes)), 100,
           "what the peer sends goes on to nginx");

    (void) close(fd);
    turns();
    sends(80, TN_TCP_ACK, 1101, ours + 1, 100);
    ok(last.tcp_flags & TN_TCP_RST, "until nginx closes: then it is refused");
}


/* of the net's clock; its probes are answered, and nothing is taken */
static void
waits(tn_ms_t ms, uint32_t taken)
{
    tn_ms_t  end;

    for (end = loop.now + ms; loop.now < end; loop.now += 50) {
        tn_timers_run(&loop.timers, loop.now);

        if (loop.now % 5000 < 50 && n_resets == 0) {
            sends(80, TN_TCP_ACK, 1001, taken, 0);
        }
    }
}


/* nginx closes behind a response that is larger than what its peer takes */
static void
closed_behind(void)
{
    int             fd;
    size_t          n;
    uint32_t        ours, taken;
    static uint8_t  bytes[64 * 1024];

    opens(80);
    ours = last_seq + 1;
    sends(80, TN_TCP_ACK, 1001, ours, 0);
    turns();
    fd = accept4(nginx, NULL, NULL, SOCK_CLOEXEC|SOCK_NONBLOCK);

    for (n = 0; n < 100 && write(fd, bytes, sizeof(bytes)) > 0; n++) {
        turns();
    }

    ok(fd != -1 && n > 8 && n < 100, "a large response");

    window = 0;
    taken = last_end;
    sends(80, TN_TCP_ACK, 1001, taken, 0);
    (void) close(fd);
    turns();

    n_resets = 0;
    waits(150000, taken);
    is_int((long long) n_resets, 0, "closed, while its peer takes nothing");
    waits(100000, taken);
    is_int((long long) n_resets, 1, "that is not waited for for ever");
}


/* nginx's queue is full, and many wait for it */
static void
queue_full(void)
{
    int     fd;
    size_t  i, n;

    window = 65535;
    lines.level = TN_LOG_INFO;
    lines.write = line;

    for (i = 0; i < WAITING; i++) {
        sends_from((uint16_t) (SOURCE + 1 + i), 80, TN_TCP_SYN, 1000, 0, 0);
        sends_from((uint16_t) (SOURCE + 1 + i), 80, TN_TCP_ACK, 1001,
                   last_seq + 1, 0);
    }

    for (i = 0; i < RETRIES; i++) {
        loop.now += 20;
        tn_timers_run(&loop.timers, loop.now);
    }

    ok(n_lines != 0 && n_lines <= 1 + RETRIES,
       "nginx's queue is asked once for all that wait (%zu times)", n_lines);

    for (i = 0, n = 0; i < 10 * WAITING && n < WAITING; i++) {
        loop.now += 20;
        tn_timers_run(&loop.timers, loop.now);

        while ((fd = accept4(nginx, NULL, NULL, SOCK_CLOEXEC)) != -1) {
            (void) close(fd);
            n++;
        }
    }

    is_int((long long) n, WAITING, "and all of them come to it");
}


/* the same as sends(), to an address behind the node */
static void
passes(uint8_t flags, uint32_t seq, uint32_t ack, size_t payload, bool broken)
{
    pkt_t           k;
    size_t          len;
    tn_packet_t     p;
    static uint8_t  packet[65536];

    k = segment(SOURCE - 1, 443, flags, seq, ack, payload);
    len = pkt_build(&k, packet);
    memcpy(packet + 16, "\xc0\x00\x02\x01", 4);
    pkt_checksums(&k, packet);
    packet[len - 1] ^= broken;

    memset(&last, 0, sizeof(last));

    if (tn_packet_parse(&p, packet, len) == TN_OK) {
        tn_lwnet_in(net, packet, &p, true);
        tn_lwnet_run(net);
    }

    turns();
}


/* by DERP a node of ours sends several segments in one packet */
static void
long_captured(void)
{
    int             fd;
    uint32_t        ours;
    static uint8_t  bytes[65536];

    (void) tn_lwnet_table_listen(table, TN_IPC_TCP, 443, 4, TN_IPC_CAPTURE,
                                 nginx);
    turns();

    passes(TN_TCP_SYN, 1000, 0, 0, false);
    ours = last_seq + 1;
    passes(TN_TCP_ACK, 1001, ours, 0, false);
    fd = accept4(nginx, NULL, NULL, SOCK_CLOEXEC|SOCK_NONBLOCK);

    if (!ok(fd != -1, "a captured connection comes to nginx")) {
        return;
    }

    passes(TN_TCP_ACK, 1001, ours, 20 * 1240, false);
    is_int(read(fd, bytes, sizeof(bytes)), 20 * 1240,
           "with twenty segments in one packet");
    ok(last.tcp_flags & TN_TCP_ACK, "which is acknowledged at once");

    passes(TN_TCP_ACK, 1001 + 20 * 1240, ours, 20 * 1240, true);
    is_int(read(fd, bytes, sizeof(bytes)), -1,
           "but not with one that is broken");

    (void) close(fd);
    turns();
}


int
main(void)
{
    tn_ip_t  own;

    window = 65535;

    table = tn_lwnet_table_create();
    nginx = listener();

    if (table == NULL || nginx == -1 || tn_loop_init(&loop) != TN_OK
        || fcntl(nginx, F_SETFL, O_NONBLOCK) == -1)
    {
        return 1;
    }

    own = ip("100.64.0.99");
    tn_lwnet_table_addresses(table, &own, 1);
    (void) tn_lwnet_table_listen(table, TN_IPC_TCP, 80, 4, 0, nginx);

    net = tn_lwnet_create(&loop, table, frame, done, NULL, &lines);
    ok(net != NULL, "a net");
    turns();

    opens(80);
    is_int(last.tcp_flags, TN_TCP_SYN | TN_TCP_ACK, "a listener of before");

    opens(8080);
    ok(last.tcp_flags & TN_TCP_RST, "and where there is none");

    listens = true;
    dial();
    ok(!listens, "a listener is said while the dial begins");
    turns();
    opens(8080);
    is_int(last.tcp_flags, TN_TCP_SYN | TN_TCP_ACK, "and is there");

    half_closed();
    long_captured();

    /* by a clock of their own from now on */

    closed_behind();
    queue_full();

    tn_lwnet_destroy(net);
    tn_lwnet_table_free(table);
    (void) close(nginx);
    tn_loop_done(&loop);

    return tap_done();
}
