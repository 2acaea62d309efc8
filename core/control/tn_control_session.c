
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What is said to control once the connection stands: register, the map
 * poll, updates, logout.
 *
 * A node key that control has accepted goes straight to the map poll:
 * headscale 0.28 takes a second registration without an auth key for a
 * logout.  We register when there is no such key, when the map request is
 * refused (control does not know the key), when the key has expired, or when
 * control asks for a new one.  The auth key goes along exactly then.
 *
 * A new node key stands beside the old one until control has accepted it:
 *
 *     node          in force; the data path works by it, expired or not
 *     node, next    both on disk before control hears of `next`
 *     node = next   control's answer: on disk, then given to the data path
 *
 * The map stream goes on meanwhile, also when `node` has expired: an admin may
 * extend it, and only the map tells.  When an answer was lost, with the
 * connection or in a crash, nobody here knows which of the two control has; a
 * map request with `next` finds out.
 *
 * The map stream is one endless response; the watchdog ends it after 120 s
 * without a message (servers send a keepalive each minute).  Changes of our
 * own endpoints and the like go out by separate requests beside it, one at a
 * time and a moment after the change, so that several become one.
 */

#include "control/tn_control_int.h"

#include <stdio.h>
#include <stdlib.h>


static tn_rc_t tn_control_call_data(tn_h2_call_t *h2, const uint8_t *bytes,
    size_t len);
static void tn_control_call_done(tn_h2_call_t *h2, const char *error);
static void tn_control_call_free(tn_control_call_t *call);
static void tn_control_registered(tn_control_t *c, tn_control_call_t *call,
    const char *error);
static void tn_control_session_go_on(tn_control_t *c, bool untaken);
static void tn_control_session_took(tn_control_t *c);
static bool tn_control_register_is_in(const json_t *o);
static void tn_control_register_answer(tn_control_t *c, const json_t *o);
static void tn_control_needs_login(tn_control_t *c, const char *text);
static void tn_control_unpoll(tn_control_t *c);
static void tn_control_logged_out(tn_control_t *c, tn_control_call_t *call,
    const char *error);
static void tn_control_poll_headers(tn_h2_call_t *h2);
static tn_rc_t tn_control_poll_data(tn_h2_call_t *h2, const uint8_t *bytes,
    size_t len);
static void tn_control_polled(tn_control_t *c, tn_control_call_t *call,
    const char *error);
static void tn_control_map_message(tn_control_t *c, const char *json,
    size_t len);
static void tn_control_map_debug(tn_control_t *c, tn_json_span_t span);
static void tn_control_updated(tn_control_t *c, tn_control_call_t *call,
    const char *error);


void
tn_control_session_start(tn_control_t *c)
{
    if (c->stopping) {
        tn_control_session_logout(c);
        return;
    }

    if (tn_control_rotating(c) && c->next_sent) {
        c->poll_next = true;
        tn_control_session_poll(c);
        return;
    }

    tn_control_session_go_on(c, false);
}


/* `untaken`: the next key was sent, and control has not got it */
static void
tn_control_session_go_on(tn_control_t *c, bool untaken)
{
    int64_t  in_s;

    c->poll_next = false;

    if (!c->saved.registered || c->must_register) {
        tn_control_session_register(c);
        return;
    }

    tn_control_session_poll(c);

    if (untaken) {
        tn_control_untaken(c);
    }

    /* whether one that had expired still has, the map will say first */

    if (tn_control_rotating(c) && !tn_control_self_expired(c, &in_s)) {
        tn_control_session_register(c);
    }
}


void
tn_control_session_register(tn_control_t *c)
{
    char  *text;

    if (c->phase == TN_CONTROL_LEAVING) {
        return;
    }

    if (c->polling == NULL) {
        c->phase = TN_CONTROL_REGISTERING;
    }

    if (c->registering != NULL
        || (c->polling != NULL && tn_timer_is_set(&c->renew_timer)))
    {
        return;
    }

    if (tn_key_is_zero(&c->saved.node.priv)
        && tn_control_new_node_key(c) != TN_OK)
    {
        return;
    }

    /* nothing may be registered that a crash now would forget */

    if (tn_control_save(c) != TN_OK) {
        tn_control_fail(c, "the state cannot be saved, so nothing is "
                        "registered");
        return;
    }

    if (tn_control_mint_due(c) && c->followup == NULL) {
        tn_control_mint(c);
        return;
    }

    text = tn_control_register_json(c, TN_REGISTER_NEW);
    c->next_sent = tn_control_rotating(c);

    c->registering = tn_control_request(c, "POST", "/machine/register",
                                        "application/json", text,
                                        tn_control_registered);

    /* with a followup the answer comes when somebody has logged in */

    tn_control_timer(c, &c->alive_timer, c->followup ? TN_CONTROL_ALIVE_MS
                                                  : TN_CONTROL_REGISTER_MS);
}


