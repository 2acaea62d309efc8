
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A lifeline is one cycle of one nginx master.  It goes through
 *
 *   new        only HELLO is taken
 *   staged     NODE and LISTEN count as wants: holders are started and
 *              sockets made, but the core hears nothing yet
 *   committed  its configuration is in force, unless another lifeline was
 *              committed later.  From now on there are workers, which are not
 *              to be obeyed: all requests are refused.  What they have of it
 *              is the end of a pipe to read, by which they can neither speak
 *              nor end it for others
 *   closed     its wants are gone
 *
 * A node's configuration, and a listening socket's flags, are those of the
 * lifeline which wants it and was committed last: so a reload that fails
 * changes nothing, and when a new binary gives up, what the old one said is
 * in force again.
 *
 * A node stays until no lifeline wants it: workers of an old cycle that still
 * serve hold its lifeline open.  A listening socket goes earlier: at a commit
 * the earlier cycles of the same master (the same token) lose theirs, because
 * nobody accepts from them any more, and with SO_REUSEPORT the kernel would
 * still hand them connections.  Another master's, of before or after a binary
 * upgrade, are left alone.
 *
 * Limits: TN_SUPER_LIFELINES, TN_SUPER_NODES, TN_SNODE_LISTENERS; one more
 * lifeline may be opened, for its HELLO to be refused with a reason.  Timers:
 * the log file is looked at once a second, lost holders are started again
 * with a growing pause; and for a while after a node went or changed others
 * try to get the fixed UDP port that it had, which the core is about to close.
 */

#include "proc/tn_super_int.h"
#include "host/tn_state.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>


#define TN_SUPER_LOG_CHECK_MS   1000
#define TN_SUPER_UDP_RETRY_MS   200
#define TN_SUPER_UDP_MS         10000
#define TN_SUPER_DIAL_BACKLOG   4096

#ifdef TN_HAVE_LWIP
#define TN_SUPER_HAS_LWIP  true
#else
#define TN_SUPER_HAS_LWIP  false
#endif


static bool tn_super_hello(tn_super_t *super, tn_super_lifeline_t *lifeline,
    const tn_ipc_hello_t *msg, int *fds, size_t count, tn_ipc_reply_t *reply);
static int tn_super_node(tn_super_t *super, tn_super_lifeline_t *lifeline,
    const tn_ipc_node_t *conf, tn_ipc_reply_t *reply);
static tn_super_want_t *tn_super_wanted(tn_super_lifeline_t *lifeline,
    const char *name);
static tn_rc_t tn_super_stack(tn_super_t *super, tn_super_want_t *want);
static tn_rc_t tn_super_namespace(tn_super_t *super, tn_snode_t *node);
static int tn_super_listen(tn_super_t *super, tn_super_lifeline_t *lifeline,
    const tn_ipc_listen_t *msg, tn_ipc_reply_t *reply);
static void tn_super_commit(tn_super_t *super, tn_super_lifeline_t *lifeline,
    tn_ipc_reply_t *reply);
static void tn_super_host(tn_super_t *super, tn_super_lifeline_t *lifeline);
static void tn_super_flags(tn_super_t *super);
static void tn_super_log(tn_super_t *super, int fd, int level,
    const char *path);
static void tn_super_apply(tn_super_t *super, tn_snode_t *node,
    const tn_ipc_node_t *conf);
static void tn_super_drop_sockets(tn_super_t *super,
    tn_super_lifeline_t *lifeline);
static void tn_super_core_unlisten(tn_super_t *super, tn_snode_t *node,
    const tn_snode_listener_t *listener);
static void tn_super_free_want(tn_super_want_t *want);
static tn_ms_t tn_super_ports(tn_super_t *super, tn_ms_t now);
static void tn_super_log_check(tn_super_t *super);
static void tn_super_reply(tn_ipc_reply_t *reply, tn_rc_t rc,
    const char *text);


