
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * ngx_tailnet_core: the core, by its first argument as a process around nginx
 * or alone, and the commands that ask a running one.
 */

#include "run/tn_core.h"
#include "base/tn_version.h"
#include "control/tn_json.h"
#include "proc/tn_spawn.h"
#include "run/tn_toolcmd.h"

#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>


/* the supervisor starts the core with its channel here */
#define TN_MAIN_CORE_FD  3


static int tn_main_core(void);
static int tn_main_version(void);


int
main(int argc, char **argv)
{
    const char  *what;

    what = argc > 1 ? argv[1] : "";

    tn_json_init();

    if (strcmp(what, "core") == 0) {
        return tn_main_core();
    }

    if (strcmp(what, "node") == 0) {
        return tn_core_command(argc - 1, argv + 1);
    }

    if (strcmp(what, "--version") == 0 || strcmp(what, "version") == 0) {
        return tn_main_version();
    }

    if (tn_toolcmd_is(what)) {
        return tn_toolcmd_main(argc - 1, argv + 1);
    }

    return tn_toolcmd_usage();
}


static int
tn_main_core(void)
{
    (void) prctl(PR_SET_NAME, "tailnet-core");

    /* node keys are in this memory; the supervisor ends it, no terminal */

    (void) prctl(PR_SET_DUMPABLE, 0);

    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);

    /* a service manager's for all processes: there is a goodbye to say */

    signal(SIGTERM, SIG_IGN);

    tn_spawn_raise_files();

    return tn_core_run(TN_MAIN_CORE_FD);
}


static int
tn_main_version(void)
{
    printf("ngx_tailnet_core " TN_VERSION ", messages of version %u\n",
           tn_ipc_version());

    return 0;
}
