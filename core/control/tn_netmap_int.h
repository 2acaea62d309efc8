
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Between the files of the netmap: a message cut into its fields, and the
 * parts that are parsed aside first and put in place only when all of the
 * message was good.  Nobody outside core/control includes it.
 */

#ifndef TN_NETMAP_INT_H_INCLUDED_
#define TN_NETMAP_INT_H_INCLUDED_

#include "control/tn_json.h"
#include "control/tn_netmap.h"


/* the fields of a MapResponse that mean something here */
typedef enum {
    TN_MAP_KEEP_ALIVE = 0,
    TN_MAP_PING_REQUEST,
    TN_MAP_POP_BROWSER_URL,
    TN_MAP_CLIENT_VERSION,
    TN_MAP_CONTROL_TIME,
    TN_MAP_DEBUG,
    TN_MAP_DIAL_PLAN,
    TN_MAP_NODE,
    TN_MAP_DERPMAP,
    TN_MAP_PEERS,
    TN_MAP_PEERS_CHANGED,
    TN_MAP_PEERS_REMOVED,
    TN_MAP_PEERS_PATCH,
    TN_MAP_PEER_SEEN,
    TN_MAP_ONLINE,
    TN_MAP_DNS,
    TN_MAP_DOMAIN,
    TN_MAP_FILTER,
    TN_MAP_FILTERS,
    TN_MAP_USERS,
    TN_MAP_HEALTH,
    TN_MAP_MESSAGES,
    TN_MAP_LOCK,
    TN_MAP_NFIELDS
} tn_map_field_e;

typedef struct {
    tn_json_span_t      field[TN_MAP_NFIELDS];
} tn_map_message_t;


/* a message of control, cut; spans point into `json`.  TN_MALFORMED */
tn_rc_t tn_map_message_cut(tn_map_message_t *message, const char *json,
    size_t len);

/*
 * What tn_netmap_apply() does, for a message that is cut.  `fresh`: the first
 * message of a new map stream, in which what is absent is gone and not
 * unchanged.
 */
tn_rc_t tn_netmap_apply_message(tn_netmap_t *netmap,
    const tn_map_message_t *message, bool fresh, int64_t wall,
    tn_netmap_changes_t *changes);

/* takes over control's clock from a ControlTime; true when it moved */
bool tn_netmap_clock(tn_netmap_t *netmap, tn_json_span_t span, int64_t wall);


/* --- nodes: tn_netmap_node.c */

/*
 * A new node from a Node object, normalised.  TN_OK; TN_REFUSED: not usable
 * (no id or no key), left out; TN_MALFORMED; TN_NOMEM.
 */
tn_rc_t tn_netmap_node_parse(tn_netmap_node_t **node, tn_json_span_t span,
    bool self);
void tn_netmap_node_free(tn_netmap_node_t *node);

/* TN_NODE_ bits in which the payloads differ */
uint32_t tn_netmap_node_diff(const tn_netmap_node_t *a,
    const tn_netmap_node_t *b);

/* exchanges the payloads: all but the netmap's own links and marks */
void tn_netmap_node_swap(tn_netmap_node_t *a, tn_netmap_node_t *b);


/* a PeerChange: node has the fields that `what` names, and its id */
typedef struct {
    tn_netmap_node_t   *node;
    uint32_t            what;           /* TN_PATCH_ bits */
} tn_netmap_patch_t;

#define TN_PATCH_DERP         0x001
#define TN_PATCH_CAP_VERSION  0x002
#define TN_PATCH_CAPS         0x004
#define TN_PATCH_ENDPOINTS    0x008
#define TN_PATCH_KEY          0x010
#define TN_PATCH_SIGNATURE    0x020
#define TN_PATCH_DISCO        0x040
#define TN_PATCH_ONLINE       0x080
#define TN_PATCH_LAST_SEEN    0x100
#define TN_PATCH_KEY_EXPIRY   0x200

