
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * UDP that a helper seals and sends: what arrives, in which order, and what
 * ends while batches wait for it.
 */

#include "host/tn_udp.h"

#include "own_network.h"
#include "tap.h"

#include <errno.h>
#include <stdlib.h>
#include <unistd.h>


#define PLAIN  600

/* each datagram: its number, then PLAIN bytes of it that are to be sealed */
#define DATAGRAM  (4 + PLAIN + TN_AEAD_TAG)


static tn_loop_t   loop;
static int         receiver;
static tn_addr_t   to;
static tn_key_t    keys[3];
static tn_aead_t  *aeads[3];
static unsigned    left_over;       /* jobs that the helper took */
static int         unreachable;
static bool        alone;


static void
on_unreachable(void *data, const tn_addr_t *addr, int err)
{
    (void) data;
    (void) addr;

    unreachable += err == ENETUNREACH;
}


static const tn_udp_ops_t  ops = { NULL, NULL, on_unreachable };


static tn_udp_t *
open_udp(tn_udp_help_e help)
{
    tn_ip_t    ip;
    tn_udp_t  *udp;

    udp = tn_udp_create(&loop, &ops, NULL, NULL);
    (void) tn_ip_parse(&ip, "127.0.0.1", 9);

    if (udp == NULL
        || tn_udp_adopt(udp, tn_udp_socket(false, &ip, 0)) != TN_OK)
    {
        printf("Bail out! UDP: %s\n", strerror(errno));
        exit(1);
    }

    tn_udp_help(udp, help, "test");

    return udp;
}


/* a batch of n, sealed as the plane does it */

static void
put(tn_udp_t *udp, uint32_t first, unsigned n, int key)
{
    unsigned        i;
    uint8_t        *p;
    uint32_t        number;
    tn_aead_job_t   jobs[64];

    for (i = 0; i < n; i++) {
        number = first + i;
        p = tn_udp_room(udp, &to, DATAGRAM);

        if (p == NULL) {
            printf("Bail out! no room\n");
            exit(1);
        }

        memcpy(p, &number, 4);
        memset(p + 4, (int) number, PLAIN);

        jobs[i].src = p + 4;
        jobs[i].dst = p + 4;
        jobs[i].len = PLAIN;
        tn_aead_nonce_le(jobs[i].nonce, number);

        tn_udp_add(udp, 0);
    }

    if (tn_udp_seal(udp, aeads[key], jobs, n)) {
        left_over += n;

    } else {
        tn_aead_seal_many(aeads[key], jobs, n);
    }

    tn_udp_flush(udp);
}


/* receives n datagrams of that key from number `first` on, in order */

static bool
arrive(uint32_t first, unsigned n, int key)
{
    size_t      k;
    uint8_t     bytes[DATAGRAM + 1], nonce[TN_AEAD_NONCE];
    ssize_t     len;
    uint32_t    i, number;
    tn_aead_t  *aead;

    aead = tn_aead_create(&keys[key]);

    for (i = 0; i < n; i++) {
        len = recv(receiver, bytes, sizeof(bytes), 0);

        if (len != DATAGRAM) {
            printf("# datagram %u: length %zd (%s)\n", i, len,
                   strerror(errno));
            break;
        }

        memcpy(&number, bytes, 4);
        tn_aead_nonce_le(nonce, number);

        if (number != first + i
            || tn_aead_open(aead, nonce, NULL, 0, bytes + 4,
                            PLAIN + TN_AEAD_TAG, bytes + 4) != TN_OK)
        {
            printf("# datagram %u: number %u\n", i, number);
            break;
        }

        for (k = 0; k < PLAIN && bytes[4 + k] == (uint8_t) number; k++) {
            /* void */
        }

        if (k < PLAIN) {
            break;
        }
    }

    tn_aead_destroy(aead);

    return i == n;
}


static void
test_sealed(void)
{
    unsigned               i;
    tn_udp_t              *udp;
    const tn_udp_stats_t  *stats;

    udp = open_udp(TN_UDP_HELP_ALWAYS);
    ok(tn_udp_is_helped(udp), "there is a helper");
    left_over = 0;

    /* many times what the ring holds, with no turn of the loop */

    for (i = 0; i < 200; i++) {
        put(udp, i * 40, 40, 0);
    }

    ok(left_over >= 40, "it sealed %u of 8000", left_over);
    ok(arrive(0, 8000, 0), "all arrive, in order");

    stats = tn_udp_stats(udp);

    for (i = 0; i < 100 && stats->tx_datagrams < 8000; i++) {
        (void) tn_loop_turn(&loop, 50);
    }

    is_int((long long) stats->tx_datagrams, 8000, "what it sent is counted");

    /* by turns */

    for (i = 0; i < 60; i++) {
        tn_udp_help(udp, i % 3 ? TN_UDP_HELP_ALWAYS : TN_UDP_HELP_NEVER, NULL);
        put(udp, i * 20, 20, 1);
    }

    ok(arrive(0, 1200, 1), "in order also when it helps on and off");

    tn_udp_help(udp, TN_UDP_HELP_NEVER, NULL);
    left_over = 0;
    put(udp, 0, 20, 1);
    is_int((long long) left_over, 0, "without help this thread seals");
    ok(arrive(0, 20, 1), "and it arrives");

    tn_udp_destroy(udp);
}


