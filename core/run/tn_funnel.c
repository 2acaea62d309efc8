
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A connection from the Internet comes by a relay's request to the PeerAPI.
 * Once that is answered, the accepted socket itself goes to nginx: over a
 * connection to the AF_UNIX listener of its port, with a message that says
 * whose it is.  nginx puts it in the place of that connection, and from then
 * on its bytes cross no other process.  While the listener's queue is full it
 * waits here, in its order; where nobody takes it, it is closed.
 *
 * Control is told by Hostinfo that the names of this node shall lead to the
 * relays (IngressEnabled), while a port is served that the node's attributes
 * allow; with ports that are not allowed, that it would be so (WireIngress).
 */

#include "run/tn_funnel.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>


#define TN_FUNNEL_RETRY_MS   10
#define TN_FUNNEL_LOG_MS     1000

#define TN_FUNNEL_CAP_HTTPS  "https"
#define TN_FUNNEL_CAP        "funnel"
#define TN_FUNNEL_CAP_PORTS  "https://tailscale.com/cap/funnel-ports?ports="


typedef enum {
    TN_FUNNEL_UNKNOWN = 0,          /* no netmap yet */
    TN_FUNNEL_ALLOWED,
    TN_FUNNEL_NO_HTTPS,
    TN_FUNNEL_NO_FUNNEL,
    TN_FUNNEL_NO_PORT
} tn_funnel_why_e;

typedef struct {
    uint16_t            port;
    tn_funnel_why_e     why;
    struct sockaddr_un  addr;       /* nginx's listener */
    socklen_t           len;
    bool                marked;     /* by tn_funnel_mark() */
} funnel_port_t;


/* a connection on its way to nginx */
typedef struct {
    tn_link_t           link;
    uint16_t            port;
    int                 fd;
    tn_ms_t             until;
    tn_ipc_funnel_t     msg;
} funnel_conn_t;


struct tn_funnel_s {
    tn_loop_t          *loop;
    const char         *name;
    tn_log_t           *log;
    tn_node_t          *node;       /* or NULL */
    funnel_port_t       port[TN_FUNNEL_PORTS];
    size_t              n;
    tn_link_t           waiting;
    size_t              n_waiting;
    tn_timer_t          timer;
    tn_ms_t             logged;
};


static void funnel_check(tn_funnel_t *funnel);
static tn_funnel_why_e funnel_why(const tn_netmap_node_t *self,
    uint16_t port);
static bool funnel_in_ports(const char *text, uint16_t port);
static funnel_port_t *funnel_port(tn_funnel_t *funnel, uint16_t port);
static bool funnel_is_ours(const tn_funnel_t *funnel,
    const tn_netmap_t *netmap, const char *name);
static const char *funnel_serves(void *data, const tn_ingress_t *ingress);
static void funnel_take(void *data, const tn_ingress_t *ingress, int fd);
static tn_rc_t funnel_pass(tn_funnel_t *funnel, uint16_t port,
    const tn_ipc_funnel_t *msg, int fd);
static void funnel_retry(void *data, tn_ms_t now);
static void funnel_drop(funnel_conn_t *conn);


const tn_nodeapi_ops_t  tn_funnel_ops = {
    funnel_serves,
    funnel_take
};


tn_funnel_t *
tn_funnel_create(tn_loop_t *loop, const char *name, tn_log_t *log)
{
    tn_funnel_t  *funnel;

    funnel = calloc(1, sizeof(tn_funnel_t));

    if (funnel != NULL) {
        funnel->loop = loop;
        funnel->name = name;
        funnel->log = log;
        tn_list_init(&funnel->waiting);
        tn_timer_init(&funnel->timer, funnel_retry, funnel);
    }

    return funnel;
}


void
tn_funnel_destroy(tn_funnel_t *funnel)
{
    if (funnel == NULL) {
        return;
    }

    while (!tn_list_empty(&funnel->waiting)) {
        funnel_drop(tn_container(funnel->waiting.next, funnel_conn_t, link));
    }

    tn_timer_cancel(&funnel->loop->timers, &funnel->timer);
    free(funnel);
}


void
tn_funnel_node(tn_funnel_t *funnel, tn_node_t *node)
{
    funnel->node = node;
    funnel_check(funnel);
}


void
tn_funnel_listen(tn_funnel_t *funnel, uint16_t port, int fd)
{
    funnel_port_t  *p;

    p = funnel_port(funnel, port);

    if (fd == -1) {
        if (p != NULL) {
            *p = funnel->port[--funnel->n];
        }

        funnel_check(funnel);
        return;
    }

    if (p == NULL) {
        if (funnel->n == TN_FUNNEL_PORTS) {
            tn_log(funnel->log, TN_LOG_ERR, "\"%s\": Funnel has %d ports "
                   "already, %u is left out", funnel->name, TN_FUNNEL_PORTS,
                   port);
            return;
        }

        p = &funnel->port[funnel->n++];
        memset(p, 0, sizeof(funnel_port_t));
        p->port = port;
    }

    p->marked = false;
    p->len = sizeof(p->addr);

    if (getsockname(fd, (struct sockaddr *) &p->addr, &p->len) == -1
        || p->addr.sun_family != AF_UNIX)
    {
        *p = funnel->port[--funnel->n];
    }

    funnel_check(funnel);
}


