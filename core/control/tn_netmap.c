
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The store of the netmap: its indexes and the look-ups over them.
 *
 * Peers stand in hash tables by id, by node key and by the first label of
 * their name (several peers with one label, as shared-in machines can have,
 * hang on the first), and in two prefix tables: own addresses, and the
 * allowed IPs beyond these.  Of two peers that claim one key or address the
 * later one has it.
 */

#include "control/tn_netmap_int.h"

#include <ctype.h>
#include <stdlib.h>


#define TN_NETMAP_NAME_MAX  254         /* a DNS name as text, no last dot */


static tn_rc_t tn_netmap_index_label(tn_netmap_t *netmap,
    tn_netmap_node_t *node);
static void tn_netmap_unindex_label(tn_netmap_t *netmap,
    tn_netmap_node_t *node);
static bool tn_netmap_own_prefix(const tn_netmap_node_t *node,
    const tn_prefix_t *prefix);
static bool tn_netmap_is_self_ip(const tn_netmap_t *netmap,
    const tn_ip_t *ip);
static size_t tn_netmap_fold(char *out, const char *name, size_t len);
static tn_netmap_node_t *tn_netmap_find_fqdn(const tn_netmap_t *netmap,
    const char *name, const char *suffix);
static bool tn_netmap_is_fqdn(const tn_netmap_node_t *node, const char *name,
    const char *suffix);
static tn_netmap_node_t *tn_netmap_find_folded(const tn_netmap_t *netmap,
    const char *name);
static size_t tn_netmap_records(const tn_netmap_t *netmap, const char *name,
    const char *suffix, tn_ip_t *ips, size_t max);
static size_t tn_netmap_order_ips(tn_ip_t *ips, size_t n);


tn_netmap_t *
tn_netmap_create(tn_log_t *log)
{
    tn_netmap_t  *netmap;

    netmap = calloc(1, sizeof(tn_netmap_t));
    if (netmap == NULL) {
        return NULL;
    }

    netmap->domain = strdup("");
    netmap->lock_head = strdup("");
    netmap->filters = tn_netmap_filters_create();
    netmap->log = log;

    tn_hash_init(&netmap->peers, sizeof(int64_t));
    tn_hash_init(&netmap->keys, TN_KEY_LEN);
    tn_hash_init(&netmap->labels, 0);
    tn_hash_init(&netmap->users, sizeof(int64_t));
    tn_hash_init(&netmap->hidden, sizeof(int64_t));
    netmap->lock_epoch = 1;
    tn_table_init(&netmap->addresses);
    tn_table_init(&netmap->routes);
    tn_rules_init(&netmap->rules);

    if (netmap->domain == NULL || netmap->lock_head == NULL
        || netmap->filters == NULL)
    {
        tn_netmap_destroy(netmap);
        return NULL;
    }

    return netmap;
}


void
tn_netmap_destroy(tn_netmap_t *netmap)
{
    tn_hash_node_t        *link, *next;
    tn_netmap_messages_t   messages;

    if (netmap == NULL) {
        return;
    }

    for (link = tn_hash_next(&netmap->peers, NULL); link; link = next) {
        next = tn_hash_next(&netmap->peers, link);
        tn_netmap_node_free(tn_container(link, tn_netmap_node_t, by_id));
    }

    for (link = tn_hash_next(&netmap->hidden, NULL); link; link = next) {
        next = tn_hash_next(&netmap->hidden, link);
        tn_netmap_node_free(tn_container(link, tn_netmap_node_t, by_id));
    }

    for (link = tn_hash_next(&netmap->users, NULL); link; link = next) {
        next = tn_hash_next(&netmap->users, link);
        tn_netmap_user_free(tn_container(link, tn_netmap_user_t, by_id));
    }

    tn_hash_done(&netmap->peers);
    tn_hash_done(&netmap->keys);
    tn_hash_done(&netmap->labels);
    tn_hash_done(&netmap->users);
    tn_hash_done(&netmap->hidden);
    tn_table_done(&netmap->addresses);
    tn_table_done(&netmap->routes);
    tn_rules_done(&netmap->rules);

    messages.message = netmap->messages;
    messages.n = netmap->nmessages;
    tn_netmap_messages_free(&messages);

    tn_netmap_node_free(netmap->self);
    tn_netmap_filters_free(netmap->filters);
    tn_netmap_dns_free(&netmap->dns);
    tn_derpmap_free(netmap->derpmap);
    free(netmap->domain);
    free(netmap->lock_head);
    free(netmap);
}


tn_netmap_node_t *
tn_netmap_each(const tn_netmap_t *netmap, const tn_netmap_node_t *node)
{
    tn_hash_node_t  *link;

    link = tn_hash_next(&netmap->peers, node ? &node->by_id : NULL);

    return link ? tn_container(link, tn_netmap_node_t, by_id) : NULL;
}


