
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Host names to addresses without blocking: c-ares on the loop, /etc/hosts
 * and /etc/resolv.conf as the system has them.  One resolver per loop; used
 * by tn_conn and by who needs addresses of STUN servers.
 */

#ifndef TN_RESOLVE_H_INCLUDED_
#define TN_RESOLVE_H_INCLUDED_

#include "base/tn_addr.h"
#include "host/tn_loop.h"


#define TN_RESOLVE_MAX  16              /* addresses of one name */
#define TN_RESOLVE_TIMEOUT_MS  10000    /* when the caller gives 0 */

typedef struct tn_resolver_s  tn_resolver_t;
typedef struct tn_resolve_s   tn_resolve_t;

/*
 * `ips` in the order of preference (RFC 6724), valid during the call; n > 0
 * with TN_OK.  Else TN_NOTFOUND or TN_ERROR, and `text` says why.
 */
typedef void (*tn_resolve_pt)(void *data, tn_rc_t rc, const tn_ip_t *ips,
    size_t n, const char *text);


/* NULL when out of memory or when c-ares cannot start */
tn_resolver_t *tn_resolve_create(tn_loop_t *loop);

/* questions still open are forgotten: their callbacks are not called */
void tn_resolve_destroy(tn_resolver_t *resolver);

/*
 * Asks for both families.  An IP literal is answered without DNS.  The
 * callback is always called from the loop, never from here, at the latest
 * after timeout_ms.  Returns a handle that is valid until the callback, or
 * NULL when out of memory.
 */
tn_resolve_t *tn_resolve_start(tn_resolver_t *resolver, const char *host,
    tn_ms_t timeout_ms, tn_resolve_pt fn, void *data);

/* the callback will not be called */
void tn_resolve_cancel(tn_resolve_t *question);


/*
 * A DNS message of another's, sent to the system's servers as it is but for
 * its ID, over UDP and when that is too small over TCP.  The callback is as
 * above; `answer`, valid during the call, has the ID of the question; NULL:
 * there was none in time.
 */
#define TN_RESOLVE_RAW_MAX  4096        /* bytes of a question */

typedef struct tn_resolve_raw_s  tn_resolve_raw_t;

typedef void (*tn_resolve_raw_pt)(void *data, const uint8_t *answer,
    size_t len);

/* NULL: no query of one question, or no memory */
tn_resolve_raw_t *tn_resolve_send(tn_resolver_t *resolver,
    const uint8_t *query, size_t len, tn_ms_t timeout_ms,
    tn_resolve_raw_pt fn, void *data);

void tn_resolve_send_cancel(tn_resolve_raw_t *raw);

/*
 * How many of these there are, with those that nobody waits for any more: a
 * server that is silent has them held for longer than that.
 */
size_t tn_resolve_sent(const tn_resolver_t *resolver);


#endif /* TN_RESOLVE_H_INCLUDED_ */
