
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the control thread says to the net of a data thread while that is at
 * the orders of before.
 */

#include "run/tn_lwnet.h"
#include "stack/tn_vnet.h"

#include "packets.h"
#include "tap.h"

#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>


static tn_loop_t          loop;
static tn_lwnet_table_t  *table;
static tn_lwnet_t        *net;

static int                nginx;        /* its listening socket */
static bool               listens;      /* on 8080, with the next frame */
static tn_packet_t        last;         /* that was sent */


static tn_ip_t
ip(const char *text)
{
    tn_ip_t  ip;

    (void) tn_ip_parse(&ip, text, strlen(text));

    return ip;
}


static void
frame(void *data, uint8_t *bytes, size_t len)
{
    (void) data;

    (void) tn_packet_parse(&last, bytes + sizeof(tn_vnet_t),
                           len - sizeof(tn_vnet_t));

    if (listens) {
        listens = false;
        (void) tn_lwnet_table_listen(table, TN_IPC_TCP, 8080, 4, 0, nginx);
    }
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


/* a SYN of 100.64.0.2 to 100.64.0.99, as a frame */
static void
opens(uint16_t port)
{
    pkt_t         k;
    uint8_t       packet[128];
    tn_vnet_t     vnet;
    struct iovec  iov[2];

    memset(&k, 0, sizeof(k));
    k.version = 4;
    k.proto = 6;
    k.ttl = 64;
    k.host = 2;
    k.src_port = 40000;
    k.dst_port = port;
    k.seq = 1000;
    k.window = 65535;
    k.flags = TN_TCP_SYN;

    memset(&vnet, 0, sizeof(vnet));
    memset(&last, 0, sizeof(last));

    iov[0].iov_base = &vnet;
    iov[0].iov_len = sizeof(vnet);
    iov[1].iov_base = packet;
    iov[1].iov_len = pkt_build(&k, packet);

    tn_lwnet_write(net, iov, 2);
    tn_lwnet_run(net);
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


int
main(void)
{
    tn_ip_t  own;

    table = tn_lwnet_table_create();
    nginx = listener();

    if (table == NULL || nginx == -1 || tn_loop_init(&loop) != TN_OK) {
        return 1;
    }

    own = ip("100.64.0.99");
    tn_lwnet_table_addresses(table, &own, 1);
    (void) tn_lwnet_table_listen(table, TN_IPC_TCP, 80, 4, 0, nginx);

    net = tn_lwnet_create(&loop, table, frame, done, NULL, NULL);
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

    tn_lwnet_destroy(net);
    tn_lwnet_table_free(table);
    (void) close(nginx);
    tn_loop_done(&loop);

    return tap_done();
}
