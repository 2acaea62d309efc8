
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "tn_geneve.h"


#define TN_GENEVE_CONTROL  0x80


tn_rc_t
tn_geneve_parse(tn_geneve_t *geneve, const uint8_t *bytes, size_t len)
{
    uint8_t      version, flags;
    uint32_t     tail;
    tn_cursor_t  c;

    c = tn_cursor(bytes, len);

    version = tn_read_u8(&c);
    flags = tn_read_u8(&c);
    geneve->protocol = tn_read_u16(&c);
    tail = tn_read_u32(&c);

    geneve->control = (flags & TN_GENEVE_CONTROL) != 0;
    geneve->vni = tail >> 8;

    /*
     * RFC 8926, 3.4: version and length of options share the first byte; the
     * bit of critical options is among those that have to be zero.
     */

    if (c.bad || version != 0 || (flags & ~TN_GENEVE_CONTROL) != 0
        || (tail & 0xff) != 0 || geneve->vni == 0)
    {
        return TN_MALFORMED;
    }

    if (geneve->protocol == TN_GENEVE_DISCO) {
        return TN_OK;
    }

    return geneve->protocol == TN_GENEVE_WIREGUARD && !geneve->control
           ? TN_OK : TN_MALFORMED;
}


void
tn_geneve_write(tn_writer_t *w, const tn_geneve_t *geneve)
{
    tn_write_u8(w, 0);
    tn_write_u8(w, geneve->control ? TN_GENEVE_CONTROL : 0);
    tn_write_u16(w, geneve->protocol);
    tn_write_u32(w, geneve->vni << 8);
}
