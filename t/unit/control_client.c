
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The control client against a server in memory, on a clock that only moves
 * when told: joining, refusals, silence, rubbish, and days of a map stream.
 */

#include "control_world.h"
#include "tap.h"


#define NODE_KEY  "nodekey:2222222222222222222222222222222222222222222222222" \
                  "222222222222222"

#define EXPIRED                                                               \
    "{\"Node\":{\"ID\":1,\"Name\":\"web.tail.test.\",\"Key\":\"" NODE_KEY     \
    "\",\"Addresses\":[\"100.64.0.1/32\"],\"MachineAuthorized\":true,"        \
    "\"Expired\":true}}"

#define MAP                                                                   \
    "{\"Node\":{\"ID\":1,\"Name\":\"web.tail.test.\",\"Key\":\"" NODE_KEY     \
    "\",\"Addresses\":[\"100.64.0.1/32\"],\"MachineAuthorized\":true},"       \
    "\"Peers\":[{\"ID\":2,\"Name\":\"db.tail.test.\",\"Key\":\"nodekey:"      \
    "3333333333333333333333333333333333333333333333333333333333333333\","     \
    "\"Addresses\":[\"100.64.0.2/32\"]}],\"PacketFilter\":[]}"


static const char  *tags[] = { "tag:web" };


static void
begin(const char *url)
{
    static uint64_t  seed;

    world_begin(++seed, MAP);

    conf.url = url;
    conf.tags = tags;
    conf.ntags = 1;
    conf.os_version = "6.1";
    conf.machine_type = "x86_64";
}


static void
start(const char *url)
{
    begin(url);
    create();
    tn_control_start(w.control);
}


static const char *
text_of(const char *json, const char *name)
{
    json_t       *o;
    const char   *dot;
    const json_t *value;

    static char  text[512];

    o = json_loads(json ? json : "", 0, NULL);
    value = o;

    while ((dot = strchr(name, '.')) != NULL) {
        snprintf(text, sizeof(text), "%.*s", (int) (dot - name), name);
        value = json_object_get(value, text);
        name = dot + 1;
    }

    value = json_object_get(value, name);
    text[0] = '\0';

    if (json_is_string(value)) {
        snprintf(text, sizeof(text), "%s", json_string_value(value));

    } else if (value != NULL) {
        char  *dump = json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);

        snprintf(text, sizeof(text), "%s", dump);
        free(dump);
    }

    json_decref(o);

    return text;
}


static void
joins(void)
{
    char           key[TN_KEY_TEXT];
    size_t         i;
    tn_netinfo_t   netinfo;
    tn_endpoint_t  endpoint;

    static const size_t  pieces[] = { 100000, 1, 7, 1400 };

    for (i = 0; i < tn_nelems(pieces); i++) {
        start("http://127.0.0.1:8080");
        w.piece = pieces[i];
        w.early = i % 2 == 1;
        run(1000);

        ok(running(), "joins in pieces of %zu bytes%s", pieces[i],
           w.early ? ", with an early payload" : "");
        ok(tn_key_equal(&w.client, &w.saved.machine.pub),
           "with its machine key");
        world_end();
    }

    start("http://127.0.0.1:8080");
    run(1000);

    ok(w.saved.registered && w.saves == 2, "keys saved, then the success");
    is_int(w.registers, 1, "one registration");
    is_int(w.polls, 1, "one map poll");
    is_int(w.updates, 1, "one update at its start");
    is_int((long long) open_conns(), 1, "one connection");
    is_str(text_of(w.last_register, "NodeKey"),
           tn_key_text(&w.saved.node.pub, TN_KEY_NODE, key), "NodeKey");
    is_str(text_of(w.last_register, "Auth.AuthKey"), "tskey-secret",
           "auth key");
    is_int((long long) strlen(text_of(w.last_register, "NLKey")), 6 + 64,
           "a tailnet-lock key");
    is_str(text_of(w.last_register, "Version"), "130", "version");
    is_str(text_of(w.last_register, "Expiry"), "0001-01-01T00:00:00Z",
           "no expiry");
    is_str(text_of(w.last_register, "Hostinfo.Hostname"), "web", "hostname");
    is_str(text_of(w.last_register, "Hostinfo.RequestTags"), "[\"tag:web\"]",
           "tags");
    is_str(text_of(w.last_register, "Hostinfo.GoArch"), "amd64", "GoArch");
    ok(strlen(text_of(w.last_register, "Hostinfo.BackendLogID")) == 64,
       "a log id");
    ok(strstr(w.last_map, "tskey") == NULL, "no auth key with the map");

    is_str(text_of(w.last_map, "DiscoKey"),
           tn_key_text(&conf.disco, TN_KEY_DISCO, key), "stream: disco key");
    is_str(text_of(w.last_update, "DiscoKey"),
           tn_key_text(&conf.disco, TN_KEY_DISCO, key), "update: disco key");
    is_str(text_of(w.last_map, "Compress"), "zstd", "zstd");
    is_str(text_of(w.last_map, "KeepAlive"), "true", "keepalives");
    is_str(text_of(w.last_update, "OmitPeers"), "true", "update: no peers");
    is_str(text_of(w.last_update, "Stream"), "", "update: no stream");

    is_int(w.changes, 1, "one change of the netmap");
    is_int((long long) w.nchanged, 1, "one peer");
    ok(strstr(w.log, "running as web.tail.test. 100.64.0.1") != NULL,
       "a line says so");

    /* changes go out together, a moment later */

    memset(&endpoint, 0, sizeof(endpoint));
    (void) tn_addr_parse(&endpoint.addr, "192.0.2.1:41641", 15);
    endpoint.type = TN_ENDPOINT_STUN;
    tn_control_set_endpoints(w.control, &endpoint, 1);
    run(100);
    memset(&netinfo, 0, sizeof(netinfo));
    netinfo.preferred_derp = 9;
    netinfo.working_udp = TN_YES;
    netinfo.mapping_varies_by_dest_ip = TN_NO;
    netinfo.nlatency = 1;
    netinfo.latency[0].region = 9;
    netinfo.latency[0].seconds = 0.5;
    tn_control_set_netinfo(w.control, &netinfo);
    is_int(w.updates, 1, "not at once");
    run(500);
    is_int(w.updates, 2, "two changes, one update");
    is_str(text_of(w.last_update, "Endpoints"), "[\"192.0.2.1:41641\"]",
           "endpoints");
    is_str(text_of(w.last_update, "EndpointTypes"), "[2]", "their types");
    is_str(text_of(w.last_update, "Hostinfo.NetInfo"),
           "{\"MappingVariesByDestIP\":false,\"WorkingUDP\":true,"
           "\"PreferredDERP\":9,\"DERPLatency\":{\"9-v6\":0.5}}", "NetInfo");

    netinfo.latency[0].seconds = 0.6;
    tn_control_set_netinfo(w.control, &netinfo);
    tn_control_set_endpoints(w.control, &endpoint, 1);
    run(1000);
    is_int(w.updates, 2, "latency alone and the same again: no update");

    server_map("{\"PeersChangedPatch\":[{\"NodeID\":2,\"DERPRegion\":3}]}");
    run(10);
    is_int(w.changes, 2, "a delta");

    /* an update that is never answered */

    w.hold_updates = true;
    tn_control_set_endpoints(w.control, &endpoint, 0);
    run(1000);
    is_int(w.updates, 3, "an update without an answer");
    (void) tn_addr_parse(&endpoint.addr, "192.0.2.2:41641", 15);
    tn_control_set_endpoints(w.control, &endpoint, 1);
    run(10000);
    is_int(w.updates, 3, "is waited for");
    ok(!tn_control_is_told(w.control), "control is not told");
    w.hold_updates = false;
    run(60000);
    is_int(w.updates, 4, "but not for ever");
    is_str(text_of(w.last_update, "Endpoints"), "[\"192.0.2.2:41641\"]",
           "the next one says what has changed since");
    ok(tn_control_is_told(w.control), "control is told");
    world_end();
}


