
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What the files of path/ share: the insides of a path machine, of a peer
 * and of a DERP region.  Included by nobody else.
 */

#ifndef TN_PATH_PRIVATE_H_INCLUDED_
#define TN_PATH_PRIVATE_H_INCLUDED_

#include "tn_path.h"

#include "base/tn_hash.h"
#include "base/tn_list.h"
#include "crypto/tn_curve.h"
#include "wire/tn_disco.h"

#include "tn_derp_client.h"
#include "tn_netcheck.h"
#include "tn_quality.h"

#include "wire/tn_geneve.h"


/* upstream: magicsock */

#define TN_PATH_HEARTBEAT_MS      3000
#define TN_PATH_ACTIVE_MS         45000     /* a session without payload */
#define TN_PATH_TRUST_MS          6500      /* of an address after a pong */
#define TN_PATH_PING_TIMEOUT_MS   5000
#define TN_PATH_PING_EVERY_MS     5000      /* of one candidate */
#define TN_PATH_UPGRADE_MS        60000     /* search for a better one */
#define TN_PATH_NEAR_US           2500      /* a direct way of a LAN: from, */
#define TN_PATH_NEAR_END_US       10000     /*     and until */
#define TN_PATH_GOOD_MS           5         /* good enough: no search */
#define TN_PATH_SOURCE_MS         45000     /* memory of a ping's source */
#define TN_PATH_FRESH_MS          27000     /* own endpoints, to be told */
#define TN_PATH_RESTUN_MIN_MS     20000
#define TN_PATH_RESTUN_SPAN_MS    6000
#define TN_PATH_ENDPOINT_CACHE_MS 310000
#define TN_PATH_CACHE_PER_IP      6
#define TN_PATH_DERP_IDLE_MS      60000
#define TN_PATH_DERP_SWEEP_MS     15000
#define TN_PATH_DERP_BACKOFF_MS   5000
#define TN_PATH_DERP_QUEUE        32        /* packets while connecting */
#define TN_PATH_DERP_PROBE_MS     3000
#define TN_PATH_RELAY_EVERY_MS    30000     /* search for peer relays */
#define TN_PATH_RELAY_UPGRADE_MS  60000     /* when one is in use */
#define TN_PATH_RELAY_ASK_MS      10000     /* an allocation may take */
#define TN_PATH_RELAY_RETRY_MS    3000      /* then it is asked again */
#define TN_PATH_RELAY_BIND_MS     30000     /* a handshake may take */
#define TN_PATH_RELAY_PINGS       10        /* of one handshake */

/* our own */

