
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A second thread that works off what one other thread, its owner, gives it,
 * in that order, by a ring of one producer and one consumer.  The items come
 * back to the owner the same way.
 */

#ifndef TN_HELPER_H_INCLUDED_
#define TN_HELPER_H_INCLUDED_

#include "base/tn_base.h"


#define TN_HELPER_SLOTS  8          /* items that are given and not taken */

typedef struct tn_helper_s  tn_helper_t;

/* of the helper's life until now, microseconds */
typedef struct {
    uint64_t  cpu;
    uint64_t  awake;                /* had something to do */
} tn_helper_times_t;


/*
 * Starts it; `work` is called on it for each item.  NULL when out of memory
 * or threads.  All that follows is the owner's.
 */
tn_helper_t *tn_helper_create(const char *name, void (*work)(void *item));

/* works off what waits, ends the thread; what was not taken is forgotten */
void tn_helper_destroy(tn_helper_t *helper);

/* false when TN_HELPER_SLOTS items are not taken */
bool tn_helper_give(tn_helper_t *helper, void *item);

/* the oldest item that is done, or NULL */
void *tn_helper_take(tn_helper_t *helper);

/* how many are given and not done */
unsigned tn_helper_waiting(const tn_helper_t *helper);

/* returns as soon as no more than `n` are */
void tn_helper_wait(tn_helper_t *helper, unsigned n);

void tn_helper_times(tn_helper_t *helper, tn_helper_times_t *times);


#endif /* TN_HELPER_H_INCLUDED_ */
