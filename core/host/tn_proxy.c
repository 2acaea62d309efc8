
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * The environment is read as Go's programs read it, tailscaled among them
 * (golang.org/x/net/http/httpproxy): a proxy never stands before localhost,
 * and NO_PROXY lists names, which mean what is below them too, addresses,
 * networks, each of the first two with a port if wanted, or is "*".
 *
 * A tunnel is asked for by one request and begins right after the head of an
 * answer of class 2 (RFC 9110, 9.3.6).  What the host behind it says comes
 * only after we spoke: any byte after that head is an error, so that none
 * has to be kept.
 */

#include "host/tn_proxy.h"

#include "base/tn_addr.h"

#include <errno.h>
#include <sodium.h>
#include <stdio.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/socket.h>


#define TN_PROXY_REQUEST  (2 * TN_PROXY_HOST + TN_PROXY_AUTH + 256)


struct tn_proxies_s {
    bool         by_order;          /* of the directive: for everything */
    tn_proxy_t   http;
    tn_proxy_t   https;
    char        *no_proxy;          /* NULL: none */
};

struct tn_proxy_talk_s {
    char         at[TN_PROXY_HOST + 8];         /* of log lines */
    bool         auth;
    size_t       sent;
    size_t       out_len;
    size_t       in_len;
    char         out[TN_PROXY_REQUEST];
    char         in[TN_PROXY_ANSWER];
};


static tn_rc_t tn_proxy_credentials(tn_proxy_t *proxy, const char *text,
    size_t len);
static tn_rc_t tn_proxy_decode(char *to, const char *text, size_t len);
static tn_rc_t tn_proxy_authority(tn_proxy_t *proxy, const char *text,
    size_t len);
static tn_rc_t tn_proxy_port(const char *text, size_t len, uint16_t *port);
static void tn_proxies_environment(tn_proxy_t *proxy, const char *name,
    const char *small, tn_log_t *log);
static const char *tn_proxies_getenv(const char *name, const char *small);
static bool tn_proxies_is_exempt(const char *list, const char *host,
    uint16_t port);
static bool tn_proxies_matches(const char *entry, size_t len,
    const char *host, const tn_ip_t *ip, uint16_t port);
static tn_rc_t tn_proxy_talk_write(tn_proxy_talk_t *talk, int fd,
    char *text);
static tn_rc_t tn_proxy_talk_read(tn_proxy_talk_t *talk, int fd, char *text);


tn_rc_t
tn_proxy_parse(tn_proxy_t *proxy, const char *url, size_t len, bool bare,
    const char **why)
{
    size_t       i;
    const char  *at, *p;

    memset(proxy, 0, sizeof(tn_proxy_t));

    *why = "\"http://[user:password@]host[:port]\" expected";

    if (len >= 7 && strncasecmp(url, "http://", 7) == 0) {
        url += 7;
        len -= 7;

    } else if (!bare || memmem(url, len, "://", 3) != NULL) {

        if (memmem(url, len, "://", 3) != NULL) {
            *why = "only proxies of the scheme \"http\" are supported";
        }

        return TN_MALFORMED;
    }

    /* a path of no meaning, as many write it */

    if (len > 0 && url[len - 1] == '/') {
        len--;
    }

    for (i = 0; i < len; i++) {
        if ((unsigned char) url[i] <= 0x20 || (unsigned char) url[i] > 0x7e
            || strchr("/?#\\\"", url[i]) != NULL)
        {
            return TN_MALFORMED;
        }
    }

    /* the last one: passwords are not always written as they should be */

    at = memrchr(url, '@', len);
    p = at != NULL ? at + 1 : url;

    if (tn_proxy_authority(proxy, p, len - (size_t) (p - url)) != TN_OK) {
        return TN_MALFORMED;
    }

    if (at == NULL) {
        return TN_OK;
    }

    if (tn_proxy_credentials(proxy, url, (size_t) (at - url)) != TN_OK) {
        *why = "its user and password are too long, or hold a wrong %xx";
        memset(proxy, 0, sizeof(tn_proxy_t));
        return TN_MALFORMED;
    }

    return TN_OK;
}


