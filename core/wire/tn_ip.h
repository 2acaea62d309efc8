
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A summary of an IPv4 or IPv6 packet: what the filter, the router and the
 * stacks ask of it, with every length checked against the buffer.
 */

#ifndef TN_IP_H_INCLUDED_
#define TN_IP_H_INCLUDED_

#include "base/tn_addr.h"


#define TN_IP4_HEADER_LEN  20
#define TN_IP6_HEADER_LEN  40
#define TN_TCP_HEADER_LEN  20
#define TN_UDP_HEADER_LEN  8
#define TN_SCTP_HEADER_LEN 12
#define TN_ICMP_HEADER_LEN 4

#define TN_IP_PACKET_MAX   65535

/* IANA protocol numbers */
#define TN_PROTO_ICMP      1
#define TN_PROTO_IGMP      2
#define TN_PROTO_TCP       6
#define TN_PROTO_UDP       17
#define TN_PROTO_ICMP6     58
#define TN_PROTO_TSMP      99
#define TN_PROTO_SCTP      132

#define TN_TCP_FIN         0x01
#define TN_TCP_SYN         0x02
#define TN_TCP_RST         0x04
#define TN_TCP_PSH         0x08
#define TN_TCP_ACK         0x10
#define TN_TCP_URG         0x20
#define TN_TCP_ECE         0x40
#define TN_TCP_CWR         0x80


typedef enum {
    TN_PACKET_WHOLE = 0,
    TN_PACKET_FIRST,            /* first fragment: has the ports */
    TN_PACKET_LATER             /* later fragment: has none */
} tn_packet_frag_t;

typedef struct {
    uint8_t           version;      /* 4 or 6 */
    uint8_t           proto;        /* behind extension headers */
    uint8_t           tcp_flags;    /* TCP only, otherwise 0 */
    uint8_t           icmp_type;    /* ICMP of the packet's own version only */
    uint8_t           icmp_code;
    tn_packet_frag_t  frag;
    bool              extended;     /* IPv4 options or IPv6 extension headers
                                       other than Fragment */
    uint16_t          header_len;   /* offset of the transport header */
    uint16_t          total_len;    /* by the IP header; bytes of the buffer
                                       behind it are padding */
    uint16_t          data_offset;  /* of the transport's payload: behind the
                                       TCP header with its options; equals
                                       header_len for unknown protocols */
    uint16_t          src_port;     /* TCP, UDP and SCTP, otherwise 0 */
    uint16_t          dst_port;
    tn_ip_t           src;
    tn_ip_t           dst;
} tn_packet_t;


/* numbers of a header, in the network's order */
static inline uint16_t
tn_packet_u16(const uint8_t *b)
{
    return (uint16_t) (b[0] << 8 | b[1]);
}


static inline uint32_t
tn_packet_u32(const uint8_t *b)
{
    return (uint32_t) b[0] << 24 | (uint32_t) b[1] << 16
           | (uint32_t) b[2] << 8 | b[3];
}


/* a hash of what makes a flow; its upper bits are the better ones */
static inline uint32_t
tn_packet_flow(const tn_packet_t *p)
{
    uint32_t  src, dst;

    memcpy(&src, p->src.b + 12, 4);
    memcpy(&dst, p->dst.b + 12, 4);

    src ^= (uint32_t) p->src_port << 16 | p->dst_port;
    src ^= dst * 0x9e3779b1 + p->proto;

    return src * 0x85ebca6b;
}


/*
 * Reads the headers of data[0..len).  TN_MALFORMED when lengths disagree,
 * the transport header of a whole packet or first fragment is cut off, a
 * later fragment could overlap a transport header (RFC 1858), or an IPv6
 * header carries IPv4-mapped addresses; then *p is undefined.
 */
tn_rc_t tn_packet_parse(tn_packet_t *p, const uint8_t *data, size_t len);

/*
 * The destination only, for routing what the own stack made.  False when
 * this is no IP packet.
 */
bool tn_packet_dst(const uint8_t *data, size_t len, tn_ip_t *dst);

/*
 * Writes an IPv4 (with checksum) or IPv6 header, as src says, for `payload`
 * bytes behind it; dst is of the same family.  Returns the header's length,
 * or 0 when it does not fit into `size` or into an IP packet.
 */
size_t tn_packet_header(uint8_t *buf, size_t size, uint8_t proto,
    const tn_ip_t *src, const tn_ip_t *dst, size_t payload);


/* a TCP packet that opens a connection */
static inline bool
tn_packet_is_syn(const tn_packet_t *p)
{
    return p->proto == TN_PROTO_TCP
           && (p->tcp_flags & (TN_TCP_SYN | TN_TCP_ACK)) == TN_TCP_SYN;
}


#endif /* TN_IP_H_INCLUDED_ */
