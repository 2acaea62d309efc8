
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * How packets reach a peer: UDP addresses found by disco, DERP regions as
 * the relay of last resort, own endpoints and home region by netcheck.
 * Called by node on the data thread.  It owns no socket and no clock, and
 * never looks inside of WireGuard messages.
 */

#ifndef TN_PATH_H_INCLUDED_
#define TN_PATH_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_key.h"
#include "base/tn_log.h"
#include "base/tn_timer.h"
#include "wire/tn_derpmap.h"
#include "wire/tn_disco.h"
#include "wire/tn_netinfo.h"

#include "tn_netcheck.h"


typedef struct tn_path_s       tn_path_t;
typedef struct tn_path_peer_s  tn_path_peer_t;


/* where a message came from; opaque to WireGuard */
typedef struct {
    tn_addr_t          addr;        /* port 0: it came over DERP */
    uint32_t           region;      /* 0: it came over UDP */
    tn_key_t           key;         /* the source DERP asserts, not proven */
    uint32_t           vni;         /* through the peer relay at addr, or 0 */
} tn_path_from_t;


/* where to send: any of both, both, or none */
typedef struct {
    tn_addr_t          udp;         /* port 0: not over UDP */
    uint32_t           derp;        /* 0: not over DERP */
    uint32_t           vni;         /* of a peer relay at udp: a Geneve header
                                       stands before each message; or 0 */
} tn_path_route_t;


typedef struct {

    /*
     * One datagram from the WireGuard socket of the address's family.
     * TN_OK also when it is lost later; TN_ERROR when the host knows that
     * the address cannot be reached.
     */
    tn_rc_t (*send_udp)(void *data, const tn_addr_t *to,
        const uint8_t *bytes, size_t len);

    /*
     * Open a connection to the relay of a region: TCP, and TLS unless the
     * node is marked otherwise.  Ends in tn_path_derp_opened() or
     * tn_path_derp_closed(), never inside of this call.  At most one is open
     * for each region.  `node` lives until tn_path_set_derpmap().
     */
    void (*derp_open)(void *data, uint32_t region,
        const tn_derpmap_node_t *node);

    /*
     * Both parts, all or nothing, body may be NULL; TN_AGAIN when the queue
     * of the connection is full (32 packets or so): the packet is dropped.
     */
    tn_rc_t (*derp_write)(void *data, uint32_t region, const uint8_t *head,
        size_t head_len, const uint8_t *body, size_t body_len);

    /* close it, or give up opening it; no event follows */
    void (*derp_close)(void *data, uint32_t region);

    /*
     * A message that came over DERP and is not disco: WireGuard's.  May be
     * changed in place.  It is of what tn_path_derp_bytes() was given where it
     * `lasts`, else it lives until the return.
     */
    void (*wireguard)(void *data, tn_ms_t now, const tn_path_from_t *from,
        uint8_t *bytes, size_t len, bool lasts);

    /*
     * Addresses of a STUN host, both families: ends in tn_path_resolved()
     * with the same id, also inside of this call.
     */
    void (*resolve)(void *data, uint32_t id, const char *host);

    /* own endpoints, best first; called only when the list is another */
    void (*endpoints)(void *data, tn_ms_t now,
        const tn_endpoint_t *endpoints, size_t n);

    /* after each report, and when the home is another one */
    void (*netinfo)(void *data, tn_ms_t now, const tn_netinfo_t *netinfo);

    /*
     * The way to a peer became another one (direct found, lost, relayed).
     * For logs and tests; may be NULL.
     */
    void (*changed)(void *data, tn_ms_t now, tn_path_peer_t *peer);

    /*
     * Microseconds of a clock that never goes back, for round trips; may be
     * NULL, and then they are as coarse as `now`.
     */
    uint64_t (*now_us)(void *data);

    /*
     * Whether datagrams may be fragmented from now on: not while path MTUs
     * are searched for.  May be NULL: then they are not.
     */
    void (*dont_fragment)(void *data, bool on);

    /*
     * A GET of /derp/latency-check over HTTPS: ends in tn_path_probed() with
     * the same id, never inside of this call.  May be NULL.
     */
    void (*https_probe)(void *data, uint32_t id, uint32_t region,
        const tn_derpmap_node_t *node);

    /*
     * A peer that may do so asks for a place on this node's own relay, see
     * tn_relay_server_allocate().  Anything but TN_OK is not answered.  May
     * be NULL.
     */
    tn_rc_t (*relay_allocate)(void *data, tn_ms_t now, const tn_key_t *asker,
        const tn_key_t client[2], tn_disco_relay_t *relay);

    /* as send_udp, from the socket of that relay; may be NULL */
    tn_rc_t (*relay_send)(void *data, const tn_addr_t *to,
        const uint8_t *bytes, size_t len);

    /*
     * One ICMP echo over the host's network: an answer ends in
     * tn_path_echoed(), never inside of this call.  May be NULL.
     */
    void (*icmp_echo)(void *data, const tn_ip_t *ip);

    /*
     * Something came from a node key by DERP, or by whatever way in the name
     * of a disco key, that no peer has: who knows such peers and has not added
     * them so far adds them now.  May be NULL.
     */
    void (*absent)(void *data, tn_ms_t now, const tn_key_t *node_key);
    void (*absent_disco)(void *data, tn_ms_t now, const tn_key_t *disco);
} tn_path_ops_t;


