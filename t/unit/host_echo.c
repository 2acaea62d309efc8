
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * ICMP echos on the loopback of a network of our own: answered by the kernel
 * for both families; an address that nobody has is not; without the right to
 * a socket nothing happens, and the log says so once.
 */

#include "host/tn_echo.h"

#include "crypto/tn_curve.h"

#include "addrs.h"
#include "own_network.h"
#include "tap.h"
#include "tap_log.h"


typedef struct {
    tn_ip_t   ip;
    uint32_t  us;
    int       n;
} answer_t;


static tn_loop_t   loop;
static answer_t    got;


static void
answered(void *data, const tn_ip_t *from, uint32_t us)
{
    (void) data;

    got.ip = *from;
    got.us = us;
    got.n++;
}


/* whether an answer comes within `ms` */
static bool
ask(tn_echo_t *echo, const char *text, tn_ms_t ms)
{
    tn_ip_t  to;
    tn_ms_t  until;

    to = ip(text);
    until = tn_loop_mono_us() / 1000 + ms;
    memset(&got, 0, sizeof(got));
    tn_echo_send(echo, &to);

    while (got.n == 0 && tn_loop_mono_us() / 1000 < until) {
        (void) tn_loop_turn(&loop, 20);
    }

    return got.n == 1 && tn_ip_equal(&got.ip, &to);
}


int
main(void)
{
    int         i;
    tn_echo_t  *echo;

    if (!own_network_enter(0)) {
        printf("1..0 # skip no network namespace of our own\n");
        return 0;
    }

    (void) tn_crypto_init();

    if (tn_loop_init(&loop) != TN_OK) {
        return 1;
    }

    echo = tn_echo_create(&loop, answered, NULL, "", &logger);

    /* a new namespace lets nobody */

    (void) own_network_put("/proc/sys/net/ipv4/ping_group_range", "1 0");

    for (i = 0; i < 3; i++) {
        ok(!ask(echo, "127.0.0.1", 100), "no socket, no answer");
    }

    is_int(logged, 1, "which the log says once");

    if (!own_network_put("/proc/sys/net/ipv4/ping_group_range",
                         "0 2147483647")
        && !own_network_put("/proc/sys/net/ipv4/ping_group_range", "0 0"))
    {
        printf("# the range cannot be set here\n");
        tn_echo_destroy(echo);
        return tap_done();
    }

    ok(ask(echo, "127.0.0.1", 5000), "IPv4, once it may");
    ok(got.us != 0 && got.us < 5000000, "in %u us", got.us);
    ok(ask(echo, "::1", 5000), "IPv6");
    ok(got.us != 0 && got.us < 5000000, "in %u us", got.us);

    for (i = 0; i < 200; i++) {
        if (!ask(echo, i % 2 ? "127.0.0.1" : "::1", 5000)) {
            break;
        }
    }

    is_int(i, 200, "again and again");
    ok(!ask(echo, "203.0.113.1", 100), "not from where there is no way to");

    tn_echo_destroy(echo);
    tn_loop_done(&loop);

    return tap_done();
}
