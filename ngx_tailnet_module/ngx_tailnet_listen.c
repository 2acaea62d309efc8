
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Listeners.  "listen 80 tailnet=home" becomes two stock listeners on
 * addresses that stand in for the node's, "unix:tailnet/home/0.0.0.0:80" and
 * "unix:tailnet/home/[::]:80", so that all other parameters and the server
 * names are nginx's business.  The stand-ins are never bound:
 *
 *   parsing       the stock handler sees the stand-in
 *   zone init     the supervisor's socket becomes the listener's; without
 *                 one the listener leaves the cycle
 *   init module   the stand-in is replaced by 0.0.0.0:port, of AF_INET also
 *                 for IPv6: nginx chose the layout of the port by the family
 *                 of the stand-in, and a zero address makes it ask the
 *                 accepted socket for the real one.  UDP has no such socket:
 *                 there the family is the real one, as nginx reads it to
 *                 find out where a datagram was sent to, and stream changes
 *                 the layout; lwip's are AF_UNIX (ngx_tailnet_lwip.c), so
 *                 their families are the real ones too.  "ignore" keeps the
 *                 sockets out of what later cycles and newer binaries inherit
 *   accepting     by that address it is known which listener it was: where
 *                 it is in memory says nothing, as another module may add one
 *                 in a worker (rtmp does), and nginx's list then moves away
 *                 from what connections point at
 *
 * Up to then "reuseport" is hidden, as "quic_bpf" would name each of its
 * listeners by address to a newer binary: it could not read a stand-in, and
 * 0.0.0.0:port may be the host's too.  Addresses of peers do not change.
 */

#include "ngx_tailnet_identity.h"

#include "proc/tn_snode.h"


#define NGX_TAILNET_IPV4  1
#define NGX_TAILNET_IPV6  2
#define NGX_TAILNET_FUNNEL  4       /* of both, by the core */


typedef struct {
    ngx_uint_t   first;         /* ports */
    ngx_uint_t   last;
    ngx_uint_t   families;
    ngx_uint_t   udp;           /* unsigned udp:1 */
    ngx_uint_t   any;           /* unsigned any:1; all ports, 0 */
    ngx_str_t   *capture;       /* the parameter, or NULL */
    ngx_str_t   *extra;         /* the parameter "service", or NULL */
    ngx_str_t    service;
    ngx_uint_t   probe;         /* unsigned probe:1 */
    ngx_uint_t   quic;          /* unsigned quic:1 */
    ngx_uint_t   ssl;           /* unsigned ssl:1 */
    ngx_uint_t   proxy;         /* unsigned proxy:1; "proxy_protocol" */
} ngx_tailnet_listen_opt_t;


/* what the sockaddr of a listener of ours points at */

typedef struct {
    ngx_sockaddr_t         sockaddr;    /* nginx may copy any address here */
    ngx_tailnet_opened_t  *opened;
} ngx_tailnet_listen_addr_t;


static char *ngx_tailnet_listen_parse(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf, ngx_tailnet_set_pt set);
static char *ngx_tailnet_listen_port(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf, ngx_tailnet_set_pt set, ngx_tailnet_node_t *node,
    ngx_str_t *param, ngx_tailnet_listen_opt_t *opt, in_port_t port);
static ngx_int_t ngx_tailnet_listen_address(ngx_conf_t *cf,
    ngx_tailnet_listen_opt_t *opt);
static ngx_int_t ngx_tailnet_listen_capture(ngx_conf_t *cf,
    ngx_tailnet_node_t *node, ngx_tailnet_listen_opt_t *opt);
static ngx_int_t ngx_tailnet_listen_service(ngx_conf_t *cf,
    ngx_tailnet_node_t *node, ngx_tailnet_listen_opt_t *opt,
    ngx_uint_t funnel);
static ngx_int_t ngx_tailnet_listen_ports(ngx_str_t *s,
    ngx_tailnet_listen_opt_t *opt);
