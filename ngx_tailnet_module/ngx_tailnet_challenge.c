
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Answers to tls-alpn-01 (RFC 8737).  While the core has a challenge, each
 * TLS context of nginx reports the messages of its handshakes; a ClientHello
 * that asks for "acme-tls/1" and the name of the challenge, and for nothing
 * else, moves its connection to a context of our own before nginx has chosen
 * a server for it.  No callback of nginx's is touched, and every other client
 * gets what it always gets.  Without a challenge nothing is reported.
 */

#include "ngx_tailnet_cert.h"

#include "wire/tn_hello.h"


#define NGX_TAILNET_CHALLENGE_HELLO  1      /* client_hello of RFC 8446, 4. */


static void ngx_tailnet_challenge_message(int write, int version, int type,
    const void *buf, size_t len, SSL *ssl, void *data);
static int ngx_tailnet_challenge_name(SSL *ssl, int *alert, void *data);
static int ngx_tailnet_challenge_alpn(SSL *ssl, const unsigned char **out,
    unsigned char *outlen, const unsigned char *in, unsigned int inlen,
    void *data);


ngx_int_t
ngx_tailnet_challenge_context(ngx_conf_t *cf, SSL_CTX *ctx)
{
    SSL_CTX             **elt;
    ngx_tailnet_conf_t   *tcf;

    tcf = ngx_tailnet_get_conf(cf->cycle);

    if (tcf == NULL || tcf->nodes.nelts == 0) {
        return NGX_OK;
    }

    elt = ngx_array_push(&tcf->contexts);
    if (elt == NULL) {
        return NGX_ERROR;
    }

    *elt = ctx;

    return NGX_OK;
}


SSL_CTX *
ngx_tailnet_challenge_create(tn_chain_named_t *named, ngx_log_t *log)
{
    SSL_CTX  *ctx;

    ctx = SSL_CTX_new(TLS_server_method());

    if (ctx == NULL
        || SSL_CTX_use_cert_and_key(ctx, named->chain.cert[0],
                                    named->chain.key, NULL, 1)
           == 0)
    {
        ngx_ssl_error(NGX_LOG_ERR, log, 0,
                      "no certificate for a challenge of ACME");
        SSL_CTX_free(ctx);
        return NULL;
    }

    /* with one of its own nginx's is not called */

    SSL_CTX_set_tlsext_servername_callback(ctx, ngx_tailnet_challenge_name);
    SSL_CTX_set_alpn_select_cb(ctx, ngx_tailnet_challenge_alpn, NULL);

    return ctx;
}


void
ngx_tailnet_challenge_watch(ngx_tailnet_conf_t *tcf)
{
    SSL_CTX             **ctx;
    ngx_uint_t            i, some;
    ngx_tailnet_node_t  **node;

    node = tcf->nodes.elts;
    some = 0;

    for (i = 0; i < tcf->nodes.nelts; i++) {
        some |= (ngx_tailnet_cert_challenge(node[i], NULL) != NULL);
    }

    ctx = tcf->contexts.elts;

    for (i = 0; i < tcf->contexts.nelts; i++) {
        SSL_CTX_set_msg_callback(ctx[i],
                                 some ? ngx_tailnet_challenge_message : NULL);
        SSL_CTX_set_msg_callback_arg(ctx[i], tcf);
    }
}


static void
ngx_tailnet_challenge_message(int write, int version, int type,
    const void *buf, size_t len, SSL *ssl, void *data)
{
    ngx_tailnet_conf_t *tcf = data;

    char                  name[TN_HELLO_NAME];
    SSL_CTX              *ctx;
    ngx_uint_t            i;
    ngx_connection_t     *c;
    ngx_tailnet_node_t  **node;

    if (write || type != SSL3_RT_HANDSHAKE || len == 0
        || *(const u_char *) buf != NGX_TAILNET_CHALLENGE_HELLO
        || tn_hello_only(buf, len, TN_HELLO_ACME, name) != TN_OK)
    {
        return;
    }

    node = tcf->nodes.elts;

    for (i = 0; i < tcf->nodes.nelts; i++) {
        ctx = ngx_tailnet_cert_challenge(node[i], name);

        if (ctx == NULL) {
            continue;
        }

        c = ngx_ssl_get_connection(ssl);

        ngx_log_error(NGX_LOG_INFO, c->log, 0,
                      "answering a challenge of ACME for \"%s\"", name);

        (void) SSL_set_SSL_CTX(ssl, ctx);
        SSL_set_verify(ssl, SSL_VERIFY_NONE, NULL);
        SSL_set_options(ssl, SSL_OP_NO_TICKET);
#ifdef TLS1_3_VERSION
        (void) SSL_set_num_tickets(ssl, 0);
#endif
        return;
    }
}


static int
ngx_tailnet_challenge_name(SSL *ssl, int *alert, void *data)
{
    return SSL_TLSEXT_ERR_OK;
}


static int
ngx_tailnet_challenge_alpn(SSL *ssl, const unsigned char **out,
    unsigned char *outlen, const unsigned char *in, unsigned int inlen,
    void *data)
{
    /* the client offers this one and no other */

    *out = in + 1;
    *outlen = in[0];

    return SSL_TLSEXT_ERR_OK;
}
