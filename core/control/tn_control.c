
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The control client as a whole.
 *
 *     WAITING -> KEY -> DIALING -> REGISTERING -> POLLING
 *        ^        |        |            |            |
 *        +--------+--------+------------+------------+   any failure
 *
 * KEY is skipped while the server's key is known, REGISTERING while the node
 * key is (see tn_control_session.c).  An expired node key is replaced by
 * another beside the map stream.  LEAVING sends a logout and ends.
 *
 * Failures: whatever goes wrong is one line, the first one counts; all
 * connections and requests are closed and one timer starts the next attempt.
 * The delay begins at half a second, doubles to 30 s, and is drawn from its
 * upper half; a Retry-After of the server's replaces it.  It starts over
 * once a map stream has lasted 10 s.  The netmap stays as it is meanwhile,
 * and so does the RUNNING state.
 *
 * Nothing is torn down from inside a callback: functions note the failure,
 * and the outermost entry from outside acts on it as it leaves.
 */

#include "control/tn_control_int.h"

#include "crypto/tn_curve.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>


static char *tn_control_copy(const char *text, bool *failed);
static void tn_control_retry(tn_control_t *c);
static void tn_control_retry_fire(void *data, tn_ms_t now);
static void tn_control_stopped(tn_control_t *c);
static void tn_control_empty(tn_control_t *c);
static bool tn_control_leave_tailnet(tn_control_t *c);
static void tn_control_vfail(tn_control_t *c, const char *fmt, va_list args);
static bool tn_control_find(tn_control_t *c, uint32_t conn,
    tn_control_dial_e *kind);
static void tn_control_log_running(tn_control_t *c);
static bool tn_control_netinfo_equal(const tn_netinfo_t *a,
    const tn_netinfo_t *b);


tn_control_t *
tn_control_create(const tn_control_conf_t *conf, const tn_control_ops_t *ops,
    void *data, tn_timers_t *timers, tn_log_t *log)
{
    bool           failed;
    char           err[128];
    size_t         i;
    const char    *url, *reason;
    tn_control_t  *c;

    url = conf->url && *conf->url ? conf->url : TN_CONTROL_URL_DEFAULT;

    if (tn_control_check_url(url, err, sizeof(err)) != TN_OK) {
        tn_log(log, TN_LOG_ERR, "control: the URL \"%s\" cannot be used: %s",
               url, err);
        return NULL;
    }

    c = calloc(1, sizeof(tn_control_t));
    if (c == NULL) {
        return NULL;
    }

    c->ops = ops;
    c->data = data;
    c->timers = timers;
    c->log = log;

    (void) tn_url_parse(&c->url, url, &reason);

    tn_timer_init(&c->retry_timer, tn_control_retry_fire, c);
    tn_timer_init(&c->dial_timer, tn_control_dial_timeout, c);
    tn_timer_init(&c->fallback_timer, tn_control_dial_fallback, c);
    tn_timer_init(&c->watchdog_timer, tn_control_watchdog, c);
    tn_timer_init(&c->update_timer, tn_control_update, c);
    tn_timer_init(&c->alive_timer, tn_control_alive, c);
    tn_timer_init(&c->expiry_timer, tn_control_expiry, c);
    tn_timer_init(&c->renew_timer, tn_control_renew_due, c);
    tn_timer_init(&c->url_timer, tn_control_url_timeout, c);
    tn_timer_init(&c->keep_timer, tn_control_keep_due, c);
    tn_timer_init(&c->lock_timer, tn_control_lock_due, c);
    tn_timer_init(&c->mint_timer, tn_control_mint_timeout, c);

    failed = false;

    c->auth_key = conf->auth_key && *conf->auth_key
                  ? tn_control_copy(conf->auth_key, &failed) : NULL;
    c->hostname = tn_control_copy(conf->hostname, &failed);
    c->version = tn_control_copy(conf->version, &failed);
    c->os_version = tn_control_copy(conf->os_version, &failed);
    c->machine_type = tn_control_copy(conf->machine_type, &failed);
    c->distro = tn_control_copy(conf->distro, &failed);
    c->distro_version = tn_control_copy(conf->distro_version, &failed);
    c->distro_codename = tn_control_copy(conf->distro_codename, &failed);
    c->ephemeral = conf->ephemeral;
    c->shields_up = conf->shields_up;
    c->peer_relay = conf->peer_relay;
    c->tls_only = conf->tls_only;
    c->disco = conf->disco;

    c->ntags = tn_min(conf->ntags, (size_t) TN_CONTROL_TAGS_MAX);

    if (c->ntags != 0) {
        c->tags = calloc(c->ntags, sizeof(char *));

        for (i = 0; c->tags != NULL && i < c->ntags; i++) {
            c->tags[i] = tn_control_copy(conf->tags[i], &failed);
        }

        failed |= c->tags == NULL;
    }

    c->nroutes = tn_min(conf->nroutes, (size_t) TN_CONTROL_ROUTES_MAX);

    for (i = 0; i < c->nroutes; i++) {
        c->routes[i] = conf->routes[i];
    }

    c->saved = conf->saved;

    if (!tn_key_is_zero(&c->saved.machine.priv)) {
        tn_curve_public(&c->saved.machine.pub, &c->saved.machine.priv);
    }

    if (!tn_key_is_zero(&c->saved.node.priv)) {
        tn_curve_public(&c->saved.node.pub, &c->saved.node.priv);
    }

    if (tn_control_rotating(c)) {
        tn_curve_public(&c->saved.next.pub, &c->saved.next.priv);
        c->next_sent = true;
    }

    c->netmap = tn_netmap_create(log);

    if (failed || c->netmap == NULL) {
        tn_control_destroy(c);
        return NULL;
    }

    return c;
}


