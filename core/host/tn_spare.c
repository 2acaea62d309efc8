
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * /proc/uptime is one line, two sums in seconds with two decimals: the time
 * since the start and the idle time of all CPUs.  It is read where procfs
 * itself is there: in its place LXC's containers see a file of a daemon's,
 * which may let its reader wait.
 */

#include "host/tn_spare.h"

#include <fcntl.h>
#include <inttypes.h>
#include <linux/magic.h>
#include <stdio.h>
#include <sys/vfs.h>
#include <unistd.h>


void
tn_spare_open(tn_spare_t *spare)
{
    long           cpus;
    struct statfs  fs;

    spare->up = 0;
    spare->idle = 0;

    cpus = sysconf(_SC_NPROCESSORS_ONLN);
    spare->cpus = cpus > 0 ? (unsigned) cpus : 1;

    spare->fd = open("/proc/uptime", O_RDONLY | O_CLOEXEC);

    if (spare->fd != -1
        && (fstatfs(spare->fd, &fs) == -1 || fs.f_type != PROC_SUPER_MAGIC))
    {
        tn_spare_close(spare);
    }
}


void
tn_spare_close(tn_spare_t *spare)
{
    if (spare->fd != -1) {
        (void) close(spare->fd);
        spare->fd = -1;
    }
}


unsigned
tn_spare_look(tn_spare_t *spare)
{
    char     text[64];
    ssize_t  n;

    if (spare->fd == -1) {
        return TN_SPARE_UNKNOWN;
    }

    n = pread(spare->fd, text, sizeof(text) - 1, 0);
    text[n > 0 ? n : 0] = '\0';

    return tn_spare_take(spare, text);
}


unsigned
tn_spare_take(tn_spare_t *spare, const char *text)
{
    bool      known;
    unsigned  up_cs, idle_cs;
    uint64_t  up, idle, passed, unused;

    if (sscanf(text, "%" SCNu64 ".%2u %" SCNu64 ".%2u", &up, &up_cs, &idle,
               &idle_cs)
        != 4)
    {
        return TN_SPARE_UNKNOWN;
    }

    up = up * 100 + up_cs;
    idle = idle * 100 + idle_cs;

    /* the sum of idle times goes back when a CPU is taken away */

    known = spare->up != 0 && up > spare->up && idle >= spare->idle;

    passed = (up - spare->up) * spare->cpus;
    unused = idle - spare->idle;

    spare->up = up;
    spare->idle = idle;

    return known && unused < passed ? (unsigned) (unused * 100 / passed)
                                    : TN_SPARE_UNKNOWN;
}