tn_super_t *
tn_super_create(const tn_super_conf_t *conf)
{
    tn_super_t  *super;

    super = calloc(1, sizeof(*super));

    if (super == NULL) {
        return NULL;
    }

    super->dir = conf->dir;
    super->program_fd = conf->program_fd;
    super->local = conf->local;
    super->log_fd = -1;
    super->dial_fd = -1;
    super->core_fd = -1;
    super->uid = (uid_t) -1;
    super->gid = (gid_t) -1;

    tn_list_init(&super->nodes);
    tn_list_init(&super->lifelines);

    tn_logfile_init(&super->logfile, -1, TN_LOG_NOTICE);
    super->log = &super->logfile.log;

    return super;
}


void
tn_super_destroy(tn_super_t *super)
{
    tn_link_t  *link, *tmp;

    super->core_fd = -1;

    tn_list_each_safe(link, tmp, &super->lifelines) {
        tn_super_close(super, tn_container(link, tn_super_lifeline_t, link));
    }

    while ((link = tn_list_shift(&super->nodes)) != NULL) {
        tn_snode_destroy(tn_container(link, tn_snode_t, link));
    }

    tn_ipc_close(&super->dial_fd, 1);
    tn_ipc_close(&super->program_fd, 1);
    tn_logfile_done(&super->logfile);

    free(super);
}


tn_super_lifeline_t *
tn_super_open(tn_super_t *super, int fd)
{
    tn_super_lifeline_t  *lifeline;

    if (super->n_lifelines == TN_SUPER_CYCLES) {
        return NULL;
    }

    lifeline = calloc(1, sizeof(*lifeline));

    if (lifeline == NULL) {
        return NULL;
    }

    lifeline->fd = fd;
    lifeline->log_fd = -1;
    lifeline->hold[0] = -1;
    lifeline->hold[1] = -1;
    lifeline->opened = ++super->serial;
    tn_list_init(&lifeline->nodes);
    tn_list_init(&lifeline->sockets);

    tn_list_push(&super->lifelines, &lifeline->link);
    super->n_lifelines++;

    return lifeline;
}


void
tn_super_close(tn_super_t *super, tn_super_lifeline_t *lifeline)
{
    tn_link_t  *link;

    tn_list_remove(&lifeline->link);
    super->n_lifelines--;
    super->changed = true;

    tn_super_drop_sockets(super, lifeline);

    while ((link = tn_list_shift(&lifeline->nodes)) != NULL) {
        tn_super_free_want(tn_container(link, tn_super_want_t, link));
    }

    tn_ipc_close(&lifeline->log_fd, 1);
    tn_ipc_close(lifeline->hold, 2);
    free(lifeline);

    /*
     * With the last one gone everything is going to end, or the next nginx
     * comes within a second: until then things stay.
     */

    if (super->n_lifelines) {
        tn_super_settle(super);
    }
}


int
tn_super_held(const tn_super_lifeline_t *lifeline)
{
    return lifeline->committed ? lifeline->hold[1] : -1;
}


bool
tn_super_request(tn_super_t *super, tn_super_lifeline_t *lifeline,
    tn_ipc_msg_t *msg, int *fds, size_t count, tn_ipc_reply_t *reply, int *fd)
{
    bool  rc;

    *fd = -1;
    rc = true;

    tn_ipc_init(reply, TN_IPC_REPLY);
    reply->head.seq = msg->head.seq;

    /* nginx has it by now */
    tn_ipc_close(&lifeline->hold[0], 1);

    if (lifeline->hello != (msg->head.type != TN_IPC_HELLO)) {
        rc = false;

    } else if (lifeline->committed) {
        tn_super_reply(reply, TN_REFUSED, TN_IPC_COMMITTED);

    } else {

        switch (msg->head.type) {

        case TN_IPC_HELLO:
            rc = tn_super_hello(super, lifeline, &msg->hello, fds, count,
                                reply);
            *fd = lifeline->hold[0];
            break;

        case TN_IPC_NODE:
            *fd = tn_super_node(super, lifeline, &msg->node.node, reply);
            break;

        case TN_IPC_LISTEN:
            *fd = tn_super_listen(super, lifeline, &msg->listen, reply);
            break;

        case TN_IPC_COMMIT:
            tn_super_commit(super, lifeline, reply);
            break;

        default:
            rc = false;
        }
    }

    reply->fds = *fd != -1;

    tn_ipc_close(fds, count);
    tn_wipe(msg, sizeof(*msg));

    return rc;
}


