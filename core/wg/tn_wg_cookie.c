
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * mac1 proves that the sender knows whom it talks to, which costs us one hash
 * to check.  Under load that is not enough: the sender must prove that it
 * gets what is sent to its address.  So it is given a cookie, a MAC over the
 * address under a secret that lives two minutes, sealed so that only who sent
 * that very message can open it, and must repeat the handshake with a mac2
 * keyed with the cookie.  We keep no state for anybody who has not done so.
 */

#include "tn_wg_cookie.h"

#include "crypto/tn_aead.h"
#include "crypto/tn_blake2s.h"
#include "crypto/tn_curve.h"


static tn_rc_t tn_wg_cookie_keys(uint8_t *mac1_key, tn_key_t *cookie_key,
    const tn_key_t *key);
static tn_rc_t tn_wg_cookie_make(uint8_t *cookie,
    const tn_wg_checker_t *checker, const tn_wg_from_t *from);


tn_rc_t
tn_wg_checker_init(tn_wg_checker_t *checker, const tn_key_t *key)
{
    memset(checker, 0, sizeof(tn_wg_checker_t));

    return tn_wg_cookie_keys(checker->mac1_key, &checker->cookie_key, key);
}


bool
tn_wg_checker_mac1(const tn_wg_checker_t *checker, const uint8_t *msg,
    size_t len)
{
    size_t   body;
    uint8_t  mac[TN_WGMSG_MAC];

    body = len - TN_WGMSG_MACS;

    return tn_blake2s_mac(mac, checker->mac1_key, sizeof(checker->mac1_key),
                          msg, body)
           == TN_OK
           && tn_ct_equal(mac, msg + body, TN_WGMSG_MAC);
}


bool
tn_wg_checker_mac2(const tn_wg_checker_t *checker, tn_ms_t now,
    const tn_wg_from_t *from, const uint8_t *msg, size_t len)
{
    bool     good;
    size_t   body;
    uint8_t  cookie[TN_WGMSG_MAC], mac[TN_WGMSG_MAC];

    if (checker->secret_at == 0
        || now - checker->secret_at >= TN_WG_COOKIE_LIFE_MS)
    {
        return false;
    }

    body = len - TN_WGMSG_MAC;

    good = tn_wg_cookie_make(cookie, checker, from) == TN_OK
           && tn_blake2s_mac(mac, cookie, sizeof(cookie), msg, body) == TN_OK
           && tn_ct_equal(mac, msg + body, TN_WGMSG_MAC);

    tn_wipe(cookie, sizeof(cookie));

    return good;
}


tn_rc_t
tn_wg_checker_reply(tn_wg_checker_t *checker, tn_ms_t now,
    const tn_wg_from_t *from, uint32_t receiver, const uint8_t *msg,
    size_t len, uint8_t *reply)
{
    tn_rc_t            rc;
    uint8_t            cookie[TN_WGMSG_MAC];
    tn_wgmsg_cookie_t  m;

    if (checker->secret_at == 0
        || now - checker->secret_at >= TN_WG_COOKIE_LIFE_MS)
    {
        tn_random(checker->secret, sizeof(checker->secret));
        checker->secret_at = now;
    }

    m.receiver = receiver;
    tn_random(m.nonce, sizeof(m.nonce));

    rc = tn_wg_cookie_make(cookie, checker, from);

    if (rc == TN_OK) {
        rc = tn_xaead_seal(&checker->cookie_key, m.nonce,
                           msg + len - TN_WGMSG_MACS, TN_WGMSG_MAC,
                           cookie, sizeof(cookie), m.cookie);
    }

    if (rc == TN_OK) {
        tn_wgmsg_write_cookie(reply, &m);
    }

    tn_wipe(cookie, sizeof(cookie));

    return rc;
}


tn_rc_t
tn_wg_stamper_init(tn_wg_stamper_t *stamper, const tn_key_t *key)
{
    memset(stamper, 0, sizeof(tn_wg_stamper_t));

    return tn_wg_cookie_keys(stamper->mac1_key, &stamper->cookie_key, key);
}


tn_rc_t
tn_wg_stamper_stamp(tn_wg_stamper_t *stamper, tn_ms_t now, uint8_t *msg,
    size_t len)
{
    uint8_t  *mac1, *mac2;

    mac1 = msg + len - TN_WGMSG_MACS;
    mac2 = msg + len - TN_WGMSG_MAC;

    if (tn_blake2s_mac(mac1, stamper->mac1_key, sizeof(stamper->mac1_key),
                       msg, len - TN_WGMSG_MACS)
        != TN_OK)
    {
        return TN_ERROR;
    }

    memcpy(stamper->mac1, mac1, TN_WGMSG_MAC);
    stamper->sent = true;

    if (stamper->cookie_at == 0
        || now - stamper->cookie_at
           >= TN_WG_COOKIE_LIFE_MS - TN_WG_COOKIE_LATENCY_MS)
    {
        memset(mac2, 0, TN_WGMSG_MAC);
        return TN_OK;
    }

    return tn_blake2s_mac(mac2, stamper->cookie, sizeof(stamper->cookie), msg,
                          len - TN_WGMSG_MAC);
}


tn_rc_t
tn_wg_stamper_take(tn_wg_stamper_t *stamper, tn_ms_t now,
    const tn_wgmsg_cookie_t *m)
{
    tn_rc_t  rc;
    uint8_t  cookie[TN_WGMSG_MAC];

    if (!stamper->sent) {
        return TN_MALFORMED;
    }

    rc = tn_xaead_open(&stamper->cookie_key, m->nonce, stamper->mac1,
                       TN_WGMSG_MAC, m->cookie, sizeof(m->cookie), cookie);

    if (rc == TN_OK) {
        memcpy(stamper->cookie, cookie, TN_WGMSG_MAC);
        stamper->cookie_at = now;

        /* one message is worth one reply */
        stamper->sent = false;
    }

    tn_wipe(cookie, sizeof(cookie));

    return rc;
}


static tn_rc_t
tn_wg_cookie_keys(uint8_t *mac1_key, tn_key_t *cookie_key, const tn_key_t *key)
{
    tn_rc_t  rc;

    rc = tn_blake2s(mac1_key, "mac1----", 8, key->b, TN_KEY_LEN);

    if (rc == TN_OK) {
        rc = tn_blake2s(cookie_key->b, "cookie--", 8, key->b, TN_KEY_LEN);
    }

    return rc;
}


static tn_rc_t
tn_wg_cookie_make(uint8_t *cookie, const tn_wg_checker_t *checker,
    const tn_wg_from_t *from)
{
    uint8_t  source[19];

    memcpy(source, from->addr.ip.b, 16);
    source[16] = (uint8_t) (from->addr.port >> 8);
    source[17] = (uint8_t) from->addr.port;
    source[18] = from->relayed;

    return tn_blake2s_mac(cookie, checker->secret, sizeof(checker->secret),
                          source, sizeof(source));
}
