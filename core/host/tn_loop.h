
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * One epoll loop for one thread: watched descriptors, timers, the clock, work
 * put off to the end of a turn, and messages from other threads.  All but
 * tn_loop_post*() and tn_loop_stop() belong to the thread that runs it.
 */

#ifndef TN_LOOP_H_INCLUDED_
#define TN_LOOP_H_INCLUDED_

#include "base/tn_base.h"
#include "base/tn_list.h"
#include "base/tn_timer.h"
#include "host/tn_moderate.h"
#include "host/tn_spare.h"

#include <pthread.h>
#include <stdatomic.h>
#include <sys/epoll.h>
#include <time.h>


/* what a watch waits for, and what its handler is told */
#define TN_LOOP_READ   ((uint32_t) EPOLLIN)
#define TN_LOOP_WRITE  ((uint32_t) EPOLLOUT)

/* told whether asked for or not: read or write finds the error or the end */
#define TN_LOOP_ERROR  ((uint32_t) (EPOLLERR | EPOLLHUP))

#define TN_LOOP_EVENTS  64              /* taken from the kernel in one turn */
#define TN_LOOP_SCRATCH  (64 * 1024)

typedef struct tn_loop_s   tn_loop_t;
typedef struct tn_watch_s  tn_watch_t;
typedef struct tn_defer_s  tn_defer_t;
typedef struct tn_post_s   tn_post_t;

typedef void (*tn_watch_pt)(tn_watch_t *watch, uint32_t events);
typedef void (*tn_loop_pt)(void *data);


/* stands in its owner; to be zeroed before the first use */
struct tn_watch_s {
    int            fd;
    uint32_t       events;      /* TN_LOOP_READ, TN_LOOP_WRITE, both or 0 */
    tn_watch_pt    handler;
    void          *data;

    bool           added;       /* the loop's */
};


/* a call to make once, before the loop waits again; stands in its owner */
struct tn_defer_s {
    tn_link_t      link;
    tn_loop_pt     fn;
    void          *data;
};


/* a message to a loop; stands in its owner, who keeps it until fn is called */
struct tn_post_s {
    tn_post_t     *next;
    tn_loop_pt     fn;
    void          *data;

    bool           allocated;   /* the loop's */
};


struct tn_loop_s {
    tn_ms_t              now;       /* of this turn, CLOCK_MONOTONIC */
    tn_timers_t          timers;

    /*
     * Shared by all handlers of this loop for one read at a time; what it
     * holds is gone when the handler returns.
     */
    uint8_t             *scratch;

    /*
     * For a loop that carries packets: handlers count them here, and say
     * when they left some behind; see tn_loop_moderate().
     */
    unsigned             packets;
    bool                 more;

    /* the rest is private */

    tn_moderate_t        moderate;
    tn_spare_t           spare;
    bool                 moderated;

    int                  epoll;
    tn_watch_t           wake;      /* eventfd */
    tn_link_t            deferred;

    struct epoll_event  *ready;
    int                  n_ready;

    pthread_mutex_t      lock;      /* over the four below */
    tn_post_t           *first;
    tn_post_t          **last;
    bool                 woken;
    bool                 closed;

    atomic_bool          stopping;
};


/* TN_OK, TN_ERROR (errno is set) or TN_NOMEM */
tn_rc_t tn_loop_init(tn_loop_t *loop);

/* after the last watch is gone; messages not delivered are dropped */
void tn_loop_done(tn_loop_t *loop);

/*
 * Runs turns until tn_loop_stop(), then delivers what was posted before and
 * closes the loop for posts.  TN_ERROR only when epoll itself fails.
 */
tn_rc_t tn_loop_run(tn_loop_t *loop);

/* one turn: waits `max_ms` at most (0: not at all, TN_NEVER_MS: no limit) */
tn_rc_t tn_loop_turn(tn_loop_t *loop, tn_ms_t max_ms);

/*
 * From now on a busy loop pauses between turns, so that packets gather, as
 * tn_moderate.h says.  Called by the thread that runs it.
 */
void tn_loop_moderate(tn_loop_t *loop);

/* there is little room where packets gather: pauses stay short */
void tn_loop_brief(tn_loop_t *loop);

/* from any thread */
void tn_loop_stop(tn_loop_t *loop);

/*
 * Starts watching, or applies changed watch->events.  Level-triggered: a
 * handler that leaves something unread is called again.  TN_OK, or TN_ERROR
 * with errno.
 */
tn_rc_t tn_loop_watch(tn_loop_t *loop, tn_watch_t *watch);

/*
 * Stops; its handler will not be called again, not even for what this turn
 * already holds.  Call it before closing the descriptor.  Any handler may
 * call it for any watch; nothing happens when it is not watched.
 */
void tn_loop_unwatch(tn_loop_t *loop, tn_watch_t *watch);

static inline void
tn_defer_init(tn_defer_t *defer, tn_loop_pt fn, void *data)
{
    tn_list_init(&defer->link);
    defer->fn = fn;
    defer->data = data;
}

/*
 * Calls it once after the handlers and timers of this turn; asking again
 * before that changes nothing.  One deferred by a deferred call runs in the
 * same turn.
 */
static inline void
tn_loop_defer(tn_loop_t *loop, tn_defer_t *defer)
{
    if (tn_list_empty(&defer->link)) {
        tn_list_push(&loop->deferred, &defer->link);
    }
}

static inline void
tn_loop_undefer(tn_defer_t *defer)
{
    tn_list_remove(&defer->link);
}

/*
 * From any thread: fn(data) is called in the loop's thread, in the order of
 * the posts of one sender.  TN_OK, TN_NOMEM (only tn_loop_post()), or
 * TN_CLOSED when the loop has ended, and then nothing will be called.
 */
tn_rc_t tn_loop_post(tn_loop_t *loop, tn_loop_pt fn, void *data);
tn_rc_t tn_loop_post_item(tn_loop_t *loop, tn_post_t *post);

/* CLOCK_MONOTONIC now, for the rare caller that must not use loop->now */
tn_ms_t tn_loop_clock_ms(void);

/* CLOCK_REALTIME since 1970; nanoseconds */
uint64_t tn_loop_wall_ns(void);

/* microseconds of a clock; of the one that never goes back */
uint64_t tn_loop_clock_us(clockid_t clock);
uint64_t tn_loop_mono_us(void);


#endif /* TN_LOOP_H_INCLUDED_ */
