
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory.
 *
 * A connection passes through
 *
 *     IDLE --start--> UPGRADE --101--> GREETING --ServerKey--> READY
 *      \________________ fast start _________________________/
 *
 * UPGRADE waits for the HTTP response, GREETING for the server's key; then
 * ClientInfo goes out, sealed to that key, and packets may follow in the same
 * flight.  With a key from the meta certificate (upstream: fast start) all of
 * that is one write: the server sends no HTTP response, and its ServerKey
 * frame, which still comes, is skipped.
 *
 * Where a proxy refuses that upgrade the owner may ask for WebSocket: the
 * same bytes as binary messages, always with the whole greeting.  A write
 * is one message, or several of at most 16 KiB.  After 25 s of silence a
 * WebSocket ping goes out: proxies give up connections that are silent for a
 * minute, which is as long as the server may be.
 *
 * From READY on frames are handled one by one.  A frame that lies whole in
 * the bytes given is handled in place; else its parts are gathered in a
 * buffer that holds the longest packet.  Longer frames up to 1 MiB are
 * skipped, beyond that the stream is taken for broken.
 *
 * One timer: the login must be done in 10 s, after that an unanswered probe
 * ends the client.  Bytes only note the time; the timer finds out that it is
 * too early and sets itself anew.  A packet that went out while nothing is
 * heard for 10 s has the server pinged: a relay that hangs is left 15 s after
 * the first packet it has swallowed.  So does silence for 30 s, which is half
 * of the server's KeepAlive: an idle relay that hangs is left within 35 s
 * (upstream: 120 s), since nobody could reach us while we wait.
 *
 * Sending obeys the token bucket of ServerInfo if there is one, and never
 * waits: what does not pass is dropped, as DERP is a datagram service.
 */

#include "tn_derp_client.h"

#include "crypto/tn_curve.h"
#include "wire/tn_derp.h"
#include "wire/tn_ws.h"

#include <stdio.h>
#include <stdlib.h>


#define TN_DERP_CLIENT_HTTP_MAX  8192
#define TN_DERP_CLIENT_BUF \
    (TN_DERP_HEAD + TN_KEY_LEN + TN_DERP_PACKET_MAX)

#define TN_DERP_CLIENT_WS_PING_MS  25000
#define TN_DERP_CLIENT_QUIET_MS    10000    /* with a packet out: ping */
#define TN_DERP_CLIENT_IDLE_MS     30000    /* without: the same */
#define TN_DERP_CLIENT_PONG_MS     5000

/* derper's library refuses messages over 32 KiB: longer frames take several */
#define TN_DERP_CLIENT_WS_MESSAGE  16384
#define TN_DERP_CLIENT_WS_OUT \
    (TN_DERP_CLIENT_BUF \
     + (TN_DERP_CLIENT_BUF / TN_DERP_CLIENT_WS_MESSAGE + 1) * TN_WS_HEAD_MAX)

/* what a connection over WebSocket has more */
typedef struct {
    tn_ws_reader_t               reader;
    char                         key[TN_WS_KEY_TEXT];
    tn_ms_t                      pinged;
    uint8_t                      out[TN_DERP_CLIENT_WS_OUT];
} tn_derp_client_ws_t;

typedef enum {
    TN_DERP_CLIENT_IDLE = 0,
    TN_DERP_CLIENT_UPGRADE,
    TN_DERP_CLIENT_GREETING,
    TN_DERP_CLIENT_READY
} tn_derp_client_state_e;

struct tn_derp_client_s {
    const tn_derp_client_ops_t  *ops;
    void                        *data;
    const tn_keypair_t          *node;
    tn_timers_t                 *timers;
    tn_log_t                    *log;
    tn_timer_t                   timer;

    tn_derp_client_state_e       state;
    bool                         upgraded;
    tn_derp_client_ws_t         *ws;        /* NULL: the upgrade is DERP's */
    tn_box_key_t                 box;
    tn_ms_t                      heard;     /* last frame */
    tn_ms_t                      written;   /* last packet */
    tn_ms_t                      watched;   /* silent since? 0: none is out */
    tn_ms_t                      probe_until;   /* 0: none is out */
    bool                         hung;          /* a probe was in vain */
    uint8_t                      probe[TN_DERP_PING];

