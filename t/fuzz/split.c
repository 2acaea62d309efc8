
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzzes segmentation: the input is the length of the longest packet, a virtio
 * header and a frame.  Segments lie inside the frame, in order, and carry no
 * more than its bytes.
 */

#include <stdlib.h>

#include "stack/tn_split.h"


typedef struct {
    const uint8_t  *start;
    const uint8_t  *end;
    const uint8_t  *last;
    int             n;
} frame_t;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
emit(void *data, uint8_t *packet, size_t len)
{
    frame_t  *f;

    f = data;

    if (packet < f->start || packet + len > f->end || packet + len <= f->last)
    {
        abort();
    }

    memset(packet, 0xa5, len);
    f->last = packet + len;
    f->n++;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int        rc;
    uint8_t   *packet;
    frame_t    f;
    uint16_t   longest;
    tn_vnet_t  vnet;

    if (size < sizeof(longest) + sizeof(vnet)) {
        return 0;
    }

    memcpy(&longest, data, sizeof(longest));
    data += sizeof(longest);
    memcpy(&vnet, data, sizeof(vnet));
    size -= sizeof(longest) + sizeof(vnet);

    packet = malloc(size + 1);
    memcpy(packet, data + sizeof(vnet), size);

    f.start = packet;
    f.end = packet + size;
    f.last = packet;
    f.n = 0;

    rc = tn_split_long(&vnet, packet, size, longest, emit, &f);

    if (rc != (f.n ? f.n : TN_MALFORMED) || f.n > TN_SPLIT_SEGMENTS_MAX) {
        abort();
    }

    free(packet);

    return 0;
}