static bool
tn_super_hello(tn_super_t *super, tn_super_lifeline_t *lifeline,
    const tn_ipc_hello_t *msg, int *fds, size_t count, tn_ipc_reply_t *reply)
{
    if (count > 1) {
        return false;
    }

    if (super->n_lifelines > TN_SUPER_LIFELINES) {
        snprintf(reply->text, sizeof(reply->text), "the workers of %d earlier "
                 "configurations are still there; remedy: "
                 "\"worker_shutdown_timeout\"", TN_SUPER_LIFELINES);
        reply->rc = TN_REFUSED;
        return true;
    }

    lifeline->hello = true;
    lifeline->conf = *msg;

    if (count) {
        lifeline->log_fd = fds[0];
        fds[0] = -1;
    }

    /* what happens before the first commit is to be logged too */

    if (super->log_fd == -1) {
        tn_super_log(super, lifeline->log_fd, msg->log_level, msg->log_path);
    }

    /* in one process nobody inherits it */

    if (!super->local && pipe2(lifeline->hold, O_CLOEXEC) == -1) {
        tn_log(super->log, TN_LOG_ALERT, "supervisor: pipe2() failed (%d: %s)",
               errno, strerror(errno));
    }

    reply->value = getpid();

    return true;
}


/* what its share is to be read by, or -1 */
static int
tn_super_node(tn_super_t *super, tn_super_lifeline_t *lifeline,
    const tn_ipc_node_t *conf, tn_ipc_reply_t *reply)
{
    tn_snode_t       *node;
    tn_super_want_t  *want;

    if (conf->name[0] == '\0' || conf->state_dir[0] != '/') {
        tn_super_reply(reply, TN_MALFORMED, "a node needs a name and an "
                       "absolute state directory");
        return -1;
    }

    want = tn_super_wanted(lifeline, conf->name);

    if (want == NULL) {
        node = tn_super_find(super, conf->name);

        if (node == NULL && super->n_nodes == TN_SUPER_NODES) {
            tn_super_reply(reply, TN_NOMEM, "too many nodes");
            return -1;
        }

        want = calloc(1, sizeof(*want));

        if (want && node == NULL) {
            node = tn_snode_create(conf->name);

            if (node) {
                tn_list_push(&super->nodes, &node->link);
                super->n_nodes++;
            }
        }

        if (want == NULL || node == NULL) {
            free(want);
            tn_super_reply(reply, TN_NOMEM, "out of memory");
            return -1;
        }

        want->node = node;
        node->refs++;
        tn_list_push(&lifeline->nodes, &want->link);
    }

    want->config = *conf;

    if (tn_super_stack(super, want) != TN_OK) {
        tn_super_reply(reply, TN_REFUSED, want->node->text);
        return -1;
    }

    return want->node->share_ro_fd;
}


tn_snode_t *
tn_super_find(tn_super_t *super, const char *name)
{
    tn_link_t   *link;
    tn_snode_t  *node;

    tn_list_each(link, &super->nodes) {
        node = tn_container(link, tn_snode_t, link);

        if (strcmp(node->name, name) == 0) {
            return node;
        }
    }

    return NULL;
}


static tn_super_want_t *
tn_super_wanted(tn_super_lifeline_t *lifeline, const char *name)
{
    tn_link_t        *link;
    tn_super_want_t  *want;

    tn_list_each(link, &lifeline->nodes) {
        want = tn_container(link, tn_super_want_t, link);

        if (strcmp(want->config.name, name) == 0) {
            return want;
        }
    }

    return NULL;
}


/*
 * Finds the stack that the listeners of this cycle are to be of; the core is
 * told at the commit.  TN_REFUSED or TN_ERROR: there is none, as the node's
 * text says.
 */
