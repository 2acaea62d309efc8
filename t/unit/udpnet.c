
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Flows of UDP between peers and nginx: datagrams of any length, and where
 * they end.
 */

#include "data/tn_udpnet.h"
#include "stack/tn_dgram.h"
#include "stack/tn_vnet.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "tap.h"


static int          nginx;      /* its end of the flow */
static int          frames;
static bool         closes;     /* while its datagram is handled */
static tn_packet_t  last;       /* of the frames */


static void
on_frame(void *data, uint8_t *frame, size_t len)
{
    (void) data;

    frames++;
    (void) tn_packet_parse(&last, frame + sizeof(tn_vnet_t),
                           len - sizeof(tn_vnet_t));

    if (closes) {
        close(nginx);
        closes = false;
    }
}


static void
on_done(void *data)
{
    (void) data;
}


static const tn_udpnet_ops_t  ops = { on_frame, on_done };


static void
say(const char *text)
{
    if (send(nginx, text, strlen(text), MSG_NOSIGNAL)
        != (ssize_t) strlen(text))
    {
        abort();
    }
}


/* the peer's answer to the last frame, which nginx does not read */
static bool
answer(tn_udpnet_t *net)
{
    size_t       len;
    uint8_t      packet[TN_UDPNET_MTU] = { 0 };
    tn_addr_t    local, remote;
    tn_packet_t  p;

    local.ip = last.src;
    local.port = last.src_port;
    remote.ip = last.dst;
    remote.port = last.dst_port;

    len = tn_dgram_build(packet, sizeof(packet), &remote, &local, 3);

    return tn_packet_parse(&p, packet, len) == TN_OK
           && tn_udpnet_in(net, packet, &p, 0);
}


/* flows of a peer, one of each port, leave descriptors to the supervisor */
static void
test_scarce(tn_udpnet_t *net, tn_lwnet_table_t *table, const tn_ip_t *own,
    const tn_addr_t *peer)
{
    int                  i, n, fd, spare[100];
    size_t               len;
    uint8_t              packet[TN_UDPNET_MTU] = { 0 };
    tn_addr_t            local, remote;
    tn_packet_t          p;
    struct rlimit        limit, little;
    struct sockaddr_un   un;

    memset(&un, 0, sizeof(un));
    un.sun_family = AF_UNIX;
    fd = socket(AF_UNIX, SOCK_SEQPACKET, 0);

    if (fd == -1
        || bind(fd, (struct sockaddr *) &un, sizeof(un.sun_family)) == -1
        || listen(fd, 1024) == -1
        || tn_lwnet_table_listen(table, TN_IPC_UDP, 53, 4, 0, fd) != TN_OK
        || getrlimit(RLIMIT_NOFILE, &limit) == -1)
    {
        abort();
    }

    little = limit;
    little.rlim_cur = 256;
    (void) setrlimit(RLIMIT_NOFILE, &little);

    local.ip = *own;
    local.port = 53;
    remote = *peer;

    for (i = 0; i < 400; i++) {
        remote.port = (uint16_t) (1024 + i);
        len = tn_dgram_build(packet, sizeof(packet), &remote, &local, 3);

        if (tn_packet_parse(&p, packet, len) == TN_OK) {
            (void) tn_udpnet_in(net, packet, &p, 0);
        }
    }

    for (n = 0; n < 100; n++) {
        spare[n] = dup(fd);

        if (spare[n] == -1) {
            break;
        }
    }

    (void) setrlimit(RLIMIT_NOFILE, &limit);

    ok(tn_udpnet_count(net) > 100, "many flows");
    ok(n > 50, "and descriptors are left for all else");

    tn_ipc_close(spare, n);
    tn_lwnet_table_unlisten(table, TN_IPC_UDP, 53, 4, 0);
    close(fd);
}


int
main(void)
{
    tn_ip_t            own;
    tn_addr_t          to;
    tn_loop_t          loop;
    tn_udpnet_t       *net;
    tn_lwnet_table_t  *table;

    memset(&to, 0, sizeof(to));
    to.port = 53;

    table = tn_lwnet_table_create();

    if (tn_loop_init(&loop) != TN_OK || table == NULL
        || tn_ip_parse(&own, "100.64.0.1", 10) != TN_OK
        || tn_ip_parse(&to.ip, "100.64.0.2", 10) != TN_OK)
    {
        abort();
    }

    net = tn_udpnet_create(&loop, table, &ops, NULL, NULL);
    nginx = tn_udpnet_dial(net, &own, &to);

    say("one");
    say("");
    say("three");
    (void) tn_loop_turn(&loop, 10);
    is_int(frames, 3, "three datagrams, one of them empty");
    is_int((int) tn_udpnet_count(net), 1, "the flow stands");

    frames = 0;
    closes = true;
    say("last");
    (void) tn_loop_turn(&loop, 10);
    is_int(frames, 1, "the last one, and nothing behind it");
    (void) tn_loop_turn(&loop, 10);
    is_int((int) tn_udpnet_count(net), 0, "the flow has ended");
    is_int(frames, 1, "so it stays");

    nginx = tn_udpnet_dial(net, &own, &to);
    frames = 0;
    say("once more");
    close(nginx);
    (void) tn_loop_turn(&loop, 10);
    is_int(frames, 1, "one that was closed before it was looked at");
    is_int((int) tn_udpnet_count(net), 0, "has ended too");

    nginx = tn_udpnet_dial(net, &own, &to);
    say("question");
    (void) tn_loop_turn(&loop, 10);
    ok(answer(net), "an answer that nginx does not read");
    frames = 0;
    say("last");
    close(nginx);
    (void) tn_loop_turn(&loop, 10);
    is_int(frames, 1, "what it has sent goes out all the same");
    is_int((int) tn_udpnet_count(net), 0, "and the flow has ended");

    test_scarce(net, table, &own, &to);

    tn_udpnet_destroy(net);
    tn_lwnet_table_free(table);
    tn_loop_done(&loop);

    return tap_done();
}