void
tn_control_session_poll(tn_control_t *c)
{
    char  *text;

    c->phase = TN_CONTROL_POLLING;
    c->mapped = false;

    if (c->registering == NULL) {
        tn_timer_cancel(c->timers, &c->alive_timer);
    }

    tn_mapstream_done(&c->stream);
    tn_mapstream_init(&c->stream, true);

    text = tn_control_map_json(c, true);

    c->polling = tn_control_request(c, "POST", "/machine/map",
                                    "application/json", text,
                                    tn_control_polled);
    if (c->polling == NULL) {
        return;
    }

    c->polling->h2.headers = tn_control_poll_headers;
    c->polling->h2.data = tn_control_poll_data;

    tn_control_timer(c, &c->watchdog_timer, TN_CONTROL_WATCHDOG_MS);
}


void
tn_control_session_logout(tn_control_t *c)
{
    char  *text;

    c->phase = TN_CONTROL_LEAVING;

    tn_control_mint_drop(c);

    text = tn_control_register_json(c, TN_REGISTER_LOGOUT);

    c->leaving = tn_control_request(c, "POST", "/machine/register",
                                    "application/json", text,
                                    tn_control_logged_out);
}


/*
 * Control has the new node key.  Where a logout is under way it named the
 * former one, so it is said once more.
 */
static void
tn_control_session_took(tn_control_t *c)
{
    tn_control_take_next(c);

    if (c->phase == TN_CONTROL_LEAVING && !c->parting) {
        tn_control_session_logout(c);
    }
}


/* the node itself as the map has it: approved, expired */
void
tn_control_session_self(tn_control_t *c)
{
    int64_t            in_s;
    tn_netmap_node_t  *self;

    self = c->netmap->self;

    /* a logout expires the key, which the map may tell before the answer */

    if (self == NULL || c->failed || c->phase == TN_CONTROL_LEAVING) {
        return;
    }

    if (tn_control_self_expired(c, &in_s)) {

        if (c->rekeyed && !tn_control_rotating(c)) {
            c->rekeyed = false;
            tn_control_refuse(c, "control says that the new node key has "
                              "expired too");
            return;
        }

        if (!tn_control_rotating(c)) {
            tn_log(c->log, TN_LOG_NOTICE, "control: the node key has "
                   "expired, registering a new one");
        }

        if (tn_control_next_node_key(c) != TN_OK) {
            return;
        }

        /* a login that was waited for without haste */

        if (c->followup != NULL) {
            tn_control_needs_login(c, c->followup);
        }

        /* with no key that serves there is nothing to wait for */

        if (c->untaken != 0) {
            c->untaken = 0;
            tn_timer_cancel(c->timers, &c->renew_timer);
        }

        tn_control_session_register(c);
        return;
    }

    c->expired_told = false;

    if (!tn_control_rotating(c)) {
        c->rekeyed = false;

    } else if (c->followup == NULL) {
        tn_control_session_register(c);
    }

    if (!self->machine_authorized) {
        tn_control_set_state(c, TN_CONTROL_NEEDS_APPROVAL,
                             "an admin of the tailnet has to approve this "
                             "machine");
        return;
    }

    tn_control_set_state(c, TN_CONTROL_RUNNING, "");
}


/* what we have to tell, in a request of its own; one that gets no answer makes
 * room for the next */
