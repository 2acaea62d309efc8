
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Sockets are kept per kind (family and protocol).  A kind that was never
 * asked for is empty; the first demand fetches a batch, and from then on a
 * batch is fetched when less than TN_POOL_LOW are left, one request at a time
 * per kind.  A holder that gives none is asked again after TN_POOL_RETRY_MS
 * while somebody waits, and so is one whose answer came while there were no
 * descriptors, or that does not take a message; one that is gone is waited for
 * (tn_pool_channel()), and after TN_POOL_GONE_MS the log says so: the channel
 * also ends when the supervisor gives a new one out.
 */

#include "run/tn_pool.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>


#define TN_POOL_KINDS     4
#define TN_POOL_BATCH     TN_IPC_FDS
#define TN_POOL_LOW       (TN_POOL_BATCH / 2)
#define TN_POOL_SIZE      (TN_POOL_LOW + TN_POOL_BATCH)
#define TN_POOL_RETRY_MS  200
#define TN_POOL_GONE_MS   1000


typedef struct {
    uint16_t    family;
    uint16_t    proto;
    bool        wanted;         /* somebody asked for one */
    uint32_t    seq;            /* of the request under way, or 0 */
    size_t      count;
    int         fds[TN_POOL_SIZE];
    tn_link_t   waiters;
} tn_pool_kind_t;


struct tn_pool_s {
    tn_loop_t       *loop;
    tn_log_t        *log;
    tn_watch_t       watch;     /* fd -1: no holder */
    tn_timer_t       retry;
    tn_timer_t       gone;
    uint32_t         seq;
    uint32_t         addrs_seq;
    bool             addressed; /* addrs is to be in force */
    bool             unsent;    /* and is to be sent again */
    tn_ipc_addrs_t   addrs;
    tn_pool_kind_t   kinds[TN_POOL_KINDS];
    char             text[TN_IPC_TEXT];
};


static tn_pool_kind_t *tn_pool_kind(tn_pool_t *pool, uint16_t family,
    uint16_t proto);
static void tn_pool_fill(tn_pool_t *pool, tn_pool_kind_t *kind);
static void tn_pool_retry(void *data, tn_ms_t now);
static void tn_pool_again(tn_pool_t *pool);
static void tn_pool_send_addresses(tn_pool_t *pool);
static void tn_pool_unread(tn_pool_t *pool);
static void tn_pool_read(tn_watch_t *watch, uint32_t events);
static void tn_pool_reply(tn_pool_t *pool, const tn_ipc_reply_t *reply,
    int *fds, size_t count);
static void tn_pool_serve(tn_pool_t *pool, tn_pool_kind_t *kind);
static void tn_pool_lost(tn_pool_t *pool);
static void tn_pool_gone(void *data, tn_ms_t now);


tn_pool_t *
tn_pool_create(tn_loop_t *loop, tn_log_t *log)
{
    size_t      i;
    tn_pool_t  *pool;

    pool = calloc(1, sizeof(*pool));

    if (pool == NULL) {
        return NULL;
    }

    pool->loop = loop;
    pool->log = log;
    pool->watch.fd = -1;
    pool->watch.handler = tn_pool_read;
    pool->watch.data = pool;

    tn_timer_init(&pool->retry, tn_pool_retry, pool);
    tn_timer_init(&pool->gone, tn_pool_gone, pool);

    for (i = 0; i < TN_POOL_KINDS; i++) {
        pool->kinds[i].family = i & 1 ? 6 : 4;
        pool->kinds[i].proto = i & 2 ? TN_IPC_UDP : TN_IPC_TCP;
        tn_list_init(&pool->kinds[i].waiters);
    }

    snprintf(pool->text, sizeof(pool->text), "there is no network namespace");

    return pool;
}


void
tn_pool_destroy(tn_pool_t *pool)
{
    size_t             i;
    tn_link_t         *link;
    tn_pool_kind_t    *kind;
    tn_pool_waiter_t  *waiter;

    tn_pool_lost(pool);
    tn_timer_cancel(&pool->loop->timers, &pool->retry);
    tn_timer_cancel(&pool->loop->timers, &pool->gone);

    for (i = 0; i < TN_POOL_KINDS; i++) {
        kind = &pool->kinds[i];

        tn_ipc_close(kind->fds, kind->count);
        kind->count = 0;

        while ((link = tn_list_shift(&kind->waiters)) != NULL) {
            waiter = tn_container(link, tn_pool_waiter_t, link);
            waiter->pool = NULL;
            waiter->ready(waiter, -1);
        }
    }

    free(pool);
}