    bool                         info;      /* ServerInfo came */
    bool                         home;
    bool                         home_told;

    uint64_t                     rate;      /* bytes per second, 0: free */
    uint64_t                     burst;
    uint64_t                     tokens;    /* thousandths of a byte */
    tn_ms_t                      tokens_at;

    size_t                       skip;      /* of a frame too long to keep */
    size_t                       len;       /* gathered in buf */
    uint8_t                      buf[TN_DERP_CLIENT_BUF];
};


static tn_rc_t tn_derp_client_stream(tn_derp_client_t *client, tn_ms_t now,
    uint8_t *bytes, size_t len);
static tn_rc_t tn_derp_client_write(tn_derp_client_t *client,
    const uint8_t *head, size_t head_len, const uint8_t *body,
    size_t body_len);
static tn_rc_t tn_derp_client_message(tn_derp_client_t *client,
    tn_ws_opcode_e opcode, const uint8_t *head, size_t head_len,
    const uint8_t *body, size_t body_len);
static tn_rc_t tn_derp_client_login(tn_derp_client_t *client, tn_ms_t now,
    const char *request, const tn_key_t *server);
static tn_rc_t tn_derp_client_upgrade(tn_derp_client_t *client, tn_ms_t now,
    uint8_t **bytes, size_t *len);
static size_t tn_derp_client_gather(tn_derp_client_t *client,
    const uint8_t *bytes, size_t len, size_t want);
static tn_rc_t tn_derp_client_frame(tn_derp_client_t *client, tn_ms_t now,
    uint8_t *bytes, size_t len, bool last);
static tn_rc_t tn_derp_client_greeting(tn_derp_client_t *client, tn_ms_t now,
    uint8_t type, const uint8_t *payload, size_t len);
static tn_rc_t tn_derp_client_info(tn_derp_client_t *client, tn_ms_t now,
    const tn_derp_frame_t *frame);
static bool tn_derp_client_take(tn_derp_client_t *client, tn_ms_t now,
    size_t len);
static void tn_derp_client_tell_home(tn_derp_client_t *client);
static void tn_derp_client_arm(tn_derp_client_t *client, tn_ms_t at);
static void tn_derp_client_timer(void *data, tn_ms_t now);
static tn_rc_t tn_derp_client_fail(tn_derp_client_t *client, tn_ms_t now,
    const char *reason);


tn_derp_client_t *
tn_derp_client_create(const tn_derp_client_ops_t *ops, void *data,
    const tn_keypair_t *node, tn_timers_t *timers, tn_log_t *log)
{
    tn_derp_client_t  *client;

    client = calloc(1, sizeof(tn_derp_client_t));

    if (client == NULL) {
        return NULL;
    }

    client->ops = ops;
    client->data = data;
    client->node = node;
    client->timers = timers;
    client->log = log;

    tn_timer_init(&client->timer, tn_derp_client_timer, client);

    return client;
}


void
tn_derp_client_destroy(tn_derp_client_t *client)
{
    if (client == NULL) {
        return;
    }

    tn_timer_cancel(client->timers, &client->timer);
    tn_wipe(&client->box, sizeof(tn_box_key_t));
    free(client->ws);
    free(client);
}


tn_rc_t
tn_derp_client_use_websocket(tn_derp_client_t *client)
{
    client->ws = calloc(1, sizeof(tn_derp_client_ws_t));

    return client->ws ? TN_OK : TN_NOMEM;
}


