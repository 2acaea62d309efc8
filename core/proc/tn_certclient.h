
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A worker's side of the certificates that the core gives it.
 */

#ifndef TN_CERTCLIENT_H_INCLUDED_
#define TN_CERTCLIENT_H_INCLUDED_

#include "cert/tn_chain.h"
#include "proc/tn_ipc.h"


/*
 * Asks the core behind dir/dial.sock for the certificates of a node; flags
 * are TN_IPC_CERT_, domains names besides those that control lists, separated
 * by commas, TN_IPC_TAGS bytes at most with the zero.  A descriptor to wait
 * on for reading for as long as the worker lives, non-blocking and
 * close-on-exec, or -1: to be tried again.
 */
int tn_certclient_open(const char *dir, const char *node, uint32_t flags,
    const char *domains);

/*
 * When it is readable.  TN_OK: the whole set as it is now, TN_CHAIN_SET_MAX
 * at most, is the caller's; call again.  TN_AGAIN: wait on.  Else the core
 * went away: close it, open another; what there is stays good.
 */
tn_rc_t tn_certclient_read(int fd, tn_chain_named_t *set, size_t *n);


#endif /* TN_CERTCLIENT_H_INCLUDED_ */
