
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Between the files of the resolver.  Nobody else includes it.
 */

#ifndef TN_RESOLVE_INT_H_INCLUDED_
#define TN_RESOLVE_INT_H_INCLUDED_

#include "host/tn_resolve.h"

#include "base/tn_list.h"

/* ares_send_dnsrec(), which comes after ares_send(), is not in Debian 12 */
#define CARES_NO_DEPRECATED

#include <ares.h>
#include <time.h>


struct tn_resolver_s {
    tn_loop_t        *loop;
    ares_channel      channel;
    bool              ready;            /* there is a channel */
    struct timespec   conf;             /* resolv.conf when it was made */

    tn_timer_t        timer;            /* c-ares's own timeouts */
    tn_link_t         sockets;
    tn_link_t         questions;
    tn_link_t         raws;             /* of tn_resolve_send() */
    size_t            n_raws;
};


/* --- tn_resolve.c */

/* there is a channel, by the present resolv.conf when nobody asks; TN_ERROR */
tn_rc_t tn_resolve_channel(tn_resolver_t *resolver);

/* after each call of c-ares */
void tn_resolve_arm(tn_resolver_t *resolver);


/* --- tn_resolve_raw.c */

/* the callbacks of all are not called any more */
void tn_resolve_raws_forget(tn_resolver_t *resolver);


#endif /* TN_RESOLVE_INT_H_INCLUDED_ */
