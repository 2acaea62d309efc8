
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A loop on the real clock.
 */

#ifndef TURNS_H_INCLUDED_
#define TURNS_H_INCLUDED_

#include "host/tn_loop.h"


/* for so many ms; returns how often it turned */
static inline int
turn_for(tn_loop_t *loop, tn_ms_t ms)
{
    int      n;
    tn_ms_t  end;

    end = tn_loop_clock_ms() + ms;

    for (n = 0; tn_loop_clock_ms() < end; n++) {
        (void) tn_loop_turn(loop, 10);
    }

    return n;
}


#endif /* TURNS_H_INCLUDED_ */
