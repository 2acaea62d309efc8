
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What of a netmap reaches the data thread: allowed IPs with and without
 * accepted routes, capability sources of the packet filter, changes only.
 */

#include "node/tn_update.h"

#include "filter/tn_match.h"

#include "tap.h"


#define KEY_A  "nodekey:"                                                     \
    "1111111111111111111111111111111111111111111111111111111111111111"
#define KEY_B  "nodekey:"                                                     \
    "2222222222222222222222222222222222222222222222222222222222222222"

#define KEY_ME  "nodekey:"                                                    \
    "3333333333333333333333333333333333333333333333333333333333333333"

static const char  first_map[] =
    "{\"Node\":{\"ID\":1,\"Name\":\"me.t.\",\"Key\":\"" KEY_ME "\","
        "\"Addresses\":[\"100.64.0.1/32\","
        "\"fd7a:115c:a1e0::1/128\"],"
        "\"CapMap\":{\"service-host\":[{\"svc:web\":[\"fd7a:115c:a1e0::70\","
          "\"100.70.1.1\"],\"svc:odd\":[7,\"192.0.2.1\",\"x\"],"
          "\"svc:no\":{}}]}},"
    "\"Peers\":["
      "{\"ID\":2,\"Name\":\"a.t.\",\"Key\":\"" KEY_A "\",\"HomeDERP\":7,"
        "\"Addresses\":[\"100.64.0.2/32\",\"fd7a:115c:a1e0::2/128\"],"
        "\"AllowedIPs\":[\"100.64.0.2/32\",\"fd7a:115c:a1e0::2/128\","
          "\"10.9.0.0/16\",\"0.0.0.0/0\"],"
        "\"CapMap\":{\"example.com/cap/x\":null}},"
      "{\"ID\":3,\"Name\":\"b.t.\",\"Key\":\"" KEY_B "\",\"HomeDERP\":7,"
        "\"Addresses\":[\"100.64.0.3/32\"],"
        "\"AllowedIPs\":[\"100.64.0.3/32\",\"100.70.9.9/32\","
          "\"192.0.2.9/32\"]}],"
    "\"PacketFilter\":[{\"SrcIPs\":[\"cap:example.com/cap/x\"],\"DstPorts\":"
        "[{\"IP\":\"*\",\"Ports\":{\"First\":80,\"Last\":80}}]}]}";

static tn_netmap_t          *netmap;
static tn_netmap_changes_t   changes;


static bool
apply(const char *json)
{
    tn_netmap_changes_done(&changes);
    memset(&changes, 0, sizeof(changes));

    return tn_netmap_apply(netmap, json, strlen(json), 1800000000, &changes)
           == TN_OK;
}


static const tn_update_peer_t *
find(const tn_update_t *update, int64_t id)
{
    size_t  i;

    for (i = 0; i < update->npeers; i++) {
        if (update->peers[i].id == id) {
            return &update->peers[i];
        }
    }

    return NULL;
}


/* what of peer 2 is allowed when this exit node was chosen */

static void
test_exit(const char *chosen, long long allowed, const char *name)
{
    tn_update_t  *update;

    update = tn_update_create(netmap, NULL, false, chosen);
    is_int(find(update, 2)->nallowed, allowed, name);
    tn_update_free(update);
}


