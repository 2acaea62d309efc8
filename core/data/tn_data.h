
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The data thread of one node: a loop with the UDP sockets, the TUN, the
 * DERP connections and the data plane on it.  Made and told by the control
 * thread; everything here but its callbacks is called there.
 */

#ifndef TN_DATA_H_INCLUDED_
#define TN_DATA_H_INCLUDED_

#include "base/tn_key.h"
#include "base/tn_log.h"
#include "host/tn_capture.h"
#include "host/tn_loop.h"
#include "data/tn_lwnet.h"
#include "host/tn_proxy.h"
#include "host/tn_tls.h"
#include "node/tn_plane.h"


typedef struct tn_data_s  tn_data_t;


/* called on the control loop, in the order in which things happened */
typedef struct {
    void  (*endpoints)(void *data, const tn_endpoint_t *endpoints, size_t n);
    void  (*netinfo)(void *data, const tn_netinfo_t *netinfo);

    /* interfaces or routes of the host are not what they were, see
     * tn_netmon.h */
    void  (*network_changed)(void *data, bool major);

    /* how a peer is reached; derp: the region, when it is by one */
    void  (*path_changed)(void *data, int64_t id, tn_path_kind_e kind,
                          uint32_t derp);

    /*
     * The peer with these addresses (one may be none) has a direct way as
     * short as those of a LAN, or has none such any more.
     */
    void  (*near_changed)(void *data, const tn_ip_t ips[2], bool near);
} tn_data_ops_t;


typedef struct {
    const tn_data_ops_t  *ops;
    void                 *data;
    tn_loop_t            *control;      /* where ops are called */
    tn_log_t             *log;          /* used by both threads */
    const char           *name;         /* of the node, names the thread */
    tn_tls_t             *tls;          /* to verify relays; outlives it */
    const tn_proxies_t   *proxies;      /* before relays; outlives it */
    tn_keypair_t          node;
    tn_keypair_t          disco;

    /* taken over, -1 for none: without a TUN nothing reaches a stack */
    int                   tun;
    int                   bulk;         /* its second queue */
    tn_lwnet_table_t     *listeners;    /* that are served here, or NULL */
    bool                  by_lwip;      /* so are all: the stack is lwIP */
    int                   udp4;
    int                   udp6;
    uint16_t              port;         /* when sockets have to be made */
    bool                  udp_offload;
    bool                  shields_up;
    uint64_t             *told_ns;      /* see tn_plane_conf_t; outlives it */

    /* told to the peers beside what is found; copied */
    const tn_addr_t      *static_endpoints;
    size_t                nstatic;      /* those over TN_DATA_STATIC lost */
    uint16_t              relay_port;   /* of a peer relay, 0: none */
    bool                  port_mapping; /* ask the router for a port */
    const tn_prefix_t    *routes;       /* that it advertises; copied */
    size_t                nroutes;
} tn_data_conf_t;

#define TN_DATA_STATIC  8


/* the thread runs when this returns; NULL on error, and the log says why */
tn_data_t *tn_data_start(const tn_data_conf_t *conf);

/*
 * Ends the thread and frees everything.  Calls of ops that are on their way
 * are not made any more.
 */
void tn_data_stop(tn_data_t *data);

/* takes the update over */
void tn_data_update(tn_data_t *data, tn_update_t *update);

/*
 * Another node key: a new WireGuard and DERP identity without peers; an
 * update of the whole netmap has to follow.
 */
void tn_data_identity(tn_data_t *data, const tn_keypair_t *node);

void tn_data_control_up(tn_data_t *data, bool up);

/* what a peer relay of this node carries */
typedef struct {
    uint16_t                 port;      /* 0: there is none */
    uint32_t                 sessions;  /* places given */
    uint32_t                 bound;     /* of these in use by both peers */
} tn_data_relay_status_t;

/*
 * Asks how the peers are reached: `fn` is called on the control loop with
 * the statuses of the ids that are there, and with the plane's counters.
 * TN_OK or TN_NOMEM.
 */
typedef void (*tn_data_status_pt)(void *data,
    const tn_plane_peer_status_t *status, size_t n,
    const tn_data_relay_status_t *relay, const tn_plane_stats_t *stats);

tn_rc_t tn_data_status(tn_data_t *data, const int64_t *ids, size_t n,
    tn_data_status_pt fn, void *fn_data);


/*
 * A disco ping to the peer of this node key, see tn_path_ping(), or one
 * through the tunnel, see tn_plane_ping(): `fn` is
 * called on the control loop, with TN_NOTFOUND too.  TN_OK or TN_NOMEM.
 */
typedef void (*tn_data_pong_pt)(void *data, const tn_path_pong_t *pong);

typedef enum {
    TN_DATA_PING_DISCO = 0,
    TN_DATA_PING_TSMP,
    TN_DATA_PING_ICMP
} tn_data_ping_e;

tn_rc_t tn_data_ping(tn_data_t *data, const tn_key_t *peer,
    tn_data_ping_e kind, tn_data_pong_pt fn, void *fn_data);


typedef enum {
    TN_DATA_HISTORY = 1,    /* of the way to `peer` */
    TN_DATA_HOME,           /* the home relay is `region`, 0: chosen again */
    TN_DATA_BREAK,          /* the connection to the relay of `region` */
    TN_DATA_RESTUN,         /* a full network report and own endpoints anew */
    TN_DATA_REBIND,         /* other UDP sockets */
    TN_DATA_POKE,           /* as when the host's network changes */
    TN_DATA_TALLY,          /* see tn_plane_tally() */
    TN_DATA_HELPER          /* `region` is a tn_udp_help_e */
} tn_data_act_e;

typedef struct {
    tn_rc_t           rc;   /* TN_NOTFOUND: no such peer or region */
    uint64_t          reports;  /* of netcheck, finished until now */
    size_t            n;
    tn_path_change_t  changes[TN_PATH_HISTORY];     /* oldest first */

    /* of TN_DATA_TALLY, good until the call returns */
    tn_tally_count_t *counts;
    size_t            ncounts;
    uint64_t          left_out;
    tn_ms_t           since;
} tn_data_done_t;

typedef void (*tn_data_done_pt)(void *data, const tn_data_done_t *done);

/*
 * An order of a person.  `peer` is for TN_DATA_HISTORY, may be NULL in the
 * others.  `fn` is called on the control loop.  TN_OK or TN_NOMEM.
 */
tn_rc_t tn_data_act(tn_data_t *data, tn_data_act_e act, uint32_t region,
    const tn_key_t *peer, tn_data_done_pt fn, void *fn_data);


/* where the PeerAPI listens, TN_DATA_PEERAPI at most; TN_OK or TN_NOMEM */
#define TN_DATA_PEERAPI  2

tn_rc_t tn_data_peerapi(tn_data_t *data, const tn_addr_t *addrs, size_t n);


/*
 * Services that are served here: see tn_filter_set_services().  Of what was
 * said before the data thread is not told again.
 */
tn_rc_t tn_data_services(tn_data_t *data, const tn_filter_service_t *served,
    size_t n);

/* the routes that count from now on, TN_PLANE_ROUTES at most; likewise */
tn_rc_t tn_data_routes(tn_data_t *data, const tn_prefix_t *routes, size_t n);


/*
 * Captures into this from now on, instead of what there was; NULL: no more.
 * TN_OK or TN_NOMEM.
 */
tn_rc_t tn_data_capture(tn_data_t *data, tn_capture_t *capture);


#endif /* TN_DATA_H_INCLUDED_ */
