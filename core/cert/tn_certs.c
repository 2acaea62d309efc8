
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Each name that control lists has a place here.  What happens to it next is
 * decided by tn_certs_tick(), which runs after whatever may have changed it:
 *
 *   order    there is no certificate, or its time to renew has come; not
 *            before the pause after a failure is over, nor while control,
 *            which publishes the record, is away
 *   look     there is one: ask the server when to renew it (ARI, RFC 9773),
 *            again as often as it says
 *
 * Names that control lists are proved by a DNS record, those of the owner's
 * own by tls-alpn-01: for that a challenge is among what workers get.
 *
 * There is one errand at a time, so never two orders of a name, and the
 * queue lets TN_CERTS_RUNNING nodes order at a time.  The time to renew is a
 * random instant in the window that the server suggests, but not in the last
 * twentieth of the lifetime; without a window two thirds of it.  What is there
 * goes on being served until the next one is on disk.
 *
 * A pause after the server said no starts with a minute, after any other
 * trouble with five seconds; both double up to six hours.
 *
 * Files: acme.<server>.json holds the account, cert.<name>.<server>.pem a
 * private key and its chain; <server> is a hash of the directory's URL, so
 * that staging and production do not mix.
 */

#include "cert/tn_certs_int.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>


#define TN_CERTS_REFUSED_MS  60000
#define TN_CERTS_AWAY_MS     5000
#define TN_CERTS_PAUSE_MAX_MS  21600000
#define TN_CERTS_LOOK_MS     3600000    /* after a look that failed */
#define TN_CERTS_TICK_MS     3600000    /* the wall clock may be set */

#define TN_CERTS_FRESH_S     3600       /* or a sixth of the lifetime */
#define TN_CERTS_LAST        20         /* of its parts, for a late window */

#define TN_CERTS_SHOW_MS     1000       /* for all workers to have it */
#define TN_CERTS_SHOW_S      3600       /* that a challenge is valid */


static void tn_certs_tick(tn_certs_t *certs);
static void tn_certs_due(void *data, tn_ms_t now);
static bool tn_certs_order_due(tn_certs_t *certs, tn_certs_name_t *name);
static void tn_certs_order(tn_certs_t *certs, tn_certs_name_t *name);
static void tn_certs_look(tn_certs_t *certs, tn_certs_name_t *name);
static void tn_certs_end(tn_certs_t *certs);
static void tn_certs_unshow(tn_certs_t *certs);
static void tn_certs_shown(void *data, tn_ms_t now);
static tn_certs_name_t *tn_certs_add(tn_certs_t *certs, const char *name,
    size_t len);

static int64_t tn_certs_acme_wall(void *data);
static tn_ms_t tn_certs_acme_now(void *data);
static void tn_certs_acme_request(void *data,
    const tn_acme_request_t *request);
static void tn_certs_acme_present(void *data, const char *name,
    const char *value);
static void tn_certs_acme_show(void *data, const char *name,
    const uint8_t hash[TN_CHAIN_HASH]);
static void tn_certs_acme_account(void *data, const char *url);
static void tn_certs_acme_done(void *data, tn_chain_t *chain);
static void tn_certs_acme_window(void *data, int64_t start, int64_t end,
    uint64_t again_ms);
static void tn_certs_acme_failed(void *data, tn_acme_why_e why,
    const char *text, uint64_t retry_ms);


static const tn_acme_ops_t  tn_certs_acme_ops = {
    .wall = tn_certs_acme_wall,
    .now = tn_certs_acme_now,
    .request = tn_certs_acme_request,
    .present = tn_certs_acme_present,
    .show = tn_certs_acme_show,
    .account = tn_certs_acme_account,
    .done = tn_certs_acme_done,
    .window = tn_certs_acme_window,
    .failed = tn_certs_acme_failed
};


tn_certs_t *
tn_certs_create(const char *directory, const tn_certs_ops_t *ops,
    void *data, tn_timers_t *timers, tn_certs_queue_t *queue, tn_log_t *log)
{
    tn_certs_t  *certs;

    certs = calloc(1, sizeof(tn_certs_t));
    if (certs == NULL) {
        return NULL;
    }

    certs->ops = ops;
    certs->data = data;
    certs->timers = timers;
    certs->queue = queue;
    certs->log = log;

    tn_list_init(&certs->waiting);
    tn_timer_init(&certs->timer, tn_certs_due, certs);
    tn_timer_init(&certs->shown, tn_certs_shown, certs);

    (void) snprintf(certs->directory, sizeof(certs->directory), "%s",
                    directory != NULL ? directory : TN_CERTS_DIRECTORY);
    tn_certs_hash(certs->directory, certs->server);

    return certs;
}