static void
test_whole(void)
{
    uint64_t                 bits;
    tn_update_t             *update;
    const tn_update_peer_t  *a, *b;

    ok(apply(first_map), "the first map");

    update = tn_update_create(netmap, NULL, false, NULL);
    ok(update != NULL && update->full, "an update of all");
    is_int(update->npeers, 2, "two peers");
    ok(update->has_self, "the node itself");
    is_int(update->nlocal, 2, "own addresses");
    ok(update->rules != NULL, "compiled rules");

    a = find(update, 2);
    b = find(update, 3);
    is_int(a->nallowed, 2, "without routes: the peer's own addresses");
    is_int(a->home_derp, 7, "its home");
    bits = a->caps;
    ok(bits != 0, "the peer with the capability has a bit");
    is_int((long long) b->caps, 0, "the other has none");
    ok(update->ncaps == 1 && update->caps[0].id == 2
       && update->caps[0].caps == bits, "the list says the same");
    is_int(b->nallowed, 2, "and a service's, but no other single address");
    tn_update_free(update);

    update = tn_update_create(netmap, NULL, true, NULL);
    is_int(find(update, 2)->nallowed, 3,
           "with routes: the subnet too, the default route never");
    tn_update_free(update);

    test_exit("a", 3, "the exit node, by its name");
    test_exit("a.t", 3, "by its whole name");
    test_exit("100.64.0.2", 3, "by an address");
    test_exit("b", 2, "another one is chosen");
    test_exit("a.tt", 2, "another name that begins alike");
    test_exit("", 2, "no exit node");
}


/* what control gives this node to host */

static void
test_services(void)
{
    tn_ip_t  ip;
    char     text[TN_ADDR_TEXT];

    ok(tn_netmap_service_ip(netmap->self, "svc:web", true, &ip), "IPv4");
    is_str(tn_ip_text(&ip, text), "100.70.1.1", "is the one");
    ok(tn_netmap_service_ip(netmap->self, "svc:web", false, &ip), "IPv6");
    is_str(tn_ip_text(&ip, text), "fd7a:115c:a1e0::70", "is the other");
    ok(!tn_netmap_service_ip(netmap->self, "svc:odd", true, &ip),
       "an address that no service has, and no address");
    ok(!tn_netmap_service_ip(netmap->self, "svc:no", true, &ip), "no list");
    ok(!tn_netmap_service_ip(netmap->self, "svc:other", true, &ip),
       "another service");
    ok(!tn_netmap_service_ip(tn_netmap_find_id(netmap, 3), "svc:web", true,
                             &ip),
       "a node without the attribute");
}


static void
test_changes(void)
{
    tn_update_t  *update;

    ok(apply("{\"PeersChangedPatch\":[{\"NodeID\":3,\"Online\":true}]}"),
       "a peer comes online");
    update = tn_update_create(netmap, &changes, false, NULL);
    ok(update->npeers == 0 && !update->full && update->rules == NULL
       && !update->has_self, "which packets do not feel");
    tn_update_free(update);

    ok(apply("{\"PeersChangedPatch\":[{\"NodeID\":3,\"CapMap\":"
             "{\"example.com/cap/x\":null}}]}"), "a peer gets the capability");
    update = tn_update_create(netmap, &changes, false, NULL);
    ok(update->npeers == 1 && update->peers[0].caps != 0,
       "it is told with its bit");
    ok(update->rules == NULL, "the rules stay");
    tn_update_free(update);

    ok(apply("{\"PeersRemoved\":[2]}"), "a peer goes");
    update = tn_update_create(netmap, &changes, false, NULL);
    ok(update->nremoved == 1 && update->removed[0] == 2, "and is removed");
    tn_update_free(update);

    ok(apply("{\"PacketFilter\":[]}"), "the filter is emptied");
    update = tn_update_create(netmap, &changes, false, NULL);
    ok(update->rules != NULL && update->ncaps == 0,
       "an empty set is a set: it denies");
    tn_update_free(update);
}


