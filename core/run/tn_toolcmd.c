
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The texts of an answer come from control and from peers: what a terminal
 * could take for a command is not printed as it is.
 */

#include "run/tn_toolcmd.h"

#include "host/tn_capture.h"
#include "proc/tn_ipc.h"
#include "run/tn_toolconns.h"

#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <jansson.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>


#define TN_TOOLCMD_RUN_DIR      "/run/nginx.pid.tailnet"
#define TN_TOOLCMD_WAIT_MS      10000
#define TN_TOOLCMD_ANSWER_MAX   (256 * 1024 * 1024)
#define TN_TOOLCMD_TEXT         512


typedef struct {
    const char  *name;
    unsigned     command;           /* tn_ipc_tool_e */
    const char  *argument;          /* its name, NULL: takes none */
    void       (*print)(const json_t *node);
} toolcmd_t;


static char *toolcmd_ask(const char *dir, const tn_ipc_tool_t *request,
    size_t *len);
static int toolcmd_capture(const char *dir, const tn_ipc_tool_t *request,
    const char *file, unsigned seconds);
static void toolcmd_print(const json_t *root, const toolcmd_t *cmd);
static void toolcmd_status(const json_t *node);
static void toolcmd_peer(const json_t *peer);
static void toolcmd_whois(const json_t *peer);
static void toolcmd_netcheck(const json_t *node);
static void toolcmd_ping(const json_t *peer);
static void toolcmd_path(const json_t *peer);
static void toolcmd_done(const json_t *node);
static void toolcmd_conns(const json_t *node);
static bool toolcmd_ponged(const json_t *root);
static bool toolcmd_is_done(const json_t *root);
static void toolcmd_tristate(const json_t *node, const char *label,
    const char *name);
static const char *toolcmd_text(const json_t *object, const char *name);
static const char *toolcmd_derp(const json_t *object, const char *name);
static void toolcmd_list(const json_t *list);
static void toolcmd_date(const json_t *object, const char *name);
static void toolcmd_say(const char *fmt, ...)
    __attribute__((format(printf, 1, 2)));


static const toolcmd_t  toolcmds[] = {
    { "status", TN_IPC_TOOL_STATUS, NULL, toolcmd_status },
    { "whois", TN_IPC_TOOL_WHOIS, "ADDRESS", toolcmd_whois },
    { "netcheck", TN_IPC_TOOL_NETCHECK, NULL, toolcmd_netcheck },
    { "ping", TN_IPC_TOOL_PING, "PEER", toolcmd_ping },
    { "path", TN_IPC_TOOL_PATH, "PEER", toolcmd_path },
    { "home", TN_IPC_TOOL_HOME, "REGION", toolcmd_done },
    { "break", TN_IPC_TOOL_BREAK, "REGION", toolcmd_done },
    { "restun", TN_IPC_TOOL_RESTUN, NULL, toolcmd_done },
    { "rebind", TN_IPC_TOOL_REBIND, NULL, toolcmd_done },
    { "poke", TN_IPC_TOOL_POKE, NULL, toolcmd_done },
    { "helper", TN_IPC_TOOL_HELPER, "WHEN", toolcmd_done },
    { "conns", TN_IPC_TOOL_CONNS, NULL, toolcmd_conns },
    { "capture", TN_IPC_TOOL_CAPTURE, "FILE", NULL },
    { "logout", TN_IPC_TOOL_LOGOUT, NULL, toolcmd_done },
    { "login", TN_IPC_TOOL_LOGIN, NULL, toolcmd_done },
    { "renew", TN_IPC_TOOL_RENEW, NULL, toolcmd_done }
};


static const toolcmd_t *
toolcmd_find(const char *what)
{
    size_t  i;

    for (i = 0; i < sizeof(toolcmds) / sizeof(toolcmds[0]); i++) {
        if (strcmp(toolcmds[i].name, what) == 0) {
            return &toolcmds[i];
        }
    }

    return NULL;
}


