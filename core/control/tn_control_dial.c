
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * From a URL to HTTP/2 over Noise.
 *
 * First the server's Noise key, GET /key, over the URL's own scheme: this
 * fetch is the trust anchor, so with https the certificate must verify.  The
 * key is kept until a dial fails.
 *
 * Then POST /ts2021 with the Noise initiation in a header, which turns the
 * connection into a Noise one.  Plain HTTP on port 80 is tried first, since
 * Noise encrypts anyway; TLS on 443 follows 500 ms later, or at once when 80
 * fails, or alone when a connection by 80 was made and lost within the last
 * two minutes (something on the way spoils it).  The first whose handshake
 * completes wins, the other is closed.  A port in the URL binds to the URL's
 * scheme; http to a private or loopback host never tries TLS; behind a proxy
 * https is tried alone (upstream: control/controlhttp, control/ts2021).
 *
 * When both ways by the name fail, or the time is up, control's own addresses
 * are tried one by one, by plain HTTP: it tells them in the map for the case
 * that DNS is broken (upstream: ControlDialPlan, which is tried before DNS).
 * Noise says whether it is control that answers there.
 *
 * An early payload may come first inside Noise (ff ff ff 'T' 'S', a length,
 * JSON): nobody answers its challenge, so it is skipped.
 */

#include "control/tn_control_int.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>


#define TN_CONTROL_UPGRADE  "tailscale-control-protocol"


static void tn_control_dial_key(tn_control_t *c);
static void tn_control_dial_race(tn_control_t *c);
static void tn_control_ports(const tn_url_t *url, bool tls_only,
    uint16_t *plain, uint16_t *tls);
static tn_control_dial_t *tn_control_dial_to(tn_control_t *c,
    tn_control_dial_e kind, const tn_url_t *url, const char *host);
static bool tn_control_dial_planned(tn_control_t *c);
static void tn_control_dial_doubt(tn_control_t *c);
static int tn_control_dial_order(const void *a, const void *b);
static void tn_control_dial_tls(tn_control_t *c);
static void tn_control_dial_upgrade(tn_control_t *c, tn_control_dial_t *dial);
static void tn_control_dial_error(tn_control_t *c, tn_control_dial_e kind,
    const char *reason);
static void tn_control_key_received(tn_control_t *c);
static void tn_control_upgrade_received(tn_control_t *c,
    tn_control_dial_e kind, const uint8_t *bytes, size_t len);
static void tn_control_dial_won(tn_control_t *c, tn_control_dial_e kind,
    const uint8_t *bytes, size_t len);
static tn_rc_t tn_control_link_plain(tn_control_t *c, const uint8_t *bytes,
    size_t len);
static void tn_control_link_send(void *data, const uint8_t *bytes,
    size_t len);
static void tn_control_link_pong(void *data);


const tn_h2_ops_t  tn_control_h2_ops = {
    tn_control_link_send,
    tn_control_link_pong
};


void
tn_control_dial(tn_control_t *c)
{
    c->retry_ms = 0;

    if (c->server_key_known) {
        tn_control_dial_race(c);
    } else {
        tn_control_dial_key(c);
    }
}


void
tn_control_dial_url(tn_control_t *c, const tn_url_t *url)
{
    if (c->dial[TN_DIAL_URL] != NULL) {
        return;
    }

    if (tn_control_dial_open(c, TN_DIAL_URL, url) != NULL) {
        tn_control_timer(c, &c->url_timer, TN_CONTROL_DIAL_MS);
    }
}


void
tn_control_dial_close(tn_control_t *c, tn_control_dial_e kind)
{
    tn_control_dial_t  *dial;

    dial = c->dial[kind];

    if (dial == NULL) {
        return;
    }

    c->dial[kind] = NULL;

    if (dial->conn != 0) {
        c->ops->close(c->data, dial->conn);
    }

    tn_http1_done(&dial->http);
    tn_noise_done(&dial->noise);
    free(dial);

    if (kind == TN_DIAL_URL) {
        tn_timer_cancel(c->timers, &c->url_timer);
    }
}


