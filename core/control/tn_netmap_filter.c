
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The packet filter as control names it: parts by name, of which the old
 * single list is "base"; what counts is all of them together, in the order
 * of their names.  Rules are parsed here and compiled elsewhere.
 *
 * A part that comes again with the same text is taken over unparsed, since
 * control repeats the whole filter with every full map.
 */

#include "control/tn_netmap_int.h"

#include "crypto/tn_blake2s.h"

#include <stdlib.h>


typedef struct {
    tn_rules_t                  *rules;
} tn_netmap_rules_ctx_t;

typedef struct {
    tn_netmap_filters_t         *filters;
    const tn_netmap_filters_t   *old;
    bool                         clear;     /* first pass: "*" with null */
    bool                         changed;
} tn_netmap_filters_ctx_t;


static tn_rc_t tn_netmap_filters_star(void *data, tn_json_span_t key,
    tn_json_span_t value);
static tn_rc_t tn_netmap_filters_visit(void *data, tn_json_span_t key,
    tn_json_span_t value);
static tn_rc_t tn_netmap_filter_set(tn_netmap_filters_ctx_t *ctx,
    tn_json_span_t name, tn_json_span_t text);
static void tn_netmap_filter_remove(tn_netmap_filters_ctx_t *ctx,
    tn_json_span_t name);
static tn_netmap_filter_t *tn_netmap_filter_find(
    const tn_netmap_filters_t *filters, tn_json_span_t name, size_t *place);
static tn_rc_t tn_netmap_rules_visit(void *data, tn_json_span_t key,
    tn_json_span_t value);
static tn_rc_t tn_netmap_rule_fill(tn_rule_t *rule, const json_t *o);
static tn_rc_t tn_netmap_rule_grant(tn_rule_t *rule, const json_t *o);


tn_netmap_filters_t *
tn_netmap_filters_create(void)
{
    return calloc(1, sizeof(tn_netmap_filters_t));
}


void
tn_netmap_filters_free(tn_netmap_filters_t *filters)
{
    size_t  i;

    if (filters == NULL) {
        return;
    }

    for (i = 0; filters->filter != NULL && i < filters->n; i++) {
        free(filters->filter[i].name);
        tn_rules_done(&filters->filter[i].rules);
    }

    free(filters->filter);
    free(filters);
}


tn_rc_t
tn_netmap_filters_parse(tn_netmap_filters_t **filtersp,
    const tn_netmap_filters_t *old, tn_json_span_t one, tn_json_span_t named,
    tn_rules_t *rules, bool *changed)
{
    size_t                     i;
    tn_rc_t                    rc;
    tn_rules_t                 copy;
    tn_json_span_t             base;
    tn_netmap_filter_t        *from, *to;
    tn_netmap_filters_ctx_t    ctx;

    *filtersp = NULL;
    *changed = false;

    memset(&ctx, 0, sizeof(ctx));
    ctx.old = old;
    ctx.filters = tn_netmap_filters_create();

    if (ctx.filters == NULL) {
        return TN_NOMEM;
    }

    if (tn_json_span_given(named)) {
        rc = tn_json_scan_object(named, tn_netmap_filters_star, &ctx);
        if (rc != TN_OK) {
            goto failed;
        }
    }

    /* upstream sets "base" from the old field first, then patches by name */

    if (old->n != 0) {
        ctx.filters->filter = calloc(old->n, sizeof(tn_netmap_filter_t));
        if (ctx.filters->filter == NULL) {
            rc = TN_NOMEM;
            goto failed;
        }
    }

    for (i = 0; !ctx.clear && i < old->n; i++) {
        from = &old->filter[i];
        to = &ctx.filters->filter[i];

        to->name = strdup(from->name);
        if (to->name == NULL) {
            rc = TN_NOMEM;
            goto failed;
        }

        tn_rules_init(&to->rules);
        memcpy(to->digest, from->digest, sizeof(to->digest));
        ctx.filters->n++;

        rc = tn_rules_copy(&to->rules, &from->rules);
        if (rc != TN_OK) {
            goto failed;
        }
    }

    ctx.changed = ctx.clear && old->n != 0;

    if (tn_json_span_given(one) && !ctx.clear) {
        base.data = "base";
        base.len = 4;

        rc = tn_netmap_filter_set(&ctx, base, one);
        if (rc != TN_OK) {
            goto failed;
        }
    }

    if (tn_json_span_given(named)) {
        rc = tn_json_scan_object(named, tn_netmap_filters_visit, &ctx);
        if (rc != TN_OK) {
            goto failed;
        }
    }

    if (ctx.changed) {

        for (i = 0; i < ctx.filters->n; i++) {
            tn_rules_init(&copy);

            rc = tn_rules_copy(&copy, &ctx.filters->filter[i].rules);

            if (rc == TN_OK) {
                rc = tn_rules_join(rules, &copy);
            }

            tn_rules_done(&copy);

            if (rc != TN_OK) {
                goto failed;
            }
        }
    }

    *filtersp = ctx.filters;
    *changed = ctx.changed;

    return TN_OK;

failed:

    tn_netmap_filters_free(ctx.filters);

    return rc;
}


