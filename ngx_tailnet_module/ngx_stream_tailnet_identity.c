
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * stream: variables of who is calling, and rules about it.
 */

#include "ngx_stream_tailnet.h"


static ngx_tailnet_identity_t *ngx_stream_tailnet_identity(
    ngx_stream_session_t *s);
static ngx_int_t ngx_stream_tailnet_variable(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_stream_tailnet_destination(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static ngx_int_t ngx_stream_tailnet_cap_variable(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data);
static void ngx_stream_tailnet_value(ngx_stream_variable_value_t *v,
    ngx_str_t *value);
static ngx_int_t ngx_stream_tailnet_access(ngx_stream_session_t *s);


ngx_int_t
ngx_stream_tailnet_add_variables(ngx_conf_t *cf)
{
    ngx_tailnet_var_t      *tv;
    ngx_stream_variable_t  *var;

    static ngx_str_t  destination = ngx_string("tailnet_destination");

    for (tv = ngx_tailnet_vars; tv->name.len; tv++) {

        var = ngx_stream_add_variable(cf, &tv->name, 0);
        if (var == NULL) {
            return NGX_ERROR;
        }

        var->get_handler = ngx_stream_tailnet_variable;
        var->data = tv->var;
    }

    var = ngx_stream_add_variable(cf, &destination, 0);
    if (var == NULL) {
        return NGX_ERROR;
    }

    var->get_handler = ngx_stream_tailnet_destination;

    return NGX_OK;
}


ngx_int_t
ngx_stream_tailnet_identity_init(ngx_conf_t *cf)
{
    ngx_stream_handler_pt        *h;
    ngx_stream_core_main_conf_t  *cmcf;

    cmcf = ngx_stream_conf_get_module_main_conf(cf, ngx_stream_core_module);

    h = ngx_array_push(&cmcf->phases[NGX_STREAM_ACCESS_PHASE].handlers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    *h = ngx_stream_tailnet_access;

    return NGX_OK;
}


/* one look-up for a session, NULL when out of memory */

static ngx_tailnet_identity_t *
ngx_stream_tailnet_identity(ngx_stream_session_t *s)
{
    ngx_tailnet_identity_t  *identity;

    identity = ngx_stream_get_module_ctx(s, ngx_stream_tailnet_module);

    if (identity == NULL) {
        identity = ngx_tailnet_identity(s->connection, s->connection->pool);

        if (identity) {
            ngx_stream_set_ctx(s, identity, ngx_stream_tailnet_module);
        }
    }

    return identity;
}


static ngx_int_t
ngx_stream_tailnet_variable(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                value;
    ngx_tailnet_identity_t  *identity;

    identity = ngx_stream_tailnet_identity(s);

    if (identity == NULL
        || ngx_tailnet_identity_var(identity, data, s->connection->pool,
                                    &value)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_stream_tailnet_value(v, &value);

    return NGX_OK;
}


static ngx_int_t
ngx_stream_tailnet_cap_variable(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_str_t                value;
    ngx_tailnet_identity_t  *identity;

    identity = ngx_stream_tailnet_identity(s);

    if (identity == NULL) {
        return NGX_ERROR;
    }

    ngx_tailnet_identity_cap(identity, (ngx_str_t *) data, &value);
    ngx_stream_tailnet_value(v, &value);

    return NGX_OK;
}


static ngx_int_t
ngx_stream_tailnet_destination(ngx_stream_session_t *s,
    ngx_stream_variable_value_t *v, uintptr_t data)
{
    ngx_str_t  value;

    if (ngx_tailnet_destination(s->connection, s->connection->pool, &value)
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_stream_tailnet_value(v, &value);

    return NGX_OK;
}


static void
ngx_stream_tailnet_value(ngx_stream_variable_value_t *v, ngx_str_t *value)
{
    v->len = value->len;
    v->data = value->data;
    v->valid = 1;
    v->no_cacheable = 0;
    v->not_found = (value->len == 0);
}


char *
ngx_stream_tailnet_capability(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_str_t              *value, *name;
    ngx_stream_variable_t  *var;

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

    var = ngx_stream_add_variable(cf, &value[1], NGX_STREAM_VAR_CHANGEABLE);
    if (var == NULL) {
        return NGX_CONF_ERROR;
    }

    name = ngx_palloc(cf->pool, sizeof(ngx_str_t));
    if (name == NULL) {
        return NGX_CONF_ERROR;
    }

    *name = value[2];

    var->get_handler = ngx_stream_tailnet_cap_variable;
    var->data = (uintptr_t) name;

    return NGX_CONF_OK;
}


char *
ngx_stream_tailnet_allow(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_stream_tailnet_srv_conf_t *tscf = conf;

    return ngx_tailnet_rule(cf, &tscf->rules, cmd->name.data[8] == 'd');
}


static ngx_int_t
ngx_stream_tailnet_access(ngx_stream_session_t *s)
{
    ngx_int_t                       rc;
    ngx_tailnet_identity_t         *identity;
    ngx_stream_tailnet_srv_conf_t  *tscf;

    tscf = ngx_stream_get_module_srv_conf(s, ngx_stream_tailnet_module);

    if (tscf->rules == NULL) {
        return NGX_DECLINED;
    }

    identity = ngx_stream_tailnet_identity(s);

    if (identity == NULL) {
        return NGX_ERROR;
    }

    rc = ngx_tailnet_rules_check(tscf->rules, identity, s->connection->log);

    /* with NGX_OK nobody else would be asked, not even "deny" */

    if (rc != NGX_ABORT) {
        return NGX_DECLINED;
    }

    ngx_log_error(NGX_LOG_ERR, s->connection->log, 0,
                  "access forbidden by tailnet rule, peer: \"%V\", "
                  "user: \"%V\"", &identity->peer[TN_SNAPSHOT_FQDN],
                  &identity->peer[TN_SNAPSHOT_LOGIN]);

    return NGX_STREAM_FORBIDDEN;
}