static tn_rc_t
tn_super_stack(tn_super_t *super, tn_super_want_t *want)
{
    tn_snode_t  *node;

    node = want->node;
    want->lwip = false;

    if (want->config.stack == TN_IPC_STACK_LWIP && !TN_SUPER_HAS_LWIP) {
        snprintf(node->text, sizeof(node->text), "%s", TN_SUPER_NO_LWIP);
        return TN_REFUSED;
    }

    if (want->config.stack == TN_IPC_STACK_LWIP) {
        want->lwip = true;
        node->text[0] = '\0';
        return TN_OK;
    }

    if (tn_super_namespace(super, node) == TN_OK) {
        return TN_OK;
    }

    /* a node that has its namespace gets another holder for it */

    if (want->config.stack != TN_IPC_STACK_AUTO || node->net_fd != -1
        || !TN_SUPER_HAS_LWIP)
    {
        return TN_ERROR;
    }

    tn_log(super->log, node->lwip ? TN_LOG_INFO : TN_LOG_NOTICE,
           "\"%s\": the stack is lwip, for there can be no network namespace "
           "(%s); each reload tries again", node->name, node->text);

    want->lwip = true;
    node->text[0] = '\0';

    return TN_OK;
}


/* the namespace with its holder; node->text says why there is none */
static tn_rc_t
tn_super_namespace(tn_super_t *super, tn_snode_t *node)
{
    bool  renewed;

    if (node->holder_fd != -1) {
        return TN_OK;
    }

    renewed = node->net_fd != -1;

    if (tn_snode_holder(node, super->program_fd, super->log_fd, super->local)
        != TN_OK)
    {
        /* without a namespace so far the answer to nginx says it all */

        tn_log(super->log, renewed ? TN_LOG_ERR : TN_LOG_INFO,
               "\"%s\": no network namespace: %s", node->name,
               node->text);
        return TN_ERROR;
    }

    super->changed = true;

    tn_log(super->log, TN_LOG_NOTICE, "\"%s\": %s network namespace%s",
           node->name, renewed ? "back in its" : "has its own",
           node->features & TN_IPC_UNPRIVILEGED ? ", unprivileged" : "");

    if (node->running && renewed) {
        tn_super_core_holder(super, node);

    } else if (node->running && !node->lwip) {
        tn_super_core_node(super, node);
    }

    return TN_OK;
}


static int
tn_super_listen(tn_super_t *super, tn_super_lifeline_t *lifeline,
    const tn_ipc_listen_t *msg, tn_ipc_reply_t *reply)
{
    tn_link_t            *link;
    tn_super_want_t      *want;
    tn_super_socket_t    *sock;
    tn_snode_listener_t  *listener;

    want = tn_super_wanted(lifeline, msg->node);

    if (want == NULL) {
        tn_super_reply(reply, TN_NOTFOUND, "no such node in this cycle");
        return -1;
    }

    /* what the node's own message found to be the stack is it */

    if (!want->lwip && tn_super_stack(super, want) != TN_OK)
    {
        tn_super_reply(reply, TN_REFUSED, want->node->text);
        return -1;
    }

    listener = tn_snode_listen(want->node, msg, want->lwip, reply->text);

    if (listener == NULL) {
        reply->err = errno;
        reply->rc = TN_ERROR;
        return -1;
    }

    tn_list_each(link, &lifeline->sockets) {
        sock = tn_container(link, tn_super_socket_t, link);

        if (sock->listener == listener) {
            sock->flags = msg->flags;
            return listener->fd;
        }
    }

    sock = calloc(1, sizeof(*sock));

    if (sock == NULL) {
        if (listener->refs == 0) {
            tn_snode_unlisten(want->node, listener);
        }

        tn_super_reply(reply, TN_NOMEM, "out of memory");
        return -1;
    }

    sock->node = want->node;
    sock->listener = listener;
    sock->flags = msg->flags;
    listener->refs++;
    tn_list_push(&lifeline->sockets, &sock->link);

    if (want->node->running) {
        tn_super_core_listen(super, listener, TN_IPC_CORE_LISTEN);
    }

    return listener->fd;
}


