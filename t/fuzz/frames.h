
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
 * were joined, a longer one as the segments of the MTU that it is, or it is a
 * bug.
 */
static inline void
frame_cut(const struct iovec *iov, int n, tn_split_emit_pt emit)
{
    int             i, want;
    size_t          len, payload;
    tn_vnet_t       vnet;
    static uint8_t  frame[FRAME_MAX];

    memcpy(&vnet, iov[0].iov_base, sizeof(vnet));
    len = 0;
    want = 0;

    for (i = 1; i < n; i++) {
        payload = iov[i].iov_len - (i == 1 ? vnet.hdr_len : 0);
        want++;

        if (vnet.gso_type != TN_VNET_GSO_NONE && payload > vnet.gso_size) {

            if (payload % vnet.gso_size != 0
                || vnet.gso_size + vnet.hdr_len != TN_COALESCE_MTU)
            {
                abort();
            }

            want += (int) (payload / vnet.gso_size) - 1;
        }

        if (len + iov[i].iov_len > FRAME_MAX) {
            abort();
        }

        memcpy(frame + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }

    if (n > 2 && vnet.gso_type == TN_VNET_GSO_NONE) {
        abort();
    }

    if (tn_split(&vnet, frame, len, emit, NULL) != want) {
        abort();
    }
}


#endif /* FRAMES_H_INCLUDED_ */
