
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Certificates that the core issues, for ssl_certificate of http and stream.
 */

#ifndef _NGX_TAILNET_CERT_H_INCLUDED_
#define _NGX_TAILNET_CERT_H_INCLUDED_


#include "ngx_tailnet.h"

#include "cert/tn_chain.h"


#define NGX_TAILNET_CERT_NAME      "tailnet_certificate"
#define NGX_TAILNET_CERT_KEY_NAME  "tailnet_certificate_key"

/* of tailnet_certificate_fallback */
#define NGX_TAILNET_CERT_OFF          0
#define NGX_TAILNET_CERT_SELF_SIGNED  1


/* of one server {} */

typedef struct ngx_tailnet_cert_conf_s  ngx_tailnet_cert_conf_t;

struct ngx_tailnet_cert_conf_s {
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
 * are our variables, handshakes of ctx use what the core has issued.  Its
 * names (ngx_str_t; NULL: any) say which of funnel_domains need one.
 * NGX_ERROR: it was logged.
 */
ngx_int_t ngx_tailnet_cert_server(ngx_conf_t *cf, SSL_CTX *ctx,
    ngx_array_t *certs, ngx_array_t *keys, ngx_uint_t fallback,
    ngx_array_t *names, u_char *file, ngx_uint_t line);

/* in each process that serves: connections to the core */
void ngx_tailnet_cert_start(ngx_tailnet_conf_t *tcf);
void ngx_tailnet_cert_stop(ngx_tailnet_conf_t *tcf);


/* what answers a challenge for this name (NULL: for any), or NULL */
SSL_CTX *ngx_tailnet_cert_challenge(ngx_tailnet_node_t *node,
    const char *name);


/* ngx_tailnet_challenge.c */

/* after the merge: connections of ctx may be for challenges */
ngx_int_t ngx_tailnet_challenge_context(ngx_conf_t *cf, SSL_CTX *ctx);

/* for SSL_CTX_free(); NULL: it was logged */
SSL_CTX *ngx_tailnet_challenge_create(tn_chain_named_t *named,
    ngx_log_t *log);

/* a challenge came or went */
void ngx_tailnet_challenge_watch(ngx_tailnet_conf_t *tcf);


extern ngx_conf_enum_t  ngx_tailnet_cert_fallbacks[];


#endif /* _NGX_TAILNET_CERT_H_INCLUDED_ */
