
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The DERP client against frames of upstream's own package, in whole and in
 * pieces, on a clock of its own.
 */

#include "tap.h"

#include "crypto/tn_curve.h"
#include "path/tn_derp_client.h"
#include "wire/tn_derp.h"

#include <stdlib.h>

#include "../vectors/path/vectors.h"


typedef struct {
    uint8_t            sent[8192];
    size_t             nsent;
    unsigned           ready;
    unsigned           packets;
    unsigned           gone;
    bool               never_here;
    char               packet[64];
    uint8_t            source;
    unsigned           astray;
    uint8_t            piece[4096];
    size_t             n_piece;
    char               health[64];
    uint32_t           restart_in;
    uint32_t           try_for;
    char               reason[128];
    tn_derp_client_t  *client;
    tn_timers_t        timers;
    tn_keypair_t       node;
    tn_keypair_t       server;
} world_t;


static const char  response[] =
    "HTTP/1.1 101 Switching Protocols\r\n"
    "Upgrade: DERP\r\n"
    "Connection: Upgrade\r\n"
    "Derp-Version: 2\r\n"
    "\r\n";


static tn_rc_t
on_write(void *data, const uint8_t *head, size_t head_len,
    const uint8_t *body, size_t body_len)
{
    world_t  *world = data;

    if (world->nsent + head_len + body_len > sizeof(world->sent)) {
        return TN_AGAIN;
    }

    memcpy(world->sent + world->nsent, head, head_len);
    world->nsent += head_len;

    if (body_len != 0) {
        memcpy(world->sent + world->nsent, body, body_len);
        world->nsent += body_len;
    }

    return TN_OK;
}


static void
on_ready(void *data, tn_ms_t now)
{
    world_t  *world = data;

    (void) now;
    world->ready++;
}


static void
on_packet(void *data, tn_ms_t now, const tn_key_t *src, uint8_t *bytes,
    size_t len, bool last)
{
    world_t  *world = data;

    (void) now;
    world->astray += last != (bytes >= world->piece
                              && bytes + len <= world->piece + world->n_piece);
    world->packets++;
    world->source = src->b[0];
    snprintf(world->packet, sizeof(world->packet), "%.*s", (int) len,
             (char *) bytes);
}


static void
on_gone(void *data, tn_ms_t now, const tn_key_t *peer, bool never_here)
{
    world_t  *world = data;

    (void) now;
    (void) peer;
    world->gone++;
    world->never_here = never_here;
}


static void
on_health(void *data, tn_ms_t now, const char *text, size_t len)
{
    world_t  *world = data;

    (void) now;
    snprintf(world->health, sizeof(world->health), "%.*s", (int) len, text);
}


static void
on_restarting(void *data, tn_ms_t now, uint32_t in, uint32_t try_for)
{
    world_t  *world = data;

    (void) now;
    world->restart_in = in;
    world->try_for = try_for;
}


static void
on_failed(void *data, tn_ms_t now, const char *reason)
{
    world_t  *world = data;

    (void) now;
    snprintf(world->reason, sizeof(world->reason), "%s", reason);
    tn_derp_client_destroy(world->client);
    world->client = NULL;
}


static const tn_derp_client_ops_t  ops = {
    on_write, on_ready, on_packet, on_gone, on_health, on_restarting,
    on_failed
};


static world_t *
world_create(void)
{
    world_t  *world;

    world = calloc(1, sizeof(world_t));
    tn_timers_init(&world->timers);
    (void) unhex(world->node.priv.b, derp_client_private);
    (void) unhex(world->server.priv.b, derp_server_private);
    tn_curve_public(&world->node.pub, &world->node.priv);
    tn_curve_public(&world->server.pub, &world->server.priv);
    world->client = tn_derp_client_create(&ops, world, &world->node,
                                          &world->timers, NULL);

    return world;
}


static void
world_free(world_t *world)
{
    tn_derp_client_destroy(world->client);
    tn_timers_done(&world->timers);
    free(world);
}


/* all bytes of a server's side, in pieces of `step` */
static void
feed(world_t *world, tn_ms_t now, const uint8_t *bytes, size_t len,
    size_t step)
{
    size_t  n;

    while (len != 0 && world->client != NULL) {
        n = tn_min(step, len);
        memcpy(world->piece, bytes, n);
        world->n_piece = n;
        (void) tn_derp_client_input(world->client, now, world->piece, n);
        bytes += n;
        len -= n;
    }
}


