
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The netmap: what control says about this node, its peers, users, names,
 * DERP regions and packet filter.  The control client fills it; the control
 * thread reads it.  Owns no connection, never decides anything.
 */

#ifndef TN_NETMAP_H_INCLUDED_
#define TN_NETMAP_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_hash.h"
#include "base/tn_key.h"
#include "base/tn_list.h"
#include "base/tn_log.h"
#include "base/tn_table.h"
#include "lock/tn_lock.h"
#include "wire/tn_derpmap.h"
#include "wire/tn_netinfo.h"
#include "wire/tn_rule.h"


/* limits against a hostile map; what is over them is left out and logged */
#define TN_NETMAP_PEERS_MAX      200000
#define TN_NETMAP_USERS_MAX      200000
#define TN_NETMAP_LIST_MAX       4096   /* addresses, endpoints, tags, ... */
#define TN_NETMAP_TEXT_MAX       2048   /* bytes of one string */
#define TN_NETMAP_RECORDS_MAX    65536  /* extra DNS records */
#define TN_NETMAP_CAP_MAX        65536  /* bytes of one capability's JSON */
#define TN_NETMAP_LABEL          64     /* a DNS label and its zero */


/* a node capability; json is the text of an array, or NULL for none */
typedef struct {
    char               *name;
    char               *json;
} tn_netmap_cap_t;


typedef struct tn_netmap_node_s  tn_netmap_node_t;

/*
 * This node itself or a peer.  A peer's pointer stays valid, and its id the
 * same, from the change that adds it to the one that removes it, also across
 * full replacements of the map.  Strings are owned, never NULL (empty when
 * control said nothing).  Times are Unix seconds, 0 for never or unknown.
 */
struct tn_netmap_node_s {
    int64_t             id;
    tn_key_t            key;            /* node key: WireGuard and DERP */
    tn_key_t            machine;
    tn_key_t            disco;          /* zero: none */
    tn_key_t            old_key;        /* the one before a change of key */

    /* one block, that of stable_id; app comes last */
    char               *stable_id;
    char               *name;           /* FQDN with its last dot */
    char               *label;          /* its first label, lower case */
    char               *hostname;       /* as the node calls itself */
    char               *os;
    char               *app;

    int64_t             user;
    int64_t             sharer;         /* 0: not shared in */
    int64_t             key_expiry;
    int64_t             created;
    int64_t             last_seen;

    tn_prefix_t        *addresses;
    tn_prefix_t        *allowed_ips;    /* the same array when they are equal */
    tn_prefix_t        *primary_routes;
    tn_addr_t          *endpoints;
    char              **tags;
    tn_netmap_cap_t    *caps;           /* sorted by name */
    uint8_t            *key_signature;  /* tailnet lock, CBOR */
    tn_ip_t            *masq;           /* our addresses as this peer sees us,
                                           IPv4 and IPv6 or none; NULL: when
                                           not masqueraded */
    uint32_t            naddresses;
    uint32_t            nallowed_ips;
    uint32_t            nprimary_routes;
    uint32_t            nendpoints;
    uint32_t            ntags;
    uint32_t            ncaps;
    uint32_t            key_signature_len;

    uint32_t            home_derp;      /* region, 0: unknown */
    uint32_t            cap_version;
    uint16_t            peerapi4;       /* ports, 0: none */
    uint16_t            peerapi6;
    tn_tristate_e       online;

    unsigned            machine_authorized:1;
    unsigned            expired:1;      /* by control's word or by time */
    unsigned            lapsed:1;       /* by time alone: till clocks differ */
    unsigned            jailed:1;
    unsigned            wireguard_only:1;
    unsigned            unsigned_peerapi_only:1;
    unsigned            peerapi_dns:1;

    /* the netmap's own */
    tn_hash_node_t      by_id;
    tn_hash_node_t      by_key;
    tn_hash_node_t      by_label;       /* the first of its label only */
    tn_link_t           same_label;
    uint32_t            mark;
    uint32_t            kept;
    uint32_t            changed;        /* TN_NODE_ bits of the last change */
    uint32_t            judged;         /* by this lock_epoch, 0: not yet */
    bool                vouched;        /* and it was found to be signed */
    bool                hidden;         /* it is in netmap->hidden */
};


typedef struct {
    int64_t             id;
    char               *login;
    char               *display;
    char               *picture;        /* URL */
    tn_hash_node_t      by_id;
    uint32_t            mark;
} tn_netmap_user_t;


typedef struct {
    char               *addr;           /* IP, IP:port or a URL */
    tn_ip_t            *bootstrap;
    size_t              nbootstrap;
} tn_netmap_resolver_t;

