
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The core's control thread: it takes messages of the supervisor and keeps the
 * nodes.
 *
 * A node is ended before another of its name is made, since both would want
 * the same state directory: a TN_IPC_CORE_NODE for a name that runs waits in
 * its slot, with its descriptors, until the former one has said goodbye.
 *
 * We outlive a killed supervisor.  The next one says CORE_RESUME, then all
 * that is to be, then CORE_START: a node of the same bytes as before goes on as
 * it is, one that was not named ends, and so do listeners.
 */

#include "run/tn_core_int.h"

#include "base/tn_version.h"
#include "crypto/tn_aead.h"
#include "crypto/tn_curve.h"
#include "host/tn_portmap.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>


/* until a netmap from the disk is shown to those who may know better */
#define CORE_SETTLE_MS  10000

/* for port mappings to be given back, behind a search for UPnP of a second */
#define CORE_DRAIN_MS   1500


static void core_ctl(tn_watch_t *watch, uint32_t events);
static bool core_message(core_t *core, tn_ipc_msg_t *msg, int *fds,
    size_t count);
static void core_setup(core_t *core, const tn_ipc_setup_t *msg, int *fds,
    size_t count);
static void core_node(core_t *core, const tn_ipc_core_node_t *msg, int *fds,
    size_t count);
static void core_holder(core_t *core, const tn_ipc_name_t *msg, int *fds,
    size_t count);
static void core_resume(core_t *core);
static void core_resumed(core_t *core);
static void core_stop(core_slot_t *slot);
static void core_told(const tn_ipc_core_node_t *msg,
    uint8_t told[TN_BLAKE2S_LEN]);
static void core_slot_start(core_slot_t *slot, core_order_t *order);
static void core_slot_channel(core_slot_t *slot, int fd);
static bool core_slot_keep(core_slot_t *slot, core_order_t *order);
static void core_slot_end(core_slot_t *slot, bool leave);
static void core_slot_reap(void *data);
static void core_slot_free(core_slot_t *slot);
static void core_order_free(core_order_t *order);
static int core_take(int *fds, size_t count, uint32_t mask, uint32_t bit);
static void core_end(core_t *core);

static void core_node_addresses(void *data, tn_node_t *node,
    const tn_ip_t *ips, size_t n);
static void core_node_peers(void *data, tn_node_t *node);
static void core_node_self(void *data, tn_node_t *node);
static void core_node_near(void *data, tn_node_t *node, const tn_ip_t ips[2],
    bool near);
static void core_node_ended(void *data, tn_node_t *node);

static void core_addresses(void *data);


static const tn_node_ops_t  core_node_ops = {
    core_node_addresses,
    core_node_peers,
    core_node_self,
    core_node_near,
    core_node_ended
};


int
tn_core_run(int ctl_fd)
{
    int      status;
    core_t  *core;

    status = 1;

    core = calloc(1, sizeof(core_t));
    if (core == NULL) {
        (void) close(ctl_fd);
        return 1;
    }

    tn_list_init(&core->slots);
    tn_logfile_init(&core->logfile, -1, TN_LOG_NOTICE);
    core->log = &core->logfile.log;

    if (tn_crypto_init() != TN_OK || tn_loop_init(&core->loop) != TN_OK) {
        (void) close(ctl_fd);
        free(core);
        return 1;
    }

    core->resolver = tn_resolve_create(&core->loop);
    core->dial = tn_dial_create(&core->loop, core_dial_resolve, core,
                                core->log);

    core->tools = tn_tools_create(&core->loop, core_tool_node, core);
    core->http = core->resolver != NULL
                 ? tn_http_create(&core->loop, core->resolver) : NULL;
    tn_certs_queue_init(&core->queue);

    tn_timer_init(&core->settle, core_settled, core);
    core->stock = tn_stock_create(&core->loop, core_stock, core);
    core->members = tn_members_create(&core->loop, core_members, core);

    if (core->dial != NULL && core->tools != NULL && core->members != NULL
        && core->stock != NULL)
    {
        tn_dial_tools(core->dial, tn_tools_take, core->tools);
        tn_dial_watches(core->dial, tn_members_take, core->members);
        tn_dial_takes(core->dial, tn_stock_take, core->stock);
        tn_dial_certs(core->dial, core_certs_take, core);
        tn_dial_serves(core->dial, core_serve_take, core);
        tn_dial_stack(core->dial, core_dial_lwip);
    }

    core->ctl.fd = ctl_fd;
    core->ctl.events = TN_LOOP_READ;
    core->ctl.handler = core_ctl;
    core->ctl.data = core;

    if (core->resolver != NULL && core->dial != NULL && core->tools != NULL
        && core->members != NULL && core->stock != NULL
        && core->http != NULL
        && tn_loop_watch(&core->loop, &core->ctl) == TN_OK
        && tn_loop_run(&core->loop) == TN_OK)
    {
        status = 0;
    }

    while (!tn_list_empty(&core->slots)) {
        core_slot_free(tn_container(core->slots.next, core_slot_t, link));
    }

    tn_portmap_drain(CORE_DRAIN_MS);

    if (core->dial != NULL) {
        tn_dial_destroy(core->dial);
    }

    tn_timer_cancel(&core->loop.timers, &core->settle);

    if (core->stock != NULL) {
        tn_stock_destroy(core->stock);
    }

    if (core->members != NULL) {
        tn_members_destroy(core->members);
    }

    if (core->tools != NULL) {
        tn_tools_destroy(core->tools);
    }

    tn_http_destroy(core->http);

    if (core->resolver != NULL) {
        tn_resolve_destroy(core->resolver);
    }

    tn_loop_unwatch(&core->loop, &core->ctl);
    (void) close(ctl_fd);

    tn_loop_done(&core->loop);
    tn_logfile_done(&core->logfile);
    free(core);

    return status;
}


