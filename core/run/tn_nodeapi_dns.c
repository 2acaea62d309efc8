
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * DNS of those who use this node as exit node: RFC 8484 over the PeerAPI, by
 * GET and POST.  A question goes to the servers of the host's resolv.conf, and
 * what comes back is the answer; without one in time it is SERVFAIL.
 *
 * Who may ask: this node has to offer itself as an exit node, and the peer is
 * of the same user, or the packet filter would let it to port 53 of the
 * Internet, for which 0.0.0.0 and 2000:: stand.  The filter itself does not
 * see requests to the PeerAPI, so that is asked here, of the same rules.
 *
 * A connection reads its body, waits for the answer, writes it and ends.
 */

#include "run/tn_nodeapi_int.h"

#include "wire/tn_ip.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>


#define NODEAPI_DNS_PORT     53
#define NODEAPI_DNS_HEAD     160        /* bytes of a head of an answer */
#define NODEAPI_DNS_QUERY    12         /* bytes of a DNS header */


static bool nodeapi_dns_allows(tn_nodeapi_t *api, const tn_ip_t *ip,
    const tn_netmap_node_t *peer);
static bool nodeapi_dns_judge(tn_nodeapi_t *api, const tn_netmap_t *netmap);
static bool nodeapi_dns_has(void *data, const char *cap);
static void nodeapi_dns_body(tn_watch_t *watch, uint32_t events);
static void nodeapi_dns_ask(nodeapi_conn_t *conn, const uint8_t *query,
    size_t len);
static void nodeapi_dns_idle(tn_watch_t *watch, uint32_t events);
static void nodeapi_dns_answered(void *data, const uint8_t *answer,
    size_t len);
static void nodeapi_dns_write(tn_watch_t *watch, uint32_t events);
static bool nodeapi_dns_watch(nodeapi_conn_t *conn, uint32_t events,
    void (*handler)(tn_watch_t *watch, uint32_t events));
static void nodeapi_dns_bad(nodeapi_conn_t *conn, const char *why);


void
tn_nodeapi_resolver(tn_nodeapi_t *api, tn_resolver_t *resolver)
{
    api->resolver = resolver;
}


bool
nodeapi_dns_serves(tn_nodeapi_t *api)
{
    return api->resolver != NULL && api->node != NULL
           && tn_node_is_exit(api->node);
}


void
nodeapi_dns(nodeapi_conn_t *conn, const tn_peerapi_request_t *request,
    const tn_netmap_node_t *peer)
{
    size_t         len;
    uint8_t        query[TN_RESOLVE_RAW_MAX];
    tn_nodeapi_t  *api;

    api = conn->api;

    if (!nodeapi_dns_allows(api, &conn->remote.ip, peer)) {
        api->stats.dns_denied++;
        nodeapi_refused(api, &conn->remote, "it may not ask for DNS");
        nodeapi_answer(conn, 403, "Forbidden", "text/plain",
                       "DNS access denied\n", false);
        return;
    }

    if (strcmp(request->method, "GET") == 0) {
        len = tn_peerapi_dns(conn->head + request->query, request->query_len,
                             query, sizeof(query));

        if (len == 0) {
            nodeapi_dns_bad(conn, "missing or invalid 'dns' parameter\n");
            return;
        }

        nodeapi_dns_ask(conn, query, len);
        return;
    }

    if (strcmp(request->method, "POST") != 0) {
        nodeapi_dns_bad(conn, "bad HTTP method\n");
        return;
    }

    if (!request->dns_message) {
        nodeapi_dns_bad(conn, "unexpected Content-Type\n");
        return;
    }

    if (request->body_len == 0 || request->body_len > TN_RESOLVE_RAW_MAX) {
        nodeapi_dns_bad(conn, "query too large, or without a length\n");
        return;
    }

    conn->want = request->body_len;
    conn->bytes = malloc(conn->want);

    if (conn->bytes == NULL
        || !nodeapi_dns_watch(conn, TN_LOOP_READ, nodeapi_dns_body))
    {
        nodeapi_free(conn);
        return;
    }

    /* it may have come with the head */

    nodeapi_dns_body(&conn->watch, TN_LOOP_READ);
}


