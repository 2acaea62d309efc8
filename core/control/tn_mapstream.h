
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The body of a map poll cut into messages: little-endian lengths, each
 * before one zstd frame or plain JSON.  The control client feeds it; what
 * the messages mean is the netmap's business.
 */

#ifndef TN_MAPSTREAM_H_INCLUDED_
#define TN_MAPSTREAM_H_INCLUDED_

#include "base/tn_base.h"


/*
 * A map of 10,000 peers has about 12 MB of JSON, and zstd makes a tenth of
 * it: there is room for 100,000.  Four bytes of a server can claim 4 GB;
 * memory is taken only as bytes arrive, and never for more than this.
 */
#define TN_MAPSTREAM_WIRE_MAX   (32 * 1024 * 1024)
#define TN_MAPSTREAM_PLAIN_MAX  (128 * 1024 * 1024)

typedef struct {
    bool         zstd;
    size_t       have;                  /* of header and payload */
    uint8_t      header[4];
    size_t       want;                  /* payload of this message */
    uint8_t     *wire;
    size_t       wire_size;
    char        *plain;
    size_t       plain_size;
    const char  *error;
} tn_mapstream_t;


void tn_mapstream_init(tn_mapstream_t *stream, bool zstd);
void tn_mapstream_done(tn_mapstream_t *stream);

/* the last message is not needed any more: room for a large one goes */
void tn_mapstream_rest(tn_mapstream_t *stream);

/* true in the middle of a message */
bool tn_mapstream_partial(const tn_mapstream_t *stream);

/*
 * Takes bytes and moves *pos and *left.  TN_OK: *json has *len bytes of one
 * message, valid until the next call.  TN_AGAIN.  TN_MALFORMED or TN_NOMEM,
 * and stream->error says why.
 */
tn_rc_t tn_mapstream_read(tn_mapstream_t *stream, const uint8_t **pos,
    size_t *left, const char **json, size_t *len);


#endif /* TN_MAPSTREAM_H_INCLUDED_ */