tn_netmap_node_t *
tn_netmap_find_id(const tn_netmap_t *netmap, int64_t id)
{
    tn_hash_node_t  *link;

    if (netmap->self != NULL && netmap->self->id == id) {
        return netmap->self;
    }

    link = tn_hash_find(&netmap->peers, &id);

    return link ? tn_container(link, tn_netmap_node_t, by_id) : NULL;
}


tn_netmap_node_t *
tn_netmap_find_key(const tn_netmap_t *netmap, const tn_key_t *key)
{
    tn_hash_node_t  *link;

    if (netmap->self != NULL && tn_key_equal(&netmap->self->key, key)) {
        return netmap->self;
    }

    link = tn_hash_find(&netmap->keys, key);

    return link ? tn_container(link, tn_netmap_node_t, by_key) : NULL;
}


tn_netmap_node_t *
tn_netmap_find_ip(const tn_netmap_t *netmap, const tn_ip_t *ip)
{
    if (tn_netmap_is_self_ip(netmap, ip)) {
        return netmap->self;
    }

    return tn_table_find(&netmap->addresses, ip);
}


tn_netmap_node_t *
tn_netmap_find_route(const tn_netmap_t *netmap, const tn_ip_t *ip)
{
    tn_netmap_node_t  *node;

    node = tn_netmap_find_ip(netmap, ip);

    return node ? node : tn_table_find(&netmap->routes, ip);
}


tn_netmap_node_t *
tn_netmap_find_name(const tn_netmap_t *netmap, const char *name, size_t len)
{
    char     folded[TN_NETMAP_NAME_MAX + 2];
    tn_ip_t  ip;

    if (tn_ip_parse(&ip, name, len) == TN_OK) {
        return tn_netmap_find_ip(netmap, &ip);
    }

    if (tn_netmap_fold(folded, name, len) == 0) {
        return NULL;
    }

    return tn_netmap_find_folded(netmap, folded);
}


size_t
tn_netmap_resolve(const tn_netmap_t *netmap, const char *name, size_t len,
    tn_ip_t *ips, size_t max)
{
    char               folded[TN_NETMAP_NAME_MAX + 2];
    size_t             i, n;
    tn_ip_t            ip;
    tn_netmap_node_t  *node;

    if (max == 0) {
        return 0;
    }

    if (tn_ip_parse(&ip, name, len) == TN_OK) {
        if (tn_netmap_find_route(netmap, &ip) == NULL) {
            return 0;
        }

        ips[0] = ip;

        return 1;
    }

    if (tn_netmap_fold(folded, name, len) == 0) {
        return 0;
    }

    n = 0;
    node = tn_netmap_find_folded(netmap, folded);

    if (node != NULL) {
        for (i = 0; i < node->naddresses && n < max; i++) {
            if (node->addresses[i].bits == (node->addresses[i].v4 ? 32 : 128))
            {
                ips[n++] = node->addresses[i].ip;
            }
        }

    } else {
        n = tn_netmap_records(netmap, folded, NULL, ips, max);

        for (i = 0; n == 0 && i < netmap->dns.ndomains; i++) {
            n = tn_netmap_records(netmap, folded, netmap->dns.domains[i],
                                  ips, max);
        }
    }

    return tn_netmap_order_ips(ips, n);
}


const tn_netmap_user_t *
tn_netmap_find_user(const tn_netmap_t *netmap, int64_t id)
{
    tn_hash_node_t  *link;

    link = tn_hash_find(&netmap->users, &id);

    return link ? tn_container(link, tn_netmap_user_t, by_id) : NULL;
}


const tn_netmap_cap_t *
tn_netmap_node_cap(const tn_netmap_node_t *node, const char *name)
{
    int     order;
    size_t  low, high, middle;

    low = 0;
    high = node->ncaps;

    while (low < high) {
        middle = low + (high - low) / 2;
        order = strcmp(name, node->caps[middle].name);

        if (order == 0) {
            return &node->caps[middle];
        }

        if (order < 0) {
            high = middle;
        } else {
            low = middle + 1;
        }
    }

    return NULL;
}


bool
tn_netmap_node_has_tag(const tn_netmap_node_t *node, const char *tag,
    size_t len)
{
    size_t  i;

    for (i = 0; i < node->ntags; i++) {
        if (strlen(node->tags[i]) == len
            && memcmp(node->tags[i], tag, len) == 0)
        {
            return true;
        }
    }

    return false;
}


bool
tn_netmap_node_ip(const tn_netmap_node_t *node, bool v4, tn_ip_t *ip)
{
    size_t  i;

    for (i = 0; i < node->naddresses; i++) {
        if (node->addresses[i].v4 == v4) {
            *ip = node->addresses[i].ip;
            return true;
        }
    }

    return false;
}


