
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * `step` starts the race, so that nothing is called back from the start, and
 * then staggers the attempts: the next address is tried TN_RACE_STAGGER_MS
 * after the one before, or as soon as one failed.  Every exit stops all that
 * runs before it calls back, and touches nothing afterwards: the owner may
 * free the race in the callback.
 */

#include "host/tn_race.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>


static void tn_race_add(tn_race_t *race, const tn_ip_t *ip);
static void tn_race_order(tn_race_t *race, const tn_ip_t *ips, size_t n);
static void tn_race_step(void *data, tn_ms_t now);
static void tn_race_answer(void *data, tn_rc_t rc, const tn_ip_t *ips,
    size_t n, const char *text);
static void tn_race_lost(tn_race_t *race, bool resolved, const char *text);
static void tn_race_next(tn_race_t *race);
static int tn_race_try(tn_race_t *race, tn_race_try_t *attempt);
static void tn_race_event(tn_watch_t *watch, uint32_t events);
static void tn_race_failed(tn_race_t *race, tn_race_try_t *attempt, int err);
static void tn_race_drop(tn_race_t *race, tn_race_try_t *attempt);


tn_rc_t
tn_race_start(tn_race_t *race, const tn_ip_t *ips, size_t n)
{
    size_t  i;

    race->question = NULL;
    race->n = 0;
    race->next = 0;
    race->running = 0;
    race->given = n > 0;
    race->text[0] = '\0';

    for (i = 0; i < n; i++) {
        tn_race_add(race, &ips[i]);
    }

    tn_timer_init(&race->step, tn_race_step, race);

    return tn_timer_set(&race->loop->timers, &race->step, race->loop->now);
}


void
tn_race_stop(tn_race_t *race)
{
    size_t  i;

    tn_timer_cancel(&race->loop->timers, &race->step);

    if (race->question != NULL) {
        tn_resolve_cancel(race->question);
        race->question = NULL;
    }

    for (i = 0; i < race->n; i++) {
        tn_race_drop(race, &race->tries[i]);
    }
}


const char *
tn_race_stage(const tn_race_t *race)
{
    return race->n > 0 ? "connect" : "name resolution";
}


static void
tn_race_add(tn_race_t *race, const tn_ip_t *ip)
{
    tn_race_try_t  *attempt;

    if (race->n == TN_RESOLVE_MAX
        || (tn_ip_is_v4(ip) ? race->no_v4 : race->no_v6))
    {
        return;
    }

    attempt = &race->tries[race->n++];
    memset(attempt, 0, sizeof(tn_race_try_t));
    attempt->watch.fd = -1;
    attempt->addr.ip = *ip;
    attempt->addr.port = race->port;
}


/* RFC 8305, 4: the family of the first address, then in turns */

static void
tn_race_order(tn_race_t *race, const tn_ip_t *ips, size_t n)
{
    bool    v4;
    size_t  i, j, done;

    v4 = tn_ip_is_v4(&ips[0]);
    i = 0;
    j = 0;

    for (done = 0; done < n; done++) {

        while (i < n && tn_ip_is_v4(&ips[i]) != v4) {
            i++;
        }

        while (j < n && tn_ip_is_v4(&ips[j]) == v4) {
            j++;
        }

        if (i < n && (done % 2 == 0 || j == n)) {
            tn_race_add(race, &ips[i++]);

        } else {
            tn_race_add(race, &ips[j++]);
        }
    }
}


static void
tn_race_step(void *data, tn_ms_t now)
{
    tn_race_t  *race;

    (void) now;

    race = data;

    if (race->n > 0) {
        tn_race_next(race);
        return;
    }

    if (race->given) {
        tn_race_lost(race, false, "no address of an allowed family");
        return;
    }

    race->question = tn_resolve_start(race->resolver, race->host,
                                      race->timeout_ms, tn_race_answer, race);
    if (race->question == NULL) {
        tn_race_lost(race, false, "out of memory");
    }
}


