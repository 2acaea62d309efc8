
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Heads of PeerAPI requests: what is read, what is refused, and where nodes
 * listen.
 */

#include "tap.h"
#include "wire/tn_peerapi.h"

#include <stdlib.h>


#define HOST  "Host: 100.64.0.2:40000\r\n"


static tn_rc_t
parse(tn_peerapi_request_t *request, const char *text)
{
    size_t  head;

    return tn_peerapi_parse(request, text, strlen(text), &head);
}


static const char *
check(const char *fields)
{
    char                  *text;
    tn_ip_t                ips[2];
    const char            *why;
    tn_peerapi_request_t   request;

    (void) tn_ip_parse(&ips[0], "100.64.0.2", 10);
    (void) tn_ip_parse(&ips[1], "fd7a:115c:a1e0::2", 17);

    if (asprintf(&text, "GET / HTTP/1.1\r\n%s\r\n", fields) == -1) {
        return "no memory";
    }

    why = parse(&request, text) == TN_OK ? tn_peerapi_check(&request, ips, 2)
                                         : "malformed";
    free(text);

    return why ? why : "";
}


static const char *
ingress(const char *fields, char *name, uint16_t *port, tn_addr_t *src)
{
    char                  *text;
    const char            *why;
    tn_peerapi_request_t   request;

    if (asprintf(&text, "POST /v0/ingress HTTP/1.1\r\n%s\r\n", fields) == -1) {
        return "no memory";
    }

    why = parse(&request, text) == TN_OK
          ? tn_peerapi_ingress(&request, src, name, port) : "malformed";
    free(text);

    return why ? why : "";
}


static void
test_dns(void)
{
    size_t                 len;
    uint8_t                buf[64];
    tn_peerapi_request_t   request;

    static const char  get[] =
        "GET /dns-query?a=b&dns=AAABAAABAAAAAAAAAWEAAAEAAQ HTTP/1.1\r\n"
        HOST "\r\n";
    static const uint8_t  query[] = {
        0, 0, 1, 0, 0, 1, 0, 0, 0, 0, 0, 0, 1, 'a', 0, 0, 1, 0, 1
    };

    is_int(parse(&request, get), TN_OK, "a question in a query");
    is_str(request.path, "/dns-query", "of this path");
    len = tn_peerapi_dns(get + request.query, request.query_len, buf,
                         sizeof(buf));
    ok(len == sizeof(query) && memcmp(buf, query, len) == 0, "is decoded");
    is_int(tn_peerapi_dns(get + request.query, request.query_len, buf, 18), 0,
           "not when it is too large");
    is_int(tn_peerapi_dns("dns=AA+A", 8, buf, sizeof(buf)), 0,
           "not in another alphabet");
    is_int(tn_peerapi_dns("xdns=AAAA", 9, buf, sizeof(buf)), 0,
           "not of another name");
    is_int(tn_peerapi_dns("dns=", 4, buf, sizeof(buf)), 0, "not an empty one");

    is_int(parse(&request, "POST /dns-query HTTP/1.1\r\n" HOST
                 "Content-Type: application/dns-message\r\n"
                 "Content-Length: 19\r\n\r\n"), TN_OK, "one in a body");
    is_int(request.body_len, 19, "of so many bytes");
    ok(request.dns_message && request.body && request.query_len == 0,
       "and of this type");

    is_int(parse(&request, "POST / HTTP/1.1\r\n" HOST
                 "Content-Length: 1\r\nContent-Length: 1\r\n\r\n"),
           TN_MALFORMED, "two lengths");
    is_int(parse(&request, "POST / HTTP/1.1\r\n" HOST
                 "Content-Length: 1x\r\n\r\n"), TN_MALFORMED, "no number");
    is_int(parse(&request, "POST / HTTP/1.1\r\n" HOST
                 "Content-Length: 999999999999999999\r\n\r\n"), TN_OK,
           "a large number");
    is_int(request.body_len, TN_PEERAPI_BODY_MAX + 1, "is too large");
}


