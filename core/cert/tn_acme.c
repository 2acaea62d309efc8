
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * An order goes through
 *
 *   directory     what the server's URLs are
 *   account       made, or found by its key, when its URL is not known
 *   order         for one name, naming the certificate it replaces
 *   authorization fetched; valid already: go on
 *   present       the TXT record _acme-challenge.<name> is published, or
 *                 handshakes for "acme-tls/1" show the hash (tls-alpn-01)
 *   challenge     the server is told to look
 *   validation    the authorization is asked for until it is decided
 *   finalize      a new key's certificate request
 *   issue         the order is asked for until it is decided
 *   download      the chain, checked against name, key and clock
 *
 * and a look for the window through directory and window.  A nonce is asked
 * for where no answer has brought one.
 *
 * What is sent again, each with a limit: a request whose nonce was refused,
 * at once; one that had no answer or one of the 500s, after a pause; an order
 * whose account the server has forgotten, after a new account; one whose
 * `replaces` it does not like, or twice fails over, without.  A request that
 * is repeated is signed anew, its meaning does not change by that: another
 * order of the same name costs nothing, and a finalize that arrived before is
 * seen by the order's state.  Everything the server sends is checked for its
 * type, its size and, where it is a URL, for https.
 */

#include "cert/tn_acme_int.h"

#include "cert/tn_jose.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>


static void tn_acme_pause(void *data, tn_ms_t now);
static void tn_acme_late(void *data, tn_ms_t now);
static void tn_acme_present(tn_acme_t *acme);
static char *tn_acme_payload(tn_acme_t *acme, const char **url);
static char *tn_acme_payload_csr(tn_acme_t *acme);


tn_acme_t *
tn_acme_create(const tn_acme_conf_t *conf, const tn_acme_ops_t *ops,
    void *data, tn_timers_t *timers, tn_log_t *log)
{
    tn_acme_t  *acme;

    acme = calloc(1, sizeof(tn_acme_t));
    if (acme == NULL) {
        return NULL;
    }

    acme->ops = ops;
    acme->data = data;
    acme->timers = timers;
    acme->log = log;
    acme->account_key = conf->account_key;

    tn_timer_init(&acme->timer, tn_acme_pause, acme);
    tn_timer_init(&acme->deadline, tn_acme_late, acme);

    (void) snprintf(acme->directory, sizeof(acme->directory), "%s",
                    conf->directory);

    if (conf->account != NULL && tn_acme_is_url(conf->account)) {
        (void) snprintf(acme->account, sizeof(acme->account), "%s",
                        conf->account);
    }

    if (conf->ari != NULL) {
        (void) snprintf(acme->ari, sizeof(acme->ari), "%s", conf->ari);
        acme->replaces = true;
    }

    if (conf->domain != NULL) {
        (void) snprintf(acme->domain, sizeof(acme->domain), "%s",
                        conf->domain);
        acme->ordering = true;
        acme->alpn = conf->alpn;
    }

    return acme;
}


void
tn_acme_destroy(tn_acme_t *acme)
{
    if (acme == NULL) {
        return;
    }

    tn_timer_cancel(acme->timers, &acme->timer);
    tn_timer_cancel(acme->timers, &acme->deadline);
    EVP_PKEY_free(acme->key);
    tn_wipe(acme, sizeof(tn_acme_t));
    free(acme);
}


void
tn_acme_start(tn_acme_t *acme)
{
    if (tn_timer_set(acme->timers, &acme->deadline,
                     acme->ops->now(acme->data) + TN_ACME_DEADLINE_MS)
        != TN_OK)
    {
        tn_acme_fail(acme, TN_ACME_AWAY, 0, "out of memory");
        return;
    }

    tn_acme_go(acme, TN_ACME_DIRECTORY);
}


void
tn_acme_go(tn_acme_t *acme, tn_acme_state_e state)
{
    if (state != acme->state) {
        acme->state = state;
        acme->losses = 0;
        acme->poll_ms = TN_ACME_POLL_MS;
    }

    tn_acme_send(acme);
}


