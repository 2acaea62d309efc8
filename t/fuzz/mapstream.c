
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The body of a map poll: lengths, zstd frames, JSON.  The first byte says
 * whether zstd is used and how large the pieces are that arrive.
 */

#include "control/tn_mapstream.h"
#include "control/tn_netmap.h"

#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                len, piece, left;
    tn_rc_t               rc;
    const char           *json;
    tn_netmap_t          *map;
    const uint8_t        *pos;
    tn_mapstream_t        stream;
    tn_netmap_changes_t   changes;

    if (size == 0) {
        return 0;
    }

    map = tn_netmap_create(NULL);
    tn_mapstream_init(&stream, data[0] & 1);
    piece = 1 + (data[0] >> 1);
    data++;
    size--;
    rc = TN_AGAIN;

    while (map != NULL && size != 0 && rc == TN_AGAIN) {
        left = tn_min(piece, size);
        pos = data;
        data += left;
        size -= left;

        while ((rc = tn_mapstream_read(&stream, &pos, &left, &json, &len))
               == TN_OK)
        {
            if (len > TN_MAPSTREAM_PLAIN_MAX) {
                abort();
            }

            if (tn_netmap_apply(map, json, len, 1800000000, &changes)
                == TN_OK)
            {
                tn_netmap_changes_done(&changes);
            }
        }

        if (rc != TN_AGAIN && stream.error == NULL) {
            abort();
        }
    }

    tn_mapstream_done(&stream);
    tn_netmap_destroy(map);

    return 0;
}
