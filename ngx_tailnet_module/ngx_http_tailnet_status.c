
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * tailnet_status: what the core says of its nodes, as a page, as JSON or for
 * Prometheus.  The core makes the text; it comes in pieces over a connection
 * of its own, and the worker goes on with other requests meanwhile.
 */

#include "ngx_http_tailnet.h"


#define NGX_HTTP_TAILNET_STATUS_MS   5000
#define NGX_HTTP_TAILNET_STATUS_MAX  (64 * 1024 * 1024)


typedef struct {
    ngx_str_t                        name;      /* of ?format= */
    ngx_str_t                        type;
} ngx_http_tailnet_format_t;


typedef struct {
    ngx_http_request_t              *request;
    ngx_connection_t                *channel;   /* NULL: closed */
    ngx_http_tailnet_format_t       *format;
    ngx_chain_t                     *out;
    ngx_chain_t                    **last;
    ngx_buf_t                       *buf;       /* with room, or NULL */
    off_t                            size;
} ngx_http_tailnet_status_t;


static ngx_int_t ngx_http_tailnet_status_handler(ngx_http_request_t *r);
static ngx_http_tailnet_format_t *ngx_http_tailnet_status_format(
    ngx_http_request_t *r);
static ngx_int_t ngx_http_tailnet_status_ask(ngx_http_request_t *r,
    ngx_http_tailnet_status_t *st);
static void ngx_http_tailnet_status_event(ngx_event_t *ev);
static ngx_int_t ngx_http_tailnet_status_read(ngx_http_tailnet_status_t *st);
static ngx_int_t ngx_http_tailnet_status_add(ngx_http_tailnet_status_t *st,
    u_char *p, size_t len);
static ngx_int_t ngx_http_tailnet_status_send(ngx_http_tailnet_status_t *st);
static ngx_int_t ngx_http_tailnet_status_header(ngx_http_request_t *r,
    char *key, char *value);
static void ngx_http_tailnet_status_close(void *data);


/* the first is the default */

static ngx_http_tailnet_format_t  ngx_http_tailnet_formats[] = {
    { ngx_string("html"), ngx_string("text/html; charset=utf-8") },
    { ngx_string("json"), ngx_string("application/json") },
    { ngx_string("prometheus"),
      ngx_string("text/plain; version=0.0.4; charset=utf-8") },
    { ngx_null_string, ngx_null_string }
};


char *
ngx_http_tailnet_status(ngx_conf_t *cf, ngx_command_t *cmd, void *conf)
{
    ngx_tailnet_conf_t        *tcf;
    ngx_http_core_loc_conf_t  *clcf;

    tcf = ngx_tailnet_get_conf(cf->cycle);

    if (tcf == NULL || tcf->nodes.nelts == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "there is no \"tailnet\" block before "
                           "\"tailnet_status\"");
        return NGX_CONF_ERROR;
    }

    clcf = ngx_http_conf_get_module_loc_conf(cf, ngx_http_core_module);
    clcf->handler = ngx_http_tailnet_status_handler;

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_http_tailnet_status_handler(ngx_http_request_t *r)
{
    ngx_int_t                   rc;
    ngx_pool_cleanup_t         *cln;
    ngx_http_tailnet_format_t  *format;
    ngx_http_tailnet_status_t  *st;

    if (!(r->method & (NGX_HTTP_GET|NGX_HTTP_HEAD))) {
        return NGX_HTTP_NOT_ALLOWED;
    }

    rc = ngx_http_discard_request_body(r);

    if (rc != NGX_OK) {
        return rc;
    }

    format = ngx_http_tailnet_status_format(r);

    if (format == NULL) {
        return NGX_HTTP_BAD_REQUEST;
    }

    cln = ngx_pool_cleanup_add(r->pool, sizeof(ngx_http_tailnet_status_t));
    if (cln == NULL) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    st = cln->data;
    ngx_memzero(st, sizeof(ngx_http_tailnet_status_t));

    st->request = r;
    st->format = format;
    st->last = &st->out;

    cln->handler = ngx_http_tailnet_status_close;

    rc = ngx_http_tailnet_status_ask(r, st);

    if (rc != NGX_OK) {
        return rc;
    }

    /* a client that goes away is noticed */

    r->read_event_handler = ngx_http_test_reading;
    r->write_event_handler = ngx_http_request_empty_handler;
    r->main->count++;

    return NGX_DONE;
}