static void
core_ctl(tn_watch_t *watch, uint32_t events)
{
    core_t *core = watch->data;

    int           fds[TN_IPC_FDS];
    size_t        count;
    tn_rc_t       rc;
    tn_ipc_msg_t  msg;

    (void) events;

    for ( ;; ) {
        rc = tn_ipc_recv(watch->fd, &msg, fds, &count);

        if (rc == TN_AGAIN) {
            return;
        }

        if (rc != TN_OK) {
            break;
        }

        if (!core_message(core, &msg, fds, count)) {
            tn_ipc_close(fds, count);
            tn_log(core->log, TN_LOG_ALERT, "unexpected message %u of the "
                   "supervisor", msg.head.type);
            break;
        }

        tn_ipc_close(fds, count);
        tn_wipe(&msg, sizeof(msg));
    }

    tn_wipe(&msg, sizeof(msg));
    core_end(core);
}


static bool
core_message(core_t *core, tn_ipc_msg_t *msg, int *fds, size_t count)
{
    core_slot_t  *slot;

    switch (msg->head.type) {

    case TN_IPC_CORE_SETUP:
        core_setup(core, &msg->setup, fds, count);
        return true;

    case TN_IPC_CORE_NODE:
        core_node(core, &msg->core_node, fds, count);
        return true;

    case TN_IPC_CORE_HOLDER:
        core_holder(core, &msg->name, fds, count);
        return true;

    case TN_IPC_CORE_LISTEN:
        slot = core_slot(core, msg->listen.node);

        if (slot != NULL && msg->listen.proto == TN_IPC_INGRESS) {
            if (count == 1) {
                tn_funnel_listen(slot->funnel, msg->listen.port, fds[0]);
            }

            return true;
        }

        if (slot != NULL && slot->lwip != NULL
            && tn_lwnet_table_listen(slot->lwip, msg->listen.proto,
                                     msg->listen.port, msg->listen.family,
                                     msg->listen.flags,
                                     count == 1 ? fds[0] : -1)
               != TN_OK)
        {
            tn_log(core->log, TN_LOG_ERR, "\"%s\": no more than %d ports "
                   "can be captured, or listened on by stack lwip",
                   slot->name, TN_LWNET_PORTS);

        } else if (slot != NULL && slot->api != NULL
                   && msg->listen.proto == TN_IPC_TCP
                   && !(msg->listen.flags & TN_IPC_CAPTURE))
        {
            tn_nodeapi_yield(slot->api, msg->listen.port, msg->listen.family);
        }

        return true;

    case TN_IPC_CORE_UNLISTEN:
        slot = core_slot(core, msg->listen.node);

        if (slot != NULL && msg->listen.proto == TN_IPC_INGRESS) {
            tn_funnel_listen(slot->funnel, msg->listen.port, -1);
            return true;
        }

        if (slot != NULL && slot->lwip != NULL) {
            tn_lwnet_table_unlisten(slot->lwip, msg->listen.proto,
                                    msg->listen.port, msg->listen.family,
                                    msg->listen.flags);
        }

        return true;

    case TN_IPC_CORE_STOP:
        slot = core_slot(core, msg->name.name);

        if (slot != NULL) {
            core_stop(slot);
        }

        return true;

    case TN_IPC_CORE_RESUME:
        core_resume(core);
        return true;

    case TN_IPC_CORE_START:
        core_resumed(core);
        return true;

    default:
        return false;
    }
}