tn_rc_t
tn_derp_client_start(tn_derp_client_t *client, tn_ms_t now, const char *host,
    const char *ideal, const tn_key_t *meta_key)
{
    int   n;
    char  request[1024], fields[160];

    tn_derp_client_arm(client, now + TN_DERP_CLIENT_LOGIN_TIMEOUT_MS);

    fields[0] = '\0';

    if (client->ws != NULL) {
        meta_key = NULL;
        tn_ws_key(client->ws->key);
        (void) snprintf(fields, sizeof(fields),
                        "Sec-WebSocket-Version: 13\r\n"
                        "Sec-WebSocket-Protocol: derp\r\n"
                        "Sec-WebSocket-Key: %s\r\n", client->ws->key);
    }

    n = snprintf(request, sizeof(request),
                 "GET /derp HTTP/1.1\r\n"
                 "Host: %s\r\n"
                 "Upgrade: %s\r\n"
                 "Connection: Upgrade\r\n"
                 "%s%s%s%s%s"
                 "\r\n",
                 host, client->ws ? "websocket" : "DERP", fields,
                 ideal ? "Ideal-Node: " : "", ideal ? ideal : "",
                 ideal ? "\r\n" : "",
                 meta_key ? "Derp-Fast-Start: 1\r\n" : "");

    if (n < 0 || (size_t) n >= sizeof(request)) {
        return TN_ERROR;
    }

    if (meta_key != NULL) {
        client->upgraded = true;
        return tn_derp_client_login(client, now, request, meta_key);
    }

    client->state = TN_DERP_CLIENT_UPGRADE;

    return client->ops->write(client->data, (uint8_t *) request, (size_t) n,
                              NULL, 0);
}


tn_rc_t
tn_derp_client_input(tn_derp_client_t *client, tn_ms_t now, uint8_t *bytes,
    size_t len)
{
    size_t          n;
    uint8_t        *data;
    tn_rc_t         rc;
    tn_ws_opcode_e  opcode;

    if (client->state == TN_DERP_CLIENT_UPGRADE) {
        rc = tn_derp_client_upgrade(client, now, &bytes, &len);

        if (rc != TN_OK) {
            return rc == TN_AGAIN ? TN_OK : rc;
        }
    }

    if (client->ws == NULL) {
        return tn_derp_client_stream(client, now, bytes, len);
    }

    for ( ;; ) {
        rc = tn_ws_read(&client->ws->reader, &bytes, &len, &opcode, &data,
                        &n);

        if (rc == TN_AGAIN) {
            return TN_OK;
        }

        if (rc != TN_OK) {
            return tn_derp_client_fail(client, now, "broken WebSocket frame");
        }

        client->heard = now;

        switch (opcode) {

        case TN_WS_BINARY:
            rc = tn_derp_client_stream(client, now, data, n);

            if (rc != TN_OK) {
                return rc;
            }

            break;

        case TN_WS_PING:
            (void) tn_derp_client_message(client, TN_WS_PONG, data, n, NULL,
                                          0);
            break;

        case TN_WS_CLOSE:
            (void) tn_derp_client_message(client, TN_WS_CLOSE, data, n, NULL,
                                          0);
            return tn_derp_client_fail(client, now,
                                       "the server closed the WebSocket");

        default:
            break;
        }
    }
}


static tn_rc_t
tn_derp_client_stream(tn_derp_client_t *client, tn_ms_t now, uint8_t *bytes,
    size_t len)
{
    size_t    n;
    uint8_t   type;
    tn_rc_t   rc;
    uint32_t  payload;

    while (len != 0) {

        if (client->skip != 0) {
            n = tn_min(client->skip, len);
            client->skip -= n;
            bytes += n;
            len -= n;
            client->heard = now;
            continue;
        }

        /* a whole frame in place, the usual case */

        if (client->len == 0 && len >= TN_DERP_HEAD
            && tn_derp_head_read(bytes, &type, &payload) == TN_OK
            && len - TN_DERP_HEAD >= payload
            && payload <= TN_DERP_CLIENT_BUF - TN_DERP_HEAD)
        {
            n = TN_DERP_HEAD + payload;
            rc = tn_derp_client_frame(client, now, bytes, n, true);

            if (rc != TN_OK) {
                return rc;
            }

            bytes += n;
            len -= n;
            continue;
        }

        n = tn_derp_client_gather(client, bytes, len, TN_DERP_HEAD);
        bytes += n;
        len -= n;

        if (client->len < TN_DERP_HEAD) {
            break;
        }

        if (tn_derp_head_read(client->buf, &type, &payload) != TN_OK) {
            return tn_derp_client_fail(client, now, "frame too long");
        }

        if (payload > TN_DERP_CLIENT_BUF - TN_DERP_HEAD) {
            client->skip = payload;
            client->len = 0;
            continue;
        }

        n = tn_derp_client_gather(client, bytes, len, TN_DERP_HEAD + payload);
        bytes += n;
        len -= n;

        if (client->len < TN_DERP_HEAD + payload) {
            break;
        }

        client->len = 0;
        rc = tn_derp_client_frame(client, now, client->buf,
                                  TN_DERP_HEAD + payload, false);
        if (rc != TN_OK) {
            return rc;
        }
    }

    return TN_OK;
}


