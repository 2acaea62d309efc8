
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The parts of a netmap that are neither nodes nor filters: DNS, the DERP
 * map, users, health and display messages.  Each is built aside from a
 * message and the old part, which stays as it was.
 */

#include "control/tn_netmap_int.h"

#include <ctype.h>
#include <stdlib.h>


static tn_rc_t tn_netmap_resolvers_parse(tn_netmap_resolver_t **resolvers,
    size_t *n, const json_t *list);
static void tn_netmap_resolvers_free(tn_netmap_resolver_t *resolvers,
    size_t n);
static bool tn_netmap_resolvers_equal(const tn_netmap_resolver_t *a,
    size_t na, const tn_netmap_resolver_t *b, size_t nb);
static tn_rc_t tn_netmap_routes_parse(tn_netmap_dns_t *dns,
    const json_t *routes);
static tn_rc_t tn_netmap_records_parse(tn_netmap_dns_t *dns,
    const json_t *list);
static char *tn_netmap_dns_name(const char *text);
static tn_rc_t tn_netmap_derp_region(tn_derpmap_t *map, uint32_t id,
    const json_t *o);
static tn_rc_t tn_netmap_derp_string(char **field, const json_t *o,
    const char *name);
static uint16_t tn_netmap_port(int64_t n);
static tn_rc_t tn_netmap_message_add(tn_netmap_messages_t *messages,
    const char *id, const char *title, const char *text,
    const char *severity);
static void tn_netmap_message_remove(tn_netmap_messages_t *messages,
    size_t i);
static bool tn_netmap_messages_equal(const tn_netmap_messages_t *a,
    const tn_netmap_messages_t *b);
static bool tn_netmap_message_equal(const tn_netmap_message_t *a,
    const tn_netmap_message_t *b);


tn_rc_t
tn_netmap_dns_parse(tn_netmap_dns_t *dns, tn_json_span_t span)
{
    json_t   *o;
    tn_rc_t   rc;

    memset(dns, 0, sizeof(tn_netmap_dns_t));

    rc = tn_json_load(span, &o);
    if (rc != TN_OK) {
        return rc;
    }

    if (!json_is_object(o)) {
        rc = TN_REFUSED;
        goto done;
    }

    dns->proxied = tn_json_bool(o, "Proxied");

    rc = tn_netmap_texts_parse(&dns->domains, &dns->ndomains,
                               json_object_get(o, "Domains"));

    if (rc == TN_OK) {
        rc = tn_netmap_texts_parse(&dns->cert_domains, &dns->ncert_domains,
                                   json_object_get(o, "CertDomains"));
    }

    if (rc == TN_OK) {
        rc = tn_netmap_resolvers_parse(&dns->resolvers, &dns->nresolvers,
                                       json_object_get(o, "Resolvers"));
    }

    if (rc == TN_OK) {
        rc = tn_netmap_resolvers_parse(&dns->fallback, &dns->nfallback,
                                    json_object_get(o, "FallbackResolvers"));
    }

    if (rc == TN_OK) {
        rc = tn_netmap_routes_parse(dns, json_object_get(o, "Routes"));
    }

    if (rc == TN_OK) {
        rc = tn_netmap_records_parse(dns,
                                     json_object_get(o, "ExtraRecords"));
    }

done:

    json_decref(o);

    if (rc != TN_OK) {
        tn_netmap_dns_free(dns);
    }

    return rc;
}


void
tn_netmap_dns_free(tn_netmap_dns_t *dns)
{
    size_t  i;

    tn_netmap_texts_free(dns->domains, dns->ndomains);
    tn_netmap_texts_free(dns->cert_domains, dns->ncert_domains);
    tn_netmap_resolvers_free(dns->resolvers, dns->nresolvers);
    tn_netmap_resolvers_free(dns->fallback, dns->nfallback);

    for (i = 0; i < dns->nroutes; i++) {
        free(dns->routes[i].suffix);
        tn_netmap_resolvers_free(dns->routes[i].resolvers,
                                 dns->routes[i].nresolvers);
    }

    for (i = 0; i < dns->nrecords; i++) {
        free(dns->records[i].name);
    }

    free(dns->routes);
    free(dns->records);

    memset(dns, 0, sizeof(tn_netmap_dns_t));
}


