
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Trees of tailnet lock's updates, and what a node makes of them and of its
 * own signature, against Tailscale's tka (t/vectors/lock/chain.go).
 */

#include "tap.h"
#include "hex_bytes.h"

#include <stdlib.h>

#include "crypto/tn_curve.h"
#include "lock/tn_aums.h"
#include "lock/tn_resign.h"


#define VECTORS  "t/vectors/lock/chain.txt"

static bytes_t   genesis;
static tn_str_t  updates[TN_AUMS_MAX];
static size_t    nupdates;
static size_t    trees, forks, resigned, keys, secrets;


static bool
head_is(const tn_aums_t *chain, const uint8_t *head)
{
    return chain != NULL
           && memcmp(tn_aums_lock(chain)->head, head, TN_BLAKE2S_LEN) == 0;
}


/* one by one in any order that parents allow; *late: those that had to wait */
static tn_aums_t *
shuffled(size_t *late)
{
    bool         done[TN_AUMS_MAX];
    size_t       i, left;
    tn_rc_t      rc;
    tn_aums_t  *chain;

    memset(done, 0, sizeof(done));
    chain = tn_aums_create(genesis.data, genesis.len);

    for (left = nupdates; left != 0; /* void */ ) {
        i = tn_random_below((uint32_t) nupdates);

        if (done[i]) {
            continue;
        }

        rc = tn_aums_inform(chain, &updates[i], 1);

        if (rc == TN_OK) {
            done[i] = true;
            left--;

        } else if (rc == TN_NOTFOUND) {
            (*late)++;

        } else {
            break;
        }
    }

    return chain;
}


/* two that know a part each tell each other the rest */
static bool
synchronised(const uint8_t *head, size_t cut)
{
    bool         good;
    size_t       n, offered;
    uint8_t      ancestors[TN_AUMS_OFFER_MAX][TN_BLAKE2S_LEN];
    tn_str_t     missing[TN_AUMS_MAX];
    tn_aums_t  *all, *part;

    all = tn_aums_create(genesis.data, genesis.len);
    part = tn_aums_create(genesis.data, genesis.len);
    good = tn_aums_inform(all, updates, nupdates) == TN_OK
           && tn_aums_inform(part, updates, cut) == TN_OK;

    offered = tn_aums_offer(part, ancestors, TN_AUMS_OFFER_MAX);

    good = good
           && tn_aums_missing(all, tn_aums_lock(part)->head,
                               (const uint8_t (*)[TN_BLAKE2S_LEN]) ancestors,
                               offered, missing, TN_AUMS_MAX, &n)
              == TN_OK
           && tn_aums_inform(part, missing, n) == TN_OK
           && head_is(part, head);

    tn_aums_destroy(all);
    tn_aums_destroy(part);

    return good;
}


static void
tree(const char *hex, const char *text)
{
    bool         good;
    char         written[TN_AUMS_TEXT];
    size_t       i, late, len;
    uint8_t      head[TN_BLAKE2S_LEN], parsed[TN_BLAKE2S_LEN], *packed;
    bytes_t      b;
    tn_str_t     bad;
    tn_aums_t  *chain, *again;

    b = bytes_of(hex);
    memcpy(head, b.data, sizeof(head));
    free(b.data);

    chain = tn_aums_create(genesis.data, genesis.len);
    ok(tn_aums_inform(chain, updates, nupdates) == TN_OK
       && head_is(chain, head), "tree %zu: the head of %zu updates", trees,
       nupdates);
    ok(tn_aums_inform(chain, updates, nupdates) == TN_OK
       && head_is(chain, head), "known ones change nothing");

    /* one that is not good, among good ones, is none of them */

    bad.data = malloc(updates[0].len);
    bad.len = updates[0].len;
    memcpy((uint8_t *) (uintptr_t) bad.data, updates[0].data, bad.len);
    ((uint8_t *) (uintptr_t) bad.data)[bad.len - 1] ^= 1;
    ok(tn_aums_inform(chain, &bad, 1) == TN_REFUSED && head_is(chain, head),
       "a forged one is refused");
    free((void *) (uintptr_t) bad.data);

    good = tn_aums_pack(chain, &packed, &len) == TN_OK;
    again = good ? tn_aums_unpack(packed, len) : NULL;
    ok(head_is(again, head), "kept and read again");
    tn_aums_destroy(again);

    for (i = 1; i < 5 && good; i++) {
        good = tn_aums_unpack(packed, len - i) == NULL;
    }

    ok(good, "a part of it is not one");
    free(packed);
    tn_aums_destroy(chain);

    late = 0;
    good = true;

    for (i = 0; i < 3; i++) {
        chain = shuffled(&late);
        good = good && head_is(chain, head);
        tn_aums_destroy(chain);
    }

    ok(good, "the same in other orders (%zu came too early)", late);
    forks += late;

    for (i = 0, good = true; i <= nupdates && good; i += 3) {
        good = synchronised(head, i);
    }

    ok(good, "and told to one that has a part");

    tn_aums_hash_text(written, head);
    is_str(written, text, "as text");
    ok(tn_aums_hash_parse(parsed, text) == TN_OK
       && memcmp(parsed, head, sizeof(head)) == 0, "and back");

    trees++;
}