/* what control orders by attributes of this node, and `homeless` */
typedef struct {
    bool               only_tcp_443;    /* no UDP at all */
    bool               silent_disco;    /* payload proves paths, not pings */
    bool               probe_lifetime;  /* of idle UDP paths */
    bool               peer_mtu;        /* search for path MTUs */
    bool               homeless;        /* no home region */
    bool               no_relay;        /* no path through peer relays */
} tn_path_knobs_t;


typedef struct {
    tn_key_t           node_key;
    tn_key_t           disco_key;   /* zero: the peer has no disco */
    const tn_addr_t   *endpoints;   /* from the netmap; copied */
    size_t             nendpoints;  /* those over TN_PATH_ENDPOINTS_MAX lost */
    uint32_t           home_derp;   /* 0: none known */
    bool               expired;     /* no path at all, in or out */
    bool               wireguard_only;
    bool               relay_capable;   /* new enough for peer relays */
} tn_path_peer_conf_t;

#define TN_PATH_ENDPOINTS_MAX  64


/*
 * The part of a peer that is read for each packet; the rest is behind it.
 * Others read `best`, `trust_until` and `derp` by tn_path_route(), and may
 * set `data`.
 */
struct tn_path_peer_s {
    tn_ms_t            trust_until; /* best is proven until then */
    tn_ms_t            drive_at;    /* when a send has work for the machine */
    tn_ms_t            last_sent;   /* payload or handshake, either path */
    tn_ms_t            last_received;   /* proven by WireGuard, any path */
    tn_addr_t          best;        /* port 0: none */
    uint32_t           vni;         /* best is a peer relay's, 0: direct */
    uint32_t           derp;        /* region for this peer, 0: none */
    uint32_t           renew_ms;    /* payload proves best that early */
    bool               near;        /* its direct way was short when last
                                       measured; false: it never was one */
    tn_path_t         *path;
    void              *data;        /* the caller's */
};


/* the slow half of tn_path_sent() */
void tn_path_drive(tn_path_peer_t *peer, tn_ms_t now);


/*
 * Where a message to this peer goes now: the best address while it is
 * trusted; both ways while it is not; DERP when there is none.
 */
static inline void
tn_path_route(const tn_path_peer_t *peer, tn_ms_t now, tn_path_route_t *route)
{
    route->udp = peer->best;
    route->vni = peer->vni;
    route->derp = now < peer->trust_until ? 0 : peer->derp;
}


/*
 * Call before or after sending to a peer, once for a batch: starts and keeps
 * up discovery.  It may send disco messages from inside.
 */
static inline void
tn_path_sent(tn_path_peer_t *peer, tn_ms_t now)
{
    peer->last_sent = now;

    if (tn_unlikely(now >= peer->drive_at)) {
        tn_path_drive(peer, now);
    }
}


/* the slow half of tn_path_received() */
void tn_path_heard(tn_path_peer_t *peer, tn_ms_t now, const tn_addr_t *from);


/*
 * A message from this peer was authenticated by WireGuard.  `from` is NULL
 * when it came over DERP or through a peer relay.
 */
static inline void
tn_path_received(tn_path_peer_t *peer, tn_ms_t now, const tn_addr_t *from)
{
    peer->last_received = now;

    if (tn_unlikely(now + peer->renew_ms >= peer->trust_until)
        && from != NULL)
    {
        tn_path_heard(peer, now, from);
    }
}


/*
 * True when a datagram can only be WireGuard's: then tn_path_udp() need not
 * be called.  STUN, disco and Geneve never match.
 */
