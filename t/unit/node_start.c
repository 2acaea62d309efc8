
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node whose data thread cannot be started, for want of a thread, is tried
 * again, with all that the supervisor gave it: nobody gives that twice.  So is
 * one with the netmap of the last run; and one that is logged out meanwhile
 * has none to stop.
 */

#include "control/tn_netmap_dump.h"
#include "crypto/tn_aead.h"
#include "crypto/tn_curve.h"
#include "host/tn_http.h"
#include "host/tn_resolve.h"
#include "run/tn_node.h"
#include "run/tn_nodestate.h"

#include <dlfcn.h>
#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tap.h"
#include "tap_log.h"


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


static void
on_left(void *data, const char *error)
{
    *(int *) data = error == NULL ? 1 : -1;
}


/* what the last run has left */
static void
keep(const char *dir, const char *url)
{
    size_t                len;
    uint8_t              *bytes;
    tn_netmap_t          *netmap;
    tn_nodestate_t       *state;
    tn_state_error_t      error;
    tn_control_saved_t    saved;
    tn_netmap_changes_t   changes;

    static const char  map[] =
        "{\"Node\":{\"ID\":1,\"Key\":\"nodekey:"
        "1111111111111111111111111111111111111111111111111111111111111111\","
        "\"Name\":\"a.test.\",\"MachineAuthorized\":true,"
        "\"Addresses\":[\"100.64.0.1/32\"]}}";

    memset(&saved, 0, sizeof(saved));
    tn_curve_keypair(&saved.machine);
    tn_curve_keypair(&saved.node);
    saved.registered = true;

    netmap = tn_netmap_create(&logger);

    if (netmap == NULL
        || tn_netmap_apply(netmap, map, sizeof(map) - 1, 0, &changes) != TN_OK
        || tn_netmap_pack(netmap, &saved.node.pub, 0, 0, &bytes, &len)
           != TN_OK
        || tn_nodestate_open(&state, dir, &error) != TN_OK
        || tn_nodestate_save(state, url, &saved, &error) != TN_OK
        || tn_nodestate_keep_netmap(state, bytes, len, &error) != TN_OK)
    {
        abort();
    }

    tn_netmap_changes_done(&changes);
    tn_netmap_destroy(netmap);
    tn_nodestate_close(state);
    free(bytes);
}


int
main(void)
{
    int               left;
    int               tun[2];
    char              command[64], dir[] = "/tmp/tn-node-XXXXXX";
    uint8_t           disco[32];
    tn_ms_t           until;
    tn_loop_t         loop;
    tn_node_t        *node;
    tn_ipc_node_t     conf;
    tn_node_conf_t    nc;
    tn_certs_queue_t  queue;

    logger.level = TN_LOG_ERR;

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
    nc.log = &logger;
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

    /* none to be had, and logged out */

    nc.tun = -1;
    scarce = true;
    refused = 0;
    left = 0;
    node = tn_node_create(&nc);

    is_int(tn_node_logout(node, on_left, &left), TN_OK, "it is logged out");

    while (left == 0 && tn_ipc_now() < until) {
        (void) tn_loop_turn(&loop, 100);
    }

    is_int(left, 1, "though there is no data thread");
    scarce = false;
    ok(tn_node_login(node), "and in again");

    while (tn_node_data(node) == NULL && tn_ipc_now() < until) {
        (void) tn_loop_turn(&loop, 100);
    }

    ok(tn_node_data(node) != NULL, "then with one");
    tn_node_free(node);

    /* with the netmap of the last run */

    keep(conf.state_dir, conf.control_url);
    scarce = true;
    refused = 0;
    node = tn_node_create(&nc);
    ok(refused != 0 && tn_node_data(node) == NULL,
       "a netmap was kept, and there is no data thread");
    tn_node_free(node);

    tn_http_destroy(nc.http);
    tn_resolve_destroy(nc.resolver);
    tn_loop_done(&loop);

    snprintf(command, sizeof(command), "rm -r %s", dir);

    return system(command) == 0 ? tap_done() : 1;
}
