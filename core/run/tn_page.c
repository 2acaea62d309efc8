
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The page has no script and fetches nothing: all of it is here, and a
 * strict Content-Security-Policy can be sent with it.  Whatever comes from
 * the network goes through tn_text_html().
 */

#include "run/tn_page.h"

#include "base/tn_version.h"
#include "host/tn_text.h"

#include <stdio.h>
#include <stdlib.h>
#include <time.h>


#define TN_PAGE_DAY  86400


static void page_node(tn_text_t *text, const json_t *node, int64_t wall);
static void page_head(tn_text_t *text, const json_t *node);
static void page_facts(tn_text_t *text, const json_t *node, int64_t wall);
static void page_expiry(tn_text_t *text, const json_t *node, int64_t wall);
static void page_troubles(tn_text_t *text, const json_t *node, int64_t wall);
static void page_latencies(tn_text_t *text, const json_t *netcheck);
static void page_certificates(tn_text_t *text, const json_t *node);
static void page_peers(tn_text_t *text, const json_t *node, int64_t wall);
static void page_peer(tn_text_t *text, const json_t *peer, int64_t wall);
static void page_path(tn_text_t *text, const json_t *path);
static void page_fact(tn_text_t *text, const char *name);
static void page_list(tn_text_t *text, const json_t *list,
    const char *member);
static void page_bytes(tn_text_t *text, const json_t *object,
    const char *member);
static void page_ago(tn_text_t *text, int64_t seconds);
static void page_when(tn_text_t *text, int64_t at);
static const char *page_text(const json_t *object, const char *member);
static const char *page_derp(const json_t *object, char *buf, size_t size);


static const char  page_style[] =
":root{--bg:#f6f7f9;--card:#fff;--ink:#1c2733;--dim:#66727f;--line:#e4e8ec;"
"--ok:#1a7f4b;--okbg:#e2f5ea;--warn:#8a5a00;--warnbg:#fff3d6;--bad:#b3261e;"
"--badbg:#fde8e6;--bar:#4a7dbd}"
"@media(prefers-color-scheme:dark){:root{--bg:#12171d;--card:#1b232c;"
"--ink:#e3e9ef;--dim:#93a1af;--line:#2c3742;--ok:#6fd39b;--okbg:#173626;"
"--warn:#f0c260;--warnbg:#3a2e12;--bad:#ff9a91;--badbg:#441f1c;"
"--bar:#6fa0dc}}"
"*{box-sizing:border-box}"
"body{margin:0;background:var(--bg);color:var(--ink);"
"font:15px/1.5 system-ui,-apple-system,'Segoe UI',Roboto,'DejaVu Sans',"
"sans-serif}"
"main{max-width:1120px;margin:0 auto;padding:28px 20px 48px}"
"header.top{display:flex;align-items:baseline;gap:14px;margin:0 4px 18px}"
"header.top h1{font-size:20px;margin:0;letter-spacing:-.01em}"
"header.top nav{margin-left:auto}"
"a{color:var(--bar);text-decoration:none}a:hover{text-decoration:underline}"
"nav a{margin-left:14px;font-size:13px}"
".dim{color:var(--dim);font-size:13px}"
"section{background:var(--card);border:1px solid var(--line);"
"border-radius:12px;padding:22px 24px;margin-bottom:22px}"
".head{display:flex;flex-wrap:wrap;align-items:center;gap:6px 12px}"
".head h2{margin:0;font-size:22px;letter-spacing:-.01em}"
".pill{border-radius:99px;padding:2px 11px;font-size:13px;font-weight:600}"
".ok{color:var(--ok);background:var(--okbg)}"
".warn{color:var(--warn);background:var(--warnbg)}"
".bad{color:var(--bad);background:var(--badbg)}"
"h3{font-size:13px;text-transform:uppercase;letter-spacing:.06em;"
"color:var(--dim);margin:26px 0 8px;font-weight:600}"
"dl{display:grid;grid-template-columns:repeat(auto-fit,minmax(230px,1fr));"
"gap:14px 26px;margin:18px 0 0}"
"dt{color:var(--dim);font-size:13px}dd{margin:0;overflow-wrap:anywhere}"
"code,.num{font-family:ui-monospace,SFMono-Regular,Menlo,'DejaVu Sans Mono',"
"monospace;font-size:13px}"
"ul.notes{list-style:none;margin:8px 0 0;padding:0}"
"ul.notes li{border-radius:8px;padding:8px 12px;margin-bottom:6px;"
"overflow-wrap:anywhere}"
".scroll{overflow-x:auto}"
"table{border-collapse:collapse;width:100%}"
"th{font-size:12px;color:var(--dim);font-weight:600;text-align:left;"
"padding:4px 14px 6px 0;border-bottom:1px solid var(--line)}"
"td{padding:8px 14px 8px 0;border-bottom:1px solid var(--line);"
"vertical-align:top}"
"tr:last-child td{border-bottom:0}"
"th.r,td.r{text-align:right;white-space:nowrap}"
".dot{display:inline-block;width:9px;height:9px;border-radius:50%;"
"margin-right:8px;background:var(--line)}"
".dot.on{background:var(--ok)}"
".sub{color:var(--dim);font-size:13px}"
".tag{display:inline-block;border:1px solid var(--line);border-radius:6px;"
"padding:0 6px;margin:0 4px 2px 0;font-size:12.5px}"
".bars{display:grid;grid-template-columns:max-content 1fr max-content;"
"gap:6px 12px;align-items:center;max-width:520px}"
"progress{width:100%;height:8px;appearance:none;border:0;border-radius:4px;"
"background:var(--line);overflow:hidden}"
"progress::-webkit-progress-bar{background:var(--line)}"
"progress::-webkit-progress-value{background:var(--bar);border-radius:4px}"
"progress::-moz-progress-bar{background:var(--bar);border-radius:4px}"
"footer{color:var(--dim);font-size:13px;margin:0 4px}";