static inline bool
tn_path_is_wireguard(const uint8_t *bytes, size_t len)
{
    return len >= 32 && bytes[0] >= 1 && bytes[0] <= 4
           && (bytes[1] | bytes[2] | bytes[3]) == 0;
}


/*
 * node and disco are copied.  timers is driven by the caller with a clock
 * that never goes back.  NULL when out of memory.
 */
tn_path_t *tn_path_create(const tn_path_ops_t *ops, void *data,
    const tn_keypair_t *node, const tn_keypair_t *disco, tn_timers_t *timers,
    tn_log_t *log);

/* frees the peers too; sends nothing, closes nothing */
void tn_path_destroy(tn_path_t *path);

/* begins work: netcheck and the home connection; needs a DERP map */
void tn_path_start(tn_path_t *path, tn_ms_t now);


/* --- what control says */

/* the map is copied; regions that are gone are closed */
tn_rc_t tn_path_set_derpmap(tn_path_t *path, tn_ms_t now,
    const tn_derpmap_t *map);

void tn_path_set_knobs(tn_path_t *path, tn_ms_t now,
    const tn_path_knobs_t *knobs);

/* false while control forbids UDP: then nothing is to be sent or taken */
bool tn_path_has_udp(const tn_path_t *path);

/*
 * Another disco key of ours: all that was proven with the former is forgotten.
 * Control has to be told of it by the caller.
 */
void tn_path_set_disco(tn_path_t *path, tn_ms_t now,
    const tn_keypair_t *disco);

const tn_key_t *tn_path_disco_key(const tn_path_t *path);

/* where peers look for us, from a former run: home until a netcheck finds
 * better; nothing when there is a home or no such region */
void tn_path_hint_home(tn_path_t *path, tn_ms_t now, uint32_t region);
/* while control cannot be told of it, the home region stays */
void tn_path_set_control_up(tn_path_t *path, tn_ms_t now, bool up);

/*
 * NULL when out of memory, over TN_PATH_PEERS_MAX, or when a peer with this
 * node key is there.
 */
tn_path_peer_t *tn_path_peer_add(tn_path_t *path, tn_ms_t now,
    const tn_path_peer_conf_t *conf, void *data);

/* everything but the node key may be another; TN_OK or TN_NOMEM */
tn_rc_t tn_path_peer_update(tn_path_peer_t *peer, tn_ms_t now,
    const tn_path_peer_conf_t *conf);

void tn_path_peer_remove(tn_path_peer_t *peer);

/* the peer itself says that this is its disco key; TN_OK or TN_NOMEM */
tn_rc_t tn_path_peer_set_disco(tn_path_peer_t *peer, tn_ms_t now,
    const tn_key_t *disco);

/*
 * What the packet filter grants: `client` that it gets places on this node's
 * relay, `server` that this node gets places on its relay.
 */
void tn_path_peer_set_relay(tn_path_peer_t *peer, bool client, bool server);

/* the packet filter grants this node places on its own relay */
void tn_path_set_own_relay(tn_path_t *path, bool granted);

/*
 * The ports of its sockets, 0: none of that family.  Where they are seen from
 * outside is asked from then on.
 */
void tn_path_set_relay_ports(tn_path_t *path, tn_ms_t now, uint16_t port4,
    uint16_t port6);

/* a STUN message that came there */
void tn_path_relay_stun(tn_path_t *path, tn_ms_t now, const uint8_t *bytes,
    size_t len);

tn_path_peer_t *tn_path_peer_find(const tn_path_t *path,
    const tn_key_t *node_key);

/* its disco key, zero when it has none */
void tn_path_peer_disco(const tn_path_peer_t *peer, tn_key_t *key);

/* the DERP map has this region */
bool tn_path_has_region(const tn_path_t *path, uint32_t region);

/*
 * The peer that has this address among its candidates; several may, NULL when
 * none does.  Looks at all of them: not for each packet.
 */
tn_path_peer_t *tn_path_peer_at(const tn_path_t *path, const tn_addr_t *addr);

#define TN_PATH_PEERS_MAX  65536


/* --- what the host says */

/*
 * The addresses of the interfaces with the port of the socket of their
 * family, loopback and tailnet addresses left out by the caller or here.
 * port4 or port6 is 0 when that family has no socket.
 */
void tn_path_set_local(tn_path_t *path, tn_ms_t now, const tn_addr_t *addrs,
    size_t n, uint16_t port4, uint16_t port6);

