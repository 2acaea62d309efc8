
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A ping that control asks for goes to the data thread as those of the tool
 * do; the answer is posted to control by tn_control_pong().  The data thread
 * answers within seconds or, once stopped, never; control's own limit of
 * questions is all that bounds their number.
 */

#include "run/tn_nodeping.h"

#include "base/tn_list.h"

#include <stdio.h>
#include <stdlib.h>


/* more at a time than these are refused */
#define TN_NODEPING_MAX  16


typedef struct {
    tn_link_t    link;
    tn_node_t   *node;
    uint32_t     id;
    tn_ip_t      ip;
    char         label[TN_NETMAP_LABEL];
} nodeping_t;


static const char *nodeping_start(tn_node_t *node, tn_link_t *pings,
    const tn_control_ping_t *ping);
static void nodeping_done(void *data, const tn_path_pong_t *pong);


void
tn_nodeping_ask(tn_node_t *node, tn_link_t *pings,
    const tn_control_ping_t *ping)
{
    char               ip[TN_ADDR_TEXT];
    tn_control_pong_t  answer;

    memset(&answer, 0, sizeof(answer));
    answer.error = nodeping_start(node, pings, ping);

    if (answer.error != NULL) {
        answer.node_ip = tn_ip_text(&ping->ip, ip);
        tn_control_pong(tn_node_control(node), ping->id, &answer);
    }
}


/* NULL, or why it cannot be */
static const char *
nodeping_start(tn_node_t *node, tn_link_t *pings,
    const tn_control_ping_t *ping)
{
    size_t                   n;
    tn_link_t               *link;
    nodeping_t              *started;
    tn_data_ping_e           kind;
    const tn_netmap_node_t  *peer;

    /* upstream's spelling of each */

    if (strcmp(ping->type, "disco") == 0) {
        kind = TN_DATA_PING_DISCO;

    } else if (strcmp(ping->type, "TSMP") == 0) {
        kind = TN_DATA_PING_TSMP;

    } else if (strcmp(ping->type, "ICMP") == 0) {
        kind = TN_DATA_PING_ICMP;

    } else {
        return "not supported by this node";
    }

    peer = tn_netmap_find_ip(tn_control_netmap(tn_node_control(node)),
                             &ping->ip);

    if (peer == NULL) {
        return "no peer has this address";
    }

    if (peer == tn_control_netmap(tn_node_control(node))->self) {
        return "it is this node's own address";
    }

    if (tn_node_data(node) == NULL) {
        return "the node has not started";
    }

    n = 0;

    tn_list_each(link, pings) {
        n++;
    }

    started = n < TN_NODEPING_MAX ? calloc(1, sizeof(nodeping_t)) : NULL;

    if (started == NULL) {
        return "too many pings";
    }

    started->node = node;
    started->id = ping->id;
    started->ip = ping->ip;
    (void) snprintf(started->label, sizeof(started->label), "%s", peer->label);

    if (tn_data_ping(tn_node_data(node), &peer->key, kind, nodeping_done,
                     started)
        != TN_OK)
    {
        free(started);
        return "out of memory";
    }

    tn_list_push(pings, &started->link);

    return NULL;
}


void
tn_nodeping_drop(tn_link_t *pings)
{
    nodeping_t  *ping;

    while (!tn_list_empty(pings)) {
        ping = tn_container(pings->next, nodeping_t, link);
        tn_list_remove(&ping->link);
        free(ping);
    }
}


static void
nodeping_done(void *data, const tn_path_pong_t *pong)
{
    nodeping_t *ping = data;

    char                        ip[TN_ADDR_TEXT], addr[TN_PATH_TEXT];
    tn_control_t               *control;
    const tn_netmap_t          *netmap;
    tn_control_pong_t           answer;
    const tn_derpmap_region_t  *region;

    control = tn_node_control(ping->node);
    netmap = tn_control_netmap(control);

    memset(&answer, 0, sizeof(answer));
    answer.node_ip = tn_ip_text(&ping->ip, ip);
    answer.node_name = ping->label;

    switch (pong->rc) {

    case TN_OK:
        answer.seconds = (double) pong->latency_us / 1e6;

        if (pong->addr.port != 0) {
            (void) tn_path_text(&pong->addr, pong->vni, addr);

            if (pong->vni != 0) {
                answer.peer_relay = addr;

            } else {
                answer.endpoint = addr;
            }

            break;
        }

        region = netmap->derpmap
                 ? tn_derpmap_find(netmap->derpmap, pong->region) : NULL;

        answer.derp_region = pong->region;
        answer.derp_code = region ? region->code : NULL;
        break;

    case TN_AGAIN:
        answer.error = "no answer";
        break;

    case TN_NOTFOUND:
        answer.error = "there is no way to it";
        break;

    default:
        answer.error = "the peer is gone";
    }

    tn_list_remove(&ping->link);
    tn_control_pong(control, ping->id, &answer);
    free(ping);
}
