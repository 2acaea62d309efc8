
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the core is told, and when it is to be replaced: once a message did not
 * find room in TN_SUPER_CORE_SEND_MS nothing more is sent.  In a single-process
 * nginx, which must not wait so long and cannot replace it, the core is told
 * everything again.
 */

#include "proc/tn_super_int.h"

#include <errno.h>
#include <stdio.h>


#define TN_SUPER_CORE_SEND_MS   2000
#define TN_SUPER_CORE_AGAIN_MS  100


static void tn_super_core_send(tn_super_t *super, const void *msg,
    const int *fds, size_t count);
static tn_rc_t tn_super_core_tell(tn_super_t *super, bool dial, bool resume);
static void tn_super_core_nodes(tn_super_t *super);
static int tn_super_core_channel(tn_super_t *super, tn_snode_t *node);


tn_rc_t
tn_super_core_attach(tn_super_t *super, int fd)
{
    super->core_fd = fd;

    return tn_super_core_tell(super, true, false);
}


tn_rc_t
tn_super_core_resume(tn_super_t *super, int fd)
{
    super->core_fd = fd;

    return tn_super_core_tell(super, false, true);
}


void
tn_super_core_again(tn_super_t *super)
{
    super->again = true;
    (void) tn_super_core_tell(super, true, true);
    super->again = false;
}


/*
 * Everything, with `dial` dial.sock too; `resume`: it may run some of it.  Who
 * dials waits in the queue of dial.sock until the core knows all nodes, which
 * may take a while: for each its holder is asked for a channel.
 */
static tn_rc_t
tn_super_core_tell(tn_super_t *super, bool dial, bool resume)
{
    super->core_stale = false;

    tn_super_core_setup(super, false);

    if (resume) {
        tn_super_core_name(super, TN_IPC_CORE_RESUME, "", -1);
    }

    tn_super_core_nodes(super);

    if (dial) {
        tn_super_core_setup(super, true);
    }

    return super->core_stale ? TN_ERROR : TN_OK;
}


static void
tn_super_core_nodes(tn_super_t *super)
{
    tn_link_t   *link;
    tn_snode_t  *node;

    tn_list_each(link, &super->nodes) {
        node = tn_container(link, tn_snode_t, link);

        if (node->running) {
            tn_super_core_node(super, node);
        }
    }

    tn_super_core_name(super, TN_IPC_CORE_START, "", -1);
}


void
tn_super_core_stop(tn_super_t *super)
{
    tn_link_t   *link;
    tn_snode_t  *node;

    tn_list_each(link, &super->nodes) {
        node = tn_container(link, tn_snode_t, link);

        if (node->running) {
            tn_super_core_name(super, TN_IPC_CORE_STOP, node->name, -1);
        }
    }
}


void
tn_super_core_detach(tn_super_t *super)
{
    super->core_fd = -1;
    super->core_stale = false;
}


/* a core that does not read for long is as good as dead */
static void
tn_super_core_send(tn_super_t *super, const void *msg, const int *fds,
    size_t count)
{
    tn_ms_t  deadline;

    if (super->core_fd == -1 || super->core_stale) {
        return;
    }

    deadline = tn_ipc_now() + (!super->local ? TN_SUPER_CORE_SEND_MS
                               : super->again ? TN_SUPER_CORE_AGAIN_MS : 0);

    if (tn_ipc_send_until(super->core_fd, msg, fds, count, deadline)
        != TN_OK)
    {
        super->core_stale = true;
    }
}


void
tn_super_core_setup(tn_super_t *super, bool dial)
{
    int             fds[2];
    size_t          n;
    tn_ipc_setup_t  msg;

    n = 0;

    tn_ipc_init(&msg, TN_IPC_CORE_SETUP);
    msg.log_level = super->log->level;

    if (super->log_fd != -1) {
        msg.mask |= TN_IPC_FD_LOG;
        fds[n++] = super->log_fd;
    }

    if (dial && super->dial_fd != -1) {
        msg.mask |= TN_IPC_FD_DIAL;
        fds[n++] = super->dial_fd;
    }

    tn_super_core_send(super, &msg, fds, n);
}


