
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Connections for t/bench/connections and t/bench/many, one request each: how
 * many a second, and how long until the first byte of the answer.  Or it holds
 * connections open, each after one answer, until its standard input is closed,
 * and for each line there asks on all of them once more.  Either time it says
 * how many were answered.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>


#define CONNECT_PROCESSES_MAX  16
#define CONNECT_HOLD_MAX       20000
#define CONNECT_TIMEOUT_S      60      /* of one that is held */

#define CONNECT_USAGE                                                         \
    "usage: connect [-c processes] -n requests address port path\n"           \
    "       connect -H connections address port path\n"


typedef struct {
    double    seconds;
    uint32_t  failed;
    uint32_t  p50_us;
    uint32_t  p99_us;
} connect_result_t;


static struct sockaddr_in  to;
static char                request[512];
static const char         *path;


static int request_on(int fd, int keep);


static uint64_t
now_us(void)
{
    struct timespec  ts;

    clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}


static int
order(const void *a, const void *b)
{
    uint32_t  x, y;

    x = *(const uint32_t *) a;
    y = *(const uint32_t *) b;

    return x < y ? -1 : x > y;
}


/* a connection with its request sent, or -1 */
static int
begin(int keep)
{
    int  fd;

    fd = socket(AF_INET, SOCK_STREAM|SOCK_CLOEXEC, 0);

    if (fd == -1) {
        return -1;
    }

    if (connect(fd, (struct sockaddr *) &to, sizeof(to)) == -1
        || !request_on(fd, keep))
    {
        close(fd);
        return -1;
    }

    return fd;
}


static int
request_on(int fd, int keep)
{
    int  n;

    n = snprintf(request, sizeof(request), "GET %s HTTP/1.1\r\nHost: bench\r\n"
                 "Connection: %s\r\n\r\n", path,
                 keep ? "keep-alive" : "close");

    return send(fd, request, (size_t) n, MSG_NOSIGNAL) == n;
}


static int
answered(int fd)
{
    char     buf[4096];
    ssize_t  n;

    n = recv(fd, buf, sizeof(buf), 0);

    return n > 12 && memcmp(buf, "HTTP/1.1 200", 12) == 0;
}


static void
ask(int fd, size_t n)
{
    int               s;
    char              rest[4096];
    size_t            i;
    uint32_t         *us;
    uint64_t          first, start;
    connect_result_t  result;

    memset(&result, 0, sizeof(result));
    us = calloc(n, sizeof(*us));

    if (us == NULL) {
        _exit(1);
    }

    start = now_us();

    for (i = 0; i < n; i++) {
        first = now_us();
        s = begin(0);

        if (s == -1 || !answered(s)) {
            result.failed++;
        }

        us[i] = (uint32_t) (now_us() - first);

        if (s != -1) {
            while (recv(s, rest, sizeof(rest), 0) > 0) {
                /* void */
            }

            close(s);
        }
    }

    result.seconds = (double) (now_us() - start) / 1e6;
    qsort(us, n, sizeof(*us), order);
    result.p50_us = us[n / 2];
    result.p99_us = us[n * 99 / 100];

    if (write(fd, &result, sizeof(result)) != sizeof(result)) {
        _exit(1);
    }

    _exit(0);
}


static int
measure(size_t processes, size_t n)
{
    int               pair[2];
    size_t            i;
    double            rate;
    uint32_t          failed, p50, p99;
    connect_result_t  result;

    if (pipe(pair) == -1) {
        return 1;
    }

    for (i = 0; i < processes; i++) {
        if (fork() == 0) {
            ask(pair[1], n / processes);
        }
    }

    close(pair[1]);

    rate = 0;
    failed = 0;
    p50 = 0;
    p99 = 0;

    while (read(pair[0], &result, sizeof(result)) == sizeof(result)) {
        rate += (double) (n / processes) / result.seconds;
        failed += result.failed;
        p50 += result.p50_us;
        p99 += result.p99_us;
    }

    while (wait(NULL) > 0) {
        /* void */
    }

    printf("{\"rate\":%.1f,\"failed\":%u,\"p50_us\":%.1f,\"p99_us\":%.1f}\n",
           rate, failed, (double) p50 / (double) processes,
           (double) p99 / (double) processes);

    return 0;
}


static int
hold(size_t n)
{
    char            c;
    size_t          i, good;
    struct timeval  limit = { CONNECT_TIMEOUT_S, 0 };
    static int      fd[CONNECT_HOLD_MAX];

    good = 0;

    for (i = 0; i < n; i++) {
        fd[i] = begin(1);

        if (fd[i] != -1) {
            (void) setsockopt(fd[i], SOL_SOCKET, SO_RCVTIMEO, &limit,
                              sizeof(limit));
            good += answered(fd[i]) != 0;
        }
    }

    printf("%zu\n", good);
    fflush(stdout);

    while (read(0, &c, 1) > 0) {

        for (i = 0; i < n; i++) {
            if (fd[i] != -1 && !request_on(fd[i], 1)) {
                close(fd[i]);
                fd[i] = -1;
            }
        }

        for (good = 0, i = 0; i < n; i++) {
            good += fd[i] != -1 && answered(fd[i]);
        }

        printf("%zu\n", good);
        fflush(stdout);
    }

    return 0;
}


int
main(int argc, char **argv)
{
    int     opt;
    size_t  n, held, processes;

    n = 0;
    held = 0;
    processes = 1;

    while ((opt = getopt(argc, argv, "c:n:H:")) != -1) {
        switch (opt) {

        case 'c':
            processes = strtoul(optarg, NULL, 10);
            break;

        case 'n':
            n = strtoul(optarg, NULL, 10);
            break;

        case 'H':
            held = strtoul(optarg, NULL, 10);
            break;

        default:
            n = 0;
            held = 0;
        }
    }

    if (argc - optind != 3 || (n == 0) == (held == 0) || processes == 0
        || processes > CONNECT_PROCESSES_MAX || held > CONNECT_HOLD_MAX
        || (held == 0 && n / processes == 0))
    {
        fprintf(stderr, CONNECT_USAGE);
        return 2;
    }

    to.sin_family = AF_INET;
    to.sin_port = htons((uint16_t) atoi(argv[optind + 1]));
    path = argv[optind + 2];

    if (inet_pton(AF_INET, argv[optind], &to.sin_addr) != 1) {
        fprintf(stderr, CONNECT_USAGE);
        return 2;
    }

    return held ? hold(held) : measure(processes, n);
}
