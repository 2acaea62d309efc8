
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What of the supervisor is to survive it, as messages to its guard and
 * back.  A save is whole, from BEGIN to END, and made before a commit is
 * answered: what nginx was told is in force is in force for the next
 * supervisor too.  Holders are not saved: they end with the supervisor and are
 * started again, in the namespaces saved.  The core goes on, with the
 * connections of stack lwip: its channel stays open, since the guard has it,
 * and the next supervisor takes it over.
 */

#include "proc/tn_super_int.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>


#define TN_SUPER_SAVE_MS  2000      /* for a guard to read one message */


static tn_rc_t tn_super_put(int fd, const void *msg, const int *fds,
    size_t count);
static void tn_super_keep_fd(int fd, uint32_t bit, uint32_t *mask, int *fds,
    size_t *count);
static tn_rc_t tn_super_save_mark(int fd, tn_ipc_type_e type);
static tn_rc_t tn_super_save_node(int fd, tn_snode_t *node);
static tn_rc_t tn_super_save_lifeline(int fd, tn_super_lifeline_t *lifeline);

static tn_rc_t tn_super_take(tn_super_t *super, const tn_ipc_msg_t *msg,
    int *fds, size_t count, tn_super_kept_t *kept);
static void tn_super_take_kept(tn_super_t *super,
    const tn_ipc_keep_super_t *msg, int *fds, size_t count,
    tn_super_kept_t *kept);
static int tn_super_take_fd(int *fds, size_t count, uint32_t mask,
    uint32_t bit);
static tn_rc_t tn_super_take_node(tn_super_t *super,
    const tn_ipc_keep_node_t *msg, int *fds, size_t count);
static tn_rc_t tn_super_take_listener(tn_super_t *super,
    const tn_ipc_listen_t *msg, int *fds, size_t count);
static tn_rc_t tn_super_take_lifeline(tn_super_t *super,
    const tn_ipc_keep_lifeline_t *msg, int *fds, size_t count);
static tn_rc_t tn_super_take_want(tn_super_t *super,
    const tn_ipc_keep_want_t *msg);
static tn_rc_t tn_super_take_socket(tn_super_t *super,
    const tn_ipc_keep_socket_t *msg);
static tn_super_lifeline_t *tn_super_opened(tn_super_t *super,
    uint64_t opened);


tn_rc_t
tn_super_save(tn_super_t *super, int fd, const tn_super_kept_t *kept)
{
    int                   fds[4];
    size_t                n;
    tn_rc_t               rc;
    tn_link_t            *link;
    tn_ipc_keep_super_t   msg;

    n = 0;

    tn_ipc_init(&msg, TN_IPC_KEEP_SUPER);
    msg.uid = super->uid;
    msg.gid = super->gid;
    tn_super_keep_fd(super->dial_fd, TN_IPC_FD_DIAL, &msg.mask, fds, &n);
    tn_super_keep_fd(kept->listen_fd, TN_IPC_FD_SUPER, &msg.mask, fds, &n);

    if (kept->core_proc != -1) {
        msg.core_pid = (uint32_t) kept->core_pid;
        tn_super_keep_fd(kept->core_fd, TN_IPC_FD_CORE, &msg.mask, fds, &n);
        tn_super_keep_fd(kept->core_proc, TN_IPC_FD_PROCESS, &msg.mask, fds,
                         &n);
    }

    rc = tn_super_save_mark(fd, TN_IPC_KEEP_BEGIN);

    if (rc == TN_OK) {
        rc = tn_super_put(fd, &msg, fds, n);
    }

    tn_list_each(link, &super->nodes) {
        if (rc == TN_OK) {
            rc = tn_super_save_node(fd, tn_container(link, tn_snode_t, link));
        }
    }

    tn_list_each(link, &super->lifelines) {
        if (rc == TN_OK) {
            rc = tn_super_save_lifeline(fd, tn_container(link,
                                                tn_super_lifeline_t, link));
        }
    }

    if (rc == TN_OK) {
        rc = tn_super_save_mark(fd, TN_IPC_KEEP_END);
    }

    if (rc == TN_OK) {
        super->changed = false;
    }

    return rc;
}


static tn_rc_t
tn_super_put(int fd, const void *msg, const int *fds, size_t count)
{
    return tn_ipc_send_until(fd, msg, fds, count,
                             tn_ipc_now() + TN_SUPER_SAVE_MS);
}


/* the order of the bits has to be that of the descriptors */
static void
tn_super_keep_fd(int fd, uint32_t bit, uint32_t *mask, int *fds,
    size_t *count)
{
    if (fd != -1) {
        *mask |= bit;
        fds[(*count)++] = fd;
    }
}


