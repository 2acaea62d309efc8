
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The netmap: every field of a MapResponse, absent, null and empty; deltas
 * and what they report; look-ups; hostile messages.
 */

#include "control/tn_netmap.h"
#include "control/tn_netmap_int.h"

#include <stdarg.h>
#include <stdlib.h>

#include "tap.h"


#define WALL  1800000000

static tn_netmap_t          *map;
static tn_netmap_changes_t   changes;
static char                  logged[4096];
static int                   nlogged;


static void
log_write(tn_log_t *log, tn_log_level_e level, const char *line, size_t len)
{
    (void) log;
    (void) level;

    snprintf(logged, sizeof(logged), "%.*s", (int) len, line);
    nlogged++;
}


static tn_log_t  test_log = { TN_LOG_DEBUG, log_write, NULL };


__attribute__((format(printf, 1, 2)))
static tn_rc_t
apply(const char *fmt, ...)
{
    char      json[16384];
    va_list   args;

    va_start(args, fmt);
    vsnprintf(json, sizeof(json), fmt, args);
    va_end(args);

    tn_netmap_changes_done(&changes);

    return tn_netmap_apply(map, json, strlen(json), WALL, &changes);
}


static tn_rc_t
fresh(const char *json)
{
    tn_map_message_t  message;

    tn_netmap_changes_done(&changes);

    if (tn_map_message_cut(&message, json, strlen(json)) != TN_OK) {
        return TN_MALFORMED;
    }

    return tn_netmap_apply_message(map, &message, true, WALL, &changes);
}


/* a key of one digit, as text */
#define KEY(d)  "\"nodekey:" d d d d d d d d d d d d d d d d d d d d d d d d  \
                d d d d d d d d d d d d d d d d d d d d d d d d d d d d d d   \
                d d d d d d d d d d "\""
#define DISCO(d)  "\"discokey:" d d d d d d d d d d d d d d d d d d d d d d   \
                d d d d d d d d d d d d d d d d d d d d d d d d d d d d d d   \
                d d d d d d d d d d d d "\""

#define PEER(id, d, more)                                                     \
    "{\"ID\":" id ",\"StableID\":\"n" id "\",\"Name\":\"p" id                 \
    ".tail.test.\",\"User\":7,\"Key\":" KEY(d)                                \
    ",\"Addresses\":[\"100.64.0." id "/32\"]" more "}"

#define SELF                                                                  \
    "{\"ID\":1,\"StableID\":\"n1\",\"Name\":\"Web.tail.test.\",\"User\":7,"   \
    "\"Key\":" KEY("1") ",\"Addresses\":[\"100.64.0.1/32\","                  \
    "\"fd7a:115c:a1e0::1/128\"],\"MachineAuthorized\":true,"                  \
    "\"Capabilities\":[\"funnel\",\"https\"],"                                \
    "\"CapMap\":{\"https\":[],\"a\":[{\"x\":1}]}}"


static tn_key_t
key_of(uint8_t digit)
{
    tn_key_t  key;

    memset(key.b, digit * 0x11, sizeof(key.b));

    return key;
}


static tn_netmap_node_t *
by_key(uint8_t digit)
{
    tn_key_t  key;

    key = key_of(digit);

    return tn_netmap_find_key(map, &key);
}


static tn_netmap_node_t *
by_ip(const char *text)
{
    tn_ip_t  ip;

    return tn_ip_parse(&ip, text, strlen(text)) == TN_OK
           ? tn_netmap_find_ip(map, &ip) : NULL;
}


static tn_netmap_node_t *
by_route(const char *text)
{
    tn_ip_t  ip;

    return tn_ip_parse(&ip, text, strlen(text)) == TN_OK
           ? tn_netmap_find_route(map, &ip) : NULL;
}


static tn_netmap_node_t *
by_name(const char *name)
{
    return tn_netmap_find_name(map, name, strlen(name));
}


static int64_t
id_of(const tn_netmap_node_t *node)
{
    return node ? node->id : 0;
}


static uint32_t
changed(int64_t id)
{
    size_t  i;

    for (i = 0; i < changes.npeers; i++) {
        if (changes.peers[i]->id == id) {
            return changes.peers[i]->changed;
        }
    }

    return 0;
}


