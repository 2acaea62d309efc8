
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A question lives from tn_resolve_start() to its callback, and after a
 * cancellation or a timeout on, silent, until c-ares gives it back: c-ares
 * cannot cancel one question.  Its timer does all deliveries: it is set to
 * the deadline first and moved to "now" when the answer comes, so a callback
 * never runs inside a call of c-ares, whose channel it might destroy.
 *
 * c-ares reads resolv.conf once.  When the file has changed and no question
 * is open, the next question gets a new channel.
 */

#include "host/tn_resolve_int.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>


/* of one try at one server; c-ares doubles it with each round */
#define TN_RESOLVE_TRY_MS   2000
#define TN_RESOLVE_TRIES    3

#define TN_RESOLVE_CONF     "/etc/resolv.conf"
#define TN_RESOLVE_TEXT     384


typedef struct {
    tn_link_t         link;
    tn_watch_t        watch;
    tn_resolver_t    *resolver;
} tn_resolve_socket_t;


struct tn_resolve_s {
    tn_link_t         link;
    tn_resolver_t    *resolver;
    tn_resolve_pt     fn;               /* NULL: nobody waits any more */
    void             *data;
    tn_timer_t        timer;

    bool              asked;            /* c-ares holds it */
    tn_rc_t           rc;
    tn_ip_t           ips[TN_RESOLVE_MAX];
    size_t            n;
    char              host[256];
    char              text[TN_RESOLVE_TEXT];
};


static pthread_once_t  tn_resolve_once = PTHREAD_ONCE_INIT;
static bool            tn_resolve_library;


static void tn_resolve_library_init(void);
static void tn_resolve_answer(void *arg, int status, int timeouts,
    struct ares_addrinfo *result);
static void tn_resolve_deliver(void *data, tn_ms_t now);
static void tn_resolve_free(tn_resolve_t *question);
static void tn_resolve_state(void *data, ares_socket_t fd, int readable,
    int writable);
static void tn_resolve_event(tn_watch_t *watch, uint32_t events);
static void tn_resolve_timeout(void *data, tn_ms_t now);


tn_resolver_t *
tn_resolve_create(tn_loop_t *loop)
{
    tn_resolver_t  *resolver;

    (void) pthread_once(&tn_resolve_once, tn_resolve_library_init);

    if (!tn_resolve_library) {
        return NULL;
    }

    resolver = calloc(1, sizeof(tn_resolver_t));
    if (resolver == NULL) {
        return NULL;
    }

    resolver->loop = loop;
    tn_list_init(&resolver->sockets);
    tn_list_init(&resolver->questions);
    tn_list_init(&resolver->raws);
    tn_timer_init(&resolver->timer, tn_resolve_timeout, resolver);

    if (tn_resolve_channel(resolver) != TN_OK) {
        free(resolver);
        return NULL;
    }

    return resolver;
}


static void
tn_resolve_library_init(void)
{
    tn_resolve_library = ares_library_init(ARES_LIB_INIT_ALL) == ARES_SUCCESS;
}


void
tn_resolve_destroy(tn_resolver_t *resolver)
{
    tn_link_t            *link, *tmp;
    tn_resolve_t         *question;
    tn_resolve_socket_t  *sock;

    if (resolver == NULL) {
        return;
    }

    tn_list_each_safe(link, tmp, &resolver->questions) {
        question = tn_container(link, tn_resolve_t, link);
        question->fn = NULL;

        if (!question->asked) {
            tn_resolve_free(question);
        }
    }

    tn_resolve_raws_forget(resolver);

    if (resolver->ready) {
        /* gives back every question that it holds */
        ares_destroy(resolver->channel);
    }

    tn_list_each_safe(link, tmp, &resolver->sockets) {
        sock = tn_container(link, tn_resolve_socket_t, link);
        tn_loop_unwatch(resolver->loop, &sock->watch);
        free(sock);
    }

    tn_timer_cancel(&resolver->loop->timers, &resolver->timer);
    free(resolver);
}


