
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_derpmap.h"

#include <math.h>
#include <stdlib.h>


static void tn_derpmap_empty_region(tn_derpmap_region_t *region);
static tn_rc_t tn_derpmap_copy_region(tn_derpmap_t *map,
    const tn_derpmap_region_t *src);
static bool tn_derpmap_node_equal(const tn_derpmap_node_t *a,
    const tn_derpmap_node_t *b);
static bool tn_derpmap_strings(char **fields[], size_t n);


tn_derpmap_t *
tn_derpmap_create(void)
{
    return calloc(1, sizeof(tn_derpmap_t));
}


tn_derpmap_t *
tn_derpmap_copy(const tn_derpmap_t *map)
{
    uint32_t       i;
    tn_derpmap_t  *copy;

    copy = tn_derpmap_create();

    if (copy == NULL) {
        return NULL;
    }

    for (i = 0; i < map->nregions; i++) {
        if (tn_derpmap_copy_region(copy, &map->regions[i]) != TN_OK) {
            goto failed;
        }
    }

    for (i = 0; i < map->nscores; i++) {
        if (tn_derpmap_set_score(copy, map->scores[i].region,
                                 map->scores[i].factor)
            != TN_OK)
        {
            goto failed;
        }
    }

    return copy;

failed:

    tn_derpmap_free(copy);

    return NULL;
}


void
tn_derpmap_free(tn_derpmap_t *map)
{
    uint32_t  i;

    if (map == NULL) {
        return;
    }

    for (i = 0; i < map->nregions; i++) {
        tn_derpmap_empty_region(&map->regions[i]);
        free(map->regions[i].code);
        free(map->regions[i].name);
    }

    free(map->regions);
    free(map->scores);
    free(map);
}


bool
tn_derpmap_equal(const tn_derpmap_t *a, const tn_derpmap_t *b)
{
    uint32_t  i;

    if (a->nregions != b->nregions || a->nscores != b->nscores) {
        return false;
    }

    for (i = 0; i < a->nregions; i++) {
        if (!tn_derpmap_region_equal(&a->regions[i], &b->regions[i])) {
            return false;
        }
    }

    for (i = 0; i < a->nscores; i++) {
        if (tn_derpmap_score(b, a->scores[i].region) != a->scores[i].factor) {
            return false;
        }
    }

    return true;
}


bool
tn_derpmap_region_equal(const tn_derpmap_region_t *a,
    const tn_derpmap_region_t *b)
{
    uint32_t  i;

    if (a->id != b->id || a->nnodes != b->nnodes || a->avoid != b->avoid
        || a->no_measure_no_home != b->no_measure_no_home
        || strcmp(a->code, b->code) != 0 || strcmp(a->name, b->name) != 0)
    {
        return false;
    }

    for (i = 0; i < a->nnodes; i++) {
        if (!tn_derpmap_node_equal(&a->nodes[i], &b->nodes[i])) {
            return false;
        }
    }

    return true;
}


tn_derpmap_region_t *
tn_derpmap_add_region(tn_derpmap_t *map, uint32_t id)
{
    char                 **fields[2];
    uint32_t               i;
    tn_derpmap_region_t   *region, *regions;

    if (id == 0) {
        return NULL;
    }

    region = (tn_derpmap_region_t *) tn_derpmap_find(map, id);

    if (region != NULL) {
        tn_derpmap_empty_region(region);
        region->code[0] = '\0';
        region->name[0] = '\0';
        region->avoid = false;
        region->no_measure_no_home = false;

        return region;
    }

    if (map->nregions == TN_DERPMAP_REGIONS_MAX) {
        return NULL;
    }

    regions = realloc(map->regions,
                      (map->nregions + 1) * sizeof(tn_derpmap_region_t));

    if (regions == NULL) {
        return NULL;
    }

    map->regions = regions;

    for (i = map->nregions; i > 0 && regions[i - 1].id > id; i--) {
        regions[i] = regions[i - 1];
    }

    region = &regions[i];
    memset(region, 0, sizeof(tn_derpmap_region_t));
    region->id = id;
    map->nregions++;

    fields[0] = &region->code;
    fields[1] = &region->name;

    if (!tn_derpmap_strings(fields, 2)) {
        tn_derpmap_remove_region(map, id);
        return NULL;
    }

    return region;
}


