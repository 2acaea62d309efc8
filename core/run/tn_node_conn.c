
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "run/tn_node_private.h"

#include "host/tn_conn.h"

#include <stdio.h>
#include <stdlib.h>


#define TN_NODE_CONNS_MAX  16


typedef struct {
    tn_link_t             link;
    tn_node_t            *node;
    tn_conn_t            *conn;
    uint32_t              id;
    bool                  closing;      /* only its last bytes matter */
} node_conn_t;


static node_conn_t *node_conn(tn_node_t *node, uint32_t id);
static void node_conn_done(node_conn_t *conn);
static void node_conn_connected(void *data, tn_conn_t *conn);
static void node_conn_received(void *data, tn_conn_t *conn, uint8_t *bytes,
    size_t len);
static void node_conn_closed(void *data, tn_conn_t *conn, tn_conn_why_e why,
    const char *text);
static void node_conn_lost(tn_node_t *node, uint32_t id, const char *reason);
static void node_conn_look(tn_node_t *node);


static const tn_conn_ops_t  node_conn_ops = {
    node_conn_connected,
    node_conn_received,
    NULL,
    node_conn_closed
};


void
tn_node_connect(void *data, uint32_t id, const char *host, uint16_t port,
    bool tls)
{
    tn_node_t *node = data;

    node_conn_t       *conn;
    tn_conn_params_t   params;

    conn = calloc(1, sizeof(node_conn_t));
    if (conn == NULL) {
        tn_log(&node->log, TN_LOG_ERR, "no memory for a connection");
        return;
    }

    memset(&params, 0, sizeof(params));
    params.host = host;
    params.port = port;

    params.tls = tls ? node->tls : NULL;
    params.proxy = tn_proxies_choose(node->proxies, tls, host, port);

    conn->node = node;
    conn->id = id;
    conn->conn = tn_conn_open(node->loop, node->resolver, &params,
                              &node_conn_ops, conn);

    if (conn->conn == NULL) {
        tn_log(&node->log, TN_LOG_ERR, "no memory for a connection");
        free(conn);
        return;
    }

    tn_list_push(&node->conns, &conn->link);
    node->nconns++;
}


static node_conn_t *
node_conn(tn_node_t *node, uint32_t id)
{
    tn_link_t    *link;
    node_conn_t  *conn;

    tn_list_each(link, &node->conns) {
        conn = tn_container(link, node_conn_t, link);

        if (conn->id == id && !conn->closing) {
            return conn;
        }
    }

    return NULL;
}


static void
node_conn_done(node_conn_t *conn)
{
    conn->node->nconns--;
    tn_list_remove(&conn->link);
    tn_conn_close(conn->conn);
    free(conn);
}


void
tn_node_send(void *data, uint32_t id, const uint8_t *bytes, size_t len)
{
    tn_node_t *node = data;

    tn_rc_t       rc;
    node_conn_t  *conn;

    conn = node_conn(node, id);

    if (conn == NULL) {
        return;
    }

    rc = tn_conn_send(conn->conn, bytes, len);

    /*
     * A server that does not read for half a megabyte is as good as gone;
     * the client's own watchdog redials.
     */

    if (rc != TN_OK) {
        tn_log(&node->log, TN_LOG_WARN, "control does not take our bytes");
    }
}


void
tn_node_close(void *data, uint32_t id)
{
    tn_node_t *node = data;

    node_conn_t  *conn;

    conn = node_conn(node, id);

    if (conn == NULL) {
        return;
    }

    if (tn_conn_queued(conn->conn) == 0 || node->nconns > TN_NODE_CONNS_MAX) {
        node_conn_done(conn);

    } else {
        conn->closing = true;
        tn_conn_shutdown(conn->conn);
    }

    node_conn_look(node);
}


void
tn_node_conns_rerouted(tn_node_t *node, bool major)
{
    size_t        i, n;
    uint32_t      ids[TN_NODE_CONNS_MAX];
    tn_link_t    *link, *next;
    node_conn_t  *conn;

    n = 0;

    /* they would only be missed in seconds */

    tn_list_each_safe(link, next, &node->conns) {
        conn = tn_container(link, node_conn_t, link);

        if (n < TN_NODE_CONNS_MAX && !conn->closing
            && tn_conn_is_rerouted(conn->conn, major))
        {
            ids[n++] = conn->id;
            node_conn_done(conn);
        }
    }

    for (i = 0; i < n; i++) {
        node_conn_lost(node, ids[i], "the host's address is another");
    }
}


void
tn_node_conns_done(tn_node_t *node)
{
    while (!tn_list_empty(&node->conns)) {
        node_conn_done(tn_container(node->conns.next, node_conn_t, link));
    }
}


static void
node_conn_connected(void *data, tn_conn_t *c)
{
    node_conn_t *conn = data;

    (void) c;

    tn_control_connected(conn->node->control, conn->id);
}


static void
node_conn_received(void *data, tn_conn_t *c, uint8_t *bytes, size_t len)
{
    node_conn_t *conn = data;

    (void) c;

    if (!conn->closing) {
        tn_control_received(conn->node->control, conn->id, bytes, len);
    }
}


static void
node_conn_closed(void *data, tn_conn_t *c, tn_conn_why_e why,
    const char *text)
{
    node_conn_t *conn = data;

    char        reason[256];
    bool        closing;
    uint32_t    id;
    tn_node_t  *node;

    (void) c;
    (void) why;

    node = conn->node;
    id = conn->id;
    closing = conn->closing;
    (void) snprintf(reason, sizeof(reason), "%s", text);

    node_conn_done(conn);

    if (!closing) {
        node_conn_lost(node, id, reason);
    }
}


static void
node_conn_lost(tn_node_t *node, uint32_t id, const char *reason)
{
    tn_control_closed(node->control, id, reason);
    node_conn_look(node);
}


/* whether that was the map stream's, whoever has ended it; at the node's end
 * there is nobody left to tell */
static void
node_conn_look(tn_node_t *node)
{
    if (node->certs != NULL && node->online
        && !tn_control_online(node->control))
    {
        node->online = false;
        tn_nodecert_online(node->certs, false);

        if (node->path != NULL) {
            tn_data_control_up(node->path, false);
        }
    }
}
