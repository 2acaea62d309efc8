
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * From a name to a connected TCP socket: resolution, then attempts at all
 * addresses, staggered, the first to be established wins (RFC 8305).  A part
 * of tn_conn; knows no TLS and no deadline.
 */

#ifndef TN_RACE_H_INCLUDED_
#define TN_RACE_H_INCLUDED_

#include "base/tn_addr.h"
#include "host/tn_loop.h"
#include "host/tn_resolve.h"


#define TN_RACE_STAGGER_MS  250         /* RFC 8305, 5 */
#define TN_RACE_TEXT        512

typedef struct tn_race_s  tn_race_t;

/*
 * The last call, once: `fd` is the receiver's, or -1 and `text` says why;
 * `resolved` is then false when there was no address to try.
 */
typedef void (*tn_race_pt)(void *data, int fd, const tn_addr_t *addr,
    bool resolved, const char *text);

typedef struct {
    tn_watch_t       watch;             /* fd -1: not running */
    tn_addr_t        addr;
} tn_race_try_t;

struct tn_race_s {
    tn_loop_t       *loop;
    tn_resolver_t   *resolver;
    const char      *host;              /* the owner's */
    uint16_t         port;
    bool             no_v4;
    bool             no_v6;
    tn_ms_t          timeout_ms;        /* of the resolution */

    tn_race_pt       fn;
    void            *data;

    /* the rest is private */

    tn_resolve_t    *question;
    tn_timer_t       step;
    tn_race_try_t    tries[TN_RESOLVE_MAX];
    size_t           n;
    size_t           next;
    size_t           running;
    bool             given;             /* addresses were: no question */
    char             text[TN_RACE_TEXT];
};


/*
 * With the fields above "private" filled in; `ips` (n of them, may be 0) are
 * tried as they come in place of what DNS would say.  fn is never called from
 * here.  TN_OK or TN_NOMEM.
 */
tn_rc_t tn_race_start(tn_race_t *race, const tn_ip_t *ips, size_t n);

/* fn will not be called; nothing happens when the race is over */
void tn_race_stop(tn_race_t *race);

/* what it is at, in a word for a log line */
const char *tn_race_stage(const tn_race_t *race);


#endif /* TN_RACE_H_INCLUDED_ */
