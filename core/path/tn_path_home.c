
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory: which region is home.
 *
 * A netcheck report names the one with the shortest round trip by STUN, or by
 * HTTPS.  Where the map has one that may be home, it is so at once.  Where
 * nothing has been measured, as without UDP, some regions are connected to,
 * and who has logged in first has won: it becomes home if there was none.
 * If there was one, that is tried anew, as what kept it away may be over for
 * all, and loses its place only when it has not come TN_PATH_RACE_HOME_MS
 * later.  Without a report and without a winner any region is taken.
 *
 * Home moves only while control can be told: peers send to the one it knows.
 */

#include "tn_path_private.h"


static bool tn_path_may_be_home(const tn_derpmap_region_t *region);


void
tn_path_set_home(tn_path_t *path, tn_ms_t now, uint32_t id)
{
    uint32_t           i;
    tn_path_region_t  *region;

    if (path->home == id || (id != 0 && path->knobs.homeless)) {
        return;
    }

    tn_log(path->log, TN_LOG_INFO, "path: home is DERP region %u, was %u",
           id, path->home);

    path->home = id;

    /* the former one is idle before long */

    if (!tn_timer_is_set(&path->sweep)) {
        (void) tn_timer_set(path->timers, &path->sweep,
                            now + TN_PATH_DERP_SWEEP_MS);
    }

    for (i = 0; i < path->map->nregions; i++) {
        region = path->regions[i];

        if (region->client != NULL) {
            tn_derp_client_prefer(region->client, region->id == id);
        }

        if (region->id != id) {
            continue;
        }

        if (region->state == TN_PATH_REGION_IDLE) {
            tn_path_region_open(region, now);
        }
    }
}


tn_rc_t
tn_path_force_home(tn_path_t *path, tn_ms_t now, uint32_t region)
{
    if (region != 0 && tn_path_region_find(path, region) == NULL) {
        return TN_NOTFOUND;
    }

    path->forced_home = region;

    if (region != 0) {
        tn_path_set_home(path, now, region);
        tn_path_tell_netinfo(path, now);

    } else {
        tn_path_restun(path, now, true);
    }

    return TN_OK;
}


void
tn_path_open_home(tn_path_t *path, tn_ms_t now)
{
    tn_path_region_t  *region;

    region = tn_path_region_find(path, path->home);

    if (region != NULL && region->state == TN_PATH_REGION_IDLE) {
        tn_path_region_open(region, now);
    }
}


void
tn_path_only_home(tn_path_t *path, tn_ms_t now)
{
    uint32_t                    i, n, id;
    const tn_derpmap_region_t  *region;

    n = 0;
    id = 0;

    for (i = 0; i < path->map->nregions; i++) {
        region = &path->map->regions[i];

        if (tn_path_may_be_home(region)) {
            id = region->id;
            n++;
        }
    }

    if (n == 1 && path->home == 0 && !path->knobs.homeless) {
        tn_path_set_home(path, now, id);
    }
}


void
tn_path_report_home(tn_path_t *path, tn_ms_t now,
    const tn_netcheck_report_t *report)
{
    uint32_t                    i;
    const tn_derpmap_region_t  *region;

    /* a home that control cannot be told of would cut all peers off */

    if (path->home != 0 && (!path->control_up || path->forced_home != 0)) {
        return;
    }

    if (path->knobs.homeless) {
        return;
    }

    if (report->passed_over != 0) {
        tn_path_region_try(path, now, report->passed_over);
    }

    if (report->preferred != 0) {
        path->racing = false;
        tn_path_set_home(path, now, report->preferred);
        return;
    }

    if (path->home != 0) {
        return;
    }

    /* UDP is blocked, and the first race has brought nobody: take any */

    if (path->racing) {
        for (i = 0; i < path->map->nregions; i++) {
            region = &path->map->regions[i];

            if (tn_path_may_be_home(region)) {
                tn_path_set_home(path, now, region->id);
                return;
            }
        }
    }

    tn_path_race(path, now);

    if (path->racing) {
        (void) tn_timer_set(path->timers, &path->restun,
                            now + TN_PATH_RACE_MS);
    }
}


void
tn_path_race(tn_path_t *path, tn_ms_t now)
{
    uint32_t                    i, k, first, n;
    tn_path_region_t           *region;
    const tn_derpmap_region_t  *def;

    n = path->map->nregions;

    if (n == 0 || path->knobs.homeless) {
        return;
    }

    /* home has its time behind the first one, whatever it fails at */

    if (path->home != 0 && path->home == path->loser
        && tn_timer_is_set(&path->race))
    {
        return;
    }

    first = tn_random_below(n);

    for (i = 0, k = 0; i < n && k < TN_PATH_RACE; i++) {
        def = &path->map->regions[(first + i) % n];
        region = path->regions[(first + i) % n];

        if (!tn_path_may_be_home(def)) {
            continue;
        }

        k++;
        path->racing = true;
        region->written = now;

        if (region->state == TN_PATH_REGION_READY) {
            path->racing = false;
            tn_path_set_home(path, now, region->id);
            tn_path_tell_netinfo(path, now);
            return;
        }

        if (region->state == TN_PATH_REGION_IDLE) {
            tn_path_region_open(region, now);
        }
    }
}


void
tn_path_race_won(tn_path_region_t *region, tn_ms_t now)
{
    tn_path_t         *path;
    tn_path_region_t  *home;

    path = region->path;
    path->racing = false;
    home = tn_path_region_find(path, path->home);

    if (home == NULL) {
        tn_path_set_home(path, now, region->id);
        tn_path_tell_netinfo(path, now);
        return;
    }

    if (home->state == TN_PATH_REGION_READY) {
        return;
    }

    path->winner = region->id;
    path->loser = home->id;
    (void) tn_timer_set(path->timers, &path->race,
                        now + TN_PATH_RACE_HOME_MS);

    /* not by a connection that was begun before, nor after a wait */

    tn_path_region_close(home);
    tn_path_region_open(home, now);
}


void
tn_path_race_timer(void *data, tn_ms_t now)
{
    tn_path_t  *path;

    path = data;

    if (path->home == path->loser && path->control_up
        && !tn_path_derp_is_ready(path, path->loser)
        && tn_path_derp_is_ready(path, path->winner))
    {
        tn_path_set_home(path, now, path->winner);
        tn_path_tell_netinfo(path, now);
    }
}


static bool
tn_path_may_be_home(const tn_derpmap_region_t *region)
{
    return !region->avoid && !region->no_measure_no_home
           && tn_derpmap_relay(region, 0) != NULL;
}
