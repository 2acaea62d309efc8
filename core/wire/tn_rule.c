
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "wire/tn_rule.h"

#include <stdlib.h>


static void *tn_rule_grow(void *array, size_t n, size_t size, size_t max);
static char *tn_rule_text(const char *text, size_t len);
static tn_rc_t tn_rule_ip_parse(tn_ip_t *ip, bool *v4, const char *text,
    size_t len);
static void tn_rule_range(tn_rule_addrs_t *addrs, const tn_prefix_t *prefix);
static bool tn_rule_srcs_contain(const tn_rule_t *rule, const tn_ip_t *ip);
static tn_rule_t *tn_rule_copy(const tn_rule_t *from);
static tn_rc_t tn_rule_copy_addrs(tn_rule_addrs_t *to,
    const tn_rule_addrs_t *from);
static tn_rc_t tn_rule_copy_grants(tn_rule_t *to, const tn_rule_t *from);


tn_rc_t
tn_rule_addrs_parse(tn_rule_addrs_t *addrs, const char *text, size_t len)
{
    bool         v4;
    size_t       first;
    tn_prefix_t  prefix;
    const char  *dash;

    memset(addrs, 0, sizeof(tn_rule_addrs_t));

    if (len == 1 && text[0] == '*') {
        addrs->kind = TN_RULE_ANY;
        return TN_OK;
    }

    if (len > 4 && memcmp(text, "cap:", 4) == 0) {

        if (len - 4 > TN_RULE_CAP_LEN_MAX) {
            return TN_MALFORMED;
        }

        addrs->kind = TN_RULE_CAP;
        addrs->cap = tn_rule_text(text + 4, len - 4);

        return addrs->cap != NULL ? TN_OK : TN_NOMEM;
    }

    dash = memchr(text, '-', len);

    if (dash != NULL) {
        first = (size_t) (dash - text);

        if (tn_rule_ip_parse(&addrs->lo, &addrs->v4, text, first) != TN_OK
            || tn_rule_ip_parse(&addrs->hi, &v4, dash + 1, len - first - 1)
               != TN_OK
            || v4 != addrs->v4
            || memcmp(addrs->lo.b, addrs->hi.b, sizeof(addrs->lo.b)) > 0)
        {
            return TN_MALFORMED;
        }

        return TN_OK;
    }

    if (tn_prefix_parse(&prefix, text, len) != TN_OK
        || (!prefix.v4 && tn_ip_is_v4(&prefix.ip)))
    {
        return TN_MALFORMED;
    }

    tn_rule_range(addrs, &prefix);

    return TN_OK;
}


bool
tn_rule_addrs_contain(const tn_rule_addrs_t *addrs, const tn_ip_t *ip)
{
    switch (addrs->kind) {

    case TN_RULE_ANY:
        return true;

    case TN_RULE_CAP:
        return false;

    default:
        return tn_ip_is_v4(ip) == addrs->v4
               && memcmp(ip->b, addrs->lo.b, sizeof(ip->b)) >= 0
               && memcmp(ip->b, addrs->hi.b, sizeof(ip->b)) <= 0;
    }
}


tn_rule_t *
tn_rule_create(void)
{
    return calloc(1, sizeof(tn_rule_t));
}


void
tn_rule_free(tn_rule_t *rule)
{
    size_t            i, j;
    tn_rule_grant_t  *grant;

    if (rule == NULL) {
        return;
    }

    for (i = 0; i < rule->nsrcs; i++) {
        free(rule->srcs[i].cap);
    }

    for (i = 0; i < rule->ngrants; i++) {
        grant = &rule->grants[i];

        for (j = 0; j < grant->ncaps; j++) {
            free(grant->caps[j].name);
            free(grant->caps[j].json);
        }

        free(grant->caps);
        free(grant->dsts);
    }

    free(rule->srcs);
    free(rule->dsts);
    free(rule->grants);
    free(rule);
}


tn_rc_t
tn_rule_add_src(tn_rule_t *rule, const char *text, size_t len)
{
    void             *p;
    tn_rc_t           rc;
    tn_rule_addrs_t   addrs;

    rc = tn_rule_addrs_parse(&addrs, text, len);

    if (rc != TN_OK) {
        return rc;
    }

    p = tn_rule_grow(rule->srcs, rule->nsrcs, sizeof(tn_rule_addrs_t),
                     TN_RULE_ENTRIES_MAX);
    if (p == NULL) {
        free(addrs.cap);
        return TN_NOMEM;
    }

    rule->srcs = p;
    rule->srcs[rule->nsrcs++] = addrs;

    return TN_OK;
}


