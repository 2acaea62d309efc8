
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A pure ACK is a segment without payload, with the flag ACK and no other,
 * no options but timestamps, no urgent pointer, and not marked CE.  TCP's
 * acknowledgments are cumulative (RFC 9293, 3.4), so of several that arrive
 * in the same instant only the last tells the sender something: each other
 * one costs it a walk through the kernel for nothing.  What is left out must
 * have been news itself and be told by what follows:
 *
 *   news     its number is above all that the flow's packets had before.  One
 *            that repeats a number is a duplicate ACK (RFC 5681), a window
 *            update or a keepalive, and what it means lies in its arriving at
 *            all.  A flow that is not remembered has no news.
 *   told     the later segment has a higher number, or the same and payload
 *            or FIN; the flags ACK, PSH and FIN only; options and urgent
 *            pointer as above; the same sequence number, so the stack finds
 *            it acceptable if it would the ACK; a window that is not smaller
 *   time     timestamps in both or in none; TSval does not go back (PAWS, RFC
 *            7323), and TSecr is the same: an older one is a sample of its
 *            own, and may tell that a retransmission was needless (RFC 3522)
 *
 * Linux's congestion control counts bytes, not ACKs, and ACKs of one batch
 * would release the same burst; still one ACK never tells more than
 * TN_THIN_MAX_BYTES.  So does that of the stack lwIP, which walks what is on
 * its way when it sends.
 *
 * Nothing waits: an ACK is left out only for what is in the same batch.
 */

#include "stack/tn_thin.h"


#define TN_THIN_STAMP_LEN  12       /* NOP, NOP, timestamps: RFC 7323, A */
#define TN_THIN_ECN_CE     3        /* RFC 3168 */


static tn_thin_flow_t *thin_flow(tn_thin_t *thin, uint32_t hash);
static bool thin_is_plain(const uint8_t *packet, const tn_packet_t *p);


bool
tn_thin_note(tn_thin_t *thin, const uint8_t *packet, const tn_packet_t *p,
    uint32_t hash, uint32_t *base)
{
    bool             known, news;
    uint8_t          ecn;
    uint32_t         ack;
    tn_thin_flow_t  *flow;

    if (!(p->tcp_flags & (TN_TCP_ACK | TN_TCP_SYN))) {
        return false;
    }

    flow = thin_flow(thin, hash);

    if (!(p->tcp_flags & TN_TCP_ACK)) {
        flow->flow = hash & ~1u;
        return false;
    }

    known = flow->flow != 0;
    ack = tn_packet_u32(packet + p->header_len + 8);

    if (known && !(flow->flow & 1)) {
        news = true;
        *base = ack - 1;

    } else {
        news = known && (int32_t) (ack - flow->ack) > 0;
        *base = flow->ack;
    }

    if (news || !known || p->tcp_flags & TN_TCP_SYN) {
        flow->flow = hash;
        flow->ack = ack;
    }

    ecn = (p->version == 4 ? packet[1] : packet[1] >> 4) & TN_THIN_ECN_CE;

    return news
           && p->tcp_flags == TN_TCP_ACK
           && p->total_len == p->data_offset
           && ecn != TN_THIN_ECN_CE
           && thin_is_plain(packet, p);
}


bool
tn_thin_replaces(const uint8_t *ack, const tn_packet_t *p, uint32_t base,
    const uint8_t *later, const tn_packet_t *q)
{
    uint32_t        more, stamp;
    const uint8_t  *a, *b;

    a = ack + p->header_len;
    b = later + q->header_len;

    if (p->data_offset - p->header_len != q->data_offset - q->header_len
        || !(q->tcp_flags & TN_TCP_ACK)
        || q->tcp_flags & ~(TN_TCP_ACK | TN_TCP_PSH | TN_TCP_FIN)
        || !thin_is_plain(later, q))
    {
        return false;
    }

    more = tn_packet_u32(b + 8) - tn_packet_u32(a + 8);

    if ((int32_t) more < 0
        || (more == 0 && q->total_len == q->data_offset
            && !(q->tcp_flags & TN_TCP_FIN))
        || tn_packet_u32(b + 8) - base > TN_THIN_MAX_BYTES
        || tn_packet_u32(a + 4) != tn_packet_u32(b + 4)
        || tn_packet_u16(a + 14) > tn_packet_u16(b + 14))
    {
        return false;
    }

    if (p->data_offset - p->header_len == TN_TCP_HEADER_LEN) {
        return true;
    }

    stamp = tn_packet_u32(b + 24) - tn_packet_u32(a + 24);

    return (int32_t) stamp >= 0 && memcmp(a + 28, b + 28, 4) == 0;
}


/* where the flow is remembered, or else a place for it, with flow 0 */
static tn_thin_flow_t *
thin_flow(tn_thin_t *thin, uint32_t hash)
{
    uint32_t         mixed;
    tn_thin_flow_t  *pair;

    /* ports that count up are not spread by the hash's multiplication */

    mixed = (hash ^ hash >> 15) * 0x2c1b3c6du;
    pair = thin->pairs[mixed / (UINT32_MAX / TN_THIN_PAIRS + 1)];

    if ((pair[0].flow | 1) == hash) {
        return &pair[0];
    }

    if ((pair[1].flow | 1) != hash) {
        pair[1] = pair[0];
        pair[0].flow = 0;
        return &pair[0];
    }

    return &pair[1];
}


/* its headers have nothing that would get lost */
static bool
thin_is_plain(const uint8_t *packet, const tn_packet_t *p)
{
    size_t          len;
    const uint8_t  *tcp;

    static const uint8_t  stamp[4] = { 1, 1, 8, 10 };

    tcp = packet + p->header_len;
    len = (size_t) (p->data_offset - p->header_len);

    if (p->extended
        || p->header_len != (p->version == 4 ? TN_IP4_HEADER_LEN
                                             : TN_IP6_HEADER_LEN)
        || tcp[12] & 0x0f
        || tn_packet_u16(tcp + 18) != 0)
    {
        return false;
    }

    return len == TN_TCP_HEADER_LEN
           || (len == TN_TCP_HEADER_LEN + TN_THIN_STAMP_LEN
               && memcmp(tcp + TN_TCP_HEADER_LEN, stamp, 4) == 0);
}
