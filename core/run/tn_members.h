
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Tells nginx's workers who stands behind a name, "tag:NAME" is many peers,
 * at once and at each change, over connections that came by dial.sock.
 * Belongs to the control thread; never blocks.
 */

#ifndef TN_MEMBERS_H_INCLUDED_
#define TN_MEMBERS_H_INCLUDED_

#include "proc/tn_ipc.h"
#include "host/tn_loop.h"


#define TN_MEMBERS_MAX  4096        /* connections; others are closed */

typedef struct tn_members_s  tn_members_t;

/*
 * Fills in who it is.  False while that is not known, and then nobody is
 * told: the last word stands.
 */
typedef bool (*tn_members_pt)(void *data, const tn_ipc_watch_t *request,
    tn_ipc_members_t *msg);


/* NULL when out of memory */
tn_members_t *tn_members_create(tn_loop_t *loop, tn_members_pt find,
    void *data);

/* closes all: their workers ask again */
void tn_members_destroy(tn_members_t *members);

/* takes the connection over; `data` is a tn_members_t */
void tn_members_take(void *data, int fd, const tn_ipc_watch_t *request);

/* peers may have changed: looks after the handlers of this turn */
void tn_members_changed(tn_members_t *members);


#endif /* TN_MEMBERS_H_INCLUDED_ */
