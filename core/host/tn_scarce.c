
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "host/tn_scarce.h"

#include <errno.h>
#include <sys/resource.h>
#include <unistd.h>


int
tn_scarce_spare(int fd)
{
    struct rlimit  limit;

    if (fd == -1 || getrlimit(RLIMIT_NOFILE, &limit) == -1
        || (rlim_t) fd + TN_SCARCE_SPARE < limit.rlim_cur)
    {
        return fd;
    }

    (void) close(fd);
    errno = EMFILE;

    return -1;
}
