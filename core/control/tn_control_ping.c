
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What control asks through the map (tailcfg.PingRequest).
 *
 * Types empty: a HEAD to the URL, which shows that we are alive.  "c2n": the
 * payload is an HTTP/1.x request to be run here; the answer, as HTTP text,
 * is posted to the URL, always over Noise.  Else a comma list of disco, TSMP,
 * ICMP and peerapi: each is done by the node, each answer is a PingResponse
 * posted to the URL.  A URL that came before is not asked again.
 */

#include "control/tn_control_int.h"

#include "crypto/tn_blake2s.h"

#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>


#define TN_CONTROL_C2N_MAX  65536       /* bytes of a request */


static bool tn_control_ping_new(tn_control_t *c, const char *url);
static void tn_control_ping_head(tn_control_t *c, const char *url,
    bool noise);
static void tn_control_ping_types(tn_control_t *c, const json_t *o);
static void tn_control_ping_c2n(tn_control_t *c, const json_t *o);
static void tn_control_c2n_run(tn_control_t *c, tn_control_ask_t *ask,
    char *text, size_t len);
static tn_control_ask_t *tn_control_ask_add(tn_control_t *c,
    const char *url, const char *type, bool c2n);
static tn_control_ask_t *tn_control_ask_find(tn_control_t *c, uint32_t id,
    bool c2n);
static const char *tn_control_ping_path(const char *url, tn_url_t *parsed);
static void tn_control_ping_answer(tn_control_t *c, const char *method,
    const char *path, const char *type, char *text);
static void tn_control_ping_answered(tn_control_t *c,
    tn_control_call_t *call, const char *error);


void
tn_control_ping(tn_control_t *c, tn_json_span_t span)
{
    json_t      *o;
    const char  *url, *types;

    if (tn_json_load(span, &o) != TN_OK) {
        return;
    }

    url = tn_json_text(o, "URL");
    types = tn_json_text(o, "Types");

    if (*url == '\0' || strlen(url) > TN_URL_PATH_MAX
        || !tn_control_ping_new(c, url))
    {
        json_decref(o);
        return;
    }

    if (tn_json_bool(o, "Log")) {
        tn_log(c->log, TN_LOG_INFO, "control: asked for a ping (%s)",
               *types ? types : "HEAD");
    }

    if (*types == '\0') {
        tn_control_ping_head(c, url, tn_json_bool(o, "URLIsNoise"));

    } else if (strcmp(types, "c2n") == 0) {
        tn_control_ping_c2n(c, o);

    } else {
        tn_control_ping_types(c, o);
    }

    json_decref(o);
}


void
tn_control_pings_drop(tn_control_t *c)
{
    memset(c->asks, 0, sizeof(c->asks));
}


void
tn_control_pong(tn_control_t *c, uint32_t id, const tn_control_pong_t *pong)
{
    char              *text;
    json_t            *o;
    tn_url_t           url;
    const char        *path;
    tn_control_ask_t  *ask;

    ask = tn_control_ask_find(c, id, false);

    if (ask == NULL || c->h2 == NULL) {
        return;
    }

    o = json_pack("{s:s}", "Type", ask->type);

    if (pong->error != NULL) {
        json_object_set_new(o, "Err", json_string(pong->error));
    }

    if (pong->seconds > 0) {
        json_object_set_new(o, "LatencySeconds", json_real(pong->seconds));
    }

    if (pong->node_ip != NULL) {
        json_object_set_new(o, "IP", json_string(pong->node_ip));
        json_object_set_new(o, "NodeIP", json_string(pong->node_ip));
    }

    if (pong->node_name != NULL) {
        json_object_set_new(o, "NodeName", json_string(pong->node_name));
    }

    if (pong->endpoint != NULL) {
        json_object_set_new(o, "Endpoint", json_string(pong->endpoint));
    }

    if (pong->peer_relay != NULL) {
        json_object_set_new(o, "PeerRelay", json_string(pong->peer_relay));
    }

    if (pong->derp_region != 0) {
        json_object_set_new(o, "DERPRegionID",
                            json_integer(pong->derp_region));
    }

    if (pong->derp_code != NULL) {
        json_object_set_new(o, "DERPRegionCode",
                            json_string(pong->derp_code));
    }

    if (pong->peerapi_port != 0) {
        json_object_set_new(o, "PeerAPIPort",
                            json_integer(pong->peerapi_port));
    }

    text = json_dumps(o, JSON_COMPACT);
    json_decref(o);

    path = tn_control_ping_path(ask->url, &url);
    memset(ask, 0, sizeof(tn_control_ask_t));

    tn_control_enter(c);

    if (text != NULL && path != NULL) {
        tn_control_ping_answer(c, "POST", path, "application/json", text);
    } else {
        free(text);
    }

    tn_control_leave(c);
}


