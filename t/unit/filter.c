
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The packet filter against verdicts of Tailscale's own filter
 * (t/peers/filter), and what goes beyond it: PeerAPI, jailed peers, the
 * table of flows, rejects, rule sets and grants.
 */

#include "tap.h"

#include <jansson.h>
#include <stdlib.h>

#include "packets.h"
#include "base/tn_via.h"
#include "filter/tn_filter.h"
#include "filter/tn_flow.h"
#include "filter/tn_match.h"


#define VECTORS  "t/vectors/filter/vectors.json"


static bool
list_has(void *data, const char *cap)
{
    size_t   i;
    json_t  *value;

    json_array_foreach((json_t *) data, i, value) {
        if (strcmp(json_string_value(value), cap) == 0) {
            return true;
        }
    }

    return false;
}


static tn_rule_t *
rule_from_json(const json_t *json)
{
    size_t      i;
    json_t     *value, *ports;
    const char *text;
    tn_rule_t  *rule;

    rule = tn_rule_create();

    json_array_foreach(json_object_get(json, "SrcIPs"), i, value) {
        text = json_string_value(value);
        (void) tn_rule_add_src(rule, text, strlen(text));
    }

    json_array_foreach(json_object_get(json, "DstPorts"), i, value) {
        text = json_string_value(json_object_get(value, "IP"));
        ports = json_object_get(value, "Ports");

        (void) tn_rule_add_dst(rule, text, strlen(text),
            (uint16_t) json_integer_value(json_object_get(ports, "First")),
            (uint16_t) json_integer_value(json_object_get(ports, "Last")));
    }

    json_array_foreach(json_object_get(json, "IPProto"), i, value) {
        tn_rule_add_proto(rule, json_integer_value(value));
    }

    return rule;
}


static tn_filter_t *
filter_from_json(const json_t *json, tn_filter_rules_t **compiled)
{
    size_t        i, n;
    json_t       *value;
    tn_rules_t    rules;
    tn_filter_t  *filter;
    tn_prefix_t   local[16];

    tn_rules_init(&rules);
    n = 0;

    json_array_foreach(json_object_get(json, "Rules"), i, value) {
        (void) tn_rules_append(&rules, rule_from_json(value));
    }

    json_array_foreach(json_object_get(json, "Local"), i, value) {
        (void) tn_prefix_parse(&local[n++], json_string_value(value),
                               json_string_length(value));
    }

    filter = tn_filter_create();
    *compiled = tn_filter_compile(&rules);
    tn_filter_set_rules(filter, *compiled);
    (void) tn_filter_set_local(filter, local, n);
    tn_filter_set_shields(filter, json_is_true(json_object_get(json,
                                                               "Shields")));
    tn_rules_done(&rules);

    return filter;
}


/* the letter that upstream's verdict should be, '?' when it cannot be */
static char
judge(tn_filter_t *filter, const tn_filter_rules_t *compiled,
    const json_t *caps, char letter, uint8_t *packet, size_t len)
{
    char         text[TN_ADDR_TEXT];
    uint64_t     mask;
    tn_packet_t  p;

    if (tn_packet_parse(&p, packet, len) != TN_OK) {
        return 'I';
    }

    if (letter == 'o' || letter == 'O') {
        return tn_filter_accepts(tn_filter_out(filter, &p, 1)) ? 'o' : 'O';
    }

    mask = tn_filter_rules_caps(compiled, list_has,
               json_object_get(caps, tn_ip_text(&p.src, text)));

    return tn_filter_accepts(tn_filter_in(filter, &p, mask, false, 1))
           ? 'i' : 'I';
}


static void
test_vectors(void)
{
    int                 bad;
    char                got, want;
    size_t              i, j, len;
    json_t             *all, *vector, *line;
    uint8_t             packet[4096], *exact;
    const char         *name, *text;
    tn_filter_t        *filter;
    json_error_t        error;
    tn_filter_rules_t  *compiled;

    name = getenv("FILTER_VECTORS");
    name = name ? name : VECTORS;
    all = json_load_file(name, 0, &error);

    if (!ok(all != NULL, "%s is readable", name)) {
        return;
    }

    json_array_foreach(all, i, vector) {
        bad = 0;
        filter = filter_from_json(vector, &compiled);

        json_array_foreach(json_object_get(vector, "Packets"), j, line) {
            text = json_string_value(line);
            len = unhex(packet, text + 1);

            /* nothing behind the packet, so that ASan sees it read */
            exact = malloc(len);
            memcpy(exact, packet, len);

            got = judge(filter, compiled, json_object_get(vector, "Caps"),
                        text[0], exact, len);
            free(exact);

            want = text[0] == 'x' ? 'I' : text[0] == 'y' ? 'i' : text[0];

            /* what goes out malformed is dropped before the filter */

            if (got != want && !(want == 'O' && got == 'I')) {
                bad++;
                printf("# want %c, got %c: %s\n", want, got, text);
            }
        }

        is_int(bad, 0, json_string_value(json_object_get(vector, "Name")));
        tn_filter_destroy(filter);
    }

    ok(json_array_size(all) > 100, "there were vectors");
    json_decref(all);
}


