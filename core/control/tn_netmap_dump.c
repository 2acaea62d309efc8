
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A netmap back into the JSON of a MapResponse (tailcfg).  What parsing has
 * normalised is written in its normal form: applied to an empty netmap the
 * text makes an equal one.  Written by hand, peer by peer: a tree of ten
 * thousand peers would cost more than the netmap itself.
 */

#include "control/tn_netmap_dump.h"

#include "control/tn_netmap_int.h"

#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>


#define TN_DUMP_BUFFER_BYTES  4096


typedef struct {
    tn_netmap_sink_pt   sink;
    void               *data;
    tn_rc_t             rc;
    bool                first;          /* no comma before the next */
    size_t              len;
    char                buf[TN_DUMP_BUFFER_BYTES];
} tn_dump_t;


static void dump_node(tn_dump_t *d, const tn_netmap_node_t *node,
    uint32_t home, bool self);
static void dump_hostinfo(tn_dump_t *d, const tn_netmap_node_t *node);
static void dump_users(tn_dump_t *d, const tn_netmap_t *netmap);
static void dump_dns(tn_dump_t *d, const tn_netmap_dns_t *dns);
static void dump_resolvers(tn_dump_t *d, const char *name,
    const tn_netmap_resolver_t *resolvers, size_t n);
static void dump_derpmap(tn_dump_t *d, const tn_derpmap_t *map);
static void dump_filters(tn_dump_t *d, const tn_netmap_filters_t *filters);
static void dump_rule(tn_dump_t *d, const tn_rule_t *rule);
static void dump_rule_addrs(tn_dump_t *d, const char *name,
    const tn_rule_addrs_t *addrs);
static void dump_messages(tn_dump_t *d, const tn_netmap_t *netmap);
static void dump_caps(tn_dump_t *d, const char *name, const char *json);

static void dump_raw(tn_dump_t *d, const char *text, size_t len);
static void dump_flush(tn_dump_t *d);
static void dump_next(tn_dump_t *d, const char *name);
static void dump_open(tn_dump_t *d, const char *name, char bracket);
static void dump_close(tn_dump_t *d, char bracket);
static void dump_string(tn_dump_t *d, const char *name, const char *text);
static void dump_text(tn_dump_t *d, const char *name, const char *text);
static void dump_int(tn_dump_t *d, const char *name, int64_t value);
static void dump_flag(tn_dump_t *d, const char *name, bool value);
static void dump_tristate(tn_dump_t *d, const char *name,
    tn_tristate_e value);
static void dump_time(tn_dump_t *d, const char *name, int64_t when);
static void dump_key(tn_dump_t *d, const char *name, const char *prefix,
    const tn_key_t *key);
static void dump_ip(tn_dump_t *d, const char *name, const tn_ip_t *ip);
static void dump_prefixes(tn_dump_t *d, const char *name,
    const tn_prefix_t *prefixes, size_t n);
static void dump_texts(tn_dump_t *d, const char *name, char *const *texts,
    size_t n);


tn_rc_t
tn_netmap_dump(const tn_netmap_t *netmap, uint32_t home,
    tn_netmap_sink_pt sink, void *data)
{
    tn_dump_t          d;
    tn_netmap_node_t  *node;

    memset(&d, 0, sizeof(d));
    d.sink = sink;
    d.data = data;
    d.rc = TN_OK;
    d.first = true;

    dump_open(&d, NULL, '{');

    if (netmap->self != NULL) {
        dump_next(&d, "Node");
        dump_node(&d, netmap->self, home ? home : netmap->self->home_derp,
                  true);
    }

    dump_text(&d, "Domain", netmap->domain);

    if (netmap->derpmap != NULL) {
        dump_derpmap(&d, netmap->derpmap);
    }

    dump_dns(&d, &netmap->dns);

    if (netmap->lock_head[0] != '\0') {
        dump_open(&d, "TKAInfo", '{');
        dump_string(&d, "Head", netmap->lock_head);
        dump_close(&d, '}');
    }

    if (netmap->filtered) {
        dump_filters(&d, netmap->filters);
    }

    dump_messages(&d, netmap);
    dump_users(&d, netmap);

    dump_open(&d, "Peers", '[');

    for (node = tn_netmap_each(netmap, NULL);
         node != NULL && d.rc == TN_OK;
         node = tn_netmap_each(netmap, node))
    {
        dump_next(&d, NULL);
        dump_node(&d, node, node->home_derp, false);
    }

    dump_close(&d, ']');
    dump_close(&d, '}');
    dump_flush(&d);

    return d.rc;
}


