
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * HTTP/2 as client with prior knowledge, by nghttp2, over whatever carries
 * bytes: for control that is Noise.  The control client owns it.  Knows
 * nothing of what the requests mean.
 */

#ifndef TN_H2_H_INCLUDED_
#define TN_H2_H_INCLUDED_

#include "base/tn_base.h"
#include "base/tn_list.h"


#define TN_H2_FIELD_MAX  128            /* of a header value that is kept */

typedef struct tn_h2_s  tn_h2_t;
typedef struct tn_h2_call_s  tn_h2_call_t;

/*
 * One request and its response.  The caller owns it and leaves it alone
 * until done() was called, which happens exactly once after a successful
 * tn_h2_request(), and never from inside it.
 */
struct tn_h2_call_s {
    /* set by the caller; body may be NULL; both handlers may make requests,
     * none may destroy the connection */
    const char   *method;
    const char   *path;
    const char   *content_type;         /* NULL: none */
    char         *body;                 /* owned, freed after done() */
    size_t        body_len;
    tn_rc_t     (*data)(tn_h2_call_t *call, const uint8_t *bytes,
                        size_t len);    /* not TN_OK: end the request */
    void        (*headers)(tn_h2_call_t *call);     /* may be NULL */
    void        (*done)(tn_h2_call_t *call, const char *error);
                                        /* error NULL: ended well */

    /* set by the connection */
    int           status;               /* 0: no response yet */
    char          retry_after[TN_H2_FIELD_MAX];

    tn_h2_t      *h2;
    int32_t       stream;
    size_t        body_sent;
    tn_link_t     link;
};

typedef struct {
    void        (*send)(void *data, const uint8_t *bytes, size_t len);
    void        (*pong)(void *data);    /* an answer to tn_h2_ping() */
} tn_h2_ops_t;


/* `authority` and `lb` (a header value, NULL for none) are copied; NULL: no
 * memory.  The preface is queued. */
tn_h2_t *tn_h2_create(const tn_h2_ops_t *ops, void *data,
    const char *authority, const char *lb);

/* ends all calls with `error` and frees; NULL is allowed */
void tn_h2_destroy(tn_h2_t *h2, const char *error);

/*
 * Bytes of the server.  TN_OK; TN_MALFORMED, and then tn_h2_error() says
 * why and the connection is to be destroyed.
 */
tn_rc_t tn_h2_receive(tn_h2_t *h2, const uint8_t *bytes, size_t len);
const char *tn_h2_error(const tn_h2_t *h2);

/* gives what is queued to ops->send; call after every other function here.
 * TN_CLOSED: nothing will ever come or go any more. */
tn_rc_t tn_h2_flush(tn_h2_t *h2);

/* TN_OK; TN_CLOSED when the server takes no new requests; TN_NOMEM */
tn_rc_t tn_h2_request(tn_h2_t *h2, tn_h2_call_t *call);

/* resets the stream; done() is not called, call->body is freed */
void tn_h2_cancel(tn_h2_call_t *call);

void tn_h2_ping(tn_h2_t *h2);


#endif /* TN_H2_H_INCLUDED_ */
