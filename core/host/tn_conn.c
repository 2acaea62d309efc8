
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * States: RACE -> PROXY -> HANDSHAKE -> OPEN -> CLOSED, without PROXY where
 * there is none and without HANDSHAKE where there is no TLS, and any ->
 * CLOSED.  The way to CLOSED is always tn_conn_fail(), which lets go of
 * everything but the object and tells the owner once.  TCP is raced
 * (tn_race.c), the rest is not.
 *
 * Timers: `deadline` runs from the start to OPEN, at first to the end of RACE
 * where that has a limit of its own.  `step` comes back to bytes
 * that OpenSSL holds when the budget of one turn is spent, or after a pause:
 * epoll does not know of those.
 *
 * Output: one linear buffer of out_limit bytes at most, grown on demand,
 * written at the end of the turn by `flush` and then on writability.
 *
 * TLS 1.3 has handshake messages at any time: while one is on its way OpenSSL
 * may have to read before it writes, or write before it reads.  Then only that
 * is waited for: the other is ready all the time.
 *
 * Callbacks may close the object: each entry from the loop counts itself in
 * `depth`, and who leaves last frees it.
 */

#include "host/tn_conn.h"

#include "host/tn_race.h"
#include "host/tn_sockname.h"

#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>


#define TN_CONN_TEXT          512
#define TN_CONN_READ_BUDGET   (256 * 1024)      /* bytes of one turn */
#define TN_CONN_FIRST_OUT     4096


typedef enum {
    TN_CONN_RACE,
    TN_CONN_TALK,           /* with the proxy */
    TN_CONN_HANDSHAKE,
    TN_CONN_OPEN,
    TN_CONN_CLOSED
} tn_conn_state_e;

typedef enum {
    TN_CONN_SHUT_NO,
    TN_CONN_SHUT_WANTED,
    TN_CONN_SHUT_DONE
} tn_conn_shut_e;

struct tn_conn_s {
    tn_loop_t             *loop;
    const tn_conn_ops_t   *ops;
    void                  *data;

    tn_conn_state_e        state;
    int                    depth;
    bool                   dead;        /* tn_conn_close() was called */

    tn_timer_t             deadline;
    tn_timer_t             step;
    tn_defer_t             flush;
    tn_race_t              race;
    tn_proxy_talk_t       *talk;        /* NULL: no proxy, or it is over */

    tn_watch_t             watch;       /* fd -1: not connected yet */
    tn_addr_t              remote;
    SSL                   *ssl;
    bool                   ssl_wants_write;     /* before it reads on */
    bool                   ssl_wants_read;      /* before it writes on */

    tn_conn_shut_e         shut;
    bool                   paused;
    bool                   blocked;     /* a send was told TN_AGAIN */

    uint8_t               *out;
    size_t                 out_pos;
    size_t                 out_len;     /* from out_pos */
    size_t                 out_size;

    char                  *host;
    uint16_t               port;
    char                  *proxy;       /* its host, NULL: none */
    tn_ms_t                started;
    tn_ms_t                timeout_ms;
    tn_ms_t                tcp_ms;      /* 0: no limit of its own */
    size_t                 out_limit;
    int                    unsent;
    tn_tls_t              *tls;
    char                  *cert_name;
};


static void tn_conn_enter(tn_conn_t *conn);
static void tn_conn_leave(tn_conn_t *conn);
static void tn_conn_release(tn_conn_t *conn);
static void tn_conn_fail(tn_conn_t *conn, tn_conn_why_e why, const char *fmt,
    ...) tn_printf_like(3, 4);
static void tn_conn_on_deadline(void *data, tn_ms_t now);
static void tn_conn_on_step(void *data, tn_ms_t now);
static bool tn_conn_is_own(const tn_addr_t *addr);
static void tn_conn_on_race(void *data, int fd, const tn_addr_t *addr,
    bool resolved, const char *text);
