
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What comes in from a peer, in the order of the tests (upstream
 * wgengine/filter, RunIn):
 *
 *   no rules received yet             dropped
 *   protocol 0 or 255, IPv6 extension headers, TSMP in fragments  dropped
 *   multicast, link-local             dropped
 *   destination not a local address   dropped
 *   later fragment                    accepted: useless without its first
 *   TCP that is no SYN                accepted: opens nothing
 *   ICMP errors and echo replies      accepted: open nothing
 *   UDP, SCTP of a flow of ours       accepted
 *   TSMP                              accepted: the data path's own
 *   shields up or jailed peer         dropped
 *   TCP SYN, UDP, SCTP                by rule: source, destination, port
 *   other ICMP                        by rule, ports and protocol left out
 *   other protocols                   by rule, if all ports are open
 *
 * Addresses of services count as local while they are served, for TCP and UDP
 * to their ports and for pings.
 *
 * A TCP SYN to the PeerAPI is accepted where anything below "local address"
 * says no: its handler judges.  What goes out is accepted, but for multicast
 * and link-local, and its flow remembered.
 *
 * Stricter than upstream: a fragment must be for a local address too, and a
 * capability lets ICMP in only towards the destinations of its rule.
 */

#include "filter/tn_filter.h"

#include "base/tn_via.h"

#include <stdlib.h>

#include "filter/tn_flow.h"
#include "filter/tn_match.h"
#include "wire/tn_icmp.h"
#include "wire/tn_tsmp.h"


struct tn_filter_s {
    tn_filter_rules_t  *rules;      /* NULL until the first are set */
    tn_flows_t         *flows;
    tn_ranges_t         local[2];   /* [0] IPv6, [1] IPv4 */
    tn_ranges_t         routes[2];
    bool                has_routes;
    bool                has_exit[2];
    tn_ranges_t         host[2];
    tn_addr_t           peerapi[TN_FILTER_PEERAPI_MAX];
    size_t              npeerapi;
    tn_filter_service_t  service[TN_FILTER_SERVICES_MAX];
    size_t              nservices;
    bool                shields;
};


static bool tn_filter_never(const tn_packet_t *p,
    tn_filter_verdict_t *verdict);
static tn_rc_t tn_filter_ranges(tn_ranges_t *ranges,
    const tn_prefix_t *prefixes, size_t n, unsigned min_bits);
static bool tn_filter_is_local(const tn_filter_t *filter, const tn_ip_t *ip);
static bool tn_filter_in_route(const tn_filter_t *filter, const tn_ip_t *ip);
static bool tn_filter_is_routed(const tn_filter_t *filter, const tn_ip_t *ip);
static bool tn_filter_is_host(const tn_filter_t *filter, const tn_ip_t *ip);
static bool tn_filter_embedded(const tn_ip_t *ip, tn_ip_t *v4);
static bool tn_filter_is_peerapi(const tn_filter_t *filter,
    const tn_packet_t *p);
static bool tn_filter_is_service(const tn_filter_t *filter,
    const tn_packet_t *p, bool *closed);
static bool tn_filter_has_service(const tn_filter_t *filter,
    const tn_ip_t *ip);
static tn_match_mode_t tn_filter_mode(const tn_packet_t *p);


tn_filter_t *
tn_filter_create(void)
{
    tn_filter_t  *filter;

    filter = calloc(1, sizeof(tn_filter_t));
    if (filter == NULL) {
        return NULL;
    }

    filter->flows = tn_flows_create(TN_FILTER_FLOWS,
                                    TN_FILTER_FLOW_IDLE_MS);
    if (filter->flows == NULL) {
        free(filter);
        return NULL;
    }

    return filter;
}


void
tn_filter_destroy(tn_filter_t *filter)
{
    if (filter == NULL) {
        return;
    }

    tn_filter_rules_free(filter->rules);
    tn_flows_destroy(filter->flows);
    free(filter->local[0].range);
    free(filter->local[1].range);
    free(filter->routes[0].range);
    free(filter->routes[1].range);
    free(filter->host[0].range);
    free(filter->host[1].range);
    free(filter);
}


void
tn_filter_set_rules(tn_filter_t *filter, tn_filter_rules_t *compiled)
{
    tn_filter_rules_free(filter->rules);
    filter->rules = compiled;
}


