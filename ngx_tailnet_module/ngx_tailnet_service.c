
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Listeners of Tailscale Services.  "listen 443 ssl tailnet service=svc:web"
 * has stand-ins as any other, "unix:tailnet/NAME/svc:web/0.0.0.0:443", but
 * the address of a service is not known until control has given it, and may
 * change.  So such a listener leaves the cycle's list, and each worker asks
 * the core for its socket, over a connection that stays open: it says that
 * there is somebody who serves.
 *
 * What kind the socket is of, the kernel's or AF_UNIX (ngx_tailnet_lwip.c), is
 * the core's choice, and may change.  nginx reads a port by the family of a
 * connection's own address: with AF_UNIX, and QUIC, that is the real one, and
 * the port has another layout ("real").
 *
 * A worker that is to quit goes on accepting until the core takes the sockets
 * back: at once when other workers serve, else when control has heard that this
 * host serves no more.  It notices by the connection being an idle one, which
 * nginx closes first.
 */

#include "ngx_tailnet_identity.h"

#include <dlfcn.h>
#include <poll.h>


#define NGX_TAILNET_SERVICE_RETRY_MS  200
#define NGX_TAILNET_SERVICE_LEAVE_MS  8000      /* for the core to answer */
#define NGX_TAILNET_SERVICE_ACCEPTS   1024      /* before a socket goes */


typedef struct {
    ngx_listening_t             ls;             /* the first */
    ngx_listening_t             real;           /* for its port alone */
    void                       *servers;        /* the port as nginx made it */
    ngx_tailnet_listen_t       *listen;
    ngx_connection_handler_pt   handler;        /* nginx's */
    ngx_connection_t           *connection;     /* NULL: no socket */
    ngx_sockaddr_t              addr;           /* of QUIC */
    int                         waiting;        /* a socket that found no
                                                   connection free, or -1 */
    tn_addr_t                   place;          /* its address */
    unsigned                    udp:1;
    unsigned                    quic:1;
    unsigned                    local:1;        /* its socket is AF_UNIX */
} ngx_tailnet_service_t;


/* all of one node */

struct ngx_tailnet_serving_s {
    ngx_tailnet_conf_t         *conf;
    ngx_tailnet_node_t         *node;
    ngx_array_t                 services;       /* ngx_tailnet_service_t * */
    ngx_tailnet_line_t          line;           /* to the core */
    ngx_event_t                 retry;          /* of sockets that wait */
    ngx_connection_t            dummy;          /* a timer wants one */
    unsigned                    leaving:1;
};


static ngx_tailnet_serving_t *ngx_tailnet_service_node(
    ngx_tailnet_conf_t *tcf, ngx_tailnet_node_t *node);
static ngx_int_t ngx_tailnet_service_layout(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_service_t *service, ngx_listening_t *ls);
static int ngx_tailnet_service_open(void *data);
static void ngx_tailnet_service_message(ngx_tailnet_serving_t *serving,
    tn_ipc_serve_t *msg);
static ngx_int_t ngx_tailnet_service_lost(void *data);
static void ngx_tailnet_service_read(ngx_event_t *ev);
static void ngx_tailnet_service_leave(ngx_tailnet_serving_t *serving);
static void ngx_tailnet_service_set(ngx_tailnet_serving_t *serving,
    tn_ipc_serve_set_t *msg, int fd);
static ngx_uint_t ngx_tailnet_service_is(ngx_tailnet_service_t *service,
    tn_ipc_service_t *key);
static void ngx_tailnet_service_begin(ngx_tailnet_serving_t *serving,
    ngx_tailnet_service_t *service, tn_addr_t *addr, int fd);
static void ngx_tailnet_service_retry(ngx_event_t *ev);
static ngx_int_t ngx_tailnet_service_listen(ngx_tailnet_service_t *service,
    tn_addr_t *addr, int fd);
static ngx_int_t ngx_tailnet_service_kind(ngx_tailnet_service_t *service,
    tn_addr_t *addr, int fd);
static void ngx_tailnet_service_event(ngx_event_t *ev);
static void ngx_tailnet_service_accept(ngx_event_t *ev);
static ngx_int_t ngx_tailnet_service_watch(ngx_event_t *ev);
static void ngx_tailnet_service_accepted(ngx_connection_t *c);
static void ngx_tailnet_service_close(ngx_tailnet_service_t *service);
static void ngx_tailnet_service_close_quic(ngx_tailnet_service_t *service);
static void ngx_tailnet_service_close_all(ngx_tailnet_serving_t *serving);


