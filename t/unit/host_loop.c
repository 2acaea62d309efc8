
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The loop: timers, watches that handlers remove, deferred calls, and posts
 * from other threads.
 */

#include "host/tn_loop.h"

#include "tap.h"

#include <pthread.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>


#define THREADS  4
#define POSTS    5000


typedef struct {
    tn_loop_t   loop;
    pthread_t   thread;
    unsigned    next[THREADS];      /* number each sender must post next */
    unsigned    disorder;
    unsigned    total;
} receiver_t;

typedef struct {
    receiver_t *receiver;
    unsigned    id;
    tn_rc_t     rc;
} sender_t;

typedef struct {
    receiver_t *receiver;
    unsigned    id;
    unsigned    number;
} message_t;

typedef struct {
    tn_loop_t  *loop;
    tn_watch_t  watches[2];
    int         calls;
} pair_t;

typedef struct {
    tn_loop_t  *loop;
    tn_defer_t  defer;
    tn_defer_t  second;
    tn_timer_t  timer;
    char        order[32];
} order_t;


static void
count(void *data, tn_ms_t now)
{
    (void) now;

    (*(int *) data)++;
}


static void
test_timers(void)
{
    int         first, second;
    tn_ms_t     start;
    tn_loop_t   loop;
    tn_timer_t  a, b;

    first = 0;
    second = 0;

    ok(tn_loop_init(&loop) == TN_OK, "a loop starts");

    tn_timer_init(&a, count, &first);
    tn_timer_init(&b, count, &second);
    start = tn_loop_clock_ms();

    (void) tn_timer_set(&loop.timers, &a, start + 30);
    (void) tn_timer_set(&loop.timers, &b, start + 60 * 1000);

    while (first == 0 && tn_loop_clock_ms() < start + 5000) {
        (void) tn_loop_turn(&loop, TN_NEVER_MS);
    }

    ok(tn_loop_clock_ms() >= start + 30, "a timer does not fire early");
    ok(tn_loop_clock_ms() < start + 2000, "nor much too late");
    is_int(first, 1, "and once");
    is_int(second, 0, "the other one waits");

    start = tn_loop_clock_ms();
    (void) tn_loop_turn(&loop, 20);
    ok(tn_loop_clock_ms() >= start + 19, "a turn waits as long as it may");

    start = tn_loop_clock_ms();
    (void) tn_loop_turn(&loop, 0);
    ok(tn_loop_clock_ms() < start + 1000, "or not at all");

    ok(tn_loop_wall_ns() / 1000000000 > 1600000000, "wall clock");

    tn_loop_done(&loop);
}


/* whichever is called first removes both and closes the other's descriptor */

static void
remove_both(tn_watch_t *watch, uint32_t events)
{
    int      i;
    pair_t  *pair;

    (void) events;

    pair = watch->data;
    pair->calls++;

    for (i = 0; i < 2; i++) {
        tn_loop_unwatch(pair->loop, &pair->watches[i]);
    }
}


static void
drain(tn_watch_t *watch, uint32_t events)
{
    char     buf[16];
    pair_t  *pair;

    (void) events;

    pair = watch->data;
    pair->calls++;

    (void) !read(watch->fd, buf, sizeof(buf));
}


static void
test_watches(void)
{
    int        i, fds[2][2];
    pair_t     pair;
    tn_loop_t  loop;

    memset(&pair, 0, sizeof(pair_t));
    pair.loop = &loop;

    (void) tn_loop_init(&loop);

    for (i = 0; i < 2; i++) {
        (void) socketpair(AF_UNIX, SOCK_STREAM, 0, fds[i]);
        (void) !write(fds[i][1], "x", 1);

        pair.watches[i].fd = fds[i][0];
        pair.watches[i].events = TN_LOOP_READ;
        pair.watches[i].handler = remove_both;
        pair.watches[i].data = &pair;

        (void) tn_loop_watch(&loop, &pair.watches[i]);
    }

    (void) tn_loop_turn(&loop, 1000);
    (void) tn_loop_turn(&loop, 10);

    is_int(pair.calls, 1, "a watch removed in this turn is not called");

    /* level-triggered, and changed by a second tn_loop_watch() */

    pair.calls = 0;
    pair.watches[0].handler = drain;
    pair.watches[0].events = TN_LOOP_WRITE;
    (void) tn_loop_watch(&loop, &pair.watches[0]);
    (void) tn_loop_turn(&loop, 1000);
    is_int(pair.calls, 1, "write readiness is told");

    pair.calls = 0;
    pair.watches[0].events = TN_LOOP_READ;
    (void) tn_loop_watch(&loop, &pair.watches[0]);
    (void) tn_loop_turn(&loop, 10);
    is_int(pair.calls, 0, "nothing to read, nothing is told");

    pair.watches[0].events = 0;
    (void) tn_loop_watch(&loop, &pair.watches[0]);
    (void) close(fds[0][1]);
    (void) tn_loop_turn(&loop, 10);
    is_int(pair.calls, 0, "no events wanted: not even the end is told");

    pair.watches[0].events = TN_LOOP_READ;
    (void) tn_loop_watch(&loop, &pair.watches[0]);
    (void) tn_loop_turn(&loop, 1000);
    is_int(pair.calls, 1, "the end of the stream is told");

    pair.watches[1].fd = -1;
    pair.watches[1].events = TN_LOOP_READ;
    ok(tn_loop_watch(&loop, &pair.watches[1]) == TN_ERROR,
       "a bad descriptor is refused");

    tn_loop_unwatch(&loop, &pair.watches[0]);
    (void) close(fds[0][0]);
    (void) close(fds[1][0]);
    (void) close(fds[1][1]);
    tn_loop_done(&loop);
}


