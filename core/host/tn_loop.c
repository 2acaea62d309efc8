
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "host/tn_loop.h"

#include <errno.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>
#include <time.h>
#include <unistd.h>


#define TN_LOOP_MAX_WAIT_MS     (60 * 60 * 1000)
#define TN_LOOP_TIMER_SLACK_NS  1000


static void tn_loop_forget(tn_loop_t *loop, tn_watch_t *watch);
static void tn_loop_wake_up(tn_loop_t *loop);
static void tn_loop_woken(tn_watch_t *watch, uint32_t events);
static void tn_loop_deliver(tn_loop_t *loop);
static void tn_loop_run_deferred(tn_loop_t *loop);
static int tn_loop_wait_ms(tn_loop_t *loop, tn_ms_t max_ms);
static void tn_loop_pause(tn_loop_t *loop);


tn_rc_t
tn_loop_init(tn_loop_t *loop)
{
    memset(loop, 0, sizeof(tn_loop_t));

    loop->epoll = -1;
    loop->wake.fd = -1;
    loop->last = &loop->first;
    tn_list_init(&loop->deferred);
    tn_timers_init(&loop->timers);
    atomic_init(&loop->stopping, false);

    if (pthread_mutex_init(&loop->lock, NULL) != 0) {
        return TN_ERROR;
    }

    loop->scratch = malloc(TN_LOOP_SCRATCH);
    loop->ready = calloc(TN_LOOP_EVENTS, sizeof(struct epoll_event));

    if (loop->scratch == NULL || loop->ready == NULL) {
        tn_loop_done(loop);
        return TN_NOMEM;
    }

    loop->epoll = epoll_create1(EPOLL_CLOEXEC);
    loop->wake.fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
    loop->wake.events = TN_LOOP_READ;
    loop->wake.handler = tn_loop_woken;
    loop->wake.data = loop;

    if (loop->epoll == -1 || loop->wake.fd == -1
        || tn_loop_watch(loop, &loop->wake) != TN_OK)
    {
        tn_loop_done(loop);
        return TN_ERROR;
    }

    loop->now = tn_loop_clock_ms();

    return TN_OK;
}


void
tn_loop_done(tn_loop_t *loop)
{
    int         err;
    tn_post_t  *post, *next;

    err = errno;

    for (post = loop->first; post != NULL; post = next) {
        next = post->next;

        if (post->allocated) {
            free(post);
        }
    }

    if (loop->moderated) {
        tn_spare_close(&loop->spare);
    }

    if (loop->wake.fd != -1) {
        (void) close(loop->wake.fd);
    }

    if (loop->epoll != -1) {
        (void) close(loop->epoll);
    }

    tn_timers_done(&loop->timers);
    (void) pthread_mutex_destroy(&loop->lock);

    free(loop->ready);
    free(loop->scratch);

    memset(loop, 0, sizeof(tn_loop_t));
    loop->epoll = -1;
    loop->wake.fd = -1;

    errno = err;
}


tn_rc_t
tn_loop_run(tn_loop_t *loop)
{
    tn_rc_t  rc;

    while (!atomic_load(&loop->stopping)) {

        rc = tn_loop_turn(loop, TN_NEVER_MS);
        if (rc != TN_OK) {
            return rc;
        }
    }

    (void) pthread_mutex_lock(&loop->lock);
    loop->closed = true;
    (void) pthread_mutex_unlock(&loop->lock);

    tn_loop_deliver(loop);
    tn_loop_run_deferred(loop);

    return TN_OK;
}


tn_rc_t
tn_loop_turn(tn_loop_t *loop, tn_ms_t max_ms)
{
    int          i;
    uint32_t     events;
    tn_watch_t  *watch;

    loop->now = tn_loop_clock_ms();

    loop->n_ready = epoll_wait(loop->epoll, loop->ready, TN_LOOP_EVENTS,
                               tn_loop_wait_ms(loop, max_ms));

    if (loop->n_ready == -1) {
        loop->n_ready = 0;

        if (errno != EINTR) {
            return TN_ERROR;
        }
    }

    loop->now = tn_loop_clock_ms();

    for (i = 0; i < loop->n_ready; i++) {
        watch = loop->ready[i].data.ptr;
        events = loop->ready[i].events;

        if (watch != NULL) {
            watch->handler(watch, events);
        }
    }

    loop->n_ready = 0;

    tn_timers_run(&loop->timers, loop->now);
    tn_loop_run_deferred(loop);

    if (loop->moderated) {
        tn_loop_pause(loop);
    }

    return TN_OK;
}


void
tn_loop_moderate(tn_loop_t *loop)
{
    loop->moderated = true;
    tn_spare_open(&loop->spare);

    /* else Linux adds up to 50 us to each pause */
    (void) prctl(PR_SET_TIMERSLACK, TN_LOOP_TIMER_SLACK_NS);
}


void
tn_loop_brief(tn_loop_t *loop)
{
    loop->moderate.brief = true;
}


static void
tn_loop_pause(tn_loop_t *loop)
{
    unsigned         us;
    uint64_t         now;
    struct timespec  ts;

    now = tn_loop_mono_us();

    if (tn_moderate_is_due(&loop->moderate, now)) {
        tn_moderate_spare(&loop->moderate, now, tn_spare_look(&loop->spare));
    }

    us = tn_moderate(&loop->moderate, now, loop->packets);

    if (us > 0 && !loop->more) {
        ts.tv_sec = 0;
        ts.tv_nsec = (long) us * 1000;

        (void) nanosleep(&ts, NULL);
    }

    loop->packets = 0;
    loop->more = false;
}