void
tn_control_c2n_answer(tn_control_t *c, uint32_t id, int status,
    const char *content_type, const char *body, size_t len)
{
    int                n;
    char              *text;
    tn_url_t           url;
    const char        *path;
    tn_control_ask_t  *ask;

    ask = tn_control_ask_find(c, id, true);

    if (ask == NULL || c->h2 == NULL) {
        return;
    }

    path = tn_control_ping_path(ask->url, &url);
    memset(ask, 0, sizeof(tn_control_ask_t));

    text = malloc(len + 512);

    if (path == NULL || text == NULL || len > TN_CONTROL_ANSWER_MAX
        || memchr(body, '\0', len) != NULL)
    {
        free(text);
        return;
    }

    n = snprintf(text, 512,
                 "HTTP/1.1 %d %s\r\n"
                 "Content-Type: %.100s\r\n"
                 "Content-Length: %zu\r\n"
                 "Connection: close\r\n"
                 "\r\n",
                 status, status / 100 == 2 ? "OK" : "Error",
                 content_type ? content_type : "text/plain", len);

    memcpy(text + n, body, len);
    text[(size_t) n + len] = '\0';

    tn_control_enter(c);
    tn_control_ping_answer(c, "POST", path, "application/octet-stream", text);
    tn_control_leave(c);
}


/* by a hash of the URL, over the last few */
static bool
tn_control_ping_new(tn_control_t *c, const char *url)
{
    size_t    i;
    uint8_t   digest[TN_BLAKE2S_LEN];
    uint64_t  hash;

    if (tn_blake2s(digest, url, strlen(url), NULL, 0) != TN_OK) {
        return false;
    }

    memcpy(&hash, digest, sizeof(hash));

    for (i = 0; i < tn_min(c->npinged, tn_nelems(c->pinged)); i++) {
        if (c->pinged[i] == hash) {
            return false;
        }
    }

    c->pinged[c->npinged++ % tn_nelems(c->pinged)] = hash;

    return true;
}


/*
 * Without Noise only to where control itself lives, or by https: control has
 * no business with what else this machine can reach by plain HTTP.
 */
static void
tn_control_ping_head(tn_control_t *c, const char *url, bool noise)
{
    tn_url_t     parsed;
    const char  *err, *path;

    if (noise) {
        path = tn_control_ping_path(url, &parsed);

        if (path != NULL) {
            tn_control_ping_answer(c, "HEAD", path, NULL, NULL);
        }

        return;
    }

    if (tn_url_parse(&parsed, url, &err) != TN_OK) {
        return;
    }

    if (!parsed.tls && (c->url.tls || strcasecmp(parsed.host, c->url.host)
                                      != 0))
    {
        tn_log(c->log, TN_LOG_INFO, "control: a ping to %s was not made",
               parsed.host);
        return;
    }

    tn_control_dial_url(c, &parsed);
}


static void
tn_control_ping_types(tn_control_t *c, const json_t *o)
{
    char                type[16];
    size_t              len;
    const char         *types, *ip;
    tn_control_ask_t   *ask;
    tn_control_ping_t   ping;
    tn_control_pong_t   pong;

    types = tn_json_text(o, "Types");
    ip = tn_json_text(o, "IP");

    memset(&ping, 0, sizeof(ping));

    if (tn_ip_parse(&ping.ip, ip, strlen(ip)) != TN_OK) {
        return;
    }

    for ( /* void */ ; *types != '\0'; types += len) {
        types += *types == ',';
        len = strcspn(types, ",");

        if (len == 0 || len >= sizeof(type)) {
            continue;
        }

        memcpy(type, types, len);
        type[len] = '\0';

        ask = tn_control_ask_add(c, tn_json_text(o, "URL"), type, false);

        ping.id = ask->id;
        ping.type = ask->type;

        if (c->ops->ping != NULL) {
            c->ops->ping(c->data, &ping);
            continue;
        }

        memset(&pong, 0, sizeof(pong));
        pong.error = "not supported by this node";
        tn_control_pong(c, ask->id, &pong);
    }
}