bool
tn_netmap_dns_equal(const tn_netmap_dns_t *a, const tn_netmap_dns_t *b)
{
    size_t                    i;
    const tn_netmap_route_t  *r, *s;

    if (a->proxied != b->proxied
        || a->nroutes != b->nroutes
        || a->nrecords != b->nrecords
        || !tn_netmap_texts_equal(a->domains, a->ndomains, b->domains,
                                  b->ndomains)
        || !tn_netmap_texts_equal(a->cert_domains, a->ncert_domains,
                                  b->cert_domains, b->ncert_domains)
        || !tn_netmap_resolvers_equal(a->resolvers, a->nresolvers,
                                      b->resolvers, b->nresolvers)
        || !tn_netmap_resolvers_equal(a->fallback, a->nfallback,
                                      b->fallback, b->nfallback))
    {
        return false;
    }

    /* Go sorts the keys of what it writes, so equal maps come in one order */

    for (i = 0; i < a->nroutes; i++) {
        r = &a->routes[i];
        s = &b->routes[i];

        if (strcmp(r->suffix, s->suffix) != 0
            || !tn_netmap_resolvers_equal(r->resolvers, r->nresolvers,
                                          s->resolvers, s->nresolvers))
        {
            return false;
        }
    }

    for (i = 0; i < a->nrecords; i++) {
        if (strcmp(a->records[i].name, b->records[i].name) != 0
            || !tn_ip_equal(&a->records[i].ip, &b->records[i].ip))
        {
            return false;
        }
    }

    return true;
}


static tn_rc_t
tn_netmap_resolvers_parse(tn_netmap_resolver_t **resolvers, size_t *n,
    const json_t *list)
{
    size_t                 i, j, k, max;
    json_t                *value, *ips, *ip;
    const char            *text;
    tn_netmap_resolver_t  *p;

    *resolvers = NULL;
    *n = 0;

    max = tn_min(json_array_size(list), (size_t) 256);

    if (max == 0) {
        return TN_OK;
    }

    p = calloc(max, sizeof(tn_netmap_resolver_t));
    if (p == NULL) {
        return TN_NOMEM;
    }

    *resolvers = p;

    json_array_foreach(list, i, value) {
        text = tn_json_text(value, "Addr");

        if (*n == max || *text == '\0' || strlen(text) > TN_NETMAP_TEXT_MAX) {
            continue;
        }

        p[*n].addr = strdup(text);
        if (p[*n].addr == NULL) {
            return TN_NOMEM;
        }

        (*n)++;

        ips = json_object_get(value, "BootstrapResolution");
        k = tn_min(json_array_size(ips), (size_t) 16);

        if (k == 0) {
            continue;
        }

        p[*n - 1].bootstrap = calloc(k, sizeof(tn_ip_t));
        if (p[*n - 1].bootstrap == NULL) {
            return TN_NOMEM;
        }

        json_array_foreach(ips, j, ip) {
            text = json_string_value(ip);

            if (text != NULL && p[*n - 1].nbootstrap < k
                && tn_ip_parse(&p[*n - 1].bootstrap[p[*n - 1].nbootstrap],
                               text, strlen(text)) == TN_OK)
            {
                p[*n - 1].nbootstrap++;
            }
        }
    }

    return TN_OK;
}


static void
tn_netmap_resolvers_free(tn_netmap_resolver_t *resolvers, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        free(resolvers[i].addr);
        free(resolvers[i].bootstrap);
    }

    free(resolvers);
}


static bool
tn_netmap_resolvers_equal(const tn_netmap_resolver_t *a, size_t na,
    const tn_netmap_resolver_t *b, size_t nb)
{
    size_t  i;

    if (na != nb) {
        return false;
    }

    for (i = 0; i < na; i++) {
        if (strcmp(a[i].addr, b[i].addr) != 0
            || a[i].nbootstrap != b[i].nbootstrap
            || (a[i].nbootstrap != 0
                && memcmp(a[i].bootstrap, b[i].bootstrap,
                          a[i].nbootstrap * sizeof(tn_ip_t)) != 0))
        {
            return false;
        }
    }

    return true;
}


