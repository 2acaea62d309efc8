
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The nameservers of the longest suffix are asked one after the other, for A
 * and for AAAA, over UDP, twice, a second apart, and over TCP where an answer
 * is cut.  One that a peer routes is asked through the tailnet: the question
 * is dialled as a worker dials, so that is by whatever stack the node has.
 * Any other is asked from the host.
 *
 *   DIALLING  the dialler is to give a socket
 *   ASKING    UDP: the questions are sent; TCP: it connects, or they are
 *   KNOWN     there are addresses, or it is known that there are none
 *
 * What is known counts as long as the answer says, TN_NODEDNS_MIN_MS to
 * TN_NODEDNS_MAX_MS; that there is nothing for TN_NODEDNS_MIN_MS.  Of
 * TN_NODEDNS_NAMES names the one that is known and was asked for longest ago
 * makes room for another.
 */

#include "run/tn_nodedns.h"

#include "crypto/tn_curve.h"
#include "host/tn_dnsmsg.h"
#include "host/tn_scarce.h"
#include "proc/tn_ipc.h"
#include "run/tn_nodename.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <unistd.h>


#define TN_NODEDNS_NAMES    64
#define TN_NODEDNS_IPS      8
#define TN_NODEDNS_SERVERS  3
#define TN_NODEDNS_PORT     53
#define TN_NODEDNS_TRIES    2           /* over UDP */
#define TN_NODEDNS_TRY_MS   1000
#define TN_NODEDNS_TCP_MS   3000
#define TN_NODEDNS_MIN_MS   5000
#define TN_NODEDNS_MAX_MS   60000
#define TN_NODEDNS_TCP      16384       /* bytes of both answers */


typedef enum {
    NODEDNS_DIALLING = 0,
    NODEDNS_ASKING,
    NODEDNS_KNOWN
} nodedns_state_e;

typedef struct {
    tn_addr_t        addr;
    bool             inside;            /* of the tailnet */
} nodedns_server_t;

/* for A or for AAAA */
typedef struct {
    uint8_t          query[TN_DNSMSG_QUERY];
    size_t           len;
    bool             answered;
    bool             refused;           /* by an error */
    tn_ip_t          ips[TN_NODEDNS_IPS];
    size_t           n;
} nodedns_question_t;

typedef struct {
    tn_link_t           link;
    tn_nodedns_t       *dns;
    char                name[TN_IPC_HOST];
    nodedns_state_e     state;
    tn_ms_t             until;          /* KNOWN */
    char                text[TN_IPC_TEXT];

    nodedns_server_t    servers[TN_NODEDNS_SERVERS];
    size_t              nservers;
    size_t              server;         /* who is asked */
    bool                tcp;
    unsigned            tries;
    uint32_t            ttl;            /* s, the shortest */
    tn_watch_t          watch;          /* fd -1: none */
    tn_defer_t          begin;
    tn_timer_t          timer;
    uint8_t            *bytes;          /* that came over TCP, or NULL */
    size_t              len;

    nodedns_question_t  questions[2];
} nodedns_name_t;

struct tn_nodedns_s {
    tn_loop_t               *loop;
    const tn_nodedns_ops_t  *ops;
    void                    *data;
    char                     node[TN_IPC_NAME];
    tn_link_t                names;     /* who was asked for last is last */
    size_t                   nnames;
};


static const tn_netmap_route_t *nodedns_route(const tn_netmap_t *netmap,
    const char *host, char *name);
static const tn_netmap_route_t *nodedns_suffix(const tn_netmap_t *netmap,
    const char *name);
static nodedns_name_t *nodedns_find(tn_nodedns_t *dns, const char *name);
static nodedns_name_t *nodedns_add(tn_nodedns_t *dns, const char *name);
static void nodedns_free(nodedns_name_t *name);
static bool nodedns_servers(nodedns_name_t *name, const tn_netmap_t *netmap,
    const tn_netmap_route_t *route);
