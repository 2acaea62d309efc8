
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What an ACME server's answers mean to an errand.
 */

#include "cert/tn_acme_int.h"

#include "cert/tn_jose.h"

#include <openssl/sha.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>


static void tn_acme_took_directory(tn_acme_t *acme, const json_t *o);
static void tn_acme_took_account(tn_acme_t *acme,
    const tn_acme_answer_t *answer);
static void tn_acme_took_order(tn_acme_t *acme,
    const tn_acme_answer_t *answer, const json_t *o);
static void tn_acme_took_authorization(tn_acme_t *acme,
    const tn_acme_answer_t *answer, const json_t *o);
static void tn_acme_took_issue(tn_acme_t *acme,
    const tn_acme_answer_t *answer, const json_t *o);
static void tn_acme_took_chain(tn_acme_t *acme,
    const tn_acme_answer_t *answer);
static void tn_acme_took_window(tn_acme_t *acme,
    const tn_acme_answer_t *answer, const json_t *o);
static void tn_acme_challenge(tn_acme_t *acme, const json_t *o);
static void tn_acme_poll(tn_acme_t *acme, const tn_acme_answer_t *answer);
static const json_t *tn_acme_reason(const json_t *o);
static bool tn_acme_url(const json_t *o, const char *name, char *url);
static const char *tn_acme_text(const json_t *o, const char *name);


const char *const  tn_acme_names[] = {
    "", "directory", "account", "order", "authorization",
    "proof", "challenge", "validation", "finalize", "issue", "download",
    "renewal info", ""
};


void
tn_acme_took(tn_acme_t *acme, const tn_acme_answer_t *answer,
    const json_t *o)
{
    acme->nonces = 0;

    switch (acme->state) {

    case TN_ACME_DIRECTORY:
        tn_acme_took_directory(acme, o);
        return;

    case TN_ACME_ACCOUNT:
        tn_acme_took_account(acme, answer);
        return;

    case TN_ACME_ORDER:
        tn_acme_took_order(acme, answer, o);
        return;

    case TN_ACME_AUTHORIZATION:
    case TN_ACME_VALIDATION:
        tn_acme_took_authorization(acme, answer, o);
        return;

    case TN_ACME_CHALLENGE:
        acme->state = TN_ACME_VALIDATION;
        acme->losses = 0;
        acme->poll_ms = TN_ACME_POLL_MS;
        tn_acme_poll(acme, answer);
        return;

    case TN_ACME_FINALIZE:
    case TN_ACME_ISSUE:
        tn_acme_took_issue(acme, answer, o);
        return;

    case TN_ACME_DOWNLOAD:
        tn_acme_took_chain(acme, answer);
        return;

    case TN_ACME_WINDOW:
        tn_acme_took_window(acme, answer, o);
        return;

    default:
        return;
    }
}


static void
tn_acme_took_directory(tn_acme_t *acme, const json_t *o)
{
    if (!acme->ordering) {

        if (!tn_acme_url(o, "renewalInfo", acme->renewal_info)
            || strlen(acme->renewal_info) + strlen(acme->ari) + 2
               > sizeof(acme->renewal_info))
        {
            acme->state = TN_ACME_ENDED;
            acme->ops->window(acme->data, 0, 0, TN_ACME_AGAIN_MAX_MS);
            return;
        }

        /* RFC 9773, 4.1.: the name is one more segment of the path */

        strcat(acme->renewal_info, "/");
        strcat(acme->renewal_info, acme->ari);

        tn_acme_go(acme, TN_ACME_WINDOW);
        return;
    }

    if (!tn_acme_url(o, "newNonce", acme->new_nonce)
        || !tn_acme_url(o, "newAccount", acme->new_account)
        || !tn_acme_url(o, "newOrder", acme->new_order))
    {
        tn_acme_fail(acme, TN_ACME_AWAY, 0, "\"%s\" is no directory of an "
                     "ACME server", acme->directory);
        return;
    }

    /* a server without RFC 9773 may mind the field it does not know */

    if (!tn_acme_url(o, "renewalInfo", acme->renewal_info)) {
        acme->replaces = false;
    }

    if (acme->account[0] != '\0') {
        tn_acme_go(acme, TN_ACME_ORDER);
        return;
    }

    if (json_is_true(json_object_get(json_object_get(o, "meta"),
                                     "externalAccountRequired")))
    {
        tn_acme_fail(acme, TN_ACME_REFUSED, 0, "the server wants an account "
                     "made elsewhere (externalAccountRequired), which is not "
                     "supported");
        return;
    }

    tn_acme_go(acme, TN_ACME_ACCOUNT);
}