static tn_rc_t
tn_netmap_routes_parse(tn_netmap_dns_t *dns, const json_t *routes)
{
    size_t               max;
    json_t              *value;
    tn_rc_t              rc;
    const char          *name;
    tn_netmap_route_t   *route;

    max = tn_min(json_object_size(routes), (size_t) TN_NETMAP_LIST_MAX);

    if (max == 0) {
        return TN_OK;
    }

    dns->routes = calloc(max, sizeof(tn_netmap_route_t));
    if (dns->routes == NULL) {
        return TN_NOMEM;
    }

    json_object_foreach((json_t *) routes, name, value) {

        if (dns->nroutes == max || strlen(name) > 254) {
            continue;
        }

        route = &dns->routes[dns->nroutes];

        route->suffix = tn_netmap_dns_name(name);
        if (route->suffix == NULL) {
            return TN_NOMEM;
        }

        dns->nroutes++;

        rc = tn_netmap_resolvers_parse(&route->resolvers, &route->nresolvers,
                                       value);
        if (rc != TN_OK) {
            return rc;
        }
    }

    return TN_OK;
}


/* only addresses: upstream knows no other type of extra record either */
static tn_rc_t
tn_netmap_records_parse(tn_netmap_dns_t *dns, const json_t *list)
{
    bool                  v4;
    size_t                i, max;
    json_t               *value;
    tn_ip_t               ip;
    const char           *name, *type, *text;
    tn_netmap_record_t   *record;

    max = tn_min(json_array_size(list), (size_t) TN_NETMAP_RECORDS_MAX);

    if (max == 0) {
        return TN_OK;
    }

    dns->records = calloc(max, sizeof(tn_netmap_record_t));
    if (dns->records == NULL) {
        return TN_NOMEM;
    }

    json_array_foreach(list, i, value) {
        name = tn_json_text(value, "Name");
        type = tn_json_text(value, "Type");
        text = tn_json_text(value, "Value");

        if (dns->nrecords == max || *name == '\0' || strlen(name) > 254
            || tn_ip_parse(&ip, text, strlen(text)) != TN_OK)
        {
            continue;
        }

        v4 = tn_ip_is_v4(&ip);

        if (*type != '\0' && strcmp(type, v4 ? "A" : "AAAA") != 0) {
            continue;
        }

        record = &dns->records[dns->nrecords];

        record->ip = ip;
        record->name = tn_netmap_dns_name(name);
        if (record->name == NULL) {
            return TN_NOMEM;
        }

        dns->nrecords++;
    }

    return TN_OK;
}


/* lower case, without a last dot */
static char *
tn_netmap_dns_name(const char *text)
{
    char    *name;
    size_t   i, len;

    name = strdup(text);
    if (name == NULL) {
        return NULL;
    }

    len = strlen(name);

    if (len != 0 && name[len - 1] == '.') {
        name[--len] = '\0';
    }

    for (i = 0; i < len; i++) {
        name[i] = (char) tolower((unsigned char) name[i]);
    }

    return name;
}


/*
 * Regions absent: those of the old map stay.  HomeParams and in it
 * RegionScore are kept in the same way, each on its own.
 */
