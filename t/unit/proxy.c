
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Proxies: what an URL says, which hosts go by which, and CONNECT over a
 * pair of sockets.
 */

#include "host/tn_proxy.h"

#include "tap.h"

#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>


static char  logged[4096];


static void
on_log(tn_log_t *log, tn_log_level_e level, const char *line, size_t len)
{
    (void) log;
    (void) level;

    (void) snprintf(logged + strlen(logged), sizeof(logged) - strlen(logged),
                    "%.*s\n", (int) len, line);
}


static tn_log_t  test_log = { .level = TN_LOG_DEBUG, .write = on_log };


static tn_rc_t
parse(tn_proxy_t *proxy, const char *url, bool bare)
{
    const char  *why;

    return tn_proxy_parse(proxy, url, strlen(url), bare, &why);
}


static void
test_parse(void)
{
    char                long_one[600];
    size_t              i;
    tn_proxy_t          proxy;
    static const char  *bad[] = {
        "", "http://", "http:///", "http://:80", "http://a:", "http://a:0",
        "http://a:65536", "http://a:8x", "http://a b", "http://a/b",
        "http://a?b", "http://a\nb", "https://a:1", "socks5://a:1", "a:80",
        "http://[::1", "http://[x]:80", "http://u:p%4@a", "http://u:p%zz@a",
        "http://u%3ax:p@a", "http://u:p%0a@a", "http://[::1]x"
    };

    is_int(parse(&proxy, "http://proxy.example.com:3128", false), TN_OK,
           "a host and a port");
    is_str(proxy.host, "proxy.example.com", "the host");
    is_int(proxy.port, 3128, "the port");
    is_str(proxy.auth, "", "no credentials");

    is_int(parse(&proxy, "http://Aladdin:open%20sesame@10.0.0.1/", false),
           TN_OK, "credentials");
    is_str(proxy.host, "10.0.0.1", "before the host");
    is_int(proxy.port, 80, "port 80 when it names none");
    is_str(proxy.auth, "QWxhZGRpbjpvcGVuIHNlc2FtZQ==",
           "as in the RFC's example");

    is_int(parse(&proxy, "http://u:p@ss@h:1", false), TN_OK,
           "a password with @ in it");
    is_str(proxy.auth, "dTpwQHNz", "is taken whole");
    is_str(proxy.host, "h", "and the host after the last");

    is_int(parse(&proxy, "http://[fd00::1]:8080", false), TN_OK, "IPv6");
    is_str(proxy.host, "fd00::1", "without brackets");
    is_int(parse(&proxy, "proxy:81", true), TN_OK, "no scheme, if allowed");
    is_int(proxy.port, 81, "its port");

    for (i = 0; i < tn_nelems(bad); i++) {
        ok(parse(&proxy, bad[i], false) == TN_MALFORMED, "bad: case %zu", i);
    }

    memset(long_one, 'a', sizeof(long_one));
    memcpy(long_one, "http://", 7);
    long_one[sizeof(long_one) - 1] = '\0';
    is_int(parse(&proxy, long_one, false), TN_MALFORMED, "a host too long");

    memcpy(long_one + 590, "@h", 3);
    is_int(parse(&proxy, long_one, false), TN_MALFORMED, "a user too long");
    is_str(proxy.auth, "", "of which nothing is kept");
}


static bool
proxied(const tn_proxies_t *set, bool tls, const char *host, uint16_t port)
{
    return tn_proxies_choose(set, tls, host, port) != NULL;
}