#define TN_PATH_SLOW_TIMES        3         /* the baseline: demoted */
#define TN_PATH_SLOW_MIN_US       10000     /* less growth is jitter */
#define TN_PATH_SLOW_SAMPLES      4
#define TN_PATH_SLOW_GOOD         3         /* answers that restore it */
#define TN_PATH_FLAPS             5         /* losses in the time: demoted */
#define TN_PATH_FLAPS_MS          300000
#define TN_PATH_FLAPS_GOOD        10
#define TN_PATH_BASE_MS           150000    /* half the baseline's memory */
#define TN_PATH_DEMOTED_ROUND_MS  15000
#define TN_PATH_DERP_RTT_MS       30000     /* a relay's round trip is fresh */
#define TN_PATH_PING_BACK_MS      1000
#define TN_PATH_MOVED_MS          2000      /* between two alarms of pongs */
#define TN_PATH_CALL_AGAIN_MS     5000      /* a call may be lost that long */
#define TN_PATH_DOUBT_MS          1000      /* trust after a CallMeMaybe */
#define TN_PATH_SOURCES_MAX       16        /* candidates by pings alone */
#define TN_PATH_PINGS_MAX         8192      /* without an answer yet */
#define TN_PATH_DISCO_BURST       400       /* messages of one disco key */
#define TN_PATH_DISCO_RATE        100       /* per second */
#define TN_PATH_DISCO_CALL        20        /* a CallMeMaybe counts as that */
#define TN_PATH_CACHE_MAX         48
#define TN_PATH_LOCAL_MAX         48
#define TN_PATH_EXTRA_MAX         16
#define TN_PATH_RACE              4         /* regions, when UDP is blocked */
#define TN_PATH_RACE_MS           3000      /* then any becomes home */
#define TN_PATH_RACE_HOME_MS      2000      /* for home, behind the first */
#define TN_PATH_DERP_OPEN_MS      10000
#define TN_PATH_DERP_NEXT_MS      4000      /* when there is another relay */
#define TN_PATH_DERP_STALE_MS     3000      /* of a packet that waited */
#define TN_PATH_DERP_LOST_MS      15000     /* then it is no home any more */
#define TN_PATH_DERP_TRY_MS       300000    /* between tries whether it is */
#define TN_PATH_MTU_MAX           9000
#define TN_PATH_DISCO_OUT         (32 << 10)
#define TN_PATH_RELAY_AGAIN_MS    1000      /* a bind, then each 2 s */
#define TN_PATH_RELAY_TRIES       8
#define TN_PATH_RELAY_ADDRS       16        /* of one relay, the rest lost */
#define TN_PATH_RELAY_PEER_MAX    8         /* places sought for a peer */
#define TN_PATH_RELAY_MAX         256       /* for all */
#define TN_PATH_RENEW_MS          5000      /* silent: of the end of trust */
#define TN_PATH_PLAIN_TRUST_MS    15000     /* WireGuard alone was heard */
#define TN_PATH_PLAIN_TRY_MS      5000      /* then its next address */
#define TN_PATH_PLAIN_ASK_MS      10000     /* between two rounds of ICMP */
#define TN_PATH_PLAIN_ASKED       16        /* addresses of one peer */


typedef struct tn_path_disco_s   tn_path_disco_t;
typedef struct tn_path_region_s  tn_path_region_t;
typedef struct tn_path_member_s  tn_path_member_t;
typedef struct tn_path_place_s   tn_path_place_t;

/* a disco key of peers; several nodes may share one (node sharing) */
struct tn_path_disco_s {
    tn_hash_node_t       link;
    tn_key_t             key;
    tn_link_t            members;
    tn_box_key_t         box;
    bool                 have_box;  /* made at the first message */
    uint32_t             tokens;
    tn_ms_t              tokens_at;
};

/* an address where a peer may be reached */
typedef struct {
    tn_addr_t            addr;
    bool                 in_netmap;
    bool                 in_call;   /* of its last CallMeMaybe */
    tn_ms_t              got_ping;  /* 0: none came from there */
    uint8_t              got_txid[TN_DISCO_TXID];
    tn_addr_t            seen;      /* ours, as it saw us; port 0: not yet */
    tn_ms_t              heard;     /* WireGuard, without trust; 0: not */
    tn_ms_t              pinged;    /* 0: not yet */
    tn_ms_t              pinged_back;   /* in answer to a ping, 0: not yet */

    /* round trips; see tn_path_rtt.c */
    uint32_t             mtu;           /* proven, 0: unknown */
    uint32_t             latency_us;    /* the last, 0: none */
    uint32_t             average_us;
    uint32_t             base_us[2];    /* lowest of this span and the last */
    tn_ms_t              base_at;       /* begin of this span */
    uint32_t             samples;
    tn_path_why_e        demoted;       /* or TN_PATH_WHY_NONE */
    uint32_t             good;          /* answers since then, in a row */
    uint32_t             flaps;
    tn_ms_t              flaps_at;      /* the first of them */
    bool                 failed;        /* WireGuard alone: not heard there */
} tn_path_candidate_t;

/* whether a peer takes longer packets by DERP */
typedef struct {
    uint32_t             region;        /* that was asked through, 0: none */
    uint32_t             longest;       /* that it takes, 0: it does not */
    uint32_t             lost;          /* pings in a row */
    tn_ms_t              next;          /* it is asked again */
    tn_ms_t              since;
    uint64_t             sent;          /* bytes since then */
    uint32_t             rate;          /* before, bytes a millisecond */
} tn_path_long_t;

/* a peer; what is read per packet stands first */
struct tn_path_member_s {
    tn_path_peer_t       pub;

