
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "filter/tn_match.h"

#include <stdlib.h>


/* the low half of ::ffff:0:0 */
#define TN_MATCH_V4_BITS  ((uint64_t) 0xffff << 32)


static tn_rc_t tn_match_compile(tn_filter_rules_t *compiled,
    const tn_rule_t *rule, bool v4);
static uint64_t tn_match_cap(tn_filter_rules_t *compiled, const char *name);
static bool tn_match_range(tn_range_t *range, const tn_rule_addrs_t *addrs,
    bool v4);
static int tn_ranges_compare(const void *a, const void *b);


tn_filter_rules_t *
tn_filter_compile(const tn_rules_t *rules)
{
    int                 v4;
    size_t              i, n;
    tn_filter_rules_t  *compiled;

    compiled = calloc(1, sizeof(tn_filter_rules_t));
    if (compiled == NULL) {
        return NULL;
    }

    n = rules->n;

    for (v4 = 0; v4 < 2; v4++) {
        compiled->matches[v4] = calloc(tn_max(n, 1u), sizeof(tn_match_t));

        if (compiled->matches[v4] == NULL) {
            goto failed;
        }

        for (i = 0; i < n; i++) {
            if (tn_match_compile(compiled, rules->rule[i], v4) != TN_OK) {
                goto failed;
            }
        }
    }

    return compiled;

failed:

    tn_filter_rules_free(compiled);

    return NULL;
}


void
tn_filter_rules_free(tn_filter_rules_t *compiled)
{
    int     v4;
    size_t  i;

    if (compiled == NULL) {
        return;
    }

    for (v4 = 0; v4 < 2; v4++) {
        for (i = 0; i < compiled->nmatches[v4]; i++) {
            free(compiled->matches[v4][i].srcs.range);
            free(compiled->matches[v4][i].dsts);
        }

        free(compiled->matches[v4]);
    }

    for (i = 0; i < compiled->ncaps; i++) {
        free(compiled->caps[i]);
    }

    free(compiled);
}


uint64_t
tn_filter_rules_caps(const tn_filter_rules_t *compiled,
    tn_filter_has_cap_pt has, void *data)
{
    size_t    i;
    uint64_t  caps;

    caps = 0;

    for (i = 0; i < compiled->ncaps; i++) {
        if (has(data, compiled->caps[i])) {
            caps |= 1ull << i;
        }
    }

    return caps;
}


bool
tn_match_find(const tn_filter_rules_t *compiled, const tn_packet_t *p,
    uint64_t caps, tn_match_mode_t mode)
{
    int                    v4;
    size_t                 i, j;
    tn_ip_number_t         src, dst;
    const tn_match_t      *m;
    const tn_match_dst_t  *d;

    v4 = p->version == 4;
    src = tn_ip_number(&p->src);
    dst = tn_ip_number(&p->dst);

    /* upstream, too, lets protocols without ports in by address alone */

    if (mode == TN_MATCH_ALL_PORTS) {
        caps = 0;
    }

    for (i = 0; i < compiled->nmatches[v4]; i++) {
        m = &compiled->matches[v4][i];

        if (mode != TN_MATCH_IPS
            && !(m->protos[p->proto >> 5] >> (p->proto & 31) & 1))
        {
            continue;
        }

        if (!(m->caps & caps) && !tn_ranges_contain(&m->srcs, src)) {
            continue;
        }

        for (j = 0; j < m->ndsts; j++) {
            d = &m->dsts[j];

            if (tn_wide_less(dst, d->range.lo)
                || tn_wide_less(d->range.hi, dst))
            {
                continue;
            }

            switch (mode) {

            case TN_MATCH_PORT:

                if (p->dst_port < d->first || p->dst_port > d->last) {
                    continue;
                }

                break;

            case TN_MATCH_ALL_PORTS:

                if (d->first != 0 || d->last != 65535) {
                    continue;
                }

                break;

            case TN_MATCH_IPS:
                break;
            }

            return true;
        }
    }

    return false;
}


bool
tn_ranges_contain(const tn_ranges_t *ranges, tn_ip_number_t ip)
{
    size_t  low, high, middle;

    low = 0;
    high = ranges->n;

    /* the first range that ends at or behind ip */

    while (low < high) {
        middle = low + (high - low) / 2;

        if (tn_wide_less(ranges->range[middle].hi, ip)) {
            low = middle + 1;

        } else {
            high = middle;
        }
    }

    return low < ranges->n && !tn_wide_less(ip, ranges->range[low].lo);
}


