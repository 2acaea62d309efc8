
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * One response (RFC 9112): status line, headers, and a body by
 * Content-Length, by chunks, or until the connection closes.  Interim 1xx
 * responses are skipped, 101 ends the reading at its empty line.
 */

#include "control/tn_http1.h"

#include "base/tn_addr.h"

#include <ctype.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>


#define TN_HTTP1_CHUNK_LINE_MAX  256
#define TN_HTTP1_RETRY_MAX_S     3600


static tn_rc_t tn_http1_head(tn_http1_t *http);
static tn_rc_t tn_http1_header(tn_http1_t *http, char *name, char *value,
    bool *chunked, bool *length);
static tn_rc_t tn_http1_body(tn_http1_t *http, const uint8_t **pos,
    size_t *left);
static tn_rc_t tn_http1_chunk_byte(tn_http1_t *http, uint8_t c);
static bool tn_url_host_good(const char *host, bool v6);


tn_rc_t
tn_url_parse(tn_url_t *url, const char *text, const char **err)
{
    bool         v6;
    char        *end;
    long         port;
    size_t       len;
    const char  *p, *host, *stop;

    memset(url, 0, sizeof(tn_url_t));

    if (strncasecmp(text, "https://", 8) == 0) {
        url->tls = true;
        p = text + 8;

    } else if (strncasecmp(text, "http://", 7) == 0) {
        p = text + 7;

    } else {
        *err = "it must begin with https:// or http://";
        return TN_MALFORMED;
    }

    v6 = *p == '[';
    host = v6 ? p + 1 : p;
    len = strcspn(host, v6 ? "]/?#" : ":/?#");

    if (len == 0 || len > TN_URL_HOST_MAX || (v6 && host[len] != ']')) {
        *err = "it has no good host name";
        return TN_MALFORMED;
    }

    memcpy(url->host, host, len);

    if (!tn_url_host_good(url->host, v6)) {
        *err = "it has no good host name";
        return TN_MALFORMED;
    }

    p = host + len + v6;
    url->port = url->tls ? 443 : 80;

    if (*p == ':') {
        if (!isdigit((unsigned char) p[1])) {
            *err = "it has no good port";
            return TN_MALFORMED;
        }

        port = strtol(p + 1, &end, 10);

        if (port < 1 || port > 65535) {
            *err = "it has no good port";
            return TN_MALFORMED;
        }

        url->port = (uint16_t) port;
        url->port_given = true;
        p = end;
    }

    if (*p != '\0' && *p != '/' && *p != '?' && *p != '#') {
        *err = "it has no good host name and port";
        return TN_MALFORMED;
    }

    stop = p + strcspn(p, "#");
    len = (size_t) (stop - p);

    if (len + 1 > TN_URL_PATH_MAX) {
        *err = "it is too long";
        return TN_MALFORMED;
    }

    if (*p == '?') {
        url->path[0] = '/';
    }

    strncat(url->path, p, len);

    for (p = url->path; *p; p++) {
        if ((unsigned char) *p <= 0x20 || (unsigned char) *p > 0x7e) {
            *err = "it has a blank or a control character";
            return TN_MALFORMED;
        }
    }

    return TN_OK;
}


char *
tn_url_authority(const tn_url_t *url, char *buf)
{
    bool  v6;
    char  port[8];

    v6 = strchr(url->host, ':') != NULL;
    port[0] = '\0';

    if (url->port_given && url->port != (url->tls ? 443 : 80)) {
        snprintf(port, sizeof(port), ":%u", url->port);
    }

    snprintf(buf, TN_URL_HOST_MAX + 16, "%s%s%s%s", v6 ? "[" : "", url->host,
             v6 ? "]" : "", port);

    return buf;
}


void
tn_http1_init(tn_http1_t *http, bool head_only)
{
    memset(http, 0, sizeof(tn_http1_t));
    http->head_only = head_only;
}


void
tn_http1_done(tn_http1_t *http)
{
    if (http->body != NULL) {
        tn_wipe(http->body, http->body_len);    /* an API's answer is a key */
        free(http->body);
        http->body = NULL;
    }
}