    tn_hash_node_t       link;
    tn_key_t             node_key;
    tn_path_disco_t     *disco;     /* NULL: none */
    tn_link_t            disco_link;

    uint32_t             home_derp;
    uint32_t             reverse;       /* where it was last heard, or 0 */
    uint32_t             reverse_session;
    bool                 expired;
    bool                 wireguard_only;
    bool                 relay;         /* it may use ours */
    bool                 relay_capable;

    /* through peer relays, see tn_path_relay.c */
    tn_link_t            server_link;   /* in path->servers: we may use its */
    tn_link_t            places;        /* sought */
    tn_ms_t              searched;      /* last, 0: never */
    tn_addr_t            via;           /* the last that was proven, port 0: */
    uint32_t             via_vni;       /*     none */
    uint32_t             via_us;
    tn_key_t             via_server;
    tn_ms_t              via_pinged;

    tn_path_candidate_t *candidates;
    uint32_t             ncandidates;
    uint32_t             size;

    uint32_t             best_us;
    uint32_t             base_us;       /* the lowest of it, when direct */
    uint32_t             derp_us;       /* round trip by DERP, 0: unknown */
    tn_ms_t              derp_at;       /* when it was measured */
    tn_path_long_t       longer;        /* see tn_path_long.c */
    tn_ms_t              full_ping;     /* last round, 0: none */
    tn_ms_t              plain_since;   /* best is tried, 0: not yet */
    tn_ms_t              called;        /* last CallMeMaybe wanted */
    tn_ms_t              call_sent;     /* over a connection that was up */
    bool                 owes_call;     /* in return, see tn_path_peer.c */
    tn_link_t            call_link;     /* waits for fresh endpoints */
    tn_timer_t           heartbeat;     /* set while the peer is active */

    uint32_t             lifetime_ms;   /* see tn_path_lifetime.c */
    uint32_t             cliff;         /* the one to be proven */
    tn_ms_t              cycle_at;      /* its start, 0: none */
    tn_ms_t              lifetime_pinged;
    tn_timer_t           lifetime;

    tn_path_why_e        why;           /* of the next change to be told */
    tn_path_change_t    *changes;       /* TN_PATH_HISTORY, or NULL */
    uint32_t             nchanges;      /* all there ever were */
    tn_path_kind_e       told_kind;
    tn_addr_t            told_best;
    uint32_t             told_vni;
    uint32_t             told_derp;
    bool                 told_near;
};

/* who asked by tn_path_ping() */
typedef struct {
    tn_path_pong_pt      fn;        /* NULL once it was called */
    void                *data;
    uint32_t             refs;      /* pings under way */
} tn_path_asked_t;

typedef struct {
    tn_link_t            fifo;      /* all wait the same time */
    tn_hash_node_t       link;
    uint8_t              txid[TN_DISCO_TXID];
    tn_path_member_t    *peer;
    tn_addr_t            to;
    uint32_t             vni;       /* through the peer relay there, or 0 */
    uint32_t             region;    /* 0: over UDP to `to` */
    tn_ms_t              at;
    uint64_t             at_us;
    tn_path_asked_t     *asked;     /* or NULL */
    uint32_t             size;      /* of the packet, or of what DERP carries;
                                       0: not padded */
    bool                 lifetime;
} tn_path_ping_t;

typedef enum {
    TN_PATH_REGION_IDLE = 0,
    TN_PATH_REGION_OPENING,     /* the host connects, or the login runs */
    TN_PATH_REGION_READY,
    TN_PATH_REGION_WAITING      /* until the next try */
} tn_path_region_state_e;

struct tn_path_region_s {
    tn_path_t              *path;
    uint32_t                id;
    tn_path_region_state_e  state;
    bool                    connected;  /* the host has a connection */
    bool                    websocket;  /* the way takes nothing else */
    tn_derp_client_t       *client;
    uint32_t                relay;      /* number of the node to try */
    uint32_t                failures;   /* rounds through all nodes */
    tn_ms_t                 failing;    /* since the first of them while
                                           others answered, 0: not */
    bool                    lost;       /* takes no connections, is no home */
    bool                    trial;      /* opened to see whether it does */
    tn_ms_t                 tried;      /* the last of these, 0: none */
    uint32_t                session;    /* counts logins */
    tn_ms_t                 restart_in; /* the server announced it */
    tn_ms_t                 written;    /* last wish to send */
    tn_ms_t                 ready_at;
    tn_link_t               queue;
    uint32_t                queued;
    tn_timer_t              timer;
};