static ngx_uint_t ngx_tailnet_listen_sockets(ngx_tailnet_listen_opt_t *opt);
static ngx_tailnet_listen_t *ngx_tailnet_listen_add(ngx_conf_t *cf,
    ngx_tailnet_node_t *node, in_port_t port, ngx_uint_t family,
    ngx_tailnet_listen_opt_t *opt);
static ngx_tailnet_listen_t *ngx_tailnet_listen_find(ngx_tailnet_conf_t *tcf,
    ngx_str_t *path);
static ngx_tailnet_listen_t *ngx_tailnet_listen_of(ngx_tailnet_conf_t *tcf,
    struct sockaddr *sockaddr);
static ngx_int_t ngx_tailnet_listen_fetch(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_listen_t *tl, ngx_listening_t *ls);
static void ngx_tailnet_listen_acks(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_listen_t *tl, int fd);
#if (nginx_version >= 1025000)
static void ngx_tailnet_listen_quic(ngx_tailnet_conf_t *tcf,
    ngx_tailnet_listen_t *tl, int fd);
#endif
static void ngx_tailnet_listen_accepted(ngx_connection_t *c);


char *
ngx_tailnet_listen(ngx_conf_t *cf, ngx_command_t *cmd, void *conf,
    ngx_tailnet_set_pt set)
{
    char         *rv;
    ngx_array_t  *args;

    args = cf->args;

    rv = ngx_tailnet_listen_parse(cf, cmd, conf, set);

    cf->args = args;

    return rv;
}


