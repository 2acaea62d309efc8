
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A MapResponse parsed beside the netmap: what tn_netmap_draft.c fills and
 * tn_netmap_apply.c puts in place.  Nobody else includes it.
 */

#ifndef TN_NETMAP_DRAFT_H_INCLUDED_
#define TN_NETMAP_DRAFT_H_INCLUDED_

#include "control/tn_netmap_int.h"


typedef struct {
    int64_t                id;
    bool                   yes;
} tn_netmap_flag_t;

typedef struct {
    tn_netmap_t           *netmap;
    int64_t                wall;
    bool                   fresh;

    tn_netmap_node_t      *self;
    tn_derpmap_t          *derpmap;
    tn_netmap_dns_t        dns;
    bool                   dns_given;
    char                  *domain;
    char                  *lock_head;

    bool                   full;        /* nodes replace all peers */
    tn_netmap_node_t     **nodes;
    size_t                 nnodes;
    int64_t               *removed;
    size_t                 nremoved;
    tn_netmap_flag_t      *seen;
    size_t                 nseen;
    tn_netmap_flag_t      *online;
    size_t                 nonline;
    tn_netmap_patch_t     *patches;
    size_t                 npatches;

    tn_netmap_user_t     **users;
    size_t                 nusers;

    tn_netmap_filters_t   *filters;
    tn_rules_t             rules;
    bool                   filters_changed;

    tn_netmap_messages_t   messages;
    bool                   messages_given;
    bool                   messages_changed;

    size_t                 left_out;
    bool                   judge;       /* something of tailnet lock's */
    tn_netmap_changes_t   *changes;
    size_t                 changes_size;
    size_t                 removed_size;
} tn_netmap_draft_t;


/*
 * Fills what is not the caller's: netmap, wall, fresh and changes are set,
 * rules initialised, the rest zero.  TN_OK, TN_MALFORMED or TN_NOMEM; to be
 * freed by tn_netmap_draft_done() in each case.
 */
tn_rc_t tn_netmap_draft_parse(tn_netmap_draft_t *draft,
    const tn_map_message_t *message);
void tn_netmap_draft_done(tn_netmap_draft_t *draft);

/* --- tn_netmap_apply.c, for tn_netmap_lock.c */

/* a change of a peer goes into draft->changes */
tn_rc_t tn_netmap_note(tn_netmap_draft_t *draft, tn_netmap_node_t *node,
    uint32_t what);
/* its leaving does; node is not freed */
tn_rc_t tn_netmap_note_removed(tn_netmap_draft_t *draft,
    tn_netmap_node_t *node);
/* whoever has this key, but for `but`, leaves */
tn_rc_t tn_netmap_drop_key(tn_netmap_draft_t *draft, const tn_key_t *key,
    const tn_netmap_node_t *but);

/* --- tn_netmap_lock.c */

/* whom tailnet lock does not vouch for is hidden, others come back */
tn_rc_t tn_netmap_judge(tn_netmap_draft_t *draft);

/* room for one more in an array that doubles; NULL: the old one stays */
void *tn_netmap_grow(void *array, size_t n, size_t size);


#endif /* TN_NETMAP_DRAFT_H_INCLUDED_ */
