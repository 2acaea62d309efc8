
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Keys that expire: peers' by their date, and our own, of which people are
 * told in time; and what else is wrong with the node's registration.
 */

#include "control/tn_control_int.h"


static void tn_control_warn_expiry(tn_control_t *c, int64_t in_s);


void
tn_control_expiry(void *data, tn_ms_t now)
{
    tn_control_t  *c;

    (void) now;

    c = data;

    tn_control_enter(c);
    tn_control_expire(c);

    if (c->polling != NULL && c->mapped) {
        tn_control_session_self(c);
    }

    tn_control_leave(c);
}


/* peers whose key expires, and when to look again */
void
tn_control_expire(tn_control_t *c)
{
    int64_t               next, wall, in_s;
    tn_netmap_changes_t   changes;

    wall = c->ops->wall(c->data);
    next = tn_netmap_expire(c->netmap, wall, &changes);

    if (changes.npeers != 0) {
        c->ops->netmap_changed(c->data, c->netmap, &changes);
    }

    tn_netmap_changes_done(&changes);

    if (!tn_control_self_expired(c, &in_s)) {
        tn_control_warn_expiry(c, in_s);

        if (in_s < next - wall) {
            next = wall + in_s;
        }
    }

    if (next == INT64_MAX) {
        tn_timer_cancel(c->timers, &c->expiry_timer);
        return;
    }

    /* looked at again within the hour, for clocks that are set */

    in_s = tn_max(next - wall, 1);
    in_s = tn_min(in_s, 3600);

    tn_control_timer(c, &c->expiry_timer, (uint64_t) in_s * 1000);
}


/* once at seven days and once at one; a key with more time starts over */
static void
tn_control_warn_expiry(tn_control_t *c, int64_t in_s)
{
    unsigned  stage;

    stage = in_s <= TN_CONTROL_WARN_LAST_S ? 2
            : in_s <= TN_CONTROL_WARN_FIRST_S ? 1 : 0;

    if (stage > c->expiry_warned) {
        tn_log(c->log, TN_LOG_WARN, "control: the node key expires in %lld "
               "%s; %s", (long long) (stage == 2 ? in_s / 3600
                                                 : in_s / 86400),
               stage == 2 ? "hours" : "days",
               c->auth_key ? "it is renewed with auth_key then, if that is "
                             "still good"
                           : "have an admin extend it or disable its expiry, "
                             "or set auth_key");
    }

    c->expiry_warned = stage;
}


/* what it takes is somebody's hand; once for each key that has expired */
void
tn_control_expired_tell(tn_control_t *c)
{
    int64_t  in_s;

    if (!tn_control_rotating(c) || c->expired_told
        || (c->netmap->self != NULL && !tn_control_self_expired(c, &in_s)))
    {
        return;
    }

    c->expired_told = true;

    tn_log(c->log, TN_LOG_ERR, "control: %s", tn_control_health(c, NULL));
}


const char *
tn_control_health(const tn_control_t *c, const char **code)
{
    int64_t      in_s;
    const char  *ignored;

    ignored = NULL;
    code = code ? code : &ignored;

    if (tn_control_rotating(c)
        && (c->netmap->self == NULL || tn_control_self_expired(c, &in_s)))
    {
        *code = "node-key-expired";

        return c->auth_key
               ? "the node key has expired and auth_key does not renew it, "
                 "this node is out of its tailnet: set auth_key to one that "
                 "is good, or visit the login URL if there is one"
               : "the node key has expired and there is no auth_key, this "
                 "node is out of its tailnet: visit the login URL or set "
                 "auth_key";
    }

    if (c->locked_out) {
        *code = "tailnet-lock-locked-out";

        return "the tailnet is locked and this node's key is not signed: "
               "others do not talk to it";
    }

    if (c->expiry_warned != 0) {
        *code = "node-key-expires";

        return c->expiry_warned == 2 ? "the node key expires within a day"
                                     : "the node key expires within a week";
    }

    *code = "";

    return NULL;
}


bool
tn_control_self_expired(const tn_control_t *c, int64_t *in_s)
{
    int64_t            control;
    tn_netmap_node_t  *self;

    *in_s = INT64_MAX;
    self = c->netmap->self;

    if (self == NULL) {
        return false;
    }

    if (self->expired) {
        return true;
    }

    if (self->key_expiry == 0) {
        return false;
    }

    control = c->ops->wall(c->data) + c->netmap->clock_offset;

    if (self->key_expiry <= control) {
        return true;
    }

    *in_s = self->key_expiry - control;

    return false;
}