static void
resign(char **field)
{
    size_t    len;
    uint8_t  *out;
    bytes_t   secret, node, old, want;
    tn_key_t  key;

    secret = bytes_of(field[0]);
    node = bytes_of(field[1]);
    old = bytes_of(field[2]);
    want = bytes_of(field[3]);
    memcpy(key.b, node.data, TN_KEY_LEN);

    ok(tn_resign(&out, &len, secret.data, &key, old.data, old.len) == TN_OK
       && len == want.len && memcmp(out, want.data, len) == 0,
       "resigned, %zu bytes", want.len);
    free(out);

    resigned++;
    free(secret.data);
    free(node.data);
    free(old.data);
    free(want.data);
}


static void
auth_key(char **field)
{
    size_t    n, len;
    uint8_t  *sig, secret[TN_RESIGN_SECRET_LEN];
    bytes_t   want;

    n = tn_resign_auth_key(field[0], &sig, &len, secret);
    ok(n == strlen(field[1]) && strncmp(field[0], field[1], n) == 0,
       "what control sees of an auth key");

    if (strcmp(field[2], "-") == 0) {
        ok(sig == NULL, "without a credential");

    } else {
        want = bytes_of(field[2]);
        ok(sig != NULL && len == want.len && memcmp(sig, want.data, len) == 0,
           "its credential");
        free(want.data);
        want = bytes_of(field[3]);
        ok(memcmp(secret, want.data, sizeof(secret)) == 0, "and key");
        free(want.data);
        free(sig);
    }

    keys++;
}


static void
disable(char **field)
{
    bytes_t      aum, secret;
    tn_aums_t  *chain;

    aum = bytes_of(field[0]);
    secret = bytes_of(field[1]);
    chain = tn_aums_create(aum.data, aum.len);

    ok(tn_lock_disables(tn_aums_lock(chain), secret.data, secret.len)
       == (strcmp(field[2], "ok") == 0), "a secret: %s", field[2]);

    secrets++;
    tn_aums_destroy(chain);
    free(aum.data);
    free(secret.data);
}


static void
forget(void)
{
    while (nupdates != 0) {
        free((void *) (uintptr_t) updates[--nupdates].data);
    }

    free(genesis.data);
    memset(&genesis, 0, sizeof(genesis));
}


/* hundreds of updates: what lies before a checkpoint is not needed */
static void
many(void)
{
    /* the first tree has checkpoints and is longer than the others */

    ok(trees > 20 && forks > 100, "%zu trees, %zu forks", trees, forks);
    ok(resigned > 30 && keys > 3 && secrets > 20, "and all the others");
}


int
main(void)
{
    char     *line, *field[6], *next;
    FILE     *f;
    size_t    n, size;
    bytes_t   b;

    if (!ok(tn_crypto_init() == TN_OK, "crypto")) {
        return tap_done();
    }

    tn_random_seed_for_tests(1);
    line = NULL;
    size = 0;
    f = fopen(VECTORS, "r");

    if (!ok(f != NULL, "vectors")) {
        return tap_done();
    }

    while (getline(&line, &size, f) > 0) {
        n = 0;

        for (next = strtok(line, " \n");
             next != NULL && n < 6;
             next = strtok(NULL, " \n"))
        {
            field[n++] = next;
        }

        if (n == 2 && strcmp(field[0], "genesis") == 0) {
            forget();
            genesis = bytes_of(field[1]);

        } else if (n == 2 && strcmp(field[0], "update") == 0) {
            b = bytes_of(field[1]);
            updates[nupdates].data = b.data;
            updates[nupdates++].len = b.len;

        } else if (n == 3 && strcmp(field[0], "head") == 0) {
            tree(field[1], field[2]);

        } else if (n == 5 && strcmp(field[0], "resign") == 0) {
            resign(field + 1);

        } else if (n == 5 && strcmp(field[0], "authkey") == 0) {
            auth_key(field + 1);

        } else if (n == 4 && strcmp(field[0], "disable") == 0) {
            disable(field + 1);

        } else {
            ok(false, "a line of the vectors: %s", field[0]);
        }
    }

    many();
    forget();
    free(line);
    (void) fclose(f);

    return tap_done();
}
