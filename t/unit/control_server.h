
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A control server in memory, for control_world.h: what it answers is for the
 * test to say.
 */

#ifndef CONTROL_SERVER_H_INCLUDED_
#define CONTROL_SERVER_H_INCLUDED_

#include "control/tn_control.h"
#include "control/tn_noise.h"
#include "crypto/tn_blake2s.h"
#include "crypto/tn_curve.h"

#include <jansson.h>
#include <nghttp2/nghttp2.h>
#include <sodium.h>
#include <stdlib.h>
#include <zstd.h>


#define CONNS    256
#define STREAMS  64
#define NO_WAY   8          /* connections that do not come about */

typedef struct {
    int32_t            id;
    char               path[256];
    char               method[16];
    char              *body;
    size_t             body_len;
    uint8_t           *out;             /* still to be sent */
    size_t             out_len;
    size_t             out_pos;
    bool               end;
} stream_t;

typedef struct {
    uint32_t           id;              /* 0: free or closed */
    char               host[256];
    uint16_t           port;
    bool               tls;
    bool               connected;       /* told to the client */
    bool               refused;
    bool               dropped;
    char               head[4096];
    size_t             head_len;
    bool               noise;
    tn_aead_t         *tx;
    tn_aead_t         *rx;
    uint64_t           tx_counter;
    uint64_t           rx_counter;
    uint8_t            frame[8192];
    size_t             frame_len;
    nghttp2_session   *h2;
    stream_t           streams[STREAMS];
    size_t             nstreams;
    uint8_t           *out;             /* to the client */
    size_t             out_len;
} conn_t;

typedef struct {
    tn_ms_t            now;
    int64_t            wall;
    tn_timers_t        timers;
    tn_control_t      *control;
    tn_keypair_t       key;             /* the server's */
    tn_key_t           client;          /* as its handshake showed */

    conn_t             conns[CONNS];
    size_t             nconns;          /* ever made */
    size_t             piece;           /* bytes given to the client at once */

    /* what the server does */
    bool               down;            /* nobody listens */
    bool               down_plain;      /* only on port 80 */
    const char        *only;            /* and but for this host */
    bool               drop;            /* what is not `only` hears nothing */
    bool               hang;            /* connects, then says nothing */
    bool               early;           /* an early payload */
    bool               hold_maps;       /* map requests are not answered */
    bool               hold_answers;    /* nor, though heard, others */
    bool               hold_updates;
    bool               flip;            /* spoil the next Noise frame */
    const char        *key_answer;      /* instead of the key */
    const char        *upgrade_answer;  /* instead of 101 */
    const char        *plain_answer;    /* the same without TLS */
    const char        *register_answer; /* JSON */
    int                register_status;
    const char        *retry_after;
    const char        *api_key;         /* of the API, which is here, too */
    int                map_status;
    const char        *map;             /* first message of a stream */
    const char      *(*answer)(const char *path);   /* to what else is asked;
                                           NULL: not yet */
    bool               save_fails;
    bool               strict;          /* maps for node keys it knows */
    char               known[TN_KEY_TEXT];
    int                strangers;       /* map requests refused by it */
    int                ops_left;        /* until the client dies, 0: never */
    bool               dead;            /* nothing of it counts any more */

    /* what was seen */
    char              *last_register;   /* JSON texts */
    char              *last_map;
    char              *last_update;
    int                registers;
    int                polls;
    int                updates;
    int                saves;
    int                key_changes;
    char               last_path[512];
    char              *last_body;
    tn_control_saved_t saved;
    tn_control_state_e state;
    char               text[1024];
    uint32_t           changed;         /* bits of the last change */
    size_t             nchanged;        /* peers in it */
    size_t             nremoved;        /* in all */
    int                changes;
    char               ping[32];
    uint32_t           ping_id;
    char               log[1024];       /* the last line over info */
    char               info[1024];      /* and the last of info */
    char               error[1024];     /* the last of an expired key */
    int                errors;
    int                logs;
} world_t;

static world_t  w;


/* --- the server's side */

static void
server_send(conn_t *conn, const void *bytes, size_t len)
{
    conn->out = realloc(conn->out, conn->out_len + len + 1);

    if (conn->out == NULL) {
        abort();
    }

    memcpy(conn->out + conn->out_len, bytes, len);
    conn->out_len += len;
}


static void
server_text(conn_t *conn, const char *text)
{
    server_send(conn, text, strlen(text));
}