void
tn_derpmap_remove_region(tn_derpmap_t *map, uint32_t id)
{
    uint32_t              i;
    tn_derpmap_region_t  *region;

    region = (tn_derpmap_region_t *) tn_derpmap_find(map, id);

    if (region == NULL) {
        return;
    }

    tn_derpmap_empty_region(region);
    free(region->code);
    free(region->name);

    i = (uint32_t) (region - map->regions);
    map->nregions--;
    memmove(region, region + 1,
            (map->nregions - i) * sizeof(tn_derpmap_region_t));
}


tn_derpmap_node_t *
tn_derpmap_add_node(tn_derpmap_region_t *region)
{
    char               **fields[6];
    tn_derpmap_node_t   *node, *nodes;

    if (region->nnodes == TN_DERPMAP_NODES_MAX) {
        return NULL;
    }

    nodes = realloc(region->nodes,
                    (region->nnodes + 1) * sizeof(tn_derpmap_node_t));

    if (nodes == NULL) {
        return NULL;
    }

    region->nodes = nodes;
    node = &nodes[region->nnodes];
    memset(node, 0, sizeof(tn_derpmap_node_t));

    fields[0] = &node->name;
    fields[1] = &node->hostname;
    fields[2] = &node->cert_name;
    fields[3] = &node->ipv4;
    fields[4] = &node->ipv6;
    fields[5] = &node->stun_test_ip;

    if (!tn_derpmap_strings(fields, tn_nelems(fields))) {
        return NULL;
    }

    region->nnodes++;

    return node;
}


tn_rc_t
tn_derpmap_set_string(char **field, const char *text, size_t len)
{
    char    *copy;
    size_t   i;

    if (len > TN_DERPMAP_STRING_MAX) {
        return TN_MALFORMED;
    }

    for (i = 0; i < len; i++) {
        if (text[i] < 0x20 || text[i] > 0x7e) {
            return TN_MALFORMED;
        }
    }

    copy = strndup(text, len);

    if (copy == NULL) {
        return TN_NOMEM;
    }

    free(*field);
    *field = copy;

    return TN_OK;
}


tn_rc_t
tn_derpmap_set_score(tn_derpmap_t *map, uint32_t region, double factor)
{
    uint32_t             i;
    tn_derpmap_score_t  *scores;

    if (!isfinite(factor) || factor <= 0) {
        return TN_MALFORMED;
    }

    for (i = 0; i < map->nscores; i++) {
        if (map->scores[i].region == region) {
            map->scores[i].factor = factor;
            return TN_OK;
        }
    }

    if (map->nscores == TN_DERPMAP_REGIONS_MAX) {
        return TN_NOMEM;
    }

    scores = realloc(map->scores,
                     (map->nscores + 1) * sizeof(tn_derpmap_score_t));

    if (scores == NULL) {
        return TN_NOMEM;
    }

    map->scores = scores;
    scores[map->nscores].region = region;
    scores[map->nscores].factor = factor;
    map->nscores++;

    return TN_OK;
}


double
tn_derpmap_score(const tn_derpmap_t *map, uint32_t region)
{
    uint32_t  i;

    for (i = 0; i < map->nscores; i++) {
        if (map->scores[i].region == region) {
            return map->scores[i].factor;
        }
    }

    return 1.0;
}


const tn_derpmap_region_t *
tn_derpmap_find(const tn_derpmap_t *map, uint32_t id)
{
    uint32_t  low, high, mid;

    low = 0;
    high = map->nregions;

    while (low < high) {
        mid = (low + high) / 2;

        if (map->regions[mid].id == id) {
            return &map->regions[mid];
        }

        if (map->regions[mid].id < id) {
            low = mid + 1;

        } else {
            high = mid;
        }
    }

    return NULL;
}


const tn_derpmap_node_t *
tn_derpmap_relay(const tn_derpmap_region_t *region, uint32_t n)
{
    uint32_t  i;

    for (i = 0; i < region->nnodes; i++) {
        if (region->nodes[i].stun_only) {
            continue;
        }

        if (n == 0) {
            return &region->nodes[i];
        }

        n--;
    }

    return NULL;
}