char *
tn_page_html(const json_t *report, int64_t wall)
{
    size_t         i;
    tn_text_t      text;
    const json_t  *nodes;

    nodes = json_object_get(report, "nodes");

    tn_text_init(&text);
    tn_text_add(&text, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n"
                "<meta charset=\"utf-8\">\n"
                "<meta name=\"viewport\" content=\"width=device-width,"
                "initial-scale=1\">\n"
                "<meta name=\"robots\" content=\"noindex\">\n"
                "<title>nginx on the tailnet</title>\n<style>%s</style>\n"
                "</head>\n<body>\n<main>\n<header class=\"top\">"
                "<h1>nginx on the tailnet</h1><span class=\"dim\">",
                page_style);
    page_when(&text, wall);
    tn_text_add(&text, "</span><nav><a href=\"?format=json\">JSON</a>"
                "<a href=\"?format=prometheus\">Prometheus</a></nav>"
                "</header>\n");

    for (i = 0; i < json_array_size(nodes); i++) {
        page_node(&text, json_array_get(nodes, i), wall);
    }

    if (json_array_size(nodes) == 0) {
        tn_text_add(&text, "<section>No node runs: nginx was started a "
                    "moment ago, or its configuration has no "
                    "<code>tailnet</code> block.</section>\n");
    }

    tn_text_add(&text, "<footer>ngx_tailnet " TN_VERSION "</footer>\n"
                "</main>\n</body>\n</html>\n");

    return tn_text_done(&text);
}


static void
page_node(tn_text_t *text, const json_t *node, int64_t wall)
{
    tn_text_add(text, "<section>\n");
    page_head(text, node);
    page_facts(text, node, wall);
    page_troubles(text, node, wall);
    page_latencies(text, json_object_get(node, "netcheck"));
    page_certificates(text, node);
    page_peers(text, node, wall);
    tn_text_add(text, "</section>\n");
}


