
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Descriptors that are left for what this process cannot do without: a message
 * of the supervisor that brings one would be cut, and end the core.
 */

#ifndef TN_SCARCE_H_INCLUDED_
#define TN_SCARCE_H_INCLUDED_

#include "base/tn_base.h"


#define TN_SCARCE_SPARE  64


/*
 * What was just opened for somebody outside, or -1: returns `fd`, unless it is
 * one of the last TN_SCARCE_SPARE below RLIMIT_NOFILE, as the kernel gives the
 * lowest number that is free.  Then it is closed, and the result is -1 with
 * EMFILE.  Any thread.
 */
int tn_scarce_spare(int fd);


#endif /* TN_SCARCE_H_INCLUDED_ */
