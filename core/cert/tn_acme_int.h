
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Between the files of an errand at an ACME server: its state, and who does
 * what in it.
 */

#ifndef TN_ACME_INT_H_INCLUDED_
#define TN_ACME_INT_H_INCLUDED_

#include "cert/tn_acme.h"

#include <jansson.h>


#define TN_ACME_NONCES      10          /* refused in a row */
#define TN_ACME_FINALIZES   3
#define TN_ACME_LOSSES      4           /* requests without an answer */
#define TN_ACME_PAUSE_MS    2000        /* after the first; then doubled */
#define TN_ACME_POLL_MS     1000        /* the first; then half as much more */
#define TN_ACME_POLL_MAX_MS 10000
#define TN_ACME_WAIT_MAX_MS 120000      /* that a poll waits when told to */
#define TN_ACME_AGAIN_MS    21600000    /* to look for a window, when untold */
#define TN_ACME_AGAIN_MIN_MS  60000     /* RFC 9773, 4.3.3. */
#define TN_ACME_AGAIN_MAX_MS  86400000
#define TN_ACME_WEEK_MS     604800000
#define TN_ACME_NONCE_MAX   256
#define TN_ACME_TOKEN_MAX   256
#define TN_ACME_LIST_MAX    64          /* of authorizations or challenges */
#define TN_ACME_SKEW_S      3600        /* a leaf from the future is no use */

#define TN_ACME_ERROR       "urn:ietf:params:acme:error:"


typedef enum {
    TN_ACME_IDLE = 0,
    TN_ACME_DIRECTORY,
    TN_ACME_ACCOUNT,
    TN_ACME_ORDER,
    TN_ACME_AUTHORIZATION,
    TN_ACME_PRESENT,
    TN_ACME_CHALLENGE,
    TN_ACME_VALIDATION,
    TN_ACME_FINALIZE,
    TN_ACME_ISSUE,
    TN_ACME_DOWNLOAD,
    TN_ACME_WINDOW,
    TN_ACME_ENDED
} tn_acme_state_e;


struct tn_acme_s {
    const tn_acme_ops_t  *ops;
    void                 *data;
    tn_timers_t          *timers;
    tn_log_t             *log;

    EVP_PKEY             *account_key;
    EVP_PKEY             *key;          /* of the certificate */
    char                  domain[TN_CHAIN_NAME_MAX + 1];
    char                  ari[TN_CHAIN_ARI_MAX];
    bool                  ordering;
    bool                  alpn;
    bool                  replaces;

    tn_acme_state_e       state;
    bool                  waiting;      /* for an answer */
    bool                  nonce_only;   /* which only has to bring a nonce */
    bool                  renewed;      /* the account was made anew */
    unsigned              nonces;       /* refused so far */
    unsigned              losses;
    unsigned              finalizes;
    uint64_t              poll_ms;
    tn_timer_t            timer;        /* pause before the request */
    tn_timer_t            deadline;

    char                  nonce[TN_ACME_NONCE_MAX];
    uint8_t               hash[TN_CHAIN_HASH];  /* that proves the name */

    char                  directory[TN_ACME_URL_MAX];
    char                  new_nonce[TN_ACME_URL_MAX];
    char                  new_account[TN_ACME_URL_MAX];
    char                  new_order[TN_ACME_URL_MAX];
    char                  renewal_info[TN_ACME_URL_MAX];
    char                  account[TN_ACME_URL_MAX];
    char                  order[TN_ACME_URL_MAX];
    char                  authorization[TN_ACME_URL_MAX];
    char                  challenge[TN_ACME_URL_MAX];
    char                  finalize[TN_ACME_URL_MAX];
    char                  certificate[TN_ACME_URL_MAX];
};


/* --- tn_acme.c: the errand */

/* to another state, and there to its request */
void tn_acme_go(tn_acme_t *acme, tn_acme_state_e state);
/* the request of the state it is in, at once or in so many milliseconds */
void tn_acme_send(tn_acme_t *acme);
void tn_acme_wait(tn_acme_t *acme, uint64_t ms);
/* ends it; acme may be gone after this */
void tn_acme_fail(tn_acme_t *acme, tn_acme_why_e why, uint64_t retry_ms,
    const char *fmt, ...) tn_printf_like(4, 5);
bool tn_acme_is_url(const char *text);

/* --- tn_acme_answer.c: what the server says; o may be NULL */

/* of the 200s, and of the others (RFC 8555, 6.7.) */
void tn_acme_took(tn_acme_t *acme, const tn_acme_answer_t *answer,
    const json_t *o);
void tn_acme_problem(tn_acme_t *acme, const tn_acme_answer_t *answer,
    const json_t *o);
/* for a log line: what is being done */
extern const char *const  tn_acme_names[];


#endif /* TN_ACME_INT_H_INCLUDED_ */
