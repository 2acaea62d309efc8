
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Between fork() and exec() only what is async-signal-safe runs.  The child
 * reports a failure as {step, errno} over a close-on-exec pipe: end of file
 * without a report means that the program runs.
 */

#include "proc/tn_spawn.h"

#include <errno.h>
#include <fcntl.h>
#include <grp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>


#define TN_SPAWN_ENV  64

/* above all descriptors of the child */
#define TN_SPAWN_HIGH_FD  (TN_SPAWN_FIRST_FD + TN_SPAWN_FDS + 2)

/* more than any kernel has; without them a user root has none either */
#define TN_SPAWN_CAPS  64


typedef enum {
    TN_SPAWN_FORK = 0,
    TN_SPAWN_DUP,
    TN_SPAWN_GROUPS,
    TN_SPAWN_GID,
    TN_SPAWN_UID,
    TN_SPAWN_PRIVS,
    TN_SPAWN_EXEC,
    TN_SPAWN_STEPS
} tn_spawn_step_e;


typedef struct {
    int  step;
    int  err;
} tn_spawn_report_t;


static const char *const  tn_spawn_steps[TN_SPAWN_STEPS] = {
    "fork()", "dup2()", "setgroups()", "setgid()", "setuid()",
    "prctl(PR_SET_NO_NEW_PRIVS)", "execve()"
};

/*
 * What the processes may need of nginx's environment.  Never its own: NGINX
 * names inherited sockets, TS_AUTHKEY is a secret.
 */
static const char *const  tn_spawn_keep[] = {
    "PATH=", "TZ=", "LANG=", "LC_ALL=", "SSL_CERT_FILE=", "SSL_CERT_DIR=",
    "HTTP_PROXY=", "HTTPS_PROXY=", "NO_PROXY=", "ALL_PROXY=",
    "http_proxy=", "https_proxy=", "no_proxy=", "all_proxy=",
    "ASAN_OPTIONS=", "UBSAN_OPTIONS=", "LSAN_OPTIONS=", "TAILNET_AEAD="
};


static void tn_spawn_child(const tn_spawn_t *spawn, pid_t parent, int report,
    char **env) __attribute__((noreturn));
static void tn_spawn_fail(int report, tn_spawn_step_e step)
    __attribute__((noreturn));
static int tn_spawn_fds(const tn_spawn_t *spawn, int *report, int *program);
static void tn_spawn_environment(char **env);


tn_rc_t
tn_spawn(const tn_spawn_t *spawn, pid_t *pid, char *text)
{
    int                err, pipefd[2];
    pid_t              parent, child;
    char              *env[TN_SPAWN_ENV + 1];
    ssize_t            n;
    sigset_t           all, old;
    tn_spawn_report_t  report;

    *pid = 0;

    if (pipe2(pipefd, O_CLOEXEC) == -1) {
        snprintf(text, TN_IPC_TEXT, "pipe2() failed (%d: %s)", errno,
                 strerror(errno));
        return TN_ERROR;
    }

    tn_spawn_environment(env);
    parent = getpid();

    /* no handler of the caller's may run in the child */

    sigfillset(&all);
    (void) pthread_sigmask(SIG_SETMASK, &all, &old);

    child = fork();

    if (child == 0) {
        close(pipefd[0]);

        if (spawn->detach) {
            (void) setsid();
            child = fork();

            if (child == -1) {
                tn_spawn_fail(pipefd[1], TN_SPAWN_FORK);
            }

            if (child > 0) {
                _exit(0);
            }
        }

        tn_spawn_child(spawn, parent, pipefd[1], env);
    }

    err = errno;
    (void) pthread_sigmask(SIG_SETMASK, &old, NULL);
    close(pipefd[1]);

    if (child == -1) {
        close(pipefd[0]);
        snprintf(text, TN_IPC_TEXT, "fork() failed (%d: %s)", err,
                 strerror(err));
        return TN_ERROR;
    }

    do {
        n = read(pipefd[0], &report, sizeof(report));
    } while (n == -1 && errno == EINTR);

    close(pipefd[0]);

    if (spawn->detach || n == sizeof(report)) {
        while (waitpid(child, NULL, 0) == -1 && errno == EINTR) {
            /* void */
        }
    }

    if (n == sizeof(report)) {
        snprintf(text, TN_IPC_TEXT, "%s of \"%s %s\" failed (%d: %s)",
                 tn_spawn_steps[report.step], spawn->argv[0], spawn->argv[1],
                 report.err, strerror(report.err));
        errno = report.err;
        return TN_ERROR;
    }

    if (!spawn->detach) {
        *pid = child;
    }

    return TN_OK;
}


