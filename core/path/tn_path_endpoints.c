
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What this node tells the tailnet about itself: its endpoints, its home
 * region and NetInfo, made anew with each report of netcheck.
 *
 * A report starts when the DERP map, the local addresses or the network
 * change, when a DERP connection broke, when a peer is to be called and our
 * endpoints are over 27 s old, and each 20 to 26 s (just under the 30 s that
 * many NATs keep a mapping) while any peer is active.  One runs at a time;
 * wishes that come meanwhile make one more.
 *
 * An address that STUN gave stays in the list for 5 minutes and 10 seconds
 * after it was last seen, so that a lost answer does not withdraw it.
 */

#include "tn_path_private.h"


static tn_rc_t tn_path_stun_send(void *data, const tn_addr_t *to,
    const uint8_t *bytes, size_t len);
static void tn_path_stun_resolve(void *data, uint32_t id, const char *host);
static tn_ms_t tn_path_stun_heard(void *data, uint32_t region);
static bool tn_path_stun_lost(void *data, uint32_t region);
static bool tn_path_stun_https(void *data, uint32_t id, uint32_t region,
    const tn_derpmap_node_t *node);
static void tn_path_stun_done(void *data, tn_ms_t now,
    const tn_netcheck_report_t *report);
static void tn_path_report_netinfo(tn_path_t *path,
    const tn_netcheck_report_t *report);
static void tn_path_report_endpoints(tn_path_t *path, tn_ms_t now,
    const tn_netcheck_report_t *report);
static void tn_path_add_endpoint(tn_endpoint_t *list, uint32_t *n,
    const tn_addr_t *addr, tn_endpoint_type_e type);
static void tn_path_add_seen(tn_endpoint_t *list, uint32_t *n,
    const tn_netcheck_seen_t *seen, uint32_t nseen);
static void tn_path_add_cached(tn_path_t *path, tn_ms_t now,
    tn_endpoint_t *list, uint32_t *n);
static void tn_path_cache_endpoint(tn_path_t *path, tn_ms_t now,
    const tn_endpoint_t *endpoint);
static bool tn_path_same_endpoints(const tn_path_t *path,
    const tn_endpoint_t *list, uint32_t n);


const tn_netcheck_ops_t  tn_path_netcheck_ops = {
    tn_path_stun_send,
    tn_path_stun_resolve,
    tn_path_stun_heard,
    tn_path_stun_lost,
    tn_path_stun_https,
    tn_path_stun_done
};


void
tn_path_restun(tn_path_t *path, tn_ms_t now, bool full)
{
    if (!path->started || path->map == NULL) {
        return;
    }

    if (tn_netcheck_is_running(path->netcheck)) {
        path->again = true;
        path->again_full = path->again_full || full;
        return;
    }

    tn_timer_cancel(path->timers, &path->restun);

    tn_netcheck_start(path->netcheck, now, path->have4, path->have6,
                      path->home, full);
}


/* while peers are active own addresses are asked for again and again */
void
tn_path_restun_later(tn_path_t *path, tn_ms_t now)
{
    if (!path->started || path->nactive == 0
        || tn_timer_is_set(&path->restun)
        || tn_netcheck_is_running(path->netcheck))
    {
        return;
    }

    (void) tn_timer_set(path->timers, &path->restun,
                        now + TN_PATH_RESTUN_MIN_MS
                        + tn_random_below(TN_PATH_RESTUN_SPAN_MS));
}


void
tn_path_restun_timer(void *data, tn_ms_t now)
{
    tn_path_t  *path;

    path = data;

    if (path->nactive != 0 || path->racing) {
        tn_path_restun(path, now, false);
    }
}


void
tn_path_tell_netinfo(tn_path_t *path, tn_ms_t now)
{
    tn_netinfo_t  netinfo;

    netinfo = path->netinfo;
    netinfo.preferred_derp = path->home;

    /* peers cannot reach a node without a home: nothing to tell yet */

    if (path->home == 0 && path->map->nregions != 0
        && !path->knobs.homeless)
    {
        return;
    }

    if (path->netinfo_told && path->netinfo.preferred_derp == path->home) {
        return;
    }

    path->netinfo = netinfo;
    path->netinfo_told = true;
    path->ops->netinfo(path->data, now, &path->netinfo);
}


static tn_rc_t
tn_path_stun_send(void *data, const tn_addr_t *to, const uint8_t *bytes,
    size_t len)
{
    tn_path_t  *path;

    path = data;

    if (path->knobs.only_tcp_443
        || (tn_ip_is_v4(&to->ip) ? path->port4 : path->port6) == 0)
    {
        return TN_ERROR;
    }

    return path->ops->send_udp(path->data, to, bytes, len);
}


static void
tn_path_stun_resolve(void *data, uint32_t id, const char *host)
{
    tn_path_t  *path;

    path = data;

    path->ops->resolve(path->data, id, host);
}


static tn_ms_t
tn_path_stun_heard(void *data, uint32_t id)
{
    tn_path_region_t  *region;

    region = tn_path_region_find(data, id);

    return region && region->client ? tn_derp_client_heard(region->client)
                                    : 0;
}


