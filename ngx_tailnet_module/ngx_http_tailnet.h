
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the files of the http part share.
 */

#ifndef _NGX_HTTP_TAILNET_H_INCLUDED_
#define _NGX_HTTP_TAILNET_H_INCLUDED_


#include "ngx_tailnet_identity.h"

#include <ngx_http.h>


typedef struct {
    ngx_http_upstream_init_peer_pt   init;      /* the balancer's */
    ngx_tailnet_conf_t              *conf;
    ngx_flag_t                       headers;
    ngx_uint_t                       dense;     /* unsigned dense:1 */
    ngx_uint_t                       listed;    /* unsigned listed:1; its
                                                   servers are nginx's list */
} ngx_http_tailnet_srv_conf_t;


typedef struct {
    ngx_array_t                     *rules;     /* NULL: none */
} ngx_http_tailnet_loc_conf_t;


typedef struct {
    ngx_tailnet_identity_t          *identity;  /* NULL: nobody asked */
} ngx_http_tailnet_ctx_t;


/* ngx_http_tailnet_module.c */

/* of the main request, made if need be; NULL when out of memory */
ngx_http_tailnet_ctx_t *ngx_http_tailnet_ctx(ngx_http_request_t *r);


/* ngx_http_tailnet_identity.c */

ngx_int_t ngx_http_tailnet_add_variables(ngx_conf_t *cf);
ngx_int_t ngx_http_tailnet_identity_init(ngx_conf_t *cf);

/* NULL when out of memory */
ngx_tailnet_identity_t *ngx_http_tailnet_identity(ngx_http_request_t *r);

char *ngx_http_tailnet_allow(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);
char *ngx_http_tailnet_capability(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


/* ngx_http_tailnet_headers.c */

/*
 * Takes forged ones away and adds those of the identity, once in a request.
 * NGX_OK or NGX_ERROR.
 */
ngx_int_t ngx_http_tailnet_headers(ngx_http_request_t *r);


/* ngx_http_tailnet_status.c */

char *ngx_http_tailnet_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf);


extern ngx_module_t  ngx_http_tailnet_module;


#endif /* _NGX_HTTP_TAILNET_H_INCLUDED_ */
