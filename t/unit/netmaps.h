
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A netmap by what control says, which has to be right.
 */

#ifndef NETMAPS_H_INCLUDED_
#define NETMAPS_H_INCLUDED_

#include "control/tn_netmap.h"

#include <stdlib.h>
#include <string.h>


static inline void
netmap_told(tn_netmap_t *netmap, const char *json)
{
    tn_netmap_changes_t  changes;

    memset(&changes, 0, sizeof(changes));

    if (tn_netmap_apply(netmap, json, strlen(json), 1800000000, &changes)
        != TN_OK)
    {
        abort();
    }

    tn_netmap_changes_done(&changes);
}


#endif /* NETMAPS_H_INCLUDED_ */