tn_rc_t
tn_resolve_channel(tn_resolver_t *resolver)
{
    struct stat          st;
    struct ares_options  options;

    memset(&st, 0, sizeof(struct stat));
    (void) stat(TN_RESOLVE_CONF, &st);

    if (resolver->ready) {
        if (!tn_list_empty(&resolver->questions)
            || !tn_list_empty(&resolver->raws)
            || (st.st_mtim.tv_sec == resolver->conf.tv_sec
                && st.st_mtim.tv_nsec == resolver->conf.tv_nsec))
        {
            return TN_OK;
        }

        ares_destroy(resolver->channel);
        resolver->ready = false;
    }

    memset(&options, 0, sizeof(struct ares_options));
    options.timeout = TN_RESOLVE_TRY_MS;
    options.tries = TN_RESOLVE_TRIES;
    options.sock_state_cb = tn_resolve_state;
    options.sock_state_cb_data = resolver;

    if (ares_init_options(&resolver->channel, &options,
                          ARES_OPT_TIMEOUTMS | ARES_OPT_TRIES
                          | ARES_OPT_SOCK_STATE_CB)
        != ARES_SUCCESS)
    {
        return TN_ERROR;
    }

    resolver->conf = st.st_mtim;
    resolver->ready = true;

    return TN_OK;
}


tn_resolve_t *
tn_resolve_start(tn_resolver_t *resolver, const char *host,
    tn_ms_t timeout_ms, tn_resolve_pt fn, void *data)
{
    size_t                       len;
    tn_ms_t                      now;
    tn_resolve_t                *question;
    struct ares_addrinfo_hints   hints;

    now = resolver->loop->now;
    len = strlen(host);

    question = calloc(1, sizeof(tn_resolve_t));
    if (question == NULL) {
        return NULL;
    }

    question->resolver = resolver;
    question->fn = fn;
    question->data = data;
    tn_list_init(&question->link);
    tn_timer_init(&question->timer, tn_resolve_deliver, question);
    (void) snprintf(question->host, sizeof(question->host), "%s", host);

    if (tn_timer_set(&resolver->loop->timers, &question->timer, now)
        != TN_OK)
    {
        free(question);
        return NULL;
    }

    if (tn_ip_parse(&question->ips[0], host, len) == TN_OK) {
        question->n = 1;
        tn_list_push(&resolver->questions, &question->link);
        return question;
    }

    if (len == 0 || len >= sizeof(question->host)) {
        question->rc = TN_NOTFOUND;
        (void) snprintf(question->text, sizeof(question->text),
                        "could not resolve \"%.64s%s\": not a host name",
                        host, len > 64 ? "..." : "");
        tn_list_push(&resolver->questions, &question->link);
        return question;
    }

    if (tn_resolve_channel(resolver) != TN_OK) {
        question->rc = TN_ERROR;
        (void) snprintf(question->text, sizeof(question->text),
                        "could not resolve \"%s\": c-ares did not start",
                        host);
        tn_list_push(&resolver->questions, &question->link);
        return question;
    }

    if (timeout_ms == 0) {
        timeout_ms = TN_RESOLVE_TIMEOUT_MS;
    }

    /* moving a timer that is set needs no memory */
    (void) tn_timer_set(&resolver->loop->timers, &question->timer,
                        now + timeout_ms);

    tn_list_push(&resolver->questions, &question->link);
    question->asked = true;

    memset(&hints, 0, sizeof(struct ares_addrinfo_hints));
    hints.ai_family = AF_UNSPEC;
    hints.ai_socktype = SOCK_STREAM;

    ares_getaddrinfo(resolver->channel, host, NULL, &hints,
                     tn_resolve_answer, question);

    tn_resolve_arm(resolver);

    return question;
}


void
tn_resolve_cancel(tn_resolve_t *question)
{
    question->fn = NULL;

    if (question->asked) {
        tn_timer_cancel(&question->resolver->loop->timers, &question->timer);
        return;
    }

    tn_resolve_free(question);
}


static void
tn_resolve_answer(void *arg, int status, int timeouts,
    struct ares_addrinfo *result)
{
    tn_loop_t                  *loop;
    tn_resolve_t               *question;
    struct sockaddr_in         *sin;
    struct sockaddr_in6        *sin6;
    struct ares_addrinfo_node  *node;

    (void) timeouts;

    question = arg;
    question->asked = false;
    loop = question->resolver->loop;

    for (node = result ? result->nodes : NULL;
         node != NULL && question->n < TN_RESOLVE_MAX;
         node = node->ai_next)
    {
        if (node->ai_family == AF_INET) {
            sin = (struct sockaddr_in *) (void *) node->ai_addr;
            question->ips[question->n++] =
                tn_ip_from_v4((const uint8_t *) &sin->sin_addr);

        } else if (node->ai_family == AF_INET6) {
            sin6 = (struct sockaddr_in6 *) (void *) node->ai_addr;
            question->ips[question->n++] =
                tn_ip_from_v6((const uint8_t *) &sin6->sin6_addr);
        }
    }

