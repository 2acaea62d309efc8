
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Map messages that contradict themselves, are of wrong types, nested without
 * end or enormous: the last good netmap stays, with a line or two of the log
 * and bounded memory.  And a control server that is away for twelve hours.
 */

#include "control_world.h"
#include "tap.h"

#include <malloc.h>


#define SIXTEEN(d)  d d d d d d d d d d d d d d d d
#define KEY(d)  "nodekey:" SIXTEEN(d d d d)

#define PEER(id, key)                                                         \
    "{\"ID\":" id ",\"Name\":\"p" id ".t.\",\"Key\":\"" KEY(key) "\","        \
    "\"Addresses\":[\"100.64.0." id "/32\"]}"

#define MAP                                                                   \
    "{\"Node\":{\"ID\":1,\"Name\":\"web.t.\",\"Key\":\"" KEY("1") "\","       \
    "\"Addresses\":[\"100.64.0.1/32\"],\"MachineAuthorized\":true},"          \
    "\"Peers\":[" PEER("2", "2") "," PEER("3", "3") "],"                      \
    "\"PacketFilter\":[]}"


static void
start(void)
{
    static uint64_t  seed = 5000;

    world_begin(++seed, MAP);

    create();
    tn_control_start(w.control);
    run(1000);
}


/* both peers with their keys, found as they should be */
static bool
as_before(void)
{
    tn_ip_t                  ip;
    tn_netmap_t             *netmap;
    const tn_netmap_node_t  *node;

    netmap = tn_control_netmap(w.control);
    ip = tn_ip_from_v4((const uint8_t[4]) { 100, 64, 0, 2 });
    node = tn_netmap_find_ip(netmap, &ip);

    return netmap->peers.count == 2 && netmap->self->id == 1
           && node != NULL && node->id == 2 && node->key.b[0] == 0x22
           && tn_netmap_find_name(netmap, "p3", 2) != NULL;
}


static size_t
in_use(void)
{
    return mallinfo2().uordblks;
}


/* of no use, and of no harm: the stream itself may go on */
static void
useless(void)
{
    int     logs;
    size_t  i, before;

    static const struct {
        const char  *name;
        const char  *json;
    } messages[] = {
        { "peers of wrong types",
          "{\"PeersChanged\":[5,\"x\",null,[],{\"ID\":\"y\"},{\"ID\":9}]}" },
        { "a list that is an object", "{\"Peers\":{\"a\":1}}" },
        { "patches of nobody and of wrong types",
          "{\"PeersChangedPatch\":[{\"NodeID\":77,\"DERPRegion\":1},"
          "{\"NodeID\":\"2\"},{\"DERPRegion\":3},4]}" },
        { "removal of nobody and of rubbish",
          "{\"PeersRemoved\":[99,\"2\",null,-1,1e99]}" },
        { "this node among its peers",
          "{\"PeersChanged\":[" PEER("1", "1") "]}" },
        { "this node's key on a peer",
          "{\"PeersChanged\":[" PEER("9", "1") "]}" },
        { "unknown fields", "{\"Future\":{\"a\":[{}]},\"X\":null}" },
        { "a node of ours that is none", "{\"Node\":{\"ID\":0}}" },
        { "names that are no names",
          "{\"OnlineChange\":{\"x\":true,\"\":false,\"9e9\":true},"
          "\"PeerSeenChange\":[1]}" },
        { "users of wrong types",
          "{\"UserProfiles\":[1,{\"ID\":\"z\"},{\"LoginName\":5}]}" },
        { "DNS of wrong types",
          "{\"DERPMap\":[1],\"Domain\":5,\"Health\":\"x\"}" }
    };

    start();

    for (i = 0; i < tn_nelems(messages); i++) {
        before = in_use();
        logs = w.logs;
        server_map(messages[i].json);
        run(2000);
        ok(running() && as_before(), "%s: the netmap stays",
           messages[i].name);
        ok(w.logs - logs <= 2, "with %d lines of the log", w.logs - logs);
        ok(in_use() < before + 65536, "and no more memory");

        if (!running()) {
            run(35000);
        }
    }

    world_end();
}


