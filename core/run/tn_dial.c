
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A request is one connection of a worker.  It goes through
 *
 *   reading    accepted, the request has not come yet
 *   resolving  its node or name is not known yet, asked again at every
 *              tn_dial_retry()
 *   drawing    waits for a socket of the pool
 *   done       answered or given up: closed
 *
 * Each address is tried with a connect() that does not block; the first that
 * does not fail at once is passed while it connects, so that nginx sees its
 * errors and timeouts as those of any socket.  A worker cancels by closing
 * its end.  One timer per request: TN_DIAL_REQUEST_MS while reading, then
 * what the request says, TN_DIAL_TIMEOUT_MS at most.
 *
 * With TN_DIAL_MAX requests, or without descriptors, nothing is accepted
 * until one is done: the rest waits in the queue of the listening socket.
 */

#include "run/tn_dial.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>


#define TN_DIAL_ACCEPTS   64            /* of one turn of the loop */
#define TN_DIAL_PAUSE_MS  200           /* without descriptors */


typedef enum {
    TN_DIAL_READING = 0,
    TN_DIAL_RESOLVING,
    TN_DIAL_DRAWING
} tn_dial_state_e;


typedef struct {
    tn_link_t          link;
    tn_dial_t         *dial;
    tn_dial_state_e    state;
    tn_watch_t         watch;
    tn_timer_t         timer;
    tn_ipc_dial_t      request;

    tn_pool_t         *pool;            /* while drawing */
    tn_pool_waiter_t   waiter;
    tn_ip_t            ips[TN_DIAL_IPS];
    size_t             n_ips;
    size_t             next;            /* of ips, to be tried */

    int                err;
    char               text[TN_IPC_TEXT];   /* why it is not done yet */
} tn_dial_request_t;


struct tn_dial_s {
    tn_loop_t           *loop;
    tn_log_t            *log;
    tn_dial_resolve_pt   resolve;
    void                *data;
    tn_dial_tool_pt      tool;
    void                *tool_data;
    tn_dial_watch_pt     watcher;
    void                *watcher_data;
    tn_dial_take_pt      take;
    void                *take_data;
    tn_dial_cert_pt      cert;
    void                *cert_data;
    tn_dial_serve_pt     serve;
    void                *serve_data;
    tn_dial_stack_pt     stack;
    tn_watch_t           watch;         /* the listener; fd -1: none */
    tn_timer_t           pause;
    tn_link_t            requests;
    size_t               n_requests;
};


static void tn_dial_accept(tn_watch_t *watch, uint32_t events);
static void tn_dial_pause(tn_dial_t *dial);
static void tn_dial_resume(void *data, tn_ms_t now);
static void tn_dial_read(tn_watch_t *watch, uint32_t events);
static void tn_dial_input(tn_dial_request_t *req);
static int tn_dial_give_up(tn_dial_request_t *req);
static void tn_dial_lookup(tn_dial_request_t *req);
static void tn_dial_draw(tn_dial_request_t *req);
static void tn_dial_drawn(tn_pool_waiter_t *waiter, int fd);
static bool tn_dial_connect(tn_dial_request_t *req, int fd);
static void tn_dial_timeout(void *data, tn_ms_t now);
static void tn_dial_fail(tn_dial_request_t *req, tn_rc_t rc, int err,
    const char *text);
static void tn_dial_free(tn_dial_request_t *req);


tn_dial_t *
tn_dial_create(tn_loop_t *loop, tn_dial_resolve_pt resolve, void *data,
    tn_log_t *log)
{
    tn_dial_t  *dial;

    dial = calloc(1, sizeof(*dial));

    if (dial == NULL) {
        return NULL;
    }

    dial->loop = loop;
    dial->log = log;
    dial->resolve = resolve;
    dial->data = data;
    dial->watch.fd = -1;
    dial->watch.handler = tn_dial_accept;
    dial->watch.data = dial;

    tn_timer_init(&dial->pause, tn_dial_resume, dial);
    tn_list_init(&dial->requests);

    return dial;
}


void
tn_dial_destroy(tn_dial_t *dial)
{
    tn_link_t  *link;

    tn_timer_cancel(&dial->loop->timers, &dial->pause);
    tn_loop_unwatch(dial->loop, &dial->watch);
    tn_ipc_close(&dial->watch.fd, 1);

    while ((link = tn_list_shift(&dial->requests)) != NULL) {
        tn_dial_free(tn_container(link, tn_dial_request_t, link));
    }

    /* freeing a request may have put it back */
    tn_timer_cancel(&dial->loop->timers, &dial->pause);

    free(dial);
}