static void
dump_node(tn_dump_t *d, const tn_netmap_node_t *node, uint32_t home,
    bool self)
{
    char    text[TN_ADDR_TEXT], *signature;
    size_t  i, size;

    d->first = true;
    dump_open(d, NULL, '{');

    dump_int(d, "ID", node->id);
    dump_text(d, "StableID", node->stable_id);
    dump_text(d, "Name", node->name);
    dump_int(d, "User", node->user);
    dump_int(d, "Sharer", node->sharer);
    dump_key(d, "Key", TN_KEY_NODE, &node->key);
    dump_key(d, "Machine", TN_KEY_MACHINE, &node->machine);
    dump_key(d, "DiscoKey", TN_KEY_DISCO, &node->disco);
    dump_time(d, "KeyExpiry", node->key_expiry);
    dump_time(d, "Created", node->created);
    dump_time(d, "LastSeen", node->last_seen);
    dump_tristate(d, "Online", node->online);
    dump_flag(d, "MachineAuthorized", node->machine_authorized);
    dump_flag(d, "Expired", node->expired && !node->lapsed);
    dump_flag(d, "IsJailed", node->jailed);
    dump_flag(d, "IsWireGuardOnly", node->wireguard_only);
    dump_flag(d, "UnsignedPeerAPIOnly", node->unsigned_peerapi_only);

    if (node->masq != NULL) {
        dump_ip(d, "SelfNodeV4MasqAddrForThisPeer", &node->masq[0]);
        dump_ip(d, "SelfNodeV6MasqAddrForThisPeer", &node->masq[1]);
    }

    dump_int(d, "Cap", node->cap_version);
    dump_int(d, "HomeDERP", home);

    dump_prefixes(d, "Addresses", node->addresses, node->naddresses);

    /* null would stand for the addresses, so an empty list is written too */
    dump_open(d, "AllowedIPs", '[');

    for (i = 0; i < node->nallowed_ips; i++) {
        dump_string(d, NULL, tn_prefix_text(&node->allowed_ips[i], text));
    }

    dump_close(d, ']');

    dump_prefixes(d, "PrimaryRoutes", node->primary_routes,
                  node->nprimary_routes);

    if (node->nendpoints != 0) {
        dump_open(d, "Endpoints", '[');

        for (i = 0; i < node->nendpoints; i++) {
            dump_string(d, NULL, tn_addr_text(&node->endpoints[i], text));
        }

        dump_close(d, ']');
    }

    dump_texts(d, "Tags", node->tags, node->ntags);

    if (node->ncaps != 0) {
        dump_open(d, "CapMap", '{');

        for (i = 0; i < node->ncaps; i++) {
            dump_caps(d, node->caps[i].name, node->caps[i].json);
        }

        dump_close(d, '}');
    }

    if (node->key_signature_len != 0) {
        size = sodium_base64_encoded_len(node->key_signature_len,
                                         sodium_base64_VARIANT_ORIGINAL);
        signature = malloc(size);

        if (signature == NULL) {
            d->rc = TN_NOMEM;

        } else {
            sodium_bin2base64(signature, size, node->key_signature,
                              node->key_signature_len,
                              sodium_base64_VARIANT_ORIGINAL);
            dump_string(d, "KeySignature", signature);
            free(signature);
        }
    }

    /* control keeps to itself what it knows of us; we know it anyway */

    if (!self || node->hostname[0] != '\0') {
        dump_hostinfo(d, node);
    }

    dump_close(d, '}');
}