void
tn_super_core_node(tn_super_t *super, tn_snode_t *node)
{
    int                 channel, fds[6];
    size_t              n;
    tn_link_t          *link;
    tn_ipc_core_node_t  msg;

    if (super->core_fd == -1 || super->core_stale) {
        return;
    }

    n = 0;

    tn_ipc_init(&msg, TN_IPC_CORE_NODE);
    memcpy(msg.disco, node->disco, sizeof(msg.disco));
    msg.node = node->config;
    msg.features = node->features;

    channel = -1;

    if (node->lwip) {
        msg.features = TN_IPC_BY_LWIP;

    } else if (node->config.stack == TN_IPC_STACK_LWIP) {
        snprintf(msg.text, sizeof(msg.text), "%s", TN_SUPER_NO_LWIP);

    } else {
        memcpy(msg.text, node->text, sizeof(msg.text));

        if (node->tun_fd != -1) {
            msg.mask |= TN_IPC_FD_TUN;
            fds[n++] = node->tun_fd;
        }

        channel = tn_super_core_channel(super, node);

        if (channel != -1) {
            msg.mask |= TN_IPC_FD_HOLDER;
            fds[n++] = channel;
        }
    }

    if (node->udp_fd[0] != -1) {
        msg.mask |= TN_IPC_FD_UDP4;
        fds[n++] = node->udp_fd[0];
    }

    if (node->udp_fd[1] != -1) {
        msg.mask |= TN_IPC_FD_UDP6;
        fds[n++] = node->udp_fd[1];
    }

    if (node->share_fd != -1) {
        msg.mask |= TN_IPC_FD_SHARE;
        fds[n++] = node->share_fd;
    }

    if (node->bulk_fd != -1 && (msg.mask & TN_IPC_FD_TUN)) {
        msg.mask |= TN_IPC_FD_BULK;
        fds[n++] = node->bulk_fd;
    }

    tn_super_core_send(super, &msg, fds, n);

    tn_ipc_close(&channel, 1);
    tn_wipe(&msg, sizeof(msg));

    tn_list_each(link, &node->listeners) {
        tn_super_core_listen(super,
                             tn_container(link, tn_snode_listener_t, link),
                             TN_IPC_CORE_LISTEN);
    }
}


void
tn_super_core_listen(tn_super_t *super, const tn_snode_listener_t *listener,
    tn_ipc_type_e type)
{
    tn_ipc_listen_t  msg;

    /* of those that it has nothing to do with it is to know what to let by */

    if (!listener->lwip && !(listener->key.flags & TN_IPC_CAPTURE)) {
        return;
    }

    tn_ipc_init(&msg, type);
    memcpy(msg.node, listener->key.node, sizeof(msg.node));
    msg.family = listener->key.family;
    msg.proto = listener->key.proto;
    msg.port = listener->key.port;
    msg.backlog = listener->key.backlog;
    msg.flags = listener->key.flags;

    tn_super_core_send(super, &msg, &listener->fd,
                       listener->lwip && type == TN_IPC_CORE_LISTEN);
}


/* closes fd */
void
tn_super_core_name(tn_super_t *super, tn_ipc_type_e type, const char *name,
    int fd)
{
    tn_ipc_name_t  msg;

    tn_ipc_init(&msg, type);
    snprintf(msg.name, sizeof(msg.name), "%s", name);

    tn_super_core_send(super, &msg, &fd, fd != -1);

    tn_ipc_close(&fd, 1);
}


/* the core goes on with the one it has, if any, until it gets another */
static int
tn_super_core_channel(tn_super_t *super, tn_snode_t *node)
{
    int  fd;

    fd = tn_snode_channel(node);

    if (fd != -1 || node->holder_fd == -1) {
        node->attach = 0;
        return fd;
    }

    if (node->attach == 0) {
        tn_log(super->log, TN_LOG_ERR, "\"%s\": the core gets no channel to "
               "the holder of the network namespace (%d: %s), trying again",
               node->name, errno, strerror(errno));
    }

    node->attach = tn_ipc_now() + TN_SNODE_RETRY_MS;

    return -1;
}


void
tn_super_core_holder(tn_super_t *super, tn_snode_t *node)
{
    int  fd;

    fd = tn_super_core_channel(super, node);

    if (fd != -1) {
        tn_super_core_name(super, TN_IPC_CORE_HOLDER, node->name, fd);
    }
}
