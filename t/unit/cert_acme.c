
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Certificates on a virtual clock: JOSE, chains, and nodes' certificates
 * against a server that checks signatures and misbehaves when told to.
 */

#include "acme_server.h"
#include "tap.h"

#include <openssl/sha.h>


#define WALL  1800000000

#define FILES 16

typedef struct {
    tn_certs_t       *certs;
    acme_server_t    *server;
    tn_timers_t      *timers;
    EVP_PKEY         *account;          /* as the files have it */

    /* the request under way */
    bool              asked;
    char              method[8];
    char              url[1024];
    char             *body;
    size_t            len;

    char              txt_name[300];
    char              txt_value[128];
    bool              presenting;
    const char       *dns_error;

    struct {
        char          name[64];
        char         *bytes;
        size_t        len;
    }                 file[FILES];
    bool              read_only;

    int               changes;
} node_t;


static tn_ms_t  now = 1000;
static char     lines[65536];


static void
log_write(tn_log_t *log, tn_log_level_e level, const char *line, size_t len)
{
    (void) log;
    (void) level;

    if (strlen(lines) + len + 2 < sizeof(lines)) {
        strncat(lines, line, len);
        strcat(lines, "\n");
    }
}

static tn_log_t  test_log = { TN_LOG_INFO, log_write, NULL };


static int64_t
node_wall(void *data)
{
    (void) data;
    return WALL + (int64_t) now / 1000;
}

static tn_ms_t
node_now(void *data)
{
    (void) data;
    return now;
}

static void
node_request(void *data, const tn_acme_request_t *request)
{
    node_t *node = data;

    node->asked = true;
    snprintf(node->method, sizeof(node->method), "%s", request->method);
    snprintf(node->url, sizeof(node->url), "%s", request->url);
    free(node->body);
    node->body = request->len ? strndup(request->body, request->len) : NULL;
    node->len = request->len;
}

static void
node_cancel(void *data)
{
    node_t *node = data;

    node->asked = false;
    node->presenting = false;
}

static void
node_present(void *data, const char *name, const char *value)
{
    node_t *node = data;

    node->presenting = true;
    snprintf(node->txt_name, sizeof(node->txt_name), "%s", name);
    snprintf(node->txt_value, sizeof(node->txt_value), "%s", value);
}

static tn_rc_t
node_save(void *data, const char *name, const void *bytes, size_t len)
{
    node_t *node = data;

    int      i;
    json_t  *o;
    BIO     *bio;

    if (node->read_only) {
        return TN_ERROR;
    }

    for (i = 0; i < FILES && node->file[i].name[0] != '\0'
                && strcmp(node->file[i].name, name) != 0; i++) { /* void */ }

    snprintf(node->file[i].name, 64, "%s", name);
    free(node->file[i].bytes);
    node->file[i].bytes = strndup(bytes, len);
    node->file[i].len = len;

    if (strncmp(name, "acme.", 5) == 0) {
        o = json_loadb(bytes, len, 0, NULL);
        bio = BIO_new_mem_buf(json_string_value(json_object_get(o, "key")),
                              -1);
        EVP_PKEY_free(node->account);
        node->account = PEM_read_bio_PrivateKey(bio, NULL, NULL, NULL);
        BIO_free(bio);
        json_decref(o);
    }

    return TN_OK;
}

static tn_rc_t
node_load(void *data, const char *name, uint8_t **bytes, size_t *len)
{
    node_t *node = data;

    int  i;

    for (i = 0; i < FILES; i++) {
        if (strcmp(node->file[i].name, name) == 0) {
            *bytes = (uint8_t *) strndup(node->file[i].bytes,
                                         node->file[i].len);
            *len = node->file[i].len;
            return TN_OK;
        }
    }

    return TN_NOTFOUND;
}

static void
node_unload(void *data, uint8_t *bytes, size_t len)
{
    (void) data;
    (void) len;
    free(bytes);
}

static void
node_changed(void *data)
{
    node_t *node = data;

    node->changes++;
}

static const tn_certs_ops_t  node_ops = {
    node_wall, node_now, node_request, node_cancel, node_present, node_save,
    node_load, node_unload, node_changed
};


/* the world until `until`, or until nothing is going to happen */

