
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * mac1, mac2 and cookie replies (white paper, 5.3 and 5.4.4, 5.4.7): the
 * checker judges messages that come in, the stamper puts macs on ours for
 * one peer.
 */

#ifndef TN_WG_COOKIE_H_INCLUDED_
#define TN_WG_COOKIE_H_INCLUDED_

#include "wg/tn_wg.h"


#define TN_WG_COOKIE_LIFE_MS     120000
#define TN_WG_COOKIE_LATENCY_MS  5000   /* how long a reply may travel */

typedef struct {
    uint8_t   mac1_key[32];
    tn_key_t  cookie_key;
    uint8_t   secret[32];       /* changes every TN_WG_COOKIE_LIFE_MS */
    tn_ms_t   secret_at;        /* 0: none yet */
} tn_wg_checker_t;

typedef struct {
    uint8_t   mac1_key[32];
    tn_key_t  cookie_key;
    uint8_t   cookie[TN_WGMSG_MAC];
    tn_ms_t   cookie_at;        /* 0: none */
    uint8_t   mac1[TN_WGMSG_MAC];   /* of the message sent last */
    bool      sent;             /* mac1 is set */
} tn_wg_stamper_t;


/* `key` is the public key of whom the checked messages are for: ourselves.
 * TN_OK or TN_ERROR */
tn_rc_t tn_wg_checker_init(tn_wg_checker_t *checker, const tn_key_t *key);

/* each for an initiation or response of any length over TN_WGMSG_MACS */
bool tn_wg_checker_mac1(const tn_wg_checker_t *checker, const uint8_t *msg,
    size_t len);
bool tn_wg_checker_mac2(const tn_wg_checker_t *checker, tn_ms_t now,
    const tn_wg_from_t *from, const uint8_t *msg, size_t len);

/*
 * Writes to reply, of TN_WGMSG_COOKIE_LEN bytes, the cookie for whom `msg`
 * came from and whose index `receiver` is.  TN_OK or TN_ERROR.
 */
tn_rc_t tn_wg_checker_reply(tn_wg_checker_t *checker, tn_ms_t now,
    const tn_wg_from_t *from, uint32_t receiver, const uint8_t *msg,
    size_t len, uint8_t *reply);

/* `key` is the peer's.  TN_OK or TN_ERROR */
tn_rc_t tn_wg_stamper_init(tn_wg_stamper_t *stamper, const tn_key_t *key);

/* fills mac1, and mac2 when there is a live cookie.  TN_OK or TN_ERROR */
tn_rc_t tn_wg_stamper_stamp(tn_wg_stamper_t *stamper, tn_ms_t now,
    uint8_t *msg, size_t len);

/* TN_MALFORMED when it does not answer the message stamped last */
tn_rc_t tn_wg_stamper_take(tn_wg_stamper_t *stamper, tn_ms_t now,
    const tn_wgmsg_cookie_t *m);


#endif /* TN_WG_COOKIE_H_INCLUDED_ */
