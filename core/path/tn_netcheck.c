
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory.
 *
 * A report runs a plan: for each region and family a set of probes, one STUN
 * request each, to the region's nodes in turn, later ones in case the earlier
 * are lost.  A set is done when an answer came, when its next probe would
 * tell nothing new, or when none of its probes can be sent.  The report is
 * done when all sets are, when three regions have answered and the slowest of
 * them had its time again (twice that in a full report), or after 3 s.  An
 * incremental one also ends soon after home and each family that worked
 * before have answered: a peer may wait for our endpoints.
 *
 *   full         each region, 3 tries 100 ms apart (at start, each 5 min)
 *   incremental  the 3 fastest regions and home; home 4 tries, the two
 *                fastest 2, the third 1 and that on one family; a try waits
 *                1.2 times the former latency, 200 ms when unknown
 *
 * A probe would help when its region has not answered yet, when it is IPv6
 * and nothing of that answered, or when it is IPv4 and fewer than two answers
 * came, which it takes to see whether the NAT maps by destination.
 *
 * When UDP brought nothing at all, each region's first relay is asked over
 * HTTPS, for 3 s at most, and the latency of that stands in for STUN's: it
 * chooses home, and is not told to control.
 *
 * An answer must carry 96 bits that we chose: 80 of them random, the others
 * the number of the probe, so that it is found without a search.
 *
 * Home (upstream: netcheck): of the regions that answered now the one with
 * the lowest best latency of 5 minutes, scaled by control's score.  The
 * former home stays while it is reachable (it answered, or DERP brought a
 * frame within 8 s or since the start) and the gain is under 10 ms or under a
 * third.  When nothing answered, it stays as long as DERP brings frames.
 */

#include "tn_netcheck.h"

#include "crypto/tn_curve.h"
#include "wire/tn_stun.h"

#include <stdlib.h>


#define TN_NETCHECK_RETRY_FULL_MS   100
#define TN_NETCHECK_RETRY_MS        200
#define TN_NETCHECK_ENOUGH          3       /* regions that have answered */
#define TN_NETCHECK_HISTORY         16
#define TN_NETCHECK_HISTORY_MS      305000
#define TN_NETCHECK_GAIN_MS         10
#define TN_NETCHECK_HEARD_MS        8000
#define TN_NETCHECK_ALIVE_MS        120000
#define TN_NETCHECK_STUN_PORT       3478
#define TN_NETCHECK_PROBES_MAX      4096

typedef struct {
    tn_ms_t    at;
    uint32_t   ms;
} tn_netcheck_sample_t;

typedef struct {
    uint32_t              id;
    uint32_t              v4_ms;    /* of this report, 0: no answer */
    uint32_t              v6_ms;
    uint32_t              https_ms;
    uint32_t              https_id; /* of the probe under way, or 0 */
    uint32_t              last_ms;  /* of the report before, any family */
    uint32_t              told_v4;  /* of the last report */
    uint32_t              told_v6;
    uint32_t              node;     /* first of its nodes in `nodes` */
    uint32_t              nsamples;
    tn_netcheck_sample_t  sample[TN_NETCHECK_HISTORY];
} tn_netcheck_region_t;

typedef struct {
    const tn_derpmap_node_t  *node;
    uint32_t                  id;   /* of the resolution under way, or 0 */
    bool                      resolved;
    tn_ip_t                   ip4;
    tn_ip_t                   ip6;
} tn_netcheck_node_t;

typedef enum {
    TN_NETCHECK_WAITING = 0,
    TN_NETCHECK_HELD,               /* due, but its name is not resolved */
    TN_NETCHECK_SENT,
    TN_NETCHECK_OVER
} tn_netcheck_state_e;

typedef struct {
    tn_netcheck_state_e  state;
    bool                 v4;
    uint32_t             region;    /* index */
    uint32_t             node;      /* index */
    uint32_t             set;
    tn_ms_t              at;        /* to be sent, then sent */
    uint8_t              txid[TN_STUN_TXID];
} tn_netcheck_probe_t;

typedef struct {
    uint32_t             left;      /* probes that may still answer */
} tn_netcheck_set_t;

struct tn_netcheck_s {
    const tn_netcheck_ops_t  *ops;
    void                     *data;
    tn_timers_t              *timers;
    tn_log_t                 *log;
    tn_timer_t                timer;

    const tn_derpmap_t       *map;
    tn_netcheck_region_t     *regions;
    tn_netcheck_node_t       *nodes;
    uint32_t                  nnodes;
    uint32_t                  last_id;