static ngx_http_tailnet_format_t *
ngx_http_tailnet_status_format(ngx_http_request_t *r)
{
    ngx_str_t                   name;
    ngx_http_tailnet_format_t  *format;

    if (ngx_http_arg(r, (u_char *) "format", 6, &name) != NGX_OK) {
        return &ngx_http_tailnet_formats[0];
    }

    for (format = ngx_http_tailnet_formats; format->name.len; format++) {

        if (name.len == format->name.len
            && ngx_strncmp(name.data, format->name.data, name.len) == 0)
        {
            return format;
        }
    }

    return NULL;
}


static ngx_int_t
ngx_http_tailnet_status_ask(ngx_http_request_t *r,
    ngx_http_tailnet_status_t *st)
{
    int                            fd;
    char                           text[TN_IPC_TEXT];
    ngx_connection_t              *c;
    ngx_http_tailnet_srv_conf_t   *tscf;

    tscf = ngx_http_get_module_srv_conf(r, ngx_http_tailnet_module);

    if (tscf->conf->dir.len == 0
        || tn_client_report((char *) tscf->conf->dir.data,
                            (char *) st->format->name.data, &fd, text)
           != TN_OK)
    {
        ngx_log_error(NGX_LOG_ERR, r->connection->log, 0,
                      "no status of the tailnet: %s",
                      tscf->conf->dir.len ? text : "it was not started");
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    c = ngx_tailnet_channel(fd, r->connection->log, st,
                            ngx_http_tailnet_status_event);

    if (c == NULL) {
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    st->channel = c;

    if (ngx_handle_read_event(c->read, 0) != NGX_OK) {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    ngx_add_timer(c->read, NGX_HTTP_TAILNET_STATUS_MS);

    return NGX_OK;
}


static void
ngx_http_tailnet_status_event(ngx_event_t *ev)
{
    ngx_int_t                   rc;
    ngx_connection_t           *c, *client;
    ngx_http_request_t         *r;
    ngx_http_tailnet_status_t  *st;

    c = ev->data;
    st = c->data;
    r = st->request;
    client = r->connection;

    ngx_http_set_log_request(client->log, r);

    if (ev->timedout) {
        ngx_log_error(NGX_LOG_ERR, client->log, NGX_ETIMEDOUT,
                      "no status of the tailnet: the core does not answer");
        rc = NGX_HTTP_GATEWAY_TIME_OUT;

    } else {
        rc = ngx_http_tailnet_status_read(st);

        if (rc == NGX_AGAIN) {
            if (ngx_tailnet_channel_wait(ev) == NGX_OK) {
                return;
            }

            rc = NGX_HTTP_INTERNAL_SERVER_ERROR;
        }
    }

    ngx_http_tailnet_status_close(st);

    if (rc == NGX_OK) {
        rc = ngx_http_tailnet_status_send(st);
    }

    ngx_http_finalize_request(r, rc);
    ngx_http_run_posted_requests(client);
}


/* NGX_OK: all of it is there */

static ngx_int_t
ngx_http_tailnet_status_read(ngx_http_tailnet_status_t *st)
{
    tn_rc_t               rc;
    tn_ipc_tool_reply_t   reply;

    do {
        rc = tn_client_report_reply(st->channel->fd, &reply);

        if (rc == TN_AGAIN) {
            return NGX_AGAIN;
        }

        if (rc != TN_OK) {
            ngx_log_error(NGX_LOG_ERR, st->request->connection->log, 0,
                          "no status of the tailnet: %s", reply.text);
            return NGX_HTTP_SERVICE_UNAVAILABLE;
        }

        if (ngx_http_tailnet_status_add(st, (u_char *) reply.text, reply.len)
            != NGX_OK)
        {
            return NGX_HTTP_INTERNAL_SERVER_ERROR;
        }

    } while (reply.more);

    return NGX_OK;
}


static ngx_int_t
ngx_http_tailnet_status_add(ngx_http_tailnet_status_t *st, u_char *p,
    size_t len)
{
    size_t        n;
    ngx_buf_t    *b;
    ngx_pool_t   *pool;
    ngx_chain_t  *cl;

    pool = st->request->pool;

    st->size += len;

    if (st->size > NGX_HTTP_TAILNET_STATUS_MAX) {
        return NGX_ERROR;
    }

    while (len) {
        b = st->buf;

        if (b == NULL || b->last == b->end) {
            b = ngx_create_temp_buf(pool, 16 * TN_IPC_CHUNK);
            cl = ngx_alloc_chain_link(pool);

            if (b == NULL || cl == NULL) {
                return NGX_ERROR;
            }

            cl->buf = b;
            cl->next = NULL;

            *st->last = cl;
            st->last = &cl->next;
            st->buf = b;
        }

        n = ngx_min(len, (size_t) (b->end - b->last));
        b->last = ngx_cpymem(b->last, p, n);
        p += n;
        len -= n;
    }

    return NGX_OK;
}


static ngx_int_t
ngx_http_tailnet_status_send(ngx_http_tailnet_status_t *st)
{
    ngx_int_t            rc;
    ngx_http_request_t  *r;

    r = st->request;

    if (st->buf == NULL) {
        return NGX_HTTP_SERVICE_UNAVAILABLE;
    }

    st->buf->last_buf = (r == r->main);
    st->buf->last_in_chain = 1;

    r->headers_out.status = NGX_HTTP_OK;
    r->headers_out.content_length_n = st->size;
    r->headers_out.content_type = st->format->type;
    r->headers_out.content_type_len = ngx_strchr(st->format->type.data, ';')
                      ? (size_t) ((u_char *) ngx_strchr(st->format->type.data,
                                                        ';')
                                  - st->format->type.data)
                      : st->format->type.len;
    r->headers_out.content_type_lowcase = NULL;

    if (ngx_http_tailnet_status_header(r, "Cache-Control", "no-store")
        != NGX_OK
        || ngx_http_tailnet_status_header(r, "X-Content-Type-Options",
                                          "nosniff")
           != NGX_OK
        || ngx_http_tailnet_status_header(r, "Content-Security-Policy",
                                  "default-src 'none'; "
                                  "style-src 'unsafe-inline'; "
                                  "base-uri 'none'; form-action 'none'; "
                                  "frame-ancestors 'none'")
           != NGX_OK)
    {
        return NGX_HTTP_INTERNAL_SERVER_ERROR;
    }

    rc = ngx_http_send_header(r);

    if (rc == NGX_ERROR || rc > NGX_OK || r->header_only) {
        return rc;
    }

    return ngx_http_output_filter(r, st->out);
}


static ngx_int_t
ngx_http_tailnet_status_header(ngx_http_request_t *r, char *key, char *value)
{
    ngx_table_elt_t  *h;

    h = ngx_list_push(&r->headers_out.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->hash = 1;
    h->key.data = (u_char *) key;
    h->key.len = ngx_strlen(key);
    h->value.data = (u_char *) value;
    h->value.len = ngx_strlen(value);

    return NGX_OK;
}


static void
ngx_http_tailnet_status_close(void *data)
{
    ngx_http_tailnet_status_t *st = data;

    if (st->channel) {
        ngx_close_connection(st->channel);
        st->channel = NULL;
    }
}