/*
 * The parameter "service=svc:name".  NGX_OK; NGX_DECLINED: there is none;
 * NGX_ERROR: it was logged.
 */

ngx_int_t
ngx_tailnet_service_parameter(ngx_conf_t *cf, ngx_str_t **param,
    ngx_str_t *name)
{
    size_t       i;
    ngx_str_t   *value;
    ngx_uint_t   n;

    value = cf->args->elts;
    *param = NULL;
    ngx_str_null(name);

    for (n = 2; n < cf->args->nelts; n++) {

        if (ngx_strncmp(value[n].data, "service=", 8) != 0) {
            continue;
        }

        if (*param) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\" of \"listen\"",
                               &value[n]);
            return NGX_ERROR;
        }

        *param = &value[n];
        name->data = value[n].data + 8;
        name->len = value[n].len - 8;
    }

    if (*param == NULL) {
        return NGX_DECLINED;
    }

    /* "svc:" and a DNS label, as control has it */

    i = 4;

    if (name->len > 4 && name->len <= 4 + 63
        && ngx_strncmp(name->data, "svc:", 4) == 0
        && name->data[4] != '-' && name->data[name->len - 1] != '-')
    {
        while (i < name->len
               && ((name->data[i] >= 'a' && name->data[i] <= 'z')
                   || (name->data[i] >= '0' && name->data[i] <= '9')
                   || name->data[i] == '-'))
        {
            i++;
        }
    }

    if (i == 4 || i != name->len) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"%V\" of \"listen\", \"service=svc:\" "
                           "and a name of lower-case letters, digits and "
                           "hyphens expected", *param);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* a listener of the cycle that is going to leave its list */

ngx_int_t
ngx_tailnet_service_take(ngx_tailnet_conf_t *tcf, ngx_tailnet_listen_t *tl,
    ngx_listening_t *ls)
{
    ngx_sockaddr_t          *sa;
    ngx_tailnet_service_t   *service, **place;
    ngx_tailnet_serving_t   *serving;

#if (NGX_HAVE_REUSEPORT)

    /* the workers share one socket */

    if (ls->worker) {
        return NGX_OK;
    }

#endif

    serving = ngx_tailnet_service_node(tcf, tl->node);
    service = ngx_pcalloc(tcf->cycle->pool, sizeof(ngx_tailnet_service_t));
    sa = ngx_pcalloc(tcf->cycle->pool, sizeof(ngx_sockaddr_t));

    if (serving == NULL || service == NULL || sa == NULL) {
        return NGX_ERROR;
    }

    if (serving->services.nelts == TN_IPC_SERVES) {
        ngx_log_error(NGX_LOG_ERR, tcf->cycle->log, 0,
                      "tailnet \"%V\": more than %d listeners of services, "
                      "%V is left out", &tl->node->name, TN_IPC_SERVES,
                      &tl->path);
        return NGX_OK;
    }

    place = ngx_array_push(&serving->services);
    if (place == NULL) {
        return NGX_ERROR;
    }

    *place = service;

    ngx_tailnet_listen_move(&service->ls, ls);

    /* a zero address makes nginx ask the accepted socket for the real one */

    sa->sockaddr_in.sin_family = AF_INET;
    sa->sockaddr_in.sin_port = htons(tl->port);

    service->listen = tl;
    service->handler = ls->handler;
    service->servers = ls->servers;
    service->udp = (ls->type == SOCK_DGRAM);

#if (nginx_version >= 1025000)
    service->quic = ls->quic;
#endif

    service->ls.handler = ngx_tailnet_service_accepted;
    service->ls.sockaddr = &sa->sockaddr;
    service->ls.socklen = sizeof(struct sockaddr_in);
    service->ls.addr_text = tl->path;
    service->ls.addr_text_max_len = NGX_INET6_ADDRSTRLEN;
    service->ls.fd = (ngx_socket_t) -1;
    service->ls.ignore = 1;
    service->waiting = -1;

    return ngx_tailnet_service_layout(tcf, service, &service->ls);
}


/* of http here, of stream by its own module, which knows the list */