static void
server_seal(conn_t *conn, const uint8_t *bytes, size_t len)
{
    size_t   n;
    uint8_t  frame[TN_NOISE_FRAME_MAX], nonce[TN_AEAD_NONCE];

    while (len != 0) {
        n = tn_min(len, (size_t) TN_NOISE_PLAIN_MAX);

        frame[0] = 4;
        frame[1] = (uint8_t) ((n + TN_AEAD_TAG) >> 8);
        frame[2] = (uint8_t) (n + TN_AEAD_TAG);
        tn_aead_nonce_be(nonce, conn->tx_counter++);
        (void) tn_aead_seal(conn->tx, nonce, NULL, 0, bytes, n, frame + 3);

        if (w.flip) {
            w.flip = false;
            frame[5] ^= 1;
        }

        server_send(conn, frame, n + 3 + TN_AEAD_TAG);

        bytes += n;
        len -= n;
    }
}


static void
server_flush(conn_t *conn)
{
    ssize_t         n;
    const uint8_t  *bytes;

    while (conn->h2 != NULL
           && (n = nghttp2_session_mem_send(conn->h2, &bytes)) > 0)
    {
        server_seal(conn, bytes, (size_t) n);
    }
}


static stream_t *
server_stream(conn_t *conn, int32_t id)
{
    size_t  i;

    for (i = 0; i < conn->nstreams; i++) {
        if (conn->streams[i].id == id) {
            return &conn->streams[i];
        }
    }

    return NULL;
}


static ssize_t
server_read(nghttp2_session *session, int32_t id, uint8_t *buf, size_t len,
    uint32_t *flags, nghttp2_data_source *source, void *data)
{
    size_t     n;
    stream_t  *stream;

    (void) session;
    (void) source;

    stream = server_stream(data, id);
    n = tn_min(len, stream->out_len - stream->out_pos);

    if (n == 0 && !stream->end) {
        return NGHTTP2_ERR_DEFERRED;
    }

    if (n != 0) {
        memcpy(buf, stream->out + stream->out_pos, n);
    }

    stream->out_pos += n;

    if (stream->end && stream->out_pos == stream->out_len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }

    return (ssize_t) n;
}


static void
stream_write(stream_t *stream, const void *bytes, size_t len)
{
    if (stream->out_pos == stream->out_len) {
        stream->out_pos = 0;
        stream->out_len = 0;
    }

    stream->out = realloc(stream->out, stream->out_len + len + 1);

    if (stream->out == NULL) {
        abort();
    }

    memcpy(stream->out + stream->out_len, bytes, len);
    stream->out_len += len;
}


static void
server_respond(conn_t *conn, stream_t *stream, int status, const char *body,
    bool end)
{
    char                   code[8];
    size_t                 n;
    nghttp2_nv             fields[2];
    nghttp2_data_provider  provider;

    snprintf(code, sizeof(code), "%d", status);
    memset(fields, 0, sizeof(fields));

    fields[0].name = (uint8_t *) (uintptr_t) ":status";
    fields[0].namelen = 7;
    fields[0].value = (uint8_t *) code;
    fields[0].valuelen = strlen(code);
    n = 1;

    if (w.retry_after != NULL) {
        fields[1].name = (uint8_t *) (uintptr_t) "retry-after";
        fields[1].namelen = 11;
        fields[1].value = (uint8_t *) (uintptr_t) w.retry_after;
        fields[1].valuelen = strlen(w.retry_after);
        n = 2;
    }

    stream_write(stream, body, strlen(body));
    stream->end = end;

    provider.source.ptr = stream;
    provider.read_callback = server_read;

    (void) nghttp2_submit_response(conn->h2, stream->id, fields, n,
                                   &provider);
}


/* the newest request to this path that has no answer yet gets one */
static inline void
server_answer(conn_t *conn, const char *path, const char *body)
{
    size_t  i;

    for (i = conn ? conn->nstreams : 0; i-- != 0; /* void */ ) {
        if (strcmp(conn->streams[i].path, path) == 0
            && !conn->streams[i].end)
        {
            server_respond(conn, &conn->streams[i], 200, body, true);
            server_flush(conn);
            return;
        }
    }
}


/* the newest open connection that carries HTTP/2 */
static conn_t *
server_conn(void)
{
    size_t  i;

    for (i = w.nconns; i-- != 0; /* void */ ) {
        if (w.conns[i % CONNS].id != 0 && w.conns[i % CONNS].h2 != NULL) {
            return &w.conns[i % CONNS];
        }
    }

    return NULL;
}


/* the map stream on it */
static stream_t *
server_map_stream(conn_t *conn)
{
    size_t  i;

    for (i = conn ? conn->nstreams : 0; i-- != 0; /* void */ ) {
        if (strcmp(conn->streams[i].path, "/machine/map") == 0
            && !conn->streams[i].end)
        {
            return &conn->streams[i];
        }
    }

    return NULL;
}


