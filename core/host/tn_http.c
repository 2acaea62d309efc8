
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A call is resolved first: libcurl's own resolver would have a thread for
 * each name, and giving a call up would wait for it.  Then libcurl's multi
 * interface says which sockets to watch and when to wake it.  What it reports
 * as done is told from the loop, after libcurl has returned.
 */

#include "host/tn_http.h"

#include "base/tn_version.h"
#include "control/tn_http1.h"
#include "host/tn_curl.h"

#include <openssl/ssl.h>
#include <stdio.h>
#include <stdlib.h>


#define TN_HTTP_HOST_MAX  300           /* "host:port:addresses" of one */


typedef struct {
    tn_watch_t       watch;
    tn_http_t       *http;
} http_socket_t;


struct tn_http_s {
    tn_loop_t       *loop;
    tn_resolver_t   *resolver;
    const tn_curl_t *lib;
    CURLM           *multi;         /* NULL before the first request */
    tn_timer_t       timer;
    tn_defer_t       defer;         /* to see what is done */
};


struct tn_http_call_s {
    tn_http_t         *http;
    tn_defer_t         unable;      /* to say that there is no libcurl */
    tn_resolve_t      *question;
    CURL              *curl;
    bool               added;
    struct curl_slist *headers;
    struct curl_slist *proxy_headers;
    struct curl_slist *resolved;
    char               host[TN_PROXY_HOST]; /* to connect to */
    uint16_t           port;
    char              *ca_file;
    char              *body;        /* of the request */
    char              *answer;
    size_t             len;
    size_t             max;
    char               error[CURL_ERROR_SIZE];
    tn_http_pt         fn;
    void              *data;
};


static bool http_open(tn_http_t *http);
static bool http_prepare(tn_http_call_t *call,
    const tn_http_params_t *params);
static bool http_target(tn_http_call_t *call,
    const tn_http_params_t *params);
static void http_resolved(void *data, tn_rc_t rc, const tn_ip_t *ips,
    size_t n, const char *text);
static void http_start(tn_http_call_t *call);
static void http_unable(void *data);
static void http_fail(tn_http_call_t *call, const char *error);
static void http_free(tn_http_call_t *call);
static int http_socket(CURL *curl, curl_socket_t fd, int what, void *data,
    void *socket);
static int http_timer(CURLM *multi, long ms, void *data);
static void http_ready(tn_watch_t *watch, uint32_t events);
static void http_due(void *data, tn_ms_t now);
static void http_done(void *data);
static void http_complete(tn_http_call_t *call, CURLcode code);
static size_t http_write(char *bytes, size_t size, size_t n, void *data);
static CURLcode http_roots(CURL *curl, void *ssl_ctx, void *data);
static void http_field(tn_http_call_t *call, const char *name, char *value);


tn_http_t *
tn_http_create(tn_loop_t *loop, tn_resolver_t *resolver)
{
    tn_http_t  *http;

    http = calloc(1, sizeof(tn_http_t));
    if (http == NULL) {
        return NULL;
    }

    http->loop = loop;
    http->resolver = resolver;
    tn_timer_init(&http->timer, http_due, http);
    tn_defer_init(&http->defer, http_done, http);

    return http;
}


/* before the first request */

static bool
http_open(tn_http_t *http)
{
    CURLM            *multi;
    const tn_curl_t  *lib;

    if (http->multi != NULL) {
        return true;
    }

    http->lib = lib = tn_curl();

    if (lib == NULL) {
        return false;
    }

    multi = lib->multi_init();

    if (multi == NULL
        || lib->multi_setopt(multi, CURLMOPT_SOCKETFUNCTION, http_socket)
        || lib->multi_setopt(multi, CURLMOPT_SOCKETDATA, http)
        || lib->multi_setopt(multi, CURLMOPT_TIMERFUNCTION, http_timer)
        || lib->multi_setopt(multi, CURLMOPT_TIMERDATA, http)
        || lib->multi_setopt(multi, CURLMOPT_MAXCONNECTS, 4L))
    {
        (void) lib->multi_cleanup(multi);
        return false;
    }

    http->multi = multi;

    return true;
}


void
tn_http_destroy(tn_http_t *http)
{
    if (http == NULL) {
        return;
    }

    if (http->multi != NULL) {
        (void) http->lib->multi_cleanup(http->multi);
    }

    tn_timer_cancel(&http->loop->timers, &http->timer);
    tn_loop_undefer(&http->defer);
    free(http);
}


