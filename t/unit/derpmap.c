
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The DERP map: order, copies, limits, addresses of nodes.
 */

#include "tap.h"

#include "wire/tn_derpmap.h"


typedef struct {
    const char  *hostname;
    const char  *ipv4;
    const char  *ipv6;
    tn_rc_t      rc4;
    tn_rc_t      rc6;
} ip_case_t;


static const ip_case_t  ip_cases[] = {
    { "derp.example", "", "", TN_NOTFOUND, TN_NOTFOUND },
    { "derp.example", "192.0.2.1", "2001:db8::1", TN_OK, TN_OK },
    { "derp.example", "none", "none", TN_REFUSED, TN_REFUSED },
    { "derp.example", "192.0.2.1", "none", TN_OK, TN_REFUSED },
    { "derp.example", "2001:db8::1", "192.0.2.1", TN_REFUSED, TN_REFUSED },
    { "127.0.0.1", "", "", TN_OK, TN_REFUSED },
    { "::1", "", "", TN_REFUSED, TN_OK },
    { "", "", "", TN_NOTFOUND, TN_NOTFOUND }
};


static tn_derpmap_node_t *
add_node(tn_derpmap_region_t *region, const char *hostname, const char *ipv4,
    const char *ipv6)
{
    tn_derpmap_node_t  *node;

    node = tn_derpmap_add_node(region);
    (void) tn_derpmap_set_string(&node->hostname, hostname, strlen(hostname));
    (void) tn_derpmap_set_string(&node->ipv4, ipv4, strlen(ipv4));
    (void) tn_derpmap_set_string(&node->ipv6, ipv6, strlen(ipv6));

    return node;
}


int
main(void)
{
    char                  text[TN_DERPMAP_STRING_MAX + 2];
    size_t                i;
    uint32_t              n;
    tn_ip_t               ip;
    tn_derpmap_t         *map, *copy;
    tn_derpmap_node_t    *node;
    tn_derpmap_region_t  *region;

    map = tn_derpmap_create();

    for (i = 0; i < tn_nelems(ip_cases); i++) {
        region = tn_derpmap_add_region(map, 900);
        node = add_node(region, ip_cases[i].hostname, ip_cases[i].ipv4,
                        ip_cases[i].ipv6);
        ok(tn_derpmap_node_ip(node, true, &ip) == ip_cases[i].rc4
           && tn_derpmap_node_ip(node, false, &ip) == ip_cases[i].rc6,
           "host \"%s\", IPv4 \"%s\", IPv6 \"%s\"", ip_cases[i].hostname,
           ip_cases[i].ipv4, ip_cases[i].ipv6);
    }

    is_int(map->nregions, 1, "a region set again is one region");
    is_int(map->regions[0].nnodes, 1, "that was emptied");

    /* order */

    ok(tn_derpmap_add_region(map, 0) == NULL, "no region 0");
    (void) tn_derpmap_add_region(map, 5);
    (void) tn_derpmap_add_region(map, 1000);
    (void) tn_derpmap_add_region(map, 7);
    ok(map->regions[0].id == 5 && map->regions[1].id == 7
       && map->regions[2].id == 900 && map->regions[3].id == 1000,
       "regions ascend");
    ok(tn_derpmap_find(map, 7) == &map->regions[1], "found");
    ok(tn_derpmap_find(map, 8) == NULL, "not found");
    tn_derpmap_remove_region(map, 7);
    tn_derpmap_remove_region(map, 8);
    ok(map->nregions == 3 && tn_derpmap_find(map, 7) == NULL
       && tn_derpmap_find(map, 1000) == &map->regions[2], "removed");

    /* relays */

    region = (tn_derpmap_region_t *) tn_derpmap_find(map, 5);
    add_node(region, "a", "", "")->stun_only = true;
    (void) add_node(region, "b", "", "");
    add_node(region, "c", "", "")->stun_only = true;
    (void) add_node(region, "d", "", "");
    is_str(tn_derpmap_relay(region, 0)->hostname, "b", "the first relay");
    is_str(tn_derpmap_relay(region, 1)->hostname, "d", "the second");
    ok(tn_derpmap_relay(region, 2) == NULL, "there is no third");

    /* strings */

    memset(text, 'x', sizeof(text));
    node = &region->nodes[0];
    is_int(tn_derpmap_set_string(&node->name, text, TN_DERPMAP_STRING_MAX),
           TN_OK, "the longest string");
    is_int(tn_derpmap_set_string(&node->name, text,
                                 TN_DERPMAP_STRING_MAX + 1),
           TN_MALFORMED, "one longer");
    is_int(tn_derpmap_set_string(&node->name, "a\nb", 3), TN_MALFORMED,
           "a line break");
    is_int((long long) strlen(node->name), TN_DERPMAP_STRING_MAX,
           "a refused one leaves the former");

    /* scores */

    is_int(tn_derpmap_set_score(map, 5, 0.5), TN_OK, "a score");
    is_int(tn_derpmap_set_score(map, 5, -1), TN_MALFORMED, "below zero");
    is_int(tn_derpmap_set_score(map, 5, 1.0 / 0.0), TN_MALFORMED, "infinite");
    ok(tn_derpmap_score(map, 5) == 0.5 && tn_derpmap_score(map, 900) == 1.0,
       "1 where control gave none");

    /* copies */

    region->avoid = true;
    region->nodes[1].derp_port = 8443;
    copy = tn_derpmap_copy(map);
    ok(tn_derpmap_equal(map, copy), "a copy is equal");
    copy->regions[0].nodes[1].derp_port = 443;
    ok(!tn_derpmap_equal(map, copy), "until it is changed");
    ok(tn_derpmap_region_equal(&map->regions[1], &copy->regions[1]),
       "in one region alone");
    copy->regions[0].nodes[1].derp_port = 8443;
    (void) tn_derpmap_set_score(copy, 5, 0.6);
    ok(!tn_derpmap_equal(map, copy), "or its score is");
    tn_derpmap_free(map);
    is_str(copy->regions[0].nodes[1].hostname, "b", "the copy is its own");

    /* limits */

    for (n = 1; tn_derpmap_add_region(copy, n) != NULL; n++) { /* void */ }

    is_int(copy->nregions, TN_DERPMAP_REGIONS_MAX, "no more than 512 regions");
    region = tn_derpmap_add_region(copy, 1);

    for (n = 0; tn_derpmap_add_node(region) != NULL; n++) { /* void */ }

    is_int(n, TN_DERPMAP_NODES_MAX, "no more than 32 nodes in one");

    tn_derpmap_free(copy);
    tn_derpmap_free(NULL);

    return tap_done();
}
