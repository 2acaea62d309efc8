
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What of a netmap nginx's workers see: who has an identity and who has none,
 * with which names, tags and capabilities, after each kind of change; a
 * reader beside a writer that does everything anew; 10,000 peers.
 */

#include "node/tn_directory.h"

#include "tap.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <time.h>


#define PEERS  10000

#define KEY(d)  "nodekey:" d d d d d d d d d d d d d d d d d d d d d d d d    \
    d d d d d d d d d d d d d d d d d d d d d d d d d d d d d d d d d d d d    \
    d d d d

static const char  first_map[] =
    "{\"Node\":{\"ID\":1,\"Name\":\"me.t.ts.net.\",\"Key\":\"" KEY("1") "\","
        "\"StableID\":\"nME\","
        "\"Addresses\":[\"100.64.0.1/32\",\"fd7a:115c:a1e0::1/128\"]},"
    "\"Domain\":\"example.com\","
    "\"UserProfiles\":[{\"ID\":7,\"LoginName\":\"alice@example.com\","
        "\"DisplayName\":\"Alice\",\"ProfilePicURL\":\"https://x/a.png\"},"
      "{\"ID\":8,\"LoginName\":\"bob@example.com\"}],"
    "\"Peers\":["
      "{\"ID\":2,\"Name\":\"a.t.ts.net.\",\"Key\":\"" KEY("2") "\","
        "\"StableID\":\"nA\",\"User\":7,"
        "\"Addresses\":[\"fd7a:115c:a1e0::2/128\",\"100.64.0.2/32\"],"
        "\"AllowedIPs\":[\"100.64.0.2/32\",\"fd7a:115c:a1e0::2/128\","
          "\"10.9.0.0/16\"]},"
      "{\"ID\":3,\"Name\":\"b.t.ts.net.\",\"Key\":\"" KEY("3") "\",\"User\":8,"
        "\"Tags\":[\"tag:db\",\"tag:ops\"],"
        "\"Addresses\":[\"100.64.0.3/32\"],"
        "\"AllowedIPs\":[\"100.64.0.3/32\"]},"
      "{\"ID\":4,\"Name\":\"a.other.ts.net.\",\"Key\":\"" KEY("4") "\","
        "\"User\":8,\"Sharer\":7,"
        "\"Addresses\":[\"100.64.0.4/32\"],\"AllowedIPs\":[\"100.64.0.4/32\"]},"
      "{\"ID\":5,\"Name\":\"in.t.ts.net.\",\"Key\":\"" KEY("5") "\","
        "\"UnsignedPeerAPIOnly\":true,"
        "\"Addresses\":[\"100.64.0.5/32\"],\"AllowedIPs\":[\"100.64.0.5/32\"]}"
    "],"
    "\"PacketFilter\":["
      "{\"SrcIPs\":[\"100.64.0.3\"],\"DstPorts\":[{\"IP\":\"*\","
        "\"Ports\":{\"First\":0,\"Last\":65535}}]},"
      "{\"SrcIPs\":[\"100.64.0.2\"],\"CapGrant\":[{\"Dsts\":"
        "[\"100.64.0.1/32\"],"
        "\"CapMap\":{\"example.com/cap/x\":[{\"a\":1},2],"
                    "\"example.com/cap/y\":null,\"bad\\\"name\":[1]}}]},"
      "{\"SrcIPs\":[\"fd7a:115c:a1e0::2\"],\"CapGrant\":[{\"Dsts\":"
        "[\"fd7a:115c:a1e0::1/128\"],"
        "\"CapMap\":{\"example.com/cap/six\":[true]}}]},"
      "{\"SrcIPs\":[\"100.64.0.2\"],\"CapGrant\":[{\"Dsts\":"
        "[\"100.64.0.0/10\"],"
        "\"CapMap\":{\"example.com/cap/x\":[\"more\"]}}]}]}";

static uint8_t                *mem;
static uint8_t                 buf[TN_SNAPSHOT_RECORD_MAX];
static tn_netmap_t            *netmap;
static tn_netmap_changes_t     changes;
static tn_directory_writer_t  *writer;
static tn_directory_t          reader;
static tn_snapshot_peer_t      peer;
static tn_log_t                quiet;
static atomic_bool             stop;


static void
no_log(tn_log_t *log, tn_log_level_e level, const char *line, size_t len)
{
    (void) log;
    (void) level;
    (void) line;
    (void) len;
}


static void
release(void *part, size_t len)
{
    if (madvise(part, len, MADV_REMOVE) == -1) {
        memset(part, 0, len);
    }
}


static bool
apply(const char *json)
{
    tn_netmap_changes_done(&changes);
    memset(&changes, 0, sizeof(changes));

    return tn_netmap_apply(netmap, json, strlen(json), 1800000000, &changes)
           == TN_OK;
}