static void
tn_acme_took_account(tn_acme_t *acme, const tn_acme_answer_t *answer)
{
    if (!tn_acme_is_url(answer->location)) {
        tn_acme_fail(acme, TN_ACME_AWAY, 0, "the server does not say where "
                     "the account is");
        return;
    }

    memcpy(acme->account, answer->location, strlen(answer->location) + 1);
    acme->ops->account(acme->data, acme->account);

    tn_acme_go(acme, TN_ACME_ORDER);
}


static void
tn_acme_took_order(tn_acme_t *acme, const tn_acme_answer_t *answer,
    const json_t *o)
{
    const char    *text;
    const json_t  *list, *url;

    list = json_object_get(o, "authorizations");
    url = json_array_get(list, 0);
    text = json_string_value(url);

    /* one name, one authorization */

    if (!tn_acme_is_url(answer->location)
        || json_array_size(list) != 1
        || text == NULL
        || !tn_acme_is_url(text)
        || !tn_acme_url(o, "finalize", acme->finalize))
    {
        tn_acme_fail(acme, TN_ACME_AWAY, 0, "the server's order makes no "
                     "sense");
        return;
    }

    memcpy(acme->order, answer->location, strlen(answer->location) + 1);
    memcpy(acme->authorization, text, strlen(text) + 1);

    tn_acme_go(acme, TN_ACME_AUTHORIZATION);
}


static void
tn_acme_took_authorization(tn_acme_t *acme, const tn_acme_answer_t *answer,
    const json_t *o)
{
    size_t         i;
    const char    *status, *detail;
    const json_t  *list, *reason;

    status = tn_acme_text(o, "status");

    if (strcmp(status, "valid") == 0) {
        tn_acme_go(acme, TN_ACME_FINALIZE);
        return;
    }

    if (strcmp(status, "pending") == 0) {

        if (acme->state == TN_ACME_AUTHORIZATION) {
            tn_acme_challenge(acme, o);

        } else {
            tn_acme_poll(acme, answer);
        }

        return;
    }

    /* the reason stands at the challenge */

    list = json_object_get(o, "challenges");
    detail = "";

    for (i = 0; i < tn_min(json_array_size(list), TN_ACME_LIST_MAX); i++) {
        reason = json_object_get(json_array_get(list, i), "error");

        if (reason != NULL) {
            detail = tn_acme_text(reason, "detail");
            break;
        }
    }

    tn_acme_fail(acme, TN_ACME_REFUSED, 0, "the validation failed: %s",
                 *detail ? detail : *status ? status : "no status");
}


/* what proves the name is a hash over token and account key in both kinds */

static void
tn_acme_challenge(tn_acme_t *acme, const json_t *o)
{
    char          *print, *text;
    bool           hashed;
    size_t         i;
    const char    *token, *type;
    const json_t  *list, *one;

    list = json_object_get(o, "challenges");
    type = acme->alpn ? "tls-alpn-01" : "dns-01";
    one = NULL;

    for (i = 0; i < tn_min(json_array_size(list), TN_ACME_LIST_MAX); i++) {
        one = json_array_get(list, i);

        if (strcmp(tn_acme_text(one, "type"), type) == 0) {
            break;
        }

        one = NULL;
    }

    token = tn_acme_text(one, "token");

    if (one == NULL
        || *token == '\0'
        || strlen(token) > TN_ACME_TOKEN_MAX
        || strspn(token, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
                         "0123456789-_")
           != strlen(token)
        || !tn_acme_url(one, "url", acme->challenge))
    {
        tn_acme_fail(acme, TN_ACME_AWAY, 0, "the server offers no %s", type);
        return;
    }

    text = NULL;
    print = tn_jose_thumbprint(acme->account_key);

    hashed = print != NULL && asprintf(&text, "%s.%s", token, print) != -1
             && SHA256((uint8_t *) text, strlen(text), acme->hash) != NULL;

    free(print);
    free(text);

    if (!hashed) {
        tn_acme_fail(acme, TN_ACME_AWAY, 0, "out of memory");
        return;
    }

    tn_acme_go(acme, TN_ACME_PRESENT);
}