static void tn_conn_on_event(tn_watch_t *watch, uint32_t events);
static void tn_conn_on_flush(void *data);
static void tn_conn_talk(tn_conn_t *conn);
static void tn_conn_secure(tn_conn_t *conn);
static void tn_conn_shake(tn_conn_t *conn);
static void tn_conn_opened(tn_conn_t *conn);
static void tn_conn_input(tn_conn_t *conn);
static void tn_conn_read(tn_conn_t *conn);
static ssize_t tn_conn_read_some(tn_conn_t *conn);
static void tn_conn_write(tn_conn_t *conn);
static tn_rc_t tn_conn_write_some(tn_conn_t *conn);
static tn_rc_t tn_conn_put(tn_conn_t *conn, int *err);
static tn_rc_t tn_conn_end_output(tn_conn_t *conn);
static void tn_conn_rewatch(tn_conn_t *conn);
static tn_rc_t tn_conn_room(tn_conn_t *conn, size_t len);


tn_conn_t *
tn_conn_open(tn_loop_t *loop, tn_resolver_t *resolver,
    const tn_conn_params_t *params, const tn_conn_ops_t *ops, void *data)
{
    size_t      n_ips;
    tn_conn_t  *conn;

    conn = calloc(1, sizeof(tn_conn_t));
    if (conn == NULL) {
        return NULL;
    }

    conn->loop = loop;
    conn->ops = ops;
    conn->data = data;
    conn->tls = params->tls;
    conn->timeout_ms = params->timeout_ms ? params->timeout_ms
                                          : TN_CONN_TIMEOUT_MS;
    conn->out_limit = params->out_limit ? params->out_limit
                                        : TN_CONN_OUT_LIMIT;
    conn->unsent = params->unsent;
    conn->watch.fd = -1;

    tn_timer_init(&conn->deadline, tn_conn_on_deadline, conn);
    tn_timer_init(&conn->step, tn_conn_on_step, conn);
    tn_defer_init(&conn->flush, tn_conn_on_flush, conn);

    conn->host = strdup(params->host);
    conn->port = params->port;
    conn->started = loop->now;

    if (params->cert_name != NULL) {
        conn->cert_name = strdup(params->cert_name);
    }

    conn->race.loop = loop;
    conn->race.resolver = resolver;
    conn->race.host = conn->host;
    conn->race.port = params->port;
    conn->race.timeout_ms = conn->timeout_ms;
    conn->race.fn = tn_conn_on_race;
    conn->race.data = conn;

    n_ips = 0;

    if (params->proxy != NULL) {
        conn->proxy = strdup(params->proxy->host);
        conn->talk = tn_proxy_talk_create(params->proxy, params->host,
                                          params->port);
        conn->race.host = conn->proxy;
        conn->race.port = params->proxy->port;

        if (conn->proxy == NULL || conn->talk == NULL) {
            tn_conn_close(conn);
            return NULL;
        }

    } else {
        conn->tcp_ms = params->tcp_ms;
        conn->race.no_v4 = params->no_v4;
        conn->race.no_v6 = params->no_v6;
        n_ips = params->n_ips;
    }

    if (conn->host == NULL
        || (params->cert_name != NULL && conn->cert_name == NULL)
        || tn_race_start(&conn->race, params->ips, n_ips) != TN_OK
        || tn_timer_set(&loop->timers, &conn->deadline,
                        loop->now + (conn->tcp_ms ? conn->tcp_ms
                                                  : conn->timeout_ms))
           != TN_OK)
    {
        tn_conn_close(conn);
        return NULL;
    }

    return conn;
}


void
tn_conn_close(tn_conn_t *conn)
{
    if (conn == NULL) {
        return;
    }

    conn->dead = true;
    conn->state = TN_CONN_CLOSED;

    tn_conn_release(conn);

    if (conn->depth == 0) {
        tn_conn_enter(conn);
        tn_conn_leave(conn);
    }
}


static void
tn_conn_enter(tn_conn_t *conn)
{
    conn->depth++;
}


static void
tn_conn_leave(tn_conn_t *conn)
{
    if (--conn->depth > 0 || !conn->dead) {
        return;
    }

    free(conn->host);
    free(conn->proxy);
    free(conn->cert_name);
    free(conn);
}


/* lets go of all but the object's own memory; may be called again */