static char *
ngx_tailnet_listen_parse(ngx_conf_t *cf, ngx_command_t *cmd, void *conf,
    ngx_tailnet_set_pt set)
{
    char                      *rv;
    ngx_int_t                  rc, funnel;
    ngx_str_t                 *param;
    ngx_uint_t                 port, only;
    ngx_array_t               *args;
    ngx_tailnet_node_t        *node;
    ngx_tailnet_listen_opt_t   opt;

    if (ngx_tailnet_get_conf(cf->cycle) == NULL) {
        return set(cf, cmd, conf);
    }

    only = 0;
    args = cf->args;
    funnel = ngx_tailnet_funnel_parameter(cf, &only);

    if (funnel == NGX_ERROR) {
        return NGX_CONF_ERROR;
    }

    rc = ngx_tailnet_parameter(cf, &param, &node);

    if (rc == NGX_DECLINED) {

        /* "funnel" alone is nothing that we know */

        cf->args = args;

        return set(cf, cmd, conf);
    }

    if (rc != NGX_OK || ngx_tailnet_listen_address(cf, &opt) != NGX_OK
        || ngx_tailnet_listen_capture(cf, node, &opt) != NGX_OK
        || ngx_tailnet_listen_service(cf, node, &opt, funnel == NGX_OK)
           != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    if (funnel == NGX_OK) {

        if (opt.udp || opt.capture) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "parameter \"funnel\" of \"listen\" is for "
                               "TCP to the node itself only");
            return NGX_CONF_ERROR;
        }

        opt.families = only ? NGX_TAILNET_FUNNEL
                            : opt.families|NGX_TAILNET_FUNNEL;
    }

    if (ngx_tailnet_listen_sockets(&opt) > TN_SNODE_LISTENERS) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "too many ports in \"%V\" of \"listen\" with "
                           "\"tailnet\", a node has up to %d listening "
                           "sockets", (ngx_str_t *) cf->args->elts + 1,
                           TN_SNODE_LISTENERS);
        return NGX_CONF_ERROR;
    }

    for (port = opt.first; port <= opt.last; port++) {

        rv = ngx_tailnet_listen_port(cf, cmd, conf, set, node, param, &opt,
                                     (in_port_t) port);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


static char *
ngx_tailnet_listen_port(ngx_conf_t *cf, ngx_command_t *cmd, void *conf,
    ngx_tailnet_set_pt set, ngx_tailnet_node_t *node, ngx_str_t *param,
    ngx_tailnet_listen_opt_t *opt, in_port_t port)
{
    char                  *rv;
    ngx_str_t              standin;
    ngx_uint_t             family;
    ngx_tailnet_listen_t  *tl;

    for (family = NGX_TAILNET_IPV4;
         family <= NGX_TAILNET_FUNNEL;
         family <<= 1)
    {

        if (!(opt->families & family)) {
            continue;
        }

        tl = ngx_tailnet_listen_add(cf, node, port, family, opt);
        if (tl == NULL) {
            return NGX_CONF_ERROR;
        }

        tl->probe |= opt->probe;
        tl->ssl |= opt->ssl;
        tl->proxy |= opt->proxy;

        if (family != NGX_TAILNET_IPV6
            || !(opt->families & NGX_TAILNET_IPV4))
        {
            tl->implicit = 0;
        }

        /* nginx would find out by bind(), which never happens */

        if (tl->set[opt->udp] && tl->set[opt->udp] != set) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "%s port %ui of tailnet \"%V\" is used both "
                               "in http and in stream",
                               opt->udp ? "UDP" : "TCP", (ngx_uint_t) port,
                               &node->name);
            return NGX_CONF_ERROR;
        }

        tl->set[opt->udp] = set;

        /* the path is preceded by "unix:" */

        standin.data = tl->path.data - 5;
        standin.len = tl->path.len + 5;

        rv = ngx_tailnet_call(cf, cmd, conf, set, &standin, param,
                              opt->capture ? opt->capture : opt->extra);

        if (rv != NGX_CONF_OK) {
            return rv;
        }
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_tailnet_listen_address(ngx_conf_t *cf, ngx_tailnet_listen_opt_t *opt)
{
    ngx_str_t   *value, s;
    ngx_uint_t   i;

    value = cf->args->elts;
    s = value[1];

    opt->families = NGX_TAILNET_IPV4|NGX_TAILNET_IPV6;
    opt->udp = 0;
    opt->any = 0;
    opt->capture = NULL;
    opt->probe = 0;
    opt->quic = 0;
    opt->ssl = 0;
    opt->proxy = 0;

    if (s.len == 3 && ngx_strncmp(s.data, "any", 3) == 0) {
        opt->any = 1;
        opt->first = 0;
        opt->last = 0;

    } else if (ngx_strncmp(s.data, "*:", 2) == 0) {
        s.data += 2;
        s.len -= 2;

    } else if (ngx_strncmp(s.data, "0.0.0.0:", 8) == 0) {
        s.data += 8;
        s.len -= 8;
        opt->families = NGX_TAILNET_IPV4;

    } else if (ngx_strncmp(s.data, "[::]:", 5) == 0) {
        s.data += 5;
        s.len -= 5;
        opt->families = NGX_TAILNET_IPV6;
    }

    if (!opt->any && ngx_tailnet_listen_ports(&s, opt) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"%V\" of \"listen\" with \"tailnet\", "
                           "a port, \"*:port\", \"0.0.0.0:port\" or "
                           "\"[::]:port\" expected", &value[1]);
        return NGX_ERROR;
    }

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "multipath") == 0
            || ngx_strncmp(value[i].data, "setfib=", 7) == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "parameter \"%V\" of \"listen\" is not "
                               "supported with \"tailnet\"", &value[i]);
            return NGX_ERROR;
        }

        /* there is no socket of both families: one more for the other */

        if (ngx_strcmp(value[i].data, "ipv6only=off") == 0
            && opt->families == NGX_TAILNET_IPV6)
        {
            opt->families |= NGX_TAILNET_IPV4;
        }

        if (ngx_strcmp(value[i].data, "udp") == 0
            || ngx_strcmp(value[i].data, "quic") == 0)
        {
            opt->udp = 1;
        }

        if (ngx_strcmp(value[i].data, "quic") == 0) {
            opt->quic = 1;
        }

        if (ngx_strcmp(value[i].data, "ssl") == 0) {
            opt->ssl = 1;
        }

        if (ngx_strcmp(value[i].data, "proxy_protocol") == 0) {
            opt->proxy = 1;
        }

        if (ngx_strcmp(value[i].data, "capture") == 0) {
            opt->capture = &value[i];
        }

        if (ngx_strcmp(value[i].data, "capture=probe") == 0) {
            opt->capture = &value[i];
            opt->probe = 1;
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_tailnet_listen_capture(ngx_conf_t *cf, ngx_tailnet_node_t *node,
    ngx_tailnet_listen_opt_t *opt)
{
    ngx_str_t  *value;

    value = cf->args->elts;

    if (opt->capture == NULL) {

        if (opt->any) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"listen any\" needs the parameter "
                               "\"capture\"");
            return NGX_ERROR;
        }

        return NGX_OK;
    }

    if (opt->any && opt->quic) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"listen any\" has no QUIC, that needs a port");
        return NGX_ERROR;
    }

    if (opt->probe && opt->udp) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"capture=probe\" of \"listen %V\" is for TCP "
                           "only", &value[1]);
        return NGX_ERROR;
    }

    if (node->nroutes == 0 && node->be_exit_node != 1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"capture\" of \"listen %V\" without "
                           "\"advertise_routes\" or "
                           "\"advertise_exit_node\" in tailnet \"%V\"",
                           &value[1], &node->name);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_tailnet_listen_service(ngx_conf_t *cf, ngx_tailnet_node_t *node,
    ngx_tailnet_listen_opt_t *opt, ngx_uint_t funnel)
{
    ngx_int_t  rc;

    rc = ngx_tailnet_service_parameter(cf, &opt->extra, &opt->service);

    if (rc != NGX_OK) {
        return (rc == NGX_DECLINED) ? NGX_OK : NGX_ERROR;
    }

    if (opt->capture || funnel) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "parameter \"%V\" of \"listen\" does not go with "
                           "\"capture\" and \"funnel\"", opt->extra);
        return NGX_ERROR;
    }

    if (opt->quic && node->stack == TN_IPC_STACK_LWIP) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "parameter \"quic\" of \"listen\" with \"%V\" "
                           "needs the kernel's stack, and tailnet \"%V\" has "
                           "\"stack lwip\"", opt->extra, &node->name);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* "port" or "first-last" */

