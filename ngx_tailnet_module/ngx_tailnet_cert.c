
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Certificates.  "ssl_certificate $tailnet_certificate" would have nginx
 * evaluate a variable and parse PEM in each handshake; instead the context's
 * certificate callback, which stock nginx has set for that, is replaced by
 * one that hands out objects.  They are kept per node and process: the core
 * sends all of a node's at once and again when one is renewed, so the next
 * handshake has the new one, in each worker and without a reload.  Freeing
 * the old ones wipes their keys.
 *
 * Giving a certificate to a connection costs a comparison of its key, so a
 * server's context gets the one that its first handshake has used: then the
 * callback only sees that the connection has the right one already.
 *
 * A new process waits a moment for the first set before it accepts anything,
 * so that a reload does not refuse a handshake.  While the core is away what
 * is known stays in use.
 */

#include "ngx_tailnet_cert.h"

#include "cert/tn_certs.h"
#include "proc/tn_certclient.h"

#include <poll.h>


#define NGX_TAILNET_CERT_RETRY_MS  500
#define NGX_TAILNET_CERT_WAIT_MS   1000     /* of a process that starts */
#define NGX_TAILNET_CERT_LOG_S     10       /* between lines of one cause */

#define NGX_TAILNET_CERT_STAGING   "staging"


/* what a process knows of the certificates of one node */

struct ngx_tailnet_certs_s {
    ngx_tailnet_conf_t   *conf;
    ngx_tailnet_node_t   *node;
    ngx_tailnet_line_t    line;
    ngx_uint_t            wait;             /* for the first: unsigned :1 */
    time_t                logged;
    ngx_tailnet_cert_conf_t  *servers;      /* that have its first one */

    size_t                n;
    tn_chain_named_t      set[TN_CHAIN_SET_MAX];
    STACK_OF(X509)       *chain[TN_CHAIN_SET_MAX];

    SSL_CTX              *challenge;        /* or NULL */
    char                  name[TN_CHAIN_NAME_MAX + 1];  /* it is for */
};


static ngx_uint_t ngx_tailnet_cert_is(ngx_array_t *values, ngx_uint_t i,
    char *name);
static ngx_uint_t ngx_tailnet_cert_mentions(ngx_array_t *values, char *name);
static ngx_int_t ngx_tailnet_cert_want(ngx_conf_t *cf,
    ngx_tailnet_node_t *node, ngx_uint_t fallback);
static ngx_int_t ngx_tailnet_cert_domains(ngx_conf_t *cf,
    ngx_tailnet_node_t *node, ngx_array_t *names);
static ngx_uint_t ngx_tailnet_cert_listed(ngx_str_t *list, u_char *domain,
    size_t len);
static ngx_uint_t ngx_tailnet_cert_named(ngx_str_t *name, u_char *domain,
    size_t len);
static int ngx_tailnet_cert_open(void *data);
static void ngx_tailnet_cert_read(ngx_event_t *ev);
static ngx_int_t ngx_tailnet_cert_update(ngx_tailnet_certs_t *certs, int fd);
static void ngx_tailnet_cert_challenges(ngx_tailnet_certs_t *certs);
static void ngx_tailnet_cert_free(tn_chain_named_t *set,
    STACK_OF(X509) **chain, size_t n);
static void ngx_tailnet_cert_install(ngx_tailnet_certs_t *certs,
    ngx_tailnet_cert_conf_t *ccf, ngx_log_t *log);
static int ngx_tailnet_cert_handler(ngx_ssl_conn_t *ssl_conn, void *data);
static ngx_tailnet_node_t *ngx_tailnet_cert_node(ngx_tailnet_cert_conf_t *ccf,
    ngx_connection_t *c);
static ngx_int_t ngx_tailnet_cert_choose(ngx_tailnet_certs_t *certs,
    const char *name, ngx_uint_t fallback);
static ngx_uint_t ngx_tailnet_cert_matches(const char *pattern,
    const char *name);


ngx_conf_enum_t  ngx_tailnet_cert_fallbacks[] = {
    { ngx_string("off"), NGX_TAILNET_CERT_OFF },
    { ngx_string("self_signed"), NGX_TAILNET_CERT_SELF_SIGNED },
    { ngx_null_string, 0 }
};


