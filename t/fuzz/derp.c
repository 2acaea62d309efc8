
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What a DERP server sends, in pieces whose sizes the input chooses too.
 * The first byte says whether the start is fast.
 */

#include "crypto/tn_curve.h"
#include "path/tn_derp_client.h"

#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static tn_derp_client_t  *client;
static bool               dead;


static tn_rc_t
on_write(void *data, const uint8_t *head, size_t head_len,
    const uint8_t *body, size_t body_len)
{
    (void) data;
    (void) head;
    (void) head_len;
    (void) body;

    return body_len % 7 == 6 ? TN_AGAIN : TN_OK;
}


static void
on_ready(void *data, tn_ms_t now)
{
    (void) data;
    tn_derp_client_prefer(client, now % 2 == 0);
}


static void
on_packet(void *data, tn_ms_t now, const tn_key_t *src, uint8_t *bytes,
    size_t len, bool last)
{
    (void) data;
    (void) last;

    /* the receiver may write there */

    memset(bytes, 0, len);
    (void) tn_derp_client_send(client, now, src, bytes, len);
}


static void
on_gone(void *data, tn_ms_t now, const tn_key_t *peer, bool never_here)
{
    (void) data;
    (void) now;
    (void) peer;
    (void) never_here;
}


static void
on_health(void *data, tn_ms_t now, const char *text, size_t len)
{
    static volatile char  sink;

    (void) data;
    (void) now;

    if (len != 0) {
        sink = text[len - 1];
    }

    (void) sink;
}


static void
on_restarting(void *data, tn_ms_t now, uint32_t in, uint32_t try_for)
{
    (void) data;
    (void) now;
    (void) in;
    (void) try_for;
}


static void
on_failed(void *data, tn_ms_t now, const char *reason)
{
    (void) data;
    (void) now;
    (void) reason;

    tn_derp_client_destroy(client);
    dead = true;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const tn_derp_client_ops_t  ops = {
        on_write, on_ready, on_packet, on_gone, on_health, on_restarting,
        on_failed
    };

    size_t        n;
    uint8_t      *piece;
    tn_ms_t       now;
    tn_timers_t   timers;
    tn_keypair_t  node, server;

    if (size < 2) {
        return 0;
    }

    (void) tn_crypto_init();

    memset(node.priv.b, 0x70, TN_KEY_LEN);
    memset(server.priv.b, 0x60, TN_KEY_LEN);
    tn_curve_public(&node.pub, &node.priv);
    tn_curve_public(&server.pub, &server.priv);

    tn_timers_init(&timers);
    dead = false;
    now = 1000;
    client = tn_derp_client_create(&ops, NULL, &node, &timers, NULL);

    if (client == NULL) {
        abort();
    }

    (void) tn_derp_client_start(client, now, "h", NULL,
                                data[0] & 1 ? &server.pub : NULL);
    data++;
    size--;

    while (size != 0 && !dead) {
        n = data[0] + 1u;
        data++;
        size--;
        n = n < size ? n : size;

        /* of its own, so that a read beyond it is seen */

        piece = malloc(n + (n == 0));
        memcpy(piece, data, n);
        (void) tn_derp_client_input(client, now, piece, n);
        free(piece);

        data += n;
        size -= n;
        now += 500;
        tn_timers_run(&timers, now);
    }

    if (!dead) {
        tn_derp_client_destroy(client);
    }

    tn_timers_done(&timers);

    return 0;
}