static void
self_and_peers(void)
{
    tn_netmap_node_t       *node;
    const tn_netmap_cap_t  *cap;

    is_int(apply("{\"Node\":" SELF ",\"Peers\":["
                 PEER("2", "2", ",\"AllowedIPs\":[\"100.64.0.2/32\","
                      "\"10.1.0.0/16\"],\"Endpoints\":[\"192.0.2.1:5\","
                      "\"[2001:db8::1]:6\",\"rubbish\",7],"
                      "\"DERP\":\"127.3.3.40:9\",\"Cap\":113,"
                      "\"DiscoKey\":" DISCO("a") ","
                      "\"Hostinfo\":{\"Hostname\":\"Two\",\"OS\":\"linux\","
                      "\"Services\":[{\"Proto\":\"peerapi4\",\"Port\":1234},"
                      "{\"Proto\":\"peerapi6\",\"Port\":99999}]},"
                      "\"Tags\":[\"tag:db\"],\"Online\":true,"
                      "\"LastSeen\":\"2024-01-02T03:04:05.5+01:00\","
                      "\"KeyExpiry\":\"0001-01-01T00:00:00Z\","
                      "\"KeySignature\":\"AQID\"") ","
                 PEER("3", "3", ",\"AllowedIPs\":null,\"HomeDERP\":4,"
                      "\"DERP\":\"127.3.3.40:9\",\"IsJailed\":true") ","
                 PEER("4", "4", ",\"AllowedIPs\":[],"
                      "\"Sharer\":9007199254740993") ","
                 PEER("5", "5", ",\"UnsignedPeerAPIOnly\":true,"
                      "\"AllowedIPs\":[\"0.0.0.0/0\"]")
                 "],\"Domain\":\"tail.test\",\"UserProfiles\":[{\"ID\":7,"
                 "\"LoginName\":\"a@b\",\"DisplayName\":\"A\"}]}"),
           TN_OK, "a first map");

    is_int(map->self->id, 1, "self");
    is_int(map->self->machine_authorized, 1, "authorized");
    is_int((long long) map->self->ncaps, 3, "capabilities of both lists");
    cap = tn_netmap_node_cap(map->self, "a");
    is_str(cap ? cap->json : NULL, "[{\"x\":1}]", "with its values");
    cap = tn_netmap_node_cap(map->self, "funnel");
    ok(cap != NULL && cap->json == NULL, "one without values");
    ok(tn_netmap_node_cap(map->self, "b") == NULL, "none");

    is_int((long long) map->peers.count, 4, "peers");
    is_int((long long) changes.npeers, 4, "all told");
    is_int(changed(2), TN_NODE_ADDED, "as added");
    is_int(changes.what, TN_NETMAP_SELF | TN_NETMAP_PEERS | TN_NETMAP_USERS
           | TN_NETMAP_DOMAIN, "the parts that changed");
    is_str(map->domain, "tail.test", "domain");
    is_str(tn_netmap_find_user(map, 7)->login, "a@b", "user");

    node = tn_netmap_find_id(map, 2);
    is_str(node->hostname, "Two", "hostname");
    is_int((long long) node->nendpoints, 2, "endpoints, rubbish left out");
    is_int(node->home_derp, 9, "home DERP of the old form");
    is_int(node->cap_version, 113, "capability version");
    is_int(node->peerapi4, 1234, "PeerAPI port");
    is_int(node->peerapi6, 0, "an impossible one");
    is_int(node->online, TN_YES, "online");
    is_int(node->last_seen, 1704161045, "last seen");
    is_int(node->key_expiry, 0, "Go's zero time is never");
    is_int((long long) node->key_signature_len, 3, "signature");
    is_int(node->disco.b[31], 0xaa, "disco key");
    ok(tn_netmap_node_has_tag(node, "tag:db", 6), "tag");
    ok(!tn_netmap_node_has_tag(node, "tag:d", 5), "not that one");

    node = tn_netmap_find_id(map, 3);
    is_int((long long) node->nallowed_ips, 1, "AllowedIPs null: Addresses");
    is_int(node->home_derp, 4, "HomeDERP wins");
    is_int(node->online, TN_UNKNOWN, "online not said");
    is_int(node->jailed, 1, "jailed");

    node = tn_netmap_find_id(map, 4);
    is_int((long long) node->nallowed_ips, 0, "AllowedIPs empty: none");
    is_int(node->sharer, 9007199254740993, "an id over 2^53");

    node = tn_netmap_find_id(map, 5);
    is_int((long long) node->nallowed_ips, 1,
           "an unsigned peer only has its addresses");

    is_int(id_of(by_key(2)), 2, "by key");
    is_int(id_of(by_key(1)), 1, "own key");
    is_int(id_of(by_ip("100.64.0.3")), 3, "by address");
    is_int(id_of(by_ip("fd7a:115c:a1e0::1")), 1, "own address");
    ok(by_ip("10.1.2.3") == NULL, "a route is nobody's address");
    is_int(id_of(by_route("10.1.2.3")), 2, "but goes to its router");
    is_int(id_of(by_route("100.64.0.4")), 4, "an address, by route");

    /* the same again is no change */

    is_int(apply("{\"Node\":" SELF ",\"Peers\":[" PEER("3", "3",
                 ",\"AllowedIPs\":null,\"HomeDERP\":4,\"IsJailed\":true")
                 "]}"), TN_OK, "a full map of one peer");
    is_int((long long) changes.nremoved, 3, "the others are gone");
    is_int((long long) changes.npeers, 0, "the one is unchanged");
    is_int(changes.what, TN_NETMAP_PEERS, "self is unchanged");
    ok(by_route("10.1.2.3") == NULL, "routes go with their router");
    ok(by_key(2) == NULL && by_ip("100.64.0.2") == NULL, "so do the indexes");

    is_int(apply("{\"Peers\":[],\"PeersChanged\":[],\"PeersRemoved\":null}"),
           TN_OK, "empty lists");
    is_int((long long) map->peers.count, 1, "change nothing");
    is_int(changes.what, 0, "and tell nothing");
}


