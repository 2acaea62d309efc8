
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The choice between two addresses: upstream's answers to 400 random pairs,
 * and the rules by name.
 */

#include "tap.h"

#include "path/tn_quality.h"


typedef struct {
    const char    *addr;
    uint32_t       vni;
    uint32_t       latency_ms;
    uint32_t       mtu;
} quality_t;

typedef struct {
    quality_t      a;
    quality_t      b;
    bool           better;
} quality_case_t;

typedef struct {
    quality_case_t test;
    const char    *name;
} quality_rule_t;

#include "../vectors/path/better.h"


static const quality_rule_t  rules[] = {
    { { { "192.0.2.1:1", 0, 10, 0 }, { "", 0, 0, 0 }, true },
      "any address is better than none" },
    { { { "", 0, 0, 0 }, { "192.0.2.1:1", 0, 10, 0 }, false },
      "none is better than no address" },
    { { { "192.0.2.1:1", 0, 10, 8980 }, { "192.0.2.1:1", 0, 1, 1360 }, true },
      "the same address with more MTU" },
    { { { "192.0.2.1:1", 0, 1, 1360 }, { "192.0.2.1:1", 0, 10, 1360 }, false },
      "the same address with the same MTU" },
    { { { "192.0.2.1:1", 0, 300, 0 }, { "192.0.2.9:1", 7, 1, 0 }, true },
      "direct before a relay" },
    { { { "192.0.2.1:1", 0, 99, 0 }, { "192.0.2.9:1", 0, 100, 0 }, false },
      "a percent faster moves nothing" },
    { { { "192.0.2.1:1", 0, 98, 0 }, { "192.0.2.9:1", 0, 100, 0 }, true },
      "two percent do" },
    { { { "10.0.0.1:1", 0, 10, 0 }, { "192.0.2.9:1", 0, 10, 0 }, true },
      "private before public at the same latency" },
    { { { "10.0.0.1:1", 0, 20, 0 }, { "192.0.2.9:1", 0, 10, 0 }, false },
      "but not at twice the latency" },
    { { { "[2001:db8::1]:1", 0, 10, 0 }, { "192.0.2.9:1", 0, 10, 0 }, true },
      "IPv6 before IPv4 at the same latency" },
    { { { "127.0.0.1:1", 0, 1, 0 }, { "10.0.0.1:1", 0, 1, 0 }, true },
      "loopback before private" }
};


static bool
answer(const quality_case_t *test)
{
    tn_quality_t  q[2];

    memset(q, 0, sizeof(q));

    (void) tn_addr_parse(&q[0].addr, test->a.addr, strlen(test->a.addr));
    (void) tn_addr_parse(&q[1].addr, test->b.addr, strlen(test->b.addr));

    q[0].vni = test->a.vni;
    q[0].latency_us = test->a.latency_ms * 1000;
    q[0].mtu = test->a.mtu;
    q[1].vni = test->b.vni;
    q[1].latency_us = test->b.latency_ms * 1000;
    q[1].mtu = test->b.mtu;

    return tn_quality_better(&q[0], &q[1]);
}


int
main(void)
{
    size_t                 i, bad;
    const quality_case_t  *test;

    for (i = 0; i < tn_nelems(rules); i++) {
        ok(answer(&rules[i].test) == rules[i].test.better, "%s",
           rules[i].name);
    }

    for (i = 0, bad = 0; i < tn_nelems(quality_cases); i++) {
        test = &quality_cases[i];

        if (answer(test) != test->better) {
            bad++;
            printf("# %s vni %u, %u ms, %u against %s vni %u, %u ms, %u\n",
                   test->a.addr, test->a.vni, test->a.latency_ms, test->a.mtu,
                   test->b.addr, test->b.vni, test->b.latency_ms,
                   test->b.mtu);
        }
    }

    is_int((long long) bad, 0, "400 random pairs as upstream decides them");
    is_int((long long) i, 400, "all of them");

    return tap_done();
}
