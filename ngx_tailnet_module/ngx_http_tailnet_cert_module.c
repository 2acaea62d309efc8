
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * http: $tailnet_certificate and $tailnet_certificate_key for
 * "ssl_certificate" and "ssl_certificate_key".
 */

#include "ngx_tailnet_cert.h"

#include <ngx_http.h>


typedef struct {
    ngx_uint_t  fallback;
} ngx_http_tailnet_cert_srv_conf_t;


static ngx_int_t ngx_http_tailnet_cert_variables(ngx_conf_t *cf);
static ngx_int_t ngx_http_tailnet_cert_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_array_t *ngx_http_tailnet_cert_names_of(ngx_conf_t *cf,
    ngx_http_core_srv_conf_t *cscf);
static ngx_int_t ngx_http_tailnet_cert_init(ngx_conf_t *cf);
static void *ngx_http_tailnet_cert_create_srv_conf(ngx_conf_t *cf);
static char *ngx_http_tailnet_cert_merge_srv_conf(ngx_conf_t *cf,
    void *parent, void *child);


static ngx_command_t  ngx_http_tailnet_cert_commands[] = {

    { ngx_string("tailnet_certificate_fallback"),
      NGX_HTTP_MAIN_CONF|NGX_HTTP_SRV_CONF|NGX_CONF_TAKE1,
      ngx_conf_set_enum_slot,
      NGX_HTTP_SRV_CONF_OFFSET,
      offsetof(ngx_http_tailnet_cert_srv_conf_t, fallback),
      ngx_tailnet_cert_fallbacks },

      ngx_null_command
};


static ngx_http_module_t  ngx_http_tailnet_cert_module_ctx = {
    ngx_http_tailnet_cert_variables,       /* preconfiguration */
    ngx_http_tailnet_cert_init,            /* postconfiguration */

    NULL,                                  /* create main configuration */
    NULL,                                  /* init main configuration */

    ngx_http_tailnet_cert_create_srv_conf, /* create server configuration */
    ngx_http_tailnet_cert_merge_srv_conf,  /* merge server configuration */

    NULL,                                  /* create location configuration */
    NULL                                   /* merge location configuration */
};


ngx_module_t  ngx_http_tailnet_cert_module = {
    NGX_MODULE_V1,
    &ngx_http_tailnet_cert_module_ctx,     /* module context */
    ngx_http_tailnet_cert_commands,        /* module directives */
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


static ngx_str_t  ngx_http_tailnet_cert_names[] = {
    ngx_string(NGX_TAILNET_CERT_NAME),
    ngx_string(NGX_TAILNET_CERT_KEY_NAME)
};


static ngx_int_t
ngx_http_tailnet_cert_variables(ngx_conf_t *cf)
{
    ngx_uint_t            i;
    ngx_http_variable_t  *var;

    for (i = 0; i < 2; i++) {
        var = ngx_http_add_variable(cf, &ngx_http_tailnet_cert_names[i], 0);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = ngx_http_tailnet_cert_variable;
    }

    return NGX_OK;
}


/* elsewhere they have no value: a private key is not for a log or a header */

static ngx_int_t
ngx_http_tailnet_cert_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    v->not_found = 1;

    return NGX_OK;
}


static void *
ngx_http_tailnet_cert_create_srv_conf(ngx_conf_t *cf)
{
    ngx_http_tailnet_cert_srv_conf_t  *cscf;

    cscf = ngx_pcalloc(cf->pool, sizeof(ngx_http_tailnet_cert_srv_conf_t));
    if (cscf == NULL) {
        return NULL;
    }

    cscf->fallback = NGX_CONF_UNSET_UINT;

    return cscf;
}


static char *
ngx_http_tailnet_cert_merge_srv_conf(ngx_conf_t *cf, void *parent,
    void *child)
{
    ngx_http_tailnet_cert_srv_conf_t *prev = parent;
    ngx_http_tailnet_cert_srv_conf_t *conf = child;

    ngx_conf_merge_uint_value(conf->fallback, prev->fallback,
                              NGX_TAILNET_CERT_OFF);

    return NGX_CONF_OK;
}


/* NULL: it has any */

static ngx_array_t *
ngx_http_tailnet_cert_names_of(ngx_conf_t *cf,
    ngx_http_core_srv_conf_t *cscf)
{
    ngx_str_t                *name;
    ngx_uint_t                i;
    ngx_array_t              *names;
    ngx_http_server_name_t   *sn;

    names = ngx_array_create(cf->temp_pool, 4, sizeof(ngx_str_t));
    if (names == NULL) {
        return NULL;
    }

    sn = cscf->server_names.elts;

    for (i = 0; i < cscf->server_names.nelts; i++) {
#if (NGX_PCRE)
        if (sn[i].regex) {
            return NULL;
        }
#endif

        if (sn[i].name.len == 0) {
            continue;
        }

        name = ngx_array_push(names);
        if (name == NULL) {
            return NULL;
        }

        *name = sn[i].name;
    }

    return names->nelts ? names : NULL;
}


/* the SSL module has set its own callback while merging */

static ngx_int_t
ngx_http_tailnet_cert_init(ngx_conf_t *cf)
{
#if (NGX_HTTP_SSL)
    ngx_uint_t                         i;
    ngx_array_t                       *names;
    ngx_http_ssl_srv_conf_t           *sscf;
    ngx_http_core_srv_conf_t         **server;
    ngx_http_core_main_conf_t         *cmcf;
    ngx_http_tailnet_cert_srv_conf_t  *cscf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);
    server = cmcf->servers.elts;

    for (i = 0; i < cmcf->servers.nelts; i++) {

        sscf = server[i]->ctx->srv_conf[ngx_http_ssl_module.ctx_index];
        cscf = server[i]->ctx->srv_conf[
                                     ngx_http_tailnet_cert_module.ctx_index];

        if (sscf->ssl.ctx == NULL) {
            continue;
        }

        if (ngx_tailnet_challenge_context(cf, sscf->ssl.ctx) != NGX_OK) {
            return NGX_ERROR;
        }

        names = ngx_http_tailnet_cert_names_of(cf, server[i]);

        if (ngx_tailnet_cert_server(cf, sscf->ssl.ctx,
                                    sscf->certificate_values,
                                    sscf->certificate_key_values,
                                    cscf->fallback, names, server[i]->file_name,
                                    server[i]->line)
            != NGX_OK)
        {
            return NGX_ERROR;
        }
    }
#endif

    return NGX_OK;
}