tn_rc_t
tn_rule_add_dst(tn_rule_t *rule, const char *text, size_t len,
    uint16_t first, uint16_t last)
{
    void             *p;
    tn_rc_t           rc;
    tn_rule_addrs_t   addrs;

    rc = tn_rule_addrs_parse(&addrs, text, len);

    if (rc != TN_OK) {
        return rc;
    }

    if (addrs.kind == TN_RULE_CAP) {
        free(addrs.cap);
        return TN_MALFORMED;
    }

    p = tn_rule_grow(rule->dsts, rule->ndsts, sizeof(tn_rule_dst_t),
                     TN_RULE_ENTRIES_MAX);
    if (p == NULL) {
        return TN_NOMEM;
    }

    rule->dsts = p;
    rule->dsts[rule->ndsts].addrs = addrs;
    rule->dsts[rule->ndsts].first = first;
    rule->dsts[rule->ndsts].last = last;
    rule->ndsts++;

    return TN_OK;
}


void
tn_rule_add_proto(tn_rule_t *rule, long long proto)
{
    rule->protos_given = true;

    if (proto >= 0 && proto <= 255) {
        rule->protos[proto >> 5] |= 1u << (proto & 31);
    }
}


tn_rule_grant_t *
tn_rule_add_grant(tn_rule_t *rule)
{
    void  *p;

    p = tn_rule_grow(rule->grants, rule->ngrants, sizeof(tn_rule_grant_t),
                     TN_RULE_ENTRIES_MAX);
    if (p == NULL) {
        return NULL;
    }

    rule->grants = p;
    memset(&rule->grants[rule->ngrants], 0, sizeof(tn_rule_grant_t));

    return &rule->grants[rule->ngrants++];
}


tn_rc_t
tn_rule_grant_add_dst(tn_rule_grant_t *grant, const char *text, size_t len)
{
    void         *p;
    bool          v4;
    size_t        host, i, width;
    uint32_t      bits;
    tn_ip_t       ip;
    tn_prefix_t   prefix;
    const char   *slash;

    slash = memchr(text, '/', len);
    host = slash ? (size_t) (slash - text) : len;

    if (tn_rule_ip_parse(&ip, &v4, text, host) != TN_OK) {
        return TN_MALFORMED;
    }

    prefix = tn_prefix_of(&ip);

    if (slash != NULL) {
        width = prefix.bits;
        bits = 0;

        if (len - host < 2 || len - host > 4) {
            return TN_MALFORMED;
        }

        for (i = host + 1; i < len; i++) {
            if (text[i] < '0' || text[i] > '9') {
                return TN_MALFORMED;
            }

            bits = bits * 10 + (uint32_t) (text[i] - '0');
        }

        if (bits > width) {
            return TN_MALFORMED;
        }

        prefix.bits = (uint8_t) bits;

        for (i = 128 - width + bits; i < 128; i++) {
            prefix.ip.b[i / 8] &= (uint8_t) ~(0x80 >> (i % 8));
        }
    }

    p = tn_rule_grow(grant->dsts, grant->ndsts, sizeof(tn_prefix_t),
                     TN_RULE_ENTRIES_MAX);
    if (p == NULL) {
        return TN_NOMEM;
    }

    grant->dsts = p;
    grant->dsts[grant->ndsts++] = prefix;

    return TN_OK;
}


tn_rc_t
tn_rule_grant_add_cap(tn_rule_grant_t *grant, const char *name, size_t len,
    const char *json, size_t json_len)
{
    void           *p;
    tn_rule_cap_t   cap;

    if (len == 0 || len > TN_RULE_CAP_LEN_MAX) {
        return TN_MALFORMED;
    }

    p = tn_rule_grow(grant->caps, grant->ncaps, sizeof(tn_rule_cap_t),
                     TN_RULE_ENTRIES_MAX);
    if (p == NULL) {
        return TN_NOMEM;
    }

    grant->caps = p;

    cap.name = tn_rule_text(name, len);
    cap.json = json != NULL ? tn_rule_text(json, json_len) : NULL;

    if (cap.name == NULL || (json != NULL && cap.json == NULL)) {
        free(cap.name);
        free(cap.json);
        return TN_NOMEM;
    }

    grant->caps[grant->ncaps++] = cap;

    return TN_OK;
}


