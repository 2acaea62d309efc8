
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The status page and the metrics, of reports with everything, with nothing
 * and with markup and quotes wherever the network may put some.
 */

#include "base/tn_version.h"
#include "run/tn_page.h"
#include "run/tn_problems.h"

#include "tap.h"

#include <stdlib.h>


#define WALL  1800000000

#define EVIL  "<img src=x onerror='a(\\\"b\\\")'>&"

static const char  full[] =
    "{\"nodes\":[{\"node\":\"home\",\"state\":\"running\",\"online\":true,"
    "\"name\":\"web.t.ts.net.\",\"id\":\"n1\",\"tailnet\":\"example.com\","
    "\"addresses\":[\"100.64.0.1\",\"fd7a::1\"],\"key_expiry\":1800259200,"
    "\"expired\":false,\"home_derp\":{\"region\":9,\"code\":\"fra\"},"
    "\"trouble\":\"the disk is full\",\"messages\":[\"update me\"],"
    "\"problems\":[{\"at\":1799999000,\"count\":3,\"text\":\"it broke\"}],"
    "\"certificates\":[{\"name\":\"web.t.ts.net\",\"expires\":1802592000}],"
    "\"peerapi\":{\"greeted\":4,\"invalid\":2},"
    "\"packets\":{\"received\":9,\"refused\":3},"
    "\"netcheck\":{\"udp\":true,\"ipv6\":false,"
      "\"endpoints\":[{\"address\":\"192.0.2.1:41641\"}],"
      "\"latencies\":[{\"derp\":{\"region\":9,\"code\":\"fra\"},\"family\":4,"
        "\"latency_ms\":12.5},{\"derp\":{\"region\":10},\"family\":6,"
        "\"latency_ms\":80}]},"
    "\"peers_left_out\":2,"
    "\"peers\":["
      "{\"name\":\"off.t.ts.net.\",\"id\":\"n3\",\"online\":false,"
        "\"last_seen\":1799990000,\"tags\":[\"tag:db\"],\"addresses\":[]},"
      "{\"name\":\"a.t.ts.net.\",\"id\":\"n2\",\"online\":true,"
        "\"os\":\"linux\",\"user\":\"alice@example.com\",\"tags\":[],"
        "\"addresses\":[\"100.64.0.2\"],\"path\":{\"kind\":\"direct\","
        "\"address\":\"192.0.2.9:1\",\"latency_ms\":1.25},"
        "\"sent_bytes\":1500,\"received_bytes\":2000000,"
        "\"handshake_seconds_ago\":4.5}]}]}";

static const char  evil[] =
    "{\"nodes\":[{\"node\":\"" EVIL "\",\"state\":\"" EVIL "\","
    "\"text\":\"" EVIL "\",\"name\":\"" EVIL ".\",\"id\":\"" EVIL "\","
    "\"tailnet\":\"" EVIL "\",\"addresses\":[\"" EVIL "\"],"
    "\"home_derp\":{\"region\":1,\"code\":\"" EVIL "\"},"
    "\"trouble\":\"" EVIL "\",\"messages\":[\"" EVIL "\"],"
    "\"problems\":[{\"text\":\"" EVIL "\"}],"
    "\"certificates\":[{\"name\":\"" EVIL "\",\"" EVIL "\":\"" EVIL "\"}],"
    "\"netcheck\":{\"endpoints\":[{\"address\":\"" EVIL "\"}],\"latencies\":"
      "[{\"derp\":{\"code\":\"" EVIL "\"},\"latency_ms\":1}]},"
    "\"peers\":[{\"name\":\"" EVIL "\",\"id\":\"" EVIL "\\n\\\\\","
      "\"os\":\"" EVIL "\",\"user\":\"" EVIL "\",\"addresses\":[\"" EVIL
      "\"],\"path\":{\"kind\":\"" EVIL "\",\"address\":\"" EVIL "\"}},"
      "{\"name\":\"x\",\"tags\":[\"" EVIL "\"],\"path\":{\"kind\":\"derp\","
      "\"derp\":{\"code\":\"" EVIL "\"}}}]}]}";


