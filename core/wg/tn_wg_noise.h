
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The handshake of WireGuard: Noise_IKpsk2 with an all-zero preshared key.
 * Pure cryptography on messages without macs; it knows no peer, no timer and
 * no index.  Each step leaves its inputs alone unless it succeeds.
 */

#ifndef TN_WG_NOISE_H_INCLUDED_
#define TN_WG_NOISE_H_INCLUDED_

#include "wire/tn_wgmsg.h"


/* what either side must remember between two messages; all of it secret */
typedef struct {
    uint8_t   hash[32];
    uint8_t   chain[32];
    tn_key_t  ephemeral;        /* ours, private, of the initiator */
} tn_wg_noise_t;

/* what comes out: the key to seal with and the key to open with */
typedef struct {
    tn_key_t  seal;
    tn_key_t  open;
} tn_wg_keys_t;


/*
 * Initiator, first message: fills all of *m but the sender's index.
 * `shared` is the DH of both static keys.  TN_OK; TN_MALFORMED when the
 * peer's key is a low-order point; TN_ERROR.
 */
tn_rc_t tn_wg_noise_initiate(tn_wg_noise_t *noise, tn_wgmsg_initiation_t *m,
    const tn_keypair_t *identity, const tn_key_t *peer,
    const uint8_t shared[32], const uint8_t timestamp[TN_WGMSG_TIMESTAMP]);

/*
 * Responder, first half: says who claims to have sent *m.  The claim is not
 * proven before the second half.  TN_OK or TN_MALFORMED.
 */
tn_rc_t tn_wg_noise_who(tn_wg_noise_t *noise, tn_key_t *peer,
    const tn_wgmsg_initiation_t *m, const tn_keypair_t *identity);

/* second half: opens the timestamp, which proves it.  TN_OK, TN_MALFORMED */
tn_rc_t tn_wg_noise_prove(tn_wg_noise_t *noise,
    uint8_t timestamp[TN_WGMSG_TIMESTAMP], const tn_wgmsg_initiation_t *m,
    const uint8_t shared[32]);

/*
 * Responder's answer: fills the ephemeral key and the proof of *m, and the
 * keys of the session.  `ephemeral` and `peer` are the initiator's.
 */
tn_rc_t tn_wg_noise_respond(const tn_wg_noise_t *noise,
    tn_wgmsg_response_t *m, tn_wg_keys_t *keys, const tn_key_t *ephemeral,
    const tn_key_t *peer);

/* initiator, at the answer.  TN_OK, or TN_MALFORMED when it is none to us */
tn_rc_t tn_wg_noise_finish(const tn_wg_noise_t *noise, tn_wg_keys_t *keys,
    const tn_wgmsg_response_t *m, const tn_keypair_t *identity);

/* TAI64N of a wall clock in nanoseconds since 1970, as it stands on the wire */
void tn_wg_noise_timestamp(uint8_t timestamp[TN_WGMSG_TIMESTAMP],
    uint64_t wall_ns);


#endif /* TN_WG_NOISE_H_INCLUDED_ */
