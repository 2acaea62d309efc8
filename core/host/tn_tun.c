
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A read of a device that is down fails each time, and epoll calls each time:
 * the descriptor is then left alone for TN_TUN_RETRY_MS.
 *
 * With two queues the events of a turn only say which are readable, and both
 * are read at its end: the first until it is empty, then TN_TUN_BULK_BYTES of
 * the second, and again.  Packets of the first that came meanwhile end the
 * batch, so that they do not wait for more of the second.  When the first is
 * never empty, one packet of the second goes with each turn.
 *
 * A flow that changes from the first to the second keeps its order, for the
 * second is not read before all that stood in the first when it changed:
 * until that is empty, or TN_TUN_RING packets are read.
 */

#include "host/tn_tun.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/if_tun.h>
#include <net/if.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <unistd.h>


#define TN_TUN_RETRY_MS  500

#define TN_TUN_SPARSE    0
#define TN_TUN_BULK      1
#define TN_TUN_QUEUES    2


typedef struct {
    unsigned              packets;
    size_t                bytes;
} tn_tun_turn_t;

struct tn_tun_s {
    tn_loop_t            *loop;
    const tn_tun_ops_t   *ops;
    void                 *data;
    tn_watch_t            watch[TN_TUN_QUEUES];
    unsigned              n;            /* queues */
    unsigned              owed;         /* packets of the first, before any
                                           of the second */
    bool                  readable;     /* the second, in this turn */
    tn_defer_t            end;          /* of the turn */
    tn_timer_t            retry;
    bool                  paused;
    bool                  gone;
    tn_tun_stats_t        stats;

    uint8_t               buffer[TN_TUN_HEADROOM + TN_TUN_HEADER_BYTES
                                 + TN_TUN_PACKET_BYTES + TN_TUN_HEADROOM];
};


static tn_rc_t tn_tun_watch(tn_tun_t *tun);
static void tn_tun_unwatch(tn_tun_t *tun);
static void tn_tun_event(tn_watch_t *watch, uint32_t events);
static void tn_tun_both_event(tn_watch_t *watch, uint32_t events);
static void tn_tun_both(void *data);
static bool tn_tun_read(tn_tun_t *tun, unsigned queue, tn_tun_turn_t *turn,
    unsigned packets, size_t bytes);
static void tn_tun_batch(tn_tun_t *tun, const tn_tun_turn_t *turn, bool more);
static void tn_tun_retry(void *data, tn_ms_t now);
static void tn_tun_trouble(tn_tun_t *tun, int err);


tn_tun_t *
tn_tun_create(tn_loop_t *loop, int fd, int bulk, const tn_tun_ops_t *ops,
    void *data)
{
    int        flags;
    unsigned   i;
    tn_tun_t  *tun;

    tun = calloc(1, sizeof(tn_tun_t));
    if (tun == NULL) {
        return NULL;
    }

    tun->loop = loop;
    tun->ops = ops;
    tun->data = data;
    tun->n = bulk == -1 ? 1 : 2;
    tun->watch[TN_TUN_SPARSE].fd = fd;
    tun->watch[TN_TUN_BULK].fd = bulk;
    tn_defer_init(&tun->end, tn_tun_both, tun);
    tn_timer_init(&tun->retry, tn_tun_retry, tun);

    for (i = 0; i < tun->n; i++) {
        tun->watch[i].events = TN_LOOP_READ;
        tun->watch[i].handler = tun->n == 1 ? tn_tun_event
                                            : tn_tun_both_event;
        tun->watch[i].data = tun;

        flags = fcntl(tun->watch[i].fd, F_GETFL);

        if (flags == -1
            || fcntl(tun->watch[i].fd, F_SETFL, flags | O_NONBLOCK) == -1)
        {
            free(tun);
            return NULL;
        }
    }

    if (tn_tun_watch(tun) != TN_OK) {
        free(tun);
        return NULL;
    }

    return tun;
}


void
tn_tun_destroy(tn_tun_t *tun)
{
    unsigned  i;

    if (tun == NULL) {
        return;
    }

    tn_timer_cancel(&tun->loop->timers, &tun->retry);
    tn_tun_unwatch(tun);

    for (i = 0; i < tun->n; i++) {
        (void) close(tun->watch[i].fd);
    }

    free(tun);
}


tn_rc_t
tn_tun_attach(int fd)
{
    struct ifreq  ifr;

    memset(&ifr, 0, sizeof(ifr));
    ifr.ifr_flags = IFF_ATTACH_QUEUE;

    /* EINVAL: it is attached, by the core before this one */

    return ioctl(fd, TUNSETQUEUE, &ifr) == 0 || errno == EINVAL
           ? TN_OK : TN_ERROR;
}


static tn_rc_t
tn_tun_watch(tn_tun_t *tun)
{
    unsigned  i;

    for (i = 0; i < tun->n; i++) {
        if (tn_loop_watch(tun->loop, &tun->watch[i]) != TN_OK) {
            tn_tun_unwatch(tun);
            return TN_ERROR;
        }
    }

    return TN_OK;
}