tn_rc_t
tn_filter_set_local(tn_filter_t *filter, const tn_prefix_t *prefixes,
    size_t n)
{
    return tn_filter_ranges(filter->local, prefixes, n, 0);
}


tn_rc_t
tn_filter_set_routes(tn_filter_t *filter, const tn_prefix_t *routes,
    size_t n)
{
    size_t  i;

    if (tn_filter_ranges(filter->routes, routes, n, 1) != TN_OK) {
        return TN_NOMEM;
    }

    filter->has_routes = n != 0;
    filter->has_exit[0] = false;
    filter->has_exit[1] = false;

    for (i = 0; i < n; i++) {
        if (routes[i].bits == 0) {
            filter->has_exit[routes[i].v4] = true;
        }
    }

    return TN_OK;
}


tn_rc_t
tn_filter_set_host(tn_filter_t *filter, const tn_ip_t *ips, size_t n)
{
    size_t        i;
    tn_rc_t       rc;
    tn_prefix_t  *prefixes;

    rc = TN_NOMEM;
    prefixes = calloc(tn_max(n, 1u), sizeof(tn_prefix_t));

    if (prefixes != NULL) {
        for (i = 0; i < n; i++) {
            prefixes[i] = tn_prefix_of(&ips[i]);
        }

        rc = tn_filter_ranges(filter->host, prefixes, n, 0);
        free(prefixes);
    }

    if (rc != TN_OK) {
        filter->has_routes = false;
    }

    return rc;
}


bool
tn_filter_is_behind(const tn_filter_t *filter, const tn_ip_t *dst)
{
    return filter->has_routes && !tn_filter_is_local(filter, dst)
           && !tn_filter_has_service(filter, dst);
}


/* replaces both families; prefixes shorter than min_bits are left out */
static tn_rc_t
tn_filter_ranges(tn_ranges_t *ranges, const tn_prefix_t *prefixes, size_t n,
    unsigned min_bits)
{
    int             v4;
    size_t          i;
    uint32_t        bits;
    tn_range_t     *range;
    tn_ranges_t     fresh[2];
    tn_ip_number_t  ip, host;

    memset(fresh, 0, sizeof(fresh));

    for (v4 = 0; v4 < 2; v4++) {
        fresh[v4].range = calloc(tn_max(n, 1u), sizeof(tn_range_t));

        if (fresh[v4].range == NULL) {
            free(fresh[0].range);
            return TN_NOMEM;
        }
    }

    for (i = 0; i < n; i++) {
        if (prefixes[i].bits < min_bits) {
            continue;
        }

        v4 = prefixes[i].v4;
        bits = prefixes[i].bits + (v4 ? 96u : 0u);
        ip = tn_ip_number(&prefixes[i].ip);
        host.hi = bits < 64 ? UINT64_MAX >> bits : 0;
        host.lo = bits <= 64 ? UINT64_MAX
                             : bits < 128 ? UINT64_MAX >> (bits - 64) : 0;

        range = &fresh[v4].range[fresh[v4].n++];
        range->lo.hi = ip.hi & ~host.hi;
        range->lo.lo = ip.lo & ~host.lo;
        range->hi.hi = ip.hi | host.hi;
        range->hi.lo = ip.lo | host.lo;
    }

    for (v4 = 0; v4 < 2; v4++) {
        tn_ranges_build(&fresh[v4]);
        free(ranges[v4].range);
        ranges[v4] = fresh[v4];
    }

    return TN_OK;
}


void
tn_filter_set_peerapi(tn_filter_t *filter, const tn_addr_t *addrs, size_t n)
{
    filter->npeerapi = tn_min(n, (size_t) TN_FILTER_PEERAPI_MAX);

    if (filter->npeerapi != 0) {
        memcpy(filter->peerapi, addrs, filter->npeerapi * sizeof(tn_addr_t));
    }
}


void
tn_filter_set_services(tn_filter_t *filter,
    const tn_filter_service_t *served, size_t n)
{
    filter->nservices = tn_min(n, (size_t) TN_FILTER_SERVICES_MAX);

    if (filter->nservices != 0) {
        memcpy(filter->service, served,
               filter->nservices * sizeof(tn_filter_service_t));
    }
}


