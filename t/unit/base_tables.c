
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Hash table, prefix table, timers and lists, each against a plain model
 * under many random operations.
 */

#include "base/tn_hash.h"
#include "base/tn_list.h"
#include "base/tn_table.h"
#include "base/tn_timer.h"
#include "base/tn_wide.h"
#include "tap.h"

#include <stdlib.h>


#define N  2000


static uint32_t
dice(uint32_t bound)
{
    static uint64_t  state = 1;

    state = state * 6364136223846793005u + 1442695040888963407u;

    return (uint32_t) ((state >> 33) % bound);
}


typedef struct {
    tn_hash_node_t  node;
    uint8_t         key[11];    /* no multiple of 8 */
    bool            in;
    bool            walked;
} element_t;


static void
test_hash(void)
{
    int               i, step, wrong;
    size_t            count;
    uint8_t           none[11] = { 0xff };
    tn_hash_t         hash;
    element_t        *e;
    tn_hash_node_t   *node, *next;

    static element_t  elements[N];

    tn_hash_init(&hash, 11);
    ok(tn_hash_find(&hash, none) == NULL, "nothing in an empty table");
    ok(tn_hash_next(&hash, NULL) == NULL, "nor on a walk over it");

    for (i = 0; i < N; i++) {
        memset(elements[i].key, 0, 11);
        memcpy(elements[i].key, &i, sizeof(i));
        elements[i].key[10] = (uint8_t) (i * 7);
        elements[i].node.key = elements[i].key;
    }

    wrong = 0;
    count = 0;

    for (step = 0; step < 100000; step++) {
        e = &elements[dice(N)];
        node = tn_hash_find(&hash, e->key);
        wrong += node != (e->in ? &e->node : NULL);

        if (e->in) {
            tn_hash_remove(&hash, &e->node);
            e->in = false;
            count--;

        } else {
            wrong += tn_hash_insert(&hash, &e->node) != TN_OK;
            e->in = true;
            count++;
        }

        wrong += hash.count != count;
    }

    is_int(wrong, 0, "100000 insertions, removals and look-ups");
    ok(count > N / 4, "on a table of %zu", count);

    for (node = tn_hash_next(&hash, NULL); node != NULL; node = next) {
        next = tn_hash_next(&hash, node);
        e = tn_container(node, element_t, node);
        wrong += !e->in || e->walked;
        e->walked = true;
        count--;

        if (dice(2)) {
            tn_hash_remove(&hash, node);
            e->in = false;
        }
    }

    is_int(wrong, 0, "a walk sees each element once");
    is_int((long long) count, 0, "and all of them, while half are removed");

    for (i = 0; i < N; i++) {
        wrong += (tn_hash_find(&hash, elements[i].key) != NULL)
                 != elements[i].in;
    }

    is_int(wrong, 0, "the others are still found");

    tn_hash_done(&hash);
    is_int((long long) hash.count, 0, "empty at the end");
}