static void
deltas(void)
{
    tn_netmap_node_t  *node;

    is_int(apply("{\"PeersChanged\":[" PEER("2", "2", "") ","
                 PEER("6", "6", "") "],\"PeersRemoved\":[3,99]}"), TN_OK,
           "added and removed");
    is_int((long long) map->peers.count, 2, "two peers");
    is_int((long long) changes.nremoved, 1, "one was removed");
    is_int(changes.removed[0].id, 3, "its id");
    is_int(changes.removed[0].key.b[0], 0x33, "its key");

    node = tn_netmap_find_id(map, 2);

    is_int(apply("{\"PeerSeenChange\":{\"2\":true,\"77\":true},"
                 "\"OnlineChange\":{\"2\":true,\"6\":false}}"), TN_OK,
           "seen and online");
    is_int(node->last_seen, WALL, "seen now");
    is_int(node->online, TN_YES, "online");
    is_int(tn_netmap_find_id(map, 6)->online, TN_NO, "offline");
    is_int(changed(2), TN_NODE_ONLINE, "told");

    (void) apply("{\"PeerSeenChange\":{\"2\":false}}");
    is_int(node->last_seen, 0, "seen cleared");

    (void) apply("{\"OnlineChange\":{\"2\":true}}");
    is_int(changes.what, 0, "what was known is no change");

    is_int(apply("{\"PeersChangedPatch\":[{\"NodeID\":2,\"DERPRegion\":12,"
                 "\"Cap\":120,\"CapMap\":{\"c\":null},"
                 "\"Endpoints\":[\"192.0.2.8:1\"],\"DiscoKey\":" DISCO("b")
                 ",\"Online\":false,\"LastSeen\":\"2024-01-01T00:00:00Z\","
                 "\"KeyExpiry\":\"2030-01-01T00:00:00Z\","
                 "\"KeySignature\":\"AQ==\"},{\"NodeID\":55,\"Cap\":1}]}"),
           TN_OK, "a patch of everything but the key");
    is_int(changed(2), TN_NODE_DERP | TN_NODE_CAPS | TN_NODE_ENDPOINTS
           | TN_NODE_DISCO | TN_NODE_ONLINE | TN_NODE_EXPIRY | TN_NODE_LOCK,
           "told");
    is_int((long long) changes.npeers, 1, "an unknown id is ignored");
    is_int(node->home_derp, 12, "DERP");
    is_int(node->cap_version, 120, "Cap");
    is_int((long long) node->ncaps, 1, "CapMap");
    is_int((long long) node->nendpoints, 1, "endpoints");
    is_int(node->disco.b[0], 0xbb, "disco key");
    is_int(node->online, TN_NO, "online");
    is_int(node->last_seen, 1704067200, "last seen");
    is_int(node->key_expiry, 1893456000, "expiry");
    is_int((long long) node->key_signature_len, 1, "signature");
    is_int(node->key.b[0], 0x22, "the key stays");
    is_str(node->name, "p2.tail.test.", "the name too");

    (void) apply("{\"PeersChangedPatch\":[{\"NodeID\":2}]}");
    is_int(changes.what, 0, "an empty patch changes nothing");

    (void) apply("{\"PeersChangedPatch\":[{\"NodeID\":2,\"Endpoints\":[],"
                 "\"CapMap\":{}}]}");
    is_int(changed(2), TN_NODE_ENDPOINTS | TN_NODE_CAPS,
           "empty lists in a patch are values");
    is_int((long long) node->nendpoints, 0, "no endpoints");

    (void) apply("{\"PeersChangedPatch\":[{\"NodeID\":2,\"Key\":" KEY("7")
                 "}]}");
    is_int(changed(2), TN_NODE_KEY, "a new key");
    is_int(node->old_key.b[0], 0x22, "the old one");
    ok(by_key(2) == NULL && by_key(7) == node, "the index follows");
    ok(tn_netmap_find_id(map, 2) == node, "the node is the same");

    (void) apply("{\"PeersChanged\":[" PEER("2", "8", "") "],"
                 "\"PeersChangedPatch\":[{\"NodeID\":2,\"Key\":" KEY("9")
                 "}]}");
    is_int(node->old_key.b[0], 0x77, "two keys in a message: the known one");
    ok(by_key(9) == node && by_key(8) == NULL, "the last counts");

    /* a machine that registers again has its key under a new id */

    (void) apply("{\"PeersChanged\":[" PEER("12", "9", "") "]}");
    is_int((long long) changes.nremoved, 1, "one key, two ids: the old goes");
    is_int(changes.removed[0].id, 2, "that one");
    is_int(id_of(by_key(9)), 12, "the new one has it");
    is_int(changed(12), TN_NODE_ADDED, "and is told");
    (void) apply("{\"PeersRemoved\":[2]}");
    is_int(changes.what, 0, "its own removal comes late");

    (void) apply("{\"PeersChanged\":[" PEER("13", "a", "") "],"
                 "\"PeersChangedPatch\":[{\"NodeID\":6,\"Key\":" KEY("a")
                 "}]}");
    ok(tn_netmap_find_id(map, 13) == NULL && changed(13) == 0,
       "one that came and went in a message is not told");
    is_int((long long) changes.nremoved, 0, "nor removed");
    is_int(id_of(by_key(10)), 6, "the key is the other's");

    (void) apply("{\"PeersChanged\":[" PEER("14", "1", "") "]}");
    ok(tn_netmap_find_id(map, 14) == NULL, "nobody has our own key");

    (void) apply("{\"PeersChanged\":[" PEER("6", "a", ",\"AllowedIPs\":"
                 "[\"10.2.0.0/16\"]") "]}");
    is_int(changed(6), TN_NODE_ALLOWED | TN_NODE_ONLINE, "other routes");
    is_int(id_of(by_route("10.2.9.9")), 6, "are found");

    (void) apply("{\"PeersChanged\":[{\"ID\":6,\"Key\":" KEY("a")
                 ",\"Name\":\"other.tail.test.\",\"StableID\":\"n6\","
                 "\"User\":7,\"Addresses\":[\"100.64.0.66/32\"]}]}");
    is_int(changed(6), TN_NODE_NAME | TN_NODE_ADDRESSES | TN_NODE_ALLOWED,
           "another name and address");
    is_int(id_of(by_ip("100.64.0.66")), 6, "by the new address");
    ok(by_ip("100.64.0.6") == NULL, "not by the old one");
    is_int(id_of(by_name("other")), 6, "by the new name");
    ok(by_name("p6") == NULL, "not by the old one");
}


