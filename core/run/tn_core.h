
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The core as its hosts see it: one function that runs all nodes until its
 * control channel closes.  The core process, a thread of a single-process
 * nginx and the command-line node call it.
 */

#ifndef TN_CORE_H_INCLUDED_
#define TN_CORE_H_INCLUDED_

#include "proc/tn_ipc.h"


/*
 * Runs the core.  Over ctl_fd, a SOCK_SEQPACKET socket which becomes the
 * core's, come by tn_ipc_recv(), in this order:
 *
 *   TN_IPC_CORE_SETUP   the error log (TN_IPC_FD_LOG), its level, and the
 *                       listener of dial.sock (TN_IPC_FD_DIAL)
 *   TN_IPC_CORE_NODE    any number: a configuration and the descriptors that
 *                       node.mask names: TUN (virtio-net header, 10 bytes),
 *                       HOLDER (channel to the holder, for tn_pool), UDP4,
 *                       UDP6; without TUN node.text says why
 *   TN_IPC_CORE_START   the initial nodes are complete
 *
 * and later at any time
 *
 *   TN_IPC_CORE_SETUP   a reopened log or another level; no DIAL then
 *   TN_IPC_CORE_NODE    a new node, or one that is to be restarted with this
 *                       configuration and these descriptors
 *   TN_IPC_CORE_HOLDER  the holder was replaced: its new channel
 *   TN_IPC_CORE_STOP    end this node
 *   TN_IPC_CORE_RESUME  all of the above comes again, up to CORE_START: what
 *                       is so already goes on, what is not named ends
 *
 * Returns 0 after ctl_fd was closed by the other side and everything was
 * shut down, another number when it could not start.
 */
int tn_core_run(int ctl_fd);

/*
 * The stand-alone node of the command line, for tests and benchmarks:
 * `ngx_tailnet_core node ARGS`; argv[0] is "node".  Returns the exit status.
 */
int tn_core_command(int argc, char **argv);


#endif /* TN_CORE_H_INCLUDED_ */
