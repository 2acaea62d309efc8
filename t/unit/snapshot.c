
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The netmap's snapshot: against a plain model under random changes, with a
 * reader beside the writer, at its limits, and of the size that is promised.
 */

#include "node/tn_snapshot.h"

#include "base/tn_table.h"
#include "tap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <time.h>


#define SIZE   (16 * 1024 * 1024)
#define PEERS  10000
#define MODEL  300


static _Alignas(64) uint8_t  mem[SIZE];
static uint8_t               buf[TN_SNAPSHOT_RECORD_MAX];
static atomic_bool           stop;


static uint32_t
dice(uint32_t bound)
{
    static uint64_t  state = 1;

    state = state * 6364136223846793005u + 1442695040888963407u;

    return (uint32_t) ((state >> 33) % bound);
}


static tn_prefix_t
own(uint32_t n)
{
    uint8_t  b[4] = { 100, (uint8_t) (64 + (n >> 16)), (uint8_t) (n >> 8),
                      (uint8_t) n };
    tn_ip_t  ip;

    ip = tn_ip_from_v4(b);

    return tn_prefix_of(&ip);
}


static tn_rc_t
put(tn_snapshot_writer_t *writer, int64_t id, const char *name,
    const tn_prefix_t *prefixes, size_t n)
{
    size_t              i;
    tn_snapshot_peer_t  peer;

    memset(&peer, 0, sizeof(peer));
    peer.id = id;

    for (i = 0; i < TN_SNAPSHOT_NFIELDS; i++) {
        peer.field[i].data = (const uint8_t *) name;
        peer.field[i].len = strlen(name);
    }

    return tn_snapshot_put(writer, &peer, prefixes, n);
}


static void
test_simple(void)
{
    uint64_t               generation;
    tn_ip_t                ip;
    tn_prefix_t            p[3];
    tn_snapshot_t          snap;
    tn_snapshot_peer_t     peer;
    tn_snapshot_writer_t  *writer;

    writer = tn_snapshot_create(mem, SIZE, 7);
    is_int(tn_snapshot_open(&snap, mem, SIZE), TN_OK, "open");
    is_int(tn_snapshot_open(&snap, mem, SIZE - 64), TN_MALFORMED,
           "another size is refused");
    (void) tn_snapshot_open(&snap, mem, SIZE);

    p[0] = own(1);
    (void) tn_prefix_parse(&p[1], "10.0.0.0/8", 10);
    (void) tn_prefix_parse(&p[2], "fd7a::/16", 9);
    is_int(tn_snapshot_find(&snap, &p[0].ip, &peer, buf), TN_NOTFOUND,
           "nobody yet");

    generation = tn_snapshot_generation(&snap);
    is_int(put(writer, 5, "alice", p, 3), TN_OK, "put");
    ok(tn_snapshot_generation(&snap) > generation, "a new generation");

    is_int(tn_snapshot_find(&snap, &p[0].ip, &peer, buf), TN_OK, "found");
    is_int(peer.id, 5, "its id");
    ok(peer.field[TN_SNAPSHOT_PATH].len == 5
       && memcmp(peer.field[TN_SNAPSHOT_PATH].data, "alice", 5) == 0,
       "its last field");

    (void) tn_ip_parse(&ip, "10.1.2.3", 8);
    is_int(tn_snapshot_find(&snap, &ip, &peer, buf), TN_OK, "by a route");
    (void) tn_ip_parse(&ip, "fd7a::9", 7);
    is_int(tn_snapshot_find(&snap, &ip, &peer, buf), TN_OK, "by an IPv6 one");

    (void) tn_prefix_parse(&p[1], "10.1.0.0/16", 11);
    (void) put(writer, 6, "bob", &p[1], 1);
    (void) tn_ip_parse(&ip, "10.1.2.3", 8);
    (void) tn_snapshot_find(&snap, &ip, &peer, buf);
    is_int(peer.id, 6, "the longest prefix wins");

    (void) put(writer, 7, "carol", &p[0], 1);
    tn_snapshot_remove(writer, 5);
    (void) tn_snapshot_find(&snap, &p[0].ip, &peer, buf);
    is_int(peer.id, 7, "an address that moved stays with its new peer");

    generation = tn_snapshot_generation(&snap);
    tn_snapshot_destroy(writer);
    is_int(tn_snapshot_find(&snap, &p[0].ip, &peer, buf), TN_OK,
           "it outlives its writer");

    ((uint64_t *) mem)[2] |= 1;
    is_int(tn_snapshot_find(&snap, &p[0].ip, &peer, buf), TN_AGAIN,
           "one that died in the middle is noticed");

    writer = tn_snapshot_create(mem, SIZE, 8);
    ok(tn_snapshot_generation(&snap) > generation, "the next one goes on");
    is_int(tn_snapshot_find(&snap, &p[0].ip, &peer, buf), TN_NOTFOUND,
           "from nothing");
    tn_snapshot_destroy(writer);
}


static void
test_model(void)
{
    int                    step, wrong;
    uint32_t               n, at, i;
    int64_t                has[MODEL] = { 0 };
    tn_prefix_t            p;
    tn_snapshot_t          snap;
    tn_snapshot_peer_t     peer;
    tn_snapshot_writer_t  *writer;

    /* few slots, so that they collide */

    writer = tn_snapshot_create(mem, 256 * 1024, 1);
    (void) tn_snapshot_open(&snap, mem, 256 * 1024);
    wrong = 0;

    for (step = 0; step < 100000; step++) {
        n = dice(MODEL);
        at = dice(MODEL);
        p = own(at);

        for (i = 0; i < MODEL; i++) {
            if (has[i] == (int64_t) n + 1) {
                has[i] = 0;
            }
        }

        if (dice(3) == 0) {
            tn_snapshot_remove(writer, n + 1);

        } else {
            wrong += put(writer, n + 1, "x", &p, 1) != TN_OK;
            has[at] = n + 1;
        }

        at = dice(MODEL);
        p = own(at);
        peer.id = 0;
        (void) tn_snapshot_find(&snap, &p.ip, &peer, buf);
        wrong += peer.id != has[at];
    }

    is_int(wrong, 0, "as the model under random changes");
    tn_snapshot_destroy(writer);
}


