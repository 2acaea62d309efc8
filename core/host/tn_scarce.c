
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "host/tn_scarce.h"

#include <sys/resource.h>


bool
tn_scarce(int fd)
{
    struct rlimit  limit;

    return getrlimit(RLIMIT_NOFILE, &limit) == 0
           && (rlim_t) fd + TN_SCARCE_SPARE >= limit.rlim_cur;
}