/* a place on a peer relay that is sought for one peer */
struct tn_path_place_s {
    tn_link_t            link;      /* in path->places */
    tn_link_t            peer_link; /* in peer->places */
    tn_path_member_t    *peer;
    tn_path_member_t    *server;    /* asked; NULL: it has been given */
    uint32_t             generation;
    uint32_t             tries;
    tn_ms_t              until;
    tn_timer_t           timer;

    /* once given */
    tn_disco_relay_t     relay;
    tn_addr_t            addrs[TN_PATH_RELAY_ADDRS];
    uint32_t             naddrs;
    tn_box_key_t         box;

    /* once challenged */
    tn_addr_t            from;      /* port 0: not yet */
    uint8_t              challenge[TN_DISCO_CHALLENGE];

    uint32_t             npings;
    uint8_t              txids[TN_PATH_RELAY_PINGS][TN_DISCO_TXID];
    uint64_t             sent_us[TN_PATH_RELAY_PINGS];
};

typedef struct {
    tn_endpoint_t        endpoint;
    tn_ms_t              until;
} tn_path_cached_t;

struct tn_path_s {
    const tn_path_ops_t *ops;
    void                *data;
    tn_keypair_t         node;
    tn_keypair_t         disco;
    tn_timers_t         *timers;
    tn_log_t            *log;

    bool                 started;
    bool                 control_up;

    tn_hash_t            peers;
    tn_hash_t            discos;
    uint32_t             nactive;

    tn_hash_t            pings;
    tn_link_t            pings_fifo;
    tn_timer_t           pings_timer;

    tn_link_t            servers;   /* peers whose relays may be used */
    bool                 own_relay; /* so may our own */
    uint16_t             own_ports[2];  /* of our own, IPv4 and IPv6 */
    tn_netcheck_t       *own_check;     /* through its sockets */
    tn_netcheck_report_t own_report;    /* the last */
    tn_timer_t           own_timer;
    tn_link_t            places;    /* that are sought */
    uint32_t             nplaces;
    uint32_t             asks;      /* generations of requests */
    uint32_t             binds;     /* and of handshakes */

    tn_derpmap_t        *map;       /* NULL: none yet */
    tn_path_region_t   **regions;   /* in the order of the map */
    uint32_t             home;
    bool                 racing;    /* the first login becomes home */
    uint32_t             winner;    /* of a race; becomes home at its timer */
    uint32_t             loser;     /*     if that is still away */
    tn_timer_t           race;
    tn_timer_t           sweep;

    tn_netcheck_t       *netcheck;
    bool                 udp;       /* the last report had an answer */
    bool                 answered;  /* the same, by UDP or by HTTPS */
    bool                 again;     /* another report is wanted */
    bool                 again_full;
    tn_timer_t           restun;

    tn_addr_t            local[TN_PATH_LOCAL_MAX];
    uint32_t             nlocal;
    uint16_t             port4;
    uint16_t             port6;
    bool                 have4;
    bool                 have6;
    tn_endpoint_t        extra[TN_PATH_EXTRA_MAX];
    uint32_t             nextra;
    tn_ms_t              listed_at;     /* own endpoints became others */
    tn_ms_t              moved_at;      /* the last alarm of a pong, 0: none */
    tn_tristate_e        upnp;
    tn_tristate_e        pmp;
    tn_tristate_e        pcp;
    bool                 have_port_map;
    tn_path_cached_t     cache[TN_PATH_CACHE_MAX];
    uint32_t             ncache;

    tn_endpoint_t        endpoints[TN_ENDPOINTS_MAX];
    uint32_t             nendpoints;
    tn_ms_t              endpoints_at;  /* when last confirmed, 0: never */
    tn_link_t            calls;         /* peers to call then */