static void
test_choice(void)
{
    tn_proxies_t  *set;

    (void) unsetenv("https_proxy");
    (void) unsetenv("HTTPS_PROXY");
    (void) unsetenv("http_proxy");
    (void) unsetenv("HTTP_PROXY");
    (void) unsetenv("no_proxy");
    (void) unsetenv("NO_PROXY");

    ok(!proxied(NULL, true, "a", 443), "no set, no proxy");

    set = tn_proxies_create("", &test_log);
    ok(!proxied(set, true, "a", 443), "an empty environment: none");
    tn_proxies_free(set);

    (void) setenv("HTTPS_PROXY", "http://up:secret@big:1", 1);
    (void) setenv("HTTP_PROXY", "plain:2", 1);
    (void) setenv("NO_PROXY", "example.com, .below.org,*.star.net 10.1.0.5/16,"
                  "192.168.1.1,port.io:8443,[fd00::1]:443,fd01::/16,7.0.0.0/33",
                  1);

    set = tn_proxies_create("", &test_log);

    is_str(tn_proxies_choose(set, true, "a", 443)->host, "big",
           "HTTPS_PROXY with TLS");
    is_str(tn_proxies_choose(set, false, "a", 80)->host, "plain",
           "HTTP_PROXY without");
    ok(strstr(logged, "secret") == NULL && strstr(logged, "up") == NULL
       && strstr(logged, "big") != NULL,
       "the log tells the host and no password");

    ok(!proxied(set, true, "localhost", 443), "never for localhost");
    ok(!proxied(set, true, "127.0.0.9", 443), "nor for loopback");
    ok(!proxied(set, true, "::1", 443), "of IPv6 neither");
    ok(!proxied(set, true, "example.com", 443), "NO_PROXY: the name");
    ok(!proxied(set, true, "A.Example.COM", 443), "and what is below");
    ok(!proxied(set, true, "a.example.com.", 443), "with a last dot too");
    ok(proxied(set, true, "badexample.com", 443), "another name");
    ok(proxied(set, true, "below.org", 443), ".name: not itself");
    ok(!proxied(set, true, "x.below.org", 443), "what is below");
    ok(proxied(set, true, "star.net", 443), "*.name: not itself");
    ok(!proxied(set, true, "x.star.net", 443), "what is below");
    ok(!proxied(set, true, "10.1.255.3", 443), "a network");
    ok(proxied(set, true, "10.2.0.1", 443), "another");
    ok(!proxied(set, true, "192.168.1.1", 443), "an address");
    ok(proxied(set, true, "192.168.1.2", 443), "another");
    ok(proxied(set, true, "port.io", 443), "name and port: other port");
    ok(!proxied(set, true, "port.io", 8443), "that port");
    ok(!proxied(set, true, "fd00::1", 443), "IPv6 and port");
    ok(proxied(set, true, "fd00::1", 80), "IPv6, other port");
    ok(!proxied(set, true, "fd01::7", 443), "a network of IPv6");
    ok(proxied(set, true, "7.0.0.1", 443), "one that is none");
    tn_proxies_free(set);

    set = tn_proxies_create("http://mine:7", &test_log);
    is_str(tn_proxies_choose(set, false, "example.com", 80)->host, "mine",
           "the directive counts for everything");
    tn_proxies_free(set);

    set = tn_proxies_create("off", &test_log);
    ok(!proxied(set, true, "a", 443), "off: none, whatever is set");
    tn_proxies_free(set);

    (void) setenv("https_proxy", "small:9", 1);
    (void) setenv("no_proxy", "*", 1);
    set = tn_proxies_create("", &test_log);
    ok(!proxied(set, true, "a", 443), "NO_PROXY *: none");
    tn_proxies_free(set);

    (void) setenv("no_proxy", "", 1);
    (void) setenv("NO_PROXY", "", 1);
    set = tn_proxies_create("", &test_log);
    is_str(tn_proxies_choose(set, true, "a", 443)->host, "small",
           "small letters go first");
    tn_proxies_free(set);

    logged[0] = '\0';
    (void) setenv("https_proxy", "socks5://u:secret@h:1", 1);
    set = tn_proxies_create("", &test_log);
    ok(!proxied(set, true, "a", 443), "an unknown scheme is not used");
    ok(strstr(logged, "HTTPS_PROXY of the environment is not used") != NULL
       && strstr(logged, "secret") == NULL, "the log says so");
    tn_proxies_free(set);
}