void
tn_certs_destroy(tn_certs_t *certs)
{
    size_t  i;

    if (certs == NULL) {
        return;
    }

    if (certs->acme != NULL) {
        tn_certs_end(certs);
    }

    tn_list_remove(&certs->waiting);
    tn_timer_cancel(certs->timers, &certs->timer);

    for (i = 0; i < certs->n; i++) {
        tn_chain_free(&certs->name[i].named.chain);
    }

    tn_chain_free(&certs->self.chain);
    EVP_PKEY_free(certs->account_key);
    free(certs);
}


void
tn_certs_want(tn_certs_t *certs, bool fallback)
{
    size_t  i;

    if (!certs->wanted) {
        certs->wanted = true;

        for (i = 0; i < certs->n; i++) {
            tn_certs_load(certs, &certs->name[i]);
        }
    }

    certs->fallback |= fallback;

    tn_certs_tick(certs);
}


void
tn_certs_names(tn_certs_t *certs, char *const *domains, size_t n,
    const char *own)
{
    size_t            i, len;
    tn_certs_name_t  *name;

    certs->known = true;

    len = tn_min(strlen(own), TN_CHAIN_NAME_MAX);
    len -= len != 0 && own[len - 1] == '.';
    memcpy(certs->own, own, len);
    certs->own[len] = '\0';

    for (i = 0; i < certs->n; i++) {
        certs->name[i].listed = certs->name[i].alpn;
    }

    for (i = 0; i < n; i++) {
        name = tn_certs_add(certs, domains[i], strlen(domains[i]));

        if (name != NULL) {
            name->listed = true;
        }
    }

    tn_certs_tick(certs);
}


void
tn_certs_own(tn_certs_t *certs, const char *names)
{
    size_t            len;
    tn_certs_name_t  *name;

    for ( ; *names != '\0'; names += len + (names[len] == ',')) {
        len = strcspn(names, ",");
        name = tn_certs_add(certs, names, len);

        if (name != NULL) {
            name->alpn = true;
            name->listed = true;
        }
    }
}


/* NULL: it has no place here */

static tn_certs_name_t *
tn_certs_add(tn_certs_t *certs, const char *text, size_t len)
{
    size_t            i;
    tn_certs_name_t  *name;

    /* what is no name of a host cannot be one of a certificate */

    if (len == 0 || len > TN_CHAIN_NAME_MAX || text[0] == '.'
        || strspn(text, "abcdefghijklmnopqrstuvwxyz"
                        "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.-_")
           < len)
    {
        return NULL;
    }

    for (i = 0; i < certs->n; i++) {
        name = &certs->name[i];

        if (strncasecmp(name->named.name, text, len) == 0
            && name->named.name[len] == '\0')
        {
            return name;
        }
    }

    if (certs->n == TN_CERTS_MAX) {
        tn_log(certs->log, TN_LOG_WARN, "certificates: there are more than "
               "%d names, \"%.*s\" is left out", (int) TN_CERTS_MAX,
               (int) len, text);
        return NULL;
    }

    name = &certs->name[certs->n++];

    memset(name, 0, sizeof(tn_certs_name_t));
    memcpy(name->named.name, text, len);

    if (certs->wanted) {
        tn_certs_load(certs, name);
    }

    return name;
}


void
tn_certs_online(tn_certs_t *certs, bool online)
{
    certs->online = online;

    tn_certs_tick(certs);
}


void
tn_certs_answered(tn_certs_t *certs, const tn_acme_answer_t *answer)
{
    if (certs->acme != NULL) {
        tn_acme_answered(certs->acme, answer);
    }
}


void
tn_certs_lost(tn_certs_t *certs, const char *reason)
{
    if (certs->acme != NULL) {
        tn_acme_lost(certs->acme, reason);
    }
}


void
tn_certs_presented(tn_certs_t *certs, const char *error)
{
    if (certs->acme != NULL) {
        tn_acme_presented(certs->acme, error);
    }
}