void
tn_control_update(void *data, tn_ms_t now)
{
    char          *text;
    tn_control_t  *c;

    c = data;

    if (c->polling == NULL || c->polling->h2.status != 200) {
        return;
    }

    tn_control_enter(c);

    if (c->updating != NULL && now < c->update_late) {
        tn_control_timer(c, &c->update_timer, c->update_late - now);

    } else if (c->updating != NULL) {
        tn_log(c->log, TN_LOG_INFO, "control: %s does not answer an update",
               c->url.host);

        tn_control_call_cancel(&c->updating);
        c->dirty = true;
        tn_control_timer(c, &c->update_timer, TN_CONTROL_BACKOFF_MAX_MS);

    } else if (c->dirty) {
        c->dirty = false;
        text = tn_control_map_json(c, false);

        c->updating = tn_control_request(c, "POST", "/machine/map",
                                         "application/json", text,
                                         tn_control_updated);

        c->update_late = c->ops->now(c->data) + TN_CONTROL_UPDATE_MS;
        tn_control_timer(c, &c->update_timer, TN_CONTROL_UPDATE_MS);
    }

    tn_control_leave(c);
}


void
tn_control_watchdog(void *data, tn_ms_t now)
{
    tn_control_t  *c;

    (void) now;

    c = data;

    tn_control_enter(c);
    tn_control_fail(c, "nothing heard from %s for %d s", c->url.host,
                    TN_CONTROL_WATCHDOG_MS / 1000);
    tn_control_leave(c);
}


/*
 * Three uses: a registration that gets no answer; where no answer is due for
 * as long as somebody takes to log in, or after the network changed, a PING to
 * see whether the connection lives; and to ask again after a login for which
 * control has given another URL.
 */
void
tn_control_alive(void *data, tn_ms_t now)
{
    tn_control_t  *c;

    (void) now;

    c = data;

    if (c->h2 == NULL) {
        return;
    }

    tn_control_enter(c);

    if (c->ping_sent || (c->registering != NULL && c->followup == NULL)) {
        tn_control_fail(c, "no answer from %s", c->url.host);

    } else if (c->registering == NULL && c->followup != NULL && !c->stopping) {
        tn_control_session_register(c);

    } else {
        c->ping_sent = true;
        tn_h2_ping(c->h2);
        tn_control_timer(c, &c->alive_timer, TN_CONTROL_PING_MS);
    }

    tn_control_leave(c);
}


tn_control_call_t *
tn_control_request(tn_control_t *c, const char *method, const char *path,
    const char *type, char *text, tn_control_answer_pt answer)
{
    tn_rc_t             rc;
    tn_control_call_t  *call;

    call = NULL;
    rc = TN_NOMEM;

    if (type != NULL && text == NULL) {
        goto failed;
    }

    call = calloc(1, sizeof(tn_control_call_t));
    if (call == NULL) {
        goto failed;
    }

    snprintf(call->path, sizeof(call->path), "%s", path);
    call->control = c;
    call->answer = answer;
    call->h2.method = method;
    call->h2.path = call->path;
    call->h2.content_type = type;
    call->h2.body = text;
    call->h2.body_len = text ? strlen(text) : 0;
    call->h2.data = tn_control_call_data;
    call->h2.done = tn_control_call_done;

    rc = c->h2 ? tn_h2_request(c->h2, &call->h2) : TN_CLOSED;
    if (rc == TN_OK) {
        return call;
    }

failed:

    free(call);
    tn_wipe_free(text);

    tn_control_fail(c, "%s", rc == TN_NOMEM
                             ? "out of memory"
                             : "control takes no more requests here");

    return NULL;
}


void
tn_control_call_cancel(tn_control_call_t **callp)
{
    tn_control_call_t  *call;

    call = *callp;
    *callp = NULL;

    if (call != NULL) {
        tn_h2_cancel(&call->h2);
        tn_control_call_free(call);
    }
}


static tn_rc_t
tn_control_call_data(tn_h2_call_t *h2, const uint8_t *bytes, size_t len)
{
    char               *p;
    tn_control_call_t  *call;

    call = tn_container(h2, tn_control_call_t, h2);

    if (call->text_len + len > TN_CONTROL_ANSWER_MAX) {
        return TN_REFUSED;
    }

    p = realloc(call->text, call->text_len + len + 1);
    if (p == NULL) {
        return TN_NOMEM;
    }

    memcpy(p + call->text_len, bytes, len);

    call->text = p;
    call->text_len += len;
    call->text[call->text_len] = '\0';

    return TN_OK;
}


static void
tn_control_call_done(tn_h2_call_t *h2, const char *error)
{
    tn_control_call_t  *call;

    call = tn_container(h2, tn_control_call_t, h2);

    call->answer(call->control, call, error);
    tn_control_call_free(call);
}


static void
tn_control_call_free(tn_control_call_t *call)
{
    free(call->text);
    free(call);
}