static ngx_int_t
ngx_tailnet_service_layout(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_service_t *service, ngx_listening_t *ls)
{
    ngx_sockaddr_t    *sa;
    ngx_listening_t  **layout;

    sa = ngx_pcalloc(tcf->cycle->pool, sizeof(ngx_sockaddr_t));
    layout = ngx_array_push(&tcf->layouts);

    if (sa == NULL || layout == NULL) {
        return NGX_ERROR;
    }

    *layout = &service->real;

    service->real.handler = service->handler;
    service->real.servers = service->servers;
    service->real.addr_text = ls->addr_text;
    service->real.sockaddr = &sa->sockaddr;

    sa->sockaddr.sa_family = AF_INET;

#if (NGX_HAVE_INET6)

    if (service->listen->family == 6) {
        sa->sockaddr.sa_family = AF_INET6;
        return ngx_tailnet_lwip_layout(tcf->cycle, &service->real);
    }

#endif

    return NGX_OK;
}


static ngx_tailnet_serving_t *
ngx_tailnet_service_node(ngx_tailnet_conf_t *tcf, ngx_tailnet_node_t *node)
{
    ngx_uint_t               i;
    ngx_tailnet_serving_t  **serving;

    serving = tcf->servings.elts;

    for (i = 0; i < tcf->servings.nelts; i++) {
        if (serving[i]->node == node) {
            return serving[i];
        }
    }

    serving = ngx_array_push(&tcf->servings);
    if (serving == NULL) {
        return NULL;
    }

    *serving = ngx_pcalloc(tcf->cycle->pool, sizeof(ngx_tailnet_serving_t));

    if (*serving == NULL
        || ngx_array_init(&(*serving)->services, tcf->cycle->pool, 4,
                          sizeof(ngx_tailnet_service_t *))
           != NGX_OK)
    {
        tcf->servings.nelts--;
        return NULL;
    }

    (*serving)->conf = tcf;
    (*serving)->node = node;

    ngx_tailnet_line_init(&(*serving)->line, NGX_TAILNET_SERVICE_RETRY_MS,
                          ngx_tailnet_service_open, ngx_tailnet_service_read,
                          ngx_tailnet_service_lost, *serving);
    (*serving)->line.idle = 1;

    (*serving)->dummy.fd = (ngx_socket_t) -1;
    (*serving)->dummy.data = *serving;
    (*serving)->retry.data = &(*serving)->dummy;
    (*serving)->retry.handler = ngx_tailnet_service_retry;
    (*serving)->retry.cancelable = 1;

    return *serving;
}


ngx_tailnet_node_t *
ngx_tailnet_service_of(ngx_listening_t *ls)
{
    if (ls == NULL || ls->handler != ngx_tailnet_service_accepted) {
        return NULL;
    }

    return ((ngx_tailnet_service_t *) ls)->listen->node;
}


void
ngx_tailnet_service_start(ngx_tailnet_conf_t *tcf)
{
    ngx_uint_t               i, n;
    ngx_tailnet_service_t  **service;
    ngx_tailnet_serving_t  **serving;

    serving = tcf->servings.elts;

    for (i = 0; i < tcf->servings.nelts; i++) {
        service = serving[i]->services.elts;

        for (n = 0; n < serving[i]->services.nelts; n++) {
            service[n]->ls.log = *service[n]->ls.logp;
        }

        serving[i]->retry.log = tcf->cycle->log;

        if (!serving[i]->node->failed) {
            ngx_tailnet_line_open(&serving[i]->line, tcf->cycle->log);
        }
    }
}


void
ngx_tailnet_service_stop(ngx_tailnet_conf_t *tcf)
{
    ngx_uint_t               i;
    ngx_tailnet_serving_t  **serving;

    serving = tcf->servings.elts;

    for (i = 0; i < tcf->servings.nelts; i++) {
        ngx_tailnet_service_close_all(serving[i]);
        ngx_tailnet_line_stop(&serving[i]->line);

        if (serving[i]->retry.timer_set) {
            ngx_del_timer(&serving[i]->retry);
        }
    }
}


/* --- the connection to the core */

static int
ngx_tailnet_service_open(void *data)
{
    ngx_tailnet_serving_t *serving = data;

    int             fd;
    tn_ipc_serve_t  msg;

    fd = tn_ipc_connect((char *) serving->conf->dir.data, TN_IPC_DIAL_SOCK);

    if (fd == -1) {
        return -1;
    }

    ngx_tailnet_service_message(serving, &msg);

    if (tn_ipc_send(fd, &msg, NULL, 0) != TN_OK) {
        (void) ngx_close_socket(fd);
        return -1;
    }

    return fd;
}