static tn_rc_t
tn_netmap_filters_star(void *data, tn_json_span_t key, tn_json_span_t value)
{
    tn_netmap_filters_ctx_t  *ctx;

    ctx = data;

    if (tn_json_span_is(key, "*") && tn_json_span_is(value, "null")) {
        ctx->clear = true;
    }

    return TN_OK;
}


static tn_rc_t
tn_netmap_filters_visit(void *data, tn_json_span_t key, tn_json_span_t value)
{
    if (tn_json_span_is(key, "*")) {
        return TN_OK;
    }

    if (tn_json_span_is(value, "null")) {
        tn_netmap_filter_remove(data, key);
        return TN_OK;
    }

    return tn_netmap_filter_set(data, key, value);
}


static tn_rc_t
tn_netmap_filter_set(tn_netmap_filters_ctx_t *ctx, tn_json_span_t name,
    tn_json_span_t text)
{
    size_t                    place;
    tn_rc_t                   rc;
    uint8_t                   digest[TN_BLAKE2S_LEN];
    tn_rules_t                rules;
    tn_netmap_filter_t       *filter;
    tn_netmap_filters_t      *filters;
    tn_netmap_rules_ctx_t     rctx;

    filters = ctx->filters;

    rc = tn_blake2s(digest, text.data, text.len, NULL, 0);
    if (rc != TN_OK) {
        return rc;
    }

    filter = tn_netmap_filter_find(filters, name, &place);

    if (filter != NULL
        && memcmp(filter->digest, digest, sizeof(filter->digest)) == 0)
    {
        return TN_OK;
    }

    if (filter == NULL
        && (filters->n == TN_NETMAP_FILTERS_MAX
            || name.len > TN_NETMAP_TEXT_MAX))
    {
        /* less is allowed, never more */
        return TN_OK;
    }

    tn_rules_init(&rules);
    rctx.rules = &rules;

    rc = tn_json_scan_array(text, tn_netmap_rules_visit, &rctx);
    if (rc != TN_OK) {
        tn_rules_done(&rules);
        return rc;
    }

    ctx->changed = true;

    if (filter == NULL) {
        filter = realloc(filters->filter,
                         (filters->n + 1) * sizeof(tn_netmap_filter_t));
        if (filter == NULL) {
            tn_rules_done(&rules);
            return TN_NOMEM;
        }

        filters->filter = filter;
        filter += place;

        memmove(filter + 1, filter,
                (filters->n - place) * sizeof(tn_netmap_filter_t));

        filters->n++;
        tn_rules_init(&filter->rules);

        filter->name = strndup(name.data, name.len);
        if (filter->name == NULL) {
            tn_rules_done(&rules);
            return TN_NOMEM;
        }
    }

    tn_rules_done(&filter->rules);
    filter->rules = rules;
    memcpy(filter->digest, digest, sizeof(filter->digest));

    return TN_OK;
}


static void
tn_netmap_filter_remove(tn_netmap_filters_ctx_t *ctx, tn_json_span_t name)
{
    size_t                place;
    tn_netmap_filter_t   *filter;
    tn_netmap_filters_t  *filters;

    filters = ctx->filters;
    filter = tn_netmap_filter_find(filters, name, &place);

    if (filter == NULL) {
        return;
    }

    free(filter->name);
    tn_rules_done(&filter->rules);

    filters->n--;
    memmove(filter, filter + 1,
            (filters->n - place) * sizeof(tn_netmap_filter_t));

    ctx->changed = true;
}


/* NULL: it belongs at *place */
static tn_netmap_filter_t *
tn_netmap_filter_find(const tn_netmap_filters_t *filters, tn_json_span_t name,
    size_t *place)
{
    int     order;
    size_t  i, len;

    for (i = 0; i < filters->n; i++) {
        len = strlen(filters->filter[i].name);
        order = memcmp(filters->filter[i].name, name.data,
                       tn_min(len, name.len));

        if (order == 0 && len == name.len) {
            *place = i;
            return &filters->filter[i];
        }

        if (order > 0 || (order == 0 && len > name.len)) {
            break;
        }
    }

    *place = i;

    return NULL;
}


