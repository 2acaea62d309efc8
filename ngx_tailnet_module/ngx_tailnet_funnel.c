
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Connections that come from the Internet through Funnel.  "listen 443 ssl
 * tailnet funnel" has a third stand-in, "unix:tailnet/NAME/funnel:443", whose
 * socket is AF_UNIX.  The core connects to it and sends one message: the
 * connection that a relay brought, and whose it is.  That connection takes
 * the place of the core's, descriptor number and all, before nginx has looked
 * at it, and from then on is an ordinary accepted one: no byte of it crosses
 * another process.  Nobody of the tailnet vouches for its client.
 */

#include "ngx_tailnet_identity.h"


#define NGX_TAILNET_FUNNEL_MS    5000   /* for the core's message to come */
#define NGX_TAILNET_FUNNEL_NAME  253    /* bytes of a name, RFC 1035 */


static void ngx_tailnet_funnel_read(ngx_event_t *rev);
static ngx_int_t ngx_tailnet_funnel_take(ngx_connection_t *c,
    ngx_tailnet_node_t *node);
static ngx_int_t ngx_tailnet_funnel_address(ngx_pool_t *pool,
    tn_addr_t *addr, struct sockaddr **sockaddr, socklen_t *socklen);


/*
 * Takes "funnel" or "funnel=only" out of the arguments.  NGX_OK, or
 * NGX_DECLINED without any; NGX_ERROR: it was logged.
 */

ngx_int_t
ngx_tailnet_funnel_parameter(ngx_conf_t *cf, ngx_uint_t *only)
{
    ngx_str_t    *value, *arg;
    ngx_uint_t    i, found;
    ngx_array_t  *args;

    value = cf->args->elts;
    found = 0;

    args = ngx_array_create(cf->pool, cf->args->nelts, sizeof(ngx_str_t));
    if (args == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < cf->args->nelts; i++) {

        if (i >= 2
            && (ngx_strcmp(value[i].data, "funnel") == 0
                || ngx_strncmp(value[i].data, "funnel=", 7) == 0))
        {
            if (found) {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "duplicate parameter \"%V\" of \"listen\"",
                                   &value[i]);
                return NGX_ERROR;
            }

            if (value[i].len > 6
                && ngx_strcmp(value[i].data + 7, "only") != 0)
            {
                ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                                   "invalid parameter \"%V\" of \"listen\", "
                                   "\"funnel\" or \"funnel=only\" expected",
                                   &value[i]);
                return NGX_ERROR;
            }

            found = 1;
            *only = (value[i].len > 6);
            continue;
        }

        arg = ngx_array_push(args);
        if (arg == NULL) {
            return NGX_ERROR;
        }

        *arg = value[i];
    }

    if (!found) {
        return NGX_DECLINED;
    }

    cf->args = args;

    return NGX_OK;
}


char *
ngx_tailnet_funnel_domains(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    ngx_str_t   *value;
    ngx_uint_t   i;

    if (node->domains.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        /* what can be a host's name on the Internet; one certificate each */

        if (value[i].len > NGX_TAILNET_FUNNEL_NAME
            || strspn((char *) value[i].data,
                      "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
                      "0123456789.-")
               != value[i].len
            || ngx_strlchr(value[i].data, value[i].data + value[i].len, '.')
               == NULL
            || ngx_strnstr(value[i].data, "..", value[i].len)
            || value[i].data[0] == '.'
            || value[i].data[value[i].len - 1] == '.')
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid name \"%V\" in \"funnel_domains\", "
                               "\"www.example.com\" expected", &value[i]);
            return NGX_CONF_ERROR;
        }

        ngx_strlow(value[i].data, value[i].data, value[i].len);
    }

    return ngx_tailnet_join(cf, &node->domains);
}


/* accepted from the core: what it has sent becomes the connection */

void
ngx_tailnet_funnel_accepted(ngx_connection_t *c, ngx_tailnet_opened_t *opened)
{
    ngx_int_t     rc;
    struct ucred  peer;

    /* any local process can connect: only the core's user is believed */

    if (!tn_ipc_trusts(c->fd, &peer)) {
        ngx_tailnet_listen_close(c);
        return;
    }

    rc = ngx_tailnet_funnel_take(c, opened->node);

    if (rc == NGX_OK) {
        opened->handler(c);
        return;
    }

    if (rc == NGX_ERROR) {
        ngx_tailnet_listen_close(c);
        return;
    }

    c->data = opened;
    c->read->handler = ngx_tailnet_funnel_read;

    ngx_add_timer(c->read, NGX_TAILNET_FUNNEL_MS);

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_tailnet_listen_close(c);
    }
}


