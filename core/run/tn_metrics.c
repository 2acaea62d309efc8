
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Names and units as https://prometheus.io/docs/practices/naming/ has them.
 * All samples of one metric stand together, below its HELP and TYPE.
 */

#include "run/tn_page.h"

#include "base/tn_version.h"
#include "host/tn_text.h"

#include <stdio.h>
#include <stdlib.h>


typedef struct metric_s  metric_t;

/* of each of these there are samples */
typedef enum {
    METRIC_CORE = 0,
    METRIC_NODE,
    METRIC_PEER
} metric_of_e;

/* whom a sample is of; the labels that say so are made once for all metrics */
typedef struct {
    const json_t     *node;
    const json_t     *peer;         /* NULL: of the node */
    char             *labels;
} metric_who_t;

/* writes the samples of one of these */
typedef void (*metric_write_pt)(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);

struct metric_s {
    const char       *name;
    const char       *type;
    const char       *help;
    metric_write_pt   write;
    metric_of_e       of;
    const char       *member;       /* of the JSON, for the plain ones */
};


static void metric_build(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static void metric_info(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static void metric_up(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static void metric_number(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static void metric_messages(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static void metric_home(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static void metric_latency(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static void metric_certificate(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static void metric_results(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static void metric_peers(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static void metric_online(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static void metric_path(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static void metric_path_latency(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static void metric_handshake(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static void metric_begin(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who);
static metric_who_t *metric_whom(const json_t *report, size_t *n);
static void metric_labels(metric_who_t *who, size_t *n);
static void metric_label(tn_text_t *text, const char *name,
    const char *value);
static void metric_derp(tn_text_t *text, const json_t *derp);
static const char *metric_text(const json_t *object, const char *member);


static const metric_t  metrics[] = {

    { "tailnet_build_info", "gauge", "The core that answers, always 1.",
      metric_build, METRIC_CORE, NULL },
    { "tailnet_node_info", "gauge", "A node of this nginx, always 1.",
      metric_info, METRIC_NODE, NULL },
    { "tailnet_node_up", "gauge",
      "Whether the node runs and control answers.",
      metric_up, METRIC_NODE, NULL },
    { "tailnet_node_key_expiry_timestamp_seconds", "gauge",
      "When the node key expires; not there when it does not.",
      metric_number, METRIC_NODE, "key_expiry" },
    { "tailnet_node_messages", "gauge",
      "Things that are wrong at present, by the node's and control's word.",
      metric_messages, METRIC_NODE, NULL },
    { "tailnet_derp_home", "gauge", "The node's home relay, always 1.",
      metric_home, METRIC_NODE, NULL },
    { "tailnet_derp_latency_seconds", "gauge",
      "Round trip to a relay by the last network report.",
      metric_latency, METRIC_NODE, NULL },
    { "tailnet_certificate_expiry_timestamp_seconds", "gauge",
      "When a certificate of the node expires.",
      metric_certificate, METRIC_NODE, NULL },
    { "tailnet_peerapi_requests_total", "counter",
      "Requests of the PeerAPI by what became of them.",
      metric_results, METRIC_NODE, "peerapi" },
    { "tailnet_node_packets_total", "counter",
      "Packets of the tunnel by what became of them.",
      metric_results, METRIC_NODE, "packets" },
    { "tailnet_peers", "gauge", "Peers of the node by what control says.",
      metric_peers, METRIC_NODE, NULL },
    { "tailnet_peer_online", "gauge", "Whether control sees the peer.",
      metric_online, METRIC_PEER, NULL },
    { "tailnet_peer_received_bytes_total", "counter",
      "Bytes received from the peer through WireGuard.",
      metric_number, METRIC_PEER, "received_bytes" },
    { "tailnet_peer_sent_bytes_total", "counter",
      "Bytes sent to the peer through WireGuard.",
      metric_number, METRIC_PEER, "sent_bytes" },
    { "tailnet_peer_path_info", "gauge",
      "How the peer is reached at present, always 1.",
      metric_path, METRIC_PEER, NULL },
    { "tailnet_peer_latency_seconds", "gauge",
      "Round trip to the peer by its direct path or peer relay.",
      metric_path_latency, METRIC_PEER, NULL },
    { "tailnet_peer_last_handshake_seconds", "gauge",
      "Time since the last WireGuard handshake with the peer.",
      metric_handshake, METRIC_PEER, NULL }
};


char *
tn_page_metrics(const json_t *report)
{
    char            *done;
    size_t           i, m, n;
    tn_text_t        text;
    metric_who_t    *who;
    const metric_t  *metric;

    who = metric_whom(report, &n);

    if (who == NULL) {
        return NULL;
    }

    tn_text_init(&text);

    for (m = 0; m < tn_nelems(metrics); m++) {
        metric = &metrics[m];

        tn_text_add(&text, "# HELP %s %s\n# TYPE %s %s\n", metric->name,
                    metric->help, metric->name, metric->type);

        if (metric->of == METRIC_CORE) {
            metric->write(&text, metric, NULL);
            continue;
        }

        for (i = 0; i < n; i++) {
            if ((metric->of == METRIC_PEER) == (who[i].peer != NULL)) {
                metric->write(&text, metric, &who[i]);
            }
        }
    }

    done = tn_text_done(&text);

    for (i = 0; i < n; i++) {
        free(who[i].labels);
    }

    free(who);

    return done;
}


/* all nodes with their peers; NULL when out of memory */
static metric_who_t *
metric_whom(const json_t *report, size_t *n)
{
    size_t         i, k, max;
    metric_who_t  *who;
    const json_t  *nodes, *node, *peers;

    nodes = json_object_get(report, "nodes");
    max = json_array_size(nodes);

    for (i = 0; i < json_array_size(nodes); i++) {
        max += json_array_size(json_object_get(json_array_get(nodes, i),
                                               "peers"));
    }

    who = calloc(max + 1, sizeof(metric_who_t));
    if (who == NULL) {
        return NULL;
    }

    *n = 0;

    for (i = 0; i < json_array_size(nodes); i++) {
        node = json_array_get(nodes, i);
        peers = json_object_get(node, "peers");

        who[*n].node = node;
        who[*n].peer = NULL;
        metric_labels(who, n);

        for (k = 0; k < json_array_size(peers); k++) {
            who[*n].node = node;
            who[*n].peer = json_array_get(peers, k);
            metric_labels(who, n);
        }
    }

    return who;
}


/* of the last one, which is counted then; not without memory.  A peer is
 * named by its id too: two shared ones may have one name */
static void
metric_labels(metric_who_t *who, size_t *n)
{
    tn_text_t      text;
    metric_who_t  *last;

    last = &who[*n];

    tn_text_init(&text);
    tn_text_add(&text, "node=\"");
    tn_text_label(&text, metric_text(last->node, "node"));
    tn_text_add(&text, "\"");

    if (last->peer != NULL) {
        metric_label(&text, "peer", metric_text(last->peer, "name"));
        metric_label(&text, "peer_id", metric_text(last->peer, "id"));
    }

    last->labels = tn_text_done(&text);

    if (last->labels != NULL) {
        (*n)++;
    }
}


static void
metric_build(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who)
{
    (void) who;

    tn_text_add(text, "%s{version=\"" TN_VERSION "\"} 1\n", metric->name);
}


static void
metric_info(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who)
{
    metric_begin(text, metric, who);
    metric_label(text, "name", metric_text(who->node, "name"));
    metric_label(text, "tailnet", metric_text(who->node, "tailnet"));
    metric_label(text, "id", metric_text(who->node, "id"));
    metric_label(text, "state", metric_text(who->node, "state"));
    tn_text_add(text, "} 1\n");
}


static void
metric_up(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who)
{
    metric_begin(text, metric, who);
    tn_text_add(text, "} %d\n",
                strcmp(metric_text(who->node, "state"), "running") == 0
                && json_is_true(json_object_get(who->node, "online")));
}


static void
metric_number(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who)
{
    const json_t  *value;

    value = json_object_get(who->peer != NULL ? who->peer : who->node,
                            metric->member);

    if (json_is_integer(value)) {
        metric_begin(text, metric, who);
        tn_text_add(text, "} %lld\n", (long long) json_integer_value(value));
    }
}


static void
metric_messages(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who)
{
    metric_begin(text, metric, who);
    tn_text_add(text, "} %zu\n",
                json_array_size(json_object_get(who->node, "messages")));
}


static void
metric_home(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who)
{
    const json_t  *derp;

    derp = json_object_get(who->node, "home_derp");

    if (derp != NULL) {
        metric_begin(text, metric, who);
        metric_derp(text, derp);
        tn_text_add(text, "} 1\n");
    }
}


static void
metric_latency(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who)
{
    size_t         i;
    const json_t  *list, *one;

    list = json_object_get(json_object_get(who->node, "netcheck"), "latencies");

    for (i = 0; i < json_array_size(list); i++) {
        one = json_array_get(list, i);

        metric_begin(text, metric, who);
        metric_derp(text, json_object_get(one, "derp"));
        metric_label(text, "family",
                     json_integer_value(json_object_get(one, "family")) == 4
                     ? "ipv4" : "ipv6");
        tn_text_add(text, "} %.6f\n",
                    json_number_value(json_object_get(one, "latency_ms"))
                    / 1000);
    }
}


static void
metric_certificate(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who)
{
    size_t         i;
    const json_t  *list, *one, *at;

    list = json_object_get(who->node, "certificates");

    for (i = 0; i < json_array_size(list); i++) {
        one = json_array_get(list, i);
        at = json_object_get(one, "expires");

        if (json_is_integer(at)) {
            metric_begin(text, metric, who);
            metric_label(text, "name", metric_text(one, "name"));
            tn_text_add(text, "} %lld\n",
                        (long long) json_integer_value(at));
        }
    }
}


static void
metric_results(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who)
{
    void        *i;
    json_t      *counts, *count;

    counts = json_object_get(who->node, metric->member);

    for (i = json_object_iter(counts); i != NULL;
         i = json_object_iter_next(counts, i))
    {
        count = json_object_iter_value(i);

        if (json_is_integer(count)) {
            metric_begin(text, metric, who);
            metric_label(text, "result", json_object_iter_key(i));
            tn_text_add(text, "} %lld\n",
                        (long long) json_integer_value(count));
        }
    }
}


static void
metric_peers(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who)
{
    size_t         i, n[3];
    const json_t  *peers, *online;

    static const char *const  states[] = { "online", "offline", "unknown" };

    memset(n, 0, sizeof(n));
    peers = json_object_get(who->node, "peers");

    for (i = 0; i < json_array_size(peers); i++) {
        online = json_object_get(json_array_get(peers, i), "online");
        n[json_is_true(online) ? 0 : json_is_false(online) ? 1 : 2]++;
    }

    n[2] += (size_t) json_integer_value(json_object_get(who->node,
                                                        "peers_left_out"));

    for (i = 0; i < tn_nelems(states); i++) {
        metric_begin(text, metric, who);
        metric_label(text, "state", states[i]);
        tn_text_add(text, "} %zu\n", n[i]);
    }
}


static void
metric_online(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who)
{
    const json_t  *online;

    online = json_object_get(who->peer, "online");

    if (online != NULL) {
        metric_begin(text, metric, who);
        tn_text_add(text, "} %d\n", json_is_true(online));
    }
}


static void
metric_path(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who)
{
    const json_t  *path;

    path = json_object_get(who->peer, "path");

    if (path != NULL) {
        metric_begin(text, metric, who);
        metric_label(text, "kind", metric_text(path, "kind"));

        if (json_object_get(path, "derp") != NULL) {
            metric_derp(text, json_object_get(path, "derp"));
        }

        tn_text_add(text, "} 1\n");
    }
}


static void
metric_path_latency(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who)
{
    const json_t  *ms;

    ms = json_object_get(json_object_get(who->peer, "path"), "latency_ms");

    if (json_is_number(ms)) {
        metric_begin(text, metric, who);
        tn_text_add(text, "} %.6f\n", json_number_value(ms) / 1000);
    }
}


static void
metric_handshake(tn_text_t *text, const metric_t *metric,
    const metric_who_t *who)
{
    const json_t  *seconds;

    seconds = json_object_get(who->peer, "handshake_seconds_ago");

    if (json_is_number(seconds)) {
        metric_begin(text, metric, who);
        tn_text_add(text, "} %.3f\n", json_number_value(seconds));
    }
}


static void
metric_begin(tn_text_t *text, const metric_t *metric, const metric_who_t *who)
{
    tn_text_add(text, "%s{%s", metric->name, who->labels);
}


static void
metric_label(tn_text_t *text, const char *name, const char *value)
{
    tn_text_add(text, ",%s=\"", name);
    tn_text_label(text, value);
    tn_text_add(text, "\"");
}


static void
metric_derp(tn_text_t *text, const json_t *derp)
{
    char  number[24];

    (void) snprintf(number, sizeof(number), "%lld",
                    (long long) json_integer_value(json_object_get(derp,
                                                                   "region")));
    metric_label(text, "region", number);
    metric_label(text, "code", metric_text(derp, "code"));
}


static const char *
metric_text(const json_t *object, const char *member)
{
    const char  *value;

    value = json_string_value(json_object_get(object, member));

    return value != NULL ? value : "";
}
