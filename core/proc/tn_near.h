
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Which congestion control connections of a node's namespace get, by routes.
 * Used by the namespace's holder; acts on the caller's namespace.
 */

#ifndef TN_NEAR_H_INCLUDED_
#define TN_NEAR_H_INCLUDED_

#include "base/tn_addr.h"


#define TN_NEAR_MAX           1024  /* addresses with a route of their own */
#define TN_NEAR_FAR_SEGMENTS  32    /* of a far one's first round trip */

typedef struct {
    const char  *far;           /* NULL: what the host has */
    const char  *close;         /* NULL: no routes */
    size_t       count;
    tn_ip_t      ips[TN_NEAR_MAX];
} tn_near_t;


/* looks at what this kernel has; nobody is near */
void tn_near_init(tn_near_t *near);

/*
 * The routes of a holder before this one go on, and go when nobody is near:
 * the core need not be a new one.
 */
void tn_near_adopt(tn_near_t *near, int ifindex);

/* for the default routes: a name, or NULL for what the host has */
const char *tn_near_far(const tn_near_t *near);

/*
 * The peer with these addresses is near, or is not any more; one of them may
 * be none, and without both nobody is near.  What the kernel refuses, and
 * peers beyond TN_NEAR_MAX addresses, stay far.
 */
void tn_near_set(tn_near_t *near, int ifindex, const tn_ip_t ips[2],
    bool is_near);


#endif /* TN_NEAR_H_INCLUDED_ */
