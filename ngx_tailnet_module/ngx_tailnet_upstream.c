
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Upstream servers.  "server web-1:80 tailnet=home" becomes a stock server
 * on an address that stands in for it, "unix:/tailnet/N" where N is its
 * index in the configuration, so that balancers, zones, keepalive and
 * failure counts work as they do.  When a balancer chose one:
 *
 *   get      connects by a socket of the stock when the address is known
 *            (ngx_tailnet_stock.c), and that is all; or else
 *            asks the core for a connection over a channel of its own and
 *            gives nginx a connection on a placeholder descriptor, known to
 *            no event queue; nginx waits for it with its own timeout
 *   answer   the socket, which is still connecting, takes the placeholder's
 *            number and enters the event queue: from here on it is stock
 *   refusal  one line in the log, and the placeholder becomes a socket with
 *            an error on it, so that nginx goes its way for a failed connect
 *   free     cancels what is under way by closing the channel
 *
 * While a connection lives nginx sees an AF_INET address, or else it would
 * switch off TCP options and log the peer as a path; the balancer gets its
 * stand-in back before it is called again.
 */

#include "ngx_tailnet.h"


#define NGX_TAILNET_TARGET      "/tailnet/"
#define NGX_TAILNET_TARGET_LEN  (sizeof(NGX_TAILNET_TARGET) - 1)

/* of a dial, when the core ends before it answered */
#define NGX_TAILNET_TRIES       3

/* nginx copies names of peers into this much shared memory */
#define NGX_TAILNET_NAME_LEN    (NGX_SOCKADDR_STRLEN - 1)


static ngx_int_t ngx_tailnet_server_host(ngx_conf_t *cf, ngx_str_t *url,
    in_port_t default_port, ngx_tailnet_target_t *target);
static ngx_int_t ngx_tailnet_server_name(ngx_conf_t *cf, ngx_str_t *url,
    ngx_tailnet_target_t *target, ngx_str_t *addr);

static ngx_int_t ngx_tailnet_peer_name(ngx_tailnet_peer_t *peer);
static ngx_int_t ngx_tailnet_peer_get(ngx_peer_connection_t *pc, void *data);
static void ngx_tailnet_peer_free(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t state);
static void ngx_tailnet_peer_notify(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t type);
#if (NGX_SSL || NGX_COMPAT)
static ngx_int_t ngx_tailnet_peer_set_session(ngx_peer_connection_t *pc,
    void *data);
static void ngx_tailnet_peer_save_session(ngx_peer_connection_t *pc,
    void *data);
#endif

static ngx_int_t ngx_tailnet_dial(ngx_tailnet_peer_t *peer);
static ngx_int_t ngx_tailnet_dial_connection(ngx_tailnet_peer_t *peer,
    ngx_socket_t s);
static ngx_int_t ngx_tailnet_peer_connect(ngx_tailnet_peer_t *peer);
static void ngx_tailnet_dial_handler(ngx_event_t *ev);
static void ngx_tailnet_dial_done(ngx_tailnet_peer_t *peer, ngx_socket_t s);
static void ngx_tailnet_dial_failed(ngx_tailnet_peer_t *peer);
static void ngx_tailnet_dial_close(ngx_tailnet_dial_t *dial);
static ngx_int_t ngx_tailnet_dial_replace(ngx_connection_t *c,
    ngx_socket_t s);
static void ngx_tailnet_set_options(ngx_peer_connection_t *pc,
    ngx_socket_t s);
static ngx_int_t ngx_tailnet_add_events(ngx_connection_t *c);


/* what nginx takes for the peer's address */
static struct sockaddr_in  ngx_tailnet_any = { .sin_family = AF_INET };