void
tn_control_destroy(tn_control_t *c)
{
    size_t  i;

    if (c == NULL) {
        return;
    }

    c->depth++;
    c->failed = true;
    c->phase = TN_CONTROL_IDLE;

    tn_control_teardown(c);
    tn_timer_cancel(c->timers, &c->retry_timer);
    tn_timer_cancel(c->timers, &c->expiry_timer);
    tn_timer_cancel(c->timers, &c->renew_timer);
    tn_timer_cancel(c->timers, &c->keep_timer);
    free(c->old_signature);

    for (i = 0; c->tags != NULL && i < c->ntags; i++) {
        free(c->tags[i]);
    }

    free(c->tags);
    tn_wipe_free(c->auth_key);
    free(c->hostname);
    free(c->version);
    free(c->os_version);
    free(c->machine_type);
    free(c->distro);
    free(c->distro_version);
    free(c->distro_codename);
    free(c->followup);
    free(c->popped);
    tn_netmap_destroy(c->netmap);
    tn_aums_destroy(c->chain);

    tn_wipe(c, sizeof(tn_control_t));
    free(c);
}


tn_rc_t
tn_control_check_url(const char *url, char *err, size_t size)
{
    tn_rc_t      rc;
    tn_url_t     parsed;
    const char  *reason;

    reason = "it must not have a path";
    rc = tn_url_parse(&parsed, url, &reason);

    if (rc == TN_OK && parsed.path[0] != '\0'
        && strcmp(parsed.path, "/") != 0)
    {
        rc = TN_MALFORMED;
    }

    if (rc != TN_OK && size != 0) {
        snprintf(err, size, "%s", reason);
    }

    return rc;
}


void
tn_control_start(tn_control_t *c)
{
    if (c->phase != TN_CONTROL_IDLE) {
        return;
    }

    tn_control_enter(c);

    c->phase = TN_CONTROL_WAITING;
    c->stopping = false;
    c->attempts = 0;

    if (tn_key_is_zero(&c->saved.machine.priv)) {
        tn_curve_keypair(&c->saved.machine);
        tn_control_forget(c);
    }

    /* by a netmap that was kept it runs already */

    if (c->state != TN_CONTROL_RUNNING) {
        tn_control_set_state(c, TN_CONTROL_STARTING, "");
    }

    if (tn_key_is_zero(&c->saved.node.priv)) {
        (void) tn_control_new_node_key(c);
    }

    if (tn_control_save(c) != TN_OK) {
        tn_control_fail(c, "the state cannot be saved");

    } else {
        tn_control_dial(c);
    }

    tn_control_leave(c);
}


bool
tn_control_stop(tn_control_t *c, bool leave)
{
    if (c->phase == TN_CONTROL_IDLE) {
        return false;
    }

    if (c->phase == TN_CONTROL_LEAVING) {
        return true;
    }

    if (leave && c->ephemeral && c->h2 != NULL && c->saved.registered) {
        return tn_control_leave_tailnet(c);
    }

    tn_control_enter(c);

    if (!leave || !tn_control_offer_end(c)) {
        tn_control_stopped(c);
    }

    tn_control_leave(c);

    return c->phase != TN_CONTROL_IDLE;
}


