
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Packet filter rules as control sends them, parsed and owned: the control
 * client fills them, the filter compiles them, whois reads their grants.
 * Never judges a packet.
 */

#ifndef TN_RULE_H_INCLUDED_
#define TN_RULE_H_INCLUDED_

#include "base/tn_addr.h"


/* limits of one rule set; what is over them is refused with TN_NOMEM */
#define TN_RULE_MAX          65536      /* rules of a set */
#define TN_RULE_ENTRIES_MAX  65536      /* sources, destinations, grants... */

/* the longest name of a capability, bytes */
#define TN_RULE_CAP_LEN_MAX  255


typedef enum {
    TN_RULE_RANGE = 0,          /* lo to hi inclusive, of one family */
    TN_RULE_ANY,                /* "*": every address of both families */
    TN_RULE_CAP                 /* "cap:NAME": a peer's own addresses, when
                                   the peer has this node capability */
} tn_rule_kind_t;

typedef struct {
    tn_rule_kind_t   kind;
    bool             v4;        /* family of a range */
    tn_ip_t          lo;
    tn_ip_t          hi;
    char            *cap;       /* owned; NULL unless TN_RULE_CAP */
} tn_rule_addrs_t;

typedef struct {
    tn_rule_addrs_t  addrs;     /* a range or any, never a capability */
    uint16_t         first;     /* ports, inclusive; 0-65535 is "all" */
    uint16_t         last;
} tn_rule_dst_t;

/* one capability of a grant; json is a JSON array as text, or NULL */
typedef struct {
    char            *name;
    char            *json;
} tn_rule_cap_t;

/* what a source that reaches one of the destinations is granted there */
typedef struct {
    tn_prefix_t     *dsts;
    size_t           ndsts;
    tn_rule_cap_t   *caps;
    size_t           ncaps;
} tn_rule_grant_t;

typedef struct {
    tn_rule_addrs_t  *srcs;
    size_t            nsrcs;
    tn_rule_dst_t    *dsts;
    size_t            ndsts;
    tn_rule_grant_t  *grants;
    size_t            ngrants;

    /*
     * One bit per IP protocol.  protos_given: the list was there and not
     * empty, even when no number of it was usable (then nothing matches).
     * Otherwise the default set: TCP, UDP, ICMPv4, ICMPv6.
     */
    uint32_t          protos[8];
    bool              protos_given;
} tn_rule_t;

typedef struct {
    tn_rule_t  **rule;
    size_t       n;
} tn_rules_t;


static inline bool
tn_rule_has_proto(const tn_rule_t *rule, uint8_t proto)
{
    if (!rule->protos_given) {
        return proto == 6 || proto == 17 || proto == 1 || proto == 58;
    }

    return (rule->protos[proto >> 5] >> (proto & 31)) & 1;
}


/*
 * One text form of SrcIPs or DstPorts.IP: "*", an address, a prefix without
 * host bits, "a-b", or "cap:NAME".  On TN_OK the caller owns addrs->cap.
 * TN_MALFORMED (also for IPv4-mapped IPv6 text), TN_NOMEM.
 */
tn_rc_t tn_rule_addrs_parse(tn_rule_addrs_t *addrs, const char *text,
    size_t len);

bool tn_rule_addrs_contain(const tn_rule_addrs_t *addrs, const tn_ip_t *ip);


/* an empty rule, or NULL for want of memory */
tn_rule_t *tn_rule_create(void);

void tn_rule_free(tn_rule_t *rule);     /* NULL is fine */

/*
 * Each adds one entry to a rule.  TN_MALFORMED: the entry was bad and is
 * left out, the rule stays good (upstream skips it too).  TN_NOMEM.
 */
tn_rc_t tn_rule_add_src(tn_rule_t *rule, const char *text, size_t len);
tn_rc_t tn_rule_add_dst(tn_rule_t *rule, const char *text, size_t len,
    uint16_t first, uint16_t last);

/* call for every number of a list that is there; outside 0-255: left out */
void tn_rule_add_proto(tn_rule_t *rule, long long proto);

/* an empty grant, valid until the next one is added; NULL: no memory */
tn_rule_grant_t *tn_rule_add_grant(tn_rule_t *rule);

/* a prefix, whose host bits are cleared, or an address */
tn_rc_t tn_rule_grant_add_dst(tn_rule_grant_t *grant, const char *text,
    size_t len);

/* json: the text of the array of values, copied, or NULL for none */
tn_rc_t tn_rule_grant_add_cap(tn_rule_grant_t *grant, const char *name,
    size_t len, const char *json, size_t json_len);


void tn_rules_init(tn_rules_t *rules);

/* frees all rules and the set's own memory, not the struct */
void tn_rules_done(tn_rules_t *rules);

/* takes the rule over on TN_OK; TN_NOMEM leaves it with the caller */
tn_rc_t tn_rules_append(tn_rules_t *rules, tn_rule_t *rule);

/* moves all rules of `from` to the end of `to`; on TN_NOMEM nothing moves */
tn_rc_t tn_rules_join(tn_rules_t *to, tn_rules_t *from);

/* a deep copy into an initialised, empty set */
tn_rc_t tn_rules_copy(tn_rules_t *to, const tn_rules_t *from);

/* true when a rule that opens ports names an address of this prefix as
 * source, by range or "*" */
bool tn_rules_src_overlaps(const tn_rules_t *rules,
    const tn_prefix_t *prefix);

/*
 * Calls `found` for each capability that src is granted towards dst, in the
 * order of the rules; a name can come several times, its values add up.
 */
typedef void (*tn_rules_cap_pt)(void *data, const char *name,
    const char *json);

void tn_rules_caps(const tn_rules_t *rules, const tn_ip_t *src,
    const tn_ip_t *dst, tn_rules_cap_pt found, void *data);


#endif /* TN_RULE_H_INCLUDED_ */
