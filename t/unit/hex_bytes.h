
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Bytes from their hexadecimal text, in memory of their length exactly, that
 * ASan sees what reads past them.
 */

#ifndef HEX_BYTES_H_INCLUDED_
#define HEX_BYTES_H_INCLUDED_

#include "tap.h"

#include <stdint.h>
#include <stdlib.h>

typedef struct {
    uint8_t  *data;     /* to be freed */
    size_t    len;
} bytes_t;


static inline bytes_t
bytes_of(const char *hex)
{
    bytes_t  b;

    b.len = strlen(hex) / 2;
    b.data = malloc(b.len ? b.len : 1);
    b.len = unhex(b.data, hex);

    return b;
}


#endif /* HEX_BYTES_H_INCLUDED_ */