void
tn_dial_tools(tn_dial_t *dial, tn_dial_tool_pt tool, void *data)
{
    dial->tool = tool;
    dial->tool_data = data;
}


void
tn_dial_watches(tn_dial_t *dial, tn_dial_watch_pt watch, void *data)
{
    dial->watcher = watch;
    dial->watcher_data = data;
}


void
tn_dial_certs(tn_dial_t *dial, tn_dial_cert_pt cert, void *data)
{
    dial->cert = cert;
    dial->cert_data = data;
}


void
tn_dial_serves(tn_dial_t *dial, tn_dial_serve_pt serve, void *data)
{
    dial->serve = serve;
    dial->serve_data = data;
}


void
tn_dial_stack(tn_dial_t *dial, tn_dial_stack_pt stack)
{
    dial->stack = stack;
}


void
tn_dial_takes(tn_dial_t *dial, tn_dial_take_pt take, void *data)
{
    dial->take = take;
    dial->take_data = data;
}


void
tn_dial_listen(tn_dial_t *dial, int fd)
{
    tn_loop_unwatch(dial->loop, &dial->watch);
    tn_ipc_close(&dial->watch.fd, 1);

    dial->watch.fd = fd;

    tn_dial_resume(dial, dial->loop->now);
}


void
tn_dial_retry(tn_dial_t *dial)
{
    tn_link_t          *link, *tmp;
    tn_dial_request_t  *req;

    tn_list_each_safe(link, tmp, &dial->requests) {
        req = tn_container(link, tn_dial_request_t, link);

        if (req->state == TN_DIAL_RESOLVING) {
            tn_dial_lookup(req);
        }
    }
}


void
tn_dial_forget(tn_dial_t *dial, tn_pool_t *pool)
{
    tn_link_t          *link;
    tn_dial_request_t  *req;

    tn_list_each(link, &dial->requests) {
        req = tn_container(link, tn_dial_request_t, link);

        if (req->state == TN_DIAL_DRAWING && req->pool == pool) {
            tn_pool_cancel(&req->waiter);
            req->pool = NULL;
            req->state = TN_DIAL_RESOLVING;
        }
    }
}


static void
tn_dial_accept(tn_watch_t *watch, uint32_t events)
{
    int         fd, i;
    tn_dial_t  *dial;

    (void) events;

    dial = watch->data;

    for (i = 0; i < TN_DIAL_ACCEPTS; i++) {

        if (dial->n_requests >= TN_DIAL_MAX) {
            tn_log(dial->log, TN_LOG_WARN, "%d dials wait, others queue",
                   TN_DIAL_MAX);
            tn_loop_unwatch(dial->loop, &dial->watch);
            return;
        }

        fd = accept4(watch->fd, NULL, NULL, SOCK_NONBLOCK|SOCK_CLOEXEC);

        if (fd != -1) {
            tn_dial_accepted(dial, fd);
            continue;
        }

        if (errno == EAGAIN) {
            return;
        }

        if (errno != EINTR && errno != ECONNABORTED) {
            tn_log(dial->log, TN_LOG_ALERT, "accept4() of a dial failed (%d: "
                   "%s)", errno, strerror(errno));
            tn_dial_pause(dial);
            return;
        }
    }
}


static void
tn_dial_pause(tn_dial_t *dial)
{
    tn_loop_unwatch(dial->loop, &dial->watch);

    (void) tn_timer_set(&dial->loop->timers, &dial->pause,
                        dial->loop->now + TN_DIAL_PAUSE_MS);
}


static void
tn_dial_resume(void *data, tn_ms_t now)
{
    tn_dial_t  *dial;

    (void) now;

    dial = data;

    if (dial->watch.fd == -1) {
        return;
    }

    dial->watch.events = TN_LOOP_READ;

    if (tn_loop_watch(dial->loop, &dial->watch) != TN_OK) {
        tn_dial_pause(dial);
    }
}


