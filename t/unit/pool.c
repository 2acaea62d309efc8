
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The store of a namespace's sockets and a holder that the test plays: the
 * channel between them lasts through answers for which there were no
 * descriptors and through times in which nobody reads it, and when it ends
 * another may follow at once.
 */

#include "run/tn_pool.h"

#include <stdlib.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tap.h"
#include "tap_log.h"


#define NEAR   20000            /* more messages than any channel holds */
#define TURNS  200


static tn_loop_t          loop;
static tn_pool_t         *pool;
static int                holder;       /* our end of the pool's channel */
static int                came;         /* to the one that waits */
static tn_pool_waiter_t   waiter;


static void
ready(tn_pool_waiter_t *w, int fd)
{
    (void) w;

    came = fd;
}


/* a message of this type from the pool, soon; NULL: it comes no more */
static tn_ipc_msg_t *
hear(tn_ipc_type_e type)
{
    int      i, fds[TN_IPC_FDS];
    size_t   n;
    tn_rc_t  rc;

    static tn_ipc_msg_t  msg;

    for (i = 0; i < TURNS; i++) {

        while ((rc = tn_ipc_recv(holder, &msg, fds, &n)) == TN_OK) {
            if (msg.head.type == type) {
                return &msg;
            }
        }

        if (rc != TN_AGAIN) {
            return NULL;
        }

        (void) tn_loop_turn(&loop, 5);
    }

    return NULL;
}


static void
answer(const tn_ipc_msg_t *msg, size_t n)
{
    int              fds[TN_IPC_FDS];
    size_t           i;
    tn_ipc_reply_t   reply;

    for (i = 0; i < n; i++) {
        fds[i] = socket(AF_INET, SOCK_STREAM|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
    }

    tn_ipc_init(&reply, TN_IPC_REPLY);
    reply.head.seq = msg->head.seq;
    reply.fds = n;
    (void) tn_ipc_send(holder, &reply, fds, n);
    tn_ipc_close(fds, n);
}


static void
test_no_descriptors(void)
{
    int             fd;
    tn_ipc_msg_t   *msg;
    struct rlimit   limit, few;

    came = -1;
    waiter.family = 4;
    waiter.proto = TN_IPC_TCP;
    waiter.ready = ready;
    tn_pool_wait(pool, &waiter);

    msg = hear(TN_IPC_HOLDER_SOCKETS);

    if (!ok(msg != NULL, "the holder is asked")) {
        return;
    }

    answer(msg, 8);

    /* room for one of them */

    fd = dup(STDIN_FILENO);
    close(fd);

    (void) getrlimit(RLIMIT_NOFILE, &limit);
    few = limit;
    few.rlim_cur = (rlim_t) fd + 1;
    (void) setrlimit(RLIMIT_NOFILE, &few);

    (void) tn_loop_turn(&loop, 5);

    (void) setrlimit(RLIMIT_NOFILE, &limit);

    is_int(came, -1, "an answer is lost");

    fd = dup(STDIN_FILENO);
    is_int(fd, (int) few.rlim_cur - 1, "and no descriptor");
    close(fd);

    msg = hear(TN_IPC_HOLDER_SOCKETS);

    if (!ok(msg != NULL, "the holder is asked again")) {
        return;
    }

    answer(msg, 1);
    (void) tn_loop_turn(&loop, 5);

    ok(came != -1, "who waited has a socket");
    tn_ipc_close(&came, 1);
}


static void
test_full(void)
{
    int            i;
    tn_ip_t        ips[2];
    tn_ipc_msg_t  *msg;

    memset(ips, 0, sizeof(ips));

    if (tn_ip_parse(&ips[0], "100.64.0.1", 10) != TN_OK) {
        abort();
    }

    for (i = 0; i < NEAR; i++) {
        tn_pool_near(pool, ips, true);
    }

    tn_pool_addresses(pool, ips, 1, 0);

    msg = hear(TN_IPC_HOLDER_ADDRS);

    ok(msg != NULL && msg->addrs.count == 1 && msg->addrs.services == 0
       && tn_ip_equal(&msg->addrs.ip[0], &ips[0]),
       "addresses come when there is room for them");
}


/* closes the channel, or has another take its place */
static void
test_end(bool another)
{
    int      pair[2];
    tn_ms_t  until;

    logged = 0;
    close(holder);
    (void) tn_loop_turn(&loop, 5);

    if (another) {
        if (tn_ipc_pair(pair) != TN_OK) {
            abort();
        }

        holder = pair[0];
        tn_pool_channel(pool, pair[1]);
    }

    until = tn_ipc_now() + 1500;

    while (tn_ipc_now() < until) {
        (void) tn_loop_turn(&loop, 20);
    }

    is_int(logged, another ? 0 : 1, another ? "a new channel is no news"
                                            : "the end of one is");
}


int
main(void)
{
    int  pair[2];

    logger.level = TN_LOG_WARN;

    if (tn_loop_init(&loop) != TN_OK || tn_ipc_pair(pair) != TN_OK) {
        abort();
    }

    holder = pair[0];
    pool = tn_pool_create(&loop, &logger);
    tn_pool_channel(pool, pair[1]);

    test_no_descriptors();
    test_full();
    test_end(true);
    test_end(false);

    tn_pool_destroy(pool);
    tn_loop_done(&loop);

    return tap_done();
}