/* --- beyond upstream's filter */

static tn_packet_t
packet_of(const char *src, uint16_t src_port, const char *dst,
    uint16_t dst_port, uint8_t proto, uint8_t flags)
{
    tn_packet_t  p;

    memset(&p, 0, sizeof(p));

    (void) tn_ip_parse(&p.src, src, strlen(src));
    (void) tn_ip_parse(&p.dst, dst, strlen(dst));

    p.version = tn_ip_is_v4(&p.src) ? 4 : 6;
    p.header_len = p.version == 4 ? 20 : 40;
    p.total_len = 100;
    p.proto = proto;
    p.src_port = src_port;
    p.dst_port = dst_port;
    p.tcp_flags = flags;

    return p;
}


static tn_filter_t *
filter_with(const char *src, const char *dst, uint16_t port,
    tn_filter_rules_t **compiled)
{
    tn_rule_t          *rule;
    tn_rules_t          rules;
    tn_filter_t        *filter;
    tn_prefix_t         local[2];
    tn_filter_rules_t  *made;

    rule = tn_rule_create();
    (void) tn_rule_add_src(rule, src, strlen(src));
    (void) tn_rule_add_dst(rule, dst, strlen(dst), port, port);

    tn_rules_init(&rules);
    (void) tn_rules_append(&rules, rule);
    made = tn_filter_compile(&rules);
    tn_rules_done(&rules);

    if (compiled != NULL) {
        *compiled = made;
    }

    (void) tn_prefix_parse(&local[0], "100.64.0.1", 10);
    (void) tn_prefix_parse(&local[1], "fd7a:115c:a1e0::1", 17);

    filter = tn_filter_create();
    (void) tn_filter_set_local(filter, local, 2);
    tn_filter_set_rules(filter, made);

    return filter;
}


static void
test_before_rules(void)
{
    tn_packet_t   p;
    tn_prefix_t   local;
    tn_filter_t  *filter;

    filter = tn_filter_create();
    (void) tn_prefix_parse(&local, "100.64.0.1", 10);
    (void) tn_filter_set_local(filter, &local, 1);

    p = packet_of("100.64.0.2", 1, "100.64.0.1", 22, 6, TN_TCP_ACK);
    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_DROP_NO_RULES,
           "before the first rules not even an ACK comes in");

    tn_filter_destroy(filter);
}


static tn_filter_verdict_t
arrives(tn_filter_t *filter, const char *dst)
{
    tn_packet_t  p;

    p = packet_of("100.64.0.9", 40000, dst, 22, 6, TN_TCP_SYN);

    return tn_filter_in(filter, &p, 0, false, 1);
}


static tn_filter_verdict_t
arrives6(tn_filter_t *filter, const char *dst)
{
    tn_packet_t  p;

    p = packet_of("fd7a:115c:a1e0::9", 40000, dst, 22, 6, TN_TCP_SYN);

    return tn_filter_in(filter, &p, 0, false, 1);
}


static void
test_routes(void)
{
    tn_ip_t       host;
    tn_prefix_t   routes[2];
    tn_filter_t  *filter;

    filter = filter_with("100.64.0.9", "*", 22, NULL);
    (void) tn_prefix_parse(&routes[0], "10.1.0.0/16", 11);
    (void) tn_prefix_parse(&routes[1], "0.0.0.0/0", 9);
    (void) tn_ip_parse(&host, "10.1.0.7", 8);

    is_int(arrives(filter, "10.1.2.3"), TN_FILTER_DROP_NOT_LOCAL,
           "nothing for others without routes");

    (void) tn_filter_set_routes(filter, routes, 1);
    tn_filter_set_host(filter, &host, 1);

    ok(tn_filter_accepts(arrives(filter, "10.1.2.3")), "within a route");
    ok(!tn_filter_accepts(arrives(filter, "10.2.2.3")), "beside it");
    ok(!tn_filter_accepts(arrives(filter, "10.1.0.7")),
       "the machine's own address");
    ok(tn_filter_accepts(arrives(filter, "100.64.0.1")), "the node's own");

    (void) tn_filter_set_routes(filter, routes, 2);

    ok(tn_filter_accepts(arrives(filter, "192.0.2.1")), "an exit node");
    ok(!tn_filter_accepts(arrives(filter, "100.64.0.3")),
       "is none to the tailnet itself");
    ok(!tn_filter_accepts(arrives(filter, "127.0.0.1")), "nor to loopback");
    ok(!tn_filter_accepts(arrives(filter, "169.254.169.254")),
       "nor to link-local addresses");
    ok(!tn_filter_accepts(arrives(filter, "10.1.0.7")),
       "nor to the machine's own address");

    (void) tn_filter_set_routes(filter, routes, 0);
    ok(!tn_filter_accepts(arrives(filter, "10.1.2.3")), "withdrawn");

    tn_filter_destroy(filter);
}


