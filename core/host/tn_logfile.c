
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "host/tn_logfile.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>


#define TN_LOGFILE_PREFIX  128


static void tn_logfile_write(tn_log_t *log, tn_log_level_e level,
    const char *line, size_t len);


/* nginx's names of its levels */
static const char *const  tn_logfile_levels[] = {
    "", "emerg", "alert", "crit", "error", "warn", "notice", "info", "debug"
};


void
tn_logfile_init(tn_logfile_t *logfile, int fd, int level)
{
    logfile->log.level = tn_max(tn_min(level, TN_LOG_DEBUG), TN_LOG_EMERG);
    logfile->log.write = tn_logfile_write;
    logfile->log.data = logfile;
    logfile->fd = fd;
}


void
tn_logfile_replace(tn_logfile_t *logfile, int fd)
{
    if (logfile->fd == -1 || fd == -1) {
        if (logfile->fd != -1) {
            close(logfile->fd);
        }

        logfile->fd = fd;
        return;
    }

    (void) dup3(fd, logfile->fd, O_CLOEXEC);
    close(fd);
}


void
tn_logfile_done(tn_logfile_t *logfile)
{
    if (logfile->fd != -1) {
        close(logfile->fd);
        logfile->fd = -1;
    }
}


static void
tn_logfile_write(tn_log_t *log, tn_log_level_e level, const char *line,
    size_t len)
{
    int              n, fd;
    char             buf[TN_LOGFILE_PREFIX + TN_LOG_LINE + 1];
    time_t           now;
    ssize_t          written;
    struct tm        tm;
    tn_logfile_t    *logfile;

    logfile = log->data;
    fd = atomic_load_explicit(&logfile->fd, memory_order_relaxed);

    if (fd == -1) {
        return;
    }

    now = time(NULL);
    localtime_r(&now, &tm);

    /* a line about one node begins with its name in quotes */

    n = snprintf(buf, TN_LOGFILE_PREFIX,
                 "%04d/%02d/%02d %02d:%02d:%02d [%s] %d#%ld: tailnet%s ",
                 tm.tm_year + 1900, tm.tm_mon + 1, tm.tm_mday, tm.tm_hour,
                 tm.tm_min, tm.tm_sec, tn_logfile_levels[level],
                 (int) getpid(), (long) syscall(SYS_gettid),
                 len > 0 && line[0] == '"' ? "" : ":");

    len = tn_min(len, TN_LOG_LINE);
    memcpy(buf + n, line, len);
    buf[n + len] = '\n';

    written = write(fd, buf, n + len + 1);
    (void) written;
}
