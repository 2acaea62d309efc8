
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The supervisor's work inside a single-process nginx (master_process off):
 * the same tn_super without a process around it.  Called by tn_client only;
 * one per process; belongs to nginx's main thread.
 */

#ifndef TN_LOCAL_H_INCLUDED_
#define TN_LOCAL_H_INCLUDED_

#include "proc/tn_client.h"


/*
 * A lifeline, or NULL with one line in text (TN_IPC_TEXT bytes), which may
 * be TN_SUPERD_BUSY.
 */
void *tn_local_open(const tn_client_conf_t *conf, char *text);

/* as tn_super_request(); *fd stays ours */
bool tn_local_request(void *lifeline, tn_ipc_msg_t *msg, int *fds,
    size_t count, tn_ipc_reply_t *reply, int *fd);

/* the last one ends the core's thread and everything else */
void tn_local_close(void *lifeline);

/* the same with all that are open; closing one later does nothing */
void tn_local_end(void);

/* what tn_core_run() takes; -1 when taken or before the first commit */
int tn_local_core(void);

/* the work of the supervisor's loop */
void tn_local_tick(void);


#endif /* TN_LOCAL_H_INCLUDED_ */
