
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The names in JSON are those of upstream's network logs where it has one.
 */

#include "run/tn_toolconns.h"

#include <stdio.h>


#define TOOLCONNS_ADDR  (TN_ADDR_TEXT + 16)


static json_t *toolconns_one(tn_node_t *node, const tn_tally_count_t *count);
static const char *toolconns_proto(uint8_t proto, char *number);
static long long toolconns_number(const json_t *object, const char *name);
static const char *toolconns_text(const json_t *object, const char *name);


void
tn_toolconns_show(json_t *object, tn_node_t *node,
    const tn_data_done_t *done, tn_ms_t now)
{
    size_t   i;
    json_t  *conns, *ways;

    if (done->rc != TN_OK) {
        (void) json_object_set_new(object, "error",
            json_string(done->rc == TN_NOTFOUND ? "the node has not started"
                                                : "out of memory"));
        return;
    }

    conns = json_array();
    ways = json_array();

    for (i = 0; i < done->ncounts; i++) {
        (void) json_array_append_new(done->counts[i].way ? ways : conns,
                                     toolconns_one(node, &done->counts[i]));
    }

    (void) json_object_set_new(object, "done", json_true());
    (void) json_object_set_new(object, "seconds",
        json_real((double) (tn_max(now, done->since) - done->since) / 1000));
    (void) json_object_set_new(object, "virtualTraffic", conns);
    (void) json_object_set_new(object, "physicalTraffic", ways);
    (void) json_object_set_new(object, "left_out",
                               json_integer((json_int_t) done->left_out));
}


static json_t *
toolconns_one(tn_node_t *node, const tn_tally_count_t *count)
{
    char                        src[TN_ADDR_TEXT], dst[TN_ADDR_TEXT];
    char                        number[8];
    json_t                     *one;
    tn_control_t               *control;
    const tn_ip_t              *peer;
    const tn_netmap_node_t     *known;

    control = tn_node_control(node);
    peer = count->way ? &count->local.ip : &count->remote.ip;
    known = control ? tn_netmap_find_ip(tn_control_netmap(control), peer)
                    : NULL;

    one = json_object();

    if (known != NULL) {
        (void) json_object_set_new(one, "peer", json_string(known->label));
    }

    if (!count->way) {
        (void) json_object_set_new(one, "proto",
            json_string(toolconns_proto(count->proto, number)));
    }

    (void) json_object_set_new(one, "src", json_string(
        count->local.port ? tn_addr_text(&count->local, src)
                          : tn_ip_text(&count->local.ip, src)));

    if (count->region != 0) {
        (void) json_object_set_new(one, "derp",
                                   json_integer((json_int_t) count->region));

    } else {
        (void) json_object_set_new(one, "dst", json_string(
            count->remote.port ? tn_addr_text(&count->remote, dst)
                               : tn_ip_text(&count->remote.ip, dst)));
    }

    (void) json_object_set_new(one, "txPkts",
                               json_integer((json_int_t) count->tx_packets));
    (void) json_object_set_new(one, "txBytes",
                               json_integer((json_int_t) count->tx_bytes));
    (void) json_object_set_new(one, "rxPkts",
                               json_integer((json_int_t) count->rx_packets));
    (void) json_object_set_new(one, "rxBytes",
                               json_integer((json_int_t) count->rx_bytes));

    return one;
}


static const char *
toolconns_proto(uint8_t proto, char *number)
{
    switch (proto) {
    case TN_PROTO_TCP:
        return "tcp";
    case TN_PROTO_UDP:
        return "udp";
    case TN_PROTO_ICMP:
        return "icmp";
    case TN_PROTO_ICMP6:
        return "icmp6";
    case TN_PROTO_SCTP:
        return "sctp";
    default:
        (void) snprintf(number, 8, "%u", proto);
        return number;
    }
}


void
tn_toolconns_print(const json_t *object, void (*say)(const char *fmt, ...))
{
    char           to[TOOLCONNS_ADDR];
    size_t         i, k;
    const json_t  *one;

    static const char *const  lists[] = {
        "virtualTraffic", "physicalTraffic"
    };

    if (!json_is_true(json_object_get(object, "done"))) {
        say("tailnet \"%s\": %s\n", toolconns_text(object, "node"),
            toolconns_text(object, "error"));
        return;
    }

    say("tailnet \"%s\", counted for %.0f s\n",
        toolconns_text(object, "node"),
        json_number_value(json_object_get(object, "seconds")));

    for (k = 0; k < 2; k++) {

        json_array_foreach(json_object_get(object, lists[k]), i, one) {

            if (json_object_get(one, "derp") != NULL) {
                (void) snprintf(to, sizeof(to), "relay %lld",
                                toolconns_number(one, "derp"));

            } else {
                (void) snprintf(to, sizeof(to), "%s",
                                toolconns_text(one, "dst"));
            }

            say("  %-5s %s %s %s (%s) sent %lld in %lld, received %lld in "
                "%lld\n", k == 0 ? toolconns_text(one, "proto") : "way",
                toolconns_text(one, "src"), k == 0 ? "-" : "by", to,
                toolconns_text(one, "peer"),
                toolconns_number(one, "txBytes"),
                toolconns_number(one, "txPkts"),
                toolconns_number(one, "rxBytes"),
                toolconns_number(one, "rxPkts"));
        }
    }

    if (toolconns_number(object, "left_out") != 0) {
        say("  and %lld that were left out\n",
            toolconns_number(object, "left_out"));
    }
}


static long long
toolconns_number(const json_t *object, const char *name)
{
    return (long long) json_integer_value(json_object_get(object, name));
}


static const char *
toolconns_text(const json_t *object, const char *name)
{
    const char  *text;

    text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}
