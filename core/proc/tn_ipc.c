
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "proc/tn_ipc.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>


#define tn_ipc_terminated(text)  (memchr(text, 0, sizeof(text)) != NULL)


static const size_t  tn_ipc_size[TN_IPC_TYPES] = {
    [TN_IPC_REPLY] = sizeof(tn_ipc_reply_t),
    [TN_IPC_HELLO] = sizeof(tn_ipc_hello_t),
    [TN_IPC_NODE] = sizeof(tn_ipc_node_msg_t),
    [TN_IPC_LISTEN] = sizeof(tn_ipc_listen_t),
    [TN_IPC_COMMIT] = sizeof(tn_ipc_name_t),
    [TN_IPC_DIAL] = sizeof(tn_ipc_dial_t),
    [TN_IPC_DIAL_REPLY] = sizeof(tn_ipc_dial_reply_t),
    [TN_IPC_HOLDER_READY] = sizeof(tn_ipc_ready_t),
    [TN_IPC_HOLDER_LISTEN] = sizeof(tn_ipc_listen_t),
    [TN_IPC_HOLDER_ATTACH] = sizeof(tn_ipc_name_t),
    [TN_IPC_HOLDER_SOCKETS] = sizeof(tn_ipc_sockets_t),
    [TN_IPC_HOLDER_ADDRS] = sizeof(tn_ipc_addrs_t),
    [TN_IPC_HOLDER_NEAR] = sizeof(tn_ipc_near_t),
    [TN_IPC_CORE_SETUP] = sizeof(tn_ipc_setup_t),
    [TN_IPC_CORE_NODE] = sizeof(tn_ipc_core_node_t),
    [TN_IPC_CORE_HOLDER] = sizeof(tn_ipc_name_t),
    [TN_IPC_CORE_STOP] = sizeof(tn_ipc_name_t),
    [TN_IPC_CORE_START] = sizeof(tn_ipc_name_t),
    [TN_IPC_TOOL] = sizeof(tn_ipc_tool_t),
    [TN_IPC_TOOL_REPLY] = sizeof(tn_ipc_tool_reply_t),
    [TN_IPC_KEEP_BEGIN] = sizeof(tn_ipc_name_t),
    [TN_IPC_KEEP_SUPER] = sizeof(tn_ipc_keep_super_t),
    [TN_IPC_KEEP_NODE] = sizeof(tn_ipc_keep_node_t),
    [TN_IPC_KEEP_LISTENER] = sizeof(tn_ipc_listen_t),
    [TN_IPC_KEEP_LIFELINE] = sizeof(tn_ipc_keep_lifeline_t),
    [TN_IPC_KEEP_WANT] = sizeof(tn_ipc_keep_want_t),
    [TN_IPC_KEEP_SOCKET] = sizeof(tn_ipc_keep_socket_t),
    [TN_IPC_KEEP_END] = sizeof(tn_ipc_name_t),
    [TN_IPC_KEEP_BYE] = sizeof(tn_ipc_name_t),
    [TN_IPC_CORE_LISTEN] = sizeof(tn_ipc_listen_t),
    [TN_IPC_WATCH] = sizeof(tn_ipc_watch_t),
    [TN_IPC_MEMBERS] = sizeof(tn_ipc_members_t),
    [TN_IPC_TAKE] = sizeof(tn_ipc_take_t),
    [TN_IPC_SERVE] = sizeof(tn_ipc_serve_t),
    [TN_IPC_SERVE_SET] = sizeof(tn_ipc_serve_set_t),
    [TN_IPC_CERT] = sizeof(tn_ipc_cert_t),
    [TN_IPC_CERT_SET] = sizeof(tn_ipc_cert_set_t),
    [TN_IPC_CORE_UNLISTEN] = sizeof(tn_ipc_listen_t),
    [TN_IPC_FUNNEL] = sizeof(tn_ipc_funnel_t),
    [TN_IPC_CORE_RESUME] = sizeof(tn_ipc_name_t),
    [TN_IPC_LEAVE] = sizeof(tn_ipc_name_t)
};


static bool tn_ipc_texts(const tn_ipc_msg_t *msg);
static bool tn_ipc_node_sound(const tn_ipc_node_t *node);
static bool tn_ipc_members_sound(const tn_ipc_members_t *msg);
static bool tn_ipc_serve_sound(const tn_ipc_serve_t *msg);
static bool tn_ipc_service_sound(const tn_ipc_service_t *service);
static bool tn_ipc_service_named(const char *name);
static int tn_ipc_address(const char *dir, const char *name,
    struct sockaddr_un *un, int *dirfd);


