
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "proc/tn_snode.h"
#include "proc/tn_holder.h"
#include "proc/tn_share_memory.h"
#include "proc/tn_spawn.h"
#include "host/tn_lastport.h"
#include "host/tn_udp_socket.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/random.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>


static tn_rc_t tn_snode_ready(tn_snode_t *node, const tn_ipc_ready_t *ready,
    int *fds, size_t n);
static tn_rc_t tn_snode_call(tn_snode_t *node, void *req, const int *fds,
    size_t count, int *fd, char *text);
static int tn_snode_unix(const tn_ipc_listen_t *conf, char *text);


tn_snode_t *
tn_snode_create(const char *name)
{
    tn_snode_t  *node;

    node = calloc(1, sizeof(*node));

    if (node == NULL) {
        return NULL;
    }

    if (getrandom(node->disco, sizeof(node->disco), 0)
        != (ssize_t) sizeof(node->disco))
    {
        free(node);
        return NULL;
    }

    memcpy(node->name, name, strnlen(name, sizeof(node->name) - 1));
    node->holder_fd = -1;
    node->tun_fd = -1;
    node->bulk_fd = -1;
    node->net_fd = -1;
    node->user_fd = -1;
    node->udp_fd[0] = -1;
    node->udp_fd[1] = -1;
    node->share_fd = -1;
    node->share_ro_fd = -1;
    tn_list_init(&node->link);
    tn_list_init(&node->listeners);

    tn_snode_share(node, tn_share_create());

    return node;
}


void
tn_snode_share(tn_snode_t *node, int fd)
{
    tn_ipc_close(&node->share_fd, 1);
    tn_ipc_close(&node->share_ro_fd, 1);

    node->share_fd = fd;
    node->share_ro_fd = fd != -1 ? tn_share_read_only(fd) : -1;
}


void
tn_snode_destroy(tn_snode_t *node)
{
    tn_link_t            *link;
    tn_snode_listener_t  *listener;

    while ((link = tn_list_shift(&node->listeners)) != NULL) {
        listener = tn_container(link, tn_snode_listener_t, link);
        close(listener->fd);
        free(listener);
    }

    /* it has nothing to save; who started it reaps it */

    if (node->holder_pid > 0) {
        (void) kill(node->holder_pid, SIGKILL);
    }

    tn_ipc_close(&node->holder_fd, 1);
    tn_ipc_close(&node->tun_fd, 1);
    tn_ipc_close(&node->bulk_fd, 1);
    tn_ipc_close(&node->net_fd, 1);
    tn_ipc_close(&node->user_fd, 1);
    tn_ipc_close(node->udp_fd, 2);
    tn_ipc_close(&node->share_fd, 1);
    tn_ipc_close(&node->share_ro_fd, 1);

    tn_wipe(&node->config, sizeof(node->config));
    free(node);
}


tn_rc_t
tn_snode_holder(tn_snode_t *node, int program_fd, int stderr_fd, bool detach)
{
    int           pair[2], fds[TN_IPC_FDS];
    size_t        n;
    tn_rc_t       rc;
    tn_spawn_t    spawn;
    tn_ipc_msg_t  msg;

    if (node->holder_fd != -1) {
        return TN_OK;
    }

    if (tn_ipc_pair(pair) != TN_OK) {
        snprintf(node->text, sizeof(node->text),
                 "socketpair() failed (%d: %s)", errno, strerror(errno));
        node->started = tn_ipc_now();
        tn_snode_holder_lost(node);
        return TN_ERROR;
    }

    memset(&spawn, 0, sizeof(spawn));
    spawn.program_fd = program_fd;
    spawn.argv[0] = TN_SPAWN_SUPER;
    spawn.argv[1] = "holder";
    spawn.argv[2] = node->name;
    spawn.argv[3] = TN_HOLDER_NEW;
    spawn.stderr_fd = stderr_fd;
    spawn.detach = detach;
    spawn.fds[spawn.n_fds++] = pair[1];

    if (node->net_fd != -1) {
        spawn.argv[3] = TN_HOLDER_NET;
        spawn.fds[spawn.n_fds++] = node->net_fd;

        if (node->user_fd != -1) {
            spawn.argv[3] = TN_HOLDER_USER;
            spawn.fds[spawn.n_fds++] = node->user_fd;
        }
    }

    node->started = tn_ipc_now();

    rc = tn_spawn(&spawn, &node->holder_pid, node->text);

    close(pair[1]);

    if (rc != TN_OK) {
        close(pair[0]);
        tn_snode_holder_lost(node);
        return TN_ERROR;
    }

    node->holder_fd = pair[0];

    rc = tn_ipc_recv_until(node->holder_fd, &msg, fds, &n,
                           node->started + TN_SNODE_HOLDER_MS);

    if (rc == TN_OK && msg.head.type == TN_IPC_HOLDER_READY) {
        rc = tn_snode_ready(node, &msg.ready, fds, n);

    } else {
        if (rc == TN_OK) {
            tn_ipc_close(fds, n);
        }

        snprintf(node->text, sizeof(node->text), "the holder of the network "
                 "namespace %s",
                 rc == TN_AGAIN ? "does not answer"
                 : rc == TN_MALFORMED ? "made it, but no descriptors are left "
                                        "for it"
                 : "died at its start");
        rc = TN_ERROR;
    }

    if (rc != TN_OK) {
        tn_snode_holder_lost(node);
        return TN_ERROR;
    }

    node->text[0] = '\0';

    return TN_OK;
}