bool
tn_filter_is_served_udp(const tn_filter_t *filter, const tn_packet_t *p)
{
    return tn_unlikely(filter->nservices != 0) && p->proto == TN_PROTO_UDP
           && tn_filter_has_service(filter, &p->dst);
}


static bool
tn_filter_has_service(const tn_filter_t *filter, const tn_ip_t *ip)
{
    size_t  i;

    for (i = 0; i < filter->nservices; i++) {
        if (tn_ip_equal(&filter->service[i].addr.ip, ip)) {
            return true;
        }
    }

    return false;
}


void
tn_filter_set_shields(tn_filter_t *filter, bool on)
{
    filter->shields = on;
}


tn_filter_verdict_t
tn_filter_in(tn_filter_t *filter, const tn_packet_t *p, uint64_t caps,
    bool jailed, tn_ms_t now)
{
    bool                 closed, unserved;
    tn_flow_key_t        key;
    tn_filter_verdict_t  verdict;

    unserved = false;

    if (filter->rules == NULL) {
        return TN_FILTER_DROP_NO_RULES;
    }

    if (tn_filter_never(p, &verdict)) {
        return verdict;
    }

    if (!tn_filter_is_local(filter, &p->dst)
        && !tn_filter_is_service(filter, p, &unserved)
        && !tn_filter_is_routed(filter, &p->dst))
    {
        return TN_FILTER_DROP_NOT_LOCAL;
    }

    if (p->frag == TN_PACKET_LATER) {
        return TN_FILTER_OK_FRAGMENT;
    }

    switch (p->proto) {

    case TN_PROTO_TCP:

        if (!tn_packet_is_syn(p)) {
            return TN_FILTER_OK_REPLY;
        }

        if (tn_filter_is_peerapi(filter, p)) {
            return TN_FILTER_OK_PEERAPI;
        }

        break;

    case TN_PROTO_UDP:
    case TN_PROTO_SCTP:
        key.remote = p->src;
        key.local = p->dst;
        key.remote_port = p->src_port;
        key.local_port = p->dst_port;
        key.proto = p->proto;

        if (tn_flows_find(filter->flows, &key, now)) {
            return TN_FILTER_OK_FLOW;
        }

        break;

    case TN_PROTO_ICMP:
    case TN_PROTO_ICMP6:

        if (tn_icmp_is_answer(p)) {
            return TN_FILTER_OK_REPLY;
        }

        break;

    case TN_PROTO_TSMP:
        return TN_FILTER_OK_TSMP;

    default:
        break;
    }

    if (tn_unlikely(unserved)) {
        return TN_FILTER_DROP_RULE;
    }

    closed = filter->shields || jailed;

    if (!closed && tn_match_find(filter->rules, p, caps, tn_filter_mode(p))) {
        return TN_FILTER_OK_RULE;
    }

    return closed ? TN_FILTER_DROP_SHIELDS : TN_FILTER_DROP_RULE;
}


tn_filter_verdict_t
tn_filter_out(tn_filter_t *filter, const tn_packet_t *p, tn_ms_t now)
{
    tn_flow_key_t        key;
    tn_filter_verdict_t  verdict;

    if (tn_filter_never(p, &verdict)) {
        return verdict;
    }

    if ((p->proto == TN_PROTO_UDP || p->proto == TN_PROTO_SCTP)
        && p->frag != TN_PACKET_LATER)
    {
        key.remote = p->dst;
        key.local = p->src;
        key.remote_port = p->dst_port;
        key.local_port = p->src_port;
        key.proto = p->proto;

        tn_flows_add(filter->flows, &key, now);
    }

    return TN_FILTER_OK_OUT;
}


bool
tn_filter_check(const tn_filter_t *filter, const tn_ip_t *src,
    const tn_addr_t *dst, uint8_t proto, uint64_t caps)
{
    tn_packet_t  p;

    if (filter->rules == NULL
        || filter->shields
        || tn_ip_is_v4(src) != tn_ip_is_v4(&dst->ip)
        || !tn_filter_is_local(filter, &dst->ip))
    {
        return false;
    }

    memset(&p, 0, sizeof(p));

    p.version = tn_ip_is_v4(src) ? 4 : 6;
    p.proto = proto;
    p.src = *src;
    p.dst = dst->ip;
    p.dst_port = dst->port;

    return tn_match_find(filter->rules, &p, caps, tn_filter_mode(&p));
}


