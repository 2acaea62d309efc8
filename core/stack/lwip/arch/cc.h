
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What lwIP asks of its compiler and platform.  Included by lwIP only.
 */

#ifndef TN_LWIP_CC_H_INCLUDED_
#define TN_LWIP_CC_H_INCLUDED_

#include <stdlib.h>


/* a broken invariant of the stack: the core ends and is started again */
#define LWIP_PLATFORM_ASSERT(text)  abort()
#define LWIP_PLATFORM_DIAG(text)

/* initial sequence numbers and ports must not be guessed */
unsigned int tn_lwip_random(void);

#define LWIP_RAND()  tn_lwip_random()


#endif /* TN_LWIP_CC_H_INCLUDED_ */
