
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The block tailnet {}: its directives and what is checked at configuration
 * time.  Nothing here writes anywhere or starts anything.  No message shows
 * an auth key.
 */

#include "ngx_tailnet.h"

#include "proc/tn_super.h"

#include <openssl/err.h>
#include <openssl/pem.h>


#define NGX_TAILNET_CONTROL_URL  "https://controlplane.tailscale.com"
#define NGX_TAILNET_STATE        "/var/lib/nginx/tailnet/"
#define NGX_TAILNET_AUTH_KEY     "TS_AUTHKEY"

#define NGX_TAILNET_LABEL_LEN    63


static ngx_tailnet_node_t *ngx_tailnet_find(ngx_tailnet_conf_t *tcf,
    ngx_str_t *name);
static ngx_int_t ngx_tailnet_add_zone(ngx_conf_t *cf, ngx_tailnet_conf_t *tcf);
static ngx_int_t ngx_tailnet_init_node(ngx_conf_t *cf,
    ngx_tailnet_conf_t *tcf, ngx_tailnet_node_t *node);
static ngx_int_t ngx_tailnet_check_state(ngx_conf_t *cf,
    ngx_tailnet_conf_t *tcf, ngx_tailnet_node_t *node);
static char *ngx_tailnet_identity_token(ngx_conf_t *cf,
    ngx_tailnet_node_t *node);
static char *ngx_tailnet_any_key(ngx_conf_t *cf, ngx_str_t *value,
    ngx_str_t *key);
static ngx_int_t ngx_tailnet_read_key(ngx_conf_t *cf, ngx_str_t *path,
    ngx_str_t *key);
static ngx_int_t ngx_tailnet_env_key(ngx_conf_t *cf, char *name,
    ngx_str_t *key);
static char *ngx_tailnet_set_port(ngx_conf_t *cf, ngx_command_t *cmd,
    ngx_int_t *port, ngx_int_t least);
static ngx_int_t ngx_tailnet_check_authority(ngx_str_t *authority);


