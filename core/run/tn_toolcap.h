
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The core's side of `ngx_tailnet_core capture`: one connection per node
 * gets its decrypted packets until it is closed.  Belongs to the control
 * thread.
 */

#ifndef TN_TOOLCAP_H_INCLUDED_
#define TN_TOOLCAP_H_INCLUDED_

#include "run/tn_tool.h"


typedef struct tn_toolcaps_s  tn_toolcaps_t;


/* as of tn_tools_create() and so on */
tn_toolcaps_t *tn_toolcaps_create(tn_loop_t *loop, tn_tools_node_pt node,
    void *data);
void tn_toolcaps_destroy(tn_toolcaps_t *caps);
void tn_toolcaps_take(tn_toolcaps_t *caps, int fd,
    const tn_ipc_tool_t *request);
void tn_toolcaps_forget(tn_toolcaps_t *caps, const tn_node_t *node);


#endif /* TN_TOOLCAP_H_INCLUDED_ */
