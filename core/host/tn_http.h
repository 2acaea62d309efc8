
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * HTTPS requests on a loop, by libcurl: names are looked up by our resolver,
 * nothing blocks, answers have limits, redirects are not followed.  Used for
 * certificates; control and DERP have streams of their own.
 */

#ifndef TN_HTTP_H_INCLUDED_
#define TN_HTTP_H_INCLUDED_

#include "host/tn_loop.h"
#include "host/tn_proxy.h"
#include "host/tn_resolve.h"


#define TN_HTTP_TIMEOUT_MS  60000   /* for the whole of a request */
#define TN_HTTP_CONNECT_MS  15000
#define TN_HTTP_FIELD_MAX   1024    /* of a header value, with its zero */

typedef struct tn_http_s       tn_http_t;
typedef struct tn_http_call_s  tn_http_call_t;


typedef struct {
    const char     *method;         /* GET, HEAD or POST */
    const char     *url;            /* https */
    const char     *type;           /* Content-Type of a POST */
    const char     *body;           /* of a POST, with its length */
    size_t          len;
    size_t          answer_max;     /* bytes of its body */
    const char     *ca_file;        /* PEM beside the system's roots, or NULL */
    const tn_proxy_t  *proxy;       /* to go through, or NULL */
} tn_http_params_t;

/* texts are "" where the header is missing; good during the call */
typedef struct {
    int             status;
    char            nonce[TN_HTTP_FIELD_MAX];   /* Replay-Nonce */
    char            location[TN_HTTP_FIELD_MAX];
    char            retry_after[TN_HTTP_FIELD_MAX];
    const char     *body;           /* never NULL, a zero after it */
    size_t          len;
} tn_http_answer_t;

/* answer NULL: there was none, and error is one line */
typedef void (*tn_http_pt)(void *data, const tn_http_answer_t *answer,
    const char *error);


/* both must outlive it; NULL when out of memory */
tn_http_t *tn_http_create(tn_loop_t *loop, tn_resolver_t *resolver);

/* after the last call was answered or cancelled; NULL is fine */
void tn_http_destroy(tn_http_t *http);

/*
 * All of params is copied.  fn is called once, from the loop, never from
 * here; the handle is good until then.  NULL when out of memory.
 */
tn_http_call_t *tn_http_request(tn_http_t *http,
    const tn_http_params_t *params, tn_http_pt fn, void *data);

/* fn will not be called */
void tn_http_cancel(tn_http_call_t *call);


#endif /* TN_HTTP_H_INCLUDED_ */