tn_rc_t
tn_derp_client_send(tn_derp_client_t *client, tn_ms_t now,
    const tn_key_t *dst, const uint8_t *bytes, size_t len)
{
    uint8_t  head[TN_DERP_HEAD + TN_KEY_LEN];

    if (client->state != TN_DERP_CLIENT_READY || len > TN_DERP_PACKET_MAX
        || !tn_derp_client_take(client, now, sizeof(head) + len))
    {
        return TN_AGAIN;
    }

    tn_derp_head_write(head, TN_DERP_SEND_PACKET,
                       (uint32_t) (TN_KEY_LEN + len));
    memcpy(head + TN_DERP_HEAD, dst->b, TN_KEY_LEN);

    client->written = now;

    /* once in 10 s: no work for each packet */

    if (client->watched == 0 && client->info) {
        client->watched = now;

        if (client->probe_until == 0) {
            tn_derp_client_arm(client, now + TN_DERP_CLIENT_QUIET_MS);
        }
    }

    return tn_derp_client_write(client, head, sizeof(head), bytes, len);
}


void
tn_derp_client_prefer(tn_derp_client_t *client, bool home)
{
    client->home = home;

    if (client->state == TN_DERP_CLIENT_READY) {
        tn_derp_client_tell_home(client);
    }
}


void
tn_derp_client_probe(tn_derp_client_t *client, tn_ms_t now, tn_ms_t wait)
{
    uint8_t  frame[TN_DERP_HEAD + TN_DERP_PING];

    /* during the login its own time limit does the same */

    if (!client->info || client->probe_until != 0) {
        return;
    }

    tn_random(client->probe, TN_DERP_PING);
    client->probe_until = now + wait;

    tn_derp_head_write(frame, TN_DERP_PING_FRAME, TN_DERP_PING);
    memcpy(frame + TN_DERP_HEAD, client->probe, TN_DERP_PING);

    /* when the queue is full the probe fails, and rightly */

    (void) tn_derp_client_write(client, frame, sizeof(frame), NULL, 0);

    tn_derp_client_arm(client, client->probe_until);
}


bool
tn_derp_client_is_ready(const tn_derp_client_t *client)
{
    return client->state == TN_DERP_CLIENT_READY;
}


bool
tn_derp_client_is_upgraded(const tn_derp_client_t *client)
{
    return client->upgraded;
}


bool
tn_derp_client_is_hung(const tn_derp_client_t *client)
{
    return client->hung;
}


bool
tn_derp_client_is_proven(const tn_derp_client_t *client)
{
    return client->info;
}


tn_ms_t
tn_derp_client_heard(const tn_derp_client_t *client)
{
    return client->heard;
}


/* a DERP frame, as it is or as a message */
static tn_rc_t
tn_derp_client_write(tn_derp_client_t *client, const uint8_t *head,
    size_t head_len, const uint8_t *body, size_t body_len)
{
    if (client->ws != NULL) {
        return tn_derp_client_message(client, TN_WS_BINARY, head, head_len,
                                      body, body_len);
    }

    return client->ops->write(client->data, head, head_len, body, body_len);
}


