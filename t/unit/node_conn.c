
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The node's end of control's connections: whoever ends the one of the map
 * stream, the data thread and the certificates learn that control is away.
 * The connections, the client and those who are told are this file's.
 */

#include "run/tn_node_private.h"
#include "tap.h"

#include "host/tn_conn.h"

#include <stdlib.h>


struct tn_conn_s {
    const tn_conn_ops_t  *ops;
    void                 *data;
    size_t                queued;
};

static tn_node_t   node;
static tn_conn_t   conn[4];
static unsigned    nconns, nclosed;
static bool        online;              /* the client has a map stream */
static int         told_certs, told_data;


/* --- what core/run/tn_node_conn.c stands on */

const tn_proxy_t *
tn_proxies_choose(const tn_proxies_t *proxies, bool tls, const char *host,
    uint16_t port)
{
    (void) proxies;
    (void) tls;
    (void) host;
    (void) port;

    return NULL;
}


tn_conn_t *
tn_conn_open(tn_loop_t *loop, tn_resolver_t *resolver,
    const tn_conn_params_t *params, const tn_conn_ops_t *ops, void *data)
{
    (void) loop;
    (void) resolver;
    (void) params;

    conn[nconns].ops = ops;
    conn[nconns].data = data;

    return &conn[nconns++];
}


void
tn_conn_close(tn_conn_t *c)
{
    c->ops = NULL;
    nclosed++;
}


tn_rc_t
tn_conn_send(tn_conn_t *c, const void *bytes, size_t len)
{
    (void) bytes;

    c->queued += len;

    return TN_OK;
}


size_t
tn_conn_queued(const tn_conn_t *c)
{
    return c->queued;
}


void
tn_conn_shutdown(tn_conn_t *c)
{
    (void) c;
}


bool
tn_conn_is_rerouted(const tn_conn_t *c, bool major)
{
    (void) c;

    return major;
}


void
tn_control_connected(tn_control_t *control, uint32_t id)
{
    (void) control;
    (void) id;
}


void
tn_control_received(tn_control_t *control, uint32_t id, const uint8_t *bytes,
    size_t len)
{
    (void) control;
    (void) id;
    (void) bytes;
    (void) len;
}


void
tn_control_closed(tn_control_t *control, uint32_t id, const char *reason)
{
    (void) control;
    (void) id;
    (void) reason;

    online = false;
}


bool
tn_control_online(const tn_control_t *control)
{
    (void) control;

    return online;
}


void
tn_nodecert_online(tn_nodecert_t *nc, bool up)
{
    (void) nc;

    told_certs += !up;
}


void
tn_data_control_up(tn_data_t *data, bool up)
{
    (void) data;

    told_data += !up;
}


/* --- */

/* a node with a map stream by connection 1 */
static void
begin(void)
{
    static char  something;

    memset(&node, 0, sizeof(node));
    memset(conn, 0, sizeof(conn));
    tn_list_init(&node.conns);
    node.certs = (tn_nodecert_t *) (void *) &something;
    node.path = (tn_data_t *) (void *) &something;
    node.online = true;

    nconns = 0;
    nclosed = 0;
    told_certs = 0;
    told_data = 0;
    online = true;

    tn_node_connect(&node, 1, "c.test", 443, true);
}


int
main(void)
{
    /* the server closes it */

    begin();
    conn[0].ops->closed(conn[0].data, &conn[0], TN_CONN_LOST, "reset");
    ok(!node.online && told_data == 1 && told_certs == 1,
       "closed by the server: it is told that control is away");
    is_int(node.nconns, 0, "and forgotten");

    /* the client does, since it hears nothing */

    begin();
    online = false;
    tn_node_close(&node, 1);
    ok(!node.online && told_data == 1 && told_certs == 1,
       "given up by the client: the same is told");
    is_int(nclosed, 1, "and it is closed");

    /* with bytes that are still to go */

    begin();
    tn_node_send(&node, 1, (const uint8_t *) "end", 3);
    online = false;
    tn_node_close(&node, 1);
    ok(!node.online && told_data == 1 && told_certs == 1,
       "also when it has something to send");
    is_int(nclosed, 0, "which goes first");
    tn_node_close(&node, 1);
    is_int(told_data, 1, "all that once");
    tn_node_conns_done(&node);

    /* one that is not the map stream's */

    begin();
    tn_node_connect(&node, 2, "c.test", 443, true);
    tn_node_close(&node, 2);
    ok(node.online && told_data == 0, "another connection means nothing");

    /* the network changes */

    begin();
    tn_node_conns_rerouted(&node, false);
    is_int(nclosed, 0, "a link of others: all connections go on");
    tn_node_conns_rerouted(&node, true);
    is_int(nclosed, 1, "another network: that may end some");
    begin();

    /* the node ends */

    node.certs = NULL;
    online = false;
    tn_node_close(&node, 1);
    is_int(told_certs + told_data, 0, "at the end nobody is told");

    return tap_done();
}
