
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Sockets that workers take in advance, from a pool whose holder the test
 * plays.
 */

#include "proc/tn_client.h"
#include "run/tn_dial.h"
#include "run/tn_stock.h"

#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tap.h"


static tn_loop_t   loop;
static tn_pool_t  *pool;
static int         holder;          /* our end of the pool's channel */
static char        dir[] = "/tmp/tn-stock-XXXXXX";


static tn_pool_t *
find(void *data, const char *node)
{
    (void) data;

    return strcmp(node, "home") == 0 ? pool : NULL;
}


static void
turns(int n)
{
    while (n--) {
        (void) tn_loop_turn(&loop, 2);
    }
}


/* answers one request of the pool; false when there is none */
static bool
give(size_t n)
{
    int             fds[TN_IPC_FDS];
    size_t          i, got;
    tn_ipc_msg_t    msg;
    tn_ipc_reply_t  reply;

    if (tn_ipc_recv(holder, &msg, fds, &got) != TN_OK) {
        return false;
    }

    for (i = 0; i < n; i++) {
        fds[i] = socket(msg.sockets.family == 4 ? AF_INET : AF_INET6,
                        SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
    }

    tn_ipc_init(&reply, TN_IPC_REPLY);
    reply.head.seq = msg.head.seq;
    reply.fds = n;
    (void) tn_ipc_send(holder, &reply, fds, n);
    tn_ipc_close(fds, n);
    turns(3);

    return true;
}


static tn_rc_t
take(int *fd, const char *node, unsigned count)
{
    tn_rc_t        rc;
    tn_ipc_take_t  msg;

    tn_ipc_init(&msg, TN_IPC_TAKE);
    snprintf(msg.node, sizeof(msg.node), "%s", node);
    msg.family = 4;
    msg.proto = TN_IPC_TCP;
    msg.count = count;

    rc = tn_client_take(dir, &msg, fd);
    turns(3);

    return rc;
}


/* how many came, -1: none yet, -2: closed */
static int
taken(int fd)
{
    int      sockets[TN_IPC_FDS];
    size_t   n;
    tn_rc_t  rc;

    rc = tn_client_taken(fd, sockets, &n);

    if (rc != TN_OK) {
        return rc == TN_AGAIN ? -1 : -2;
    }

    tn_ipc_close(sockets, n);

    return (int) n;
}


int
main(void)
{
    int            a, b, c, pair[2];
    char           path[64];
    tn_dial_t     *dial;
    tn_stock_t    *stock;
    tn_ipc_take_t  msg;

    if (mkdtemp(dir) == NULL || tn_loop_init(&loop) != TN_OK
        || tn_ipc_pair(pair) != TN_OK)
    {
        abort();
    }

    holder = pair[0];
    pool = tn_pool_create(&loop, NULL);
    tn_pool_channel(pool, pair[1]);

    dial = tn_dial_create(&loop, NULL, NULL, NULL);
    stock = tn_stock_create(&loop, find, NULL);
    tn_dial_takes(dial, tn_stock_take, stock);
    tn_dial_listen(dial, tn_ipc_bind(dir, TN_IPC_DIAL_SOCK, 0600, geteuid(),
                                     getegid(), 16));

    a = -1;
    b = -1;
    c = -1;

    is_int(take(&a, "home", 8), TN_OK, "asked");
    is_int(taken(a), -1, "an empty pool: waits");
    ok(give(20), "the holder is asked");
    is_int(taken(a), 1, "the first that comes");
    is_int(take(&a, "home", 8), TN_OK, "asked again, the same connection");
    is_int(taken(a), 8, "what was asked for");
    is_int(take(&b, "home", 32), TN_OK, "another worker");
    is_int(taken(b), 11, "what there is");
    is_int(take(&b, "home", 32), TN_OK, "more");
    is_int(taken(b), -1, "none yet");
    ok(give(32), "the holder is asked");
    is_int(taken(b), 1, "one");

    is_int(take(&c, "away", 8), TN_OK, "a node that gives none");
    is_int(taken(c), -2, "closed");
    close(c);

    /* two requests at a time, or none at all */

    c = -1;

    while (give(0)) {
        /* void */
    }

    (void) take(&c, "home", 32);
    (void) take(&c, "home", 32);
    ok(taken(c) >= 0, "served from what is left");
    (void) take(&c, "home", 32);
    (void) take(&c, "home", 32);

    while (taken(c) >= 0) {
        /* void */
    }

    is_int(taken(c), -2, "who does not wait for the answer is closed");
    close(c);

    tn_ipc_init(&msg, TN_IPC_TAKE);
    msg.count = TN_IPC_FDS + 1;
    is_int(tn_ipc_check((tn_ipc_msg_t *) &msg, sizeof(msg)), TN_MALFORMED,
           "more than a message holds");
    msg.count = 0;
    is_int(tn_ipc_check((tn_ipc_msg_t *) &msg, sizeof(msg)), TN_MALFORMED,
           "nothing");

    tn_stock_forget(stock, pool);
    is_int(taken(a), -2, "a pool that goes takes its workers along");
    is_int(taken(b), -2, "all of them");

    close(a);
    a = -1;
    (void) take(&a, "home", 4);
    tn_pool_destroy(pool);
    pool = NULL;
    (void) taken(a);
    is_int(taken(a), -2, "one that waits, too");

    close(a);
    close(b);
    close(holder);
    tn_dial_destroy(dial);
    tn_stock_destroy(stock);
    tn_loop_done(&loop);

    snprintf(path, sizeof(path), "%s/%s", dir, TN_IPC_DIAL_SOCK);
    (void) unlink(path);
    (void) rmdir(dir);

    return tap_done();
}
