
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A second thread helps only where one is not enough and a core is idle.
 * Both is seen in CPU times, measured over windows:
 *
 *     on        the data thread had nearly a whole core (TN_OFFLOAD_ON): it
 *               is busy, and nobody disputes its core
 *     off       both threads together would do with much less than one core
 *               (TN_OFFLOAD_OFF); what it costs to wake the other is saved
 *     starved   the helper had work but got the CPU for less than
 *               TN_OFFLOAD_STARVED of that time: there is no idle core, and
 *               the work only moves between those that share one.  It ends,
 *               and the next try comes after a time that doubles with each
 *               failure
 *
 * A change needs TN_OFFLOAD_WINDOWS windows that say the same.  The data
 * thread's load alone does not tell when to end, since the helper has taken
 * the greater part of it.
 */

#include "host/tn_offload.h"


static void tn_offload_switch(tn_offload_t *offload, uint64_t now, bool on);


bool
tn_offload_judge(tn_offload_t *offload, uint64_t now,
    const tn_offload_use_t *use)
{
    uint64_t  passed, own, helper, awake;

    passed = now - offload->window;

    if (passed < TN_OFFLOAD_WINDOW_US) {
        return offload->on;
    }

    own = use->own - offload->use.own;
    helper = use->helper - offload->use.helper;
    awake = use->awake - offload->use.awake;

    offload->window = now;
    offload->use = *use;

    if (passed >= TN_OFFLOAD_IDLE_US) {

        if (offload->on) {
            tn_offload_switch(offload, now, false);
        }

        offload->alike = 0;
        return false;
    }

    if (!offload->on) {

        if (own * 100 < passed * TN_OFFLOAD_ON || now < offload->allowed) {
            offload->alike = 0;

        } else if (++offload->alike >= TN_OFFLOAD_WINDOWS) {
            tn_offload_switch(offload, now, true);
        }

        return offload->on;
    }

    if (helper * 100 < awake * TN_OFFLOAD_STARVED && awake * 10 > passed) {

        if (++offload->starved >= TN_OFFLOAD_WINDOWS) {
            tn_offload_refuse(offload, now);
            return false;
        }

    } else {
        offload->starved = 0;
    }

    /* as long as it was worth to wait for: the next failure is the first */

    if (now - offload->since >= TN_OFFLOAD_BACKOFF_US) {
        offload->backoff = 0;
    }

    if ((own + helper) * 100 >= passed * TN_OFFLOAD_OFF) {
        offload->alike = 0;

    } else if (++offload->alike >= TN_OFFLOAD_WINDOWS) {
        tn_offload_switch(offload, now, false);
    }

    return offload->on;
}


void
tn_offload_refuse(tn_offload_t *offload, uint64_t now)
{
    offload->backoff = offload->backoff == 0
                       ? TN_OFFLOAD_BACKOFF_US
                       : tn_min(2 * offload->backoff,
                                (uint64_t) TN_OFFLOAD_BACKOFF_MAX);
    offload->allowed = now + offload->backoff;

    tn_offload_switch(offload, now, false);
}


static void
tn_offload_switch(tn_offload_t *offload, uint64_t now, bool on)
{
    offload->on = on;
    offload->since = now;
    offload->alike = 0;
    offload->starved = 0;
}