static bool
tn_path_stun_lost(void *data, uint32_t id)
{
    tn_path_region_t  *region;

    region = tn_path_region_find(data, id);

    return region != NULL && region->lost;
}


static bool
tn_path_stun_https(void *data, uint32_t id, uint32_t region,
    const tn_derpmap_node_t *node)
{
    tn_path_t  *path;

    path = data;

    if (path->ops->https_probe == NULL) {
        return false;
    }

    path->ops->https_probe(path->data, id, region, node);

    return true;
}


void
tn_path_set_extra(tn_path_t *path, tn_ms_t now,
    const tn_endpoint_t *endpoints, size_t n)
{
    uint32_t  i, k;

    path->nextra = (uint32_t) tn_min(n, (size_t) TN_PATH_EXTRA_MAX);
    memcpy(path->extra, endpoints, path->nextra * sizeof(tn_endpoint_t));

    /* a mapping that is gone leads to nobody, or to somebody else */

    for (i = 0, k = 0; i < path->ncache; i++) {
        if (path->cache[i].endpoint.type != TN_ENDPOINT_PORTMAPPED) {
            path->cache[k++] = path->cache[i];
        }
    }

    path->ncache = k;

    tn_path_restun(path, now, false);
}


void
tn_path_set_portmap(tn_path_t *path, tn_ms_t now, tn_tristate_e upnp,
    tn_tristate_e pmp, tn_tristate_e pcp, bool mapped)
{
    path->upnp = upnp;
    path->pmp = pmp;
    path->pcp = pcp;
    path->have_port_map = mapped;

    if (!path->netinfo_told) {
        return;             /* with the first report */
    }

    path->netinfo.upnp = upnp;
    path->netinfo.pmp = pmp;
    path->netinfo.pcp = pcp;
    path->netinfo.have_port_map = mapped;
    path->netinfo_told = false;

    tn_path_tell_netinfo(path, now);
}


static void
tn_path_stun_done(void *data, tn_ms_t now, const tn_netcheck_report_t *report)
{
    bool        full;
    tn_path_t  *path;

    path = data;
    path->udp = report->udp;
    path->answered = report->answered;

    if (!path->answered) {
        tn_path_regions_excuse(path);
    }

    path->report = *report;
    path->report_at = now;
    path->counters.reports++;

    tn_path_report_home(path, now, report);
    tn_path_report_netinfo(path, report);
    tn_path_tell_netinfo(path, now);
    tn_path_report_endpoints(path, now, report);

    if (path->again) {
        full = path->again_full;
        path->again = false;
        path->again_full = false;
        tn_path_restun(path, now, full);
        return;
    }

    tn_path_restun_later(path, now);
}


static void
tn_path_report_netinfo(tn_path_t *path, const tn_netcheck_report_t *report)
{
    bool                   v4;
    uint32_t               i, k, ms;
    tn_netinfo_t           netinfo;
    tn_netinfo_latency_t  *latency;

    memset(&netinfo, 0, sizeof(tn_netinfo_t));

    netinfo.mapping_varies_by_dest_ip = report->mapping_varies;
    netinfo.working_udp = report->udp ? TN_YES : TN_NO;
    netinfo.working_ipv6 = report->v6 ? TN_YES : TN_NO;
    netinfo.os_has_ipv6 = path->port6 != 0 ? TN_YES : TN_NO;
    netinfo.upnp = path->upnp;
    netinfo.pmp = path->pmp;
    netinfo.pcp = path->pcp;
    netinfo.have_port_map = path->have_port_map;

    for (i = 0; i < path->map->nregions; i++) {
        for (k = 0; k < 2; k++) {
            v4 = k == 0;
            ms = tn_netcheck_latency(path->netcheck,
                                     path->map->regions[i].id, v4);

            if (ms == 0 || netinfo.nlatency == TN_NETINFO_LATENCIES_MAX) {
                continue;
            }

            latency = &netinfo.latency[netinfo.nlatency++];
            latency->region = path->map->regions[i].id;
            latency->v4 = v4;
            latency->seconds = ms / 1000.0;
        }
    }

    netinfo.preferred_derp = path->netinfo.preferred_derp;

    path->netinfo_told = false;
    path->netinfo = netinfo;
}