static void
core_stop(core_slot_t *slot)
{
    core_order_free(slot->next);
    slot->next = NULL;
    memset(slot->told, 0, sizeof(slot->told));
    core_slot_end(slot, true);
}


static void
core_resume(core_t *core)
{
    tn_link_t    *link;
    core_slot_t  *slot;

    core->resuming = true;

    tn_list_each(link, &core->slots) {
        slot = tn_container(link, core_slot_t, link);

        slot->named = false;
        tn_lwnet_table_mark(slot->lwip);
        tn_funnel_mark(slot->funnel);
    }
}


static void
core_resumed(core_t *core)
{
    tn_link_t    *link;
    core_slot_t  *slot;

    if (!core->resuming) {
        return;
    }

    core->resuming = false;

    tn_list_each(link, &core->slots) {
        slot = tn_container(link, core_slot_t, link);

        tn_lwnet_table_sweep(slot->lwip);
        tn_funnel_sweep(slot->funnel);

        if (!slot->named) {
            core_stop(slot);
        }
    }
}


static void
core_setup(core_t *core, const tn_ipc_setup_t *msg, int *fds, size_t count)
{
    int           fd;
    tn_link_t    *link;
    core_slot_t  *slot;

    core->logfile.log.level = (tn_log_level_e) msg->log_level;

    tn_list_each(link, &core->slots) {
        slot = tn_container(link, core_slot_t, link);

        if (slot->node != NULL) {
            tn_node_log_level(slot->node, core->logfile.log.level);
        }
    }

    fd = core_take(fds, count, msg->mask, TN_IPC_FD_LOG);
    if (fd != -1) {
        tn_logfile_replace(&core->logfile, fd);
    }

    fd = core_take(fds, count, msg->mask, TN_IPC_FD_DIAL);
    if (fd != -1) {
        tn_dial_listen(core->dial, fd);
        tn_log(core->log, TN_LOG_INFO, "tailnet core " TN_VERSION
               " started, %s", tn_aead_backend());
    }
}


static void
core_node(core_t *core, const tn_ipc_core_node_t *msg, int *fds, size_t count)
{
    uint8_t        told[TN_BLAKE2S_LEN];
    core_slot_t   *slot;
    core_order_t  *order;

    slot = core_slot(core, msg->node.name);
    core_told(msg, told);

    if (slot != NULL && core->resuming) {
        slot->named = true;

        if (memcmp(slot->told, told, sizeof(told)) == 0) {
            core_slot_channel(slot, core_take(fds, count, msg->mask,
                                              TN_IPC_FD_HOLDER));
            return;
        }
    }

    order = calloc(1, sizeof(core_order_t));
    if (order == NULL) {
        goto nomem;
    }

    order->msg = *msg;
    order->tun = core_take(fds, count, msg->mask, TN_IPC_FD_TUN);
    order->holder = core_take(fds, count, msg->mask, TN_IPC_FD_HOLDER);
    order->udp4 = core_take(fds, count, msg->mask, TN_IPC_FD_UDP4);
    order->udp6 = core_take(fds, count, msg->mask, TN_IPC_FD_UDP6);
    order->share = core_take(fds, count, msg->mask, TN_IPC_FD_SHARE);
    order->bulk = core_take(fds, count, msg->mask, TN_IPC_FD_BULK);

    if (slot != NULL && core_slot_keep(slot, order)) {
        memcpy(slot->told, told, sizeof(told));
        core_order_free(order);
        return;
    }

    if (slot != NULL) {
        memcpy(slot->told, told, sizeof(told));
        core_order_free(slot->next);
        slot->next = order;

        core_slot_end(slot, false);

        return;
    }

    slot = calloc(1, sizeof(core_slot_t));
    if (slot == NULL) {
        core_order_free(order);
        goto nomem;
    }

    slot->core = core;
    slot->named = true;
    memcpy(slot->name, msg->node.name, sizeof(slot->name));
    memcpy(slot->told, told, sizeof(told));
    slot->funnel = tn_funnel_create(&core->loop, slot->name, core->log);

    /* it stays for as long as the slot: listeners come before a restart */

    slot->lwip = tn_lwnet_table_create();

    slot->services = tn_services_create(&core->loop, slot->name, slot->lwip,
                                        core_addresses, slot, core->log);

    if (slot->funnel == NULL || slot->services == NULL
        || slot->lwip == NULL)
    {
        tn_funnel_destroy(slot->funnel);
        tn_services_destroy(slot->services);
        tn_lwnet_table_free(slot->lwip);
        free(slot);
        core_order_free(order);
        goto nomem;
    }

    tn_defer_init(&slot->reap, core_slot_reap, slot);
    tn_list_push(&core->slots, &slot->link);

    core_slot_start(slot, order);

    return;

nomem:

    tn_log(core->log, TN_LOG_ERR, "no memory for tailnet \"%s\"",
           msg->node.name);
}