tn_rc_t
tn_netmap_derp_parse(tn_derpmap_t **mapp, const tn_derpmap_t *old,
    tn_json_span_t span)
{
    size_t                i;
    json_t               *o, *regions, *scores, *value;
    tn_rc_t               rc;
    int64_t               id;
    const char           *name;
    tn_derpmap_t         *map;
    tn_json_span_t        key;

    *mapp = NULL;
    map = NULL;

    rc = tn_json_load(span, &o);
    if (rc != TN_OK) {
        return rc;
    }

    if (!json_is_object(o)) {
        rc = TN_REFUSED;
        goto done;
    }

    regions = json_object_get(o, "Regions");

    map = old != NULL && !json_is_object(regions) ? tn_derpmap_copy(old)
                                                  : tn_derpmap_create();
    if (map == NULL) {
        rc = TN_NOMEM;
        goto done;
    }

    json_object_foreach(regions, name, value) {
        key.data = name;
        key.len = strlen(name);

        /* headscale was seen to send regions that are null */

        if (!json_is_object(value) || !tn_json_key_int(key, &id)
            || id <= 0 || id > INT32_MAX)
        {
            continue;
        }

        rc = tn_netmap_derp_region(map, (uint32_t) id, value);
        if (rc != TN_OK) {
            goto done;
        }
    }

    scores = json_object_get(json_object_get(o, "HomeParams"), "RegionScore");

    if (json_is_object(scores)) {
        free(map->scores);
        map->scores = NULL;
        map->nscores = 0;

        json_object_foreach(scores, name, value) {
            key.data = name;
            key.len = strlen(name);

            if (json_is_number(value) && tn_json_key_int(key, &id)
                && id > 0 && id <= INT32_MAX)
            {
                (void) tn_derpmap_set_score(map, (uint32_t) id,
                                            json_number_value(value));
            }
        }

    } else if (old != NULL && json_is_object(regions)) {

        for (i = 0; i < old->nscores; i++) {
            (void) tn_derpmap_set_score(map, old->scores[i].region,
                                        old->scores[i].factor);
        }
    }

    rc = TN_OK;

done:

    json_decref(o);

    if (rc != TN_OK) {
        tn_derpmap_free(map);
        return rc;
    }

    *mapp = map;

    return TN_OK;
}


/* a region or node over a limit of the DERP map is left out */
static tn_rc_t
tn_netmap_derp_region(tn_derpmap_t *map, uint32_t id, const json_t *o)
{
    size_t                i;
    json_t               *value;
    int64_t               port;
    tn_derpmap_node_t    *node;
    tn_derpmap_region_t  *region;

    region = tn_derpmap_add_region(map, id);
    if (region == NULL) {
        return map->nregions < TN_DERPMAP_REGIONS_MAX ? TN_NOMEM : TN_OK;
    }

    region->avoid = tn_json_bool(o, "Avoid");
    region->no_measure_no_home = tn_json_bool(o, "NoMeasureNoHome");

    if (tn_netmap_derp_string(&region->code, o, "RegionCode") != TN_OK
        || tn_netmap_derp_string(&region->name, o, "RegionName") != TN_OK)
    {
        return TN_NOMEM;
    }

    json_array_foreach(json_object_get(o, "Nodes"), i, value) {

        if (!json_is_object(value)) {
            continue;
        }

        node = tn_derpmap_add_node(region);
        if (node == NULL) {
            return region->nnodes < TN_DERPMAP_NODES_MAX ? TN_NOMEM : TN_OK;
        }

        node->derp_port = tn_netmap_port(tn_json_int(value, "DERPPort"));

        port = tn_json_int(value, "STUNPort");
        node->stun_port = port < 0 ? -1 : tn_netmap_port(port);

        node->stun_only = tn_json_bool(value, "STUNOnly");
        node->can_port80 = tn_json_bool(value, "CanPort80");
        node->insecure_for_tests = tn_json_bool(value, "InsecureForTests");

        if (tn_netmap_derp_string(&node->name, value, "Name") != TN_OK
            || tn_netmap_derp_string(&node->hostname, value, "HostName")
               != TN_OK
            || tn_netmap_derp_string(&node->cert_name, value, "CertName")
               != TN_OK
            || tn_netmap_derp_string(&node->ipv4, value, "IPv4") != TN_OK
            || tn_netmap_derp_string(&node->ipv6, value, "IPv6") != TN_OK
            || tn_netmap_derp_string(&node->stun_test_ip, value,
                                     "STUNTestIP") != TN_OK)
        {
            return TN_NOMEM;
        }
    }

    return TN_OK;
}


