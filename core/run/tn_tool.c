
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A request goes through
 *
 *   asking    the answer is being put together; for `status` each data
 *             thread is asked how its peers are reached and for `ping` it is
 *             to ping one, which needs a ticket per node
 *   sending   in pieces, as fast as the other side reads
 *   done      closed
 *
 * A ticket outlives its request when the other side has gone, since the data
 * thread holds a pointer to it; it ends when the thread has answered or the
 * node is freed.  A thread that does not answer within TN_TOOL_ASK_MS (a ping:
 * TN_TOOL_PING_MS) is not waited for: its peers are shown without their paths.
 *
 * With TN_TOOL_MAX requests or four times as many tickets another one is
 * refused.
 */

#include "run/tn_tool.h"

#include "base/tn_version.h"
#include "host/tn_udp.h"
#include "run/tn_page.h"
#include "run/tn_toolcap.h"
#include "run/tn_toolconns.h"
#include "run/tn_toolshow.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>


#define TN_TOOL_TICKETS  (4 * TN_TOOL_MAX)


typedef enum {
    TOOL_JSON = 0,
    TOOL_HTML,
    TOOL_METRICS
} tool_format_e;


typedef struct {
    tn_link_t       link;
    tn_tools_t     *tools;
    tn_watch_t      watch;
    tn_timer_t      timer;
    uint32_t        seq;
    json_t         *root;           /* while asking */
    tool_format_e   format;         /* of a report */
    size_t          tickets;

    tn_rc_t         rc;             /* while sending */
    char           *text;
    size_t          len;
    size_t          sent;
} tool_request_t;


typedef struct {
    tn_link_t       link;
    tn_tools_t     *tools;
    tool_request_t *request;        /* NULL: gone */
    tn_node_t      *node;
    json_t         *shown;          /* the node, or the peer pinged */
    int64_t        *ids;            /* of the node's list of peers */
    size_t          n;
    bool            history;        /* of the way to one peer */
    bool            counts;         /* of connections */
} tool_ticket_t;


struct tn_tools_s {
    tn_loop_t        *loop;
    tn_tools_node_pt  node;
    void             *data;
    tn_link_t         requests;
    size_t            n_requests;
    tn_link_t         tickets;
    size_t            n_tickets;
    tn_toolcaps_t    *caps;
};


static void tool_ask(tool_request_t *req, const tn_ipc_tool_t *request);
static void tool_ask_node(tool_request_t *req, const tn_ipc_tool_t *request,
    json_t *nodes, const char *name, tn_node_t *node);
static void tool_ask_peers(tool_request_t *req, json_t *shown,
    tn_node_t *node);
static void tool_ask_report(tool_request_t *req, const tn_ipc_tool_t *request);
static void tool_ask_pong(tool_request_t *req, const tn_ipc_tool_t *request,
    json_t *shown, tn_node_t *node);
static bool tool_helper(const char *argument, uint32_t *help);
static void tool_ask_act(tool_request_t *req, const tn_ipc_tool_t *request,
    json_t *shown, tn_node_t *node);
static void tool_ask_membership(tool_request_t *req,
    const tn_ipc_tool_t *request, json_t *shown, tn_node_t *node);
static void tool_left(void *data, const char *error);
static void tool_show_result(json_t *shown, const char *error);
static void tool_acted(void *data, const tn_data_done_t *done);
static tool_ticket_t *tool_ticket(tool_request_t *req, tn_node_t *node,
    json_t *shown);
static void tool_ponged(void *data, const tn_path_pong_t *pong);
static void tool_answered(void *data, const tn_plane_peer_status_t *status,
    size_t n, const tn_data_relay_status_t *relay,
    const tn_plane_stats_t *stats);
static void tool_ticket_free(tool_ticket_t *ticket);
static void tool_complete(tool_request_t *req);
static void tool_answer(tool_request_t *req, tn_rc_t rc, char *text);
static void tool_send(tool_request_t *req);
static void tool_event(tn_watch_t *watch, uint32_t events);
static void tool_timeout(void *data, tn_ms_t now);
static void tool_free(tool_request_t *req);


