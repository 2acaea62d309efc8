
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Noise_IK_25519_ChaChaPoly_BLAKE2s as control speaks it (upstream:
 * control/controlbase).
 *
 *     <- s                          the server's key, fetched over HTTPS
 *     ...
 *     -> e, es, s, ss               initiation, 101 bytes
 *     <- e, ee, se                  response, 51 bytes
 *
 * The prologue binds the protocol version.  Both payloads are empty.  A
 * message after the initiation starts with a type (2 response, 3 error in
 * plain text, 4 data) and a 16-bit length; the initiation has the version
 * before these.  Data frames of either direction count from zero; unlike in
 * Noise's own definition and in WireGuard the counter in the nonce is
 * big-endian.  A frame that does not open ends the connection.
 */

#include "control/tn_noise.h"

#include "base/tn_cursor.h"
#include "crypto/tn_blake2s.h"
#include "crypto/tn_curve.h"

#include <stdio.h>


#define TN_NOISE_TYPE_INITIATION  1
#define TN_NOISE_TYPE_RESPONSE    2
#define TN_NOISE_TYPE_ERROR       3
#define TN_NOISE_TYPE_DATA        4

/* 2^64 - 1 is never used as a counter (Noise, 5.1) */
#define TN_NOISE_COUNTER_MAX  (UINT64_MAX - 1)


static tn_rc_t tn_noise_response(tn_noise_t *noise, const uint8_t *payload,
    size_t len);
static tn_rc_t tn_noise_mix_hash(tn_noise_t *noise, const void *data,
    size_t len);
static tn_rc_t tn_noise_mix_dh(tn_noise_t *noise, tn_key_t *key,
    const tn_key_t *priv, const tn_key_t *pub);
static tn_rc_t tn_noise_encrypt(tn_noise_t *noise, const tn_key_t *key,
    const uint8_t *src, size_t len, uint8_t *dst);
static tn_rc_t tn_noise_frame(tn_noise_t *noise, const uint8_t **plain,
    size_t *len);


tn_rc_t
tn_noise_start(tn_noise_t *noise, const tn_keypair_t *machine,
    const tn_key_t *server, uint16_t version, const tn_keypair_t *ephemeral,
    uint8_t initiation[TN_NOISE_INITIATION])
{
    int          n;
    char         prologue[48];
    uint8_t     *p;
    tn_rc_t      rc;
    tn_key_t     key;

    static const char  name[] = "Noise_IK_25519_ChaChaPoly_BLAKE2s";

    memset(noise, 0, sizeof(tn_noise_t));

    noise->hs.version = version;
    noise->hs.machine = *machine;

    if (ephemeral != NULL) {
        noise->hs.ephemeral = *ephemeral;
    } else {
        tn_curve_keypair(&noise->hs.ephemeral);
    }

    p = initiation;

    *p++ = (uint8_t) (version >> 8);
    *p++ = (uint8_t) version;
    *p++ = TN_NOISE_TYPE_INITIATION;
    *p++ = 0;
    *p++ = TN_NOISE_INITIATION - 5;

    /* the name is longer than a hash, so it is hashed */

    rc = tn_blake2s(noise->hs.h, name, sizeof(name) - 1, NULL, 0);
    if (rc != TN_OK) {
        goto done;
    }

    memcpy(noise->hs.ck, noise->hs.h, sizeof(noise->hs.ck));

    n = snprintf(prologue, sizeof(prologue),
                 "Tailscale Control Protocol v%u", noise->hs.version);

    /* prologue; <- s */

    if (tn_noise_mix_hash(noise, prologue, (size_t) n) != TN_OK
        || tn_noise_mix_hash(noise, server->b, TN_KEY_LEN) != TN_OK)
    {
        rc = TN_ERROR;
        goto done;
    }

    /* e */

    memcpy(p, noise->hs.ephemeral.pub.b, TN_KEY_LEN);
    p += TN_KEY_LEN;

    rc = tn_noise_mix_hash(noise, noise->hs.ephemeral.pub.b, TN_KEY_LEN);
    if (rc != TN_OK) {
        goto done;
    }

    /* es */

    rc = tn_noise_mix_dh(noise, &key, &noise->hs.ephemeral.priv, server);
    if (rc != TN_OK) {
        goto done;
    }

    /* s */

    rc = tn_noise_encrypt(noise, &key, machine->pub.b, TN_KEY_LEN, p);
    if (rc != TN_OK) {
        goto done;
    }

    p += TN_KEY_LEN + TN_AEAD_TAG;

    /* ss */

    rc = tn_noise_mix_dh(noise, &key, &machine->priv, server);
    if (rc != TN_OK) {
        goto done;
    }

    rc = tn_noise_encrypt(noise, &key, NULL, 0, p);

done:

    tn_wipe(&key, sizeof(key));

    if (rc != TN_OK) {
        tn_noise_done(noise);
    }

    return rc;
}


