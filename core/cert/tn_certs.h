
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The certificates of one node: for each of its names one that is there,
 * renewed in time, and what to do about those that are missing.  The node's
 * owner carries requests, records, files and time.
 */

#ifndef TN_CERTS_H_INCLUDED_
#define TN_CERTS_H_INCLUDED_

#include "base/tn_list.h"
#include "cert/tn_acme.h"


#define TN_CERTS_DIRECTORY                                                    \
    "https://acme-v02.api.letsencrypt.org/directory"
#define TN_CERTS_STAGING                                                      \
    "https://acme-staging-v02.api.letsencrypt.org/directory"

#define TN_CERTS_MAX      (TN_CHAIN_SET_MAX - 2)    /* names of a node */
#define TN_CERTS_RUNNING  2             /* orders at a time, of all nodes */
#define TN_CERTS_FILE     64            /* of a file's name, with its zero */

typedef struct tn_certs_s  tn_certs_t;


/* shared by all nodes, so that not all order at once; zeroed, then init */
typedef struct {
    size_t      running;
    tn_link_t   waiting;
} tn_certs_queue_t;

static inline void
tn_certs_queue_init(tn_certs_queue_t *queue)
{
    queue->running = 0;
    tn_list_init(&queue->waiting);
}


/* none may deliver an event from inside */
typedef struct {
    int64_t (*wall)(void *data);        /* Unix seconds */
    tn_ms_t (*now)(void *data);

    /* see tn_acme_ops_t; cancel: the request under way has no use any more */
    void (*request)(void *data, const tn_acme_request_t *request);
    void (*cancel)(void *data);
    void (*present)(void *data, const char *name, const char *value);

    /*
     * Files of the state directory, replaced as a whole.  load(): new memory
     * with a zero after it, to be given to unload(); TN_NOTFOUND.
     */
    tn_rc_t (*save)(void *data, const char *name, const void *bytes,
        size_t len);
    tn_rc_t (*load)(void *data, const char *name, uint8_t **bytes,
        size_t *len);
    void (*unload)(void *data, uint8_t *bytes, size_t len);

    /* tn_certs_pack() gives something else now */
    void (*changed)(void *data);
} tn_certs_ops_t;


/*
 * `directory`, copied; NULL: TN_CERTS_DIRECTORY.  ops, data, timers, queue
 * and log must outlive the object.  NULL when out of memory.
 */
tn_certs_t *tn_certs_create(const char *directory, const tn_certs_ops_t *ops,
    void *data, tn_timers_t *timers, tn_certs_queue_t *queue, tn_log_t *log);
void tn_certs_destroy(tn_certs_t *certs);

/*
 * Names besides those of control, separated by commas: clients reach the
 * workers by them, so tls-alpn-01 proves them.  Each time they are wanted;
 * tn_certs_want() follows.
 */
void tn_certs_own(tn_certs_t *certs, const char *names);

/*
 * Somebody uses certificates: nothing is read or ordered before.  `fallback`:
 * also one that nobody vouches for, while there is no other.
 */
void tn_certs_want(tn_certs_t *certs, bool fallback);

/* the names control gives certificates for, and the node's own; each time
 * they may have changed */
void tn_certs_names(tn_certs_t *certs, char *const *domains, size_t n,
    const char *own);

/* whether control can be asked for a record */
void tn_certs_online(tn_certs_t *certs, bool online);

void tn_certs_answered(tn_certs_t *certs, const tn_acme_answer_t *answer);
void tn_certs_lost(tn_certs_t *certs, const char *reason);
void tn_certs_presented(tn_certs_t *certs, const char *error);

/* what nginx's workers get, see tn_chain_pack() */
uint8_t *tn_certs_pack(const tn_certs_t *certs, size_t *len);

/* of the i-th name; NULL after the last.  not_after 0: there is none yet */
const char *tn_certs_each(const tn_certs_t *certs, size_t i,
    int64_t *not_before, int64_t *not_after);


#endif /* TN_CERTS_H_INCLUDED_ */
