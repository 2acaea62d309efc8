
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * tailnet_allow and tailnet_deny.  A word is KIND:VALUE, where the value is
 * exact, or a pattern with "*", or after "~" or "~*" a regular expression;
 * or it is "all" or "funnel".
 */

#include "ngx_tailnet_identity.h"


typedef enum {
    NGX_TAILNET_RULE_USER = 0,
    NGX_TAILNET_RULE_TAG,
    NGX_TAILNET_RULE_NODE,
    NGX_TAILNET_RULE_CAP,
    NGX_TAILNET_RULE_ALL,
    NGX_TAILNET_RULE_FUNNEL
} ngx_tailnet_rule_e;


typedef struct {
    ngx_tailnet_rule_e    kind;
    ngx_str_t             value;
    unsigned              deny:1;
    unsigned              wildcard:1;
    unsigned              caseless:1;
#if (NGX_PCRE)
    ngx_regex_t          *regex;
#endif
} ngx_tailnet_rule_t;


static ngx_int_t ngx_tailnet_rule_parse(ngx_conf_t *cf,
    ngx_tailnet_rule_t *rule, ngx_str_t *word);
static ngx_int_t ngx_tailnet_rule_regex(ngx_conf_t *cf,
    ngx_tailnet_rule_t *rule);
static ngx_uint_t ngx_tailnet_rule_match(ngx_tailnet_rule_t *rule,
    ngx_tailnet_identity_t *identity, ngx_log_t *log);
static ngx_uint_t ngx_tailnet_rule_tag(ngx_tailnet_rule_t *rule,
    ngx_str_t *tags, ngx_log_t *log);
static ngx_uint_t ngx_tailnet_rule_node(ngx_tailnet_rule_t *rule,
    ngx_tailnet_identity_t *identity, ngx_log_t *log);
static ngx_uint_t ngx_tailnet_rule_cap(ngx_tailnet_rule_t *rule,
    ngx_str_t *caps, ngx_log_t *log);
static ngx_uint_t ngx_tailnet_rule_text(ngx_tailnet_rule_t *rule,
    ngx_str_t *text, ngx_log_t *log);
static ngx_uint_t ngx_tailnet_rule_wildcard(ngx_tailnet_rule_t *rule,
    ngx_str_t *text);


static ngx_str_t  ngx_tailnet_rule_kinds[] = {
    ngx_string("user:"),
    ngx_string("tag:"),
    ngx_string("node:"),
    ngx_string("cap:"),
    ngx_null_string
};


char *
ngx_tailnet_rule(ngx_conf_t *cf, ngx_array_t **rules, ngx_uint_t deny)
{
    ngx_str_t           *value;
    ngx_uint_t           i;
    ngx_tailnet_rule_t  *rule;

    if (*rules == NULL) {
        *rules = ngx_array_create(cf->pool, 4, sizeof(ngx_tailnet_rule_t));
        if (*rules == NULL) {
            return NGX_CONF_ERROR;
        }
    }

    value = cf->args->elts;

    for (i = 1; i < cf->args->nelts; i++) {

        rule = ngx_array_push(*rules);
        if (rule == NULL) {
            return NGX_CONF_ERROR;
        }

        ngx_memzero(rule, sizeof(ngx_tailnet_rule_t));

        rule->deny = deny;

        if (ngx_tailnet_rule_parse(cf, rule, &value[i]) != NGX_OK) {
            return NGX_CONF_ERROR;
        }
    }

    return NGX_CONF_OK;
}


static ngx_int_t
ngx_tailnet_rule_parse(ngx_conf_t *cf, ngx_tailnet_rule_t *rule,
    ngx_str_t *word)
{
    ngx_str_t   *kind;
    ngx_uint_t   i;

    if (ngx_strcmp(word->data, "all") == 0) {
        rule->kind = NGX_TAILNET_RULE_ALL;
        return NGX_OK;
    }

    if (ngx_strcmp(word->data, "funnel") == 0) {
        rule->kind = NGX_TAILNET_RULE_FUNNEL;
        return NGX_OK;
    }

    for (i = 0; ngx_tailnet_rule_kinds[i].len; i++) {
        kind = &ngx_tailnet_rule_kinds[i];

        if (word->len <= kind->len
            || ngx_strncmp(word->data, kind->data, kind->len) != 0)
        {
            continue;
        }

        rule->kind = i;
        rule->value.data = word->data + kind->len;
        rule->value.len = word->len - kind->len;

        /* names in DNS have no case */

        rule->caseless = (i == NGX_TAILNET_RULE_NODE);

        if (rule->value.data[0] == '~') {
            return ngx_tailnet_rule_regex(cf, rule);
        }

        rule->wildcard = ngx_strchr(rule->value.data, '*') != NULL;

        if (i == NGX_TAILNET_RULE_NODE
            && rule->value.len > 1
            && rule->value.data[rule->value.len - 1] == '.')
        {
            rule->value.len--;
        }

        return NGX_OK;
    }

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "invalid parameter \"%V\" of \"%V\", \"user:\", "
                       "\"tag:\", \"node:\" or \"cap:\" with a value, "
                       "\"all\" or \"funnel\" expected", word,
                       (ngx_str_t *) cf->args->elts);

    return NGX_ERROR;
}