/* one that the DERP map does not take stays empty */
static tn_rc_t
tn_netmap_derp_string(char **field, const json_t *o, const char *name)
{
    const char  *text;

    text = tn_json_text(o, name);

    return tn_derpmap_set_string(field, text, strlen(text)) == TN_NOMEM
           ? TN_NOMEM : TN_OK;
}


static uint16_t
tn_netmap_port(int64_t n)
{
    return n > 0 && n <= 65535 ? (uint16_t) n : 0;
}


tn_rc_t
tn_netmap_user_parse(tn_netmap_user_t **userp, tn_json_span_t span)
{
    json_t            *o;
    tn_rc_t            rc;
    tn_netmap_user_t  *user;

    *userp = NULL;

    rc = tn_json_load(span, &o);
    if (rc != TN_OK) {
        return rc;
    }

    user = calloc(1, sizeof(tn_netmap_user_t));
    if (user == NULL) {
        rc = TN_NOMEM;
        goto done;
    }

    user->id = tn_json_int(o, "ID");

    user->login = tn_json_copy(tn_json_text(o, "LoginName"),
                               TN_NETMAP_TEXT_MAX);
    user->display = tn_json_copy(tn_json_text(o, "DisplayName"),
                                 TN_NETMAP_TEXT_MAX);
    user->picture = tn_json_copy(tn_json_text(o, "ProfilePicURL"),
                                 TN_NETMAP_TEXT_MAX);

    if (user->login == NULL || user->display == NULL
        || user->picture == NULL)
    {
        rc = TN_NOMEM;

    } else if (user->id == 0) {
        rc = TN_REFUSED;
    }

done:

    json_decref(o);

    if (rc != TN_OK) {
        tn_netmap_user_free(user);
        return rc;
    }

    *userp = user;

    return TN_OK;
}


void
tn_netmap_user_free(tn_netmap_user_t *user)
{
    if (user == NULL) {
        return;
    }

    free(user->login);
    free(user->display);
    free(user->picture);
    free(user);
}


/*
 * Health: the list replaces the lines without an id, an empty list clears
 * them.  DisplayMessages: a patch by id, null deletes, "*" with null clears
 * all first (tailcfg.MapResponse).
 */
tn_rc_t
tn_netmap_messages_parse(tn_netmap_messages_t *messages,
    const tn_netmap_messages_t *old, tn_json_span_t health,
    tn_json_span_t display, bool *changed)
{
    size_t                      i;
    json_t                     *o, *value;
    tn_rc_t                     rc;
    const char                 *name;
    const tn_netmap_message_t  *m;

    messages->message = NULL;
    messages->n = 0;
    *changed = false;
    o = NULL;

    for (i = 0; i < old->n; i++) {
        m = &old->message[i];

        rc = tn_netmap_message_add(messages, m->id, m->title, m->text,
                                   m->severity);
        if (rc != TN_OK) {
            goto failed;
        }
    }

    if (tn_json_span_given(health)) {
        rc = tn_json_load(health, &o);
        if (rc == TN_MALFORMED || rc == TN_NOMEM) {
            goto failed;
        }

        if (rc == TN_OK && json_is_array(o)) {

            for (i = messages->n; i-- != 0; /* void */ ) {
                if (messages->message[i].id[0] == '\0') {
                    tn_netmap_message_remove(messages, i);
                }
            }

            json_array_foreach(o, i, value) {
                if (json_is_string(value)) {
                    rc = tn_netmap_message_add(messages, "", "",
                                               json_string_value(value), "");
                    if (rc != TN_OK) {
                        goto failed;
                    }
                }
            }
        }

        json_decref(o);
        o = NULL;
    }

    if (tn_json_span_given(display)) {
        rc = tn_json_load(display, &o);
        if (rc == TN_MALFORMED || rc == TN_NOMEM) {
            goto failed;
        }

        if (rc == TN_OK && json_is_null(json_object_get(o, "*"))) {

            for (i = messages->n; i-- != 0; /* void */ ) {
                if (messages->message[i].id[0] != '\0') {
                    tn_netmap_message_remove(messages, i);
                }
            }
        }

        json_object_foreach(o, name, value) {

            if (*name == '\0' || strcmp(name, "*") == 0) {
                continue;
            }

            for (i = messages->n; i-- != 0; /* void */ ) {
                if (strcmp(messages->message[i].id, name) == 0) {
                    tn_netmap_message_remove(messages, i);
                }
            }

            if (json_is_object(value)) {
                rc = tn_netmap_message_add(messages, name,
                                           tn_json_text(value, "Title"),
                                           tn_json_text(value, "Text"),
                                           tn_json_text(value, "Severity"));
                if (rc != TN_OK) {
                    goto failed;
                }
            }
        }

        json_decref(o);
        o = NULL;
    }

    *changed = !tn_netmap_messages_equal(messages, old);

    return TN_OK;

failed:

    json_decref(o);
    tn_netmap_messages_free(messages);

    return rc;
}


