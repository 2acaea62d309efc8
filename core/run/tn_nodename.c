
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "run/tn_nodename.h"

#include "base/tn_via.h"

#include <stdio.h>
#include <strings.h>


#define TN_NODENAME_TAG  "tag:"
#define TN_NODENAME_SVC  "svc:"


static size_t tn_nodename_tagged(const tn_netmap_t *netmap, const char *tag,
    tn_netmap_node_t **nodes, size_t max, size_t *total);
static bool tn_nodename_via(const tn_netmap_t *netmap, const char *name,
    tn_ip_t *ip);
static bool tn_nodename_ip(const tn_netmap_node_t *node, tn_ip_t *ip);


size_t
tn_nodename_resolve(const tn_netmap_t *netmap, const char *host,
    uint32_t turn, tn_ip_t *ips, size_t max, char *text)
{
    size_t             i, n, count, total;
    const char        *name;
    tn_netmap_node_t  *peer, *nodes[TN_IPC_MEMBERS_MAX];

    if (strncmp(host, TN_NODENAME_TAG, strlen(TN_NODENAME_TAG)) == 0) {
        count = tn_nodename_tagged(netmap, host, nodes, tn_nelems(nodes),
                                   &total);
        n = 0;

        for (i = 0; i < count && n < max; i++) {
            if (tn_nodename_ip(nodes[(i + turn) % count], &ips[n])) {
                n++;
            }
        }

        if (n == 0) {
            (void) snprintf(text, TN_IPC_TEXT, "no online peer has \"%s\"",
                            host);
        }

        return n;
    }

    /* a service is reached by an address that control gives its name to */

    name = host;

    if (strncmp(host, TN_NODENAME_SVC, strlen(TN_NODENAME_SVC)) == 0) {
        name += strlen(TN_NODENAME_SVC);
    }

    n = tn_netmap_resolve(netmap, name, strlen(name), ips, max);

    if (n == 0 && max != 0 && tn_nodename_via(netmap, name, ips)) {
        n = 1;
    }

    if (n == 0) {
        (void) snprintf(text, TN_IPC_TEXT, "no peer is called or routes "
                        "\"%s\"", host);
        return 0;
    }

    peer = tn_netmap_find_ip(netmap, &ips[0]);

    if (peer != NULL && peer->expired) {
        (void) snprintf(text, TN_IPC_TEXT, "the key of \"%s\" has expired",
                        host);
        return 0;
    }

    return n;
}


/* upstream: resolveViaDomain(); only where somebody routes to the site */
static bool
tn_nodename_via(const tn_netmap_t *netmap, const char *name, tn_ip_t *ip)
{
    bool         ours;
    size_t       i, len;
    const char  *domain;

    len = strcspn(name, ".");
    domain = name + len + (name[len] == '.');
    ours = domain[0] == '\0';

    for (i = 0; !ours && i < netmap->dns.ndomains; i++) {
        ours = tn_nodename_is_below(domain, netmap->dns.domains[i],
                                    strlen(netmap->dns.domains[i]));
    }

    return (ours || tn_nodename_is_below(domain, "ts.net", 6))
           && tn_via_parse(ip, name, len) == TN_OK
           && tn_netmap_find_route(netmap, ip) != NULL;
}


bool
tn_nodename_is_below(const char *name, const char *domain, size_t n)
{
    size_t  len;

    len = strlen(name);
    len -= len != 0 && name[len - 1] == '.';

    return len >= n && strncasecmp(name + len - n, domain, n) == 0
           && (len == n || name[len - n - 1] == '.');
}


void
tn_nodename_members(const tn_netmap_t *netmap, const char *host,
    tn_ipc_members_t *msg)
{
    char               text[TN_IPC_TEXT];
    size_t             i, n, len, total;
    const char        *name;
    tn_netmap_node_t  *nodes[TN_IPC_MEMBERS_MAX];

    tn_ipc_init(msg, TN_IPC_MEMBERS);

    if (strncmp(host, TN_NODENAME_TAG, strlen(TN_NODENAME_TAG)) != 0) {

        if (tn_nodename_resolve(netmap, host, 0, &msg->members[0].ip, 1,
                                text)
            == 0)
        {
            return;
        }

        (void) snprintf(msg->members[0].host, TN_IPC_HOST, "%s", host);
        msg->count = 1;
        msg->total = 1;

        return;
    }

    n = tn_nodename_tagged(netmap, host, nodes, tn_nelems(nodes), &total);

    for (i = 0; i < n; i++) {

        /* the short name, unless it is somebody else's */

        name = nodes[i]->label;

        if (tn_netmap_find_name(netmap, name, strlen(name)) != nodes[i]) {
            name = nodes[i]->name;
        }

        len = strlen(name);

        if (len > 0 && name[len - 1] == '.') {
            len--;
        }

        msg->members[i].id = nodes[i]->id;
        (void) tn_nodename_ip(nodes[i], &msg->members[i].ip);
        (void) snprintf(msg->members[i].host, TN_IPC_HOST, "%.*s", (int) len,
                        name);
    }

    msg->count = n;
    msg->total = total;
}


/* sorted by id, those of the lowest ids */
static size_t
tn_nodename_tagged(const tn_netmap_t *netmap, const char *tag,
    tn_netmap_node_t **nodes, size_t max, size_t *total)
{
    size_t             i, n, len;
    tn_ip_t            ip;
    tn_netmap_node_t  *node;

    n = 0;
    len = strlen(tag);
    *total = 0;

    for (node = tn_netmap_each(netmap, NULL);
         node != NULL;
         node = tn_netmap_each(netmap, node))
    {
        if (!tn_netmap_node_has_tag(node, tag, len)
            || node->online == TN_NO || node->expired
            || !tn_nodename_ip(node, &ip))
        {
            continue;
        }

        (*total)++;

        for (i = n; i > 0 && nodes[i - 1]->id > node->id; i--) {
            if (i < max) {
                nodes[i] = nodes[i - 1];
            }
        }

        if (i < max) {
            nodes[i] = node;
            n = tn_min(n + 1, max);
        }
    }

    return n;
}


static bool
tn_nodename_ip(const tn_netmap_node_t *node, tn_ip_t *ip)
{
    return tn_netmap_node_ip(node, true, ip)
           || tn_netmap_node_ip(node, false, ip);
}
