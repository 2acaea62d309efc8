
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * HTTP proxies on the way to control and to DERP: which one is for a host,
 * and the CONNECT that turns a connection to it into one to the host.
 */

#ifndef TN_PROXY_H_INCLUDED_
#define TN_PROXY_H_INCLUDED_

#include "base/tn_base.h"
#include "base/tn_log.h"


#define TN_PROXY_HOST    256        /* with its zero */
#define TN_PROXY_AUTH    384        /* base64, with its zero */
#define TN_PROXY_URL     512        /* longest text of one, with its zero */
#define TN_PROXY_TEXT    256        /* of an error */
#define TN_PROXY_ANSWER  8192       /* longest head of an answer */

typedef struct {
    char      host[TN_PROXY_HOST];  /* name or IP literal; empty: none */
    uint16_t  port;
    char      auth[TN_PROXY_AUTH];  /* of Basic, secret; empty: none */
} tn_proxy_t;

typedef struct tn_proxies_s    tn_proxies_t;
typedef struct tn_proxy_talk_s  tn_proxy_talk_t;


/*
 * "http://[user:password@]host[:port]", port 80 by default, what is special
 * in user and password by %xx; "host[:port]" too when the scheme may be
 * missing.  TN_OK, or TN_MALFORMED and `why` is a text without any part of
 * the URL: that holds a password.
 */
tn_rc_t tn_proxy_parse(tn_proxy_t *proxy, const char *url, size_t len,
    bool bare, const char **why);


/*
 * The choice of a node.  conf is its directive: an URL, "off", or empty for
 * what the environment says: HTTPS_PROXY, HTTP_PROXY, NO_PROXY, or the same
 * in small letters, which go first.  An URL there that cannot be used is
 * logged and counts as none.  NULL: out of memory.  Constant afterwards: of
 * use to any thread.
 */
tn_proxies_t *tn_proxies_create(const char *conf, tn_log_t *log);

/* NULL is allowed */
void tn_proxies_free(tn_proxies_t *proxies);

/*
 * The proxy for a connection to this host, NULL: none.  `tls`: HTTPS_PROXY
 * counts, else HTTP_PROXY.  proxies may be NULL.
 */
const tn_proxy_t *tn_proxies_choose(const tn_proxies_t *proxies, bool tls,
    const char *host, uint16_t port);


/* for a connection to `proxy` that is to reach this host; NULL: memory */
tn_proxy_talk_t *tn_proxy_talk_create(const tn_proxy_t *proxy,
    const char *host, uint16_t port);

/* wipes; NULL is allowed */
void tn_proxy_talk_free(tn_proxy_talk_t *talk);

/*
 * Goes on as far as the connected non-blocking socket allows.  TN_OK: from
 * now on it is the host's; TN_AGAIN: call again when it is readable, or
 * writable when *write; TN_REFUSED, TN_CLOSED and TN_MALFORMED: text, of
 * TN_PROXY_TEXT bytes, says why, and never holds what is secret.
 */
tn_rc_t tn_proxy_talk_step(tn_proxy_talk_t *talk, int fd, bool *write,
    char *text);

/*
 * The answer to CONNECT as far as it came (RFC 9110, 9.3.6): TN_OK for a
 * tunnel; TN_AGAIN: its head is not whole; TN_REFUSED: `status` and `reason`
 * say how; TN_MALFORMED also when something follows before we spoke.
 * `reason` is of TN_PROXY_TEXT bytes.
 */
tn_rc_t tn_proxy_answer(const char *bytes, size_t len, unsigned *status,
    char *reason);


#endif /* TN_PROXY_H_INCLUDED_ */
