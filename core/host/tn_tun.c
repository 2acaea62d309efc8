
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A read of a device that is down fails each time, and epoll calls each time:
 * the descriptor is then left alone for TN_TUN_RETRY_MS.
 */

#include "host/tn_tun.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>


#define TN_TUN_RETRY_MS  500


struct tn_tun_s {
    tn_loop_t            *loop;
    const tn_tun_ops_t   *ops;
    void                 *data;
    tn_watch_t            watch;
    tn_timer_t            retry;
    bool                  paused;
    bool                  gone;
    tn_tun_stats_t        stats;

    uint8_t               buffer[TN_TUN_HEADROOM + TN_TUN_HEADER_BYTES
                                 + TN_TUN_PACKET_BYTES + TN_TUN_HEADROOM];
};


static void tn_tun_event(tn_watch_t *watch, uint32_t events);
static void tn_tun_retry(void *data, tn_ms_t now);
static void tn_tun_trouble(tn_tun_t *tun, int err);


tn_tun_t *
tn_tun_create(tn_loop_t *loop, int fd, const tn_tun_ops_t *ops, void *data)
{
    int        flags;
    tn_tun_t  *tun;

    tun = calloc(1, sizeof(tn_tun_t));
    if (tun == NULL) {
        return NULL;
    }

    tun->loop = loop;
    tun->ops = ops;
    tun->data = data;
    tun->watch.fd = fd;
    tun->watch.events = TN_LOOP_READ;
    tun->watch.handler = tn_tun_event;
    tun->watch.data = tun;
    tn_timer_init(&tun->retry, tn_tun_retry, tun);

    flags = fcntl(fd, F_GETFL);

    if (flags == -1 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) == -1
        || tn_loop_watch(loop, &tun->watch) != TN_OK)
    {
        free(tun);
        return NULL;
    }

    return tun;
}


void
tn_tun_destroy(tn_tun_t *tun)
{
    if (tun == NULL) {
        return;
    }

    tn_timer_cancel(&tun->loop->timers, &tun->retry);
    tn_loop_unwatch(tun->loop, &tun->watch);
    (void) close(tun->watch.fd);
    free(tun);
}


void
tn_tun_pause(tn_tun_t *tun, bool pause)
{
    if (tun->paused == pause) {
        return;
    }

    tun->paused = pause;

    if (pause || tun->gone) {
        tn_timer_cancel(&tun->loop->timers, &tun->retry);
        tn_loop_unwatch(tun->loop, &tun->watch);
        return;
    }

    tn_tun_retry(tun, tun->loop->now);
}


const tn_tun_stats_t *
tn_tun_stats(const tn_tun_t *tun)
{
    return &tun->stats;
}


static void
tn_tun_event(tn_watch_t *watch, uint32_t events)
{
    int        n;
    size_t     bytes;
    ssize_t    len;
    uint8_t   *frame;
    tn_tun_t  *tun;

    (void) events;

    tun = watch->data;
    frame = tun->buffer + TN_TUN_HEADROOM;

    bytes = 0;

    for (n = 0; n < TN_TUN_READS && bytes < TN_TUN_READ_BYTES && !tun->paused;
         n++)
    {

        len = read(watch->fd, frame,
                   TN_TUN_HEADER_BYTES + TN_TUN_PACKET_BYTES);

        if (len == -1 && errno == EINTR) {
            continue;
        }

        if (len == -1 && errno == EAGAIN) {
            break;
        }

        if (len <= 0) {
            tn_tun_trouble(tun, len == 0 ? ENODEV : errno);
            break;
        }

        if (len <= TN_TUN_HEADER_BYTES) {
            continue;
        }

        bytes += (size_t) len;
        tun->stats.rx_packets++;
        tun->stats.rx_bytes += (uint64_t) len - TN_TUN_HEADER_BYTES;

        tun->ops->packet(tun->data, frame, (size_t) len);
    }

    tun->loop->packets += (unsigned) n;
    tun->loop->more |= n == TN_TUN_READS || bytes >= TN_TUN_READ_BYTES;

    if (tun->ops->batch != NULL) {
        tun->ops->batch(tun->data);
    }
}


static void
tn_tun_trouble(tn_tun_t *tun, int err)
{
    tn_loop_unwatch(tun->loop, &tun->watch);

    /* EBADFD: the device was deleted; EFAULT and EIO: it is down */

    if (err == EFAULT || err == EIO) {

        if (tn_timer_set(&tun->loop->timers, &tun->retry,
                         tun->loop->now + TN_TUN_RETRY_MS)
            == TN_OK)
        {
            return;
        }
    }

    tun->gone = true;

    if (tun->ops->gone != NULL) {
        tun->ops->gone(tun->data, err);
    }
}


static void
tn_tun_retry(void *data, tn_ms_t now)
{
    tn_tun_t  *tun;

    tun = data;

    if (tn_loop_watch(tun->loop, &tun->watch) != TN_OK) {
        (void) tn_timer_set(&tun->loop->timers, &tun->retry,
                            now + TN_TUN_RETRY_MS);
    }
}


tn_rc_t
tn_tun_write(tn_tun_t *tun, const struct iovec *iov, int n)
{
    ssize_t  len;

    do {
        len = writev(tun->watch.fd, iov, n);
    } while (len == -1 && errno == EINTR);

    if (len >= 0) {
        tun->stats.tx_packets++;
        tun->stats.tx_bytes += (uint64_t) len - TN_TUN_HEADER_BYTES;

        return TN_OK;
    }

    if (errno == EAGAIN || errno == ENOBUFS) {
        tun->stats.tx_dropped++;
        return TN_AGAIN;
    }

    tun->stats.tx_failed++;

    return TN_ERROR;
}