tn_http_call_t *
tn_http_request(tn_http_t *http, const tn_http_params_t *params,
    tn_http_pt fn, void *data)
{
    tn_http_call_t  *call;

    call = calloc(1, sizeof(tn_http_call_t));
    if (call == NULL) {
        return NULL;
    }

    call->http = http;
    call->fn = fn;
    call->data = data;
    tn_defer_init(&call->unable, http_unable, call);

    if (!http_open(http)) {
        tn_loop_defer(http->loop, &call->unable);
        return call;
    }

    if (!http_prepare(call, params)) {
        http_free(call);
        return NULL;
    }

    call->question = tn_resolve_start(http->resolver, call->host,
                                      TN_HTTP_CONNECT_MS, http_resolved,
                                      call);

    if (call->question == NULL) {
        http_free(call);
        return NULL;
    }

    return call;
}


void
tn_http_cancel(tn_http_call_t *call)
{
    http_free(call);
}


static bool
http_prepare(tn_http_call_t *call, const tn_http_params_t *params)
{
    bool              good;
    char              type[128];
    CURL             *curl;
    const tn_curl_t  *lib;

    lib = call->http->lib;
    call->max = params->answer_max;
    call->answer = malloc(call->max + 1);
    call->curl = curl = lib->easy_init();

    if (call->answer == NULL || curl == NULL) {
        return false;
    }

    good = lib->easy_setopt(curl, CURLOPT_PRIVATE, call) == CURLE_OK
           && lib->easy_setopt(curl, CURLOPT_URL, params->url) == CURLE_OK
           && lib->easy_setopt(curl, CURLOPT_PROTOCOLS_STR, "https")
              == CURLE_OK
           && lib->easy_setopt(curl, CURLOPT_NOSIGNAL, 1L) == CURLE_OK
           && lib->easy_setopt(curl, CURLOPT_USERAGENT,    /* RFC 8555, 6.1 */
                               "ngx_tailnet/" TN_VERSION)
              == CURLE_OK
           && lib->easy_setopt(curl, CURLOPT_ERRORBUFFER, call->error)
              == CURLE_OK
           && lib->easy_setopt(curl, CURLOPT_TIMEOUT_MS,
                               (long) TN_HTTP_TIMEOUT_MS)
              == CURLE_OK
           && lib->easy_setopt(curl, CURLOPT_CONNECTTIMEOUT_MS,
                               (long) TN_HTTP_CONNECT_MS)
              == CURLE_OK
           && lib->easy_setopt(curl, CURLOPT_WRITEFUNCTION, http_write)
              == CURLE_OK
           && lib->easy_setopt(curl, CURLOPT_WRITEDATA, call) == CURLE_OK
           && http_target(call, params);

    if (good && strcmp(params->method, "HEAD") == 0) {
        good = lib->easy_setopt(curl, CURLOPT_NOBODY, 1L) == CURLE_OK;

    } else if (good && strcmp(params->method, "POST") == 0) {
        (void) snprintf(type, sizeof(type), "Content-Type: %s",
                        params->type);
        call->headers = lib->slist_append(NULL, type);
        call->body = malloc(params->len + 1);

        if (call->headers == NULL || call->body == NULL) {
            return false;
        }

        memcpy(call->body, params->body, params->len);

        good = lib->easy_setopt(curl, CURLOPT_POST, 1L) == CURLE_OK
               && lib->easy_setopt(curl, CURLOPT_HTTPHEADER, call->headers)
                  == CURLE_OK
               && lib->easy_setopt(curl, CURLOPT_POSTFIELDSIZE_LARGE,
                                   (curl_off_t) params->len)
                  == CURLE_OK
               && lib->easy_setopt(curl, CURLOPT_POSTFIELDS, call->body)
                  == CURLE_OK;
    }

    if (good && params->ca_file != NULL) {
        call->ca_file = strdup(params->ca_file);

        /* a cached store would take these roots along to other nodes */

        good = call->ca_file != NULL
               && lib->easy_setopt(curl, CURLOPT_CA_CACHE_TIMEOUT, 0L)
                  == CURLE_OK
               && lib->easy_setopt(curl, CURLOPT_SSL_CTX_FUNCTION, http_roots)
                  == CURLE_OK
               && lib->easy_setopt(curl, CURLOPT_SSL_CTX_DATA, call)
                  == CURLE_OK;
    }

    return good;
}


/* whose address is needed: libcurl is to look nothing up by itself */

