
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The client side of one DERP connection: upgrade, login, frames, liveness.
 * Bytes in, bytes out; path owns one for each region that is open.  It never
 * opens a socket and never reconnects.
 */

#ifndef TN_DERP_CLIENT_H_INCLUDED_
#define TN_DERP_CLIENT_H_INCLUDED_

#include "base/tn_key.h"
#include "base/tn_log.h"
#include "base/tn_timer.h"


#define TN_DERP_CLIENT_LOGIN_TIMEOUT_MS  10000

typedef struct tn_derp_client_s  tn_derp_client_t;

/*
 * Called from inside of tn_derp_client_start(), _input(), _send() and
 * timers; none but `failed` may destroy the client, and `failed` is the last
 * call of all.
 */
typedef struct {

    /*
     * Both parts to the connection's queue, all or nothing; body may be
     * NULL.  TN_OK; TN_AGAIN when the queue is full: a packet is dropped.
     */
    tn_rc_t (*write)(void *data, const uint8_t *head, size_t head_len,
        const uint8_t *body, size_t body_len);

    /* the login is sent: packets may be sent from now on */
    void (*ready)(void *data, tn_ms_t now);

    /*
     * Bytes may be changed in place.  They are of what tn_derp_client_input()
     * was given where they `last`, else they live until the return.
     */
    void (*packet)(void *data, tn_ms_t now, const tn_key_t *src,
        uint8_t *bytes, size_t len, bool last);

    /* the server does not have this peer any more, or never had it */
    void (*gone)(void *data, tn_ms_t now, const tn_key_t *peer,
        bool never_here);

    /* empty: the former complaint is over; text is not terminated */
    void (*health)(void *data, tn_ms_t now, const char *text, size_t len);

    void (*restarting)(void *data, tn_ms_t now, uint32_t reconnect_in_ms,
        uint32_t try_for_ms);

    void (*failed)(void *data, tn_ms_t now, const char *reason);
} tn_derp_client_ops_t;


/* ops, node and timers stay the caller's and must outlive it; NULL: memory */
tn_derp_client_t *tn_derp_client_create(const tn_derp_client_ops_t *ops,
    void *data, const tn_keypair_t *node, tn_timers_t *timers, tn_log_t *log);

/* NULL is allowed */
void tn_derp_client_destroy(tn_derp_client_t *client);

/*
 * Before the start: speak WebSocket, for a way that does not let DERP's own
 * upgrade pass.  TN_OK or TN_NOMEM.
 */
tn_rc_t tn_derp_client_use_websocket(tn_derp_client_t *client);

/*
 * The connection (with TLS where the region has it) is open: writes the
 * upgrade.  `host` goes to the Host header.  `ideal` names the first node of
 * the region when this is another one, else NULL (upstream: Ideal-Node, for
 * the relay's statistics).  meta_key is the server's key from the meta
 * certificate when TLS 1.3 gave one (upstream: fast start), else NULL.
 * TN_OK, or what write() returned.
 */
tn_rc_t tn_derp_client_start(tn_derp_client_t *client, tn_ms_t now,
    const char *host, const char *ideal, const tn_key_t *meta_key);

/* what arrived; TN_OK, or TN_CLOSED after failed() was called */
tn_rc_t tn_derp_client_input(tn_derp_client_t *client, tn_ms_t now,
    uint8_t *bytes, size_t len);

/*
 * One packet of at most TN_DERP_PACKET_MAX bytes.  TN_OK; TN_AGAIN when it
 * is dropped: not ready, queue full, or above the server's token bucket.
 */
tn_rc_t tn_derp_client_send(tn_derp_client_t *client, tn_ms_t now,
    const tn_key_t *dst, const uint8_t *bytes, size_t len);

/* whether this region is our home; remembered until the login is done */
void tn_derp_client_prefer(tn_derp_client_t *client, bool home);

/* asks for a sign of life; failed() is called when none comes in `wait` ms */
void tn_derp_client_probe(tn_derp_client_t *client, tn_ms_t now,
    tn_ms_t wait);

/* packets may be sent */
bool tn_derp_client_is_ready(const tn_derp_client_t *client);

/* the way lets DERP pass: the upgrade was accepted, or there was none */
bool tn_derp_client_is_upgraded(const tn_derp_client_t *client);

/* the server has taken our login */
bool tn_derp_client_is_proven(const tn_derp_client_t *client);

/* in failed(): it did not answer to a ping */
bool tn_derp_client_is_hung(const tn_derp_client_t *client);

/* when the last frame came, 0 before the first */
tn_ms_t tn_derp_client_heard(const tn_derp_client_t *client);


#endif /* TN_DERP_CLIENT_H_INCLUDED_ */
