
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * How nginx says, on an AF_UNIX socket that stands for a connection or flow of
 * a peer, that this one is refused and not only at its end: by a byte with a
 * descriptor, which nothing else brings.
 */

#ifndef TN_HANGUP_H_INCLUDED_
#define TN_HANGUP_H_INCLUDED_

#include <sys/types.h>

#include "base/tn_base.h"


/* before the socket is closed; false: it cannot be said, there is no room */
bool tn_hangup_send(int fd);

/*
 * As recv() with MSG_TRUNC, and whether the last byte is such a one; without a
 * syscall more.
 */
ssize_t tn_hangup_recv(int fd, void *bytes, size_t size, bool *refused);


#endif /* TN_HANGUP_H_INCLUDED_ */