static bool
http_target(tn_http_call_t *call, const tn_http_params_t *params)
{
    char               text[TN_PROXY_HOST + TN_PROXY_AUTH];
    tn_url_t           url;
    const char        *err;
    const tn_curl_t   *lib;
    const tn_proxy_t  *proxy;

    lib = call->http->lib;
    proxy = params->proxy;

    if (proxy == NULL) {

        /* what is no URL goes on, to fail as one that is nowhere */

        if (tn_url_parse(&url, params->url, &err) == TN_OK) {
            (void) snprintf(call->host, sizeof(call->host), "%s", url.host);
            call->port = url.port_given ? url.port : 443;
        }

        return lib->easy_setopt(call->curl, CURLOPT_PROXY, "") == CURLE_OK;
    }

    (void) snprintf(call->host, sizeof(call->host), "%s", proxy->host);
    call->port = proxy->port;

    if (proxy->auth[0] != '\0') {
        (void) snprintf(text, sizeof(text), "Proxy-Authorization: Basic %s",
                        proxy->auth);
        call->proxy_headers = lib->slist_append(NULL, text);
        tn_wipe(text, sizeof(text));

        if (call->proxy_headers == NULL
            || lib->easy_setopt(call->curl, CURLOPT_PROXYHEADER,
                                call->proxy_headers)
               != CURLE_OK
            || lib->easy_setopt(call->curl, CURLOPT_HEADEROPT,
                                (long) CURLHEADER_SEPARATE)
               != CURLE_OK)
        {
            return false;
        }
    }

    (void) snprintf(text, sizeof(text), strchr(proxy->host, ':') != NULL
                                        ? "http://[%s]:%u" : "http://%s:%u",
                    proxy->host, proxy->port);

    return lib->easy_setopt(call->curl, CURLOPT_PROXY, text) == CURLE_OK;
}


static void
http_resolved(void *data, tn_rc_t rc, const tn_ip_t *ips, size_t n,
    const char *text)
{
    tn_http_call_t *call = data;

    int               len;
    char              line[TN_HTTP_HOST_MAX + TN_RESOLVE_MAX * TN_ADDR_TEXT];
    char              ip[TN_ADDR_TEXT];
    size_t            i;
    const tn_curl_t  *lib;

    lib = call->http->lib;
    call->question = NULL;

    if (rc != TN_OK) {
        http_fail(call, text);
        return;
    }

    len = snprintf(line, sizeof(line), "%s:%u:", call->host, call->port);

    for (i = 0; i < n && len < (int) sizeof(line); i++) {
        len += snprintf(line + len, sizeof(line) - (size_t) len,
                        tn_ip_is_v4(&ips[i]) ? "%s%s" : "%s[%s]",
                        i ? "," : "", tn_ip_text(&ips[i], ip));
    }

    call->resolved = len < (int) sizeof(line) ? lib->slist_append(NULL, line)
                                              : NULL;

    if (call->resolved == NULL
        || lib->easy_setopt(call->curl, CURLOPT_RESOLVE, call->resolved)
           != CURLE_OK)
    {
        http_fail(call, "out of memory");
        return;
    }

    http_start(call);
}


static void
http_start(tn_http_call_t *call)
{
    const tn_curl_t  *lib;

    lib = call->http->lib;

    if (lib->multi_add_handle(call->http->multi, call->curl) != CURLM_OK) {
        http_fail(call, "out of memory");
        return;
    }

    call->added = true;
}


static void
http_unable(void *data)
{
    http_fail(data, "certificates need " TN_CURL_LIBRARY " (package "
              "libcurl4), which cannot be loaded");
}


static void
http_fail(tn_http_call_t *call, const char *error)
{
    void        *data;
    char         text[512];
    tn_http_pt   fn;

    fn = call->fn;
    data = call->data;
    (void) snprintf(text, sizeof(text), "%s", error);

    http_free(call);
    fn(data, NULL, text);
}


static void
http_free(tn_http_call_t *call)
{
    const tn_curl_t  *lib;

    lib = call->http->lib;

    tn_loop_undefer(&call->unable);

    if (call->question != NULL) {
        tn_resolve_cancel(call->question);
    }

    if (call->added) {
        (void) lib->multi_remove_handle(call->http->multi, call->curl);
    }

    if (call->curl != NULL) {
        lib->easy_cleanup(call->curl);
    }

    if (lib != NULL) {
        lib->slist_free_all(call->headers);
        lib->slist_free_all(call->proxy_headers);
        lib->slist_free_all(call->resolved);
    }

    free(call->ca_file);
    free(call->body);
    free(call->answer);
    free(call);
}


/* --- libcurl's wishes */

