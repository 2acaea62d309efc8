
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The routes that a node advertises, where their connections lead, and the
 * exit node that it uses itself.
 */

#include "ngx_tailnet.h"

#include "base/tn_via.h"


static ngx_uint_t ngx_tailnet_route_is_own(tn_prefix_t *route);
static ngx_int_t ngx_tailnet_route_add(ngx_conf_t *cf,
    ngx_tailnet_node_t *node, ngx_str_t *text);


char *
ngx_tailnet_routes(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    ngx_str_t   *value;
    ngx_uint_t   i;

    if (node->nroutes != 0) {
        return "is duplicate";
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {
        if (ngx_tailnet_route_add(cf, node, &value[i]) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


char *
ngx_tailnet_exit_node(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    tn_ip_t     ip;
    ngx_str_t  *value;

    if (node->exit_node.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (value[1].len >= TN_IPC_HOST
        || (!ngx_tailnet_is_word(value[1].data, value[1].len, "-.")
            && tn_ip_parse(&ip, (char *) value[1].data, value[1].len)
               != TN_OK))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"exit_node\" \"%V\", the name or an "
                           "address of a peer expected", &value[1]);
        return NGX_CONF_ERROR;
    }

    node->exit_node = value[1];

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_tailnet_route_add(ngx_conf_t *cf, ngx_tailnet_node_t *node,
    ngx_str_t *text)
{
    ngx_uint_t    i;
    tn_prefix_t   route;

    ngx_memzero(&route, sizeof(tn_prefix_t));

    if (tn_prefix_parse(&route, (char *) text->data, text->len) != TN_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid route \"%V\" in \"advertise_routes\", a "
                           "prefix without host bits like \"10.0.0.0/8\" "
                           "expected", text);
        return NGX_ERROR;
    }

    if (route.bits == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "route \"%V\" is that of an exit node: "
                           "\"advertise_exit_node on\"", text);
        return NGX_ERROR;
    }

    /* 4via6 is the one part of the tailnet's own range that is routed */

    if (tn_ip_is_loopback(&route.ip) || tn_ip_is_multicast(&route.ip)
        || tn_ip_is_link_local(&route.ip)
        || ngx_tailnet_route_is_own(&route))
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "route \"%V\" in \"advertise_routes\" cannot be "
                           "behind a node", text);
        return NGX_ERROR;
    }

    for (i = 0; i < node->nroutes; i++) {
        if (tn_prefix_equal(&node->routes[i], &route)) {
            ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                               "duplicate route \"%V\" in "
                               "\"advertise_routes\"", text);
            return NGX_ERROR;
        }
    }

    /* two are left for an exit node */

    if (node->nroutes == TN_IPC_ROUTES - 2) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "more than %d routes in \"advertise_routes\"",
                           TN_IPC_ROUTES - 2);
        return NGX_ERROR;
    }

    node->routes[node->nroutes++] = route;

    return NGX_OK;
}


/* overlaps the addresses of nodes, which are behind nobody */

static ngx_uint_t
ngx_tailnet_route_is_own(tn_prefix_t *route)
{
    ngx_uint_t   i;
    tn_prefix_t  own;

    static const char *const  ranges[] = {
        "100.64.0.0/10", "fd7a:115c:a1e0::/48"
    };

    if (tn_via_is(&route->ip) && route->bits >= TN_VIA_BITS) {
        return 0;
    }

    for (i = 0; i < 2; i++) {
        if (tn_prefix_parse(&own, ranges[i], ngx_strlen(ranges[i])) == TN_OK
            && (tn_prefix_contains(&own, &route->ip)
                || tn_prefix_contains(route, &own.ip)))
        {
            return 1;
        }
    }

    return 0;
}


void
ngx_tailnet_route_exit(ngx_tailnet_node_t *node)
{
    ngx_uint_t    i;
    tn_prefix_t  *route;

    for (i = 0; i < 2; i++) {
        route = &node->routes[node->nroutes++];

        ngx_memzero(route, sizeof(tn_prefix_t));

        if (i == 0) {
            route->ip = tn_ip_from_v4((const uint8_t *) "\0\0\0\0");
            route->v4 = true;
        }
    }
}


ngx_int_t
ngx_tailnet_destination(ngx_connection_t *c, ngx_pool_t *pool,
    ngx_str_t *value)
{
    u_char     *p;
    tn_addr_t   addr;

    if (ngx_connection_local_sockaddr(c, NULL, 0) != NGX_OK) {
        return NGX_ERROR;
    }

    value->data = ngx_pnalloc(pool, NGX_SOCKADDR_STRLEN);
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    /* 4via6 leads to the address of IPv4 that it stands for */

    if (c->local_socklen <= sizeof(struct sockaddr_storage)
        && tn_addr_from_sockaddr(&addr, (struct sockaddr_storage *)
                                        c->local_sockaddr)
           == TN_OK
        && tn_via_is(&addr.ip))
    {
        p = addr.ip.b + 12;
        value->len = ngx_sprintf(value->data, "%ui.%ui.%ui.%ui:%ui",
                                 (ngx_uint_t) p[0], (ngx_uint_t) p[1],
                                 (ngx_uint_t) p[2], (ngx_uint_t) p[3],
                                 (ngx_uint_t) addr.port)
                     - value->data;
        return NGX_OK;
    }

    value->len = ngx_sock_ntop(c->local_sockaddr, c->local_socklen,
                               value->data, NGX_SOCKADDR_STRLEN, 1);

    return NGX_OK;
}
