
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzzes rules and the filter: lines of text until an empty one are entries
 * of rules, the rest is packets behind their length in one byte.  What is
 * accepted by rule is allowed by a rule that was there, by a plain look at
 * the rules as they came.
 */

#include <stdlib.h>

#include "filter/tn_filter.h"


#define LINES_MAX  64


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static bool
plain_match(const tn_rules_t *rules, const tn_packet_t *p)
{
    size_t                i, j, k;
    const tn_rule_t      *rule;
    const tn_rule_dst_t  *dst;

    for (i = 0; i < rules->n; i++) {
        rule = rules->rule[i];

        if (!tn_rule_has_proto(rule, p->proto)
            && p->proto != TN_PROTO_ICMP
            && p->proto != TN_PROTO_ICMP6)
        {
            continue;
        }

        for (j = 0; j < rule->nsrcs; j++) {

            if (rule->srcs[j].kind != TN_RULE_CAP
                && !tn_rule_addrs_contain(&rule->srcs[j], &p->src))
            {
                continue;
            }

            for (k = 0; k < rule->ndsts; k++) {
                dst = &rule->dsts[k];

                if (tn_rule_addrs_contain(&dst->addrs, &p->dst)
                    && (p->dst_port == 0
                        || (p->dst_port >= dst->first
                            && p->dst_port <= dst->last)))
                {
                    return true;
                }
            }
        }
    }

    return false;
}


/* "s TEXT", "d TEXT" with two ports in its first bytes, "p" and a byte, "r" */
static void
add_line(tn_rules_t *rules, const uint8_t *line, size_t len)
{
    tn_rule_t        *rule;
    const char       *text;
    tn_rule_grant_t  *grant;

    if (rules->n == 0 || (len > 0 && line[0] == 'r')) {
        rule = tn_rule_create();

        if (tn_rules_append(rules, rule) != TN_OK) {
            tn_rule_free(rule);
            return;
        }
    }

    rule = rules->rule[rules->n - 1];
    text = (const char *) line;

    if (len > 1 && line[0] == 's') {
        (void) tn_rule_add_src(rule, text + 1, len - 1);

    } else if (len > 3 && line[0] == 'd') {
        (void) tn_rule_add_dst(rule, text + 3, len - 3, line[1],
                               line[2] == '~' ? 65535 : line[2]);

    } else if (len > 1 && line[0] == 'p') {
        tn_rule_add_proto(rule, line[1]);

    } else if (len > 1 && line[0] == 'g') {
        grant = tn_rule_add_grant(rule);
        (void) tn_rule_grant_add_dst(grant, text + 1, len - 1);
        (void) tn_rule_grant_add_cap(grant, text + 1, len - 1, "[]", 2);
    }
}


static void
found(void *data, const char *name, const char *json)
{
    (void) json;

    *(size_t *) data += strlen(name);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int                  lines;
    size_t               len, names;
    tn_rules_t           rules, copy;
    tn_packet_t          p;
    tn_filter_t         *filter;
    tn_prefix_t          local[2];
    const uint8_t       *pos, *end, *nl;
    tn_filter_verdict_t  verdict;

    pos = data;
    end = data + size;

    tn_rules_init(&rules);
    tn_rules_init(&copy);

    for (lines = 0; lines < LINES_MAX && pos < end; lines++) {
        nl = memchr(pos, '\n', (size_t) (end - pos));
        nl = nl ? nl : end;

        if (nl == pos) {
            pos++;
            break;
        }

        add_line(&rules, pos, (size_t) (nl - pos));
        pos = nl < end ? nl + 1 : end;
    }

    (void) tn_rules_copy(&copy, &rules);

    (void) tn_prefix_parse(&local[0], "100.64.0.0/10", 13);
    (void) tn_prefix_parse(&local[1], "fd7a:115c:a1e0::/48", 19);

    filter = tn_filter_create();
    (void) tn_filter_set_local(filter, local, 2);
    tn_filter_set_rules(filter, tn_filter_compile(&copy));

    while (end - pos > 1) {
        len = *pos++;
        len = tn_min(len, (size_t) (end - pos));

        if (tn_packet_parse(&p, pos, len) == TN_OK) {
            verdict = tn_filter_in(filter, &p, ~0ull, false, 1);

            if (verdict == TN_FILTER_OK_RULE && !plain_match(&rules, &p)) {
                abort();
            }

            if (tn_filter_accepts(verdict)
                && !tn_prefix_contains(&local[p.version == 6], &p.dst))
            {
                abort();
            }

            names = 0;
            tn_rules_caps(&rules, &p.src, &p.dst, found, &names);
            (void) tn_filter_reject(&p, verdict);
            (void) tn_filter_out(filter, &p, 1);
        }

        pos += len;
    }

    tn_filter_destroy(filter);
    tn_rules_done(&rules);
    tn_rules_done(&copy);

    return 0;
}