static void
test_ends(void)
{
    int         fd;
    unsigned    i;
    tn_ip_t     ip;
    tn_udp_t   *udp;

    udp = open_udp(TN_UDP_HELP_ALWAYS);

    /* a session is gone as soon as its packets are handed over */

    for (i = 0; i < 50; i++) {
        put(udp, i * 10, 10, 2);
        tn_aead_destroy(aeads[2]);
        aeads[2] = tn_aead_create(&keys[2]);
    }

    ok(arrive(0, 500, 2), "keys live as long as what they are to seal");

    /* so is a socket */

    (void) tn_ip_parse(&ip, "127.0.0.1", 9);
    left_over = 0;

    for (i = 0; i < 20; i++) {
        put(udp, i * 10, 10, 0);
        fd = tn_udp_socket(false, &ip, 0);
        (void) tn_udp_adopt(udp, fd);
    }

    ok(left_over > 0 && arrive(0, 200, 0), "a socket is closed after them");

    /* the end of all, each time with some in the ring */

    for (i = 0; i < 20; i++) {
        put(udp, 0, 40, 0);
        put(udp, 40, 40, 1);
        put(udp, 80, 40, 0);
        tn_udp_destroy(udp);

        if (!arrive(0, 40, 0) || !arrive(40, 40, 1) || !arrive(80, 40, 0)) {
            break;
        }

        udp = open_udp(TN_UDP_HELP_ALWAYS);
    }

    is_int(i, 20, "what waits at the end is sent");
    tn_udp_destroy(udp);
}


static void
test_errors(void)
{
    int         i;
    uint8_t    *p;
    tn_udp_t   *udp;
    tn_addr_t   nowhere;

    if (!alone) {
        ok(true, "errors # SKIP no network namespace of our own");
        return;
    }

    udp = open_udp(TN_UDP_HELP_ALWAYS);
    (void) tn_ip_parse(&nowhere.ip, "192.0.2.1", 9);
    nowhere.port = 9;
    unreachable = 0;

    for (i = 0; i < 3; i++) {
        p = tn_udp_room(udp, &nowhere, 100);
        memset(p, 0, 100);
        tn_udp_add(udp, 0);
    }

    tn_udp_flush(udp);

    for (i = 0; i < 100 && unreachable == 0; i++) {
        (void) tn_loop_turn(&loop, 50);
    }

    is_int(unreachable, 1, "no route: told by the timer, once");
    is_int((long long) tn_udp_stats(udp)->tx_failed, 3, "and counted");
    tn_udp_destroy(udp);
}


static void
test_busy(void)
{
    int        i;
    tn_udp_t  *udp;

    udp = open_udp(TN_UDP_HELP_BUSY);
    put(udp, 0, 1, 0);
    ok(arrive(0, 1, 0) && !tn_udp_is_helped(udp), "idle: nobody helps");

    for (i = 0; i < 5; i++) {
        (void) usleep(60000);
        put(udp, 0, 1, 0);
        (void) arrive(0, 1, 0);
    }

    ok(!tn_udp_is_helped(udp), "little to do: nobody");
    tn_udp_destroy(udp);
}


int
main(void)
{
    int                      i, size;
    tn_ip_t                  ip;
    socklen_t                len;
    struct timeval           limit;
    struct sockaddr_storage  ss;

    alone = own_network(0);

    if (tn_loop_init(&loop) != TN_OK) {
        return 1;
    }

    for (i = 0; i < 3; i++) {
        memset(&keys[i], i + 1, sizeof(keys[i]));
        aeads[i] = tn_aead_create(&keys[i]);
    }

    (void) tn_ip_parse(&ip, "127.0.0.1", 9);
    receiver = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    to.ip = ip;
    to.port = 0;
    len = (socklen_t) tn_addr_to_sockaddr(&to, &ss);
    limit.tv_sec = 5;
    limit.tv_usec = 0;
    size = 64 * 1024 * 1024;

    if (receiver == -1 || bind(receiver, (struct sockaddr *) &ss, len) == -1
        || setsockopt(receiver, SOL_SOCKET, SO_RCVTIMEO, &limit,
                      sizeof(limit)) == -1
        || getsockname(receiver, (struct sockaddr *) &ss, &len) == -1)
    {
        printf("Bail out! a receiver: %s\n", strerror(errno));
        return 1;
    }

    (void) setsockopt(receiver, SOL_SOCKET, SO_RCVBUFFORCE, &size,
                      sizeof(size));
    (void) tn_addr_from_sockaddr(&to, &ss);

    test_sealed();
    test_ends();
    test_errors();
    test_busy();

    for (i = 0; i < 3; i++) {
        tn_aead_destroy(aeads[i]);
    }

    tn_loop_done(&loop);
    (void) close(receiver);

    return tap_done();
}
