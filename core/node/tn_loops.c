
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Router A captures a flow to D and opens one of its own to D.  When the way
 * of that one leads over the tailnet to A again, by a router B that masks the
 * source or is itself a proxy, nothing in it is left of the first: A would
 * open the next, without end.  What such a circle always looks like, however
 * many are in it:
 *
 *   - all flows come from one source, B, to one destination
 *   - each comes when the one before stands, since that one made it
 *   - none of them ever gets an answer or ends: nobody is there to answer
 *
 * So counted are, by source and destination, flows in a row without any
 * answer, of TCP those that begin after the handshake of one before them: of
 * a thousand that a client opens at once few.  At the limit further ones are
 * dropped, which stops a circle, and come again, by which others lose a
 * second.  When there is no answer for TN_LOOPS_TELL_MS they are refused; the
 * refusal goes round, and the circle falls apart.
 *
 * Pairs stand in sets of LOOPS_WAYS; in a full one the lowest count goes, so
 * that a scan of many destinations does not wash out a circle.
 */

#include "node/tn_loops.h"

#include <stdlib.h>


#define LOOPS_SETS  64
#define LOOPS_WAYS  4


typedef struct {
    tn_ip_t     from;
    tn_addr_t   to;
    bool        tcp;
    bool        used;
    bool        opened;         /* a handshake since the last flow */
    unsigned    count;
    tn_ms_t     since;          /* the first of them */
    tn_ms_t     last;
    tn_ms_t     refused_until;  /* TN_NEVER_MS: is not */
} loops_pair_t;


struct tn_loops_s {
    uint64_t      seed;
    unsigned      watched;      /* pairs from TN_LOOPS_WATCH on */
    loops_pair_t  pairs[LOOPS_SETS][LOOPS_WAYS];
};


static loops_pair_t *loops_set(tn_loops_t *loops, bool tcp,
    const tn_ip_t *from, const tn_addr_t *to);
static loops_pair_t *loops_find(tn_loops_t *loops, bool tcp,
    const tn_ip_t *from, const tn_addr_t *to);
static loops_pair_t *loops_place(tn_loops_t *loops, tn_ms_t now, bool tcp,
    const tn_ip_t *from, const tn_addr_t *to);
static void loops_forget(tn_loops_t *loops, loops_pair_t *pair);


tn_loops_t *
tn_loops_create(uint64_t seed)
{
    tn_loops_t  *loops;

    loops = calloc(1, sizeof(tn_loops_t));

    if (loops != NULL) {
        loops->seed = seed;
    }

    return loops;
}


void
tn_loops_free(tn_loops_t *loops)
{
    free(loops);
}


tn_loops_e
tn_loops_begin(tn_loops_t *loops, tn_ms_t now, bool tcp, bool held,
    const tn_ip_t *from, const tn_addr_t *to)
{
    loops_pair_t  *pair;

    pair = loops_find(loops, tcp, from, to);

    if (pair == NULL) {
        pair = loops_place(loops, now, tcp, from, to);
    }

    if (pair->refused_until != TN_NEVER_MS) {

        if (now < pair->refused_until) {
            return TN_LOOPS_REFUSED;
        }

        pair->refused_until = TN_NEVER_MS;
        loops_forget(loops, pair);
    }

    if (now - pair->last >= TN_LOOPS_QUIET_MS) {
        loops_forget(loops, pair);
    }

    pair->last = now;

    if (pair->count >= (tcp ? TN_LOOPS_TCP : TN_LOOPS_UDP)) {

        if (now - pair->since < TN_LOOPS_TELL_MS) {
            return TN_LOOPS_LATER;
        }

        pair->refused_until = now + TN_LOOPS_QUIET_MS;

        return TN_LOOPS_FOUND;
    }

    if (!tcp || held || pair->opened || pair->count < TN_LOOPS_WATCH) {
        pair->opened = false;

        if (pair->count++ == 0) {
            pair->since = now;
        }

        if (pair->count == TN_LOOPS_WATCH) {
            loops->watched++;
        }
    }

    return TN_LOOPS_PASS;
}


bool
tn_loops_watches(const tn_loops_t *loops)
{
    return loops->watched != 0;
}


void
tn_loops_opened(tn_loops_t *loops, const tn_ip_t *from, const tn_addr_t *to)
{
    loops_pair_t  *pair;

    pair = loops_find(loops, true, from, to);

    if (pair != NULL) {
        pair->opened = true;
    }
}


void
tn_loops_answered(tn_loops_t *loops, bool tcp, const tn_ip_t *from,
    const tn_addr_t *to)
{
    loops_pair_t  *pair;

    pair = loops_find(loops, tcp, from, to);

    if (pair != NULL) {
        loops_forget(loops, pair);
    }
}


static loops_pair_t *
loops_set(tn_loops_t *loops, bool tcp, const tn_ip_t *from,
    const tn_addr_t *to)
{
    size_t    i;
    uint64_t  h;

    h = loops->seed ^ ((uint64_t) to->port << 1 | tcp);

    for (i = 0; i < sizeof(from->b); i++) {
        h = (h ^ from->b[i]) * 0x9e3779b97f4a7c15;
        h = (h ^ h >> 29 ^ to->ip.b[i]) * 0xbf58476d1ce4e5b9;
    }

    return loops->pairs[(h >> 32) % LOOPS_SETS];
}


static loops_pair_t *
loops_find(tn_loops_t *loops, bool tcp, const tn_ip_t *from,
    const tn_addr_t *to)
{
    size_t         i;
    loops_pair_t  *pair;

    pair = loops_set(loops, tcp, from, to);

    for (i = 0; i < LOOPS_WAYS; i++, pair++) {
        if (pair->used && pair->tcp == tcp && pair->to.port == to->port
            && tn_ip_equal(&pair->from, from)
            && tn_ip_equal(&pair->to.ip, &to->ip))
        {
            return pair;
        }
    }

    return NULL;
}


/* the one that is missed least, now of this pair */
static loops_pair_t *
loops_place(tn_loops_t *loops, tn_ms_t now, bool tcp, const tn_ip_t *from,
    const tn_addr_t *to)
{
    size_t         i;
    loops_pair_t  *pair, *set;

    set = loops_set(loops, tcp, from, to);
    pair = set;

    for (i = 0; i < LOOPS_WAYS; i++) {

        if (set[i].used && now - set[i].last >= TN_LOOPS_QUIET_MS) {
            loops_forget(loops, &set[i]);
        }

        if (!set[i].used || set[i].count < pair->count) {
            pair = &set[i];
        }

        if (!pair->used) {
            break;
        }
    }

    loops_forget(loops, pair);

    pair->from = *from;
    pair->to = *to;
    pair->tcp = tcp;
    pair->used = true;
    pair->last = now;
    pair->refused_until = TN_NEVER_MS;

    return pair;
}


static void
loops_forget(tn_loops_t *loops, loops_pair_t *pair)
{
    if (pair->count >= TN_LOOPS_WATCH) {
        loops->watched--;
    }

    pair->count = 0;
    pair->opened = false;
}
