
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Start: the directory's lock makes this the only supervisor of it; a socket
 * that a dead one left is replaced.  Then one loop over the listening socket,
 * signals, lifelines, the channels of holders and the core's.
 *
 * The core: started when a node was committed; when it ends it is started
 * again after TN_SUPERD_CORE_FIRST_MS, or, when it lived less than
 * TN_SUPERD_CORE_STABLE_MS, after a pause that doubles up to
 * TN_SUPERD_CORE_MAX_MS.  It outlives us where the kernel has pidfds, by which
 * the next supervisor can wait for what is not its child; otherwise it dies
 * with us.
 *
 * End: TN_SUPERD_LINGER_MS after the last lifeline closed (SIGTERM, or a master
 * that leaves and waits for our end: at once) the socket goes, the core's
 * channel is closed, which ends it, and after TN_SUPERD_CORE_END_MS it is
 * killed; holders are killed; then the directory is removed and with the
 * process its lock.  Who connected in between sees its connection closed and
 * starts anew.
 *
 * Killed, it is followed by another that its guard (tn_guard) starts with
 * everything saved: the lock, the listening socket, lifelines, nodes, the core
 * that runs.
 */

#include "proc/tn_superd.h"
#include "proc/tn_guard.h"
#include "proc/tn_spawn.h"
#include "proc/tn_super.h"
#include "host/tn_trim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>


#define TN_SUPERD_BACKLOG         64
#define TN_SUPERD_FIRST_MS        6000  /* for the first lifeline */
#define TN_SUPERD_LINGER_MS       1000
#define TN_SUPERD_CORE_FIRST_MS   50
#define TN_SUPERD_CORE_STABLE_MS  10000
#define TN_SUPERD_CORE_RETRY_MS   250
#define TN_SUPERD_CORE_MAX_MS     30000
#define TN_SUPERD_CORE_END_MS     6000  /* a node may have to log out */
#define TN_SUPERD_CORE_BUFFER     (1024 * 1024)
#define TN_SUPERD_RESTORE_MS      2000
#define TN_SUPERD_GUARD_MS        1000  /* between guards that fail */
#define TN_SUPERD_ACCEPT_MS       1000  /* without descriptors */

#define TN_SUPERD_FDS  (5 + TN_SUPER_CYCLES + TN_SUPER_NODES)


typedef struct {
    tn_link_t             link;
    int                   fd;           /* -1: tn_super_held() */
    tn_super_lifeline_t  *lifeline;
} tn_superd_conn_t;


typedef struct {
    const char    *dir;
    char          *name;        /* argv[0], for the guard */
    bool           again;       /* after a killed one */
    int            guard_fd;    /* -1: no guard */
    tn_ms_t        guard_start; /* not before */
    int            dir_fd;
    int            listen_fd;
    tn_ms_t        accept_start;    /* not before */
    int            signal_fd;
    int            program_fd;  /* of this process */
    int            image_fd;    /* of the core's */
    int            leave_fd;    /* a master waits for its end, or -1 */
    tn_super_t    *super;
    tn_link_t      conns;
    tn_ms_t        end;         /* TN_NEVER_MS while there are lifelines */
    tn_ms_t        trim;        /* TN_NEVER_MS when that was done */
    bool           ending;

    pid_t          core_pid;    /* 0: none */
    int            core_fd;
    int            core_proc;   /* pidfd, -1: none */
    bool           core_former; /* of the supervisor before: no child */
    tn_ms_t        core_started;
    tn_ms_t        core_start;  /* not before */
    unsigned       core_failures;
    bool           core_replaced;   /* we ended it */
} tn_superd_t;


static tn_rc_t tn_superd_start(tn_superd_t *sd, char *text);
static tn_rc_t tn_superd_serve(tn_superd_t *sd);
static tn_rc_t tn_superd_restore(tn_superd_t *sd);
static void tn_superd_guard(tn_superd_t *sd);
static void tn_superd_status(const char *text);
static void tn_superd_loop(tn_superd_t *sd);
static void tn_superd_turn(tn_superd_t *sd, tn_ms_t next);
static void tn_superd_accept(tn_superd_t *sd);
static tn_rc_t tn_superd_conn(tn_superd_t *sd, int fd,
    tn_super_lifeline_t *lifeline);
