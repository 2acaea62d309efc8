
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzzes the IP parser, and ICMP answers made from what it accepts.
 */

#include <stdlib.h>

#include "wire/tn_icmp.h"


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int          e;
    size_t       len;
    uint8_t      error[1500], proto, *packet;
    tn_ip_t      dst;
    tn_addr_t    from, to;
    tn_packet_t  p;

    packet = malloc(size + 1);
    memcpy(packet, data, size);

    (void) tn_packet_dst(packet, size, &dst);

    if (tn_packet_parse(&p, packet, size) == TN_OK) {

        if (p.header_len > p.data_offset
            || p.data_offset > p.total_len
            || p.total_len > size)
        {
            abort();
        }

        for (e = TN_ICMP_NO_ROUTE; e <= TN_ICMP_TOO_BIG; e++) {
            len = tn_icmp_error(error, sizeof(error), e, 1280, &p.dst, packet,
                                &p);

            if (len > sizeof(error)) {
                abort();
            }
        }

        (void) tn_icmp_blames(packet, &p, &dst);
        (void) tn_icmp_unreachable(packet, &p, &proto, &from, &to);
        (void) tn_icmp_echo_data(packet, &p, 0, 0, &len);
        (void) tn_icmp_echo_reply(packet, &p);
    }

    free(packet);

    return 0;
}
