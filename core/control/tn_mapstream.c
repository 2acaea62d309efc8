
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "control/tn_mapstream.h"

#include "base/tn_cursor.h"

#include <stdlib.h>
#include <zstd.h>


/* buffers larger than this are given back after each message */
#define TN_MAPSTREAM_KEEP_BYTES    (256 * 1024)

#define TN_MAPSTREAM_GROW_BYTES    (16 * 1024)

/* history a frame of unknown size may ask for: 2^23 bytes, what Go's encoder
 * uses at its default level and zstd's own recommended limit */
#define TN_MAPSTREAM_WINDOW_LOG    23


static tn_rc_t tn_mapstream_room(uint8_t **buf, size_t *size, size_t want,
    size_t max);
static tn_rc_t tn_mapstream_inflate(tn_mapstream_t *stream, size_t *len);
static tn_rc_t tn_mapstream_inflate_parts(tn_mapstream_t *stream,
    size_t *len);
static tn_rc_t tn_mapstream_fail(tn_mapstream_t *stream, tn_rc_t rc,
    const char *error);


void
tn_mapstream_init(tn_mapstream_t *stream, bool zstd)
{
    memset(stream, 0, sizeof(tn_mapstream_t));
    stream->zstd = zstd;
}


void
tn_mapstream_done(tn_mapstream_t *stream)
{
    free(stream->wire);
    free(stream->plain);
    memset(stream, 0, sizeof(tn_mapstream_t));
}


bool
tn_mapstream_partial(const tn_mapstream_t *stream)
{
    return stream->have != 0;
}


void
tn_mapstream_rest(tn_mapstream_t *stream)
{
    if (stream->have != 0) {
        return;
    }

    if (stream->plain_size > TN_MAPSTREAM_KEEP_BYTES) {
        free(stream->plain);
        stream->plain = NULL;
        stream->plain_size = 0;
    }

    if (stream->wire_size > TN_MAPSTREAM_KEEP_BYTES) {
        free(stream->wire);
        stream->wire = NULL;
        stream->wire_size = 0;
    }
}


tn_rc_t
tn_mapstream_read(tn_mapstream_t *stream, const uint8_t **pos, size_t *left,
    const char **json, size_t *len)
{
    size_t       n, got;
    tn_rc_t      rc;
    tn_cursor_t  c;

    tn_mapstream_rest(stream);

    while (stream->have < 4) {

        if (*left == 0) {
            return TN_AGAIN;
        }

        stream->header[stream->have++] = *(*pos)++;
        (*left)--;

        if (stream->have == 4) {
            c = tn_cursor(stream->header, 4);
            stream->want = tn_read_u32le(&c);

            if (stream->want > TN_MAPSTREAM_WIRE_MAX) {
                return tn_mapstream_fail(stream, TN_MALFORMED,
                                         "a map message is over the limit");
            }
        }
    }

    got = stream->have - 4;
    n = tn_min(stream->want - got, *left);

    rc = tn_mapstream_room(&stream->wire, &stream->wire_size, got + n,
                           TN_MAPSTREAM_WIRE_MAX);
    if (rc != TN_OK) {
        return tn_mapstream_fail(stream, rc, "no memory for a map message");
    }

    if (n != 0) {
        memcpy(stream->wire + got, *pos, n);
        *pos += n;
        *left -= n;
        stream->have += n;
    }

    if (got + n < stream->want) {
        return TN_AGAIN;
    }

    stream->have = 0;

    if (!stream->zstd) {
        *json = (const char *) stream->wire;
        *len = stream->want;
        return TN_OK;
    }

    rc = tn_mapstream_inflate(stream, len);
    *json = stream->plain;

    return rc;
}


/* at least `want` bytes, growing by half, so that few bytes cost little */
static tn_rc_t
tn_mapstream_room(uint8_t **buf, size_t *size, size_t want, size_t max)
{
    void    *p;
    size_t   n;

    if (want <= *size && *buf != NULL) {
        return TN_OK;
    }

    n = tn_max(want, *size + *size / 2);
    n = tn_max(n, (size_t) TN_MAPSTREAM_GROW_BYTES);
    n = tn_min(n, tn_max(max, want));

    p = realloc(*buf, n);
    if (p == NULL) {
        return TN_NOMEM;
    }

    *buf = p;
    *size = n;

    return TN_OK;
}