static tn_rc_t
tn_snode_ready(tn_snode_t *node, const tn_ipc_ready_t *ready, int *fds,
    size_t n)
{
    if (ready->rc != TN_OK) {
        tn_ipc_close(fds, n);
        memcpy(node->text, ready->text, sizeof(node->text));
        return TN_ERROR;
    }

    if (node->net_fd != -1) {
        /* the namespace is as it was */
        tn_ipc_close(fds, n);
        return TN_OK;
    }

    node->tun_fd = tn_ipc_fd(fds, n, ready->mask, TN_IPC_FD_TUN);
    node->net_fd = tn_ipc_fd(fds, n, ready->mask, TN_IPC_FD_NETNS);
    node->user_fd = tn_ipc_fd(fds, n, ready->mask, TN_IPC_FD_USERNS);
    node->bulk_fd = tn_ipc_fd(fds, n, ready->mask, TN_IPC_FD_BULK);
    node->features = ready->features;

    return TN_OK;
}


void
tn_snode_holder_lost(tn_snode_t *node)
{
    tn_ms_t  now, pause;

    tn_ipc_close(&node->holder_fd, 1);

    if (node->holder_pid > 0) {
        (void) kill(node->holder_pid, SIGKILL);
        node->holder_pid = 0;
    }

    now = tn_ipc_now();

    if (now - node->started > TN_SNODE_RETRY_MAX_MS) {
        node->failures = 0;
    }

    pause = (tn_ms_t) TN_SNODE_RETRY_MS << tn_min(node->failures, 8);
    pause = tn_min(pause, TN_SNODE_RETRY_MAX_MS);

    /* the first time at once */
    node->retry = node->failures ? now + pause : now;
    node->failures++;
}


int
tn_snode_channel(tn_snode_t *node)
{
    int            pair[2];
    tn_rc_t        rc;
    char           text[TN_IPC_TEXT];
    tn_ipc_name_t  req;

    if (node->holder_fd == -1 || tn_ipc_pair(pair) != TN_OK) {
        return -1;
    }

    tn_ipc_init(&req, TN_IPC_HOLDER_ATTACH);
    memcpy(req.name, node->name, sizeof(req.name));

    rc = tn_snode_call(node, &req, &pair[1], 1, NULL, text);

    close(pair[1]);

    if (rc != TN_OK) {
        close(pair[0]);
        return -1;
    }

    return pair[0];
}