tn_tools_t *
tn_tools_create(tn_loop_t *loop, tn_tools_node_pt node, void *data)
{
    tn_tools_t  *tools;

    tools = calloc(1, sizeof(tn_tools_t));
    if (tools == NULL) {
        return NULL;
    }

    tools->loop = loop;
    tools->node = node;
    tools->data = data;
    tn_list_init(&tools->requests);
    tn_list_init(&tools->tickets);

    tools->caps = tn_toolcaps_create(loop, node, data);

    if (tools->caps == NULL) {
        free(tools);
        return NULL;
    }

    return tools;
}


void
tn_tools_destroy(tn_tools_t *tools)
{
    while (!tn_list_empty(&tools->requests)) {
        tool_free(tn_container(tools->requests.next, tool_request_t, link));
    }

    while (!tn_list_empty(&tools->tickets)) {
        tool_ticket_free(tn_container(tools->tickets.next, tool_ticket_t,
                                      link));
    }

    tn_toolcaps_destroy(tools->caps);
    free(tools);
}


void
tn_tools_take(void *data, int fd, const tn_ipc_tool_t *request)
{
    tn_tools_t *tools = data;

    tool_request_t  *req;

    if (request->command == TN_IPC_TOOL_CAPTURE) {
        tn_toolcaps_take(tools->caps, fd, request);
        return;
    }

    req = calloc(1, sizeof(tool_request_t));
    if (req == NULL) {
        (void) close(fd);
        return;
    }

    req->tools = tools;
    req->seq = request->head.seq;
    req->watch.fd = fd;
    req->watch.events = TN_LOOP_READ;
    req->watch.handler = tool_event;
    req->watch.data = req;

    tn_timer_init(&req->timer, tool_timeout, req);
    tn_list_push(&tools->requests, &req->link);
    tools->n_requests++;

    if (tn_timer_set(&tools->loop->timers, &req->timer,
                     tools->loop->now + TN_TOOL_ASK_MS)
        != TN_OK
        || tn_loop_watch(tools->loop, &req->watch) != TN_OK)
    {
        tool_free(req);
        return;
    }

    if (tools->n_requests > TN_TOOL_MAX
        || tools->n_tickets >= TN_TOOL_TICKETS)
    {
        tool_answer(req, TN_AGAIN, strdup("too many requests at a time"));
        return;
    }

    tool_ask(req, request);
}


void
tn_tools_forget(tn_tools_t *tools, const tn_node_t *node)
{
    tn_link_t       *link, *tmp;
    tool_ticket_t   *ticket;
    tool_request_t  *req;

    tn_toolcaps_forget(tools->caps, node);

    tn_list_each_safe(link, tmp, &tools->tickets) {
        ticket = tn_container(link, tool_ticket_t, link);

        if (ticket->node != node) {
            continue;
        }

        req = ticket->request;
        tn_node_unlogout(ticket->node, ticket);
        tool_ticket_free(ticket);

        if (req != NULL && req->tickets == 0) {
            tool_complete(req);
        }
    }
}


static void
tool_ask(tool_request_t *req, const tn_ipc_tool_t *request)
{
    bool         found;
    size_t       i;
    json_t      *nodes;
    tn_node_t   *node;
    tn_tools_t  *tools;
    const char  *name;

    tools = req->tools;

    if (request->command < TN_IPC_TOOL_STATUS
        || request->command > TN_IPC_TOOL_HELPER)
    {
        tool_answer(req, TN_MALFORMED, strdup("no such command"));
        return;
    }

    if (request->command >= TN_IPC_TOOL_LOGOUT
        && request->command <= TN_IPC_TOOL_RENEW && request->node[0] == '\0'
        && tools->node(tools->data, 1, &name, &node))
    {
        tool_answer(req, TN_REFUSED, strdup("there are several nodes, say "
                                            "which by --node"));
        return;
    }

    if ((request->command == TN_IPC_TOOL_PING
         || request->command == TN_IPC_TOOL_PING_TSMP
         || request->command == TN_IPC_TOOL_PING_ICMP
         || request->command == TN_IPC_TOOL_LOGOUT)
        && tn_timer_set(&tools->loop->timers, &req->timer,
                        tools->loop->now + TN_TOOL_PING_MS)
           != TN_OK)
    {
        tool_free(req);
        return;
    }

    nodes = json_array();
    req->root = json_object();

    if (json_object_set_new(req->root, "nodes", nodes) != 0
        || json_object_set_new(req->root, "version", json_string(TN_VERSION))
           != 0)
    {
        tool_answer(req, TN_NOMEM, NULL);
        return;
    }

    found = false;

    for (i = 0; tools->node(tools->data, i, &name, &node); i++) {
        if (request->node[0] == '\0' || strcmp(request->node, name) == 0) {
            found = true;
            tool_ask_node(req, request, nodes, name, node);
        }
    }

    if (request->command == TN_IPC_TOOL_REPORT) {
        tool_ask_report(req, request);
        return;
    }

    if (!found) {
        tool_answer(req, TN_NOTFOUND, strdup(i ? "no node of this name"
                                               : "no node"));
        return;
    }

    if (json_array_size(nodes) == 0) {
        tool_answer(req, TN_NOTFOUND, strdup("nobody on the tailnet has or "
                                             "routes it"));
        return;
    }

    if (req->tickets == 0) {
        tool_complete(req);
    }
}


