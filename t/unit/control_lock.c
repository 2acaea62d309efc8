
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Tailnet lock between the control client and a server in memory: a lock that
 * begins, goes on while it is asked about, and ends, and what the owner of the
 * client is told of it.
 */

#include "control_world.h"
#include "tap.h"

#include "lock/tn_aums.h"

#include <argon2.h>


#define SELF  "\"Node\":{\"ID\":1,\"Name\":\"web.t.\",\"Key\":\"nodekey:"     \
    "1111111111111111111111111111111111111111111111111111111111111111\","     \
    "\"Addresses\":[\"100.64.0.1/32\"],\"MachineAuthorized\":true}"

#define SECRET  "a disablement secret"
#define UPDATES  3

typedef struct {
    uint8_t  bytes[512];
    size_t   len;
    uint8_t  hash[TN_BLAKE2S_LEN];
    char     head[TN_AUMS_TEXT];
    char     text[1024];                /* base64 */
} update_t;


static uint8_t   trusted[64], trusted_pub[32];
static update_t  update[UPDATES];       /* a checkpoint, two more keys */

/* what control has and does */
static int   control_head;              /* of the updates; -1: off */
static bool  hold_send, hold_boot;
static int   bootstraps, offers;
static char  map[4096], answer[4096];


/* ends with a signature, of the hash of what stands before it */
static void
update_sign(update_t *u, size_t pairs)
{
    uint8_t  hash[TN_BLAKE2S_LEN], sig[64];

    u->bytes[0] = (uint8_t) (0xa0 | pairs);
    (void) tn_blake2s(hash, u->bytes, u->len, NULL, 0);
    (void) crypto_sign_detached(sig, NULL, hash, sizeof(hash), trusted);

    u->bytes[0]++;
    memcpy(u->bytes + u->len, "\x17\x81\xa2\x01\x58\x20", 6);
    memcpy(u->bytes + u->len + 6, trusted_pub, 32);
    memcpy(u->bytes + u->len + 38, "\x02\x58\x40", 3);
    memcpy(u->bytes + u->len + 41, sig, 64);
    u->len += 105;

    (void) tn_blake2s(u->hash, u->bytes, u->len, NULL, 0);
    tn_aums_hash_text(u->head, u->hash);
    sodium_bin2base64(u->text, sizeof(u->text), u->bytes, u->len,
                      sodium_base64_VARIANT_ORIGINAL);
}


static void
updates_make(void)
{
    int        i;
    uint8_t    disabling[32];
    update_t  *u;

    /* upstream's DisablementKDF() */
    (void) argon2i_hash_raw(4, 16 * 1024, 4, SECRET, strlen(SECRET),
                            "tailscale network-lock disablement salt", 39,
                            disabling, sizeof(disabling));

    u = &update[0];
    memcpy(u->bytes + 1, "\x01\x05\x02\xf6\x05\xa3\x01\xf6\x02\x81\x58\x20",
           12);
    memcpy(u->bytes + 13, disabling, 32);
    memcpy(u->bytes + 45, "\x03\x81\xa3\x01\x01\x02\x01\x03\x58\x20", 10);
    memcpy(u->bytes + 55, trusted_pub, 32);
    u->len = 87;
    update_sign(u, 3);

    for (i = 1; i < UPDATES; i++) {
        u = &update[i];
        memcpy(u->bytes + 1, "\x01\x01\x02\x58\x20", 5);
        memcpy(u->bytes + 6, update[i - 1].hash, 32);
        memcpy(u->bytes + 38, "\x03\xa3\x01\x01\x02\x01\x03\x58\x20", 9);
        memset(u->bytes + 47, i, 32);
        u->len = 79;
        update_sign(u, 3);
    }
}


/* base64 of upstream's SigDirect for the node key of bytes `key` */
static void
node_sign(char text[512], int key)
{
    int       pass;
    size_t    n;
    uint8_t   buf[256], hash[TN_BLAKE2S_LEN], sig[64];

    n = 0;

    for (pass = 0; pass < 2; pass++) {
        buf[0] = pass ? 0xa4 : 0xa3;
        memcpy(buf + 1, "\x01\x01\x02\x58\x22np", 7);
        memset(buf + 8, key, 32);
        memcpy(buf + 40, "\x03\x58\x20", 3);
        memcpy(buf + 43, trusted_pub, 32);
        n = 75;

        if (pass) {
            memcpy(buf + n, "\x04\x58\x40", 3);
            memcpy(buf + n + 3, sig, 64);
            n += 67;
            break;
        }

        (void) tn_blake2s(hash, buf, n, NULL, 0);
        (void) crypto_sign_detached(sig, NULL, hash, sizeof(hash), trusted);
    }

    sodium_bin2base64(text, 512, buf, n, sodium_base64_VARIANT_ORIGINAL);
}


/* peer 2 is signed, 3 is not */
static void
map_make(void)
{
    int     id;
    char    hex[65], signature[512];
    size_t  n;

    n = (size_t) snprintf(map, sizeof(map), "{" SELF ",\"TKAInfo\":{\"Head\":"
                          "\"%s\"},\"Peers\":[", update[control_head].head);

    for (id = 2; id <= 3; id++) {
        for (size_t i = 0; i < 32; i++) {
            snprintf(hex + 2 * i, 3, "%02x", id);
        }

        n += (size_t) snprintf(map + n, sizeof(map) - n, "%s{\"ID\":%d,"
                               "\"Name\":\"p%d.t.\",\"Key\":\"nodekey:%s\","
                               "\"Addresses\":[\"100.64.0.%d/32\"]",
                               id > 2 ? "," : "", id, id, hex, id);

        if (id == 2) {
            node_sign(signature, id);
            n += (size_t) snprintf(map + n, sizeof(map) - n,
                                   ",\"KeySignature\":\"%s\"", signature);
        }

        n += (size_t) snprintf(map + n, sizeof(map) - n, "}");
    }

    (void) snprintf(map + n, sizeof(map) - n, "],\"PacketFilter\":[]}");
}


