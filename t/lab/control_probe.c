
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The control client alone, on real sockets: what happens is printed line by
 * line, commands come on standard input.  For t/control.t.
 *
 *   control_probe --url URL [--auth-key KEY] [--hostname NAME] [--state FILE]
 *                 [--ca FILE] [--tag TAG]... [--ephemeral]
 *
 * Commands: endpoint ADDR..., derp REGION, find NAME, peers, wake, auth KEY,
 * disco, stop, logout, quit.
 */

#include "control/tn_control.h"
#include "crypto/tn_curve.h"
#include "host/tn_conn.h"
#include "host/tn_loop.h"
#include "host/tn_resolve.h"
#include "host/tn_tls.h"

#include <fcntl.h>
#include <getopt.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>


#define PROBE_TAGS  16

typedef struct {
    tn_link_t        link;
    uint32_t         id;
    tn_conn_t       *conn;
    bool             closing;
} probe_conn_t;


static tn_loop_t        loop;
static tn_resolver_t   *resolver;
static tn_tls_t        *tls;
static tn_control_t    *control;
static tn_link_t        conns;
static const char      *state_file;
static char             input[4096];
static size_t           input_len;


static tn_ms_t probe_now(void *data);
static int64_t probe_wall(void *data);
static void probe_connect(void *data, uint32_t id, const char *host,
    uint16_t port, bool with_tls);
static void probe_send(void *data, uint32_t id, const uint8_t *bytes,
    size_t len);
static void probe_close(void *data, uint32_t id);
static tn_rc_t probe_save(void *data, const tn_control_saved_t *saved);
static void probe_load(tn_control_saved_t *saved);
static void probe_changed(void *data, tn_netmap_t *netmap,
    const tn_netmap_changes_t *changes);
static void probe_state(void *data, tn_control_state_e state,
    const char *text);
static void probe_ping(void *data, const tn_control_ping_t *ping);
static void probe_c2n(void *data, const tn_control_c2n_t *request);
static probe_conn_t *probe_find(uint32_t id);
static void probe_connected(void *data, tn_conn_t *conn);
static void probe_received(void *data, tn_conn_t *conn, uint8_t *bytes,
    size_t len);
static void probe_closed(void *data, tn_conn_t *conn, tn_conn_why_e why,
    const char *text);
static void probe_log(tn_log_t *log, tn_log_level_e level, const char *line,
    size_t len);
static void probe_input(tn_watch_t *watch, uint32_t events);
static void probe_command(char *line);
static void probe_node(const char *what, const tn_netmap_node_t *node);


static const tn_control_ops_t  ops = {
    .now = probe_now,
    .wall = probe_wall,
    .connect = probe_connect,
    .send = probe_send,
    .close = probe_close,
    .save = probe_save,
    .netmap_changed = probe_changed,
    .state_changed = probe_state,
    .ping = probe_ping,
    .c2n = probe_c2n
};

static const tn_conn_ops_t  conn_ops = {
    probe_connected,
    probe_received,
    NULL,
    probe_closed
};


