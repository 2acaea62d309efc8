
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * One errand at an ACME server (RFC 8555): an order by dns-01 or tls-alpn-01,
 * or a look at when to renew (RFC 9773).  Who made it does its requests and
 * shows what proves the name.  Owns no connection, clock or file; the account
 * key stays the caller's.
 */

#ifndef TN_ACME_H_INCLUDED_
#define TN_ACME_H_INCLUDED_

#include "base/tn_log.h"
#include "base/tn_timer.h"
#include "cert/tn_chain.h"


#define TN_ACME_BODY_MAX   262144       /* bytes of an answer */
#define TN_ACME_URL_MAX    1024         /* of a URL, with its zero */
#define TN_ACME_TEXT       512          /* of a reason, with its zero */
#define TN_ACME_DEADLINE_MS  600000     /* for all of an errand */

#define TN_ACME_TYPE       "application/jose+json"      /* of every POST */

typedef struct tn_acme_s  tn_acme_t;


typedef struct {
    const char     *method;             /* GET, HEAD or POST */
    const char     *url;
    const char     *body;               /* of POST */
    size_t          len;
} tn_acme_request_t;

/* texts are "" where the header is missing */
typedef struct {
    int             status;
    const char     *nonce;              /* Replay-Nonce */
    const char     *location;
    const char     *retry_after;
    const char     *body;
    size_t          len;
} tn_acme_answer_t;


typedef enum {
    TN_ACME_AWAY = 0,       /* nobody there, or in disorder: soon again */
    TN_ACME_REFUSED         /* the server said no: seldom again */
} tn_acme_why_e;

/*
 * Calls may come from any function below but tn_acme_create() and
 * tn_acme_destroy().  None may deliver an event from inside; done() and
 * failed() are the last call and may destroy the object, window() too.
 */
typedef struct {
    int64_t (*wall)(void *data);        /* Unix seconds */
    tn_ms_t (*now)(void *data);

    /* one at a time; answered by tn_acme_answered() or tn_acme_lost() */
    void (*request)(void *data, const tn_acme_request_t *request);

    /* a TXT record; answered by tn_acme_presented() */
    void (*present)(void *data, const char *name, const char *value);

    /*
     * A handshake with this name for "acme-tls/1" (RFC 8737) is to show the
     * hash; answered by tn_acme_presented() once it does.
     */
    void (*show)(void *data, const char *name,
        const uint8_t hash[TN_CHAIN_HASH]);

    /* the account's URL, to be kept; NULL: the one known is none any more */
    void (*account)(void *data, const char *url);

    /* an order's certificate with its key, which become the callee's */
    void (*done)(void *data, tn_chain_t *chain);

    /* the window to renew in, Unix seconds, and when to look again; window
     * 0 to 0: this server has none */
    void (*window)(void *data, int64_t start, int64_t end,
        uint64_t again_ms);

    /* text: one line; retry_ms: what the server asked for, or 0 */
    void (*failed)(void *data, tn_acme_why_e why, const char *text,
        uint64_t retry_ms);
} tn_acme_ops_t;


/* all is copied but the key, which must outlive the object */
typedef struct {
    const char     *directory;
    EVP_PKEY       *account_key;
    const char     *account;            /* its URL, or NULL: none yet */
    const char     *domain;             /* NULL: to look for a window */
    bool            alpn;               /* by tls-alpn-01, not dns-01 */
    const char     *ari;                /* what the certificate that is there
                                           is called, or NULL */
} tn_acme_conf_t;


/* NULL when out of memory; ops, data, timers and log must outlive it */
tn_acme_t *tn_acme_create(const tn_acme_conf_t *conf,
    const tn_acme_ops_t *ops, void *data, tn_timers_t *timers,
    tn_log_t *log);
void tn_acme_destroy(tn_acme_t *acme);

void tn_acme_start(tn_acme_t *acme);

void tn_acme_answered(tn_acme_t *acme, const tn_acme_answer_t *answer);
/* no answer came */
void tn_acme_lost(tn_acme_t *acme, const char *reason);
/* error NULL: the record is there, or the hash is shown */
void tn_acme_presented(tn_acme_t *acme, const char *error);

/* Retry-After in milliseconds, 0 for none or nonsense, a week at most */
uint64_t tn_acme_retry_after(const char *value, int64_t wall);

/* an RFC 3339 time in Unix seconds, 0 for nonsense */
int64_t tn_acme_time(const char *text);


#endif /* TN_ACME_H_INCLUDED_ */