static void tn_superd_conn_read(tn_superd_t *sd, tn_superd_conn_t *conn);
static void tn_superd_conn_close(tn_superd_t *sd, tn_superd_conn_t *conn);
static void tn_superd_leave(tn_superd_t *sd, tn_superd_conn_t *conn);
static void tn_superd_signals(tn_superd_t *sd);
static void tn_superd_reap(tn_superd_t *sd);
static void tn_superd_core(tn_superd_t *sd, tn_ms_t now);
static tn_rc_t tn_superd_core_spawn(tn_superd_t *sd);
static int tn_superd_pidfd(pid_t pid);
static void tn_superd_core_resume(tn_superd_t *sd,
    const tn_super_kept_t *kept);
static void tn_superd_core_kill(tn_superd_t *sd);
static bool tn_superd_core_is_gone(tn_superd_t *sd, int ms);
static void tn_superd_core_ended(tn_superd_t *sd, int status);
static void tn_superd_core_forget(tn_superd_t *sd, tn_ms_t *pause);
static void tn_superd_core_channel(tn_superd_t *sd);
static void tn_superd_end(tn_superd_t *sd);


int
tn_superd_main(int argc, char **argv)
{
    char         text[TN_IPC_TEXT];
    tn_superd_t  sd;

    memset(&sd, 0, sizeof(sd));
    sd.dir_fd = -1;
    sd.listen_fd = -1;
    sd.signal_fd = -1;
    sd.program_fd = -1;
    sd.leave_fd = -1;
    sd.core_fd = -1;
    sd.core_proc = -1;
    sd.guard_fd = -1;
    tn_list_init(&sd.conns);

    if (argc < 2 || argv[1][0] != '/') {
        tn_superd_status("the supervisor wants an absolute directory");
        return 2;
    }

    sd.dir = argv[1];
    sd.name = argv[0];
    sd.again = argc > 2 && strcmp(argv[2], TN_GUARD_AGAIN) == 0;

    if (sd.again) {
        sd.guard_fd = TN_GUARD_FD;
        sd.dir_fd = TN_GUARD_LOCK_FD;
        sd.image_fd = TN_GUARD_CORE_FD;
        (void) fcntl(sd.guard_fd, F_SETFD, FD_CLOEXEC);
        (void) fcntl(sd.dir_fd, F_SETFD, FD_CLOEXEC);

    } else {
        sd.image_fd = TN_SUPERD_CORE_FD;
        (void) fcntl(TN_SUPERD_STATUS_FD, F_SETFD, FD_CLOEXEC);
    }

    (void) fcntl(sd.image_fd, F_SETFD, FD_CLOEXEC);

    if (tn_superd_start(&sd, text) != TN_OK) {

        if (!sd.again) {
            tn_superd_status(text);
        }

        return strcmp(text, TN_SUPERD_BUSY) == 0 ? 0 : 1;
    }

    if (!sd.again) {
        tn_superd_status(TN_SUPERD_READY);
    }

    tn_superd_loop(&sd);
    tn_superd_end(&sd);

    return 0;
}