/* what a node is made of, but for its descriptors */
static void
core_told(const tn_ipc_core_node_t *msg, uint8_t told[TN_BLAKE2S_LEN])
{
    uint8_t  node[TN_BLAKE2S_LEN];

    if (tn_blake2s(node, &msg->node, sizeof(msg->node), msg->disco,
                   sizeof(msg->disco))
        != TN_OK
        || tn_blake2s(told, node, sizeof(node), &msg->features,
                      sizeof(msg->features))
           != TN_OK)
    {
        tn_random(told, TN_BLAKE2S_LEN);
    }
}


static void
core_holder(core_t *core, const tn_ipc_name_t *msg, int *fds, size_t count)
{
    core_slot_t  *slot;

    slot = core_slot(core, msg->name);

    if (slot == NULL || count != 1) {
        return;
    }

    core_slot_channel(slot, fds[0]);
    fds[0] = -1;
}


/* takes fd, which may be -1; the holder knows no channel but this one now */
static void
core_slot_channel(core_slot_t *slot, int fd)
{
    if (fd == -1) {
        return;
    }

    if (slot->next != NULL) {
        tn_ipc_close(&slot->next->holder, 1);
        slot->next->holder = fd;
        return;
    }

    if (slot->pool == NULL) {
        (void) close(fd);
        return;
    }

    tn_pool_channel(slot->pool, fd);

    slot->nips = 0;
    core_addresses(slot);
}


core_slot_t *
core_slot(core_t *core, const char *name)
{
    tn_link_t    *link;
    core_slot_t  *slot;

    tn_list_each(link, &core->slots) {
        slot = tn_container(link, core_slot_t, link);

        if (strcmp(slot->name, name) == 0) {
            return slot;
        }
    }

    return NULL;
}


/*
 * True: the node goes on with what the order changes.  It has its descriptors,
 * all but the channel to the holder, which knows only the last one given out.
 */
static bool
core_slot_keep(core_slot_t *slot, core_order_t *order)
{
    bool  stack;

    stack = order->tun != -1
            || ((order->msg.features & TN_IPC_BY_LWIP) && slot->lwip != NULL);

    if (slot->node == NULL || slot->next != NULL || slot->core->ending
        || slot->pool == NULL || stack != slot->stack
        || order->msg.features != slot->features
        || !tn_node_reconfigure(slot->node, &order->msg.node))
    {
        return false;
    }

    if (slot->api != NULL) {
        tn_nodeapi_announce(slot->api);
    }

    core_slot_channel(slot, order->holder);
    order->holder = -1;

    return true;
}