static tn_rc_t
find(const char *text)
{
    tn_ip_t  ip;

    if (tn_ip_parse(&ip, text, strlen(text)) != TN_OK) {
        abort();
    }

    return tn_directory_find(&reader, &ip, &peer, buf);
}


static const char *
field(tn_snapshot_field_e i)
{
    static char  text[TN_SNAPSHOT_FIELD_MAX + 1];

    memcpy(text, peer.field[i].data, peer.field[i].len);
    text[peer.field[i].len] = '\0';

    return text;
}


static void
test_identity(void)
{
    is_int(find("100.64.0.2"), TN_NOTFOUND, "nobody before the first map");
    ok(apply(first_map), "the first map");
    tn_directory_update(writer, netmap, &changes);

    is_int(find("100.64.0.2"), TN_OK, "a peer by IPv4");
    is_int(peer.id, 2, "its id");
    is_str(field(TN_SNAPSHOT_NAME), "a", "its name");
    is_str(field(TN_SNAPSHOT_FQDN), "a.t.ts.net", "its full name");
    is_str(field(TN_SNAPSHOT_ID), "nA", "its stable id");
    is_str(field(TN_SNAPSHOT_LOGIN), "alice@example.com", "its user");
    is_str(field(TN_SNAPSHOT_DISPLAY), "Alice", "the user's name");
    is_str(field(TN_SNAPSHOT_PICTURE), "https://x/a.png", "and picture");
    is_str(field(TN_SNAPSHOT_TAGS), "", "no tags");
    is_str(field(TN_SNAPSHOT_ADDRESSES), "100.64.0.2,fd7a:115c:a1e0::2",
           "its addresses, IPv4 first");
    is_str(field(TN_SNAPSHOT_CAPS), "{\"example.com/cap/x\":[{\"a\":1},2,"
           "\"more\"],\"example.com/cap/y\":[]}",
           "capabilities of several rules add up");
    is_str(field(TN_SNAPSHOT_CAPS6), "{\"example.com/cap/six\":[true]}",
           "those of IPv6");
    is_int(find("fd7a:115c:a1e0::2"), TN_OK, "by IPv6");
    is_int(peer.id, 2, "the same");

    is_int(find("100.64.0.3"), TN_OK, "a tagged peer");
    is_str(field(TN_SNAPSHOT_TAGS), "tag:db,tag:ops", "its tags");
    is_str(field(TN_SNAPSHOT_LOGIN), "", "and no user");
    is_str(field(TN_SNAPSHOT_CAPS), "{}", "and no capability");

    is_int(find("100.64.0.4"), TN_OK, "one that was shared in");
    is_str(field(TN_SNAPSHOT_NAME), "a.other.ts.net",
           "is not mistaken for ours of that name");

    is_int(find("100.64.0.5"), TN_NOTFOUND, "an unsigned peer is nobody");
    is_int(find("100.64.0.1"), TN_NOTFOUND, "nor are we ourselves");
    is_int(find("10.9.0.7"), TN_NOTFOUND, "nor who is behind a router");
    is_int(find("::"), TN_NOTFOUND, "nor the unspecified address");

    is_int(tn_directory_self(&reader, &peer, buf), TN_OK, "this node");
    is_str(field(TN_SNAPSHOT_FQDN), "me.t.ts.net", "its name");
    is_str(field(TN_SNAPSHOT_ADDRESSES), "100.64.0.1,fd7a:115c:a1e0::1",
           "its addresses");
}