    bool                      running;
    bool                      advancing;
    bool                      https;    /* HTTPS probes are under way */
    bool                      asked;    /* this report was to be full */
    tn_ms_t                   https_at; /* when they last were, 0: never */
    bool                      had4;     /* in the report before */
    bool                      had6;
    uint32_t                  home;
    tn_ms_t                   started;
    tn_ms_t                   stop_at;
    tn_ms_t                   full_at;  /* 0: there was none */
    uint32_t                  answered; /* regions */
    uint32_t                  fastest4; /* ms of seen4[0] */
    uint32_t                  fastest6;

    tn_netcheck_probe_t      *probes;
    uint32_t                  nprobes;
    uint32_t                  probes_size;
    tn_netcheck_set_t        *sets;
    uint32_t                  nsets;

    tn_netcheck_report_t      report;
};


static void tn_netcheck_plan_full(tn_netcheck_t *nc, bool have4, bool have6);
static void tn_netcheck_plan_some(tn_netcheck_t *nc, bool have4, bool have6);
static uint32_t tn_netcheck_sort(tn_netcheck_t *nc, uint32_t *order);
static void tn_netcheck_plan_set(tn_netcheck_t *nc, uint32_t region, bool v4,
    bool have, uint32_t tries, uint32_t wait, uint32_t more);
static bool tn_netcheck_might(const tn_derpmap_node_t *node, bool v4,
    bool have);
static void tn_netcheck_advance(tn_netcheck_t *nc, tn_ms_t now);
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
static bool tn_netcheck_ask_https(tn_netcheck_t *nc, tn_ms_t now);
static void tn_netcheck_finish(tn_netcheck_t *nc, tn_ms_t now);
static uint32_t tn_netcheck_any(const tn_netcheck_region_t *region);
static uint32_t tn_netcheck_choose(tn_netcheck_t *nc, tn_ms_t now);
static void tn_netcheck_timer(void *data, tn_ms_t now);


tn_netcheck_t *
tn_netcheck_create(const tn_netcheck_ops_t *ops, void *data,
    tn_timers_t *timers, tn_log_t *log)
{
    tn_netcheck_t  *nc;

    nc = calloc(1, sizeof(tn_netcheck_t));

    if (nc == NULL) {
        return NULL;
    }

    nc->ops = ops;
    nc->data = data;
    nc->timers = timers;
    nc->log = log;

    tn_timer_init(&nc->timer, tn_netcheck_timer, nc);

    return nc;
}


void
tn_netcheck_destroy(tn_netcheck_t *nc)
{
    if (nc == NULL) {
        return;
    }

    tn_timer_cancel(nc->timers, &nc->timer);
    free(nc->regions);
    free(nc->nodes);
    free(nc->probes);
    free(nc->sets);
    free(nc);
}


tn_rc_t
tn_netcheck_set_derpmap(tn_netcheck_t *nc, const tn_derpmap_t *map)
{
    uint32_t               i, j, n, nnodes;
    tn_netcheck_set_t     *sets;
    tn_netcheck_node_t    *nodes;
    tn_netcheck_region_t  *regions;

    nnodes = 0;

    for (i = 0; i < map->nregions; i++) {
        nnodes += map->regions[i].nnodes;
    }

    regions = calloc(map->nregions + 1, sizeof(tn_netcheck_region_t));
    nodes = calloc(nnodes + 1, sizeof(tn_netcheck_node_t));
    sets = calloc(2 * map->nregions + 1, sizeof(tn_netcheck_set_t));

    if (regions == NULL || nodes == NULL || sets == NULL) {
        free(regions);
        free(nodes);
        free(sets);
        regions = NULL;
        nodes = NULL;
        sets = NULL;
        nnodes = 0;
    }

    for (i = 0, n = 0; regions != NULL && i < map->nregions; i++) {

        for (j = 0; nc->map != NULL && j < nc->map->nregions; j++) {
            if (nc->regions[j].id == map->regions[i].id) {
                regions[i] = nc->regions[j];
                break;
            }
        }

        regions[i].id = map->regions[i].id;
        regions[i].node = n;

        for (j = 0; j < map->regions[i].nnodes; j++) {
            nodes[n++].node = &map->regions[i].nodes[j];
        }
    }

    free(nc->regions);
    free(nc->nodes);
    free(nc->sets);

    nc->map = regions ? map : NULL;
    nc->regions = regions;
    nc->nodes = nodes;
    nc->sets = sets;
    nc->nnodes = nnodes;
    nc->nprobes = 0;
    nc->nsets = 0;
    nc->full_at = 0;
    nc->running = false;

    tn_timer_cancel(nc->timers, &nc->timer);

    return regions ? TN_OK : TN_NOMEM;
}