/* takes the order over */
static void
core_slot_start(core_slot_t *slot, core_order_t *order)
{
    core_t          *core;
    tn_node_conf_t   conf;

    core = slot->core;

    slot->by_lwip = (order->msg.features & TN_IPC_BY_LWIP) != 0
                    && slot->lwip != NULL;
    slot->stack = order->tun != -1 || slot->by_lwip;
    slot->features = order->msg.features;

    if (!slot->stack) {
        tn_log(core->log, TN_LOG_ERR, "\"%s\": no stack, listeners "
               "and upstreams on it do not work: %s", slot->name,
               order->msg.text);
    }

    slot->pool = tn_pool_create(&core->loop, core->log);

    if (slot->pool != NULL && order->holder != -1) {
        tn_pool_channel(slot->pool, order->holder);
        order->holder = -1;
    }

    if (slot->pool != NULL && slot->stack) {
        slot->api = tn_nodeapi_create(&core->loop, slot->pool,
                                      slot->by_lwip ? slot->lwip : NULL,
                                      &tn_funnel_ops, slot->funnel,
                                      slot->name, core->log);

        if (slot->api != NULL) {
            tn_nodeapi_resolver(slot->api, core->resolver);
        }
    }

    slot->dns = tn_nodedns_create(&core->loop, &core_nodedns_ops, slot,
                                  slot->name);

    memset(&conf, 0, sizeof(conf));
    conf.ops = &core_node_ops;
    conf.data = slot;
    conf.loop = &core->loop;
    conf.resolver = core->resolver;
    conf.http = core->http;
    conf.queue = &core->queue;
    conf.log = core->log;
    conf.conf = &order->msg.node;
    conf.disco = order->msg.disco;
    conf.tun = order->tun;
    conf.bulk = order->bulk;
    conf.listeners = slot->lwip;
    conf.by_lwip = slot->by_lwip;
    conf.udp4 = order->udp4;
    conf.udp6 = order->udp6;
    conf.share = order->share;
    conf.udp_offload = (order->msg.features & TN_IPC_TUN_USO) != 0;

    slot->nips = 0;
    tn_services_stack(slot->services, slot->by_lwip ? NULL : slot->pool,
                      slot->by_lwip);

    slot->settled = core->loop.now + CORE_SETTLE_MS;
    (void) tn_timer_set(&core->loop.timers, &core->settle, slot->settled);

    slot->node = tn_node_create(&conf);

    if (slot->node != NULL) {
        order->tun = -1;
        order->bulk = -1;
        order->udp4 = -1;
        order->udp6 = -1;
        order->share = -1;

        if (!slot->stack) {
            tn_problems_note(tn_node_problems(slot->node), TN_LOG_ERR,
                             order->msg.text, strlen(order->msg.text));
        }

        tn_node_set_services(slot->node, slot->services);
        tn_services_node(slot->services, slot->node);

    } else {

        /* the next order starts it, also one of the same bytes */

        memset(slot->told, 0, sizeof(slot->told));
        tn_log(core->log, TN_LOG_ERR, "no memory for tailnet \"%s\"",
               slot->name);
    }

    core_order_free(order);
}


/* what comes next comes from the loop, also when there was no memory for it */
static void
core_slot_end(core_slot_t *slot, bool leave)
{
    if (slot->node != NULL) {
        tn_node_end(slot->node, leave);

    } else {
        tn_loop_defer(&slot->core->loop, &slot->reap);
    }
}


static void
core_slot_reap(void *data)
{
    core_slot_t *slot = data;

    core_t        *core;
    core_order_t  *order;

    core = slot->core;

    tn_tools_forget(core->tools, slot->node);
    tn_nodeapi_destroy(slot->api);
    slot->api = NULL;
    tn_nodedns_destroy(slot->dns);
    slot->dns = NULL;
    tn_funnel_node(slot->funnel, NULL);
    tn_services_node(slot->services, NULL);
    tn_services_stack(slot->services, NULL, slot->by_lwip);
    tn_node_free(slot->node);
    slot->node = NULL;

    if (slot->pool != NULL) {
        tn_dial_forget(core->dial, slot->pool);
        tn_stock_forget(core->stock, slot->pool);
        tn_pool_destroy(slot->pool);
        slot->pool = NULL;
    }

    order = slot->next;

    if (order != NULL) {
        slot->next = NULL;
        core_slot_start(slot, order);
        return;
    }

    core_slot_free(slot);

    if (core->ending && tn_list_empty(&core->slots)) {
        tn_loop_stop(&core->loop);
    }
}