static void nodedns_begin(void *data);
static void nodedns_close(nodedns_name_t *name);
static void nodedns_timer(void *data, tn_ms_t now);
static void nodedns_next(nodedns_name_t *name, const char *why);
static void nodedns_ask(nodedns_name_t *name);
static tn_rc_t nodedns_dial(nodedns_name_t *name);
static tn_rc_t nodedns_connect(nodedns_name_t *name);
static void nodedns_dialled(tn_watch_t *watch, uint32_t events);
static void nodedns_asking(nodedns_name_t *name);
static void nodedns_send(nodedns_name_t *name);
static void nodedns_event(tn_watch_t *watch, uint32_t events);
static void nodedns_read_udp(nodedns_name_t *name);
static void nodedns_read_tcp(nodedns_name_t *name);
static void nodedns_write_tcp(nodedns_name_t *name);
static bool nodedns_answer(nodedns_name_t *name, const uint8_t *bytes,
    size_t len);
static void nodedns_known(nodedns_name_t *name, tn_ms_t ms);


tn_nodedns_t *
tn_nodedns_create(tn_loop_t *loop, const tn_nodedns_ops_t *ops, void *data,
    const char *node)
{
    tn_nodedns_t  *dns;

    dns = calloc(1, sizeof(tn_nodedns_t));

    if (dns == NULL) {
        return NULL;
    }

    dns->loop = loop;
    dns->ops = ops;
    dns->data = data;
    (void) snprintf(dns->node, sizeof(dns->node), "%s", node);
    tn_list_init(&dns->names);

    return dns;
}


void
tn_nodedns_destroy(tn_nodedns_t *dns)
{
    tn_link_t  *link;

    if (dns == NULL) {
        return;
    }

    while ((link = tn_list_shift(&dns->names)) != NULL) {
        nodedns_free(tn_container(link, nodedns_name_t, link));
    }

    free(dns);
}


size_t
tn_nodedns_resolve(tn_nodedns_t *dns, const tn_netmap_t *netmap,
    const char *host, tn_ip_t *ips, size_t max, bool *wait, char *text)
{
    char                      folded[TN_IPC_HOST];
    char                      ip[TN_ADDR_TEXT];
    size_t                    i, k, n;
    nodedns_name_t           *name;
    const tn_netmap_route_t  *route;

    *wait = false;

    route = dns != NULL ? nodedns_route(netmap, host, folded) : NULL;

    if (route == NULL) {
        return 0;
    }

    name = nodedns_find(dns, folded);

    if (name != NULL && name->state == NODEDNS_KNOWN
        && dns->loop->now >= name->until)
    {
        tn_list_remove(&name->link);
        nodedns_free(name);
        name = NULL;
    }

    if (name == NULL) {
        name = nodedns_add(dns, folded);

        if (name == NULL) {
            (void) snprintf(text, TN_IPC_TEXT, "no room to ask a nameserver "
                            "for \"%s\"", folded);
            return 0;
        }

        if (nodedns_servers(name, netmap, route)) {

            /* who dials is who asks here: the dialler is called later */

            tn_loop_defer(dns->loop, &name->begin);

        } else {
            (void) snprintf(name->text, sizeof(name->text), "no nameserver of "
                            "\"%s\" is an IP address", route->suffix);
            name->state = NODEDNS_KNOWN;
            name->until = dns->loop->now + TN_NODEDNS_MIN_MS;
        }
    }

    if (name->state != NODEDNS_KNOWN) {
        *wait = true;
        (void) snprintf(text, TN_IPC_TEXT, "nameservers of \"%s\" are asked "
                        "for \"%s\"", route->suffix, folded);
        return 0;
    }

    (void) snprintf(text, TN_IPC_TEXT, "%s", name->text);

    n = 0;

    for (i = 0; i < 2; i++) {
        for (k = 0; k < name->questions[i].n; k++) {

            if (tn_netmap_find_route(netmap, &name->questions[i].ips[k])
                == NULL)
            {
                (void) snprintf(text, TN_IPC_TEXT, "\"%s\" is %s, which no "
                                "peer routes", folded,
                                tn_ip_text(&name->questions[i].ips[k], ip));

            } else if (n < max) {
                ips[n++] = name->questions[i].ips[k];
            }
        }
    }

    return n;
}