void
tn_netcheck_start(tn_netcheck_t *nc, tn_ms_t now, bool have4, bool have6,
    uint32_t home, bool full)
{
    uint32_t               i;
    tn_netcheck_region_t  *region;

    if (nc->running || nc->map == NULL) {
        return;
    }

    nc->running = true;
    nc->https = false;
    nc->asked = full;
    nc->started = now;
    nc->stop_at = now + TN_NETCHECK_STUN_MS;
    nc->home = home;
    nc->answered = 0;
    nc->nprobes = 0;
    nc->nsets = 0;

    full = full || nc->full_at == 0
           || now - nc->full_at > TN_NETCHECK_FULL_EVERY_MS
           || (!nc->had4 && !nc->had6);

    memset(&nc->report, 0, sizeof(tn_netcheck_report_t));
    nc->report.full = full;

    for (i = 0; i < nc->map->nregions; i++) {
        region = &nc->regions[i];
        region->last_ms = tn_netcheck_any(region);
        region->v4_ms = 0;
        region->v6_ms = 0;
        region->https_id = 0;
    }

    if (full) {
        nc->full_at = now;

        /* names may have moved: ask again, and use the old until then */

        for (i = 0; i < nc->nnodes; i++) {
            nc->nodes[i].resolved = false;
        }

        tn_netcheck_plan_full(nc, have4, have6);

    } else {
        tn_netcheck_plan_some(nc, have4, have6);
    }

    tn_netcheck_advance(nc, now);
}


bool
tn_netcheck_is_running(const tn_netcheck_t *nc)
{
    return nc->running;
}


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
tn_netcheck_probed(tn_netcheck_t *nc, tn_ms_t now, uint32_t id,
    uint32_t latency_us)
{
    bool                   open;
    uint32_t               i;
    tn_netcheck_region_t  *region;

    if (!nc->running || !nc->https || id == 0) {
        return;
    }

    open = false;

    for (i = 0; i < nc->map->nregions; i++) {
        region = &nc->regions[i];

        if (region->https_id == id) {
            region->https_id = 0;

            if (latency_us != 0) {
                region->https_ms = tn_max(latency_us / 1000, 1u);
            }
        }

        open = open || region->https_id != 0;
    }

    if (!open) {
        tn_netcheck_finish(nc, now);
    }
}


uint32_t
tn_netcheck_latency(const tn_netcheck_t *nc, uint32_t region, bool v4)
{
    uint32_t  i;

    for (i = 0; nc->map != NULL && i < nc->map->nregions; i++) {
        if (nc->regions[i].id == region) {
            return v4 ? nc->regions[i].told_v4 : nc->regions[i].told_v6;
        }
    }

    return 0;
}


static void
tn_netcheck_plan_full(tn_netcheck_t *nc, bool have4, bool have6)
{
    uint32_t  i;

    for (i = 0; i < nc->map->nregions; i++) {

        if (nc->map->regions[i].no_measure_no_home) {
            continue;
        }

        tn_netcheck_plan_set(nc, i, true, have4, 3,
                             TN_NETCHECK_RETRY_FULL_MS, 0);
        tn_netcheck_plan_set(nc, i, false, have6, 3,
                             TN_NETCHECK_RETRY_FULL_MS, 0);
    }
}


static void
tn_netcheck_plan_some(tn_netcheck_t *nc, bool have4, bool have6)
{
    bool       home, fastest, do4, do6;
    uint32_t   i, n, tries, wait, order[TN_DERPMAP_REGIONS_MAX];
    tn_netcheck_region_t  *region;

    n = tn_netcheck_sort(nc, order);

    for (i = 0; i < n; i++) {
        region = &nc->regions[order[i]];
        home = region->id == nc->home;
        fastest = i < 2;

        if (i >= TN_NETCHECK_ENOUGH && !home) {
            continue;
        }

        do4 = have4;
        do6 = have6;
        tries = home ? 4 : fastest ? 2 : 1;

        if (!home && !fastest) {
            if (nc->had4 && nc->had6) {
                do4 = i % 2 == 0;
                do6 = !do4;

            } else if (!nc->had6) {
                do6 = false;
            }
        }

        wait = region->last_ms ? region->last_ms * 12 / 10
                               : TN_NETCHECK_RETRY_MS;

        tn_netcheck_plan_set(nc, order[i], true, do4, tries, wait, 50);

        /* the tries after the first only where IPv6 has worked */

        tn_netcheck_plan_set(nc, order[i], false, do6,
                             nc->had6 ? tries : 1, wait, 50);
    }
}