void
tn_ranges_build(tn_ranges_t *ranges)
{
    size_t           i, n;
    tn_range_t      *r;
    tn_ip_number_t   next;

    r = ranges->range;

    if (ranges->n < 2) {
        return;
    }

    qsort(r, ranges->n, sizeof(tn_range_t), tn_ranges_compare);

    n = 0;

    for (i = 1; i < ranges->n; i++) {
        next = r[n].hi;

        if (++next.lo == 0) {
            next.hi++;
        }

        /* 0: nothing is behind it */

        if ((next.hi | next.lo) != 0 && tn_wide_less(next, r[i].lo)) {
            r[++n] = r[i];

        } else if (tn_wide_less(r[n].hi, r[i].hi)) {
            r[n].hi = r[i].hi;
        }
    }

    ranges->n = n + 1;
}


static int
tn_ranges_compare(const void *a, const void *b)
{
    const tn_range_t  *x, *y;

    x = a;
    y = b;

    return tn_wide_less(y->lo, x->lo) - tn_wide_less(x->lo, y->lo);
}


/* the rule's part of one family; nothing is kept of one that cannot match */
static tn_rc_t
tn_match_compile(tn_filter_rules_t *compiled, const tn_rule_t *rule, bool v4)
{
    size_t                  i;
    tn_match_t             *m;
    const tn_rule_addrs_t  *src;

    if (rule->ndsts == 0 || rule->nsrcs == 0) {
        return TN_OK;
    }

    m = &compiled->matches[v4][compiled->nmatches[v4]];

    m->srcs.range = calloc(rule->nsrcs, sizeof(tn_range_t));
    m->dsts = calloc(rule->ndsts, sizeof(tn_match_dst_t));

    if (m->srcs.range == NULL || m->dsts == NULL) {
        free(m->srcs.range);
        free(m->dsts);
        return TN_NOMEM;
    }

    for (i = 0; i < rule->nsrcs; i++) {
        src = &rule->srcs[i];

        if (src->kind == TN_RULE_CAP) {
            m->caps |= tn_match_cap(compiled, src->cap);

        } else if (tn_match_range(&m->srcs.range[m->srcs.n], src, v4)) {
            m->srcs.n++;
        }
    }

    tn_ranges_build(&m->srcs);

    for (i = 0; i < rule->ndsts; i++) {

        if (!tn_match_range(&m->dsts[m->ndsts].range, &rule->dsts[i].addrs,
                            v4))
        {
            continue;
        }

        m->dsts[m->ndsts].first = rule->dsts[i].first;
        m->dsts[m->ndsts].last = rule->dsts[i].last;
        m->ndsts++;
    }

    for (i = 0; i < 256; i++) {
        if (tn_rule_has_proto(rule, (uint8_t) i)) {
            m->protos[i >> 5] |= 1u << (i & 31);
        }
    }

    if (m->ndsts == 0 || (m->srcs.n == 0 && m->caps == 0)) {
        free(m->srcs.range);
        free(m->dsts);
        memset(m, 0, sizeof(tn_match_t));

        return TN_OK;
    }

    compiled->nmatches[v4]++;

    return TN_OK;
}


/* the bit of a capability; 0, which nobody has, when there are too many */
static uint64_t
tn_match_cap(tn_filter_rules_t *compiled, const char *name)
{
    size_t  i;

    for (i = 0; i < compiled->ncaps; i++) {
        if (strcmp(compiled->caps[i], name) == 0) {
            return 1ull << i;
        }
    }

    if (i == TN_FILTER_CAPS_MAX) {
        return 0;
    }

    compiled->caps[i] = strdup(name);

    if (compiled->caps[i] == NULL) {
        return 0;
    }

    compiled->ncaps++;

    return 1ull << i;
}


/* false when the addresses are of the other family */
static bool
tn_match_range(tn_range_t *range, const tn_rule_addrs_t *addrs, bool v4)
{
    if (addrs->kind == TN_RULE_ANY) {
        range->lo.hi = 0;
        range->lo.lo = v4 ? TN_MATCH_V4_BITS : 0;
        range->hi.hi = v4 ? 0 : UINT64_MAX;
        range->hi.lo = v4 ? TN_MATCH_V4_BITS | 0xffffffff : UINT64_MAX;
        return true;
    }

    if (addrs->v4 != v4) {
        return false;
    }

    range->lo = tn_ip_number(&addrs->lo);
    range->hi = tn_ip_number(&addrs->hi);

    return true;
}