char *
ngx_tailnet_block(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_conf_t *tcf = conf;

    void                **ctx;
    char                 *rv;
    ngx_str_t            *value;
    ngx_conf_t            save;
    ngx_tailnet_node_t   *node, **np;

    node = ngx_pcalloc(cf->pool, sizeof(ngx_tailnet_node_t));
    if (node == NULL) {
        return NGX_CONF_ERROR;
    }

    node->ephemeral = NGX_CONF_UNSET;
    node->shields_up = NGX_CONF_UNSET;
    node->accept_routes = NGX_CONF_UNSET;
    node->port_mapping = NGX_CONF_UNSET;
    node->be_exit_node = NGX_CONF_UNSET;
    node->port = NGX_CONF_UNSET;
    node->relay_port = NGX_CONF_UNSET;
    node->stack = NGX_CONF_UNSET_UINT;

    ngx_str_set(&node->name, "default");

    if (cf->args->nelts == 2) {
        value = cf->args->elts;
        node->name = value[1];

        if (node->name.len >= TN_IPC_NAME
            || !ngx_tailnet_is_word(node->name.data, node->name.len, "_-"))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid name \"%V\" of \"tailnet\", letters, "
                               "digits, \"_\" and \"-\" expected",
                               &node->name);
            return NGX_CONF_ERROR;
        }
    }

    if (ngx_tailnet_find(tcf, &node->name) != NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "duplicate tailnet \"%V\"",
                           &node->name);
        return NGX_CONF_ERROR;
    }

    if (tcf->nodes.nelts == TN_SUPER_NODES) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "more than %d \"tailnet\" blocks", TN_SUPER_NODES);
        return NGX_CONF_ERROR;
    }

    if (tcf->listens.nelts || tcf->targets.nelts) {

        /* "tailnet" without a name was resolved with the blocks before it */

        return "must stand before the listeners and servers that use it";
    }

    /*
     * The block is not yet in the list while it is read, so that what it is
     * compared with are the others.
     */

    ctx = ngx_pcalloc(cf->temp_pool, (cf->cycle->modules_n + 1)
                                     * sizeof(void *));
    if (ctx == NULL) {
        return NGX_CONF_ERROR;
    }

    ctx[ngx_tailnet_module.index] = node;

    save = *cf;

    cf->ctx = ctx;
    cf->module_type = NGX_CORE_MODULE;
    cf->cmd_type = NGX_TAILNET_CONF;

    rv = ngx_conf_parse(cf, NULL);

    *cf = save;

    if (rv != NGX_CONF_OK) {
        return rv;
    }

    if (ngx_tailnet_init_node(cf, tcf, node) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (tcf->nodes.nelts == 0 && ngx_tailnet_add_zone(cf, tcf) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    np = ngx_array_push(&tcf->nodes);
    if (np == NULL) {
        return NGX_CONF_ERROR;
    }

    *np = node;

    return NGX_CONF_OK;
}


static ngx_tailnet_node_t *
ngx_tailnet_find(ngx_tailnet_conf_t *tcf, ngx_str_t *name)
{
    ngx_uint_t            i;
    ngx_tailnet_node_t  **node;

    node = tcf->nodes.elts;

    for (i = 0; i < tcf->nodes.nelts; i++) {

        if (node[i]->name.len == name->len
            && ngx_strncmp(node[i]->name.data, name->data, name->len) == 0)
        {
            return node[i];
        }
    }

    return NULL;
}


/*
 * The zone's init callback is the one moment in a cycle after the logs are
 * open and before sockets are, and does not come in "nginx -s".
 */

static ngx_int_t
ngx_tailnet_add_zone(ngx_conf_t *cf, ngx_tailnet_conf_t *tcf)
{
    ngx_shm_zone_t    *zone;
    static ngx_str_t   name = ngx_string("ngx_tailnet");

    zone = ngx_shared_memory_add(cf, &name, 8 * ngx_pagesize,
                                 &ngx_tailnet_module);
    if (zone == NULL) {
        return NGX_ERROR;
    }

    zone->init = ngx_tailnet_init_zone;
    zone->data = tcf;

    return NGX_OK;
}


static ngx_int_t
ngx_tailnet_init_node(ngx_conf_t *cf, ngx_tailnet_conf_t *tcf,
    ngx_tailnet_node_t *node)
{
    u_char  *p;

    ngx_conf_init_value(node->ephemeral, 0);
    ngx_conf_init_value(node->shields_up, 0);
    ngx_conf_init_value(node->accept_routes, 0);
    ngx_conf_init_value(node->port_mapping, 1);
    ngx_conf_init_value(node->be_exit_node, 0);
    ngx_conf_init_value(node->port, 0);
    ngx_conf_init_value(node->relay_port, 0);
    ngx_conf_init_uint_value(node->stack, TN_IPC_STACK_AUTO);

    if (node->be_exit_node) {
        ngx_tailnet_route_exit(node);
    }

    if (node->relay_port != 0 && node->relay_port == node->port) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"peer_relay_port\" of tailnet \"%V\" is its "
                           "\"port\"", &node->name);
        return NGX_ERROR;
    }

    if (node->control_url.data == NULL) {
        ngx_str_set(&node->control_url, NGX_TAILNET_CONTROL_URL);
    }

    if (node->auth_key.data == NULL
        && ngx_tailnet_env_key(cf, NGX_TAILNET_AUTH_KEY, &node->auth_key)
           == NGX_ERROR)
    {
        return NGX_ERROR;
    }

    if (node->state.data) {
        return NGX_OK;
    }

    node->state.len = sizeof(NGX_TAILNET_STATE) - 1 + node->name.len;

    node->state.data = ngx_pnalloc(cf->pool, node->state.len + 1);
    if (node->state.data == NULL) {
        return NGX_ERROR;
    }

    p = ngx_cpymem(node->state.data, NGX_TAILNET_STATE,
                   sizeof(NGX_TAILNET_STATE) - 1);
    p = ngx_cpymem(p, node->name.data, node->name.len);
    *p = '\0';

    return ngx_tailnet_check_state(cf, tcf, node);
}


static ngx_int_t
ngx_tailnet_check_state(ngx_conf_t *cf, ngx_tailnet_conf_t *tcf,
    ngx_tailnet_node_t *node)
{
    ngx_uint_t            i;
    ngx_tailnet_node_t  **other;

    other = tcf->nodes.elts;

    for (i = 0; i < tcf->nodes.nelts; i++) {

        if (other[i]->state.len == node->state.len
            && ngx_strncmp(other[i]->state.data, node->state.data,
                           node->state.len)
               == 0)
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "\"state\" directory \"%V\" of tailnet \"%V\" "
                               "is that of tailnet \"%V\" already",
                               &node->state, &node->name, &other[i]->name);
            return NGX_ERROR;
        }
    }

    return NGX_OK;
}


