
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Sockets of a node whose stack is the core's own.  They are AF_UNIX, and
 * nginx shall not notice:
 *
 *   listener   the core connects to it from a socket that has the name "peer
 *              own serial"; nginx sees these addresses.  A peer's UDP traffic
 *              is accepted too, as a connection of SOCK_SEQPACKET, and made
 *              the session that nginx would have made of its first datagram
 *   TCP        a reset closes the core's end, an end in order only shuts one
 *              direction: so a response that was cut off is not taken for
 *              one that ended
 *   UDP        the end of the core's socket is an error: nginx would read
 *              empty datagrams for ever
 */

#include "ngx_tailnet.h"

#include "proc/tn_hangup.h"

#include <ngx_http.h>
#include <poll.h>


static void ngx_tailnet_lwip_first(ngx_event_t *rev);
static ssize_t ngx_tailnet_lwip_recv(ngx_connection_t *c, u_char *buf,
    size_t size);
static ssize_t ngx_tailnet_lwip_recv_chain(ngx_connection_t *c,
    ngx_chain_t *cl, off_t limit);
static ssize_t ngx_tailnet_lwip_udp_recv(ngx_connection_t *c, u_char *buf,
    size_t size);
static ssize_t ngx_tailnet_lwip_end(ngx_connection_t *c, ssize_t n);


ngx_uint_t
ngx_tailnet_lwip_is(ngx_socket_t s)
{
    int        domain;
    socklen_t  len;

    len = sizeof(domain);

    return getsockopt(s, SOL_SOCKET, SO_DOMAIN, (void *) &domain, &len) == 0
           && domain == AF_UNIX;
}


/* what the kernel would be told of TCP is nothing to this socket */

void
ngx_tailnet_lwip_listen(ngx_listening_t *ls)
{
    ls->listen = 1;
    ls->keepalive = 0;

#if (NGX_HAVE_KEEPALIVE_TUNABLE)
    ls->keepidle = 0;
    ls->keepintvl = 0;
    ls->keepcnt = 0;
#endif

#if (NGX_HAVE_TCP_FASTOPEN)
    ls->fastopen = -1;
#endif

#if (NGX_HAVE_DEFERRED_ACCEPT)
    ls->deferred_accept = 0;
    ls->add_deferred = 0;
    ls->delete_deferred = 0;
#endif
}


/*
 * With lwip nginx sees the real family, and reads the port by it.  Clones for
 * "reuseport" share the port: it is replaced, not changed.
 */

ngx_int_t
ngx_tailnet_lwip_layout(ngx_cycle_t *cycle, ngx_listening_t *ls)
{
#if (NGX_HAVE_INET6)
    ngx_http_port_t      *port, *port6;
    ngx_http_in_addr_t   *addr;
    ngx_http_in6_addr_t  *addr6;

    if (ls->handler != ngx_http_init_connection) {
        return NGX_OK;
    }

    port = ls->servers;
    addr = port->addrs;

    port6 = ngx_palloc(cycle->pool, sizeof(ngx_http_port_t));
    addr6 = ngx_pcalloc(cycle->pool, sizeof(ngx_http_in6_addr_t));

    if (port6 == NULL || addr6 == NULL) {
        return NGX_ERROR;
    }

    addr6->conf = addr[0].conf;

    *port6 = *port;
    port6->addrs = addr6;

    ls->servers = port6;
#endif

    return NGX_OK;
}


/* the name of the core's socket is "peer own serial" */

ngx_int_t
ngx_tailnet_lwip_names(ngx_connection_t *c)
{
    u_char              *p, *last, *space;
    ngx_addr_t           addr[2];
    ngx_uint_t           i;
    struct ucred         peer;
    struct sockaddr_un  *saun;

    /* any local process can connect: only the core's user is believed */

    if (!tn_ipc_trusts(c->fd, &peer)
        || c->sockaddr->sa_family != AF_UNIX
        || (size_t) c->socklen <= offsetof(struct sockaddr_un, sun_path) + 1)
    {
        return NGX_ERROR;
    }

    saun = (struct sockaddr_un *) c->sockaddr;
    p = (u_char *) saun->sun_path + 1;
    last = (u_char *) saun + c->socklen;

    for (i = 0; i < 2; i++) {
        space = ngx_strlchr(p, last, ' ');

        if (space == NULL
            || ngx_parse_addr_port(c->pool, &addr[i], p, space - p) != NGX_OK)
        {
            return NGX_ERROR;
        }

        p = space + 1;
    }

    c->local_sockaddr = addr[1].sockaddr;
    c->local_socklen = addr[1].socklen;
    c->sockaddr = addr[0].sockaddr;
    c->socklen = addr[0].socklen;

    c->addr_text.data = ngx_pnalloc(c->pool, NGX_SOCKADDR_STRLEN);
    if (c->addr_text.data == NULL) {
        return NGX_ERROR;
    }

    c->addr_text.len = ngx_sock_ntop(c->sockaddr, c->socklen,
                                     c->addr_text.data, NGX_SOCKADDR_STRLEN,
                                     0);

    return c->addr_text.len ? NGX_OK : NGX_ERROR;
}


