
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Frames that come out of tn_coalesce, cut into packets again.
 */

#ifndef FRAMES_H_INCLUDED_
#define FRAMES_H_INCLUDED_

#include <stdlib.h>

#include "stack/tn_coalesce.h"
#include "stack/tn_split.h"


#define FRAME_MAX  65536


/*
 * To be called by a tn_coalesce_write_pt: as many packets go to `emit` as
 * were joined, or it is a bug.
 */
static inline void
frame_cut(const struct iovec *iov, int n, tn_split_emit_pt emit)
{
    int             i;
    size_t          len;
    tn_vnet_t       vnet;
    static uint8_t  frame[FRAME_MAX];

    memcpy(&vnet, iov[0].iov_base, sizeof(vnet));
    len = 0;

    for (i = 1; i < n; i++) {

        if (len + iov[i].iov_len > FRAME_MAX) {
            abort();
        }

        memcpy(frame + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }

    if (n > 2 && vnet.gso_type == TN_VNET_GSO_NONE) {
        abort();
    }

    if (tn_split(&vnet, frame, len, emit, NULL) != n - 1) {
        abort();
    }
}


#endif /* FRAMES_H_INCLUDED_ */
