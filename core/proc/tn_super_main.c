
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * ngx_tailnet_super: the supervisor with its guard, and the holders.  They
 * are as many as nodes and do next to nothing, so they get along with the C
 * library: what the core needs is no memory and no risk of theirs.
 */

#include "proc/tn_holder.h"
#include "proc/tn_superd.h"

#include <stdio.h>


int
main(int argc, char **argv)
{
    const char  *what;

    what = argc > 1 ? argv[1] : "";

    if (strcmp(what, "super") == 0) {
        return tn_superd_main(argc - 1, argv + 1);
    }

    if (strcmp(what, "holder") == 0) {
        return tn_holder_main(argc - 1, argv + 1);
    }

    fprintf(stderr, "ngx_tailnet_super is started by nginx with "
            "ngx_tailnet_module.\n");

    return 2;
}