uint8_t
tn_filter_reject(const tn_packet_t *p, tn_filter_verdict_t verdict)
{
    if (p->version != 4 || !tn_packet_is_syn(p)) {
        return 0;
    }

    switch (verdict) {

    case TN_FILTER_DROP_RULE:
    case TN_FILTER_DROP_NOT_LOCAL:
        return TN_TSMP_REJECT_ACL;

    case TN_FILTER_DROP_SHIELDS:
        return TN_TSMP_REJECT_SHIELDS;

    default:
        return 0;
    }
}


const char *
tn_filter_verdict_text(tn_filter_verdict_t verdict)
{
    static const char *const  texts[] = {
        "allowed by a rule",
        "answer to what we sent",
        "answer to a flow of ours",
        "fragment",
        "TSMP",
        "PeerAPI",
        "outgoing",
        "no packet filter received yet",
        "protocol not supported",
        "multicast",
        "link-local destination",
        "destination is not ours",
        "shields up or peer jailed",
        "no rule allows it"
    };

    return (size_t) verdict < tn_nelems(texts) ? texts[verdict] : "unknown";
}


/* what is dropped in either direction, whatever the rules say */
static bool
tn_filter_never(const tn_packet_t *p, tn_filter_verdict_t *verdict)
{
    static const tn_ip_t  metadata = { { 0, 0, 0, 0, 0, 0, 0, 0, 0, 0,
                                         0xff, 0xff, 169, 254, 169, 254 } };

    if (p->proto == 0
        || p->proto == 255
        || (p->version == 6 && p->extended)
        || (p->proto == TN_PROTO_TSMP && p->frag != TN_PACKET_WHOLE))
    {
        *verdict = TN_FILTER_DROP_PROTOCOL;
        return true;
    }

    if (tn_ip_is_multicast(&p->dst)) {
        *verdict = TN_FILTER_DROP_MULTICAST;
        return true;
    }

    /* clouds answer DNS and metadata queries there: it can be routed to */

    if (tn_ip_is_link_local(&p->dst) && !tn_ip_equal(&p->dst, &metadata)) {
        *verdict = TN_FILTER_DROP_LINK_LOCAL;
        return true;
    }

    return false;
}


static bool
tn_filter_is_local(const tn_filter_t *filter, const tn_ip_t *ip)
{
    return tn_ranges_contain(&filter->local[tn_ip_is_v4(ip)],
                             tn_ip_number(ip));
}


static bool
tn_filter_in_route(const tn_filter_t *filter, const tn_ip_t *ip)
{
    int  v4;

    if (tn_likely(!filter->has_routes)) {
        return false;
    }

    v4 = tn_ip_is_v4(ip);

    return tn_ranges_contain(&filter->routes[v4], tn_ip_number(ip))
           || (filter->has_exit[v4] && !tn_ip_is_tailscale(ip));
}


bool
tn_filter_withholds(const tn_filter_t *filter, const tn_ip_t *dst)
{
    return tn_filter_in_route(filter, dst)
           && !tn_ip_is_multicast(dst)
           && !tn_filter_is_local(filter, dst)
           && !tn_filter_is_routed(filter, dst);
}


static bool
tn_filter_is_routed(const tn_filter_t *filter, const tn_ip_t *ip)
{
    tn_ip_t  v4_ip;

    if (!tn_filter_in_route(filter, ip)) {
        return false;
    }

    if (tn_filter_is_host(filter, ip)) {
        return false;
    }

    if (!tn_filter_embedded(ip, &v4_ip)) {
        return true;
    }

    /* nor is the tailnet, at whatever site */

    return !tn_filter_is_host(filter, &v4_ip)
           && !(tn_via_is(ip) && tn_ip_is_tailscale(&v4_ip));
}


