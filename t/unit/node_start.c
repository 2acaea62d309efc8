
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node whose data thread cannot be started, for want of a thread, is tried
 * again, with all that the supervisor gave it: nobody gives that twice.
 */

#include "crypto/tn_aead.h"
#include "host/tn_http.h"
#include "host/tn_resolve.h"
#include "run/tn_node.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tap.h"


#define WAIT_MS  30000


static bool  scarce;            /* no thread is to be had */
static int   refused;


int
pthread_create(pthread_t *thread, const pthread_attr_t *attr,
    void *(*run)(void *), void *arg)
{
    int  (*real)(pthread_t *, const pthread_attr_t *, void *(*)(void *),
                 void *);

    if (scarce) {
        refused++;
        return EAGAIN;
    }

    *(void **) &real = dlsym(RTLD_NEXT, "pthread_create");

    return real(thread, attr, run, arg);
}


static void
log_write(tn_log_t *log, tn_log_level_e level, const char *line, size_t len)
{
    (void) log;
    (void) level;

    printf("# %.*s\n", (int) len, line);
}


static void
on_near(void *data, tn_node_t *node, const tn_ip_t ips[2], bool near)
{
    (void) data;
    (void) node;
    (void) ips;
    (void) near;
}


static const tn_node_ops_t  ops = { .near = on_near };


/* whether somebody has the other end */
static bool
is_held(int fd)
{
    char  byte;

    return recv(fd, &byte, 1, MSG_DONTWAIT) == -1 && errno == EAGAIN;
}


int
main(void)
{
    int               tun[2];
    char              command[64], dir[] = "/tmp/tn-node-XXXXXX";
    uint8_t           disco[32];
    tn_ms_t           until;
    tn_log_t          log;
    tn_loop_t         loop;
    tn_node_t        *node;
    tn_ipc_node_t     conf;
    tn_node_conf_t    nc;
    tn_certs_queue_t  queue;

    log.level = TN_LOG_ERR;
    log.write = log_write;
    log.data = NULL;

    if (tn_crypto_init() != TN_OK || tn_loop_init(&loop) != TN_OK
        || mkdtemp(dir) == NULL || tn_ipc_pair(tun) != TN_OK)
    {
        abort();
    }

    memset(&conf, 0, sizeof(conf));
    memset(disco, 7, sizeof(disco));
    snprintf(conf.name, sizeof(conf.name), "home");
    snprintf(conf.state_dir, sizeof(conf.state_dir), "%s/state", dir);
    snprintf(conf.control_url, sizeof(conf.control_url),
             "http://127.0.0.1:1");
    conf.flags = TN_IPC_NO_PORT_MAP;

    tn_certs_queue_init(&queue);

    memset(&nc, 0, sizeof(nc));
    nc.ops = &ops;
    nc.loop = &loop;
    nc.resolver = tn_resolve_create(&loop);
    nc.http = tn_http_create(&loop, nc.resolver);
    nc.queue = &queue;
    nc.log = &log;
    nc.conf = &conf;
    nc.disco = disco;
    nc.tun = tun[1];
    nc.bulk = -1;
    nc.udp4 = -1;
    nc.udp6 = -1;
    nc.share = -1;

    scarce = true;
    node = tn_node_create(&nc);
    until = tn_ipc_now() + WAIT_MS;

    while (refused == 0 && tn_ipc_now() < until) {
        (void) tn_loop_turn(&loop, 100);
    }

    ok(refused != 0 && tn_node_data(node) == NULL, "no data thread");
    ok(is_held(tun[0]), "the TUN is kept");

    scarce = false;

    while (tn_node_data(node) == NULL && tn_ipc_now() < until) {
        (void) tn_loop_turn(&loop, 100);
    }

    ok(tn_node_data(node) != NULL, "it is tried again");
    ok(is_held(tun[0]), "with the TUN");

    tn_node_free(node);
    ok(!is_held(tun[0]), "which ends with the node");

    close(tun[0]);
    tn_http_destroy(nc.http);
    tn_resolve_destroy(nc.resolver);
    tn_loop_done(&loop);

    snprintf(command, sizeof(command), "rm -r %s", dir);

    return system(command) == 0 ? tap_done() : 1;
}