    if (result != NULL) {
        ares_freeaddrinfo(result);
    }

    if (question->fn == NULL) {
        tn_resolve_free(question);
        return;
    }

    if (question->n == 0) {
        question->rc = (status == ARES_ENOTFOUND || status == ARES_ENODATA)
                       ? TN_NOTFOUND : TN_ERROR;

        (void) snprintf(question->text, sizeof(question->text),
                        "could not resolve \"%s\": %s", question->host,
                        status == ARES_SUCCESS ? "no address"
                                               : ares_strerror(status));
    }

    (void) tn_timer_set(&loop->timers, &question->timer, loop->now);
}


static void
tn_resolve_deliver(void *data, tn_ms_t now)
{
    char            text[TN_RESOLVE_TEXT];
    tn_resolve_pt   fn;
    tn_resolve_t   *question;

    (void) now;

    question = data;
    fn = question->fn;

    if (question->asked) {
        question->fn = NULL;

        (void) snprintf(text, sizeof(text),
                        "could not resolve \"%s\": no answer in time",
                        question->host);

        /* the callback may destroy the resolver, and the question with it */
        fn(question->data, TN_ERROR, NULL, 0, text);
        return;
    }

    tn_list_remove(&question->link);

    fn(question->data, question->rc, question->ips, question->n,
       question->text);

    free(question);
}


static void
tn_resolve_free(tn_resolve_t *question)
{
    tn_timer_cancel(&question->resolver->loop->timers, &question->timer);
    tn_list_remove(&question->link);
    free(question);
}


static void
tn_resolve_state(void *data, ares_socket_t fd, int readable, int writable)
{
    tn_link_t            *link;
    tn_resolver_t        *resolver;
    tn_resolve_socket_t  *sock;

    resolver = data;
    sock = NULL;

    tn_list_each(link, &resolver->sockets) {
        sock = tn_container(link, tn_resolve_socket_t, link);

        if (sock->watch.fd == fd) {
            break;
        }

        sock = NULL;
    }

    if (!readable && !writable) {
        if (sock != NULL) {
            tn_loop_unwatch(resolver->loop, &sock->watch);
            tn_list_remove(&sock->link);
            free(sock);
        }

        return;
    }

    if (sock == NULL) {
        sock = calloc(1, sizeof(tn_resolve_socket_t));
        if (sock == NULL) {
            return;     /* the question times out */
        }

        sock->resolver = resolver;
        sock->watch.fd = fd;
        sock->watch.handler = tn_resolve_event;
        sock->watch.data = sock;
        tn_list_push(&resolver->sockets, &sock->link);
    }

    sock->watch.events = (readable ? TN_LOOP_READ : 0)
                         | (writable ? TN_LOOP_WRITE : 0);

    (void) tn_loop_watch(resolver->loop, &sock->watch);
}


static void
tn_resolve_event(tn_watch_t *watch, uint32_t events)
{
    int                   fd;
    tn_resolver_t        *resolver;
    tn_resolve_socket_t  *sock;

    sock = watch->data;
    resolver = sock->resolver;
    fd = watch->fd;

    /* the socket's object may be freed in there */
    ares_process_fd(resolver->channel,
                    events & (TN_LOOP_READ | TN_LOOP_ERROR)
                    ? fd : ARES_SOCKET_BAD,
                    events & TN_LOOP_WRITE ? fd : ARES_SOCKET_BAD);

    tn_resolve_arm(resolver);
}


static void
tn_resolve_timeout(void *data, tn_ms_t now)
{
    tn_resolver_t  *resolver;

    (void) now;

    resolver = data;

    ares_process_fd(resolver->channel, ARES_SOCKET_BAD, ARES_SOCKET_BAD);

    tn_resolve_arm(resolver);
}


void
tn_resolve_arm(tn_resolver_t *resolver)
{
    tn_loop_t       *loop;
    struct timeval   tv, *next;

    loop = resolver->loop;
    next = ares_timeout(resolver->channel, NULL, &tv);

    if (next == NULL) {
        tn_timer_cancel(&loop->timers, &resolver->timer);
        return;
    }

    /* one more: c-ares counts in microseconds and fires only after its time */
    (void) tn_timer_set(&loop->timers, &resolver->timer,
                        loop->now + (tn_ms_t) next->tv_sec * 1000
                        + (tn_ms_t) next->tv_usec / 1000 + 1);
}
