
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Which flows of the own stack have much to send, so that others need not
 * wait behind them: told by the data thread of what it reads from the TUN,
 * asked of what it writes there.  A fixed table, no packet is kept.
 */

#ifndef TN_BULK_H_INCLUDED_
#define TN_BULK_H_INCLUDED_

#include "base/tn_base.h"


#define TN_BULK_SETS         64
#define TN_BULK_WAYS         4

/* packets that count, by their bytes: those of a stream in full flow */
#define TN_BULK_BIG_BYTES    (16 * 1024)

/* a flow is bulk that is so far ahead of one of TN_BULK_BYTES_MS a ms */
#define TN_BULK_AHEAD_BYTES  (128 * 1024)
#define TN_BULK_BYTES_MS     (16 * 1024)

/* and is until none of its big packets came for so long */
#define TN_BULK_IDLE_MS      1000


typedef enum {
    TN_BULK_NO = 0,
    TN_BULK_YES,
    TN_BULK_MOVED               /* bulk, and told so for the first time */
} tn_bulk_e;

typedef struct {
    uint64_t           key;     /* 0: free */
    tn_ms_t            at;      /* of the last big packet */
    uint32_t           ahead;   /* bytes */
    bool               bulk;
    bool               told;
} tn_bulk_entry_t;

typedef struct {
    uint64_t           seed;
    tn_ms_t            until;   /* nobody is bulk from then on */
    tn_bulk_entry_t    entries[TN_BULK_SETS][TN_BULK_WAYS];
} tn_bulk_t;


/* with a random seed: nobody shall choose whose place he takes */
void tn_bulk_init(tn_bulk_t *bulk, uint64_t seed);

/* the stack sends this packet; of interest from TN_BULK_BIG_BYTES on */
void tn_bulk_sent(tn_bulk_t *bulk, tn_ms_t now, const uint8_t *packet,
    size_t len);

/*
 * What the flow of a packet is that goes to the stack, of which `len` bytes
 * lie here, headers at least; both directions are one flow.  Fragments, IPv6
 * extension headers and what is not understood are sparse.
 */
tn_bulk_e tn_bulk_find(tn_bulk_t *bulk, tn_ms_t now,
    const uint8_t *packet, size_t len);


/* the same, cheap while nobody is bulk */
static inline tn_bulk_e
tn_bulk_of(tn_bulk_t *bulk, tn_ms_t now, const uint8_t *packet, size_t len)
{
    return tn_likely(now >= bulk->until)
           ? TN_BULK_NO : tn_bulk_find(bulk, now, packet, len);
}


#endif /* TN_BULK_H_INCLUDED_ */
