
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A tailnet address belongs to one peer, and WireGuard lets no other send
 * from it: so the address that a connection was accepted from says who it
 * is.  What counts is that moment.  It is noted which peer had the address;
 * later, when somebody asks, what is known of that peer is looked up anew,
 * and when the address is nobody's or another's by then, nothing is.  A
 * connection of a listener of the host, whatever its address, has no note.
 */

#include "ngx_tailnet_identity.h"


static void ngx_tailnet_caller_cleanup(void *data);
static ngx_int_t ngx_tailnet_identity_copy(ngx_pool_t *pool, ngx_str_t *dst,
    tn_snapshot_peer_t *src);
static void ngx_tailnet_json_skip(u_char **p, u_char *last);


/* a record as it comes out of the shared memory; workers have one thread */
static u_char  ngx_tailnet_record[TN_SNAPSHOT_RECORD_MAX];


ngx_tailnet_var_t  ngx_tailnet_vars[] = {

    { ngx_string("tailnet_name"), NGX_TAILNET_VAR_NAME },
    { ngx_string("tailnet_fqdn"), NGX_TAILNET_VAR_FQDN },
    { ngx_string("tailnet_ip"), NGX_TAILNET_VAR_IP },
    { ngx_string("tailnet_peer"), NGX_TAILNET_VAR_PEER },
    { ngx_string("tailnet_peer_fqdn"), NGX_TAILNET_VAR_PEER_FQDN },
    { ngx_string("tailnet_peer_id"), NGX_TAILNET_VAR_PEER_ID },
    { ngx_string("tailnet_tags"), NGX_TAILNET_VAR_TAGS },
    { ngx_string("tailnet_user_login"), NGX_TAILNET_VAR_LOGIN },
    { ngx_string("tailnet_user_name"), NGX_TAILNET_VAR_DISPLAY },
    { ngx_string("tailnet_user_picture"), NGX_TAILNET_VAR_PICTURE },
    { ngx_string("tailnet_caps"), NGX_TAILNET_VAR_CAPS },
    { ngx_string("tailnet_path"), NGX_TAILNET_VAR_PATH },
    { ngx_string("tailnet_funnel"), NGX_TAILNET_VAR_FUNNEL },
    { ngx_string("tailnet_ingress_addr"), NGX_TAILNET_VAR_INGRESS },

    { ngx_null_string, 0 }
};


ngx_int_t
ngx_tailnet_caller_note(ngx_connection_t *c, ngx_tailnet_node_t *node)
{
    tn_rc_t                   rc;
    tn_addr_t                 addr;
    ngx_pool_cleanup_t       *cln;
    tn_snapshot_peer_t        peer;
    ngx_tailnet_caller_t     *caller;
    struct sockaddr_storage   ss;

    cln = ngx_pool_cleanup_add(c->pool, sizeof(ngx_tailnet_caller_t));
    if (cln == NULL) {
        return NGX_ERROR;
    }

    cln->handler = ngx_tailnet_caller_cleanup;

    caller = cln->data;
    ngx_memzero(caller, sizeof(ngx_tailnet_caller_t));

    caller->node = node;

    ngx_memzero(&ss, sizeof(struct sockaddr_storage));
    ngx_memcpy(&ss, c->sockaddr, ngx_min((size_t) c->socklen, sizeof(ss)));

    if (node->directory.mem == NULL
        || tn_addr_from_sockaddr(&addr, &ss) != TN_OK)
    {
        return NGX_OK;
    }

    caller->ip = addr.ip;

    rc = tn_directory_find(&node->directory, &caller->ip, &peer, NULL);

    if (rc == TN_OK) {
        caller->known = NGX_TAILNET_CALLER_PEER;
        caller->id = peer.id;

    } else if (rc == TN_AGAIN) {
        caller->known = NGX_TAILNET_CALLER_UNTOLD;
    }

    return NGX_OK;
}


/* its address is what the note is found by */

static void
ngx_tailnet_caller_cleanup(void *data)
{
}


ngx_tailnet_caller_t *
ngx_tailnet_caller(ngx_connection_t *c)
{
    ngx_pool_cleanup_t  *cln;

    for (cln = c->pool->cleanup; cln; cln = cln->next) {
        if (cln->handler == ngx_tailnet_caller_cleanup) {
            return cln->data;
        }
    }

    return NULL;
}


ngx_tailnet_identity_t *
ngx_tailnet_identity(ngx_connection_t *c, ngx_pool_t *pool)
{
    tn_snapshot_peer_t       peer;
    ngx_tailnet_caller_t    *caller;
    ngx_tailnet_identity_t  *identity;

    identity = ngx_pcalloc(pool, sizeof(ngx_tailnet_identity_t));
    if (identity == NULL) {
        return NULL;
    }

    caller = ngx_tailnet_caller(c);

    identity->caller = caller;

    if (caller == NULL
        || caller->funnel
        || caller->known == NGX_TAILNET_CALLER_NOBODY
        || tn_directory_find(&caller->node->directory, &caller->ip, &peer,
                             ngx_tailnet_record)
           != TN_OK)
    {
        return identity;
    }

    if (caller->known == NGX_TAILNET_CALLER_UNTOLD) {
        caller->known = NGX_TAILNET_CALLER_PEER;
        caller->id = peer.id;
    }

    if (peer.id != caller->id) {
        return identity;
    }

    if (ngx_tailnet_identity_copy(pool, identity->peer, &peer) != NGX_OK) {
        return NULL;
    }

    return identity;
}


/* what people chose may end up in a header or a log: it stays one line */