tn_snode_listener_t *
tn_snode_listen(tn_snode_t *node, const tn_ipc_listen_t *conf, bool lwip,
    char *text)
{
    int                   fd;
    tn_ipc_listen_t       req;
    tn_snode_listener_t  *listener;

    /*
     * What comes through Funnel is passed on by the core in any case, and so
     * is UDP for all ports: of a datagram that one socket takes for all of
     * them nginx would not know the port.
     */

    lwip |= conf->proto == TN_IPC_INGRESS
            || (conf->proto == TN_IPC_UDP && conf->port == 0
                && (conf->flags & TN_IPC_CAPTURE));

    listener = tn_snode_find(node, conf, lwip);

    if (listener) {
        if (conf->proto == TN_IPC_TCP && conf->backlog > 0) {
            (void) listen(listener->fd, conf->backlog);
        }

        return listener;
    }

    if (node->n_listeners == TN_SNODE_LISTENERS) {
        snprintf(text, TN_IPC_TEXT, "node \"%s\" has %d listening sockets, "
                 "no more are possible", node->name, TN_SNODE_LISTENERS);
        return NULL;
    }

    req = *conf;
    tn_ipc_init(&req, TN_IPC_HOLDER_LISTEN);
    memcpy(req.node, node->name, sizeof(req.node));
    req.family = conf->family;
    req.proto = conf->proto;
    req.port = conf->port;
    req.worker = conf->worker;
    req.backlog = conf->backlog;
    req.flags = conf->flags;

    if (lwip) {
        fd = tn_snode_unix(&req, text);

        if (fd == -1) {
            return NULL;
        }

    } else if (tn_snode_call(node, &req, NULL, 0, &fd, text) != TN_OK) {
        return NULL;
    }

    listener = calloc(1, sizeof(*listener));

    if (listener == NULL) {
        close(fd);
        snprintf(text, TN_IPC_TEXT, "out of memory");
        return NULL;
    }

    listener->key = req;
    listener->fd = fd;
    listener->lwip = lwip;
    tn_list_push(&node->listeners, &listener->link);
    node->n_listeners++;

    return listener;
}


tn_snode_listener_t *
tn_snode_find(tn_snode_t *node, const tn_ipc_listen_t *conf, bool lwip)
{
    tn_link_t            *link;
    tn_snode_listener_t  *listener;

    tn_list_each(link, &node->listeners) {
        listener = tn_container(link, tn_snode_listener_t, link);

        if (listener->key.family == conf->family
            && listener->key.proto == conf->proto
            && listener->key.port == conf->port
            && ((listener->key.flags ^ conf->flags) & TN_IPC_CAPTURE) == 0
            && listener->lwip == lwip
            && (lwip || listener->key.worker == conf->worker))
        {
            return listener;
        }
    }

    return NULL;
}


/*
 * What nginx accepts from when the core has the stack.  The name is any: who
 * connects is told by SO_PEERCRED.
 */