static void
ngx_tailnet_service_message(ngx_tailnet_serving_t *serving,
    tn_ipc_serve_t *msg)
{
    ngx_uint_t               n;
    tn_ipc_service_t        *key;
    ngx_tailnet_service_t  **service;

    tn_ipc_init(msg, TN_IPC_SERVE);

    ngx_memcpy(msg->node, serving->node->name.data, serving->node->name.len);

    if (serving->leaving) {
        return;
    }

    service = serving->services.elts;

    for (n = 0; n < serving->services.nelts; n++) {
        key = &msg->service[msg->count++];

        ngx_memcpy(key->name, service[n]->listen->service.data,
                   service[n]->listen->service.len);
        key->port = service[n]->listen->port;
        key->family = (uint16_t) service[n]->listen->family;
        key->backlog = service[n]->ls.backlog;
        key->proto = service[n]->udp ? TN_IPC_UDP : TN_IPC_TCP;
        key->flags = service[n]->quic ? TN_IPC_QUIC : 0;
    }
}


/* what was accepted from goes on, until another core has other sockets */

static ngx_int_t
ngx_tailnet_service_lost(void *data)
{
    ngx_tailnet_serving_t *serving = data;

    if (serving->leaving || ngx_exiting) {
        ngx_tailnet_service_close_all(serving);
        return NGX_DONE;
    }

    return NGX_OK;
}


static void
ngx_tailnet_service_read(ngx_event_t *ev)
{
    int                     fds[TN_IPC_FDS];
    size_t                  n;
    tn_rc_t                 rc;
    tn_ipc_msg_t            msg;
    ngx_connection_t       *c;
    ngx_tailnet_serving_t  *serving;

    c = ev->data;
    serving = c->data;

    if (c->close || ev->timedout) {
        c->close = 0;

        if (!serving->leaving) {
            ngx_tailnet_service_leave(serving);
            return;
        }

        if (ev->timedout) {
            ev->timedout = 0;
            ngx_log_error(NGX_LOG_WARN, c->log, 0,
                          "tailnet \"%V\": the core did not hear of the end "
                          "of its services in time", &serving->node->name);
        }

        /* by "worker_shutdown_timeout" the worker waits no longer */

        if (ev->timer_set) {
            ngx_del_timer(ev);
        }

        ngx_tailnet_service_close_all(serving);
        return;
    }

    while ((rc = tn_ipc_recv(c->fd, &msg, fds, &n)) == TN_OK) {

        if (msg.head.type != TN_IPC_SERVE_SET || n > 1) {
            tn_ipc_close(fds, n);
            rc = TN_MALFORMED;
            break;
        }

        ngx_tailnet_service_set(serving, &msg.serve_set, n ? fds[0] : -1);
    }

    if (rc != TN_AGAIN || ngx_tailnet_channel_wait(ev) != NGX_OK) {
        ngx_tailnet_line_lost(&serving->line);
    }
}


static void
ngx_tailnet_service_leave(ngx_tailnet_serving_t *serving)
{
    tn_ipc_serve_t     msg;
    ngx_connection_t  *c;

    c = serving->line.channel;

    serving->leaving = 1;
    c->idle = 0;

    ngx_tailnet_service_message(serving, &msg);

    if (tn_ipc_send(c->fd, &msg, NULL, 0) != TN_OK) {
        ngx_tailnet_line_lost(&serving->line);
        return;
    }

    /* keeps the worker */

    ngx_add_timer(c->read, NGX_TAILNET_SERVICE_LEAVE_MS);
}


/* --- sockets */

static void
ngx_tailnet_service_set(ngx_tailnet_serving_t *serving,
    tn_ipc_serve_set_t *msg, int fd)
{
    ngx_uint_t               n, left;
    ngx_connection_t        *c;
    ngx_tailnet_service_t  **service;

    c = serving->line.channel;
    service = serving->services.elts;
    left = 0;

    for (n = 0; n < serving->services.nelts; n++) {

        if (ngx_tailnet_service_is(service[n], &msg->service)) {
            ngx_tailnet_service_close(service[n]);

            if (fd != -1) {
                ngx_tailnet_service_begin(serving, service[n], &msg->addr,
                                          fd);
            }

            fd = -1;
        }

        left += service[n]->connection != NULL;
    }

    if (fd != -1) {
        (void) ngx_close_socket(fd);
    }

    if (serving->leaving && left == 0 && c->read->timer_set) {
        ngx_del_timer(c->read);
    }
}


