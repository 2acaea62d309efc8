
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What sealing and opening costs: nanoseconds per packet for each library
 * behind tn_aead.h, for batches of messages by tn_aead_seal_many() and
 * tn_aead_open_many(), and for a whole pass through WireGuard, a batch at a
 * time.  Prints a table; each figure is the best of many rounds, which all
 * take in turn, and those of batches are also given as a part of what the
 * library takes for one message after the other.
 */

#include "crypto/tn_aead_int.h"
#include "crypto/tn_curve.h"
#include "wg/tn_wg.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>


#define ROUNDS   200        /* short ones: some are not interrupted */
#define PACKETS  960
#define SLOTS    64         /* buffers in use, as in a batch */
#define SLOT     1312       /* as they lie in a batch: of a full packet */

typedef struct {
    tn_wg_t       *wg;
    tn_wg_peer_t  *peer;    /* the other device */
    uint8_t        msg[TN_WGMSG_HANDSHAKE_MAX];
    size_t         len;
} end_t;


static const tn_aead_lib_t  *const libs[] = {
#ifdef TN_HAVE_IPSEC_MB
    &tn_aead_ipsec_mb,
#endif
    &tn_aead_openssl
};

static const size_t  sizes[] = { 16, 128, 512, 1280 };
static const size_t  batches[] = { 1, 2, 3, 4, 8, 16, 45 };

static uint8_t  plain[SLOTS][SLOT];
static uint8_t  wire[SLOTS][SLOT];


static double
now_ns(void)
{
    struct timespec  t;

    (void) clock_gettime(CLOCK_MONOTONIC, &t);

    return (double) t.tv_sec * 1e9 + (double) t.tv_nsec;
}


static void
best(double *figure, double start)
{
    double  ns;

    ns = (now_ns() - start) / PACKETS;

    if (*figure == 0 || ns < *figure) {
        *figure = ns;
    }
}


static void
bench_lib(tn_aead_t *aead, size_t len, double *seal, double *open)
{
    int      i;
    double   start;
    uint8_t  nonce[TN_AEAD_NONCE];

    start = now_ns();

    for (i = 0; i < PACKETS; i++) {
        tn_aead_nonce_le(nonce, (uint64_t) i);
        (void) tn_aead_seal(aead, nonce, NULL, 0, plain[i % SLOTS], len,
                            wire[i % SLOTS]);
    }

    best(seal, start);

    /* the same message again and again, for opening in place destroys it */

    start = now_ns();

    for (i = 0; i < PACKETS; i++) {
        tn_aead_nonce_le(nonce, (uint64_t) (PACKETS - SLOTS + i % SLOTS));

        if (tn_aead_open(aead, nonce, NULL, 0, wire[(PACKETS + i) % SLOTS],
                         len + TN_AEAD_TAG, plain[i % SLOTS])
            != TN_OK && i == 0)
        {
            printf("# does not verify\n");
        }
    }

    best(open, start);
}


static void
bench_many(tn_aead_t *aead, size_t len, size_t batch, double *seal,
    double *open)
{
    size_t         i, k, n;
    double         start, spent;
    tn_aead_job_t  jobs[SLOTS];

    n = SLOTS / batch * batch;
    spent = 0;
    start = now_ns();

    for (i = 0; i < PACKETS; i += n) {
        for (k = 0; k < n; k++) {
            jobs[k].src = plain[k];
            jobs[k].dst = wire[k];
            jobs[k].len = len;
            tn_aead_nonce_le(jobs[k].nonce, i + k);
        }

        for (k = 0; k < n; k += batch) {
            tn_aead_seal_many(aead, jobs + k, batch);
        }

        spent -= now_ns();

        for (k = 0; k < n; k++) {
            jobs[k].src = wire[k];
            jobs[k].len = len + TN_AEAD_TAG;
        }

        for (k = 0; k < n; k += batch) {
            tn_aead_open_many(aead, jobs + k, batch);
        }

        spent += now_ns();

        if (jobs[n - 1].rc != TN_OK) {
            printf("# does not verify\n");
            exit(1);
        }
    }

    /* as if it had been PACKETS, which the last batch may exceed */

    best(seal, now_ns() - (now_ns() - start - spent) * PACKETS / (double) i);
    best(open, now_ns() - spent * PACKETS / (double) i);
}


static void
op_send(void *data, tn_wg_peer_t *peer, tn_wg_kind_e kind, const uint8_t *msg,
    size_t len, tn_ms_t now)
{
    end_t  *end;

    (void) peer;
    (void) now;

    end = data;

    if (kind != TN_WG_STAGED && len <= sizeof(end->msg)) {
        memcpy(end->msg, msg, len);
        end->len = len;
    }
}


static void
op_reply(void *data, const tn_wg_from_t *from, const uint8_t *msg, size_t len)
{
    (void) data;
    (void) from;
    (void) msg;
    (void) len;
}


static uint64_t
op_wall(void *data)
{
    (void) data;

    return 1700000000000000000;
}


static const tn_wg_ops_t  ops = {
    op_send, op_reply, NULL, op_wall, NULL, NULL
};