char *
ngx_tailnet_acme_directory(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_node_t *node = conf;

    ngx_str_t  *value;

    if (node->acme.data) {
        return "is duplicate";
    }

    value = cf->args->elts;

    if (ngx_strcmp(value[1].data, NGX_TAILNET_CERT_STAGING) == 0) {
        ngx_str_set(&node->acme, TN_CERTS_STAGING);
        return NGX_CONF_OK;
    }

    if (value[1].len <= 8
        || value[1].len >= TN_IPC_URL
        || ngx_strncmp(value[1].data, "https://", 8) != 0)
    {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "invalid \"acme_directory\" \"%V\", "
                           "\"https://...\" or \"staging\" expected",
                           &value[1]);
        return NGX_CONF_ERROR;
    }

    node->acme = value[1];

    return NGX_CONF_OK;
}


ngx_int_t
ngx_tailnet_cert_server(ngx_conf_t *cf, SSL_CTX *ctx, ngx_array_t *certs,
    ngx_array_t *keys, ngx_uint_t fallback, ngx_array_t *names, u_char *file,
    ngx_uint_t line)
{
    ngx_uint_t                i;
    ngx_tailnet_conf_t       *tcf;
    ngx_tailnet_node_t      **node;
    ngx_tailnet_cert_conf_t  *ccf;

    if (!ngx_tailnet_cert_mentions(certs, NGX_TAILNET_CERT_NAME)
        && !ngx_tailnet_cert_mentions(keys, NGX_TAILNET_CERT_NAME))
    {
        return NGX_OK;
    }

    tcf = ngx_tailnet_get_conf(cf->cycle);

    if (tcf == NULL || tcf->nodes.nelts == 0) {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"ssl_certificate\" with $" NGX_TAILNET_CERT_NAME
                      " needs a \"tailnet\" block, used by the server in "
                      "%s:%ui",
                      file, line);
        return NGX_ERROR;
    }

    if (certs == NULL || keys == NULL
        || certs->nelts != 1 || keys->nelts != 1
        || !ngx_tailnet_cert_is(certs, 0, NGX_TAILNET_CERT_NAME)
        || !ngx_tailnet_cert_is(keys, 0, NGX_TAILNET_CERT_KEY_NAME))
    {
        ngx_log_error(NGX_LOG_EMERG, cf->log, 0,
                      "\"ssl_certificate $" NGX_TAILNET_CERT_NAME
                      "\" and \"ssl_certificate_key $"
                      NGX_TAILNET_CERT_KEY_NAME "\" have to be a pair, "
                      "and the only one of the server in %s:%ui",
                      file, line);
        return NGX_ERROR;
    }

    ccf = ngx_pcalloc(cf->pool, sizeof(ngx_tailnet_cert_conf_t));
    if (ccf == NULL) {
        return NGX_ERROR;
    }

    ccf->ctx = ctx;
    ccf->fallback = fallback;

    /*
     * Which node's it is follows from the listener; any block may be it, and
     * a listener of the host has the only block's or the default one's.
     */

    node = tcf->nodes.elts;

    for (i = 0; i < tcf->nodes.nelts; i++) {

        if (tcf->nodes.nelts == 1
            || ngx_strcmp(node[i]->name.data, "default") == 0)
        {
            ccf->node = node[i];
        }

        if (ngx_tailnet_cert_want(cf, node[i], fallback) != NGX_OK
            || ngx_tailnet_cert_domains(cf, node[i], names) != NGX_OK)
        {
            return NGX_ERROR;
        }
    }

    SSL_CTX_set_cert_cb(ctx, ngx_tailnet_cert_handler, ccf);

    return NGX_OK;
}


/* both kinds of complex values begin with the text that was written */

static ngx_uint_t
ngx_tailnet_cert_is(ngx_array_t *values, ngx_uint_t i, char *name)
{
    u_char     *p;
    size_t      len;
    ngx_str_t  *value;

    value = (ngx_str_t *) ((u_char *) values->elts + i * values->size);
    len = ngx_strlen(name);
    p = value->data;

    if (value->len == len + 1) {
        return p[0] == '$' && ngx_strncmp(p + 1, name, len) == 0;
    }

    return value->len == len + 3 && p[0] == '$' && p[1] == '{'
           && ngx_strncmp(p + 2, name, len) == 0 && p[len + 2] == '}';
}


