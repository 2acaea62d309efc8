/*
 * The load generator of "make bench": GETs one URL over keepalive connections,
 * bounded in number, time and rate, and prints one line of JSON.  Started by
 * t/bench/run in the client's namespace; it speaks just enough HTTP/1.1 for an
 * nginx that sends Content-Length, and measures only the client's side.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/*
 * A request is due at once (closed loop), or at its own instant of a fixed
 * rate (open loop).  A due request takes an idle connection; where none is
 * idle it waits, and its latency counts from when it was due: a server that
 * stalls cannot hide it by slowing the load down.
 *
 * Bodies are dropped inside the kernel (MSG_TRUNC), so that a big download
 * costs this program little, unless they are compared with a file.
 *
 * The longest gap is between two receives of one response, or from the last
 * one to the end of a response that was never complete.
 */

#define LOAD_CONNS_MAX      4096
#define LOAD_REQUESTS_MAX   10000000
#define LOAD_SECONDS_MAX    600
#define LOAD_ERRORS_MAX     100
#define LOAD_HEAD_MAX       4096
#define LOAD_CHUNK          (1 << 20)
#define LOAD_EVENTS         256

#define LOAD_NS_PER_US      1000ull
#define LOAD_NS_PER_MS      1000000ull
#define LOAD_NS_PER_S       1000000000ull

#define LOAD_USAGE                                                            \
    "usage: load [-c connections] [-n requests] [-t seconds] [-r per-second]" \
    "\n            [-x file] [-k bytes:pid] address port path\n"


typedef struct {
    int           fd;           /* -1: none */
    bool          busy;         /* has a request that is not answered */
    bool          in_body;
    size_t        sent;
    size_t        head_len;
    uint64_t      left;         /* bytes of the body to come */
    uint64_t      offset;       /* of the body so far */
    uint64_t      due_ns;
    uint64_t      last_ns;      /* last receive; 0: none in this response */
    char          head[LOAD_HEAD_MAX];
} load_conn_t;


typedef struct {
    /* What was asked for. */
    uint32_t      conns;
    uint32_t      requests;
    uint64_t      limit_ns;
    uint64_t      interval_ns;
    uint64_t      kill_at;
    pid_t         kill_pid;
    const char   *expect;
    uint64_t      expect_len;
    struct sockaddr_storage  addr;
    socklen_t     addr_len;
    char          request[1024];
    size_t        request_len;

    load_conn_t  *conn;
    load_conn_t **idle;
    uint32_t      nidle;
    int           epoll;
    char         *chunk;

    /* What happened. */
    uint64_t      start_ns;
    uint64_t      end_ns;
    uint32_t      started;
    uint32_t      complete;
    uint32_t      errors;
    uint32_t      mismatches;
    uint32_t      connects;
    uint64_t      bytes;
    uint64_t      gap_ns;
    uint64_t      gap_at_ns;    /* its begin, since the start */
    uint32_t     *latency_us;
} load_t;


static uint64_t
load_now_ns(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * LOAD_NS_PER_S + (uint64_t) ts.tv_nsec;
}


static void
load_note_gap(load_t *l, load_conn_t *c, uint64_t now)
{
    if (c->last_ns != 0 && now - c->last_ns > l->gap_ns) {
        l->gap_ns = now - c->last_ns;
        l->gap_at_ns = c->last_ns - l->start_ns;
    }

    c->last_ns = now;
}


/* Ends the request of a connection; a failed one loses the connection too. */

static void
load_finish(load_t *l, load_conn_t *c, bool ok)
{
    uint64_t  now, us;

    now = load_now_ns();

    if (ok) {
        us = (now - c->due_ns) / LOAD_NS_PER_US;
        l->latency_us[l->complete++] = us > UINT32_MAX ? UINT32_MAX
                                                       : (uint32_t) us;
    } else {
        if (c->busy) {
            load_note_gap(l, c, now);
            l->errors++;
        }

        close(c->fd);
        c->fd = -1;
    }

    if (c->busy) {
        c->busy = false;
        l->idle[l->nidle++] = c;
    }
}


static bool
load_connect(load_t *l, load_conn_t *c)
{
    int                 one = 1;
    struct epoll_event  ev;

    c->fd = socket(l->addr.ss_family, SOCK_STREAM | SOCK_NONBLOCK, 0);
    if (c->fd == -1) {
        perror("load: socket");
        return false;
    }

    l->connects++;

    (void) setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

    ev.events = EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET;
    ev.data.ptr = c;

    if (epoll_ctl(l->epoll, EPOLL_CTL_ADD, c->fd, &ev) == -1) {
        perror("load: epoll_ctl");
        return false;
    }

    return connect(c->fd, (struct sockaddr *) &l->addr, l->addr_len) == 0
           || errno == EINPROGRESS;
}