char *
ngx_tailnet_server(ngx_conf_t *cf, ngx_command_t *cmd, void *conf,
    ngx_tailnet_set_pt set, in_port_t default_port, ngx_str_t *name,
    ngx_str_t *addr)
{
    u_char                *p;
    ngx_int_t              rc;
    ngx_str_t             *value, *param, standin;
    ngx_uint_t             i;
    ngx_tailnet_conf_t    *tcf;
    ngx_tailnet_node_t    *node;
    ngx_tailnet_target_t  *target;

    name->len = 0;

    tcf = ngx_tailnet_get_conf(cf->cycle);

    if (tcf == NULL) {
        return set(cf, cmd, conf);
    }

    rc = ngx_tailnet_parameter(cf, &param, &node);

    if (rc == NGX_DECLINED) {
        return set(cf, cmd, conf);
    }

    if (rc != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    value = cf->args->elts;

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "resolve") == 0
            || ngx_strncmp(value[i].data, "service=", 8) == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "parameter \"%V\" of \"server\" is not "
                               "supported with \"tailnet\"", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    target = ngx_array_push(&tcf->targets);
    if (target == NULL) {
        return NGX_CONF_ERROR;
    }

    ngx_memzero(target, sizeof(ngx_tailnet_target_t));

    target->node = node;

    if (ngx_tailnet_server_host(cf, &value[1], default_port, target) != NGX_OK
        || ngx_tailnet_server_name(cf, &value[1], target, addr) != NGX_OK)
    {
        return NGX_CONF_ERROR;
    }

    standin.data = ngx_pnalloc(cf->pool, sizeof("unix:" NGX_TAILNET_TARGET)
                                         + NGX_INT_T_LEN);
    if (standin.data == NULL) {
        return NGX_CONF_ERROR;
    }

    p = ngx_sprintf(standin.data, "unix:" NGX_TAILNET_TARGET "%ui",
                    tcf->targets.nelts - 1);
    *p = '\0';

    standin.len = p - standin.data;

    *name = value[1];

    return ngx_tailnet_call(cf, cmd, conf, set, &standin, param, NULL);
}


static ngx_int_t
ngx_tailnet_server_host(ngx_conf_t *cf, ngx_str_t *url,
    in_port_t default_port, ngx_tailnet_target_t *target)
{
    char       *err;
    u_char     *p, *last, *name;
    tn_ip_t     ip;
    ngx_int_t   port;

    p = url->data;
    last = p + url->len;

    err = "invalid host";

    if (p < last && *p == '[') {

        target->host.data = p + 1;

        p = ngx_strlchr(p, last, ']');
        if (p == NULL) {
            goto failed;
        }

        target->host.len = p - target->host.data;

        if (tn_ip_parse(&ip, (char *) target->host.data, target->host.len)
            != TN_OK
            || tn_ip_is_v4(&ip))
        {
            goto failed;
        }

        p++;

    } else {
        target->host.data = p;

        target->group = (url->len > 4 && ngx_strncmp(p, "tag:", 4) == 0);

        if (target->group
            || (url->len > 4 && ngx_strncmp(p, "svc:", 4) == 0))
        {
            p += 4;
        }

        name = p;

        p = ngx_strlchr(p, last, ':');
        if (p == NULL) {
            p = last;
        }

        target->host.len = p - target->host.data;

        if (!ngx_tailnet_is_word(name, p - name, ".-_")
            || target->host.len >= TN_IPC_HOST)
        {
            goto failed;
        }
    }

    if (p == last) {

        if (default_port == 0) {
            err = "no port";
            goto failed;
        }

        target->port = default_port;

        return NGX_OK;
    }

    err = "invalid port";

    if (*p++ != ':') {
        goto failed;
    }

    port = ngx_atoi(p, last - p);

    if (port < 1 || port > 65535) {
        goto failed;
    }

    target->port = (in_port_t) port;

    return NGX_OK;

failed:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "%s in \"%V\" of \"server\" with \"tailnet\"",
                       err, url);

    return NGX_ERROR;
}


static ngx_int_t
ngx_tailnet_server_name(ngx_conf_t *cf, ngx_str_t *url,
    ngx_tailnet_target_t *target, ngx_str_t *addr)
{
    u_char  *p;

    addr->data = ngx_pnalloc(cf->pool, target->host.len
                                       + sizeof("[]:65535"));
    if (addr->data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_sprintf(addr->data,
                    (url->data[0] == '[') ? "[%V]:%ui" : "%V:%ui",
                    &target->host, (ngx_uint_t) target->port);

    addr->len = p - addr->data;

    if (addr->len > NGX_TAILNET_NAME_LEN) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "too long host in \"%V\" of \"server\" with "
                           "\"tailnet\"", url);
        return NGX_ERROR;
    }

    return NGX_OK;
}


