
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Sends UDP through a TUN as fast as whoever reads the TUN takes it, in
 * super-packets, for some seconds:
 *
 *     burst DEVICE ADDRESS SECONDS
 *
 * A TUN whose queue is full drops and tells nobody but its counter, so the
 * rate follows that.  Prints the datagrams' bytes that were not dropped.
 */

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/udp.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>


#ifndef UDP_SEGMENT
#define UDP_SEGMENT  103
#endif

#define SEGMENT   1200
#define SEGMENTS  48
#define LOOK_NS   2000000           /* between two looks at the counter */


static uint64_t
now_ns(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}


/* what the device did not take, in packets */
static uint64_t
dropped(const char *device)
{
    FILE      *f;
    char       line[512], *p;
    uint64_t   drops;
    size_t     len;

    drops = 0;
    len = strlen(device);
    f = fopen("/proc/self/net/dev", "r");

    while (f != NULL && fgets(line, sizeof(line), f) != NULL) {
        p = line + strspn(line, " ");

        if (strncmp(p, device, len) == 0 && p[len] == ':') {
            (void) sscanf(p + len + 1, "%*u %*u %*u %*u %*u %*u %*u %*u "
                          "%*u %*u %*u %lu", &drops);
        }
    }

    if (f != NULL) {
        (void) fclose(f);
    }

    return drops;
}


int
main(int argc, char **argv)
{
    int                  fd, size;
    double               rate, due;     /* super-packets a second; of now */
    uint64_t             begin, end, last, now, look, first, drops, sent;
    struct timespec      ts;
    struct sockaddr_in   to;
    static uint8_t       bytes[SEGMENT * SEGMENTS];

    memset(&to, 0, sizeof(to));
    to.sin_family = AF_INET;
    to.sin_port = htons(9);

    if (argc != 4 || inet_pton(AF_INET, argv[2], &to.sin_addr) != 1) {
        (void) fprintf(stderr, "usage: burst DEVICE ADDRESS SECONDS\n");
        return 2;
    }

    fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    size = SEGMENT;

    if (fd == -1 || connect(fd, (struct sockaddr *) &to, sizeof(to)) == -1
        || setsockopt(fd, IPPROTO_UDP, UDP_SEGMENT, &size, sizeof(size)) == -1)
    {
        perror("burst");
        return 1;
    }

    rate = 5000;
    due = 0;
    sent = 0;
    begin = last = now_ns();
    end = begin + (uint64_t) (atof(argv[3]) * 1e9);
    look = begin + LOOK_NS;
    first = drops = dropped(argv[1]);

    while ((now = now_ns()) < end) {

        if (now >= look) {
            look = now + LOOK_NS;
            drops = dropped(argv[1]) - drops;
            rate *= drops > 0 ? 0.9 : 1.02;
            drops = dropped(argv[1]);
        }

        due += (double) (now - last) * rate / 1e9;
        last = now;

        if (due > 64) {
            due = 64;
        }

        for ( /* void */ ; due >= 1; due--) {
            if (send(fd, bytes, sizeof(bytes), 0) == -1) {
                if (errno != ENOBUFS && errno != EAGAIN) {
                    perror("burst: send");
                    return 1;
                }

                break;
            }

            sent++;
        }

        ts.tv_sec = 0;
        ts.tv_nsec = 100000;
        (void) nanosleep(&ts, NULL);
    }

    (void) printf("%lu\n", (sent - (dropped(argv[1]) - first))
                           * sizeof(bytes));

    return 0;
}