/* one framed message, as zstd, or with `raw` as it is */
static void
server_map_bytes(const void *bytes, size_t len, bool raw)
{
    void      *buf;
    size_t     n;
    conn_t    *conn;
    uint8_t    size[4];
    stream_t  *stream;

    conn = server_conn();
    stream = server_map_stream(conn);

    if (stream == NULL) {
        return;
    }

    buf = malloc(ZSTD_compressBound(len) + 1);

    if (buf == NULL) {
        abort();
    }

    n = raw ? len : ZSTD_compress(buf, ZSTD_compressBound(len), bytes, len,
                                  1);

    if (raw) {
        memcpy(buf, bytes, len);
    }

    size[0] = (uint8_t) n;
    size[1] = (uint8_t) (n >> 8);
    size[2] = (uint8_t) (n >> 16);
    size[3] = (uint8_t) (n >> 24);

    stream_write(stream, size, 4);
    stream_write(stream, buf, n);
    free(buf);

    (void) nghttp2_session_resume_data(conn->h2, stream->id);
    server_flush(conn);
}


static void
server_map(const char *json)
{
    server_map_bytes(json, strlen(json), false);
}


static void
keep(char **place, const char *text)
{
    free(*place);
    *place = strdup(text ? text : "");
}


/* the key of a registration that goes through is the node's from here on */
static void
server_learn(const char *body)
{
    json_t      *o;
    const char  *key;

    if (w.register_answer == NULL
        || strstr(w.register_answer, "MachineAuthorized") == NULL)
    {
        return;
    }

    o = json_loads(body, 0, NULL);
    key = json_string_value(json_object_get(o, "NodeKey"));

    if (key != NULL && json_object_get(o, "Expiry") != NULL) {
        snprintf(w.known, sizeof(w.known), "%s", key);
    }

    json_decref(o);
}


static bool
server_refuses(json_t *o)
{
    const char  *key;

    key = json_string_value(json_object_get(o, "NodeKey"));

    return w.strict && (key == NULL || strcmp(key, w.known) != 0);
}


static void
server_request(conn_t *conn, stream_t *stream)
{
    json_t      *o;
    const char  *body;

    body = stream->body ? stream->body : "";

    if (strcmp(stream->path, "/machine/register") == 0) {
        w.registers++;
        keep(&w.last_register, body);
        server_learn(body);

        if (w.register_answer != NULL && !w.hold_answers) {
            server_respond(conn, stream, w.register_status,
                           w.register_answer, true);
        }

        return;
    }

    if (strcmp(stream->path, "/machine/map") != 0) {
        snprintf(w.last_path, sizeof(w.last_path), "%s %s", stream->method,
                 stream->path);
        keep(&w.last_body, body);
        body = w.answer != NULL ? w.answer(stream->path) : "";

        if (body != NULL) {
            server_respond(conn, stream, 200, body, true);
        }

        return;
    }

    o = json_loads(body, 0, NULL);

    if (json_is_true(json_object_get(o, "Stream"))) {
        w.polls++;
        keep(&w.last_map, body);

        if (w.map_status != 200 || server_refuses(o)) {
            w.strangers++;
            server_respond(conn, stream, w.map_status != 200 ? w.map_status
                                                             : 404,
                           "node not found", true);

        } else if (!w.hold_maps) {
            server_respond(conn, stream, 200, "", false);

            if (w.map != NULL) {
                server_map(w.map);
            }
        }

    } else {
        w.updates++;
        keep(&w.last_update, body);

        if (!w.hold_updates) {
            server_respond(conn, stream, 200, "", true);
        }
    }

    json_decref(o);
}


static int
server_on_header(nghttp2_session *session, const nghttp2_frame *frame,
    const uint8_t *name, size_t name_len, const uint8_t *value,
    size_t value_len, uint8_t flags, void *data)
{
    conn_t    *conn;
    stream_t  *stream;

    (void) session;
    (void) flags;
    (void) name_len;

    conn = data;
    stream = server_stream(conn, frame->hd.stream_id);

    if (stream == NULL) {
        if (conn->nstreams == STREAMS) {
            abort();
        }

        stream = &conn->streams[conn->nstreams++];
        memset(stream, 0, sizeof(*stream));
        stream->id = frame->hd.stream_id;
    }

    if (strcmp((const char *) name, ":path") == 0) {
        snprintf(stream->path, sizeof(stream->path), "%.*s", (int) value_len,
                 (const char *) value);

    } else if (strcmp((const char *) name, ":method") == 0) {
        snprintf(stream->method, sizeof(stream->method), "%.*s",
                 (int) value_len, (const char *) value);
    }

    return 0;
}