static void
tn_super_commit(tn_super_t *super, tn_super_lifeline_t *lifeline,
    tn_ipc_reply_t *reply)
{
    tn_link_t            *link;
    tn_super_lifeline_t  *other;

    lifeline->committed = ++super->serial;

    if (lifeline->hold[1] != -1) {
        lifeline->fd = -1;
    }

    tn_list_each(link, &super->lifelines) {
        other = tn_container(link, tn_super_lifeline_t, link);

        if (other->opened < lifeline->opened
            && strcmp(other->conf.token, lifeline->conf.token) == 0)
        {
            tn_super_drop_sockets(super, other);
        }
    }

    tn_super_settle(super);
    super->changed = true;

    if (super->dial_fd == -1) {
        tn_super_reply(reply, TN_ERROR, "no socket for dialling in the "
                       "run-time directory");
    }
}


void
tn_super_settle(tn_super_t *super)
{
    uint64_t              last;
    tn_link_t            *link, *tmp, *ll;
    tn_snode_t           *node;
    tn_super_want_t      *want, *best;
    tn_super_lifeline_t  *lifeline, *newest;

    newest = NULL;

    tn_list_each(ll, &super->lifelines) {
        lifeline = tn_container(ll, tn_super_lifeline_t, link);

        if (lifeline->committed
            && (newest == NULL || lifeline->committed > newest->committed))
        {
            newest = lifeline;
        }
    }

    if (newest) {
        tn_super_host(super, newest);
    }

    tn_super_flags(super);

    tn_list_each_safe(link, tmp, &super->nodes) {
        node = tn_container(link, tn_snode_t, link);

        if (node->refs == 0) {

            if (node->running) {
                tn_super_core_name(super, TN_IPC_CORE_STOP, node->name, -1);
                tn_log(super->log, TN_LOG_NOTICE, "\"%s\": not wanted "
                       "any more", node->name);
            }

            tn_list_remove(&node->link);
            super->n_nodes--;
            tn_snode_destroy(node);

            super->udp_until = tn_ipc_now() + TN_SUPER_UDP_MS;

            continue;
        }

        best = NULL;
        last = 0;

        tn_list_each(ll, &super->lifelines) {
            lifeline = tn_container(ll, tn_super_lifeline_t, link);

            if (lifeline->committed <= last) {
                continue;
            }

            want = tn_super_wanted(lifeline, node->name);

            if (want) {
                best = want;
                last = lifeline->committed;
            }
        }

        if (best
            && (!node->running || best->lwip != node->lwip
                || memcmp(&best->config, &node->config, sizeof(node->config))
                   != 0))
        {
            node->lwip = best->lwip;
            tn_super_apply(super, node, &best->config);
        }
    }
}


/* user, log and dial.sock are of the cycle committed last */
static void
tn_super_host(tn_super_t *super, tn_super_lifeline_t *lifeline)
{
    int  fd;

    tn_super_log(super, lifeline->log_fd, lifeline->conf.log_level,
                 lifeline->conf.log_path);

    if (super->dial_fd != -1 && super->uid == lifeline->conf.uid
        && super->gid == lifeline->conf.gid)
    {
        return;
    }

    super->uid = lifeline->conf.uid;
    super->gid = lifeline->conf.gid;
    super->core_stale = super->core_fd != -1;

    fd = tn_ipc_bind(super->dir, TN_IPC_DIAL_SOCK, 0600, super->uid,
                     super->gid, TN_SUPER_DIAL_BACKLOG);

    if (fd == -1) {
        tn_log(super->log, TN_LOG_ERR, "%s/%s cannot be made (%d: %s)",
               super->dir, TN_IPC_DIAL_SOCK, errno, strerror(errno));
        return;
    }

    tn_ipc_close(&super->dial_fd, 1);
    super->dial_fd = fd;
}


