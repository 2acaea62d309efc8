
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * stream: the module, and parameter "tailnet" of "listen" and of "server" in
 * upstream {}.
 * An object of its own, as stream may be one: what it shares with http comes
 * from ngx_tailnet_module.so, which nginx has to load before.
 */

#include "ngx_stream_tailnet.h"


/* not every nginx has it; where stream is an object it is in that */

extern ngx_module_t  ngx_stream_upstream_hash_module;

#pragma weak ngx_stream_upstream_hash_module


static ngx_int_t ngx_stream_tailnet_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_stream_tailnet_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_stream_tailnet_log_handler(ngx_stream_session_t *s);
static ngx_int_t ngx_stream_tailnet_filter(ngx_stream_session_t *s,
    ngx_chain_t *in, ngx_uint_t from_upstream);
static void *ngx_stream_tailnet_create_srv_conf(ngx_conf_t *cf);
static char *ngx_stream_tailnet_merge_srv_conf(ngx_conf_t *cf, void *parent,
    void *child);
static ngx_int_t ngx_stream_tailnet_init_module(ngx_cycle_t *cycle);

static ngx_uint_t ngx_stream_tailnet_loaded(ngx_cycle_t *cycle);
static ngx_int_t ngx_stream_tailnet_init_port(ngx_cycle_t *cycle,
    ngx_listening_t *ls);