static ngx_uint_t
ngx_tailnet_service_is(ngx_tailnet_service_t *service, tn_ipc_service_t *key)
{
    ngx_str_t  *name;

    name = &service->listen->service;

    return service->listen->port == key->port
           && service->listen->family == key->family
           && service->udp == (key->proto == TN_IPC_UDP)
           && ngx_strlen(key->name) == name->len
           && ngx_memcmp(key->name, name->data, name->len) == 0;
}


/* takes fd over; the core gives it once */

static void
ngx_tailnet_service_begin(ngx_tailnet_serving_t *serving,
    ngx_tailnet_service_t *service, tn_addr_t *addr, int fd)
{
    ngx_int_t  rc;

    rc = ngx_tailnet_service_listen(service, addr, fd);

    if (rc == NGX_ERROR) {
        ngx_tailnet_service_close(service);
    }

    if (rc != NGX_AGAIN) {
        return;
    }

    service->waiting = fd;
    service->place = *addr;

    if (!serving->retry.timer_set) {
        ngx_add_timer(&serving->retry, NGX_TAILNET_SERVICE_RETRY_MS);
    }
}


static void
ngx_tailnet_service_retry(ngx_event_t *ev)
{
    int                      fd;
    tn_addr_t                addr;
    ngx_uint_t               n;
    ngx_connection_t        *dummy;
    ngx_tailnet_service_t  **service;
    ngx_tailnet_serving_t   *serving;

    dummy = ev->data;
    serving = dummy->data;
    service = serving->services.elts;

    for (n = 0; n < serving->services.nelts; n++) {

        fd = service[n]->waiting;

        if (fd != -1) {
            addr = service[n]->place;
            service[n]->waiting = -1;
            ngx_tailnet_service_begin(serving, service[n], &addr, fd);
        }
    }
}


/* NGX_AGAIN: there is no connection free; or else it takes fd over */

