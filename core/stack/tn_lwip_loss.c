
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Loss recovery and congestion control of what a stack sends.  lwIP tells its
 * peers of gaps by SACK but does not use what they tell: it mends one loss in
 * a round trip and halves its window for each.  To a peer that has SACK:
 *
 *   marks       each block of an ACK marks the segments that have arrived
 *   lost        is a segment with 3 segments' worth marked behind it (RFC 6675,
 *               IsLost); it is sent again at once, as far as the window allows.
 *               One that was sent again is lost once more when data that was
 *               first sent after it has arrived, or after a round trip and a
 *               half: marks of two generations tell that, the present one and
 *               the one before
 *   window      counts bytes on their way, without those marked and those
 *               known to be lost.  lwIP counts from the oldest byte not
 *               acknowledged, so its cwnd is set to what comes to the same.
 *               While there are gaps an ACK lets go little more than what it
 *               tells of (RFC 6937)
 *   growth      doubles each round trip until a queue shows (the round trip
 *               is an eighth above the shortest of the last 10 s) or a cut;
 *               then by 32 KB, with a queue by one segment, and with one
 *               never beyond twice what fills the path: a queue that loses
 *               nothing would get as long as the window can be, and all that
 *               shares it would wait
 *   rate        what arrived in a round trip, the best of the last 8; times the
 *               shortest round trip it is what fills the path without a queue
 *   cut         once in a round trip: after a loss while there is a queue to
 *               what fills the path, at most to 7/10 (as Westwood does: on a
 *               line that loses, each queue meets a loss); when more than 4%
 *               of a round trip's bytes were lost to 7/10.  Less, without a
 *               queue, is the line's fault and no congestion
 *   time        of round trips is taken of several segments in each, and
 *               lwIP's timer is set by it, not by lwIP's own measurement,
 *               which counts the mending of a loss as a round trip
 *   silence     lwIP's timer sends everything again and starts at 10 segments,
 *               doubling up to half of the former window
 *
 * lwIP's lists are walked as little as can be, since they are as long as the
 * window: what is marked is counted as it comes and goes, a block that grew is
 * marked from where it ended before, and lwIP gets to see the end of a list
 * only when it is to append to it.  The segments that are pointed at for that
 * are in the list for as long as their last byte is not acknowledged, unless
 * lwIP's timer or we took them out of it.
 *
 * Works in two steps: lwip_loss_segment() before lwIP sees a segment only
 * marks, lwip_loss_after() when lwIP has freed what was acknowledged does the
 * rest.  lwip_loss_tick() comes by when nothing arrives any more.
 */

#include "tn_lwip_int.h"

#include <lwip/def.h>


/* in the flags of a segment, beside lwIP's own */
#define LOSS_MARK          0x40     /* the peer has it */
#define LOSS_AGAIN(gen)    ((gen) ? 0x80 : 0x20)
#define LOSS_ALL           (LOSS_MARK|LOSS_AGAIN(0)|LOSS_AGAIN(1))

#define LOSS_BLOCKS        4
#define LOSS_THRESHOLD     3        /* segments behind a gap */
#define LOSS_INITIAL       10       /* segments */
#define LOSS_FLOOR         4
#define LOSS_CUT_NUM       7
#define LOSS_CUT_DEN       10
#define LOSS_STEP          4        /* a part of the window at most, */
#define LOSS_STEP_BYTES    (32 * 1024)  /* alike for all, so that they meet */
#define LOSS_TOLERATED     25       /* one in so many bytes */
#define LOSS_RTT_LIFE_MS   10000
#define LOSS_QUEUE_MS      2        /* below it is noise */
#define LOSS_LEAST         (64 * 1024)  /* of a window, for a queue alone */
#define LOSS_SAMPLES       8        /* of time, in a round trip */
#define LOSS_RTO_TICKS     3        /* at least, of 100 ms */
#define LOSS_RATES         8        /* round trips */
#define LOSS_AHEAD         (256 * 1024)