tn_rc_t
tn_http1_read(tn_http1_t *http, const uint8_t **pos, size_t *left)
{
    char     c;
    tn_rc_t  rc;

    while (http->state == TN_HTTP1_HEAD) {

        if (*left == 0) {
            return TN_AGAIN;
        }

        if (http->head_len == TN_HTTP1_HEAD_MAX) {
            return TN_MALFORMED;
        }

        c = (char) *(*pos)++;
        (*left)--;

        if (c == '\0') {
            return TN_MALFORMED;
        }

        http->head[http->head_len++] = c;

        /* anything that does not begin like HTTP is not read on */

        if (http->head_len <= 5
            && memcmp(http->head, "HTTP/", http->head_len) != 0)
        {
            return TN_MALFORMED;
        }

        if (c != '\n' || http->head_len < 4
            || memcmp(http->head + http->head_len - 4, "\r\n\r\n", 4) != 0)
        {
            continue;
        }

        rc = tn_http1_head(http);
        if (rc != TN_OK) {
            return rc;
        }
    }

    return tn_http1_body(http, pos, left);
}


tn_rc_t
tn_http1_eof(tn_http1_t *http)
{
    if (http->state == TN_HTTP1_EOF) {
        http->state = TN_HTTP1_DONE;
    }

    return http->state == TN_HTTP1_DONE ? TN_OK : TN_MALFORMED;
}


uint64_t
tn_http1_retry_after_ms(const char *value, int64_t wall)
{
    char       *end;
    int64_t     seconds;
    struct tm   tm;

    seconds = strtoll(value, &end, 10);

    if (*value == '\0' || *end != '\0') {
        memset(&tm, 0, sizeof(tm));

        end = strptime(value, "%a, %d %b %Y %H:%M:%S GMT", &tm);
        if (end == NULL || *end != '\0') {
            return 0;
        }

        seconds = timegm(&tm) - wall;
    }

    if (seconds <= 0 || seconds > TN_HTTP1_RETRY_MAX_S) {
        return 0;
    }

    return (uint64_t) seconds * 1000;
}


static tn_rc_t
tn_http1_head(tn_http1_t *http)
{
    bool      chunked, length;
    char     *line, *next, *value;
    tn_rc_t   rc;

    http->head[http->head_len] = '\0';
    chunked = false;
    length = false;

    line = http->head;
    next = strstr(line, "\r\n");
    *next = '\0';
    next += 2;

    if (strncmp(line, "HTTP/1.", 7) != 0 || strlen(line) < 12
        || line[8] != ' ' || !isdigit((unsigned char) line[9])
        || !isdigit((unsigned char) line[10])
        || !isdigit((unsigned char) line[11])
        || (line[12] != ' ' && line[12] != '\0'))
    {
        return TN_MALFORMED;
    }

    http->status = (int) strtol(line + 9, NULL, 10);

    for (line = next; *line != '\r'; line = next) {
        next = strstr(line, "\r\n");
        *next = '\0';
        next += 2;

        value = strchr(line, ':');

        /* RFC 9112, 5.1: no space before the colon, no folded lines */

        if (value == NULL || value == line || value[-1] == ' '
            || *line == ' ' || *line == '\t')
        {
            return TN_MALFORMED;
        }

        *value++ = '\0';

        rc = tn_http1_header(http, line, value, &chunked, &length);
        if (rc != TN_OK) {
            return rc;
        }
    }

    if (http->status / 100 == 1 && http->status != 101) {
        tn_http1_init(http, http->head_only);
        return TN_OK;
    }

    if (http->head_only || http->status == 101 || http->status == 204
        || http->status == 304)
    {
        http->state = TN_HTTP1_DONE;

    } else if (chunked) {
        http->state = TN_HTTP1_CHUNK_SIZE;
        http->left = 0;

    } else if (length) {
        http->state = http->left ? TN_HTTP1_LENGTH : TN_HTTP1_DONE;

    } else {
        http->state = TN_HTTP1_EOF;
    }

    return TN_OK;
}


static tn_rc_t
tn_http1_header(tn_http1_t *http, char *name, char *value, bool *chunked,
    bool *length)
{
    char    *end;
    size_t   len;

    value += strspn(value, " \t");
    len = strlen(value);

    while (len != 0 && (value[len - 1] == ' ' || value[len - 1] == '\t')) {
        value[--len] = '\0';
    }

    if (strcasecmp(name, "Content-Length") == 0) {

        if (*length || !isdigit((unsigned char) *value)) {
            return TN_MALFORMED;
        }

        http->left = strtoull(value, &end, 10);

        if (*end != '\0' || http->left > TN_HTTP1_BODY_MAX) {
            return TN_MALFORMED;
        }

        *length = true;

    } else if (strcasecmp(name, "Transfer-Encoding") == 0) {

        if (strcasecmp(value, "chunked") != 0) {
            return TN_MALFORMED;
        }

        *chunked = true;

    } else if (strcasecmp(name, "Upgrade") == 0) {
        snprintf(http->upgrade, sizeof(http->upgrade), "%s", value);

    } else if (strcasecmp(name, "Retry-After") == 0) {
        snprintf(http->retry_after, sizeof(http->retry_after), "%s", value);
    }

    return TN_OK;
}


