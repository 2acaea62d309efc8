
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory.
 *
 * The probes of a plan on their way.  A set is done when an answer came, when
 * its next probe would tell nothing new, or when none of its probes can be
 * sent.
 *
 * A probe would help when its region has not answered yet, when it is IPv6
 * and nothing of that answered, or when it is IPv4 and fewer than two answers
 * came, which it takes to see whether the NAT maps by destination.
 *
 * When enough has been learned, the end of the report is drawn nearer: when
 * three regions have answered and the slowest of them had its time again
 * (twice that in a full report).  An incremental one also ends soon after
 * home and each family that worked before have answered: a peer may wait for
 * our endpoints.
 */

#include "tn_netcheck_private.h"

#include "crypto/tn_curve.h"
#include "wire/tn_stun.h"


#define TN_NETCHECK_STUN_PORT       3478


static void tn_netcheck_send(tn_netcheck_t *nc, tn_ms_t now,
    tn_netcheck_probe_t *probe);
static tn_rc_t tn_netcheck_address(tn_netcheck_t *nc,
    const tn_netcheck_probe_t *probe, tn_addr_t *addr);
static void tn_netcheck_over(tn_netcheck_t *nc, tn_netcheck_probe_t *probe);
static bool tn_netcheck_would_help(const tn_netcheck_t *nc,
    const tn_netcheck_probe_t *probe);
static void tn_netcheck_answer(tn_netcheck_t *nc, tn_ms_t now,
    tn_netcheck_probe_t *probe, const tn_addr_t *addr);
static bool tn_netcheck_has(const tn_netcheck_t *nc, uint32_t region);
static void tn_netcheck_saw(tn_netcheck_seen_t *seen, uint32_t *n,
    const tn_addr_t *addr, bool fastest);


void
tn_netcheck_input(tn_netcheck_t *nc, tn_ms_t now, const uint8_t *bytes,
    size_t len)
{
    uint8_t               txid[TN_STUN_TXID];
    uint32_t              i;
    tn_addr_t             addr;
    tn_netcheck_probe_t  *probe;

    if (!nc->running || nc->https
        || tn_stun_response(bytes, len, txid, &addr) != TN_OK)
    {
        return;
    }

    i = (uint32_t) txid[0] << 8 | txid[1];

    if (i >= nc->nprobes) {
        return;
    }

    probe = &nc->probes[i];

    if (probe->state != TN_NETCHECK_SENT
        || !tn_ct_equal(probe->txid, txid, TN_STUN_TXID)
        || tn_ip_is_none(&addr.ip) || addr.port == 0)
    {
        return;
    }

    tn_netcheck_answer(nc, now, probe, &addr);
    tn_netcheck_advance(nc, now);
}


void
tn_netcheck_resolved(tn_netcheck_t *nc, tn_ms_t now, uint32_t id,
    const tn_ip_t *ips, size_t n)
{
    bool                 got4, got6;
    size_t               k;
    uint32_t             i;
    tn_netcheck_node_t  *node;

    for (i = 0; i < nc->nnodes && nc->nodes[i].id != id; i++) { /* void */ }

    if (i == nc->nnodes || id == 0) {
        return;
    }

    node = &nc->nodes[i];
    node->id = 0;
    node->resolved = true;

    got4 = false;
    got6 = false;

    for (k = 0; k < n; k++) {

        if (tn_ip_is_v4(&ips[k]) && !got4) {
            node->ip4 = ips[k];
            got4 = true;

        } else if (!tn_ip_is_v4(&ips[k]) && !got6) {
            node->ip6 = ips[k];
            got6 = true;
        }
    }

    if (nc->https) {
        return;
    }

    for (i = 0; i < nc->nprobes; i++) {
        if (nc->probes[i].state == TN_NETCHECK_HELD) {
            nc->probes[i].state = TN_NETCHECK_WAITING;
        }
    }

    if (nc->running) {
        tn_netcheck_advance(nc, now);
    }
}


void
tn_netcheck_advance(tn_netcheck_t *nc, tn_ms_t now)
{
    bool                  open;
    tn_ms_t               next;
    uint32_t              i;
    tn_netcheck_probe_t  *probe;

    /* resolve() may answer from inside */

    if (nc->advancing) {
        return;
    }

    nc->advancing = true;

    for (i = 0; i < nc->nprobes; i++) {
        probe = &nc->probes[i];

        if (probe->state == TN_NETCHECK_WAITING && probe->at <= now
            && nc->sets[probe->set].left != 0)
        {
            if (tn_netcheck_would_help(nc, probe)) {
                tn_netcheck_send(nc, now, probe);

            } else {
                nc->sets[probe->set].left = 0;
            }
        }
    }

    nc->advancing = false;

    open = false;
    next = nc->stop_at;

    for (i = 0; i < nc->nprobes; i++) {
        probe = &nc->probes[i];

        if (nc->sets[probe->set].left == 0) {
            continue;
        }

        open = open || probe->state != TN_NETCHECK_OVER;

        if (probe->state == TN_NETCHECK_WAITING) {
            next = tn_min(next, tn_max(probe->at, now));
        }
    }

    if (!open || now >= nc->stop_at) {
        tn_netcheck_finish(nc, now);
        return;
    }

    if (tn_timer_set(nc->timers, &nc->timer, next) != TN_OK) {
        tn_netcheck_finish(nc, now);
    }
}