static void
run(node_t **node, int n, tn_ms_t until)
{
    int               i;
    bool              busy;
    char              url[1024];
    tn_ms_t           next;
    tn_acme_answer_t  answer;

    for ( ;; ) {
        busy = false;

        for (i = 0; i < n; i++) {
            if (node[i]->asked) {
                node[i]->asked = false;
                busy = true;
                node[i]->server->wall = node_wall(NULL);
                snprintf(url, sizeof(url), "%s", node[i]->url);
                acme_serve(node[i]->server, node[i]->account,
                           node[i]->method, url, node[i]->body, node[i]->len,
                           &answer);
                tn_certs_answered(node[i]->certs, &answer);
            }

            if (node[i]->presenting) {
                node[i]->presenting = false;
                busy = true;
                tn_certs_presented(node[i]->certs, node[i]->dns_error);
            }
        }

        if (busy) {
            continue;
        }

        next = tn_timers_next(node[0]->timers);

        if (next > until) {
            now = until;
            return;
        }

        now = tn_max(now, next);
        tn_timers_run(node[0]->timers, now);
    }
}


static node_t *
node_create(acme_server_t *server, tn_timers_t *timers,
    tn_certs_queue_t *queue)
{
    node_t  *node;

    node = calloc(1, sizeof(node_t));
    node->server = server;
    node->timers = timers;
    node->certs = tn_certs_create(ACME "/dir", &node_ops, node, timers, queue,
                                  &test_log);
    return node;
}


static void
node_destroy(node_t *node)
{
    int  i;

    tn_certs_destroy(node->certs);

    for (i = 0; i < FILES; i++) {
        free(node->file[i].bytes);
    }

    EVP_PKEY_free(node->account);
    free(node->body);
    free(node);
}


/* the name of the i-th packed certificate, its flags and its end */

static bool
packed(node_t *node, size_t i, tn_chain_named_t *named)
{
    bool               there;
    size_t             k, n, len;
    uint8_t           *bytes;
    tn_chain_named_t   set[TN_CHAIN_SET_MAX];

    bytes = tn_certs_pack(node->certs, &len);
    there = tn_chain_unpack(bytes, len, set, &n) == TN_OK && i < n;
    free(bytes);

    if (there) {
        *named = set[i];
    }

    for (k = 0; k < n; k++) {
        tn_chain_free(&set[k].chain);
    }

    return there;
}


static void
test_jose(void)
{
    char                 *text, *head, *body;
    json_t               *o;
    size_t                len;
    EVP_PKEY             *key;
    BIO                  *bio;

    /* RFC 7515, A.3.; the thumbprint by sha256sum and base64 */

    static const char  pem[] =
        "-----BEGIN PUBLIC KEY-----\n"
        "MFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAEf83OJ3D2xF1Bg8vub9tLe1gHMzV7\n"
        "6e8Tus9uPHvRVEXH8UTNG72bfocs3+257rn0s2ldbqkLJK2KRiMohYjlrQ==\n"
        "-----END PUBLIC KEY-----\n";

    text = tn_jose_base64("\xff\xfe\xfd\xfc", 4);
    is_str(text, "__79_A", "base64url has no padding");
    free(text);

    text = tn_jose_base64("", 0);
    is_str(text, "", "of nothing");
    free(text);

    bio = BIO_new_mem_buf(pem, -1);
    key = PEM_read_bio_PUBKEY(bio, NULL, NULL, NULL);
    BIO_free(bio);

    if (!ok(key != NULL, "RFC 7515's key")) {
        return;
    }

    text = tn_jose_thumbprint(key);
    is_str(text, "oKIywvGUpTVTyxMQ3bwIIeQUudfr_CkLMjCE19ECD-U",
           "its thumbprint");
    free(text);

    ok(acme_verify(key, "eyJhbGciOiJFUzI1NiJ9",
                   "eyJpc3MiOiJqb2UiLA0KICJleHAiOjEzMDA4MTkzODAsDQogImh0dHA6"
                   "Ly9leGFtcGxlLmNvbS9pc19yb290Ijp0cnVlfQ",
                   "DtEhU3ljbEg8L38VWAfUAqOyKAM6-Xx-F4GawxaepmXFCgfTjDxw5djx"
                   "La8ISlSApmWQxfKTUJqPP3-Kg6NU1Q"),
       "the checker takes RFC 7515's own");

    EVP_PKEY_free(key);
    key = tn_jose_key_create();

    text = tn_jose_sign(key, ACME "/account/1", "nonce", ACME "/x", "{}");
    o = json_loads(text, JSON_REJECT_DUPLICATES, NULL);
    free(text);

    head = acme_decode(json_string_value(json_object_get(o, "protected")),
                       &len);
    body = acme_decode(json_string_value(json_object_get(o, "payload")),
                       &len);
    is_str(head, "{\"alg\":\"ES256\",\"nonce\":\"nonce\",\"url\":\"" ACME
           "/x\",\"kid\":\"" ACME "/account/1\"}", "the header");
    is_str(body, "{}", "the payload");
    ok(acme_verify(key, json_string_value(json_object_get(o, "protected")),
                   json_string_value(json_object_get(o, "payload")),
                   json_string_value(json_object_get(o, "signature"))),
       "the signature");
    free(head);
    free(body);
    json_decref(o);

    text = tn_jose_sign(key, NULL, "n", ACME "/x", "");
    o = json_loads(text, 0, NULL);
    head = acme_decode(json_string_value(json_object_get(o, "protected")),
                       &len);
    ok(strstr(head, "\"jwk\":{") != NULL
       && strstr(head, "\"d\"") == NULL && strstr(head, "kid") == NULL,
       "without an account it carries the public key only");
    is_str(json_string_value(json_object_get(o, "payload")), "",
           "a POST-as-GET has an empty payload");

    free(text);
    free(head);
    json_decref(o);
    EVP_PKEY_free(key);
}