static void *
reader(void *data)
{
    long                 wrong, seen;
    size_t               i;
    tn_rc_t              rc;
    tn_prefix_t          p;
    tn_snapshot_t        snap;
    tn_snapshot_peer_t   peer;
    long                *result = data;

    static uint8_t       copy[TN_SNAPSHOT_RECORD_MAX];

    (void) tn_snapshot_open(&snap, mem, SIZE);
    p = own(1);
    wrong = 0;
    seen = 0;

    while (!stop) {
        rc = tn_snapshot_find(&snap, &p.ip, &peer, copy);

        if (rc != TN_OK) {
            wrong += seen != 0 && rc != TN_AGAIN;
            continue;
        }

        seen++;

        for (i = 0; i < peer.field[TN_SNAPSHOT_CAPS].len; i++) {
            wrong += peer.field[TN_SNAPSHOT_CAPS].data[i]
                     != peer.field[TN_SNAPSHOT_NAME].data[0];
        }
    }

    result[0] = wrong;
    result[1] = seen;

    return NULL;
}


static void
test_beside(void)
{
    int                    i;
    long                   result[2];
    char                   text[900];
    pthread_t              tid;
    tn_prefix_t            p;
    struct timespec        pause = { 0, 20000 };
    tn_snapshot_writer_t  *writer;

    writer = tn_snapshot_create(mem, SIZE, 3);
    p = own(1);
    stop = false;

    (void) pthread_create(&tid, NULL, reader, result);

    for (i = 0; i < 20000; i++) {
        memset(text, 'a' + i % 26, sizeof(text));
        text[1 + dice(898)] = '\0';
        (void) put(writer, 1, text, &p, 1);

        if (i % 8 == 0) {
            (void) nanosleep(&pause, NULL);
        }
    }

    stop = true;
    (void) pthread_join(tid, NULL);

    ok(result[1] > 0, "a reader beside the writer saw %ld records", result[1]);
    is_int(result[0], 0, "none of them torn, never missing");
    tn_snapshot_destroy(writer);
}


static void
test_limits(void)
{
    uint32_t               n;
    tn_rc_t                rc;
    tn_prefix_t            p;
    tn_snapshot_t          snap;
    tn_snapshot_peer_t     peer;
    tn_snapshot_writer_t  *writer;

    ok(tn_snapshot_create(mem, 4096, 1) == NULL, "too small a memory");

    writer = tn_snapshot_create(mem, 64 * 1024, 1);
    (void) tn_snapshot_open(&snap, mem, 64 * 1024);
    rc = TN_OK;

    for (n = 0; n < 100000 && rc == TN_OK; n++) {
        p = own(n);
        rc = put(writer, n, "x", &p, 1);
    }

    is_int(rc, TN_NOMEM, "full at some time");
    p = own(0);
    is_int(tn_snapshot_find(&snap, &p.ip, &peer, buf), TN_OK,
           "and still good");
    tn_snapshot_remove(writer, 0);
    is_int(put(writer, 0, "x", &p, 1), TN_OK, "what is freed is used again");

    memset(&peer, 0, sizeof(peer));
    peer.field[TN_SNAPSHOT_CAPS].data = mem;
    peer.field[TN_SNAPSHOT_CAPS].len = TN_SNAPSHOT_FIELD_MAX + 1;
    is_int(tn_snapshot_put(writer, &peer, &p, 1), TN_NOMEM,
           "too long a field");
    tn_snapshot_destroy(writer);
}


static double
seconds(void)
{
    struct timespec  ts;

    (void) clock_gettime(CLOCK_MONOTONIC, &ts);

    return (double) ts.tv_sec + (double) ts.tv_nsec / 1e9;
}


static void
test_scale(void)
{
    double                 start, put_s, find_s;
    uint32_t               n, missing;
    tn_prefix_t            p;
    tn_snapshot_t          snap;
    tn_snapshot_peer_t     peer;
    tn_snapshot_writer_t  *writer;

    writer = tn_snapshot_create(mem, SIZE, 9);
    (void) tn_snapshot_open(&snap, mem, SIZE);
    missing = 0;

    for (n = 0; n < PEERS; n++) {
        p = own(n);
        missing += put(writer, n, "some-name.example.ts.net", &p, 1) != TN_OK;
    }

    start = seconds();

    for (n = 0; n < PEERS; n++) {
        p = own(n);
        missing += put(writer, n, "another-name.ts.net", &p, 1) != TN_OK;
    }

    put_s = seconds() - start;
    start = seconds();

    for (n = 0; n < PEERS; n++) {
        p = own(n);
        missing += tn_snapshot_find(&snap, &p.ip, &peer, buf) != TN_OK;
    }

    find_s = seconds() - start;

    is_int(missing, 0, "10,000 peers");
    printf("# a change %.2f us, a look-up %.2f us\n", put_s / PEERS * 1e6,
           find_s / PEERS * 1e6);
    ok(put_s / PEERS < 1e-3, "one change in less than a millisecond");
    tn_snapshot_destroy(writer);
}


int
main(void)
{
    test_simple();
    test_model();
    test_beside();
    test_limits();
    test_scale();

    return tap_done();
}
