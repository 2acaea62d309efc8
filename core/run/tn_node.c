
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node's life: its start (tn_node_start.c) with a disco key of this process,
 * what the control client and the data thread say, its end.  What fails for a
 * reason that can heal (the directory is in use, the disk is full) is logged
 * once for each reason and tried again; meanwhile listeners and other nodes
 * are untouched.
 */

#include "run/tn_node_private.h"
#include "run/tn_nodetrim.h"

#include "crypto/tn_curve.h"
#include "host/tn_conn.h"
#include "run/tn_nodename.h"
#include "run/tn_nodec2n.h"
#include "run/tn_nodeping.h"
#include "run/tn_nodestate.h"
#include "proc/tn_share.h"
#include "host/tn_tls.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>


#define TN_NODE_END_MS     6000     /* the longest goodbye */

/*
 * A large map passes through many times its size in memory, until it is
 * packed for the next start: some seconds later most of that is free, and
 * glibc would keep it.
 */
#define TN_NODE_TRIM_PEERS  500


static void node_log_write(tn_log_t *log, tn_log_level_e level,
    const char *line, size_t len);
static void node_timer(void *data, tn_ms_t now);
static void node_finish(tn_node_t *node);
static void node_left(tn_node_t *node);

static tn_ms_t node_now(void *data);
static int64_t node_wall(void *data);
static tn_rc_t node_save(void *data, const tn_control_saved_t *saved);
static void node_keep_netmap(void *data, const uint8_t *bytes, size_t len);
static tn_rc_t node_keep_lock(void *data, const uint8_t *bytes, size_t len);
static void node_netmap_changed(void *data, tn_netmap_t *netmap,
    const tn_netmap_changes_t *changes);
static bool node_update(tn_node_t *node, tn_netmap_t *netmap,
    const tn_netmap_changes_t *changes, bool fresh);
static void node_self(tn_node_t *node, const tn_netmap_t *netmap);
static void node_state_changed(void *data, tn_control_state_e state,
    const char *text);
static void node_ping(void *data, const tn_control_ping_t *ping);
static void node_c2n(void *data, const tn_control_c2n_t *request);
static void node_dns_set(void *data, const char *error);
static void node_key_changed(void *data, const tn_keypair_t *pair);

static void node_endpoints(void *data, const tn_endpoint_t *endpoints,
    size_t n);
static void node_netinfo(void *data, const tn_netinfo_t *netinfo);
static void node_network(void *data, bool major);
static void node_path(void *data, int64_t id, tn_path_kind_e kind,
    uint32_t derp);
static void node_near(void *data, const tn_ip_t ips[2], bool near);


const tn_control_ops_t  tn_node_control_ops = {
    .now = node_now,
    .wall = node_wall,
    .connect = tn_node_connect,
    .send = tn_node_send,
    .close = tn_node_close,
    .save = node_save,
    .keep_netmap = node_keep_netmap,
    .keep_lock = node_keep_lock,
    .netmap_changed = node_netmap_changed,
    .state_changed = node_state_changed,
    .ping = node_ping,
    .c2n = node_c2n,
    .dns_set = node_dns_set,
    .node_key_changed = node_key_changed
};

const tn_data_ops_t  tn_node_data_ops = {
    node_endpoints,
    node_netinfo,
    node_network,
    node_path,
    node_near
};


tn_node_t *
tn_node_create(const tn_node_conf_t *conf)
{
    tn_node_t  *node;

    node = calloc(1, sizeof(tn_node_t));
    if (node == NULL) {
        return NULL;
    }

    node->ops = conf->ops;
    node->data = conf->data;
    node->loop = conf->loop;
    node->resolver = conf->resolver;
    node->http = conf->http;
    node->queue = conf->queue;
    node->conf = *conf->conf;
    node->sink = conf->log;
    node->log.level = conf->log->level;
    node->log.write = node_log_write;
    node->log.data = node;
    node->tun = conf->tun;
    node->bulk = conf->bulk;
    node->listeners = conf->listeners;
    node->by_lwip = conf->by_lwip;
    node->udp4 = conf->udp4;
    node->udp6 = conf->udp6;
    node->udp_offload = conf->udp_offload;
    node->share = tn_share_open(conf->share, &node->log);

    tn_problems_init(&node->problems);
    tn_list_init(&node->conns);
    tn_list_init(&node->pings);
    tn_timer_init(&node->timer, node_timer, node);
    tn_nodetrim_init(node);
    tn_node_routes_init(node);
    memcpy(node->disco.priv.b, conf->disco, TN_KEY_LEN);
    tn_curve_public(&node->disco.pub, &node->disco.priv);

    tn_node_start(node);
    tn_nodetrim_later(node);

    return node;
}