static ngx_int_t
ngx_tailnet_identity_copy(ngx_pool_t *pool, ngx_str_t *dst,
    tn_snapshot_peer_t *src)
{
    u_char      *p;
    size_t       len;
    ngx_uint_t   i;

    len = 0;

    for (i = 0; i < TN_SNAPSHOT_NFIELDS; i++) {
        len += src->field[i].len;
    }

    p = ngx_pnalloc(pool, len + 1);
    if (p == NULL) {
        return NGX_ERROR;
    }

    for (i = 0; i < TN_SNAPSHOT_NFIELDS; i++) {
        dst[i].data = p;
        dst[i].len = src->field[i].len;

        p = ngx_cpymem(p, src->field[i].data, src->field[i].len);
    }

    for (p = dst[0].data; len; p++, len--) {
        if (*p < 0x20 || *p == 0x7f) {
            *p = ' ';
        }
    }

    return NGX_OK;
}


ngx_str_t *
ngx_tailnet_identity_caps(ngx_tailnet_identity_t *identity)
{
    if (identity->caller && !tn_ip_is_v4(&identity->caller->ip)) {
        return &identity->peer[TN_SNAPSHOT_CAPS6];
    }

    return &identity->peer[TN_SNAPSHOT_CAPS];
}


ngx_int_t
ngx_tailnet_identity_var(ngx_tailnet_identity_t *identity,
    ngx_tailnet_var_e var, ngx_pool_t *pool, ngx_str_t *value)
{
    u_char                *p;
    tn_snapshot_peer_t     self;
    ngx_tailnet_caller_t  *caller;

    static ngx_int_t  fields[] = {
        TN_SNAPSHOT_NAME,               /* NGX_TAILNET_VAR_NAME */
        TN_SNAPSHOT_FQDN,
        TN_SNAPSHOT_ADDRESSES,
        TN_SNAPSHOT_NAME,               /* NGX_TAILNET_VAR_PEER */
        TN_SNAPSHOT_FQDN,
        TN_SNAPSHOT_ID,
        TN_SNAPSHOT_TAGS,
        TN_SNAPSHOT_LOGIN,
        TN_SNAPSHOT_DISPLAY,
        TN_SNAPSHOT_PICTURE,
        TN_SNAPSHOT_CAPS,
        TN_SNAPSHOT_PATH
    };

    caller = identity->caller;

    ngx_str_null(value);

    if (caller == NULL) {
        return NGX_OK;
    }

    switch (var) {

    case NGX_TAILNET_VAR_FUNNEL:

        if (caller->funnel) {
            ngx_str_set(value, "1");
        }

        return NGX_OK;

    case NGX_TAILNET_VAR_INGRESS:
        *value = caller->ingress;
        return NGX_OK;

    case NGX_TAILNET_VAR_CAPS:
        *value = *ngx_tailnet_identity_caps(identity);
        return NGX_OK;

    case NGX_TAILNET_VAR_NAME:
    case NGX_TAILNET_VAR_FQDN:
    case NGX_TAILNET_VAR_IP:

        if (!identity->self_read) {
            identity->self_read = 1;

            if (caller->node->directory.mem
                && tn_directory_self(&caller->node->directory, &self,
                                     ngx_tailnet_record)
                   == TN_OK
                && ngx_tailnet_identity_copy(pool, identity->self, &self)
                   != NGX_OK)
            {
                return NGX_ERROR;
            }
        }

        *value = identity->self[fields[var]];

        if (var == NGX_TAILNET_VAR_IP && value->len) {
            p = ngx_strlchr(value->data, value->data + value->len, ',');

            if (p) {
                value->len = p - value->data;
            }
        }

        return NGX_OK;

    default:
        *value = identity->peer[fields[var]];
        return NGX_OK;
    }
}


void
ngx_tailnet_identity_cap(ngx_tailnet_identity_t *identity, ngx_str_t *name,
    ngx_str_t *value)
{
    u_char     *p, *last;
    ngx_str_t  *caps, cap;

    caps = ngx_tailnet_identity_caps(identity);

    if (caps->len) {
        p = caps->data + 1;
        last = caps->data + caps->len;

        while (ngx_tailnet_json_next(&p, last, &cap, value) == NGX_OK) {

            if (cap.len == name->len
                && ngx_memcmp(cap.data, name->data, cap.len) == 0)
            {
                return;
            }
        }
    }

    ngx_str_null(value);
}


ngx_int_t
ngx_tailnet_json_next(u_char **p, u_char *last, ngx_str_t *name,
    ngx_str_t *value)
{
    u_char  *q;

    q = *p;

    if (q < last && *q == ',') {
        q++;
    }

    if (q >= last || *q != '"') {
        return NGX_DONE;
    }

    name->data = ++q;

    /* the core lets no name through that has to be escaped */

    while (q < last && *q != '"') {
        q++;
    }

    name->len = q - name->data;

    if (last - q < 3 || q[1] != ':') {
        return NGX_DONE;
    }

    q += 2;

    value->data = q;
    ngx_tailnet_json_skip(&q, last);
    value->len = q - value->data;

    *p = q;

    return NGX_OK;
}


/* to the end of an array or object; brackets inside of strings do not count */

static void
ngx_tailnet_json_skip(u_char **p, u_char *last)
{
    u_char      *q;
    ngx_uint_t   depth, string;

    depth = 0;
    string = 0;

    for (q = *p; q < last; q++) {

        if (string) {
            if (*q == '\\') {
                q++;

            } else if (*q == '"') {
                string = 0;
            }

            continue;
        }

        if (*q == '"') {
            string = 1;

        } else if (*q == '[' || *q == '{') {
            depth++;

        } else if ((*q == ']' || *q == '}') && --depth == 0) {
            q++;
            break;
        }
    }

    *p = ngx_min(q, last);
}
