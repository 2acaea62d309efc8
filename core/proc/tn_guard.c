
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The guard keeps the last whole save (KEEP_BEGIN to KEEP_END) as the
 * messages it came in, descriptors and all, and a save that is coming in
 * beside it, until that is whole too.
 *
 *   guarding   messages are stored; BYE: the guard ends
 *   bereft     the channel broke without BYE: a supervisor is started on a
 *              new channel, gets the whole save, and is guarded
 *   given up   it broke though the supervisor lives, which did not wait for
 *              us, or we could not take what it sent: it starts another guard,
 *              and two supervisors are one too many.  The guard ends
 *
 * A supervisor that lived less than TN_GUARD_STABLE_MS is started again
 * after a pause that doubles from TN_GUARD_RETRY_MS to TN_GUARD_MAX_MS.
 * With no save there is nothing to go on with: the guard ends.  When the
 * guard is killed, its supervisor starts another.
 *
 * The connections of nginx's masters are among the descriptors, so they stay
 * open and nginx notices nothing.
 */

#include "proc/tn_guard.h"
#include "proc/tn_spawn.h"
#include "base/tn_list.h"
#include "host/tn_trim.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>


#define TN_GUARD_STABLE_MS   10000
#define TN_GUARD_RETRY_MS    100
#define TN_GUARD_MAX_MS      30000
#define TN_GUARD_SEND_MS     2000
#define TN_GUARD_DEATH_MS    2000   /* from its last descriptor to its end */

/* a save may hold so many messages: every node full of listeners is less */
#define TN_GUARD_MESSAGES    (1024 * 1024)

#define TN_GUARD_PROGRAM_FD  6


typedef struct {
    tn_link_t      link;
    int            fds[TN_IPC_FDS];
    size_t         n_fds;
    tn_ipc_head_t  msg[];       /* the message, msg->len bytes */
} tn_guard_record_t;


typedef struct {
    const char    *dir;
    int            fd;          /* the channel; -1: bereft */
    int            proc;        /* pidfd of the supervisor, or -1 */
    tn_link_t      whole;
    tn_link_t      coming;
    size_t         n_coming;
    tn_ms_t        started;     /* the present supervisor */
    unsigned       failures;
} tn_guard_t;


static void tn_guard_main(const char *dir, pid_t supervisor)
    __attribute__((noreturn));
static void tn_guard_watch(tn_guard_t *guard, pid_t supervisor);
static bool tn_guard_is_left(tn_guard_t *guard);
static bool tn_guard_read(tn_guard_t *guard);
static bool tn_guard_store(tn_guard_t *guard, const tn_ipc_msg_t *msg,
    int *fds, size_t n);
static void tn_guard_drop(tn_link_t *list);
static void tn_guard_again(tn_guard_t *guard);
static bool tn_guard_send(tn_guard_t *guard);


int
tn_guard_start(const char *dir, int dir_fd, int core_fd, int program_fd,
    char *name)
{
    int    pair[2], fd[4], err, i;
    pid_t  pid, supervisor;

    if (tn_ipc_pair(pair) != TN_OK) {
        return -1;
    }

    supervisor = getpid();
    pid = fork();

    if (pid == -1) {
        err = errno;
        tn_ipc_close(pair, 2);
        errno = err;
        return -1;
    }

    if (pid > 0) {
        close(pair[1]);
        return pair[0];
    }

    (void) prctl(PR_SET_NAME, "tailnet-guard");
    memcpy(name, "guard", tn_min(strlen(name), 5));

    /* nothing of the supervisor's stays open here but what is named */

    fd[0] = fcntl(pair[1], F_DUPFD_CLOEXEC, 16);
    fd[1] = fcntl(dir_fd, F_DUPFD_CLOEXEC, 16);
    fd[2] = fcntl(core_fd, F_DUPFD_CLOEXEC, 16);
    fd[3] = fcntl(program_fd, F_DUPFD_CLOEXEC, 16);

    for (i = 0; i < 4; i++) {
        if (fd[i] == -1 || dup3(fd[i], TN_GUARD_FD + i, O_CLOEXEC) == -1) {
            _exit(1);
        }
    }

    tn_spawn_close_from(TN_GUARD_PROGRAM_FD + 1);

    /* no zombies; a supervisor's end is seen by its channel */
    signal(SIGCHLD, SIG_IGN);

    tn_guard_main(dir, supervisor);
}


void
tn_guard_stop(int fd)
{
    tn_ipc_name_t  msg;

    tn_ipc_init(&msg, TN_IPC_KEEP_BYE);
    (void) tn_ipc_send(fd, &msg, NULL, 0);
    close(fd);
}


static void
tn_guard_main(const char *dir, pid_t supervisor)
{
    int            n, ms;
    tn_guard_t     guard;
    struct pollfd  pfd;

    memset(&guard, 0, sizeof(guard));
    guard.dir = dir;
    guard.fd = TN_GUARD_FD;
    guard.proc = -1;
    guard.started = tn_ipc_now();
    tn_list_init(&guard.whole);
    tn_list_init(&guard.coming);
    tn_guard_watch(&guard, supervisor);
    ms = TN_TRIM_MS;

    for ( ;; ) {

        if (guard.fd == -1) {
            tn_guard_again(&guard);
            continue;
        }

        pfd.fd = guard.fd;
        pfd.events = POLLIN;

        n = poll(&pfd, 1, ms);
        ms = n > 0 ? TN_TRIM_MS : -1;

        if (n == 0) {
            tn_trim();
        }

        if (n == 1 && !tn_guard_read(&guard)) {
            tn_ipc_close(&guard.fd, 1);
            tn_guard_drop(&guard.coming);
            guard.n_coming = 0;

            if (tn_list_empty(&guard.whole) || !tn_guard_is_left(&guard)) {
                _exit(1);
            }
        }
    }
}