static void
tn_tun_unwatch(tn_tun_t *tun)
{
    unsigned  i;

    for (i = 0; i < tun->n; i++) {
        tn_loop_unwatch(tun->loop, &tun->watch[i]);
    }

    tn_loop_undefer(&tun->end);
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
        tn_tun_unwatch(tun);
        return;
    }

    tn_tun_retry(tun, tun->loop->now);
}


bool
tn_tun_has_bulk(const tn_tun_t *tun)
{
    return tun->n > 1;
}


void
tn_tun_moved(tn_tun_t *tun)
{
    tun->owed = TN_TUN_RING;
}


const tn_tun_stats_t *
tn_tun_stats(const tn_tun_t *tun)
{
    return &tun->stats;
}


static void
tn_tun_event(tn_watch_t *watch, uint32_t events)
{
    bool            more;
    tn_tun_t       *tun;
    tn_tun_turn_t   turn;

    (void) events;

    tun = watch->data;
    memset(&turn, 0, sizeof(turn));

    more = tn_tun_read(tun, TN_TUN_SPARSE, &turn, TN_TUN_READS,
                       TN_TUN_READ_BYTES);
    tn_tun_batch(tun, &turn, more);
}


static void
tn_tun_both_event(tn_watch_t *watch, uint32_t events)
{
    tn_tun_t  *tun;

    (void) events;

    tun = watch->data;

    if (watch == &tun->watch[TN_TUN_BULK]) {
        tun->readable = true;
    }

    tn_loop_defer(tun->loop, &tun->end);
}


static void
tn_tun_both(void *data)
{
    bool            sparse, bulk;
    unsigned        before;
    tn_tun_t       *tun;
    tn_tun_turn_t   turn;

    tun = data;
    bulk = tun->readable;
    tun->readable = false;
    memset(&turn, 0, sizeof(turn));

    for ( ;; ) {
        before = turn.packets;

        sparse = tn_tun_read(tun, TN_TUN_SPARSE, &turn, TN_TUN_READS,
                             TN_TUN_READ_BYTES);

        if (tun->owed != 0) {
            tun->owed -= tn_min(tun->owed, turn.packets - before);

            if (sparse && tun->owed != 0) {
                break;
            }

            tun->owed = 0;
        }

        if (!bulk || (before != 0 && turn.packets != before)) {
            break;
        }

        bulk = tn_tun_read(tun, TN_TUN_BULK, &turn,
                           sparse ? turn.packets + 1 : TN_TUN_READS,
                           sparse ? turn.bytes + 1
                                  : tn_min(turn.bytes + TN_TUN_BULK_BYTES,
                                           (size_t) TN_TUN_READ_BYTES));

        if (sparse || turn.packets >= TN_TUN_READS
            || turn.bytes >= TN_TUN_READ_BYTES)
        {
            break;
        }
    }

    tn_tun_batch(tun, &turn, sparse || bulk);
}


/* up to these sums of the turn; false: there is nothing more */
static bool
tn_tun_read(tn_tun_t *tun, unsigned queue, tn_tun_turn_t *turn,
    unsigned packets, size_t bytes)
{
    ssize_t   len;
    uint8_t  *frame;

    frame = tun->buffer + TN_TUN_HEADROOM;

    while (turn->packets < packets && turn->bytes < bytes) {

        /* paused, down or gone */
        if (!tun->watch[queue].added) {
            return false;
        }

        len = read(tun->watch[queue].fd, frame,
                   TN_TUN_HEADER_BYTES + TN_TUN_PACKET_BYTES);

        if (len == -1 && errno == EINTR) {
            continue;
        }

        if (len == -1 && errno == EAGAIN) {
            return false;
        }

        if (len <= 0) {
            tn_tun_trouble(tun, len == 0 ? ENODEV : errno);
            return false;
        }

        turn->packets++;

        if (len <= TN_TUN_HEADER_BYTES) {
            continue;
        }

        turn->bytes += (size_t) len;
        tun->stats.rx_packets++;
        tun->stats.rx_bytes += (uint64_t) len - TN_TUN_HEADER_BYTES;

        tun->ops->packet(tun->data, frame, (size_t) len);
    }

    return true;
}


static void
tn_tun_batch(tn_tun_t *tun, const tn_tun_turn_t *turn, bool more)
{
    tun->loop->packets += turn->packets;
    tun->loop->more |= more;

    if (tun->ops->batch != NULL) {
        tun->ops->batch(tun->data);
    }
}


static void
tn_tun_trouble(tn_tun_t *tun, int err)
{
    tn_tun_unwatch(tun);

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

    if (tn_tun_watch(tun) != TN_OK) {
        (void) tn_timer_set(&tun->loop->timers, &tun->retry,
                            now + TN_TUN_RETRY_MS);
    }
}


tn_rc_t
tn_tun_write(tn_tun_t *tun, bool bulk, const struct iovec *iov, int n)
{
    int      fd;
    ssize_t  len;

    fd = tun->watch[bulk && tun->n > 1].fd;

    do {
        len = writev(fd, iov, n);
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