char *
ngx_tailnet_control_url(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    ngx_str_t  *value, url;

    if (node->control_url.data) {
        return "is duplicate";
    }

    value = cf->args->elts;
    url = value[1];

    if (url.len > 8 && ngx_strncmp(url.data, "https://", 8) == 0) {
        url.data += 8;
        url.len -= 8;

    } else if (url.len > 7 && ngx_strncmp(url.data, "http://", 7) == 0) {
        url.data += 7;
        url.len -= 7;

    } else {
        goto invalid;
    }

    node->control_url = value[1];

    if (url.data[url.len - 1] == '/') {
        url.len--;
        node->control_url.len--;
    }

    if (ngx_tailnet_check_authority(&url) != NGX_OK
        || node->control_url.len >= TN_IPC_URL)
    {
        goto invalid;
    }

    return NGX_CONF_OK;

invalid:

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid \"control_url\" \"%V\", "
                       "\"https://host[:port]\" expected", &value[1]);

    return NGX_CONF_ERROR;
}


static ngx_int_t
ngx_tailnet_check_authority(ngx_str_t *authority)
{
    u_char     *p, *last, *host;
    tn_ip_t     ip;
    ngx_int_t   port;

    p = authority->data;
    last = p + authority->len;

    if (p == last) {
        return NGX_ERROR;
    }

    if (*p == '[') {
        host = p + 1;

        p = ngx_strlchr(host, last, ']');
        if (p == NULL
            || tn_ip_parse(&ip, (char *) host, p - host) != TN_OK
            || tn_ip_is_v4(&ip))
        {
            return NGX_ERROR;
        }

        p++;

    } else {
        host = p;

        p = ngx_strlchr(host, last, ':');
        if (p == NULL) {
            p = last;
        }

        if (!ngx_tailnet_is_word(host, p - host, ".-_")) {
            return NGX_ERROR;
        }
    }

    if (p == last) {
        return NGX_OK;
    }

    if (*p++ != ':') {
        return NGX_ERROR;
    }

    port = ngx_atoi(p, last - p);

    return (port >= 1 && port <= 65535) ? NGX_OK : NGX_ERROR;
}


char *
ngx_tailnet_auth_key(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    ngx_str_t  *value;

    if (node->auth_key.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts == 2) {
        return ngx_tailnet_any_key(cf, &value[1], &node->auth_key);
    }

    return ngx_tailnet_identity_token(cf, node);
}


/* a token of who this is, for the client of this ID */
static char *
ngx_tailnet_identity_token(ngx_conf_t *cf, ngx_tailnet_node_t *node)
{
    char       *rc;
    u_char     *p;
    ngx_str_t  *value, id, token;

    value = cf->args->elts;

    if (ngx_strncmp(value[2].data, "client_id=", 10) != 0) {
        return "has an invalid parameter: only \"client_id=ID\" is one";
    }

    id.data = value[2].data + 10;
    id.len = value[2].len - 10;

    if (!tn_ipc_is_key(id.data, id.len)) {
        return "has no ID in \"client_id\"";
    }

    rc = ngx_tailnet_any_key(cf, &value[1], &token);

    if (rc != NGX_CONF_OK) {
        return rc;
    }

    if (token.len == 0) {
        node->auth_key = token;
        return NGX_CONF_OK;
    }

    p = ngx_pnalloc(cf->pool, 5 + id.len + token.len);
    if (p == NULL) {
        return NGX_CONF_ERROR;
    }

    node->auth_key.data = p;
    node->auth_key.len = ngx_sprintf(p, "wif:%V#%V", &id, &token) - p;

    ngx_explicit_memzero(token.data, token.len);

    return tn_ipc_is_key(node->auth_key.data, node->auth_key.len)
           ? NGX_CONF_OK : "is too long";
}


