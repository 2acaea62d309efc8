
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The UDP port that a node had last, in its state directory.  A peer goes on
 * sending to the address at which it last heard of a node, so a node that
 * starts again at the same port is reached at once, where another port costs
 * seconds; routers' mappings and firewalls' states hold on, too.
 *
 * The core writes the file, who may have less rights than who reads it: the
 * supervisor, which may be root.  Hence no link is followed, and no port is
 * accepted that takes privileges.
 */

#ifndef TN_LASTPORT_H_INCLUDED_
#define TN_LASTPORT_H_INCLUDED_

#include "host/tn_state.h"


#define TN_LASTPORT_FILE  "port"
#define TN_LASTPORT_MIN   1024


/* of the state directory at this path; 0 when nothing usable is there */
uint16_t tn_lastport_read(const char *path);

/*
 * Keeps a port that is not what tn_lastport_read() says already; 0 and those
 * under TN_LASTPORT_MIN are left out.  TN_OK, or TN_ERROR as tn_state_write().
 */
tn_rc_t tn_lastport_write(tn_state_t *state, const char *path, uint16_t port,
    tn_state_error_t *error);


#endif /* TN_LASTPORT_H_INCLUDED_ */
