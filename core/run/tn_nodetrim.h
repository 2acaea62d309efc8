
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * When a node's process gives memory back: soon after what only happens at
 * the begin, ever more rarely as it goes on.
 */

#ifndef TN_NODETRIM_H_INCLUDED_
#define TN_NODETRIM_H_INCLUDED_

#include "run/tn_node.h"


/* the first, before any other call */
void tn_nodetrim_init(tn_node_t *node);

/* something was done that may be done with: a start, a new path */
void tn_nodetrim_later(tn_node_t *node);

/* a netmap of thousands was taken apart: when that has been quiet */
void tn_nodetrim_large(tn_node_t *node);


#endif /* TN_NODETRIM_H_INCLUDED_ */
