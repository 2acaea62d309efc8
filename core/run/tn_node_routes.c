
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node announces its routes by Hostinfo, and control approves them, or does
 * not: those that are approved are among the node's own AllowedIPs.  By the
 * others nobody may come, whatever a peer believes: the packet filter does not
 * know them.  Of two routers of one network only the one that control has
 * chosen has the route.
 *
 * headscale tells the peers of an approval, the node itself not before its next
 * map stream.  There the announced routes count as they are, and a peer's word
 * is taken; it is known by naming the tailnet after itself.
 */

#include "run/tn_node_private.h"

#include "control/tn_http1.h"

#include <stdio.h>
#include <strings.h>


/* what approves by itself does so within that time */
#define TN_NODE_ROUTES_MS  10000


static bool node_routes_silent(const tn_node_t *node,
    const tn_netmap_t *netmap);
static bool node_routes_approved(const tn_netmap_node_t *self,
    const tn_prefix_t *route);
static bool node_routes_has(const tn_prefix_t *list, size_t n,
    const tn_prefix_t *route);
static void node_routes_missing(void *data, tn_ms_t now);


void
tn_node_routes_init(tn_node_t *node)
{
    tn_timer_init(&node->routes_timer, node_routes_missing, node);
}


void
tn_node_routes_done(tn_node_t *node)
{
    tn_timer_cancel(&node->loop->timers, &node->routes_timer);
}


bool
tn_node_reconfigure(tn_node_t *node, const tn_ipc_node_t *conf)
{
    bool           same;
    tn_ipc_node_t  other;

    if (node->ending || node->control == NULL) {
        return false;
    }

    other = *conf;
    other.nroutes = node->conf.nroutes;
    memcpy(other.routes, node->conf.routes, sizeof(other.routes));

    same = memcmp(&other, &node->conf, sizeof(other)) == 0;
    tn_wipe(&other, sizeof(other));

    if (!same) {
        return false;
    }

    node->conf.nroutes = conf->nroutes;
    memcpy(node->conf.routes, conf->routes, sizeof(conf->routes));

    tn_log(&node->log, TN_LOG_NOTICE, "%u routes are announced now",
           conf->nroutes);

    tn_control_set_routes(node->control, node->conf.routes,
                          node->conf.nroutes);
    tn_node_routes_look(node, tn_control_netmap(node->control));

    return true;
}


bool
tn_node_is_exit(const tn_node_t *node)
{
    size_t  i;

    for (i = 0; i < node->conf.nroutes; i++) {
        if (node->conf.routes[i].bits == 0) {
            return true;
        }
    }

    return false;
}


void
tn_node_routes_look(tn_node_t *node, const tn_netmap_t *netmap)
{
    bool         silent;
    size_t       i, n, missing;
    tn_prefix_t  approved[TN_IPC_ROUTES];

    n = 0;
    missing = 0;
    silent = node_routes_silent(node, netmap);

    for (i = 0; netmap->self != NULL && i < node->conf.nroutes; i++) {

        if (!node_routes_approved(netmap->self, &node->conf.routes[i])) {
            missing++;

            if (!silent) {
                continue;
            }
        }

        approved[n++] = node->conf.routes[i];
    }

    if (missing == 0) {
        tn_timer_cancel(&node->loop->timers, &node->routes_timer);

    } else if (!tn_timer_is_set(&node->routes_timer)) {
        (void) tn_timer_set(&node->loop->timers, &node->routes_timer,
                            node->loop->now + TN_NODE_ROUTES_MS);
    }

    if (n != 0) {
        memcpy(node->approved, approved, n * sizeof(tn_prefix_t));
    }

    node->napproved = n;

    if (node->path != NULL) {
        (void) tn_data_routes(node->path, node->approved, n);
    }
}


/* control says nothing of what it approves */
static bool
node_routes_silent(const tn_node_t *node, const tn_netmap_t *netmap)
{
    tn_url_t     url;
    const char  *err;

    return node->conf.control_url[0] != '\0' && netmap->domain != NULL
           && tn_url_parse(&url, node->conf.control_url, &err) == TN_OK
           && strcasecmp(url.host, netmap->domain) == 0;
}


static bool
node_routes_approved(const tn_netmap_node_t *self, const tn_prefix_t *route)
{
    return node_routes_has(self->allowed_ips, self->nallowed_ips, route)
           || node_routes_has(self->primary_routes, self->nprimary_routes,
                              route);
}


static bool
node_routes_has(const tn_prefix_t *list, size_t n, const tn_prefix_t *route)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        if (tn_prefix_equal(&list[i], route)) {
            return true;
        }
    }

    return false;
}


/* one line for all of them, until something changes */
static void
node_routes_missing(void *data, tn_ms_t now)
{
    tn_node_t *node = data;

    char                     text[TN_ADDR_TEXT + 4], list[256];
    size_t                   i, n, len;
    const tn_netmap_t       *netmap;

    (void) now;

    netmap = tn_control_netmap(node->control);
    n = 0;
    len = 0;
    list[0] = '\0';

    for (i = 0; netmap->self != NULL && i < node->conf.nroutes; i++) {
        if (node_routes_approved(netmap->self, &node->conf.routes[i])) {
            continue;
        }

        if (len < sizeof(list) / 2) {
            len += (size_t) snprintf(list + len, sizeof(list) - len, "%s%s",
                                     n ? ", " : "",
                                     tn_prefix_text(&node->conf.routes[i],
                                                    text));
        }

        n++;
    }

    if (n == 0) {
        return;
    }

    tn_log(&node->log, TN_LOG_WARN, "control did not say that it has approved "
           "%zu of %u routes: %s; nobody comes by one that is not: approve "
           "them in the admin console, by autoApprovers, or with \"headscale "
           "nodes approve-routes\"; of several routers of a network only one "
           "has it", n, node->conf.nroutes, list);
}