void
tn_control_dial_connected(tn_control_t *c, tn_control_dial_e kind)
{
    int                 n;
    char                text[TN_URL_PATH_MAX + TN_URL_HOST_MAX + 256];
    char                host[TN_URL_HOST_MAX + 16];
    tn_control_dial_t  *dial;

    dial = c->dial[kind];

    if (kind == TN_DIAL_PLAIN || kind == TN_DIAL_TLS) {
        tn_control_dial_upgrade(c, dial);
        return;
    }

    if (kind == TN_DIAL_API) {
        tn_control_mint_connected(c);
        return;
    }

    n = snprintf(text, sizeof(text),
                 "%s %s HTTP/1.1\r\n"
                 "Host: %s\r\n"
                 "User-Agent: ngx_tailnet\r\n"
                 "Accept: */*\r\n"
                 "Connection: close\r\n"
                 "\r\n",
                 kind == TN_DIAL_KEY ? "GET" : "HEAD",
                 dial->url.path[0] ? dial->url.path : "/",
                 tn_url_authority(&dial->url, host));

    c->ops->send(c->data, dial->conn, (uint8_t *) text, (size_t) n);
}


void
tn_control_dial_received(tn_control_t *c, tn_control_dial_e kind,
    const uint8_t *bytes, size_t len)
{
    tn_rc_t             rc;
    tn_control_dial_t  *dial;

    dial = c->dial[kind];

    if (kind == TN_DIAL_PLAIN || kind == TN_DIAL_TLS) {
        tn_control_upgrade_received(c, kind, bytes, len);
        return;
    }

    rc = tn_http1_read(&dial->http, &bytes, &len);

    if (rc == TN_AGAIN) {
        return;
    }

    if (kind == TN_DIAL_URL) {
        tn_control_dial_close(c, kind);
        return;
    }

    if (kind == TN_DIAL_API && rc == TN_OK) {
        tn_control_mint_received(c);
        return;
    }

    if (rc != TN_OK) {
        tn_control_dial_error(c, kind, "the answer is not HTTP, or too long");
        return;
    }

    tn_control_key_received(c);
}


void
tn_control_dial_closed(tn_control_t *c, tn_control_dial_e kind,
    const char *reason)
{
    tn_control_dial_t  *dial;

    dial = c->dial[kind];
    dial->conn = 0;

    if (kind == TN_DIAL_KEY && tn_http1_eof(&dial->http) == TN_OK) {
        tn_control_key_received(c);
        return;
    }

    if (kind == TN_DIAL_API && tn_http1_eof(&dial->http) == TN_OK) {
        tn_control_mint_received(c);
        return;
    }

    tn_control_dial_error(c, kind, reason);
}


void
tn_control_dial_timeout(void *data, tn_ms_t now)
{
    tn_control_t  *c;

    (void) now;

    c = data;
    tn_control_enter(c);

    if (c->phase == TN_CONTROL_KEY) {
        tn_control_fail(c, "%s gave no key within %d s", c->url.host,
                        TN_CONTROL_DIAL_MS / 1000);

    } else if (!tn_control_dial_planned(c)) {
        tn_control_fail(c, "no connection to %s within %d s%s%s", c->url.host,
                        TN_CONTROL_DIAL_MS / 1000,
                        c->plain_error[0] ? "; by port 80: " : "",
                        c->plain_error);
        tn_control_dial_doubt(c);
    }

    tn_control_leave(c);
}


void
tn_control_dial_fallback(void *data, tn_ms_t now)
{
    tn_control_t  *c;

    (void) now;

    c = data;

    tn_control_enter(c);
    tn_control_dial_tls(c);
    tn_control_leave(c);
}


void
tn_control_url_timeout(void *data, tn_ms_t now)
{
    tn_control_t  *c;

    (void) now;

    c = data;

    tn_control_enter(c);
    tn_control_dial_close(c, TN_DIAL_URL);
    tn_control_leave(c);
}


void
tn_control_link_received(tn_control_t *c, const uint8_t *bytes, size_t len)
{
    size_t          n;
    tn_rc_t         rc;
    const uint8_t  *plain;

    while (!c->failed) {
        rc = tn_noise_read(&c->noise, &bytes, &len, &plain, &n);

        if (rc == TN_AGAIN) {
            return;
        }

        if (rc != TN_OK) {
            tn_control_fail(c, "the connection to %s broke: %s", c->url.host,
                            c->noise.error);
            return;
        }

        if (tn_control_link_plain(c, plain, n) != TN_OK) {
            tn_control_fail(c, "the connection to %s broke: HTTP/2: %s",
                            c->url.host, tn_h2_error(c->h2));
            return;
        }
    }
}


