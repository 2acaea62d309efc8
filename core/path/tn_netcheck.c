
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory.
 *
 * The life of a report: it is planned (tn_netcheck_plan.c), its probes go out
 * and are answered (tn_netcheck_probe.c), and it is done when all sets are,
 * when enough has answered, or after 3 s.
 *
 * When UDP brought nothing at all, each region's first relay is asked over
 * HTTPS, for 3 s at most, and the latency of that stands in for STUN's: it
 * chooses home, and is not told to control.
 *
 * Home (upstream: netcheck): of the regions that answered now the one with
 * the lowest best latency of 5 minutes, scaled by control's score.  The
 * former home stays while it is reachable (it answered, or DERP brought a
 * frame within 8 s or since the start) and the gain is under 10 ms or under a
 * third.  When nothing answered, it stays as long as DERP brings frames.
 *
 * A region that answers STUN but takes no connections is passed over while
 * another one answers, also when it is home (upstream stays there).
 */

#include "tn_netcheck_private.h"

#include <stdlib.h>


#define TN_NETCHECK_HISTORY_MS      305000
#define TN_NETCHECK_GAIN_MS         10
#define TN_NETCHECK_HEARD_MS        8000
#define TN_NETCHECK_ALIVE_MS        120000


static bool tn_netcheck_ask_https(tn_netcheck_t *nc, tn_ms_t now);
static uint32_t tn_netcheck_choose(tn_netcheck_t *nc, tn_ms_t now);
static uint32_t tn_netcheck_best(const tn_netcheck_t *nc, tn_ms_t now,
    bool lost, double *best_any, double *old);
static bool tn_netcheck_is_lost(const tn_netcheck_t *nc, uint32_t region);
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


void
tn_netcheck_doubt(tn_netcheck_t *nc)
{
    nc->https_at = 0;
}


bool
tn_netcheck_is_running(const tn_netcheck_t *nc)
{
    return nc->running;
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


void
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


uint32_t
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
    double    best_any, best_other, old;
    tn_ms_t   heard;
    uint32_t  chosen, other;

    chosen = tn_netcheck_best(nc, now, true, &best_any, &old);
    nc->report.answered = chosen != 0;

    if (chosen != 0 && tn_netcheck_is_lost(nc, chosen)) {
        other = tn_netcheck_best(nc, now, false, &best_other, &old);

        if (other != 0) {
            nc->report.passed_over = chosen;
            chosen = other;
            best_any = best_other;
        }
    }

    if (nc->home == 0 || chosen == nc->home
        || tn_derpmap_find(nc->map, nc->home) == NULL)
    {
        return chosen;
    }

    if (chosen != 0 && !tn_netcheck_is_lost(nc, chosen)
        && tn_netcheck_is_lost(nc, nc->home))
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


/* old: the former home's latency in this report, 0: no answer */
static uint32_t
tn_netcheck_best(const tn_netcheck_t *nc, tn_ms_t now, bool lost,
    double *best_any, double *old)
{
    double                       best, score;
    uint32_t                     i, k, n, chosen;
    const tn_netcheck_region_t  *region;
    const tn_netcheck_sample_t  *sample;

    chosen = 0;
    *best_any = 0;
    *old = 0;

    for (i = 0; i < nc->map->nregions; i++) {
        region = &nc->regions[i];

        if (tn_netcheck_any(region) == 0) {
            continue;
        }

        score = tn_derpmap_score(nc->map, region->id);
        best = tn_netcheck_any(region) * score;

        if (region->id == nc->home) {
            *old = best;
        }

        n = tn_min(region->nsamples, (uint32_t) TN_NETCHECK_HISTORY);

        for (k = 0; k < n; k++) {
            sample = &region->sample[k];

            if (now - sample->at <= TN_NETCHECK_HISTORY_MS) {
                best = tn_min(best, sample->ms * score);
            }
        }

        if ((nc->map->regions[i].avoid && region->id != nc->home)
            || (!lost && tn_netcheck_is_lost(nc, region->id)))
        {
            continue;
        }

        if (chosen == 0 || best < *best_any) {
            *best_any = best;
            chosen = region->id;
        }
    }

    return chosen;
}


static bool
tn_netcheck_is_lost(const tn_netcheck_t *nc, uint32_t region)
{
    return nc->ops->lost != NULL && nc->ops->lost(nc->data, region);
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
