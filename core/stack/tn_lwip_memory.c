
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * All memory of lwIP, of every stack in the process, comes from here and has
 * one limit.  Data is neither taken from nginx nor from peers when three
 * quarters are used (tn_lwip_room(), lwip_keep()), so that there is always
 * something left for what frees memory: acknowledgements, ends, resets.
 *
 * Called with lwIP held, so the count needs no lock of its own.
 */

#include "tn_lwip_int.h"

#include <malloc.h>
#include <stdlib.h>


static size_t  lwip_used;


void *
tn_lwip_malloc(size_t size)
{
    void  *p;

    if (size == 0 || lwip_used + size > TN_LWIP_MEMORY) {
        return NULL;
    }

    p = malloc(size);

    if (p != NULL) {
        lwip_used += malloc_usable_size(p);
    }

    return p;
}


void *
tn_lwip_calloc(size_t n, size_t size)
{
    void  *p;

    if (size != 0 && n > TN_LWIP_MEMORY / size) {
        return NULL;
    }

    p = tn_lwip_malloc(n * size);

    if (p != NULL) {
        memset(p, 0, n * size);
    }

    return p;
}


void
tn_lwip_free(void *p)
{
    if (p != NULL) {
        lwip_used -= malloc_usable_size(p);
        free(p);
    }
}


size_t
tn_lwip_used(void)
{
    return lwip_used;
}


bool
lwip_memory_is_short(void)
{
    return lwip_used > TN_LWIP_MEMORY / 4 * 3;
}