static void
dump_hostinfo(tn_dump_t *d, const tn_netmap_node_t *node)
{
    size_t  i;

    const struct {
        const char  *proto;
        unsigned     port;
    }  services[] = {
        { "peerapi4", node->peerapi4 },
        { "peerapi6", node->peerapi6 },
        { "peerapi-dns-proxy", node->peerapi_dns }
    };

    dump_open(d, "Hostinfo", '{');
    dump_text(d, "Hostname", node->hostname);
    dump_text(d, "OS", node->os);
    dump_text(d, "App", node->app);

    if (node->peerapi4 != 0 || node->peerapi6 != 0 || node->peerapi_dns) {
        dump_open(d, "Services", '[');

        for (i = 0; i < tn_nelems(services); i++) {
            if (services[i].port != 0) {
                dump_open(d, NULL, '{');
                dump_string(d, "Proto", services[i].proto);
                dump_int(d, "Port", services[i].port);
                dump_close(d, '}');
            }
        }

        dump_close(d, ']');
    }

    dump_close(d, '}');
}


static void
dump_users(tn_dump_t *d, const tn_netmap_t *netmap)
{
    tn_hash_node_t          *link;
    const tn_netmap_user_t  *user;

    if (netmap->users.count == 0) {
        return;
    }

    dump_open(d, "UserProfiles", '[');

    for (link = tn_hash_next(&netmap->users, NULL);
         link != NULL && d->rc == TN_OK;
         link = tn_hash_next(&netmap->users, link))
    {
        user = tn_container(link, tn_netmap_user_t, by_id);

        dump_open(d, NULL, '{');
        dump_int(d, "ID", user->id);
        dump_text(d, "LoginName", user->login);
        dump_text(d, "DisplayName", user->display);
        dump_text(d, "ProfilePicURL", user->picture);
        dump_close(d, '}');
    }

    dump_close(d, ']');
}


static void
dump_dns(tn_dump_t *d, const tn_netmap_dns_t *dns)
{
    char    text[TN_ADDR_TEXT];
    size_t  i;

    dump_open(d, "DNSConfig", '{');
    dump_flag(d, "Proxied", dns->proxied);
    dump_texts(d, "Domains", dns->domains, dns->ndomains);
    dump_texts(d, "CertDomains", dns->cert_domains, dns->ncert_domains);
    dump_resolvers(d, "Resolvers", dns->resolvers, dns->nresolvers);
    dump_resolvers(d, "FallbackResolvers", dns->fallback, dns->nfallback);

    if (dns->nroutes != 0) {
        dump_open(d, "Routes", '{');

        for (i = 0; i < dns->nroutes; i++) {
            dump_resolvers(d, dns->routes[i].suffix, dns->routes[i].resolvers,
                           dns->routes[i].nresolvers);
        }

        dump_close(d, '}');
    }

    if (dns->nrecords != 0) {
        dump_open(d, "ExtraRecords", '[');

        for (i = 0; i < dns->nrecords; i++) {
            dump_open(d, NULL, '{');
            dump_string(d, "Name", dns->records[i].name);
            dump_string(d, "Value", tn_ip_text(&dns->records[i].ip, text));
            dump_close(d, '}');
        }

        dump_close(d, ']');
    }

    dump_close(d, '}');
}


static void
dump_resolvers(tn_dump_t *d, const char *name,
    const tn_netmap_resolver_t *resolvers, size_t n)
{
    char    text[TN_ADDR_TEXT];
    size_t  i, k;

    dump_open(d, name, '[');

    for (i = 0; i < n; i++) {
        dump_open(d, NULL, '{');
        dump_string(d, "Addr", resolvers[i].addr);

        if (resolvers[i].nbootstrap != 0) {
            dump_open(d, "BootstrapResolution", '[');

            for (k = 0; k < resolvers[i].nbootstrap; k++) {
                dump_string(d, NULL, tn_ip_text(&resolvers[i].bootstrap[k],
                                                text));
            }

            dump_close(d, ']');
        }

        dump_close(d, '}');
    }

    dump_close(d, ']');
}