static void
tn_control_registered(tn_control_t *c, tn_control_call_t *call,
    const char *error)
{
    int             status;
    json_t         *o;
    tn_rc_t         rc;
    uint64_t        in_ms;
    tn_json_span_t  span;

    c->registering = NULL;
    c->ping_sent = false;
    tn_timer_cancel(c->timers, &c->alive_timer);

    if (c->failed) {
        return;
    }

    status = call->h2.status;
    span.data = call->text ? call->text : "";
    span.len = call->text_len;

    if (c->phase == TN_CONTROL_LEAVING) {

        /* what else it says does not matter any more */

        if (error == NULL && status == 200 && tn_control_rotating(c)
            && tn_json_load(span, &o) == TN_OK)
        {
            if (tn_control_register_is_in(o)) {
                tn_control_session_took(c);
            }

            json_decref(o);
        }

        return;
    }

    if (error != NULL) {
        tn_control_fail(c, "registering with %s failed: %s", c->url.host,
                        error);
        return;
    }

    if (status == 429 || status == 503) {
        in_ms = tn_control_retry_after(c, call->h2.retry_after);

        if (tn_control_put_off(c, in_ms, "control is busy")) {
            return;
        }

        c->retry_ms = in_ms;
        tn_control_refuse(c, "%s is busy (status %d), registering again "
                          "later", c->url.host, status);
        return;
    }

    c->put_off = false;

    if (status / 100 != 5) {
        c->untaken = 0;
    }

    if (status / 100 == 4 && tn_control_unrenewed(c,
                                               tn_control_answer_text(call)))
    {
        return;
    }

    if (status != 200) {
        free(c->followup);
        c->followup = NULL;
        tn_control_refuse(c, "%s refused the registration with status %d: "
                          "%s", c->url.host, status,
                          tn_control_answer_text(call));
        return;
    }

    rc = tn_json_load(span, &o);

    if (rc != TN_OK || !json_is_object(o)) {
        json_decref(o);
        tn_control_fail(c, "the answer of %s to the registration cannot be "
                        "read", c->url.host);
        return;
    }

    tn_control_register_answer(c, o);
    json_decref(o);
}


/* the node key is in, with nothing left for anybody to do about it */
static bool
tn_control_register_is_in(const json_t *o)
{
    return json_is_object(o) && *tn_json_text(o, "Error") == '\0'
           && *tn_json_text(o, "AuthURL") == '\0'
           && *tn_json_text(o, "NodeKeySignature") == '\0'
           && !tn_json_bool(o, "NodeKeyExpired");
}