/* the machine and what answers for it, by all names, to who may anything */
static void
test_machine(void)
{
    size_t        i;
    tn_ip_t       host[3];
    tn_packet_t   p;
    tn_prefix_t   routes[4];
    tn_filter_t  *filter;

    static const char *const  refused[] = {
        "0.0.0.0", "0.1.2.3", "127.0.0.1", "127.255.0.1", "169.254.0.9",
        "169.254.169.254", "224.0.0.1", "255.255.255.255", "168.63.129.16",
        "10.1.0.7", "::", "::1", "fe80::1", "ff02::1", "2001:db8::7",
        "fd7a:115c:a1e0::99", "100.64.0.99", "fd00:ec2::254",
        "fd20:ce::254", "::127.0.0.1", "::10.1.0.7", "::ffff:0:10.1.0.7",
        "64:ff9b::7f00:1", "64:ff9b::a9fe:a9fe", "64:ff9b::10.1.0.7",
        "64:ff9b:1:2::10.1.0.7", "2002:7f00:1::1", "2002:a01:7::1",
        "2002:a9fe:a9fe::", "fd7a:115c:a1e0:b1a:0:7:a01:7",
        "fd7a:115c:a1e0:b1a:0:7:7f00:1", "fd7a:115c:a1e0:b1a:0:7:a9fe:a9fe"
    };

    static const char *const  reached[] = {
        "10.1.0.8", "1.2.3.4", "2001:db8::8", "64:ff9b::10.1.0.8",
        "2002:a01:8::1", "fd7a:115c:a1e0:b1a:0:7:a01:8"
    };

    filter = filter_with("*", "*", 22, NULL);
    (void) tn_prefix_parse(&routes[0], "0.0.0.0/0", 9);
    (void) tn_prefix_parse(&routes[1], "::/0", 4);
    (void) tn_prefix_parse(&routes[2], "fd7a:115c:a1e0:b1a:0:7::/96", 27);
    (void) tn_prefix_parse(&routes[3], "10.0.0.0/8", 10);
    (void) tn_ip_parse(&host[0], "10.1.0.7", 8);
    (void) tn_ip_parse(&host[1], "2001:db8::7", 11);
    (void) tn_ip_parse(&host[2], "100.64.0.99", 11);

    (void) tn_filter_set_routes(filter, routes, 4);
    ok(tn_filter_set_host(filter, host, 3) == TN_OK, "addresses are set");

    for (i = 0; i < tn_nelems(refused); i++) {
        p = packet_of(strchr(refused[i], ':') ? "fd7a:115c:a1e0::9"
                                              : "100.64.0.9",
                      40000, refused[i], 22, 6, TN_TCP_SYN);
        ok(!tn_filter_accepts(tn_filter_in(filter, &p, 0, false, 1)),
           "%s", refused[i]);
        ok(tn_filter_withholds(filter, &p.dst)
           == (!tn_ip_is_multicast(&p.dst)
               && (!tn_ip_is_tailscale(&p.dst) || tn_via_is(&p.dst))),
           "which is worth a line");
    }

    for (i = 0; i < tn_nelems(reached); i++) {
        p = packet_of(strchr(reached[i], ':') ? "fd7a:115c:a1e0::9"
                                              : "100.64.0.9",
                      40000, reached[i], 22, 6, TN_TCP_SYN);
        ok(tn_filter_accepts(tn_filter_in(filter, &p, 0, false, 1)),
           "%s", reached[i]);
        ok(tn_filter_is_behind(filter, &p.dst), "which is behind it");
    }

    tn_filter_destroy(filter);
}


