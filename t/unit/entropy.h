
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * libc's getrandom(), for t/unit/lwip*.c: sequence numbers, ports and hashes of
 * lwIP are the same in each run.
 */

#ifndef ENTROPY_H_INCLUDED_
#define ENTROPY_H_INCLUDED_

#include <stddef.h>
#include <stdint.h>
#include <sys/random.h>


static uint32_t  entropy;


ssize_t
getrandom(void *buf, size_t len, unsigned flags)
{
    size_t  i;

    (void) flags;

    for (i = 0; i < len; i++) {
        entropy = entropy * 1664525 + 1013904223;
        ((uint8_t *) buf)[i] = (uint8_t) (entropy >> 24);
    }

    return (ssize_t) len;
}


#endif /* ENTROPY_H_INCLUDED_ */
