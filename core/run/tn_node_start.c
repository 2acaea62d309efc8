
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The start of a node: the state directory with its keys, what connections
 * are made with, the control client with what was kept of the last run, the
 * certificates; and, when the node is in a tailnet, the data thread.
 */

#include "run/tn_node_private.h"

#include "control/tn_http1.h"
#include "host/tn_lastport.h"
#include "host/tn_udp_socket.h"
#include "run/tn_nodeconf.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>


#define TN_NODE_RETRY_MS   5000     /* after the state directory failed */


static bool node_start_ways(tn_node_t *node);
static bool node_start_state(tn_node_t *node, tn_control_saved_t *saved);
static void node_keep_port(tn_node_t *node);
static bool node_lend(const int *own, int *lent, size_t n);
static bool node_start_control(tn_node_t *node,
    const tn_control_saved_t *saved);
static bool node_start_certs(tn_node_t *node);
static bool node_is_proxied(const tn_node_t *node);
static void node_restore_lock(tn_node_t *node);
static void node_restore(tn_node_t *node);


void
tn_node_start(tn_node_t *node)
{
    bool                ok;
    tn_control_saved_t  saved;

    memset(&saved, 0, sizeof(saved));

    ok = node_start_ways(node) && node_start_state(node, &saved)
         && node_start_control(node, &saved) && node_start_certs(node);

    tn_wipe(&saved, sizeof(saved));

    if (!ok) {
        (void) tn_timer_set(&node->loop->timers, &node->timer,
                            tn_max(node->loop->now, tn_loop_clock_ms())
                            + TN_NODE_RETRY_MS);
        return;
    }

    node_restore_lock(node);
    node_restore(node);
    tn_control_start(node->control);
}


/* it is of one registration: a node that is in no tailnet has none */
static void
node_restore_lock(tn_node_t *node)
{
    size_t            len;
    tn_rc_t           rc;
    uint8_t          *bytes;
    tn_state_error_t  error;

    if (!tn_control_saved(node->control)->registered) {
        (void) tn_nodestate_keep_lock(node->state, NULL, 0, &error);
        return;
    }

    rc = tn_nodestate_lock(node->state, &bytes, &len, &error);

    if (rc == TN_NOTFOUND) {
        return;
    }

    if (rc == TN_OK) {
        rc = tn_control_restore_lock(node->control, bytes, len);
        tn_state_free(bytes, len);
        (void) snprintf(error.text, sizeof(error.text), "it is damaged");
    }

    if (rc != TN_OK) {
        tn_log(&node->log, TN_LOG_ERR, "tailnet lock as it was kept cannot be "
               "used, control is to be believed: %s", error.text);
    }
}


/* what is wrong with the file only costs a start without it */
static void
node_restore(tn_node_t *node)
{
    size_t            len;
    tn_rc_t           rc;
    uint8_t          *bytes;
    tn_state_error_t  error;

    if (tn_nodestate_netmap(node->state, &bytes, &len, &error) != TN_OK) {
        return;
    }

    rc = tn_control_restore(node->control, bytes, len);
    tn_state_free(bytes, len);

    if (rc != TN_OK) {
        tn_log(&node->log, TN_LOG_INFO, "the netmap of the last run is not "
               "used: %s", rc == TN_REFUSED ? "it is another node's"
                           : rc == TN_NOMEM ? "out of memory"
                           : "it is damaged");
        return;
    }

    if (node->path != NULL) {
        tn_data_control_up(node->path, false);
    }
}


/* what connections to control and to relays are made with */
static bool
node_start_ways(tn_node_t *node)
{
    char  text[TN_TLS_TEXT];

    if (node->tls == NULL) {
        node->tls = tn_tls_create(node->conf.tls_ca[0] ? node->conf.tls_ca
                                                       : NULL, true, text);
        if (node->tls == NULL) {
            tn_log(&node->log, TN_LOG_ERR, "no TLS: %s", text);
            return false;
        }
    }

    if (node->proxies == NULL) {
        node->proxies = tn_proxies_create(node->conf.proxy, &node->log);
    }

    return node->proxies != NULL;
}


static bool
node_start_state(tn_node_t *node, tn_control_saved_t *saved)
{
    tn_rc_t           rc;
    tn_state_error_t  error;

    memset(&error, 0, sizeof(error));

    if (node->state == NULL) {
        rc = tn_nodestate_open(&node->state, node->conf.state_dir, &error);

        if (rc != TN_OK) {
            goto failed;
        }
    }

    rc = tn_nodestate_load(node->state, node->conf.control_url, saved, &error);

    if (rc != TN_OK) {
        goto failed;
    }

    if (node->state_why != TN_STATE_FINE) {
        tn_log(&node->log, TN_LOG_NOTICE, "the state directory is fine now");
        node->state_why = TN_STATE_FINE;
    }

    return true;

failed:

    if (node->state_why != error.why || error.why == TN_STATE_FINE) {
        node->state_why = error.why;
        tn_log(&node->log, TN_LOG_ERR, "%s; the node does not start, "
               "trying again", error.text);
    }

    return false;
}