static void
test_via(void)
{
    tn_ip_t       host;
    tn_prefix_t   route;
    tn_filter_t  *filter;

    static const char  site[] = "fd7a:115c:a1e0:b1a:0:7::/96";

    filter = filter_with("*", "*", 22, NULL);
    (void) tn_prefix_parse(&route, site, sizeof(site) - 1);
    (void) tn_ip_parse(&host, "10.1.0.7", 8);
    (void) tn_filter_set_routes(filter, &route, 1);
    tn_filter_set_host(filter, &host, 1);

    ok(tn_filter_accepts(arrives6(filter, "fd7a:115c:a1e0:b1a:0:7:a01:2")),
       "4via6: an address at the site");
    ok(!tn_filter_accepts(arrives6(filter, "fd7a:115c:a1e0:b1a:0:8:a01:2")),
       "4via6: not at another");
    ok(!tn_filter_accepts(arrives6(filter, "fd7a:115c:a1e0:b1a:0:7:a01:7")),
       "4via6: nor the machine's own address");
    ok(!tn_filter_accepts(arrives6(filter, "fd7a:115c:a1e0:b1a:0:7:7f00:1")),
       "4via6: nor loopback");
    ok(!tn_filter_accepts(arrives6(filter,
                                   "fd7a:115c:a1e0:b1a:0:7:a9fe:a9fe")),
       "4via6: nor where clouds keep secrets");
    ok(!tn_filter_accepts(arrives6(filter, "fd7a:115c:a1e0:b1a:0:7:6440:3")),
       "4via6: nor the tailnet");
    ok(!tn_filter_accepts(arrives6(filter, "fd7a:115c:a1e0:b1a:0:7:0:1")),
       "4via6: nor what is no address of a host");

    tn_filter_destroy(filter);
}


static void
test_services(void)
{
    tn_packet_t           p;
    tn_prefix_t           route;
    tn_filter_t          *filter;
    tn_filter_service_t   served[3];

    filter = filter_with("100.64.0.9", "*", 22, NULL);

    (void) tn_addr_parse(&served[0].addr, "100.70.1.1:22", 13);
    (void) tn_addr_parse(&served[1].addr, "100.70.1.2:80", 13);
    served[0].proto = TN_PROTO_TCP;
    served[1].proto = TN_PROTO_TCP;

    is_int(arrives(filter, "100.70.1.1"), TN_FILTER_DROP_NOT_LOCAL,
           "a service that is not served");

    tn_filter_set_services(filter, served, 2);

    is_int(arrives(filter, "100.70.1.1"), TN_FILTER_OK_RULE, "one that is");
    is_int(arrives(filter, "100.70.1.2"), TN_FILTER_DROP_RULE,
           "at another port than is served, whatever the rules say");
    is_int(arrives(filter, "100.70.1.3"), TN_FILTER_DROP_NOT_LOCAL,
           "another address");

    (void) tn_prefix_parse(&route, "192.0.2.0/24", 12);
    (void) tn_filter_set_routes(filter, &route, 1);
    p = packet_of("100.64.0.9", 1, "192.0.2.7", 22, 6, TN_TCP_SYN);
    ok(tn_filter_is_behind(filter, &p.dst), "beside a route: that is behind");
    p = packet_of("100.64.0.9", 1, "100.70.1.1", 22, 6, TN_TCP_SYN);
    ok(!tn_filter_is_behind(filter, &p.dst), "a service is not");
    (void) tn_filter_set_routes(filter, NULL, 0);

    p = packet_of("100.64.0.8", 1, "100.70.1.1", 22, 6, TN_TCP_SYN);
    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_DROP_RULE,
           "the rules decide who may");

    p = packet_of("100.64.0.9", 40000, "100.70.1.1", 22, 17, 0);
    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_DROP_RULE,
           "UDP is not served");

    served[2] = served[0];
    served[2].proto = TN_PROTO_UDP;
    tn_filter_set_services(filter, served, 3);

    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_OK_RULE,
           "by a service of UDP it is");
    ok(tn_filter_is_served_udp(filter, &p), "and is known for one");
    is_int(arrives(filter, "100.70.1.1"), TN_FILTER_OK_RULE,
           "beside that of TCP");

    p = packet_of("100.64.0.9", 40000, "100.70.1.2", 80, 17, 0);
    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_DROP_RULE,
           "at no other address");

    p = packet_of("100.64.0.9", 40000, "100.70.1.1", 22, 6, TN_TCP_SYN);
    ok(!tn_filter_is_served_udp(filter, &p), "TCP is none");

    served[0].addr.port = 0;
    tn_filter_set_services(filter, served, 1);

    is_int(arrives(filter, "100.70.1.1"), TN_FILTER_DROP_RULE,
           "drained: nobody new");

    p = packet_of("100.64.0.9", 40000, "100.70.1.1", 22, 6, TN_TCP_ACK);
    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_OK_REPLY,
           "drained: who was there stays");

    tn_filter_set_services(filter, NULL, 0);
    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_DROP_NOT_LOCAL,
           "gone");

    tn_filter_destroy(filter);
}