static tn_rc_t
tn_superd_start(tn_superd_t *sd, char *text)
{
    sigset_t         set;
    const char      *call;
    tn_super_conf_t  conf;

    (void) prctl(PR_SET_NAME, "tailnet-super");

    /* auth keys are in this memory */
    (void) prctl(PR_SET_DUMPABLE, 0);

    (void) umask(077);

    tn_spawn_raise_files();

    signal(SIGINT, SIG_IGN);
    signal(SIGHUP, SIG_IGN);
    signal(SIGPIPE, SIG_IGN);

    sigemptyset(&set);
    sigaddset(&set, SIGCHLD);
    sigaddset(&set, SIGTERM);
    sigaddset(&set, SIGQUIT);
    (void) sigprocmask(SIG_BLOCK, &set, NULL);

    if (!sd->again) {
        sd->dir_fd = tn_superd_lock(sd->dir, text);

        if (sd->dir_fd == -1) {
            return TN_ERROR;
        }
    }

    /* the directory is named absolutely, all else by descriptors */

    call = "chdir(\"/\")";

    if (chdir("/") == -1) {
        goto failed;
    }

    call = "signalfd()";
    sd->signal_fd = signalfd(-1, &set, SFD_CLOEXEC|SFD_NONBLOCK);

    if (sd->signal_fd == -1) {
        goto failed;
    }

    /* stays right when a package update replaces the file, as the core's */

    call = "open(\"/proc/self/exe\")";
    sd->program_fd = tn_spawn_program("/proc/self/exe");

    if (sd->program_fd == -1) {
        goto failed;
    }

    conf.dir = sd->dir;
    conf.program_fd = fcntl(sd->program_fd, F_DUPFD_CLOEXEC, 3);
    conf.local = false;

    call = "tn_super_create()";
    sd->super = tn_super_create(&conf);

    if (sd->super == NULL) {
        goto failed;
    }

    call = "serving on " TN_IPC_SUPER_SOCK;

    if (tn_superd_serve(sd) != TN_OK) {
        goto failed;
    }

    /* the lifelines of the one before may have nothing to say for weeks */

    sd->end = sd->super->n_lifelines ? TN_NEVER_MS
                                     : tn_ipc_now() + TN_SUPERD_FIRST_MS;
    sd->trim = tn_ipc_now() + TN_TRIM_MS;

    return TN_OK;

failed:

    snprintf(text, TN_IPC_TEXT, "%s for \"%.256s\" failed (%d: %s)", call,
             sd->dir, errno, strerror(errno));

    return TN_ERROR;
}


/* last of the start: that the socket is there means that we serve */
static tn_rc_t
tn_superd_serve(tn_superd_t *sd)
{
    if (sd->again) {
        return tn_superd_restore(sd);
    }

    sd->listen_fd = tn_ipc_bind(sd->dir, TN_IPC_SUPER_SOCK, 0600, geteuid(),
                                getegid(), TN_SUPERD_BACKLOG);

    return sd->listen_fd == -1 ? TN_ERROR : TN_OK;
}


/* everything that a killed supervisor had */
static tn_rc_t
tn_superd_restore(tn_superd_t *sd)
{
    int                   fd;
    tn_rc_t               rc;
    tn_super_kept_t       kept;
    tn_super_lifeline_t  *lifeline;

    rc = tn_super_restore(sd->super, sd->guard_fd,
                          tn_ipc_now() + TN_SUPERD_RESTORE_MS, &kept);

    sd->listen_fd = kept.listen_fd;

    if (rc != TN_OK || sd->listen_fd == -1) {
        return TN_ERROR;
    }

    lifeline = NULL;

    while ((lifeline = tn_super_each(sd->super, lifeline, &fd)) != NULL) {
        if (tn_superd_conn(sd, fd, lifeline) != TN_OK) {
            return TN_ERROR;
        }
    }

    tn_log(sd->super->log, TN_LOG_ALERT, "the supervisor was killed, this is "
           "another one in its place");

    tn_superd_core_resume(sd, &kept);

    return TN_OK;
}


/* a guard is there and has what is so now */
static void
tn_superd_guard(tn_superd_t *sd)
{
    tn_ms_t          now;
    tn_super_kept_t  kept;

    if (sd->guard_fd != -1 && !sd->super->changed) {
        return;
    }

    now = tn_ipc_now();

    if (sd->guard_fd == -1) {

        if (now < sd->guard_start) {
            return;
        }

        sd->guard_start = now + TN_SUPERD_GUARD_MS;
        sd->guard_fd = tn_guard_start(sd->dir, sd->dir_fd, sd->image_fd,
                                      sd->program_fd, sd->name);

        if (sd->guard_fd == -1) {
            tn_log(sd->super->log, TN_LOG_ERR, "the supervisor's guard "
                   "cannot be started (%d: %s)", errno, strerror(errno));
            return;
        }
    }

    kept.listen_fd = sd->listen_fd;
    kept.core_fd = sd->core_fd;
    kept.core_proc = sd->core_fd != -1 ? sd->core_proc : -1;
    kept.core_pid = sd->core_pid;

    if (tn_super_save(sd->super, sd->guard_fd, &kept) != TN_OK) {
        tn_ipc_close(&sd->guard_fd, 1);
    }
}