static char *
ngx_tailnet_any_key(ngx_conf_t *cf, ngx_str_t *value, ngx_str_t *key)
{
    ngx_int_t  rc;
    ngx_str_t  path;

    if (ngx_strncmp(value->data, "file:", 5) == 0) {

        path.data = value->data + 5;
        path.len = value->len - 5;

        if (path.len == 0) {
            return "has an empty path";
        }

        if (ngx_conf_full_name(cf->cycle, &path, 1) != NGX_OK
            || ngx_tailnet_read_key(cf, &path, key) != NGX_OK)
        {
            return NGX_CONF_ERROR;
        }

        return NGX_CONF_OK;
    }

    if (ngx_strncmp(value->data, "env:", 4) == 0) {

        if (value->len == 4) {
            return "has an empty name";
        }

        rc = ngx_tailnet_env_key(cf, (char *) value->data + 4, key);
        if (rc == NGX_ERROR) {
            return NGX_CONF_ERROR;
        }

        if (rc == NGX_DECLINED) {

            /* a node that has joined before needs none, so no more than */

            ngx_conf_log_error(NGX_LOG_WARN, cf, 0,
                               "environment variable \"%s\" of \"auth_key\" "
                               "is not set", value->data + 4);

            ngx_str_set(key, "");
        }

        return NGX_CONF_OK;
    }

    /* no control server's keys begin so, and it would be asked in vain */

    if (value->data[0] == '/' || !tn_ipc_is_key(value->data, value->len)) {
        return "is not a key, \"file:PATH\" or \"env:NAME\"";
    }

    *key = *value;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_tailnet_read_key(ngx_conf_t *cf, ngx_str_t *path, ngx_str_t *key)
{
    u_char    *buf;
    size_t     size;
    ssize_t    n;
    ngx_fd_t   fd;

    /* some room for white space around the key */
    size = TN_IPC_KEY + 64;

    buf = ngx_pnalloc(cf->pool, size);
    if (buf == NULL) {
        return NGX_ERROR;
    }

    fd = ngx_open_file(path->data, NGX_FILE_RDONLY, NGX_FILE_OPEN, 0);

    if (fd == NGX_INVALID_FILE) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "cannot open \"auth_key\" file \"%V\"", path);
        return NGX_ERROR;
    }

    n = ngx_read_fd(fd, buf, size);

    if (n == -1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, ngx_errno,
                           "cannot read \"auth_key\" file \"%V\"", path);
    }

    if (ngx_close_file(fd) == NGX_FILE_ERROR) {
        ngx_conf_log_error(NGX_LOG_ALERT, cf, ngx_errno,
                           ngx_close_file_n " \"%V\" failed", path);
    }

    if (n == -1) {
        return NGX_ERROR;
    }

    key->data = buf;
    key->len = n;

    while (key->len && key->data[key->len - 1] <= ' ') {
        key->len--;
    }

    while (key->len && key->data[0] <= ' ') {
        key->data++;
        key->len--;
    }

    if (!tn_ipc_is_key(key->data, key->len)) {
        ngx_explicit_memzero(buf, size);

        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "there is no key in \"auth_key\" file \"%V\"",
                           path);
        return NGX_ERROR;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_tailnet_env_key(ngx_conf_t *cf, char *name, ngx_str_t *key)
{
    char       *env;
    ngx_str_t   value;

    env = getenv(name);

    if (env == NULL || *env == '\0') {
        return NGX_DECLINED;
    }

    value.data = (u_char *) env;
    value.len = ngx_strlen(env);

    if (!tn_ipc_is_key(value.data, value.len)) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "there is no key in environment variable \"%s\" of "
                           "\"auth_key\"", name);
        return NGX_ERROR;
    }

    key->data = ngx_pstrdup(cf->pool, &value);
    if (key->data == NULL) {
        return NGX_ERROR;
    }

    key->len = value.len;

    return NGX_OK;
}

char *
ngx_tailnet_hostname(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    ngx_str_t  *value;

    if (node->hostname.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len > NGX_TAILNET_LABEL_LEN
        || !ngx_tailnet_is_word(value[1].data, value[1].len, "-")
        || value[1].data[0] == '-'
        || value[1].data[value[1].len - 1] == '-')
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"hostname\" \"%V\", "
                           "one DNS label expected", &value[1]);
        return NGX_CONF_ERROR;
    }

    node->hostname = value[1];

    return NGX_CONF_OK;
}