static void
page_head(tn_text_t *text, const json_t *node)
{
    size_t       len;
    const char  *name, *state, *class;

    name = page_text(node, "name");
    state = page_text(node, "state");
    len = strlen(name);

    class = "bad";

    if (strcmp(state, "running") == 0) {
        class = "ok";

        if (!json_is_true(json_object_get(node, "online"))) {
            class = "warn";
            state = "control is away";
        }

    } else if (strcmp(state, "starting") == 0) {
        class = "warn";
    }

    tn_text_add(text, "<div class=\"head\"><h2>");

    if (len > 1 && name[len - 1] == '.') {
        char  fqdn[256];

        (void) snprintf(fqdn, sizeof(fqdn), "%.*s", (int) len - 1, name);
        tn_text_html(text, fqdn);

    } else {
        tn_text_html(text, len ? name : page_text(node, "node"));
    }

    tn_text_add(text, "</h2><span class=\"pill %s\">", class);
    tn_text_html(text, state);
    tn_text_add(text, "</span><span class=\"dim\">tailnet ");
    tn_text_html(text, page_text(node, "node"));
    tn_text_add(text, "</span></div>\n");
}


static void
page_facts(tn_text_t *text, const json_t *node, int64_t wall)
{
    char           derp[128];
    json_int_t     refused;
    const json_t  *netcheck;

    netcheck = json_object_get(node, "netcheck");
    refused = json_integer_value(json_object_get(json_object_get(node,
                                                                 "packets"),
                                                 "refused"));

    if (*page_text(node, "name") == '\0') {

        /* control has not said who it is */

        return;
    }

    tn_text_add(text, "<dl>\n");

    page_fact(text, "Addresses");
    page_list(text, json_object_get(node, "addresses"), NULL);
    tn_text_add(text, "</dd></div>\n");

    page_fact(text, "Node key");
    page_expiry(text, node, wall);
    tn_text_add(text, "</dd></div>\n");

    page_fact(text, "Home relay");
    tn_text_html(text, page_derp(json_object_get(node, "home_derp"), derp,
                                 sizeof(derp)));
    tn_text_add(text, "</dd></div>\n");

    page_fact(text, "Reachable at");
    page_list(text, json_object_get(netcheck, "endpoints"), "address");
    tn_text_add(text, "</dd></div>\n");

    if (*page_text(node, "tailnet") != '\0') {
        page_fact(text, "Tailnet");
        tn_text_html(text, page_text(node, "tailnet"));
        tn_text_add(text, "</dd></div>\n");
    }

    if (json_object_get(netcheck, "udp") != NULL) {
        page_fact(text, "Network");
        tn_text_add(text, "UDP %s, IPv6 %s",
                    json_is_true(json_object_get(netcheck, "udp"))
                    ? "works" : "is blocked",
                    json_is_true(json_object_get(netcheck, "ipv6"))
                    ? "works" : "does not");

        if (json_is_true(json_object_get(netcheck, "mapping_varies"))) {
            tn_text_add(text, ", NAT gives each peer another port");
        }

        tn_text_add(text, "</dd></div>\n");
    }

    if (refused != 0) {
        page_fact(text, "Packet filter");
        tn_text_add(text, "refused %lld packets</dd></div>\n",
                    (long long) refused);
    }

    tn_text_add(text, "</dl>\n");
}


static void
page_expiry(tn_text_t *text, const json_t *node, int64_t wall)
{
    int64_t  at;

    at = json_integer_value(json_object_get(node, "key_expiry"));

    if (json_is_true(json_object_get(node, "expired"))
        || (at != 0 && at <= wall))
    {
        tn_text_add(text, "<span class=\"pill bad\">expired</span> ");

        if (at != 0) {
            page_when(text, at);
        }

        tn_text_add(text, "<br><span class=\"sub\">Sign the node in again, "
                    "or let control extend its key.</span>");
        return;
    }

    if (at == 0) {
        tn_text_add(text, "does not expire");
        return;
    }

    if (at - wall < 7 * TN_PAGE_DAY) {
        tn_text_add(text, "<span class=\"pill warn\">expires in %lld h</span> ",
                    (long long) (at - wall) / 3600);

    } else {
        tn_text_add(text, "expires in %lld days<br><span class=\"sub\">",
                    (long long) (at - wall) / TN_PAGE_DAY);
    }

    page_when(text, at);
    tn_text_add(text, at - wall < 7 * TN_PAGE_DAY ? "" : "</span>");
}