/* RFC 7617: user and password, either may be empty */
static tn_rc_t
tn_proxy_credentials(tn_proxy_t *proxy, const char *text, size_t len)
{
    char         plain[TN_PROXY_URL];
    size_t       n, user;
    tn_rc_t      rc;
    const char  *colon;

    rc = TN_MALFORMED;

    if (len + 2 > sizeof(plain)) {
        return rc;
    }

    colon = memchr(text, ':', len);
    user = colon != NULL ? (size_t) (colon - text) : len;

    if (tn_proxy_decode(plain, text, user) != TN_OK) {
        goto done;
    }

    /* a user with a colon would be another user */

    if (strchr(plain, ':') != NULL) {
        goto done;
    }

    n = strlen(plain);
    plain[n++] = ':';
    plain[n] = '\0';

    if (colon != NULL
        && tn_proxy_decode(plain + n, colon + 1, len - user - 1) != TN_OK)
    {
        goto done;
    }

    n = strlen(plain);

    if (sodium_base64_encoded_len(n, sodium_base64_VARIANT_ORIGINAL)
        > sizeof(proxy->auth))
    {
        goto done;
    }

    sodium_bin2base64(proxy->auth, sizeof(proxy->auth),
                      (const unsigned char *) plain, n,
                      sodium_base64_VARIANT_ORIGINAL);
    rc = TN_OK;

done:

    tn_wipe(plain, sizeof(plain));

    return rc;
}


static tn_rc_t
tn_proxy_decode(char *to, const char *text, size_t len)
{
    size_t         i;
    unsigned char  byte;

    for (i = 0; i < len; i++) {

        byte = (unsigned char) text[i];

        if (byte == '%') {

            if (len - i < 3
                || sodium_hex2bin(&byte, 1, text + i + 1, 2, NULL, NULL, NULL)
                   != 0
                || byte < 0x20 || byte == 0x7f)
            {
                *to = '\0';
                return TN_MALFORMED;
            }

            i += 2;
        }

        *to++ = (char) byte;
    }

    *to = '\0';

    return TN_OK;
}


static tn_rc_t
tn_proxy_authority(tn_proxy_t *proxy, const char *text, size_t len)
{
    size_t       i, n;
    tn_ip_t      ip;
    const char  *end, *host;

    proxy->port = 80;

    if (len > 0 && text[0] == '[') {
        end = memchr(text, ']', len);

        if (end == NULL
            || tn_ip_parse(&ip, text + 1, (size_t) (end - text) - 1) != TN_OK)
        {
            return TN_MALFORMED;
        }

        host = text + 1;
        n = (size_t) (end - text) - 1;
        end++;

    } else {
        host = text;
        end = memchr(text, ':', len);
        end = end != NULL ? end : text + len;
        n = (size_t) (end - text);

        for (i = 0; i < n; i++) {
            if (strchr("[]@%,;", host[i]) != NULL) {
                return TN_MALFORMED;
            }
        }
    }

    if (n == 0 || n >= TN_PROXY_HOST) {
        return TN_MALFORMED;
    }

    memcpy(proxy->host, host, n);
    proxy->host[n] = '\0';

    len -= (size_t) (end - text);

    if (len == 0) {
        return TN_OK;
    }

    return end[0] == ':' ? tn_proxy_port(end + 1, len - 1, &proxy->port)
                         : TN_MALFORMED;
}


static tn_rc_t
tn_proxy_port(const char *text, size_t len, uint16_t *port)
{
    size_t    i;
    uint32_t  n;

    n = 0;

    if (len == 0 || len > 5) {
        return TN_MALFORMED;
    }

    for (i = 0; i < len; i++) {
        if (text[i] < '0' || text[i] > '9') {
            return TN_MALFORMED;
        }

        n = n * 10 + (uint32_t) (text[i] - '0');
    }

    *port = (uint16_t) n;

    return n >= 1 && n <= 65535 ? TN_OK : TN_MALFORMED;
}


