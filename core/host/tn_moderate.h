
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Adaptive moderation of wake-ups, as network cards moderate interrupts: how
 * long a busy thread pauses before it looks for packets again.  A state
 * machine over the caller's clock.
 */

#ifndef TN_MODERATE_H_INCLUDED_
#define TN_MODERATE_H_INCLUDED_

#include "base/tn_base.h"


#define TN_MODERATE_PAUSE_US     150
#define TN_MODERATE_WINDOW_US    5000
#define TN_MODERATE_TURNS        40         /* of a window, to begin */
#define TN_MODERATE_PACKETS      10         /* of a turn, to go on */
#define TN_MODERATE_POOR         3          /* windows with less, to end */
#define TN_MODERATE_BACKOFF_US   100000     /* first; doubled up to the next */
#define TN_MODERATE_BACKOFF_MAX  3200000

/* zeroed before the first use */
typedef struct {
    uint64_t  window;       /* its begin, us */
    uint64_t  allowed;      /* no pauses before this time, us */
    uint64_t  backoff;      /* us */
    unsigned  turns;        /* of this window */
    unsigned  packets;
    unsigned  poor;         /* windows in a row, while pausing */
    bool      pausing;
} tn_moderate_t;


/*
 * After a turn at `now` (microseconds of a clock that never goes back) that
 * handled `packets`.  Returns the microseconds to pause before the next turn:
 * 0 or TN_MODERATE_PAUSE_US.
 */
unsigned tn_moderate(tn_moderate_t *m, uint64_t now, unsigned packets);


#endif /* TN_MODERATE_H_INCLUDED_ */