bool
tn_control_logout(tn_control_t *c)
{
    if (c->phase == TN_CONTROL_LEAVING) {
        return true;
    }

    if (c->phase != TN_CONTROL_IDLE && c->saved.registered) {
        return tn_control_leave_tailnet(c);
    }

    tn_control_enter(c);

    tn_control_forget(c);
    (void) tn_control_save(c);

    tn_control_stopped(c);
    tn_control_leave(c);

    return false;
}


void
tn_control_wake(tn_control_t *c)
{
    tn_control_enter(c);

    switch (c->phase) {

    case TN_CONTROL_WAITING:

        /* what control asked for is kept */

        if (c->retry_ms == 0) {
            c->attempts = 0;
            tn_control_timer(c, &c->retry_timer, 0);
        }

        break;

    case TN_CONTROL_REGISTERING:
    case TN_CONTROL_POLLING:

        if (c->h2 != NULL && !c->ping_sent) {
            c->ping_sent = true;
            tn_h2_ping(c->h2);
            tn_control_timer(c, &c->alive_timer, TN_CONTROL_PING_MS);
        }

        break;

    default:
        break;
    }

    tn_control_leave(c);
}


void
tn_control_connected(tn_control_t *c, uint32_t conn)
{
    tn_control_dial_e  kind;

    tn_control_enter(c);

    if (tn_control_find(c, conn, &kind)) {
        tn_control_dial_connected(c, kind);
    }

    tn_control_leave(c);
}


void
tn_control_received(tn_control_t *c, uint32_t conn, const uint8_t *bytes,
    size_t len)
{
    tn_control_dial_e  kind;

    tn_control_enter(c);

    if (conn == c->link && conn != 0) {
        tn_control_link_received(c, bytes, len);

    } else if (tn_control_find(c, conn, &kind)) {
        tn_control_dial_received(c, kind, bytes, len);
    }

    tn_control_leave(c);
}


void
tn_control_closed(tn_control_t *c, uint32_t conn, const char *reason)
{
    tn_control_dial_e  kind;

    tn_control_enter(c);

    if (reason == NULL || *reason == '\0') {
        reason = "the connection was closed";
    }

    if (conn == c->link && conn != 0) {
        c->link = 0;
        tn_control_fail(c, "lost the connection to %s%s: %s", c->url.host,
                        tn_mapstream_partial(&c->stream)
                        ? " in the middle of a message" : "", reason);

    } else if (tn_control_find(c, conn, &kind)) {
        tn_control_dial_closed(c, kind, reason);
    }

    tn_control_leave(c);
}


void
tn_control_set_endpoints(tn_control_t *c, const tn_endpoint_t *endpoints,
    size_t n)
{
    size_t  i;
    bool    same;

    n = tn_min(n, (size_t) TN_ENDPOINTS_MAX);
    same = n == c->nendpoints;

    for (i = 0; same && i < n; i++) {
        same = endpoints[i].type == c->endpoints[i].type
               && tn_addr_equal(&endpoints[i].addr, &c->endpoints[i].addr);
    }

    if (same) {
        return;
    }

    memcpy(c->endpoints, endpoints, n * sizeof(tn_endpoint_t));
    c->nendpoints = n;

    tn_control_changed(c);
}


void
tn_control_set_netinfo(tn_control_t *c, const tn_netinfo_t *netinfo)
{
    if (c->netinfo_given && tn_control_netinfo_equal(&c->netinfo, netinfo)) {
        return;
    }

    c->netinfo = *netinfo;
    c->netinfo.nlatency = tn_min(c->netinfo.nlatency,
                                 (uint32_t) TN_NETINFO_LATENCIES_MAX);

    if (!c->netinfo_given) {
        c->netinfo_given = true;

        /* it is what the first update waits for */
        tn_timer_cancel(c->timers, &c->update_timer);
    }

    tn_control_changed(c);
}


void
tn_control_set_disco(tn_control_t *c, const tn_key_t *disco)
{
    if (!tn_key_equal(&c->disco, disco)) {
        c->disco = *disco;
        tn_control_changed(c);
    }
}


