
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Starts a program with exactly the descriptors, environment and rights it
 * is to have.  The supervisor starts holders and the core with it, nginx's
 * side starts the supervisor.  Safe in a process that has threads.
 */

#ifndef TN_SPAWN_H_INCLUDED_
#define TN_SPAWN_H_INCLUDED_

#include "proc/tn_ipc.h"


/* the two programs, installed side by side */
#define TN_SPAWN_CORE      "ngx_tailnet_core"
#define TN_SPAWN_SUPER     "ngx_tailnet_super"

#define TN_SPAWN_FDS       8
#define TN_SPAWN_FIRST_FD  3        /* the child finds its descriptors here */

typedef struct {
    int                 program_fd; /* O_PATH; needs no way to the file */
    const char         *argv[5];    /* ended by NULL */
    int                 fds[TN_SPAWN_FDS];      /* to 3, 4, ... */
    size_t              n_fds;
    int                 stderr_fd;  /* -1: /dev/null */
    bool                drop;       /* give up all rights, for good */
    uid_t               uid;        /* with drop, when started by root */
    gid_t               gid;
    bool                detach;     /* own session, nobody's child */
    bool                die;        /* when the calling process dies */
} tn_spawn_t;


/*
 * Returns TN_OK when the program runs; *pid is 0 when detached.  TN_ERROR
 * with one line in text (TN_IPC_TEXT bytes).
 */
tn_rc_t tn_spawn(const tn_spawn_t *spawn, pid_t *pid, char *text);

/* a descriptor for program_fd, or -1 with errno */
int tn_spawn_program(const char *path);

/*
 * The same for TN_SPAWN_SUPER in the directory in which the file at path is,
 * symbolic links followed.  -1 with one line in text (TN_IPC_TEXT bytes).
 */
int tn_spawn_beside(const char *path, char *text);

/* closes all descriptors from `first` on, for a fork() without exec() */
void tn_spawn_close_from(int first);

/* the soft limit of open descriptors becomes the hard one */
void tn_spawn_raise_files(void);


#endif /* TN_SPAWN_H_INCLUDED_ */
