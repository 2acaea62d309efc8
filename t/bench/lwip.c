
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What lwIP behind tn_lwip.h costs and reaches, without a network: a stack
 * that talks to itself on a virtual clock.
 *
 *   lwip cost   CPU per packet and memory with 10, 1,000 and 10,000
 *               connections, of which 10 are busy, and with 1,000 of 11,000
 *   lwip loss   one transfer over 200 Mbit/s and 40 ms, by loss
 */

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "stack/tn_lwip.h"


#define PORT         80
#define CONNS        11000
#define LINE         65536
#define MESSAGE      1000
#define PACKETS      400000     /* of one measurement of cost */
#define LOSS_MS      30000      /* virtual */
#define LINK_BYTES_MS  25000    /* 200 Mbit/s */
#define LINK_QUEUE_MS  20
#define DELAY_MS     20         /* one way */


typedef struct {
    tn_ms_t          at;
    size_t           len;
    uint8_t          bytes[TN_LWIP_MTU];
} packet_t;


static packet_t         line[LINE];
static size_t           head, tail;
static tn_ms_t          now = 1000;
static tn_lwip_t       *lwip;
static tn_lwip_conn_t  *conns[CONNS];
static uint64_t         packets;
static uint64_t         received;
static uint64_t         link_bytes;     /* since link_at */
static tn_ms_t          link_at;
static unsigned         loss;           /* of 10,000 */
static uint32_t         seed = 1;
static bool             bulk;
static tn_ms_t          delay;


static void on_packet(void *data, uint8_t *packet, size_t len);
static void on_accepted(void *data, tn_lwip_conn_t *conn, uint16_t port);
static void on_ready(void *data, tn_lwip_conn_t *conn);
static void step(void);
static void set_up(void);
static void cost(size_t n, size_t busy);
static void transfer(unsigned permyriad);
static double cpu(void);


static const tn_lwip_ops_t  ops = { on_packet, on_accepted, on_ready, NULL };


int
main(int argc, char **argv)
{
    unsigned                i;
    static const unsigned  losses[] = { 0, 1, 10, 50, 100, 200 };

    if (argc != 2 || strcmp(argv[1], "loss") != 0) {
        cost(10, 10);
        cost(1000, 10);
        cost(10000, 10);
        cost(11000, 1000);
    }

    if (argc != 2 || strcmp(argv[1], "cost") != 0) {
        for (i = 0; i < tn_nelems(losses); i++) {
            transfer(losses[i]);
        }
    }

    return 0;
}


static void
cost(size_t n, size_t busy)
{
    size_t     i, before;
    double     begin;
    tn_addr_t  to;
    tn_ms_t    end;
    uint64_t   first;
    uint8_t    message[MESSAGE];

    set_up();
    delay = 0;
    bulk = false;
    loss = 0;

    (void) tn_addr_parse(&to, "100.64.0.1:80", 13);
    memset(message, 'x', sizeof(message));

    before = tn_lwip_used();

    for (i = 0; i < n; i++) {
        conns[i] = tn_lwip_connect(lwip, &to, NULL);

        if (conns[i] == NULL) {
            fprintf(stderr, "no connection\n");
            exit(1);
        }

        step();
        step();
        step();
    }

    for (end = now + 2000; now < end; now++) {
        step();
    }

    first = packets;
    begin = cpu();

    while (packets - first < PACKETS) {
        for (i = 0; i < busy; i++) {
            if (tn_lwip_room(conns[i]) >= MESSAGE) {
                (void) tn_lwip_write(conns[i], message, MESSAGE);
                tn_lwip_push(conns[i]);
            }
        }

        step();
        now++;
    }

    printf("%6zu connections, %4zu busy: %5.0f ns/packet, %4zu bytes each\n",
           n, busy, (cpu() - begin) * 1e9 / (double) (packets - first),
           (tn_lwip_used() - before) / n / 2);
}


static void
transfer(unsigned permyriad)
{
    double     begin;
    tn_addr_t  to;
    tn_ms_t    start;

    set_up();
    delay = DELAY_MS;
    bulk = true;
    loss = permyriad;
    received = 0;

    (void) tn_addr_parse(&to, "100.64.0.1:80", 13);
    conns[0] = tn_lwip_connect(lwip, &to, NULL);

    begin = cpu();

    for (start = now; now - start < LOSS_MS; now++) {
        step();
    }

    printf("200 Mbit/s, 40 ms, %5.2f%% loss: %6.1f Mbit/s (CPU %.2f s)\n",
           permyriad / 100.0, (double) received * 8 / LOSS_MS / 1000,
           cpu() - begin);
}


static void
set_up(void)
{
    tn_ip_t  ip;

    tn_lwip_destroy(lwip);

    head = tail = 0;
    now += 100000;

    (void) tn_ip_parse(&ip, "100.64.0.1", 10);

    lwip = tn_lwip_create(&ops, NULL, now);
    tn_lwip_addresses(lwip, &ip, 1);
    (void) tn_lwip_listen(lwip, PORT);
}


static double
cpu(void)
{
    struct timespec  t;

    (void) clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);

    return (double) t.tv_sec + (double) t.tv_nsec / 1e9;
}


static void
on_packet(void *data, uint8_t *packet, size_t len)
{
    tn_ms_t    at;
    packet_t  *p;

    (void) data;

    packets++;
    seed = seed * 1664525 + 1013904223;

    if (tail - head == LINE || (seed >> 8) % 10000 < loss) {
        return;
    }

    at = now + delay;

    /* data, not what acknowledges it, passes the narrow link */

    if (delay != 0 && len > 200) {

        if (link_at < now) {
            link_at = now;
            link_bytes = 0;
        }

        if (link_at - now > LINK_QUEUE_MS) {
            return;
        }

        link_bytes += len;

        while (link_bytes >= LINK_BYTES_MS) {
            link_bytes -= LINK_BYTES_MS;
            link_at++;
        }

        at = link_at + delay;
    }

    p = &line[tail++ % LINE];
    p->at = at;
    p->len = len;
    memcpy(p->bytes, packet, len);
}


static void
on_accepted(void *data, tn_lwip_conn_t *conn, uint16_t port)
{
    (void) data;
    (void) conn;
    (void) port;
}


static void
on_ready(void *data, tn_lwip_conn_t *conn)
{
    int             i, n;
    size_t          len;
    struct iovec    iov[8];
    static uint8_t  bytes[65536];

    (void) data;

    while ((n = tn_lwip_peek(conn, iov, 8)) > 0) {
        for (i = 0, len = 0; i < n; i++) {
            len += iov[i].iov_len;
        }

        tn_lwip_take(conn, len);
        received += len;
    }

    if (bulk && conn == conns[0]) {
        while (tn_lwip_write(conn, bytes, sizeof(bytes)) != 0) { /* void */ }
        tn_lwip_push(conn);
    }
}


/* what is due; both directions are in one line, so it may be out of order */
static void
step(void)
{
    size_t       i, end;
    packet_t    *p;
    tn_packet_t  parsed;

    end = tail;

    for (i = head; i != end; i++) {
        p = &line[i % LINE];

        if (p->len == 0 || p->at > now) {
            continue;
        }

        if (tn_packet_parse(&parsed, p->bytes, p->len) == TN_OK) {
            tn_lwip_in(lwip, now, p->bytes, &parsed);
        }

        p->len = 0;
    }

    while (head != tail && line[head % LINE].len == 0) {
        head++;
    }

    if (tn_lwip_deadline(lwip) <= now) {
        tn_lwip_tick(lwip, now);
    }
}