static void
tn_control_ping_c2n(tn_control_t *c, const json_t *o)
{
    char              *text;
    size_t             len, size;
    json_t            *value;
    tn_control_ask_t  *ask;

    value = json_object_get(o, "Payload");
    size = json_string_length(value);

    if (size == 0 || size > TN_CONTROL_C2N_MAX) {
        return;
    }

    text = malloc(size + 1);
    if (text == NULL) {
        return;
    }

    ask = tn_control_ask_add(c, tn_json_text(o, "URL"), "c2n", true);

    if (sodium_base642bin((uint8_t *) text, size, json_string_value(value),
                          size, NULL, &len, NULL,
                          sodium_base64_VARIANT_ORIGINAL)
        == 0)
    {
        text[len] = '\0';
        tn_control_c2n_run(c, ask, text, len);
    }

    free(text);
}


static void
tn_control_c2n_run(tn_control_t *c, tn_control_ask_t *ask, char *text,
    size_t len)
{
    char               *p, *path, *end, *head_end;
    tn_control_c2n_t    request;

    static const char  unknown[] = "unknown c2n path\n";
    static const char  malformed[] = "malformed request\n";

    memset(&request, 0, sizeof(request));
    request.id = ask->id;

    head_end = strstr(text, "\r\n\r\n");
    path = strchr(text, ' ');
    end = path ? strchr(path + 1, ' ') : NULL;
    p = strstr(text, "\r\n");

    if (head_end == NULL || end == NULL || p == NULL || end > p) {
        tn_control_c2n_answer(c, ask->id, 400, NULL, malformed,
                              sizeof(malformed) - 1);
        return;
    }

    *path++ = '\0';
    *end = '\0';

    request.method = text;
    request.path = path;
    request.body = head_end + 4;
    request.body_len = len - (size_t) (request.body - text);

    if (tn_control_c2n_own(c, &request)) {
        return;
    }

    if (c->ops->c2n != NULL) {
        c->ops->c2n(c->data, &request);

    } else {
        tn_control_c2n_answer(c, ask->id, 400, NULL, unknown,
                              sizeof(unknown) - 1);
    }
}


/* those that were never answered give way to new ones */
static tn_control_ask_t *
tn_control_ask_add(tn_control_t *c, const char *url, const char *type,
    bool c2n)
{
    tn_control_ask_t  *ask;

    if (++c->next_ask == 0) {
        c->next_ask = 1;
    }

    ask = &c->asks[c->next_ask % tn_nelems(c->asks)];

    ask->id = c->next_ask;
    ask->c2n = c2n;
    snprintf(ask->type, sizeof(ask->type), "%s", type);
    snprintf(ask->url, sizeof(ask->url), "%s", url);

    return ask;
}


static tn_control_ask_t *
tn_control_ask_find(tn_control_t *c, uint32_t id, bool c2n)
{
    tn_control_ask_t  *ask;

    ask = &c->asks[id % tn_nelems(c->asks)];

    return id != 0 && ask->id == id && ask->c2n == c2n ? ask : NULL;
}


/* over Noise only the path of a URL counts */
static const char *
tn_control_ping_path(const char *url, tn_url_t *parsed)
{
    const char  *err;

    if (tn_url_parse(parsed, url, &err) != TN_OK) {
        return NULL;
    }

    return parsed->path[0] ? parsed->path : "/";
}


/* takes text over; who asks and does not take the answers gets no more */
static void
tn_control_ping_answer(tn_control_t *c, const char *method, const char *path,
    const char *type, char *text)
{
    if (c->npongs >= TN_CONTROL_PINGS_MAX) {
        free(text);
        return;
    }

    if (tn_control_request(c, method, path, type, text,
                           tn_control_ping_answered)
        != NULL)
    {
        c->npongs++;
    }
}


static void
tn_control_ping_answered(tn_control_t *c, tn_control_call_t *call,
    const char *error)
{
    (void) call;

    c->npongs--;

    if (error != NULL && !c->failed) {
        tn_log(c->log, TN_LOG_INFO, "control: the answer to a ping was not "
               "taken: %s", error);
    }
}