char *
ngx_tailnet_state(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    ngx_str_t           *value;
    ngx_tailnet_conf_t  *tcf;

    if (node->state.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "has an empty path";
    }

    node->state = value[1];

    if (ngx_conf_full_name(cf->cycle, &node->state, 0) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    while (node->state.len > 1
           && node->state.data[node->state.len - 1] == '/')
    {
        node->state.data[--node->state.len] = '\0';
    }

    if (node->state.len >= TN_IPC_PATH) {
        return "has too long a path";
    }

    if (node->state.len == 1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"state\" directory \"%V\"", &value[1]);
        return NGX_CONF_ERROR;
    }

    tcf = ngx_tailnet_get_conf(cf->cycle);

    if (ngx_tailnet_check_state(cf, tcf, node) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_tailnet_tags(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    ngx_str_t   *value;
    ngx_uint_t   i;

    if (node->tags.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        if (value[i].len < sizeof("tag:a") - 1
            || ngx_strncmp(value[i].data, "tag:", 4) != 0
            || !ngx_tailnet_is_word(value[i].data + 4, value[i].len - 4, "-")
            || !ngx_tailnet_is_word(value[i].data + 4, 1, "")
            || (value[i].data[4] >= '0' && value[i].data[4] <= '9'))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid tag \"%V\" in \"tags\", "
                               "\"tag:name\" expected", &value[i]);
            return NGX_CONF_ERROR;
        }
    }

    return ngx_tailnet_join(cf, &node->tags);
}


char *
ngx_tailnet_join(ngx_conf_t *cf, ngx_str_t *list)
{
    u_char      *p;
    size_t       len;
    ngx_str_t   *value;
    ngx_uint_t   i;

    value = cf->args->elts;
    len = 0;

    for (i = 1; i < cf->args->nelts; i++) {
        len += value[i].len + 1;
    }

    if (len > TN_IPC_TAGS) {
        return "is too long";
    }

    list->data = ngx_pnalloc(cf->pool, len);
    if (list->data == NULL) {
        return NGX_CONF_ERROR;
    }

    p = list->data;

    for (i = 1; i < cf->args->nelts; i++) {
        p = ngx_cpymem(p, value[i].data, value[i].len);
        *p++ = ',';
    }

    list->len = len - 1;

    return NGX_CONF_OK;
}


char *
ngx_tailnet_port(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    return ngx_tailnet_set_port(cf, cmd, &node->port, 0);
}


char *
ngx_tailnet_relay_port(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    return ngx_tailnet_set_port(cf, cmd, &node->relay_port, 1);
}


static char *
ngx_tailnet_set_port(ngx_conf_t *cf, ngx_command_t *cmd, ngx_int_t *port,
    ngx_int_t least)
{
    ngx_str_t  *value;

    if (*port != NGX_CONF_UNSET) {
        return "is duplicate";
    }

    value = cf->args->elts;

    *port = ngx_atoi(value[1].data, value[1].len);

    if (*port < least || *port > 65535) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"%V\" \"%V\", %i to 65535 expected",
                           &cmd->name, &value[1], least);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


/* the URL is not shown: it may hold a password */

char *
ngx_tailnet_proxy(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    tn_rc_t      rc;
    ngx_str_t   *value;
    tn_proxy_t   proxy;
    const char  *why;

    if (node->proxy.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "off") != 0) {
        why = "too long";
        rc = TN_MALFORMED;

        if (value[1].len < TN_IPC_PROXY) {
            rc = tn_proxy_parse(&proxy, (char *) value[1].data, value[1].len,
                                false, &why);
            ngx_explicit_memzero(&proxy, sizeof(tn_proxy_t));
        }

        if (rc != TN_OK) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid URL in \"proxy\": %s", why);
            return NGX_CONF_ERROR;
        }
    }

    node->proxy = value[1];

    return NGX_CONF_OK;
}


char *
ngx_tailnet_endpoints(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    ngx_str_t   *value;
    tn_addr_t    addr;
    ngx_uint_t   i;

    if (node->nendpoints != 0) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (cf->args->nelts - 1 > TN_IPC_STATIC) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "more than %d addresses in \"static_endpoints\"",
                           TN_IPC_STATIC);
        return NGX_CONF_ERROR;
    }

    ngx_memzero(&addr, sizeof(tn_addr_t));

    for (i = 1; i < cf->args->nelts; i++) {

        if (tn_addr_parse(&addr, (char *) value[i].data, value[i].len)
            != TN_OK
            || addr.port == 0 || tn_ip_is_none(&addr.ip)
            || tn_ip_is_loopback(&addr.ip) || tn_ip_is_multicast(&addr.ip)
            || tn_ip_is_tailscale(&addr.ip))
        {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "invalid address \"%V\" in "
                               "\"static_endpoints\", \"ip:port\" of this "
                               "machine or its router expected", &value[i]);
            return NGX_CONF_ERROR;
        }

        node->endpoints[node->nendpoints++] = addr;
    }

    return NGX_CONF_OK;
}