static void
dials(void)
{
    uint32_t  first;

    start(NULL);
    w.down_plain = true;
    run(10);
    ok(running(), "80 refused: joins by 443");
    is_int(w.conns[0].port, 0, "the connection for the key is closed");
    world_end();

    /* the ways of each URL, by what is tried while nothing answers */

    static const struct {
        const char  *url;
        const char  *host;
        uint16_t     key_port;
        bool         key_tls;
        uint16_t     first;
        bool         first_tls;
        uint16_t     second;            /* after 500 ms, 0: none */
    }  ways[] = {
        { "https://c.test", "c.test", 443, true, 80, false, 443 },
        { "https://c.test:8443", "c.test", 8443, true, 8443, true, 0 },
        { "http://c.test", "c.test", 80, false, 80, false, 443 },
        { "http://c.test:8080/", "c.test", 8080, false, 8080, false, 443 },
        { "http://10.1.2.3", "10.1.2.3", 80, false, 80, false, 0 },
        { "http://127.0.0.1:81", "127.0.0.1", 81, false, 81, false, 0 },
        { "http://localhost", "localhost", 80, false, 80, false, 0 },
        { "http://[fd00::1]:81", "fd00::1", 81, false, 81, false, 0 },
        { "https://127.0.0.1", "127.0.0.1", 443, true, 80, false, 443 }
    };

    for (size_t i = 0; i < tn_nelems(ways); i++) {
        start(ways[i].url);
        ok(w.conns[0].port == ways[i].key_port
           && w.conns[0].tls == ways[i].key_tls
           && strcmp(w.conns[0].host, ways[i].host) == 0,
           "%s: the key", ways[i].url);

        (void) world_deliver();
        w.hang = true;
        (void) world_deliver();

        ok(w.nconns == 2 && w.conns[1].port == ways[i].first
           && w.conns[1].tls == ways[i].first_tls, "%s: the first way",
           ways[i].url);

        run(499);
        is_int((long long) w.nconns, 2, "no other within 499 ms");
        run(1);
        is_int((long long) w.nconns, ways[i].second ? 3 : 2,
               "the other, if any, at 500 ms");
        ok(ways[i].second == 0 || (w.conns[2].tls
                                   && w.conns[2].port == ways[i].second),
           "is by TLS");
        run(9400);
        first = (uint32_t) w.nconns;
        run(200);
        ok(strstr(w.log, "within 10 s") != NULL, "given up after 10 s");
        is_int((long long) open_conns(), 0, "all are closed");
        ok(first <= 3, "no more were made");
        world_end();
    }

    /* a connection by 80 that does not last leads to 443 */

    start("https://c.test");
    run(100);
    ok(running() && !server_conn()->tls, "joined by port 80");
    run(5000);
    server_close("reset");
    run(600);
    ok(running() && server_conn()->tls, "again soon after: by 443");
    ok(w.changes == 2 && w.changed == 0, "told, though nothing has changed");
    run(60000);
    server_close("reset");
    run(600);
    ok(running() && !server_conn()->tls, "one that lasted: by 80 again");
    world_end();

    /* what sits on port 80 wants to be left alone, control does not */

    begin(NULL);
    w.plain_answer = "HTTP/1.1 503 Busy\r\nRetry-After: 3000\r\n"
                     "Content-Length: 0\r\n\r\n";
    create();
    tn_control_start(w.control);
    run(1000);
    ok(running() && server_conn()->tls, "80 is busy: joined by 443");
    server_close("reset");
    run(1000);
    ok(running(), "after a break it is not waited for 80");
    world_end();

    is_int(tn_control_check_url("https://c.test/x", NULL, 0), TN_MALFORMED,
           "a URL with a path");
    is_int(tn_control_check_url("ftp://c.test", NULL, 0), TN_MALFORMED,
           "of another scheme");
    is_int(tn_control_check_url("https://", NULL, 0), TN_MALFORMED,
           "without host");
    is_int(tn_control_check_url("https://c.test:0", NULL, 0), TN_MALFORMED,
           "with a port that is none");
    is_int(tn_control_check_url("https://c test", NULL, 0), TN_MALFORMED,
           "with a blank");
    is_int(tn_control_check_url("https://c.test:8443/", NULL, 0), TN_OK,
           "a good one");
}


