
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * For t/processes.t: the program of the processes with a small core in place
 * of the real one, and a client that does what nginx's side does, one command
 * per line of standard input, one answer per line of standard output.
 *
 * The small core knows one node's addresses, 100.64.0.1 and fd7a:115c:a1e0::1,
 * and mirrors UDP packets that come out of the TUN: it swaps source and
 * destination, which changes no checksum.
 */

#include "proc/tn_client.h"
#include "run/tn_core.h"
#include "run/tn_dial.h"
#include "host/tn_logfile.h"

#include <errno.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>


#define WAIT_MS  8000
#define ARGS     12
#define FDS      512
#define NODES    4


typedef struct {
    char         name[TN_IPC_NAME];
    tn_pool_t   *pool;
    tn_watch_t   tun;
} node_t;

typedef struct {
    tn_loop_t    loop;
    tn_logfile_t log;
    tn_dial_t   *dial;
    tn_watch_t   ctl;
    node_t       nodes[NODES];
} core_t;


static int          fds[FDS];
static tn_client_t  lifeline;
static pthread_t    thread;
static bool         threaded;


static node_t *
core_find(core_t *core, const char *name)
{
    size_t  i;

    for (i = 0; i < NODES; i++) {
        if (strcmp(core->nodes[i].name, name) == 0) {
            return &core->nodes[i];
        }
    }

    return NULL;
}


static tn_pool_t *
core_resolve(void *data, const tn_ipc_dial_t *request, tn_ip_t *ips,
    size_t *n, bool *wait, int *err, char *text)
{
    node_t  *node;

    node = core_find(data, request->node);
    *n = 1;

    if (node == NULL || request->node[0] == '\0') {
        snprintf(text, TN_IPC_TEXT, "no node \"%s\"", request->node);
        *err = EINVAL;
        return NULL;
    }

    if (strcmp(request->host, "later") == 0) {
        snprintf(text, TN_IPC_TEXT, "the node is starting");
        *wait = true;
        return NULL;
    }

    if (tn_ip_parse(ips, request->host, strlen(request->host)) != TN_OK) {
        snprintf(text, TN_IPC_TEXT, "no peer \"%s\"", request->host);
        *err = EHOSTUNREACH;
        return NULL;
    }

    return node->pool;
}


static void
core_mirror(tn_watch_t *watch, uint32_t events)
{
    ssize_t   n;
    uint8_t   swap[4], *ip;
    uint8_t   frame[65536 + 10];

    (void) events;

    n = read(watch->fd, frame, sizeof(frame));
    ip = frame + 10;

    if (n < 10 + 28 || ip[0] != 0x45 || ip[9] != 17) {
        return;
    }

    memcpy(swap, ip + 12, 4);
    memcpy(ip + 12, ip + 16, 4);
    memcpy(ip + 16, swap, 4);
    memcpy(swap, ip + 20, 2);
    memcpy(ip + 20, ip + 22, 2);
    memcpy(ip + 22, swap, 2);

    n = write(watch->fd, frame, n);
    (void) n;
}


static void
core_stop_node(core_t *core, node_t *node)
{
    tn_dial_forget(core->dial, node->pool);
    tn_pool_destroy(node->pool);

    if (node->tun.fd != -1) {
        tn_loop_unwatch(&core->loop, &node->tun);
        close(node->tun.fd);
    }

    memset(node, 0, sizeof(*node));
    node->tun.fd = -1;
}


static void
core_start_node(core_t *core, tn_ipc_core_node_t *msg, int *in, size_t n)
{
    int       fd;
    node_t   *node;
    tn_ip_t   ips[2];

    node = core_find(core, msg->node.name);

    if (node) {
        core_stop_node(core, node);
    }

    node = core_find(core, "");

    if (node == NULL) {
        return;
    }

    snprintf(node->name, sizeof(node->name), "%s", msg->node.name);
    node->pool = tn_pool_create(&core->loop, &core->log.log);

    tn_log(&core->log.log, TN_LOG_NOTICE, "small core: node %s mask %x "
           "hostname \"%s\" key %d bytes text \"%s\"", node->name, msg->mask,
           msg->node.hostname, (int) strlen(msg->node.auth_key), msg->text);

    fd = tn_ipc_fd(in, n, msg->mask, TN_IPC_FD_HOLDER);

    if (fd != -1) {
        tn_pool_channel(node->pool, dup(fd));
    }

    if (tn_ip_parse(&ips[0], "100.64.0.1", 10) == TN_OK
        && tn_ip_parse(&ips[1], "fd7a:115c:a1e0::1", 17) == TN_OK)
    {
        tn_pool_addresses(node->pool, ips, 2, 0);
    }

    fd = tn_ipc_fd(in, n, msg->mask, TN_IPC_FD_TUN);
    node->tun.fd = -1;

    if (fd != -1) {
        node->tun.fd = dup(fd);
        node->tun.events = TN_LOOP_READ;
        node->tun.handler = core_mirror;
        (void) tn_loop_watch(&core->loop, &node->tun);
    }

    tn_dial_retry(core->dial);
}