int
tn_superd_lock(const char *dir, char *text)
{
    int          fd;
    struct stat  by_fd, by_path;

    fd = open(dir, O_RDONLY|O_DIRECTORY|O_NOFOLLOW|O_CLOEXEC);

    if (fd == -1) {
        if (errno != ENOENT) {
            snprintf(text, TN_IPC_TEXT, "open(\"%.256s\") failed (%d: %s)",
                     dir, errno, strerror(errno));
            return -1;
        }

        /* an ending one has just removed it */
        goto busy;
    }

    if (flock(fd, LOCK_EX|LOCK_NB) == -1
        || fstat(fd, &by_fd) == -1
        || stat(dir, &by_path) == -1
        || by_fd.st_dev != by_path.st_dev
        || by_fd.st_ino != by_path.st_ino)
    {
        goto busy;
    }

    if (by_fd.st_uid != geteuid() || (by_fd.st_mode & 022)) {
        snprintf(text, TN_IPC_TEXT, "\"%.256s\" belongs to another user or "
                 "others may write to it", dir);
        close(fd);
        return -1;
    }

    return fd;

busy:

    tn_ipc_close(&fd, 1);
    snprintf(text, TN_IPC_TEXT, "%s", TN_SUPERD_BUSY);

    return -1;
}


static void
tn_superd_status(const char *text)
{
    ssize_t  n;

    n = write(TN_SUPERD_STATUS_FD, text, strlen(text));
    (void) n;

    close(TN_SUPERD_STATUS_FD);
}


static void
tn_superd_loop(tn_superd_t *sd)
{
    tn_ms_t  now, next;

    while (!sd->ending) {
        now = tn_ipc_now();

        if (now >= sd->end) {
            return;
        }

        if (now >= sd->trim) {
            sd->trim = TN_NEVER_MS;
            tn_trim();
        }

        next = tn_min(tn_super_tick(sd->super, now), sd->trim);

        tn_superd_guard(sd);
        tn_superd_core(sd, now);

        if (sd->guard_fd == -1) {
            next = tn_min(next, sd->guard_start);
        }

        if (sd->core_pid == 0 && tn_super_wants_core(sd->super)) {
            next = tn_min(next, sd->core_start);
        }

        tn_superd_turn(sd, tn_min(next, sd->end));
    }
}


