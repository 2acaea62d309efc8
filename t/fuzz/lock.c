
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzzes tailnet lock.  Without the secret of the one trusted key nothing is
 * accepted; what the key does sign leaves an authority that makes sense; and
 * a node's signature that is taken has one encoding, the one that came.
 */

#include <sodium.h>
#include <stdlib.h>

#include "base/tn_cursor.h"
#include "crypto/tn_blake2s.h"
#include "crypto/tn_curve.h"
#include "lock/tn_lock.h"


int LLVMFuzzerInitialize(int *argc, char ***argv);
int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static uint8_t    pub[32];
static uint8_t    secret[64];
static tn_lock_t  first;


static void
must(bool fact)
{
    if (!fact) {
        abort();
    }
}


/* a map of `pairs` pairs, signed as its last one */
static size_t
seal(uint8_t *buf, size_t size, unsigned pairs, const uint8_t *body,
    size_t len)
{
    uint8_t      head, hash[TN_BLAKE2S_LEN], sig[64];
    tn_writer_t  w;

    head = (uint8_t) (0xa0 | pairs);
    must(tn_blake2s(hash, &head, 1, body, len) == TN_OK);
    crypto_sign_ed25519_detached(sig, NULL, hash, sizeof(hash), secret);

    w = tn_writer(buf, size);
    tn_write_u8(&w, (uint8_t) (head + 1));
    tn_write_bytes(&w, body, len);
    tn_write_bytes(&w, "\x17\x81\xa2\x01\x58\x20", 6);
    tn_write_bytes(&w, pub, sizeof(pub));
    tn_write_bytes(&w, "\x02\x58\x40", 3);
    tn_write_bytes(&w, sig, sizeof(sig));

    return w.bad ? 0 : tn_writer_len(&w);
}


int
LLVMFuzzerInitialize(int *argc, char ***argv)
{
    size_t       len;
    uint8_t      body[256], buf[512];
    tn_writer_t  w;

    static const uint8_t  seed[32] = { 1, 2, 3 };

    (void) argc;
    (void) argv;

    must(tn_crypto_init() == TN_OK);
    crypto_sign_ed25519_seed_keypair(pub, secret, seed);

    /* a checkpoint: no parent; one value that disables it, one key */

    w = tn_writer(body, sizeof(body));
    tn_write_bytes(&w, "\x01\x05\x02\xf6\x05\xa3\x01\xf6\x02\x81\x58\x20", 12);
    tn_write_zeros(&w, 32);
    tn_write_bytes(&w, "\x03\x81\xa3\x01\x01\x02\x01\x03\x58\x20", 10);
    tn_write_bytes(&w, pub, sizeof(pub));

    len = seal(buf, sizeof(buf), 3, body, tn_writer_len(&w));
    must(tn_lock_start(&first, buf, len) == TN_OK);

    return 0;
}


/* kind, parent and what the input says, again and again */
static void
chain(const uint8_t *data, size_t size)
{
    size_t            len;
    tn_rc_t           rc;
    uint8_t           kind, pairs, body[4096], buf[8192];
    uint8_t           hash[TN_BLAKE2S_LEN];
    unsigned          i, j;
    tn_cursor_t       c;
    tn_writer_t       w;
    const uint8_t    *p;
    static tn_lock_t  lock, before;

    lock = first;
    c = tn_cursor(data, size);

    while (tn_cursor_left(&c) > 0) {
        pairs = tn_read_u8(&c) & 0x03;
        kind = tn_read_u8(&c) & 0x07;
        len = tn_read_u16(&c) % 2048;
        len = tn_min(len, tn_cursor_left(&c));
        p = tn_read_bytes(&c, len);

        w = tn_writer(body, sizeof(body));
        tn_write_u8(&w, 1);
        tn_write_u8(&w, kind);
        tn_write_bytes(&w, "\x02\x58\x20", 3);
        tn_write_bytes(&w, lock.head, sizeof(lock.head));

        if (p != NULL) {
            tn_write_bytes(&w, p, len);
        }

        len = seal(buf, sizeof(buf), 2u + pairs, body, tn_writer_len(&w));
        before = lock;
        rc = tn_lock_advance(&lock, buf, len);

        if (rc != TN_OK) {
            must(memcmp(&lock, &before, sizeof(lock)) == 0);
            continue;
        }

        must(tn_blake2s(hash, buf, len, NULL, 0) == TN_OK
             && memcmp(hash, lock.head, sizeof(hash)) == 0);
        must(lock.state.n > 0 && lock.state.n <= TN_AUM_KEYS_MAX);

        for (i = 0; i < lock.state.n; i++) {
            must(lock.state.keys[i].votes > 0
                 && lock.state.keys[i].votes <= TN_AUM_VOTES_MAX);

            for (j = 0; j < i; j++) {
                must(memcmp(lock.state.keys[i].pub, lock.state.keys[j].pub,
                            sizeof(pub)) != 0);
            }
        }
    }
}


static void
write_bytes(tn_writer_t *w, uint8_t key, const uint8_t *data, size_t len)
{
    if (data == NULL) {
        return;
    }

    tn_write_u8(w, key);
    tn_write_u8(w, 0x58);
    tn_write_u8(w, (uint8_t) len);
    tn_write_bytes(w, data, len);
}


static void
write_link(tn_writer_t *w, const tn_nodesig_t *sig, unsigned i)
{
    const tn_nodesig_link_t  *link;

    link = &sig->links[i];

    tn_write_u8(w, (uint8_t) (0xa0 | link->pairs));
    tn_write_u8(w, 1);

    if (link->kind > 23) {
        tn_write_u8(w, 0x18);
    }

    tn_write_u8(w, link->kind);

    /* what it points to follows two bytes of the form */

    write_bytes(w, 2, link->node ? link->node - 2 : NULL, 34);
    write_bytes(w, 3, link->key_id, 32);
    write_bytes(w, 4, link->signature, 64);

    if (i + 1 < sig->n) {
        tn_write_u8(w, 5);
        write_link(w, sig, i + 1);
    }

    write_bytes(w, 6, link->wrapping, 32);
}


static void
node(const uint8_t *data, size_t size)
{
    uint8_t       again[TN_NODESIG_LEN_MAX];
    tn_key_t      of;
    tn_writer_t   w;
    tn_nodesig_t  sig;

    if (tn_nodesig_parse(&sig, data, size) != TN_OK) {
        return;
    }

    w = tn_writer(again, sizeof(again));
    write_link(&w, &sig, 0);
    must(!w.bad && tn_writer_len(&w) == size
         && memcmp(again, data, size) == 0);

    memset(&of, 0, sizeof(of));

    if (sig.links[0].node != NULL) {
        memcpy(of.b, sig.links[0].node, TN_KEY_LEN);
    }

    must(tn_lock_check_node(&first, &of, data, size, NULL) != TN_OK);
    (void) tn_nodesig_verify(&sig, &of, pub);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static tn_lock_t  lock;

    if (size == 0) {
        return 0;
    }

    switch (data[0] % 3) {

    case 0:
        node(data + 1, size - 1);
        break;

    case 1:
        lock = first;
        must(tn_lock_advance(&lock, data + 1, size - 1) != TN_OK
             && memcmp(&lock, &first, sizeof(lock)) == 0);
        (void) tn_lock_start(&lock, data + 1, size - 1);
        break;

    default:
        chain(data + 1, size - 1);
    }

    return 0;
}
