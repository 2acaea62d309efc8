
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "base/tn_via.h"


static const uint8_t  tn_via_prefix[8] = { 0xfd, 0x7a, 0x11, 0x5c,
                                           0xa1, 0xe0, 0x0b, 0x1a };


bool
tn_via_is(const tn_ip_t *ip)
{
    return memcmp(ip->b, tn_via_prefix, sizeof(tn_via_prefix)) == 0;
}


tn_ip_t
tn_via_target(const tn_ip_t *ip)
{
    return tn_ip_from_v4(ip->b + 12);
}


tn_rc_t
tn_via_parse(tn_ip_t *ip, const char *label, size_t len)
{
    size_t       i, n;
    char         v4[TN_ADDR_TEXT];
    uint64_t     site;
    tn_ip_t      target;
    const char  *via;

    static const char  word[] = "-via-";

    via = memmem(label, len, word, sizeof(word) - 1);
    n = via != NULL ? (size_t) (via - label) : 0;

    if (n == 0 || n >= sizeof(v4)) {
        return TN_MALFORMED;
    }

    for (i = 0; i < n; i++) {
        v4[i] = label[i] == '-' ? '.' : label[i];
    }

    if (tn_ip_parse(&target, v4, n) != TN_OK || !tn_ip_is_v4(&target)
        || memchr(label, '.', n) != NULL || memchr(label, ':', n) != NULL)
    {
        return TN_MALFORMED;
    }

    i = n + sizeof(word) - 1;
    site = 0;

    if (i == len || len - i > 10) {
        return TN_MALFORMED;
    }

    for ( /* void */ ; i < len; i++) {
        if (label[i] < '0' || label[i] > '9') {
            return TN_MALFORMED;
        }

        site = site * 10 + (uint64_t) (label[i] - '0');
    }

    if (site > UINT32_MAX) {
        return TN_MALFORMED;
    }

    memcpy(ip->b, tn_via_prefix, sizeof(tn_via_prefix));

    for (i = 0; i < 4; i++) {
        ip->b[8 + i] = (uint8_t) (site >> (24 - 8 * i));
        ip->b[12 + i] = target.b[12 + i];
    }

    return TN_OK;
}