/* the name as it is asked for: with a domain of the search list, if need be */
static const tn_netmap_route_t *
nodedns_route(const tn_netmap_t *netmap, const char *host, char *name)
{
    int                       n;
    size_t                    i, len;
    tn_ip_t                   ip;
    const tn_netmap_route_t  *route;

    len = strlen(host);
    len -= len != 0 && host[len - 1] == '.';

    if (len == 0 || tn_ip_parse(&ip, host, len) == TN_OK
        || memchr(host, ':', len) != NULL)
    {
        return NULL;
    }

    (void) snprintf(name, TN_IPC_HOST, "%.*s", (int) len, host);

    if (strchr(name, '.') != NULL) {
        return nodedns_suffix(netmap, name);
    }

    for (i = 0; i < netmap->dns.ndomains; i++) {
        n = snprintf(name, TN_IPC_HOST, "%.*s.%s", (int) len, host,
                     netmap->dns.domains[i]);

        if (n >= TN_IPC_HOST) {
            continue;
        }

        if (n > 0 && name[n - 1] == '.') {
            name[n - 1] = '\0';
        }

        route = nodedns_suffix(netmap, name);

        if (route != NULL) {
            return route;
        }
    }

    return NULL;
}


static const tn_netmap_route_t *
nodedns_suffix(const tn_netmap_t *netmap, const char *name)
{
    size_t                    i, n, longest;
    const char               *own;
    const tn_netmap_route_t  *route, *best;

    best = NULL;
    longest = 0;

    /*
     * The names of the tailnet's own domain are all known, also where a
     * shorter suffix has servers, as Tailscale's control has for ts.net.
     */

    if (netmap->self != NULL) {
        own = tn_netmap_suffix(netmap->self);
        n = strlen(own);
        n -= n != 0 && own[n - 1] == '.';

        if (n != 0 && tn_nodename_is_below(name, own, n)) {
            longest = n;
        }
    }

    for (i = 0; i < netmap->dns.nroutes; i++) {
        route = &netmap->dns.routes[i];
        n = strlen(route->suffix);

        if (n > longest && tn_nodename_is_below(name, route->suffix, n)) {
            best = route;
            longest = n;
        }
    }

    /* without nameservers the names below it are control's own */

    return best != NULL && best->nresolvers != 0 ? best : NULL;
}


static nodedns_name_t *
nodedns_find(tn_nodedns_t *dns, const char *name)
{
    tn_link_t       *link;
    nodedns_name_t  *found;

    tn_list_each(link, &dns->names) {
        found = tn_container(link, nodedns_name_t, link);

        if (strcasecmp(found->name, name) == 0) {
            tn_list_remove(&found->link);
            tn_list_push(&dns->names, &found->link);

            return found;
        }
    }

    return NULL;
}


static nodedns_name_t *
nodedns_add(tn_nodedns_t *dns, const char *text)
{
    size_t           i;
    tn_link_t       *link;
    nodedns_name_t  *name;

    if (dns->nnames == TN_NODEDNS_NAMES) {
        tn_list_each(link, &dns->names) {
            name = tn_container(link, nodedns_name_t, link);

            if (name->state == NODEDNS_KNOWN) {
                tn_list_remove(&name->link);
                nodedns_free(name);
                break;
            }
        }

        if (dns->nnames == TN_NODEDNS_NAMES) {
            return NULL;
        }
    }

    name = calloc(1, sizeof(nodedns_name_t));

    if (name == NULL) {
        return NULL;
    }

    name->dns = dns;
    name->watch.fd = -1;
    name->watch.data = name;
    tn_defer_init(&name->begin, nodedns_begin, name);
    tn_timer_init(&name->timer, nodedns_timer, name);
    (void) snprintf(name->name, sizeof(name->name), "%s", text);

    for (i = 0; i < 2; i++) {
        name->questions[i].len =
            tn_dnsmsg_query(name->questions[i].query,
                            (uint16_t) tn_random_below(65536), text, i == 0);

        if (name->questions[i].len == 0) {
            free(name);
            return NULL;
        }
    }

    tn_list_push(&dns->names, &name->link);
    dns->nnames++;

    return name;
}


/* it is in no list any more */
static void
nodedns_free(nodedns_name_t *name)
{
    nodedns_close(name);
    tn_loop_undefer(&name->begin);
    tn_timer_cancel(&name->dns->loop->timers, &name->timer);
    name->dns->nnames--;
    free(name);
}