static int
server_on_data(nghttp2_session *session, uint8_t flags, int32_t id,
    const uint8_t *bytes, size_t len, void *data)
{
    stream_t  *stream;

    (void) session;
    (void) flags;

    stream = server_stream(data, id);
    stream->body = realloc(stream->body, stream->body_len + len + 1);

    if (stream->body == NULL) {
        abort();
    }

    memcpy(stream->body + stream->body_len, bytes, len);
    stream->body_len += len;
    stream->body[stream->body_len] = '\0';

    return 0;
}


static int
server_on_frame(nghttp2_session *session, const nghttp2_frame *frame,
    void *data)
{
    (void) session;

    if ((frame->hd.type == NGHTTP2_DATA || frame->hd.type == NGHTTP2_HEADERS)
        && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM))
    {
        server_request(data, server_stream(data, frame->hd.stream_id));
    }

    return 0;
}


static void
server_h2(conn_t *conn)
{
    nghttp2_session_callbacks  *callbacks;

    static const uint8_t  early[] = "\xff\xff\xff" "TS\0\0\0\x1f"
                                    "{\"nodeKeyChallenge\":\"chalpub:\"}";

    (void) nghttp2_session_callbacks_new(&callbacks);
    nghttp2_session_callbacks_set_on_header_callback(callbacks,
                                                     server_on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks,
                                                            server_on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks,
                                                         server_on_frame);
    (void) nghttp2_session_server_new(&conn->h2, callbacks, conn);
    nghttp2_session_callbacks_del(callbacks);

    if (w.early) {
        server_seal(conn, early, sizeof(early) - 1);
    }

    (void) nghttp2_submit_settings(conn->h2, NGHTTP2_FLAG_NONE, NULL, 0);
    server_flush(conn);
}


/* --- Noise as the responder */

typedef struct {
    uint8_t  h[32];
    uint8_t  ck[32];
} symmetric_t;


static void
mix(symmetric_t *s, const void *data, size_t len)
{
    (void) tn_blake2s(s->h, s->h, 32, data, len);
}


static void
mix_dh(symmetric_t *s, tn_key_t *key, const tn_key_t *priv,
    const tn_key_t *pub)
{
    uint8_t  dh[32];

    (void) tn_curve_dh(dh, priv, pub);
    (void) tn_blake2s_hkdf(s->ck, key->b, NULL, s->ck, dh, 32);
}


static bool
server_handshake(conn_t *conn, const uint8_t *m)
{
    char          prologue[64];
    uint8_t       nonce[12] = { 0 }, response[TN_NOISE_RESPONSE], none[1];
    tn_key_t      key, ephemeral, k1, k2;
    symmetric_t   s;
    tn_keypair_t  own;

    (void) tn_blake2s(s.h, "Noise_IK_25519_ChaChaPoly_BLAKE2s", 33, NULL, 0);
    memcpy(s.ck, s.h, 32);
    snprintf(prologue, sizeof(prologue), "Tailscale Control Protocol v%d",
             m[0] << 8 | m[1]);
    mix(&s, prologue, strlen(prologue));
    mix(&s, w.key.pub.b, 32);

    memcpy(ephemeral.b, m + 5, 32);
    mix(&s, ephemeral.b, 32);
    mix_dh(&s, &key, &w.key.priv, &ephemeral);

    if (tn_aead_open_once(&key, nonce, s.h, 32, m + 37, 48, w.client.b)
        != TN_OK)
    {
        return false;
    }

    mix(&s, m + 37, 48);
    mix_dh(&s, &key, &w.key.priv, &w.client);

    if (tn_aead_open_once(&key, nonce, s.h, 32, m + 85, 16, none) != TN_OK) {
        return false;
    }

    mix(&s, m + 85, 16);

    tn_curve_keypair(&own);
    memcpy(response, "\x02\x00\x30", 3);
    memcpy(response + 3, own.pub.b, 32);
    mix(&s, own.pub.b, 32);
    mix_dh(&s, &key, &own.priv, &ephemeral);
    mix_dh(&s, &key, &own.priv, &w.client);
    (void) tn_aead_seal_once(&key, nonce, s.h, 32, NULL, 0, response + 35);

    (void) tn_blake2s_hkdf(k1.b, k2.b, NULL, s.ck, NULL, 0);
    conn->rx = tn_aead_create(&k1);
    conn->tx = tn_aead_create(&k2);
    conn->noise = true;

    server_send(conn, response, sizeof(response));

    return true;
}