static char *
make(const char *json, bool html)
{
    char    *text;
    json_t  *report;

    report = json_loads(json, 0, NULL);

    if (report == NULL) {
        abort();
    }

    text = html ? tn_page_html(report, WALL) : tn_page_metrics(report);
    json_decref(report);

    if (text == NULL) {
        abort();
    }

    return text;
}


static void
has(const char *text, const char *part, const char *name)
{
    ok(strstr(text, part) != NULL, "%s", name);
}


static void
test_page(void)
{
    char  *text;

    text = make(full, true);
    has(text, "<h2>web.t.ts.net</h2><span class=\"pill ok\">running",
        "page: name and state");
    has(text, "<code>100.64.0.1</code><br><code>fd7a::1</code>", "addresses");
    has(text, "expires in 72 h", "a key that expires soon");
    has(text, "<dt>Home relay</dt><dd>fra<", "home relay");
    has(text, "192.0.2.1:41641", "endpoints");
    has(text, "UDP works, IPv6 does not", "network");
    has(text, "<dt>Packet filter</dt><dd>refused 3 packets<",
        "what the filter refused");
    has(text, "the disk is full", "trouble");
    has(text, "update me", "control's words");
    has(text, "it broke<br><span class=\"sub\">16 min ago, 3 times",
        "problems");
    has(text, "region 10", "a relay without a code");
    has(text, "12.5 ms", "its latency");
    has(text, "web.t.ts.net<span class=\"sub\">, expires 2027-02-14",
        "certificates");
    has(text, "<h3>4 peers</h3>", "peers");
    ok(strstr(text, "</span>a<br>") < strstr(text, "</span>off<br>"),
       "who is online first");
    has(text, "direct, 1.2 ms", "a path");
    has(text, "2.0 MB</td><td class=\"r num\">1.5 KB", "traffic");
    has(text, "<span class=\"tag\">tag:db</span>", "tags");
    has(text, "and 2 more", "those left out are counted");
    has(text, "<footer>ngx_tailnet " TN_VERSION "<", "the version");
    free(text);

    text = make("{\"nodes\":[]}", true);
    has(text, "No node runs", "no node");
    free(text);

    text = make("{\"nodes\":[{\"node\":\"n\",\"state\":\"needs login\","
                "\"text\":\"https://c/a?b=1&c\"}]}", true);
    has(text, "href=\"https://c/a?b=1&amp;c\"", "where to sign in");
    free(text);

    text = make("{\"nodes\":[{\"node\":\"n\",\"state\":\"needs login\","
                "\"text\":\"javascript:x\"}]}", true);
    ok(strstr(text, "href=\"j") == NULL, "only when it is a link");
    free(text);
}


static void
test_evil(void)
{
    char        *text, *p;
    size_t       tags, quotes;

    text = make(evil, true);
    ok(strstr(text, "<img") == NULL, "no markup of others");
    ok(strstr(text, "onerror='") == NULL, "no quotes of others");
    has(text, "&lt;img src=x onerror=&#39;a(&quot;b&quot;)&#39;&gt;&amp;",
        "it is shown as it is");

    tags = 0;

    for (p = text; (p = strchr(p, '<')) != NULL; p++) {
        tags += strncmp(p, "</", 2) != 0;
    }

    quotes = strlen(text);
    ok(tags > 20 && quotes > 5000, "the page is whole");
    free(text);

    text = make(evil, false);
    has(text, "peer_id=\"<img src=x onerror='a(\\\"b\\\")'>&\\n\\\\\"",
        "labels are escaped");
    ok(strstr(text, "\n\n") == NULL, "no empty lines");
    free(text);
}


