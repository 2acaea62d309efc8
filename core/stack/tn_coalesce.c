
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A batch of packets is collected in slots, one slot to a frame, kept in the
 * order in which they were begun.  A slot is open while the next packet of
 * its flow may be appended, and each flow has at most one open slot: a packet
 * that belongs to the flow but cannot be appended closes it and begins a new
 * one.  So frames written in slot order keep the order of every flow.
 *
 * A packet is appended when the kernel, cutting the frame again, would make
 * exactly that packet (linux/net/ipv4/tcp_offload.c has the same rules):
 *
 *   IP     no options, extension headers or fragments; equal type of service
 *          or traffic class with its ECN bits, flow label, TTL, DF; without
 *          DF the identification goes up by one
 *   TCP    next in sequence; equal acknowledgment, window, urgent pointer,
 *          options and flags, but for FIN and PSH, which close the slot, and
 *          CWR, which may only be on the first; some payload, not more than
 *          that of the first, and if less, the slot is closed
 *   UDP    a checksum is there; payload as for TCP
 *
 * A frame of several packets is written with NEEDS_CSUM, and the kernel then
 * takes the data for good.  The tunnel proves that the peer sent these bytes,
 * not that they were whole when the peer got them, so the checksums of both
 * packets are verified before they are joined (so does wireguard-go).  What
 * is wrong goes alone, and the kernel drops it.
 *
 * What a node of ours has not cut (core/path/tn_path_long.c) is taken as so
 * many segments as fit into the MTU of nodes, to which it must be a multiple;
 * the kernel sees a frame of several packets, also where it is alone.
 *
 * A pure ACK has a slot of its own, open while a later packet of its flow may
 * take its place: core/stack/tn_thin.c says when.
 */

#include "stack/tn_coalesce.h"

#include <arpa/inet.h>
#include <stdlib.h>

#include "stack/tn_thin.h"
#include "wire/tn_checksum.h"


#define TN_COALESCE_TCP_CSUM  16
#define TN_COALESCE_UDP_CSUM  6

#define TN_COALESCE_HASH      64

/* flags that leave a TCP packet an ordinary piece of a stream */
#define TN_COALESCE_TCP_FLAGS                                                 \
    (TN_TCP_FIN | TN_TCP_PSH | TN_TCP_ACK | TN_TCP_ECE | TN_TCP_CWR)


typedef struct {
    tn_vnet_t          vnet;
    bool               verified;    /* the first packet's checksums */
    bool               ack;         /* may be left out, see tn_thin.h */
    uint32_t           base;        /* what was acknowledged before it */
    uint8_t            last_flags;  /* TCP flags of the last packet */
    uint16_t           segments;
    uint16_t           gso_size;
    uint32_t           total;       /* bytes of the frame */
    uint32_t           next_seq;
    uint16_t           next_id;
    uint8_t           *ip;          /* headers, those of the first packet */
    tn_packet_t        p;           /* its summary */
    struct iovec       iov[1 + TN_COALESCE_SEGMENTS];
} tn_coalesce_slot_t;

struct tn_coalesce_s {
    tn_coalesce_write_pt  write;
    void                 *data;
    bool                  udp;
    uint32_t              n;
    uint32_t              open[TN_COALESCE_SLOTS];  /* the flow's hash, or 0
                                                       for a closed slot */
    uint8_t               first[TN_COALESCE_HASH];  /* slot + 1 by the hash's
                                                       upper bits, or 0 */
    uint8_t               next[TN_COALESCE_SLOTS];  /* the same, of a slot */
    tn_coalesce_slot_t    slots[TN_COALESCE_SLOTS];
    tn_thin_t             thin;
};


static uint32_t tn_coalesce_find(const tn_coalesce_t *c,
    const tn_packet_t *p, uint32_t hash);
static bool tn_coalesce_is_joinable(const tn_coalesce_t *c,
    const uint8_t *ip, const tn_packet_t *p);
static uint16_t tn_coalesce_unit(const tn_packet_t *p);
static bool tn_coalesce_is_long(const tn_packet_t *p);
static bool tn_coalesce_replaces(const tn_coalesce_slot_t *slot,
    const uint8_t *ip, const tn_packet_t *p);
static void tn_coalesce_begin(tn_coalesce_slot_t *slot, uint8_t *ip,
    const tn_packet_t *p);
