
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The netmap on disk: what is packed and unpacked is the same netmap, and
 * nothing but what was packed for this node key is taken.
 */

#include "control/tn_netmap_dump.h"

#include "control/tn_netmap_int.h"

#include <stdlib.h>

#include "tap.h"


#define WALL  1800000000

/* four digits, sixteen times */
#define SIXTEEN(d)  d d d d d d d d d d d d d d d d

#define ONES  SIXTEEN("1111")
#define TWOS  SIXTEEN("2222")
#define FOURS  SIXTEEN("4444")

static const char  whole[] =
    "{\"Node\":{\"ID\":1,\"StableID\":\"n1\",\"Name\":\"web.tail.test.\","
    "\"User\":7,\"Key\":\"nodekey:" ONES "\",\"HomeDERP\":9,"
    "\"KeyExpiry\":\"2030-01-02T03:04:05Z\",\"MachineAuthorized\":true,"
    "\"Addresses\":[\"100.64.0.1/32\",\"fd7a:115c:a1e0::1/128\"],"
    "\"Capabilities\":[\"funnel\"],"
    "\"CapMap\":{\"https\":null,\"a\\\"b\":[{\"x\":1},\"y\"]}},"
    "\"Domain\":\"exa\\\"mple.com\","
    "\"DERPMap\":{\"HomeParams\":{\"RegionScore\":{\"9\":0.7}},"
    "\"Regions\":{\"9\":{\"RegionID\":9,\"RegionCode\":\"x\",\"Avoid\":true,"
    "\"Nodes\":[{\"Name\":\"9a\",\"RegionID\":9,\"HostName\":\"d.test\","
    "\"IPv4\":\"192.0.2.9\",\"IPv6\":\"none\",\"STUNPort\":-1,"
    "\"DERPPort\":8443,\"CanPort80\":true}]},"
    "\"12\":{\"RegionID\":12,\"NoMeasureNoHome\":true,\"Nodes\":[]}}},"
    "\"DNSConfig\":{\"Proxied\":true,\"Domains\":[\"tail.test\"],"
    "\"CertDomains\":[\"web.tail.test\"],"
    "\"Resolvers\":[{\"Addr\":\"https://dns.test/\","
    "\"BootstrapResolution\":[\"192.0.2.1\"]}],"
    "\"Routes\":{\"tail.test.\":null,\"corp\":[{\"Addr\":\"10.0.0.1\"}]},"
    "\"ExtraRecords\":[{\"Name\":\"e.tail.test\",\"Value\":\"100.64.0.9\"},"
    "{\"Name\":\"e.tail.test\",\"Type\":\"AAAA\",\"Value\":\"fd00::9\"}]},"
    "\"PacketFilters\":{\"base\":[{\"SrcIPs\":[\"*\",\"100.64.0.0/10\","
    "\"fd00::1\",\"1.2.3.4-1.2.3.9\",\"cap:x\"],\"DstPorts\":[{\"IP\":\"*\","
    "\"Ports\":{\"First\":0,\"Last\":65535}},{\"IP\":\"100.64.0.1\","
    "\"Ports\":{\"First\":80,\"Last\":81}}],\"IPProto\":[0,6,99]},"
    "{\"SrcIPs\":[\"*\"],\"IPProto\":[999],\"DstPorts\":[{\"IP\":\"*\","
    "\"Ports\":{\"First\":1,\"Last\":2}}]}],"
    "\"q\\\"\":[{\"SrcIPs\":[\"100.64.0.2\"],\"CapGrant\":[{\"Dsts\":"
    "[\"100.64.0.1/32\"],\"CapMap\":{\"c.test/d\":[{\"r\":[1,2]}]},"
    "\"Caps\":[\"old\"]}]}]},"
    "\"Health\":[\"a line\"],\"DisplayMessages\":{\"m\":{\"Title\":\"T\","
    "\"Text\":\"line\\none\",\"Severity\":\"high\"}},"
    "\"UserProfiles\":[{\"ID\":7,\"LoginName\":\"u@x\",\"DisplayName\":"
    "\"\xc3\xbc\",\"ProfilePicURL\":\"https://p\"}],"
    "\"Peers\":[{\"ID\":9007199254740993,\"StableID\":\"n2\",\"Name\":"
    "\"P.tail.test.\",\"User\":7,\"Sharer\":8,\"Key\":\"nodekey:" TWOS "\","
    "\"Machine\":\"mkey:" FOURS "\",\"DiscoKey\":\"discokey:" FOURS "\","
    "\"Created\":\"2024-01-01T00:00:00Z\",\"LastSeen\":"
    "\"2024-02-01T00:00:00Z\",\"Online\":false,\"IsJailed\":true,"
    "\"IsWireGuardOnly\":true,\"Expired\":true,\"Cap\":113,\"HomeDERP\":12,"
    "\"SelfNodeV4MasqAddrForThisPeer\":\"100.99.0.1\","
    "\"SelfNodeV6MasqAddrForThisPeer\":\"fd00::77\","
    "\"Addresses\":[\"100.64.0.2/32\"],\"AllowedIPs\":[\"100.64.0.2/32\","
    "\"10.0.0.0/8\"],\"PrimaryRoutes\":[\"10.0.0.0/8\"],"
    "\"Endpoints\":[\"192.0.2.7:41641\",\"[2001:db8::7]:9\"],"
    "\"Tags\":[\"tag:a\",\"tag:b\"],\"KeySignature\":\"AQID\","
    "\"Hostinfo\":{\"Hostname\":\"h\",\"OS\":\"linux\",\"App\":\"z\","
    "\"Services\":[{\"Proto\":\"peerapi4\",\"Port\":4000},{\"Proto\":"
    "\"peerapi6\",\"Port\":4001},{\"Proto\":\"peerapi-dns-proxy\","
    "\"Port\":1}]}},"
    "{\"ID\":5,\"Key\":\"nodekey:" FOURS "\",\"AllowedIPs\":[],"
    "\"Addresses\":[\"100.64.0.5/32\"],\"UnsignedPeerAPIOnly\":true}]}";