bool
tn_toolcmd_is(const char *what)
{
    return toolcmd_find(what) != NULL;
}


int
tn_toolcmd_main(int argc, char **argv)
{
    int               c;
    bool              json, failed;
    char             *text, *end;
    size_t            len;
    json_t           *root;
    const char       *dir;
    unsigned long     seconds;
    tn_ipc_tool_t     request;
    const toolcmd_t  *cmd;

    static const struct option  options[] = {
        { "run",  required_argument, NULL, 'r' },
        { "node", required_argument, NULL, 'n' },
        { "json", no_argument,       NULL, 'j' },
        { "tsmp", no_argument,       NULL, 't' },
        { "icmp", no_argument,       NULL, 'i' },
        { "seconds", required_argument, NULL, 's' },
        { NULL, 0, NULL, 0 }
    };

    cmd = toolcmd_find(argv[0]);
    dir = TN_TOOLCMD_RUN_DIR;
    json = false;
    seconds = 0;

    tn_ipc_init(&request, TN_IPC_TOOL);
    request.command = cmd->command;

    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        switch (c) {

        case 'r':
            dir = optarg;
            break;

        case 'n':
            if (*optarg == '\0' || strlen(optarg) >= sizeof(request.node)) {
                return tn_toolcmd_usage();
            }

            (void) snprintf(request.node, sizeof(request.node), "%s", optarg);
            break;

        case 'j':
            json = true;
            break;

        case 't':
        case 'i':
            if (cmd->command != TN_IPC_TOOL_PING) {
                return tn_toolcmd_usage();
            }

            request.command = c == 't' ? TN_IPC_TOOL_PING_TSMP
                                       : TN_IPC_TOOL_PING_ICMP;
            break;

        case 's':
            seconds = strtoul(optarg, &end, 10);

            if (*optarg < '0' || *optarg > '9' || *end != '\0'
                || seconds == 0 || seconds > UINT32_MAX)
            {
                return tn_toolcmd_usage();
            }

            break;

        default:
            return tn_toolcmd_usage();
        }
    }

    if (argc - optind != (cmd->argument != NULL)) {
        return tn_toolcmd_usage();
    }

    if (cmd->command == TN_IPC_TOOL_CAPTURE) {
        return toolcmd_capture(dir, &request, argv[optind],
                               (unsigned) seconds);
    }

    if (cmd->argument != NULL) {
        if (strlen(argv[optind]) >= sizeof(request.argument)) {
            return tn_toolcmd_usage();
        }

        (void) snprintf(request.argument, sizeof(request.argument), "%s",
                        argv[optind]);
    }

    text = toolcmd_ask(dir, &request, &len);

    if (text != NULL && cmd->command == TN_IPC_TOOL_CONNS && seconds != 0) {
        free(text);
        (void) sleep((unsigned) seconds);
        text = toolcmd_ask(dir, &request, &len);
    }

    if (text == NULL) {
        return 1;
    }

    root = json_loadb(text, len, 0, NULL);
    free(text);

    if (root == NULL) {
        (void) fprintf(stderr, "the core's answer makes no sense\n");
        return 1;
    }

    if (json) {
        (void) json_dumpf(root, stdout, JSON_INDENT(2) | JSON_ENSURE_ASCII);
        (void) printf("\n");

    } else {
        toolcmd_print(root, cmd);
    }

    failed = (cmd->command == TN_IPC_TOOL_PING && !toolcmd_ponged(root))
             || (cmd->command >= TN_IPC_TOOL_PATH && !toolcmd_is_done(root));
    json_decref(root);

    return fflush(stdout) == 0 && !failed ? 0 : 1;
}


