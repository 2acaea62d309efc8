
/*
 * Copyright (C) the ngx_tailnet authors
 */

#include "wire/tn_peerapi.h"

#include <ctype.h>
#include <strings.h>


#define TN_PEERAPI_DNS_TYPE  "application/dns-message"


typedef struct {
    const char  *name;
    size_t       at;                    /* in the request */
} tn_peerapi_field_t;


static bool tn_peerapi_line(tn_peerapi_request_t *request, const char *line,
    size_t len);
static bool tn_peerapi_field(tn_peerapi_request_t *request, const char *line,
    size_t len, unsigned *seen);
static bool tn_peerapi_length(tn_peerapi_request_t *request,
    const char *value, size_t len);
static bool tn_peerapi_is_token(const char *text, size_t len);
static bool tn_peerapi_is_text(const char *text, size_t len);


tn_rc_t
tn_peerapi_parse(tn_peerapi_request_t *request, const void *bytes, size_t len,
    size_t *head)
{
    unsigned     seen;
    size_t       fields;
    const char  *p, *end, *line, *last;

    memset(request, 0, sizeof(tn_peerapi_request_t));

    p = bytes;
    len = tn_min(len, (size_t) TN_PEERAPI_HEAD_MAX);
    end = len != 0 ? memmem(p, len, "\r\n\r\n", 4) : NULL;

    if (end == NULL) {
        return len == TN_PEERAPI_HEAD_MAX ? TN_MALFORMED : TN_AGAIN;
    }

    end += 2;
    *head = (size_t) (end + 2 - p);

    seen = 0;
    fields = 0;

    for (line = p; line < end; line = last + 2) {
        last = memmem(line, (size_t) (end - line), "\r\n", 2);

        if (line == p) {
            if (!tn_peerapi_line(request, line, (size_t) (last - line))) {
                return TN_MALFORMED;
            }

            continue;
        }

        if (++fields > TN_PEERAPI_FIELDS_MAX
            || !tn_peerapi_field(request, line, (size_t) (last - line),
                                 &seen))
        {
            return TN_MALFORMED;
        }
    }

    return TN_OK;
}


static bool
tn_peerapi_line(tn_peerapi_request_t *request, const char *line, size_t len)
{
    size_t       n;
    const char  *p, *space, *end;

    end = line + len;

    /* method SP request-target SP HTTP-version (RFC 9112, 3.) */

    space = memchr(line, ' ', len);

    if (space == NULL || space == line
        || (size_t) (space - line) >= sizeof(request->method)
        || !tn_peerapi_is_token(line, (size_t) (space - line)))
    {
        return false;
    }

    memcpy(request->method, line, (size_t) (space - line));

    p = space + 1;
    space = memchr(p, ' ', (size_t) (end - p));

    if (space == NULL
        || end - space != 9
        || memcmp(space + 1, "HTTP/1.", 7) != 0
        || (end[-1] != '1' && end[-1] != '0')
        || *p != '/'
        || !tn_peerapi_is_text(p, (size_t) (space - p)))
    {
        return false;
    }

    n = strcspn(p, "? ");

    if (n >= sizeof(request->path)) {
        return false;
    }

    memcpy(request->path, p, n);

    if (p[n] == '?') {
        request->query = (size_t) (p + n + 1 - line);
        request->query_len = (size_t) (space - p) - n - 1;
    }

    return true;
}


/* bits of `seen`: a second one of these makes the first a lie */

static bool
tn_peerapi_field(tn_peerapi_request_t *request, const char *line, size_t len,
    unsigned *seen)
{
    char        *to;
    size_t       i, n;
    const char  *colon, *value, *end;

    static const tn_peerapi_field_t  kept[] = {
        { "host", offsetof(tn_peerapi_request_t, host) },
        { "tailscale-ingress-src",
          offsetof(tn_peerapi_request_t, ingress_src) },
        { "tailscale-ingress-target",
          offsetof(tn_peerapi_request_t, ingress_target) }
    };

    colon = memchr(line, ':', len);

    /* also refuses a line that continues the one before (RFC 9112, 5.2.) */

    if (colon == NULL || colon == line
        || !tn_peerapi_is_token(line, (size_t) (colon - line)))
    {
        return false;
    }

    n = (size_t) (colon - line);
    end = line + len;
    value = colon + 1;

    while (value < end && (*value == ' ' || *value == '\t')) {
        value++;
    }

    while (end > value && (end[-1] == ' ' || end[-1] == '\t')) {
        end--;
    }

    len = (size_t) (end - value);

    if (!tn_peerapi_is_text(value, len)) {
        return false;
    }

    for (i = 0; i < tn_nelems(kept); i++) {

        if (strlen(kept[i].name) == n
            && strncasecmp(line, kept[i].name, n) == 0)
        {
            if ((*seen & 1u << i) != 0 || len >= TN_PEERAPI_TEXT) {
                return false;
            }

            *seen |= 1u << i;

            to = (char *) request + kept[i].at;
            memcpy(to, value, len);
            to[len] = '\0';

            return true;
        }
    }

    if (n == 6 && strncasecmp(line, "origin", 6) == 0) {
        request->origin |= len != 0;

    } else if (n == 7 && strncasecmp(line, "referer", 7) == 0) {
        request->referer |= len != 0;

    } else if (n == 17 && strncasecmp(line, "transfer-encoding", 17) == 0) {
        request->body = true;

    } else if (n == 14 && strncasecmp(line, "content-length", 14) == 0) {
        request->body |= len != 1 || *value != '0';

        /* two of them make each a lie (RFC 9112, 6.3.) */

        return tn_peerapi_length(request, value, len) && !(*seen & 1u << 30)
               && (*seen |= 1u << 30) != 0;

    } else if (n == 12 && strncasecmp(line, "content-type", 12) == 0) {
        request->dns_message = len == sizeof(TN_PEERAPI_DNS_TYPE) - 1
                               && strncasecmp(value, TN_PEERAPI_DNS_TYPE, len)
                                  == 0;
    }

    return true;
}


