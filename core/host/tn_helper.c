
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Three counters that only grow go round the ring: `given` is written by the
 * owner, `done` by the helper, `taken` is the owner's own.  What a slot holds
 * is passed on by the release of a counter and the acquire of the other side.
 *
 * The lock is for going to sleep alone.  Who is about to sleep says so, then
 * looks at the counter once more; who moves a counter looks whether the other
 * said so.  Both pairs are sequentially consistent, so one of the two sees the
 * other, and a wake-up costs nothing while nobody sleeps.
 */

#include "host/tn_helper.h"

#include "host/tn_loop.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>


#define TN_HELPER_LINE  64          /* of the cache */


struct tn_helper_s {
    void              *slots[TN_HELPER_SLOTS];
    void             (*work)(void *item);
    unsigned           taken;
    uint64_t           born;        /* us */
    pthread_t          thread;
    clockid_t          cpu;
    char               name[16];

    _Alignas(TN_HELPER_LINE)
    atomic_uint        given;
    atomic_bool        stopping;
    atomic_bool        waited;      /* the owner sleeps, or is about to */

    _Alignas(TN_HELPER_LINE)
    atomic_uint        done;
    atomic_bool        asleep;      /* the helper does, or is about to */

    pthread_mutex_t    lock;
    uint64_t           slept;       /* us until `since`; under the lock */
    uint64_t           since;       /* asleep since, us; 0: is not; too */
    pthread_cond_t     more;
    pthread_cond_t     less;
};


static void *tn_helper_thread(void *arg);
static bool tn_helper_sleep(tn_helper_t *helper, unsigned done);
static void tn_helper_wake(tn_helper_t *helper, pthread_cond_t *cond);


tn_helper_t *
tn_helper_create(const char *name, void (*work)(void *item))
{
    tn_helper_t  *helper;

    helper = aligned_alloc(TN_HELPER_LINE, sizeof(tn_helper_t));
    if (helper == NULL) {
        return NULL;
    }

    memset(helper, 0, sizeof(tn_helper_t));
    helper->work = work;
    helper->born = tn_loop_mono_us();
    (void) snprintf(helper->name, sizeof(helper->name), "%s", name);

    if (pthread_mutex_init(&helper->lock, NULL) != 0) {
        free(helper);
        return NULL;
    }

    if (pthread_cond_init(&helper->more, NULL) != 0) {
        goto failed_more;
    }

    if (pthread_cond_init(&helper->less, NULL) != 0) {
        goto failed_less;
    }

    if (pthread_create(&helper->thread, NULL, tn_helper_thread, helper) != 0) {
        goto failed;
    }

    if (pthread_getcpuclockid(helper->thread, &helper->cpu) != 0) {
        helper->cpu = CLOCK_MONOTONIC;
    }

    return helper;

failed:

    (void) pthread_cond_destroy(&helper->less);

failed_less:

    (void) pthread_cond_destroy(&helper->more);

failed_more:

    (void) pthread_mutex_destroy(&helper->lock);
    free(helper);

    return NULL;
}


void
tn_helper_destroy(tn_helper_t *helper)
{
    if (helper == NULL) {
        return;
    }

    atomic_store(&helper->stopping, true);
    tn_helper_wake(helper, &helper->more);
    (void) pthread_join(helper->thread, NULL);

    (void) pthread_cond_destroy(&helper->less);
    (void) pthread_cond_destroy(&helper->more);
    (void) pthread_mutex_destroy(&helper->lock);
    free(helper);
}


static void *
tn_helper_thread(void *arg)
{
    tn_helper_t *helper = arg;

    unsigned  done;

    (void) pthread_setname_np(pthread_self(), helper->name);

    done = 0;

    for ( ;; ) {

        if (atomic_load_explicit(&helper->given, memory_order_acquire)
            == done)
        {
            if (!tn_helper_sleep(helper, done)) {
                break;
            }

            continue;
        }

        helper->work(helper->slots[done++ % TN_HELPER_SLOTS]);

        atomic_store(&helper->done, done);

        if (atomic_load(&helper->waited)) {
            tn_helper_wake(helper, &helper->less);
        }
    }

    return NULL;
}


/* false: it is time to end */

static bool
tn_helper_sleep(tn_helper_t *helper, unsigned done)
{
    bool      stopping;
    uint64_t  since;

    since = tn_loop_mono_us();

    (void) pthread_mutex_lock(&helper->lock);
    helper->since = since;
    atomic_store(&helper->asleep, true);

    for ( ;; ) {
        stopping = atomic_load(&helper->stopping);

        if (stopping || atomic_load(&helper->given) != done) {
            break;
        }

        (void) pthread_cond_wait(&helper->more, &helper->lock);
    }

    atomic_store(&helper->asleep, false);
    helper->slept += tn_loop_mono_us() - since;
    helper->since = 0;
    (void) pthread_mutex_unlock(&helper->lock);

    return !stopping || atomic_load(&helper->given) != done;
}


static void
tn_helper_wake(tn_helper_t *helper, pthread_cond_t *cond)
{
    (void) pthread_mutex_lock(&helper->lock);
    (void) pthread_cond_signal(cond);
    (void) pthread_mutex_unlock(&helper->lock);
}


bool
tn_helper_give(tn_helper_t *helper, void *item)
{
    unsigned  given;

    given = atomic_load_explicit(&helper->given, memory_order_relaxed);

    if (given - helper->taken == TN_HELPER_SLOTS) {
        return false;
    }

    helper->slots[given % TN_HELPER_SLOTS] = item;

    atomic_store(&helper->given, given + 1);

    if (atomic_load(&helper->asleep)) {
        tn_helper_wake(helper, &helper->more);
    }

    return true;
}


void *
tn_helper_take(tn_helper_t *helper)
{
    if (atomic_load_explicit(&helper->done, memory_order_acquire)
        == helper->taken)
    {
        return NULL;
    }

    return helper->slots[helper->taken++ % TN_HELPER_SLOTS];
}


unsigned
tn_helper_waiting(const tn_helper_t *helper)
{
    return atomic_load_explicit(&helper->given, memory_order_relaxed)
           - atomic_load_explicit(&helper->done, memory_order_acquire);
}


void
tn_helper_wait(tn_helper_t *helper, unsigned n)
{
    unsigned  given;

    if (tn_helper_waiting(helper) <= n) {
        return;
    }

    given = atomic_load_explicit(&helper->given, memory_order_relaxed);

    (void) pthread_mutex_lock(&helper->lock);
    atomic_store(&helper->waited, true);

    while (given - atomic_load(&helper->done) > n) {
        (void) pthread_cond_wait(&helper->less, &helper->lock);
    }

    atomic_store(&helper->waited, false);
    (void) pthread_mutex_unlock(&helper->lock);
}


void
tn_helper_times(tn_helper_t *helper, tn_helper_times_t *times)
{
    uint64_t  now, since;

    times->cpu = tn_loop_clock_us(helper->cpu);

    (void) pthread_mutex_lock(&helper->lock);
    now = tn_loop_mono_us();
    since = helper->since;
    times->awake = now - helper->born - helper->slept;
    (void) pthread_mutex_unlock(&helper->lock);

    if (since != 0 && now > since) {
        times->awake -= tn_min(times->awake, now - since);
    }
}