/* regions to measure by their last latency, those without one last */
static uint32_t
tn_netcheck_sort(tn_netcheck_t *nc, uint32_t *order)
{
    uint32_t                    i, k, n, ms, other;
    const tn_derpmap_region_t  *region;

    n = 0;

    for (i = 0; i < nc->map->nregions; i++) {
        region = &nc->map->regions[i];

        if (region->no_measure_no_home
            || (region->avoid && region->id != nc->home))
        {
            continue;
        }

        ms = nc->regions[i].last_ms ? nc->regions[i].last_ms : UINT32_MAX;

        for (k = n; k > 0; k--) {
            other = nc->regions[order[k - 1]].last_ms;

            if (other != 0 && other <= ms) {
                break;
            }

            if (other == 0 && ms == UINT32_MAX) {
                break;
            }

            order[k] = order[k - 1];
        }

        order[k] = i;
        n++;
    }

    return n;
}


static void
tn_netcheck_plan_set(tn_netcheck_t *nc, uint32_t region, bool v4, bool have,
    uint32_t tries, uint32_t wait, uint32_t more)
{
    uint32_t                    try, size;
    tn_netcheck_set_t          *set;
    tn_netcheck_probe_t        *probe;
    const tn_derpmap_node_t    *node;
    const tn_derpmap_region_t  *from;

    from = &nc->map->regions[region];
    set = &nc->sets[nc->nsets];
    set->left = 0;

    for (try = 0; try < tries && from->nnodes != 0; try++) {
        node = &from->nodes[try % from->nnodes];

        if (!tn_netcheck_might(node, v4, have)
            || nc->nprobes == TN_NETCHECK_PROBES_MAX)
        {
            continue;
        }

        if (nc->nprobes == nc->probes_size) {
            size = nc->probes_size ? nc->probes_size * 2 : 64;
            probe = realloc(nc->probes, size * sizeof(tn_netcheck_probe_t));

            if (probe == NULL) {
                break;
            }

            nc->probes = probe;
            nc->probes_size = size;
        }

        probe = &nc->probes[nc->nprobes];

        probe->state = TN_NETCHECK_WAITING;
        probe->v4 = v4;
        probe->region = region;
        probe->node = nc->regions[region].node + try % from->nnodes;
        probe->set = nc->nsets;
        probe->at = nc->started + try * wait + (try > 1 ? try * more : 0);

        tn_random(probe->txid, TN_STUN_TXID);
        probe->txid[0] = (uint8_t) (nc->nprobes >> 8);
        probe->txid[1] = (uint8_t) nc->nprobes;

        nc->nprobes++;
        set->left++;
    }

    if (set->left != 0) {
        nc->nsets++;
    }
}


/* whether the node may have an address of this family, by the map alone */
static bool
tn_netcheck_might(const tn_derpmap_node_t *node, bool v4, bool have)
{
    tn_ip_t  ip;

    if (node->stun_port < 0 || node->stun_port > 65535) {
        return false;
    }

    if (node->stun_test_ip[0] != '\0') {
        return tn_ip_parse(&ip, node->stun_test_ip,
                           strlen(node->stun_test_ip))
               == TN_OK && tn_ip_is_v4(&ip) == v4;
    }

    switch (tn_derpmap_node_ip(node, v4, &ip)) {

    case TN_OK:
        /* a server on this machine needs no interface: upstream's tests */

        return have || tn_ip_is_loopback(&ip);

    case TN_NOTFOUND:
        return have;

    default:
        return false;
    }
}


/* sends what is due, ends the report when it is complete, sets the timer */
static void
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


/* without any answer of STUN: false when nothing could be asked */
static bool
tn_netcheck_ask_https(tn_netcheck_t *nc, tn_ms_t now)
{
    bool                        any;
    uint32_t                    i;
    tn_netcheck_region_t       *region;
    const tn_derpmap_node_t    *node;
    const tn_derpmap_region_t  *def;

    any = false;

    /* connections are dear: the former answers do for a while */

    if (nc->home != 0 && !nc->asked && nc->https_at != 0
        && now - nc->https_at < TN_NETCHECK_FULL_EVERY_MS)
    {
        return false;
    }

    nc->https_at = now;

    for (i = 0; i < nc->map->nregions; i++) {
        region = &nc->regions[i];
        region->https_ms = 0;
        def = &nc->map->regions[i];
        node = tn_derpmap_relay(def, 0);

        if (node == NULL || def->no_measure_no_home
            || (def->avoid && region->id != nc->home))
        {
            continue;
        }

        nc->last_id = nc->last_id + 1 ? nc->last_id + 1 : 1;

        if (!nc->ops->https(nc->data, nc->last_id, region->id, node)) {
            return false;
        }

        region->https_id = nc->last_id;
        any = true;
    }

    return any && tn_timer_set(nc->timers, &nc->timer,
                               now + TN_NETCHECK_HTTPS_MS)
                  == TN_OK;
}