static void
core_ctl(tn_watch_t *watch, uint32_t events)
{
    int           fd, in[TN_IPC_FDS];
    size_t        n;
    tn_rc_t       rc;
    node_t       *node;
    core_t       *core;
    tn_ipc_msg_t  msg;

    (void) events;

    core = watch->data;
    rc = tn_ipc_recv(watch->fd, &msg, in, &n);

    if (rc == TN_AGAIN) {
        return;
    }

    if (rc != TN_OK) {
        tn_loop_stop(&core->loop);
        return;
    }

    switch (msg.head.type) {

    case TN_IPC_CORE_SETUP:
        core->log.log.level = msg.setup.log_level;
        fd = tn_ipc_fd(in, n, msg.setup.mask, TN_IPC_FD_LOG);

        if (fd != -1) {
            tn_logfile_replace(&core->log, dup(fd));
        }

        fd = tn_ipc_fd(in, n, msg.setup.mask, TN_IPC_FD_DIAL);

        if (fd != -1) {
            tn_dial_listen(core->dial, dup(fd));
        }

        tn_log(&core->log.log, TN_LOG_NOTICE, "small core: setup uid %d",
               (int) getuid());
        break;

    case TN_IPC_CORE_NODE:
        core_start_node(core, &msg.core_node, in, n);
        break;

    case TN_IPC_CORE_HOLDER:
        node = core_find(core, msg.name.name);

        if (node && n == 1) {
            tn_pool_channel(node->pool, dup(in[0]));
        }

        tn_log(&core->log.log, TN_LOG_NOTICE, "small core: new holder");
        break;

    case TN_IPC_CORE_STOP:
        node = core_find(core, msg.name.name);

        if (node) {
            core_stop_node(core, node);
        }

        tn_log(&core->log.log, TN_LOG_NOTICE, "small core: stopped %s",
               msg.name.name);
        break;

    case TN_IPC_CORE_START:
        tn_log(&core->log.log, TN_LOG_NOTICE, "small core: started");
        break;
    }

    tn_ipc_close(in, n);
}


int
tn_core_run(int ctl_fd)
{
    size_t   i;
    core_t  *core;

    core = calloc(1, sizeof(*core));

    if (core == NULL || tn_loop_init(&core->loop) != TN_OK) {
        return 1;
    }

    tn_logfile_init(&core->log, -1, TN_LOG_NOTICE);
    core->dial = tn_dial_create(&core->loop, core_resolve, core,
                                &core->log.log);
    core->ctl.fd = ctl_fd;
    core->ctl.events = TN_LOOP_READ;
    core->ctl.handler = core_ctl;
    core->ctl.data = core;
    (void) tn_loop_watch(&core->loop, &core->ctl);

    (void) tn_loop_run(&core->loop);

    for (i = 0; i < NODES; i++) {
        if (core->nodes[i].pool) {
            core_stop_node(core, &core->nodes[i]);
        }
    }

    tn_dial_destroy(core->dial);
    tn_loop_unwatch(&core->loop, &core->ctl);
    close(ctl_fd);
    tn_loop_done(&core->loop);
    tn_logfile_done(&core->log);
    free(core);

    return 0;
}


int
tn_core_command(int argc, char **argv)
{
    (void) argc;
    (void) argv;

    return 2;
}


static void *
thread_run(void *data)
{
    (void) tn_core_run((int) (intptr_t) data);

    return NULL;
}


static int
keep(int fd)
{
    int  i;

    for (i = 0; i < FDS; i++) {
        if (fds[i] == -1) {
            fds[i] = fd;
            return i;
        }
    }

    abort();
}


static bool
wait_for(int fd, short events)
{
    struct pollfd  pfd;

    pfd.fd = fd;
    pfd.events = events;

    return poll(&pfd, 1, WAIT_MS) == 1;
}


static void
say_rc(tn_rc_t rc, const char *text)
{
    if (rc == TN_OK) {
        printf("ok\n");

    } else {
        printf("fail %d %s\n", rc, text);
    }
}


static void
do_open(char **arg, int n)
{
    char              text[TN_IPC_TEXT];
    FILE             *log;
    tn_rc_t           rc;
    tn_client_conf_t  conf;

    log = fopen(arg[5], "a");

    memset(&conf, 0, sizeof(conf));
    conf.dir = arg[1];
    conf.token = arg[2];
    conf.uid = atoi(arg[3]);
    conf.gid = atoi(arg[4]);
    conf.log_path = arg[5];
    conf.log_fd = log ? fileno(log) : -1;
    conf.log_level = TN_LOG_INFO;
    conf.program = arg[6];
    conf.local = n > 7 && strcmp(arg[7], "local") == 0;

    rc = tn_client_open(&lifeline, &conf, text);

    if (rc == TN_OK) {
        printf("ok %d %d\n", (int) lifeline.pid, lifeline.started);

    } else {
        say_rc(rc, text);
    }

    if (log) {
        fclose(log);
    }
}