/* extra endpoints to announce (static, or port mappings) */
void tn_path_set_extra(tn_path_t *path, tn_ms_t now,
    const tn_endpoint_t *endpoints, size_t n);

/* what the router offers of port mapping, for NetInfo */
void tn_path_set_portmap(tn_path_t *path, tn_ms_t now, tn_tristate_e upnp,
    tn_tristate_e pmp, tn_tristate_e pcp, bool mapped);

/* the machine has moved to another network, or slept, or has other sockets:
 * nothing is proven any more */
void tn_path_network_changed(tn_path_t *path, tn_ms_t now);

/*
 * Addresses did, but those by which this machine was seen outside are there:
 * direct paths that are proven stay, and are asked at once, with DERP beside
 * them until they answer; all else as above.
 */
void tn_path_network_readdressed(tn_path_t *path, tn_ms_t now);

/* another link or route did: what is proven stays, STUN is asked again */
void tn_path_network_touched(tn_path_t *path, tn_ms_t now);

/*
 * A datagram from the WireGuard socket.  True when it was disco or STUN and
 * is consumed; false when it is WireGuard's, bare or behind a Geneve header.
 */
bool tn_path_udp(tn_path_t *path, tn_ms_t now, const tn_addr_t *from,
    const uint8_t *bytes, size_t len);

/* the host's sendmsg said that this address cannot be reached */
void tn_path_unreachable(tn_path_peer_t *peer, tn_ms_t now,
    const tn_addr_t *addr);

/* meta_key: the server's key by its meta certificate, or NULL */
void tn_path_derp_opened(tn_path_t *path, tn_ms_t now, uint32_t region,
    const tn_key_t *meta_key);

/* bytes may be changed in place, also later: see `wireguard` */
void tn_path_derp_bytes(tn_path_t *path, tn_ms_t now, uint32_t region,
    uint8_t *bytes, size_t len);

void tn_path_derp_closed(tn_path_t *path, tn_ms_t now, uint32_t region,
    const char *reason);

void tn_path_resolved(tn_path_t *path, tn_ms_t now, uint32_t id,
    const tn_ip_t *ips, size_t n);

/* this address has answered an ICMP echo */
void tn_path_echoed(tn_path_t *path, tn_ms_t now, const tn_ip_t *ip,
    uint32_t latency_us);

/* latency of an HTTPS probe, 0: it failed */
void tn_path_probed(tn_path_t *path, tn_ms_t now, uint32_t id,
    uint32_t latency_us);


/* --- sending over DERP */

/*
 * A WireGuard message for a peer through a region as tn_path_route() gave
 * it.  TN_OK, TN_AGAIN when it is dropped (the connection is being opened
 * or its queue is full).
 */
tn_rc_t tn_path_send_derp(tn_path_peer_t *peer, tn_ms_t now, uint32_t region,
    const uint8_t *bytes, size_t len);

/*
 * The longest packet that this peer is known to take where all goes by DERP
 * alone, if it is TCP's and longer than a tunnel's; 0: none.
 */
uint32_t tn_path_takes_long(tn_path_peer_t *peer);

/*
 * The longest of those that are to be sent, less where little goes that way:
 * `len` bytes of TCP do now.  Where much does the peer is asked now and then.
 */
uint32_t tn_path_longest(tn_path_peer_t *peer, tn_ms_t now, size_t len);

/* the answer to a message of an unknown sender: a cookie reply */
tn_rc_t tn_path_reply(tn_path_t *path, tn_ms_t now,
    const tn_path_from_t *from, const uint8_t *bytes, size_t len);


/* --- for people */

/* the home region, 0: none */
uint32_t tn_path_home(const tn_path_t *path);

/* the relay of this region has taken our login */
bool tn_path_derp_is_up(const tn_path_t *path, uint32_t region);

typedef enum {
    TN_PATH_NONE = 0,
    TN_PATH_DERP,
    TN_PATH_DIRECT,
    TN_PATH_RELAY               /* through a peer relay */
} tn_path_kind_e;

tn_path_kind_e tn_path_kind(const tn_path_peer_t *peer, tn_ms_t now);

/* round trip of the best address in ms, an average, or a negative number */
double tn_path_latency(const tn_path_peer_t *peer);


/* largest packet proven to pass to the best address, 0: unknown */
uint32_t tn_path_mtu(const tn_path_peer_t *peer);

/* silence that its UDP path is known to outlive in ms, 0: unknown */
uint32_t tn_path_udp_lifetime(const tn_path_peer_t *peer);