void
tn_control_link_close(tn_control_t *c)
{
    tn_h2_t  *h2;

    h2 = c->h2;
    c->h2 = NULL;

    tn_h2_destroy(h2, "the connection closed");

    if (c->link != 0) {
        c->ops->close(c->data, c->link);
        c->link = 0;
    }

    tn_noise_done(&c->noise);
}


static void
tn_control_dial_key(tn_control_t *c)
{
    tn_url_t  url;

    c->phase = TN_CONTROL_KEY;

    url = c->url;
    snprintf(url.path, sizeof(url.path), "/key?v=%d",
             TN_CONTROL_CAPABILITY_VERSION);

    if (tn_control_dial_open(c, TN_DIAL_KEY, &url) != NULL) {
        tn_control_timer(c, &c->dial_timer, TN_CONTROL_DIAL_MS);
    }
}


static void
tn_control_dial_race(tn_control_t *c)
{
    bool       recent;
    tn_ms_t    now;
    tn_url_t   url;
    uint16_t   plain, tls;

    c->phase = TN_CONTROL_DIALING;
    c->plain_error[0] = '\0';
    c->planned = 0;

    tn_control_timer(c, &c->dial_timer, TN_CONTROL_DIAL_MS);
    tn_control_ports(&c->url, c->tls_only, &plain, &tls);

    now = c->ops->now(c->data);
    recent = c->plain_dialed_at != 0
             && now - c->plain_dialed_at < TN_CONTROL_RECENT_MS;

    if (plain == 0 || (tls != 0 && recent)) {
        tn_control_dial_tls(c);
        return;
    }

    url = c->url;
    url.tls = false;
    url.port = plain;
    url.port_given = plain != 80;

    if (tn_control_dial_open(c, TN_DIAL_PLAIN, &url) != NULL && tls != 0) {
        tn_control_timer(c, &c->fallback_timer, TN_CONTROL_FALLBACK_MS);
    }
}


/* 0: not to be tried */
static void
tn_control_ports(const tn_url_t *url, bool tls_only, uint16_t *plain,
    uint16_t *tls)
{
    bool     private;
    tn_ip_t  ip;

    private = strcasecmp(url->host, "localhost") == 0;

    if (tn_ip_parse(&ip, url->host, strlen(url->host)) == TN_OK) {
        private = tn_ip_is_private(&ip) || tn_ip_is_loopback(&ip);
    }

    *plain = 80;
    *tls = 443;

    if (url->tls && (url->port_given || tls_only)) {
        *plain = 0;
        *tls = url->port;

    } else if (!url->tls) {
        *plain = url->port;

        if (private) {
            *tls = 0;
        }
    }
}


tn_control_dial_t *
tn_control_dial_open(tn_control_t *c, tn_control_dial_e kind,
    const tn_url_t *url)
{
    return tn_control_dial_to(c, kind, url, url->host);
}


/* the host of the URL is believed to be at this one */
static tn_control_dial_t *
tn_control_dial_to(tn_control_t *c, tn_control_dial_e kind,
    const tn_url_t *url, const char *host)
{
    tn_control_dial_t  *dial;

    dial = calloc(1, sizeof(tn_control_dial_t));
    if (dial == NULL) {
        tn_control_fail(c, "out of memory");
        return NULL;
    }

    dial->url = *url;
    dial->conn = ++c->next_conn;
    tn_http1_init(&dial->http, kind == TN_DIAL_URL);

    c->dial[kind] = dial;

    tn_log(c->log, TN_LOG_DEBUG, "control: connecting to %s port %u%s",
           host, url->port, url->tls ? " by TLS" : "");

    c->ops->connect(c->data, dial->conn, host, url->port, url->tls);

    return dial;
}


typedef struct {
    tn_ip_t  ip;
    int64_t  priority;
    double   delay;
} tn_control_candidate_t;