static void
do_node(char **arg)
{
    int            share;
    char           text[TN_IPC_TEXT];
    tn_rc_t        rc;
    tn_ipc_node_t  node;

    memset(&node, 0, sizeof(node));
    snprintf(node.name, sizeof(node.name), "%s", arg[1]);
    snprintf(node.state_dir, sizeof(node.state_dir), "%s", arg[2]);
    snprintf(node.hostname, sizeof(node.hostname), "%s", arg[3]);
    snprintf(node.auth_key, sizeof(node.auth_key), "%s", arg[4]);
    node.stack = atoi(arg[5]);
    node.udp_port = atoi(arg[6]);

    rc = tn_client_node(&lifeline, &node, &share, text);
    tn_ipc_close(&share, 1);
    say_rc(rc, text);
}


static void
do_listen(char **arg)
{
    int              fd;
    char             text[TN_IPC_TEXT];
    tn_rc_t          rc;
    struct stat      st;
    tn_ipc_listen_t  conf;

    memset(&conf, 0, sizeof(conf));
    snprintf(conf.node, sizeof(conf.node), "%s", arg[1]);
    conf.family = atoi(arg[2]);
    conf.proto = strcmp(arg[3], "udp") == 0 ? TN_IPC_UDP : TN_IPC_TCP;
    conf.port = atoi(arg[4]);
    conf.worker = atoi(arg[5]);
    conf.backlog = 128;

    rc = tn_client_listen(&lifeline, &conf, &fd, text);

    if (rc != TN_OK) {
        say_rc(rc, text);
        return;
    }

    if (fstat(fd, &st) == -1) {
        abort();
    }

    printf("ok %d %lu\n", keep(fd), (unsigned long) st.st_ino);
}


static void
do_dial(char **arg)
{
    int                  fd, sock;
    char                 text[TN_IPC_TEXT], addr[TN_ADDR_TEXT];
    tn_rc_t              rc;
    tn_ipc_dial_t        dial;
    tn_ipc_dial_reply_t  reply;

    memset(&dial, 0, sizeof(dial));
    snprintf(dial.node, sizeof(dial.node), "%s", arg[2]);
    snprintf(dial.host, sizeof(dial.host), "%s", arg[3]);
    dial.port = atoi(arg[4]);
    dial.proto = strcmp(arg[5], "udp") == 0 ? TN_IPC_UDP : TN_IPC_TCP;
    dial.timeout_ms = atoi(arg[6]);

    rc = tn_client_dial(arg[1], &dial, &fd, text);

    if (rc != TN_OK) {
        say_rc(rc, text);
        return;
    }

    if (!wait_for(fd, POLLIN)) {
        printf("fail -1 nothing came\n");
        close(fd);
        return;
    }

    rc = tn_client_dial_reply(fd, &reply, &sock);
    close(fd);

    if (rc != TN_OK) {
        printf("fail %d %d %s\n", rc, reply.err, reply.text);
        return;
    }

    printf("ok %d %s\n", keep(sock), tn_addr_text(&reply.addr, addr));
}


static void
do_accept(int lfd)
{
    int                      fd;
    char                     text[TN_ADDR_TEXT];
    socklen_t                len;
    tn_addr_t                addr;
    struct sockaddr_storage  ss;

    len = sizeof(ss);
    fd = wait_for(lfd, POLLIN) ? accept(lfd, (struct sockaddr *) &ss, &len)
                               : -1;

    if (fd == -1 || tn_addr_from_sockaddr(&addr, &ss) != TN_OK) {
        printf("fail %d\n", errno);
        return;
    }

    addr.port = 0;
    printf("ok %d %s\n", keep(fd), tn_ip_text(&addr.ip, text));
}


static void
do_error(int fd)
{
    int        err;
    socklen_t  len;

    len = sizeof(err);

    if (wait_for(fd, POLLOUT)
        && getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == 0)
    {
        printf("ok %d\n", err);

    } else {
        printf("fail\n");
    }
}


static void
do_recv(int fd)
{
    char     buf[256];
    ssize_t  n;

    n = wait_for(fd, POLLIN) ? recv(fd, buf, sizeof(buf) - 1, 0) : -1;

    if (n < 0) {
        printf("fail %d\n", errno);
        return;
    }

    buf[n] = '\0';
    printf("ok %s\n", buf);
}