static void
parts(void)
{
    /* DNS */

    is_int(apply("{\"DNSConfig\":{\"Proxied\":true,\"Domains\":"
                 "[\"tail.test\",\"corp.test.\"],\"Routes\":{\"Tail.test.\":"
                 "null,\"x.test.\":[{\"Addr\":\"192.0.2.53\","
                 "\"BootstrapResolution\":[\"192.0.2.1\"]}]},"
                 "\"Resolvers\":[{\"Addr\":\"https://dns.test/q\"}],"
                 "\"CertDomains\":[\"web.tail.test\"],\"ExtraRecords\":["
                 "{\"Name\":\"Grafana.corp.test.\",\"Value\":\"100.64.9.9\"},"
                 "{\"Name\":\"grafana.corp.test\",\"Type\":\"AAAA\","
                 "\"Value\":\"fd7a:115c:a1e0::99\"},"
                 "{\"Name\":\"bad\",\"Type\":\"TXT\",\"Value\":\"x\"},"
                 "{\"Name\":\"bad\",\"Type\":\"AAAA\","
                 "\"Value\":\"1.2.3.4\"}]}}"), TN_OK, "DNS");
    is_int(changes.what, TN_NETMAP_DNS, "told");
    is_int((long long) map->dns.ndomains, 2, "search domains");
    is_int((long long) map->dns.nroutes, 2, "routes");
    is_str(map->dns.routes[0].suffix, "tail.test", "suffix");
    is_int((long long) map->dns.routes[0].nresolvers, 0, "ours");
    is_int((long long) map->dns.routes[1].resolvers[0].nbootstrap, 1,
           "bootstrap");
    is_int((long long) map->dns.nrecords, 2, "only address records");
    is_str(map->dns.cert_domains[0], "web.tail.test", "cert domains");

    (void) apply("{\"Domain\":\"\"}");
    is_int(changes.what, 0, "absent DNS and an empty domain: no change");
    (void) apply("{\"DNSConfig\":null}");
    is_int((long long) map->dns.nrecords, 2, "null: no change");
    (void) apply("{\"DNSConfig\":{\"Domains\":[\"tail.test\"]}}");
    ok(map->dns.nrecords == 0 && !map->dns.proxied && map->dns.nroutes == 0,
       "a DNSConfig replaces all of it");

    /* DERP map */

    is_int(apply("{\"DERPMap\":{\"Regions\":{\"1\":{\"RegionID\":1,"
                 "\"RegionCode\":\"a\",\"Nodes\":[{\"Name\":\"1a\","
                 "\"HostName\":\"h\",\"DERPPort\":444,\"STUNPort\":-1,"
                 "\"InsecureForTests\":true}]},\"2\":null,\"x\":{},"
                 "\"3\":{\"NoMeasureNoHome\":true}},"
                 "\"HomeParams\":{\"RegionScore\":{\"1\":0.5}}}}"), TN_OK,
           "DERP map");
    is_int(changes.what, TN_NETMAP_DERPMAP, "told");
    is_int(map->derpmap->nregions, 2, "null regions are left out");
    is_int(map->derpmap->regions[0].nodes[0].derp_port, 444, "port");
    is_int(map->derpmap->regions[0].nodes[0].stun_port, -1, "no STUN");
    ok(tn_derpmap_score(map->derpmap, 1) == 0.5, "score");

    (void) apply("{\"DERPMap\":{\"HomeParams\":{\"RegionScore\":"
                 "{\"3\":2}}}}");
    is_int(map->derpmap->nregions, 2, "regions absent: kept");
    ok(tn_derpmap_score(map->derpmap, 1) == 1
       && tn_derpmap_score(map->derpmap, 3) == 2, "scores replaced");
    (void) apply("{\"DERPMap\":{\"Regions\":{\"5\":{}}}}");
    is_int(map->derpmap->nregions, 1, "regions replaced");
    ok(tn_derpmap_score(map->derpmap, 3) == 2, "scores absent: kept");
    (void) apply("{\"DERPMap\":{\"HomeParams\":{}}}");
    ok(tn_derpmap_score(map->derpmap, 3) == 2, "scores absent in it: kept");
    is_int(changes.what, 0, "no change");

    /* packet filter */

    ok(!map->filtered && map->rules.n == 0, "no filter yet");

#define RULE(src)  "{\"SrcIPs\":[\"" src "\"],\"DstPorts\":[{\"IP\":\"*\","   \
                   "\"Ports\":{\"First\":1,\"Last\":2}}]}"

    is_int(apply("{\"PacketFilter\":[]}"), TN_OK, "an empty filter");
    ok(map->filtered && changes.what == TN_NETMAP_FILTER, "is a filter");
    (void) apply("{\"PacketFilter\":[" RULE("10.0.0.1") "," RULE("*") "]}");
    is_int((long long) map->rules.n, 2, "two rules");
    (void) apply("{\"PacketFilter\":[" RULE("10.0.0.1") "," RULE("*") "]}");
    is_int(changes.what, 0, "the same again");
    (void) apply("{\"PacketFilters\":{\"a\":[" RULE("10.0.0.2") "],"
                 "\"z\":[" RULE("10.0.0.3") "]}}");
    is_int((long long) map->rules.n, 4, "named parts add up");
    is_int(map->rules.rule[0]->srcs[0].lo.b[15], 2, "in order of the names");
    (void) apply("{\"PacketFilters\":{\"base\":null,\"none\":null}}");
    is_int((long long) map->rules.n, 2, "null deletes, base is the old list");
    (void) apply("{\"PacketFilters\":{\"a\":[]}}");
    is_int((long long) map->rules.n, 1, "an empty part has no rules");
    (void) apply("{\"PacketFilters\":{\"b\":[" RULE("*") "],\"*\":null}}");
    is_int((long long) map->rules.n, 1, "star with null clears all first");
    is_int(map->rules.rule[0]->srcs[0].kind, TN_RULE_ANY, "what comes stays");
    (void) apply("{\"PacketFilter\":null,\"PacketFilters\":null}");
    is_int(changes.what, 0, "null is absent");
    (void) apply("{\"PacketFilters\":{\"b\":[{\"SrcIPs\":[\"100.64.0.2\","
                 "\"nonsense\"],\"IPProto\":[6],\"CapGrant\":[{\"Dsts\":"
                 "[\"100.64.0.1/32\"],\"Caps\":[\"old\"],\"CapMap\":"
                 "{\"x.test/c\":[{\"a\":1}]}}]}]}}");
    is_int((long long) map->rules.rule[0]->nsrcs, 1, "bad entry left out");
    is_int((long long) map->rules.rule[0]->grants[0].ncaps, 2, "grants");
    is_str(map->rules.rule[0]->grants[0].caps[0].json, "[{\"a\":1}]",
           "values");

    /* users */

    (void) apply("{\"UserProfiles\":[{\"ID\":8,\"LoginName\":\"c@d\"},"
                 "{\"ID\":7,\"LoginName\":\"a@b\",\"DisplayName\":\"A\"}]}");
    is_int((long long) map->users.count, 2, "users add up");
    (void) apply("{\"UserProfiles\":[{\"ID\":8,\"LoginName\":\"e@f\"}]}");
    is_str(tn_netmap_find_user(map, 8)->login, "e@f", "and are replaced");

    /* messages */

    nlogged = 0;
    (void) apply("{\"Health\":[\"one\",\"two\"]}");
    is_int((long long) map->nmessages, 2, "health");
    is_int(nlogged, 2, "each logged");
    (void) apply("{\"Health\":[\"two\"],\"DisplayMessages\":{\"m\":{"
                 "\"Title\":\"T\",\"Text\":\"X\",\"Severity\":\"high\"}}}");
    is_int((long long) map->nmessages, 2, "health replaced, one message");
    is_int(nlogged, 3, "only the new one logged");
    is_str(logged, "control says: T: X", "as one line");
    (void) apply("{\"Health\":null}");
    is_int(changes.what, 0, "null: no change");
    (void) apply("{\"Health\":[]}");
    is_int((long long) map->nmessages, 1, "an empty list clears");
    (void) apply("{\"DisplayMessages\":{\"m\":null}}");
    is_int((long long) map->nmessages, 0, "null deletes a message");
    (void) apply("{\"DisplayMessages\":{\"a\":{\"Text\":\"1\"},\"b\":"
                 "{\"Text\":\"2\"}}}");
    (void) apply("{\"DisplayMessages\":{\"c\":{\"Text\":\"3\"},\"*\":null}}");
    is_int((long long) map->nmessages, 1, "star clears the others");
    is_str(map->messages[0].text, "3", "the new one stays");

    /* the rest */

    (void) apply("{\"TKAInfo\":{\"Head\":\"ABC\"}}");
    is_str(map->lock_head, "ABC", "tailnet lock");
    (void) apply("{\"TKAInfo\":{\"Head\":\"ABC\",\"Disabled\":true}}");
    is_str(map->lock_head, "", "tailnet lock disabled");

    (void) apply("{\"ControlTime\":\"2027-01-15T08:00:30Z\"}");
    is_int(map->clock_offset, 0, "a small difference of the clocks");
    (void) apply("{\"ControlTime\":\"2020-08-03T00:00:00Z\"}");
    is_int(map->clock_offset, 1596412800 - WALL, "a large one");
    is_int(changes.what, TN_NETMAP_CLOCK, "told");
}


