
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The process that lives in one node's private network namespace: makes the
 * TUN and the sockets, sets addresses.  Started by the supervisor; serves it
 * and, over a channel of its own, the core.  It reads no network data.
 */

#ifndef TN_HOLDER_H_INCLUDED_
#define TN_HOLDER_H_INCLUDED_

#include "proc/tn_ipc.h"


/* the descriptors it is started with */
#define TN_HOLDER_CTL_FD   3
#define TN_HOLDER_NET_FD   4    /* "net" and "user" */
#define TN_HOLDER_USER_FD  5    /* "user" */

/* how it comes to its namespace: its third argument */
#define TN_HOLDER_NEW       "new"
#define TN_HOLDER_NET       "net"
#define TN_HOLDER_USER      "user"


/*
 * argv: "holder", the node's name, how.  Ends when the supervisor's channel
 * closes.  Returns the exit status.
 */
int tn_holder_main(int argc, char **argv);


#endif /* TN_HOLDER_H_INCLUDED_ */