static void
test_orders(void)
{
    tn_update_t  *update;

    ok(apply("{\"Node\":{\"ID\":1,\"Name\":\"me.t.\",\"Key\":\"" KEY_ME
             "\",\"Addresses\":[\"100.64.0.1/32\"],\"CapMap\":{"
             "\"only-tcp-443\":null,\"debug-disable-upnp\":null}}}"),
       "control gives orders");
    update = tn_update_create(netmap, &changes, false, NULL);
    ok(update->has_self && update->knobs.only_tcp_443 && update->no_upnp
       && !update->random_port, "they are told, and no other");
    tn_update_free(update);

    ok(apply("{\"Node\":{\"ID\":1,\"Name\":\"me.t.\",\"Key\":\"" KEY_ME
             "\",\"Addresses\":[\"100.64.0.1/32\"],\"CapMap\":{"
             "\"randomize-client-port\":null,\"silent-disco\":null,"
             "\"probe-udp-lifetime\":null,\"peer-mtu-enable\":null,"
             "\"disable-relay-client\":null}}}"), "others");
    update = tn_update_create(netmap, &changes, false, NULL);
    ok(update->random_port && update->knobs.silent_disco
       && update->knobs.probe_lifetime && update->knobs.peer_mtu
       && update->knobs.no_relay && !update->knobs.only_tcp_443
       && !update->no_upnp, "each by its name");
    tn_update_free(update);

    ok(apply("{\"Node\":{\"ID\":1,\"Name\":\"me.t.\",\"Key\":\"" KEY_ME
             "\",\"Addresses\":[\"100.64.0.1/32\"]}}"),
       "control takes them back");
    update = tn_update_create(netmap, &changes, false, NULL);
    ok(update->has_self && !update->knobs.only_tcp_443 && !update->no_upnp,
       "which is told too");
    tn_update_free(update);
}


#define RELAY_RULE(src, dst, cap)                                             \
    "{\"PacketFilter\":[{\"SrcIPs\":[\"" src "\"],\"CapGrant\":"              \
    "[{\"Dsts\":[\"" dst "\"],\"CapMap\":{\"" cap "\":null}}]}]}"

static void
test_relay(void)
{
    size_t        i;
    tn_update_t  *update;

    static const char  *others[] = {
        RELAY_RULE("100.64.0.3", "100.64.0.9/32", "tailscale.com/cap/relay"),
        RELAY_RULE("100.64.0.9", "100.64.0.1/32", "tailscale.com/cap/relay"),
        RELAY_RULE("100.64.0.3", "100.64.0.1/32",
                   "tailscale.com/cap/relay-targets"),
        RELAY_RULE("*", "fd7a:115c:a1e0::1/128", "tailscale.com/cap/relay")
    };

    ok(apply(RELAY_RULE("100.64.0.3", "100.64.0.1/32",
                        "tailscale.com/cap/relay")),
       "a peer is granted places on our relay");
    update = tn_update_create(netmap, &changes, false, NULL);
    ok(update->ncaps == 1 && update->caps[0].id == 3
       && update->caps[0].relay, "which is told with the rules");
    tn_update_free(update);

    update = tn_update_create(netmap, NULL, false, NULL);
    ok(find(update, 3)->relay, "and with the peer");
    tn_update_free(update);

    for (i = 0; i < tn_nelems(others); i++) {
        ok(apply(others[i]), "a grant to or for somebody else, case %zu", i);
        update = tn_update_create(netmap, &changes, false, NULL);
        ok(update->rules != NULL && update->ncaps == 0, "grants it nothing");
        tn_update_free(update);
    }

    ok(apply(RELAY_RULE("100.64.0.3", "100.64.0.1/32",
                        "tailscale.com/cap/relay-target")),
       "we are granted places on the relay of a peer");
    update = tn_update_create(netmap, &changes, false, NULL);
    ok(update->ncaps == 1 && update->caps[0].id == 3
       && update->caps[0].relay_target && !update->caps[0].relay
       && !update->own_relay, "which is told with the rules");
    tn_update_free(update);

    update = tn_update_create(netmap, NULL, false, NULL);
    ok(find(update, 3)->relay_target && !find(update, 3)->relay
       && !find(update, 3)->relay_capable, "and with the peer");
    tn_update_free(update);

    ok(apply("{\"PeersChangedPatch\":[{\"NodeID\":3,\"Cap\":121}]}"),
       "its version is one that knows of relays");
    update = tn_update_create(netmap, &changes, false, NULL);
    ok(update->npeers == 1 && update->peers[0].relay_capable
       && update->peers[0].relay_target, "which is told too");
    tn_update_free(update);

    ok(apply(RELAY_RULE("100.64.0.1", "100.64.0.1/32",
                        "tailscale.com/cap/relay-target")),
       "and on our own");
    update = tn_update_create(netmap, &changes, false, NULL);
    ok(update->own_relay && update->ncaps == 0, "which is told");
    tn_update_free(update);

    ok(apply("{\"PeersChanged\":[{\"ID\":3,\"Name\":\"b.t.\",\"Key\":\"" KEY_B
             "\",\"Addresses\":[\"100.64.0.3/32\"],"
             "\"UnsignedPeerAPIOnly\":true}]}")
       && apply(RELAY_RULE("100.64.0.3", "100.64.0.1/32",
                           "tailscale.com/cap/relay-target")),
       "a peer that tailnet lock does not cover");
    update = tn_update_create(netmap, NULL, false, NULL);
    ok(!find(update, 3)->relay_target, "is granted nothing");
    tn_update_free(update);

    ok(apply("{\"PeersChanged\":[{\"ID\":3,\"Name\":\"b.t.\",\"Key\":\"" KEY_B
             "\",\"HomeDERP\":7,\"Addresses\":[\"100.64.0.3/32\"],"
             "\"AllowedIPs\":[\"100.64.0.3/32\"]}]}"), "it is as it was");
}


