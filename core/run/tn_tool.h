
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The core's side of `ngx_tailnet_core status` and its kin: takes a request
 * that came over dial.sock, asks the nodes and sends JSON.  Belongs to the
 * control thread; shows no private key.
 */

#ifndef TN_TOOL_H_INCLUDED_
#define TN_TOOL_H_INCLUDED_

#include "host/tn_loop.h"
#include "run/tn_node.h"


#define TN_TOOL_MAX      8          /* requests at a time */
#define TN_TOOL_ASK_MS   2000       /* for the data threads to answer */
#define TN_TOOL_PING_MS  7000       /* for a pong, or the word of none */
#define TN_TOOL_SEND_MS  10000      /* for the whole answer to be read */

typedef struct tn_tools_s  tn_tools_t;

/*
 * The i-th node (from 0), false after the last.  *node is NULL while the
 * node is between two lives.
 */
typedef bool (*tn_tools_node_pt)(void *data, size_t i, const char **name,
    tn_node_t **node);


/* NULL when out of memory */
tn_tools_t *tn_tools_create(tn_loop_t *loop, tn_tools_node_pt node,
    void *data);

/* closes what is under way; after the last node was freed */
void tn_tools_destroy(tn_tools_t *tools);

/* takes the connection over; `tools` is a tn_tools_t, for tn_dial_tools() */
void tn_tools_take(void *tools, int fd, const tn_ipc_tool_t *request);

/* the node is going to be freed: nothing is waited for from it */
void tn_tools_forget(tn_tools_t *tools, const tn_node_t *node);


#endif /* TN_TOOL_H_INCLUDED_ */
