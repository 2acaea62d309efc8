/*
 * The TLS load of "make bench": new connections, each with a full TLS 1.3
 * handshake and one GET, and prints one line of JSON. Started by t/bench/run
 * in the client's namespace; its threads block, for only the server's cost is
 * looked at.
 */

#include <arpa/inet.h>
#include <netinet/in.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#define HANDSHAKES_THREADS_MAX  256
#define HANDSHAKES_TIMEOUT_S    10
#define HANDSHAKES_ERRORS_MAX   100


typedef struct {
    struct sockaddr_in  addr;
    char                request[256];
    int                 request_len;
    SSL_CTX            *ctx;
    long                wanted;
    double              end;

    atomic_long         started;
    atomic_long         complete;
    atomic_long         errors;
    atomic_llong        bytes;
} handshakes_t;


static double
handshakes_now(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static int
handshakes_connect(handshakes_t *h)
{
    int             fd;
    struct timeval  limit = { HANDSHAKES_TIMEOUT_S, 0 };

    fd = socket(AF_INET, SOCK_STREAM, 0);
    if (fd == -1) {
        return -1;
    }

    (void) setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &limit, sizeof(limit));
    (void) setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit));

    if (connect(fd, (struct sockaddr *) &h->addr, sizeof(h->addr)) == -1) {
        (void) close(fd);
        return -1;
    }

    return fd;
}


/* one connection, to the end of its response */

static bool
handshakes_one(handshakes_t *h)
{
    int        fd, n;
    SSL       *ssl;
    bool       ok;
    char       answer[16384];
    long long  got;

    fd = handshakes_connect(h);
    if (fd == -1) {
        return false;
    }

    ok = false;
    got = 0;

    ssl = SSL_new(h->ctx);
    if (ssl == NULL || SSL_set_fd(ssl, fd) != 1 || SSL_connect(ssl) != 1
        || SSL_write(ssl, h->request, h->request_len) != h->request_len)
    {
        goto done;
    }

    while ((n = SSL_read(ssl, answer, sizeof(answer))) > 0) {
        if (got == 0) {
            ok = n > 12 && memcmp(answer, "HTTP/1.1 200", 12) == 0;
        }

        got += n;
    }

    (void) SSL_shutdown(ssl);

done:

    atomic_fetch_add(&h->bytes, got);
    SSL_free(ssl);
    (void) close(fd);

    return ok;
}


static void *
handshakes_thread(void *arg)
{
    handshakes_t  *h = arg;

    while (handshakes_now() < h->end
           && atomic_load(&h->errors) < HANDSHAKES_ERRORS_MAX
           && atomic_fetch_add(&h->started, 1) < h->wanted)
    {
        if (handshakes_one(h)) {
            atomic_fetch_add(&h->complete, 1);

        } else {
            atomic_fetch_add(&h->errors, 1);
        }
    }

    return NULL;
}


static bool
handshakes_options(handshakes_t *h, int argc, char **argv, long *threads)
{
    long  port, seconds;

    if (argc != 7) {
        return false;
    }

    *threads = atol(argv[1]);
    h->wanted = atol(argv[2]);
    seconds = atol(argv[3]);
    port = atol(argv[5]);

    h->addr.sin_family = AF_INET;
    h->addr.sin_port = htons((uint16_t) port);
    h->end = handshakes_now() + (double) seconds;

    h->request_len = snprintf(h->request, sizeof(h->request),
                              "GET %s HTTP/1.1\r\nHost: bench\r\n"
                              "Connection: close\r\n\r\n", argv[6]);

    return *threads > 0 && *threads <= HANDSHAKES_THREADS_MAX && h->wanted > 0
           && seconds > 0 && port > 0 && port < 65536
           && inet_pton(AF_INET, argv[4], &h->addr.sin_addr) == 1
           && h->request_len < (int) sizeof(h->request);
}


int
main(int argc, char **argv)
{
    long                 i, threads;
    double               start, seconds, cpu;
    pthread_t            thread[HANDSHAKES_THREADS_MAX];
    struct rusage        ru;
    static handshakes_t  h;

    if (!handshakes_options(&h, argc, argv, &threads)) {
        fputs("usage: handshakes threads connections seconds address port "
              "path\n", stderr);
        return 2;
    }

    (void) signal(SIGPIPE, SIG_IGN);

    h.ctx = SSL_CTX_new(TLS_client_method());

    if (h.ctx == NULL
        || SSL_CTX_set_min_proto_version(h.ctx, TLS1_3_VERSION) != 1)
    {
        fputs("handshakes: no TLS 1.3 here\n", stderr);
        return 2;
    }

    start = handshakes_now();

    for (i = 0; i < threads; i++) {
        if (pthread_create(&thread[i], NULL, handshakes_thread, &h) != 0) {
            perror("handshakes: pthread_create");
            return 2;
        }
    }

    for (i = 0; i < threads; i++) {
        (void) pthread_join(thread[i], NULL);
    }

    seconds = handshakes_now() - start;

    (void) getrusage(RUSAGE_SELF, &ru);
    cpu = (double) (ru.ru_utime.tv_sec + ru.ru_stime.tv_sec)
          + (double) (ru.ru_utime.tv_usec + ru.ru_stime.tv_usec) / 1e6;

    printf("{\"complete\":%ld,\"errors\":%ld,\"bytes\":%lld,"
           "\"seconds\":%.6f,\"cpu\":%.6f}\n",
           atomic_load(&h.complete), atomic_load(&h.errors),
           (long long) atomic_load(&h.bytes), seconds, cpu);

    SSL_CTX_free(h.ctx);

    return atomic_load(&h.complete) == h.wanted ? 0 : 1;
}