static void
test_peerapi(void)
{
    tn_addr_t     api[2];
    tn_packet_t   p;
    tn_filter_t  *filter;

    filter = filter_with("100.64.0.9", "*", 22, NULL);

    (void) tn_addr_parse(&api[0], "100.64.0.1:4242", 15);
    (void) tn_addr_parse(&api[1], "[fd7a:115c:a1e0::1]:4343", 24);
    tn_filter_set_peerapi(filter, api, 2);

    p = packet_of("100.64.0.2", 1, "100.64.0.1", 4242, 6, TN_TCP_SYN);
    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_OK_PEERAPI,
           "a SYN to the PeerAPI is accepted");
    is_int(tn_filter_in(filter, &p, 0, true, 1), TN_FILTER_OK_PEERAPI,
           "from a jailed peer, too");

    tn_filter_set_shields(filter, true);
    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_OK_PEERAPI,
           "and with shields up");
    tn_filter_set_shields(filter, false);

    p.proto = TN_PROTO_UDP;
    p.tcp_flags = 0;
    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_DROP_RULE,
           "UDP to its port is not");

    p = packet_of("100.64.0.2", 1, "100.64.0.1", 4343, 6, TN_TCP_SYN);
    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_DROP_RULE,
           "nor a SYN to the port of the other family");

    p = packet_of("fd7a:115c:a1e0::2", 1, "fd7a:115c:a1e0::1", 4343, 6,
                  TN_TCP_SYN);
    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_OK_PEERAPI,
           "IPv6 has its own");

    tn_filter_set_peerapi(filter, NULL, 0);
    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_DROP_RULE,
           "no PeerAPI, no exception");

    tn_filter_destroy(filter);
}


static void
test_jailed(void)
{
    tn_packet_t   p, udp, answer;
    tn_filter_t  *filter;

    filter = filter_with("*", "*", 22, NULL);

    p = packet_of("100.64.0.2", 1, "100.64.0.1", 22, 6, TN_TCP_SYN);
    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_OK_RULE,
           "a SYN that a rule allows");
    is_int(tn_filter_in(filter, &p, 0, true, 1), TN_FILTER_DROP_SHIELDS,
           "not from a jailed peer");
    is_int(tn_filter_reject(&p, TN_FILTER_DROP_SHIELDS), 'S',
           "which is told so");

    tn_filter_set_shields(filter, true);
    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_DROP_SHIELDS,
           "nor from anybody with shields up");
    p.tcp_flags |= TN_TCP_ACK;
    is_int(tn_filter_in(filter, &p, 0, true, 1), TN_FILTER_OK_REPLY,
           "an answer to our SYN comes in");

    udp = packet_of("100.64.0.1", 500, "100.64.0.2", 53, 17, 0);
    answer = packet_of("100.64.0.2", 53, "100.64.0.1", 500, 17, 0);
    is_int(tn_filter_in(filter, &answer, 0, true, 1), TN_FILTER_DROP_SHIELDS,
           "UDP does not");
    is_int(tn_filter_out(filter, &udp, 1), TN_FILTER_OK_OUT, "goes out");
    is_int(tn_filter_in(filter, &answer, 0, true, 1), TN_FILTER_OK_FLOW,
           "and then the answer comes in");

    p = packet_of("100.64.0.2", 1, "100.64.0.1", 22, 99, 0);
    is_int(tn_filter_in(filter, &p, 0, true, 1), TN_FILTER_OK_TSMP, "TSMP");

    tn_filter_destroy(filter);
}


static void
test_rules_change(void)
{
    tn_packet_t         p, udp, answer;
    tn_rules_t          none;
    tn_filter_t        *filter;
    tn_filter_rules_t  *empty;

    filter = filter_with("*", "*", 22, NULL);

    udp = packet_of("100.64.0.1", 500, "100.64.0.2", 53, 17, 0);
    answer = packet_of("100.64.0.2", 53, "100.64.0.1", 500, 17, 0);
    p = packet_of("100.64.0.2", 1, "100.64.0.1", 22, 6, TN_TCP_SYN);
    (void) tn_filter_out(filter, &udp, 1);

    tn_rules_init(&none);
    empty = tn_filter_compile(&none);
    ok(empty != NULL, "an empty set of rules compiles");
    tn_filter_set_rules(filter, empty);

    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_DROP_RULE,
           "rules are replaced");
    is_int(tn_filter_in(filter, &answer, 0, false, 1), TN_FILTER_OK_FLOW,
           "flows stay");

    tn_filter_destroy(filter);
}


static void
test_reject(void)
{
    tn_packet_t  p;

    p = packet_of("100.64.0.2", 1, "100.64.0.1", 22, 6, TN_TCP_SYN);
    is_int(tn_filter_reject(&p, TN_FILTER_DROP_RULE), 'A', "told: ACL");
    is_int(tn_filter_reject(&p, TN_FILTER_DROP_NO_RULES), 0,
           "before rules come nobody is told");
    is_int(tn_filter_reject(&p, TN_FILTER_OK_RULE), 0, "nor when accepted");

    p.tcp_flags = TN_TCP_ACK;
    is_int(tn_filter_reject(&p, TN_FILTER_DROP_NOT_LOCAL), 0,
           "a stray ACK is not answered");

    p = packet_of("100.64.0.2", 1, "100.64.0.1", 22, 17, 0);
    is_int(tn_filter_reject(&p, TN_FILTER_DROP_RULE), 0, "nor UDP");

    is_str(tn_filter_verdict_text(TN_FILTER_DROP_RULE), "no rule allows it",
           "the last verdict has its text");
    is_str(tn_filter_verdict_text(TN_FILTER_OK_OUT), "outgoing",
           "and the last that accepts");
}