void
tn_funnel_mark(tn_funnel_t *funnel)
{
    size_t  i;

    for (i = 0; i < funnel->n; i++) {
        funnel->port[i].marked = true;
    }
}


void
tn_funnel_sweep(tn_funnel_t *funnel)
{
    size_t  i, n;

    n = 0;

    for (i = 0; i < funnel->n; i++) {
        if (!funnel->port[i].marked) {
            funnel->port[n++] = funnel->port[i];
        }
    }

    if (n != funnel->n) {
        funnel->n = n;
        funnel_check(funnel);
    }
}


/* what the node's attributes allow, said once for each change */

static void
funnel_check(tn_funnel_t *funnel)
{
    bool                     allowed;
    size_t                   i;
    tn_control_t            *control;
    tn_funnel_why_e          why;
    const tn_netmap_node_t  *self;

    static const char *const  reasons[] = {
        "", "",
        "HTTPS certificates are off for the tailnet: switch them on in the "
        "admin console (DNS)",
        "the tailnet policy does not give this node the attribute \"funnel\" "
        "(nodeAttrs)",
        "Funnel does not allow this port, see the attribute "
        "\"funnel-ports\": 443, 8443 and 10000 as a rule"
    };

    control = funnel->node != NULL ? tn_node_control(funnel->node) : NULL;

    if (control == NULL) {
        return;
    }

    self = tn_control_netmap(control)->self;
    allowed = false;

    for (i = 0; i < funnel->n; i++) {
        why = self != NULL ? funnel_why(self, funnel->port[i].port)
                           : TN_FUNNEL_UNKNOWN;

        if (why != funnel->port[i].why) {
            funnel->port[i].why = why;

            if (why == TN_FUNNEL_ALLOWED) {
                tn_log(funnel->log, TN_LOG_NOTICE, "\"%s\": Funnel to port %u "
                       "is on", funnel->name, funnel->port[i].port);

            } else if (why != TN_FUNNEL_UNKNOWN) {
                tn_log(funnel->log, TN_LOG_WARN, "\"%s\": no Funnel to port "
                       "%u: %s", funnel->name, funnel->port[i].port,
                       reasons[why]);
            }
        }

        allowed |= why == TN_FUNNEL_ALLOWED;
    }

    tn_control_set_ingress(control, allowed, funnel->n != 0 && !allowed);
}


static tn_funnel_why_e
funnel_why(const tn_netmap_node_t *self, uint16_t port)
{
    size_t       i;
    const char  *name;

    if (tn_netmap_node_cap(self, TN_FUNNEL_CAP_HTTPS) == NULL) {
        return TN_FUNNEL_NO_HTTPS;
    }

    if (tn_netmap_node_cap(self, TN_FUNNEL_CAP) == NULL) {
        return TN_FUNNEL_NO_FUNNEL;
    }

    for (i = 0; i < self->ncaps; i++) {
        name = self->caps[i].name;

        if (strncmp(name, TN_FUNNEL_CAP_PORTS,
                    sizeof(TN_FUNNEL_CAP_PORTS) - 1)
            == 0
            && funnel_in_ports(name + sizeof(TN_FUNNEL_CAP_PORTS) - 1, port))
        {
            return TN_FUNNEL_ALLOWED;
        }
    }

    return TN_FUNNEL_NO_PORT;
}


/* "443,8080-8090" */

static bool
funnel_in_ports(const char *text, uint16_t port)
{
    char           *end;
    unsigned long   first, last;

    while (*text >= '0' && *text <= '9') {
        first = strtoul(text, &end, 10);
        last = first;

        if (*end == '-') {
            last = strtoul(end + 1, &end, 10);
        }

        if (port >= first && port <= last) {
            return true;
        }

        if (*end != ',') {
            break;
        }

        text = end + 1;
    }

    return false;
}


static funnel_port_t *
funnel_port(tn_funnel_t *funnel, uint16_t port)
{
    size_t  i;

    for (i = 0; i < funnel->n; i++) {
        if (funnel->port[i].port == port) {
            return &funnel->port[i];
        }
    }

    return NULL;
}


static bool
funnel_is_ours(const tn_funnel_t *funnel, const tn_netmap_t *netmap,
    const char *name)
{
    size_t       i, len, n;
    const char  *own;

    len = strlen(name);
    len -= len != 0 && name[len - 1] == '.';

    if (strncasecmp(netmap->self->name, name, len) == 0
        && (netmap->self->name[len] == '\0'
            || strcmp(netmap->self->name + len, ".") == 0))
    {
        return true;
    }

    for (i = 0; i < netmap->dns.ncert_domains; i++) {
        if (strncasecmp(netmap->dns.cert_domains[i], name, len) == 0
            && netmap->dns.cert_domains[i][len] == '\0')
        {
            return true;
        }
    }

    own = tn_node_domains(funnel->node);

    for ( ; *own != '\0'; own += n + (own[n] == ',')) {
        n = strcspn(own, ",");

        if (n == len && strncasecmp(own, name, len) == 0) {
            return true;
        }
    }

    return false;
}