void
tn_control_dial_plan(tn_control_t *c, tn_json_span_t span)
{
    size_t                   i, n;
    json_t                  *o;
    const char              *ip;
    const json_t            *list, *value;
    tn_control_candidate_t   candidates[4 * TN_CONTROL_PLAN_MAX];

    if (tn_json_load(span, &o) != TN_OK) {
        return;
    }

    list = json_object_get(o, "Candidates");
    n = 0;

    json_array_foreach(list, i, value) {
        ip = tn_json_text(value, "IP");

        if (n == tn_nelems(candidates) || *tn_json_text(value, "ACEHost")
            || tn_ip_parse(&candidates[n].ip, ip, strlen(ip)) != TN_OK)
        {
            continue;
        }

        candidates[n].priority
            = json_integer_value(json_object_get(value, "Priority"));
        candidates[n++].delay
            = json_number_value(json_object_get(value, "DialStartDelaySec"));
    }

    qsort(candidates, n, sizeof(candidates[0]), tn_control_dial_order);
    c->nplan = tn_min(n, (size_t) TN_CONTROL_PLAN_MAX);

    for (i = 0; i < c->nplan; i++) {
        c->plan[i] = candidates[i].ip;
    }

    json_decref(o);
}


static int
tn_control_dial_order(const void *a, const void *b)
{
    const tn_control_candidate_t  *x, *y;

    x = a;
    y = b;

    return x->priority != y->priority ? (x->priority < y->priority ? 1 : -1)
           : x->delay != y->delay ? (x->delay < y->delay ? -1 : 1) : 0;
}


/* the name has failed, or leads nowhere: the next address of the plan, or
 * false */
static bool
tn_control_dial_planned(tn_control_t *c)
{
    char       host[TN_ADDR_TEXT];
    tn_url_t   url;
    uint16_t   plain, tls;

    tn_control_ports(&c->url, c->tls_only, &plain, &tls);

    if (plain == 0 || c->planned >= c->nplan) {
        return false;
    }

    tn_control_dial_close(c, TN_DIAL_PLAIN);
    tn_control_dial_close(c, TN_DIAL_TLS);

    url = c->url;
    url.tls = false;
    url.port = plain;
    url.port_given = plain != 80;

    (void) tn_control_dial_to(c, TN_DIAL_PLAIN, &url,
                              tn_ip_text(&c->plan[c->planned++], host));

    tn_control_timer(c, &c->dial_timer, TN_CONTROL_PLANNED_MS);

    return true;
}


/* the second of the two ways, once */
static void
tn_control_dial_tls(tn_control_t *c)
{
    tn_url_t   url;
    uint16_t   plain, tls;

    tn_timer_cancel(c->timers, &c->fallback_timer);
    tn_control_ports(&c->url, c->tls_only, &plain, &tls);

    if (tls == 0 || c->dial[TN_DIAL_TLS] != NULL) {
        return;
    }

    url = c->url;
    url.tls = true;
    url.port = tls;
    url.port_given = tls != 443;

    (void) tn_control_dial_open(c, TN_DIAL_TLS, &url);
}


static void
tn_control_dial_upgrade(tn_control_t *c, tn_control_dial_t *dial)
{
    int      n;
    char     text[1024], host[TN_URL_HOST_MAX + 16];
    char     base64[sodium_base64_ENCODED_LEN(TN_NOISE_INITIATION,
                                              sodium_base64_VARIANT_ORIGINAL)];
    tn_rc_t  rc;
    uint8_t  initiation[TN_NOISE_INITIATION];

    rc = tn_noise_start(&dial->noise, &c->saved.machine, &c->server_key,
                        TN_CONTROL_CAPABILITY_VERSION, NULL, initiation);
    if (rc != TN_OK) {
        tn_control_fail(c, "the key that %s gave is not usable",
                        c->url.host);
        return;
    }

    sodium_bin2base64(base64, sizeof(base64), initiation, sizeof(initiation),
                      sodium_base64_VARIANT_ORIGINAL);

    n = snprintf(text, sizeof(text),
                 "POST /ts2021 HTTP/1.1\r\n"
                 "Host: %s\r\n"
                 "User-Agent: ngx_tailnet\r\n"
                 "Connection: upgrade\r\n"
                 "Upgrade: " TN_CONTROL_UPGRADE "\r\n"
                 "X-Tailscale-Handshake: %s\r\n"
                 "Content-Length: 0\r\n"
                 "\r\n",
                 tn_url_authority(&dial->url, host), base64);

    c->ops->send(c->data, dial->conn, (uint8_t *) text, (size_t) n);
}