static void
tn_race_answer(void *data, tn_rc_t rc, const tn_ip_t *ips, size_t n,
    const char *text)
{
    tn_race_t  *race;

    race = data;
    race->question = NULL;

    if (rc != TN_OK) {
        tn_race_lost(race, false, text);
        return;
    }

    tn_race_order(race, ips, n);

    if (race->n == 0) {
        tn_race_lost(race, false, "no address of an allowed family");
        return;
    }

    tn_race_next(race);
}


static void
tn_race_lost(tn_race_t *race, bool resolved, const char *text)
{
    tn_race_stop(race);

    race->fn(race->data, -1, NULL, resolved, text);
}


static void
tn_race_next(tn_race_t *race)
{
    int             err;
    tn_race_try_t  *attempt;

    while (race->next < race->n) {
        attempt = &race->tries[race->next++];

        err = tn_race_try(race, attempt);

        if (err == 0) {

            /* without memory for the timer the next one starts at once */
            if (race->next < race->n
                && tn_timer_set(&race->loop->timers, &race->step,
                                race->loop->now + TN_RACE_STAGGER_MS)
                   != TN_OK)
            {
                continue;
            }

            return;
        }

        tn_race_failed(race, attempt, err);
    }

    if (race->running == 0) {
        tn_race_lost(race, true, race->text);
    }
}


/* 0 when it is under way, else errno's value */

static int
tn_race_try(tn_race_t *race, tn_race_try_t *attempt)
{
    int                      fd, one;
    size_t                   len;
    struct sockaddr_storage  ss;

    len = tn_addr_to_sockaddr(&attempt->addr, &ss);

    fd = socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd == -1) {
        return errno;
    }

    attempt->watch.fd = fd;
    attempt->watch.events = TN_LOOP_WRITE;
    attempt->watch.handler = tn_race_event;
    attempt->watch.data = race;
    race->running++;

    one = 1;
    (void) setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof(one));

    if (connect(fd, (struct sockaddr *) &ss, (socklen_t) len) == -1
        && errno != EINPROGRESS && errno != EINTR)
    {
        return errno;
    }

    if (tn_loop_watch(race->loop, &attempt->watch) != TN_OK) {
        return errno;
    }

    return 0;
}


static void
tn_race_event(tn_watch_t *watch, uint32_t events)
{
    int             fd, err;
    socklen_t       len;
    tn_addr_t       addr;
    tn_race_t      *race;
    tn_race_try_t  *attempt;

    (void) events;

    race = watch->data;
    attempt = tn_container(watch, tn_race_try_t, watch);
    fd = watch->fd;
    err = 0;
    len = sizeof(err);

    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &err, &len) == -1) {
        err = errno;
    }

    if (err != 0) {
        tn_race_failed(race, attempt, err);
        tn_race_next(race);
        return;
    }

    tn_loop_unwatch(race->loop, watch);
    watch->fd = -1;
    race->running--;
    addr = attempt->addr;

    tn_race_stop(race);

    race->fn(race->data, fd, &addr, true, NULL);
}


static void
tn_race_failed(tn_race_t *race, tn_race_try_t *attempt, int err)
{
    bool  no_way;
    char  addr[TN_ADDR_TEXT];

    tn_race_drop(race, attempt);

    /* a host without IPv6 says so of each such address: it explains little */
    no_way = err == ENETUNREACH || err == EADDRNOTAVAIL
             || err == EAFNOSUPPORT;

    if (!no_way || race->text[0] == '\0') {
        (void) snprintf(race->text, TN_RACE_TEXT, "connect to %s failed: %s",
                        tn_addr_text(&attempt->addr, addr), strerror(err));
    }
}


static void
tn_race_drop(tn_race_t *race, tn_race_try_t *attempt)
{
    if (attempt->watch.fd == -1) {
        return;
    }

    tn_loop_unwatch(race->loop, &attempt->watch);
    (void) close(attempt->watch.fd);
    attempt->watch.fd = -1;
    race->running--;
}