/* why the way to a peer became another */
typedef enum {
    TN_PATH_WHY_NONE = 0,       /* a peer became active */
    TN_PATH_WHY_ANSWERED,       /* its address answered a ping */
    TN_PATH_WHY_BETTER,         /* a better address answered */
    TN_PATH_WHY_LOST,           /* pings to it went unanswered */
    TN_PATH_WHY_UNREACHABLE,    /* the kernel said so */
    TN_PATH_WHY_SLOW,           /* its round trip grew to three times */
    TN_PATH_WHY_FLAPPING,       /* it was lost again and again */
    TN_PATH_WHY_RECOVERED,      /* slow or flapping no longer */
    TN_PATH_WHY_NETWORK,        /* our network changed */
    TN_PATH_WHY_PEER,           /* the peer restarted, moved or expired */
    TN_PATH_WHY_RELAY           /* another DERP region */
} tn_path_why_e;

const char *tn_path_why_text(tn_path_why_e why);

#define TN_PATH_HISTORY  16

typedef struct {
    tn_ms_t            at;
    tn_path_kind_e     kind;
    tn_path_why_e      why;
    tn_addr_t          addr;        /* direct, or of the peer relay */
    uint32_t           vni;         /* there */
    uint32_t           derp;        /* over DERP */
    uint32_t           latency_us;  /* not over DERP */
} tn_path_change_t;

/* the last changes of a peer's way, oldest first; returns their number */
size_t tn_path_history(const tn_path_peer_t *peer,
    tn_path_change_t changes[TN_PATH_HISTORY]);


typedef struct {
    tn_rc_t            rc;          /* TN_OK, TN_AGAIN: no answer in 5 s,
                                       TN_CLOSED: the peer is gone */
    uint32_t           latency_us;
    tn_addr_t          addr;        /* port 0: it was answered over DERP */
    uint32_t           region;
    uint32_t           vni;         /* of the peer relay at addr, or 0 */
} tn_path_pong_t;

/* "ADDRESS", or "ADDRESS:vni:N" of a peer relay, as upstream writes it */
#define TN_PATH_TEXT  (TN_ADDR_TEXT + 16)

const char *tn_path_text(const tn_addr_t *addr, uint32_t vni,
    char text[TN_PATH_TEXT]);

/* `data` as given; never called inside of tn_path_ping() */
typedef void (*tn_path_pong_pt)(void *data, tn_ms_t now,
    const tn_path_pong_t *pong);

/*
 * A disco ping by the way that payload takes now, both when it takes both;
 * the first answer counts.  It starts the search for a direct path as
 * payload does.  TN_OK and `fn` will be called once; TN_NOTFOUND when there
 * is no way or the peer has no disco; TN_NOMEM.
 */
tn_rc_t tn_path_ping(tn_path_peer_t *peer, tn_ms_t now, tn_path_pong_pt fn,
    void *data);


typedef struct {
    uint64_t           pings_sent;
    uint64_t           pings_lost;
    uint64_t           pings_received;
    uint64_t           pongs_sent;
    uint64_t           pongs_received;
    uint64_t           calls_sent;      /* CallMeMaybe */
    uint64_t           calls_received;
    uint64_t           disco_unknown;   /* of a key that no peer has */
    uint64_t           disco_forged;
    uint64_t           disco_limited;
    uint64_t           reports;         /* of netcheck */
    uint64_t           demoted;         /* direct paths, slow or flapping */
    uint64_t           recovered;
    uint64_t           relay_asked;     /* places on peer relays */
    uint64_t           relay_bound;     /* of these, and of those offered */
} tn_path_counters_t;

const tn_path_counters_t *tn_path_counters(const tn_path_t *path);

/* the last finished report of netcheck, NULL before the first */
const tn_netcheck_report_t *tn_path_report(const tn_path_t *path,
    tn_ms_t *at);

/* of the last report in ms, 0: the region gave no answer */
uint32_t tn_path_region_latency(const tn_path_t *path, uint32_t region,
    bool v4);


/* --- orders of people */

/* home stays there until another order, 0: netcheck chooses again */
tn_rc_t tn_path_force_home(tn_path_t *path, tn_ms_t now, uint32_t region);

/* ends the connection of a region, as if the relay had closed it */
tn_rc_t tn_path_break_derp(tn_path_t *path, tn_ms_t now, uint32_t region);

/* a full report of netcheck now, and own endpoints anew */
void tn_path_stun_again(tn_path_t *path, tn_ms_t now);


#endif /* TN_PATH_H_INCLUDED_ */