/* of listening sockets */
static void
tn_super_flags(tn_super_t *super)
{
    tn_link_t            *link, *ll;
    tn_snode_t           *node;
    tn_super_socket_t    *sock;
    tn_snode_listener_t  *listener;
    tn_super_lifeline_t  *lifeline;

    tn_list_each(ll, &super->nodes) {
        node = tn_container(ll, tn_snode_t, link);

        tn_list_each(link, &node->listeners) {
            listener = tn_container(link, tn_snode_listener_t, link);
            listener->committed = 0;
            listener->flags = listener->key.flags;
        }
    }

    tn_list_each(ll, &super->lifelines) {
        lifeline = tn_container(ll, tn_super_lifeline_t, link);

        tn_list_each(link, &lifeline->sockets) {
            sock = tn_container(link, tn_super_socket_t, link);
            listener = sock->listener;

            if (lifeline->committed > listener->committed) {
                listener->committed = lifeline->committed;
                listener->flags = sock->flags;
            }
        }
    }

    tn_list_each(ll, &super->nodes) {
        node = tn_container(ll, tn_snode_t, link);

        tn_list_each(link, &node->listeners) {
            listener = tn_container(link, tn_snode_listener_t, link);

            if (listener->flags == listener->key.flags) {
                continue;
            }

            listener->key.flags = listener->flags;

            if (node->running) {
                tn_super_core_listen(super, listener, TN_IPC_CORE_LISTEN);
            }
        }
    }
}


static void
tn_super_log(tn_super_t *super, int fd, int level, const char *path)
{
    struct stat  now, then;

    super->logfile.log.level = tn_max(tn_min(level, TN_LOG_DEBUG),
                                      TN_LOG_EMERG);

    snprintf(super->log_path, sizeof(super->log_path), "%s", path);

    if (super->log_fd != -1 && fd != -1 && fstat(fd, &now) == 0
        && fstat(super->log_fd, &then) == 0 && now.st_dev == then.st_dev
        && now.st_ino == then.st_ino)
    {
        /* the same file, perhaps another level */

        tn_super_core_setup(super, false);
        return;
    }

    if (fd != -1) {
        fd = fcntl(fd, F_DUPFD_CLOEXEC, TN_IPC_FDS);
    }

    tn_logfile_replace(&super->logfile, fd);
    super->log_fd = super->logfile.fd;

    tn_super_core_setup(super, false);
}


static void
tn_super_apply(tn_super_t *super, tn_snode_t *node, const tn_ipc_node_t *conf)
{
    tn_state_error_t  error;

    /* the core could not make it; what is wrong with it the core will say */

    if (tn_state_prepare(conf->state_dir, super->uid, super->gid, &error)
        != TN_OK)
    {
        tn_log(super->log, TN_LOG_ERR, "\"%s\": %s", node->name,
               error.text);
    }

    tn_snode_udp(node, conf->udp_port, conf->state_dir, super->log);

    super->udp_until = tn_ipc_now() + TN_SUPER_UDP_MS;

    node->config = *conf;
    node->running = true;

    tn_super_core_node(super, node);
}


static void
tn_super_drop_sockets(tn_super_t *super, tn_super_lifeline_t *lifeline)
{
    tn_link_t          *link;
    tn_super_socket_t  *sock;

    while ((link = tn_list_shift(&lifeline->sockets)) != NULL) {
        sock = tn_container(link, tn_super_socket_t, link);

        if (sock->listener->refs == 1 && sock->node->running) {
            tn_super_core_unlisten(super, sock->node, sock->listener);
        }

        tn_snode_unlisten(sock->node, sock->listener);
        free(sock);
    }
}


/*
 * To the core clones of "reuseport" are one listener, and so are those of two
 * stacks: it keeps the port for the one that is left.
 */
