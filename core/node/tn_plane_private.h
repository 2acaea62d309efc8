
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the files of the data plane share: its insides and those of a peer.
 * Included by nobody else.
 */

#ifndef TN_PLANE_PRIVATE_H_INCLUDED_
#define TN_PLANE_PRIVATE_H_INCLUDED_

#include "tn_plane.h"

#include "base/tn_hash.h"
#include "base/tn_list.h"
#include "crypto/tn_curve.h"
#include "filter/tn_filter.h"
#include "stack/tn_coalesce.h"
#include "wire/tn_geneve.h"
#include "wire/tn_ip.h"
#include "wire/tn_tsmp.h"


/* see tn_plane_peer.c */
typedef struct {
    tn_hash_node_t   by_id;
    int64_t          id;
    tn_hash_node_t   by_key;
    tn_key_t         key;
    tn_hash_node_t   by_disco;      /* the first of its disco key only */
    tn_key_t         disco;         /* by the netmap */
    tn_link_t        same_disco;
    tn_plane_t      *plane;
    tn_wg_peer_t    *wg;            /* NULL: it sleeps, */
    tn_path_peer_t  *path;          /*     and both are */
    tn_link_t        met;           /* in plane->met, or in no list */
    uint64_t         caps;          /* of its own addresses */
    tn_ip_t          own4;
    tn_ip_t          own6;
    tn_ip_t         *masq;          /* our addresses as it knows us, IPv4 and
                                       IPv6; NULL: our own */
    tn_prefix_t     *allowed;
    tn_addr_t       *endpoints;
    uint32_t         nallowed;
    uint32_t         nendpoints;
    uint32_t         home_derp;
    bool             wireguard_only;
    bool             jailed;
    bool             expired;
    bool             relay_capable;
    bool             relay;         /* it may use our peer relay */
    bool             relay_target;  /* we may use its */
    bool             is_near;       /* was told */
    bool             kept;          /* named by a full update */
} tn_plane_peer_t;


#define TN_PLANE_PINGS    8         /* at a time */
#define TN_PLANE_PING_MS  5000

typedef struct {
    tn_timer_t        timer;
    tn_plane_peer_t  *peer;         /* NULL: not in use */
    tn_plane_ping_e   kind;
    uint64_t          sent_us;
    uint8_t           token[TN_TSMP_TOKEN_LEN];
    tn_path_pong_pt   fn;
    void             *data;
} tn_plane_ping_t;


typedef struct tn_plane_gather_s  tn_plane_gather_t;

#define TN_PLANE_OPENING  64

/* how one of them came: by UDP, perhaps through a peer relay, or by DERP */
typedef struct {
    const tn_addr_t  *from;         /* NULL: by DERP */
    uint32_t          vni;          /* 0: directly */
    uint32_t          region;
    tn_key_t          key;          /* of who sent it by DERP */
} tn_plane_way_t;


#define TN_PLANE_TALLY_MS  300000

#define TN_PLANE_STALE_MS  200      /* between two looks at strange data */
#define TN_PLANE_SYNS     256

/* a connection being opened */
typedef struct {
    tn_addr_t         src;          /* port 0: none */
    tn_addr_t         dst;
    uint32_t          seq;          /* as in the packet */
} tn_plane_syn_t;


struct tn_plane_s {
    const tn_plane_ops_t  *ops;
    void                  *data;
    tn_log_t              *log;
    tn_timers_t           *timers;

    tn_wg_t               *wg;
    tn_path_t             *path;
    tn_filter_t           *filter;
    tn_coalesce_t         *coalesce;
    tn_ms_t                withheld_at;     /* the last line about it */
    uint64_t              *told_ns;
    uint64_t               told;            /* there, if it is nowhere else */
    tn_plane_transit_e   (*transit)(void *data, const uint8_t *packet,
                                    const tn_packet_t *p, bool service);
    tn_hash_t              peers;
    tn_hash_t              keys;
    tn_hash_t              discos;
    tn_link_t              met;     /* reachable since this batch, no session */

    tn_ip_t                self4;   /* own addresses, none when there is none */
    tn_ip_t                self6;
    bool                   started;
    bool                   no_udp;  /* control forbids it */
    bool                   capture;
    tn_ms_t                stale_at;    /* before it no look */

    tn_plane_stats_t       stats;
    tn_tally_t            *tally;   /* NULL: nobody wants to know */
    tn_timer_t             tally_timer;
    tn_plane_ping_t        pings[TN_PLANE_PINGS];
    unsigned               echos;   /* of them by ICMP */
    tn_plane_syn_t         syns[TN_PLANE_SYNS];

    bool                   singly;  /* the stack's packets come one by one */
    tn_plane_gather_t     *gather;  /* NULL: none yet */

    /* the frame being cut up */
    tn_ms_t                now;
    tn_plane_peer_t       *peer;
    tn_path_route_t        route;
    uint32_t               flow;    /* of the frame that is cut up */
    bool                   snat;    /* from us to a masqueraded peer */

    /* data messages of the batch that comes in, to be opened together */
    size_t                 nopening;
    tn_wg_packet_t         opening[TN_PLANE_OPENING];
    tn_plane_way_t         ways[TN_PLANE_OPENING];