/* waits until `next`, then handles what there is */
static void
tn_superd_turn(tn_superd_t *sd, tn_ms_t next)
{
    int                ms;
    size_t             i, n, first;
    tn_ms_t            now;
    tn_link_t         *link;
    tn_snode_t        *node;
    struct pollfd      pfd[TN_SUPERD_FDS];
    tn_superd_conn_t  *conn;
    void              *who[TN_SUPERD_FDS];

    now = tn_ipc_now();

    pfd[0].fd = now >= sd->accept_start ? sd->listen_fd : -1;
    pfd[1].fd = sd->signal_fd;
    pfd[2].fd = sd->core_fd;
    pfd[3].fd = sd->guard_fd;
    pfd[4].fd = sd->core_former ? sd->core_proc : -1;
    n = 5;

    tn_list_each(link, &sd->conns) {
        conn = tn_container(link, tn_superd_conn_t, link);
        pfd[n].fd = conn->fd != -1 ? conn->fd : tn_super_held(conn->lifeline);
        who[n++] = conn;
    }

    first = n;

    tn_list_each(link, &sd->super->nodes) {
        node = tn_container(link, tn_snode_t, link);
        pfd[n].fd = node->holder_fd;
        who[n++] = node;
    }

    for (i = 0; i < n; i++) {
        pfd[i].events = POLLIN;
        pfd[i].revents = 0;
    }

    if (pfd[0].fd == -1) {
        next = tn_min(next, sd->accept_start);
    }

    ms = next == TN_NEVER_MS ? -1
         : next <= now ? 0 : (int) tn_min(next - now, 60000);

    if (poll(pfd, n, ms) <= 0) {
        return;
    }

    now = tn_ipc_now();
    sd->trim = now + TN_TRIM_MS;

    /* holders first: a request below may end nodes */

    for (i = first; i < n; i++) {
        node = who[i];

        if (pfd[i].revents && node->holder_fd != -1) {
            tn_log(sd->super->log, TN_LOG_WARN, "\"%s\": the holder of "
                   "its network namespace ended, starting another",
                   node->name);
            tn_snode_holder_lost(node);
        }
    }

    if (pfd[2].revents) {
        tn_superd_core_channel(sd);
    }

    if (pfd[3].revents) {

        /* it never says anything: it is dead */
        tn_ipc_close(&sd->guard_fd, 1);
    }

    if (pfd[4].revents) {
        tn_superd_core_ended(sd, 0);
    }

    for (i = 5; i < first; i++) {
        if (pfd[i].revents) {
            tn_superd_conn_read(sd, who[i]);
        }
    }

    if (pfd[1].revents) {
        tn_superd_signals(sd);
    }

    if (pfd[0].revents) {
        tn_superd_accept(sd);
    }

    if (sd->super->n_lifelines) {
        sd->end = TN_NEVER_MS;

    } else if (sd->end == TN_NEVER_MS) {
        sd->end = now + TN_SUPERD_LINGER_MS;
    }
}


static void
tn_superd_accept(tn_superd_t *sd)
{
    int                   fd;
    struct ucred          peer;
    tn_super_lifeline_t  *lifeline;

    fd = accept4(sd->listen_fd, NULL, NULL, SOCK_CLOEXEC|SOCK_NONBLOCK);

    if (fd == -1) {

        if (errno != EAGAIN && errno != EINTR && errno != ECONNABORTED) {

            /* who connects stays in the queue, which stays readable */

            tn_log(sd->super->log, TN_LOG_ALERT, "supervisor: accept4() "
                   "failed (%d: %s)", errno, strerror(errno));
            sd->accept_start = tn_ipc_now() + TN_SUPERD_ACCEPT_MS;
        }

        return;
    }

    if (!tn_ipc_trusts(fd, &peer)) {
        close(fd);
        return;
    }

    lifeline = tn_super_open(sd->super, fd);

    if (lifeline == NULL) {
        tn_log(sd->super->log, TN_LOG_ERR, "too many nginx cycles are alive");
        close(fd);
        return;
    }

    if (tn_superd_conn(sd, fd, lifeline) != TN_OK) {
        tn_super_close(sd->super, lifeline);
        close(fd);
    }
}


static tn_rc_t
tn_superd_conn(tn_superd_t *sd, int fd, tn_super_lifeline_t *lifeline)
{
    tn_superd_conn_t  *conn;

    conn = calloc(1, sizeof(*conn));

    if (conn == NULL) {
        return TN_NOMEM;
    }

    conn->fd = fd;
    conn->lifeline = lifeline;
    tn_list_push(&sd->conns, &conn->link);

    return TN_OK;
}


