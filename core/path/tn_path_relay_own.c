
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Where this node's own peer relay is reached (upstream: udprelay,
 * addrDiscoveryLoop): at the host's addresses, at those of static endpoints,
 * and where STUN servers see the relay's socket.  They are asked from it each
 * 20 to 26 s, which keeps a NAT's mapping, too.  Behind a NAT that maps each
 * destination to another port the relay's own port may have been forwarded.
 */

#include "tn_path_private.h"


/* of resolutions, by which they are told from those of the node's netcheck */
#define TN_PATH_RELAY_ID  0x80000000u


static tn_rc_t tn_path_own_send(void *data, const tn_addr_t *to,
    const uint8_t *bytes, size_t len);
static void tn_path_own_resolve(void *data, uint32_t id, const char *host);
static tn_ms_t tn_path_own_heard(void *data, uint32_t region);
static bool tn_path_own_https(void *data, uint32_t id, uint32_t region,
    const tn_derpmap_node_t *node);
static void tn_path_own_done(void *data, tn_ms_t now,
    const tn_netcheck_report_t *report);
static void tn_path_own_check(tn_path_t *path, tn_ms_t now);
static void tn_path_own_add(tn_disco_addrs_t *addrs, const tn_ip_t *ip,
    uint16_t port);


const tn_netcheck_ops_t  tn_path_own_ops = {
    tn_path_own_send,
    tn_path_own_resolve,
    tn_path_own_heard,
    NULL,
    tn_path_own_https,
    tn_path_own_done
};


void
tn_path_set_relay_ports(tn_path_t *path, tn_ms_t now, uint16_t port4,
    uint16_t port6)
{
    if (path->own_ports[0] != port4 || path->own_ports[1] != port6) {
        path->own_ports[0] = port4;
        path->own_ports[1] = port6;
        tn_path_own_restart(path, now);
    }
}


void
tn_path_own_restart(tn_path_t *path, tn_ms_t now)
{
    memset(&path->own_report, 0, sizeof(tn_netcheck_report_t));
    tn_path_own_check(path, now);
}


void
tn_path_relay_stun(tn_path_t *path, tn_ms_t now, const uint8_t *bytes,
    size_t len)
{
    tn_netcheck_input(path->own_check, now, bytes, len);
}


bool
tn_path_own_resolved(tn_path_t *path, tn_ms_t now, uint32_t id,
    const tn_ip_t *ips, size_t n)
{
    if ((id & TN_PATH_RELAY_ID) == 0) {
        return false;
    }

    tn_netcheck_resolved(path->own_check, now, id & ~TN_PATH_RELAY_ID, ips,
                         n);

    return true;
}


void
tn_path_own_timer(void *data, tn_ms_t now)
{
    tn_path_own_check(data, now);
}


void
tn_path_own_addrs(const tn_path_t *path, tn_disco_addrs_t *addrs)
{
    uint32_t                     i;
    const tn_ip_t               *ip;
    const tn_netcheck_report_t  *report;

    report = &path->own_report;

    for (i = 0; i < path->nlocal; i++) {
        ip = &path->local[i].ip;
        tn_path_own_add(addrs, ip, path->own_ports[!tn_ip_is_v4(ip)]);
    }

    for (i = 0; i < path->nendpoints; i++) {
        ip = &path->endpoints[i].addr.ip;

        if (path->endpoints[i].type == TN_ENDPOINT_EXPLICIT) {
            tn_path_own_add(addrs, ip, path->own_ports[!tn_ip_is_v4(ip)]);
        }
    }

    for (i = 0; i < report->nseen4; i++) {
        tn_path_own_add(addrs, &report->seen4[i].addr.ip,
                        report->seen4[i].addr.port);
    }

    if (report->nseen4 != 0 && report->mapping_varies == TN_YES) {
        tn_path_own_add(addrs, &report->seen4[0].addr.ip,
                        path->own_ports[0]);
    }

    for (i = 0; i < report->nseen6; i++) {
        tn_path_own_add(addrs, &report->seen6[i].addr.ip,
                        report->seen6[i].addr.port);
    }
}


static void
tn_path_own_add(tn_disco_addrs_t *addrs, const tn_ip_t *ip, uint16_t port)
{
    uint32_t   i;
    tn_addr_t  addr;

    addr.ip = *ip;
    addr.port = port;

    if (port == 0 || tn_ip_is_loopback(ip)
        || addrs->n == TN_DISCO_ADDRS_MAX)
    {
        return;
    }

    for (i = 0; i < addrs->n; i++) {
        if (tn_addr_equal(&addrs->addr[i], &addr)) {
            return;
        }
    }

    addrs->addr[addrs->n++] = addr;
}


static void
tn_path_own_check(tn_path_t *path, tn_ms_t now)
{
    if ((path->own_ports[0] == 0 && path->own_ports[1] == 0)
        || path->ops->relay_send == NULL || path->map == NULL
        || path->knobs.only_tcp_443)
    {
        tn_timer_cancel(path->timers, &path->own_timer);
        return;
    }

    (void) tn_timer_set(path->timers, &path->own_timer,
                        now + TN_PATH_RESTUN_MIN_MS
                        + tn_random_below(TN_PATH_RESTUN_SPAN_MS));

    tn_netcheck_start(path->own_check, now,
                      path->have4 && path->own_ports[0] != 0,
                      path->have6 && path->own_ports[1] != 0, path->home,
                      false);
}


static tn_rc_t
tn_path_own_send(void *data, const tn_addr_t *to, const uint8_t *bytes,
    size_t len)
{
    tn_path_t  *path;

    path = data;

    if (path->knobs.only_tcp_443
        || path->own_ports[!tn_ip_is_v4(&to->ip)] == 0)
    {
        return TN_ERROR;
    }

    return path->ops->relay_send(path->data, to, bytes, len);
}


static void
tn_path_own_resolve(void *data, uint32_t id, const char *host)
{
    tn_path_t  *path;

    path = data;

    path->ops->resolve(path->data, id | TN_PATH_RELAY_ID, host);
}


static tn_ms_t
tn_path_own_heard(void *data, uint32_t region)
{
    (void) data;
    (void) region;

    return 0;
}


static bool
tn_path_own_https(void *data, uint32_t id, uint32_t region,
    const tn_derpmap_node_t *node)
{
    (void) data;
    (void) id;
    (void) region;
    (void) node;

    return false;
}


static void
tn_path_own_done(void *data, tn_ms_t now, const tn_netcheck_report_t *report)
{
    tn_path_t  *path;

    (void) now;

    path = data;
    path->own_report = *report;
}
