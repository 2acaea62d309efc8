
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzz target: the answer of a host where nobody waits, to any packet.  It is
 * a packet of its own with right checksums, back the way that the other came,
 * and is never answered itself.
 */

#include "wire/tn_refuse.h"

#include "wire/tn_checksum.h"

#include <stdlib.h>


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static bool
right_sums(const uint8_t *packet, const tn_packet_t *p)
{
    size_t    len;
    uint64_t  sum;

    if (p->version == 4
        && tn_checksum_finish(tn_checksum_add(0, packet, p->header_len)) != 0)
    {
        return false;
    }

    len = (size_t) p->total_len - p->header_len;
    sum = p->proto == TN_PROTO_ICMP ? 0
          : tn_checksum_pseudo(packet, p->proto, len);

    return tn_checksum_finish(tn_checksum_add(sum, packet + p->header_len,
                                              len))
           == 0;
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    size_t       len;
    uint8_t      answer[TN_REFUSE_MAX], again[TN_REFUSE_MAX], *packet;
    tn_packet_t  p, a;

    /* of its own, so that a read beyond it is seen */

    packet = malloc(size + (size == 0));
    memcpy(packet, data, size);

    if (tn_packet_parse(&p, packet, size) == TN_OK) {
        len = tn_refuse_build(answer, sizeof(answer), packet, &p);

        if (len != 0
            && (len > sizeof(answer)
                || tn_packet_parse(&a, answer, len) != TN_OK
                || a.total_len != len
                || !tn_ip_equal(&a.src, &p.dst)
                || !tn_ip_equal(&a.dst, &p.src)
                || !right_sums(answer, &a)
                || tn_refuse_build(again, sizeof(again), answer, &a) != 0))
        {
            abort();
        }

        if (len > 1 && tn_refuse_build(again, 1, packet, &p) != 0) {
            abort();
        }
    }

    free(packet);

    return 0;
}
