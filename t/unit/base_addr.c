
/*
 * Copyright (C) the ngx_tailnet authors
 *
 * Addresses, prefixes and keys: text forms both ways, what is refused, the
 * kinds of address, and the kernel's form.
 */

#include "base/tn_addr.h"
#include "base/tn_key.h"
#include "base/tn_via.h"
#include "tap.h"

#include <sys/socket.h>


static void
test_ip(void)
{
    size_t   i;
    char     buf[TN_ADDR_TEXT];
    tn_ip_t  ip;

    static const struct {
        const char  *text;
        const char  *back;          /* NULL: refused */
    } rows[] = {
        { "1.2.3.4", "1.2.3.4" },
        { "0.0.0.0", "0.0.0.0" },
        { "255.255.255.255", "255.255.255.255" },
        { "::", "::" },
        { "::1", "::1" },
        { "fd7a:115c:a1e0::1", "fd7a:115c:a1e0::1" },
        { "FD7A:115C:A1E0:0:0:0:0:1", "fd7a:115c:a1e0::1" },
        { "::ffff:1.2.3.4", "1.2.3.4" },
        { "", NULL },
        { "1.2.3", NULL },
        { "1.2.3.4.5", NULL },
        { "256.1.1.1", NULL },
        { "1.2.3.4 ", NULL },
        { " 1.2.3.4", NULL },
        { "1.2.3.4/32", NULL },
        { "fe80::1%eth0", NULL },
        { ":", NULL },
        { "1::2::3", NULL },
        { "12345::", NULL },
        { "[::1]", NULL },
        { "a", NULL }
    };

    for (i = 0; i < tn_nelems(rows); i++) {
        if (rows[i].back == NULL) {
            is_int(tn_ip_parse(&ip, rows[i].text, strlen(rows[i].text)),
                   TN_MALFORMED, rows[i].text);
            ok(tn_ip_is_none(&ip) || rows[i].text[0] == '\0', "  is none");
            continue;
        }

        is_int(tn_ip_parse(&ip, rows[i].text, strlen(rows[i].text)), TN_OK,
               rows[i].text);
        is_str(tn_ip_text(&ip, buf), rows[i].back, "  and back");
    }

    is_int(tn_ip_parse(&ip, "1.2.3.45", 7), TN_OK, "only `len` is read");
    is_str(tn_ip_text(&ip, buf), "1.2.3.4", "  and no more");
    is_int(tn_ip_parse(&ip, "1.2.3.4\0", 8), TN_MALFORMED, "a zero inside");
}


static void
test_kinds(void)
{
    size_t   i;
    tn_ip_t  ip;

    enum { LOOP = 1, LINK = 2, PRIV = 4, MULTI = 8, TAIL = 16, V4 = 32 };

    static const struct {
        const char  *text;
        int          kinds;
    } rows[] = {
        { "127.0.0.1", LOOP | V4 },
        { "127.255.255.255", LOOP | V4 },
        { "128.0.0.1", V4 },
        { "::1", LOOP },
        { "::2", 0 },
        { "169.254.0.1", LINK | V4 },
        { "169.253.0.1", V4 },
        { "fe80::1", LINK },
        { "febf::1", LINK },
        { "fec0::1", 0 },
        { "10.255.0.1", PRIV | V4 },
        { "172.15.0.1", V4 },
        { "172.16.0.1", PRIV | V4 },
        { "172.31.255.255", PRIV | V4 },
        { "172.32.0.1", V4 },
        { "192.168.0.1", PRIV | V4 },
        { "192.169.0.1", V4 },
        { "fc00::1", PRIV },
        { "fd00::1", PRIV },
        { "fe00::1", 0 },
        { "224.0.0.1", MULTI | V4 },
        { "239.255.255.255", MULTI | V4 },
        { "240.0.0.1", V4 },
        { "ff02::1", MULTI },
        { "100.63.255.255", V4 },
        { "100.64.0.0", TAIL | V4 },
        { "100.127.255.255", TAIL | V4 },
        { "100.128.0.0", V4 },
        { "fd7a:115c:a1e0::", TAIL | PRIV },
        { "fd7a:115c:a1e0:ffff::1", TAIL | PRIV },
        { "fd7a:115c:a1e1::", PRIV }
    };

    for (i = 0; i < tn_nelems(rows); i++) {
        (void) tn_ip_parse(&ip, rows[i].text, strlen(rows[i].text));

        is_int(tn_ip_is_loopback(&ip) * LOOP
               + tn_ip_is_link_local(&ip) * LINK
               + tn_ip_is_private(&ip) * PRIV
               + tn_ip_is_multicast(&ip) * MULTI
               + tn_ip_is_tailscale(&ip) * TAIL
               + tn_ip_is_v4(&ip) * V4,
               rows[i].kinds, rows[i].text);
    }
}