static void
backs_off(void)
{
    int       i;
    size_t    before;
    tn_ms_t   at, gap, longest, shortest;

    begin("http://127.0.0.1:8080");
    create();
    w.down = true;
    tn_control_start(w.control);
    run(0);

    ok(strstr(w.log, "cannot fetch the key of 127.0.0.1: connection refused")
       != NULL, "refused: one line");
    is_int(w.logs, 1, "once");

    longest = 0;
    shortest = UINT64_MAX;
    at = w.now;

    for (i = 0; i < 30; i++) {
        before = w.nconns;

        while (w.nconns == before) {
            run(10);
        }

        gap = w.now - at;
        at = w.now;

        if (i == 0) {
            ok(gap <= 510, "the first retry is quick: %llu ms",
               (unsigned long long) gap);
        }

        if (i > 8) {
            longest = tn_max(longest, gap);
            shortest = tn_min(shortest, gap);
        }
    }

    ok(longest <= 30010 && longest > 20000, "at most 30 s: %llu ms",
       (unsigned long long) longest);
    ok(shortest >= 15000 && longest - shortest > 1000, "and jittered");
    is_int(w.logs, 1, "30 attempts, still one line");
    is_int(w.state, TN_CONTROL_STARTING, "starting");

    w.down = false;
    tn_control_wake(w.control);
    run(10);
    ok(running(), "a wake-up does not wait");
    world_end();

    /* Retry-After, at each of the three places */

    begin("http://127.0.0.1:8080");
    w.key_answer = "HTTP/1.1 503 Busy\r\nRetry-After: 7\r\n"
                   "Content-Length: 0\r\n\r\n";
    create();
    tn_control_start(w.control);
    run(6900);
    is_int((long long) w.nconns, 1, "key: 503 with a time");
    w.key_answer = NULL;
    run(200);
    ok(running(), "after it");
    world_end();

    begin("http://127.0.0.1:8080");
    w.register_status = 429;
    w.retry_after = "11";
    create();
    tn_control_start(w.control);
    run(10900);
    is_int(w.registers, 1, "register: 429 with a time");
    w.register_status = 200;
    w.retry_after = NULL;
    run(200);
    ok(running(), "after it");
    world_end();

    begin("http://127.0.0.1:8080");
    w.register_status = 429;
    create();
    tn_control_start(w.control);
    run(4900);
    is_int(w.registers, 1, "register: 429 without a time, 5 s at least");
    w.register_status = 200;
    run(5200);
    ok(running(), "10 s at most");
    world_end();

    begin("http://127.0.0.1:8080");
    saved_state();
    w.map_status = 503;
    w.retry_after = "Fri, 15 Jan 2027 08:16:50 GMT";
    create();
    tn_control_start(w.control);
    run(8000);
    is_int(w.polls, 1, "map: 503 with a date");
    w.map_status = 200;
    run(3000);
    ok(running(), "after it");
    is_int(w.registers, 0, "and no registration");
    world_end();
}


