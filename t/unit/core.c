
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the core does with a supervisor's orders, with the test in the
 * supervisor's place.  There is no stack, and nobody answers for control.
 */

#include "run/tn_core.h"
#include "run/tn_funnel.h"
#include "data/tn_lwnet.h"
#include "run/tn_node_private.h"

#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tap.h"


#define WAIT_MS  10000


static char         dir[] = "/tmp/tn-core-XXXXXX";
static atomic_bool  scarce;     /* no memory is to be had for a node */
static atomic_int   refused;


void *
calloc(size_t n, size_t size)
{
    void   *p;
    size_t  len;

    /* or the compiler makes it a call of this function */

    static void  *(*volatile get)(size_t) = malloc;

    if (__builtin_mul_overflow(n, size, &len)) {
        return NULL;
    }

    if (len == sizeof(tn_node_t) && atomic_load(&scarce)) {
        atomic_fetch_add(&refused, 1);
        return NULL;
    }

    p = get(len);

    return p != NULL ? memset(p, 0, len) : NULL;
}


static void *
run(void *data)
{
    return (void *) (intptr_t) tn_core_run((int) (intptr_t) data);
}


static void
put(int ctl, tn_ipc_type_e type)
{
    tn_ipc_name_t  msg;

    tn_ipc_init(&msg, type);

    if (tn_ipc_send(ctl, &msg, NULL, 0) != TN_OK) {
        abort();
    }
}


/* the holder's end of the channel that is in it */
static int
put_node(int ctl, const char *name, const char *hostname)
{
    int                 pair[2];
    tn_ipc_core_node_t  msg;

    if (tn_ipc_pair(pair) != TN_OK) {
        abort();
    }

    tn_ipc_init(&msg, TN_IPC_CORE_NODE);
    snprintf(msg.node.name, sizeof(msg.node.name), "%s", name);
    snprintf(msg.node.hostname, sizeof(msg.node.hostname), "%s", hostname);
    snprintf(msg.node.state_dir, sizeof(msg.node.state_dir), "%s/%s", dir,
             name);
    snprintf(msg.node.control_url, sizeof(msg.node.control_url),
             "http://127.0.0.1:1");
    msg.node.flags = TN_IPC_NO_PORT_MAP;
    memset(msg.disco, 7, sizeof(msg.disco));
    snprintf(msg.text, sizeof(msg.text), "there is none in this test");
    msg.mask = TN_IPC_FD_HOLDER;

    if (tn_ipc_send(ctl, &msg, &pair[1], 1) != TN_OK) {
        abort();
    }

    close(pair[1]);

    return pair[0];
}


/* whether the core has the other end */
static bool
is_held(int fd)
{
    char     byte;
    ssize_t  n;

    do {
        n = recv(fd, &byte, 1, MSG_DONTWAIT);
    } while (n > 0);

    return n == -1 && errno == EAGAIN;
}


static bool
exists(const char *name)
{
    char  path[128];

    snprintf(path, sizeof(path), "%s/%s", dir, name);

    return access(path, F_OK) == 0;
}


/* an order of the same bytes disturbs no node, but its channel is a new one */
static void
test_resume(int ctl)
{
    int      first, second;
    tn_ms_t  until;

    first = put_node(ctl, "home", "a");
    until = tn_ipc_now() + WAIT_MS;

    while (!exists("home") && tn_ipc_now() < until) {
        usleep(1000);
    }

    ok(exists("home"), "a node starts");
    ok(is_held(first), "it has its channel");

    put(ctl, TN_IPC_CORE_RESUME);
    second = put_node(ctl, "home", "a");
    put(ctl, TN_IPC_CORE_START);

    while (is_held(first) && is_held(second) && tn_ipc_now() < until) {
        usleep(1000);
    }

    ok(is_held(second), "the same order again brings it another");
    ok(!is_held(first), "in the place of the first");

    close(first);
    close(second);
}


static void
put_listen(int ctl, tn_ipc_type_e type, uint16_t proto, uint16_t port, int fd)
{
    tn_ipc_listen_t  msg;

    tn_ipc_init(&msg, type);
    snprintf(msg.node, sizeof(msg.node), "home");
    msg.family = 4;
    msg.proto = proto;
    msg.port = port;
    msg.flags = proto == TN_IPC_UDP ? TN_IPC_CAPTURE : 0;

    if (tn_ipc_send_until(ctl, &msg, &fd, fd != -1, tn_ipc_now() + WAIT_MS)
        != TN_OK)
    {
        abort();
    }
}