static void
ngx_tailnet_funnel_read(ngx_event_t *rev)
{
    ngx_int_t              rc;
    ngx_connection_t      *c;
    ngx_tailnet_opened_t  *opened;

    c = rev->data;
    opened = c->data;

    /* by "worker_shutdown_timeout" it is waited for no longer */

    if (rev->timedout || c->close) {
        ngx_tailnet_listen_close(c);
        return;
    }

    /* the kernel forgets the registration with the socket that goes */

    if (rev->active && ngx_del_event(rev, NGX_READ_EVENT, 0) != NGX_OK) {
        ngx_tailnet_listen_close(c);
        return;
    }

    rc = ngx_tailnet_funnel_take(c, opened->node);

    if (rc == NGX_AGAIN) {
        if (ngx_tailnet_channel_wait(rev) != NGX_OK) {
            ngx_tailnet_listen_close(c);
        }

        return;
    }

    if (rev->timer_set) {
        ngx_del_timer(rev);
    }

    if (rc == NGX_ERROR) {
        ngx_tailnet_listen_close(c);
        return;
    }

    /* nor is the end of the core's connection that of this one */

    rev->ready = 0;
    rev->pending_eof = 0;
    c->data = NULL;

    opened->handler(c);
}


static ngx_int_t
ngx_tailnet_funnel_take(ngx_connection_t *c, ngx_tailnet_node_t *node)
{
    int                    fds[TN_IPC_FDS];
    size_t                 n;
    u_char                *p;
    tn_rc_t                rc;
    tn_ipc_msg_t           msg;
    ngx_tailnet_caller_t  *caller;

    rc = tn_ipc_recv(c->fd, &msg, fds, &n);

    if (rc == TN_AGAIN) {
        return NGX_AGAIN;
    }

    if (rc != TN_OK
        || msg.head.type != TN_IPC_FUNNEL
        || n != 1
        || dup3(fds[0], c->fd, O_CLOEXEC) == -1)
    {
        tn_ipc_close(fds, n);
        return NGX_ERROR;
    }

    tn_ipc_close(fds, n);

    if (!ngx_tailnet_lwip_is(c->fd)) {

        /* nginx saw AF_UNIX when it accepted */

        c->tcp_nopush = NGX_TCP_NOPUSH_UNSET;
        c->tcp_nodelay = NGX_TCP_NODELAY_UNSET;
    }

    if (ngx_tailnet_funnel_address(c->pool, &msg.funnel.client, &c->sockaddr,
                                   &c->socklen)
        != NGX_OK
        || ngx_tailnet_funnel_address(c->pool, &msg.funnel.local,
                                      &c->local_sockaddr, &c->local_socklen)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    c->addr_text.data = ngx_pnalloc(c->pool, NGX_SOCKADDR_STRLEN);
    p = ngx_pnalloc(c->pool, TN_ADDR_TEXT);

    if (c->addr_text.data == NULL || p == NULL) {
        return NGX_ERROR;
    }

    c->addr_text.len = ngx_sock_ntop(c->sockaddr, c->socklen,
                                     c->addr_text.data, NGX_SOCKADDR_STRLEN,
                                     0);

    if (c->addr_text.len == 0
        || ngx_tailnet_caller_note(c, node) != NGX_OK)
    {
        return NGX_ERROR;
    }

    caller = ngx_tailnet_caller(c);
    if (caller == NULL) {
        return NGX_ERROR;
    }

    caller->funnel = 1;
    caller->known = NGX_TAILNET_CALLER_NOBODY;

    (void) tn_ip_text(&msg.funnel.relay.ip, (char *) p);
    caller->ingress.data = p;
    caller->ingress.len = ngx_strlen(p);

    return NGX_OK;
}


static ngx_int_t
ngx_tailnet_funnel_address(ngx_pool_t *pool, tn_addr_t *addr,
    struct sockaddr **sockaddr, socklen_t *socklen)
{
    struct sockaddr_storage  *ss;

    ss = ngx_pcalloc(pool, sizeof(struct sockaddr_storage));
    if (ss == NULL) {
        return NGX_ERROR;
    }

    *socklen = (socklen_t) tn_addr_to_sockaddr(addr, ss);
    *sockaddr = (struct sockaddr *) ss;

    return *socklen ? NGX_OK : NGX_ERROR;
}