static void
tool_ask_node(tool_request_t *req, const tn_ipc_tool_t *request,
    json_t *nodes, const char *name, tn_node_t *node)
{
    json_t   *shown;
    tn_ms_t   now;

    now = req->tools->loop->now;

    switch (request->command) {

    case TN_IPC_TOOL_WHOIS:
        shown = tn_toolshow_whois(name, node, request->argument);
        break;

    case TN_IPC_TOOL_PING:
    case TN_IPC_TOOL_PING_TSMP:
    case TN_IPC_TOOL_PING_ICMP:
        shown = tn_toolshow_whois(name, node, request->argument);

        if (shown != NULL) {
            tool_ask_pong(req, request, shown, node);
        }

        break;

    case TN_IPC_TOOL_PATH:
        shown = tn_toolshow_whois(name, node, request->argument);

        if (shown != NULL) {
            tool_ask_act(req, request, shown, node);
        }

        break;

    case TN_IPC_TOOL_HOME:
    case TN_IPC_TOOL_BREAK:
    case TN_IPC_TOOL_RESTUN:
    case TN_IPC_TOOL_REBIND:
    case TN_IPC_TOOL_POKE:
    case TN_IPC_TOOL_CONNS:
    case TN_IPC_TOOL_HELPER:
        shown = json_pack("{s:s}", "node", name);

        if (shown != NULL) {
            tool_ask_act(req, request, shown, node);
        }

        break;

    case TN_IPC_TOOL_LOGOUT:
    case TN_IPC_TOOL_LOGIN:
    case TN_IPC_TOOL_RENEW:
        shown = json_pack("{s:s}", "node", name);

        if (shown != NULL) {
            tool_ask_membership(req, request, shown, node);
        }

        break;

    case TN_IPC_TOOL_NETCHECK:
        shown = tn_toolshow_netcheck(name, node, now);
        break;

    default:
        shown = tn_toolshow_node(name, node);

        if (shown != NULL && node != NULL
            && request->command == TN_IPC_TOOL_REPORT)
        {
            (void) json_object_set_new(shown, "netcheck",
                                       tn_toolshow_netcheck(name, node, now));
            tn_toolshow_certificates(shown, node);
            tn_toolshow_peerapi(shown, node);
            tn_toolshow_problems(shown, node);
        }

        if (shown != NULL && node != NULL) {
            tool_ask_peers(req, shown, node);
        }
    }

    if (shown != NULL) {
        (void) json_array_append_new(nodes, shown);
    }
}


/* also of no node: nginx has just been started */
static void
tool_ask_report(tool_request_t *req, const tn_ipc_tool_t *request)
{
    (void) json_object_set_new(req->root, "time",
                               json_integer((json_int_t) time(NULL)));

    req->format = strcmp(request->argument, "html") == 0 ? TOOL_HTML
                  : strcmp(request->argument, "prometheus") == 0 ? TOOL_METRICS
                  : TOOL_JSON;

    if (req->tickets == 0) {
        tool_complete(req);
    }
}


