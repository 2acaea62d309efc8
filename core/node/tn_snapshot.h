
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Who has which address of a tailnet, in memory that the core writes and
 * other processes read without a lock.  Owns no file: it is given the memory
 * and, as the writer, the peers; a reader trusts nothing that it reads.
 */

#ifndef TN_SNAPSHOT_H_INCLUDED_
#define TN_SNAPSHOT_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_base.h"


#define TN_SNAPSHOT_FIELD_MAX   65536   /* bytes of one field */
#define TN_SNAPSHOT_RECORD_MAX  (256 * 1024)    /* one peer: a reader's buf */
#define TN_SNAPSHOT_PREFIXES    256     /* addresses and routes of one peer */


typedef enum {
    TN_SNAPSHOT_NAME = 0,           /* first label of the FQDN */
    TN_SNAPSHOT_FQDN,
    TN_SNAPSHOT_ID,                 /* the stable id */
    TN_SNAPSHOT_TAGS,               /* joined by commas */
    TN_SNAPSHOT_LOGIN,
    TN_SNAPSHOT_DISPLAY,
    TN_SNAPSHOT_PICTURE,
    TN_SNAPSHOT_CAPS,               /* JSON object: name to array of values */
    TN_SNAPSHOT_CAPS6,              /* the same, for its IPv6 addresses */
    TN_SNAPSHOT_ADDRESSES,          /* joined by commas */
    TN_SNAPSHOT_PATH,
    TN_SNAPSHOT_NFIELDS
} tn_snapshot_field_e;


typedef struct {
    int64_t   id;
    uint64_t  since;                /* generation of its last change */
    tn_str_t  field[TN_SNAPSHOT_NFIELDS];
} tn_snapshot_peer_t;


typedef struct tn_snapshot_writer_s  tn_snapshot_writer_t;

/*
 * Makes an empty snapshot of `size` bytes (64 KiB to 1 GiB, aligned to 64)
 * in `mem`, which stays the caller's: zeroed, or with one of this size in it,
 * whose generation goes on, so that readers of it notice.  Of zeroed memory
 * only the header is touched.  NULL when out of memory or with another size.
 */
tn_snapshot_writer_t *tn_snapshot_create(void *mem, size_t size,
    uint64_t seed);

/* the memory stays as it is and readable */
void tn_snapshot_destroy(tn_snapshot_writer_t *writer);

/*
 * Adds a peer, or replaces the one of this id; peer->since is set here.  A
 * prefix that another peer has becomes this one's.  TN_OK; TN_NOMEM: a
 * limit, out of memory or the snapshot is full; a former record is gone then.
 */
tn_rc_t tn_snapshot_put(tn_snapshot_writer_t *writer,
    const tn_snapshot_peer_t *peer, const tn_prefix_t *prefixes, size_t n);

/* nothing happens when there is none of this id */
void tn_snapshot_remove(tn_snapshot_writer_t *writer, int64_t id);


/* of a reader; what is in it was checked once and is never read again */
typedef struct {
    const uint8_t  *base;
    uint32_t        slots;
    uint32_t        blocks;
} tn_snapshot_t;

/* memory of `size` bytes that may be mapped read only; TN_OK or TN_MALFORMED */
tn_rc_t tn_snapshot_open(tn_snapshot_t *snapshot, const void *mem,
    size_t size);

/* grows with each change: the same number means that nothing changed */
uint64_t tn_snapshot_generation(const tn_snapshot_t *snapshot);

/*
 * The peer whose address this is or who has the longest prefix of it, copied
 * to buf of TN_SNAPSHOT_RECORD_MAX bytes, where peer->field will point; with
 * NULL for buf only id and since are told.
 * TN_OK; TN_NOTFOUND; TN_AGAIN: the writer died while it wrote, or writes all
 * the time; TN_MALFORMED: what it wrote makes no sense.
 */
tn_rc_t tn_snapshot_find(const tn_snapshot_t *snapshot, const tn_ip_t *ip,
    tn_snapshot_peer_t *peer, uint8_t *buf);


#endif /* TN_SNAPSHOT_H_INCLUDED_ */