int
main(void)
{
    char                   text[TN_PEERAPI_HEAD_MAX + 100], addr[TN_ADDR_TEXT];
    char                   name[TN_PEERAPI_TEXT];
    size_t                 i, head;
    tn_ip_t                ip;
    uint16_t               port;
    tn_addr_t              src;
    tn_peerapi_request_t   r;

    static const char  good[] = "POST /v0/ingress?x=1 HTTP/1.1\r\n"
                                "hOST:  peer\t\r\nX: y\r\n\r\nmore";

    static const struct {
        const char  *name;
        const char  *text;
    }  bad[] = {
        { "no target", "GET\r\n\r\n" },
        { "an absolute target", "GET http://x/ HTTP/1.1\r\n\r\n" },
        { "HTTP/2", "GET / HTTP/2.0\r\n\r\n" },
        { "HTTP/0.9", "GET /\r\n\r\n" },
        { "a space too much", "GET /  HTTP/1.1\r\n\r\n" },
        { "a method of other characters", "G T / HTTP/1.1\r\n\r\n" },
        { "a long method", "GETGETGETGETGETGET / HTTP/1.1\r\n\r\n" },
        { "a field without a colon", "GET / HTTP/1.1\r\nHost\r\n\r\n" },
        { "a field without a name", "GET / HTTP/1.1\r\n: x\r\n\r\n" },
        { "a space before the colon", "GET / HTTP/1.1\r\nHost : x\r\n\r\n" },
        { "a folded field", "GET / HTTP/1.1\r\nHost: x\r\n y\r\n\r\n" },
        { "a bare LF", "GET / HTTP/1.1\r\nHost: x\nY: z\r\n\r\n" },
        { "two hosts", "GET / HTTP/1.1\r\nHost: a\r\nHost: a\r\n\r\n" },
        { "two sources", "GET / HTTP/1.1\r\nTailscale-Ingress-Src: a\r\n"
                         "tailscale-ingress-src: b\r\n\r\n" }
    };

    is_int(tn_peerapi_parse(&r, good, sizeof(good) - 1, &head), TN_OK,
           "a request");
    is_int((long long) head, (long long) sizeof(good) - 5, "its head ends");
    is_str(r.method, "POST", "method");
    is_str(r.path, "/v0/ingress", "path without the query");
    is_str(r.host, "peer", "host without space around it");
    ok(!r.origin && !r.referer && !r.body, "nothing else");

    for (i = 0; i < head; i++) {
        if (tn_peerapi_parse(&r, good, i, &head) != TN_AGAIN) {
            break;
        }
    }

    is_int((long long) i, (long long) sizeof(good) - 5,
           "a part of it is not yet one");

    for (i = 0; i < tn_nelems(bad); i++) {
        is_int(parse(&r, bad[i].text), TN_MALFORMED, bad[i].name);
    }

    is_int(tn_peerapi_parse(&r, "GET / HTTP/1.1\r\nHost: a\0b\r\n\r\n", 29,
                            &head), TN_MALFORMED, "a zero byte");

    memset(text, 'a', sizeof(text));
    memcpy(text, "GET / HTTP/1.1\r\nX: ", 19);
    is_int(tn_peerapi_parse(&r, text, TN_PEERAPI_HEAD_MAX - 1, &head),
           TN_AGAIN, "a long head goes on");
    is_int(tn_peerapi_parse(&r, text, TN_PEERAPI_HEAD_MAX, &head),
           TN_MALFORMED, "until it is too long");

    head = (size_t) snprintf(text, sizeof(text), "GET / HTTP/1.1\r\n");

    for (i = 0; i <= TN_PEERAPI_FIELDS_MAX; i++) {
        head += (size_t) snprintf(text + head, sizeof(text) - head,
                                  "X-%zu: y\r\n", i);
    }

    snprintf(text + head, sizeof(text) - head, "\r\n");
    is_int(parse(&r, text), TN_MALFORMED, "too many fields");

    is_str(check(HOST), "", "the own address");
    is_str(check("Host: [fd7a:115c:a1e0::2]:1\r\n"), "", "of IPv6");
    is_str(check("Host: peer\r\n"), "", "\"peer\"");
    is_str(check("Host: 100.64.0.3:40000\r\n"),
           "its Host is another's address", "another address");
    is_str(check("Host: evil.example\r\n"),
           "its Host is no address and port", "a name");
    is_str(check("Host: 100.64.0.2\r\n"),
           "its Host is no address and port", "without a port");
    is_str(check(""), "its Host is no address and port", "no Host");
    is_str(check(HOST "Origin: http://evil.example\r\n"), "it has an Origin",
           "an Origin");
    is_str(check(HOST "Referer: http://evil.example/\r\n"),
           "it has a Referer", "a Referer");
    is_str(check(HOST "Origin:\r\n"), "", "an empty Origin is none");

    is_str(ingress(HOST "Tailscale-Ingress-Src: 192.0.2.1:5000\r\n"
                   "Tailscale-Ingress-Target: Web.Lab.Test:443\r\n", name,
                   &port, &src), "", "an ingress");
    is_str(name, "web.lab.test", "name");
    is_int(port, 443, "port");
    is_str(tn_addr_text(&src, addr), "192.0.2.1:5000", "client");
    is_str(ingress("Tailscale-Ingress-Src: [2001:db8::1]:5\r\n"
                   "Tailscale-Ingress-Target: a:1\r\n", name, &port, &src),
           "", "a client of IPv6");
    is_str(ingress("Tailscale-Ingress-Target: a:1\r\n", name, &port, &src),
           "Tailscale-Ingress-Src header not set", "no source");
    is_str(ingress("Tailscale-Ingress-Src: a:1\r\n"
                   "Tailscale-Ingress-Target: a:1\r\n", name, &port, &src),
           "Tailscale-Ingress-Src header invalid; want ip:port",
           "a name for a source");
    is_str(ingress("Tailscale-Ingress-Src: 1.2.3.4:1\r\n", name, &port, &src),
           "Tailscale-Ingress-Target header not set", "no target");

    static const char *const  targets[] = { "a", "a:", ":1", "a:0", "a:65536",
                                            "a:1x", "a:-1", "a:+1", "a:000001"
    };

    for (i = 0; i < tn_nelems(targets); i++) {
        snprintf(text, sizeof(text), "Tailscale-Ingress-Src: 1.2.3.4:1\r\n"
                 "Tailscale-Ingress-Target: %s\r\n", targets[i]);
        is_str(ingress(text, name, &port, &src),
               "Tailscale-Ingress-Target header invalid; want host:port",
               targets[i]);
    }

    /* by zlib's crc32() */

    (void) tn_ip_parse(&ip, "100.64.0.2", 10);
    is_int(tn_peerapi_port(&ip, 0), 46590, "the port of an address");
    is_int(tn_peerapi_port(&ip, 1), 57289, "the next choice");

    test_dns();

    return tap_done();
}