/* a start without the file costs peers some seconds, no more */

static void
node_keep_port(tn_node_t *node)
{
    uint16_t          port;
    tn_state_error_t  error;

    port = tn_udp_socket_port(node->udp4 != -1 ? node->udp4 : node->udp6);

    if (tn_lastport_write(tn_nodestate_dir(node->state), node->conf.state_dir,
                          port, &error)
        != TN_OK)
    {
        tn_log(&node->log, TN_LOG_NOTICE, "%s; the UDP port is not kept",
               error.text);
    }
}


bool
tn_node_start_data(tn_node_t *node, const tn_keypair_t *pair)
{
    int             own[4], lent[4];
    tn_ip_t         none[2];
    tn_data_conf_t  conf;

    node_keep_port(node);

    own[0] = node->tun;
    own[1] = node->bulk;
    own[2] = node->udp4;
    own[3] = node->udp6;

    if (!node_lend(own, lent, 4)) {
        tn_log(&node->log, TN_LOG_ERR, "no descriptors for the data path: %s",
               strerror(errno));
        return false;
    }

    memset(&conf, 0, sizeof(conf));
    conf.ops = &tn_node_data_ops;
    conf.data = node;
    conf.control = node->loop;
    conf.log = &node->log;
    conf.name = node->conf.name;
    conf.tls = node->tls;
    conf.proxies = node->proxies;
    conf.node = *pair;
    conf.disco = node->disco;
    conf.tun = lent[0];
    conf.bulk = lent[1];
    conf.listeners = node->listeners;
    conf.by_lwip = node->by_lwip;
    conf.udp4 = lent[2];
    conf.udp6 = lent[3];
    conf.port = node->conf.udp_port;
    conf.udp_offload = node->udp_offload;
    conf.told_ns = tn_share_told(node->share);
    conf.shields_up = (node->conf.flags & TN_IPC_SHIELDS_UP) != 0;
    conf.static_endpoints = node->conf.static_endpoints;
    conf.nstatic = node->conf.nstatic;
    conf.relay_port = node->conf.relay_port;
    conf.port_mapping = (node->conf.flags & TN_IPC_NO_PORT_MAP) == 0;
    conf.routes = node->approved;
    conf.nroutes = node->napproved;

    node->path = tn_data_start(&conf);

    tn_wipe(&conf, sizeof(conf));

    if (node->path == NULL) {
        return false;
    }

    tn_ipc_close(own, 4);
    node->tun = -1;
    node->bulk = -1;
    node->udp4 = -1;
    node->udp6 = -1;

    /* nobody is near until it is measured again */

    memset(none, 0, sizeof(none));
    tn_node_data_ops.near_changed(node, none, false);

    return true;
}


/* the supervisor gives them once, so a start that fails must not take them */
static bool
node_lend(const int *own, int *lent, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        lent[i] = own[i] != -1 ? fcntl(own[i], F_DUPFD_CLOEXEC, 0) : -1;

        if (lent[i] == -1 && own[i] != -1) {
            tn_ipc_close(lent, i);
            return false;
        }
    }

    return true;
}


static bool
node_start_control(tn_node_t *node, const tn_control_saved_t *saved)
{
    tn_nodeconf_t  conf;

    tn_nodeconf_read(&conf, &node->conf);

    conf.control.tls_only = node_is_proxied(node);
    conf.control.saved = *saved;
    conf.control.disco = node->disco.pub;

    node->control = tn_control_create(&conf.control, &tn_node_control_ops, node,
                                      &node->loop->timers, &node->log);

    tn_wipe(&conf, sizeof(conf));

    return node->control != NULL;
}


/* few proxies let a tunnel lead to port 80 */
static bool
node_is_proxied(const tn_node_t *node)
{
    tn_url_t     url;
    const char  *err;

    return tn_url_parse(&url, node->conf.control_url[0]
                              ? node->conf.control_url
                              : TN_CONTROL_URL_DEFAULT, &err) == TN_OK
           && url.tls
           && tn_proxies_choose(node->proxies, true, url.host, url.port)
              != NULL;
}


static bool
node_start_certs(tn_node_t *node)
{
    tn_nodecert_conf_t  conf;

    memset(&conf, 0, sizeof(conf));
    conf.loop = node->loop;
    conf.http = node->http;
    conf.queue = node->queue;
    conf.log = &node->log;
    conf.state = tn_nodestate_dir(node->state);
    conf.control = node->control;
    conf.proxies = node->proxies;
    conf.directory = node->conf.acme[0] ? node->conf.acme : NULL;
    conf.ca_file = node->conf.tls_ca[0] ? node->conf.tls_ca : NULL;

    node->certs = tn_nodecert_create(&conf);

    return node->certs != NULL;
}