static void
deferred_second(void *data)
{
    order_t  *order;

    order = data;
    strcat(order->order, "2");
}


static void
deferred_first(void *data)
{
    order_t  *order;

    order = data;
    strcat(order->order, "1");
    tn_loop_defer(order->loop, &order->second);
}


static void
timer_first(void *data, tn_ms_t now)
{
    order_t  *order;

    (void) now;

    order = data;
    strcat(order->order, "t");
    tn_loop_defer(order->loop, &order->defer);
    tn_loop_defer(order->loop, &order->defer);
}


static void
test_defer(void)
{
    order_t    order;
    tn_loop_t  loop;

    memset(&order, 0, sizeof(order_t));
    order.loop = &loop;

    (void) tn_loop_init(&loop);

    tn_defer_init(&order.defer, deferred_first, &order);
    tn_defer_init(&order.second, deferred_second, &order);
    tn_timer_init(&order.timer, timer_first, &order);
    (void) tn_timer_set(&loop.timers, &order.timer, loop.now);

    (void) tn_loop_turn(&loop, 1000);
    is_str(order.order, "t12", "deferred calls run once, after the timers");

    tn_loop_defer(&loop, &order.second);
    tn_loop_undefer(&order.second);
    (void) tn_loop_turn(&loop, 0);
    is_str(order.order, "t12", "one taken back does not run");

    tn_loop_defer(&loop, &order.second);
    (void) tn_loop_turn(&loop, TN_NEVER_MS);
    is_str(order.order, "t122", "the loop does not wait with one pending");

    tn_loop_done(&loop);
}


static void
take(void *data)
{
    message_t  *message;
    receiver_t *receiver;

    message = data;
    receiver = message->receiver;

    if (message->number != receiver->next[message->id]++) {
        receiver->disorder++;
    }

    receiver->total++;
    free(message);
}


static void *
send_posts(void *data)
{
    unsigned    i;
    sender_t   *sender;
    message_t  *message;

    sender = data;

    for (i = 0; i < POSTS; i++) {
        message = malloc(sizeof(message_t));
        if (message == NULL) {
            abort();
        }

        message->receiver = sender->receiver;
        message->id = sender->id;
        message->number = i;

        sender->rc = tn_loop_post(&sender->receiver->loop, take, message);

        if (sender->rc != TN_OK) {
            free(message);
            break;
        }
    }

    return NULL;
}


static void *
run_loop(void *data)
{
    return tn_loop_run(data) == TN_OK ? data : NULL;
}


static void
stop_loop(void *data)
{
    tn_loop_stop(data);
}


static void
test_posts(void)
{
    int         i, failed;
    void       *result;
    int         called;
    sender_t    senders[THREADS];
    pthread_t   threads[THREADS];
    receiver_t  receiver;
    tn_post_t   item;

    memset(&receiver, 0, sizeof(receiver_t));
    memset(&item, 0, sizeof(tn_post_t));

    (void) tn_loop_init(&receiver.loop);
    (void) pthread_create(&receiver.thread, NULL, run_loop, &receiver.loop);

    for (i = 0; i < THREADS; i++) {
        senders[i].receiver = &receiver;
        senders[i].id = (unsigned) i;
        (void) pthread_create(&threads[i], NULL, send_posts, &senders[i]);
    }

    failed = 0;

    for (i = 0; i < THREADS; i++) {
        (void) pthread_join(threads[i], NULL);
        failed += senders[i].rc != TN_OK;
    }

    is_int(failed, 0, "all posts are taken");

    /* an item of ours, behind all others, ends the loop */
    item.fn = stop_loop;
    item.data = &receiver.loop;
    ok(tn_loop_post_item(&receiver.loop, &item) == TN_OK, "a post item");

    (void) pthread_join(receiver.thread, &result);

    ok(result != NULL, "the loop stops");
    is_int(receiver.total, THREADS * POSTS, "all posts were delivered");
    is_int(receiver.disorder, 0, "in each sender's order");

    called = 0;
    ok(tn_loop_post(&receiver.loop, stop_loop, &called) == TN_CLOSED,
       "a loop that has ended takes none");

    tn_loop_done(&receiver.loop);

    /* stop from another thread while it waits */

    (void) tn_loop_init(&receiver.loop);
    (void) pthread_create(&receiver.thread, NULL, run_loop, &receiver.loop);
    (void) usleep(20000);
    tn_loop_stop(&receiver.loop);
    (void) pthread_join(receiver.thread, &result);
    ok(result != NULL, "stopped while it waits");
    tn_loop_done(&receiver.loop);

    /* not delivered, not leaked */

    (void) tn_loop_init(&receiver.loop);
    (void) tn_loop_post(&receiver.loop, stop_loop, &receiver.loop);
    tn_loop_done(&receiver.loop);
}


int
main(void)
{
    test_timers();
    test_watches();
    test_defer();
    test_posts();

    return tap_done();
}
