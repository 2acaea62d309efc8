
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A node's data plane: WireGuard, paths, packet filter and super-packets put
 * together.  The host's data thread feeds it datagrams, TUN frames, DERP
 * bytes, netmap updates and time; it never opens a socket or waits.
 */

#ifndef TN_PLANE_H_INCLUDED_
#define TN_PLANE_H_INCLUDED_

#include "base/tn_log.h"
#include "base/tn_timer.h"
#include "node/tn_tally.h"
#include "node/tn_update.h"
#include "path/tn_path.h"
#include "wg/tn_wg.h"

#include <sys/uio.h>


typedef struct tn_plane_s  tn_plane_t;


/* what the plane asks of its host; none may call back into the plane */
typedef struct {
    /* room for one datagram in the batch, which is written until the flush;
     * then add it: those of one flow (a hash) leave in this order.  NULL: the
     * batch is full; after a flush, nothing goes there */
    uint8_t *(*udp_room)(void *data, const tn_addr_t *to, size_t len);
    void (*udp_add)(void *data, uint32_t flow);

    /* sends the batch */
    void (*udp_flush)(void *data);

    /* one datagram now, see tn_path_ops_t */
    tn_rc_t (*udp_send)(void *data, const tn_addr_t *to, const uint8_t *bytes,
        size_t len);

    /* one frame, iov[0] is its virtio header */
    void (*tun_write)(void *data, const struct iovec *iov, int n);

    /* DERP connections and names, see tn_path_ops_t */
    void (*derp_open)(void *data, uint32_t region,
        const tn_derpmap_node_t *node);
    tn_rc_t (*derp_write)(void *data, uint32_t region, const uint8_t *head,
        size_t head_len, const uint8_t *body, size_t body_len);
    void (*derp_close)(void *data, uint32_t region);
    void (*resolve)(void *data, uint32_t id, const char *host);

    /* for control */
    void (*endpoints)(void *data, const tn_endpoint_t *endpoints, size_t n);
    void (*netinfo)(void *data, const tn_netinfo_t *netinfo);

    /* nanoseconds since 1970 */
    uint64_t (*wall_ns)(void *data);

    /* microseconds of a clock that never goes back */
    uint64_t (*now_us)(void *data);

    /* see tn_path_ops_t */
    void (*dont_fragment)(void *data, bool on);
    void (*https_probe)(void *data, uint32_t id, uint32_t region,
        const tn_derpmap_node_t *node);
    tn_rc_t (*relay_allocate)(void *data, tn_ms_t now, const tn_key_t *asker,
        const tn_key_t client[2], tn_disco_relay_t *relay);
    tn_rc_t (*relay_send)(void *data, const tn_addr_t *to,
        const uint8_t *bytes, size_t len);
    void (*icmp_echo)(void *data, const tn_ip_t *ip);

    /* a packet in the clear, see tn_plane_set_capture() */
    void (*capture)(void *data, bool out, const uint8_t *packet, size_t len);

    /* NULL: nobody asks; derp: the region, when it is by one */
    void (*path_changed)(void *data, int64_t id, tn_path_kind_e kind,
        uint32_t derp);

    /* NULL: nobody asks; see tn_data_ops_t */
    void (*near_changed)(void *data, const tn_ip_t ips[2], bool near);

    /* seals datagrams of the batch before it is sent; false, or NULL: it does
     * not, see tn_wg_ops_t */
    bool (*udp_seal)(void *data, tn_aead_t *aead, const tn_aead_job_t *jobs,
        size_t n);
} tn_plane_ops_t;


#define TN_PLANE_ROUTES  64

/* what becomes of a packet for what is behind the node */
typedef enum {
    TN_PLANE_PASS = 0,          /* to the stack */
    TN_PLANE_TAKEN,
    TN_PLANE_REFUSED            /* as its destination would */
} tn_plane_transit_e;

typedef struct {
    const tn_plane_ops_t  *ops;
    void                  *data;
    tn_timers_t           *timers;
    tn_log_t              *log;
    tn_keypair_t           node;
    tn_keypair_t           disco;
    bool                   shields_up;      /* nothing new comes in */
    tn_ms_t                hurry_until;     /* as tn_wg_conf_t has it */
    bool                   udp_offload;     /* the TUN takes joined UDP */
    bool                   singly;          /* it is lwIP, which gives its
                                               packets one by one */
    const tn_prefix_t     *routes;          /* that the node advertises */
    size_t                 nroutes;         /* up to TN_PLANE_ROUTES */

    /*
     * The latest time that a peer was told, 0: none, in memory that outlives
     * this plane and serves the next one of the node; or NULL
     */
    uint64_t              *told_ns;

    /*
     * Asked about each packet for an address of a route, and of UDP for one
     * of a service; or NULL
     */
    tn_plane_transit_e   (*transit)(void *data, const uint8_t *packet,
                                    const tn_packet_t *p, bool service);
} tn_plane_conf_t;


