
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * States: starting (makes or joins the namespace, reports HOLDER_READY),
 * serving, ended.  While serving it waits for requests on two channels:
 *
 *   the supervisor's    LISTEN, ATTACH (the core's channel; replaces the one
 *                       before); its end ends the holder
 *   the core's          SOCKETS, ADDRS, NEAR; its end is waited out: a new
 *                       core comes with the next ATTACH
 *
 * The core is the process that reads the Internet, so what it asks for is
 * checked: nothing but unconnected sockets, addresses and routes to single
 * addresses over the TUN can be had.  No timers.
 */

#include "proc/tn_holder.h"
#include "proc/tn_netns.h"
#include "host/tn_trim.h"

#include <errno.h>
#include <linux/capability.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>


typedef struct {
    tn_netns_t   ns;
    int          ctl_fd;
    int          core_fd;       /* -1: no core attached */
} tn_holder_t;


static tn_rc_t tn_holder_start(tn_holder_t *holder, const char *how);
static void tn_holder_confine(void);
static tn_rc_t tn_holder_supervisor(tn_holder_t *holder);
static tn_rc_t tn_holder_core(tn_holder_t *holder);
static void tn_holder_sockets(tn_holder_t *holder,
    const tn_ipc_sockets_t *req);
static void tn_holder_addrs(tn_holder_t *holder, const tn_ipc_addrs_t *req);
static tn_rc_t tn_holder_reply(int fd, uint32_t seq, tn_rc_t rc,
    const char *text, const int *fds, size_t count);


int
tn_holder_main(int argc, char **argv)
{
    int            n, ms;
    tn_rc_t        rc;
    tn_holder_t    holder;
    struct pollfd  pfd[2];

    if (argc < 3) {
        return 2;
    }

    (void) prctl(PR_SET_NAME, "tailnet-netns");

    /* who ends the holder is the supervisor, by closing the channel */

    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);

    memset(&holder, 0, sizeof(holder));
    holder.ctl_fd = TN_HOLDER_CTL_FD;
    holder.core_fd = -1;

    if (tn_holder_start(&holder, argv[2]) != TN_OK) {
        return 1;
    }

    tn_holder_confine();
    ms = TN_TRIM_MS;

    for ( ;; ) {
        pfd[0].fd = holder.ctl_fd;
        pfd[0].events = POLLIN;
        pfd[1].fd = holder.core_fd;
        pfd[1].events = POLLIN;
        pfd[1].revents = 0;

        n = poll(pfd, 2, ms);

        if (n == -1) {
            if (errno == EINTR) {
                continue;
            }

            return 1;
        }

        ms = n > 0 ? TN_TRIM_MS : -1;

        if (n == 0) {
            tn_trim();
            continue;
        }

        if (pfd[0].revents) {
            rc = tn_holder_supervisor(&holder);

            if (rc != TN_OK && rc != TN_AGAIN) {
                return rc == TN_CLOSED ? 0 : 1;
            }

            /* the core's channel may be another one now */
            continue;
        }

        if (pfd[1].revents) {
            rc = tn_holder_core(&holder);

            if (rc != TN_OK && rc != TN_AGAIN) {
                tn_ipc_close(&holder.core_fd, 1);
            }
        }
    }
}


static tn_rc_t
tn_holder_start(tn_holder_t *holder, const char *how)
{
    int             err, fds[4];
    size_t          n;
    tn_rc_t         rc;
    tn_netns_t     *ns;
    tn_ipc_ready_t  ready;

    ns = &holder->ns;
    n = 0;

    tn_ipc_init(&ready, TN_IPC_HOLDER_READY);

    errno = 0;

    if (strcmp(how, TN_HOLDER_NEW) == 0) {
        rc = tn_netns_create(ns, ready.text);
        err = errno;

        if (rc == TN_OK) {
            ready.mask = TN_IPC_FD_TUN|TN_IPC_FD_NETNS;
            fds[n++] = ns->tun_fd;
            fds[n++] = ns->net_fd;

            if (ns->user_fd != -1) {
                ready.mask |= TN_IPC_FD_USERNS;
                fds[n++] = ns->user_fd;
            }

            if (ns->bulk_fd != -1) {
                ready.mask |= TN_IPC_FD_BULK;
                fds[n++] = ns->bulk_fd;
            }
        }

    } else {
        ns->tun_fd = -1;
        ns->bulk_fd = -1;
        ns->net_fd = TN_HOLDER_NET_FD;
        ns->user_fd = strcmp(how, TN_HOLDER_USER) == 0 ? TN_HOLDER_USER_FD
                                                       : -1;
        rc = tn_netns_join(ns, ready.text);
        err = errno;
    }

    ready.rc = rc;
    ready.err = rc == TN_OK ? 0 : err;
    ready.features = ns->features;

    if (tn_ipc_send(holder->ctl_fd, &ready, fds, n) != TN_OK) {
        return TN_ERROR;
    }

    /* the TUN lives as long as the supervisor holds it, not as long as we */

    tn_ipc_close(&ns->tun_fd, 1);
    tn_ipc_close(&ns->bulk_fd, 1);
    tn_ipc_close(&ns->net_fd, 1);
    tn_ipc_close(&ns->user_fd, 1);

    return rc;
}


