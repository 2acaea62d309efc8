
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Names of upstream servers by a netmap, tags above all, and how workers that
 * watch a tag are told of its peers.
 */

#include "proc/tn_client.h"
#include "run/tn_dial.h"
#include "run/tn_members.h"
#include "run/tn_nodename.h"

#include <stdarg.h>
#include <stdlib.h>
#include <unistd.h>

#include "netmaps.h"
#include "tap.h"


static tn_netmap_t  *map;
static bool          silent;


__attribute__((format(printf, 1, 2)))
static void
apply(const char *fmt, ...)
{
    char     json[65536];
    va_list  args;

    va_start(args, fmt);
    vsnprintf(json, sizeof(json), fmt, args);
    va_end(args);

    netmap_told(map, json);
}


/* one peer with a tag; 0: offline, 1: online, -1: not known */
static void
peer(int id, const char *name, const char *tag, int online)
{
    apply("{\"PeersChanged\":[{\"ID\":%d,\"Key\":\"nodekey:%064x\","
          "\"Name\":\"%s\",\"Tags\":[\"%s\"],%s"
          "\"Addresses\":[\"100.64.1.%d/32\",\"fd7a::%x/128\"]}]}",
          id, id, name, tag,
          online == -1 ? "" : online ? "\"Online\":true,"
                                     : "\"Online\":false,",
          id, id);
}


static const char *
resolved(const char *host, uint32_t turn)
{
    char         text[TN_IPC_TEXT], ip[TN_ADDR_TEXT];
    size_t       i, n, len;
    tn_ip_t      ips[4];
    static char  all[1024];

    text[0] = '\0';
    n = tn_nodename_resolve(map, host, turn, ips, 4, text);

    if (n == 0) {
        snprintf(all, sizeof(all), "%s", text);
        return all;
    }

    all[0] = '\0';

    for (i = 0; i < n; i++) {
        len = strlen(all);
        snprintf(all + len, sizeof(all) - len, "%s%s", i ? " " : "",
                 tn_ip_text(&ips[i], ip));
    }

    return all;
}


static const char *
listed(const tn_ipc_members_t *msg)
{
    size_t       i, len;
    static char  all[4096];

    len = snprintf(all, sizeof(all), "%u/%u", msg->count, msg->total);

    for (i = 0; i < msg->count && len < sizeof(all); i++) {
        len += snprintf(all + len, sizeof(all) - len, " %lld=%s",
                        (long long) msg->members[i].id, msg->members[i].host);
    }

    return all;
}


static const char *
members(const char *host)
{
    tn_ipc_members_t  msg;

    tn_nodename_members(map, host, &msg);

    return listed(&msg);
}


static void
test_names(void)
{
    int   i;
    char  name[32];

    apply("{\"Node\":{\"ID\":1,\"Name\":\"me.tail.test.\",\"Tags\":"
          "[\"tag:web\"],\"Addresses\":[\"100.64.1.1/32\"]},"
          "\"Domain\":\"tail.test\",\"DNSConfig\":{\"Domains\":"
          "[\"tail.test\"],\"ExtraRecords\":[{\"Name\":\"db.tail.test\","
          "\"Value\":\"100.100.7.7\"}]},\"PeersChanged\":[]}");

    is_str(resolved("tag:web", 0), "no online peer has \"tag:web\"",
           "not oneself");

    peer(9, "w9.tail.test.", "tag:web", 1);
    peer(3, "w3.tail.test.", "tag:web", 1);
    peer(5, "w5.tail.test.", "tag:web", 0);
    peer(6, "w6.tail.test.", "tag:webs", 1);
    peer(7, "w3.other.test.", "tag:web", -1);

    is_str(resolved("tag:web", 0), "100.64.1.3 100.64.1.7 100.64.1.9",
           "who has exactly this tag and is not offline");
    is_str(resolved("tag:web", 1), "100.64.1.7 100.64.1.9 100.64.1.3",
           "another one first");
    is_str(members("tag:web"), "3/3 3=w3 7=w3.other.test 9=w9",
           "in order, by the short name if that is the peer's");
    is_str(members("w3"), "1/1 0=w3", "a name is one");
    is_str(members("nobody"), "0/0", "or none");
    is_str(resolved("w3", 5), "100.64.1.3 fd7a::3", "a name");
    is_str(resolved("svc:db", 0), "100.100.7.7", "a service");
    is_str(resolved("svc:none", 0), "no peer is called or routes "
           "\"svc:none\"", "no service");
    is_str(resolved("tag:", 0), "no online peer has \"tag:\"", "no tag");

    for (i = 40; i < 80; i++) {
        snprintf(name, sizeof(name), "m%d.tail.test.", 119 - i);
        peer(119 - i, name, "tag:many", 1);
    }

    ok(strncmp(members("tag:many"), "32/40 40=m40 41=m41 ", 20) == 0
       && strstr(members("tag:many"), " 71=m71") != NULL
       && strstr(members("tag:many"), "=m72") == NULL,
       "more than there is room for: the lowest ids");
}


