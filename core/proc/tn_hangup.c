
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "proc/tn_hangup.h"

#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>


bool
tn_hangup_send(int fd)
{
    int              pair[2];
    uint8_t          byte;
    ssize_t          n;
    struct iovec     iov;
    struct msghdr    msg;
    struct cmsghdr  *cmsg;

    union {
        struct cmsghdr  head;
        uint8_t         bytes[CMSG_SPACE(sizeof(int))];
    } control;

    /* not a socket: those on their way are what the kernel has to search */

    if (pipe(pair) == -1) {
        return false;
    }

    byte = 0;
    iov.iov_base = &byte;
    iov.iov_len = 1;

    memset(&msg, 0, sizeof(msg));
    memset(&control, 0, sizeof(control));
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;
    msg.msg_control = &control;
    msg.msg_controllen = sizeof(control);

    cmsg = CMSG_FIRSTHDR(&msg);
    cmsg->cmsg_level = SOL_SOCKET;
    cmsg->cmsg_type = SCM_RIGHTS;
    cmsg->cmsg_len = CMSG_LEN(sizeof(int));
    memcpy(CMSG_DATA(cmsg), &pair[0], sizeof(int));

    n = sendmsg(fd, &msg, MSG_DONTWAIT|MSG_NOSIGNAL);

    (void) close(pair[0]);
    (void) close(pair[1]);

    return n == 1;
}


ssize_t
tn_hangup_recv(int fd, void *bytes, size_t size, bool *refused)
{
    ssize_t        n;
    struct iovec   iov;
    struct msghdr  msg;

    iov.iov_base = bytes;
    iov.iov_len = size;

    memset(&msg, 0, sizeof(msg));
    msg.msg_iov = &iov;
    msg.msg_iovlen = 1;

    n = recvmsg(fd, &msg, MSG_TRUNC);

    /* there is no room for a descriptor, so the kernel closes it */

    *refused = n > 0 && (msg.msg_flags & MSG_CTRUNC);

    return n;
}