int
main(int argc, char **argv)
{
    int                  o;
    char                 text[TN_TLS_TEXT];
    tn_log_t             log;
    const char          *ca, *tags[PROBE_TAGS];
    tn_watch_t           watch;
    tn_keypair_t         disco;
    tn_control_conf_t    conf;

    static const struct option  options[] = {
        { "url", required_argument, NULL, 'u' },
        { "auth-key", required_argument, NULL, 'k' },
        { "hostname", required_argument, NULL, 'h' },
        { "state", required_argument, NULL, 's' },
        { "ca", required_argument, NULL, 'c' },
        { "tag", required_argument, NULL, 't' },
        { "ephemeral", no_argument, NULL, 'e' },
        { NULL, 0, NULL, 0 }
    };

    ca = NULL;
    memset(&conf, 0, sizeof(conf));
    conf.tags = tags;

    while ((o = getopt_long(argc, argv, "", options, NULL)) != -1) {

        switch (o) {
        case 'u':
            conf.url = optarg;
            break;
        case 'k':
            conf.auth_key = optarg;
            break;
        case 'h':
            conf.hostname = optarg;
            break;
        case 's':
            state_file = optarg;
            break;
        case 'c':
            ca = optarg;
            break;
        case 't':
            if (conf.ntags < PROBE_TAGS) {
                tags[conf.ntags++] = optarg;
            }
            break;
        case 'e':
            conf.ephemeral = true;
            break;
        default:
            return 2;
        }
    }

    (void) signal(SIGPIPE, SIG_IGN);
    setvbuf(stdout, NULL, _IOLBF, 0);

    log.level = TN_LOG_DEBUG;
    log.write = probe_log;
    log.data = NULL;

    if (tn_crypto_init() != TN_OK || tn_loop_init(&loop) != TN_OK) {
        return 1;
    }

    resolver = tn_resolve_create(&loop);
    tls = tn_tls_create(ca, true, text);
    tn_list_init(&conns);

    if (resolver == NULL || tls == NULL) {
        fprintf(stderr, "control_probe: %s\n", text);
        return 1;
    }

    probe_load(&conf.saved);

    tn_curve_keypair(&disco);
    conf.disco = disco.pub;
    conf.os_version = "6.1-probe";
    conf.machine_type = "x86_64";

    control = tn_control_create(&conf, &ops, NULL, &loop.timers, &log);
    if (control == NULL) {
        return 1;
    }

    memset(&watch, 0, sizeof(watch));
    watch.fd = STDIN_FILENO;
    watch.events = TN_LOOP_READ;
    watch.handler = probe_input;

    if (fcntl(STDIN_FILENO, F_SETFL, O_NONBLOCK) == -1
        || tn_loop_watch(&loop, &watch) != TN_OK)
    {
        return 1;
    }

    tn_control_start(control);
    (void) tn_loop_run(&loop);

    tn_loop_unwatch(&loop, &watch);
    tn_control_destroy(control);

    return 0;
}


static tn_ms_t
probe_now(void *data)
{
    (void) data;

    return loop.now;
}


static int64_t
probe_wall(void *data)
{
    (void) data;

    return (int64_t) (tn_loop_wall_ns() / 1000000000);
}


static void
probe_connect(void *data, uint32_t id, const char *host, uint16_t port,
    bool with_tls)
{
    probe_conn_t      *conn;
    tn_conn_params_t   params;

    (void) data;

    printf("connect %s %u%s\n", host, port, with_tls ? " tls" : "");

    conn = calloc(1, sizeof(probe_conn_t));
    if (conn == NULL) {
        abort();
    }

    memset(&params, 0, sizeof(params));
    params.host = host;
    params.port = port;
    params.tls = with_tls ? tls : NULL;

    conn->id = id;
    conn->conn = tn_conn_open(&loop, resolver, &params, &conn_ops, conn);

    if (conn->conn == NULL) {
        abort();
    }

    tn_list_push(&conns, &conn->link);
}


static void
probe_send(void *data, uint32_t id, const uint8_t *bytes, size_t len)
{
    probe_conn_t  *conn;

    (void) data;

    conn = probe_find(id);

    if (conn != NULL) {
        (void) tn_conn_send(conn->conn, bytes, len);
    }
}


static void
probe_close(void *data, uint32_t id)
{
    probe_conn_t  *conn;

    (void) data;

    conn = probe_find(id);

    if (conn == NULL) {
        return;
    }

    if (tn_conn_queued(conn->conn) != 0) {
        conn->closing = true;
        tn_conn_shutdown(conn->conn);
        return;
    }

    tn_list_remove(&conn->link);
    tn_conn_close(conn->conn);
    free(conn);
}


static tn_rc_t
probe_save(void *data, const tn_control_saved_t *saved)
{
    FILE  *f;
    bool   good;

    (void) data;

    printf("save registered=%d\n", saved->registered);

    if (state_file == NULL) {
        return TN_OK;
    }

    f = fopen(state_file, "wb");
    if (f == NULL) {
        return TN_ERROR;
    }

    good = fwrite(saved, sizeof(*saved), 1, f) == 1;

    return fclose(f) == 0 && good ? TN_OK : TN_ERROR;
}


static void
probe_load(tn_control_saved_t *saved)
{
    FILE  *f;

    f = state_file ? fopen(state_file, "rb") : NULL;

    if (f != NULL) {
        if (fread(saved, sizeof(*saved), 1, f) != 1) {
            memset(saved, 0, sizeof(*saved));
        }

        (void) fclose(f);
    }
}