static ngx_int_t
ngx_tailnet_listen_ports(ngx_str_t *s, ngx_tailnet_listen_opt_t *opt)
{
    u_char     *p, *last;
    ngx_int_t   n, m;

    last = s->data + s->len;

    p = ngx_strlchr(s->data, last, '-');
    if (p == NULL) {
        p = last;
    }

    n = ngx_atoi(s->data, p - s->data);
    m = (p == last) ? n : ngx_atoi(p + 1, last - p - 1);

    if (n < 1 || m < n || m > 65535) {
        return NGX_ERROR;
    }

    opt->first = n;
    opt->last = m;

    return NGX_OK;
}


static ngx_uint_t
ngx_tailnet_listen_sockets(ngx_tailnet_listen_opt_t *opt)
{
    ngx_uint_t  n, families;

    n = 0;

    for (families = opt->families; families; families >>= 1) {
        n += (families & 1) ? opt->last - opt->first + 1 : 0;
    }

    return n;
}


static ngx_tailnet_listen_t *
ngx_tailnet_listen_add(ngx_conf_t *cf, ngx_tailnet_node_t *node,
    in_port_t port, ngx_uint_t family, ngx_tailnet_listen_opt_t *opt)
{
    u_char                *p;
    ngx_str_t              path;
    ngx_tailnet_conf_t    *tcf;
    ngx_tailnet_listen_t  *tl;

    tcf = ngx_tailnet_get_conf(cf->cycle);

    p = ngx_pnalloc(cf->pool, sizeof("unix:tailnet//any//0.0.0.0:65535")
                              + node->name.len + opt->service.len);
    if (p == NULL) {
        return NULL;
    }

    path.data = p + 5;

    p = ngx_sprintf(p, "unix:tailnet/%V/%s%V%s%s:%ui", &node->name,
                    opt->capture ? "any/" : "",
                    &opt->service, opt->service.len ? "/" : "",
                    (family == NGX_TAILNET_FUNNEL) ? "funnel"
                    : (family == NGX_TAILNET_IPV4) ? "0.0.0.0" : "[::]",
                    (ngx_uint_t) port);
    *p = '\0';

    path.len = p - path.data;

    tl = ngx_tailnet_listen_find(tcf, &path);
    if (tl) {
        return tl;
    }

    tl = ngx_array_push(&tcf->listens);
    if (tl == NULL) {
        return NULL;
    }

    tl->path = path;
    tl->node = node;
    tl->port = port;
    tl->family = (family == NGX_TAILNET_IPV6) ? 6 : 4;
    tl->funnel = (family == NGX_TAILNET_FUNNEL);
    tl->implicit = 1;
    tl->lwip = 0;
    tl->capture = opt->capture ? 1 : 0;
    tl->service = opt->service;
    tl->probe = 0;
    tl->ssl = 0;
    tl->proxy = 0;
    tl->set[0] = NULL;
    tl->set[1] = NULL;

    return tl;
}