static void
test_metrics(void)
{
    char  *text;

    text = make(full, false);
    has(text, "# TYPE tailnet_peer_received_bytes_total counter\n",
        "metrics: a counter");
    has(text, "\ntailnet_peer_received_bytes_total{node=\"home\","
        "peer=\"a.t.ts.net.\",peer_id=\"n2\"} 2000000\n", "its sample");
    has(text, "tailnet_node_up{node=\"home\"} 1\n", "up");
    has(text, "tailnet_node_key_expiry_timestamp_seconds{node=\"home\"} "
        "1800259200\n", "a time");
    has(text, "tailnet_derp_latency_seconds{node=\"home\",region=\"9\","
        "code=\"fra\",family=\"ipv4\"} 0.012500\n", "seconds");
    has(text, "tailnet_certificate_expiry_timestamp_seconds{node=\"home\","
        "name=\"web.t.ts.net\"} 1802592000\n", "a certificate");
    has(text, "tailnet_peerapi_requests_total{node=\"home\","
        "result=\"greeted\"} 4\n"
        "tailnet_peerapi_requests_total{node=\"home\","
        "result=\"invalid\"} 2\n", "requests of the PeerAPI");
    has(text, "# TYPE tailnet_node_packets_total counter\n"
        "tailnet_node_packets_total{node=\"home\",result=\"received\"} 9\n"
        "tailnet_node_packets_total{node=\"home\",result=\"refused\"} 3\n",
        "packets");
    has(text, "tailnet_peers{node=\"home\",state=\"online\"} 1\n"
        "tailnet_peers{node=\"home\",state=\"offline\"} 1\n"
        "tailnet_peers{node=\"home\",state=\"unknown\"} 2\n", "peers");
    has(text, "tailnet_peer_path_info{node=\"home\",peer=\"a.t.ts.net.\","
        "peer_id=\"n2\",kind=\"direct\"} 1\n", "a path");
    has(text, "# HELP tailnet_peer_latency_seconds Round trip to the peer by "
        "its direct path or peer relay.\n", "which round trip");
    free(text);

    text = make("{\"nodes\":[]}", false);
    has(text, "# HELP tailnet_node_up ", "no node");
    has(text, "# TYPE tailnet_build_info gauge\n"
        "tailnet_build_info{version=\"" TN_VERSION "\"} 1\n#", "the version");
    free(text);
}


static void
test_problems(void)
{
    int                   i;
    char                  text[32], large[2000];
    size_t                n;
    tn_problem_t          list[TN_PROBLEMS_MAX];
    static tn_problems_t  problems;

    tn_problems_init(&problems);
    is_int((long long) tn_problems_read(&problems, list), 0, "no problem");

    tn_problems_note(&problems, TN_LOG_NOTICE, "fine", 4);
    is_int((long long) tn_problems_read(&problems, list), 0,
           "a notice is none");

    for (i = 0; i < 20; i++) {
        n = (size_t) snprintf(text, sizeof(text), "problem %d", i % 10);
        tn_problems_note(&problems, TN_LOG_WARN, text, n);
    }

    is_int((long long) tn_problems_read(&problems, list), TN_PROBLEMS_MAX,
           "the last ones");

    tn_problems_note(&problems, TN_LOG_ERR, "again", 5);
    tn_problems_note(&problems, TN_LOG_ERR, "again", 5);
    n = tn_problems_read(&problems, list);

    for (i = 0; (size_t) i < n && strcmp(list[i].text, "again") != 0; i++) {
        /* void */
    }

    ok((size_t) i < n && list[i].count == 2, "the same one is counted");

    memset(large, 'x', sizeof(large));
    tn_problems_note(&problems, TN_LOG_ERR, large, sizeof(large));
    tn_problems_note(&problems, TN_LOG_ERR, large, sizeof(large));
    n = tn_problems_read(&problems, list);

    for (i = 0; (size_t) i < n && list[i].text[0] != 'x'; i++) {
        /* void */
    }

    ok((size_t) i < n && strlen(list[i].text) == TN_PROBLEMS_TEXT - 1
       && list[i].count == 2, "a long one is cut");
    tn_problems_done(&problems);
}


int
main(void)
{
    test_page();
    test_evil();
    test_metrics();
    test_problems();

    return tap_done();
}