static void
dump_derpmap(tn_dump_t *d, const tn_derpmap_t *map)
{
    char                        name[32], number[64];
    uint32_t                    i, k;
    const tn_derpmap_node_t    *node;
    const tn_derpmap_region_t  *region;

    dump_open(d, "DERPMap", '{');

    if (map->nscores != 0) {
        dump_open(d, "HomeParams", '{');
        dump_open(d, "RegionScore", '{');

        for (i = 0; i < map->nscores; i++) {
            (void) snprintf(name, sizeof(name), "%u", map->scores[i].region);
            (void) snprintf(number, sizeof(number), "%.17g",
                            map->scores[i].factor);
            dump_next(d, name);
            dump_raw(d, number, strlen(number));
        }

        dump_close(d, '}');
        dump_close(d, '}');
    }

    dump_open(d, "Regions", '{');

    for (i = 0; i < map->nregions; i++) {
        region = &map->regions[i];

        (void) snprintf(name, sizeof(name), "%u", region->id);
        dump_open(d, name, '{');
        dump_int(d, "RegionID", region->id);
        dump_text(d, "RegionCode", region->code);
        dump_text(d, "RegionName", region->name);
        dump_flag(d, "Avoid", region->avoid);
        dump_flag(d, "NoMeasureNoHome", region->no_measure_no_home);
        dump_open(d, "Nodes", '[');

        for (k = 0; k < region->nnodes; k++) {
            node = &region->nodes[k];

            dump_open(d, NULL, '{');
            dump_text(d, "Name", node->name);
            dump_int(d, "RegionID", region->id);
            dump_text(d, "HostName", node->hostname);
            dump_text(d, "CertName", node->cert_name);
            dump_text(d, "IPv4", node->ipv4);
            dump_text(d, "IPv6", node->ipv6);
            dump_text(d, "STUNTestIP", node->stun_test_ip);
            dump_int(d, "STUNPort", node->stun_port);
            dump_int(d, "DERPPort", node->derp_port);
            dump_flag(d, "STUNOnly", node->stun_only);
            dump_flag(d, "InsecureForTests", node->insecure_for_tests);
            dump_flag(d, "CanPort80", node->can_port80);
            dump_close(d, '}');
        }

        dump_close(d, ']');
        dump_close(d, '}');
    }

    dump_close(d, '}');
    dump_close(d, '}');
}


static void
dump_filters(tn_dump_t *d, const tn_netmap_filters_t *filters)
{
    size_t                     i, k;
    const tn_netmap_filter_t  *filter;

    dump_open(d, "PacketFilters", '{');

    for (i = 0; i < filters->n; i++) {
        filter = &filters->filter[i];

        /* names are kept as they stood in the JSON, with its escapes */

        dump_next(d, NULL);
        dump_raw(d, "\"", 1);
        dump_raw(d, filter->name, strlen(filter->name));
        dump_raw(d, "\":", 2);
        d->first = true;
        dump_open(d, NULL, '[');

        for (k = 0; k < filter->rules.n && d->rc == TN_OK; k++) {
            dump_rule(d, filter->rules.rule[k]);
        }

        dump_close(d, ']');
    }

    dump_close(d, '}');
}


