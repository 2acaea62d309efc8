
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "proc/tn_certclient.h"

#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>


int
tn_certclient_open(const char *dir, const char *node, uint32_t flags,
    const char *domains)
{
    int            fd;
    tn_ipc_cert_t  msg;

    fd = tn_ipc_connect(dir, TN_IPC_DIAL_SOCK);

    if (fd == -1) {
        return -1;
    }

    tn_ipc_init(&msg, TN_IPC_CERT);
    (void) snprintf(msg.node, sizeof(msg.node), "%s", node);
    (void) snprintf(msg.domains, sizeof(msg.domains), "%s", domains);
    msg.flags = flags;

    if (tn_ipc_send(fd, &msg, NULL, 0) != TN_OK) {
        tn_ipc_close(&fd, 1);
    }

    return fd;
}


tn_rc_t
tn_certclient_read(int fd, tn_chain_named_t *set, size_t *n)
{
    int           fds[TN_IPC_FDS];
    void         *bytes;
    size_t        count, len;
    tn_rc_t       rc;
    struct stat   st;
    tn_ipc_msg_t  msg;

    *n = 0;

    rc = tn_ipc_recv(fd, &msg, fds, &count);

    if (rc != TN_OK) {
        return rc;
    }

    rc = TN_MALFORMED;
    len = msg.head.type == TN_IPC_CERT_SET ? msg.cert_set.len : 0;

    if (count == 1 && len != 0
        && fstat(fds[0], &st) == 0 && (size_t) st.st_size == len)
    {
        bytes = mmap(NULL, len, PROT_READ, MAP_PRIVATE, fds[0], 0);

        if (bytes != MAP_FAILED) {
            rc = tn_chain_unpack(bytes, len, set, n);
            (void) munmap(bytes, len);
        }
    }

    tn_ipc_close(fds, count);

    return rc;
}