void
tn_rules_init(tn_rules_t *rules)
{
    memset(rules, 0, sizeof(tn_rules_t));
}


void
tn_rules_done(tn_rules_t *rules)
{
    size_t  i;

    for (i = 0; i < rules->n; i++) {
        tn_rule_free(rules->rule[i]);
    }

    free(rules->rule);
    tn_rules_init(rules);
}


tn_rc_t
tn_rules_append(tn_rules_t *rules, tn_rule_t *rule)
{
    void  *p;

    p = tn_rule_grow(rules->rule, rules->n, sizeof(tn_rule_t *), TN_RULE_MAX);

    if (p == NULL) {
        return TN_NOMEM;
    }

    rules->rule = p;
    rules->rule[rules->n++] = rule;

    return TN_OK;
}


tn_rc_t
tn_rules_join(tn_rules_t *to, tn_rules_t *from)
{
    size_t   i, n;
    tn_rc_t  rc;

    n = to->n;

    for (i = 0; i < from->n; i++) {
        rc = tn_rules_append(to, from->rule[i]);

        if (rc != TN_OK) {
            to->n = n;
            return rc;
        }
    }

    from->n = 0;
    tn_rules_done(from);

    return TN_OK;
}


tn_rc_t
tn_rules_copy(tn_rules_t *to, const tn_rules_t *from)
{
    size_t      i;
    tn_rule_t  *rule;

    for (i = 0; i < from->n; i++) {
        rule = tn_rule_copy(from->rule[i]);

        if (rule == NULL || tn_rules_append(to, rule) != TN_OK) {
            tn_rule_free(rule);
            tn_rules_done(to);
            return TN_NOMEM;
        }
    }

    return TN_OK;
}


bool
tn_rules_src_overlaps(const tn_rules_t *rules, const tn_prefix_t *prefix)
{
    size_t                  i, j;
    tn_rule_addrs_t         want;
    const tn_rule_t        *rule;
    const tn_rule_addrs_t  *src;

    memset(&want, 0, sizeof(want));
    tn_rule_range(&want, prefix);

    for (i = 0; i < rules->n; i++) {
        rule = rules->rule[i];

        if (rule->ndsts == 0) {
            continue;
        }

        for (j = 0; j < rule->nsrcs; j++) {
            src = &rule->srcs[j];

            if (src->kind == TN_RULE_ANY
                || (src->kind == TN_RULE_RANGE
                    && src->v4 == want.v4
                    && memcmp(src->lo.b, want.hi.b, 16) <= 0
                    && memcmp(src->hi.b, want.lo.b, 16) >= 0))
            {
                return true;
            }
        }
    }

    return false;
}


void
tn_rules_caps(const tn_rules_t *rules, const tn_ip_t *src,
    const tn_ip_t *dst, tn_rules_cap_pt found, void *data)
{
    bool                    reached;
    size_t                  i, j, k;
    const tn_rule_t        *rule;
    const tn_rule_grant_t  *grant;

    for (i = 0; i < rules->n; i++) {
        rule = rules->rule[i];

        if (rule->ngrants == 0 || !tn_rule_srcs_contain(rule, src)) {
            continue;
        }

        for (j = 0; j < rule->ngrants; j++) {
            grant = &rule->grants[j];
            reached = false;

            for (k = 0; k < grant->ndsts && !reached; k++) {
                reached = tn_prefix_contains(&grant->dsts[k], dst);
            }

            for (k = 0; k < grant->ncaps && reached; k++) {
                found(data, grant->caps[k].name, grant->caps[k].json);
            }
        }
    }
}


/*
 * Room for one more element: the array itself, or a larger copy when n is
 * where the last growth ended.  NULL: no memory, or n has reached max.
 */
static void *
tn_rule_grow(void *array, size_t n, size_t size, size_t max)
{
    if (n >= max) {
        return NULL;
    }

    if ((n & (n - 1)) != 0) {
        return array;
    }

    return realloc(array, size * (n != 0 ? 2 * n : 1));
}


static char *
tn_rule_text(const char *text, size_t len)
{
    return memchr(text, '\0', len) == NULL ? strndup(text, len) : NULL;
}