void
tn_node_end(tn_node_t *node, bool leave)
{
    if (node->ending) {
        return;
    }

    node->ending = true;
    tn_timer_cancel(&node->loop->timers, &node->timer);

    if (node->control != NULL && tn_control_stop(node->control, leave)) {
        (void) tn_timer_set(&node->loop->timers, &node->timer,
                            node->loop->now + TN_NODE_END_MS);
        return;
    }

    /* from the loop, so that the caller need not expect it at once */

    (void) tn_timer_set(&node->loop->timers, &node->timer, node->loop->now);
}


tn_rc_t
tn_node_logout(tn_node_t *node, tn_node_done_pt done, void *data)
{
    if (node->ending || node->leaving) {
        return TN_AGAIN;
    }

    if (node->control == NULL
        || tn_control_state(node->control, NULL) == TN_CONTROL_STOPPED)
    {
        return TN_NOTFOUND;
    }

    node->leaving = true;
    node->left_done = done;
    node->left_data = data;

    (void) tn_control_logout(node->control);

    return TN_OK;
}


void
tn_node_unlogout(tn_node_t *node, const void *data)
{
    if (node->left_data == data) {
        node->left_done = NULL;
    }
}


bool
tn_node_login(tn_node_t *node)
{
    if (node->ending || node->leaving || node->control == NULL
        || tn_control_state(node->control, NULL) != TN_CONTROL_STOPPED)
    {
        return false;
    }

    tn_control_start(node->control);

    return true;
}


void
tn_node_free(tn_node_t *node)
{
    if (node == NULL) {
        return;
    }

    tn_timer_cancel(&node->loop->timers, &node->timer);
    tn_timer_cancel(&node->loop->timers, &node->trim_timer);
    tn_node_routes_done(node);
    tn_data_stop(node->path);
    tn_nodeping_drop(&node->pings);

    /* control's end answers what was asked of it */

    tn_nodecert_destroy(node->certs);
    node->certs = NULL;

    if (node->control != NULL) {
        tn_control_destroy(node->control);
    }

    tn_node_conns_done(node);

    if (node->tls != NULL) {
        tn_tls_free(node->tls);
    }

    tn_proxies_free(node->proxies);
    tn_nodestate_close(node->state);
    tn_share_close(node->share);
    tn_problems_done(&node->problems);

    if (node->tun != -1) {
        (void) close(node->tun);
    }

    if (node->bulk != -1) {
        (void) close(node->bulk);
    }

    if (node->udp4 != -1) {
        (void) close(node->udp4);
    }

    if (node->udp6 != -1) {
        (void) close(node->udp6);
    }

    free(node->name);
    tn_wipe(node, sizeof(tn_node_t));
    free(node);
}


void
tn_node_log_level(tn_node_t *node, tn_log_level_e level)
{
    node->log.level = level;
}


const char *
tn_node_name(const tn_node_t *node)
{
    return node->conf.name;
}


tn_problems_t *
tn_node_problems(tn_node_t *node)
{
    return &node->problems;
}


tn_control_t *
tn_node_control(tn_node_t *node)
{
    return node->control;
}


const char *
tn_node_domains(const tn_node_t *node)
{
    return node->conf.domains;
}


tn_nodecert_t *
tn_node_certs(tn_node_t *node)
{
    return node->certs;
}


void
tn_node_set_api(tn_node_t *node, const struct tn_nodeapi_s *api)
{
    node->api = api;
}


const struct tn_nodeapi_s *
tn_node_api(const tn_node_t *node)
{
    return node->api;
}


