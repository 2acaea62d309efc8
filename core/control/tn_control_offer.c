
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What control is told that others may reach by way of this node: routes and
 * services.  Before a node ends for good they are taken back by an update of
 * their own, so that control sends nobody here any more, and those who can do
 * the same elsewhere are asked at once.
 */

#include "control/tn_control_int.h"

#include <stdio.h>


/* for control to take the last update */
#define TN_CONTROL_PART_MS  2000


static void tn_control_parted(tn_control_t *c, tn_control_call_t *call,
    const char *error);


void
tn_control_set_services_hash(tn_control_t *c, const char *hash)
{
    if (strcmp(c->services_hash, hash) != 0) {
        (void) snprintf(c->services_hash, sizeof(c->services_hash), "%s",
                        hash);
        tn_control_changed(c);
    }
}


bool
tn_control_is_told(const tn_control_t *c)
{
    return c->polling == NULL || (!c->dirty && c->updating == NULL);
}


bool
tn_control_offer_end(tn_control_t *c)
{
    if ((c->nroutes == 0 && c->services_hash[0] == '\0')
        || c->polling == NULL || c->polling->h2.status != 200)
    {
        return false;
    }

    c->nroutes = 0;
    c->services_hash[0] = '\0';

    c->stopping = true;
    c->parting = true;
    c->phase = TN_CONTROL_LEAVING;

    tn_timer_cancel(c->timers, &c->watchdog_timer);
    tn_timer_cancel(c->timers, &c->update_timer);
    tn_control_call_cancel(&c->updating);
    tn_control_mint_drop(c);

    if (tn_control_request(c, "POST", "/machine/map", "application/json",
                           tn_control_map_json(c, false), tn_control_parted)
        == NULL)
    {
        return false;
    }

    tn_control_timer(c, &c->retry_timer, TN_CONTROL_PART_MS);

    return true;
}


static void
tn_control_parted(tn_control_t *c, tn_control_call_t *call,
    const char *error)
{
    if (!c->parting) {
        return;
    }

    if (error == NULL && call->h2.status == 200) {
        tn_log(c->log, TN_LOG_NOTICE, "control: routes and services are "
               "withdrawn");
    }

    c->phase = TN_CONTROL_IDLE;
    tn_control_fail(c, "stopped");
}