static bool
has_a(void *data, const char *cap)
{
    (void) data;

    return strcmp(cap, "a") == 0;
}


static void
test_caps(void)
{
    int                 i;
    char                name[32];
    tn_addr_t           dst;
    tn_rule_t          *rule;
    tn_rules_t          rules;
    tn_packet_t         p;
    tn_filter_t        *filter;
    tn_filter_rules_t  *compiled;

    filter = filter_with("cap:a", "100.64.0.1", 22, &compiled);
    p = packet_of("100.64.0.2", 1, "100.64.0.1", 22, 6, TN_TCP_SYN);

    is_int(tn_filter_in(filter, &p, 0, false, 1), TN_FILTER_DROP_RULE,
           "a peer without the capability");
    is_int(tn_filter_in(filter, &p, tn_filter_rules_caps(compiled, has_a,
                                                         NULL), false, 1),
           TN_FILTER_OK_RULE, "a peer with it");
    is_int(tn_filter_in(filter, &p, ~1ull, false, 1), TN_FILTER_DROP_RULE,
           "a peer with all others");

    (void) tn_addr_parse(&dst, "100.64.0.1:22", 13);
    ok(tn_filter_check(filter, &p.src, &dst, TN_PROTO_TCP, 1), "check: yes");
    ok(!tn_filter_check(filter, &p.src, &dst, TN_PROTO_TCP, 0), "check: no");
    dst.port = 23;
    ok(!tn_filter_check(filter, &p.src, &dst, TN_PROTO_TCP, 1),
       "check: other port");
    (void) tn_addr_parse(&dst, "100.64.0.3:22", 13);
    ok(!tn_filter_check(filter, &p.src, &dst, TN_PROTO_TCP, 1),
       "check: not our address");
    (void) tn_addr_parse(&dst, "[fd7a:115c:a1e0::1]:22", 22);
    ok(!tn_filter_check(filter, &p.src, &dst, TN_PROTO_TCP, 1),
       "check: families differ");
    tn_filter_destroy(filter);

    /* one more than there are bits */

    tn_rules_init(&rules);

    for (i = 0; i <= TN_FILTER_CAPS_MAX; i++) {
        rule = tn_rule_create();
        (void) snprintf(name, sizeof(name), "cap:%s%d",
                        i == TN_FILTER_CAPS_MAX ? "last" : "c", i);
        (void) tn_rule_add_src(rule, name, strlen(name));
        (void) tn_rule_add_dst(rule, "*", 1, (uint16_t) i, (uint16_t) i);
        (void) tn_rules_append(&rules, rule);
    }

    filter = filter_with("100.64.0.9", "*", 1, NULL);
    tn_filter_set_rules(filter, tn_filter_compile(&rules));
    tn_rules_done(&rules);

    p = packet_of("100.64.0.2", 1, "100.64.0.1", 63, 6, TN_TCP_SYN);
    is_int(tn_filter_in(filter, &p, ~0ull, false, 1), TN_FILTER_OK_RULE,
           "the 64th capability counts");
    p.dst_port = 64;
    is_int(tn_filter_in(filter, &p, ~0ull, false, 1), TN_FILTER_DROP_RULE,
           "one over the limit belongs to nobody");
    tn_filter_destroy(filter);
}


static void
test_flows(void)
{
    int            i, found;
    tn_flows_t    *flows;
    tn_flow_key_t  key;

    memset(&key, 0, sizeof(key));
    key.proto = 17;

    flows = tn_flows_create(100, 1000);

    for (i = 0; i < 250; i++) {
        key.remote_port = (uint16_t) i;
        tn_flows_add(flows, &key, 10);

        /* the first one is used all the time */

        key.remote_port = 0;
        (void) tn_flows_find(flows, &key, 10);
    }

    is_int(tn_flows_count(flows), 100, "the table does not grow");

    found = 0;

    for (i = 1; i < 250; i++) {
        key.remote_port = (uint16_t) i;
        found += tn_flows_find(flows, &key, 11) == (i > 150);
    }

    is_int(found, 249, "the least recently used gave way");
    key.remote_port = 0;
    ok(tn_flows_find(flows, &key, 11), "the one in use did not");

    ok(tn_flows_find(flows, &key, 1010), "not idle for long enough");
    ok(!tn_flows_find(flows, &key, 2010), "idle");
    tn_flows_add(flows, &key, 3000);
    ok(tn_flows_find(flows, &key, 3999), "known again");
    is_int(tn_flows_count(flows), 100, "in its old place");

    for (i = 0; i < 20000; i++) {
        key.remote_port = (uint16_t) rand();
        key.local.b[3] = (uint8_t) rand();
        tn_flows_add(flows, &key, 4000);

        if (!tn_flows_find(flows, &key, 4000)) {
            ok(false, "what was just added is there");
        }
    }

    is_int(tn_flows_count(flows), 100, "20000 later");
    tn_flows_destroy(flows);

    flows = tn_flows_create(1, 1000);
    key.remote_port = 1;
    tn_flows_add(flows, &key, 1);
    key.remote_port = 2;
    tn_flows_add(flows, &key, 1);
    ok(tn_flows_find(flows, &key, 1), "a table of one holds the last");
    key.remote_port = 1;
    ok(!tn_flows_find(flows, &key, 1), "and not the one before");
    tn_flows_destroy(flows);
}