/* false: there is none that can be asked */
static bool
nodedns_servers(nodedns_name_t *name, const tn_netmap_t *netmap,
    const tn_netmap_route_t *route)
{
    size_t             i;
    const char        *text;
    nodedns_server_t  *server;

    for (i = 0; i < route->nresolvers; i++) {
        if (name->nservers == TN_NODEDNS_SERVERS) {
            break;
        }

        server = &name->servers[name->nservers];
        text = route->resolvers[i].addr;
        server->addr.port = TN_NODEDNS_PORT;

        if (tn_ip_parse(&server->addr.ip, text, strlen(text)) != TN_OK
            && tn_addr_parse(&server->addr, text, strlen(text)) != TN_OK)
        {
            continue;       /* by HTTPS */
        }

        server->inside = tn_netmap_find_route(netmap, &server->addr.ip)
                         != NULL;
        name->nservers++;
    }

    return name->nservers != 0;
}


static void
nodedns_begin(void *data)
{
    nodedns_ask(data);
}


static void
nodedns_close(nodedns_name_t *name)
{
    tn_loop_unwatch(name->dns->loop, &name->watch);
    tn_ipc_close(&name->watch.fd, 1);
    free(name->bytes);
    name->bytes = NULL;
    name->len = 0;
}


static void
nodedns_timer(void *data, tn_ms_t now)
{
    nodedns_name_t *name = data;

    (void) now;

    if (name->state == NODEDNS_ASKING && !name->tcp
        && name->tries < TN_NODEDNS_TRIES)
    {
        nodedns_send(name);

    } else {
        nodedns_next(name, "does not answer");
    }
}


/* the one that is asked will not tell */
static void
nodedns_next(nodedns_name_t *name, const char *why)
{
    char  addr[TN_ADDR_TEXT];

    (void) snprintf(name->text, sizeof(name->text), "nameserver %s, asked for "
                    "\"%s\", %s",
                    tn_addr_text(&name->servers[name->server].addr, addr),
                    name->name, why);

    nodedns_close(name);
    name->tcp = false;
    name->server++;

    if (name->server == name->nservers) {
        nodedns_known(name, TN_NODEDNS_MIN_MS);
        return;
    }

    nodedns_ask(name);
}


static void
nodedns_ask(nodedns_name_t *name)
{
    size_t   i;
    tn_rc_t  rc;

    name->tries = 0;
    name->ttl = UINT32_MAX;

    for (i = 0; i < 2; i++) {
        name->questions[i].answered = false;
        name->questions[i].refused = false;
        name->questions[i].n = 0;
    }

    rc = name->servers[name->server].inside ? nodedns_dial(name)
                                            : nodedns_connect(name);

    if (rc == TN_OK) {
        rc = tn_timer_set(&name->dns->loop->timers, &name->timer,
                          name->dns->loop->now + TN_NODEDNS_TCP_MS);
    }

    if (rc != TN_OK) {
        nodedns_next(name, "cannot be reached for want of resources");
        return;
    }

    if (name->state == NODEDNS_ASKING) {
        nodedns_asking(name);
    }
}


static tn_rc_t
nodedns_dial(nodedns_name_t *name)
{
    int            fds[2];
    tn_rc_t        rc;
    char           ip[TN_ADDR_TEXT];
    tn_ipc_dial_t  request;

    if (socketpair(AF_UNIX, SOCK_SEQPACKET|SOCK_NONBLOCK|SOCK_CLOEXEC, 0, fds)
        == -1)
    {
        return TN_ERROR;
    }

    tn_ipc_init(&request, TN_IPC_DIAL);
    (void) snprintf(request.node, sizeof(request.node), "%s",
                    name->dns->node);
    (void) snprintf(request.host, sizeof(request.host), "%s",
                    tn_ip_text(&name->servers[name->server].addr.ip, ip));
    request.port = name->servers[name->server].addr.port;
    request.proto = name->tcp ? TN_IPC_TCP : TN_IPC_UDP;
    request.timeout_ms = TN_NODEDNS_TCP_MS;

    name->state = NODEDNS_DIALLING;
    name->watch.fd = fds[0];
    name->watch.events = TN_LOOP_READ;
    name->watch.handler = nodedns_dialled;

    rc = tn_loop_watch(name->dns->loop, &name->watch);

    if (rc == TN_OK) {
        rc = tn_ipc_send(fds[0], &request, NULL, 0);
    }

    if (rc != TN_OK) {
        (void) close(fds[1]);
        return rc;
    }

    name->dns->ops->dial(name->dns->data, fds[1]);

    return TN_OK;
}


