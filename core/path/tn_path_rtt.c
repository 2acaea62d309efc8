
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory: which of the addresses that answer is still worth its place.
 *
 * Upstream looks at the last round trip alone.  Here each candidate has an
 * average (a quarter of each new answer) and a baseline: the lowest answer
 * of the present and the former span of 150 s, so that what has become the
 * rule is forgiven after five minutes at most.
 *
 *   slow      it is the best address, and its average reaches three times
 *             the baseline and 10 ms more than that: demoted; restored after
 *             three answers in a row that are near the baseline
 *   flapping  as the best address it was lost five times in five minutes:
 *             demoted; restored after ten answers in a row
 *
 * What is demoted is used when nothing else is there, no relay either by which
 * the peer has answered lately: a slow one also as long as the relay's round
 * trip is not lower.
 */

#include "tn_path_private.h"


bool
tn_path_rtt_answer(tn_path_candidate_t *candidate, tn_ms_t now,
    uint32_t rtt_us)
{
    uint32_t  base;

    candidate->latency_us = rtt_us;

    if (candidate->samples++ == 0) {
        candidate->average_us = rtt_us;
        candidate->base_us[0] = rtt_us;
        candidate->base_us[1] = rtt_us;
        candidate->base_at = now;
    }

    candidate->average_us -= candidate->average_us / 4;
    candidate->average_us += rtt_us / 4;

    if (now - candidate->base_at >= TN_PATH_BASE_MS) {
        candidate->base_us[1] = candidate->base_us[0];
        candidate->base_us[0] = rtt_us;
        candidate->base_at = now;
    }

    candidate->base_us[0] = tn_min(candidate->base_us[0], rtt_us);

    if (candidate->demoted == TN_PATH_WHY_NONE) {
        return false;
    }

    base = tn_path_rtt_base(candidate);

    if (candidate->demoted == TN_PATH_WHY_SLOW
        && rtt_us > base + base / 2 + TN_PATH_SLOW_MIN_US / 2)
    {
        candidate->good = 0;
        return false;
    }

    candidate->good++;

    if (candidate->good < (candidate->demoted == TN_PATH_WHY_SLOW
                           ? TN_PATH_SLOW_GOOD : TN_PATH_FLAPS_GOOD))
    {
        return false;
    }

    candidate->demoted = TN_PATH_WHY_NONE;
    candidate->average_us = rtt_us;
    candidate->flaps = 0;

    return true;
}


bool
tn_path_rtt_is_slow(const tn_path_candidate_t *candidate)
{
    uint32_t  base, limit;

    base = tn_path_rtt_base(candidate);

    /* an average comes near to what it is of, and never reaches it */

    limit = base * TN_PATH_SLOW_TIMES - base / 8;

    return candidate->samples >= TN_PATH_SLOW_SAMPLES
           && candidate->average_us >= limit
           && candidate->average_us - base >= TN_PATH_SLOW_MIN_US;
}


bool
tn_path_rtt_lost(tn_path_candidate_t *candidate, tn_ms_t now)
{
    if (candidate->flaps == 0
        || now - candidate->flaps_at > TN_PATH_FLAPS_MS)
    {
        candidate->flaps = 0;
        candidate->flaps_at = now;
    }

    if (++candidate->flaps < TN_PATH_FLAPS) {
        return false;
    }

    candidate->demoted = TN_PATH_WHY_FLAPPING;
    candidate->good = 0;
    candidate->flaps = 0;

    return true;
}


void
tn_path_rtt_forget(tn_path_candidate_t *candidate)
{
    candidate->mtu = 0;
    candidate->latency_us = 0;
    candidate->samples = 0;
    candidate->demoted = TN_PATH_WHY_NONE;
    candidate->good = 0;
    candidate->flaps = 0;
}


uint32_t
tn_path_rtt_base(const tn_path_candidate_t *candidate)
{
    return tn_min(candidate->base_us[0], candidate->base_us[1]);
}
