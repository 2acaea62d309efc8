
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Between the files of a node's certificates: their state, and its files.
 */

#ifndef TN_CERTS_INT_H_INCLUDED_
#define TN_CERTS_INT_H_INCLUDED_

#include "cert/tn_certs.h"


typedef struct {
    tn_chain_named_t  named;
    bool              have;
    bool              listed;           /* by control, at present, or alpn */
    bool              alpn;             /* proved by tls-alpn-01 */

    int64_t           renew_at;         /* Unix seconds */
    int64_t           start;            /* of the window; 0: none */
    int64_t           end;
    tn_ms_t           look_at;
    tn_ms_t           try_at;
    unsigned          failures;
} tn_certs_name_t;


struct tn_certs_s {
    const tn_certs_ops_t  *ops;
    void                  *data;
    tn_timers_t           *timers;
    tn_certs_queue_t      *queue;
    tn_link_t              waiting;     /* in the queue */
    tn_log_t              *log;
    char                   directory[TN_ACME_URL_MAX];
    char                   server[17];

    EVP_PKEY              *account_key;
    char                   account[TN_ACME_URL_MAX];

    tn_certs_name_t        name[TN_CERTS_MAX];
    size_t                 n;
    char                   own[TN_CHAIN_NAME_MAX + 1];
    tn_chain_named_t       self;
    bool                   have_self;
    tn_chain_named_t       challenge;
    bool                   have_challenge;

    bool                   wanted;
    bool                   fallback;
    bool                   online;
    bool                   known;       /* control has said which names */
    bool                   told;        /* that there are none */

    tn_acme_t             *acme;        /* the errand under way */
    tn_certs_name_t       *target;      /* what it is for */
    bool                   ordering;
    tn_timer_t             timer;
    tn_timer_t             shown;       /* the challenge, by all workers */
};


/* --- tn_certs.c */

/* when to renew what has just come, until the server says better */
void tn_certs_plan(tn_certs_t *certs, tn_certs_name_t *name);
/* "2026-11-21 12:00 UTC" */
const char *tn_certs_day(int64_t seconds, char text[32]);

/* --- tn_certs_file.c */

/* the key of this server's account, read or made; false: it was logged */
bool tn_certs_account(tn_certs_t *certs);
bool tn_certs_account_save(tn_certs_t *certs);

/* a name's certificate, if there is a good one */
void tn_certs_load(tn_certs_t *certs, tn_certs_name_t *name);
bool tn_certs_save(tn_certs_t *certs, const char *file,
    const tn_chain_t *chain);

/* one that nobody vouches for: made when asked for, kept */
void tn_certs_self(tn_certs_t *certs);

void tn_certs_file(const tn_certs_t *certs, const char *name,
    char file[TN_CERTS_FILE]);
void tn_certs_hash(const char *text, char hash[17]);


#endif /* TN_CERTS_INT_H_INCLUDED_ */