static void
probe_changed(void *data, tn_netmap_t *netmap,
    const tn_netmap_changes_t *changes)
{
    size_t  i;

    (void) data;

    printf("changed what=%04x self=%04x peers=%zu removed=%zu total=%zu "
           "rules=%zu domain=%s\n", changes->what, changes->self,
           changes->npeers, changes->nremoved, netmap->peers.count,
           netmap->rules.n, netmap->domain);

    if ((changes->what & TN_NETMAP_SELF) && netmap->self != NULL) {
        probe_node("self", netmap->self);
    }

    for (i = 0; i < changes->npeers; i++) {
        printf("peer-changed %04x\n", changes->peers[i]->changed);
        probe_node("peer", changes->peers[i]);
    }

    for (i = 0; i < changes->nremoved; i++) {
        printf("removed %lld\n", (long long) changes->removed[i].id);
    }
}


static void
probe_state(void *data, tn_control_state_e state, const char *text)
{
    static const char  *names[] = {
        "stopped", "starting", "needs-login", "needs-approval", "running"
    };

    (void) data;

    printf("state %s %s\n", names[state], text);

    if (state == TN_CONTROL_STOPPED) {
        tn_loop_stop(&loop);
    }
}


static void
probe_ping(void *data, const tn_control_ping_t *ping)
{
    char               ip[TN_ADDR_TEXT];
    tn_control_pong_t  pong;

    (void) data;

    printf("ping %s %s\n", ping->type, tn_ip_text(&ping->ip, ip));

    memset(&pong, 0, sizeof(pong));
    pong.seconds = 0.25;
    pong.node_ip = ip;
    tn_control_pong(control, ping->id, &pong);
}


static void
probe_c2n(void *data, const tn_control_c2n_t *request)
{
    static const char  answer[] = "answer of the probe";

    (void) data;

    printf("c2n %s %s %zu\n", request->method, request->path,
           request->body_len);

    tn_control_c2n_answer(control, request->id, 200, "text/plain", answer,
                          sizeof(answer) - 1);
}


static probe_conn_t *
probe_find(uint32_t id)
{
    tn_link_t     *link;
    probe_conn_t  *conn;

    tn_list_each(link, &conns) {
        conn = tn_container(link, probe_conn_t, link);

        if (conn->id == id && !conn->closing) {
            return conn;
        }
    }

    return NULL;
}


static void
probe_connected(void *data, tn_conn_t *c)
{
    probe_conn_t  *conn;

    (void) c;

    conn = data;

    if (!conn->closing) {
        tn_control_connected(control, conn->id);
    }
}


static void
probe_received(void *data, tn_conn_t *c, uint8_t *bytes, size_t len)
{
    probe_conn_t  *conn;

    (void) c;

    conn = data;

    if (!conn->closing) {
        tn_control_received(control, conn->id, bytes, len);
    }
}


static void
probe_closed(void *data, tn_conn_t *c, tn_conn_why_e why, const char *text)
{
    bool           closing;
    uint32_t       id;
    probe_conn_t  *conn;

    (void) why;

    conn = data;
    closing = conn->closing;
    id = conn->id;

    tn_list_remove(&conn->link);
    tn_conn_close(c);
    free(conn);

    if (!closing) {
        tn_control_closed(control, id, text);
    }
}


static void
probe_log(tn_log_t *log, tn_log_level_e level, const char *line, size_t len)
{
    static const char  *names[] = {
        "", "emerg", "alert", "crit", "err", "warn", "notice", "info",
        "debug"
    };

    (void) log;

    printf("log %s %.*s\n", names[level], (int) len, line);
}


static void
probe_input(tn_watch_t *watch, uint32_t events)
{
    char     *end;
    ssize_t   n;

    (void) watch;
    (void) events;

    n = read(STDIN_FILENO, input + input_len,
             sizeof(input) - 1 - input_len);

    if (n <= 0) {
        tn_loop_stop(&loop);
        return;
    }

    input_len += (size_t) n;
    input[input_len] = '\0';

    while ((end = strchr(input, '\n')) != NULL) {
        *end++ = '\0';
        probe_command(input);
        input_len -= (size_t) (end - input);
        memmove(input, end, input_len + 1);
    }
}


