
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Lines of the error log: nginx's format, whole lines from many threads, and
 * a descriptor replaced under them.
 */

#include "host/tn_logfile.h"

#include "tap.h"

#include <fcntl.h>
#include <pthread.h>
#include <regex.h>
#include <stdlib.h>
#include <unistd.h>


#define THREADS  4
#define LINES    2000


static tn_logfile_t  logfile;


static bool
matches(const char *text, const char *pattern)
{
    bool     found;
    regex_t  re;

    if (regcomp(&re, pattern, REG_EXTENDED | REG_NOSUB) != 0) {
        abort();
    }

    found = regexec(&re, text, 0, NULL, 0) == 0;
    regfree(&re);

    if (!found) {
        printf("# got: %s\n", text);
    }

    return found;
}


static void
test_format(void)
{
    int      fds[2];
    char     buf[4096], want[64];
    char     large[3000];
    ssize_t  n;

    (void) !pipe(fds);
    tn_logfile_init(&logfile, fds[1], TN_LOG_NOTICE);

    tn_log(&logfile.log, TN_LOG_NOTICE, "tailnet \"%s\": text", "home");
    n = read(fds[0], buf, sizeof(buf) - 1);
    buf[n > 0 ? n : 0] = '\0';

    (void) snprintf(want, sizeof(want), "%d#", (int) getpid());
    ok(strstr(buf, want) != NULL, "the pid");
    ok(matches(buf, "^[0-9]{4}/[0-9]{2}/[0-9]{2} [0-9]{2}:[0-9]{2}:[0-9]{2} "
                    "\\[notice\\] [0-9]+#[0-9]+: .*tailnet \"home\": text\n$"),
       "a line as nginx has it");

    tn_log(&logfile.log, TN_LOG_INFO, "not wanted");
    tn_log(&logfile.log, TN_LOG_ERR, "a\nb\033c");
    n = read(fds[0], buf, sizeof(buf) - 1);
    buf[n > 0 ? n : 0] = '\0';
    ok(matches(buf, "^[^\n]*\\[error\\] [^\n]*a\\?b\\?c\n$"),
       "the level filters; control characters cannot make a line");

    memset(large, 'x', sizeof(large) - 1);
    large[sizeof(large) - 1] = '\0';
    tn_log(&logfile.log, TN_LOG_EMERG, "%s", large);
    n = read(fds[0], buf, sizeof(buf));
    ok(n > TN_LOG_LINE - 1 && n < TN_LOG_LINE + 128 && buf[n - 1] == '\n',
       "a long line is cut, and ends");

    tn_logfile_done(&logfile);
    tn_log(&logfile.log, TN_LOG_EMERG, "nowhere");
    (void) close(fds[0]);

    tn_logfile_init(&logfile, -1, TN_LOG_NOTICE);
    tn_log(&logfile.log, TN_LOG_EMERG, "nowhere");
    (void) !pipe(fds);
    tn_logfile_replace(&logfile, fds[1]);
    tn_log(&logfile.log, TN_LOG_EMERG, "somewhere");
    n = read(fds[0], buf, sizeof(buf));
    ok(n > 0, "a descriptor given later is used");
    tn_logfile_done(&logfile);
    (void) close(fds[0]);
}


static void *
write_lines(void *data)
{
    int  i;

    for (i = 0; i < LINES; i++) {
        tn_log(&logfile.log, TN_LOG_WARN, "thread %d line %d end",
               (int) (intptr_t) data, i);
    }

    return NULL;
}


static int
count_lines(const char *path, int *broken)
{
    int    n;
    char   line[256];
    FILE  *file;

    n = 0;
    file = fopen(path, "r");

    while (file != NULL && fgets(line, sizeof(line), file) != NULL) {
        n++;

        if (strstr(line, "[warn]") == NULL || strstr(line, " end\n") == NULL) {
            (*broken)++;
        }
    }

    if (file != NULL) {
        (void) fclose(file);
    }

    return n;
}


static void
test_threads(void)
{
    int        i, n, broken;
    char       path[2][64];
    pthread_t  threads[THREADS];

    for (i = 0; i < 2; i++) {
        strcpy(path[i], "/tmp/tn_host_logfile.XXXXXX");
        n = mkostemp(path[i], O_APPEND | O_CLOEXEC);

        if (i == 0) {
            tn_logfile_init(&logfile, n, TN_LOG_WARN);

            for (n = 0; n < THREADS; n++) {
                (void) pthread_create(&threads[n], NULL, write_lines,
                                      (void *) (intptr_t) n);
            }

            (void) usleep(3000);

        } else {
            tn_logfile_replace(&logfile, n);
        }
    }

    for (i = 0; i < THREADS; i++) {
        (void) pthread_join(threads[i], NULL);
    }

    broken = 0;
    n = count_lines(path[0], &broken);
    n += count_lines(path[1], &broken);

    is_int(n, THREADS * LINES, "no line is lost when the file is replaced");
    is_int(broken, 0, "and none is broken");

    tn_logfile_done(&logfile);
    (void) unlink(path[0]);
    (void) unlink(path[1]);
}


int
main(void)
{
    test_format();
    test_threads();

    return tap_done();
}
