
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A copy of the netmap for the next start, which may find control away
 * (upstream: netmap caching).
 *
 * It is made some seconds after a change that matters to who may talk to whom
 * and over which relay, but at most once in ten minutes; what peers bring
 * along by themselves, endpoints and being online, waits for an hour.  A
 * clean stop makes one when the last is out of date.
 */

#include "control/tn_control_int.h"

#include "control/tn_netmap_dump.h"

#include <stdlib.h>


#define TN_CONTROL_KEEP_MS        3000      /* from a change to its copy */
#define TN_CONTROL_KEEP_MIN_MS    600000    /* between two copies */
#define TN_CONTROL_KEEP_SMALL_MS  3600000   /* for what matters little */

#define TN_CONTROL_KEEP_PARTS                                                 \
    (TN_NETMAP_SELF | TN_NETMAP_FILTER | TN_NETMAP_DERPMAP | TN_NETMAP_DNS    \
     | TN_NETMAP_USERS | TN_NETMAP_DOMAIN | TN_NETMAP_LOCK)

/* of a peer */
#define TN_CONTROL_KEEP_SMALL  (TN_NODE_ENDPOINTS | TN_NODE_ONLINE)


tn_rc_t
tn_control_restore(tn_control_t *c, const uint8_t *bytes, size_t len)
{
    int64_t               wall, saved;
    tn_rc_t               rc;
    tn_netmap_t          *netmap, *empty;
    tn_netmap_changes_t   changes;

    if (c->phase != TN_CONTROL_IDLE || c->netmap->self != NULL
        || !c->saved.registered)
    {
        return TN_REFUSED;
    }

    netmap = tn_netmap_create(c->log);
    if (netmap == NULL) {
        return TN_NOMEM;
    }

    netmap->lock = c->netmap->lock;
    wall = c->ops->wall(c->data);
    rc = tn_netmap_unpack(netmap, &c->saved.node.pub, bytes, len, wall,
                          &saved, &changes);

    if (rc == TN_OK
        && (netmap->self == NULL || !netmap->self->machine_authorized
            || netmap->self->expired
            || (netmap->self->key_expiry != 0
                && netmap->self->key_expiry <= wall)))
    {
        tn_netmap_changes_done(&changes);
        rc = TN_REFUSED;
    }

    if (rc != TN_OK) {
        tn_netmap_destroy(netmap);
        return rc;
    }

    empty = c->netmap;
    c->netmap = netmap;
    tn_netmap_destroy(empty);

    c->kept = true;
    c->kept_at = c->ops->now(c->data);

    tn_log(c->log, TN_LOG_NOTICE, "control: starting with the netmap of "
           "%lld s ago until %s answers",
           (long long) tn_max(wall - saved, 0), c->url.host);

    tn_control_enter(c);

    c->ops->netmap_changed(c->data, c->netmap, &changes);
    tn_netmap_changes_done(&changes);
    tn_control_set_state(c, TN_CONTROL_RUNNING, "");

    tn_control_leave(c);

    /* peers' keys that have expired meanwhile */
    tn_control_expiry(c, c->kept_at);

    return TN_OK;
}


void
tn_control_keep_changed(tn_control_t *c, const tn_netmap_changes_t *changes)
{
    bool      small;
    size_t    i;
    tn_ms_t   now, due;

    if (c->ops->keep_netmap == NULL || changes->what == 0) {
        return;
    }

    small = (changes->what & TN_CONTROL_KEEP_PARTS) == 0
            && changes->nremoved == 0;

    for (i = 0; small && i < changes->npeers; i++) {
        small = (changes->peers[i]->changed & ~TN_CONTROL_KEEP_SMALL) == 0;
    }

    c->stale = true;

    now = c->ops->now(c->data);
    due = now + (small ? TN_CONTROL_KEEP_SMALL_MS : TN_CONTROL_KEEP_MS);

    if (c->kept && due < c->kept_at + TN_CONTROL_KEEP_MIN_MS) {
        due = c->kept_at + TN_CONTROL_KEEP_MIN_MS;
    }

    if (!tn_timer_is_set(&c->keep_timer) || due < c->keep_timer.at) {
        tn_control_timer(c, &c->keep_timer, due - now);
    }
}


void
tn_control_keep(tn_control_t *c)
{
    size_t    len;
    tn_rc_t   rc;
    uint8_t  *bytes;

    if (!c->stale || c->ops->keep_netmap == NULL || c->netmap->self == NULL
        || !c->saved.registered)
    {
        return;
    }

    c->stale = false;
    c->kept = true;
    c->kept_at = c->ops->now(c->data);

    rc = tn_netmap_pack(c->netmap, &c->saved.node.pub,
                        c->netinfo_given ? c->netinfo.preferred_derp : 0,
                        c->ops->wall(c->data), &bytes, &len);

    if (rc != TN_OK) {
        tn_log(c->log, TN_LOG_WARN, "control: the netmap is too large to be "
               "kept for the next start");
        return;
    }

    c->ops->keep_netmap(c->data, bytes, len);
    free(bytes);
}


void
tn_control_keep_due(void *data, tn_ms_t now)
{
    (void) now;

    tn_control_keep(data);
}
