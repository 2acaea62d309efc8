
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Allowed IPs: which peer a destination belongs to, and which sources a peer
 * may use.  One table answers both (white paper, section 2).
 */

#include "tn_wg_peer.h"

#include "base/tn_cursor.h"

#include <stdlib.h>


#define TN_WG_ALLOWED_V4_HEADER  20
#define TN_WG_ALLOWED_V6_HEADER  40


tn_wg_peer_t *
tn_wg_route(const tn_wg_t *wg, const tn_ip_t *dst)
{
    return tn_table_find(&wg->allowed, dst);
}


tn_rc_t
tn_wg_peer_allow(tn_wg_peer_t *peer, const tn_prefix_t *prefixes, size_t n)
{
    size_t        i;
    tn_prefix_t  *copy;

    copy = NULL;

    if (n != 0) {
        copy = malloc(n * sizeof(tn_prefix_t));
        if (copy == NULL) {
            goto failed;
        }

        memcpy(copy, prefixes, n * sizeof(tn_prefix_t));
    }

    tn_wg_allowed_clear(peer);

    peer->prefixes = copy;
    peer->nprefixes = n;

    for (i = 0; i < n; i++) {
        if (tn_table_set(&peer->wg->allowed, &copy[i], peer) != TN_OK) {
            goto failed;
        }
    }

    return TN_OK;

failed:

    tn_wg_allowed_clear(peer);

    return TN_NOMEM;
}


void
tn_wg_allowed_clear(tn_wg_peer_t *peer)
{
    size_t  i;

    for (i = 0; i < peer->nprefixes; i++) {
        tn_table_remove(&peer->wg->allowed, &peer->prefixes[i], peer);
    }

    free(peer->prefixes);
    peer->prefixes = NULL;
    peer->nprefixes = 0;
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