/* of what a peer has */
typedef struct {
    uint32_t         left;
    uint32_t         right;         /* where that segment ends */
    struct tcp_seg  *seg;           /* the last that is marked, or NULL */
} loss_block_t;


struct lwip_loss_s {
    struct tcp_pcb  *pcb;
    uint32_t         cwnd;          /* bytes that may be on their way */
    uint32_t         high;          /* the end of what is marked */
    uint32_t         acked;         /* lastack when we looked before */
    uint32_t         marked;        /* bytes, of those not acknowledged */
    uint32_t         marked_before; /* when we looked before */
    uint32_t         freed;         /* of them by the ACK that is looked at, */
    uint32_t         freed_by;      /* if lwIP takes it */
    loss_block_t     blocks[LOSS_BLOCKS];
    unsigned         next_block;
    struct tcp_seg  *last;          /* unacked, or NULL: not known */
    uint32_t         last_end;
    uint32_t         round;         /* ends when this is acknowledged */
    uint32_t         round_lost;
    uint32_t         round_done;
    tn_ms_t          round_at;      /* when it began */
    uint32_t         rates[LOSS_RATES];     /* bytes in a ms, of the latest */
    unsigned         n_rates;
    uint32_t         generation_end;
    tn_ms_t          generation_at;
    uint32_t         threshold;     /* where doubling ends */
    uint32_t         sent;          /* snd_nxt before this segment */
    struct {
        uint32_t     end;           /* arrives a round trip after it was sent */
        tn_ms_t      at;
    } samples[LOSS_SAMPLES];
    unsigned         n_samples;
    tn_ms_t          rtt;           /* smoothed */
    tn_ms_t          rtt_last;
    tn_ms_t          rtt_min;
    tn_ms_t          rtt_min_at;
    uint8_t          generation;
    uint8_t          nrtx;          /* lwIP's, when we looked before */
    bool             slow_start;
    bool             cut;           /* in this round */
    bool             timer;         /* lwIP sends everything again */
};


static lwip_loss_t *lwip_loss(tn_lwip_t *lwip, struct tcp_pcb *pcb);
static void loss_mark(lwip_loss_t *loss, uint32_t ack, uint32_t left,
    uint32_t right);
static struct tcp_seg *loss_block(lwip_loss_t *loss, uint32_t left,
    uint32_t right, loss_block_t **block);
static void loss_free(lwip_loss_t *loss, uint32_t ack);
static void loss_acknowledged(lwip_loss_t *loss);
static void loss_forget(struct tcp_seg *seg);
static uint32_t loss_done(lwip_loss_t *loss);
static void loss_ask(struct tcp_pcb *pcb);
static bool loss_timer(lwip_loss_t *loss);
static void loss_sample(lwip_loss_t *loss, tn_ms_t now);
static void loss_time(lwip_loss_t *loss, tn_ms_t now);
static bool loss_is_queue(const lwip_loss_t *loss);
static void loss_grow(lwip_loss_t *loss, uint32_t done);
static void loss_round(lwip_loss_t *loss, tn_ms_t now, uint32_t done);
static bool loss_generation(lwip_loss_t *loss, tn_ms_t now);
static void loss_send(lwip_loss_t *loss, tn_ms_t now, uint32_t done);
static uint32_t loss_resend(lwip_loss_t *loss, uint32_t *budget,
    struct tcp_seg ***from);
static void loss_output(lwip_loss_t *loss, struct tcp_seg **link);
static struct tcp_seg *loss_last(lwip_loss_t *loss);
static struct tcp_seg **loss_put(struct tcp_seg **link, struct tcp_seg *seg);
static void loss_return(lwip_loss_t *loss);
static uint32_t loss_path(const lwip_loss_t *loss);
static void loss_cut(lwip_loss_t *loss, uint32_t floor);


static inline uint32_t
loss_begin(const struct tcp_seg *seg)
{
    return lwip_ntohl(seg->tcphdr->seqno);
}