static tn_rc_t
tn_netmap_rules_visit(void *data, tn_json_span_t key, tn_json_span_t value)
{
    json_t                 *o;
    tn_rc_t                 rc;
    tn_rule_t              *rule;
    tn_netmap_rules_ctx_t  *ctx;

    (void) key;

    ctx = data;

    if (ctx->rules->n == TN_RULE_MAX) {
        return TN_OK;
    }

    rc = tn_json_load(value, &o);
    if (rc != TN_OK) {
        return rc == TN_REFUSED ? TN_OK : rc;
    }

    if (!json_is_object(o)) {
        json_decref(o);
        return TN_OK;
    }

    rule = tn_rule_create();
    rc = rule ? tn_netmap_rule_fill(rule, o) : TN_NOMEM;

    json_decref(o);

    if (rc == TN_OK) {
        rc = tn_rules_append(ctx->rules, rule);
    }

    if (rc != TN_OK) {
        tn_rule_free(rule);
    }

    return rc;
}


/* a bad entry is left out by tn_rule_add_..., the rule stays */
static tn_rc_t
tn_netmap_rule_fill(tn_rule_t *rule, const json_t *o)
{
    size_t       i;
    json_t      *value, *ports;
    int64_t      first, last;
    tn_rc_t      rc;
    const char  *text;

    json_array_foreach(json_object_get(o, "SrcIPs"), i, value) {
        text = json_string_value(value);

        if (text != NULL
            && tn_rule_add_src(rule, text, strlen(text)) == TN_NOMEM)
        {
            return TN_NOMEM;
        }
    }

    json_array_foreach(json_object_get(o, "DstPorts"), i, value) {
        text = tn_json_text(value, "IP");
        ports = json_object_get(value, "Ports");
        first = tn_json_int(ports, "First");
        last = tn_json_int(ports, "Last");

        if (first < 0 || first > 65535 || last < 0 || last > 65535) {
            continue;
        }

        if (tn_rule_add_dst(rule, text, strlen(text), (uint16_t) first,
                            (uint16_t) last) == TN_NOMEM)
        {
            return TN_NOMEM;
        }
    }

    json_array_foreach(json_object_get(o, "IPProto"), i, value) {
        if (json_is_integer(value)) {
            tn_rule_add_proto(rule, json_integer_value(value));
        }
    }

    json_array_foreach(json_object_get(o, "CapGrant"), i, value) {
        rc = tn_netmap_rule_grant(rule, value);
        if (rc != TN_OK) {
            return rc;
        }
    }

    return TN_OK;
}


static tn_rc_t
tn_netmap_rule_grant(tn_rule_t *rule, const json_t *o)
{
    char             *json;
    size_t            i;
    json_t           *value, *map;
    tn_rc_t           rc;
    const char       *text;
    tn_rule_grant_t  *grant;

    if (!json_is_object(o)) {
        return TN_OK;
    }

    grant = tn_rule_add_grant(rule);
    if (grant == NULL) {
        return TN_NOMEM;
    }

    json_array_foreach(json_object_get(o, "Dsts"), i, value) {
        text = json_string_value(value);

        if (text != NULL
            && tn_rule_grant_add_dst(grant, text, strlen(text)) == TN_NOMEM)
        {
            return TN_NOMEM;
        }
    }

    map = json_object_get(o, "CapMap");

    json_object_foreach(map, text, value) {
        json = NULL;

        if (json_array_size(value) != 0) {
            json = tn_json_dump(value, TN_NETMAP_CAP_MAX);
            if (json == NULL) {
                continue;
            }
        }

        rc = tn_rule_grant_add_cap(grant, text, strlen(text), json,
                                   json ? strlen(json) : 0);
        free(json);

        if (rc == TN_NOMEM) {
            return TN_NOMEM;
        }
    }

    /* the deprecated form: names without values */

    json_array_foreach(json_object_get(o, "Caps"), i, value) {
        text = json_string_value(value);

        if (text != NULL && json_object_get(map, text) == NULL
            && tn_rule_grant_add_cap(grant, text, strlen(text), NULL, 0)
               == TN_NOMEM)
        {
            return TN_NOMEM;
        }
    }

    return TN_OK;
}
