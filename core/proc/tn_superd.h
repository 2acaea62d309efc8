
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The supervisor's process: its socket, signals, the core's life and its own
 * end.  Started by nginx's side (tn_client), ends a second after the last
 * lifeline closed.
 */

#ifndef TN_SUPERD_H_INCLUDED_
#define TN_SUPERD_H_INCLUDED_

#include "base/tn_base.h"


/*
 * Where it tells who started it how that went: one message, a text.  Ready
 * and busy (another one serves or is about to end) are these, all else is
 * the reason for a failure.
 */
#define TN_SUPERD_STATUS_FD  3
#define TN_SUPERD_CORE_FD    4      /* and where the core's program is open */
#define TN_SUPERD_READY      "ready"
#define TN_SUPERD_BUSY       "busy"

/* argv: "super", the run-time directory.  Returns the exit status. */
int tn_superd_main(int argc, char **argv);

/*
 * Opens and locks the run-time directory, which has to be ours and private.
 * Returns its descriptor, which holds the lock; -1 with a line in text
 * (TN_IPC_TEXT bytes), or with TN_SUPERD_BUSY in it.
 */
int tn_superd_lock(const char *dir, char *text);


#endif /* TN_SUPERD_H_INCLUDED_ */
