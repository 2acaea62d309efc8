
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What every file of the core includes: integer types, return codes,
 * strings and a few macros.
 */

#ifndef TN_BASE_H_INCLUDED_
#define TN_BASE_H_INCLUDED_

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/types.h>


/*
 * Return codes.  Zero is success; the class of a failure says what to do
 * about it: again is not an error, malformed is the peer's fault, refused is
 * somebody's decision, the rest is ours.
 */

typedef enum {
    TN_OK = 0,
    TN_ERROR = -1,          /* ours: a call that should not fail did */
    TN_AGAIN = -2,          /* not yet: wait for an event and repeat */
    TN_MALFORMED = -3,      /* bytes from outside that break the format */
    TN_REFUSED = -4,        /* a policy, a peer or control said no */
    TN_NOMEM = -5,          /* out of memory, or over a fixed limit */
    TN_NOTFOUND = -6,       /* no such key, name, peer or file */
    TN_CLOSED = -7          /* the other side is gone */
} tn_rc_t;


/* a moment on a monotonic clock whose zero means nothing, milliseconds */
typedef uint64_t  tn_ms_t;

#define TN_NEVER_MS  UINT64_MAX     /* the deadline of what waits for nothing */


/* bytes that belong to someone else; not terminated by zero */
typedef struct {
    const uint8_t  *data;
    size_t          len;
} tn_str_t;

#define tn_str(text)  { (const uint8_t *) text, sizeof(text) - 1 }


#define tn_nelems(array)    (sizeof(array) / sizeof((array)[0]))
#define tn_min(a, b)        ((a) < (b) ? (a) : (b))
#define tn_max(a, b)        ((a) > (b) ? (a) : (b))

#define tn_container(ptr, type, field)                                        \
    ((type *) ((char *) (ptr) - offsetof(type, field)))

#define tn_likely(x)    __builtin_expect(!!(x), 1)
#define tn_unlikely(x)  __builtin_expect(!!(x), 0)

#define tn_printf_like(fmt, args)  __attribute__((format(printf, fmt, args)))


/* overwrites a secret; the compiler cannot leave it out */
static inline void
tn_wipe(void *data, size_t len)
{
    explicit_bzero(data, len);
}


/* frees what malloc() gave, all of it overwritten; NULL is allowed */
void tn_wipe_free(void *p);


/* true when both are equal; the time does not depend on the contents */
static inline bool
tn_ct_equal(const void *a, const void *b, size_t len)
{
    size_t          i;
    uint8_t         diff;
    const uint8_t  *x, *y;

    x = a;
    y = b;
    diff = 0;

    for (i = 0; i < len; i++) {
        diff |= x[i] ^ y[i];
    }

    return diff == 0;
}


#endif /* TN_BASE_H_INCLUDED_ */