static tn_rc_t
nodedns_connect(nodedns_name_t *name)
{
    int                      fd;
    size_t                   len;
    struct sockaddr_storage  ss;

    len = tn_addr_to_sockaddr(&name->servers[name->server].addr, &ss);

    fd = tn_scarce_spare(socket(ss.ss_family,
                                (name->tcp ? SOCK_STREAM : SOCK_DGRAM)
                                |SOCK_NONBLOCK|SOCK_CLOEXEC, 0));
    if (fd == -1) {
        return TN_ERROR;
    }

    name->state = NODEDNS_ASKING;
    name->watch.fd = fd;

    if (connect(fd, (struct sockaddr *) &ss, (socklen_t) len) == -1
        && errno != EINPROGRESS)
    {
        return TN_ERROR;
    }

    return TN_OK;
}


static void
nodedns_dialled(tn_watch_t *watch, uint32_t events)
{
    int              fds[TN_IPC_FDS];
    size_t           n;
    tn_rc_t          rc;
    tn_ipc_msg_t     msg;
    nodedns_name_t  *name;

    (void) events;

    name = watch->data;
    rc = tn_ipc_recv(watch->fd, &msg, fds, &n);

    if (rc == TN_AGAIN) {
        return;
    }

    if (rc != TN_OK) {
        nodedns_next(name, "cannot be dialled");
        return;
    }

    if (msg.head.type != TN_IPC_DIAL_REPLY || msg.dial_reply.rc != TN_OK
        || n != 1)
    {
        tn_ipc_close(fds, n);
        nodedns_next(name, "cannot be reached");
        return;
    }

    nodedns_close(name);
    name->watch.fd = fds[0];
    name->state = NODEDNS_ASKING;
    nodedns_asking(name);
}


/* there is a socket, which may still be connecting */
static void
nodedns_asking(nodedns_name_t *name)
{
    name->watch.handler = nodedns_event;
    name->watch.events = name->tcp ? TN_LOOP_WRITE : TN_LOOP_READ;

    if (tn_loop_watch(name->dns->loop, &name->watch) != TN_OK) {
        nodedns_next(name, "cannot be watched");
        return;
    }

    if (!name->tcp) {
        nodedns_send(name);
    }
}


/* what is lost is sent again; errors come with the answer */
static void
nodedns_send(nodedns_name_t *name)
{
    size_t  i;

    name->tries++;

    for (i = 0; i < 2; i++) {
        if (!name->questions[i].answered) {
            (void) send(name->watch.fd, name->questions[i].query,
                        name->questions[i].len, MSG_NOSIGNAL);
        }
    }

    (void) tn_timer_set(&name->dns->loop->timers, &name->timer,
                        name->dns->loop->now + TN_NODEDNS_TRY_MS);
}


static void
nodedns_event(tn_watch_t *watch, uint32_t events)
{
    nodedns_name_t *name = watch->data;

    if (!name->tcp) {
        nodedns_read_udp(name);

    } else if (name->bytes == NULL && (events & TN_LOOP_WRITE)) {
        nodedns_write_tcp(name);

    } else {
        nodedns_read_tcp(name);
    }
}


static void
nodedns_read_udp(nodedns_name_t *name)
{
    ssize_t  n;
    uint8_t  bytes[TN_DNSMSG_UDP + 1];

    /* one a turn, so that nobody keeps the loop */

    n = recv(name->watch.fd, bytes, sizeof(bytes), 0);

    if (n == -1) {
        if (errno != EAGAIN && errno != EINTR) {
            nodedns_next(name, strerror(errno));
        }

        return;
    }

    (void) nodedns_answer(name, bytes, (size_t) n);
}