static bool tn_coalesce_append(tn_coalesce_slot_t *slot, uint8_t *ip,
    const tn_packet_t *p);
static bool tn_coalesce_ip_fits(const tn_coalesce_slot_t *slot,
    const uint8_t *ip, const tn_packet_t *p);
static bool tn_coalesce_tcp_fits(const tn_coalesce_slot_t *slot,
    const uint8_t *ip, const tn_packet_t *p);
static bool tn_coalesce_is_intact(const uint8_t *ip, const tn_packet_t *p);
static void tn_coalesce_finish(tn_coalesce_slot_t *slot);


tn_coalesce_t *
tn_coalesce_create(tn_coalesce_write_pt write, void *data)
{
    tn_coalesce_t  *c;

    c = calloc(1, sizeof(tn_coalesce_t));
    if (c == NULL) {
        return NULL;
    }

    c->write = write;
    c->data = data;

    return c;
}


void
tn_coalesce_destroy(tn_coalesce_t *c)
{
    free(c);
}


void
tn_coalesce_set_udp(tn_coalesce_t *c, bool on)
{
    c->udp = on;
}


void
tn_coalesce_add(tn_coalesce_t *c, uint8_t *packet, const tn_packet_t *p)
{
    bool                 joinable, ack;
    uint32_t             i, flow, base, bucket;
    tn_coalesce_slot_t  *slot;

    slot = NULL;
    joinable = false;
    ack = false;
    flow = 0;
    base = 0;

    if (p->frag != TN_PACKET_WHOLE) {

        /* fragments have no ports that would tell which flow to close */

        memset(c->open, 0, c->n * sizeof(uint32_t));

    } else if (p->proto == TN_PROTO_TCP || p->proto == TN_PROTO_UDP) {
        flow = tn_packet_flow(p) | 1;
        i = tn_coalesce_find(c, p, flow);
        joinable = tn_coalesce_is_joinable(c, packet, p);

        if (i < c->n) {
            slot = &c->slots[i];

            if (joinable && tn_coalesce_append(slot, packet, p)) {

                if (p->total_len - p->data_offset < slot->gso_size
                    || p->tcp_flags & (TN_TCP_FIN | TN_TCP_PSH)
                    || slot->segments == TN_COALESCE_SEGMENTS)
                {
                    c->open[i] = 0;
                }

                return;
            }

            c->open[i] = 0;

            if (!slot->ack || !tn_coalesce_replaces(slot, packet, p)) {
                slot = NULL;
            }
        }

        if (p->proto == TN_PROTO_TCP) {
            ack = tn_thin_note(&c->thin, packet, p, flow, &base);
        }
    }

    if (slot != NULL) {
        base = slot->base;
        tn_coalesce_begin(slot, packet, p);
        slot->verified = true;

    } else {

        if (c->n == TN_COALESCE_SLOTS) {
            tn_coalesce_flush(c);
        }

        bucket = flow / (UINT32_MAX / TN_COALESCE_HASH + 1);
        c->next[c->n] = c->first[bucket];
        c->first[bucket] = (uint8_t) (c->n + 1);

        slot = &c->slots[c->n++];
        tn_coalesce_begin(slot, packet, p);

        if (tn_unlikely(p->total_len > TN_COALESCE_MTU)
            && joinable && tn_coalesce_is_long(p)
            && tn_coalesce_is_intact(packet, p))
        {
            slot->gso_size = tn_coalesce_unit(p);
            slot->verified = true;
        }
    }

    slot->ack = ack;
    slot->base = base;

    c->open[slot - c->slots] =
        ack || (joinable && !(p->tcp_flags & (TN_TCP_FIN | TN_TCP_PSH)))
        ? flow : 0;
}


void
tn_coalesce_flush(tn_coalesce_t *c)
{
    uint32_t             i;
    tn_coalesce_slot_t  *slot;

    for (i = 0; i < c->n; i++) {
        slot = &c->slots[i];
        tn_coalesce_finish(slot);
        c->write(c->data, slot->iov, 1 + slot->segments);
    }

    if (c->n != 0) {
        memset(c->first, 0, sizeof(c->first));
        c->n = 0;
    }
}