static int
tn_snode_unix(const tn_ipc_listen_t *conf, char *text)
{
    int                 fd, type;
    struct sockaddr_un  addr;

    memset(&addr, 0, sizeof(addr));
    addr.sun_family = AF_UNIX;

    /* a peer's UDP traffic is a connection too, which keeps datagrams */

    type = conf->proto == TN_IPC_TCP ? SOCK_STREAM : SOCK_SEQPACKET;
    fd = socket(AF_UNIX, type|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (fd == -1
        || bind(fd, (struct sockaddr *) &addr, sizeof(sa_family_t)) == -1
        || listen(fd, conf->backlog > 0 ? conf->backlog : SOMAXCONN) == -1)
    {
        snprintf(text, TN_IPC_TEXT, "no AF_UNIX listener (%d: %s)", errno,
                 strerror(errno));
        tn_ipc_close(&fd, 1);
        return -1;
    }

    return fd;
}


void
tn_snode_unlisten(tn_snode_t *node, tn_snode_listener_t *listener)
{
    if (listener->refs > 1) {
        listener->refs--;
        return;
    }

    tn_list_remove(&listener->link);
    node->n_listeners--;
    close(listener->fd);
    free(listener);
}


/* one request to the holder; *fd (NULL: none wanted) comes with the answer */
static tn_rc_t
tn_snode_call(tn_snode_t *node, void *req, const int *fds, size_t count,
    int *fd, char *text)
{
    int             got[TN_IPC_FDS];
    size_t          n;
    tn_rc_t         rc;
    tn_ms_t         deadline;
    tn_ipc_msg_t    msg;
    tn_ipc_head_t  *head;

    if (node->holder_fd == -1) {
        memcpy(text, node->text, TN_IPC_TEXT);
        return TN_ERROR;
    }

    head = req;
    head->seq = ++node->seq;

    deadline = tn_ipc_now() + TN_SNODE_REQUEST_MS;

    rc = tn_ipc_send(node->holder_fd, req, fds, count);

    while (rc == TN_OK) {
        rc = tn_ipc_recv_until(node->holder_fd, &msg, got, &n, deadline);

        if (rc == TN_MALFORMED) {

            /* cut: the socket with it found no descriptor; the holder lives */

            snprintf(text, TN_IPC_TEXT, "no descriptors are left for sockets "
                     "of node \"%s\"", node->name);
            errno = EMFILE;
            return TN_ERROR;
        }

        if (rc != TN_OK) {
            break;
        }

        if (msg.head.type == TN_IPC_REPLY && msg.head.seq == head->seq) {

            if (msg.reply.rc != TN_OK) {
                tn_ipc_close(got, n);
                memcpy(text, msg.reply.text, TN_IPC_TEXT);
                errno = msg.reply.err;
                return TN_ERROR;
            }

            if (n == (fd != NULL)) {
                if (fd) {
                    *fd = got[0];
                }

                return TN_OK;
            }

            rc = TN_MALFORMED;
        }

        tn_ipc_close(got, n);
    }

    /* it is of no use any more; a new one finds the same namespace */

    tn_snode_holder_lost(node);
    snprintf(text, TN_IPC_TEXT, "the holder of the network namespace of node "
             "\"%s\" %s", node->name, rc == TN_AGAIN ? "does not answer"
                                                     : "died");
    memcpy(node->text, text, TN_IPC_TEXT);

    return TN_ERROR;
}


void
tn_snode_udp(tn_snode_t *node, uint16_t port, const char *state_dir,
    tn_log_t *log)
{
    uint16_t  last, bound;

    if (node->udp_port == port
        && (node->udp_fd[0] != -1 || node->udp_fd[1] != -1))
    {
        return;
    }

    tn_ipc_close(node->udp_fd, 2);

    last = port != 0 ? port : tn_lastport_read(state_dir);

    node->udp_port = port;
    node->udp_fd[0] = tn_udp_socket(false, NULL, last);

    if (node->udp_fd[0] == -1 && last != 0) {
        if (port != 0) {
            tn_log(log, TN_LOG_WARN, "\"%s\": UDP port %u cannot be had "
                   "(%d: %s), taking another", node->name, port, errno,
                   strerror(errno));
        }

        node->udp_fd[0] = tn_udp_socket(false, NULL, 0);
    }

    /* one port in both families when that can be */

    bound = tn_udp_socket_port(node->udp_fd[0]);
    node->udp_fd[1] = tn_udp_socket(true, NULL, bound ? bound : last);

    if (node->udp_fd[1] == -1 && errno == EADDRINUSE) {
        node->udp_fd[1] = tn_udp_socket(true, NULL, 0);
    }

    if (node->udp_fd[0] == -1 && node->udp_fd[1] == -1) {
        tn_log(log, TN_LOG_ERR, "\"%s\": no UDP socket (%d: %s), only "
               "relays can be used", node->name, errno, strerror(errno));
    }
}


tn_rc_t
tn_snode_udp_again(tn_snode_t *node, tn_log_t *log)
{
    int  fd[2];

    if (node->udp_port == 0
        || tn_udp_socket_port(node->udp_fd[0]) == node->udp_port)
    {
        return TN_NOTFOUND;
    }

    fd[0] = tn_udp_socket(false, NULL, node->udp_port);

    if (fd[0] == -1) {
        return TN_AGAIN;
    }

    fd[1] = tn_udp_socket(true, NULL, node->udp_port);

    if (fd[1] == -1 && errno == EADDRINUSE) {
        (void) close(fd[0]);
        return TN_AGAIN;
    }

    tn_ipc_close(node->udp_fd, 2);
    memcpy(node->udp_fd, fd, sizeof(fd));

    tn_log(log, TN_LOG_NOTICE, "\"%s\": UDP port %u is free now, and taken",
           node->name, node->udp_port);

    return TN_OK;
}