/* what is wrong now, then what was */
static void
page_troubles(tn_text_t *text, const json_t *node, int64_t wall)
{
    size_t         i, n;
    int64_t        count;
    const json_t  *messages, *problems, *one;
    const char    *line, *trouble, *link;

    line = page_text(node, "text");
    trouble = page_text(node, "trouble");
    messages = json_object_get(node, "messages");
    problems = json_object_get(node, "problems");
    n = json_array_size(messages);

    if (*line == '\0' && *trouble == '\0' && n == 0
        && json_array_size(problems) == 0)
    {
        return;
    }

    tn_text_add(text, "<h3>What to look at</h3>\n<ul class=\"notes\">\n");

    if (*line != '\0' && strcmp(page_text(node, "state"), "running") != 0) {
        link = strstr(line, "https://");
        link = link != NULL ? link : strstr(line, "http://");

        tn_text_add(text, "<li class=\"warn\">");

        if (link == line && strcspn(link, " \t\"'<>") == strlen(link)) {
            tn_text_add(text, "Sign in at <a rel=\"noreferrer\" href=\"");
            tn_text_html(text, link);
            tn_text_add(text, "\">");
            tn_text_html(text, link);
            tn_text_add(text, "</a>");

        } else {
            tn_text_html(text, line);
        }

        tn_text_add(text, "</li>\n");
    }

    if (*trouble != '\0') {
        tn_text_add(text, "<li class=\"bad\">");
        tn_text_html(text, trouble);
        tn_text_add(text, "</li>\n");
    }

    for (i = 0; i < n; i++) {
        line = json_string_value(json_array_get(messages, i));

        if (line != NULL) {
            tn_text_add(text, "<li class=\"warn\">");
            tn_text_html(text, line);
            tn_text_add(text, "</li>\n");
        }
    }

    for (i = 0; i < json_array_size(problems); i++) {
        one = json_array_get(problems, i);
        count = json_integer_value(json_object_get(one, "count"));

        tn_text_add(text, "<li>");
        tn_text_html(text, page_text(one, "text"));
        tn_text_add(text, "<br><span class=\"sub\">");
        page_ago(text, wall - json_integer_value(json_object_get(one, "at")));

        if (count > 1) {
            tn_text_add(text, ", %lld times", (long long) count);
        }

        tn_text_add(text, "</span></li>\n");
    }

    tn_text_add(text, "</ul>\n");
}


static void
page_latencies(tn_text_t *text, const json_t *netcheck)
{
    char           derp[128];
    double         ms, most;
    size_t         i, n;
    const json_t  *list, *one;

    list = json_object_get(netcheck, "latencies");
    n = json_array_size(list);
    most = 1;

    if (n == 0) {
        return;
    }

    for (i = 0; i < n; i++) {
        ms = json_number_value(json_object_get(json_array_get(list, i),
                                               "latency_ms"));
        most = tn_max(most, ms);
    }

    tn_text_add(text, "<h3>Relays</h3>\n<div class=\"bars\">\n");

    for (i = 0; i < n; i++) {
        one = json_array_get(list, i);
        ms = json_number_value(json_object_get(one, "latency_ms"));

        tn_text_add(text, "<span>");
        tn_text_html(text, page_derp(json_object_get(one, "derp"), derp,
                                     sizeof(derp)));
        tn_text_add(text, " <span class=\"sub\">IPv%lld</span></span>"
                    "<progress max=\"%.2f\" value=\"%.2f\"></progress>"
                    "<span class=\"num\">%.1f ms</span>\n",
                    (long long) json_integer_value(json_object_get(one,
                                                                   "family")),
                    most, ms, ms);
    }

    tn_text_add(text, "</div>\n");
}


