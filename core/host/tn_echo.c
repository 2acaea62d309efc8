
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A socket of SOCK_DGRAM and IPPROTO_ICMP needs no privilege, but the group
 * of this process in net.ipv4.ping_group_range.  The kernel gives the echo
 * its identifier and lets in answers to that alone; which of our requests one
 * answers is told by the sequence number, and proven by the token behind it.
 */

#include "host/tn_echo.h"

#include "crypto/tn_curve.h"

#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>


#define ECHO_SLOTS       64
#define ECHO_TOKEN       16
#define ECHO_HEADER      8
#define ECHO_LEN         (ECHO_HEADER + ECHO_TOKEN)

#define ECHO_REQUEST4    8
#define ECHO_ANSWER4     0
#define ECHO_REQUEST6    128
#define ECHO_ANSWER6     129


typedef struct {
    tn_ip_t      ip;
    uint64_t     sent_us;       /* 0: none is out */
    uint8_t      token[ECHO_TOKEN];
} echo_slot_t;

struct tn_echo_s {
    tn_loop_t   *loop;
    tn_log_t    *log;
    tn_echo_pt   fn;
    void        *data;
    const char  *lack;

    tn_watch_t   watches[2];    /* IPv4, IPv6 */
    bool         open[2];
    bool         told[2];       /* that there can be none */
    uint16_t     next;          /* slot */
    echo_slot_t  slots[ECHO_SLOTS];
};


static bool echo_open(tn_echo_t *echo, bool v6);
static void echo_close(tn_echo_t *echo, bool v6);
static void echo_readable(tn_watch_t *watch, uint32_t events);
static void echo_answer(tn_echo_t *echo, const tn_ip_t *from,
    const uint8_t *bytes, size_t len);


tn_echo_t *
tn_echo_create(tn_loop_t *loop, tn_echo_pt fn, void *data, const char *lack,
    tn_log_t *log)
{
    tn_echo_t  *echo;

    echo = calloc(1, sizeof(tn_echo_t));
    if (echo == NULL) {
        return NULL;
    }

    echo->loop = loop;
    echo->log = log;
    echo->fn = fn;
    echo->data = data;
    echo->lack = lack;

    return echo;
}


void
tn_echo_destroy(tn_echo_t *echo)
{
    if (echo == NULL) {
        return;
    }

    echo_close(echo, false);
    echo_close(echo, true);
    free(echo);
}


void
tn_echo_send(tn_echo_t *echo, const tn_ip_t *ip)
{
    bool                  v6;
    uint8_t               bytes[ECHO_LEN];
    uint16_t              seq;
    socklen_t             len;
    echo_slot_t          *slot;
    struct sockaddr_in    sin;
    struct sockaddr_in6   sin6;
    struct sockaddr      *to;

    v6 = !tn_ip_is_v4(ip);

    if (!echo_open(echo, v6)) {
        return;
    }

    seq = echo->next;
    echo->next = (echo->next + 1) % ECHO_SLOTS;
    slot = &echo->slots[seq];

    slot->ip = *ip;
    slot->sent_us = tn_loop_mono_us();
    tn_random(slot->token, ECHO_TOKEN);

    memset(bytes, 0, ECHO_HEADER);
    bytes[0] = v6 ? ECHO_REQUEST6 : ECHO_REQUEST4;
    bytes[6] = (uint8_t) (seq >> 8);
    bytes[7] = (uint8_t) seq;
    memcpy(bytes + ECHO_HEADER, slot->token, ECHO_TOKEN);

    if (v6) {
        memset(&sin6, 0, sizeof(sin6));
        sin6.sin6_family = AF_INET6;
        memcpy(&sin6.sin6_addr, ip->b, 16);
        to = (struct sockaddr *) &sin6;
        len = sizeof(sin6);

    } else {
        memset(&sin, 0, sizeof(sin));
        sin.sin_family = AF_INET;
        memcpy(&sin.sin_addr, ip->b + 12, 4);
        to = (struct sockaddr *) &sin;
        len = sizeof(sin);
    }

    /* what cannot be sent is as good as lost */

    if (sendto(echo->watches[v6].fd, bytes, sizeof(bytes), 0, to, len) == -1) {
        slot->sent_us = 0;
    }
}


