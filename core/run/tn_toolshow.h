
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What a node knows, as JSON for people and their tools.  Called by tn_tool
 * on the control thread; reads the node, keeps nothing of it, never shows a
 * private key.
 */

#ifndef TN_TOOLSHOW_H_INCLUDED_
#define TN_TOOLSHOW_H_INCLUDED_

#include "run/tn_node.h"

#include <jansson.h>


#define TN_TOOLSHOW_PEERS_MAX  20000    /* the rest is counted */


/* each returns an object, the caller's, or NULL when out of memory */

/* state, name, addresses, control, home relay; node may be NULL */
json_t *tn_toolshow_node(const char *name, tn_node_t *node);

/* the last network report and own endpoints; node may be NULL */
json_t *tn_toolshow_netcheck(const char *name, tn_node_t *node, tn_ms_t now);

/* whose this address or name is; NULL also when nobody's */
json_t *tn_toolshow_whois(const char *name, tn_node_t *node,
    const char *what);

/* whom tn_toolshow_whois() would show, or NULL */
const tn_netmap_node_t *tn_toolshow_find(tn_node_t *node, const char *what,
    bool *routed);

/* adds the answer to a ping to the object of whom was asked */
void tn_toolshow_pong(json_t *peer, tn_node_t *node,
    const tn_path_pong_t *pong);

/* adds what became of an order, and the changes of a peer's way if asked */
void tn_toolshow_done(json_t *object, tn_node_t *node,
    const tn_data_done_t *done, bool history, tn_ms_t now);

/* a region by its number or code; "auto" is 0.  False: there is none */
bool tn_toolshow_region(tn_node_t *node, const char *what, uint32_t *region);

/*
 * The peers in the order of their names: an array, and in *ids, which is the
 * caller's to free, the id of each.  *left_out: how many were too many.
 */
json_t *tn_toolshow_peers(tn_node_t *node, int64_t **ids, size_t *left_out);

/* adds the way to a peer to its object; now of the same clock */
void tn_toolshow_path(json_t *peer, tn_node_t *node,
    const tn_plane_peer_status_t *status, tn_ms_t now);

/* adds the certificates to a node's object, if it has any */
void tn_toolshow_certificates(json_t *object, tn_node_t *node);

/* what was asked of its PeerAPI, as "peerapi" of the object */
void tn_toolshow_peerapi(json_t *object, tn_node_t *node);

/* adds the last troubles to a node's object */
void tn_toolshow_problems(json_t *object, tn_node_t *node);

/* adds the peer relay to a node's object, if it has one */
void tn_toolshow_relay(json_t *node, const tn_data_relay_status_t *relay);

/* adds to a node's object what became of packets, as "packets" */
void tn_toolshow_packets(json_t *node, const tn_plane_stats_t *stats);


#endif /* TN_TOOLSHOW_H_INCLUDED_ */
