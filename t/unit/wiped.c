
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Secrets are wiped where they are dropped: what is freed has none in it.
 */

#include "cert/tn_certs_int.h"
#include "cert/tn_jose.h"
#include "control/tn_control_int.h"
#include "control/tn_json.h"
#include "run/tn_nodestate.h"

#include <dlfcn.h>
#include <malloc.h>
#include <stdlib.h>
#include <unistd.h>

#include "tap.h"


static char         secret[4096];       /* what is looked for, "" for nothing */
static int          freed;              /* memory in which it was */
static char         file[8192];         /* of the account */

static void       (*give)(void *p);


/* the libraries' too */
__attribute__((visibility("default")))
void
free(void *p)
{
    /* before it is known: of the search for it, and little */

    if (p == NULL || give == NULL) {
        return;
    }

    if (secret[0] != '\0'
        && memmem(p, malloc_usable_size(p), secret, strlen(secret)) != NULL)
    {
        freed++;
    }

    give(p);
}


static void
test_nodestate(void)
{
    char                 dir[] = "/tmp/tn-wiped-XXXXXX", command[64];
    tn_nodestate_t      *state;
    tn_state_error_t     error;
    tn_control_saved_t   saved;

    if (mkdtemp(dir) == NULL
        || tn_nodestate_open(&state, dir, &error) != TN_OK)
    {
        abort();
    }

    memset(&saved, 0, sizeof(saved));
    memset(&saved.machine.priv, 0x1a, sizeof(tn_key_t));
    memset(&saved.node.priv, 0x2b, sizeof(tn_key_t));
    memset(&saved.next.priv, 0x3c, sizeof(tn_key_t));
    strcpy(secret, "2b2b2b2b2b2b2b2b");

    freed = 0;
    is_int(tn_nodestate_save(state, "http://a.test", &saved, &error), TN_OK,
           "keys are saved");
    is_int(freed, 0, "none is left behind");

    memset(&saved, 0, sizeof(saved));
    is_int(tn_nodestate_load(state, "http://a.test", &saved, &error), TN_OK,
           "and loaded");
    is_int(saved.node.priv.b[5], 0x2b, "the same");
    is_int(freed, 0, "none is left behind");

    tn_nodestate_close(state);
    snprintf(command, sizeof(command), "rm -r %s", dir);
    secret[0] = '\0';

    if (system(command) != 0) {
        abort();
    }
}


/* a request as control's are made */
static void
test_request(void)
{
    char    *text;
    json_t  *o;

    strcpy(secret, "tskey-auth-secret");
    freed = 0;

    o = json_pack("{s:{s:s%}, s:[]}", "Auth", "AuthKey", secret,
                  strlen(secret), "Routes");
    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);

    ok(text != NULL && strstr(text, secret) != NULL, "a request with a key");
    is_int(freed, 0, "nothing but the request has it");

    tn_wipe(text, strlen(text));
    free(text);
    is_int(freed, 0, "and that only until it is sent");
    secret[0] = '\0';
}


static void
h2_send(void *data, const uint8_t *bytes, size_t len)
{
    bool *sent = data;

    *sent |= memmem(bytes, len, secret, strlen(secret)) != NULL;
}


static void
h2_pong(void *data)
{
    (void) data;
}


static void
h2_done(tn_h2_call_t *call, const char *error)
{
    (void) call;
    (void) error;
}


/* and as they go out by HTTP/2 */
static void
test_h2(void)
{
    bool          sent;
    tn_h2_t      *h2;
    tn_h2_call_t  call;

    static const tn_h2_ops_t  ops = { h2_send, h2_pong };

    strcpy(secret, "tskey-auth-secret");
    freed = 0;
    sent = false;

    memset(&call, 0, sizeof(call));
    call.method = "POST";
    call.path = "/machine/register";
    call.content_type = "application/json";
    call.body = strdup(secret);
    call.body_len = strlen(secret);
    call.done = h2_done;

    h2 = tn_h2_create(&ops, &sent, "a.test", NULL);
    is_int(tn_h2_request(h2, &call), TN_OK, "a request with a key");
    is_int(tn_h2_flush(h2), TN_OK, "is sent");
    ok(sent, "with it");
    tn_h2_destroy(h2, "");
    is_int(freed, 0, "HTTP/2 leaves it nowhere");
    secret[0] = '\0';
}


static void
test_answer(void)
{
    size_t          left;
    tn_http1_t     *http;
    const uint8_t  *pos;

    static const char  answer[] = "HTTP/1.1 200 OK\r\nContent-Length: 27\r\n"
                                  "\r\n{\"key\":\"tskey-auth-secret\"}";

    http = malloc(sizeof(tn_http1_t));
    strcpy(secret, "tskey-auth-secret");
    freed = 0;

    tn_http1_init(http, false);
    pos = (const uint8_t *) answer;
    left = sizeof(answer) - 1;

    is_int(tn_http1_read(http, &pos, &left), TN_OK, "an answer with a key");
    ok(strstr(http->body, secret) != NULL, "that can be read");
    tn_http1_done(http);
    is_int(freed, 0, "is gone after that");

    free(http);
    secret[0] = '\0';
}