static const char *
control_answer(const char *path)
{
    int     i;
    char    secret[64];
    size_t  n;

    if (strcmp(path, "/machine/tka/bootstrap") == 0) {
        bootstraps++;

        if (hold_boot) {
            return NULL;
        }

        if (control_head != -1) {
            snprintf(answer, sizeof(answer), "{\"GenesisAUM\":\"%s\"}",
                     update[0].text);

        } else {
            sodium_bin2base64(secret, sizeof(secret),
                              (const uint8_t *) SECRET, strlen(SECRET),
                              sodium_base64_VARIANT_ORIGINAL);
            snprintf(answer, sizeof(answer), "{\"DisablementSecret\":\"%s\"}",
                     secret);
        }

        return answer;
    }

    if (strcmp(path, "/machine/tka/sync/offer") == 0) {
        offers++;

        n = (size_t) snprintf(answer, sizeof(answer), "{\"Head\":\"%s\","
                              "\"Ancestors\":[\"%s\"],\"MissingAUMs\":[",
                              update[control_head].head, update[0].head);

        for (i = 1; i <= control_head; i++) {
            n += (size_t) snprintf(answer + n, sizeof(answer) - n,
                                   "%s\"%s\"", i > 1 ? "," : "",
                                   update[i].text);
        }

        (void) snprintf(answer + n, sizeof(answer) - n, "]}");

        return answer;
    }

    if (strcmp(path, "/machine/tka/sync/send") == 0) {
        snprintf(answer, sizeof(answer), "{\"Head\":\"%s\"}",
                 update[control_head].head);

        return hold_send ? NULL : answer;
    }

    return "";
}


static void
begin(int head)
{
    static uint64_t  seed = 2000;

    control_head = head;
    hold_send = false;
    bootstraps = 0;
    offers = 0;
    map_make();

    world_begin(++seed, map);
    w.answer = control_answer;

    create();
    tn_control_start(w.control);
    run(1000);
}


static int
peers(void)
{
    return (int) tn_control_netmap(w.control)->peers.count;
}


static bool
knows(int head)
{
    const tn_lock_t  *lock;

    lock = tn_control_netmap(w.control)->lock;

    return lock != NULL && memcmp(lock->head, update[head].hash,
                                  sizeof(lock->head)) == 0;
}


static void
goes_on(void)
{
    int   i;
    char  text[256];

    begin(0);
    ok(knows(0), "the lock is known");
    is_int(peers(), 1, "who is signed is there");
    is_int(bootstraps, 1, "asked for once");
    i = offers;

    snprintf(text, sizeof(text), "{\"TKAInfo\":{\"Head\":\"%s\"}}",
             update[1].head);
    control_head = 1;
    server_map(text);
    run(100);
    ok(knows(1), "another head: its update comes");
    is_int(offers, i + 1, "by one offer");
    world_end();

    /* the next comes while this one is being told of */

    begin(0);
    hold_send = true;
    control_head = 1;
    server_map(text);
    run(100);
    ok(knows(1), "an update");
    hold_send = false;
    strcpy(text, answer);
    control_head = 2;
    snprintf(answer, sizeof(answer), "{\"TKAInfo\":{\"Head\":\"%s\"}}",
             update[2].head);
    server_map(answer);
    run(100);
    server_answer(server_conn(), "/machine/tka/sync/send", text);
    run(100);
    ok(knows(2), "one that comes while control is told of the one before");
    i = offers;
    run(60000);
    is_int(offers, i, "and that is all");
    world_end();

    /* control does not say how it began */

    hold_boot = true;
    begin(0);
    ok(!knows(0) && peers() == 0, "an unknown lock keeps everybody out");
    hold_boot = false;
    run(20000);
    is_int(bootstraps, 1, "an answer is waited for");
    run(60000);
    ok(knows(0) && peers() == 1, "but not for ever");
    world_end();

    /* a head that is none */

    begin(0);
    i = offers;
    server_map("{\"TKAInfo\":{\"Head\":\"AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"
               "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA\"}}");
    run(10);
    ok(offers - i <= 1, "a head that cannot be is asked about once, %d",
       offers - i);
    ok(knows(0), "and changes nothing");
    world_end();
}


static void
ends(void)
{
    begin(1);
    ok(knows(1), "the lock is on");
    is_int(peers(), 1, "one of two peers is signed");
    w.nchanged = 0;
    control_head = -1;
    server_map("{\"TKAInfo\":{\"Disabled\":true}}");
    run(100);
    ok(tn_control_netmap(w.control)->lock == NULL, "ended by its secret");
    is_int(peers(), 2, "the other is there");
    is_int((long long) w.nchanged, 1, "and the owner is told of it");
    world_end();

    /* without a registration nobody is vouched for, and nobody there */

    begin(1);
    w.nremoved = 0;
    (void) tn_control_logout(w.control);

    run(6000);
    is_int(w.state, TN_CONTROL_STOPPED, "a logout");
    is_int((long long) w.nremoved, 1, "the owner is told who left");
    world_end();
}


int
main(void)
{
    static const uint8_t  seed[32] = { 42 };

    if (!ok(tn_crypto_init() == TN_OK, "crypto")) {
        return tap_done();
    }

    (void) crypto_sign_seed_keypair(trusted_pub, trusted, seed);
    updates_make();

    goes_on();
    ends();

    return tap_done();
}
