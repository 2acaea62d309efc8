
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Listeners at the addresses of services:
 *
 *   TCP    by the kernel's stack, a socket of the node's namespace; by lwIP
 *          one of AF_UNIX, which the data thread finds in its table
 *   UDP    with either stack of AF_UNIX (tn_udpnet.h), so that all packets of
 *          a session come to one worker, also while others come and go
 *   QUIC   sockets of the namespace, for each worker its own
 */

#include "run/tn_services_int.h"

#include <errno.h>
#include <netinet/in.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>


#define SERVICES_AGAIN_MS  5000


static void services_refuse(services_entry_t *entry);
static void services_listen(services_entry_t *entry);
static void services_unix(services_entry_t *entry);
static int services_backlog(const services_entry_t *entry);
static void services_failed(services_entry_t *entry, int fd);
static void services_later(services_entry_t *entry);
static void services_waited(tn_pool_waiter_t *waiter, int fd);
static void services_socket(services_entry_t *entry, int fd);
static bool services_bind(services_entry_t *entry, int fd);


void
services_place(services_entry_t *entry, const tn_netmap_node_t *self)
{
    char            text[TN_ADDR_TEXT];
    tn_addr_t       addr;
    tn_services_t  *services;

    services = entry->services;
    memset(&addr, 0, sizeof(addr));

    if (services_is_void(entry)) {
        services_refuse(entry);

    } else if (tn_netmap_service_ip(self, entry->key.name,
                                    entry->key.family == 4, &addr.ip))
    {
        addr.port = entry->key.port;

    } else if (!entry->waits && entry->key.family == 4) {
        entry->waits = true;

        tn_log(services->log, self->ntags != 0 ? TN_LOG_NOTICE : TN_LOG_WARN,
               "\"%s\": %s port %u waits for an address: %s",
               services->name, entry->key.name, entry->key.port,
               self->ntags != 0
               ? "approve this node as a host of the service in the admin "
                 "console, or by autoApprovers in the policy"
               : "only tagged nodes can host services, see \"tags\"");
    }

    if (!entry->drained && entry->addr.port == addr.port
        && tn_ip_equal(&entry->addr.ip, &addr.ip)
        && (entry->fd != -1 || entry->waiter.pool != NULL || addr.port == 0))
    {
        return;
    }

    if (entry->fd != -1) {
        services_close(entry);
        services_pass(entry);
    }

    tn_pool_cancel(&entry->waiter);
    entry->addr = addr;

    if (addr.port == 0) {
        return;
    }

    entry->waits = false;
    services_listen(entry);

    if (entry->fd != -1 || (entry->waiter.pool != NULL && !entry->failed)) {
        tn_log(services->log, TN_LOG_NOTICE, "\"%s\": %s is served at %s",
               services->name, entry->key.name, tn_addr_text(&addr, text));
    }
}


bool
services_is_void(const services_entry_t *entry)
{
    return (entry->key.flags & TN_IPC_QUIC) && entry->services->by_lwip;
}


static void
services_refuse(services_entry_t *entry)
{
    if (entry->waits) {
        return;
    }

    entry->waits = true;

    tn_log(entry->services->log, TN_LOG_ERR, "\"%s\": stack lwip has no "
           "QUIC, %s port %u is left out", entry->services->name,
           entry->key.name, entry->key.port);
}


static void
services_listen(services_entry_t *entry)
{
    int             fd;
    uint16_t        proto;
    tn_services_t  *services;

    services = entry->services;
    proto = entry->key.proto;

    if (services->by_lwip
        || (proto == TN_IPC_UDP && !(entry->key.flags & TN_IPC_QUIC)))
    {
        services_unix(entry);
        return;
    }

    if (services->pool == NULL) {
        entry->addr.port = 0;
        return;
    }

    entry->waiter.family = entry->key.family;
    entry->waiter.proto = proto;
    entry->waiter.ready = services_waited;

    fd = tn_pool_take(services->pool, entry->key.family, proto);

    if (fd == -1) {
        tn_pool_wait(services->pool, &entry->waiter);
        return;
    }

    services_socket(entry, fd);
}


/* what the core, which has the packets, connects to for each that comes */
static void
services_unix(services_entry_t *entry)
{
    int                 fd, type;
    struct sockaddr_un  addr;

    memset(&addr, 0, sizeof(addr));
    addr.sun_family = AF_UNIX;

    type = entry->key.proto == TN_IPC_TCP ? SOCK_STREAM : SOCK_SEQPACKET;
    fd = socket(AF_UNIX, type|SOCK_NONBLOCK|SOCK_CLOEXEC, 0);

    if (fd == -1
        || bind(fd, (struct sockaddr *) &addr, sizeof(sa_family_t)) == -1
        || listen(fd, services_backlog(entry)) == -1
        || tn_lwnet_table_serve(entry->services->listeners, entry->key.proto,
                                &entry->addr, fd)
           != TN_OK)
    {
        services_failed(entry, fd);
        return;
    }

    entry->listed = true;
    entry->fd = fd;
    entry->failed = false;
    services_pass(entry);
}