static inline uint32_t
loss_end(const struct tcp_seg *seg)
{
    return loss_begin(seg) + TCP_TCPLEN(seg);
}


void
lwip_loss_segment(struct tcp_pcb *pcb, const struct tcp_hdr *header,
    unsigned len)
{
    unsigned        i, n;
    uint32_t        edge[2];
    tn_lwip_t      *lwip;
    lwip_loss_t    *loss;
    const uint8_t  *option;

    if (pcb->state < ESTABLISHED || pcb->state == TIME_WAIT) {
        return;
    }

    lwip = lwip_holder();

    /* each second full segment is acknowledged (RFC 5681, 4.2) */

    if (lwip->joined) {
        tcp_set_flags(pcb, TF_ACK_DELAY);
    }

    if (!(pcb->flags & TF_SACK) || !(TCPH_FLAGS(header) & TCP_ACK)) {
        return;
    }

    loss = lwip_loss(lwip, pcb);

    if (loss == NULL) {
        return;
    }

    lwip->loss = loss;
    loss->sent = pcb->snd_nxt;

    /*
     * lwIP shall send nothing on its own: neither what is lost nor more, as it
     * would from the fourth ACK of the same byte on
     */

    tcp_set_flags(pcb, TF_INFR);
    pcb->dupacks = 0;

    pcb->cwnd = pcb->snd_nxt - pcb->lastack;

    if (loss_timer(loss)) {
        pcb->cwnd = loss->cwnd;

    } else if (TCP_SEQ_BETWEEN(header->ackno, pcb->lastack, pcb->snd_nxt)) {
        pcb->cwnd = pcb->snd_nxt - header->ackno;
    }

    pcb->ssthresh = pcb->cwnd;

    loss_free(loss, header->ackno);

    option = (const uint8_t *) (header + 1);

    while (len > 0) {

        if (option[0] == 0 || (option[0] != 1 && len < 2)) {
            break;
        }

        n = option[0] == 1 ? 1 : option[1];

        if (n == 0 || n > len || (option[0] != 1 && n < 2)) {
            break;
        }

        if (option[0] == 5) {
            for (i = 2; i + 8 <= n && i < 2 + 8 * LOSS_BLOCKS; i += 8) {
                memcpy(edge, option + i, sizeof(edge));
                loss_mark(loss, header->ackno, lwip_ntohl(edge[0]),
                          lwip_ntohl(edge[1]));
            }
        }

        option += n;
        len -= n;
    }
}


static lwip_loss_t *
lwip_loss(tn_lwip_t *lwip, struct tcp_pcb *pcb)
{
    lwip_loss_t  *loss;

    loss = lwip_get_loss(pcb);

    if (loss != NULL || pcb->unacked == NULL) {
        return loss;
    }

    loss = tn_lwip_calloc(1, sizeof(lwip_loss_t));

    if (loss == NULL) {
        return NULL;
    }

    loss->pcb = pcb;
    loss->cwnd = tn_max((uint32_t) pcb->cwnd,
                        (uint32_t) LOSS_INITIAL * pcb->mss);
    loss->acked = pcb->lastack;
    loss->high = pcb->lastack;
    loss->round = pcb->snd_nxt;
    loss->generation_end = pcb->snd_nxt;
    loss->rtt_min = TN_NEVER_MS;
    loss->rtt_min_at = lwip->now;
    loss->round_at = lwip->now;
    loss->slow_start = true;
    loss->threshold = TCP_SND_BUF;

    lwip_set_loss(pcb, loss);

    return loss;
}