static ngx_tailnet_listen_t *
ngx_tailnet_listen_find(ngx_tailnet_conf_t *tcf, ngx_str_t *path)
{
    ngx_uint_t             i;
    ngx_tailnet_listen_t  *tl;

    tl = tcf->listens.elts;

    for (i = 0; i < tcf->listens.nelts; i++) {

        if (tl[i].path.len == path->len
            && ngx_strncmp(tl[i].path.data, path->data, path->len) == 0)
        {
            return &tl[i];
        }
    }

    return NULL;
}


static ngx_tailnet_listen_t *
ngx_tailnet_listen_of(ngx_tailnet_conf_t *tcf, struct sockaddr *sockaddr)
{
    ngx_str_t            path;
    struct sockaddr_un  *saun;

    if (sockaddr->sa_family != AF_UNIX) {
        return NULL;
    }

    saun = (struct sockaddr_un *) sockaddr;

    path.data = (u_char *) saun->sun_path;
    path.len = ngx_strnlen(path.data, sizeof(saun->sun_path));

    return ngx_tailnet_listen_find(tcf, &path);
}


void
ngx_tailnet_listen_open(ngx_tailnet_conf_t *tcf)
{
    ngx_uint_t             i, n;
    ngx_listening_t       *ls;
    ngx_tailnet_listen_t  *tl;
    ngx_tailnet_opened_t  *opened;

    ls = tcf->cycle->listening.elts;
    n = 0;

    for (i = 0; i < tcf->cycle->listening.nelts; i++) {

        tl = ngx_tailnet_listen_of(tcf, ls[i].sockaddr);

        if (tl && tl->service.len) {

            if (ngx_tailnet_service_take(tcf, tl, &ls[i]) != NGX_OK) {
                ngx_log_error(NGX_LOG_ERR, tcf->cycle->log, 0,
                              "tailnet: no memory, listener %V is left out",
                              &tl->path);
            }

            continue;
        }

        if (tl) {
            opened = ngx_array_push(&tcf->opened);

            if (opened == NULL
                || ngx_tailnet_listen_fetch(tcf, tl, &ls[i]) != NGX_OK)
            {
                if (opened) {
                    tcf->opened.nelts--;
                }

                continue;
            }

            opened->index = n;
            opened->handler = NULL;
            opened->node = tl->node;
            opened->udp = 0;
            opened->lwip = tl->lwip;

#if (NGX_HAVE_REUSEPORT)
            opened->reuseport = ls[i].reuseport;
            ls[i].reuseport = 0;
#endif
        }

        if (n != i) {
            ngx_tailnet_listen_move(&ls[n], &ls[i]);
        }

        n++;
    }

    tcf->cycle->listening.nelts = n;
}