uint8_t *
tn_certs_pack(const tn_certs_t *certs, size_t *len)
{
    size_t                   i, n;
    const tn_chain_named_t  *set[TN_CHAIN_SET_MAX];

    n = 0;

    for (i = 0; i < certs->n; i++) {
        if (certs->name[i].have && certs->name[i].listed) {
            set[n++] = &certs->name[i].named;
        }
    }

    if (certs->have_self && certs->fallback) {
        set[n++] = &certs->self;
    }

    if (certs->have_challenge) {
        set[n++] = &certs->challenge;
    }

    return tn_chain_pack(set, n, len);
}


const char *
tn_certs_each(const tn_certs_t *certs, size_t i, int64_t *not_before,
    int64_t *not_after)
{
    const tn_certs_name_t  *name;

    if (i >= certs->n) {
        return NULL;
    }

    name = &certs->name[i];

    *not_before = name->have ? name->named.chain.not_before : 0;
    *not_after = name->have ? name->named.chain.not_after : 0;

    return name->named.name;
}


static void
tn_certs_due(void *data, tn_ms_t now)
{
    (void) now;

    tn_certs_tick(data);
}


static void
tn_certs_tick(tn_certs_t *certs)
{
    size_t            i, listed;
    tn_ms_t           now, next;
    int64_t           wall;
    tn_certs_name_t  *name;

    if (!certs->wanted || !certs->known) {
        return;
    }

    now = certs->ops->now(certs->data);
    wall = certs->ops->wall(certs->data);
    next = now + TN_CERTS_TICK_MS;
    listed = 0;

    for (i = 0; i < certs->n; i++) {
        listed += certs->name[i].listed;
    }

    if (listed != 0) {
        certs->told = false;

    } else if (!certs->told) {
        certs->told = true;
        tn_log(certs->log, TN_LOG_WARN, "control gives this node no "
               "certificate domains, so $tailnet_certificate is %s: switch "
               "on HTTPS certificates in the admin console (DNS); headscale "
               "has none%s", certs->fallback ? "self-signed" : "empty",
               certs->fallback ? "" : ", see tailnet_certificate_fallback");
    }

    tn_certs_self(certs);

    for (i = 0; i < certs->n && certs->acme == NULL; i++) {
        if (tn_certs_order_due(certs, &certs->name[i])) {
            tn_certs_order(certs, &certs->name[i]);
            break;
        }
    }

    for (i = 0; i < certs->n; i++) {
        name = &certs->name[i];

        if (!name->listed) {
            continue;
        }

        if (certs->acme == NULL && name->have && now >= name->look_at) {
            tn_certs_look(certs, name);
        }

        /* what is due already waits for the errand, the queue or control */

        if (name->have && name->look_at > now) {
            next = tn_min(next, name->look_at);
        }

        if (name->try_at > now) {
            next = tn_min(next, name->try_at);
        }

        if (name->have && name->renew_at > wall) {
            next = tn_min(next, now + (tn_ms_t) (name->renew_at - wall)
                                      * 1000);
        }
    }

    (void) tn_timer_set(certs->timers, &certs->timer, next);
}


static bool
tn_certs_order_due(tn_certs_t *certs, tn_certs_name_t *name)
{
    return name->listed
           && certs->online
           && certs->ops->now(certs->data) >= name->try_at
           && (!name->have
               || certs->ops->wall(certs->data) >= name->renew_at);
}


static void
tn_certs_order(tn_certs_t *certs, tn_certs_name_t *name)
{
    char            ari[TN_CHAIN_ARI_MAX];
    tn_acme_conf_t  conf;

    if (certs->queue->running >= TN_CERTS_RUNNING) {

        if (tn_list_empty(&certs->waiting)) {
            tn_list_push(&certs->queue->waiting, &certs->waiting);
        }

        return;
    }

    if (!tn_certs_account(certs)) {
        name->try_at = certs->ops->now(certs->data) + TN_CERTS_REFUSED_MS;
        return;
    }

    memset(&conf, 0, sizeof(conf));
    conf.directory = certs->directory;
    conf.account_key = certs->account_key;
    conf.account = certs->account;
    conf.domain = name->named.name;
    conf.alpn = name->alpn;

    if (name->have && tn_chain_ari(&name->named.chain, ari) == TN_OK) {
        conf.ari = ari;
    }

    certs->acme = tn_acme_create(&conf, &tn_certs_acme_ops, certs,
                                 certs->timers, certs->log);

    if (certs->acme == NULL) {
        name->try_at = certs->ops->now(certs->data) + TN_CERTS_AWAY_MS;
        return;
    }

    tn_list_remove(&certs->waiting);
    certs->queue->running++;
    certs->target = name;
    certs->ordering = true;

    tn_log(certs->log, TN_LOG_INFO, "certificate of %s: ordering%s from %s",
           name->named.name, name->have ? " the next" : "",
           certs->directory);

    tn_acme_start(certs->acme);
}


