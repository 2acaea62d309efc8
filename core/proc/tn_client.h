
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * nginx's side of the processes: the master opens a lifeline per cycle and
 * fetches listening sockets (blocking, with hard limits of time), a worker
 * dials (never blocking).  The nginx glue calls it; no nginx type is here.
 */

#ifndef TN_CLIENT_H_INCLUDED_
#define TN_CLIENT_H_INCLUDED_

#include "proc/tn_ipc.h"


#define TN_CLIENT_OPEN_MS     5000      /* to find or start the supervisor */
#define TN_CLIENT_REQUEST_MS  5000      /* each of the other requests */
#define TN_CLIENT_LEAVE_MS    3000      /* for the end of everything */


typedef struct {
    const char  *dir;           /* run-time directory, absolute */
    const char  *program;       /* the core's, absolute; the other beside it */
    const char  *token;         /* tn_client_token() of this master */
    uid_t        uid;           /* nginx's user: the core runs as it */
    gid_t        gid;
    int          log_fd;        /* the error log, or -1 */
    const char  *log_path;      /* its absolute path, or NULL */
    int          log_level;     /* tn_log_level_e */
    bool         local;         /* master_process off: no supervisor process */
} tn_client_conf_t;


/* a lifeline; zero-initialised it is closed; both are close-on-exec */
typedef struct {
    int          fd;            /* for requests; -1 when local, or committed */
    int          hold;          /* from the commit on; -1: fd serves for it */
    bool         open;
    bool         started;       /* this call started the supervisor */
    pid_t        pid;           /* of the supervisor; our own when local */
    uint32_t     seq;
    void        *lifeline;      /* of tn_local, or NULL */
} tn_client_t;


/*
 * Text that names this master process, the same for all its cycles: call
 * it once per process, in the master, and keep it.
 */
void tn_client_token(char token[TN_IPC_TOKEN]);

/*
 * Each below: TN_OK, or a failure with one line for the error log in text
 * (TN_IPC_TEXT bytes).  None blocks longer than its limit above.
 *
 * Opens a lifeline; starts the supervisor when none serves the directory.
 * Its descriptors have to stay open as long as this cycle, in the master and
 * in its workers: let workers inherit them and close them when the cycle's
 * pool is destroyed.
 */
tn_rc_t tn_client_open(tn_client_t *client, const tn_client_conf_t *conf,
    char *text);

/*
 * Announces a node of this cycle.  Failure (say, no permission for a
 * namespace) leaves the lifeline usable: the core runs the node without a
 * stack and says so, and TN_IPC_LISTEN on it fails with the same text.
 * *share is for tn_share_map(), the caller's, or -1.
 */
tn_rc_t tn_client_node(tn_client_t *client, const tn_ipc_node_t *node,
    int *share, char *text);

/*
 * A listening (TCP) or bound (UDP) socket of the node, close-on-exec and
 * non-blocking: the stored one when the supervisor has it.  The caller
 * fills in node, family, proto, port, worker and backlog of *listen.
 */
tn_rc_t tn_client_listen(tn_client_t *client, const tn_ipc_listen_t *listen,
    int *fd, char *text);

/*
 * The cycle is going to live: its configuration is given to the core, and
 * sockets only earlier cycles of this master wanted are closed.  To be called
 * before there are workers, which are not to speak for the master: from then
 * on nothing can be asked, and what they inherit is a pipe's end that can be
 * closed, no more.
 */
tn_rc_t tn_client_commit(tn_client_t *client, char *text);

/* nothing happens when it is not open */
void tn_client_close(tn_client_t *client);

/*
 * Closes it at the end of a master that has no workers any more, and waits
 * until the supervisor of this directory has ended with all that is its, unless
 * other lifelines keep it.  TN_OK; TN_AGAIN: it goes on ending by itself, or
 * hangs.  Local: the same as tn_client_close().
 */
tn_rc_t tn_client_leave(tn_client_t *client, const char *dir);

/*
 * Local only: the descriptor that tn_core_run() of a thread of this process
 * takes, to be called once, after daemonising; -1 when it was taken.  The
 * thread ends when the last local lifeline is closed.
 */
int tn_client_local_core(void);

/*
 * Local only: to be called about once a second while nginx runs; sees to a
 * rotated log and to a holder that ended.  Nothing happens elsewhere.
 */
void tn_client_local_tick(void);

/*
 * Local only: the end of the process, whatever lifelines are open, which are
 * closed by it.  The thread of the core ends.
 */
void tn_client_local_end(void);


/*
 * Dials from a worker.  Returns TN_OK and a descriptor to wait on for
 * reading (close-on-exec, non-blocking), or TN_CLOSED when there is no core
 * to ask, TN_AGAIN when it is overloaded; text says why.  Closing the
 * descriptor cancels the dial.
 */
tn_rc_t tn_client_dial(const char *dir, const tn_ipc_dial_t *dial, int *fd,
    char *text);

/*
 * Asks the core for a report in this format, see TN_IPC_TOOL_REPORT; the same
 * results, and the pieces of the answer by tn_client_report_reply().
 */
tn_rc_t tn_client_report(const char *dir, const char *format, int *fd,
    char *text);

/*
 * A piece of the answer, when the descriptor is readable.  TN_OK; TN_AGAIN:
 * wait on.  Else, what is wrong is in reply->text, terminated.
 */
tn_rc_t tn_client_report_reply(int fd, tn_ipc_tool_reply_t *reply);

/*
 * The answer, when the descriptor is readable.  TN_OK: *socket, which may
 * still be connecting, non-blocking and close-on-exec.  TN_AGAIN: wait on.
 * Else reply->rc, reply->err (an errno to show) and reply->text tell the
 * failure; TN_CLOSED: the core went away, dial again.  The caller closes fd.
 */
tn_rc_t tn_client_dial_reply(int fd, tn_ipc_dial_reply_t *reply, int *socket);

/*
 * Asks from a worker to be told who stands behind a name.  TN_OK and a
 * descriptor like that of tn_client_dial(), or TN_CLOSED.
 */
tn_rc_t tn_client_watch(const char *dir, const tn_ipc_watch_t *request,
    int *fd);

/*
 * What it says, when it is readable.  TN_OK; TN_AGAIN: no more for now; else
 * the core went away: ask again.  *members is written with TN_OK alone.
 */
tn_rc_t tn_client_members(int fd, tn_ipc_members_t *members);

/*
 * Asks for sockets of a node: with *fd -1 over a new connection, which is
 * written to *fd, else over that one.  TN_OK, or TN_CLOSED: close it.
 */
tn_rc_t tn_client_take(const char *dir, const tn_ipc_take_t *request,
    int *fd);

/*
 * The answer: in *count their number, in sockets, which has room for
 * TN_IPC_FDS, the sockets, non-blocking and close-on-exec, the caller's.
 * TN_OK; TN_AGAIN: wait on; else: close it, and the sockets that came before.
 */
tn_rc_t tn_client_taken(int fd, int *sockets, size_t *count);


#endif /* TN_CLIENT_H_INCLUDED_ */