static ngx_int_t
ngx_tailnet_listen_fetch(ngx_tailnet_conf_t *tcf, ngx_tailnet_listen_t *tl,
    ngx_listening_t *ls)
{
    int              fd;
    char             text[TN_IPC_TEXT];
    ngx_uint_t       level;
    tn_ipc_listen_t  msg;

    if (!tcf->client.open || tl->node->failed) {
        return NGX_DECLINED;
    }

    tn_ipc_init(&msg, TN_IPC_LISTEN);

    ngx_memcpy(msg.node, tl->node->name.data, tl->node->name.len);

    msg.family = (uint16_t) tl->family;
    msg.proto = tl->funnel ? TN_IPC_INGRESS
                : (ls->type == SOCK_DGRAM) ? TN_IPC_UDP : TN_IPC_TCP;
    msg.port = tl->port;
    msg.worker = (uint16_t) ls->worker;
    msg.backlog = ls->backlog;
    msg.flags = (tl->capture ? TN_IPC_CAPTURE : 0)
                | (tl->probe && msg.proto == TN_IPC_TCP ? TN_IPC_PROBE : 0);

    if (tn_client_listen(&tcf->client, &msg, &fd, text) != TN_OK) {

        /* a kernel without IPv6 is no trouble unless it was asked for */

        level = tl->implicit ? NGX_LOG_NOTICE : NGX_LOG_ERR;

        ngx_log_error(level, tcf->cycle->log, 0,
                      "tailnet \"%V\": %s, listener %V is left out",
                      &tl->node->name, text, &tl->path);

        return NGX_DECLINED;
    }

    if (tl->funnel) {
        ls->fd = fd;
        ls->open = 1;
        ngx_tailnet_lwip_listen(ls);
        return NGX_OK;
    }

    if (ngx_tailnet_lwip_is(fd)) {

#if (nginx_version >= 1025000)

        if (ls->quic) {
            ngx_log_error(NGX_LOG_ERR, tcf->cycle->log, 0,
                          "tailnet \"%V\": stack lwip has no QUIC, listener "
                          "%V is left out", &tl->node->name, &tl->path);
            (void) ngx_close_socket(fd);
            return NGX_DECLINED;
        }

#endif

        ls->fd = fd;
        ls->open = 1;
        tl->lwip = 1;
        ngx_tailnet_lwip_listen(ls);
        return NGX_OK;
    }

    ls->fd = fd;
    ls->open = 1;
    tl->lwip = 0;

    if (ls->type == SOCK_DGRAM) {

#if (nginx_version >= 1025000)

        if (ls->quic) {
            ngx_tailnet_listen_quic(tcf, tl, fd);
        }

#endif

        return NGX_OK;
    }

    ls->listen = 1;

#if (NGX_HAVE_DEFERRED_ACCEPT && defined TCP_DEFER_ACCEPT)

    /* the stored socket may have been used with another setting before */

    if (ls->deferred_accept) {
        ls->add_deferred = 1;

    } else {
        ls->delete_deferred = 1;
    }

#endif

    ngx_tailnet_listen_acks(tcf, tl, fd);

    return NGX_OK;
}


/*
 * Linux acknowledges the first segments of a connection at once, for a client
 * whose Nagle algorithm holds back the second part of what it says (RFC 1122,
 * 4.2.3.2, allows 500 ms).  A ClientHello is one part, and its answer, which
 * acknowledges it too, takes less than a millisecond: the segment before that
 * would be one to encrypt and send for nothing.  A delayed one follows if
 * there is no answer.  Connections have the option from their listener.  A
 * line of the PROXY protocol may come alone.
 */

