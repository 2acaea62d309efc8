
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "data/tn_derpconn.h"

#include "host/tn_conn.h"

#include <stdio.h>
#include <stdlib.h>


#define TN_DERPCONN_MOVED   16          /* of one change of the network */
#define TN_DERPCONN_PACKET  1280        /* about, in bytes */

/*
 * What waits here and in the kernel for a relay that is slower than we are:
 * one super-packet and half of another.  More is delay for everybody else,
 * and what does not fit tells the senders that it is too much.
 */
#define TN_DERPCONN_QUEUE   (96 * 1024)
#define TN_DERPCONN_UNSENT  (16 * 1024)

/*
 * derper writes packet by packet, and we would wake for each few of them.  A
 * read of TN_DERPCONN_BULK is a bulk transfer's: then the next one waits for
 * TN_DERPCONN_GATHER, or for a millisecond or two.  That is little beside the
 * way to a relay and back, and whoever has less under way is not delayed.
 * More would not fit into a socket's first window, which it would change.
 */
#define TN_DERPCONN_BULK     (8 * 1024)
#define TN_DERPCONN_GATHER   (48 * 1024)
#define TN_DERPCONN_WAIT_MS  1

/* upstream's: a relay that does not take a connection is soon left */
#define TN_DERPCONN_TCP_MS  1500


typedef struct {
    tn_link_t             link;
    tn_derpconn_t        *set;
    tn_conn_t            *conn;
    uint32_t              region;
    uint32_t              probe;        /* its id, 0: a DERP connection */
    char                  host[TN_DERPMAP_STRING_MAX + 1];
    uint64_t              asked_us;     /* when the probe's request went */
    tn_timer_t            gather;       /* set: more is waited for */
} derpconn_t;


struct tn_derpconn_s {
    tn_loop_t            *loop;
    tn_resolver_t        *resolver;
    tn_log_t             *log;
    tn_path_t            *path;
    tn_derpconn_done_pt   done;
    void                 *data;
    const tn_proxies_t   *proxies;
    tn_tls_t             *tls;          /* verified; not ours */
    tn_tls_t             *tls_any;      /* for nodes marked for tests */
    tn_link_t             conns;
    tn_link_t             probes;
};


static bool derpconn_plain(const tn_derpmap_node_t *node);
static void derpconn_done(derpconn_t *derp);
static void derpconn_connected(void *data, tn_conn_t *conn);
static void derpconn_received(void *data, tn_conn_t *conn, uint8_t *bytes,
    size_t len);
static void derpconn_gathered(void *data, tn_ms_t now);
static void derpconn_closed(void *data, tn_conn_t *conn, tn_conn_why_e why,
    const char *text);


static tn_rc_t derpconn_dial(tn_derpconn_t *set, uint32_t region,
    const tn_derpmap_node_t *node, uint32_t probe);
static void derpconn_probe_connected(void *data, tn_conn_t *conn);
static void derpconn_probe_received(void *data, tn_conn_t *conn,
    uint8_t *bytes, size_t len);
static void derpconn_probe_closed(void *data, tn_conn_t *conn,
    tn_conn_why_e why, const char *text);
static void derpconn_probe_end(derpconn_t *derp, uint32_t latency_us);


static const tn_conn_ops_t  derpconn_probe_ops = {
    derpconn_probe_connected,
    derpconn_probe_received,
    NULL,
    derpconn_probe_closed
};

static const tn_conn_ops_t  derpconn_ops = {
    derpconn_connected,
    derpconn_received,
    NULL,
    derpconn_closed
};


tn_derpconn_t *
tn_derpconn_create(tn_loop_t *loop, tn_resolver_t *resolver,
    tn_tls_t *tls, const tn_proxies_t *proxies, tn_derpconn_done_pt done,
    void *data, tn_log_t *log)
{
    char            text[TN_TLS_TEXT];
    tn_derpconn_t  *set;

    set = calloc(1, sizeof(tn_derpconn_t));
    if (set == NULL) {
        tn_log(log, TN_LOG_ERR, "no memory for DERP");
        return NULL;
    }

    set->loop = loop;
    set->resolver = resolver;
    set->log = log;
    set->done = done;
    set->data = data;
    tn_list_init(&set->conns);
    tn_list_init(&set->probes);

    set->tls = tls;
    set->proxies = proxies;
    set->tls_any = tn_tls_create(NULL, false, text);

    if (set->tls_any == NULL) {
        tn_log(log, TN_LOG_ERR, "no TLS for DERP: %s", text);
        tn_derpconn_destroy(set);
        return NULL;
    }

    return set;
}


