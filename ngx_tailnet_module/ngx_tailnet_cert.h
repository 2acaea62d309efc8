
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Certificates that the core issues, for ssl_certificate of http and stream.
 */

#ifndef _NGX_TAILNET_CERT_H_INCLUDED_
#define _NGX_TAILNET_CERT_H_INCLUDED_


#include "ngx_tailnet.h"


#define NGX_TAILNET_CERT_NAME      "tailnet_certificate"
#define NGX_TAILNET_CERT_KEY_NAME  "tailnet_certificate_key"

/* of tailnet_certificate_fallback */
#define NGX_TAILNET_CERT_OFF          0
#define NGX_TAILNET_CERT_SELF_SIGNED  1


/* of one server {} */

typedef struct ngx_tailnet_cert_conf_s  ngx_tailnet_cert_conf_t;

struct ngx_tailnet_cert_conf_s {
    ngx_tailnet_conf_t       *conf;
    SSL_CTX                  *ctx;
    ngx_tailnet_node_t       *node;     /* for listeners of no tailnet */
    ngx_uint_t                fallback;

    ngx_tailnet_certs_t      *certs;    /* whose first one the context has */
    ngx_tailnet_cert_conf_t  *next;     /* another with the same */
};


/* the directive "acme_directory" */
char *ngx_tailnet_acme_directory(ngx_conf_t *cf, ngx_command_t *cmd,
    void *conf);

/*
 * After the merge of a server that was read at file:line.  When its
 * certificates and keys (arrays of complex values of http or stream, or NULL)
 * are our variables, handshakes of ctx use what the core has issued.
 * NGX_ERROR: it was logged.
 */
ngx_int_t ngx_tailnet_cert_server(ngx_conf_t *cf, SSL_CTX *ctx,
    ngx_array_t *certs, ngx_array_t *keys, ngx_uint_t fallback,
    u_char *file, ngx_uint_t line);

/* in each process that serves: connections to the core */
void ngx_tailnet_cert_start(ngx_tailnet_conf_t *tcf);
void ngx_tailnet_cert_stop(ngx_tailnet_conf_t *tcf);


extern ngx_conf_enum_t  ngx_tailnet_cert_fallbacks[];


#endif /* _NGX_TAILNET_CERT_H_INCLUDED_ */
