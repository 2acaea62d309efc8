
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Counters for each connection through the tunnel, and for each way that
 * carries it: made when somebody asks, bounded, the least recently used go
 * first.  Belongs to the data thread (upstream: net/connstats).
 */

#ifndef TN_TALLY_H_INCLUDED_
#define TN_TALLY_H_INCLUDED_

#include "base/tn_addr.h"
#include "wire/tn_ip.h"


#define TN_TALLY_MAX  4096          /* connections and ways together */

typedef struct tn_tally_s  tn_tally_t;

typedef struct {
    /*
     * A connection: own address and the peer's, ports 0 where the protocol
     * has none.  A way: `local` is the peer's tailnet address, `remote` where
     * it is reached, or port 0 and `region` is the DERP region.
     */
    tn_addr_t   local;
    tn_addr_t   remote;
    bool        way;
    uint8_t     proto;              /* of a connection */
    uint32_t    region;

    uint64_t    tx_packets;
    uint64_t    tx_bytes;
    uint64_t    rx_packets;
    uint64_t    rx_bytes;
} tn_tally_count_t;


/* NULL when out of memory */
tn_tally_t *tn_tally_create(tn_ms_t now);

/* NULL is allowed */
void tn_tally_destroy(tn_tally_t *tally);

/* `packets` alike of these headers, with `bytes` in all */
void tn_tally_packet(tn_tally_t *tally, const tn_packet_t *p, bool out,
    size_t packets, size_t bytes);

/* a message to or from a peer, by UDP, or over a region when addr is NULL */
void tn_tally_message(tn_tally_t *tally, const tn_ip_t *peer,
    const tn_addr_t *addr, uint32_t region, bool out, size_t bytes);

/*
 * What has been counted since *since: an array, the caller's to free, NULL
 * when out of memory or empty; the most recently used last.  *left_out: how
 * many had to go.
 */
tn_tally_count_t *tn_tally_copy(const tn_tally_t *tally, size_t *n,
    uint64_t *left_out, tn_ms_t *since);


#endif /* TN_TALLY_H_INCLUDED_ */
