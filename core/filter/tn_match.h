
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The compiled form of the rules and of sets of addresses: per family,
 * sorted, without overlaps.  Internal to the filter.
 */

#ifndef TN_MATCH_H_INCLUDED_
#define TN_MATCH_H_INCLUDED_

#include "tn_filter.h"
#include "base/tn_wide.h"

#include <endian.h>


/* an address as a number; IPv4 in the low bits of its mapped form */
typedef tn_wide_t  tn_ip_number_t;

typedef struct {
    tn_ip_number_t   lo;
    tn_ip_number_t   hi;
} tn_range_t;

/* of one family, ascending and disjoint once built */
typedef struct {
    tn_range_t      *range;
    size_t           n;
} tn_ranges_t;

typedef struct {
    tn_range_t       range;
    uint16_t         first;
    uint16_t         last;
} tn_match_dst_t;

typedef struct {
    uint32_t         protos[8];
    uint64_t         caps;      /* any of these stands for a source */
    tn_ranges_t      srcs;
    tn_match_dst_t  *dsts;
    size_t           ndsts;
} tn_match_t;

struct tn_filter_rules_s {
    tn_match_t      *matches[2];    /* [0] IPv6, [1] IPv4 */
    size_t           nmatches[2];
    char            *caps[TN_FILTER_CAPS_MAX];
    size_t           ncaps;
};

/* what of a destination counts beside its address */
typedef enum {
    TN_MATCH_PORT = 0,          /* protocol and port */
    TN_MATCH_ALL_PORTS,         /* protocol, and all ports are open */
    TN_MATCH_IPS                /* nothing: some port of it is open */
} tn_match_mode_t;


static inline tn_ip_number_t
tn_ip_number(const tn_ip_t *ip)
{
    uint64_t        w[2];
    tn_ip_number_t  number;

    memcpy(w, ip->b, sizeof(w));

    number.hi = be64toh(w[0]);
    number.lo = be64toh(w[1]);

    return number;
}


/* whether an address of the ranges' family is in one of them */
bool tn_ranges_contain(const tn_ranges_t *ranges, tn_ip_number_t ip);

/* sorts them and joins what overlaps or touches */
void tn_ranges_build(tn_ranges_t *ranges);

bool tn_match_find(const tn_filter_rules_t *compiled, const tn_packet_t *p,
    uint64_t caps, tn_match_mode_t mode);


#endif /* TN_MATCH_H_INCLUDED_ */