/* Reads the head that is complete up to len; false: not what we can follow. */

static bool
load_parse_head(load_conn_t *c, size_t len)
{
    char  *field, *end;

    c->head[len - 1] = '\0';

    if (len < sizeof("HTTP/1.1 200")
        || strncmp(c->head, "HTTP/1.1 200", sizeof("HTTP/1.1 200") - 1) != 0)
    {
        fprintf(stderr, "load: answered %.*s\n",
                (int) strcspn(c->head, "\r\n"), c->head);
        return false;
    }

    field = strcasestr(c->head, "\nContent-Length:");
    if (field == NULL) {
        fprintf(stderr, "load: a response without Content-Length\n");
        return false;
    }

    field += sizeof("\nContent-Length:") - 1;
    errno = 0;
    c->left = strtoull(field, &end, 10);

    return end != field && errno == 0;
}


/* Takes note of n bytes of the body; data is NULL if they were dropped. */

static void
load_body(load_t *l, load_conn_t *c, const char *data, size_t n)
{
    if (data != NULL
        && (c->offset + n > l->expect_len
            || memcmp(l->expect + c->offset, data, n) != 0))
    {
        l->mismatches++;
    }

    c->offset += n;
    c->left -= n;
    l->bytes += n;

    if (l->kill_pid != 0 && l->bytes >= l->kill_at) {
        if (kill(l->kill_pid, SIGKILL) == -1) {
            perror("load: kill");
        }

        l->kill_pid = 0;
    }
}


/* Receives up to the end of the head, and what came of the body with it. */

static ssize_t
load_recv_head(load_t *l, load_conn_t *c)
{
    char    *end;
    size_t   head_len, rest;
    ssize_t  n;

    n = recv(c->fd, c->head + c->head_len, LOAD_HEAD_MAX - 1 - c->head_len, 0);
    if (n <= 0) {
        return n;
    }

    c->head_len += (size_t) n;
    end = memmem(c->head, c->head_len, "\r\n\r\n", 4);

    if (end == NULL) {
        return c->head_len < LOAD_HEAD_MAX - 1 ? n : 0;
    }

    head_len = (size_t) (end - c->head) + 4;
    rest = c->head_len - head_len;

    if (!load_parse_head(c, head_len) || rest > c->left) {
        return 0;
    }

    c->in_body = true;
    load_body(l, c, l->expect ? c->head + head_len : NULL, rest);

    return n;
}


static ssize_t
load_recv_body(load_t *l, load_conn_t *c)
{
    size_t   want;
    ssize_t  n;

    want = c->left < LOAD_CHUNK ? (size_t) c->left : LOAD_CHUNK;

    if (l->expect != NULL) {
        n = recv(c->fd, l->chunk, want, 0);
    } else {
        n = recv(c->fd, NULL, want, MSG_TRUNC);
    }

    if (n > 0) {
        load_body(l, c, l->expect ? l->chunk : NULL, (size_t) n);
    }

    return n;
}


/* Sends and receives all that goes without blocking. */

static void
load_run(load_t *l, load_conn_t *c)
{
    char      byte;
    ssize_t   n;
    uint64_t  now;

    if (!c->busy) {
        if (recv(c->fd, &byte, 1, MSG_PEEK) != -1 || errno != EAGAIN) {
            load_finish(l, c, false);
        }

        return;
    }

    while (c->sent < l->request_len) {
        n = send(c->fd, l->request + c->sent, l->request_len - c->sent,
                 MSG_NOSIGNAL);
        if (n == -1) {
            if (errno == EAGAIN || errno == ENOTCONN) {
                return;
            }

            load_finish(l, c, false);
            return;
        }

        c->sent += (size_t) n;
    }

    for ( ;; ) {
        n = c->in_body ? load_recv_body(l, c) : load_recv_head(l, c);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1 && errno == EAGAIN) {
            return;
        }

        if (n <= 0) {
            load_finish(l, c, false);
            return;
        }

        now = load_now_ns();
        load_note_gap(l, c, now);

        if (c->in_body && c->left == 0) {
            load_finish(l, c, true);
            return;
        }

        if (now >= l->end_ns) {
            return;
        }
    }
}


