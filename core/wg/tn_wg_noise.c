
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s, as the white paper writes it in
 * section 5.4:
 *
 *     <- s
 *     ...
 *     -> e, es, s, ss, {timestamp}
 *     <- e, ee, se, psk, {}
 *
 * `h` is the hash of all that was said, `ck` the chaining key from which each
 * DH result derives the next.  Every function works on a copy of both and
 * gives it out only when all has verified.
 */

#include "tn_wg_noise.h"

#include "base/tn_cursor.h"
#include "crypto/tn_aead.h"
#include "crypto/tn_blake2s.h"
#include "crypto/tn_curve.h"


/* seconds are counted from 1970 in TAI, which was 10 s ahead: TAI64's label */
#define TN_WG_NOISE_TAI64  0x400000000000000aull


static tn_rc_t tn_wg_noise_begin(tn_wg_noise_t *noise,
    const tn_key_t *responder);
static tn_rc_t tn_wg_noise_hash(tn_wg_noise_t *noise, const void *data,
    size_t len);
static tn_rc_t tn_wg_noise_key(tn_wg_noise_t *noise, const void *data,
    size_t len);
static tn_rc_t tn_wg_noise_dh(tn_wg_noise_t *noise, tn_key_t *key,
    const tn_key_t *priv, const tn_key_t *pub);
static tn_rc_t tn_wg_noise_seal(tn_wg_noise_t *noise, uint8_t *dst,
    const tn_key_t *key, const void *src, size_t len);
static tn_rc_t tn_wg_noise_open(tn_wg_noise_t *noise, void *dst,
    const tn_key_t *key, const uint8_t *src, size_t len);
static tn_rc_t tn_wg_noise_psk(tn_wg_noise_t *noise, tn_key_t *key);


/* the only nonce here: each key seals one message */
static const uint8_t  tn_wg_noise_zero[TN_AEAD_NONCE];


tn_rc_t
tn_wg_noise_initiate(tn_wg_noise_t *noise, tn_wgmsg_initiation_t *m,
    const tn_keypair_t *identity, const tn_key_t *peer,
    const uint8_t shared[32], const uint8_t timestamp[TN_WGMSG_TIMESTAMP])
{
    tn_rc_t        rc;
    tn_key_t       key;
    tn_keypair_t   e;
    tn_wg_noise_t  n;

    rc = tn_wg_noise_begin(&n, peer);
    if (rc != TN_OK) {
        goto done;
    }

    /* e */

    tn_curve_keypair(&e);
    n.ephemeral = e.priv;
    m->ephemeral = e.pub;

    if ((rc = tn_wg_noise_key(&n, e.pub.b, TN_KEY_LEN)) != TN_OK
        || (rc = tn_wg_noise_hash(&n, e.pub.b, TN_KEY_LEN)) != TN_OK)
    {
        goto done;
    }

    /* es */

    rc = tn_wg_noise_dh(&n, &key, &e.priv, peer);
    if (rc != TN_OK) {
        goto done;
    }

    /* s */

    rc = tn_wg_noise_seal(&n, m->stat, &key, identity->pub.b, TN_KEY_LEN);
    if (rc != TN_OK) {
        goto done;
    }

    /* ss */

    rc = tn_blake2s_hkdf(n.chain, key.b, NULL, n.chain, shared, 32);
    if (rc != TN_OK) {
        goto done;
    }

    /* {timestamp} */

    rc = tn_wg_noise_seal(&n, m->timestamp, &key, timestamp,
                          TN_WGMSG_TIMESTAMP);

    if (rc == TN_OK) {
        *noise = n;
    }

done:

    tn_wipe(&n, sizeof(n));
    tn_wipe(&e, sizeof(e));
    tn_wipe(&key, sizeof(key));

    return rc;
}