/* one way has failed: the other may still do it */
static void
tn_control_dial_error(tn_control_t *c, tn_control_dial_e kind,
    const char *reason)
{
    bool      other;
    uint16_t  plain, tls;

    tn_control_ports(&c->url, c->tls_only, &plain, &tls);

    switch (kind) {

    case TN_DIAL_API:
        tn_control_mint_closed(c, reason);
        break;

    case TN_DIAL_KEY:
        tn_control_fail(c, "cannot fetch the key of %s: %s", c->url.host,
                        reason);
        break;

    case TN_DIAL_PLAIN:
        other = tls != 0 && c->planned == 0;
        snprintf(c->plain_error, sizeof(c->plain_error), "%s", reason);
        tn_control_dial_close(c, kind);

        if (other) {
            tn_control_dial_tls(c);
            return;
        }

        if (tn_control_dial_planned(c)) {
            return;
        }

        tn_control_fail(c, "cannot connect to %s port %u: %s", c->url.host,
                        plain, reason);
        break;

    case TN_DIAL_TLS:

        if (c->dial[TN_DIAL_PLAIN] != NULL) {
            tn_control_dial_close(c, kind);
            return;
        }

        if (tn_control_dial_planned(c)) {
            return;
        }

        tn_control_fail(c, "cannot connect to %s port %u: %s%s%s",
                        c->url.host, tls, reason,
                        c->plain_error[0] ? "; by port 80: " : "",
                        c->plain_error);
        break;

    default:
        break;
    }

    tn_control_dial_close(c, kind);

    if (kind != TN_DIAL_URL) {
        tn_control_dial_doubt(c);
    }
}


/* it may be another server now, with another key; which cannot be asked for
 * where only the plan's addresses are left */
static void
tn_control_dial_doubt(tn_control_t *c)
{
    if (c->nplan == 0 || c->attempts % 4 == 3) {
        c->server_key_known = false;
    }
}


static void
tn_control_key_received(tn_control_t *c)
{
    bool                good;
    json_t             *o;
    const char         *key;
    tn_json_span_t      span;
    tn_control_dial_t  *dial;

    dial = c->dial[TN_DIAL_KEY];

    if (dial->http.status != 200) {

        if (dial->http.status == 429 || dial->http.status == 503) {
            c->retry_ms = tn_control_retry_after(c, dial->http.retry_after);
        }

        tn_control_refuse(c, "cannot fetch the key of %s: it answered with "
                          "status %d", c->url.host, dial->http.status);
        tn_control_dial_close(c, TN_DIAL_KEY);
        return;
    }

    good = false;
    span.data = dial->http.body ? dial->http.body : "";
    span.len = dial->http.body_len;

    if (tn_json_load(span, &o) == TN_OK) {
        key = tn_json_text(o, "publicKey");
        good = tn_key_parse(&c->server_key, TN_KEY_MACHINE, key, strlen(key))
               == TN_OK
               && !tn_key_is_zero(&c->server_key);
        json_decref(o);
    }

    tn_control_dial_close(c, TN_DIAL_KEY);

    if (!good) {
        tn_control_fail(c, "cannot fetch the key of %s: the answer is not "
                        "that of a control server", c->url.host);
        return;
    }

    c->server_key_known = true;
    tn_control_dial_race(c);
}


static void
tn_control_upgrade_received(tn_control_t *c, tn_control_dial_e kind,
    const uint8_t *bytes, size_t len)
{
    char                reason[TN_CONTROL_TEXT];
    size_t              n;
    tn_rc_t             rc;
    const uint8_t      *plain;
    tn_control_dial_t  *dial;

    dial = c->dial[kind];

    if (!dial->upgraded) {
        rc = tn_http1_read(&dial->http, &bytes, &len);

        if (rc == TN_AGAIN) {
            return;
        }

        if (rc != TN_OK) {
            tn_control_dial_error(c, kind,
                                  "the answer is not HTTP, or too long");
            return;
        }

        if (dial->http.status != 101
            || strcasecmp(dial->http.upgrade, TN_CONTROL_UPGRADE) != 0)
        {
            if (dial->http.status == 429 || dial->http.status == 503) {
                c->retry_ms = tn_control_retry_after(c,
                                                     dial->http.retry_after);
            }

            snprintf(reason, sizeof(reason), "it refused the upgrade to "
                     "Noise with status %d: %.200s", dial->http.status,
                     dial->http.body ? dial->http.body : "");
            tn_control_dial_error(c, kind, reason);
            return;
        }

        dial->upgraded = true;
    }

    rc = tn_noise_read(&dial->noise, &bytes, &len, &plain, &n);

    if (rc == TN_AGAIN) {
        return;
    }

    if (rc != TN_OK) {
        snprintf(reason, sizeof(reason), "%s", dial->noise.error);
        tn_control_dial_error(c, kind, reason);
        return;
    }

    tn_control_dial_won(c, kind, bytes, len);
}