ngx_uint_t
ngx_tailnet_is_target(struct sockaddr *sockaddr)
{
    struct sockaddr_un  *saun;

    if (sockaddr == NULL || sockaddr->sa_family != AF_UNIX) {
        return 0;
    }

    saun = (struct sockaddr_un *) sockaddr;

    return ngx_strncmp(saun->sun_path, NGX_TAILNET_TARGET,
                       NGX_TAILNET_TARGET_LEN)
           == 0;
}


ngx_uint_t
ngx_tailnet_is_group(ngx_cycle_t *cycle, struct sockaddr *sockaddr)
{
    ngx_tailnet_target_t  *target;

    target = ngx_tailnet_target(ngx_tailnet_get_conf(cycle), sockaddr);

    return target && target->group;
}


/* "/tailnet/N", of a slot of a group "/tailnet/N.ID" */

ngx_tailnet_target_t *
ngx_tailnet_target(ngx_tailnet_conf_t *tcf, struct sockaddr *sockaddr)
{
    u_char               *p, *last, *dot;
    ngx_int_t             n;
    struct sockaddr_un   *saun;

    if (!ngx_tailnet_is_target(sockaddr)) {
        return NULL;
    }

    saun = (struct sockaddr_un *) sockaddr;

    p = (u_char *) saun->sun_path + NGX_TAILNET_TARGET_LEN;
    last = p + ngx_strnlen(p, sizeof(saun->sun_path)
                              - NGX_TAILNET_TARGET_LEN);

    dot = ngx_strlchr(p, last, '.');

    n = ngx_atoi(p, (dot ? dot : last) - p);

    if (n == NGX_ERROR || (ngx_uint_t) n >= tcf->targets.nelts) {

        /* somebody's real socket in that directory */

        return NULL;
    }

    return (ngx_tailnet_target_t *) tcf->targets.elts + n;
}


int64_t
ngx_tailnet_target_id(struct sockaddr *sockaddr)
{
    u_char               *p, *last;
    off_t                 id;
    struct sockaddr_un   *saun;

    saun = (struct sockaddr_un *) sockaddr;

    p = (u_char *) saun->sun_path;
    last = p + ngx_strnlen(p, sizeof(saun->sun_path));

    p = ngx_strlchr(p, last, '.');
    if (p == NULL) {
        return 0;
    }

    p++;
    id = ngx_atoof(p, last - p);

    return (id == NGX_ERROR) ? 0 : (int64_t) id;
}


void
ngx_tailnet_target_name(ngx_tailnet_conf_t *tcf, ngx_tailnet_target_t *target,
    int64_t id, struct sockaddr *sockaddr)
{
    ngx_uint_t           n;
    struct sockaddr_un  *saun, name;

    saun = (struct sockaddr_un *) sockaddr;

    n = target - (ngx_tailnet_target_t *) tcf->targets.elts;

    /* to the end: keepalive compares all of it */

    ngx_memzero(name.sun_path, sizeof(name.sun_path));

    (void) ngx_snprintf((u_char *) name.sun_path, sizeof(name.sun_path) - 1,
                        id ? NGX_TAILNET_TARGET "%ui.%L"
                           : NGX_TAILNET_TARGET "%ui", n, id);

    /*
     * In a zone another worker may be reading it, without a lock: what it
     * finds is of this target at any time, at worst with an id of nobody.
     */

    ngx_memcpy(saun->sun_path, name.sun_path, sizeof(saun->sun_path));
}


void
ngx_tailnet_peer_init(ngx_tailnet_peer_t *peer, ngx_tailnet_conf_t *tcf,
    ngx_peer_connection_t *pc, ngx_pool_t *pool)
{
    peer->conf = tcf;
    peer->pc = pc;
    peer->pool = pool;

    peer->data = pc->data;
    peer->get = pc->get;
    peer->free = pc->free;
    peer->notify = pc->notify;

    pc->data = peer;
    pc->get = ngx_tailnet_peer_get;
    pc->free = ngx_tailnet_peer_free;

    if (pc->notify) {
        pc->notify = ngx_tailnet_peer_notify;
    }

#if (NGX_SSL || NGX_COMPAT)

    peer->set_session = pc->set_session;
    peer->save_session = pc->save_session;

    if (pc->set_session) {
        pc->set_session = ngx_tailnet_peer_set_session;
    }

    if (pc->save_session) {
        pc->save_session = ngx_tailnet_peer_save_session;
    }

#endif
}


