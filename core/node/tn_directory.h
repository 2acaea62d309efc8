
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Who is who on a node's tailnet, for nginx's workers: what of the netmap
 * identity is made of, in shared memory that is given.  The core writes it
 * with every change of the netmap; readers need no lock and no word from it.
 */

#ifndef TN_DIRECTORY_H_INCLUDED_
#define TN_DIRECTORY_H_INCLUDED_

#include "control/tn_netmap.h"
#include "node/tn_snapshot.h"


/*
 * Bytes of the memory, all of it zeroed at first and none of it touched
 * before there are peers for it.
 */
#define TN_DIRECTORY_SIZE  (TN_DIRECTORY_HEAD + 2 * TN_DIRECTORY_AREA)

#define TN_DIRECTORY_HEAD  4096
#define TN_DIRECTORY_AREA  ((size_t) 1 << TN_DIRECTORY_LOG_MAX)

/* where addresses have 32 bits: room for 40,000 peers, and for more nodes */
#define TN_DIRECTORY_LOG_MAX  (sizeof(size_t) > 4 ? 28 : 26)


/* --- the writer */

typedef struct tn_directory_writer_s  tn_directory_writer_t;

/* makes memory zeroed and gives it back to the system */
typedef void (*tn_directory_release_pt)(void *mem, size_t len);

/*
 * What is in the memory stays readable until the first update.  NULL when
 * out of memory.
 */
tn_directory_writer_t *tn_directory_create(void *mem,
    tn_directory_release_pt release, uint64_t seed, tn_log_t *log);

/* NULL is allowed; the memory stays readable */
void tn_directory_destroy(tn_directory_writer_t *writer);

/* what one message changed, or with NULL the whole netmap */
void tn_directory_update(tn_directory_writer_t *writer,
    const tn_netmap_t *netmap, const tn_netmap_changes_t *changes);

/* how the peer is reached: "direct", "derp-fra"; copied, 31 bytes at most */
void tn_directory_path(tn_directory_writer_t *writer,
    const tn_netmap_t *netmap, int64_t id, const char *path);

/* from here on nobody is known */
void tn_directory_forget(tn_directory_writer_t *writer);


/* --- a reader */

typedef struct {
    const uint8_t  *mem;        /* TN_DIRECTORY_SIZE, maybe read only */
} tn_directory_t;

/*
 * Whose own address this is, as tn_snapshot_find() tells it.  TN_NOTFOUND
 * also for this node's addresses and for those behind a subnet router: only
 * a peer itself is proven by its key.  TN_AGAIN: the core died while it
 * wrote, and there is no other yet.
 */
tn_rc_t tn_directory_find(const tn_directory_t *directory, const tn_ip_t *ip,
    tn_snapshot_peer_t *peer, uint8_t *buf);

/* this node itself: its names, addresses, tags and user */
tn_rc_t tn_directory_self(const tn_directory_t *directory,
    tn_snapshot_peer_t *self, uint8_t *buf);


#endif /* TN_DIRECTORY_H_INCLUDED_ */
