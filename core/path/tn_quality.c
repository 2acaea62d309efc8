
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_quality.h"


static uint32_t tn_quality_points(const tn_ip_t *ip);


bool
tn_quality_better(const tn_quality_t *a, const tn_quality_t *b)
{
    uint32_t  a_points, b_points;

    if (a->vni == b->vni && tn_addr_equal(&a->addr, &b->addr)) {
        return a->mtu > b->mtu;
    }

    if (b->addr.port == 0) {
        return true;
    }

    if (a->addr.port == 0) {
        return false;
    }

    if ((a->vni != 0) != (b->vni != 0)) {
        return a->vni == 0;
    }

    a_points = tn_quality_points(&a->addr.ip);
    b_points = tn_quality_points(&b->addr.ip);

    /* a point for each percent by which one is faster */

    if (a->latency_us > b->latency_us) {
        b_points += 100 - b->latency_us * 100 / a->latency_us;

    } else if (b->latency_us != 0) {
        a_points += 100 - a->latency_us * 100 / b->latency_us;
    }

    /* a percent alone does not move traffic: the choice must not flap */

    if (a_points <= 1 && b_points == 0) {
        return false;
    }

    return a_points > b_points;
}


/* the nearer by kind of address, the better; IPv6 as the more robust */
static uint32_t
tn_quality_points(const tn_ip_t *ip)
{
    uint32_t  points;

    points = tn_ip_is_v4(ip) ? 0 : 10;

    if (tn_ip_is_loopback(ip)) {
        return points + 50;
    }

    if (tn_ip_is_link_local(ip)) {
        return points + 30;
    }

    return tn_ip_is_private(ip) ? points + 20 : points;
}
