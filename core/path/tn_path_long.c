
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Theory: longer packets by DERP.
 *
 * A relay handles packet by packet, whatever their length: it and both ends
 * take most of their time for that, and its queue for a client is 32 packets.
 * DERP carries up to 64 KB in one.  So what the kernel gave as one TCP frame
 * need not be cut to the tunnel's MTU where it goes by DERP alone, if the peer
 * takes it as frames that a network card has joined, which upstream does not
 * promise.
 *
 * Who is such a peer is asked by a ping as long as the longest message, so
 * that the relays on the way have a say too.  The pong of a node of ours says
 * behind its end what it takes (core/wire/tn_disco.c; upstream's has nothing
 * there).  It is asked while so much goes there that they would be longer: a
 * slow peer would wait for such a ping as well.  Each 30 s while it takes them,
 * each 10 min if it does not; three pings in a row that are lost end it for
 * 30 s.  Meanwhile nothing stands still: TCP sends again what is lost segment
 * by segment.
 *
 * A full queue of 32 such messages would take its time at a slow peer.  So they
 * are no longer than the 32nd part of what went to the peer this way in 10 ms
 * lately: 5 KB at 128 Mbit/s, below which there are none, and 32 KB, two TLS
 * records, from 0.9 Gbit/s on.
 */

#include "tn_path_private.h"

#include "wire/tn_wgmsg.h"


#define TN_PATH_LONG_MAX       ((32 << 10) - 37 - TN_WGMSG_DATA_OVERHEAD)
#define TN_PATH_LONG_LEAST     (8 << 10)    /* the padding that asks */
#define TN_PATH_LONG_LOST      3
#define TN_PATH_LONG_AGAIN_MS  30000
#define TN_PATH_LONG_NOT_MS    600000
#define TN_PATH_LONG_FULL_MS   50           /* the relay's queue */
#define TN_PATH_LONG_SPAN_MS   20           /* of which a rate is taken */
#define TN_PATH_LONG_QUEUE_MS  10
#define TN_PATH_LONG_QUEUE     32           /* messages */
#define TN_PATH_LONG_RATE      16000        /* bytes a millisecond, at least */


static bool tn_path_long_relay(tn_path_member_t *peer);
static uint32_t tn_path_long_rate(tn_path_long_t *longer, tn_ms_t now,
    size_t len);


uint32_t
tn_path_takes_long(tn_path_peer_t *pub)
{
    tn_path_member_t  *peer;

    peer = tn_path_member(pub);

    return tn_path_long_relay(peer) ? peer->longer.longest : 0;
}


uint32_t
tn_path_longest(tn_path_peer_t *pub, tn_ms_t now, size_t len)
{
    bool               up;
    tn_rc_t            rc;
    uint32_t           rate;
    tn_path_long_t    *longer;
    tn_path_member_t  *peer;

    peer = tn_path_member(pub);
    longer = &peer->longer;

    up = tn_path_long_relay(peer);
    rate = tn_path_long_rate(longer, now, len);

    if (!up) {
        return 0;
    }

    if (now >= longer->next
        && (rate >= TN_PATH_LONG_RATE || longer->lost != 0))
    {
        rc = tn_path_probe_derp(peer, now, NULL,
                                TN_PATH_LONG_MAX + TN_WGMSG_DATA_OVERHEAD);

        longer->next = now + (rc == TN_OK ? TN_PATH_LONG_AGAIN_MS
                                          : TN_PATH_LONG_FULL_MS);
    }

    if (rate < TN_PATH_LONG_RATE) {
        return 0;
    }

    return (uint32_t) tn_min((uint64_t) longer->longest,
                             (uint64_t) rate * TN_PATH_LONG_QUEUE_MS
                             / TN_PATH_LONG_QUEUE);
}


/* what is known is of the relay that carries now, and that one is there */
static bool
tn_path_long_relay(tn_path_member_t *peer)
{
    uint32_t  region;

    region = peer->pub.derp;

    if (peer->longer.region != region) {
        tn_path_long_forget(peer);
        peer->longer.region = region;
    }

    return tn_path_derp_is_up(peer->pub.path, region);
}


/* bytes a millisecond, lately; `len` more go now */
static uint32_t
tn_path_long_rate(tn_path_long_t *longer, tn_ms_t now, size_t len)
{
    tn_ms_t   span;
    uint64_t  rate;

    span = now - longer->since;

    if (span >= TN_PATH_LONG_SPAN_MS) {
        rate = longer->sent / span;

        if (span < 10 * TN_PATH_LONG_SPAN_MS) {
            rate = (rate + longer->rate) / 2;
        }

        longer->rate = (uint32_t) tn_min(rate, (uint64_t) UINT32_MAX);
        longer->sent = 0;
        longer->since = now;
    }

    longer->sent += len;

    return longer->rate;
}


void
tn_path_long_answer(tn_path_member_t *peer, tn_ms_t now,
    const tn_path_ping_t *ping, const tn_disco_msg_t *pong)
{
    tn_path_long_t  *longer;

    longer = &peer->longer;

    if (longer->region != ping->region) {
        return;
    }

    longer->lost = 0;
    longer->longest = tn_min(pong->takes, (uint32_t) TN_PATH_LONG_MAX);
    longer->next = now + (longer->longest != 0 ? TN_PATH_LONG_AGAIN_MS
                                               : TN_PATH_LONG_NOT_MS);
}


void
tn_path_long_lost(tn_path_member_t *peer, tn_ms_t now)
{
    tn_path_long_t  *longer;

    longer = &peer->longer;

    if (++longer->lost < TN_PATH_LONG_LOST) {
        longer->next = now;
        return;
    }

    longer->lost = 0;
    longer->longest = 0;
    longer->next = now + TN_PATH_LONG_AGAIN_MS;
}


uint16_t
tn_path_long_takes(size_t padding)
{
    return padding >= TN_PATH_LONG_LEAST ? TN_PATH_LONG_MAX : 0;
}


void
tn_path_long_forget(tn_path_member_t *peer)
{
    memset(&peer->longer, 0, sizeof(tn_path_long_t));
}