void
tn_noise_done(tn_noise_t *noise)
{
    tn_aead_destroy(noise->tx);
    tn_aead_destroy(noise->rx);
    tn_wipe(noise, sizeof(tn_noise_t));
}


tn_rc_t
tn_noise_read(tn_noise_t *noise, const uint8_t **pos, size_t *left,
    const uint8_t **plain, size_t *len)
{
    size_t   n, want;

    *plain = NULL;
    *len = 0;

    for ( ;; ) {
        want = TN_NOISE_HEADER;

        if (noise->have >= TN_NOISE_HEADER) {
            want += (size_t) noise->frame[1] << 8 | noise->frame[2];

            if (want > TN_NOISE_FRAME_MAX) {
                snprintf(noise->error, sizeof(noise->error),
                         "a Noise frame of %zu bytes, over the limit", want);
                return TN_MALFORMED;
            }

            if (noise->have == want) {
                noise->have = 0;
                *len = want - TN_NOISE_HEADER;
                return tn_noise_frame(noise, plain, len);
            }
        }

        if (*left == 0) {
            return TN_AGAIN;
        }

        n = tn_min(want - noise->have, *left);

        memcpy(noise->frame + noise->have, *pos, n);

        noise->have += n;
        *pos += n;
        *left -= n;
    }
}


tn_rc_t
tn_noise_seal(tn_noise_t *noise, const uint8_t *src, size_t len,
    uint8_t *dst, size_t *frame_len)
{
    tn_rc_t  rc;
    uint8_t  nonce[TN_AEAD_NONCE];

    if (!noise->established || len > TN_NOISE_PLAIN_MAX
        || noise->tx_counter > TN_NOISE_COUNTER_MAX)
    {
        return TN_ERROR;
    }

    dst[0] = TN_NOISE_TYPE_DATA;
    dst[1] = (uint8_t) ((len + TN_AEAD_TAG) >> 8);
    dst[2] = (uint8_t) (len + TN_AEAD_TAG);

    tn_aead_nonce_be(nonce, noise->tx_counter++);

    rc = tn_aead_seal(noise->tx, nonce, NULL, 0, src, len,
                      dst + TN_NOISE_HEADER);

    *frame_len = TN_NOISE_HEADER + len + TN_AEAD_TAG;

    return rc;
}


/* a whole frame stands in noise->frame; *len is that of its payload */
static tn_rc_t
tn_noise_frame(tn_noise_t *noise, const uint8_t **plain, size_t *len)
{
    tn_rc_t   rc;
    uint8_t  *payload, nonce[TN_AEAD_NONCE];

    payload = noise->frame + TN_NOISE_HEADER;

    switch (noise->frame[0]) {

    case TN_NOISE_TYPE_RESPONSE:

        if (noise->established) {
            break;
        }

        rc = tn_noise_response(noise, payload, *len);

        if (rc == TN_MALFORMED) {
            snprintf(noise->error, sizeof(noise->error), "%s",
                     "the server's Noise handshake does not verify");

        } else if (rc != TN_OK) {
            snprintf(noise->error, sizeof(noise->error), "%s",
                     "the Noise handshake failed on our side");
        }

        return rc == TN_OK ? TN_OK : TN_MALFORMED;

    case TN_NOISE_TYPE_ERROR:

        if (noise->established) {
            break;
        }

        /* not authenticated: for the log only */

        snprintf(noise->error, sizeof(noise->error),
                 "the server refused the Noise handshake: %.*s",
                 (int) tn_min(*len, (size_t) 160), (const char *) payload);

        return TN_REFUSED;

    case TN_NOISE_TYPE_DATA:

        if (!noise->established || noise->rx_counter > TN_NOISE_COUNTER_MAX) {
            break;
        }

        tn_aead_nonce_be(nonce, noise->rx_counter++);

        rc = tn_aead_open(noise->rx, nonce, NULL, 0, payload, *len, payload);
        if (rc != TN_OK) {
            snprintf(noise->error, sizeof(noise->error), "%s",
                     "a Noise frame does not verify");
            return TN_MALFORMED;
        }

        *plain = payload;
        *len -= TN_AEAD_TAG;

        return TN_OK;

    default:
        break;
    }

    snprintf(noise->error, sizeof(noise->error),
             "a Noise frame of type %u that does not belong here",
             noise->frame[0]);

    return TN_MALFORMED;
}