int
tn_toolcmd_usage(void)
{
    (void) fprintf(stderr,
        "usage: ngx_tailnet_core status [OPTIONS]\n"
        "       ngx_tailnet_core whois [OPTIONS] ADDRESS\n"
        "       ngx_tailnet_core netcheck [OPTIONS]\n"
        "       ngx_tailnet_core ping [--tsmp|--icmp] [OPTIONS] PEER\n"
        "       ngx_tailnet_core path [OPTIONS] PEER\n"
        "       ngx_tailnet_core home [OPTIONS] REGION|auto\n"
        "       ngx_tailnet_core break [OPTIONS] REGION\n"
        "       ngx_tailnet_core restun|rebind|poke [OPTIONS]\n"
        "       ngx_tailnet_core helper [OPTIONS] busy|always|never\n"
        "       ngx_tailnet_core conns [OPTIONS]\n"
        "       ngx_tailnet_core capture [OPTIONS] FILE|-\n"
        "       ngx_tailnet_core logout|login|renew [OPTIONS]\n"
        "       ngx_tailnet_core node --state DIR ...\n"
        "       ngx_tailnet_core --version\n"
        "  --run DIR    nginx's pid file with .tailnet appended\n"
        "               (default: " TN_TOOLCMD_RUN_DIR ")\n"
        "  --node NAME  only this tailnet block\n"
        "  --json       for programs\n"
        "  --seconds N  capture ends then (default: when it is killed), conns\n"
        "               is shown then\n");

    return 2;
}


/* the whole answer, the caller's; or NULL, and said why */
static char *
toolcmd_ask(const char *dir, const tn_ipc_tool_t *request, size_t *len)
{
    int            fd, fds[TN_IPC_FDS];
    char          *text, *more;
    size_t         n, size;
    tn_rc_t        rc;
    tn_ms_t        deadline;
    tn_ipc_msg_t   msg;

    *len = 0;
    size = (size_t) 16 * TN_IPC_CHUNK;

    text = malloc(size);
    if (text == NULL) {
        (void) fprintf(stderr, "out of memory\n");
        return NULL;
    }

    deadline = tn_ipc_now() + TN_TOOLCMD_WAIT_MS;

    fd = tn_ipc_connect(dir, TN_IPC_DIAL_SOCK);

    if (fd == -1) {
        (void) fprintf(stderr, "%s/%s: %s\n", dir, TN_IPC_DIAL_SOCK,
                       strerror(errno));
        free(text);
        return NULL;
    }

    if (tn_ipc_send(fd, request, NULL, 0) != TN_OK) {
        (void) fprintf(stderr, "the core does not take the request\n");
        goto failed;
    }

    do {
        rc = tn_ipc_recv_until(fd, &msg, fds, &n, deadline);

        if (rc != TN_OK) {
            (void) fprintf(stderr, rc == TN_AGAIN
                                   ? "the core does not answer\n"
                                   : "the core ended the conversation, as "
                                     "one of another version does\n");
            goto failed;
        }

        tn_ipc_close(fds, n);

        if (msg.head.type != TN_IPC_TOOL_REPLY) {
            (void) fprintf(stderr, "the core's answer makes no sense\n");
            goto failed;
        }

        n = msg.tool_reply.len;

        if (msg.tool_reply.rc != TN_OK) {
            (void) fprintf(stderr, "%.*s\n", (int) n, msg.tool_reply.text);
            goto failed;
        }

        if (size - *len < n) {
            size *= 2;
            more = size <= TN_TOOLCMD_ANSWER_MAX ? realloc(text, size) : NULL;

            if (more == NULL) {
                (void) fprintf(stderr, "the answer is too long\n");
                goto failed;
            }

            text = more;
        }

        memcpy(text + *len, msg.tool_reply.text, n);
        *len += n;

    } while (msg.tool_reply.more);

    (void) close(fd);

    return text;

failed:

    (void) close(fd);
    free(text);

    return NULL;
}


/*
 * Only whole blocks are written, each lot at once: whenever the program is
 * killed the file is complete.
 */