static void
bench_wg(size_t len, double *seal, double *open)
{
    int              i, n;
    end_t            a, b;
    size_t           size;
    double           start, spent;
    tn_timers_t      timers;
    tn_prefix_t      prefix;
    tn_wg_conf_t     conf;
    tn_wg_from_t     from;
    tn_keypair_t     ka, kb;
    tn_wg_peer_t    *peer;
    tn_wg_packet_t   packet, packets[SLOTS];

    tn_timers_init(&timers);
    tn_curve_keypair(&ka);
    tn_curve_keypair(&kb);
    memset(&conf, 0, sizeof(conf));
    memset(&from, 0, sizeof(from));
    conf.ops = &ops;
    conf.timers = &timers;

    conf.data = &a;
    conf.identity = ka;
    a.wg = tn_wg_create(&conf);
    (void) tn_wg_peer_add(a.wg, &kb.pub, NULL, &a.peer);

    conf.data = &b;
    conf.identity = kb;
    b.wg = tn_wg_create(&conf);
    (void) tn_wg_peer_add(b.wg, &ka.pub, &b, &b.peer);

    (void) tn_prefix_parse(&prefix, "100.64.0.1/32", 13);
    (void) tn_wg_allow(b.wg, &b, &prefix, 1);

    tn_wg_peer_shake(a.peer, 1);
    (void) tn_wg_input(b.wg, 1, &from, a.msg, a.len, &peer);
    (void) tn_wg_input(a.wg, 1, &from, b.msg, b.len, &peer);
    (void) tn_wg_open(b.wg, 1, a.msg, a.len, &packet);

    for (i = 0; i < SLOTS; i++) {
        memset(plain[i], 0, 20);
        plain[i][0] = 0x45;
        plain[i][2] = (uint8_t) (len >> 8);
        plain[i][3] = (uint8_t) len;
        memcpy(plain[i] + 12, "\x64\x40\x00\x01", 4);
    }

    spent = 0;
    start = now_ns();
    size = tn_wg_sealed_len(len);

    for (i = 0; i < PACKETS; i += SLOTS) {
        for (n = 0; n < SLOTS; n++) {
            (void) tn_wg_seal_later(a.peer, 2, plain[n], len, wire[n]);
        }

        tn_wg_seal_finish(a.wg);

        spent -= now_ns();

        for (n = 0; n < SLOTS; n++) {
            packets[n].msg = wire[n];
            packets[n].msg_len = size;
        }

        tn_wg_open_many(b.wg, 2, packets, SLOTS);

        for (n = 0; n < SLOTS; n++) {
            if (packets[n].rc != TN_OK || packets[n].len != len) {
                printf("# does not open\n");
                exit(1);
            }
        }

        spent += now_ns();
    }

    best(seal, start + spent);
    best(open, now_ns() - spent);

    tn_wg_destroy(a.wg);
    tn_wg_destroy(b.wg);
    tn_timers_done(&timers);
}


int
main(void)
{
    int         round;
    size_t      i, s, b, lib;
    double      seal[3][4] = { { 0 } }, open[3][4] = { { 0 } };
    double      seals[4][7] = { { 0 } }, opens[4][7] = { { 0 } };
    tn_key_t    key;
    tn_aead_t  *aead[3] = { NULL }, *many;

    if (tn_crypto_init() != TN_OK) {
        return 1;
    }

    tn_random(key.b, sizeof(key.b));

    for (i = 0; i < tn_nelems(libs); i++) {
        if (libs[i]->usable()) {
            aead[i] = tn_aead_create_by(libs[i], NULL, &key);
        }
    }

    many = tn_aead_create(&key);
    lib = aead[0] != NULL ? 0 : tn_nelems(libs) - 1;

    for (round = 0; round < ROUNDS; round++) {
        for (s = 0; s < tn_nelems(sizes); s++) {
            for (i = 0; i < tn_nelems(libs); i++) {
                if (aead[i] != NULL) {
                    bench_lib(aead[i], sizes[s], &seal[i][s], &open[i][s]);
                }
            }

            for (b = 0; b < tn_nelems(batches); b++) {
                bench_many(many, sizes[s], batches[b], &seals[s][b],
                           &opens[s][b]);
            }

            bench_wg(tn_max(sizes[s], (size_t) 32), &seal[2][s], &open[2][s]);
        }
    }

    printf("%-32s %6s %10s %10s %13s\n", "ns per packet", "bytes", "seal",
           "open", "of the library");

    for (i = 0; i < tn_nelems(libs); i++) {
        for (s = 0; s < tn_nelems(sizes) && aead[i] != NULL; s++) {
            printf("%-32s %6zu %10.0f %10.0f\n", libs[i]->name, sizes[s],
                   seal[i][s], open[i][s]);
        }

        tn_aead_destroy(aead[i]);
    }

    for (s = 0; s < tn_nelems(sizes); s++) {
        for (b = 0; b < tn_nelems(batches); b++) {
            printf("%-20s batch of %2zu %6zu %10.0f %10.0f %6.2f %6.2f\n",
                   tn_aead_backend(), batches[b], sizes[s], seals[s][b],
                   opens[s][b], seals[s][b] / seal[lib][s],
                   opens[s][b] / open[lib][s]);
        }
    }

    tn_aead_destroy(many);

    for (s = 0; s < tn_nelems(sizes); s++) {
        printf("%-32s %6zu %10.0f %10.0f\n", "WireGuard, batch of 64",
               tn_max(sizes[s], (size_t) 32), seal[2][s], open[2][s]);
    }

    return 0;
}