static void
probe_command(char *line)
{
    char               *word, *rest, buf[TN_ADDR_TEXT];
    size_t              i, n;
    tn_ip_t             ips[8];
    tn_keypair_t        disco;
    tn_netinfo_t        netinfo;
    tn_netmap_t        *netmap;
    tn_endpoint_t       endpoints[8];
    tn_netmap_node_t   *node;

    netmap = tn_control_netmap(control);
    word = strtok_r(line, " ", &rest);

    if (word == NULL) {
        return;
    }

    if (strcmp(word, "endpoint") == 0) {
        n = 0;
        memset(endpoints, 0, sizeof(endpoints));

        while (n < 8 && (word = strtok_r(NULL, " ", &rest)) != NULL) {
            if (tn_addr_parse(&endpoints[n].addr, word, strlen(word))
                == TN_OK)
            {
                endpoints[n++].type = TN_ENDPOINT_LOCAL;
            }
        }

        tn_control_set_endpoints(control, endpoints, n);

    } else if (strcmp(word, "derp") == 0) {
        memset(&netinfo, 0, sizeof(netinfo));
        netinfo.preferred_derp = (uint32_t) atoi(rest);
        netinfo.working_udp = TN_YES;
        netinfo.nlatency = 1;
        netinfo.latency[0].region = netinfo.preferred_derp;
        netinfo.latency[0].v4 = true;
        netinfo.latency[0].seconds = 0.0125;
        tn_control_set_netinfo(control, &netinfo);

    } else if (strcmp(word, "find") == 0) {
        node = tn_netmap_find_name(netmap, rest, strlen(rest));
        n = tn_netmap_resolve(netmap, rest, strlen(rest), ips, 8);
        printf("found %s:", node ? node->name : "-");

        for (i = 0; i < n; i++) {
            printf(" %s", tn_ip_text(&ips[i], buf));
        }

        printf("\n");

    } else if (strcmp(word, "peers") == 0) {

        for (node = tn_netmap_each(netmap, NULL); node != NULL;
             node = tn_netmap_each(netmap, node))
        {
            probe_node("peer", node);
        }

        printf("peers %zu\n", netmap->peers.count);

    } else if (strcmp(word, "disco") == 0) {
        tn_curve_keypair(&disco);
        tn_control_set_disco(control, &disco.pub);

    } else if (strcmp(word, "auth") == 0) {
        tn_control_set_auth_key(control, rest);

    } else if (strcmp(word, "wake") == 0) {
        tn_control_wake(control);

    } else if (strcmp(word, "stop") == 0) {
        (void) tn_control_stop(control, true);

    } else if (strcmp(word, "renew") == 0) {
        (void) tn_control_renew(control);

    } else if (strcmp(word, "logout") == 0) {
        (void) tn_control_logout(control);

    } else if (strcmp(word, "quit") == 0) {
        tn_loop_stop(&loop);
    }
}


static void
probe_node(const char *what, const tn_netmap_node_t *node)
{
    char                     key[TN_KEY_TEXT], buf[TN_ADDR_TEXT];
    size_t                   i;
    const tn_netmap_user_t  *user;

    user = tn_netmap_find_user(tn_control_netmap(control), node->user);

    printf("%s id=%lld name=%s hostname=%s os=%s user=%s derp=%u online=%d "
           "authorized=%d key=%s", what, (long long) node->id, node->name,
           node->hostname, node->os, user ? user->login : "-",
           node->home_derp, node->online, node->machine_authorized,
           tn_key_text(&node->key, TN_KEY_NODE, key));
    printf(" disco=%s", tn_key_text(&node->disco, TN_KEY_DISCO, key));

    for (i = 0; i < node->naddresses; i++) {
        printf(" ip=%s", tn_prefix_text(&node->addresses[i], buf));
    }

    for (i = 0; i < node->nendpoints; i++) {
        printf(" endpoint=%s", tn_addr_text(&node->endpoints[i], buf));
    }

    for (i = 0; i < node->ntags; i++) {
        printf(" tag=%s", node->tags[i]);
    }

    for (i = 0; i < node->ncaps; i++) {
        printf(" cap=%s", node->caps[i].name);
    }

    printf("\n");
}