static void
core_slot_free(core_slot_t *slot)
{
    tn_list_remove(&slot->link);
    tn_loop_undefer(&slot->reap);
    tn_tools_forget(slot->core->tools, slot->node);
    tn_nodeapi_destroy(slot->api);
    tn_nodedns_destroy(slot->dns);
    tn_funnel_destroy(slot->funnel);
    tn_services_node(slot->services, NULL);
    tn_services_destroy(slot->services);
    slot->services = NULL;
    tn_node_free(slot->node);

    if (slot->pool != NULL) {
        tn_dial_forget(slot->core->dial, slot->pool);
        tn_stock_forget(slot->core->stock, slot->pool);
        tn_pool_destroy(slot->pool);
    }

    core_order_free(slot->next);
    tn_lwnet_table_free(slot->lwip);
    free(slot);
}


static void
core_order_free(core_order_t *order)
{
    int  fds[6];

    if (order == NULL) {
        return;
    }

    fds[0] = order->tun;
    fds[1] = order->holder;
    fds[2] = order->udp4;
    fds[3] = order->udp6;
    fds[4] = order->share;
    fds[5] = order->bulk;

    tn_ipc_close(fds, 6);
    tn_wipe(order, sizeof(core_order_t));
    free(order);
}


/* the descriptor of this bit, which is not the message's any more */
static int
core_take(int *fds, size_t count, uint32_t mask, uint32_t bit)
{
    int     fd;
    size_t  i;

    fd = tn_ipc_fd(fds, count, mask, bit);

    if (fd == -1) {
        return -1;
    }

    for (i = 0; i < count && fds[i] != fd; i++) { /* void */ }

    fds[i] = -1;

    return fd;
}


static void
core_end(core_t *core)
{
    tn_link_t    *link;
    core_slot_t  *slot;

    tn_loop_unwatch(&core->loop, &core->ctl);
    core->ending = true;

    if (tn_list_empty(&core->slots)) {
        tn_loop_stop(&core->loop);
        return;
    }

    tn_list_each(link, &core->slots) {
        slot = tn_container(link, core_slot_t, link);

        core_order_free(slot->next);
        slot->next = NULL;
        core_slot_end(slot, false);
    }
}


/* --- words of the nodes */

static void
core_node_addresses(void *data, tn_node_t *node, const tn_ip_t *ips,
    size_t n)
{
    core_slot_t *slot = data;

    core_addresses(slot);

    if (slot->lwip != NULL) {
        tn_lwnet_table_addresses(slot->lwip, ips, n);
    }

    if (slot->api != NULL) {
        tn_nodeapi_node(slot->api, node);
        tn_node_set_api(node, slot->api);
        tn_nodeapi_addresses(slot->api, ips, n);
    }

    tn_dial_retry(slot->core->dial);
}


static void
core_node_near(void *data, tn_node_t *node, const tn_ip_t ips[2], bool near)
{
    core_slot_t *slot = data;

    (void) node;

    if (slot->pool != NULL) {
        tn_pool_near(slot->pool, ips, near);
    }
}


static void
core_node_self(void *data, tn_node_t *node)
{
    core_slot_t *slot = data;

    tn_funnel_node(slot->funnel, node);
    tn_services_node(slot->services, node);
}


/* those of services behind the node's own */
static void
core_addresses(void *data)
{
    core_slot_t *slot = data;

    size_t   n, services;
    tn_ip_t  ips[TN_IPC_ADDRS];

    if (slot->node == NULL || slot->pool == NULL || slot->services == NULL) {
        return;
    }

    n = tn_node_addresses(slot->node, ips, TN_IPC_ADDRS);

    if (n == 0) {
        return;
    }

    services = tn_services_addresses(slot->services, ips + n,
                                     TN_IPC_ADDRS - n);

    if (n + services == slot->nips && services == slot->nservices
        && memcmp(slot->ips, ips, slot->nips * sizeof(tn_ip_t)) == 0)
    {
        return;
    }

    slot->nips = n + services;
    slot->nservices = services;
    memcpy(slot->ips, ips, slot->nips * sizeof(tn_ip_t));

    tn_pool_addresses(slot->pool, ips, n + services, services);
}


static void
core_node_peers(void *data, tn_node_t *node)
{
    core_slot_t *slot = data;

    (void) node;

    tn_members_changed(slot->core->members);
    tn_dial_retry(slot->core->dial);
}


static void
core_node_ended(void *data, tn_node_t *node)
{
    core_slot_t *slot = data;

    (void) node;

    tn_loop_defer(&slot->core->loop, &slot->reap);
}