static void
load_begin(load_t *l, load_conn_t *c, uint64_t due)
{
    c->busy = true;
    c->in_body = false;
    c->sent = 0;
    c->head_len = 0;
    c->offset = 0;
    c->left = 0;
    c->last_ns = 0;
    c->due_ns = due;
    l->started++;

    if (c->fd == -1) {
        if (!load_connect(l, c)) {
            load_finish(l, c, false);
        }

        return;
    }

    load_run(l, c);
}


/* Begins what is due; returns when the next one is, as far as known. */

static uint64_t
load_begin_due(load_t *l)
{
    uint64_t  due, now;

    while (l->nidle > 0 && l->started < l->requests
           && l->errors < LOAD_ERRORS_MAX)
    {
        now = load_now_ns();
        due = now;

        if (l->interval_ns != 0) {
            due = l->start_ns + l->started * l->interval_ns;
        }

        if (due > now || now >= l->end_ns) {
            return due;
        }

        load_begin(l, l->idle[--l->nidle], due);
    }

    return l->end_ns;
}


static void
load_loop(load_t *l)
{
    int                 i, n;
    uint64_t            next, now;
    struct timespec     wait;
    struct epoll_event  events[LOAD_EVENTS];

    l->start_ns = load_now_ns();
    l->end_ns = l->start_ns + l->limit_ns;

    for ( ;; ) {
        next = load_begin_due(l);
        now = load_now_ns();

        if (now >= l->end_ns || l->errors >= LOAD_ERRORS_MAX
            || (l->started == l->requests && l->nidle == l->conns))
        {
            break;
        }

        next = next < l->end_ns ? next : l->end_ns;
        next = next > now ? next - now : 0;
        wait.tv_sec = (time_t) (next / LOAD_NS_PER_S);
        wait.tv_nsec = (long) (next % LOAD_NS_PER_S);

        n = epoll_pwait2(l->epoll, events, LOAD_EVENTS, &wait, NULL);
        if (n == -1 && errno != EINTR) {
            perror("load: epoll_pwait2");
            break;
        }

        for (i = 0; i < n; i++) {
            load_run(l, events[i].data.ptr);
        }
    }

    l->end_ns = load_now_ns();
}


static int
load_compare(const void *one, const void *two)
{
    uint32_t  a = *(const uint32_t *) one, b = *(const uint32_t *) two;

    return (a > b) - (a < b);
}


static uint32_t
load_percentile(const load_t *l, double p)
{
    return l->complete == 0 ? 0
                            : l->latency_us[(size_t) ((l->complete - 1) * p)];
}


/* Returns the number of requests that were begun and never answered. */