/* RFC 2018: of what was sent and not acknowledged; anything else is ignored */
static void
loss_mark(lwip_loss_t *loss, uint32_t ack, uint32_t left, uint32_t right)
{
    loss_block_t    *block;
    struct tcp_seg  *seg;

    /* nor of an old ACK: what lies before lastack is freed already */

    if (!TCP_SEQ_LT(left, right) || !TCP_SEQ_GEQ(left, ack)
        || TCP_SEQ_LT(left, loss->pcb->lastack)
        || !TCP_SEQ_LEQ(right, loss->pcb->snd_nxt))
    {
        return;
    }

    for (seg = loss_block(loss, left, right, &block); seg != NULL;
         seg = seg->next)
    {

        if (TCP_SEQ_LT(loss_begin(seg), left)) {
            continue;
        }

        if (TCP_SEQ_GT(loss_end(seg), right)) {
            break;
        }

        if (!(seg->flags & LOSS_MARK)) {
            seg->flags |= LOSS_MARK;
            loss->marked += seg->len;
        }

        block->seg = seg;
        block->right = loss_end(seg);
    }

    if (TCP_SEQ_GT(right, loss->high)) {
        loss->high = right;
    }
}


/* the first segment that may have to be marked, NULL for none */
static struct tcp_seg *
loss_block(lwip_loss_t *loss, uint32_t left, uint32_t right,
    loss_block_t **block)
{
    unsigned       i;
    loss_block_t  *b;

    for (i = 0; i < LOSS_BLOCKS; i++) {
        b = &loss->blocks[i];

        if (b->seg != NULL && b->left == left) {
            *block = b;
            return TCP_SEQ_LEQ(right, b->right) ? NULL : b->seg;
        }
    }

    *block = &loss->blocks[loss->next_block++ % LOSS_BLOCKS];
    (*block)->left = left;
    (*block)->seg = NULL;

    return loss->pcb->unacked;
}


/* what is marked of what lwIP will free when it takes this ACK */
static void
loss_free(lwip_loss_t *loss, uint32_t ack)
{
    struct tcp_seg  *seg;

    loss->freed = 0;
    loss->freed_by = ack;

    if (loss->marked == 0 || !TCP_SEQ_GT(ack, loss->pcb->lastack)) {
        return;
    }

    for (seg = loss->pcb->unacked;
         seg != NULL && TCP_SEQ_LEQ(loss_end(seg), ack);
         seg = seg->next)
    {
        if (seg->flags & LOSS_MARK) {
            loss->freed += seg->len;
        }
    }
}


/* forgets what lwIP has freed */
static void
loss_acknowledged(lwip_loss_t *loss)
{
    unsigned       i;
    loss_block_t  *block;

    if (loss->pcb->lastack == loss->freed_by) {
        loss->marked -= tn_min(loss->marked, loss->freed);
    }

    for (i = 0; i < LOSS_BLOCKS; i++) {
        block = &loss->blocks[i];

        if (block->seg != NULL
            && TCP_SEQ_LEQ(block->right, loss->pcb->lastack))
        {
            block->seg = NULL;
        }
    }

    if (loss->last != NULL
        && TCP_SEQ_LEQ(loss->last_end, loss->pcb->lastack))
    {
        loss->last = NULL;
    }
}


void
lwip_loss_after(tn_lwip_t *lwip)
{
    uint32_t         done;
    lwip_loss_t     *loss;
    struct tcp_pcb  *pcb;

    loss = lwip->loss;

    if (loss == NULL) {
        return;
    }

    lwip->loss = NULL;
    pcb = loss->pcb;
    loss_acknowledged(loss);

    if (pcb->state < ESTABLISHED || pcb->state == TIME_WAIT) {
        return;
    }

    if (TCP_SEQ_LT(loss->high, pcb->lastack)) {
        loss->high = pcb->lastack;
    }

    if (loss_timer(loss)) {
        done = loss_done(loss);
        loss->cwnd += tn_min(done, 2U * pcb->mss);
        pcb->cwnd = loss->cwnd;
        (void) tcp_output(pcb);
        return;
    }

    loss_sample(loss, lwip->now);
    (void) loss_generation(loss, lwip->now);
    loss_send(loss, lwip->now, loss_done(loss));
    loss_ask(pcb);
}