static tn_rc_t
tn_super_save_mark(int fd, tn_ipc_type_e type)
{
    tn_ipc_name_t  msg;

    tn_ipc_init(&msg, type);

    return tn_super_put(fd, &msg, NULL, 0);
}


static tn_rc_t
tn_super_save_node(int fd, tn_snode_t *node)
{
    int                   fds[7];
    size_t                n;
    tn_rc_t               rc;
    tn_link_t            *link;
    tn_ipc_listen_t       key;
    tn_ipc_keep_node_t    msg;
    tn_snode_listener_t  *listener;

    n = 0;

    tn_ipc_init(&msg, TN_IPC_KEEP_NODE);
    memcpy(msg.name, node->name, sizeof(msg.name));
    memcpy(msg.disco, node->disco, sizeof(msg.disco));
    msg.node = node->config;
    msg.running = node->running;
    msg.features = node->features | (node->lwip ? TN_IPC_BY_LWIP : 0);
    msg.udp_port = node->udp_port;

    tn_super_keep_fd(node->tun_fd, TN_IPC_FD_TUN, &msg.mask, fds, &n);
    tn_super_keep_fd(node->net_fd, TN_IPC_FD_NETNS, &msg.mask, fds, &n);
    tn_super_keep_fd(node->user_fd, TN_IPC_FD_USERNS, &msg.mask, fds, &n);
    tn_super_keep_fd(node->udp_fd[0], TN_IPC_FD_UDP4, &msg.mask, fds, &n);
    tn_super_keep_fd(node->udp_fd[1], TN_IPC_FD_UDP6, &msg.mask, fds, &n);
    tn_super_keep_fd(node->share_fd, TN_IPC_FD_SHARE, &msg.mask, fds, &n);
    tn_super_keep_fd(node->bulk_fd, TN_IPC_FD_BULK, &msg.mask, fds, &n);

    rc = tn_super_put(fd, &msg, fds, n);

    tn_wipe(&msg, sizeof(msg));

    tn_list_each(link, &node->listeners) {

        if (rc != TN_OK) {
            break;
        }

        listener = tn_container(link, tn_snode_listener_t, link);

        key = listener->key;
        key.head.type = TN_IPC_KEEP_LISTENER;

        rc = tn_super_put(fd, &key, &listener->fd, 1);
    }

    return rc;
}


static tn_rc_t
tn_super_save_lifeline(int fd, tn_super_lifeline_t *lifeline)
{
    int                      fds[3];
    size_t                   n;
    tn_rc_t                  rc;
    tn_link_t               *link;
    tn_super_want_t         *want;
    tn_super_socket_t       *sock;
    tn_ipc_keep_want_t       wanted;
    tn_ipc_keep_socket_t     socket;
    tn_ipc_keep_lifeline_t   msg;

    n = 0;

    tn_ipc_init(&msg, TN_IPC_KEEP_LIFELINE);
    msg.opened = lifeline->opened;
    msg.committed = lifeline->committed;
    msg.hello = lifeline->hello;
    msg.conf = lifeline->conf;
    tn_super_keep_fd(lifeline->log_fd, TN_IPC_FD_LOG, &msg.mask, fds, &n);
    tn_super_keep_fd(lifeline->fd, TN_IPC_FD_SUPER, &msg.mask, fds, &n);
    tn_super_keep_fd(lifeline->hold[1], TN_IPC_FD_HOLD, &msg.mask, fds, &n);

    rc = tn_super_put(fd, &msg, fds, n);

    tn_list_each(link, &lifeline->nodes) {

        if (rc != TN_OK) {
            return rc;
        }

        want = tn_container(link, tn_super_want_t, link);

        tn_ipc_init(&wanted, TN_IPC_KEEP_WANT);
        wanted.opened = lifeline->opened;
        wanted.node = want->config;
        wanted.lwip = want->lwip;

        rc = tn_super_put(fd, &wanted, NULL, 0);

        tn_wipe(&wanted, sizeof(wanted));
    }

    tn_list_each(link, &lifeline->sockets) {

        if (rc != TN_OK) {
            return rc;
        }

        sock = tn_container(link, tn_super_socket_t, link);

        tn_ipc_init(&socket, TN_IPC_KEEP_SOCKET);
        socket.opened = lifeline->opened;
        socket.lwip = sock->listener->lwip;
        socket.listen = sock->listener->key;
        socket.listen.flags = sock->flags;
        memcpy(socket.listen.node, sock->node->name,
               sizeof(socket.listen.node));

        rc = tn_super_put(fd, &socket, NULL, 0);
    }

    return rc;
}