static void
tool_ask_peers(tool_request_t *req, json_t *shown, tn_node_t *node)
{
    size_t          left_out;
    json_t         *peers;
    int64_t        *ids;
    tool_ticket_t  *ticket;

    peers = tn_toolshow_peers(node, &ids, &left_out);
    if (peers == NULL) {
        return;
    }

    if (json_object_set_new(shown, "peers", peers) != 0) {
        free(ids);
        return;
    }

    if (left_out != 0) {
        (void) json_object_set_new(shown, "peers_left_out",
                                   json_integer((json_int_t) left_out));
    }

    if (json_array_size(peers) == 0 || tn_node_data(node) == NULL) {
        free(ids);
        return;
    }

    ticket = tool_ticket(req, node, shown);
    if (ticket == NULL) {
        free(ids);
        return;
    }

    ticket->ids = ids;
    ticket->n = json_array_size(peers);

    if (tn_data_status(tn_node_data(node), ids, ticket->n, tool_answered,
                       ticket)
        != TN_OK)
    {
        tool_ticket_free(ticket);
    }
}


static void
tool_ask_pong(tool_request_t *req, const tn_ipc_tool_t *request,
    json_t *shown, tn_node_t *node)
{
    bool                     routed;
    tool_ticket_t           *ticket;
    tn_data_ping_e           kind;
    const tn_netmap_node_t  *peer;

    switch (request->command) {
    case TN_IPC_TOOL_PING_TSMP:
        kind = TN_DATA_PING_TSMP;
        break;
    case TN_IPC_TOOL_PING_ICMP:
        kind = TN_DATA_PING_ICMP;
        break;
    default:
        kind = TN_DATA_PING_DISCO;
    }

    peer = tn_toolshow_find(node, request->argument, &routed);

    if (peer == NULL || tn_node_data(node) == NULL) {
        return;
    }

    ticket = tool_ticket(req, node, shown);

    if (ticket != NULL
        && tn_data_ping(tn_node_data(node), &peer->key, kind, tool_ponged,
                        ticket)
           != TN_OK)
    {
        tool_ticket_free(ticket);
    }
}


static void
tool_ponged(void *data, const tn_path_pong_t *pong)
{
    tool_ticket_t *ticket = data;

    tool_request_t  *req;

    req = ticket->request;

    if (req != NULL) {
        tn_toolshow_pong(ticket->shown, ticket->node, pong);
    }

    tool_ticket_free(ticket);

    if (req != NULL && req->tickets == 0) {
        tool_complete(req);
    }
}


static bool
tool_helper(const char *argument, uint32_t *help)
{
    uint32_t  i;

    static const char  *const names[] = {
        [TN_UDP_HELP_NEVER] = "never",
        [TN_UDP_HELP_BUSY] = "busy",
        [TN_UDP_HELP_ALWAYS] = "always"
    };

    for (i = 0; i < tn_nelems(names); i++) {
        if (strcmp(argument, names[i]) == 0) {
            *help = i;
            return true;
        }
    }

    return false;
}


static void
tool_ask_act(tool_request_t *req, const tn_ipc_tool_t *request,
    json_t *shown, tn_node_t *node)
{
    bool                     routed;
    uint32_t                 region;
    tool_ticket_t           *ticket;
    tn_data_done_t           none;
    const tn_key_t          *key;
    const tn_netmap_node_t  *peer;

    static const tn_data_act_e  acts[] = {
        [TN_IPC_TOOL_PATH] = TN_DATA_HISTORY,
        [TN_IPC_TOOL_HOME] = TN_DATA_HOME,
        [TN_IPC_TOOL_BREAK] = TN_DATA_BREAK,
        [TN_IPC_TOOL_RESTUN] = TN_DATA_RESTUN,
        [TN_IPC_TOOL_REBIND] = TN_DATA_REBIND,
        [TN_IPC_TOOL_POKE] = TN_DATA_POKE,
        [TN_IPC_TOOL_CONNS] = TN_DATA_TALLY,
        [TN_IPC_TOOL_HELPER] = TN_DATA_HELPER
    };

    memset(&none, 0, sizeof(none));
    none.rc = TN_NOTFOUND;
    region = 0;
    key = NULL;

    if (node == NULL || tn_node_data(node) == NULL) {
        goto failed;
    }

    if (request->command == TN_IPC_TOOL_PATH) {
        peer = tn_toolshow_find(node, request->argument, &routed);

        if (peer == NULL) {
            goto failed;
        }

        key = &peer->key;

    } else if ((request->command == TN_IPC_TOOL_HOME
                || request->command == TN_IPC_TOOL_BREAK)
               && !tn_toolshow_region(node, request->argument, &region))
    {
        goto failed;

    } else if (request->command == TN_IPC_TOOL_HELPER
               && !tool_helper(request->argument, &region))
    {
        goto failed;
    }

    ticket = tool_ticket(req, node, shown);
    if (ticket == NULL) {
        goto failed;
    }

    ticket->history = key != NULL;
    ticket->counts = request->command == TN_IPC_TOOL_CONNS;

    if (tn_data_act(tn_node_data(node), acts[request->command], region, key,
                    tool_acted, ticket)
        == TN_OK)
    {
        return;
    }

    tool_ticket_free(ticket);

failed:

    tn_toolshow_done(shown, node, &none, false, req->tools->loop->now);
}