/* bytes that the latest ACK tells of, each of them once */
static uint32_t
loss_done(lwip_loss_t *loss)
{
    uint32_t  former, acked;

    former = loss->marked_before;
    acked = loss->pcb->lastack - loss->acked;
    loss->acked = loss->pcb->lastack;
    loss->marked_before = loss->marked;

    /* with a segment in two parts, one could be counted that is gone */

    return acked + loss->marked > former ? acked + loss->marked - former : 0;
}


/*
 * lwIP asks for more when the oldest bytes are acknowledged.  Behind a gap
 * none are for a round trip, in which what was written ahead would run out.
 */
static void
loss_ask(struct tcp_pcb *pcb)
{
    uint32_t  queued;

    queued = (uint32_t) TCP_SND_BUF - tn_min((uint32_t) pcb->snd_buf,
                                             (uint32_t) TCP_SND_BUF);

    if (pcb->sent != NULL
        && queued - (pcb->snd_nxt - pcb->lastack) < LOSS_AHEAD)
    {
        (void) pcb->sent(pcb->callback_arg, pcb, 0);
    }
}


void
lwip_loss_tick(tn_lwip_t *lwip, struct tcp_pcb *pcb)
{
    lwip_loss_t  *loss;

    loss = lwip_get_loss(pcb);

    if (loss == NULL || loss->marked == 0 || pcb->state < ESTABLISHED
        || (pcb->flags & TF_RTO))
    {
        return;
    }

    loss->sent = pcb->snd_nxt;

    if (loss_generation(loss, lwip->now)) {
        loss_send(loss, lwip->now, 0);
    }
}


static void
loss_send(lwip_loss_t *loss, tn_ms_t now, uint32_t done)
{
    uint32_t          pipe, span, budget;
    struct tcp_pcb   *pcb;
    struct tcp_seg  **link;

    pcb = loss->pcb;
    budget = done + 4U * pcb->mss;
    pipe = loss_resend(loss, &budget, &link);
    loss_grow(loss, done);
    loss_round(loss, now, done);

    if (loss->marked != 0) {
        span = pcb->snd_nxt - pcb->lastack;

        if (loss->cwnd > pipe) {
            span += tn_min(loss->cwnd - pipe, budget);
        }

    } else {
        span = loss->cwnd;
    }

    pcb->cwnd = tn_min(span, (uint32_t) TCP_SND_BUF * 2);
    pcb->ssthresh = pcb->cwnd;

    loss_output(loss, link);
    loss_return(loss);

    loss_time(loss, now);
}


void
lwip_loss_output(struct tcp_pcb *pcb)
{
    lwip_loss_t  *loss;

    loss = lwip_get_loss(pcb);

    if (loss == NULL || (pcb->flags & TF_RTO)) {
        (void) tcp_output(pcb);
        return;
    }

    loss_output(loss, &pcb->unacked);
}


/*
 * tcp_output() walks to the end of what is not acknowledged, and for each
 * segment that is sent again from the beginning.  So it is given the last one
 * in place of all; what it put before that one is put where it belongs, at
 * `link` in the list or behind it.
 */
static void
loss_output(lwip_loss_t *loss, struct tcp_seg **link)
{
    struct tcp_pcb  *pcb;
    struct tcp_seg  *all, *last, *seg, *next;

    pcb = loss->pcb;
    all = pcb->unacked;

    if (all == NULL || pcb->unsent == NULL) {
        (void) tcp_output(pcb);
        return;
    }

    last = loss_last(loss);

    if (link == &pcb->unacked) {
        link = &all;
    }

    pcb->unacked = last;

    (void) tcp_output(pcb);

    for (seg = pcb->unacked; seg != last; seg = next) {
        next = seg->next;
        link = loss_put(link, seg);
    }

    pcb->unacked = all;
}


