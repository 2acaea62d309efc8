
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_timer.h"

#include <stdlib.h>


#define TN_TIMERS_FIRST_SIZE  32


static void tn_timer_up(tn_timers_t *timers, size_t i);
static void tn_timer_down(tn_timers_t *timers, size_t i);
static void tn_timer_place(tn_timers_t *timers, size_t i, tn_timer_t *timer);


void
tn_timers_init(tn_timers_t *timers)
{
    memset(timers, 0, sizeof(tn_timers_t));
}


void
tn_timers_done(tn_timers_t *timers)
{
    size_t  i;

    for (i = 0; i < timers->count; i++) {
        timers->heap[i]->slot = 0;
    }

    free(timers->heap);
    memset(timers, 0, sizeof(tn_timers_t));
}


tn_rc_t
tn_timer_set(tn_timers_t *timers, tn_timer_t *timer, tn_ms_t at)
{
    size_t        size;
    tn_timer_t  **heap;

    if (timer->slot == 0) {

        if (timers->count == timers->size) {
            size = timers->size ? 2 * timers->size : TN_TIMERS_FIRST_SIZE;

            heap = realloc(timers->heap, size * sizeof(tn_timer_t *));
            if (heap == NULL) {
                return TN_NOMEM;
            }

            timers->heap = heap;
            timers->size = size;
        }

        tn_timer_place(timers, timers->count++, timer);
    }

    timer->at = at;

    tn_timer_up(timers, timer->slot - 1);
    tn_timer_down(timers, timer->slot - 1);

    return TN_OK;
}


void
tn_timer_cancel(tn_timers_t *timers, tn_timer_t *timer)
{
    size_t       i;
    tn_timer_t  *last;

    if (timer->slot == 0) {
        return;
    }

    i = timer->slot - 1;
    timer->slot = 0;
    timer->at = TN_NEVER_MS;
    last = timers->heap[--timers->count];

    if (last != timer) {
        tn_timer_place(timers, i, last);
        tn_timer_up(timers, i);
        tn_timer_down(timers, last->slot - 1);
    }
}


void
tn_timers_run(tn_timers_t *timers, tn_ms_t now)
{
    size_t       budget;
    tn_timer_t  *timer;

    /* a handler that sets its timer to the past must not hold us here */
    budget = timers->count;

    while (budget-- > 0 && timers->count > 0 && timers->heap[0]->at <= now) {
        timer = timers->heap[0];
        tn_timer_cancel(timers, timer);
        timer->fire(timer->data, now);
    }
}


static void
tn_timer_up(tn_timers_t *timers, size_t i)
{
    size_t       parent;
    tn_timer_t  *timer;

    timer = timers->heap[i];

    while (i > 0) {
        parent = (i - 1) / 2;

        if (timers->heap[parent]->at <= timer->at) {
            break;
        }

        tn_timer_place(timers, i, timers->heap[parent]);
        i = parent;
    }

    tn_timer_place(timers, i, timer);
}


static void
tn_timer_down(tn_timers_t *timers, size_t i)
{
    size_t       child;
    tn_timer_t  *timer;

    timer = timers->heap[i];

    for ( ;; ) {
        child = 2 * i + 1;

        if (child >= timers->count) {
            break;
        }

        if (child + 1 < timers->count
            && timers->heap[child + 1]->at < timers->heap[child]->at)
        {
            child++;
        }

        if (timer->at <= timers->heap[child]->at) {
            break;
        }

        tn_timer_place(timers, i, timers->heap[child]);
        i = child;
    }

    tn_timer_place(timers, i, timer);
}


static void
tn_timer_place(tn_timers_t *timers, size_t i, tn_timer_t *timer)
{
    timers->heap[i] = timer;
    timer->slot = i + 1;
}
