
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A reader of a snapshot whose writer went mad: a sound one over which the
 * input is laid at places that the input chooses.
 */

#include "node/tn_snapshot.h"

#include "base/tn_cursor.h"

#include <stdlib.h>


#define SIZE  (64 * 1024)

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t                 i, at, len;
    tn_ip_t                ip;
    uint8_t               *mem, *buf;
    tn_rc_t                rc;
    tn_cursor_t            c;
    tn_prefix_t            prefix;
    tn_snapshot_t          snap;
    tn_snapshot_peer_t     peer;
    tn_snapshot_writer_t  *writer;

    mem = aligned_alloc(64, SIZE);
    buf = malloc(TN_SNAPSHOT_RECORD_MAX);

    if (mem == NULL || buf == NULL) {
        abort();
    }

    memset(mem, 0, SIZE);
    memset(&ip, 0, sizeof(ip));
    ip.b[15] = 1;
    prefix = tn_prefix_of(&ip);

    memset(&peer, 0, sizeof(peer));
    peer.field[0].data = mem;
    peer.field[0].len = 100;

    writer = tn_snapshot_create(mem, SIZE, 1);
    (void) tn_snapshot_put(writer, &peer, &prefix, 1);
    tn_snapshot_destroy(writer);

    c = tn_cursor(data, size);

    while (tn_cursor_left(&c) > 3) {
        at = tn_read_u16(&c);
        len = tn_min(tn_read_u8(&c), tn_cursor_left(&c));
        len = tn_min(len, SIZE - at);
        tn_read_copy(&c, mem + at, len);
    }

    if (tn_snapshot_open(&snap, mem, SIZE) == TN_OK) {
        rc = tn_snapshot_find(&snap, &ip, &peer, buf);

        for (i = 0; rc == TN_OK && i < TN_SNAPSHOT_NFIELDS; i++) {
            if (peer.field[i].data < buf
                || peer.field[i].data + peer.field[i].len
                   > buf + TN_SNAPSHOT_RECORD_MAX)
            {
                abort();
            }
        }
    }

    free(mem);
    free(buf);

    return 0;
}
