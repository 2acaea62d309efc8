
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The ring between a thread and its helper, with both at work.  To be run
 * under -fsanitize=thread as well: TN_ITEMS=100000.
 */

#include "host/tn_helper.h"

#include "tap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <unistd.h>


#define POOL  TN_HELPER_SLOTS


typedef struct {
    unsigned  number;       /* written by the owner */
    unsigned  seen;         /* by the helper: how many it had before */
    unsigned  result;
} item_t;


static unsigned     worked;         /* the helper's own */
static atomic_bool  closed;         /* the helper waits while it is */
static item_t       items[POOL];


static void
work(void *data)
{
    item_t *item = data;

    while (atomic_load(&closed)) {
        (void) usleep(100);
    }

    item->seen = worked++;
    item->result = item->number * 3;
}


static void
test_order(unsigned n)
{
    item_t       *item;
    unsigned      i, given, taken, wrong, most;
    tn_helper_t  *helper;

    worked = 0;
    helper = tn_helper_create("tx-test", work);
    given = taken = wrong = most = 0;

    while (taken < n) {

        if (given < n && given - taken < POOL) {
            item = &items[given % POOL];
            item->number = given;

            if (!tn_helper_give(helper, item)) {
                wrong++;
                break;
            }

            given++;

        } else {
            tn_helper_wait(helper, given % POOL);
        }

        most = tn_max(most, tn_helper_waiting(helper));

        while ((item = tn_helper_take(helper)) != NULL) {
            wrong += item->number != taken || item->seen != taken
                     || item->result != taken * 3;
            taken++;
        }

        /* sometimes the helper falls asleep */

        if (given % 1000 == 0) {
            tn_helper_wait(helper, 0);
            (void) usleep(50);
        }
    }

    ok(wrong == 0, "%u items, each once and in order", n);
    ok(most > 0 && most <= POOL, "up to %u waited", most);
    ok(tn_helper_take(helper) == NULL, "nothing is left");

    for (i = 0; i < 200; i++) {
        item = &items[0];
        item->number = 7;
        (void) tn_helper_give(helper, item);
        tn_helper_wait(helper, 0);
        wrong += tn_helper_take(helper) != item;
    }

    is_int((long long) wrong, 0, "one at a time, too");

    tn_helper_destroy(helper);
}


static void
test_full(void)
{
    unsigned           i, given;
    tn_helper_t       *helper;
    tn_helper_times_t  times;

    worked = 0;
    atomic_store(&closed, true);
    helper = tn_helper_create("tx-test", work);
    given = 0;

    for (i = 0; i < POOL + 3; i++) {
        given += tn_helper_give(helper, &items[i % POOL]);
    }

    is_int((long long) given, TN_HELPER_SLOTS, "a full ring takes no more");
    is_int((long long) tn_helper_waiting(helper), TN_HELPER_SLOTS,
           "all wait");
    ok(tn_helper_take(helper) == NULL, "none is done");

    atomic_store(&closed, false);
    tn_helper_wait(helper, 0);

    ok(!tn_helper_give(helper, &items[0]), "full until they are taken");
    ok(tn_helper_take(helper) == &items[0]
       && tn_helper_give(helper, &items[0]), "one taken, one given");

    tn_helper_times(helper, &times);
    ok(times.awake > 0 && times.cpu > 0, "it knows its times: %llu of %llu us",
       (unsigned long long) times.cpu, (unsigned long long) times.awake);

    tn_helper_destroy(helper);
    is_int((long long) worked, TN_HELPER_SLOTS + 1, "and worked it all off");
}


static void *
open_later(void *arg)
{
    (void) arg;
    (void) usleep(20000);
    atomic_store(&closed, false);

    return NULL;
}


static void
test_end(void)
{
    unsigned      i;
    pthread_t     thread;
    tn_helper_t  *helper;

    worked = 0;
    atomic_store(&closed, true);
    helper = tn_helper_create("tx-test", work);

    for (i = 0; i < 5; i++) {
        (void) tn_helper_give(helper, &items[i]);
    }

    (void) pthread_create(&thread, NULL, open_later, NULL);
    tn_helper_destroy(helper);
    (void) pthread_join(thread, NULL);

    is_int((long long) worked, 5, "an end while items wait: they are done");

    helper = tn_helper_create("tx-test", work);
    tn_helper_destroy(helper);
    ok(true, "one that never had any");
}


int
main(void)
{
    const char  *n;

    n = getenv("TN_ITEMS");

    test_order(n ? (unsigned) atoi(n) : 20000);
    test_full();
    test_end();

    return tap_done();
}
