
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Allowed IPs: which peer a destination belongs to, and which sources a peer
 * may use.  One table answers both (white paper, section 2).
 */

#include "tn_wg_peer.h"

#include "base/tn_cursor.h"


#define TN_WG_ALLOWED_V4_HEADER  20
#define TN_WG_ALLOWED_V6_HEADER  40


void *
tn_wg_route(const tn_wg_t *wg, const tn_ip_t *dst)
{
    return tn_table_find(&wg->allowed, dst);
}


tn_rc_t
tn_wg_allow(tn_wg_t *wg, void *data, const tn_prefix_t *prefixes, size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        if (tn_table_set(&wg->allowed, &prefixes[i], data) != TN_OK) {
            tn_wg_disallow(wg, data, prefixes, i);
            return TN_NOMEM;
        }
    }

    return TN_OK;
}


void
tn_wg_disallow(tn_wg_t *wg, const void *data, const tn_prefix_t *prefixes,
    size_t n)
{
    size_t  i;

    for (i = 0; i < n; i++) {
        tn_table_remove(&wg->allowed, &prefixes[i], data);
    }
}


tn_rc_t
tn_wg_allowed_source(tn_ip_t *src, const uint8_t *packet, size_t *len)
{
    size_t          total;
    uint8_t         version;
    const uint8_t  *header;
    tn_cursor_t     c;

    c = tn_cursor(packet, *len);
    version = *len != 0 ? packet[0] >> 4 : 0;

    switch (version) {

    case 4:
        header = tn_read_bytes(&c, TN_WG_ALLOWED_V4_HEADER);
        if (header == NULL) {
            return TN_MALFORMED;
        }

        total = (size_t) header[2] << 8 | header[3];
        *src = tn_ip_from_v4(header + 12);

        if (total < TN_WG_ALLOWED_V4_HEADER) {
            return TN_MALFORMED;
        }

        break;

    case 6:
        header = tn_read_bytes(&c, TN_WG_ALLOWED_V6_HEADER);
        if (header == NULL) {
            return TN_MALFORMED;
        }

        total = TN_WG_ALLOWED_V6_HEADER
                + ((size_t) header[4] << 8 | header[5]);
        *src = tn_ip_from_v6(header + 8);

        /* an IPv6 header has no business with IPv4 addresses */

        if (tn_ip_is_v4(src)) {
            return TN_MALFORMED;
        }

        break;

    default:
        return TN_MALFORMED;
    }

    if (total > *len) {
        return TN_MALFORMED;
    }

    *len = total;

    return TN_OK;
}