static void
tool_acted(void *data, const tn_data_done_t *done)
{
    tool_ticket_t *ticket = data;

    tool_request_t  *req;

    req = ticket->request;

    if (req != NULL && ticket->counts) {
        tn_toolconns_show(ticket->shown, ticket->node, done,
                          ticket->tools->loop->now);

    } else if (req != NULL) {
        tn_toolshow_done(ticket->shown, ticket->node, done, ticket->history,
                         ticket->tools->loop->now);
    }

    tool_ticket_free(ticket);

    if (req != NULL && req->tickets == 0) {
        tool_complete(req);
    }
}


/* in and out of the tailnet */
static void
tool_ask_membership(tool_request_t *req, const tn_ipc_tool_t *request,
    json_t *shown, tn_node_t *node)
{
    tn_rc_t         rc;
    const char     *error;
    tool_ticket_t  *ticket;

    error = NULL;

    if (node == NULL) {
        error = "the node has not started";

    } else if (request->command == TN_IPC_TOOL_LOGIN) {

        if (!tn_node_login(node)) {
            error = "the node is not logged out";
        }

    } else if (request->command == TN_IPC_TOOL_RENEW) {

        if (tn_node_control(node) == NULL
            || !tn_control_renew(tn_node_control(node)))
        {
            error = "the node is not in a tailnet, or renews its key already";
        }

    } else {
        ticket = tool_ticket(req, node, shown);
        rc = ticket != NULL ? tn_node_logout(node, tool_left, ticket)
                            : TN_NOMEM;

        if (rc == TN_OK) {
            return;
        }

        if (ticket != NULL) {
            tool_ticket_free(ticket);
        }

        error = rc == TN_NOMEM ? "out of memory"
                : rc == TN_AGAIN ? "the node is leaving already"
                : "the node is not in a tailnet";
    }

    tool_show_result(shown, error);
}


static void
tool_left(void *data, const char *error)
{
    tool_ticket_t *ticket = data;

    tool_request_t  *req;

    req = ticket->request;

    tool_show_result(ticket->shown, error);
    tool_ticket_free(ticket);

    if (req != NULL && req->tickets == 0) {
        tool_complete(req);
    }
}


static void
tool_show_result(json_t *shown, const char *error)
{
    (void) json_object_set_new(shown, "done", json_boolean(error == NULL));

    if (error != NULL) {
        (void) json_object_set_new(shown, "error", json_string(error));
    }
}


static tool_ticket_t *
tool_ticket(tool_request_t *req, tn_node_t *node, json_t *shown)
{
    tool_ticket_t  *ticket;

    ticket = calloc(1, sizeof(tool_ticket_t));
    if (ticket == NULL) {
        return NULL;
    }

    ticket->tools = req->tools;
    ticket->request = req;
    ticket->node = node;
    ticket->shown = json_incref(shown);

    tn_list_push(&req->tools->tickets, &ticket->link);
    req->tools->n_tickets++;
    req->tickets++;

    return ticket;
}


static void
tool_answered(void *data, const tn_plane_peer_status_t *status, size_t n,
    const tn_data_relay_status_t *relay, const tn_plane_stats_t *stats)
{
    tool_ticket_t *ticket = data;

    size_t           i, peer;
    json_t          *peers;
    tool_request_t  *req;

    req = ticket->request;
    peers = json_object_get(ticket->shown, "peers");
    peer = 0;

    if (req != NULL) {
        tn_toolshow_relay(ticket->shown, relay);
        tn_toolshow_packets(ticket->shown, stats);
    }

    /* the order is that of the question, peers that are gone left out */

    for (i = 0; req != NULL && i < n; i++) {

        while (peer < ticket->n && ticket->ids[peer] != status[i].id) {
            peer++;
        }

        if (peer == ticket->n) {
            break;
        }

        tn_toolshow_path(json_array_get(peers, peer), ticket->node,
                         &status[i], ticket->tools->loop->now);
    }

    tool_ticket_free(ticket);

    if (req != NULL && req->tickets == 0) {
        tool_complete(req);
    }
}


