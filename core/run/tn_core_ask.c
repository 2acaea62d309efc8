
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What others ask the core: tools for its nodes, nginx's workers for dials,
 * members of a name, sockets, certificates and services.
 */

#include "run/tn_core_int.h"

#include <errno.h>
#include <stdio.h>
#include <unistd.h>


static bool core_is_settled(core_slot_t *slot);
static void core_nodedns_dial(void *data, int fd);
static void core_nodedns_known(void *data);


const tn_nodedns_ops_t  core_nodedns_ops = {
    .dial = core_nodedns_dial,
    .known = core_nodedns_known
};


/* --- tools ask for the nodes one by one */

bool
core_tool_node(void *data, size_t i, const char **name, tn_node_t **node)
{
    core_t *core = data;

    tn_link_t    *link;
    core_slot_t  *slot;

    tn_list_each(link, &core->slots) {

        if (i-- == 0) {
            slot = tn_container(link, core_slot_t, link);
            *name = slot->name;
            *node = slot->node;
            return true;
        }
    }

    return false;
}


/* --- workers that serve, and certificates for them: one that is too early
 *     comes again */

void
core_serve_take(void *data, int fd, const tn_ipc_serve_t *request)
{
    core_t *core = data;

    core_slot_t  *slot;

    slot = core_slot(core, request->node);

    if (slot == NULL || slot->node == NULL) {
        (void) close(fd);
        return;
    }

    tn_services_take(slot->services, fd, request);
}


void
core_certs_take(void *data, int fd, const tn_ipc_cert_t *request)
{
    core_t *core = data;

    core_slot_t    *slot;
    tn_nodecert_t  *certs;

    slot = core_slot(core, request->node);
    certs = slot != NULL && slot->node != NULL ? tn_node_certs(slot->node)
                                               : NULL;

    if (certs == NULL) {
        (void) close(fd);
        return;
    }

    tn_nodecert_take(certs, fd, request);
}


/* --- dials of nginx's workers */

tn_pool_t *
core_dial_resolve(void *data, const tn_ipc_dial_t *request, tn_ip_t *ips,
    size_t *n, bool *wait, int *err, char *text)
{
    core_t *core = data;

    size_t         max;
    core_slot_t   *slot;
    tn_control_t  *control;

    max = *n;
    *wait = false;
    *err = EHOSTUNREACH;

    slot = core_slot(core, request->node);

    if (slot == NULL || slot->node == NULL) {

        /* the core may have been restarted a moment ago */

        *wait = !core->ending;
        (void) snprintf(text, TN_IPC_TEXT, "the node has not started");
        return NULL;
    }

    if (slot->pool == NULL) {
        *err = ENOMEM;
        (void) snprintf(text, TN_IPC_TEXT, "out of memory");
        return NULL;
    }

    if (!slot->stack) {
        *err = ENETDOWN;
        (void) snprintf(text, TN_IPC_TEXT, "the node has no network stack");
        return NULL;
    }

    *n = tn_node_resolve(slot->node, request->host, ips, max, wait, text);
    control = tn_node_control(slot->node);

    if (*n == 0 && !*wait && control != NULL) {
        *n = tn_nodedns_resolve(slot->dns, tn_control_netmap(control),
                                request->host, ips, max, wait, text);
    }

    if (*n == 0) {

        /* who is not in the disk's netmap may be in the one to come */

        *wait = *wait || !core_is_settled(slot);
        return NULL;
    }

    return slot->pool;
}


static void
core_nodedns_dial(void *data, int fd)
{
    core_slot_t *slot = data;

    tn_dial_accepted(slot->core->dial, fd);
}


static void
core_nodedns_known(void *data)
{
    core_slot_t *slot = data;

    tn_dial_retry(slot->core->dial);
}


/* false while all that is known is a netmap that control is to replace */
static bool
core_is_settled(core_slot_t *slot)
{
    tn_control_t  *control;

    control = tn_node_control(slot->node);

    return slot->core->ending || slot->core->loop.now >= slot->settled
           || (control != NULL && tn_control_online(control));
}


/*
 * While a node has no netmap, or only what the disk has and control may still
 * say otherwise, the last word of the core before stands.
 */
bool
core_members(void *data, const tn_ipc_watch_t *request, tn_ipc_members_t *msg)
{
    core_t *core = data;

    core_slot_t   *slot;
    tn_control_t  *control;

    slot = core_slot(core, request->node);
    control = NULL;

    if (slot != NULL && slot->node != NULL) {
        control = tn_node_control(slot->node);
    }

    if (control == NULL || tn_control_netmap(control)->self == NULL
        || !core_is_settled(slot))
    {
        return false;
    }

    tn_node_members(slot->node, request->host, msg);

    return true;
}


void
core_settled(void *data, tn_ms_t now)
{
    core_t *core = data;

    (void) now;

    tn_members_changed(core->members);
    tn_dial_retry(core->dial);
}


/* has the stack of the core connect, when the node's is that */
bool
core_dial_lwip(void *data, int fd, const tn_ipc_dial_t *request,
    const tn_ip_t *ips, size_t n)
{
    core_t *core = data;

    core_slot_t  *slot;

    slot = core_slot(core, request->node);

    if (slot == NULL || !slot->by_lwip) {
        return false;
    }

    tn_lwnet_table_dial(slot->lwip, fd, request, ips, n);

    return true;
}


tn_pool_t *
core_stock(void *data, const char *node)
{
    core_t *core = data;

    core_slot_t  *slot;

    slot = core_slot(core, node);

    /* what lwIP dials is made when it is dialled */

    if (slot == NULL || slot->node == NULL || !slot->stack || slot->by_lwip) {
        return NULL;
    }

    return slot->pool;
}