static void
tn_superd_conn_read(tn_superd_t *sd, tn_superd_conn_t *conn)
{
    int             fd, fds[TN_IPC_FDS];
    size_t          n;
    tn_rc_t         rc;
    tn_ipc_msg_t    msg;
    tn_ipc_reply_t  reply;

    if (conn->fd == -1) {
        tn_superd_conn_close(sd, conn);
        return;
    }

    rc = tn_ipc_recv(conn->fd, &msg, fds, &n);

    if (rc == TN_AGAIN) {
        return;
    }

    if (rc == TN_MALFORMED) {

        /* of another build: the head of any answer tells it that */

        tn_ipc_init(&reply, TN_IPC_REPLY);
        reply.rc = TN_MALFORMED;
        (void) tn_ipc_send(conn->fd, &reply, NULL, 0);
    }

    if (rc == TN_OK && msg.head.type == TN_IPC_LEAVE) {
        tn_ipc_close(fds, n);
        tn_superd_leave(sd, conn);
        return;
    }

    if (rc != TN_OK
        || !tn_super_request(sd->super, conn->lifeline, &msg, fds, n, &reply,
                             &fd))
    {
        tn_superd_conn_close(sd, conn);
        return;
    }

    /* what is answered holds, whatever happens to us */
    tn_superd_guard(sd);

    rc = tn_ipc_send(conn->fd, &reply, &fd, fd != -1);

    if (tn_super_held(conn->lifeline) != -1) {
        tn_ipc_close(&conn->fd, 1);

    } else if (rc != TN_OK) {
        tn_superd_conn_close(sd, conn);
    }
}


static void
tn_superd_conn_close(tn_superd_t *sd, tn_superd_conn_t *conn)
{
    tn_list_remove(&conn->link);
    tn_super_close(sd->super, conn->lifeline);
    tn_ipc_close(&conn->fd, 1);
    free(conn);
}


static void
tn_superd_leave(tn_superd_t *sd, tn_superd_conn_t *conn)
{
    int  fd;

    fd = conn->fd;
    conn->fd = -1;
    tn_superd_conn_close(sd, conn);

    if (sd->super->n_lifelines) {

        /* the guard may have a copy */

        (void) shutdown(fd, SHUT_RDWR);
        close(fd);
        return;
    }

    sd->leave_fd = fd;
    sd->ending = true;
}


static void
tn_superd_signals(tn_superd_t *sd)
{
    struct signalfd_siginfo  info;

    while (read(sd->signal_fd, &info, sizeof(info)) == sizeof(info)) {

        if (info.ssi_signo == SIGCHLD) {
            tn_superd_reap(sd);

        } else {
            tn_log(sd->super->log, TN_LOG_NOTICE, "supervisor: signal %u, "
                   "ending", info.ssi_signo);
            sd->ending = true;
        }
    }
}


static void
tn_superd_reap(tn_superd_t *sd)
{
    int          status;
    pid_t        pid;
    tn_link_t   *link;
    tn_snode_t  *node;

    while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {

        if (pid == sd->core_pid && !sd->core_former) {
            tn_superd_core_ended(sd, status);
            continue;
        }

        /* its channel tells the rest */

        tn_list_each(link, &sd->super->nodes) {
            node = tn_container(link, tn_snode_t, link);

            if (node->holder_pid == pid) {
                node->holder_pid = 0;
            }
        }
    }
}


static void
tn_superd_core(tn_superd_t *sd, tn_ms_t now)
{
    if (sd->core_pid) {

        if (sd->super->core_stale && sd->core_fd != -1) {
            tn_superd_core_channel(sd);
        }

        return;
    }

    if (now < sd->core_start || !tn_super_wants_core(sd->super)) {
        return;
    }

    sd->core_started = now;

    if (tn_superd_core_spawn(sd) != TN_OK) {
        sd->core_start = now + TN_SUPERD_CORE_MAX_MS;
    }
}


