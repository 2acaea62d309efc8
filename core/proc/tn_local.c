
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Holders are started detached, so that nginx never sees them as children of
 * its own and they survive when it becomes a daemon after the sockets are
 * made; they end when their channel does, with the process.  The core's
 * thread listens at a socket pair, like the core's process: what is committed
 * before the thread starts waits in it.
 */

#include "proc/tn_local.h"
#include "proc/tn_spawn.h"
#include "proc/tn_super.h"
#include "proc/tn_superd.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>


#define TN_LOCAL_BUFFER  (1024 * 1024)


typedef struct {
    tn_super_t  *super;         /* NULL: nothing here */
    char         dir[TN_IPC_PATH];
    int          dir_fd;        /* holds the lock */
    int          core_fd;       /* our end, or -1 */
    int          thread_fd;     /* the core's, until taken */
} tn_local_t;


static tn_local_t  tn_local;


static tn_rc_t tn_local_start(const tn_client_conf_t *conf, char *text);
static void tn_local_stop(void);
static void tn_local_attach(void);


void *
tn_local_open(const tn_client_conf_t *conf, char *text)
{
    tn_super_lifeline_t  *lifeline;

    if (tn_local.super == NULL && tn_local_start(conf, text) != TN_OK) {
        return NULL;
    }

    lifeline = tn_super_open(tn_local.super, -1);

    if (lifeline == NULL) {
        snprintf(text, TN_IPC_TEXT, "too many cycles are alive");
    }

    return lifeline;
}


static tn_rc_t
tn_local_start(const tn_client_conf_t *conf, char *text)
{
    tn_super_conf_t  sc;

    tn_local.core_fd = -1;
    tn_local.thread_fd = -1;

    snprintf(tn_local.dir, sizeof(tn_local.dir), "%s", conf->dir);
    tn_local.dir_fd = tn_superd_lock(conf->dir, text);

    if (tn_local.dir_fd == -1) {
        return TN_ERROR;
    }

    sc.dir = tn_local.dir;
    sc.local = true;
    sc.program_fd = tn_spawn_beside(conf->program, text);

    if (sc.program_fd == -1) {
        tn_ipc_close(&tn_local.dir_fd, 1);
        return TN_ERROR;
    }

    tn_local.super = tn_super_create(&sc);

    if (tn_local.super == NULL) {
        snprintf(text, TN_IPC_TEXT, "out of memory");
        tn_ipc_close(&sc.program_fd, 1);
        tn_ipc_close(&tn_local.dir_fd, 1);
        return TN_NOMEM;
    }

    return TN_OK;
}


bool
tn_local_request(void *lifeline, tn_ipc_msg_t *msg, int *fds, size_t count,
    tn_ipc_reply_t *reply, int *fd)
{
    if (!tn_super_request(tn_local.super, lifeline, msg, fds, count, reply,
                          fd))
    {
        return false;
    }

    if (tn_local.core_fd == -1 && tn_super_wants_core(tn_local.super)) {
        tn_local_attach();
    }

    tn_local_tick();

    return true;
}


static void
tn_local_attach(void)
{
    int  pair[2], size;

    if (tn_ipc_pair(pair) != TN_OK) {
        tn_log(tn_local.super->log, TN_LOG_ERR, "socketpair() failed (%d: "
               "%s)", errno, strerror(errno));
        return;
    }

    size = TN_LOCAL_BUFFER;
    (void) setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size, sizeof(size));

    tn_local.core_fd = pair[0];
    tn_local.thread_fd = pair[1];

    /* what finds no room is sent again when the thread has read */

    (void) tn_super_core_attach(tn_local.super, pair[0]);
}


int
tn_local_core(void)
{
    int  fd;

    if (tn_local.super == NULL) {
        return -1;
    }

    fd = tn_local.thread_fd;
    tn_local.thread_fd = -1;

    return fd;
}


void
tn_local_tick(void)
{
    tn_link_t      *link;
    tn_snode_t     *node;
    struct pollfd   pfd;

    if (tn_local.super == NULL) {
        return;
    }

    tn_list_each(link, &tn_local.super->nodes) {
        node = tn_container(link, tn_snode_t, link);

        pfd.fd = node->holder_fd;
        pfd.events = POLLIN;

        if (pfd.fd != -1 && poll(&pfd, 1, 0) == 1) {
            tn_snode_holder_lost(node);
        }
    }

    (void) tn_super_tick(tn_local.super, tn_ipc_now());
}


void
tn_local_close(void *lifeline)
{
    if (tn_local.super == NULL) {
        return;
    }

    tn_super_close(tn_local.super, lifeline);

    if (tn_local.super->n_lifelines == 0) {
        tn_local_stop();
    }
}


void
tn_local_end(void)
{
    if (tn_local.super) {
        tn_local_stop();
    }
}


static void
tn_local_stop(void)
{
    char  path[TN_IPC_PATH + 32];

    tn_super_core_stop(tn_local.super);
    tn_super_core_detach(tn_local.super);
    tn_ipc_close(&tn_local.core_fd, 1);
    tn_ipc_close(&tn_local.thread_fd, 1);

    tn_super_destroy(tn_local.super);
    tn_local.super = NULL;

    snprintf(path, sizeof(path), "%s/%s", tn_local.dir, TN_IPC_DIAL_SOCK);
    (void) unlink(path);
    (void) rmdir(tn_local.dir);

    tn_ipc_close(&tn_local.dir_fd, 1);
}