static ngx_uint_t
ngx_tailnet_cert_mentions(ngx_array_t *values, char *name)
{
    ngx_str_t   *value;
    ngx_uint_t   i;

    if (values == NULL || values == NGX_CONF_UNSET_PTR) {
        return 0;
    }

    for (i = 0; i < values->nelts; i++) {
        value = (ngx_str_t *) ((u_char *) values->elts + i * values->size);

        if (ngx_strnstr(value->data, name, value->len)) {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_tailnet_cert_want(ngx_conf_t *cf, ngx_tailnet_node_t *node,
    ngx_uint_t fallback)
{
    ngx_tailnet_certs_t  *certs;

    if (fallback) {
        node->cert_fallback = 1;
    }

    if (node->certs) {
        return NGX_OK;
    }

    certs = ngx_pcalloc(cf->pool, sizeof(ngx_tailnet_certs_t));
    if (certs == NULL) {
        return NGX_ERROR;
    }

    certs->conf = ngx_tailnet_get_conf(cf->cycle);
    certs->node = node;
    ngx_tailnet_line_init(&certs->line, NGX_TAILNET_CERT_RETRY_MS,
                          ngx_tailnet_cert_open, ngx_tailnet_cert_read, NULL,
                          certs);

    node->certs = certs;

    return NGX_OK;
}


/* of funnel_domains those that this server has, with those of others */

static ngx_int_t
ngx_tailnet_cert_domains(ngx_conf_t *cf, ngx_tailnet_node_t *node,
    ngx_array_t *names)
{
    u_char      *p, *end, *next, *out;
    size_t       len;
    ngx_str_t   *name;
    ngx_uint_t   i, used;

    if (node->domains.len == 0) {
        return NGX_OK;
    }

    if (node->cert_domains.data == NULL) {
        node->cert_domains.data = ngx_pcalloc(cf->pool,
                                              node->domains.len + 1);
        if (node->cert_domains.data == NULL) {
            return NGX_ERROR;
        }
    }

    p = node->domains.data;
    end = p + node->domains.len;

    for ( ; p < end; p = next + 1) {
        next = ngx_strlchr(p, end, ',');
        next = next ? next : end;
        len = next - p;

        if (ngx_tailnet_cert_listed(&node->cert_domains, p, len)) {
            continue;
        }

        used = (names == NULL);
        name = names ? names->elts : NULL;

        for (i = 0; names && i < names->nelts; i++) {
            used |= ngx_tailnet_cert_named(&name[i], p, len);
        }

        if (used) {
            out = node->cert_domains.data + node->cert_domains.len;

            if (node->cert_domains.len) {
                *out++ = ',';
            }

            out = ngx_cpymem(out, p, len);
            node->cert_domains.len = out - node->cert_domains.data;
        }
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_tailnet_cert_listed(ngx_str_t *list, u_char *domain, size_t len)
{
    u_char  *p, *end, *next;

    end = list->data + list->len;

    for (p = list->data; p < end; p = next + 1) {
        next = ngx_strlchr(p, end, ',');
        next = next ? next : end;

        if ((size_t) (next - p) == len && ngx_strncmp(p, domain, len) == 0) {
            return 1;
        }
    }

    return 0;
}


/* "www.example.com", "*.example.com", "www.example.*", ".example.com" */

static ngx_uint_t
ngx_tailnet_cert_named(ngx_str_t *name, u_char *domain, size_t len)
{
    size_t   n;
    u_char  *p;

    p = name->data;
    n = name->len;

    if (n == len && ngx_strncasecmp(p, domain, len) == 0) {
        return 1;
    }

    if (n && p[0] == '.' && n == len + 1
        && ngx_strncasecmp(p + 1, domain, len) == 0)
    {
        return 1;
    }

    if (n > 1 && p[0] == '*') {
        p++;
        n--;
    }

    if (n && n < len && p[0] == '.'
        && ngx_strncasecmp(p, domain + len - n, n) == 0)
    {
        return 1;
    }

    return n > 1 && n - 1 < len && p[n - 1] == '*'
           && ngx_strncasecmp(p, domain, n - 1) == 0;
}


void
ngx_tailnet_cert_start(ngx_tailnet_conf_t *tcf)
{
    ngx_uint_t            i;
    ngx_tailnet_node_t  **node;

    node = tcf->nodes.elts;

    for (i = 0; i < tcf->nodes.nelts; i++) {
        if (node[i]->certs) {
            node[i]->certs->wait = 1;
            ngx_tailnet_line_open(&node[i]->certs->line, tcf->cycle->log);
        }
    }
}


void
ngx_tailnet_cert_stop(ngx_tailnet_conf_t *tcf)
{
    ngx_uint_t             i;
    ngx_tailnet_node_t   **node;
    ngx_tailnet_certs_t   *certs;

    node = tcf->nodes.elts;

    for (i = 0; i < tcf->nodes.nelts; i++) {

        certs = node[i]->certs;

        if (certs == NULL) {
            continue;
        }

        ngx_tailnet_line_stop(&certs->line);

        ngx_tailnet_cert_free(certs->set, certs->chain, certs->n);
        certs->n = 0;

        SSL_CTX_free(certs->challenge);
        certs->challenge = NULL;
    }
}


static int
ngx_tailnet_cert_open(void *data)
{
    ngx_tailnet_certs_t *certs = data;

    int            fd;
    char           name[TN_IPC_NAME];
    ngx_uint_t     wait;
    struct pollfd  pfd;

    wait = certs->wait;
    certs->wait = 0;

    ngx_memcpy(name, certs->node->name.data, certs->node->name.len);
    name[certs->node->name.len] = '\0';

    fd = tn_certclient_open((char *) certs->conf->dir.data, name,
                            certs->node->cert_fallback ? TN_IPC_CERT_FALLBACK
                                                       : 0,
                            certs->node->cert_domains.len
                            ? (char *) certs->node->cert_domains.data : "");

    if (fd == -1 || !wait) {
        return fd;
    }

    pfd.fd = fd;
    pfd.events = POLLIN;
    (void) poll(&pfd, 1, NGX_TAILNET_CERT_WAIT_MS);

    if (ngx_tailnet_cert_update(certs, fd) == NGX_ERROR) {
        (void) ngx_close_socket(fd);
        return -1;
    }

    return fd;
}


static void
ngx_tailnet_cert_read(ngx_event_t *ev)
{
    ngx_connection_t     *c;
    ngx_tailnet_certs_t  *certs;

    c = ev->data;
    certs = c->data;

    if (ngx_tailnet_cert_update(certs, c->fd) == NGX_ERROR
        || ngx_tailnet_channel_wait(ev) != NGX_OK)
    {
        ngx_tailnet_line_lost(&certs->line);
    }
}


/* all that has come, the last counts; NGX_ERROR: the core is gone */

static ngx_int_t
ngx_tailnet_cert_update(ngx_tailnet_certs_t *certs, int fd)
{
    size_t                    i, k, n;
    tn_rc_t                   rc;
    STACK_OF(X509)           *chain[TN_CHAIN_SET_MAX];
    tn_chain_named_t          set[TN_CHAIN_SET_MAX];
    ngx_tailnet_cert_conf_t  *ccf;

    while ((rc = tn_certclient_read(fd, set, &n)) == TN_OK) {

        for (i = 0; i < n; i++) {

            /* what is in the stack stays the set's */

            chain[i] = sk_X509_new_null();

            for (k = 1; chain[i] && k < set[i].chain.n; k++) {
                (void) sk_X509_push(chain[i], set[i].chain.cert[k]);
            }
        }

        ngx_tailnet_cert_free(certs->set, certs->chain, certs->n);

        certs->n = n;
        ngx_memcpy(certs->set, set, n * sizeof(tn_chain_named_t));
        ngx_memcpy(certs->chain, chain, n * sizeof(chain[0]));

        ngx_tailnet_cert_challenges(certs);

        for (ccf = certs->servers; ccf; ccf = ccf->next) {
            ngx_tailnet_cert_install(certs, ccf, certs->conf->cycle->log);
        }
    }

    return rc == TN_AGAIN ? NGX_OK : NGX_ERROR;
}


/* connections under way keep the one that they have */

static void
ngx_tailnet_cert_challenges(ngx_tailnet_certs_t *certs)
{
    size_t    i;
    SSL_CTX  *old;

    old = certs->challenge;
    certs->challenge = NULL;

    for (i = 0; i < certs->n; i++) {

        if (certs->set[i].flags & TN_CHAIN_CHALLENGE) {
            certs->challenge =
                ngx_tailnet_challenge_create(&certs->set[i],
                                             certs->conf->cycle->log);
            ngx_memcpy(certs->name, certs->set[i].name, sizeof(certs->name));
            break;
        }
    }

    if (old || certs->challenge) {
        SSL_CTX_free(old);
        ngx_tailnet_challenge_watch(certs->conf);
    }
}


SSL_CTX *
ngx_tailnet_cert_challenge(ngx_tailnet_node_t *node, const char *name)
{
    ngx_tailnet_certs_t  *certs;

    certs = node->certs;

    if (certs == NULL || certs->challenge == NULL
        || (name && !ngx_tailnet_cert_matches(certs->name, name)))
    {
        return NULL;
    }

    return certs->challenge;
}


static void
ngx_tailnet_cert_free(tn_chain_named_t *set, STACK_OF(X509) **chain,
    size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        sk_X509_free(chain[i]);
        tn_chain_free(&set[i].chain);
    }
}


/* for connections to come; those with another name are given theirs */

static void
ngx_tailnet_cert_install(ngx_tailnet_certs_t *certs,
    ngx_tailnet_cert_conf_t *ccf, ngx_log_t *log)
{
    ngx_int_t  i;

    i = ngx_tailnet_cert_choose(certs, NULL, ccf->fallback);

    if (i != NGX_DECLINED
        && SSL_CTX_use_cert_and_key(ccf->ctx, certs->set[i].chain.cert[0],
                                    certs->set[i].chain.key, certs->chain[i],
                                    1)
           == 0)
    {
        ngx_ssl_error(NGX_LOG_ERR, log, 0,
                      "SSL_CTX_use_cert_and_key() failed");
    }
}


static int
ngx_tailnet_cert_handler(ngx_ssl_conn_t *ssl_conn, void *data)
{
    ngx_tailnet_cert_conf_t *ccf = data;

    ngx_int_t             i;
    const char           *name;
    ngx_connection_t     *c;
    ngx_tailnet_node_t   *node;
    ngx_tailnet_certs_t  *certs;

    c = ngx_ssl_get_connection(ssl_conn);

    if (c->ssl->handshaked) {
        return 0;
    }

    node = ngx_tailnet_cert_node(ccf, c);
    certs = node ? node->certs : NULL;

    if (certs == NULL) {
        ngx_log_error(NGX_LOG_ERR, c->log, 0,
                      "a listener of no tailnet has no $"
                      NGX_TAILNET_CERT_NAME " where there are several "
                      "\"tailnet\" blocks");
        return 0;
    }

    name = SSL_get_servername(ssl_conn, TLSEXT_NAMETYPE_host_name);

    i = ngx_tailnet_cert_choose(certs, name, ccf->fallback);

    if (i == NGX_DECLINED) {

        if (ngx_time() - certs->logged >= NGX_TAILNET_CERT_LOG_S) {
            certs->logged = ngx_time();
            ngx_log_error(NGX_LOG_ERR, c->log, 0,
                          "tailnet \"%V\" has no certificate yet",
                          &node->name);
        }

        return 0;
    }

    if (ccf->certs == NULL) {
        ccf->certs = certs;
        ccf->next = certs->servers;
        certs->servers = ccf;

        ngx_tailnet_cert_install(certs, ccf, c->log);
    }

    if (SSL_get_certificate(ssl_conn) == certs->set[i].chain.cert[0]) {
        return 1;
    }

    if (SSL_use_cert_and_key(ssl_conn, certs->set[i].chain.cert[0],
                             certs->set[i].chain.key, certs->chain[i], 1)
        == 0)
    {
        ngx_ssl_error(NGX_LOG_ERR, c->log, 0,
                      "SSL_use_cert_and_key() failed");
        return 0;
    }

    return 1;
}


static ngx_tailnet_node_t *
ngx_tailnet_cert_node(ngx_tailnet_cert_conf_t *ccf, ngx_connection_t *c)
{
    ngx_tailnet_node_t    *node;
    ngx_tailnet_opened_t  *opened;

    opened = ngx_tailnet_listen_opened(c->listening);

    if (opened) {
        return opened->node;
    }

    node = ngx_tailnet_service_of(c->listening);

    return node ? node : ccf->node;
}


/* the one for this name, or else the first that somebody vouches for */

static ngx_int_t
ngx_tailnet_cert_choose(ngx_tailnet_certs_t *certs, const char *name,
    ngx_uint_t fallback)
{
    ngx_int_t  i, first;

    first = NGX_DECLINED;

    for (i = 0; i < (ngx_int_t) certs->n; i++) {

        if (certs->set[i].flags & TN_CHAIN_CHALLENGE) {
            continue;
        }

        if ((certs->set[i].flags & TN_CHAIN_SELF_SIGNED)
            && fallback != NGX_TAILNET_CERT_SELF_SIGNED)
        {
            continue;
        }

        if (name && ngx_tailnet_cert_matches(certs->set[i].name, name)) {
            return i;
        }

        if (first == NGX_DECLINED) {
            first = i;
        }
    }

    return first;
}


static ngx_uint_t
ngx_tailnet_cert_matches(const char *pattern, const char *name)
{
    return ngx_strcasecmp((u_char *) pattern, (u_char *) name) == 0;
}
