
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A network namespace for one test process, with loopback up, as root or
 * through a user namespace.
 */

#ifndef OWN_NETWORK_H_INCLUDED_
#define OWN_NETWORK_H_INCLUDED_

#include <fcntl.h>
#include <net/if.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>


static inline bool
own_network_put(const char *path, const char *text)
{
    int      fd;
    ssize_t  n;

    fd = open(path, O_WRONLY | O_CLOEXEC);
    if (fd == -1) {
        return false;
    }

    n = write(fd, text, strlen(text));
    (void) close(fd);

    return n == (ssize_t) strlen(text);
}


static inline bool
own_network_enter(int more)
{
    int           fd;
    bool          up;
    char          uids[32], gids[32];
    struct ifreq  ifr;

    (void) snprintf(uids, sizeof(uids), "0 %u 1", (unsigned) geteuid());
    (void) snprintf(gids, sizeof(gids), "0 %u 1", (unsigned) getegid());

    if (unshare(CLONE_NEWNET | more) == -1) {

        if (unshare(CLONE_NEWUSER | CLONE_NEWNET | more) == -1
            || !own_network_put("/proc/self/setgroups", "deny")
            || !own_network_put("/proc/self/uid_map", uids)
            || !own_network_put("/proc/self/gid_map", gids))
        {
            return false;
        }
    }

    memset(&ifr, 0, sizeof(struct ifreq));
    (void) snprintf(ifr.ifr_name, sizeof(ifr.ifr_name), "lo");
    ifr.ifr_flags = IFF_UP;

    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    up = fd != -1 && ioctl(fd, SIOCSIFFLAGS, &ifr) == 0;
    (void) close(fd);

    return up;
}


/*
 * `more` are flags for further namespaces, as CLONE_NEWNS.  False: not
 * allowed here, and nothing has changed.
 */
static inline bool
own_network(int more)
{
    int    status;
    pid_t  pid;

    /* a child finds out first: half-way there is no way back */
    pid = fork();

    if (pid == 0) {
        _exit(own_network_enter(more) ? 0 : 1);
    }

    if (pid == -1 || waitpid(pid, &status, 0) != pid || status != 0) {
        return false;
    }

    return own_network_enter(more);
}


#endif /* OWN_NETWORK_H_INCLUDED_ */