static uint32_t
load_report(load_t *l)
{
    double         cpu;
    uint32_t       i, unfinished = 0;
    struct rusage  ru;

    for (i = 0; i < l->conns; i++) {
        if (l->conn[i].busy) {
            load_note_gap(l, &l->conn[i], l->end_ns);
            unfinished++;
        }
    }

    (void) getrusage(RUSAGE_SELF, &ru);
    cpu = (double) (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec)
          + (double) (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;

    qsort(l->latency_us, l->complete, sizeof(uint32_t), load_compare);

    printf("{\"complete\":%u,\"errors\":%u,\"unfinished\":%u,"
           "\"mismatches\":%u,\"connects\":%u,\"bytes\":%llu,"
           "\"seconds\":%.6f,\"cpu\":%.6f,\"p50_us\":%u,\"p99_us\":%u,"
           "\"max_us\":%u,\"gap_ms\":%.3f,\"gap_at_s\":%.3f}\n",
           l->complete, l->errors, unfinished, l->mismatches, l->connects,
           (unsigned long long) l->bytes,
           (double) (l->end_ns - l->start_ns) / LOAD_NS_PER_S, cpu,
           load_percentile(l, 0.5), load_percentile(l, 0.99),
           load_percentile(l, 1),
           (double) l->gap_ns / LOAD_NS_PER_MS,
           (double) l->gap_at_ns / LOAD_NS_PER_S);

    return unfinished;
}


static bool
load_number(const char *text, uint64_t max, uint64_t *value)
{
    char  *end;

    if (text == NULL || *text < '0' || *text > '9') {
        return false;
    }

    errno = 0;
    *value = strtoull(text, &end, 10);

    return *end == '\0' && errno == 0 && *value >= 1 && *value <= max;
}


static bool
load_map(load_t *l, const char *name)
{
    int          fd;
    void        *p;
    struct stat  st;

    fd = open(name, O_RDONLY | O_CLOEXEC);
    if (fd == -1 || fstat(fd, &st) == -1 || st.st_size == 0) {
        perror(name);
        return false;
    }

    p = mmap(NULL, (size_t) st.st_size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);

    if (p == MAP_FAILED) {
        perror(name);
        return false;
    }

    l->expect = p;
    l->expect_len = (uint64_t) st.st_size;

    return true;
}


static bool
load_target(load_t *l, const char *addr, const char *port, const char *path)
{
    int                   n;
    uint64_t              number;
    struct sockaddr_in   *sin = (struct sockaddr_in *) &l->addr;
    struct sockaddr_in6  *sin6 = (struct sockaddr_in6 *) &l->addr;

    if (!load_number(port, 65535, &number)) {
        return false;
    }

    if (inet_pton(AF_INET, addr, &sin->sin_addr) == 1) {
        sin->sin_family = AF_INET;
        sin->sin_port = htons((uint16_t) number);
        l->addr_len = sizeof(*sin);

    } else if (inet_pton(AF_INET6, addr, &sin6->sin6_addr) == 1) {
        sin6->sin6_family = AF_INET6;
        sin6->sin6_port = htons((uint16_t) number);
        l->addr_len = sizeof(*sin6);

    } else {
        return false;
    }

    n = snprintf(l->request, sizeof(l->request),
                 "GET %s HTTP/1.1\r\nHost: bench\r\n\r\n", path);
    l->request_len = (size_t) n;

    return n > 0 && (size_t) n < sizeof(l->request);
}


static bool
load_options(load_t *l, int argc, char **argv)
{
    int       opt;
    bool      ok = true;
    char     *colon;
    uint64_t  n = 1, pid = 0;

    l->conns = 1;
    l->requests = 1;
    l->limit_ns = 10 * LOAD_NS_PER_S;

    while (ok && (opt = getopt(argc, argv, "c:n:t:r:x:k:")) != -1) {
        switch (opt) {

        case 'c':
            ok = load_number(optarg, LOAD_CONNS_MAX, &n);
            l->conns = (uint32_t) n;
            break;

        case 'n':
            ok = load_number(optarg, LOAD_REQUESTS_MAX, &n);
            l->requests = (uint32_t) n;
            break;

        case 't':
            ok = load_number(optarg, LOAD_SECONDS_MAX, &n);
            l->limit_ns = n * LOAD_NS_PER_S;
            break;

        case 'r':
            ok = load_number(optarg, LOAD_REQUESTS_MAX, &n);
            l->interval_ns = ok ? LOAD_NS_PER_S / n : 0;
            break;

        case 'x':
            ok = load_map(l, optarg);
            break;

        case 'k':
            colon = strchr(optarg, ':');
            ok = colon != NULL;

            if (ok) {
                *colon = '\0';
                ok = load_number(optarg, UINT64_MAX, &l->kill_at)
                     && load_number(colon + 1, INT32_MAX, &pid);
            }

            l->kill_pid = ok ? (pid_t) pid : 0;
            break;

        default:
            ok = false;
        }
    }

    return ok && argc - optind == 3
           && load_target(l, argv[optind], argv[optind + 1], argv[optind + 2]);
}


int
main(int argc, char **argv)
{
    uint32_t       i;
    static load_t  l;

    if (!load_options(&l, argc, argv)) {
        fputs(LOAD_USAGE, stderr);
        return 2;
    }

    l.epoll = epoll_create1(EPOLL_CLOEXEC);
    l.conn = calloc(l.conns, sizeof(load_conn_t));
    l.idle = calloc(l.conns, sizeof(load_conn_t *));
    l.latency_us = calloc(l.requests, sizeof(uint32_t));
    l.chunk = malloc(LOAD_CHUNK);

    if (l.epoll == -1 || l.conn == NULL || l.idle == NULL
        || l.latency_us == NULL || l.chunk == NULL)
    {
        perror("load");
        return 2;
    }

    for (i = 0; i < l.conns; i++) {
        l.conn[i].fd = -1;
        l.idle[l.nidle++] = &l.conn[i];
    }

    load_loop(&l);

    if (load_report(&l) != 0 || l.errors != 0 || l.mismatches != 0
        || l.complete != l.started)
    {
        return 1;
    }

    return 0;
}
