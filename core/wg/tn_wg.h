
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A WireGuard device: peers, handshakes, sessions, and the packets that go
 * through them.  Bytes and `now` come in, messages go out through the ops,
 * deadlines through the timers given at creation.  It owns no socket and no
 * clock and never chooses a path; one thread uses one device.
 */

#ifndef TN_WG_H_INCLUDED_
#define TN_WG_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_key.h"
#include "base/tn_log.h"
#include "base/tn_timer.h"
#include "crypto/tn_aead.h"
#include "wire/tn_wgmsg.h"


/* inner packets are padded to 16 bytes up to this size, and not above it */
#define TN_WG_MTU  1280

/* no inner packet is longer; the message still fits a UDP datagram */
#define TN_WG_PACKET_MAX  (65507 - TN_WGMSG_DATA_OVERHEAD)

/* peers are told the clock no more exactly than this: as upstream does */
#define TN_WG_TIMESTAMP_GRAIN_NS  (1ull << 24)

typedef struct tn_wg_s       tn_wg_t;
typedef struct tn_wg_peer_s  tn_wg_peer_t;


/*
 * Where a handshake message came from.  Cookies and the rate limit hold the
 * sender to `addr`: for UDP its address and port; for a relay (`relayed`)
 * `addr.ip` carries the first 16 bytes of the sender's node key.  `path` is
 * the caller's own and comes back in ops->reply().
 */
typedef struct {
    tn_addr_t    addr;
    bool         relayed;
    const void  *path;
} tn_wg_from_t;


typedef enum {
    TN_WG_HANDSHAKE,        /* initiation or response */
    TN_WG_KEEPALIVE,
    TN_WG_STAGED            /* a data packet that waited for the session */
} tn_wg_kind_e;


/*
 * What the device asks for.  `msg` lives only during the call.  None of them
 * may add (but for absent()), reset or remove a peer, nor call tn_wg_input()
 * or tn_wg_open().
 */
typedef struct {
    /* a message to a peer by whatever path there is; losing it is allowed */
    void      (*send)(void *data, tn_wg_peer_t *peer, tn_wg_kind_e kind,
                      const uint8_t *msg, size_t len, tn_ms_t now);

    /* a cookie reply: back the way the refused message came, to no peer */
    void      (*reply)(void *data, const tn_wg_from_t *from,
                       const uint8_t *msg, size_t len);

    /*
     * A new session is confirmed and usable both ways (each 120 s under
     * load); staged packets have gone before.  May seal.  May be NULL.
     */
    void      (*session)(void *data, tn_wg_peer_t *peer, tn_ms_t now);

    /* wall clock, nanoseconds since 1970: only for handshake timestamps */
    uint64_t  (*wall_ns)(void *data);

    /*
     * An initiation says that it is from this key, which nothing has proven
     * yet: who has a peer of it that was not added so far adds it now and
     * returns it.  NULL: there is none.  May be NULL.
     */
    tn_wg_peer_t *(*absent)(void *data, const tn_key_t *key, tn_ms_t now);

    /*
     * Takes over what tn_wg_seal_finish() is about to do, of one session, and
     * sees to it that a message that fails becomes zeros.  False, or NULL:
     * it does not.
     */
    bool      (*seal)(void *data, tn_aead_t *aead, const tn_aead_job_t *jobs,
                      size_t n);
} tn_wg_ops_t;


typedef struct {
    const tn_wg_ops_t  *ops;
    void               *data;       /* first argument of each op */
    tn_timers_t        *timers;     /* outlives the device */
    tn_log_t           *log;        /* may be NULL */
    tn_keypair_t        identity;   /* node key; copied */

    /*
     * Until then a handshake that is not answered is begun again after
     * TN_WG_HURRY_MS: this key is new, and peers learn of it any moment; or
     * the device is, and ways to peers are still being found.
     */
    tn_ms_t             hurry_until;
} tn_wg_conf_t;


