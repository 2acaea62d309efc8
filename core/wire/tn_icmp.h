
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The few ICMP and ICMPv6 messages that a node itself makes: answers to echo
 * requests and errors.  Called by the data path for packets that no stack is
 * to see.
 */

#ifndef TN_ICMP_H_INCLUDED_
#define TN_ICMP_H_INCLUDED_

#include "tn_ip.h"


/* an error is never longer: RFC 1812 4.3.2.3, RFC 4443 2.4(c) */
#define TN_ICMP4_ERROR_MAX  576
#define TN_ICMP6_ERROR_MAX  1280

typedef enum {
    TN_ICMP_NO_ROUTE = 0,
    TN_ICMP_PROHIBITED,         /* by a filter */
    TN_ICMP_HOST_UNREACHABLE,
    TN_ICMP_PORT_UNREACHABLE,
    TN_ICMP_TOO_BIG             /* with the MTU that would do */
} tn_icmp_error_t;


bool tn_icmp_is_echo_request(const tn_packet_t *p);

/* an echo reply or an error: the answer to something that we sent */
bool tn_icmp_is_answer(const tn_packet_t *p);

/*
 * Turns a whole echo request into its reply, in place.  TN_MALFORMED when it
 * is none, is a fragment, or its checksum is wrong.
 */
tn_rc_t tn_icmp_echo_reply(uint8_t *packet, const tn_packet_t *p);

/*
 * Writes an echo request with this data; both addresses are of one family.
 * Returns the length, or 0 when it does not fit.
 */
size_t tn_icmp_echo_request(uint8_t *buf, size_t size, const tn_ip_t *src,
    const tn_ip_t *dst, uint16_t id, uint16_t seq, const uint8_t *data,
    size_t len);

/* the data of a whole echo reply of this id and seq, or NULL */
const uint8_t *tn_icmp_echo_data(const uint8_t *packet, const tn_packet_t *p,
    uint16_t id, uint16_t seq, size_t *len);

/*
 * Writes the error about a packet that `from` could not pass on, to be sent
 * to the packet's source.  mtu: for TN_ICMP_TOO_BIG, otherwise 0.  Returns
 * the length, or 0 when none may be sent (RFC 1122 3.2.2, RFC 4443 2.4(e):
 * about an ICMP error, a later fragment, multicast, an unspecified source),
 * families differ, or `size` is too small to quote anything.
 */
size_t tn_icmp_error(uint8_t *buf, size_t size, tn_icmp_error_t error,
    uint32_t mtu, const tn_ip_t *from, const uint8_t *packet,
    const tn_packet_t *p);

/*
 * Whether it is an error of any kind; *dst is where the packet went that it is
 * about, none when it quotes too little to tell.
 */
bool tn_icmp_blames(const uint8_t *packet, const tn_packet_t *p,
    tn_ip_t *dst);

/*
 * Whose packet an error says did not arrive (unreachable of any kind): its
 * protocol and, with TCP or UDP, both ends.  False when this is no such error
 * or it quotes too little.  The checksum is not looked at.
 */
bool tn_icmp_unreachable(const uint8_t *packet, const tn_packet_t *p,
    uint8_t *proto, tn_addr_t *from, tn_addr_t *to);


#endif /* TN_ICMP_H_INCLUDED_ */
