
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The one way to read and write bytes of a wire format.  A cursor never
 * leaves its buffer: what does not fit sets `bad`, yields zeros, and every
 * later call does nothing, so a codec checks once, at its end.
 */

#ifndef TN_CURSOR_H_INCLUDED_
#define TN_CURSOR_H_INCLUDED_

#include "tn_base.h"


typedef struct {
    const uint8_t  *pos;
    const uint8_t  *end;
    bool            bad;
} tn_cursor_t;

typedef struct {
    uint8_t        *start;
    uint8_t        *pos;
    uint8_t        *end;
    bool            bad;
} tn_writer_t;


static inline tn_cursor_t
tn_cursor(const void *data, size_t len)
{
    tn_cursor_t  c = { data, data, false };

    /* nothing may be added to NULL, not even zero */

    if (len != 0) {
        c.end += len;
    }

    return c;
}


/* bytes not read yet */
static inline size_t
tn_cursor_left(const tn_cursor_t *c)
{
    return c->bad ? 0 : (size_t) (c->end - c->pos);
}


/* the next `len` bytes in place, or NULL; they live as long as the buffer */
static inline const uint8_t *
tn_read_bytes(tn_cursor_t *c, size_t len)
{
    const uint8_t  *p;

    if (c->bad || (size_t) (c->end - c->pos) < len) {
        c->bad = true;
        return NULL;
    }

    p = c->pos;
    c->pos += len;

    return p;
}


/* copies the next `len` bytes to dst, zeros when they are not there */
static inline void
tn_read_copy(tn_cursor_t *c, void *dst, size_t len)
{
    const uint8_t  *p;

    p = tn_read_bytes(c, len);

    if (p == NULL) {
        memset(dst, 0, len);
        return;
    }

    memcpy(dst, p, len);
}


static inline uint8_t
tn_read_u8(tn_cursor_t *c)
{
    const uint8_t  *p;

    p = tn_read_bytes(c, 1);

    return p ? p[0] : 0;
}


static inline uint16_t
tn_read_u16(tn_cursor_t *c)
{
    const uint8_t  *p;

    p = tn_read_bytes(c, 2);

    return p ? (uint16_t) (p[0] << 8 | p[1]) : 0;
}


static inline uint32_t
tn_read_u32(tn_cursor_t *c)
{
    const uint8_t  *p;

    p = tn_read_bytes(c, 4);

    return p ? (uint32_t) p[0] << 24 | (uint32_t) p[1] << 16
               | (uint32_t) p[2] << 8 | p[3]
             : 0;
}


static inline uint64_t
tn_read_u64(tn_cursor_t *c)
{
    uint64_t  high;

    high = tn_read_u32(c);

    return high << 32 | tn_read_u32(c);
}


static inline uint32_t
tn_read_u32le(tn_cursor_t *c)
{
    return __builtin_bswap32(tn_read_u32(c));
}


static inline uint64_t
tn_read_u64le(tn_cursor_t *c)
{
    return __builtin_bswap64(tn_read_u64(c));
}


static inline tn_writer_t
tn_writer(void *data, size_t size)
{
    tn_writer_t  w = { data, data, (uint8_t *) data + size, false };

    return w;
}


/* bytes written so far */
static inline size_t
tn_writer_len(const tn_writer_t *w)
{
    return (size_t) (w->pos - w->start);
}


/* whether `len` bytes more fit; what once did not fit ends the writing */
static inline bool
tn_write_fits(tn_writer_t *w, size_t len)
{
    if (w->bad || (size_t) (w->end - w->pos) < len) {
        w->bad = true;
        return false;
    }

    return true;
}


/* room for `len` bytes to be filled by the caller, or NULL */
static inline uint8_t *
tn_write_room(tn_writer_t *w, size_t len)
{
    uint8_t  *p;

    if (!tn_write_fits(w, len)) {
        return NULL;
    }

    p = w->pos;
    w->pos += len;

    return p;
}


static inline void
tn_write_bytes(tn_writer_t *w, const void *src, size_t len)
{
    if (len != 0 && tn_write_fits(w, len)) {
        memcpy(w->pos, src, len);
        w->pos += len;
    }
}


static inline void
tn_write_zeros(tn_writer_t *w, size_t len)
{
    if (len != 0 && tn_write_fits(w, len)) {
        memset(w->pos, 0, len);
        w->pos += len;
    }
}


static inline void
tn_write_u8(tn_writer_t *w, uint8_t v)
{
    tn_write_bytes(w, &v, 1);
}


static inline void
tn_write_u16(tn_writer_t *w, uint16_t v)
{
    uint8_t  b[2] = { (uint8_t) (v >> 8), (uint8_t) v };

    tn_write_bytes(w, b, 2);
}


static inline void
tn_write_u32(tn_writer_t *w, uint32_t v)
{
    uint8_t  b[4] = { (uint8_t) (v >> 24), (uint8_t) (v >> 16),
                      (uint8_t) (v >> 8), (uint8_t) v };

    tn_write_bytes(w, b, 4);
}


static inline void
tn_write_u64(tn_writer_t *w, uint64_t v)
{
    tn_write_u32(w, (uint32_t) (v >> 32));
    tn_write_u32(w, (uint32_t) v);
}


static inline void
tn_write_u32le(tn_writer_t *w, uint32_t v)
{
    tn_write_u32(w, __builtin_bswap32(v));
}


static inline void
tn_write_u64le(tn_writer_t *w, uint64_t v)
{
    tn_write_u64(w, __builtin_bswap64(v));
}


#endif /* TN_CURSOR_H_INCLUDED_ */