/* how often the core says that there is no room for a listener */
static int
no_room(int ctl, int log, const char *name)
{
    int      n;
    char     text[4096], *p;
    tn_ms_t  until;
    ssize_t  len;

    /* a node more: what came before it is done then */

    until = tn_ipc_now() + WAIT_MS;
    close(put_node(ctl, name, "a"));

    while (!exists(name) && tn_ipc_now() < until) {
        usleep(1000);
    }

    len = pread(log, text, sizeof(text) - 1, 0);
    text[len > 0 ? len : 0] = '\0';
    (void) !ftruncate(log, 0);
    n = 0;

    for (p = text; (p = strstr(p, " ports ")) != NULL; p++) {
        n++;
    }

    return n;
}


/* a listener of which nobody said that it ended does not outlast a resume */
static void
test_listeners(int ctl)
{
    int              i, fd, log, holder;
    char             path[128];
    tn_ipc_setup_t   setup;

    snprintf(path, sizeof(path), "%s/log", dir);
    log = open(path, O_RDWR|O_CREAT|O_APPEND|O_CLOEXEC, 0600);
    fd = socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0);

    tn_ipc_init(&setup, TN_IPC_CORE_SETUP);
    setup.mask = TN_IPC_FD_LOG;
    setup.log_level = TN_LOG_ERR;

    if (tn_ipc_send(ctl, &setup, &log, 1) != TN_OK) {
        abort();
    }

    for (i = 0; i < TN_LWNET_PORTS; i++) {
        put_listen(ctl, TN_IPC_CORE_LISTEN, TN_IPC_UDP, (uint16_t) (i + 1),
                   -1);
    }

    for (i = 0; i < TN_FUNNEL_PORTS; i++) {
        put_listen(ctl, TN_IPC_CORE_LISTEN, TN_IPC_INGRESS,
                   (uint16_t) (i + 1), fd);
    }

    (void) no_room(ctl, log, "first");
    put_listen(ctl, TN_IPC_CORE_LISTEN, TN_IPC_UDP, 50000, -1);
    put_listen(ctl, TN_IPC_CORE_LISTEN, TN_IPC_INGRESS, 50000, fd);
    is_int(no_room(ctl, log, "second"), 2, "there are as many as may be");

    put(ctl, TN_IPC_CORE_RESUME);
    holder = put_node(ctl, "home", "a");
    put_listen(ctl, TN_IPC_CORE_LISTEN, TN_IPC_UDP, 1, -1);
    put_listen(ctl, TN_IPC_CORE_LISTEN, TN_IPC_INGRESS, 1, fd);
    put(ctl, TN_IPC_CORE_START);
    put_listen(ctl, TN_IPC_CORE_LISTEN, TN_IPC_UDP, 50000, -1);
    put_listen(ctl, TN_IPC_CORE_LISTEN, TN_IPC_INGRESS, 50000, fd);
    is_int(no_room(ctl, log, "third"), 0,
           "those that are not said again have ended");

    close(holder);
    close(fd);
    close(log);
}


static void
test_no_memory(int ctl)
{
    int      first, second;
    tn_ms_t  until;

    until = tn_ipc_now() + WAIT_MS;
    scarce = true;
    first = put_node(ctl, "away", "a");

    while (refused == 0 && tn_ipc_now() < until) {
        usleep(1000);
    }

    is_int(refused, 1, "no memory for a node");
    ok(!exists("away"), "it does not start");

    scarce = false;
    second = put_node(ctl, "away", "b");

    while (!exists("away") && tn_ipc_now() < until) {
        usleep(1000);
    }

    ok(exists("away"), "the next order starts it");
    ok(is_held(second), "with its channel");

    close(first);
    close(second);
}


int
main(void)
{
    int        ctl[2];
    void      *status;
    char       command[64];
    pthread_t  thread;

    if (mkdtemp(dir) == NULL || tn_ipc_pair(ctl) != TN_OK
        || pthread_create(&thread, NULL, run, (void *) (intptr_t) ctl[1]) != 0)
    {
        abort();
    }

    test_resume(ctl[0]);
    test_listeners(ctl[0]);
    test_no_memory(ctl[0]);

    close(ctl[0]);
    (void) pthread_join(thread, &status);
    is_int((intptr_t) status, 0, "the core ends");

    snprintf(command, sizeof(command), "rm -r %s", dir);

    return system(command) == 0 ? tap_done() : 1;
}