static bool
nodeapi_dns_allows(tn_nodeapi_t *api, const tn_ip_t *ip,
    const tn_netmap_node_t *peer)
{
    tn_addr_t                internet;
    const char              *text;
    const tn_netmap_t       *netmap;
    const tn_netmap_node_t  *self;

    netmap = tn_control_netmap(tn_node_control(api->node));
    self = netmap->self;

    if (!nodeapi_dns_serves(api) || self == NULL
        || peer->unsigned_peerapi_only || peer->expired)
    {
        return false;
    }

    if (peer->user == self->user && peer->ntags == 0 && self->ntags == 0) {
        return true;
    }

    text = tn_ip_is_v4(ip) ? "0.0.0.0" : "2000::";
    internet.port = NODEAPI_DNS_PORT;

    return !peer->jailed && netmap->filtered && !netmap->unsigned_reached
           && nodeapi_dns_judge(api, netmap)
           && tn_ip_parse(&internet.ip, text, strlen(text)) == TN_OK
           && tn_filter_check(api->judge, ip, &internet, TN_PROTO_TCP,
                              tn_filter_rules_caps(api->judge_rules,
                                                   nodeapi_dns_has,
                                                   (void *) peer));
}


/* the rules as they are, compiled when somebody asks and they have changed */
static bool
nodeapi_dns_judge(tn_nodeapi_t *api, const tn_netmap_t *netmap)
{
    tn_prefix_t         internet[2];
    tn_filter_rules_t  *rules;

    if (api->judge != NULL && api->judge_mark == netmap->mark) {
        return true;
    }

    if (api->judge == NULL) {
        (void) tn_prefix_parse(&internet[0], "0.0.0.0/32", 10);
        (void) tn_prefix_parse(&internet[1], "2000::/128", 10);

        api->judge = tn_filter_create();

        if (api->judge == NULL
            || tn_filter_set_local(api->judge, internet, 2) != TN_OK)
        {
            return false;
        }
    }

    rules = tn_filter_compile(&netmap->rules);

    if (rules == NULL) {
        return false;
    }

    tn_filter_set_rules(api->judge, rules);
    api->judge_rules = rules;
    api->judge_mark = netmap->mark;

    return true;
}


static bool
nodeapi_dns_has(void *data, const char *cap)
{
    return tn_netmap_node_cap(data, cap) != NULL;
}


static void
nodeapi_dns_body(tn_watch_t *watch, uint32_t events)
{
    ssize_t          n;
    nodeapi_conn_t  *conn;

    (void) events;

    conn = watch->data;

    n = recv(watch->fd, conn->bytes + conn->have, conn->want - conn->have, 0);

    if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }

    if (n <= 0) {
        nodeapi_free(conn);
        return;
    }

    conn->have += (size_t) n;

    if (conn->have == conn->want) {
        nodeapi_dns_ask(conn, conn->bytes, conn->have);
    }
}


static void
nodeapi_dns_ask(nodeapi_conn_t *conn, const uint8_t *query, size_t len)
{
    tn_nodeapi_t  *api;

    api = conn->api;

    if (tn_resolve_sent(api->resolver) >= TN_NODEAPI_DNS_MAX) {
        api->stats.crowded++;
        nodeapi_answer(conn, 503, "Service Unavailable", "text/plain",
                       "too many questions\n", false);
        return;
    }

    conn->question = tn_resolve_send(api->resolver, query, len,
                                     TN_NODEAPI_DNS_MS, nodeapi_dns_answered,
                                     conn);

    if (conn->question == NULL) {
        nodeapi_dns_bad(conn, "not a DNS query of one question\n");
        return;
    }

    api->stats.dns++;

    /* kept for an answer of our own */

    if (conn->bytes == NULL) {
        conn->bytes = malloc(len);

        if (conn->bytes == NULL) {
            nodeapi_free(conn);
            return;
        }

        memcpy(conn->bytes, query, len);
        conn->have = len;
    }

    (void) tn_timer_set(&api->loop->timers, &conn->timer,
                        api->loop->now + 2 * TN_NODEAPI_DNS_MS);

    if (!nodeapi_dns_watch(conn, TN_LOOP_READ, nodeapi_dns_idle)) {
        nodeapi_free(conn);
    }
}