void
tn_derpconn_destroy(tn_derpconn_t *set)
{
    if (set == NULL) {
        return;
    }

    tn_derpconn_set_path(set, NULL);

    if (set->tls_any != NULL) {
        tn_tls_free(set->tls_any);
    }

    free(set);
}


void
tn_derpconn_set_path(tn_derpconn_t *set, tn_path_t *path)
{
    while (!tn_list_empty(&set->conns)) {
        derpconn_done(tn_container(set->conns.next, derpconn_t, link));
    }

    while (!tn_list_empty(&set->probes)) {
        derpconn_done(tn_container(set->probes.next, derpconn_t, link));
    }

    set->path = path;
}


void
tn_derpconn_network_changed(tn_derpconn_t *set, bool major)
{
    size_t       i, n;
    uint32_t     regions[TN_DERPCONN_MOVED];
    tn_link_t   *link, *next;
    derpconn_t  *derp;

    n = 0;

    tn_list_each_safe(link, next, &set->conns) {
        derp = tn_container(link, derpconn_t, link);

        if (n < TN_DERPCONN_MOVED
            && tn_conn_is_rerouted(derp->conn, major))
        {
            regions[n++] = derp->region;
            derpconn_done(derp);
        }
    }

    /* told when the list is at rest: the answer may be to open others */

    for (i = 0; i < n; i++) {
        tn_path_derp_closed(set->path, set->loop->now, regions[i],
                            "the host's address is another");
    }
}


void
tn_derpconn_open(tn_derpconn_t *set, uint32_t region,
    const tn_derpmap_node_t *node)
{
    (void) derpconn_dial(set, region, node, 0);
}


void
tn_derpconn_https_probe(tn_derpconn_t *set, uint32_t id, uint32_t region,
    const tn_derpmap_node_t *node)
{
    tn_link_t   *link, *next;
    derpconn_t  *derp;

    tn_list_each_safe(link, next, &set->probes) {
        derp = tn_container(link, derpconn_t, link);

        if (derp->region == region) {
            derpconn_done(derp);
        }
    }

    (void) derpconn_dial(set, region, node, id);
}


static tn_rc_t
derpconn_dial(tn_derpconn_t *set, uint32_t region,
    const tn_derpmap_node_t *node, uint32_t probe)
{
    tn_ip_t            ips[2];
    derpconn_t        *derp;
    tn_conn_params_t   params;

    derp = calloc(1, sizeof(derpconn_t));
    if (derp == NULL) {
        tn_log(set->log, TN_LOG_ERR, "no memory for DERP");
        return TN_NOMEM;
    }

    memset(&params, 0, sizeof(params));
    params.host = node->hostname;
    params.port = node->derp_port ? node->derp_port : 443;
    params.tcp_ms = TN_DERPCONN_TCP_MS;

    /* as upstream: for a relay of a lab without TLS too */

    params.proxy = tn_proxies_choose(set->proxies, true, params.host,
                                     params.port);

    if (node->cert_name[0] != '\0') {
        params.cert_name = node->cert_name;
    }

    if (!derpconn_plain(node)) {
        params.tls = node->insecure_for_tests && params.cert_name == NULL
                     ? set->tls_any : set->tls;
    }

    switch (tn_derpmap_node_ip(node, false, &ips[params.n_ips])) {
    case TN_OK:
        params.n_ips++;
        break;
    case TN_REFUSED:
        params.no_v6 = true;
        break;
    default:
        break;
    }

    switch (tn_derpmap_node_ip(node, true, &ips[params.n_ips])) {
    case TN_OK:
        params.n_ips++;
        break;
    case TN_REFUSED:
        params.no_v4 = true;
        break;
    default:
        break;
    }

    params.ips = ips;
    params.out_limit = TN_DERPCONN_QUEUE;
    params.unsent = TN_DERPCONN_UNSENT;

    derp->set = set;
    derp->region = region;
    derp->probe = probe;
    tn_timer_init(&derp->gather, derpconn_gathered, derp);
    (void) snprintf(derp->host, sizeof(derp->host), "%s", node->hostname);
    derp->conn = tn_conn_open(set->loop, set->resolver, &params,
                              probe ? &derpconn_probe_ops : &derpconn_ops,
                              derp);

    if (derp->conn == NULL) {
        tn_log(set->log, TN_LOG_ERR, "no memory for DERP");
        free(derp);
        return TN_NOMEM;
    }

    tn_list_push(probe ? &set->probes : &set->conns, &derp->link);

    return TN_OK;
}


/*
 * A lab's DERP without TLS: a node marked for tests on one of the two ports
 * that stand for it, HTTP's own and the one of derper's development mode.
 */
static bool
derpconn_plain(const tn_derpmap_node_t *node)
{
    return node->insecure_for_tests
           && (node->derp_port == 80 || node->derp_port == 3340);
}