static void
test_changes(void)
{
    uint64_t  since;

    (void) find("100.64.0.3");
    since = peer.since;

    tn_directory_path(writer, netmap, 2, "derp-lab");
    (void) find("100.64.0.2");
    is_str(field(TN_SNAPSHOT_PATH), "derp-lab", "a path");
    (void) find("100.64.0.3");
    ok(peer.since == since, "the others are not touched");

    (void) apply("{\"PeersChanged\":[{\"ID\":2,\"Name\":\"a.t.ts.net.\","
                 "\"StableID\":\"nA\",\"Key\":\"" KEY("2") "\",\"User\":7,"
                 "\"Tags\":[\"tag:new\"],\"Addresses\":[\"100.64.0.2/32\"],"
                 "\"AllowedIPs\":[\"100.64.0.2/32\"]}]}");
    tn_directory_update(writer, netmap, &changes);
    is_int(find("100.64.0.2"), TN_OK, "changed");
    is_str(field(TN_SNAPSHOT_TAGS), "tag:new", "a tag");
    is_str(field(TN_SNAPSHOT_LOGIN), "", "so no user");
    is_str(field(TN_SNAPSHOT_PATH), "derp-lab", "the path is kept");
    is_int(find("fd7a:115c:a1e0::2"), TN_NOTFOUND, "an address less");

    (void) apply("{\"UserProfiles\":[{\"ID\":8,\"LoginName\":\"eve@x\"}]}");
    tn_directory_update(writer, netmap, &changes);
    (void) find("100.64.0.4");
    is_str(field(TN_SNAPSHOT_LOGIN), "eve@x", "a user's other name");

    (void) apply("{\"PacketFilter\":[]}");
    tn_directory_update(writer, netmap, &changes);
    (void) find("100.64.0.2");
    is_str(field(TN_SNAPSHOT_CAPS), "{}", "a grant taken back");

    (void) apply("{\"PeersChangedPatch\":[{\"NodeID\":2,"
                 "\"KeyExpiry\":\"2020-01-01T00:00:00Z\"}]}");
    tn_netmap_changes_done(&changes);
    (void) tn_netmap_expire(netmap, 1800000000, &changes);
    tn_directory_update(writer, netmap, &changes);
    is_int(find("100.64.0.2"), TN_NOTFOUND, "an expired key is nobody's");

    (void) apply("{\"PeersRemoved\":[3]}");
    tn_directory_update(writer, netmap, &changes);
    is_int(find("100.64.0.3"), TN_NOTFOUND, "a peer removed");

    tn_directory_destroy(writer);
    is_int(find("100.64.0.4"), TN_OK, "what was there outlives the core");

    writer = tn_directory_create(mem, release, 3, &quiet);
    is_int(find("100.64.0.4"), TN_OK, "until the next one knows better");
    tn_directory_update(writer, netmap, NULL);
    is_int(find("100.64.0.4"), TN_OK, "and then, too");

    tn_directory_forget(writer);
    is_int(find("100.64.0.4"), TN_NOTFOUND, "all forgotten");
    tn_directory_update(writer, netmap, &changes);
    is_int(find("100.64.0.4"), TN_OK, "and all known again");
}


static char *
large_map(void)
{
    char    *text, *p;
    size_t   i, room;

    room = 1024 + PEERS * 512;
    text = malloc(room);
    p = text;

    if (text == NULL) {
        abort();
    }

    p += sprintf(p, "{\"Node\":{\"ID\":1,\"Name\":\"me.t.ts.net.\",\"Key\":\""
                 KEY("1") "\",\"Addresses\":[\"100.64.0.1/32\"]},"
                 "\"UserProfiles\":[{\"ID\":7,\"LoginName\":"
                 "\"alice@example.com\",\"DisplayName\":\"Alice\"}],"
                 "\"Peers\":[");

    for (i = 0; i < PEERS; i++) {
        p += sprintf(p, "%s{\"ID\":%zu,\"Name\":\"host-%zu.t.ts.net.\","
                     "\"StableID\":\"n%zuCNTRL\",\"User\":7,"
                     "\"Key\":\"nodekey:%064zx\",\"Addresses\":["
                     "\"100.%zu.%zu.%zu/32\",\"fd7a:115c:a1e0::%zx/128\"],"
                     "\"AllowedIPs\":[\"100.%zu.%zu.%zu/32\"]}",
                     i ? "," : "", i + 10, i, i, i + 10, 65 + (i >> 16),
                     i >> 8 & 255, i & 255, i + 10, 65 + (i >> 16),
                     i >> 8 & 255, i & 255);
    }

    (void) sprintf(p, "],\"PacketFilter\":[{\"SrcIPs\":[\"*\"],\"CapGrant\":"
                   "[{\"Dsts\":[\"100.64.0.1/32\"],\"CapMap\":"
                   "{\"example.com/cap/x\":[{\"role\":\"reader\"}]}}]}]}");

    return text;
}


/* of this thread's own time: others may keep the machine busy */
static double
us_since(const struct timespec *then)
{
    struct timespec  now;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);

    return (double) (now.tv_sec - then->tv_sec) * 1e6
           + (double) (now.tv_nsec - then->tv_nsec) / 1e3;
}


static void *
reading(void *arg)
{
    char                 want[32];
    long                 wrong, i;
    tn_ip_t              ip;
    tn_rc_t              rc;
    uint8_t             *own, v4[4];
    tn_snapshot_peer_t   one;

    (void) arg;

    wrong = 0;
    own = malloc(TN_SNAPSHOT_RECORD_MAX);

    for (i = 0; own != NULL && !stop; i = (i + 7) % PEERS) {
        v4[0] = 100;
        v4[1] = 65;
        v4[2] = (uint8_t) (i >> 8);
        v4[3] = (uint8_t) i;
        ip = tn_ip_from_v4(v4);

        rc = tn_directory_find(&reader, &ip, &one, own);
        (void) snprintf(want, sizeof(want), "host-%ld", i);

        if (rc != TN_OK || one.id != i + 10
            || one.field[TN_SNAPSHOT_NAME].len != strlen(want)
            || memcmp(one.field[TN_SNAPSHOT_NAME].data, want, strlen(want))
               != 0)
        {
            wrong++;
        }
    }

    free(own);

    return (void *) wrong;
}