/* same results as tn_netmap_node_parse(); patch->node is to be freed */
tn_rc_t tn_netmap_patch_parse(tn_netmap_patch_t *patch, tn_json_span_t span);

/* moves what the patch has into a node, all but the key; returns TN_NODE_
 * bits of what is different now */
uint32_t tn_netmap_patch_put(tn_netmap_node_t *node,
    tn_netmap_patch_t *patch);


/* --- the other parts, each to be freed by its own function */

/* TN_OK, TN_MALFORMED, TN_REFUSED (of another type: left out), TN_NOMEM */
tn_rc_t tn_netmap_dns_parse(tn_netmap_dns_t *dns, tn_json_span_t span);
void tn_netmap_dns_free(tn_netmap_dns_t *dns);
bool tn_netmap_dns_equal(const tn_netmap_dns_t *a, const tn_netmap_dns_t *b);

/* merged over `old`, which may be NULL and is not changed */
tn_rc_t tn_netmap_derp_parse(tn_derpmap_t **map, const tn_derpmap_t *old,
    tn_json_span_t span);

tn_rc_t tn_netmap_user_parse(tn_netmap_user_t **user, tn_json_span_t span);
void tn_netmap_user_free(tn_netmap_user_t *user);


/* named filters; the text of each is kept to see whether one changed */
typedef struct {
    char               *name;
    tn_rules_t          rules;
    uint64_t            digest[2];
} tn_netmap_filter_t;

struct tn_netmap_filters_s {
    tn_netmap_filter_t *filter;         /* sorted by name */
    size_t              n;
};

#define TN_NETMAP_FILTERS_MAX  1024     /* named parts of the filter */

tn_netmap_filters_t *tn_netmap_filters_create(void);
void tn_netmap_filters_free(tn_netmap_filters_t *filters);

/*
 * The filters that result from a message over `old`: spans may be absent.
 * `*rules`, initialised by the caller, gets the concatenation.  *changed
 * tells whether anything is different.
 */
tn_rc_t tn_netmap_filters_parse(tn_netmap_filters_t **filters,
    const tn_netmap_filters_t *old, tn_json_span_t one, tn_json_span_t named,
    tn_rules_t *rules, bool *changed);


/* health lines and display messages over the old ones */
typedef struct {
    tn_netmap_message_t  *message;
    size_t                n;
} tn_netmap_messages_t;

#define TN_NETMAP_MESSAGES_MAX  256

tn_rc_t tn_netmap_messages_parse(tn_netmap_messages_t *messages,
    const tn_netmap_messages_t *old, tn_json_span_t health,
    tn_json_span_t display, bool *changed);
void tn_netmap_messages_free(tn_netmap_messages_t *messages);
/* those that are not among the old ones, each one line */
void tn_netmap_messages_log(const tn_netmap_messages_t *messages,
    const tn_netmap_messages_t *old, tn_log_t *log);


/* --- the store: tn_netmap.c */

/* node is owned by the netmap from here; TN_NOMEM leaves it out and freed */
tn_rc_t tn_netmap_index(tn_netmap_t *netmap, tn_netmap_node_t *node);
/* takes it out of all indexes; it is the caller's then */
void tn_netmap_unindex(tn_netmap_t *netmap, tn_netmap_node_t *node);
/* the indexes of what can change: key, label, addresses, routes */
void tn_netmap_unindex_fields(tn_netmap_t *netmap, tn_netmap_node_t *node);
tn_rc_t tn_netmap_index_fields(tn_netmap_t *netmap, tn_netmap_node_t *node);


/* lists of strings, as tags and domains are */
void tn_netmap_texts_free(char **texts, size_t n);
bool tn_netmap_texts_equal(char *const *a, size_t na, char *const *b,
    size_t nb);
tn_rc_t tn_netmap_texts_parse(char ***texts, size_t *n, const json_t *list);


#endif /* TN_NETMAP_INT_H_INCLUDED_ */