static void
tn_control_register_answer(tn_control_t *c, const json_t *o)
{
    bool         again, news, fresh;
    char        *copy;
    const char  *error, *url;

    error = tn_json_text(o, "Error");
    url = tn_json_text(o, "AuthURL");

    if (*error != '\0') {
        tn_control_register_refused(c, error);
        return;
    }

    if (*tn_json_text(o, "NodeKeySignature") != '\0') {

        if (tn_control_rotating(c)
            && tn_control_lock_resign(c, json_object_get(o,
                                                         "NodeKeySignature")))
        {
            tn_control_session_register(c);
            return;
        }

        if (tn_control_unrenewed(c, "the tailnet is locked and wants it "
                                 "signed"))
        {
            return;
        }

        tn_control_refuse(c, "the tailnet is locked and wants this node's "
                          "key signed: sign it with \"tailscale lock sign\"");
        return;
    }

    if (tn_json_bool(o, "NodeKeyExpired")) {

        fresh = c->rekeyed;

        if (fresh && tn_control_unrenewed(c, "it has expired")) {
            return;
        }

        /* a new one that has expired, too, is replaced by yet another, which
         * waits for the next attempt when this one was made just now */

        tn_wipe(&c->saved.next, sizeof(c->saved.next));
        c->unsaved = true;

        free(c->followup);
        c->followup = NULL;

        if (tn_control_next_node_key(c) != TN_OK) {
            return;
        }

        if (fresh) {
            tn_control_refuse(c, "%s says that a new node key has expired",
                              c->url.host);
            return;
        }

        tn_log(c->log, TN_LOG_NOTICE, "control: the node key has expired, "
               "registering a new one");

        tn_control_session_register(c);
        return;
    }

    if (*url != '\0') {
        again = c->followup != NULL;
        news = !again || strcmp(c->followup, url) != 0;

        if (strlen(url) > TN_URL_PATH_MAX) {
            tn_control_fail(c, "the login URL of %s is too long",
                            c->url.host);
            return;
        }

        copy = strdup(url);
        if (copy == NULL) {
            tn_control_fail(c, "out of memory");
            return;
        }

        free(c->followup);
        c->followup = copy;

        if (c->auth_key != NULL && news) {
            tn_log(c->log, TN_LOG_NOTICE, "control: %s did not take the "
                   "auth_key for this registration", c->url.host);
        }

        if (news) {
            tn_log(c->log, TN_LOG_NOTICE, "control: to let this node into "
                   "the tailnet, visit %s", url);
        }

        tn_control_needs_login(c, url);

        /* a server that answers a followup with another URL at once must
         * not be asked without a pause */

        if (again && tn_control_serves(c)) {
            tn_control_timer(c, &c->alive_timer, TN_CONTROL_ALIVE_MS);
            return;
        }

        if (again) {
            tn_control_fail(c, "nobody has visited the login URL yet");
            return;
        }

        tn_control_session_register(c);
        return;
    }

    /* without a login pending the node key is now the permanent one */

    free(c->followup);
    c->followup = NULL;

    free(c->old_signature);
    c->old_signature = NULL;
    tn_control_mint_drop(c);

    c->expired_told = false;
    c->reregistered = c->must_register;
    c->must_register = false;

    tn_log(c->log, TN_LOG_NOTICE, "control: registered with %s%s",
           c->url.host, tn_json_bool(o, "MachineAuthorized")
           ? "" : ", an admin of the tailnet has to approve this machine");

    if (!tn_json_bool(o, "MachineAuthorized")) {
        tn_control_set_state(c, TN_CONTROL_NEEDS_APPROVAL,
                             "an admin of the tailnet has to approve this "
                             "machine");
    }

    if (tn_control_rotating(c)) {
        tn_control_take_next(c);

    } else {

        /* when this fails the key is on disk as not registered: a restart
         * would only register it again */

        c->saved.registered = true;
        c->unsaved = true;
        (void) tn_control_save(c);
    }

    tn_control_unpoll(c);
    tn_control_session_poll(c);
}


void
tn_control_register_refused(tn_control_t *c, const char *why)
{
    tn_control_mint_drop(c);

    if (tn_control_unrenewed(c, why)) {
        return;
    }

    free(c->followup);
    c->followup = NULL;

    c->next_sent = false;

    tn_control_refuse(c, "%s refused the registration: %s%s", c->url.host,
                      why, c->auth_key ? " (check auth_key)" : "");
    tn_control_needs_login(c, why);
}


static void
tn_control_needs_login(tn_control_t *c, const char *text)
{
    if (!tn_control_serves(c)) {
        tn_control_set_state(c, TN_CONTROL_NEEDS_LOGIN, text);
    }

    tn_control_expired_tell(c);
}


static void
tn_control_unpoll(tn_control_t *c)
{
    tn_control_call_cancel(&c->polling);
    tn_control_call_cancel(&c->updating);
    tn_timer_cancel(c->timers, &c->watchdog_timer);
    tn_timer_cancel(c->timers, &c->update_timer);
}


static void
tn_control_logged_out(tn_control_t *c, tn_control_call_t *call,
    const char *error)
{
    if (c->phase != TN_CONTROL_LEAVING || call != c->leaving) {
        return;
    }

    if (error == NULL && call->h2.status == 200) {
        tn_log(c->log, TN_LOG_NOTICE, "control: logged out of %s",
               c->url.host);

        tn_control_forget(c);
        (void) tn_control_save(c);

    } else {
        snprintf(c->unheard, sizeof(c->unheard), "%s",
                 error ? error : tn_control_answer_text(call));
        tn_log(c->log, TN_LOG_WARN, "control: logging out of %s failed: %s",
               c->url.host, error ? error : tn_control_answer_text(call));
    }

    c->phase = TN_CONTROL_IDLE;
    tn_control_fail(c, "stopped");
}


