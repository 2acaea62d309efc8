
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Tailnet lock over the netmap: who is not signed is not there, for nobody
 * who follows it, in whatever order signatures, keys and the lock itself
 * come and go.
 */

#include "tap.h"

#include "control/tn_netmap.h"
#include "crypto/tn_curve.h"
#include "lock/tn_resign.h"

#include <jansson.h>
#include <sodium.h>
#include <stdlib.h>


#define SELF  "\"Node\":{\"ID\":1,\"Name\":\"web.t.\",\"Key\":\"nodekey:"     \
    "1111111111111111111111111111111111111111111111111111111111111111\","     \
    "\"Addresses\":[\"100.64.0.1/32\"],\"MachineAuthorized\":true}"

static tn_netmap_t           *netmap;
static tn_netmap_changes_t    changes;
static tn_lock_t              lock;

/* a trusted key, one that is not, and a node's own lock key */
static uint8_t  trusted[64], stranger[64], own[64];
static uint8_t  trusted_pub[32], stranger_pub[32], own_pub[32];


static tn_key_t
node_key(uint8_t n)
{
    tn_key_t  key;

    memset(key.b, n, sizeof(key.b));

    return key;
}


/* upstream's SigDirect, by hand; base64 as JSON has it */
static char *
signed_by(const uint8_t *secret, const uint8_t *pub, uint8_t node,
    uint8_t *raw, size_t *len)
{
    char     *text;
    size_t    n;
    uint8_t   buf[512], hash[TN_BLAKE2S_LEN], sig[64];
    int       pass;

    n = 0;

    for (pass = 0; pass < 2; pass++) {
        n = 0;
        buf[n++] = pass ? 0xa5 : 0xa4;
        buf[n++] = 1;
        buf[n++] = TN_NODESIG_DIRECT;
        memcpy(buf + n, "\x02\x58\x22np", 5);
        memset(buf + n + 5, node, 32);
        n += 37;
        memcpy(buf + n, "\x03\x58\x20", 3);
        memcpy(buf + n + 3, pub, 32);
        n += 35;

        if (pass) {
            memcpy(buf + n, "\x04\x58\x40", 3);
            memcpy(buf + n + 3, sig, 64);
            n += 67;
        }

        memcpy(buf + n, "\x06\x58\x20", 3);
        memcpy(buf + n + 3, own_pub, 32);
        n += 35;

        if (!pass) {
            (void) tn_blake2s(hash, buf, n, NULL, 0);
            (void) crypto_sign_detached(sig, NULL, hash, sizeof(hash),
                                        secret);
        }
    }

    if (raw != NULL) {
        memcpy(raw, buf, n);
        *len = n;
    }

    text = malloc(1024);
    sodium_bin2base64(text, 1024, buf, n, sodium_base64_VARIANT_ORIGINAL);

    return text;
}


/* the same, handed on to another node key */
static char *
handed_on(const uint8_t *old, size_t old_len, uint8_t node, uint8_t *raw,
    size_t *len)
{
    char      *text;
    uint8_t   *out;
    tn_key_t   key;

    key = node_key(node);

    if (tn_resign(&out, len, own, &key, old, old_len) != TN_OK) {
        abort();
    }

    text = malloc(4096);
    sodium_bin2base64(text, 4096, out, *len, sodium_base64_VARIANT_ORIGINAL);
    memcpy(raw, out, *len);
    free(out);

    return text;
}


static char *
peer(int id, uint8_t key, const char *signature, const char *more)
{
    int    i;
    char  *text, hex[65];

    for (i = 0; i < 32; i++) {
        sprintf(hex + 2 * i, "%02x", key);
    }

    text = malloc(8192);
    snprintf(text, 8192, "{\"ID\":%d,\"Name\":\"p%d.t.\",\"Key\":\"nodekey:"
             "%s\",\"Addresses\":[\"100.64.0.%d/32\"],\"KeySignature\":"
             "%s%s%s%s}", id, id, hex, id, signature ? "\"" : "",
             signature ? signature : "null", signature ? "\"" : "", more);

    return text;
}


