
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A device and its peers as the files of core/wg see them.  Nobody else
 * includes this, but for the tests.
 */

#ifndef TN_WG_PEER_H_INCLUDED_
#define TN_WG_PEER_H_INCLUDED_

#include "base/tn_hash.h"
#include "base/tn_list.h"
#include "base/tn_table.h"
#include "crypto/tn_aead.h"
#include "wg/tn_wg_cookie.h"
#include "wg/tn_wg_index.h"
#include "wg/tn_wg_noise.h"
#include "wg/tn_wg_ratelimit.h"
#include "wg/tn_wg_session.h"


/* messages that are sealed, or opened, by one call */
#define TN_WG_MANY  64

struct tn_wg_s {
    const tn_wg_ops_t  *ops;
    void               *data;
    tn_timers_t        *timers;
    tn_log_t           *log;
    tn_keypair_t        identity;
    tn_ms_t             hurry_until;
    tn_hash_t           peers;          /* by public key */
    tn_hash_t           indexes;        /* tn_wg_index_t */
    tn_table_t          allowed;        /* prefix to a peer's data */
    tn_wg_checker_t     checker;
    tn_wg_ratelimit_t   limit;
    tn_ms_t             load_at;        /* start of the second counted */
    uint32_t            load_count;     /* handshakes in it */
    tn_ms_t             loaded_until;
    uint32_t            staged;         /* packets of all peers */
    tn_wg_session_t    *sealing;        /* of the messages that wait */
    size_t              nsealing;
    tn_aead_job_t       seal_jobs[TN_WG_MANY];
    tn_aead_job_t       open_jobs[TN_WG_MANY];
    tn_wg_stats_t       stats;
};


/* moments when something is due; 0: nothing is.  See tn_wg_timers.c */
typedef struct {
    tn_ms_t     retry_at;           /* send the initiation again */
    tn_ms_t     keepalive_at;       /* answer data with a keepalive */
    tn_ms_t     silence_at;         /* nothing heard: new handshake */
    tn_ms_t     zero_at;            /* forget all keys */
    tn_ms_t     since;              /* when this attempt began */
    uint32_t    jitter_ms;
    bool        keepalive_again;
    tn_timer_t  timer;              /* set to the earliest, or earlier */
} tn_wg_timers_t;


struct tn_wg_peer_s {
    tn_wg_t            *wg;
    void               *data;
    tn_key_t            key;
    tn_hash_node_t      node;

    tn_wg_session_t    *current;        /* seals */
    tn_wg_session_t    *next;           /* we responded, not confirmed */
    tn_wg_session_t    *previous;       /* only opens what comes late */
    tn_wg_session_t    *older;          /* as well, see tn_wg_peer_begin() */

    tn_wg_timers_t      timers;

    /* the handshake that we began, when index.used */
    tn_wg_noise_t       noise;
    tn_wg_index_t       index;
    tn_ms_t             shaken_at;      /* initiation or response sent */
    uint8_t             sent_timestamp[TN_WGMSG_TIMESTAMP];

    /* handshakes that the peer begins */
    uint8_t             timestamp[TN_WGMSG_TIMESTAMP];  /* greatest seen */
    tn_ms_t             initiated_at;

    bool                shared_known;
    uint8_t             shared[32];     /* DH of the static keys; secret */
    tn_wg_stamper_t     stamper;

    tn_link_t           staged;

    tn_wg_peer_stats_t  stats;
};


#define TN_WG_STAGED_MAX      128       /* packets of one peer */
#define TN_WG_STAGED_ALL_MAX  8192      /* and of all peers */


/* --- tn_wg_peer.c */

/* the DH of both static keys, made at the first need.  TN_OK, or
 * TN_MALFORMED for a key that is a low-order point */
tn_rc_t tn_wg_peer_shared(tn_wg_peer_t *peer);

/* takes over a new session: as the initiator's it is used at once */
void tn_wg_peer_begin(tn_wg_peer_t *peer, tn_wg_session_t *session);

/* a session that the peer initiated has been used by it for the first time:
 * we may use it as well */
void tn_wg_peer_confirm(tn_wg_peer_t *peer, tn_wg_session_t *session);

/* destroys all sessions */
void tn_wg_peer_zero(tn_wg_peer_t *peer);

/* copies a packet that has to wait; of too many the oldest goes.
 * TN_OK or TN_NOMEM */
tn_rc_t tn_wg_peer_stage(tn_wg_peer_t *peer, const uint8_t *src, size_t len);

void tn_wg_peer_drop_staged(tn_wg_peer_t *peer);

/* sends them, or a keepalive when there are none and `keepalive` is set */
void tn_wg_peer_flush(tn_wg_peer_t *peer, tn_ms_t now, bool keepalive);


/* --- tn_wg_handshake.c */

/*
 * Sends an initiation unless a handshake message went out less than 5 s ago.
 * `retry` continues an attempt, otherwise its 90 s begin anew.
 */
void tn_wg_handshake_begin(tn_wg_peer_t *peer, tn_ms_t now, bool retry);

/* wipes the handshake that we began, if any */
void tn_wg_handshake_abandon(tn_wg_peer_t *peer);

/* messages whose macs are good; results as of tn_wg_input() */
tn_rc_t tn_wg_handshake_initiation(tn_wg_t *wg, tn_ms_t now,
    const uint8_t *msg, size_t len, tn_wg_peer_t **peer);
tn_rc_t tn_wg_handshake_response(tn_wg_t *wg, tn_ms_t now,
    const uint8_t *msg, size_t len, tn_wg_peer_t **peer);
tn_rc_t tn_wg_handshake_cookie(tn_wg_t *wg, tn_ms_t now,
    const uint8_t *msg, size_t len);


/* --- tn_wg_transport.c */

/* as tn_wg_seal(), but peer->current is known to be usable; a packet of no
 * length, whose src may be NULL, is a keepalive */
tn_rc_t tn_wg_transport_seal(tn_wg_peer_t *peer, tn_ms_t now,
    const uint8_t *src, size_t len, uint8_t *dst);


/* --- tn_wg_allowed.c */

/*
 * Cuts the padding off a packet by its own length and reads its source.
 * TN_OK, or TN_MALFORMED when it is no IP packet.
 */
tn_rc_t tn_wg_allowed_source(tn_ip_t *src, const uint8_t *packet,
    size_t *len);


#endif /* TN_WG_PEER_H_INCLUDED_ */