void
tn_control_set_services(tn_control_t *c, const tn_control_service_t *services,
    size_t n)
{
    size_t  i;
    bool    same;

    n = tn_min(n, (size_t) TN_CONTROL_SERVICES_MAX);
    same = n == c->nservices;

    for (i = 0; same && i < n; i++) {
        same = services[i].port == c->services[i].port
               && strcmp(services[i].proto, c->services[i].proto) == 0;
    }

    if (same) {
        return;
    }

    for (i = 0; i < n; i++) {
        snprintf(c->services[i].proto, sizeof(c->services[i].proto), "%s",
                 services[i].proto);
        c->services[i].port = services[i].port;
    }

    c->nservices = n;

    tn_control_changed(c);
}


void
tn_control_set_routes(tn_control_t *c, const tn_prefix_t *routes, size_t n)
{
    size_t  i;
    bool    same;

    n = tn_min(n, (size_t) TN_CONTROL_ROUTES_MAX);
    same = n == c->nroutes;

    for (i = 0; same && i < n; i++) {
        same = tn_prefix_equal(&routes[i], &c->routes[i]);
    }

    if (same) {
        return;
    }

    memcpy(c->routes, routes, n * sizeof(tn_prefix_t));
    c->nroutes = n;

    tn_control_changed(c);
}


void
tn_control_set_ingress(tn_control_t *c, bool enabled, bool wire)
{
    if (c->ingress != enabled || c->wire_ingress != wire) {
        c->ingress = enabled;
        c->wire_ingress = wire;
        tn_control_changed(c);
    }
}


void
tn_control_set_auth_key(tn_control_t *c, const char *auth_key)
{
    char  *copy;

    if (auth_key != NULL && *auth_key == '\0') {
        auth_key = NULL;
    }

    if ((auth_key == NULL && c->auth_key == NULL)
        || (auth_key != NULL && c->auth_key != NULL
            && strcmp(auth_key, c->auth_key) == 0))
    {
        return;
    }

    copy = auth_key ? strdup(auth_key) : NULL;

    if (auth_key != NULL && copy == NULL) {
        return;
    }

    tn_wipe_free(c->auth_key);

    c->auth_key = copy;
    tn_control_mint_drop(c);

    if (copy == NULL || c->stopping
        || (c->state != TN_CONTROL_NEEDS_LOGIN && !tn_control_rotating(c)))
    {
        return;
    }

    /* it may be what is waited for */

    tn_control_enter(c);

    free(c->followup);
    c->followup = NULL;

    if (c->phase == TN_CONTROL_WAITING) {
        c->attempts = 0;
        tn_control_timer(c, &c->retry_timer, 0);

    } else if (c->phase == TN_CONTROL_REGISTERING || c->registering != NULL
               || (c->polling != NULL && tn_control_rotating(c)))
    {
        tn_timer_cancel(c->timers, &c->renew_timer);
        tn_control_call_cancel(&c->registering);
        tn_control_session_register(c);
    }

    tn_control_leave(c);
}


tn_control_state_e
tn_control_state(const tn_control_t *c, const char **text)
{
    if (text != NULL) {
        *text = c->text;
    }

    return c->state;
}


bool
tn_control_online(const tn_control_t *c)
{
    return c->polling != NULL && c->mapped;
}


const char *
tn_control_trouble(const tn_control_t *c)
{
    return tn_control_online(c) ? "" : c->trouble;
}


tn_netmap_t *
tn_control_netmap(tn_control_t *c)
{
    return c->netmap;
}


const tn_control_saved_t *
tn_control_saved(const tn_control_t *c)
{
    return &c->saved;
}


void
tn_control_enter(tn_control_t *c)
{
    c->depth++;
}


void
tn_control_leave(tn_control_t *c)
{
    if (c->depth == 1) {

        if (!c->failed && c->h2 != NULL && tn_h2_flush(c->h2) != TN_OK) {
            tn_control_fail(c, "lost the connection to %s: %s", c->url.host,
                            tn_h2_error(c->h2));
        }

        if (c->failed) {
            tn_control_retry(c);
        }
    }

    c->depth--;
}


void
tn_control_fail(tn_control_t *c, const char *fmt, ...)
{
    va_list  args;

    va_start(args, fmt);
    tn_control_vfail(c, fmt, args);
    va_end(args);
}


void
tn_control_refuse(tn_control_t *c, const char *fmt, ...)
{
    va_list  args;

    c->refused = true;

    va_start(args, fmt);
    tn_control_vfail(c, fmt, args);
    va_end(args);
}