static ngx_int_t
ngx_tailnet_peer_get(ngx_peer_connection_t *pc, void *data)
{
    ngx_tailnet_peer_t *peer = data;

    ngx_int_t     rc;
    ngx_socket_t  s;

    rc = peer->get(pc, peer->data);

    if (rc != NGX_OK && rc != NGX_DONE) {
        return rc;
    }

    peer->target = ngx_tailnet_target(peer->conf, pc->sockaddr);

    if (peer->target == NULL) {
        return rc;
    }

    peer->sockaddr = pc->sockaddr;
    peer->socklen = pc->socklen;
    peer->host = peer->target->host;

    if (peer->target->group && ngx_tailnet_peer_name(peer) != NGX_OK) {
        peer->sockaddr = NULL;
        return NGX_ERROR;
    }

    pc->sockaddr = (struct sockaddr *) &ngx_tailnet_any;
    pc->socklen = sizeof(struct sockaddr_in);

    if (rc == NGX_DONE) {

        /* a connection kept alive */

        return rc;
    }

    if (ngx_tailnet_peer_connect(peer) == NGX_OK) {
        pc->connection = peer->dial.connection;
        return NGX_AGAIN;
    }

    peer->dial.tries = NGX_TAILNET_TRIES;

    rc = ngx_tailnet_dial(peer);

    if (rc != NGX_OK) {
        return rc;
    }

    /*
     * Its number is what counts.  Not a duplicate of the channel: that would
     * keep the closed channel in the event queue.
     */

    s = socket(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0);

    if (s == (ngx_socket_t) -1) {
        ngx_log_error(NGX_LOG_ALERT, pc->log, ngx_socket_errno,
                      ngx_socket_n " failed");
        ngx_tailnet_dial_close(&peer->dial);
        return NGX_ERROR;
    }

    if (ngx_tailnet_dial_connection(peer, s) != NGX_OK) {
        ngx_tailnet_dial_close(&peer->dial);
        return NGX_ERROR;
    }

    /* "worker_shutdown_timeout" would take it for one that is connected */

    peer->dial.connection->read->channel = 1;

    pc->connection = peer->dial.connection;

    return NGX_AGAIN;
}


/*
 * To an address that is known, by a socket of the stock.  Whatever is in the
 * way, the core is asked, who knows other addresses and the reasons.
 */

static ngx_int_t
ngx_tailnet_peer_connect(ngx_tailnet_peer_t *peer)
{
    size_t                    len;
    tn_ip_t                  *ip;
    tn_addr_t                 addr;
    ngx_socket_t              s;
    struct sockaddr_storage   ss;

    if (peer->pc->type == SOCK_DGRAM) {
        return NGX_DECLINED;
    }

    ngx_tailnet_members_watch(peer->conf, peer->target);

    ip = ngx_tailnet_members_ip(peer->target,
                                ngx_tailnet_target_id(peer->sockaddr));
    if (ip == NULL) {
        return NGX_DECLINED;
    }

    s = ngx_tailnet_stock_take(peer->conf, peer->target->node,
                               tn_ip_is_v4(ip) ? 4 : 6);

    if (s == (ngx_socket_t) -1
        || ngx_tailnet_dial_connection(peer, s) != NGX_OK)
    {
        return NGX_DECLINED;
    }

    addr.ip = *ip;
    addr.port = peer->target->port;
    len = tn_addr_to_sockaddr(&addr, &ss);

    ngx_tailnet_set_options(peer->pc, s);

    if (ngx_tailnet_add_events(peer->dial.connection) == NGX_OK
        && (connect(s, (struct sockaddr *) &ss, (socklen_t) len) == 0
            || ngx_socket_errno == NGX_EINPROGRESS))
    {
        return NGX_OK;
    }

    ngx_close_connection(peer->dial.connection);
    peer->dial.connection = NULL;

    return NGX_DECLINED;
}