static tn_rc_t
tn_derp_client_message(tn_derp_client_t *client, tn_ws_opcode_e opcode,
    const uint8_t *head, size_t head_len, const uint8_t *body,
    size_t body_len)
{
    size_t                n, len, at, from, part;
    uint8_t               mask[TN_WS_MASK];
    tn_derp_client_ws_t  *ws;

    ws = client->ws;
    len = head_len + body_len;

    if (len > TN_DERP_CLIENT_BUF) {
        return TN_ERROR;
    }

    at = 0;
    from = 0;

    do {
        n = tn_min(len - from, (size_t) TN_DERP_CLIENT_WS_MESSAGE);
        tn_random(mask, sizeof(mask));
        at += tn_ws_head_write(ws->out + at, opcode, n, mask);

        part = from < head_len ? tn_min(head_len - from, n) : 0;

        if (part != 0) {
            memcpy(ws->out + at, head + from, part);
        }

        if (n > part) {
            memcpy(ws->out + at + part, body + from + part - head_len,
                   n - part);
        }

        tn_ws_mask(ws->out + at, n, mask, 0);
        at += n;
        from += n;

    } while (from < len);

    return client->ops->write(client->data, ws->out, at, NULL, 0);
}


/* ClientInfo, after the HTTP request when there is one, in one write */
static tn_rc_t
tn_derp_client_login(tn_derp_client_t *client, tn_ms_t now,
    const char *request, const tn_key_t *server)
{
    static const char  info[] =
        "{\"version\":2,\"CanAckPings\":true,\"IsProber\":false}";

    uint8_t  frame[TN_DERP_HEAD + TN_KEY_LEN + TN_BOX_NONCE + TN_BOX_TAG
                   + sizeof(info) - 1];
    tn_rc_t  rc;

    if (tn_box_key(&client->box, server, &client->node->priv) != TN_OK) {
        return tn_derp_client_fail(client, now, "bad server key");
    }

    tn_derp_head_write(frame, TN_DERP_CLIENT_INFO,
                       sizeof(frame) - TN_DERP_HEAD);
    memcpy(frame + TN_DERP_HEAD, client->node->pub.b, TN_KEY_LEN);

    if (tn_box_seal(&client->box, (const uint8_t *) info, sizeof(info) - 1,
                    frame + TN_DERP_HEAD + TN_KEY_LEN)
        != TN_OK)
    {
        return TN_ERROR;
    }

    if (request != NULL) {
        rc = client->ops->write(client->data, (const uint8_t *) request,
                                strlen(request), frame, sizeof(frame));

    } else {
        rc = tn_derp_client_write(client, frame, sizeof(frame), NULL, 0);
    }

    if (rc != TN_OK) {
        return rc;
    }

    client->state = TN_DERP_CLIENT_READY;

    if (client->home) {
        tn_derp_client_tell_home(client);
    }

    client->ops->ready(client->data, now);

    return TN_OK;
}


/* TN_OK when the response is over; what follows it remains in *bytes */
static tn_rc_t
tn_derp_client_upgrade(tn_derp_client_t *client, tn_ms_t now, uint8_t **bytes,
    size_t *len)
{
    char         reason[96];
    size_t       n, over;
    uint8_t     *end, *line;
    const char  *why;

    n = tn_derp_client_gather(client, *bytes, *len, TN_DERP_CLIENT_HTTP_MAX);
    end = memmem(client->buf, client->len, "\r\n\r\n", 4);

    if (end == NULL) {
        if (client->len == TN_DERP_CLIENT_HTTP_MAX) {
            return tn_derp_client_fail(client, now, "endless HTTP response");
        }

        return TN_AGAIN;
    }

    end += 4;
    over = client->len - (size_t) (end - client->buf);

    /* RFC 9110, 7.8: the new protocol begins right after the response */

    if (end - client->buf < 15
        || memcmp(client->buf, "HTTP/1.1 101", 12) != 0)
    {
        line = memchr(client->buf, '\r', client->len);
        n = (size_t) (line - client->buf);
        (void) snprintf(reason, sizeof(reason), "upgrade refused: %.*s",
                        (int) tn_min(n, (size_t) 60),
                        (const char *) client->buf);

        return tn_derp_client_fail(client, now, reason);
    }

    why = client->ws ? tn_ws_refusal((const char *) client->buf,
                                     (size_t) (end - client->buf),
                                     client->ws->key, "derp")
                     : NULL;

    if (why != NULL) {
        return tn_derp_client_fail(client, now, why);
    }

    client->len = 0;
    client->state = TN_DERP_CLIENT_GREETING;
    client->upgraded = true;

    n -= over;
    *bytes += n;
    *len -= n;

    return TN_OK;
}


