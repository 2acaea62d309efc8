
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the supervisor decides: lifelines, which nodes and sockets they want,
 * which configuration is in force, and what the core is told.  Driven by the
 * supervisor's process (tn_superd) and, in a single-process nginx, by
 * tn_local.  It reads no network data and starts no core.
 */

#ifndef TN_SUPER_H_INCLUDED_
#define TN_SUPER_H_INCLUDED_

#include "host/tn_logfile.h"
#include "proc/tn_snode.h"


#define TN_SUPER_LIFELINES  256
#define TN_SUPER_NODES      64

/* open at a time: the last of them is told that it is one too many */
#define TN_SUPER_CYCLES     (TN_SUPER_LIFELINES + 1)

typedef struct tn_super_s           tn_super_t;
typedef struct tn_super_lifeline_s  tn_super_lifeline_t;

typedef struct {
    const char   *dir;          /* run-time directory; kept */
    int           program_fd;   /* of holders; taken */
    bool          local;        /* part of nginx: holders are no children */
} tn_super_conf_t;


struct tn_super_s {

    /* read by the owner */

    tn_log_t       *log;
    int             log_fd;     /* -1: none */
    uid_t           uid;        /* what the core is to run as */
    gid_t           gid;
    int             dial_fd;    /* -1 until the first commit */
    int             core_fd;    /* -1: no core attached */
    bool            core_stale; /* the core must be replaced; of a single
                                   process: be told everything again */
    size_t          n_lifelines;
    bool            changed;    /* since the last tn_super_save() */
    tn_link_t       nodes;      /* of tn_snode_t */

    /* the rest is private */

    const char     *dir;
    int             program_fd;
    bool            local;
    bool            again;      /* tn_super_core_again() is at work */
    tn_logfile_t    logfile;
    char            log_path[TN_IPC_PATH];
    tn_ms_t         log_checked;
    tn_ms_t         udp_until;  /* ports that were another node's are tried */
    tn_link_t       lifelines;
    size_t          n_nodes;
    uint64_t        serial;
};


/* of the owner, and for the next one of it; -1 each: none */
typedef struct {
    int             listen_fd;
    int             core_fd;    /* the channel */
    int             core_proc;  /* pidfd */
    pid_t           core_pid;
} tn_super_kept_t;


/* NULL when out of memory */
tn_super_t *tn_super_create(const tn_super_conf_t *conf);

/* ends all holders, closes all sockets */
void tn_super_destroy(tn_super_t *super);

/*
 * fd: its connection, which stays the caller's and is open until the commit at
 * least, or -1.  NULL when there are too many or out of memory.
 */
tn_super_lifeline_t *tn_super_open(tn_super_t *super, int fd);

/*
 * What it lives by from its commit on: a pipe's end, for which poll() says
 * POLLERR when nobody has the other one any more.  -1: its connection still is
 * that, before the commit or when there was no descriptor for a pipe.
 */
int tn_super_held(const tn_super_lifeline_t *lifeline);

/* drops what it wants */
void tn_super_close(tn_super_t *super, tn_super_lifeline_t *lifeline);

/*
 * One request of a lifeline: fills in *reply, and *fd with the descriptor to
 * send with it (still ours) or -1.  Takes all of fds.  Wipes msg.  False when
 * the lifeline broke the protocol and is to be closed.
 */
bool tn_super_request(tn_super_t *super, tn_super_lifeline_t *lifeline,
    tn_ipc_msg_t *msg, int *fds, size_t count, tn_ipc_reply_t *reply,
    int *fd);

/* true when there is something for a core to do */
bool tn_super_wants_core(tn_super_t *super);

/*
 * A core listens at the other end of fd, which is the caller's: everything is
 * sent to it.  TN_OK, or TN_ERROR: it takes nothing.
 */
tn_rc_t tn_super_core_attach(tn_super_t *super, int fd);

/* the same for the core of a killed supervisor: nothing of it is disturbed */
tn_rc_t tn_super_core_resume(tn_super_t *super, int fd);

void tn_super_core_detach(tn_super_t *super);

/* before the last detach: all nodes end for good */
void tn_super_core_stop(tn_super_t *super);

/*
 * What is due: a rotated log, holders to start again, what a single process's
 * core has missed.  Returns when to be called next (tn_ipc_now()).
 */
tn_ms_t tn_super_tick(tn_super_t *super, tn_ms_t now);

/*
 * Sends all that is to survive this process to the guard at the other end of
 * fd: lifelines, nodes, sockets, and what is kept of the owner.  TN_OK, or
 * what tn_ipc_send() says of a guard that does not take it.
 */
tn_rc_t tn_super_save(tn_super_t *super, int fd, const tn_super_kept_t *kept);

/*
 * The same back into a new supervisor: waits for all of it until `deadline`.
 * *kept is the caller's then, as are the connections that tn_super_each()
 * tells.  TN_OK, or why not.
 */
tn_rc_t tn_super_restore(tn_super_t *super, int fd, tn_ms_t deadline,
    tn_super_kept_t *kept);

/* the one after `prev` (NULL: the first) with its connection, if any; NULL */
tn_super_lifeline_t *tn_super_each(tn_super_t *super,
    tn_super_lifeline_t *prev, int *fd);


#endif /* TN_SUPER_H_INCLUDED_ */