static void
tn_super_core_unlisten(tn_super_t *super, tn_snode_t *node,
    const tn_snode_listener_t *listener)
{
    tn_link_t            *link;
    tn_snode_listener_t  *other;

    tn_list_each(link, &node->listeners) {
        other = tn_container(link, tn_snode_listener_t, link);

        if (other != listener
            && other->key.family == listener->key.family
            && other->key.proto == listener->key.proto
            && other->key.port == listener->key.port
            && ((other->key.flags ^ listener->key.flags) & TN_IPC_CAPTURE) == 0
            && (other->lwip || (other->key.flags & TN_IPC_CAPTURE)))
        {
            tn_super_core_listen(super, other, TN_IPC_CORE_LISTEN);
            return;
        }
    }

    tn_super_core_listen(super, listener, TN_IPC_CORE_UNLISTEN);
}


static void
tn_super_free_want(tn_super_want_t *want)
{
    want->node->refs--;

    tn_wipe(&want->config, sizeof(want->config));
    free(want);
}


bool
tn_super_wants_core(tn_super_t *super)
{
    tn_link_t   *link;
    tn_snode_t  *node;

    tn_list_each(link, &super->nodes) {
        node = tn_container(link, tn_snode_t, link);

        if (node->running) {
            return true;
        }
    }

    return false;
}


tn_ms_t
tn_super_tick(tn_super_t *super, tn_ms_t now)
{
    tn_ms_t      next;
    tn_link_t   *link;
    tn_snode_t  *node;

    if (now - super->log_checked >= TN_SUPER_LOG_CHECK_MS) {
        super->log_checked = now;
        tn_super_log_check(super);
    }

    if (super->local && super->core_fd != -1 && super->core_stale) {
        tn_super_core_again(super);
    }

    next = super->log_path[0] ? super->log_checked + TN_SUPER_LOG_CHECK_MS
                              : TN_NEVER_MS;

    if (now < super->udp_until) {
        next = tn_min(next, tn_super_ports(super, now));
    }

    tn_list_each(link, &super->nodes) {
        node = tn_container(link, tn_snode_t, link);

        if (!node->running || node->lwip
            || node->config.stack == TN_IPC_STACK_LWIP)
        {
            continue;
        }

        if (node->holder_fd == -1 && node->retry <= now) {
            (void) tn_super_namespace(super, node);

        } else if (node->holder_fd != -1 && node->attach != 0
                   && node->attach <= now)
        {
            tn_super_core_holder(super, node);
        }

        if (node->holder_fd == -1) {
            next = tn_min(next, tn_max(node->retry, now + 1));

        } else if (node->attach != 0) {
            next = tn_min(next, node->attach);
        }
    }

    return next;
}


static tn_ms_t
tn_super_ports(tn_super_t *super, tn_ms_t now)
{
    tn_rc_t      rc;
    tn_ms_t      next;
    tn_link_t   *link;
    tn_snode_t  *node;

    next = TN_NEVER_MS;

    tn_list_each(link, &super->nodes) {
        node = tn_container(link, tn_snode_t, link);

        if (!node->running) {
            continue;
        }

        rc = tn_snode_udp_again(node, super->log);

        if (rc == TN_OK) {
            super->changed = true;
            tn_super_core_node(super, node);

        } else if (rc == TN_AGAIN) {
            next = now + TN_SUPER_UDP_RETRY_MS;
        }
    }

    return next;
}


/* after a rotation the file of that name is another one: nginx made it */
static void
tn_super_log_check(tn_super_t *super)
{
    int          fd;
    struct stat  now, then;

    if (super->log_path[0] == '\0' || super->log_fd == -1
        || stat(super->log_path, &now) == -1
        || fstat(super->log_fd, &then) == -1
        || (now.st_dev == then.st_dev && now.st_ino == then.st_ino))
    {
        return;
    }

    /* nor does one wait for somebody who reads a FIFO */

    fd = open(super->log_path,
              O_WRONLY|O_APPEND|O_CLOEXEC|O_NOFOLLOW|O_NONBLOCK);

    if (fd == -1) {
        return;
    }

    tn_logfile_replace(&super->logfile, fd);
    super->log_fd = super->logfile.fd;

    tn_super_core_setup(super, false);
}


static void
tn_super_reply(tn_ipc_reply_t *reply, tn_rc_t rc, const char *text)
{
    reply->rc = rc;
    snprintf(reply->text, sizeof(reply->text), "%s", text);
}