tn_proxies_t *
tn_proxies_create(const char *conf, tn_log_t *log)
{
    const char    *why, *list;
    tn_proxies_t  *proxies;

    proxies = calloc(1, sizeof(tn_proxies_t));

    if (proxies == NULL) {
        return NULL;
    }

    if (strcmp(conf, "off") == 0) {
        return proxies;
    }

    if (conf[0] != '\0') {
        proxies->by_order = true;

        if (tn_proxy_parse(&proxies->https, conf, strlen(conf), false, &why)
            != TN_OK)
        {
            tn_log(log, TN_LOG_ERR, "invalid proxy, %s", why);
            return proxies;
        }

        proxies->http = proxies->https;

        return proxies;
    }

    tn_proxies_environment(&proxies->https, "HTTPS_PROXY", "https_proxy",
                           log);
    tn_proxies_environment(&proxies->http, "HTTP_PROXY", "http_proxy", log);

    list = tn_proxies_getenv("NO_PROXY", "no_proxy");

    if (list != NULL) {
        proxies->no_proxy = strdup(list);

        if (proxies->no_proxy == NULL) {
            tn_proxies_free(proxies);
            return NULL;
        }
    }

    return proxies;
}


void
tn_proxies_free(tn_proxies_t *proxies)
{
    if (proxies == NULL) {
        return;
    }

    free(proxies->no_proxy);
    tn_wipe(proxies, sizeof(tn_proxies_t));
    free(proxies);
}


static void
tn_proxies_environment(tn_proxy_t *proxy, const char *name,
    const char *small, tn_log_t *log)
{
    const char  *url, *why;

    url = tn_proxies_getenv(name, small);

    if (url == NULL) {
        return;
    }

    if (tn_proxy_parse(proxy, url, strlen(url), true, &why) != TN_OK) {
        memset(proxy, 0, sizeof(tn_proxy_t));
        tn_log(log, TN_LOG_WARN, "%s of the environment is not used: %s",
               name, why);
        return;
    }

    tn_log(log, TN_LOG_INFO, "%s of the environment: proxy %s port %u%s",
           name, proxy->host, proxy->port,
           proxy->auth[0] ? " with a password" : "");
}


static const char *
tn_proxies_getenv(const char *name, const char *small)
{
    const char  *value;

    value = getenv(small);

    if (value == NULL || value[0] == '\0') {
        value = getenv(name);
    }

    return value != NULL && value[0] != '\0' ? value : NULL;
}


const tn_proxy_t *
tn_proxies_choose(const tn_proxies_t *proxies, bool tls, const char *host,
    uint16_t port)
{
    tn_ip_t            ip;
    const tn_proxy_t  *proxy;

    if (proxies == NULL) {
        return NULL;
    }

    proxy = tls ? &proxies->https : &proxies->http;

    if (proxy->host[0] == '\0') {
        return NULL;
    }

    if (proxies->by_order) {
        return proxy;
    }

    if (strcasecmp(host, "localhost") == 0
        || (tn_ip_parse(&ip, host, strlen(host)) == TN_OK
            && tn_ip_is_loopback(&ip))
        || (proxies->no_proxy != NULL
            && tn_proxies_is_exempt(proxies->no_proxy, host, port)))
    {
        return NULL;
    }

    return proxy;
}


static bool
tn_proxies_is_exempt(const char *list, const char *host, uint16_t port)
{
    size_t    n;
    tn_ip_t   ip;
    tn_ip_t  *is_ip;

    is_ip = tn_ip_parse(&ip, host, strlen(host)) == TN_OK ? &ip : NULL;

    for ( ;; ) {
        list += strspn(list, ", \t");
        n = strcspn(list, ", \t");

        if (n == 0) {
            return false;
        }

        if (tn_proxies_matches(list, n, host, is_ip, port)) {
            return true;
        }

        list += n;
    }
}