/* of what is not acknowledged, which is something */
static struct tcp_seg *
loss_last(lwip_loss_t *loss)
{
    struct tcp_seg  *seg;

    seg = loss->last;

    /* within lwIP's own calls it may have freed that one */

    if (seg == NULL || TCP_SEQ_LEQ(loss->last_end, loss->pcb->lastack)) {
        seg = loss->pcb->unacked;
    }

    while (seg->next != NULL) {
        seg = seg->next;
    }

    loss->last = seg;
    loss->last_end = loss_end(seg);

    return seg;
}


/* into the list at `link`, by its number; returns where the next one goes */
static struct tcp_seg **
loss_put(struct tcp_seg **link, struct tcp_seg *seg)
{
    while (*link != NULL && TCP_SEQ_LT(loss_begin(*link), loss_begin(seg))) {
        link = &(*link)->next;
    }

    seg->next = *link;
    *link = seg;

    return &seg->next;
}


/*
 * Everything is on its way once more, in lwIP's order: marks are void, also
 * those that were made since it was so the last time.
 */
static bool
loss_timer(lwip_loss_t *loss)
{
    bool             again;
    struct tcp_pcb  *pcb;

    pcb = loss->pcb;
    again = pcb->nrtx > loss->nrtx;
    loss->nrtx = pcb->nrtx;

    if (!(pcb->flags & TF_RTO)) {
        loss->timer = false;
        return false;
    }

    if (again || !loss->timer) {
        loss_forget(pcb->unacked);
        loss_forget(pcb->unsent);
        loss->high = pcb->lastack;
        loss->marked = 0;
        loss->marked_before = 0;
        loss->last = NULL;
        memset(loss->blocks, 0, sizeof(loss->blocks));
        loss->n_samples = 0;
    }

    if (!loss->timer) {
        loss->timer = true;
        loss->threshold = tn_max(loss->cwnd / 2,
                                 (uint32_t) LOSS_INITIAL * pcb->mss);
        loss->cwnd = (uint32_t) LOSS_INITIAL * pcb->mss;
        loss->slow_start = true;
    }

    return true;
}


static void
loss_forget(struct tcp_seg *seg)
{
    for ( /* void */ ; seg != NULL; seg = seg->next) {
        seg->flags &= (uint8_t) ~LOSS_ALL;
    }
}


/* what has just been sent for the first time */
static void
loss_time(lwip_loss_t *loss, tn_ms_t now)
{
    unsigned  n;

    n = loss->n_samples;

    if (loss->pcb->snd_nxt == loss->sent || n == LOSS_SAMPLES
        || (n != 0
            && now - loss->samples[n - 1].at < loss->rtt / LOSS_SAMPLES + 1))
    {
        return;
    }

    loss->samples[n].end = loss->pcb->snd_nxt;
    loss->samples[n].at = now;
    loss->n_samples++;
}


static void
loss_sample(lwip_loss_t *loss, tn_ms_t now)
{
    s16_t            ticks;
    unsigned         n;
    tn_ms_t          rtt;
    struct tcp_pcb  *pcb;

    pcb = loss->pcb;
    pcb->rttest = 0;

    for (n = 0; n < loss->n_samples
                && TCP_SEQ_GEQ(loss->high, loss->samples[n].end);
         n++)
    {
        /* void */
    }

    if (n == 0) {
        return;
    }

    rtt = tn_max(now - loss->samples[n - 1].at, (tn_ms_t) 1);
    loss->n_samples -= n;
    memmove(loss->samples, loss->samples + n,
            loss->n_samples * sizeof(loss->samples[0]));

    loss->rtt_last = rtt;
    loss->rtt = loss->rtt == 0 ? rtt : (loss->rtt * 7 + rtt + 4) / 8;

    if (rtt <= loss->rtt_min || now - loss->rtt_min_at > LOSS_RTT_LIFE_MS) {
        loss->rtt_min = rtt;
        loss->rtt_min_at = now;
    }

    ticks = (s16_t) tn_min(loss->rtt / TCP_SLOW_INTERVAL, (tn_ms_t) 1000);
    pcb->sa = (s16_t) (ticks << 3);
    pcb->sv = (s16_t) tn_max(ticks, LOSS_RTO_TICKS);

    if (pcb->nrtx == 0) {
        pcb->rto = (s16_t) (ticks + pcb->sv);
    }
}


