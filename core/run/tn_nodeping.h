
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The pings control asks a node for.  Control's thread only.
 */

#ifndef TN_NODEPING_H_INCLUDED_
#define TN_NODEPING_H_INCLUDED_

#include "run/tn_node.h"


/*
 * Does what ops->ping of tn_control.h asks: disco by the node's data thread;
 * of any other type control hears at once that it is not supported.  What
 * is under way is kept on `pings`.
 */
void tn_nodeping_ask(tn_node_t *node, tn_link_t *pings,
    const tn_control_ping_t *ping);

/* after tn_data_stop(): forgets those that nobody will answer any more */
void tn_nodeping_drop(tn_link_t *pings);


#endif /* TN_NODEPING_H_INCLUDED_ */