tn_rc_t
tn_netmap_index(tn_netmap_t *netmap, tn_netmap_node_t *node)
{
    node->by_id.key = &node->id;
    node->by_key.key = &node->key;
    node->by_label.key = NULL;
    tn_list_init(&node->same_label);

    if (tn_hash_insert(&netmap->peers, &node->by_id) != TN_OK) {
        tn_netmap_node_free(node);
        return TN_NOMEM;
    }

    return tn_netmap_index_fields(netmap, node);
}


void
tn_netmap_unindex(tn_netmap_t *netmap, tn_netmap_node_t *node)
{
    tn_netmap_unindex_fields(netmap, node);
    tn_hash_remove(&netmap->peers, &node->by_id);
}


/* the caller has seen to it that nobody else has this key */
tn_rc_t
tn_netmap_index_fields(tn_netmap_t *netmap, tn_netmap_node_t *node)
{
    size_t   i;
    tn_rc_t  rc;

    rc = tn_hash_insert(&netmap->keys, &node->by_key);

    if (rc == TN_OK && node->label[0] != '\0') {
        rc = tn_netmap_index_label(netmap, node);
    }

    for (i = 0; rc == TN_OK && i < node->naddresses; i++) {
        rc = tn_table_set(&netmap->addresses, &node->addresses[i], node);
    }

    for (i = 0; rc == TN_OK && i < node->nallowed_ips; i++) {
        if (!tn_netmap_own_prefix(node, &node->allowed_ips[i])) {
            rc = tn_table_set(&netmap->routes, &node->allowed_ips[i], node);
        }
    }

    return rc;
}


void
tn_netmap_unindex_fields(tn_netmap_t *netmap, tn_netmap_node_t *node)
{
    size_t  i;

    if (tn_hash_find(&netmap->keys, &node->key) == &node->by_key) {
        tn_hash_remove(&netmap->keys, &node->by_key);
    }

    tn_netmap_unindex_label(netmap, node);

    for (i = 0; i < node->naddresses; i++) {
        tn_table_remove(&netmap->addresses, &node->addresses[i], node);
    }

    for (i = 0; i < node->nallowed_ips; i++) {
        tn_table_remove(&netmap->routes, &node->allowed_ips[i], node);
    }
}


/* by_label.key is set in exactly the node that stands for its label */
static tn_rc_t
tn_netmap_index_label(tn_netmap_t *netmap, tn_netmap_node_t *node)
{
    tn_hash_node_t    *link;
    tn_netmap_node_t  *first;

    link = tn_hash_find(&netmap->labels, node->label);

    if (link != NULL) {
        first = tn_container(link, tn_netmap_node_t, by_label);
        tn_list_push(&first->same_label, &node->same_label);
        return TN_OK;
    }

    node->by_label.key = node->label;

    if (tn_hash_insert(&netmap->labels, &node->by_label) != TN_OK) {
        node->by_label.key = NULL;
        return TN_NOMEM;
    }

    return TN_OK;
}


static void
tn_netmap_unindex_label(tn_netmap_t *netmap, tn_netmap_node_t *node)
{
    tn_link_t         *link;
    tn_netmap_node_t  *next;

    if (node->by_label.key == NULL) {
        tn_list_remove(&node->same_label);
        return;
    }

    tn_hash_remove(&netmap->labels, &node->by_label);
    node->by_label.key = NULL;

    if (tn_list_empty(&node->same_label)) {
        return;
    }

    link = node->same_label.next;
    tn_list_remove(&node->same_label);

    /* the buckets exist, so this cannot fail */

    next = tn_container(link, tn_netmap_node_t, same_label);
    next->by_label.key = next->label;
    (void) tn_hash_insert(&netmap->labels, &next->by_label);
}


static bool
tn_netmap_own_prefix(const tn_netmap_node_t *node, const tn_prefix_t *prefix)
{
    size_t  i;

    for (i = 0; i < node->naddresses; i++) {
        if (memcmp(&node->addresses[i], prefix, sizeof(tn_prefix_t)) == 0) {
            return true;
        }
    }

    return false;
}


static bool
tn_netmap_is_self_ip(const tn_netmap_t *netmap, const tn_ip_t *ip)
{
    size_t  i;

    if (netmap->self == NULL) {
        return false;
    }

    for (i = 0; i < netmap->self->naddresses; i++) {
        if (tn_prefix_contains(&netmap->self->addresses[i], ip)) {
            return true;
        }
    }

    return false;
}


/* lower case, no last dot, terminated; 0: cannot be a name */
static size_t
tn_netmap_fold(char *out, const char *name, size_t len)
{
    size_t  i;

    if (len != 0 && name[len - 1] == '.') {
        len--;
    }

    if (len > TN_NETMAP_NAME_MAX || memchr(name, '\0', len) != NULL) {
        len = 0;
    }

    for (i = 0; i < len; i++) {
        out[i] = (char) tolower((unsigned char) name[i]);
    }

    out[len] = '\0';

    return len;
}