typedef struct {
    char                  *suffix;      /* without a last dot, lower case */
    tn_netmap_resolver_t  *resolvers;   /* none: names under it are ours */
    size_t                 nresolvers;
} tn_netmap_route_t;

typedef struct {
    char               *name;           /* without a last dot, lower case */
    tn_ip_t             ip;
} tn_netmap_record_t;

typedef struct {
    bool                   proxied;     /* MagicDNS is on */
    char                 **domains;     /* search list */
    size_t                 ndomains;
    char                 **cert_domains;
    size_t                 ncert_domains;
    tn_netmap_resolver_t  *resolvers;
    size_t                 nresolvers;
    tn_netmap_resolver_t  *fallback;
    size_t                 nfallback;
    tn_netmap_route_t     *routes;
    size_t                 nroutes;
    tn_netmap_record_t    *records;     /* ExtraRecords, A and AAAA */
    size_t                 nrecords;
} tn_netmap_dns_t;


/* one line of control's about what is wrong, until it takes it back */
typedef struct {
    char               *id;             /* "" for an old-style Health line */
    char               *title;
    char               *text;
    char               *severity;       /* high, medium, low or empty */
} tn_netmap_message_t;


/* what of a peer or of the node itself changed */
#define TN_NODE_ADDED       0x0001
#define TN_NODE_KEY         0x0002      /* old_key has the one before */
#define TN_NODE_DISCO       0x0004
#define TN_NODE_ENDPOINTS   0x0008
#define TN_NODE_DERP        0x0010
#define TN_NODE_ADDRESSES   0x0020      /* addresses */
#define TN_NODE_ALLOWED     0x0040      /* allowed_ips, primary_routes */
#define TN_NODE_NAME        0x0080
#define TN_NODE_CAPS        0x0100      /* caps, cap_version, tags, user */
#define TN_NODE_ONLINE      0x0200      /* online, last_seen */
#define TN_NODE_EXPIRY      0x0400      /* key_expiry, expired */
#define TN_NODE_FLAGS       0x0800      /* jailed, ..., masquerade addresses */
#define TN_NODE_HOSTINFO    0x1000      /* hostname, os, PeerAPI ports */
#define TN_NODE_LOCK        0x2000      /* key_signature */

/* which parts of the netmap changed */
#define TN_NETMAP_SELF      0x0001
#define TN_NETMAP_PEERS     0x0002
#define TN_NETMAP_FILTER    0x0004
#define TN_NETMAP_DERPMAP   0x0008
#define TN_NETMAP_DNS       0x0010
#define TN_NETMAP_USERS     0x0020
#define TN_NETMAP_DOMAIN    0x0040
#define TN_NETMAP_MESSAGES  0x0080
#define TN_NETMAP_LOCK      0x0100      /* tailnet lock's head */
#define TN_NETMAP_CLOCK     0x0200      /* clock_offset */
#define TN_NETMAP_ALL       0x03ff

typedef struct {
    int64_t             id;
    tn_key_t            key;            /* as it was */
} tn_netmap_removed_t;

/*
 * What one message of control changed.  To follow it apply `removed` first:
 * a key can leave with one id and come back with another.  Valid during the
 * callback only.
 */
typedef struct {
    uint32_t              what;         /* TN_NETMAP_ bits */
    uint32_t              self;         /* TN_NODE_ bits of the node itself */
    tn_netmap_removed_t  *removed;
    size_t                nremoved;
    tn_netmap_node_t    **peers;        /* added or changed: node->changed */
    size_t                npeers;
} tn_netmap_changes_t;


typedef struct tn_netmap_filters_s  tn_netmap_filters_t;

typedef struct {
    tn_netmap_node_t     *self;         /* NULL until the first map, and
                                           after a logout */
    char                 *domain;       /* the tailnet's name */

    tn_hash_t             peers;        /* by id: tn_netmap_each() */
    tn_hash_t             keys;
    tn_hash_t             labels;
    tn_table_t            addresses;    /* peers' own addresses */
    tn_table_t            routes;       /* allowed IPs beyond these */
    tn_hash_t             users;

    /*
     * Peers that tailnet lock does not vouch for, by id, and in no other
     * index: for everybody but tn_netmap_apply() they are not there.
     */
    tn_hash_t             hidden;

    tn_derpmap_t         *derpmap;      /* NULL until control sent one */
    tn_netmap_dns_t       dns;

    tn_rules_t            rules;        /* the effective packet filter */
    tn_netmap_filters_t  *filters;      /* its named parts */
    bool                  filtered;     /* control has sent a filter */
    bool                  unsigned_reached; /* the filter lets in a peer that
                                           tailnet lock does not cover: none
                                           of its rules counts */

    tn_netmap_message_t  *messages;
    size_t                nmessages;

    char                 *lock_head;    /* tailnet lock, control's word;
                                           empty: off */
    const tn_lock_t      *lock;         /* whom it trusts, NULL: unknown */
    uint32_t              lock_epoch;   /* goes up when that changes, not 0 */
    uint32_t              judged_epoch; /* the last one applied */
    int64_t               clock_offset; /* control's clock minus ours, s */
    bool                  logtail_off;

    uint32_t              mark;         /* the number of the last change;
                                           counts on from netmap to netmap */
    uint32_t              epoch;        /* and of the last full map */
    tn_log_t             *log;
} tn_netmap_t;


