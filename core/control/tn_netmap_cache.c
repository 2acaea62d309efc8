
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The netmap packed for the disk: one zstd frame with a checksum, in it a
 * line that says whose map this is and when it was good, then the map as
 * tn_netmap_dump() writes it.  The line names the public node key: a map is
 * good only for the registration it was sent to.
 */

#include "control/tn_netmap_dump.h"

#include "control/tn_mapstream.h"
#include "control/tn_netmap_int.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <zstd.h>


#define TN_NETMAP_CACHE_MAGIC   "ngx_tailnet-netmap 1 "
#define TN_NETMAP_CACHE_HEAD    192         /* the line, with its zero */
#define TN_NETMAP_CACHE_LEVEL   1

/* history the compressor looks back on: 2^20 bytes, and as much memory */
#define TN_NETMAP_CACHE_WINDOW  20


typedef struct {
    ZSTD_CCtx          *zstd;
    uint8_t            *bytes;
    size_t              len;
    size_t              size;
} tn_netmap_packer_t;


static tn_rc_t tn_netmap_pack_text(void *data, const char *text, size_t len);
static tn_rc_t tn_netmap_pack_put(tn_netmap_packer_t *p, const char *text,
    size_t len, ZSTD_EndDirective end);
static tn_rc_t tn_netmap_inflate(const uint8_t *bytes, size_t len,
    char **text, size_t *text_len);
static tn_rc_t tn_netmap_cache_head(const char *text, size_t len,
    const tn_key_t *node, int64_t *saved, size_t *head_len);


tn_rc_t
tn_netmap_pack(const tn_netmap_t *netmap, const tn_key_t *node,
    uint32_t home, int64_t wall, uint8_t **bytes, size_t *len)
{
    int                  n;
    char                 head[TN_NETMAP_CACHE_HEAD], key[TN_KEY_TEXT];
    tn_rc_t              rc;
    tn_netmap_packer_t   p;

    memset(&p, 0, sizeof(p));
    rc = TN_NOMEM;

    p.zstd = ZSTD_createCCtx();

    if (p.zstd == NULL
        || ZSTD_isError(ZSTD_CCtx_setParameter(p.zstd,
                                               ZSTD_c_compressionLevel,
                                               TN_NETMAP_CACHE_LEVEL))
        || ZSTD_isError(ZSTD_CCtx_setParameter(p.zstd, ZSTD_c_windowLog,
                                               TN_NETMAP_CACHE_WINDOW))
        || ZSTD_isError(ZSTD_CCtx_setParameter(p.zstd, ZSTD_c_checksumFlag,
                                               1)))
    {
        goto done;
    }

    n = snprintf(head, sizeof(head), TN_NETMAP_CACHE_MAGIC "%" PRId64 " %s\n",
                 wall, tn_key_text(node, TN_KEY_NODE, key));

    rc = tn_netmap_pack_text(&p, head, (size_t) n);

    if (rc == TN_OK) {
        rc = tn_netmap_dump(netmap, home, tn_netmap_pack_text, &p);
    }

    if (rc == TN_OK) {
        rc = tn_netmap_pack_put(&p, NULL, 0, ZSTD_e_end);
    }

done:

    (void) ZSTD_freeCCtx(p.zstd);

    if (rc != TN_OK) {
        free(p.bytes);
        return rc;
    }

    *bytes = p.bytes;
    *len = p.len;

    return TN_OK;
}


tn_rc_t
tn_netmap_unpack(tn_netmap_t *netmap, const tn_key_t *node,
    const uint8_t *bytes, size_t len, int64_t wall, int64_t *saved,
    tn_netmap_changes_t *changes)
{
    char              *text;
    size_t             text_len, head;
    tn_rc_t            rc;
    tn_map_message_t   message;

    memset(changes, 0, sizeof(tn_netmap_changes_t));

    rc = tn_netmap_inflate(bytes, len, &text, &text_len);
    if (rc != TN_OK) {
        return rc;
    }

    rc = tn_netmap_cache_head(text, text_len, node, saved, &head);

    if (rc == TN_OK) {
        rc = tn_map_message_cut(&message, text + head, text_len - head);
    }

    if (rc == TN_OK && !tn_json_span_given(message.field[TN_MAP_NODE])) {
        rc = TN_MALFORMED;
    }

    if (rc == TN_OK) {
        rc = tn_netmap_apply_message(netmap, &message, true, wall, changes);
    }

    free(text);

    return rc;
}