static void
tn_certs_look(tn_certs_t *certs, tn_certs_name_t *name)
{
    char            ari[TN_CHAIN_ARI_MAX];
    tn_acme_conf_t  conf;

    name->look_at = certs->ops->now(certs->data) + TN_CERTS_LOOK_MS;

    if (tn_chain_ari(&name->named.chain, ari) != TN_OK) {
        return;
    }

    memset(&conf, 0, sizeof(conf));
    conf.directory = certs->directory;
    conf.ari = ari;

    certs->acme = tn_acme_create(&conf, &tn_certs_acme_ops, certs,
                                 certs->timers, certs->log);

    if (certs->acme != NULL) {
        certs->target = name;
        certs->ordering = false;
        tn_acme_start(certs->acme);
    }
}


/* of the errand; whoever waited longest is next */

static void
tn_certs_end(tn_certs_t *certs)
{
    tn_link_t   *link;
    tn_certs_t  *other;

    certs->ops->cancel(certs->data);

    tn_certs_unshow(certs);

    tn_acme_destroy(certs->acme);
    certs->acme = NULL;
    certs->target = NULL;

    if (!certs->ordering) {
        return;
    }

    certs->ordering = false;
    certs->queue->running--;

    link = tn_list_shift(&certs->queue->waiting);

    if (link != NULL) {
        other = tn_container(link, tn_certs_t, waiting);
        (void) tn_timer_set(other->timers, &other->timer,
                            other->ops->now(other->data));
    }
}


/* nobody is to see the challenge any more */

static void
tn_certs_unshow(tn_certs_t *certs)
{
    tn_timer_cancel(certs->timers, &certs->shown);

    if (certs->have_challenge) {
        certs->have_challenge = false;
        tn_chain_free(&certs->challenge.chain);
        certs->ops->changed(certs->data);
    }
}


static void
tn_certs_shown(void *data, tn_ms_t now)
{
    tn_certs_t *certs = data;

    (void) now;

    tn_certs_presented(certs, certs->have_challenge ? NULL : "out of memory");
}


void
tn_certs_plan(tn_certs_t *certs, tn_certs_name_t *name)
{
    const tn_chain_t  *chain;

    chain = &name->named.chain;

    name->have = true;
    name->start = 0;
    name->end = 0;
    name->look_at = certs->ops->now(certs->data);
    name->renew_at = chain->not_before
                     + (chain->not_after - chain->not_before) / 3 * 2;
}


const char *
tn_certs_day(int64_t seconds, char text[32])
{
    time_t     t;
    struct tm  tm;

    t = (time_t) seconds;

    if (gmtime_r(&t, &tm) == NULL
        || strftime(text, 32, "%Y-%m-%d %H:%M UTC", &tm) == 0)
    {
        text[0] = '\0';
    }

    return text;
}


/* --- words of the errand */

static int64_t
tn_certs_acme_wall(void *data)
{
    tn_certs_t *certs = data;

    return certs->ops->wall(certs->data);
}


static tn_ms_t
tn_certs_acme_now(void *data)
{
    tn_certs_t *certs = data;

    return certs->ops->now(certs->data);
}


static void
tn_certs_acme_request(void *data, const tn_acme_request_t *request)
{
    tn_certs_t *certs = data;

    certs->ops->request(certs->data, request);
}


static void
tn_certs_acme_present(void *data, const char *name, const char *value)
{
    tn_certs_t *certs = data;

    certs->ops->present(certs->data, name, value);
}


static void
tn_certs_acme_show(void *data, const char *name,
    const uint8_t hash[TN_CHAIN_HASH])
{
    tn_certs_t *certs = data;

    tn_certs_unshow(certs);

    certs->have_challenge =
        tn_chain_challenge(&certs->challenge.chain, name,
                           certs->ops->wall(certs->data), TN_CERTS_SHOW_S,
                           hash)
        == TN_OK;

    if (certs->have_challenge) {
        certs->challenge.flags = TN_CHAIN_CHALLENGE;
        (void) snprintf(certs->challenge.name, sizeof(certs->challenge.name),
                        "%s", name);
        certs->ops->changed(certs->data);
    }

    (void) tn_timer_set(certs->timers, &certs->shown,
                        certs->ops->now(certs->data) + TN_CERTS_SHOW_MS);
}