static tn_rc_t
tn_mapstream_inflate(tn_mapstream_t *stream, size_t *len)
{
    size_t              n;
    tn_rc_t             rc;
    uint8_t            *plain;
    unsigned long long  size;

    size = ZSTD_getFrameContentSize(stream->wire, stream->want);

    if (size == ZSTD_CONTENTSIZE_ERROR) {
        return tn_mapstream_fail(stream, TN_MALFORMED,
                                 "a map message is not zstd");
    }

    if (size == ZSTD_CONTENTSIZE_UNKNOWN) {
        return tn_mapstream_inflate_parts(stream, len);
    }

    if (size > TN_MAPSTREAM_PLAIN_MAX) {
        return tn_mapstream_fail(stream, TN_MALFORMED,
                                 "a map message is over the limit");
    }

    plain = (uint8_t *) stream->plain;
    rc = tn_mapstream_room(&plain, &stream->plain_size, (size_t) size,
                           TN_MAPSTREAM_PLAIN_MAX);
    stream->plain = (char *) plain;

    if (rc != TN_OK) {
        return tn_mapstream_fail(stream, rc, "no memory for a map message");
    }

    n = ZSTD_decompress(stream->plain, (size_t) size, stream->wire,
                        stream->want);

    if (ZSTD_isError(n) || n != size) {
        return tn_mapstream_fail(stream, TN_MALFORMED,
                                 "a map message is damaged zstd");
    }

    *len = n;

    return TN_OK;
}


/* a frame that does not tell its size, as streaming encoders write */
static tn_rc_t
tn_mapstream_inflate_parts(tn_mapstream_t *stream, size_t *len)
{
    size_t            n;
    tn_rc_t           rc;
    uint8_t          *plain;
    ZSTD_DCtx        *ctx;
    ZSTD_inBuffer     in;
    ZSTD_outBuffer    out;

    ctx = ZSTD_createDCtx();
    if (ctx == NULL) {
        return tn_mapstream_fail(stream, TN_NOMEM,
                                 "no memory for a map message");
    }

    (void) ZSTD_DCtx_setParameter(ctx, ZSTD_d_windowLogMax,
                                  TN_MAPSTREAM_WINDOW_LOG);

    in.src = stream->wire;
    in.size = stream->want;
    in.pos = 0;
    out.pos = 0;

    for ( ;; ) {

        if (out.pos == TN_MAPSTREAM_PLAIN_MAX) {
            rc = tn_mapstream_fail(stream, TN_MALFORMED,
                                   "a map message is over the limit");
            break;
        }

        plain = (uint8_t *) stream->plain;
        rc = tn_mapstream_room(&plain, &stream->plain_size, out.pos + 1,
                               TN_MAPSTREAM_PLAIN_MAX);
        stream->plain = (char *) plain;

        if (rc != TN_OK) {
            rc = tn_mapstream_fail(stream, rc, "no memory for a map message");
            break;
        }

        out.dst = stream->plain;
        out.size = stream->plain_size;

        n = ZSTD_decompressStream(ctx, &out, &in);

        if (ZSTD_isError(n) || (n == 0 && in.pos != in.size)
            || (n != 0 && in.pos == in.size && out.pos < out.size))
        {
            rc = tn_mapstream_fail(stream, TN_MALFORMED,
                                   "a map message is damaged zstd");
            break;
        }

        if (n == 0) {
            *len = out.pos;
            rc = TN_OK;
            break;
        }
    }

    ZSTD_freeDCtx(ctx);

    return rc;
}


static tn_rc_t
tn_mapstream_fail(tn_mapstream_t *stream, tn_rc_t rc, const char *error)
{
    stream->error = error;

    return rc;
}