static void
registers(void)
{
    int          i, hours, logs;
    char         key[TN_KEY_TEXT];
    tn_key_t     first;
    const char  *code;

    /* what was saved is used */

    begin("http://127.0.0.1:8080");
    saved_state();
    create();
    tn_control_start(w.control);
    run(1000);
    ok(running(), "with saved keys");
    is_int(w.registers, 0, "no registration");
    is_int(w.saves, 0, "nothing to save");
    world_end();

    /* control has forgotten the node */

    begin("http://127.0.0.1:8080");
    saved_state();
    w.map_status = 404;
    create();
    tn_control_start(w.control);
    run(10);
    is_int(w.registers, 1, "map refused: registers, once");
    is_int(w.polls, 2, "asks again, and then waits");
    is_str(text_of(w.last_register, "NodeKey"),
           tn_key_text(&conf.saved.node.pub, TN_KEY_NODE, key),
           "with the same key");
    is_str(text_of(w.last_register, "Auth.AuthKey"), "tskey-secret",
           "and the auth key");
    w.map_status = 200;
    run(2000);
    ok(running(), "runs");
    world_end();

    /* an error */

    begin("http://127.0.0.1:8080");
    w.register_answer = "{\"Error\":\"key is bad\\u0007 $%s\"}";
    create();
    tn_control_start(w.control);
    run(0);
    is_int(w.state, TN_CONTROL_NEEDS_LOGIN, "an error: needs login");
    ok(strstr(w.log, "127.0.0.1 refused the registration: key is bad? $%s "
                     "(check auth_key)") != NULL, "a clear line");
    ok(strstr(w.log, "tskey") == NULL, "without the key");
    ok(!w.saved.registered, "not registered");
    w.register_answer = "{\"MachineAuthorized\":true}";
    tn_control_set_auth_key(w.control, "tskey-other");
    run(0);
    ok(running(), "another auth key heals it at once");
    world_end();

    /* the key has expired */

    begin("http://127.0.0.1:8080");
    w.register_answer = "{\"NodeKeyExpired\":true}";
    create();
    tn_control_start(w.control);
    first = w.saved.node.pub;
    run(0);
    is_int(w.registers, 2, "expired: a new key at once, then no more");
    is_str(text_of(w.last_register, "OldNodeKey"),
           tn_key_text(&first, TN_KEY_NODE, key), "the old one is told");
    ok(tn_key_equal(&w.saved.node.pub, &first)
       && !tn_key_is_zero(&w.saved.next.priv), "both are saved");
    is_int(w.key_changes, 1, "the old one stays in force");
    w.register_answer = "{\"MachineAuthorized\":true}";
    run(1000);
    ok(running(), "runs");
    ok(!tn_key_equal(&w.saved.node.pub, &first), "by the new one");
    is_int(w.key_changes, 2, "which is told to the owner");
    ok(tn_key_is_zero(&w.saved.next.priv), "the old one is forgotten");
    world_end();

    begin("http://127.0.0.1:8080");
    saved_state();
    w.map = "{\"Node\":{\"ID\":1,\"Key\":\"" NODE_KEY "\",\"KeyExpiry\":"
            "\"2027-01-15T08:18:20Z\",\"MachineAuthorized\":true}}";
    create();
    tn_control_start(w.control);
    run(99000);
    ok(running() && w.registers == 0, "a key about to expire");
    w.map = MAP;
    run(3000);
    is_int(w.registers, 1, "at its end a new one is registered");
    is_str(text_of(w.last_register, "OldNodeKey"),
           tn_key_text(&conf.saved.node.pub, TN_KEY_NODE, key),
           "in place of the old");
    ok(running(), "and it runs");
    is_int((long long) w.nconns, 2, "over the same connection");
    world_end();

    /* without an auth key that is good it takes a hand */

    for (i = 0; i < 2; i++) {
        begin("http://127.0.0.1:8080");
        saved_state();
        w.strict = true;
        (void) tn_key_text(&conf.saved.node.pub, TN_KEY_NODE, w.known);
        conf.auth_key = i == 0 ? NULL : "tskey-bad";
        w.map = "{\"Node\":{\"ID\":1,\"Key\":\"" NODE_KEY "\",\"Expired\":"
                "true,\"MachineAuthorized\":true}}";
        w.register_answer = i == 0
                            ? "{\"AuthURL\":\"https://c.test/a/9\"}"
                            : "{\"Error\":\"auth key is bad\"}";
        create();
        ok(tn_control_health(w.control, NULL) == NULL, "healthy at first");
        tn_control_start(w.control);
        run(60000);
        is_int(w.state, TN_CONTROL_NEEDS_LOGIN, "expired: needs login");
        is_int(w.errors, 1, "one line of the error log");
        ok(strstr(w.error, i == 0 ? "has expired and there is no auth_key"
                                  : "has expired and auth_key does not renew")
           != NULL, "says why");
        ok(strstr(w.error, "visit the login URL") != NULL, "and what to do");
        is_str(tn_control_health(w.control, &code), w.error + 9,
               "the health says the same");
        is_str(code, "node-key-expired", "by its code");
        w.map = MAP;
        w.register_answer = "{\"MachineAuthorized\":true}";
        tn_control_set_auth_key(w.control, "tskey-good");
        run(60000);
        ok(running(), "a good auth key heals it");
        ok(tn_control_health(w.control, NULL) == NULL, "healthy again");
        world_end();
    }

    /* it is told before: seven days and two hours to go */

    begin("http://127.0.0.1:8080");
    saved_state();
    w.map = "{\"Node\":{\"ID\":1,\"Key\":\"" NODE_KEY "\",\"KeyExpiry\":"
            "\"2027-01-22T10:00:00Z\",\"MachineAuthorized\":true}}";
    create();
    tn_control_start(w.control);
    run(1000);
    ok(running() && strstr(w.log, "expires in") == NULL,
       "more than seven days: nothing is said");

    logs = w.logs;

    for (hours = 0; hours < 7 * 24; hours++) {

        for (i = 0; i < 60; i++) {
            server_map("{\"KeepAlive\":true}");
            run(60000);
        }

        if (hours == 2) {
            ok(strstr(w.log, "the node key expires in 6 days; it is renewed")
               != NULL, "said at seven days");
            is_int(w.logs, logs + 1, "once");
        }
    }

    ok(strstr(w.log, "the node key expires in 23 hours") != NULL,
       "said again at one day");
    is_int(w.logs, logs + 2, "once");
    is_int(w.registers, 0, "before that nothing is registered");
    ok(tn_control_health(w.control, &code) != NULL
       && strcmp(code, "node-key-expires") == 0, "the health knows");
    world_end();

    /* login */

    begin("http://127.0.0.1:8080");
    conf.auth_key = NULL;
    w.register_answer = "{\"AuthURL\":\"https://c.test/a/123\"}";
    create();
    tn_control_start(w.control);
    (void) world_deliver();
    while (w.registers == 0) {
        (void) world_deliver();
    }
    w.register_answer = NULL;
    run(0);
    is_int(w.state, TN_CONTROL_NEEDS_LOGIN, "a login URL");
    is_str(w.text, "https://c.test/a/123", "as the state's text");
    ok(strstr(w.log, "visit https://c.test/a/123") != NULL, "and in the log");
    is_int(w.registers, 2, "followed up");
    is_str(text_of(w.last_register, "Followup"), "https://c.test/a/123",
           "with the URL");
    ok(!w.saved.registered, "the key is not permanent");
    run(1800 * 1000);
    is_int(w.registers, 2, "for half an hour");
    is_int((long long) open_conns(), 1, "on a connection that is alive");
    server_close("reset");
    run(1000);
    is_int(w.registers, 3, "after a break");
    is_str(text_of(w.last_register, "Followup"), "https://c.test/a/123",
           "with the same URL");
    server_respond(server_conn(), &server_conn()->streams[0], 200,
                   "{\"MachineAuthorized\":true}", true);
    server_flush(server_conn());
    run(10);
    ok(running() && w.saved.registered, "logged in");
    world_end();

    begin("http://127.0.0.1:8080");
    w.register_answer = "{\"AuthURL\":\"https://c.test/a/123\"}";
    create();
    tn_control_start(w.control);
    run(60000);
    ok(w.registers > 3 && w.registers < 20, "a server that gives URL after "
       "URL is asked with pauses: %d times a minute", w.registers);
    world_end();

    /* approval */

    begin("http://127.0.0.1:8080");
    w.register_answer = "{\"MachineAuthorized\":false}";
    w.map = "{\"Node\":{\"ID\":1,\"Key\":\"" NODE_KEY "\"}}";
    create();
    tn_control_start(w.control);
    run(1000);
    is_int(w.state, TN_CONTROL_NEEDS_APPROVAL, "waits for approval");
    is_int(w.polls, 1, "while it polls");
    server_map("{\"Node\":{\"ID\":1,\"Key\":\"" NODE_KEY "\","
               "\"MachineAuthorized\":true}}");
    run(0);
    is_int(w.state, TN_CONTROL_RUNNING, "approved");
    world_end();

    /* a disk that is full */

    begin("http://127.0.0.1:8080");
    w.save_fails = true;
    create();
    tn_control_start(w.control);
    run(10000);
    is_int((long long) w.nconns, 0, "a state that cannot be saved");
    ok(strstr(w.log, "cannot be saved") != NULL, "is told");
    w.save_fails = false;
    run(31000);
    ok(running(), "and heals");
    world_end();

    begin("http://127.0.0.1:8080");
    saved_state();
    w.map_status = 404;
    w.register_answer = "{\"NodeKeyExpired\":true}";
    w.save_fails = true;
    create();
    tn_control_start(w.control);
    run(1000);
    ok(w.registers >= 1 && strstr(w.last_register, "OldNodeKey") == NULL,
       "a new key that cannot be saved is not registered");
    world_end();

    /* leaving */

    begin("http://127.0.0.1:8080");
    conf.ephemeral = true;
    create();
    tn_control_start(w.control);
    run(1000);
    is_str(text_of(w.last_register, "Ephemeral"), "true", "ephemeral");
    ok(tn_control_stop(w.control, true), "its stop takes a moment");
    run(10);
    is_str(text_of(w.last_register, "Expiry"), "1970-01-01T00:02:03Z",
           "it logs out");
    is_int(w.state, TN_CONTROL_STOPPED, "stopped");
    ok(tn_key_is_zero(&w.saved.node.priv), "the node key is forgotten");
    ok(!tn_key_is_zero(&w.saved.machine.priv), "the machine key is not");
    is_int((long long) open_conns(), 0, "nothing is open");
    tn_control_start(w.control);
    run(1000);
    ok(running() && w.saved.registered, "it can start again");

    w.register_answer = NULL;
    (void) tn_control_stop(w.control, true);
    run(10);
    i = w.registers;
    server_map(EXPIRED);
    run(4890);
    is_int(w.registers, i, "the end of its key, told by the map, is no reason "
           "for a new one");
    ok(w.state != TN_CONTROL_STOPPED, "a logout without answer");
    run(200);
    is_int(w.state, TN_CONTROL_STOPPED, "ends after 5 s");
    world_end();

    start("http://127.0.0.1:8080");
    run(1000);
    ok(!tn_control_stop(w.control, true), "others just stop");
    is_int(w.state, TN_CONTROL_STOPPED, "at once");
    ok(w.saved.registered && w.registers == 1, "and stay registered");
    ok(tn_timers_next(&w.timers) == TN_NEVER_MS, "no timer is left");
    world_end();
}