static tn_rc_t
tn_superd_core_spawn(tn_superd_t *sd)
{
    int         pair[2], size;
    char        text[TN_IPC_TEXT];
    tn_rc_t     rc;
    tn_spawn_t  spawn;

    if (tn_ipc_pair(pair) != TN_OK) {
        tn_log(sd->super->log, TN_LOG_ERR, "socketpair() failed (%d: %s)",
               errno, strerror(errno));
        return TN_ERROR;
    }

    size = TN_SUPERD_CORE_BUFFER;

    if (setsockopt(pair[0], SOL_SOCKET, SO_SNDBUFFORCE, &size, sizeof(size))
        == -1)
    {
        (void) setsockopt(pair[0], SOL_SOCKET, SO_SNDBUF, &size,
                          sizeof(size));
    }

    memset(&spawn, 0, sizeof(spawn));
    spawn.program_fd = sd->image_fd;
    spawn.argv[0] = TN_SPAWN_CORE;
    spawn.argv[1] = "core";
    spawn.argv[2] = sd->dir;
    spawn.stderr_fd = sd->super->log_fd;
    spawn.fds[spawn.n_fds++] = pair[1];
    spawn.drop = true;
    spawn.uid = sd->super->uid;
    spawn.gid = sd->super->gid;

    sd->core_proc = tn_superd_pidfd(getpid());
    spawn.die = sd->core_proc == -1;
    tn_ipc_close(&sd->core_proc, 1);

    rc = tn_spawn(&spawn, &sd->core_pid, text);

    close(pair[1]);

    if (rc != TN_OK) {
        close(pair[0]);
        tn_log(sd->super->log, TN_LOG_ERR, "the core cannot be started: %s",
               text);
        return TN_ERROR;
    }

    tn_log(sd->super->log, TN_LOG_NOTICE, "core process %d started",
           (int) sd->core_pid);

    sd->core_fd = pair[0];
    sd->core_proc = spawn.die ? -1 : tn_superd_pidfd(sd->core_pid);
    sd->core_former = false;
    sd->core_replaced = false;

    if (tn_super_core_attach(sd->super, sd->core_fd) != TN_OK) {
        tn_superd_core_channel(sd);
    }

    sd->super->changed = true;
    tn_superd_guard(sd);

    return TN_OK;
}


static int
tn_superd_pidfd(pid_t pid)
{
    return (int) syscall(SYS_pidfd_open, pid, 0);
}


static void
tn_superd_core_resume(tn_superd_t *sd, const tn_super_kept_t *kept)
{
    if (kept->core_fd == -1 || kept->core_proc == -1) {
        return;
    }

    sd->core_pid = kept->core_pid;
    sd->core_fd = kept->core_fd;
    sd->core_proc = kept->core_proc;
    sd->core_former = true;
    sd->core_started = tn_ipc_now();

    tn_log(sd->super->log, TN_LOG_NOTICE, "core process %d goes on",
           (int) sd->core_pid);

    if (tn_super_core_resume(sd->super, sd->core_fd) != TN_OK) {
        tn_superd_core_channel(sd);
    }
}


/* the core closed its channel, does not read it, or is to be replaced */
static void
tn_superd_core_channel(tn_superd_t *sd)
{
    ssize_t  n;
    char     byte;

    n = recv(sd->core_fd, &byte, 1, MSG_DONTWAIT);

    if (sd->super->core_stale && (n == -1 && errno == EAGAIN)) {
        sd->core_replaced = true;

    } else if (n > 0 || (n == -1 && errno == EAGAIN)) {
        /* it has nothing to tell us */
        return;
    }

    tn_super_core_detach(sd->super);
    tn_ipc_close(&sd->core_fd, 1);

    /* the end is noticed by SIGCHLD, or by the pidfd */
    tn_superd_core_kill(sd);
}


static void
tn_superd_core_kill(tn_superd_t *sd)
{
    if (sd->core_proc != -1) {
        (void) syscall(SYS_pidfd_send_signal, sd->core_proc, SIGKILL, NULL,
                       0);

    } else {
        (void) kill(sd->core_pid, SIGKILL);
    }
}


static bool
tn_superd_core_is_gone(tn_superd_t *sd, int ms)
{
    struct pollfd  pfd;

    pfd.fd = sd->core_former ? sd->core_proc : -1;
    pfd.events = POLLIN;

    if (poll(&pfd, 1, ms) == 1) {
        return true;
    }

    return !sd->core_former && waitpid(sd->core_pid, NULL, WNOHANG) != 0;
}