static void
tn_control_dial_won(tn_control_t *c, tn_control_dial_e kind,
    const uint8_t *bytes, size_t len)
{
    char                host[TN_URL_HOST_MAX + 16], key[TN_KEY_TEXT];
    tn_control_dial_t  *dial;

    dial = c->dial[kind];

    c->link = dial->conn;
    c->noise = dial->noise;
    c->early_have = 0;
    c->early_left = 0;
    c->early_done = false;

    /* the keys inside live on in c->noise */
    tn_wipe(&dial->noise, sizeof(dial->noise));
    dial->conn = 0;

    tn_control_dial_close(c, TN_DIAL_PLAIN);
    tn_control_dial_close(c, TN_DIAL_TLS);
    tn_timer_cancel(c->timers, &c->dial_timer);
    tn_timer_cancel(c->timers, &c->fallback_timer);

    c->plain_dialed_at = kind == TN_DIAL_PLAIN ? c->ops->now(c->data) : 0;

    /* the other way may have been told to stay away */
    c->retry_ms = 0;

    c->h2 = tn_h2_create(&tn_control_h2_ops, c,
                         tn_url_authority(&c->url, host),
                         tn_key_is_zero(&c->saved.node.pub) ? NULL
                         : tn_key_text(&c->saved.node.pub, TN_KEY_NODE, key));
    if (c->h2 == NULL) {
        tn_control_fail(c, "out of memory");
        return;
    }

    tn_control_session_start(c);
    tn_control_link_received(c, bytes, len);
}


static tn_rc_t
tn_control_link_plain(tn_control_t *c, const uint8_t *bytes, size_t len)
{
    size_t    n;
    tn_rc_t   rc;
    uint32_t  size;

    static const uint8_t  magic[5] = { 0xff, 0xff, 0xff, 'T', 'S' };

    if (!c->early_done) {

        n = tn_min(len, sizeof(c->early) - c->early_have);

        if (n != 0) {
            memcpy(c->early + c->early_have, bytes, n);
            c->early_have += n;
            bytes += n;
            len -= n;
        }

        if (c->early_have < sizeof(c->early)) {
            return TN_OK;
        }

        c->early_done = true;

        if (memcmp(c->early, magic, sizeof(magic)) == 0) {
            size = (uint32_t) c->early[5] << 24 | (uint32_t) c->early[6] << 16
                   | (uint32_t) c->early[7] << 8 | c->early[8];

            if (size > TN_CONTROL_EARLY_MAX) {
                tn_control_fail(c, "%s sent an early payload over the limit",
                                c->url.host);
                return TN_OK;
            }

            c->early_left = size;

        } else {
            rc = tn_h2_receive(c->h2, c->early, sizeof(c->early));
            if (rc != TN_OK) {
                return rc;
            }
        }
    }

    n = (size_t) tn_min((uint64_t) len, c->early_left);
    c->early_left -= n;

    if (len == n || c->failed) {
        return TN_OK;
    }

    return tn_h2_receive(c->h2, bytes + n, len - n);
}


static void
tn_control_link_send(void *data, const uint8_t *bytes, size_t len)
{
    size_t         n, frame_len;
    uint8_t        frame[TN_NOISE_FRAME_MAX];
    tn_control_t  *c;

    c = data;

    while (len != 0) {
        n = tn_min(len, (size_t) TN_NOISE_PLAIN_MAX);

        if (tn_noise_seal(&c->noise, bytes, n, frame, &frame_len) != TN_OK) {
            tn_control_fail(c, "cannot encrypt for control");
            return;
        }

        c->ops->send(c->data, c->link, frame, frame_len);

        bytes += n;
        len -= n;
    }
}


static void
tn_control_link_pong(void *data)
{
    tn_control_t  *c;

    c = data;

    /* it lives; what the timer was for before the PING goes on */

    if (c->followup != NULL) {
        tn_control_timer(c, &c->alive_timer, TN_CONTROL_ALIVE_MS);

    } else if (c->registering != NULL) {
        tn_control_timer(c, &c->alive_timer, TN_CONTROL_REGISTER_MS);

    } else {
        tn_timer_cancel(c->timers, &c->alive_timer);
    }

    c->ping_sent = false;
}
