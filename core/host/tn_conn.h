
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * A client's byte stream: name resolution, IPv6 and IPv4 raced, TCP, TLS when
 * wanted, a bounded output queue.  Used for control and for DERP; never
 * blocks, never interprets the bytes, never reconnects.
 */

#ifndef TN_CONN_H_INCLUDED_
#define TN_CONN_H_INCLUDED_

#include "base/tn_addr.h"
#include "base/tn_key.h"
#include "base/tn_log.h"
#include "host/tn_loop.h"
#include "host/tn_proxy.h"
#include "host/tn_resolve.h"
#include "host/tn_tls.h"


#define TN_CONN_TIMEOUT_MS  15000       /* when params give 0 */
#define TN_CONN_OUT_LIMIT   (512 * 1024)    /* when params give 0 */

typedef struct tn_conn_s  tn_conn_t;

typedef enum {
    TN_CONN_ENDED,          /* the peer closed in order */
    TN_CONN_RESOLVE,        /* no address for the name */
    TN_CONN_CONNECT,        /* refused or unreachable, every address */
    TN_CONN_TIMEOUT,        /* not connected in time */
    TN_CONN_PROXY,          /* the proxy refused, or broke off */
    TN_CONN_TLS,            /* the handshake or the certificate */
    TN_CONN_LOST            /* an error on the established connection */
} tn_conn_why_e;

/* any callback may call any function here, tn_conn_close() too */
typedef struct {
    void  (*connected)(void *data, tn_conn_t *conn);

    /* `bytes` may be changed in place, and are gone after the call */
    void  (*received)(void *data, tn_conn_t *conn, uint8_t *bytes, size_t len);

    /* the queue is empty after a tn_conn_send() was told TN_AGAIN; or NULL */
    void  (*writable)(void *data, tn_conn_t *conn);

    /*
     * The last call, once.  `text` names the cause, for a log line.  The
     * object stays the owner's, who must still call tn_conn_close().
     */
    void  (*closed)(void *data, tn_conn_t *conn, tn_conn_why_e why,
                    const char *text);
} tn_conn_ops_t;

typedef struct {
    const char     *host;           /* name or IP literal; SNI and Host */
    uint16_t        port;

    /* with n_ips > 0 these are tried in this order, and no DNS is asked */
    const tn_ip_t  *ips;
    size_t          n_ips;
    bool            no_v4;          /* never try this family */
    bool            no_v6;

    /* NULL: none; with one, ips and families count no more: it asks DNS */
    const tn_proxy_t  *proxy;

    tn_ms_t         timeout_ms;     /* to connected(): DNS, TCP and TLS */
    tn_ms_t         tcp_ms;         /* of that DNS and TCP; 0: no own limit */
    size_t          out_limit;      /* bytes queued */
    int             unsent;         /* more in the kernel, about; 0: as it
                                       likes, which is much */

    tn_tls_t       *tls;            /* NULL: plain; must live until close */
    const char     *cert_name;      /* as `name` of tn_tls_session() */
} tn_conn_params_t;


/*
 * Starts.  Nothing is called back from here.  All of params is copied; ops
 * must live on.  NULL when out of memory.
 */
tn_conn_t *tn_conn_open(tn_loop_t *loop, tn_resolver_t *resolver,
    const tn_conn_params_t *params, const tn_conn_ops_t *ops, void *data);

/* at any time, exactly once: no callback after it, what is queued is lost */
void tn_conn_close(tn_conn_t *conn);

/*
 * Queues all or nothing; written at the end of the loop's turn, so that what
 * is sent in one turn shares records and segments.  TN_OK; TN_AGAIN over the
 * limit (writable() will follow); TN_NOMEM (also when len alone is over it);
 * TN_CLOSED when it is not connected or already shut down.
 */
tn_rc_t tn_conn_send(tn_conn_t *conn, const void *bytes, size_t len);

/* the same, of two parts */
tn_rc_t tn_conn_send2(tn_conn_t *conn, const void *a, size_t a_len,
    const void *b, size_t b_len);

/*
 * Sends what is queued, then the end of our stream (close_notify, FIN);
 * received() goes on until closed().
 */
void tn_conn_shutdown(tn_conn_t *conn);

/* back-pressure: while paused nothing is read from the socket */
void tn_conn_pause(tn_conn_t *conn, bool pause);

/*
 * Nothing is told of what has come before there are so many bytes of the
 * stream, with TLS or without, or its end; 1 again for whatever there is.
 */
void tn_conn_gather(tn_conn_t *conn, int bytes);

/* bytes queued for sending */
size_t tn_conn_queued(const tn_conn_t *conn);

/* the peer's address; zero until connected */
const tn_addr_t *tn_conn_remote(const tn_conn_t *conn);

/*
 * After a change of the network: the kernel would reach this peer from
 * another address than the connection has; or it is not connected yet and,
 * after a `major` change (tn_netmon.h), may wait for an answer to an address
 * that is gone.  False when there is no way at all: that may be for a moment.
 */
bool tn_conn_is_rerouted(const tn_conn_t *conn, bool major);

/* see tn_tls_derp_key(); false without TLS */
bool tn_conn_derp_key(const tn_conn_t *conn, tn_key_t *key,
    uint32_t *version);


#endif /* TN_CONN_H_INCLUDED_ */
