
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The core module: the directives, and what the other parts need to stand in
 * for handlers of stock directives.
 */

#include "ngx_tailnet_cert.h"


static void *ngx_tailnet_create_conf(ngx_cycle_t *cycle);
static char *ngx_tailnet_core(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


static ngx_command_t  ngx_tailnet_commands[] = {

    { ngx_string("tailnet"),
      NGX_MAIN_CONF|NGX_DIRECT_CONF|NGX_CONF_BLOCK|NGX_CONF_NOARGS
                   |NGX_CONF_TAKE1,
      ngx_tailnet_block,
      0,
      0,
      NULL },

    { ngx_string("tailnet_core"),
      NGX_MAIN_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_tailnet_core,
      0,
      0,
      NULL },

    { ngx_string("control_url"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_tailnet_control_url,
      0,
      0,
      NULL },

    { ngx_string("auth_key"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE12,
      ngx_tailnet_auth_key,
      0,
      0,
      NULL },

    { ngx_string("hostname"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_tailnet_hostname,
      0,
      0,
      NULL },

    { ngx_string("state"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_tailnet_state,
      0,
      0,
      NULL },

    { ngx_string("tags"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_1MORE,
      ngx_tailnet_tags,
      0,
      0,
      NULL },

    { ngx_string("ephemeral"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_tailnet_node_t, ephemeral),
      NULL },

    { ngx_string("shields_up"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_tailnet_node_t, shields_up),
      NULL },

    { ngx_string("port"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_tailnet_port,
      0,
      0,
      NULL },

    { ngx_string("peer_relay_port"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_tailnet_relay_port,
      0,
      0,
      NULL },

    { ngx_string("proxy"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_tailnet_proxy,
      0,
      0,
      NULL },

    { ngx_string("port_mapping"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_tailnet_node_t, port_mapping),
      NULL },

    { ngx_string("static_endpoints"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_1MORE,
      ngx_tailnet_endpoints,
      0,
      0,
      NULL },

    { ngx_string("advertise_routes"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_1MORE,
      ngx_tailnet_routes,
      0,
      0,
      NULL },

    { ngx_string("advertise_exit_node"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_tailnet_node_t, be_exit_node),
      NULL },

    { ngx_string("exit_node"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_tailnet_exit_node,
      0,
      0,
      NULL },

    { ngx_string("stack"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_tailnet_stack,
      0,
      0,
      NULL },

    { ngx_string("accept_routes"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_FLAG,
      ngx_conf_set_flag_slot,
      0,
      offsetof(ngx_tailnet_node_t, accept_routes),
      NULL },

    { ngx_string("funnel_domains"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_1MORE,
      ngx_tailnet_funnel_domains,
      0,
      0,
      NULL },

    { ngx_string("acme_directory"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_tailnet_acme_directory,
      0,
      0,
      NULL },

    { ngx_string("tls_trusted_certificate"),
      NGX_TAILNET_CONF|NGX_DIRECT_CONF|NGX_CONF_TAKE1,
      ngx_tailnet_certificate,
      0,
      0,
      NULL },

      ngx_null_command
};


static ngx_core_module_t  ngx_tailnet_module_ctx = {
    ngx_string("tailnet"),
    ngx_tailnet_create_conf,
    NULL
};


ngx_module_t  ngx_tailnet_module = {
    NGX_MODULE_V1,
    &ngx_tailnet_module_ctx,               /* module context */
    ngx_tailnet_commands,                  /* module directives */
    NGX_CORE_MODULE,                       /* module type */
    NULL,                                  /* init master */
    ngx_tailnet_init_module,               /* init module */
    NULL,                                  /* init process */
    NULL,                                  /* init thread */
    NULL,                                  /* exit thread */
    ngx_tailnet_exit_process,              /* exit process */
    ngx_tailnet_exit_master,               /* exit master */
    NGX_MODULE_V1_PADDING
};


ngx_tailnet_conf_t *
ngx_tailnet_get_conf(ngx_cycle_t *cycle)
{
    ngx_uint_t  i;

    /*
     * An object that was unloaded from the configuration stays in memory,
     * and its index may be another module's by then.
     */

    if (cycle->modules == NULL || cycle->conf_ctx == NULL) {
        return NULL;
    }

    for (i = 0; cycle->modules[i]; i++) {
        if (cycle->modules[i] == &ngx_tailnet_module) {
            return (ngx_tailnet_conf_t *)
                       cycle->conf_ctx[ngx_tailnet_module.index];
        }
    }

    return NULL;
}


ngx_tailnet_set_pt
ngx_tailnet_wrap(ngx_module_t *module, char *name, ngx_tailnet_set_pt set)
{
    ngx_command_t       *cmd;
    ngx_tailnet_set_pt   previous;

    for (cmd = module->commands; cmd->name.len; cmd++) {

        if (ngx_strcmp(cmd->name.data, name) == 0) {
            previous = cmd->set;
            cmd->set = set;

            return previous;
        }
    }

    return NULL;
}


ngx_tailnet_set_pt
ngx_tailnet_wrap_named(char *module, char *name, ngx_tailnet_set_pt set)
{
    ngx_uint_t  i;

    for (i = 0; ngx_module_names[i]; i++) {

        if (ngx_strcmp(ngx_module_names[i], module) == 0) {
            return ngx_tailnet_wrap(ngx_modules[i], name, set);
        }
    }

    return NULL;
}


char *
ngx_tailnet_call(ngx_conf_t *cf, ngx_command_t *cmd, void *conf,
    ngx_tailnet_set_pt set, ngx_str_t *first, ngx_str_t *skip,
    ngx_str_t *skip2)
{
    char         *rv;
    ngx_str_t    *value, *arg;
    ngx_uint_t    i;
    ngx_array_t  *saved, *args;

    saved = cf->args;
    value = saved->elts;

    args = ngx_array_create(cf->pool, saved->nelts, sizeof(ngx_str_t));
    if (args == NULL) {
        return NGX_CONF_ERROR;
    }

    for (i = 0; i < saved->nelts; i++) {

        if (&value[i] == skip || &value[i] == skip2) {
            continue;
        }

        arg = ngx_array_push(args);
        if (arg == NULL) {
            return NGX_CONF_ERROR;
        }

        *arg = (i == 1) ? *first : value[i];
    }

    cf->args = args;

    rv = set(cf, cmd, conf);

    cf->args = saved;

    return rv;
}


static void *
ngx_tailnet_create_conf(ngx_cycle_t *cycle)
{
    ngx_tailnet_conf_t  *tcf;

    tcf = ngx_pcalloc(cycle->pool, sizeof(ngx_tailnet_conf_t));
    if (tcf == NULL) {
        return NULL;
    }

    tcf->cycle = cycle;

    if (ngx_array_init(&tcf->nodes, cycle->pool, 1,
                       sizeof(ngx_tailnet_node_t *))
        != NGX_OK
        || ngx_array_init(&tcf->listens, cycle->pool, 4,
                          sizeof(ngx_tailnet_listen_t))
           != NGX_OK
        || ngx_array_init(&tcf->targets, cycle->pool, 4,
                          sizeof(ngx_tailnet_target_t))
           != NGX_OK
        || ngx_array_init(&tcf->stocks, cycle->pool, 1,
                          sizeof(ngx_tailnet_stock_t *))
           != NGX_OK
        || ngx_array_init(&tcf->servings, cycle->pool, 1,
                          sizeof(ngx_tailnet_serving_t *))
           != NGX_OK
        || ngx_array_init(&tcf->layouts, cycle->pool, 1,
                          sizeof(ngx_listening_t *))
           != NGX_OK
        || ngx_array_init(&tcf->groups, cycle->pool, 1,
                          sizeof(ngx_tailnet_group_t))
           != NGX_OK
        || ngx_array_init(&tcf->contexts, cycle->pool, 4,
                          sizeof(SSL_CTX *))
           != NGX_OK
        || ngx_array_init(&tcf->opened, cycle->pool, 4,
                          sizeof(ngx_tailnet_opened_t))
           != NGX_OK)
    {
        return NULL;
    }

    return tcf;
}


static char *
ngx_tailnet_core(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_conf_t *tcf = conf;

    ngx_str_t  *value;

    if (tcf->core.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "has an empty path";
    }

    tcf->core = value[1];

    if (ngx_conf_full_name(cf->cycle, &tcf->core, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}