static const char *
funnel_serves(void *data, const tn_ingress_t *ingress)
{
    tn_funnel_t *funnel = data;

    funnel_port_t       *p;
    const tn_netmap_t   *netmap;

    netmap = tn_control_netmap(tn_node_control(funnel->node));
    p = funnel_port(funnel, ingress->local.port);

    if (p == NULL) {
        return "nothing listens there for Funnel";
    }

    if (p->why != TN_FUNNEL_ALLOWED) {
        return "Funnel is not allowed to this port";
    }

    if (netmap->self == NULL
        || !funnel_is_ours(funnel, netmap, ingress->name))
    {
        return "it is not a name of this node";
    }

    /* the Internet has no such addresses: they would only deceive rules */

    if (tn_ip_is_tailscale(&ingress->client.ip)
        || tn_ip_is_loopback(&ingress->client.ip)
        || tn_ip_is_multicast(&ingress->client.ip)
        || ingress->client.port == 0)
    {
        return "its client's address is not one of the Internet";
    }

    return NULL;
}


static void
funnel_take(void *data, const tn_ingress_t *ingress, int fd)
{
    tn_funnel_t *funnel = data;

    tn_rc_t           rc;
    funnel_conn_t    *conn;
    tn_ipc_funnel_t   msg;

    tn_ipc_init(&msg, TN_IPC_FUNNEL);
    msg.client = ingress->client;
    msg.local = ingress->local;
    msg.relay = ingress->relay;

    /* behind those that wait */

    rc = tn_list_empty(&funnel->waiting)
         ? funnel_pass(funnel, ingress->local.port, &msg, fd) : TN_AGAIN;

    if (rc == TN_AGAIN && funnel->n_waiting < TN_FUNNEL_WAITING) {
        conn = malloc(sizeof(funnel_conn_t));

        if (conn != NULL
            && (tn_timer_is_set(&funnel->timer)
                || tn_timer_set(&funnel->loop->timers, &funnel->timer,
                                funnel->loop->now + TN_FUNNEL_RETRY_MS)
                   == TN_OK))
        {
            conn->port = ingress->local.port;
            conn->fd = fd;
            conn->until = funnel->loop->now + TN_FUNNEL_WAIT_MS;
            conn->msg = msg;
            tn_list_push(&funnel->waiting, &conn->link);
            funnel->n_waiting++;
            return;
        }

        free(conn);
    }

    (void) close(fd);
}


/* TN_AGAIN: the listener's queue is full; fd stays the caller's */

static tn_rc_t
funnel_pass(tn_funnel_t *funnel, uint16_t port, const tn_ipc_funnel_t *msg,
    int fd)
{
    int             way;
    tn_rc_t         rc;
    funnel_port_t  *p;

    p = funnel_port(funnel, port);
    way = socket(AF_UNIX, SOCK_SEQPACKET|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);
    rc = TN_ERROR;

    if (p != NULL && way != -1) {

        if (connect(way, (struct sockaddr *) &p->addr, p->len) == 0) {
            rc = tn_ipc_send(way, msg, &fd, 1);

        } else if (errno == EAGAIN) {
            rc = TN_AGAIN;
        }
    }

    if (rc != TN_OK && rc != TN_AGAIN
        && (funnel->logged == 0
            || funnel->loop->now >= funnel->logged + TN_FUNNEL_LOG_MS))
    {
        funnel->logged = funnel->loop->now;
        tn_log(funnel->log, TN_LOG_WARN, "\"%s\": nginx does not take a "
               "Funnel connection to port %u (%d: %s)", funnel->name, port,
               errno, strerror(errno));
    }

    tn_ipc_close(&way, 1);

    return rc;
}


static void
funnel_retry(void *data, tn_ms_t now)
{
    tn_funnel_t *funnel = data;

    tn_rc_t         rc;
    funnel_conn_t  *conn;

    while (!tn_list_empty(&funnel->waiting)) {
        conn = tn_container(funnel->waiting.next, funnel_conn_t, link);

        rc = funnel_pass(funnel, conn->port, &conn->msg, conn->fd);

        if (rc == TN_AGAIN && now < conn->until) {
            (void) tn_timer_set(&funnel->loop->timers, &funnel->timer,
                                now + TN_FUNNEL_RETRY_MS);
            return;
        }

        funnel->n_waiting--;
        funnel_drop(conn);
    }
}


/* nginx has a descriptor of its own when it took it */

static void
funnel_drop(funnel_conn_t *conn)
{
    tn_list_remove(&conn->link);
    (void) close(conn->fd);
    free(conn);
}