/* ip: that of the host when it is one, else NULL */
static bool
tn_proxies_matches(const char *entry, size_t len, const char *host,
    const tn_ip_t *ip, uint16_t port)
{
    bool         below;
    size_t       n;
    tn_ip_t      at;
    uint16_t     only, bits;
    tn_prefix_t  prefix;
    const char  *p;

    if (len == 1 && entry[0] == '*') {
        return true;
    }

    p = memchr(entry, '/', len);

    if (p != NULL) {
        n = len - (size_t) (p - entry) - 1;
        bits = 0;

        if (ip == NULL
            || tn_ip_parse(&prefix.ip, entry, (size_t) (p - entry)) != TN_OK
            || (tn_proxy_port(p + 1, n, &bits) != TN_OK
                && !(n == 1 && p[1] == '0')))
        {
            return false;
        }

        prefix.v4 = tn_ip_is_v4(&prefix.ip);
        prefix.bits = (uint8_t) bits;

        return bits <= (prefix.v4 ? 32 : 128)
               && tn_prefix_contains(&prefix, ip);
    }

    if (tn_ip_parse(&at, entry, len) == TN_OK) {
        return ip != NULL && tn_ip_equal(&at, ip);
    }

    p = memrchr(entry, ':', len);

    if (p != NULL) {

        if (tn_proxy_port(p + 1, len - (size_t) (p - entry) - 1, &only)
            != TN_OK
            || only != port)
        {
            return false;
        }

        len = (size_t) (p - entry);

        if (len > 2 && entry[0] == '[' && entry[len - 1] == ']') {
            entry++;
            len -= 2;
        }

        if (tn_ip_parse(&at, entry, len) == TN_OK) {
            return ip != NULL && tn_ip_equal(&at, ip);
        }
    }

    below = false;

    if (len > 1 && entry[0] == '*' && entry[1] == '.') {
        entry++;
        len--;
    }

    if (len > 0 && entry[0] == '.') {
        below = true;
        entry++;
        len--;
    }

    n = strlen(host);

    if (n > 0 && host[n - 1] == '.') {
        n--;
    }

    if (ip != NULL || len == 0 || n < len
        || strncasecmp(host + n - len, entry, len) != 0)
    {
        return false;
    }

    return n == len ? !below : host[n - len - 1] == '.';
}


tn_proxy_talk_t *
tn_proxy_talk_create(const tn_proxy_t *proxy, const char *host,
    uint16_t port)
{
    int               n;
    char              to[TN_PROXY_HOST + 16];
    bool              v6;
    tn_proxy_talk_t  *talk;

    talk = calloc(1, sizeof(tn_proxy_talk_t));

    if (talk == NULL) {
        return NULL;
    }

    v6 = strchr(host, ':') != NULL;
    talk->auth = proxy->auth[0] != '\0';

    (void) snprintf(talk->at, sizeof(talk->at), "%s:%u", proxy->host,
                    proxy->port);
    (void) snprintf(to, sizeof(to), "%s%.255s%s:%u", v6 ? "[" : "", host,
                    v6 ? "]" : "", port);

    n = snprintf(talk->out, sizeof(talk->out),
                 "CONNECT %s HTTP/1.1\r\n"
                 "Host: %s\r\n"
                 "User-Agent: ngx_tailnet\r\n"
                 "%s%s%s"
                 "\r\n",
                 to, to, talk->auth ? "Proxy-Authorization: Basic " : "",
                 proxy->auth, talk->auth ? "\r\n" : "");

    talk->out_len = (size_t) n;

    return talk;
}


void
tn_proxy_talk_free(tn_proxy_talk_t *talk)
{
    if (talk == NULL) {
        return;
    }

    tn_wipe(talk, sizeof(tn_proxy_talk_t));
    free(talk);
}


tn_rc_t
tn_proxy_talk_step(tn_proxy_talk_t *talk, int fd, bool *write, char *text)
{
    tn_rc_t  rc;

    *write = false;

    if (talk->sent < talk->out_len) {
        rc = tn_proxy_talk_write(talk, fd, text);

        if (rc != TN_OK) {
            *write = rc == TN_AGAIN;
            return rc;
        }
    }

    return tn_proxy_talk_read(talk, fd, text);
}


