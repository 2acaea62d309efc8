
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Decrypted packets on their way from a data thread to the control thread,
 * as blocks of a pcapng file.  A fixed number of chunks goes round; when all
 * are under way packets are counted as lost and nobody waits.
 */

#ifndef TN_CAPTURE_H_INCLUDED_
#define TN_CAPTURE_H_INCLUDED_

#include "base/tn_list.h"
#include "host/tn_loop.h"

#include <stdatomic.h>


#define TN_CAPTURE_CHUNK     (64 * 1024)
#define TN_CAPTURE_CHUNKS    64
#define TN_CAPTURE_FLUSH_MS  100    /* a packet waits no longer for others */

typedef struct tn_capture_s  tn_capture_t;

typedef struct {
    tn_post_t      post;
    tn_link_t      link;            /* the receiver's */
    tn_capture_t  *capture;
    atomic_bool    busy;
    size_t         len;             /* whole blocks */
    uint8_t        bytes[TN_CAPTURE_CHUNK];
} tn_capture_chunk_t;

/* called on the control loop; the chunk is the receiver's until it is done */
typedef void (*tn_capture_pt)(void *data, tn_capture_chunk_t *chunk);


/* --- the control thread; the maker holds it once.  NULL: out of memory */

tn_capture_t *tn_capture_create(tn_loop_t *control, tn_capture_pt fn,
    void *data);

/* nothing more is received; chunks not done are gone */
void tn_capture_close(tn_capture_t *capture);

void tn_capture_done(tn_capture_chunk_t *chunk);


/* --- from any thread */

void tn_capture_hold(tn_capture_t *capture);
void tn_capture_release(tn_capture_t *capture);


/* --- the data thread, which holds it from start to stop */

void tn_capture_start(tn_capture_t *capture, tn_loop_t *loop);
void tn_capture_stop(tn_capture_t *capture);

void tn_capture_packet(tn_capture_t *capture, bool out,
    const uint8_t *packet, size_t len);


#endif /* TN_CAPTURE_H_INCLUDED_ */
