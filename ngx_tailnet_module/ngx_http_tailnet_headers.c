
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The headers by which `tailscale serve` tells an upstream who is calling:
 * set for a user's own node, not for a tagged one or for who comes from
 * elsewhere.  Whatever a client sends under these names is taken away first.
 */

#include "ngx_http_tailnet.h"

#include "wire/tn_qword.h"


#define NGX_HTTP_TAILNET_INFO  "https://tailscale.com/s/serve-headers"


static void ngx_http_tailnet_headers_done(void *data);
static ngx_int_t ngx_http_tailnet_clean(ngx_http_request_t *r);
static ngx_uint_t ngx_http_tailnet_is_ours(ngx_str_t *key);
static ngx_int_t ngx_http_tailnet_encode(ngx_http_request_t *r,
    ngx_str_t *text, ngx_str_t *value);
static void ngx_http_tailnet_url(ngx_str_t *url, ngx_str_t *value);
static ngx_int_t ngx_http_tailnet_add(ngx_http_request_t *r, char *key,
    ngx_str_t *value);


/* names as an upstream may fold them: "-" stands for what is no letter */

static ngx_str_t  ngx_http_tailnet_names[] = {
    ngx_string("tailscale-user-*"),
    ngx_string("tailscale-funnel-request"),
    ngx_string("tailscale-headers-info"),
    ngx_string("tailscale-app-capabilities"),
    ngx_null_string
};


