
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The machine's idle time, as the kernel writes it, and as it is.
 */

#include "host/tn_spare.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "tap.h"


#define SPINNERS  64


static atomic_bool  over;


static void *
spin(void *data)
{
    (void) data;

    while (!atomic_load(&over)) {
        /* void */
    }

    return NULL;
}


static void
test_text(void)
{
    tn_spare_t  spare;

    spare.fd = -1;
    spare.cpus = 2;
    spare.up = 0;
    spare.idle = 0;

    is_int(tn_spare_take(&spare, "84790.09 90476.32\n"), TN_SPARE_UNKNOWN,
           "the first look says nothing");
    is_int(tn_spare_take(&spare, "84790.29 90476.38\n"), 15,
           "6 ticks of two CPUs with 20 each");
    is_int(tn_spare_take(&spare, "84790.49 90476.38\n"), 0, "none");
    is_int(tn_spare_take(&spare, "84791.09 90477.58\n"), TN_SPARE_UNKNOWN,
           "all");
    is_int(tn_spare_take(&spare, "84791.29 90400.00\n"), TN_SPARE_UNKNOWN,
           "a sum that goes back");
    is_int(tn_spare_take(&spare, "84791.49 90400.20\n"), 50,
           "then it is known again");
    is_int(tn_spare_take(&spare, "84791.49 90400.20\n"), TN_SPARE_UNKNOWN,
           "no time passed");
    is_int(tn_spare_take(&spare, ""), TN_SPARE_UNKNOWN, "nothing");
    is_int(tn_spare_take(&spare, "84791 90400\n"), TN_SPARE_UNKNOWN,
           "something else");
    is_int(tn_spare_look(&spare), TN_SPARE_UNKNOWN, "no such file");
}


static void
test_machine(void)
{
    unsigned         i, busy;
    pthread_t        threads[SPINNERS];
    tn_spare_t       spare;
    struct timespec  ts;

    tn_spare_open(&spare);

    if (spare.fd == -1 || spare.cpus > SPINNERS) {
        ok(true, "# SKIP no uptime of procfs, or too many CPUs for this");
        return;
    }

    for (i = 0; i < spare.cpus; i++) {
        if (pthread_create(&threads[i], NULL, spin, NULL) != 0) {
            abort();
        }
    }

    ts.tv_sec = 0;
    ts.tv_nsec = 400 * 1000 * 1000;

    (void) nanosleep(&ts, NULL);
    (void) tn_spare_look(&spare);
    (void) nanosleep(&ts, NULL);
    busy = tn_spare_look(&spare);

    atomic_store(&over, true);

    for (i = 0; i < spare.cpus; i++) {
        (void) pthread_join(threads[i], NULL);
    }

    ok(busy < 40, "a thread for each CPU leaves little: %u%%", busy);

    tn_spare_close(&spare);
    is_int(tn_spare_look(&spare), TN_SPARE_UNKNOWN, "closed");
}


int
main(void)
{
    test_text();
    test_machine();

    return tap_done();
}