    tn_netinfo_t         netinfo;
    bool                 netinfo_told;

    tn_netcheck_report_t report;        /* the last */
    tn_ms_t              report_at;     /* 0: none */
    uint32_t             forced_home;   /* 0: none */
    tn_path_knobs_t      knobs;
    tn_path_counters_t   counters;

    uint8_t              out[TN_PATH_DISCO_OUT];
    uint8_t              wrapped[TN_PATH_DISCO_OUT + TN_GENEVE_HEADER];
    uint8_t              plain[TN_PATH_DISCO_OUT];
    uint8_t              scratch[64 << 10];
};


static inline tn_path_member_t *
tn_path_member(const tn_path_peer_t *peer)
{
    return tn_container(peer, tn_path_member_t, pub);
}

static inline bool
tn_path_is_trusted(const tn_path_member_t *peer, tn_ms_t now)
{
    return now < peer->pub.trust_until;
}

/* the best address is one of the peer's own */
static inline bool
tn_path_is_direct(const tn_path_member_t *peer)
{
    return peer->pub.best.port != 0 && peer->pub.vni == 0;
}


/* tn_path.c */

/* logs and tells when the way to a peer has become another */
void tn_path_note(tn_path_member_t *peer, tn_ms_t now);

/* sets the region for a peer by its home and by where it was heard */
void tn_path_pick_derp(tn_path_member_t *peer);


/* tn_path_peer.c: candidates, pings, trust */

void tn_path_peer_init(tn_path_member_t *peer);
void tn_path_peer_done(tn_path_member_t *peer);
void tn_path_peer_netmap(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *endpoints, size_t n);

/* NULL when it is none of the peer's */
tn_path_candidate_t *tn_path_peer_candidate(tn_path_member_t *peer,
    const tn_addr_t *addr);

/* this is the best address */
void tn_path_peer_use(tn_path_member_t *peer, const tn_addr_t *addr,
    uint32_t vni);

/* forgets what is proven, keeps the candidates; pings at the next send */
void tn_path_peer_reset(tn_path_member_t *peer, tn_ms_t now,
    tn_path_why_e why);

/* the same, and active peers search at once */
void tn_path_peer_restart(tn_path_member_t *peer, tn_ms_t now);

/* asks a proven direct path whether it still is one, restarts what is none */
void tn_path_peer_doubt(tn_path_member_t *peer, tn_ms_t now);

/*
 * A ping came from this address.  False when it is one that was already
 * answered.
 */
bool tn_path_peer_pinged(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *from, const uint8_t txid[TN_DISCO_TXID]);

/* from `to` we are seen as `seen`: another address than before is news */
void tn_path_peer_seen(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *to, const tn_addr_t *seen);

void tn_path_peer_pong(tn_path_member_t *peer, tn_ms_t now,
    const tn_path_ping_t *ping, uint32_t rtt_us);
void tn_path_peer_ping_lost(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *to, uint32_t vni);

/* through a place on a relay the peer was reached; the way may be it now */
void tn_path_peer_relayed(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *addr, uint32_t vni, const tn_key_t *server,
    uint32_t rtt_us);

/* the relay of a peer answered a ping */
void tn_path_peer_derp_pong(tn_path_member_t *peer, tn_ms_t now,
    uint32_t rtt_us);
void tn_path_peer_called(tn_path_member_t *peer, tn_ms_t now,
    const tn_disco_addrs_t *addrs);


/* tn_path_plain.c: a peer of WireGuard alone */

/* an address when it has none, none when the knobs say so */
void tn_path_plain_set(tn_path_member_t *peer, tn_ms_t now);

/* at a send */
void tn_path_plain_drive(tn_path_member_t *peer, tn_ms_t now);
void tn_path_plain_heard(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *from);


/* tn_path_rtt.c: what round trips and losses say of a candidate */

/* true when it has just recovered */
bool tn_path_rtt_answer(tn_path_candidate_t *candidate, tn_ms_t now,
    uint32_t rtt_us);

/* its round trip has grown too much */
bool tn_path_rtt_is_slow(const tn_path_candidate_t *candidate);

