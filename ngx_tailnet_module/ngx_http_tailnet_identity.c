
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * http: variables of who is calling, rules about it, and the headers that
 * tell an upstream.
 */

#include "ngx_http_tailnet.h"


static ngx_int_t ngx_http_tailnet_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_tailnet_destination(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_http_tailnet_cap_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data);
static void ngx_http_tailnet_value(ngx_http_variable_value_t *v,
    ngx_str_t *value);
static ngx_int_t ngx_http_tailnet_post_read(ngx_http_request_t *r);
static ngx_int_t ngx_http_tailnet_redirected(ngx_http_request_t *r);
static ngx_int_t ngx_http_tailnet_access(ngx_http_request_t *r);


ngx_int_t
ngx_http_tailnet_add_variables(ngx_conf_t *cf)
{
    ngx_tailnet_var_t    *tv;
    ngx_http_variable_t  *var;

    static ngx_str_t  destination = ngx_string("tailnet_destination");

    for (tv = ngx_tailnet_vars; tv->name.len; tv++) {

        var = ngx_http_add_variable(cf, &tv->name, 0);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = ngx_http_tailnet_variable;
        var->data = tv->var;
    }

    var = ngx_http_add_variable(cf, &destination, 0);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_http_tailnet_destination;

    return NGX_OK;
}


ngx_int_t
ngx_http_tailnet_identity_init(ngx_conf_t *cf)
{
    ngx_http_handler_pt        *h;
    ngx_http_core_main_conf_t  *cmcf;

    cmcf = ngx_http_conf_get_module_main_conf(cf, ngx_http_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_POST_READ_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_tailnet_post_read;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_SERVER_REWRITE_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_tailnet_redirected;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_REWRITE_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_tailnet_redirected;

    h = ngx_array_push(&cmcf->phases[NGX_HTTP_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_http_tailnet_access;

    return NGX_OK;
}


/* one look-up for a request, its subrequests included */

ngx_tailnet_identity_t *
ngx_http_tailnet_identity(ngx_http_request_t *r)
{
    ngx_http_tailnet_ctx_t  *ctx;

    ctx = ngx_http_tailnet_ctx(r);

    if (ctx && ctx->identity == NULL) {
        ctx->identity = ngx_tailnet_identity(r->connection, r->main->pool);
    }

    return ctx ? ctx->identity : NULL;
}


static ngx_int_t
ngx_http_tailnet_variable(ngx_http_request_t *r, ngx_http_variable_value_t *v,
    uintptr_t data)
{
    ngx_str_t                value;
    ngx_tailnet_identity_t  *identity;

    identity = ngx_http_tailnet_identity(r);

    if (identity == NULL
        || ngx_tailnet_identity_var(identity, data, r->main->pool, &value)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_tailnet_value(v, &value);

    return NGX_OK;
}


static ngx_int_t
ngx_http_tailnet_cap_variable(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                value;
    ngx_tailnet_identity_t  *identity;

    identity = ngx_http_tailnet_identity(r);

    if (identity == NULL) {
        return NGX_ERROR;
    }

    ngx_tailnet_identity_cap(identity, (ngx_str_t *) data, &value);
    ngx_http_tailnet_value(v, &value);

    return NGX_OK;
}


static ngx_int_t
ngx_http_tailnet_destination(ngx_http_request_t *r,
    ngx_http_variable_value_t *v, uintptr_t data)
{
    ngx_str_t  value;

    if (ngx_tailnet_destination(r->connection, r->pool, &value)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_tailnet_value(v, &value);

    return NGX_OK;
}


static void
ngx_http_tailnet_value(ngx_http_variable_value_t *v, ngx_str_t *value)
{
    v->len = value->len;
    v->data = value->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = (value->len == 0);
}


char *
ngx_http_tailnet_capability(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t            *value, *name;
    ngx_http_variable_t  *var;

    value = cf->args->elts;

    if (value[1].data[0] != '$' || value[1].len < 2) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid variable name \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    if (value[2].len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "empty capability in \"tailnet_capability\"");
        return NGX_CONF_ERROR;
    }

    value[1].data++;
    value[1].len--;

    var = ngx_http_add_variable(cf, &value[1], NGX_HTTP_VAR_CHANGEABLE);
    if (var == NULL) {
        return NGX_CONF_ERROR;
    }

    name = ngx_palloc(cf->pool, sizeof(ngx_str_t));
    if (name == NULL) {
        return NGX_CONF_ERROR;
    }

    *name = value[2];

    var->get_handler = ngx_http_tailnet_cap_variable;
    var->data = (uintptr_t) name;

    return NGX_CONF_OK;
}


char *
ngx_http_tailnet_allow(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_http_tailnet_loc_conf_t *tlcf = conf;

    return ngx_tailnet_rule(cf, &tlcf->rules, cmd->name.data[8] == 'd');
}


/* before anything can have looked at a header */

static ngx_int_t
ngx_http_tailnet_post_read(ngx_http_request_t *r)
{
    ngx_http_tailnet_srv_conf_t  *tscf;

    tscf = ngx_http_get_module_srv_conf(r, ngx_http_tailnet_module);

    if (!tscf->headers) {
        return NGX_DECLINED;
    }

    return ngx_http_tailnet_headers(r) == NGX_OK
           ? NGX_DECLINED : NGX_HTTP_INTERNAL_SERVER_ERROR;
}


/*
 * A request that nginx refuses before its phases, as one without a host or a
 * client's certificate, begins with that of its error page: in a named
 * location with NGX_HTTP_REWRITE_PHASE.
 */

static ngx_int_t
ngx_http_tailnet_redirected(ngx_http_request_t *r)
{
    if (!r->internal || r != r->main) {
        return NGX_DECLINED;
    }

    return ngx_http_tailnet_post_read(r);
}


static ngx_int_t
ngx_http_tailnet_access(ngx_http_request_t *r)
{
    ngx_int_t                     rc;
    ngx_tailnet_identity_t       *identity;
    ngx_http_core_loc_conf_t     *clcf;
    ngx_http_tailnet_loc_conf_t  *tlcf;

    tlcf = ngx_http_get_module_loc_conf(r, ngx_http_tailnet_module);

    if (tlcf->rules == NULL) {
        return NGX_DECLINED;
    }

    identity = ngx_http_tailnet_identity(r);

    if (identity == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_tailnet_rules_check(tlcf->rules, identity, r->connection->log);

    if (rc != NGX_ABORT) {
        return rc;
    }

    clcf = ngx_http_get_module_loc_conf(r, ngx_http_core_module);

    if (clcf->satisfy == NGX_HTTP_SATISFY_ALL) {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "access forbidden by tailnet rule, peer: \"%V\", "
                      "user: \"%V\"", &identity->peer[TN_SNAPSHOT_FQDN],
                      &identity->peer[TN_SNAPSHOT_LOGIN]);
    }

    return NGX_HTTP_FORBIDDEN;
}