static void
lasts(void)
{
    int     i;
    char   *big;
    size_t  n;

    start("http://127.0.0.1:8080");
    run(1000);

    for (i = 0; i < 3 * 24 * 60; i++) {
        run(60000);
        server_map("{\"KeepAlive\":true}");

        if (i % 60 == 0) {
            server_map(i % 120 ? "{\"OnlineChange\":{\"2\":true}}"
                               : "{\"OnlineChange\":{\"2\":false}}");
        }
    }

    run(0);
    ok(running(), "three days of keepalives");
    is_int((long long) w.nconns, 2, "on one connection");
    is_int(w.changes, 1 + 72, "with each change");

    /* more than any window, of what does not compress away */

    n = 300000;
    big = malloc(2 * n + 64);

    for (i = 0; big != NULL && i < 100; i++) {
        size_t  len;

        len = (size_t) sprintf(big, "{\"Unknown\":\"");
        tn_random(big + 2 * n - n, n);
        sodium_bin2hex(big + len, 2 * n - 200000, (uint8_t *) big + n,
                       n / 2);
        len = strlen(big);
        strcpy(big + len, "\"}");
        server_map(big);
        run(10);
    }

    server_map("{\"PeersRemoved\":[2]}");
    run(10);
    ok(running() && w.nconns == 2, "and of megabytes");
    is_int((long long) tn_control_netmap(w.control)->peers.count, 0,
           "to the last message");
    free(big);

    /* then silence */

    run(119000);
    ok(running(), "119 s of silence");
    run(1500);
    ok(strstr(w.log, "nothing heard from 127.0.0.1 for 120 s") != NULL,
       "after 120 s it gives up");
    is_int(w.state, TN_CONTROL_RUNNING, "the state stays");
    run(1000);
    ok(running(), "and it is back");
    is_int(w.registers, 1, "without a registration");
    world_end();

    /* nothing at all after the request */

    begin("http://127.0.0.1:8080");
    saved_state();
    w.hold_maps = true;
    create();
    tn_control_start(w.control);
    run(119000);
    is_int((long long) w.nconns, 2, "no answer to the map request");
    run(2000);
    ok(w.nconns > 2, "given up after 120 s");
    world_end();
}


