
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Longest-prefix match over IPv4 and IPv6 prefixes: a hash table probed once
 * for each prefix length in use, the longest first.  Tailnets are mostly
 * /32 and /128, so the first probe usually ends it.
 */

#ifndef TN_TABLE_H_INCLUDED_
#define TN_TABLE_H_INCLUDED_

#include "tn_addr.h"


typedef struct tn_table_entry_s  tn_table_entry_t;

typedef struct {
    tn_table_entry_t  **buckets;    /* NULL until the first prefix */
    size_t              mask;
    size_t              count;
    uint64_t            seed;       /* peers cannot choose what collides */
    uint32_t            used[2][129];   /* entries of each length; [0] v6,
                                           [1] v4 */
    uint8_t             lengths[2][129];    /* those with entries, longest
                                               first */
    uint32_t            nlengths[2];
} tn_table_t;


void tn_table_init(tn_table_t *table);
void tn_table_done(tn_table_t *table);

/*
 * Adds, or replaces the value of an equal prefix; value must not be NULL and
 * is not owned.  TN_OK or TN_NOMEM.
 */
tn_rc_t tn_table_set(tn_table_t *table, const tn_prefix_t *prefix,
    void *value);

/* removes it when its value is `value`, or always when `value` is NULL */
void tn_table_remove(tn_table_t *table, const tn_prefix_t *prefix,
    const void *value);

/* the value of the longest prefix that contains ip, or NULL */
void *tn_table_find(const tn_table_t *table, const tn_ip_t *ip);

/* the value of exactly this prefix, or NULL */
void *tn_table_get(const tn_table_t *table, const tn_prefix_t *prefix);


#endif /* TN_TABLE_H_INCLUDED_ */