static void
expiry(void)
{
    int64_t  next;

    (void) apply("{\"PeersChanged\":[" PEER("12", "9",
                 ",\"KeyExpiry\":\"2027-01-15T08:00:10Z\"") ","
                 PEER("6", "a", "") "]}");
    tn_netmap_changes_done(&changes);

    /* control's clock stands in 2020: nothing expires by it */

    next = tn_netmap_expire(map, WALL + 100, &changes);
    is_int((long long) changes.npeers, 0, "by a broken clock none expires");

    (void) apply("{\"ControlTime\":\"2027-01-15T08:00:00Z\"}");
    tn_netmap_changes_done(&changes);

    next = tn_netmap_expire(map, WALL, &changes);
    is_int(next, WALL + 10, "the next to expire");
    is_int((long long) changes.npeers, 0, "not yet");

    next = tn_netmap_expire(map, WALL + 10, &changes);
    is_int(next, WALL + 10 + 3600, "then none, looked at again in an hour");
    is_int(changed(12), TN_NODE_EXPIRY, "it is told");
    is_int(tn_netmap_find_id(map, 12)->expired, 1, "and expired");

    (void) apply("{\"PeersChanged\":[" PEER("12", "9",
                 ",\"KeyExpiry\":\"2027-01-15T08:00:10Z\"") "]}");
    is_int(changes.what, 0, "the same again is no change");

    /* the clock stood ahead and was put right */

    (void) tn_netmap_expire(map, WALL, &changes);
    is_int(changed(12), TN_NODE_EXPIRY, "a clock that was ahead is told");
    is_int(tn_netmap_find_id(map, 12)->expired, 0, "so it has not expired");
    tn_netmap_changes_done(&changes);

    (void) tn_netmap_expire(map, WALL + 10, &changes);
    tn_netmap_changes_done(&changes);
    (void) apply("{\"PeersChanged\":[" PEER("12", "9",
                 ",\"KeyExpiry\":\"2027-01-15T08:00:10Z\",\"Expired\":true")
                 "]}");
    tn_netmap_changes_done(&changes);
    (void) tn_netmap_expire(map, WALL, &changes);
    is_int(tn_netmap_find_id(map, 12)->expired, 1,
           "but what control says stays");
    tn_netmap_changes_done(&changes);

    (void) apply("{\"PeersChangedPatch\":[{\"NodeID\":12,\"KeyExpiry\":"
                 "\"2028-01-01T00:00:00Z\"}]}");
    is_int(tn_netmap_find_id(map, 12)->expired, 0, "a later expiry heals");
}