/* a socket that cannot be had now may be had later: the range may change */
static bool
echo_open(tn_echo_t *echo, bool v6)
{
    int          fd;
    tn_watch_t  *watch;

    if (echo->open[v6]) {
        return true;
    }

    fd = socket(v6 ? AF_INET6 : AF_INET,
                SOCK_DGRAM | SOCK_NONBLOCK | SOCK_CLOEXEC,
                v6 ? IPPROTO_ICMPV6 : IPPROTO_ICMP);

    if (fd == -1) {
        if (!echo->told[v6]) {
            echo->told[v6] = true;
            tn_log(echo->log, TN_LOG_INFO, "no ICMP for IPv%c, %s: %s",
                   v6 ? '6' : '4', echo->lack, strerror(errno));
        }

        return false;
    }

    watch = &echo->watches[v6];
    memset(watch, 0, sizeof(tn_watch_t));
    watch->fd = fd;
    watch->events = TN_LOOP_READ;
    watch->handler = echo_readable;
    watch->data = echo;

    if (tn_loop_watch(echo->loop, watch) != TN_OK) {
        (void) close(fd);
        return false;
    }

    echo->open[v6] = true;

    return true;
}


static void
echo_close(tn_echo_t *echo, bool v6)
{
    if (echo->open[v6]) {
        tn_loop_unwatch(echo->loop, &echo->watches[v6]);
        (void) close(echo->watches[v6].fd);
        echo->open[v6] = false;
    }
}


static void
echo_readable(tn_watch_t *watch, uint32_t events)
{
    tn_echo_t *echo = watch->data;

    size_t                   i;
    ssize_t                  n;
    tn_ip_t                  from;
    uint8_t                  bytes[256];
    socklen_t                len;
    struct sockaddr_storage  ss;

    (void) events;

    for (i = 0; i < ECHO_SLOTS; i++) {
        len = sizeof(ss);
        ss.ss_family = AF_UNSPEC;
        n = recvfrom(watch->fd, bytes, sizeof(bytes), 0,
                     (struct sockaddr *) &ss, &len);

        if (n == -1) {

            /* an ICMP error is one of these, and read by that */

            if (errno == EAGAIN || errno == EWOULDBLOCK) {
                return;
            }

            continue;
        }

        if (ss.ss_family == AF_INET6) {
            memcpy(from.b, &((struct sockaddr_in6 *) &ss)->sin6_addr, 16);

        } else {
            from = tn_ip_from_v4((uint8_t *)
                                 &((struct sockaddr_in *) &ss)->sin_addr);
        }

        echo_answer(echo, &from, bytes, (size_t) n);
    }
}


static void
echo_answer(tn_echo_t *echo, const tn_ip_t *from, const uint8_t *bytes,
    size_t len)
{
    uint16_t      seq;
    uint64_t      took;
    echo_slot_t  *slot;

    if (len != ECHO_LEN
        || bytes[0] != (tn_ip_is_v4(from) ? ECHO_ANSWER4 : ECHO_ANSWER6))
    {
        return;
    }

    seq = (uint16_t) (bytes[6] << 8 | bytes[7]);

    if (seq >= ECHO_SLOTS) {
        return;
    }

    slot = &echo->slots[seq];

    if (slot->sent_us == 0 || !tn_ip_equal(&slot->ip, from)
        || !tn_ct_equal(slot->token, bytes + ECHO_HEADER, ECHO_TOKEN))
    {
        return;
    }

    took = tn_loop_mono_us() - slot->sent_us;
    slot->sent_us = 0;

    if (took <= (uint64_t) TN_ECHO_MS * 1000) {
        echo->fn(echo->data, from, (uint32_t) tn_max(took, (uint64_t) 1));
    }
}