void
tn_node_set_services(tn_node_t *node, const struct tn_services_s *services)
{
    node->services = services;
}


const struct tn_services_s *
tn_node_services(const tn_node_t *node)
{
    return node->services;
}


tn_data_t *
tn_node_data(tn_node_t *node)
{
    return node->path;
}


size_t
tn_node_addresses(const tn_node_t *node, tn_ip_t *ips, size_t max)
{
    size_t  n;

    n = tn_min(max, node->nips);
    memcpy(ips, node->ips, n * sizeof(tn_ip_t));

    return n;
}


size_t
tn_node_endpoints(const tn_node_t *node, const tn_endpoint_t **endpoints)
{
    *endpoints = node->endpoints;

    return node->nendpoints;
}


const tn_netinfo_t *
tn_node_netinfo(const tn_node_t *node, tn_ms_t *at)
{
    *at = node->netinfo_at;

    return node->netinfo_at != 0 ? &node->netinfo : NULL;
}


size_t
tn_node_resolve(tn_node_t *node, const char *host, tn_ip_t *ips, size_t max,
    bool *wait, char *text)
{
    const char         *why;
    tn_netmap_t        *netmap;
    tn_control_state_e  state;

    *wait = false;
    text[0] = '\0';

    if (node->control == NULL) {
        *wait = node->state == NULL && !node->ending;
        (void) snprintf(text, TN_IPC_TEXT, "the node has not started");
        return 0;
    }

    netmap = tn_control_netmap(node->control);

    if (netmap->self == NULL) {
        state = tn_control_state(node->control, &why);

        *wait = state == TN_CONTROL_STARTING;
        (void) snprintf(text, TN_IPC_TEXT, "the node has not joined its "
                        "tailnet yet%s%s", *why ? ": " : "", why);
        return 0;
    }

    return tn_nodename_resolve(netmap, host, node->turn++, ips, max, text);
}


void
tn_node_members(tn_node_t *node, const char *host, tn_ipc_members_t *msg)
{
    if (node->control == NULL) {
        tn_ipc_init(msg, TN_IPC_MEMBERS);
        return;
    }

    tn_nodename_members(tn_control_netmap(node->control), host, msg);
}


static void
node_log_write(tn_log_t *log, tn_log_level_e level, const char *line,
    size_t len)
{
    tn_node_t  *node;

    node = log->data;

    tn_problems_note(&node->problems, level, line, len);
    tn_log(node->sink, level, "\"%s\": %.*s", node->conf.name,
           (int) len, line);
}


static void
node_timer(void *data, tn_ms_t now)
{
    tn_node_t *node = data;

    (void) now;

    if (node->ending) {
        node_finish(node);
        return;
    }

    if (node->left) {
        node_left(node);
        return;
    }

    tn_node_start(node);
}


/* control has stopped; unless it could not be told, for good */
static void
node_left(tn_node_t *node)
{
    bool             out;
    tn_keypair_t     nobody;
    tn_node_done_pt  done;

    out = node->left_error[0] == '\0';
    done = node->left_done;

    node->left = false;
    node->leaving = false;
    node->left_done = NULL;
    node->online = false;
    tn_nodecert_online(node->certs, false);

    if (out && node->path != NULL) {

        /* nobody knows this key: no session, no relay, no answer to a peer */

        tn_curve_keypair(&nobody);
        tn_data_identity(node->path, &nobody);
        tn_wipe(&nobody, sizeof(nobody));

    } else if (!out) {
        tn_control_start(node->control);
    }

    if (done != NULL) {
        done(node->left_data, out ? NULL : node->left_error);
    }
}


static void
node_finish(tn_node_t *node)
{
    if (!node->ended) {
        node->ended = true;
        node->ops->ended(node->data, node);
    }
}


/* --- what the control client asks for */

static tn_ms_t
node_now(void *data)
{
    tn_node_t *node = data;

    return node->loop->now;
}


static int64_t
node_wall(void *data)
{
    (void) data;

    return (int64_t) time(NULL);
}