void
tn_acme_send(tn_acme_t *acme)
{
    char               *payload, *body;
    const char         *url;
    tn_acme_request_t   request;

    memset(&request, 0, sizeof(request));
    acme->nonce_only = false;
    body = NULL;

    switch (acme->state) {

    case TN_ACME_DIRECTORY:
        request.method = "GET";
        request.url = acme->directory;
        break;

    case TN_ACME_WINDOW:
        request.method = "GET";
        request.url = acme->renewal_info;
        break;

    case TN_ACME_PRESENT:
        tn_acme_present(acme);
        return;

    default:

        if (acme->nonce[0] == '\0') {

            acme->nonce_only = true;
            request.method = "HEAD";
            request.url = acme->new_nonce;
            break;
        }

        payload = tn_acme_payload(acme, &url);

        if (payload != NULL) {
            body = tn_jose_sign(acme->account_key,
                                acme->state != TN_ACME_ACCOUNT ? acme->account
                                                               : NULL,
                                acme->nonce, url, payload);
        }

        free(payload);

        if (body == NULL) {
            tn_acme_fail(acme, TN_ACME_AWAY, 0, "out of memory");
            return;
        }

        /* RFC 8555, 6.5.: each is good for one request */

        acme->nonce[0] = '\0';

        request.method = "POST";
        request.url = url;
        request.body = body;
        request.len = strlen(body);
    }

    acme->waiting = true;
    acme->ops->request(acme->data, &request);
    free(body);
}


static void
tn_acme_present(tn_acme_t *acme)
{
    char  *name, *value;

    acme->waiting = true;

    if (acme->alpn) {
        acme->ops->show(acme->data, acme->domain, acme->hash);
        return;
    }

    /* RFC 8555, 8.4. */

    value = tn_jose_base64(acme->hash, sizeof(acme->hash));

    if (value == NULL
        || asprintf(&name, "_acme-challenge.%s", acme->domain) == -1)
    {
        free(value);
        tn_acme_fail(acme, TN_ACME_AWAY, 0, "out of memory");
        return;
    }

    acme->ops->present(acme->data, name, value);

    free(name);
    free(value);
}


void
tn_acme_wait(tn_acme_t *acme, uint64_t ms)
{
    if (tn_timer_set(acme->timers, &acme->timer,
                     acme->ops->now(acme->data) + ms)
        != TN_OK)
    {
        tn_acme_fail(acme, TN_ACME_AWAY, 0, "out of memory");
    }
}


static void
tn_acme_pause(void *data, tn_ms_t now)
{
    (void) now;

    tn_acme_send(data);
}


static void
tn_acme_late(void *data, tn_ms_t now)
{
    tn_acme_t *acme = data;

    (void) now;

    tn_acme_fail(acme, TN_ACME_AWAY, 0, "not done in %d minutes, %s was the "
                 "last step", TN_ACME_DEADLINE_MS / 60000,
                 tn_acme_names[acme->state]);
}


/* what is to be signed, and where it goes */

static char *
tn_acme_payload(tn_acme_t *acme, const char **url)
{
    char    *text;
    json_t  *o;

    switch (acme->state) {

    case TN_ACME_ACCOUNT:
        *url = acme->new_account;
        o = json_pack("{s:b}", "termsOfServiceAgreed", 1);
        break;

    case TN_ACME_ORDER:
        *url = acme->new_order;
        o = json_pack("{s:[{s:s, s:s}]}", "identifiers", "type", "dns",
                      "value", acme->domain);

        if (acme->replaces) {
            json_object_set_new(o, "replaces", json_string(acme->ari));
        }

        break;

    case TN_ACME_CHALLENGE:
        *url = acme->challenge;
        o = json_object();
        break;

    case TN_ACME_FINALIZE:
        *url = acme->finalize;
        return tn_acme_payload_csr(acme);

    case TN_ACME_AUTHORIZATION:
    case TN_ACME_VALIDATION:
        *url = acme->authorization;
        return strdup("");

    case TN_ACME_ISSUE:
        *url = acme->order;
        return strdup("");

    default:
        *url = acme->certificate;
        return strdup("");
    }

    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);

    return text;
}