static char *ngx_stream_tailnet_listen(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_stream_tailnet_server(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_stream_tailnet_hash(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_stream_tailnet_groups(ngx_cycle_t *cycle);
static ngx_int_t ngx_stream_tailnet_list(ngx_tailnet_conf_t *tcf,
    ngx_stream_upstream_rr_peers_t *peers, ngx_uint_t dense, ngx_uint_t only);
static ngx_uint_t ngx_stream_tailnet_single(ngx_tailnet_group_t *group,
    ngx_uint_t single);
static ngx_uint_t ngx_stream_tailnet_upstream(
    ngx_stream_upstream_srv_conf_t *uscf);
static ngx_int_t ngx_stream_tailnet_init_peer(ngx_stream_session_t *s,
    ngx_stream_upstream_srv_conf_t *us);


static ngx_tailnet_set_pt  ngx_stream_tailnet_stock_listen;
static ngx_tailnet_set_pt  ngx_stream_tailnet_stock_server;
static ngx_tailnet_set_pt  ngx_stream_tailnet_stock_hash;

static ngx_stream_filter_pt  ngx_stream_tailnet_next_filter;


static ngx_command_t  ngx_stream_tailnet_commands[] = {

    { ngx_string("tailnet_allow"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_1MORE,
      ngx_stream_tailnet_allow,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("tailnet_deny"),
      NGX_STREAM_MAIN_CONF|NGX_STREAM_SRV_CONF|NGX_CONF_1MORE,
      ngx_stream_tailnet_allow,
      NGX_STREAM_SRV_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("tailnet_capability"),
      NGX_STREAM_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_stream_tailnet_capability,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_stream_module_t  ngx_stream_tailnet_module_ctx = {
    ngx_stream_tailnet_preconfiguration,   /* preconfiguration */
    ngx_stream_tailnet_postconfiguration,  /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_stream_tailnet_create_srv_conf,    /* create server configuration */
    ngx_stream_tailnet_merge_srv_conf      /* merge server configuration */
};


ngx_module_t  ngx_stream_tailnet_module = {
    NGX_MODULE_V1,
    &ngx_stream_tailnet_module_ctx,        /* module context */
    ngx_stream_tailnet_commands,           /* module directives */
    NGX_STREAM_MODULE,                     /* module type */
    NULL,                                  /* init master */
    ngx_stream_tailnet_init_module,        /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* once in the life of the process: the object is never unloaded */

__attribute__((constructor))
static void
ngx_stream_tailnet_wrap_stock(void)
{
    ngx_stream_tailnet_stock_listen = ngx_tailnet_wrap(&ngx_stream_core_module,
                                                "listen",
                                                ngx_stream_tailnet_listen);

    ngx_stream_tailnet_stock_server = ngx_tailnet_wrap(
                                                &ngx_stream_upstream_module,
                                                "server",
                                                ngx_stream_tailnet_server);

    if (&ngx_stream_upstream_hash_module != NULL) {
        ngx_stream_tailnet_stock_hash = ngx_tailnet_wrap(
                                            &ngx_stream_upstream_hash_module,
                                            "hash", ngx_stream_tailnet_hash);
    }
}


static ngx_int_t
ngx_stream_tailnet_preconfiguration(ngx_conf_t *cf)
{
    if (ngx_stream_tailnet_stock_listen == NULL
        || ngx_stream_tailnet_stock_server == NULL)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the tailnet module does not know this nginx: "
                           "there is no \"listen\" or \"server\" of stream "
                           "to extend");
        return NGX_ERROR;
    }

    return ngx_stream_tailnet_add_variables(cf);
}


static void *
ngx_stream_tailnet_create_srv_conf(ngx_conf_t *cf)
{
    ngx_stream_tailnet_srv_conf_t  *tscf;

    tscf = ngx_pcalloc(cf->pool, sizeof(ngx_stream_tailnet_srv_conf_t));
    if (tscf == NULL) {
        return NULL;
    }

    tscf->conf = ngx_tailnet_get_conf(cf->cycle);

    return tscf;
}


static char *
ngx_stream_tailnet_merge_srv_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_stream_tailnet_srv_conf_t *prev = parent;
    ngx_stream_tailnet_srv_conf_t *conf = child;

    if (conf->rules == NULL) {
        conf->rules = prev->rules;
    }

    return NGX_CONF_OK;
}


/* an object that a reload dropped stays in memory and must stand aside */

static ngx_uint_t
ngx_stream_tailnet_loaded(ngx_cycle_t *cycle)
{
    ngx_uint_t  i;

    for (i = 0; cycle->modules && cycle->modules[i]; i++) {
        if (cycle->modules[i] == &ngx_stream_tailnet_module) {
            return 1;
        }
    }

    return 0;
}


/* after ngx_tailnet_module gave the listeners the addresses that they have */

static ngx_int_t
ngx_stream_tailnet_init_module(ngx_cycle_t *cycle)
{
    ngx_uint_t             i;
    ngx_listening_t       *ls;
    ngx_tailnet_conf_t    *tcf;
    ngx_tailnet_opened_t  *opened;
    ngx_listening_t      **layout;

    tcf = ngx_tailnet_get_conf(cycle);

    if (tcf == NULL) {
        return NGX_OK;
    }

    opened = tcf->opened.elts;

    for (i = 0; i < tcf->opened.nelts; i++) {

        ls = (ngx_listening_t *) cycle->listening.elts
             + opened[i].index;

        if ((ls->handler == ngx_stream_init_connection
             || opened[i].handler == ngx_stream_init_connection)
            && ngx_stream_tailnet_init_port(cycle, ls) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    layout = tcf->layouts.elts;

    for (i = 0; i < tcf->layouts.nelts; i++) {
        if (layout[i]->handler == ngx_stream_init_connection
            && ngx_stream_tailnet_init_port(cycle, layout[i]) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    return ngx_stream_tailnet_groups(cycle);
}


static ngx_int_t
ngx_stream_tailnet_init_port(ngx_cycle_t *cycle, ngx_listening_t *ls)
{
    ngx_stream_port_t       *port, *port6;
    ngx_stream_in_addr_t    *addr;
#if (NGX_HAVE_INET6)
    ngx_stream_in6_addr_t   *addr6;
#endif

    port = ls->servers;
    addr = port->addrs;

#if (nginx_version < 1025005)

    /* the log names the port by its own copy */

    addr[0].conf.addr_text = ls->addr_text;

#endif

#if (NGX_HAVE_INET6)

    if (ls->sockaddr->sa_family != AF_INET6) {
        return NGX_OK;
    }

    /*
     * A port has the layout of its stand-in's family, AF_UNIX, which is that
     * of AF_INET.  Clones for "reuseport" share it with this one, so it is
     * not changed but replaced.
     */

    port6 = ngx_palloc(cycle->pool, sizeof(ngx_stream_port_t));
    addr6 = ngx_pcalloc(cycle->pool, sizeof(ngx_stream_in6_addr_t));

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


static char *
ngx_stream_tailnet_listen(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    if (!ngx_stream_tailnet_loaded(cf->cycle)) {
        return ngx_stream_tailnet_stock_listen(cf, cmd, conf);
    }

    return ngx_tailnet_listen(cf, cmd, conf, ngx_stream_tailnet_stock_listen);
}


static char *
ngx_stream_tailnet_server(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_stream_upstream_srv_conf_t *uscf = conf;

    char                          *rv;
    ngx_str_t                      name, addr;
    ngx_stream_upstream_server_t  *us;

    if (!ngx_stream_tailnet_loaded(cf->cycle)) {
        return ngx_stream_tailnet_stock_server(cf, cmd, conf);
    }

    rv = ngx_tailnet_server(cf, cmd, conf, ngx_stream_tailnet_stock_server, 0,
                            &name, &addr);

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (name.len) {
        us = uscf->servers->elts;
        us += uscf->servers->nelts - 1;

        us->name = name;

        if (us->naddrs) {
            us->addrs[0].name = addr;
        }

        if (us->naddrs
            && ngx_tailnet_is_group(cf->cycle, us->addrs[0].sockaddr)
            && ngx_tailnet_members_addrs(cf, &us->addrs, &us->naddrs)
               != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


/* what goes by the total weight would seldom find a slot that is up */

static char *
ngx_stream_tailnet_hash(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                           *rv;
    ngx_stream_tailnet_srv_conf_t  *tscf;

    rv = ngx_stream_tailnet_stock_hash(cf, cmd, conf);

    if (rv == NGX_CONF_OK && ngx_stream_tailnet_loaded(cf->cycle)) {
        tscf = ngx_stream_conf_get_module_srv_conf(cf,
                                           ngx_stream_tailnet_module);

        /* "consistent" counts the points of all servers */

        tscf->dense = (cf->args->nelts == 2);
    }

    return rv;
}


/* balancers have set their peer.init by now; ours has to be the last */

static ngx_int_t
ngx_stream_tailnet_postconfiguration(ngx_conf_t *cf)
{
    ngx_uint_t                         i;
    ngx_stream_handler_pt             *h;
    ngx_stream_core_main_conf_t       *cmcf;
    ngx_stream_tailnet_srv_conf_t     *tscf;
    ngx_stream_upstream_rr_peers_t    *peers;
    ngx_stream_upstream_srv_conf_t   **uscfp;
    ngx_stream_upstream_main_conf_t   *umcf;

    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_STREAM_LOG_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_stream_tailnet_log_handler;

    ngx_stream_tailnet_next_filter = ngx_stream_top_filter;
    ngx_stream_top_filter = ngx_stream_tailnet_filter;

    umcf = ngx_stream_conf_get_module_main_conf(cf,
                                                ngx_stream_upstream_module);

    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if (!ngx_stream_tailnet_upstream(uscfp[i])) {
            continue;
        }

        tscf = ngx_stream_conf_upstream_srv_conf(uscfp[i],
                                                 ngx_stream_tailnet_module);

        tscf->init = uscfp[i]->peer.init;
        uscfp[i]->peer.init = ngx_stream_tailnet_init_peer;

        /* a balancer of others may keep something else there */

        peers = uscfp[i]->peer.data;
        tscf->listed = peers && peers->name == &uscfp[i]->host;
    }

    return ngx_stream_tailnet_identity_init(cf);
}


/*
 * A captured connection that came to nothing ends by a reset, like one that
 * its destination refused, and a flow of UDP by an ICMP message; the session
 * is closed behind this.
 */

static ngx_int_t
ngx_stream_tailnet_log_handler(ngx_stream_session_t *s)
{
    struct linger      linger;
    ngx_connection_t  *c;

    c = s->connection;

    if (s->status < NGX_STREAM_BAD_REQUEST
        || !ngx_tailnet_listen_captured(c))
    {
        return NGX_OK;
    }

#if (NGX_SSL || NGX_COMPAT)

    /* it has been answered, and ends as TLS does */

    if (c->ssl) {
        return NGX_OK;
    }

#endif

    /* a session of UDP that the kernel has is at the listener's socket */

    if (ngx_tailnet_lwip_refuse(c) || c->type != SOCK_STREAM) {
        return NGX_OK;
    }

    linger.l_onoff = 1;
    linger.l_linger = 0;

    if (setsockopt(c->fd, SOL_SOCKET, SO_LINGER, (const void *) &linger,
                   sizeof(struct linger))
        == -1)
    {
        ngx_log_error(NGX_LOG_ALERT, c->log, ngx_socket_errno,
                      "setsockopt(SO_LINGER) failed");
    }

    return NGX_OK;
}


/*
 * Of a destination that refuses datagrams nginx makes an empty one for the
 * client, and goes on: a captured flow is refused instead, and ends.
 */

static ngx_int_t
ngx_stream_tailnet_filter(ngx_stream_session_t *s, ngx_chain_t *in,
    ngx_uint_t from_upstream)
{
    ngx_connection_t  *c, *pc;

    c = s->connection;
    pc = s->upstream ? s->upstream->peer.connection : NULL;

    if (from_upstream && c->type == SOCK_DGRAM && pc && pc->read->error
        && ngx_tailnet_listen_captured(c))
    {
        (void) ngx_tailnet_lwip_refuse(c);
        return NGX_ERROR;
    }

    return ngx_stream_tailnet_next_filter(s, in, from_upstream);
}


static ngx_uint_t
ngx_stream_tailnet_upstream(ngx_stream_upstream_srv_conf_t *uscf)
{
    ngx_uint_t                     i;
    ngx_stream_upstream_server_t  *us;

    if (uscf->servers == NULL || uscf->srv_conf == NULL) {

        /* the upstream of a plain proxy_pass */

        return 0;
    }

    us = uscf->servers->elts;

    for (i = 0; i < uscf->servers->nelts; i++) {
        if (us[i].naddrs && ngx_tailnet_is_target(us[i].addrs[0].sockaddr)) {
            return 1;
        }
    }

    return 0;
}


/* after zones have their copies of the servers */

static ngx_int_t
ngx_stream_tailnet_groups(ngx_cycle_t *cycle)
{
    ngx_uint_t                         i, only;
    ngx_stream_tailnet_srv_conf_t     *tscf;
    ngx_stream_upstream_rr_peers_t    *peers;
    ngx_stream_upstream_srv_conf_t   **uscfp;
    ngx_stream_upstream_main_conf_t   *umcf;

    if (cycle->conf_ctx[ngx_stream_module.index] == NULL) {
        return NGX_OK;
    }

    umcf = ngx_stream_cycle_get_module_main_conf(cycle,
                                            ngx_stream_upstream_module);
    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if (!ngx_stream_tailnet_upstream(uscfp[i])) {
            continue;
        }

        tscf = ngx_stream_conf_upstream_srv_conf(uscfp[i],
                                            ngx_stream_tailnet_module);

        if (!tscf->listed) {
            continue;
        }

        peers = uscfp[i]->peer.data;

        /* one with backup servers is never single for nginx, nor are these */

        only = (peers->next == NULL);

        for ( /* void */ ; peers; peers = peers->next) {

            if (ngx_stream_tailnet_list(tscf->conf, peers, tscf->dense, only)
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_stream_tailnet_list(ngx_tailnet_conf_t *tcf,
    ngx_stream_upstream_rr_peers_t *peers, ngx_uint_t dense, ngx_uint_t only)
{
    ngx_tailnet_slot_t             *slot;
    ngx_tailnet_group_t             group;
    ngx_tailnet_target_t           *target;
    ngx_stream_upstream_rr_peer_t  *peer;

    ngx_memzero(&group, sizeof(ngx_tailnet_group_t));

    for (peer = peers->peer; peer; peer = peer->next) {

        target = ngx_tailnet_target(tcf, peer->sockaddr);

        if (target != group.target || group.nslots == TN_IPC_MEMBERS_MAX) {

            if (ngx_tailnet_members_group(tcf, &group) != NGX_OK) {
                return NGX_ERROR;
            }

            ngx_memzero(&group, sizeof(ngx_tailnet_group_t));
        }

        if (target == NULL || !target->group) {
            continue;
        }

        group.conf = tcf;
        group.target = target;
        group.tries = &peers->tries;
        group.total_weight = dense ? &peers->total_weight : NULL;
        group.peers = peers;
        group.single = only ? ngx_stream_tailnet_single : NULL;

#if (NGX_STREAM_UPSTREAM_ZONE)
        group.lock = peers->shpool ? &peers->rwlock : NULL;
#endif

        slot = &group.slots[group.nslots++];

        slot->sockaddr = peer->sockaddr;
        slot->down = &peer->down;
        slot->fails = &peer->fails;
        slot->accessed = &peer->accessed;
        slot->checked = &peer->checked;
        slot->current_weight = &peer->current_weight;
        slot->effective_weight = &peer->effective_weight;
        slot->weight = &peer->weight;
    }

    return ngx_tailnet_members_group(tcf, &group);
}


static ngx_uint_t
ngx_stream_tailnet_single(ngx_tailnet_group_t *group, ngx_uint_t single)
{
    ngx_stream_upstream_rr_peers_t  *peers;

    peers = group->peers;

    peers->single = single && peers->number == group->nslots;

    return peers->single;
}


static ngx_int_t
ngx_stream_tailnet_init_peer(ngx_stream_session_t *s,
    ngx_stream_upstream_srv_conf_t *us)
{
    ngx_tailnet_peer_t             *peer;
    ngx_stream_tailnet_srv_conf_t  *tscf;

    tscf = ngx_stream_conf_upstream_srv_conf(us, ngx_stream_tailnet_module);

    if (tscf->init(s, us) != NGX_OK) {
        return NGX_ERROR;
    }

    peer = ngx_pcalloc(s->connection->pool, sizeof(ngx_tailnet_peer_t));
    if (peer == NULL) {
        return NGX_ERROR;
    }

    ngx_tailnet_peer_init(peer, tscf->conf, &s->upstream->peer,
                          s->connection->pool);

    return NGX_OK;
}