static ngx_int_t
ngx_tailnet_rule_regex(ngx_conf_t *cf, ngx_tailnet_rule_t *rule)
{
#if (NGX_PCRE)
    u_char               errstr[NGX_MAX_CONF_ERRSTR];
    ngx_regex_compile_t  rc;

    rule->value.data++;
    rule->value.len--;

    ngx_memzero(&rc, sizeof(ngx_regex_compile_t));

    if (rule->value.len && rule->value.data[0] == '*') {
        rule->value.data++;
        rule->value.len--;
        rule->caseless = 1;
    }

    if (rule->value.len == 0) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                           "empty regular expression in \"%V\"",
                           (ngx_str_t *) cf->args->elts);
        return NGX_ERROR;
    }

    rc.pattern = rule->value;
    rc.pool = cf->pool;
    rc.err.len = NGX_MAX_CONF_ERRSTR;
    rc.err.data = errstr;
    rc.options = rule->caseless ? NGX_REGEX_CASELESS : 0;

    if (ngx_regex_compile(&rc) != NGX_OK) {
        ngx_conf_log_error(NGX_LOG_EMERG, cf, 0, "invalid \"%V\": %V",
                           (ngx_str_t *) cf->args->elts, &rc.err);
        return NGX_ERROR;
    }

    rule->regex = rc.regex;

    return NGX_OK;

#else

    ngx_conf_log_error(NGX_LOG_EMERG, cf, 0,
                       "\"%V\" with a regular expression needs an nginx with "
                       "PCRE", (ngx_str_t *) cf->args->elts);
    return NGX_ERROR;

#endif
}


ngx_int_t
ngx_tailnet_rules_check(ngx_array_t *rules, ngx_tailnet_identity_t *identity,
    ngx_log_t *log)
{
    ngx_uint_t           i;
    ngx_tailnet_rule_t  *rule;

    rule = rules->elts;

    for (i = 0; i < rules->nelts; i++) {
        if (ngx_tailnet_rule_match(&rule[i], identity, log)) {
            return rule[i].deny ? NGX_ABORT : NGX_OK;
        }
    }

    /* who comes from the Internet has to be named */

    if (identity->caller && identity->caller->funnel) {
        return NGX_ABORT;
    }

    return NGX_DECLINED;
}


static ngx_uint_t
ngx_tailnet_rule_match(ngx_tailnet_rule_t *rule,
    ngx_tailnet_identity_t *identity, ngx_log_t *log)
{
    ngx_uint_t  funnel;

    funnel = identity->caller && identity->caller->funnel;

    switch (rule->kind) {

    case NGX_TAILNET_RULE_ALL:
        return rule->deny || !funnel;

    case NGX_TAILNET_RULE_FUNNEL:
        return funnel;

    case NGX_TAILNET_RULE_USER:
        return identity->peer[TN_SNAPSHOT_LOGIN].len
               && ngx_tailnet_rule_text(rule,
                                        &identity->peer[TN_SNAPSHOT_LOGIN],
                                        log);

    case NGX_TAILNET_RULE_TAG:
        return ngx_tailnet_rule_tag(rule, &identity->peer[TN_SNAPSHOT_TAGS],
                                    log);

    case NGX_TAILNET_RULE_NODE:
        return ngx_tailnet_rule_node(rule, identity, log);

    default: /* NGX_TAILNET_RULE_CAP */
        return ngx_tailnet_rule_cap(rule, ngx_tailnet_identity_caps(identity),
                                    log);
    }
}


/* the value is that behind "tag:" */