/* takes bytes until `want` are in the buffer; returns how many it took */
static size_t
tn_derp_client_gather(tn_derp_client_t *client, const uint8_t *bytes,
    size_t len, size_t want)
{
    size_t  n;

    n = client->len < want ? tn_min(want - client->len, len) : 0;

    if (n != 0) {
        memcpy(client->buf + client->len, bytes, n);
        client->len += n;
    }

    return n;
}


static tn_rc_t
tn_derp_client_frame(tn_derp_client_t *client, tn_ms_t now, uint8_t *bytes,
    size_t len, bool last)
{
    uint8_t          type, *payload, pong[TN_DERP_HEAD + TN_DERP_PING];
    tn_rc_t          rc;
    tn_derp_frame_t  frame;

    type = bytes[0];
    payload = bytes + TN_DERP_HEAD;
    len -= TN_DERP_HEAD;

    client->heard = now;

    if (client->state == TN_DERP_CLIENT_GREETING) {
        return tn_derp_client_greeting(client, now, type, payload, len);
    }

    rc = tn_derp_parse(&frame, type, payload, len);

    if (rc == TN_NOTFOUND || type == TN_DERP_SERVER_KEY) {
        return TN_OK;
    }

    if (rc != TN_OK) {

        /* upstream drops a short frame and goes on */

        tn_log(client->log, TN_LOG_INFO, "derp: short frame of type %u",
               type);
        return TN_OK;
    }

    switch (type) {

    case TN_DERP_RECV_PACKET:
        client->ops->packet(client->data, now, &frame.key,
                            payload + TN_KEY_LEN, frame.len, last);
        break;

    case TN_DERP_SERVER_INFO:
        return tn_derp_client_info(client, now, &frame);

    case TN_DERP_PEER_GONE:
        client->ops->gone(client->data, now, &frame.key, frame.never_here);
        break;

    case TN_DERP_PING_FRAME:
        tn_derp_head_write(pong, TN_DERP_PONG_FRAME, TN_DERP_PING);
        memcpy(pong + TN_DERP_HEAD, frame.data, TN_DERP_PING);

        (void) tn_derp_client_write(client, pong, sizeof(pong), NULL, 0);
        break;

    case TN_DERP_PONG_FRAME:
        if (client->probe_until != 0
            && memcmp(frame.data, client->probe, TN_DERP_PING) == 0)
        {
            client->probe_until = 0;
        }

        break;

    case TN_DERP_HEALTH:
        client->ops->health(client->data, now, (const char *) frame.data,
                            frame.len);
        break;

    case TN_DERP_RESTARTING:
        client->ops->restarting(client->data, now, frame.reconnect_in_ms,
                                frame.try_for_ms);
        break;

    default:    /* TN_DERP_KEEP_ALIVE: its coming is its meaning */
        break;
    }

    return TN_OK;
}


static tn_rc_t
tn_derp_client_greeting(tn_derp_client_t *client, tn_ms_t now, uint8_t type,
    const uint8_t *payload, size_t len)
{
    tn_rc_t          rc;
    tn_derp_frame_t  frame;

    if (type != TN_DERP_SERVER_KEY
        || tn_derp_parse(&frame, type, payload, len) != TN_OK)
    {
        return tn_derp_client_fail(client, now, "not a DERP greeting");
    }

    rc = tn_derp_client_login(client, now, NULL, &frame.key);

    if (rc == TN_AGAIN || rc == TN_ERROR) {
        return tn_derp_client_fail(client, now, "login could not be sent");
    }

    return rc;
}


static tn_rc_t
tn_derp_client_info(tn_derp_client_t *client, tn_ms_t now,
    const tn_derp_frame_t *frame)
{
    uint8_t  json[TN_DERP_INFO_MAX];

    if (frame->len > sizeof(json)
        || tn_box_open(&client->box, frame->data, frame->len, json) != TN_OK
        || tn_derp_server_info(json,
                               frame->len - TN_BOX_NONCE - TN_BOX_TAG,
                               &client->rate, &client->burst)
           != TN_OK)
    {
        return tn_derp_client_fail(client, now, "bad ServerInfo");
    }

    client->info = true;

    /* bounded, so that thousandths of a byte cannot overflow */

    client->rate = tn_min(client->rate, (uint64_t) 1 << 40);
    client->burst = tn_min(client->burst, (uint64_t) 1 << 40);
    client->tokens = client->burst * 1000;
    client->tokens_at = now;

    tn_derp_client_arm(client, now + (client->ws
                                      ? TN_DERP_CLIENT_WS_PING_MS
                                      : TN_DERP_CLIENT_IDLE_MS));

    return TN_OK;
}