tn_rc_t
tn_wg_noise_who(tn_wg_noise_t *noise, tn_key_t *peer,
    const tn_wgmsg_initiation_t *m, const tn_keypair_t *identity)
{
    tn_rc_t        rc;
    tn_key_t       key;
    tn_wg_noise_t  n;

    rc = tn_wg_noise_begin(&n, &identity->pub);
    if (rc != TN_OK) {
        goto done;
    }

    /* e */

    if ((rc = tn_wg_noise_key(&n, m->ephemeral.b, TN_KEY_LEN)) != TN_OK
        || (rc = tn_wg_noise_hash(&n, m->ephemeral.b, TN_KEY_LEN)) != TN_OK)
    {
        goto done;
    }

    /* es */

    rc = tn_wg_noise_dh(&n, &key, &identity->priv, &m->ephemeral);
    if (rc != TN_OK) {
        goto done;
    }

    /* s */

    rc = tn_wg_noise_open(&n, peer->b, &key, m->stat, sizeof(m->stat));

    if (rc == TN_OK) {
        *noise = n;
    }

done:

    tn_wipe(&n, sizeof(n));
    tn_wipe(&key, sizeof(key));

    return rc;
}


tn_rc_t
tn_wg_noise_prove(tn_wg_noise_t *noise, uint8_t timestamp[TN_WGMSG_TIMESTAMP],
    const tn_wgmsg_initiation_t *m, const uint8_t shared[32])
{
    tn_rc_t        rc;
    tn_key_t       key;
    tn_wg_noise_t  n;

    n = *noise;

    /* ss */

    rc = tn_blake2s_hkdf(n.chain, key.b, NULL, n.chain, shared, 32);
    if (rc != TN_OK) {
        goto done;
    }

    /* {timestamp} */

    rc = tn_wg_noise_open(&n, timestamp, &key, m->timestamp,
                          sizeof(m->timestamp));

    if (rc == TN_OK) {
        *noise = n;
    }

done:

    tn_wipe(&n, sizeof(n));
    tn_wipe(&key, sizeof(key));

    return rc;
}


tn_rc_t
tn_wg_noise_respond(const tn_wg_noise_t *noise, tn_wgmsg_response_t *m,
    tn_wg_keys_t *keys, const tn_key_t *ephemeral, const tn_key_t *peer)
{
    tn_rc_t        rc;
    tn_key_t       key;
    tn_keypair_t   e;
    tn_wg_noise_t  n;

    n = *noise;

    /* e */

    tn_curve_keypair(&e);
    m->ephemeral = e.pub;

    if ((rc = tn_wg_noise_key(&n, e.pub.b, TN_KEY_LEN)) != TN_OK
        || (rc = tn_wg_noise_hash(&n, e.pub.b, TN_KEY_LEN)) != TN_OK)
    {
        goto done;
    }

    /* ee, se */

    if ((rc = tn_wg_noise_dh(&n, NULL, &e.priv, ephemeral)) != TN_OK
        || (rc = tn_wg_noise_dh(&n, NULL, &e.priv, peer)) != TN_OK)
    {
        goto done;
    }

    /* psk, {} */

    if ((rc = tn_wg_noise_psk(&n, &key)) != TN_OK
        || (rc = tn_wg_noise_seal(&n, m->empty, &key, NULL, 0)) != TN_OK)
    {
        goto done;
    }

    rc = tn_blake2s_hkdf(keys->open.b, keys->seal.b, NULL, n.chain, "", 0);

done:

    tn_wipe(&n, sizeof(n));
    tn_wipe(&e, sizeof(e));
    tn_wipe(&key, sizeof(key));

    return rc;
}


tn_rc_t
tn_wg_noise_finish(const tn_wg_noise_t *noise, tn_wg_keys_t *keys,
    const tn_wgmsg_response_t *m, const tn_keypair_t *identity)
{
    tn_rc_t        rc;
    uint8_t        none[1];
    tn_key_t       key;
    tn_wg_noise_t  n;

    n = *noise;

    /* e */

    if ((rc = tn_wg_noise_key(&n, m->ephemeral.b, TN_KEY_LEN)) != TN_OK
        || (rc = tn_wg_noise_hash(&n, m->ephemeral.b, TN_KEY_LEN)) != TN_OK)
    {
        goto done;
    }

    /* ee, se */

    if ((rc = tn_wg_noise_dh(&n, NULL, &n.ephemeral, &m->ephemeral)) != TN_OK
        || (rc = tn_wg_noise_dh(&n, NULL, &identity->priv, &m->ephemeral))
           != TN_OK)
    {
        goto done;
    }

    /* psk, {} */

    if ((rc = tn_wg_noise_psk(&n, &key)) != TN_OK
        || (rc = tn_wg_noise_open(&n, none, &key, m->empty, sizeof(m->empty)))
           != TN_OK)
    {
        goto done;
    }

    rc = tn_blake2s_hkdf(keys->seal.b, keys->open.b, NULL, n.chain, "", 0);

done:

    tn_wipe(&n, sizeof(n));
    tn_wipe(&key, sizeof(key));

    return rc;
}


