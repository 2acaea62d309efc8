
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The little HTTP/1.1 that control needs before HTTP/2 over Noise: URLs,
 * and a reader of one response with limits.  The control client feeds it;
 * owns no connection.
 */

#ifndef TN_HTTP1_H_INCLUDED_
#define TN_HTTP1_H_INCLUDED_

#include "base/tn_base.h"


#define TN_HTTP1_HEAD_MAX   16384       /* bytes of status line and headers */
#define TN_HTTP1_BODY_MAX   65536
#define TN_HTTP1_FIELD_MAX  128         /* of a header value that is kept */

#define TN_URL_HOST_MAX     254
#define TN_URL_PATH_MAX     2048

typedef struct {
    bool        tls;                    /* https, else http */
    bool        port_given;
    uint16_t    port;
    char        host[TN_URL_HOST_MAX + 1];  /* no brackets round IPv6 */
    char        path[TN_URL_PATH_MAX + 1];  /* with the query; "" for none */
} tn_url_t;

/* TN_OK, or TN_MALFORMED with a reason for a person in err */
tn_rc_t tn_url_parse(tn_url_t *url, const char *text, const char **err);

/* "host", "host:port" or "[v6]:port", as the Host header wants it; buf has
 * TN_URL_HOST_MAX + 16 bytes, and is returned */
char *tn_url_authority(const tn_url_t *url, char *buf);


typedef enum {
    TN_HTTP1_HEAD = 0,
    TN_HTTP1_LENGTH,            /* body of a known length */
    TN_HTTP1_EOF,               /* body until the connection closes */
    TN_HTTP1_CHUNK_SIZE,
    TN_HTTP1_CHUNK,
    TN_HTTP1_CHUNK_END,
    TN_HTTP1_TRAILER,
    TN_HTTP1_DONE
} tn_http1_state_e;

typedef struct {
    tn_http1_state_e    state;
    bool                head_only;      /* the request was HEAD */

    int                 status;
    char                upgrade[TN_HTTP1_FIELD_MAX];
    char                retry_after[TN_HTTP1_FIELD_MAX];

    uint64_t            left;           /* of the body or chunk */
    size_t              line_len;       /* of a chunk's size or trailer */
    bool                digits;         /* the size has some */
    bool                extension;      /* in what is skipped of it */

    size_t              head_len;
    char               *body;           /* zero at its end, or NULL */
    size_t              body_len;
    char                head[TN_HTTP1_HEAD_MAX + 1];
} tn_http1_t;


void tn_http1_init(tn_http1_t *http, bool head_only);
void tn_http1_done(tn_http1_t *http);

/*
 * Takes bytes of the response and moves *pos and *left.  TN_OK: it is whole,
 * what is left belongs to who comes next (after 101).  TN_AGAIN.
 * TN_MALFORMED, also for what is over a limit.  TN_NOMEM.
 */
tn_rc_t tn_http1_read(tn_http1_t *http, const uint8_t **pos, size_t *left);

/* the connection closed: TN_OK when that ended the response */
tn_rc_t tn_http1_eof(tn_http1_t *http);

/*
 * A Retry-After value in milliseconds: seconds, or an HTTP date against
 * `wall`.  0 when it is missing, nonsense, or over an hour.
 */
uint64_t tn_http1_retry_after_ms(const char *value, int64_t wall);


#endif /* TN_HTTP1_H_INCLUDED_ */