/* the server's token bucket: false when len bytes are above it */
static bool
tn_derp_client_take(tn_derp_client_t *client, tn_ms_t now, size_t len)
{
    uint64_t  elapsed, full;

    if (client->rate == 0) {
        return true;
    }

    elapsed = tn_min(now - client->tokens_at, (uint64_t) 60000);
    full = client->burst * 1000;

    client->tokens = tn_min(client->tokens + elapsed * client->rate, full);
    client->tokens_at = now;

    if (client->tokens < len * 1000) {
        return false;
    }

    client->tokens -= len * 1000;

    return true;
}


static void
tn_derp_client_tell_home(tn_derp_client_t *client)
{
    uint8_t  frame[TN_DERP_HEAD + 1];

    if (client->home == client->home_told) {
        return;
    }

    tn_derp_head_write(frame, TN_DERP_NOTE_PREFERRED, 1);
    frame[TN_DERP_HEAD] = client->home;

    if (tn_derp_client_write(client, frame, sizeof(frame), NULL, 0)
        == TN_OK)
    {
        client->home_told = client->home;
    }
}


static void
tn_derp_client_arm(tn_derp_client_t *client, tn_ms_t at)
{
    if (tn_timer_set(client->timers, &client->timer, at) != TN_OK) {
        tn_log(client->log, TN_LOG_ALERT, "derp: no memory for a timer");
    }
}


static void
tn_derp_client_timer(void *data, tn_ms_t now)
{
    tn_ms_t            next, quiet;
    uint8_t            none = 0;
    tn_derp_client_t  *client;

    client = data;

    if (!client->info) {
        (void) tn_derp_client_fail(client, now, "login timed out");
        return;
    }

    if (client->probe_until != 0 && now >= client->probe_until) {
        client->hung = true;
        (void) tn_derp_client_fail(client, now, "no answer to a ping");
        return;
    }

    if (client->watched != 0
        && now - client->watched >= TN_DERP_CLIENT_QUIET_MS)
    {
        if (client->heard <= client->watched) {
            tn_derp_client_probe(client, now, TN_DERP_CLIENT_PONG_MS);
            client->watched = 0;

        } else {
            client->watched = client->written > client->heard
                              ? client->heard : 0;
        }
    }

    next = client->heard + TN_DERP_CLIENT_IDLE_MS;

    if (now >= next) {
        tn_derp_client_probe(client, now, TN_DERP_CLIENT_PONG_MS);
        next = client->probe_until;
    }

    if (client->ws != NULL) {
        quiet = tn_max(client->heard, client->ws->pinged)
                + TN_DERP_CLIENT_WS_PING_MS;

        if (now >= quiet) {
            client->ws->pinged = now;
            quiet = now + TN_DERP_CLIENT_WS_PING_MS;
            (void) tn_derp_client_message(client, TN_WS_PING, &none, 0, NULL,
                                          0);
        }

        next = tn_min(next, quiet);
    }

    if (client->probe_until != 0) {
        next = tn_min(next, client->probe_until);
    }

    if (client->watched != 0) {
        next = tn_min(next, client->watched + TN_DERP_CLIENT_QUIET_MS);
    }

    tn_derp_client_arm(client, next);
}


/* failed() may destroy the client: nothing touches it after this */
static tn_rc_t
tn_derp_client_fail(tn_derp_client_t *client, tn_ms_t now, const char *reason)
{
    tn_timer_cancel(client->timers, &client->timer);
    client->state = TN_DERP_CLIENT_IDLE;
    client->ops->failed(client->data, now, reason);

    return TN_CLOSED;
}