char *
ngx_tailnet_stack(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    ngx_str_t  *value;

    if (node->stack != NGX_CONF_UNSET_UINT) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, "auto") == 0) {
        node->stack = TN_IPC_STACK_AUTO;

    } else if (ngx_strcmp(value[1].data, "kernel") == 0) {
        node->stack = TN_IPC_STACK_KERNEL;

    } else if (ngx_strcmp(value[1].data, "lwip") == 0) {
        node->stack = TN_IPC_STACK_LWIP;

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"stack\" \"%V\", "
                           "\"auto\", \"kernel\" or \"lwip\" expected",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    return NGX_CONF_OK;
}


char *
ngx_tailnet_certificate(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    BIO        *bio;
    X509       *x509;
    ngx_err_t   err;
    ngx_str_t  *value;

    if (node->certificate.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len == 0) {
        return "has an empty path";
    }

    node->certificate = value[1];

    if (ngx_conf_full_name(cf->cycle, &node->certificate, 1) != NGX_OK) {
        return NGX_CONF_ERROR;
    }

    if (node->certificate.len >= TN_IPC_PATH) {
        return "has too long a path";
    }

    errno = 0;

    bio = BIO_new_file((char *) node->certificate.data, "r");
    if (bio == NULL) {
        err = ngx_errno;
        ERR_clear_error();

        ngx_conf_log_error(NGX_LOG_EMERG, cf, err,
                           "cannot open \"tls_trusted_certificate\" \"%V\"",
                           &node->certificate);
        return NGX_CONF_ERROR;
    }

    x509 = PEM_read_bio_X509_AUX(bio, NULL, NULL, NULL);

    BIO_free(bio);
    ERR_clear_error();

    if (x509 == NULL) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "there is no PEM certificate in "
                           "\"tls_trusted_certificate\" \"%V\"",
                           &node->certificate);
        return NGX_CONF_ERROR;
    }

    X509_free(x509);

    return NGX_CONF_OK;
}


ngx_int_t
ngx_tailnet_parameter(ngx_conf_t *cf, ngx_str_t **param,
    ngx_tailnet_node_t **node)
{
    ngx_str_t            *value, name;
    ngx_uint_t            i;
    ngx_tailnet_conf_t   *tcf;
    ngx_tailnet_node_t  **nodes;

    *param = NULL;

    value = cf->args->elts;

    for (i = 2; i < cf->args->nelts; i++) {

        if (ngx_strcmp(value[i].data, "tailnet") != 0
            && ngx_strncmp(value[i].data, "tailnet=", 8) != 0)
        {
            continue;
        }

        if (*param) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate parameter \"%V\" of \"%V\"",
                               &value[i], &value[0]);
            return NGX_ERROR;
        }

        *param = &value[i];
    }

    if (*param == NULL) {
        return NGX_DECLINED;
    }

    tcf = ngx_tailnet_get_conf(cf->cycle);
    nodes = tcf->nodes.elts;

    if (tcf->nodes.nelts == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "there is no \"tailnet\" block before \"%V\" "
                           "with parameter \"%V\"", &value[0], *param);
        return NGX_ERROR;
    }

    if ((*param)->len == sizeof("tailnet") - 1) {

        if (tcf->nodes.nelts == 1) {
            *node = nodes[0];
            return NGX_OK;
        }

        ngx_str_set(&name, "default");

    } else {
        name.data = (*param)->data + 8;
        name.len = (*param)->len - 8;
    }

    *node = ngx_tailnet_find(tcf, &name);

    if (*node) {
        return NGX_OK;
    }

    if ((*param)->len == sizeof("tailnet") - 1) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "\"%V\" with parameter \"tailnet\" needs a name: "
                           "there are several \"tailnet\" blocks and none is "
                           "the default one", &value[0]);

    } else {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "unknown tailnet \"%V\" in \"%V\"",
                           &name, &value[0]);
    }

    return NGX_ERROR;
}


ngx_uint_t
ngx_tailnet_is_word(u_char *p, size_t len, char *more)
{
    u_char  ch, *last;

    if (len == 0) {
        return 0;
    }

    for (last = p + len; p < last; p++) {
        ch = *p;

        if ((ch >= '0' && ch <= '9')
            || (ch >= 'a' && ch <= 'z')
            || (ch >= 'A' && ch <= 'Z')
            || (ch != '\0' && strchr(more, ch) != NULL))
        {
            continue;
        }

        return 0;
    }

    return 1;
}