/* upstream: packetFilterPermitsUnlockedNodes */
static void
test_unsigned(void)
{
    tn_update_t  *update;

    static const char  *filters[2] = {
        "{\"PacketFilter\":[{\"SrcIPs\":[\"100.64.0.0/10\"],\"DstPorts\":"
        "[{\"IP\":\"*\",\"Ports\":{\"First\":80,\"Last\":80}}]}]}",
        "{\"PacketFilter\":[{\"SrcIPs\":[\"100.64.0.3\"],\"DstPorts\":"
        "[{\"IP\":\"*\",\"Ports\":{\"First\":80,\"Last\":80}}]}]}"
    };

    static const char  peer[] =
        "{\"PeersChanged\":[{\"ID\":4,\"Name\":\"u.t.\",\"Key\":\"" KEY_A
        "\",\"UnsignedPeerAPIOnly\":true,"
        "\"Addresses\":[\"100.64.0.4/32\"],"
        "\"AllowedIPs\":[\"100.64.0.4/32\"]}]}";

    (void) apply(filters[0]);
    ok(!netmap->unsigned_reached, "a filter that lets all peers in");

    (void) apply(peer);
    update = tn_update_create(netmap, &changes, false, NULL);
    ok(netmap->unsigned_reached && update->rules != NULL,
       "an unsigned peer comes that it lets in: other rules are in force");
    ok(update->rules->nmatches[1] == 0, "none");
    tn_update_free(update);

    (void) apply(filters[1]);
    update = tn_update_create(netmap, &changes, false, NULL);
    ok(!netmap->unsigned_reached && update->rules != NULL
       && update->rules->nmatches[1] != 0,
       "a filter that does not let it in counts");
    tn_update_free(update);

    (void) apply(filters[0]);
    ok(netmap->unsigned_reached, "one that does is refused");

    (void) apply("{\"PeersRemoved\":[4]}");
    update = tn_update_create(netmap, &changes, false, NULL);
    ok(!netmap->unsigned_reached && update->rules != NULL,
       "until the peer is gone");
    tn_update_free(update);
}


int
main(void)
{
    netmap = tn_netmap_create(NULL);

    test_whole();
    test_services();
    test_changes();
    test_orders();
    test_relay();
    test_unsigned();

    tn_netmap_changes_done(&changes);
    tn_netmap_destroy(netmap);

    return tap_done();
}