static void
test_addr(void)
{
    size_t                   i, len;
    char                     buf[TN_ADDR_TEXT];
    tn_addr_t                addr, again;
    struct sockaddr_storage  ss;

    static const struct {
        const char  *text;
        const char  *back;
    } rows[] = {
        { "1.2.3.4:5", "1.2.3.4:5" },
        { "1.2.3.4:65535", "1.2.3.4:65535" },
        { "1.2.3.4:0", "1.2.3.4:0" },
        { "[::1]:80", "[::1]:80" },
        { "[2001:db8::1]:41641", "[2001:db8::1]:41641" },
        { "1.2.3.4", NULL },
        { "1.2.3.4:", NULL },
        { "1.2.3.4:65536", NULL },
        { "1.2.3.4:99999999999", NULL },
        { "1.2.3.4:080", NULL },
        { "1.2.3.4:+1", NULL },
        { "1.2.3.4:-1", NULL },
        { ":80", NULL },
        { "[]:80", NULL },
        { "::1:80", NULL },
        { "[::1]", NULL },
        { "[1.2.3.4]:80", NULL },
        { "[::1:80", NULL },
        { "host:80", NULL },
        { "", NULL }
    };

    for (i = 0; i < tn_nelems(rows); i++) {
        if (rows[i].back == NULL) {
            is_int(tn_addr_parse(&addr, rows[i].text, strlen(rows[i].text)),
                   TN_MALFORMED, rows[i].text);
            continue;
        }

        is_int(tn_addr_parse(&addr, rows[i].text, strlen(rows[i].text)),
               TN_OK, rows[i].text);
        is_str(tn_addr_text(&addr, buf), rows[i].back, "  and back");

        memset(&ss, 0, sizeof(ss));
        len = tn_addr_to_sockaddr(&addr, &ss);
        ok(len != 0 && len <= sizeof(ss), "  to the kernel's form");
        is_int(tn_addr_from_sockaddr(&again, &ss), TN_OK, "  and from it");
        ok(tn_addr_equal(&addr, &again), "  unchanged");
    }

    memset(&ss, 0, sizeof(ss));
    ss.ss_family = AF_UNIX;
    is_int(tn_addr_from_sockaddr(&again, &ss), TN_MALFORMED,
           "another family has no address");
}


static void
test_prefix(void)
{
    size_t       i;
    char         buf[TN_ADDR_TEXT];
    tn_ip_t      ip;
    tn_prefix_t  prefix;

    static const struct {
        const char  *text;
        const char  *back;
        const char  *in;
        const char  *out;
    } rows[] = {
        { "10.0.0.0/8", "10.0.0.0/8", "10.255.1.2", "11.0.0.0" },
        { "100.64.0.0/10", "100.64.0.0/10", "100.127.255.255",
          "100.128.0.0" },
        { "1.2.3.4", "1.2.3.4/32", "1.2.3.4", "1.2.3.5" },
        { "0.0.0.0/0", "0.0.0.0/0", "9.9.9.9", "2001:db8::1" },
        { "::/0", "::/0", "2001:db8::1", "9.9.9.9" },
        { "1.2.3.4/31", "1.2.3.4/31", "1.2.3.5", "1.2.3.6" },
        { "fd7a:115c:a1e0::/48", "fd7a:115c:a1e0::/48",
          "fd7a:115c:a1e0:f::1", "fd7a:115c:a1e1::1" },
        { "2001:db8::1", "2001:db8::1/128", "2001:db8::1", "2001:db8::" },
        { "2001:db8::/33", "2001:db8::/33", "2001:db8:7fff::",
          "2001:db8:8000::" }
    };

    static const char  *const bad[] = {
        "10.0.0.1/8", "1.2.3.4/33", "1.2.3.4/", "1.2.3.4/-1", "1.2.3.4/a",
        "1.2.3.4/032", "::/129", "::1/0", "/8", "", "2001:db8::1/127",
        "1.2.3.4/32/32"
    };

    for (i = 0; i < tn_nelems(rows); i++) {
        is_int(tn_prefix_parse(&prefix, rows[i].text, strlen(rows[i].text)),
               TN_OK, rows[i].text);
        is_str(tn_prefix_text(&prefix, buf), rows[i].back, "  and back");
        (void) tn_ip_parse(&ip, rows[i].in, strlen(rows[i].in));
        ok(tn_prefix_contains(&prefix, &ip), "  contains %s", rows[i].in);
        (void) tn_ip_parse(&ip, rows[i].out, strlen(rows[i].out));
        ok(!tn_prefix_contains(&prefix, &ip), "  but not %s", rows[i].out);
    }

    for (i = 0; i < tn_nelems(bad); i++) {
        is_int(tn_prefix_parse(&prefix, bad[i], strlen(bad[i])),
               TN_MALFORMED, bad[i]);
    }

    (void) tn_ip_parse(&ip, "1.2.3.4", 7);
    prefix = tn_prefix_of(&ip);
    is_str(tn_prefix_text(&prefix, buf), "1.2.3.4/32", "prefix of an IPv4");
    (void) tn_ip_parse(&ip, "::9", 3);
    prefix = tn_prefix_of(&ip);
    is_str(tn_prefix_text(&prefix, buf), "::9/128", "prefix of an IPv6");
}