static tn_rc_t
tn_rule_ip_parse(tn_ip_t *ip, bool *v4, const char *text, size_t len)
{
    if (tn_ip_parse(ip, text, len) != TN_OK) {
        return TN_MALFORMED;
    }

    *v4 = tn_ip_is_v4(ip);

    /* "::ffff:1.2.3.4" is no packet's address and must not become IPv4 */

    if (*v4 && memchr(text, ':', len) != NULL) {
        return TN_MALFORMED;
    }

    return TN_OK;
}


static void
tn_rule_range(tn_rule_addrs_t *addrs, const tn_prefix_t *prefix)
{
    size_t  i;

    addrs->kind = TN_RULE_RANGE;
    addrs->v4 = prefix->v4;
    addrs->lo = prefix->ip;
    addrs->hi = prefix->ip;

    for (i = prefix->bits + (prefix->v4 ? 96u : 0u); i < 128; i++) {
        addrs->hi.b[i / 8] |= (uint8_t) (0x80 >> (i % 8));
    }
}


static bool
tn_rule_srcs_contain(const tn_rule_t *rule, const tn_ip_t *ip)
{
    size_t  i;

    for (i = 0; i < rule->nsrcs; i++) {
        if (tn_rule_addrs_contain(&rule->srcs[i], ip)) {
            return true;
        }
    }

    return false;
}


static tn_rule_t *
tn_rule_copy(const tn_rule_t *from)
{
    void       *p;
    size_t      i;
    tn_rule_t  *to;

    to = tn_rule_create();
    if (to == NULL) {
        return NULL;
    }

    memcpy(to->protos, from->protos, sizeof(to->protos));
    to->protos_given = from->protos_given;

    for (i = 0; i < from->nsrcs; i++) {
        p = tn_rule_grow(to->srcs, i, sizeof(tn_rule_addrs_t),
                         TN_RULE_ENTRIES_MAX);
        if (p == NULL) {
            goto failed;
        }

        to->srcs = p;

        if (tn_rule_copy_addrs(&to->srcs[i], &from->srcs[i]) != TN_OK) {
            goto failed;
        }

        to->nsrcs++;
    }

    for (i = 0; i < from->ndsts; i++) {
        p = tn_rule_grow(to->dsts, i, sizeof(tn_rule_dst_t),
                         TN_RULE_ENTRIES_MAX);
        if (p == NULL) {
            goto failed;
        }

        to->dsts = p;
        to->dsts[i] = from->dsts[i];
        to->ndsts++;
    }

    if (tn_rule_copy_grants(to, from) != TN_OK) {
        goto failed;
    }

    return to;

failed:

    tn_rule_free(to);

    return NULL;
}


static tn_rc_t
tn_rule_copy_addrs(tn_rule_addrs_t *to, const tn_rule_addrs_t *from)
{
    *to = *from;

    if (from->cap != NULL) {
        to->cap = strdup(from->cap);

        if (to->cap == NULL) {
            return TN_NOMEM;
        }
    }

    return TN_OK;
}


static tn_rc_t
tn_rule_copy_grants(tn_rule_t *to, const tn_rule_t *from)
{
    void                   *p;
    size_t                  i, j;
    tn_rc_t                 rc;
    tn_rule_grant_t        *grant;
    const tn_rule_cap_t    *cap;
    const tn_rule_grant_t  *source;

    for (i = 0; i < from->ngrants; i++) {
        source = &from->grants[i];
        grant = tn_rule_add_grant(to);

        if (grant == NULL) {
            return TN_NOMEM;
        }

        for (j = 0; j < source->ndsts; j++) {
            p = tn_rule_grow(grant->dsts, j, sizeof(tn_prefix_t),
                             TN_RULE_ENTRIES_MAX);
            if (p == NULL) {
                return TN_NOMEM;
            }

            grant->dsts = p;
            grant->dsts[j] = source->dsts[j];
            grant->ndsts++;
        }

        for (j = 0; j < source->ncaps; j++) {
            cap = &source->caps[j];

            rc = tn_rule_grant_add_cap(grant, cap->name, strlen(cap->name),
                                       cap->json,
                                       cap->json ? strlen(cap->json) : 0);
            if (rc != TN_OK) {
                return rc;
            }
        }
    }

    return TN_OK;
}
