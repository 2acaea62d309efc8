
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_base.h"

#include <malloc.h>
#include <stdlib.h>


/*
 * Not inline: where the compiler sees how much was asked for, its checks of
 * bounds (_FORTIFY_SOURCE) would end us for the bytes that malloc() rounded up.
 */
void
tn_wipe_free(void *p)
{
    if (p != NULL) {
        tn_wipe(p, malloc_usable_size(p));
        free(p);
    }
}