static tn_rc_t
tn_http1_body(tn_http1_t *http, const uint8_t **pos, size_t *left)
{
    char     *body;
    size_t    n;
    tn_rc_t   rc;

    while (http->state != TN_HTTP1_DONE) {

        if (*left == 0) {
            return TN_AGAIN;
        }

        if (http->state != TN_HTTP1_LENGTH && http->state != TN_HTTP1_EOF
            && http->state != TN_HTTP1_CHUNK)
        {
            rc = tn_http1_chunk_byte(http, *(*pos)++);
            (*left)--;

            if (rc != TN_OK) {
                return rc;
            }

            continue;
        }

        n = *left;

        if (http->state != TN_HTTP1_EOF) {
            n = (size_t) tn_min((uint64_t) n, http->left);
        }

        if (http->body_len + n > TN_HTTP1_BODY_MAX) {
            return TN_MALFORMED;
        }

        if (http->body == NULL) {
            http->body = malloc(TN_HTTP1_BODY_MAX + 1);
            if (http->body == NULL) {
                return TN_NOMEM;
            }
        }

        body = http->body + http->body_len;
        memcpy(body, *pos, n);
        body[n] = '\0';

        http->body_len += n;
        *pos += n;
        *left -= n;

        if (http->state == TN_HTTP1_EOF) {
            continue;
        }

        http->left -= n;

        if (http->left == 0) {
            http->state = http->state == TN_HTTP1_LENGTH
                          ? TN_HTTP1_DONE : TN_HTTP1_CHUNK_END;
            http->line_len = 0;
        }
    }

    return TN_OK;
}


/* what stands between the data of chunks (RFC 9112, 7.1) */
static tn_rc_t
tn_http1_chunk_byte(tn_http1_t *http, uint8_t c)
{
    int  digit;

    if (http->line_len++ == TN_HTTP1_CHUNK_LINE_MAX) {
        return TN_MALFORMED;
    }

    switch (http->state) {

    case TN_HTTP1_CHUNK_SIZE:

        if (c == '\n') {
            if (!http->digits) {
                return TN_MALFORMED;
            }

            http->line_len = 0;
            http->state = http->left ? TN_HTTP1_CHUNK : TN_HTTP1_TRAILER;
            http->digits = false;
            http->extension = false;

            return TN_OK;
        }

        if (c == '\r' || http->extension) {
            return TN_OK;
        }

        if (c == ';' || c == ' ') {
            http->extension = true;
            return TN_OK;
        }

        if (!isxdigit(c)) {
            return TN_MALFORMED;
        }

        digit = isdigit(c) ? c - '0' : tolower(c) - 'a' + 10;
        http->left = http->left * 16 + (unsigned) digit;
        http->digits = true;

        return http->left > TN_HTTP1_BODY_MAX ? TN_MALFORMED : TN_OK;

    case TN_HTTP1_CHUNK_END:

        if (c == '\n') {
            http->line_len = 0;
            http->left = 0;
            http->state = TN_HTTP1_CHUNK_SIZE;
            return TN_OK;
        }

        return c == '\r' ? TN_OK : TN_MALFORMED;

    default: /* TN_HTTP1_TRAILER */

        if (c == '\n') {
            if (!http->extension) {
                http->state = TN_HTTP1_DONE;
            }

            http->line_len = 0;
            http->extension = false;

        } else if (c != '\r') {
            http->extension = true;
        }

        return TN_OK;
    }
}


static bool
tn_url_host_good(const char *host, bool v6)
{
    tn_ip_t      ip;
    const char  *p;

    if (v6) {
        return tn_ip_parse(&ip, host, strlen(host)) == TN_OK
               && !tn_ip_is_v4(&ip);
    }

    for (p = host; *p; p++) {
        if (!isalnum((unsigned char) *p) && *p != '-' && *p != '.'
            && *p != '_')
        {
            return false;
        }
    }

    return true;
}