static int
toolcmd_capture(const char *dir, const tn_ipc_tool_t *request,
    const char *file, unsigned seconds)
{
    int            fd, out, status, fds[TN_IPC_FDS];
    char          *buf;
    size_t         n, len, done;
    ssize_t        wrote;
    tn_rc_t        rc;
    tn_ms_t        deadline;
    tn_ipc_msg_t   msg;

    status = 1;
    out = -1;
    len = 0;

    buf = malloc(TN_CAPTURE_CHUNK);
    fd = tn_ipc_connect(dir, TN_IPC_DIAL_SOCK);

    if (buf == NULL || fd == -1) {
        (void) fprintf(stderr, "%s/%s: %s\n", dir, TN_IPC_DIAL_SOCK,
                       strerror(errno));
        goto done;
    }

    if (tn_ipc_send(fd, request, NULL, 0) != TN_OK) {
        (void) fprintf(stderr, "the core does not take the request\n");
        goto done;
    }

    deadline = seconds != 0 ? tn_ipc_now() + (tn_ms_t) seconds * 1000
                            : TN_NEVER_MS;

    for ( ;; ) {
        rc = tn_ipc_recv_until(fd, &msg, fds, &n, deadline);

        if (rc == TN_AGAIN) {
            status = out != -1 ? 0 : 1;
            break;
        }

        if (rc != TN_OK) {
            (void) fprintf(stderr, "the core ended the conversation\n");
            break;
        }

        tn_ipc_close(fds, n);
        n = msg.tool_reply.len;

        if (msg.head.type != TN_IPC_TOOL_REPLY || TN_CAPTURE_CHUNK - len < n) {
            (void) fprintf(stderr, "the core's answer makes no sense\n");
            break;
        }

        if (msg.tool_reply.rc != TN_OK) {
            (void) fprintf(stderr, "%.*s\n", (int) n, msg.tool_reply.text);
            break;
        }

        memcpy(buf + len, msg.tool_reply.text, n);
        len += n;

        if (msg.tool_reply.more) {
            continue;
        }

        /* not made before the core has agreed; for its owner's eyes only */

        if (out == -1) {
            out = strcmp(file, "-") == 0
                  ? STDOUT_FILENO
                  : open(file, O_WRONLY|O_CREAT|O_TRUNC|O_CLOEXEC, 0600);

            if (out == -1) {
                (void) fprintf(stderr, "%s: %s\n", file, strerror(errno));
                break;
            }
        }

        for (done = 0; done < len; done += (size_t) wrote) {
            wrote = write(out, buf + done, len - done);

            if (wrote <= 0) {
                (void) fprintf(stderr, "%s: %s\n", file, strerror(errno));
                goto done;
            }
        }

        len = 0;

        if (tn_ipc_now() >= deadline) {
            status = 0;
            break;
        }
    }

done:

    if (fd != -1) {
        (void) close(fd);
    }

    if (out != -1 && out != STDOUT_FILENO && close(out) != 0) {
        (void) fprintf(stderr, "%s: %s\n", file, strerror(errno));
        status = 1;
    }

    free(buf);

    return status;
}


static void
toolcmd_print(const json_t *root, const toolcmd_t *cmd)
{
    size_t   i;
    json_t  *node;

    json_array_foreach(json_object_get(root, "nodes"), i, node) {
        if (i != 0) {
            (void) printf("\n");
        }

        cmd->print(node);
    }
}