static tn_rc_t
node_save(void *data, const tn_control_saved_t *saved)
{
    tn_node_t *node = data;

    tn_rc_t           rc;
    tn_state_error_t  error;

    rc = tn_nodestate_save(node->state, node->conf.control_url, saved, &error);

    if (rc != TN_OK && node->state_why != error.why) {
        node->state_why = error.why;
        tn_log(&node->log, TN_LOG_ERR, "%s; keys are not saved, trying again",
               error.text);

    } else if (rc == TN_OK) {
        node->state_why = TN_STATE_FINE;
    }

    if (rc == TN_OK && node->path == NULL
        && !tn_key_is_zero(&saved->node.priv))
    {

        /* the first moment at which the node key is known for certain */

        if (!tn_node_start_data(node, &saved->node)) {
            return TN_ERROR;
        }
    }

    return rc;
}


static void
node_keep_netmap(void *data, const uint8_t *bytes, size_t len)
{
    tn_node_t *node = data;

    tn_state_error_t  error;

    if (tn_nodestate_keep_netmap(node->state, bytes, len, &error) != TN_OK) {
        tn_log(&node->log, TN_LOG_INFO, "the netmap is not kept for the next "
               "start: %s", error.text);
    }
}


static tn_rc_t
node_keep_lock(void *data, const uint8_t *bytes, size_t len)
{
    tn_node_t *node = data;

    tn_rc_t           rc;
    tn_state_error_t  error;

    rc = tn_nodestate_keep_lock(node->state, bytes, len, &error);

    if (rc != TN_OK) {
        tn_log(&node->log, TN_LOG_ERR, "%s", error.text);
    }

    return rc;
}


static void
node_netmap_changed(void *data, tn_netmap_t *netmap,
    const tn_netmap_changes_t *changes)
{
    tn_node_t *node = data;

    bool  fresh, up;

    fresh = false;

    if (node->path == NULL) {
        fresh = true;

        if (!tn_node_start_data(node, &tn_control_saved(node->control)->node)) {
            return;
        }
    }

    if ((changes->what != 0 || fresh)
        && !node_update(node, netmap, changes, fresh))
    {
        return;
    }

    up = tn_control_online(node->control);

    if (up != node->online) {
        node->online = up;
        tn_data_control_up(node->path, up);
        tn_nodecert_online(node->certs, up);
    }

    if (changes->what & TN_NETMAP_SELF) {
        tn_node_routes_look(node, netmap);
        node_self(node, netmap);
    }

    if (changes->what & (TN_NETMAP_SELF|TN_NETMAP_DNS)) {
        tn_nodecert_netmap(node->certs, netmap);
        node->ops->self(node->data, node);
    }

    if (changes->what & (TN_NETMAP_PEERS|TN_NETMAP_SELF|TN_NETMAP_DNS)) {
        node->ops->peers(node->data, node);
    }
}


static bool
node_update(tn_node_t *node, tn_netmap_t *netmap,
    const tn_netmap_changes_t *changes, bool fresh)
{
    tn_update_t  *update;

    update = tn_update_create(netmap, fresh ? NULL : changes,
                              (node->conf.flags & TN_IPC_ACCEPT_ROUTES) != 0,
                              node->conf.exit_node);

    if (update == NULL) {
        tn_log(&node->log, TN_LOG_ERR, "no memory for the netmap's changes");
        return false;
    }

    /* who may come is known to nginx before the first packet */

    tn_share_update(node->share, netmap, changes);
    tn_data_update(node->path, update);

    if (changes->npeers + changes->nremoved > TN_NODE_TRIM_PEERS) {
        tn_nodetrim_large(node);
    }

    return true;
}