static void
breaks(void)
{
    size_t       i;
    tn_key_t     old;
    const char  *trouble;

    static const char  *keys[] = {
        "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello",
        "HTTP/1.1 302 Found\r\nContent-Length: 0\r\n\r\n",
        ("HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n"
         "{\"publicKey\":\"mkey\"}"),
        "SSH-2.0-OpenSSH_9.2\r\n", "\x16\x03\x01\x02", "\r\n\r\n\r\n\r\n"
    };

    for (i = 0; i < tn_nelems(keys); i++) {
        begin("http://127.0.0.1:8080");
        w.key_answer = keys[i];
        create();
        tn_control_start(w.control);
        run(10);
        ok(strstr(w.log, "cannot fetch the key of 127.0.0.1") != NULL
           && w.nconns == 1 && open_conns() == 0, "a bad key answer, %zu", i);
        w.key_answer = NULL;
        run(2000);
        ok(running(), "heals");
        world_end();
    }

    /* the upgrade is refused */

    begin("http://127.0.0.1:8080");
    w.upgrade_answer = "HTTP/1.1 403 No\r\nContent-Length: 4\r\n\r\nnope";
    create();
    tn_control_start(w.control);
    run(10);
    ok(strstr(w.log, "refused the upgrade to Noise with status 403: nope")
       != NULL, "upgrade refused");
    world_end();

    /* another server behind the name */

    start("http://127.0.0.1:8080");
    run(1000);
    old = w.key.pub;
    tn_curve_keypair(&w.key);
    server_close("reset");
    run(300);
    run(2000);
    ok(running() && !tn_key_equal(&old, &w.key.pub),
       "a server with a new key is found");
    world_end();

    /* closed in the middle of a frame, of a message, between */

    start("http://127.0.0.1:8080");
    run(1000);
    server_map_bytes("{\"PeersRemoved\":[2]}", 20, false);
    w.piece = 10;
    (void) world_deliver();
    w.piece = 100000;
    server_close("the peer closed the connection");
    ok(strstr(w.log, "lost the connection to 127.0.0.1: the peer closed")
       != NULL, "closed in a Noise frame");
    is_int((long long) tn_control_netmap(w.control)->peers.count, 1,
           "the map stays");
    run(1000);
    ok(running(), "and it is back");

    stream_write(server_map_stream(server_conn()), "\x50\0\0\0half", 8);
    (void) nghttp2_session_resume_data(server_conn()->h2,
                             server_map_stream(server_conn())->id);
    server_flush(server_conn());
    run(10);
    server_close("the peer closed the connection");
    ok(strstr(w.log, "in the middle of a message") != NULL,
       "closed in a map message");
    run(1000);
    ok(running(), "and it is back");

    server_map_stream(server_conn())->end = true;
    (void) nghttp2_session_resume_data(server_conn()->h2,
                             server_conn()->streams[0].id);
    server_flush(server_conn());
    run(0);
    ok(strstr(w.log, "ended the map stream") != NULL, "the stream ends");
    run(3000);
    ok(running(), "and it is back");

    w.flip = true;
    server_map("{\"KeepAlive\":true}");
    run(0);
    ok(strstr(w.log, "a Noise frame does not verify") != NULL,
       "a damaged frame");
    run(5000);
    ok(running(), "and it is back");
    is_int(w.registers, 1, "all without registering");
    world_end();

    /* map messages that are none: the last good map stays */

    static const struct {
        const char  *bytes;
        size_t       len;
        bool         raw;
        const char  *why;
    }  maps[] = {
        { "{\"Peers\":[", 10, false, "not good JSON" },
        { "[]", 2, false, "not good JSON" },
        { "{\"Peers\":[{]]}", 14, false, "not good JSON" },
        { "{\"Peers\":[{\"ID\":x}]}", 20, false, "malformed" },
        { "not zstd", 8, true, "not zstd" },
        { "\x28\xb5\x2f\xfd\x20", 5, true, "zstd" },
        { "", 0, true, "zstd" },
        { "\x28\xb5\x2f\xfd\xe0\0\0\0\0\1\0\0\0\0", 14, true, "limit" }
    };

    for (i = 0; i < tn_nelems(maps); i++) {
        start("http://127.0.0.1:8080");
        run(1000);
        server_map_bytes(maps[i].bytes, maps[i].len, maps[i].raw);
        w.map = NULL;
        run(0);
        trouble = tn_control_trouble(w.control);
        ok(strstr(trouble, maps[i].why) != NULL, "bad map %zu: %s", i,
           trouble);
        is_int((long long) tn_control_netmap(w.control)->peers.count, 1,
               "the last good map stays");
        run(500);
        is_int(w.polls, 2, "and another stream is asked for");
        world_end();
    }

    start("http://127.0.0.1:8080");
    w.map = "{\"Peers\":[]}";
    run(0);
    ok(strstr(w.log, "lacks this node") != NULL, "a first map without us");
    world_end();

    /* a length that claims 4 GB */

    start("http://127.0.0.1:8080");
    run(1000);
    stream_write(server_map_stream(server_conn()), "\xff\xff\xff\xff", 4);
    (void) nghttp2_session_resume_data(server_conn()->h2,
                             server_map_stream(server_conn())->id);
    server_flush(server_conn());
    run(0);
    ok(strstr(w.log, "over the limit") != NULL, "a message of 4 GB");
    world_end();
}


