
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The supervisor's guard: a child of it that does nothing but keep copies of
 * its descriptors, and starts the next supervisor with them when this one
 * was killed.  Started by tn_superd.  It reads nothing from outside.
 */

#ifndef TN_GUARD_H_INCLUDED_
#define TN_GUARD_H_INCLUDED_

#include "proc/tn_ipc.h"


/* where a supervisor that follows a killed one finds its channel, lock, ... */
#define TN_GUARD_FD       3
#define TN_GUARD_LOCK_FD  4
#define TN_GUARD_CORE_FD  5         /* the core's program */

/* and how it is called then: "super", the directory, this */
#define TN_GUARD_AGAIN    "again"

/*
 * Forks the guard.  dir_fd has the directory's lock, core_fd and program_fd
 * are the core's program and the supervisor's; name is the caller's own
 * argv[1], which is written over in the guard, so that a list of processes
 * tells them apart.  Returns our end of its channel, to be written by
 * tn_super_save(); -1 with errno.
 */
int tn_guard_start(const char *dir, int dir_fd, int core_fd, int program_fd,
    char *name);

/* tells it that this supervisor ends in order; closes fd */
void tn_guard_stop(int fd);


#endif /* TN_GUARD_H_INCLUDED_ */