static void
tn_control_poll_headers(tn_h2_call_t *h2)
{
    tn_control_t  *c;

    c = tn_container(h2, tn_control_call_t, h2)->control;

    if (h2->status != 200) {
        return;
    }

    if (c->poll_next) {
        tn_log(c->log, TN_LOG_NOTICE, "control: %s has accepted the new node "
               "key", c->url.host);
        c->must_register = false;
        free(c->followup);
        c->followup = NULL;
        tn_control_session_took(c);
    }

    tn_control_timer(c, &c->watchdog_timer, TN_CONTROL_WATCHDOG_MS);

    /*
     * Newer servers take endpoints and Hostinfo only from the update.  One
     * without NetInfo would for a moment tell all peers that this node has
     * no home, which after a restart it has.
     */

    c->dirty = true;
    tn_control_timer(c, &c->update_timer,
                     c->netinfo_given ? 0 : TN_CONTROL_NETINFO_MS);
}


static tn_rc_t
tn_control_poll_data(tn_h2_call_t *h2, const uint8_t *bytes, size_t len)
{
    size_t         n;
    tn_rc_t        rc;
    const char    *json;
    tn_control_t  *c;

    c = tn_container(h2, tn_control_call_t, h2)->control;

    if (h2->status != 200) {
        return tn_control_call_data(h2, bytes, len);
    }

    while (!c->failed && c->polling != NULL && &c->polling->h2 == h2) {
        rc = tn_mapstream_read(&c->stream, &bytes, &len, &json, &n);

        if (rc == TN_AGAIN) {
            tn_mapstream_rest(&c->stream);
            return TN_OK;
        }

        if (rc != TN_OK) {
            tn_control_fail(c, "the map stream of %s broke: %s", c->url.host,
                            c->stream.error);
            return TN_OK;
        }

        tn_control_timer(c, &c->watchdog_timer, TN_CONTROL_WATCHDOG_MS);
        tn_control_map_message(c, json, n);
    }

    return TN_OK;
}


static void
tn_control_polled(tn_control_t *c, tn_control_call_t *call, const char *error)
{
    int  status;

    c->polling = NULL;

    if (c->failed || c->phase == TN_CONTROL_LEAVING) {
        return;
    }

    status = call->h2.status;

    if (status == 200 || status == 0) {
        tn_control_fail(c, "%s ended the map stream%s%s%s", c->url.host,
                        tn_mapstream_partial(&c->stream)
                        ? " in the middle of a message" : "",
                        error ? ": " : "", error ? error : "");
        return;
    }

    if (status == 429 || status == 503) {
        c->retry_ms = tn_control_retry_after(c, call->h2.retry_after);
        tn_control_refuse(c, "%s is busy (status %d), asking for the map "
                          "later", c->url.host, status);
        return;
    }

    if (status / 100 == 4 && c->poll_next) {
        c->next_sent = false;
        tn_timer_cancel(c->timers, &c->watchdog_timer);
        tn_control_session_go_on(c, true);
        return;
    }

    /* headscale says 404 and testcontrol 400 to a key it does not know */

    if (status / 100 == 4 && !c->reregistered) {
        tn_log(c->log, TN_LOG_NOTICE, "control: %s does not know this node "
               "(status %d: %s), registering it", c->url.host, status,
               tn_control_answer_text(call));

        c->must_register = true;
        tn_timer_cancel(c->timers, &c->watchdog_timer);
        tn_control_session_register(c);
        return;
    }

    c->must_register = status / 100 == 4;
    c->reregistered = false;

    tn_control_refuse(c, "%s refused the map request with status %d: %s",
                      c->url.host, status, tn_control_answer_text(call));
}