static void
toolcmd_status(const json_t *node)
{
    size_t   i;
    json_t  *item;

    toolcmd_say("tailnet \"%s\": %s", toolcmd_text(node, "node"),
                toolcmd_text(node, "state"));

    if (json_object_get(node, "text") != NULL) {
        toolcmd_say(": %s", toolcmd_text(node, "text"));
    }

    (void) printf("\n");

    if (json_object_get(node, "name") != NULL) {
        toolcmd_say("  name       %s\n", toolcmd_text(node, "name"));
        (void) printf("  addresses  ");
        toolcmd_list(json_object_get(node, "addresses"));
        (void) printf("\n  key        ");

        if (json_is_true(json_object_get(node, "expired"))) {
            (void) printf("has expired\n");

        } else if (json_object_get(node, "key_expiry") != NULL) {
            (void) printf("expires ");
            toolcmd_date(node, "key_expiry");
            (void) printf("\n");

        } else {
            (void) printf("does not expire\n");
        }
    }

    if (json_object_get(node, "online") != NULL) {
        toolcmd_say("  control    %s%s%s\n",
                    json_is_true(json_object_get(node, "online"))
                    ? "connected" : "not connected",
                    json_object_get(node, "trouble") ? ": " : "",
                    toolcmd_text(node, "trouble"));
    }

    if (json_object_get(node, "home_derp") != NULL) {
        toolcmd_say("  home relay %s\n", toolcmd_derp(node, "home_derp"));
    }

    item = json_object_get(json_object_get(node, "packets"), "refused");

    if (json_integer_value(item) != 0) {
        (void) printf("  filter     has refused %lld packets\n",
                      (long long) json_integer_value(item));
    }

    item = json_object_get(node, "peer_relay");

    if (item != NULL) {
        (void) printf("  peer relay port %lld, sessions %lld of %lld places\n",
            (long long) json_integer_value(json_object_get(item, "port")),
            (long long) json_integer_value(json_object_get(item, "sessions")),
            (long long) json_integer_value(json_object_get(item, "places")));
    }

    json_array_foreach(json_object_get(node, "messages"), i, item) {
        toolcmd_say("  ! %s\n", json_string_value(item));
    }

    json_array_foreach(json_object_get(node, "peers"), i, item) {
        toolcmd_peer(item);
    }

    item = json_object_get(node, "peers_left_out");

    if (item != NULL) {
        (void) printf("and %lld more peers\n",
                      (long long) json_integer_value(item));
    }
}


static void
toolcmd_peer(const json_t *peer)
{
    json_t      *path, *value;
    const char  *kind, *first;

    first = json_string_value(json_array_get(json_object_get(peer,
                                                             "addresses"),
                                             0));

    toolcmd_say("%-16s %-24s ", first != NULL ? first : "-",
                toolcmd_text(peer, "name"));

    if (json_array_size(json_object_get(peer, "tags")) != 0) {
        toolcmd_list(json_object_get(peer, "tags"));

    } else {
        toolcmd_say("%s", toolcmd_text(peer, "user"));
    }

    toolcmd_say(" %s ", toolcmd_text(peer, "os"));

    value = json_object_get(peer, "online");
    (void) printf("%s", json_is_true(value) ? "online"
                        : json_is_false(value) ? "offline" : "-");

    if (json_is_true(json_object_get(peer, "expired"))) {
        (void) printf(", key expired");
    }

    path = json_object_get(peer, "path");
    kind = toolcmd_text(path, "kind");

    if (strcmp(kind, "direct") == 0 || strcmp(kind, "peer-relay") == 0) {
        toolcmd_say(", %s %s", kind, toolcmd_text(path, "address"));

        value = json_object_get(path, "latency_ms");

        if (value != NULL) {
            (void) printf(" %.1f ms", json_number_value(value));
        }

    } else if (strcmp(kind, "derp") == 0) {
        toolcmd_say(", relay %s", toolcmd_derp(path, "derp"));
    }

    value = json_object_get(peer, "handshake_seconds_ago");

    if (value != NULL) {
        (void) printf(", sent %lld, received %lld, handshake %.0f s ago",
            (long long) json_integer_value(json_object_get(peer,
                                                           "sent_bytes")),
            (long long) json_integer_value(json_object_get(peer,
                                                           "received_bytes")),
            json_number_value(value));
    }

    (void) printf("\n");
}


