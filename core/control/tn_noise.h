
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The Noise connection to control (ts2021): the IK handshake as initiator
 * and the record layer after it.  Bytes in, bytes out; the control client
 * owns it and carries them.
 */

#ifndef TN_NOISE_H_INCLUDED_
#define TN_NOISE_H_INCLUDED_

#include "base/tn_key.h"
#include "crypto/tn_aead.h"


#define TN_NOISE_INITIATION  101        /* bytes */
#define TN_NOISE_RESPONSE    51
#define TN_NOISE_FRAME_MAX   4096       /* header, ciphertext and tag */
#define TN_NOISE_HEADER      3
#define TN_NOISE_PLAIN_MAX   (TN_NOISE_FRAME_MAX - TN_NOISE_HEADER            \
                              - TN_AEAD_TAG)

typedef struct {
    bool            established;

    struct {                            /* during the handshake */
        uint16_t        version;
        uint8_t         h[32];
        uint8_t         ck[32];
        tn_keypair_t    machine;
        tn_keypair_t    ephemeral;
    } hs;

    tn_aead_t      *tx;
    tn_aead_t      *rx;
    uint64_t        tx_counter;
    uint64_t        rx_counter;

    size_t          have;               /* bytes of an incomplete frame */
    uint8_t         frame[TN_NOISE_FRAME_MAX];
    char            error[256];         /* what the server said or did */
} tn_noise_t;


/*
 * Begins a handshake with the server of this key and writes the initiation.
 * `version`: the protocol version, our capability version.  `ephemeral` is
 * for tests with published transcripts; NULL makes one.  TN_OK; TN_MALFORMED
 * for a server key that is no key; TN_ERROR.
 */
tn_rc_t tn_noise_start(tn_noise_t *noise, const tn_keypair_t *machine,
    const tn_key_t *server, uint16_t version, const tn_keypair_t *ephemeral,
    uint8_t initiation[TN_NOISE_INITIATION]);

/* wipes and frees the keys; the struct may be started again */
void tn_noise_done(tn_noise_t *noise);

/*
 * Takes bytes from *pos as far as one frame goes, and moves *pos and *left.
 * TN_OK: *plain has the *len bytes of a data frame (0 is legal; it is valid
 * until the next call), or, with plain NULL, the handshake is complete.
 * TN_AGAIN: all taken, more is needed.  TN_REFUSED: the server sent an error.
 * TN_MALFORMED.  After the last two noise->error says why in one line and the
 * connection is to be closed.
 */
tn_rc_t tn_noise_read(tn_noise_t *noise, const uint8_t **pos, size_t *left,
    const uint8_t **plain, size_t *len);

/*
 * One data frame of up to TN_NOISE_PLAIN_MAX bytes into dst, which has room
 * for TN_NOISE_FRAME_MAX.  *frame_len is what to send.  TN_OK or TN_ERROR.
 */
tn_rc_t tn_noise_seal(tn_noise_t *noise, const uint8_t *src, size_t len,
    uint8_t *dst, size_t *frame_len);


#endif /* TN_NOISE_H_INCLUDED_ */