/* an OAuth client gets a token, and by that a key */
static void
server_api(conn_t *conn)
{
    int   n;
    bool  token;
    char  text[256], head[64];

    token = strncmp(conn->head, "POST /api/v2/oauth/token ", 25) == 0;
    n = snprintf(text, sizeof(text), "{\"%s\":\"%s\"}",
                 token ? "access_token" : "key",
                 token ? "token-1" : w.api_key);
    snprintf(head, sizeof(head), "HTTP/1.1 200 OK\r\nContent-Length: %d"
             "\r\n\r\n", n);
    server_text(conn, head);
    server_text(conn, text);
}


static void
server_head(conn_t *conn)
{
    char     *p, text[512], key[TN_KEY_TEXT];
    uint8_t   m[TN_NOISE_INITIATION];
    size_t    n;

    if (strncmp(conn->head, "GET /key?v=", 11) == 0) {

        if (w.key_answer != NULL) {
            server_text(conn, w.key_answer);
            return;
        }

        n = (size_t) snprintf(text, sizeof(text), "{\"publicKey\":\"%s\"}",
                      tn_key_text(&w.key.pub, TN_KEY_MACHINE, key));
        snprintf(text + 256, 256, "HTTP/1.1 200 OK\r\nContent-Length: %zu"
                 "\r\n\r\n", n);
        server_text(conn, text + 256);
        server_text(conn, text);
        return;
    }

    if (w.api_key != NULL && strncmp(conn->head, "POST /api/", 10) == 0) {
        server_api(conn);
        return;
    }

    p = strstr(conn->head, "X-Tailscale-Handshake: ");

    if (strncmp(conn->head, "POST /ts2021 HTTP/1.1\r\n", 23) != 0
        || strstr(conn->head, "Upgrade: tailscale-control-protocol\r\n")
           == NULL
        || p == NULL
        || sodium_base642bin(m, sizeof(m), p + 23, 136, NULL, &n, NULL,
                             sodium_base64_VARIANT_ORIGINAL) != 0
        || n != sizeof(m))
    {
        snprintf(w.last_path, sizeof(w.last_path), "%.*s",
                 (int) strcspn(conn->head, "\r"), conn->head);
        server_text(conn, "HTTP/1.1 404 Not Found\r\n"
                          "Content-Length: 0\r\n\r\n");
        return;
    }

    if (w.plain_answer != NULL && !conn->tls) {
        server_text(conn, w.plain_answer);
        return;
    }

    if (w.upgrade_answer != NULL) {
        server_text(conn, w.upgrade_answer);
        return;
    }

    server_text(conn, "HTTP/1.1 101 Switching Protocols\r\n"
                      "Upgrade: tailscale-control-protocol\r\n"
                      "Connection: Upgrade\r\n\r\n");

    if (!server_handshake(conn, m)) {
        server_send(conn, "\x03\x00\x0fnot for this key", 3 + 15);
        return;
    }

    server_h2(conn);
}


static void
server_receive(conn_t *conn, const uint8_t *bytes, size_t len)
{
    size_t   n;
    uint8_t  nonce[TN_AEAD_NONCE];

    if (w.hang) {
        return;
    }

    if (!conn->noise) {

        if (conn->head_len + len >= sizeof(conn->head)) {
            abort();
        }

        memcpy(conn->head + conn->head_len, bytes, len);
        conn->head_len += len;
        conn->head[conn->head_len] = '\0';

        if (strstr(conn->head, "\r\n\r\n") != NULL) {
            server_head(conn);
        }

        return;
    }

    if (conn->frame_len + len > sizeof(conn->frame)) {
        abort();
    }

    memcpy(conn->frame + conn->frame_len, bytes, len);
    conn->frame_len += len;

    while (conn->frame_len >= 3) {
        n = (size_t) conn->frame[1] << 8 | conn->frame[2];

        if (conn->frame_len < 3 + n) {
            break;
        }

        tn_aead_nonce_be(nonce, conn->rx_counter++);

        if (tn_aead_open(conn->rx, nonce, NULL, 0, conn->frame + 3, n,
                         conn->frame + 3) != TN_OK)
        {
            abort();
        }

        (void) nghttp2_session_mem_recv(conn->h2, conn->frame + 3,
                                        n - TN_AEAD_TAG);

        conn->frame_len -= 3 + n;
        memmove(conn->frame, conn->frame + 3 + n, conn->frame_len);
    }

    server_flush(conn);
}


#endif /* CONTROL_SERVER_H_INCLUDED_ */