/*
 * Programs of two builds may meet: a new binary of nginx, or a tool, and the
 * supervisor or the core that runs.  FNV-1a, of numbers.
 */
uint16_t
tn_ipc_version(void)
{
    size_t    i;
    uint32_t  hash;

    hash = 2166136261u ^ TN_IPC_VERSION;

    for (i = 0; i < TN_IPC_TYPES; i++) {
        hash = (hash ^ (uint32_t) tn_ipc_size[i]) * 16777619u;
    }

    return (uint16_t) (hash ^ hash >> 16);
}


void
tn_ipc_init(void *msg, tn_ipc_type_e type)
{
    tn_ipc_head_t  *head;

    memset(msg, 0, tn_ipc_size[type]);

    head = msg;
    head->magic = TN_IPC_MAGIC;
    head->version = tn_ipc_version();
    head->type = type;
    head->len = tn_ipc_size[type];
}


tn_rc_t
tn_ipc_send(int fd, const void *msg, const int *fds, size_t count)
{
    ssize_t         n;
    struct iovec    iov;
    struct msghdr   mh;
    struct cmsghdr *cmsg;

    union {
        char            buf[CMSG_SPACE(TN_IPC_FDS * sizeof(int))];
        struct cmsghdr  align;
    } control;

    if (count > TN_IPC_FDS) {
        errno = EINVAL;
        return TN_ERROR;
    }

    memset(&mh, 0, sizeof(mh));

    iov.iov_base = (void *) msg;
    iov.iov_len = ((const tn_ipc_head_t *) msg)->len;
    mh.msg_iov = &iov;
    mh.msg_iovlen = 1;

    if (count) {
        memset(&control, 0, sizeof(control));
        mh.msg_control = control.buf;
        mh.msg_controllen = CMSG_SPACE(count * sizeof(int));

        cmsg = CMSG_FIRSTHDR(&mh);
        cmsg->cmsg_level = SOL_SOCKET;
        cmsg->cmsg_type = SCM_RIGHTS;
        cmsg->cmsg_len = CMSG_LEN(count * sizeof(int));
        memcpy(CMSG_DATA(cmsg), fds, count * sizeof(int));
    }

    do {
        n = sendmsg(fd, &mh, MSG_NOSIGNAL|MSG_DONTWAIT);
    } while (n == -1 && errno == EINTR);

    if (n >= 0) {
        return TN_OK;
    }

    switch (errno) {

    case EAGAIN:
    case ENOBUFS:
        return TN_AGAIN;

    case EPIPE:
    case ECONNRESET:
    case ENOTCONN:
        return TN_CLOSED;

    default:
        return TN_ERROR;
    }
}


tn_rc_t
tn_ipc_send_until(int fd, const void *msg, const int *fds, size_t count,
    tn_ms_t deadline)
{
    tn_rc_t        rc;
    tn_ms_t        now;
    struct pollfd  pfd;

    for ( ;; ) {
        rc = tn_ipc_send(fd, msg, fds, count);
        now = tn_ipc_now();

        if (rc != TN_AGAIN || now >= deadline) {
            return rc;
        }

        pfd.fd = fd;
        pfd.events = POLLOUT;
        (void) poll(&pfd, 1, (int) (deadline - now));
    }
}