static void
tn_acme_took_issue(tn_acme_t *acme, const tn_acme_answer_t *answer,
    const json_t *o)
{
    const char  *status, *detail;

    status = tn_acme_text(o, "status");

    if (strcmp(status, "valid") == 0) {

        if (!tn_acme_url(o, "certificate", acme->certificate)) {
            tn_acme_fail(acme, TN_ACME_AWAY, 0, "the server does not say "
                         "where the certificate is");
            return;
        }

        tn_acme_go(acme, TN_ACME_DOWNLOAD);
        return;
    }

    if (strcmp(status, "ready") == 0 && acme->state == TN_ACME_ISSUE
        && acme->finalizes < TN_ACME_FINALIZES)
    {
        acme->finalizes++;
        tn_acme_go(acme, TN_ACME_FINALIZE);
        return;
    }

    if (strcmp(status, "processing") == 0
        || strcmp(status, "pending") == 0
        || strcmp(status, "ready") == 0)
    {
        if (acme->state == TN_ACME_FINALIZE) {
            acme->state = TN_ACME_ISSUE;
            acme->losses = 0;
            acme->poll_ms = TN_ACME_POLL_MS;
        }

        tn_acme_poll(acme, answer);
        return;
    }

    detail = tn_acme_text(json_object_get(o, "error"), "detail");

    tn_acme_fail(acme, TN_ACME_REFUSED, 0, "the order failed: %s",
                 *detail ? detail : *status ? status : "no status");
}


static void
tn_acme_took_chain(tn_acme_t *acme, const tn_acme_answer_t *answer)
{
    int64_t     wall;
    tn_chain_t  chain;
    const char *why;

    if (tn_chain_parse(&chain, answer->body, answer->len, false) != TN_OK) {
        tn_acme_fail(acme, TN_ACME_AWAY, 0, "what came is no certificate");
        return;
    }

    wall = acme->ops->wall(acme->data);
    why = NULL;

    if (acme->key == NULL || !tn_chain_has_key(&chain, acme->key)) {
        why = "is for another key";

    } else if (!tn_chain_has_name(&chain, acme->domain)) {
        why = "is for another name";

    } else if (chain.not_after <= wall) {
        why = "has expired";

    } else if (chain.not_before > wall + TN_ACME_SKEW_S) {
        why = "is not valid yet";
    }

    if (why != NULL) {
        tn_chain_free(&chain);
        tn_acme_fail(acme, TN_ACME_REFUSED, 0, "the certificate that came %s",
                     why);
        return;
    }

    chain.key = acme->key;
    acme->key = NULL;
    acme->state = TN_ACME_ENDED;

    tn_timer_cancel(acme->timers, &acme->deadline);
    acme->ops->done(acme->data, &chain);
}


static void
tn_acme_took_window(tn_acme_t *acme, const tn_acme_answer_t *answer,
    const json_t *o)
{
    int64_t        start, end;
    uint64_t       again;
    const json_t  *window;

    window = json_object_get(o, "suggestedWindow");
    start = tn_acme_time(tn_acme_text(window, "start"));
    end = tn_acme_time(tn_acme_text(window, "end"));

    /* RFC 9773, 4.2.: such an answer is as good as none */

    if (start == 0 || end <= start) {
        tn_acme_fail(acme, TN_ACME_AWAY, 0, "the renewal window makes no "
                     "sense");
        return;
    }

    again = tn_acme_retry_after(answer->retry_after,
                                acme->ops->wall(acme->data));

    if (again == 0) {
        again = TN_ACME_AGAIN_MS;
    }

    again = tn_max(again, (uint64_t) TN_ACME_AGAIN_MIN_MS);
    again = tn_min(again, (uint64_t) TN_ACME_AGAIN_MAX_MS);

    acme->state = TN_ACME_ENDED;
    tn_timer_cancel(acme->timers, &acme->deadline);
    acme->ops->window(acme->data, start, end, again);
}


/* what is asked for is not decided yet */

static void
tn_acme_poll(tn_acme_t *acme, const tn_acme_answer_t *answer)
{
    uint64_t  ms;

    ms = tn_acme_retry_after(answer->retry_after,
                             acme->ops->wall(acme->data));

    if (ms == 0) {
        ms = acme->poll_ms;
        acme->poll_ms = tn_min(ms + ms / 2, (uint64_t) TN_ACME_POLL_MAX_MS);
    }

    tn_acme_wait(acme, tn_min(ms, (uint64_t) TN_ACME_WAIT_MAX_MS));
}