/*
 * The peer that is in the slot now: others may have the slot before this
 * connection is done with it.
 */

static ngx_int_t
ngx_tailnet_peer_name(ngx_tailnet_peer_t *peer)
{
    ngx_str_t              *name, host;
    ngx_peer_connection_t  *pc;
#if (NGX_TAILNET_SID)
    ngx_str_t              *sid;
#endif

    pc = peer->pc;

    ngx_memcpy(&peer->standin, pc->sockaddr, sizeof(struct sockaddr_un));

    peer->sockaddr = (struct sockaddr *) &peer->standin;
    peer->socklen = sizeof(struct sockaddr_un);

    ngx_tailnet_members_host(peer->target,
                             ngx_tailnet_target_id(peer->sockaddr), &host);

    /* each attempt of a request shows its own */

    name = ngx_palloc(peer->pool, sizeof(ngx_str_t));
    if (name == NULL) {
        return NGX_ERROR;
    }

    name->data = ngx_pnalloc(peer->pool, host.len + sizeof(":65535"));
    if (name->data == NULL) {
        return NGX_ERROR;
    }

    name->len = ngx_sprintf(name->data, "%V:%ui", &host,
                            (ngx_uint_t) peer->target->port)
                - name->data;

    peer->host.data = name->data;
    peer->host.len = host.len;

    pc->name = name;

#if (NGX_TAILNET_SID)

    if (pc->sid) {
        sid = ngx_palloc(peer->pool, sizeof(ngx_str_t));
        if (sid == NULL) {
            return NGX_ERROR;
        }

        sid->len = pc->sid->len;
        sid->data = ngx_pstrdup(peer->pool, pc->sid);
        if (sid->data == NULL) {
            return NGX_ERROR;
        }

        pc->sid = sid;
    }

#endif

    return NGX_OK;
}


static void
ngx_tailnet_peer_free(ngx_peer_connection_t *pc, void *data, ngx_uint_t state)
{
    ngx_tailnet_peer_t *peer = data;

    ngx_uint_t  tries;

    ngx_tailnet_dial_close(&peer->dial);

    if (peer->sockaddr) {
        pc->sockaddr = peer->sockaddr;
        pc->socklen = peer->socklen;

        peer->sockaddr = NULL;
    }

    tries = pc->tries;

    peer->free(pc, peer->data, state);

    /* a tag may have become a single server, of which nginx asks no other */

    if (pc->tries == 0 && tries > 1) {
        pc->tries = tries - 1;
    }
}


static void
ngx_tailnet_peer_notify(ngx_peer_connection_t *pc, void *data,
    ngx_uint_t type)
{
    ngx_tailnet_peer_t *peer = data;

    peer->notify(pc, peer->data, type);
}


#if (NGX_SSL || NGX_COMPAT)

static ngx_int_t
ngx_tailnet_peer_set_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_tailnet_peer_t *peer = data;

    return peer->set_session(pc, peer->data);
}


static void
ngx_tailnet_peer_save_session(ngx_peer_connection_t *pc, void *data)
{
    ngx_tailnet_peer_t *peer = data;

    peer->save_session(pc, peer->data);
}

#endif


/*
 * NGX_OK: the channel waits for the answer.  NGX_DECLINED: there is nobody
 * to ask, which was logged.
 */

static ngx_int_t
ngx_tailnet_dial(ngx_tailnet_peer_t *peer)
{
    int                     fd;
    char                    text[TN_IPC_TEXT];
    tn_ipc_dial_t           msg;
    ngx_connection_t       *c;
    ngx_tailnet_target_t   *target;
    ngx_peer_connection_t  *pc;

    pc = peer->pc;
    target = peer->target;

    tn_ipc_init(&msg, TN_IPC_DIAL);

    ngx_memcpy(msg.node, target->node->name.data, target->node->name.len);
    ngx_memcpy(msg.host, peer->host.data, peer->host.len);

    msg.port = target->port;
    msg.proto = (pc->type == SOCK_DGRAM) ? TN_IPC_UDP : TN_IPC_TCP;

    if (tn_client_dial((char *) peer->conf->dir.data, &msg, &fd, text)
        != TN_OK)
    {
        ngx_log_error(NGX_LOG_ERR, pc->log, 0,
                      "connect() to %V of tailnet \"%V\" failed: %s",
                      pc->name, &target->node->name, text);
        return NGX_DECLINED;
    }

    c = ngx_tailnet_channel(fd, pc->log, peer, ngx_tailnet_dial_handler);

    if (c == NULL) {
        return NGX_ERROR;
    }

    peer->dial.channel = c;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        ngx_tailnet_dial_close(&peer->dial);
        return NGX_ERROR;
    }

    return NGX_OK;
}


