
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Tailnet lock against what Tailscale's own package makes and says of it
 * (t/vectors/lock): an authority's chain, nodes' signatures, and the points
 * by which Ed25519's rules differ.  And no bit of what is good may change.
 */

#include "tap.h"
#include "hex_bytes.h"

#include <stdlib.h>

#include "crypto/tn_curve.h"
#include "lock/tn_cbor.h"
#include "lock/tn_lock.h"


#define VECTORS     "t/vectors/lock/vectors.txt"
#define FIELDS_MAX  32


/* each command as often as it has to be there at the least */
static struct {
    const char  *name;
    int          want;
    int          n;
} seen[] = {
    { "start ok", 5, 0 }, { "start no", 20, 0 }, { "start strict", 3, 0 },
    { "advance ok", 10, 0 }, { "advance no", 25, 0 },
    { "advance strict", 1, 0 },
    { "node ok", 9, 0 }, { "node no", 20, 0 }, { "node strict", 3, 0 },
};

static tn_lock_t  lock;


static void
count(const char *command, const char *verdict)
{
    char    name[64];
    size_t  i;

    snprintf(name, sizeof(name), "%s %s", command, verdict);

    for (i = 0; i < tn_nelems(seen); i++) {
        seen[i].n += strcmp(seen[i].name, name) == 0;
    }
}


static bool
is_good(const char *verdict)
{
    return strcmp(verdict, "ok") == 0;
}


/* every bit of it turned and every end of it cut off: how many are taken */
static int
damaged_nodes(bytes_t sig, const tn_key_t *node)
{
    int       n;
    size_t    i;
    bytes_t   cut;

    n = 0;

    for (i = 0; i < sig.len * 8; i++) {
        sig.data[i / 8] ^= (uint8_t) (1 << i % 8);
        n += tn_lock_check_node(&lock, node, sig.data, sig.len, NULL) == TN_OK;
        sig.data[i / 8] ^= (uint8_t) (1 << i % 8);
    }

    for (i = 0; i < sig.len; i++) {
        cut.data = malloc(i ? i : 1);
        memcpy(cut.data, sig.data, i);
        n += tn_lock_check_node(&lock, node, cut.data, i, NULL) == TN_OK;
        free(cut.data);
    }

    return n;
}


static int
damaged_updates(bytes_t aum, bool is_start)
{
    int                n;
    size_t             i;
    bytes_t            cut;
    static tn_lock_t   copy;

    n = 0;

    for (i = 0; i < aum.len * 9; i++) {
        copy = lock;
        cut.len = i < aum.len ? i : aum.len;
        cut.data = malloc(cut.len ? cut.len : 1);
        memcpy(cut.data, aum.data, cut.len);

        if (i >= aum.len) {
            cut.data[(i - aum.len) / 8] ^= (uint8_t) (1 << (i - aum.len) % 8);
        }

        n += (is_start ? tn_lock_start(&copy, cut.data, cut.len)
                       : tn_lock_advance(&copy, cut.data, cut.len)) == TN_OK
             || memcmp(&copy, &lock, sizeof(lock)) != 0;

        free(cut.data);
    }

    return n;
}


static void
test_update(char **f, int n)
{
    bool              good, is_start;
    tn_rc_t           rc;
    bytes_t           aum, head;
    static tn_lock_t  before;

    if (!ok(n >= 4, "an update has its fields")) {
        return;
    }

    good = is_good(f[1]);
    is_start = strcmp(f[0], "start") == 0;
    before = lock;

    aum = bytes_of(n == 5 ? f[3] : "");
    head = bytes_of(good ? f[4] : "");

    if (good && aum.len < 700) {
        is_int(damaged_updates(aum, is_start), 0, "none that is damaged");
    }

    rc = is_start ? tn_lock_start(&lock, aum.data, aum.len)
                  : tn_lock_advance(&lock, aum.data, aum.len);

    ok((rc == TN_OK) == good, "%s: %s (%d)", f[0], f[2], rc);

    if (good) {
        is_mem(lock.head, head.data, sizeof(lock.head), "head");

    } else {
        ok(memcmp(&before, &lock, sizeof(lock)) == 0, "nothing changed");
    }

    free(aum.data);
    free(head.data);
}