void
tn_acme_problem(tn_acme_t *acme, const tn_acme_answer_t *answer,
    const json_t *o)
{
    uint64_t       retry;
    const char    *type, *detail;
    const json_t  *reason;

    reason = tn_acme_reason(o);
    detail = tn_acme_text(reason, "detail");
    type = tn_acme_text(reason, "type");

    if (strncmp(type, TN_ACME_ERROR, sizeof(TN_ACME_ERROR) - 1) == 0) {
        type += sizeof(TN_ACME_ERROR) - 1;
    }

    if (strcmp(type, "badNonce") == 0 && acme->nonces < TN_ACME_NONCES) {
        acme->nonces++;
        tn_acme_send(acme);
        return;
    }

    if (strcmp(type, "accountDoesNotExist") == 0 && !acme->renewed
        && acme->state == TN_ACME_ORDER)
    {
        acme->renewed = true;
        acme->account[0] = '\0';
        acme->ops->account(acme->data, NULL);
        tn_acme_go(acme, TN_ACME_ACCOUNT);
        return;
    }

    retry = tn_acme_retry_after(answer->retry_after,
                                acme->ops->wall(acme->data));

    if (strcmp(type, "rateLimited") != 0 && answer->status != 429) {

        if (acme->state == TN_ACME_ORDER && acme->replaces
            && answer->status / 100 == 4)
        {
            /* RFC 9773, 5.: it may have been replaced, or be unknown there */

            acme->replaces = false;
            tn_acme_send(acme);
            return;
        }

        if (acme->state == TN_ACME_FINALIZE
            && strcmp(type, "orderNotReady") == 0)
        {
            /* as when the same request has arrived before */

            tn_acme_go(acme, TN_ACME_ISSUE);
            return;
        }

        if (answer->status / 100 == 5 && acme->losses < TN_ACME_LOSSES) {
            acme->losses++;

            if (acme->state == TN_ACME_ORDER && acme->losses > 1) {
                /* a server that looks for that order may stumble over it */
                acme->replaces = false;
            }

            if (retry == 0) {
                retry = (uint64_t) TN_ACME_PAUSE_MS << (acme->losses - 1);
            }

            tn_acme_wait(acme, tn_min(retry, (uint64_t) TN_ACME_WAIT_MAX_MS));
            return;
        }
    }

    tn_acme_fail(acme, answer->status / 100 == 5 ? TN_ACME_AWAY
                                                 : TN_ACME_REFUSED,
                 retry, "%s: the server answers %d%s%.64s%s%.300s",
                 tn_acme_names[acme->state], answer->status,
                 *type ? " " : "", type, *detail ? ": " : "", detail);
}


/* a subproblem (RFC 8555, 6.7.1.) says more than what it is part of */

static const json_t *
tn_acme_reason(const json_t *o)
{
    const json_t  *sub;

    sub = json_array_get(json_object_get(o, "subproblems"), 0);

    return *tn_acme_text(sub, "detail") != '\0' ? sub : o;
}


static const char *
tn_acme_text(const json_t *o, const char *name)
{
    const char  *text;

    text = json_string_value(json_object_get(o, name));

    return text != NULL ? text : "";
}


static bool
tn_acme_url(const json_t *o, const char *name, char *url)
{
    const char  *text;

    text = tn_acme_text(o, name);

    if (!tn_acme_is_url(text)) {
        return false;
    }

    memcpy(url, text, strlen(text) + 1);

    return true;
}


uint64_t
tn_acme_retry_after(const char *value, int64_t wall)
{
    char       *end;
    int64_t     seconds;
    struct tm   tm;

    if (*value == '\0') {
        return 0;
    }

    if (*value >= '0' && *value <= '9') {
        seconds = strtoll(value, &end, 10);

        if (*end != '\0') {
            return 0;
        }

    } else {
        memset(&tm, 0, sizeof(tm));
        end = strptime(value, "%a, %d %b %Y %H:%M:%S GMT", &tm);

        if (end == NULL || *end != '\0') {
            return 0;
        }

        seconds = (int64_t) timegm(&tm) - wall;
    }

    if (seconds <= 0) {
        return 0;
    }

    return tn_min((uint64_t) seconds, TN_ACME_WEEK_MS / 1000) * 1000;
}


int64_t
tn_acme_time(const char *text)
{
    int         hours, minutes;
    char       *p, sign;
    int64_t     seconds;
    struct tm   tm;

    memset(&tm, 0, sizeof(tm));

    if (strlen(text) > 64) {
        return 0;
    }

    p = strptime(text, "%Y-%m-%dT%H:%M:%S", &tm);

    if (p == NULL) {
        return 0;
    }

    if (*p == '.') {
        p++;
        p += strspn(p, "0123456789");
    }

    seconds = (int64_t) timegm(&tm);

    if (strcmp(p, "Z") != 0) {

        if (sscanf(p, "%c%2d:%2d", &sign, &hours, &minutes) != 3
            || (sign != '+' && sign != '-') || strlen(p) != 6
            || hours < 0 || hours > 23 || minutes < 0 || minutes > 59)
        {
            return 0;
        }

        seconds -= (sign == '+' ? 1 : -1) * (hours * 3600 + minutes * 60);
    }

    return seconds > 0 ? seconds : 0;
}
