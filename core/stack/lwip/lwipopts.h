
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * How lwIP is built: TCP over IPv4 and IPv6 for one thread, memory from
 * one bounded heap, windows that fill a long path.  Included by lwIP only.
 */

#ifndef TN_LWIPOPTS_H_INCLUDED_
#define TN_LWIPOPTS_H_INCLUDED_

#include <stddef.h>
#include <stdint.h>


#define NO_SYS                      1
#define SYS_LIGHTWEIGHT_PROT        0
#define LWIP_SOCKET                 0
#define LWIP_NETCONN                0
#define LWIP_TIMERS                 0   /* tn_lwip.c runs them */
#define LWIP_STATS                  0

/* those of the C library are there: as macros they break its headers */
#define LWIP_DONT_PROVIDE_BYTEORDER_FUNCTIONS  1

/* tn_lwip_memory.c */
void *tn_lwip_malloc(size_t size);
void *tn_lwip_calloc(size_t n, size_t size);
void tn_lwip_free(void *p);

#define MEM_CUSTOM_ALLOCATOR        1
#define MEM_CUSTOM_MALLOC           tn_lwip_malloc
#define MEM_CUSTOM_CALLOC           tn_lwip_calloc
#define MEM_CUSTOM_FREE             tn_lwip_free
#define MEMP_MEM_MALLOC             1
#define MEM_ALIGNMENT               8
#define PBUF_POOL_SIZE              0
#define LWIP_SUPPORT_CUSTOM_PBUF    1

/* the link is a tunnel: no neighbours, no routers, no fragments */
#define LWIP_ARP                    0
#define LWIP_ETHERNET               0
#define LWIP_DHCP                   0
#define LWIP_IPV4                   1
#define LWIP_IPV6                   1
#define IP_REASSEMBLY               0
#define IP_FRAG                     0
#define IP_FORWARD                  0
#define IP_OPTIONS_ALLOWED          0
#define LWIP_IPV6_REASS             0
#define LWIP_IPV6_FRAG              0
#define LWIP_IPV6_MLD               0
#define LWIP_IPV6_AUTOCONFIG        0
#define LWIP_IPV6_DUP_DETECT_ATTEMPTS  0
#define LWIP_IPV6_SEND_ROUTER_SOLICIT  0
#define LWIP_ND6_QUEUEING           0
#define LWIP_IPV6_NUM_ADDRESSES     4

#define LWIP_ICMP                   1
#define LWIP_RAW                    0
#define LWIP_UDP                    0

#define LWIP_TCP                    1
#define TCP_MSS                     1240    /* of IPv4; IPv6 takes 20 less */
#define LWIP_WND_SCALE              1
#define TCP_RCV_SCALE               7
#define TCP_WND                     (4 * 1024 * 1024)
#define TCP_SND_BUF                 (4 * 1024 * 1024)
#define TCP_SND_QUEUELEN            16384
#define TCP_SNDLOWAT                (48 * 1024)
#define TCP_SNDQUEUELOWAT           1024
#define MEMP_NUM_TCP_SEG            16384
#define TCP_QUEUE_OOSEQ             1
#define LWIP_TCP_SACK_OUT           1
#define LWIP_TCP_MAX_SACK_NUM       4
#define TCP_OOSEQ_MAX_PBUFS         4096
#define TCP_LISTEN_BACKLOG          0   /* TN_LWIP_HALF_OPEN is the limit */
#define LWIP_TCP_PCB_NUM_EXT_ARGS   3
#define LWIP_TCP_KEEPALIVE          1

/*
 * Ticks of 50 and 100 ms, so that a retransmission is not before 200 ms.  A
 * SYN is sent again each second (RFC 6298, 2.1).
 */
#define TCP_TMR_INTERVAL            50
#define LWIP_TCP_RTO_TIME           1000
#define TCP_SYNMAXRTX               12      /* lwip_unanswered() has more */
#define TCP_MSL                     5000UL

/* tn_lwip_guard.c: looks at each segment of a connection first */
struct tcp_hdr;
struct tcp_pcb;

signed char tn_lwip_segment(struct tcp_pcb *pcb, struct tcp_hdr *header,
    unsigned len, unsigned data);

#define LWIP_HOOK_TCP_INPACKET_PCB(pcb, header, len, first, second, p)        \
    tn_lwip_segment((pcb), (header), (first), (p)->tot_len)

/* tn_lwip_sequence.c */
struct ip_addr;

uint32_t tn_lwip_sequence(const struct ip_addr *local, uint16_t local_port,
    const struct ip_addr *remote, uint16_t remote_port);

#define LWIP_HOOK_TCP_ISN           tn_lwip_sequence

/*
 * A packet may have been broken behind a subnet router: all are checked, by
 * lwIP or before they are joined.
 */
#define LWIP_CHECKSUM_CTRL_PER_NETIF  1
uint16_t tn_lwip_checksum(const void *data, int len);
#define LWIP_CHKSUM                 tn_lwip_checksum


#endif /* TN_LWIPOPTS_H_INCLUDED_ */