static void
test_node(char **f, int n)
{
    int           i;
    bool          good;
    tn_rc_t       rc;
    tn_key_t      node;
    bytes_t       sig, key;
    tn_nodesig_t  parsed;

    if (!ok(n >= 4, "a signature has its fields")) {
        return;
    }

    good = is_good(f[1]);
    unhex(node.b, f[3]);
    sig = bytes_of(n >= 5 ? f[4] : "");

    rc = tn_lock_check_node(&lock, &node, sig.data, sig.len, &parsed);
    ok((rc == TN_OK) == good, "node: %s (%d)", f[2], rc);

    if (good) {

        for (i = 5; i < n; i++) {
            key = bytes_of(f[i]);
            ok((unsigned) i - 4 < parsed.n
               && parsed.links[i - 4].node != NULL
               && memcmp(parsed.links[i - 4].node, key.data, 32) == 0,
               "the key before it");
            free(key.data);
        }

        ok(n - 4 == (int) parsed.n
           || parsed.links[parsed.n - 1].node == NULL, "no more before it");

        if (sig.len < 1000) {
            is_int(damaged_nodes(sig, &node), 0, "none that is damaged");
        }
    }

    free(sig.data);
}


static void
test_point(char **f, int n, int *odd)
{
    bool     plain;
    bytes_t  pub, msg, sig;

    if (!ok(n == 6, "a point has its fields")) {
        return;
    }

    pub = bytes_of(f[3]);
    msg = bytes_of(f[4]);
    sig = bytes_of(f[5]);

    plain = tn_ed25519_verify(sig.data, msg.data, msg.len, pub.data);

    ok(tn_ed25519_verify_zip215(sig.data, msg.data, msg.len, pub.data)
       == is_good(f[1]), "ZIP 215 says %s: %.16s", f[1], f[3]);
    ok(!plain || is_good(f[2]), "no more than crypto/ed25519");

    *odd += is_good(f[1]) && !plain;

    free(pub.data);
    free(msg.data);
    free(sig.data);
}


static void
test_vectors(void)
{
    int                  n, keys, points, odd, plain;
    char                *line, *f[FIELDS_MAX], *rest;
    FILE                *file;
    size_t               i, size;
    uint8_t              id[32];
    const tn_aum_key_t  *key;

    file = fopen(VECTORS, "r");

    if (!ok(file != NULL, "vectors are there")) {
        return;
    }

    line = NULL;
    size = 0;
    keys = points = odd = plain = 0;

    while (getline(&line, &size, file) > 0) {
        rest = line;

        for (n = 0; n < FIELDS_MAX; n++) {
            f[n] = strtok_r(n ? NULL : line, " \n", &rest);

            if (f[n] == NULL) {
                break;
            }
        }

        if (n < 2) {
            ok(false, "a line has words");
            continue;
        }

        count(f[0], f[1]);

        if (strcmp(f[0], "start") == 0 || strcmp(f[0], "advance") == 0) {
            test_update(f, n);

        } else if (strcmp(f[0], "keys") == 0) {
            keys++;
            is_int(lock.state.n, atoi(f[1]), "so many keys");

        } else if (strcmp(f[0], "key") == 0) {
            unhex(id, f[2]);
            key = tn_lock_key(&lock, id);
            ok(key != NULL && (int) key->votes == atoi(f[1]), "a key");

        } else if (strcmp(f[0], "node") == 0) {
            test_node(f, n);

        } else if (strcmp(f[0], "point") == 0) {
            points++;
            plain += is_good(f[2]);
            test_point(f, n, &odd);

        } else {
            ok(false, "command %s", f[0]);
        }
    }

    for (i = 0; i < tn_nelems(seen); i++) {
        ok(seen[i].n >= seen[i].want, "%s: %d", seen[i].name, seen[i].n);
    }

    ok(keys > 10 && points > 200 && plain > 8 && odd > 150,
       "and of all the others (%d points, %d odd)", points, odd);

    free(line);
    fclose(file);
}