typedef struct {
    char    text[32768];
    size_t  len;
} text_t;


static tn_rc_t
sink(void *data, const char *bytes, size_t len)
{
    text_t *text = data;

    if (len > sizeof(text->text) - 1 - text->len) {
        return TN_NOMEM;
    }

    memcpy(text->text + text->len, bytes, len);
    text->len += len;
    text->text[text->len] = '\0';

    return TN_OK;
}


static void
same(const tn_netmap_t *a, const tn_netmap_t *b)
{
    json_t           *x, *y;
    const tn_netmap_node_t  *node, *other;

    static text_t     ta, tb;

    ok(tn_netmap_node_diff(a->self, b->self) == 0, "the node itself");
    is_int((long long) b->peers.count, (long long) a->peers.count, "peers");

    for (node = tn_netmap_each(a, NULL); node; node = tn_netmap_each(a, node))
    {
        other = tn_netmap_find_id(b, node->id);
        ok(other != NULL && tn_netmap_node_diff(node, other) == 0,
           "a peer is the same");
    }

    ok(tn_netmap_dns_equal(&a->dns, &b->dns), "DNS");
    ok(tn_derpmap_equal(a->derpmap, b->derpmap), "the DERP map");
    is_str(b->domain, a->domain, "domain");
    is_str(b->lock_head, a->lock_head, "head of the lock");
    is_int((long long) b->nmessages, (long long) a->nmessages, "messages");
    is_int((long long) b->users.count, (long long) a->users.count, "users");
    is_str(tn_netmap_find_user(b, 7)->display, "\xc3\xbc", "a user's name");
    is_int((long long) b->rules.n, (long long) a->rules.n, "rules");

    /* what has no comparison of its own, rules above all: as text */

    ta.len = 0;
    tb.len = 0;
    (void) tn_netmap_dump(a, 0, sink, &ta);
    (void) tn_netmap_dump(b, 0, sink, &tb);

    x = json_loads(ta.text, 0, NULL);
    y = json_loads(tb.text, 0, NULL);

    ok(x != NULL && y != NULL, "the dump is JSON");
    ok(json_equal(json_object_get(x, "PacketFilters"),
                  json_object_get(y, "PacketFilters"))
       && json_object_size(json_object_get(x, "PacketFilters")) == 2,
       "the filters");
    ok(json_equal(json_object_get(x, "DisplayMessages"),
                  json_object_get(y, "DisplayMessages")), "display messages");

    json_decref(x);
    json_decref(y);
}


