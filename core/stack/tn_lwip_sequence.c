
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Where the sequence numbers of a connection begin, and what may follow one
 * that is over.
 *
 * RFC 6528: a keyed hash of the addresses and ports, which nobody can guess,
 * plus a clock of 4 us, so that a later connection between the same begins
 * behind an earlier one.
 *
 * TIME-WAIT: who closed first waits for twice the lifetime of a segment, and
 * lwIP answers a SYN of the same addresses and ports by an ACK of the old
 * connection, or by RST.  The peer's answer to that ACK is RST, which RFC 1337
 * has us ignore: its SYNs are lost until the wait is over.  nginx mostly closes
 * first, and a client with many connections comes to a port again soon.  So,
 * by RFC 9293, 3.6.1, a SYN beyond all that the former connection received
 * opens another one, whose own numbers begin beyond what the former has sent.
 */

#include "tn_lwip_int.h"

#include "crypto/tn_blake2s.h"


#define SEQUENCE_PER_MS  250
#define SEQUENCE_GAP     (64 * 1024 + 1)    /* behind those of the former */


void
lwip_reopen(tn_lwip_t *lwip, const ip_addr_t *remote, const uint8_t *packet,
    const tn_packet_t *p)
{
    uint32_t         seq;
    ip_addr_t        local;
    struct tcp_pcb  *pcb;

    memcpy(&seq, packet + p->header_len + 4, sizeof(seq));
    seq = lwip_ntohl(seq);
    lwip_from_ip(&p->dst, &local);

    for (pcb = tcp_tw_pcbs; pcb != NULL; pcb = pcb->next) {
        if (pcb->remote_port == p->src_port && pcb->local_port == p->dst_port
            && ip_addr_cmp(&pcb->remote_ip, remote)
            && ip_addr_cmp(&pcb->local_ip, &local))
        {
            break;
        }
    }

    if (pcb == NULL || !TCP_SEQ_GT(seq, pcb->rcv_nxt)) {
        return;
    }

    lwip->reopens = true;
    lwip->reopens_at = pcb->snd_nxt + SEQUENCE_GAP;

    tcp_abort(pcb);
}


/* the hook of lwipopts.h */
u32_t
tn_lwip_sequence(const ip_addr_t *local, u16_t local_port,
    const ip_addr_t *remote, u16_t remote_port)
{
    uint8_t     mac[16];
    uint32_t    hash;
    tn_addr_t   ends[2];
    tn_lwip_t  *lwip;

    lwip = lwip_holder();

    if (lwip->reopens) {
        return lwip->reopens_at;
    }

    memset(ends, 0, sizeof(ends));
    lwip_to_addr(local, local_port, &ends[0]);
    lwip_to_addr(remote, remote_port, &ends[1]);

    if (tn_blake2s_mac(mac, lwip->secret, sizeof(lwip->secret), ends,
                       sizeof(ends))
        == TN_OK)
    {
        memcpy(&hash, mac, sizeof(hash));

    } else {
        hash = tn_lwip_random();
    }

    return hash + (uint32_t) (lwip->now * SEQUENCE_PER_MS);
}
