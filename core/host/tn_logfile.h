
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A log sink that writes lines as nginx's error log has them.  Each line is
 * one write(), so threads may share it; reopening keeps the descriptor.
 */

#ifndef TN_LOGFILE_H_INCLUDED_
#define TN_LOGFILE_H_INCLUDED_

#include "base/tn_log.h"

#include <stdatomic.h>


typedef struct {
    tn_log_t    log;            /* give &logfile->log to who logs */
    atomic_int  fd;             /* -1: nothing is written */
} tn_logfile_t;


/* takes the descriptor; -1 is fine */
void tn_logfile_init(tn_logfile_t *logfile, int fd, int level);

/*
 * From now on writes to what fd refers to; takes it.  Safe while other
 * threads log.
 */
void tn_logfile_replace(tn_logfile_t *logfile, int fd);

void tn_logfile_done(tn_logfile_t *logfile);


#endif /* TN_LOGFILE_H_INCLUDED_ */