/* --- an API that gives a token and says no */

static uint32_t  api;                   /* the connection to it */


static tn_ms_t
op_now(void *data)
{
    (void) data;

    return 1000;
}


static int64_t
op_wall(void *data)
{
    (void) data;

    return 1800000000;
}


static void
op_connect(void *data, uint32_t conn, const char *host, uint16_t port,
    bool tls)
{
    (void) data;
    (void) host;
    (void) port;
    (void) tls;

    api = conn;
}


static void
op_send(void *data, uint32_t conn, const uint8_t *bytes, size_t len)
{
    (void) data;
    (void) conn;
    (void) bytes;
    (void) len;
}


static void
op_close(void *data, uint32_t conn)
{
    (void) data;
    (void) conn;
}


static void
op_state(void *data, tn_control_state_e state, const char *text)
{
    (void) data;
    (void) state;
    (void) text;
}


static void
silent(tn_log_t *log, tn_log_level_e level, const char *line, size_t len)
{
    (void) log;
    (void) level;
    (void) line;
    (void) len;
}


static void
test_refusal(void)
{
    tn_log_t           log = { TN_LOG_ERR, silent, NULL };
    tn_timers_t        timers;
    tn_control_t      *control;
    tn_control_conf_t  conf;

    static const char              *tags[] = { "tag:web" };
    static const char               answer[] =
        "HTTP/1.1 403 No\r\nContent-Length: 43\r\n\r\n"
        "{\"access_token\":\"token-secret\",\"message\":1}";
    static const tn_control_ops_t   ops = {
        .now = op_now,
        .wall = op_wall,
        .connect = op_connect,
        .send = op_send,
        .close = op_close,
        .state_changed = op_state
    };

    memset(&conf, 0, sizeof(conf));
    conf.url = "http://127.0.0.1:8080";
    conf.auth_key = "tskey-client-kId-s?baseURL=http://127.0.0.1:8081";
    conf.tags = tags;
    conf.ntags = 1;

    tn_timers_init(&timers);
    control = tn_control_create(&conf, &ops, NULL, &timers, &log);

    tn_control_enter(control);
    tn_control_mint(control);
    tn_control_leave(control);
    tn_control_connected(control, api);

    strcpy(secret, "token-secret");
    freed = 0;

    tn_control_received(control, api, (const uint8_t *) answer,
                        sizeof(answer) - 1);
    ok(strstr(tn_control_trouble(control), "status 403") != NULL,
       "an API refuses and yet gives a token");
    is_int(freed, 0, "which is left nowhere");

    secret[0] = '\0';
    tn_control_destroy(control);
    tn_timers_done(&timers);
}


static tn_rc_t
load(void *data, const char *name, uint8_t **bytes, size_t *len)
{
    (void) data;
    (void) name;

    if (file[0] == '\0') {
        return TN_NOTFOUND;
    }

    *bytes = (uint8_t *) file;
    *len = strlen(file);

    return TN_OK;
}


static void
unload(void *data, uint8_t *bytes, size_t len)
{
    (void) data;
    (void) bytes;
    (void) len;
}


static tn_rc_t
save(void *data, const char *name, const void *bytes, size_t len)
{
    (void) data;
    (void) name;

    memcpy(file, bytes, len);
    file[len] = '\0';

    return TN_OK;
}


static void
test_account(void)
{
    char             *pem;
    tn_certs_t       *certs;
    tn_certs_ops_t    ops;

    memset(&ops, 0, sizeof(ops));
    ops.load = load;
    ops.unload = unload;
    ops.save = save;

    certs = calloc(1, sizeof(tn_certs_t));
    certs->ops = &ops;

    ok(tn_certs_account(certs), "an account is made");

    /* the first line of its key, which is 64 characters of base64 */

    pem = strstr(file, "KEY-----\\n");

    if (pem == NULL) {
        abort();
    }

    memcpy(secret, pem + 10, 64);
    secret[64] = '\0';
    freed = 0;

    ok(tn_certs_account_save(certs), "and saved");
    is_int(freed, 0, "its key is left nowhere");

    EVP_PKEY_free(certs->account_key);
    certs->account_key = NULL;
    ok(tn_certs_account(certs), "it is loaded");
    is_int(freed, 0, "its key is left nowhere");

    secret[0] = '\0';
    EVP_PKEY_free(certs->account_key);
    free(certs);
}


int
main(void)
{
    void  *p;

    p = dlsym(RTLD_NEXT, "free");
    memcpy(&give, &p, sizeof(give));

    tn_json_init();

    test_nodestate();
    test_request();
    test_h2();
    test_answer();
    test_refusal();
    test_account();

    return tap_done();
}