/* what cannot be read: another stream, and the old netmap until then */
static void
unreadable(void)
{
    int      kind, logs;
    char    *text;
    size_t   n, before, peak;

    static const char  *names[] = {
        "nested a million deep", "nested objects", "cut off",
        "20 MB of one string", "a number without end"
    };

    for (kind = 0; kind < 5; kind++) {
        n = kind == 3 ? 20000000 : 1000000;
        text = malloc(n + 64);

        if (text == NULL) {
            abort();
        }

        start();
        before = in_use();

        switch (kind) {

        case 0:
            strcpy(text, "{\"Peers\":");
            memset(text + 9, '[', n);
            text[9 + n] = '\0';
            break;

        case 1:
            for (peak = 0; peak + 5 <= n; peak += 5) {
                memcpy(text + peak, "{\"a\":", 5);
            }

            text[peak] = '\0';
            break;

        case 2:
            strcpy(text, MAP);
            text[strlen(text) / 2] = '\0';
            break;

        case 3:
            strcpy(text, "{\"Domain\":\"");
            memset(text + 11, 'x', n);
            strcpy(text + 11 + n, "\"}");
            break;

        default:
            strcpy(text, "{\"PeersRemoved\":[");
            memset(text + 17, '9', n);
            strcpy(text + 17 + n, "]}");
        }

        logs = w.logs;
        server_map(text);
        run(100);
        ok(as_before(), "%s: the netmap stays", names[kind]);
        ok(w.logs - logs <= 2, "with %d lines of the log", w.logs - logs);
        is_int(w.state, TN_CONTROL_RUNNING, "the state, too");
        free(text);

        run(35000);
        ok(running() && as_before(), "and it goes on");
        ok(in_use() < before + n + 262144, "in bounded memory");
        is_int(w.registers, 1, "without a registration");
        world_end();
    }
}


static void
away(void)
{
    int     logs;
    size_t  conns, before;

    start();
    before = in_use();
    logs = w.logs;
    conns = w.nconns;
    w.down = true;
    server_close("reset");
    run((tn_ms_t) 12 * 3600 * 1000);

    is_int(w.state, TN_CONTROL_RUNNING, "control away for 12 hours: running");
    ok(as_before(), "by the same netmap");
    ok(w.nconns - conns > 1000 && w.nconns - conns < 4500,
       "control was tried %zu times", w.nconns - conns);
    ok(w.logs - logs <= 3, "%d lines of the log", w.logs - logs);
    ok(in_use() < before + 65536, "no more memory");

    w.down = false;
    run(31000);
    ok(running() && as_before(), "it is back by itself");
    is_int(w.registers, 1, "without a registration");
    world_end();
}


/* its name leads nowhere: it has told where it is */
static void
planned(void)
{
    start();
    server_map("{\"ControlDialPlan\":{\"Candidates\":["
               "{\"IP\":\"192.0.2.9\"},{\"IP\":\"192.0.2.1\",\"Priority\":3,"
               "\"DialStartDelaySec\":0.2},{\"ACEHost\":\"ace.test\"},"
               "{\"IP\":\"rubbish\"},7]}}");
    run(10);
    w.only = "192.0.2.9";
    server_close("reset");
    run(3000);
    ok(running() && as_before(), "control by an address of its plan");
    is_str(server_conn()->host, "192.0.2.9", "the one that answers");
    ok(strstr(server_conn()->head, "\r\nHost: 127.0.0.1:8080\r\n") != NULL,
       "asked by its name");
    is_int(w.registers, 1, "without a registration");

    /* the same where nothing says that the name leads nowhere */

    w.drop = true;
    server_close("reset");
    run(20000);
    ok(running() && as_before(), "also when nobody answers to the name");
    is_str(server_conn()->host, "192.0.2.9", "nor at the first address");
    w.drop = false;

    server_map("{\"ControlDialPlan\":{\"Candidates\":[]}}");
    run(10);
    server_close("reset");
    run(20000);
    ok(!tn_control_online(w.control), "without a plan it is not found");
    w.only = NULL;
    run(31000);
    ok(running(), "and then by its name again");
    world_end();
}


int
main(void)
{
    if (!ok(tn_crypto_init() == TN_OK, "crypto")) {
        return tap_done();
    }

    useless();
    unreadable();
    away();
    planned();

    return tap_done();
}