/* one message, and the packet in it; see tn_wg_open() */
typedef struct {
    uint8_t       *msg;             /* given; changed in place */
    size_t         msg_len;
    tn_rc_t        rc;
    tn_wg_peer_t  *peer;
    uint8_t       *data;            /* points into msg */
    size_t         len;             /* 0: a keepalive, nothing to deliver */
} tn_wg_packet_t;


typedef struct {
    uint64_t  sent_bytes;           /* of WireGuard messages */
    uint64_t  received_bytes;       /* of those authenticated */
    uint64_t  sent_packets;         /* data and keepalives */
    uint64_t  received_packets;
    tn_ms_t   received_at;          /* last authenticated message, 0: none */
    tn_ms_t   session_at;           /* last session confirmed, 0: none */
    uint32_t  staged;               /* packets that wait for a session */
} tn_wg_peer_stats_t;


/* why messages and packets were dropped, and what floods were answered */
typedef struct {
    uint64_t  malformed;            /* no WireGuard message */
    uint64_t  bad_mac1;             /* not made for this node's key */
    uint64_t  bad_handshake;        /* unknown peer, stale or forged */
    uint64_t  limited;              /* over a rate limit */
    uint64_t  cookies_sent;
    uint64_t  unknown_index;        /* data for no session of ours */
    uint64_t  expired;              /* data for a session past its life */
    uint64_t  replayed;
    uint64_t  forged;               /* data whose tag does not verify */
    uint64_t  bad_source;           /* inner source not among allowed IPs */
    uint64_t  staged_dropped;
} tn_wg_stats_t;


/* --- the device */

/* NULL when out of memory or when the crypto library fails */
tn_wg_t *tn_wg_create(const tn_wg_conf_t *conf);

/* removes all peers, wipes all keys; NULL is allowed */
void tn_wg_destroy(tn_wg_t *wg);

const tn_key_t *tn_wg_public_key(const tn_wg_t *wg);
const tn_wg_stats_t *tn_wg_stats(const tn_wg_t *wg);

/*
 * A handshake message or cookie reply (any bytes that tn_wgmsg_is_data()
 * denies).  TN_OK when it was authentic, and *peer is who sent it; in all
 * other cases *peer is NULL.  TN_AGAIN: a cookie reply was taken, which does
 * not prove who sent it.  TN_REFUSED: it was answered with a cookie, or over
 * a rate limit.  TN_MALFORMED for all else from outside, TN_NOMEM or TN_ERROR
 * when we failed; nothing has changed then.
 */
tn_rc_t tn_wg_input(tn_wg_t *wg, tn_ms_t now, const tn_wg_from_t *from,
    const uint8_t *msg, size_t len, tn_wg_peer_t **peer);


/* --- peers */

/*
 * `data` is the caller's own, see tn_wg_peer_data().  TN_OK; TN_NOMEM;
 * TN_REFUSED when the key is our own or there already.  An idle peer holds no
 * timer and no session.
 */
tn_rc_t tn_wg_peer_add(tn_wg_t *wg, const tn_key_t *key, void *data,
    tn_wg_peer_t **peer);

/* wipes its keys, frees it; allowed IPs stay; NULL is allowed */
void tn_wg_peer_remove(tn_wg_peer_t *peer);

/*
 * Forgets sessions and handshakes but keeps staged packets: the peer has
 * forgotten them too, though by `now` they are young.  Shakes hands at once
 * when packets are staged, else with the next one.
 */
void tn_wg_peer_forget(tn_wg_peer_t *peer, tn_ms_t now);

/*
 * The same for a peer known to have restarted, whose clock may have as well:
 * its initiations of before count again.
 */
void tn_wg_peer_reset(tn_wg_peer_t *peer, tn_ms_t now);

/* NULL when there is none */
tn_wg_peer_t *tn_wg_peer_find(const tn_wg_t *wg, const tn_key_t *key);