static void
tn_path_report_endpoints(tn_path_t *path, tn_ms_t now,
    const tn_netcheck_report_t *report)
{
    uint32_t        i, n;
    tn_addr_t       addr;
    tn_endpoint_t   list[TN_ENDPOINTS_MAX];

    n = 0;

    if (path->knobs.only_tcp_443) {
        path->ncache = 0;
        goto done;
    }

    for (i = 0; i < path->nextra; i++) {
        if (path->extra[i].type == TN_ENDPOINT_PORTMAPPED) {
            tn_path_add_endpoint(list, &n, &path->extra[i].addr,
                                 path->extra[i].type);
        }
    }

    tn_path_add_seen(list, &n, report->seen4, report->nseen4);
    tn_path_add_seen(list, &n, report->seen6, report->nseen6);

    /* behind a hard NAT somebody may have forwarded our own port */

    if (report->nseen4 != 0 && report->mapping_varies == TN_YES
        && path->port4 != 0)
    {
        addr = report->seen4[0].addr;
        addr.port = path->port4;
        tn_path_add_endpoint(list, &n, &addr, TN_ENDPOINT_STUN4_LOCAL_PORT);
    }

    tn_path_add_cached(path, now, list, &n);

    for (i = 0; i < path->nextra; i++) {
        tn_path_add_endpoint(list, &n, &path->extra[i].addr,
                             path->extra[i].type);
    }

    for (i = 0; i < path->nlocal; i++) {

        /* a machine without a network can still be reached from itself */

        if (tn_ip_is_loopback(&path->local[i].ip)
            && (n != 0 || path->have4 || path->have6))
        {
            continue;
        }

        tn_path_add_endpoint(list, &n, &path->local[i], TN_ENDPOINT_LOCAL);
    }

done:

    path->endpoints_at = now;

    if (!tn_path_same_endpoints(path, list, n)) {
        memcpy(path->endpoints, list, n * sizeof(tn_endpoint_t));
        path->nendpoints = n;
        path->listed_at = now;
        path->ops->endpoints(path->data, now, path->endpoints, n);
    }

    tn_path_call_all(path, now);
}


static void
tn_path_add_endpoint(tn_endpoint_t *list, uint32_t *n, const tn_addr_t *addr,
    tn_endpoint_type_e type)
{
    uint32_t  i;

    for (i = 0; i < *n; i++) {
        if (tn_addr_equal(&list[i].addr, addr)) {
            return;
        }
    }

    if (*n < TN_ENDPOINTS_MAX) {
        list[*n].addr = *addr;
        list[*n].type = type;
        (*n)++;
    }
}


/* the first, and others seen more than once: single ones are a hard NAT's */
static void
tn_path_add_seen(tn_endpoint_t *list, uint32_t *n,
    const tn_netcheck_seen_t *seen, uint32_t nseen)
{
    uint32_t  i;

    for (i = 0; i < nseen; i++) {
        if (i == 0 || seen[i].count > 1) {
            tn_path_add_endpoint(list, n, &seen[i].addr, TN_ENDPOINT_STUN);
        }
    }
}


static void
tn_path_add_cached(tn_path_t *path, tn_ms_t now, tn_endpoint_t *list,
    uint32_t *n)
{
    uint32_t  i, k;

    for (i = 0; i < *n; i++) {
        tn_path_cache_endpoint(path, now, &list[i]);
    }

    for (i = 0, k = 0; i < path->ncache; i++) {

        if (now >= path->cache[i].until) {
            continue;
        }

        path->cache[k++] = path->cache[i];
        tn_path_add_endpoint(list, n, &path->cache[i].endpoint.addr,
                             path->cache[i].endpoint.type);
    }

    path->ncache = k;
}


/* of one address the few newest ports are kept, of all the newest */
static void
tn_path_cache_endpoint(tn_path_t *path, tn_ms_t now,
    const tn_endpoint_t *endpoint)
{
    uint32_t           i, same;
    tn_path_cached_t  *entry, *oldest, *oldest_same;

    same = 0;
    oldest = NULL;
    oldest_same = NULL;

    for (i = 0; i < path->ncache; i++) {
        entry = &path->cache[i];

        if (tn_addr_equal(&entry->endpoint.addr, &endpoint->addr)
            && entry->endpoint.type == endpoint->type)
        {
            entry->until = now + TN_PATH_ENDPOINT_CACHE_MS;
            return;
        }

        if (oldest == NULL || entry->until < oldest->until) {
            oldest = entry;
        }

        if (!tn_ip_equal(&entry->endpoint.addr.ip, &endpoint->addr.ip)) {
            continue;
        }

        same++;

        if (oldest_same == NULL || entry->until < oldest_same->until) {
            oldest_same = entry;
        }
    }

    if (same >= TN_PATH_CACHE_PER_IP) {
        entry = oldest_same;

    } else if (path->ncache == TN_PATH_CACHE_MAX) {
        entry = oldest;

    } else {
        entry = &path->cache[path->ncache++];
    }

    entry->endpoint = *endpoint;
    entry->until = now + TN_PATH_ENDPOINT_CACHE_MS;
}


/* the order does not matter */
static bool
tn_path_same_endpoints(const tn_path_t *path, const tn_endpoint_t *list,
    uint32_t n)
{
    uint32_t  i, k;

    if (n != path->nendpoints) {
        return false;
    }

    for (i = 0; i < n; i++) {
        for (k = 0; k < n; k++) {
            if (tn_addr_equal(&list[i].addr, &path->endpoints[k].addr)
                && list[i].type == path->endpoints[k].type)
            {
                break;
            }
        }

        if (k == n) {
            return false;
        }
    }

    return true;
}
