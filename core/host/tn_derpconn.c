
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "host/tn_derpconn.h"

#include "host/tn_conn.h"
#include "host/tn_tls.h"

#include <stdio.h>
#include <stdlib.h>


typedef struct {
    tn_link_t             link;
    tn_derpconn_t        *set;
    tn_conn_t            *conn;
    uint32_t              region;
} derpconn_t;


struct tn_derpconn_s {
    tn_loop_t            *loop;
    tn_resolver_t        *resolver;
    tn_log_t             *log;
    tn_path_t            *path;
    tn_derpconn_done_pt   done;
    void                 *data;
    tn_tls_t             *tls;          /* verified */
    tn_tls_t             *tls_any;      /* for nodes marked for tests */
    tn_link_t             conns;
};


static bool derpconn_plain(const tn_derpmap_node_t *node);
static void derpconn_done(derpconn_t *derp);
static void derpconn_connected(void *data, tn_conn_t *conn);
static void derpconn_received(void *data, tn_conn_t *conn, uint8_t *bytes,
    size_t len);
static void derpconn_closed(void *data, tn_conn_t *conn, tn_conn_why_e why,
    const char *text);


static const tn_conn_ops_t  derpconn_ops = {
    derpconn_connected,
    derpconn_received,
    NULL,
    derpconn_closed
};


tn_derpconn_t *
tn_derpconn_create(tn_loop_t *loop, tn_resolver_t *resolver,
    const char *ca_file, tn_derpconn_done_pt done, void *data, tn_log_t *log)
{
    char            text[TN_TLS_TEXT];
    tn_derpconn_t  *set;

    set = calloc(1, sizeof(tn_derpconn_t));
    if (set == NULL) {
        tn_log(log, TN_LOG_ERR, "no memory for DERP");
        return NULL;
    }

    set->loop = loop;
    set->resolver = resolver;
    set->log = log;
    set->done = done;
    set->data = data;
    tn_list_init(&set->conns);

    set->tls = tn_tls_create(ca_file, true, text);

    if (set->tls != NULL) {
        set->tls_any = tn_tls_create(NULL, false, text);
    }

    if (set->tls_any == NULL) {
        tn_log(log, TN_LOG_ERR, "no TLS for DERP: %s", text);
        tn_derpconn_destroy(set);
        return NULL;
    }

    return set;
}


void
tn_derpconn_destroy(tn_derpconn_t *set)
{
    if (set == NULL) {
        return;
    }

    tn_derpconn_set_path(set, NULL);

    if (set->tls != NULL) {
        tn_tls_free(set->tls);
    }

    if (set->tls_any != NULL) {
        tn_tls_free(set->tls_any);
    }

    free(set);
}


void
tn_derpconn_set_path(tn_derpconn_t *set, tn_path_t *path)
{
    while (!tn_list_empty(&set->conns)) {
        derpconn_done(tn_container(set->conns.next, derpconn_t, link));
    }

    set->path = path;
}


void
tn_derpconn_open(tn_derpconn_t *set, uint32_t region,
    const tn_derpmap_node_t *node)
{
    tn_ip_t            ips[2];
    derpconn_t        *derp;
    tn_conn_params_t   params;

    derp = calloc(1, sizeof(derpconn_t));
    if (derp == NULL) {
        tn_log(set->log, TN_LOG_ERR, "no memory for DERP");
        return;
    }

    memset(&params, 0, sizeof(params));
    params.host = node->hostname;
    params.port = node->derp_port ? node->derp_port : 443;

    if (node->cert_name[0] != '\0') {
        params.cert_name = node->cert_name;
    }

    if (!derpconn_plain(node)) {
        params.tls = node->insecure_for_tests && params.cert_name == NULL
                     ? set->tls_any : set->tls;
    }

    switch (tn_derpmap_node_ip(node, false, &ips[params.n_ips])) {
    case TN_OK:
        params.n_ips++;
        break;
    case TN_REFUSED:
        params.no_v6 = true;
        break;
    default:
        break;
    }

    switch (tn_derpmap_node_ip(node, true, &ips[params.n_ips])) {
    case TN_OK:
        params.n_ips++;
        break;
    case TN_REFUSED:
        params.no_v4 = true;
        break;
    default:
        break;
    }

    params.ips = ips;

    derp->set = set;
    derp->region = region;
    derp->conn = tn_conn_open(set->loop, set->resolver, &params,
                              &derpconn_ops, derp);

    if (derp->conn == NULL) {
        tn_log(set->log, TN_LOG_ERR, "no memory for DERP");
        free(derp);
        return;
    }

    tn_list_push(&set->conns, &derp->link);
}


/*
 * A lab's DERP without TLS: a node marked for tests on one of the two ports
 * that stand for it, HTTP's own and the one of derper's development mode.
 */
static bool
derpconn_plain(const tn_derpmap_node_t *node)
{
    return node->insecure_for_tests
           && (node->derp_port == 80 || node->derp_port == 3340);
}


tn_rc_t
tn_derpconn_write(tn_derpconn_t *set, uint32_t region, const uint8_t *head,
    size_t head_len, const uint8_t *body, size_t body_len)
{
    tn_link_t    *link;
    derpconn_t  *derp;

    tn_list_each(link, &set->conns) {
        derp = tn_container(link, derpconn_t, link);

        if (derp->region == region) {
            return tn_conn_send2(derp->conn, head, head_len, body, body_len);
        }
    }

    return TN_AGAIN;
}


void
tn_derpconn_close(tn_derpconn_t *set, uint32_t region)
{
    tn_link_t    *link, *next;
    derpconn_t  *derp;

    tn_list_each_safe(link, next, &set->conns) {
        derp = tn_container(link, derpconn_t, link);

        if (derp->region == region) {
            derpconn_done(derp);
        }
    }
}


static void
derpconn_done(derpconn_t *derp)
{
    tn_list_remove(&derp->link);
    tn_conn_close(derp->conn);
    free(derp);
}


static void
derpconn_connected(void *data, tn_conn_t *conn)
{
    derpconn_t *derp = data;

    bool        meta;
    uint32_t    version;
    tn_key_t    key;
    tn_derpconn_t  *set;

    set = derp->set;
    meta = tn_conn_derp_key(conn, &key, &version) && version >= 2;

    tn_path_derp_opened(set->path, set->loop->now,
                        derp->region, meta ? &key : NULL);
}


static void
derpconn_received(void *data, tn_conn_t *conn, uint8_t *bytes, size_t len)
{
    derpconn_t *derp = data;

    tn_derpconn_t  *set;

    (void) conn;

    set = derp->set;

    tn_path_derp_bytes(set->path, set->loop->now,
                       derp->region, bytes, len);
    set->done(set->data);
}


static void
derpconn_closed(void *data, tn_conn_t *conn, tn_conn_why_e why,
    const char *text)
{
    derpconn_t *derp = data;

    char        reason[256];
    uint32_t    region;
    tn_derpconn_t  *set;

    (void) conn;
    (void) why;

    set = derp->set;
    region = derp->region;
    (void) snprintf(reason, sizeof(reason), "%s", text);

    derpconn_done(derp);

    tn_path_derp_closed(set->path, set->loop->now, region,
                        reason);
}