static size_t
stream(uint8_t *out, const char *info)
{
    size_t  n;

    n = sizeof(response) - 1;
    memcpy(out, response, n);
    n += unhex(out + n, derp_server_key);
    n += unhex(out + n, info);
    n += unhex(out + n, derp_keep_alive);
    n += unhex(out + n, derp_recv_packet);
    n += unhex(out + n, derp_peer_gone);
    n += unhex(out + n, derp_health);
    n += unhex(out + n, derp_restarting);

    /* a frame from the future, longer than a packet may be */

    memcpy(out + n, "\x7f\x00\x02\x00\x00", 5);
    memset(out + n + 5, 0xaa, 0x20000);
    n += 5 + 0x20000;
    n += unhex(out + n, derp_ping);
    n += unhex(out + n, derp_recv_packet);

    return n;
}


static void
check_stream(size_t step)
{
    char          json[128];
    size_t        n, len;
    uint8_t      *bytes, *p;
    world_t      *world;
    tn_box_key_t  box;

    world = world_create();
    bytes = malloc(0x30000);
    n = stream(bytes, derp_server_info);

    is_int(tn_derp_client_start(world->client, 1000, "derp.example", NULL,
                                NULL),
           TN_OK, "started");
    ok(memmem(world->sent, world->nsent, "GET /derp HTTP/1.1\r\n", 20)
       == world->sent, "asks for an upgrade");
    ok(memmem(world->sent, world->nsent, "\r\nHost: derp.example\r\n", 22)
       != NULL, "names the host");
    ok(memmem(world->sent, world->nsent, "\r\nUpgrade: DERP\r\n", 17)
       != NULL, "names the protocol");
    ok(memmem(world->sent, world->nsent, "Ideal-Node", 10) == NULL,
       "it is the first of its region");
    ok(memmem(world->sent, world->nsent, "Fast-Start", 10) == NULL,
       "no fast start");
    is_int(tn_derp_client_send(world->client, 1000, &world->server.pub, bytes,
                               4),
           TN_AGAIN, "a packet before the login is dropped");

    world->nsent = 0;
    feed(world, 1000, bytes, n, step);

    ok(world->client != NULL && world->ready == 1, "ready, in steps of %zu",
       step);
    is_int(world->packets, 2, "two packets");
    is_int(world->astray, 0, "what lasts is in what was given");
    is_str(world->packet, "a packet", "the packet");
    is_int(world->source, 0x33, "its source");
    ok(world->gone == 1 && world->never_here, "PeerGone");
    is_str(world->health, "duplicate connection", "Health");
    ok(world->restart_in == 100 && world->try_for == 1000, "Restarting");

    /* ClientInfo */

    p = world->sent;
    len = (size_t) p[3] << 8 | p[4];
    is_int(p[0], TN_DERP_CLIENT_INFO, "ClientInfo is the first frame");
    is_mem(p + TN_DERP_HEAD, world->node.pub.b, TN_KEY_LEN, "our key");

    (void) tn_box_key(&box, &world->node.pub, &world->server.priv);
    memset(json, 0, sizeof(json));
    is_int(tn_box_open(&box, p + TN_DERP_HEAD + TN_KEY_LEN, len - TN_KEY_LEN,
                       (uint8_t *) json),
           TN_OK, "the server opens the box");
    ok(strstr(json, "\"version\":2") && strstr(json, "\"CanAckPings\":true"),
       "what it says: %s", json);

    p += TN_DERP_HEAD + len;
    ok(p + 13 == world->sent + world->nsent && p[0] == TN_DERP_PONG_FRAME
       && memcmp(p + 5, "12345678", 8) == 0, "then the answer to a ping");

    /* sending */

    world->nsent = 0;
    is_int(tn_derp_client_send(world->client, 1000, &world->server.pub,
                               (const uint8_t *) "data", 4),
           TN_OK, "a packet");
    ok(world->nsent == 41 && world->sent[0] == TN_DERP_SEND_PACKET
       && world->sent[4] == 36 && memcmp(world->sent + 37, "data", 4) == 0,
       "as a frame");

    world->nsent = 0;
    tn_derp_client_prefer(world->client, true);
    tn_derp_client_prefer(world->client, true);
    ok(world->nsent == 6 && world->sent[0] == TN_DERP_NOTE_PREFERRED
       && world->sent[5] == 1, "home is noted once");

    free(bytes);
    world_free(world);
}