static ngx_int_t
ngx_tailnet_service_listen(ngx_tailnet_service_t *service, tn_addr_t *addr,
    int fd)
{
    ngx_event_t       *rev;
    ngx_connection_t  *c;

    c = ngx_get_connection(fd, &service->ls.log);

    if (c == NULL) {
        return NGX_AGAIN;
    }

    service->connection = c;
    service->ls.fd = fd;
    service->ls.connection = c;

    c->type = SOCK_STREAM;
    c->log = &service->ls.log;
    c->listening = &service->ls;

    rev = c->read;
    rev->log = c->log;
    rev->accept = 1;
    rev->handler = ngx_tailnet_service_accept;

    if (ngx_tailnet_service_kind(service, addr, fd) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_tailnet_service_watch(rev);
}


/* whoever sends datagrams is accepted too, but of QUIC */

static ngx_int_t
ngx_tailnet_service_kind(ngx_tailnet_service_t *service, tn_addr_t *addr,
    int fd)
{
    void                     *recvmsg;
    ngx_connection_t         *c;
    struct sockaddr_storage   ss;

    service->local = ngx_tailnet_lwip_is(fd);
    service->ls.servers = service->local || service->quic
                          ? service->real.servers : service->servers;
    service->ls.type = SOCK_STREAM;

    if (!service->quic) {
        return NGX_OK;
    }

    /* not every nginx has it, and this module is for all */

    recvmsg = dlsym(RTLD_DEFAULT, "ngx_quic_recvmsg");

    if (recvmsg == NULL || service->local) {
        ngx_log_error(NGX_LOG_ERR, &service->ls.log, 0,
                      "tailnet: there is no QUIC for %V",
                      &service->listen->path);
        return NGX_ERROR;
    }

    c = service->connection;
    c->type = SOCK_DGRAM;
    ngx_memcpy(&c->read->handler, &recvmsg, sizeof(recvmsg));

    service->ls.type = SOCK_DGRAM;
    service->ls.socklen = (socklen_t) tn_addr_to_sockaddr(addr, &ss);
    service->ls.sockaddr = &service->addr.sockaddr;
    ngx_memcpy(&service->addr, &ss, service->ls.socklen);

    return NGX_OK;
}


static ngx_int_t
ngx_tailnet_service_watch(ngx_event_t *rev)
{
#if (NGX_HAVE_EPOLLEXCLUSIVE)

    if ((ngx_event_flags & NGX_USE_EPOLL_EVENT) && ngx_ncpu != 0) {
        return ngx_add_event(rev, NGX_READ_EVENT, NGX_EXCLUSIVE_EVENT);
    }

#endif

    return ngx_add_event(rev, NGX_READ_EVENT, 0);
}


static void
ngx_tailnet_service_accept(ngx_event_t *ev)
{
    if (ev->timedout && !ev->active
        && ngx_tailnet_service_watch(ev) != NGX_OK)
    {
        return;
    }

    ngx_tailnet_service_event(ev);

    if (ev->timer_set && ev->active) {
        (void) ngx_del_event(ev, NGX_READ_EVENT, 0);
    }
}


/*
 * nginx stops its own listeners when there are no descriptors, and sets this
 * timer to go on; but not with an accept mutex, by which it goes on with its
 * own alone.
 */

static void
ngx_tailnet_service_event(ngx_event_t *ev)
{
    ngx_uint_t  mutex;

    mutex = ngx_use_accept_mutex;

    if (mutex) {
        ev->timedout = 0;
    }

    ngx_use_accept_mutex = 0;

    ngx_event_accept(ev);

    ngx_use_accept_mutex = mutex;

    if (ev->timer_set && ngx_accept_mutex_held) {
        ngx_shmtx_unlock(&ngx_accept_mutex);
        ngx_accept_mutex_held = 0;
    }
}


static void
ngx_tailnet_service_accepted(ngx_connection_t *c)
{
    ngx_tailnet_service_t  *service;

    service = (ngx_tailnet_service_t *) c->listening;

    if ((service->local && ngx_tailnet_lwip_names(c) != NGX_OK)
        || ngx_tailnet_caller_note(c, service->listen->node) != NGX_OK)
    {
        ngx_tailnet_listen_close(c);
        return;
    }

    if (service->local && service->udp) {
        ngx_tailnet_lwip_session(c, &service->handler);

    } else {
        service->handler(c);
    }
}


/* what waits in the queue of the socket is accepted before */

static void
ngx_tailnet_service_close(ngx_tailnet_service_t *service)
{
    ngx_uint_t      n;
    ngx_event_t    *rev;
    struct pollfd   pfd;

    if (service->waiting != -1) {
        (void) ngx_close_socket(service->waiting);
        service->waiting = -1;
    }

    if (service->connection == NULL) {
        return;
    }

    if (service->quic) {
        ngx_tailnet_service_close_quic(service);
        return;
    }

    pfd.fd = service->connection->fd;
    pfd.events = POLLIN;
    rev = service->connection->read;

    for (n = 0; !ngx_terminate && n < NGX_TAILNET_SERVICE_ACCEPTS; n++) {

        if (rev->timer_set || poll(&pfd, 1, 0) != 1 || pfd.revents != POLLIN) {
            break;
        }

        ngx_tailnet_service_event(rev);
    }

    if (rev->timer_set && !ngx_use_accept_mutex) {

        /* without descriptors nginx's listeners wait for this timer */

        (void) ngx_enable_accept_events((ngx_cycle_t *) ngx_cycle);
    }

    ngx_close_connection(service->connection);
    service->connection = NULL;
    service->ls.fd = (ngx_socket_t) -1;
}


/* QUIC's connections send by this socket: with any it stays to the end */

static void
ngx_tailnet_service_close_quic(ngx_tailnet_service_t *service)
{
    if (service->ls.rbtree.root == service->ls.rbtree.sentinel
        || ngx_terminate)
    {
        ngx_close_connection(service->connection);
    }

    service->connection = NULL;
    service->ls.fd = (ngx_socket_t) -1;
}


static void
ngx_tailnet_service_close_all(ngx_tailnet_serving_t *serving)
{
    ngx_uint_t               n;
    ngx_tailnet_service_t  **service;

    service = serving->services.elts;

    for (n = 0; n < serving->services.nelts; n++) {
        ngx_tailnet_service_close(service[n]);
    }
}