/* the answer in pieces of `step` bytes: what comes out */
static tn_rc_t
talk(const char *answer, size_t step, const char *url, char *text,
    char *request)
{
    int               pair[2];
    bool              write;
    size_t            at, n, len;
    ssize_t           got;
    tn_rc_t           rc;
    tn_proxy_t        proxy;
    tn_proxy_talk_t  *one;

    (void) parse(&proxy, url, false);
    (void) socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, pair);

    one = tn_proxy_talk_create(&proxy, "derp.example", 443);
    rc = tn_proxy_talk_step(one, pair[0], &write, text);
    ok(rc == TN_AGAIN && !write, "the request is out");

    got = recv(pair[1], request, 1023, 0);
    request[got > 0 ? got : 0] = '\0';

    len = strlen(answer);

    for (at = 0; rc == TN_AGAIN && at < len; at += n) {
        n = tn_min(step, len - at);
        (void) send(pair[1], answer + at, n, 0);
        rc = tn_proxy_talk_step(one, pair[0], &write, text);
    }

    (void) close(pair[1]);

    if (rc == TN_AGAIN) {
        rc = tn_proxy_talk_step(one, pair[0], &write, text);
    }

    tn_proxy_talk_free(one);
    (void) close(pair[0]);

    return rc;
}


static void
test_talk(void)
{
    char        name[32], text[TN_PROXY_TEXT], request[1024], endless[9000];
    size_t      i;
    static const struct {
        const char  *answer;
        tn_rc_t      rc;
        const char  *says;
    } cases[] = {
        { "HTTP/1.1 200 OK\r\n\r\n", TN_OK, "" },
        { "HTTP/1.0 200 Connection established\r\nVia: x\r\n\r\n", TN_OK,
          "" },
        { "HTTP/1.1 299\r\n\r\n", TN_OK, "" },
        { "HTTP/1.1 407 Proxy Authentication Required\r\nA: b\r\n\r\nbody",
          TN_REFUSED, "refused: 407 Proxy Authentication Required: its user "
          "or password is wrong" },
        { "HTTP/1.1 502 Bad Gateway\r\n\r\n", TN_REFUSED, "502 Bad Gateway" },
        { "HTTP/1.1 101 Switching\r\n\r\n", TN_REFUSED, "101 Switching" },
        { "SSH-2.0-OpenSSH\r\n", TN_MALFORMED, "not HTTP's" },
        { "HTTP/1.1 2000 OK\r\n\r\n", TN_MALFORMED, "not HTTP's" },
        { "HTTP/1.1 20x OK\r\n\r\n", TN_MALFORMED, "not HTTP's" },
        { "HTTP/1.1\r\n\r\n", TN_MALFORMED, "not HTTP's" },
        { "HTTP/1.1 200 OK\r\n", TN_CLOSED, "closed the connection" },
        { "", TN_CLOSED, "closed the connection" },
    };

    for (i = 0; i < 2 * tn_nelems(cases); i++) {
        text[0] = '\0';
        (void) snprintf(name, sizeof(name), "answer %zu", i / 2);

        is_int(talk(cases[i / 2].answer, i % 2 ? 1 : 100,
                    "http://me:secret@proxy:3128", text, request),
               cases[i / 2].rc, name);
        ok(strstr(text, cases[i / 2].says) != NULL
           && strstr(text, "secret") == NULL
           && (text[0] == '\0' || strstr(text, "proxy:3128") != NULL),
           "says \"%s\"", text);
    }

    is_str(request, "CONNECT derp.example:443 HTTP/1.1\r\n"
           "Host: derp.example:443\r\n"
           "User-Agent: ngx_tailnet\r\n"
           "Proxy-Authorization: Basic bWU6c2VjcmV0\r\n\r\n", "the request");

    is_int(talk("HTTP/1.1 200 OK\r\n\r\nx", 100, "http://proxy", text, request),
           TN_MALFORMED, "who speaks before us is not the host");

    (void) talk("HTTP/1.1 407 No\r\n\r\n", 100, "http://proxy", text,
                request);
    ok(strstr(text, "it wants a user and a password") != NULL,
       "a proxy that wants a password that there is not");
    ok(strstr(request, "Authorization") == NULL, "nor was one sent");

    memset(endless, 'x', sizeof(endless));
    memcpy(endless, "HTTP/1.1 200 ", 13);
    endless[sizeof(endless) - 1] = '\0';
    is_int(talk(endless, 1000, "http://proxy", text, request), TN_MALFORMED,
           "an endless head");
}


int
main(void)
{
    test_parse();
    test_choice();
    test_talk();

    return tap_done();
}
