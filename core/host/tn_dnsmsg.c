
/*
 * Copyright (C) the ngx_tailnet authors
 */

/* later c-ares has other names for these, Debian 12's does not */
#define CARES_NO_DEPRECATED

#include "host/tn_dnsmsg.h"

#include <ares.h>
#include <netinet/in.h>


#define TN_DNSMSG_HEAD      12
#define TN_DNSMSG_RESPONSE  0x80
#define TN_DNSMSG_CUT       0x02
#define TN_DNSMSG_ADDRS     16
#define TN_DNSMSG_MAX       65535

#define TN_DNSMSG_NXDOMAIN  3

#define TN_DNSMSG_IN        1
#define TN_DNSMSG_A         1
#define TN_DNSMSG_AAAA      28


size_t
tn_dnsmsg_query(uint8_t *query, uint16_t id, const char *name, bool v4)
{
    int             len;
    unsigned char  *bytes;

    if (ares_create_query(name, TN_DNSMSG_IN,
                          v4 ? TN_DNSMSG_A : TN_DNSMSG_AAAA, id, 1, &bytes,
                          &len, 0)
        != ARES_SUCCESS)
    {
        return 0;
    }

    if (len > TN_DNSMSG_QUERY) {
        len = 0;
    }

    memcpy(query, bytes, (size_t) len);
    ares_free_string(bytes);

    return (size_t) len;
}


tn_rc_t
tn_dnsmsg_answer(const uint8_t *query, size_t query_len,
    const uint8_t *answer, size_t len, bool v4, tn_ip_t *ips, size_t *n,
    uint32_t *ttl)
{
    int                    rc, count, i, seconds;
    size_t                 max;
    struct ares_addrttl    a[TN_DNSMSG_ADDRS];
    struct ares_addr6ttl   aaaa[TN_DNSMSG_ADDRS];

    max = tn_min(*n, (size_t) TN_DNSMSG_ADDRS);
    *n = 0;
    *ttl = 0;

    /* the ID, and the question as it was asked */

    if (query_len < TN_DNSMSG_HEAD || len < query_len || len > TN_DNSMSG_MAX
        || memcmp(answer, query, 2) != 0
        || (answer[2] & TN_DNSMSG_RESPONSE) == 0
        || memcmp(answer + 4, query + 4, 2) != 0
        || memcmp(answer + TN_DNSMSG_HEAD, query + TN_DNSMSG_HEAD,
                  query_len - TN_DNSMSG_HEAD) != 0)
    {
        return TN_MALFORMED;
    }

    if (answer[2] & TN_DNSMSG_CUT) {
        return TN_AGAIN;
    }

    if ((answer[3] & 0x0f) == TN_DNSMSG_NXDOMAIN) {
        return TN_OK;
    }

    if ((answer[3] & 0x0f) != 0) {
        return TN_ERROR;
    }

    count = (int) max;

    rc = v4 ? ares_parse_a_reply(answer, (int) len, NULL, a, &count)
            : ares_parse_aaaa_reply(answer, (int) len, NULL, aaaa, &count);

    if (rc == ARES_ENODATA) {
        return TN_OK;
    }

    if (rc != ARES_SUCCESS) {
        return TN_MALFORMED;
    }

    for (i = 0; i < count; i++) {
        ips[i] = v4 ? tn_ip_from_v4((const uint8_t *) &a[i].ipaddr)
                    : tn_ip_from_v6((const uint8_t *) &aaaa[i].ip6addr);

        seconds = tn_max(v4 ? a[i].ttl : aaaa[i].ttl, 0);
        *ttl = i == 0 ? (uint32_t) seconds
                      : tn_min(*ttl, (uint32_t) seconds);
    }

    *n = (size_t) count;

    return TN_OK;
}
