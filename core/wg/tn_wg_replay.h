
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The window that lets each counter of a session pass once: RFC 6479, a ring
 * of 64-bit words that is cleared word by word as it moves on.
 */

#ifndef TN_WG_REPLAY_H_INCLUDED_
#define TN_WG_REPLAY_H_INCLUDED_

#include "base/tn_base.h"


#define TN_WG_REPLAY_WORDS  128     /* a power of two */

/* how far behind the highest counter one may come */
#define TN_WG_REPLAY_WINDOW  ((TN_WG_REPLAY_WORDS - 1) * 64)

/* all zero is an empty window */
typedef struct {
    uint64_t  last;                 /* the highest counter taken */
    uint64_t  words[TN_WG_REPLAY_WORDS];
} tn_wg_replay_t;


/* false for a counter that is too old or was taken; changes nothing */
static inline bool
tn_wg_replay_fresh(const tn_wg_replay_t *replay, uint64_t counter)
{
    uint64_t  word;

    if (counter > replay->last) {
        return true;
    }

    if (replay->last - counter > TN_WG_REPLAY_WINDOW) {
        return false;
    }

    word = replay->words[counter / 64 % TN_WG_REPLAY_WORDS];

    return (word & (uint64_t) 1 << counter % 64) == 0;
}


/* takes a counter found fresh, once its packet has verified */
static inline void
tn_wg_replay_take(tn_wg_replay_t *replay, uint64_t counter)
{
    uint64_t  first, i, n;

    if (counter > replay->last) {
        first = replay->last / 64;
        n = tn_min(counter / 64 - first, (uint64_t) TN_WG_REPLAY_WORDS);

        for (i = 1; i <= n; i++) {
            replay->words[(first + i) % TN_WG_REPLAY_WORDS] = 0;
        }

        replay->last = counter;
    }

    replay->words[counter / 64 % TN_WG_REPLAY_WORDS]
        |= (uint64_t) 1 << counter % 64;
}


#endif /* TN_WG_REPLAY_H_INCLUDED_ */