static void
nodedns_write_tcp(nodedns_name_t *name)
{
    size_t   i, len;
    uint8_t  bytes[2 * (2 + TN_DNSMSG_QUERY)];

    len = 0;

    for (i = 0; i < 2; i++) {
        bytes[len++] = (uint8_t) (name->questions[i].len >> 8);
        bytes[len++] = (uint8_t) name->questions[i].len;
        memcpy(bytes + len, name->questions[i].query, name->questions[i].len);
        len += name->questions[i].len;
    }

    /* an empty buffer takes that at once */

    if (send(name->watch.fd, bytes, len, MSG_NOSIGNAL) != (ssize_t) len) {
        nodedns_next(name, "does not take the question");
        return;
    }

    name->bytes = malloc(TN_NODEDNS_TCP);
    name->watch.events = TN_LOOP_READ;

    if (name->bytes == NULL
        || tn_loop_watch(name->dns->loop, &name->watch) != TN_OK)
    {
        nodedns_next(name, "cannot be asked: out of memory");
    }
}


static void
nodedns_read_tcp(nodedns_name_t *name)
{
    size_t   len, at;
    ssize_t  n;

    if (name->bytes == NULL || name->len == TN_NODEDNS_TCP) {
        nodedns_next(name, "closed the connection, or says too much");
        return;
    }

    n = recv(name->watch.fd, name->bytes + name->len,
             TN_NODEDNS_TCP - name->len, 0);

    if (n <= 0) {
        if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
            nodedns_next(name, "closed the connection");
        }

        return;
    }

    name->len += (size_t) n;
    at = 0;

    while (name->len - at >= 2) {
        len = (size_t) name->bytes[at] << 8 | name->bytes[at + 1];

        if (name->len - at - 2 < len) {
            break;
        }

        if (nodedns_answer(name, name->bytes + at + 2, len)) {
            return;
        }

        at += 2 + len;
    }

    memmove(name->bytes, name->bytes + at, name->len - at);
    name->len -= at;
}


/* true: the socket is not to be read any more */
static bool
nodedns_answer(nodedns_name_t *name, const uint8_t *bytes, size_t len)
{
    size_t               i;
    tn_rc_t              rc;
    uint32_t             ttl;
    nodedns_question_t  *q;

    for (i = 0; i < 2; i++) {
        q = &name->questions[i];

        if (q->answered) {
            continue;
        }

        q->n = tn_nelems(q->ips);
        rc = tn_dnsmsg_answer(q->query, q->len, bytes, len, i == 0, q->ips,
                              &q->n, &ttl);

        switch (rc) {

        case TN_OK:
            q->answered = true;

            if (q->n != 0) {
                name->ttl = tn_min(name->ttl, ttl);
            }

            break;

        case TN_AGAIN:
            if (name->tcp) {
                nodedns_next(name, "cuts its answer");

            } else {
                nodedns_close(name);
                name->tcp = true;
                nodedns_ask(name);
            }

            return true;

        case TN_ERROR:      /* some do so for AAAA alone */
            q->answered = true;
            q->refused = true;
            break;

        default:            /* not of this question */
            continue;
        }

        break;
    }

    if (!name->questions[0].answered || !name->questions[1].answered) {
        return false;
    }

    if (name->questions[0].n + name->questions[1].n != 0) {
        nodedns_known(name, tn_min((tn_ms_t) name->ttl * 1000,
                                   (tn_ms_t) TN_NODEDNS_MAX_MS));

    } else if (name->questions[0].refused || name->questions[1].refused) {
        nodedns_next(name, "cannot tell");

    } else {
        (void) snprintf(name->text, sizeof(name->text), "the tailnet's "
                        "nameserver has no address of \"%s\"", name->name);
        nodedns_known(name, TN_NODEDNS_MIN_MS);
    }

    return true;
}


/* the name may be gone when this returns */
static void
nodedns_known(nodedns_name_t *name, tn_ms_t ms)
{
    tn_nodedns_t *dns = name->dns;

    nodedns_close(name);
    tn_timer_cancel(&dns->loop->timers, &name->timer);
    name->state = NODEDNS_KNOWN;
    name->until = dns->loop->now + tn_max(ms, (tn_ms_t) TN_NODEDNS_MIN_MS);

    dns->ops->known(dns->data);
}
