
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Notices flows through this node that come back to it by way of others.
 * A fixed number of pairs is remembered, nothing is allocated.  One thread at
 * a time.
 */

#ifndef TN_LOOPS_H_INCLUDED_
#define TN_LOOPS_H_INCLUDED_

#include "base/tn_addr.h"


#define TN_LOOPS_TCP       256      /* flows in a row without an answer */
#define TN_LOOPS_UDP       1024
#define TN_LOOPS_WATCH     16       /* from here on answers are looked for */
#define TN_LOOPS_TELL_MS   3000     /* so long nothing was answered */
#define TN_LOOPS_QUIET_MS  10000    /* with no new flow for it: forgotten */

typedef struct tn_loops_s  tn_loops_t;

typedef enum {
    TN_LOOPS_PASS = 0,
    TN_LOOPS_LATER,         /* to be dropped, it comes again */
    TN_LOOPS_REFUSED,
    TN_LOOPS_FOUND          /* refused, the first for TN_LOOPS_QUIET_MS */
} tn_loops_e;


/* seed: random; NULL: no memory */
tn_loops_t *tn_loops_create(uint64_t seed);
void tn_loops_free(tn_loops_t *loops);

/*
 * A flow begins, of TCP or else UDP.  held: nothing is said to its SYN before
 * the destination has answered.
 */
tn_loops_e tn_loops_begin(tn_loops_t *loops, tn_ms_t now, bool tcp, bool held,
    const tn_ip_t *from, const tn_addr_t *to);

/* whether the next two are of use now */
bool tn_loops_watches(const tn_loops_t *loops);

/* a handshake of TCP is answered, which says nothing of the destination */
void tn_loops_opened(tn_loops_t *loops, const tn_ip_t *from,
    const tn_addr_t *to);

/* something came back from `to`, or a flow has ended */
void tn_loops_answered(tn_loops_t *loops, bool tcp, const tn_ip_t *from,
    const tn_addr_t *to);


#endif /* TN_LOOPS_H_INCLUDED_ */