static int
http_socket(CURL *curl, curl_socket_t fd, int what, void *data, void *socket)
{
    tn_http_t *http = data;

    http_socket_t  *s;

    (void) curl;

    s = socket;

    if (what == CURL_POLL_REMOVE) {
        if (s != NULL) {
            tn_loop_unwatch(http->loop, &s->watch);
            (void) http->lib->multi_assign(http->multi, fd, NULL);
            free(s);
        }

        return 0;
    }

    if (s == NULL) {
        s = calloc(1, sizeof(http_socket_t));

        if (s == NULL
            || http->lib->multi_assign(http->multi, fd, s) != CURLM_OK)
        {
            free(s);
            return -1;
        }

        s->http = http;
        s->watch.fd = fd;
        s->watch.handler = http_ready;
        s->watch.data = s;
    }

    s->watch.events = (what & CURL_POLL_IN ? TN_LOOP_READ : 0)
                      | (what & CURL_POLL_OUT ? TN_LOOP_WRITE : 0);

    return tn_loop_watch(http->loop, &s->watch) == TN_OK ? 0 : -1;
}


static int
http_timer(CURLM *multi, long ms, void *data)
{
    tn_http_t *http = data;

    (void) multi;

    if (ms < 0) {
        tn_timer_cancel(&http->loop->timers, &http->timer);
        return 0;
    }

    return tn_timer_set(&http->loop->timers, &http->timer,
                        tn_loop_clock_ms() + (tn_ms_t) ms)
           == TN_OK ? 0 : -1;
}


static void
http_ready(tn_watch_t *watch, uint32_t events)
{
    int             n, what;
    tn_http_t      *http;
    http_socket_t  *s;

    s = watch->data;
    http = s->http;

    what = (events & TN_LOOP_READ ? CURL_CSELECT_IN : 0)
           | (events & TN_LOOP_WRITE ? CURL_CSELECT_OUT : 0)
           | (events & TN_LOOP_ERROR ? CURL_CSELECT_ERR : 0);

    (void) http->lib->multi_socket_action(http->multi, watch->fd, what, &n);
    tn_loop_defer(http->loop, &http->defer);
}


static void
http_due(void *data, tn_ms_t now)
{
    tn_http_t *http = data;

    int  n;

    (void) now;

    (void) http->lib->multi_socket_action(http->multi, CURL_SOCKET_TIMEOUT, 0,
                                          &n);
    tn_loop_defer(http->loop, &http->defer);
}


static void
http_done(void *data)
{
    tn_http_t *http = data;

    int               left;
    char             *private;
    CURLMsg          *msg;
    const tn_curl_t  *lib;

    lib = http->lib;

    while ((msg = lib->multi_info_read(http->multi, &left)) != NULL) {

        if (msg->msg == CURLMSG_DONE
            && lib->easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, &private)
               == CURLE_OK)
        {
            http_complete((tn_http_call_t *) private, msg->data.result);
        }
    }
}


static void
http_complete(tn_http_call_t *call, CURLcode code)
{
    long              status;
    void             *data;
    char             *body;
    tn_http_pt        fn;
    const tn_curl_t  *lib;
    tn_http_answer_t  answer;

    lib = call->http->lib;

    if (code != CURLE_OK) {
        http_fail(call, call->error[0] != '\0' ? call->error
                                               : lib->easy_strerror(code));
        return;
    }

    memset(&answer, 0, sizeof(answer));

    status = 0;
    (void) lib->easy_getinfo(call->curl, CURLINFO_RESPONSE_CODE, &status);

    answer.status = (int) status;
    http_field(call, "Replay-Nonce", answer.nonce);
    http_field(call, "Location", answer.location);
    http_field(call, "Retry-After", answer.retry_after);

    body = call->answer;
    body[call->len] = '\0';
    answer.body = body;
    answer.len = call->len;

    fn = call->fn;
    data = call->data;

    call->answer = NULL;
    http_free(call);

    fn(data, &answer, NULL);
    free(body);
}


static void
http_field(tn_http_call_t *call, const char *name, char *value)
{
    struct curl_header  *header;

    /* the one of the last response: a proxy's stand before it */

    if (call->http->lib->easy_header(call->curl, name, 0, CURLH_HEADER, -1,
                                     &header)
        == CURLHE_OK
        && strlen(header->value) < TN_HTTP_FIELD_MAX)
    {
        memcpy(value, header->value, strlen(header->value) + 1);
    }
}


static size_t
http_write(char *bytes, size_t size, size_t n, void *data)
{
    tn_http_call_t *call = data;

    n *= size;

    if (n > call->max - call->len) {
        (void) snprintf(call->error, sizeof(call->error),
                        "the answer is too large");
        return 0;
    }

    memcpy(call->answer + call->len, bytes, n);
    call->len += n;

    return n;
}


static CURLcode
http_roots(CURL *curl, void *ssl_ctx, void *data)
{
    tn_http_call_t *call = data;

    (void) curl;

    return SSL_CTX_load_verify_file(ssl_ctx, call->ca_file) == 1
           ? CURLE_OK : CURLE_SSL_CACERT_BADFILE;
}
