
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Many timers, one deadline: a binary heap whose nodes stand inside their
 * owners.  It owns no clock; who drives it passes `now`.
 */

#ifndef TN_TIMER_H_INCLUDED_
#define TN_TIMER_H_INCLUDED_

#include "tn_base.h"


typedef struct tn_timer_s  tn_timer_t;

typedef void (*tn_timer_pt)(void *data, tn_ms_t now);

struct tn_timer_s {
    tn_ms_t       at;
    size_t        slot;         /* 1-based place in the heap, 0 when unset */
    tn_timer_pt   fire;         /* set once by the owner */
    void         *data;
};

typedef struct {
    tn_timer_t  **heap;
    size_t        count;
    size_t        size;
} tn_timers_t;


void tn_timers_init(tn_timers_t *timers);

/* frees the heap; timers still set are forgotten, not fired */
void tn_timers_done(tn_timers_t *timers);

static inline void
tn_timer_init(tn_timer_t *timer, tn_timer_pt fire, void *data)
{
    timer->at = TN_NEVER_MS;
    timer->slot = 0;
    timer->fire = fire;
    timer->data = data;
}

static inline bool
tn_timer_is_set(const tn_timer_t *timer)
{
    return timer->slot != 0;
}

/*
 * Sets or moves.  Memory for the heap may have to grow: TN_OK or TN_NOMEM,
 * and then a timer already set has not moved.
 */
tn_rc_t tn_timer_set(tn_timers_t *timers, tn_timer_t *timer, tn_ms_t at);

/* nothing happens when it is not set */
void tn_timer_cancel(tn_timers_t *timers, tn_timer_t *timer);

/* the earliest deadline, or TN_NEVER_MS */
static inline tn_ms_t
tn_timers_next(const tn_timers_t *timers)
{
    return timers->count ? timers->heap[0]->at : TN_NEVER_MS;
}

/*
 * Fires all that are due at `now`, each unset before its handler runs.  A
 * handler may set any timer, its own too; one set to `now` or earlier by a
 * handler fires in the next call.
 */
void tn_timers_run(tn_timers_t *timers, tn_ms_t now);


#endif /* TN_TIMER_H_INCLUDED_ */
