
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A stack that makes packets one by one, as lwIP does: those for a peer that
 * takes longer ones by DERP (core/path/tn_path_long.c) are copied, joined as
 * what comes from a peer is, and cut again when the batch is over.
 *
 * All of TCP for such a peer goes this way, so that no packet overtakes
 * another of its connection.
 */

#include "tn_plane_private.h"

#include <stdlib.h>


struct tn_plane_gather_s {
    tn_coalesce_t  *coalesce;
    size_t          len;                        /* of packets */
    uint8_t         packets[1 << 16];
    uint8_t         frame[sizeof(tn_vnet_t) + TN_IP_PACKET_MAX];
};


static tn_plane_gather_t *gather_create(tn_plane_t *plane);
static void gather_write(void *data, const struct iovec *iov, int n);


bool
tn_plane_gather(tn_plane_t *plane, const uint8_t *packet, size_t len,
    const tn_packet_t *p)
{
    uint8_t            *copy;
    tn_plane_gather_t  *gather;

    if (plane->gather == NULL) {
        plane->gather = gather_create(plane);
    }

    gather = plane->gather;

    if (gather == NULL || len > sizeof(gather->packets)) {
        return false;
    }

    if (len > sizeof(gather->packets) - gather->len) {
        tn_plane_gathered(plane);
    }

    copy = gather->packets + gather->len;
    memcpy(copy, packet, len);
    gather->len += len;

    tn_coalesce_add(gather->coalesce, copy, p);

    return true;
}


void
tn_plane_gathered(tn_plane_t *plane)
{
    tn_plane_gather_t  *gather;

    gather = plane->gather;

    if (gather != NULL && gather->len != 0) {
        tn_coalesce_flush(gather->coalesce);
        gather->len = 0;
    }
}


void
tn_plane_gather_free(tn_plane_gather_t *gather)
{
    if (gather != NULL) {
        tn_coalesce_destroy(gather->coalesce);
        free(gather);
    }
}


static tn_plane_gather_t *
gather_create(tn_plane_t *plane)
{
    tn_plane_gather_t  *gather;

    gather = malloc(sizeof(tn_plane_gather_t));

    if (gather == NULL) {
        return NULL;
    }

    gather->len = 0;
    gather->coalesce = tn_coalesce_create(gather_write, plane);

    if (gather->coalesce == NULL) {
        free(gather);
        return NULL;
    }

    return gather;
}


static void
gather_write(void *data, const struct iovec *iov, int n)
{
    int          i;
    size_t       len;
    uint8_t     *frame;
    tn_plane_t  *plane = data;

    frame = plane->gather->frame;

    for (i = 0, len = 0; i < n; i++) {
        memcpy(frame + len, iov[i].iov_base, iov[i].iov_len);
        len += iov[i].iov_len;
    }

    tn_plane_cut(plane, frame, len);
}