/* takes s */

static ngx_int_t
ngx_tailnet_dial_connection(ngx_tailnet_peer_t *peer, ngx_socket_t s)
{
    ngx_connection_t       *c;
    ngx_peer_connection_t  *pc;

    pc = peer->pc;

    c = ngx_get_connection(s, pc->log);

    if (c == NULL) {
        if (ngx_close_socket(s) == -1) {
            ngx_log_error(NGX_LOG_ALERT, pc->log, ngx_socket_errno,
                          ngx_close_socket_n " failed");
        }

        return NGX_ERROR;
    }

    if (pc->type == SOCK_DGRAM) {
        c->type = SOCK_DGRAM;

        c->recv = ngx_udp_recv;
        c->send = ngx_send;
        c->send_chain = ngx_udp_send_chain;

#if (nginx_version >= 1023000)
        c->need_flush_buf = 1;
#endif

    } else {
        c->type = SOCK_STREAM;

        c->recv = ngx_recv;
        c->send = ngx_send;
        c->recv_chain = ngx_recv_chain;
        c->send_chain = ngx_send_chain;

        c->sendfile = 1;
    }

    c->log_error = pc->log_error;

    c->log = pc->log;
    c->read->log = pc->log;
    c->write->log = pc->log;

    c->number = ngx_atomic_fetch_add(ngx_connection_counter, 1);
    c->start_time = ngx_current_msec;

    peer->dial.connection = c;

    return NGX_OK;
}


static void
ngx_tailnet_dial_handler(ngx_event_t *ev)
{
    int                   s;
    tn_rc_t               rc;
    ngx_int_t             n;
    ngx_connection_t     *c;
    tn_ipc_dial_reply_t   reply;
    ngx_tailnet_peer_t   *peer;

    c = ev->data;
    peer = c->data;

    rc = tn_client_dial_reply(c->fd, &reply, &s);

    if (rc == TN_AGAIN && ngx_tailnet_channel_wait(ev) == NGX_OK) {
        return;
    }

    ngx_tailnet_dial_close(&peer->dial);

    if (rc == TN_OK) {
        ngx_tailnet_dial_done(peer, s);
        return;
    }

    if (rc == TN_CLOSED && --peer->dial.tries) {

        /* the core is being started again and will answer then */

        n = ngx_tailnet_dial(peer);

        if (n == NGX_OK) {
            return;
        }

        ngx_tailnet_dial_failed(peer);
        return;
    }

    if (rc == TN_CLOSED || rc == TN_AGAIN) {
        reply.err = 0;
        ngx_cpystrn((u_char *) reply.text, (u_char *) "the core went away",
                    TN_IPC_TEXT);
    }

    ngx_log_error(NGX_LOG_ERR, peer->pc->log, reply.err,
                  "connect() to %V of tailnet \"%V\" failed: %s",
                  peer->pc->name, &peer->target->node->name, reply.text);

    ngx_tailnet_dial_failed(peer);
}


static void
ngx_tailnet_dial_done(ngx_tailnet_peer_t *peer, ngx_socket_t s)
{
    ngx_connection_t  *c;

    c = peer->dial.connection;

    ngx_log_debug3(NGX_LOG_DEBUG_EVENT, peer->pc->log, 0,
                   "connect to %V of tailnet \"%V\", fd:%d",
                   peer->pc->name, &peer->target->node->name, c->fd);

    if (ngx_tailnet_lwip_is(s)) {
        ngx_tailnet_lwip_connected(c);

    } else {
        ngx_tailnet_set_options(peer->pc, s);
    }

    if (ngx_tailnet_dial_replace(c, s) != NGX_OK
        || ngx_tailnet_add_events(c) != NGX_OK)
    {
        ngx_tailnet_dial_failed(peer);
    }
}