static void
test_prefixes(void)
{
    int           i, j, n, step, wrong;
    void         *found, *want;
    tn_ip_t       ip;
    uint8_t       bytes[16];
    tn_table_t    table;
    tn_prefix_t   all[300];
    void         *values[300];

    tn_table_init(&table);
    n = 0;
    wrong = 0;

    for (step = 0; step < 20000; step++) {

        /* addresses of few bits, so that prefixes nest and meet */

        memset(bytes, 0, sizeof(bytes));
        bytes[0] = (uint8_t) dice(4);
        bytes[1] = (uint8_t) (dice(4) << 6);
        bytes[3] = (uint8_t) dice(2);

        ip = dice(2) ? tn_ip_from_v4(bytes) : tn_ip_from_v6(bytes);

        switch (dice(4)) {

        case 0:
            if (n == 300) {
                break;
            }

            all[n] = tn_prefix_of(&ip);
            all[n].bits = (uint8_t) dice(33);

            for (i = all[n].bits + (all[n].v4 ? 96 : 0); i < 128; i++) {
                all[n].ip.b[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
            }

            if (!all[n].v4 && tn_ip_is_v4(&all[n].ip)) {
                break;
            }

            values[n] = &values[dice(300)];
            wrong += tn_table_set(&table, &all[n], values[n]) != TN_OK;

            for (i = 0; i < n; i++) {
                if (all[i].v4 == all[n].v4 && all[i].bits == all[n].bits
                    && tn_ip_equal(&all[i].ip, &all[n].ip))
                {
                    values[i] = values[n];
                    n--;
                    break;
                }
            }

            n++;
            break;

        case 1:
            if (n == 0 || dice(3) == 0) {
                break;
            }

            i = (int) dice((uint32_t) n);
            wrong += tn_table_get(&table, &all[i]) != values[i];

            tn_table_remove(&table, &all[i], &all);
            wrong += tn_table_get(&table, &all[i]) != values[i];

            tn_table_remove(&table, &all[i], dice(2) ? values[i] : NULL);
            wrong += tn_table_get(&table, &all[i]) != NULL;

            n--;
            all[i] = all[n];
            values[i] = values[n];
            break;

        default:
            found = tn_table_find(&table, &ip);
            want = NULL;

            for (i = 0, j = -1; i < n; i++) {
                if (tn_prefix_contains(&all[i], &ip) && all[i].bits > j) {
                    j = all[i].bits;
                    want = values[i];
                }
            }

            wrong += found != want;
        }
    }

    is_int(wrong, 0, "longest match agrees with a search of all, 20000 steps");
    ok(n > 20, "on %d prefixes", n);

    tn_table_done(&table);
    (void) tn_ip_parse(&ip, "1.2.3.4", 7);
    ok(tn_table_find(&table, &ip) == NULL, "empty at the end");
}


typedef struct {
    tn_timer_t    timer;
    tn_timers_t  *timers;
    tn_ms_t       want;         /* when it should fire, or never */
    int           early;
    int           again;        /* how often its handler sets it to now */
} alarm_t;

static int      fired;
static tn_ms_t  last_at;
static int      unordered;


static void
on_alarm(void *data, tn_ms_t now)
{
    alarm_t  *alarm;

    alarm = data;
    fired++;
    alarm->early += now < alarm->want || tn_timer_is_set(&alarm->timer);
    unordered += alarm->want < last_at;
    last_at = alarm->want;
    alarm->want = TN_NEVER_MS;

    if (alarm->again > 0) {
        alarm->again--;
        alarm->want = now;
        (void) tn_timer_set(alarm->timers, &alarm->timer, now);
    }
}


static void
test_timers(void)
{
    int             i, step, wrong;
    tn_ms_t         now, first;
    alarm_t        *a;
    tn_timers_t     timers;

    static alarm_t  alarms[500];

    tn_timers_init(&timers);
    ok(tn_timers_next(&timers) == TN_NEVER_MS, "no timer, no deadline");
    tn_timers_run(&timers, 1000);

    for (i = 0; i < 500; i++) {
        tn_timer_init(&alarms[i].timer, on_alarm, &alarms[i]);
        alarms[i].timers = &timers;
        alarms[i].want = TN_NEVER_MS;
    }

    wrong = 0;

    for (step = 0, now = 1; step < 20000; step++) {
        a = &alarms[dice(500)];

        switch (dice(4)) {

        case 0:
            tn_timer_cancel(&timers, &a->timer);
            a->want = TN_NEVER_MS;
            break;

        case 1:
            now += dice(10);
            last_at = 0;
            tn_timers_run(&timers, now);
            break;

        default:
            a->want = now + 1 + dice(1000);
            wrong += tn_timer_set(&timers, &a->timer, a->want) != TN_OK;
        }

        if (step % 50 == 0) {
            for (i = 0, first = TN_NEVER_MS; i < 500; i++) {
                first = tn_min(first, alarms[i].want);
                wrong += tn_timer_is_set(&alarms[i].timer)
                         != (alarms[i].want != TN_NEVER_MS);
            }

            wrong += tn_timers_next(&timers) != first;
        }
    }

    is_int(wrong, 0, "the deadline is always the earliest");
    is_int(unordered, 0, "timers fire in order");
    ok(fired > 1000, "%d fired", fired);

    for (i = 0, wrong = 0; i < 500; i++) {
        wrong += alarms[i].early;
        tn_timer_cancel(&timers, &alarms[i].timer);
    }

    is_int(wrong, 0, "none fired early or was still set");

    /* a handler that sets its timer to now must not hold the loop */

    fired = 0;
    alarms[0].again = 1000000;
    alarms[0].want = now;
    (void) tn_timer_set(&timers, &alarms[0].timer, now);
    tn_timers_run(&timers, now);
    is_int(fired, 1, "a timer set to now by its handler waits for a call");
    tn_timers_run(&timers, now);
    is_int(fired, 2, "and fires in the next");

    tn_timers_done(&timers);
    ok(!tn_timer_is_set(&alarms[0].timer), "forgotten at the end");
}


static void
test_list(void)
{
    int         n;
    tn_link_t   head, links[5], *link, *tmp;

    tn_list_init(&head);
    ok(tn_list_empty(&head) && tn_list_shift(&head) == NULL, "empty");

    for (n = 0; n < 5; n++) {
        tn_list_push(&head, &links[n]);
    }

    n = 0;
    tn_list_each(link, &head) {
        n += link == &links[n];
    }

    is_int(n, 5, "in order of insertion");

    tn_list_remove(&links[2]);
    tn_list_remove(&links[2]);
    ok(tn_list_shift(&head) == &links[0] && tn_list_shift(&head) == &links[1]
       && head.next == &links[3], "removal, even twice");

    tn_list_each_safe(link, tmp, &head) {
        tn_list_remove(link);
    }

    ok(tn_list_empty(&head), "the body of a safe walk may remove");
}


/* by words of 32 bits and by what the compiler has, if it has them */
static void
test_wide(void)
{
    int        i, j, wrong;
    uint64_t   edge[] = { 0, 1, 0xffffffff, 0x100000000, 0x1ffffffff,
                          0xfffffffeffffffff, UINT64_MAX - 1, UINT64_MAX };
    uint64_t   a, b;
    tn_wide_t  x, y;

    is_int(tn_wide_fold_portable(3, 5), 15, "no high half");
    ok(tn_wide_fold_portable(UINT64_MAX, UINT64_MAX) == UINT64_MAX,
       "the largest product: 2^64 - 2, 1");
    ok(tn_wide_fold_portable(0x123456789abcdef0, 0xd6e8feb86659fd93)
       == 0x9ec210fe9d601dbb, "each word counts");

    for (i = 0, wrong = 0; i < 100000; i++) {
        a = edge[dice(tn_nelems(edge))];
        b = edge[dice(tn_nelems(edge))];

        if (i % 2) {
            a ^= (uint64_t) dice(UINT32_MAX) << 32 | dice(UINT32_MAX);
            b ^= (uint64_t) dice(UINT32_MAX) << 32 | dice(UINT32_MAX);
        }

        wrong += tn_wide_fold_portable(a, b) != tn_wide_fold(a, b);
    }

    is_int(wrong, 0, "halves of products, in both ways");

    for (i = 0, wrong = 0; i < 64; i++) {
        for (j = 0; j < 64; j++) {
            x = (tn_wide_t) { .hi = edge[i / 8], .lo = edge[i % 8] };
            y = (tn_wide_t) { .hi = edge[j / 8], .lo = edge[j % 8] };

            wrong += tn_wide_less(x, y) != (i < j);
            wrong += tn_wide_less_portable(x, y) != (i < j);
        }
    }

    is_int(wrong, 0, "order, in both ways");
}


int
main(void)
{
    test_hash();
    test_wide();
    test_prefixes();
    test_timers();
    test_list();

    return tap_done();
}