static void
tn_netcheck_send(tn_netcheck_t *nc, tn_ms_t now, tn_netcheck_probe_t *probe)
{
    uint8_t    request[TN_STUN_REQUEST_LEN];
    tn_addr_t  addr;

    switch (tn_netcheck_address(nc, probe, &addr)) {

    case TN_OK:
        break;

    case TN_AGAIN:
        probe->state = TN_NETCHECK_HELD;
        return;

    default:
        tn_netcheck_over(nc, probe);
        return;
    }

    probe->state = TN_NETCHECK_SENT;
    probe->at = now;

    tn_stun_request(request, probe->txid);

    if (nc->ops->send(nc->data, &addr, request, sizeof(request)) != TN_OK) {
        tn_netcheck_over(nc, probe);
    }
}


/* TN_OK, TN_AGAIN while the name is being resolved, TN_NOTFOUND */
static tn_rc_t
tn_netcheck_address(tn_netcheck_t *nc, const tn_netcheck_probe_t *probe,
    tn_addr_t *addr)
{
    tn_rc_t                   rc;
    const tn_ip_t            *ip;
    tn_netcheck_node_t       *entry;
    const tn_derpmap_node_t  *node;

    entry = &nc->nodes[probe->node];
    node = entry->node;

    addr->port = (uint16_t) (node->stun_port ? node->stun_port
                                             : TN_NETCHECK_STUN_PORT);

    if (node->stun_test_ip[0] != '\0') {
        return tn_ip_parse(&addr->ip, node->stun_test_ip,
                           strlen(node->stun_test_ip));
    }

    rc = tn_derpmap_node_ip(node, probe->v4, &addr->ip);

    if (rc != TN_NOTFOUND) {
        return rc;
    }

    ip = probe->v4 ? &entry->ip4 : &entry->ip6;

    if (!entry->resolved && entry->id == 0) {
        nc->last_id = nc->last_id + 1 ? nc->last_id + 1 : 1;
        entry->id = nc->last_id;
        nc->ops->resolve(nc->data, entry->id, node->hostname);
    }

    if (tn_ip_is_none(ip)) {
        return entry->resolved ? TN_NOTFOUND : TN_AGAIN;
    }

    addr->ip = *ip;

    return TN_OK;
}


static void
tn_netcheck_over(tn_netcheck_t *nc, tn_netcheck_probe_t *probe)
{
    tn_netcheck_set_t  *set;

    probe->state = TN_NETCHECK_OVER;
    set = &nc->sets[probe->set];

    if (set->left != 0) {
        set->left--;
    }
}


static bool
tn_netcheck_would_help(const tn_netcheck_t *nc,
    const tn_netcheck_probe_t *probe)
{
    if (tn_netcheck_any(&nc->regions[probe->region]) == 0) {
        return true;
    }

    return probe->v4 ? nc->report.mapping_varies == TN_UNKNOWN
                     : !nc->report.v6;
}


static void
tn_netcheck_answer(tn_netcheck_t *nc, tn_ms_t now, tn_netcheck_probe_t *probe,
    const tn_addr_t *addr)
{
    bool                   fastest, enough;
    uint32_t               i, ms, slowest, *slot;
    tn_netcheck_report_t  *report;
    tn_netcheck_region_t  *region;

    report = &nc->report;
    region = &nc->regions[probe->region];

    /* the clock counts whole milliseconds, and 0 means no answer */

    ms = (uint32_t) tn_max(now - probe->at, (tn_ms_t) 1);

    tn_netcheck_over(nc, probe);
    nc->sets[probe->set].left = 0;

    if (tn_netcheck_any(region) == 0) {
        nc->answered++;
    }

    /* by what the server saw: a translator may have changed the family */

    report->udp = true;

    if (tn_ip_is_v4(&addr->ip)) {
        slot = &region->v4_ms;
        fastest = !report->v4;

        if (report->v4) {
            if (!tn_addr_equal(&report->seen4[0].addr, addr)) {
                report->mapping_varies = TN_YES;

            } else if (report->mapping_varies == TN_UNKNOWN) {
                report->mapping_varies = TN_NO;
            }
        }

        report->v4 = true;
        tn_netcheck_saw(report->seen4, &report->nseen4, addr, fastest);

    } else {
        slot = &region->v6_ms;
        fastest = !report->v6;
        report->v6 = true;
        tn_netcheck_saw(report->seen6, &report->nseen6, addr, fastest);
    }

    if (*slot == 0 || ms < *slot) {
        *slot = ms;
    }

    enough = nc->answered >= TN_NETCHECK_ENOUGH;

    if (!report->full && (report->v4 || !nc->had4)
        && (report->v6 || !nc->had6))
    {
        enough = enough || nc->home == 0 || tn_netcheck_has(nc, nc->home);
    }

    if (enough) {
        slowest = TN_NETCHECK_RETRY_FULL_MS;

        for (i = 0; i < nc->map->nregions; i++) {
            slowest = tn_max(slowest, tn_netcheck_any(&nc->regions[i]));
        }

        nc->stop_at = tn_min(nc->stop_at,
                             now + (report->full ? 2 * slowest : slowest));
    }
}


/* whether a region has answered in this report */
static bool
tn_netcheck_has(const tn_netcheck_t *nc, uint32_t region)
{
    uint32_t  i;

    for (i = 0; i < nc->map->nregions; i++) {
        if (nc->regions[i].id == region) {
            return tn_netcheck_any(&nc->regions[i]) != 0;
        }
    }

    return false;
}


static void
tn_netcheck_saw(tn_netcheck_seen_t *seen, uint32_t *n, const tn_addr_t *addr,
    bool fastest)
{
    uint32_t  i;

    if (fastest) {
        *n = 0;
    }

    for (i = 0; i < *n; i++) {
        if (tn_addr_equal(&seen[i].addr, addr)) {
            seen[i].count++;
            return;
        }
    }

    if (*n < TN_NETCHECK_SEEN_MAX) {
        seen[*n].addr = *addr;
        seen[*n].count = 1;
        (*n)++;
    }
}
