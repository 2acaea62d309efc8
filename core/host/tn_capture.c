
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The data thread fills one chunk at a time and posts it when it is full or
 * TN_CAPTURE_FLUSH_MS have gone by.  A chunk is `busy` from its post until
 * the receiver has done with it; the next one is taken in their order, so a
 * slow receiver finds all of them full and the rest counted in the first
 * packet that fits again.
 *
 * A posted chunk holds the capture: the last of the control thread, the data
 * thread and the chunks under way frees it.
 */

#include "host/tn_capture.h"

#include "wire/tn_pcapng.h"

#include <stdlib.h>


struct tn_capture_s {
    tn_loop_t           *control;
    tn_capture_pt        fn;
    void                *data;
    bool                 closed;    /* only the control thread looks at it */
    atomic_uint          refs;

    /* the data thread's */

    tn_loop_t           *loop;
    tn_timer_t           timer;
    size_t               filling;
    uint64_t             lost;

    tn_capture_chunk_t   chunks[TN_CAPTURE_CHUNKS];
};


static void capture_flush(tn_capture_t *capture);
static void capture_tick(void *data, tn_ms_t now);
static void capture_receive(void *data);


tn_capture_t *
tn_capture_create(tn_loop_t *control, tn_capture_pt fn, void *data)
{
    size_t         i;
    tn_capture_t  *capture;

    capture = calloc(1, sizeof(tn_capture_t));
    if (capture == NULL) {
        return NULL;
    }

    capture->control = control;
    capture->fn = fn;
    capture->data = data;
    atomic_init(&capture->refs, 1);
    tn_timer_init(&capture->timer, capture_tick, capture);

    for (i = 0; i < TN_CAPTURE_CHUNKS; i++) {
        capture->chunks[i].capture = capture;
        capture->chunks[i].post.fn = capture_receive;
        capture->chunks[i].post.data = &capture->chunks[i];
        tn_list_init(&capture->chunks[i].link);
        atomic_init(&capture->chunks[i].busy, false);
    }

    capture->chunks[0].len = tn_pcapng_head(capture->chunks[0].bytes,
                                            TN_CAPTURE_CHUNK);

    return capture;
}


void
tn_capture_close(tn_capture_t *capture)
{
    capture->closed = true;
    tn_capture_release(capture);
}


void
tn_capture_done(tn_capture_chunk_t *chunk)
{
    chunk->len = 0;
    atomic_store_explicit(&chunk->busy, false, memory_order_release);
}


void
tn_capture_hold(tn_capture_t *capture)
{
    atomic_fetch_add(&capture->refs, 1);
}


void
tn_capture_release(tn_capture_t *capture)
{
    if (atomic_fetch_sub(&capture->refs, 1) == 1) {
        free(capture);
    }
}


void
tn_capture_start(tn_capture_t *capture, tn_loop_t *loop)
{
    capture->loop = loop;
    capture_flush(capture);

    (void) tn_timer_set(&loop->timers, &capture->timer,
                        loop->now + TN_CAPTURE_FLUSH_MS);
}


void
tn_capture_stop(tn_capture_t *capture)
{
    tn_timer_cancel(&capture->loop->timers, &capture->timer);
    capture_flush(capture);
    tn_capture_release(capture);
}


void
tn_capture_packet(tn_capture_t *capture, bool out, const uint8_t *packet,
    size_t len)
{
    size_t               n;
    tn_pcapng_packet_t   p;
    tn_capture_chunk_t  *chunk;

    p.wall_ns = tn_loop_wall_ns();
    p.lost = capture->lost;
    p.out = out;
    p.bytes = packet;
    p.len = len;

    chunk = &capture->chunks[capture->filling];

    if (!atomic_load_explicit(&chunk->busy, memory_order_acquire)
        && TN_CAPTURE_CHUNK - chunk->len < len + TN_PCAPNG_PACKET_MORE)
    {
        capture_flush(capture);
        chunk = &capture->chunks[capture->filling];
    }

    if (atomic_load_explicit(&chunk->busy, memory_order_acquire)) {
        capture->lost++;
        return;
    }

    n = tn_pcapng_packet(chunk->bytes + chunk->len,
                         TN_CAPTURE_CHUNK - chunk->len, &p);
    chunk->len += n;
    capture->lost = n != 0 ? 0 : capture->lost + 1;
}


static void
capture_flush(tn_capture_t *capture)
{
    tn_capture_chunk_t  *chunk;

    chunk = &capture->chunks[capture->filling];

    if (atomic_load_explicit(&chunk->busy, memory_order_acquire)
        || chunk->len == 0)
    {
        return;
    }

    capture->filling = (capture->filling + 1) % TN_CAPTURE_CHUNKS;
    atomic_store(&chunk->busy, true);
    tn_capture_hold(capture);

    if (tn_loop_post_item(capture->control, &chunk->post) != TN_OK) {
        tn_capture_release(capture);
    }
}


static void
capture_tick(void *data, tn_ms_t now)
{
    tn_capture_t *capture = data;

    capture_flush(capture);

    (void) tn_timer_set(&capture->loop->timers, &capture->timer,
                        now + TN_CAPTURE_FLUSH_MS);
}


static void
capture_receive(void *data)
{
    tn_capture_chunk_t *chunk = data;

    tn_capture_t  *capture;

    capture = chunk->capture;

    if (!capture->closed) {
        capture->fn(capture->data, chunk);
    }

    tn_capture_release(capture);
}