static void
test_values(void)
{
    is_int((long long) tn_acme_retry_after("120", 0), 120000, "seconds");
    is_int((long long) tn_acme_retry_after("Fri, 15 Jan 2027 08:01:00 GMT",
                                           1800000000), 60000, "a date");
    is_int((long long) tn_acme_retry_after("-5", 0), 0, "nonsense");
    is_int((long long) tn_acme_retry_after("99999999999", 0), 604800000,
           "a week at most");
    is_int((long long) tn_acme_retry_after("", 0), 0, "none");
    is_int(tn_acme_time("2025-01-02T04:00:00Z"), 1735790400, "a time");
    is_int(tn_acme_time("2025-01-02T04:00:00.123456Z"), 1735790400,
           "with a fraction");
    is_int(tn_acme_time("2025-01-02T05:30:00+01:30"), 1735790400,
           "with an offset");
    is_int(tn_acme_time("yesterday"), 0, "nonsense is none");
    is_int(tn_acme_time("2025-01-02T04:00:00"), 0, "a zone is needed");
}


static void
test_chain(EVP_PKEY *ca)
{
    char              ari[TN_CHAIN_ARI_MAX], *text;
    size_t            len, n;
    uint8_t          *bytes;
    EVP_PKEY         *key;
    tn_chain_t        chain;
    acme_server_t     server = { .ca = ca, .wall = WALL, .life = 86400 };
    tn_chain_named_t  named, set[TN_CHAIN_SET_MAX];
    const tn_chain_named_t  *list[1] = { &named };

    memset(&named, 0, sizeof(named));
    strcpy(named.name, "web.lab.test");
    named.flags = TN_CHAIN_SELF_SIGNED;

    key = tn_jose_key_create();
    chain = (tn_chain_t) { .n = 1, .key = key };
    chain.cert[0] = acme_issue(&server, key, "web.lab.test");

    is_int(tn_chain_ari(&chain, ari), TN_OK, "RFC 9773's certificate");
    is_str(ari, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE", "is called so");

    text = tn_chain_text(&chain, &len);
    is_int(tn_chain_parse(&named.chain, text, len, true), TN_OK,
           "key and chain as text");
    is_int(named.chain.not_after, WALL + 86400, "with the end");
    ok(tn_chain_has_name(&named.chain, "web.lab.test"), "of its name");
    ok(!tn_chain_has_name(&named.chain, "www.lab.test"), "and of no other");
    ok(tn_chain_has_key(&named.chain, key) && !tn_chain_has_key(&named.chain,
                                                                ca),
       "of its key");

    bytes = tn_chain_pack(list, 1, &len);
    ok(bytes != NULL && tn_chain_unpack(bytes, len, set, &n) == TN_OK
       && n == 1 && set[0].flags == TN_CHAIN_SELF_SIGNED
       && strcmp(set[0].name, "web.lab.test") == 0
       && tn_chain_has_key(&set[0].chain, key), "packed and unpacked");
    tn_chain_free(&set[0].chain);

    while (len-- > 0) {
        if (tn_chain_unpack(bytes, len, set, &n) != TN_MALFORMED) {
            break;
        }
    }

    ok(len == SIZE_MAX, "a part of it is nothing");
    free(bytes);
    tn_chain_free(&named.chain);

    len = strlen(text);

    while (len-- > 1) {
        if (tn_chain_parse(&named.chain, text, len, true) == TN_OK
            && len != strlen(text) - 1)
        {
            break;
        }

        tn_chain_free(&named.chain);
    }

    is_int((long long) len, 0, "a file cut short is refused");

    free(text);
    chain.key = ca;
    text = tn_chain_text(&chain, &len);
    is_int(tn_chain_parse(&named.chain, text, len, true), TN_MALFORMED,
           "and one with another key");
    free(text);

    chain.key = key;
    tn_chain_free(&chain);

    is_int(tn_chain_self_signed(&chain, "web", WALL, 86400), TN_OK,
           "self-signed");
    ok(tn_chain_has_name(&chain, "web"), "of its name");
    is_int(tn_chain_ari(&chain, ari), TN_NOTFOUND, "no ARI knows it");
    tn_chain_free(&chain);
    is_int(tn_chain_self_signed(&chain, "a,DNS:b", WALL, 86400), TN_NOMEM,
           "not for what is no name");
}


static void
test_orders(EVP_PKEY *ca)
{
    int               orders, requests;
    char             *web[1], *two[2];
    char              names[3][20] = { "web.lab.test", "www.lab.test",
                                       "alias.lab.test" };
    node_t           *node, *nodes[4];
    size_t            i;
    int64_t           end;
    tn_ms_t           start;
    tn_timers_t       timers;
    acme_server_t     server = { .ca = ca, .life = 7776000 }, many[4];
    tn_certs_queue_t  queue;
    tn_chain_named_t  named;

    web[0] = names[0];
    tn_timers_init(&timers);
    tn_certs_queue_init(&queue);
    node = node_create(&server, &timers, &queue);

    tn_certs_online(node->certs, true);
    tn_certs_names(node->certs, web, 1, "web.lab.test.");
    run(&node, 1, now + 60000);
    is_int(server.requests, 0, "nothing is ordered before somebody wants it");

    /* all that a server may do to a client */

    server.bad_nonces = 3;
    server.losses = 2;
    server.pending = 2;
    server.processing = 2;
    server.not_ready = 1;
    tn_certs_want(node->certs, false);
    run(&node, 1, now + 120000);

    ok(packed(node, 0, &named), "issued");
    is_str(named.name, "web.lab.test", "for the name");
    is_str(node->txt_name, "_acme-challenge.web.lab.test", "by this record");
    is_int((long long) strlen(node->txt_value), 43, "of a hash");
    is_int(server.unsigned_, 0, "all requests were well signed");
    is_int(server.orders, 1, "by one order");
    is_str(server.replaces, "", "which replaces nothing");
    is_int(node->changes, 1, "workers are told once");

    /* no window: two thirds of 90 days */

    server.dislike_replaces = 1;
    start = now;
    run(&node, 1, start + 59ull * 86400 * 1000);
    is_int(server.orders, 1, "not renewed after 59 days");
    run(&node, 1, start + 61ull * 86400 * 1000);
    is_int(server.orders, 2, "renewed after 60");
    is_str(server.replaces, "", "without a \"replaces\" it did not like");
    is_int(server.accounts, 1, "by the same account");

    /* a window */

    end = node_wall(NULL) + 10 * 86400;
    server.window_start = end;
    server.window_end = end + 86400;
    run(&node, 1, now + 9ull * 86400 * 1000);
    is_int(server.orders, 2, "before the window nothing");
    server.stumble_replaces = 1;
    run(&node, 1, now + 3ull * 86400 * 1000);
    is_int(server.orders, 3, "in the window it is renewed");
    is_str(server.replaces, "aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE",
           "and says what it replaces, also after one failure");
    ok(packed(node, 0, &named)
       && named.chain.not_before >= end
       && named.chain.not_before <= end + 86400 + 5,
       "at an instant in it");

    /* one that begins when nothing is valid any more, as a server may err */

    end = named.chain.not_after;
    server.window_start = end + 86400;
    server.window_end = end + 2 * 86400;
    orders = server.orders;
    run(&node, 1, now + 7 * 86400 * 1000ull);
    is_int(server.orders, orders, "a window after its end: not now");
    run(&node, 1, now + (tn_ms_t) (end - 86400 - node_wall(NULL)) * 1000);
    is_int(server.orders, orders + 1, "nor too late");

    /* and one that is in the past even for a new one */

    server.stuck = true;
    server.window_start = node_wall(NULL) - 1000;
    server.window_end = server.window_start + 10;
    orders = server.orders;
    run(&node, 1, now + 2 * 86400 * 1000ull);
    ok(server.orders > orders && server.orders <= orders + 49,
       "at most one an hour, whatever the server suggests");
    server.stuck = false;

    /* one in the past: at once; failing: the old one stays */

    server.window_start = node_wall(NULL) - 1000;
    server.window_end = server.window_start + 10;
    server.invalid = "NXDOMAIN looking up TXT";
    lines[0] = '\0';
    (void) packed(node, 0, &named);
    end = named.chain.not_after;
    orders = server.orders;
    run(&node, 1, now + 86400000);

    ok(server.orders > orders && server.orders <= orders + 12,
       "tried again, ever more seldom (%d)", server.orders - orders);
    ok(strstr(lines, "certificate of web.lab.test: the validation failed: "
              "NXDOMAIN looking up TXT; the present one is valid until")
       != NULL, "one line says why");
    ok(packed(node, 0, &named) && named.chain.not_after == end,
       "the old one is served");

    server.invalid = NULL;
    server.window_start = 0;
    server.stumble_replaces = 1000;
    run(&node, 1, now + 86400000);
    ok(packed(node, 0, &named) && named.chain.not_after > end,
       "and then the next one");
    is_int(server.stumble_replaces, 998, "with two failures for");
    is_str(server.replaces, "", "a \"replaces\" the server stumbles over");
    server.stumble_replaces = 0;

    /* another life of the core */

    tn_certs_destroy(node->certs);
    node->certs = tn_certs_create(ACME "/dir", &node_ops, node, &timers,
                                  &queue, &test_log);
    orders = server.orders;
    tn_certs_names(node->certs, web, 1, "web.lab.test.");
    tn_certs_want(node->certs, false);
    tn_certs_online(node->certs, true);
    run(&node, 1, now + 60000);
    ok(server.orders == orders && packed(node, 0, &named),
       "after a restart the one on disk is used");

    /* damaged, of another name, expired */

    for (i = 0; i < 3; i++) {
        tn_certs_destroy(node->certs);

        for (orders = 0; strncmp(node->file[orders].name, "cert.", 5) != 0;
             orders++) { /* void */ }

        if (i == 0) {
            node->file[orders].len /= 2;

        } else if (i == 1) {
            web[0] = names[1];
            memcpy(node->file[orders].name + 5, "www", 3);

        } else {
            now += 200ull * 86400 * 1000;
        }

        lines[0] = '\0';
        orders = server.orders;
        node->certs = tn_certs_create(ACME "/dir", &node_ops, node, &timers,
                                      &queue, &test_log);
        tn_certs_want(node->certs, false);
        tn_certs_online(node->certs, true);
        tn_certs_names(node->certs, web, 1, "web.lab.test.");
        run(&node, 1, now + 60000);

        ok(strstr(lines, i == 0 ? "is damaged, another is ordered"
                         : i == 1 ? "is of another name, another is ordered"
                         : "is expired, another is ordered")
           != NULL && server.orders == orders + 1 && packed(node, 0, &named),
           "a file that is %s", i == 0 ? "cut short" : i == 1
                                ? "of another name" : "expired");
    }

    /* an account that is gone */

    server.forget = 1;
    two[0] = web[0];
    two[1] = names[2];
    tn_certs_names(node->certs, two, 2, "web.lab.test.");
    run(&node, 1, now + 60000);
    ok(server.accounts == 2 && packed(node, 1, &named)
       && strcmp(named.name, "alias.lab.test") == 0,
       "with a new account, another name");

    tn_certs_names(node->certs, &two[1], 1, "web.lab.test.");
    ok(packed(node, 0, &named) && strcmp(named.name, "alias.lab.test") == 0
       && !packed(node, 1, &named), "a name that control takes away goes");

    node_destroy(node);

    /* limits, and control that does not publish */

    memset(&server.name, 0, sizeof(server.name));
    node = node_create(&server, &timers, &queue);
    node->dns_error = "404 Not Found";
    lines[0] = '\0';
    tn_certs_want(node->certs, false);
    tn_certs_names(node->certs, web, 1, "web");
    run(&node, 1, now + 60000);
    is_str(server.name, "", "without control nothing is ordered");

    tn_certs_online(node->certs, true);
    run(&node, 1, now + 1000);
    ok(strstr(lines, "control does not publish the DNS record: 404 Not Found;"
              " trying again in 5 s") != NULL, "a record that is refused");

    node->dns_error = NULL;
    server.limited = "86400";
    lines[0] = '\0';
    run(&node, 1, now + 60000);
    requests = server.requests;
    ok(strstr(lines, "order: the server answers 429 rateLimited: too many "
              "certificates; trying again in 86400 s") != NULL,
       "a limit is told once");
    run(&node, 1, now + 80000000);
    is_int(server.requests, requests, "and kept for as long as it says");
    server.limited = NULL;
    run(&node, 1, now + 10000000);
    ok(packed(node, 0, &named), "then it is issued");
    node_destroy(node);

    /* what comes must fit what was asked for */

    node = node_create(&server, &timers, &queue);
    lines[0] = '\0';
    server.wrong_key = true;
    tn_certs_online(node->certs, true);
    tn_certs_want(node->certs, false);
    tn_certs_names(node->certs, web, 1, "web");
    run(&node, 1, now + 10000);
    ok(strstr(lines, "the certificate that came is for another key"),
       "a certificate of another key");
    server.wrong_key = false;
    server.wrong_name = true;
    run(&node, 1, now + 90000);
    ok(strstr(lines, "the certificate that came is for another name"),
       "and of another name");
    ok(!packed(node, 0, &named), "are not used");
    server.wrong_name = false;
    node_destroy(node);

    /* none of them: self-signed when wanted */

    node = node_create(&server, &timers, &queue);
    lines[0] = '\0';
    tn_certs_want(node->certs, false);
    tn_certs_names(node->certs, NULL, 0, "web.hs.test.");
    run(&node, 1, now + 10000);
    ok(strstr(lines, "control gives this node no certificate domains")
       && strstr(lines, "see tailnet_certificate_fallback")
       && !packed(node, 0, &named), "no domains: one line");
    lines[0] = '\0';
    tn_certs_want(node->certs, true);
    tn_certs_names(node->certs, NULL, 0, "web.hs.test.");
    ok(packed(node, 0, &named) && named.flags == TN_CHAIN_SELF_SIGNED
       && strcmp(named.name, "web.hs.test") == 0, "self-signed instead");
    is_str(lines, "", "and no line again");

    tn_certs_online(node->certs, true);
    tn_certs_names(node->certs, web, 1, "web.hs.test.");
    run(&node, 1, now + 10000);
    ok(packed(node, 0, &named) && named.flags == 0,
       "until there is a real one");
    node_destroy(node);

    /* many nodes take turns */

    memset(many, 0, sizeof(many));

    for (i = 0; i < 4; i++) {
        many[i].ca = ca;
        many[i].life = 7776000;
        many[i].pending = i < 2 ? 1000000 : 0;
        nodes[i] = node_create(&many[i], &timers, &queue);
        tn_certs_want(nodes[i]->certs, false);
        tn_certs_online(nodes[i]->certs, true);
        tn_certs_names(nodes[i]->certs, web, 1, "web");
    }

    is_int((long long) queue.running, TN_CERTS_RUNNING, "two at a time");
    ok(nodes[0]->asked && nodes[1]->asked && !nodes[2]->asked
       && !nodes[3]->asked, "the others wait");
    run(nodes, 4, now + 30000);
    ok(nodes[2]->body == NULL && nodes[3]->body == NULL, "still");

    node_destroy(nodes[0]);
    node_destroy(nodes[1]);
    run(&nodes[2], 2, now + 100000);
    ok(packed(nodes[2], 0, &named) && packed(nodes[3], 0, &named),
       "and get theirs");
    is_int((long long) queue.running, 0, "nobody is left");

    node_destroy(nodes[2]);
    node_destroy(nodes[3]);
    tn_timers_done(&timers);
    free(server.chain);

    for (i = 0; i < 4; i++) {
        free(many[i].chain);
    }
}


/* a name of one's own: the answer is among what workers get, for a while */

static void
test_own(EVP_PKEY *ca)
{
    int                 at;
    bool                there;
    char               *print, text[256];
    node_t             *node;
    size_t              len, n, k;
    uint8_t             hash[SHA256_DIGEST_LENGTH], *bytes;
    const uint8_t      *der;
    tn_timers_t         timers;
    ASN1_OBJECT        *id;
    X509_EXTENSION     *ext;
    acme_server_t       server = { .ca = ca, .life = 86400 * 90 };
    tn_chain_named_t    named, set[TN_CHAIN_SET_MAX];
    tn_certs_queue_t    queue;

    static char  name[] = "web.lab.test";
    char        *names[] = { name };

    tn_timers_init(&timers);
    tn_certs_queue_init(&queue);
    node = node_create(&server, &timers, &queue);

    tn_certs_own(node->certs, "www.example.com,,a b,WWW.example.com");
    tn_certs_own(node->certs, "www.example.com");
    tn_certs_want(node->certs, false);
    ok(!node->asked, "before control has spoken nothing is ordered");
    tn_certs_names(node->certs, names, 0, "web.lab.test");
    tn_certs_online(node->certs, true);

    run(&node, 1, now);
    there = packed(node, 0, &named);
    ok(there && named.flags == TN_CHAIN_CHALLENGE
       && strcmp(named.name, "www.example.com") == 0, "a challenge is shown");
    ok(!server.valid, "before the server is told");

    bytes = tn_certs_pack(node->certs, &len);
    (void) tn_chain_unpack(bytes, len, set, &n);
    free(bytes);

    print = tn_jose_thumbprint(node->account);
    snprintf(text, sizeof(text), "tok-en_2.%s", print);
    free(print);
    SHA256((uint8_t *) text, strlen(text), hash);

    id = OBJ_txt2obj("1.3.6.1.5.5.7.1.31", 1);
    at = n == 1 ? X509_get_ext_by_OBJ(set[0].chain.cert[0], id, -1) : -1;
    ASN1_OBJECT_free(id);

    if (ok(at != -1, "with RFC 8737's extension")) {
        ext = X509_get_ext(set[0].chain.cert[0], at);
        der = ASN1_STRING_get0_data(X509_EXTENSION_get_data(ext));
        is_int(X509_EXTENSION_get_critical(ext), 1, "which is critical");
        ok(ASN1_STRING_length(X509_EXTENSION_get_data(ext)) == 34
           && der[0] == 4 && der[1] == 32
           && memcmp(der + 2, hash, 32) == 0, "and has the hash");
        ok(tn_chain_has_name(&set[0].chain, "www.example.com"), "of the name");
    }

    for (k = 0; k < n; k++) {
        tn_chain_free(&set[k].chain);
    }

    run(&node, 1, now + 60000);
    ok(server.by_alpn, "by tls-alpn-01");
    ok(packed(node, 0, &named) && named.flags == 0
       && !packed(node, 1, &named), "issued, and the challenge is gone");
    is_int(server.orders, 1, "one order");
    ok(node->txt_name[0] == '\0', "and no record");

    tn_certs_names(node->certs, names, 1, "web.lab.test");
    run(&node, 1, now + 60000);
    is_str(node->txt_name, "_acme-challenge.web.lab.test",
           "control's name by dns-01");
    ok(packed(node, 0, &named) && packed(node, 1, &named), "both are there");

    tn_certs_names(node->certs, names, 0, "web.lab.test");
    ok(packed(node, 0, &named) && !packed(node, 1, &named)
       && strcmp(named.name, "www.example.com") == 0, "one's own stays");

    node_destroy(node);
    tn_timers_done(&timers);
    free(server.chain);
}


int
main(void)
{
    EVP_PKEY  *ca;

    ca = tn_jose_key_create();

    test_jose();
    test_values();
    test_chain(ca);
    test_orders(ca);
    test_own(ca);

    EVP_PKEY_free(ca);

    return tap_done();
}