/* it was the best address and is lost; true when that is once too often */
bool tn_path_rtt_lost(tn_path_candidate_t *candidate, tn_ms_t now);

void tn_path_rtt_forget(tn_path_candidate_t *candidate);

/* the lowest answer of this span and the last */
uint32_t tn_path_rtt_base(const tn_path_candidate_t *candidate);


/* tn_path_long.c: what came of its pings */

void tn_path_long_answer(tn_path_member_t *peer, tn_ms_t now,
    const tn_path_ping_t *ping, const tn_disco_msg_t *pong);
void tn_path_long_lost(tn_path_member_t *peer, tn_ms_t now);

/* what a ping of this padding is told, 0: nothing */
uint16_t tn_path_long_takes(size_t padding);

/* another process: nothing is known of it */
void tn_path_long_forget(tn_path_member_t *peer);


/* tn_path_lifetime.c: how long an idle path lives */

void tn_path_lifetime_idle(tn_path_member_t *peer, tn_ms_t now);
void tn_path_lifetime_timer(void *data, tn_ms_t now);
void tn_path_lifetime_answer(tn_path_member_t *peer, tn_ms_t now);


/* tn_path_disco.c: disco messages in and out */

/* NULL when out of memory */
tn_path_disco_t *tn_path_disco_get(tn_path_t *path, const tn_key_t *key);
void tn_path_disco_join(tn_path_disco_t *disco, tn_path_member_t *peer);
void tn_path_disco_leave(tn_path_t *path, tn_path_member_t *peer);

/* from->region is 0 over UDP */
void tn_path_disco_input(tn_path_t *path, tn_ms_t now,
    const tn_path_from_t *from, const uint8_t *bytes, size_t len);

/*
 * Sends a ping, through a relay or not, and remembers it; asked may be NULL.
 * By DERP it is padded to a message of `size`, 0: it is not.
 */
tn_rc_t tn_path_probe(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *to, uint32_t vni, tn_path_asked_t *asked);
tn_rc_t tn_path_probe_derp(tn_path_member_t *peer, tn_ms_t now,
    tn_path_asked_t *asked, uint32_t size);

/* pings of the sizes that networks are known to carry */
void tn_path_probe_mtu(tn_path_member_t *peer, tn_ms_t now,
    const tn_addr_t *to);

/* to the best address; ends in tn_path_lifetime_answer() or in nothing */
tn_rc_t tn_path_probe_lifetime(tn_path_member_t *peer, tn_ms_t now);
void tn_path_pings_forget(tn_path_member_t *peer);
void tn_path_pings_timer(void *data, tn_ms_t now);

/* a message in path->out for this disco key; its length, 0 on failure */
size_t tn_path_disco_make(tn_path_t *path, tn_path_disco_t *disco,
    const tn_disco_msg_t *msg);

/* the same by a key that no peer has */
size_t tn_path_disco_make_box(tn_path_t *path, const tn_box_key_t *box,
    const tn_disco_msg_t *msg);

/* what was made: over UDP, through the relay there when vni is not 0 */
tn_rc_t tn_path_disco_send(tn_path_t *path, const tn_addr_t *to,
    uint32_t vni, bool control, size_t len);

/* the clock of round trips */
uint64_t tn_path_us(const tn_path_t *path, tn_ms_t now);

/* CallMeMaybe, as soon as own endpoints are fresh */
void tn_path_call(tn_path_member_t *peer, tn_ms_t now);
void tn_path_call_all(tn_path_t *path, tn_ms_t now);
void tn_path_call_again(tn_path_t *path, tn_ms_t now, uint32_t region);


/* tn_path_relay.c: places on peer relays, as their client */

/* starts a search unless the path is direct, or there was one lately */
void tn_path_relay_search(tn_path_member_t *peer, tn_ms_t now);

/* ends what is sought for it; and, with `asked`, from it */
void tn_path_relay_forget(tn_path_member_t *peer, bool asked);

/* a server has answered a request, by DERP */
void tn_path_relay_given(tn_path_t *path, tn_ms_t now,
    const tn_path_member_t *server, const tn_disco_msg_t *msg);

