
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A log whose lines are comments in the TAP, and are counted.  A test that
 * wants other ones than up to "info" sets the level.
 */

#ifndef TAP_LOG_H_INCLUDED_
#define TAP_LOG_H_INCLUDED_

#include "base/tn_log.h"

#include <stdatomic.h>
#include <stdio.h>


static atomic_int  logged;      /* lines, of any thread */


static inline void
log_write(tn_log_t *log, tn_log_level_e level, const char *line, size_t len)
{
    (void) log;
    (void) level;

    printf("# %.*s\n", (int) len, line);
    logged++;
}


static tn_log_t  logger = { TN_LOG_INFO, log_write, NULL };


#endif /* TAP_LOG_H_INCLUDED_ */
