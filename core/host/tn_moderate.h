
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

#define TN_MODERATE_LOOK_US      200000     /* between looks at the CPUs */
#define TN_MODERATE_SCARCE       18         /* per cent idle: longer pauses */
#define TN_MODERATE_PLENTY       28         /* shorter ones */
#define TN_MODERATE_ABUNDANT     50         /* none for scarcity at all */
#define TN_MODERATE_LEVELS       2          /* times TN_MODERATE_PAUSE_US */
#define TN_MODERATE_SCARCELY     3          /* packets of a turn, then */

/* zeroed before the first use */
typedef struct {
    bool      brief;        /* the caller's: no longer pauses in scarcity */
    uint64_t  window;       /* its begin, us */
    uint64_t  allowed;      /* no pauses before this time, us */
    uint64_t  backoff;      /* us */
    unsigned  turns;        /* of this window */
    unsigned  packets;
    unsigned  poor;         /* windows in a row, while pausing */
    bool      pausing;
    bool      busy;         /* the last window was */
    unsigned  level;        /* of scarcity, 0 for none */
    uint64_t  looked;       /* at the CPUs, us */
} tn_moderate_t;


/* whether it is time for tn_moderate_spare(); cheap */
static inline bool
tn_moderate_is_due(const tn_moderate_t *m, uint64_t now)
{
    return m->busy && now - m->looked >= TN_MODERATE_LOOK_US;
}

/* `idle`: per cent of all CPUs' time since the call before this one */
void tn_moderate_spare(tn_moderate_t *m, uint64_t now, unsigned idle);

/*
 * After a turn at `now` (microseconds of a clock that never goes back) that
 * handled `packets`.  Returns the microseconds to pause before the next turn:
 * 0, or up to TN_MODERATE_LEVELS times TN_MODERATE_PAUSE_US.
 */
unsigned tn_moderate(tn_moderate_t *m, uint64_t now, unsigned packets);


#endif /* TN_MODERATE_H_INCLUDED_ */
