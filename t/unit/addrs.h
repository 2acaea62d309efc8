
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Addresses from their text, which has to be right.
 */

#ifndef ADDRS_H_INCLUDED_
#define ADDRS_H_INCLUDED_

#include "base/tn_addr.h"

#include <stdlib.h>
#include <string.h>


static inline tn_ip_t
ip(const char *text)
{
    tn_ip_t  parsed;

    if (tn_ip_parse(&parsed, text, strlen(text)) != TN_OK) {
        abort();
    }

    return parsed;
}


#endif /* ADDRS_H_INCLUDED_ */