ngx_uint_t
ngx_tailnet_lwip_refuse(ngx_connection_t *c)
{
    if (!ngx_tailnet_lwip_is(c->fd)) {
        return 0;
    }

    /* without room for it, the end is an ordinary one */

    (void) tn_hangup_send(c->fd);

    return 1;
}


/* the session begins with its first datagram, which is as good as there */

void
ngx_tailnet_lwip_session(ngx_connection_t *c,
    ngx_connection_handler_pt *handler)
{
    c->type = SOCK_DGRAM;
    c->recv = ngx_tailnet_lwip_udp_recv;
    c->send = ngx_udp_send;
    c->send_chain = ngx_udp_send_chain;

#if (nginx_version >= 1023000)
    c->need_flush_buf = 1;
#endif

    c->data = handler;
    c->read->handler = ngx_tailnet_lwip_first;

    ngx_tailnet_lwip_first(c->read);
}


static void
ngx_tailnet_lwip_first(ngx_event_t *rev)
{
    ssize_t                     n;
    ngx_connection_t           *c;
    ngx_connection_handler_pt  *handler;
    static u_char               datagram[65535];

    c = rev->data;
    handler = c->data;

    n = c->recv(c, datagram, sizeof(datagram));

    if (n == NGX_AGAIN && ngx_handle_read_event(rev, 0) == NGX_OK) {
        return;
    }

    if (n >= 0) {
        c->buffer = ngx_create_temp_buf(c->pool, n ? n : 1);
    }

    if (c->buffer == NULL) {
        ngx_tailnet_listen_close(c);
        return;
    }

    c->buffer->last = ngx_cpymem(c->buffer->last, datagram, n);
    c->data = NULL;

    (*handler)(c);
}


/* --- what nginx reads with */

void
ngx_tailnet_lwip_connected(ngx_connection_t *c)
{
    if (c->type == SOCK_DGRAM) {
        c->recv = ngx_tailnet_lwip_udp_recv;
        return;
    }

    c->recv = ngx_tailnet_lwip_recv;
    c->recv_chain = ngx_tailnet_lwip_recv_chain;

    c->tcp_nodelay = NGX_TCP_NODELAY_DISABLED;
    c->tcp_nopush = NGX_TCP_NOPUSH_DISABLED;
}


static ssize_t
ngx_tailnet_lwip_recv(ngx_connection_t *c, u_char *buf, size_t size)
{
    return ngx_tailnet_lwip_end(c, ngx_recv(c, buf, size));
}


static ssize_t
ngx_tailnet_lwip_recv_chain(ngx_connection_t *c, ngx_chain_t *cl, off_t limit)
{
    return ngx_tailnet_lwip_end(c, ngx_recv_chain(c, cl, limit));
}


static ssize_t
ngx_tailnet_lwip_udp_recv(ngx_connection_t *c, u_char *buf, size_t size)
{
    return ngx_tailnet_lwip_end(c, ngx_udp_recv(c, buf, size));
}


/* nothing was read: is the other end closed, and not only its direction? */

static ssize_t
ngx_tailnet_lwip_end(ngx_connection_t *c, ssize_t n)
{
    struct pollfd  fd;

    if (n != 0) {
        return n;
    }

    fd.fd = c->fd;
    fd.events = 0;

    if (poll(&fd, 1, 0) != 1 || !(fd.revents & POLLHUP)) {
        return 0;
    }

    c->read->ready = 0;
    c->read->error = 1;

    return ngx_connection_error(c, NGX_ECONNRESET, "recv() failed");
}