tn_rc_t
tn_derpmap_node_ip(const tn_derpmap_node_t *node, bool v4, tn_ip_t *ip)
{
    const char  *text;

    text = v4 ? node->ipv4 : node->ipv6;

    if (text[0] == '\0') {

        /* private maps may have an address as the name */

        if (tn_ip_parse(ip, node->hostname, strlen(node->hostname)) != TN_OK) {
            return TN_NOTFOUND;
        }

        return tn_ip_is_v4(ip) == v4 ? TN_OK : TN_REFUSED;
    }

    if (tn_ip_parse(ip, text, strlen(text)) != TN_OK
        || tn_ip_is_v4(ip) != v4)
    {
        return TN_REFUSED;
    }

    return TN_OK;
}


static void
tn_derpmap_empty_region(tn_derpmap_region_t *region)
{
    uint32_t            i;
    tn_derpmap_node_t  *node;

    for (i = 0; i < region->nnodes; i++) {
        node = &region->nodes[i];

        free(node->name);
        free(node->hostname);
        free(node->cert_name);
        free(node->ipv4);
        free(node->ipv6);
        free(node->stun_test_ip);
    }

    free(region->nodes);
    region->nodes = NULL;
    region->nnodes = 0;
}


static tn_rc_t
tn_derpmap_copy_region(tn_derpmap_t *map, const tn_derpmap_region_t *src)
{
    uint32_t                  i;
    tn_derpmap_node_t        *node;
    tn_derpmap_region_t      *region;
    const tn_derpmap_node_t  *from;

    region = tn_derpmap_add_region(map, src->id);

    if (region == NULL
        || tn_derpmap_set_string(&region->code, src->code, strlen(src->code))
        || tn_derpmap_set_string(&region->name, src->name, strlen(src->name)))
    {
        return TN_NOMEM;
    }

    region->avoid = src->avoid;
    region->no_measure_no_home = src->no_measure_no_home;

    for (i = 0; i < src->nnodes; i++) {
        from = &src->nodes[i];
        node = tn_derpmap_add_node(region);

        if (node == NULL
            || tn_derpmap_set_string(&node->name, from->name,
                                     strlen(from->name))
            || tn_derpmap_set_string(&node->hostname, from->hostname,
                                     strlen(from->hostname))
            || tn_derpmap_set_string(&node->cert_name, from->cert_name,
                                     strlen(from->cert_name))
            || tn_derpmap_set_string(&node->ipv4, from->ipv4,
                                     strlen(from->ipv4))
            || tn_derpmap_set_string(&node->ipv6, from->ipv6,
                                     strlen(from->ipv6))
            || tn_derpmap_set_string(&node->stun_test_ip, from->stun_test_ip,
                                     strlen(from->stun_test_ip)))
        {
            return TN_NOMEM;
        }

        node->stun_port = from->stun_port;
        node->derp_port = from->derp_port;
        node->stun_only = from->stun_only;
        node->insecure_for_tests = from->insecure_for_tests;
        node->can_port80 = from->can_port80;
    }

    return TN_OK;
}


static bool
tn_derpmap_node_equal(const tn_derpmap_node_t *a, const tn_derpmap_node_t *b)
{
    return strcmp(a->name, b->name) == 0
           && strcmp(a->hostname, b->hostname) == 0
           && strcmp(a->cert_name, b->cert_name) == 0
           && strcmp(a->ipv4, b->ipv4) == 0
           && strcmp(a->ipv6, b->ipv6) == 0
           && strcmp(a->stun_test_ip, b->stun_test_ip) == 0
           && a->stun_port == b->stun_port
           && a->derp_port == b->derp_port
           && a->stun_only == b->stun_only
           && a->insecure_for_tests == b->insecure_for_tests
           && a->can_port80 == b->can_port80;
}


/* fills all with empty strings, or none */
static bool
tn_derpmap_strings(char **fields[], size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        *fields[i] = strdup("");

        if (*fields[i] == NULL) {
            while (i > 0) {
                i--;
                free(*fields[i]);
                *fields[i] = NULL;
            }

            return false;
        }
    }

    return true;
}