tn_rc_t
tn_ipc_recv(int fd, tn_ipc_msg_t *msg, int *fds, size_t *count)
{
    size_t          n;
    ssize_t         len;
    struct iovec    iov;
    struct msghdr   mh;
    struct cmsghdr *cmsg;

    union {
        char            buf[CMSG_SPACE(TN_IPC_FDS * sizeof(int))];
        struct cmsghdr  align;
    } control;

    *count = 0;

    memset(&mh, 0, sizeof(mh));

    iov.iov_base = msg;
    iov.iov_len = sizeof(*msg);
    mh.msg_iov = &iov;
    mh.msg_iovlen = 1;
    mh.msg_control = control.buf;
    mh.msg_controllen = sizeof(control.buf);

    do {
        len = recvmsg(fd, &mh, MSG_CMSG_CLOEXEC|MSG_DONTWAIT);
    } while (len == -1 && errno == EINTR);

    if (len == -1) {

        switch (errno) {

        case EAGAIN:
            return TN_AGAIN;

        case ECONNRESET:
        case EPIPE:
        case ENOTCONN:
            return TN_CLOSED;

        default:
            return TN_ERROR;
        }
    }

    for (cmsg = CMSG_FIRSTHDR(&mh); cmsg; cmsg = CMSG_NXTHDR(&mh, cmsg)) {

        if (cmsg->cmsg_level != SOL_SOCKET || cmsg->cmsg_type != SCM_RIGHTS) {
            continue;
        }

        n = (cmsg->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        n = tn_min(n, TN_IPC_FDS - *count);

        memcpy(fds + *count, CMSG_DATA(cmsg), n * sizeof(int));
        *count += n;
    }

    if (len == 0 && *count == 0) {
        return TN_CLOSED;
    }

    if ((mh.msg_flags & (MSG_TRUNC|MSG_CTRUNC))
        || tn_ipc_check(msg, len) != TN_OK)
    {
        tn_ipc_close(fds, *count);
        *count = 0;

        return TN_MALFORMED;
    }

    return TN_OK;
}


tn_rc_t
tn_ipc_recv_until(int fd, tn_ipc_msg_t *msg, int *fds, size_t *count,
    tn_ms_t deadline)
{
    tn_rc_t        rc;
    tn_ms_t        now;
    struct pollfd  pfd;

    for ( ;; ) {
        rc = tn_ipc_recv(fd, msg, fds, count);

        if (rc != TN_AGAIN) {
            return rc;
        }

        now = tn_ipc_now();

        if (now >= deadline) {
            return TN_AGAIN;
        }

        pfd.fd = fd;
        pfd.events = POLLIN;

        if (poll(&pfd, 1, (int) tn_min(deadline - now, 60000)) == -1
            && errno != EINTR)
        {
            return TN_ERROR;
        }
    }
}


tn_rc_t
tn_ipc_check(const tn_ipc_msg_t *msg, size_t len)
{
    if (len < sizeof(tn_ipc_head_t)
        || msg->head.magic != TN_IPC_MAGIC
        || msg->head.version != tn_ipc_version()
        || msg->head.type >= TN_IPC_TYPES
        || tn_ipc_size[msg->head.type] == 0
        || msg->head.len != len
        || tn_ipc_size[msg->head.type] != len
        || !tn_ipc_texts(msg))
    {
        return TN_MALFORMED;
    }

    return TN_OK;
}


static bool
tn_ipc_texts(const tn_ipc_msg_t *msg)
{
    switch (msg->head.type) {

    case TN_IPC_REPLY:
        return tn_ipc_terminated(msg->reply.text);

    case TN_IPC_HELLO:
        return tn_ipc_terminated(msg->hello.token)
               && tn_ipc_terminated(msg->hello.log_path);

    case TN_IPC_NODE:
        return tn_ipc_node_sound(&msg->node.node);

    case TN_IPC_LISTEN:
    case TN_IPC_HOLDER_LISTEN:
    case TN_IPC_KEEP_LISTENER:
    case TN_IPC_CORE_LISTEN:
    case TN_IPC_CORE_UNLISTEN:
        return tn_ipc_terminated(msg->listen.node);

    case TN_IPC_DIAL:
        return tn_ipc_terminated(msg->dial.node)
               && tn_ipc_terminated(msg->dial.host);

    case TN_IPC_DIAL_REPLY:
        return tn_ipc_terminated(msg->dial_reply.text);

    case TN_IPC_HOLDER_READY:
        return tn_ipc_terminated(msg->ready.text);

    case TN_IPC_HOLDER_ADDRS:
        return msg->addrs.count <= TN_IPC_ADDRS
               && msg->addrs.services <= msg->addrs.count;

    case TN_IPC_HOLDER_SOCKETS:
        return msg->sockets.count >= 1 && msg->sockets.count <= TN_IPC_FDS;

    case TN_IPC_CORE_NODE:
        return tn_ipc_node_sound(&msg->core_node.node)
               && tn_ipc_terminated(msg->core_node.text);

    case TN_IPC_CORE_SETUP:
    case TN_IPC_HOLDER_NEAR:
    case TN_IPC_CERT_SET:
    case TN_IPC_FUNNEL:
        return true;

    case TN_IPC_CERT:
        return tn_ipc_terminated(msg->cert.node)
               && tn_ipc_terminated(msg->cert.domains);

    case TN_IPC_TOOL:
        return tn_ipc_terminated(msg->tool.node)
               && tn_ipc_terminated(msg->tool.argument);

    case TN_IPC_TOOL_REPLY:
        return msg->tool_reply.len <= TN_IPC_CHUNK;

    case TN_IPC_KEEP_SUPER:
        return true;

    case TN_IPC_WATCH:
        return tn_ipc_terminated(msg->watch.node)
               && tn_ipc_terminated(msg->watch.host);

    case TN_IPC_TAKE:
        return tn_ipc_terminated(msg->take.node)
               && msg->take.count >= 1 && msg->take.count <= TN_IPC_FDS;

    case TN_IPC_MEMBERS:
        return tn_ipc_members_sound(&msg->members);

    case TN_IPC_SERVE:
        return tn_ipc_serve_sound(&msg->serve);

    case TN_IPC_SERVE_SET:
        return tn_ipc_service_sound(&msg->serve_set.service);

    case TN_IPC_KEEP_NODE:
        return tn_ipc_terminated(msg->keep_node.name)
               && tn_ipc_node_sound(&msg->keep_node.node);

    case TN_IPC_KEEP_LIFELINE:
        return tn_ipc_terminated(msg->keep_lifeline.conf.token)
               && tn_ipc_terminated(msg->keep_lifeline.conf.log_path);

    case TN_IPC_KEEP_WANT:
        return tn_ipc_node_sound(&msg->keep_want.node);

    case TN_IPC_KEEP_SOCKET:
        return tn_ipc_terminated(msg->keep_socket.listen.node);

    default:
        return tn_ipc_terminated(msg->name.name);
    }
}


static bool
tn_ipc_members_sound(const tn_ipc_members_t *msg)
{
    size_t  i;

    if (msg->count > TN_IPC_MEMBERS_MAX) {
        return false;
    }

    for (i = 0; i < TN_IPC_MEMBERS_MAX; i++) {
        if (!tn_ipc_terminated(msg->members[i].host)) {
            return false;
        }
    }

    return true;
}


static bool
tn_ipc_serve_sound(const tn_ipc_serve_t *msg)
{
    size_t  i;

    if (!tn_ipc_terminated(msg->node) || msg->count > TN_IPC_SERVES) {
        return false;
    }

    for (i = 0; i < msg->count; i++) {
        if (!tn_ipc_service_sound(&msg->service[i])) {
            return false;
        }
    }

    return true;
}


static bool
tn_ipc_service_sound(const tn_ipc_service_t *service)
{
    return tn_ipc_terminated(service->name)
           && tn_ipc_service_named(service->name) && service->port != 0
           && (service->family == 4 || service->family == 6)
           && (service->proto == TN_IPC_TCP
               || service->proto == TN_IPC_UDP);
}


/* it goes into JSON for control: nothing but "svc:" and a DNS label */
static bool
tn_ipc_service_named(const char *name)
{
    size_t  len;

    if (strncmp(name, "svc:", 4) != 0) {
        return false;
    }

    name += 4;
    len = strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789-");

    return len > 0 && len <= 63 && name[len] == '\0'
           && name[0] != '-' && name[len - 1] != '-';
}


static bool
tn_ipc_node_sound(const tn_ipc_node_t *node)
{
    return tn_ipc_terminated(node->name)
           && tn_ipc_terminated(node->state_dir)
           && tn_ipc_terminated(node->control_url)
           && tn_ipc_terminated(node->auth_key)
           && tn_ipc_terminated(node->hostname)
           && tn_ipc_terminated(node->tags)
           && tn_ipc_terminated(node->tls_ca)
           && tn_ipc_terminated(node->proxy)
           && tn_ipc_terminated(node->acme)
           && tn_ipc_terminated(node->exit_node)
           && tn_ipc_terminated(node->domains)
           && node->nstatic <= TN_IPC_STATIC
           && node->nroutes <= TN_IPC_ROUTES;
}


int
tn_ipc_fd(const int *fds, size_t count, uint32_t mask, uint32_t bit)
{
    size_t  i;

    if ((mask & bit) == 0) {
        return -1;
    }

    /* descriptors come in the order of the bits */
    i = __builtin_popcount(mask & (bit - 1));

    return i < count ? fds[i] : -1;
}


bool
tn_ipc_trusts(int fd, struct ucred *peer)
{
    socklen_t  len;

    len = sizeof(struct ucred);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, peer, &len) == -1) {
        memset(peer, 0, sizeof(struct ucred));
        return false;
    }

    return peer->uid == 0 || peer->uid == geteuid();
}