/* CallMeMaybeVia */
void tn_path_relay_called(tn_path_member_t *peer, tn_ms_t now,
    const tn_disco_msg_t *msg);

/* disco between a relay and its clients */
void tn_path_relay_control(tn_path_t *path, tn_ms_t now,
    const tn_path_from_t *from, const uint8_t *bytes, size_t len);

/* a ping, or the pong for one that the table does not have, of this key */
void tn_path_relay_pinged(tn_path_t *path, tn_ms_t now,
    const tn_path_disco_t *disco, const tn_path_from_t *from);
void tn_path_relay_pong(tn_path_t *path, tn_ms_t now,
    const tn_path_disco_t *disco, const tn_path_from_t *from,
    const tn_disco_msg_t *pong);


/* tn_path_relay_own.c: our own peer relay's addresses */

extern const tn_netcheck_ops_t  tn_path_own_ops;

void tn_path_own_addrs(const tn_path_t *path, tn_disco_addrs_t *addrs);

/* what was seen of it was so on another network, by another map or knob */
void tn_path_own_restart(tn_path_t *path, tn_ms_t now);

/* false: the resolution is none of its */
bool tn_path_own_resolved(tn_path_t *path, tn_ms_t now, uint32_t id,
    const tn_ip_t *ips, size_t n);
void tn_path_own_timer(void *data, tn_ms_t now);


/* tn_path_derp.c: regions and their connections */

tn_rc_t tn_path_regions_set(tn_path_t *path, const tn_derpmap_t *map);
void tn_path_regions_done(tn_path_t *path);
tn_path_region_t *tn_path_region_find(const tn_path_t *path, uint32_t id);
void tn_path_regions_probe(tn_path_t *path, tn_ms_t now);
/* nobody answers: that says nothing of any region */
void tn_path_regions_excuse(tn_path_t *path);
void tn_path_region_open(tn_path_region_t *region, tn_ms_t now);
void tn_path_region_close(tn_path_region_t *region);
void tn_path_region_break(tn_path_region_t *region, tn_ms_t now);

/* a lost region would be a better home: now and then it is connected to */
void tn_path_region_try(tn_path_t *path, tn_ms_t now, uint32_t id);
void tn_path_sweep_timer(void *data, tn_ms_t now);

bool tn_path_derp_is_ready(const tn_path_t *path, uint32_t id);

/* a relay is there that takes what is sent to this peer */
bool tn_path_derp_has(const tn_path_member_t *peer);

/* peer may be NULL; it is where a reverse route is looked up */
tn_rc_t tn_path_derp_send(tn_path_t *path, tn_ms_t now,
    tn_path_member_t *peer, uint32_t region, const tn_key_t *dst,
    const uint8_t *bytes, size_t len);


/* tn_path_home.c: which region is home */

void tn_path_set_home(tn_path_t *path, tn_ms_t now, uint32_t id);

/* a home that was known before the start */
void tn_path_open_home(tn_path_t *path, tn_ms_t now);

/* where there is no choice, home need not wait for the first report */
void tn_path_only_home(tn_path_t *path, tn_ms_t now);
void tn_path_report_home(tn_path_t *path, tn_ms_t now,
    const tn_netcheck_report_t *report);

/* without UDP the region whose relay answers first becomes home */
void tn_path_race(tn_path_t *path, tn_ms_t now);

/*
 * This one did, while a race was on.  Where there is a home it is not left at
 * once: what kept it away may be over, as others answer.
 */
void tn_path_race_won(tn_path_region_t *region, tn_ms_t now);
void tn_path_race_timer(void *data, tn_ms_t now);


/* tn_path_endpoints.c: netcheck, own endpoints, NetInfo */

extern const tn_netcheck_ops_t  tn_path_netcheck_ops;

void tn_path_restun(tn_path_t *path, tn_ms_t now, bool full);
void tn_path_restun_later(tn_path_t *path, tn_ms_t now);
void tn_path_restun_timer(void *data, tn_ms_t now);
void tn_path_tell_netinfo(tn_path_t *path, tn_ms_t now);


#endif /* TN_PATH_PRIVATE_H_INCLUDED_ */
