
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Numbers of 128 bits, also where the compiler has none, as on 32-bit machines.
 */

#ifndef TN_WIDE_H_INCLUDED_
#define TN_WIDE_H_INCLUDED_

#include "base/tn_base.h"


typedef struct {
    uint64_t  hi;
    uint64_t  lo;
} tn_wide_t;


static inline bool
tn_wide_less_portable(tn_wide_t a, tn_wide_t b)
{
    return a.hi < b.hi || (a.hi == b.hi && a.lo < b.lo);
}


static inline bool
tn_wide_less(tn_wide_t a, tn_wide_t b)
{
#ifdef __SIZEOF_INT128__
    return ((unsigned __int128) a.hi << 64 | a.lo)
           < ((unsigned __int128) b.hi << 64 | b.lo);
#else
    return tn_wide_less_portable(a, b);
#endif
}


/* from products of 32 bits */
static inline uint64_t
tn_wide_fold_portable(uint64_t a, uint64_t b)
{
    uint64_t  al, ah, bl, bh, middle, lo, hi;

    al = (uint32_t) a;
    ah = a >> 32;
    bl = (uint32_t) b;
    bh = b >> 32;

    lo = al * bl;

    /* neither sum overflows: (2^32 - 1)^2 + 2 * (2^32 - 1) = 2^64 - 1 */

    middle = ah * bl + (lo >> 32);
    hi = ah * bh + (middle >> 32);

    middle = al * bh + (uint32_t) middle;
    hi += middle >> 32;

    lo = middle << 32 | (uint32_t) lo;

    return lo ^ hi;
}


/* the two halves of a * b by exclusive or: a step of a hash */
static inline uint64_t
tn_wide_fold(uint64_t a, uint64_t b)
{
#ifdef __SIZEOF_INT128__
    unsigned __int128  product;

    product = (unsigned __int128) a * b;

    return (uint64_t) product ^ (uint64_t) (product >> 64);
#else
    return tn_wide_fold_portable(a, b);
#endif
}


#endif /* TN_WIDE_H_INCLUDED_ */