static void
tn_guard_watch(tn_guard_t *guard, pid_t supervisor)
{
    tn_ipc_close(&guard->proc, 1);
    guard->proc = (int) syscall(SYS_pidfd_open, supervisor, 0);
}


/* a process closes its descriptors before it is dead */
static bool
tn_guard_is_left(tn_guard_t *guard)
{
    struct pollfd  pfd;

    pfd.fd = guard->proc;
    pfd.events = POLLIN;

    return pfd.fd == -1 || poll(&pfd, 1, TN_GUARD_DEATH_MS) != 0;
}


/* false: the channel is done with */
static bool
tn_guard_read(tn_guard_t *guard)
{
    int           fds[TN_IPC_FDS];
    bool          good;
    size_t        n;
    tn_rc_t       rc;
    tn_ipc_msg_t  msg;

    rc = tn_ipc_recv(guard->fd, &msg, fds, &n);

    if (rc == TN_AGAIN) {
        return true;
    }

    if (rc != TN_OK) {
        return false;
    }

    if (msg.head.type == TN_IPC_KEEP_BYE) {
        _exit(0);
    }

    if (msg.head.type == TN_IPC_KEEP_BEGIN) {
        tn_guard_drop(&guard->coming);
        guard->n_coming = 0;
    }

    good = tn_guard_store(guard, &msg, fds, n);

    if (good && msg.head.type == TN_IPC_KEEP_END) {
        tn_guard_drop(&guard->whole);
        tn_list_init(&guard->whole);

        guard->whole = guard->coming;
        guard->whole.next->prev = &guard->whole;
        guard->whole.prev->next = &guard->whole;

        tn_list_init(&guard->coming);
        guard->n_coming = 0;
    }

    tn_wipe(&msg, sizeof(msg));

    return good;
}


static bool
tn_guard_store(tn_guard_t *guard, const tn_ipc_msg_t *msg, int *fds, size_t n)
{
    tn_guard_record_t  *record;

    record = NULL;

    if (guard->n_coming < TN_GUARD_MESSAGES) {
        record = malloc(sizeof(*record) + msg->head.len);
    }

    if (record == NULL) {
        tn_ipc_close(fds, n);
        return false;
    }

    memcpy(record->fds, fds, n * sizeof(int));
    record->n_fds = n;
    memcpy(record->msg, msg, msg->head.len);

    tn_list_push(&guard->coming, &record->link);
    guard->n_coming++;

    return true;
}


static void
tn_guard_drop(tn_link_t *list)
{
    tn_link_t          *link;
    tn_guard_record_t  *record;

    while ((link = tn_list_shift(list)) != NULL) {
        record = tn_container(link, tn_guard_record_t, link);
        tn_ipc_close(record->fds, record->n_fds);
        tn_wipe(record->msg, record->msg->len);
        free(record);
    }
}


static void
tn_guard_again(tn_guard_t *guard)
{
    int         pair[2];
    char        text[TN_IPC_TEXT];
    pid_t       pid;
    tn_rc_t     rc;
    tn_ms_t     pause;
    tn_spawn_t  spawn;

    pause = 0;

    if (tn_ipc_now() - guard->started >= TN_GUARD_STABLE_MS) {
        guard->failures = 0;

    } else if (guard->failures) {
        pause = (tn_ms_t) TN_GUARD_RETRY_MS << tn_min(guard->failures, 9);
        pause = tn_min(pause, TN_GUARD_MAX_MS);
    }

    guard->failures++;

    if (pause) {
        (void) poll(NULL, 0, (int) pause);
    }

    guard->started = tn_ipc_now();

    if (tn_ipc_pair(pair) != TN_OK) {
        return;
    }

    memset(&spawn, 0, sizeof(spawn));
    spawn.program_fd = TN_GUARD_PROGRAM_FD;
    spawn.argv[0] = TN_SPAWN_SUPER;
    spawn.argv[1] = "super";
    spawn.argv[2] = guard->dir;
    spawn.argv[3] = TN_GUARD_AGAIN;
    spawn.stderr_fd = 2;
    spawn.fds[spawn.n_fds++] = pair[1];
    spawn.fds[spawn.n_fds++] = TN_GUARD_LOCK_FD;
    spawn.fds[spawn.n_fds++] = TN_GUARD_CORE_FD;

    rc = tn_spawn(&spawn, &pid, text);

    close(pair[1]);

    if (rc != TN_OK) {
        close(pair[0]);
        return;
    }

    guard->fd = pair[0];
    tn_guard_watch(guard, pid);

    if (!tn_guard_send(guard)) {
        tn_ipc_close(&guard->fd, 1);
        (void) kill(pid, SIGKILL);
    }
}


static bool
tn_guard_send(tn_guard_t *guard)
{
    tn_ms_t             deadline;
    tn_link_t          *link;
    tn_guard_record_t  *record;

    deadline = tn_ipc_now() + TN_GUARD_SEND_MS;

    tn_list_each(link, &guard->whole) {
        record = tn_container(link, tn_guard_record_t, link);

        if (tn_ipc_send_until(guard->fd, record->msg, record->fds,
                              record->n_fds, deadline)
            != TN_OK)
        {
            return false;
        }
    }

    return true;
}
