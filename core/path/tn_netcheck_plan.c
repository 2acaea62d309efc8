
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory.
 *
 * A report runs a plan: for each region and family a set of probes, one STUN
 * request each, to the region's nodes in turn, later ones in case the earlier
 * are lost.
 *
 *   full         each region, 3 tries 100 ms apart (at start, each 5 min)
 *   incremental  the 3 fastest regions and home; home 4 tries, the two
 *                fastest 2, the third 1 and that on one family; a try waits
 *                1.2 times the former latency, 200 ms when unknown
 *
 * An answer must carry 96 bits that we chose: 80 of them random, the others
 * the number of the probe, so that it is found without a search.
 */

#include "tn_netcheck_private.h"

#include "crypto/tn_curve.h"

#include <stdlib.h>


#define TN_NETCHECK_RETRY_MS        200
#define TN_NETCHECK_PROBES_MAX      4096


static uint32_t tn_netcheck_sort(tn_netcheck_t *nc, uint32_t *order);
static void tn_netcheck_plan_set(tn_netcheck_t *nc, uint32_t region, bool v4,
    bool have, uint32_t tries, uint32_t wait, uint32_t more);
static bool tn_netcheck_might(const tn_derpmap_node_t *node, bool v4,
    bool have);


void
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


void
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