ngx_int_t
ngx_http_tailnet_headers(ngx_http_request_t *r)
{
    ngx_str_t                login, display, picture, info;
    ngx_pool_cleanup_t      *cln;
    ngx_tailnet_identity_t  *identity;

    for (cln = r->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_http_tailnet_headers_done) {
            return NGX_OK;
        }
    }

    cln = ngx_pool_cleanup_add(r->pool, 0);

    if (cln == NULL || ngx_http_tailnet_clean(r) != NGX_OK) {
        return NGX_ERROR;
    }

    cln->handler = ngx_http_tailnet_headers_done;

    if (ngx_tailnet_caller(r->connection) == NULL) {
        return NGX_OK;
    }

    identity = ngx_http_tailnet_identity(r);

    if (identity == NULL) {
        return NGX_ERROR;
    }

    if (identity->caller->funnel) {
        ngx_str_set(&info, "?1");
        return ngx_http_tailnet_add(r, "Tailscale-Funnel-Request", &info);
    }

    /* who is tagged has no user */

    if (identity->peer[TN_SNAPSHOT_LOGIN].len == 0) {
        return NGX_OK;
    }

    if (ngx_http_tailnet_encode(r, &identity->peer[TN_SNAPSHOT_LOGIN],
                                &login)
        != NGX_OK
        || ngx_http_tailnet_encode(r, &identity->peer[TN_SNAPSHOT_DISPLAY],
                                   &display)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    ngx_http_tailnet_url(&identity->peer[TN_SNAPSHOT_PICTURE], &picture);
    ngx_str_set(&info, NGX_HTTP_TAILNET_INFO);

    if (ngx_http_tailnet_add(r, "Tailscale-User-Login", &login) != NGX_OK
        || ngx_http_tailnet_add(r, "Tailscale-User-Name", &display) != NGX_OK
        || ngx_http_tailnet_add(r, "Tailscale-User-Profile-Pic", &picture)
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    return ngx_http_tailnet_add(r, "Tailscale-Headers-Info", &info);
}


/* a redirect takes contexts away, and leaves this */

static void
ngx_http_tailnet_headers_done(void *data)
{
}


/*
 * When there is a forged one, the others move to another list.  nginx's own
 * pointers to them stay good: what they point at is not changed.
 */

static ngx_int_t
ngx_http_tailnet_clean(ngx_http_request_t *r)
{
    ngx_uint_t        i, n, forged;
    ngx_list_part_t   former, *part;
    ngx_table_elt_t  *h, *copy;

    n = 0;
    forged = 0;

    for (part = &r->headers_in.headers.part; part; part = part->next) {
        h = part->elts;
        n += part->nelts;

        for (i = 0; i < part->nelts; i++) {
            forged += ngx_http_tailnet_is_ours(&h[i].key);
        }
    }

    if (forged == 0) {
        return NGX_OK;
    }

    former = r->headers_in.headers.part;

    if (ngx_list_init(&r->headers_in.headers, r->pool, n + 4,
                      sizeof(ngx_table_elt_t))
        != NGX_OK)
    {
        return NGX_ERROR;
    }

    for (part = &former; part; part = part->next) {
        h = part->elts;

        for (i = 0; i < part->nelts; i++) {

            if (ngx_http_tailnet_is_ours(&h[i].key)) {
                continue;
            }

            copy = ngx_list_push(&r->headers_in.headers);
            if (copy == NULL) {
                return NGX_ERROR;
            }

            *copy = h[i];
        }
    }

    return NGX_OK;
}


static ngx_uint_t
ngx_http_tailnet_is_ours(ngx_str_t *key)
{
    u_char       c;
    size_t       i;
    ngx_str_t   *name;
    ngx_uint_t   n;

    if (key->len < sizeof("tailscale-user-") - 1) {
        return 0;
    }

    for (n = 0; ngx_http_tailnet_names[n].len; n++) {
        name = &ngx_http_tailnet_names[n];

        for (i = 0; i < key->len && i < name->len; i++) {

            if (name->data[i] == '*') {
                return 1;
            }

            c = ngx_tolower(key->data[i]);

            if (!(c >= 'a' && c <= 'z') && !(c >= '0' && c <= '9')) {
                c = '-';
            }

            if (c != name->data[i]) {
                break;
            }
        }

        if (i == key->len && (i == name->len || name->data[i] == '*')) {
            return 1;
        }
    }

    return 0;
}


static ngx_int_t
ngx_http_tailnet_encode(ngx_http_request_t *r, ngx_str_t *text,
    ngx_str_t *value)
{
    value->data = ngx_pnalloc(r->pool, TN_QWORD_ROOM(text->len));
    if (value->data == NULL) {
        return NGX_ERROR;
    }

    value->len = tn_qword_encode((char *) value->data, (char *) text->data,
                                 text->len);

    return NGX_OK;
}


/* an URL that is one goes as it is */

static void
ngx_http_tailnet_url(ngx_str_t *url, ngx_str_t *value)
{
    size_t  i;

    *value = *url;

    for (i = 0; i < url->len; i++) {
        if (url->data[i] <= ' ' || url->data[i] > '~') {
            ngx_str_null(value);
            return;
        }
    }
}


static ngx_int_t
ngx_http_tailnet_add(ngx_http_request_t *r, char *key, ngx_str_t *value)
{
    ngx_table_elt_t  *h;

    /* nginx makes no list for HTTP/0.9, and for what is no request */

    if (r->headers_in.headers.last == NULL
        && ngx_list_init(&r->headers_in.headers, r->pool, 4,
                         sizeof(ngx_table_elt_t))
           != NGX_OK)
    {
        return NGX_ERROR;
    }

    h = ngx_list_push(&r->headers_in.headers);
    if (h == NULL) {
        return NGX_ERROR;
    }

    ngx_memzero(h, sizeof(ngx_table_elt_t));

    h->key.data = (u_char *) key;
    h->key.len = ngx_strlen(key);
    h->value = *value;

    if (h->value.data == NULL) {
        ngx_str_set(&h->value, "");
    }

    h->lowcase_key = ngx_pnalloc(r->pool, h->key.len);
    if (h->lowcase_key == NULL) {
        return NGX_ERROR;
    }

    h->hash = ngx_hash_strlow(h->lowcase_key, h->key.data, h->key.len);

    return NGX_OK;
}