static char *
tn_acme_payload_csr(tn_acme_t *acme)
{
    char     *csr, *text;
    json_t   *o;
    size_t    len;
    uint8_t  *der;

    if (acme->key == NULL) {
        acme->key = tn_jose_key_create();
    }

    der = acme->key ? tn_chain_request(acme->key, acme->domain, &len) : NULL;
    csr = der ? tn_jose_base64(der, len) : NULL;

    o = json_pack("{s:s}", "csr", csr ? csr : "");
    text = csr ? json_dumps(o, JSON_COMPACT) : NULL;

    json_decref(o);
    free(csr);
    free(der);

    return text;
}


void
tn_acme_answered(tn_acme_t *acme, const tn_acme_answer_t *answer)
{
    json_t  *o;

    if (!acme->waiting || acme->state == TN_ACME_PRESENT) {
        return;
    }

    acme->waiting = false;

    if (strlen(answer->nonce) < sizeof(acme->nonce)) {
        memcpy(acme->nonce, answer->nonce, strlen(answer->nonce) + 1);
    }

    if (answer->len > TN_ACME_BODY_MAX) {
        tn_acme_fail(acme, TN_ACME_AWAY, 0, "%s: the answer is too large",
                     tn_acme_names[acme->state]);
        return;
    }

    if (answer->status / 100 == 2 && acme->nonce_only) {

        if (acme->nonce[0] == '\0') {
            tn_acme_fail(acme, TN_ACME_AWAY, 0, "%s: the server gives no "
                         "nonce", tn_acme_names[acme->state]);
            return;
        }

        tn_acme_send(acme);
        return;
    }

    o = answer->len != 0
        ? json_loadb(answer->body, answer->len, JSON_REJECT_DUPLICATES, NULL)
        : NULL;

    if (answer->status / 100 == 2) {
        tn_acme_took(acme, answer, o);

    } else {
        tn_acme_problem(acme, answer, o);
    }

    json_decref(o);
}


void
tn_acme_lost(tn_acme_t *acme, const char *reason)
{
    if (!acme->waiting || acme->state == TN_ACME_PRESENT) {
        return;
    }

    acme->waiting = false;

    if (acme->losses >= TN_ACME_LOSSES) {
        tn_acme_fail(acme, TN_ACME_AWAY, 0, "%s: %s",
                     tn_acme_names[acme->state], reason);
        return;
    }

    acme->losses++;
    tn_acme_wait(acme, (uint64_t) TN_ACME_PAUSE_MS << (acme->losses - 1));
}


void
tn_acme_presented(tn_acme_t *acme, const char *error)
{
    if (!acme->waiting || acme->state != TN_ACME_PRESENT) {
        return;
    }

    acme->waiting = false;

    if (error != NULL) {
        tn_acme_fail(acme, TN_ACME_AWAY, 0, acme->alpn
                     ? "the proof of the name cannot be shown: %s"
                     : "control does not publish the DNS record: %s", error);
        return;
    }

    tn_acme_go(acme, TN_ACME_CHALLENGE);
}


bool
tn_acme_is_url(const char *text)
{
    size_t  i;

    /* RFC 8555, 6.1. */

    if (strncmp(text, "https://", 8) != 0 || text[8] == '\0'
        || strlen(text) >= TN_ACME_URL_MAX)
    {
        return false;
    }

    for (i = 0; text[i] != '\0'; i++) {
        if (text[i] <= ' ' || text[i] >= 0x7f) {
            return false;
        }
    }

    return true;
}


void
tn_acme_fail(tn_acme_t *acme, tn_acme_why_e why, uint64_t retry_ms,
    const char *fmt, ...)
{
    char     text[TN_ACME_TEXT];
    va_list  args;

    if (acme->state == TN_ACME_ENDED) {
        return;
    }

    va_start(args, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    acme->state = TN_ACME_ENDED;
    acme->waiting = false;

    tn_timer_cancel(acme->timers, &acme->timer);
    tn_timer_cancel(acme->timers, &acme->deadline);

    acme->ops->failed(acme->data, why, text, retry_ms);
}