void
tn_pool_channel(tn_pool_t *pool, int fd)
{
    size_t  i;

    tn_pool_lost(pool);
    tn_timer_cancel(&pool->loop->timers, &pool->gone);

    pool->watch.fd = fd;
    pool->watch.events = TN_LOOP_READ;

    if (tn_loop_watch(pool->loop, &pool->watch) != TN_OK) {
        tn_log(pool->log, TN_LOG_ERR, "the holder's channel cannot be "
               "watched (%d: %s)", errno, strerror(errno));
        tn_pool_lost(pool);
        return;
    }

    pool->text[0] = '\0';

    if (pool->addressed) {
        tn_pool_send_addresses(pool);
    }

    for (i = 0; i < TN_POOL_KINDS; i++) {
        tn_pool_fill(pool, &pool->kinds[i]);
    }
}


void
tn_pool_addresses(tn_pool_t *pool, const tn_ip_t *ips, size_t count,
    size_t services)
{
    size_t  cut;

    cut = count > TN_IPC_ADDRS ? count - TN_IPC_ADDRS : 0;

    tn_ipc_init(&pool->addrs, TN_IPC_HOLDER_ADDRS);
    pool->addrs.count = (uint32_t) (count - cut);
    pool->addrs.services = (uint32_t) (services > cut ? services - cut : 0);
    memcpy(pool->addrs.ip, ips, pool->addrs.count * sizeof(tn_ip_t));
    pool->addressed = true;

    tn_pool_send_addresses(pool);
}


static void
tn_pool_send_addresses(tn_pool_t *pool)
{
    tn_rc_t  rc;

    if (pool->watch.fd == -1) {
        return;
    }

    pool->addrs_seq = ++pool->seq;
    pool->addrs.head.seq = pool->addrs_seq;

    rc = tn_ipc_send(pool->watch.fd, &pool->addrs, NULL, 0);

    pool->unsent = rc == TN_AGAIN;

    if (rc == TN_AGAIN) {
        tn_pool_again(pool);

    } else if (rc != TN_OK) {
        tn_pool_lost(pool);
    }
}


void
tn_pool_near(tn_pool_t *pool, const tn_ip_t ips[2], bool near)
{
    tn_ipc_near_t  msg;

    if (pool->watch.fd == -1) {
        return;
    }

    tn_ipc_init(&msg, TN_IPC_HOLDER_NEAR);
    msg.near = near;
    msg.ip[0] = ips[0];
    msg.ip[1] = ips[1];

    /* a channel that is full for a moment costs some speed, no more */

    if (tn_ipc_send(pool->watch.fd, &msg, NULL, 0) == TN_ERROR) {
        tn_pool_lost(pool);
    }
}


int
tn_pool_take(tn_pool_t *pool, uint16_t family, uint16_t proto)
{
    int              fd;
    tn_pool_kind_t  *kind;

    kind = tn_pool_kind(pool, family, proto);

    if (kind == NULL) {
        return -1;
    }

    kind->wanted = true;
    fd = -1;

    /* who waits already comes first */

    if (kind->count && tn_list_empty(&kind->waiters)) {
        fd = kind->fds[--kind->count];
    }

    tn_pool_fill(pool, kind);

    return fd;
}


void
tn_pool_wait(tn_pool_t *pool, tn_pool_waiter_t *waiter)
{
    tn_pool_kind_t  *kind;

    kind = tn_pool_kind(pool, waiter->family, waiter->proto);

    if (kind == NULL) {
        tn_list_init(&waiter->link);
        waiter->pool = NULL;
        return;
    }

    waiter->pool = pool;
    tn_list_push(&kind->waiters, &waiter->link);

    kind->wanted = true;
    tn_pool_fill(pool, kind);
}


void
tn_pool_cancel(tn_pool_waiter_t *waiter)
{
    if (waiter->pool) {
        tn_list_remove(&waiter->link);
        waiter->pool = NULL;
    }
}


const char *
tn_pool_error(const tn_pool_t *pool)
{
    return pool->text;
}


static tn_pool_kind_t *
tn_pool_kind(tn_pool_t *pool, uint16_t family, uint16_t proto)
{
    size_t  i;

    for (i = 0; i < TN_POOL_KINDS; i++) {
        if (pool->kinds[i].family == family && pool->kinds[i].proto == proto) {
            return &pool->kinds[i];
        }
    }

    return NULL;
}


static void
tn_pool_fill(tn_pool_t *pool, tn_pool_kind_t *kind)
{
    tn_rc_t            rc;
    tn_ipc_sockets_t   msg;

    if (!kind->wanted || kind->seq != 0 || kind->count >= TN_POOL_LOW
        || pool->watch.fd == -1)
    {
        return;
    }

    if (++pool->seq == 0) {
        pool->seq = 1;
    }

    tn_ipc_init(&msg, TN_IPC_HOLDER_SOCKETS);
    msg.head.seq = pool->seq;
    msg.family = kind->family;
    msg.proto = kind->proto;
    msg.count = TN_POOL_BATCH;

    rc = tn_ipc_send(pool->watch.fd, &msg, NULL, 0);

    if (rc == TN_OK) {
        kind->seq = pool->seq;

    } else if (rc == TN_AGAIN) {
        tn_pool_again(pool);

    } else {
        tn_pool_lost(pool);
    }
}