int
main(void)
{
    size_t                len, i, refused;
    int64_t               saved;
    uint8_t              *bytes, *copy;
    tn_key_t              key, other;
    tn_netmap_t          *map, *again;
    tn_map_message_t      message;
    tn_netmap_changes_t   changes;

    map = tn_netmap_create(NULL);
    again = tn_netmap_create(NULL);

    if (!ok(map != NULL && again != NULL
            && tn_map_message_cut(&message, whole, strlen(whole)) == TN_OK
            && tn_netmap_apply_message(map, &message, true, WALL, &changes)
               == TN_OK, "a map with everything"))
    {
        return tap_done();
    }

    tn_netmap_changes_done(&changes);

    memset(&key, 0x11, sizeof(key));
    memset(&other, 0x12, sizeof(other));

    if (!ok(tn_netmap_pack(map, &key, 0, WALL, &bytes, &len) == TN_OK,
            "packed"))
    {
        return tap_done();
    }

    ok(tn_netmap_unpack(again, &other, bytes, len, WALL, &saved, &changes)
       == TN_REFUSED && again->self == NULL, "another node's is refused");

    for (i = 0, refused = 0; i < len; i++) {
        refused += tn_netmap_unpack(again, &key, bytes, i, WALL, &saved,
                                    &changes) != TN_OK;
    }

    is_int((long long) refused, (long long) len, "no part of it is taken");

    copy = malloc(len);

    for (i = 0, refused = 0; copy != NULL && i < len; i++) {
        memcpy(copy, bytes, len);
        copy[i] ^= 0x10;

        if (tn_netmap_unpack(again, &key, copy, len, WALL, &saved, &changes)
            == TN_OK)
        {
            tn_netmap_changes_done(&changes);

        } else {
            refused++;
        }
    }

    /* a few bits of a frame mean nothing; the checksum sees the rest */
    ok(refused + 16 >= len, "nor one with a bit flipped");

    free(copy);
    tn_netmap_destroy(again);
    again = tn_netmap_create(NULL);

    ok(tn_netmap_unpack(again, &key, bytes, len, WALL + 60, &saved, &changes)
       == TN_OK, "unpacked");
    is_int(saved, WALL, "of its time");
    is_int((long long) changes.npeers, 2, "reported as changes");
    tn_netmap_changes_done(&changes);
    same(map, again);
    free(bytes);

    ok(tn_map_message_cut(&message, whole, strlen(whole)) == TN_OK
       && tn_netmap_apply_message(again, &message, true, WALL, &changes)
          == TN_OK
       && (changes.what & (TN_NETMAP_SELF | TN_NETMAP_PEERS)) == 0,
       "control's own map then changes nothing about nodes");
    tn_netmap_changes_done(&changes);

    ok(tn_netmap_pack(map, &key, 12, WALL, &bytes, &len) == TN_OK
       && tn_netmap_unpack(again, &key, bytes, len, WALL, &saved, &changes)
          == TN_OK && again->self->home_derp == 12,
       "the home region at hand counts");
    tn_netmap_changes_done(&changes);
    free(bytes);

    tn_netmap_destroy(map);
    tn_netmap_destroy(again);

    return tap_done();
}