typedef struct {
    uint64_t  in_packets;           /* to the stack */
    uint64_t  in_bytes;
    uint64_t  in_filtered;
    uint64_t  in_malformed;
    uint64_t  out_packets;          /* segments from the stack */
    uint64_t  out_bytes;
    uint64_t  out_unroutable;
    uint64_t  out_dropped;          /* no path */
} tn_plane_stats_t;


/* how one peer is reached; for logs, tests and the command line */
typedef struct {
    int64_t               id;
    tn_path_kind_e        kind;
    tn_addr_t             addr;     /* direct, or of a peer relay */
    uint32_t              vni;      /* there */
    uint32_t              derp;
    double                latency_ms;   /* negative: unknown */
    tn_wg_peer_stats_t    wg;
} tn_plane_peer_status_t;


/* NULL when out of memory; everything in conf but ops and data is copied */
tn_plane_t *tn_plane_create(const tn_plane_conf_t *conf);
void tn_plane_destroy(tn_plane_t *plane);

/* the path machine, for what the host tells it directly */
tn_path_t *tn_plane_path(tn_plane_t *plane);

/* that machine's peer of this node key; NULL: no such peer, or no memory */
tn_path_peer_t *tn_plane_path_peer(tn_plane_t *plane, tn_ms_t now,
    const tn_key_t *key);

/* applies and frees the update */
void tn_plane_update(tn_plane_t *plane, tn_ms_t now, tn_update_t *update);

/*
 * Addresses of the machine itself: not to be reached by way of a route that
 * the node advertises, from the first call on and only then.  TN_NOMEM: as
 * if it advertised none.
 */
tn_rc_t tn_plane_set_host(tn_plane_t *plane, const tn_ip_t *ips, size_t n);

/* a datagram; bytes stay until tn_plane_udp_done() */
void tn_plane_udp(tn_plane_t *plane, tn_ms_t now, const tn_addr_t *from,
    uint8_t *bytes, size_t len);
void tn_plane_udp_done(tn_plane_t *plane);

/* a frame of the TUN: virtio header of 10 bytes, then the packet */
void tn_plane_tun(tn_plane_t *plane, tn_ms_t now, uint8_t *frame, size_t len);
void tn_plane_tun_done(tn_plane_t *plane);

/* the kernel says that this address cannot be reached now */
void tn_plane_unreachable(tn_plane_t *plane, tn_ms_t now,
    const tn_addr_t *addr);

typedef enum {
    TN_PLANE_PING_TSMP = 0,     /* answered by the peer's data path */
    TN_PLANE_PING_ICMP          /* an echo request: by its stack */
} tn_plane_ping_e;

/*
 * A ping through the tunnel to the peer of this node key; fn and the answer
 * as of tn_path_ping(), the way in it being the present one.  TN_OK, or
 * TN_NOTFOUND, TN_NOMEM, TN_AGAIN (too many), and then fn is not called.
 */
tn_rc_t tn_plane_ping(tn_plane_t *plane, tn_ms_t now, const tn_key_t *key,
    tn_plane_ping_e kind, tn_path_pong_pt fn, void *data);

/* where the PeerAPI listens: see tn_filter_set_peerapi() */
void tn_plane_set_peerapi(tn_plane_t *plane, const tn_addr_t *addrs,
    size_t n);

/* services that are served here: see tn_filter_set_services() */
void tn_plane_set_services(tn_plane_t *plane,
    const tn_filter_service_t *served, size_t n);

/* the routes that others may reach us by: see tn_filter_set_routes() */
tn_rc_t tn_plane_set_routes(tn_plane_t *plane, const tn_prefix_t *routes,
    size_t n);

/*
 * The machine slept for so long, which `now` knows nothing of: the peers have
 * forgotten what is older than WireGuard lets sessions be.
 */
void tn_plane_woke(tn_plane_t *plane, tn_ms_t now, tn_ms_t slept);

/*
 * While on, ops->capture is called with what was decrypted, before the
 * filter, and with what is about to be encrypted, behind it, in segments.
 */
void tn_plane_set_capture(tn_plane_t *plane, bool on);

/*
 * Counts for each connection from the first call on, until five minutes
 * after the last one; the answer as of tn_tally_copy().  NULL: no memory.
 */
tn_tally_count_t *tn_plane_tally(tn_plane_t *plane, tn_ms_t now, size_t *n,
    uint64_t *left_out, tn_ms_t *since);

const tn_plane_stats_t *tn_plane_stats(const tn_plane_t *plane);

/* false when there is no such peer */
bool tn_plane_peer_status(const tn_plane_t *plane, tn_ms_t now, int64_t id,
    tn_plane_peer_status_t *status);


#endif /* TN_PLANE_H_INCLUDED_ */