void
tn_loop_stop(tn_loop_t *loop)
{
    atomic_store(&loop->stopping, true);
    tn_loop_wake_up(loop);
}


tn_rc_t
tn_loop_watch(tn_loop_t *loop, tn_watch_t *watch)
{
    int                 op;
    struct epoll_event  event;

    if (watch->events == 0) {
        /* not EPOLL_CTL_MOD: errors would still be told, again and again */
        tn_loop_unwatch(loop, watch);
        return TN_OK;
    }

    op = watch->added ? EPOLL_CTL_MOD : EPOLL_CTL_ADD;

    memset(&event, 0, sizeof(struct epoll_event));
    event.events = watch->events;
    event.data.ptr = watch;

    if (epoll_ctl(loop->epoll, op, watch->fd, &event) == -1) {
        return TN_ERROR;
    }

    watch->added = true;

    return TN_OK;
}


void
tn_loop_unwatch(tn_loop_t *loop, tn_watch_t *watch)
{
    if (!watch->added) {
        return;
    }

    watch->added = false;

    (void) epoll_ctl(loop->epoll, EPOLL_CTL_DEL, watch->fd, NULL);

    tn_loop_forget(loop, watch);
}


static void
tn_loop_forget(tn_loop_t *loop, tn_watch_t *watch)
{
    int  i;

    for (i = 0; i < loop->n_ready; i++) {
        if (loop->ready[i].data.ptr == watch) {
            loop->ready[i].data.ptr = NULL;
        }
    }
}


tn_rc_t
tn_loop_post(tn_loop_t *loop, tn_loop_pt fn, void *data)
{
    tn_rc_t     rc;
    tn_post_t  *post;

    post = malloc(sizeof(tn_post_t));
    if (post == NULL) {
        return TN_NOMEM;
    }

    post->fn = fn;
    post->data = data;
    post->allocated = true;

    rc = tn_loop_post_item(loop, post);

    if (rc != TN_OK) {
        free(post);
    }

    return rc;
}


tn_rc_t
tn_loop_post_item(tn_loop_t *loop, tn_post_t *post)
{
    bool  wake;

    post->next = NULL;

    (void) pthread_mutex_lock(&loop->lock);

    if (loop->closed) {
        (void) pthread_mutex_unlock(&loop->lock);
        return TN_CLOSED;
    }

    *loop->last = post;
    loop->last = &post->next;

    wake = !loop->woken;
    loop->woken = true;

    /* under the lock: whoever sees the message may free the loop */
    if (wake) {
        tn_loop_wake_up(loop);
    }

    (void) pthread_mutex_unlock(&loop->lock);

    return TN_OK;
}


static void
tn_loop_wake_up(tn_loop_t *loop)
{
    uint64_t  one;

    one = 1;

    while (write(loop->wake.fd, &one, sizeof(one)) == -1 && errno == EINTR) {
        /* again; EAGAIN means that the counter is not zero, which will do */
    }
}


static void
tn_loop_woken(tn_watch_t *watch, uint32_t events)
{
    ssize_t   n;
    uint64_t  count;

    (void) events;

    do {
        n = read(watch->fd, &count, sizeof(count));
    } while (n == -1 && errno == EINTR);

    tn_loop_deliver(watch->data);
}


static void
tn_loop_deliver(tn_loop_t *loop)
{
    void        *data;
    tn_loop_pt   fn;
    tn_post_t   *post, *next;

    (void) pthread_mutex_lock(&loop->lock);

    post = loop->first;
    loop->first = NULL;
    loop->last = &loop->first;
    loop->woken = false;

    (void) pthread_mutex_unlock(&loop->lock);

    for ( /* void */ ; post != NULL; post = next) {
        next = post->next;
        fn = post->fn;
        data = post->data;

        if (post->allocated) {
            free(post);
        }

        fn(data);
    }
}


static void
tn_loop_run_deferred(tn_loop_t *loop)
{
    tn_link_t   *link;
    tn_defer_t  *defer;

    for ( ;; ) {
        link = tn_list_shift(&loop->deferred);
        if (link == NULL) {
            return;
        }

        defer = tn_container(link, tn_defer_t, link);
        defer->fn(defer->data);
    }
}


static int
tn_loop_wait_ms(tn_loop_t *loop, tn_ms_t max_ms)
{
    tn_ms_t  next;

    if (!tn_list_empty(&loop->deferred)) {
        return 0;
    }

    next = tn_timers_next(&loop->timers);

    if (next != TN_NEVER_MS) {
        max_ms = tn_min(max_ms, next > loop->now ? next - loop->now : 0);
    }

    if (max_ms == TN_NEVER_MS) {
        return -1;
    }

    return (int) tn_min(max_ms, (tn_ms_t) TN_LOOP_MAX_WAIT_MS);
}


tn_ms_t
tn_loop_clock_ms(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (tn_ms_t) ts.tv_sec * 1000 + (tn_ms_t) ts.tv_nsec / 1000000;
}


uint64_t
tn_loop_wall_ns(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_REALTIME, &ts);

    return (uint64_t) ts.tv_sec * 1000000000 + (uint64_t) ts.tv_nsec;
}


uint64_t
tn_loop_clock_us(clockid_t clock)
{
    struct timespec  ts;

    (void) clock_gettime(clock, &ts);

    return (uint64_t) ts.tv_sec * 1000000 + (uint64_t) ts.tv_nsec / 1000;
}


uint64_t
tn_loop_mono_us(void)
{
    return tn_loop_clock_us(CLOCK_MONOTONIC);
}