static void
apply(const char *fmt, ...)
{
    char     text[65536];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    tn_netmap_changes_done(&changes);

    if (tn_netmap_apply(netmap, text, strlen(text), 1800000000, &changes)
        != TN_OK)
    {
        ok(false, "a message: %s", text);
    }
}


static void
locked(const tn_lock_t *by)
{
    tn_netmap_changes_done(&changes);
    is_int(tn_netmap_set_lock(netmap, by, &changes), TN_OK, "the lock");
}


/* id is there, or is not, in all ways to look for it */
static bool
is_there(int id, uint8_t key)
{
    char                     name[16];
    unsigned                 ways;
    tn_ip_t                  ip;
    tn_key_t                 k;
    const tn_netmap_node_t  *node;

    k = node_key(key);
    snprintf(name, sizeof(name), "p%d", id);
    ip = tn_ip_from_v4((const uint8_t[4]) { 100, 64, 0, (uint8_t) id });

    ways = (tn_netmap_find_id(netmap, id) != NULL)
           + (tn_netmap_find_key(netmap, &k) != NULL)
           + (tn_netmap_find_ip(netmap, &ip) != NULL)
           + (tn_netmap_find_route(netmap, &ip) != NULL)
           + (tn_netmap_find_name(netmap, name, strlen(name)) != NULL);

    for (node = tn_netmap_each(netmap, NULL);
         node != NULL;
         node = tn_netmap_each(netmap, node))
    {
        ways += node->id == id;
    }

    if (ways != 0 && ways != 6) {
        ok(false, "peer %d is found in %u ways of 6", id, ways);
    }

    return ways == 6;
}


static bool
told_removed(int id)
{
    return changes.nremoved == 1 && changes.removed[0].id == id
           && changes.npeers == 0;
}


static bool
told_added(int id)
{
    return changes.nremoved == 0 && changes.npeers == 1
           && changes.peers[0]->id == id
           && changes.peers[0]->changed == TN_NODE_ADDED;
}


static void
hides(void)
{
    char    *good, *bad, *p2, *p3, *p4, *p5;

    good = signed_by(trusted, trusted_pub, 2, NULL, NULL);
    bad = signed_by(stranger, stranger_pub, 3, NULL, NULL);

    p2 = peer(2, 2, good, "");
    p3 = peer(3, 3, bad, "");
    p4 = peer(4, 4, NULL, "");
    p5 = peer(5, 5, NULL, ",\"UnsignedPeerAPIOnly\":true");

    apply("{" SELF ",\"Peers\":[%s,%s,%s,%s]}", p2, p3, p4, p5);
    is_int((long long) netmap->peers.count, 4, "no lock: everybody");
    ok(tn_netmap_is_vouched(netmap), "nobody need be signed");

    apply("{\"TKAInfo\":{\"Head\":\"ABC\"}}");
    ok(!is_there(2, 2) && !is_there(3, 3) && !is_there(4, 4),
       "a lock that is not known yet vouches for nobody");
    ok(is_there(5, 5), "but those it does not cover");
    is_int((long long) changes.nremoved, 3, "told as removed");
    ok((changes.what & (TN_NETMAP_PEERS | TN_NETMAP_LOCK))
       == (TN_NETMAP_PEERS | TN_NETMAP_LOCK), "with what it is");

    locked(&lock);
    ok(told_added(2) && is_there(2, 2), "who is signed comes");
    ok(!is_there(3, 3), "not by a stranger's signature");
    ok(!is_there(4, 4), "nor without one");
    ok(!tn_netmap_is_vouched(netmap), "nor are we signed");

    /* what comes for somebody hidden is kept for later, and nobody's */

    apply("{\"OnlineChange\":{\"4\":true,\"2\":true},\"PeersChangedPatch\":"
          "[{\"NodeID\":4,\"DERPRegion\":9}]}");
    ok(changes.npeers == 1 && changes.peers[0]->id == 2,
       "a change of one that is hidden is not told");
    free(good);
    good = signed_by(trusted, trusted_pub, 4, NULL, NULL);
    apply("{\"PeersChangedPatch\":[{\"NodeID\":4,\"KeySignature\":\"%s\"}]}",
          good);
    ok(told_added(4) && is_there(4, 4), "signed by a patch it comes");
    ok(changes.peers[0]->home_derp == 9
       && changes.peers[0]->online == TN_YES, "as it is by now");

    /* another key needs another signature */

    apply("{\"PeersChangedPatch\":[{\"NodeID\":4,\"Key\":\"nodekey:0606060606"
          "060606060606060606060606060606060606060606060606060606\"}]}");
    ok(told_removed(4) && !is_there(4, 6), "another key: gone");
    ok(changes.removed[0].key.b[0] == 4, "told by the key that was known");

    /* a full map again */

    apply("{\"Peers\":[%s,%s,%s]}", p2, p3, p5);
    ok(changes.nremoved == 0 && changes.npeers <= 1, "a full map: as before");
    is_int((long long) netmap->hidden.count, 1, "with one hidden");
    apply("{\"PeersRemoved\":[3]}");
    is_int((long long) netmap->hidden.count, 0, "which leaves");
    ok(changes.nremoved == 0, "unheard of");

    /* control's word alone does not end it */

    apply("{\"TKAInfo\":{\"Disabled\":true},\"PeersChanged\":[%s]}", p3);
    ok(!is_there(3, 3), "control says that it is off: it is not");
    locked(NULL);
    ok(told_added(3) && is_there(3, 3), "ended: everybody is there");

    free(good);
    free(bad);
    free(p2);
    free(p3);
    free(p4);
    free(p5);
}


