
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A thread that sleeps in epoll is woken by the first packet, handles that
 * one, and sleeps again just before the second comes.  With many connections
 * at work most of its time, and of the workers that it wakes in turn, goes
 * into waking up.  A pause of TN_MODERATE_PAUSE_US between two turns lets
 * packets gather: they are received, decrypted, written and sent in batches,
 * and nginx finds several of its connections ready at a time.
 *
 * A pause helps only where there is something to gather.  One connection
 * that asks and waits for the answer would be made slower by it and nothing
 * saved.  So it is tried and judged:
 *
 *     woken often    TN_MODERATE_TURNS turns within a window: pauses begin
 *     worth it       TN_MODERATE_PACKETS a turn on average: they go on
 *     not worth it   fewer in TN_MODERATE_POOR windows one after the other:
 *                    they end, and the next try comes after a time that
 *                    doubles with each failure
 *
 * Each pause is in the time of each answer, at both ends of the tunnel and
 * there and back, so they must save much: at half of the packets that go on
 * with them here nginx would need a third less CPU with pauses, and the
 * median answer would take three times as long.
 *
 * That is the bargain while there is CPU to spare.  When all CPUs are busy, an
 * answer waits for them in any case, and the sooner the less work there is:
 * then pauses pay from TN_MODERATE_SCARCELY packets a turn on, and longer ones
 * more than short ones.  So the level of scarcity rises by one with each look
 * that finds less than TN_MODERATE_SCARCE per cent of the machine's time idle
 * and is halved with each that finds more than TN_MODERATE_PLENTY.  Clients
 * that send at a rate of their own leave more idle with pauses than without,
 * which must not end what it came from at once: hence the gap between the two.
 * Where a socket's buffer is small pauses stay short, else it would overflow.
 *
 * A thread that has little to do never pauses: a first packet is handled at
 * once.  An idle time longer than a window ends what was found out before it
 * but the doubled time.
 */

#include "host/tn_moderate.h"


static void tn_moderate_judge(tn_moderate_t *m, uint64_t now, bool idle);


unsigned
tn_moderate(tn_moderate_t *m, uint64_t now, unsigned packets)
{
    uint64_t  passed;

    passed = now - m->window;

    if (passed >= TN_MODERATE_WINDOW_US) {
        tn_moderate_judge(m, now, passed >= 2 * TN_MODERATE_WINDOW_US);
    }

    m->turns++;
    m->packets += packets;

    if (!m->pausing) {
        return 0;
    }

    return TN_MODERATE_PAUSE_US * (m->brief ? 1 : tn_max(m->level, 1U));
}


void
tn_moderate_spare(tn_moderate_t *m, uint64_t now, unsigned idle)
{
    uint64_t  passed;

    passed = now - m->looked;
    m->looked = now;

    if (passed >= 2 * TN_MODERATE_LOOK_US || idle > TN_MODERATE_ABUNDANT) {
        m->level = 0;

    } else if (idle > TN_MODERATE_PLENTY) {
        m->level /= 2;

    } else if (idle < TN_MODERATE_SCARCE) {

        if (m->level == 0) {
            m->backoff = 0;
            m->allowed = now;
        }

        m->level = tn_min(m->level + 1, (unsigned) TN_MODERATE_LEVELS);
    }
}


static void
tn_moderate_judge(tn_moderate_t *m, uint64_t now, bool idle)
{
    unsigned  enough;

    enough = m->level > 0 ? TN_MODERATE_SCARCELY : TN_MODERATE_PACKETS;
    m->busy = m->pausing || m->turns >= TN_MODERATE_TURNS;

    if (idle) {
        m->pausing = false;

    } else if (!m->pausing) {
        m->pausing = m->turns >= TN_MODERATE_TURNS && now >= m->allowed;
        m->poor = 0;

    } else if (m->packets >= m->turns * enough) {
        m->backoff = 0;
        m->poor = 0;

    } else if (++m->poor >= TN_MODERATE_POOR) {
        m->pausing = false;
        m->backoff = m->backoff == 0
                     ? TN_MODERATE_BACKOFF_US
                     : tn_min(2 * m->backoff,
                              (uint64_t) TN_MODERATE_BACKOFF_MAX);
        m->allowed = now + m->backoff;
    }

    m->window = now;
    m->turns = 0;
    m->packets = 0;
}