static tn_rc_t
tn_noise_response(tn_noise_t *noise, const uint8_t *payload, size_t len)
{
    tn_rc_t      rc;
    uint8_t      nonce[TN_AEAD_NONCE], empty[1];
    tn_key_t     key, ephemeral, k1, k2;
    tn_cursor_t  c;

    if (len != TN_NOISE_RESPONSE - TN_NOISE_HEADER) {
        return TN_MALFORMED;
    }

    c = tn_cursor(payload, len);

    /* e */

    tn_read_copy(&c, ephemeral.b, TN_KEY_LEN);

    rc = tn_noise_mix_hash(noise, ephemeral.b, TN_KEY_LEN);
    if (rc != TN_OK) {
        goto done;
    }

    /* ee */

    rc = tn_noise_mix_dh(noise, &key, &noise->hs.ephemeral.priv, &ephemeral);
    if (rc != TN_OK) {
        goto done;
    }

    /* se */

    rc = tn_noise_mix_dh(noise, &key, &noise->hs.machine.priv, &ephemeral);
    if (rc != TN_OK) {
        goto done;
    }

    memset(nonce, 0, sizeof(nonce));

    rc = tn_aead_open_once(&key, nonce, noise->hs.h, sizeof(noise->hs.h),
                           payload + TN_KEY_LEN, TN_AEAD_TAG, empty);
    if (rc != TN_OK) {
        goto done;
    }

    /* split: the first key is the initiator's to send with */

    rc = tn_blake2s_hkdf(k1.b, k2.b, NULL, noise->hs.ck, NULL, 0);
    if (rc != TN_OK) {
        goto done;
    }

    noise->tx = tn_aead_create(&k1);
    noise->rx = tn_aead_create(&k2);

    if (noise->tx == NULL || noise->rx == NULL) {
        rc = TN_NOMEM;
        goto done;
    }

    noise->established = true;

done:

    tn_wipe(&key, sizeof(key));
    tn_wipe(&k1, sizeof(k1));
    tn_wipe(&k2, sizeof(k2));
    tn_wipe(&noise->hs, sizeof(noise->hs));

    return rc;
}


static tn_rc_t
tn_noise_mix_hash(tn_noise_t *noise, const void *data, size_t len)
{
    return tn_blake2s(noise->hs.h, noise->hs.h, sizeof(noise->hs.h), data, len);
}


/* MixKey(DH): the chaining key moves on, and a key for one message */
static tn_rc_t
tn_noise_mix_dh(tn_noise_t *noise, tn_key_t *key, const tn_key_t *priv,
    const tn_key_t *pub)
{
    tn_rc_t  rc;
    uint8_t  dh[32];

    rc = tn_curve_dh(dh, priv, pub);

    if (rc == TN_OK) {
        rc = tn_blake2s_hkdf(noise->hs.ck, key->b, NULL, noise->hs.ck, dh,
                             sizeof(dh));
    }

    tn_wipe(dh, sizeof(dh));

    return rc;
}


/* EncryptAndHash under a fresh key, so that the counter is zero */
static tn_rc_t
tn_noise_encrypt(tn_noise_t *noise, const tn_key_t *key, const uint8_t *src,
    size_t len, uint8_t *dst)
{
    tn_rc_t  rc;
    uint8_t  nonce[TN_AEAD_NONCE];

    memset(nonce, 0, sizeof(nonce));

    rc = tn_aead_seal_once(key, nonce, noise->hs.h, sizeof(noise->hs.h), src,
                           len, dst);
    if (rc != TN_OK) {
        return rc;
    }

    return tn_noise_mix_hash(noise, dst, len + TN_AEAD_TAG);
}