static void
dump_rule(tn_dump_t *d, const tn_rule_t *rule)
{
    int                     proto;
    size_t                  i, k;
    const tn_rule_dst_t    *dst;
    const tn_rule_grant_t  *grant;

    dump_open(d, NULL, '{');
    dump_open(d, "SrcIPs", '[');

    for (i = 0; i < rule->nsrcs; i++) {
        dump_rule_addrs(d, NULL, &rule->srcs[i]);
    }

    dump_close(d, ']');
    dump_open(d, "DstPorts", '[');

    for (i = 0; i < rule->ndsts; i++) {
        dst = &rule->dsts[i];

        dump_open(d, NULL, '{');
        dump_rule_addrs(d, "IP", &dst->addrs);
        dump_open(d, "Ports", '{');
        dump_int(d, "First", dst->first);
        dump_int(d, "Last", dst->last);
        dump_close(d, '}');
        dump_close(d, '}');
    }

    dump_close(d, ']');

    if (rule->protos_given) {
        dump_open(d, "IPProto", '[');

        for (proto = 0, k = 0; proto < 256; proto++) {
            if (tn_rule_has_proto(rule, (uint8_t) proto)) {
                dump_int(d, NULL, proto);
                k++;
            }
        }

        if (k == 0) {
            /* a list without a usable number matches nothing */
            dump_int(d, NULL, 256);
        }

        dump_close(d, ']');
    }

    if (rule->ngrants != 0) {
        dump_open(d, "CapGrant", '[');

        for (i = 0; i < rule->ngrants; i++) {
            grant = &rule->grants[i];

            dump_open(d, NULL, '{');
            dump_prefixes(d, "Dsts", grant->dsts, grant->ndsts);
            dump_open(d, "CapMap", '{');

            for (k = 0; k < grant->ncaps; k++) {
                dump_caps(d, grant->caps[k].name, grant->caps[k].json);
            }

            dump_close(d, '}');
            dump_close(d, '}');
        }

        dump_close(d, ']');
    }

    dump_close(d, '}');
}


static void
dump_rule_addrs(tn_dump_t *d, const char *name, const tn_rule_addrs_t *addrs)
{
    char  lo[TN_ADDR_TEXT], hi[TN_ADDR_TEXT], text[TN_RULE_CAP_LEN_MAX + 5];

    switch (addrs->kind) {

    case TN_RULE_ANY:
        dump_string(d, name, "*");
        break;

    case TN_RULE_CAP:
        (void) snprintf(text, sizeof(text), "cap:%s", addrs->cap);
        dump_string(d, name, text);
        break;

    default:
        (void) snprintf(text, sizeof(text), "%s-%s",
                        tn_ip_text(&addrs->lo, lo),
                        tn_ip_text(&addrs->hi, hi));
        dump_string(d, name, text);
        break;
    }
}


static void
dump_messages(tn_dump_t *d, const tn_netmap_t *netmap)
{
    size_t                      i;
    const tn_netmap_message_t  *m;

    dump_open(d, "Health", '[');

    for (i = 0; i < netmap->nmessages; i++) {
        if (netmap->messages[i].id[0] == '\0') {
            dump_string(d, NULL, netmap->messages[i].text);
        }
    }

    dump_close(d, ']');
    dump_open(d, "DisplayMessages", '{');

    for (i = 0; i < netmap->nmessages; i++) {
        m = &netmap->messages[i];

        if (m->id[0] != '\0') {
            dump_open(d, m->id, '{');
            dump_text(d, "Title", m->title);
            dump_text(d, "Text", m->text);
            dump_text(d, "Severity", m->severity);
            dump_close(d, '}');
        }
    }

    dump_close(d, '}');
}


/* the values are JSON already */
static void
dump_caps(tn_dump_t *d, const char *name, const char *json)
{
    dump_next(d, name);

    if (json != NULL) {
        dump_raw(d, json, strlen(json));

    } else {
        dump_raw(d, "[]", 2);
    }
}


static void
dump_raw(tn_dump_t *d, const char *text, size_t len)
{
    size_t  n;

    while (len != 0 && d->rc == TN_OK) {
        n = tn_min(len, sizeof(d->buf) - d->len);

        memcpy(d->buf + d->len, text, n);
        d->len += n;
        text += n;
        len -= n;

        if (d->len == sizeof(d->buf)) {
            dump_flush(d);
        }
    }
}


static void
dump_flush(tn_dump_t *d)
{
    if (d->rc == TN_OK && d->len != 0) {
        d->rc = d->sink(d->data, d->buf, d->len);
    }

    d->len = 0;
}