/* status: of waitpid(), of a child */
static void
tn_superd_core_ended(tn_superd_t *sd, int status)
{
    tn_ms_t  pause;

    tn_superd_core_forget(sd, &pause);

    if (sd->core_former) {
        tn_log(sd->super->log,
               sd->core_replaced ? TN_LOG_NOTICE : TN_LOG_ERR,
               "core process %d ended, a new one starts in %d ms",
               (int) sd->core_pid, (int) pause);

    } else if (WIFSIGNALED(status)) {
        tn_log(sd->super->log,
               sd->core_replaced ? TN_LOG_NOTICE : TN_LOG_ALERT,
               "core process %d ended on signal %d, a new one starts in "
               "%d ms", (int) sd->core_pid, WTERMSIG(status), (int) pause);

    } else {
        tn_log(sd->super->log, TN_LOG_ERR, "core process %d exited with code "
               "%d, a new one starts in %d ms", (int) sd->core_pid,
               WEXITSTATUS(status), (int) pause);
    }

    sd->core_pid = 0;
    sd->core_former = false;
    sd->core_replaced = false;
}


static void
tn_superd_core_forget(tn_superd_t *sd, tn_ms_t *pause)
{
    tn_ms_t  now;

    now = tn_ipc_now();

    tn_super_core_detach(sd->super);
    tn_ipc_close(&sd->core_fd, 1);
    tn_ipc_close(&sd->core_proc, 1);
    sd->super->changed = true;

    if (now - sd->core_started >= TN_SUPERD_CORE_STABLE_MS
        || sd->core_replaced)
    {
        sd->core_failures = 0;
        *pause = TN_SUPERD_CORE_FIRST_MS;

    } else {
        *pause = (tn_ms_t) TN_SUPERD_CORE_RETRY_MS
                 << tn_min(sd->core_failures, 10);
        *pause = tn_min(*pause, TN_SUPERD_CORE_MAX_MS);
        sd->core_failures++;
    }

    sd->core_start = now + *pause;
}


static void
tn_superd_end(tn_superd_t *sd)
{
    tn_ms_t     deadline;
    char        path[TN_IPC_PATH + 32];
    tn_link_t  *link, *tmp;

    if (sd->guard_fd != -1) {
        tn_guard_stop(sd->guard_fd);
        sd->guard_fd = -1;
    }

    snprintf(path, sizeof(path), "%s/%s", sd->dir, TN_IPC_SUPER_SOCK);
    (void) unlink(path);
    tn_ipc_close(&sd->listen_fd, 1);

    tn_list_each_safe(link, tmp, &sd->conns) {
        tn_superd_conn_close(sd, tn_container(link, tn_superd_conn_t, link));
    }

    if (sd->core_pid) {
        tn_super_core_stop(sd->super);
        tn_super_core_detach(sd->super);

        /* the end of it, even if the guard still had a copy */

        (void) shutdown(sd->core_fd, SHUT_RDWR);
        tn_ipc_close(&sd->core_fd, 1);

        deadline = tn_ipc_now() + TN_SUPERD_CORE_END_MS;

        /* SIGCHLD, which stays unread, must not make this a busy loop */

        while (!tn_superd_core_is_gone(sd, 5)) {
            if (tn_ipc_now() >= deadline) {
                tn_superd_core_kill(sd);
                deadline = TN_NEVER_MS;
            }
        }

        tn_ipc_close(&sd->core_proc, 1);
    }

    tn_super_destroy(sd->super);

    /* the holders: all children that are left */

    while (waitpid(-1, NULL, 0) > 0) {
        /* void */
    }

    snprintf(path, sizeof(path), "%s/%s", sd->dir, TN_IPC_DIAL_SOCK);
    (void) unlink(path);
    (void) rmdir(sd->dir);

    tn_ipc_close(&sd->signal_fd, 1);
    tn_ipc_close(&sd->program_fd, 1);
    tn_ipc_close(&sd->image_fd, 1);
    tn_ipc_close(&sd->dir_fd, 1);

    /* leave_fd is closed by the end of the process, which it tells */
}