static bool
loss_is_queue(const lwip_loss_t *loss)
{
    return loss->rtt != 0
           && loss->rtt_last > loss->rtt_min
                               + tn_max(loss->rtt_min / 8,
                                        (tn_ms_t) LOSS_QUEUE_MS);
}


static void
loss_grow(lwip_loss_t *loss, uint32_t done)
{
    uint32_t         step, most;
    struct tcp_pcb  *pcb;

    pcb = loss->pcb;

    /* a window that is not used is not known to be too small */

    if (loss->cut || pcb->unsent == NULL) {
        return;
    }

    if (loss->slow_start
        && loss->cwnd < tn_min(loss->threshold, (uint32_t) TCP_SND_BUF)
        && !loss_is_queue(loss))
    {
        loss->cwnd += done;
        return;
    }

    loss->slow_start = false;
    step = pcb->mss;

    if (loss_is_queue(loss)) {
        most = tn_max(2 * loss_path(loss), (uint32_t) LOSS_LEAST);

        if (loss->cwnd > most) {
            loss->cwnd = most;
            return;
        }

    } else {
        step = tn_max(step, tn_min(loss->cwnd / LOSS_STEP,
                                   (uint32_t) LOSS_STEP_BYTES));
    }

    if (loss->cwnd < (uint32_t) TCP_SND_BUF) {
        loss->cwnd += (uint32_t) ((uint64_t) done * step / loss->cwnd);
    }
}


static void
loss_round(lwip_loss_t *loss, tn_ms_t now, uint32_t done)
{
    loss->round_done += done;

    if (TCP_SEQ_LT(loss->high, loss->round)) {
        return;
    }

    if (loss->round_lost > loss->round_done / LOSS_TOLERATED
        && loss->round_lost > (uint32_t) LOSS_THRESHOLD * loss->pcb->mss)
    {
        loss_cut(loss, 0);
    }

    loss->rates[loss->n_rates++ % LOSS_RATES] =
        (uint32_t) (loss->round_done
                    / tn_max(now - loss->round_at, (tn_ms_t) 1));

    loss->round = loss->pcb->snd_nxt;
    loss->round_at = now;
    loss->round_lost = 0;
    loss->round_done = 0;
    loss->cut = false;
}


/* what the path holds without a queue, 0 while nothing is known */
static uint32_t
loss_path(const lwip_loss_t *loss)
{
    unsigned  i;
    uint64_t  rate;

    if (loss->rtt == 0) {
        return 0;
    }

    rate = 0;

    for (i = 0; i < LOSS_RATES; i++) {
        rate = tn_max(rate, (uint64_t) loss->rates[i]);
    }

    return (uint32_t) tn_min(rate * loss->rtt_min, (uint64_t) TCP_SND_BUF);
}


static void
loss_cut(lwip_loss_t *loss, uint32_t floor)
{
    uint32_t  cwnd;

    if (loss->cut) {
        return;
    }

    loss->cut = true;
    loss->slow_start = false;
    loss->round = loss->pcb->snd_nxt;
    cwnd = tn_max(loss->cwnd / LOSS_CUT_DEN * LOSS_CUT_NUM,
                  (uint32_t) LOSS_FLOOR * loss->pcb->mss);
    loss->cwnd = tn_max(cwnd, tn_min(loss->cwnd, floor));
}


/* the former one is over: what of it has not arrived is lost once more */
static bool
loss_generation(lwip_loss_t *loss, tn_ms_t now)
{
    uint8_t          former;
    struct tcp_seg  *seg;

    if (!TCP_SEQ_GT(loss->high, loss->generation_end
                                + LOSS_THRESHOLD * loss->pcb->mss)
        && now - loss->generation_at < loss->rtt * 3 / 2 + LOSS_QUEUE_MS)
    {
        return false;
    }

    former = (uint8_t) LOSS_AGAIN(!loss->generation);

    for (seg = loss->pcb->unacked; seg != NULL; seg = seg->next) {
        seg->flags &= (uint8_t) ~former;
    }

    loss->generation = !loss->generation;
    loss->generation_end = loss->pcb->snd_nxt;
    loss->generation_at = now;

    return true;
}