static void
ngx_tailnet_listen_acks(ngx_tailnet_conf_t *tcf, ngx_tailnet_listen_t *tl,
    int fd)
{
    int  quick;

    /* always, as the stored socket may have been used with "ssl" before */

    quick = !tl->ssl || tl->proxy;

    if (setsockopt(fd, IPPROTO_TCP, TCP_QUICKACK, (const void *) &quick,
                   sizeof(int))
        == -1)
    {
        ngx_log_error(NGX_LOG_ALERT, tcf->cycle->log, ngx_socket_errno,
                      "setsockopt(TCP_QUICKACK) for %V failed, ignored",
                      &tl->path);
    }
}


#if (nginx_version >= 1025000)

/*
 * RFC 9000, 14: datagrams are not fragmented.  nginx asks for that by the
 * family of the address, which is not that of a socket yet.
 */

static void
ngx_tailnet_listen_quic(ngx_tailnet_conf_t *tcf, ngx_tailnet_listen_t *tl,
    int fd)
{
    int  rc, value;

    if (tl->family == 4) {
        value = IP_PMTUDISC_DO;
        rc = setsockopt(fd, IPPROTO_IP, IP_MTU_DISCOVER,
                        (const void *) &value, sizeof(int));

    } else {
        value = IPV6_PMTUDISC_DO;
        rc = setsockopt(fd, IPPROTO_IPV6, IPV6_MTU_DISCOVER,
                        (const void *) &value, sizeof(int));
    }

    if (rc == -1) {
        ngx_log_error(NGX_LOG_ALERT, tcf->cycle->log, ngx_socket_errno,
                      "setsockopt(IP_MTU_DISCOVER) for %V failed, ignored",
                      &tl->path);
    }
}

#endif


void
ngx_tailnet_listen_move(ngx_listening_t *dst, ngx_listening_t *src)
{
    *dst = *src;

    /* the structure points into itself */

    if (src->log.data == &src->addr_text) {
        dst->log.data = &dst->addr_text;
    }

    ngx_rbtree_init(&dst->rbtree, &dst->sentinel, src->rbtree.insert);
}


ngx_int_t
ngx_tailnet_listen_commit(ngx_tailnet_conf_t *tcf)
{
    ngx_uint_t                  i;
    ngx_listening_t            *ls;
    ngx_sockaddr_t             *sa;
    ngx_tailnet_listen_t       *tl;
    ngx_tailnet_opened_t       *opened;
    ngx_tailnet_listen_addr_t  *addr;

    opened = tcf->opened.elts;

    for (i = 0; i < tcf->opened.nelts; i++) {

        ls = (ngx_listening_t *) tcf->cycle->listening.elts
             + opened[i].index;

        tl = ngx_tailnet_listen_of(tcf, ls->sockaddr);
        if (tl == NULL) {
            return NGX_ERROR;
        }

        addr = ngx_pcalloc(tcf->cycle->pool,
                           sizeof(ngx_tailnet_listen_addr_t));
        if (addr == NULL) {
            return NGX_ERROR;
        }

        addr->opened = &opened[i];

        sa = &addr->sockaddr;
        ls->sockaddr = &sa->sockaddr;

        sa->sockaddr_in.sin_family = AF_INET;
        sa->sockaddr_in.sin_port = htons(tl->port);
        ls->socklen = sizeof(struct sockaddr_in);

        if (ls->type == SOCK_DGRAM && !opened[i].lwip) {

            /* the sockets were made to tell each datagram's destination */

            ls->wildcard = 1;
        }

#if (NGX_HAVE_INET6)

        if (tl->family == 6 && (ls->type == SOCK_DGRAM || opened[i].lwip)) {
            sa->sockaddr_in6.sin6_family = AF_INET6;
            sa->sockaddr_in6.sin6_port = htons(tl->port);
            ls->socklen = sizeof(struct sockaddr_in6);

            if (ngx_tailnet_lwip_layout(tcf->cycle, ls) != NGX_OK) {
                return NGX_ERROR;
            }
        }

#endif

        ls->addr_text = tl->path;
        ls->addr_text_max_len = NGX_INET6_ADDRSTRLEN;

        ls->ignore = 1;

        opened[i].handler = ls->handler;
        opened[i].funnel = tl->funnel;
        opened[i].capture = tl->capture;
        opened[i].udp = (ls->type == SOCK_DGRAM);
        ls->handler = ngx_tailnet_listen_accepted;

        if (opened[i].lwip) {

            /* whoever sends datagrams is accepted too */

            ls->type = SOCK_STREAM;
        }
    }

    return NGX_OK;
}