static void
names(void)
{
    size_t   n;
    tn_ip_t  ips[4];

    (void) apply("{\"PeersChanged\":["
                 PEER("20", "b", "") ","
                 "{\"ID\":21,\"Key\":" KEY("c") ",\"Name\":"
                 "\"p20.other.test.\",\"Addresses\":[\"fd7a::21/128\","
                 "\"100.64.0.21/32\"]},"
                 "{\"ID\":22,\"Key\":" KEY("d") ",\"Name\":"
                 "\"p20.third.test.\",\"Addresses\":[]}],"
                 "\"DNSConfig\":{\"Domains\":[\"other.test\"],"
                 "\"ExtraRecords\":[{\"Name\":\"x.other.test\","
                 "\"Value\":\"fd7a::99\"},{\"Name\":\"x.other.test\","
                 "\"Value\":\"100.64.9.9\"}]}}");

    is_int(id_of(by_name("p20")), 20, "a short name is our own tailnet's");
    is_int(id_of(by_name("P20.Tail.Test.")), 20, "any case, a last dot");
    is_int(id_of(by_name("p20.other.test")), 21, "another tailnet's");
    is_int(id_of(by_name("p20.third.test.")), 22, "and a third's");
    ok(by_name("p20.fourth.test") == NULL, "not a fourth's");
    is_int(id_of(by_name("web")), 1, "our own");
    is_int(id_of(by_name("100.64.0.21")), 21, "an address");
    ok(by_name("") == NULL && by_name(".") == NULL && by_name("..") == NULL,
       "no name");
    ok(by_name("p2") == NULL && by_name("p200") == NULL, "no prefix");

    n = tn_netmap_resolve(map, "p20.other.test", 14, ips, 4);
    ok(n == 2 && tn_ip_is_v4(&ips[0]) && !tn_ip_is_v4(&ips[1]),
       "addresses, IPv4 first");
    n = tn_netmap_resolve(map, "x", 1, ips, 4);
    ok(n == 2 && tn_ip_is_v4(&ips[0]), "an extra record by search domain");
    n = tn_netmap_resolve(map, "x.other.test.", 13, ips, 1);
    is_int((long long) n, 1, "no more than asked for");
    is_int((long long) tn_netmap_resolve(map, "8.8.8.8", 7, ips, 4), 0,
           "an address nobody routes");

    /* the first of a label goes, the others stay */

    (void) apply("{\"PeersRemoved\":[20]}");
    is_int(id_of(by_name("p20.other.test")), 21, "still there");
    is_int(id_of(by_name("p20.third.test")), 22, "this one too");
    is_int(id_of(by_name("p20")), 21, "by search domain");
    (void) apply("{\"PeersRemoved\":[21,22]}");
    ok(by_name("p20.third.test") == NULL, "all gone");

    /* headscale before 0.26 sends no last dot; an upgrade adds it */

    (void) apply("{\"PeersChanged\":[{\"ID\":24,\"Key\":" KEY("b") ","
                 "\"Name\":\"p24.tail.test\",\"DERP\":\"127.3.3.40:9\"}]}");
    is_int(id_of(by_name("p24")), 24, "no last dot: a short name");
    is_int(id_of(by_name("p24.tail.test")), 24, "a full one");
    is_int(id_of(by_name("p24.tail.test.")), 24, "and one with it");
    (void) apply("{\"PeersChanged\":[{\"ID\":24,\"Key\":" KEY("b") ","
                 "\"Name\":\"p24.tail.test.\",\"HomeDERP\":9}]}");
    is_int(tn_netmap_find_id(map, 24)->changed, TN_NODE_NAME,
           "with it and by the newer field: nothing else has changed");
    is_int(id_of(by_name("p24")), 24, "found as before");
    (void) apply("{\"PeersRemoved\":[24]}");
}