void
tn_dial_accepted(tn_dial_t *dial, int fd)
{
    tn_dial_request_t  *req;

    req = calloc(1, sizeof(*req));

    if (req == NULL) {
        close(fd);
        return;
    }

    req->dial = dial;
    req->state = TN_DIAL_READING;
    req->watch.fd = fd;
    req->watch.events = TN_LOOP_READ;
    req->watch.handler = tn_dial_read;
    req->watch.data = req;
    req->waiter.ready = tn_dial_drawn;

    snprintf(req->text, sizeof(req->text), "no request came");

    tn_list_init(&req->waiter.link);
    tn_timer_init(&req->timer, tn_dial_timeout, req);
    tn_list_push(&dial->requests, &req->link);
    dial->n_requests++;

    if (tn_timer_set(&dial->loop->timers, &req->timer,
                     dial->loop->now + TN_DIAL_REQUEST_MS)
        != TN_OK
        || tn_loop_watch(dial->loop, &req->watch) != TN_OK)
    {
        tn_dial_free(req);
        return;
    }

    /* as a rule it is there already */
    tn_dial_input(req);
}


static void
tn_dial_read(tn_watch_t *watch, uint32_t events)
{
    (void) events;

    tn_dial_input(watch->data);
}


static void
tn_dial_input(tn_dial_request_t *req)
{
    int           fds[TN_IPC_FDS];
    size_t        n;
    tn_rc_t       rc;
    uint32_t      ms;
    tn_dial_t    *dial;
    tn_ipc_msg_t  msg;

    rc = tn_ipc_recv(req->watch.fd, &msg, fds, &n);

    if (rc == TN_AGAIN) {
        return;
    }

    if (rc == TN_OK) {
        tn_ipc_close(fds, n);
    }

    dial = req->dial;

    if (rc == TN_OK && req->state == TN_DIAL_READING
        && msg.head.type == TN_IPC_TOOL && dial->tool != NULL)
    {
        dial->tool(dial->tool_data, tn_dial_give_up(req), &msg.tool);
        return;
    }

    if (rc == TN_OK && req->state == TN_DIAL_READING
        && msg.head.type == TN_IPC_WATCH && dial->watcher != NULL)
    {
        dial->watcher(dial->watcher_data, tn_dial_give_up(req), &msg.watch);
        return;
    }

    if (rc == TN_OK && req->state == TN_DIAL_READING
        && msg.head.type == TN_IPC_CERT && dial->cert != NULL)
    {
        dial->cert(dial->cert_data, tn_dial_give_up(req), &msg.cert);
        return;
    }

    if (rc == TN_OK && req->state == TN_DIAL_READING
        && msg.head.type == TN_IPC_SERVE && dial->serve != NULL)
    {
        dial->serve(dial->serve_data, tn_dial_give_up(req), &msg.serve);
        return;
    }

    if (rc == TN_OK && req->state == TN_DIAL_READING
        && msg.head.type == TN_IPC_TAKE && dial->take != NULL)
    {
        dial->take(dial->take_data, tn_dial_give_up(req), &msg.take);
        return;
    }

    /* closed, or anything but one request: given up */

    if (rc != TN_OK || req->state != TN_DIAL_READING
        || msg.head.type != TN_IPC_DIAL)
    {
        tn_dial_free(req);
        return;
    }

    req->request = msg.dial;

    if (msg.dial.port == 0
        || (msg.dial.proto != TN_IPC_TCP && msg.dial.proto != TN_IPC_UDP))
    {
        tn_dial_fail(req, TN_MALFORMED, EINVAL, "no such port or protocol");
        return;
    }

    ms = msg.dial.timeout_ms;

    if (ms == 0 || ms > TN_DIAL_TIMEOUT_MS) {
        ms = TN_DIAL_TIMEOUT_MS;
    }

    if (tn_timer_set(&dial->loop->timers, &req->timer, dial->loop->now + ms)
        != TN_OK)
    {
        tn_dial_free(req);
        return;
    }

    tn_dial_lookup(req);
}


/* what asks for something else than a dial is not ours any more */
static int
tn_dial_give_up(tn_dial_request_t *req)
{
    int  fd;

    fd = req->watch.fd;

    tn_loop_unwatch(req->dial->loop, &req->watch);
    req->watch.fd = -1;
    tn_dial_free(req);

    return fd;
}