void
tn_control_set_state(tn_control_t *c, tn_control_state_e state,
    const char *text)
{
    if (c->state == state && strcmp(c->text, text) == 0) {
        return;
    }

    if (state == TN_CONTROL_RUNNING && c->state != state) {
        tn_control_log_running(c);

    } else if (state == TN_CONTROL_NEEDS_APPROVAL && c->state != state) {
        tn_log(c->log, TN_LOG_NOTICE, "control: %s", text);
    }

    c->state = state;

    /* the text may be our own */

    if (text != c->text) {
        snprintf(c->text, sizeof(c->text), "%s", text);
    }

    c->ops->state_changed(c->data, state, c->text);
}


void
tn_control_timer(tn_control_t *c, tn_timer_t *timer, uint64_t in_ms)
{
    if (tn_timer_set(c->timers, timer, c->ops->now(c->data) + in_ms) != TN_OK)
    {
        tn_log(c->log, TN_LOG_ALERT, "control: out of memory for a timer");
    }
}


tn_rc_t
tn_control_save(tn_control_t *c)
{
    tn_rc_t  rc;

    if (!c->unsaved) {
        return TN_OK;
    }

    rc = c->ops->save(c->data, &c->saved);

    if (rc == TN_OK) {
        c->unsaved = false;
    }

    return rc;
}


tn_rc_t
tn_control_new_node_key(tn_control_t *c)
{
    tn_control_forget(c);
    tn_curve_keypair(&c->saved.node);

    if (tn_control_save(c) != TN_OK) {
        tn_control_fail(c, "a new node key cannot be saved");
        return TN_ERROR;
    }

    if (c->ops->node_key_changed != NULL) {
        c->ops->node_key_changed(c->data, &c->saved.node);
    }

    return TN_OK;
}


tn_rc_t
tn_control_next_node_key(tn_control_t *c)
{
    bool  made, unsaved;

    made = !tn_control_rotating(c);
    unsaved = c->unsaved;

    if (made) {
        tn_curve_keypair(&c->saved.next);
        c->unsaved = true;
        c->next_sent = false;
        c->untaken = 0;
        c->rekeyed = true;
    }

    if (tn_control_save(c) == TN_OK) {
        return TN_OK;
    }

    if (!made || !tn_control_unmade(c, unsaved)) {
        tn_control_fail(c, "a new node key cannot be saved");
    }

    return TN_ERROR;
}


bool
tn_control_rotating(const tn_control_t *c)
{
    return !tn_key_is_zero(&c->saved.next.priv);
}


/*
 * When this cannot be saved the next start finds both keys and asks control
 * whether it has the new one.  The data path gets the key with the next map:
 * control tells the peers at about the same time, and until then they know
 * the former one.
 */
void
tn_control_take_next(tn_control_t *c)
{
    c->saved.node = c->saved.next;
    tn_wipe(&c->saved.next, sizeof(c->saved.next));
    c->saved.registered = true;
    c->unsaved = true;
    c->next_sent = false;
    c->poll_next = false;

    (void) tn_control_save(c);

    c->stale = c->netmap->self != NULL;
    tn_control_keep(c);

    c->key_due = true;
}


void
tn_control_hand_key(tn_control_t *c)
{
    if (c->key_due && c->ops->node_key_changed != NULL) {
        c->ops->node_key_changed(c->data, &c->saved.node);
    }

    c->key_due = false;
}


void
tn_control_forget(tn_control_t *c)
{
    tn_wipe(&c->saved.node, sizeof(c->saved.node));
    tn_wipe(&c->saved.next, sizeof(c->saved.next));
    c->saved.registered = false;
    c->unsaved = true;
    c->next_sent = false;
    c->poll_next = false;
    c->rekeyed = false;
    c->key_due = false;

    tn_control_lock_forget(c);

    if (c->ops->keep_netmap != NULL) {
        c->ops->keep_netmap(c->data, NULL, 0);
    }
}


void
tn_control_changed(tn_control_t *c)
{
    c->dirty = true;

    if (c->polling != NULL && !tn_timer_is_set(&c->update_timer)) {
        tn_control_timer(c, &c->update_timer, TN_CONTROL_DEBOUNCE_MS);
    }
}