static const char *
silent(const char *path)
{
    (void) path;

    return NULL;
}


static void
asks(void)
{
    int                i, logs;
    char               text[128];
    tn_control_pong_t  pong;

    start("http://127.0.0.1:8080");
    run(1000);

    server_map("{\"KeepAlive\":true,\"PingRequest\":{\"URL\":"
               "\"https://x/ping/1\",\"URLIsNoise\":true}}");
    run(0);
    is_str(w.last_path, "HEAD /ping/1", "a HEAD over Noise");
    w.last_path[0] = '\0';
    server_map("{\"KeepAlive\":true,\"PingRequest\":{\"URL\":"
               "\"https://x/ping/1\",\"URLIsNoise\":true}}");
    run(0);
    is_str(w.last_path, "", "once");

    server_map("{\"PingRequest\":{\"URL\":\"http://127.0.0.1:9/p\"}}");
    ok(w.nconns == 2, "before");
    run(0);
    is_int((long long) w.nconns, 3, "a HEAD to control's own host");
    is_str(w.last_path, "HEAD /p HTTP/1.1", "is made");
    server_map("{\"PingRequest\":{\"URL\":\"http://192.0.2.1/p\"}}");
    run(0);
    is_int((long long) w.nconns, 3, "not to another by plain HTTP");

    server_map("{\"PingRequest\":{\"URL\":\"https://x/pr\",\"Types\":"
               "\"disco,TSMP\",\"IP\":\"100.64.0.2\"}}");
    run(0);
    is_str(w.ping, "TSMP", "pings are passed on");
    memset(&pong, 0, sizeof(pong));
    pong.seconds = 0.25;
    pong.node_ip = "100.64.0.2";
    tn_control_pong(w.control, w.ping_id, &pong);
    run(0);
    is_str(w.last_path, "POST /pr", "answers go to the URL");
    is_str(w.last_body, "{\"Type\":\"TSMP\",\"LatencySeconds\":0.25,"
           "\"IP\":\"100.64.0.2\",\"NodeIP\":\"100.64.0.2\"}",
           "as PingResponse");
    w.last_path[0] = '\0';
    tn_control_pong(w.control, w.ping_id, &pong);
    run(0);
    is_str(w.last_path, "", "once");

    server_map("{\"PingRequest\":{\"URL\":\"https://x/c2n\",\"Types\":"
               "\"c2n\",\"Payload\":\"UE9TVCAvZWNobyBIVFRQLzEuMQ0KSG9zdDogeA"
               "0KDQpoaQ==\"}}");
    run(0);
    is_str(w.last_path, "POST /c2n", "c2n is answered");
    ok(strncmp(w.last_body, "HTTP/1.1 200 OK\r\n", 17) == 0
       && strcmp(w.last_body + strlen(w.last_body) - 6, "\r\n\r\nhi") == 0,
       "with the echo");

    /* more questions than are let wait for their answers */

    w.answer = silent;

    for (i = 0; i < 40; i++) {
        snprintf(text, sizeof(text), "{\"PingRequest\":{\"URL\":"
                 "\"https://x/many/%d\",\"URLIsNoise\":true}}", i);
        server_map(text);
        run(10);
    }

    is_str(w.last_path, "HEAD /many/15", "16 answers are not taken");
    w.answer = NULL;

    for (i = 0; i < 16; i++) {
        snprintf(text, sizeof(text), "/many/%d", i);
        server_answer(server_conn(), text, "");
    }

    run(10);
    server_map("{\"PingRequest\":{\"URL\":\"https://x/ping/2\","
               "\"URLIsNoise\":true}}");
    run(10);
    is_str(w.last_path, "HEAD /ping/2", "when they are there are more");

    server_map("{\"PopBrowserURL\":\"https://x/visit\"}");
    run(0);
    ok(strstr(w.log, "asks you to visit https://x/visit") != NULL,
       "a URL to visit");
    logs = w.logs;
    server_map("{\"PopBrowserURL\":\"https://x/visit\"}");
    server_map("{\"PopBrowserURL\":\"\"}");
    server_map("{\"PopBrowserURL\":7}");
    run(0);
    is_int(w.logs, logs, "once");
    server_map("{\"PopBrowserURL\":\"https://x/other\"}");
    run(0);
    ok(strstr(w.log, "asks you to visit https://x/other") != NULL,
       "another URL");

    server_map("{\"Debug\":{\"SleepSeconds\":30}}");
    run(29900);
    is_int((long long) open_conns(), 0, "stays away for 30 s");
    run(200);
    ok(running(), "and comes back");

    /* the network changed */

    tn_control_wake(w.control);
    run(20000);
    ok(running() && w.nconns == 4, "a connection that answers is kept");
    w.hang = true;
    tn_control_wake(w.control);
    run(2400);
    is_int((long long) w.nconns, 4, "one that does not");
    w.hang = false;
    run(2000);
    ok(running() && w.nconns > 4, "is given up after 2.5 s");
    world_end();

    /* and also while a registration has no answer */

    begin("http://127.0.0.1:8080");
    w.hold_answers = true;
    create();
    tn_control_start(w.control);
    run(1000);
    is_int(w.registers, 1, "a registration without an answer");
    tn_control_wake(w.control);
    run(50000);
    is_int((long long) w.nconns, 2, "the connection lives");
    run(30000);
    ok(w.nconns > 2, "but it is not waited for for ever");
    world_end();
}


