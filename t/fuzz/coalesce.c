
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzzes joining: the input is a row of packets, each behind its length in
 * two bytes, whose highest bit leaves the checksums as they are; otherwise
 * they are made right, or nothing would ever be joined.  Frames that come out
 * have as many packets as went in, but for pure ACKs, whose fuzzer is thin.c,
 * and can be cut again.
 */

#include <arpa/inet.h>
#include <stdlib.h>

#include "frames.h"
#include "wire/tn_checksum.h"


static int  njoined;


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
emit(void *data, uint8_t *packet, size_t len)
{
    tn_packet_t  p;

    (void) data;

    if (tn_packet_parse(&p, packet, len) != TN_OK || p.total_len != len) {
        abort();
    }
}


static void
write_frame(void *data, const struct iovec *iov, int n)
{
    (void) data;

    frame_cut(iov, n, emit);
    njoined += n - 1;
}


static void
repair(uint8_t *packet, const tn_packet_t *p)
{
    size_t    at, len;
    uint16_t  sum;

    if (p->frag != TN_PACKET_WHOLE
        || (p->proto != TN_PROTO_TCP && p->proto != TN_PROTO_UDP))
    {
        return;
    }

    if (p->version == 4) {
        tn_checksum_ip4(packet, p->header_len);
    }

    at = p->header_len + (p->proto == TN_PROTO_TCP ? 16u : 6u);
    len = (size_t) (p->total_len - p->header_len);
    memset(packet + at, 0, 2);

    sum = tn_checksum_finish(
              tn_checksum_add(tn_checksum_pseudo(packet, p->proto,
                                                 (uint32_t) len),
                              packet + p->header_len, len));
    sum = sum ? sum : 0xffff;
    memcpy(packet + at, &sum, 2);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    int             nin, nack;
    size_t          len;
    uint8_t        *packets, *pos, *end;
    tn_packet_t     p;
    tn_coalesce_t  *c;

    packets = malloc(size + 1);
    memcpy(packets, data, size);

    c = tn_coalesce_create(write_frame, NULL);

    pos = packets;
    end = packets + size;
    nin = 0;
    nack = 0;
    njoined = 0;

    if (size > 0) {
        tn_coalesce_set_udp(c, *pos++ & 1);
    }

    while (end - pos > 2) {
        len = (size_t) (pos[0] << 8 | pos[1]) & 0x0fff;
        pos += 2;
        len = tn_min(len, (size_t) (end - pos));

        if (tn_packet_parse(&p, pos, len) == TN_OK) {

            if (!(pos[-2] & 0x80)) {
                repair(pos, &p);
            }

            tn_coalesce_add(c, pos, &p);
            nin++;
            nack += p.tcp_flags == TN_TCP_ACK
                    && p.total_len == p.data_offset;
        }

        pos += len;
    }

    tn_coalesce_flush(c);

    if (njoined > nin || nin - njoined > nack) {
        abort();
    }

    tn_coalesce_destroy(c);
    free(packets);

    return 0;
}