static ngx_uint_t
ngx_tailnet_rule_tag(ngx_tailnet_rule_t *rule, ngx_str_t *tags, ngx_log_t *log)
{
    u_char     *p, *last, *comma;
    ngx_str_t   tag;

    last = tags->data + tags->len;

    for (p = tags->data; p < last; p = comma + 1) {
        comma = ngx_strlchr(p, last, ',');

        if (comma == NULL) {
            comma = last;
        }

        if (comma - p <= 4 || ngx_strncmp(p, "tag:", 4) != 0) {
            continue;
        }

        tag.data = p + 4;
        tag.len = comma - tag.data;

        if (ngx_tailnet_rule_text(rule, &tag, log)) {
            return 1;
        }
    }

    return 0;
}


/*
 * The name of a node of this tailnet is its first label; of one that was
 * shared in, and of any for a value with a dot, its full name.
 */

static ngx_uint_t
ngx_tailnet_rule_node(ngx_tailnet_rule_t *rule,
    ngx_tailnet_identity_t *identity, ngx_log_t *log)
{
    ngx_str_t  *name, *fqdn;

    name = &identity->peer[TN_SNAPSHOT_NAME];
    fqdn = &identity->peer[TN_SNAPSHOT_FQDN];

    if (fqdn->len == 0) {
        return 0;
    }

#if (NGX_PCRE)
    if (rule->regex) {
        return ngx_tailnet_rule_text(rule, fqdn, log);
    }
#endif

    if (rule->wildcard && rule->value.len == 1) {
        return 1;
    }

    if (ngx_strlchr(rule->value.data, rule->value.data + rule->value.len, '.'))
    {
        return ngx_tailnet_rule_text(rule, fqdn, log);
    }

    return ngx_strlchr(name->data, name->data + name->len, '.') == NULL
           && ngx_tailnet_rule_text(rule, name, log);
}


static ngx_uint_t
ngx_tailnet_rule_cap(ngx_tailnet_rule_t *rule, ngx_str_t *caps,
    ngx_log_t *log)
{
    u_char     *p, *last;
    ngx_str_t   name, value;

    if (caps->len == 0) {
        return 0;
    }

    p = caps->data + 1;
    last = caps->data + caps->len;

    while (ngx_tailnet_json_next(&p, last, &name, &value) == NGX_OK) {
        if (ngx_tailnet_rule_text(rule, &name, log)) {
            return 1;
        }
    }

    return 0;
}


static ngx_uint_t
ngx_tailnet_rule_text(ngx_tailnet_rule_t *rule, ngx_str_t *text,
    ngx_log_t *log)
{
#if (NGX_PCRE)
    ngx_int_t  n;

    if (rule->regex) {
        n = ngx_regex_exec(rule->regex, text, NULL, 0);

        if (n < NGX_REGEX_NO_MATCHED) {

            /* a rule that cannot be judged denies, and does not allow */

            ngx_log_error(NGX_LOG_ALERT, log, 0,
                          ngx_regex_exec_n " failed: %i on \"%V\" using "
                          "\"%V\"", n, text, &rule->value);
            return rule->deny;
        }

        return n != NGX_REGEX_NO_MATCHED;
    }
#endif

    if (rule->wildcard) {
        return ngx_tailnet_rule_wildcard(rule, text);
    }

    if (text->len != rule->value.len) {
        return 0;
    }

    return rule->caseless
           ? ngx_strncasecmp(text->data, rule->value.data, text->len) == 0
           : ngx_memcmp(text->data, rule->value.data, text->len) == 0;
}


/* "*" stands for any run of characters; on a mismatch the last one grows */

static ngx_uint_t
ngx_tailnet_rule_wildcard(ngx_tailnet_rule_t *rule, ngx_str_t *text)
{
    u_char      a, b;
    size_t      i, k, star, from;
    ngx_str_t  *pattern;

    pattern = &rule->value;
    i = 0;
    k = 0;
    star = pattern->len;
    from = 0;

    while (i < text->len) {

        if (k < pattern->len && pattern->data[k] == '*') {
            star = k++;
            from = i;
            continue;
        }

        if (k < pattern->len) {
            a = text->data[i];
            b = pattern->data[k];

            if (a == b
                || (rule->caseless && ngx_tolower(a) == ngx_tolower(b)))
            {
                i++;
                k++;
                continue;
            }
        }

        if (star == pattern->len) {
            return 0;
        }

        k = star + 1;
        i = ++from;
    }

    while (k < pattern->len && pattern->data[k] == '*') {
        k++;
    }

    return k == pattern->len;
}