/* what the reader takes of one item; all of it must be used */
static bool
reads(const char *hex, char type)
{
    bytes_t      b;
    unsigned     last;
    tn_cursor_t  c;

    b = bytes_of(hex);
    c = tn_cursor(b.data, b.len);
    last = 0;

    switch (type) {

    case 'u':
        (void) tn_cbor_uint(&c);
        break;

    case 'b':
        (void) tn_cbor_bytes(&c);
        break;

    case 't':
        (void) tn_cbor_text(&c);
        break;

    case 'a':
        (void) tn_cbor_array(&c, 24);
        break;

    case 'm':
        (void) tn_cbor_map(&c, 24);
        break;

    case 'k':
        while (!c.bad && tn_cursor_left(&c) > 0) {
            (void) tn_cbor_key(&c, &last);
        }

        break;
    }

    free(b.data);

    return !c.bad && c.pos == c.end;
}


static void
test_reader(void)
{
    size_t  i;

    static const struct {
        const char  *hex;
        char         type;
        bool         good;
    } items[] = {
        { "00", 'u', true }, { "17", 'u', true }, { "1818", 'u', true },
        { "1817", 'u', false }, { "18", 'u', false }, { "", 'u', false },
        { "190100", 'u', true }, { "1900ff", 'u', false },
        { "1a00010000", 'u', true }, { "1a0000ffff", 'u', false },
        { "1b0000000100000000", 'u', true },
        { "1b00000000ffffffff", 'u', false },
        { "1bffffffffffffffff", 'u', true },
        { "1bffffffffffffff", 'u', false },
        { "1c", 'u', false }, { "1d", 'u', false }, { "1e", 'u', false },
        { "1f", 'u', false }, { "20", 'u', false }, { "c000", 'u', false },
        { "f6", 'u', false }, { "f93c00", 'u', false },

        { "40", 'b', true }, { "4101", 'b', true }, { "4201", 'b', false },
        { "5801aa", 'b', false }, { "5f4101ff", 'b', false },
        { "5bffffffffffffffff", 'b', false }, { "6161", 'b', false },

        { "60", 't', true }, { "6161", 't', true }, { "62c3a9", 't', true },
        { "62c328", 't', false }, { "61c3", 't', false },
        { "62c080", 't', false }, { "62c1bf", 't', false },
        { "63e282ac", 't', true }, { "63e0809f", 't', false },
        { "63eda080", 't', false }, { "63edbfbf", 't', false },
        { "63ed9fbf", 't', true }, { "63ee8080", 't', true },
        { "64f09d849e", 't', true }, { "64f08fbfbf", 't', false },
        { "64f48fbfbf", 't', true }, { "64f4908080", 't', false },
        { "65f888808080", 't', false }, { "6180", 't', false },
        { "61ff", 't', false }, { "63f09d84", 't', false },

        { "80", 'a', true }, { "97", 'a', true }, { "9818", 'a', true },
        { "9819", 'a', false }, { "9f", 'a', false }, { "a0", 'a', false },
        { "9bffffffffffffffff", 'a', false },
        { "a0", 'm', true }, { "bf", 'm', false }, { "b819", 'm', false },
        { "80", 'm', false },

        { "01020317", 'k', true }, { "0101", 'k', false },
        { "0201", 'k', false }, { "00", 'k', false },
        { "18ff", 'k', true }, { "190100", 'k', false },
        { "1b0000000100000001", 'k', false },
    };

    for (i = 0; i < tn_nelems(items); i++) {
        ok(reads(items[i].hex, items[i].type) == items[i].good,
           "reader: %c of %s", items[i].type, items[i].hex);
    }
}


int
main(void)
{
    ok(tn_crypto_init() == TN_OK, "init");

    test_reader();
    test_vectors();

    return tap_done();
}