static tn_rc_t
tn_netmap_pack_text(void *data, const char *text, size_t len)
{
    return tn_netmap_pack_put(data, text, len, ZSTD_e_continue);
}


static tn_rc_t
tn_netmap_pack_put(tn_netmap_packer_t *p, const char *text, size_t len,
    ZSTD_EndDirective end)
{
    size_t          left, size;
    uint8_t        *more;
    ZSTD_inBuffer   in;
    ZSTD_outBuffer  out;

    in.src = text;
    in.size = len;
    in.pos = 0;

    do {
        if (p->size - p->len < ZSTD_CStreamOutSize()) {
            if (p->size == TN_NETMAP_PACKED_MAX) {
                return TN_NOMEM;
            }

            size = p->size + p->size / 2 + ZSTD_CStreamOutSize();
            size = tn_min(size, (size_t) TN_NETMAP_PACKED_MAX);

            more = realloc(p->bytes, size);
            if (more == NULL) {
                return TN_NOMEM;
            }

            p->bytes = more;
            p->size = size;
        }

        out.dst = p->bytes;
        out.size = p->size;
        out.pos = p->len;

        left = ZSTD_compressStream2(p->zstd, &out, &in, end);
        if (ZSTD_isError(left)) {
            return TN_NOMEM;
        }

        p->len = out.pos;

    } while (in.pos < in.size || (end == ZSTD_e_end && left != 0));

    return TN_OK;
}


/* the size of the text is not in the frame, and is not believed anyway */
static tn_rc_t
tn_netmap_inflate(const uint8_t *bytes, size_t len, char **textp,
    size_t *text_len)
{
    char           *text, *more;
    size_t          left, size;
    tn_rc_t         rc;
    ZSTD_DCtx      *zstd;
    ZSTD_inBuffer   in;
    ZSTD_outBuffer  out;

    text = NULL;
    rc = TN_NOMEM;

    zstd = ZSTD_createDCtx();

    if (zstd == NULL
        || ZSTD_isError(ZSTD_DCtx_setParameter(zstd, ZSTD_d_windowLogMax,
                                               TN_NETMAP_CACHE_WINDOW)))
    {
        goto failed;
    }

    in.src = bytes;
    in.size = len;
    in.pos = 0;
    out.dst = NULL;
    out.size = 0;
    out.pos = 0;

    do {
        if (out.pos == out.size) {
            if (out.size == TN_MAPSTREAM_PLAIN_MAX) {
                goto failed;
            }

            size = out.size + out.size / 2 + ZSTD_DStreamOutSize();
            size = tn_min(size, (size_t) TN_MAPSTREAM_PLAIN_MAX);

            more = realloc(text, size);
            if (more == NULL) {
                goto failed;
            }

            text = more;
            out.dst = text;
            out.size = size;
        }

        left = ZSTD_decompressStream(zstd, &out, &in);

        if (ZSTD_isError(left)
            || (left != 0 && in.pos == in.size && out.pos < out.size))
        {
            rc = TN_MALFORMED;
            goto failed;
        }

    } while (left != 0);

    if (in.pos != in.size) {
        rc = TN_MALFORMED;
        goto failed;
    }

    (void) ZSTD_freeDCtx(zstd);

    *textp = text;
    *text_len = out.pos;

    return TN_OK;

failed:

    (void) ZSTD_freeDCtx(zstd);
    free(text);

    return rc;
}


static tn_rc_t
tn_netmap_cache_head(const char *text, size_t len, const tn_key_t *node,
    int64_t *saved, size_t *head_len)
{
    char         line[TN_NETMAP_CACHE_HEAD], *p, *end;
    tn_key_t     key;
    const char  *eol;

    static const char  magic[] = TN_NETMAP_CACHE_MAGIC;

    eol = memchr(text, '\n', tn_min(len, sizeof(line)));

    if (eol == NULL || (size_t) (eol - text) < sizeof(magic)
        || memcmp(text, magic, sizeof(magic) - 1) != 0)
    {
        return TN_MALFORMED;
    }

    memcpy(line, text, (size_t) (eol - text));
    line[eol - text] = '\0';

    p = line + sizeof(magic) - 1;
    *saved = strtoll(p, &end, 10);

    if (end == p || *end != ' '
        || tn_key_parse(&key, TN_KEY_NODE, end + 1, strlen(end + 1))
           != TN_OK)
    {
        return TN_MALFORMED;
    }

    *head_len = (size_t) (eol - text) + 1;

    return tn_key_equal(&key, node) ? TN_OK : TN_REFUSED;
}
