
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The DERP map of a tailnet: regions and their relay and STUN servers
 * (upstream: tailcfg.DERPMap).  Control fills it, path and host read it; all
 * strings are owned by the map, never NULL, empty when control sent none.
 */

#ifndef TN_DERPMAP_H_INCLUDED_
#define TN_DERPMAP_H_INCLUDED_

#include "base/tn_addr.h"


#define TN_DERPMAP_REGIONS_MAX  512
#define TN_DERPMAP_NODES_MAX    32          /* of one region */
#define TN_DERPMAP_STRING_MAX   255

typedef struct {
    char               *name;
    char               *hostname;
    char               *cert_name;          /* or "sha256-raw:<hex>" */
    char               *ipv4;               /* address, "none" or empty */
    char               *ipv6;
    char               *stun_test_ip;       /* overrides the rest for STUN */
    int32_t             stun_port;          /* 0: 3478, negative: no STUN */
    uint16_t            derp_port;          /* 0: 443 */
    bool                stun_only;
    bool                insecure_for_tests;
    bool                can_port80;
} tn_derpmap_node_t;

typedef struct {
    uint32_t            id;                 /* never 0 */
    char               *code;
    char               *name;
    bool                avoid;
    bool                no_measure_no_home;
    tn_derpmap_node_t  *nodes;
    uint32_t            nnodes;
} tn_derpmap_region_t;

/* HomeParams.RegionScore: a factor on the latency of a region */
typedef struct {
    uint32_t              region;
    double                factor;           /* over 0 */
} tn_derpmap_score_t;

typedef struct {
    tn_derpmap_region_t  *regions;          /* ascending ids */
    uint32_t              nregions;
    tn_derpmap_score_t   *scores;
    uint32_t              nscores;
} tn_derpmap_t;


/* an empty map, or NULL when out of memory */
tn_derpmap_t *tn_derpmap_create(void);

/* a deep copy, or NULL when out of memory */
tn_derpmap_t *tn_derpmap_copy(const tn_derpmap_t *map);

/* NULL is allowed */
void tn_derpmap_free(tn_derpmap_t *map);

bool tn_derpmap_equal(const tn_derpmap_t *a, const tn_derpmap_t *b);
bool tn_derpmap_region_equal(const tn_derpmap_region_t *a,
    const tn_derpmap_region_t *b);

/*
 * The region of this id, made empty when it is new; one that is there is
 * emptied first.  NULL when out of memory or over a limit or for id 0.  The
 * pointer is good until the next region is added.
 */
tn_derpmap_region_t *tn_derpmap_add_region(tn_derpmap_t *map, uint32_t id);

void tn_derpmap_remove_region(tn_derpmap_t *map, uint32_t id);

/* NULL when out of memory or over a limit; good until the next one */
tn_derpmap_node_t *tn_derpmap_add_node(tn_derpmap_region_t *region);

/*
 * Replaces an owned string.  TN_OK, TN_NOMEM, or TN_MALFORMED for more than
 * TN_DERPMAP_STRING_MAX bytes or a byte outside of printable ASCII; *field
 * is unchanged when it fails.
 */
tn_rc_t tn_derpmap_set_string(char **field, const char *text, size_t len);

/* replaces the factor of one region; TN_OK, TN_NOMEM, or TN_MALFORMED */
tn_rc_t tn_derpmap_set_score(tn_derpmap_t *map, uint32_t region,
    double factor);

/* 1.0 when control gave none */
double tn_derpmap_score(const tn_derpmap_t *map, uint32_t region);

/* NULL when there is none */
const tn_derpmap_region_t *tn_derpmap_find(const tn_derpmap_t *map,
    uint32_t id);

/*
 * The relay to dial as number `n` (from 0) of a region, in the order to try;
 * STUN-only nodes are left out.  NULL after the last.
 */
const tn_derpmap_node_t *tn_derpmap_relay(const tn_derpmap_region_t *region,
    uint32_t n);

/*
 * The address a node fixes for one family: TN_OK and *ip, TN_NOTFOUND when
 * its hostname is to be resolved, TN_REFUSED when the family is disabled.
 */
tn_rc_t tn_derpmap_node_ip(const tn_derpmap_node_t *node, bool v4,
    tn_ip_t *ip);


#endif /* TN_DERPMAP_H_INCLUDED_ */