static void
tn_control_map_message(tn_control_t *c, const char *json, size_t len)
{
    bool                  fresh;
    int64_t               wall;
    tn_rc_t               rc;
    tn_map_message_t      message;
    tn_netmap_changes_t   changes;

    rc = tn_map_message_cut(&message, json, len);
    if (rc != TN_OK) {
        tn_control_fail(c, "a map message of %s is not good JSON",
                        c->url.host);
        return;
    }

    if (tn_json_span_given(message.field[TN_MAP_PING_REQUEST])) {
        tn_control_ping(c, message.field[TN_MAP_PING_REQUEST]);
    }

    if (tn_json_span_given(message.field[TN_MAP_DIAL_PLAN])) {
        tn_control_dial_plan(c, message.field[TN_MAP_DIAL_PLAN]);
    }

    if (tn_json_span_given(message.field[TN_MAP_POP_BROWSER_URL])) {
        tn_control_notice_url(c, message.field[TN_MAP_POP_BROWSER_URL]);
    }

    if (tn_json_span_given(message.field[TN_MAP_CLIENT_VERSION])) {
        tn_control_notice_version(c, message.field[TN_MAP_CLIENT_VERSION]);
    }

    wall = c->ops->wall(c->data);

    if (tn_json_span_is(message.field[TN_MAP_KEEP_ALIVE], "true")) {

        if (tn_netmap_clock(c->netmap, message.field[TN_MAP_CONTROL_TIME],
                            wall))
        {
            tn_control_expire(c);
        }

        return;
    }

    if (tn_json_span_given(message.field[TN_MAP_DEBUG])) {
        tn_control_map_debug(c, message.field[TN_MAP_DEBUG]);

        if (c->failed) {
            return;
        }
    }

    fresh = !c->mapped;

    if (fresh && !tn_json_span_given(message.field[TN_MAP_NODE])) {
        tn_control_fail(c, "the first map message of %s lacks this node",
                        c->url.host);
        return;
    }

    rc = tn_netmap_apply_message(c->netmap, &message, fresh, wall, &changes);

    if (rc != TN_OK) {
        tn_control_fail(c, "a map message of %s could not be used: %s",
                        c->url.host, rc == TN_NOMEM
                        ? "out of memory or over a limit"
                        : "it is malformed");
        return;
    }

    if (fresh) {
        c->mapped = true;
        c->mapped_at = c->ops->now(c->data);
        c->reregistered = false;
        c->trouble[0] = '\0';

        tn_log(c->log, TN_LOG_INFO, "control: map received from %s: %zu "
               "peers", c->url.host, c->netmap->peers.count);
    }

    /* the first one also says that control is there */

    if (changes.what != 0 || fresh) {
        c->ops->netmap_changed(c->data, c->netmap, &changes);
    }

    tn_control_hand_key(c);
    tn_control_keep_changed(c, &changes);

    if (changes.what & (TN_NETMAP_SELF | TN_NETMAP_LOCK)) {
        tn_control_lock_self(c);
    }

    tn_netmap_changes_done(&changes);

    tn_control_expire(c);
    tn_control_session_self(c);
    tn_control_lock_look(c);
}


static void
tn_control_map_debug(tn_control_t *c, tn_json_span_t span)
{
    double   sleep;
    json_t  *o;

    if (tn_json_load(span, &o) != TN_OK) {
        return;
    }

    if (json_is_boolean(json_object_get(o, "DisableLogTail"))) {
        c->netmap->logtail_off = tn_json_bool(o, "DisableLogTail");
    }

    if (json_is_integer(json_object_get(o, "Exit"))) {
        tn_log(c->log, TN_LOG_WARN, "control: %s asks this program to exit; "
               "it does not", c->url.host);
    }

    sleep = json_number_value(json_object_get(o, "SleepSeconds"));

    if (sleep > 0) {
        c->retry_ms = sleep * 1000 < TN_CONTROL_SLEEP_MAX_MS
                      ? (uint64_t) (sleep * 1000) : TN_CONTROL_SLEEP_MAX_MS;
        c->retry_ms = tn_max(c->retry_ms, 1);
        tn_control_refuse(c, "%s asks us to stay away for a while",
                          c->url.host);
    }

    json_decref(o);
}


static void
tn_control_updated(tn_control_t *c, tn_control_call_t *call,
    const char *error)
{
    c->updating = NULL;

    if (c->failed) {
        return;
    }

    if (error == NULL && call->h2.status == 200) {

        if (c->dirty) {
            tn_control_timer(c, &c->update_timer, TN_CONTROL_DEBOUNCE_MS);
        } else {
            tn_timer_cancel(c->timers, &c->update_timer);
        }

        return;
    }

    tn_log(c->log, TN_LOG_INFO, "control: %s refused an update: %s",
           c->url.host, error ? error : tn_control_answer_text(call));

    c->dirty = true;
    tn_control_timer(c, &c->update_timer,
                     call->h2.status == 429 || call->h2.status == 503
                     ? tn_control_retry_after(c, call->h2.retry_after)
                     : TN_CONTROL_BACKOFF_MAX_MS);
}


/* the server's words, one line's worth */
const char *
tn_control_answer_text(tn_control_call_t *call)
{
    size_t  n;

    if (call->text == NULL) {
        return "no reason given";
    }

    n = strcspn(call->text, "\r\n");
    call->text[tn_min(n, (size_t) 200)] = '\0';

    return call->text;
}