static void
tn_conn_release(tn_conn_t *conn)
{
    tn_timer_cancel(&conn->loop->timers, &conn->deadline);
    tn_timer_cancel(&conn->loop->timers, &conn->step);
    tn_loop_undefer(&conn->flush);

    tn_race_stop(&conn->race);
    tn_proxy_talk_free(conn->talk);
    conn->talk = NULL;

    if (conn->ssl != NULL) {
        tn_tls_session_free(conn->ssl);
        conn->ssl = NULL;
    }

    if (conn->watch.fd != -1) {
        tn_loop_unwatch(conn->loop, &conn->watch);
        (void) close(conn->watch.fd);
        conn->watch.fd = -1;
    }

    if (conn->out != NULL) {
        tn_wipe(conn->out, conn->out_size);
        free(conn->out);
        conn->out = NULL;
        conn->out_pos = 0;
        conn->out_len = 0;
        conn->out_size = 0;
    }
}


static void
tn_conn_fail(tn_conn_t *conn, tn_conn_why_e why, const char *fmt, ...)
{
    char     text[TN_CONN_TEXT];
    va_list  args;

    if (conn->state == TN_CONN_CLOSED) {
        return;
    }

    va_start(args, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    conn->state = TN_CONN_CLOSED;
    tn_conn_release(conn);

    conn->ops->closed(conn->data, conn, why, text);
}


static void
tn_conn_on_deadline(void *data, tn_ms_t now)
{
    tn_ms_t      limit;
    tn_conn_t   *conn;
    const char  *what;

    (void) now;

    conn = data;
    limit = conn->timeout_ms;

    tn_conn_enter(conn);

    switch (conn->state) {
    case TN_CONN_HANDSHAKE:
        what = "TLS handshake";
        break;
    case TN_CONN_TALK:
        what = "CONNECT";
        break;
    default:
        what = tn_race_stage(&conn->race);
        limit = conn->tcp_ms ? conn->tcp_ms : limit;
    }

    tn_conn_fail(conn, TN_CONN_TIMEOUT,
                 "%s timed out after %llu ms (\"%s\" port %u%s%s%s)", what,
                 (unsigned long long) limit, conn->host,
                 conn->port, conn->proxy ? " by proxy \"" : "",
                 conn->proxy ? conn->proxy : "", conn->proxy ? "\"" : "");

    tn_conn_leave(conn);
}


static void
tn_conn_on_step(void *data, tn_ms_t now)
{
    tn_conn_t  *conn;

    (void) now;

    conn = data;

    tn_conn_enter(conn);
    tn_conn_input(conn);
    tn_conn_leave(conn);
}


static void
tn_conn_on_race(void *data, int fd, const tn_addr_t *addr, bool resolved,
    const char *text)
{
    tn_conn_t  *conn;

    conn = data;

    tn_conn_enter(conn);

    if (fd == -1) {
        tn_conn_fail(conn, resolved ? TN_CONN_CONNECT : TN_CONN_RESOLVE,
                     "%s\"%s\": %s", conn->proxy ? "proxy " : "",
                     conn->race.host, text);
        goto done;
    }

    if (conn->unsent != 0) {
        (void) setsockopt(fd, IPPROTO_TCP, TCP_NOTSENT_LOWAT, &conn->unsent,
                          sizeof(int));
    }

    conn->watch.fd = fd;
    conn->watch.handler = tn_conn_on_event;
    conn->watch.data = conn;
    conn->remote = *addr;

    if (conn->tcp_ms != 0) {
        (void) tn_timer_set(&conn->loop->timers, &conn->deadline,
                            conn->started + conn->timeout_ms);
    }

    if (conn->talk != NULL) {
        conn->state = TN_CONN_TALK;
        tn_conn_talk(conn);
        goto done;
    }

    tn_conn_secure(conn);

done:

    tn_conn_leave(conn);
}


static void
tn_conn_talk(tn_conn_t *conn)
{
    bool     write;
    char     text[TN_PROXY_TEXT];
    tn_rc_t  rc;

    rc = tn_proxy_talk_step(conn->talk, conn->watch.fd, &write, text);

    if (rc == TN_AGAIN) {
        conn->watch.events = write ? TN_LOOP_WRITE : TN_LOOP_READ;

        if (tn_loop_watch(conn->loop, &conn->watch) != TN_OK) {
            tn_conn_fail(conn, TN_CONN_PROXY, "epoll: %s", strerror(errno));
        }

        return;
    }

    if (rc != TN_OK) {
        tn_conn_fail(conn, TN_CONN_PROXY, "\"%s\" port %u: %s", conn->host,
                     conn->port, text);
        return;
    }

    tn_proxy_talk_free(conn->talk);
    conn->talk = NULL;

    tn_conn_secure(conn);
}


static void
tn_conn_secure(tn_conn_t *conn)
{
    tn_rc_t  rc;

    if (conn->tls == NULL) {
        tn_conn_opened(conn);
        return;
    }

    rc = tn_tls_session(conn->tls, &conn->ssl, conn->watch.fd, conn->host,
                        conn->cert_name);
    if (rc != TN_OK) {
        tn_conn_fail(conn, TN_CONN_TLS,
                     rc == TN_MALFORMED ? "bad certificate pin \"%.80s\""
                                        : "no TLS session for \"%.80s\"",
                     conn->cert_name ? conn->cert_name : conn->host);
        return;
    }

    conn->state = TN_CONN_HANDSHAKE;
    tn_conn_shake(conn);
}


static void
tn_conn_shake(tn_conn_t *conn)
{
    int   n, err;
    char  addr[TN_ADDR_TEXT], text[TN_TLS_TEXT];

    ERR_clear_error();
    errno = 0;

    n = SSL_do_handshake(conn->ssl);

    if (n == 1) {
        tn_conn_opened(conn);
        return;
    }

    err = SSL_get_error(conn->ssl, n);

    if (err == SSL_ERROR_WANT_READ || err == SSL_ERROR_WANT_WRITE) {
        conn->watch.events = err == SSL_ERROR_WANT_READ ? TN_LOOP_READ
                                                        : TN_LOOP_WRITE;

        if (tn_loop_watch(conn->loop, &conn->watch) != TN_OK) {
            tn_conn_fail(conn, TN_CONN_TLS, "epoll: %s", strerror(errno));
        }

        return;
    }

    tn_tls_error(conn->ssl, err, text);

    tn_conn_fail(conn, TN_CONN_TLS, "TLS handshake with %s (\"%s\"): %s",
                 tn_addr_text(&conn->remote, addr), conn->host, text);
}


static void
tn_conn_opened(tn_conn_t *conn)
{
    conn->state = TN_CONN_OPEN;
    tn_timer_cancel(&conn->loop->timers, &conn->deadline);

    /* bytes may have come with the end of the handshake */
    if (conn->ssl != NULL) {
        (void) tn_timer_set(&conn->loop->timers, &conn->step,
                            conn->loop->now);
    }

    conn->ops->connected(conn->data, conn);

    tn_conn_rewatch(conn);
}


static void
tn_conn_on_event(tn_watch_t *watch, uint32_t events)
{
    tn_conn_t  *conn;

    conn = watch->data;

    tn_conn_enter(conn);

    if (conn->state == TN_CONN_TALK) {
        tn_conn_talk(conn);

    } else if (conn->state == TN_CONN_HANDSHAKE) {
        tn_conn_shake(conn);

    } else {
        if ((events & TN_LOOP_WRITE) && conn->ssl_wants_write) {
            conn->ssl_wants_write = false;
            events |= TN_LOOP_READ;
        }

        if (events & TN_LOOP_WRITE) {
            tn_conn_write(conn);
        }

        if (events & (TN_LOOP_READ | TN_LOOP_ERROR)) {
            tn_conn_input(conn);
        }
    }

    tn_conn_leave(conn);
}


static void
tn_conn_input(tn_conn_t *conn)
{
    tn_conn_read(conn);

    if (conn->ssl_wants_read) {
        tn_conn_write(conn);
    }
}


static void
tn_conn_read(tn_conn_t *conn)
{
    size_t   budget;
    ssize_t  n;

    budget = TN_CONN_READ_BUDGET;

    while (conn->state == TN_CONN_OPEN && !conn->paused) {

        if (budget == 0) {

            if (conn->ssl != NULL && SSL_has_pending(conn->ssl)) {
                (void) tn_timer_set(&conn->loop->timers, &conn->step,
                                    conn->loop->now);
            }

            break;
        }

        n = tn_conn_read_some(conn);
        if (n <= 0) {
            break;
        }

        budget -= tn_min(budget, (size_t) n);

        conn->ops->received(conn->data, conn, conn->loop->scratch,
                            (size_t) n);

        /* nothing is lost: epoll tells of what came after a short read */
        if (conn->ssl == NULL && n < TN_LOOP_SCRATCH) {
            break;
        }
    }

    tn_conn_rewatch(conn);
}


/* bytes in the loop's scratch, or 0 for nothing now or closed */

static ssize_t
tn_conn_read_some(tn_conn_t *conn)
{
    int      n, err;
    char     text[TN_TLS_TEXT];
    size_t   got;
    ssize_t  len;

    if (conn->ssl == NULL) {

        len = recv(conn->watch.fd, conn->loop->scratch, TN_LOOP_SCRATCH, 0);

        if (len > 0) {
            return len;
        }

        if (len == 0) {
            tn_conn_fail(conn, TN_CONN_ENDED,
                         "\"%s\" closed the connection", conn->host);

        } else if (errno != EAGAIN && errno != EINTR) {
            tn_conn_fail(conn, TN_CONN_LOST, "reading from \"%s\": %s",
                         conn->host, strerror(errno));
        }

        return 0;
    }

    /*
     * Each call gives one record.  Those that OpenSSL has already are taken
     * together; an error behind them is found again by the next read.
     */

    got = 0;

    do {
        ERR_clear_error();
        errno = 0;

        n = SSL_read(conn->ssl, conn->loop->scratch + got,
                     (int) (TN_LOOP_SCRATCH - got));

        if (n > 0) {
            got += (size_t) n;
        }

    } while (n > 0 && TN_LOOP_SCRATCH - got >= SSL3_RT_MAX_PLAIN_LENGTH
             && SSL_has_pending(conn->ssl));

    if (got != 0) {
        return (ssize_t) got;
    }

    err = SSL_get_error(conn->ssl, n);

    switch (err) {

    case SSL_ERROR_WANT_READ:
        break;

    case SSL_ERROR_WANT_WRITE:
        conn->ssl_wants_write = true;
        break;

    case SSL_ERROR_ZERO_RETURN:
        tn_conn_fail(conn, TN_CONN_ENDED, "\"%s\" closed the connection",
                     conn->host);
        break;

    default:
        tn_tls_error(conn->ssl, err, text);
        tn_conn_fail(conn, TN_CONN_LOST, "reading from \"%s\": %s",
                     conn->host, text);
    }

    return 0;
}


static void
tn_conn_on_flush(void *data)
{
    tn_conn_t  *conn;

    conn = data;

    tn_conn_enter(conn);
    tn_conn_write(conn);
    tn_conn_leave(conn);
}


static void
tn_conn_write(tn_conn_t *conn)
{
    while (conn->state == TN_CONN_OPEN && conn->out_len > 0) {
        if (tn_conn_write_some(conn) != TN_OK) {
            break;
        }
    }

    if (conn->state == TN_CONN_OPEN && conn->out_len == 0) {

        if (conn->shut == TN_CONN_SHUT_WANTED) {
            (void) tn_conn_end_output(conn);
        }

        if (conn->blocked) {
            conn->blocked = false;

            if (conn->ops->writable != NULL) {
                conn->ops->writable(conn->data, conn);
            }
        }
    }

    tn_conn_rewatch(conn);
}


static tn_rc_t
tn_conn_write_some(tn_conn_t *conn)
{
    int   err;
    char  text[TN_TLS_TEXT];

    switch (tn_conn_put(conn, &err)) {

    case TN_OK:
        return TN_OK;

    case TN_CLOSED:
        if (conn->ssl == NULL) {
            tn_conn_fail(conn, TN_CONN_LOST, "writing to \"%s\": %s",
                         conn->host, strerror(err));

        } else {
            tn_tls_error(conn->ssl, err, text);
            tn_conn_fail(conn, TN_CONN_LOST, "writing to \"%s\": %s",
                         conn->host, text);
        }

        return TN_AGAIN;

    default:
        return TN_AGAIN;
    }
}


/*
 * One write of what is queued.  TN_AGAIN when nothing went, TN_CLOSED for an
 * error, errno's or SSL's, that the next call will find again.
 */
static tn_rc_t
tn_conn_put(tn_conn_t *conn, int *err)
{
    int             n;
    ssize_t         len;
    const uint8_t  *data;

    data = conn->out + conn->out_pos;

    if (conn->ssl == NULL) {

        len = send(conn->watch.fd, data, conn->out_len, MSG_NOSIGNAL);

        if (len == -1) {
            *err = errno;
            return errno == EAGAIN || errno == EINTR ? TN_AGAIN : TN_CLOSED;
        }

    } else {

        ERR_clear_error();
        errno = 0;

        n = SSL_write(conn->ssl, data,
                      (int) tn_min(conn->out_len, (size_t) INT32_MAX));
        conn->ssl_wants_read = false;

        if (n <= 0) {
            *err = SSL_get_error(conn->ssl, n);
            conn->ssl_wants_read = *err == SSL_ERROR_WANT_READ;

            return *err == SSL_ERROR_WANT_WRITE || *err == SSL_ERROR_WANT_READ
                   ? TN_AGAIN : TN_CLOSED;
        }

        len = n;

        /* what it wanted to write is written, so it reads on */

        if (conn->ssl_wants_write) {
            conn->ssl_wants_write = false;
            (void) tn_timer_set(&conn->loop->timers, &conn->step,
                                conn->loop->now);
        }
    }

    conn->out_pos += (size_t) len;
    conn->out_len -= (size_t) len;

    if (conn->out_len == 0) {
        conn->out_pos = 0;
    }

    return TN_OK;
}


/* TN_OK when the end of our stream is with the kernel */

static tn_rc_t
tn_conn_end_output(tn_conn_t *conn)
{
    int  n, err;

    if (conn->ssl != NULL) {
        ERR_clear_error();
        n = SSL_shutdown(conn->ssl);

        if (n < 0) {
            err = SSL_get_error(conn->ssl, n);
            ERR_clear_error();

            if (err == SSL_ERROR_WANT_WRITE) {
                return TN_AGAIN;
            }
        }
    }

    (void) shutdown(conn->watch.fd, SHUT_WR);
    conn->shut = TN_CONN_SHUT_DONE;

    return TN_OK;
}


static void
tn_conn_rewatch(tn_conn_t *conn)
{
    uint32_t  events;

    if (conn->state != TN_CONN_OPEN) {
        return;
    }

    events = 0;

    if (conn->ssl_wants_read || (!conn->paused && !conn->ssl_wants_write)) {
        events |= TN_LOOP_READ;
    }

    if (conn->ssl_wants_write
        || (!conn->ssl_wants_read
            && (conn->out_len > 0 || conn->shut == TN_CONN_SHUT_WANTED)))
    {
        events |= TN_LOOP_WRITE;
    }

    if (events == conn->watch.events && conn->watch.added == (events != 0)) {
        return;
    }

    conn->watch.events = events;

    if (tn_loop_watch(conn->loop, &conn->watch) != TN_OK) {
        tn_conn_fail(conn, TN_CONN_LOST, "epoll: %s", strerror(errno));
    }
}


tn_rc_t
tn_conn_send(tn_conn_t *conn, const void *bytes, size_t len)
{
    return tn_conn_send2(conn, bytes, len, NULL, 0);
}


tn_rc_t
tn_conn_send2(tn_conn_t *conn, const void *a, size_t a_len, const void *b,
    size_t b_len)
{
    int       err;
    size_t    len;
    tn_rc_t   rc;
    uint8_t  *p;

    if (conn->state != TN_CONN_OPEN || conn->shut != TN_CONN_SHUT_NO) {
        return TN_CLOSED;
    }

    len = a_len + b_len;

    if (len > conn->out_limit) {
        return TN_NOMEM;
    }

    if (len == 0) {
        return TN_OK;
    }

    /* not the burst of one turn is to be cut, but what the way cannot take */

    while (conn->out_len + len > conn->out_limit
           && (conn->watch.events & TN_LOOP_WRITE) == 0
           && tn_conn_put(conn, &err) == TN_OK)
    {
        /* void */
    }

    if (conn->out_len + len > conn->out_limit) {
        conn->blocked = true;
        return TN_AGAIN;
    }

    rc = tn_conn_room(conn, len);
    if (rc != TN_OK) {
        return rc;
    }

    p = conn->out + conn->out_pos + conn->out_len;

    if (a_len > 0) {
        memcpy(p, a, a_len);
    }

    if (b_len > 0) {
        memcpy(p + a_len, b, b_len);
    }

    /* a queue that waits for the socket is written when that is ready */
    if (conn->out_len == 0) {
        tn_loop_defer(conn->loop, &conn->flush);
    }

    conn->out_len += len;

    return TN_OK;
}


/* makes `len` bytes free after what is queued */

static tn_rc_t
tn_conn_room(tn_conn_t *conn, size_t len)
{
    size_t    size;
    uint8_t  *out;

    if (conn->out_size - conn->out_pos - conn->out_len >= len) {
        return TN_OK;
    }

    if (conn->out_size - conn->out_len >= len) {
        memmove(conn->out, conn->out + conn->out_pos, conn->out_len);
        conn->out_pos = 0;
        return TN_OK;
    }

    size = conn->out_size ? conn->out_size : TN_CONN_FIRST_OUT;

    while (size - conn->out_len < len) {
        size *= 2;
    }

    out = malloc(size);
    if (out == NULL) {
        return TN_NOMEM;
    }

    if (conn->out != NULL) {
        memcpy(out, conn->out + conn->out_pos, conn->out_len);
        tn_wipe(conn->out, conn->out_size);
        free(conn->out);
    }

    conn->out = out;
    conn->out_pos = 0;
    conn->out_size = size;

    return TN_OK;
}


void
tn_conn_shutdown(tn_conn_t *conn)
{
    if (conn->state != TN_CONN_OPEN || conn->shut != TN_CONN_SHUT_NO) {
        return;
    }

    conn->shut = TN_CONN_SHUT_WANTED;
    tn_loop_defer(conn->loop, &conn->flush);
}


void
tn_conn_pause(tn_conn_t *conn, bool pause)
{
    if (conn->paused == pause) {
        return;
    }

    conn->paused = pause;

    if (conn->state != TN_CONN_OPEN) {
        return;
    }

    if (!pause && conn->ssl != NULL) {
        (void) tn_timer_set(&conn->loop->timers, &conn->step,
                            conn->loop->now);
    }

    /* not tn_conn_rewatch(): that might tell of a close from here */
    tn_loop_defer(conn->loop, &conn->flush);
}


void
tn_conn_gather(tn_conn_t *conn, int bytes)
{
    if (conn->state == TN_CONN_OPEN) {
        (void) setsockopt(conn->watch.fd, SOL_SOCKET, SO_RCVLOWAT, &bytes,
                          sizeof(bytes));
    }
}


size_t
tn_conn_queued(const tn_conn_t *conn)
{
    return conn->out_len;
}


const tn_addr_t *
tn_conn_remote(const tn_conn_t *conn)
{
    return &conn->remote;
}


/*
 * Without any way there the connection may yet live on, unless its address is
 * gone too.
 */

bool
tn_conn_is_rerouted(const tn_conn_t *conn, bool major)
{
    tn_ip_t    has;
    tn_addr_t  had;

    if (conn->state == TN_CONN_CLOSED) {
        return false;
    }

    if (conn->watch.fd == -1) {
        return major;
    }

    if (tn_sockname(conn->watch.fd, &had) != TN_OK) {
        return false;
    }

    switch (tn_sockname_towards(&conn->remote, &has)) {

    case TN_OK:
        return !tn_ip_equal(&had.ip, &has);

    case TN_NOTFOUND:
        return !tn_conn_is_own(&had);

    default:
        return false;
    }
}


/* nobody else's address may be bound to; the port is not asked for */
static bool
tn_conn_is_own(const tn_addr_t *addr)
{
    int                      fd;
    bool                     own;
    size_t                   len;
    tn_addr_t                any;
    struct sockaddr_storage  ss;

    any = *addr;
    any.port = 0;
    len = tn_addr_to_sockaddr(&any, &ss);

    fd = socket(ss.ss_family, SOCK_DGRAM | SOCK_CLOEXEC, 0);

    if (fd == -1) {
        return true;
    }

    own = bind(fd, (struct sockaddr *) &ss, (socklen_t) len) == 0
          || errno != EADDRNOTAVAIL;

    (void) close(fd);

    return own;
}


bool
tn_conn_derp_key(const tn_conn_t *conn, tn_key_t *key, uint32_t *version)
{
    if (conn->ssl == NULL) {
        memset(key, 0, sizeof(tn_key_t));
        *version = 0;
        return false;
    }

    return tn_tls_derp_key(conn->ssl, key, version);
}