tn_rc_t
tn_derpconn_write(tn_derpconn_t *set, uint32_t region, const uint8_t *head,
    size_t head_len, const uint8_t *body, size_t body_len)
{
    tn_link_t    *link;
    derpconn_t  *derp;

    tn_list_each(link, &set->conns) {
        derp = tn_container(link, derpconn_t, link);

        if (derp->region == region) {
            return tn_conn_send2(derp->conn, head, head_len, body, body_len);
        }
    }

    return TN_AGAIN;
}


void
tn_derpconn_close(tn_derpconn_t *set, uint32_t region)
{
    tn_link_t    *link, *next;
    derpconn_t  *derp;

    tn_list_each_safe(link, next, &set->conns) {
        derp = tn_container(link, derpconn_t, link);

        if (derp->region == region) {
            derpconn_done(derp);
        }
    }
}


static void
derpconn_done(derpconn_t *derp)
{
    tn_list_remove(&derp->link);
    tn_timer_cancel(&derp->set->loop->timers, &derp->gather);
    tn_conn_close(derp->conn);
    free(derp);
}


static void
derpconn_connected(void *data, tn_conn_t *conn)
{
    derpconn_t *derp = data;

    bool        meta;
    uint32_t    version;
    tn_key_t    key;
    tn_derpconn_t  *set;

    set = derp->set;
    meta = tn_conn_derp_key(conn, &key, &version) && version >= 2;

    tn_path_derp_opened(set->path, set->loop->now,
                        derp->region, meta ? &key : NULL);
}


static void
derpconn_received(void *data, tn_conn_t *conn, uint8_t *bytes, size_t len)
{
    derpconn_t *derp = data;

    bool            waits;
    tn_derpconn_t  *set;

    set = derp->set;

    if (len >= TN_DERPCONN_BULK) {
        waits = tn_timer_is_set(&derp->gather);

        if (tn_timer_set(&set->loop->timers, &derp->gather,
                         set->loop->now + TN_DERPCONN_WAIT_MS)
            == TN_OK
            && !waits)
        {
            tn_conn_gather(conn, TN_DERPCONN_GATHER);
        }
    }

    set->loop->packets += (unsigned) (len / TN_DERPCONN_PACKET) + 1;

    tn_path_derp_bytes(set->path, set->loop->now,
                       derp->region, bytes, len);
    set->done(set->data);
}


static void
derpconn_gathered(void *data, tn_ms_t now)
{
    derpconn_t  *derp;

    (void) now;

    derp = data;
    tn_conn_gather(derp->conn, 1);
}


static void
derpconn_closed(void *data, tn_conn_t *conn, tn_conn_why_e why,
    const char *text)
{
    derpconn_t *derp = data;

    char        reason[256];
    uint32_t    region;
    tn_derpconn_t  *set;

    (void) conn;
    (void) why;

    set = derp->set;
    region = derp->region;
    (void) snprintf(reason, sizeof(reason), "%s", text);

    derpconn_done(derp);

    tn_path_derp_closed(set->path, set->loop->now, region,
                        reason);
}


/* the time the server takes for a request of its own (upstream: the same) */
static void
derpconn_probe_connected(void *data, tn_conn_t *conn)
{
    derpconn_t *derp = data;

    int   len;
    char  request[TN_DERPMAP_STRING_MAX + 128];

    len = snprintf(request, sizeof(request),
                   "GET /derp/latency-check HTTP/1.1\r\n"
                   "Host: %s\r\n"
                   "Connection: close\r\n\r\n", derp->host);

    derp->asked_us = tn_loop_mono_us();

    if (tn_conn_send(conn, request, (size_t) len) != TN_OK) {
        derpconn_probe_end(derp, 0);
    }
}


static void
derpconn_probe_received(void *data, tn_conn_t *conn, uint8_t *bytes,
    size_t len)
{
    derpconn_t *derp = data;

    uint64_t  us;

    (void) conn;

    if (len < 10 || memcmp(bytes, "HTTP/1.1 2", 10) != 0) {
        derpconn_probe_end(derp, 0);
        return;
    }

    us = tn_loop_mono_us() - derp->asked_us;
    derpconn_probe_end(derp, us ? (uint32_t) us : 1);
}


static void
derpconn_probe_closed(void *data, tn_conn_t *conn, tn_conn_why_e why,
    const char *text)
{
    (void) conn;
    (void) why;
    (void) text;

    derpconn_probe_end(data, 0);
}


static void
derpconn_probe_end(derpconn_t *derp, uint32_t latency_us)
{
    uint32_t        id;
    tn_derpconn_t  *set;

    set = derp->set;
    id = derp->probe;

    derpconn_done(derp);
    tn_path_probed(set->path, set->loop->now, id, latency_us);
}