/* NULL when out of memory; log is not owned and may be NULL */
tn_netmap_t *tn_netmap_create(tn_log_t *log);
void tn_netmap_destroy(tn_netmap_t *netmap);

/* the peers in no order: start with NULL, ends with NULL */
tn_netmap_node_t *tn_netmap_each(const tn_netmap_t *netmap,
    const tn_netmap_node_t *node);

/* each returns a peer (or, for an own key, address or name, self) or NULL */
tn_netmap_node_t *tn_netmap_find_id(const tn_netmap_t *netmap, int64_t id);
tn_netmap_node_t *tn_netmap_find_key(const tn_netmap_t *netmap,
    const tn_key_t *key);
/* whose own address this is */
tn_netmap_node_t *tn_netmap_find_ip(const tn_netmap_t *netmap,
    const tn_ip_t *ip);
/* who routes this address, by longest prefix over own ones and routes */
tn_netmap_node_t *tn_netmap_find_route(const tn_netmap_t *netmap,
    const tn_ip_t *ip);
/*
 * A name as a person writes it, any case: MagicDNS's short name, one with
 * search domain left out, FQDN with or without its last dot, or an address
 * as text.
 */
tn_netmap_node_t *tn_netmap_find_name(const tn_netmap_t *netmap,
    const char *name, size_t len);

/* the domain that its name is of, "" for none; it may end in a dot */
const char *tn_netmap_suffix(const tn_netmap_node_t *node);

/*
 * All addresses of a name: of a node as above, of an ExtraRecord, or the
 * address itself when the text is one that a peer routes.  Writes up to
 * `max`, IPv4 first, returns their number.
 */
size_t tn_netmap_resolve(const tn_netmap_t *netmap, const char *name,
    size_t len, tn_ip_t *ips, size_t max);

/* NULL when unknown */
const tn_netmap_user_t *tn_netmap_find_user(const tn_netmap_t *netmap,
    int64_t id);

/* the capability of this exact name, or NULL */
const tn_netmap_cap_t *tn_netmap_node_cap(const tn_netmap_node_t *node,
    const char *name);

/*
 * The address of one family that control has given a service which this node
 * may host, by the attribute "service-host"; name with "svc:".  False: none.
 */
bool tn_netmap_service_ip(const tn_netmap_node_t *self, const char *name,
    bool v4, tn_ip_t *ip);

bool tn_netmap_node_has_tag(const tn_netmap_node_t *node, const char *tag,
    size_t len);

/* the node's first IPv4 (v4) or IPv6 address, false when it has none */
bool tn_netmap_node_ip(const tn_netmap_node_t *node, bool v4, tn_ip_t *ip);


/*
 * Applies one MapResponse, JSON text of `len` bytes, received at `wall`
 * (Unix seconds).  TN_MALFORMED or TN_NOMEM: nothing has changed.  Parts of
 * a wrong type inside well-formed JSON are left out and logged once.  The
 * changes' arrays are freed by tn_netmap_changes_done().
 */
tn_rc_t tn_netmap_apply(tn_netmap_t *netmap, const char *json, size_t len,
    int64_t wall, tn_netmap_changes_t *changes);
void tn_netmap_changes_done(tn_netmap_changes_t *changes);

/*
 * Peers are judged by this lock from here on, which must live until the next
 * call; NULL: by none.  While control says that there is one, nobody is
 * vouched for by none.  Fills changes like tn_netmap_apply(); TN_OK or
 * TN_NOMEM.
 */
tn_rc_t tn_netmap_set_lock(tn_netmap_t *netmap, const tn_lock_t *lock,
    tn_netmap_changes_t *changes);

/* the node itself is signed, or need not be */
bool tn_netmap_is_vouched(const tn_netmap_t *netmap);

/*
 * Marks peers as expired whose key_expiry lies before `wall`, on control's
 * clock, and those as not expired that it marked by a clock which was ahead.
 * Returns the next moment, on our clock, at which to look again, or INT64_MAX;
 * fills changes like tn_netmap_apply().
 */
int64_t tn_netmap_expire(tn_netmap_t *netmap, int64_t wall,
    tn_netmap_changes_t *changes);


#endif /* TN_NETMAP_H_INCLUDED_ */