void
tn_control_teardown(tn_control_t *c)
{
    tn_control_dial_e  kind;

    tn_timer_cancel(c->timers, &c->dial_timer);
    tn_timer_cancel(c->timers, &c->fallback_timer);
    tn_timer_cancel(c->timers, &c->watchdog_timer);
    tn_timer_cancel(c->timers, &c->update_timer);
    tn_timer_cancel(c->timers, &c->alive_timer);
    tn_timer_cancel(c->timers, &c->lock_timer);
    tn_control_mint_drop(c);

    for (kind = 0; kind < TN_DIAL_NKINDS; kind++) {
        tn_control_dial_close(c, kind);
    }

    tn_control_link_close(c);
    tn_control_pings_drop(c);
    tn_mapstream_done(&c->stream);

    c->registering = NULL;
    c->polling = NULL;
    c->updating = NULL;
    c->locking = NULL;
    c->leaving = NULL;
    c->lock_seen[0] = '\0';
    c->ping_sent = false;
}


uint64_t
tn_control_retry_after(tn_control_t *c, const char *value)
{
    uint64_t  ms;

    ms = tn_http1_retry_after_ms(value, c->ops->wall(c->data));

    return ms ? ms : 5000 + tn_random_below(5000);
}


static char *
tn_control_copy(const char *text, bool *failed)
{
    char  *copy;

    copy = tn_json_copy(text, TN_NETMAP_TEXT_MAX);
    *failed |= copy == NULL;

    return copy;
}


static void
tn_control_retry(tn_control_t *c)
{
    bool      news;
    uint64_t  delay;

    if (c->phase == TN_CONTROL_IDLE || c->phase == TN_CONTROL_LEAVING
        || c->stopping)
    {
        if (c->saved.registered && c->unheard[0] == '\0') {
            memcpy(c->unheard, c->trouble, sizeof(c->unheard));
        }

        tn_control_stopped(c);
        return;
    }

    /* a stream that lasted ends the row of failures */

    if (c->mapped
        && c->ops->now(c->data) - c->mapped_at >= TN_CONTROL_GOOD_MS)
    {
        c->attempts = 0;
        c->plain_dialed_at = 0;
    }

    /* a map may come between two refusals of a key that has expired */

    if (c->mapped && c->state != TN_CONTROL_NEEDS_LOGIN) {
        c->logged[0] = '\0';
    }

    c->mapped = false;

    tn_control_hand_key(c);
    tn_control_teardown(c);

    c->phase = TN_CONTROL_WAITING;

    delay = (uint64_t) TN_CONTROL_BACKOFF_MS << tn_min(c->attempts, 6);
    delay = tn_min(delay, (uint64_t) TN_CONTROL_BACKOFF_MAX_MS);
    delay = delay / 2 + tn_random_below((uint32_t) (delay / 2));

    if (c->retry_ms != 0) {
        delay = c->retry_ms;
    }

    c->attempts++;

    /* each reason is told once, not at each attempt */

    news = strcmp(c->logged, c->trouble) != 0;

    tn_log(c->log, !news ? TN_LOG_INFO : c->refused ? TN_LOG_ERR
                                                    : TN_LOG_WARN,
           "control: %s; trying again in %u.%u s", c->trouble,
           (unsigned) (delay / 1000), (unsigned) (delay % 1000 / 100));

    memcpy(c->logged, c->trouble, sizeof(c->logged));

    c->failed = false;
    c->refused = false;

    tn_control_timer(c, &c->retry_timer, delay);
}


static void
tn_control_retry_fire(void *data, tn_ms_t now)
{
    tn_control_t  *c;

    (void) now;

    c = data;

    tn_control_enter(c);

    if (c->parting) {
        tn_control_stopped(c);

    } else if (c->phase == TN_CONTROL_LEAVING || c->stopping) {
        snprintf(c->unheard, sizeof(c->unheard), "%s did not answer",
                 c->url.host);
        tn_control_fail(c, "the logout was not answered");
        tn_log(c->log, TN_LOG_WARN, "control: the logout was not answered");
        c->phase = TN_CONTROL_IDLE;

    } else if (tn_control_save(c) != TN_OK) {
        tn_control_fail(c, "the state cannot be saved");

    } else {
        tn_control_dial(c);
    }

    tn_control_leave(c);
}