static int
services_backlog(const services_entry_t *entry)
{
    return entry->key.backlog > 0 ? entry->key.backlog : SOMAXCONN;
}


static void
services_failed(services_entry_t *entry, int fd)
{
    char  text[TN_ADDR_TEXT];

    tn_log(entry->services->log, entry->failed ? TN_LOG_INFO : TN_LOG_ERR,
           "\"%s\": %s: no listener on %s (%d: %s)", entry->services->name,
           entry->key.name, tn_addr_text(&entry->addr, text), errno,
           strerror(errno));

    entry->failed = true;
    tn_ipc_close(&fd, 1);
    services_later(entry);
}


/* placed anew, as one that has no address */
static void
services_later(services_entry_t *entry)
{
    tn_loop_t  *loop;

    entry->addr.port = 0;
    loop = entry->services->loop;

    if (!tn_timer_is_set(&entry->services->again)) {
        (void) tn_timer_set(&loop->timers, &entry->services->again,
                            loop->now + SERVICES_AGAIN_MS);
    }
}


void
services_again(void *data, tn_ms_t now)
{
    (void) now;

    services_look(data);
}


static void
services_waited(tn_pool_waiter_t *waiter, int fd)
{
    services_entry_t  *entry;

    entry = tn_container(waiter, services_entry_t, waiter);

    if (fd == -1) {
        services_later(entry);
        return;
    }

    services_socket(entry, fd);
    services_serve(entry->services);
}


static void
services_socket(services_entry_t *entry, int fd)
{
    if (!services_bind(entry, fd)
        || (entry->key.proto == TN_IPC_TCP
            && listen(fd, services_backlog(entry)) == -1))
    {
        services_failed(entry, fd);
        return;
    }

    entry->fd = fd;
    entry->failed = false;
    services_pass(entry);
}


/*
 * The address may be on the interface only in a moment; another socket of the
 * same, of the core before, may still be in the workers.
 */
static bool
services_bind(services_entry_t *entry, int fd)
{
    int                      on, pmtu;
    socklen_t                len;
    struct sockaddr_storage  ss;

    on = 1;

    (void) setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
    (void) setsockopt(fd, SOL_SOCKET, SO_REUSEPORT, &on, sizeof(on));

    if (entry->key.family == 4) {
        (void) setsockopt(fd, IPPROTO_IP, IP_FREEBIND, &on, sizeof(on));

    } else {
        (void) setsockopt(fd, IPPROTO_IPV6, IPV6_FREEBIND, &on, sizeof(on));
        (void) setsockopt(fd, IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof(on));
    }

    /* RFC 9000, 14: datagrams are not fragmented */

    if (entry->key.proto == TN_IPC_UDP) {
        pmtu = entry->key.family == 4 ? IP_PMTUDISC_DO : IPV6_PMTUDISC_DO;

        (void) setsockopt(fd, entry->key.family == 4 ? IPPROTO_IP
                                                     : IPPROTO_IPV6,
                          entry->key.family == 4 ? IP_MTU_DISCOVER
                                                 : IPV6_MTU_DISCOVER,
                          &pmtu, sizeof(pmtu));
    }

    len = (socklen_t) tn_addr_to_sockaddr(&entry->addr, &ss);

    return bind(fd, (struct sockaddr *) &ss, len) == 0;
}


void
services_close(services_entry_t *entry)
{
    if (entry->fd == -1) {
        return;
    }

    if (entry->listed) {
        tn_lwnet_table_unserve(entry->services->listeners, entry->key.proto,
                               &entry->addr);
        entry->listed = false;
    }

    (void) close(entry->fd);
    entry->fd = -1;
}


void
services_pass(services_entry_t *entry)
{
    uint32_t            i;
    tn_link_t          *link;
    services_worker_t  *worker;

    tn_list_each(link, &entry->services->workers.list) {
        worker = tn_container(link, services_worker_t, worker.link);

        for (i = 0; i < worker->count; i++) {
            if (worker->entry[i] == entry) {
                (void) services_send(worker, entry);
            }
        }
    }
}


bool
services_send(services_worker_t *worker, services_entry_t *entry)
{
    tn_ipc_serve_set_t  msg;

    /* one that leaves keeps to what it has */

    if (worker->leaving && entry->fd != -1) {
        return true;
    }

    tn_ipc_init(&msg, TN_IPC_SERVE_SET);
    msg.service = entry->key;
    msg.addr = entry->addr;

    return tn_ipc_send(worker->worker.watch.fd, &msg, &entry->fd,
                       entry->fd != -1)
           == TN_OK;
}