tn_rc_t
tn_super_restore(tn_super_t *super, int fd, tn_ms_t deadline,
    tn_super_kept_t *kept)
{
    int           fds[TN_IPC_FDS];
    bool          end;
    size_t        n;
    tn_rc_t       rc;
    tn_ipc_msg_t  msg;

    memset(kept, 0, sizeof(*kept));
    kept->listen_fd = -1;
    kept->core_fd = -1;
    kept->core_proc = -1;

    do {
        rc = tn_ipc_recv_until(fd, &msg, fds, &n, deadline);

        if (rc != TN_OK) {
            break;
        }

        end = msg.head.type == TN_IPC_KEEP_END;
        rc = tn_super_take(super, &msg, fds, n, kept);

        /* what was taken is -1 by now */

        tn_ipc_close(fds, n);
        tn_wipe(&msg, sizeof(msg));

    } while (rc == TN_OK && !end);

    if (rc == TN_OK) {
        super->changed = false;
        tn_super_settle(super);
    }

    return rc;
}


static tn_rc_t
tn_super_take(tn_super_t *super, const tn_ipc_msg_t *msg, int *fds,
    size_t count, tn_super_kept_t *kept)
{
    switch (msg->head.type) {

    case TN_IPC_KEEP_BEGIN:
    case TN_IPC_KEEP_END:
        return TN_OK;

    case TN_IPC_KEEP_SUPER:
        tn_super_take_kept(super, &msg->keep_super, fds, count, kept);
        return TN_OK;

    case TN_IPC_KEEP_NODE:
        return tn_super_take_node(super, &msg->keep_node, fds, count);

    case TN_IPC_KEEP_LISTENER:
        return tn_super_take_listener(super, &msg->listen, fds, count);

    case TN_IPC_KEEP_LIFELINE:
        return tn_super_take_lifeline(super, &msg->keep_lifeline, fds, count);

    case TN_IPC_KEEP_WANT:
        return tn_super_take_want(super, &msg->keep_want);

    case TN_IPC_KEEP_SOCKET:
        return tn_super_take_socket(super, &msg->keep_socket);

    default:
        return TN_MALFORMED;
    }
}


static void
tn_super_take_kept(tn_super_t *super, const tn_ipc_keep_super_t *msg,
    int *fds, size_t count, tn_super_kept_t *kept)
{
    super->uid = msg->uid;
    super->gid = msg->gid;
    super->dial_fd = tn_super_take_fd(fds, count, msg->mask, TN_IPC_FD_DIAL);

    kept->listen_fd = tn_super_take_fd(fds, count, msg->mask,
                                       TN_IPC_FD_SUPER);
    kept->core_fd = tn_super_take_fd(fds, count, msg->mask, TN_IPC_FD_CORE);
    kept->core_proc = tn_super_take_fd(fds, count, msg->mask,
                                       TN_IPC_FD_PROCESS);
    kept->core_pid = (pid_t) msg->core_pid;
}


static int
tn_super_take_fd(int *fds, size_t count, uint32_t mask, uint32_t bit)
{
    int     fd;
    size_t  i;

    fd = tn_ipc_fd(fds, count, mask, bit);

    for (i = 0; i < count; i++) {
        if (fd != -1 && fds[i] == fd) {
            fds[i] = -1;
        }
    }

    return fd;
}


static tn_rc_t
tn_super_take_node(tn_super_t *super, const tn_ipc_keep_node_t *msg, int *fds,
    size_t count)
{
    int          share;
    tn_snode_t  *node;

    if (super->n_nodes == TN_SUPER_NODES
        || tn_super_find(super, msg->name) != NULL)
    {
        return TN_MALFORMED;
    }

    node = tn_snode_create(msg->name);

    if (node == NULL) {
        return TN_NOMEM;
    }

    tn_list_push(&super->nodes, &node->link);
    super->n_nodes++;

    memcpy(node->disco, msg->disco, sizeof(node->disco));
    node->config = msg->node;
    node->running = msg->running;
    node->lwip = (msg->features & TN_IPC_BY_LWIP) != 0;
    node->features = msg->features & ~TN_IPC_BY_LWIP;
    node->udp_port = msg->udp_port;

    node->tun_fd = tn_super_take_fd(fds, count, msg->mask, TN_IPC_FD_TUN);
    node->net_fd = tn_super_take_fd(fds, count, msg->mask, TN_IPC_FD_NETNS);
    node->user_fd = tn_super_take_fd(fds, count, msg->mask,
                                     TN_IPC_FD_USERNS);
    node->udp_fd[0] = tn_super_take_fd(fds, count, msg->mask,
                                       TN_IPC_FD_UDP4);
    node->udp_fd[1] = tn_super_take_fd(fds, count, msg->mask,
                                       TN_IPC_FD_UDP6);
    share = tn_super_take_fd(fds, count, msg->mask, TN_IPC_FD_SHARE);
    node->bulk_fd = tn_super_take_fd(fds, count, msg->mask, TN_IPC_FD_BULK);

    if (share != -1) {
        tn_snode_share(node, share);
    }

    return TN_OK;
}