static void
restart(void)
{
    is_int(fresh("{\"Node\":" SELF ",\"UserProfiles\":[{\"ID\":7,"
                 "\"LoginName\":\"a@b\"}]}"), TN_OK, "a new stream");
    is_int((long long) map->peers.count, 0, "no peers named: there are none");
    is_int((long long) map->rules.n, 0, "no filter named: nothing allowed");
    is_int((long long) map->users.count, 1, "users are those named");
    is_int((long long) map->nmessages, 0, "messages too");
    ok(map->derpmap != NULL, "the DERP map is kept");
    is_int(changes.self, 0, "self is as it was");
    ok((changes.what & (TN_NETMAP_FILTER | TN_NETMAP_PEERS))
       == (TN_NETMAP_FILTER | TN_NETMAP_PEERS), "told");

    (void) fresh("{\"Node\":" SELF ",\"Peers\":[" PEER("2", "2", "") "],"
                 "\"PacketFilter\":[" RULE("*") "]}");
    (void) fresh("{\"Node\":" SELF ",\"Peers\":[" PEER("2", "2", "") "],"
                 "\"PacketFilter\":[" RULE("*") "]}");
    is_int(changes.what & ~TN_NETMAP_USERS, 0,
           "the same over a new stream is no change");
}


static void
hostile(void)
{
    size_t  i, len;
    char    deep[4096];

    static const char  *bad[] = {
        "", "{", "}", "[]", "5", "nul", "{\"Peers\":}", "{\"Peers\":[}",
        "{\"Peers\":[{]}}", "{\"Peers\":[{}],}", "{\"Peers\":{}}",
        "{\"Peers\":[{\"ID\":2,\"Key\":tru}]}", "{\"Peers\":5}",
        "{\"PeersRemoved\":{}}", "{\"OnlineChange\":[]}",
        "{\"PacketFilter\":{}}", "{\"PacketFilter\":[{\"SrcIPs\":[}]}",
        "{\"PacketFilters\":[]}", "{\"UserProfiles\":1}",
        "{\"Node\":{\"ID\":1]}", "{} {}", "{\"a\" 1}", "{\"a\":1 \"b\":2}",
        "{\"Peers\":[\"", "{\"Health\":[\"\\", "{\"DNSConfig\":{\"a\":--}}"
    };

    static const char  *odd[] = {
        "{}", "{\"Peers\":null}", "{\"Peers\":[null]}", "{\"Peers\":[5]}",
        "{\"Peers\":[{\"ID\":\"2\"}]}", "{\"Peers\":[{}]}",
        "{\"PeersChanged\":[{\"ID\":99999999999999999999}]}",
        "{\"PeersRemoved\":[\"2\",null,{}]}", "{\"OnlineChange\":{\"x\":1}}",
        "{\"PeersChangedPatch\":[5,{},{\"NodeID\":2,\"Endpoints\":7}]}",
        "{\"PacketFilter\":[5,null,{\"SrcIPs\":5,\"DstPorts\":[5,{}]}]}",
        "{\"DNSConfig\":5}", "{\"DNSConfig\":{\"Domains\":{\"a\":5}}}",
        "{\"DERPMap\":5}", "{\"DERPMap\":{\"Regions\":5}}", "{\"Domain\":5}",
        "{\"Health\":5}", "{\"DisplayMessages\":[5]}", "{\"TKAInfo\":[]}",
        "{\"Node\":5}", "{\"Node\":{\"ID\":1}}", "{\"ControlTime\":5}",
        "{\"UserProfiles\":[5,{}]}", "{\"Unknown\":[[[{}]]]}"
    };

    (void) fresh("{\"Node\":" SELF ",\"Peers\":[" PEER("2", "2", "") "],"
                 "\"PacketFilter\":[" RULE("*") "]}");

    for (i = 0; i < tn_nelems(bad); i++) {
        is_int(apply("%s", bad[i]), TN_MALFORMED, bad[i]);
    }

    is_int((long long) map->peers.count, 1, "the last good map stays");
    is_int(apply("{\"PeersRemoved\":[2],\"PeersChanged\":[{\"ID\":}]}"),
           TN_MALFORMED, "half good");
    ok(by_key(2) != NULL && map->rules.n == 1, "nothing of it was done");

    for (i = 0; i < tn_nelems(odd); i++) {
        is_int(apply("%s", odd[i]), TN_OK, odd[i]);
    }

    ok(by_key(2) != NULL && map->self->id == 1, "what was odd is left out");

    for (len = 0; len < 63; len++) {
        deep[len] = '[';
    }

    deep[len] = '\0';
    (void) snprintf(deep + len, sizeof(deep) - len, "%.63s",
                    "]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]]"
                    "]]]]]]]]]]]]]]");
    is_int(apply("{\"x\":%s}", deep), TN_OK, "64 brackets deep");
    is_int(apply("{\"x\":[%s]}", deep), TN_MALFORMED, "65 are too deep");

    /* a label longer than DNS allows, and a name that is too long */

    memset(deep, 'a', 300);
    deep[300] = '\0';
    (void) apply("{\"PeersChanged\":[{\"ID\":30,\"Key\":" KEY("e")
                 ",\"Name\":\"%s.\"}]}", deep);
    is_str(tn_netmap_find_id(map, 30)->name, "", "a name over the limit");
    deep[64] = '\0';
    (void) apply("{\"PeersChanged\":[{\"ID\":30,\"Key\":" KEY("e")
                 ",\"Name\":\"%s.\"}]}", deep);
    ok(by_name(deep) == NULL, "a label over the limit is not found");
}


int
main(void)
{
    map = tn_netmap_create(&test_log);

    if (!ok(map != NULL, "created")) {
        return tap_done();
    }

    self_and_peers();
    deltas();
    parts();
    expiry();
    names();
    restart();
    hostile();

    tn_netmap_changes_done(&changes);
    tn_netmap_destroy(map);

    return tap_done();
}
