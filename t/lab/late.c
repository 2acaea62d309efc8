
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * late NAME FIRST SECOND: does what the core does for a Funnel connection, but
 * slowly.  It connects to the listener of nginx with this abstract name, sends
 * one end of a connection over that a while later, closes that, says FIRST and
 * after a while SECOND, and prints what it is answered.
 */

#include "base/tn_addr.h"
#include "proc/tn_ipc.h"

#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>


#define WHILE_US  300000
#define END_S     10


static int
late_pass(const char *name, int fd)
{
    int                 way;
    size_t              len;
    tn_ipc_funnel_t     msg;
    struct sockaddr_un  un;

    memset(&un, 0, sizeof(un));
    un.sun_family = AF_UNIX;
    len = tn_min(strlen(name), sizeof(un.sun_path) - 1);
    memcpy(un.sun_path + 1, name, len);

    tn_ipc_init(&msg, TN_IPC_FUNNEL);

    if (tn_addr_parse(&msg.client, "192.0.2.1:1000", 14) != TN_OK
        || tn_addr_parse(&msg.local, "100.64.0.1:443", 14) != TN_OK
        || tn_addr_parse(&msg.relay, "100.64.0.2:1000", 15) != TN_OK)
    {
        return -1;
    }

    way = socket(AF_UNIX, SOCK_SEQPACKET|SOCK_CLOEXEC, 0);

    if (way == -1
        || connect(way, (struct sockaddr *) &un,
                   (socklen_t) (offsetof(struct sockaddr_un, sun_path) + 1
                                + len))
           == -1)
    {
        perror("connect()");
        return -1;
    }

    usleep(WHILE_US);

    if (tn_ipc_send(way, &msg, &fd, 1) != TN_OK) {
        perror("sendmsg()");
        return -1;
    }

    return close(way);
}


int
main(int argc, char **argv)
{
    int      i, pair[2];
    char     text[4096];
    ssize_t  n;

    if (argc != 4) {
        fprintf(stderr, "usage: late NAME FIRST SECOND\n");
        return 2;
    }

    alarm(END_S);

    if (socketpair(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC, 0, pair) == -1
        || fcntl(pair[1], F_SETFL, O_NONBLOCK) == -1
        || late_pass(argv[1], pair[1]) == -1)
    {
        return 1;
    }

    (void) close(pair[1]);

    for (i = 2; i < 4; i++) {
        (void) send(pair[0], argv[i], strlen(argv[i]), MSG_NOSIGNAL);
        usleep(WHILE_US);
    }

    while ((n = read(pair[0], text, sizeof(text))) > 0) {
        if (write(STDOUT_FILENO, text, (size_t) n) != n) {
            return 1;
        }
    }

    return 0;
}
