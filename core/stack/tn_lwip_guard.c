
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * What a peer may send or leave undone that lwIP does not expect.  It checks
 * its state by assertions, which end the process and with it the connections
 * of everybody else; others of these only stop a connection for ever.
 *
 *   MSS      lwIP takes this option from any segment.  One that comes when
 *            segments are queued makes them longer than may be; and with a SYN
 *            that comes again it is not held to the MTU any more.  RFC 9293,
 *            3.7.1: it is sent in the SYN alone
 *   half     segments are at most half of the largest window that a peer has
 *            announced, but of any length before one of two bytes was: then the
 *            next is to be shorter than those that wait
 *   window   a segment that leaves a gap is kept whole, also what of it lies
 *            beyond the window, where there is no room for it when the gap is
 *            closed.  RFC 9293, 3.10.7.4: it is not acceptable
 *   FIN      a segment that covers a FIN kept before gets one too, behind its
 *            own end, which the window may not reach
 *   probe    the answer to a probe of a closed window may acknowledge the one
 *            byte that was left, and lwIP goes on to probe with nothing
 *   split    of a segment that is larger than a window which stays small has
 *            its FIN on either part, and so the peer takes the first for the
 *            end.  It goes by the segment's begin, also when the peer has a
 *            part of it already: what the first part then has may all be
 *            acknowledged, and is either sent again without end, or never and
 *            all behind it neither
 *   LAST-ACK ends after 10 s, whatever is still to be delivered
 *   orphan   a connection that was closed stays for as long as its peer answers
 *            the probes of a closed window, with all that is to be delivered.
 *            Linux gives up when it would wait for more than two minutes, 200 s
 *            after the window has closed; here it is as long since the peer
 *            took a byte, and less when memory is short
 *   gaps     what comes behind one is kept, up to 4,096 segments, whatever the
 *            memory that is left
 *   refused  so is, of each connection, what comes when nothing is taken
 */

#include "tn_lwip_int.h"


#define GUARD_ORPHAN_MS        200000
#define GUARD_ORPHAN_SHORT_MS  20000


static void guard_options(uint8_t *option, unsigned len);
static bool guard_overruns(const struct tcp_pcb *pcb,
    const struct tcp_hdr *header, unsigned data);
static bool guard_exceeds(const struct tcp_pcb *pcb,
    const struct tcp_hdr *header, unsigned data);
static bool guard_orphan(const tn_lwip_t *lwip, struct tcp_pcb *pcb);
static void guard_persist(struct tcp_pcb *pcb);


/* the hook of lwipopts.h; anything but ERR_OK drops the segment */
signed char
tn_lwip_segment(struct tcp_pcb *pcb, struct tcp_hdr *header, unsigned len,
    unsigned data)
{
    /* what listens is no whole pcb */

    if (pcb->state < SYN_RCVD || pcb->state == TIME_WAIT) {
        return ERR_OK;
    }

    guard_options((uint8_t *) (header + 1), len);

    if (tn_unlikely(guard_overruns(pcb, header, data))
        || guard_exceeds(pcb, header, data))
    {
        (void) tcp_send_empty_ack(pcb);
        return ERR_VAL;
    }

    lwip_loss_segment(pcb, header, len);

    return ERR_OK;
}


/* the checksum has been verified */
static void
guard_options(uint8_t *option, unsigned len)
{
    unsigned  n;

    while (len > 0 && option[0] != LWIP_TCP_OPT_EOL) {
        n = 1;

        if (option[0] != LWIP_TCP_OPT_NOP) {

            if (len < 2 || option[1] < 2 || option[1] > len) {
                return;
            }

            n = option[1];
        }

        if (tn_unlikely(option[0] == LWIP_TCP_OPT_MSS)) {
            memset(option, LWIP_TCP_OPT_NOP, n);
        }

        option += n;
        len -= n;
    }
}


/* no peer that keeps to our window, and sends nothing behind its FIN, does */
static bool
guard_overruns(const struct tcp_pcb *pcb, const struct tcp_hdr *header,
    unsigned data)
{
    bool                   fin;
    uint32_t               end, edge;
    const struct tcp_seg  *seg;

    fin = (TCPH_FLAGS(header) & TCP_FIN) != 0;
    end = header->seqno + data + fin;
    edge = pcb->rcv_nxt + pcb->rcv_wnd;

    if (tn_likely(TCP_SEQ_LT(end, edge)) || end == header->seqno
        || (TCPH_FLAGS(header) & (TCP_RST|TCP_SYN)))
    {
        return false;
    }

    if (TCP_SEQ_GT(end, edge)) {

        if (TCP_SEQ_GT(header->seqno, pcb->rcv_nxt)) {
            return true;
        }

    } else if (fin) {
        return false;
    }

    for (seg = pcb->ooseq; seg != NULL; seg = seg->next) {
        if (TCPH_FLAGS(seg->tcphdr) & TCP_FIN) {
            return true;
        }
    }

    return false;
}