static void
tn_control_stopped(tn_control_t *c)
{
    c->failed = true;
    c->phase = TN_CONTROL_IDLE;

    tn_control_teardown(c);
    tn_timer_cancel(c->timers, &c->retry_timer);
    tn_timer_cancel(c->timers, &c->expiry_timer);
    tn_timer_cancel(c->timers, &c->renew_timer);

    tn_control_keep(c);
    tn_timer_cancel(c->timers, &c->keep_timer);

    free(c->followup);
    c->followup = NULL;

    c->failed = false;
    c->refused = false;
    c->mapped = false;
    c->stopping = false;
    c->parting = false;
    c->must_register = false;
    c->reregistered = false;

    if (tn_key_is_zero(&c->saved.node.priv)) {
        tn_control_empty(c);
    }

    tn_control_set_state(c, TN_CONTROL_STOPPED, c->unheard);
    c->unheard[0] = '\0';
}


/* without a registration there is no netmap */
static void
tn_control_empty(tn_control_t *c)
{
    tn_netmap_t          *netmap;
    tn_netmap_node_t     *node;
    tn_netmap_changes_t   changes;

    if (c->netmap->self == NULL) {
        return;
    }

    memset(&changes, 0, sizeof(changes));
    netmap = tn_netmap_create(c->log);

    if (netmap != NULL) {
        changes.removed = calloc(c->netmap->peers.count + 1,
                                 sizeof(tn_netmap_removed_t));
    }

    if (changes.removed == NULL) {
        tn_log(c->log, TN_LOG_ALERT, "control: out of memory, the netmap "
               "stays");
        tn_netmap_destroy(netmap);
        return;
    }

    for (node = tn_netmap_each(c->netmap, NULL);
         node != NULL;
         node = tn_netmap_each(c->netmap, node))
    {
        changes.removed[changes.nremoved].id = node->id;
        changes.removed[changes.nremoved++].key = node->key;
    }

    /* who has made something of a map knows it by this */

    netmap->mark = c->netmap->mark + 1;

    tn_netmap_destroy(c->netmap);
    c->netmap = netmap;
    c->stale = false;

    changes.what = TN_NETMAP_ALL;
    c->ops->netmap_changed(c->data, netmap, &changes);
    tn_netmap_changes_done(&changes);
}


static bool
tn_control_leave_tailnet(tn_control_t *c)
{
    tn_control_enter(c);

    c->stopping = true;

    if (c->h2 != NULL) {
        tn_timer_cancel(c->timers, &c->watchdog_timer);
        tn_control_session_logout(c);

    } else if (c->phase == TN_CONTROL_WAITING) {
        tn_control_dial(c);
    }

    tn_control_timer(c, &c->retry_timer, TN_CONTROL_LOGOUT_MS);
    tn_control_leave(c);

    return c->phase != TN_CONTROL_IDLE;
}


static void
tn_control_vfail(tn_control_t *c, const char *fmt, va_list args)
{
    if (c->failed) {
        return;
    }

    c->failed = true;
    vsnprintf(c->trouble, sizeof(c->trouble), fmt, args);
}


static bool
tn_control_find(tn_control_t *c, uint32_t conn, tn_control_dial_e *kind)
{
    for (*kind = 0; *kind < TN_DIAL_NKINDS; (*kind)++) {
        if (c->dial[*kind] != NULL && c->dial[*kind]->conn == conn) {
            return true;
        }
    }

    return false;
}


static void
tn_control_log_running(tn_control_t *c)
{
    char               addrs[2 * TN_ADDR_TEXT + 2], buf[TN_ADDR_TEXT];
    size_t             i, len;
    tn_netmap_node_t  *self;

    self = c->netmap->self;
    addrs[0] = '\0';
    len = 0;

    for (i = 0; i < self->naddresses && i < 2; i++) {
        len += (size_t) snprintf(addrs + len, sizeof(addrs) - len, " %s",
                                 tn_ip_text(&self->addresses[i].ip, buf));
    }

    tn_log(c->log, TN_LOG_NOTICE, "control: running as %s%s", self->name,
           addrs);
}


/* latencies change all the time and are not worth an update alone */
static bool
tn_control_netinfo_equal(const tn_netinfo_t *a, const tn_netinfo_t *b)
{
    return a->preferred_derp == b->preferred_derp
           && a->mapping_varies_by_dest_ip == b->mapping_varies_by_dest_ip
           && a->working_ipv6 == b->working_ipv6
           && a->os_has_ipv6 == b->os_has_ipv6
           && a->working_udp == b->working_udp
           && a->upnp == b->upnp
           && a->pmp == b->pmp
           && a->pcp == b->pcp
           && a->have_port_map == b->have_port_map;
}