static void
toolcmd_whois(const json_t *peer)
{
    toolcmd_say("tailnet    %s\n", toolcmd_text(peer, "node"));
    toolcmd_say("name       %s%s%s\n", toolcmd_text(peer, "name"),
                json_is_true(json_object_get(peer, "self"))
                ? " (this node)" : "",
                json_is_true(json_object_get(peer, "routed"))
                ? " (routes it)" : "");
    (void) printf("addresses  ");
    toolcmd_list(json_object_get(peer, "addresses"));
    (void) printf("\n");
    toolcmd_say("host name  %s\n", toolcmd_text(peer, "hostname"));
    toolcmd_say("system     %s\n", toolcmd_text(peer, "os"));

    if (json_array_size(json_object_get(peer, "tags")) != 0) {
        (void) printf("tags       ");
        toolcmd_list(json_object_get(peer, "tags"));
        (void) printf("\n");

    } else {
        toolcmd_say("user       %s (%s)\n", toolcmd_text(peer, "user"),
                    toolcmd_text(peer, "user_name"));
    }
}


static void
toolcmd_netcheck(const json_t *node)
{
    size_t   i;
    json_t  *item;

    toolcmd_say("tailnet \"%s\"\n", toolcmd_text(node, "node"));

    item = json_object_get(node, "age_seconds");

    if (item == NULL) {
        (void) printf("  no report yet\n");

    } else {
        (void) printf("  report     %.0f s old\n", json_number_value(item));
        toolcmd_say("  home relay %s\n", toolcmd_derp(node, "home_derp"));
        toolcmd_tristate(node, "UDP", "udp");
        toolcmd_tristate(node, "IPv6", "ipv6");
        toolcmd_tristate(node, "hard NAT", "mapping_varies");
        toolcmd_tristate(node, "UPnP", "upnp");
        toolcmd_tristate(node, "NAT-PMP", "nat_pmp");
        toolcmd_tristate(node, "PCP", "pcp");
    }

    json_array_foreach(json_object_get(node, "endpoints"), i, item) {
        toolcmd_say("  endpoint   %s (%s)\n", toolcmd_text(item, "address"),
                    toolcmd_text(item, "type"));
    }

    json_array_foreach(json_object_get(node, "latencies"), i, item) {
        toolcmd_say("  relay      %s IPv%d %.1f ms\n",
                    toolcmd_derp(item, "derp"),
                    (int) json_integer_value(json_object_get(item, "family")),
                    json_number_value(json_object_get(item, "latency_ms")));
    }
}


static void
toolcmd_ping(const json_t *peer)
{
    bool           relay;
    const json_t  *pong;

    pong = json_object_get(peer, "pong");
    relay = strcmp(toolcmd_text(pong, "kind"), "peer-relay") == 0;

    if (json_object_get(pong, "latency_ms") == NULL) {
        toolcmd_say("%s: %s\n", toolcmd_text(peer, "name"),
                    pong != NULL ? toolcmd_text(pong, "error")
                                 : "it cannot be pinged");
        return;
    }

    toolcmd_say("pong from %s via %s%s%s in %.1f ms\n",
                toolcmd_text(peer, "name"),
                json_object_get(pong, "derp") ? "relay "
                : relay ? "peer-relay(" : "",
                json_object_get(pong, "derp") ? toolcmd_derp(pong, "derp")
                                              : toolcmd_text(pong, "address"),
                relay ? ")" : "",
                json_number_value(json_object_get(pong, "latency_ms")));
}


static void
toolcmd_path(const json_t *peer)
{
    size_t   i;
    json_t  *one, *latency;

    toolcmd_say("%s\n", toolcmd_text(peer, "name"));

    if (json_object_get(peer, "history") == NULL) {
        toolcmd_say("  %s\n", toolcmd_text(peer, "error"));
    }

    json_array_foreach(json_object_get(peer, "history"), i, one) {
        (void) printf("%10.1f s ago  ",
                json_number_value(json_object_get(one, "seconds_ago")));
        toolcmd_say("%s %s", toolcmd_text(one, "kind"),
                    json_object_get(one, "derp")
                    ? toolcmd_derp(one, "derp")
                    : toolcmd_text(one, "address"));

        latency = json_object_get(one, "latency_ms");

        if (latency != NULL) {
            (void) printf(" %.1f ms", json_number_value(latency));
        }

        toolcmd_say(": %s\n", toolcmd_text(one, "why"));
    }
}