static void
do_netns(int fd)
{
    int          ns;
    struct stat  st;

    ns = ioctl(fd, SIOCGSKNS);

    if (ns == -1 || fstat(ns, &st) == -1) {
        printf("fail %d\n", errno);
        return;
    }

    close(ns);
    printf("ok %lu\n", (unsigned long) st.st_ino);
}


/* what a worker that was taken over may do to what it has inherited */
static void
do_spoil(void)
{
    int             fd, status;
    pid_t           pid;
    tn_ipc_name_t   msg;

    pid = fork();

    if (pid == 0) {
        tn_ipc_init(&msg, TN_IPC_KEEP_BYE);

        for (fd = 3; fd < FDS; fd++) {
            (void) tn_ipc_send(fd, &msg, NULL, 0);
            (void) !write(fd, "x", 1);
            (void) shutdown(fd, SHUT_RDWR);
        }

        _exit(0);
    }

    say_rc(pid > 0 && waitpid(pid, &status, 0) == pid ? TN_OK : TN_ERROR,
           strerror(errno));
}


static void
command(char **arg, int n)
{
    int      fd, i;
    char     text[TN_IPC_TEXT];
    tn_rc_t  rc;

    i = n > 1 ? atoi(arg[1]) : 0;
    fd = i >= 0 && i < FDS ? fds[i] : -1;

    if (strcmp(arg[0], "open") == 0 && n >= 7) {
        do_open(arg, n);

    } else if (strcmp(arg[0], "node") == 0 && n == 7) {
        do_node(arg);

    } else if (strcmp(arg[0], "listen") == 0 && n == 6) {
        do_listen(arg);

    } else if (strcmp(arg[0], "commit") == 0) {
        rc = tn_client_commit(&lifeline, text);
        say_rc(rc, text);

    } else if (strcmp(arg[0], "spoil") == 0) {
        do_spoil();

    } else if (strcmp(arg[0], "core") == 0) {
        fd = tn_client_local_core();
        threaded = fd != -1
                   && pthread_create(&thread, NULL, thread_run,
                                     (void *) (intptr_t) fd) == 0;
        say_rc(threaded ? TN_OK : TN_ERROR, "no thread");

    } else if (strcmp(arg[0], "tick") == 0) {
        tn_client_local_tick();
        say_rc(TN_OK, "");

    } else if (strcmp(arg[0], "leave") == 0 && n == 2) {
        say_rc(tn_client_leave(&lifeline, arg[1]), "the time is up");

    } else if (strcmp(arg[0], "close") == 0 || strcmp(arg[0], "end") == 0) {

        if (arg[0][0] == 'e') {
            tn_client_local_end();
        }

        tn_client_close(&lifeline);

        if (threaded) {
            pthread_join(thread, NULL);
            threaded = false;
        }

        say_rc(TN_OK, "");

    } else if (strcmp(arg[0], "forget") == 0) {

        /* stays open, as of a former cycle that still has connections */

        memset(&lifeline, 0, sizeof(lifeline));
        say_rc(TN_OK, "");

    } else if (strcmp(arg[0], "dial") == 0 && n == 7) {
        do_dial(arg);

    } else if (strcmp(arg[0], "accept") == 0) {
        do_accept(fd);

    } else if (strcmp(arg[0], "error") == 0) {
        do_error(fd);

    } else if (strcmp(arg[0], "send") == 0 && n == 3) {
        rc = send(fd, arg[2], strlen(arg[2]), MSG_NOSIGNAL) > 0 ? TN_OK
                                                                : TN_ERROR;
        say_rc(rc, strerror(errno));

    } else if (strcmp(arg[0], "recv") == 0) {
        do_recv(fd);

    } else if (strcmp(arg[0], "netns") == 0) {
        do_netns(fd);

    } else if (strcmp(arg[0], "shut") == 0) {
        tn_ipc_close(&fds[i], 1);
        say_rc(TN_OK, "");

    } else {
        printf("fail -1 bad command %s\n", arg[0]);
    }
}


int
main(int argc, char **argv)
{
    int    n;
    char   line[8192], *arg[ARGS], *word, *save;

    if (argc > 1 && strcmp(argv[1], "core") == 0) {
        (void) prctl(PR_SET_NAME, "tailnet-core");
        signal(SIGPIPE, SIG_IGN);
        return tn_core_run(3);
    }

    memset(fds, 0xff, sizeof(fds));
    setvbuf(stdout, NULL, _IOLBF, 0);
    signal(SIGPIPE, SIG_IGN);

    while (fgets(line, sizeof(line), stdin)) {
        n = 0;
        word = strtok_r(line, " \n", &save);

        while (word && n < ARGS) {
            arg[n++] = word;
            word = strtok_r(NULL, " \n", &save);
        }

        if (n) {
            command(arg, n);
        }
    }

    return 0;
}
