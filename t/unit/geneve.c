
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The Geneve header as upstream writes it, and all that it never writes.
 */

#include "tap.h"

#include "wire/tn_geneve.h"


/* disco to the relay itself in VNI 0x010203, WireGuard in the highest VNI */

static const uint8_t  bind[] = { 0x00, 0x80, 0x7a, 0x11, 1, 2, 3, 0 };
static const uint8_t  data[] = { 0x00, 0x00, 0x7a, 0x12, 0xff, 0xff, 0xff, 0 };


static tn_rc_t
changed(const uint8_t *base, size_t at, uint8_t to)
{
    uint8_t      bytes[TN_GENEVE_HEADER];
    tn_geneve_t  geneve;

    memcpy(bytes, base, sizeof(bytes));
    bytes[at] = to;

    return tn_geneve_parse(&geneve, bytes, sizeof(bytes));
}


int
main(void)
{
    size_t       i, refused;
    uint8_t      out[TN_GENEVE_HEADER];
    tn_geneve_t  geneve;
    tn_writer_t  w;

    is_int(tn_geneve_parse(&geneve, bind, sizeof(bind)), TN_OK,
           "a bind message's header");
    is_int(geneve.protocol, TN_GENEVE_DISCO, "carries disco");
    is_int(geneve.vni, 0x010203, "its VNI");
    ok(geneve.control, "it is for the relay itself");

    w = tn_writer(out, sizeof(out));
    tn_geneve_write(&w, &geneve);
    ok(!w.bad && memcmp(out, bind, sizeof(out)) == 0, "is written the same");

    is_int(tn_geneve_parse(&geneve, data, sizeof(data)), TN_OK,
           "a payload's header");
    is_int(geneve.protocol, TN_GENEVE_WIREGUARD, "carries WireGuard");
    is_int(geneve.vni, TN_GENEVE_VNI_MAX, "the highest VNI");
    ok(!geneve.control, "it is for the peer");

    w = tn_writer(out, sizeof(out));
    tn_geneve_write(&w, &geneve);
    ok(!w.bad && memcmp(out, data, sizeof(out)) == 0, "is written the same");

    w = tn_writer(out, sizeof(out) - 1);
    tn_geneve_write(&w, &geneve);
    ok(w.bad, "it is not written where it does not fit");

    for (i = 0, refused = 0; i < sizeof(data); i++) {
        refused += tn_geneve_parse(&geneve, data, i) == TN_MALFORMED;
    }

    is_int(refused, sizeof(data), "shorter ones are refused");

    is_int(changed(data, 0, 0x40), TN_MALFORMED, "another version");
    is_int(changed(data, 0, 0x01), TN_MALFORMED, "options");
    is_int(changed(data, 1, 0x40), TN_MALFORMED, "critical options");
    is_int(changed(data, 1, 0x01), TN_MALFORMED, "a reserved bit");
    is_int(changed(data, 7, 0x01), TN_MALFORMED, "the reserved byte");
    is_int(changed(data, 3, 0x13), TN_MALFORMED, "another protocol");
    is_int(changed(data, 1, 0x80), TN_MALFORMED, "WireGuard to the relay");

    memset(out, 0, sizeof(out));
    out[2] = 0x7a;
    out[3] = 0x11;
    is_int(tn_geneve_parse(&geneve, out, sizeof(out)), TN_MALFORMED,
           "VNI 0");

    return tap_done();
}