static tn_rc_t
tn_proxy_talk_write(tn_proxy_talk_t *talk, int fd, char *text)
{
    ssize_t  n;

    while (talk->sent < talk->out_len) {
        n = send(fd, talk->out + talk->sent, talk->out_len - talk->sent,
                 MSG_NOSIGNAL);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1) {
            if (errno == EAGAIN) {
                return TN_AGAIN;
            }

            (void) snprintf(text, TN_PROXY_TEXT, "writing to proxy %.120s: %s",
                            talk->at, strerror(errno));
            return TN_CLOSED;
        }

        talk->sent += (size_t) n;
    }

    tn_wipe(talk->out, sizeof(talk->out));

    return TN_OK;
}


static tn_rc_t
tn_proxy_talk_read(tn_proxy_talk_t *talk, int fd, char *text)
{
    char         reason[TN_PROXY_TEXT];
    ssize_t      n;
    tn_rc_t      rc;
    unsigned     status;
    const char  *hint;

    for ( ;; ) {
        n = recv(fd, talk->in + talk->in_len, sizeof(talk->in) - talk->in_len,
                 0);

        if (n == -1 && errno == EINTR) {
            continue;
        }

        if (n == -1 && errno == EAGAIN) {
            return TN_AGAIN;
        }

        if (n <= 0) {
            (void) snprintf(text, TN_PROXY_TEXT, "proxy %.120s %s%s", talk->at,
                            n == 0 ? "closed the connection" : "failed: ",
                            n == 0 ? "" : strerror(errno));
            return TN_CLOSED;
        }

        talk->in_len += (size_t) n;

        rc = tn_proxy_answer(talk->in, talk->in_len, &status, reason);

        if (rc != TN_AGAIN) {
            break;
        }
    }

    if (rc == TN_REFUSED) {
        hint = "";

        /* tinyproxy has the wrong one of the two */

        if (status == 407 || status == 401) {
            hint = talk->auth ? ": its user or password is wrong"
                              : ": it wants a user and a password";
        }

        (void) snprintf(text, TN_PROXY_TEXT, "proxy %.80s refused: %u %.80s%s",
                        talk->at, status, reason, hint);

    } else if (rc == TN_MALFORMED) {
        (void) snprintf(text, TN_PROXY_TEXT,
                        "proxy %.80s gave an answer that is not HTTP's",
                        talk->at);
    }

    return rc;
}


tn_rc_t
tn_proxy_answer(const char *bytes, size_t len, unsigned *status,
    char *reason)
{
    size_t       n;
    const char  *end, *line;

    *status = 0;
    reason[0] = '\0';

    end = memmem(bytes, len, "\r\n\r\n", 4);
    n = tn_min(len, (size_t) 7);

    if (memcmp(bytes, "HTTP/1.", n) != 0) {
        return TN_MALFORMED;
    }

    if (end == NULL) {
        return len < TN_PROXY_ANSWER ? TN_AGAIN : TN_MALFORMED;
    }

    end += 4;
    line = memchr(bytes, '\r', len);
    n = (size_t) (line - bytes);

    if (n < 12 || bytes[8] != ' ' || strspn(bytes + 9, "0123456789") != 3
        || (n > 12 && bytes[12] != ' '))
    {
        return TN_MALFORMED;
    }

    *status = (unsigned) (bytes[9] - '0') * 100
              + (unsigned) (bytes[10] - '0') * 10
              + (unsigned) (bytes[11] - '0');

    if (n > 13) {
        n = tn_min(n - 13, (size_t) TN_PROXY_TEXT - 1);
        memcpy(reason, bytes + 13, n);
        reason[n] = '\0';
    }

    if (*status < 200 || *status > 299) {
        return TN_REFUSED;
    }

    return end == bytes + len ? TN_OK : TN_MALFORMED;
}