void
tn_wg_noise_timestamp(uint8_t timestamp[TN_WGMSG_TIMESTAMP], uint64_t wall_ns)
{
    tn_writer_t  w;

    w = tn_writer(timestamp, TN_WGMSG_TIMESTAMP);

    tn_write_u64(&w, TN_WG_NOISE_TAI64 + wall_ns / 1000000000);
    tn_write_u32(&w, (uint32_t) (wall_ns % 1000000000));
}


static tn_rc_t
tn_wg_noise_begin(tn_wg_noise_t *noise, const tn_key_t *responder)
{
    tn_rc_t  rc;

    static const char  construction[] =
        "Noise_IKpsk2_25519_ChaChaPoly_BLAKE2s";
    static const char  identifier[] =
        "WireGuard v1 zx2c4 Jason@zx2c4.com";

    memset(noise, 0, sizeof(tn_wg_noise_t));

    rc = tn_blake2s(noise->chain, construction, sizeof(construction) - 1,
                    NULL, 0);
    if (rc != TN_OK) {
        return rc;
    }

    memcpy(noise->hash, noise->chain, sizeof(noise->hash));

    rc = tn_wg_noise_hash(noise, identifier, sizeof(identifier) - 1);
    if (rc != TN_OK) {
        return rc;
    }

    return tn_wg_noise_hash(noise, responder->b, TN_KEY_LEN);
}


static tn_rc_t
tn_wg_noise_hash(tn_wg_noise_t *noise, const void *data, size_t len)
{
    return tn_blake2s(noise->hash, noise->hash, sizeof(noise->hash), data,
                      len);
}


static tn_rc_t
tn_wg_noise_key(tn_wg_noise_t *noise, const void *data, size_t len)
{
    return tn_blake2s_hkdf(noise->chain, NULL, NULL, noise->chain, data, len);
}


/* key may be NULL where the protocol seals nothing after the step */

static tn_rc_t
tn_wg_noise_dh(tn_wg_noise_t *noise, tn_key_t *key, const tn_key_t *priv,
    const tn_key_t *pub)
{
    tn_rc_t  rc;
    uint8_t  shared[32];

    rc = tn_curve_dh(shared, priv, pub);

    if (rc == TN_OK) {
        rc = tn_blake2s_hkdf(noise->chain, key ? key->b : NULL, NULL,
                             noise->chain, shared, sizeof(shared));
    }

    tn_wipe(shared, sizeof(shared));

    return rc;
}


static tn_rc_t
tn_wg_noise_seal(tn_wg_noise_t *noise, uint8_t *dst, const tn_key_t *key,
    const void *src, size_t len)
{
    tn_rc_t  rc;

    rc = tn_aead_seal_once(key, tn_wg_noise_zero, noise->hash,
                           sizeof(noise->hash), src, len, dst);

    return rc == TN_OK ? tn_wg_noise_hash(noise, dst, len + TN_AEAD_TAG) : rc;
}


static tn_rc_t
tn_wg_noise_open(tn_wg_noise_t *noise, void *dst, const tn_key_t *key,
    const uint8_t *src, size_t len)
{
    tn_rc_t  rc;

    rc = tn_aead_open_once(key, tn_wg_noise_zero, noise->hash,
                           sizeof(noise->hash), src, len, dst);

    return rc == TN_OK ? tn_wg_noise_hash(noise, src, len) : rc;
}


static tn_rc_t
tn_wg_noise_psk(tn_wg_noise_t *noise, tn_key_t *key)
{
    tn_rc_t  rc;
    uint8_t  tau[32];

    static const uint8_t  psk[32];

    rc = tn_blake2s_hkdf(noise->chain, tau, key->b, noise->chain, psk,
                         sizeof(psk));

    if (rc == TN_OK) {
        rc = tn_wg_noise_hash(noise, tau, sizeof(tau));
    }

    tn_wipe(tau, sizeof(tau));

    return rc;
}
