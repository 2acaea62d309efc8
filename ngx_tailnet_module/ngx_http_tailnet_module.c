
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * http: the module, and parameter "tailnet" of "listen" and of "server" in
 * upstream {}.
 */

#include "ngx_http_tailnet.h"


#define NGX_HTTP_TAILNET_PORT  80


static ngx_int_t ngx_http_tailnet_preconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_tailnet_postconfiguration(ngx_conf_t *cf);
static ngx_int_t ngx_http_tailnet_init_module(ngx_cycle_t *cycle);
static void *ngx_http_tailnet_create_srv_conf(ngx_conf_t *cf);
static char *ngx_http_tailnet_merge_srv_conf(ngx_conf_t *cf, void *parent,
    void *child);
static void *ngx_http_tailnet_create_loc_conf(ngx_conf_t *cf);
static char *ngx_http_tailnet_merge_loc_conf(ngx_conf_t *cf, void *parent,
    void *child);

static char *ngx_http_tailnet_listen(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_tailnet_server(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_tailnet_hash(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static char *ngx_http_tailnet_ip_hash(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
static ngx_int_t ngx_http_tailnet_groups(ngx_cycle_t *cycle);
static ngx_int_t ngx_http_tailnet_list(ngx_tailnet_conf_t *tcf,
    ngx_http_upstream_rr_peers_t *peers, ngx_uint_t dense, ngx_uint_t only);
static ngx_uint_t ngx_http_tailnet_single(ngx_tailnet_group_t *group,
    ngx_uint_t single);
static ngx_uint_t ngx_http_tailnet_upstream(
    ngx_http_upstream_srv_conf_t *uscf);
static ngx_int_t ngx_http_tailnet_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);


static ngx_tailnet_set_pt  ngx_http_tailnet_stock_listen;
static ngx_tailnet_set_pt  ngx_http_tailnet_stock_server;
static ngx_tailnet_set_pt  ngx_http_tailnet_stock_hash;
static ngx_tailnet_set_pt  ngx_http_tailnet_stock_ip_hash;


static ngx_command_t  ngx_http_tailnet_commands[] = {

    { ngx_string("tailnet_allow"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF
                        |NGX_HTTP_LMT_CONF|NGX_CONF_1MORE,
      ngx_http_tailnet_allow,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("tailnet_deny"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_HTTP_LOC_CONF
                        |NGX_HTTP_LMT_CONF|NGX_CONF_1MORE,
      ngx_http_tailnet_allow,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

    { ngx_string("tailnet_capability"),
      NGX_HTTP_MAIN_CONF|NGX_CONF_TAKE2,
      ngx_http_tailnet_capability,
      0,
      0,
      NULL },

    { ngx_string("tailnet_headers"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_tailnet_srv_conf_t, headers),
      NULL },

    { ngx_string("tailnet_status"),
      NGX_HTTP_LOC_CONF|NGX_CONF_NOARGS,
      ngx_http_tailnet_status,
      NGX_HTTP_LOC_CONF_OFFSET,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_tailnet_module_ctx = {
    ngx_http_tailnet_preconfiguration,     /* preconfiguration */
    ngx_http_tailnet_postconfiguration,    /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_http_tailnet_create_srv_conf,      /* create server configuration */
    ngx_http_tailnet_merge_srv_conf,       /* merge server configuration */

    ngx_http_tailnet_create_loc_conf,      /* create location configuration */
    ngx_http_tailnet_merge_loc_conf        /* merge location configuration */
};


/*
 * Workers start here and not in ngx_tailnet_module: where it is linked in, that
 * one comes before the modules of events, when there is no connection yet.
 */

ngx_module_t  ngx_http_tailnet_module = {
    NGX_MODULE_V1,
    &ngx_http_tailnet_module_ctx,          /* module context */
    ngx_http_tailnet_commands,             /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_http_tailnet_init_module,          /* init module */
    ngx_tailnet_init_process,              /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


/* once in the life of the process: the object is never unloaded */

__attribute__((constructor))
static void
ngx_http_tailnet_wrap_stock(void)
{
    ngx_http_tailnet_stock_listen = ngx_tailnet_wrap(&ngx_http_core_module,
                                                "listen",
                                                ngx_http_tailnet_listen);

    ngx_http_tailnet_stock_server = ngx_tailnet_wrap(&ngx_http_upstream_module,
                                                "server",
                                                ngx_http_tailnet_server);

    ngx_http_tailnet_stock_hash = ngx_tailnet_wrap_named(
                                            "ngx_http_upstream_hash_module",
                                            "hash", ngx_http_tailnet_hash);

    ngx_http_tailnet_stock_ip_hash = ngx_tailnet_wrap_named(
                                            "ngx_http_upstream_ip_hash_module",
                                            "ip_hash",
                                            ngx_http_tailnet_ip_hash);
}


static ngx_int_t
ngx_http_tailnet_preconfiguration(ngx_conf_t *cf)
{
    if (ngx_http_tailnet_stock_listen == NULL
        || ngx_http_tailnet_stock_server == NULL)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "the tailnet module does not know this nginx: "
                           "there is no \"listen\" or \"server\" to extend");
        return NGX_ERROR;
    }

    return ngx_http_tailnet_add_variables(cf);
}


static void *
ngx_http_tailnet_create_srv_conf(ngx_conf_t *cf)
{
    ngx_http_tailnet_srv_conf_t  *tscf;

    tscf = ngx_pcalloc(cf->pool, sizeof(ngx_http_tailnet_srv_conf_t));
    if (tscf == NULL) {
        return NULL;
    }

    tscf->conf = ngx_tailnet_get_conf(cf->cycle);
    tscf->headers = NGX_CONF_UNSET;

    return tscf;
}


static char *
ngx_http_tailnet_merge_srv_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_tailnet_srv_conf_t *prev = parent;
    ngx_http_tailnet_srv_conf_t *conf = child;

    ngx_conf_merge_value(conf->headers, prev->headers, 0);

    return NGX_CONF_OK;
}


static void *
ngx_http_tailnet_create_loc_conf(ngx_conf_t *cf)
{
    return ngx_pcalloc(cf->pool, sizeof(ngx_http_tailnet_loc_conf_t));
}


static char *
ngx_http_tailnet_merge_loc_conf(ngx_conf_t *cf, void *parent, void *child)
{
    ngx_http_tailnet_loc_conf_t *prev = parent;
    ngx_http_tailnet_loc_conf_t *conf = child;

    if (conf->rules == NULL) {
        conf->rules = prev->rules;
    }

    return NGX_CONF_OK;
}


ngx_http_tailnet_ctx_t *
ngx_http_tailnet_ctx(ngx_http_request_t *r)
{
    ngx_http_tailnet_ctx_t  *ctx;

    r = r->main;

    ctx = ngx_http_get_module_ctx(r, ngx_http_tailnet_module);

    if (ctx == NULL) {
        ctx = ngx_pcalloc(r->pool, sizeof(ngx_http_tailnet_ctx_t));

        if (ctx) {
            ngx_http_set_ctx(r, ctx, ngx_http_tailnet_module);
        }
    }

    return ctx;
}


static char *
ngx_http_tailnet_listen(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    return ngx_tailnet_listen(cf, cmd, conf, ngx_http_tailnet_stock_listen);
}


static char *
ngx_http_tailnet_server(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_upstream_srv_conf_t *uscf = conf;

    char                        *rv;
    ngx_str_t                    name, addr;
    ngx_http_upstream_server_t  *us;

    rv = ngx_tailnet_server(cf, cmd, conf, ngx_http_tailnet_stock_server,
                            NGX_HTTP_TAILNET_PORT, &name, &addr);

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
ngx_http_tailnet_hash(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                         *rv;
    ngx_http_tailnet_srv_conf_t  *tscf;

    rv = ngx_http_tailnet_stock_hash(cf, cmd, conf);

    if (rv == NGX_CONF_OK && ngx_tailnet_get_conf(cf->cycle)) {
        tscf = ngx_http_conf_get_module_srv_conf(cf,
                                         ngx_http_tailnet_module);

        /* "consistent" counts the points of all servers */

        tscf->dense = (cf->args->nelts == 2);
    }

    return rv;
}


static char *
ngx_http_tailnet_ip_hash(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    char                         *rv;
    ngx_http_tailnet_srv_conf_t  *tscf;

    rv = ngx_http_tailnet_stock_ip_hash(cf, cmd, conf);

    if (rv == NGX_CONF_OK && ngx_tailnet_get_conf(cf->cycle)) {
        tscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_tailnet_module);
        tscf->dense = 1;
    }

    return rv;
}


/* balancers have set their peer.init by now; ours has to be the last */

static ngx_int_t
ngx_http_tailnet_postconfiguration(ngx_conf_t *cf)
{
    ngx_uint_t                       i;
    ngx_http_tailnet_srv_conf_t     *tscf;
    ngx_http_upstream_rr_peers_t    *peers;
    ngx_http_upstream_srv_conf_t   **uscfp;
    ngx_http_upstream_main_conf_t   *umcf;

    umcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_upstream_module);

    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if (!ngx_http_tailnet_upstream(uscfp[i])) {
            continue;
        }

        tscf = ngx_http_conf_upstream_srv_conf(uscfp[i],
                                               ngx_http_tailnet_module);

        tscf->init = uscfp[i]->peer.init;
        uscfp[i]->peer.init = ngx_http_tailnet_init_peer;

        /* a balancer of others may keep something else there */

        peers = uscfp[i]->peer.data;
        tscf->listed = peers && peers->name == &uscfp[i]->host;
    }

    return ngx_http_tailnet_identity_init(cf);
}


static ngx_int_t
ngx_http_tailnet_init_module(ngx_cycle_t *cycle)
{
    ngx_tailnet_conf_t  *tcf;

    tcf = ngx_tailnet_get_conf(cycle);

    if (tcf == NULL) {
        return NGX_OK;
    }

    ngx_tailnet_listen_committed(tcf);

    return ngx_http_tailnet_groups(cycle);
}


static ngx_uint_t
ngx_http_tailnet_upstream(ngx_http_upstream_srv_conf_t *uscf)
{
    ngx_uint_t                   i;
    ngx_http_upstream_server_t  *us;

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
ngx_http_tailnet_groups(ngx_cycle_t *cycle)
{
    ngx_uint_t                       i, only;
    ngx_http_tailnet_srv_conf_t     *tscf;
    ngx_http_upstream_rr_peers_t    *peers;
    ngx_http_upstream_srv_conf_t   **uscfp;
    ngx_http_upstream_main_conf_t   *umcf;

    if (cycle->conf_ctx[ngx_http_module.index] == NULL) {
        return NGX_OK;
    }

    umcf = ngx_http_cycle_get_module_main_conf(cycle,
                                            ngx_http_upstream_module);
    uscfp = umcf->upstreams.elts;

    for (i = 0; i < umcf->upstreams.nelts; i++) {

        if (!ngx_http_tailnet_upstream(uscfp[i])) {
            continue;
        }

        tscf = ngx_http_conf_upstream_srv_conf(uscfp[i],
                                            ngx_http_tailnet_module);

        if (!tscf->listed) {
            continue;
        }

        peers = uscfp[i]->peer.data;

        /* one with backup servers is never single for nginx, nor are these */

        only = (peers->next == NULL);

        for ( /* void */ ; peers; peers = peers->next) {

            if (ngx_http_tailnet_list(tscf->conf, peers, tscf->dense, only)
                != NGX_OK)
            {
                return NGX_ERROR;
            }
        }
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_tailnet_list(ngx_tailnet_conf_t *tcf,
    ngx_http_upstream_rr_peers_t *peers, ngx_uint_t dense, ngx_uint_t only)
{
    ngx_tailnet_slot_t           *slot;
    ngx_tailnet_group_t           group;
    ngx_tailnet_target_t         *target;
    ngx_http_upstream_rr_peer_t  *peer;

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
        group.single = only ? ngx_http_tailnet_single : NULL;

#if (NGX_HTTP_UPSTREAM_ZONE)
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

#if (NGX_TAILNET_SID)
        slot->sid = peer->route ? NULL : peer->sid.data;
#endif
    }

    return ngx_tailnet_members_group(tcf, &group);
}


static ngx_uint_t
ngx_http_tailnet_single(ngx_tailnet_group_t *group, ngx_uint_t single)
{
    ngx_http_upstream_rr_peers_t  *peers;

    peers = group->peers;

    peers->single = single && peers->number == group->nslots;

    return peers->single;
}


static ngx_int_t
ngx_http_tailnet_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    ngx_tailnet_peer_t           *peer;
    ngx_http_tailnet_srv_conf_t  *tscf;

    tscf = ngx_http_conf_upstream_srv_conf(us, ngx_http_tailnet_module);

    if (tscf->init(r, us) != NGX_OK) {
        return NGX_ERROR;
    }

    peer = ngx_pcalloc(r->pool, sizeof(ngx_tailnet_peer_t));
    if (peer == NULL) {
        return NGX_ERROR;
    }

    ngx_tailnet_peer_init(peer, tscf->conf, &r->upstream->peer, r->pool);

    return NGX_OK;
}
