
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Flows of UDP between peers and nginx: datagrams of any length, and where
 * they end.
 */

#include "run/tn_udpnet.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tap.h"


static int   nginx;             /* its end of the flow */
static int   frames;
static bool  closes;            /* while its datagram is handled */


static void
on_frame(void *data, uint8_t *frame, size_t len)
{
    (void) data;
    (void) frame;
    (void) len;

    frames++;

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

    tn_udpnet_destroy(net);
    tn_lwnet_table_free(table);
    tn_loop_done(&loop);

    return tap_done();
}