static void
tn_spawn_child(const tn_spawn_t *spawn, pid_t parent, int report, char **env)
{
    int               sig, program;
    sigset_t          none;
    struct sigaction  sa;

    if (tn_spawn_fds(spawn, &report, &program) == -1) {
        tn_spawn_fail(report, TN_SPAWN_DUP);
    }

    /* an ignored signal stays ignored over exec */

    memset(&sa, 0, sizeof(sa));
    sa.sa_handler = SIG_DFL;

    for (sig = 1; sig < NSIG; sig++) {
        (void) sigaction(sig, &sa, NULL);
    }

    if (spawn->drop) {

        if (geteuid() == 0) {

            /* -1 would mean: leave it as it is */

            if (spawn->uid == (uid_t) -1 || spawn->gid == (gid_t) -1) {
                errno = EINVAL;
                tn_spawn_fail(report, TN_SPAWN_UID);
            }

            for (sig = 0; sig < TN_SPAWN_CAPS; sig++) {
                (void) prctl(PR_CAPBSET_DROP, sig, 0, 0, 0);
            }

            if (setgroups(0, NULL) == -1) {
                tn_spawn_fail(report, TN_SPAWN_GROUPS);
            }

            if (setresgid(spawn->gid, spawn->gid, spawn->gid) == -1) {
                tn_spawn_fail(report, TN_SPAWN_GID);
            }

            if (setresuid(spawn->uid, spawn->uid, spawn->uid) == -1) {
                tn_spawn_fail(report, TN_SPAWN_UID);
            }
        }

        (void) prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0);

        if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == -1) {
            tn_spawn_fail(report, TN_SPAWN_PRIVS);
        }
    }

    /* after the change of user, which clears it */

    if (spawn->die) {
        (void) prctl(PR_SET_PDEATHSIG, SIGKILL);

        if (getppid() != parent) {
            _exit(1);
        }
    }

    sigemptyset(&none);
    (void) sigprocmask(SIG_SETMASK, &none, NULL);

    (void) syscall(SYS_execveat, program, "", spawn->argv, env,
                   AT_EMPTY_PATH);

    tn_spawn_fail(report, TN_SPAWN_EXEC);
}


static void
tn_spawn_fail(int report, tn_spawn_step_e step)
{
    ssize_t            n;
    tn_spawn_report_t  msg;

    msg.step = step;
    msg.err = errno;

    n = write(report, &msg, sizeof(msg));

    _exit(n == sizeof(msg) ? 1 : 2);
}


/* puts all descriptors in their places and closes every other one */
static int
tn_spawn_fds(const tn_spawn_t *spawn, int *report, int *program)
{
    int     fd, null, high[TN_SPAWN_FDS], err;
    size_t  i;

    /* first out of the way of the places */

    fd = fcntl(*report, F_DUPFD_CLOEXEC, TN_SPAWN_HIGH_FD);

    if (fd == -1) {
        return -1;
    }

    *report = fd;
    *program = fcntl(spawn->program_fd, F_DUPFD_CLOEXEC, TN_SPAWN_HIGH_FD);
    null = open("/dev/null", O_RDWR|O_CLOEXEC);
    err = spawn->stderr_fd;

    if (err != -1) {
        err = fcntl(err, F_DUPFD_CLOEXEC, TN_SPAWN_HIGH_FD);
    }

    for (i = 0; i < spawn->n_fds; i++) {
        high[i] = fcntl(spawn->fds[i], F_DUPFD_CLOEXEC, TN_SPAWN_HIGH_FD);

        if (high[i] == -1) {
            return -1;
        }
    }

    if (*program == -1 || null == -1) {
        return -1;
    }

    null = fcntl(null, F_DUPFD_CLOEXEC, TN_SPAWN_HIGH_FD);

    if (null == -1 || dup2(null, 0) == -1 || dup2(null, 1) == -1
        || dup2(err != -1 ? err : null, 2) == -1)
    {
        return -1;
    }

    for (i = 0; i < spawn->n_fds; i++) {
        if (dup2(high[i], TN_SPAWN_FIRST_FD + i) == -1) {
            return -1;
        }
    }

    /* the two that exec() needs are put right behind the child's own */

    fd = TN_SPAWN_FIRST_FD + spawn->n_fds;

    if (dup3(*report, fd, O_CLOEXEC) == -1
        || dup3(*program, fd + 1, O_CLOEXEC) == -1)
    {
        return -1;
    }

    *report = fd;
    *program = fd + 1;

    tn_spawn_close_from(fd + 2);

    return 0;
}


void
tn_spawn_close_from(int first)
{
    int            fd, max;
    struct rlimit  limit;

    if (syscall(SYS_close_range, first, ~0U, 0) == 0) {
        return;
    }

    /* before Linux 5.9 */

    max = 65536;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0 && limit.rlim_cur < 1048576) {
        max = (int) limit.rlim_cur;
    }

    for (fd = first; fd < max; fd++) {
        close(fd);
    }
}


static void
tn_spawn_environment(char **env)
{
    char  **e;
    size_t  i, n;

    n = 0;

    for (e = environ; e && *e && n < TN_SPAWN_ENV; e++) {
        for (i = 0; i < tn_nelems(tn_spawn_keep); i++) {
            if (strncmp(*e, tn_spawn_keep[i], strlen(tn_spawn_keep[i])) == 0) {
                env[n++] = *e;
                break;
            }
        }
    }

    env[n] = NULL;
}


int
tn_spawn_program(const char *path)
{
    return open(path, O_PATH|O_CLOEXEC);
}


int
tn_spawn_beside(const char *path, char *text)
{
    int     fd;
    char   *real, *name;
    size_t  len;

    fd = -1;
    name = NULL;
    real = realpath(path, NULL);

    if (real != NULL) {
        len = (size_t) (strrchr(real, '/') + 1 - real);
        name = malloc(len + sizeof(TN_SPAWN_SUPER));

        if (name != NULL) {
            memcpy(name, real, len);
            memcpy(name + len, TN_SPAWN_SUPER, sizeof(TN_SPAWN_SUPER));
            fd = tn_spawn_program(name);
        }
    }

    if (fd == -1) {
        snprintf(text, TN_IPC_TEXT, "open(\"%.256s\") failed (%d: %s)",
                 name ? name : path, errno, strerror(errno));
    }

    free(real);
    free(name);

    return fd;
}


void
tn_spawn_raise_files(void)
{
    struct rlimit  limit;

    if (getrlimit(RLIMIT_NOFILE, &limit) == 0
        && limit.rlim_cur < limit.rlim_max)
    {
        limit.rlim_cur = limit.rlim_max;
        (void) setrlimit(RLIMIT_NOFILE, &limit);
    }
}