void
tn_netmap_messages_free(tn_netmap_messages_t *messages)
{
    while (messages->n != 0) {
        tn_netmap_message_remove(messages, messages->n - 1);
    }

    free(messages->message);
    messages->message = NULL;
}


/* those over the limit are left out */
static tn_rc_t
tn_netmap_message_add(tn_netmap_messages_t *messages, const char *id,
    const char *title, const char *text, const char *severity)
{
    tn_netmap_message_t  *m;

    if (messages->n == TN_NETMAP_MESSAGES_MAX) {
        return TN_OK;
    }

    m = realloc(messages->message,
                (messages->n + 1) * sizeof(tn_netmap_message_t));
    if (m == NULL) {
        return TN_NOMEM;
    }

    messages->message = m;
    m += messages->n++;

    m->id = tn_json_copy(id, TN_NETMAP_TEXT_MAX);
    m->title = tn_json_copy(title, TN_NETMAP_TEXT_MAX);
    m->text = tn_json_copy(text, TN_NETMAP_TEXT_MAX);
    m->severity = tn_json_copy(severity, TN_NETMAP_TEXT_MAX);

    if (m->id == NULL || m->title == NULL || m->text == NULL
        || m->severity == NULL)
    {
        return TN_NOMEM;
    }

    return TN_OK;
}


static void
tn_netmap_message_remove(tn_netmap_messages_t *messages, size_t i)
{
    tn_netmap_message_t  *m;

    m = &messages->message[i];

    free(m->id);
    free(m->title);
    free(m->text);
    free(m->severity);

    messages->n--;
    memmove(m, m + 1, (messages->n - i) * sizeof(tn_netmap_message_t));
}


void
tn_netmap_messages_log(const tn_netmap_messages_t *messages,
    const tn_netmap_messages_t *old, tn_log_t *log)
{
    size_t                      i, j;
    const tn_netmap_message_t  *m;

    for (i = 0; i < messages->n; i++) {
        m = &messages->message[i];

        for (j = 0; j < old->n; j++) {
            if (tn_netmap_message_equal(m, &old->message[j])) {
                break;
            }
        }

        if (j == old->n) {
            tn_log(log, strcmp(m->severity, "low") == 0 ? TN_LOG_NOTICE
                                                        : TN_LOG_WARN,
                   "control says: %s%s%s", m->title, *m->title ? ": " : "",
                   m->text);
        }
    }
}


static bool
tn_netmap_messages_equal(const tn_netmap_messages_t *a,
    const tn_netmap_messages_t *b)
{
    size_t  i;

    if (a->n != b->n) {
        return false;
    }

    for (i = 0; i < a->n; i++) {
        if (!tn_netmap_message_equal(&a->message[i], &b->message[i])) {
            return false;
        }
    }

    return true;
}


static bool
tn_netmap_message_equal(const tn_netmap_message_t *a,
    const tn_netmap_message_t *b)
{
    return strcmp(a->id, b->id) == 0 && strcmp(a->title, b->title) == 0
           && strcmp(a->text, b->text) == 0
           && strcmp(a->severity, b->severity) == 0;
}