static void
tn_netcheck_finish(tn_netcheck_t *nc, tn_ms_t now)
{
    uint32_t               i, ms;
    tn_netcheck_region_t  *region;
    tn_netcheck_report_t   report;

    if (!nc->report.udp && !nc->https) {
        nc->https = true;

        if (tn_netcheck_ask_https(nc, now)) {
            return;
        }
    }

    nc->running = false;
    nc->https = false;
    tn_timer_cancel(nc->timers, &nc->timer);

    for (i = 0; i < nc->map->nregions; i++) {
        region = &nc->regions[i];

        if (nc->report.udp) {
            region->https_ms = 0;
        }

        region->told_v4 = region->v4_ms;
        region->told_v6 = region->v6_ms;
        ms = tn_netcheck_any(region);

        if (ms != 0) {
            region->sample[region->nsamples % TN_NETCHECK_HISTORY].at = now;
            region->sample[region->nsamples % TN_NETCHECK_HISTORY].ms = ms;
            region->nsamples++;
        }
    }

    nc->had4 = nc->report.v4;
    nc->had6 = nc->report.v6;
    nc->report.preferred = tn_netcheck_choose(nc, now);

    /* a copy: done() may start the next report */

    report = nc->report;
    nc->ops->done(nc->data, now, &report);
}


/* the latency of a region in this report, 0: no answer */
static uint32_t
tn_netcheck_any(const tn_netcheck_region_t *region)
{
    if (region->v4_ms != 0 && region->v6_ms != 0) {
        return tn_min(region->v4_ms, region->v6_ms);
    }

    if (region->v4_ms + region->v6_ms == 0) {
        return region->https_ms;
    }

    return region->v4_ms + region->v6_ms;
}


static uint32_t
tn_netcheck_choose(tn_netcheck_t *nc, tn_ms_t now)
{
    double                       best, best_any, old, score;
    tn_ms_t                      heard;
    uint32_t                     i, k, n, chosen;
    const tn_netcheck_region_t  *region;
    const tn_netcheck_sample_t  *sample;

    chosen = 0;
    best_any = 0;
    old = 0;

    for (i = 0; i < nc->map->nregions; i++) {
        region = &nc->regions[i];

        if (tn_netcheck_any(region) == 0) {
            continue;
        }

        score = tn_derpmap_score(nc->map, region->id);
        best = tn_netcheck_any(region) * score;

        if (region->id == nc->home) {
            old = best;
        }

        n = tn_min(region->nsamples, (uint32_t) TN_NETCHECK_HISTORY);

        for (k = 0; k < n; k++) {
            sample = &region->sample[k];

            if (now - sample->at <= TN_NETCHECK_HISTORY_MS) {
                best = tn_min(best, sample->ms * score);
            }
        }

        if (nc->map->regions[i].avoid && region->id != nc->home) {
            continue;
        }

        if (chosen == 0 || best < best_any) {
            best_any = best;
            chosen = region->id;
        }
    }

    if (nc->home == 0 || chosen == nc->home
        || tn_derpmap_find(nc->map, nc->home) == NULL)
    {
        return chosen;
    }

    heard = nc->ops->heard(nc->data, nc->home);

    if (chosen == 0) {
        return heard != 0 && now - heard < TN_NETCHECK_ALIVE_MS ? nc->home : 0;
    }

    if (old == 0
        && (heard == 0
            || (heard < nc->started && now - heard >= TN_NETCHECK_HEARD_MS)))
    {
        return chosen;
    }

    /* without an answer `old` is 0, and both hold: upstream's arithmetic */

    if (old - best_any < TN_NETCHECK_GAIN_MS || best_any > old / 3 * 2) {
        return nc->home;
    }

    return chosen;
}


static void
tn_netcheck_timer(void *data, tn_ms_t now)
{
    tn_netcheck_t  *nc;

    nc = data;

    if (nc->https) {
        tn_netcheck_finish(nc, now);
        return;
    }

    tn_netcheck_advance(nc, now);
}