    /* a message that does not go by UDP, or not only */
    uint8_t                sealed[TN_WG_PACKET_MAX + TN_WGMSG_DATA_OVERHEAD];
    uint8_t                wrapped[TN_GENEVE_HEADER + TN_WG_PACKET_MAX
                                   + TN_WGMSG_DATA_OVERHEAD];
};


/* --- the peers (tn_plane_peer.c) */

tn_plane_peer_t *tn_plane_peer_find(const tn_plane_t *plane, int64_t id);
tn_plane_peer_t *tn_plane_peer_by_key(const tn_plane_t *plane,
    const tn_key_t *key);

/*
 * What control says of a peer, a new one too; takes the arrays out of
 * *update.  TN_OK or TN_NOMEM.
 */
tn_rc_t tn_plane_peer_set(tn_plane_t *plane, tn_ms_t now,
    tn_update_peer_t *update);

/* what the rules grant: tn_path_peer_set_relay() */
void tn_plane_peer_grant(tn_plane_peer_t *peer, tn_ms_t now, bool relay,
    bool relay_target);

void tn_plane_peer_remove(tn_plane_peer_t *peer);

/* makes peer->wg and peer->path; TN_OK, also when they are there, TN_NOMEM */
tn_rc_t tn_plane_peer_rouse(tn_plane_peer_t *peer, tn_ms_t now);

static inline tn_rc_t
tn_plane_peer_wake(tn_plane_peer_t *peer, tn_ms_t now)
{
    return tn_likely(peer->wg != NULL) ? TN_OK
                                       : tn_plane_peer_rouse(peer, now);
}

/* ops of tn_wg_ops_t and tn_path_ops_t */
tn_wg_peer_t *tn_plane_peer_absent(void *data, const tn_key_t *key,
    tn_ms_t now);
void tn_plane_peer_absent_path(void *data, tn_ms_t now, const tn_key_t *key);
void tn_plane_peer_absent_disco(void *data, tn_ms_t now,
    const tn_key_t *disco);

/* tells it when it is news */
void tn_plane_near(tn_plane_peer_t *peer, bool near);


/* --- in (tn_plane_in.c) */

/* one by DERP; if it `lasts` it does so until tn_plane_udp_done() */
void tn_plane_derp(tn_plane_t *plane, tn_ms_t now, const tn_path_from_t *from,
    uint8_t *bytes, size_t len, bool lasts);

/*
 * `udp` is NULL when it came over DERP; `from` is NULL for a data message
 * that came over UDP: nobody asks for it.
 */
void tn_plane_wireguard(tn_plane_t *plane, tn_ms_t now, const tn_addr_t *udp,
    const tn_path_from_t *from, uint8_t *bytes, size_t len);


/* --- masqueraded peers (tn_plane_masq.c), before the filter and behind it */

/* whether a packet of ours, by its summary, is to be changed */
bool tn_plane_masq_out(const tn_plane_t *plane, const tn_plane_peer_t *peer,
    const tn_packet_t *p);

/* the source of a packet of ours, if so */
void tn_plane_masq_src(const tn_plane_t *plane, const tn_plane_peer_t *peer,
    uint8_t *packet, size_t len);

/* the destination of a peer's packet, and that in *p */
void tn_plane_masq_dst(const tn_plane_t *plane, const tn_plane_peer_t *peer,
    uint8_t *packet, tn_packet_t *p);


/* --- pings (tn_plane_ping.c) */

void tn_plane_ping_pong(tn_plane_peer_t *peer, tn_ms_t now,
    const uint8_t *token);

/* an ICMP packet: true when it answers an echo request of ours */
bool tn_plane_ping_echo(tn_plane_peer_t *peer, tn_ms_t now,
    const uint8_t *packet, const tn_packet_t *p);

/* the peer goes: its pings end with TN_CLOSED */
void tn_plane_ping_forget(tn_plane_peer_t *peer);


/* --- refused connections (tn_plane_syn.c) */

void tn_plane_syn_sent(tn_plane_t *plane, const uint8_t *packet,
    const tn_packet_t *p);

/* resets the stack's connection; false when none is being opened */
bool tn_plane_syn_refused(tn_plane_t *plane, const tn_addr_t *src,
    const tn_addr_t *dst);


/* --- counters (tn_plane.c) */

void tn_plane_tally_message(tn_plane_peer_t *peer, const tn_addr_t *addr,
    uint32_t region, bool out, size_t len);


/* --- out (tn_plane_out.c) */

/* a packet that the node itself makes */
void tn_plane_inject(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    uint8_t *packet, size_t len);

/* a frame that was routed and accepted, at plane->now, to its peer */
void tn_plane_cut(tn_plane_t *plane, uint8_t *frame, size_t len);

/* seals and sends what is in the batch */
void tn_plane_flush(tn_plane_t *plane);

/* one WireGuard message along the peer's present path */
void tn_plane_send(tn_plane_t *plane, tn_ms_t now, tn_plane_peer_t *peer,
    const uint8_t *msg, size_t len);


/* --- packets that are joined before (tn_plane_gather.c) */

/* false: it is to be sent as it is; the packet is copied */
bool tn_plane_gather(tn_plane_t *plane, const uint8_t *packet, size_t len,
    const tn_packet_t *p);

/* sends them all */
void tn_plane_gathered(tn_plane_t *plane);

/* NULL is allowed */
void tn_plane_gather_free(tn_plane_gather_t *gather);


#endif /* TN_PLANE_PRIVATE_H_INCLUDED_ */