static bool
tn_peerapi_length(tn_peerapi_request_t *request, const char *value,
    size_t len)
{
    size_t  i;

    if (len == 0 || len > 18) {
        return false;
    }

    request->body_len = 0;

    for (i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9') {
            return false;
        }

        request->body_len = request->body_len * 10 + (size_t) (value[i] - '0');
    }

    /* one that is longer is nothing that is read here */

    request->body_len = tn_min(request->body_len,
                               (size_t) TN_PEERAPI_BODY_MAX + 1);

    return true;
}


size_t
tn_peerapi_dns(const char *query, size_t len, uint8_t *buf, size_t size)
{
    size_t       n, k;
    uint32_t     bits;
    unsigned     have;
    const char  *p, *end, *at;

    static const char  alphabet[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

    for (p = query; p < query + len; p = end + 1) {
        end = memchr(p, '&', (size_t) (query + len - p));
        end = end != NULL ? end : query + len;

        if (end - p < 4 || memcmp(p, "dns=", 4) != 0) {
            continue;
        }

        n = 0;
        bits = 0;
        have = 0;

        for (p += 4; p < end; p++) {
            at = *p != '\0' ? strchr(alphabet, *p) : NULL;

            if (at == NULL) {
                return 0;
            }

            k = (size_t) (at - alphabet);
            bits = bits << 6 | (uint32_t) k;
            have += 6;

            if (have >= 8) {
                have -= 8;

                if (n == size) {
                    return 0;
                }

                buf[n++] = (uint8_t) (bits >> have);
            }
        }

        return n;
    }

    return 0;
}


static bool
tn_peerapi_is_token(const char *text, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if (!isalnum((unsigned char) text[i])
            && (text[i] == '\0' || strchr("!#$%&'*+-.^_`|~", text[i]) == NULL))
        {
            return false;
        }
    }

    return true;
}


static bool
tn_peerapi_is_text(const char *text, size_t len)
{
    size_t  i;

    for (i = 0; i < len; i++) {
        if (((unsigned char) text[i] < ' ' && text[i] != '\t')
            || text[i] == 0x7f)
        {
            return false;
        }
    }

    return true;
}


const char *
tn_peerapi_check(const tn_peerapi_request_t *request, const tn_ip_t *ips,
    size_t n)
{
    size_t     i;
    tn_addr_t  host;

    if (request->referer) {
        return "it has a Referer";
    }

    if (request->origin) {
        return "it has an Origin";
    }

    if (strcmp(request->host, "peer") == 0) {
        return NULL;
    }

    if (tn_addr_parse(&host, request->host, strlen(request->host)) != TN_OK) {
        return "its Host is no address and port";
    }

    for (i = 0; i < n; i++) {
        if (tn_ip_equal(&ips[i], &host.ip)) {
            return NULL;
        }
    }

    return "its Host is another's address";
}


const char *
tn_peerapi_ingress(const tn_peerapi_request_t *request, tn_addr_t *src,
    char *name, uint16_t *port)
{
    size_t       i, len;
    uint32_t     n;
    const char  *colon;

    if (request->ingress_src[0] == '\0') {
        return "Tailscale-Ingress-Src header not set";
    }

    if (tn_addr_parse(src, request->ingress_src, strlen(request->ingress_src))
        != TN_OK)
    {
        return "Tailscale-Ingress-Src header invalid; want ip:port";
    }

    if (request->ingress_target[0] == '\0') {
        return "Tailscale-Ingress-Target header not set";
    }

    colon = strrchr(request->ingress_target, ':');
    len = colon != NULL ? (size_t) (colon - request->ingress_target) : 0;

    if (len == 0
        || strspn(colon + 1, "0123456789") != strlen(colon + 1)
        || strlen(colon + 1) < 1 || strlen(colon + 1) > 5)
    {
        return "Tailscale-Ingress-Target header invalid; want host:port";
    }

    for (i = 0; i < len; i++) {
        name[i] = (char) tolower((unsigned char) request->ingress_target[i]);
    }

    name[len] = '\0';

    n = 0;

    for (i = 1; colon[i] != '\0'; i++) {
        n = n * 10 + (uint32_t) (colon[i] - '0');
    }

    if (n == 0 || n > 65535) {
        return "Tailscale-Ingress-Target header invalid; want host:port";
    }

    *port = (uint16_t) n;

    return NULL;
}


/*
 * As upstream chooses it, so that a node keeps its port when it changes
 * programs: from a CRC-32 of the last three bytes of the address.
 */

uint16_t
tn_peerapi_port(const tn_ip_t *ip, unsigned try)
{
    int       bit;
    size_t    i;
    uint8_t   bytes[3];
    uint32_t  crc;

    memcpy(bytes, ip->b + sizeof(ip->b) - 3, 3);
    bytes[0] = (uint8_t) (bytes[0] + try);

    crc = UINT32_MAX;

    for (i = 0; i < sizeof(bytes); i++) {
        crc ^= bytes[i];

        for (bit = 0; bit < 8; bit++) {
            crc = crc >> 1 ^ (crc & 1 ? 0xedb88320 : 0);
        }
    }

    return (uint16_t) (0x8000 | (~crc & 0xffff));
}