typedef struct {
    char  text[512];
} caps_t;


static void
collect(void *data, const char *name, const char *json)
{
    caps_t  *caps;

    caps = data;

    strcat(caps->text, name);
    strcat(caps->text, "=");
    strcat(caps->text, json ? json : "none");
    strcat(caps->text, ";");
}


static void
test_rule_sets(void)
{
    caps_t            caps;
    tn_ip_t           src, dst;
    tn_rule_t        *rule;
    tn_rules_t        rules, more, copy;
    tn_prefix_t       prefix;
    tn_rule_addrs_t   addrs;
    tn_rule_grant_t  *grant;

    tn_rules_init(&rules);
    tn_rules_init(&more);
    tn_rules_init(&copy);

    rule = tn_rule_create();
    (void) tn_rule_add_src(rule, "100.64.0.2", 10);
    (void) tn_rule_add_src(rule, "cap:x", 5);
    grant = tn_rule_add_grant(rule);
    is_int(tn_rule_grant_add_dst(grant, "100.64.0.1/24", 13), TN_OK,
           "a grant's destination may have host bits");
    is_int(tn_rule_grant_add_dst(grant, "fd7a::1", 7), TN_OK, "or no length");
    is_int(tn_rule_grant_add_dst(grant, "100.64.0.1/", 11), TN_MALFORMED,
           "an empty length");
    is_int(tn_rule_grant_add_dst(grant, "100.64.0.1/33", 13), TN_MALFORMED,
           "too long a length");
    is_int(tn_rule_grant_add_dst(grant, "100.64.0.1/-1", 13), TN_MALFORMED,
           "a negative length");
    (void) tn_rule_grant_add_cap(grant, "one", 3, "[1]", 3);
    (void) tn_rule_grant_add_cap(grant, "two", 3, NULL, 0);
    is_int(tn_rule_grant_add_cap(grant, "", 0, NULL, 0), TN_MALFORMED,
           "a capability without a name");
    (void) tn_rules_append(&rules, rule);

    rule = tn_rule_create();
    (void) tn_rule_add_src(rule, "*", 1);
    grant = tn_rule_add_grant(rule);
    (void) tn_rule_grant_add_dst(grant, "0.0.0.0/0", 9);
    (void) tn_rule_grant_add_cap(grant, "one", 3, "[2]", 3);
    (void) tn_rules_append(&more, rule);

    is_int(tn_rules_join(&rules, &more), TN_OK, "sets are joined");
    is_int((long) rules.n, 2, "all are there");
    is_int((long) more.n, 0, "none is there twice");

    is_int(tn_rules_copy(&copy, &rules), TN_OK, "and copied");
    tn_rules_done(&rules);

    (void) tn_ip_parse(&src, "100.64.0.2", 10);
    (void) tn_ip_parse(&dst, "100.64.0.99", 11);
    memset(&caps, 0, sizeof(caps));
    tn_rules_caps(&copy, &src, &dst, collect, &caps);
    is_str(caps.text, "one=[1];two=none;one=[2];", "grants add up");

    (void) tn_ip_parse(&src, "100.64.0.3", 10);
    memset(&caps, 0, sizeof(caps));
    tn_rules_caps(&copy, &src, &dst, collect, &caps);
    is_str(caps.text, "one=[2];", "for those they name");

    (void) tn_prefix_parse(&prefix, "100.64.0.2", 10);
    ok(!tn_rules_src_overlaps(&copy, &prefix), "grants open no ports");

    rule = tn_rule_create();
    (void) tn_rule_add_src(rule, "100.64.0.0-100.64.0.9", 21);
    (void) tn_rule_add_dst(rule, "100.64.0.1", 10, 1, 2);
    (void) tn_rules_append(&copy, rule);
    ok(tn_rules_src_overlaps(&copy, &prefix), "inside a source");
    (void) tn_prefix_parse(&prefix, "100.64.0.8/29", 13);
    ok(tn_rules_src_overlaps(&copy, &prefix), "over its end");
    (void) tn_prefix_parse(&prefix, "100.64.0.16/29", 14);
    ok(!tn_rules_src_overlaps(&copy, &prefix), "behind it");
    (void) tn_prefix_parse(&prefix, "::/0", 4);
    ok(!tn_rules_src_overlaps(&copy, &prefix), "of the other family");

    tn_rules_done(&copy);

    is_int(tn_rule_addrs_parse(&addrs, "::ffff:100.64.0.2", 17), TN_MALFORMED,
           "mapped IPv4 is no IPv4");
    is_int(tn_rule_addrs_parse(&addrs, "::ffff:0:0/96", 13), TN_MALFORMED,
           "nor as a prefix");
    is_int(tn_rule_addrs_parse(&addrs, "::-::ffff:1.2.3.4", 17),
           TN_MALFORMED, "nor as the end of a range");
    is_int(tn_rule_addrs_parse(&addrs, "::/0", 4), TN_OK, "all of IPv6");
    ok(!tn_rule_addrs_contain(&addrs, &dst), "is not IPv4");
}