/* before a value: the comma and, in an object, its name */
static void
dump_next(tn_dump_t *d, const char *name)
{
    if (!d->first) {
        dump_raw(d, ",", 1);
    }

    d->first = true;

    if (name != NULL) {
        dump_string(d, NULL, name);
        dump_raw(d, ":", 1);
    }

    d->first = false;
}


static void
dump_open(tn_dump_t *d, const char *name, char bracket)
{
    dump_next(d, name);
    dump_raw(d, &bracket, 1);
    d->first = true;
}


static void
dump_close(tn_dump_t *d, char bracket)
{
    dump_raw(d, &bracket, 1);
    d->first = false;
}


static void
dump_string(tn_dump_t *d, const char *name, const char *text)
{
    char         hex[8];
    const char  *p;

    dump_next(d, name);
    dump_raw(d, "\"", 1);

    for (p = text; *p != '\0'; p++) {

        if (*p != '"' && *p != '\\' && (unsigned char) *p >= 0x20) {
            continue;
        }

        (void) snprintf(hex, sizeof(hex), "\\u%04x", (unsigned char) *p);

        dump_raw(d, text, (size_t) (p - text));
        dump_raw(d, hex, 6);
        text = p + 1;
    }

    dump_raw(d, text, (size_t) (p - text));
    dump_raw(d, "\"", 1);
}


/* nothing for an empty one */
static void
dump_text(tn_dump_t *d, const char *name, const char *text)
{
    if (*text != '\0') {
        dump_string(d, name, text);
    }
}


/* in an object nothing for a zero, which is what absence means */
static void
dump_int(tn_dump_t *d, const char *name, int64_t value)
{
    char  text[32];

    if (value == 0 && name != NULL) {
        return;
    }

    (void) snprintf(text, sizeof(text), "%lld", (long long) value);

    dump_next(d, name);
    dump_raw(d, text, strlen(text));
}


static void
dump_flag(tn_dump_t *d, const char *name, bool value)
{
    if (value) {
        dump_next(d, name);
        dump_raw(d, "true", 4);
    }
}


static void
dump_tristate(tn_dump_t *d, const char *name, tn_tristate_e value)
{
    if (value == TN_NO) {
        dump_next(d, name);
        dump_raw(d, "false", 5);
    }

    dump_flag(d, name, value == TN_YES);
}


static void
dump_time(tn_dump_t *d, const char *name, int64_t when)
{
    char       text[32];
    time_t     t;
    struct tm  tm;

    t = (time_t) when;

    if (when != 0 && gmtime_r(&t, &tm) != NULL
        && strftime(text, sizeof(text), "%Y-%m-%dT%H:%M:%SZ", &tm) != 0)
    {
        dump_string(d, name, text);
    }
}


static void
dump_key(tn_dump_t *d, const char *name, const char *prefix,
    const tn_key_t *key)
{
    char  text[TN_KEY_TEXT];

    if (!tn_key_is_zero(key)) {
        dump_string(d, name, tn_key_text(key, prefix, text));
    }
}


static void
dump_ip(tn_dump_t *d, const char *name, const tn_ip_t *ip)
{
    char  text[TN_ADDR_TEXT];

    if (!tn_ip_is_none(ip)) {
        dump_string(d, name, tn_ip_text(ip, text));
    }
}


static void
dump_prefixes(tn_dump_t *d, const char *name, const tn_prefix_t *prefixes,
    size_t n)
{
    char    text[TN_ADDR_TEXT];
    size_t  i;

    if (n == 0) {
        return;
    }

    dump_open(d, name, '[');

    for (i = 0; i < n; i++) {
        dump_string(d, NULL, tn_prefix_text(&prefixes[i], text));
    }

    dump_close(d, ']');
}


static void
dump_texts(tn_dump_t *d, const char *name, char *const *texts, size_t n)
{
    size_t  i;

    if (n == 0) {
        return;
    }

    dump_open(d, name, '[');

    for (i = 0; i < n; i++) {
        dump_string(d, NULL, texts[i]);
    }

    dump_close(d, ']');
}
