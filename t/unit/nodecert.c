
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What a worker of nginx is told of certificates, with the test in its place.
 */

#include "run/tn_nodecert.h"

#include "proc/tn_certclient.h"

#include <stdlib.h>
#include <sys/resource.h>

#include "tap.h"


#define PATIENCE_MS  20000


static tn_loop_t  loop;


/* one message within so long: how many certificates are in it, or -1 */
static int
told(int fd, tn_ms_t ms)
{
    size_t            n;
    tn_rc_t           rc;
    tn_ms_t           end;
    tn_chain_named_t  set[TN_CHAIN_SET_MAX];

    end = tn_ipc_now() + ms;

    do {
        (void) tn_loop_turn(&loop, 50);
        rc = tn_certclient_read(fd, set, &n);
    } while (rc == TN_AGAIN && tn_ipc_now() < end);

    return rc == TN_OK ? (int) n : -1;
}


int
main(void)
{
    int                 pair[2];
    tn_ipc_cert_t       msg;
    struct rlimit       limit, none;
    tn_nodecert_t      *nc;
    tn_certs_queue_t    queue;
    tn_nodecert_conf_t  conf;

    memset(&conf, 0, sizeof(conf));
    tn_certs_queue_init(&queue);
    conf.loop = &loop;
    conf.queue = &queue;

    if (tn_loop_init(&loop) != TN_OK || tn_ipc_pair(pair) != TN_OK
        || getrlimit(RLIMIT_NOFILE, &limit) != 0)
    {
        abort();
    }

    nc = tn_nodecert_create(&conf);
    tn_ipc_init(&msg, TN_IPC_CERT);
    tn_nodecert_take(nc, pair[0], &msg);

    none = limit;
    none.rlim_cur = 0;
    (void) setrlimit(RLIMIT_NOFILE, &none);

    is_int(told(pair[1], 200), -1, "without descriptors there is no set");

    (void) setrlimit(RLIMIT_NOFILE, &limit);

    is_int(told(pair[1], PATIENCE_MS), 0, "with some the worker gets it");
    is_int(told(pair[1], 200), -1, "once");

    tn_nodecert_destroy(nc);
    tn_loop_done(&loop);
    tn_ipc_close(&pair[1], 1);

    return tap_done();
}