/* bytes for which there is no memory, but for those that end a connection */
static bool
guard_exceeds(const struct tcp_pcb *pcb, const struct tcp_hdr *header,
    unsigned data)
{
    uint32_t  source;

    if (data == 0 || (TCPH_FLAGS(header) & TCP_RST)) {
        return false;
    }

    source = lwip_holder()->source;

    if (TCP_SEQ_GT(header->seqno, pcb->rcv_nxt)) {
        return lwip_memory_is_short(source, false);
    }

    /* lwIP resets what was closed when more comes */

    return !(pcb->flags & TF_RXCLOSED) && lwip_memory_is_exceeded(source);
}


/* what was of any length stays so */
void
lwip_guard_write(struct tcp_pcb *pcb)
{
    if (tn_unlikely(pcb->snd_wnd_max < 2)) {
        pcb->snd_wnd_max = 2U * pcb->mss;
    }
}


/*
 * Of keepalive, which ends here, lwIP has two fields: what of its bytes the
 * peer had when it last took some, and when that was.
 */
void
lwip_guard_close(const tn_lwip_t *lwip, struct tcp_pcb *pcb)
{
    if (!ip_get_option(pcb, SOF_KEEPALIVE)) {
        return;
    }

    ip_reset_option(pcb, SOF_KEEPALIVE);
    pcb->keep_intvl = pcb->lastack;
    pcb->keep_idle = lwip->ticks;
}


void
lwip_guard_tick(const tn_lwip_t *lwip, struct tcp_pcb *pcb)
{
    if (pcb->state >= ESTABLISHED && !ip_get_option(pcb, SOF_KEEPALIVE)
        && guard_orphan(lwip, pcb))
    {
        return;
    }

    if (pcb->persist_backoff != 0) {
        guard_persist(pcb);
    }

    /* who does not answer is given up by the count of what is sent again */

    if (pcb->state == LAST_ACK
        && (pcb->unsent != NULL
            || (pcb->unacked != NULL && pcb->unacked->len != 0)))
    {
        pcb->tmr = lwip->ticks;
    }
}


/* one without an owner, or whose owner waits for its peer; true: it is gone */
static bool
guard_orphan(const tn_lwip_t *lwip, struct tcp_pcb *pcb)
{
    uint32_t   ms;
    tn_addr_t  peer;

    if (pcb->keep_intvl != pcb->lastack
        || (pcb->unsent == NULL && pcb->unacked == NULL))
    {
        pcb->keep_intvl = pcb->lastack;
        pcb->keep_idle = lwip->ticks;
        return false;
    }

    ms = (lwip->ticks - pcb->keep_idle) * TCP_SLOW_INTERVAL;

    if (ms < GUARD_ORPHAN_SHORT_MS) {
        return false;
    }

    lwip_to_addr(&pcb->remote_ip, 0, &peer);

    if (ms < GUARD_ORPHAN_MS
        && !lwip_memory_is_short(lwip_memory_source(lwip, &peer.ip), false))
    {
        return false;
    }

    tcp_abort(pcb);

    return true;
}


/* while lwIP waits for a window, to probe it or to split what is to be sent */
static void
guard_persist(struct tcp_pcb *pcb)
{
    uint32_t         acked;
    struct tcp_seg  *seg;

    seg = pcb->unsent;

    if (seg != NULL && seg->len != 0) {

        if (TCPH_FLAGS(seg->tcphdr) & TCP_FIN) {

            if (tcp_enqueue_flags(pcb, TCP_FIN) != ERR_OK) {
                goto later;
            }

            TCPH_UNSET_FLAG(seg->tcphdr, TCP_FIN);
        }

        acked = pcb->lastack - lwip_ntohl(seg->tcphdr->seqno);

        if ((int32_t) acked > 0) {

            if (acked < seg->len
                && tcp_split_unsent_seg(pcb, (uint16_t) acked) != ERR_OK)
            {
                goto later;
            }

            pcb->unsent = seg->next;
            pcb->snd_queuelen = (uint16_t) (pcb->snd_queuelen
                                            - pbuf_clen(seg->p));
            pcb->snd_buf += seg->len;
            tcp_seg_free(seg);
        }
    }

    if (pcb->unsent == NULL) {
        pcb->persist_backoff = 0;
    }

    return;

later:

    /* for want of memory: the timer begins anew */

    pcb->persist_cnt = 0;
}