/* the open slot of the flow, or c->n */
static uint32_t
tn_coalesce_find(const tn_coalesce_t *c, const tn_packet_t *p, uint32_t hash)
{
    uint32_t            i, slot;
    const tn_packet_t  *q;

    for (slot = c->first[hash / (UINT32_MAX / TN_COALESCE_HASH + 1)];
         slot != 0;
         slot = c->next[i])
    {
        i = slot - 1;

        if (c->open[i] != hash) {
            continue;
        }

        q = &c->slots[i].p;

        if (q->src_port == p->src_port
            && q->dst_port == p->dst_port
            && q->proto == p->proto
            && tn_ip_equal(&q->src, &p->src)
            && tn_ip_equal(&q->dst, &p->dst))
        {
            return i;
        }
    }

    return c->n;
}


/* whether it can begin a frame of several packets, or be appended to one */
static bool
tn_coalesce_is_joinable(const tn_coalesce_t *c, const uint8_t *ip,
    const tn_packet_t *p)
{
    const uint8_t  *t;

    /* the reserved bit of IPv4 fragmentation: RFC 791 wants it zero */

    if (p->extended
        || p->total_len == p->data_offset
        || p->header_len != (p->version == 4 ? TN_IP4_HEADER_LEN
                                             : TN_IP6_HEADER_LEN)
        || (p->version == 4 && ip[6] & 0x80))
    {
        return false;
    }

    if (p->proto == TN_PROTO_TCP) {
        return p->tcp_flags & TN_TCP_ACK
               && (p->tcp_flags & ~TN_COALESCE_TCP_FLAGS) == 0;
    }

    t = ip + p->header_len;

    return c->udp
           && tn_packet_u16(t + 4) == p->total_len - p->header_len
           && tn_packet_u16(t + TN_COALESCE_UDP_CSUM) != 0;
}


/* payload of a full segment; what is joinable has headers of up to 100 bytes */
static uint16_t
tn_coalesce_unit(const tn_packet_t *p)
{
    return (uint16_t) (TN_COALESCE_MTU - p->data_offset);
}


/* whether it, which is joinable, is several segments that were not cut */
static bool
tn_coalesce_is_long(const tn_packet_t *p)
{
    return p->proto == TN_PROTO_TCP
           && p->total_len > TN_COALESCE_MTU
           && (p->total_len - p->data_offset) % tn_coalesce_unit(p) == 0;
}


/* whether the slot's ACK need not be written when this packet is */
static bool
tn_coalesce_replaces(const tn_coalesce_slot_t *slot, const uint8_t *ip,
    const tn_packet_t *p)
{
    return tn_thin_replaces(slot->ip, &slot->p, slot->base, ip, p)
           && tn_coalesce_is_intact(ip, p);
}


static void
tn_coalesce_begin(tn_coalesce_slot_t *slot, uint8_t *ip, const tn_packet_t *p)
{
    memset(&slot->vnet, 0, sizeof(tn_vnet_t));

    slot->iov[0].iov_base = &slot->vnet;
    slot->iov[0].iov_len = sizeof(tn_vnet_t);
    slot->iov[1].iov_base = ip;
    slot->iov[1].iov_len = p->total_len;

    slot->segments = 1;
    slot->gso_size = (uint16_t) (p->total_len - p->data_offset);
    slot->total = p->total_len;
    slot->ip = ip;
    slot->p = *p;
    slot->verified = false;
    slot->last_flags = p->tcp_flags;

    if (slot->gso_size == 0) {
        return;
    }

    slot->next_id = (uint16_t) (tn_packet_u16(ip + 4) + 1);

    if (p->proto == TN_PROTO_TCP) {
        slot->next_seq = tn_packet_u32(ip + p->header_len + 4)
                         + slot->gso_size;
    }
}


static bool
tn_coalesce_append(tn_coalesce_slot_t *slot, uint8_t *ip,
    const tn_packet_t *p)
{
    size_t         payload;
    struct iovec  *iov;

    payload = (size_t) (p->total_len - p->data_offset);

    if ((payload > slot->gso_size
         && (slot->gso_size != tn_coalesce_unit(p)
             || !tn_coalesce_is_long(p)))
        || slot->total + payload > TN_COALESCE_BYTES
        || !tn_coalesce_ip_fits(slot, ip, p)
        || (p->proto == TN_PROTO_TCP && !tn_coalesce_tcp_fits(slot, ip, p)))
    {
        return false;
    }

    if (!slot->verified) {

        if (!tn_coalesce_is_intact(slot->ip, &slot->p)) {
            return false;
        }

        slot->verified = true;
    }

    if (!tn_coalesce_is_intact(ip, p)) {
        return false;
    }

    iov = &slot->iov[1 + slot->segments++];
    iov->iov_base = ip + p->data_offset;
    iov->iov_len = payload;

    slot->total += (uint32_t) payload;
    slot->next_seq += (uint32_t) payload;
    slot->next_id++;
    slot->last_flags = p->tcp_flags;

    return true;
}