static void
node_self(tn_node_t *node, const tn_netmap_t *netmap)
{
    char                     text[2][TN_ADDR_TEXT];
    size_t                   i, n;
    tn_ip_t                  ips[TN_IPC_ADDRS];
    const tn_netmap_node_t  *self;

    self = netmap->self;

    if (self == NULL) {

        /* the stack keeps the addresses until there are others: with the
         * last one its routes would go */

        node->nips = 0;
        free(node->name);
        node->name = NULL;
        return;
    }

    n = 0;

    for (i = 0; i < self->naddresses && n < TN_IPC_ADDRS; i++) {
        if (self->addresses[i].bits == (self->addresses[i].v4 ? 32 : 128)) {
            ips[n++] = self->addresses[i].ip;
        }
    }

    if (n == node->nips
        && memcmp(ips, node->ips, n * sizeof(tn_ip_t)) == 0
        && node->name != NULL && strcmp(node->name, self->name) == 0)
    {
        return;
    }

    memcpy(node->ips, ips, n * sizeof(tn_ip_t));
    node->nips = n;

    free(node->name);
    node->name = strdup(self->name);

    tn_log(&node->log, TN_LOG_NOTICE, "this node is %s %s %s", self->name,
           n > 0 ? tn_ip_text(&ips[0], text[0]) : "without an address",
           n > 1 ? tn_ip_text(&ips[1], text[1]) : "");

    if (node->conf.hostname[0] != '\0'
        && strcasecmp(self->label, node->conf.hostname) != 0)
    {
        tn_log(&node->log, TN_LOG_WARN, "control calls this node \"%s\", not "
               "\"%s\" as configured", self->label, node->conf.hostname);
    }

    node->ops->addresses(node->data, node, node->ips, node->nips);
}


static void
node_state_changed(void *data, tn_control_state_e state, const char *text)
{
    tn_node_t *node = data;

    /* the client has logged what there is to say */

    if (state != TN_CONTROL_STOPPED || (!node->ending && !node->leaving)) {
        return;
    }

    if (!node->ending) {
        node->left = true;
        (void) snprintf(node->left_error, sizeof(node->left_error), "%s",
                        text);
    }

    (void) tn_timer_set(&node->loop->timers, &node->timer, node->loop->now);
}


static void
node_ping(void *data, const tn_control_ping_t *ping)
{
    tn_node_t *node = data;

    tn_nodeping_ask(node, &node->pings, ping);
}


static void
node_dns_set(void *data, const char *error)
{
    tn_node_t *node = data;

    if (node->certs != NULL) {
        tn_nodecert_dns_set(node->certs, error);
    }
}


static void
node_c2n(void *data, const tn_control_c2n_t *request)
{
    tn_node_t *node = data;

    tn_nodec2n_ask(node, node->certs ? tn_nodecert_certs(node->certs) : NULL,
                   request);
}


static void
node_key_changed(void *data, const tn_keypair_t *pair)
{
    tn_node_t *node = data;

    tn_update_t  *update;

    if (node->path == NULL) {
        return;
    }

    tn_data_identity(node->path, pair);

    update = tn_update_create(tn_control_netmap(node->control), NULL,
                              (node->conf.flags & TN_IPC_ACCEPT_ROUTES) != 0,
                              node->conf.exit_node);

    if (update != NULL) {
        tn_data_update(node->path, update);
    }
}


/* --- words from the data thread */

static void
node_endpoints(void *data, const tn_endpoint_t *endpoints, size_t n)
{
    tn_node_t *node = data;

    node->nendpoints = tn_min(n, TN_ENDPOINTS_MAX);
    memcpy(node->endpoints, endpoints,
           node->nendpoints * sizeof(tn_endpoint_t));

    tn_control_set_endpoints(node->control, endpoints, n);
}


static void
node_netinfo(void *data, const tn_netinfo_t *netinfo)
{
    tn_node_t *node = data;

    node->netinfo = *netinfo;
    node->netinfo_at = node->loop->now;

    tn_control_set_netinfo(node->control, netinfo);
    tn_nodetrim_later(node);
}


static void
node_network(void *data, bool major)
{
    tn_node_t *node = data;

    tn_node_conns_rerouted(node, major);

    if (major) {
        tn_control_wake(node->control);
    }
}


static void
node_path(void *data, int64_t id, tn_path_kind_e kind, uint32_t derp)
{
    tn_node_t *node = data;

    tn_nodetrim_later(node);

    if (node->control != NULL) {
        tn_share_path(node->share, tn_control_netmap(node->control), id, kind,
                      derp);
    }
}


static void
node_near(void *data, const tn_ip_t ips[2], bool near)
{
    tn_node_t *node = data;

    node->ops->near(node->data, node, ips, near);
}