static void
rotates(void)
{
    char     *first, *second, *third, *other, *p[4];
    size_t    len[4];
    uint8_t   raw[4][4096];

    apply("{\"TKAInfo\":{\"Head\":\"ABC\"},\"Peers\":[]}");
    locked(&lock);

    first = signed_by(trusted, trusted_pub, 20, raw[0], &len[0]);
    second = handed_on(raw[0], len[0], 21, raw[1], &len[1]);
    third = handed_on(raw[1], len[1], 22, raw[2], &len[2]);
    other = handed_on(raw[0], len[0], 23, raw[3], &len[3]);

    p[0] = peer(20, 20, first, "");
    p[1] = peer(21, 21, second, "");
    p[2] = peer(22, 22, third, "");
    p[3] = peer(23, 23, other, "");

    apply("{\"PeersChanged\":[%s,%s]}", p[0], p[1]);
    ok(is_there(21, 21) && !is_there(20, 20),
       "a key that was handed on is void");
    apply("{\"PeersChanged\":[%s]}", p[2]);
    ok(is_there(22, 22) && !is_there(21, 21), "and again");
    apply("{\"PeersChanged\":[%s]}", p[3]);
    ok(is_there(22, 22) && !is_there(23, 23), "of two the longer counts");
    apply("{\"PeersRemoved\":[22]}");
    ok(!is_there(21, 21) && !is_there(23, 23),
       "of two as long neither does");
    apply("{\"PeersRemoved\":[21]}");
    ok(is_there(23, 23) && !is_there(20, 20), "the last one alone does");
    apply("{\"PeersRemoved\":[23]}");
    ok(is_there(20, 20), "and the first, when nobody has it void");

    free(first);
    free(second);
    free(third);
    free(other);
    free(p[0]);
    free(p[1]);
    free(p[2]);
    free(p[3]);
}


int
main(void)
{
    if (!ok(tn_crypto_init() == TN_OK, "crypto")) {
        return tap_done();
    }

    (void) crypto_sign_keypair(trusted_pub, trusted);
    (void) crypto_sign_keypair(stranger_pub, stranger);
    (void) crypto_sign_keypair(own_pub, own);

    lock.state.n = 1;
    lock.state.keys[0].votes = 1;
    memcpy(lock.state.keys[0].pub, trusted_pub, 32);

    netmap = tn_netmap_create(NULL);

    hides();
    rotates();

    tn_netmap_changes_done(&changes);
    tn_netmap_destroy(netmap);

    return tap_done();
}