/* objects of texts, "name" first */
static void
page_certificates(tn_text_t *text, const json_t *node)
{
    size_t         i;
    json_t        *value;
    const json_t  *list, *one;
    const char    *name;

    list = json_object_get(node, "certificates");

    if (json_array_size(list) == 0) {
        return;
    }

    tn_text_add(text, "<h3>Certificates</h3>\n<ul class=\"notes\">\n");

    for (i = 0; i < json_array_size(list); i++) {
        one = json_array_get(list, i);

        tn_text_add(text, "<li>");
        tn_text_html(text, page_text(one, "name"));
        tn_text_add(text, "<span class=\"sub\">");

        json_object_foreach((json_t *) (uintptr_t) one, name, value) {
            if (strcmp(name, "name") == 0) {
                continue;
            }

            tn_text_add(text, ", ");

            if (!json_is_string(value)) {
                tn_text_html(text, name);
                tn_text_add(text, " ");
            }

            if (json_is_string(value)) {
                tn_text_html(text, json_string_value(value));

            } else if (json_is_integer(value)
                       && strcmp(name, "expires") == 0)
            {
                page_when(text, json_integer_value(value));

            } else if (json_is_integer(value)) {
                tn_text_add(text, "%lld",
                            (long long) json_integer_value(value));

            } else {
                tn_text_add(text, "%s", json_is_true(value) ? "yes" : "no");
            }
        }

        tn_text_add(text, "</span></li>\n");
    }

    tn_text_add(text, "</ul>\n");
}


static void
page_peers(tn_text_t *text, const json_t *node, int64_t wall)
{
    bool           online;
    size_t         i, n, shown;
    int            pass;
    json_int_t     more;
    const json_t  *peers, *peer;

    peers = json_object_get(node, "peers");
    n = json_array_size(peers);
    more = json_integer_value(json_object_get(node, "peers_left_out"));
    shown = 0;

    if (n == 0) {
        return;
    }

    tn_text_add(text, "<h3>%lld peer%s</h3>\n<div class=\"scroll\"><table>\n"
                "<tr><th>Name</th><th>User or tags</th><th>Addresses</th>"
                "<th>Path</th><th class=\"r\">Received</th>"
                "<th class=\"r\">Sent</th></tr>\n", (long long) n + more,
                n + (size_t) more == 1 ? "" : "s");

    for (pass = 0; pass < 2; pass++) {
        for (i = 0; i < n && shown < TN_PAGE_PEERS_MAX; i++) {
            peer = json_array_get(peers, i);
            online = json_is_true(json_object_get(peer, "online"));

            if (online == (pass == 0)) {
                page_peer(text, peer, wall);
                shown++;
            }
        }
    }

    tn_text_add(text, "</table></div>\n");

    if (n + (size_t) more > shown) {
        tn_text_add(text, "<p class=\"dim\">and %lld more</p>\n",
                    (long long) (n + (size_t) more - shown));
    }
}


static void
page_peer(tn_text_t *text, const json_t *peer, int64_t wall)
{
    bool           online;
    size_t         i;
    int64_t        seen;
    const json_t  *tags;
    const char    *name;

    name = page_text(peer, "name");
    tags = json_object_get(peer, "tags");
    online = json_is_true(json_object_get(peer, "online"));
    seen = json_integer_value(json_object_get(peer, "last_seen"));

    tn_text_add(text, "<tr><td><span class=\"dot%s\" title=\"%s\"></span>",
                online ? " on" : "", online ? "online" : "offline");

    if (*name != '\0') {
        char  label[64];

        (void) snprintf(label, sizeof(label), "%.*s",
                        (int) tn_min(strcspn(name, "."), (size_t) 63), name);
        tn_text_html(text, label);
    }

    tn_text_add(text, "<br><span class=\"sub\">");
    tn_text_html(text, page_text(peer, "os"));

    if (json_is_true(json_object_get(peer, "expired"))) {
        tn_text_add(text, " key expired");

    } else if (!online && seen != 0) {
        tn_text_add(text, " seen ");
        page_ago(text, wall - seen);
    }

    tn_text_add(text, "</span></td><td>");

    for (i = 0; i < json_array_size(tags); i++) {
        name = json_string_value(json_array_get(tags, i));

        if (name != NULL) {
            tn_text_add(text, "<span class=\"tag\">");
            tn_text_html(text, name);
            tn_text_add(text, "</span>");
        }
    }

    if (json_array_size(tags) == 0) {
        tn_text_html(text, page_text(peer, "user"));
    }

    tn_text_add(text, "</td><td>");
    page_list(text, json_object_get(peer, "addresses"), NULL);
    tn_text_add(text, "</td><td>");
    page_path(text, json_object_get(peer, "path"));
    tn_text_add(text, "</td><td class=\"r num\">");
    page_bytes(text, peer, "received_bytes");
    tn_text_add(text, "</td><td class=\"r num\">");
    page_bytes(text, peer, "sent_bytes");
    tn_text_add(text, "</td></tr>\n");
}