static void
check_fast_start(void)
{
    size_t    n;
    uint8_t   bytes[512];
    world_t  *world;

    world = world_create();
    tn_derp_client_prefer(world->client, true);
    (void) tn_derp_client_start(world->client, 1000, "h", "1a",
                                &world->server.pub);

    is_int(world->ready, 1, "fast start: ready at once");
    ok(memmem(world->sent, world->nsent, "\r\nIdeal-Node: 1a\r\n", 18)
       != NULL, "names the node that it would rather have");
    ok(memmem(world->sent, world->nsent, "\r\nDerp-Fast-Start: 1\r\n", 22)
       != NULL, "asks for it");
    ok(world->sent[world->nsent - 6] == TN_DERP_NOTE_PREFERRED,
       "home goes with the login");

    n = unhex(bytes, derp_server_key);
    n += unhex(bytes + n, derp_server_info);
    n += unhex(bytes + n, derp_recv_packet);
    feed(world, 1000, bytes, n, n);
    is_int(world->packets, 1, "ServerKey is skipped, a packet comes");
    ok(tn_derp_client_is_proven(world->client), "the login is taken");

    world_free(world);
}


/* a client that was told this at the time 1000 */
static world_t *
logged_in(const char *info)
{
    size_t    n;
    uint8_t   bytes[512];
    world_t  *world;

    world = world_create();
    (void) tn_derp_client_start(world->client, 1000, "h", NULL,
                                &world->server.pub);
    n = unhex(bytes, info);
    feed(world, 1000, bytes, n, n);

    return world;
}


static void
check_times(void)
{
    size_t    n;
    uint8_t   bytes[512];
    world_t  *world;

    world = world_create();
    (void) tn_derp_client_start(world->client, 1000, "h", NULL, NULL);
    tn_timers_run(&world->timers, 10999);
    ok(world->client != NULL, "the login may take 10 s");
    tn_timers_run(&world->timers, 11000);
    is_str(world->reason, "login timed out", "and no more");
    world_free(world);

    world = logged_in(derp_server_info);

    tn_timers_run(&world->timers, 31000);
    tn_timers_run(&world->timers, 36000);
    is_str(world->reason, "no answer to a ping", "silent for 35 s: dead");
    world_free(world);

    world = logged_in(derp_server_info);
    n = unhex(bytes, derp_keep_alive);
    feed(world, 21000, bytes, n, n);
    world->nsent = 0;
    tn_timers_run(&world->timers, 50999);
    is_int((long long) world->nsent, 0, "30 s after a KeepAlive: quiet");
    tn_timers_run(&world->timers, 51000);
    is_int(world->sent[0], TN_DERP_PING_FRAME, "then a ping");
    ok(!tn_derp_client_is_hung(world->client), "no reason yet to leave");
    world->sent[0] = TN_DERP_PONG_FRAME;
    feed(world, 55999, world->sent, world->nsent, 100);
    world->nsent = 0;
    tn_timers_run(&world->timers, 85998);
    is_int((long long) world->nsent, 0, "answered: quiet for 30 s more");
    tn_timers_run(&world->timers, 85999);
    is_int(world->sent[0], TN_DERP_PING_FRAME, "then a ping again");
    tn_timers_run(&world->timers, 90998);
    ok(world->client != NULL, "alive 4.999 s later");
    tn_timers_run(&world->timers, 90999);
    is_str(world->reason, "no answer to a ping", "then it is dead");
    world_free(world);

    world = logged_in(derp_server_info);
    world->nsent = 0;
    tn_derp_client_probe(world->client, 2000, 3000);
    is_int(world->sent[0], TN_DERP_PING_FRAME, "a probe is a ping");
    world->sent[0] = TN_DERP_PONG_FRAME;
    feed(world, 2100, world->sent, world->nsent, 100);
    tn_timers_run(&world->timers, 5000);
    ok(world->client != NULL, "answered in time");
    tn_derp_client_probe(world->client, 6000, 3000);
    tn_timers_run(&world->timers, 9000);
    is_str(world->reason, "no answer to a ping", "and not answered");
    world_free(world);

    /* packets out, and nothing comes */

    world = logged_in(derp_server_info);
    (void) tn_derp_client_send(world->client, 20000, &world->server.pub,
                               bytes, 10);
    n = unhex(bytes, derp_keep_alive);
    feed(world, 25000, bytes, n, n);
    world->nsent = 0;
    tn_timers_run(&world->timers, 30000);
    is_int((long long) world->nsent, 0, "heard after a packet: no ping");

    (void) tn_derp_client_send(world->client, 40000, &world->server.pub,
                               bytes, 10);
    (void) tn_derp_client_send(world->client, 49000, &world->server.pub,
                               bytes, 10);
    world->nsent = 0;
    tn_timers_run(&world->timers, 49999);
    is_int((long long) world->nsent, 0, "9.999 s after a packet: none yet");
    tn_timers_run(&world->timers, 50000);
    is_int(world->sent[0], TN_DERP_PING_FRAME, "silence for 10 s: a ping");
    world->sent[0] = TN_DERP_PONG_FRAME;
    feed(world, 54000, world->sent, world->nsent, 100);
    tn_timers_run(&world->timers, 80000);
    ok(world->client != NULL, "answered: alive");
    n = unhex(bytes, derp_keep_alive);
    feed(world, 80000, bytes, n, n);

    (void) tn_derp_client_send(world->client, 91000, &world->server.pub,
                               bytes, 10);
    tn_timers_run(&world->timers, 101000);
    tn_timers_run(&world->timers, 105999);
    ok(world->client != NULL, "14.999 s after a packet");
    tn_timers_run(&world->timers, 106000);
    is_str(world->reason, "no answer to a ping", "after 15 s it is left");
    world_free(world);
}