static void
tn_pool_again(tn_pool_t *pool)
{
    (void) tn_timer_set(&pool->loop->timers, &pool->retry,
                        pool->loop->now + TN_POOL_RETRY_MS);
}


static void
tn_pool_retry(void *data, tn_ms_t now)
{
    size_t      i;
    tn_pool_t  *pool;

    (void) now;

    pool = data;

    if (pool->unsent) {
        tn_pool_send_addresses(pool);
    }

    for (i = 0; i < TN_POOL_KINDS; i++) {
        if (!tn_list_empty(&pool->kinds[i].waiters)) {
            tn_pool_fill(pool, &pool->kinds[i]);
        }
    }
}


static void
tn_pool_read(tn_watch_t *watch, uint32_t events)
{
    int           fds[TN_IPC_FDS];
    size_t        n;
    tn_rc_t       rc;
    tn_pool_t    *pool;
    tn_ipc_msg_t  msg;

    (void) events;

    pool = watch->data;

    rc = tn_ipc_recv(watch->fd, &msg, fds, &n);

    if (rc == TN_AGAIN) {
        return;
    }

    if (rc == TN_OK && msg.head.type == TN_IPC_REPLY) {
        tn_pool_reply(pool, &msg.reply, fds, n);
        return;
    }

    if (rc == TN_MALFORMED) {
        tn_pool_unread(pool);
        return;
    }

    if (rc == TN_OK) {
        tn_ipc_close(fds, n);
    }

    tn_pool_lost(pool);

    (void) tn_timer_set(&pool->loop->timers, &pool->gone,
                        pool->loop->now + TN_POOL_GONE_MS);
}


/*
 * An answer whose sockets did not all find descriptors is lost; nobody would
 * bring another channel, for the holder lives.
 */
static void
tn_pool_unread(tn_pool_t *pool)
{
    size_t  i;

    for (i = 0; i < TN_POOL_KINDS; i++) {
        pool->kinds[i].seq = 0;
    }

    snprintf(pool->text, sizeof(pool->text), "no descriptors are left for "
             "sockets");
    tn_pool_again(pool);
}


static void
tn_pool_reply(tn_pool_t *pool, const tn_ipc_reply_t *reply, int *fds,
    size_t count)
{
    size_t           i;
    tn_pool_kind_t  *kind;

    if (reply->head.seq == pool->addrs_seq) {

        if (reply->rc != TN_OK) {
            tn_log(pool->log, TN_LOG_ERR, "addresses of a network namespace: "
                   "%s", reply->text);
        }

        tn_ipc_close(fds, count);
        return;
    }

    for (i = 0; i < TN_POOL_KINDS; i++) {
        kind = &pool->kinds[i];

        if (kind->seq == 0 || kind->seq != reply->head.seq) {
            continue;
        }

        kind->seq = 0;

        if (reply->rc != TN_OK || count == 0) {
            memcpy(pool->text, reply->text, sizeof(pool->text));
            tn_ipc_close(fds, count);
            tn_pool_again(pool);
            return;
        }

        pool->text[0] = '\0';

        /* one request at a time and only below the mark: there is room */

        memcpy(kind->fds + kind->count, fds, count * sizeof(int));
        kind->count += count;

        tn_pool_serve(pool, kind);
        return;
    }

    tn_ipc_close(fds, count);
}


static void
tn_pool_serve(tn_pool_t *pool, tn_pool_kind_t *kind)
{
    tn_link_t         *link;
    tn_pool_waiter_t  *waiter;

    while (kind->count && (link = tn_list_shift(&kind->waiters)) != NULL) {
        waiter = tn_container(link, tn_pool_waiter_t, link);
        waiter->pool = NULL;
        waiter->ready(waiter, kind->fds[--kind->count]);
    }

    tn_pool_fill(pool, kind);
}


static void
tn_pool_lost(tn_pool_t *pool)
{
    size_t  i;

    if (pool->watch.fd == -1) {
        return;
    }

    tn_loop_unwatch(pool->loop, &pool->watch);
    tn_ipc_close(&pool->watch.fd, 1);

    for (i = 0; i < TN_POOL_KINDS; i++) {
        pool->kinds[i].seq = 0;
    }

    pool->addrs_seq = 0;
    pool->unsent = false;

    snprintf(pool->text, sizeof(pool->text), "the holder of the network "
             "namespace is gone");
}


static void
tn_pool_gone(void *data, tn_ms_t now)
{
    tn_pool_t  *pool;

    (void) now;

    pool = data;

    tn_log(pool->log, TN_LOG_WARN, "the holder of a network namespace ended, "
           "waiting for another");
}