static void
test_key(void)
{
    size_t    i;
    char      buf[TN_KEY_TEXT], text[TN_KEY_TEXT + 8];
    tn_key_t  key, zero;

    memset(&zero, 0, sizeof(zero));

    for (i = 0; i < TN_KEY_LEN; i++) {
        key.b[i] = (uint8_t) (i * 37 + 1);
    }

    is_str(tn_key_text(&key, TN_KEY_NODE, buf),
           "nodekey:01264b7095badf04294e7398bde2072c"
           "51769bc0e50a2f54799ec3e80d32577c", "a key's text");
    memcpy(text, buf, sizeof(buf));

    is_int(tn_key_parse(&zero, TN_KEY_NODE, text, strlen(text)), TN_OK,
           "is read back");
    ok(tn_key_equal(&zero, &key), "unchanged");

    text[10] = 'B';
    is_int(tn_key_parse(&zero, TN_KEY_NODE, text, strlen(text)), TN_OK,
           "capitals are digits as well");

    is_int(tn_key_parse(&zero, TN_KEY_DISCO, text, strlen(text)),
           TN_MALFORMED, "another kind");
    ok(tn_key_is_zero(&zero), "leaves zero");
    is_int(tn_key_parse(&zero, TN_KEY_NODE, text, strlen(text) - 1),
           TN_MALFORMED, "too short");
    text[strlen(text) + 1] = '\0';
    text[strlen(text)] = '0';
    is_int(tn_key_parse(&zero, TN_KEY_NODE, text, strlen(text)),
           TN_MALFORMED, "too long");
    text[strlen(text) - 1] = '\0';
    text[20] = 'g';
    is_int(tn_key_parse(&zero, TN_KEY_NODE, text, strlen(text)),
           TN_MALFORMED, "no digit");
    is_int(tn_key_parse(&zero, TN_KEY_NODE, "", 0), TN_MALFORMED, "empty");

    is_str(tn_key_short(&key, buf), "[ASZLc]", "the short form is base64");
    ok(!tn_key_is_zero(&key) && tn_key_is_zero(&zero), "zero or not");
}


static void
test_via(void)
{
    size_t   i;
    char     buf[TN_ADDR_TEXT];
    tn_ip_t  ip, target;

    static const struct {
        const char  *text;
        const char  *back;          /* NULL: refused */
    } rows[] = {
        { "10-1-2-3-via-7", "fd7a:115c:a1e0:b1a:0:7:a01:203" },
        { "10-1-2-3-via-65543", "fd7a:115c:a1e0:b1a:1:7:a01:203" },
        { "0-0-0-0-via-0", "fd7a:115c:a1e0:b1a::" },
        { "10-1-2-3-via-4294967295",
          "fd7a:115c:a1e0:b1a:ffff:ffff:a01:203" },
        { "10-1-2-3-via-4294967296", NULL },
        { "10-1-2-3-via-", NULL },
        { "10-1-2-3-via-7a", NULL },
        { "10-1-2-via-7", NULL },
        { "10-1-2-300-via-7", NULL },
        { "10.1.2.3-via-7", NULL },
        { "-via-7", NULL },
        { "web", NULL },
        { "", NULL }
    };

    for (i = 0; i < tn_nelems(rows); i++) {
        if (rows[i].back == NULL) {
            is_int(tn_via_parse(&ip, rows[i].text, strlen(rows[i].text)),
                   TN_MALFORMED, rows[i].text);
            continue;
        }

        ok(tn_via_parse(&ip, rows[i].text, strlen(rows[i].text)) == TN_OK
           && tn_via_is(&ip) && strcmp(tn_ip_text(&ip, buf), rows[i].back)
                                == 0, rows[i].text);
    }

    (void) tn_via_parse(&ip, "10-1-2-3-via-7", 14);
    target = tn_via_target(&ip);
    is_str(tn_ip_text(&target, buf), "10.1.2.3", "what it stands for");
}


int
main(void)
{
    test_via();
    test_ip();
    test_kinds();
    test_addr();
    test_prefix();
    test_key();

    return tap_done();
}
