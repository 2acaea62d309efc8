
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The file in memory that a node's directory is in: made and kept by the
 * supervisor, written by the core (proc/tn_share.h), mapped by nginx.
 */

#ifndef TN_SHARE_MEMORY_H_INCLUDED_
#define TN_SHARE_MEMORY_H_INCLUDED_

#include "base/tn_base.h"


/* as much as node/tn_directory.h wants */
#define TN_SHARE_BYTES                                                        \
    (4096 + 2 * ((size_t) (sizeof(size_t) > 4 ? 256 : 64) << 20))

/*
 * A new one that cannot change its size: nobody who maps it can be made to
 * fault.  -1 with errno set.
 */
int tn_share_create(void);

/* the same file, another descriptor by which it cannot be written, or -1 */
int tn_share_read_only(int fd);

/*
 * TN_SHARE_BYTES bytes, for as long as they are mapped whatever happens
 * to fd; NULL with errno set, also for a file that is none of
 * tn_share_create().
 */
void *tn_share_map(int fd, bool write);

/* NULL is allowed */
void tn_share_unmap(void *mem);


#endif /* TN_SHARE_MEMORY_H_INCLUDED_ */