static void
tn_dial_lookup(tn_dial_request_t *req)
{
    int         err;
    bool        wait;
    tn_dial_t  *dial;

    dial = req->dial;

    req->state = TN_DIAL_RESOLVING;
    req->n_ips = TN_DIAL_IPS;
    req->next = 0;
    req->text[0] = '\0';

    wait = false;
    err = EHOSTUNREACH;

    req->pool = dial->resolve(dial->data, &req->request, req->ips,
                              &req->n_ips, &wait, &err, req->text);

    if (req->pool && dial->stack != NULL
        && dial->stack(dial->data, req->watch.fd, &req->request, req->ips,
                       req->n_ips))
    {
        tn_loop_unwatch(dial->loop, &req->watch);
        req->watch.fd = -1;
        tn_dial_free(req);
        return;
    }

    if (req->pool) {
        req->err = EHOSTUNREACH;
        snprintf(req->text, sizeof(req->text), "the name has no address");
        tn_dial_draw(req);
        return;
    }

    if (!wait) {
        tn_dial_fail(req, TN_NOTFOUND, err, req->text);
    }
}


/* tries the addresses that are left, as far as there are sockets */
static void
tn_dial_draw(tn_dial_request_t *req)
{
    int  fd;

    req->state = TN_DIAL_DRAWING;

    while (req->next < req->n_ips && req->next < TN_DIAL_IPS) {
        req->waiter.family = tn_ip_is_v4(&req->ips[req->next]) ? 4 : 6;
        req->waiter.proto = req->request.proto;

        fd = tn_pool_take(req->pool, req->waiter.family, req->waiter.proto);

        if (fd == -1) {
            tn_pool_wait(req->pool, &req->waiter);
            return;
        }

        if (tn_dial_connect(req, fd)) {
            return;
        }
    }

    tn_dial_fail(req, TN_ERROR, req->err, req->text);
}


static void
tn_dial_drawn(tn_pool_waiter_t *waiter, int fd)
{
    tn_dial_request_t  *req;

    req = tn_container(waiter, tn_dial_request_t, waiter);

    if (fd == -1) {
        req->pool = NULL;
        req->state = TN_DIAL_RESOLVING;
        return;
    }

    if (!tn_dial_connect(req, fd)) {
        tn_dial_draw(req);
    }
}


/* takes fd; true when the request is done and gone */
static bool
tn_dial_connect(tn_dial_request_t *req, int fd)
{
    char                     text[TN_ADDR_TEXT];
    size_t                   len;
    tn_addr_t                addr;
    tn_ipc_dial_reply_t      reply;
    struct sockaddr_storage  ss;

    addr.ip = req->ips[req->next++];
    addr.port = req->request.port;
    len = tn_addr_to_sockaddr(&addr, &ss);

    if (connect(fd, (struct sockaddr *) &ss, (socklen_t) len) == -1
        && errno != EINPROGRESS)
    {
        req->err = errno;
        snprintf(req->text, sizeof(req->text), "connect() to %s failed (%d: "
                 "%s)", tn_addr_text(&addr, text), req->err,
                 strerror(req->err));
        close(fd);

        return false;
    }

    tn_ipc_init(&reply, TN_IPC_DIAL_REPLY);
    reply.head.seq = req->request.head.seq;
    reply.rc = TN_OK;
    reply.addr = addr;

    (void) tn_ipc_send(req->watch.fd, &reply, &fd, 1);

    close(fd);
    tn_dial_free(req);

    return true;
}


static void
tn_dial_timeout(void *data, tn_ms_t now)
{
    const char         *why;
    tn_dial_request_t  *req;

    (void) now;

    req = data;
    why = req->text;

    if (req->state == TN_DIAL_DRAWING) {
        why = tn_pool_error(req->pool);
    }

    tn_dial_fail(req, TN_ERROR, ETIMEDOUT, *why ? why : "timed out");
}


static void
tn_dial_fail(tn_dial_request_t *req, tn_rc_t rc, int err, const char *text)
{
    tn_ipc_dial_reply_t  reply;

    tn_ipc_init(&reply, TN_IPC_DIAL_REPLY);
    reply.head.seq = req->request.head.seq;
    reply.rc = rc;
    reply.err = err;
    snprintf(reply.text, sizeof(reply.text), "%s", text);

    (void) tn_ipc_send(req->watch.fd, &reply, NULL, 0);

    tn_dial_free(req);
}


static void
tn_dial_free(tn_dial_request_t *req)
{
    tn_dial_t  *dial;

    dial = req->dial;

    tn_pool_cancel(&req->waiter);
    tn_timer_cancel(&dial->loop->timers, &req->timer);
    tn_loop_unwatch(dial->loop, &req->watch);
    tn_list_remove(&req->link);
    tn_ipc_close(&req->watch.fd, 1);
    free(req);

    if (dial->n_requests-- == TN_DIAL_MAX) {
        tn_dial_resume(dial, dial->loop->now);
    }
}