static bool
find(void *data, const tn_ipc_watch_t *request, tn_ipc_members_t *msg)
{
    (void) data;

    if (silent) {
        return false;
    }

    tn_nodename_members(map, request->host, msg);

    return true;
}


static void
test_watch(void)
{
    int               fd[2], i, n;
    char              dir[] = "/tmp/tn-members-XXXXXX";
    tn_loop_t         loop;
    tn_dial_t        *dial;
    tn_members_t     *all;
    tn_ipc_watch_t    request;
    tn_ipc_members_t  msg;

    if (mkdtemp(dir) == NULL || tn_loop_init(&loop) != TN_OK) {
        abort();
    }

    dial = tn_dial_create(&loop, NULL, NULL, NULL);
    all = tn_members_create(&loop, find, NULL);
    tn_dial_watches(dial, tn_members_take, all);
    tn_dial_listen(dial, tn_ipc_bind(dir, TN_IPC_DIAL_SOCK, 0600, geteuid(),
                                     getegid(), 16));

    tn_ipc_init(&request, TN_IPC_WATCH);
    snprintf(request.host, sizeof(request.host), "tag:web");

    for (i = 0; i < 2; i++) {
        if (tn_client_watch(dir, &request, &fd[i]) != TN_OK) {
            abort();
        }
    }

    for (i = 0; i < 3; i++) {
        (void) tn_loop_turn(&loop, 5);
    }

    is_int(tn_client_members(fd[0], &msg), TN_OK, "told at once");
    is_str(listed(&msg), "3/3 3=w3 7=w3.other.test 9=w9", "of all");
    is_int(tn_client_members(fd[1], &msg), TN_OK, "the other one too");

    tn_members_changed(all);
    (void) tn_loop_turn(&loop, 5);
    is_int(tn_client_members(fd[0], &msg), TN_AGAIN, "no change, no word");

    silent = true;
    peer(9, "w9.tail.test.", "tag:web", 0);
    tn_members_changed(all);
    (void) tn_loop_turn(&loop, 5);
    is_int(tn_client_members(fd[0], &msg), TN_AGAIN, "not known, no word");

    silent = false;
    tn_members_changed(all);
    tn_members_changed(all);
    (void) tn_loop_turn(&loop, 5);
    is_int(tn_client_members(fd[0], &msg), TN_OK, "one left");
    is_str(listed(&msg), "2/2 3=w3 7=w3.other.test", "who stays");
    is_int(tn_client_members(fd[0], &msg), TN_AGAIN, "once");

    /* one that does not read gets the last word when it does */

    for (i = 0; i < 500; i++) {
        peer(9, "w9.tail.test.", "tag:web", i & 1);
        tn_members_changed(all);
        (void) tn_loop_turn(&loop, 0);
        (void) tn_client_members(fd[0], &msg);
    }

    for (n = 0; n < 500; n++) {
        (void) tn_loop_turn(&loop, 0);

        if (tn_client_members(fd[1], &msg) != TN_OK) {
            break;
        }
    }

    ok(n > 0 && n < 500, "a slow one is not told all");
    is_str(listed(&msg), "3/3 3=w3 7=w3.other.test 9=w9", "but the last");

    close(fd[1]);
    peer(9, "w9.tail.test.", "tag:web", 0);
    tn_members_changed(all);
    (void) tn_loop_turn(&loop, 5);
    (void) tn_loop_turn(&loop, 5);
    is_int(tn_client_members(fd[0], &msg), TN_OK, "one goes, one stays");

    (void) tn_ipc_send(fd[0], &request, NULL, 0);
    (void) tn_loop_turn(&loop, 5);
    is_int(tn_client_members(fd[0], &msg), TN_CLOSED, "who talks is closed");
    close(fd[0]);

    tn_dial_destroy(dial);
    tn_members_destroy(all);
    tn_loop_done(&loop);

    (void) snprintf(request.host, sizeof(request.host), "%s/%s", dir,
                    TN_IPC_DIAL_SOCK);
    (void) unlink(request.host);
    (void) rmdir(dir);
}


int
main(void)
{
    map = tn_netmap_create(NULL);

    test_names();
    test_watch();

    tn_netmap_destroy(map);

    return tap_done();
}