static void
page_path(tn_text_t *text, const json_t *path)
{
    char           derp[128];
    const char    *kind;
    const json_t  *ms;

    kind = page_text(path, "kind");
    ms = json_object_get(path, "latency_ms");

    if (strcmp(kind, "derp") == 0) {
        tn_text_add(text, "relay ");
        tn_text_html(text, page_derp(json_object_get(path, "derp"), derp,
                                     sizeof(derp)));

    } else if (strcmp(kind, "none") != 0) {
        tn_text_html(text, kind);
    }

    if (json_is_number(ms)) {
        tn_text_add(text, ", %.1f ms", json_number_value(ms));
    }

    tn_text_add(text, "<br><span class=\"sub\">");
    tn_text_html(text, page_text(path, "address"));
    tn_text_add(text, "</span>");
}


static void
page_fact(tn_text_t *text, const char *name)
{
    tn_text_add(text, "<div><dt>%s</dt><dd>", name);
}


/* of texts, or of objects that have this member */
static void
page_list(tn_text_t *text, const json_t *list, const char *member)
{
    size_t       i;
    const char  *one;

    for (i = 0; i < json_array_size(list); i++) {
        one = member ? page_text(json_array_get(list, i), member)
                     : json_string_value(json_array_get(list, i));

        if (one == NULL || *one == '\0') {
            continue;
        }

        tn_text_add(text, i ? "<br><code>" : "<code>");
        tn_text_html(text, one);
        tn_text_add(text, "</code>");
    }
}


static void
page_bytes(tn_text_t *text, const json_t *object, const char *member)
{
    double         n;
    size_t         i;
    const json_t  *value;

    static const char *const  units[] = { "B", "KB", "MB", "GB", "TB", "PB" };

    value = json_object_get(object, member);

    if (!json_is_integer(value) || json_integer_value(value) == 0) {
        return;
    }

    n = (double) json_integer_value(value);

    for (i = 0; n >= 1000 && i < tn_nelems(units) - 1; i++) {
        n /= 1000;
    }

    tn_text_add(text, i && n < 100 ? "%.1f %s" : "%.0f %s", n, units[i]);
}


static void
page_ago(tn_text_t *text, int64_t seconds)
{
    if (seconds < 60) {
        tn_text_add(text, "just now");

    } else if (seconds < 3600) {
        tn_text_add(text, "%lld min ago", (long long) seconds / 60);

    } else if (seconds < 2 * TN_PAGE_DAY) {
        tn_text_add(text, "%lld h ago", (long long) seconds / 3600);

    } else {
        tn_text_add(text, "%lld days ago", (long long) seconds / TN_PAGE_DAY);
    }
}


static void
page_when(tn_text_t *text, int64_t at)
{
    char       buf[64];
    time_t     t;
    struct tm  tm;

    t = (time_t) at;

    if (gmtime_r(&t, &tm) != NULL
        && strftime(buf, sizeof(buf), "%Y-%m-%d %H:%M UTC", &tm) != 0)
    {
        tn_text_add(text, "%s", buf);
    }
}


/* never NULL */
static const char *
page_text(const json_t *object, const char *member)
{
    const char  *value;

    value = json_string_value(json_object_get(object, member));

    return value != NULL ? value : "";
}


static const char *
page_derp(const json_t *object, char *buf, size_t size)
{
    const char  *code;

    code = page_text(object, "code");

    if (object == NULL) {
        return "none yet";
    }

    if (*code != '\0') {
        return code;
    }

    (void) snprintf(buf, size, "region %lld",
                    (long long) json_integer_value(json_object_get(object,
                                                                   "region")));
    return buf;
}