void
tn_ipc_close(int *fds, size_t count)
{
    size_t  i;

    for (i = 0; i < count; i++) {
        if (fds[i] != -1) {
            close(fds[i]);
            fds[i] = -1;
        }
    }
}


tn_rc_t
tn_ipc_pair(int pair[2])
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC|SOCK_NONBLOCK, 0, pair)
        == -1)
    {
        pair[0] = -1;
        pair[1] = -1;
        return TN_ERROR;
    }

    return TN_OK;
}


int
tn_ipc_connect(const char *dir, const char *name)
{
    int                 fd, dirfd, err;
    struct sockaddr_un  un;

    if (tn_ipc_address(dir, name, &un, &dirfd) == -1) {
        return -1;
    }

    fd = socket(AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC|SOCK_NONBLOCK, 0);

    if (fd != -1
        && connect(fd, (struct sockaddr *) &un, sizeof(un)) == -1)
    {
        err = errno;
        close(fd);
        errno = err;
        fd = -1;
    }

    err = errno;
    tn_ipc_close(&dirfd, 1);
    errno = err;

    return fd;
}


int
tn_ipc_bind(const char *dir, const char *name, mode_t mode, uid_t uid,
    gid_t gid, int backlog)
{
    int                 fd, dirfd, err;
    char                temp[64], from[TN_IPC_PATH + 64], to[TN_IPC_PATH + 64];
    struct sockaddr_un  un;

    snprintf(temp, sizeof(temp), ".%s.%d", name, (int) getpid());

    if ((size_t) snprintf(from, sizeof(from), "%s/%s", dir, temp)
        >= sizeof(from)
        || (size_t) snprintf(to, sizeof(to), "%s/%s", dir, name)
           >= sizeof(to))
    {
        errno = ENAMETOOLONG;
        return -1;
    }

    if (tn_ipc_address(dir, temp, &un, &dirfd) == -1) {
        return -1;
    }

    fd = socket(AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC|SOCK_NONBLOCK, 0);

    if (fd == -1) {
        goto failed;
    }

    (void) unlink(from);

    if (bind(fd, (struct sockaddr *) &un, sizeof(un)) == -1
        || chmod(from, mode) == -1
        || (geteuid() == 0 && lchown(from, uid, gid) == -1)
        || listen(fd, backlog) == -1
        || rename(from, to) == -1)
    {
        goto failed;
    }

    tn_ipc_close(&dirfd, 1);

    return fd;

failed:

    err = errno;
    (void) unlink(from);
    tn_ipc_close(&fd, 1);
    tn_ipc_close(&dirfd, 1);
    errno = err;

    return -1;
}


/* the directory may be too long for sun_path: then go by its descriptor */
static int
tn_ipc_address(const char *dir, const char *name, struct sockaddr_un *un,
    int *dirfd)
{
    *dirfd = -1;

    memset(un, 0, sizeof(*un));
    un->sun_family = AF_UNIX;

    if ((size_t) snprintf(un->sun_path, sizeof(un->sun_path), "%s/%s", dir,
                          name)
        < sizeof(un->sun_path))
    {
        return 0;
    }

    *dirfd = open(dir, O_PATH|O_DIRECTORY|O_CLOEXEC);

    if (*dirfd == -1) {
        return -1;
    }

    snprintf(un->sun_path, sizeof(un->sun_path), "/proc/self/fd/%d/%s", *dirfd,
             name);

    return 0;
}


tn_ms_t
tn_ipc_now(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (tn_ms_t) ts.tv_sec * 1000 + ts.tv_nsec / 1000000;
}


bool
tn_ipc_is_key(const void *text, size_t len)
{
    size_t          i;
    const uint8_t  *p;

    p = text;

    for (i = 0; i < len && p[i] > ' ' && p[i] < 0x7f; i++) { /* void */ }

    return i == len && len != 0 && len < TN_IPC_KEY;
}