/*
 * Addresses are all that still needs a right: CAP_NET_ADMIN, and no other
 * where the namespace lets everybody bind to low ports.
 */
static void
tn_holder_confine(void)
{
    uint32_t                         keep;
    struct __user_cap_data_struct    data[2];
    struct __user_cap_header_struct  head;

    (void) prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);

    keep = 1U << CAP_NET_ADMIN;

    if (!tn_netns_any_port()) {
        keep |= 1U << CAP_NET_BIND_SERVICE;
    }

    memset(&head, 0, sizeof(head));
    memset(data, 0, sizeof(data));

    head.version = _LINUX_CAPABILITY_VERSION_3;

    /* more than there is cannot be kept */
    if (syscall(SYS_capget, &head, data) == 0) {
        keep &= data[0].permitted;
    }

    memset(data, 0, sizeof(data));

    data[0].effective = keep;
    data[0].permitted = keep;

    (void) syscall(SYS_capset, &head, data);
}


static tn_rc_t
tn_holder_supervisor(tn_holder_t *holder)
{
    int           fd, fds[TN_IPC_FDS];
    size_t        n;
    tn_rc_t       rc;
    char          text[TN_IPC_TEXT];
    tn_ipc_msg_t  msg;

    rc = tn_ipc_recv(holder->ctl_fd, &msg, fds, &n);

    if (rc != TN_OK) {
        return rc;
    }

    text[0] = '\0';

    switch (msg.head.type) {

    case TN_IPC_HOLDER_LISTEN:
        tn_ipc_close(fds, n);

        fd = tn_netns_listen(&msg.listen, text);

        if (fd == -1) {
            return tn_holder_reply(holder->ctl_fd, msg.head.seq, TN_ERROR,
                                   text, NULL, 0);
        }

        rc = tn_holder_reply(holder->ctl_fd, msg.head.seq, TN_OK, text, &fd,
                             1);
        close(fd);

        return rc;

    case TN_IPC_HOLDER_ATTACH:

        if (n != 1) {
            break;
        }

        tn_ipc_close(&holder->core_fd, 1);
        holder->core_fd = fds[0];

        return tn_holder_reply(holder->ctl_fd, msg.head.seq, TN_OK, text,
                               NULL, 0);
    }

    tn_ipc_close(fds, n);

    return TN_MALFORMED;
}


static tn_rc_t
tn_holder_core(tn_holder_t *holder)
{
    int           fds[TN_IPC_FDS];
    size_t        n;
    tn_rc_t       rc;
    tn_ipc_msg_t  msg;

    rc = tn_ipc_recv(holder->core_fd, &msg, fds, &n);

    if (rc != TN_OK) {
        return rc;
    }

    /* the core has no reason to send a descriptor */
    tn_ipc_close(fds, n);

    switch (msg.head.type) {

    case TN_IPC_HOLDER_SOCKETS:
        tn_holder_sockets(holder, &msg.sockets);
        return TN_OK;

    case TN_IPC_HOLDER_ADDRS:
        tn_holder_addrs(holder, &msg.addrs);
        return TN_OK;

    case TN_IPC_HOLDER_NEAR:
        tn_near_set(&holder->ns.near, holder->ns.ifindex, msg.near.ip,
                    msg.near.near != 0);
        return TN_OK;

    default:
        return TN_MALFORMED;
    }
}


static void
tn_holder_sockets(tn_holder_t *holder, const tn_ipc_sockets_t *req)
{
    int       err, fds[TN_IPC_FDS];
    char      text[TN_IPC_TEXT];
    size_t    n;
    uint32_t  i;

    text[0] = '\0';
    n = 0;
    err = 0;

    for (i = 0; i < req->count; i++) {
        fds[n] = tn_netns_socket(req->family, req->proto);

        if (fds[n] == -1) {
            err = errno;
            break;
        }

        n++;
    }

    if (n == 0) {
        snprintf(text, sizeof(text), "socket() in the namespace failed "
                 "(%d: %s)", err, strerror(err));
    }

    errno = err;

    (void) tn_holder_reply(holder->core_fd, req->head.seq,
                           n ? TN_OK : TN_ERROR, text, fds, n);

    tn_ipc_close(fds, n);
}


static void
tn_holder_addrs(tn_holder_t *holder, const tn_ipc_addrs_t *req)
{
    tn_rc_t  rc;
    char     text[TN_IPC_TEXT];

    text[0] = '\0';

    rc = tn_netns_addresses(&holder->ns, req->ip, req->count,
                            req->services, text);

    (void) tn_holder_reply(holder->core_fd, req->head.seq, rc, text, NULL, 0);
}


static tn_rc_t
tn_holder_reply(int fd, uint32_t seq, tn_rc_t rc, const char *text,
    const int *fds, size_t count)
{
    int             err;
    tn_ipc_reply_t  reply;

    err = errno;

    tn_ipc_init(&reply, TN_IPC_REPLY);
    reply.head.seq = seq;
    reply.rc = rc;
    reply.err = rc == TN_OK ? 0 : err;
    reply.fds = count;
    memcpy(reply.text, text, strnlen(text, sizeof(reply.text) - 1));

    return tn_ipc_send(fd, &reply, fds, count);
}
