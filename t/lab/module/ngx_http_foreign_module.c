
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A balancer that keeps its servers in a list of its own kind, as modules of
 * others do: of what nginx's is, nothing here is right.
 */

#include <ngx_config.h>
#include <ngx_core.h>
#include <ngx_http.h>


#define NGX_HTTP_FOREIGN_SIZE  512


static char *ngx_http_foreign(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
static ngx_int_t ngx_http_foreign_init(ngx_conf_t *cf,
    ngx_http_upstream_srv_conf_t *us);
static ngx_int_t ngx_http_foreign_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us);


static ngx_command_t  ngx_http_foreign_commands[] = {

    { ngx_string("foreign"),
      NGX_HTTP_UPS_CONF|NGX_CONF_NOARGS,
      ngx_http_foreign,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_foreign_module_ctx;


ngx_module_t  ngx_http_foreign_module = {
    NGX_MODULE_V1,
    &ngx_http_foreign_module_ctx,          /* module context */
    ngx_http_foreign_commands,             /* module directives */
    NGX_HTTP_MODULE,                       /* module type */
    NULL,                                  /* init master */
    NULL,                                  /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    NULL,                                  /* exit process */
    NULL,                                  /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_module_t  *ngx_modules[] = { &ngx_http_foreign_module, NULL };
char          *ngx_module_names[] = { "ngx_http_foreign_module", NULL };
char          *ngx_module_order[] = { NULL };


static char *
ngx_http_foreign(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_upstream_srv_conf_t  *uscf;

    uscf = ngx_http_conf_get_module_srv_conf(cf, ngx_http_upstream_module);

    uscf->peer.init_upstream = ngx_http_foreign_init;
    uscf->flags = NGX_HTTP_UPSTREAM_CREATE;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_foreign_init(ngx_conf_t *cf, ngx_http_upstream_srv_conf_t *us)
{
    us->peer.data = ngx_palloc(cf->pool, NGX_HTTP_FOREIGN_SIZE);
    if (us->peer.data == NULL) {
        return NGX_ERROR;
    }

    ngx_memset(us->peer.data, 1, NGX_HTTP_FOREIGN_SIZE);

    us->peer.init = ngx_http_foreign_init_peer;

    return NGX_OK;
}


static ngx_int_t
ngx_http_foreign_init_peer(ngx_http_request_t *r,
    ngx_http_upstream_srv_conf_t *us)
{
    return NGX_ERROR;
}
