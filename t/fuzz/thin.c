
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Fuzzes what is left out of batches of TCP packets: the input makes packets
 * of a few flows, 8 bytes each, and says where a batch ends.  What comes out,
 * cut again, is of each flow a subsequence of what went in; only pure ACKs
 * are missing, whose number was news, and the batch has one of the same flow
 * with that number or a higher one behind it.  So all payload comes out, and
 * the last number of each flow.
 */

#include <stdlib.h>

#include "../unit/packets.h"
#include "frames.h"
#include "stack/tn_thin.h"


#define FLOWS       8
#define BATCH_MAX   200
#define PACKET_MAX  256
#define INPUT       8


typedef struct {
    unsigned  flow;
    size_t    len;
    uint32_t  ack;
    uint8_t   flags;
    size_t    payload;
    bool      news;
    uint8_t   bytes[PACKET_MAX];
} in_t;

typedef struct {
    pkt_t     next;
    uint32_t  stamp;
    uint32_t  echo;
    uint32_t  highest;
    bool      known;
    unsigned  at;               /* where in the batch it is looked for */
} flow_t;


static in_t            batch[BATCH_MAX];
static uint8_t         copies[BATCH_MAX][PACKET_MAX];
static unsigned        nbatch;
static flow_t          flows[FLOWS];


int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);


static void
missing(const in_t *in)
{
    const in_t  *later;

    if (in->flags != 0x10 || in->payload != 0 || !in->news) {
        abort();
    }

    for (later = in + 1; later < batch + nbatch; later++) {
        if (later->flow == in->flow && later->flags & 0x10
            && (int32_t) (later->ack - in->ack) >= 0)
        {
            return;
        }
    }

    abort();
}


static void
emit(void *data, uint8_t *packet, size_t len)
{
    in_t      *in;
    flow_t    *flow;
    unsigned   n;

    (void) data;

    n = (packet[0] >> 4 == 4 ? packet[15] : packet[23]) % FLOWS;
    flow = &flows[n];

    for ( /* void */ ; flow->at < nbatch; flow->at++) {
        in = &batch[flow->at];

        if (in->flow != n) {
            continue;
        }

        if (in->len == len && memcmp(in->bytes, packet, len) == 0) {
            flow->at++;
            return;
        }

        missing(in);
    }

    abort();
}


static void
write_frame(void *data, const struct iovec *iov, int n)
{
    (void) data;

    frame_cut(iov, n, emit);
}


static void
batch_end(tn_coalesce_t *c)
{
    unsigned  i, n;

    tn_coalesce_flush(c);

    for (n = 0; n < FLOWS; n++) {
        for (i = flows[n].at; i < nbatch; i++) {
            if (batch[i].flow == n) {

                /* nothing came out behind it */

                abort();
            }
        }

        flows[n].at = 0;
    }

    nbatch = 0;
}


static void
feed(tn_coalesce_t *c, const uint8_t *b)
{
    in_t         *in;
    pkt_t        *k;
    flow_t       *flow;
    uint8_t      *tcp;
    tn_packet_t   p;

    static const uint8_t  flags[8] = {
        0x10, 0x10, 0x10, 0x18, 0x11, 0x12, 0x02, 0x50
    };

    in = &batch[nbatch];
    in->flow = b[0] % FLOWS;
    flow = &flows[in->flow];
    k = &flow->next;

    k->flags = b[1] & 0x80 ? b[2] : flags[b[1] & 7];
    k->tos = b[1] & 0x40 ? b[2] & 3 : 0;
    k->tcp_options = b[1] & 0x20 ? 0 : 12;
    k->payload = b[3] & 1 ? b[3] >> 1 : 0;
    k->ack += b[4] & 0x80 ? -(uint32_t) (b[4] & 0x7f)
              : b[4] & 0x40 ? (uint32_t) b[4] << 12 : b[4];
    k->seq += b[5] & 0x80 ? (uint32_t) (int8_t) (b[5] << 1) : 0;
    k->window = (uint16_t) (k->window + (b[5] & 7) - 3 * !!(b[5] & 8));
    flow->stamp += (uint32_t) (int8_t) b[6] & ~(b[6] & 0x40u);
    flow->echo += b[7] & 1;

    in->len = pkt_build(k, in->bytes);
    tcp = in->bytes + pkt_ip_len(k);

    if (k->tcp_options == 12 && !(b[1] & 0x10)) {
        memcpy(tcp + 20, "\1\1\10\12", 4);
        pkt_u32(tcp + 24, flow->stamp);
        pkt_u32(tcp + 28, flow->echo);
    }

    tcp[12] |= b[7] >> 7;
    tcp[19] = b[7] >> 6 & 1;
    pkt_checksums(k, in->bytes);
    tcp[16] ^= b[7] >> 5 & 1;

    in->ack = k->ack;
    in->flags = k->flags;
    in->payload = k->payload;
    in->news = !flow->known || (int32_t) (k->ack - flow->highest) > 0;

    if (k->flags & 0x10) {
        if (in->news || k->flags & 0x02) {
            flow->highest = k->ack;
        }

        flow->known = true;

    } else if (k->flags & 0x02) {
        flow->known = false;
    }

    k->seq += (uint32_t) k->payload;
    k->content += (uint32_t) k->payload;
    k->id++;

    memcpy(copies[nbatch], in->bytes, in->len);

    if (tn_packet_parse(&p, copies[nbatch], in->len) != TN_OK) {
        abort();
    }

    nbatch++;
    tn_coalesce_add(c, copies[nbatch - 1], &p);
}


int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    unsigned        i;
    tn_coalesce_t  *c;

    c = tn_coalesce_create(write_frame, NULL);
    nbatch = 0;
    memset(flows, 0, sizeof(flows));

    for (i = 0; i < FLOWS; i++) {
        flows[i].next.version = i & 1 ? 6 : 4;
        flows[i].next.proto = 6;
        flows[i].next.ttl = 64;
        flows[i].next.df = i & 2 ? 1 : 0;
        flows[i].next.host = (uint8_t) i;
        flows[i].next.src_port = 40000;
        flows[i].next.dst_port = 443;
        flows[i].next.ack = 0xffffff00;
        flows[i].next.seq = 0xffffff80;
        flows[i].next.window = 500;
    }

    for ( /* void */ ; size >= INPUT; data += INPUT, size -= INPUT) {

        if (data[0] & 0x80 || nbatch == BATCH_MAX) {
            batch_end(c);
        }

        feed(c, data);
    }

    batch_end(c);
    tn_coalesce_destroy(c);

    return 0;
}
