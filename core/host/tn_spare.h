
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * How much of the machine's CPU time nobody uses, from /proc/uptime.
 */

#ifndef TN_SPARE_H_INCLUDED_
#define TN_SPARE_H_INCLUDED_

#include "base/tn_base.h"


#define TN_SPARE_UNKNOWN  100           /* as if there were nothing but */

typedef struct {
    int       fd;                       /* -1: cannot be known */
    unsigned  cpus;
    uint64_t  up;                       /* at the last look, 10 ms */
    uint64_t  idle;                     /* all CPUs', 10 ms */
} tn_spare_t;


/* to be closed; where it cannot be known each look says so */
void tn_spare_open(tn_spare_t *spare);
void tn_spare_close(tn_spare_t *spare);

/*
 * Per cent of all CPUs' time since the last look, 0 to 100, in steps of one
 * tick of 10 ms; TN_SPARE_UNKNOWN at the first.  CPUs that wait for a disk
 * count as used.  A read of some microseconds, which never blocks.
 */
unsigned tn_spare_look(tn_spare_t *spare);

/* the same for what the file would say; for tests */
unsigned tn_spare_take(tn_spare_t *spare, const char *text);


#endif /* TN_SPARE_H_INCLUDED_ */