/*
 * Puts what is lost before what was never sent, as far as the window and the
 * budget of this ACK allow; returns the bytes that are on their way, and where
 * the first of these segments was.
 */
static uint32_t
loss_resend(lwip_loss_t *loss, uint32_t *budget, struct tcp_seg ***from)
{
    uint32_t          behind, pipe, lost, enough;
    struct tcp_pcb   *pcb;
    struct tcp_seg   *seg, **link, **to;

    pcb = loss->pcb;
    pipe = pcb->snd_nxt - pcb->lastack;
    *from = &pcb->unacked;

    if (loss->high == pcb->lastack) {
        return pipe;
    }

    lost = 0;
    behind = loss->marked;
    enough = (uint32_t) LOSS_THRESHOLD * pcb->mss;

    for (seg = pcb->unacked; seg != NULL && behind >= enough; seg = seg->next) {
        if (seg->flags & LOSS_MARK) {
            behind -= tn_min(behind, (uint32_t) seg->len);

        } else if (!(seg->flags & LOSS_ALL)) {
            lost += seg->len;
        }
    }

    pipe -= tn_min(pipe, loss->marked + lost);

    if (lost == 0) {
        return pipe;
    }

    if (loss_is_queue(loss)) {
        loss_cut(loss, loss_path(loss));
    }

    behind = loss->marked;
    to = &pcb->unsent;
    link = &pcb->unacked;

    while ((seg = *link) != NULL && behind >= enough) {

        if (seg->flags & LOSS_MARK) {
            behind -= tn_min(behind, (uint32_t) seg->len);
            link = &seg->next;
            continue;
        }

        if ((seg->flags & LOSS_ALL) || seg->p->ref != 1) {
            link = &seg->next;
            continue;
        }

        /* the oldest one in any case: everything waits for it */

        if ((pipe + seg->len > loss->cwnd || seg->len > *budget)
            && to != &pcb->unsent)
        {
            break;
        }

        *budget -= tn_min(*budget, (uint32_t) seg->len);
        pipe += seg->len;
        loss->round_lost += seg->len;
        seg->flags |= (uint8_t) LOSS_AGAIN(loss->generation);

        if (to == &pcb->unsent) {
            *from = link;
        }

        if (seg == loss->last) {
            loss->last = NULL;
        }

        *link = seg->next;
        seg->next = *to;
        *to = seg;
        to = &seg->next;
    }

    if (to != &pcb->unsent) {
        pcb->rttest = 0;

        if (*to == NULL) {
            pcb->unsent_oversize = 0;
        }
    }

    return pipe;
}


/*
 * What did not go out belongs among the unacknowledged: tcp_write() would add
 * new bytes to the last segment that is unsent.  One that has only lent its
 * first byte to a probe of a closed window does not: whatever tcp_output() has
 * sent, and nothing else, has ACK.
 */
static void
loss_return(lwip_loss_t *loss)
{
    struct tcp_pcb  *pcb;
    struct tcp_seg  *seg;

    pcb = loss->pcb;

    while ((seg = pcb->unsent) != NULL
           && TCP_SEQ_LT(loss_begin(seg), pcb->snd_nxt)
           && (TCPH_FLAGS(seg->tcphdr) & TCP_ACK))
    {
        pcb->unsent = seg->next;
        seg->flags &= (uint8_t) ~(LOSS_AGAIN(0)|LOSS_AGAIN(1));

        /* a closed window is probed only while nothing is on its way */

        pcb->persist_backoff = 0;
        pcb->rtime = tn_max(pcb->rtime, 0);

        (void) loss_put(&pcb->unacked, seg);
    }
}
