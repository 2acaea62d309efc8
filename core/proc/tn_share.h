
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The memory in which a node's core tells nginx's workers who is who: a
 * sealed memfd that the supervisor makes and keeps, written by the core, read
 * only for nginx.  What is in it: node/tn_directory.h.
 */

#ifndef TN_SHARE_H_INCLUDED_
#define TN_SHARE_H_INCLUDED_

#include "base/tn_log.h"
#include "node/tn_directory.h"
#include "path/tn_path.h"
#include "proc/tn_share_memory.h"


typedef struct tn_share_s  tn_share_t;

/*
 * Closes fd, -1 for none.  Never fails: without memory nginx is not told, and
 * the log says so.
 */
tn_share_t *tn_share_open(int fd, tn_log_t *log);

/* each: NULL is allowed; see tn_directory_update(), tn_directory_path() */
void tn_share_update(tn_share_t *share, const tn_netmap_t *netmap,
    const tn_netmap_changes_t *changes);
void tn_share_path(tn_share_t *share, const tn_netmap_t *netmap, int64_t id,
    tn_path_kind_e kind, uint32_t derp);

/*
 * Where the node's data thread keeps tn_plane_conf_t's told_ns: there before
 * the core and after it, until tn_share_close() in this one.  NULL: nowhere.
 */
uint64_t *tn_share_told(tn_share_t *share);

/* the node ends: nobody is known until it comes back */
void tn_share_close(tn_share_t *share);


#endif /* TN_SHARE_H_INCLUDED_ */
