
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * When a data thread has its helper seal and send: a state machine over the
 * caller's clock and CPU times.
 */

#ifndef TN_OFFLOAD_H_INCLUDED_
#define TN_OFFLOAD_H_INCLUDED_

#include "base/tn_base.h"


#define TN_OFFLOAD_WINDOW_US    50000
#define TN_OFFLOAD_IDLE_US      200000  /* a window as long as this: no load */
#define TN_OFFLOAD_WINDOWS      2       /* alike, one after the other */
#define TN_OFFLOAD_ON           85      /* per cent of a core by one thread */
#define TN_OFFLOAD_OFF          60      /* by both together */
#define TN_OFFLOAD_STARVED      70      /* CPU of the helper's time awake */
#define TN_OFFLOAD_BACKOFF_US   1000000 /* first; doubled up to the next */
#define TN_OFFLOAD_BACKOFF_MAX  32000000

/* since any fixed time, microseconds */
typedef struct {
    uint64_t           own;         /* CPU of the data thread */
    uint64_t           helper;      /* CPU of its helper */
    uint64_t           awake;       /* the helper had something to do */
} tn_offload_use_t;

/* zeroed before the first use */
typedef struct {
    bool               on;
    uint64_t           window;      /* its begin, us */
    tn_offload_use_t   use;         /* then */
    unsigned           alike;       /* windows that speak for a change */
    unsigned           starved;
    uint64_t           since;       /* on since */
    uint64_t           allowed;     /* not on before this time */
    uint64_t           backoff;
} tn_offload_t;


/* whether it is time for tn_offload_judge(); cheap */
static inline bool
tn_offload_is_due(const tn_offload_t *offload, uint64_t now)
{
    return now - offload->window >= TN_OFFLOAD_WINDOW_US;
}

/* returns whether the helper is to be used from `now` (us) on */
bool tn_offload_judge(tn_offload_t *offload, uint64_t now,
    const tn_offload_use_t *use);

/* after it was switched on: that is not possible now */
void tn_offload_refuse(tn_offload_t *offload, uint64_t now);


#endif /* TN_OFFLOAD_H_INCLUDED_ */
