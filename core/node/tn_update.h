
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the control thread tells a node's data thread: the part of the netmap
 * that packets need, copied, so that no thread looks into another's objects.
 */

#ifndef TN_UPDATE_H_INCLUDED_
#define TN_UPDATE_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_key.h"
#include "control/tn_netmap.h"
#include "filter/tn_filter.h"
#include "path/tn_path.h"
#include "wire/tn_derpmap.h"


typedef struct {
    int64_t        id;
    tn_key_t       key;
    tn_key_t       disco;
    tn_prefix_t   *allowed;         /* own addresses, and accepted routes */
    size_t         nallowed;
    tn_addr_t     *endpoints;
    size_t         nendpoints;
    uint32_t       home_derp;
    bool           expired;
    bool           jailed;
    bool           wireguard_only;
    uint64_t       caps;            /* of tn_filter_rules_caps() */
    bool           relay;           /* granted places on our peer relay */
    bool           relay_target;    /* grants us places on its own */
    bool           relay_capable;   /* knows of peer relays */
    tn_ip_t        own4;            /* first own addresses, or none */
    tn_ip_t        own6;
    tn_ip_t        masq4;           /* our addresses as it knows us, or none: */
    tn_ip_t        masq6;           /*     the same as to others */
} tn_update_peer_t;


/* capabilities of a peer by the rules of the same update */
typedef struct {
    int64_t        id;
    uint64_t       caps;
    bool           relay;
    bool           relay_target;
} tn_update_caps_t;


typedef struct {
    /* every peer there is comes with it: forget those that do not */
    bool               full;

    int64_t           *removed;
    size_t             nremoved;
    tn_update_peer_t  *peers;       /* added or changed */
    size_t             npeers;

    bool               has_self;
    tn_prefix_t       *local;       /* addresses packets may come in for */
    size_t             nlocal;
    tn_path_knobs_t    knobs;       /* by attributes of self, with has_self */
    bool               random_port; /* of the WireGuard sockets */
    bool               no_upnp;     /* no port mapping by UPnP */
    uint32_t           home_derp;   /* where peers look for us, 0: unknown */

    /* NULL: unchanged; taken over by the filter */
    tn_filter_rules_t *rules;
    tn_update_caps_t  *caps;        /* new rules: all peers that have some */
    size_t             ncaps;
    bool               own_relay;   /* with has_self or rules: granted places
                                       on our own peer relay */

    tn_derpmap_t      *derpmap;     /* NULL: unchanged */
} tn_update_t;


/*
 * Out of what one message of control changed, or, when `changes` is NULL, of
 * the whole netmap.  NULL when out of memory.
 */
tn_update_t *tn_update_create(const tn_netmap_t *netmap,
    const tn_netmap_changes_t *changes, bool accept_routes,
    const char *exit_node);

/* NULL is allowed */
void tn_update_free(tn_update_t *update);


#endif /* TN_UPDATE_H_INCLUDED_ */