/*
 * A name as it stands; then with this node's own suffix; then with each
 * search domain.
 */
static tn_netmap_node_t *
tn_netmap_find_folded(const tn_netmap_t *netmap, const char *name)
{
    size_t             i;
    const char        *suffix;
    tn_netmap_node_t  *node;

    node = tn_netmap_find_fqdn(netmap, name, "");
    if (node != NULL) {
        return node;
    }

    if (netmap->self != NULL) {
        suffix = tn_netmap_suffix(netmap->self);

        if (*suffix != '\0') {
            node = tn_netmap_find_fqdn(netmap, name, suffix);
            if (node != NULL) {
                return node;
            }
        }
    }

    for (i = 0; i < netmap->dns.ndomains; i++) {
        node = tn_netmap_find_fqdn(netmap, name, netmap->dns.domains[i]);
        if (node != NULL) {
            return node;
        }
    }

    return NULL;
}


static tn_netmap_node_t *
tn_netmap_find_fqdn(const tn_netmap_t *netmap, const char *name,
    const char *suffix)
{
    char               label[TN_NETMAP_LABEL];
    size_t             len;
    tn_link_t         *link;
    tn_hash_node_t    *head;
    tn_netmap_node_t  *first, *node;

    if (netmap->self != NULL && tn_netmap_is_fqdn(netmap->self, name, suffix))
    {
        return netmap->self;
    }

    len = strcspn(name, ".");

    if (len == 0 || len >= sizeof(label)) {
        return NULL;
    }

    memset(label, 0, sizeof(label));
    memcpy(label, name, len);

    head = tn_hash_find(&netmap->labels, label);
    if (head == NULL) {
        return NULL;
    }

    first = tn_container(head, tn_netmap_node_t, by_label);

    if (tn_netmap_is_fqdn(first, name, suffix)) {
        return first;
    }

    tn_list_each(link, &first->same_label) {
        node = tn_container(link, tn_netmap_node_t, same_label);

        if (tn_netmap_is_fqdn(node, name, suffix)) {
            return node;
        }
    }

    return NULL;
}


/* node->name may end in a dot, `name` never does, `suffix` may */
static bool
tn_netmap_is_fqdn(const tn_netmap_node_t *node, const char *name,
    const char *suffix)
{
    size_t       len, slen, nlen;
    const char  *full;

    full = node->name;
    len = strlen(full);
    nlen = strlen(name);
    slen = strlen(suffix);

    if (len != 0 && full[len - 1] == '.') {
        len--;
    }

    if (slen != 0 && suffix[slen - 1] == '.') {
        slen--;
    }

    if (slen == 0) {
        return len == nlen && strncasecmp(full, name, len) == 0;
    }

    return len == nlen + 1 + slen
           && strncasecmp(full, name, nlen) == 0
           && full[nlen] == '.'
           && strncasecmp(full + nlen + 1, suffix, slen) == 0;
}


const char *
tn_netmap_suffix(const tn_netmap_node_t *node)
{
    const char  *dot;

    dot = strchr(node->name, '.');

    return dot ? dot + 1 : "";
}


static size_t
tn_netmap_records(const tn_netmap_t *netmap, const char *name,
    const char *suffix, tn_ip_t *ips, size_t max)
{
    size_t                      i, n, nlen, slen;
    const tn_netmap_record_t   *record;

    n = 0;
    nlen = strlen(name);
    slen = suffix ? strlen(suffix) : 0;

    if (slen != 0 && suffix[slen - 1] == '.') {
        slen--;
    }

    for (i = 0; i < netmap->dns.nrecords && n < max; i++) {
        record = &netmap->dns.records[i];

        if (strncmp(record->name, name, nlen) != 0) {
            continue;
        }

        if (slen == 0 ? record->name[nlen] == '\0'
                      : record->name[nlen] == '.'
                        && strlen(record->name + nlen + 1) == slen
                        && strncasecmp(record->name + nlen + 1, suffix, slen)
                           == 0)
        {
            ips[n++] = record->ip;
        }
    }

    return n;
}


/* IPv4 first, else as they came */
static size_t
tn_netmap_order_ips(tn_ip_t *ips, size_t n)
{
    size_t   i, j, v4;
    tn_ip_t  ip;

    v4 = 0;

    for (i = 0; i < n; i++) {
        if (!tn_ip_is_v4(&ips[i])) {
            continue;
        }

        ip = ips[i];

        for (j = i; j > v4; j--) {
            ips[j] = ips[j - 1];
        }

        ips[v4++] = ip;
    }

    return n;
}