static bool
tn_coalesce_ip_fits(const tn_coalesce_slot_t *slot, const uint8_t *ip,
    const tn_packet_t *p)
{
    const uint8_t  *first;

    first = slot->ip;

    if (p->version == 6) {
        return memcmp(first, ip, 4) == 0 && first[7] == ip[7];
    }

    return first[1] == ip[1]
           && first[6] == ip[6]
           && first[8] == ip[8]
           && (ip[6] & 0x40 || tn_packet_u16(ip + 4) == slot->next_id);
}


static bool
tn_coalesce_tcp_fits(const tn_coalesce_slot_t *slot, const uint8_t *ip,
    const tn_packet_t *p)
{
    size_t          options;
    const uint8_t  *first, *tcp;

    if (slot->p.data_offset != p->data_offset) {
        return false;
    }

    first = slot->ip + p->header_len;
    tcp = ip + p->header_len;
    options = (size_t) (p->data_offset - p->header_len - TN_TCP_HEADER_LEN);

    return tn_packet_u32(tcp + 4) == slot->next_seq
           && memcmp(first + 8, tcp + 8, 4) == 0
           && first[12] == tcp[12]
           && memcmp(first + 14, tcp + 14, 2) == 0
           && memcmp(first + 18, tcp + 18, 2 + options) == 0
           && (slot->p.tcp_flags & ~TN_TCP_CWR)
              == (p->tcp_flags & ~(TN_TCP_FIN | TN_TCP_PSH));
}


static bool
tn_coalesce_is_intact(const uint8_t *ip, const tn_packet_t *p)
{
    size_t    len;
    uint64_t  sum;

    if (p->version == 4
        && tn_checksum_finish(tn_checksum_add(0, ip, p->header_len)) != 0)
    {
        return false;
    }

    len = (size_t) (p->total_len - p->header_len);
    sum = tn_checksum_pseudo(ip, p->proto, (uint32_t) len);

    return tn_checksum_finish(tn_checksum_add(sum, ip + p->header_len, len))
           == 0;
}


/* the headers of several packets become those of the frame */
static void
tn_coalesce_finish(tn_coalesce_slot_t *slot)
{
    size_t              offset;
    uint8_t            *ip, *t;
    uint16_t            len, field;
    const tn_packet_t  *p;

    if (slot->segments == 1
        && slot->total - slot->p.data_offset <= slot->gso_size)
    {
        return;
    }

    ip = slot->ip;
    p = &slot->p;
    t = ip + p->header_len;
    len = (uint16_t) (slot->total - p->header_len);

    if (p->version == 4) {
        field = htons((uint16_t) slot->total);
        memcpy(ip + 2, &field, 2);
        tn_checksum_ip4(ip, p->header_len);

    } else {
        field = htons(len);
        memcpy(ip + 4, &field, 2);
    }

    if (p->proto == TN_PROTO_TCP) {
        t[13] |= slot->last_flags & (TN_TCP_FIN | TN_TCP_PSH);
        offset = TN_COALESCE_TCP_CSUM;

        slot->vnet.gso_type = p->version == 4 ? TN_VNET_GSO_TCPV4
                                              : TN_VNET_GSO_TCPV6;
        if (t[13] & TN_TCP_CWR) {
            slot->vnet.gso_type |= TN_VNET_GSO_ECN;
        }

    } else {
        field = htons(len);
        memcpy(t + 4, &field, 2);
        offset = TN_COALESCE_UDP_CSUM;

        slot->vnet.gso_type = TN_VNET_GSO_UDP_L4;
    }

    field = tn_checksum_fold(tn_checksum_pseudo(ip, p->proto, len));
    memcpy(t + offset, &field, 2);

    slot->vnet.flags = TN_VNET_F_NEEDS_CSUM;
    slot->vnet.hdr_len = p->data_offset;
    slot->vnet.gso_size = slot->gso_size;
    slot->vnet.csum_start = p->header_len;
    slot->vnet.csum_offset = (uint16_t) offset;
}