static void
test_many(void)
{
    int               i;
    char             *map;
    void             *wrong;
    double            full, delta, lookup, name, user;
    tn_ip_t           ip;
    uint8_t           v4[4] = { 100, 65, 0, 0 };
    pthread_t         thread;
    struct timespec   then;

    map = large_map();
    ok(apply(map), "a map of 10,000 peers");
    free(map);

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &then);
    tn_directory_update(writer, netmap, NULL);
    full = us_since(&then);

    is_int(find("100.65.39.15"), TN_OK, "the last one");
    is_str(field(TN_SNAPSHOT_NAME), "host-9999", "its name");

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &then);

    for (i = 0; i < 100000; i++) {
        v4[2] = (uint8_t) (i * 7 >> 8 & 31);
        v4[3] = (uint8_t) (i * 7);
        ip = tn_ip_from_v4(v4);
        (void) tn_directory_find(&reader, &ip, &peer, buf);
    }

    lookup = us_since(&then) / 100000;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &then);

    for (i = 0; i < 100000; i++) {
        v4[2] = (uint8_t) (i * 7 >> 8 & 31);
        v4[3] = (uint8_t) (i * 7);
        ip = tn_ip_from_v4(v4);
        (void) tn_directory_find(&reader, &ip, &peer, NULL);
    }

    name = us_since(&then) / 100000;

    (void) apply("{\"PeersChanged\":[{\"ID\":10,\"Name\":\"host-0.t.ts.net.\","
                 "\"Key\":\"" KEY("a") "\",\"User\":7,"
                 "\"Tags\":[\"tag:z\"],\"Addresses\":[\"100.65.0.0/32\"],"
                 "\"AllowedIPs\":[\"100.65.0.0/32\"]}]}");

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &then);
    tn_directory_update(writer, netmap, &changes);
    delta = us_since(&then);

    is_int(find("100.65.0.0"), TN_OK, "one changed");
    is_str(field(TN_SNAPSHOT_TAGS), "tag:z", "its tag");

    (void) apply("{\"UserProfiles\":[{\"ID\":9,\"LoginName\":\"new@x\"}],"
                 "\"PeersChanged\":[{\"ID\":9,\"Name\":\"nine.t.ts.net.\","
                 "\"Key\":\"" KEY("9") "\",\"User\":9,"
                 "\"Addresses\":[\"100.64.0.9/32\"],"
                 "\"AllowedIPs\":[\"100.64.0.9/32\"]}]}");

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &then);
    tn_directory_update(writer, netmap, &changes);
    user = us_since(&then);

    is_int(find("100.64.0.9"), TN_OK, "one more");
    is_str(field(TN_SNAPSHOT_LOGIN), "new@x", "of another user");

    printf("# 10,000 peers: all %.1f ms, one %.1f us, one of a new user %.0f "
           "us, a look-up %.0f ns, of the id alone %.0f ns\n", full / 1000,
           delta, user, lookup * 1000, name * 1000);

    /* CPU time, beside what the same machine takes for all: it may be slow */

    ok(delta < full / 3 && user < full / 3, "a change costs less than all");

    stop = false;

    if (pthread_create(&thread, NULL, reading, NULL) != 0) {
        abort();
    }

    for (i = 0; i < 20; i++) {
        tn_directory_update(writer, netmap, NULL);
    }

    stop = true;
    (void) pthread_join(thread, &wrong);
    is_int((long) wrong, 0, "a reader never misses a peer meanwhile");
}


int
main(void)
{
    mem = mmap(NULL, TN_DIRECTORY_SIZE, PROT_READ | PROT_WRITE,
               MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

    if (mem == MAP_FAILED) {
        abort();
    }

    reader.mem = mem;
    quiet.write = no_log;
    netmap = tn_netmap_create(&quiet);
    writer = tn_directory_create(mem, release, 1, &quiet);

    if (netmap == NULL || writer == NULL) {
        abort();
    }

    test_identity();
    test_changes();
    test_many();

    tn_netmap_changes_done(&changes);
    tn_directory_destroy(writer);
    tn_netmap_destroy(netmap);
    (void) munmap(mem, TN_DIRECTORY_SIZE);

    return tap_done();
}