static void
tool_ticket_free(tool_ticket_t *ticket)
{
    if (ticket->request != NULL) {
        ticket->request->tickets--;
    }

    ticket->tools->n_tickets--;
    tn_list_remove(&ticket->link);
    json_decref(ticket->shown);
    free(ticket->ids);
    free(ticket);
}


static void
tool_complete(tool_request_t *req)
{
    char  *text;

    switch (req->format) {

    case TOOL_HTML:
        text = tn_page_html(req->root, (int64_t) time(NULL));
        break;

    case TOOL_METRICS:
        text = tn_page_metrics(req->root);
        break;

    default:
        text = json_dumps(req->root, JSON_COMPACT);
    }

    tool_answer(req, TN_OK, text);
}


/* takes text; NULL: there was no memory for it */
static void
tool_answer(tool_request_t *req, tn_rc_t rc, char *text)
{
    tn_link_t      *link;
    tool_ticket_t  *ticket;

    if (text == NULL) {
        tool_free(req);
        return;
    }

    tn_list_each(link, &req->tools->tickets) {
        ticket = tn_container(link, tool_ticket_t, link);

        if (ticket->request == req) {
            ticket->request = NULL;
        }
    }

    req->tickets = 0;
    json_decref(req->root);
    req->root = NULL;

    req->rc = rc;
    req->text = text;
    req->len = strlen(text);

    if (tn_timer_set(&req->tools->loop->timers, &req->timer,
                     req->tools->loop->now + TN_TOOL_SEND_MS)
        != TN_OK)
    {
        tool_free(req);
        return;
    }

    tool_send(req);
}


static void
tool_send(tool_request_t *req)
{
    size_t               n;
    tn_rc_t              rc;
    tn_ipc_tool_reply_t  reply;

    do {
        n = tn_min(req->len - req->sent, (size_t) TN_IPC_CHUNK);

        tn_ipc_init(&reply, TN_IPC_TOOL_REPLY);
        reply.head.seq = req->seq;
        reply.rc = req->rc;
        reply.more = req->sent + n < req->len;
        reply.len = n;
        memcpy(reply.text, req->text + req->sent, n);

        rc = tn_ipc_send(req->watch.fd, &reply, NULL, 0);

        if (rc == TN_AGAIN) {
            req->watch.events = TN_LOOP_WRITE;

            if (tn_loop_watch(req->tools->loop, &req->watch) == TN_OK) {
                return;
            }
        }

        if (rc != TN_OK) {
            break;
        }

        req->sent += n;

    } while (req->sent < req->len);

    tool_free(req);
}


static void
tool_event(tn_watch_t *watch, uint32_t events)
{
    tool_request_t *req = watch->data;

    if (req->text != NULL && (events & TN_LOOP_ERROR) == 0) {
        tool_send(req);
        return;
    }

    /* closed, or a second request */

    tool_free(req);
}


static void
tool_timeout(void *data, tn_ms_t now)
{
    tool_request_t *req = data;

    (void) now;

    if (req->text == NULL) {
        tool_complete(req);
        return;
    }

    tool_free(req);
}


static void
tool_free(tool_request_t *req)
{
    tn_link_t      *link;
    tn_tools_t     *tools;
    tool_ticket_t  *ticket;

    tools = req->tools;

    tn_list_each(link, &tools->tickets) {
        ticket = tn_container(link, tool_ticket_t, link);

        if (ticket->request == req) {
            ticket->request = NULL;
        }
    }

    tn_timer_cancel(&tools->loop->timers, &req->timer);
    tn_loop_unwatch(tools->loop, &req->watch);
    tn_list_remove(&req->link);
    tools->n_requests--;

    (void) close(req->watch.fd);
    json_decref(req->root);
    free(req->text);
    free(req);
}