static tn_rc_t
tn_super_take_listener(tn_super_t *super, const tn_ipc_listen_t *msg,
    int *fds, size_t count)
{
    int                   domain;
    socklen_t             len;
    tn_snode_t           *node;
    tn_snode_listener_t  *listener;

    node = tn_super_find(super, msg->node);

    if (node == NULL || count != 1
        || node->n_listeners == TN_SNODE_LISTENERS)
    {
        return TN_MALFORMED;
    }

    listener = calloc(1, sizeof(*listener));

    if (listener == NULL) {
        return TN_NOMEM;
    }

    listener->key = *msg;
    listener->key.head.type = TN_IPC_HOLDER_LISTEN;
    listener->fd = fds[0];
    fds[0] = -1;

    len = sizeof(domain);
    listener->lwip = getsockopt(listener->fd, SOL_SOCKET, SO_DOMAIN, &domain,
                                &len) == 0 && domain == AF_UNIX;

    tn_list_push(&node->listeners, &listener->link);
    node->n_listeners++;

    return TN_OK;
}


static tn_rc_t
tn_super_take_lifeline(tn_super_t *super, const tn_ipc_keep_lifeline_t *msg,
    int *fds, size_t count)
{
    tn_super_lifeline_t  *lifeline;

    lifeline = tn_super_open(super, -1);

    if (lifeline == NULL) {
        return TN_NOMEM;
    }

    lifeline->opened = msg->opened;
    lifeline->committed = msg->committed;
    lifeline->hello = msg->hello;
    lifeline->conf = msg->conf;
    lifeline->log_fd = tn_super_take_fd(fds, count, msg->mask,
                                        TN_IPC_FD_LOG);
    lifeline->fd = tn_super_take_fd(fds, count, msg->mask, TN_IPC_FD_SUPER);
    lifeline->hold[1] = tn_super_take_fd(fds, count, msg->mask,
                                         TN_IPC_FD_HOLD);

    super->serial = tn_max(super->serial,
                           tn_max(msg->opened, msg->committed));

    return lifeline->fd == -1 && tn_super_held(lifeline) == -1 ? TN_MALFORMED
                                                               : TN_OK;
}


static tn_rc_t
tn_super_take_want(tn_super_t *super, const tn_ipc_keep_want_t *msg)
{
    tn_snode_t           *node;
    tn_super_want_t      *want;
    tn_super_lifeline_t  *lifeline;

    node = tn_super_find(super, msg->node.name);
    lifeline = tn_super_opened(super, msg->opened);

    if (node == NULL || lifeline == NULL) {
        return TN_MALFORMED;
    }

    want = calloc(1, sizeof(*want));

    if (want == NULL) {
        return TN_NOMEM;
    }

    want->node = node;
    want->config = msg->node;
    want->lwip = msg->lwip != 0;
    node->refs++;
    tn_list_push(&lifeline->nodes, &want->link);

    return TN_OK;
}


static tn_rc_t
tn_super_take_socket(tn_super_t *super, const tn_ipc_keep_socket_t *msg)
{
    tn_snode_t           *node;
    tn_super_socket_t    *sock;
    tn_snode_listener_t  *listener;
    tn_super_lifeline_t  *lifeline;

    node = tn_super_find(super, msg->listen.node);
    lifeline = tn_super_opened(super, msg->opened);
    listener = node ? tn_snode_find(node, &msg->listen, msg->lwip != 0)
                    : NULL;

    if (listener == NULL || lifeline == NULL) {
        return TN_MALFORMED;
    }

    sock = calloc(1, sizeof(*sock));

    if (sock == NULL) {
        return TN_NOMEM;
    }

    sock->node = node;
    sock->listener = listener;
    sock->flags = msg->listen.flags;
    listener->refs++;
    tn_list_push(&lifeline->sockets, &sock->link);

    return TN_OK;
}


static tn_super_lifeline_t *
tn_super_opened(tn_super_t *super, uint64_t opened)
{
    tn_link_t            *link;
    tn_super_lifeline_t  *lifeline;

    tn_list_each(link, &super->lifelines) {
        lifeline = tn_container(link, tn_super_lifeline_t, link);

        if (lifeline->opened == opened) {
            return lifeline;
        }
    }

    return NULL;
}


tn_super_lifeline_t *
tn_super_each(tn_super_t *super, tn_super_lifeline_t *prev, int *fd)
{
    tn_link_t            *link;
    tn_super_lifeline_t  *lifeline;

    link = prev ? prev->link.next : super->lifelines.next;

    if (link == &super->lifelines) {
        return NULL;
    }

    lifeline = tn_container(link, tn_super_lifeline_t, link);
    *fd = lifeline->fd;

    return lifeline;
}
