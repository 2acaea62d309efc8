
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the files of the stream part share.
 */

#ifndef _NGX_STREAM_TAILNET_H_INCLUDED_
#define _NGX_STREAM_TAILNET_H_INCLUDED_


#include "ngx_tailnet_identity.h"

#include <ngx_stream.h>


typedef struct {
    ngx_stream_upstream_init_peer_pt   init;    /* the balancer's */
    ngx_tailnet_conf_t                *conf;
    ngx_array_t                       *rules;   /* NULL: none */
    ngx_uint_t                         dense;   /* unsigned dense:1 */
    ngx_uint_t                         listed;  /* unsigned listed:1; its
                                                   servers are nginx's list */
} ngx_stream_tailnet_srv_conf_t;


/* ngx_stream_tailnet_identity.c */

ngx_int_t ngx_stream_tailnet_add_variables(ngx_conf_t *cf);
ngx_int_t ngx_stream_tailnet_identity_init(ngx_conf_t *cf);

char *ngx_stream_tailnet_allow(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);
char *ngx_stream_tailnet_capability(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);


extern ngx_module_t  ngx_stream_tailnet_module;


#endif /* _NGX_STREAM_TAILNET_H_INCLUDED_ */