static void
check_bucket(void)
{
    size_t    k;
    uint8_t   bytes[1024];
    world_t  *world;

    world = logged_in(derp_server_info_limit);
    memset(bytes, 0, sizeof(bytes));

    for (k = 0; k < 10; k++) {
        if (tn_derp_client_send(world->client, 1000, &world->server.pub,
                                bytes, 463)
            != TN_OK)
        {
            break;
        }
    }

    is_int((long long) k, 4, "a burst of 2000 bytes passes");
    is_int(tn_derp_client_send(world->client, 1499, &world->server.pub, bytes,
                               463),
           TN_AGAIN, "no more in the first half second");
    is_int(tn_derp_client_send(world->client, 1500, &world->server.pub, bytes,
                               463),
           TN_OK, "then 500 bytes of a rate of 1000 per second");
    world_free(world);
}


static void
check_refusals(void)
{
    static const char  *const answers[][2] = {
        { "HTTP/1.1 404 Not Found\r\nX: y\r\n\r\n",
          "upgrade refused: HTTP/1.1 404 Not Found" },
        { "HTTP/1.1 101 Switching Protocols\r\n\r\n"
          "\x01\x00\x00\x00\x04nope", "not a DERP greeting" },
        { "HTTP/1.1 101 Switching Protocols\r\n\r\n"
          "\x01\xff\x00\x00\x04nope", "frame too long" },
        { "\r\n\r\n", "upgrade refused: " }
    };

    size_t    i, n;
    uint8_t   bytes[10000];
    world_t  *world;

    for (i = 0; i < tn_nelems(answers); i++) {
        world = world_create();
        (void) tn_derp_client_start(world->client, 1000, "h", NULL, NULL);
        n = i == 1 || i == 2 ? 45 : strlen(answers[i][0]);
        memcpy(bytes, answers[i][0], n);
        feed(world, 1000, bytes, n, 7);
        is_str(world->reason, answers[i][1], "refused");
        ok(world->client == NULL && tn_timers_next(&world->timers)
           == TN_NEVER_MS, "and over");
        world_free(world);
    }

    world = world_create();
    (void) tn_derp_client_start(world->client, 1000, "h", NULL, NULL);
    memset(bytes, 'x', sizeof(bytes));
    feed(world, 1000, bytes, sizeof(bytes), 1000);
    is_str(world->reason, "endless HTTP response", "a response without end");
    world_free(world);

    world = world_create();
    (void) tn_derp_client_start(world->client, 1000, "h", NULL,
                                &world->server.pub);
    n = unhex(bytes, derp_server_info);
    bytes[n - 1] ^= 1;
    feed(world, 1000, bytes, n, n);
    is_str(world->reason, "bad ServerInfo", "a forged ServerInfo");
    world_free(world);

    world = world_create();
    memset(bytes, 0, TN_KEY_LEN);
    (void) tn_derp_client_start(world->client, 1000, "h", NULL,
                                (tn_key_t *) bytes);
    is_str(world->reason, "bad server key", "a server key of zeroes");
    world_free(world);
}


int
main(void)
{
    (void) tn_crypto_init();

    check_stream(1);
    check_stream(7);
    check_stream(4096);
    check_fast_start();
    check_times();
    check_bucket();
    check_refusals();

    return tap_done();
}