static void
tn_certs_acme_account(void *data, const char *url)
{
    tn_certs_t *certs = data;

    (void) snprintf(certs->account, sizeof(certs->account), "%s",
                    url != NULL ? url : "");

    if (url != NULL) {
        (void) tn_certs_account_save(certs);
    }
}


static void
tn_certs_acme_done(void *data, tn_chain_t *chain)
{
    tn_certs_t *certs = data;

    char              file[TN_CERTS_FILE], day[2][32];
    tn_certs_name_t  *name;

    name = certs->target;
    tn_certs_end(certs);

    tn_chain_free(&name->named.chain);
    name->named.chain = *chain;
    name->failures = 0;

    /* a server that has new ones renewed at once may be wrong about it */

    name->try_at = certs->ops->now(certs->data)
                   + (tn_ms_t) tn_min((chain->not_after - chain->not_before)
                                      / 6, TN_CERTS_FRESH_S)
                     * 1000;
    tn_certs_plan(certs, name);

    tn_certs_file(certs, name->named.name, file);

    if (!tn_certs_save(certs, file, chain)) {
        tn_log(certs->log, TN_LOG_ERR, "certificate of %s: it cannot be "
               "saved, the next start orders another", name->named.name);
    }

    tn_log(certs->log, TN_LOG_NOTICE, "certificate of %s: issued, valid until "
           "%s, to be renewed about %s", name->named.name,
           tn_certs_day(chain->not_after, day[0]),
           tn_certs_day(name->renew_at, day[1]));

    certs->ops->changed(certs->data);
    tn_certs_tick(certs);
}


static void
tn_certs_acme_window(void *data, int64_t start, int64_t end,
    uint64_t again_ms)
{
    tn_certs_t *certs = data;

    char               day[32];
    int64_t            latest;
    uint64_t           r;
    tn_certs_name_t   *name;
    const tn_chain_t  *chain;

    name = certs->target;
    tn_certs_end(certs);

    name->look_at = certs->ops->now(certs->data) + again_ms;

    /* RFC 9773, 4.2.: one random instant for each window that is suggested */

    if (end != 0 && (start != name->start || end != name->end)) {
        name->start = start;
        name->end = end;

        randombytes_buf(&r, sizeof(r));
        name->renew_at = start + (int64_t) (r % (uint64_t) (end - start + 1));

        /* a server may err about it, and then nothing would be valid */

        chain = &name->named.chain;
        latest = chain->not_after
                 - (chain->not_after - chain->not_before) / TN_CERTS_LAST;
        name->renew_at = tn_min(name->renew_at, latest);

        tn_log(certs->log, TN_LOG_INFO, "certificate of %s: the server has it "
               "renewed about %s", name->named.name,
               tn_certs_day(name->renew_at, day));
    }

    tn_certs_tick(certs);
}


static void
tn_certs_acme_failed(void *data, tn_acme_why_e why, const char *text,
    uint64_t retry_ms)
{
    tn_certs_t *certs = data;

    char              day[32];
    uint64_t          ms;
    tn_certs_name_t  *name;

    name = certs->target;

    if (!certs->ordering) {
        tn_certs_end(certs);

        tn_log(certs->log, TN_LOG_INFO, "certificate of %s: when to renew it "
               "is not known from the server: %s", name->named.name, text);

        tn_certs_tick(certs);
        return;
    }

    tn_certs_end(certs);

    ms = why == TN_ACME_REFUSED ? TN_CERTS_REFUSED_MS : TN_CERTS_AWAY_MS;
    ms = tn_min(ms << tn_min(name->failures, 16u),
                (uint64_t) TN_CERTS_PAUSE_MAX_MS);
    ms += randombytes_uniform((uint32_t) (ms / 8));
    ms = tn_max(ms, retry_ms);

    name->failures++;
    name->try_at = certs->ops->now(certs->data) + ms;

    if (name->have) {
        tn_log(certs->log, TN_LOG_WARN, "certificate of %s: %s; the present "
               "one is valid until %s, trying again in %llu s",
               name->named.name, text,
               tn_certs_day(name->named.chain.not_after, day),
               (unsigned long long) (ms / 1000));

    } else {
        tn_log(certs->log, TN_LOG_ERR, "certificate of %s: %s; trying again "
               "in %llu s", name->named.name, text,
               (unsigned long long) (ms / 1000));
    }

    tn_certs_tick(certs);
}
