
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A batch of datagrams to send: built by a data thread, sealed as far as that
 * was left over, and sent, by that thread or by its helper.  What came of it
 * is read afterwards, so a batch belongs to one thread at a time.
 */

#ifndef TN_UDP_BATCH_H_INCLUDED_
#define TN_UDP_BATCH_H_INCLUDED_

#include "base/tn_addr.h"
#include "crypto/tn_aead.h"


#define TN_UDP_TX_MESSAGES   64         /* of one flush */
#define TN_UDP_TX_BYTES      (64 * 1024)
#define TN_UDP_TX_SEGMENTS   64         /* UDP_MAX_SEGMENTS of Linux */
#define TN_UDP_TX_DATAGRAMS  1024       /* of one flush */
#define TN_UDP_TX_BACK       16         /* messages that are looked at */
#define TN_UDP_TX_SEALS      256        /* datagrams left unsealed */
#define TN_UDP_TX_KEYS       16         /* and runs of one key in them */
#define TN_UDP_TX_FAULTS     16         /* destinations that are told */
#define TN_UDP_MAX_DATAGRAM  65487      /* fits IPv6 without options too */

typedef struct tn_udp_batch_s  tn_udp_batch_t;

typedef struct {
    tn_addr_t        to;
    int              err;               /* errno's */
} tn_udp_fault_t;

/* what came of a batch; arrays by "is IPv6" */
typedef struct {
    uint64_t         calls;
    uint64_t         messages;
    uint64_t         datagrams;
    uint64_t         bytes;
    uint64_t         dropped;           /* datagrams; the socket was full */
    uint64_t         failed;            /* datagrams; any other error */
    bool             worked[2];         /* UDP_SEGMENT did */
    int              refused[2];        /* errno with which it did not, or 0 */
    unsigned         nfaults;           /* each destination once */
    tn_udp_fault_t   faults[TN_UDP_TX_FAULTS];
} tn_udp_sent_t;


/* NULL when out of memory */
tn_udp_batch_t *tn_udp_batch_create(void);

/* NULL is allowed; lets its keys go */
void tn_udp_batch_destroy(tn_udp_batch_t *batch);

/*
 * Empties it and lets its keys go.  `segments` tells for which family
 * UDP_SEGMENT may be used, by "is IPv6".
 */
void tn_udp_batch_begin(tn_udp_batch_t *batch, const bool segments[2]);

/*
 * Room for a datagram, or NULL when the batch has to be sent first; to be
 * added when it is built, else the next call takes it back.  `len` is up to
 * TN_UDP_MAX_DATAGRAM.
 */
uint8_t *tn_udp_batch_room(tn_udp_batch_t *batch, const tn_addr_t *to,
    size_t len);

/* see tn_udp_add() */
void tn_udp_batch_add(tn_udp_batch_t *batch, uint32_t flow);

/*
 * Jobs whose memory lies in datagrams of this batch, one each and in their
 * order, to be done by whoever sends it, before that.  Until the batch begins
 * anew it has a share of tn_aead_apart().  False when the batch takes no more
 * of them: then the caller has to seal.
 */
bool tn_udp_batch_seal(tn_udp_batch_t *batch, tn_aead_t *aead,
    const tn_aead_job_t *jobs, size_t n);

bool tn_udp_batch_is_empty(const tn_udp_batch_t *batch);

/* something in it has yet to be sealed */
bool tn_udp_batch_is_open(const tn_udp_batch_t *batch);

/*
 * Seals and sends; fds by "is IPv6", as they are when it is sent, -1 for
 * none.  Set first, then send, from whichever thread.  `out` is of
 * TN_UDP_TX_BYTES and that thread's own: what is sealed is written there, not
 * into memory that another thread will fill again.  NULL: in place.
 */
void tn_udp_batch_set(tn_udp_batch_t *batch, const int fds[2], uint8_t *out);
void tn_udp_batch_send(tn_udp_batch_t *batch);

/* after that, until it begins anew */
const tn_udp_sent_t *tn_udp_batch_sent(const tn_udp_batch_t *batch);

/* what an errno of sending means: TN_AGAIN, the socket is full; TN_NOTFOUND,
 * the destination cannot be reached now; TN_ERROR, anything else */
tn_rc_t tn_udp_err_sort(int err);


#endif /* TN_UDP_BATCH_H_INCLUDED_ */