static void
toolcmd_done(const json_t *node)
{
    toolcmd_say("tailnet \"%s\": %s\n", toolcmd_text(node, "node"),
                json_is_true(json_object_get(node, "done"))
                ? "done" : toolcmd_text(node, "error"));
}


static void
toolcmd_conns(const json_t *node)
{
    tn_toolconns_print(node, toolcmd_say);
}


/* whether no node failed to obey */
static bool
toolcmd_is_done(const json_t *root)
{
    size_t   i;
    json_t  *node;

    json_array_foreach(json_object_get(root, "nodes"), i, node) {
        if (!json_is_true(json_object_get(node, "done"))) {
            return false;
        }
    }

    return true;
}


/* whether one has answered */
static bool
toolcmd_ponged(const json_t *root)
{
    size_t   i;
    json_t  *peer;

    json_array_foreach(json_object_get(root, "nodes"), i, peer) {
        if (json_object_get(json_object_get(peer, "pong"), "latency_ms")) {
            return true;
        }
    }

    return false;
}


static void
toolcmd_tristate(const json_t *node, const char *label, const char *name)
{
    const json_t  *value;

    value = json_object_get(node, name);

    (void) printf("  %-10s %s\n", label, json_is_true(value) ? "yes"
                                         : value != NULL ? "no" : "unknown");
}


/* "" when there is none */
static const char *
toolcmd_text(const json_t *object, const char *name)
{
    const char  *text;

    text = json_string_value(json_object_get(object, name));

    return text != NULL ? text : "";
}


/* good until the next call */
static const char *
toolcmd_derp(const json_t *object, const char *name)
{
    const json_t  *derp;

    static char    text[TN_TOOLCMD_TEXT];

    derp = json_object_get(object, name);

    (void) snprintf(text, sizeof(text), "%lld (%s)",
        (long long) json_integer_value(json_object_get(derp, "region")),
        toolcmd_text(derp, "code"));

    return text;
}


static void
toolcmd_list(const json_t *list)
{
    size_t         i;
    const json_t  *item;

    for (i = 0; i < json_array_size(list); i++) {
        item = json_array_get(list, i);
        toolcmd_say("%s%s", i ? " " : "", json_string_value(item));
    }
}


static void
toolcmd_date(const json_t *object, const char *name)
{
    char       text[64];
    time_t     when;
    struct tm  tm;

    when = (time_t) json_integer_value(json_object_get(object, name));

    if (gmtime_r(&when, &tm) != NULL
        && strftime(text, sizeof(text), "%Y-%m-%d %H:%M:%S UTC", &tm) != 0)
    {
        (void) printf("%s", text);
    }
}


/*
 * One line or a part of it: bytes below a space, DEL and C1 (in UTF-8: C2 80
 * to C2 9F) become "?", but a last line feed stays.
 */
static void
toolcmd_say(const char *fmt, ...)
{
    char           text[4 * TN_TOOLCMD_TEXT];
    va_list        args;
    unsigned char *p;

    va_start(args, fmt);
    (void) vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);

    for (p = (unsigned char *) text; *p != '\0'; p++) {

        if ((*p < 0x20 && !(p[0] == '\n' && p[1] == '\0')) || *p == 0x7f) {
            *p = '?';

        } else if (p[0] == 0xc2 && p[1] >= 0x80 && p[1] < 0xa0) {
            *p++ = '?';
            *p = '?';
        }
    }

    (void) fputs(text, stdout);
}