/* the caller has logged why; nothing of peer may be used after this */

static void
ngx_tailnet_dial_failed(ngx_tailnet_peer_t *peer)
{
    int                s[2];
    ngx_connection_t  *c;

    c = peer->dial.connection;

    /*
     * nginx asks the socket how connect() went.  When the other end of a
     * pair is closed with bytes unread, this one has ECONNRESET.
     */

    if (socketpair(AF_UNIX, SOCK_STREAM|SOCK_CLOEXEC|SOCK_NONBLOCK, 0, s)
        == -1)
    {
        ngx_log_error(NGX_LOG_ALERT, c->log, ngx_socket_errno,
                      "socketpair() failed");

    } else {
        (void) ngx_write_fd(s[0], "", 1);
        (void) close(s[1]);
        (void) ngx_tailnet_dial_replace(c, s[0]);
    }

    /* one line about it is in the log */

    c->log_error = NGX_ERROR_IGNORE_ECONNRESET;

    c->write->ready = 1;
    c->write->handler(c->write);
}


static void
ngx_tailnet_dial_close(ngx_tailnet_dial_t *dial)
{
    if (dial->channel) {
        ngx_close_connection(dial->channel);
        dial->channel = NULL;
    }
}


/* puts a socket, which is used up, under the number of the connection */

static ngx_int_t
ngx_tailnet_dial_replace(ngx_connection_t *c, ngx_socket_t s)
{
    ngx_int_t  rc;

    rc = NGX_OK;

    c->read->channel = 0;

    if (dup3(s, c->fd, O_CLOEXEC) == -1) {
        ngx_log_error(NGX_LOG_ALERT, c->log, ngx_errno, "dup3() failed");
        rc = NGX_ERROR;
    }

    if (ngx_close_socket(s) == -1) {
        ngx_log_error(NGX_LOG_ALERT, c->log, ngx_socket_errno,
                      ngx_close_socket_n " failed");
    }

    return rc;
}


static void
ngx_tailnet_set_options(ngx_peer_connection_t *pc, ngx_socket_t s)
{
    int  value;

    if (pc->rcvbuf
        && setsockopt(s, SOL_SOCKET, SO_RCVBUF, (const void *) &pc->rcvbuf,
                      sizeof(int))
           == -1)
    {
        ngx_log_error(NGX_LOG_ALERT, pc->log, ngx_socket_errno,
                      "setsockopt(SO_RCVBUF) failed, ignored");
    }

#if (nginx_version >= 1031003)

    if (pc->sndbuf
        && setsockopt(s, SOL_SOCKET, SO_SNDBUF, (const void *) &pc->sndbuf,
                      sizeof(int))
           == -1)
    {
        ngx_log_error(NGX_LOG_ALERT, pc->log, ngx_socket_errno,
                      "setsockopt(SO_SNDBUF) failed, ignored");
    }

#endif

    if (pc->so_keepalive) {
        value = 1;

        if (setsockopt(s, SOL_SOCKET, SO_KEEPALIVE, (const void *) &value,
                       sizeof(int))
            == -1)
        {
            ngx_log_error(NGX_LOG_ALERT, pc->log, ngx_socket_errno,
                          "setsockopt(SO_KEEPALIVE) failed, ignored");
        }
    }
}


static ngx_int_t
ngx_tailnet_add_events(ngx_connection_t *c)
{
    ngx_int_t  event;

    if (ngx_add_conn) {
        return ngx_add_conn(c);
    }

    event = (ngx_event_flags & NGX_USE_CLEAR_EVENT) ? NGX_CLEAR_EVENT
                                                    : NGX_LEVEL_EVENT;

    if (ngx_add_event(c->read, NGX_READ_EVENT, event) != NGX_OK) {
        return NGX_ERROR;
    }

    return ngx_add_event(c->write, NGX_WRITE_EVENT, event);
}
