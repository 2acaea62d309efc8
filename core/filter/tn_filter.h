
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The tailnet's packet filter: judges every packet that comes out of the
 * tunnel before a stack sees it, and remembers the UDP flows that went in.
 * The data path owns one per node.  Never allocates for a packet.
 */

#ifndef TN_FILTER_H_INCLUDED_
#define TN_FILTER_H_INCLUDED_

#include "wire/tn_ip.h"
#include "wire/tn_rule.h"


/* UDP and SCTP flows remembered, and how long an idle one is */
#define TN_FILTER_FLOWS          4096
#define TN_FILTER_FLOW_IDLE_MS   300000

/* different capabilities that sources of one rule set may name */
#define TN_FILTER_CAPS_MAX       64

/* addresses with a PeerAPI: one of each family */
#define TN_FILTER_PEERAPI_MAX    2

/* ports of services */
#define TN_FILTER_SERVICES_MAX   128

typedef struct {
    tn_addr_t  addr;            /* port 0: nothing new comes in there */
    uint8_t    proto;           /* TN_PROTO_TCP, TN_PROTO_UDP */
} tn_filter_service_t;


typedef enum {
    TN_FILTER_OK_RULE = 0,
    TN_FILTER_OK_REPLY,         /* TCP that opens nothing, ICMP answers */
    TN_FILTER_OK_FLOW,          /* answers a UDP flow of ours */
    TN_FILTER_OK_FRAGMENT,
    TN_FILTER_OK_TSMP,
    TN_FILTER_OK_PEERAPI,       /* its handler judges */
    TN_FILTER_OK_OUT,

    TN_FILTER_DROP,             /* all below are drops */
    TN_FILTER_DROP_NO_RULES = TN_FILTER_DROP,   /* none received yet */
    TN_FILTER_DROP_PROTOCOL,    /* reserved number, extension headers */
    TN_FILTER_DROP_MULTICAST,
    TN_FILTER_DROP_LINK_LOCAL,
    TN_FILTER_DROP_NOT_LOCAL,   /* the destination is not ours */
    TN_FILTER_DROP_SHIELDS,     /* shields up, or the peer is jailed */
    TN_FILTER_DROP_RULE         /* no rule allows it */
} tn_filter_verdict_t;


static inline bool
tn_filter_accepts(tn_filter_verdict_t verdict)
{
    return verdict < TN_FILTER_DROP;
}


/* --- compiled rules: made on any thread, immutable, used by one filter */

typedef struct tn_filter_rules_s  tn_filter_rules_t;

/* NULL: no memory; an empty set is good and allows nothing new */
tn_filter_rules_t *tn_filter_compile(const tn_rules_t *rules);
void tn_filter_rules_free(tn_filter_rules_t *compiled);

/*
 * The bits to give to tn_filter_in() for packets from a peer: `has` says
 * whether the peer has a node capability.  To be asked anew for every peer
 * when the rules change and for a peer when its capabilities do.
 */
typedef bool (*tn_filter_has_cap_pt)(void *data, const char *cap);

uint64_t tn_filter_rules_caps(const tn_filter_rules_t *compiled,
    tn_filter_has_cap_pt has, void *data);


/* --- the filter */

typedef struct tn_filter_s  tn_filter_t;

/* denies everything until rules are set; NULL: no memory */
tn_filter_t *tn_filter_create(void);
void tn_filter_destroy(tn_filter_t *filter);

/* takes the rules over and frees the ones before; flows are kept */
void tn_filter_set_rules(tn_filter_t *filter, tn_filter_rules_t *compiled);

/*
 * The addresses that packets may come in for: own, and of services.  TN_NOMEM
 * leaves those from before.
 */
tn_rc_t tn_filter_set_local(tn_filter_t *filter, const tn_prefix_t *prefixes,
    size_t n);

/*
 * And the routes that the node advertises, without what is not behind it:
 * the machine's own addresses, loopback and link-local ones, where clouds
 * answer for the machine, each of these inside of an IPv6 address that a
 * translator would take it out of, and, of a route to everything, the
 * addresses of the tailnet.  TN_NOMEM leaves those from before.
 */
tn_rc_t tn_filter_set_routes(tn_filter_t *filter, const tn_prefix_t *routes,
    size_t n);

/* the machine's own addresses; TN_NOMEM: nothing is behind the node now */
tn_rc_t tn_filter_set_host(tn_filter_t *filter, const tn_ip_t *ips, size_t n);

/* of a packet that was accepted: it is for an address of a route */
bool tn_filter_is_behind(const tn_filter_t *filter, const tn_ip_t *dst);

/* inside of a route, but among what is never behind the node */
bool tn_filter_withholds(const tn_filter_t *filter, const tn_ip_t *dst);

/* where the PeerAPI listens; n <= TN_FILTER_PEERAPI_MAX, 0 for none */
void tn_filter_set_peerapi(tn_filter_t *filter, const tn_addr_t *addrs,
    size_t n);

/*
 * Addresses of services that this node serves: besides own addresses, and for
 * TCP and UDP to these ports only.  The rest are cut.
 */
void tn_filter_set_services(tn_filter_t *filter,
    const tn_filter_service_t *served, size_t n);

/* of a packet that was accepted: it is UDP for an address of a service */
bool tn_filter_is_served_udp(const tn_filter_t *filter, const tn_packet_t *p);

/* shields up: nothing new comes in from anybody */
void tn_filter_set_shields(tn_filter_t *filter, bool on);

/*
 * Judges a packet that a peer sent.  caps: of tn_filter_rules_caps(), or 0
 * when the source is not an address of the peer itself but behind one of its
 * routes.  jailed: the peer may only answer.
 */
tn_filter_verdict_t tn_filter_in(tn_filter_t *filter, const tn_packet_t *p,
    uint64_t caps, bool jailed, tn_ms_t now);

/*
 * Judges a packet to a peer and remembers the flow, so that answers come in.
 * Also to be called for packets that the node itself makes.
 */
tn_filter_verdict_t tn_filter_out(tn_filter_t *filter, const tn_packet_t *p,
    tn_ms_t now);

/* whether a rule lets src open a connection to dst; for tests of access */
bool tn_filter_check(const tn_filter_t *filter, const tn_ip_t *src,
    const tn_addr_t *dst, uint8_t proto, uint64_t caps);

/*
 * The reason to tell the sender by a TSMP reject, or 0 to be silent: told
 * only for IPv4 TCP connections refused.
 */
uint8_t tn_filter_reject(const tn_packet_t *p, tn_filter_verdict_t verdict);

/* a few words for the log */
const char *tn_filter_verdict_text(tn_filter_verdict_t verdict);


#endif /* TN_FILTER_H_INCLUDED_ */