/* who asked goes, or says more than is read */
static void
nodeapi_dns_idle(tn_watch_t *watch, uint32_t events)
{
    ssize_t          n;
    nodeapi_conn_t  *conn;

    (void) events;

    conn = watch->data;
    n = recv(watch->fd, conn->api->loop->scratch, TN_LOOP_SCRATCH, 0);

    if (n == 0 || (n == -1 && errno != EAGAIN && errno != EINTR)) {
        nodeapi_free(conn);
    }
}


static void
nodeapi_dns_answered(void *data, const uint8_t *answer, size_t len)
{
    int              n;
    size_t           end;
    uint8_t         *bytes;
    nodeapi_conn_t  *conn;

    conn = data;
    conn->question = NULL;

    if (answer == NULL) {

        /* RFC 1035, 4.1.1.: the question with QR, RA and SERVFAIL */

        conn->bytes[2] |= 0x80;
        conn->bytes[3] = 0x82;
        memset(conn->bytes + 6, 0, NODEAPI_DNS_QUERY - 6);
        answer = conn->bytes;

        for (end = NODEAPI_DNS_QUERY;
             end < conn->have && answer[end] > 0 && answer[end] < 64;
             end += (size_t) answer[end] + 1)
        {
            /* void */
        }

        len = tn_min(conn->have, end + 5);
    }

    bytes = malloc(NODEAPI_DNS_HEAD + len);

    if (bytes == NULL) {
        nodeapi_free(conn);
        return;
    }

    n = snprintf((char *) bytes, NODEAPI_DNS_HEAD,
                 "HTTP/1.1 200 OK\r\n"
                 "Content-Type: application/dns-message\r\n"
                 "Content-Length: %zu\r\n"
                 "Connection: close\r\n"
                 "\r\n", len);

    memcpy(bytes + n, answer, len);
    free(conn->bytes);
    conn->bytes = bytes;
    conn->have = 0;
    conn->want = (size_t) n + len;

    if (!nodeapi_dns_watch(conn, TN_LOOP_WRITE, nodeapi_dns_write)) {
        nodeapi_free(conn);
        return;
    }

    nodeapi_dns_write(&conn->watch, TN_LOOP_WRITE);
}


static void
nodeapi_dns_write(tn_watch_t *watch, uint32_t events)
{
    ssize_t          n;
    nodeapi_conn_t  *conn;

    (void) events;

    conn = watch->data;

    n = send(watch->fd, conn->bytes + conn->have, conn->want - conn->have,
             MSG_NOSIGNAL);

    if (n == -1 && (errno == EAGAIN || errno == EINTR)) {
        return;
    }

    if (n >= 0) {
        conn->have += (size_t) n;

        if (conn->have < conn->want) {
            return;
        }

        (void) shutdown(watch->fd, SHUT_WR);
    }

    nodeapi_free(conn);
}


static bool
nodeapi_dns_watch(nodeapi_conn_t *conn, uint32_t events,
    void (*handler)(tn_watch_t *watch, uint32_t events))
{
    tn_loop_unwatch(conn->api->loop, &conn->watch);

    conn->watch.events = events;
    conn->watch.handler = handler;

    return tn_loop_watch(conn->api->loop, &conn->watch) == TN_OK;
}


static void
nodeapi_dns_bad(nodeapi_conn_t *conn, const char *why)
{
    conn->api->stats.invalid++;
    nodeapi_answer(conn, 400, "Bad Request", "text/plain", why, false);
}


void
nodeapi_dns_end(nodeapi_conn_t *conn)
{
    if (conn->question != NULL) {
        tn_resolve_send_cancel(conn->question);
    }

    free(conn->bytes);
}


void
nodeapi_dns_done(tn_nodeapi_t *api)
{
    tn_filter_destroy(api->judge);
}
