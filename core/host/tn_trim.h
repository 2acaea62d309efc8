
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A process that has started gives back the memory that only its start has
 * needed.
 */

#ifndef TN_TRIM_H_INCLUDED_
#define TN_TRIM_H_INCLUDED_

#include "base/tn_base.h"


/* after the start there is the first handshake and the first page */
#define TN_TRIM_MS  2000

/*
 * Free memory of the heap, and the pages of program files, which come back
 * from the page cache when they are used: a few microseconds for 64 KB.  For
 * a process that is all ours.
 */
void tn_trim(void);


#endif /* TN_TRIM_H_INCLUDED_ */