void
ngx_tailnet_listen_committed(ngx_tailnet_conf_t *tcf)
{
#if (NGX_HAVE_REUSEPORT)

    ngx_uint_t             i;
    ngx_listening_t       *ls;
    ngx_tailnet_opened_t  *opened;

    ls = tcf->cycle->listening.elts;
    opened = tcf->opened.elts;

    for (i = 0; i < tcf->opened.nelts; i++) {
        ls[opened[i].index].reuseport = opened[i].reuseport;
    }

#endif
}


static void
ngx_tailnet_listen_accepted(ngx_connection_t *c)
{
    ngx_tailnet_opened_t  *opened;

    opened = ngx_tailnet_listen_opened(c->listening);

    if (opened && opened->funnel) {
        ngx_tailnet_funnel_accepted(c, opened);
        return;
    }

    /*
     * "pass" of stream hands on what another listener has accepted.  Whose it
     * is was noted there, or it is nobody's.  It leaves a cleanup in the pool,
     * where one of TCP that was accepted just now has none.
     */

    if (opened && !opened->lwip && !opened->udp && c->pool->cleanup) {
        opened->handler(c);
        return;
    }

    if (opened
        && (!opened->lwip || ngx_tailnet_lwip_names(c) == NGX_OK)
        && ngx_tailnet_caller_note(c, opened->node) == NGX_OK)
    {
        if (opened->lwip && opened->udp) {
            ngx_tailnet_lwip_session(c, &opened->handler);

        } else {
            opened->handler(c);
        }

        return;
    }

    ngx_tailnet_listen_close(c);
}


ngx_uint_t
ngx_tailnet_listen_captured(ngx_connection_t *c)
{
    ngx_tailnet_opened_t  *opened;

    opened = ngx_tailnet_listen_opened(c->listening);

    return opened && opened->capture;
}


void
ngx_tailnet_listen_close(ngx_connection_t *c)
{
    ngx_pool_t  *pool;

    pool = c->pool;

#if (NGX_STAT_STUB)
    (void) ngx_atomic_fetch_add(ngx_stat_active, -1);
#endif

    ngx_close_connection(c);

    if (pool) {
        ngx_destroy_pool(pool);
    }
}


ngx_tailnet_opened_t *
ngx_tailnet_listen_opened(ngx_listening_t *ls)
{
    if (ls == NULL || ls->handler != ngx_tailnet_listen_accepted) {
        return NULL;
    }

    return ((ngx_tailnet_listen_addr_t *) ls->sockaddr)->opened;
}


void
ngx_tailnet_listen_forget(ngx_cycle_t *old_cycle)
{
    ngx_uint_t        i;
    ngx_listening_t  *ls;

    if (old_cycle == NULL) {
        return;
    }

    /*
     * An old binary before 1.25.0 names all its listeners to the new one,
     * but ours are closed on exec: these numbers are no sockets, or by now
     * something else, which nginx would close.
     */

    ls = old_cycle->listening.elts;

    for (i = 0; i < old_cycle->listening.nelts; i++) {

        if (ls[i].ignore && ls[i].inherited) {
            ls[i].fd = (ngx_socket_t) -1;
        }
    }
}
