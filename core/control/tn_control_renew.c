
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node key that is to replace another, beside a map stream that goes on:
 * what goes wrong with it must not cost the stream.  Who refuses it for good
 * leaves us with the present key, if that serves; who is busy, or not to be
 * reached, is asked again later.  (What may have been taken, though the answer
 * was lost, ends the connection: see tn_control_session.c.)
 */

#include "control/tn_control_int.h"

#include <stdlib.h>


bool
tn_control_renew(tn_control_t *c)
{
    if (!c->saved.registered || tn_control_rotating(c) || c->stopping
        || c->phase == TN_CONTROL_IDLE || c->phase == TN_CONTROL_LEAVING)
    {
        return false;
    }

    tn_control_enter(c);

    if (tn_control_next_node_key(c) == TN_OK && tn_control_online(c)) {
        tn_control_session_register(c);
    }

    tn_control_leave(c);

    return true;
}


void
tn_control_renew_due(void *data, tn_ms_t now)
{
    tn_control_t  *c;

    (void) now;

    c = data;

    /* before the first map of a stream that map decides */

    if (!tn_control_rotating(c) || !tn_control_online(c)) {
        return;
    }

    tn_control_enter(c);
    tn_control_session_register(c);
    tn_control_leave(c);
}


bool
tn_control_serves(const tn_control_t *c)
{
    int64_t  in_s;

    return c->saved.registered && c->polling != NULL && !c->must_register
           && !tn_control_self_expired(c, &in_s);
}


bool
tn_control_put_off(tn_control_t *c, uint64_t in_ms, const char *why)
{
    if (!tn_control_rotating(c) || c->polling == NULL) {
        return false;
    }

    tn_log(c->log, c->put_off ? TN_LOG_INFO : TN_LOG_WARN, "control: the new "
           "node key has to wait: %s; trying again in %u.%u s", why,
           (unsigned) (in_ms / 1000), (unsigned) (in_ms % 1000 / 100));

    c->put_off = true;
    tn_control_timer(c, &c->renew_timer, in_ms);

    return true;
}


void
tn_control_untaken(tn_control_t *c)
{
    int64_t   in_s;
    uint64_t  in_ms;

    c->untaken++;

    if (c->untaken == 1 || tn_control_self_expired(c, &in_s)) {
        return;
    }

    in_ms = (uint64_t) TN_CONTROL_BACKOFF_MAX_MS << tn_min(c->untaken - 2, 7);
    in_ms = tn_min(in_ms, (uint64_t) TN_CONTROL_UNTAKEN_MS);

    (void) tn_control_put_off(c, in_ms, "control does not answer it");
}


bool
tn_control_unrenewed(tn_control_t *c, const char *why)
{
    if (!tn_control_rotating(c) || !tn_control_serves(c)) {
        return false;
    }

    tn_log(c->log, TN_LOG_ERR, "control: %s refused a new node key: %s; the "
           "present one stays", c->url.host, why);

    free(c->followup);
    c->followup = NULL;

    /* what was made for it may be what control does not like */

    tn_control_mint_drop(c);

    /* with the next key control is asked anew what is to be signed */

    free(c->old_signature);
    c->old_signature = NULL;

    tn_wipe(&c->saved.next, sizeof(c->saved.next));
    c->unsaved = true;
    c->next_sent = false;
    c->rekeyed = false;
    (void) tn_control_save(c);

    return true;
}


bool
tn_control_unmade(tn_control_t *c, bool unsaved)
{
    if (!tn_control_serves(c)) {
        return false;
    }

    tn_log(c->log, TN_LOG_ERR, "control: a new node key cannot be saved; the "
           "present one stays");

    tn_wipe(&c->saved.next, sizeof(c->saved.next));
    c->unsaved = unsaved;
    c->rekeyed = false;

    return true;
}
