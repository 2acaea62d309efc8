
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzz target: an ACME server's answers to an order and to a look for the
 * renewal window; chains as PEM and as packed for workers.
 */

#include "cert/tn_acme.h"
#include "cert/tn_jose.h"

#include <stdlib.h>


typedef struct {
    tn_acme_t  *acme;
    bool        asked;
    bool        presenting;
    bool        over;
} errand_t;


static tn_ms_t  now;


static int64_t
errand_wall(void *data)
{
    (void) data;
    return 1800000000 + (int64_t) now / 1000;
}

static tn_ms_t
errand_now(void *data)
{
    (void) data;
    return now;
}

static void
errand_request(void *data, const tn_acme_request_t *request)
{
    errand_t *e = data;

    if (strncmp(request->url, "https://", 8) != 0
        || (request->len != 0) != (strcmp(request->method, "POST") == 0))
    {
        abort();
    }

    e->asked = true;
}

static void
errand_present(void *data, const char *name, const char *value)
{
    errand_t *e = data;

    if (strcmp(name, "_acme-challenge.web.test") != 0 || strlen(value) != 43) {
        abort();
    }

    e->presenting = true;
}

static void
errand_show(void *data, const char *name, const uint8_t hash[TN_CHAIN_HASH])
{
    errand_t *e = data;

    (void) hash;

    if (strcmp(name, "web.test") != 0) {
        abort();
    }

    e->presenting = true;
}

static void
errand_account(void *data, const char *url)
{
    (void) data;
    (void) url;
}

static void
errand_done(void *data, tn_chain_t *chain)
{
    errand_t *e = data;

    e->over = true;
    tn_chain_free(chain);
}

static void
errand_window(void *data, int64_t start, int64_t end, uint64_t again_ms)
{
    errand_t *e = data;

    if (end < start || (end != 0 && end == start) || again_ms < 60000) {
        abort();
    }

    e->over = true;
}

static void
errand_failed(void *data, tn_acme_why_e why, const char *text,
    uint64_t retry_ms)
{
    errand_t *e = data;

    (void) why;

    if (*text == '\0' || retry_ms > 604800000) {
        abort();
    }

    e->over = true;
}

static const tn_acme_ops_t  ops = {
    errand_wall, errand_now, errand_request, errand_present, errand_show,
    errand_account, errand_done, errand_window, errand_failed
};


/* one byte says how to go on, two how long the answer's text is */

static void
run(const uint8_t *data, size_t size, EVP_PKEY *key, bool order,
    bool alpn)
{
    char              *body;
    size_t             len;
    errand_t           e;
    tn_timers_t        timers;
    tn_acme_conf_t     conf;
    tn_acme_answer_t   answer;

    static const int  statuses[] = { 200, 201, 400, 403, 404, 409, 429, 500 };

    memset(&e, 0, sizeof(e));
    memset(&conf, 0, sizeof(conf));
    conf.directory = "https://ca.test/dir";
    conf.account_key = key;
    conf.domain = order ? "web.test" : NULL;
    conf.alpn = alpn;
    conf.ari = "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE";

    tn_timers_init(&timers);
    e.acme = tn_acme_create(&conf, &ops, &e, &timers, NULL);
    tn_acme_start(e.acme);

    while (!e.over && size >= 3) {
        len = tn_min((size_t) (data[1] << 8 | data[2]), size - 3);
        body = malloc(len + 1);
        memcpy(body, data + 3, len);
        body[len] = '\0';

        if (e.presenting) {
            e.presenting = false;
            tn_acme_presented(e.acme, data[0] & 1 ? body : NULL);

        } else if (e.asked) {
            e.asked = false;

            if (data[0] & 0x40) {
                tn_acme_lost(e.acme, "lost");

            } else {
                answer.status = statuses[data[0] & 7];
                answer.nonce = data[0] & 0x08 ? "" : "nonce";
                answer.location = data[0] & 0x10 ? body
                                                 : "https://ca.test/here";
                answer.retry_after = data[0] & 0x20 ? body : "";
                answer.body = body;
                answer.len = len;
                tn_acme_answered(e.acme, &answer);
            }

        } else {
            now = tn_timers_next(&timers);
            tn_timers_run(&timers, now);
        }

        free(body);
        data += 3 + len;
        size -= 3 + len;
    }

    tn_acme_destroy(e.acme);
    tn_timers_done(&timers);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t            n;
    tn_chain_t        chain;
    tn_chain_named_t  set[TN_CHAIN_SET_MAX];

    static EVP_PKEY  *key;

    if (key == NULL) {
        key = tn_jose_key_create();
    }

    if (size == 0) {
        return 0;
    }

    now = 1000;

    switch (data[0] % 4) {

    case 0:
    case 1:
        run(data + 1, size - 1, key, data[0] % 4 == 0, data[0] & 4);
        break;

    case 2:
        if (tn_chain_parse(&chain, data + 1, size - 1, size % 2 == 0)
            == TN_OK)
        {
            tn_chain_free(&chain);
        }

        break;

    default:
        if (tn_chain_unpack(data + 1, size - 1, set, &n) == TN_OK) {
            while (n > 0) {
                tn_chain_free(&set[--n].chain);
            }
        }
    }

    return 0;
}