/* walks all in no order: start with NULL, ends with NULL; no changes
 * meanwhile, but fetch the next before removing one */
tn_wg_peer_t *tn_wg_peer_next(const tn_wg_t *wg, const tn_wg_peer_t *peer);

void *tn_wg_peer_data(const tn_wg_peer_t *peer);
const tn_key_t *tn_wg_peer_key(const tn_wg_peer_t *peer);
void tn_wg_peer_stats(const tn_wg_peer_t *peer, tn_wg_peer_stats_t *stats);

/* a packet sealed now would go out at once */
bool tn_wg_peer_ready(const tn_wg_peer_t *peer, tn_ms_t now);

/*
 * Allowed IPs belong to the caller's own of a peer, its tn_wg_peer_data(),
 * not NULL, so that they are known before the peer is added.  A prefix that
 * another has moves here.  TN_OK, or TN_NOMEM and then it has none of them.
 */
tn_rc_t tn_wg_allow(tn_wg_t *wg, void *data, const tn_prefix_t *prefixes,
    size_t n);

/* those of them that are still its own are nobody's */
void tn_wg_disallow(tn_wg_t *wg, const void *data,
    const tn_prefix_t *prefixes, size_t n);

/* starts a handshake unless one was sent less than 5 s ago */
void tn_wg_peer_shake(tn_wg_peer_t *peer, tn_ms_t now);


/* --- packets: no allocation, lock or timer change per packet */

/* whose allowed IPs contain a destination best: see tn_wg_allow(), or NULL */
void *tn_wg_route(const tn_wg_t *wg, const tn_ip_t *dst);

/* length of the message that carries an inner packet of `len` bytes */
static inline size_t
tn_wg_sealed_len(size_t len)
{
    if (len <= TN_WG_MTU) {
        len = (len + 15) & ~(size_t) 15;
    }

    return len + TN_WGMSG_DATA_OVERHEAD;
}

/*
 * Seals an inner packet of 1 to TN_WG_PACKET_MAX bytes into dst, which holds
 * tn_wg_sealed_len(len) bytes.  `src` is dst + TN_WGMSG_DATA_HEADER or does
 * not overlap dst; in the second case it is only read.
 * TN_OK: send dst.  TN_AGAIN: no session; a handshake is under way and a copy
 * is staged, to come through ops->send().  TN_NOMEM, or TN_ERROR for a wrong
 * length or when the crypto library fails: dropped.  May call ops->send().
 */
tn_rc_t tn_wg_seal(tn_wg_peer_t *peer, tn_ms_t now, const uint8_t *src,
    size_t len, uint8_t *dst);

/*
 * As tn_wg_seal(), and TN_OK: dst is a message once tn_wg_seal_finish() has
 * been called, and until then dst stays where it is and src is free.  Those
 * of one session are sealed together.
 */
tn_rc_t tn_wg_seal_later(tn_wg_peer_t *peer, tn_ms_t now, const uint8_t *src,
    size_t len, uint8_t *dst);

/* seals what waits, as tn_aead_seal_many() does */
void tn_wg_seal_finish(tn_wg_t *wg);

/*
 * Opens a data message in place.  TN_OK: *packet is an inner IP packet, cut
 * to its own length and from a source its peer may use, or a keepalive.
 * TN_REFUSED: authentic (packet->peer is set), but no such IP packet.
 * TN_MALFORMED: not authentic, packet->peer is NULL, nothing has changed.
 */
tn_rc_t tn_wg_open(tn_wg_t *wg, tn_ms_t now, uint8_t *buf, size_t len,
    tn_wg_packet_t *packet);

/*
 * The same for many messages, as if one after the other, the result of each in
 * its rc.  Neighbours of one session are opened together.
 */
void tn_wg_open_many(tn_wg_t *wg, tn_ms_t now, tn_wg_packet_t *packets,
    size_t n);


#endif /* TN_WG_H_INCLUDED_ */
