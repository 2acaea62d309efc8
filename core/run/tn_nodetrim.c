
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A trim costs the running threads some page faults, a fraction of a
 * millisecond, so the pause between two doubles from TN_TRIM_MS up to
 * TN_NODETRIM_MAX_MS: a node that is started touches its first code, its
 * first peer that of a handshake and of the ciphers, and then all of it is
 * known.  In a process that is nginx's too, only the heap is trimmed, and
 * only of a large netmap's remains.
 */

#include "run/tn_nodetrim.h"
#include "run/tn_node_private.h"
#include "host/tn_trim.h"

#include <malloc.h>
#include <unistd.h>


#define TN_NODETRIM_LARGE_MS  5000
#define TN_NODETRIM_MAX_MS    (10 * 60 * 1000)


static bool nodetrim_own(void);
static void nodetrim_due(void *data, tn_ms_t now);


void
tn_nodetrim_init(tn_node_t *node)
{
    tn_timer_init(&node->trim_timer, nodetrim_due, node);
    node->trim_pause = TN_TRIM_MS;
}


void
tn_nodetrim_later(tn_node_t *node)
{
    tn_ms_t  at;

    if (!nodetrim_own() || node->trim_timer.at != TN_NEVER_MS) {
        return;
    }

    at = tn_max(node->loop->now + TN_TRIM_MS,
                node->trimmed + node->trim_pause);

    (void) tn_timer_set(&node->loop->timers, &node->trim_timer, at);
}


void
tn_nodetrim_large(tn_node_t *node)
{
    (void) tn_timer_set(&node->loop->timers, &node->trim_timer,
                        node->loop->now + TN_NODETRIM_LARGE_MS);
}


/* or a thread of nginx, or of a command */

static bool
nodetrim_own(void)
{
    return gettid() == getpid();
}


static void
nodetrim_due(void *data, tn_ms_t now)
{
    tn_node_t *node = data;

    if (!nodetrim_own()) {
        (void) malloc_trim(0);
        return;
    }

    tn_trim();

    node->trimmed = now;
    node->trim_pause = tn_min(2 * node->trim_pause, TN_NODETRIM_MAX_MS);
}
