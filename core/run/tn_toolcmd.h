
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The command line that looks at a running core: asks over dial.sock, prints
 * text or the JSON as it came.  A process of its own, started by a person.
 */

#ifndef TN_TOOLCMD_H_INCLUDED_
#define TN_TOOLCMD_H_INCLUDED_

#include "base/tn_base.h"


/* whether `ngx_tailnet_core WHAT` is one of these commands */
bool tn_toolcmd_is(const char *what);

/* argv[0] is the command; returns the exit status: 0, 1 failed, 2 usage */
int tn_toolcmd_main(int argc, char **argv);

/* names all commands, of the program's others too; returns 2 */
int tn_toolcmd_usage(void);


#endif /* TN_TOOLCMD_H_INCLUDED_ */