/* what is logged at info of this ClientVersion, behind the fixed words */
static const char *
version(const char *json)
{
    char        *said;
    static char  text[1024];

    static const char  fixed[] = "own clients, of which this is none: ";

    w.info[0] = '\0';
    snprintf(text, sizeof(text), "{\"ClientVersion\":%s}", json);
    server_map(text);
    run(0);

    said = strstr(w.info, fixed);
    snprintf(text, sizeof(text), "%s",
             said ? said + sizeof(fixed) - 1 : w.info);

    return text;
}


static void
versions(void)
{
    int  logs;

    start("http://127.0.0.1:8080");
    run(1000);
    ok(running(), "Tailscale's clients get newer");
    logs = w.logs;

    is_str(version("{\"RunningLatest\":true}"), "", "not yet");
    is_str(version("{\"LatestVersion\":\"1.200.0\"}"), "", "they do");
    is_str(version("{\"LatestVersion\":\"1.200.0\",\"Notify\":true,"
                   "\"NotifyURL\":\"https://x/get\"}"), "",
           "with a notice for their users");
    is_str(version("{\"LatestVersion\":\"1.200.1\","
                   "\"UrgentSecurityUpdate\":true}"),
           "a security update is urgent, 1.200.1", "one is urgent");
    is_str(version("{\"LatestVersion\":\"1.200.1\","
                   "\"UrgentSecurityUpdate\":true}"), "",
           "which is said once");
    is_str(version("null"), "", "no news");
    is_str(version("{\"LatestVersion\":\"1.200.2\",\"Notify\":true,"
                   "\"UrgentSecurityUpdate\":true,"
                   "\"NotifyText\":\"DERP leaks\","
                   "\"NotifyURL\":\"https://x/get\"}"),
           "a security update is urgent, 1.200.2; DERP leaks https://x/get",
           "another is, for a reason");
    is_str(version("{\"Notify\":true,\"NotifyText\":\"read this\"}"),
           "read this", "a text alone");
    is_str(version("{\"Notify\":false,\"NotifyText\":\"not this\"}"), "",
           "that is not to be shown");
    is_str(version("{\"Notify\":true,\"NotifyText\":\"read this\"}"),
           "read this", "and is again");
    is_str(version("[7]"), "", "nonsense");
    is_str(version("{\"Notify\":1,\"NotifyText\":{},\"LatestVersion\":2,"
                   "\"UrgentSecurityUpdate\":\"yes\"}"), "",
           "nonsense in it");
    is_int(w.logs, logs, "nothing of it is worth more than info");
    ok(running(), "and it runs");
    world_end();
}


int
main(void)
{
    if (!ok(tn_crypto_init() == TN_OK, "crypto")) {
        return tap_done();
    }

    joins();
    dials();
    backs_off();
    registers();
    lasts();
    breaks();
    asks();
    versions();

    return tap_done();
}
