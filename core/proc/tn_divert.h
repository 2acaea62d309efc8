
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Connections to addresses that are not the node's own, in its private
 * namespace: brought to listeners of nginx that wait for them.  Used by the
 * holder; acts on the namespace it is in.
 */

#ifndef TN_DIVERT_H_INCLUDED_
#define TN_DIVERT_H_INCLUDED_

#include "proc/tn_ipc.h"


/* where the listener of all ports waits, at TN_DIVERT_ANY4 and _ANY6 */
#define TN_DIVERT_ANY_PORT  1

/*
 * Each: TN_OK, or TN_ERROR with errno and one line in text (TN_IPC_TEXT
 * bytes).
 *
 * Makes the socket able to stand for other addresses, and gives the address
 * that it is to be bound to.  Before bind().
 */
tn_rc_t tn_divert_socket(int fd, const tn_ipc_listen_t *conf,
    tn_addr_t *addr, char *text);

/*
 * From now on, what comes in by `tun` for addresses that are not the
 * namespace's and for this listener's port goes to it; for ports that nobody
 * waits for it is refused.  It stays so when the listener is gone: refused.
 */
tn_rc_t tn_divert_start(const char *tun, const tn_ipc_listen_t *conf,
    char *text);


#endif /* TN_DIVERT_H_INCLUDED_ */