/* the ends of prefixes of every length; what is not local is behind us */
static void
test_prefix_ends(void)
{
    int           bits, i, wrong;
    tn_ip_t       first, last, beside;
    tn_filter_t  *filter;
    tn_prefix_t   prefix;

    filter = tn_filter_create();
    (void) tn_prefix_parse(&prefix, "::/0", 4);
    (void) tn_filter_set_routes(filter, &prefix, 1);
    wrong = 0;

    for (bits = 2; bits <= 128; bits++) {
        memset(&prefix.ip, 0x5a, sizeof(tn_ip_t));
        prefix.bits = (uint8_t) bits;

        first = prefix.ip;
        last = prefix.ip;

        for (i = bits; i < 128; i++) {
            first.b[i / 8] &= (uint8_t) ~(0x80 >> i % 8);
            last.b[i / 8] |= (uint8_t) (0x80 >> i % 8);
        }

        (void) tn_filter_set_local(filter, &prefix, 1);

        wrong += tn_filter_is_behind(filter, &first);
        wrong += tn_filter_is_behind(filter, &last);

        beside = last;

        for (i = 15; ++beside.b[i] == 0; i--) { /* void */ }

        wrong += !tn_filter_is_behind(filter, &beside);

        beside = first;

        for (i = 15; beside.b[i]-- == 0; i--) { /* void */ }

        wrong += !tn_filter_is_behind(filter, &beside);
    }

    is_int(wrong, 0, "an IPv6 prefix reaches from its first address to its "
           "last");

    tn_filter_destroy(filter);
}


/* random ranges of the 25 numbers around which halves carry */
static void
test_ranges(void)
{
    int             i, j, k, n, left, right, wrong;
    bool            in[25];
    uint64_t        half[] = { 0, 1, 7, UINT64_MAX - 1, UINT64_MAX };
    tn_range_t      range[4];
    tn_ranges_t     ranges;
    tn_ip_number_t  number[25];

    for (i = 0; i < 25; i++) {
        number[i].hi = half[i / 5];
        number[i].lo = half[i % 5];
    }

    wrong = 0;

    for (i = 0; i < 20000; i++) {
        memset(in, 0, sizeof(in));
        n = 1 + rand() % 4;

        for (j = 0; j < n; j++) {
            left = rand() % 25;
            right = left + rand() % (25 - left);
            range[j].lo = number[left];
            range[j].hi = number[right];

            for (k = left; k <= right; k++) {
                in[k] = true;
            }
        }

        ranges.range = range;
        ranges.n = (size_t) n;
        tn_ranges_build(&ranges);

        for (j = 0; j < 25; j++) {
            wrong += tn_ranges_contain(&ranges, number[j]) != in[j];
        }

        /* what is one behind the other is one range */

        for (j = 1; j < (int) ranges.n; j++) {
            tn_ip_number_t  a = range[j - 1].hi, b = range[j].lo;

            wrong += a.hi > b.hi || (a.hi == b.hi && a.lo + 1 >= b.lo)
                     || (a.hi + 1 == b.hi && a.lo == UINT64_MAX && b.lo == 0);
        }
    }

    is_int(wrong, 0, "sets of addresses, joined and searched");
}


int
main(void)
{
    srand(1);

    test_vectors();
    test_before_rules();
    test_via();
    test_services();
    test_peerapi();
    test_routes();
    test_machine();
    test_jailed();
    test_rules_change();
    test_reject();
    test_caps();
    test_flows();
    test_prefix_ends();
    test_ranges();
    test_rule_sets();

    return tap_done();
}