/* the machine itself, or what answers for it: never behind the node */
static bool
tn_filter_is_host(const tn_filter_t *filter, const tn_ip_t *ip)
{
    size_t  i;

    /*
     * Where clouds tell a machine its secrets, as far as it is not
     * link-local: fd00:ec2::254, fd20:ce::254 and 168.63.129.16; and the
     * broadcast of the machine's own network.
     */
    static const tn_ip_t  others[] = {
        { { 0xfd, 0, 0x0e, 0xc2, [14] = 0x02, [15] = 0x54 } },
        { { 0xfd, 0x20, 0, 0xce, [14] = 0x02, [15] = 0x54 } },
        { { [10] = 0xff, [11] = 0xff, 168, 63, 129, 16 } },
        { { [10] = 0xff, [11] = 0xff, 255, 255, 255, 255 } }
    };

    for (i = 0; i < tn_nelems(others); i++) {
        if (tn_ip_equal(ip, &others[i])) {
            return true;
        }
    }

    /* 0.0.0.0/8 and ::, RFC 1122 3.2.1.3: connect() takes them for loopback */

    if (tn_ip_is_none(ip) || (tn_ip_is_v4(ip) && ip->b[12] == 0)) {
        return true;
    }

    /* 169.254.169.254 among them, which tn_filter_never() lets pass */

    return tn_ip_is_loopback(ip) || tn_ip_is_link_local(ip)
           || tn_ip_is_multicast(ip)
           || tn_ranges_contain(&filter->host[tn_ip_is_v4(ip)],
                                tn_ip_number(ip));
}


/*
 * The IPv4 address that a translator on the way would send to: NAT64 (RFC
 * 6052, RFC 8215), SIIT (RFC 2765), 6to4 (RFC 3056), IPv4-compatible ones
 * (RFC 4291 2.5.5.1) and 4via6.
 */
static bool
tn_filter_embedded(const tn_ip_t *ip, tn_ip_t *v4)
{
    size_t  i;

    static const struct {
        uint8_t  len;
        uint8_t  at;
        uint8_t  bytes[12];
    } forms[] = {
        { 12, 12, { 0x00, 0x64, 0xff, 0x9b } },
        { 6, 12, { 0x00, 0x64, 0xff, 0x9b, 0x00, 0x01 } },
        { 12, 12, { [8] = 0xff, 0xff } },
        { 12, 12, { 0 } },
        { 2, 2, { 0x20, 0x02 } },
        { 8, 12, { 0xfd, 0x7a, 0x11, 0x5c, 0xa1, 0xe0, 0x0b, 0x1a } }
    };

    if (tn_ip_is_v4(ip)) {
        return false;
    }

    for (i = 0; i < tn_nelems(forms); i++) {
        if (memcmp(ip->b, forms[i].bytes, forms[i].len) == 0) {
            *v4 = tn_ip_from_v4(ip->b + forms[i].at);
            return true;
        }
    }

    return false;
}


static bool
tn_filter_is_peerapi(const tn_filter_t *filter, const tn_packet_t *p)
{
    size_t  i;

    for (i = 0; i < filter->npeerapi; i++) {
        if (filter->peerapi[i].port == p->dst_port
            && tn_ip_equal(&filter->peerapi[i].ip, &p->dst))
        {
            return true;
        }
    }

    return false;
}


/* unserved: nothing new may come in there, but for pings */
static bool
tn_filter_is_service(const tn_filter_t *filter, const tn_packet_t *p,
    bool *unserved)
{
    bool    found;
    size_t  i;

    found = false;

    for (i = 0; i < filter->nservices; i++) {

        if (!tn_ip_equal(&filter->service[i].addr.ip, &p->dst)) {
            continue;
        }

        found = true;

        if (p->proto == TN_PROTO_ICMP || p->proto == TN_PROTO_ICMP6
            || (p->proto == filter->service[i].proto && p->dst_port != 0
                && filter->service[i].addr.port == p->dst_port))
        {
            return true;
        }
    }

    *unserved = found;

    return found;
}


static tn_match_mode_t
tn_filter_mode(const tn_packet_t *p)
{
    switch (p->proto) {

    case TN_PROTO_TCP:
    case TN_PROTO_UDP:
    case TN_PROTO_SCTP:
        return TN_MATCH_PORT;

    case TN_PROTO_ICMP:
        return p->version == 4 ? TN_MATCH_IPS : TN_MATCH_ALL_PORTS;

    case TN_PROTO_ICMP6:
        return p->version == 6 ? TN_MATCH_IPS : TN_MATCH_ALL_PORTS;

    default:
        return TN_MATCH_ALL_PORTS;
    }
}
